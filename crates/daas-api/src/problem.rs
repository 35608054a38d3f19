use crate::plan::DiagnosticView;
use daas_model::Kind;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::ToSchema;

/// An error on the wire: RFC 9457, `application/problem+json`, with the fields that our errors have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// `urn:daas:error:<code>`.
    #[serde(rename = "type")]
    pub type_uri: String,
    /// The HTTP status.
    pub status: u16,
    /// The stable code, `noun-what`.
    pub code: String,
    /// What was attempted, on what.
    pub title: String,
    /// Why it failed, outermost cause first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// When the same request may pass, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// Faults of the project's text, if these are the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diagnostics: Vec<DiagnosticView>,
    /// The request, as the daemon's log names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Returns the HTTP status of an error kind (RFC 9110, section 15).
#[must_use]
pub fn status_of(kind: Kind) -> u16 {
    match kind {
        Kind::Input => 422,
        Kind::NotFound => 404,
        Kind::Conflict => 409,
        Kind::Busy { .. } => 503,
        Kind::Forbidden => 403,
        Kind::Outside => 502,
        Kind::Bug => 500,
    }
}

/// Returns the error kind of an HTTP status.
#[must_use]
pub fn kind_of_status(status: u16, retry_after: Option<Duration>) -> Kind {
    match status {
        401 | 403 => Kind::Forbidden,
        404 => Kind::NotFound,
        409 | 412 => Kind::Conflict,
        // No Retry-After: a second is long enough for a queue to move and short enough for a person.
        408 | 429 | 503 => Kind::Busy {
            retry_after: retry_after.unwrap_or(Duration::from_secs(1)),
        },
        502 | 504 => Kind::Outside,
        400..=499 => Kind::Input,
        _ => Kind::Bug,
    }
}
