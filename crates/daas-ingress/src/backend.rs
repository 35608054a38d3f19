//! Nodes that answer, and the connections to them that are kept open.

use crate::body::FrontBody;
use daas_engine::dial::{DialError, Dialer, StandNet};
use daas_model::RouteProtocol;
use daas_tasks::Supervisor;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How many idle connections a back end keeps for each worker.
const MOST_IDLE: usize = 256;
/// How long an idle connection is kept. Servers that close first are the rule (Node.js after 5 s), so age is only a bound.
const IDLE: Duration = Duration::from_secs(60);
/// How old an idle connection may be for a request that cannot be sent twice: the server's own clock may have ended it just now.
const FRESH: Duration = Duration::from_secs(2);
/// How long a node may take to accept. A bridge of the same machine answers in microseconds.
const CONNECT: Duration = Duration::from_secs(5);

thread_local! {
    /// The number of this thread among the workers, and one more than it; 0 on every other thread.
    static SEAT: Cell<usize> = const { Cell::new(0) };
}

/// Says that this thread is worker `number`.
pub(crate) fn sit(number: usize) {
    SEAT.set(number + 1);
}

/// Where a node answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// The node, for people.
    pub node: String,
    /// The network in which it is.
    pub net: Arc<StandNet>,
    /// Its address there.
    pub address: SocketAddr,
    /// What it speaks.
    pub protocol: RouteProtocol,
}

/// A node that answers. Its connections belong to it and to nobody else: equal addresses in two stands are two back ends.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) upstream: Upstream,
    idle: Box<[Mutex<Vec<Idle>>]>,
    shared: Box<[Mutex<Option<http2::SendRequest<FrontBody>>>]>,
    /// What stands for it in a cookie.
    pub(crate) mark: String,
    /// Since when it is there.
    pub(crate) born: Instant,
    /// Requests under way.
    pub(crate) busy: AtomicUsize,
}

#[derive(Debug)]
struct Idle {
    sender: http1::SendRequest<FrontBody>,
    since: Instant,
}

/// A connection that could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReachError {
    #[error("cannot connect")]
    Dial(#[from] DialError),
    #[error("cannot begin to speak")]
    Begin(#[from] hyper::Error),
}

impl ReachError {
    /// Tells whether nobody listens there: not yet, perhaps.
    pub(crate) fn is_refused(&self) -> bool {
        matches!(self, Self::Dial(DialError::Connect { source, .. }) if source.kind() == std::io::ErrorKind::ConnectionRefused)
    }
}

/// What connections are made with.
#[derive(Debug, Clone)]
pub(crate) struct Reach {
    pub(crate) dialer: Dialer,
    pub(crate) tasks: Supervisor,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Backend {
    /// Makes a back end without connections, for so many workers.
    pub(crate) fn new(upstream: Upstream, workers: usize) -> Self {
        Self {
            mark: crate::rules::mark(&upstream.node),
            upstream,
            idle: (0..=workers).map(|_| Mutex::default()).collect(),
            shared: (0..=workers).map(|_| Mutex::default()).collect(),
            born: Instant::now(),
            busy: AtomicUsize::new(0),
        }
    }

    fn seat(&self) -> usize {
        let seat = SEAT.get();
        if seat < self.idle.len() { seat } else { 0 }
    }

    /// Takes an idle connection. `anew` asks for one that can hardly have ended.
    pub(crate) fn take(self: &Arc<Self>, anew: bool) -> Option<Lent> {
        let seat = self.seat();
        let mut idle = lock(&self.idle[seat]);
        let now = Instant::now();
        let most = if anew { FRESH } else { IDLE };
        while let Some(next) = idle.pop() {
            if next.sender.is_closed() {
                continue;
            }
            if now.duration_since(next.since) > most {
                // Older ones lie beneath it.
                if !anew {
                    idle.clear();
                } else {
                    idle.push(next);
                }
                return None;
            }
            return Some(Lent {
                sender: next.sender,
                backend: self.clone(),
                used: true,
            });
        }
        None
    }

    /// Makes a connection.
    pub(crate) async fn connect(self: &Arc<Self>, reach: &Reach) -> Result<Lent, ReachError> {
        let stream = self.dial(reach).await?;
        let mut builder = http1::Builder::new();
        // What a node answers is not ours to judge: only its bounds are. The rest goes out in our own form.
        builder.max_buf_size(256 * 1024);
        let (sender, connection) = builder
            .handshake::<_, FrontBody>(TokioIo::new(stream))
            .await?;
        drop(reach.tasks.run("to a node", move |_| async move {
            // Whoever waits for the answer hears of the failure.
            let _ = connection.with_upgrades().await;
        }));
        Ok(Lent {
            sender,
            backend: self.clone(),
            used: false,
        })
    }

    /// Opens a connection, on which nothing has been said.
    pub(crate) async fn dial(&self, reach: &Reach) -> Result<tokio::net::TcpStream, ReachError> {
        let stream = reach
            .dialer
            .connect_tcp(&self.upstream.net, self.upstream.address, CONNECT)
            .await?;
        // A failure means that the other side is gone already.
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }

    /// Returns the connection that all HTTP/2 requests of this worker share, made if need be.
    pub(crate) async fn shared(
        &self,
        reach: &Reach,
    ) -> Result<http2::SendRequest<FrontBody>, ReachError> {
        let place = &self.shared[self.seat()];
        let there = lock(place).clone();
        if let Some(mut sender) = there
            && !sender.is_closed()
            && sender.ready().await.is_ok()
        {
            return Ok(sender);
        }
        let stream = self.dial(reach).await?;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .adaptive_window(true)
            .handshake::<_, FrontBody>(TokioIo::new(stream))
            .await?;
        drop(reach.tasks.run("to a node by h2", move |_| async move {
            let _ = connection.await;
        }));
        *lock(place) = Some(sender.clone());
        Ok(sender)
    }

    fn give(&self, sender: http1::SendRequest<FrontBody>) {
        if sender.is_closed() {
            return;
        }
        let mut idle = lock(&self.idle[self.seat()]);
        if idle.len() < MOST_IDLE {
            idle.push(Idle {
                sender,
                since: Instant::now(),
            });
        }
    }
}

/// A connection in use. Dropped, it is closed; given back, the next request may have it.
#[derive(Debug)]
pub(crate) struct Lent {
    pub(crate) sender: http1::SendRequest<FrontBody>,
    backend: Arc<Backend>,
    /// Whether it has carried a request before, so that its server may have ended it meanwhile.
    pub(crate) used: bool,
}

impl Lent {
    pub(crate) fn give_back(self) {
        self.backend.give(self.sender);
    }
}

/// One request under way, for who chooses among replicas.
pub(crate) struct Counted(Arc<Backend>);

impl Counted {
    pub(crate) fn new(backend: &Arc<Backend>) -> Self {
        backend.busy.fetch_add(1, Ordering::Relaxed);
        Self(backend.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Says why a request failed on its way, for the log.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    daas_model::render_chain(error)
}
