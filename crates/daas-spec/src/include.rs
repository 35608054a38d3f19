//! `include`: other projects, copied into this one (Compose Specification, "Include").

use crate::extends::is_remote;
use crate::load::{Given, load_env, load_set};
use crate::merge::{merge_entry, same};
use crate::nearest::nearest;
use crate::node::{At, Entry, Map, Node, Value};
use crate::path;
use crate::reading::{Reading, Scope};
use crate::template::short;
use daas_model::{Diagnostic, Severity};

/// The most includes in one another.
const MAX_DEPTH: usize = 16;
/// What is taken over from an included project.
const SECTIONS: [&str; 6] = [
    "services", "networks", "volumes", "secrets", "configs", "models",
];

/// One entry of `include`.
struct Wanted {
    paths: Vec<(String, At)>,
    project_directory: Option<String>,
    env_files: Option<Vec<(String, At)>>,
}

/// Loads everything that `root` includes and takes its services and resources over; what `root` says itself stands above.
///
/// `trail` holds the files that lead here, the including file last.
pub(crate) fn include_all(
    reading: &mut Reading<'_>,
    root: &mut Node,
    base: &str,
    scope: &Scope,
    trail: &mut Vec<String>,
) {
    let Value::Map(map) = &mut root.value else {
        return;
    };
    let Some(entry) = map.take("include") else {
        return;
    };
    let list = match entry.value.value {
        Value::Null => return,
        Value::List(list) => list,
        Value::Text(_) | Value::Map(_) => {
            reading.report.error(
                entry.value.at,
                "type-wrong",
                format!("`include` is {}", entry.value.kind()),
                "write a list: `include: [other/compose.yaml]`",
            );
            return;
        }
    };
    for item in list {
        let at = item.at;
        let Some(wanted) = read_wanted(reading, item) else {
            continue;
        };
        if let Some(included) = load_wanted(reading, wanted, at, base, scope, trail) {
            take_over(reading, map, included, at);
        }
    }
}

fn read_wanted(reading: &mut Reading<'_>, item: Node) -> Option<Wanted> {
    let at = item.at;
    match item.value {
        Value::Text(text) if text.text == crate::node::FAULTY => None,
        Value::Text(text) => Some(Wanted {
            paths: vec![(text.text, at)],
            project_directory: None,
            env_files: None,
        }),
        Value::Map(map) => {
            for field in &map.entries {
                if !matches!(
                    field.key.as_str(),
                    "path" | "project_directory" | "env_file"
                ) {
                    let near = nearest(&field.key, ["path", "project_directory", "env_file"]);
                    let hint = near.map_or_else(
                        || "`include` knows `path`, `project_directory` and `env_file`".to_owned(),
                        |n| format!("did you mean `{n}`?"),
                    );
                    reading.report.error(
                        field.at,
                        "key-unknown",
                        format!("`{}` is no key of `include`", short(&field.key)),
                        hint,
                    );
                }
            }
            let paths = map
                .get("path")
                .map(|n| texts(reading, n, "path"))
                .unwrap_or_default();
            if paths.is_empty() {
                reading.report.error(
                    at,
                    "include-missing",
                    "`include` names no `path`",
                    "write `path: other/compose.yaml`",
                );
                return None;
            }
            let env_files = map.get("env_file").map(|n| texts(reading, n, "env_file"));
            let project_directory = map
                .get("project_directory")
                .and_then(Node::as_text)
                .map(str::to_owned);
            Some(Wanted {
                paths,
                project_directory,
                env_files,
            })
        }
        Value::Null | Value::List(_) => {
            reading.report.error(
                at,
                "type-wrong",
                format!(
                    "an entry of `include` is {}",
                    Node::new(at, item.value).kind()
                ),
                "write a path, or a map with `path`",
            );
            None
        }
    }
}

fn texts(reading: &mut Reading<'_>, node: &Node, key: &str) -> Vec<(String, At)> {
    let mut found = Vec::new();
    match &node.value {
        Value::Text(text) => found.push((text.text.clone(), node.at)),
        Value::List(list) => {
            for item in list {
                match item.as_text() {
                    Some(text) => found.push((text.to_owned(), item.at)),
                    None => reading.report.error(
                        item.at,
                        "type-wrong",
                        format!("an entry of `{key}` is {}", item.kind()),
                        "write a path",
                    ),
                }
            }
        }
        Value::Null => {}
        Value::Map(_) => reading.report.error(
            node.at,
            "type-wrong",
            format!("`{key}` is a map"),
            "write a path, or a list of paths",
        ),
    }
    found
}

