//! The one tar reader of DaaS: what scans and what unpacks see the same entries (threat S7).
//!
//! Understands v7, ustar, star's prefix, GNU (long names, base-256 numbers, sparse files) and pax, as GNU tar writes them.
//! Where readers are known to disagree about the meaning of the same bytes, the archive is refused instead of guessed.

mod entry;
mod header;
mod pax;
mod reader;
mod sparse;
mod writer;

pub use entry::{Entry, EntryKind, Piece};
pub use reader::Reader;
pub use writer::Writer;
