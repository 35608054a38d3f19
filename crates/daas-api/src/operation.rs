use crate::plan::DiagnosticView;
use crate::problem::Problem;
use daas_model::{ImageName, NameError, NodeName, StandName};
use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::ToSchema;

/// The id of an operation: 1 to 64 lower case letters, digits and `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String)]
pub struct OperationId(String);

impl OperationId {
    /// Parses an id.
    ///
    /// # Errors
    /// [`NameError`] if `text` does not match the grammar.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let good = !text.is_empty()
            && text.len() <= 64
            && text
                .bytes()
                .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError {
                kind: "operation",
                text: text.to_owned(),
                grammar: "[a-z0-9-]{1,64}",
            })
        }
    }

    /// Returns the id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl TryFrom<String> for OperationId {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        Self::parse(&text)
    }
}

impl From<OperationId> for String {
    fn from(id: OperationId) -> Self {
        id.0
    }
}

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OperationKind {
    /// Makes or changes a stand.
    Up,
    /// Throws a stand away.
    Down,
    /// Starts nodes.
    Start,
    /// Stops nodes.
    Stop,
    /// Stops and starts nodes.
    Restart,
    /// Freezes nodes.
    Pause,
    /// Thaws nodes.
    Resume,
    /// Changes numbers of replicas.
    Scale,
    /// Fetches an image.
    Pull,
    /// Makes an image from distribution packages.
    Make,
    /// Builds an image from a Dockerfile.
    Build,
    /// Makes images anew from the newest packages.
    Refresh,
}

/// How far an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OperationState {
    /// It is being done.
    Running,
    /// It is done.
    Done,
    /// It failed; `problem` says why.
    Failed,
    /// Another operation on the same thing took its place.
    Replaced,
}

impl OperationState {
    /// Tells whether nothing more will happen.
    #[must_use]
    pub fn is_over(self) -> bool {
        match self {
            Self::Running => false,
            Self::Done | Self::Failed | Self::Replaced => true,
        }
    }
}

/// A long-running request and how far it is. Following one gives the whole value anew at each change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Operation {
    /// Its id.
    pub id: OperationId,
    /// What it does.
    pub kind: OperationKind,
    /// The stand, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub stand: Option<StandName>,
    /// The image, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub image: Option<ImageName>,
    /// How far it is.
    pub state: OperationState,
    /// When it began, in milliseconds of the Unix clock.
    pub started_ms: u64,
    /// When it ended, in milliseconds of the Unix clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_ms: Option<u64>,
    /// How far each node is, by name; for images one line per part, named as a node.
    #[serde(default)]
    pub nodes: Vec<NodeProgress>,
    /// The digest of the image that it made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// How far one node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeProgress {
    /// The node.
    #[schema(value_type = String)]
    pub node: NodeName,
    /// What happens to it.
    #[serde(flatten)]
    pub phase: Phase,
}

/// What happens to a node during an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "phase", rename_all = "kebab-case")]
pub enum Phase {
    /// Nothing yet.
    Queued,
    /// Its image comes.
    Pulling {
        /// The image.
        image: String,
        /// How many bytes are here.
        done: u64,
        /// How many there are; nothing if not known yet.
        total: Option<u64>,
    },
    /// Its image is unpacked, or a base image is being made.
    Preparing {
        /// What is done now, in few words.
        what: String,
    },
    /// It waits for others.
    Waiting {
        /// For whom and what: `db healthy`, `migrate completed`.
        on: Vec<String>,
    },
    /// It is being launched.
    Starting,
    /// It runs, and its first health check has not passed.
    Started,
    /// It runs, and its health check passed.
    Healthy,
    /// It runs and has no health check.
    Running,
    /// It has ended with exit code 0, as a one-shot node should.
    Completed,
    /// It did not need to change.
    Unchanged,
    /// It is being stopped.
    Stopping,
    /// It is stopped.
    Stopped,
    /// It is frozen.
    Paused,
    /// It is gone.
    Removed,
    /// It failed.
    Failed {
        /// Why.
        reason: String,
    },
}

/// The answer to a request that takes time: it was recorded and will happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Accepted {
    /// One per stand, or one for an image.
    pub operations: Vec<Started>,
    /// Remarks on the project that do not stand in the way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diagnostics: Vec<DiagnosticView>,
}

/// An operation that was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Started {
    /// Its id, to be followed at `/api/v1/operations/{id}`.
    pub operation: OperationId,
    /// The stand, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub stand: Option<StandName>,
}
