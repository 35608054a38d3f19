//! Everything that runs beside the caller: named tasks with a visible state, one shutdown, one backoff.
//!
//! This is the only place that spawns. A loop is a [`Task`]: `wait` may be dropped at any time, `turn` is one unit
//! of work that always finishes. A loop that panics or fails is tried again after a [`Backoff`]; a [`Wake`] calls it
//! before its time. [`Supervisor::shutdown`] tells all, waits for the grace, and says who did not finish. What every door counts of those who
//! come is here, too: [`Crowd`] their connections, [`Bans`] their failures.
//!
//! Not here: what the loops do (`daas-control`), processes of nodes (`daas-keeper`).

mod backoff;
mod bans;
mod crowd;
mod shutdown;
mod supervisor;
mod task;
mod wake;

pub use backoff::Backoff;
pub use bans::{Ban, BanRules, Bans};
pub use crowd::{Counted, Crowd, client_of};
pub use shutdown::Shutdown;
pub use supervisor::{Handle, Lost, Supervisor};
pub use task::{Task, TaskError, TaskState, TaskStatus};
pub use wake::{Wake, Waked};
