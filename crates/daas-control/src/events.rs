//! What happened to stands, kept for later.

use daas_api::{EventView, Failure};
use daas_engine::{EventKind, Happening, HappeningKind};
use daas_model::{NodeName, Severity, StandName};
use daas_store::Event;
use serde::{Deserialize, Serialize};

/// An event as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct HappeningRecord {
    /// Whose; nothing for what belongs to no stand, such as certificates.
    #[serde(default)]
    stand: Option<StandName>,
    #[serde(default)]
    node: Option<NodeName>,
    severity: Severity,
    code: String,
    text: String,
}

impl HappeningRecord {
    /// Makes the record of something that the engine told.
    pub(crate) fn of(stand: &StandName, happening: Happening) -> Self {
        let (severity, code) = match &happening.kind {
            HappeningKind::Lost => (Severity::Error, "keeper-lost"),
            HappeningKind::Keeper(kind) => word(kind),
        };
        Self {
            stand: Some(stand.clone()),
            node: happening.node,
            severity,
            code: code.into(),
            text: happening.text,
        }
    }

    /// Makes the record of something that happened at the doors.
    pub(crate) fn of_doors(severity: Severity, code: &str, text: impl Into<String>) -> Self {
        Self {
            stand: None,
            node: None,
            severity,
            code: code.into(),
            text: text.into(),
        }
    }

    /// Makes the record of something that somebody should look at.
    pub(crate) fn warning(stand: &StandName, code: &str, text: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::note(stand, code, text)
        }
    }

    /// Makes the record of something that somebody did in a node.
    pub(crate) fn inside(
        stand: &StandName,
        node: &NodeName,
        code: &str,
        text: impl Into<String>,
    ) -> Self {
        Self {
            node: Some(node.clone()),
            ..Self::note(stand, code, text)
        }
    }

    /// Makes the record of something that a person or the platform did.
    pub(crate) fn note(stand: &StandName, code: &str, text: impl Into<String>) -> Self {
        Self {
            stand: Some(stand.clone()),
            node: None,
            severity: Severity::Note,
            code: code.into(),
            text: text.into(),
        }
    }
}

fn word(kind: &EventKind) -> (Severity, &'static str) {
    match kind {
        EventKind::NodeStarted => (Severity::Note, "node-started"),
        EventKind::NodeFailed => (Severity::Error, "node-failed"),
        EventKind::NodeExited { code: 0, .. } | EventKind::NodeExited { asked: true, .. } => {
            (Severity::Note, "node-exited")
        }
        EventKind::NodeExited { .. } => (Severity::Warning, "node-exited"),
        EventKind::Backoff { .. } => (Severity::Warning, "node-backoff"),
        EventKind::HealthChanged {
            health: daas_model::Health::Unhealthy,
        } => (Severity::Warning, "node-health"),
        EventKind::HealthChanged { .. } => (Severity::Note, "node-health"),
        EventKind::OomKilled => (Severity::Error, "node-oom"),
        EventKind::PidsLimit => (Severity::Error, "node-pids-limit"),
        EventKind::DiskFull => (Severity::Error, "stand-disk-full"),
        EventKind::Slowed => (Severity::Warning, "stand-slowed"),
        EventKind::Paused => (Severity::Note, "node-paused"),
        EventKind::Resumed => (Severity::Note, "node-resumed"),
        EventKind::HooksDone => (Severity::Note, "node-hooks-done"),
        EventKind::HookFailed { .. } => (Severity::Warning, "node-hook-failed"),
        EventKind::ExecEnded { .. } => (Severity::Note, "exec-ended"),
        EventKind::LogLost { .. } => (Severity::Warning, "log-lost"),
    }
}

/// Turns a kept event into what the doors show.
pub(crate) fn view(event: &Event) -> Result<EventView, Failure> {
    let record: HappeningRecord = event.read()?;
    Ok(EventView {
        id: event.id.0,
        at_ms: event.at_ms,
        stand: record.stand,
        node: record.node,
        severity: record.severity,
        code: record.code,
        message: record.text,
    })
}
