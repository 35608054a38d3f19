use super::{Store, locked};
use std::collections::{HashMap, HashSet};

/// The key of everything, for work that learns its digests only on the way.
pub(crate) const ALL: &str = "*";

/// What is being worked on, with how many workers each: garbage collection keeps its hands off.
pub(crate) type Leases = HashMap<String, usize>;

/// Keeps blobs and layers from being collected while it lives.
pub struct Lease {
    store: Store,
    keys: HashSet<String>,
}

impl Store {
    /// Returns a lease on nothing yet.
    #[must_use]
    pub fn lease(&self) -> Lease {
        Lease {
            store: self.clone(),
            keys: HashSet::new(),
        }
    }
}

impl Lease {
    /// Takes everything of an image too: its documents, its layers packed and unpacked.
    ///
    /// # Errors
    /// [`ImageError`](crate::ImageError) if its documents cannot be read.
    pub fn add_image(&mut self, digest: &crate::Digest) -> Result<(), crate::ImageError> {
        self.add(digest.as_str());
        let store = self.store.clone();
        let (manifest, checked) = store.read_image(digest)?;
        store.lease_image(self, digest, &manifest, &checked.jobs);
        Ok(())
    }

    /// Takes `key` too. Must come *before* the look whether the thing is there.
    pub(crate) fn add(&mut self, key: &str) {
        if self.keys.insert(key.to_owned()) {
            *locked(&self.store.inner.leases)
                .entry(key.to_owned())
                .or_default() += 1;
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut leases = locked(&self.store.inner.leases);
        for key in &self.keys {
            if let Some(count) = leases.get_mut(key) {
                *count -= 1;
                if *count == 0 {
                    leases.remove(key);
                }
            }
        }
    }
}
