use super::publish::PortWish;
use super::volumes_from::{self, Source};
use super::{
    Desk, Who, command, depends, environment, files, health, life, mounts, publish, resources,
    rights, wiring,
};
use crate::node::{At, Entry, FAULTY, Map, Weight};
use crate::value;
use daas_model::{Diagnostic, ImageName, NodeSpec, ServiceName};
use std::collections::BTreeMap;

/// A service before it becomes nodes, with the places that later checks talk about.
pub(super) struct Lowered {
    pub(super) service: ServiceName,
    pub(super) at: At,
    pub(super) spec: NodeSpec,
    pub(super) ports: Vec<PortWish>,
    pub(super) replicas: u32,
    pub(super) replicas_at: At,
    /// Where each service that it waits for is named.
    pub(super) depends_at: BTreeMap<String, At>,
    /// Where each literal address stands, by network.
    pub(super) address_at: BTreeMap<String, At>,
    pub(super) container_name_at: Option<At>,
    pub(super) volumes_from: Vec<Source>,
    /// What one more node costs.
    pub(super) weight: Weight,
}

/// Reads one service; nothing if it cannot be a node at all.
pub(super) fn service(desk: &mut Desk<'_, '_>, entry: &Entry) -> Option<Lowered> {
    let name = match ServiceName::parse(&entry.key) {
        Ok(name) => name,
        Err(fault) => {
            desk.report().say(
                entry.at,
                Diagnostic::error("service-name", fault.to_string()).hint("begin with a letter or digit, at most 63 characters; a service's name is also its host name"),
            );
            return None;
        }
    };
    let who = Who {
        name: name.as_str(),
    };
    let map = value::map(desk.report(), &entry.value, &format!("service `{name}`"))?;
    let image = image(desk, who, entry.at, map);
    if let (Some(image), Some(build)) = (&image, map.entry("build"))
        && !build.value.is_null()
        && build.value.as_text() != Some(FAULTY)
        && let Some(mut read) = super::build::read(desk, who, build, image)
    {
        read.always = map.get("pull_policy").and_then(crate::node::Node::as_text) == Some("build");
        desk.reading.builds.push(read);
    }
    // The other keys are read even if the image is wrong: all faults at once.
    let placeholder = ImageName::parse("scratch").ok()?;
    let mut spec = NodeSpec::new(name.clone(), image.clone().unwrap_or(placeholder));
    command::read(desk, who, map, &mut spec);
    environment::read(desk, who, map, &mut spec);
    life::read(desk, who, map, &mut spec);
    spec.health = health::read(desk, who, map);
    let (replicas, replicas_at) = resources::read(desk, who, entry.at, map, &mut spec);
    let address_at = wiring::read(desk, who, map, &mut spec);
    let ports = publish::read(desk, who, map, &mut spec);
    mounts::read(desk, who, map, &mut spec);
    files::read(desk, who, map, &mut spec);
    rights::read(desk, who, map, &mut spec);
    let mut depends_at = depends::read(desk, who, map, &mut spec);
    let volumes_from = volumes_from::read(desk, who, map, &mut spec.depends_on, &mut depends_at);
    image?;
    let mut weight = entry.value.weight();
    weight.nodes += spec.expose.len();
    weight.bytes += spec
        .environment
        .iter()
        .map(|(name, value)| name.len() + value.as_ref().map_or(0, String::len))
        .sum::<usize>();
    let container_name_at = map.entry("container_name").map(|e| e.value.at);
    Some(Lowered {
        service: name,
        at: entry.at,
        spec,
        ports,
        replicas,
        replicas_at,
        depends_at,
        address_at,
        container_name_at,
        volumes_from,
        weight,
    })
}

fn image(desk: &mut Desk<'_, '_>, who: Who<'_>, at: At, map: &Map) -> Option<ImageName> {
    let build = map.entry("build").filter(|e| !e.value.is_null());
    if build.is_some_and(|b| b.value.as_text() == Some(FAULTY)) && map.get("image").is_none() {
        return None;
    }
    if let Some(node) = map.get("image").filter(|n| !n.is_null()) {
        let text = value::text(desk.report(), node, &who.key("image"))?;
        return match ImageName::parse(text) {
            Ok(image) => Some(image),
            Err(fault) => {
                let hint = if text.ends_with(':') {
                    "the tag is empty: a variable in it may not be set"
                } else if text.is_empty() {
                    "a variable may be empty; write for example `nginx:1.27`"
                } else {
                    "write for example `nginx:1.27` or `registry.example.com/team/app:2`"
                };
                desk.report()
                    .error(node.at, "image-name", fault.to_string(), hint);
                None
            }
        };
    }
    match build {
        // As Compose names what it builds.
        Some(_) => {
            return ImageName::parse(&format!("{}-{}", desk.project, who.name.to_lowercase())).ok();
        }
        None if map.get("provider").is_some() => desk.report().error(
            at,
            "provider-unsupported",
            format!("service `{}` is run by a plug-in", who.name),
            "DaaS runs no plug-ins; name an `image`, or turn the service off with `profiles`",
        ),
        None => desk.report().error(
            at,
            "image-missing",
            format!("service `{}` names no image", who.name),
            "add `image`, for example `image: nginx:1.27`",
        ),
    }
    None
}
