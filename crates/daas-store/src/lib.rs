//! What DaaS remembers: records that can be compared, set and watched, and events that are only added.
//!
//! One SQLite file per state directory (WAL, `synchronous = FULL`): what was acknowledged survives `kill -9` and a
//! loss of power. Reads are answered on the caller's thread in microseconds; writes go to one writer thread that
//! puts everything which waits into one transaction, so that many writers share one flush of the disk.
//! [`Store::in_memory`] is the same code without a file.
//!
//! Not here: what the records mean (`daas-control`), files of images (`daas-image`), logs of nodes (`daas-keeper`).

mod batch;
mod error;
mod event;
mod lock;
mod open;
mod record;
mod schema;
mod store;
mod watch;
mod writer;

pub use batch::{Batch, Expect};
pub use error::StoreError;
pub use event::{Event, EventId, Events};
pub use record::{Record, Revision, Stored};
pub use store::Store;
pub use watch::{Change, Watch};
