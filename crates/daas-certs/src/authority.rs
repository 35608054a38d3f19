//! The house's own authority, for names that no public one can know.
//!
//! A root says by name constraints (RFC 5280, section 4.2.1.10) what it may sign for: a machine that trusts it trusts it for these names
//! and private addresses only. Zones that come later get a root of their own beside it.

use crate::name::CertName;
use crate::pair::{Facts, Pair, PairError, parse, pem};
use crate::seal::{SealError, Vault, hex_sha256, random};
use daas_model::{Explain, Kind};
use daas_store::{Record, Store, StoreError};
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    NameConstraints, PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::time::Duration;
use thiserror::Error;
use time::OffsetDateTime;

/// Names that never belong to anybody outside (RFC 6761, RFC 8375, RFC 6762 and ICANN's `internal`).
const RESERVED: [&str; 5] = ["localhost", "test", "internal", "home.arpa", "local"];
/// Networks that never belong to anybody outside (RFC 1122, RFC 1918, RFC 3927).
const NETWORKS: [([u8; 4], u8); 5] = [
    ([127, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([172, 16, 0, 0], 12),
    ([192, 168, 0, 0], 16),
    ([169, 254, 0, 0], 16),
];

const DAY: Duration = Duration::from_secs(24 * 3600);
/// How long a root is good.
const ROOT: Duration = Duration::from_secs(3650 * 24 * 3600);
/// A root that ends sooner gets a successor, so that people have time to trust it.
const SUCCESSOR: Duration = Duration::from_secs(365 * 24 * 3600);
/// How much earlier than now a certificate begins: clocks of clients go wrong.
const SKEW: Duration = Duration::from_secs(3600);
/// How long a server's certificate is good. It is made anew in memory long before.
pub const SERVER: Duration = Duration::from_secs(30 * 24 * 3600);
/// The longest life of a client's certificate.
pub const CLIENT: Duration = Duration::from_secs(90 * 24 * 3600);

/// An authority that cannot sign.
#[derive(Debug, Error)]
pub enum AuthorityError {
    /// No root may sign for the name.
    #[error("the private authority may not sign for `{name}`")]
    Forbidden {
        /// The name.
        name: String,
    },
    /// The certificate cannot be made.
    #[error("cannot make a certificate for `{name}`")]
    Make {
        /// For whom.
        name: String,
        /// What is wrong.
        #[source]
        source: rcgen::Error,
    },
    /// What was made is of no use.
    #[error("cannot use the certificate that was made for `{name}`")]
    Made {
        /// For whom.
        name: String,
        /// What is wrong.
        #[source]
        source: PairError,
    },
    /// A kept root is of no use.
    #[error("cannot use the root `{id}` of the records: {why}")]
    Root {
        /// Its id.
        id: String,
        /// What is wrong.
        why: String,
    },
    /// The root's key cannot be opened.
    #[error("cannot open the key of the private authority")]
    Seal(#[from] SealError),
    /// The records cannot be read or written.
    #[error("cannot keep the private authority")]
    Store(#[from] StoreError),
}

impl Explain for AuthorityError {
    fn code(&self) -> &'static str {
        match self {
            Self::Forbidden { .. } => "authority-name",
            Self::Make { .. } | Self::Made { .. } => "authority-make",
            Self::Root { .. } => "authority-root",
            Self::Seal(error) => error.code(),
            Self::Store(error) => error.code(),
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Forbidden { .. } => Kind::Input,
            Self::Make { .. } | Self::Made { .. } => Kind::Bug,
            Self::Root { .. } => Kind::Outside,
            Self::Seal(error) => error.kind(),
            Self::Store(error) => error.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Forbidden { .. } => Some(format!(
                "it signs for the platform's zones and for names below {}",
                RESERVED.join(", ")
            )),
            Self::Seal(error) => error.hint(),
            Self::Store(error) => error.hint(),
            _ => None,
        }
    }
}

/// A root as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct RootRecord {
    /// The certificate as PEM.
    certificate: String,
    /// The key, sealed for `authority/<id>`.
    key: String,
    /// The zones that it signs for, besides reserved names.
    zones: Vec<CertName>,
}

impl Record for RootRecord {
    const KIND: &'static str = "authority";
}

/// One root.
struct Root {
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    zones: Vec<CertName>,
    not_after_ms: u64,
}

impl Root {
    fn permits(&self, name: &CertName) -> bool {
        is_reserved(name) || self.zones.iter().any(|zone| name.is_in(zone))
    }
}

fn is_reserved(name: &CertName) -> bool {
    RESERVED.iter().any(|zone| {
        name.base()
            .strip_suffix(zone)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    })
}

/// What a root says to people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootView {
    /// The certificate as PEM.
    pub pem: String,
    /// Who it is.
    pub subject: String,
    /// The names that it may sign for, with all that is below them.
    pub names: Vec<String>,
    /// Until when it is good, in milliseconds of the Unix clock.
    pub not_after_ms: u64,
    /// The SHA-256 of the certificate in hexadecimal digits.
    pub fingerprint: String,
}

/// The roots of the house, newest last.
pub struct Authority {
    roots: Vec<Root>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority")
            .field("roots", &self.roots.len())
            .finish()
    }
}

