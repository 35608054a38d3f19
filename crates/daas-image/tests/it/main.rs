//! Images against real tools: GNU tar, skopeo, Debian's registry, mmdebstrap.

#![expect(
    clippy::unwrap_used,
    reason = "the whole crate is a test; clippy sees only its test functions as one"
)]

mod docker;
mod fake;
mod gc;
mod hostile;
mod layers;
mod load;
mod make;
mod pull;
mod registry;
mod tree;
