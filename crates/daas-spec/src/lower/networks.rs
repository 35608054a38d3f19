//! Networks at the top level.

use super::wiring::DEFAULT;
use super::{Desk, is_external};
use crate::node::{At, Map, Node};
use crate::template::short;
use crate::value;
use daas_model::{Diagnostic, NetworkName, NetworkSpec, Severity, Subnet};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The most subnets of one network.
const MAX_POOLS: usize = 16;

/// Returns the networks that some service joins, as Compose makes no others.
pub(super) fn networks(desk: &mut Desk<'_, '_>) -> BTreeMap<NetworkName, NetworkSpec> {
    let mut found = BTreeMap::new();
    let used: Vec<(String, At)> = desk
        .used_networks
        .iter()
        .map(|(n, at)| (n.clone(), *at))
        .collect();
    for (key, used_at) in used {
        let (at, spec) = match desk.declared("networks", &key) {
            Some(entry) => {
                let what = format!("network `{}`", short(&key));
                let Some(map) = value::map(desk.report(), &entry.value, &what) else {
                    continue;
                };
                (entry.at, network(desk, &key, map, &what))
            }
            None if key == DEFAULT => (used_at, NetworkSpec::default()),
            None => continue,
        };
        match NetworkName::parse(&key) {
            Ok(name) => {
                found.insert(name, spec);
            }
            Err(fault) => desk.report().error(
                at,
                "network-name",
                fault.to_string(),
                "begin with a letter or digit, at most 63 characters",
            ),
        }
    }
    // Names of unused ones are looked at, too: a slip is a slip.
    for entry in desk.section("networks") {
        if let Err(fault) = NetworkName::parse(&entry.key) {
            desk.report().error(
                entry.at,
                "network-name",
                fault.to_string(),
                "begin with a letter or digit, at most 63 characters",
            );
        }
    }
    found
}

fn network(desk: &mut Desk<'_, '_>, key: &str, map: &Map, what: &str) -> NetworkSpec {
    if let Some(at) = is_external(desk.report(), map, what) {
        desk.report().say(
            at,
            Diagnostic::error("external-unsupported", format!("{what} is external"))
                .because("a stand has its own networks and sees no other stand")
                .hint("remove `external`; put the services that must meet into one project, with `include`"),
        );
    }
    if let Some(entry) = map.entry("driver") {
        let driver = value::text(desk.report(), &entry.value, &format!("`driver` of {what}"))
            .unwrap_or_default();
        match driver {
            "" | "bridge" | "default" => {}
            "host" | "none" => desk.report().error(
                entry.value.at,
                "network-driver",
                format!("{what} has the driver `{driver}`"),
                format!("write `network_mode: {driver}` in the service"),
            ),
            other => {
                let why = format!("`{}` becomes a bridge of the stand's own", short(other));
                desk.report().ignore(
                    Severity::Warning,
                    entry.at,
                    &format!("networks.{key}.driver"),
                    &why,
                );
            }
        }
    }
    let mut flag = |name: &str, otherwise: bool| {
        map.get(name)
            .and_then(|n| value::boolean(desk.report(), n, &format!("`{name}` of {what}")))
            .unwrap_or(otherwise)
    };
    let mut spec = NetworkSpec {
        internal: flag("internal", false),
        ipv6: flag("enable_ipv6", false),
        ..NetworkSpec::default()
    };
    if !flag("enable_ipv4", true)
        && let Some(entry) = map.entry("enable_ipv4")
    {
        desk.report().ignore(
            Severity::Warning,
            entry.at,
            &format!("networks.{key}.enable_ipv4"),
            "a node always gets IPv4 addresses",
        );
    }
    if let Some(node) = map.get("ipam").filter(|n| !n.is_null())
        && let Some(ipam) = value::map(desk.report(), node, &format!("`ipam` of {what}"))
        && let Some(config) = ipam.get("config")
    {
        let pools = value::list(desk.report(), config, &format!("`ipam.config` of {what}"));
        if pools.len() > MAX_POOLS {
            desk.report().error(
                config.at,
                "subnets-too-many",
                format!("{what} has {} subnets", pools.len()),
                format!("at most {MAX_POOLS}"),
            );
        }
        for item in pools.iter().take(MAX_POOLS) {
            pool(desk, item, what, &mut spec);
        }
    }
    spec.ipv6 |= spec.subnets.iter().any(|s| s.address.is_ipv6());
    spec
}

