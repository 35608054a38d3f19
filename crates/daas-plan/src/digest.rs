use crate::addresses::{Addresses, NodeAddresses};
use daas_model::{NodeSpec, StandSpec};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Hashes `value` by its JSON text: maps are ordered, so equal values give equal digests.
fn digest(value: &impl Serialize) -> String {
    let text = serde_json::to_vec(value).expect("descriptions hold only maps with text keys");
    of_bytes(&text)
}

fn of_bytes(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Returns the digest of all that a running node was made from.
///
/// Equal digests mean that nothing has to be done; what only the planner reads (`depends_on`, labels) is left out,
/// so that a change of it restarts nothing.
#[must_use]
pub fn node_digest(
    spec: &StandSpec,
    node: &NodeSpec,
    image: &str,
    addresses: &NodeAddresses,
) -> String {
    let mut part = node.clone();
    part.depends_on.clear();
    part.labels.clear();
    part.ports.clear();
    part.expose.clear();
    part.pull = daas_model::PullPolicy::default();
    let files: Vec<_> = node
        .files
        .iter()
        .map(|grant| spec.files.get(&grant.file))
        .collect();
    digest(&(part, image, addresses, files, spec.egress))
}

/// Returns the digest of what all nodes of a stand share: networks, ceiling, volumes, way out, contents of configs and secrets.
#[must_use]
pub fn base_digest(spec: &StandSpec, addresses: &Addresses) -> String {
    // Every look at a stand comes here: a file as text of numbers would be four times as long.
    let files = spec.files.iter();
    let files: BTreeMap<_, _> = files.map(|(name, bytes)| (name, of_bytes(bytes))).collect();
    digest(&(
        &spec.networks,
        &addresses.networks,
        &spec.volumes,
        spec.limits,
        spec.egress,
        files,
    ))
}
