//! Keepers: spares, those that outlived a daemon, and what dead ones leave.

use super::conversation::Conversation;
use super::{LocalEngine, Place, Spare, lock};
use crate::engine::Order;
use crate::error::EngineError;
use crate::layout::{Owner, make_dir, read_owner, read_seed, write_owner, write_seed};
use crate::link::Link;
use daas_keeper::launch::{DiskSeed, IDS_PER_STAND, KeeperSeed};
use daas_keeper::protocol::{Request, VERSION};
use daas_keeper::{ClientError, Leave};
use daas_model::{ByteSize, StandId};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How long a daemon that ends waits for the cgroups of its spares to be empty: a keeper that has ended leaves its group when the
/// kernel comes to it, on a busy machine a second later.
const LEAVING: std::time::Duration = std::time::Duration::from_secs(5);
/// For how many nodes a spare has processes ready. Most stands have two to five nodes; each costs 2 ms of background work and half a mebibyte
/// until its stand comes, and what nobody takes is gone some seconds later.
const SEATS: u32 = 3;

impl LocalEngine {
    /// Finds every folder of a keeper: connects to the living, sweeps the dead, and ends spares of the last daemon.
    pub(super) async fn take_over(&self) -> Result<(), EngineError> {
        for dir in self.inner.layout.folders()? {
            let (owner, seed) = (read_owner(&dir), read_seed(&dir));
            let (Some(owner), Some(seed)) = (owner, seed.clone()) else {
                self.end_spare(&dir, seed).await;
                continue;
            };
            lock(&self.inner.ranges).mark(seed.uid_base);
            let link = match self.connect_keeper(&dir, &owner.id).await {
                Ok(link) => Some(link),
                Err(error) => {
                    tracing::info!(stand = %owner.name, cause = %daas_model::render_chain(&error), "the keeper did not outlive the last daemon");
                    self.sweep(&dir, &seed, true).await?;
                    None
                }
            };
            lock(&self.inner.stands).insert(owner.id, Place { dir, seed, link });
        }
        Ok(())
    }

    /// Ends a keeper that holds no stand and removes its folder.
    async fn end_spare(&self, dir: &Path, seed: Option<KeeperSeed>) {
        let nobody = StandId::parse("nobody").expect("a literal that matches the grammar");
        if let Ok(link) = self.connect_keeper(dir, &nobody).await {
            // It ends either way: the sweep kills what does not listen.
            let _ = link
                .ask(Request::Destroy {
                    keep_logs: false,
                    keep_disk: false,
                })
                .await;
        }
        if let Some(seed) = seed
            && let Err(error) = self.sweep(dir, &seed, false).await
        {
            tracing::warn!(folder = %dir.display(), cause = %daas_model::render_chain(&error), "cannot sweep a spare keeper");
        }
        let _ = tokio::fs::remove_dir_all(dir).await;
    }

    /// Removes everything that a dead keeper left; its disk stays when it is needed again.
    pub(super) async fn sweep(
        &self,
        dir: &Path,
        seed: &KeeperSeed,
        keep_disk: bool,
    ) -> Result<(), EngineError> {
        let (dir, seed) = (dir.to_owned(), seed.clone());
        let path = dir.clone();
        let leave = Leave {
            logs: keep_disk,
            disk: keep_disk,
        };
        self.blocking("sweep", move || {
            daas_keeper::sweep(&dir, &seed.cgroup_root, leave)
        })
        .await?
        .map_err(|source| EngineError::Sweep {
            path,
            source: Box::new(source),
        })
    }

    /// Makes spares in the background until there are as many as configured.
    pub(super) fn refill(&self) {
        let engine = self.clone();
        self.inner.tasks.run("spare keepers", |shutdown| async move {
            // One at a time: two that both find one missing would make two.
            let wanted = engine.inner.refilling.lock().await;
            while *wanted && !shutdown.is_asked() {
                let missing = {
                    let spares = engine.inner.spares.lock().await;
                    spares.len() < engine.inner.config.spares
                };
                if !missing {
                    return;
                }
                engine.inner.calm.come().await;
                let disk = engine.inner.config.spare_disk;
                match engine.make_keeper(disk, false, SEATS).await {
                    Ok(spare) => engine.inner.spares.lock().await.push(spare),
                    Err(error) => {
                        tracing::warn!(cause = %daas_model::render_chain(&error), "cannot make a spare keeper");
                        return;
                    }
                }
            }
        });
    }

