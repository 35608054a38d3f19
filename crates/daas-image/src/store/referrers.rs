//! Documents about images: bills of materials, provenance, signatures (OCI Image Specification 1.1, "subject").
//!
//! A referrer is a manifest that names another one as its `subject`. It lives as long as its subject does.

use super::{Store, Temp, locked, remove_any};
use crate::manifest::{MAX_MANIFEST, OCI_MANIFEST};
use crate::{Digest, ImageError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use tokio::sync::watch;

/// The content of a configuration that says nothing (OCI Image Specification 1.1, "Guidance for an Empty Descriptor").
const EMPTY: &[u8] = b"{}";
/// Its media type.
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";

/// A document about an image, to be attached to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// What kind of document it is, as a media type: `application/vnd.in-toto+json`, `application/spdx+json`.
    pub artifact_type: String,
    /// Its parts: media type and content each.
    pub parts: Vec<(String, Vec<u8>)>,
    /// What the manifest says besides.
    pub annotations: BTreeMap<String, String>,
}

/// A manifest that refers to another one, as the referrers API lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Referrer {
    /// The media type of the manifest.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// What kind of document it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// What it says of itself.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// Images whose documents are being written, with how many write them.
pub(super) type Due = watch::Sender<BTreeMap<Digest, usize>>;

/// Says that documents about an image are being written; they are there, or will not come, once it is dropped.
#[must_use = "who asks for the documents waits as long as this is kept"]
pub struct DocumentsDue {
    store: Store,
    subject: Digest,
}

impl std::fmt::Debug for DocumentsDue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DocumentsDue")
            .field("subject", &self.subject)
            .finish_non_exhaustive()
    }
}

impl Drop for DocumentsDue {
    fn drop(&mut self) {
        self.store.inner.due.send_modify(|due| {
            let left = due.get_mut(&self.subject).map_or(0, |n| {
                *n = n.saturating_sub(1);
                *n
            });
            if left == 0 {
                due.remove(&self.subject);
            }
        });
    }
}

impl Store {
    /// Announces documents about `subject`: [`Store::documents_written`] waits for what is returned to be dropped.
    pub fn announce_documents(&self, subject: &Digest) -> DocumentsDue {
        self.inner.due.send_modify(|due| {
            *due.entry(subject.clone()).or_default() += 1;
        });
        DocumentsDue {
            store: self.clone(),
            subject: subject.clone(),
        }
    }

    /// Waits until nobody writes documents about `subject` any more, and not at all if nobody does.
    ///
    /// Safe to drop at any time.
    pub async fn documents_written(&self, subject: &Digest) {
        let mut due = self.inner.due.subscribe();
        // It fails only when the store is gone, which `self` holds.
        let _ = due.wait_for(|due| !due.contains_key(subject)).await;
    }

