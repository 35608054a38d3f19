//! What can be done with a repository, whoever asks and by whatever door.

use crate::catalog::Link;
use crate::document::{Document, annotations_of};
use crate::error::RegistryError;
use crate::name::{Reference, Repository, Tag};
use crate::record::{BlobRecord, ManifestRecord, TagRecord, key_of, key_of_tag};
use crate::registry::{Registry, now_ms};
use daas_image::{Algorithm, Digest, Incoming, Outgoing, Referrer};
use daas_model::ByteSize;
use daas_store::Batch;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A repository as people see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepositoryView {
    /// Its name.
    pub name: Repository,
    /// How many tags it has.
    pub tags: usize,
    /// How many manifests it has.
    pub manifests: usize,
    /// How many bytes it holds; what other repositories have too counts here as well.
    pub bytes: u64,
    /// When something last came, Unix milliseconds.
    pub changed_ms: u64,
}

/// A tag as people see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagView {
    /// The tag.
    pub tag: Tag,
    /// The manifest that it means.
    pub digest: Digest,
    /// Its media type.
    pub media_type: String,
    /// Bytes of the manifest and of all below it.
    pub bytes: u64,
    /// Since when, Unix milliseconds.
    pub since_ms: u64,
}

/// A manifest to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) digest: Digest,
    pub(crate) media_type: String,
    pub(crate) bytes: Vec<u8>,
}

/// Whether a repository has been pushed to, or filled by a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// All parts of a manifest must be there.
    Pushed,
    /// Parts come when they are asked for.
    Outside,
}

impl Registry {
    // === reading ===

    /// Lists repositories by name.
    #[must_use]
    pub fn repositories(&self) -> Vec<RepositoryView> {
        let catalog = self.catalog();
        catalog
            .shelves()
            .map(|(name, shelf)| RepositoryView {
                name: name.clone(),
                tags: shelf.tags.len(),
                manifests: shelf.manifests.len(),
                bytes: shelf.blobs.values().map(|link| link.size).sum::<u64>()
                    + shelf.manifests.values().map(|m| m.size).sum::<u64>(),
                changed_ms: shelf
                    .tags
                    .values()
                    .map(|tag| tag.since_ms)
                    .chain(shelf.manifests.values().map(|m| m.pushed_ms))
                    .max()
                    .unwrap_or(0),
            })
            .collect()
    }

    /// Lists the tags of a repository.
    ///
    /// # Errors
    /// [`RegistryError::NoRepository`].
    pub fn tags(&self, repository: &Repository) -> Result<Vec<TagView>, RegistryError> {
        let catalog = self.catalog();
        let shelf = catalog
            .shelf(repository)
            .ok_or_else(|| no_repository(repository))?;
        Ok(shelf
            .tags
            .values()
            .map(|tag| {
                let manifest = shelf.manifests.get(&tag.digest);
                TagView {
                    tag: tag.tag.clone(),
                    digest: tag.digest.clone(),
                    media_type: manifest.map_or_else(String::new, |m| m.media_type.clone()),
                    bytes: shelf.weight(&tag.digest),
                    since_ms: tag.since_ms,
                }
            })
            .collect())
    }

    /// Returns what the registry remembers of a manifest.
    ///
    /// # Errors
    /// [`RegistryError::NoManifest`].
    pub fn manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<Arc<ManifestRecord>, RegistryError> {
        let catalog = self.catalog();
        let unknown = || RegistryError::NoManifest {
            repository: repository.clone(),
            reference: reference.clone(),
        };
        let shelf = catalog.shelf(repository).ok_or_else(unknown)?;
        let digest = match reference {
            Reference::Digest(digest) => digest,
            Reference::Tag(tag) => &shelf.tags.get(tag).ok_or_else(unknown)?.digest,
        };
        shelf.manifests.get(digest).cloned().ok_or_else(unknown)
    }

    /// Returns how many bytes a manifest of a repository takes with all below it; nothing if it is not there.
    #[must_use]
    pub fn weight_of(&self, repository: &Repository, manifest: &Digest) -> u64 {
        let catalog = self.catalog();
        let shelf = catalog.shelf(repository);
        shelf.map_or(0, |shelf| shelf.weight(manifest))
    }

