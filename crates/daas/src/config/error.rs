//! What is wrong with a configuration, where, and what was probably meant.

use serde_saphyr::{MessageFormatter, UserMessageFormatter};
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// A configuration that cannot be used.
#[derive(Debug, Error)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The file says something that does not exist or does not fit.
    #[error("cannot understand {place}: {words}")]
    Parse {
        /// The file, with line and column where they are known.
        place: String,
        words: String,
        /// What was probably meant.
        meant: Option<String>,
    },
    /// A value has no sense.
    #[error("cannot understand {} in {}", key, path.display())]
    Value {
        path: PathBuf,
        key: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl ConfigError {
    /// Tells in a person's words what the reader of YAML found in the file at `path`.
    pub(super) fn parse(path: &Path, error: &serde_saphyr::Error) -> Self {
        let error = error.without_snippet();
        let place = match error.location() {
            Some(at) if at.line() > 0 => {
                format!("{}:{}:{}", path.display(), at.line(), at.column())
            }
            _ => path.display().to_string(),
        };
        let known = |word: &str, expected: &[&'static str]| {
            daas_spec::nearest(word, expected.iter().copied()).map_or_else(
                || format!("known here: {}", expected.join(", ")),
                |near| format!("did you mean `{near}`?"),
            )
        };
        let (words, meant) = match error {
            serde_saphyr::Error::SerdeUnknownField {
                field, expected, ..
            } => (
                format!("there is no key `{}` here", field.escape_debug()),
                Some(known(field, expected)),
            ),
            serde_saphyr::Error::SerdeUnknownVariant {
                variant, expected, ..
            } => (
                format!("`{}` is none of the values", variant.escape_debug()),
                Some(known(variant, expected)),
            ),
            other => (
                UserMessageFormatter.format_message(other).into_owned(),
                None,
            ),
        };
        Self::Parse {
            place,
            words,
            meant,
        }
    }
}

impl daas_model::Explain for ConfigError {
    fn code(&self) -> &'static str {
        match self {
            Self::Read { .. } => "config-read",
            Self::Parse { .. } => "config-parse",
            Self::Value { .. } => "config-value",
        }
    }

    fn kind(&self) -> daas_model::Kind {
        daas_model::Kind::Input
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Parse {
                meant: Some(meant), ..
            } => Some(meant.clone()),
            _ => Some("docs/reference/configuration.md lists every key with its default".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use daas_model::Explain;
    use std::path::Path;

    #[test]
    fn a_fault_is_told_with_its_place_and_what_was_meant() {
        for (text, words, hint) in [
            (
                "state: /x\ndns:\n  lisen: [a]\n",
                "cannot understand daas.yaml:3:3: there is no key `lisen` here",
                "did you mean `listen`?",
            ),
            (
                "egress: {nothing: 1}\n",
                "cannot understand daas.yaml:1:10: there is no key `nothing` here",
                "known here: allow",
            ),
            (
                "listen: [{address: '127.0.0.1:1', tls: true, clients: {anna: operatr}}]\n",
                "cannot understand daas.yaml:1:62: `operatr` is none of the values",
                "did you mean `operator`?",
            ),
            (
                "dns:\n  listen: [a]\n",
                "cannot understand daas.yaml:2:12: invalid socket address syntax",
                "docs/reference/configuration.md lists every key with its default",
            ),
        ] {
            let error = Config::parse(Path::new("daas.yaml"), text).unwrap_err();
            assert_eq!(error.to_string(), words);
            assert_eq!(error.hint().unwrap(), hint);
            assert!(std::error::Error::source(&error).is_none());
        }
        for text in [
            "state: [\n",
            "state: /a\nstate: /b\n",
            "- a\n",
            "\t: x\n",
            "a: *b\n",
        ] {
            let error = Config::parse(Path::new("daas.yaml"), text).unwrap_err();
            let words = error.to_string();
            assert!(words.starts_with("cannot understand daas.yaml:"), "{words}");
            assert!(!words.contains('\n') && words.len() < 200, "{words}");
        }
    }
}
