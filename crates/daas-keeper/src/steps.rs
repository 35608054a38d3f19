//! The named steps of a stand's life, each of which can be made to fail or to kill the keeper, for the tests of crash safety.
//!
//! `DAAS_CRASH_AT=<step>#<n>` ends the keeper by SIGKILL when it comes to the step for the n-th time, `DAAS_FAIL_AT=<step>#<n>` lets the step fail; without
//! `#<n>` the first time. Read once, when a keeper begins. The daemon has steps of its own and reads the same variables, besides `DAAS_REPEAT_AT`.
//! `DAAS_MET=<path>` makes a file when it happens.

use crate::error::KeeperError;
use daas_sys::process;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Every step, in the order of a stand's life.
pub const ALL: &[&str] = &[
    "prepare.cgroup",
    "prepare.mounts",
    "prepare.userns",
    "prepare.spawner",
    "prepare.disk",
    "prepare.network",
    "prepare.seats",
    "prepare.ready",
    "adopt.begin",
    "adopt.limits",
    "adopt.disk",
    "adopt.network",
    "adopt.volumes",
    "adopt.files",
    "adopt.done",
    "start.begin",
    "start.cgroup",
    "start.merge",
    "start.mounts",
    "start.birth",
    "start.links",
    "start.network",
    "start.exec",
    "start.done",
    "reconfigure.begin",
    "reconfigure.done",
    "stop.begin",
    "stop.signal",
    "stop.kill",
    "stop.done",
    "remove.begin",
    "remove.done",
    "destroy.begin",
    "destroy.kill",
    "destroy.spawner",
    "destroy.cgroup",
    "destroy.disk",
    "destroy.desk",
    "destroy.files",
    "destroy.done",
];

#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    step: String,
    at: u32,
}

impl Target {
    fn parse(text: &str) -> Option<Self> {
        let (step, at) = text.split_once('#').unwrap_or((text, "1"));
        Some(Self {
            step: step.to_owned(),
            at: at.parse().ok().filter(|n| *n > 0)?,
        })
    }

    fn from_env(name: &str) -> Option<Self> {
        Self::parse(&std::env::var(name).ok()?)
    }
}

/// What a step that is met shall suffer; a crash is no answer, it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// It fails.
    Fail,
    /// It is done twice.
    Repeat,
}

/// Counts the steps as they are taken.
#[derive(Debug, Default)]
pub struct Steps {
    /// Is made when a step is harmed, so that a test knows that it was met.
    met: Option<PathBuf>,
    crash: Option<Target>,
    fail: Option<Target>,
    repeat: Option<Target>,
    taken: BTreeMap<&'static str, u32>,
}

impl Steps {
    /// Reads what the environment wants damaged.
    #[must_use]
    pub fn from_env() -> Self {
        Self {
            met: std::env::var_os("DAAS_MET").map(PathBuf::from),
            crash: Target::from_env("DAAS_CRASH_AT"),
            fail: Target::from_env("DAAS_FAIL_AT"),
            repeat: Target::from_env("DAAS_REPEAT_AT"),
            taken: BTreeMap::new(),
        }
    }

    /// Tells what shall happen to `step`, which is about to be taken; kills this process when that is wanted.
    pub fn meet(&mut self, step: &'static str) -> Option<Harm> {
        if self.crash.is_none() && self.fail.is_none() && self.repeat.is_none() {
            return None;
        }
        let count = self.taken.entry(step).or_insert(0);
        *count += 1;
        let hit = |target: &Option<Target>| {
            target
                .as_ref()
                .is_some_and(|t| t.step == step && t.at == *count)
        };
        let harm = if hit(&self.crash) {
            None
        } else if hit(&self.fail) {
            Some(Harm::Fail)
        } else if hit(&self.repeat) {
            Some(Harm::Repeat)
        } else {
            return None;
        };
        if let Some(path) = &self.met {
            // A test that finds no file fails by itself.
            let _ = std::fs::write(path, step);
        }
        if harm.is_none() {
            process::kill_self();
        }
        harm
    }

    /// Says that `step` is about to be taken.
    pub(crate) fn take(&mut self, step: &'static str) -> Result<(), KeeperError> {
        debug_assert!(ALL.contains(&step), "{step} is not in the list");
        match self.meet(step) {
            Some(Harm::Fail) => Err(KeeperError::Injected(step.to_owned())),
            Some(Harm::Repeat) | None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_fails_at_its_count_only() {
        let mut steps = Steps {
            fail: Target::parse("start.links#2"),
            ..Steps::default()
        };
        assert!(steps.take("start.links").is_ok());
        assert!(steps.take("start.merge").is_ok());
        assert!(steps.take("start.links").is_err());
        assert!(steps.take("start.links").is_ok());
        assert_eq!(Target::parse("x#0"), None);
        assert_eq!(
            Target::parse("x"),
            Some(Target {
                step: "x".to_owned(),
                at: 1
            })
        );
    }
}
