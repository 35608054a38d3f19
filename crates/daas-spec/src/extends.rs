//! `extends`: a service on a base, of the same file or another one.

use crate::merge::merge_entry;
use crate::nearest::nearest;
use crate::node::{At, Entry, FAULTY, Map, Node, Value, Weight};
use crate::path;
use crate::reading::{Reading, Scope};
use daas_model::Diagnostic;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

/// A service by the file that defines it and its name.
type Id = (String, String);

/// The services of one file as they stand there.
type Services = BTreeMap<String, (At, Node)>;

/// The services of the files that bases come from.
pub(crate) struct Bases<'s> {
    /// Where relative paths in the first file begin.
    dir: String,
    scope: &'s Scope,
    /// Raw services by file; nothing for a file that could not be read.
    files: HashMap<String, Option<Rc<Services>>>,
    done: HashMap<Id, Option<Rc<Node>>>,
}

/// What `extends` of one service says.
struct Wanted {
    service: String,
    file: Option<String>,
    at: At,
}

impl<'s> Bases<'s> {
    pub(crate) fn new(dir: &str, scope: &'s Scope) -> Self {
        Self {
            dir: dir.to_owned(),
            scope,
            files: HashMap::new(),
            done: HashMap::new(),
        }
    }

    /// Puts every service of `root`, the tree of the file at `path`, on its base.
    pub(crate) fn apply(mut self, reading: &mut Reading<'_>, path: &str, root: &mut Node) {
        let Value::Map(root) = &mut root.value else {
            return;
        };
        let Some(services) = root.entries.iter_mut().find(|e| e.key == "services") else {
            return;
        };
        let services_at = services.at;
        let Value::Map(services) = &mut services.value.value else {
            return;
        };
        if !services
            .entries
            .iter()
            .any(|e| e.value.as_map().is_some_and(|m| m.get("extends").is_some()))
        {
            return;
        }
        let mut weight = Weight::default();
        for entry in &services.entries {
            weight.add(entry.value.weight());
        }
        if !reading.may_grow(weight, services_at) {
            return;
        }
        self.files
            .insert(path.to_owned(), Some(Rc::new(raw_services(services))));
        let own_dir = self.dir.clone();
        for entry in &mut services.entries {
            if entry
                .value
                .as_map()
                .is_some_and(|m| m.get("extends").is_some())
            {
                let id = (path.to_owned(), entry.key.clone());
                if let Some(node) = self.resolve(reading, id, &own_dir) {
                    entry.value = (*node).clone();
                } else if let Value::Map(map) = &mut entry.value.value
                    && let Some(extends) = map.take("extends")
                    && map.get("image").is_none()
                {
                    // The image may have come from the base that is told as faulty.
                    let at = extends.value.at;
                    let value = Node::text(at, FAULTY);
                    map.entries.push(Entry {
                        key: "image".to_owned(),
                        at,
                        value,
                    });
                }
            }
        }
    }

    /// Returns the service with all its bases merged in; nothing if a base is missing or a cycle was told.
    fn resolve(&mut self, reading: &mut Reading<'_>, id: Id, own_dir: &str) -> Option<Rc<Node>> {
        // The chain is walked to its end first and merged on the way back: no recursion, however long it is.
        let mut chain: Vec<(Id, Node, Option<At>)> = Vec::new();
        let mut next = id;
        let mut dir = own_dir.to_owned();
        let mut base: Option<Rc<Node>> = loop {
            if let Some(done) = self.done.get(&next) {
                break done.clone();
            }
            if let Some(start) = chain.iter().position(|(id, _, _)| *id == next) {
                self.tell_cycle(reading, &chain[start..]);
                for (id, _, _) in chain {
                    self.done.insert(id, None);
                }
                return None;
            }
            let services = self.files.get(&next.0).cloned().flatten()?;
            let Some((_, node)) = services.get(&next.1) else {
                break None;
            };
            let mut node = node.clone();
            if !reading.may_grow(node.weight(), node.at) {
                return None;
            }
            let wanted = match &mut node.value {
                Value::Map(map) => take_wanted(reading, map),
                Value::Null | Value::Text(_) | Value::List(_) => None,
            };
            let Some(wanted) = wanted else {
                chain.push((next, node, None));
                break None;
            };
            let file = match &wanted.file {
                None => next.0.clone(),
                Some(file) => {
                    let file = path::join(&dir, file);
                    if file != next.0 {
                        dir = path::parent(&file).to_owned();
                    }
                    self.open(reading, &file, &dir, wanted.at);
                    file
                }
            };
            let found = match self.files.get(&file) {
                Some(Some(services)) if services.contains_key(&wanted.service) => true,
                Some(Some(services)) => {
                    let near = if reading.report.is_full() {
                        None
                    } else {
                        nearest(&wanted.service, services.keys().map(String::as_str))
                    };
                    let hint = near.map_or_else(
                        || "name a service of that file".to_owned(),
                        |n| format!("did you mean `{n}`?"),
                    );
                    let shown = path::shown(&file, &reading.dir);
                    reading.report.error(
                        wanted.at,
                        "extends-missing",
                        format!(
                            "service `{}` extends `{}`, which `{shown}` does not have",
                            next.1,
                            crate::template::short(&wanted.service)
                        ),
                        hint,
                    );
                    false
                }
                Some(None) | None => false,
            };
            chain.push((next, node, Some(wanted.at)));
            if !found {
                return None;
            }
            next = (file, wanted.service);
        };
        while let Some((id, node, at)) = chain.pop() {
            let merged = match &base {
                Some(below) => {
                    if !reading.may_grow(below.weight(), at.unwrap_or(node.at)) {
                        return None;
                    }
                    merge_entry("services", (**below).clone(), node, &mut reading.report)
                }
                None => node,
            };
            let merged = Rc::new(merged);
            self.done.insert(id, Some(Rc::clone(&merged)));
            base = Some(merged);
        }
        base
    }

