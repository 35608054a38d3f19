//! The content-addressed store: blobs, unpacked layers, names.
//!
//! ```text
//! <dir>/lock                              held while the store is open
//! <dir>/blobs/<algorithm>/<hex>           manifests, configurations, layers as they were fetched (0600)
//! <dir>/layers/<hex of diff id>/fs        an unpacked layer, an overlay lower directory
//! <dir>/layers/chain-<hex of chain id>/fs the same, for a layer that only makes sense above its lower ones
//! <dir>/layers/*/layer.json               what unpacking it has made; there only in a complete layer
//! <dir>/names/<hex>.json                  one name and the manifest that it means
//! <dir>/referrers/<subject>/<digest>.json  documents about the image `subject`
//! <dir>/partial/<algorithm>-<hex>         downloads that can be taken up again
//! <dir>/steps/<hex>.json                  which layer a step of a build has made
//! <dir>/unsynced/<boot id>.<what>         what of a build may not be on the disk yet
//! <dir>/tmp/                              work in progress; emptied when the store is opened
//! ```
//!
//! Everything appears by one rename of a complete and synced file or tree, so a crash at any point leaves either the whole
//! thing or something that the next opening sweeps away.

mod blob;
mod gc;
mod incoming;
mod install;
mod lease;
mod lock;
mod names;
mod referrers;
mod steps;
mod unsynced;

pub(crate) use blob::BlobWriter;
pub(crate) use gc::partial_key;
pub use gc::{GcPlan, InUse};
pub use incoming::{Incoming, Outgoing, Referenced};
pub(crate) use install::{LayerJob, check_size};
pub(crate) use lease::ALL;
pub use lease::Lease;
use lock::Lock;
pub use names::{Listed, NameInfo};
pub use referrers::{Artifact, DocumentsDue, Referrer};

use crate::{Budget, ImageError};
use daas_tasks::Supervisor;
use std::collections::HashMap;
use std::fs::{DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// All images of a host. Cheap to clone; all clones are one store.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    dir: PathBuf,
    budget: Budget,
    next_temp: AtomicU64,
    /// Grows with every name that is set, so that a collection sees that its plan is old.
    names_epoch: AtomicU64,
    leases: Mutex<lease::Leases>,
    /// Whether somebody is about to wait for the disk for all.
    settling: std::sync::atomic::AtomicBool,
    /// Contents that were found right.
    verified: Mutex<HashMap<crate::Digest, incoming::Verified>>,
    /// Who else refers to contents.
    referenced: OnceLock<Arc<dyn Referenced>>,
    /// Images whose documents are being written, with how many write them.
    due: referrers::Due,
    /// What runs beside the caller.
    supervisor: Supervisor,
    /// One at a time works on a content; the others find it done.
    turns: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    _lock: Lock,
}

impl Store {
    /// Opens the store in `dir`, making it if need be, and sweeps away what a crash has left.
    ///
    /// # Errors
    /// [`ImageError::StoreInUse`] if another process has it open, [`ImageError::Io`].
    pub fn open(dir: &Path) -> Result<Self, ImageError> {
        Self::open_with(dir, Budget::default(), Supervisor::new())
    }

    /// Opens the store with other limits for layers, and a supervisor that shows its work to people.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_with(
        dir: &Path,
        budget: Budget,
        supervisor: Supervisor,
    ) -> Result<Self, ImageError> {
        for part in [
            "",
            "blobs",
            "blobs/sha256",
            "blobs/sha512",
            "layers",
            "names",
            "partial",
            "referrers",
            "steps",
            "tmp",
            "unsynced",
        ] {
            let path = dir.join(part);
            // 0700 all the way: setuid files of layers must be out of reach of the host's users (threat S29).
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&path)
                .map_err(ImageError::io("make the folder", &path))?;
            // Also when somebody else has made it, or opened it wider since.
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o700))
                .map_err(ImageError::io("change the mode of", &path))?;
        }
        let lock = Lock::take(dir)?;
        let store = Self {
            inner: Arc::new(Inner {
                dir: dir.to_owned(),
                budget,
                next_temp: AtomicU64::new(0),
                names_epoch: AtomicU64::new(0),
                leases: Mutex::default(),
                settling: std::sync::atomic::AtomicBool::default(),
                turns: Mutex::default(),
                verified: Mutex::default(),
                referenced: OnceLock::new(),
                due: referrers::Due::default(),
                supervisor,
                _lock: lock,
            }),
        };
        store.sweep()?;
        Ok(store)
    }

    /// Returns the limits for layers.
    #[must_use]
    pub fn budget(&self) -> &Budget {
        &self.inner.budget
    }

    /// Returns the store's folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    /// Runs work that blocks off the runtime's threads, under a name that people see.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ImageError> {
        let handle = self.inner.supervisor.run_blocking(name, work);
        handle.await.map_err(|_| ImageError::Broken { what: name })
    }

    fn sweep(&self) -> Result<(), ImageError> {
        let tmp = self.dir().join("tmp");
        for entry in std::fs::read_dir(&tmp).map_err(ImageError::io("list", &tmp))? {
            let path = entry.map_err(ImageError::io("list", &tmp))?.path();
            remove_any(&path)?;
        }
        self.sweep_unsynced()
    }

    /// Returns what runs beside the caller.
    pub(crate) fn supervisor(&self) -> &Supervisor {
        &self.inner.supervisor
    }

    /// Returns a path in `tmp` that nothing uses.
    pub(crate) fn temp_path(&self) -> PathBuf {
        let n = self.inner.next_temp.fetch_add(1, Ordering::Relaxed);
        self.dir().join("tmp").join(n.to_string())
    }

    /// Returns the turn of `key`: who holds it works on that content alone.
    pub(crate) fn turn(&self, key: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = locked(&self.inner.turns);
        if turns.len() > 1000 {
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        }
        Arc::clone(turns.entry(key.to_owned()).or_default())
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("dir", &self.inner.dir)
            .finish_non_exhaustive()
    }
}

/// Locks; a panic elsewhere has left plain counters, which are right at any point.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes a file or a tree; nothing there is fine.
pub(crate) fn remove_any(path: &Path) -> Result<(), ImageError> {
    let result = match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(e) => Err(e),
    };
    match result {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(ImageError::io("remove", path)(e))
        }
        _ => Ok(()),
    }
}

/// Makes the names in `dir` durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), ImageError> {
    File::open(dir)
        .and_then(|d| d.sync_all())
        .map_err(ImageError::io("sync the folder", dir))
}

/// A temporary file or tree that vanishes unless it was kept.
pub(crate) struct Temp {
    path: PathBuf,
    kept: bool,
}

impl Temp {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, kept: false }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Moves it to its place; [`Store::settle`] makes it durable.
    pub(crate) fn keep_unsynced_as(mut self, place: &Path) -> Result<(), ImageError> {
        std::fs::rename(&self.path, place).map_err(ImageError::io("move into place", place))?;
        self.kept = true;
        Ok(())
    }

    /// Moves it to its place and makes that durable; the content must be synced before.
    pub(crate) fn keep_as(mut self, place: &Path) -> Result<(), ImageError> {
        std::fs::rename(&self.path, place).map_err(ImageError::io("move into place", place))?;
        self.kept = true;
        place.parent().map_or(Ok(()), sync_dir)
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = remove_any(&self.path)
        {
            // The next opening of the store sweeps it.
            tracing::warn!(path = %self.path.display(), %error, "cannot remove a temporary file");
        }
    }
}
