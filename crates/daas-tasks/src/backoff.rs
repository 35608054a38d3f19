use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// Pauses between tries that double from `first` to `most`, each with jitter.
///
/// The jitter takes away up to a half ("equal jitter"), so that many who failed together do not come back together.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    tries: u32,
    seed: RandomState,
}

impl Backoff {
    /// Makes a backoff that begins at `first` and never exceeds `most`.
    #[must_use]
    pub fn new(first: Duration, most: Duration) -> Self {
        Self {
            first,
            most,
            tries: 0,
            seed: RandomState::new(),
        }
    }

    /// Returns how many pauses were taken since the last success.
    #[must_use]
    pub fn tries(&self) -> u32 {
        self.tries
    }

    /// Returns the next pause: between a half of and the whole `first * 2^tries`, at most `most`.
    pub fn next_pause(&mut self) -> Duration {
        let whole = self
            .first
            .saturating_mul(1u32.checked_shl(self.tries).unwrap_or(u32::MAX))
            .min(self.most);
        let mut hash = self.seed.build_hasher();
        hash.write_u32(self.tries);
        self.tries = self.tries.saturating_add(1);
        let half = whole / 2;
        let thousandth = u32::try_from(hash.finish() % 1001).unwrap_or(0);
        half + half * thousandth / 1000
    }

    /// Begins anew after a success.
    pub fn reset(&mut self) {
        self.tries = 0;
        self.seed = RandomState::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pauses_double_up_to_the_most_and_begin_anew_after_a_success() {
        let (first, most) = (Duration::from_millis(100), Duration::from_secs(10));
        let mut backoff = Backoff::new(first, most);
        for n in 0..40u32 {
            let whole = first
                .saturating_mul(1u32.checked_shl(n).unwrap_or(u32::MAX))
                .min(most);
            let pause = backoff.next_pause();
            assert!(
                whole / 2 <= pause && pause <= whole,
                "{n}: {pause:?} of {whole:?}"
            );
        }
        backoff.reset();
        assert!(backoff.next_pause() <= first);
    }

    #[test]
    fn two_that_failed_together_come_back_apart() {
        let pauses: std::collections::BTreeSet<_> = (0..50)
            .map(|_| Backoff::new(Duration::from_secs(1), Duration::from_secs(60)).next_pause())
            .collect();
        assert!(pauses.len() > 25, "{pauses:?}");
    }

    proptest! {
        #[test]
        fn no_pause_exceeds_the_most(first in 0u64..1 << 40, most in 0u64..1 << 40, tries in 0usize..100) {
            let mut backoff = Backoff::new(Duration::from_micros(first), Duration::from_micros(most));
            for _ in 0..=tries {
                prop_assert!(backoff.next_pause() <= Duration::from_micros(most));
            }
        }
    }
}
