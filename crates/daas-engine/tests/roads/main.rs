//! Roads into and out of stands, on real kernels' networks.
//!
//! Every test makes its own namespaces, and asserts at its end that they and their links are gone.

mod publish;
mod space;
