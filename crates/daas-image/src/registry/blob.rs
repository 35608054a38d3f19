//! Downloads that can be taken up again where they broke off, by this process or the next one.

use super::client::{Client, tries};
use super::http::{Answer, Failure};
use crate::digest::Hasher;
use crate::manifest::Descriptor;
use crate::progress::{Event, Phase, Progress};
use crate::store::{Lease, Store, Temp, partial_key, remove_any};
use crate::{Digest, ImageError};
use hyper::Method;
use hyper::header::{ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, RANGE};
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;

/// How many bytes are gathered before they are digested and written, off the runtime's threads.
const BATCH: usize = 1 << 20;

/// A blob of which some bytes may be here.
struct Partial {
    file: File,
    path: PathBuf,
    hasher: Hasher,
    size: u64,
}

impl Partial {
    /// Opens what an earlier try has left and digests it. Blocks.
    fn open(path: PathBuf, digest: &Digest) -> Result<Self, ImageError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(ImageError::io("open", &path))?;
        let mut hasher = Hasher::new(digest.algorithm());
        let mut size = 0;
        let mut buf = vec![0; 256 << 10];
        loop {
            let n = (&file)
                .read(&mut buf)
                .map_err(ImageError::io("read", &path))?;
            if n == 0 {
                break;
            }
            hasher.update(&buf[..n]);
            size += n as u64;
        }
        Ok(Self {
            file,
            path,
            hasher,
            size,
        })
    }

    fn restart(&mut self, digest: &Digest) -> Result<(), ImageError> {
        self.file
            .set_len(0)
            .map_err(ImageError::io("empty", &self.path))?;
        self.hasher = Hasher::new(digest.algorithm());
        self.size = 0;
        Ok(())
    }

    /// Adds bytes, off the runtime. What was written stays even if the caller is gone: the file's length tells it.
    async fn append(self, store: &Store, bytes: Vec<u8>) -> Result<Self, ImageError> {
        let work = move || {
            let mut this = self;
            this.file
                .write_all_at(&bytes, this.size)
                .map_err(ImageError::io("write", &this.path))?;
            this.hasher.update(&bytes);
            this.size += bytes.len() as u64;
            Ok(this)
        };
        store.blocking("write a download", work).await?
    }
}

/// How reading one answer ended.
enum End {
    Whole,
    Broken(Failure),
}

