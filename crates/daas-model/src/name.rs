use serde::{Deserialize, Serialize};
use std::fmt;

/// A text that is no name of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameError {
    /// What kind of name was wanted.
    pub kind: &'static str,
    /// The text that is not one.
    pub text: String,
    /// The grammar that it breaks.
    pub grammar: &'static str,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: String = self.text.chars().take(80).collect();
        write!(
            f,
            "`{}` is no {} name: it must match {}",
            shown.escape_debug(),
            self.kind,
            self.grammar
        )
    }
}

impl std::error::Error for NameError {}

/// The strict grammar: what may become a DNS label, a cgroup, a folder or a unit without escaping.
const STRICT: &str = "[a-z0-9][a-z0-9-]{0,62}";
/// Compose's grammar for its keys, bounded in length; no leading dot or dash, so that it is a safe folder name.
const COMPOSE: &str = "[a-zA-Z0-9_][a-zA-Z0-9._-]{0,62}";

fn is_strict(text: &str) -> bool {
    let bytes = text.as_bytes();
    matches!(bytes.first(), Some(b'a'..=b'z' | b'0'..=b'9'))
        && bytes.len() <= 63
        && bytes
            .iter()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

fn is_compose(text: &str) -> bool {
    let bytes = text.as_bytes();
    matches!(
        bytes.first(),
        Some(b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_')
    ) && bytes.len() <= 63
        && bytes
            .iter()
            .all(|b| matches!(b, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $kind:literal, $test:ident, $grammar:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// Parses the name.
            ///
            /// # Errors
            /// [`NameError`] if `text` does not match the grammar.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                if $test(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(NameError { kind: $kind, text: text.to_owned(), grammar: $grammar })
                }
            }

            /// Returns the name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $type {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::parse(text)
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::parse(&text)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }
    };
}

name!(
    /// The name of a stand, unique on a host: `[a-z0-9][a-z0-9-]{0,62}`.
    StandName, "stand", is_strict, STRICT
);
name!(
    /// The name of a project: `[a-z0-9][a-z0-9-]{0,62}`.
    ProjectName, "project", is_strict, STRICT
);
name!(
    /// The id of a stand: never used twice, names its folder, cgroup and socket.
    StandId, "stand id", is_strict, STRICT
);
name!(
    /// A compose service, the template of one or more nodes.
    ServiceName, "service", is_compose, COMPOSE
);
name!(
    /// A node of a stand: the service's name, with `-2`, `-3`, ... for further replicas.
    NodeName, "node", is_compose, COMPOSE
);
name!(
    /// A network of a stand.
    NetworkName, "network", is_compose, COMPOSE
);
name!(
    /// A named volume of a stand.
    VolumeName, "volume", is_compose, COMPOSE
);
name!(
    /// A config or secret of a stand. Secrets and configs share one space: `secret.<name>`, `config.<name>`.
    FileName, "file", is_file, FILE
);

const FILE: &str = "(secret|config).[a-zA-Z0-9_][a-zA-Z0-9._-]{0,62}";

fn is_file(text: &str) -> bool {
    text.strip_prefix("secret.")
        .or_else(|| text.strip_prefix("config."))
        .is_some_and(is_compose)
}

impl NodeName {
    /// Returns the name of replica `index` (from 1) of `service`: the first replica bears the plain name.
    ///
    /// # Errors
    /// [`NameError`] if the name becomes too long.
    pub fn of_replica(service: &ServiceName, index: u32) -> Result<Self, NameError> {
        if index <= 1 {
            Self::parse(service.as_str())
        } else {
            Self::parse(&format!("{service}-{index}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nasty_names_are_refused() {
        for text in [
            "",
            "..",
            ".",
            "/",
            "a/b",
            "-rf",
            "--upload-pack=x",
            "$(x)",
            "a\n",
            "a\0",
            "Ä",
            "e\u{301}",
            "\u{202e}abc",
            "😀",
            &"a".repeat(64),
            &"a".repeat(65536),
        ] {
            assert!(StandName::parse(text).is_err(), "{text:?}");
            assert!(NodeName::parse(text).is_err(), "{text:?}");
        }
        assert!(StandName::parse("Shop").is_err());
        assert!(StandName::parse("shop-7").is_ok());
        assert!(ServiceName::parse("my_db.v1").is_ok());
    }

    #[test]
    fn the_first_replica_bears_the_plain_name() {
        let web = ServiceName::parse("web").unwrap();
        assert_eq!(NodeName::of_replica(&web, 1).unwrap().as_str(), "web");
        assert_eq!(NodeName::of_replica(&web, 3).unwrap().as_str(), "web-3");
    }

    proptest! {
        #[test]
        fn every_name_is_one_safe_path_component(text in "\\PC{0,70}") {
            for name in [StandName::parse(&text).map(String::from), NodeName::parse(&text).map(String::from), VolumeName::parse(&text).map(String::from)].into_iter().flatten() {
                prop_assert!(!name.contains('/') && !name.starts_with('.') && !name.starts_with('-') && !name.is_empty() && name.len() <= 63);
            }
        }
    }
}
