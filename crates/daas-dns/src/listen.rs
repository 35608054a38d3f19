//! Sockets: several for UDP at each address, so that the kernel spreads askers over cores, and one listener for TCP.

use crate::answer::Transport;
use crate::desk::{Act, Asker, Desk};
use crate::dns::{Dns, Inner};
use crate::error::DnsError;
use crate::kind::Rcode;
use crate::late;
use crate::limit::{Limiter, Verdict};
use crate::request::{HEADER, Header};
use daas_sys::datagram::{self, Local};
use daas_tasks::Shutdown;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;

/// Most sockets for UDP at one address.
const MOST_SOCKETS: usize = 4;
/// Octets of the kernel's queue of questions at each: some milliseconds of full load.
const QUEUE: usize = 4 << 20;
/// How many questions are answered before others get the core.
const TOGETHER: usize = 64;
/// Octets of the longest question over UDP: an update of a whole name fits.
const MOST_QUESTION: usize = 4096;
/// Connections over TCP at one address.
const MOST_CONNECTIONS: usize = 512;
/// How long a connection may be silent (RFC 7766 section 6.2.3 wants some seconds).
const IDLE: Duration = Duration::from_secs(10);
/// Octets that are written within one such time.
const PIECE: usize = 128 * 1024;
/// How long a message may take to come or to go.
const MESSAGE: Duration = Duration::from_secs(5);

/// An address that is bound and not answered at yet.
pub struct Bound {
    udp: Vec<std::net::UdpSocket>,
    tcp: std::net::TcpListener,
    address: SocketAddr,
}

impl std::fmt::Debug for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bound")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Bound {
    /// Binds UDP and TCP at `address`; port 0 takes one that is free for both.
    ///
    /// # Errors
    /// [`DnsError::Listen`] if the system refuses.
    pub fn bind(address: SocketAddr) -> Result<Self, DnsError> {
        // A port that is free for TCP may be taken for UDP; another one is tried then.
        let mut tries = if address.port() == 0 { 16 } else { 1 };
        loop {
            tries -= 1;
            match bind_both(address) {
                Ok(bound) => return Ok(bound),
                Err(error) if tries > 0 && error.kind() == io::ErrorKind::AddrInUse => {}
                Err(source) => return Err(DnsError::Listen { address, source }),
            }
        }
    }

    /// Returns the address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn bind_both(address: SocketAddr) -> io::Result<Bound> {
    let tcp = std::net::TcpListener::bind(address)?;
    tcp.set_nonblocking(true)?;
    let address = tcp.local_addr()?;
    // The first one alone, so that another server's socket is seen; it would share its port otherwise.
    drop(std::net::UdpSocket::bind(address)?);
    let count = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(MOST_SOCKETS);
    let udp = (0..count)
        .map(|_| bind_udp(address))
        .collect::<io::Result<_>>()?;
    Ok(Bound { udp, tcp, address })
}

fn bind_udp(address: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::DGRAM, flags, None)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    // The kernel takes what its own limit allows.
    let _ = sockopt::set_socket_recv_buffer_size(&socket, QUEUE);
    if address.ip().is_unspecified() {
        // Answers must come from the address that was asked, or askers and their firewalls drop them.
        datagram::tell_destination(socket.as_fd(), address.is_ipv6())?;
    }
    rustix::net::bind(&socket, &address)?;
    Ok(std::net::UdpSocket::from(socket))
}

impl Dns {
    /// Answers at a bound address until the shutdown.
    ///
    /// # Errors
    /// [`DnsError::Listen`] if the runtime cannot take the sockets.
    pub fn listen(&self, bound: Bound) -> Result<(), DnsError> {
        let Bound { udp, tcp, address } = bound;
        let failed = |source| DnsError::Listen { address, source };
        let sockets = udp.len();
        for socket in udp {
            let socket = UdpSocket::from_std(socket).map_err(failed)?;
            let inner = self.inner.clone();
            let rate = self
                .inner
                .settings
                .limit
                .div_ceil(u32::try_from(sockets).unwrap_or(1));
            drop(
                self.inner
                    .tasks
                    .run(format!("dns udp {address}"), move |shutdown| async move {
                        Udp::new(inner, socket, rate).run(shutdown).await;
                    }),
            );
        }
        let listener = TcpListener::from_std(tcp).map_err(failed)?;
        let inner = self.inner.clone();
        drop(
            self.inner
                .tasks
                .run(format!("dns tcp {address}"), move |shutdown| async move {
                    accept(inner, listener, shutdown).await;
                }),
        );
        Ok(())
    }
}

/// One socket for UDP.
struct Udp {
    inner: Arc<Inner>,
    socket: Arc<UdpSocket>,
    /// Whether it listens at every address.
    everywhere: bool,
    desk: Desk,
    limiter: Limiter,
}

impl Udp {
    fn new(inner: Arc<Inner>, socket: UdpSocket, rate: u32) -> Self {
        Self {
            desk: Desk::new(inner.clone()),
            limiter: Limiter::new(rate),
            inner,
            everywhere: socket.local_addr().is_ok_and(|at| at.ip().is_unspecified()),
            socket: Arc::new(socket),
        }
    }

