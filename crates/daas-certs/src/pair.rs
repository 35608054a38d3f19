//! A certificate chain with its key, and what it says.

use crate::name::CertName;
use crate::seal::hex_sha256;
use daas_model::{Explain, Kind};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::net::IpAddr;
use std::sync::Arc;
use thiserror::Error;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

/// A chain or key that cannot be used.
#[derive(Debug, Error)]
pub enum PairError {
    /// The text holds no certificate.
    #[error("there is no certificate in it")]
    Empty,
    /// The text is no PEM.
    #[error("cannot read the {what}")]
    Pem {
        /// Certificate or key.
        what: &'static str,
        /// What is wrong.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// A certificate is not to be understood.
    #[error("cannot read certificate {place} of the chain: {why}")]
    Certificate {
        /// 1 is the first.
        place: usize,
        /// What is wrong.
        why: String,
    },
    /// A certificate is not signed by the next one.
    #[error(
        "certificate {place} of the chain (`{subject}`) is not signed by the one behind it (`{next}`)"
    )]
    Order {
        /// 1 is the first.
        place: usize,
        /// Its subject.
        subject: String,
        /// The subject of the one behind it.
        next: String,
    },
    /// The first certificate is an authority's.
    #[error("the first certificate of the chain (`{subject}`) is an authority's")]
    Authority {
        /// Its subject.
        subject: String,
    },
    /// The certificate is for no DNS name and no address.
    #[error("the certificate names no host")]
    Nameless,
    /// The key is another's.
    #[error("the key does not fit the certificate")]
    Key(#[source] rustls::Error),
}

impl Explain for PairError {
    fn code(&self) -> &'static str {
        match self {
            Self::Empty => "certificate-empty",
            Self::Pem { .. } => "certificate-pem",
            Self::Certificate { .. } => "certificate-unreadable",
            Self::Order { .. } => "certificate-chain-order",
            Self::Authority { .. } => "certificate-authority-first",
            Self::Nameless => "certificate-nameless",
            Self::Key(_) => "certificate-key-mismatch",
        }
    }

    fn kind(&self) -> Kind {
        Kind::Input
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Empty | Self::Pem { .. } => {
                "both files are PEM: `-----BEGIN CERTIFICATE-----` and `-----BEGIN PRIVATE KEY-----`".into()
            }
            Self::Order { .. } | Self::Authority { .. } => {
                "the server's own certificate comes first, behind it the one that signed it, and so on; the root may be left out".into()
            }
            Self::Nameless => "browsers look only at subject alternative names, not at the common name".into(),
            Self::Key(_) => "`openssl x509 -noout -pubkey` and `openssl pkey -pubout` must print the same key".into(),
            Self::Certificate { .. } => return None,
        })
    }
}

/// A chain, the server's own certificate first, and its key.
pub struct Pair {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    facts: Facts,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pair")
            .field("facts", &self.facts)
            .finish_non_exhaustive()
    }
}

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The DNS names that it is good for.
    pub names: Vec<CertName>,
    /// The addresses that it is good for.
    pub addresses: Vec<IpAddr>,
    /// Its serial number in hexadecimal digits.
    pub serial: String,
    /// Who signed it.
    pub issuer: String,
    /// From when it is good, in milliseconds of the Unix clock.
    pub not_before_ms: u64,
    /// Until when it is good, in milliseconds of the Unix clock.
    pub not_after_ms: u64,
    /// The SHA-256 of the certificate in hexadecimal digits.
    pub fingerprint: String,
}

