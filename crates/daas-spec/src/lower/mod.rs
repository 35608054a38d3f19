//! The merged tree to the words of `daas-model`.

use crate::node::{Map, Node};
use crate::reading::{Reading, Scope};
use daas_model::{ImageName, NodeName, NodeSpec, ProjectName, ServiceName, StandSpec};
use std::collections::BTreeMap;

pub(crate) fn stand(
    reading: &mut Reading<'_>,
    _scope: &Scope,
    project: ProjectName,
    root: &Map,
) -> Option<StandSpec> {
    let mut nodes = BTreeMap::new();
    for entry in &root.get("services").and_then(Node::as_map)?.entries {
        let image = entry
            .value
            .as_map()
            .and_then(|m| m.get("image"))
            .and_then(Node::as_text)?;
        let service = ServiceName::parse(&entry.key).ok()?;
        nodes.insert(
            NodeName::of_replica(&service, 1).ok()?,
            NodeSpec::new(service, ImageName::parse(image).ok()?),
        );
    }
    Some(StandSpec {
        project,
        kind: reading.request.kind,
        nodes,
        networks: BTreeMap::new(),
        volumes: BTreeMap::new(),
        files: BTreeMap::new(),
        limits: reading.request.limits.over(reading.request.defaults),
        egress: reading.request.egress.unwrap_or_default(),
        ttl: reading.request.ttl,
    })
}
