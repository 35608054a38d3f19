use serde::{Deserialize, Serialize};

/// What to do when a node's process ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// Leave it ended.
    #[default]
    No,
    /// Start it again, whatever its exit code.
    Always,
    /// Start it again unless its exit code is 0.
    OnFailure {
        /// How many times; without, for ever.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        max_retries: Option<u32>,
    },
    /// Start it again, unless a person stopped it.
    UnlessStopped,
}
