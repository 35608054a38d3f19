use crate::address::Address;
use daas_model::{Explain, Kind};
use std::io;

/// What can go wrong on the way to a daemon and back.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody answers there.
    #[error("cannot reach the daemon at `{address}`")]
    Unreachable {
        /// Where.
        address: Address,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The connection broke.
    #[error("cannot finish the talk with the daemon at `{address}`")]
    Broken {
        /// Where.
        address: Address,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The other side does not speak our language.
    #[error("cannot understand the daemon at `{address}`: {why}")]
    Strange {
        /// Where.
        address: Address,
        /// What was said.
        why: String,
    },
}

impl Explain for ConnectError {
    fn code(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "daemon-unreachable",
            Self::Broken { .. } => "daemon-lost",
            Self::Strange { .. } => "daemon-strange",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Unreachable { source, .. }
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                Kind::Forbidden
            }
            Self::Unreachable { .. } | Self::Broken { .. } => Kind::Outside,
            Self::Strange { .. } => Kind::Bug,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Unreachable { address: Address::Unix(_), source } => match source.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Some("the daemon does not run: start it with `daas serve`, or keep it running with `daas system install`".into()),
                io::ErrorKind::PermissionDenied => Some("the socket belongs to root and the group `daas`: join the group (`usermod -aG daas <you>`) or use sudo".into()),
                _ => None,
            },
            Self::Unreachable { address: Address::Tls(_), source } if source.kind() == io::ErrorKind::InvalidData => Some("`--ca` names a file with the daemon's root, as `daas certificate root` writes it there; `sudo daas certificate trust` lets the whole machine trust it".into()),
            Self::Unreachable { address: Address::Tcp(_) | Address::Tls(_), .. } => Some("look whether the daemon listens there (`listen:` in its configuration) and whether a firewall stands between".into()),
            Self::Broken { .. } => Some("what was recorded will happen all the same; look with `daas stand list`".into()),
            Self::Strange { .. } => Some("the two may be of different versions: compare `daas --version` with `daas system info`".into()),
        }
    }
}
