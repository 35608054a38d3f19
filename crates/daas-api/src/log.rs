use crate::bytes_text::BytesText;
use daas_model::NodeName;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Which part of the logs is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct LogQuery {
    /// The nodes, separated by commas; all where there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub node: String,
    /// Whether to go on with what comes.
    #[serde(default)]
    pub follow: bool,
    /// Only so many lines from the end of each node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail: Option<u64>,
    /// Only what was written at or after this time, in milliseconds of the Unix clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<u64>,
}

impl LogQuery {
    /// Returns the nodes; none means all.
    ///
    /// # Errors
    /// [`daas_model::NameError`] for the first that is no node name.
    pub fn nodes(&self) -> Result<Vec<NodeName>, daas_model::NameError> {
        self.node
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .map(NodeName::parse)
            .collect()
    }
}

/// Where a node wrote.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum LogStream {
    /// Standard output, or the terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A piece of a log: bytes as the node wrote them. A piece may end in the middle of a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogChunk {
    /// The node.
    #[schema(value_type = String)]
    pub node: NodeName,
    /// Where it wrote.
    pub stream: LogStream,
    /// When it wrote, in microseconds of the Unix clock.
    pub at_us: u64,
    /// What it wrote, line feeds included.
    pub bytes: BytesText,
}
