use crate::follow::Piece;
use std::sync::Arc;

/// Something that happens in a build. Steps are numbered from 1 in the order in which they begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A step begins.
    Began {
        /// Its number.
        step: u32,
        /// The stage's name or number.
        stage: String,
        /// The instruction as one line.
        text: String,
    },
    /// A command wrote something.
    Output {
        /// Its number.
        step: u32,
        /// What.
        piece: Piece,
    },
    /// A step is done.
    Done {
        /// Its number.
        step: u32,
        /// Whether it was made before.
        cached: bool,
        /// How long it took.
        millis: u64,
    },
    /// A step failed.
    Failed {
        /// Its number.
        step: u32,
    },
    /// A base image comes in: bytes so far and in all, where that is known.
    Fetching {
        /// Its number.
        step: u32,
        /// Bytes so far.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// A remark on the Dockerfile.
    Remark {
        /// It, with its place.
        text: String,
    },
}

/// Hears what happens. Called often; must be quick.
pub type Teller = Arc<dyn Fn(Event) + Send + Sync>;