    async fn run(mut self, shutdown: Shutdown) {
        let mut question = vec![0; MOST_QUESTION];
        loop {
            let readable = tokio::select! {
                readable = self.socket.readable() => readable,
                () = shutdown.asked() => return,
            };
            if readable.is_err() {
                // The runtime is going down.
                return;
            }
            for _ in 0..TOGETHER {
                match self.receive(&mut question) {
                    Ok((length, from, at)) => self.answer(&question[..length], from, at),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // What a former answer met on its way (a closed port) is told here; the next question is another's.
                    Err(_) => {}
                }
            }
            tokio::task::yield_now().await;
        }
    }

    fn receive(&self, question: &mut [u8]) -> io::Result<(usize, SocketAddr, Option<Local>)> {
        if self.everywhere {
            let socket = &self.socket;
            return socket.try_io(Interest::READABLE, || {
                datagram::receive(socket.as_fd(), question)
            });
        }
        let (length, from) = self.socket.try_recv_from(question)?;
        Ok((length, from, None))
    }

    fn answer(&mut self, question: &[u8], from: SocketAddr, at: Option<Local>) {
        // Port 0 is nobody, and a low port of services that answer anything would make an echo of two servers.
        if from.port() == 0 {
            return;
        }
        let asker = Asker {
            ip: from.ip(),
            transport: Transport::Udp,
        };
        match self.desk.take(question, asker) {
            Act::Reply => {}
            Act::Late => return self.answer_later(question, from, at, asker),
            Act::Silence => return,
        }
        if !is_unlimited(&self.inner, from.ip()) {
            let header = Header::read(self.desk.writer.octets());
            let rcode = Rcode(header.map_or(0, Header::rcode));
            let what = question.get(HEADER..).unwrap_or_default();
            let what = &what[..what.len().min(64)];
            match self.limiter.judge(from.ip(), rcode, what, Instant::now()) {
                Verdict::Send => {}
                Verdict::Cut if self.desk.cut(question) => {}
                Verdict::Cut | Verdict::Drop => return,
            }
        }
        let _ = send(&self.socket, self.desk.writer.octets(), from, at);
    }

    fn answer_later(&self, question: &[u8], from: SocketAddr, at: Option<Local>, asker: Asker) {
        let Ok(place) = self.inner.late.clone().try_acquire_owned() else {
            return;
        };
        let (inner, socket, question) =
            (self.inner.clone(), self.socket.clone(), question.to_vec());
        drop(
            self.inner
                .tasks
                .run("dns message", move |shutdown| async move {
                    let _place = place;
                    let messages = tokio::select! {
                        messages = late::answer(&inner, &question, asker) => messages,
                        () = shutdown.asked() => return,
                    };
                    if let Some(message) = messages.first() {
                        let _ = send(&socket, message, from, at);
                    }
                }),
        );
    }
}

/// Sends an answer from where it was asked. A queue that is full loses it, as the network may; the asker asks again.
fn send(
    socket: &UdpSocket,
    message: &[u8],
    to: SocketAddr,
    at: Option<Local>,
) -> io::Result<usize> {
    match at {
        Some(at) => socket.try_io(Interest::WRITABLE, || {
            datagram::send(socket.as_fd(), message, to, at)
        }),
        None => socket.try_send_to(message, to),
    }
}

/// Tells whether an asker is of the machine or of a network that is served without a limit.
fn is_unlimited(inner: &Inner, ip: IpAddr) -> bool {
    ip.is_loopback()
        || inner
            .settings
            .clients
            .iter()
            .any(|block| block.contains(ip))
}

async fn accept(inner: Arc<Inner>, listener: TcpListener, shutdown: Shutdown) {
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.asked() => return,
        };
        let Ok((stream, from)) = accepted else {
            // Out of descriptors, or the connection is gone already.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        // One more than fits is closed at once: it comes back when it means it.
        let Ok(place) = places.clone().try_acquire_owned() else {
            continue;
        };
        let served = inner.clone();
        drop(inner.tasks.run(
            format!("dns connection {from}"),
            move |shutdown| async move {
                let _place = place;
                let asker = Asker {
                    ip: from.ip(),
                    transport: Transport::Tcp,
                };
                tokio::select! {
                    // How a connection ends is its asker's business.
                    _ = converse(served, stream, asker) => {}
                    () = shutdown.asked() => {}
                }
            },
        ));
    }
}

/// Answers the messages of one connection in their order.
async fn converse(inner: Arc<Inner>, mut stream: TcpStream, asker: Asker) -> io::Result<()> {
    let mut desk = Desk::new(inner.clone());
    let mut question = Vec::new();
    let mut reply = Vec::new();
    loop {
        let length = tokio::time::timeout(IDLE, stream.read_u16()).await??;
        question.resize(usize::from(length), 0);
        tokio::time::timeout(MESSAGE, stream.read_exact(&mut question)).await??;
        reply.clear();
        match desk.take(&question, asker) {
            Act::Reply => frame(desk.writer.octets(), &mut reply),
            Act::Late => {
                let messages = late::answer(&inner, &question, asker).await;
                messages
                    .iter()
                    .for_each(|message| frame(message, &mut reply));
            }
            // An answer in place of a question, or noise.
            Act::Silence => return Ok(()),
        }
        // In pieces, each with a time of its own: a transfer may be long, but it must move.
        for piece in reply.chunks(PIECE) {
            tokio::time::timeout(MESSAGE, stream.write_all(piece)).await??;
        }
    }
}

/// Puts a message behind its length (RFC 1035 section 4.2.2).
pub(crate) fn frame(message: &[u8], into: &mut Vec<u8>) {
    // A writer takes no more than its limit, which is never above 65,535.
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    into.extend_from_slice(&length.to_be_bytes());
    into.extend_from_slice(message);
}
