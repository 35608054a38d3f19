//! Octets of a message: a reader that trusts nothing and a writer that points back to names (RFC 1035 section 4).

use crate::kind::RrType;
use crate::name::{Labels, MOST_OCTETS, Name};

/// A message that breaks its format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the message is malformed: {0}")]
pub(crate) struct Malformed(pub(crate) &'static str);

/// Reads a message from front to back.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Begins at octet `at`.
    pub(crate) fn at(message: &'a [u8], at: usize) -> Self {
        Self { message, at }
    }

    /// Returns where it is.
    pub(crate) fn place(&self) -> usize {
        self.at
    }

    /// Tells whether everything is read.
    pub(crate) fn is_at_end(&self) -> bool {
        self.at >= self.message.len()
    }

    pub(crate) fn octets(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let end = self
            .at
            .checked_add(count)
            .ok_or(Malformed("it ends early"))?;
        let octets = self
            .message
            .get(self.at..end)
            .ok_or(Malformed("it ends early"))?;
        self.at = end;
        Ok(octets)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.octets(1)?[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Malformed> {
        let octets = self.octets(2)?;
        Ok(u16::from_be_bytes([octets[0], octets[1]]))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        let octets = self.octets(4)?;
        Ok(u32::from_be_bytes([
            octets[0], octets[1], octets[2], octets[3],
        ]))
    }

    /// Reads a name into `into`, in lower case and without pointers; returns its length.
    ///
    /// A pointer must lead to before the place where the name read so far began, so that no chain of them ends in a loop.
    pub(crate) fn name_into(&mut self, into: &mut [u8; MOST_OCTETS]) -> Result<usize, Malformed> {
        let mut length = 0;
        let mut at = self.at;
        let mut floor = self.at;
        let mut jumped = false;
        loop {
            let head = *self.message.get(at).ok_or(Malformed("a name ends early"))?;
            match head >> 6 {
                0 => {
                    let count = usize::from(head);
                    let label = self
                        .message
                        .get(at..=at + count)
                        .ok_or(Malformed("a label ends early"))?;
                    let place = into
                        .get_mut(length..=length + count)
                        .ok_or(Malformed("a name is too long"))?;
                    place.copy_from_slice(label);
                    place[1..].make_ascii_lowercase();
                    length += 1 + count;
                    at += 1 + count;
                    if count == 0 {
                        break;
                    }
                    if length >= MOST_OCTETS {
                        return Err(Malformed("a name is too long"));
                    }
                }
                3 => {
                    let low = *self
                        .message
                        .get(at + 1)
                        .ok_or(Malformed("a pointer ends early"))?;
                    let target = usize::from(u16::from_be_bytes([head & 0x3f, low]));
                    if target >= floor {
                        return Err(Malformed("a pointer leads forward"));
                    }
                    if !jumped {
                        self.at = at + 2;
                        jumped = true;
                    }
                    floor = target;
                    at = target;
                }
                _ => return Err(Malformed("a label of an unknown kind")),
            }
        }
        if !jumped {
            self.at = at;
        }
        Ok(length)
    }

    /// Reads a name.
    pub(crate) fn name(&mut self) -> Result<Name, Malformed> {
        let mut wire = [0; MOST_OCTETS];
        let length = self.name_into(&mut wire)?;
        Ok(Name::from_checked_wire(&wire[..length]))
    }

    /// Goes past a name.
    pub(crate) fn skip_name(&mut self) -> Result<(), Malformed> {
        let mut wire = [0; MOST_OCTETS];
        self.name_into(&mut wire).map(drop)
    }
}

/// How many places of names a writer remembers; a message for UDP has fewer, and a transfer repeats the last ones.
const MOST_PLACES: usize = 96;

/// Writes a message, never more than its limit.
#[derive(Debug)]
pub(crate) struct Writer {
    octets: Vec<u8>,
    limit: usize,
    places: Vec<u16>,
}

/// A record that did not fit; what was written of it is taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

/// A state of a writer to come back to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    octets: usize,
    places: usize,
}

impl Writer {
    /// Makes an empty one.
    pub(crate) fn new() -> Self {
        Self {
            octets: Vec::with_capacity(1500),
            limit: 512,
            places: Vec::with_capacity(MOST_PLACES),
        }
    }

    /// Forgets everything and takes at most `limit` octets from now on.
    pub(crate) fn clear(&mut self, limit: usize) {
        self.octets.clear();
        self.places.clear();
        self.limit = limit;
    }

    /// Sets how many octets it takes.
    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Returns how many octets it takes.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    pub(crate) fn octets(&self) -> &[u8] {
        &self.octets
    }

    pub(crate) fn octets_mut(&mut self) -> &mut Vec<u8> {
        &mut self.octets
    }

    pub(crate) fn len(&self) -> usize {
        self.octets.len()
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark {
            octets: self.octets.len(),
            places: self.places.len(),
        }
    }

    pub(crate) fn back_to(&mut self, mark: Mark) {
        self.octets.truncate(mark.octets);
        self.places.truncate(mark.places);
    }

    pub(crate) fn raw(&mut self, octets: &[u8]) {
        self.octets.extend_from_slice(octets);
    }

    pub(crate) fn u8(&mut self, value: u8) {
        self.octets.push(value);
    }

    pub(crate) fn u16(&mut self, value: u16) {
        self.raw(&value.to_be_bytes());
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.raw(&value.to_be_bytes());
    }

    /// Sets two octets that were written before.
    pub(crate) fn set_u16(&mut self, at: usize, value: u16) {
        self.octets[at..at + 2].copy_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn get_u16(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.octets[at], self.octets[at + 1]])
    }

    /// Remembers that a name without pointers begins at `at`, as the question's does.
    pub(crate) fn remember(&mut self, mut at: usize) {
        while self.places.len() < MOST_PLACES {
            let Some(&length) = self.octets.get(at) else {
                return;
            };
            let Ok(place) = u16::try_from(at) else { return };
            if length == 0 || length >= 0xc0 || place >= 0x4000 {
                return;
            }
            self.places.push(place);
            at += 1 + usize::from(length);
        }
    }

    /// Writes a name in wire form, with a pointer to the longest tail of it that is there already.
    pub(crate) fn name(&mut self, wire: &[u8]) {
        let begin = self.octets.len();
        let mut at = 0;
        while wire[at] != 0 {
            let tail = &wire[at..];
            if let Some(&place) = self
                .places
                .iter()
                .find(|&&place| self.is_at(usize::from(place), tail))
            {
                self.u16(0xc000 | place);
                self.remember(begin);
                return;
            }
            let end = at + 1 + usize::from(wire[at]);
            self.raw(&wire[at..end]);
            at = end;
        }
        self.u8(0);
        self.remember(begin);
    }

    /// Tells whether the name written at `place` is `wire`, whatever the case of what was asked.
    fn is_at(&self, mut place: usize, wire: &[u8]) -> bool {
        let mut labels = Labels(wire);
        // Pointers written by this writer lead backward only.
        while let Some(&head) = self.octets.get(place) {
            if head >= 0xc0 {
                let Some(&low) = self.octets.get(place + 1) else {
                    return false;
                };
                place = usize::from(u16::from_be_bytes([head & 0x3f, low]));
                continue;
            }
            let label = labels.next();
            if head == 0 {
                return label.is_none();
            }
            let end = place + 1 + usize::from(head);
            let (Some(label), Some(here)) = (label, self.octets.get(place + 1..end)) else {
                return false;
            };
            if !label.eq_ignore_ascii_case(here) {
                return false;
            }
            place = end;
        }
        false
    }

    /// Writes one record of class IN; takes back what it wrote if the limit is passed.
    pub(crate) fn record(
        &mut self,
        owner: &[u8],
        kind: RrType,
        ttl: u32,
        data: &[u8],
    ) -> Result<(), Full> {
        let mark = self.mark();
        self.name(owner);
        self.u16(kind.0);
        self.u16(CLASS_IN);
        self.u32(ttl);
        let length_at = self.octets.len();
        self.u16(0);
        self.data(kind, data);
        let length = self.octets.len() - length_at - 2;
        match u16::try_from(length) {
            Ok(length) if self.octets.len() <= self.limit => {
                self.set_u16(length_at, length);
                Ok(())
            }
            _ => {
                self.back_to(mark);
                Err(Full)
            }
        }
    }

    /// Writes record data; names in those of RFC 1035 may point back (RFC 3597 section 4).
    fn data(&mut self, kind: RrType, data: &[u8]) {
        let fixed = match kind {
            RrType::NS | RrType::CNAME | RrType::PTR | RrType::SOA => 0,
            RrType::MX => 2,
            _ => data.len(),
        };
        let (head, mut rest) = data.split_at(fixed.min(data.len()));
        self.raw(head);
        let names = match kind {
            RrType::NS | RrType::CNAME | RrType::PTR | RrType::MX => 1,
            RrType::SOA => 2,
            _ => 0,
        };
        for _ in 0..names {
            let length = name_length(rest);
            let (name, behind) = rest.split_at(length);
            self.name(name);
            rest = behind;
        }
        self.raw(rest);
    }
}