    /// Makes a keeper in a folder of its own and waits until it listens.
    async fn make_keeper(
        &self,
        size: ByteSize,
        durable: bool,
        seats: u32,
    ) -> Result<Spare, EngineError> {
        let keeper_id = new_stand_id();
        let dir = self.inner.layout.stands().join(keeper_id.as_str());
        let uid_base = lock(&self.inner.ranges).take()?;
        let disk = (size, durable);
        let made = self.bear(&dir, keeper_id, uid_base, disk, seats).await;
        if made.is_err() {
            self.undo(&dir, uid_base).await;
        }
        Ok(Spare { seed: made?, dir })
    }

    /// Removes what a keeper made before it failed: its folder is the only word of its cgroups.
    async fn undo(&self, dir: &Path, uid_base: u32) {
        if let Some(seed) = read_seed(dir)
            && let Err(error) = self.sweep(dir, &seed, false).await
        {
            // The folder stays, and with it the range: the next start of the daemon sweeps again.
            tracing::warn!(folder = %dir.display(), cause = %daas_model::render_chain(&error), "cannot sweep a keeper that failed");
            return;
        }
        let _ = tokio::fs::remove_dir_all(dir).await;
        lock(&self.inner.ranges).give_back(uid_base);
    }

    /// Makes a keeper in `dir`, over the disk that may be there, and waits until it listens.
    async fn bear(
        &self,
        dir: &Path,
        keeper_id: StandId,
        uid_base: u32,
        (size, durable): (ByteSize, bool),
        seats: u32,
    ) -> Result<KeeperSeed, EngineError> {
        make_dir(dir)?;
        let templates = self.inner.layout.templates();
        let template = self
            .blocking("disk template", move || {
                daas_keeper::disk::ensure_template(&templates, size, durable)
            })
            .await?
            .map_err(|source| EngineError::Keeper {
                source: std::io::Error::other(source),
            })?;
        let seed = KeeperSeed {
            protocol: VERSION,
            keeper_id,
            dir: dir.to_owned(),
            uid_base,
            uid_count: IDS_PER_STAND,
            disk: DiskSeed {
                size,
                template,
                durable,
            },
            cgroup_root: self.inner.config.cgroup_root.clone(),
            seats,
        };
        write_seed(dir, &seed)?;
        let engine = self.clone();
        let given = seed.clone();
        self.blocking("ask zygote", move || {
            engine.inner.zygote.make_keeper(&given)
        })
        .await?
        .map_err(|failure| EngineError::Refused { failure })?;
        self.await_birth(dir).await?;
        Ok(seed)
    }

    /// Waits until a keeper is prepared; one that could not tells why.
    async fn await_birth(&self, dir: &Path) -> Result<(), EngineError> {
        let hello = Request::Hello { version: VERSION };
        let met = match Conversation::begin(dir).await {
            Ok(mut keeper) => keeper.ask(hello, &[]).await,
            Err(error) => Err(ClientError::Io(error)),
        };
        match met {
            Ok(_) => Ok(()),
            Err(ClientError::Refused(failure)) => Err(EngineError::Refused { failure }),
            Err(error) => Err(EngineError::Keeper {
                source: std::io::Error::other(error),
            }),
        }
    }

