//! How a node joins networks, and which names it knows.

use super::{Desk, Who};
use crate::merge;
use crate::node::{At, Map, Node, Value};
use crate::template::short;
use crate::value;
use daas_model::{
    Attachment, Diagnostic, Grant, NetworkMode, NetworkName, NodeName, NodeSpec, ServiceName,
    Severity,
};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The network of services that name none (Compose Specification, "Networks").
pub(super) const DEFAULT: &str = "default";

/// Reads networks, links, hosts and DNS; returns where literal addresses stand, by network.
pub(super) fn read(
    desk: &mut Desk<'_, '_>,
    who: Who<'_>,
    map: &Map,
    spec: &mut NodeSpec,
) -> BTreeMap<String, At> {
    let mut address_at = BTreeMap::new();
    spec.network = match map.entry("network_mode").filter(|e| !e.value.is_null()) {
        Some(mode) => {
            if let Some(networks) = map.entry("networks").filter(|e| !e.value.is_null()) {
                let place = desk.report().place(mode.at);
                desk.report().say(
                    networks.at,
                    Diagnostic::error(
                        "network-twice",
                        format!("service `{}` has `networks` and `network_mode`", who.name),
                    )
                    .because(format!("`network_mode` is at {place}"))
                    .hint("keep one of the two"),
                );
            }
            mode_of(desk, who, &mode.value)
        }
        None => NetworkMode::Networks(attachments(desk, who, map, &mut address_at)),
    };
    if let Some(node) = map.get("mac_address").filter(|n| !n.is_null())
        && let Some(mac) = mac(desk, node, &who.key("mac_address"))
        && let NetworkMode::Networks(list) = &mut spec.network
        && let Some(first) = list.first_mut()
    {
        first.mac.get_or_insert(mac);
    }
    links(desk, who, map, spec);
    extra_hosts(desk, who, map, spec);
    dns(desk, who, map, spec);
    address_at
}

fn default_network(desk: &mut Desk<'_, '_>, at: At) -> NetworkMode {
    NetworkMode::Networks(join_default(desk, at).into_iter().collect())
}

fn join_default(desk: &mut Desk<'_, '_>, at: At) -> Option<Attachment> {
    desk.used_networks.entry(DEFAULT.to_owned()).or_insert(at);
    NetworkName::parse(DEFAULT).ok().map(|network| Attachment {
        network,
        aliases: Vec::new(),
        ipv4: None,
        ipv6: None,
        mac: None,
        priority: 0,
    })
}

fn mode_of(desk: &mut Desk<'_, '_>, who: Who<'_>, node: &Node) -> NetworkMode {
    let what = who.key("network_mode");
    let nothing = NetworkMode::Networks(Vec::new());
    let Some(text) = value::text(desk.report(), node, &what) else {
        return nothing;
    };
    match text.split_once(':') {
        None if text == "none" => NetworkMode::None,
        None if matches!(text, "" | "default" | "bridge") => {
            if text == "bridge" {
                desk.report().ignore(
                    Severity::Note,
                    node.at,
                    &format!("services.{}.network_mode", who.name),
                    "the node joins the stand's `default` network",
                );
            }
            default_network(desk, node.at)
        }
        None if text == "host" => {
            let cause = "a node on the host's network reaches everything that the host reaches, and other stands";
            if desk.granted(
                node.at,
                &Grant::HostNamespace("network".to_owned()),
                format!("service `{}` asks for the host's network", who.name),
                cause,
            ) {
                return NetworkMode::Host;
            }
            nothing
        }
        Some(("service", service)) => {
            if service == who.name {
                desk.report().error(
                    node.at,
                    "network-own",
                    format!("{what} names its own service"),
                    "name another service, or leave it out",
                );
                return nothing;
            }
            if !desk.is_service(service, node.at, &what) {
                return nothing;
            }
            NodeName::parse(service).map_or(nothing, NetworkMode::Node)
        }
        Some(("container", container)) => match by_container_name(desk, container) {
            Some(node_name) => NetworkMode::Node(node_name),
            None => {
                desk.report().error(
                    node.at,
                    "network-container",
                    format!(
                        "{what} names the container `{}`, which is not of this project",
                        short(container)
                    ),
                    "write `service:` and the service's name",
                );
                nothing
            }
        },
        _ => {
            let hint = if desk.declared("networks", text).is_some() {
                format!("write `networks: [{text}]`")
            } else {
                "write `none` or `service:name`, or use `networks`".to_owned()
            };
            desk.report().error(
                node.at,
                "network-mode",
                format!("{what} is `{}`", short(text)),
                hint,
            );
            nothing
        }
    }
}

