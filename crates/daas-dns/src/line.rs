//! A record as zone files write it, in one line (RFC 1035 section 5.1).

use crate::contents::Resource;
use crate::data::{self, DataError};
use crate::kind::RrType;
use crate::name::{Name, NameError};
use crate::settings::USUAL_TTL;
use std::fmt;

/// The longest time that others may keep a record, in seconds: a week.
pub const MOST_TTL: u32 = 7 * 86_400;

/// A line that is no record.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LineError {
    /// It has no name, no type or no data.
    #[error("`{}` is no record: write `name [seconds] TYPE data`", .0.escape_debug())]
    Short(String),
    /// Its name is none.
    #[error("the record's name")]
    Name(#[from] NameError),
    /// Its type is none.
    #[error("`{}` is no type of records", .0.escape_debug())]
    Type(String),
    /// Its time is too long.
    #[error("a record may be kept for at most {MOST_TTL} s")]
    Ttl,
    /// Its data is none.
    #[error("the record's data")]
    Data(#[from] DataError),
}

impl Resource {
    /// Parses `name [seconds] [IN] TYPE data`; names without a last dot lie under `origin`, which `@` stands for.
    ///
    /// # Errors
    /// [`LineError`] that says which part is wrong.
    pub fn parse(line: &str, origin: &Name) -> Result<Self, LineError> {
        let short = || LineError::Short(line.chars().take(200).collect());
        let (name, mut rest) = word(line).ok_or_else(short)?;
        let mut ttl = USUAL_TTL;
        if let Some((text, behind)) = word(rest)
            && let Ok(seconds) = text.parse::<u32>()
        {
            ttl = seconds;
            rest = behind;
        }
        if let Some((text, behind)) = word(rest)
            && text.eq_ignore_ascii_case("IN")
        {
            rest = behind;
        }
        let (kind, data) = word(rest).ok_or_else(short)?;
        if data.is_empty() {
            return Err(short());
        }
        if ttl > MOST_TTL {
            return Err(LineError::Ttl);
        }
        let name = Name::parse_under(name, origin)?;
        let kind = RrType::parse(kind).ok_or_else(|| LineError::Type(kind.into()))?;
        let data = data::parse(kind, data, origin)?;
        Ok(Self {
            name,
            kind,
            ttl,
            data,
        })
    }

    /// Makes an address record.
    #[must_use]
    pub fn address(name: Name, ttl: u32, address: std::net::IpAddr) -> Self {
        let (kind, data) = data::address(address);
        Self {
            name,
            kind,
            ttl,
            data,
        }
    }

    /// Makes a record that names another name: CNAME, NS or PTR.
    #[must_use]
    pub fn pointer(name: Name, kind: RrType, ttl: u32, target: &Name) -> Self {
        Self {
            name,
            kind,
            ttl,
            data: Box::from(target.wire()),
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} {} {}",
            self.name,
            self.ttl,
            self.kind,
            data::show(self.kind, &self.data)
        )
    }
}

fn word(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    if text.is_empty() {
        return None;
    }
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    Some((&text[..end], text[end..].trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_zone_files_are_records() {
        let origin = Name::parse("example.org").unwrap();
        for (line, shown) in [
            ("www A 192.0.2.1", "www.example.org. 300 A 192.0.2.1"),
            (
                "@ 60 IN MX 10 mail",
                "example.org. 60 MX 10 mail.example.org.",
            ),
            (
                "  mail.other.   TXT   \"a  b\" c ",
                "mail.other. 300 TXT \"a  b\" \"c\"",
            ),
        ] {
            let resource = Resource::parse(line, &origin).unwrap();
            assert_eq!(resource.to_string(), shown);
            assert_eq!(Resource::parse(shown, &Name::root()).unwrap(), resource);
        }
        for line in [
            "",
            "www",
            "www A",
            "www 60",
            "www NOPE x",
            "www 9999999 A 1.2.3.4",
            "a..b A 1.2.3.4",
        ] {
            assert!(Resource::parse(line, &origin).is_err(), "{line}");
        }
    }
}
