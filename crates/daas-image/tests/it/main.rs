//! Images against real tools: GNU tar, skopeo, Debian's registry, mmdebstrap.

mod fake;
mod hostile;
mod layers;
mod load;
mod make;
mod pull;
mod registry;
mod tree;
