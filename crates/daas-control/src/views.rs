//! Records and what was seen, as the doors show them.

use crate::platform::Control;
use crate::record::StandRecord;
use crate::status::Status;
use daas_api::{NodeView, PlanStep, PortView, StandSummary, StandView};
use daas_model::{NodeName, StandObserved};
use daas_plan::{Addresses, NodeAddresses, node_digest};
use daas_store::Stored;
use std::collections::BTreeMap;

impl Control {
    pub(crate) fn summary(&self, stored: &Stored<StandRecord>) -> StandSummary {
        let status = self.keep.status(&stored.value.name);
        self.with_urls(stored, summary(stored, &status))
    }

    fn with_urls(&self, stored: &Stored<StandRecord>, mut summary: StandSummary) -> StandSummary {
        summary.urls = self.urls(stored);
        if stored.value.asleep && summary.reason.is_none() {
            summary.reason = Some("asleep: the next request starts it".to_owned());
        }
        summary
    }

    pub(crate) fn stand_view(&self, stored: &Stored<StandRecord>) -> StandView {
        let record = &stored.value;
        let status = self.keep.status(&record.name);
        StandView {
            summary: self.with_urls(stored, summary(stored, &status)),
            nodes: record
                .spec
                .nodes
                .iter()
                .map(|(name, spec)| NodeView::of(name, spec, status.observed.nodes.get(name)))
                .collect(),
            ports: ports(record),
            limits: record.spec.limits.into(),
            egress: record.spec.egress,
            dir: Some(record.source.dir.clone()).filter(|d| !d.is_empty()),
        }
    }
}

fn summary(stored: &Stored<StandRecord>, status: &Status) -> StandSummary {
    let record = &stored.value;
    let (state, reason) = status.state(record, stored.revision.0);
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    StandSummary {
        name: record.name.clone(),
        id: record.id.clone(),
        project: record.spec.project.clone(),
        kind: record.spec.kind,
        state,
        reason,
        nodes_ready: count(status.ready(record)),
        nodes_total: count(record.spec.nodes.len()),
        address: record.host_address,
        urls: Vec::new(),
        created_ms: record.created_ms,
        expires_ms: record.expires_ms,
        revision: stored.revision.0,
    }
}

fn ports(record: &StandRecord) -> Vec<PortView> {
    let mut list: Vec<PortView> = record
        .spec
        .nodes
        .iter()
        .flat_map(|(name, node)| {
            node.ports.iter().map(|p| PortView {
                node: name.clone(),
                published: p.published,
                target: p.target,
                protocol: p.protocol,
            })
        })
        .collect();
    list.sort();
    list
}

/// Tells in steps for a person what an `up` of `wanted` would do to what is there.
pub(crate) fn plan_steps(
    wanted: &StandRecord,
    before: Option<&StandRecord>,
    observed: &StandObserved,
    images: &BTreeMap<daas_model::ImageName, String>,
    addresses: &Addresses,
) -> Vec<PlanStep> {
    let spec = &wanted.spec;
    let mut steps = Vec::new();
    let missing: std::collections::BTreeSet<_> = spec
        .nodes
        .values()
        .map(|n| &n.image)
        .filter(|i| !images.contains_key(*i))
        .collect();
    steps.extend(missing.into_iter().map(|image| {
        step(
            "pull",
            format!("image {}", image.familiar()),
            "it is not in the store".into(),
        )
    }));
    for (name, network) in &addresses.networks {
        if before.is_none_or(|b| !b.spec.networks.contains_key(name)) {
            let blocks: Vec<String> = network.subnets.iter().map(ToString::to_string).collect();
            steps.push(step(
                "make",
                format!("network {name}"),
                format!("nodes join it with addresses of {}", blocks.join(", ")),
            ));
        }
    }
    for name in spec
        .volumes
        .keys()
        .filter(|v| before.is_none_or(|b| !b.spec.volumes.contains_key(*v)))
    {
        let holds = if before.is_some() {
            "it is empty at first, or has what the stand's earlier one of this name had"
        } else {
            "it is empty at first"
        };
        steps.push(step("make", format!("volume {name}"), holds.into()));
    }
    let opened_anew = before.and_then(|before| opened_anew(before, spec, addresses));
    for (name, node) in &spec.nodes {
        let none = NodeAddresses::new();
        let own = addresses.nodes.get(name).unwrap_or(&none);
        let digest = images
            .get(&node.image)
            .map(|image| node_digest(spec, node, image, own));
        let seen = observed.nodes.get(name).map(|n| n.launched_from.as_str());
        let subject = format!("node {name}");
        steps.push(match (seen, digest) {
            (Some(_), Some(_)) if let Some(why) = &opened_anew => {
                step("replace", subject, why.clone())
            }
            (Some(seen), Some(digest)) if seen == digest && wanted.once.recreate => {
                step("replace", subject, "every node is to be made anew".into())
            }
            (Some(seen), Some(digest)) if seen == digest => {
                step("keep", subject, "it is as wanted".into())
            }
            (Some(_), _) => step("replace", subject, "its description has changed".into()),
            (None, _) => step("start", subject, when_and_where(node, own)),
        });
    }
    let left = observed
        .nodes
        .keys()
        .filter(|n| !spec.nodes.contains_key(*n));
    steps.extend(left.map(|name: &NodeName| {
        step(
            "remove",
            format!("node {name}"),
            "the project does not have it any more".into(),
        )
    }));
    for port in ports(wanted) {
        let address = wanted
            .host_address
            .map_or_else(|| "its own address".to_owned(), |a| a.to_string());
        steps.push(step(
            "publish",
            format!("port {}/{}", port.published, port.protocol),
            format!(
                "{address} leads to port {} of node {}",
                port.target, port.node
            ),
        ));
    }
    steps
}

/// Says why a stand must be opened anew, and all of its nodes with it: what is changed is beneath all of them.
fn opened_anew(
    before: &StandRecord,
    wanted: &daas_model::StandSpec,
    addresses: &Addresses,
) -> Option<String> {
    let changed = before.spec.networks.iter().find(|(name, network)| {
        let of = |all: &Addresses| all.networks.get(*name).cloned();
        wanted.networks.get(*name).is_some_and(|now| {
            now.internal != network.internal || of(addresses) != of(&before.addresses)
        })
    });
    if let Some((name, _)) = changed {
        return Some(format!("network {name} changes, for which all nodes end"));
    }
    let (have, want) = (before.spec.limits.disk, wanted.limits.disk);
    (want > have).then(|| format!("the disk grows from {have} to {want}, for which all nodes end"))
}

fn step(action: &str, subject: String, reason: String) -> PlanStep {
    PlanStep {
        action: action.into(),
        subject,
        reason,
    }
}

fn when_and_where(node: &daas_model::NodeSpec, own: &NodeAddresses) -> String {
    let listed: Vec<String> = own.values().flatten().map(ToString::to_string).collect();
    if listed.is_empty() {
        return after(node);
    }
    format!("{} at {}", after(node), listed.join(", "))
}

fn after(node: &daas_model::NodeSpec) -> String {
    if node.depends_on.is_empty() {
        return "at once".into();
    }
    let list: Vec<String> = node
        .depends_on
        .iter()
        .map(|d| {
            let what = match d.condition {
                daas_model::Condition::ServiceStarted => "runs",
                daas_model::Condition::ServiceHealthy => "is healthy",
                daas_model::Condition::ServiceCompletedSuccessfully => "has ended with 0",
            };
            format!("{} {what}", d.service)
        })
        .collect();
    format!("when {}", list.join(" and "))
}
