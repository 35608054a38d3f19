//! What must come first.

use super::{Desk, Who};
use crate::merge;
use crate::nearest::nearest;
use crate::node::{At, Map, Node, Value};
use crate::template::short;
use crate::value;
use daas_model::{Condition, Dependency, Diagnostic, NetworkMode, NodeSpec, ServiceName, Severity};
use std::collections::BTreeMap;

/// Reads `depends_on` and what `links` and a shared network imply; returns where each service is named.
pub(super) fn read(
    desk: &mut Desk<'_, '_>,
    who: Who<'_>,
    map: &Map,
    spec: &mut NodeSpec,
) -> BTreeMap<String, At> {
    let mut places = BTreeMap::new();
    if let Some(node) = map.get("depends_on").filter(|n| !n.is_null()) {
        explicit(desk, who, node, spec, &mut places);
    }
    let mut implied: Vec<(ServiceName, At)> = Vec::new();
    if let NetworkMode::Node(other) = &spec.network
        && let Ok(service) = ServiceName::parse(other.as_str())
        && let Some(entry) = map.entry("network_mode")
    {
        implied.push((service, entry.value.at));
    }
    let links_at = map.get("links").map(|n| n.at).unwrap_or_default();
    implied.extend(
        spec.links
            .values()
            .map(|service| (service.clone(), links_at)),
    );
    for (service, at) in implied {
        if places.contains_key(service.as_str()) {
            continue;
        }
        places.insert(service.to_string(), at);
        spec.depends_on.push(Dependency {
            service,
            condition: Condition::ServiceStarted,
            restart: true,
            required: true,
        });
    }
    places
}

fn explicit(
    desk: &mut Desk<'_, '_>,
    who: Who<'_>,
    node: &Node,
    spec: &mut NodeSpec,
    places: &mut BTreeMap<String, At>,
) {
    let what = who.key("depends_on");
    if matches!(node.value, Value::Text(_)) {
        if node.as_text() != Some(crate::node::FAULTY) {
            value::wrong(
                desk.report(),
                node,
                &what,
                "a list of services, or a map with conditions",
            );
        }
        return;
    }
    let as_map = merge::named(node.clone(), &["depends_on"]);
    for entry in as_map
        .as_map()
        .map(|m| m.entries.as_slice())
        .unwrap_or_default()
    {
        if entry.key.starts_with('\0') {
            if entry.value.as_text() != Some(crate::node::FAULTY) {
                value::wrong(
                    desk.report(),
                    &entry.value,
                    &format!("an entry of {what}"),
                    "the name of a service",
                );
            }
            continue;
        }
        let of = format!("`{}` in {what}", short(&entry.key));
        let Some(map) = value::map(desk.report(), &entry.value, &of) else {
            continue;
        };
        let mut flag = |key: &str, otherwise: bool| {
            map.get(key)
                .and_then(|n| value::boolean(desk.report(), n, &format!("`{key}` of {of}")))
                .unwrap_or(otherwise)
        };
        let (restart, required) = (flag("restart", false), flag("required", true));
        let condition = match map.get("condition").filter(|n| !n.is_null()) {
            Some(node) => condition(desk, node, &of),
            None => Some(Condition::ServiceStarted),
        };
        if !required && !desk.enabled.contains(&entry.key) {
            if desk.disabled.contains_key(&entry.key) {
                let message = format!(
                    "service `{}` comes up without `{}`, which is off",
                    who.name, entry.key
                );
                desk.report().say(
                    entry.at,
                    Diagnostic::new(Severity::Note, "dependency-off", message)
                        .because("the dependency is not required and none of its profiles is on"),
                );
            } else {
                desk.report().warn(
                    entry.at,
                    "service-missing",
                    format!(
                        "{what} names service `{}`, which the project does not have",
                        short(&entry.key)
                    ),
                    "the dependency is not required, so it is left out",
                );
            }
            continue;
        }
        if !desk.is_service(&entry.key, entry.at, &what) {
            continue;
        }
        let (Some(condition), Ok(service)) = (condition, ServiceName::parse(&entry.key)) else {
            continue;
        };
        places.insert(entry.key.clone(), entry.at);
        spec.depends_on.push(Dependency {
            service,
            condition,
            restart,
            required,
        });
    }
}

fn condition(desk: &mut Desk<'_, '_>, node: &Node, of: &str) -> Option<Condition> {
    match value::text(desk.report(), node, &format!("`condition` of {of}"))? {
        "service_started" => Some(Condition::ServiceStarted),
        "service_healthy" => Some(Condition::ServiceHealthy),
        "service_completed_successfully" => Some(Condition::ServiceCompletedSuccessfully),
        other => {
            let near = nearest(
                other,
                [
                    "service_started",
                    "service_healthy",
                    "service_completed_successfully",
                ],
            );
            let hint = near.map_or_else(
                || {
                    "write `service_started`, `service_healthy` or `service_completed_successfully`"
                        .to_owned()
                },
                |n| format!("did you mean `{n}`?"),
            );
            desk.report().error(
                node.at,
                "condition-unknown",
                format!("`condition` of {of} is `{}`", short(other)),
                hint,
            );
            None
        }
    }
}
