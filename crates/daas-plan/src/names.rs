use crate::addresses::Addresses;
use daas_model::{NetworkMode, NetworkName, NodeName, StandSpec};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The names that a stand's resolver knows: network, then lower-case name, then addresses.
pub type NameTable = BTreeMap<NetworkName, BTreeMap<String, Vec<IpAddr>>>;

/// Returns all names of the nodes of `spec`: service, node, container name, host name and aliases.
///
/// A service with several replicas has all of their addresses under its name.
#[must_use]
pub fn table(spec: &StandSpec, addresses: &Addresses) -> NameTable {
    let mut table = NameTable::new();
    for (name, node) in &spec.nodes {
        let owner = owner_of_network(spec, name);
        let NetworkMode::Networks(attachments) = &spec.nodes[owner].network else {
            continue;
        };
        for attachment in attachments {
            let Some(list) = addresses
                .nodes
                .get(owner)
                .and_then(|n| n.get(&attachment.network))
            else {
                continue;
            };
            let mut names = vec![name.to_string(), node.service.to_string()];
            names.extend(node.container_name.clone());
            names.extend(node.hostname.clone());
            if owner == name {
                names.extend(attachment.aliases.iter().cloned());
            }
            names.sort();
            names.dedup();
            let here = table.entry(attachment.network.clone()).or_default();
            for alias in names {
                let entry = here.entry(alias.to_ascii_lowercase()).or_default();
                entry.extend(
                    list.iter()
                        .filter(|a| !entry.contains(a))
                        .copied()
                        .collect::<Vec<_>>(),
                );
            }
        }
    }
    table
}

/// Follows `network_mode: service:` to the node whose network is meant; a circle ends where it began.
fn owner_of_network<'a>(spec: &'a StandSpec, name: &'a NodeName) -> &'a NodeName {
    let mut current = name;
    for _ in 0..spec.nodes.len() {
        match spec.nodes.get(current).map(|n| &n.network) {
            Some(NetworkMode::Node(next)) if spec.nodes.contains_key(next) => current = next,
            _ => break,
        }
    }
    current
}
