use daas_model::{NetworkMode, NetworkName, NodeName, StandSpec, Subnet};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

/// The addresses of one network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkAddresses {
    /// Its blocks, IPv4 first.
    pub subnets: Vec<Subnet>,
    /// The bridge's own address in each block.
    pub gateways: Vec<IpAddr>,
}

/// The addresses of one node, by network.
pub type NodeAddresses = BTreeMap<NetworkName, Vec<IpAddr>>;

/// Every address of one stand: literal where the file says so, chosen where it does not.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Addresses {
    /// By network.
    pub networks: BTreeMap<NetworkName, NetworkAddresses>,
    /// By node.
    pub nodes: BTreeMap<NodeName, NodeAddresses>,
}

/// Addresses that cannot be given out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddressError {
    /// A block has no address left.
    Full {
        /// The network.
        network: NetworkName,
        /// Its block.
        subnet: Subnet,
    },
    /// No block is left for one more network.
    NoSubnet {
        /// The network.
        network: NetworkName,
    },
    /// A literal address lies in none of the network's blocks.
    Outside {
        /// The node.
        node: NodeName,
        /// The network.
        network: NetworkName,
        /// The address.
        address: IpAddr,
    },
    /// A node names a network that the stand does not have.
    NoNetwork {
        /// The node.
        node: NodeName,
        /// The network.
        network: NetworkName,
    },
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { network, subnet } => write!(
                f,
                "cannot give out one more address: network `{network}` has used all of {subnet}"
            ),
            Self::NoSubnet { network } => write!(
                f,
                "cannot choose a subnet for network `{network}`: a stand has room for 240 networks"
            ),
            Self::Outside {
                node,
                network,
                address,
            } => write!(
                f,
                "cannot give {address} to node `{node}`: it lies outside of network `{network}`"
            ),
            Self::NoNetwork { node, network } => write!(
                f,
                "cannot join node `{node}` to network `{network}`: the stand has no such network"
            ),
        }
    }
}

impl std::error::Error for AddressError {}

impl daas_model::Explain for AddressError {
    fn code(&self) -> &'static str {
        match self {
            Self::Full { .. } => "network-full",
            Self::NoSubnet { .. } => "network-no-subnet",
            Self::Outside { .. } => "address-outside-subnet",
            Self::NoNetwork { .. } => "network-unknown",
        }
    }

    fn kind(&self) -> daas_model::Kind {
        daas_model::Kind::Input
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Full { .. } => {
                Some("write a larger `ipam` subnet for the network, or fewer replicas".into())
            }
            Self::NoSubnet { .. } => {
                Some("join services to fewer networks, or write `ipam` subnets".into())
            }
            Self::Outside { .. } => {
                Some("give the network an `ipam` subnet that holds the address".into())
            }
            Self::NoNetwork { .. } => Some("declare it under the top-level `networks:`".into()),
        }
    }
}

