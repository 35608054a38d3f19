//! What every door that speaks HTTP does with bodies of requests: how slowly they may come, and what becomes of those that nobody wants.
//!
//! Not here: heads, routes, answers, and timers of silence, which differ from door to door.

mod patience;
mod upload;

pub use patience::Patience;
pub use upload::{TooSlow, Unwanted, Upload, discard, taker};
