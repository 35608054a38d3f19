//! The ingress with back ends on loopback and clients that speak for themselves.

#![expect(
    clippy::unwrap_used,
    reason = "the whole crate is a test; clippy sees only its test functions as one"
)]

mod backs;
mod house;
mod http1;
mod protocols;
mod rules;
mod slow;
mod smuggling;
