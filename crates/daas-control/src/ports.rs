//! Routes of TCP and UDP: ports of the host that lead to a stand's nodes.

use daas_engine::dial::{Dialer, StandNet};
use daas_engine::publish::{Forward, Publisher};
use daas_model::{Explain, Protocol, StandId, StandName};
use daas_tasks::Supervisor;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// A port of the host that a stand wants, with the nodes behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) port: u16,
    pub(crate) protocol: Protocol,
    pub(crate) targets: Vec<SocketAddr>,
}

/// An open port, and whose it is.
struct Open {
    stand: StandName,
    /// Open as long as this lives.
    forward: Forward,
}

/// The ports of the host that lead to stands.
pub(crate) struct Ports {
    publisher: Publisher,
    listen: Vec<IpAddr>,
    open: BTreeMap<(SocketAddr, Protocol), Open>,
    /// What could not be opened for whom, so that it is told once and not at every look.
    told: BTreeSet<(StandName, SocketAddr, Protocol)>,
}

/// A port that could not be opened, told the first time.
pub(crate) struct Shut {
    pub(crate) code: &'static str,
    pub(crate) text: String,
}

impl Ports {
    pub(crate) fn new(listen: Vec<IpAddr>, dialer: Dialer, tasks: Supervisor) -> Self {
        Self {
            publisher: Publisher::new(dialer, tasks),
            listen,
            open: BTreeMap::new(),
            told: BTreeSet::new(),
        }
    }

    /// Opens what a stand wants and closes what it does not want any more. A port that another stand has stays with that one; one that leads to other nodes than
    /// before stays open, with its connections to those that are still there. Returns what cannot be opened and was not told before.
    pub(crate) async fn set(
        &mut self,
        stand: &StandName,
        id: &StandId,
        net: Option<&Arc<StandNet>>,
        wishes: &[Wish],
    ) -> Vec<Shut> {
        let led: Vec<&Wish> = wishes
            .iter()
            .filter(|wish| !wish.targets.is_empty() && net.is_some())
            .collect();
        self.open.retain(|key, open| {
            open.stand != *stand
                || led
                    .iter()
                    .any(|wish| (wish.port, wish.protocol) == (key.0.port(), key.1))
        });
        let mut shut = Vec::new();
        let Some(net) = net else { return shut };
        for wish in led {
            for ip in self.listen.clone() {
                let key = (SocketAddr::new(ip, wish.port), wish.protocol);
                if let Some(open) = self.open.get(&key) {
                    if open.stand == *stand {
                        open.forward.lead(net, &wish.targets);
                    } else if self.told.insert((stand.clone(), key.0, key.1)) {
                        shut.push(Shut {
                            code: "port-taken",
                            text: format!(
                                "cannot open {}/{} for a route: stand `{}` has it",
                                key.0, key.1, open.stand
                            ),
                        });
                    }
                    continue;
                }
                match self
                    .publisher
                    .forward(id, net, key.0, key.1, &wish.targets)
                    .await
                {
                    Ok(forward) => {
                        self.told.remove(&(stand.clone(), key.0, key.1));
                        let open = Open {
                            stand: stand.clone(),
                            forward,
                        };
                        self.open.insert(key, open);
                    }
                    Err(error) => {
                        if self.told.insert((stand.clone(), key.0, key.1)) {
                            shut.push(Shut {
                                code: error.code(),
                                text: format!(
                                    "cannot open {}/{} for a route: {}",
                                    key.0,
                                    key.1,
                                    daas_model::render_chain(&error)
                                ),
                            });
                        }
                    }
                }
            }
        }
        shut
    }

    /// Closes everything of a stand that is gone.
    pub(crate) fn remove(&mut self, stand: &StandName) {
        self.open.retain(|_, open| open.stand != *stand);
        self.told.retain(|(of, ..)| of != stand);
    }
}
