/// The signals of x86-64 and arm64 by number (`signal(7)`).
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// `SIGTERM`, what a process is asked to end with when nobody says otherwise.
pub(crate) const TERM: i32 = 15;
/// The first real-time signal that programs may use, as glibc counts them.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// Returns the number of a signal by its name (`SIG` and case aside), number, or `RTMIN+n`.
#[must_use]
pub fn number(text: &str) -> Option<i32> {
    let text = text.trim();
    if let Ok(number) = text.parse::<i32>() {
        return (1..=RTMAX).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let plain = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(at) = NAMES.iter().position(|n| *n == plain) {
        return i32::try_from(at + 1).ok();
    }
    let real_time = match (plain.strip_prefix("RTMIN"), plain.strip_prefix("RTMAX")) {
        (Some(""), _) => Some(RTMIN),
        (_, Some("")) => Some(RTMAX),
        (Some(more), _) => more
            .strip_prefix('+')?
            .parse::<i32>()
            .ok()
            .and_then(|n| RTMIN.checked_add(n)),
        (_, Some(less)) => less
            .strip_prefix('-')?
            .parse::<i32>()
            .ok()
            .and_then(|n| RTMAX.checked_sub(n)),
        _ => None,
    };
    real_time.filter(|n| (RTMIN..=RTMAX).contains(n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_by_name_and_number() {
        for (text, wanted) in [
            ("SIGTERM", 15),
            ("quit", 3),
            ("9", 9),
            ("SIGWINCH", 28),
            ("RTMIN+3", 37),
            ("SIGRTMAX-1", 63),
            ("SIGRTMIN", 34),
        ] {
            assert_eq!(number(text), Some(wanted), "{text}");
        }
        for text in ["", "0", "65", "-1", "SIGNOPE", "RTMIN+99", "RTMIN-1"] {
            assert_eq!(number(text), None, "{text}");
        }
    }
}
