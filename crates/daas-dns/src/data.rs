//! The data of records: from text as zone files write it, to the wire, and back (RFC 1035 section 5, RFC 3597).

use crate::kind::RrType;
use crate::name::{Name, NameError};
use crate::wire::{Malformed, Reader, name_length};
use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The most octets of a character string (RFC 1035 section 3.3).
const MOST_STRING: usize = 255;

/// A text that is no data of its type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no data of {kind}: {why}", .text.escape_debug())]
pub struct DataError {
    /// The type.
    pub kind: RrType,
    /// The text.
    pub text: String,
    /// What is wrong with it.
    pub why: String,
}

/// Data of one record: the octets of the wire with its names in lower case and without pointers, which is the canonical form that DNSSEC signs
/// (RFC 4034 section 6.2).
pub type Data = Box<[u8]>;

/// Parses the data of a record of type `kind`; names without a last dot lie under `origin`.
///
/// # Errors
/// [`DataError`] with what was expected.
pub fn parse(kind: RrType, text: &str, origin: &Name) -> Result<Data, DataError> {
    let fault = |why: String| DataError {
        kind,
        text: text.chars().take(300).collect(),
        why,
    };
    let words = split(text).map_err(|why| fault(why.into()))?;
    let mut fields = Fields {
        words: words.into_iter(),
        origin,
        wire: Vec::new(),
    };
    fields.all(kind).map_err(fault)?;
    if fields.wire.len() > usize::from(u16::MAX) {
        return Err(fault("it is longer than 65,535 octets".into()));
    }
    let wire: Data = fields.wire.into();
    // What the generic form gives must be what the type's own form could give.
    check(kind, &wire).map_err(|e| fault(e.0.into()))?;
    Ok(wire)
}

/// A word of a line; a quoted one is a text whatever is in it.
struct Word {
    octets: Vec<u8>,
    raw: String,
    quoted: bool,
}

/// Splits a line into words; `"` holds blanks together and `\` escapes.
fn split(text: &str) -> Result<Vec<Word>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<Word> = None;
    let mut chars = text.chars().peekable();
    let fresh = |quoted| Word {
        octets: Vec::new(),
        raw: String::new(),
        quoted,
    };
    while let Some(c) = chars.next() {
        match c {
            '"' => match word.take() {
                Some(open) if open.quoted => words.push(open),
                Some(_) => return Err("a `\"` inside of a word"),
                None => word = Some(fresh(true)),
            },
            c if c.is_whitespace() && !word.as_ref().is_some_and(|w| w.quoted) => {
                words.extend(word.take());
            }
            '\\' => {
                let open = word.get_or_insert_with(|| fresh(false));
                open.raw.push('\\');
                let next = chars.next().ok_or("a `\\` escapes nothing")?;
                open.raw.push(next);
                // `\#` opens the generic form; it is told by the raw word.
                if let Some(first) = next.to_digit(10) {
                    let mut value = first;
                    for _ in 0..2 {
                        let digit = chars.next().ok_or("three digits stand behind a `\\`")?;
                        open.raw.push(digit);
                        value = value * 10
                            + digit
                                .to_digit(10)
                                .ok_or("three digits stand behind a `\\`")?;
                    }
                    open.octets
                        .push(u8::try_from(value).map_err(|_| "an octet is at most 255")?);
                } else {
                    open.octets.extend(next.to_string().bytes());
                }
            }
            c => {
                let open = word.get_or_insert_with(|| fresh(false));
                open.raw.push(c);
                let mut utf8 = [0; 4];
                open.octets
                    .extend_from_slice(c.encode_utf8(&mut utf8).as_bytes());
            }
        }
    }
    match word {
        Some(open) if open.quoted => Err("a `\"` is not closed"),
        last => {
            words.extend(last);
            Ok(words)
        }
    }
}

struct Fields<'a> {
    words: std::vec::IntoIter<Word>,
    origin: &'a Name,
    wire: Vec<u8>,
}

