use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// The id by which answer and log name one request. It tells nothing and is no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RequestId(u64);

/// Gives out ids.
#[derive(Debug, Default)]
pub(crate) struct RequestIds {
    seed: RandomState,
    next: AtomicU64,
}

impl RequestIds {
    pub(crate) fn next(&self) -> RequestId {
        let mut hash = self.seed.build_hasher();
        hash.write_u64(self.next.fetch_add(1, Ordering::Relaxed));
        RequestId(hash.finish())
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
