//! Listening sockets that outlive the daemon: kept by whoever runs it (`FDSTORE=1` of `sd_notify(3)`), and given to the next one.
//!
//! What connects while no daemon runs waits in the kernel's queue and is answered by the next one; nobody is refused.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;

/// The sockets that the daemon before left.
#[derive(Default)]
pub(crate) struct Handed {
    sockets: Vec<(SocketAddr, OwnedFd)>,
}

impl Handed {
    /// Takes them. Must be called before anything is opened.
    pub(crate) fn take() -> Self {
        let named = |socket: OwnedFd| Some((address(&socket)?, socket));
        Self {
            sockets: daas_sys::inherited::sockets()
                .into_iter()
                .filter_map(named)
                .collect(),
        }
    }

    /// Returns the one at `address`; port 0 stands for any port of the same address.
    pub(crate) fn find(&mut self, address: SocketAddr) -> Option<OwnedFd> {
        let fits = |there: &SocketAddr| {
            there.ip() == address.ip() && (address.port() == 0 || there.port() == address.port())
        };
        let at = self.sockets.iter().position(|(there, _)| fits(there))?;
        Some(self.sockets.remove(at).1)
    }
}

/// Returns where a listening TCP socket listens; nothing if it is something else.
fn address(socket: &OwnedFd) -> Option<SocketAddr> {
    let listens = rustix::net::sockopt::socket_acceptconn(socket).ok()?;
    let name = rustix::net::getsockname(socket).ok()?;
    SocketAddr::try_from(name).ok().filter(|_| listens)
}

/// Gives a socket to whoever runs the daemon, for the next one, under a name for people. Without somebody who keeps it, it ends with this daemon.
pub(crate) fn keep(listener: &impl AsFd, name: &str, address: SocketAddr) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let sent = UnixDatagram::unbound().and_then(|socket| {
        socket.connect(path)?;
        daas_sys::fdpass::send(
            socket.as_fd(),
            format!("FDSTORE=1\nFDNAME={name}").as_bytes(),
            &[listener.as_fd()],
        )
    });
    if let Err(error) = sent {
        tracing::debug!(%error, %address, "the socket is not kept for the next daemon");
    }
}
