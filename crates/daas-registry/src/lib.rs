//! A registry of images and artifacts (OCI Distribution Specification 1.1) whose contents lie in the engine's own store.
//!
//! What is pushed is runnable at once: a pull by the engine only unpacks. Contents are counted by the repositories that
//! have them, so garbage is collected while everybody pushes and pulls; what was just relied on has a grace.
//!
//! Not here: listening and timers (`daas-server`), how the store keeps contents (`daas-image`), what stands use (`daas-control`).

mod access;
mod cache;
mod catalog;
mod collect;
mod document;
mod error;
mod file_body;
mod http;
mod login;
mod name;
mod own;
mod record;
mod registry;
mod repository;
mod retention;
mod space;
mod upload;

pub use access::{Asker, Right};
pub use collect::{Collected, Used};
pub use error::RegistryError;
pub use http::Door;
pub use login::{Login, NewLogin};
pub use name::{NameError, Reference, Repository, Tag};
pub use record::{BlobRecord, LoginRecord, ManifestRecord, SpaceRecord, TagRecord};
pub use registry::{Registry, Settings};
pub use repository::{RepositoryView, TagView};
pub use retention::{Expiry, Rule};
