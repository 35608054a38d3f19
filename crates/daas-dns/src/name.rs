//! Domain names: absolute, lower case, in the form of the wire.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// The most octets of a name, its ending zero included (RFC 1035 section 3.1).
pub(crate) const MOST_OCTETS: usize = 255;
/// The most octets of a label (RFC 1035 section 3.1).
const MOST_LABEL: usize = 63;
/// What is wrong with a name of other letters.
const INTERNATIONAL: &str = "write international names in their ASCII form, `xn--...`";

/// A text that is no domain name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no domain name: {why}", .text.escape_debug())]
pub struct NameError {
    /// The text.
    pub text: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl NameError {
    /// Tells the form in which an international name is asked for (RFC 5890); nothing for other faults.
    pub(crate) fn hint(&self) -> Option<String> {
        if self.why != INTERNATIONAL {
            return None;
        }
        crate::punycode::ascii_form(&self.text).map(|form| format!("write `{form}`"))
    }
}

/// An absolute domain name.
///
/// Kept in lower case: names are equal whatever their case (RFC 4343), and the asked case comes back with the question of an answer.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(Arc<[u8]>);

impl Name {
    /// Returns the root.
    #[must_use]
    pub fn root() -> Self {
        Self(Arc::from([0u8]))
    }

    /// Parses a name, absolute with or without its last dot. `\.` and `\046` write octets that are no part of a host name (RFC 1035 section 5.1).
    ///
    /// # Errors
    /// [`NameError`] if a label is empty or longer than 63 octets, or the name longer than 255, or if it is not ASCII.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        Self::parse_under(text, &Self::root())
    }

    /// Parses a name as zone files write it: `@` is `origin`, and a name without a last dot lies under it.
    ///
    /// # Errors
    /// As [`Name::parse`].
    pub fn parse_under(text: &str, origin: &Self) -> Result<Self, NameError> {
        let fault = |why| NameError {
            text: text.chars().take(300).collect(),
            why,
        };
        if text == "@" {
            return Ok(origin.clone());
        }
        if text == "." {
            return Ok(Self::root());
        }
        if text.is_empty() {
            return Err(fault("it is empty"));
        }
        // Nobody asks for such octets: browsers and resolvers ask for the ASCII form. Who means them writes `\195\182`.
        if !text.is_ascii() {
            return Err(fault(INTERNATIONAL));
        }
        let mut wire = Vec::with_capacity(text.len() + 2 + origin.0.len());
        let mut absolute = false;
        let mut label = Vec::new();
        let mut bytes = text.bytes().peekable();
        while let Some(byte) = bytes.next() {
            match byte {
                b'.' => {
                    push_label(&mut wire, &label).map_err(fault)?;
                    label.clear();
                    absolute = bytes.peek().is_none();
                }
                b'\\' => {
                    label.push(escaped(&mut bytes).ok_or_else(|| fault("a `\\` escapes nothing"))?);
                }
                other => label.push(other.to_ascii_lowercase()),
            }
        }
        if absolute {
            wire.push(0);
        } else {
            push_label(&mut wire, &label).map_err(fault)?;
            wire.extend_from_slice(&origin.0);
        }
        if wire.len() > MOST_OCTETS {
            return Err(fault("it has more than 255 octets"));
        }
        Ok(Self(wire.into()))
    }

    /// Makes a name of its lower-case wire form, which a reader has checked.
    pub(crate) fn from_checked_wire(wire: &[u8]) -> Self {
        Self(Arc::from(wire))
    }

    /// Returns the wire form without compression, the ending zero included.
    #[must_use]
    pub fn wire(&self) -> &[u8] {
        &self.0
    }

    /// Returns the labels from left to right, without the root's.
    pub fn labels(&self) -> impl Iterator<Item = &[u8]> {
        Labels(&self.0)
    }

    /// Returns how many labels it has; the root has none.
    #[must_use]
    pub fn count(&self) -> usize {
        self.labels().count()
    }

    /// Returns the text of the name without its last dot, as people and files write it.
    #[must_use]
    pub fn bare(&self) -> String {
        let mut text = self.to_string();
        text.pop();
        text
    }

