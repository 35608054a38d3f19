//! The whole product as a test or a figure uses it: a daemon of its own with private state, and a client that blocks.
//!
//! Not here: what is asserted or measured.

mod answer;
mod api;
mod archive;
mod cgroups;
mod daemon;
mod exec;
mod project;

pub use answer::Answer;
pub use api::{Api, Refused};
pub use archive::docker_archive;
pub(crate) use cgroups::remove_cgroups;
pub use daemon::{Daemon, Rival, Settings};
pub use exec::Ran;
pub use project::Project;
