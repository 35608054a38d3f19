//! Contents that arrive from outside piece by piece, and contents that go out: what a registry does with the store.

use super::blob::BlobWriter;
use super::{Lease, Store, locked, remove_any};
use crate::digest::{Algorithm, Hasher};
use crate::{Digest, ImageError};
use bytes::Bytes;
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

/// How long a content that was found right is believed to be right while its file is untouched (docs/decisions/0015).
const BELIEVED: Duration = Duration::from_secs(3600);
/// How much is read at once to digest a file.
const READ: usize = 1 << 20;

/// A content on its way in: invisible until it is committed, gone if it is dropped.
///
/// Every method blocks.
pub struct Incoming {
    writer: BlobWriter,
    algorithm: Algorithm,
    synced: u64,
}

/// A content that may be sent: a file whose bytes were compared with its digest.
#[derive(Debug)]
pub struct Outgoing {
    /// The file.
    pub file: File,
    /// Its size in bytes.
    pub size: u64,
}

/// What a file looked like when its content was right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    inode: u64,
    size: u64,
    changed: (i64, i64),
    written: (i64, i64),
}

/// A stamp and when it was taken.
pub(crate) type Verified = (Stamp, Instant);

impl Stamp {
    pub(crate) fn of(meta: &Metadata) -> Self {
        Self {
            inode: meta.ino(),
            size: meta.len(),
            changed: (meta.ctime(), meta.ctime_nsec()),
            written: (meta.mtime(), meta.mtime_nsec()),
        }
    }
}

/// Tells what is referred to by others than the store's names: their owner says so at the moment of collection.
pub trait Referenced: Send + Sync {
    /// Tells whether this content must stay. Must not block on anything that calls the store.
    fn is_referenced(&self, digest: &Digest) -> bool;
}

impl Lease {
    /// Keeps `digest` from being collected while this lease lives. Must come before the look whether it is here.
    pub fn keep(&mut self, digest: &Digest) {
        self.add(digest.as_str());
    }
}

impl Store {
    /// Begins to receive a content. Its digest is told at the end, when it is known by everybody.
    ///
    /// # Errors
    /// [`ImageError::Io`].
    pub fn receive(&self, algorithm: Algorithm) -> Result<Incoming, ImageError> {
        Ok(Incoming {
            writer: self.blob_writer(algorithm)?,
            algorithm,
            synced: 0,
        })
    }

    /// Says who else refers to contents. Once; a second one is not heard.
    pub fn heed(&self, referenced: std::sync::Arc<dyn Referenced>) {
        // Only the house calls this, once for its one registry.
        let _ = self.inner.referenced.set(referenced);
    }

    pub(crate) fn is_referenced(&self, digest: &Digest) -> bool {
        self.inner
            .referenced
            .get()
            .is_some_and(|others| others.is_referenced(digest))
    }

    /// Opens a content to be sent; nothing if it is not here. Blocks, for the reading of the whole content at the first time.
    ///
    /// What is damaged is taken away, so that it can be pushed or pulled again, and never sent.
    ///
    /// # Errors
    /// [`ImageError::DigestMismatch`] if the content has changed on disk, [`ImageError::Io`].
    pub fn open_verified(&self, digest: &Digest) -> Result<Option<Outgoing>, ImageError> {
        let path = self.blob_path(digest);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(ImageError::io("open", &path)(e)),
        };
        let stamp = |file: &File| {
            file.metadata()
                .map(|meta| Stamp::of(&meta))
                .map_err(ImageError::io("look at", &path))
        };
        let now = stamp(&file)?;
        let size = now.size;
        if self.is_verified(digest, now) {
            return Ok(Some(Outgoing { file, size }));
        }
        // One reads it, the others wait and find it read.
        let turn = self.turn(&format!("verify/{digest}"));
        let _turn = turn.blocking_lock();
        if self.is_verified(digest, now) {
            return Ok(Some(Outgoing { file, size }));
        }
        let got = digest_of(&file, digest.algorithm()).map_err(ImageError::io("read", &path))?;
        if got != *digest {
            locked(&self.inner.verified).remove(digest);
            // Only this very file: somebody may have brought a good one meanwhile.
            if File::open(&path).is_ok_and(|other| stamp(&other).is_ok_and(|other| other == now)) {
                remove_any(&path)?;
            }
            return Err(ImageError::DigestMismatch {
                what: format!("content {} on disk", digest.short()),
                wanted: digest.clone(),
                got,
            });
        }
        self.believe(digest, stamp(&file)?);
        Ok(Some(Outgoing { file, size }))
    }

    /// Tells whether a content of this size is here and was found right lately.
    pub(crate) fn is_believed(&self, digest: &Digest, size: u64) -> bool {
        std::fs::symlink_metadata(self.blob_path(digest)).is_ok_and(|meta| {
            meta.is_file() && meta.len() == size && self.is_verified(digest, Stamp::of(&meta))
        })
    }

    fn is_verified(&self, digest: &Digest, stamp: Stamp) -> bool {
        locked(&self.inner.verified)
            .get(digest)
            .is_some_and(|(known, at)| *known == stamp && at.elapsed() < BELIEVED)
    }

    pub(crate) fn believe(&self, digest: &Digest, stamp: Stamp) {
        let mut verified = locked(&self.inner.verified);
        // Entries of contents that went by themselves end here; each is about 200 bytes.
        if verified.len() >= 100_000 {
            verified.retain(|_, (_, at)| at.elapsed() < BELIEVED);
        }
        verified.insert(digest.clone(), (stamp, Instant::now()));
    }
}

impl Incoming {
    /// Adds bytes behind those that are here. After an error [`Incoming::size`] tells up to where it went.
    ///
    /// # Errors
    /// [`ImageError::Io`], with the kind `Busy` when the disk is full.
    pub fn append(&mut self, chunks: &[Bytes]) -> Result<(), ImageError> {
        chunks.iter().try_for_each(|chunk| self.writer.write(chunk))
    }

    /// Returns how many bytes are here.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.writer.size()
    }

    /// Returns the file if more than `limit` bytes came since the last call: its `sync_data` elsewhere, beside the receiving,
    /// leaves little to be waited for at the end.
    pub fn to_sync(&mut self, limit: u64) -> Option<File> {
        if self.size() - self.synced < limit {
            return None;
        }
        self.synced = self.size();
        self.writer.file().try_clone().ok()
    }

    /// Makes the content durable and visible if it is `wanted`.
    ///
    /// # Errors
    /// [`ImageError::DigestMismatch`] if it is another, [`ImageError::Io`].
    pub fn commit(self, wanted: &Digest) -> Result<(), ImageError> {
        if wanted.algorithm() == self.algorithm {
            return self.writer.commit(Some(wanted)).map(drop);
        }
        let path = self.writer.path().to_owned();
        let file = File::open(&path).map_err(ImageError::io("open", &path))?;
        let got = digest_of(&file, wanted.algorithm()).map_err(ImageError::io("read", &path))?;
        self.writer.commit_as(got, Some(wanted)).map(drop)
    }
}

impl std::fmt::Debug for Incoming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Incoming")
            .field("size", &self.size())
            .finish_non_exhaustive()
    }
}

fn digest_of(file: &File, algorithm: Algorithm) -> std::io::Result<Digest> {
    use std::os::unix::fs::FileExt;
    let mut hasher = Hasher::new(algorithm);
    let mut buf = vec![0; READ];
    let mut at = 0;
    loop {
        let n = file.read_at(&mut buf, at)?;
        if n == 0 {
            break;
        }
        hasher.update(&buf[..n]);
        at += n as u64;
    }
    Ok(hasher.finish())
}
