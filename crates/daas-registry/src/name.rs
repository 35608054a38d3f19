//! Names of repositories and what stands behind them, parsed at the door.

use daas_image::Digest;
use daas_model::ProjectName;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The longest name of a repository (OCI Distribution Specification 1.1, "Pulling manifests": clients may stop at 255 with the host).
const MOST_NAME: usize = 255;

/// A text that names no repository or tag.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no name of a {kind}", .text.escape_debug())]
pub struct NameError {
    kind: &'static str,
    text: String,
}

impl NameError {
    /// Says how such a name is written.
    pub(crate) fn grammar(&self) -> &'static str {
        match self.kind {
            "repository" => {
                "write `project/name`: lower case letters and digits, joined by `.`, `_` or `-`, in parts with `/` between them"
            }
            "tag" => {
                "a tag is 1 to 128 letters, digits, `_`, `.` and `-`, and begins with none of the last two"
            }
            _ => "write a tag, or a digest such as `sha256:...`",
        }
    }
}

/// The name of a repository: parts of lower case letters and digits, joined by `/`; within a part by `.`, `_`, `__` or dashes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Repository(String);

impl Repository {
    /// Parses a name.
    ///
    /// # Errors
    /// [`NameError`] if it breaks the grammar.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.len() <= MOST_NAME && text.split('/').all(is_part) {
            Ok(Self(text.to_owned()))
        } else {
            Err(bad("repository", text))
        }
    }

    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the first part, which rights and quotas go by: the project, or the host of an outside registry.
    #[must_use]
    pub fn space(&self) -> &str {
        self.0.split('/').next().unwrap_or_default()
    }

    /// Returns the project that it belongs to; nothing if the first part is no project's name.
    #[must_use]
    pub fn project(&self) -> Option<ProjectName> {
        ProjectName::parse(self.space()).ok()
    }
}

/// A part of a name (OCI Distribution Specification 1.1: `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`).
fn is_part(text: &str) -> bool {
    let mut rest = text.as_bytes();
    loop {
        let word = rest
            .iter()
            .take_while(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9'))
            .count();
        if word == 0 {
            return false;
        }
        rest = &rest[word..];
        let joint = match rest {
            [] => return true,
            [b'.', ..] => 1,
            [b'_', b'_', ..] => 2,
            [b'_', ..] => 1,
            [b'-', ..] => rest.iter().take_while(|b| **b == b'-').count(),
            _ => return false,
        };
        rest = &rest[joint..];
    }
}

/// A tag: 1 to 128 letters, digits, `_`, `.`, `-`, the last two not at the beginning.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tag(String);

impl Tag {
    /// Parses a tag.
    ///
    /// # Errors
    /// [`NameError`] if it breaks the grammar.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let bytes = text.as_bytes();
        let good = matches!(
            bytes.first(),
            Some(b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_')
        ) && bytes.len() <= 128
            && bytes
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(bad("tag", text))
        }
    }

    /// Returns the tag.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How a manifest is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// By a name that can be moved.
    Tag(Tag),
    /// By its content.
    Digest(Digest),
}

impl Reference {
    /// Parses a tag or a digest.
    ///
    /// # Errors
    /// [`NameError`] if it is neither.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.contains(':') {
            Digest::parse(text)
                .map(Self::Digest)
                .map_err(|_| bad("manifest", text))
        } else {
            Tag::parse(text).map(Self::Tag)
        }
    }

    /// Returns it as a digest, if it is one, and as a list of at most one tag.
    pub(crate) fn parts(&self) -> (Option<&Digest>, &[Tag]) {
        match self {
            Self::Tag(tag) => (None, std::slice::from_ref(tag)),
            Self::Digest(digest) => (Some(digest), &[]),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.pad(tag.as_str()),
            Self::Digest(digest) => f.pad(digest.as_str()),
        }
    }
}

fn bad(kind: &'static str, text: &str) -> NameError {
    NameError {
        kind,
        text: text.chars().take(100).collect(),
    }
}

macro_rules! text {
    ($type:ident) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
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

text!(Repository);
text!(Tag);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nasty_names_are_refused() {
        for text in [
            "", "/", "a/", "/a", "a//b", ".", "..", "a/..", "../a", "a/./b", "A", "a_", "_a",
            "a___b", "a._b", "a..b", "a b", "a\0b", "é", "a%2fb", "-a", "a-", "a\\b", "a:b", "a@b",
        ] {
            assert!(Repository::parse(text).is_err(), "{text:?}");
        }
        assert!(Repository::parse(&"a".repeat(256)).is_err());
        for text in [
            "a",
            "a/b/c",
            "shop/web-1",
            "a.b/c_d/e__f",
            "a---b",
            "docker.io/library/x",
        ] {
            assert_eq!(Repository::parse(text).unwrap().as_str(), text);
        }
        for text in ["", ".a", "-a", "a/b", "a:b", "..", "a\n", "é"] {
            assert!(Tag::parse(text).is_err(), "{text:?}");
        }
        for text in ["sha256:", "sha256:..", "md5:00", "sha256:ABC", "a:b"] {
            assert!(Reference::parse(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_name_leaves_its_folder(text in "[a-z0-9._/-]{0,24}") {
            if let Ok(name) = Repository::parse(&text) {
                prop_assert!(name.as_str().split('/').all(|p| !p.is_empty() && !p.starts_with('.')));
            }
        }
    }
}
