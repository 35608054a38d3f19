//! Reconcile loops, and the platform that the doors serve.
//!
//! A request ends at the record that it writes; the loop of the stand looks, plans and does until record and world agree.
//!
//! Not here: how a step is done (`daas-engine`), which steps there are (`daas-plan`), how a request arrives (`daas-server`).

mod bans;
mod binds;
mod building;
mod builds;
mod certificates;
mod datagrams;
mod doctor;
mod edge;
mod environment;
mod events;
mod images;
mod in_use;
mod keep;
mod logs;
mod looking;
#[cfg(test)]
mod loop_tests;
mod names;
mod operations;
mod platform;
mod ports;
mod projects;
mod recipe;
mod record;
mod refresh;
mod registry;
mod routes;
mod service_builds;
mod sleep;
mod ssh;
mod ssh_room;
mod stand_loop;
mod stands;
mod status;
pub mod steps;
mod system;
mod views;

pub use bans::recall_bans;
pub use daas_build::{BuildSettings, CACHES as CACHES_OF_BUILDS};
pub use doctor::checks as doctor;
pub use names::StandNames;
pub use platform::{Control, ControlConfig, Rooms};
pub use record::{GrantRecord, Once, StandRecord};
pub use routes::Outside;
pub use ssh::SshOutside;
