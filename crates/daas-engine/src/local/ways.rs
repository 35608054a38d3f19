//! The way out of each stand: opened when its keeper is there, closed with it.

use super::{LocalEngine, SUFFIX, lock};
use crate::egress::{Access, Outcome, ProxyPort, proxy_environment};
use crate::engine::Order;
use crate::error::EngineError;
use crate::layout::Ranges;
use crate::link::Link;
use daas_model::{Egress, NetworkMode, NodeName, OWN_REGISTRY, ProjectName, StandId};
use daas_tasks::{Handle, Shutdown};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// How many accesses may wait to be written down; more are dropped, the stand is not held up.
pub(super) const ACCESSES: usize = 1024;

/// The open ways, by stand.
#[derive(Debug, Default)]
pub(super) struct Ways {
    open: tokio::sync::Mutex<HashMap<StandId, Way>>,
    inside: tokio::sync::Mutex<HashMap<StandId, Inside>>,
}

/// Something of the house that every stand finds inside its own networks, whatever its way out is.
pub trait InnerService: Send + Sync {
    /// Serves what connects to `listener`, which is inside a stand of `project`, until the handle's task is aborted.
    fn serve(&self, project: &ProjectName, listener: TcpListener) -> Handle<()>;
}

/// The port at the gateways where the inner service answers: that of plain HTTP, so that its name needs none.
const INNER_PORT: u16 = 80;

/// The open listeners of the inner service, by stand.
#[derive(Debug)]
pub(super) struct Inside {
    net: (u64, u64),
    tasks: Vec<(IpAddr, Handle<()>)>,
}

impl Drop for Inside {
    fn drop(&mut self) {
        for (_, task) in &self.tasks {
            task.abort();
        }
    }
}

#[derive(Debug)]
enum Way {
    /// The proxy, in the namespace with this identity.
    Proxy(ProxyPort, (u64, u64)),
    /// The link with this number, into the namespace with this identity.
    Full(u32, (u64, u64)),
}

impl Way {
    fn fits(&self, egress: Egress, net: (u64, u64)) -> bool {
        match self {
            Self::Proxy(_, of) => egress == Egress::Proxy && *of == net,
            Self::Full(_, of) => egress == Egress::Full && *of == net,
        }
    }
}

impl LocalEngine {
    /// Opens the inner service at every gateway of a stand, of internal networks too: it is no way out.
    pub(super) async fn open_inside(&self, order: &Order, link: &Link) {
        let Some(service) = self.inner.inner_service.get() else {
            return;
        };
        let net = link.net.identity();
        let gateways: BTreeSet<IpAddr> = order
            .addresses
            .networks
            .values()
            .flat_map(|network| network.gateways.iter().copied())
            .collect();
        let mut inside = self.inner.ways.inside.lock().await;
        let place = inside.entry(order.id.clone()).or_insert_with(|| Inside {
            net,
            tasks: Vec::new(),
        });
        if place.net != net {
            *place = Inside {
                net,
                tasks: Vec::new(),
            };
        }
        for (_, task) in place.tasks.extract_if(.., |(at, _)| !gateways.contains(at)) {
            task.abort();
        }
        for gateway in gateways {
            if place.tasks.iter().any(|(at, _)| *at == gateway) {
                continue;
            }
            let address = SocketAddr::new(gateway, INNER_PORT);
            match self.inner.dialer.bind_tcp(&link.net, address).await {
                Ok(listener) => {
                    let task = service.serve(&order.spec.project, listener);
                    place.tasks.push((gateway, task));
                }
                // The stand lives without it; the next look tries again.
                Err(error) => {
                    tracing::warn!(stand = %order.name, %address, cause = %daas_model::render_chain(&error), "cannot serve inside the stand");
                }
            }
        }
    }

    /// Opens the way that the stand's description asks for; one that is open already stays.
    pub(super) async fn open_way(&self, order: &Order, link: &Link) -> Result<(), EngineError> {
        let road = |source: Box<dyn std::error::Error + Send + Sync>| EngineError::Road {
            stand: order.id.clone(),
            source,
        };
        let net = link.net.identity();
        let mut open = self.inner.ways.open.lock().await;
        if open
            .get(&order.id)
            .is_some_and(|way| way.fits(order.spec.egress, net))
        {
            return Ok(());
        }
        if let Some(way) = open.remove(&order.id) {
            self.end(way).await;
        }
        // An internal network has no way out, whatever the stand may do.
        let outward = order
            .addresses
            .networks
            .iter()
            .filter(|(name, _)| order.spec.networks.get(*name).is_some_and(|n| !n.internal))
            .map(|(_, addresses)| addresses);
        match order.spec.egress {
            Egress::None => {}
            Egress::Proxy => {
                let gateways: Vec<IpAddr> =
                    outward.flat_map(|n| n.gateways.iter().copied()).collect();
                let port = self
                    .inner
                    .proxy
                    .open(&order.id, &link.net, &gateways)
                    .await
                    .map_err(|e| road(Box::new(e)))?;
                open.insert(order.id.clone(), Way::Proxy(port, net));
            }
            Egress::Full => {
                let Some(place) = self.place(&order.id) else {
                    return Ok(());
                };
                let number = Ranges::number(place.seed.uid_base);
                let networks: Vec<_> = outward.flat_map(|n| n.subnets.iter().copied()).collect();
                self.inner
                    .full
                    .prepare()
                    .await
                    .map_err(|e| road(Box::new(e)))?;
                self.inner
                    .full
                    .open(number, &link.net, &networks)
                    .await
                    .map_err(|e| road(Box::new(e)))?;
                open.insert(order.id.clone(), Way::Full(number, net));
            }
        }
        Ok(())
    }

