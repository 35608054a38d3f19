//! `volumes_from`: the mounts of another service, too.

use super::service::Lowered;
use super::{Desk, Who, wiring};
use crate::node::{At, Map};
use crate::template::short;
use crate::value;
use daas_model::{Condition, Dependency, Mount, MountSource, ServiceName, Severity};
use std::collections::{BTreeMap, HashMap, HashSet};

/// The most services that take mounts from one another in a row.
const MAX_CHAIN: usize = 16;

/// Another service whose mounts are taken over.
pub(super) struct Source {
    service: String,
    read_only: bool,
    at: At,
}

/// Reads the list; each service in it is waited for, as Compose does.
pub(super) fn read(
    desk: &mut Desk<'_, '_>,
    who: Who<'_>,
    map: &Map,
    depends_on: &mut Vec<Dependency>,
    places: &mut BTreeMap<String, At>,
) -> Vec<Source> {
    let Some(node) = map.get("volumes_from") else {
        return Vec::new();
    };
    let what = who.key("volumes_from");
    let mut found = Vec::new();
    for (text, at) in value::texts(desk.report(), node, &what) {
        let (service, mode) = match text.strip_prefix("container:") {
            Some(rest) => {
                let (container, mode) = rest
                    .split_once(':')
                    .map_or((rest, None), |(c, m)| (c, Some(m)));
                match wiring::by_container_name(desk, container) {
                    Some(node) => (node.to_string(), mode),
                    None => {
                        let message = format!(
                            "{what} names the container `{}`, which is not of this project",
                            short(container)
                        );
                        desk.report().error(
                            at,
                            "volumes-from-container",
                            message,
                            "write the service's name",
                        );
                        continue;
                    }
                }
            }
            None => text
                .split_once(':')
                .map_or((text.to_owned(), None), |(s, m)| (s.to_owned(), Some(m))),
        };
        let read_only = match mode {
            None | Some("rw") => false,
            Some("ro") => true,
            Some(other) => {
                let message = format!("`{}` in {what} is no option", short(other));
                desk.report().error(
                    at,
                    "volume-option",
                    message,
                    "write `service`, `service:ro` or `service:rw`",
                );
                continue;
            }
        };
        if !desk.is_service(&service, at, &what) {
            continue;
        }
        if !places.contains_key(&service)
            && let Ok(name) = ServiceName::parse(&service)
        {
            places.insert(service.clone(), at);
            depends_on.push(Dependency {
                service: name,
                condition: Condition::ServiceStarted,
                restart: false,
                required: true,
            });
        }
        found.push(Source {
            service,
            read_only,
            at,
        });
    }
    found
}

/// Copies the mounts, sources first; a target that a service mounts itself stays its own.
pub(super) fn apply(desk: &mut Desk<'_, '_>, services: &mut [Lowered]) {
    let index: HashMap<String, usize> = services
        .iter()
        .enumerate()
        .map(|(i, s)| (s.service.to_string(), i))
        .collect();
    let mut pending: Vec<usize> = (0..services.len())
        .filter(|i| !services[*i].volumes_from.is_empty())
        .collect();
    for _ in 0..MAX_CHAIN {
        if pending.is_empty() {
            return;
        }
        let waiting: HashSet<usize> = pending.iter().copied().collect();
        pending.retain(|&here| {
            let sources = &services[here].volumes_from;
            if sources
                .iter()
                .any(|s| index.get(&s.service).is_some_and(|i| waiting.contains(i)))
            {
                return true;
            }
            let mut added: Vec<Mount> = Vec::new();
            let mut own: Vec<At> = Vec::new();
            for source in sources {
                let Some(other) = index.get(&source.service).map(|i| &services[*i]) else {
                    continue;
                };
                for mount in &other.spec.mounts {
                    let taken = services[here]
                        .spec
                        .mounts
                        .iter()
                        .chain(&added)
                        .any(|m| m.target == mount.target);
                    match mount.source {
                        _ if taken => {}
                        MountSource::Anonymous => own.push(source.at),
                        // Docker shares no memory this way.
                        MountSource::Tmpfs { .. } => {}
                        MountSource::Volume { .. } | MountSource::Bind { .. } => {
                            added.push(Mount {
                                read_only: mount.read_only || source.read_only,
                                ..mount.clone()
                            });
                        }
                    }
                }
            }
            let key = format!("services.{}.volumes_from", services[here].service);
            for at in own {
                desk.report().ignore(
                    Severity::Warning,
                    at,
                    &key,
                    "a volume without a name belongs to one node alone; give it a name to share it",
                );
            }
            services[here].spec.mounts.extend(added);
            false
        });
    }
    // What is left waits for itself, which is told as a circle, or is a chain of unlikely length.
    for here in pending {
        let at = services[here]
            .volumes_from
            .first()
            .map(|s| s.at)
            .unwrap_or_default();
        desk.report().error(
            at,
            "volumes-from-chain",
            "mounts are taken over in a circle or a long row",
            "name the volumes in each service",
        );
    }
}
