//! The process that holds one stand, and the words to speak with it.
//!
//! daemon -> zygote (one thread, forked before the first thread) -> keeper (one per stand, outlives the daemon) -> spawner (sits in the stand's user
//! namespace and v1 cgroups) -> nodes, which are children of the keeper.
//!
//! Not here: system calls (`daas-sys`), what a stand is made from (`daas-engine` resolves it), images (`daas-image`).

mod birth;
mod channel;
mod child;
mod child_copy;
mod child_exec;
mod child_init;
mod child_node;
mod child_seat;
pub mod client;
pub mod codec;
mod copy_up;
mod desk;
pub mod disk;
mod dns;
mod error;
mod keeper;
pub mod launch;
pub mod log;
pub mod protocol;
mod sftp;
mod spawner;
pub mod steps;
mod sweep;
pub mod zygote;

pub use client::{Client, ClientError};
pub use error::KeeperError;
pub use keeper::state;
pub use sweep::{Leave, is_alive, last_state, sweep};
pub use zygote::run;

pub(crate) use keeper::files as keeper_files;
