//! Nodes to values of a wanted kind; a fault is told once, where it stands.

use crate::merge;
use crate::node::{At, FAULTY, Map, Node, Value};
use crate::report::Report;
use crate::template::short;
use daas_model::{ByteSize, Cpus, Diagnostic, Span};
use std::fmt::Display;
use std::str::FromStr;

/// Returns a single value's text; nothing for null and for what is told as faulty.
pub(crate) fn text<'n>(report: &mut Report, node: &'n Node, what: &str) -> Option<&'n str> {
    match &node.value {
        Value::Null => None,
        Value::Text(text) if text.text == FAULTY => None,
        Value::Text(text) => Some(&text.text),
        Value::List(_) | Value::Map(_) => {
            wrong(report, node, what, "a single value");
            None
        }
    }
}

/// Tells that a node is of the wrong kind.
pub(crate) fn wrong(report: &mut Report, node: &Node, what: &str, wanted: &str) {
    if node.as_text() == Some(FAULTY) {
        return;
    }
    report.error(
        node.at,
        "type-wrong",
        format!("{what} is {}", node.kind()),
        format!("write {wanted}"),
    );
}

/// Returns a boolean; the words of YAML 1.1 count, quoted or not.
pub(crate) fn boolean(report: &mut Report, node: &Node, what: &str) -> Option<bool> {
    let text = text(report, node, what)?;
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "y" | "on" => Some(true),
        "false" | "no" | "n" | "off" => Some(false),
        _ => {
            report.error(
                node.at,
                "boolean-wrong",
                format!("{what} is `{}`", short(text)),
                "write `true` or `false`",
            );
            None
        }
    }
}

/// Returns a whole number of `least..=most`.
pub(crate) fn integer<N: FromStr + PartialOrd + Display + Copy>(
    report: &mut Report,
    node: &Node,
    what: &str,
    least: N,
    most: N,
) -> Option<N> {
    let text = text(report, node, what)?;
    match text.trim().parse::<N>() {
        Ok(n) if n >= least && n <= most => Some(n),
        _ => {
            report.error(
                node.at,
                "number-wrong",
                format!("{what} is `{}`", short(text)),
                format!("write a whole number from {least} to {most}"),
            );
            None
        }
    }
}

/// Returns an amount of bytes.
pub(crate) fn size(report: &mut Report, node: &Node, what: &str) -> Option<ByteSize> {
    let text = text(report, node, what)?;
    match ByteSize::parse(text) {
        Ok(size) => Some(size),
        Err(_) => {
            report.error(
                node.at,
                "size-wrong",
                format!("{what} is `{}`", short(text)),
                "write for example `512m`, `2gb`, `1.5g` or a number of bytes",
            );
            None
        }
    }
}

/// Returns an amount of CPUs.
pub(crate) fn cpus(report: &mut Report, node: &Node, what: &str) -> Option<Cpus> {
    let text = text(report, node, what)?;
    match Cpus::parse(text) {
        Ok(cpus) => Some(cpus),
        Err(_) => {
            report.error(
                node.at,
                "cpus-wrong",
                format!("{what} is `{}`", short(text)),
                "write a number of CPUs from 0.01 to 65536, for example `0.5`",
            );
            None
        }
    }
}

/// Returns a length of time.
pub(crate) fn span(report: &mut Report, node: &Node, what: &str) -> Option<Span> {
    let text = text(report, node, what)?;
    match Span::parse(text) {
        Ok(span) => Some(span),
        Err(_) => {
            let hint = if !text.is_empty()
                && text.bytes().all(|b| b.is_ascii_digit())
                && text.len() < 12
            {
                format!("a unit is missing: `{text}s`?")
            } else {
                "write for example `30s`, `1m30s` or `2h`".to_owned()
            };
            report.error(
                node.at,
                "duration-wrong",
                format!("{what} is `{}`", short(text)),
                hint,
            );
            None
        }
    }
}

/// Returns the map; an empty one for null, nothing for what is no map.
pub(crate) fn map<'n>(report: &mut Report, node: &'n Node, what: &str) -> Option<&'n Map> {
    static EMPTY: Map = Map {
        entries: Vec::new(),
    };
    match &node.value {
        Value::Map(map) => Some(map),
        Value::Null => Some(&EMPTY),
        Value::Text(text) if text.text == FAULTY => None,
        Value::Text(_) | Value::List(_) => {
            wrong(report, node, what, "a map of keys and values");
            None
        }
    }
}

