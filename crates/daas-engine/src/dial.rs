//! Reaches into a stand's network from the daemon.
//!
//! A socket belongs for ever to the network namespace in which it was made. So a thread of the dialer enters the
//! stand's router namespace, makes a socket and comes home; everything after that happens on the caller's side as with any
//! socket. No address is translated, no port is mapped, and equal addresses in many stands do not meet.
//!
//! Not here: who listens on the host and for what (`publish`), ways out of a stand (`egress`).

use daas_model::{Explain, Kind};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::sync::oneshot;

/// Two: a visit takes about ten microseconds, and the second thread works on while the first one waits for the kernel's
/// network lock.
const THREADS: usize = 2;
/// Connections that wait to be accepted, per listener; the kernel cuts it to `net.core.somaxconn`.
const BACKLOG: u32 = 1024;

/// How many sockets for TCP are made at a time: one visit to a stand's network serves as many connections.
const SOCKETS: usize = 8;
/// With so few left the next ones are made, while nobody waits for them.
const FEW: usize = 4;

/// A network namespace that is kept alive: usually the router namespace of one stand.
#[derive(Debug)]
pub struct StandNet {
    namespace: OwnedFd,
    identity: (u64, u64),
    /// Sockets for TCP over IPv4 that were made in it and are not connected yet.
    sockets: Mutex<Vec<OwnedFd>>,
}

impl StandNet {
    /// Keeps the namespace behind an open `/proc/<pid>/ns/net`.
    ///
    /// # Errors
    /// What the kernel says when the descriptor cannot be looked at.
    pub fn new(namespace: OwnedFd) -> io::Result<Self> {
        let stat = rustix::fs::fstat(&namespace)?;
        Ok(Self {
            namespace,
            identity: (stat.st_dev, stat.st_ino),
            sockets: Mutex::default(),
        })
    }

    fn sockets(&self) -> MutexGuard<'_, Vec<OwnedFd>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a namespace by its path, `/proc/<pid>/ns/net`. The caller knows that `pid` is still the wanted process.
    ///
    /// # Errors
    /// What the kernel says when the path does not open.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::new(File::open(path)?.into())
    }

    /// Returns what tells two living namespaces apart: device and inode number.
    #[must_use]
    pub fn identity(&self) -> (u64, u64) {
        self.identity
    }
}

impl AsFd for StandNet {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.namespace.as_fd()
    }
}

impl PartialEq for StandNet {
    /// Two are equal if they are the same namespace. Both are open, so neither number can have been given out twice.
    fn eq(&self, other: &Self) -> bool {
        self.identity == other.identity
    }
}

impl Eq for StandNet {}

/// A socket that could not be made, bound or connected inside a namespace.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The thread could not enter the namespace, or the work inside failed.
    #[error("cannot {action} inside the stand's network")]
    Visit {
        /// What was to be done there.
        action: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The work inside the namespace panicked.
    #[error("cannot {action} inside the stand's network: the visit was lost")]
    Lost {
        /// What was to be done there.
        action: &'static str,
    },
    /// The address does not take the socket.
    #[error("cannot bind {address} inside the stand's network")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// Nobody answers at the address.
    #[error("cannot connect to {address} inside the stand's network")]
    Connect {
        /// The address.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// Nothing was heard from the address in time.
    #[error("cannot connect to {address} inside the stand's network within {} ms", after.as_millis())]
    TimedOut {
        /// The address.
        address: SocketAddr,
        /// The time given.
        after: Duration,
    },
}

impl Explain for DialError {
    fn code(&self) -> &'static str {
        match self {
            Self::Visit { .. } => "dial-visit",
            Self::Lost { .. } => "dial-lost",
            Self::Bind { .. } => "dial-bind",
            Self::Connect { .. } => "dial-refused",
            Self::TimedOut { .. } => "dial-timeout",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Visit { .. } | Self::Bind { .. } => Kind::Outside,
            Self::Lost { .. } => Kind::Bug,
            Self::Connect { .. } | Self::TimedOut { .. } => Kind::Busy {
                retry_after: Duration::from_secs(1),
            },
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Connect { .. } | Self::TimedOut { .. } => Some(
                "look whether the node runs and listens at this port: `daas stand show`".into(),
            ),
            Self::Visit { .. } | Self::Lost { .. } | Self::Bind { .. } => None,
        }
    }
}