    /// Returns the name without its first label; nothing for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let first = usize::from(self.0[0]);
        (first != 0).then(|| Self(Arc::from(&self.0[1 + first..])))
    }

    /// Tells whether it is `other` or lies under it.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        let Some(start) = self.0.len().checked_sub(other.0.len()) else {
            return false;
        };
        // A tail of octets is a tail of labels only where a label begins.
        self.0[start..] == other.0[..] && self.starts().any(|at| at == start)
    }

    /// Returns the name with `label` before it; upper case becomes lower.
    ///
    /// # Errors
    /// [`NameError`] if the label is empty or too long, or the name becomes too long.
    pub fn child(&self, label: &str) -> Result<Self, NameError> {
        let fault = |why| NameError {
            text: format!("{}.{self}", label.chars().take(80).collect::<String>()),
            why,
        };
        let mut wire = Vec::with_capacity(label.len() + 1 + self.0.len());
        push_label(&mut wire, &label.to_ascii_lowercase().into_bytes()).map_err(fault)?;
        wire.extend_from_slice(&self.0);
        if wire.len() > MOST_OCTETS {
            return Err(fault("it has more than 255 octets"));
        }
        Ok(Self(wire.into()))
    }

    /// Returns the name with `target` in place of `tree`, which it lies below; nothing if that is longer than a name can be (RFC 6672 section 2.2).
    pub(crate) fn moved(wire: &[u8], tree: &Self, target: &Self) -> Option<Self> {
        let head = &wire[..wire.len() - tree.0.len()];
        let moved = [head, &target.0].concat();
        (moved.len() <= MOST_OCTETS).then(|| Self(moved.into()))
    }

    /// Tells whether its first label is `*` (RFC 4592 section 2.1.1).
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with(b"\x01*")
    }

    /// Returns what it lies under `origin` by: `www` for `www.example.org` under `example.org`, `@` for the origin itself.
    #[must_use]
    pub fn relative_to(&self, origin: &Self) -> String {
        if self == origin {
            return "@".into();
        }
        let text = self.to_string();
        let tail = origin.to_string();
        match text.strip_suffix(&tail) {
            Some(head) if self.is_within(origin) => head.trim_end_matches('.').to_owned(),
            _ => text,
        }
    }

    fn starts(&self) -> impl Iterator<Item = usize> {
        let mut at = Some(0);
        std::iter::from_fn(move || {
            let here = at?;
            let length = usize::from(self.0[here]);
            at = (length != 0).then_some(here + 1 + length);
            Some(here)
        })
    }
}

fn push_label(wire: &mut Vec<u8>, label: &[u8]) -> Result<(), &'static str> {
    match u8::try_from(label.len()) {
        Ok(0) => Err("a label is empty"),
        Ok(length) if label.len() <= MOST_LABEL => {
            wire.push(length);
            wire.extend_from_slice(label);
            Ok(())
        }
        _ => Err("a label has more than 63 octets"),
    }
}

/// Reads what stands behind a `\`: three digits of an octet, or any other character for itself.
fn escaped(bytes: &mut std::iter::Peekable<std::str::Bytes<'_>>) -> Option<u8> {
    let first = bytes.next()?;
    if !first.is_ascii_digit() {
        return Some(first.to_ascii_lowercase());
    }
    let mut value = u16::from(first - b'0');
    for _ in 0..2 {
        let digit = bytes.next().filter(u8::is_ascii_digit)?;
        value = value * 10 + u16::from(digit - b'0');
    }
    u8::try_from(value)
        .ok()
        .map(|octet| octet.to_ascii_lowercase())
}

/// Goes along the labels of a wire form.
pub(crate) struct Labels<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Labels<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(*self.0.first()?);
        if length == 0 {
            return None;
        }
        let (label, rest) = self.0[1..].split_at(length);
        self.0 = rest;
        Some(label)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        if self.0[0] == 0 {
            return f.pad(".");
        }
        let mut text = String::with_capacity(self.0.len());
        for label in self.labels() {
            for &octet in label {
                match octet {
                    b'.' | b'\\' | b'"' | b';' | b'@' | b'$' | b'(' | b')' => {
                        text.push('\\');
                        text.push(char::from(octet));
                    }
                    0x21..=0x7e => text.push(char::from(octet)),
                    other => write!(text, "\\{other:03}")?,
                }
            }
            text.push('.');
        }
        f.pad(&text)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({self})")
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Name {
    /// The canonical order of DNSSEC (RFC 4034 section 6.1): by labels from the right.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        Key::of(self.wire())
            .octets()
            .cmp(Key::of(other.wire()).octets())
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        Self::parse(&text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.to_string()
    }
}

