//! Merging of override files, bases and includes (Compose Specification, "Merge and override").

use crate::node::{Entry, FAULTY, Map, MergeTag, Node, Value};
use crate::port::unique_key as port_key;
use crate::report::Report;
use daas_model::Diagnostic;
use std::collections::{HashMap, HashSet};

/// How two values of the same key become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// Maps entry by entry, lists one behind the other, single values replaced.
    Deep,
    /// The later value replaces the earlier one.
    Replace,
    /// `NAME=value` lists and maps alike, by name.
    Pairs,
    /// Lists of names and maps alike, by name.
    Named,
    /// A single value or a list; both become one list without repetition.
    Texts,
    /// Lists whose elements replace each other by a key.
    Unique(KeyOf),
    /// `extra_hosts`: both forms become one list, for a name may have several addresses.
    Hosts,
    /// `build`: a text is its context.
    Build,
    /// `logging`: options of another driver make no sense.
    Logging,
}

/// What makes two elements of a list the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeyOf {
    MountTarget,
    DeviceTarget,
    FileTarget(&'static str),
    Port,
    Subnet,
    EnvFile,
}

/// Returns the rule for the value at `path`; keys chosen by the user are `*` in the table.
fn rule_of(path: &[&str]) -> Rule {
    match path {
        ["services", _, rest @ ..] => service_rule(rest),
        ["networks" | "volumes" | "secrets" | "configs", _, "labels"] => Rule::Pairs,
        ["networks", _, "ipam", "config"] => Rule::Unique(KeyOf::Subnet),
        _ => Rule::Deep,
    }
}

fn service_rule(path: &[&str]) -> Rule {
    match path {
        ["command" | "entrypoint"] | ["healthcheck", "test"] | ["ulimits", _] => Rule::Replace,
        ["environment" | "labels" | "annotations" | "sysctls"] => Rule::Pairs,
        ["build", "args" | "labels" | "additional_contexts"] | ["deploy", "labels"] => Rule::Pairs,
        ["extra_hosts"] | ["build", "extra_hosts"] => Rule::Hosts,
        ["depends_on" | "networks" | "models"] => Rule::Named,
        [
            "dns"
            | "dns_opt"
            | "dns_search"
            | "tmpfs"
            | "label_file"
            | "cap_add"
            | "cap_drop"
            | "expose"
            | "links"
            | "external_links"
            | "profiles"
            | "security_opt"
            | "group_add"
            | "device_cgroup_rules"
            | "volumes_from",
        ] => Rule::Texts,
        ["networks", _, "aliases" | "link_local_ips"] => Rule::Texts,
        ["env_file"] => Rule::Unique(KeyOf::EnvFile),
        ["volumes"] => Rule::Unique(KeyOf::MountTarget),
        ["devices"] => Rule::Unique(KeyOf::DeviceTarget),
        ["secrets"] => Rule::Unique(KeyOf::FileTarget("/run/secrets/")),
        ["configs"] => Rule::Unique(KeyOf::FileTarget("/")),
        ["ports"] => Rule::Unique(KeyOf::Port),
        ["build"] => Rule::Build,
        ["logging"] => Rule::Logging,
        _ => Rule::Deep,
    }
}

/// Merges `over` onto `base`, both whole files.
pub(crate) fn merge_files(base: Node, over: Node, report: &mut Report) -> Node {
    merge(base, over, &mut Vec::new(), report)
}

/// Merges `over` onto `base`, both one entry of the top-level `section`.
pub(crate) fn merge_entry(section: &str, base: Node, over: Node, report: &mut Report) -> Node {
    merge(
        base,
        over,
        &mut vec![section.to_owned(), "*".to_owned()],
        report,
    )
}

