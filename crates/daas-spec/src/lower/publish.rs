//! Ports that answer at the stand's own address, and ports that a node only names.

use super::{Desk, Who};
use crate::node::{At, Map, Node, Value, Weight};
use crate::port::{
    PortFault, PortRange, check_lengths, parse_exposed, parse_protocol, parse_range, parse_short,
};
use crate::value;
use daas_model::{NetworkMode, NodeSpec, PortSpec, Protocol, Severity};
use std::collections::BTreeSet;

/// An entry of `ports` before every node has got its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PortWish {
    pub(super) published: Option<PortRange>,
    pub(super) target: PortRange,
    pub(super) protocol: Protocol,
    pub(super) at: At,
}

/// Reads `expose` into `spec` and returns the entries of `ports`.
pub(super) fn read(
    desk: &mut Desk<'_, '_>,
    who: Who<'_>,
    map: &Map,
    spec: &mut NodeSpec,
) -> Vec<PortWish> {
    if let Some(node) = map.get("expose") {
        expose(desk, who, node, spec);
    }
    let Some(entry) = map.entry("ports") else {
        return Vec::new();
    };
    let what = who.key("ports");
    let mut wishes: Vec<PortWish> = Vec::new();
    for item in value::list(desk.report(), &entry.value, &what) {
        let wish = match &item.value {
            Value::Text(_) => short_form(desk, who, item, &what),
            Value::Map(map) => long_form(desk, who, item.at, map, &what),
            Value::Null | Value::List(_) => {
                value::wrong(
                    desk.report(),
                    item,
                    &format!("an entry of {what}"),
                    "for example `8080:80`",
                );
                None
            }
        };
        if let Some(wish) = wish
            && !wishes.iter().any(|w| {
                (w.published, w.target, w.protocol) == (wish.published, wish.target, wish.protocol)
            })
        {
            wishes.push(wish);
        }
    }
    if !wishes.is_empty() && spec.network == NetworkMode::None {
        desk.report().warn(
            entry.at,
            "port-unreachable",
            format!("{what} publishes ports of a node without a network"),
            "nobody can reach them: leave out `network_mode: none` or `ports`",
        );
    }
    if !wishes.is_empty() && spec.network == NetworkMode::Host {
        desk.report().ignore(
            daas_model::Severity::Warning,
            entry.at,
            &what,
            "the node is on the host's network: its ports are the host's own",
        );
        wishes.clear();
    }
    wishes
}

fn tell(desk: &mut Desk<'_, '_>, at: At, what: &str, fault: PortFault) {
    desk.report().error(
        at,
        fault.code,
        format!("{} in {what}", fault.message),
        fault.hint,
    );
}

fn host_ignored(desk: &mut Desk<'_, '_>, who: Who<'_>, at: At, host: &str) {
    if host.is_empty() || host == "0.0.0.0" || host == "::" {
        return;
    }
    let key = format!("services.{}.ports.host_ip", who.name);
    desk.report().ignore(
        Severity::Note,
        at,
        &key,
        &format!(
            "a stand has an address of its own, and its ports answer there instead of `{host}`"
        ),
    );
}

fn short_form(desk: &mut Desk<'_, '_>, who: Who<'_>, item: &Node, what: &str) -> Option<PortWish> {
    let text = value::text(desk.report(), item, &format!("an entry of {what}"))?;
    match parse_short(text) {
        Ok(port) => {
            if let Some(host) = &port.host {
                host_ignored(desk, who, item.at, host);
            }
            Some(PortWish {
                published: port.published,
                target: port.target,
                protocol: port.protocol,
                at: item.at,
            })
        }
        Err(fault) => {
            tell(desk, item.at, what, fault);
            None
        }
    }
}

fn long_form(
    desk: &mut Desk<'_, '_>,
    who: Who<'_>,
    at: At,
    map: &Map,
    what: &str,
) -> Option<PortWish> {
    let mut field = |key: &str| {
        let node = map.get(key).filter(|n| !n.is_null())?;
        value::text(desk.report(), node, &format!("`{key}` in {what}"))
            .filter(|t| !t.is_empty())
            .map(|t| (t.to_owned(), node.at))
    };
    let (target, published, protocol, host) = (
        field("target"),
        field("published"),
        field("protocol"),
        field("host_ip"),
    );
    let Some((target, target_at)) = target else {
        desk.report().error(
            at,
            "port-target-missing",
            format!("an entry of {what} has no `target`"),
            "`target` is the port inside the node",
        );
        return None;
    };
    if let Some((host, host_at)) = host {
        host_ignored(desk, who, host_at, &host);
    }
    let mut parsed = |result: Result<PortRange, PortFault>, at: At| match result {
        Ok(range) => Some(range),
        Err(fault) => {
            tell(desk, at, what, fault);
            None
        }
    };
    let target = parsed(parse_range(&target, &target), target_at)?;
    let published = match published {
        Some((text, at)) => Some((parsed(parse_range(&text, &text), at)?, at)),
        None => None,
    };
    let protocol = match protocol.map(|(p, at)| (parse_protocol(&p), at)) {
        None => Protocol::Tcp,
        Some((Ok(protocol), _)) => protocol,
        Some((Err(fault), at)) => {
            tell(desk, at, what, fault);
            return None;
        }
    };
    let published = match published {
        Some((range, at)) => match check_lengths(Some(range), target, &format!("{range}:{target}"))
        {
            Ok(()) => Some(range),
            Err(fault) => {
                tell(desk, at, what, fault);
                return None;
            }
        },
        None => None,
    };
    Some(PortWish {
        published,
        target,
        protocol,
        at,
    })
}

fn expose(desk: &mut Desk<'_, '_>, who: Who<'_>, node: &Node, spec: &mut NodeSpec) {
    let what = who.key("expose");
    let mut seen = BTreeSet::new();
    for (text, at) in value::texts(desk.report(), node, &what) {
        match parse_exposed(text) {
            Ok((range, protocol)) => {
                let weight = Weight {
                    nodes: range.len(),
                    bytes: 0,
                };
                if desk.reading.may_grow(weight, at) {
                    seen.extend((range.first..=range.last).map(|port| PortSpec {
                        published: port,
                        target: port,
                        protocol,
                    }));
                }
            }
            Err(fault) => tell(desk, at, &what, fault),
        }
    }
    spec.expose = seen.into_iter().collect();
}