/// Returns the list's nodes; none for null and for what is no list.
pub(crate) fn list<'n>(report: &mut Report, node: &'n Node, what: &str) -> &'n [Node] {
    match &node.value {
        Value::List(list) => list,
        Value::Null => &[],
        Value::Text(text) if text.text == FAULTY => &[],
        Value::Text(_) | Value::Map(_) => {
            wrong(report, node, what, "a list");
            &[]
        }
    }
}

/// Returns the texts of a list, each with its place; a single value is a list of one.
pub(crate) fn texts<'n>(report: &mut Report, node: &'n Node, what: &str) -> Vec<(&'n str, At)> {
    match &node.value {
        Value::Text(_) => text(report, node, what)
            .map(|t| (t, node.at))
            .into_iter()
            .collect(),
        Value::List(items) => {
            let entry = format!("an entry of {what}");
            items
                .iter()
                .filter_map(|item| {
                    if item.is_null() {
                        report.error(
                            item.at,
                            "entry-empty",
                            format!("{entry} is empty"),
                            "remove the line, or write a value",
                        );
                        return None;
                    }
                    text(report, item, &entry).map(|t| (t, item.at))
                })
                .collect()
        }
        Value::Null => Vec::new(),
        Value::Map(_) => {
            wrong(report, node, what, "a value or a list of values");
            Vec::new()
        }
    }
}

/// One `NAME=value` of a list or `NAME: value` of a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) name: String,
    /// Nothing where there is only a name.
    pub(crate) value: Option<String>,
    pub(crate) at: At,
}

/// Returns the pairs of a list or map; of one name the last.
pub(crate) fn pairs(report: &mut Report, node: &Node, what: &str) -> Vec<Pair> {
    if let Value::Text(text) = &node.value {
        if text.text != FAULTY {
            wrong(report, node, what, "a map, or a list of `NAME=value`");
        }
        return Vec::new();
    }
    let as_map = merge::pairs(node.clone());
    let mut found = Vec::new();
    for entry in as_map
        .as_map()
        .map(|m| m.entries.as_slice())
        .unwrap_or_default()
    {
        if entry.key.starts_with('\0') {
            if entry.value.as_text() != Some(FAULTY) {
                let kind = entry.value.kind();
                report.error(
                    entry.at,
                    "type-wrong",
                    format!("an entry of {what} is {kind}"),
                    "write `NAME=value`; a text with `: ` or `{` needs quotes",
                );
            }
            continue;
        }
        let of = format!("`{}` of {what}", short(&entry.key));
        match &entry.value.value {
            Value::Null => found.push(Pair {
                name: entry.key.clone(),
                value: None,
                at: entry.at,
            }),
            Value::Text(_) => {
                if let Some(value) = text(report, &entry.value, &of) {
                    found.push(Pair {
                        name: entry.key.clone(),
                        value: Some(value.to_owned()),
                        at: entry.at,
                    });
                }
            }
            Value::List(_) | Value::Map(_) => wrong(
                report,
                &entry.value,
                &of,
                "a single value; quote a text that looks like a list or map",
            ),
        }
    }
    found
}

/// Returns a file mode: octal with a leading `0` or `0o`, or in quotes; a bare decimal number is one, as YAML says.
pub(crate) fn mode(report: &mut Report, node: &Node, what: &str) -> Option<u32> {
    let text_value = text(report, node, what)?;
    let plain = matches!(&node.value, Value::Text(t) if t.plain);
    let digits = text_value.strip_prefix("0o").unwrap_or(text_value);
    let octal = text_value.starts_with('0') || !plain;
    let parsed =
        if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
            None
        } else {
            u32::from_str_radix(digits, if octal { 8 } else { 10 }).ok()
        };
    match parsed.filter(|m| *m <= 0o7777) {
        Some(mode) => {
            if !octal {
                report.say(
                    node.at,
                    Diagnostic::new(
                        daas_model::Severity::Warning,
                        "mode-decimal",
                        format!(
                            "{what} is the decimal number {digits}, which is the mode {mode:04o}"
                        ),
                    )
                    .because("YAML reads a bare number without a leading 0 as decimal")
                    .hint(format!("if you mean the mode {digits}, write `0{digits}`")),
                );
            }
            Some(mode)
        }
        None => {
            report.error(
                node.at,
                "mode-wrong",
                format!("{what} is `{}`", short(text_value)),
                "write an octal mode, for example `0440`",
            );
            None
        }
    }
}
