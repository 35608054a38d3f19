//! Listeners, workers, and the life of one connection.
//!
//! One task accepts and hands connections out in turn; every worker is a thread with a runtime of its own, so that a request is read,
//! sent, answered and written without leaving its core.

use crate::pass;
use crate::proxy::Proxy;
use crate::talk::Talk;
use crate::tls::Spoken;
use crate::visit::Visit;
use crate::wire::Timers;
use bytes::BytesMut;
use daas_model::Subnet;
use daas_tasks::{Bans, Counted, Crowd, Shutdown, Supervisor};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;

/// The pause after a failed accept: out of descriptors, the next try fails the same.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Connections that wait to be accepted; the kernel cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
/// How every connection of HTTP/2 begins (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long requests that are under way may take at the end.
const DRAIN: Duration = Duration::from_secs(6);

/// An address at which connections are taken.
#[derive(Debug)]
pub struct Listener {
    socket: StdListener,
    address: SocketAddr,
    tls: bool,
    /// Whose visitors all are that come here, whatever they say.
    seen_as: Option<IpAddr>,
}

impl Listener {
    /// Binds `address`. Port 0 takes a free one.
    ///
    /// # Errors
    /// What the system says: above all that the port is taken.
    pub fn bind(address: SocketAddr, tls: bool) -> io::Result<Self> {
        use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
        let family = if address.is_ipv4() {
            AddressFamily::INET
        } else {
            AddressFamily::INET6
        };
        let socket =
            rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        // A port whose last connections still say good-bye is free.
        sockopt::set_socket_reuseaddr(&socket, true)?;
        if family == AddressFamily::INET6 {
            sockopt::set_ipv6_v6only(&socket, true)?;
        }
        rustix::net::bind(&socket, &address)?;
        rustix::net::listen(&socket, BACKLOG)?;
        Self::adopt(socket, tls)
    }

    /// Takes a listening socket that another process opened: the one before us, or the one that started us.
    ///
    /// # Errors
    /// What the system says when it is no TCP socket.
    pub fn adopt(socket: OwnedFd, tls: bool) -> io::Result<Self> {
        let socket = StdListener::from(socket);
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        Ok(Self {
            socket,
            address,
            tls,
            seen_as: None,
        })
    }

    /// Takes every visitor for one of `ip`, and believes none of them who brings others.
    #[must_use]
    pub fn seen_as(self, ip: IpAddr) -> Self {
        Self {
            seen_as: Some(ip),
            ..self
        }
    }

    /// Returns the address, with the port that the system chose if 0 was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Tells whether TLS is spoken there.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.tls
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A connection on its way from the listener to a worker.
struct Guest {
    stream: StdStream,
    peer: SocketAddr,
    tls: bool,
    /// Whether he may bring others.
    trusted: bool,
    seat: (OwnedSemaphorePermit, Option<Counted>),
}

/// The workers. Connections that are handed out go to the one that has fewest.
#[derive(Clone)]
pub(crate) struct Workers {
    list: Arc<[Worker]>,
    room: Arc<Semaphore>,
    crowd: Crowd,
    timers: Timers,
    trusted: Arc<[Subnet]>,
    bans: Option<Bans>,
}

struct Worker {
    guests: mpsc::UnboundedSender<Guest>,
    load: Arc<AtomicUsize>,
}

impl Workers {
    /// Starts `count` threads.
    pub(crate) fn start(
        count: usize,
        proxy: &Arc<Proxy>,
        tls: Option<TlsAcceptor>,
        timers: Timers,
        trusted: Vec<Subnet>,
        tasks: &Supervisor,
    ) -> Self {
        let list = (0..count).map(|number| {
            let (guests, incoming) = mpsc::unbounded_channel();
            let load = Arc::new(AtomicUsize::new(0));
            let work = Work {
                proxy: proxy.clone(),
                tls: tls.clone(),
                timers,
                tasks: tasks.clone(),
                load: load.clone(),
            };
            drop(
                tasks.run_blocking(format!("ingress worker {number}"), move || {
                    work.live(number, incoming);
                }),
            );
            Worker { guests, load }
        });
        Self {
            list: list.collect(),
            room: Arc::new(Semaphore::new(timers.connections)),
            crowd: Crowd::default(),
            timers,
            trusted: trusted.into(),
            bans: proxy.bans.clone(),
        }
    }

