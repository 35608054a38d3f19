//! What is told about certificates.

use crate::name::CertName;
use crate::record::FaultRecord;

/// Where a certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// From files that somebody else renews.
    Given,
    /// Ordered at an authority, by the URL of its directory.
    Ordered {
        /// The authority; nothing before the first order.
        authority: Option<String>,
    },
}

/// How a certificate is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
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

/// A certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateView {
    /// Its id: the first name, `given:` before it for given ones.
    pub id: String,
    /// The names that it is good for, or shall be.
    pub names: Vec<CertName>,
    /// Where it comes from.
    pub source: Source,
    /// How it is.
    pub condition: Condition,
    /// Who signed it.
    pub issuer: Option<String>,
    /// The serial number in hexadecimal digits.
    pub serial: Option<String>,
    /// The SHA-256 in hexadecimal digits.
    pub fingerprint: Option<String>,
    /// From when it is good, in milliseconds of the Unix clock.
    pub not_before_ms: Option<u64>,
    /// Until when it is good, in milliseconds of the Unix clock.
    pub not_after_ms: Option<u64>,
    /// When it is renewed, in milliseconds of the Unix clock; nothing for given ones.
    pub renew_ms: Option<u64>,
    /// Why the last order or reading failed.
    pub fault: Option<FaultRecord>,
    /// When it is tried again, in milliseconds of the Unix clock.
    pub next_try_ms: Option<u64>,
}
