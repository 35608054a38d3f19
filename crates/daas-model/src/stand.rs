use crate::limits::Limits;
use crate::mount::VolumeSpec;
use crate::name::{FileName, NetworkName, NodeName, ProjectName, VolumeName};
use crate::network::{Egress, NetworkSpec};
use crate::node::NodeSpec;
use crate::route::RouteSpec;
use crate::unit::Span;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// What a stand is for: its lifetime, durability and rights follow from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StandKind {
    /// A throw-away instance for a person.
    #[default]
    Test,
    /// An instance for a branch or merge request.
    Review,
    /// A CI job.
    Job,
    /// An image build step.
    Build,
    /// A permanent service of the team.
    Service,
    /// The application as its users see it.
    Production,
}

impl StandKind {
    /// Tells whether what its nodes write may be lost with the machine's power.
    #[must_use]
    pub fn is_throw_away(self) -> bool {
        match self {
            Self::Test | Self::Review | Self::Job | Self::Build => true,
            Self::Service | Self::Production => false,
        }
    }
}

impl fmt::Display for StandKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Test => "test",
            Self::Review => "review",
            Self::Job => "job",
            Self::Build => "build",
            Self::Service => "service",
            Self::Production => "production",
        })
    }
}

/// A stand as wanted: a project, completely resolved.
///
/// Profiles, variables, `extends`, `include` and replicas are already worked in; two equal values make two equal stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandSpec {
    /// The project.
    pub project: ProjectName,
    /// What it is for.
    #[serde(default)]
    pub kind: StandKind,
    /// Its nodes.
    pub nodes: BTreeMap<NodeName, NodeSpec>,
    /// Its networks.
    #[serde(default)]
    pub networks: BTreeMap<NetworkName, NetworkSpec>,
    /// Its named volumes.
    #[serde(default)]
    pub volumes: BTreeMap<VolumeName, VolumeSpec>,
    /// Contents of configs and secrets.
    #[serde(default)]
    pub files: BTreeMap<FileName, Vec<u8>>,
    /// The ceiling over all nodes.
    #[serde(default)]
    pub limits: Limits,
    /// Which way out it has.
    #[serde(default)]
    pub egress: Egress,
    /// How long it lives after its last `up`; for ever where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Span>,
    /// Its ways from outside, where the file names them; otherwise they follow from its ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<RouteSpec>,
    /// After how long without a request it is stopped until the next one comes; never where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sleep_after: Option<Span>,
}
