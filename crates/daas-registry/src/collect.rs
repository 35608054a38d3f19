//! Collecting garbage while everybody pushes and pulls.
//!
//! First blobs that no manifest of their repository needs, after a grace, then by [`daas_image::Store::gc`] the contents
//! that no repository, no name and no stand refers to. There is no moment in which the registry stands still.

use crate::error::RegistryError;
use crate::name::Repository;
use crate::registry::{Registry, now_ms};
use daas_image::{Digest, GcPlan, InUse};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What stands, environments and pipelines use: retention leaves it alone. The values say who, for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Used {
    /// By manifest.
    pub manifests: BTreeMap<Digest, String>,
    /// By repository and tag.
    pub names: BTreeMap<(Repository, String), String>,
}

/// What was collected, or would be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collected {
    /// Blobs that no manifest of their repository needed, as `repository@digest`.
    pub unlinked: Vec<String>,
    /// Contents that nothing referred to any more.
    pub blobs: Vec<String>,
    /// How many bytes of disk that is.
    pub bytes: u64,
}

impl Registry {
    /// Returns since when a blob must have been idle to go, Unix milliseconds.
    fn grace_began(&self) -> u64 {
        let grace = u64::try_from(self.inner.settings.grace.as_millis()).unwrap_or(u64::MAX);
        now_ms().saturating_sub(grace)
    }

    /// Returns the blobs that no manifest of their repository needs, and nobody has relied on for the grace.
    fn idle_blobs(&self, before: u64) -> Vec<(Repository, Digest)> {
        let catalog = self.catalog();
        let mut idle = Vec::new();
        for (name, shelf) in catalog.shelves() {
            let free = shelf
                .blobs
                .iter()
                .filter(|(_, link)| link.users == 0 && link.touched_ms <= before);
            idle.extend(free.map(|(digest, _)| (name.clone(), digest.clone())));
        }
        idle
    }

    /// Tells what [`Registry::collect`] would take.
    ///
    /// # Errors
    /// [`RegistryError::Images`].
    pub async fn collect_plan(&self, in_use: InUse) -> Result<Collected, RegistryError> {
        let unlinked = self.idle_blobs(self.grace_began());
        let images = self.inner.images.clone();
        let plan = self
            .blocking("plan a collection", move || images.gc_plan(&in_use))
            .await?
            .map_err(RegistryError::Images)?;
        Ok(collected(&unlinked, &plan))
    }

    /// Collects garbage; safe beside everything.
    ///
    /// # Errors
    /// [`RegistryError::Images`], [`RegistryError::Records`]; what was taken until then stays taken.
    pub async fn collect(&self, in_use: InUse) -> Result<Collected, RegistryError> {
        let mut unlinked = Vec::new();
        let before = self.grace_began();
        for (repository, digest) in self.idle_blobs(before) {
            let _turn = self.turn(&repository).await;
            // Looked at again in one step with the taking away: a client may have relied on it since.
            let link = self.catalog().drop_idle(&repository, &digest, before);
            if let Some(link) = link {
                self.forget(&repository, &digest, link).await?;
                unlinked.push((repository, digest));
            }
        }
        let images = self.inner.images.clone();
        let plan = self
            .blocking("collect garbage", move || images.gc(&in_use))
            .await?
            .map_err(RegistryError::Images)?;
        Ok(collected(&unlinked, &plan))
    }
}

fn collected(unlinked: &[(Repository, Digest)], plan: &GcPlan) -> Collected {
    Collected {
        unlinked: unlinked
            .iter()
            .map(|(repository, digest)| format!("{repository}@{digest}"))
            .collect(),
        blobs: plan.blobs.iter().map(ToString::to_string).collect(),
        bytes: plan.bytes.0,
    }
}
