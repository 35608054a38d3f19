//! The room against borrowed judges: openssl, curl, pebble.

#![expect(
    clippy::unwrap_used,
    reason = "the whole crate is a test; clippy sees only its test functions as one"
)]

mod advice;
mod judge;
mod orders;
mod pebble;
mod private;
mod renewals;
