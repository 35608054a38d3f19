use crate::digest::Hasher;
use crate::manifest::{Descriptor, Index, MAX_MANIFEST, Manifest, OCI_INDEX, OCI_MANIFEST};
use crate::progress::{Event, Phase, Progress};
use crate::store::{ALL, NameInfo, Store};
use crate::tar::{Entry, EntryKind, Writer};
use crate::{Digest, ImageError};
use daas_model::ImageName;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// One image in the list that Docker reads.
#[derive(serde::Serialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

/// What goes into an archive.
struct Contents {
    index: Index,
    docker: Vec<DockerImage>,
    /// Blobs with their sizes, each once.
    blobs: BTreeMap<Digest, u64>,
}

impl Store {
    /// Writes images to an archive that `docker load`, skopeo and [`Store::load`] read. Blocks.
    ///
    /// The archive is an OCI layout that has Docker's list beside its own. The same images give the same bytes. The layers are
    /// written as they were fetched; each is checked on the way.
    ///
    /// # Errors
    /// [`ImageError::NotFound`], [`ImageError::Damaged`] if a blob has rotted, [`ImageError::Io`].
    pub fn save<W: Write>(
        &self,
        names: &[ImageName],
        output: W,
        progress: &dyn Progress,
    ) -> Result<W, ImageError> {
        let mut lease = self.lease();
        lease.add(ALL);
        let contents = self.contents(names)?;
        let failed = ImageError::io("write", "the archive");
        let written = self.write_archive(&contents, output, progress);
        // What was wrong with a blob is told by the reader in the error itself.
        written.map_err(|e| match e.downcast::<Rotten>() {
            Ok(Rotten(digest)) => ImageError::Damaged {
                image: names
                    .iter()
                    .map(ImageName::familiar)
                    .collect::<Vec<_>>()
                    .join(", "),
                why: format!("content {} has changed on disk", digest.short()),
            },
            Err(e) => failed(e),
        })
    }

    /// As [`Store::save`], into a file that appears only when it is complete.
    ///
    /// # Errors
    /// As [`Store::save`].
    pub fn save_file(
        &self,
        names: &[ImageName],
        path: &Path,
        progress: &dyn Progress,
    ) -> Result<(), ImageError> {
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = Path::new(&part);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(part)
            .map_err(ImageError::io("make", part))?;
        let result = self
            .save(names, io::BufWriter::with_capacity(1 << 20, file), progress)
            .and_then(|writer| {
                writer
                    .into_inner()
                    .map_err(|e| ImageError::io("write", part)(e.into_error()))
            })
            .and_then(|file| file.sync_all().map_err(ImageError::io("sync", part)))
            .and_then(|()| {
                std::fs::rename(part, path).map_err(ImageError::io("move into place", path))
            });
        if result.is_err() {
            let _ = std::fs::remove_file(part);
        }
        result
    }

    fn contents(&self, names: &[ImageName]) -> Result<Contents, ImageError> {
        let mut contents = Contents {
            index: Index {
                schema_version: 2,
                media_type: Some(OCI_INDEX.into()),
                manifests: Vec::new(),
            },
            docker: Vec::new(),
            blobs: BTreeMap::new(),
        };
        let mut by_manifest: BTreeMap<Digest, Vec<NameInfo>> = BTreeMap::new();
        for name in names {
            let info = self.name_info(name)?.ok_or_else(|| ImageError::NotFound {
                name: Box::new(name.clone()),
            })?;
            // What was asked for counts, not the tag under which a digest was found.
            by_manifest
                .entry(info.manifest.clone())
                .or_default()
                .push(NameInfo {
                    name: name.clone(),
                    ..info
                });
        }
        for (digest, infos) in by_manifest {
            let (manifest, checked) = self.read_image(&digest)?;
            let size = self.blob_size(&digest).unwrap_or(0);
            contents.add_blobs(&digest, size, &manifest);
            let tags: BTreeSet<&ImageName> = infos
                .iter()
                .map(|i| &i.name)
                .filter(|n| n.tag().is_some() && n.digest().is_none())
                .collect();
            contents.docker.push(DockerImage {
                config: blob_name(&manifest.config.digest),
                repo_tags: tags.iter().map(|n| n.familiar()).collect(),
                layers: manifest
                    .layers
                    .iter()
                    .map(|l| blob_name(&l.digest))
                    .collect(),
            });
            let media_type = manifest
                .media_type
                .clone()
                .unwrap_or_else(|| OCI_MANIFEST.into());
            let platform = Some(checked.config.platform);
            let describe = |annotations| Descriptor {
                media_type: media_type.clone(),
                digest: digest.clone(),
                size,
                platform: platform.clone(),
                annotations,
            };
            if tags.is_empty() {
                contents.index.manifests.push(describe(BTreeMap::new()));
            }
            for name in tags {
                let tag = name.tag().unwrap_or("latest").to_owned();
                let annotations = [
                    ("io.containerd.image.name".to_owned(), name.to_string()),
                    ("org.opencontainers.image.ref.name".to_owned(), tag),
                ];
                contents.index.manifests.push(describe(annotations.into()));
            }
        }
        Ok(contents)
    }

