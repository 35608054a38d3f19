use daas_model::{Attachment, NetworkMode, NodeName, NodeSpec, StandSpec};

/// Returns the names under which the other nodes of a network find a node, lower case, without doubles.
///
/// A node that lives in another one's network (`network_mode: service:`) is found there under its own names too.
#[must_use]
pub fn names_on(spec: &StandSpec, name: &NodeName, attachment: &Attachment) -> Vec<String> {
    let mut names: Vec<String> = attachment.aliases.clone();
    for (guest, node) in &spec.nodes {
        if guest == name || owner_of_network(spec, guest) == name {
            names.extend(own_names(guest, node));
        }
    }
    for text in &mut names {
        text.make_ascii_lowercase();
    }
    names.sort();
    names.dedup();
    names
}

fn own_names(name: &NodeName, node: &NodeSpec) -> impl Iterator<Item = String> {
    [
        Some(name.to_string()),
        Some(node.service.to_string()),
        node.container_name.clone(),
        node.hostname.clone(),
    ]
    .into_iter()
    .flatten()
}

/// Follows `network_mode: service:` to the node whose network is meant: the node itself where it has one. A circle ends where it began.
#[must_use]
pub fn owner_of_network<'a>(spec: &'a StandSpec, name: &'a NodeName) -> &'a NodeName {
    let mut current = name;
    for _ in 0..spec.nodes.len() {
        match spec.nodes.get(current).map(|n| &n.network) {
            Some(NetworkMode::Node(next)) if spec.nodes.contains_key(next) => current = next,
            _ => break,
        }
    }
    current
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stand::tests::spec_of;

    #[test]
    fn who_shares_the_network_of_one_who_shares_is_in_that_of_the_first() {
        let name = |text: &str| NodeName::parse(text).unwrap();
        let mut spec = spec_of(&["web", "sidecar", "probe"]);
        for (guest, host) in [("sidecar", "web"), ("probe", "sidecar")] {
            spec.nodes.get_mut(guest).unwrap().network = NetworkMode::Node(name(host));
        }
        for guest in ["web", "sidecar", "probe"] {
            assert_eq!(*owner_of_network(&spec, &name(guest)), name("web"));
        }
    }

    #[test]
    fn a_guest_in_a_network_is_found_under_its_own_names() {
        let mut spec = spec_of(&["web", "sidecar", "db"]);
        spec.nodes.get_mut("sidecar").unwrap().network =
            NetworkMode::Node(NodeName::parse("web").unwrap());
        spec.nodes.get_mut("web").unwrap().container_name = Some("Shop_Web".into());
        let NetworkMode::Networks(list) = &spec.nodes["web"].network else {
            unreachable!()
        };
        assert_eq!(
            names_on(&spec, &NodeName::parse("web").unwrap(), &list[0]),
            ["shop_web", "sidecar", "web"]
        );
    }
}
