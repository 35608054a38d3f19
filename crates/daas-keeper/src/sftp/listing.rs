//! The line of a file in a listing, as `ls -l` writes it: clients show it as it comes.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

/// The kinds of files by the highest digits of their modes (inode(7)).
const KINDS: [(u32, char); 7] = [
    (0o140_000, 's'),
    (0o120_000, 'l'),
    (0o100_000, '-'),
    (0o060_000, 'b'),
    (0o040_000, 'd'),
    (0o020_000, 'c'),
    (0o010_000, 'p'),
];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// Returns the line without its name, which may be any bytes.
pub(super) fn line(meta: &Metadata) -> String {
    format!(
        "{} {:>3} {:<8} {:<8} {:>8} {} ",
        letters(meta.mode()),
        meta.nlink(),
        meta.uid(),
        meta.gid(),
        meta.len(),
        date(meta.mtime()),
    )
}

fn letters(mode: u32) -> String {
    let kind = KINDS.iter().find(|(bits, _)| mode & 0o170_000 == *bits);
    let mut letters = String::from(kind.map_or('?', |(_, letter)| *letter));
    let special = [(0o4000, 's'), (0o2000, 's'), (0o1000, 't')];
    for (shift, (bit, letter)) in [6, 3, 0].into_iter().zip(special) {
        let rights = mode >> shift;
        letters.push(if rights & 4 == 0 { '-' } else { 'r' });
        letters.push(if rights & 2 == 0 { '-' } else { 'w' });
        letters.push(match (rights & 1 != 0, mode & bit != 0) {
            (true, false) => 'x',
            (false, false) => '-',
            (true, true) => letter,
            (false, true) => letter.to_ascii_uppercase(),
        });
    }
    letters
}

/// Returns day and year in UTC (civil from days, Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn date(seconds: i64) -> String {
    let days = seconds.div_euclid(86_400) + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let moon = (5 * of_year + 2) / 153;
    let day = of_year - (153 * moon + 2) / 5 + 1;
    let month = (moon + 2) % 12;
    let year = year + era * 400 + i64::from(moon >= 10);
    let name = usize::try_from(month).ok().and_then(|m| MONTHS.get(m));
    format!("{} {day:>2}  {year}", name.unwrap_or(&"???"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_and_dates_read_as_people_know_them() {
        for (mode, text) in [
            (0o100_644, "-rw-r--r--"),
            (0o040_755, "drwxr-xr-x"),
            (0o120_777, "lrwxrwxrwx"),
            (0o104_755, "-rwsr-xr-x"),
            (0o041_777, "drwxrwxrwt"),
            (0o102_644, "-rw-r-Sr--"),
            (0o010_600, "prw-------"),
        ] {
            assert_eq!(letters(mode), text);
        }
        for (seconds, text) in [
            (0, "Jan  1  1970"),
            (951_782_400, "Feb 29  2000"),
            (951_868_800, "Mar  1  2000"),
            (1_795_305_599, "Nov 21  2026"),
            (-1, "Dec 31  1969"),
        ] {
            assert_eq!(date(seconds), text, "{seconds}");
        }
    }
}
