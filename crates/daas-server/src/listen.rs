//! The accept loops: who comes in, how many at once, and how long he may be silent.

use crate::access::{Identity, Stranger};
use crate::body::Timed;
use crate::door::{self, TcpDoor, UnixDoor};
use crate::slow::{Read, Timers};
use crate::token::Tokens;
use axum::Router;
use axum::body::Body;
use daas_tasks::{Crowd, Shutdown, Supervisor};
use hyper::Request;
use hyper::body::Incoming;
use hyper::header::AUTHORIZATION;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

/// The pause after a failed accept: out of descriptors, the next try fails the same.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The most bytes of a request's head: an image name or node path fits many times.
const MOST_HEAD: usize = 32 * 1024;
/// The most bytes of a body that are read at once, and of a head with it: fewer calls of the kernel for contents of gigabytes.
const MOST_CONTENT: usize = 256 * 1024;
/// The most fields of a request's head.
const MOST_FIELDS: usize = 64;

/// How the caller of a connection is known.
#[derive(Clone)]
enum Peer {
    /// By the kernel, once for the connection.
    Process(Option<Identity>),
    /// By his token, with each request.
    Bearer(Arc<Tokens>),
    /// Not here: what answers judges him itself.
    Unasked,
}

impl Peer {
    /// Returns how much is read at once: heads for the API, contents of images for what judges itself.
    fn most_read(&self) -> usize {
        match self {
            Self::Process(_) | Self::Bearer(_) => MOST_HEAD,
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
            if in_time(stream.readable(), timers.first_byte).await {
                serve(stream, peer, router, timers, shutdown).await;
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
    let peer = Peer::Bearer(Arc::new(door.tokens));
    let door = Plain {
        listener: door.listener,
        tls: None,
    };
    accept(door, peer, router, supervisor, timers, shutdown).await;
}

/// Serves everybody who comes to an address; what answers judges them itself.
pub(crate) async fn open(
    door: Plain,
    router: Router,
    supervisor: Supervisor,
    timers: Timers,
    shutdown: Shutdown,
) {
    accept(door, Peer::Unasked, router, supervisor, timers, shutdown).await;
}

/// A listener, with or without TLS.
pub(crate) struct Plain {
    pub(crate) listener: TcpListener,
    pub(crate) tls: Option<TlsAcceptor>,
}

async fn accept(
    door: Plain,
    peer: Peer,
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
        // Dropping the stream closes it: whoever has enough connections gets no further one.
        let Some(counted) = crowd.enter(address.ip(), timers.connections_per_address) else {
            continue;
        };
        let (router, peer, tls) = (router.clone(), peer.clone(), door.tls.clone());
        drop(supervisor.run("connection", move |shutdown| async move {
            let _held = (seat, counted);
            // A failure means that the other side is gone already; the first read will say so.
            let _ = stream.set_nodelay(true);
            if !in_time(stream.readable(), timers.first_byte).await {
                return;
            }
            match tls {
                None => serve(stream, peer, router, timers, shutdown).await,
                Some(tls) => match tokio::time::timeout(timers.head, tls.accept(stream)).await {
                    Ok(Ok(stream)) => serve(stream, peer, router, timers, shutdown).await,
                    Ok(Err(error)) => tracing::debug!(%error, "a handshake failed"),
                    Err(_) => {}
                },
            }
        }));
    }
}

async fn in_time(readable: impl Future<Output = io::Result<()>>, limit: Duration) -> bool {
    matches!(tokio::time::timeout(limit, readable).await, Ok(Ok(())))
}

async fn serve<T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: T,
    peer: Peer,
    router: Router,
    timers: Timers,
    shutdown: Shutdown,
) {
    let most_read = peer.most_read();
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(|body| Body::new(Timed::new(body, &timers)));
        let identity = match &peer {
            Peer::Unasked => None,
            Peer::Process(identity) => identity.clone(),
            Peer::Bearer(tokens) => bearer(&request).and_then(|secret| tokens.identify(secret)),
        };
        match (identity, &peer) {
            (Some(identity), _) => drop(request.extensions_mut().insert(identity)),
            (None, Peer::Process(_)) => drop(request.extensions_mut().insert(Stranger)),
            (None, Peer::Bearer(_) | Peer::Unasked) => {}
        }
        router.clone().oneshot(request)
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
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.asked() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = %error, "a connection ended early");
    }
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
