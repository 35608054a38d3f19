//! Copies of outside registries: `docker.io/library/nginx` below our own name is docker.io's `library/nginx`.
//!
//! A tag is asked for outside when what is known of it is not fresh; if the outside is away, what is here is given. Blobs
//! are fetched when they are asked for, once, into the store that the engine's own pulls use too.

use crate::error::RegistryError;
use crate::name::{Reference, Repository};
use crate::registry::{Registry, locked};
use crate::repository::{Found, Origin};
use daas_image::{Digest, ImageError};
use daas_model::{Explain, ImageName, Kind};
use std::time::{Duration, Instant};

/// How long an outside registry may take before what is here is given in place of its answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many tags are remembered as fresh.
const REMEMBERED: usize = 10_000;

impl Registry {
    /// Tells whether the repositories of this first part are copies.
    pub(crate) fn is_cache(&self, space: &str) -> bool {
        self.inner.settings.caches.contains_key(space)
    }

    /// Returns a manifest, from outside if it belongs there.
    pub(crate) async fn find_manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<Found, RegistryError> {
        let here = self.read_manifest(repository, reference).await;
        if !self.is_cache(repository.space()) {
            return here;
        }
        let key = format!("{repository} {reference}");
        let fresh = match reference {
            Reference::Digest(_) => true,
            Reference::Tag(_) => locked(&self.inner.asked)
                .get(&key)
                .is_some_and(|at| at.elapsed() < self.inner.settings.cache_fresh),
        };
        if fresh && here.is_ok() {
            return here;
        }
        let asked = self.fetch_manifest(repository, reference);
        let fetched = if here.is_ok() {
            let late = || RegistryError::Broken {
                what: "waiting for the outside registry",
            };
            tokio::time::timeout(PATIENCE, asked)
                .await
                .unwrap_or_else(|_| Err(late()))
        } else {
            asked.await
        };
        match (fetched, here) {
            (Ok(()), _) => {
                self.remember(key);
                self.read_manifest(repository, reference).await
            }
            // The outside says that there is no such thing (any more).
            (Err(error), Ok(_)) if error.kind() == Kind::NotFound => Err(error),
            (Err(error), Ok(found)) => {
                tracing::warn!(%repository, %reference, cause = %daas_model::render_chain(&error), "an outside registry is away; its copy is given");
                Ok(found)
            }
            (Err(error), Err(_)) => Err(error),
        }
    }

    /// Remembers that a tag was asked for outside just now.
    fn remember(&self, key: String) {
        let mut asked = locked(&self.inner.asked);
        if asked.len() >= REMEMBERED {
            asked.clear();
        }
        asked.insert(key, Instant::now());
    }

    async fn fetch_manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<(), RegistryError> {
        let name = self.outside_name(repository, reference)?;
        let fetched =
            self.inner
                .outside
                .fetch_manifest(&name)
                .await
                .map_err(|error| match error {
                    ImageError::NotInRegistry { .. } | ImageError::Denied { .. } => {
                        RegistryError::NoManifest {
                            repository: repository.clone(),
                            reference: reference.clone(),
                        }
                    }
                    other => RegistryError::Images(other),
                })?;
        let (wanted, tags) = reference.parts();
        self.put_manifest(
            repository,
            wanted,
            tags,
            fetched.bytes,
            fetched.media_type.as_deref(),
            Origin::Outside,
        )
        .await?;
        Ok(())
    }

    /// Brings a blob of a copy into the store and its repository.
    pub(crate) async fn bring_part(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<(), RegistryError> {
        let unknown = || RegistryError::NoBlob {
            repository: repository.clone(),
            digest: digest.clone(),
        };
        if !self.is_cache(repository.space()) {
            return Err(unknown());
        }
        if self.is_child(repository, digest) {
            let reference = Reference::Digest(digest.clone());
            return self.find_manifest(repository, &reference).await.map(drop);
        }
        let (name, size) = self
            .size_outside(repository, digest)
            .await?
            .ok_or_else(unknown)?;
        let mut lease = self.inner.images.lease();
        lease.keep(digest);
        self.inner
            .outside
            .fetch_blob(&self.inner.images, &name, digest, size)
            .await
            .map_err(RegistryError::Images)?;
        self.link(repository, digest, size).await?;
        drop(lease);
        Ok(())
    }

    fn is_child(&self, repository: &Repository, digest: &Digest) -> bool {
        let catalog = self.catalog();
        catalog.shelf(repository).is_some_and(|shelf| {
            shelf
                .manifests
                .values()
                .any(|manifest| manifest.children.contains(digest))
        })
    }

    /// Returns by which name a blob is fetched and how large it is, as a manifest of the repository says.
    async fn size_outside(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<(ImageName, u64)>, RegistryError> {
        let holder = {
            let catalog = self.catalog();
            catalog.shelf(repository).and_then(|shelf| {
                shelf
                    .manifests
                    .values()
                    .find(|manifest| manifest.parts.contains(digest))
                    .map(|manifest| manifest.digest.clone())
            })
        };
        let Some(holder) = holder else {
            return Ok(None);
        };
        let reference = Reference::Digest(holder);
        let found = self.read_manifest(repository, &reference).await?;
        let value: serde_json::Value = serde_json::from_slice(&found.bytes).unwrap_or_default();
        let size = value["layers"]
            .as_array()
            .into_iter()
            .flatten()
            .chain(value.get("config"))
            .find(|part| part["digest"].as_str() == Some(digest.as_str()))
            .and_then(|part| part["size"].as_u64());
        match size {
            Some(size) => Ok(Some((self.outside_name(repository, &reference)?, size))),
            None => Ok(None),
        }
    }
}

impl Registry {
    /// Returns the name of an image outside, of which a repository is a copy.
    fn outside_name(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<ImageName, RegistryError> {
        let (space, rest) = repository
            .as_str()
            .split_once('/')
            .unwrap_or((repository.as_str(), ""));
        let host = self
            .inner
            .settings
            .caches
            .get(space)
            .map_or(space, String::as_str);
        let text = match reference {
            Reference::Tag(tag) => format!("{host}/{rest}:{tag}"),
            Reference::Digest(digest) => format!("{host}/{rest}@{digest}"),
        };
        ImageName::parse(&text).map_err(|error| RegistryError::Bad {
            why: error.to_string(),
        })
    }
}
