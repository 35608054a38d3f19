use daas_model::{AUTHORITIES, Explain, Kind};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::TlsConnector;

/// How a daemon is spoken to over TLS: who is trusted, and what is shown.
#[derive(Clone)]
pub struct Tls {
    pub(crate) connector: TlsConnector,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls(..)")
    }
}

/// Files of TLS that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use `{}` for TLS", path.display())]
pub struct TlsError {
    path: PathBuf,
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl Explain for TlsError {
    fn code(&self) -> &'static str {
        "tls-files"
    }

    fn kind(&self) -> Kind {
        Kind::Input
    }

    fn hint(&self) -> Option<String> {
        Some("files in PEM form: roots as `daas certificate root` writes them, certificate and key as `daas certificate client add` does".into())
    }
}

impl Tls {
    /// Trusts the certificates of `roots`, or whom the machine trusts; shows the certificate with its key of `own`, one file for both.
    ///
    /// # Errors
    /// [`TlsError`] with the file that cannot be read or does not fit.
    pub fn read(roots: Option<&Path>, own: Option<&Path>) -> Result<Self, TlsError> {
        let mut trusted = RootCertStore::empty();
        let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
        let usual = || {
            named
                .into_iter()
                .chain(AUTHORITIES.map(PathBuf::from))
                .find(|path| path.is_file())
        };
        if let Some(path) = roots {
            let read: Result<Vec<_>, _> =
                CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
            let all: Vec<CertificateDer<'static>> = read.map_err(fault(path))?;
            if all.is_empty() {
                return Err(fault(path)("there is no certificate in it"));
            }
            for one in all {
                trusted.add(one).map_err(fault(path))?;
            }
        } else if let Some(path) = usual() {
            // One certificate that is not understood must not close the door to all others.
            let all = CertificateDer::pem_file_iter(&path).into_iter().flatten();
            trusted.add_parsable_certificates(all.filter_map(Result::ok));
        }
        let nowhere = Path::new("");
        let builder =
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(fault(nowhere))?
                .with_root_certificates(trusted);
        let config = match own {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let read: Result<Vec<_>, _> =
                    CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
                let key = PrivateKeyDer::from_pem_file(path).map_err(fault(path))?;
                let chain = read.map_err(fault(path))?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(fault(path))?
            }
        };
        Ok(Self {
            connector: TlsConnector::from(Arc::new(config)),
        })
    }
}

fn fault<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
    path: &Path,
) -> impl FnOnce(E) -> TlsError {
    let path = path.to_owned();
    move |error| TlsError {
        path,
        source: error.into(),
    }
}
