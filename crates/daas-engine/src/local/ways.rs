//! The way out of each stand: opened when its keeper is there, closed with it.

use super::{LocalEngine, SUFFIX, lock};
use crate::dial::DialError;
use crate::egress::{Access, Outcome, ProxyPort, proxy_environment};
use crate::engine::Order;
use crate::error::EngineError;
use crate::layout::Ranges;
use crate::link::Link;
use daas_keeper::launch::PlatformNames;
use daas_model::{Egress, NetworkMode, NodeName, OWN_REGISTRY, ProjectName, StandId};
use daas_tasks::{Handle, Shutdown};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use tokio::net::{TcpListener, UdpSocket};
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

/// The names of the platform as nodes of stands with a way out find them: in their own networks, at the gateways.
pub trait InnerEdge: Send + Sync {
    /// Returns the zones of these names, without their last dots.
    fn zones(&self) -> Vec<String>;

    /// Returns the ports at which they answer, with whether by TLS.
    fn ports(&self) -> Vec<(u16, bool)>;

    /// Serves what connects to `listener`, which is inside a stand, until the handle's task is aborted. Visitors are those of `seen_as`, whoever they say to be.
    fn serve(&self, listener: TcpListener, tls: bool, seen_as: IpAddr) -> Handle<()>;

    /// Answers questions for names that come to `socket`, inside of a stand whose gateways are these, until the handle's task is aborted.
    fn answer(&self, socket: UdpSocket, gateways: Vec<IpAddr>, egress: Egress) -> Handle<()>;
}

/// The port at the gateways where the inner service answers: that of plain HTTP, so that its name needs none.
const INNER_PORT: u16 = 80;
/// The port at the first gateway where the keeper asks for names of the platform.
const NAMES_PORT: u16 = 53;

/// What is served inside of a stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Served {
    Service,
    Edge { tls: bool },
    Names(Egress),
}

/// The open sockets inside, by stand.
#[derive(Debug)]
pub(super) struct Inside {
    net: (u64, u64),
    tasks: BTreeMap<(Served, SocketAddr), Handle<()>>,
}

impl Inside {
    fn of(net: (u64, u64)) -> Self {
        Self {
            net,
            tasks: BTreeMap::new(),
        }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        for task in self.tasks.values() {
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
    /// Opens what is served inside: the inner service at every gateway, of internal networks too, for it is no way out; the names of the platform at
    /// those of networks that have one, if the stand has.
    pub(super) async fn open_inside(&self, order: &Order, link: &Link) {
        let wanted = self.served(order);
        let net = link.net.identity();
        let mut inside = self.inner.ways.inside.lock().await;
        let place = inside
            .entry(order.id.clone())
            .or_insert_with(|| Inside::of(net));
        if place.net != net {
            *place = Inside::of(net);
        }
        for (_, task) in place.tasks.extract_if(.., |key, _| !wanted.contains(key)) {
            task.abort();
        }
        for key in wanted {
            if place.tasks.contains_key(&key) {
                continue;
            }
            match self.open_one(order, link, key).await {
                Ok(Some(task)) => drop(place.tasks.insert(key, task)),
                Ok(None) => {}
                // The stand lives without it; the next look tries again.
                Err(error) => {
                    tracing::warn!(stand = %order.name, address = %key.1, cause = %daas_model::render_chain(&error), "cannot serve inside the stand");
                }
            }
        }
    }

    /// Returns what is served inside of a stand, and where.
    fn served(&self, order: &Order) -> BTreeSet<(Served, SocketAddr)> {
        let mut wanted = BTreeSet::new();
        if self.inner.inner_service.get().is_some() {
            let networks = order.addresses.networks.values();
            let gateways = networks.flat_map(|network| network.gateways.iter());
            wanted.extend(gateways.map(|ip| (Served::Service, SocketAddr::new(*ip, INNER_PORT))));
        }
        if let Some(edge) = self.inner.inner_edge.get() {
            let gateways = ways_out(order);
            for (port, tls) in edge.ports() {
                let at = |ip: &IpAddr| (Served::Edge { tls }, SocketAddr::new(*ip, port));
                wanted.extend(gateways.iter().map(at));
            }
            wanted.extend(names_at(order).map(|at| (Served::Names(order.spec.egress), at)));
        }
        wanted
    }

    async fn open_one(
        &self,
        order: &Order,
        link: &Link,
        (served, address): (Served, SocketAddr),
    ) -> Result<Option<Handle<()>>, DialError> {
        let dialer = &self.inner.dialer;
        Ok(match (served, self.inner.inner_edge.get()) {
            (Served::Service, _) => {
                let listener = dialer.bind_tcp(&link.net, address).await?;
                let service = self.inner.inner_service.get();
                service.map(|service| service.serve(&order.spec.project, listener))
            }
            (Served::Edge { tls }, Some(edge)) => {
                let listener = dialer.bind_tcp(&link.net, address).await?;
                // Addresses of nodes mean nothing outside of their stand, and those of all stands are the same.
                let seen_as = order.host_address.unwrap_or(NOBODY);
                Some(edge.serve(listener, tls, seen_as))
            }
            (Served::Names(egress), Some(edge)) => {
                let socket = dialer.bind_udp(&link.net, address).await?;
                Some(edge.answer(socket, ways_out(order), egress))
            }
            (Served::Edge { .. } | Served::Names(_), None) => None,
        })
    }

    /// Returns what the keeper asks of the daemon: names of the platform, where the stand may reach it.
    pub(super) fn platform_names(&self, order: &Order) -> Option<PlatformNames> {
        Some(PlatformNames {
            server: Some(names_at(order)?),
            zones: self.inner.inner_edge.get()?.zones(),
        })
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
    pub(super) fn proxy_env(&self, order: &Order, node: &NodeName) -> Vec<(String, String)> {
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
        // Names of the platform answer at the gateway itself.
        let zones = self.inner.inner_edge.get().map(|edge| edge.zones());
        let zones = zones.into_iter().flatten();
        let zones = zones.flat_map(|zone| [format!(".{zone}"), zone]);
        let inside: Vec<String> = inside.into_iter().chain(suffix).chain(zones).collect();
        proxy_environment(*gateway, &networks, &inside)
            .into_iter()
            // BusyBox reads this one, knows no `no_proxy`, and would ask the proxy for its own node in every health check. What speaks
            // plain HTTP to the outside by this variable (curl, apt) is told so in docs/reference/network.md.
            .filter(|(key, _)| key != "http_proxy")
            .collect()
    }
}

/// The visitor of a stand that has no address: an address of the block for documentation (RFC 5737), which nobody has.
const NOBODY: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// Returns the gateways of networks through which nodes may go out: none where the stand may not.
fn ways_out(order: &Order) -> Vec<IpAddr> {
    let networks = order.addresses.networks.iter();
    let open = networks.filter(|(name, _)| {
        order.spec.egress != Egress::None
            && order.spec.networks.get(*name).is_some_and(|n| !n.internal)
    });
    open.flat_map(|(_, network)| network.gateways.iter().copied())
        .collect()
}

/// Returns where the keeper asks for names of the platform.
fn names_at(order: &Order) -> Option<SocketAddr> {
    let first = ways_out(order).into_iter().next()?;
    Some(SocketAddr::new(first, NAMES_PORT))
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
