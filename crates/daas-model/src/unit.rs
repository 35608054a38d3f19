use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// A text that is no amount of the wanted unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitError {
    text: String,
    wanted: &'static str,
}

impl UnitError {
    fn new(text: &str, wanted: &'static str) -> Self {
        Self {
            text: text.chars().take(80).collect(),
            wanted,
        }
    }
}

impl fmt::Display for UnitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is no {}", self.text.escape_debug(), self.wanted)
    }
}

impl std::error::Error for UnitError {}

/// An amount of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(pub u64);

const SIZE_WANTED: &str = "size, write for example `512 MiB`, `512m`, `2gb` or a number of bytes";

impl ByteSize {
    /// Makes a size from mebibytes.
    #[must_use]
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    /// Makes a size from gibibytes.
    #[must_use]
    pub const fn gib(n: u64) -> Self {
        Self(n << 30)
    }

    /// Parses a size: a number, whole or with a fraction, and a unit of 1,024 (`k`, `kb`, `KiB`, `m`, ... `t`), or bytes.
    ///
    /// Decimal-looking units count 1,024 too, as the Compose Specification's byte values do.
    ///
    /// # Errors
    /// [`UnitError`] if the text is no size or exceeds 2^63 bytes.
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        let bad = || UnitError::new(text, SIZE_WANTED);
        let trimmed = text.trim();
        let split = trimmed
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(split);
        let shift = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 0,
            "k" | "kb" | "kib" => 10,
            "m" | "mb" | "mib" => 20,
            "g" | "gb" | "gib" => 30,
            "t" | "tb" | "tib" => 40,
            _ => return Err(bad()),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let mut bytes = u128::from(whole.parse::<u64>().map_err(|_| bad())?) << shift;
        if number.contains('.') {
            if fraction.is_empty() || fraction.len() > 9 {
                return Err(bad());
            }
            let parts = u128::from(fraction.parse::<u64>().map_err(|_| bad())?);
            bytes +=
                (parts << shift) / 10u128.pow(u32::try_from(fraction.len()).map_err(|_| bad())?);
        }
        u64::try_from(bytes)
            .ok()
            .filter(|b| *b < 1 << 63)
            .map(Self)
            .ok_or_else(bad)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
        let mut step = 0;
        let mut unit = 1u64;
        while step + 1 < UNITS.len() && self.0 >= unit << 10 {
            unit <<= 10;
            step += 1;
        }
        let text = if self.0.is_multiple_of(unit) {
            format!("{} {}", self.0 / unit, UNITS[step])
        } else {
            // One digit behind the point, cut and not rounded, so that a size never looks larger than it is.
            format!(
                "{}.{} {}",
                self.0 / unit,
                (self.0 % unit) * 10 / unit,
                UNITS[step]
            )
        };
        f.pad(&text)
    }
}

/// An amount of CPU time per time, in thousandths of one CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Cpus(pub u32);

impl Cpus {
    /// Makes an amount of whole CPUs.
    #[must_use]
    pub const fn whole(n: u32) -> Self {
        Self(n * 1000)
    }