impl Client<'_> {
    /// Fetches a blob into the store, unless it is there.
    pub(super) async fn fetch_blob(
        &self,
        store: &Store,
        descriptor: &Descriptor,
        progress: &dyn Progress,
    ) -> Result<(), ImageError> {
        let digest = &descriptor.digest;
        let event = |phase, done| {
            progress.event(Event {
                piece: digest.short().to_owned(),
                phase,
                done,
                total: descriptor.size,
            });
        };
        event(Phase::Waiting, 0);
        let turn = store.turn(&format!("blob/{digest}"));
        let _turn = turn.lock().await;
        match store.blob_size(digest) {
            Some(size) if size == descriptor.size => {
                event(Phase::Present, size);
                return Ok(());
            }
            // Cut by something outside; what it was meant to be comes again.
            Some(_) => remove_any(&store.blob_path(digest))?,
            None => {}
        }
        let name = format!("{}-{}", digest.algorithm_name(), digest.hex());
        let mut lease: Lease = store.lease();
        lease.add(&partial_key(&name));
        let path = store.dir().join("partial").join(&name);
        let opened = {
            let (digest, path) = (digest.clone(), path.clone());
            let work = move || Partial::open(path, &digest);
            store.blocking("open a download", work).await??
        };
        let mut resumed = opened.size > 0;
        let mut partial = opened;
        loop {
            partial = match self.fill(store, partial, descriptor, progress).await {
                Ok(partial) => partial,
                Err(error) => {
                    // Only what may be taken up again stays.
                    let empty = std::fs::metadata(&path).is_ok_and(|m| m.len() == 0);
                    if empty || matches!(error, ImageError::SizeMismatch { .. }) {
                        remove_any(&path)?;
                    }
                    return Err(error);
                }
            };
            let got = partial.hasher.clone().finish();
            if got == *digest {
                break;
            }
            partial.restart(digest)?;
            if !resumed {
                remove_any(&partial.path)?;
                return Err(ImageError::DigestMismatch {
                    what: format!("content {}", digest.short()),
                    wanted: digest.clone(),
                    got,
                });
            }
            // What was left here may be what is wrong; from the start then, once.
            resumed = false;
        }
        let place = store.blob_path(digest);
        let finish = move || {
            partial
                .file
                .sync_all()
                .map_err(ImageError::io("sync", &partial.path))?;
            Temp::new(partial.path).keep_as(&place)
        };
        store.blocking("finish a download", finish).await??;
        drop(lease);
        Ok(())
    }

    /// Asks for what is missing until nothing is.
    async fn fill(
        &self,
        store: &Store,
        mut partial: Partial,
        descriptor: &Descriptor,
        progress: &dyn Progress,
    ) -> Result<Partial, ImageError> {
        let what = format!("content {}", descriptor.digest.short());
        let mut tries = tries();
        while partial.size != descriptor.size {
            if partial.size > descriptor.size {
                partial.restart(&descriptor.digest)?;
            }
            let range = format!("bytes={}-", partial.size);
            let mut headers = vec![(ACCEPT_ENCODING, "identity")];
            if partial.size > 0 {
                headers.push((RANGE, range.as_str()));
            }
            let answer = match self
                .attempt(
                    &Method::GET,
                    &format!("blobs/{}", descriptor.digest),
                    &headers,
                )
                .await
            {
                Ok(answer) => answer,
                Err(failure) => {
                    self.recover(failure, &mut tries, &what).await?;
                    continue;
                }
            };
            match answer.status().as_u16() {
                206 if begins_at(&answer, partial.size) => {}
                // Another part than the one asked for, or none at all: all of it then.
                206 | 416 if partial.size > 0 => {
                    partial.restart(&descriptor.digest)?;
                    continue;
                }
                200 => {
                    partial.restart(&descriptor.digest)?;
                    if let Some(told) = length_of(&answer).filter(|n| *n != descriptor.size) {
                        return Err(ImageError::SizeMismatch {
                            what,
                            wanted: descriptor.size,
                            got: told,
                        });
                    }
                }
                status if status < 500 && status != 429 && status != 408 => {
                    return Err(self
                        .judge(answer, &what)
                        .err()
                        .unwrap_or(ImageError::Broken {
                            what: "judging an answer",
                        }));
                }
                status => {
                    let wait = answer.retry_after();
                    self.recover(Failure::Status(status, wait), &mut tries, &what)
                        .await?;
                    continue;
                }
            }
            let before = partial.size;
            let (next, end) = self
                .take(store, partial, answer, descriptor, progress)
                .await?;
            partial = next;
            if partial.size > before {
                tries.reset();
            }
            if let End::Broken(failure) = end {
                self.recover(failure, &mut tries, &what).await?;
            }
        }
        Ok(partial)
    }

    /// Reads a body to its end, or until it breaks off.
    async fn take(
        &self,
        store: &Store,
        mut partial: Partial,
        mut answer: Answer,
        descriptor: &Descriptor,
        progress: &dyn Progress,
    ) -> Result<(Partial, End), ImageError> {
        let event = |done| {
            progress.event(Event {
                piece: descriptor.digest.short().to_owned(),
                phase: Phase::Downloading,
                done,
                total: descriptor.size,
            });
        };
        event(partial.size);
        let mut batch: Vec<u8> = Vec::new();
        loop {
            let next = answer.chunk().await;
            let arrived = partial.size
                + batch.len() as u64
                + next
                    .as_ref()
                    .ok()
                    .and_then(Option::as_ref)
                    .map_or(0, |c| c.len() as u64);
            if arrived > descriptor.size {
                return Err(ImageError::SizeMismatch {
                    what: format!("content {}", descriptor.digest.short()),
                    wanted: descriptor.size,
                    got: arrived,
                });
            }
            let end = match next {
                Ok(Some(chunk)) => {
                    batch.extend_from_slice(&chunk);
                    None
                }
                Ok(None) if arrived == descriptor.size => Some(End::Whole),
                Ok(None) => Some(End::Broken(Failure::Network(
                    "the content ended early".into(),
                ))),
                Err(failure) => Some(End::Broken(failure)),
            };
            if batch.len() >= BATCH || (end.is_some() && !batch.is_empty()) {
                partial = partial.append(store, std::mem::take(&mut batch)).await?;
                event(partial.size);
            }
            if let Some(end) = end {
                return Ok((partial, end));
            }
        }
    }
}

fn length_of(answer: &Answer) -> Option<u64> {
    answer.header(CONTENT_LENGTH)?.parse().ok()
}

/// Whether a partial answer begins where it should: `bytes 100-199/200`.
fn begins_at(answer: &Answer, at: u64) -> bool {
    let begin = || {
        answer
            .header(CONTENT_RANGE)?
            .strip_prefix("bytes ")?
            .split('-')
            .next()?
            .parse::<u64>()
            .ok()
    };
    begin() == Some(at)
}
