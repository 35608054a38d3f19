use crate::access::{Identity, Role};
use crate::groups;
use crate::listen::Guard;
use crate::token::Tokens;
use daas_api::Caller;
use daas_model::{Explain, Kind};
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::CertificateDer;

/// The group of the host whose members may use the unix socket.
pub const GROUP: &str = "daas";

/// A door that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// The socket is held by a program that answers.
    #[error("cannot open the socket `{}`: another daemon answers there", path.display())]
    Taken {
        /// The socket.
        path: PathBuf,
    },
    /// Something that is no socket lies there.
    #[error("cannot open the socket `{}`: something else lies there", path.display())]
    Foreign {
        /// The path.
        path: PathBuf,
    },
    /// A step failed.
    #[error("cannot {action} `{place}`")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On what.
        place: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A TCP door without tokens.
    #[error("cannot listen at `{address}`: there is no token")]
    NoTokens {
        /// The address.
        address: SocketAddr,
    },
}

impl DoorError {
    fn io(action: &'static str, place: impl ToString) -> impl FnOnce(io::Error) -> Self {
        let place = place.to_string();
        move |source| Self::Io {
            action,
            place,
            source,
        }
    }
}

impl Explain for DoorError {
    fn code(&self) -> &'static str {
        match self {
            Self::Taken { .. } => "socket-taken",
            Self::Foreign { .. } => "socket-foreign",
            Self::Io { .. } => "door-failed",
            Self::NoTokens { .. } => "door-without-tokens",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Taken { .. } | Self::Foreign { .. } => Kind::Conflict,
            Self::Io { .. } => Kind::Outside,
            Self::NoTokens { .. } => Kind::Input,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Taken { .. } => {
                Some("stop the other daemon first, or give this one another socket".into())
            }
            Self::Foreign { .. } => Some("move it away, or choose another path".into()),
            Self::Io { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
                Some("another program listens there; `ss -tlnp` tells which".into())
            }
            Self::Io { .. } => None,
            Self::NoTokens { .. } => Some("make one with `daas system token`".into()),
        }
    }
}

/// A unix socket that is bound and not served yet.
///
/// The socket is 0660 and belongs to the group `daas`, if the host has it (threat S29).
#[derive(Debug)]
pub struct UnixDoor {
    pub(crate) listener: UnixListener,
    pub(crate) path: PathBuf,
}

impl UnixDoor {
    /// Binds the socket; makes its folder (0755) if it is missing. A socket that nobody serves is replaced.
    ///
    /// # Errors
    /// [`DoorError::Taken`] if a program answers there, [`DoorError::Foreign`] if no socket lies there,
    /// [`DoorError::Io`] if the system refuses.
    pub fn bind(path: &Path) -> Result<Self, DoorError> {
        if let Some(folder) = path.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(folder)
                .map_err(DoorError::io("make the folder", folder.display()))?;
        }
        match path.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(DoorError::io("look at", path.display())(error)),
            Ok(meta) if !meta.file_type().is_socket() => {
                return Err(DoorError::Foreign {
                    path: path.to_owned(),
                });
            }
            Ok(_) if StdUnixStream::connect(path).is_ok() => {
                return Err(DoorError::Taken {
                    path: path.to_owned(),
                });
            }
            Ok(_) => fs::remove_file(path)
                .map_err(DoorError::io("remove the old socket", path.display()))?,
        }
        let listener =
            UnixListener::bind(path).map_err(DoorError::io("bind the socket", path.display()))?;
        if let Some(group) = groups::find(GROUP) {
            // An unprivileged daemon (in tests) is in no such group: the socket is then its user's alone.
            match std::os::unix::fs::chown(path, None, Some(group.gid)) {
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => tracing::warn!(
                    group = GROUP,
                    "the socket does not belong to the group: this user may not give it away"
                ),
                other => other.map_err(DoorError::io(
                    "give to the group the socket",
                    path.display(),
                ))?,
            }
        }
        fs::set_permissions(path, Permissions::from_mode(0o660))
            .map_err(DoorError::io("protect the socket", path.display()))?;
        Ok(Self {
            listener,
            path: path.to_owned(),
        })
    }

    /// Returns the socket's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Tells who is at the other end of a unix socket; nobody if he is neither root, nor ourselves, nor of the group.
///
/// The socket's mode keeps others out already; this is the second fence, for a socket that was given away by hand.
pub(crate) fn identify(stream: &UnixStream) -> Option<Identity> {
    let peer = stream.peer_cred().ok()?;
    let own = rustix::process::geteuid().as_raw();
    let role = if peer.uid() == 0 || peer.uid() == own {
        Role::Administrator
    } else if groups::find(GROUP).is_some_and(|group| groups::has(&group, peer.uid(), peer.gid())) {
        Role::Operator
    } else {
        return None;
    };
    Some(Identity {
        caller: Caller::Process {
            uid: peer.uid(),
            pid: peer.pid().unwrap_or(0),
        },
        role,
    })
}

/// A TCP address that is bound and not served yet. Everybody there must show a token.
pub struct TcpDoor {
    pub(crate) listener: TcpListener,
    pub(crate) tokens: Tokens,
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) clients: Option<KnownClients>,
    pub(crate) guard: Guard,
    address: SocketAddr,
}

/// Tells who shows a certificate, which the handshake has found good.
pub type KnownClients = Arc<dyn Fn(&CertificateDer<'_>) -> Option<Identity> + Send + Sync>;

impl std::fmt::Debug for TcpDoor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TcpDoor")
            .field("address", &self.address)
            .field("tls", &self.tls.is_some())
            .finish_non_exhaustive()
    }
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), DoorError> {
    let fault = || DoorError::io("listen at", address);
    let listener = TcpListener::bind(address).await.map_err(fault())?;
    let address = listener.local_addr().map_err(fault())?;
    Ok((listener, address))
}

impl TcpDoor {
    /// Binds the address.
    ///
    /// # Errors
    /// [`DoorError::NoTokens`] if nobody could come in, [`DoorError::Io`] if the system refuses.
    pub async fn bind(address: SocketAddr, tokens: Tokens) -> Result<Self, DoorError> {
        if tokens.is_empty() {
            return Err(DoorError::NoTokens { address });
        }
        let (listener, address) = listen(address).await?;
        Ok(Self {
            listener,
            tokens,
            tls: None,
            clients: None,
            guard: Guard::default(),
            address,
        })
    }

    /// Binds the address for TLS; who shows a certificate that `clients` knows needs no token.
    ///
    /// # Errors
    /// As [`TcpDoor::bind`], but tokens may lack where certificates do their work.
    pub async fn bind_tls(
        address: SocketAddr,
        tokens: Tokens,
        tls: Arc<ServerConfig>,
        clients: Option<KnownClients>,
    ) -> Result<Self, DoorError> {
        if tokens.is_empty() && clients.is_none() {
            return Err(DoorError::NoTokens { address });
        }
        let (listener, address) = listen(address).await?;
        Ok(Self {
            listener,
            tokens,
            tls: Some(TlsAcceptor::from(tls)),
            clients,
            guard: Guard::default(),
            address,
        })
    }

    /// Keeps out who failed too often.
    #[must_use]
    pub fn guarded(mut self, guard: Guard) -> Self {
        self.guard = guard;
        self
    }

    /// Returns the address, with the port that the system chose if 0 was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
