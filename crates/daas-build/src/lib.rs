//! Dockerfile to image: content-addressed steps, each `RUN` a node of the build's own stand.
//!
//! A build reads the Dockerfile, builds the stages that its target needs beside each other, and puts the image together. `RUN` runs in a
//! stand of kind `build` (`stand`, `command`), files come by `transfer` without running anything, and every step that makes a layer is
//! looked for in the store first, by the digest of all that it is made from (`state`).
//!
//! Not here: reading Dockerfiles (`daas-spec`), the store of images and layers (`daas-image`), running (`daas-engine`), who may build (`daas-control`).

mod agent;
mod archive;
mod bring;
mod builder;
mod caches;
mod command;
mod context;
mod error;
mod far_context;
mod fetch;
mod fetch_error;
mod follow;
mod gather;
mod git;
mod glob;
mod job;
mod mask;
mod mounts;
mod owner;
mod paths;
mod progress;
mod remote;
mod request;
mod sbom;
mod sign_in;
mod stage;
mod stand;
mod state;
mod statements;
mod stubs;
mod times;
mod transfer;

pub use builder::{BuildSettings, Builder, CACHES, in_one_line};
pub use context::Context;
pub use error::BuildError;
pub use far_context::FarContext;
pub use fetch_error::FetchError;
pub use follow::Piece;
pub use gather::{Gathered, OnBehalfOf};
pub use progress::{Event, Teller};
pub use request::{BuildNetwork, BuildRequest, ContextSource};
pub use sbom::{debian_packages, sbom};