/// Reads one `{subnet, gateway}`.
fn pool(desk: &mut Desk<'_, '_>, item: &Node, what: &str, spec: &mut NetworkSpec) {
    let Some(map) = value::map(
        desk.report(),
        item,
        &format!("an entry of `ipam.config` of {what}"),
    ) else {
        return;
    };
    let mut subnet = None;
    if let Some(node) = map.get("subnet").filter(|n| !n.is_null())
        && let Some(text) = value::text(desk.report(), node, &format!("`subnet` of {what}"))
    {
        match Subnet::parse(text) {
            Ok(parsed) => {
                let most = if parsed.address.is_ipv4() { 30 } else { 126 };
                if parsed.prefix > most {
                    desk.report().error(
                        node.at,
                        "subnet-too-small",
                        format!("`{parsed}` of {what} has no room for nodes"),
                        "the first address is the gateway's; take a prefix of at most 30",
                    );
                } else if let Some(other) = spec.subnets.iter().find(|s| overlap(s, &parsed)) {
                    let message = format!("`{parsed}` and `{other}` of {what} overlap");
                    desk.report().error(
                        node.at,
                        "subnet-overlap",
                        message,
                        "give each entry a subnet of its own",
                    );
                } else {
                    spec.subnets.push(parsed);
                    subnet = Some(parsed);
                }
            }
            Err(why) => {
                let hint = masked(text).map_or_else(
                    || "write for example `10.7.0.0/24` or `fd00:7::/64`".to_owned(),
                    |s| format!("did you mean `{s}`?"),
                );
                desk.report()
                    .error(node.at, "subnet-wrong", format!("{why} in {what}"), hint);
            }
        }
    }
    if let Some(node) = map.get("gateway").filter(|n| !n.is_null())
        && let Some(text) = value::text(desk.report(), node, &format!("`gateway` of {what}"))
            .filter(|t| !t.is_empty())
    {
        match text.parse::<IpAddr>() {
            Ok(gateway) => match subnet {
                Some(subnet) if subnet.contains(gateway) => spec.gateways.push(gateway),
                Some(subnet) => desk.report().error(
                    node.at,
                    "gateway-outside",
                    format!("the gateway `{gateway}` of {what} is not in `{subnet}`"),
                    "take an address of the subnet, usually the first",
                ),
                None => desk.report().error(
                    node.at,
                    "gateway-outside",
                    format!("the gateway `{gateway}` of {what} has no subnet"),
                    "write `subnet` beside it",
                ),
            },
            Err(_) => desk.report().error(
                node.at,
                "address-wrong",
                format!("`gateway` of {what} is `{}`", short(text)),
                "write an address without a prefix length",
            ),
        }
    }
}

/// Tells whether two subnets share an address.
pub(super) fn overlap(a: &Subnet, b: &Subnet) -> bool {
    a.contains(b.address) || b.contains(a.address)
}

/// Returns the subnet that an address with host bits lies in.
fn masked(text: &str) -> Option<Subnet> {
    let (address, prefix) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let prefix: u8 = prefix.parse().ok()?;
    let base: IpAddr = match address {
        IpAddr::V4(a) => {
            let shift = 32u32.checked_sub(u32::from(prefix))?;
            let bits = u64::from(u32::from(a)) >> shift << shift;
            IpAddr::V4(u32::try_from(bits).ok()?.into())
        }
        IpAddr::V6(a) => {
            let shift = 128u32.checked_sub(u32::from(prefix))?;
            let bits = u128::from(a)
                .checked_shr(shift)
                .unwrap_or(0)
                .checked_shl(shift)
                .unwrap_or(0);
            IpAddr::V6(bits.into())
        }
    };
    Some(Subnet {
        address: base,
        prefix,
    })
}
