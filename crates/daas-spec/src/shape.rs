//! The walk over all keys of a project: known, without effect, or unknown.

use crate::keys::{Below, Fate, Key, TOP, X_DAAS, X_DAAS_SERVICE};
use crate::nearest::nearest;
use crate::node::{Entry, Map, Node, Value};
use crate::report::Report;
use crate::template::short;
use daas_model::{Diagnostic, Severity};

/// Looks at every key of the merged project.
pub(crate) fn check_keys(root: &Map, report: &mut Report) {
    let mut walk = Walk {
        path: Vec::new(),
        report,
        told: true,
    };
    walk.map(root, TOP, "the top level");
    if let Some(entry) = root.entry("x-daas") {
        walk.path.push("x-daas".to_owned());
        match &entry.value.value {
            Value::Map(map) => walk.map(map, X_DAAS, "`x-daas`"),
            Value::Null => {}
            Value::Text(_) | Value::List(_) => report.error(
                entry.value.at,
                "type-wrong",
                format!("`x-daas` is {}", entry.value.kind()),
                "write for example `x-daas: {egress: none}`",
            ),
        }
    }
}

struct Walk<'r> {
    path: Vec<String>,
    report: &'r mut Report,
    /// Whether keys without effect are told: not below a key that has none itself.
    told: bool,
}

impl Walk<'_> {
    fn map(&mut self, map: &Map, known: &'static [Key], place: &str) {
        for entry in &map.entries {
            // Any tool may keep its own under `x-`; ours at the top is looked at apart.
            if entry.key.starts_with("x-") {
                let describes =
                    matches!(self.path.as_slice(), [section, _] if section == "services");
                if entry.key == "x-daas" && describes {
                    self.describes(entry);
                } else if entry.key == "x-daas" && !self.path.is_empty() {
                    let key = format!("{}.x-daas", self.path.join("."));
                    self.report.ignore(
                        Severity::Warning,
                        entry.at,
                        &key,
                        "`x-daas` is read at the top level and in a service only",
                    );
                }
                continue;
            }
            let Some(key) = known.iter().find(|k| k.name == entry.key) else {
                self.unknown(entry, known, place);
                continue;
            };
            self.path.push(entry.key.clone());
            let told_before = self.told;
            if self.told && says_something(&entry.value) {
                let shown = self.path.join(".");
                match key.fate {
                    Fate::Honoured => {}
                    Fate::Noted(why) => self.report.ignore(Severity::Note, entry.at, &shown, why),
                    Fate::Warned(why) => {
                        self.report.ignore(Severity::Warning, entry.at, &shown, why);
                    }
                }
            }
            self.told = told_before && key.fate == Fate::Honoured;
            self.below(&entry.value, key.below);
            self.told = told_before;
            self.path.pop();
        }
    }

    /// Looks at the keys that describe a service's image.
    fn describes(&mut self, entry: &Entry) {
        self.path.push("x-daas".to_owned());
        match &entry.value.value {
            Value::Map(map) => {
                let place = format!("`{}`", self.path.join("."));
                self.map(map, X_DAAS_SERVICE, &place);
            }
            Value::Null => {}
            Value::Text(_) | Value::List(_) => self.report.error(
                entry.value.at,
                "type-wrong",
                format!("`x-daas` is {}", entry.value.kind()),
                "write for example `x-daas: {base: debian:bookworm, packages: [nginx]}`",
            ),
        }
        self.path.pop();
    }

    fn below(&mut self, node: &Node, below: Below) {
        let place = match self.path.as_slice() {
            [section, name] if section != "x-daas" => {
                format!("{} `{}`", section.trim_end_matches('s'), short(name))
            }
            path => format!("`{}`", path.join(".")),
        };
        match (below, &node.value) {
            (Below::Keys(known), Value::Map(map)) => {
                self.map(map, known, &format!("`{}`", self.path.join(".")));
            }
            (Below::Named(known), Value::Map(map)) => {
                for entry in &map.entries {
                    self.path.push(short(&entry.key).into_owned());
                    if let Value::Map(inner) = &entry.value.value {
                        let place = match self.path.as_slice() {
                            [section, name] if section != "x-daas" => {
                                format!("{} `{name}`", section.trim_end_matches('s'))
                            }
                            path => format!("`{}`", path.join(".")),
                        };
                        self.map(inner, known, &place);
                    }
                    self.path.pop();
                }
            }
            (Below::Each(known), Value::List(list)) => {
                for item in list {
                    if let Value::Map(inner) = &item.value {
                        self.map(inner, known, &place);
                    }
                }
            }
            _ => {}
        }
    }

    fn unknown(&mut self, entry: &crate::node::Entry, known: &'static [Key], place: &str) {
        if self.report.is_full() {
            self.report
                .error(entry.at, "key-unknown", String::new(), String::new());
            return;
        }
        let names = known.iter().map(|k| k.name);
        let message = format!("`{}` is no key of {place}", short(&entry.key));
        let mut diagnostic = Diagnostic::error("key-unknown", message);
        if let Some(near) = nearest(&entry.key, names) {
            diagnostic = diagnostic.hint(format!("did you mean `{near}`?"));
        } else if self.path.is_empty() && crate::keys::SERVICE.iter().any(|k| k.name == entry.key) {
            diagnostic = diagnostic.hint("it belongs into a service, below `services:`");
        } else if self.path.first().is_some_and(|p| p == "services")
            && self.path.len() == 2
            && TOP.iter().any(|k| k.name == entry.key)
        {
            diagnostic = diagnostic.hint("it belongs to the top level: check the indentation");
        } else if self.path.is_empty()
            && matches!(&entry.value.value, Value::Map(m) if m.get("image").is_some())
        {
            diagnostic = diagnostic.hint("a service stands below `services:`");
        } else if known.len() <= 10 {
            let list: Vec<String> = known.iter().map(|k| format!("`{}`", k.name)).collect();
            diagnostic = diagnostic.hint(format!(
                "known are {}; a key of your own begins with `x-`",
                list.join(", ")
            ));
        } else {
            diagnostic = diagnostic.hint("a key of your own begins with `x-`");
        }
        self.report.say(entry.at, diagnostic);
    }
}

/// Tells whether a value is more than nothing, an empty list or an empty map.
fn says_something(node: &Node) -> bool {
    match &node.value {
        Value::Null => false,
        Value::Text(text) => !matches!(text.text.as_str(), "false" | ""),
        Value::List(list) => !list.is_empty(),
        Value::Map(map) => !map.entries.is_empty(),
    }
}
