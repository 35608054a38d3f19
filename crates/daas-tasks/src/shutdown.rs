use tokio::sync::watch;

/// Tells a task whether it should end. A clone hears the same.
#[derive(Debug, Clone)]
pub struct Shutdown {
    asked: watch::Receiver<bool>,
}

impl Shutdown {
    /// Makes the two ends: sending `true`, or dropping the sender, asks.
    pub(crate) fn channel() -> (watch::Sender<bool>, Self) {
        let (sender, asked) = watch::channel(false);
        (sender, Self { asked })
    }

    /// Returns when the end was asked for; at once if it was before. May be dropped at any time.
    pub async fn asked(&self) {
        // An error means that the supervisor is gone, which asks for the end too.
        let _ = self.asked.clone().wait_for(|asked| *asked).await;
    }

    /// Tells whether the end was asked for.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        *self.asked.borrow() || self.asked.has_changed().is_err()
    }
}
