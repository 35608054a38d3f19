//! Certificates by which other machines prove who they are: signed by the private authority, known one by one.

use crate::record::ClientRecord;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

/// The zone below which clients have their names.
pub(crate) const ZONE: &str = "client.daas.internal";

/// Lets in who has a certificate that was issued here and is not revoked. A revocation holds for the next handshake.
#[derive(Debug)]
pub struct ClientVerifier {
    inner: Arc<dyn ClientCertVerifier>,
    known: RwLock<HashMap<String, String>>,
}

impl ClientVerifier {
    /// Trusts `roots` for those that [`ClientVerifier::set_known`] names.
    pub(crate) fn new<'a>(
        roots: impl Iterator<Item = &'a CertificateDer<'static>>,
    ) -> Option<Self> {
        let mut trusted = rustls::RootCertStore::empty();
        trusted.add_parsable_certificates(roots.cloned());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let inner = WebPkiClientVerifier::builder_with_provider(Arc::new(trusted), provider)
            .build()
            .ok()?;
        Some(Self {
            inner,
            known: RwLock::default(),
        })
    }

    pub(crate) fn set_known<'a>(&self, clients: impl Iterator<Item = &'a ClientRecord>) {
        let known = clients
            .filter(|client| client.revoked_ms.is_none())
            .map(|client| (client.fingerprint.clone(), client.name.clone()));
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = known.collect();
    }

    /// Returns the same for a door at which who shows no certificate may come in another way.
    #[must_use]
    pub fn optional(self: Arc<Self>) -> Arc<dyn ClientCertVerifier> {
        Arc::new(Optional(self))
    }

    /// Returns whose certificate it is; nothing if it was never issued here, or revoked.
    #[must_use]
    pub fn name_of(&self, certificate: &CertificateDer<'_>) -> Option<String> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(&crate::seal::hex_sha256(certificate)).cloned()
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self
            .inner
            .verify_client_cert(end_entity, intermediates, now)?;
        match self.name_of(end_entity) {
            Some(_) => Ok(verified),
            None => Err(Error::InvalidCertificate(CertificateError::Revoked)),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Judges certificates that are shown, and lets in who shows none.
#[derive(Debug)]
struct Optional(Arc<ClientVerifier>);

impl ClientCertVerifier for Optional {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.0.verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
