//! Durations as Go's `time.ParseDuration` reads them, which is what `HEALTHCHECK` takes.

use std::time::Duration;

/// Reads `1m30s`, `1.5h`, `500ms`; nothing if it is none, is negative or does not fit.
pub(crate) fn read(text: &str) -> Option<Duration> {
    let text = text.strip_prefix('+').unwrap_or(text);
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut nanos: u128 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, behind) = rest.split_at(digits);
        let unit_end = behind
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(unit_end);
        nanos = nanos.checked_add(parts(number, scale(unit)?)?)?;
        rest = behind;
    }
    // What Go's own type holds: 292 years.
    i64::try_from(nanos)
        .ok()
        .and_then(|n| u64::try_from(n).ok())
        .map(Duration::from_nanos)
}

fn parts(number: &str, scale: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let read = |digits: &str| {
        if digits.is_empty() {
            Some(0)
        } else {
            digits.parse::<u128>().ok()
        }
    };
    let whole = read(whole)?.checked_mul(scale)?;
    // More digits than a nanosecond has do not count.
    let fraction = &fraction[..fraction.len().min(18)];
    let tens = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    whole.checked_add(read(fraction)?.checked_mul(scale)? / tens)
}

fn scale(unit: &str) -> Option<u128> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_go() {
        for (text, millis) in [
            ("30s", 30_000),
            ("1m30s", 90_000),
            ("1.5h", 5_400_000),
            ("500ms", 500),
            (".5s", 500),
            ("0", 0),
            ("+1s", 1_000),
        ] {
            assert_eq!(read(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "30", "s", "-1s", "1d", "1.2.3s", "999999999999h", "1s "] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
