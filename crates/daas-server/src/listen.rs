//! The accept loops: who comes in, how many at once, and how long he may be silent.

use crate::access::{Identity, Stranger};
use crate::door::{self, KnownClients, TcpDoor, UnixDoor};
use crate::slow::{Read, Timers};
use crate::token::Tokens;
use axum::Router;
use axum::body::Body;
use daas_http::{Patience, Upload, discard, taker};
use daas_model::{Subnet, visitor};
use daas_tasks::{Bans, Crowd, Shutdown, Supervisor};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderMap};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

/// The pause after a failed accept: out of descriptors, the next try fails the same.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The most bytes of a request's head: an image name or node path fits many times.
const MOST_HEAD: usize = 32 * 1024;
/// The most bytes of a body that are read at once, and of a head with it: fewer calls of the kernel for contents of gigabytes.
const MOST_CONTENT: usize = 256 * 1024;
/// What may be on its way to somebody on this machine, in bytes; the kernel takes twice that, its own books included.
///
/// No distance is to be bridged, and what is small stays in the processor's cache between the copy into the socket and the copy out of
/// it: a pull is half as fast again as with the 4 MiB that the kernel would let it grow to (reference/registry.md).
const NEAR_SEND: usize = 128 * 1024;
/// The most fields of a request's head.
const MOST_FIELDS: usize = 64;

/// How the caller of a connection is known.
#[derive(Clone)]
enum Peer {
    /// By the kernel, once for the connection.
    Process(Option<Identity>),
    /// By his certificate, once for the connection, else by his token, with each request.
    Bearer(Arc<Tokens>, Option<Identity>),
    /// Not here: what answers judges him itself.
    Unasked,
}

/// Who comes, and who counts his failures.
#[derive(Clone)]
struct Guest {
    peer: Peer,
    /// Who counts his failures, if somebody does.
    counted: Option<Counter>,
}

/// Who counts the failures of those who come by one connection.
#[derive(Clone)]
struct Counter {
    bans: Bans,
    peer: IpAddr,
    /// Those who are believed about whom they bring.
    trusted: Arc<[Subnet]>,
}

impl Counter {
    /// Returns who sent a request.
    fn visitor(&self, headers: &HeaderMap) -> IpAddr {
        let said = headers.get_all("x-forwarded-for").iter();
        let said = said.filter_map(|value| value.to_str().ok());
        visitor(self.peer, said, &self.trusted)
    }
}

impl Guest {
    /// Notes whom his certificate shows.
    fn known(mut self, identity: Option<Identity>) -> Self {
        if let (Peer::Bearer(_, known), Some(identity)) = (&mut self.peer, identity) {
            *known = Some(identity);
        }
        self
    }
}

impl Peer {
    /// Returns how much is read at once: heads for the API, contents of images for what judges itself.
    fn most_read(&self) -> usize {
        match self {
            Self::Process(_) | Self::Bearer(..) => MOST_HEAD,
            Self::Unasked => MOST_CONTENT,
        }
    }
}

pub(crate) async fn unix(
    door: UnixDoor,
    router: Router,
    supervisor: Supervisor,
    timers: Timers,
    shutdown: Shutdown,
) {
    let room = Arc::new(Semaphore::new(timers.connections));
    loop {
        let accepted = tokio::select! {
            () = shutdown.asked() => break,
            accepted = async {
                let seat = room.clone().acquire_owned().await;
                (door.listener.accept().await, seat)
            } => accepted,
        };
        let (Ok((stream, _)), seat) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let router = router.clone();
        drop(supervisor.run("connection", move |shutdown| async move {
            let _seat = seat;
            let peer = Peer::Process(door::identify(&stream));
            let guest = Guest {
                peer,
                counted: None,
            };
            if in_time(stream.readable(), timers.first_byte).await {
                serve(stream, guest, router, timers, shutdown).await;
            }
        }));
    }
    let _ = std::fs::remove_file(&door.path);
}

pub(crate) async fn tcp(
    door: TcpDoor,
    router: Router,
    supervisor: Supervisor,
    timers: Timers,
    shutdown: Shutdown,
) {
    let peer = Peer::Bearer(Arc::new(door.tokens), None);
    let clients = door.clients;
    let door = Plain {
        listener: door.listener,
        tls: door.tls,
        guard: door.guard,
        near: false,
    };
    accept(door, peer, clients, router, supervisor, timers, shutdown).await;
}