fn load_wanted(
    reading: &mut Reading<'_>,
    wanted: Wanted,
    at: At,
    base: &str,
    scope: &Scope,
    trail: &mut Vec<String>,
) -> Option<Node> {
    if let Some((remote, remote_at)) = wanted.paths.iter().find(|(p, _)| is_remote(p)) {
        reading.report.error(
            *remote_at,
            "remote-file",
            format!("`{}` is not a file of this machine", short(remote)),
            "fetch it beside the project and name its path",
        );
        return None;
    }
    let set: Vec<Given> = wanted
        .paths
        .iter()
        .map(|(p, at)| Given {
            path: path::join(base, p),
            named_at: *at,
            parsed: None,
        })
        .collect();
    let first = set.first()?.path.clone();
    if let Some(given) = set.iter().find(|g| trail.contains(&g.path)) {
        let dir = reading.dir.clone();
        let start = trail.iter().position(|f| *f == given.path).unwrap_or(0);
        let steps: Vec<String> = trail[start..]
            .iter()
            .chain([&given.path])
            .map(|f| format!("`{}`", path::shown(f, &dir)))
            .collect();
        reading.report.say(
            given.named_at,
            Diagnostic::error("include-cycle", "`include` goes in a circle")
                .because(steps.join(" -> "))
                .hint("move what both need into a third file"),
        );
        return None;
    }
    if trail.len() >= MAX_DEPTH {
        reading.report.error(
            at,
            "include-too-deep",
            format!("more than {MAX_DEPTH} includes lie in one another"),
            "include the inner files from the outer one",
        );
        return None;
    }
    let dir = match &wanted.project_directory {
        Some(dir) => path::join(base, dir),
        None => path::parent(&first).to_owned(),
    };
    let env_files = match wanted.env_files {
        Some(files) => files
            .into_iter()
            .filter(|(f, _)| f != "/dev/null")
            .map(|(f, at)| (path::join(base, &f), at))
            .collect(),
        None => {
            let usual = path::join(&dir, ".env");
            if reading.exists(&usual) {
                vec![(usual, at)]
            } else {
                Vec::new()
            }
        }
    };
    let scope = load_env(reading, &env_files, scope);
    load_set(reading, set, &dir, &scope, trail)
}

/// Copies services and resources of `included` into `map`.
fn take_over(reading: &mut Reading<'_>, map: &mut Map, included: Node, at: At) {
    let Value::Map(included) = included.value else {
        return;
    };
    for section in included.entries {
        if !SECTIONS.contains(&section.key.as_str()) {
            continue;
        }
        let Value::Map(theirs) = section.value.value else {
            continue;
        };
        let position = match map.entries.iter().position(|e| e.key == section.key) {
            Some(position) => position,
            None => {
                map.entries.push(Entry {
                    key: section.key.clone(),
                    at: section.at,
                    value: Node::new(section.value.at, Value::Map(Map::default())),
                });
                map.entries.len() - 1
            }
        };
        let ours = &mut map.entries[position].value;
        if ours.is_null() {
            ours.value = Value::Map(Map::default());
        }
        let Value::Map(ours) = &mut ours.value else {
            continue;
        };
        let index: std::collections::HashMap<String, usize> = ours
            .index()
            .into_iter()
            .map(|(k, i)| (k.to_owned(), i))
            .collect();
        for entry in theirs.entries {
            let Some(i) = index.get(&entry.key) else {
                ours.entries.push(entry);
                continue;
            };
            let mine = &mut ours.entries[*i];
            if same(&mine.value, &entry.value) {
                continue;
            }
            let first = reading.report.place(entry.at);
            reading.report.say(
                mine.at,
                Diagnostic::new(Severity::Warning, "include-conflict", format!("`{}.{}` is defined here and by an include", section.key, short(&entry.key)))
                    .because(format!("the included one at {first} comes in by {}; it is merged below this one", reading.report.place(at)))
                    .hint("rename one of the two, or change the included one in an override file beside it"),
            );
            let over = std::mem::replace(&mut mine.value, Node::new(mine.at, Value::Null));
            mine.value = merge_entry(&section.key, entry.value, over, &mut reading.report);
        }
    }
}