    fn hand(&self, guest: Guest) {
        let least = self
            .list
            .iter()
            .min_by_key(|worker| worker.load.load(Ordering::Relaxed));
        if let Some(worker) = least {
            worker.load.fetch_add(1, Ordering::Relaxed);
            if worker.guests.send(guest).is_err() {
                worker.load.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// Accepts until the shutdown. What waits in the kernel's queue then is left there, for whoever has the socket next.
    pub(crate) async fn accept(self, listener: Arc<Listener>, shutdown: Shutdown) {
        let socket = match listener.socket.try_clone().and_then(TcpListener::from_std) {
            Ok(socket) => socket,
            Err(error) => {
                tracing::error!(address = %listener.address, %error, "cannot wait for connections");
                return;
            }
        };
        loop {
            let accepted = tokio::select! {
                () = shutdown.asked() => return,
                accepted = async {
                    let seat = self.room.clone().acquire_owned().await;
                    (socket.accept().await, seat)
                } => accepted,
            };
            let (Ok((stream, peer)), Ok(seat)) = accepted else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let peer = match listener.seen_as {
                Some(ip) => SocketAddr::new(ip, peer.port()),
                None => peer,
            };
            let mut trusted = self.trusted.iter();
            let trusted = listener.seen_as.is_none()
                && trusted.any(|net| net.contains(peer.ip().to_canonical()));
            // Whoever brings others is judged by them, request by request.
            if !trusted
                && self
                    .bans
                    .as_ref()
                    .is_some_and(|bans| bans.is_banned(peer.ip()))
            {
                continue;
            }
            let counted = self
                .crowd
                .enter(peer.ip(), self.timers.connections_per_address);
            // Dropping the stream closes it: whoever has enough connections gets no further one, unless he brings those of others.
            if counted.is_none() && !trusted {
                continue;
            }
            if let Ok(stream) = stream.into_std() {
                self.hand(Guest {
                    stream,
                    peer,
                    tls: listener.tls,
                    trusted,
                    seat: (seat, counted),
                });
            }
        }
    }
}

/// What one worker needs.
struct Work {
    proxy: Arc<Proxy>,
    tls: Option<TlsAcceptor>,
    timers: Timers,
    tasks: Supervisor,
    load: Arc<AtomicUsize>,
}

/// A connection of a worker; it leaves when dropped.
struct Seated {
    load: Arc<AtomicUsize>,
    _seat: (OwnedSemaphorePermit, Option<Counted>),
}

impl Drop for Seated {
    fn drop(&mut self) {
        self.load.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Work {
    fn live(self, number: usize, incoming: mpsc::UnboundedReceiver<Guest>) {
        crate::backend::sit(number);
        match tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
        {
            Ok(runtime) => {
                let tasks = self.tasks.clone();
                runtime.block_on(Arc::new(self).take_guests(incoming, tasks.shutdown_signal()));
            }
            Err(error) => tracing::error!(%error, "cannot start a worker of the ingress"),
        }
    }

    async fn take_guests(
        self: Arc<Self>,
        mut incoming: mpsc::UnboundedReceiver<Guest>,
        shutdown: Shutdown,
    ) {
        loop {
            let guest = tokio::select! {
                guest = incoming.recv() => guest,
                () = shutdown.asked() => break,
            };
            let Some(guest) = guest else { return };
            self.welcome(guest);
        }
        self.proxy.draining.store(true, Ordering::Relaxed);
        // Those that were accepted already are served too.
        let end = tokio::time::Instant::now() + DRAIN;
        while tokio::time::Instant::now() < end {
            while let Ok(guest) = incoming.try_recv() {
                self.welcome(guest);
            }
            if self.load.load(Ordering::Relaxed) == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn welcome(self: &Arc<Self>, guest: Guest) {
        let work = self.clone();
        drop(self.tasks.run("visitor", move |shutdown| async move {
            let seated = Seated {
                load: work.load.clone(),
                _seat: guest.seat,
            };
            if let Ok(stream) = TcpStream::from_std(guest.stream) {
                // A failure means that the other side is gone already; the first read will say so.
                let _ = stream.set_nodelay(true);
                let visit = Visit::new(guest.peer, guest.tls, guest.trusted);
                work.serve(stream, Arc::new(visit), shutdown).await;
            }
            drop(seated);
        }));
    }

    async fn serve(&self, mut stream: TcpStream, visit: Arc<Visit>, shutdown: Shutdown) {
        if !visit.tls {
            let sniffed = tokio::time::timeout(self.timers.first, sniff(&mut stream));
            if let Ok(Ok((front, spoken))) = sniffed.await {
                self.speak(stream, front, spoken, visit, shutdown).await;
            }
            return;
        }
        let table = self.proxy.now();
        if table.passes_any() {
            let named = tokio::time::timeout(self.timers.first, pass::name_of(&stream));
            let Ok(Ok(name)) = named.await else { return };
            if let Some(entry) = name.as_deref().and_then(|name| table.passed(name)).cloned() {
                drop(table);
                let passed = pass::pass(
                    stream,
                    visit.peer.ip().to_canonical(),
                    entry,
                    &self.proxy.reach,
                );
                tokio::select! {
                    () = passed => {}
                    () = shutdown.asked() => {}
                }
                return;
            }
        }
        drop(table);
        let Some(tls) = &self.tls else { return };
        match tokio::time::timeout(self.timers.first, tls.accept(stream)).await {
            Ok(Ok(stream)) => {
                let spoken = Spoken::of(stream.get_ref().1.alpn_protocol());
                self.speak(stream, BytesMut::new(), spoken, visit, shutdown)
                    .await;
            }
            Ok(Err(error)) => tracing::debug!(%error, peer = %visit.peer, "a handshake failed"),
            Err(_) => {}
        }
    }

    async fn speak<T>(
        &self,
        stream: T,
        front: BytesMut,
        spoken: Spoken,
        visit: Arc<Visit>,
        shutdown: Shutdown,
    ) where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let talk = Talk {
            wire: (stream, front),
            visit,
            proxy: self.proxy.clone(),
            timers: self.timers,
        };
        let ended = match spoken {
            Spoken::Nothing => return,
            Spoken::Http1 => talk.http1(&shutdown).await,
            Spoken::H2 => talk.http2(&shutdown).await,
        };
        if let Err(error) = ended {
            tracing::debug!(cause = %daas_model::render_chain(&error), "a connection ended early");
        }
    }
}

/// Reads as much as tells HTTP/1 from HTTP/2.
async fn sniff(stream: &mut TcpStream) -> io::Result<(BytesMut, Spoken)> {
    let mut front = BytesMut::with_capacity(8 * 1024);
    loop {
        if stream.read_buf(&mut front).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let common = front.len().min(PREFACE.len());
        if front[..common] != PREFACE[..common] {
            return Ok((front, Spoken::Http1));
        }
        if common == PREFACE.len() {
            return Ok((front, Spoken::H2));
        }
    }
}
