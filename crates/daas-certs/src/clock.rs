//! The clock that decides about expiry and renewal; tests drive it.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Wall time. Certificates are about the calendar, so the clock may jump in both directions.
pub trait Clock: fmt::Debug + Send + Sync {
    /// Returns milliseconds of the Unix clock.
    fn now_ms(&self) -> u64;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

/// The machine's clock, moved by as much as a test says.
#[derive(Debug, Default)]
pub struct DrivenClock {
    by_ms: AtomicI64,
}

impl DrivenClock {
    /// Moves it on by `ms` milliseconds, or back.
    pub fn drive(&self, ms: i64) {
        self.by_ms.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for DrivenClock {
    fn now_ms(&self) -> u64 {
        SystemClock
            .now_ms()
            .saturating_add_signed(self.by_ms.load(Ordering::SeqCst))
    }
}
