//! The registry as its clients see it: case by case, through faults, and by other people's programs.

#![expect(
    clippy::unwrap_used,
    reason = "the whole crate is a test; clippy sees only its test functions as one"
)]

mod cache;
mod clients;
mod faults;
mod protocol;
mod rights;
mod rounds;
mod rules;
mod served;
