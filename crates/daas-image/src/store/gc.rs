use super::lease::ALL;
use super::{Store, install, locked, remove_any};
use crate::manifest::MAX_MANIFEST;
use crate::{Digest, ImageError};
use daas_model::ByteSize;
use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

/// How long a download that broke off waits to be taken up again.
const PARTIAL_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

/// What running stands use: never collected, whatever happens to the names.
#[derive(Debug, Clone, Default)]
pub struct InUse {
    /// Manifests of the images that nodes were made from.
    pub images: BTreeSet<Digest>,
    /// Paths of layers that are mounted ([`crate::Layer::path`]).
    pub layers: BTreeSet<PathBuf>,
}

/// What a collection would remove, or has removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GcPlan {
    /// Blobs by digest.
    pub blobs: Vec<Digest>,
    /// Folders of unpacked layers.
    pub layers: Vec<PathBuf>,
    /// Downloads that nobody took up again.
    pub partial: Vec<PathBuf>,
    /// How many bytes that is; layers count the content that was unpacked.
    pub bytes: ByteSize,
}

impl Store {
    /// Returns what [`Store::gc`] would remove now.
    ///
    /// # Errors
    /// [`ImageError::Io`]; [`ImageError::BadDocument`] if a name's manifest cannot be read: then nothing may be judged garbage.
    pub fn gc_plan(&self, in_use: &InUse) -> Result<GcPlan, ImageError> {
        let roots = self.roots(in_use)?;
        let mut plan = GcPlan::default();
        for algorithm in ["sha256", "sha512"] {
            for (name, path) in entries(&self.dir().join("blobs").join(algorithm))? {
                let Ok(digest) = Digest::parse(&format!("{algorithm}:{name}")) else {
                    continue;
                };
                if !roots.contains(digest.as_str())
                    && !self.is_leased(digest.as_str())
                    && !self.is_referenced(&digest)
                {
                    plan.bytes.0 += std::fs::symlink_metadata(&path).map_or(0, |m| m.len());
                    plan.blobs.push(digest);
                }
            }
        }
        for (name, path) in entries(&self.dir().join("layers"))? {
            let fs = path.join("fs");
            if !roots.contains(&name)
                && !in_use.layers.contains(&fs)
                && !in_use.layers.contains(&path)
                && !self.is_leased(&name)
            {
                let size = std::fs::read(path.join("layer.json"))
                    .ok()
                    .and_then(|t| serde_json::from_slice::<crate::Applied>(&t).ok())
                    .map_or(0, |a| a.bytes);
                plan.bytes.0 += size;
                plan.layers.push(path);
            }
        }
        for (name, path) in entries(&self.dir().join("partial"))? {
            let Ok(meta) = std::fs::symlink_metadata(&path) else {
                continue;
            };
            let age = meta
                .modified()
                .ok()
                .and_then(|t| SystemTime::now().duration_since(t).ok())
                .unwrap_or_default();
            if age > PARTIAL_AGE && !self.is_leased(&partial_key(&name)) {
                plan.bytes.0 += meta.len();
                plan.partial.push(path);
            }
        }
        Ok(plan)
    }

    /// Removes the blobs and layers that no name, no running stand and no work in progress needs.
    ///
    /// Safe beside pulls: each piece is judged again under the lock under which work announces itself. Safe to kill: what is
    /// removed is first renamed away, so no half layer is ever visible.
    ///
    /// # Errors
    /// As [`Store::gc_plan`]; what was removed until then stays removed.
    pub fn gc(&self, in_use: &InUse) -> Result<GcPlan, ImageError> {
        let epoch = self.inner.names_epoch.load(Ordering::Acquire);
        for path in self.steps()?.1 {
            remove_any(&path)?;
        }
        let plan = self.gc_plan(in_use)?;
        let mut done = GcPlan {
            bytes: plan.bytes,
            ..GcPlan::default()
        };
        for digest in plan.blobs {
            if self.collect(digest.as_str(), &self.blob_path(&digest), in_use, epoch)? {
                done.blobs.push(digest);
            }
        }
        for path in plan.layers {
            let key = path
                .file_name()
                .map(|n| n.to_string_lossy().into_owned())
                .unwrap_or_default();
            if self.collect(&key, &path, in_use, epoch)? {
                done.layers.push(path);
            }
        }
        for path in plan.partial {
            let name = path
                .file_name()
                .map(|n| n.to_string_lossy().into_owned())
                .unwrap_or_default();
            if self.collect(&partial_key(&name), &path, in_use, epoch)? {
                done.partial.push(path);
            }
        }
        self.sweep_referrers()?;
        Ok(done)
    }