    fn write_archive<W: Write>(
        &self,
        contents: &Contents,
        output: W,
        progress: &dyn Progress,
    ) -> io::Result<W> {
        let mut writer = Writer::new(output);
        let total: u64 = contents.blobs.values().sum();
        let mut done = 0;
        for folder in ["blobs", "blobs/sha256", "blobs/sha512"] {
            if folder != "blobs/sha512"
                || contents
                    .blobs
                    .keys()
                    .any(|d| d.algorithm_name() == "sha512")
            {
                writer.entry(&entry(folder, EntryKind::Directory, 0), &mut io::empty())?;
            }
        }
        for (digest, size) in &contents.blobs {
            let mut blob = Checked {
                file: File::open(self.blob_path(digest))?,
                hasher: Some(Hasher::new(digest.algorithm())),
                left: *size,
                digest,
            };
            writer.entry(
                &entry(&blob_name(digest), EntryKind::File, *size),
                &mut blob,
            )?;
            done += size;
            progress.event(Event {
                piece: "archive".into(),
                phase: Phase::Reading,
                done,
                total,
            });
        }
        for (name, text) in [
            ("index.json", serde_json::to_vec(&contents.index)?),
            ("manifest.json", serde_json::to_vec(&contents.docker)?),
            ("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
        ] {
            writer.entry(
                &entry(name, EntryKind::File, text.len() as u64),
                &mut text.as_slice(),
            )?;
        }
        writer.finish()
    }

    /// Returns the manifest of an image as it is stored.
    ///
    /// # Errors
    /// [`ImageError::Io`], [`ImageError::DigestMismatch`].
    pub fn manifest_bytes(&self, digest: &Digest) -> Result<Vec<u8>, ImageError> {
        self.read_blob(digest, MAX_MANIFEST, "the manifest")
    }
}

impl Contents {
    fn add_blobs(&mut self, digest: &Digest, size: u64, manifest: &Manifest) {
        self.blobs.insert(digest.clone(), size);
        for part in manifest.layers.iter().chain([&manifest.config]) {
            self.blobs.insert(part.digest.clone(), part.size);
        }
    }
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm_name(), digest.hex())
}

fn entry(name: &str, kind: EntryKind, size: u64) -> Entry {
    let mode = if kind == EntryKind::Directory {
        0o755
    } else {
        0o644
    };
    Entry {
        path: name.into(),
        link: Vec::new(),
        kind,
        mode,
        uid: 0,
        gid: 0,
        size,
        mtime: 0,
        mtime_nanos: 0,
        device: (0, 0),
        xattrs: Vec::new(),
        pieces: None,
    }
}

/// A blob whose content is not what its name says.
#[derive(Debug, thiserror::Error)]
#[error("content {0} has changed on disk")]
struct Rotten(Digest);

/// A blob that is checked while it is read.
struct Checked<'a> {
    file: File,
    hasher: Option<Hasher>,
    left: u64,
    digest: &'a Digest,
}

impl Read for Checked<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let want = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(buf.len());
        let n = self.file.read(&mut buf[..want])?;
        self.left -= n as u64;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buf[..n]);
        }
        // Judged with its last bytes, as nobody asks for more than the size.
        if (self.left == 0 || n == 0)
            && let Some(hasher) = self.hasher.take()
            && hasher.finish() != *self.digest
        {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                Rotten(self.digest.clone()),
            ));
        }
        Ok(n)
    }
}
