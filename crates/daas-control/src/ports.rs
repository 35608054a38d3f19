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

/// An open port, with what it was opened for.
struct Open {
    stand: StandName,
    net: (u64, u64),
    targets: Vec<SocketAddr>,
    /// Open as long as this lives.
    _forward: Forward,
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

    /// Opens what a stand wants and closes what it does not want any more. A port that another stand has stays with that one.
    pub(crate) async fn set(
        &mut self,
        stand: &StandName,
        id: &StandId,
        net: Option<&Arc<StandNet>>,
        wishes: &[Wish],
    ) {
        let fits = |key: &(SocketAddr, Protocol), open: &Open| {
            open.stand != *stand
                || wishes.iter().any(|wish| {
                    (wish.port, wish.protocol) == (key.0.port(), key.1)
                        && wish.targets == open.targets
                        && net.is_some_and(|net| net.identity() == open.net)
                })
        };
        self.open.retain(|key, open| fits(key, open));
        let Some(net) = net else { return };
        for wish in wishes.iter().filter(|wish| !wish.targets.is_empty()) {
            for ip in self.listen.clone() {
                let key = (SocketAddr::new(ip, wish.port), wish.protocol);
                if self.open.contains_key(&key) {
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
                            net: net.identity(),
                            targets: wish.targets.clone(),
                            _forward: forward,
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
