//! Images against real tools: GNU tar, skopeo, Debian's registry, mmdebstrap.

mod layers;
mod load;
mod make;
mod tree;
