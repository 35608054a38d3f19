//! Configs and secrets: what they hold, and who sees them.

use super::command::MAX_ID;
use super::{Desk, Who, is_external};
use crate::node::{At, Entry, Map, Node, Value};
use crate::path;
use crate::request::MAX_FILE;
use crate::template::short;
use crate::value;
use daas_model::{Diagnostic, FileGrant, FileName, NodeSpec};
use std::collections::BTreeMap;

/// The mode of a file that names none (Compose Specification, `secrets` and `configs`).
const DEFAULT_MODE: u32 = 0o444;

/// A config or a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Secret,
    Config,
}

impl Kind {
    fn section(self) -> &'static str {
        match self {
            Self::Secret => "secrets",
            Self::Config => "configs",
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::Config => "config",
        }
    }

    /// Returns the folder of targets that are not absolute.
    fn folder(self) -> &'static str {
        match self {
            Self::Secret => "/run/secrets",
            Self::Config => "/",
        }
    }
}

pub(super) fn read(desk: &mut Desk<'_, '_>, who: Who<'_>, map: &Map, spec: &mut NodeSpec) {
    for kind in [Kind::Secret, Kind::Config] {
        let Some(node) = map.get(kind.section()) else {
            continue;
        };
        let what = who.key(kind.section());
        for item in value::list(desk.report(), node, &what) {
            let Some(grant) = grant(desk, who, item, kind, &what) else {
                continue;
            };
            if let Some(other) = spec
                .files
                .iter()
                .find(|f| f.target == grant.target && **f != grant)
            {
                let message = format!(
                    "`{}` and `{}` of service `{}` have the same target `{}`",
                    other.file, grant.file, who.name, grant.target
                );
                desk.report().error(
                    item.at,
                    "target-twice",
                    message,
                    "give one of them another `target`",
                );
            } else if !spec.files.contains(&grant) {
                spec.files.push(grant);
            }
        }
    }
}

fn grant(
    desk: &mut Desk<'_, '_>,
    who: Who<'_>,
    item: &Node,
    kind: Kind,
    what: &str,
) -> Option<FileGrant> {
    let entry = format!("an entry of {what}");
    let (source, source_at, map) = match &item.value {
        Value::Text(_) => (value::text(desk.report(), item, &entry)?, item.at, None),
        Value::Map(map) => {
            let Some(node) = map.get("source").filter(|n| !n.is_null()) else {
                desk.report().error(
                    item.at,
                    "source-missing",
                    format!("{entry} has no `source`"),
                    format!("`source` is the name of a {}", kind.noun()),
                );
                return None;
            };
            (
                value::text(desk.report(), node, &format!("`source` in {what}"))?,
                node.at,
                Some(map),
            )
        }
        Value::Null | Value::List(_) => {
            value::wrong(
                desk.report(),
                item,
                &entry,
                &format!("the name of a {}, or a map with `source`", kind.noun()),
            );
            return None;
        }
    };
    if desk.declared(kind.section(), source).is_none() {
        desk.undeclared(kind.section(), source, source_at, &who);
        return None;
    }
    let file = file_name(desk, kind, source, source_at)?;
    let field = |key: &str| map.and_then(|m| m.get(key)).filter(|n| !n.is_null());
    let target = match field("target") {
        Some(node) => value::text(desk.report(), node, &format!("`target` in {what}"))?.to_owned(),
        None => source.to_owned(),
    };
    let target = path::join(kind.folder(), &target);
    if target == "/" || target == kind.folder() {
        desk.report().error(
            item.at,
            "target-wrong",
            format!("{entry} has the target `{target}`"),
            "name a file",
        );
        return None;
    }
    let mut id = |key: &str| match field(key) {
        Some(node) => value::integer::<u32>(
            desk.report(),
            node,
            &format!("`{key}` in {what}"),
            0,
            u32::try_from(MAX_ID).unwrap_or(u32::MAX),
        ),
        None => Some(0),
    };
    let (uid, gid) = (id("uid")?, id("gid")?);
    let mode = match field("mode") {
        Some(node) => value::mode(desk.report(), node, &format!("`mode` in {what}"))?,
        None => DEFAULT_MODE,
    };
    desk.used_files.entry(file.clone()).or_insert(source_at);
    Some(FileGrant {
        file,
        target,
        uid,
        gid,
        mode,
    })
}

