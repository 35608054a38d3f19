use crate::access::{Identity, Role};
use daas_api::Caller;
use sha2::{Digest, Sha256};
use std::fmt;

/// What stands before every token, so that scanners of leaked secrets find them.
const PREFIX: &str = "daas_api_";
/// Bytes of chance in a token.
const RANDOM: usize = 32;

/// A secret that opens the TCP door. It has no `Display`: [`Token::reveal`] is the one way to see it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

impl Token {
    /// Makes a token from 256 bits of the kernel's chance.
    ///
    /// # Errors
    /// The kernel's own, if it gives none.
    pub fn generate() -> std::io::Result<Self> {
        let mut random = [0u8; RANDOM];
        let mut filled = 0;
        while filled < RANDOM {
            filled += rustix::rand::getrandom(
                &mut random[filled..],
                rustix::rand::GetRandomFlags::empty(),
            )?;
        }
        Ok(Self(format!("{PREFIX}{}", hex(&random))))
    }

    /// Returns the secret text.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Returns the line of the token file for it: `name role sha256`. The secret cannot be found from it.
    #[must_use]
    pub fn line(&self, name: &str, role: Role) -> String {
        format!("{name} {role} {}", hex(&digest(&self.0)))
    }
}

/// The tokens that open the TCP door: names, roles and SHA-256 sums; the secrets themselves are nowhere.
#[derive(Debug, Clone, Default)]
pub struct Tokens {
    known: Vec<Known>,
}

#[derive(Debug, Clone)]
struct Known {
    name: String,
    role: Role,
    digest: [u8; 32],
}

/// A line of a token file that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot read line {line} of the token file: {why}")]
pub struct TokenError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: &'static str,
}

impl daas_model::Explain for TokenError {
    fn code(&self) -> &'static str {
        "token-file-invalid"
    }

    fn kind(&self) -> daas_model::Kind {
        daas_model::Kind::Input
    }

    fn hint(&self) -> Option<String> {
        Some("a line is `name role sha256`, as `daas system token` prints it".into())
    }
}

impl Tokens {
    /// Reads lines of `name role sha256`; empty ones and those with `#` say nothing.
    ///
    /// # Errors
    /// [`TokenError`] for the first line that is none.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let mut known: Vec<Known> = Vec::new();
        for (n, line) in text.lines().enumerate() {
            let bad = |why| TokenError { line: n + 1, why };
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            let [name, role, digest] = words[..] else {
                return Err(bad("it has not three words"));
            };
            let good_name = name.len() <= 63
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'@'));
            if !good_name || known.iter().any(|k| k.name == name) {
                return Err(bad(
                    "the name is used twice, too long, or holds other characters than letters, digits, `-`, `_`, `.`, `@`",
                ));
            }
            let role = Role::parse(role)
                .ok_or_else(|| bad("the role is none of `reader`, `operator`, `administrator`"))?;
            let digest =
                unhex(digest).ok_or_else(|| bad("the sum is not 64 hexadecimal digits"))?;
            known.push(Known {
                name: name.to_owned(),
                role,
                digest,
            });
        }
        Ok(Self { known })
    }

    /// Tells whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Returns whose token `secret` is. Takes as long for a wrong one as for a right one.
    #[must_use]
    pub fn identify(&self, secret: &str) -> Option<Identity> {
        let shown = digest(secret);
        let mut found = None;
        for known in &self.known {
            // Every sum is compared to its end: the time tells neither which token came close nor how close.
            let difference = known
                .digest
                .iter()
                .zip(shown)
                .fold(0u8, |all, (a, b)| all | (a ^ b));
            if std::hint::black_box(difference) == 0 {
                found = Some(known);
            }
        }
        found.map(|known| Identity {
            caller: Caller::Token {
                name: known.name.clone(),
            },
            role: known.role,
        })
    }
}

fn digest(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0u8; 32];
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_by_its_sum_and_by_nothing_else() {
        let (mine, other) = (Token::generate().unwrap(), Token::generate().unwrap());
        let file = format!(
            "# tokens\n\n{}\n{}\n",
            mine.line("ci", Role::Operator),
            other.line("wall", Role::Reader)
        );
        assert!(!file.contains(mine.reveal()) && !format!("{mine:?}").contains("daas_api_"));
        let tokens = Tokens::parse(&file).unwrap();
        assert_eq!(
            tokens.identify(mine.reveal()),
            Some(Identity {
                caller: Caller::Token { name: "ci".into() },
                role: Role::Operator
            })
        );
        assert_eq!(tokens.identify(other.reveal()).unwrap().role, Role::Reader);
        let sum = mine
            .line("ci", Role::Operator)
            .rsplit(' ')
            .next()
            .unwrap()
            .to_owned();
        for wrong in [
            "",
            "daas_api_",
            &sum,
            &mine.reveal()[..40],
            &format!("{} ", mine.reveal()),
        ] {
            assert_eq!(tokens.identify(wrong), None);
        }
        assert_eq!(Tokens::default().identify(""), None);
    }

    #[test]
    fn bad_lines_are_named() {
        for (text, line) in [
            ("ci operator", 1),
            ("\nci boss 00", 2),
            ("ci reader zz", 1),
            (&format!("ci reader {0}\nci reader {0}", "0".repeat(64)), 2),
            ("a\u{1b} reader 00", 1),
        ] {
            assert_eq!(Tokens::parse(text).unwrap_err().line, line, "{text}");
        }
    }
}
