//! The environment of a node: files, then the map, the later over the earlier.

use super::{Desk, Who};
use crate::dotenv::{self, Format};
use crate::node::{At, FAULTY, Map, Node, Value, Weight};
use crate::path;
use crate::template::short;
use crate::value;
use crate::yaml;
use daas_model::{Diagnostic, NodeSpec, Severity};
use std::collections::BTreeMap;

pub(super) fn read(desk: &mut Desk<'_, '_>, who: Who<'_>, map: &Map, spec: &mut NodeSpec) {
    let mut found: BTreeMap<String, Option<String>> = BTreeMap::new();
    if let Some(node) = map.get("env_file") {
        for file in files(desk, node, &who.key("env_file")) {
            read_file(desk, &file, &mut found);
        }
    }
    if let Some(node) = map.get("environment") {
        for pair in value::pairs(desk.report(), node, &who.key("environment")) {
            if pair.name.is_empty() {
                desk.report().error(
                    pair.at,
                    "environment-name",
                    format!("a variable in {} has no name", who.key("environment")),
                    "write `NAME=value`",
                );
                continue;
            }
            if pair.value.is_none() && pair.name.contains(": ") {
                let fixed = pair.name.replacen(": ", "=", 1);
                desk.report().warn(
                    pair.at,
                    "environment-name",
                    format!("`{}` is taken as the name of a variable", short(&pair.name)),
                    format!("in a list write `{}`", short(&fixed)),
                );
            }
            // A name alone takes the caller's value; without one the variable is taken away from the image's.
            let value = pair.value.or_else(|| desk.variable(&pair.name));
            found.insert(pair.name, value);
        }
    }
    spec.environment = found;
    let mut labels: BTreeMap<String, Option<String>> = BTreeMap::new();
    if let Some(node) = map.get("label_file") {
        for file in files(desk, node, &who.key("label_file")) {
            read_file(desk, &file, &mut labels);
        }
    }
    if let Some(node) = map.get("labels") {
        let pairs = value::pairs(desk.report(), node, &who.key("labels"));
        labels.extend(pairs.into_iter().map(|p| (p.name, p.value)));
    }
    spec.labels = labels
        .into_iter()
        .map(|(name, value)| (name, value.unwrap_or_default()))
        .collect();
}

struct EnvFile {
    path: String,
    at: At,
    required: bool,
    format: Format,
}

fn files(desk: &mut Desk<'_, '_>, node: &Node, what: &str) -> Vec<EnvFile> {
    let items: &[Node] = match &node.value {
        Value::List(list) => list,
        Value::Text(_) | Value::Map(_) => std::slice::from_ref(node),
        Value::Null => &[],
    };
    let mut found = Vec::new();
    for item in items {
        match &item.value {
            Value::Text(text) if text.text == FAULTY => {}
            Value::Text(text) => found.push(EnvFile {
                path: text.text.clone(),
                at: item.at,
                required: true,
                format: Format::Compose,
            }),
            Value::Map(map) => {
                let Some(path) = map
                    .get("path")
                    .and_then(|n| value::text(desk.report(), n, &format!("`path` of {what}")))
                else {
                    desk.report().error(
                        item.at,
                        "env-file-missing",
                        format!("an entry of {what} names no `path`"),
                        "write `- path: ./app.env`",
                    );
                    continue;
                };
                let required = map
                    .get("required")
                    .and_then(|n| {
                        value::boolean(desk.report(), n, &format!("`required` of {what}"))
                    })
                    .unwrap_or(true);
                let format = match map
                    .get("format")
                    .and_then(|n| value::text(desk.report(), n, &format!("`format` of {what}")))
                {
                    None | Some("") => Format::Compose,
                    Some("raw") => Format::Raw,
                    Some(other) => {
                        desk.report().error(
                            item.at,
                            "env-file-format",
                            format!("`format` of {what} is `{}`", short(other)),
                            "the only other format is `raw`",
                        );
                        continue;
                    }
                };
                found.push(EnvFile {
                    path: path.to_owned(),
                    at: item.at,
                    required,
                    format,
                });
            }
            Value::Null | Value::List(_) => value::wrong(
                desk.report(),
                item,
                &format!("an entry of {what}"),
                "a path, or a map with `path`",
            ),
        }
    }
    found
}

fn read_file(
    desk: &mut Desk<'_, '_>,
    file: &EnvFile,
    found: &mut BTreeMap<String, Option<String>>,
) {
    if file.path.is_empty() {
        desk.report().error(
            file.at,
            "env-file-missing",
            "the path of an environment file is empty",
            "a variable in it may be empty",
        );
        return;
    }
    let path = path::join(desk.reading.report.base(file.at), &file.path);
    if !file.required && !desk.reading.exists(&path) {
        return;
    }
    if file.path.starts_with('/') && !path::is_within(&path, &desk.reading.dir) {
        desk.report().say(
            file.at,
            Diagnostic::new(
                Severity::Warning,
                "env-file-absolute",
                format!("`{}` lies outside of the project", short(&file.path)),
            )
            .hint("a project with its files in its own folder works on other machines, too"),
        );
    }
    // Once the budget is spent, nothing is read only to be refused.
    if !desk.reading.may_grow(Weight::default(), file.at) {
        return;
    }
    let Some(bytes) =
        desk.reading
            .bytes(&path, "the environment file", file.at, "env-file-missing")
    else {
        return;
    };
    let source = desk.reading.report.add_source(
        path::shown(&path, &desk.reading.dir),
        path::parent(&path).to_owned(),
    );
    // It is read as often as it is named.
    let weight = Weight {
        nodes: bytes.iter().filter(|b| **b == b'\n').count() + 1,
        bytes: bytes.len(),
    };
    if !desk.reading.may_grow(weight, file.at) {
        return;
    }
    let Some(text) = yaml::decode(&bytes, source, &mut desk.reading.report) else {
        return;
    };
    let (request, env_read, report, scope) = (
        desk.reading.request,
        &mut desk.reading.env_read,
        &mut desk.reading.report,
        desk.scope,
    );
    let earlier = found.clone();
    let mut lookup = |name: &str| {
        if let Some(value) = request.env.get(name) {
            env_read.insert(name.to_owned(), value.clone());
            return Some(value.clone());
        }
        scope
            .vars
            .get(name)
            .cloned()
            .or_else(|| earlier.get(name).cloned().flatten())
    };
    let lines = dotenv::parse(text, source, file.format, &mut lookup, report);
    for line in lines {
        match line.value {
            Some(value) => {
                found.insert(line.name, Some(value));
            }
            None => {
                if let Some(value) = lookup(&line.name) {
                    found.insert(line.name, Some(value));
                }
            }
        }
    }
}