    /// Keeps a document about the image whose manifest (or index) is `subject`; returns the digest of the document's manifest.
    ///
    /// The same document attached twice is there once. It goes with its subject at a later [`Store::gc`]. Blocks.
    ///
    /// # Errors
    /// [`ImageError::BadDocument`] if the subject is not here, [`ImageError::Io`].
    pub fn attach(&self, subject: &Digest, artifact: &Artifact) -> Result<Digest, ImageError> {
        let of = self.read_blob(subject, MAX_MANIFEST, "the subject")?;
        let media_type = media_type_of(&of).unwrap_or_else(|| OCI_MANIFEST.to_owned());
        let mut lease = self.lease();
        let mut keep = |bytes: &[u8]| {
            let digest = Digest::of(bytes);
            lease.add(digest.as_str());
            self.put_blob(bytes)
        };
        let mut layers = Vec::with_capacity(artifact.parts.len());
        for (media_type, bytes) in &artifact.parts {
            let digest = keep(bytes)?;
            layers.push(
                serde_json::json!({"mediaType": media_type, "digest": digest, "size": bytes.len()}),
            );
        }
        let config = keep(EMPTY)?;
        let mut manifest = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": artifact.artifact_type,
            "config": {"mediaType": EMPTY_TYPE, "digest": config, "size": EMPTY.len()},
            "layers": layers,
            "subject": {"mediaType": media_type, "digest": subject, "size": of.len()},
        });
        if !artifact.annotations.is_empty() {
            manifest["annotations"] = serde_json::json!(artifact.annotations);
        }
        let bytes = manifest.to_string().into_bytes();
        let digest = keep(&bytes)?;
        let referrer = Referrer {
            media_type: OCI_MANIFEST.to_owned(),
            digest: digest.clone(),
            size: bytes.len() as u64,
            artifact_type: Some(artifact.artifact_type.clone()),
            annotations: artifact.annotations.clone(),
        };
        self.put_referrer(subject, &referrer)?;
        Ok(digest)
    }

    /// Lists the documents about the image with this manifest, sorted by digest; nothing if there is none.
    ///
    /// # Errors
    /// [`ImageError::Io`], [`ImageError::BadDocument`].
    pub fn referrers(&self, subject: &Digest) -> Result<Vec<Referrer>, ImageError> {
        let dir = self.referrers_of(subject);
        let entries = match std::fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(ImageError::io("list", &dir)(e)),
        };
        let mut found = Vec::new();
        for entry in entries {
            let path = entry.map_err(ImageError::io("list", &dir))?.path();
            let text = match std::fs::read(&path) {
                Ok(text) => text,
                // Removed meanwhile.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                Err(e) => return Err(ImageError::io("read", &path)(e)),
            };
            let referrer: Referrer =
                serde_json::from_slice(&text).map_err(|e| ImageError::BadDocument {
                    what: format!("`{}`", path.display()),
                    why: e.to_string(),
                })?;
            found.push(referrer);
        }
        found.sort_by(|a, b| a.digest.cmp(&b.digest));
        Ok(found)
    }

    /// Reads the parts of a document that [`Store::attach`] has kept: media type and content each. Blocks.
    ///
    /// # Errors
    /// [`ImageError::BadDocument`], [`ImageError::DigestMismatch`] if it has changed on disk, [`ImageError::Io`].
    pub fn read_artifact(&self, manifest: &Digest) -> Result<Vec<(String, Vec<u8>)>, ImageError> {
        let bytes = self.read_blob(manifest, MAX_MANIFEST, "the document's manifest")?;
        let bad = |why: &str| ImageError::BadDocument {
            what: "the document's manifest".into(),
            why: why.into(),
        };
        let value: serde_json::Value =
            serde_json::from_slice(&bytes).map_err(|e| bad(&e.to_string()))?;
        let layers = value["layers"]
            .as_array()
            .ok_or_else(|| bad("it has no layers"))?;
        layers
            .iter()
            .map(|layer| {
                let media_type = layer["mediaType"].as_str().unwrap_or_default().to_owned();
                let digest = layer["digest"].as_str().and_then(|d| Digest::parse(d).ok());
                let digest = digest.ok_or_else(|| bad("a layer has no digest"))?;
                let size = self.blob_size(&digest).unwrap_or(0);
                Ok((
                    media_type,
                    self.read_blob(&digest, size, "a part of the document")?,
                ))
            })
            .collect()
    }

    fn put_referrer(&self, subject: &Digest, referrer: &Referrer) -> Result<(), ImageError> {
        let dir = self.referrers_of(subject);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .map_err(ImageError::io("make the folder", &dir))?;
        let temp = Temp::new(self.temp_path());
        let text = serde_json::to_vec(referrer).map_err(|e| ImageError::BadDocument {
            what: "the referrer".into(),
            why: e.to_string(),
        })?;
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(temp.path())
            .map_err(ImageError::io("make", temp.path()))?;
        file.write_all(&text)
            .and_then(|()| file.sync_all())
            .map_err(ImageError::io("write", temp.path()))?;
        temp.keep_as(&dir.join(format!("{}.json", file_name(&referrer.digest))))?;
        super::sync_dir(&self.dir().join("referrers"))?;
        self.inner.names_epoch.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    fn referrers_of(&self, subject: &Digest) -> PathBuf {
        self.dir().join("referrers").join(file_name(subject))
    }

    /// Forgets referrers whose manifests were collected.
    pub(crate) fn sweep_referrers(&self) -> Result<(), ImageError> {
        let dir = self.dir().join("referrers");
        for entry in std::fs::read_dir(&dir).map_err(ImageError::io("list", &dir))? {
            let path = entry.map_err(ImageError::io("list", &dir))?.path();
            for file in std::fs::read_dir(&path).into_iter().flatten().flatten() {
                let name = file.file_name().to_string_lossy().into_owned();
                let digest = name
                    .strip_suffix(".json")
                    .and_then(|name| Digest::parse(&name.replacen('-', ":", 1)).ok());
                let Some(digest) = digest else { continue };
                // Under the lock of the leases: who attaches the same document just now holds one.
                let leases = locked(&self.inner.leases);
                if self.blob_size(&digest).is_none() && !leases.contains_key(digest.as_str()) {
                    remove_any(&file.path())?;
                }
            }
            // Fails while something is in it, as it should.
            let _ = std::fs::remove_dir(&path);
        }
        Ok(())
    }
}

fn file_name(digest: &Digest) -> String {
    format!("{}-{}", digest.algorithm_name(), digest.hex())
}

fn media_type_of(bytes: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    Some(value.get("mediaType")?.as_str()?.to_owned())
}
