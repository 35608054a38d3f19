use crate::unit::Span;
use serde::{Deserialize, Serialize};

/// How a node's health is asked (Compose Specification, `healthcheck`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// What is run inside the node; exit code 0 means healthy.
    pub test: HealthTest,
    /// The pause between two checks.
    pub interval: Span,
    /// How long one check may take before it counts as failed.
    pub timeout: Span,
    /// How many failures in a row make the node unhealthy.
    pub retries: u32,
    /// How long after the start failures do not count.
    pub start_period: Span,
    /// The pause between two checks during `start_period`.
    pub start_interval: Span,
}

/// What a health check runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HealthTest {
    /// No check at all, the image's own included (`NONE` or `disable: true`).
    None,
    /// The image's own command with these timings.
    Inherit,
    /// A program and its arguments.
    Exec(Vec<String>),
    /// A line for the node's own shell.
    Shell(String),
}

impl Default for HealthCheck {
    /// Returns the image's own test with Docker's timings: 30 s interval and timeout, 3 retries, no start period, 5 s start interval.
    fn default() -> Self {
        Self {
            test: HealthTest::Inherit,
            interval: Span::secs(30),
            timeout: Span::secs(30),
            retries: 3,
            start_period: Span::default(),
            start_interval: Span::secs(5),
        }
    }
}
