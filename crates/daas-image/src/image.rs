use crate::config::{ConfigFile, History};
use crate::confined::{self, kind_of, of};
use crate::manifest::Manifest;
use crate::merged::Merged;
use crate::{Digest, ImageConfig, ImageError, Platform};
use daas_model::ByteSize;
use rustix::fs::FileType;
use serde::Serialize;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// An unpacked layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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

    /// Refuses an image whose `/dev`, `/proc` or `/sys` is anything but a directory (threat S1, CVE-2026-41579).
    ///
    /// What is absent is fine: the engine makes it.
    ///
    /// # Errors
    /// [`ImageError::UnsafeRoot`], [`ImageError::Io`].
    pub fn check_root(&self) -> Result<(), ImageError> {
        ["/dev", "/proc", "/sys"]
            .iter()
            .try_for_each(|path| self.check_mount_target(path, true))
    }

    /// Refuses a place for a mount if a part of its path is a link or no directory; what is absent is fine.
    ///
    /// The last part may be a file unless `directory` is set.
    ///
    /// # Errors
    /// [`ImageError::UnsafeRoot`], [`ImageError::Io`].
    pub fn check_mount_target(&self, path: &str, directory: bool) -> Result<(), ImageError> {
        let merged = self.merged()?;
        let parts: Vec<&[u8]> = path
            .split('/')
            .filter(|p| !matches!(*p, "" | "."))
            .map(str::as_bytes)
            .collect();
        for end in 1..=parts.len() {
            let Some(found) = merged
                .find(&parts[..end])
                .map_err(ImageError::errno("look at", path))?
            else {
                return Ok(());
            };
            let what = match kind_of(&found.stat) {
                FileType::Directory => continue,
                FileType::RegularFile if end == parts.len() && !directory => continue,
                FileType::Symlink => "a symbolic link",
                FileType::RegularFile => "a file",
                _ => "a special file",
            };
            let place = parts[..end]
                .iter()
                .flat_map(|p| [b"/", *p])
                .collect::<Vec<_>>()
                .concat();
            return Err(ImageError::UnsafeRoot {
                image: self.digest.to_string(),
                what,
                path: String::from_utf8_lossy(&place).into_owned(),
            });
        }
        Ok(())
    }

    /// Reads a file as a process of the image would find it: through all layers, following links inside the image only.
    ///
    /// Returns nothing if there is no regular file of that name.
    ///
    /// # Errors
    /// [`ImageError::BadDocument`] if it is larger than `limit` bytes, [`ImageError::Io`].
    pub fn read_file(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, ImageError> {
        let failed = |e| ImageError::errno("read", path)(e);
        let found = match self.merged()?.resolve(path.as_bytes()) {
            Ok(found) => found,
            // A ring of links leads nowhere.
            Err(rustix::io::Errno::LOOP) => None,
            Err(e) => return Err(failed(e)),
        };
        let Some(found) = found.filter(|f| kind_of(&f.stat) == FileType::RegularFile) else {
            return Ok(None);
        };
        let fd = confined::open_file(of(&found.parent), &found.name).map_err(failed)?;
        let mut bytes = Vec::new();
        File::from(fd)
            .take(limit + 1)
            .read_to_end(&mut bytes)
            .map_err(ImageError::io("read", path))?;
        if bytes.len() as u64 > limit {
            return Err(ImageError::BadDocument {
                what: format!("`{path}`"),
                why: format!("it is larger than {limit} bytes"),
            });
        }
        Ok(Some(bytes))
    }

    fn merged(&self) -> Result<Merged, ImageError> {
        let first = self
            .layers
            .first()
            .map(|l| l.path.clone())
            .unwrap_or_default();
        Merged::open(self.lower_dirs()).map_err(ImageError::io("open", first))
    }
}
