//! Events about certificates, in the form in which all events are kept.

use daas_model::Severity;
use serde::Serialize;

/// One event. The platform's loops read it as they read events of stands; it belongs to none.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Notice {
    severity: Severity,
    code: String,
    text: String,
}

impl Notice {
    pub(crate) fn note(code: &str, text: String) -> Self {
        Self {
            severity: Severity::Note,
            code: code.to_owned(),
            text,
        }
    }

    pub(crate) fn warning(code: &str, text: String) -> Self {
        Self {
            severity: Severity::Warning,
            code: code.to_owned(),
            text,
        }
    }

    /// Tells that a certificate ends in `days`, or has ended, and why it was not renewed.
    pub(crate) fn ending(id: &str, days: u32, why: Option<&str>) -> Self {
        let (severity, code, when) = match days {
            0 => (
                Severity::Error,
                "certificate-expired",
                "has ended".to_owned(),
            ),
            1 => (
                Severity::Error,
                "certificate-expiring",
                "ends within a day".to_owned(),
            ),
            days => (
                Severity::Warning,
                "certificate-expiring",
                format!("ends within {days} days"),
            ),
        };
        let why = why.map(|why| format!(": {why}")).unwrap_or_default();
        Self {
            severity,
            code: code.to_owned(),
            text: format!("certificate `{id}` {when}{why}"),
        }
    }
}