    /// Lists the manifests of a repository that are about this one.
    #[must_use]
    pub fn referrers_of(&self, repository: &Repository, subject: &Digest) -> Vec<Digest> {
        let catalog = self.catalog();
        let about = catalog
            .shelf(repository)
            .and_then(|shelf| shelf.about.get(subject));
        about.into_iter().flatten().cloned().collect()
    }

    /// Reads a manifest whose bytes are compared with its digest.
    pub(crate) async fn read_manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<Found, RegistryError> {
        let record = self.manifest(repository, reference)?;
        let (images, digest, size) = (
            self.inner.images.clone(),
            record.digest.clone(),
            record.size,
        );
        let read = move || images.read_blob(&digest, size, "the manifest");
        let bytes = self.blocking("read a manifest", read).await?.map_err(|_| {
            tracing::error!(%repository, digest = %record.digest, "a manifest is damaged on disk");
            RegistryError::Damaged {
                digest: record.digest.clone(),
            }
        })?;
        Ok(Found {
            digest: record.digest.clone(),
            media_type: record.media_type.clone(),
            bytes,
        })
    }

    /// Returns the size of a blob of a repository; who asks relies on it from now on.
    pub(crate) fn blob_size(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<u64, RegistryError> {
        let touched = self.catalog().touch(repository, digest, now_ms());
        let here = self.inner.images.blob_size(digest);
        match (touched, here) {
            (Some(link), Some(size)) if link.size == size => Ok(size),
            _ => Err(RegistryError::NoBlob {
                repository: repository.clone(),
                digest: digest.clone(),
            }),
        }
    }

    /// Opens a blob to be sent.
    pub(crate) async fn open_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Outgoing, RegistryError> {
        self.blob_size(repository, digest)?;
        let (images, of) = (self.inner.images.clone(), digest.clone());
        match self
            .blocking("open a blob", move || images.open_verified(&of))
            .await?
        {
            Ok(Some(outgoing)) => Ok(outgoing),
            Ok(None) => Err(RegistryError::NoBlob {
                repository: repository.clone(),
                digest: digest.clone(),
            }),
            Err(daas_image::ImageError::DigestMismatch { got, .. }) => {
                tracing::error!(%repository, %digest, %got, "a blob is damaged on disk, it is not served");
                Err(RegistryError::Damaged {
                    digest: digest.clone(),
                })
            }
            Err(other) => Err(RegistryError::Images(other)),
        }
    }

    /// Lists what is about a manifest.
    pub(crate) async fn referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
    ) -> Result<Vec<serde_json::Value>, RegistryError> {
        self.adopt_referrers(repository, subject).await?;
        let records: Vec<Arc<ManifestRecord>> = {
            let catalog = self.catalog();
            let Some(shelf) = catalog.shelf(repository) else {
                return Ok(Vec::new());
            };
            let about = shelf.about.get(subject);
            about
                .into_iter()
                .flatten()
                .filter_map(|digest| shelf.manifests.get(digest).cloned())
                .collect()
        };
        let images = self.inner.images.clone();
        let describe = move || {
            records
                .iter()
                .filter_map(|record| {
                    // One that is damaged is not listed; asking for it says why.
                    let bytes = images.read_blob(&record.digest, record.size, "a referrer").ok()?;
                    let mut descriptor = serde_json::json!({
                        "mediaType": record.media_type, "digest": record.digest, "size": record.size,
                    });
                    if let Some(kind) = &record.artifact_type {
                        descriptor["artifactType"] = kind.clone().into();
                    }
                    if let Some(annotations) = annotations_of(&bytes) {
                        descriptor["annotations"] = annotations;
                    }
                    Some(descriptor)
                })
                .collect()
        };
        self.blocking("list referrers", describe).await
    }

