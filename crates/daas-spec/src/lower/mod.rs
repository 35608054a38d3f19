//! The merged tree to the words of `daas-model`.
//!
//! Each file reads one part of a service or of the top level. What needs several parts at once is in `cross`.

mod build;
mod command;
mod cross;
mod daas;
mod depends;
mod environment;
mod files;
mod health;
mod life;
mod mounts;
mod networks;
mod publish;
mod resources;
mod rights;
mod routes;
mod service;
mod volumes;
mod volumes_from;
mod wiring;

use crate::nearest::nearest;
use crate::node::{At, Entry, Map, Node, Value};
use crate::reading::{Reading, Scope};
use crate::report::Report;
use crate::template::short;
use crate::value;
use daas_model::{Diagnostic, FileName, Grant, ProjectName, Severity, StandSpec};
use std::collections::{BTreeMap, BTreeSet};

/// The most networks of one stand; each is a bridge with a link for every node.
const MAX_NETWORKS: usize = 250;

/// What every part of the lowering needs.
pub(crate) struct Desk<'d, 'r> {
    reading: &'d mut Reading<'r>,
    scope: &'d Scope,
    project: &'d ProjectName,
    root: &'d Map,
    /// Services whose profile is on.
    enabled: BTreeSet<String>,
    /// Services whose profile is off, with the profiles that would turn them on.
    disabled: BTreeMap<String, Vec<String>>,
    used_networks: BTreeMap<String, At>,
    used_volumes: BTreeMap<String, At>,
    used_files: BTreeMap<FileName, At>,
}

impl<'d> Desk<'d, '_> {
    fn report(&mut self) -> &mut Report {
        &mut self.reading.report
    }

    /// Returns the entries of a top-level section.
    fn section(&self, name: &str) -> &'d [Entry] {
        self.root
            .get(name)
            .and_then(Node::as_map)
            .map(|m| m.entries.as_slice())
            .unwrap_or_default()
    }

    fn declared(&self, section: &str, name: &str) -> Option<&'d Entry> {
        self.section(section).iter().find(|e| e.key == name)
    }

    /// Returns a variable of the caller or an environment file.
    fn variable(&mut self, name: &str) -> Option<String> {
        self.reading.variable(self.scope, name)
    }

    /// Tells whether the project was granted `wanted`; says what is refused, and which command grants it, if not.
    fn granted(&mut self, at: At, wanted: &Grant, message: String, cause: &str) -> bool {
        if self.reading.request.policy.allows(wanted) {
            let cause = format!(
                "an administrator granted `{wanted}` to project `{}`",
                self.project
            );
            self.report().say(
                at,
                Diagnostic::new(Severity::Note, "granted", message).because(cause),
            );
            return true;
        }
        let hint = format!(
            "an administrator may allow it: `daas project grant {} {wanted}`",
            self.project
        );
        self.report().say(
            at,
            Diagnostic::error("grant-missing", message)
                .because(cause)
                .hint(hint),
        );
        false
    }

    /// Looks for an enabled service; says at `at` what is wrong if there is none.
    fn is_service(&mut self, name: &str, at: At, what: &str) -> bool {
        if self.enabled.contains(name) {
            return true;
        }
        if let Some(profiles) = self.disabled.get(name) {
            let hint = format!(
                "turn it on with `--profile {}`",
                profiles.first().map_or("", String::as_str)
            );
            let cause = format!("none of its profiles is on: {}", profiles.join(", "));
            self.report().say(
                at,
                Diagnostic::error(
                    "profile-off",
                    format!("{what} names service `{name}`, which is off"),
                )
                .because(cause)
                .hint(hint),
            );
            return false;
        }
        let near = if self.report().is_full() {
            None
        } else {
            nearest(
                name,
                self.enabled
                    .iter()
                    .chain(self.disabled.keys())
                    .map(String::as_str),
            )
        };
        let hint = near.map_or_else(
            || "name a service of this project".to_owned(),
            |n| format!("did you mean `{n}`?"),
        );
        self.report().error(
            at,
            "service-missing",
            format!(
                "{what} names service `{}`, which the project does not have",
                short(name)
            ),
            hint,
        );
        false
    }

    /// Says that `name` is declared nowhere below the top-level `section`.
    fn undeclared(&mut self, section: &str, name: &str, at: At, who: &Who<'_>) {
        let noun = section.trim_end_matches('s');
        let near = if self.reading.report.is_full() {
            None
        } else {
            nearest(name, self.section(section).iter().map(|e| e.key.as_str()))
        };
        let hint = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None if section == "volumes" && name.contains('/') => {
                format!("a folder of the project is written `./{}`", short(name))
            }
            None if section == "volumes" => format!(
                "declare it at the top level: `volumes: {{{0}: }}`; a folder of the project is written `./{0}`",
                short(name)
            ),
            None => format!("declare it at the top level, below `{section}:`"),
        };
        self.report().error(
            at,
            &format!("{noun}-undeclared"),
            format!(
                "service `{}` uses {noun} `{}`, which is not declared",
                who.name,
                short(name)
            ),
            hint,
        );
    }
}

