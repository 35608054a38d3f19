//! What the room keeps: certificates that are wanted or had, accounts, what was issued lately.

use crate::name::CertName;
use crate::renewal::Window;
use daas_store::Record;
use serde::{Deserialize, Serialize};

/// How an authority is convinced that a name is ours (RFC 8555, section 8; RFC 8737).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChallengeKind {
    /// A file below `/.well-known/acme-challenge/` at port 80.
    #[serde(rename = "http-01")]
    Http01,
    /// A certificate of the protocol `acme-tls/1` at port 443.
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
    /// A TXT record at `_acme-challenge.`; the only one for wildcards.
    #[serde(rename = "dns-01")]
    Dns01,
}

impl ChallengeKind {
    /// Returns the word of RFC 8555.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
            Self::Dns01 => "dns-01",
        }
    }

    /// Reads the word of RFC 8555.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Http01, Self::TlsAlpn01, Self::Dns01]
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }
}

impl std::fmt::Display for ChallengeKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// A certificate that somebody wants, and what has come of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateRecord {
    /// The names that it shall be good for.
    pub names: Vec<CertName>,
    /// The only challenge to use, where somebody said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<ChallengeKind>,
    /// The only authority to use, by the URL of its directory, where somebody said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
    /// Whether it is wanted by the configuration: it goes when it is not any more.
    #[serde(default)]
    pub configured: bool,
    /// What was issued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued: Option<Issued>,
    /// The order that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<OrderRecord>,
    /// How many orders in a row failed.
    #[serde(default)]
    pub failures: u32,
    /// Not before this is it ordered again, in milliseconds of the Unix clock.
    #[serde(default)]
    pub next_try_ms: u64,
    /// Why the last order failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<FaultRecord>,
    /// The last alarm about its end: days before it; 0 when it had ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alarmed: Option<u32>,
    /// The stand whose names it is for, where one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stand: Option<String>,
    /// Since when that stand is not there: it is neither served nor renewed, and there at once when the stand comes back. Milliseconds of the Unix clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_ms: Option<u64>,
}

impl Record for CertificateRecord {
    const KIND: &'static str = "certificate";
}

/// A certificate that an authority issued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issued {
    /// Chain and key, sealed for `certificate/<id>`.
    pub sealed: String,
    /// Who issued it, by the URL of its directory.
    pub authority: String,
    /// When it came, in milliseconds of the Unix clock.
    pub at_ms: u64,
    /// From when it is good, in milliseconds of the Unix clock.
    pub not_before_ms: u64,
    /// Until when it is good, in milliseconds of the Unix clock.
    pub not_after_ms: u64,
    /// The serial number in hexadecimal digits.
    pub serial: String,
    /// The SHA-256 in hexadecimal digits.
    pub fingerprint: String,
    /// When the authority suggests to renew it (RFC 9773).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// Not before this is the authority asked for that again, in milliseconds of the Unix clock.
    #[serde(default)]
    pub ask_again_ms: u64,
    /// When it was revoked, in milliseconds of the Unix clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_ms: Option<u64>,
}

/// An order under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderRecord {
    /// At whom, by the URL of its directory.
    pub authority: String,
    /// The order's own URL.
    pub url: String,
    /// The key of the certificate to be, sealed for `order/<id>`.
    pub key: String,
    /// Whether it replaces a certificate whose authority was told so: no limit counts it then (RFC 9773, section 5).
    #[serde(default)]
    pub replaces: bool,
    /// When it was made, in milliseconds of the Unix clock.
    pub since_ms: u64,
}

/// Why an order failed, in the words of its error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultRecord {
    /// The stable code.
    pub code: String,
    /// What was attempted and why it failed.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// When, in milliseconds of the Unix clock.
    pub at_ms: u64,
}

/// An account at an authority.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct AccountRecord {
    pub(crate) directory: String,
    /// What instant-acme keeps, sealed for `acme-account/<key>`.
    pub(crate) credentials: String,
}

impl Record for AccountRecord {
    const KIND: &'static str = "acme-account";
}

/// What was issued lately at one authority for one registered domain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerRecord {
    /// When, in milliseconds of the Unix clock; older than a week is forgotten.
    pub issued_ms: Vec<u64>,
}

impl Record for LedgerRecord {
    const KIND: &'static str = "certificate-ledger";
}

/// A client's certificate, without its key: that was told once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientRecord {
    /// The client's name.
    pub name: String,
    /// The serial number in hexadecimal digits.
    pub serial: String,
    /// The SHA-256 in hexadecimal digits.
    pub fingerprint: String,
    /// Since when there is one, in milliseconds of the Unix clock.
    pub at_ms: u64,
    /// Until when it is good, in milliseconds of the Unix clock.
    pub not_after_ms: u64,
    /// When it was revoked, in milliseconds of the Unix clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_ms: Option<u64>,
}

impl Record for ClientRecord {
    const KIND: &'static str = "client-certificate";
}