/// The class of the Internet (RFC 1035 section 3.2.4).
pub(crate) const CLASS_IN: u16 = 1;

/// Returns the octets that the uncompressed name at the front of checked data takes.
pub(crate) fn name_length(data: &[u8]) -> usize {
    let mut at = 0;
    while data[at] != 0 {
        at += 1 + usize::from(data[at]);
    }
    at + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_that_loop_or_lead_forward_are_refused() {
        for message in [
            &b"\xc0\x00"[..],
            b"\x01a\xc0\x02",
            b"\xc0\x02\xc0\x00",
            b"\x40a",
            b"\x80",
            b"\x05ab",
            b"\xc0",
            b"",
        ] {
            let start = if message.len() > 2 && message[0] == 0xc0 {
                2
            } else {
                0
            };
            assert!(Reader::at(message, start).name().is_err(), "{message:?}");
        }
        // A chain of pointers, each to before the one that led there.
        let mut chain = b"\x01a\x00".to_vec();
        chain.extend_from_slice(b"\xc0\x00\xc0\x03\xc0\x05");
        assert_eq!(Reader::at(&chain, 7).name().unwrap().to_string(), "a.");
    }

    #[test]
    fn a_name_longer_than_255_octets_is_refused_however_it_is_put_together() {
        let mut message = Vec::new();
        for _ in 0..4 {
            message.push(63);
            message.extend_from_slice(&[b'x'; 63]);
        }
        message.push(0);
        assert!(Reader::at(&message, 0).name().is_err());
        // 253 octets of labels and the zero are the most.
        let mut most = Vec::new();
        for length in [63u8, 63, 63, 61] {
            most.push(length);
            most.extend(vec![b'x'; usize::from(length)]);
        }
        most.push(0);
        assert_eq!(Reader::at(&most, 0).name().unwrap().wire().len(), 255);
    }

    #[test]
    fn names_are_written_once_and_pointed_to() {
        let mut writer = Writer::new();
        writer.clear(512);
        let owner = Name::parse("www.Example.org").unwrap();
        let other = Name::parse("mail.example.org").unwrap();
        writer.name(owner.wire());
        writer.name(other.wire());
        writer.name(owner.wire());
        assert_eq!(
            writer.octets(),
            b"\x03www\x07example\x03org\x00\x04mail\xc0\x04\xc0\x00"
        );
        let mut reader = Reader::at(writer.octets(), 17);
        assert_eq!(
            (reader.name().unwrap(), reader.name().unwrap()),
            (other, owner)
        );
        assert!(reader.is_at_end());
    }

    #[test]
    fn a_record_that_does_not_fit_leaves_nothing() {
        let mut writer = Writer::new();
        writer.clear(18);
        let owner = Name::parse("a.b").unwrap();
        assert_eq!(
            writer.record(owner.wire(), RrType::A, 5, &[127, 0, 0, 1]),
            Err(Full)
        );
        assert_eq!(writer.len(), 0);
    }
}
