//! Images of the registry that this very house serves: they are in the store already, so a pull only unpacks.

use super::{CancelOnDrop, PullOptions, Registries};
use crate::manifest::{Document, MAX_MANIFEST};
use crate::progress::Progress;
use crate::store::{NameInfo, Store};
use crate::{Digest, Image, ImageError, Platform};
use daas_model::{ImageName, ProjectName};
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// The registry of this house, as pulls see it.
pub trait OwnRegistry: Send + Sync {
    /// Tells whether a registry's host in an image name is ours.
    fn is_own(&self, host: &str) -> bool;

    /// Tells whether stands of a project may use the image of this name: asked for every use, even of what is here (threat S14).
    fn may(&self, name: &ImageName, project: &ProjectName) -> bool;

    /// Returns the manifest or index that a name means; nothing if there is none, or none that `project` may see (threat S14).
    ///
    /// Without a project the house itself asks.
    fn find<'a>(
        &'a self,
        name: &'a ImageName,
        project: Option<&'a ProjectName>,
    ) -> BoxFuture<'a, Result<Option<Digest>, ImageError>>;

    /// Sees to it that a content of a repository is in the store: for contents of a cache that were never asked for.
    fn bring<'a>(
        &'a self,
        name: &'a ImageName,
        digest: &'a Digest,
        size: u64,
    ) -> BoxFuture<'a, Result<(), ImageError>>;
}

impl Registries {
    /// Says which registry is our own. Once; a second one is not heard.
    pub fn serve_own(&self, own: Arc<dyn OwnRegistry>) {
        // Only the house calls this, once.
        let _ = self.own.set(own);
    }

    /// Returns our own registry if `host` is a name of it.
    #[must_use]
    pub fn own(&self, host: &str) -> Option<&Arc<dyn OwnRegistry>> {
        self.own.get().filter(|own| own.is_own(host))
    }
}

impl Store {
    /// Makes `name` mean what it means in our own registry: nothing is fetched, layers are unpacked.
    pub(super) async fn take_own(
        &self,
        own: &dyn OwnRegistry,
        name: &ImageName,
        options: &PullOptions,
        progress: Arc<dyn Progress>,
    ) -> Result<Image, ImageError> {
        let wanted = options.platform.clone().unwrap_or_else(Platform::native);
        let unknown = || ImageError::NotInRegistry {
            registry: name.registry().to_owned(),
            what: name.familiar(),
        };
        let mut lease = self.lease();
        let top = own
            .find(name, options.project.as_ref())
            .await?
            .ok_or_else(unknown)?;
        lease.keep(&top);
        let (manifest, index) = match self.own_document(&top).await? {
            Document::Manifest(_) => (top, None),
            Document::Index(index) => {
                let chosen = index
                    .choose(&wanted)
                    .map_err(|there| ImageError::Platform {
                        name: Box::new(name.clone()),
                        wanted: wanted.to_string(),
                        there,
                    })?;
                lease.keep(&chosen.digest);
                own.bring(name, &chosen.digest, chosen.size).await?;
                (chosen.digest.clone(), Some(top))
            }
        };
        let Document::Manifest(document) = self.own_document(&manifest).await? else {
            return Err(ImageError::BadDocument {
                what: format!("the manifest of {}", name.familiar()),
                why: "it is an index inside an index".into(),
            });
        };
        for part in document.layers.iter().chain([&document.config]) {
            lease.keep(&part.digest);
            own.bring(name, &part.digest, part.size).await?;
        }
        let info = NameInfo {
            name: name.clone(),
            manifest: manifest.clone(),
            index,
            private: true,
            since: crate::load::now(),
        };
        let cancelled = Arc::new(AtomicBool::new(false));
        let guard = CancelOnDrop(Arc::clone(&cancelled));
        let store = self.clone();
        let install = move || {
            let image = store.install(&manifest, &info, progress.as_ref(), &cancelled);
            drop(lease);
            image
        };
        let image = self.blocking("install an image", install).await?;
        drop(guard);
        image
    }

    async fn own_document(&self, digest: &Digest) -> Result<Document, ImageError> {
        let (store, of) = (self.clone(), digest.clone());
        let read = move || store.read_blob(&of, MAX_MANIFEST, "the manifest");
        let bytes = self.blocking("read a manifest", read).await??;
        Document::parse(&bytes, None).map_err(|why| ImageError::BadDocument {
            what: format!("the manifest {}", digest.short()),
            why,
        })
    }
}