impl Fields<'_> {
    fn all(&mut self, kind: RrType) -> Result<(), String> {
        if self
            .words
            .as_slice()
            .first()
            .is_some_and(|word| word.raw == "\\#")
        {
            return self.generic();
        }
        match kind {
            RrType::A => self.octets_of::<Ipv4Addr, 4>("an IPv4 address", |a| a.octets())?,
            RrType::AAAA => self.octets_of::<Ipv6Addr, 16>("an IPv6 address", |a| a.octets())?,
            RrType::NS | RrType::CNAME | RrType::PTR | RrType::DNAME => self.name("a name")?,
            RrType::MX => {
                self.number::<u16>("a preference")?;
                self.name("a mail server")?;
            }
            RrType::TXT => self.texts()?,
            RrType::SRV => {
                for what in ["a priority", "a weight", "a port"] {
                    self.number::<u16>(what)?;
                }
                self.name("a target")?;
            }
            RrType::CAA => {
                self.number::<u8>("flags")?;
                let tag = self.word("a tag")?;
                if tag.octets.is_empty() || !tag.octets.iter().all(u8::is_ascii_alphanumeric) {
                    return Err("the tag is letters and digits".into());
                }
                self.string(&tag.octets.to_ascii_lowercase())?;
                let value = self.word("a value")?;
                self.wire.extend_from_slice(&value.octets);
            }
            RrType::SOA => {
                self.name("the primary server")?;
                self.name("the mailbox of who is responsible")?;
                for what in ["a serial", "refresh", "retry", "expire", "minimum"] {
                    self.number::<u32>(what)?;
                }
            }
            RrType::DS | RrType::CDS => {
                self.number::<u16>("a key tag")?;
                self.number::<u8>("an algorithm")?;
                self.number::<u8>("a digest type")?;
                self.hex("a digest")?;
            }
            RrType::TLSA => {
                for what in ["a usage", "a selector", "a matching type"] {
                    self.number::<u8>(what)?;
                }
                self.hex("certificate data")?;
            }
            RrType::SSHFP => {
                self.number::<u8>("an algorithm")?;
                self.number::<u8>("a fingerprint type")?;
                self.hex("a fingerprint")?;
            }
            RrType::NAPTR => {
                self.number::<u16>("an order")?;
                self.number::<u16>("a preference")?;
                for what in ["flags", "services", "an expression"] {
                    let text = self.word(what)?;
                    self.string(&text.octets)?;
                }
                self.name("a replacement")?;
            }
            kind if kind.is_of_signing() || kind.is_meta() || kind == RrType::DNSKEY => {
                return Err("such records are made by the platform itself".into());
            }
            _ => return Err("write it in the generic form `\\# <length> <hex>` (RFC 3597)".into()),
        }
        match self.words.next() {
            Some(more) => Err(format!("`{}` is too much", more.raw)),
            None => Ok(()),
        }
    }

    fn word(&mut self, what: &str) -> Result<Word, String> {
        self.words
            .next()
            .ok_or_else(|| format!("{what} is missing"))
    }

    fn octets_of<T: std::str::FromStr, const N: usize>(
        &mut self,
        what: &str,
        octets: impl Fn(T) -> [u8; N],
    ) -> Result<(), String> {
        let word = self.word(what)?;
        let value: T = word
            .raw
            .parse()
            .map_err(|_| format!("`{}` is not {what}", word.raw))?;
        self.wire.extend_from_slice(&octets(value));
        Ok(())
    }

    fn number<T: std::str::FromStr + Into<u32>>(&mut self, what: &str) -> Result<(), String> {
        let word = self.word(what)?;
        let value: T = word
            .raw
            .parse()
            .map_err(|_| format!("`{}` is no number that may be {what}", word.raw))?;
        let octets: [u8; 4] = value.into().to_be_bytes();
        self.wire.extend_from_slice(&octets[4 - size_of::<T>()..]);
        Ok(())
    }

    fn name(&mut self, what: &str) -> Result<(), String> {
        let word = self.word(what)?;
        let name =
            Name::parse_under(&word.raw, self.origin).map_err(|e: NameError| e.to_string())?;
        self.wire.extend_from_slice(name.wire());
        Ok(())
    }

    fn string(&mut self, octets: &[u8]) -> Result<(), String> {
        let length = u8::try_from(octets.len()).map_err(|_| "a text has at most 255 octets")?;
        self.wire.push(length);
        self.wire.extend_from_slice(octets);
        Ok(())
    }

    /// Texts; one longer than 255 octets becomes several, as DKIM's keys need.
    fn texts(&mut self) -> Result<(), String> {
        let mut word = Some(self.word("a text")?);
        while let Some(text) = word {
            if text.octets.is_empty() {
                self.wire.push(0);
            }
            for part in text.octets.chunks(MOST_STRING) {
                self.string(part)?;
            }
            word = self.words.next();
        }
        Ok(())
    }

    fn hex(&mut self, what: &str) -> Result<(), String> {
        let mut digits = self.word(what)?.raw;
        for more in self.words.by_ref() {
            digits.push_str(&more.raw);
        }
        if digits.is_empty() || digits.len() % 2 != 0 || !digits.is_ascii() {
            return Err(format!("{what} is written in pairs of hex digits"));
        }
        for pair in 0..digits.len() / 2 {
            let octet = u8::from_str_radix(&digits[2 * pair..2 * pair + 2], 16)
                .map_err(|_| format!("{what} is written in pairs of hex digits"))?;
            self.wire.push(octet);
        }
        Ok(())
    }

    /// The form of RFC 3597: `\# length hex`.
    fn generic(&mut self) -> Result<(), String> {
        self.words.next();
        let length: usize = self
            .word("a length")?
            .raw
            .parse()
            .map_err(|_| "the length is no number")?;
        if length > 0 {
            self.hex("data")?;
        }
        if self.wire.len() == length {
            Ok(())
        } else {
            Err(format!(
                "{} octets stand where {length} are told",
                self.wire.len()
            ))
        }
    }
}

