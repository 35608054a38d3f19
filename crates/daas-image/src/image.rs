use crate::config::{ConfigFile, History};
use crate::manifest::Manifest;
use crate::{Digest, ImageConfig, Platform};
use daas_model::ByteSize;
use std::path::{Path, PathBuf};

/// An unpacked layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// The digest of its uncompressed archive.
    pub diff_id: Digest,
    /// Its tree: an overlayfs lower directory, owned by the host's root, with true owners and modes.
    pub path: PathBuf,
    /// Bytes of content in its files.
    pub size: ByteSize,
    /// Whether it hides all layers below it.
    pub opaque: bool,
    /// What could not be unpacked word for word.
    pub notes: Vec<String>,
}

/// An image that is complete in the store.
///
/// It stays usable as long as a name means it or its digest is among [`crate::InUse::images`] of every collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The digest of its manifest, by which a registry knows it.
    pub digest: Digest,
    /// The digest of its configuration, which Docker shows as the image's id.
    pub id: Digest,
    /// How it wants to be run.
    pub config: ImageConfig,
    /// For which machine it is built.
    pub platform: Platform,
    /// When it was made, in RFC 3339, if it says so.
    pub created: Option<String>,
    /// How it was made.
    pub history: Vec<History>,
    /// Its layers, **lowest first** as in the manifest.
    pub layers: Vec<Layer>,
    /// Bytes of the compressed layers and the configuration, as a registry sends them.
    pub size: ByteSize,
}

impl Image {
    pub(crate) fn new(
        digest: Digest,
        manifest: &Manifest,
        config: ConfigFile,
        layers: Vec<Layer>,
    ) -> Self {
        let size = manifest.config.size + manifest.layers.iter().map(|l| l.size).sum::<u64>();
        Self {
            digest,
            id: manifest.config.digest.clone(),
            config: config.config,
            platform: config.platform,
            created: config.created,
            history: config.history,
            layers,
            size: ByteSize(size),
        }
    }

    /// Returns the directories to mount, **topmost first** as overlayfs wants its `lowerdir`.
    ///
    /// Layers below one that hides everything are left out: the kernel does not look for the mark on a layer's root.
    #[must_use]
    pub fn lower_dirs(&self) -> Vec<&Path> {
        let mut dirs = Vec::with_capacity(self.layers.len());
        for layer in self.layers.iter().rev() {
            dirs.push(layer.path.as_path());
            if layer.opaque {
                break;
            }
        }
        dirs
    }
}
