use crate::config::{ConfigFile, RootFs};
use crate::manifest::{Descriptor, Manifest, OCI_CONFIG, OCI_MANIFEST, layer_type};
use crate::store::{Lease, NameInfo};
use crate::{Digest, History, Image, ImageConfig, ImageError, Packed, Platform, Store};
use daas_model::ImageName;
use std::collections::BTreeMap;

/// An image to be put together from layers that are in the store.
#[derive(Debug, Clone)]
pub struct NewImage {
    /// When it was made, in RFC 3339.
    pub created: Option<String>,
    /// For which machine.
    pub platform: Platform,
    /// How it wants to be run.
    pub config: ImageConfig,
    /// How it was made; its entries that made a layer are as many as the layers.
    pub history: Vec<History>,
    /// Its layers, lowest first.
    pub layers: Vec<Packed>,
    /// Words for tools in its manifest.
    pub annotations: BTreeMap<String, String>,
}

impl Store {
    /// Returns the layers of an image as they are packed, lowest first.
    ///
    /// # Errors
    /// As [`Store::resolve`].
    pub fn packed_layers(&self, image: &Digest) -> Result<Vec<Packed>, ImageError> {
        let (manifest, checked) = self.read_image(image)?;
        Ok(manifest
            .layers
            .iter()
            .zip(&checked.jobs)
            .map(|(layer, job)| Packed {
                blob: layer.digest.clone(),
                size: layer.size,
                // The same bytes under the name that an OCI manifest wants.
                media_type: layer_type(job.compression),
                diff_id: job.diff_id.clone(),
            })
            .collect())
    }

    /// Writes the documents of an image and gives it `names`. Blocks, but not for the disk.
    ///
    /// What builds have made is on the disk some moments later; if the machine goes down before, the image was not made.
    ///
    /// The same parts give the same digest. An image without names is kept only by `lease`.
    ///
    /// # Errors
    /// [`ImageError::Damaged`] if a layer is not unpacked; [`ImageError::BadDocument`] for a name with a digest; [`ImageError::Io`].
    pub fn put_image(
        &self,
        new: &NewImage,
        names: &[ImageName],
        lease: &mut Lease,
    ) -> Result<Image, ImageError> {
        let broken = |_| ImageError::Broken {
            what: "describing the image",
        };
        let config = ConfigFile {
            created: new.created.clone(),
            platform: new.platform.clone(),
            config: new.config.clone(),
            rootfs: RootFs {
                kind: "layers".into(),
                diff_ids: new.layers.iter().map(|l| l.diff_id.clone()).collect(),
            },
            history: new.history.clone(),
        };
        let text = serde_json::to_vec(&config).map_err(broken)?;
        let descriptor = |media_type: &str, digest: Digest, size| Descriptor {
            media_type: media_type.to_owned(),
            digest,
            size,
            platform: None,
            annotations: BTreeMap::new(),
        };
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(OCI_MANIFEST.into()),
            config: descriptor(
                OCI_CONFIG,
                self.put_unsynced(&text, lease)?,
                text.len() as u64,
            ),
            layers: new
                .layers
                .iter()
                .map(|l| descriptor(&l.media_type, l.blob.clone(), l.size))
                .collect(),
            annotations: new.annotations.clone(),
        };
        let manifest = self.put_unsynced(&serde_json::to_vec(&manifest).map_err(broken)?, lease)?;
        for name in names {
            if name.digest().is_some() {
                return Err(ImageError::BadDocument {
                    what: format!("the name `{name}`"),
                    why: "a digest is not given but follows from the content".into(),
                });
            }
            if self
                .name_info(name)?
                .is_some_and(|known| known.manifest == manifest)
            {
                continue;
            }
            self.put_name_unsynced(&NameInfo {
                name: name.clone(),
                manifest: manifest.clone(),
                index: None,
                private: false,
                since: crate::load::now(),
            })?;
        }
        self.settle_soon();
        self.image_of(&manifest)
    }

    /// Returns the image with this manifest, if it is here whole.
    ///
    /// # Errors
    /// [`ImageError::Damaged`] and others if a part of it is missing or does not fit.
    pub fn image(&self, manifest: &Digest) -> Result<Image, ImageError> {
        self.image_of(manifest)
    }

    fn put_unsynced(&self, bytes: &[u8], lease: &mut Lease) -> Result<Digest, ImageError> {
        let mut writer = self.blob_writer(crate::digest::Algorithm::Sha256)?;
        writer.write(bytes)?;
        writer.commit_unsynced(lease)
    }
}