    /// Removes one thing, unless work on it has begun or a name has come to mean it since the plan was made.
    fn collect(
        &self,
        key: &str,
        path: &Path,
        in_use: &InUse,
        epoch: u64,
    ) -> Result<bool, ImageError> {
        let trash = self.temp_path();
        {
            let leases = locked(&self.inner.leases);
            let renamed = self.inner.names_epoch.load(Ordering::Acquire) != epoch;
            if leases.contains_key(key)
                || leases.contains_key(ALL)
                || (renamed && self.roots(in_use)?.contains(key))
                || Digest::parse(key).is_ok_and(|digest| self.is_referenced(&digest))
            {
                return Ok(false);
            }
            match std::fs::rename(path, &trash) {
                Ok(()) => {}
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
                Err(e) => return Err(ImageError::io("move away", path)(e)),
            }
        }
        remove_any(&trash)?;
        Ok(true)
    }

    fn is_leased(&self, key: &str) -> bool {
        let leases = locked(&self.inner.leases);
        leases.contains_key(key) || leases.contains_key(ALL)
    }

    /// Returns the keys of everything that names and running stands reach.
    fn roots(&self, in_use: &InUse) -> Result<HashSet<String>, ImageError> {
        let mut roots = HashSet::new();
        let mut manifests = in_use.images.clone();
        for info in self.names()? {
            if let Some(index) = info.index {
                self.root_referrers(&index, &mut roots)?;
                // The index is kept if it is here: saving gives back the digest that the registry knows.
                roots.insert(String::from(index));
            }
            manifests.insert(info.manifest);
        }
        // Steps of builds that may be wanted again.
        for step in self.steps()?.0 {
            roots.insert(step.packed.blob.to_string());
            roots.insert(step.packed.diff_id.hex().to_owned());
        }
        for digest in manifests {
            if self.blob_size(&digest).is_none() {
                continue;
            }
            roots.insert(digest.to_string());
            self.root_referrers(&digest, &mut roots)?;
            let bytes = self.read_blob(&digest, MAX_MANIFEST, "the manifest")?;
            let Ok(crate::manifest::Document::Manifest(manifest)) =
                crate::manifest::Document::parse(&bytes, None)
            else {
                continue;
            };
            roots.insert(manifest.config.digest.to_string());
            roots.extend(manifest.layers.iter().map(|l| l.digest.to_string()));
            if let Ok((_, checked)) = self.read_image(&digest) {
                for job in &checked.jobs {
                    roots.insert(install::own_key(job));
                    roots.insert(install::chain_key(job));
                }
            }
        }
        Ok(roots)
    }

    /// Adds the documents about `subject`, those about them, and their parts.
    fn root_referrers(
        &self,
        subject: &Digest,
        roots: &mut HashSet<String>,
    ) -> Result<(), ImageError> {
        let mut open = vec![subject.clone()];
        while let Some(subject) = open.pop() {
            for referrer in self.referrers(&subject)? {
                let new = roots.insert(referrer.digest.to_string());
                if !new || self.blob_size(&referrer.digest).is_none() {
                    continue;
                }
                let bytes = self.read_blob(&referrer.digest, MAX_MANIFEST, "a referrer")?;
                roots.extend(crate::manifest::digests_in(&bytes));
                open.push(referrer.digest);
            }
        }
        Ok(())
    }
}

/// The key under which a partial download is leased.
pub(crate) fn partial_key(name: &str) -> String {
    format!("partial/{name}")
}

fn entries(dir: &Path) -> Result<Vec<(String, PathBuf)>, ImageError> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(ImageError::io("list", dir))? {
        let entry = entry.map_err(ImageError::io("list", dir))?;
        if let Ok(name) = entry.file_name().into_string() {
            found.push((name, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}