pub(super) fn by_container_name(desk: &Desk<'_, '_>, container: &str) -> Option<NodeName> {
    let named = desk.section("services").iter().find(|e| {
        e.value
            .as_map()
            .and_then(|m| m.get("container_name"))
            .and_then(Node::as_text)
            == Some(container)
    })?;
    NodeName::parse(&named.key)
        .ok()
        .filter(|_| desk.enabled.contains(&named.key))
}

/// Says that a grant is there and the engine cannot give the thing yet.
pub(super) fn not_yet(desk: &mut Desk<'_, '_>, at: At, namespace: &str) {
    desk.report().say(
        at,
        Diagnostic::error(
            "host-namespace-not-yet",
            format!(
                "the host's {namespace} namespace is granted, but no node can be put into it yet"
            ),
        )
        .hint("leave the key out; what must see the host runs beside DaaS for now"),
    );
}

fn attachments(
    desk: &mut Desk<'_, '_>,
    who: Who<'_>,
    map: &Map,
    address_at: &mut BTreeMap<String, At>,
) -> Vec<Attachment> {
    let what = who.key("networks");
    let Some(entry) = map.entry("networks").filter(|e| !e.value.is_null()) else {
        return join_default(desk, map.entries.first().map(|e| e.at).unwrap_or_default())
            .into_iter()
            .collect();
    };
    if matches!(entry.value.value, Value::Text(_)) {
        value::wrong(
            desk.report(),
            &entry.value,
            &what,
            "a list or map of networks",
        );
        return Vec::new();
    }
    let as_map = merge::named(entry.value.clone(), &["networks"]);
    let mut found: Vec<(i32, Attachment)> = Vec::new();
    for entry in as_map
        .as_map()
        .map(|m| m.entries.as_slice())
        .unwrap_or_default()
    {
        if entry.key.starts_with('\0') {
            value::wrong(
                desk.report(),
                &entry.value,
                &format!("an entry of {what}"),
                "the name of a network",
            );
            continue;
        }
        if entry.key != DEFAULT && desk.declared("networks", &entry.key).is_none() {
            desk.undeclared("networks", &entry.key, entry.at, &who);
            continue;
        }
        let Ok(network) = NetworkName::parse(&entry.key) else {
            continue;
        };
        desk.used_networks
            .entry(entry.key.clone())
            .or_insert(entry.at);
        if let Some(attachment) = attachment(desk, who, network, &entry.value, address_at) {
            found.push(attachment);
        }
    }
    if found.is_empty() && as_map.as_map().is_some_and(|m| m.entries.is_empty()) {
        return join_default(desk, entry.at).into_iter().collect();
    }
    // Docker connects in the order of `priority`, then by name; that gives eth0, eth1, ...
    found.sort_by(|(a, x), (b, y)| b.cmp(a).then_with(|| x.network.cmp(&y.network)));
    found
        .into_iter()
        .map(|(_, attachment)| attachment)
        .collect()
}

