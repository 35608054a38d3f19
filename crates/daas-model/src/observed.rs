use crate::name::NodeName;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// What a node's health check last said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// It has no check.
    None,
    /// Too early to tell.
    Starting,
    /// The last check passed.
    Healthy,
    /// As many checks failed in a row as `retries` says.
    Unhealthy,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::None => "-",
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        })
    }
}

/// The state of a node's main process. Times are milliseconds of the Unix clock, for people; decisions use the keeper's own clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "state")]
pub enum NodeState {
    /// Launched, and its post-start commands are not done.
    Starting,
    /// It runs.
    Running {
        /// Its process id on the host.
        pid: i32,
        /// Since when.
        since_ms: u64,
    },
    /// It is frozen.
    Paused {
        /// Its process id on the host.
        pid: i32,
    },
    /// It was asked to end and has not yet.
    Stopping,
    /// It ended and will be started again by its policy.
    Backoff {
        /// The last exit code; 128 + signal when a signal ended it.
        code: i32,
        /// When the next start is due.
        until_ms: u64,
    },
    /// It ended.
    Exited {
        /// The exit code; 128 + signal when a signal ended it.
        code: i32,
        /// Whether the kernel killed it for memory.
        oom: bool,
        /// When.
        at_ms: u64,
        /// Whether a person or the platform asked for it.
        asked: bool,
    },
    /// It could not be launched.
    Failed {
        /// What was attempted and why it did not work.
        reason: String,
        /// When.
        at_ms: u64,
    },
}

/// A node as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeObserved {
    /// Its process.
    #[serde(flatten)]
    pub state: NodeState,
    /// Its health.
    pub health: Health,
    /// How many times it was started again by its policy.
    #[serde(default)]
    pub restarts: u32,
    /// The digest of the description that it was launched from; a difference means that it must be made anew.
    pub launched_from: String,
    /// Its addresses, for people.
    #[serde(default)]
    pub addresses: Vec<std::net::IpAddr>,
}

/// A stand as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StandObserved {
    /// Whether its keeper lives and answers.
    pub keeper: bool,
    /// The digest of the stand-wide description (networks, limits, volumes) that its keeper was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_from: Option<String>,
    /// Its nodes.
    #[serde(default)]
    pub nodes: BTreeMap<NodeName, NodeObserved>,
}
