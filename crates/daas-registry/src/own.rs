//! The registry as the engine's pulls see it.

use crate::access::{Asker, Right};
use crate::error::RegistryError;
use crate::name::{Reference, Repository};
use crate::registry::Registry;
use daas_image::{Digest, ImageError, OwnRegistry};
use daas_model::{ImageName, OWN_REGISTRY, ProjectName};
use futures_util::future::BoxFuture;

impl Registry {
    /// Tells whether a host in an image's name is this registry.
    #[must_use]
    pub fn is_own_name(&self, host: &str) -> bool {
        host.eq_ignore_ascii_case(OWN_REGISTRY)
            || self
                .inner
                .settings
                .names
                .iter()
                .any(|name| name.eq_ignore_ascii_case(host))
    }

    async fn find_own(
        &self,
        name: &ImageName,
        project: Option<&ProjectName>,
    ) -> Result<Option<Digest>, RegistryError> {
        let repository = Repository::parse(name.repository())?;
        let reference = Reference::parse(name.digest().or(name.tag()).unwrap_or("latest"))?;
        if let Some(project) = project
            && !self.may(&Asker::Stand(project.clone()), &repository, Right::Pull)?
        {
            return Ok(None);
        }
        match self.find_manifest(&repository, &reference).await {
            Ok(found) => Ok(Some(found.digest)),
            Err(RegistryError::NoManifest { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl OwnRegistry for Registry {
    fn is_own(&self, host: &str) -> bool {
        self.is_own_name(host)
    }

    fn may(&self, name: &ImageName, project: &ProjectName) -> bool {
        // A record that cannot be read opens nothing.
        Repository::parse(name.repository()).is_ok_and(|repository| {
            self.may(&Asker::Stand(project.clone()), &repository, Right::Pull)
                .unwrap_or(false)
        })
    }

    fn find<'a>(
        &'a self,
        name: &'a ImageName,
        project: Option<&'a ProjectName>,
    ) -> BoxFuture<'a, Result<Option<Digest>, ImageError>> {
        Box::pin(async move {
            self.find_own(name, project)
                .await
                .map_err(|error| outward(name, error))
        })
    }

    fn bring<'a>(
        &'a self,
        name: &'a ImageName,
        digest: &'a Digest,
        size: u64,
    ) -> BoxFuture<'a, Result<(), ImageError>> {
        Box::pin(async move {
            let repository = Repository::parse(name.repository())
                .map_err(|error| outward(name, error.into()))?;
            let mut lease = self.inner.images.lease();
            lease.keep(digest);
            if self.inner.images.blob_size(digest) == Some(size) {
                // What another image has brought is the copy's as well: it must stay when that image goes.
                if self.is_cache(repository.space()) {
                    let linked = self.link(&repository, digest, size).await;
                    linked.map_err(|error| outward(name, error))?;
                }
                return Ok(());
            }
            self.bring_part(&repository, digest)
                .await
                .map_err(|error| outward(name, error))
        })
    }
}

/// Says it in the words of pulls.
fn outward(name: &ImageName, error: RegistryError) -> ImageError {
    match error {
        RegistryError::Images(error) => error,
        RegistryError::NoManifest { .. } | RegistryError::NoBlob { .. } => {
            ImageError::NotInRegistry {
                registry: name.registry().to_owned(),
                what: name.familiar(),
            }
        }
        other => ImageError::Transport {
            action: format!("read {}", name.familiar()),
            registry: name.registry().to_owned(),
            source: Box::new(other),
        },
    }
}
