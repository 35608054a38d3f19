use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Wakes a loop before its time. Many calls before the loop looks count as one.
#[derive(Debug, Clone, Default)]
pub struct Wake {
    notify: Arc<Notify>,
}

/// Why a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waked {
    /// Somebody called.
    Called,
    /// The time came.
    Time,
}

impl Wake {
    /// Makes a wake that nobody has called.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Calls the loop. A call while nobody waits is kept for the next wait.
    pub fn call(&self) {
        self.notify.notify_one();
    }

    /// Waits for a call. May be dropped at any time and loses none.
    pub async fn called(&self) {
        self.notify.notified().await;
    }

    /// Waits for a call or until `after` has gone by.
    pub async fn called_or(&self, after: Duration) -> Waked {
        match tokio::time::timeout(after, self.called()).await {
            Ok(()) => Waked::Called,
            Err(_) => Waked::Time,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_call_while_nobody_waits_is_kept_and_many_count_as_one() {
        let wake = Wake::new();
        wake.call();
        wake.clone().call();
        assert_eq!(wake.called_or(Duration::from_secs(1)).await, Waked::Called);
        assert_eq!(wake.called_or(Duration::from_secs(1)).await, Waked::Time);
    }
}
