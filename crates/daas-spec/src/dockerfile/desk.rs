use super::instruction::Spot;
use daas_model::{Diagnostic, Diagnostics, Place, Severity};
use std::collections::{BTreeMap, BTreeSet};

/// The most diagnostics that are told.
const MAX_DIAGNOSTICS: usize = 200;

/// Which checks are left out: `# check=skip=...` of the file, and above one instruction.
#[derive(Debug, Clone, Default)]
pub(crate) struct Skips {
    pub(crate) all: bool,
    pub(crate) rules: BTreeSet<String>,
}

/// Collects what there is to say about one Dockerfile.
#[derive(Debug)]
pub(crate) struct Desk {
    file: String,
    found: Vec<(Spot, Diagnostic)>,
    errors: usize,
    dropped: usize,
    /// `# check=error=true`: what a check finds is an error.
    pub(crate) strict: bool,
    /// The file's own skips, those of the instruction at hand, and those of all by the line where they begin.
    pub(crate) skips: Skips,
    pub(crate) step_skips: Skips,
    pub(crate) local_skips: BTreeMap<u32, Skips>,
}

impl Desk {
    pub(crate) fn new(file: &str) -> Self {
        Self {
            file: file.to_owned(),
            found: Vec::new(),
            errors: 0,
            dropped: 0,
            strict: false,
            skips: Skips::default(),
            step_skips: Skips::default(),
            local_skips: BTreeMap::new(),
        }
    }

    pub(crate) fn say(&mut self, at: Spot, diagnostic: Diagnostic) {
        if diagnostic.severity == Severity::Error {
            self.errors += 1;
        }
        if self.found.len() >= MAX_DIAGNOSTICS {
            self.dropped += 1;
            return;
        }
        let place = Place {
            file: self.file.clone(),
            line: at.line,
            column: at.column,
        };
        self.found.push((at, diagnostic.at(place)));
    }

    pub(crate) fn error(
        &mut self,
        at: Spot,
        code: &str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.say(at, Diagnostic::error(code, message).hint(hint));
    }

    pub(crate) fn warn(
        &mut self,
        at: Spot,
        code: &str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.say(
            at,
            Diagnostic::new(Severity::Warning, code, message).hint(hint),
        );
    }

    /// Tells a finding of the check `rule`, named as `BuildKit` names it, unless the file skips it.
    pub(crate) fn check(
        &mut self,
        at: Spot,
        rule: &str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        let skipped = |s: &Skips| s.all || s.rules.contains(rule);
        if skipped(&self.skips)
            || skipped(&self.step_skips)
            || self.local_skips.get(&at.line).is_some_and(skipped)
        {
            return;
        }
        let severity = if self.strict {
            Severity::Error
        } else {
            Severity::Warning
        };
        self.say(
            at,
            Diagnostic::new(severity, code_of(rule), message).hint(hint),
        );
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// Returns everything in the order of the text.
    pub(crate) fn finish(mut self) -> Diagnostics {
        self.found.sort_by_key(|(at, _)| *at);
        let mut all: Diagnostics = self.found.into_iter().map(|(_, d)| d).collect();
        if self.dropped > 0 {
            let severity = if self.errors > 0 {
                Severity::Error
            } else {
                Severity::Warning
            };
            all.push(Diagnostic::new(
                severity,
                "diagnostics-cut",
                format!("{} further diagnostics are not shown", self.dropped),
            ));
        }
        all
    }
}

/// Returns the code of a check: `JSONArgsRecommended` is `json-args-recommended`.
fn code_of(rule: &str) -> String {
    let chars: Vec<char> = rule.chars().collect();
    let mut code = String::with_capacity(rule.len() + 4);
    for (i, c) in chars.iter().enumerate() {
        let starts_word = c.is_uppercase()
            && i > 0
            && (chars[i - 1].is_lowercase() || chars.get(i + 1).is_some_and(|n| n.is_lowercase()));
        if starts_word {
            code.push('-');
        }
        code.extend(c.to_lowercase());
    }
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_of_a_check_is_its_name_in_kebab_case() {
        for (rule, code) in [
            ("JSONArgsRecommended", "json-args-recommended"),
            ("StageNameCasing", "stage-name-casing"),
            ("SecretsUsedInArgOrEnv", "secrets-used-in-arg-or-env"),
        ] {
            assert_eq!(code_of(rule), code);
        }
    }
}