impl Facts {
    /// Reads a certificate.
    ///
    /// # Errors
    /// What is wrong with its bytes.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, String> {
        let read = parse(certificate)?;
        let mut names = Vec::new();
        let mut addresses = Vec::new();
        let alternatives = read.subject_alternative_name().map_err(|e| e.to_string())?;
        for name in alternatives.iter().flat_map(|ext| &ext.value.general_names) {
            match name {
                GeneralName::DNSName(text) => names.extend(CertName::parse(text).ok()),
                GeneralName::IPAddress(bytes) => addresses.extend(address(bytes)),
                _ => {}
            }
        }
        let ms = |time: x509_parser::time::ASN1Time| {
            u64::try_from(time.timestamp())
                .unwrap_or(0)
                .saturating_mul(1000)
        };
        Ok(Self {
            names,
            addresses,
            serial: read
                .raw_serial()
                .iter()
                .map(|b| format!("{b:02x}"))
                .collect(),
            issuer: read.issuer().to_string(),
            not_before_ms: ms(read.validity().not_before),
            not_after_ms: ms(read.validity().not_after),
            fingerprint: hex_sha256(certificate),
        })
    }

    /// Tells whether it is good for `name`.
    #[must_use]
    pub fn covers(&self, name: &CertName) -> bool {
        self.names.iter().any(|own| own.covers(name))
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

pub(crate) fn parse<'a>(
    certificate: &'a CertificateDer<'_>,
) -> Result<X509Certificate<'a>, String> {
    match X509Certificate::from_der(certificate) {
        Ok(([], read)) => Ok(read),
        Ok(_) => Err("there are bytes behind it".into()),
        Err(error) => Err(error.to_string()),
    }
}

impl Pair {
    /// Reads chain and key from PEM texts and checks that they belong together.
    ///
    /// # Errors
    /// [`PairError`] with what does not fit. Expiry is no error: [`Facts`] tell it.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, PairError> {
        let chain = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|source| PairError::Pem {
                what: "certificate",
                source,
            })?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|source| PairError::Pem {
            what: "key",
            source,
        })?;
        Self::new(chain, key)
    }

    /// Takes chain and key and checks that they belong together.
    ///
    /// # Errors
    /// As [`Pair::from_pem`].
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, PairError> {
        let unreadable = |place: usize| move |why| PairError::Certificate { place, why };
        let read = chain
            .iter()
            .enumerate()
            .map(|(at, one)| parse(one).map_err(unreadable(at + 1)))
            .collect::<Result<Vec<_>, _>>()?;
        let first = read.first().ok_or(PairError::Empty)?;
        let subject = |one: &X509Certificate<'_>| one.subject().to_string();
        if first.is_ca() && read.len() > 1 {
            return Err(PairError::Authority {
                subject: subject(first),
            });
        }
        for (at, two) in read.windows(2).enumerate() {
            if two[0].issuer() != two[1].subject()
                || two[0].verify_signature(Some(two[1].public_key())).is_err()
            {
                return Err(PairError::Order {
                    place: at + 1,
                    subject: subject(&two[0]),
                    next: subject(&two[1]),
                });
            }
        }
        let facts = Facts::of(&chain[0]).map_err(unreadable(1))?;
        if facts.names.is_empty() && facts.addresses.is_empty() {
            return Err(PairError::Nameless);
        }
        drop(read);
        let pair = Self { chain, key, facts };
        pair.certified().map_err(PairError::Key)?;
        Ok(pair)
    }

    /// Returns what the certificate says.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Returns the chain, the server's own certificate first.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// Returns the chain as PEM.
    #[must_use]
    pub fn chain_pem(&self) -> String {
        self.chain
            .iter()
            .map(|one| pem("CERTIFICATE", one))
            .collect()
    }

    /// Returns the key in DER form.
    #[must_use]
    pub(crate) fn key_der(&self) -> &[u8] {
        self.key.secret_der()
    }

    /// Returns it in the form that rustls serves.
    ///
    /// # Errors
    /// If the key is of no known kind or another's.
    pub fn certified(&self) -> Result<CertifiedKey, rustls::Error> {
        CertifiedKey::from_der(
            self.chain.clone(),
            self.key.clone_key(),
            &ring::default_provider(),
        )
    }

    /// As [`Pair::certified`], shared.
    pub(crate) fn served(&self) -> Option<Arc<CertifiedKey>> {
        self.certified().ok().map(Arc::new)
    }
}

/// Writes `der` as PEM (RFC 7468).
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine;
    let text = base64::prelude::BASE64_STANDARD.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        out.extend(line.iter().copied().map(char::from));
        out.push('\n');
    }
    out.push_str(&format!("-----END {label}-----\n"));
    out
}