fn attachment(
    desk: &mut Desk<'_, '_>,
    who: Who<'_>,
    network: NetworkName,
    node: &Node,
    address_at: &mut BTreeMap<String, At>,
) -> Option<(i32, Attachment)> {
    let what = format!("network `{network}` of service `{}`", who.name);
    let map = value::map(desk.report(), node, &what)?;
    let mut aliases = Vec::new();
    if let Some(node) = map.get("aliases") {
        for (alias, at) in value::texts(desk.report(), node, &format!("`aliases` of {what}")) {
            if !is_host(alias) {
                desk.report().error(
                    at,
                    "host-name",
                    format!("`{}` in `aliases` of {what} is no host name", short(alias)),
                    "write letters, digits, `-`, `_` and dots",
                );
            } else if !aliases.iter().any(|a| a == alias) {
                aliases.push(alias.to_owned());
            }
        }
    }
    let mut address = |key: &str, wanted: &str| {
        let node = map.get(key).filter(|n| !n.is_null())?;
        let text = value::text(desk.report(), node, &format!("`{key}` of {what}"))
            .filter(|t| !t.is_empty())?;
        address_at.entry(network.to_string()).or_insert(node.at);
        match text.parse::<IpAddr>() {
            Ok(address) if address.is_ipv4() == (wanted == "IPv4") => Some(address),
            Ok(_) | Err(_) => {
                desk.report().error(
                    node.at,
                    "address-wrong",
                    format!("`{key}` of {what} is `{}`", short(text)),
                    format!("write an {wanted} address without a prefix length"),
                );
                None
            }
        }
    };
    let ipv4 = address("ipv4_address", "IPv4")
        .and_then(|a| if let IpAddr::V4(a) = a { Some(a) } else { None })
        as Option<Ipv4Addr>;
    let ipv6 = address("ipv6_address", "IPv6")
        .and_then(|a| if let IpAddr::V6(a) = a { Some(a) } else { None })
        as Option<Ipv6Addr>;
    let mac = map
        .get("mac_address")
        .filter(|n| !n.is_null())
        .and_then(|n| mac(desk, n, &format!("`mac_address` of {what}")));
    let mut number = |key: &str| {
        map.get(key).filter(|n| !n.is_null()).and_then(|n| {
            value::integer::<i32>(
                desk.report(),
                n,
                &format!("`{key}` of {what}"),
                i32::MIN,
                i32::MAX,
            )
        })
    };
    let order = number("priority").unwrap_or(0);
    // Of equals the first gives the default route: by `priority`, where nobody says more.
    let priority = number("gw_priority").unwrap_or(0);
    Some((
        order,
        Attachment {
            network,
            aliases,
            ipv4,
            ipv6,
            mac,
            priority,
        },
    ))
}

/// Tells whether `text` can be asked for by name: letters, digits, `-`, `_`, dots between parts.
fn is_host(text: &str) -> bool {
    text.len() <= 253
        && text.split('.').all(|part| {
            !part.is_empty()
                && part.len() <= 63
                && !part.starts_with('-')
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        })
}

fn mac(desk: &mut Desk<'_, '_>, node: &Node, what: &str) -> Option<[u8; 6]> {
    let text = value::text(desk.report(), node, what).filter(|t| !t.is_empty())?;
    let bytes: Option<Vec<u8>> = text
        .split([':', '-'])
        .map(|part| {
            if part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit()) {
                u8::from_str_radix(part, 16).ok()
            } else {
                None
            }
        })
        .collect();
    // The lowest bit of the first byte marks a group, which no interface can bear (IEEE 802).
    match bytes
        .and_then(|b| <[u8; 6]>::try_from(b).ok())
        .filter(|b| b[0] & 1 == 0 && b.iter().any(|b| *b != 0))
    {
        Some(mac) => Some(mac),
        None => {
            desk.report().error(
                node.at,
                "mac-wrong",
                format!("{what} is `{}`", short(text)),
                "write six pairs of hexadecimal digits, the first pair even: `02:42:ac:11:00:02`",
            );
            None
        }
    }
}

fn links(desk: &mut Desk<'_, '_>, who: Who<'_>, map: &Map, spec: &mut NodeSpec) {
    let Some(node) = map.get("links") else { return };
    let what = who.key("links");
    for (link, at) in value::texts(desk.report(), node, &what) {
        let (service, alias) = link.split_once(':').unwrap_or((link, link));
        if !desk.is_service(service, at, &what) {
            continue;
        }
        if !is_host(alias) {
            desk.report().error(
                at,
                "host-name",
                format!("`{}` in {what} is no host name", short(alias)),
                "write `service` or `service:alias`",
            );
            continue;
        }
        if let Ok(service) = ServiceName::parse(service) {
            spec.links.insert(alias.to_owned(), service);
        }
    }
}

fn extra_hosts(desk: &mut Desk<'_, '_>, who: Who<'_>, map: &Map, spec: &mut NodeSpec) {
    spec.extra_hosts = hosts(desk, who, map, "extra_hosts");
}

