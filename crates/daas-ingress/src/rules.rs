//! What is done to a request on its way.

use std::time::Duration;

/// How long the head of an answer may take where a route does not say it: longer than any usual page, shorter than people wait.
const ANSWER: Duration = Duration::from_secs(120);

/// What is done to a request on its way.
#[derive(Debug, Clone)]
pub struct Rules {
    /// How long the head of an answer may take.
    pub timeout: Duration,
    /// How often a request that may be repeated is tried again elsewhere.
    pub retries: u32,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            timeout: ANSWER,
            retries: 2,
        }
    }
}
