//! The server judged by the tools of others, over real sockets on loopback.

#![expect(
    clippy::unwrap_used,
    reason = "the whole crate is a test; clippy sees only its test functions as one"
)]

mod answers;
mod challenges;
mod flag_day;
mod forwarded;
mod keys;
mod named;
mod place;
mod reversed;
mod rolled;
mod secondary;
mod signed;
mod transfers;
mod updates;