fn merge(base: Node, over: Node, path: &mut Vec<String>, report: &mut Report) -> Node {
    match over.tag {
        MergeTag::Reset | MergeTag::Override => return over,
        MergeTag::None => {}
    }
    if base.tag == MergeTag::Reset {
        return over;
    }
    let parts: Vec<&str> = path.iter().map(String::as_str).collect();
    let rule = rule_of(&parts);
    if rule == Rule::Replace {
        return over;
    }
    // `key:` without a value changes nothing, as in compose-go.
    if over.is_null() {
        return base;
    }
    if base.is_null() {
        return over;
    }
    let (base, over) = match rule {
        Rule::Deep | Rule::Replace => (base, over),
        Rule::Pairs => (pairs(base), pairs(over)),
        Rule::Named => (named(base, &parts), named(over, &parts)),
        Rule::Texts => (listed(base), listed(over)),
        Rule::Hosts => (host_list(base), host_list(over)),
        Rule::Unique(KeyOf::EnvFile) => (listed(base), listed(over)),
        Rule::Unique(_) => (base, over),
        Rule::Build => (context(base), context(over)),
        Rule::Logging => {
            let driver = |node: &Node| {
                node.as_map()
                    .and_then(|m| m.get("driver"))
                    .and_then(Node::as_text)
                    .map(str::to_owned)
            };
            match (driver(&base), driver(&over)) {
                (Some(a), Some(b)) if a != b => return over,
                _ => (base, over),
            }
        }
    };
    let (base_at, base_kind, over_at, over_kind) = (base.at, base.kind(), over.at, over.kind());
    match (base.value, over.value) {
        (Value::Map(base), Value::Map(over)) => Node {
            at: over_at,
            tag: MergeTag::None,
            value: Value::Map(merge_maps(base, over, path, report)),
        },
        (Value::List(mut base), Value::List(over)) => {
            match rule {
                Rule::Unique(key) => unique(&mut base, over, key, path, report),
                Rule::Texts | Rule::Hosts => {
                    let known: HashSet<String> = base
                        .iter()
                        .filter_map(|b| b.as_text().map(str::to_owned))
                        .collect();
                    base.extend(
                        over.into_iter()
                            .filter(|node| node.as_text().is_none_or(|text| !known.contains(text))),
                    );
                }
                _ => base.extend(over),
            }
            Node {
                at: base_at,
                tag: MergeTag::None,
                value: Value::List(base),
            }
        }
        (Value::Text(_), text @ Value::Text(_)) => Node {
            at: over_at,
            tag: MergeTag::None,
            value: text,
        },
        (base, _) => {
            let first = report.place(base_at);
            report.say(
                over_at,
                Diagnostic::error("merge-kinds-differ", format!("`{}` is {over_kind} here and {base_kind} at {first}", path.last().map_or("the file", String::as_str)))
                    .because("the two cannot be merged")
                    .hint("write both in the same form, or tag this one with `!override` to replace the other"),
            );
            Node {
                at: base_at,
                tag: MergeTag::None,
                value: base,
            }
        }
    }
}

fn merge_maps(base: Map, over: Map, path: &mut Vec<String>, report: &mut Report) -> Map {
    let index: HashMap<String, usize> = base
        .index()
        .into_iter()
        .map(|(k, i)| (k.to_owned(), i))
        .collect();
    let mut slots: Vec<Option<Entry>> = base.entries.into_iter().map(Some).collect();
    for entry in over.entries {
        match index.get(&entry.key).and_then(|i| slots.get_mut(*i)) {
            Some(slot) => {
                let Some(old) = slot.take() else { continue };
                path.push(entry.key.clone());
                let value = merge(old.value, entry.value, path, report);
                path.pop();
                *slot = Some(Entry {
                    key: entry.key,
                    at: entry.at,
                    value,
                });
            }
            None => slots.push(Some(entry)),
        }
    }
    Map {
        entries: slots.into_iter().flatten().collect(),
    }
}

fn unique(
    base: &mut Vec<Node>,
    over: Vec<Node>,
    key: KeyOf,
    path: &mut Vec<String>,
    report: &mut Report,
) {
    let mut index: HashMap<String, usize> = base
        .iter()
        .enumerate()
        .filter_map(|(i, node)| Some((key_of(node, key)?, i)))
        .collect();
    for node in over {
        match key_of(&node, key) {
            Some(text) => match index.get(&text).copied() {
                Some(i) if key == KeyOf::Subnet => {
                    let old = std::mem::replace(&mut base[i], Node::new(node.at, Value::Null));
                    path.push("*".to_owned());
                    base[i] = merge(old, node, path, report);
                    path.pop();
                }
                Some(i) => base[i] = node,
                None => {
                    index.insert(text, base.len());
                    base.push(node);
                }
            },
            None => base.push(node),
        }
    }
}

/// Returns what makes the element itself; nothing for one that is faulty, which is told when it is read.
fn key_of(node: &Node, key: KeyOf) -> Option<String> {
    let field = |name: &str| {
        node.as_map()
            .and_then(|m| m.get(name))
            .and_then(Node::as_text)
            .map(str::to_owned)
    };
    match key {
        KeyOf::MountTarget => match node.as_text() {
            Some(text) => {
                let mut parts = text.split(':');
                let first = parts.next()?;
                Some(
                    parts
                        .next()
                        .unwrap_or(first)
                        .trim_end_matches('/')
                        .to_owned(),
                )
            }
            None => field("target").map(|t| t.trim_end_matches('/').to_owned()),
        },
        KeyOf::DeviceTarget => match node.as_text() {
            Some(text) => {
                let mut parts = text.split(':');
                let first = parts.next()?;
                Some(parts.next().unwrap_or(first).to_owned())
            }
            None => field("target").or_else(|| field("source")),
        },
        KeyOf::FileTarget(folder) => match node.as_text() {
            Some(text) => Some(format!("{folder}{text}")),
            None => {
                let target = field("target").or_else(|| field("source"))?;
                Some(if target.starts_with('/') {
                    target
                } else {
                    format!("{folder}{target}")
                })
            }
        },
        KeyOf::Port => port_key(node),
        KeyOf::Subnet => field("subnet"),
        KeyOf::EnvFile => node.as_text().map(str::to_owned).or_else(|| field("path")),
    }
}