/// Gives every network its blocks and every node its addresses.
///
/// Literal values win; what `before` gave out stays, so that a change of one node moves no other; the rest is the
/// lowest that is free. Networks without a block get 172.18.0.0/16 and up, as people know it from Docker: every stand
/// has a network namespace of its own, so all stands get the same.
///
/// # Errors
/// [`AddressError`] if a block is full or a literal address cannot be.
pub fn assign(spec: &StandSpec, before: &Addresses) -> Result<Addresses, AddressError> {
    let networks = networks(spec, before)?;
    let mut taken: BTreeMap<NetworkName, BTreeSet<IpAddr>> = networks
        .iter()
        .map(|(name, net)| (name.clone(), net.gateways.iter().copied().collect()))
        .collect();
    for (name, address) in literals(spec) {
        taken.entry(name).or_default().insert(address);
    }
    let mut nodes: BTreeMap<NodeName, NodeAddresses> = BTreeMap::new();
    // First what stays, then what is new: a node that joins takes nothing from one that was there.
    for fresh in [false, true] {
        for (name, node) in &spec.nodes {
            let NetworkMode::Networks(attachments) = &node.network else {
                continue;
            };
            for attachment in attachments {
                let network =
                    networks
                        .get(&attachment.network)
                        .ok_or_else(|| AddressError::NoNetwork {
                            node: name.clone(),
                            network: attachment.network.clone(),
                        })?;
                let used = taken.entry(attachment.network.clone()).or_default();
                let old = before
                    .nodes
                    .get(name)
                    .and_then(|n| n.get(&attachment.network));
                for subnet in &network.subnets {
                    let literal = if subnet.address.is_ipv4() {
                        attachment.ipv4.map(IpAddr::V4)
                    } else {
                        attachment.ipv6.map(IpAddr::V6)
                    };
                    let held = nodes
                        .get(name)
                        .and_then(|n| n.get(&attachment.network))
                        .is_some_and(|list| {
                            list.iter().any(|a| a.is_ipv4() == subnet.address.is_ipv4())
                        });
                    if held {
                        continue;
                    }
                    let kept = old.and_then(|list| {
                        list.iter()
                            .copied()
                            .find(|a| subnet.contains(*a) && !used.contains(a))
                    });
                    let chosen = match (literal, kept) {
                        (Some(address), _) if subnet.contains(address) => Some(address),
                        (Some(address), _) => {
                            return Err(AddressError::Outside {
                                node: name.clone(),
                                network: attachment.network.clone(),
                                address,
                            });
                        }
                        (None, Some(address)) => Some(address),
                        (None, None) if fresh => {
                            Some(lowest(*subnet, used).ok_or_else(|| AddressError::Full {
                                network: attachment.network.clone(),
                                subnet: *subnet,
                            })?)
                        }
                        (None, None) => None,
                    };
                    if let Some(address) = chosen {
                        used.insert(address);
                        nodes
                            .entry(name.clone())
                            .or_default()
                            .entry(attachment.network.clone())
                            .or_default()
                            .push(address);
                    }
                }
            }
        }
    }
    Ok(Addresses { networks, nodes })
}

fn literals(spec: &StandSpec) -> impl Iterator<Item = (NetworkName, IpAddr)> + '_ {
    spec.nodes
        .values()
        .filter_map(|node| match &node.network {
            NetworkMode::Networks(list) => Some(list),
            NetworkMode::None | NetworkMode::Node(_) | NetworkMode::Host => None,
        })
        .flatten()
        .flat_map(|a| {
            [a.ipv4.map(IpAddr::V4), a.ipv6.map(IpAddr::V6)]
                .into_iter()
                .flatten()
                .map(|ip| (a.network.clone(), ip))
        })
}

/// Returns the lowest free address of a block; the last one of an IPv4 block is its broadcast address.
fn lowest(subnet: Subnet, used: &BTreeSet<IpAddr>) -> Option<IpAddr> {
    let broadcast = subnet.address.is_ipv4() && subnet.prefix < 31;
    (1..)
        .map_while(|n| subnet.nth(n).map(|a| (n, a)))
        .find(|(n, a)| !(used.contains(a) || broadcast && subnet.nth(n + 1).is_none()))
        .map(|(_, a)| a)
}

fn networks(
    spec: &StandSpec,
    before: &Addresses,
) -> Result<BTreeMap<NetworkName, NetworkAddresses>, AddressError> {
    let mut taken: Vec<Subnet> = spec
        .networks
        .values()
        .flat_map(|n| n.subnets.iter().copied())
        .collect();
    let mut result = BTreeMap::new();
    for fresh in [false, true] {
        for (name, network) in &spec.networks {
            if result.contains_key(name) {
                continue;
            }
            let old = before.networks.get(name);
            let mut subnets = Vec::new();
            let mut complete = true;
            for four in [true, false] {
                if !four && !network.ipv6 && !network.subnets.iter().any(|s| !s.address.is_ipv4()) {
                    continue;
                }
                let literal = network
                    .subnets
                    .iter()
                    .copied()
                    .find(|s| s.address.is_ipv4() == four);
                let kept = old.and_then(|o| {
                    o.subnets
                        .iter()
                        .copied()
                        .find(|s| s.address.is_ipv4() == four && !taken.contains(s))
                });
                match literal.or(kept) {
                    Some(subnet) => subnets.push(subnet),
                    None if fresh => subnets.push(free_block(four, &taken).ok_or_else(|| {
                        AddressError::NoSubnet {
                            network: name.clone(),
                        }
                    })?),
                    None => complete = false,
                }
            }
            if !complete {
                continue;
            }
            taken.extend(subnets.iter().copied());
            let gateways = subnets
                .iter()
                .filter_map(|subnet| {
                    network
                        .gateways
                        .iter()
                        .copied()
                        .find(|g| subnet.contains(*g))
                        .or_else(|| free_gateway(spec, name, *subnet))
                })
                .collect();
            result.insert(name.clone(), NetworkAddresses { subnets, gateways });
        }
    }
    Ok(result)
}

