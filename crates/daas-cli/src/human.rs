//! Numbers as people read them.

use daas_model::ByteSize;

/// Writes how long ago or ahead something is: `12 s`, `5 min`, `3 h`, `2 d`.
pub(crate) fn age(from_ms: u64, to_ms: u64) -> String {
    let seconds = to_ms.saturating_sub(from_ms) / 1000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// Writes a duration of milliseconds: `12 ms`, `1.2 s`, `2 min 3 s`.
pub(crate) fn duration(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        _ => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1000),
    }
}

/// Writes a size: `190 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    ByteSize(bytes).to_string()
}

/// Writes a moment in UTC: `2026-01-01T00:00:00.000Z` (RFC 3339).
pub(crate) fn moment(us: u64) -> String {
    let (seconds, millis) = (us / 1_000_000, us / 1000 % 1000);
    let (year, month, day) = date(seconds / 86_400);
    let of_day = seconds % 86_400;
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{millis:03}Z",
        of_day / 3600,
        of_day / 60 % 60,
        of_day % 60
    )
}

/// Returns the date of a day number since 1970 (Howard Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`).
fn date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// Gives names the order in which people count: `shop-2` before `shop-10`.
pub(crate) fn order(name: &str) -> Vec<(String, u64)> {
    let mut parts = vec![(String::new(), 0)];
    let mut digits = String::new();
    for c in name.chars().chain(['\0']) {
        if c.is_ascii_digit() && digits.len() < 19 {
            digits.push(c);
            continue;
        }
        if let Some(last) = parts.last_mut().filter(|_| !digits.is_empty()) {
            // Up to 19 digits always fit.
            last.1 = digits.parse().unwrap_or(0);
            digits.clear();
            parts.push((String::new(), 0));
        }
        if let Some(last) = parts.last_mut() {
            last.0.push(c);
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_durations_have_one_sensible_unit() {
        let ages = [
            0,
            59_999,
            60_000,
            3_599_999,
            3_600_000,
            172_799_999,
            172_800_000,
        ]
        .map(|ms| age(0, ms));
        assert_eq!(
            ages,
            ["0 s", "59 s", "1 min", "59 min", "1 h", "47 h", "2 d"]
        );
        assert_eq!(age(5, 0), "0 s", "a clock that went back");
        assert_eq!(
            [7, 1_234, 61_000].map(duration),
            ["7 ms", "1.2 s", "1 min 1 s"]
        );
    }

    #[test]
    fn names_are_in_the_order_in_which_people_count() {
        let mut names = [
            "shop-10",
            "shop-2",
            "shop",
            "a-1-b",
            "a-1",
            "shop-1",
            "99999999999999999999999",
            "b2c10",
            "b2c9",
        ];
        names.sort_by_cached_key(|name| order(name));
        assert_eq!(
            names,
            [
                "99999999999999999999999",
                "a-1",
                "a-1-b",
                "b2c9",
                "b2c10",
                "shop",
                "shop-1",
                "shop-2",
                "shop-10"
            ]
        );
    }

    #[test]
    fn moments_are_those_of_the_calendar() {
        for (us, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000_000, "2000-02-29T00:00:00.000Z"),
            (1_767_225_599_999_000, "2025-12-31T23:59:59.999Z"),
            (4_102_444_800_000_000, "2100-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(moment(us), text);
        }
    }
}
