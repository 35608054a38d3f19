//! What runs in a node, as whom, and where.

use super::{Desk, Who};
use crate::node::{At, Map, Node, Value};
use crate::template::short;
use crate::value;
use crate::words;
use daas_model::{Diagnostic, Grant, Hook, NodeSpec};
use std::collections::BTreeMap;

/// The most ids of a stand's user namespace; an id above has no owner inside (threat S30).
pub(super) const MAX_ID: u64 = 65_535;
/// The most bytes of one argument (Linux, `MAX_ARG_STRLEN`).
const MAX_ARGUMENT: usize = 131_071;

pub(super) fn read(desk: &mut Desk<'_, '_>, who: Who<'_>, map: &Map, spec: &mut NodeSpec) {
    spec.entrypoint = map
        .get("entrypoint")
        .and_then(|n| command(desk, n, &who.key("entrypoint")));
    spec.command = map
        .get("command")
        .and_then(|n| command(desk, n, &who.key("command")));
    spec.working_dir = map
        .get("working_dir")
        .and_then(|n| folder(desk, n, &who.key("working_dir")));
    spec.user = map
        .get("user")
        .and_then(|n| user(desk, n, &who.key("user")));
    if let Some(node) = map.get("group_add") {
        let what = who.key("group_add");
        for (group, at) in value::texts(desk.report(), node, &what) {
            if is_id_or_name(desk, group, at, &what) {
                spec.group_add.push(group.to_owned());
            }
        }
    }
    spec.post_start = hooks(desk, who, map, "post_start");
    spec.pre_stop = hooks(desk, who, map, "pre_stop");
}

/// Returns program and arguments: a list as it stands, a text cut into words; nothing for null.
pub(super) fn command(desk: &mut Desk<'_, '_>, node: &Node, what: &str) -> Option<Vec<String>> {
    let words: Vec<String> = match &node.value {
        Value::Null | Value::Map(_) => {
            if !node.is_null() {
                value::wrong(desk.report(), node, what, "a text or a list of words");
            }
            return None;
        }
        Value::Text(_) => {
            let text = value::text(desk.report(), node, what)?;
            if text.len() > MAX_ARGUMENT {
                too_long(desk, node, what);
                return None;
            }
            match words::split(text) {
                Ok(words) => words,
                Err(fault) => {
                    desk.report().say(
                        node.at,
                        Diagnostic::error(
                            "command-quoting",
                            format!("{what} cannot be cut into words"),
                        )
                        .because(fault.to_string())
                        .hint("write it as a list, one word for each entry"),
                    );
                    return None;
                }
            }
        }
        Value::List(_) => value::texts(desk.report(), node, what)
            .into_iter()
            .map(|(word, _)| word.to_owned())
            .collect(),
    };
    if words.iter().any(|w| w.len() > MAX_ARGUMENT) {
        too_long(desk, node, what);
        return None;
    }
    Some(words)
}

fn too_long(desk: &mut Desk<'_, '_>, node: &Node, what: &str) {
    let message = format!("{what} has more than {MAX_ARGUMENT} bytes");
    let hint = "the kernel takes no longer word; put it into a file with `configs`";
    desk.report()
        .error(node.at, "command-too-long", message, hint);
}

/// Returns an absolute folder inside a node.
fn folder(desk: &mut Desk<'_, '_>, node: &Node, what: &str) -> Option<String> {
    let text = value::text(desk.report(), node, what)?;
    if text.is_empty() {
        return None;
    }
    if !text.starts_with('/') {
        desk.report().error(
            node.at,
            "path-relative",
            format!("{what} is `{}`", short(text)),
            "write a path inside the node that begins with `/`",
        );
        return None;
    }
    Some(crate::path::join("/", text))
}