fn file_name(desk: &mut Desk<'_, '_>, kind: Kind, name: &str, at: At) -> Option<FileName> {
    match FileName::parse(&format!("{}.{name}", kind.noun())) {
        Ok(file) => Some(file),
        Err(_) => {
            let message = format!("`{}` is no name of a {}", short(name), kind.noun());
            desk.report().error(
                at,
                "file-name",
                message,
                "write letters, digits, `_`, `.` and `-`, at most 63",
            );
            None
        }
    }
}

/// Reads the contents of all configs and secrets that a service uses.
pub(super) fn contents(desk: &mut Desk<'_, '_>) -> BTreeMap<FileName, Vec<u8>> {
    let mut found = BTreeMap::new();
    for kind in [Kind::Secret, Kind::Config] {
        for entry in desk.section(kind.section()) {
            let Some(name) = file_name(desk, kind, &entry.key, entry.at) else {
                continue;
            };
            if desk.used_files.contains_key(&name)
                && let Some(bytes) = content(desk, kind, entry)
            {
                found.insert(name, bytes);
            }
        }
    }
    found
}

fn content(desk: &mut Desk<'_, '_>, kind: Kind, entry: &Entry) -> Option<Vec<u8>> {
    let what = format!("{} `{}`", kind.noun(), entry.key);
    let map = value::map(desk.report(), &entry.value, &what)?;
    if let Some(at) = is_external(desk.report(), map, &what) {
        desk.report().say(
            at,
            Diagnostic::error("external-unsupported", format!("{what} is external"))
                .because("a stand sees nothing that was made outside of it")
                .hint("give its text by `file`, `environment` or `content`"),
        );
        return None;
    }
    let given: Vec<&Entry> = map
        .entries
        .iter()
        .filter(|e| {
            matches!(e.key.as_str(), "file" | "environment" | "content") && !e.value.is_null()
        })
        .collect();
    let [one] = given.as_slice() else {
        let message = if given.is_empty() {
            format!("{what} has no text")
        } else {
            format!("{what} has several texts")
        };
        desk.report().error(
            entry.at,
            "file-source",
            message,
            "give exactly one of `file`, `environment` and `content`",
        );
        return None;
    };
    let text = value::text(
        desk.report(),
        &one.value,
        &format!("`{}` of {what}", one.key),
    )?;
    match one.key.as_str() {
        "content" => Some(text.as_bytes().to_vec()),
        "environment" => match desk.variable(text) {
            Some(value) => Some(value.into_bytes()),
            None => {
                desk.report().error(
                    one.value.at,
                    "variable-required",
                    format!(
                        "{what} takes the variable `{}`, which is not set",
                        short(text)
                    ),
                    "set it in the environment or in `.env`",
                );
                None
            }
        },
        _ => {
            let text = expand_home(desk, text);
            let file = path::join(desk.reading.report.base(one.value.at), &text);
            let of = format!("the file of {what}");
            let bytes = desk
                .reading
                .bytes(&file, &of, one.value.at, "file-missing")?;
            if bytes.len() > MAX_FILE {
                desk.report().error(
                    one.value.at,
                    "file-too-big",
                    format!("{of} is larger than 1 MiB"),
                    "mount it with `volumes` instead",
                );
                return None;
            }
            Some(bytes)
        }
    }
}

/// Puts the caller's home folder in place of a leading `~/`.
pub(super) fn expand_home(desk: &mut Desk<'_, '_>, text: &str) -> String {
    match text.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => match desk.variable("HOME") {
            Some(home) => format!("{home}{rest}"),
            None => text.to_owned(),
        },
        _ => text.to_owned(),
    }
}