/// A unit of work for a thread of the dialer; it gets the home namespace.
type Visit = Box<dyn FnOnce(BorrowedFd<'_>) + Send>;

/// Makes sockets in other network namespaces. A clone uses the same threads; they end with the last clone.
#[derive(Debug, Clone)]
pub struct Dialer {
    queue: mpsc::Sender<Visit>,
    home: Arc<StandNet>,
}

impl Dialer {
    /// Starts the threads. Home is the network namespace of the calling thread.
    ///
    /// # Errors
    /// What the kernel says when the namespace cannot be opened or a thread cannot be started.
    pub fn new() -> io::Result<Self> {
        Self::at_home_in(Arc::new(StandNet::open("/proc/thread-self/ns/net")?))
    }

    /// Starts the threads with another home; for tests, that never change the real host.
    ///
    /// # Errors
    /// What the kernel says when a thread cannot be started.
    pub fn at_home_in(home: Arc<StandNet>) -> io::Result<Self> {
        let (queue, visits) = mpsc::channel::<Visit>();
        let visits = Arc::new(Mutex::new(visits));
        for number in 0..THREADS {
            let (home, visits) = (home.clone(), visits.clone());
            std::thread::Builder::new()
                .name(format!("daas-dial-{number}"))
                .spawn(move || live(&home, &visits))?;
        }
        Ok(Self { queue, home })
    }

    /// Returns the network that its threads come home to: the host's.
    #[must_use]
    pub fn home(&self) -> &Arc<StandNet> {
        &self.home
    }

    /// Runs `work` on a thread that is inside `net` meanwhile. A process that `work` starts is born there.
    ///
    /// `work` should be short and must not keep anything that depends on the thread. It runs to its end even if the
    /// answer is no longer waited for.
    ///
    /// # Errors
    /// [`DialError::Visit`] if the namespace cannot be entered or `work` fails, [`DialError::Lost`] if it panics.
    pub async fn visit<T: Send + 'static>(
        &self,
        net: &Arc<StandNet>,
        action: &'static str,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, DialError> {
        let net = net.clone();
        self.send(action, move |home| away(&net, home, work)).await
    }

    /// Runs `work` on a thread that is at home: the same as [`Dialer::visit`] without the way.
    ///
    /// # Errors
    /// As of [`Dialer::visit`].
    pub async fn at_home<T: Send + 'static>(
        &self,
        action: &'static str,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, DialError> {
        self.send(action, |_home| work()).await
    }

    async fn send<T: Send + 'static>(
        &self,
        action: &'static str,
        work: impl FnOnce(BorrowedFd<'_>) -> io::Result<T> + Send + 'static,
    ) -> Result<T, DialError> {
        let (reply, answer) = oneshot::channel();
        let visit: Visit = Box::new(move |home| {
            // Nobody waits any more: what was made is dropped, which closes it.
            let _ = reply.send(work(home));
        });
        self.queue
            .send(visit)
            .map_err(|_| DialError::Lost { action })?;
        answer
            .await
            .map_err(|_| DialError::Lost { action })?
            .map_err(|source| DialError::Visit { action, source })
    }

    async fn socket(
        &self,
        net: &Arc<StandNet>,
        address: SocketAddr,
        kind: SocketType,
    ) -> Result<OwnedFd, DialError> {
        let family = if address.is_ipv4() {
            AddressFamily::INET
        } else {
            AddressFamily::INET6
        };
        self.visit(net, "make a socket", move || {
            let socket = make(family, kind)?;
            if family == AddressFamily::INET6 {
                rustix::net::sockopt::set_ipv6_v6only(&socket, true)?;
            }
            Ok(socket)
        })
        .await
    }

    /// Returns a socket for TCP to `address`, mostly one that was made before: a visit is two more turns of the processors' queue.
    async fn stream(&self, net: &Arc<StandNet>, address: SocketAddr) -> Result<OwnedFd, DialError> {
        if address.is_ipv6() {
            return self.socket(net, address, SocketType::STREAM).await;
        }
        let (socket, left) = {
            let mut sockets = net.sockets();
            (sockets.pop(), sockets.len())
        };
        if left == FEW || socket.is_none() {
            self.make_ahead(net);
        }
        match socket {
            Some(socket) => Ok(socket),
            None => self.socket(net, address, SocketType::STREAM).await,
        }
    }

    /// Makes sockets for the connections to come; nobody waits for it.
    fn make_ahead(&self, net: &Arc<StandNet>) {
        let net = net.clone();
        let visit: Visit = Box::new(move |home| {
            let made = away(&net, home, || {
                (0..SOCKETS)
                    .map(|_| make(AddressFamily::INET, SocketType::STREAM))
                    .collect::<io::Result<Vec<_>>>()
            });
            // Without them the next connection makes its own, and says what is wrong.
            if let Ok(made) = made {
                net.sockets().extend(made);
            }
        });
        // The threads are gone at the end of the program only.
        let _ = self.queue.send(visit);
    }

    /// Connects to `address` inside `net` by TCP. Safe to drop at any time.
    ///
    /// # Errors
    /// [`DialError::Connect`] if it is refused or unreachable, [`DialError::TimedOut`] if nothing is heard within `timeout`.
    pub async fn connect_tcp(
        &self,
        net: &Arc<StandNet>,
        address: SocketAddr,
        timeout: Duration,
    ) -> Result<TcpStream, DialError> {
        let socket = self.stream(net, address).await?;
        let socket = TcpSocket::from_std_stream(socket.into());
        match tokio::time::timeout(timeout, socket.connect(address)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(source)) => Err(DialError::Connect { address, source }),
            Err(_) => Err(DialError::TimedOut {
                address,
                after: timeout,
            }),
        }
    }

    /// Listens at `address` inside `net` by TCP.
    ///
    /// # Errors
    /// [`DialError::Bind`] if the address is taken or not of the namespace.
    pub async fn bind_tcp(
        &self,
        net: &Arc<StandNet>,
        address: SocketAddr,
    ) -> Result<TcpListener, DialError> {
        let failed = |source| DialError::Bind { address, source };
        let socket = self.socket(net, address, SocketType::STREAM).await?;
        let socket = TcpSocket::from_std_stream(socket.into());
        // A port that was closed a moment ago is ours to open again.
        socket.set_reuseaddr(true).map_err(failed)?;
        socket.bind(address).map_err(failed)?;
        socket.listen(BACKLOG).map_err(failed)
    }

    /// Binds a UDP socket to `address` inside `net`.
    ///
    /// # Errors
    /// [`DialError::Bind`] if the address is taken or not of the namespace.
    pub async fn bind_udp(
        &self,
        net: &Arc<StandNet>,
        address: SocketAddr,
    ) -> Result<UdpSocket, DialError> {
        let socket = self.socket(net, address, SocketType::DGRAM).await?;
        rustix::net::bind(&socket, &address)
            .map_err(io::Error::from)
            .and_then(|()| UdpSocket::from_std(socket.into()))
            .map_err(|source| DialError::Bind { address, source })
    }

    /// Makes a UDP socket inside `net` that speaks only with `address`.
    ///
    /// # Errors
    /// [`DialError::Connect`] if there is no way to the address.
    pub async fn connect_udp(
        &self,
        net: &Arc<StandNet>,
        address: SocketAddr,
    ) -> Result<UdpSocket, DialError> {
        let socket = self.socket(net, address, SocketType::DGRAM).await?;
        rustix::net::connect(&socket, &address)
            .map_err(io::Error::from)
            .and_then(|()| UdpSocket::from_std(socket.into()))
            .map_err(|source| DialError::Connect { address, source })
    }
}