/// Tells whether uncompressed octets are data of `kind`.
pub(crate) fn check(kind: RrType, wire: &[u8]) -> Result<(), Malformed> {
    let mut reader = Reader::at(wire, 0);
    let canonical = from_message(kind, &mut reader, wire.len())?;
    if *canonical == *wire {
        Ok(())
    } else {
        Err(Malformed("a name in the data is not in its canonical form"))
    }
}

/// Reads `length` octets of data from a message; names lose pointers and upper case.
pub(crate) fn from_message(
    kind: RrType,
    reader: &mut Reader<'_>,
    length: usize,
) -> Result<Data, Malformed> {
    let end = reader.place() + length;
    let mut data = Vec::with_capacity(length);
    for part in shape(kind) {
        match part {
            Part::Fixed(count) => data.extend_from_slice(reader.octets(*count)?),
            Part::Name => data.extend_from_slice(reader.name()?.wire()),
            Part::String => {
                let count = reader.u8()?;
                data.push(count);
                data.extend_from_slice(reader.octets(usize::from(count))?);
            }
            Part::Strings => {
                // At least one (RFC 1035 section 3.3.14).
                loop {
                    let count = reader.u8()?;
                    data.push(count);
                    data.extend_from_slice(reader.octets(usize::from(count))?);
                    if reader.place() >= end {
                        break;
                    }
                }
            }
            Part::Rest => {
                let count = end
                    .checked_sub(reader.place())
                    .ok_or(Malformed("data passes its length"))?;
                data.extend_from_slice(reader.octets(count)?);
            }
        }
    }
    if reader.place() == end {
        Ok(data.into())
    } else {
        Err(Malformed("data does not fill its length"))
    }
}

/// A part of data.
enum Part {
    Fixed(usize),
    Name,
    String,
    Strings,
    Rest,
}

/// Returns the parts of a type's data; unknown types are octets (RFC 3597).
fn shape(kind: RrType) -> &'static [Part] {
    match kind {
        RrType::A => &[Part::Fixed(4)],
        RrType::AAAA => &[Part::Fixed(16)],
        RrType::NS | RrType::CNAME | RrType::PTR | RrType::DNAME => &[Part::Name],
        RrType::MX => &[Part::Fixed(2), Part::Name],
        RrType::TXT => &[Part::Strings],
        RrType::SRV => &[Part::Fixed(6), Part::Name],
        RrType::SOA => &[Part::Name, Part::Name, Part::Fixed(20)],
        RrType::CAA => &[Part::Fixed(1), Part::String, Part::Rest],
        RrType::NAPTR => &[
            Part::Fixed(4),
            Part::String,
            Part::String,
            Part::String,
            Part::Name,
        ],
        RrType::DS | RrType::CDS | RrType::DNSKEY | RrType::CDNSKEY => {
            &[Part::Fixed(4), Part::Rest]
        }
        RrType::RRSIG => &[Part::Fixed(18), Part::Name, Part::Rest],
        RrType::NSEC => &[Part::Name, Part::Rest],
        RrType::TLSA => &[Part::Fixed(3), Part::Rest],
        RrType::SSHFP => &[Part::Fixed(2), Part::Rest],
        _ => &[Part::Rest],
    }
}

