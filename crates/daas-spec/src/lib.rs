//! Text to typed description: a compose file becomes a [`daas_model::StandSpec`], with a diagnostic for every fault.
//!
//! The rules are those of the Compose Specification (compose-spec.io, as of 2026) and, where it is silent, what
//! compose-go does. One reading goes through these rooms: `find` (which files), `yaml` (bytes to a tree with places,
//! within budgets), `template` and `dotenv` (variables), `extends`, `include`, `merge` (files to one tree), `keys` and
//! `shape` (every key is honoured, noted or unknown), `lower` (the tree to the words of `daas-model`), `cross` (what
//! only shows when everything is known). Nothing here asks a disk, a clock or chance: files come through [`Files`].
//!
//! A Dockerfile becomes typed instructions in [`dockerfile`]; a service that is described without one gets one in [`described`].
//!
//! Not here: what a stand needs to be made (`daas-plan`), images (`daas-image`), disk readers (`daas-cli`).

pub mod described;
pub mod dockerfile;
mod dotenv;
mod extends;
mod find;
mod include;
mod keys;
mod load;
mod lower;
mod merge;
mod nearest;
mod node;
mod path;
mod port;
mod project_name;
mod read;
mod reading;
mod report;
mod request;
mod shape;
mod template;
mod value;
mod words;
mod yaml;

pub use nearest::nearest;
pub use read::read_project;
pub use request::{
    BuildSecret, Files, Ignored, LimitsOver, MAX_FILE, Outcome, ProjectRequest, ServiceBuild,
};
pub use words::{WordsFault, split as split_words};
