//! Routes of TCP and UDP: ports of the host that lead to a stand's nodes.

use daas_engine::dial::{Dialer, StandNet};
use daas_engine::publish::{Forward, Publisher};
use daas_model::{Protocol, StandId, StandName};
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
    /// What could not be opened, so that it is told once and not at every look.
    told: BTreeSet<(SocketAddr, Protocol)>,
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
    /// before stays open, with its connections to those that are still there.
    pub(crate) async fn set(
        &mut self,
        stand: &StandName,
        id: &StandId,
        net: Option<&Arc<StandNet>>,
        wishes: &[Wish],
    ) {
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
        let Some(net) = net else { return };
        for wish in led {
            for ip in self.listen.clone() {
                let key = (SocketAddr::new(ip, wish.port), wish.protocol);
                if let Some(open) = self.open.get(&key) {
                    if open.stand == *stand {
                        open.forward.lead(net, &wish.targets);
                    }
                    continue;
                }
                match self
                    .publisher
                    .forward(id, net, key.0, key.1, &wish.targets)
                    .await
                {
                    Ok(forward) => {
                        self.told.remove(&key);
                        let open = Open {
                            stand: stand.clone(),
                            forward,
                        };
                        self.open.insert(key, open);
                    }
                    Err(error) => {
                        if self.told.insert(key) {
                            tracing::warn!(%stand, address = %key.0, protocol = %key.1, cause = %daas_model::render_chain(&error), "a route's port cannot be opened");
                        }
                    }
                }
            }
        }
    }

    /// Closes everything of a stand that is gone.
    pub(crate) fn remove(&mut self, stand: &StandName) {
        self.open.retain(|_, open| open.stand != *stand);
    }
}
