use serde::{Deserialize, Serialize};
use std::fmt;

/// A place in a text: file, line and column, both counted from 1.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// The file as the user named it.
    pub file: String,
    /// The line, from 1; 0 when the whole file is meant.
    pub line: u32,
    /// The column in characters, from 1; 0 when the whole line is meant.
    pub column: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, self.column) {
            (0, _) => write!(f, "{}", self.file),
            (line, 0) => write!(f, "{}:{line}", self.file),
            (line, column) => write!(f, "{}:{line}:{column}", self.file),
        }
    }
}

/// How bad a diagnostic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Nothing is made while it stands.
    Error,
    /// It is made, but not as the text may suggest.
    Warning,
    /// Worth knowing: accepted and without effect here.
    Note,
}

/// One fault or remark about a text, in the form that every door prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The stable code, in kebab case.
    pub code: String,
    /// What is wrong, lower case, no full stop.
    pub message: String,
    /// Where it is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub place: Option<Place>,
    /// Why it is wrong.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cause: Option<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hint: Option<String>,
}

/// Every fault and remark about one project, in the order of the text.
pub type Diagnostics = Vec<Diagnostic>;

impl Diagnostic {
    /// Makes a diagnostic without place, cause or hint.
    #[must_use]
    pub fn new(severity: Severity, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            severity,
            code: code.into(),
            message: message.into(),
            place: None,
            cause: None,
            hint: None,
        }
    }

    /// Makes an error.
    #[must_use]
    pub fn error(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, message)
    }

    /// Adds the place.
    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn because(mut self, cause: impl Into<String>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Adds the hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Diagnostic {
    /// Prints `error[code]: message (place)`, then `  caused by:` and `  hint:` lines.
    ///
    /// Control and bidirectional characters of the user's text are shown escaped (threat S28).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        };
        write!(f, "{word}[{}]: {}", self.code, visible(&self.message))?;
        if let Some(place) = &self.place {
            write!(f, "\n  --> {}", visible(&place.to_string()))?;
        }
        if let Some(cause) = &self.cause {
            write!(f, "\n  caused by: {}", visible(cause))?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {}", visible(hint))?;
        }
        Ok(())
    }
}

/// Returns `text` with control characters and bidirectional overrides escaped, line feeds included.
#[must_use]
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let bidi = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{061c}');
        if c.is_control() || bidi {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn diagnostic_prints_code_place_cause_and_hint() {
        let d = Diagnostic::error("port-out-of-range", "port `70000` does not exist")
            .at(Place {
                file: "compose.yaml".into(),
                line: 7,
                column: 9,
            })
            .because("a port is 1 to 65535")
            .hint("write a port between 1 and 65535");
        assert_eq!(
            d.to_string(),
            "error[port-out-of-range]: port `70000` does not exist\n  --> compose.yaml:7:9\n  caused by: a port is 1 to 65535\n  hint: write a port between 1 and 65535"
        );
    }

    #[test]
    fn control_and_bidi_characters_are_shown_escaped() {
        let d = Diagnostic::error("x", "a\u{1b}[2J\u{202e}b\n");
        assert_eq!(d.to_string(), "error[x]: a\\u{1b}[2J\\u{202e}b\\u{a}");
    }
}
