use daas_model::{Explain, Kind};
use russh::keys::ssh_key;
use russh::keys::{Algorithm, HashAlg};
use std::fmt;
use thiserror::Error;

/// RSA keys below this many bits are refused (NIST SP 800-131A, revision 2, table 2; OpenSSH's `RequiredRSASize` is lower).
const LEAST_RSA_BITS: u32 = 2048;
/// The longest line that is read: an RSA key of 16,384 bits has 2,800 characters.
const MOST_LINE: usize = 16 * 1024;

/// Kinds of keys that are taken, as lines name them.
const KINDS: [&str; 5] = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
];

/// A text that is no key that may sign in.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyError {
    /// It is no line of `authorized_keys` or `*.pub`.
    #[error("cannot read a public key: {why}")]
    Shape {
        /// What is wrong.
        why: String,
    },
    /// It is a private key.
    #[error("cannot take a private key")]
    Private,
    /// Its kind is not taken.
    #[error("cannot take a key of kind `{kind}`")]
    Kind {
        /// As it calls itself.
        kind: String,
    },
    /// It is too short.
    #[error("cannot take an RSA key of {bits} bits")]
    Short {
        /// How long it is.
        bits: u32,
    },
    /// The line has options, which would be lost.
    #[error("cannot take a key with options of OpenSSH before it")]
    Options,
}

impl Explain for KeyError {
    fn code(&self) -> &'static str {
        match self {
            Self::Shape { .. } => "ssh-key-shape",
            Self::Private => "ssh-key-private",
            Self::Kind { .. } => "ssh-key-kind",
            Self::Short { .. } => "ssh-key-short",
            Self::Options => "ssh-key-options",
        }
    }

    fn kind(&self) -> Kind {
        Kind::Input
    }

    fn hint(&self) -> Option<String> {
        Some(
            match self {
                Self::Shape { .. } => "one line of a file `*.pub`: `ssh-ed25519 AAAA... anna@laptop`",
                Self::Private => "give the file `*.pub` beside it, and make a new pair if this one has been seen by others",
                Self::Kind { .. } => "taken are ssh-ed25519, ecdsa-sha2-nistp256, -384, -521, and ssh-rsa with 2048 bits or more, which signs by SHA-2",
                Self::Short { .. } => "make another: `ssh-keygen -t ed25519`",
                Self::Options => "what a key may enter is said by `stands` and `projects` here",
            }
            .into(),
        )
    }
}

/// A public key that may sign in: of a kind that is taken, and long enough.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey(ssh_key::PublicKey);

impl PublicKey {
    /// Reads one line: kind, base64, and a comment if there is one.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn parse(line: &str) -> Result<Self, KeyError> {
        let line = line.trim();
        if line.len() > MOST_LINE {
            return Err(KeyError::Shape {
                why: format!("a line of {} characters", line.len()),
            });
        }
        if line.contains("PRIVATE KEY") {
            return Err(KeyError::Private);
        }
        let first = line.split_whitespace().next().unwrap_or_default();
        let is_kind = |word: &str| {
            ["ssh-", "ecdsa-", "sk-", "rsa-"]
                .iter()
                .any(|start| word.starts_with(start))
        };
        if !is_kind(first) && line.split_whitespace().skip(1).any(is_kind) {
            return Err(KeyError::Options);
        }
        if is_kind(first) && !KINDS.contains(&first) {
            return Err(KeyError::Kind {
                kind: daas_model::visible(first),
            });
        }
        let key = ssh_key::PublicKey::from_openssh(line).map_err(|error| KeyError::Shape {
            why: error.to_string(),
        })?;
        Self::of(key)
    }

    /// Takes a key that was read elsewhere.
    pub(crate) fn of(key: ssh_key::PublicKey) -> Result<Self, KeyError> {
        match key.algorithm() {
            Algorithm::Ed25519 | Algorithm::Ecdsa { .. } => Ok(Self(key)),
            Algorithm::Rsa { .. } => {
                let bits = key.key_data().rsa().map_or(0, |rsa| rsa.key_size());
                if bits < LEAST_RSA_BITS {
                    return Err(KeyError::Short { bits });
                }
                Ok(Self(key))
            }
            other => Err(KeyError::Kind {
                kind: daas_model::visible(other.as_str()),
            }),
        }
    }

    /// Returns the kind as OpenSSH writes it.
    #[must_use]
    pub fn kind(&self) -> String {
        self.0.algorithm().as_str().to_owned()
    }

    /// Returns `SHA256:...`, as `ssh-keygen -l` shows it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.0.fingerprint(HashAlg::Sha256).to_string()
    }

    /// Returns the comment; empty where there is none.
    #[must_use]
    pub fn comment(&self) -> String {
        String::from_utf8_lossy(self.0.comment().as_bytes()).into_owned()
    }

    /// Returns the line without its comment.
    #[must_use]
    pub fn line(&self) -> String {
        let bare = ssh_key::PublicKey::new(self.0.key_data().clone(), "");
        bare.to_openssh().unwrap_or_default().trim().to_owned()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fingerprint())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A key of the tests; nobody has its other half.
    pub(crate) fn key(number: u8) -> PublicKey {
        let pair = ssh_key::private::Ed25519Keypair::from_seed(&[number; 32]);
        PublicKey::of(ssh_key::PrivateKey::from(pair).public_key().clone()).unwrap()
    }

    #[test]
    fn a_line_comes_back_as_it_was_written_without_its_comment() {
        let line = key(1).line();
        let read = PublicKey::parse(&format!("  {line} anna@laptop of home \n")).unwrap();
        assert_eq!(read.line(), line);
        assert_eq!(read.comment(), "anna@laptop of home");
        assert_eq!(read.kind(), "ssh-ed25519");
        assert_eq!(read.fingerprint(), key(1).fingerprint());
        assert_ne!(read.fingerprint(), key(2).fingerprint());
    }

    #[test]
    fn what_is_no_key_that_is_taken_says_why() {
        let line = key(1).line();
        let code = |text: &str| PublicKey::parse(text).unwrap_err().code();
        assert_eq!(code(""), "ssh-key-shape");
        assert_eq!(code("ssh-ed25519"), "ssh-key-shape");
        assert_eq!(code("ssh-ed25519 AAAA"), "ssh-key-shape");
        assert_eq!(code(&"x".repeat(20_000)), "ssh-key-shape");
        assert_eq!(
            code("-----BEGIN OPENSSH PRIVATE KEY-----"),
            "ssh-key-private"
        );
        assert_eq!(
            code(&format!("command=\"/bin/true\" {line}")),
            "ssh-key-options"
        );
        // DSA: 1024 bits and SHA-1.
        assert_eq!(code("ssh-dss AAAAB3NzaC1kc3MAAAAA"), "ssh-key-kind");
    }
}
