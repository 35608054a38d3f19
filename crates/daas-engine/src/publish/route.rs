use crate::dial::StandNet;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::watch;

/// Where a published port leads now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route {
    /// The stand's network.
    pub net: Arc<StandNet>,
    /// The nodes behind the port; none while they are down.
    pub targets: Arc<[SocketAddr]>,
}

/// A route that may change under its connections. The sender's end is the right to be open at all.
pub(super) type RouteWatch = watch::Receiver<Route>;

/// Returns when the connection to `target` inside `net` must end: the route leads elsewhere, or the port was closed.
pub(super) async fn until_moved(mut route: RouteWatch, net: &StandNet, target: SocketAddr) {
    loop {
        {
            let now = route.borrow_and_update();
            if *now.net != *net || !now.targets.contains(&target) {
                return;
            }
        }
        if route.changed().await.is_err() {
            return;
        }
    }
}

/// Returns when the port was closed.
pub(super) async fn until_closed(mut route: RouteWatch) {
    while route.changed().await.is_ok() {}
}