/// Returns the block's first address that no node claims literally.
fn free_gateway(spec: &StandSpec, network: &NetworkName, subnet: Subnet) -> Option<IpAddr> {
    let claimed: BTreeSet<IpAddr> = literals(spec)
        .filter(|(name, _)| name == network)
        .map(|(_, a)| a)
        .collect();
    lowest(subnet, &claimed)
}

fn free_block(four: bool, taken: &[Subnet]) -> Option<Subnet> {
    let blocks: Box<dyn Iterator<Item = String>> = if four {
        Box::new(
            (18..32)
                .map(|n| format!("172.{n}.0.0/16"))
                .chain((0..226).map(|n| format!("192.168.{n}.0/24"))),
        )
    } else {
        Box::new((1..=240).map(|n| format!("fd00:daa5:{n:x}::/64")))
    };
    blocks
        .filter_map(|text| Subnet::parse(&text).ok())
        .find(|block| {
            taken
                .iter()
                .all(|other| !other.contains(block.address) && !block.contains(other.address))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stand::tests::spec_of;

    #[test]
    fn literal_addresses_stay_and_the_rest_is_the_lowest_free() {
        let mut spec = spec_of(&["a", "b", "c"]);
        set_ipv4(&mut spec, "b", "172.18.0.2");
        let got = assign(&spec, &Addresses::default()).unwrap();
        let net = NetworkName::parse("default").unwrap();
        let ip = |n: &str| got.nodes[n][&net][0].to_string();
        assert_eq!(
            (ip("a"), ip("b"), ip("c")),
            (
                "172.18.0.3".into(),
                "172.18.0.2".into(),
                "172.18.0.4".into()
            )
        );
        assert_eq!(got.networks[&net].gateways[0].to_string(), "172.18.0.1");
    }

    #[test]
    fn a_new_node_moves_no_other() {
        let before = assign(&spec_of(&["b", "c"]), &Addresses::default()).unwrap();
        let after = assign(&spec_of(&["a", "b", "c"]), &before).unwrap();
        for node in ["b", "c"] {
            assert_eq!(before.nodes[node], after.nodes[node]);
        }
        assert_eq!(assign(&spec_of(&["a", "b", "c"]), &after).unwrap(), after);
    }

    #[test]
    fn a_full_block_is_said_so() {
        let mut spec = spec_of(&["a", "b"]);
        spec.networks.get_mut("default").unwrap().subnets =
            vec![Subnet::parse("10.0.0.0/30").unwrap()];
        let error = assign(&spec, &Addresses::default()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot give out one more address: network `default` has used all of 10.0.0.0/30"
        );
    }

    #[test]
    fn a_node_may_claim_the_first_address() {
        let mut spec = spec_of(&["a"]);
        set_ipv4(&mut spec, "a", "172.18.0.1");
        let got = assign(&spec, &Addresses::default()).unwrap();
        assert_eq!(
            got.networks["default"].gateways[0].to_string(),
            "172.18.0.2"
        );
    }

    #[test]
    fn ipv6_networks_get_a_block_of_each_kind() {
        let mut spec = spec_of(&["a"]);
        spec.networks.get_mut("default").unwrap().ipv6 = true;
        let got = assign(&spec, &Addresses::default()).unwrap();
        let list: Vec<String> = got.nodes["a"]["default"]
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(list, ["172.18.0.2", "fd00:daa5:1::2"]);
    }

    fn set_ipv4(spec: &mut StandSpec, node: &str, address: &str) {
        let NetworkMode::Networks(list) = &mut spec.nodes.get_mut(node).unwrap().network else {
            unreachable!()
        };
        list[0].ipv4 = Some(address.parse().unwrap());
    }
}
