use daas_model::{NodeName, NodeSpec, OWN_REGISTRY, ServiceName, StandSpec};
use daas_plan::Addresses;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Where the keeper's resolver answers inside every node; Docker's address, which configurations in the wild name literally.
pub(crate) const RESOLVER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 11));

/// Returns `/etc/hosts` of a node: loopback, itself, `links` and `extra_hosts`.
pub(crate) fn hosts(
    spec: &StandSpec,
    name: &NodeName,
    node: &NodeSpec,
    addresses: &Addresses,
) -> String {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n",
    );
    let own = addresses
        .nodes
        .get(name)
        .into_iter()
        .flat_map(|n| n.values())
        .flatten();
    let host = node.host_name(name);
    for address in own {
        match &node.domainname {
            Some(domain) => line(&mut text, *address, &format!("{host}.{domain} {host}")),
            None => line(&mut text, *address, host),
        }
    }
    // By the file, for it knows which of the gateways the node can reach; the resolver knows all of them.
    if let Some(gateway) = first_gateway(name, addresses) {
        line(&mut text, gateway, OWN_REGISTRY);
    }
    for (alias, service) in &node.links {
        for address in addresses_of(spec, name, service, addresses) {
            line(&mut text, address, alias);
        }
    }
    text + &extra_hosts(node)
}

/// Returns the lines of `extra_hosts` alone.
pub(crate) fn extra_hosts(node: &NodeSpec) -> String {
    let mut text = String::new();
    for (alias, list) in &node.extra_hosts {
        for address in list {
            line(&mut text, *address, alias);
        }
    }
    text
}

/// Returns the gateway of the first network that a node is on.
fn first_gateway(name: &NodeName, addresses: &Addresses) -> Option<IpAddr> {
    addresses
        .nodes
        .get(name)?
        .keys()
        .filter_map(|network| addresses.networks.get(network))
        .flat_map(|network| network.gateways.iter().copied())
        .min_by_key(IpAddr::is_ipv6)
}

fn line(text: &mut String, address: IpAddr, names: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{address}\t{names}");
}

/// Returns the addresses of a service in the networks that `seen_by` is in, too: others would lead nowhere.
fn addresses_of(
    spec: &StandSpec,
    seen_by: &NodeName,
    service: &ServiceName,
    addresses: &Addresses,
) -> Vec<IpAddr> {
    let shared = addresses.nodes.get(seen_by);
    spec.nodes
        .iter()
        .filter(|(_, node)| node.service == *service)
        .filter_map(|(name, _)| addresses.nodes.get(name))
        .flatten()
        .filter(|(network, _)| shared.is_some_and(|own| own.contains_key(*network)))
        .flat_map(|(_, list)| list.iter().copied())
        .collect()
}

/// Tells whether a node asks its servers by itself: there are some, and the stand's resolver cannot ask them for it.
///
/// A server on the node's own loopback is nobody else's, and a network that is another node's is asked for by that node.
pub(crate) fn asks_itself(spec: &StandSpec, name: &NodeName, node: &NodeSpec) -> bool {
    let on_loopback = |server: &IpAddr| server.is_loopback() && *server != RESOLVER;
    let shares = daas_plan::owner_of_network(spec, name) != name;
    !node.dns.is_empty() && (shares || node.dns.iter().any(on_loopback))
}

/// Returns whom the stand's resolver asks for a node's foreign names, if the node's description says it.
///
/// A server on one of the node's networks, and any other as far as a network of the node has a way out.
pub(crate) fn asks(
    spec: &StandSpec,
    name: &NodeName,
    node: &NodeSpec,
    addresses: &Addresses,
) -> Option<Vec<SocketAddr>> {
    let mut servers = node
        .dns
        .iter()
        .filter(|server| **server != RESOLVER)
        .peekable();
    if servers.peek().is_none() || asks_itself(spec, name, node) {
        return None;
    }
    let own = addresses.nodes.get(name).into_iter().flat_map(|n| n.keys());
    let own: Vec<_> = own.collect();
    let leads_out = own
        .iter()
        .any(|network| spec.networks.get(*network).is_some_and(|n| !n.internal));
    let is_near = |server: IpAddr| {
        own.iter()
            .filter_map(|network| addresses.networks.get(*network))
            .flat_map(|network| &network.subnets)
            .any(|subnet| subnet.contains(server))
    };
    let reached = servers
        .filter(|server| leads_out || is_near(**server))
        .map(|server| SocketAddr::new(*server, 53));
    Some(reached.collect())
}

/// Returns `/etc/resolv.conf` of a node: `servers`, or the stand's resolver where there are none.
pub(crate) fn resolv_conf(node: &NodeSpec, servers: &[IpAddr]) -> String {
    let mut text = String::new();
    let servers = if servers.is_empty() {
        &[RESOLVER]
    } else {
        servers
    };
    for server in servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    if !node.dns_search.is_empty() {
        let _ = writeln!(text, "search {}", node.dns_search.join(" "));
    }
    if node.dns_opt.is_empty() {
        // A name of the stand is asked as it is, whatever search list an image brings.
        text.push_str("options ndots:0\n");
    } else {
        let _ = writeln!(text, "options {}", node.dns_opt.join(" "));
    }
    text
}