/// Serves everybody who comes to an address; what answers judges them itself.
pub(crate) async fn open(
    door: Plain,
    router: Router,
    supervisor: Supervisor,
    timers: Timers,
    shutdown: Shutdown,
) {
    accept(
        door,
        Peer::Unasked,
        None,
        router,
        supervisor,
        timers,
        shutdown,
    )
    .await;
}

/// A listener, with or without TLS.
pub(crate) struct Plain {
    pub(crate) listener: TcpListener,
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) guard: Guard,
    /// Whether everybody who comes is on this machine, whatever his address.
    pub(crate) near: bool,
}

/// Who is kept out of a door.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    /// Who counts failures.
    pub bans: Option<Bans>,
    /// Proxies: whom they bring is judged, request by request, and not they.
    pub trusted: Arc<[Subnet]>,
}

impl Guard {
    fn trusts(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.trusted.iter().any(|net| net.contains(ip))
    }

    /// Returns who counts for this peer; an error for one who is kept out.
    fn counts(&self, ip: IpAddr) -> Result<Option<Counter>, ()> {
        let Some(bans) = &self.bans else {
            return Ok(None);
        };
        let peer = ip.to_canonical();
        if !self.trusts(peer) && bans.is_banned(peer) {
            return Err(());
        }
        Ok(Some(Counter {
            bans: bans.clone(),
            peer,
            trusted: self.trusted.clone(),
        }))
    }
}

async fn accept(
    door: Plain,
    peer: Peer,
    clients: Option<KnownClients>,
    router: Router,
    supervisor: Supervisor,
    timers: Timers,
    shutdown: Shutdown,
) {
    let room = Arc::new(Semaphore::new(timers.connections));
    let crowd = Crowd::default();
    loop {
        let accepted = tokio::select! {
            () = shutdown.asked() => return,
            accepted = async {
                let seat = room.clone().acquire_owned().await;
                (door.listener.accept().await, seat)
            } => accepted,
        };
        let (Ok((stream, address)), seat) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // Dropping the stream closes it: whoever is banned or has enough connections gets no further one.
        let Ok(counts) = door.guard.counts(address.ip()) else {
            continue;
        };
        let seat_of_address = crowd.enter(address.ip(), timers.connections_per_address);
        if seat_of_address.is_none() && !door.guard.trusts(address.ip()) {
            continue;
        }
        let guest = Guest {
            peer: peer.clone(),
            counted: counts,
        };
        let (router, tls, clients) = (router.clone(), door.tls.clone(), clients.clone());
        let near = door.near;
        drop(supervisor.run("connection", move |shutdown| async move {
            let _held = (seat, seat_of_address);
            prepare(&stream, near);
            if !in_time(stream.readable(), timers.first_byte).await {
                return;
            }
            match tls {
                None => serve(stream, guest, router, timers, shutdown).await,
                Some(tls) => match tokio::time::timeout(timers.head, tls.accept(stream)).await {
                    Ok(Ok(stream)) => {
                        let shown = stream.get_ref().1.peer_certificates();
                        let shown = shown.and_then(|chain| chain.first());
                        let known = clients
                            .as_ref()
                            .zip(shown)
                            .and_then(|(known, one)| known(one));
                        let guest = guest.known(known);
                        serve(stream, guest, router, timers, shutdown).await;
                    }
                    Ok(Err(error)) => tracing::debug!(%error, "a handshake failed"),
                    Err(_) => {}
                },
            }
        }));
    }
}

/// Answers one who is banned and comes by a proxy: the proxy's connection stays.
fn kept_out() -> Response<Body> {
    let words = "your address failed too often; it is let in again after a while\n";
    let mut response = Response::new(Body::from(words));
    *response.status_mut() = StatusCode::FORBIDDEN;
    response
}

/// Sets what holds for the whole connection. A failure means that the other side is gone already; the first read will say so.
fn prepare(stream: &TcpStream, near: bool) {
    let _ = stream.set_nodelay(true);
    if near || is_near(stream) {
        let _ = rustix::net::sockopt::set_socket_send_buffer_size(stream, NEAR_SEND);
    }
}

