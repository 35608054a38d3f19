//! OCI images: a content-addressed store, layers as overlay directories, and the ways in and out of it.
//!
//! Not here: mounting the layers (`daas-engine`), running what is in them (`daas-keeper`), serving a registry (`daas-registry`).

mod apply;
mod assemble;
mod budget;
mod changes;
mod compression;
mod config;
mod confined;
mod digest;
mod draft;
mod error;
mod image;
mod layer_error;
mod load;
mod make;
mod manifest;
mod merged;
mod pack;
mod progress;
mod registry;
mod save;
mod store;
pub mod tar;
mod users;

pub use apply::{Applied, unpack};
pub use assemble::NewImage;
pub use budget::Budget;
pub use changes::Changes;
pub use compression::{Compression, Plain};
pub use config::{History, ImageConfig, ImageHealth};
pub use digest::{Algorithm, Digest, DigestError};
pub use draft::{LayerDraft, Packed};
pub use error::ImageError;
pub use image::{Image, Layer};
pub use layer_error::LayerError;
pub use make::{DEFAULT_EPOCH, MakeRequest, Variant, rfc3339};
pub use manifest::Platform;
pub use merged::{Found, Merged};
pub use progress::{Event, Phase, Progress, Silent};
pub use registry::{
    Credential, Credentials, Dial, Fetched, OwnRegistry, ProxySettings, PullOptions, Registries,
    RegistrySettings, Web, WebAnswer, WebError,
};
pub use store::{
    Artifact, DocumentsDue, GcPlan, InUse, Incoming, Lease, Listed, NameInfo, Outgoing, Referenced,
    Referrer, Store,
};
pub use users::UserIds;

/// Doors for the fuzz targets; no part of the interface.
#[doc(hidden)]
pub mod fuzzing {
    use crate::config::ConfigFile;
    use crate::manifest::Document;

    /// Reads `bytes` as every kind of document that comes from outside.
    pub fn documents(bytes: &[u8]) {
        let _ = Document::parse(bytes, None);
        if let Ok(config) = ConfigFile::parse(bytes) {
            // What was read can be written and read again.
            let text = serde_json::to_vec(&config).unwrap_or_default();
            assert_eq!(ConfigFile::parse(&text), Ok(config));
        }
        if let Ok(text) = std::str::from_utf8(bytes) {
            let _ = crate::Credentials::from_docker_config(text);
            let _ = crate::Digest::parse(text);
        }
    }
}
