//! The little of DER (X.690) that lists of authorities need: one element after another, nothing decoded.
//!
//! Not here: certificates as such (`daas-certs`).

/// Elements that follow each other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Elements<'a>(&'a [u8]);

/// One element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    pub(super) content: &'a [u8],
    /// With its tag and length.
    pub(super) whole: &'a [u8],
}

pub(super) const INTEGER: u8 = 0x02;
pub(super) const OCTETS: u8 = 0x04;
pub(super) const OID: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;
/// `[0]`, constructed.
pub(super) const CONTEXT_0: u8 = 0xa0;

impl<'a> Element<'a> {
    pub(super) fn inside(self) -> Elements<'a> {
        Elements(self.content)
    }
}

impl<'a> Elements<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Takes the next one if it has the tag.
    pub(super) fn tagged(&mut self, tag: u8) -> Option<Element<'a>> {
        let mut ahead = *self;
        let next = ahead.next()?;
        (next.tag == tag).then(|| {
            *self = ahead;
            next
        })
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Element<'a>;

    /// Returns the next element; nothing behind the last, and nothing from bytes that are no DER.
    fn next(&mut self) -> Option<Element<'a>> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        // Tags of more bytes and lengths without a number are not of DER as it is met here.
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                let length = bytes
                    .iter()
                    .fold(0usize, |sum, byte| sum << 8 | usize::from(*byte));
                (length, rest)
            }
            _ => return None,
        };
        let (content, behind) = rest.split_at_checked(length)?;
        let whole = &self.0[..self.0.len() - behind.len()];
        self.0 = behind;
        Some(Element {
            tag,
            content,
            whole,
        })
    }
}

/// Writes an element.
pub(super) fn write(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    let length = content.len().to_be_bytes();
    match u8::try_from(content.len()) {
        Ok(short) if short < 0x80 => bytes.push(short),
        _ => {
            let needed: Vec<u8> = length.iter().copied().skip_while(|b| *b == 0).collect();
            bytes.push(0x80 | u8::try_from(needed.len()).unwrap_or(8));
            bytes.extend(needed);
        }
    }
    bytes.extend_from_slice(content);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_cut_is_nothing() {
        for length in [0, 1, 127, 128, 255, 256, 70_000] {
            let content = vec![7; length];
            let bytes = write(OCTETS, &content);
            let mut elements = Elements::of(&bytes);
            let read = elements.tagged(OCTETS).unwrap();
            assert_eq!((read.content, read.whole), (&content[..], &bytes[..]));
            assert_eq!(elements.next(), None);
            assert_eq!(Elements::of(&bytes[..bytes.len() - 1]).next(), None);
            assert_eq!(Elements::of(&bytes).tagged(OID), None);
        }
        assert_eq!(Elements::of(&[0x30, 0x80, 0, 0]).next(), None);
        assert_eq!(Elements::of(&[0x30, 0x84, 0xff]).next(), None);
    }
}
