use crate::compression::Plain;
use crate::digest::Algorithm;
use crate::layer_error::LayerError;
use crate::manifest::{
    Descriptor, Document, MAX_CONFIG, MAX_MANIFEST, Manifest, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST,
    layer_type,
};
use crate::progress::{Event, Phase, Progress};
use crate::store::{ALL, Lease, NameInfo, Store};
use crate::tar::{EntryKind, Reader};
use crate::{Compression, Digest, ImageError, Platform};
use daas_model::ImageName;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufReader, Read};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Most links followed to one file of an archive.
const MAX_LINKS: usize = 8;
/// Containerd's and Docker's annotation for the full name.
const CONTAINERD_NAME: &str = "io.containerd.image.name";
/// The specification's annotation for the tag or name (OCI Image Specification, "Image Layout").
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// A file of an archive that is now a blob.
#[derive(Clone)]
struct Stored {
    digest: Digest,
    size: u64,
}

/// Where the files of an image come from.
enum Source {
    /// All files are blobs already.
    Archive {
        files: HashMap<String, Stored>,
        links: HashMap<String, String>,
    },
    Folder(OwnedFd),
}

/// One image of a `docker save` archive.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// An image that was found in a source.
struct FoundImage {
    manifest: Digest,
    index: Option<Digest>,
    names: Vec<ImageName>,
}

impl Store {
    /// Brings in the images of an OCI layout folder, an OCI archive or a `docker save` archive, compressed or not. Blocks.
    ///
    /// Images without a name get `name`, or one made of the file's. Every layer is checked and unpacked before a name means it.
    /// Returns the names that were set.
    ///
    /// # Errors
    /// [`ImageError::BadArchive`], [`ImageError::Archive`], and those of unpacking. Names set until then stay.
    pub fn load(
        &self,
        path: &Path,
        name: Option<&ImageName>,
        progress: &dyn Progress,
    ) -> Result<Vec<ImageName>, ImageError> {
        self.load_until(path, name, progress, &AtomicBool::new(false))
    }

    /// As [`Store::load`], ended early once `cancelled` is set.
    ///
    /// # Errors
    /// As [`Store::load`], and [`ImageError::Cancelled`].
    pub fn load_until(
        &self,
        path: &Path,
        name: Option<&ImageName>,
        progress: &dyn Progress,
        cancelled: &AtomicBool,
    ) -> Result<Vec<ImageName>, ImageError> {
        let mut lease = self.lease();
        lease.add(ALL);
        let is_dir = std::fs::metadata(path)
            .map_err(ImageError::io("open", path))?
            .is_dir();
        let mut loader = Loader {
            store: self,
            path,
            source: Source::Archive {
                files: HashMap::new(),
                links: HashMap::new(),
            },
            _lease: lease,
        };
        if is_dir {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            loader.source = Source::Folder(
                rustix::fs::open(path, flags, Mode::empty())
                    .map_err(ImageError::errno("open", path))?,
            );
        } else {
            loader.read_archive(progress, cancelled)?;
        }
        let images = loader.images()?;
        if images.is_empty() {
            return Err(loader.bad("there is no image in it".into()));
        }
        let single = images.len() == 1;
        let mut set = Vec::new();
        for image in images {
            let names = match name {
                Some(name) if single => vec![name.clone()],
                _ if image.names.is_empty() => vec![loader.name_by_file(single, &image.manifest)?],
                _ => image.names,
            };
            for name in names {
                let info = NameInfo {
                    name: name.clone(),
                    manifest: image.manifest.clone(),
                    index: image.index.clone(),
                    private: false,
                    since: now(),
                };
                self.install(&image.manifest, &info, progress, cancelled)?;
                set.push(name);
            }
        }
        Ok(set)
    }
}

struct Loader<'a> {
    store: &'a Store,
    path: &'a Path,
    source: Source,
    _lease: Lease,
}