    /// Reads the services of another file, once.
    fn open(&mut self, reading: &mut Reading<'_>, file: &str, dir: &str, at: At) {
        if self.files.contains_key(file) {
            return;
        }
        let services = reading
            .load(file, dir, "the extended file", at, "extends-file-missing")
            .and_then(|(_, mut node)| {
                reading.interpolate(&mut node, self.scope);
                match node
                    .as_map()
                    .and_then(|m| m.get("services"))
                    .and_then(Node::as_map)
                {
                    Some(services) => Some(Rc::new(raw_services(services))),
                    None => {
                        reading.report.error(
                            node.at,
                            "extends-file-empty",
                            "the extended file has no services",
                            "a base is an entry of `services:`",
                        );
                        None
                    }
                }
            });
        self.files.insert(file.to_owned(), services);
    }

    fn tell_cycle(&self, reading: &mut Reading<'_>, chain: &[(Id, Node, Option<At>)]) {
        let mut steps: Vec<String> = chain
            .iter()
            .map(|((_, name), _, at)| match at {
                Some(at) => format!("`{name}` ({})", reading.report.place(*at)),
                None => format!("`{name}`"),
            })
            .collect();
        if let Some(((_, name), _, _)) = chain.first() {
            steps.push(format!("`{name}`"));
        }
        // A chain may be long; its ends tell enough.
        if steps.len() > 12 {
            let cut = steps.len() - 12;
            steps.splice(6..6 + cut, ["...".to_owned()]);
        }
        let at = chain.iter().find_map(|(_, _, at)| *at).unwrap_or_default();
        reading.report.say(
            at,
            Diagnostic::error("extends-cycle", "`extends` goes in a circle")
                .because(steps.join(" -> "))
                .hint("give the services a common base that extends nothing"),
        );
    }
}

fn raw_services(services: &Map) -> Services {
    services
        .entries
        .iter()
        .map(|e| (e.key.clone(), (e.at, e.value.clone())))
        .collect()
}

/// Takes `extends` out of a service, in its short or long form; faults are told.
fn take_wanted(reading: &mut Reading<'_>, service: &mut Map) -> Option<Wanted> {
    let entry = service.take("extends")?;
    let at = entry.value.at;
    match entry.value.value {
        Value::Null => None,
        Value::Text(text) if text.text == FAULTY => None,
        Value::Text(text) => Some(Wanted {
            service: text.text,
            file: None,
            at,
        }),
        Value::Map(map) => {
            for field in &map.entries {
                if !matches!(field.key.as_str(), "service" | "file") {
                    let near = nearest(&field.key, ["service", "file"]);
                    let hint = near.map_or_else(
                        || "`extends` knows `service` and `file`".to_owned(),
                        |n| format!("did you mean `{n}`?"),
                    );
                    reading.report.error(
                        field.at,
                        "key-unknown",
                        format!(
                            "`{}` is no key of `extends`",
                            crate::template::short(&field.key)
                        ),
                        hint,
                    );
                }
            }
            let Some(service) = map.get("service").and_then(Node::as_text) else {
                reading.report.error(
                    at,
                    "extends-missing",
                    "`extends` names no service",
                    "write `extends: {service: base}`",
                );
                return None;
            };
            let file = map.get("file").and_then(Node::as_text);
            if let Some(file) = file.filter(|f| is_remote(f)) {
                reading.report.error(
                    at,
                    "remote-file",
                    format!(
                        "`{}` is not a file of this machine",
                        crate::template::short(file)
                    ),
                    "fetch it beside the project and name its path",
                );
                return None;
            }
            Some(Wanted {
                service: service.to_owned(),
                file: file.map(str::to_owned),
                at,
            })
        }
        Value::List(_) => {
            reading.report.error(
                at,
                "type-wrong",
                "`extends` is a list",
                "write the service's name, or `{service: ..., file: ...}`",
            );
            None
        }
    }
}

/// Tells whether a path leads to another machine: Compose reads those by git or from a registry.
pub(crate) fn is_remote(path: &str) -> bool {
    path.contains("://") || path.starts_with("git@") || path.starts_with("oci:")
}
