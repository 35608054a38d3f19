//! A message that somebody sent: header, question, and what of the rest matters (RFC 1035 section 4, RFC 6891, RFC 8945).

use crate::kind::{Rcode, RrType};
use crate::name::{Key, MOST_OCTETS};
use crate::wire::{CLASS_IN, Malformed, Reader};

/// Octets of a header.
pub(crate) const HEADER: usize = 12;

/// Bits of the second half of a header.
pub(crate) mod flag {
    pub(crate) const QR: u16 = 0x8000;
    pub(crate) const AA: u16 = 0x0400;
    pub(crate) const TC: u16 = 0x0200;
    pub(crate) const RD: u16 = 0x0100;
    pub(crate) const RA: u16 = 0x0080;
    pub(crate) const CD: u16 = 0x0010;
}

/// The header of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) id: u16,
    pub(crate) flags: u16,
    pub(crate) counts: [u16; 4],
}

impl Header {
    /// Reads the header; nothing if there is none.
    pub(crate) fn read(message: &[u8]) -> Option<Self> {
        let half = |at: usize| {
            Some(u16::from_be_bytes([
                *message.get(at)?,
                *message.get(at + 1)?,
            ]))
        };
        Some(Self {
            id: half(0)?,
            flags: half(2)?,
            counts: [half(4)?, half(6)?, half(8)?, half(10)?],
        })
    }

    pub(crate) fn opcode(self) -> u8 {
        // Four bits.
        ((self.flags >> 11) & 0xf) as u8
    }

    pub(crate) fn is_response(self) -> bool {
        self.flags & flag::QR != 0
    }

    pub(crate) fn rcode(self) -> u16 {
        self.flags & 0xf
    }
}

/// What is asked, in place.
#[derive(Clone)]
pub(crate) struct Question {
    wire: [u8; MOST_OCTETS],
    length: usize,
    pub(crate) key: Key,
    pub(crate) kind: RrType,
    pub(crate) class: u16,
    /// Where the question ends in the message.
    pub(crate) end: usize,
}

impl Question {
    fn read(message: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::at(message, HEADER);
        let mut wire = [0; MOST_OCTETS];
        let length = reader.name_into(&mut wire)?;
        if reader.place() != HEADER + length {
            return Err(Malformed("the question's name has a pointer"));
        }
        let kind = RrType(reader.u16()?);
        let class = reader.u16()?;
        Ok(Self {
            key: Key::of(&wire[..length]),
            wire,
            length,
            kind,
            class,
            end: reader.place(),
        })
    }

    /// Returns the name asked for, in lower case.
    pub(crate) fn wire(&self) -> &[u8] {
        &self.wire[..self.length]
    }
}

/// The OPT record of a message (RFC 6891 section 6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Edns {
    /// The longest answer over UDP that the asker takes, in octets.
    pub(crate) size: u16,
    pub(crate) version: u8,
    /// Whether signatures are wanted.
    pub(crate) dnssec: bool,
}

/// A message with one question.
#[derive(Clone)]
pub(crate) struct Request<'a> {
    pub(crate) octets: &'a [u8],
    pub(crate) header: Header,
    pub(crate) question: Question,
    pub(crate) edns: Option<Edns>,
    /// Where the TSIG record begins; it is the last one.
    pub(crate) tsig: Option<usize>,
}

/// A message that is answered without a look at any zone, or not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// No answer: it is an answer itself, or no message.
    Silence,
    /// An answer of a header only.
    Code(Rcode),
}

impl<'a> Request<'a> {
    /// Reads a message.
    pub(crate) fn read(octets: &'a [u8]) -> Result<Self, Unusable> {
        let header = Header::read(octets).ok_or(Unusable::Silence)?;
        if header.is_response() {
            return Err(Unusable::Silence);
        }
        if !matches!(
            header.opcode(),
            crate::kind::opcode::QUERY | crate::kind::opcode::NOTIFY | crate::kind::opcode::UPDATE
        ) {
            return Err(Unusable::Code(Rcode::NOT_IMP));
        }
        // More than one question has no meaning (RFC 9619), and neither has none.
        if header.counts[0] != 1 {
            return Err(Unusable::Code(Rcode::FORM_ERR));
        }
        let malformed = |_| Unusable::Code(Rcode::FORM_ERR);
        let question = Question::read(octets).map_err(malformed)?;
        let mut request = Self {
            octets,
            header,
            question,
            edns: None,
            tsig: None,
        };
        request.read_rest().map_err(malformed)?;
        Ok(request)
    }

