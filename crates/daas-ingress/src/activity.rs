//! Whether anybody uses a stand, and when somebody last did.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The visits to one stand.
#[derive(Debug)]
pub(crate) struct Activity {
    began: Instant,
    now: AtomicUsize,
    /// Milliseconds from `began` to the end of the last visit; 0 for none.
    last: AtomicU64,
    /// Requests that wait for a node.
    waiting: AtomicUsize,
}

/// How many requests wait for the nodes of one stand: each holds a connection and some kilobytes.
const MOST_WAITING: usize = 1000;

impl Activity {
    pub(crate) fn new() -> Self {
        Self {
            began: Instant::now(),
            now: AtomicUsize::new(0),
            last: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Takes a place among those who wait; nothing where all are taken.
    pub(crate) fn wait(self: &Arc<Self>) -> Option<Waiting> {
        let place = Waiting(self.clone());
        (self.waiting.fetch_add(1, Ordering::Relaxed) < MOST_WAITING).then_some(place)
    }

    pub(crate) fn is_visited(&self) -> bool {
        self.now.load(Ordering::Relaxed) > 0
    }

    pub(crate) fn last(&self) -> Option<Instant> {
        match self.last.load(Ordering::Relaxed) {
            0 => None,
            ms => Some(self.began + Duration::from_millis(ms)),
        }
    }
}

/// A request, or a connection that has stopped being HTTP, while it lasts.
#[derive(Debug)]
pub(crate) struct Guest(Arc<Activity>);

impl Guest {
    pub(crate) fn new(activity: &Arc<Activity>) -> Self {
        activity.now.fetch_add(1, Ordering::Relaxed);
        Self(activity.clone())
    }
}

/// A place among those who wait for a node, while it is held.
#[derive(Debug)]
pub(crate) struct Waiting(Arc<Activity>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let ms = u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.last.store(ms.max(1), Ordering::Relaxed);
        self.0.now.fetch_sub(1, Ordering::Relaxed);
    }
}
