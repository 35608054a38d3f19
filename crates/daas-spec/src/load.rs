//! Files to one tree: variables, `extends`, `include`, merge - in this order for each file, as in compose-go.

use crate::dotenv::{self, Format};
use crate::extends::Bases;
use crate::include::include_all;
use crate::merge::merge_files;
use crate::node::{At, Node, Weight};
use crate::path;
use crate::reading::{Reading, Scope};
use crate::yaml;

/// One file of a set that is merged.
pub(crate) struct Given {
    /// The absolute path.
    pub(crate) path: String,
    /// Where it is named; for messages.
    pub(crate) named_at: At,
    /// The tree, if it was parsed already.
    pub(crate) parsed: Option<Node>,
}

/// Loads files whose relative paths begin at `base`, and merges the later onto the earlier.
///
/// `trail` holds the files whose `include` led here. Returns nothing if no file has a tree.
pub(crate) fn load_set(
    reading: &mut Reading<'_>,
    set: Vec<Given>,
    base: &str,
    scope: &Scope,
    trail: &mut Vec<String>,
) -> Option<Node> {
    let mut merged: Option<Node> = None;
    for given in set {
        let parsed = match given.parsed {
            Some(node) => Some(node),
            None => reading
                .load(
                    &given.path,
                    base,
                    "the file",
                    given.named_at,
                    "file-missing",
                )
                .map(|(_, node)| node),
        };
        let Some(mut node) = parsed else { continue };
        reading.interpolate(&mut node, scope);
        Bases::new(base, scope).apply(reading, &given.path, &mut node);
        trail.push(given.path);
        include_all(reading, &mut node, base, scope, trail);
        trail.pop();
        merged = Some(match merged {
            Some(earlier) => merge_files(earlier, node, &mut reading.report),
            None => node,
        });
    }
    merged
}

/// Reads environment files into a scope, the later over the earlier; `outer` stands above them.
pub(crate) fn load_env(reading: &mut Reading<'_>, files: &[(String, At)], outer: &Scope) -> Scope {
    let mut scope = Scope::default();
    for (file, named_at) in files {
        let Some(bytes) =
            reading.bytes(file, "the environment file", *named_at, "env-file-missing")
        else {
            continue;
        };
        let lines = bytes.iter().filter(|b| **b == b'\n').count() + 1;
        let weight = Weight {
            nodes: lines,
            bytes: bytes.len(),
        };
        if !reading.may_grow(weight, *named_at) {
            continue;
        }
        let shown = path::shown(file, &reading.dir);
        let source = reading
            .report
            .add_source(shown, path::parent(file).to_owned());
        let Some(text) = yaml::decode(&bytes, source, &mut reading.report) else {
            continue;
        };
        let (request, env_read, report) =
            (reading.request, &mut reading.env_read, &mut reading.report);
        let mut lookup = |name: &str| {
            if let Some(value) = request.env.get(name) {
                env_read.insert(name.to_owned(), value.clone());
                return Some(value.clone());
            }
            outer
                .vars
                .get(name)
                .or_else(|| scope.vars.get(name))
                .cloned()
        };
        let found = dotenv::parse(text, source, Format::Compose, &mut lookup, report);
        scope
            .vars
            .extend(found.into_iter().filter_map(|v| Some((v.name, v.value?))));
    }
    scope
        .vars
        .extend(outer.vars.iter().map(|(k, v)| (k.clone(), v.clone())));
    scope
}
