use crate::node::{NodeView, PortView};
use crate::project::ProjectSource;
use daas_model::{
    ByteSize, Cpus, Egress, Limits, NodeName, ProjectName, ServiceName, Span, StandId, StandKind,
    StandName,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use utoipa::{IntoParams, ToSchema};

/// Asks for stands of a project: makes those that are absent, changes those that differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpRequest {
    /// The stand's name; the project's name where there is none. With `count`, the beginning of the names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub name: Option<StandName>,
    /// How many stands: `name-1` to `name-N`. Without it one stand, named `name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// The project.
    pub project: ProjectSource,
    /// How it is done.
    #[serde(default)]
    pub options: UpOptions,
}

/// How an `up` is done.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpOptions {
    /// Whether every node is made anew, also those that did not change.
    #[serde(default)]
    pub recreate: bool,
    /// Whether images are looked for in their registries even when the store has them.
    #[serde(default)]
    pub pull: bool,
    /// Whether the stands are recorded, but not started.
    #[serde(default)]
    pub no_start: bool,
    /// Which images of services with a `build` are built first, from the project's folder on the daemon's host.
    #[serde(default)]
    pub build: BuildWish,
}

/// Which images an `up` builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BuildWish {
    /// Those that are missing, and those of services that are described or have `pull_policy: build`.
    #[default]
    Missing,
    /// All of them.
    All,
    /// None: who asks has built them, or will not have them built.
    Never,
}

/// What is done to a running stand as a whole, or to some of its nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Starts what is stopped.
    Start,
    /// Stops what runs; data stays.
    Stop,
    /// Stops and starts.
    Restart,
    /// Freezes.
    Pause,
    /// Thaws.
    Resume,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Start,
        Self::Stop,
        Self::Restart,
        Self::Pause,
        Self::Resume,
    ];

    /// Returns the word of the path and of the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Pause => "pause",
            Self::Resume => "resume",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Asks for an [`Action`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ActRequest {
    /// Which nodes; all where there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub nodes: Vec<NodeName>,
    /// How long nodes may take to end before they are killed; their own grace where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub grace: Option<Span>,
}

/// Asks for other numbers of replicas.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScaleRequest {
    /// Number of nodes by service.
    #[schema(value_type = BTreeMap<String, u32>)]
    pub services: BTreeMap<ServiceName, u32>,
}

/// How a stand is thrown away.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct DownQuery {
    /// Whether its named volumes stay for the next stand of this name.
    #[serde(default)]
    pub keep_volumes: bool,
}

/// What a stand does as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StandState {
    /// It is recorded and nothing runs yet.
    Waiting,
    /// Some nodes are still to come.
    Starting,
    /// Every node runs as wanted, is healthy where it has a check, or has ended well where it should end.
    Running,
    /// Some nodes run and some have failed or are unhealthy.
    Degraded,
    /// It is frozen.
    Paused,
    /// It is being stopped.
    Stopping,
    /// It was stopped; its data is there.
    Stopped,
    /// It could not be made, or all of its nodes failed.
    Failed,
    /// It is being thrown away.
    Removing,
}

impl fmt::Display for StandState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Waiting => "waiting",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Degraded => "degraded",
            Self::Paused => "paused",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Removing => "removing",
        })
    }
}

/// A stand in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StandSummary {
    /// Its name.
    #[schema(value_type = String)]
    pub name: StandName,
    /// Its id, never used twice.
    #[schema(value_type = String)]
    pub id: StandId,
    /// Its project.
    #[schema(value_type = String)]
    pub project: ProjectName,
    /// What it is for.
    #[schema(value_type = String)]
    pub kind: StandKind,
    /// What it does.
    pub state: StandState,
    /// Why it is in this state, if that needs words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How many nodes are as wanted.
    pub nodes_ready: u32,
    /// How many nodes it has.
    pub nodes_total: u32,
    /// Its address on the host; nothing until it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub address: Option<IpAddr>,
    /// Where it answers by name, the best URL first; empty where no service looks like HTTP or the ingress listens nowhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// When it was first asked for, in milliseconds of the Unix clock.
    pub created_ms: u64,
    /// When it ends by its `ttl`, in milliseconds of the Unix clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
    /// Counts the changes of what is wanted of it: the `ETag`.
    pub revision: u64,
}

/// A stand as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StandView {
    /// What a list shows.
    #[serde(flatten)]
    pub summary: StandSummary,
    /// Its nodes, by name.
    pub nodes: Vec<NodeView>,
    /// What answers at its address.
    pub ports: Vec<PortView>,
    /// Its ceiling.
    pub limits: LimitsView,
    /// Its way out: `none`, `proxy`, `full`.
    #[schema(value_type = String)]
    pub egress: Egress,
    /// Its project's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dir: Option<String>,
}

/// The ceiling over all nodes of a stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LimitsView {
    /// CPU time per time, in thousandths of one CPU.
    #[schema(value_type = u32)]
    pub cpus_milli: Cpus,
    /// Memory, in bytes.
    #[schema(value_type = u64)]
    pub memory_bytes: ByteSize,
    /// Processes and threads.
    pub pids: u32,
    /// Disk, in bytes.
    #[schema(value_type = u64)]
    pub disk_bytes: ByteSize,
}

impl From<Limits> for LimitsView {
    fn from(limits: Limits) -> Self {
        Self {
            cpus_milli: limits.cpus,
            memory_bytes: limits.memory,
            pids: limits.pids,
            disk_bytes: limits.disk,
        }
    }
}