    /// Parses `2`, `0.5` or `1.25`.
    ///
    /// # Errors
    /// [`UnitError`] if the text is no positive number of at most 65,536 CPUs, or is under one hundredth.
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        let bad = || {
            UnitError::new(
                text,
                "number of CPUs from 0.01 to 65536, write for example `0.5` or `2`",
            )
        };
        let trimmed = text.trim();
        let (whole, fraction) = trimmed.split_once('.').unwrap_or((trimmed, "0"));
        let whole: u32 = if whole.is_empty() {
            0
        } else {
            whole.parse().map_err(|_| bad())?
        };
        if fraction.is_empty()
            || !fraction.bytes().all(|b| b.is_ascii_digit())
            || !trimmed.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        {
            return Err(bad());
        }
        let digits: String = fraction.chars().chain("000".chars()).take(3).collect();
        let milli: u32 = digits.parse().map_err(|_| bad())?;
        if whole > 65_536 {
            return Err(bad());
        }
        let amount = whole * 1000 + milli;
        if amount < 10 {
            Err(bad())
        } else {
            Ok(Self(amount))
        }
    }
}

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:03}", self.0 / 1000, self.0 % 1000);
        f.pad(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// A length of time, to the microsecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(pub Duration);

impl Span {
    /// Makes a span of whole seconds.
    #[must_use]
    pub const fn secs(n: u64) -> Self {
        Self(Duration::from_secs(n))
    }

    /// Makes a span of whole milliseconds.
    #[must_use]
    pub const fn millis(n: u64) -> Self {
        Self(Duration::from_millis(n))
    }

    /// Parses parts of number and unit (`us`, `ms`, `s`, `m`, `h`, `d`), largest first or not: `1m30s`, `1.5h`, `30 s`.
    ///
    /// # Errors
    /// [`UnitError`] if a number has no unit (except `0`), a unit is unknown, or the span exceeds 100 years.
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        let bad = || {
            UnitError::new(
                text,
                "length of time, write for example `30s`, `1m30s` or `2h`",
            )
        };
        let mut rest = text.trim();
        if rest == "0" {
            return Ok(Self::default());
        }
        if rest.is_empty() {
            return Err(bad());
        }
        let mut micros: u128 = 0;
        while !rest.is_empty() {
            let number_end = rest
                .find(|c: char| !c.is_ascii_digit() && c != '.')
                .ok_or_else(bad)?;
            let (number, tail) = rest.split_at(number_end);
            let tail = tail.trim_start();
            let unit_end = tail
                .find(|c: char| !c.is_alphabetic())
                .unwrap_or(tail.len());
            let (unit, next) = tail.split_at(unit_end);
            let scale: u128 = match unit {
                "us" | "µs" | "μs" => 1,
                "ms" => 1_000,
                "s" => 1_000_000,
                "m" => 60_000_000,
                "h" => 3_600_000_000,
                "d" => 86_400_000_000,
                _ => return Err(bad()),
            };
            let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
            if whole.is_empty()
                || fraction.is_empty()
                || fraction.len() > 9
                || fraction.contains('.')
            {
                return Err(bad());
            }
            let digits = u32::try_from(fraction.len()).map_err(|_| bad())?;
            micros += u128::from(whole.parse::<u64>().map_err(|_| bad())?) * scale;
            micros += u128::from(fraction.parse::<u64>().map_err(|_| bad())?) * scale
                / 10u128.pow(digits);
            rest = next.trim_start();
        }
        // 100 years: every sum with a clock stays far from overflow.
        if micros > 3_155_760_000_000_000 {
            return Err(bad());
        }
        u64::try_from(micros)
            .map(|us| Self(Duration::from_micros(us)))
            .map_err(|_| bad())
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut micros = self.0.as_micros();
        if micros == 0 {
            return f.pad("0s");
        }
        let mut text = String::new();
        for (unit, scale) in [
            ("d", 86_400_000_000),
            ("h", 3_600_000_000),
            ("m", 60_000_000),
            ("s", 1_000_000),
            ("ms", 1_000),
            ("us", 1),
        ] {
            if micros >= scale {
                text.push_str(&format!("{}{unit}", micros / scale));
                micros %= scale;
            }
        }
        f.pad(&text)
    }
}

macro_rules! text_serde {
    ($type:ident) => {
        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = String::deserialize(d)?;
                $type::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}
text_serde!(Span);

impl Serialize for ByteSize {
    /// Writes the number of bytes, so that nothing is lost.
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u64(self.0)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        u64::deserialize(d).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_in_every_form() {
        for (text, bytes) in [
            ("512m", 512 << 20),
            ("512 MiB", 512 << 20),
            ("2gb", 2 << 30),
            ("1.5g", 3 << 29),
            ("64", 64),
            ("1k", 1024),
            ("10B", 10),
        ] {
            assert_eq!(ByteSize::parse(text).unwrap().0, bytes, "{text}");
        }
        for text in [
            "",
            "m",
            "-1",
            "1..5g",
            "9999999999999999g",
            "1 xb",
            "1.g",
            "٣m",
        ] {
            assert!(ByteSize::parse(text).is_err(), "{text}");
        }
        assert_eq!(ByteSize::gib(2).to_string(), "2 GiB");
        assert_eq!(ByteSize(1536).to_string(), "1.5 KiB");
    }

    #[test]
    fn cpus_in_every_form() {
        assert_eq!(Cpus::parse("0.5").unwrap().0, 500);
        assert_eq!(Cpus::parse("2").unwrap().to_string(), "2");
        assert_eq!(Cpus::parse("1.25").unwrap().to_string(), "1.25");
        for text in ["", "-1", "0", "0.001", "a", "1.", "1e3", "99999"] {
            assert!(Cpus::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn spans_in_every_form() {
        assert_eq!(Span::parse("1m30s").unwrap(), Span::secs(90));
        assert_eq!(Span::parse("30 s").unwrap(), Span::secs(30));
        assert_eq!(Span::parse("1.5h").unwrap(), Span::secs(5400));
        assert_eq!(Span::parse("2h45m").unwrap().to_string(), "2h45m");
        for text in ["", "30", "s", "1x", "-1s", "1s2", "99999999999d"] {
            assert!(Span::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_span_that_is_printed_parses_to_itself(us in 0u64..3_000_000_000_000_000) {
            let span = Span(Duration::from_micros(us));
            prop_assert_eq!(Span::parse(&span.to_string()).unwrap(), span);
        }

        #[test]
        fn no_text_makes_a_unit_panic(text in "\\PC{0,40}") {
            let _ = (ByteSize::parse(&text), Cpus::parse(&text), Span::parse(&text));
        }
    }
}