/// Returns checked data as zone files write it.
#[must_use]
pub fn show(kind: RrType, data: &[u8]) -> String {
    shown(kind, data).unwrap_or_else(|_| generic(data))
}

fn generic(data: &[u8]) -> String {
    let mut text = format!("\\# {}", data.len());
    if !data.is_empty() {
        text.push(' ');
        push_hex(&mut text, data);
    }
    text
}

fn push_hex(text: &mut String, octets: &[u8]) {
    for octet in octets {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{octet:02x}");
    }
}

fn shown(kind: RrType, data: &[u8]) -> Result<String, Malformed> {
    let mut reader = Reader::at(data, 0);
    let mut words = Vec::new();
    match kind {
        RrType::A => {
            let octets: [u8; 4] = data.try_into().map_err(|_| Malformed("no address"))?;
            words.push(Ipv4Addr::from(octets).to_string());
        }
        RrType::AAAA => {
            let octets: [u8; 16] = data.try_into().map_err(|_| Malformed("no address"))?;
            words.push(Ipv6Addr::from(octets).to_string());
        }
        RrType::NS | RrType::CNAME | RrType::PTR | RrType::DNAME => {
            words.push(reader.name()?.to_string());
        }
        RrType::MX => {
            words.push(reader.u16()?.to_string());
            words.push(reader.name()?.to_string());
        }
        RrType::TXT => {
            while !reader.is_at_end() {
                words.push(quoted_string(&mut reader)?);
            }
        }
        RrType::SRV => {
            for _ in 0..3 {
                words.push(reader.u16()?.to_string());
            }
            words.push(reader.name()?.to_string());
        }
        RrType::CAA => {
            words.push(reader.u8()?.to_string());
            let count = usize::from(reader.u8()?);
            words.push(String::from_utf8_lossy(reader.octets(count)?).into_owned());
            words.push(quoted(&data[reader.place()..]));
        }
        RrType::SOA => {
            words.push(reader.name()?.to_string());
            words.push(reader.name()?.to_string());
            for _ in 0..5 {
                words.push(reader.u32()?.to_string());
            }
        }
        RrType::DS | RrType::CDS => {
            words.push(reader.u16()?.to_string());
            words.push(reader.u8()?.to_string());
            words.push(reader.u8()?.to_string());
            words.push(hex(&data[reader.place()..]));
        }
        RrType::TLSA => {
            for _ in 0..3 {
                words.push(reader.u8()?.to_string());
            }
            words.push(hex(&data[reader.place()..]));
        }
        RrType::SSHFP => {
            for _ in 0..2 {
                words.push(reader.u8()?.to_string());
            }
            words.push(hex(&data[reader.place()..]));
        }
        RrType::NAPTR => {
            words.push(reader.u16()?.to_string());
            words.push(reader.u16()?.to_string());
            for _ in 0..3 {
                words.push(quoted_string(&mut reader)?);
            }
            words.push(reader.name()?.to_string());
        }
        _ => return Ok(generic(data)),
    }
    Ok(words.join(" "))
}

fn hex(octets: &[u8]) -> String {
    let mut text = String::with_capacity(2 * octets.len());
    push_hex(&mut text, octets);
    text
}

fn quoted_string(reader: &mut Reader<'_>) -> Result<String, Malformed> {
    let count = usize::from(reader.u8()?);
    Ok(quoted(reader.octets(count)?))
}

fn quoted(octets: &[u8]) -> String {
    let mut text = String::with_capacity(octets.len() + 2);
    text.push('"');
    for &octet in octets {
        match octet {
            b'"' | b'\\' => {
                text.push('\\');
                text.push(char::from(octet));
            }
            0x20..=0x7e => text.push(char::from(octet)),
            other => {
                let _ = write!(text, "\\{other:03}");
            }
        }
    }
    text.push('"');
    text
}

