//! Work in the background waits until nobody waits for a stand.
//!
//! To make a keeper is to move a process into cgroups, to mount, to make namespaces: all of it under locks of the kernel that a stand which just comes
//! up needs too. Done at the same moment it cost that stand 10 ms of its 20 (a write to `cgroup.procs` holds the lock of all cgroups for one grace period
//! of RCU).
//!
//! Not here: what is done in the background (`keepers`).

use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How long nobody may have waited. Between the steps of one stand lies less.
const QUIET: Duration = Duration::from_millis(3);
/// How long background work waits at most: under steady load it must be done too, or everybody pays for it.
const PATIENCE: Duration = Duration::from_millis(500);

/// Knows how many people wait for stands.
#[derive(Debug)]
pub(super) struct Calm {
    busy: watch::Sender<usize>,
}

/// Somebody waits, until this is dropped.
#[derive(Debug)]
pub(super) struct Busy<'a>(&'a Calm);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.busy.send_modify(|n| *n = n.saturating_sub(1));
    }
}

impl Default for Calm {
    fn default() -> Self {
        Self {
            busy: watch::Sender::new(0),
        }
    }
}

impl Calm {
    /// Notes that somebody waits from now on.
    pub(super) fn disturb(&self) -> Busy<'_> {
        self.busy.send_modify(|n| *n += 1);
        Busy(self)
    }

    /// Waits until nobody has waited for a moment, or background work has waited long enough. Safe to drop.
    pub(super) async fn come(&self) {
        self.come_within(PATIENCE).await;
    }

    async fn come_within(&self, patience: Duration) {
        let mut busy = self.busy.subscribe();
        let until = Instant::now() + patience;
        while Instant::now() < until {
            let rest = until.saturating_duration_since(Instant::now());
            // The sender lives as long as we do.
            let _ = tokio::time::timeout(rest, busy.wait_for(|n| *n == 0)).await;
            if tokio::time::timeout(QUIET, busy.changed()).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn background_work_comes_after_who_waits() {
        let calm = Calm::default();
        let (first, second) = (calm.disturb(), calm.disturb());
        let come = calm.come_within(Duration::from_secs(3600));
        tokio::pin!(come);
        assert!(tokio::time::timeout(QUIET * 4, &mut come).await.is_err());
        drop(first);
        assert!(tokio::time::timeout(QUIET * 4, &mut come).await.is_err());
        drop(second);
        come.await;
    }

    #[tokio::test]
    async fn background_work_comes_at_last_though_somebody_always_waits() {
        let calm = Calm::default();
        let _busy = calm.disturb();
        calm.come_within(QUIET).await;
    }
}
