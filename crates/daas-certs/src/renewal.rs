//! When a certificate is renewed.

use serde::{Deserialize, Serialize};

/// What an authority suggests (RFC 9773, section 4.2), in milliseconds of the Unix clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Not before.
    pub start_ms: u64,
    /// Not after.
    pub end_ms: u64,
}

/// Returns when a certificate is to be renewed, in milliseconds of the Unix clock.
///
/// At a point of the suggested window that `seed` chooses evenly (RFC 9773, section 4.2), so that many machines do not come at once; without
/// one at two thirds of the life, up to a twentieth of it earlier. Never later than at nine tenths: a window behind the end helps nobody.
#[must_use]
pub fn due_ms(not_before_ms: u64, not_after_ms: u64, window: Option<Window>, seed: &str) -> u64 {
    let life = not_after_ms.saturating_sub(not_before_ms);
    let last = not_before_ms.saturating_add(life / 10 * 9);
    let choice = u64::from(part(seed));
    let within = |span: u64| {
        span / u64::from(u32::MAX) * choice
            + span % u64::from(u32::MAX) * choice / u64::from(u32::MAX)
    };
    let due = match window {
        Some(window) if window.end_ms >= window.start_ms => window
            .start_ms
            .saturating_add(within(window.end_ms - window.start_ms)),
        _ => {
            let latest = not_before_ms.saturating_add(life / 3 * 2);
            latest.saturating_sub(within(life / 20))
        }
    };
    due.min(last)
}

/// Returns a number that differs from certificate to certificate and not from start to start.
fn part(seed: &str) -> u32 {
    // FNV-1a: the hasher of the standard library may change with it.
    seed.bytes().fold(0x811c_9dc5, |hash: u32, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

/// Days before the end at which an alarm is given; 0 is the end.
const ALARMS: [u32; 4] = [14, 7, 1, 0];
/// Milliseconds of a day.
pub(crate) const DAY_MS: u64 = 24 * 3600 * 1000;

/// Returns the alarm that is due: the least of 14, 7, 1 and 0 days that are left, if `given` was not as late already.
///
/// An alarm has to mean that a renewal did not work: a certificate that lives less than 30 days, and is renewed with less than 14 left,
/// has the alarms of 7 and 14 days only when less than a fifth of its life is left.
#[must_use]
pub fn alarm(
    not_before_ms: u64,
    not_after_ms: u64,
    now_ms: u64,
    given: Option<u32>,
) -> Option<u32> {
    let left = not_after_ms.saturating_sub(now_ms);
    let life = not_after_ms.saturating_sub(not_before_ms);
    let due = ALARMS
        .into_iter()
        .rev()
        .find(|days| left <= u64::from(*days) * DAY_MS)?;
    if due > 1 && left > life / 5 {
        return None;
    }
    given.is_none_or(|last| due < last).then_some(due)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_800_000_000_000;

    #[test]
    fn lives_of_6_45_64_and_90_days_are_renewed_at_two_thirds_a_little_spread() {
        for days in [6, 45, 64, 90] {
            let life = days * DAY_MS;
            let dues: Vec<u64> = (0..200)
                .map(|n| due_ms(START, START + life, None, &format!("seed {n}")))
                .collect();
            let (least, most) = (
                dues.iter().min().unwrap() - START,
                dues.iter().max().unwrap() - START,
            );
            assert!(
                least >= life * 61 / 100 && most <= life * 2 / 3,
                "{days}: {least} {most}"
            );
            assert!(most - least > life / 30, "{days} days: not spread");
            // A life of renewals never comes near the end.
            let mut begin = START;
            for n in 0..40 {
                let due = due_ms(begin, begin + life, None, &format!("{n}"));
                assert!(begin + life - due >= life / 3);
                begin = due;
            }
        }
    }

    #[test]
    fn a_suggested_window_decides_unless_it_comes_too_late() {
        let end = START + 90 * DAY_MS;
        let window = Window {
            start_ms: START + 10 * DAY_MS,
            end_ms: START + 11 * DAY_MS,
        };
        for n in 0..50 {
            let due = due_ms(START, end, Some(window), &format!("{n}"));
            assert!((window.start_ms..=window.end_ms).contains(&due));
        }
        let past = Window {
            start_ms: 1000,
            end_ms: 2000,
        };
        assert!(due_ms(START, end, Some(past), "x") <= 2000);
        let late = Window {
            start_ms: end + DAY_MS,
            end_ms: end + 2 * DAY_MS,
        };
        assert_eq!(due_ms(START, end, Some(late), "x"), START + 81 * DAY_MS);
        let turned = Window {
            start_ms: 10,
            end_ms: 5,
        };
        assert!(due_ms(START, end, Some(turned), "x") > START);
    }

    #[test]
    fn alarms_come_once_each_and_never_for_a_certificate_that_is_renewed_in_time() {
        let end = START + 90 * DAY_MS;
        let mut given = None;
        let mut said = Vec::new();
        for hour in 0..91 * 24 {
            if let Some(days) = alarm(START, end, START + hour * 3_600_000, given) {
                given = Some(days);
                said.push(days);
            }
        }
        assert_eq!(said, [14, 7, 1, 0]);
        // Six days: the first alarm comes with a fifth of the life left.
        let end = START + 6 * DAY_MS;
        assert_eq!(alarm(START, end, START + 4 * DAY_MS, None), None);
        assert_eq!(alarm(START, end, START + 5 * DAY_MS, None), Some(1));
    }
}
