use serde::{Deserialize, Serialize};
use std::fmt;

/// A text that names no image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageNameError {
    text: String,
    why: &'static str,
}

impl fmt::Display for ImageNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` names no image: {}",
            self.text.escape_debug(),
            self.why
        )
    }
}

impl std::error::Error for ImageNameError {}

/// The full name of an image: `registry/repository:tag@digest`.
///
/// Short names are completed as Docker does: `nginx` is `docker.io/library/nginx:latest`
/// (grammar: OCI Distribution Specification 1.1, "Pulling manifests").
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageName {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<String>,
}

/// The name by which every stand finds the registry of the house, and by which images of it can always be named.
///
/// `.internal` is nobody's outside (ICANN, 2024: reserved for private use).
pub const OWN_REGISTRY: &str = "registry.daas.internal";

/// The registry that a name without one means.
const DEFAULT_REGISTRY: &str = "docker.io";

impl ImageName {
    /// Parses a name and completes it.
    ///
    /// # Errors
    /// [`ImageNameError`] if a part breaks its grammar.
    pub fn parse(text: &str) -> Result<Self, ImageNameError> {
        let bad = |why| ImageNameError {
            text: text.chars().take(120).collect(),
            why,
        };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) if is_digest(digest) => (rest, Some(digest.to_owned())),
            Some(_) => {
                return Err(bad(
                    "a digest is `sha256:` and 64 hexadecimal digits, or `sha512:` and 128",
                ));
            }
            None => (text, None),
        };
        let (path, tag) = match rest.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => {
                if !is_tag(tag) {
                    return Err(bad(
                        "a tag is 1 to 128 letters, digits, `_`, `.`, `-`, and begins with none of the last two",
                    ));
                }
                (path, Some(tag.to_owned()))
            }
            _ => (rest, None),
        };
        let (registry, repository) = match path.split_once('/') {
            Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => {
                (first, rest.to_owned())
            }
            Some(_) => (DEFAULT_REGISTRY, path.to_owned()),
            None => (DEFAULT_REGISTRY, path.to_owned()),
        };
        // `docker.io/nginx` is `docker.io/library/nginx`, as Docker reads it.
        let repository = if registry == DEFAULT_REGISTRY && !repository.contains('/') {
            format!("library/{repository}")
        } else {
            repository
        };
        if !is_registry(registry) {
            return Err(bad(
                "the registry must be a host name or address, with a port if need be",
            ));
        }
        if repository.len() > 255 || !repository.split('/').all(is_repository_part) {
            return Err(bad(
                "a repository is lower case letters and digits, joined by `.`, `_`, `-` or `/`",
            ));
        }
        let tag = if tag.is_none() && digest.is_none() {
            Some("latest".to_owned())
        } else {
            tag
        };
        Ok(Self {
            registry: registry.to_owned(),
            repository,
            tag,
            digest,
        })
    }

    /// Returns the registry's host, with its port if one was given.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Returns the repository's path in the registry.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Returns the tag; nothing if only a digest was given.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Returns the digest, `algorithm:hex`.
    #[must_use]
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// Returns the name as a person writes it: without what the completion added.
    #[must_use]
    pub fn familiar(&self) -> String {
        let full = self.to_string();
        let short = full.strip_prefix("docker.io/").unwrap_or(&full);
        let shortest = short.strip_prefix("library/").unwrap_or(short);
        // A repository may begin with what would be a registry without the words before it (`docker.io/quay.io/x`).
        let same = |text: &&str| Self::parse(text).is_ok_and(|name| name == *self);
        let text = [shortest, short].into_iter().find(same);
        text.unwrap_or(&full).to_owned()
    }
}

fn is_hex(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:")
        .is_some_and(|hex| is_hex(hex, 64))
        || text
            .strip_prefix("sha512:")
            .is_some_and(|hex| is_hex(hex, 128))
}

fn is_tag(text: &str) -> bool {
    let bytes = text.as_bytes();
    matches!(
        bytes.first(),
        Some(b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_')
    ) && bytes.len() <= 128
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

fn is_registry(text: &str) -> bool {
    let host_ok = |host: &str| {
        !host.is_empty()
            && host.len() <= 253
            && host.split('.').all(|l| {
                !l.is_empty()
                    && !l.starts_with('-')
                    && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            })
    };
    if let Some(rest) = text.strip_prefix('[') {
        let Some((ip, port)) = rest.split_once(']') else {
            return false;
        };
        return ip.parse::<std::net::Ipv6Addr>().is_ok()
            && (port.is_empty()
                || port
                    .strip_prefix(':')
                    .is_some_and(|p| p.parse::<u16>().is_ok()));
    }
    match text.split_once(':') {
        Some((host, port)) => host_ok(host) && port.parse::<u16>().is_ok(),
        None => host_ok(text),
    }
}

fn is_repository_part(text: &str) -> bool {
    let bytes = text.as_bytes();
    let edge = |b: Option<&u8>| matches!(b, Some(b'a'..=b'z' | b'0'..=b'9'));
    edge(bytes.first())
        && edge(bytes.last())
        && bytes
            .iter()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
        && !text.contains("..")
        && !text.contains("___")
        && !text.contains("._")
        && !text.contains("_.")
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl TryFrom<String> for ImageName {
    type Error = ImageNameError;
    fn try_from(text: String) -> Result<Self, ImageNameError> {
        Self::parse(&text)
    }
}

impl From<ImageName> for String {
    fn from(name: ImageName) -> String {
        name.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn short_names_are_completed() {
        for (text, full, short) in [
            ("nginx", "docker.io/library/nginx:latest", "nginx:latest"),
            (
                "docker.io/nginx",
                "docker.io/library/nginx:latest",
                "nginx:latest",
            ),
            (
                "bitnami/redis:7",
                "docker.io/bitnami/redis:7",
                "bitnami/redis:7",
            ),
            (
                "localhost:5000/a/b",
                "localhost:5000/a/b:latest",
                "localhost:5000/a/b:latest",
            ),
            (
                "registry.example.com/x:1.0",
                "registry.example.com/x:1.0",
                "registry.example.com/x:1.0",
            ),
            // Cut further, they would be names of another registry.
            (
                "docker.io/quay.io/x",
                "docker.io/quay.io/x:latest",
                "docker.io/quay.io/x:latest",
            ),
            (
                "docker.io/library/a.b/c:1",
                "docker.io/library/a.b/c:1",
                "library/a.b/c:1",
            ),
        ] {
            let name = ImageName::parse(text).unwrap();
            assert_eq!(name.to_string(), full);
            assert_eq!(name.familiar(), short);
        }
    }

    #[test]
    fn bad_names_are_refused_with_the_reason() {
        for text in [
            "",
            "Nginx",
            "a//b",
            "../x",
            "a:..",
            "a@sha256:../x",
            "a@sha256:00",
            "-x",
            "a b",
            "host:port/x",
            "a/../b",
            "x:é",
        ] {
            assert!(ImageName::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_full_name_parses_to_itself(text in "[a-z0-9.:/@-]{0,40}") {
            if let Ok(name) = ImageName::parse(&text) {
                prop_assert_eq!(&ImageName::parse(&name.to_string()).unwrap(), &name);
                prop_assert_eq!(&ImageName::parse(&name.familiar()).unwrap(), &name);
            }
        }
    }
}
