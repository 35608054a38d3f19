use daas_model::Span;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How a certificate is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CertificateState {
    /// Good.
    Valid,
    /// Good, and near its end without having been renewed.
    Expiring,
    /// Not good any more.
    Expired,
    /// Taken back.
    Revoked,
    /// Being ordered for the first time.
    Ordering,
    /// There is none, and the last order failed.
    Failed,
}

impl CertificateState {
    /// Returns the word of the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Expiring => "expiring",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Ordering => "ordering",
            Self::Failed => "failed",
        }
    }
}

/// Why the last order or reading of a certificate failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CertificateFault {
    /// The stable code.
    pub code: String,
    /// What was attempted, and why it failed.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// When, in milliseconds of the Unix clock.
    pub at_ms: u64,
}

/// A certificate that was given or ordered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CertificateView {
    /// Its id: the first name, `given:` before it for given ones.
    pub id: String,
    /// The names that it is good for, or shall be.
    pub names: Vec<String>,
    /// How it is.
    pub state: CertificateState,
    /// Who issued it: the URL of a directory, or `given`.
    pub source: String,
    /// The serial number in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// The SHA-256 in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// From when it is good, in milliseconds of the Unix clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before_ms: Option<u64>,
    /// Until when it is good, in milliseconds of the Unix clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after_ms: Option<u64>,
    /// When it is renewed, in milliseconds of the Unix clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renew_ms: Option<u64>,
    /// Why the last order failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<CertificateFault>,
    /// When it is tried again, in milliseconds of the Unix clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_try_ms: Option<u64>,
    /// The chain as PEM; only where one certificate is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<String>,
}

/// The certificates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CertificateList {
    /// By id.
    pub items: Vec<CertificateView>,
}

/// Asks for a certificate to be ordered.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateOrder {
    /// The names, the first one gives the id; `*.` before a name stands for one label.
    pub names: Vec<String>,
    /// The only challenge to use: `http-01`, `tls-alpn-01` or `dns-01`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<String>,
    /// The only authority to use, by the URL of its directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
}

/// A root of the private authority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RootCertificate {
    /// The certificate as PEM.
    pub pem: String,
    /// Who it is.
    pub subject: String,
    /// The names that it may sign for, with all that is below them; besides private addresses.
    pub names: Vec<String>,
    /// Until when it is good, in milliseconds of the Unix clock.
    pub not_after_ms: u64,
    /// The SHA-256 in hexadecimal digits.
    pub fingerprint: String,
}

/// The roots of the private authority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RootCertificates {
    /// The one that ends last is last.
    pub items: Vec<RootCertificate>,
}

/// Asks for a certificate by which a machine or person proves who it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientRequest {
    /// Who: one label of `a-z`, `0-9` and `-`.
    pub name: String,
    /// How long it is good; 90 days at most, and where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub expires_in: Option<Span>,
}

/// A client's certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClientView {
    /// Whose.
    pub name: String,
    /// The serial number in hexadecimal digits.
    pub serial: String,
    /// The SHA-256 in hexadecimal digits.
    pub fingerprint: String,
    /// Since when there is one, in milliseconds of the Unix clock.
    pub created_ms: u64,
    /// Until when it is good, in milliseconds of the Unix clock.
    pub not_after_ms: u64,
    /// When it was revoked, in milliseconds of the Unix clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_ms: Option<u64>,
}

/// The clients' certificates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClientList {
    /// By name.
    pub items: Vec<ClientView>,
}

/// A client's certificate with its key, told once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClientMade {
    /// Whose.
    pub client: ClientView,
    /// The certificate as PEM.
    pub certificate: String,
    /// The key as PEM.
    pub key: String,
}

impl std::fmt::Debug for ClientMade {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientMade")
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}
