//! Roads into and out of stands, on real kernels' networks.
//!
//! Every test makes its own namespaces, and asserts at its end that they and their links are gone.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as its test does"
)]

mod full;
mod measure;
mod proxy;
mod publish;
mod space;
