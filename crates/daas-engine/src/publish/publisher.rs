use super::copy::Traffic;
use super::error::PublishError;
use super::route::{Route, RouteWatch};
use super::tcp::{self, Shared};
use super::udp;
use crate::dial::{DialError, Dialer, StandNet};
use daas_model::{Protocol, StandId};
use daas_tasks::{Handle, Supervisor};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Semaphore, watch};

/// Connections and UDP clients of one stand at once. Each takes two descriptors, four more when its streams are long.
const MOST_PER_STAND: usize = 4096;

/// One published port and the nodes behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The port at the stand's address.
    pub port: u16,
    /// The protocol.
    pub protocol: Protocol,
    /// Where it leads inside the stand, taken in turn; none while no node is up, then connections are reset at once.
    pub targets: Vec<SocketAddr>,
}

/// What answers after a change and what does not.
#[must_use]
#[derive(Debug, Default)]
pub struct Answering {
    /// The open ports.
    pub open: Vec<(SocketAddr, Protocol)>,
    /// The ports that could not be opened; the next [`Publisher::set`] tries them again.
    pub failed: Vec<PublishError>,
}

/// Holds the published ports of all stands. A clone is another handle of the same.
#[derive(Clone)]
pub struct Publisher {
    inner: Arc<Inner>,
}

struct Inner {
    dialer: Dialer,
    supervisor: Supervisor,
    most_per_stand: usize,
    stands: Mutex<BTreeMap<StandId, Arc<StandPorts>>>,
}

struct StandPorts {
    shared: Shared,
    /// Changes of one stand must not meet, and they wait for tasks: so a lock that may be held meanwhile.
    open: tokio::sync::Mutex<BTreeMap<(SocketAddr, Protocol), OpenPort>>,
}

/// A port that is open as long as this lives.
struct OpenPort {
    route: watch::Sender<Route>,
    task: Handle<()>,
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").finish_non_exhaustive()
    }
}

impl Publisher {
    /// Makes a publisher without ports. Its tasks belong to `supervisor`.
    #[must_use]
    pub fn new(dialer: Dialer, supervisor: Supervisor) -> Self {
        Self::with_room(dialer, supervisor, MOST_PER_STAND)
    }

    /// As [`Publisher::new`], with another number of connections and UDP clients that one stand may have at once.
    #[must_use]
    pub fn with_room(dialer: Dialer, supervisor: Supervisor, most_per_stand: usize) -> Self {
        let stands = Mutex::default();
        Self {
            inner: Arc::new(Inner {
                dialer,
                supervisor,
                most_per_stand,
                stands,
            }),
        }
    }

    /// Makes exactly `routes` answer at `address`. Only what differs is touched: a port with other targets stays open,
    /// connections to targets that are still there go on.
    ///
    /// Returns when closed ports are closed and opened ones listen. A port that fails does not hinder the others.
    pub async fn set(
        &self,
        stand: &StandId,
        net: &Arc<StandNet>,
        address: IpAddr,
        routes: &[Published],
    ) -> Answering {
        let ports = self.stand(stand);
        let mut open = ports.open.lock().await;
        let mut answering = Answering::default();
        let mut wanted = BTreeMap::new();
        for published in routes {
            let key = (SocketAddr::new(address, published.port), published.protocol);
            let route = Route {
                net: net.clone(),
                targets: published.targets.clone().into(),
            };
            if wanted.insert(key, route).is_some() {
                let (address, protocol) = key;
                answering.failed.push(PublishError::Twice {
                    stand: stand.clone(),
                    address,
                    protocol,
                });
            }
        }
        let gone: BTreeSet<_> = open
            .keys()
            .filter(|key| !wanted.contains_key(key))
            .copied()
            .collect();
        let (closing, kept) = std::mem::take(&mut *open)
            .into_iter()
            .partition(|(key, _)| gone.contains(key));
        *open = kept;
        close_all(closing).await;
        for (key, route) in wanted {
            if let Some(port) = open.get(&key) {
                port.route
                    .send_if_modified(|now| std::mem::replace(now, route.clone()) != route);
                answering.open.push(key);
                continue;
            }
            match self.open(stand, key, route, &ports.shared).await {
                Ok((_, port)) => {
                    open.insert(key, port);
                    answering.open.push(key);
                }
                Err(error) => answering.failed.push(error),
            }
        }
        answering
    }

    /// Closes all ports of a stand and resets their connections. Returns when it is done; at once for an unknown stand.
    pub async fn remove(&self, stand: &StandId) {
        let ports = self.stands().remove(stand);
        if let Some(ports) = ports {
            let closing = std::mem::take(&mut *ports.open.lock().await);
            close_all(closing).await;
        }
    }

