use crate::catalog::Catalog;
use crate::error::RegistryError;
use crate::file_body::Buffers;
use crate::login::Logins;
use crate::name::Repository;
use crate::record::{BlobRecord, ManifestRecord, SpaceRecord, TagRecord};
use crate::upload::Uploads;
use daas_image::{Digest, Referenced, Registries};
use daas_tasks::Supervisor;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How the registry behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Hosts, `name` or `name:port`, by which images of this registry are named, beside [`daas_model::OWN_REGISTRY`].
    pub names: BTreeSet<String>,
    /// How long a blob that no manifest needs stays for the manifest that is about to come.
    pub grace: Duration,
    /// How long an upload may be silent.
    pub upload_idle: Duration,
    /// How many uploads there may be at once.
    pub uploads: usize,
    /// Outside registries that are kept a copy of: the first part of the repositories here, and the registry's host.
    pub caches: BTreeMap<String, String>,
    /// How long a tag of an outside registry is believed before it is asked for again.
    pub cache_fresh: Duration,
}

impl Default for Settings {
    /// An hour is enough for the slowest push between its first blob and its manifest.
    fn default() -> Self {
        Self {
            names: BTreeSet::new(),
            grace: Duration::from_secs(3600),
            upload_idle: Duration::from_secs(3600),
            uploads: 1024,
            caches: BTreeMap::new(),
            cache_fresh: Duration::from_secs(60),
        }
    }
}

/// The registry. A clone is another handle of the same.
#[derive(Clone)]
pub struct Registry {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) settings: Settings,
    pub(crate) store: daas_store::Store,
    pub(crate) images: Arc<daas_image::Store>,
    /// The way to outside registries.
    pub(crate) outside: Arc<Registries>,
    pub(crate) tasks: Supervisor,
    pub(crate) catalog: Arc<Mutex<Catalog>>,
    /// One at a time changes a repository.
    turns: Mutex<HashMap<Repository, Arc<tokio::sync::Mutex<()>>>>,
    pub(crate) uploads: Uploads,
    /// What blobs are read into on their way out.
    pub(crate) buffers: Buffers,
    pub(crate) logins: Logins,
    /// When tags of outside registries were asked for.
    pub(crate) asked: Mutex<HashMap<String, std::time::Instant>>,
}

/// Tells the image store what the catalog has.
struct Counted(Arc<Mutex<Catalog>>);

impl Referenced for Counted {
    fn is_referenced(&self, digest: &Digest) -> bool {
        locked(&self.0).has(digest)
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry")
            .field("settings", &self.inner.settings)
            .finish_non_exhaustive()
    }
}

impl Registry {
    /// Reads what there is and makes the image store heed it. Must come before the first collection of garbage. Blocks.
    ///
    /// # Errors
    /// [`RegistryError::Records`] if the records cannot be read, [`RegistryError::Broken`] if the kernel gives no chance.
    pub fn open(
        settings: Settings,
        store: daas_store::Store,
        images: Arc<daas_image::Store>,
        outside: Arc<Registries>,
        tasks: Supervisor,
    ) -> Result<Self, RegistryError> {
        let mut catalog = Catalog::default();
        for stored in store.list::<BlobRecord>("")? {
            catalog.add_blob(&stored.value);
        }
        for stored in store.list::<ManifestRecord>("")? {
            catalog.add_manifest(stored.value);
        }
        for stored in store.list::<TagRecord>("")? {
            catalog.set_tag(stored.value);
        }
        let catalog = Arc::new(Mutex::new(catalog));
        images.heed(Arc::new(Counted(catalog.clone())));
        let logins = Logins::open(&store)?;
        Ok(Self {
            inner: Arc::new(Inner {
                uploads: Uploads::new(settings.uploads, settings.upload_idle),
                buffers: Buffers::default(),
                settings,
                store,
                images,
                outside,
                tasks,
                catalog,
                turns: Mutex::default(),
                logins,
                asked: Mutex::default(),
            }),
        })
    }

    /// Returns how it behaves.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    pub(crate) fn catalog(&self) -> MutexGuard<'_, Catalog> {
        locked(&self.inner.catalog)
    }

    /// Waits for the turn to change a repository.
    pub(crate) async fn turn(&self, repository: &Repository) -> tokio::sync::OwnedMutexGuard<()> {
        let turn = {
            let mut turns = locked(&self.inner.turns);
            if turns.len() > 1000 {
                turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            }
            Arc::clone(turns.entry(repository.clone()).or_default())
        };
        turn.lock_owned().await
    }

    /// Runs work that blocks, off the runtime's threads.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, RegistryError> {
        self.inner
            .tasks
            .run_blocking(what, work)
            .await
            .map_err(|_| RegistryError::Broken { what })
    }

    /// Returns the rules of a project.
    pub(crate) fn space(&self, space: &str) -> Result<SpaceRecord, RegistryError> {
        let stored = self.inner.store.get::<SpaceRecord>(space)?;
        Ok(stored.map(|stored| stored.value).unwrap_or_default())
    }
}

/// Locks; nothing that is kept behind these locks is ever half changed by a panic.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns milliseconds of the Unix clock.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
