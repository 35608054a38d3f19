use daas_model::{NodeName, Severity, StandName};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Which events are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct EventQuery {
    /// Whether to go on with what comes.
    #[serde(default)]
    pub follow: bool,
    /// Only events after this id; `Last-Event-ID` says the same and stands above it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Only the newest so many; 100 where neither this nor `after` is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<usize>,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventView {
    /// Its place in the order of all events.
    pub id: u64,
    /// When, in milliseconds of the Unix clock.
    pub at_ms: u64,
    /// The stand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub stand: Option<StandName>,
    /// The node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub node: Option<NodeName>,
    /// How bad it is: `error`, `warning`, `note`.
    #[schema(value_type = String)]
    pub severity: Severity,
    /// The stable code, `node-oom`.
    pub code: String,
    /// What happened, in plain words.
    pub message: String,
}
