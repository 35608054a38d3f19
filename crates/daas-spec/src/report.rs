use crate::node::At;
use crate::request::Ignored;
use daas_model::{Diagnostic, Diagnostics, Place, Severity};
use std::collections::{BTreeMap, HashSet};

/// The most diagnostics that are told; a person reads no more, and a hostile file shall not fill memory.
const MAX_DIAGNOSTICS: usize = 200;

/// A text that was read.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// The file as a person names it: relative to the project's folder if it lies below.
    pub(crate) shown: String,
    /// Where relative paths in it begin: absolute.
    pub(crate) base: String,
}

/// Collects what there is to say about a project, and knows the name of every source.
#[derive(Debug, Default)]
pub(crate) struct Report {
    sources: Vec<Source>,
    found: Vec<(At, Diagnostic)>,
    seen: HashSet<(At, String)>,
    ignored: Vec<(At, Ignored)>,
    unset: BTreeMap<String, (At, u32)>,
    errors: usize,
    dropped: usize,
}

impl Report {
    /// Adds a source and returns its number.
    pub(crate) fn add_source(&mut self, shown: String, base: String) -> u16 {
        self.sources.push(Source { shown, base });
        // The loader stops at 256 sources, far below.
        u16::try_from(self.sources.len() - 1).unwrap_or(u16::MAX)
    }

    pub(crate) fn base(&self, at: At) -> &str {
        self.sources
            .get(usize::from(at.source))
            .map_or("/", |s| &s.base)
    }

    pub(crate) fn place(&self, at: At) -> Place {
        let file = self
            .sources
            .get(usize::from(at.source))
            .map(|s| s.shown.clone())
            .unwrap_or_default();
        Place {
            file,
            line: at.line,
            column: at.column,
        }
    }

    /// Tells `diagnostic` at `at`, once.
    pub(crate) fn say(&mut self, at: At, diagnostic: Diagnostic) {
        if diagnostic.severity == Severity::Error {
            self.errors += 1;
        }
        if self.found.len() >= MAX_DIAGNOSTICS {
            self.dropped += 1;
            return;
        }
        // An anchor or a base is read by several services: one fault of the text is one diagnostic.
        if self.seen.insert((at, diagnostic.code.clone())) {
            let place = self.place(at);
            self.found.push((at, diagnostic.at(place)));
        }
    }

    pub(crate) fn error(
        &mut self,
        at: At,
        code: &str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.say(at, Diagnostic::error(code, message).hint(hint));
    }

    pub(crate) fn warn(
        &mut self,
        at: At,
        code: &str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.say(
            at,
            Diagnostic::new(Severity::Warning, code, message).hint(hint),
        );
    }

    /// Tells that `key` has no effect here, as a diagnostic and as a line of the plan.
    pub(crate) fn ignore(&mut self, severity: Severity, at: At, key: &str, why: &str) {
        let place = self.place(at);
        let line = Ignored {
            severity,
            key: key.to_owned(),
            why: why.to_owned(),
            place,
        };
        if self.ignored.len() < MAX_DIAGNOSTICS
            && !self.ignored.iter().any(|(a, l)| *a == at && *l == line)
        {
            self.ignored.push((at, line));
        }
        self.say(
            at,
            Diagnostic::new(
                severity,
                "key-unsupported",
                format!("`{key}` has no effect here"),
            )
            .because(why),
        );
    }

    /// Notes that a variable was read and is not set.
    pub(crate) fn unset(&mut self, name: &str, at: At) {
        if self.unset.len() < MAX_DIAGNOSTICS {
            self.unset.entry(name.to_owned()).or_insert((at, 0)).1 += 1;
        }
    }

    /// Tells whether nothing more is shown, so that nobody need look for a hint.
    pub(crate) fn is_full(&self) -> bool {
        self.found.len() >= MAX_DIAGNOSTICS
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// Returns everything in the order of the text.
    pub(crate) fn finish(mut self) -> (Diagnostics, Vec<Ignored>) {
        for (name, (at, count)) in std::mem::take(&mut self.unset) {
            let places = if count == 1 {
                String::new()
            } else {
                format!(", in {count} places")
            };
            let d = Diagnostic::new(
                Severity::Warning,
                "variable-unset",
                format!("variable `{name}` is not set and reads as empty{places}"),
            )
            .hint(format!(
                "set it in the environment or in `.env`, or give a default: `${{{name}:-value}}`"
            ));
            self.say(at, d);
        }
        self.found.sort_by_key(|(at, _)| *at);
        self.ignored.sort_by_key(|(at, _)| *at);
        let mut diagnostics: Diagnostics = self.found.into_iter().map(|(_, d)| d).collect();
        if self.dropped > 0 {
            diagnostics.push(Diagnostic::new(
                if self.errors > 0 {
                    Severity::Error
                } else {
                    Severity::Warning
                },
                "diagnostics-cut",
                format!("{} further diagnostics are not shown", self.dropped),
            ));
        }
        (
            diagnostics,
            self.ignored.into_iter().map(|(_, i)| i).collect(),
        )
    }
}
