//! One published UDP port.

use super::route::{RouteWatch, until_closed, until_moved};
use super::tcp::Shared;
use daas_tasks::Shutdown;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How long an association without a datagram lives; RFC 4787 REQ-5 asks for two minutes of a NAT and permits less where
/// the administrator says so. A client that speaks again gets a new one at once.
const IDLE: Duration = Duration::from_secs(60);
/// Clients at once, per port. One more is not heard until another one has been idle.
const MOST_CLIENTS: usize = 4096;
/// Datagrams that wait for one node; more are lost, as UDP may.
const QUEUE: usize = 32;
/// The largest datagram of IPv4 and IPv6 without jumbograms.
const LARGEST: usize = 65_535;

/// Serves `socket` until the route's sender is dropped or the shutdown asks.
pub(super) async fn serve(
    socket: UdpSocket,
    route: RouteWatch,
    shared: Shared,
    shutdown: Shutdown,
) {
    let socket = Arc::new(socket);
    let mut clients: HashMap<SocketAddr, mpsc::Sender<Vec<u8>>> = HashMap::new();
    // The associations are children of this task: they are dropped with it, never later.
    let mut associations = JoinSet::new();
    let mut buffer = vec![0; LARGEST];
    let mut turn = 0usize;
    let closed = until_closed(route.clone());
    tokio::pin!(closed);
    loop {
        let (length, client) = tokio::select! {
            biased;
            () = &mut closed => return,
            () = shutdown.asked() => return,
            Some(ended) = associations.join_next() => {
                if let Ok(client) = ended
                    && clients.get(&client).is_some_and(mpsc::Sender::is_closed)
                {
                    clients.remove(&client);
                }
                continue;
            }
            received = socket.recv_from(&mut buffer) => match received {
                Ok(datagram) => datagram,
                // An earlier answer could not be delivered; the socket itself is well.
                Err(_) => continue,
            },
        };
        let datagram = buffer[..length].to_vec();
        let datagram = match clients.get(&client).map(|queue| queue.try_send(datagram)) {
            Some(Ok(()) | Err(mpsc::error::TrySendError::Full(_))) => continue,
            Some(Err(mpsc::error::TrySendError::Closed(datagram))) => datagram,
            None => buffer[..length].to_vec(),
        };
        if clients.len() >= MOST_CLIENTS && !clients.contains_key(&client) {
            tracing::debug!(%client, "a port has no room for one more UDP client");
            continue;
        }
        let (queue, datagrams) = mpsc::channel(QUEUE);
        // The queue is new and empty: it takes the first datagram.
        let _ = queue.try_send(datagram);
        clients.insert(client, queue);
        turn = turn.wrapping_add(1);
        let association = Association {
            socket: socket.clone(),
            client,
            datagrams,
            turn,
        };
        let (route, shared) = (route.clone(), shared.clone());
        associations.spawn(async move {
            association.live(route, shared).await;
            client
        });
    }
}

/// What one client says and hears.
struct Association {
    socket: Arc<UdpSocket>,
    client: SocketAddr,
    datagrams: mpsc::Receiver<Vec<u8>>,
    turn: usize,
}

impl Association {
    async fn live(mut self, route: RouteWatch, shared: Shared) {
        let Ok(_room) = shared.room.try_acquire() else {
            return;
        };
        let now = route.borrow().clone();
        let Some(&target) = now.targets.get(self.turn % now.targets.len().max(1)) else {
            return;
        };
        let node = match shared.dialer.connect_udp(&now.net, target).await {
            Ok(node) => node,
            Err(error) => {
                let error = daas_model::render_chain(&error);
                tracing::debug!(%target, error, "a node does not take datagrams");
                return;
            }
        };
        tokio::select! {
            biased;
            () = until_moved(route.clone(), &now.net, target) => {}
            () = self.carry(&node, &shared) => {}
        }
    }

    /// Carries datagrams both ways until none came for a while.
    ///
    /// Errors are those of single datagrams: the node may not listen yet, the client may be gone. The next one is tried.
    async fn carry(&mut self, node: &UdpSocket, shared: &Shared) {
        let mut buffer = vec![0; LARGEST];
        let count = |to: &AtomicU64, length: usize| to.fetch_add(length as u64, Ordering::Relaxed);
        let idle = tokio::time::sleep(IDLE);
        tokio::pin!(idle);
        loop {
            tokio::select! {
                () = &mut idle => return,
                datagram = self.datagrams.recv() => {
                    let Some(datagram) = datagram else { return };
                    if node.send(&datagram).await.is_ok() {
                        count(&shared.traffic.inward, datagram.len());
                    }
                }
                received = node.recv(&mut buffer) => {
                    if let Ok(length) = received
                        && self.socket.send_to(&buffer[..length], self.client).await.is_ok()
                    {
                        count(&shared.traffic.outward, length);
                    }
                }
            }
            idle.as_mut().reset(Instant::now() + IDLE);
        }
    }
}
