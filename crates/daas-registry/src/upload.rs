//! Uploads that have begun and not ended. They live in memory and in the store's temporary files, so a crash ends them
//! all and leaves nothing; what was acknowledged with 201 is not among them any more.

use crate::error::RegistryError;
use crate::login::{chance, hex};
use crate::name::Repository;
use crate::registry::{Registry, locked};
use axum::body::Body;
use bytes::Bytes;
use daas_image::Incoming;
use daas_model::ByteSize;
use http_body_util::BodyExt;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::OwnedMutexGuard;

/// How many bytes are gathered before they are digested and written, off the runtime's threads.
const BATCH: usize = 1 << 20;
/// In how many pieces at most: a body of single bytes must not cost more memory than a large one.
const PIECES: usize = 4096;
/// After how many bytes the disk is told to begin: what is written early need not be waited for at the end.
const SYNC: u64 = 32 << 20;

/// How much of a refused body is read all the same.
const DRAINED: usize = 256 << 20;

/// The place of the content of one upload; nothing when it was finished.
pub(crate) type Slot = Arc<tokio::sync::Mutex<Option<Incoming>>>;

struct Upload {
    repository: Repository,
    /// Who began it: nobody else may go on with it.
    owner: String,
    slot: Slot,
    used: Instant,
}

/// All uploads by their ids.
pub(crate) struct Uploads {
    open: Mutex<HashMap<String, Upload>>,
    most: usize,
    idle: Duration,
}

impl Uploads {
    pub(crate) fn new(most: usize, idle: Duration) -> Self {
        Self {
            open: Mutex::default(),
            most,
            idle,
        }
    }

    /// Remembers an upload; returns its id, 128 bits of the kernel's chance.
    pub(crate) fn begin(
        &self,
        repository: &Repository,
        owner: &str,
        incoming: Incoming,
    ) -> Result<String, RegistryError> {
        let mut random = [0; 16];
        chance(&mut random)?;
        let id = hex(&random);
        self.sweep();
        let mut open = locked(&self.open);
        if open.len() >= self.most {
            return Err(RegistryError::TooMany);
        }
        open.insert(
            id.clone(),
            Upload {
                repository: repository.clone(),
                owner: owner.to_owned(),
                slot: Arc::new(tokio::sync::Mutex::new(Some(incoming))),
                used: Instant::now(),
            },
        );
        Ok(id)
    }

    pub(crate) fn find(
        &self,
        id: &str,
        repository: &Repository,
        owner: &str,
    ) -> Result<Slot, RegistryError> {
        let mut open = locked(&self.open);
        let upload = open.get_mut(id).ok_or(RegistryError::NoUpload)?;
        if upload.repository != *repository || upload.owner != owner {
            return Err(RegistryError::NoUpload);
        }
        upload.used = Instant::now();
        Ok(upload.slot.clone())
    }

    pub(crate) fn end(&self, id: &str) {
        let ended = locked(&self.open).remove(id);
        drop(ended);
    }

    /// Ends uploads that were silent for too long.
    pub(crate) fn sweep(&self) {
        let mut ended = Vec::new();
        let mut open = locked(&self.open);
        let late: Vec<String> = open
            .iter()
            // One that somebody holds is not silent.
            .filter(|(_, u)| u.used.elapsed() > self.idle && Arc::strong_count(&u.slot) == 1)
            .map(|(id, _)| id.clone())
            .collect();
        for id in late {
            ended.extend(open.remove(&id));
        }
        drop(open);
        // Their files are removed here, without the lock.
        drop(ended);
    }

    pub(crate) fn count(&self) -> usize {
        locked(&self.open).len()
    }
}

/// How large an upload may become: one that is larger than all that its project may hold is ended before it is whole.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) space: String,
    pub(crate) used: u64,
    /// Nothing for no limit.
    pub(crate) quota: Option<ByteSize>,
}