/// The service that is read, for messages.
#[derive(Clone, Copy)]
pub(crate) struct Who<'w> {
    name: &'w str,
}

impl Who<'_> {
    /// Names one of its keys.
    fn key(&self, key: &str) -> String {
        format!("`{key}` of service `{}`", self.name)
    }
}

/// Lowers the whole project.
///
/// Returns nothing if there is no usable project at all; faults beside that are told, and the rest is still read.
pub(crate) fn stand(
    reading: &mut Reading<'_>,
    scope: &Scope,
    project: ProjectName,
    root: &Map,
) -> Option<StandSpec> {
    let services = match root.entry("services") {
        Some(entry) => value::map(&mut reading.report, &entry.value, "`services`")?,
        None => {
            let at = root.entries.first().map(|e| e.at).unwrap_or_default();
            reading.report.error(
                at,
                "project-empty",
                "the project has no `services`",
                "write `services:` and below it, for example, `web: {image: nginx}`",
            );
            return None;
        }
    };
    if services.entries.is_empty() {
        let at = root.entry("services").map(|e| e.at).unwrap_or_default();
        reading.report.error(
            at,
            "project-empty",
            "`services` is empty",
            "write below it, for example, `web: {image: nginx}`",
        );
        return None;
    }
    for section in ["networks", "volumes", "secrets", "configs"] {
        if let Some(node) = root.get(section) {
            value::map(&mut reading.report, node, &format!("`{section}`"));
        }
    }
    let mut desk = Desk {
        reading,
        scope,
        project: &project,
        root,
        enabled: BTreeSet::new(),
        disabled: BTreeMap::new(),
        used_networks: BTreeMap::new(),
        used_volumes: BTreeMap::new(),
        used_files: BTreeMap::new(),
    };
    sort_by_profile(&mut desk, services);
    check_scale(&mut desk, services);
    let mut lowered = Vec::new();
    for entry in &services.entries {
        if desk.enabled.contains(&entry.key) {
            lowered.extend(service::service(&mut desk, entry));
        }
    }
    volumes_from::apply(&mut desk, &mut lowered);
    if desk.used_networks.len() > MAX_NETWORKS {
        let at = desk
            .used_networks
            .values()
            .next()
            .copied()
            .unwrap_or_default();
        let count = desk.used_networks.len();
        desk.report().error(
            at,
            "networks-too-many",
            format!("the stand would have {count} networks"),
            format!("at most {MAX_NETWORKS}"),
        );
        return None;
    }
    let networks = networks::networks(&mut desk);
    let volumes = volumes::volumes(&mut desk);
    let files = files::contents(&mut desk);
    let wishes = daas::wishes(&mut desk);
    cross::check(&mut desk, &lowered, &networks, &wishes.limits);
    let nodes = cross::nodes(&mut desk, lowered);
    let kind = desk.reading.request.kind;
    Some(StandSpec {
        project,
        kind,
        nodes,
        networks,
        volumes,
        files,
        limits: wishes.limits,
        egress: wishes.egress,
        ttl: wishes.ttl,
        routes: wishes.routes,
        sleep_after: wishes.sleep_after,
    })
}