impl Loader<'_> {
    fn bad(&self, why: String) -> ImageError {
        ImageError::BadArchive {
            path: self.path.to_owned(),
            why,
        }
    }

    /// Reads the whole archive once and makes a blob of each file.
    fn read_archive(
        &mut self,
        progress: &dyn Progress,
        cancelled: &AtomicBool,
    ) -> Result<(), ImageError> {
        let path = self.path.to_owned();
        let failed = |source| ImageError::Archive {
            path: path.clone(),
            source,
        };
        let file = File::open(self.path).map_err(ImageError::io("open", self.path))?;
        let total = file.metadata().map_or(0, |m| m.len());
        let plain = Plain::new(file, None).map_err(failed)?;
        let compressed = plain.compressed();
        let mut reader = Reader::new(
            BufReader::with_capacity(256 << 10, plain),
            self.store.budget().clone(),
        );
        let Source::Archive { files, links } = &mut self.source else {
            return Ok(());
        };
        let mut buf = vec![0u8; 128 << 10];
        while let Some(entry) = reader.next_entry().map_err(failed)? {
            if cancelled.load(Ordering::Relaxed) {
                return Err(ImageError::Cancelled);
            }
            let name = normal(&entry.path);
            match entry.kind {
                EntryKind::File if entry.pieces.is_none() => {
                    let algorithm = if name.starts_with("blobs/sha512/") {
                        Algorithm::Sha512
                    } else {
                        Algorithm::Sha256
                    };
                    let mut writer = self.store.blob_writer(algorithm)?;
                    loop {
                        let n = reader.read_data(&mut buf).map_err(failed)?;
                        if n == 0 {
                            break;
                        }
                        writer.write(&buf[..n])?;
                        let done = compressed.load(Ordering::Relaxed);
                        let fair = self
                            .store
                            .budget()
                            .ratio_after
                            .0
                            .saturating_add(done.saturating_mul(self.store.budget().ratio));
                        if reader.position() > fair {
                            return Err(failed(LayerError::TooMuch {
                                what: "times the size of the compressed content",
                                limit: self.store.budget().ratio,
                            }));
                        }
                        progress.event(Event {
                            piece: "archive".into(),
                            phase: Phase::Reading,
                            done,
                            total,
                        });
                    }
                    let size = writer.size();
                    files.insert(
                        name,
                        Stored {
                            digest: writer.commit(None)?,
                            size,
                        },
                    );
                }
                EntryKind::Symlink => {
                    let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
                    let target = normal(&[folder.as_bytes(), b"/", &entry.link].concat());
                    links.insert(name, target);
                }
                EntryKind::HardLink => {
                    links.insert(name, normal(&entry.link));
                }
                // Folders say nothing; other kinds have no business in an archive of images.
                _ => {}
            }
        }
        Ok(())
    }

    /// Returns the file `name` as a blob, or nothing if there is none.
    fn file(&self, name: &str) -> Result<Option<Stored>, ImageError> {
        match &self.source {
            Source::Archive { files, links } => {
                let mut name = normal(name.as_bytes());
                for _ in 0..MAX_LINKS {
                    if let Some(stored) = files.get(&name) {
                        return Ok(Some(stored.clone()));
                    }
                    let Some(target) = links.get(&name) else {
                        return Ok(None);
                    };
                    name.clone_from(target);
                }
                Ok(None)
            }
            Source::Folder(root) => self.file_of_folder(root, name),
        }
    }

    fn file_of_folder(&self, root: &OwnedFd, name: &str) -> Result<Option<Stored>, ImageError> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = match rustix::fs::openat2(
            root,
            normal(name.as_bytes()),
            flags,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        ) {
            Ok(fd) => fd,
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(None),
            Err(e) => return Err(ImageError::errno("open", self.path.join(name))(e)),
        };
        let mut file = File::from(fd);
        let path = self.path.join(name);
        if !file
            .metadata()
            .map_err(ImageError::io("look at", &path))?
            .is_file()
        {
            return Ok(None);
        }
        let algorithm = if name.starts_with("blobs/sha512/") {
            Algorithm::Sha512
        } else {
            Algorithm::Sha256
        };
        let mut writer = self.store.blob_writer(algorithm)?;
        std::io::copy(&mut file, &mut writer).map_err(ImageError::io("copy", &path))?;
        let size = writer.size();
        Ok(Some(Stored {
            digest: writer.commit(None)?,
            size,
        }))
    }

    fn small(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, ImageError> {
        let Some(stored) = self.file(name)? else {
            return Ok(None);
        };
        self.store
            .read_blob(&stored.digest, limit, &format!("`{}`", name.escape_debug()))
            .map(Some)
    }

    /// Returns the blob of an OCI layout that a descriptor points to, checked.
    fn blob(&self, descriptor: &Descriptor) -> Result<(), ImageError> {
        let name = format!(
            "blobs/{}/{}",
            descriptor.digest.algorithm_name(),
            descriptor.digest.hex()
        );
        let stored = self
            .file(&name)?
            .ok_or_else(|| self.bad(format!("`{name}` is missing")))?;
        if stored.digest != descriptor.digest {
            return Err(ImageError::DigestMismatch {
                what: format!("`{name}`"),
                wanted: descriptor.digest.clone(),
                got: stored.digest,
            });
        }
        if stored.size != descriptor.size {
            return Err(ImageError::SizeMismatch {
                what: format!("`{name}`"),
                wanted: descriptor.size,
                got: stored.size,
            });
        }
        Ok(())
    }

    fn images(&self) -> Result<Vec<FoundImage>, ImageError> {
        if let Some(index) = self.small("index.json", MAX_MANIFEST)? {
            let mut images = self.oci_images(&index)?;
            if let [image] = images.as_mut_slice()
                && image.names.is_empty()
                && let Some(list) = self.docker_list()?
            {
                image.names =
                    self.docker_names(list.iter().flat_map(|i| i.repo_tags.iter().flatten()))?;
            }
            return Ok(images);
        }
        match self.docker_list()? {
            Some(list) => list
                .into_iter()
                .map(|image| self.docker_image(image))
                .collect(),
            None => Err(self.bad(
                "neither `index.json` (OCI) nor `manifest.json` (docker save) is in it".into(),
            )),
        }
    }

    fn oci_images(&self, index: &[u8]) -> Result<Vec<FoundImage>, ImageError> {
        let index = match Document::parse(index, None) {
            Ok(Document::Index(index)) => index,
            Ok(Document::Manifest(_)) => return Err(self.bad("`index.json` is a manifest".into())),
            Err(why) => return Err(self.bad(format!("`index.json`: {why}"))),
        };
        // Several names of one image are several entries.
        let mut found: BTreeMap<Digest, FoundImage> = BTreeMap::new();
        for descriptor in &index.manifests {
            let names = self.oci_name(descriptor)?;
            if let Some(known) = found.get_mut(&descriptor.digest) {
                known.names.extend(names);
                continue;
            }
            let Some((manifest, nested)) = self.oci_manifest(descriptor)? else {
                continue;
            };
            found.insert(
                descriptor.digest.clone(),
                FoundImage {
                    manifest,
                    index: nested,
                    names: names.into_iter().collect(),
                },
            );
        }
        Ok(found.into_values().collect())
    }

    fn oci_name(&self, descriptor: &Descriptor) -> Result<Option<ImageName>, ImageError> {
        let full = descriptor.annotations.get(CONTAINERD_NAME);
        let Some(text) = full.or_else(|| descriptor.annotations.get(REF_NAME)) else {
            return Ok(None);
        };
        // A bare word is a tag (umoci, skopeo) of a repository that the layout does not tell: its file's name does.
        let text = if full.is_none() && !text.contains([':', '/', '@']) {
            format!("{}:{text}", self.stem())
        } else {
            text.clone()
        };
        ImageName::parse(&text)
            .map(Some)
            .map_err(|e| self.bad(e.to_string()))
    }

    /// Follows a descriptor to the manifest for this machine and checks that all of it is here.
    fn oci_manifest(
        &self,
        descriptor: &Descriptor,
    ) -> Result<Option<(Digest, Option<Digest>)>, ImageError> {
        let parse = |descriptor: &Descriptor| {
            self.blob(descriptor)?;
            let bytes = self
                .store
                .read_blob(&descriptor.digest, MAX_MANIFEST, "the manifest")?;
            Document::parse(&bytes, Some(&descriptor.media_type))
                .map_err(|why| self.bad(format!("manifest {}: {why}", descriptor.digest.short())))
        };
        let (manifest, digest, index) = match descriptor.media_type.as_str() {
            OCI_MANIFEST
            | OCI_INDEX
            | crate::manifest::DOCKER_MANIFEST
            | crate::manifest::DOCKER_LIST => match parse(descriptor)? {
                Document::Manifest(manifest) => (manifest, descriptor.digest.clone(), None),
                Document::Index(nested) => {
                    let native = Platform::native();
                    let chosen = nested.choose(&native).map_err(|there| {
                        self.bad(format!(
                            "it has no image for {native}, only: {}",
                            there.join(", ")
                        ))
                    })?;
                    match parse(chosen)? {
                        Document::Manifest(manifest) => (
                            manifest,
                            chosen.digest.clone(),
                            Some(descriptor.digest.clone()),
                        ),
                        Document::Index(_) => {
                            return Err(self.bad("an index inside an index".into()));
                        }
                    }
                }
            },
            // Signatures, SBOMs and the like.
            _ => return Ok(None),
        };
        self.blob(&manifest.config)?;
        manifest
            .layers
            .iter()
            .try_for_each(|layer| self.blob(layer))?;
        Ok(Some((digest, index)))
    }

    fn docker_list(&self) -> Result<Option<Vec<DockerImage>>, ImageError> {
        let Some(text) = self.small("manifest.json", MAX_MANIFEST)? else {
            return Ok(None);
        };
        serde_json::from_slice(&text)
            .map(Some)
            .map_err(|e| self.bad(format!("`manifest.json`: {e}")))
    }

    fn docker_names<'t>(
        &self,
        tags: impl Iterator<Item = &'t String>,
    ) -> Result<Vec<ImageName>, ImageError> {
        tags.map(|tag| ImageName::parse(tag).map_err(|e| self.bad(e.to_string())))
            .collect()
    }

    /// Makes an OCI manifest for an image that comes without one.
    fn docker_image(&self, image: DockerImage) -> Result<FoundImage, ImageError> {
        let missing = |name: &str| self.bad(format!("`{}` is missing", name.escape_debug()));
        let config = self
            .file(&image.config)?
            .ok_or_else(|| missing(&image.config))?;
        let text = self
            .store
            .read_blob(&config.digest, MAX_CONFIG, "the image's configuration")?;
        let mut layers = Vec::new();
        for name in image.layers.iter().flatten() {
            let stored = self.file(name)?.ok_or_else(|| missing(name))?;
            let mut start = Vec::with_capacity(8);
            let blob = self.store.blob_path(&stored.digest);
            self.store
                .open_blob(&stored.digest)?
                .take(8)
                .read_to_end(&mut start)
                .map_err(ImageError::io("read", &blob))?;
            let media_type = layer_type(Compression::detect(&start));
            layers.push(Descriptor {
                media_type,
                digest: stored.digest,
                size: stored.size,
                platform: None,
                annotations: BTreeMap::new(),
            });
        }
        let config = Descriptor {
            media_type: OCI_CONFIG.into(),
            digest: config.digest,
            size: config.size,
            platform: None,
            annotations: BTreeMap::new(),
        };
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(OCI_MANIFEST.into()),
            config,
            layers,
            annotations: BTreeMap::new(),
        };
        Self::check(&manifest, &text)?;
        let bytes = serde_json::to_vec(&manifest).map_err(|_| ImageError::Broken {
            what: "writing a manifest",
        })?;
        let digest = self.store.put_blob(&bytes)?;
        Ok(FoundImage {
            manifest: digest,
            index: None,
            names: self.docker_names(image.repo_tags.iter().flatten())?,
        })
    }

    fn check(manifest: &Manifest, config: &[u8]) -> Result<(), ImageError> {
        Store::check_image(manifest, config).map(drop)
    }

    /// A repository made of the file's name: its letters and digits.
    fn stem(&self) -> String {
        let file = self
            .path
            .file_name()
            .map(|n| n.to_string_lossy().to_lowercase())
            .unwrap_or_default();
        let stem = file.split('.').next().unwrap_or_default();
        let clean: String = stem
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        let parts: Vec<&str> = clean.split('-').filter(|p| !p.is_empty()).collect();
        if parts.is_empty() {
            "image".into()
        } else {
            parts.join("-")
        }
    }

    fn name_by_file(&self, single: bool, manifest: &Digest) -> Result<ImageName, ImageError> {
        let text = if single {
            self.stem()
        } else {
            format!("{}:{}", self.stem(), manifest.short())
        };
        ImageName::parse(&text).map_err(|e| self.bad(e.to_string()))
    }
}

/// The name of a file in an archive without its decorations; `..` goes no higher than the top.
fn normal(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    let mut parts: Vec<&str> = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Seconds since 1970; 0 on a clock before that.
pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs())
}