/// Tells whether the other side is on this machine.
fn is_near(stream: &TcpStream) -> bool {
    match (stream.peer_addr(), stream.local_addr()) {
        (Ok(peer), Ok(local)) => peer.ip().to_canonical().is_loopback() || peer.ip() == local.ip(),
        _ => false,
    }
}

async fn in_time(readable: impl Future<Output = io::Result<()>>, limit: Duration) -> bool {
    matches!(tokio::time::timeout(limit, readable).await, Ok(Ok(())))
}

async fn serve<T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: T,
    guest: Guest,
    router: Router,
    timers: Timers,
    shutdown: Shutdown,
) {
    let Guest { peer, counted } = guest;
    let most_read = peer.most_read();
    let (unwanted, bodies) = mpsc::unbounded_channel();
    let service = service_fn(move |request: Request<Incoming>| {
        let taker = taker(&request, &unwanted);
        let patience = Patience::new(timers.body, timers.body_rate);
        let mut request = request.map(|body| Body::new(Upload::new(body, patience, taker)));
        let identity = match &peer {
            Peer::Unasked => None,
            Peer::Process(identity) => identity.clone(),
            Peer::Bearer(tokens, known) => known
                .clone()
                .or_else(|| bearer(&request).and_then(|secret| tokens.identify(secret))),
        };
        let signs_in = counted.is_some() && signs_in(&request, &peer);
        let counted = counted.as_ref().map(|counter| {
            let ip = counter.visitor(request.headers());
            (counter.bans.clone(), ip)
        });
        match (identity, &peer) {
            (Some(identity), _) => drop(request.extensions_mut().insert(identity)),
            (None, Peer::Process(_)) => drop(request.extensions_mut().insert(Stranger)),
            (None, Peer::Bearer(..) | Peer::Unasked) => {}
        }
        let router = router.clone();
        async move {
            if counted
                .as_ref()
                .is_some_and(|(bans, ip)| bans.is_banned(*ip))
            {
                return Ok(kept_out());
            }
            let response = router.oneshot(request).await?;
            if let Some((bans, ip)) =
                counted.filter(|_| signs_in && response.status() == StatusCode::UNAUTHORIZED)
            {
                let delay = bans.failed(ip, "wrong token or login");
                if !delay.is_zero() {
                    tokio::time::sleep(delay).await;
                }
            }
            Ok::<_, Infallible>(response)
        }
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(timers.head)
        .max_buf_size(most_read)
        .max_headers(MOST_FIELDS)
        .half_close(false);
    let connection = builder
        .serve_connection(TokioIo::new(Read::new(stream, timers.unread)), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let serving = async {
        tokio::select! {
            ended = connection.as_mut() => ended,
            () = shutdown.asked() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    };
    let ended = tokio::select! {
        ended = serving => ended,
        never = discard(bodies) => match never {},
    };
    if let Err(error) = ended {
        tracing::debug!(error = %error, "a connection ended early");
    }
}

/// Tells whether a request says a secret that may be wrong. Short-lived tokens of registries end by themselves: that is no failure.
fn signs_in(request: &Request<Body>, peer: &Peer) -> bool {
    let header = request.headers().get(AUTHORIZATION);
    let scheme = header.and_then(|value| value.to_str().ok()?.split(' ').next());
    scheme.is_some_and(|scheme| {
        scheme.eq_ignore_ascii_case("basic")
            || (matches!(peer, Peer::Bearer(..)) && scheme.eq_ignore_ascii_case("bearer"))
    })
}

/// Returns the token of `Authorization: Bearer <token>` (RFC 6750, section 2.1).
fn bearer(request: &Request<Body>) -> Option<&str> {
    let (scheme, secret) = request
        .headers()
        .get(AUTHORIZATION)?
        .to_str()
        .ok()?
        .split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::sockopt::socket_send_buffer_size;

    #[tokio::test]
    async fn what_is_on_its_way_to_somebody_on_this_machine_is_bounded() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (_client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let stream = accepted.unwrap().0;
        prepare(&stream, false);
        // socket(7): the kernel doubles what is set, and tells the double.
        assert_eq!(socket_send_buffer_size(&stream).unwrap(), 2 * NEAR_SEND);
    }
}
