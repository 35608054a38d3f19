//! Projects in memory, and outcomes as short texts.

use daas_model::{ImageName, NodeSpec, Policy, ServiceName, StandSpec};
use daas_spec::{Outcome, ProjectRequest, read_project};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The folder of every test project.
pub(crate) const DIR: &str = "/home/ann/shop";

/// Makes a project of files below [`DIR`]; an absolute name stays as it is.
pub(crate) fn files(list: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
    list.iter()
        .map(|(name, text)| {
            let path = if name.starts_with('/') {
                (*name).to_owned()
            } else {
                format!("{DIR}/{name}")
            };
            (path, text.as_bytes().to_vec())
        })
        .collect()
}

pub(crate) fn request() -> ProjectRequest {
    ProjectRequest {
        dir: DIR.to_owned(),
        ..ProjectRequest::default()
    }
}

/// Reads a project of several files.
pub(crate) fn read_files(list: &[(&str, &str)]) -> Outcome {
    read_project(&files(list), &request())
}

/// Reads a project of one file.
pub(crate) fn read(text: &str) -> Outcome {
    read_files(&[("compose.yaml", text)])
}

/// Reads a project of one file with grants.
pub(crate) fn read_granted(text: &str, grants: &[daas_model::Grant]) -> Outcome {
    let request = ProjectRequest {
        policy: Policy {
            grants: grants.iter().cloned().collect(),
        },
        ..request()
    };
    read_project(&files(&[("compose.yaml", text)]), &request)
}

/// Returns everything that is told, as the command line prints it.
pub(crate) fn told(outcome: &Outcome) -> String {
    let lines: Vec<String> = outcome
        .diagnostics
        .iter()
        .map(ToString::to_string)
        .collect();
    lines.join("\n")
}

/// Returns the codes of everything that is told.
pub(crate) fn codes(outcome: &Outcome) -> Vec<&str> {
    outcome
        .diagnostics
        .iter()
        .map(|d| d.code.as_str())
        .collect()
}

/// Returns the stand of a project that has no errors.
pub(crate) fn spec(outcome: &Outcome) -> &StandSpec {
    assert!(outcome.spec.is_some(), "{}", told(outcome));
    outcome.spec.as_ref().unwrap()
}

/// Returns node `name` of a project of one file that has no errors.
pub(crate) fn node(text: &str, name: &str) -> NodeSpec {
    let outcome = read(text);
    let node = spec(&outcome)
        .nodes
        .iter()
        .find(|(n, _)| n.as_str() == name);
    node.unwrap_or_else(|| panic!("no node {name}")).1.clone()
}

/// Returns service `s` with the given lines, which stand below it without indentation.
pub(crate) fn service(lines: &str) -> String {
    let indented: String = lines.lines().map(|l| format!("    {l}\n")).collect();
    format!("services:\n  s:\n    image: i\n{indented}")
}

/// Returns the stand as JSON without whatever says nothing: defaults of nodes, empty lists and maps, false flags.
pub(crate) fn short(spec: &StandSpec) -> Value {
    let mut value = serde_json::to_value(spec).unwrap();
    let plain = NodeSpec::new(
        ServiceName::parse("x").unwrap(),
        ImageName::parse("x").unwrap(),
    );
    let plain = serde_json::to_value(plain).unwrap();
    for node in value["nodes"].as_object_mut().unwrap().values_mut() {
        let node = node.as_object_mut().unwrap();
        node.retain(|key, value| key == "network" || plain.get(key) != Some(&*value));
    }
    if let Some(files) = value["files"].as_object_mut() {
        files.values_mut().for_each(bytes_to_text);
    }
    prune(&mut value);
    value
}

/// Bytes of configs and secrets are texts to a person.
fn bytes_to_text(value: &mut Value) {
    let bytes = value.as_array().into_iter().flatten();
    let bytes: Vec<u8> = bytes
        .filter_map(|v| u8::try_from(v.as_u64()?).ok())
        .collect();
    *value = Value::String(String::from_utf8_lossy(&bytes).into_owned());
}

fn prune(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.values_mut().for_each(prune);
            let all = std::mem::take(map).into_iter();
            // An empty `tmpfs` says that there is one.
            let kept: Map<String, Value> = all
                .filter(|(key, v)| key == "tmpfs" || !is_nothing(v))
                .collect();
            *map = kept;
        }
        Value::Array(list) => list.iter_mut().for_each(prune),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(set) => !set,
        Value::Null | Value::Number(_) | Value::String(_) => false,
    }
}