    /// Returns a link to a keeper for `order`: the one it has, one over its old disk, a spare, or a new one.
    pub(super) async fn keeper_for(&self, order: &Order) -> Result<Arc<Link>, EngineError> {
        if let Ok(link) = self.link(&order.id) {
            return Ok(link);
        }
        let durable = !order.spec.kind.is_throw_away();
        let size = order.spec.limits.disk;
        let (dir, seed) = match self.place(&order.id) {
            Some(place) => {
                self.sweep(&place.dir, &place.seed, true).await?;
                let seed = self
                    .bear(
                        &place.dir,
                        new_stand_id(),
                        place.seed.uid_base,
                        (size, durable),
                        0,
                    )
                    .await?;
                (place.dir, seed)
            }
            None => {
                let spare = if durable || size != self.inner.config.spare_disk {
                    None
                } else {
                    self.take_spare().await
                };
                let spare = match spare {
                    Some(spare) => spare,
                    // Somebody waits: what would be made for any node is made for theirs.
                    None => self.make_keeper(size, durable, 0).await?,
                };
                write_owner(
                    &spare.dir,
                    &Owner {
                        id: order.id.clone(),
                        name: order.name.clone(),
                    },
                )?;
                (spare.dir, spare.seed)
            }
        };
        lock(&self.inner.stands).insert(
            order.id.clone(),
            Place {
                dir: dir.clone(),
                seed: seed.clone(),
                link: None,
            },
        );
        let link = self.connect_keeper(&dir, &order.id).await?;
        lock(&self.inner.stands).insert(
            order.id.clone(),
            Place {
                dir,
                seed,
                link: Some(link.clone()),
            },
        );
        self.refill();
        Ok(link)
    }

    /// Takes a spare whose keeper lives.
    async fn take_spare(&self) -> Option<Spare> {
        let mut spares = self.inner.spares.lock().await;
        while let Some(spare) = spares.pop() {
            if daas_keeper::is_alive(&spare.dir) {
                return Some(spare);
            }
            lock(&self.inner.ranges).give_back(spare.seed.uid_base);
            self.end_spare(&spare.dir, Some(spare.seed)).await;
        }
        None
    }

    /// Destroys a stand with all that it wrote.
    pub(super) async fn close(&self, stand: &StandId) -> Result<(), EngineError> {
        let Some(place) = self.place(stand) else {
            return Ok(());
        };
        let answer = match &place.link {
            Some(link) if !link.has_ended() => {
                // The end of the link is wanted now and nobody's loss.
                if let Some(place) = lock(&self.inner.stands).get_mut(stand) {
                    place.link = None;
                }
                link.ask(Request::Destroy {
                    keep_logs: false,
                    keep_disk: false,
                })
                .await
                .map(|_| ())
            }
            _ => Err(EngineError::Gone {
                stand: stand.clone(),
            }),
        };
        if answer.is_err() {
            self.sweep(&place.dir, &place.seed, false).await?;
        }
        remove_dir(&place.dir).await?;
        lock(&self.inner.stands).remove(stand);
        lock(&self.inner.ranges).give_back(place.seed.uid_base);
        Ok(())
    }

    /// Ends all spares and, where no stand is left, takes the platform's cgroups away; for a shutdown.
    pub async fn leave(&self) {
        // Who makes one ends first: his would stay behind.
        *self.inner.refilling.lock().await = false;
        let spares = std::mem::take(&mut *self.inner.spares.lock().await);
        for spare in spares {
            self.end_spare(&spare.dir, Some(spare.seed)).await;
        }
        let root = self.inner.config.cgroup_root.clone();
        let left = self
            .blocking("leave the cgroups", move || {
                daas_sys::cgroup::Root::find(&root).map(|root| root.leave(LEAVING))
            })
            .await;
        if let Err(error) = left {
            tracing::warn!(cause = %error, "empty cgroups stay");
        }
    }
}

async fn remove_dir(dir: &Path) -> Result<(), EngineError> {
    match tokio::fs::remove_dir_all(dir).await {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(EngineError::Io {
            action: "remove",
            path: PathBuf::from(dir),
            source,
        }),
        _ => Ok(()),
    }
}

/// Returns an id that was never used: the boot clock in nanoseconds and a counter hashed with random keys.
#[must_use]
pub fn new_stand_id() -> StandId {
    use std::hash::{BuildHasher, Hasher};
    // Two independent sets of random keys from the kernel: 2^64 ids, and a folder of that name must not exist.
    let mut hasher = std::hash::RandomState::new().build_hasher();
    hasher.write_u128(
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default()
            .as_nanos(),
    );
    StandId::parse(&format!("{:012x}", hasher.finish() & 0xffff_ffff_ffff))
        .expect("hexadecimal digits match the grammar")
}