impl std::str::FromStr for Name {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

/// A name in a form whose octets sort in the canonical order (RFC 4034 section 6.1) and begin with those of every name above it.
///
/// Labels from the right, each ended by a zero; the octets 0 and 1 inside of a label are written as 1 1 and 1 2.
#[derive(Clone)]
pub(crate) struct Key {
    octets: [u8; 2 * MOST_OCTETS],
    length: usize,
}

impl Key {
    /// Makes the key of a lower-case wire form.
    pub(crate) fn of(wire: &[u8]) -> Self {
        let mut starts = [0u8; 128];
        let mut count = 0;
        let mut at = 0;
        while wire[at] != 0 {
            // A name of 255 octets has at most 127 labels, and none begins behind octet 253.
            starts[count] = u8::try_from(at).unwrap_or(u8::MAX);
            count += 1;
            at += 1 + usize::from(wire[at]);
        }
        let mut key = Self {
            octets: [0; 2 * MOST_OCTETS],
            length: 0,
        };
        for &start in starts[..count].iter().rev() {
            let start = usize::from(start);
            let length = usize::from(wire[start]);
            for &octet in &wire[start + 1..start + 1 + length] {
                if octet < 2 {
                    key.push(1);
                    key.push(octet + 1);
                } else {
                    key.push(octet);
                }
            }
            key.push(0);
        }
        key
    }

    fn push(&mut self, octet: u8) {
        self.octets[self.length] = octet;
        self.length += 1;
    }

    /// Returns the octets.
    pub(crate) fn octets(&self) -> &[u8] {
        &self.octets[..self.length]
    }
}

/// Returns the key of the name above: `octets` without the last label. Nothing for the root.
pub(crate) fn key_above(octets: &[u8]) -> Option<&[u8]> {
    let inner = &octets[..octets.len().checked_sub(1)?];
    let cut = inner
        .iter()
        .rposition(|&octet| octet == 0)
        .map_or(0, |at| at + 1);
    Some(&octets[..cut])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    #[test]
    fn names_come_back_as_they_were_written_in_lower_case() {
        for (written, shown) in [
            ("WWW.Example.org", "www.example.org."),
            ("a\\.b.c.", "a\\.b.c."),
            ("a\\032b", "a\\032b."),
            (".", "."),
            ("*.x", "*.x."),
        ] {
            assert_eq!(name(written).to_string(), shown);
            assert_eq!(name(shown), name(written));
        }
        let origin = name("dev.example.com");
        assert_eq!(Name::parse_under("@", &origin).unwrap(), origin);
        assert_eq!(
            Name::parse_under("www", &origin).unwrap().to_string(),
            "www.dev.example.com."
        );
        assert_eq!(name("a.b.dev.example.com").relative_to(&origin), "a.b");
    }

    #[test]
    fn texts_that_are_no_names_are_refused() {
        for text in [
            "",
            "a..b",
            ".a",
            "ö.example",
            "a\\",
            "a\\2",
            "a\\999",
            &"x".repeat(64),
        ] {
            assert!(Name::parse(text).is_err(), "{text}");
        }
        let hint = Name::parse("ö.example").unwrap_err().hint();
        assert_eq!(hint.as_deref(), Some("write `xn--nda.example`"));
        assert_eq!(Name::parse("a..b").unwrap_err().hint(), None);
        let long = ["abcdefgh"; 29].join(".");
        assert!(Name::parse(&long).is_err());
    }

    #[test]
    fn a_name_lies_within_another_by_labels_not_by_octets() {
        assert!(name("a.example.org").is_within(&name("example.org")));
        assert!(name("example.org").is_within(&name("example.org")));
        assert!(!name("badexample.org").is_within(&name("example.org")));
        assert!(name("org").is_within(&Name::root()));
        // The tail's octets are those of `com.`, but they begin inside of a label.
        let tricky = name("x\\003com");
        assert!(!tricky.is_within(&name("com")));
    }

    #[test]
    fn names_sort_in_the_order_of_rfc_4034_section_6_1() {
        let sorted = [
            "example.",
            "a.example.",
            "yljkjljk.a.example.",
            "z.a.example.",
            "zabc.a.example.",
            "z.example.",
            "\\001.z.example.",
            "*.z.example.",
            "\\200.z.example.",
        ];
        let mut names: Vec<Name> = sorted.iter().rev().map(|text| name(text)).collect();
        names.sort();
        let shown: Vec<String> = names.iter().map(ToString::to_string).collect();
        assert_eq!(shown, sorted);
    }

    #[test]
    fn the_key_of_a_name_begins_with_that_of_the_name_above() {
        let key = Key::of(name("www.dev.example.com").wire());
        let above = Key::of(name("dev.example.com").wire());
        assert_eq!(key_above(key.octets()), Some(above.octets()));
        assert_eq!(
            key_above(Key::of(name("com").wire()).octets()),
            Some(&[][..])
        );
        assert_eq!(key_above(&[]), None);
    }
}