    /// Takes into a repository what the image store keeps about one of its manifests.
    async fn adopt_referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
    ) -> Result<(), RegistryError> {
        let known: BTreeSet<Digest> = {
            let catalog = self.catalog();
            let Some(shelf) = catalog.shelf(repository) else {
                return Ok(());
            };
            if !shelf.manifests.contains_key(subject) {
                return Ok(());
            }
            shelf.about.get(subject).cloned().unwrap_or_default()
        };
        self.inner.images.documents_written(subject).await;
        let (images, of) = (self.inner.images.clone(), subject.clone());
        let listed: Vec<Referrer> = self
            .blocking("look for documents", move || images.referrers(&of))
            .await?
            .map_err(RegistryError::Images)?;
        for referrer in listed.into_iter().filter(|r| !known.contains(&r.digest)) {
            self.publish(repository, &[], &referrer.digest).await?;
        }
        Ok(())
    }

    // === writing ===

    /// Makes a blob that has come whole one of a repository's. Returns when that is on the disk.
    pub(crate) async fn finish_blob(
        &self,
        repository: &Repository,
        incoming: Incoming,
        digest: &Digest,
    ) -> Result<(), RegistryError> {
        let mut lease = self.inner.images.lease();
        lease.keep(digest);
        let size = incoming.size();
        self.check_quota(repository, &[(digest, size)])?;
        let wanted = digest.clone();
        self.blocking("finish a blob", move || incoming.commit(&wanted))
            .await??;
        self.link(repository, digest, size).await?;
        drop(lease);
        Ok(())
    }

    /// Makes a blob that is in the store one of a repository's.
    pub(crate) async fn link(
        &self,
        repository: &Repository,
        digest: &Digest,
        size: u64,
    ) -> Result<(), RegistryError> {
        let _turn = self.turn(repository).await;
        let now = now_ms();
        if self.catalog().touch(repository, digest, now).is_some() {
            return Ok(());
        }
        // Again, under the turn: several uploads may have been let in at once.
        self.check_quota(repository, &[(digest, size)])?;
        let record = BlobRecord {
            repository: repository.clone(),
            digest: digest.clone(),
            size,
            since_ms: now,
        };
        self.inner
            .store
            .put(&key_of(repository, digest), &record)
            .await?;
        self.catalog().add_blob(&record);
        Ok(())
    }

    /// Makes a blob of one repository one of another's; tells whether the first has it.
    pub(crate) async fn mount(
        &self,
        from: &Repository,
        to: &Repository,
        digest: &Digest,
    ) -> Result<bool, RegistryError> {
        let mut lease = self.inner.images.lease();
        lease.keep(digest);
        let Ok(size) = self.blob_size(from, digest) else {
            return Ok(false);
        };
        self.link(to, digest, size).await?;
        drop(lease);
        Ok(true)
    }

    /// Keeps a manifest under its digest and these tags; returns the digest and what it is about.
    pub(crate) async fn put_manifest(
        &self,
        repository: &Repository,
        wanted: Option<&Digest>,
        tags: &[Tag],
        bytes: Vec<u8>,
        claimed: Option<&str>,
        origin: Origin,
    ) -> Result<(Digest, Option<Digest>), RegistryError> {
        let document =
            Document::parse(&bytes, claimed).map_err(|why| RegistryError::BadManifest { why })?;
        let digest = match wanted {
            None => Digest::of(&bytes),
            Some(wanted) => {
                let got = Digest::by(wanted.algorithm(), &bytes);
                if got != *wanted {
                    return Err(RegistryError::OtherDigest {
                        wanted: wanted.clone(),
                        got,
                    });
                }
                got
            }
        };
        let mut lease = self.inner.images.lease();
        lease.keep(&digest);
        let size = bytes.len() as u64;
        self.check_quota(repository, &[(&digest, size)])?;
        let (images, to) = (self.inner.images.clone(), digest.clone());
        self.blocking("keep a manifest", move || images.keep_blob(&bytes, &to))
            .await??;
        let subject = document.subject.clone();
        self.record_manifest(repository, tags, &digest, size, document, origin)
            .await?;
        drop(lease);
        Ok((digest, subject))
    }

    async fn record_manifest(
        &self,
        repository: &Repository,
        tags: &[Tag],
        digest: &Digest,
        size: u64,
        document: Document,
        origin: Origin,
    ) -> Result<(), RegistryError> {
        let _turn = self.turn(repository).await;
        let now = now_ms();
        if origin == Origin::Pushed {
            for part in &document.parts {
                self.blob_size(repository, part)
                    .map_err(|_| RegistryError::MissingPart {
                        repository: repository.clone(),
                        digest: part.clone(),
                    })?;
            }
        }
        let record = ManifestRecord {
            repository: repository.clone(),
            digest: digest.clone(),
            media_type: document.media_type,
            size,
            parts: document.parts,
            children: document.children,
            subject: document.subject,
            artifact_type: document.artifact_type,
            pushed_ms: now,
        };
        let mut batch = Batch::new();
        // Also when it is known: it counts as new from now on.
        batch = batch.put(&key_of(repository, digest), &record)?;
        let tags: Vec<TagRecord> = tags
            .iter()
            .map(|tag| TagRecord {
                repository: repository.clone(),
                tag: tag.clone(),
                digest: digest.clone(),
                since_ms: now,
            })
            .collect();
        for tag in &tags {
            batch = batch.put(&key_of_tag(repository, &tag.tag), tag)?;
        }
        self.inner.store.commit(batch).await?;
        let mut catalog = self.catalog();
        catalog.add_manifest(record);
        for tag in tags {
            catalog.set_tag(tag);
        }
        Ok(())
    }

    /// Takes an image or document of the image store into a repository: nothing is copied.
    ///
    /// # Errors
    /// [`RegistryError::MissingPart`] if the store has not all of it, [`RegistryError::OverQuota`], and those of reading it.
    pub async fn publish(
        &self,
        repository: &Repository,
        tags: &[Tag],
        manifest: &Digest,
    ) -> Result<(), RegistryError> {
        let mut lease = self.inner.images.lease();
        lease.keep(manifest);
        let (images, of) = (self.inner.images.clone(), manifest.clone());
        let bytes = self
            .blocking("read a manifest", move || {
                images.read_blob(&of, crate::document::MAX_MANIFEST as u64, "the manifest")
            })
            .await?
            .map_err(RegistryError::Images)?;
        let document =
            Document::parse(&bytes, None).map_err(|why| RegistryError::BadManifest { why })?;
        let mut parts = Vec::with_capacity(document.parts.len());
        for part in &document.parts {
            lease.keep(part);
            let size = self.inner.images.blob_size(part);
            parts.push((
                part,
                size.ok_or_else(|| RegistryError::MissingPart {
                    repository: repository.clone(),
                    digest: part.clone(),
                })?,
            ));
        }
        self.check_quota(repository, &parts)?;
        for (part, size) in parts {
            self.link(repository, part, size).await?;
        }
        let size = bytes.len() as u64;
        self.record_manifest(repository, tags, manifest, size, document, Origin::Pushed)
            .await?;
        drop(lease);
        Ok(())
    }

    /// Deletes a tag, or a manifest with all tags that mean it.
    ///
    /// # Errors
    /// [`RegistryError::NoManifest`].
    pub async fn delete_manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<(), RegistryError> {
        let _turn = self.turn(repository).await;
        self.delete_in_turn(repository, reference).await
    }

    /// As [`Registry::delete_manifest`], for who has the repository's turn.
    pub(crate) async fn delete_in_turn(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<(), RegistryError> {
        let record = self.manifest(repository, reference);
        let mut batch = Batch::new();
        match reference {
            Reference::Tag(tag) => {
                record?;
                batch = batch.delete::<TagRecord>(&key_of_tag(repository, tag));
                self.inner.store.commit(batch).await?;
                self.catalog().drop_tag(repository, tag);
            }
            Reference::Digest(digest) => {
                record?;
                batch = batch.delete::<ManifestRecord>(&key_of(repository, digest));
                let tags: Vec<Tag> = self.catalog().shelf(repository).map_or_else(Vec::new, |s| {
                    s.tags
                        .values()
                        .filter(|tag| tag.digest == *digest)
                        .map(|tag| tag.tag.clone())
                        .collect()
                });
                for tag in &tags {
                    batch = batch.delete::<TagRecord>(&key_of_tag(repository, tag));
                }
                self.inner.store.commit(batch).await?;
                self.catalog().drop_manifest(repository, digest, now_ms());
            }
        }
        Ok(())
    }

    /// Deletes a blob that no manifest of the repository is made of.
    pub(crate) async fn delete_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<(), RegistryError> {
        let _turn = self.turn(repository).await;
        let link = {
            let catalog = self.catalog();
            let shelf = catalog.shelf(repository);
            shelf.and_then(|shelf| shelf.blobs.get(digest).copied())
        };
        let link = link.ok_or_else(|| RegistryError::NoBlob {
            repository: repository.clone(),
            digest: digest.clone(),
        })?;
        if link.users > 0 {
            return Err(RegistryError::BlobInUse {
                repository: repository.clone(),
                digest: digest.clone(),
            });
        }
        self.unlink(repository, digest).await
    }

    /// Takes a blob out of a repository, whose turn the caller has.
    pub(crate) async fn unlink(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<(), RegistryError> {
        // First out of sight, then off the disk: nobody may rely on it in between.
        let Some(link) = self.catalog().drop_blob(repository, digest) else {
            return Ok(());
        };
        self.forget(repository, digest, link).await
    }

    /// Takes off the disk what was just taken out of sight, or puts it back.
    pub(crate) async fn forget(
        &self,
        repository: &Repository,
        digest: &Digest,
        link: Link,
    ) -> Result<(), RegistryError> {
        let batch = Batch::new().delete::<BlobRecord>(&key_of(repository, digest));
        if let Err(error) = self.inner.store.commit(batch).await {
            self.catalog().add_blob(&BlobRecord {
                repository: repository.clone(),
                digest: digest.clone(),
                size: link.size,
                since_ms: link.touched_ms,
            });
            return Err(error.into());
        }
        Ok(())
    }

    /// Deletes a whole repository.
    ///
    /// # Errors
    /// [`RegistryError::NoRepository`].
    pub async fn delete_repository(&self, repository: &Repository) -> Result<(), RegistryError> {
        let manifests: Vec<Digest> = {
            let catalog = self.catalog();
            let shelf = catalog
                .shelf(repository)
                .ok_or_else(|| no_repository(repository))?;
            shelf.manifests.keys().cloned().collect()
        };
        for digest in manifests {
            match self
                .delete_manifest(repository, &Reference::Digest(digest))
                .await
            {
                // Somebody else deleted it meanwhile.
                Ok(()) | Err(RegistryError::NoManifest { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let _turn = self.turn(repository).await;
        let blobs: Vec<Digest> = self.catalog().shelf(repository).map_or_else(Vec::new, |s| {
            let free = s.blobs.iter().filter(|(_, link)| link.users == 0);
            free.map(|(digest, _)| digest.clone()).collect()
        });
        for digest in blobs {
            self.unlink(repository, &digest).await?;
        }
        Ok(())
    }

    /// Refuses contents for which a project has no room.
    pub(crate) fn check_quota(
        &self,
        repository: &Repository,
        contents: &[(&Digest, u64)],
    ) -> Result<(), RegistryError> {
        let space = repository.space();
        let Some(quota) = self.space(space)?.quota else {
            return Ok(());
        };
        let (more, used) = {
            let catalog = self.catalog();
            (catalog.growth(space, contents), catalog.bytes_of(space))
        };
        if more > 0 && used.saturating_add(more) > quota.0 {
            return Err(RegistryError::OverQuota {
                space: space.to_owned(),
                more: ByteSize(more),
                used: ByteSize(used),
                quota,
            });
        }
        Ok(())
    }

    /// Returns a repository of a project that has a blob.
    pub(crate) fn holder(&self, space: &str, digest: &Digest) -> Option<Repository> {
        let catalog = self.catalog();
        catalog
            .shelves()
            .find(|(name, shelf)| name.space() == space && shelf.blobs.contains_key(digest))
            .map(|(name, _)| name.clone())
    }

    /// Begins to receive a content.
    pub(crate) async fn receive(&self, algorithm: Algorithm) -> Result<Incoming, RegistryError> {
        let images = self.inner.images.clone();
        Ok(self
            .blocking("begin an upload", move || images.receive(algorithm))
            .await??)
    }
}

pub(crate) fn no_repository(repository: &Repository) -> RegistryError {
    RegistryError::NoRepository {
        repository: repository.to_string(),
    }
}