    /// Goes along the records behind the question.
    fn read_rest(&mut self) -> Result<(), Malformed> {
        let [_, answers, authority, additional] = self.header.counts;
        let before = usize::from(answers) + usize::from(authority);
        let total = before + usize::from(additional);
        let mut reader = Reader::at(self.octets, self.question.end);
        for number in 0..total {
            let start = reader.place();
            let root = self.octets.get(start) == Some(&0);
            reader.skip_name()?;
            let kind = RrType(reader.u16()?);
            let class = reader.u16()?;
            let ttl = reader.u32()?;
            let length = usize::from(reader.u16()?);
            let data = reader.octets(length)?;
            match kind {
                RrType::OPT => {
                    if number < before || !root || self.edns.is_some() {
                        return Err(Malformed("an OPT record out of place"));
                    }
                    self.edns = Some(read_opt(class, ttl, data)?);
                }
                RrType::TSIG if number + 1 == total && number >= before => self.tsig = Some(start),
                RrType::TSIG => return Err(Malformed("a TSIG record that is not the last")),
                _ => {}
            }
        }
        if reader.is_at_end() {
            Ok(())
        } else {
            Err(Malformed("octets behind the last record"))
        }
    }

    /// Tells whether the question is of class IN, or of any.
    pub(crate) fn is_internet(&self) -> bool {
        self.question.class == CLASS_IN || self.question.class == 255
    }
}

fn read_opt(class: u16, ttl: u32, data: &[u8]) -> Result<Edns, Malformed> {
    // Options that nobody here knows are gone past (RFC 6891 section 6.1.2), but they must be options.
    let mut reader = Reader::at(data, 0);
    while !reader.is_at_end() {
        reader.u16()?;
        let length = usize::from(reader.u16()?);
        reader.octets(length)?;
    }
    let [_, version, high, _] = ttl.to_be_bytes();
    Ok(Edns {
        size: class,
        version,
        dnssec: high & 0x80 != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A query for `www.example.org` AAAA with EDNS.
    pub(crate) fn sample() -> Vec<u8> {
        let mut message = vec![0x12, 0x34, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 1];
        message.extend_from_slice(b"\x03WWW\x07example\x03org\x00\x00\x1c\x00\x01");
        message.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0x80, 0, 0, 0]);
        message
    }

    #[test]
    fn a_query_is_read_whole() {
        let octets = sample();
        let request = Request::read(&octets).unwrap_or_else(|_| panic!("it is one"));
        assert_eq!(request.question.wire(), b"\x03www\x07example\x03org\x00");
        assert_eq!(request.question.kind, RrType::AAAA);
        let edns = request.edns.unwrap();
        assert_eq!((edns.size, edns.version, edns.dnssec), (1232, 0, true));
    }

    #[test]
    fn messages_cut_anywhere_are_malformed_and_never_more() {
        let octets = sample();
        for end in 0..octets.len() {
            let result = Request::read(&octets[..end]);
            let expected = if end < HEADER {
                Unusable::Silence
            } else {
                Unusable::Code(Rcode::FORM_ERR)
            };
            assert_eq!(result.err(), Some(expected), "{end}");
        }
    }

    proptest! {
        #[test]
        fn any_octets_are_read_without_a_panic(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Request::read(&octets);
        }

        #[test]
        fn damaged_queries_are_read_without_a_panic(at in 0usize..44, value in any::<u8>(), cut in 0usize..50) {
            let mut octets = sample();
            let length = octets.len();
            octets[at % length] = value;
            octets.truncate(length.saturating_sub(cut % 7));
            let _ = Request::read(&octets);
        }
    }
}
