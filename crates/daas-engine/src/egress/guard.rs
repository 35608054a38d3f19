use super::address::{Forbidden, Outbound};
use crate::dial::Dialer;
use crate::kernel;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;

/// How long a name may take.
const RESOLVE: Duration = Duration::from_secs(10);
/// How long one address may take.
const CONNECT: Duration = Duration::from_secs(10);
/// Addresses of one name that are tried.
const TRIED: usize = 4;

/// Turns names into addresses. The second implementation is the one of tests, that changes its mind.
pub trait Resolve: Send + Sync + 'static {
    /// Returns the addresses of `name`, which may be an address written as text.
    fn resolve(
        &self,
        name: &str,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + '_>>;
}

/// Names as this machine knows them: `/etc/hosts`, its name servers.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemNames;

impl Resolve for SystemNames {
    fn resolve(
        &self,
        name: &str,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + '_>> {
        let name = name.to_owned();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// Why a stand's connection to the outside was not made.
#[derive(Debug)]
pub enum Refusal {
    /// The port is closed for stands.
    Port {
        /// The port.
        port: u16,
    },
    /// The name has no address, or the name server did not answer.
    Name {
        /// The name.
        host: String,
        /// What was said.
        source: io::Error,
    },
    /// All addresses of the name are forbidden.
    Address {
        /// The name.
        host: String,
        /// One of its addresses.
        address: IpAddr,
        /// Why it is forbidden.
        why: Forbidden,
    },
    /// Nobody answers.
    Connect {
        /// The address that was tried last.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port { port } => write!(f, "port {port} is closed for stands"),
            Self::Name { host, .. } => write!(f, "cannot find the address of `{host}`"),
            Self::Address { host, address, why } => {
                write!(f, "`{host}` leads to {address}, which is {why}")
            }
            Self::Connect { address, .. } => write!(f, "cannot connect to {address}"),
        }
    }
}

impl std::error::Error for Refusal {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Name { source, .. } | Self::Connect { source, .. } => Some(source),
            Self::Port { .. } | Self::Address { .. } => None,
        }
    }
}

/// Connects to the outside on behalf of a stand that is not asked: what the daemon fetches for builds. The rules are the proxy's.
#[derive(Clone)]
pub struct Outside {
    guard: Arc<Guard>,
}

impl fmt::Debug for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outside").finish_non_exhaustive()
    }
}

impl Outside {
    pub(super) fn new(guard: Arc<Guard>) -> Self {
        Self { guard }
    }

    /// Connects to `host`, a name or an address, from the host's network: to exactly an address that was judged.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, Refusal> {
        self.guard.connect(host, port).await
    }

    /// Judges an address by its number alone.
    ///
    /// # Errors
    /// Why it may not be reached.
    pub fn judge(&self, address: IpAddr) -> Result<(), Forbidden> {
        self.guard.outbound.judge(address)
    }
}

/// Connects to the outside on behalf of stands: a name is resolved once, each address is judged, and exactly the judged address is
/// connected to. A name server that changes its mind between two questions gains nothing.
pub(super) struct Guard {
    pub(super) dialer: Dialer,
    pub(super) names: Box<dyn Resolve>,
    pub(super) outbound: Outbound,
    pub(super) closed_ports: Vec<u16>,
}

impl Guard {
    /// Connects from the host's network.
    pub(super) async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, Refusal> {
        if self.closed_ports.contains(&port) {
            return Err(Refusal::Port { port });
        }
        let nameless = |source| Refusal::Name {
            host: host.to_owned(),
            source,
        };
        let found = tokio::time::timeout(RESOLVE, self.names.resolve(host)).await;
        let found = found
            .map_err(|_| nameless(io::ErrorKind::TimedOut.into()))?
            .map_err(nameless)?;
        let mut refusal = nameless(io::Error::other("the name has no address"));
        let mut tried = 0;
        for address in found.into_iter().map(|address| address.to_canonical()) {
            if let Err(why) = self.judge(address).await {
                if tried == 0 {
                    refusal = Refusal::Address {
                        host: host.to_owned(),
                        address,
                        why,
                    };
                }
                continue;
            }
            if tried == TRIED {
                break;
            }
            tried += 1;
            let at = SocketAddr::new(address, port);
            match self
                .dialer
                .connect_tcp(self.dialer.home(), at, CONNECT)
                .await
            {
                Ok(stream) => return Ok(stream),
                Err(error) => {
                    let source = match error {
                        crate::dial::DialError::Connect { source, .. } => source,
                        other => io::Error::other(other),
                    };
                    refusal = Refusal::Connect {
                        address: at,
                        source,
                    };
                }
            }
        }
        Err(refusal)
    }

    /// Judges an address, this machine's own included.
    async fn judge(&self, address: IpAddr) -> Result<(), Forbidden> {
        self.outbound.judge(address)?;
        // The machine's public address is as much itself as 127.0.0.1.
        if self.outbound.names_alone(address) {
            return Ok(());
        }
        let own = self
            .dialer
            .at_home("ask for a route", move || kernel::is_own(address))
            .await;
        match own {
            Ok(false) => Ok(()),
            // Not knowing is no permission.
            Ok(true) | Err(_) => Err(Forbidden::Own),
        }
    }
}
