//! How a stand is, in words for whoever opens its URL.

use std::time::Instant;

/// What a stand does as a whole, as far as a visitor needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mood {
    /// It runs, or some of it does.
    #[default]
    Up,
    /// Nodes are still to come.
    Starting,
    /// It was stopped by a person.
    Stopped,
    /// It sleeps until somebody comes.
    Asleep,
    /// It is frozen.
    Paused,
    /// It failed.
    Failed,
    /// It is being thrown away.
    Leaving,
}

/// How a stand is.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    /// As a whole.
    pub mood: Mood,
    /// What is not ready yet, and why.
    pub waits: Vec<Wait>,
}

/// A node that is not ready.
#[derive(Debug, Clone)]
pub struct Wait {
    /// The node.
    pub node: String,
    /// What it does: `is still starting`.
    pub what: String,
    /// Since when, if that is worth telling.
    pub since: Option<Instant>,
}

impl Standing {
    /// Returns a sentence for each thing that is not ready: `postgres of shop-7 is still starting: 4 s`.
    #[must_use]
    pub fn sentences(&self, stand: &str) -> Vec<String> {
        if self.waits.is_empty() {
            let text = match self.mood {
                Mood::Up => format!("no node of {stand} serves this"),
                Mood::Starting => format!("{stand} is starting"),
                Mood::Stopped => {
                    format!("{stand} is stopped; `daas stand start {stand}` starts it")
                }
                Mood::Asleep => format!("{stand} sleeps and is being waked"),
                Mood::Paused => format!("{stand} is paused; `daas stand resume {stand}` goes on"),
                Mood::Failed => format!("{stand} has failed; `daas stand show {stand}` says why"),
                Mood::Leaving => format!("{stand} is being thrown away"),
            };
            return vec![text];
        }
        self.waits
            .iter()
            .map(|wait| {
                let since = wait.since.map_or_else(String::new, |since| {
                    format!(": {} s", since.elapsed().as_secs())
                });
                format!("{} of {stand} {}{since}", wait.node, wait.what)
            })
            .collect()
    }
}