fn make(family: AddressFamily, kind: SocketType) -> io::Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    Ok(rustix::net::socket_with(family, kind, flags, None)?)
}

/// The life of one thread.
fn live(home: &StandNet, visits: &Mutex<mpsc::Receiver<Visit>>) {
    if let Err(error) = enter(home.as_fd()) {
        tracing::error!(%error, "a thread of the dialer cannot go to its home network, it ends");
        return;
    }
    loop {
        let next = visits.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(visit) = next else { return };
        // The asker hears of a panic because its answer never comes; the next asker still needs the thread.
        let _ = catch_unwind(AssertUnwindSafe(|| visit(home.as_fd())));
    }
}

/// Runs `work` inside `net` and comes back, even from a panic.
fn away<T>(
    net: &StandNet,
    home: BorrowedFd<'_>,
    work: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    enter(net.as_fd())?;
    let _way_back = WayBack { home };
    work()
}

fn enter(net: BorrowedFd<'_>) -> io::Result<()> {
    Ok(move_into_link_name_space(
        net,
        Some(LinkNameSpaceType::Network),
    )?)
}

struct WayBack<'a> {
    home: BorrowedFd<'a>,
}

impl Drop for WayBack<'_> {
    fn drop(&mut self) {
        if enter(self.home).is_err() {
            // A thread that stays in a stand's network would serve one stand's connections into another one.
            std::process::abort();
        }
    }
}
