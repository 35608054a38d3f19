//! What is remembered of a stand and of a project.

use daas_api::{MakeRequest, ProjectSource};
use daas_engine::Pins;
use daas_model::{Grant, NodeName, NodeSpec, ProjectName, Span, StandId, StandName, StandSpec};
use daas_plan::{Addresses, Power};
use daas_store::Record;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// A stand as wanted; its key is its name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StandRecord {
    /// Its id, never used twice.
    pub id: StandId,
    /// Its name.
    pub name: StandName,
    /// Its description.
    pub spec: StandSpec,
    /// What the description was read from, to be read again when replicas change.
    pub source: ProjectSource,
    /// Whether it shall run.
    pub power: Power,
    /// Whether it is stopped only because nobody came: the next request starts it.
    #[serde(default)]
    pub asleep: bool,
    /// Nodes that a person stopped one by one.
    #[serde(default)]
    pub held: BTreeSet<NodeName>,
    /// When a person last asked for it, Unix milliseconds.
    pub asked_at_ms: u64,
    /// Nodes that the last request was not about, and when a person asked for them before that: what failed of them is not tried again.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub apart: BTreeMap<NodeName, u64>,
    /// When it was first asked for, Unix milliseconds.
    pub created_ms: u64,
    /// When its time to live ends, Unix milliseconds.
    #[serde(default)]
    pub expires_ms: Option<u64>,
    /// Its addresses inside.
    pub addresses: Addresses,
    /// Its own address on the host.
    pub host_address: Option<IpAddr>,
    /// How long nodes may take to end, when a person said so with the last request.
    #[serde(default)]
    pub grace: Option<Span>,
    /// What its images' names meant when it was last asked for: a name that moves on changes no stand that runs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pins: Pins,
    /// What is still to be done once, whatever the description says; the loop clears it.
    #[serde(default)]
    pub once: Once,
}

impl StandRecord {
    /// Notes that a person asks for all of it.
    pub(crate) fn ask_for_all(&mut self, now_ms: u64) {
        self.asked_at_ms = now_ms;
        self.apart.clear();
    }

    /// Notes that a person asks for `nodes`, and so for what they depend on.
    pub(crate) fn ask_for(&mut self, nodes: &[NodeName], now_ms: u64) {
        let asked = self.with_dependencies(nodes);
        for name in self.spec.nodes.keys().filter(|n| !asked.contains(*n)) {
            self.apart.entry(name.clone()).or_insert(self.asked_at_ms);
        }
        self.apart.retain(|name, _| !asked.contains(name));
        self.asked_at_ms = now_ms;
    }

    fn with_dependencies(&self, nodes: &[NodeName]) -> BTreeSet<NodeName> {
        let mut all = BTreeSet::new();
        let mut next: Vec<NodeName> = nodes.to_vec();
        while let Some(name) = next.pop() {
            if let Some(node) = self.spec.nodes.get(&name)
                && all.insert(name)
            {
                let needed = |other: &NodeSpec| {
                    let mut services = node.depends_on.iter().map(|d| &d.service);
                    services.any(|service| *service == other.service)
                };
                let others = self.spec.nodes.iter().filter(|(_, other)| needed(other));
                next.extend(others.map(|(name, _)| name.clone()));
            }
        }
        all
    }
}

/// Things that are done once and do not follow from comparing what is wanted with what is seen.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Once {
    /// Nodes that are stopped, to be started again by the next plan.
    #[serde(default)]
    pub restart: BTreeSet<NodeName>,
    /// Whether every node is made anew.
    #[serde(default)]
    pub recreate: bool,
    /// Whether images are looked for in their registries though the store has them.
    #[serde(default)]
    pub pull: bool,
}

impl Record for StandRecord {
    const KIND: &'static str = "stand";
}

/// How an image was made from packages; its key is the image's whole name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct MadeRecord {
    /// What was asked for, with the name.
    pub request: MakeRequest,
    /// When it was last made, Unix milliseconds.
    pub made_ms: u64,
}

impl Record for MadeRecord {
    const KIND: &'static str = "made-image";
}

/// When all images were last refreshed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RefreshRecord {
    /// Unix milliseconds.
    pub at_ms: u64,
}

impl Record for RefreshRecord {
    const KIND: &'static str = "image-refresh";
}

/// What an administrator granted to a project; its key is the project's name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GrantRecord {
    /// The project.
    pub project: ProjectName,
    /// What it may ask of the host.
    pub grants: BTreeSet<Grant>,
}

impl Record for GrantRecord {
    const KIND: &'static str = "grant";
}
