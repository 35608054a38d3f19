//! Brings stands up and down, and looks into them.
//!
//! [`Engine`] is what the loops need; [`LocalEngine`] does it on this machine with keepers, [`FakeEngine`] in the head of a test.
//!
//! Not here: what to do next (`daas-plan`), when (`daas-control`), the process that holds a stand (`daas-keeper`), images (`daas-image`).

pub mod dial;
pub mod egress;
mod engine;
mod error;
mod fake;
mod kernel;
mod launch;
mod layout;
mod link;
mod local;
pub mod publish;

pub use daas_keeper::protocol::EventKind;
pub use engine::{Engine, Happening, HappeningKind, Order, Pins, Progress, Teller};
pub use error::EngineError;
pub use fake::FakeEngine;
pub use launch::{Ids, ImageFacts, signal_number};
pub use local::{
    AUTHORITIES_BEGIN, AUTHORITIES_END, AsyncPipe, Copied, EngineConfig, ExecEnd, ExecRequest,
    ExecSession, InnerEdge, InnerService, LocalEngine, Over, StandUsage, Usage, java_list,
    new_stand_id,
};