/// Reads the `extra_hosts` of `map`, which a person knows as `key` of the service.
pub(super) fn hosts(
    desk: &mut Desk<'_, '_>,
    who: Who<'_>,
    map: &Map,
    key: &str,
) -> BTreeMap<String, Vec<IpAddr>> {
    let mut found: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
    let Some(node) = map.get("extra_hosts").filter(|n| !n.is_null()) else {
        return found;
    };
    let what = who.key(key);
    let mut lines: Vec<(String, String, At)> = Vec::new();
    match &node.value {
        Value::Map(map) => {
            for entry in &map.entries {
                for (address, at) in value::texts(
                    desk.report(),
                    &entry.value,
                    &format!("`{}` of {what}", short(&entry.key)),
                ) {
                    lines.push((entry.key.clone(), address.to_owned(), at));
                }
            }
        }
        _ => {
            for item in value::list(desk.report(), node, &what) {
                let Some(text) = value::text(desk.report(), item, &format!("an entry of {what}"))
                else {
                    continue;
                };
                match text.split_once('=').or_else(|| text.split_once(':')) {
                    Some((host, address)) => {
                        lines.push((host.to_owned(), address.to_owned(), item.at));
                    }
                    None => desk.report().error(
                        item.at,
                        "host-line",
                        format!("`{}` in {what} has no address", short(text)),
                        "write `name=address`",
                    ),
                }
            }
        }
    }
    for (host, address, at) in lines {
        let (host, address) = (host.as_str(), address.trim());
        if !is_host(host) {
            desk.report().error(
                at,
                "host-name",
                format!("`{}` in {what} is no host name", short(host)),
                "write `name=address`",
            );
            continue;
        }
        if address == "host-gateway" {
            desk.report().ignore(Severity::Warning, at, &format!("services.{}.{key}.{host}", who.name), "a stand has no way to the host itself; run what it needs as a service of the project");
            continue;
        }
        let bare = address
            .strip_prefix('[')
            .and_then(|a| a.strip_suffix(']'))
            .unwrap_or(address);
        match bare.parse::<IpAddr>() {
            Ok(ip) => {
                let list = found.entry(host.to_owned()).or_default();
                if !list.contains(&ip) {
                    list.push(ip);
                }
            }
            Err(_) => desk.report().error(
                at,
                "address-wrong",
                format!("`{}` of `{host}` in {what} is no address", short(address)),
                "write an IPv4 or IPv6 address",
            ),
        }
    }
    found
}

fn dns(desk: &mut Desk<'_, '_>, who: Who<'_>, map: &Map, spec: &mut NodeSpec) {
    if let Some(node) = map.get("dns") {
        let what = who.key("dns");
        for (text, at) in value::texts(desk.report(), node, &what) {
            match text.parse::<IpAddr>() {
                Ok(ip) if !spec.dns.contains(&ip) => spec.dns.push(ip),
                Ok(_) => {}
                Err(_) => desk.report().error(
                    at,
                    "address-wrong",
                    format!("`{}` in {what} is no address", short(text)),
                    "write the address of a DNS server",
                ),
            }
        }
    }
    if let Some(node) = map.get("dns_search") {
        let what = who.key("dns_search");
        for (text, at) in value::texts(desk.report(), node, &what) {
            if text == "." || is_host(text.trim_end_matches('.')) {
                spec.dns_search.push(text.to_owned());
            } else {
                desk.report().error(
                    at,
                    "host-name",
                    format!("`{}` in {what} is no domain", short(text)),
                    "write for example `corp.example.com`",
                );
            }
        }
    }
    if let Some(node) = map.get("dns_opt") {
        let what = who.key("dns_opt");
        for (text, at) in value::texts(desk.report(), node, &what) {
            if !text.is_empty()
                && text
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_:".contains(&b))
            {
                spec.dns_opt.push(text.to_owned());
            } else {
                desk.report().error(
                    at,
                    "dns-option",
                    format!("`{}` in {what} is no option", short(text)),
                    "write for example `ndots:2`; see resolv.conf(5)",
                );
            }
        }
    }
}