    /// Opens any local address to nodes of a stand, until the answer is dropped. Port 0 takes a free one.
    ///
    /// # Errors
    /// As of a published port, see [`PublishError`].
    pub async fn forward(
        &self,
        stand: &StandId,
        net: &Arc<StandNet>,
        listen: SocketAddr,
        protocol: Protocol,
        targets: &[SocketAddr],
    ) -> Result<Forward, PublishError> {
        let route = Route {
            net: net.clone(),
            targets: targets.into(),
        };
        let (address, port) = self
            .open(stand, (listen, protocol), route, &self.shared())
            .await?;
        Ok(Forward { address, port })
    }

    /// Returns the bytes that went through the published ports of a stand since it was first published: in and out.
    #[must_use]
    pub fn traffic(&self, stand: &StandId) -> Option<(u64, u64)> {
        let ports = self.stands().get(stand)?.clone();
        let traffic = &ports.shared.traffic;
        Some((
            traffic.inward.load(Ordering::Relaxed),
            traffic.outward.load(Ordering::Relaxed),
        ))
    }

    fn stands(&self) -> std::sync::MutexGuard<'_, BTreeMap<StandId, Arc<StandPorts>>> {
        self.inner
            .stands
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn stand(&self, stand: &StandId) -> Arc<StandPorts> {
        let make = || {
            Arc::new(StandPorts {
                shared: self.shared(),
                open: tokio::sync::Mutex::default(),
            })
        };
        self.stands()
            .entry(stand.clone())
            .or_insert_with(make)
            .clone()
    }

    fn shared(&self) -> Shared {
        Shared {
            dialer: self.inner.dialer.clone(),
            room: Arc::new(Semaphore::new(self.inner.most_per_stand)),
            traffic: Arc::new(Traffic::default()),
        }
    }

    async fn open(
        &self,
        stand: &StandId,
        (address, protocol): (SocketAddr, Protocol),
        route: Route,
        shared: &Shared,
    ) -> Result<(SocketAddr, OpenPort), PublishError> {
        let failed = |error| PublishError::of(stand, address, protocol, cause(error));
        let name = format!("publish {stand} {address}/{protocol}");
        let dialer = &self.inner.dialer;
        let (route, watch): (_, RouteWatch) = watch::channel(route);
        let shared = shared.clone();
        let (bound, task) = match protocol {
            Protocol::Tcp => {
                let listener = dialer
                    .bind_tcp(dialer.home(), address)
                    .await
                    .map_err(failed)?;
                let bound = listener.local_addr();
                (
                    bound,
                    self.inner.supervisor.run(name, |shutdown| {
                        tcp::serve(listener, watch, shared, shutdown)
                    }),
                )
            }
            Protocol::Udp => {
                let socket = dialer
                    .bind_udp(dialer.home(), address)
                    .await
                    .map_err(failed)?;
                let bound = socket.local_addr();
                (
                    bound,
                    self.inner
                        .supervisor
                        .run(name, |shutdown| udp::serve(socket, watch, shared, shutdown)),
                )
            }
        };
        Ok((bound.unwrap_or(address), OpenPort { route, task }))
    }
}

/// A local address that leads to nodes of a stand, open as long as this lives.
pub struct Forward {
    address: SocketAddr,
    port: OpenPort,
}

impl Forward {
    /// Returns the address that answers.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets it lead to other nodes from now on: connections to nodes that are still among them go on, the address stays open.
    pub fn lead(&self, net: &Arc<StandNet>, targets: &[SocketAddr]) {
        let route = Route {
            net: net.clone(),
            targets: targets.into(),
        };
        self.port
            .route
            .send_if_modified(|now| std::mem::replace(now, route.clone()) != route);
    }

    /// Closes it and its connections. Returns when it is done; dropping it does the same without the wait.
    pub async fn close(self) {
        close_all([((self.address, Protocol::Tcp), self.port)].into()).await;
    }
}

impl fmt::Debug for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forward")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// Closes ports and waits until nothing of them is left.
async fn close_all(ports: BTreeMap<(SocketAddr, Protocol), OpenPort>) {
    let tasks: Vec<_> = ports
        .into_values()
        .map(|OpenPort { route, task }| {
            drop(route);
            task
        })
        .collect();
    for task in tasks {
        // A task that was lost at the shutdown is closed as well.
        let _ = task.await;
    }
}

/// Takes the kernel's words out of the dialer's, which speak of a stand's network and not of the host's.
fn cause(error: DialError) -> io::Error {
    match error {
        DialError::Visit { source, .. }
        | DialError::Bind { source, .. }
        | DialError::Connect { source, .. } => source,
        DialError::Lost { .. } | DialError::TimedOut { .. } => io::Error::other(error),
    }
}
