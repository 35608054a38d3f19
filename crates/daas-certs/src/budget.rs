//! How often is ordered: less than an authority allows, and after failures less and less. All of it is kept, so that a daemon that
//! starts again and again orders no more than one that runs.

use crate::record::LedgerRecord;
use std::time::Duration;

const WEEK_MS: u64 = 7 * 24 * 3600 * 1000;
/// What stays for renewals behind [`Budget::weekly`]: they come by themselves, and nobody may have used them up.
const FOR_RENEWALS: usize = 10;
/// What stays of [`Budget::weekly`] for names that people ask for, whatever comes and goes of stands.
const FOR_PEOPLE: usize = 10;

/// How many certificates one authority issues for one registered domain in seven days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// New ones; renewals have ten more.
    pub weekly: usize,
}

impl Default for Budget {
    /// 40: the largest public authority allows 50.
    fn default() -> Self {
        Self { weekly: 40 }
    }
}

/// What is ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A certificate for names that had none.
    New,
    /// A certificate for the names of a stand, which nobody asked for.
    Stand,
    /// The same names once more.
    Renewal,
    /// The same names, and the authority is told which certificate is replaced: not counted (RFC 9773, section 5).
    Replacement,
}

impl Budget {
    /// Tells whether one more may be ordered at `now_ms`.
    ///
    /// # Errors
    /// When it may, in milliseconds of the Unix clock.
    pub fn allows(self, ledger: &LedgerRecord, what: What, now_ms: u64) -> Result<(), u64> {
        let most = match what {
            What::Replacement => return Ok(()),
            What::New => self.weekly,
            What::Stand => self.weekly.saturating_sub(FOR_PEOPLE),
            What::Renewal => self.weekly.saturating_add(FOR_RENEWALS),
        };
        let from = now_ms.saturating_sub(WEEK_MS);
        let mut lately: Vec<u64> = ledger
            .issued_ms
            .iter()
            .copied()
            .filter(|at| *at > from)
            .collect();
        if lately.len() < most {
            return Ok(());
        }
        lately.sort_unstable();
        let leaving = lately.len() - most;
        Err(lately
            .get(leaving)
            .map_or(now_ms + WEEK_MS, |at| at + WEEK_MS))
    }
}

impl LedgerRecord {
    /// Adds one that was issued at `now_ms`.
    pub fn add(&mut self, now_ms: u64) {
        let from = now_ms.saturating_sub(WEEK_MS);
        self.issued_ms.retain(|at| *at > from);
        self.issued_ms.push(now_ms);
    }
}

/// Returns how long to wait after `failures` in a row: 1, 10 and 100 minutes, then a day (the largest public authority's own advice).
#[must_use]
pub fn pause(failures: u32) -> Duration {
    let minutes = match failures {
        0 => 0,
        1 => 1,
        2 => 10,
        3 => 100,
        _ => 24 * 60,
    };
    Duration::from_secs(minutes * 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_week_has_so_many_and_no_more_and_renewals_have_some_of_their_own() {
        let budget = Budget { weekly: 3 };
        let mut ledger = LedgerRecord::default();
        let day = 24 * 3600 * 1000;
        let start = 100 * day;
        for n in 0..3 {
            assert_eq!(budget.allows(&ledger, What::New, start + n * day), Ok(()));
            ledger.add(start + n * day);
        }
        assert_eq!(
            budget.allows(&ledger, What::New, start + 3 * day),
            Err(start + 7 * day)
        );
        assert_eq!(
            budget.allows(&ledger, What::Renewal, start + 3 * day),
            Ok(())
        );
        for _ in 0..10 {
            ledger.add(start + 3 * day);
        }
        assert_eq!(
            budget.allows(&ledger, What::Renewal, start + 3 * day),
            Err(start + 7 * day)
        );
        assert_eq!(
            budget.allows(&ledger, What::Replacement, start + 3 * day),
            Ok(())
        );
        assert_eq!(budget.allows(&ledger, What::New, start + 30 * day), Ok(()));
        ledger.add(start + 30 * day);
        assert_eq!(ledger.issued_ms.len(), 1);
    }

    #[test]
    fn a_restart_loop_of_a_day_orders_four_times() {
        let (mut now, mut next, mut failures, mut orders) = (0, 0, 0, 0);
        while now < 24 * 3600 {
            if now >= next {
                orders += 1;
                failures += 1;
                next = now + pause(failures).as_secs();
            }
            now += 5;
        }
        assert_eq!(orders, 4);
    }
}
