use daas_model::{Explain, Kind, Protocol, StandId};
use std::io;
use std::net::SocketAddr;

/// A published port that does not answer.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Another program listens there already.
    #[error("cannot publish {address}/{protocol}")]
    Taken {
        /// The stand.
        stand: StandId,
        /// The stand's address and the published port.
        address: SocketAddr,
        /// The protocol.
        protocol: Protocol,
        /// What the kernel said.
        source: io::Error,
    },
    /// The host does not have the address.
    #[error("cannot publish {address}/{protocol}: the host does not have this address")]
    NotOurs {
        /// The stand.
        stand: StandId,
        /// The stand's address and the published port.
        address: SocketAddr,
        /// The protocol.
        protocol: Protocol,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel refuses for another reason.
    #[error("cannot listen at {address}/{protocol}")]
    Refused {
        /// The stand.
        stand: StandId,
        /// The stand's address and the published port.
        address: SocketAddr,
        /// The protocol.
        protocol: Protocol,
        /// What the kernel said.
        source: io::Error,
    },
    /// The same port and protocol stand twice in one request.
    #[error("cannot publish {address}/{protocol} twice")]
    Twice {
        /// The stand.
        stand: StandId,
        /// The stand's address and the published port.
        address: SocketAddr,
        /// The protocol.
        protocol: Protocol,
    },
}

impl PublishError {
    pub(super) fn of(
        stand: &StandId,
        address: SocketAddr,
        protocol: Protocol,
        source: io::Error,
    ) -> Self {
        let stand = stand.clone();
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::Taken {
                stand,
                address,
                protocol,
                source,
            },
            io::ErrorKind::AddrNotAvailable => Self::NotOurs {
                stand,
                address,
                protocol,
                source,
            },
            _ => Self::Refused {
                stand,
                address,
                protocol,
                source,
            },
        }
    }
}

impl Explain for PublishError {
    fn code(&self) -> &'static str {
        match self {
            Self::Taken { .. } => "port-taken",
            Self::NotOurs { .. } => "address-not-on-host",
            Self::Refused { .. } => "port-refused",
            Self::Twice { .. } => "port-twice",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Taken { .. } => Kind::Conflict,
            Self::NotOurs { .. } | Self::Refused { .. } => Kind::Outside,
            Self::Twice { .. } => Kind::Input,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Taken { address, protocol, .. } => {
                let flag = match protocol {
                    Protocol::Tcp => "-ltnp",
                    Protocol::Udp => "-lunp",
                };
                Some(format!(
                    "`ss {flag} 'sport = :{}'` shows who listens there; a server that listens at 0.0.0.0 takes the port of \
                     every address of the host, let it listen at its own address",
                    address.port()
                ))
            }
            Self::NotOurs { .. } => Some(
                "give the configured range of stand addresses to an interface of this host, or use the default 127.64.0.0/10"
                    .into(),
            ),
            Self::Refused { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("ports below 1024 need root or CAP_NET_BIND_SERVICE".into())
            }
            Self::Refused { .. } => None,
            Self::Twice { .. } => Some("two services publish the same port; change one of them".into()),
        }
    }
}
