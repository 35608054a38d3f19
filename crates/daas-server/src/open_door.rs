//! Doors at which no token of ours is asked: what answers there judges who comes.

use crate::door::DoorError;
use crate::listen::{self, Guard, Plain};
use crate::slow::Timers;
use axum::Router;
use daas_tasks::{Handle, Supervisor};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A TCP address that is bound and not served yet, with the timers and caps of every public door and without its tokens.
pub struct OpenDoor {
    door: Plain,
    address: SocketAddr,
}

impl std::fmt::Debug for OpenDoor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenDoor")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// A certificate that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the certificate `{}`", path.display())]
pub struct CertificateError {
    path: PathBuf,
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// A certificate with its key.
#[derive(Clone)]
pub struct Certificate {
    config: Arc<ServerConfig>,
}

impl Certificate {
    /// Reads a chain and a key from files in PEM form.
    ///
    /// # Errors
    /// [`CertificateError`] if a file cannot be read or they do not fit.
    pub fn read(chain: &Path, key: &Path) -> Result<Self, CertificateError> {
        let fault =
            |path: &Path, source: Box<dyn std::error::Error + Send + Sync>| CertificateError {
                path: path.to_owned(),
                source,
            };
        let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(chain)
            .and_then(Iterator::collect)
            .map_err(|e| fault(chain, e.into()))?;
        let secret = PrivateKeyDer::from_pem_file(key).map_err(|e| fault(key, e.into()))?;
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                builder
                    .with_no_client_auth()
                    .with_single_cert(certificates, secret)
            })
            .map_err(|e| fault(chain, e.into()))?;
        Ok(Self {
            config: Arc::new(config),
        })
    }
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Certificate(..)")
    }
}

impl OpenDoor {
    /// Binds an address, for TLS if there is a certificate.
    ///
    /// # Errors
    /// [`DoorError::Io`] if the system refuses.
    pub async fn bind(
        address: SocketAddr,
        certificate: Option<&Certificate>,
    ) -> Result<Self, DoorError> {
        let failed = |source: io::Error| DoorError::Io {
            action: "listen at",
            place: address.to_string(),
            source,
        };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let tls = certificate.map(|certificate| TlsAcceptor::from(certificate.config.clone()));
        Ok(Self {
            door: Plain {
                listener,
                tls,
                guard: Guard::default(),
                near: false,
            },
            address,
        })
    }

    /// Takes a listener that is bound already, in a network that is on this machine only.
    ///
    /// # Errors
    /// What the kernel says when it does not know its address.
    pub fn inside(listener: TcpListener) -> io::Result<Self> {
        let address = listener.local_addr()?;
        Ok(Self {
            door: Plain {
                listener,
                tls: None,
                guard: Guard::default(),
                near: true,
            },
            address,
        })
    }

    /// Keeps out who failed too often.
    #[must_use]
    pub fn guarded(mut self, guard: Guard) -> Self {
        self.door.guard = guard;
        self
    }

    /// Returns the address, with the port that the system chose if 0 was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves `router` until the shutdown, or until the task of the handle is aborted; connections go on then.
    pub fn serve(self, router: Router, supervisor: &Supervisor, timers: Timers) -> Handle<()> {
        let name = format!("door {}", self.address);
        let tasks = supervisor.clone();
        supervisor.run(name, move |shutdown| {
            listen::open(self.door, router, tasks, timers, shutdown)
        })
    }
}