/// Makes the data of a TXT record of one text, which may be longer than 255 octets.
#[must_use]
pub fn txt(text: &str) -> Data {
    let mut wire = Vec::with_capacity(text.len() + 1);
    if text.is_empty() {
        wire.push(0);
    }
    for part in text.as_bytes().chunks(MOST_STRING) {
        // A chunk has at most 255 octets.
        wire.push(u8::try_from(part.len()).unwrap_or(u8::MAX));
        wire.extend_from_slice(part);
    }
    wire.into()
}

/// Makes the type and the data of an address record.
#[must_use]
pub fn address(address: std::net::IpAddr) -> (RrType, Data) {
    match address {
        std::net::IpAddr::V4(v4) => (RrType::A, Box::from(v4.octets())),
        std::net::IpAddr::V6(v6) => (RrType::AAAA, Box::from(v6.octets())),
    }
}

/// Returns the name that data of one name is, as of a CNAME.
pub(crate) fn target(data: &[u8]) -> Name {
    Name::from_checked_wire(&data[..name_length(data)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_comes_back_as_it_was_written() {
        let origin = Name::parse("example.org").unwrap();
        for (kind, written, shown) in [
            ("A", "192.0.2.1", "192.0.2.1"),
            ("AAAA", "2001:DB8::1", "2001:db8::1"),
            ("CNAME", "Www", "www.example.org."),
            ("NS", "ns.other.net.", "ns.other.net."),
            ("MX", "10 mail", "10 mail.example.org."),
            (
                "TXT",
                "\"two words\" one \"q\\\"\\\\\" \"\"",
                "\"two words\" \"one\" \"q\\\"\\\\\" \"\"",
            ),
            ("TXT", "\"caf\u{e9}\"", "\"caf\\195\\169\""),
            ("SRV", "0 5 5060 sip", "0 5 5060 sip.example.org."),
            (
                "CAA",
                "0 Issue \"ca.example.net; policy=ev\"",
                "0 issue \"ca.example.net; policy=ev\"",
            ),
            (
                "SOA",
                "ns hostmaster 1 2 3 4 5",
                "ns.example.org. hostmaster.example.org. 1 2 3 4 5",
            ),
            (
                "DS",
                "60485 13 2 2BB183AF 5F22588179",
                "60485 13 2 2bb183af5f22588179",
            ),
            ("TLSA", "3 1 1 00ff", "3 1 1 00ff"),
            ("SSHFP", "4 2 00ff", "4 2 00ff"),
            (
                "NAPTR",
                "100 10 \"u\" \"E2U+sip\" \"!^.*$!sip:x!\" .",
                "100 10 \"u\" \"E2U+sip\" \"!^.*$!sip:x!\" .",
            ),
            ("PTR", "@", "example.org."),
            ("TYPE65280", "\\# 3 0a0B0c", "\\# 3 0a0b0c"),
            ("A", "\\# 4 c0000201", "192.0.2.1"),
            ("TYPE65280", "\\# 0", "\\# 0"),
        ] {
            let kind = RrType::parse(kind).unwrap();
            let data = parse(kind, written, &origin).unwrap();
            assert_eq!(show(kind, &data), shown);
            assert_eq!(parse(kind, shown, &origin).unwrap(), data);
        }
    }

    #[test]
    fn data_that_does_not_fit_its_type_is_refused() {
        for (kind, text) in [
            ("A", "1.2.3"),
            ("A", "1.2.3.4 5"),
            ("A", "\\# 3 010203"),
            ("AAAA", "1.2.3.4"),
            ("MX", "mail"),
            ("MX", "70000 mail"),
            ("TXT", ""),
            ("TXT", "\"open"),
            ("CAA", "0 is-sue x"),
            ("CNAME", "a..b"),
            ("CNAME", "\\# 2 c000"),
            ("DS", "1 13 2 abc"),
            ("NSEC", "a. A"),
            ("TYPE65280", "abc"),
        ] {
            let kind = RrType::parse(kind).unwrap();
            assert!(parse(kind, text, &Name::root()).is_err(), "{kind} {text}");
        }
    }

    #[test]
    fn a_long_text_becomes_several_strings() {
        let long = "k".repeat(600);
        let data = parse(RrType::TXT, &format!("\"{long}\""), &Name::root()).unwrap();
        assert_eq!(data.len(), 603);
        assert_eq!(data, txt(&long));
    }
}
