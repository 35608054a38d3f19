//! The named steps of the daemon in a stand's life, each of which can fail, kill the daemon or be done twice, for the tests of crash safety.
//!
//! The same variables as those of a keeper (`daas_keeper::steps`): `DAAS_FAIL_AT`, `DAAS_CRASH_AT`, and `DAAS_REPEAT_AT` for
//! the steps that the engine carries out.
//!
//! Not here: the steps inside a keeper (`daas_keeper::steps`).

use daas_api::Failure;
use daas_keeper::steps::{Harm, Steps};
use daas_model::Kind;
use daas_plan::Step;
use std::sync::{Mutex, PoisonError};

/// Every step, in the order of a stand's life.
pub const ALL: &[&str] = &[
    "record.keep",
    "record.kept",
    "loop.once",
    "loop.open",
    "loop.opened",
    "loop.start",
    "loop.started",
    "loop.restart",
    "loop.restarted",
    "loop.stop",
    "loop.stopped",
    "loop.remove",
    "loop.removed",
    "loop.close",
    "loop.closed",
    "loop.forgotten",
];

/// Those that can be done twice.
pub const REPEATED: &[&str] = &[
    "loop.open",
    "loop.start",
    "loop.restart",
    "loop.stop",
    "loop.remove",
    "loop.close",
];

/// Counts the steps as they are taken.
#[derive(Debug)]
pub(crate) struct Gauntlet(Mutex<Steps>);

impl Gauntlet {
    pub(crate) fn from_env() -> Self {
        Self(Mutex::new(Steps::from_env()))
    }

    /// Says that `step` is about to be taken; tells whether to do it twice.
    pub(crate) fn take(&self, step: &'static str) -> Result<bool, Failure> {
        debug_assert!(ALL.contains(&step), "{step} is not in the list");
        let met = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .meet(step);
        match met {
            Some(Harm::Fail) => Err(Failure::new(
                "step-failed",
                Kind::Outside,
                format!("step `{step}` failed because `DAAS_FAIL_AT` asks for it"),
            )),
            Some(Harm::Repeat) => Ok(true),
            None => Ok(false),
        }
    }
}

/// Returns the names of a plan's step before and after it is done; changes of an open stand and of images have none.
pub(crate) fn names(step: &Step) -> Option<(&'static str, &'static str)> {
    Some(match step {
        Step::Open { .. } => ("loop.open", "loop.opened"),
        Step::Start { .. } => ("loop.start", "loop.started"),
        Step::Restart { .. } => ("loop.restart", "loop.restarted"),
        Step::Stop { .. } => ("loop.stop", "loop.stopped"),
        Step::Remove { .. } => ("loop.remove", "loop.removed"),
        Step::Close => ("loop.close", "loop.closed"),
        Step::FetchImage { .. }
        | Step::Reshape { .. }
        | Step::Pause { .. }
        | Step::Resume { .. } => return None,
    })
}
