//! Reconcile loops, and the platform that the doors serve.
mod events;
mod keep;
mod operations;
mod record;
mod stand_loop;
mod status;
#[cfg(test)]
mod loop_tests;
pub use record::{GrantRecord, Once, StandRecord};