impl Authority {
    /// Opens the roots of the records, and makes one where none may sign for some zone, or the one that may ends within a year.
    ///
    /// # Errors
    /// [`AuthorityError`] if a root cannot be opened or kept.
    pub async fn open(
        store: &Store,
        vault: &Vault,
        zones: &[CertName],
        now_ms: u64,
    ) -> Result<Self, AuthorityError> {
        let mut roots = Vec::new();
        for kept in store.list::<RootRecord>("")? {
            let root = open_root(&kept.key, &kept.value, vault)?;
            if root.not_after_ms > now_ms {
                roots.push(root);
            }
        }
        let fresh = |root: &Root| root.not_after_ms > now_ms.saturating_add(millis(SUCCESSOR));
        let good = |zone: &CertName| roots.iter().any(|root| fresh(root) && root.permits(zone));
        if !roots.iter().any(fresh) || !zones.iter().all(good) {
            let (id, record) = make_root(vault, zones, now_ms, roots.len())?;
            store.put(&id, &record).await?;
            roots.push(open_root(&id, &record, vault)?);
        }
        roots.sort_by_key(|root| root.not_after_ms);
        Ok(Self { roots })
    }

    /// Tells whether some root may sign for `name`.
    #[must_use]
    pub fn permits(&self, name: &CertName) -> bool {
        self.roots.iter().any(|root| root.permits(name))
    }

    /// Returns the roots as PEM, one behind the other.
    #[must_use]
    pub fn pem(&self) -> String {
        self.roots
            .iter()
            .map(|root| pem("CERTIFICATE", &root.der))
            .collect()
    }

    /// Returns the roots in DER form.
    pub fn certificates(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        self.roots.iter().map(|root| &root.der)
    }

    /// Returns what the roots say.
    #[must_use]
    pub fn views(&self) -> Vec<RootView> {
        let view = |root: &Root| RootView {
            pem: pem("CERTIFICATE", &root.der),
            subject: parse(&root.der)
                .map(|read| read.subject().to_string())
                .unwrap_or_default(),
            names: RESERVED
                .iter()
                .map(|&name| name.to_owned())
                .chain(root.zones.iter().map(ToString::to_string))
                .collect(),
            not_after_ms: root.not_after_ms,
            fingerprint: hex_sha256(&root.der),
        };
        self.roots.iter().map(view).collect()
    }

    /// Makes a server's certificate with a new key.
    ///
    /// # Errors
    /// [`AuthorityError::Forbidden`] if no root may sign for all of the names.
    pub fn server(
        &self,
        names: &[CertName],
        addresses: &[IpAddr],
        now_ms: u64,
    ) -> Result<Pair, AuthorityError> {
        let first = names.first().map_or("an address", CertName::as_str);
        let mut params = leaf(first, now_ms, SERVER);
        let make = |source| AuthorityError::Make {
            name: first.to_owned(),
            source,
        };
        for name in names {
            let name = name.as_str().try_into().map_err(make)?;
            params.subject_alt_names.push(SanType::DnsName(name));
        }
        params
            .subject_alt_names
            .extend(addresses.iter().map(|ip| SanType::IpAddress(*ip)));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(first, names, params)
    }

    /// Makes the certificate by which the client `name` proves who it is; `life` is cut at [`CLIENT`].
    ///
    /// # Errors
    /// As [`Authority::server`].
    pub fn client(
        &self,
        name: &CertName,
        life: Duration,
        now_ms: u64,
    ) -> Result<Pair, AuthorityError> {
        let mut params = leaf(name.as_str(), now_ms, life.min(CLIENT));
        let make = |source| AuthorityError::Make {
            name: name.to_string(),
            source,
        };
        let text = name.as_str().try_into().map_err(make)?;
        params.subject_alt_names.push(SanType::DnsName(text));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(name.as_str(), std::slice::from_ref(name), params)
    }

