//! Dockerfile to image: content-addressed steps, each `RUN` a node of the build's own stand.
//!
//! Not here: reading Dockerfiles (`daas-spec`), the store of images and layers (`daas-image`), running (`daas-engine`), who may build (`daas-control`).

mod archive;
mod error;
mod glob;
mod paths;
mod transfer;

pub use error::BuildError;
