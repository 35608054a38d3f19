//! TLS: who shows which certificate, and who answers a certificate authority's questions.

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::ResolvesServerCert;
use std::sync::Arc;

/// The protocol by which a certificate authority looks at a certificate made for it (RFC 8737 section 3).
pub(crate) const ACME: &[u8] = b"acme-tls/1";
const H2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// Answers what a certificate authority asks by plain HTTP (RFC 8555 section 8.3).
///
/// Whoever gets certificates implements it. It is asked with every request below `/.well-known/acme-challenge/`, before any route.
pub trait ChallengeAnswers: Send + Sync {
    /// Returns the key authorisation for `token` at `host` (lower case, without port); nothing if it is none of ours, then the request
    /// goes its usual way. Must be quick and must not block.
    fn http_answer(&self, host: &str, token: &str) -> Option<String>;
}

/// Returns how the listeners of TLS speak. Certificates are asked for with each handshake: what the resolver has then is shown, nothing is
/// kept here. A hello that offers `acme-tls/1` reaches the resolver too (`ClientHello::alpn`), and its connection closes after the handshake.
///
/// # Errors
/// What rustls says about its own provider, which cannot happen with the one that is built in.
pub fn server_config(
    certificates: Arc<dyn ResolvesServerCert>,
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = vec![H2.to_vec(), HTTP1.to_vec(), ACME.to_vec()];
    // Sessions go on without a store, and keys are changed by themselves (RFC 8446 section 4.6.1).
    config.ticketer = ring::Ticketer::new()?;
    Ok(config)
}

/// What was agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spoken {
    Http1,
    H2,
    /// The certificate has been looked at; there is nothing to say.
    Nothing,
}

impl Spoken {
    pub(crate) fn of(alpn: Option<&[u8]>) -> Self {
        match alpn {
            Some(H2) => Self::H2,
            Some(ACME) => Self::Nothing,
            _ => Self::Http1,
        }
    }
}
