//! A stand that goes on against its full disk gets next to nothing of the processors, until it has room again.
//!
//! Refusing a file is work for the kernel that nobody's share counts: thousands of inodes and credentials of files that were not made are
//! given back at a time, for milliseconds, between two interrupts of whoever has the processor then (RCU callbacks, `rcu_resched_ns`). A
//! node that tries without end makes its neighbours wait for that. It gains nothing by trying faster (decision 40).
//!
//! Not here: who gives way to whom while nobody is at a limit (`daas-engine`, `giving_way`).

use super::Keeper;
use super::adopt::ceiling;
use crate::protocol::EventKind;
use daas_sys::cgroup::CpuTimes;
use std::time::{Duration, Instant};

/// Who takes less than this part of a processor takes little; in the kernel that much is what a stand may take at its full disk.
const LITTLE: f64 = 0.25;
/// A slowed stand that takes nothing for so long has given up.
const GAVE_UP: Duration = Duration::from_secs(2);

/// How fast the stand goes.
#[derive(Debug, Default)]
pub(super) struct Pace {
    seen: Option<(Instant, CpuTimes)>,
    /// Whether it took little when it was last looked at.
    calm: bool,
    slowed: bool,
    /// When it last took anything.
    worked: Option<Instant>,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Slow,
    Hasten,
}

impl Pace {
    /// Forgets that the stand is slowed; tells whether it was.
    pub(super) fn forget(&mut self) -> bool {
        std::mem::take(&mut self.slowed)
    }

    /// Tells whether the stand takes much of the processors, or would if it could, or nobody knows yet.
    pub(super) fn is_busy(&self) -> bool {
        !self.calm || self.slowed
    }

    /// Judges what the stand has used by `now`. `hits` says that it is at a limit which it could go on against, `helped` that somebody does something about it.
    fn judge(&mut self, now: Instant, used: CpuTimes, hits: bool, helped: bool) -> Option<Change> {
        let (before, then) = self.seen.replace((now, used))?;
        let passed = now
            .saturating_duration_since(before)
            .as_secs_f64()
            .max(1e-3);
        let user = used.user.saturating_sub(then.user).as_secs_f64() / passed;
        let system = used.system.saturating_sub(then.system).as_secs_f64() / passed;
        self.calm = user + system <= LITTLE;
        if used != then {
            self.worked = Some(now);
        }
        if self.slowed {
            let gave_up = self
                .worked
                .is_some_and(|at| now.saturating_duration_since(at) >= GAVE_UP);
            return (!hits || helped || gave_up).then_some(Change::Hasten);
        }
        (hits && !helped && system > LITTLE).then_some(Change::Slow)
    }
}

impl Keeper {
    /// Looks whether the stand goes on against its full disk, or does so no longer.
    pub(super) fn look_at_pace(&mut self, now: Instant) {
        let Some(used) = self.group.cpu_times() else {
            return;
        };
        let helped = self.execs.values().any(|exec| exec.is_a_persons())
            || self.nodes.values().any(|node| node.stopping.is_some());
        match self.pace.judge(now, used, self.disk_was_full, helped) {
            Some(Change::Slow) => self.slow_down(now),
            Some(Change::Hasten) => self.hasten(),
            None => {}
        }
    }

    fn slow_down(&mut self, now: Instant) {
        // On v1 a node with a share of its own forbids it: then it stays as it is.
        if self.group.slow().is_err() {
            return;
        }
        self.pace.slowed = true;
        let text = format!(
            "stand {} goes on against its full disk: it is slowed until there is room, or somebody is inside",
            self.stand_name()
        );
        if let Some(telling) = self.told.slowed.seen(1, now) {
            self.tell(None, EventKind::Slowed, telling.complete(text));
        }
    }

    /// Lets the stand run again as its ceiling allows.
    pub(super) fn hasten(&mut self) {
        if let (true, Some(stand)) = (self.pace.forget(), &self.stand) {
            // What was allowed before is allowed again.
            let _ = self.group.limit(&ceiling(&stand.limits));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(user_ms: u64, system_ms: u64) -> CpuTimes {
        CpuTimes {
            user: Duration::from_millis(user_ms),
            system: Duration::from_millis(system_ms),
        }
    }

    /// One look a second; each item is what was used meanwhile, and what else is true.
    fn changes(looks: &[(u64, u64, bool, bool)]) -> Vec<Option<Change>> {
        let (mut pace, mut now, mut used) = (Pace::default(), Instant::now(), times(0, 0));
        pace.judge(now, used, false, false);
        looks
            .iter()
            .map(|(user, system, hits, helped)| {
                now += Duration::from_secs(1);
                used.user += Duration::from_millis(*user);
                used.system += Duration::from_millis(*system);
                let change = pace.judge(now, used, *hits, *helped);
                pace.slowed = match change {
                    Some(change) => change == Change::Slow,
                    None => pace.slowed,
                };
                change
            })
            .collect()
    }

    #[test]
    fn who_goes_on_against_a_full_disk_is_slowed_until_there_is_room() {
        let (slow, hasten) = (Some(Change::Slow), Some(Change::Hasten));
        let filler = [
            (100, 800, true, false),
            (5, 45, true, false),
            (5, 45, false, false),
        ];
        assert_eq!(changes(&filler), [slow, None, hasten]);
        let gives_up = [
            (100, 800, true, false),
            (0, 0, true, false),
            (0, 0, true, false),
        ];
        assert_eq!(changes(&gives_up), [slow, None, hasten]);
    }

    #[test]
    fn who_works_is_not_slowed_and_neither_is_who_is_helped() {
        let works = [
            (100, 800, false, false),
            (800, 200, true, false),
            (50, 100, true, false),
        ];
        assert_eq!(changes(&works), [None; 3]);
        let helped = [
            (100, 800, true, true),
            (100, 800, true, false),
            (10, 40, true, true),
        ];
        assert_eq!(
            changes(&helped),
            [None, Some(Change::Slow), Some(Change::Hasten)]
        );
    }
}
