//! When something that happens over and over is told.
//!
//! A fork bomb meets its limit thousands of times a second for as long as it lives. The first time is news; after that only that it goes on.

use daas_model::NodeName;
use std::time::{Duration, Instant};

/// What has not happened for so long has ended: the next time is news again.
const CALM: Duration = Duration::from_secs(60);
/// How often is told that it still goes on.
const REMIND: Duration = Duration::from_secs(5 * 60);

/// What is to be told of something that was just seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Telling {
    /// It is new.
    News,
    /// It goes on: so many times since it was last told.
    StillGoesOn(u64),
}

/// The memory of one kind of happening.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    told: Option<Instant>,
    seen: Option<Instant>,
    untold: u64,
}

/// What was told of a stand's limits.
#[derive(Debug, Default)]
pub(super) struct OfStand {
    pub(super) pids: Repeats,
    pub(super) memory: Repeats,
    pub(super) disk: Repeats,
    pub(super) slowed: Repeats,
    /// Who held most memory when the stand last ran out of it.
    pub(super) suspect: Option<NodeName>,
}

impl Repeats {
    /// Notes that it happened `times` more by `now`; returns what is to be told, nothing mostly.
    pub(super) fn seen(&mut self, times: u64, now: Instant) -> Option<Telling> {
        let tell = self.would_tell(now);
        let ended = is_past(self.seen, CALM, now);
        self.seen = Some(now);
        let untold = std::mem::take(&mut self.untold).saturating_add(times);
        if !tell {
            self.untold = untold;
            return None;
        }
        self.told = Some(now);
        Some(if ended {
            Telling::News
        } else {
            Telling::StillGoesOn(untold)
        })
    }

    /// Tells whether a happening at `now` would be told.
    pub(super) fn would_tell(&self, now: Instant) -> bool {
        is_past(self.seen, CALM, now) || is_past(self.told, REMIND, now)
    }
}

fn is_past(since: Option<Instant>, span: Duration, now: Instant) -> bool {
    since.is_none_or(|at| now.saturating_duration_since(at) >= span)
}

impl Telling {
    /// Adds to `text` how often it happened since the last word.
    pub(super) fn complete(self, text: String) -> String {
        match self {
            Self::News => text,
            Self::StillGoesOn(times) => format!("{text} ({times} times since the last word)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_told_once_then_every_five_minutes_with_a_count_and_anew_after_a_calm_minute() {
        let mut limit = Repeats::default();
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut told = Vec::new();
        // Ten refusals each second for ten minutes and a half.
        for second in 0..=630 {
            if let Some(telling) = limit.seen(10, at(second)) {
                told.push((second, telling));
            }
        }
        let reminder = Telling::StillGoesOn(3000);
        assert_eq!(told, [(0, Telling::News), (300, reminder), (600, reminder)]);
        assert_eq!(limit.seen(1, at(689)), None);
        assert_eq!(limit.seen(1, at(749)), Some(Telling::News));
        assert_eq!(
            reminder.complete("at the limit".to_owned()),
            "at the limit (3000 times since the last word)"
        );
    }
}