/// Works out which services are on (Compose Specification, "Profiles").
fn sort_by_profile(desk: &mut Desk<'_, '_>, services: &Map) {
    let mut active: BTreeSet<String> = desk.reading.request.profiles.iter().cloned().collect();
    if active.is_empty() {
        let list = desk.variable("COMPOSE_PROFILES").unwrap_or_default();
        active.extend(
            list.split(',')
                .map(|p| p.trim().to_owned())
                .filter(|p| !p.is_empty()),
        );
    }
    let mut known = BTreeSet::new();
    for entry in &services.entries {
        let profiles: Vec<String> = match entry.value.as_map().and_then(|m| m.get("profiles")) {
            Some(node) => {
                let who = Who { name: &entry.key };
                value::texts(desk.report(), node, &who.key("profiles"))
                    .into_iter()
                    .map(|(p, _)| p.to_owned())
                    .collect()
            }
            None => Vec::new(),
        };
        known.extend(profiles.iter().cloned());
        if profiles.is_empty()
            || active.contains("*")
            || profiles.iter().any(|p| active.contains(p))
        {
            desk.enabled.insert(entry.key.clone());
        } else {
            desk.disabled.insert(entry.key.clone(), profiles);
        }
    }
    let at = file_of(services);
    for profile in active.iter().filter(|p| *p != "*" && !known.contains(*p)) {
        let near = nearest(profile, known.iter().map(String::as_str));
        let hint = near.map_or_else(
            || "no service has it".to_owned(),
            |n| format!("did you mean `{n}`?"),
        );
        desk.reading.report.warn(
            at,
            "profile-unknown",
            format!("no service has the profile `{}`", short(profile)),
            hint,
        );
    }
}

/// Tells of numbers of nodes that are wished for services which are not there.
fn check_scale(desk: &mut Desk<'_, '_>, services: &Map) {
    let at = file_of(services);
    for name in desk.reading.request.scale.keys() {
        if desk.enabled.contains(name) {
            continue;
        }
        let diagnostic = match desk.disabled.get(name) {
            Some(profiles) => {
                let message = format!("service `{name}` is to be scaled and is off");
                let first = profiles.first().map_or("", String::as_str);
                Diagnostic::error("profile-off", message)
                    .because(format!(
                        "none of its profiles is on: {}",
                        profiles.join(", ")
                    ))
                    .hint(format!("turn it on with `--profile {first}`"))
            }
            None => {
                let message = format!(
                    "service `{}` is to be scaled and does not exist",
                    short(name)
                );
                let near = nearest(name, services.entries.iter().map(|e| e.key.as_str()));
                let hint = near.map_or_else(
                    || "name a service of the project".to_owned(),
                    |near| format!("did you mean `{near}`?"),
                );
                Diagnostic::error("service-missing", message).hint(hint)
            }
        };
        desk.reading.report.say(at, diagnostic);
    }
}

/// The file of the services, for what has no line in it.
fn file_of(services: &Map) -> At {
    let first = services.entries.first();
    first
        .map(|e| At {
            line: 0,
            column: 0,
            ..e.at
        })
        .unwrap_or_default()
}

/// Tells whether `external` is set, in its new or old form.
fn is_external(report: &mut Report, map: &Map, what: &str) -> Option<At> {
    let entry = map.entry("external")?;
    match &entry.value.value {
        Value::Map(_) => Some(entry.at),
        Value::Null | Value::Text(_) | Value::List(_) => {
            value::boolean(report, &entry.value, &format!("`external` of {what}"))
                .filter(|yes| *yes)
                .map(|_| entry.at)
        }
    }
}