/// Turns a list of `NAME=value` into a map; anything else stays as it is.
pub(crate) fn pairs(node: Node) -> Node {
    let (at, tag) = (node.at, node.tag);
    let Value::List(list) = node.value else {
        return node;
    };
    let mut map = Map::default();
    let mut index: HashMap<String, usize> = HashMap::new();
    for item in list {
        let (name, value) = match item.as_text().filter(|t| *t != FAULTY) {
            Some(text) => split_pair(text, &item),
            // A faulty element is kept under a name that no text can have, and told when it is read.
            None => (format!("\u{0}{}", map.entries.len()), item.clone()),
        };
        let entry = Entry {
            key: name.clone(),
            at: item.at,
            value,
        };
        match index.get(&name) {
            Some(i) => map.entries[*i] = entry,
            None => {
                index.insert(name, map.entries.len());
                map.entries.push(entry);
            }
        }
    }
    Node {
        at,
        tag,
        value: Value::Map(map),
    }
}

fn split_pair(text: &str, item: &Node) -> (String, Node) {
    match text.split_once('=') {
        Some((name, value)) => (name.to_owned(), Node::text(item.at, value)),
        None => (text.to_owned(), Node::new(item.at, Value::Null)),
    }
}

/// Turns a list of names into a map without values.
pub(crate) fn named(node: Node, path: &[&str]) -> Node {
    let (at, tag) = (node.at, node.tag);
    let Value::List(list) = node.value else {
        return node;
    };
    let is_dependency = path.last() == Some(&"depends_on");
    let mut map = Map::default();
    let mut known = HashSet::new();
    for item in list {
        let text = item.as_text().filter(|t| *t != FAULTY);
        let name = text.map_or_else(|| format!("\u{0}{}", map.entries.len()), str::to_owned);
        let value = if text.is_none() {
            item.clone()
        } else if is_dependency {
            // The short form says so, and an earlier long form is replaced by it, as in compose-go.
            let condition = Entry {
                key: "condition".to_owned(),
                at: item.at,
                value: Node::text(item.at, "service_started"),
            };
            let required = Entry {
                key: "required".to_owned(),
                at: item.at,
                value: Node::text(item.at, "true"),
            };
            Node::new(
                item.at,
                Value::Map(Map {
                    entries: vec![condition, required],
                }),
            )
        } else {
            Node::new(item.at, Value::Null)
        };
        if known.insert(name.clone()) {
            map.entries.push(Entry {
                key: name,
                at: item.at,
                value,
            });
        }
    }
    Node {
        at,
        tag,
        value: Value::Map(map),
    }
}

fn listed(node: Node) -> Node {
    match node.value {
        Value::Text(_) => Node {
            at: node.at,
            tag: MergeTag::None,
            value: Value::List(vec![node]),
        },
        Value::Null | Value::List(_) | Value::Map(_) => node,
    }
}

/// Turns a map of names to addresses into a list of `name=address`.
fn host_list(node: Node) -> Node {
    let (at, tag) = (node.at, node.tag);
    let Value::Map(map) = node.value else {
        return node;
    };
    let mut list = Vec::new();
    for entry in map.entries {
        let values = match entry.value.value {
            Value::List(values) => values,
            Value::Null | Value::Text(_) | Value::Map(_) => vec![entry.value],
        };
        for value in values {
            match value.as_text() {
                Some(text) => list.push(Node::text(value.at, format!("{}={text}", entry.key))),
                None => list.push(value),
            }
        }
    }
    Node {
        at,
        tag,
        value: Value::List(list),
    }
}

fn context(node: Node) -> Node {
    match node.value {
        Value::Text(_) => {
            let at = node.at;
            Node::new(
                at,
                Value::Map(Map {
                    entries: vec![Entry {
                        key: "context".to_owned(),
                        at,
                        value: node,
                    }],
                }),
            )
        }
        Value::Null | Value::List(_) | Value::Map(_) => node,
    }
}

/// Drops what is tagged `!reset` and forgets the other tags: nothing comes after.
pub(crate) fn settle(node: &mut Node) {
    node.tag = MergeTag::None;
    match &mut node.value {
        Value::Null | Value::Text(_) => {}
        Value::List(list) => {
            list.retain(|n| n.tag != MergeTag::Reset);
            list.iter_mut().for_each(settle);
        }
        Value::Map(map) => {
            map.entries.retain(|e| e.value.tag != MergeTag::Reset);
            map.entries.iter_mut().for_each(|e| settle(&mut e.value));
        }
    }
}

/// Tells whether two trees say the same, wherever they stand.
pub(crate) fn same(a: &Node, b: &Node) -> bool {
    match (&a.value, &b.value) {
        (Value::Null, Value::Null) => true,
        (Value::Text(a), Value::Text(b)) => a.text == b.text,
        (Value::List(a), Value::List(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Map(a), Value::Map(b)) => {
            let index = b.index();
            a.entries.len() == b.entries.len()
                && a.entries.iter().all(|e| {
                    index
                        .get(e.key.as_str())
                        .is_some_and(|i| same(&e.value, &b.entries[*i].value))
                })
        }
        _ => false,
    }
}
