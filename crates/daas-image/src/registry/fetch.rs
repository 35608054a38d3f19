//! Single documents and contents of outside registries: what a cache in front of them needs.

use super::client::Client;
use super::{PullOptions, Registries};
use crate::manifest::Descriptor;
use crate::progress::Silent;
use crate::store::Store;
use crate::{Digest, ImageError};
use daas_model::ImageName;
use std::collections::BTreeMap;

/// A manifest or index as its registry gave it; nothing of it was judged but its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The document.
    pub bytes: Vec<u8>,
    /// What the registry says that it is, if it says anything of use.
    pub media_type: Option<String>,
    /// Whether it was given for our credentials only.
    pub private: bool,
}

impl Registries {
    /// Fetches the manifest or index that `name` means in its registry or a mirror of it.
    ///
    /// # Errors
    /// [`ImageError::NotInRegistry`], [`ImageError::Denied`], [`ImageError::Transport`], [`ImageError::DigestMismatch`].
    pub async fn fetch_manifest(&self, name: &ImageName) -> Result<Fetched, ImageError> {
        let (client, bytes, media_type) = self.find(name, &PullOptions::default()).await?;
        Ok(Fetched {
            bytes,
            media_type,
            private: client.was_known(),
        })
    }

    /// Fetches a content of the repository of `name` into the store, unless it is there.
    ///
    /// # Errors
    /// As [`Registries::fetch_manifest`], and [`ImageError::SizeMismatch`].
    pub async fn fetch_blob(
        &self,
        store: &Store,
        name: &ImageName,
        digest: &Digest,
        size: u64,
    ) -> Result<(), ImageError> {
        let descriptor = Descriptor {
            media_type: String::new(),
            digest: digest.clone(),
            size,
            platform: None,
            annotations: BTreeMap::new(),
        };
        let mut last = ImageError::Broken {
            what: "choosing a registry",
        };
        for mut client in self.clients(name, &PullOptions::default())? {
            let mut result = client.fetch_blob(store, &descriptor, &Silent).await;
            if matches!(result, Err(ImageError::Insecure { .. })) && self.may_be_plain(&client) {
                speak_plainly(&mut client);
                result = client.fetch_blob(store, &descriptor, &Silent).await;
            }
            match result {
                Ok(()) => return Ok(()),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// Goes on without TLS.
fn speak_plainly(client: &mut Client<'_>) {
    client.base.tls = false;
    if client.base.port == 443 {
        client.base.port = 80;
    }
}