/// Returns `user` or `user:group`; an empty text means the image's own.
pub(super) fn user(desk: &mut Desk<'_, '_>, node: &Node, what: &str) -> Option<String> {
    let text = value::text(desk.report(), node, what)?;
    if text.is_empty() {
        return None;
    }
    let (user, group) = text
        .split_once(':')
        .map_or((text, None), |(u, g)| (u, Some(g)));
    let fits = is_id_or_name(desk, user, node.at, what)
        && group.is_none_or(|g| is_id_or_name(desk, g, node.at, what));
    fits.then(|| text.to_owned())
}

/// Checks a user or group: a number that exists in the stand, or a name.
fn is_id_or_name(desk: &mut Desk<'_, '_>, text: &str, at: At, what: &str) -> bool {
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if is_number
        || text
            .strip_prefix('-')
            .is_some_and(|t| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit()))
    {
        let fits = text.parse::<u64>().is_ok_and(|id| id <= MAX_ID);
        if !fits {
            desk.report().say(
                at,
                Diagnostic::error(
                    "id-out-of-range",
                    format!("{what} has the id `{}`", short(text)),
                )
                .because("a stand has the ids 0 to 65535, its own and none of the host's")
                .hint("choose an id up to 65535, or a name of the image"),
            );
        }
        return fits;
    }
    let is_name = text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-$".contains(&b));
    if !is_name {
        let hint = if text.is_empty() {
            "a variable may be empty; write `user`, `user:group`, by name or number"
        } else {
            "write a name of the image or a number, `user` or `user:group`"
        };
        desk.report().error(
            at,
            "user-wrong",
            format!("{what} names `{}`", short(text)),
            hint,
        );
    }
    is_name
}

fn hooks(desk: &mut Desk<'_, '_>, who: Who<'_>, map: &Map, key: &str) -> Vec<Hook> {
    let Some(node) = map.get(key) else {
        return Vec::new();
    };
    let what = who.key(key);
    let list = value::list(desk.report(), node, &what);
    list.iter()
        .filter_map(|item| hook(desk, who, item, key))
        .collect()
}

fn hook(desk: &mut Desk<'_, '_>, who: Who<'_>, item: &Node, key: &str) -> Option<Hook> {
    let what = format!("a hook in {}", who.key(key));
    let map = value::map(desk.report(), item, &what)?;
    let Some(command_node) = map.get("command").filter(|n| !n.is_null()) else {
        desk.report().error(
            item.at,
            "hook-empty",
            format!("{what} has no `command`"),
            "write `- command: [\"program\", \"argument\"]`",
        );
        return None;
    };
    let command = command(desk, command_node, &format!("`command` of {what}"))?;
    if command.is_empty() {
        desk.report().error(
            command_node.at,
            "hook-empty",
            format!("{what} has an empty `command`"),
            "write `- command: [\"program\", \"argument\"]`",
        );
        return None;
    }
    if let Some(node) = map.get("privileged")
        && value::boolean(desk.report(), node, &format!("`privileged` of {what}")) == Some(true)
        && desk.granted(
            node.at,
            &Grant::Privileged,
            format!("{what} asks to be privileged"),
            "it could change the host",
        )
    {
        let key = format!("services.{}.{key}.privileged", who.name);
        desk.report().ignore(
            daas_model::Severity::Warning,
            node.at,
            &key,
            "a hook runs with the rights of its node",
        );
    }
    let mut environment = BTreeMap::new();
    if let Some(node) = map.get("environment") {
        for pair in value::pairs(desk.report(), node, &format!("`environment` of {what}")) {
            if let Some(value) = pair.value.or_else(|| desk.variable(&pair.name)) {
                environment.insert(pair.name, value);
            }
        }
    }
    let user = map
        .get("user")
        .and_then(|n| user(desk, n, &format!("`user` of {what}")));
    let working_dir = map
        .get("working_dir")
        .and_then(|n| folder(desk, n, &format!("`working_dir` of {what}")));
    Some(Hook {
        command,
        user,
        working_dir,
        environment,
    })
}
