//! Folders that outlive builds: `RUN --mount=type=cache` and what was fetched, one set for each project, bounded in size.

use crate::error::BuildError;
use crate::transfer::hex;
use daas_model::ByteSize;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// All caches of this machine.
#[derive(Debug)]
pub(crate) struct Caches {
    dir: PathBuf,
    /// How much the caches of one project may hold.
    cap: ByteSize,
    locks: Mutex<HashMap<PathBuf, Arc<RwLock<()>>>>,
}

/// A cache in use. Dropped it is free for others.
#[derive(Debug)]
pub(crate) struct InUse {
    pub(crate) path: PathBuf,
    /// Whether it was made just now, and holds nothing.
    pub(crate) fresh: bool,
    _turn: Turn,
    /// A cache that only this command sees.
    _own: Option<crate::stubs::Scratch>,
}

#[derive(Debug)]
#[expect(dead_code, reason = "held, never read")]
enum Turn {
    Shared(OwnedRwLockReadGuard<()>),
    Alone(OwnedRwLockWriteGuard<()>),
    None,
}

/// Whose a cache is: no name that a Dockerfile gives reaches what the builder fetched itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Area {
    /// Commands mount it.
    Mounts,
    /// The builder keeps what it fetched.
    Fetched,
}

/// How a command wants a cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) area: Area,
    pub(crate) project: String,
    pub(crate) id: String,
    pub(crate) sharing: daas_spec::dockerfile::Sharing,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Caches {
    pub(crate) fn new(dir: PathBuf, cap: ByteSize) -> Self {
        Self {
            dir,
            cap,
            locks: Mutex::default(),
        }
    }

    pub(crate) fn cap(&self) -> ByteSize {
        self.cap
    }

    fn project(&self, project: &str) -> PathBuf {
        self.dir
            .join(if project.is_empty() { "_" } else { project })
    }

    /// Takes a cache, and makes it if it is not there; waits until it is free in the way that was asked for.
    pub(crate) async fn take(&self, wanted: &Wanted, spare: PathBuf) -> Result<InUse, BuildError> {
        use daas_spec::dockerfile::Sharing;
        // What is asked for in another way is another cache: its owner may not be able to use the first.
        let key = format!(
            "{}\0{}\0{}\0{:o}",
            wanted.id, wanted.uid, wanted.gid, wanted.mode
        );
        let name = hex(&Sha256::digest(key.as_bytes()));
        let prefix = match wanted.area {
            Area::Mounts => "",
            Area::Fetched => "fetched-",
        };
        let path = self
            .project(&wanted.project)
            .join(format!("{prefix}{}", &name[..32]));
        let lock = {
            let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
            locks.entry(path.clone()).or_default().clone()
        };
        let turn = match wanted.sharing {
            Sharing::Shared => Turn::Shared(lock.read_owned().await),
            Sharing::Locked => Turn::Alone(lock.write_owned().await),
            Sharing::Private => match lock.try_write_owned() {
                Ok(guard) => Turn::Alone(guard),
                Err(_) => {
                    let own = crate::stubs::Scratch::make(spare.clone())
                        .map_err(BuildError::io("make the folder", &spare))?;
                    dress(own.path(), wanted)?;
                    return Ok(InUse {
                        path: spare,
                        fresh: true,
                        _turn: Turn::None,
                        _own: Some(own),
                    });
                }
            },
        };
        let fresh = !path.exists();
        if fresh {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&path)
                .map_err(BuildError::io("make the folder", &path))?;
            dress(&path, wanted)?;
        }
        // The time of the last use decides which goes first when there is no room.
        if let Ok(folder) = fs::File::open(&path) {
            let _ = folder.set_modified(std::time::SystemTime::now());
        }
        Ok(InUse {
            path,
            fresh,
            _turn: turn,
            _own: None,
        })
    }

    /// Removes the caches of a project that were longest not used until the rest fits. Blocks.
    pub(crate) fn trim(&self, project: &str) {
        let Ok(entries) = fs::read_dir(self.project(project)) else {
            return;
        };
        let mut all: Vec<(std::time::SystemTime, u64, PathBuf)> = entries
            .flatten()
            .map(|entry| {
                let time = entry
                    .metadata()
                    .and_then(|m| m.modified())
                    .unwrap_or(std::time::UNIX_EPOCH);
                (time, size_of(&entry.path()), entry.path())
            })
            .collect();
        all.sort();
        let mut sum: u64 = all.iter().map(|(_, size, _)| size).sum();
        for (_, size, path) in all {
            if sum <= self.cap.0 {
                return;
            }
            let lock = {
                let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
                locks.entry(path.clone()).or_default().clone()
            };
            // One that is in use is looked at again by who uses it.
            let Ok(_turn) = lock.try_write_owned() else {
                continue;
            };
            match fs::remove_dir_all(&path) {
                Ok(()) => sum -= size,
                Err(error) => {
                    tracing::warn!(path = %path.display(), cause = %error, "cannot remove a cache of builds");
                }
            }
        }
    }
}

fn dress(path: &Path, wanted: &Wanted) -> Result<(), BuildError> {
    let failed = |e| BuildError::io("prepare", path)(e);
    chown(path, Some(wanted.uid), Some(wanted.gid)).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(wanted.mode & 0o7777)).map_err(failed)
}

/// Returns how many bytes of disk everything below `path` uses; what cannot be read counts nothing.
pub(crate) fn size_of(path: &Path) -> u64 {
    let Ok(meta) = fs::symlink_metadata(path) else {
        return 0;
    };
    let own = meta.blocks() * 512;
    if !meta.is_dir() {
        return own;
    }
    let below: u64 = fs::read_dir(path)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| size_of(&entry.path()))
        .sum();
    own + below
}