    fn sign(
        &self,
        whom: &str,
        names: &[CertName],
        params: CertificateParams,
    ) -> Result<Pair, AuthorityError> {
        let root = self
            .roots
            .iter()
            .rev()
            .find(|root| names.iter().all(|name| root.permits(name)))
            .ok_or_else(|| AuthorityError::Forbidden {
                name: whom.to_owned(),
            })?;
        let make = |source| AuthorityError::Make {
            name: whom.to_owned(),
            source,
        };
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(make)?;
        let signed = params.signed_by(&key, &root.issuer).map_err(make)?;
        let secret = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        Pair::new(vec![signed.der().clone()], secret).map_err(|source| AuthorityError::Made {
            name: whom.to_owned(),
            source,
        })
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn date(ms: u64) -> OffsetDateTime {
    // Beyond the year 9999 nothing is certified.
    i64::try_from(ms / 1000)
        .ok()
        .and_then(|secs| OffsetDateTime::from_unix_timestamp(secs).ok())
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// Returns a serial number of 127 random bits (CA/B Forum, 7.1, wants 64).
fn serial() -> SerialNumber {
    let mut bytes = random::<16>();
    bytes[0] &= 0x7f;
    bytes[15] |= 1;
    SerialNumber::from_slice(&bytes)
}

fn leaf(name: &str, now_ms: u64, life: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    // A common name has room for 64 characters (RFC 5280, appendix A.1); nobody but people reads it.
    let short: String = name.chars().take(64).collect();
    params.distinguished_name.push(DnType::CommonName, short);
    params.not_before = date(now_ms) - SKEW;
    params.not_after = date(now_ms) + life;
    params.serial_number = Some(serial());
    params.use_authority_key_identifier_extension = true;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params
}

fn make_root(
    vault: &Vault,
    zones: &[CertName],
    now_ms: u64,
    older: usize,
) -> Result<(String, RootRecord), AuthorityError> {
    let whom = "the private authority";
    let make = |source| AuthorityError::Make {
        name: whom.to_owned(),
        source,
    };
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(make)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, "DaaS");
    // Two roots of one name confuse people and programs that look issuers up by it.
    let id = random::<4>().map(|b| format!("{b:02x}")).concat();
    params
        .distinguished_name
        .push(DnType::CommonName, format!("DaaS private authority {id}"));
    params.not_before = date(now_ms) - SKEW;
    params.not_after = date(now_ms) + ROOT;
    params.serial_number = Some(serial());
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.name_constraints = Some(constraints(zones));
    let signed = params.self_signed(&key).map_err(make)?;
    let id = format!("{older:03}-{id}");
    let record = RootRecord {
        certificate: pem("CERTIFICATE", signed.der()),
        key: vault.seal(
            &format!("authority/{id}"),
            &zeroize::Zeroizing::new(key.serialize_der()),
        ),
        zones: zones.to_vec(),
    };
    Ok((id, record))
}

fn constraints(zones: &[CertName]) -> NameConstraints {
    let names = RESERVED
        .iter()
        .copied()
        .chain(zones.iter().map(CertName::as_str));
    let mut permitted: Vec<_> = names
        .map(|name| GeneralSubtree::DnsName(name.to_owned()))
        .collect();
    let v4 = NETWORKS
        .iter()
        .map(|(net, bits)| CidrSubnet::from_v4_prefix(*net, *bits));
    permitted.extend(v4.map(GeneralSubtree::IpAddress));
    let mut local = [0; 16];
    local[15] = 1;
    let mut unique = [0; 16];
    unique[0] = 0xfc;
    let mut link = [0; 16];
    (link[0], link[1]) = (0xfe, 0x80);
    for (net, bits) in [(local, 128), (unique, 7), (link, 10)] {
        permitted.push(GeneralSubtree::IpAddress(CidrSubnet::from_v6_prefix(
            net, bits,
        )));
    }
    NameConstraints {
        permitted_subtrees: permitted,
        excluded_subtrees: Vec::new(),
    }
}

fn open_root(id: &str, record: &RootRecord, vault: &Vault) -> Result<Root, AuthorityError> {
    use rustls::pki_types::pem::PemObject;
    let bad = |why: String| AuthorityError::Root {
        id: id.to_owned(),
        why,
    };
    let der = CertificateDer::from_pem_slice(record.certificate.as_bytes())
        .map_err(|e| bad(e.to_string()))?;
    let secret = vault.unseal(&format!("authority/{id}"), &record.key)?;
    let pkcs8 = PrivatePkcs8KeyDer::from(secret.as_slice());
    let key = KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8, &PKCS_ECDSA_P256_SHA256)
        .map_err(|e| bad(e.to_string()))?;
    let facts = Facts::of(&der).map_err(bad)?;
    let issuer = Issuer::from_ca_cert_der(&der, key).map_err(|e| bad(e.to_string()))?;
    Ok(Root {
        der,
        issuer,
        zones: record.zones.clone(),
        not_after_ms: facts.not_after_ms,
    })
}

/// Returns how long before its end a certificate made here is made anew.
#[must_use]
pub(crate) fn early() -> u64 {
    millis(10 * DAY)
}
