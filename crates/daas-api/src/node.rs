use daas_model::{
    Health, ImageName, NodeName, NodeObserved, NodeSpec, NodeState, Protocol, ServiceName,
};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use utoipa::ToSchema;

/// What a node's main process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NodeStatus {
    /// It is wanted and does not exist yet.
    Waiting,
    /// It was launched and is not done with starting.
    Starting,
    /// It runs.
    Running,
    /// It is frozen.
    Paused,
    /// It was asked to end.
    Stopping,
    /// It ended and will be started again.
    Backoff,
    /// It ended.
    Exited,
    /// It could not be launched.
    Failed,
}

impl fmt::Display for NodeStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Waiting => "waiting",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopping => "stopping",
            Self::Backoff => "backoff",
            Self::Exited => "exited",
            Self::Failed => "failed",
        })
    }
}

/// A port that answers at a stand's address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub struct PortView {
    /// The node behind it.
    #[schema(value_type = String)]
    pub node: NodeName,
    /// The port at the stand's address.
    pub published: u16,
    /// The port inside the node.
    pub target: u16,
    /// `tcp` or `udp`.
    #[schema(value_type = String)]
    pub protocol: Protocol,
}

/// A node as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeView {
    /// Its name.
    #[schema(value_type = String)]
    pub name: NodeName,
    /// The compose service.
    #[schema(value_type = String)]
    pub service: ServiceName,
    /// Its image.
    #[schema(value_type = String)]
    pub image: ImageName,
    /// What its process does.
    pub status: NodeStatus,
    /// What its health check says: `none`, `starting`, `healthy`, `unhealthy`.
    #[schema(value_type = String)]
    pub health: Health,
    /// Since when it is as it is, in milliseconds of the Unix clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<u64>,
    /// Its process on the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// Its last exit code; 128 + signal when a signal ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Whether the kernel killed it for memory.
    #[serde(default)]
    pub oom: bool,
    /// Why it is as it is, if that needs words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How many times it was started again by its policy.
    pub restarts: u32,
    /// Its addresses inside the stand.
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<IpAddr>,
}

impl NodeView {
    /// Makes the view of a node from what is wanted and what was seen of it.
    #[must_use]
    pub fn of(name: &NodeName, spec: &NodeSpec, observed: Option<&NodeObserved>) -> Self {
        let mut view = Self {
            name: name.clone(),
            service: spec.service.clone(),
            image: spec.image.clone(),
            status: NodeStatus::Waiting,
            health: observed.map_or(Health::None, |o| o.health),
            since_ms: None,
            pid: None,
            exit_code: None,
            oom: false,
            reason: None,
            restarts: observed.map_or(0, |o| o.restarts),
            addresses: observed.map(|o| o.addresses.clone()).unwrap_or_default(),
        };
        match observed.map(|o| &o.state) {
            None => {}
            Some(NodeState::Starting) => view.status = NodeStatus::Starting,
            Some(NodeState::Running { pid, since_ms }) => {
                view.status = NodeStatus::Running;
                view.pid = Some(*pid);
                view.since_ms = Some(*since_ms);
            }
            Some(NodeState::Paused { pid }) => {
                view.status = NodeStatus::Paused;
                view.pid = Some(*pid);
            }
            Some(NodeState::Stopping) => view.status = NodeStatus::Stopping,
            Some(NodeState::Backoff { code, .. }) => {
                view.status = NodeStatus::Backoff;
                view.exit_code = Some(*code);
            }
            Some(NodeState::Exited {
                code, oom, at_ms, ..
            }) => {
                view.status = NodeStatus::Exited;
                view.exit_code = Some(*code);
                view.oom = *oom;
                view.since_ms = Some(*at_ms);
            }
            Some(NodeState::Failed { reason, .. }) => {
                view.status = NodeStatus::Failed;
                view.reason = Some(reason.clone());
            }
        }
        view
    }
}