    /// Closes the way of a stand.
    pub(super) async fn close_way(&self, stand: &StandId) {
        self.inner.ways.inside.lock().await.remove(stand);
        let way = self.inner.ways.open.lock().await.remove(stand);
        if let Some(way) = way {
            self.end(way).await;
        }
    }

    async fn end(&self, way: Way) {
        match way {
            Way::Proxy(port, _) => port.close().await,
            Way::Full(number, _) => {
                if let Err(error) = self.inner.full.close(number).await {
                    tracing::warn!(cause = %daas_model::render_chain(&error), "cannot close a stand's way out; the next start sweeps it");
                }
            }
        }
    }

    /// Removes links of stands that did not outlive the last daemon.
    pub(super) async fn sweep_ways(&self) {
        let alive: BTreeSet<u32> = lock(&self.inner.stands)
            .values()
            .filter(|p| p.link.is_some())
            .map(|p| Ranges::number(p.seed.uid_base))
            .collect();
        if let Err(error) = self.inner.full.sweep(alive).await {
            tracing::warn!(cause = %daas_model::render_chain(&error), "cannot sweep links of stands that are gone");
        }
    }

    /// Returns the environment by which programs of a node find the proxy.
    pub(super) fn proxy_env(order: &Order, node: &NodeName) -> Vec<(String, String)> {
        if order.spec.egress != Egress::Proxy {
            return Vec::new();
        }
        let Some(NetworkMode::Networks(list)) = order.spec.nodes.get(node).map(|n| &n.network)
        else {
            return Vec::new();
        };
        let outward = list
            .iter()
            .map(|a| &a.network)
            .filter(|name| order.spec.networks.get(*name).is_some_and(|n| !n.internal));
        let Some(gateway) = outward
            .filter_map(|name| order.addresses.networks.get(name))
            .flat_map(|n| &n.gateways)
            .find(|g| g.is_ipv4())
        else {
            return Vec::new();
        };
        let networks: Vec<_> = order
            .addresses
            .networks
            .values()
            .flat_map(|n| n.subnets.iter().copied())
            .collect();
        let inside: BTreeSet<String> = order
            .spec
            .nodes
            .iter()
            .flat_map(|(name, node)| {
                [
                    Some(name.to_string()),
                    Some(node.service.to_string()),
                    node.container_name.clone(),
                    node.hostname.clone(),
                ]
            })
            .flatten()
            .collect();
        // Names under the stand's suffix too; with the dot for those who compare ends (Python), without it for those who compare labels (curl).
        let suffix = [
            SUFFIX.to_owned(),
            format!(".{SUFFIX}"),
            OWN_REGISTRY.to_owned(),
        ];
        let inside: Vec<String> = inside.into_iter().chain(suffix).collect();
        proxy_environment(*gateway, &networks, &inside)
            .into_iter()
            // BusyBox reads this one, knows no `no_proxy`, and would ask the proxy for its own node in every health check. What speaks
            // plain HTTP to the outside by this variable (curl, apt) is told so in docs/reference/network.md.
            .filter(|(key, _)| key != "http_proxy")
            .collect()
    }
}

/// Returns the names that answer inside a stand beside those of its nodes.
pub(super) fn inner_names(order: &Order) -> BTreeMap<String, Vec<IpAddr>> {
    let gateways: Vec<IpAddr> = order
        .addresses
        .networks
        .values()
        .flat_map(|network| network.gateways.iter().copied())
        .collect();
    [(OWN_REGISTRY.to_owned(), gateways)].into()
}

/// Writes down what stands asked of the outside.
pub(super) async fn write_accesses(mut accesses: mpsc::Receiver<Access>, shutdown: Shutdown) {
    loop {
        let access = tokio::select! {
            access = accesses.recv() => access,
            () = shutdown.asked() => return,
        };
        let Some(access) = access else { return };
        let outcome = match &access.outcome {
            Outcome::Passed(status) => status.to_string(),
            Outcome::Broken => "broken".into(),
            Outcome::Refused { status, why } => format!("{status}: {why}"),
        };
        tracing::info!(stand = %access.stand, client = %access.client, method = %access.method, host = %access.host, port = access.port, %outcome, "access through the proxy");
    }
}
