use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep};

/// How long a body may still keep us waiting (threat S19). Time in which we do not ask for more does not count.
#[derive(Debug)]
pub struct Patience {
    left: Duration,
    per_byte: Duration,
    most: Duration,
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl Patience {
    /// Allows `most` in all, over what bytes pay for: `rate` bytes, at least one, pay for a second.
    #[must_use]
    pub fn new(most: Duration, rate: u32) -> Self {
        Self {
            left: most,
            per_byte: Duration::from_secs(1) / rate.max(1),
            most,
            waiting: None,
        }
    }

    /// Says that bytes came: they pay for the time in which we waited.
    pub fn came(&mut self, bytes: usize) {
        if let Some((since, _)) = self.waiting.take() {
            self.left = self.left.saturating_sub(since.elapsed());
        }
        let earned = self
            .per_byte
            .saturating_mul(u32::try_from(bytes).unwrap_or(u32::MAX));
        self.left = self.left.saturating_add(earned).min(self.most);
    }

    /// Says that nothing came; ready when the patience has ended.
    pub fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let left = self.left;
        let (_, sleep) = self
            .waiting
            .get_or_insert_with(|| (Instant::now(), Box::pin(sleep(left))));
        sleep.as_mut().poll(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ends_within(patience: &mut Patience, seconds: u64) -> bool {
        let end = std::future::poll_fn(|context| patience.poll_end(context));
        let end = tokio::time::timeout(Duration::from_secs(seconds), end);
        end.await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_pay_for_waiting_and_silence_ends_it() {
        let mut patience = Patience::new(Duration::from_secs(10), 1024);
        assert!(!ends_within(&mut patience, 9).await);
        // One second is left, and four are earned.
        patience.came(4 * 1024);
        assert!(!ends_within(&mut patience, 4).await);
        assert!(ends_within(&mut patience, 2).await);
    }
}
