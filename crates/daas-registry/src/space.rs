//! The rules of a project: room, sharing, retention.

use crate::Used;
use crate::catalog::Shelf;
use crate::error::RegistryError;
use crate::name::{Reference, Repository};
use crate::record::SpaceRecord;
use crate::registry::{Registry, now_ms};
use crate::retention::{Candidate, Expiry, plan};
use daas_image::Digest;
use daas_model::ProjectName;

impl Registry {
    /// Returns the rules of a project and how many bytes it holds.
    ///
    /// # Errors
    /// [`RegistryError::Records`].
    pub fn space_of(&self, project: &ProjectName) -> Result<(SpaceRecord, u64), RegistryError> {
        let bytes = self.catalog().bytes_of(project.as_str());
        Ok((self.space(project.as_str())?, bytes))
    }

    /// Replaces the rules of a project.
    ///
    /// # Errors
    /// [`RegistryError::Bad`] for a retention rule without a condition, [`RegistryError::Records`].
    pub async fn set_space(
        &self,
        project: &ProjectName,
        record: &SpaceRecord,
    ) -> Result<(), RegistryError> {
        for rule in &record.retention {
            if !rule.says_something() {
                return Err(RegistryError::Bad {
                    why: "a rule without `keep`, `older-than` or `branch` would throw everything away"
                        .into(),
                });
            }
            let starred = rule.tags.as_deref().is_some_and(|tags| tags.contains('*'));
            if rule.branch && !starred {
                return Err(RegistryError::Bad {
                    why: "a rule about branches needs `tags` with a `*` where the branch stands"
                        .into(),
                });
            }
        }
        self.inner.store.put(project.as_str(), record).await?;
        Ok(())
    }

    /// Tells what the retention rules of a project throw away now; what is used is named and stays.
    ///
    /// # Errors
    /// [`RegistryError::Records`].
    pub fn expiries(
        &self,
        project: &ProjectName,
        used: &Used,
    ) -> Result<Vec<Expiry>, RegistryError> {
        let rules = self.space(project.as_str())?;
        if rules.retention.is_empty() {
            return Ok(Vec::new());
        }
        let candidates = self.candidates(project);
        Ok(plan(
            &rules.retention,
            &candidates,
            rules.branches.as_ref(),
            |candidate| self.user_of(candidate, used),
            now_ms(),
        ))
    }

    /// Throws away what the retention rules of a project say; returns the plan that was carried out.
    ///
    /// # Errors
    /// [`RegistryError::Records`].
    pub async fn expire(
        &self,
        project: &ProjectName,
        used: &Used,
    ) -> Result<Vec<Expiry>, RegistryError> {
        let plan = self.expiries(project, used)?;
        for expiry in plan.iter().filter(|expiry| !expiry.used) {
            self.expire_one(expiry).await?;
        }
        Ok(plan)
    }

    /// Throws away one thing, unless it was pushed, moved or tagged since the plan was made.
    async fn expire_one(&self, expiry: &Expiry) -> Result<(), RegistryError> {
        let _turn = self.turn(&expiry.repository).await;
        let reference = {
            let catalog = self.catalog();
            let Some(shelf) = catalog.shelf(&expiry.repository) else {
                return Ok(());
            };
            match &expiry.tag {
                Some(tag) => {
                    let same = shelf.tags.get(tag).is_some_and(|now| {
                        now.digest == expiry.digest && now.since_ms == expiry.since_ms
                    });
                    same.then(|| Reference::Tag(tag.clone()))
                }
                None => {
                    let digest = &expiry.digest;
                    let manifest = shelf.manifests.get(digest);
                    let same = manifest.is_some_and(|now| now.pushed_ms == expiry.since_ms)
                        && is_loose(shelf, digest);
                    same.then(|| Reference::Digest(digest.clone()))
                }
            }
        };
        match reference {
            Some(reference) => self.delete_in_turn(&expiry.repository, &reference).await,
            None => Ok(()),
        }
    }

    fn candidates(&self, project: &ProjectName) -> Vec<Candidate> {
        let catalog = self.catalog();
        let of_project = catalog
            .shelves()
            .filter(|(name, _)| name.space() == project.as_str());
        let mut candidates = Vec::new();
        for (name, shelf) in of_project {
            let tagged = shelf.tags.values().map(|tag| Candidate {
                repository: name.clone(),
                tag: Some(tag.tag.clone()),
                digest: tag.digest.clone(),
                since_ms: tag.since_ms,
            });
            candidates.extend(tagged);
            let loose = shelf
                .manifests
                .values()
                .filter(|manifest| is_loose(shelf, &manifest.digest));
            candidates.extend(loose.map(|manifest| Candidate {
                repository: name.clone(),
                tag: None,
                digest: manifest.digest.clone(),
                since_ms: manifest.pushed_ms,
            }));
        }
        candidates
    }

    /// Returns who uses a candidate, by its manifest, by a manifest that it is the index of, or by its name.
    fn user_of(&self, candidate: &Candidate, used: &Used) -> Option<String> {
        let manifest = self.manifest(
            &candidate.repository,
            &Reference::Digest(candidate.digest.clone()),
        );
        let children = manifest.iter().flat_map(|m| m.children.iter());
        std::iter::once(&candidate.digest)
            .chain(children)
            .find_map(|digest| used.manifests.get(digest))
            .or_else(|| {
                let tag = candidate.tag.as_ref()?;
                used.names
                    .get(&(candidate.repository.clone(), tag.to_string()))
            })
            .cloned()
    }

    /// Lists the projects that have repositories.
    #[must_use]
    pub fn projects(&self) -> Vec<ProjectName> {
        let catalog = self.catalog();
        let mut projects: Vec<ProjectName> = catalog
            .shelves()
            .filter_map(|(name, _): (&Repository, _)| name.project())
            .collect();
        projects.dedup();
        projects
    }
}

/// Tells whether nothing means a manifest: no tag, no index, and it is about nothing that is here.
fn is_loose(shelf: &Shelf, digest: &Digest) -> bool {
    let is_child = shelf
        .manifests
        .values()
        .any(|other| other.children.contains(digest));
    // A part of an index and a document about an image live as long as those do.
    let is_about = shelf
        .manifests
        .get(digest)
        .and_then(|manifest| manifest.subject.as_ref())
        .is_some_and(|subject| shelf.manifests.contains_key(subject));
    let is_tagged = shelf.tags.values().any(|tag| tag.digest == *digest);
    !is_child && !is_about && !is_tagged
}
