use super::{Lease, NameInfo, Store, Temp};
use crate::apply::{Applier, Lower, Stop};
use crate::compression::Plain;
use crate::config::ConfigFile;
use crate::confined;
use crate::digest::Digesting;
use crate::image::{Image, Layer};
use crate::manifest::{Descriptor, Document, MAX_CONFIG, MAX_MANIFEST, Manifest, compression_of};
use crate::merged::Merged;
use crate::progress::{Event, Phase, Progress};
use crate::tar::Reader;
use crate::{Applied, Compression, Digest, ImageError, LayerError};
use daas_model::{ByteSize, ImageName};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{BufReader, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

/// One layer to be unpacked.
#[derive(Debug, Clone)]
pub(crate) struct LayerJob {
    pub(crate) blob: Digest,
    pub(crate) compression: Compression,
    pub(crate) diff_id: Digest,
    /// Identifies the layer together with all below it (OCI Image Specification, "Layer ChainID").
    pub(crate) chain_id: Digest,
}

/// An image whose documents are here and agree.
pub(crate) struct Checked {
    pub(crate) config: ConfigFile,
    pub(crate) jobs: Vec<LayerJob>,
}

/// What unpacking one layer came to.
pub(crate) enum Unpacked {
    Complete(Layer),
    /// It needs its lower layers to be unpacked first.
    Later,
}

impl Store {
    /// Checks that a manifest and its configuration belong together and can be unpacked.
    pub(crate) fn check_image(manifest: &Manifest, config: &[u8]) -> Result<Checked, ImageError> {
        let bad = |why| ImageError::BadDocument {
            what: "the image's configuration".into(),
            why,
        };
        check_size(&manifest.config, config.len() as u64)?;
        let config = ConfigFile::parse(config).map_err(bad)?;
        let diff_ids = &config.rootfs.diff_ids;
        if diff_ids.len() != manifest.layers.len() {
            return Err(bad(format!(
                "it names {} layers, the manifest {}",
                diff_ids.len(),
                manifest.layers.len()
            )));
        }
        let mut jobs: Vec<LayerJob> = Vec::with_capacity(diff_ids.len());
        for (layer, diff_id) in manifest.layers.iter().zip(diff_ids) {
            let compression =
                compression_of(&layer.media_type).ok_or_else(|| ImageError::BadDocument {
                    what: format!("layer {}", layer.digest.short()),
                    why: format!("its media type is `{}`", layer.media_type.escape_debug()),
                })?;
            let chain_id = jobs.last().map_or_else(
                || diff_id.clone(),
                |below| Digest::of(format!("{} {diff_id}", below.chain_id).as_bytes()),
            );
            jobs.push(LayerJob {
                blob: layer.digest.clone(),
                compression,
                diff_id: diff_id.clone(),
                chain_id,
            });
        }
        Ok(Checked { config, jobs })
    }

    /// Reads the documents of the image with this manifest from the store.
    pub(crate) fn read_image(&self, digest: &Digest) -> Result<(Manifest, Checked), ImageError> {
        let bytes = self.read_blob(digest, MAX_MANIFEST, "the manifest")?;
        let manifest = match Document::parse(&bytes, None) {
            Ok(Document::Manifest(manifest)) => manifest,
            Ok(Document::Index(_)) => {
                return Err(ImageError::BadDocument {
                    what: "the manifest".into(),
                    why: "it is an index".into(),
                });
            }
            Err(why) => {
                return Err(ImageError::BadDocument {
                    what: "the manifest".into(),
                    why,
                });
            }
        };
        let config = self.read_blob(
            &manifest.config.digest,
            MAX_CONFIG,
            "the image's configuration",
        )?;
        let checked = Self::check_image(&manifest, &config)?;
        Ok((manifest, checked))
    }

    /// Returns the image with this manifest.
    pub(crate) fn image_of(&self, digest: &Digest) -> Result<Image, ImageError> {
        let (manifest, checked) = self.read_image(digest)?;
        let mut layers = Vec::with_capacity(checked.jobs.len());
        for job in &checked.jobs {
            let layer = self.find_layer(job)?.ok_or_else(|| ImageError::Damaged {
                image: digest.to_string(),
                why: format!("layer {} is not unpacked", job.diff_id.short()),
            })?;
            layers.push(layer);
        }
        Ok(Image::new(
            digest.clone(),
            &manifest,
            checked.config,
            layers,
        ))
    }

    /// Unpacks what is missing of an image whose blobs are all here, and names it. Blocks.
    pub(crate) fn install(
        &self,
        manifest: &Digest,
        info: &NameInfo,
        progress: &dyn Progress,
        cancelled: &AtomicBool,
    ) -> Result<Image, ImageError> {
        let mut lease = self.lease();
        let (document, checked) = self.read_image(manifest)?;
        self.lease_image(&mut lease, manifest, &document, &checked.jobs);
        let mut below: Vec<PathBuf> = Vec::new();
        for job in &checked.jobs {
            let layer = match self.unpack_layer(job, None, progress, cancelled)? {
                Unpacked::Complete(layer) => layer,
                Unpacked::Later => {
                    match self.unpack_layer(job, Some(&below), progress, cancelled)? {
                        Unpacked::Complete(layer) => layer,
                        Unpacked::Later => {
                            return Err(ImageError::Broken {
                                what: "unpacking a layer",
                            });
                        }
                    }
                }
            };
            if layer.opaque {
                below.clear();
            }
            below.insert(0, layer.path.clone());
        }
        let image = self.image_of(manifest)?;
        self.put_name(info)?;
        Ok(image)
    }

    pub(crate) fn lease_image(
        &self,
        lease: &mut Lease,
        manifest: &Digest,
        document: &Manifest,
        jobs: &[LayerJob],
    ) {
        lease.add(manifest.as_str());
        lease.add(document.config.digest.as_str());
        for job in jobs {
            lease.add(job.blob.as_str());
            lease.add(&own_key(job));
            lease.add(&chain_key(job));
        }
    }

    /// Finds a complete layer.
    pub(crate) fn find_layer(&self, job: &LayerJob) -> Result<Option<Layer>, ImageError> {
        self.find_layer_at([own_key(job), chain_key(job)], &job.diff_id)
    }

    /// Finds a complete layer that stands alone.
    pub(crate) fn find_own_layer(&self, diff_id: &Digest) -> Result<Option<Layer>, ImageError> {
        self.find_layer_at([diff_id.hex().to_owned()], diff_id)
    }

    fn find_layer_at(
        &self,
        keys: impl IntoIterator<Item = String>,
        diff_id: &Digest,
    ) -> Result<Option<Layer>, ImageError> {
        for key in keys {
            let dir = self.dir().join("layers").join(&key);
            let path = dir.join("layer.json");
            match std::fs::read(&path) {
                Ok(text) => {
                    let applied: Applied =
                        serde_json::from_slice(&text).map_err(|e| ImageError::Damaged {
                            image: diff_id.to_string(),
                            why: e.to_string(),
                        })?;
                    return Ok(Some(Layer {
                        diff_id: diff_id.clone(),
                        path: dir.join("fs"),
                        size: ByteSize(applied.bytes),
                        opaque: applied.root_opaque,
                        notes: applied.notes,
                    }));
                }
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(ImageError::io("read", &path)(e)),
            }
        }
        Ok(None)
    }

    /// Unpacks one layer, unless it is there. `below` are the unpacked lower layers, top first, if they are known. Blocks.
    pub(crate) fn unpack_layer(
        &self,
        job: &LayerJob,
        below: Option<&[PathBuf]>,
        progress: &dyn Progress,
        cancelled: &AtomicBool,
    ) -> Result<Unpacked, ImageError> {
        let turn = self.turn(&own_key(job));
        let _turn = turn.blocking_lock();
        if let Some(layer) = self.find_layer(job)? {
            return Ok(Unpacked::Complete(layer));
        }
        let event = |phase| {
            progress.event(Event {
                piece: job.blob.short().to_owned(),
                phase,
                done: 0,
                total: 0,
            });
        };
        event(Phase::Unpacking);
        let temp = Temp::new(self.temp_path());
        let root = temp.path().join("fs");
        for (path, mode) in [(temp.path(), 0o700), (root.as_path(), 0o755)] {
            DirBuilder::new()
                .mode(mode)
                .create(path)
                .map_err(ImageError::io("make the folder", path))?;
        }
        std::fs::set_permissions(&root, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .map_err(ImageError::io("change the mode of", &root))?;
        let failed = |source| ImageError::Layer {
            layer: job.diff_id.clone(),
            source,
        };
        let lower = match below {
            None => Lower::Unknown,
            Some([]) => Lower::Nothing,
            Some(paths) => {
                Lower::View(&Merged::open(paths).map_err(ImageError::io("open", &root))?)
            }
        };
        let (applied, got) = match self.unpack_into(job, &root, lower, cancelled) {
            Ok(done) => done,
            Err(Stop::NeedsLower) => return Ok(Unpacked::Later),
            Err(Stop::Failed(LayerError::Cancelled)) => return Err(ImageError::Cancelled),
            Err(Stop::Failed(source)) => return Err(failed(source)),
        };
        if got != job.diff_id {
            return Err(failed(LayerError::DiffId {
                wanted: job.diff_id.clone(),
                got,
            }));
        }
        if !applied.notes.is_empty() {
            tracing::warn!(layer = %job.diff_id, notes = ?applied.notes, "the layer was not unpacked word for word");
        }
        let meta = temp.path().join("layer.json");
        let text = serde_json::to_vec_pretty(&applied).map_err(|_| ImageError::Broken {
            what: "describing a layer",
        })?;
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&meta)
            .map_err(ImageError::io("make", &meta))?;
        file.write_all(&text)
            .map_err(ImageError::io("write", &meta))?;
        // One sync of the file system in place of one for each of maybe 10^5 files.
        rustix::fs::syncfs(&file).map_err(ImageError::errno("sync the file system of", &meta))?;
        let key = if below.is_some() {
            chain_key(job)
        } else {
            own_key(job)
        };
        temp.keep_as(&self.dir().join("layers").join(key))?;
        event(Phase::Done);
        self.find_layer(job)?
            .map(Unpacked::Complete)
            .ok_or(ImageError::Broken {
                what: "unpacking a layer",
            })
    }

    fn unpack_into(
        &self,
        job: &LayerJob,
        root: &std::path::Path,
        lower: Lower<'_>,
        cancelled: &AtomicBool,
    ) -> Result<(Applied, Digest), Stop> {
        let blob = self.blob_path(&job.blob);
        let file = File::open(&blob).map_err(LayerError::Read)?;
        let plain = Plain::new(file, Some(job.compression))?;
        let compressed = plain.compressed();
        let digesting = Digesting::new(plain, job.diff_id.algorithm());
        let mut reader = Reader::new(
            BufReader::with_capacity(256 << 10, digesting),
            self.budget().clone(),
        );
        let root = confined::open_root(root).map_err(LayerError::Read)?;
        let applied =
            Applier::new(root, lower, self.budget(), compressed, cancelled).run(&mut reader)?;
        reader.drain()?;
        let (got, _) = reader.into_inner().into_inner().finish();
        Ok((applied, got))
    }

    /// Returns the image that `name` means here, or nothing.
    ///
    /// # Errors
    /// [`ImageError::Damaged`] and others if a part of it is missing or does not fit.
    pub fn resolve(&self, name: &ImageName) -> Result<Option<Image>, ImageError> {
        self.name_info(name)?
            .map(|info| self.image_as(name, &info.manifest))
            .transpose()
    }

    /// Returns the image with this manifest, which somebody knows by a name that may mean another one by now.
    ///
    /// # Errors
    /// [`ImageError::Damaged`] with that name and others if a part of it is missing or does not fit.
    pub fn image_as(&self, name: &ImageName, manifest: &Digest) -> Result<Image, ImageError> {
        self.image_of(manifest).map_err(|error| match error {
            ImageError::Io { source, path, .. }
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                ImageError::Damaged {
                    image: name.familiar(),
                    why: format!("`{}` is gone", path.display()),
                }
            }
            ImageError::Damaged { why, .. } => ImageError::Damaged {
                image: name.familiar(),
                why,
            },
            other => other,
        })
    }
}

/// The folder of a layer that stands alone.
pub(crate) fn own_key(job: &LayerJob) -> String {
    job.diff_id.hex().to_owned()
}

/// The folder of a layer that needs those below it.
pub(crate) fn chain_key(job: &LayerJob) -> String {
    format!("chain-{}", job.chain_id.hex())
}

/// Checks a size against its descriptor.
pub(crate) fn check_size(descriptor: &Descriptor, got: u64) -> Result<(), ImageError> {
    if descriptor.size == got {
        Ok(())
    } else {
        Err(ImageError::SizeMismatch {
            what: format!("content {}", descriptor.digest.short()),
            wanted: descriptor.size,
            got,
        })
    }
}
