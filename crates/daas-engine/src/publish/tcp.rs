//! One published TCP port.

use super::copy::{Traffic, both_ways};
use super::route::{Route, RouteWatch, until_closed, until_moved};
use crate::dial::{DialError, Dialer, StandNet};
use daas_tasks::Shutdown;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// How long one node may take to answer a connection. A node of the same machine answers in microseconds; one that is
/// gone is told by the kernel after about three seconds.
const CONNECT: Duration = Duration::from_secs(4);
/// How long a connection that every node refuses is kept and tried again. A stand is up when its programs run, milliseconds before most of
/// them listen: without this the first request after an `up` would be reset now and then.
const PATIENCE: Duration = Duration::from_secs(1);
/// The first pause between two tries; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);
/// The pause after a failed accept: the process is out of descriptors, and some must be closed first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the ports of one stand share.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    pub dialer: Dialer,
    /// One permit for each connection and association.
    pub room: Arc<Semaphore>,
    pub traffic: Arc<Traffic>,
}

/// Serves `listener` until the route's sender is dropped or the shutdown ends it.
///
/// At the shutdown no more connections are taken, and those that are open go on until the grace ends.
pub(super) async fn serve(
    listener: TcpListener,
    route: RouteWatch,
    shared: Shared,
    shutdown: Shutdown,
) {
    notice_dead_clients(&listener);
    // The connections are children of this task: they are dropped with it, never later.
    let mut connections = JoinSet::new();
    let mut turn = 0usize;
    let closed = until_closed(route.clone());
    tokio::pin!(closed);
    loop {
        tokio::select! {
            biased;
            () = &mut closed => break,
            () = shutdown.asked() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => {
                    turn = turn.wrapping_add(1);
                    connections.spawn(carry(client, turn, route.clone(), shared.clone()));
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection for a stand, trying again");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
    // A program that the daemon starts in this moment still holds a copy of the descriptor; this ends it for both.
    let _ = rustix::net::shutdown(&listener, rustix::net::Shutdown::Both);
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Makes the kernel ask silent clients whether they are still there; connections inherit it. Applications keep connections open for
/// days, so there is no idle time, but a client whose machine lost its power must not hold its place for ever.
fn notice_dead_clients(listener: &TcpListener) {
    use rustix::net::sockopt;
    let _ = sockopt::set_socket_keepalive(listener, true);
    let _ = sockopt::set_tcp_keepidle(listener, Duration::from_secs(60));
    let _ = sockopt::set_tcp_keepintvl(listener, Duration::from_secs(15));
    let _ = sockopt::set_tcp_keepcnt(listener, 4);
}

/// Tells an error of the connection that was to be accepted from one of the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
            | io::ErrorKind::WouldBlock
    )
}

/// The life of one connection.
async fn carry(client: TcpStream, turn: usize, route: RouteWatch, shared: Shared) {
    // From here on every way out is a reset, except the one at the end: half an answer must not look like a whole one.
    prepare(&client);
    let Ok(_room) = shared.room.try_acquire() else {
        tracing::debug!("a stand has no room for one more connection, it is reset");
        return;
    };
    let work = async {
        let Some((node, target, net)) = connect_patiently(&shared.dialer, &route, turn).await
        else {
            return;
        };
        tokio::select! {
            biased;
            () = until_moved(route.clone(), &net, target) => {}
            done = both_ways(&client, &node, &shared.traffic) => if done.is_ok() {
                close_as_usual(&client);
                close_as_usual(&node);
            }
        }
    };
    tokio::select! {
        biased;
        () = until_closed(route.clone()) => {}
        () = work => {}
    }
}

/// Connects to a node, for [`PATIENCE`] if all of them refuse; each try goes where the route leads by then.
async fn connect_patiently(
    dialer: &Dialer,
    route: &RouteWatch,
    turn: usize,
) -> Option<(TcpStream, SocketAddr, Arc<StandNet>)> {
    let started = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        let now = route.borrow().clone();
        match connect(dialer, &now, turn).await {
            Reached::Node(node, target) => return Some((node, target, now.net)),
            Reached::Refused if started.elapsed() < PATIENCE => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            Reached::Refused | Reached::Nobody => return None,
        }
    }
}

/// What came of asking every node once.
enum Reached {
    Node(TcpStream, SocketAddr),
    /// All that are there answered that nobody listens.
    Refused,
    /// There is none, or one was not heard of at all.
    Nobody,
}

/// Connects to the node whose turn it is, or to the next one that answers.
async fn connect(dialer: &Dialer, route: &Route, turn: usize) -> Reached {
    let count = route.targets.len();
    let mut refused = count > 0;
    for step in 0..count {
        let target = route.targets[turn.wrapping_add(step) % count];
        match dialer.connect_tcp(&route.net, target, CONNECT).await {
            Ok(node) => {
                prepare(&node);
                return Reached::Node(node, target);
            }
            Err(error) => {
                refused &= is_refusal(&error);
                let error = daas_model::render_chain(&error);
                tracing::debug!(%target, error, "a node does not take a connection");
            }
        }
    }
    if refused {
        Reached::Refused
    } else {
        Reached::Nobody
    }
}

fn is_refusal(error: &DialError) -> bool {
    matches!(error, DialError::Connect { source, .. } if source.kind() == io::ErrorKind::ConnectionRefused)
}

fn prepare(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
    let _ = stream.set_nodelay(true);
}

/// Lets the kernel deliver what it still has and close as usual.
fn close_as_usual(stream: &TcpStream) {
    let _ = rustix::net::sockopt::set_socket_linger(stream, None);
}
