use crate::image::Pruned;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What the daemon is and where it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SystemInfo {
    /// The daemon's version.
    pub version: String,
    /// When it started, in milliseconds of the Unix clock.
    pub started_ms: u64,
    /// Its process.
    pub pid: u32,
    /// The host's name.
    pub host: String,
    /// The kernel's release.
    pub kernel: String,
    /// How cgroups are mounted: `v2`, `v1`, `hybrid`.
    pub cgroups: String,
    /// The state directory.
    pub state_dir: String,
    /// How many stands there are.
    pub stands: u32,
    /// How many of their nodes run.
    pub nodes_running: u32,
    /// How many images there are.
    pub images: u32,
    /// The disk of the state directory: bytes in all.
    pub disk_total_bytes: u64,
    /// The disk of the state directory: bytes free.
    pub disk_free_bytes: u64,
    /// Where it is reached.
    #[serde(default)]
    pub doors: Vec<DoorView>,
    /// What its tasks do.
    #[serde(default)]
    pub tasks: Vec<TaskView>,
}

/// A door of the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DoorView {
    /// `socket` and `api` for the API, `http` and `https` for the services of stands, `registry`, `names`, `ssh`.
    pub door: String,
    /// Where it listens; nowhere if the list is empty.
    pub listens: Vec<String>,
}

/// A task of the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskView {
    /// Its name.
    pub name: String,
    /// `waiting`, `working`, `backoff`.
    pub state: String,
    /// Finished units of work.
    pub turns: u64,
    /// How many of them failed.
    pub failures: u64,
    /// The failure that it recovers from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CheckVerdict {
    /// As it should be.
    Ok,
    /// It works, with a limit or a risk.
    Warn,
    /// Stands will not work.
    Fail,
}

/// One thing about the host that stands need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Check {
    /// The stable code, `kernel-user-namespaces`.
    pub code: String,
    /// What was looked at, in words.
    pub title: String,
    /// How it went.
    pub verdict: CheckVerdict,
    /// What was found.
    pub found: String,
    /// What to change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

/// All checks of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DoctorReport {
    /// In a sensible order for reading.
    pub checks: Vec<Check>,
}

impl DoctorReport {
    /// Returns the worst verdict; `Ok` without checks.
    #[must_use]
    pub fn worst(&self) -> CheckVerdict {
        self.checks
            .iter()
            .map(|check| check.verdict)
            .max()
            .unwrap_or(CheckVerdict::Ok)
    }
}

/// Asks for the removal of what nothing needs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PruneRequest {
    /// Whether it is only told what would go.
    #[serde(default)]
    pub dry_run: bool,
    /// Whether images go that no stand uses, not only those without a name.
    #[serde(default)]
    pub all: bool,
}

/// What `system prune` threw away, or would.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SystemPruned {
    /// Images and layers.
    pub images: Pruned,
    /// Leftovers of stands that are gone.
    pub leftovers: Pruned,
}
