//! Names as certificates bear them.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A DNS name in lower case without its last dot, or one with `*.` before it (RFC 9525, section 6.3).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CertName(String);

/// A text that is no name for a certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no name for a certificate: {why}", shown(text))]
pub struct CertNameError {
    text: String,
    why: &'static str,
}

fn shown(text: &str) -> String {
    let short: String = text.chars().take(80).collect();
    short.escape_debug().to_string()
}

impl CertName {
    /// Parses a name: labels of letters, digits, `-` and `_` (RFC 1123, section 2.1), at most 253 characters.
    ///
    /// # Errors
    /// [`CertNameError`] with what does not fit.
    pub fn parse(text: &str) -> Result<Self, CertNameError> {
        let fault = |why| {
            Err(CertNameError {
                text: text.to_owned(),
                why,
            })
        };
        if !text.is_ascii() {
            return fault("write international names in their ASCII form, `xn--...`");
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let base = name.strip_prefix("*.");
        let plain = base.unwrap_or(&name);
        if name.len() > 253 {
            return fault("it is longer than 253 characters");
        }
        for label in plain.split('.') {
            let edges = label.starts_with('-') || label.ends_with('-');
            if label.is_empty() || label.len() > 63 || edges || !label.bytes().all(is_label) {
                return fault("its labels are letters, digits, `-` and `_`, 1 to 63 of them");
            }
        }
        if plain
            .split('.')
            .all(|l| l.bytes().all(|b| b.is_ascii_digit()))
        {
            return fault("it is an address");
        }
        // Browsers and OpenSSL take no star directly below a top-level name.
        if base.is_some() && !plain.contains('.') {
            return fault("no program accepts a star directly below a top-level name");
        }
        Ok(Self(name))
    }

    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Tells whether it begins with a star.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with("*.")
    }

    /// Returns the name without its star.
    #[must_use]
    pub fn base(&self) -> &str {
        self.0.strip_prefix("*.").unwrap_or(&self.0)
    }

    /// Tells whether a certificate with this name is good for `other`: the same, or exactly one label in place of the star.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        if self == other {
            return true;
        }
        self.is_wildcard()
            && !other.is_wildcard()
            && other
                .0
                .split_once('.')
                .is_some_and(|(_, rest)| rest == self.base())
    }

    /// Tells whether it is `zone` or below it.
    #[must_use]
    pub fn is_in(&self, zone: &Self) -> bool {
        let base = self.base();
        base == zone.0
            || base
                .strip_suffix(zone.as_str())
                .is_some_and(|rest| rest.ends_with('.'))
    }

    /// Returns `*.` with this name behind it, where that can be a name.
    #[must_use]
    pub fn star(&self) -> Option<Self> {
        Self::parse(&format!("*.{}", self.base())).ok()
    }

    /// Returns the wildcard that covers this name.
    #[must_use]
    pub fn star_above(&self) -> Option<Self> {
        let (_, rest) = self.0.split_once('.')?;
        Self::parse(&format!("*.{rest}")).ok()
    }

    /// Returns the name under which rate limits count it: the last two labels, or three behind a suffix such as `co.uk`.
    ///
    /// The list of public suffixes is not here; a domain that is counted together with another is only ordered later.
    #[must_use]
    pub fn registered_domain(&self) -> &str {
        const SECOND: [&str; 9] = ["co", "com", "org", "net", "gov", "ac", "edu", "or", "ne"];
        let base = self.base();
        let mut dots = base.rmatch_indices('.').map(|(at, _)| at);
        let (Some(last), Some(second)) = (dots.next(), dots.next()) else {
            return base;
        };
        let country = base.len() - last - 1 == 2;
        if country && SECOND.contains(&&base[second + 1..last]) {
            let third = dots.next().map_or(0, |at| at + 1);
            return &base[third..];
        }
        &base[second + 1..]
    }
}

fn is_label(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_')
}

impl fmt::Display for CertName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for CertName {
    type Error = CertNameError;

    fn try_from(text: String) -> Result<Self, CertNameError> {
        Self::parse(&text)
    }
}

impl From<CertName> for String {
    fn from(name: CertName) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> CertName {
        CertName::parse(text).unwrap()
    }

    #[test]
    fn a_star_stands_for_one_label() {
        let star = name("*.dev.example.com");
        assert!(star.covers(&name("shop.dev.example.com")));
        assert!(!star.covers(&name("web.shop.dev.example.com")));
        assert!(!star.covers(&name("dev.example.com")));
        assert!(star.covers(&star));
        assert_eq!(name("a.b.c").star_above(), Some(name("*.b.c")));
        assert_eq!(name("shop.localhost").star_above(), None);
    }

    #[test]
    fn names_that_are_none_are_refused() {
        for text in [
            "",
            ".",
            "a..b",
            "-a.b",
            "a-.b",
            "*",
            "*.com",
            "a.*.b",
            "*a.b",
            "a b",
            "ä.example.com",
            "../x",
            "1.2.3.4",
            "a/b",
            "a\0b",
        ] {
            assert!(CertName::parse(text).is_err(), "{text:?}");
        }
        assert_eq!(name("Shop.Example.COM.").as_str(), "shop.example.com");
        assert!(CertName::parse(&"a.".repeat(128)).is_err());
    }

    #[test]
    fn rate_limits_count_by_the_registered_domain() {
        for (text, domain) in [
            ("*.dev.example.com", "example.com"),
            ("example.com", "example.com"),
            ("a.b.example.co.uk", "example.co.uk"),
            ("co.uk", "co.uk"),
            ("localhost", "localhost"),
        ] {
            assert_eq!(name(text).registered_domain(), domain);
        }
    }

    #[test]
    fn a_zone_has_what_is_below_it() {
        let zone = name("dev.example.com");
        assert!(name("a.b.dev.example.com").is_in(&zone) && zone.is_in(&zone));
        assert!(name("*.dev.example.com").is_in(&zone));
        assert!(!name("adev.example.com").is_in(&zone));
    }
}