impl Room {
    /// Returns why an upload ends that has so many bytes; nothing if it may go on.
    ///
    /// What the project has already is not subtracted: a content that it has costs nothing, and is known when it is whole.
    fn refuses(&self, bytes: u64) -> Option<RegistryError> {
        let quota = self.quota.filter(|quota| bytes > quota.0)?;
        Some(RegistryError::OverQuota {
            space: self.space.clone(),
            more: ByteSize(bytes),
            used: ByteSize(self.used),
            quota,
        })
    }
}

/// What a piece of work left behind it: the slot again, and how it went.
type Written = (OwnedMutexGuard<Option<Incoming>>, Result<(), RegistryError>);

impl Registry {
    /// Ends uploads that were silent for too long; returns how many are left.
    pub fn sweep_uploads(&self) -> usize {
        self.inner.uploads.sweep();
        self.inner.uploads.count()
    }

    /// Adds a body to an upload: while one piece is digested and written the next one arrives.
    ///
    /// Whatever has arrived when the body breaks off is kept, so that the client can go on from there. May be dropped at any
    /// time: a piece that is being written is written to its end.
    pub(crate) async fn append(
        &self,
        slot: OwnedMutexGuard<Option<Incoming>>,
        mut body: Body,
        room: &Room,
    ) -> Result<OwnedMutexGuard<Option<Incoming>>, RegistryError> {
        let before = slot.as_ref().map_or(0, Incoming::size);
        let mut at_rest = Some(slot);
        let mut working: Option<daas_tasks::Handle<Written>> = None;
        let mut batch: Vec<Bytes> = Vec::new();
        let (mut gathered, mut arrived) = (0, before);
        let broken = loop {
            let end = match body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data()
                        && !bytes.is_empty()
                    {
                        gathered += bytes.len();
                        arrived += bytes.len() as u64;
                        batch.push(bytes);
                    }
                    None
                }
                Some(Err(error)) => Some(Err(RegistryError::BadUpload {
                    why: error.to_string(),
                })),
                None => Some(Ok(())),
            };
            if let Some(error) = room.refuses(arrived) {
                drain(&mut body).await;
                break Err(error);
            }
            if gathered >= BATCH || batch.len() >= PIECES || (end.is_some() && gathered > 0) {
                let slot = match working.take() {
                    Some(handle) => match written(handle).await {
                        Ok(slot) => slot,
                        Err(error) => {
                            drain(&mut body).await;
                            return Err(error);
                        }
                    },
                    None => at_rest.take().ok_or(RegistryError::NoUpload)?,
                };
                working = Some(self.write(slot, std::mem::take(&mut batch)));
                gathered = 0;
            }
            if let Some(end) = end {
                break end;
            }
        };
        let slot = match working {
            Some(handle) => written(handle).await?,
            None => at_rest.ok_or(RegistryError::NoUpload)?,
        };
        broken.map(|()| slot)
    }

    fn write(
        &self,
        mut slot: OwnedMutexGuard<Option<Incoming>>,
        batch: Vec<Bytes>,
    ) -> daas_tasks::Handle<Written> {
        let tasks = self.inner.tasks.clone();
        self.inner.tasks.run_blocking("write an upload", move || {
            let Some(incoming) = slot.as_mut() else {
                return (slot, Err(RegistryError::NoUpload));
            };
            let result = incoming.append(&batch).map_err(RegistryError::Images);
            if let Some(file) = incoming.to_sync(SYNC) {
                // A failure of it is met again by the sync at the end.
                drop(tasks.run_blocking("sync an upload", move || drop(file.sync_data())));
            }
            (slot, result)
        })
    }
}

/// Reads what is left of a body that is refused: a client that still writes would not hear why.
async fn drain(body: &mut Body) {
    let mut left = DRAINED;
    while let Some(Ok(frame)) = body.frame().await {
        let size = frame.data_ref().map_or(0, Bytes::len);
        if size > left {
            return;
        }
        left -= size;
    }
}

async fn written(
    handle: daas_tasks::Handle<Written>,
) -> Result<OwnedMutexGuard<Option<Incoming>>, RegistryError> {
    let (slot, result) = handle.await.map_err(|_| RegistryError::Broken {
        what: "write an upload",
    })?;
    result.map(|()| slot)
}
