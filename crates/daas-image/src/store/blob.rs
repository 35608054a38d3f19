use super::incoming::Stamp;
use super::{Store, Temp};
use crate::digest::{Algorithm, Hasher};
use crate::{Digest, ImageError};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

impl Store {
    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.dir()
            .join("blobs")
            .join(digest.algorithm_name())
            .join(digest.hex())
    }

    /// Returns the size of a blob, or nothing if it is not here.
    #[must_use]
    pub fn blob_size(&self, digest: &Digest) -> Option<u64> {
        std::fs::symlink_metadata(self.blob_path(digest))
            .ok()
            .filter(std::fs::Metadata::is_file)
            .map(|m| m.len())
    }

    pub(crate) fn open_blob(&self, digest: &Digest) -> Result<File, ImageError> {
        let path = self.blob_path(digest);
        File::open(&path).map_err(ImageError::io("open", &path))
    }

    /// Reads a small blob whole and checks its digest: what is on disk may have rotted. Blocks.
    ///
    /// # Errors
    /// [`ImageError::Io`] if it is not here, [`ImageError::BadDocument`] if it is larger than `limit` bytes,
    /// [`ImageError::DigestMismatch`]; `what` names it in them.
    pub fn read_blob(
        &self,
        digest: &Digest,
        limit: u64,
        what: &str,
    ) -> Result<Vec<u8>, ImageError> {
        let mut bytes = Vec::new();
        let path = self.blob_path(digest);
        self.open_blob(digest)?
            .take(limit + 1)
            .read_to_end(&mut bytes)
            .map_err(ImageError::io("read", &path))?;
        check_bytes(&bytes, digest, limit, what)?;
        Ok(bytes)
    }

    /// Stores a small blob. Blocks.
    pub(crate) fn put_blob(&self, bytes: &[u8]) -> Result<Digest, ImageError> {
        let mut writer = self.blob_writer(Algorithm::Sha256)?;
        writer.write(bytes)?;
        writer.commit(None)
    }

    /// Stores a small blob that is `wanted`; one that is here and right is left alone. Blocks.
    ///
    /// # Errors
    /// [`ImageError::DigestMismatch`] if it is another, [`ImageError::Io`].
    pub fn keep_blob(&self, bytes: &[u8], wanted: &Digest) -> Result<(), ImageError> {
        let mut writer = self.blob_writer(wanted.algorithm())?;
        writer.write(bytes)?;
        writer.commit(Some(wanted)).map(drop)
    }

    pub(crate) fn blob_writer(&self, algorithm: Algorithm) -> Result<BlobWriter, ImageError> {
        let temp = Temp::new(self.temp_path());
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(temp.path())
            .map_err(ImageError::io("make", temp.path()))?;
        Ok(BlobWriter {
            store: self.clone(),
            temp,
            file,
            hasher: Hasher::new(algorithm),
            size: 0,
        })
    }
}

/// Checks a document that is whole in memory.
pub(crate) fn check_bytes(
    bytes: &[u8],
    digest: &Digest,
    limit: u64,
    what: &str,
) -> Result<(), ImageError> {
    if bytes.len() as u64 > limit {
        return Err(ImageError::BadDocument {
            what: what.to_owned(),
            why: format!("it is larger than {limit} bytes"),
        });
    }
    let mut hasher = Hasher::new(digest.algorithm());
    hasher.update(bytes);
    let got = hasher.finish();
    if got == *digest {
        Ok(())
    } else {
        Err(ImageError::DigestMismatch {
            what: what.to_owned(),
            wanted: digest.clone(),
            got,
        })
    }
}

/// A blob in the making: invisible until it is committed, gone if it is dropped.
pub(crate) struct BlobWriter {
    store: Store,
    temp: Temp,
    file: File,
    hasher: Hasher,
    size: u64,
}

impl BlobWriter {
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        // At its place: after a write that failed in its middle the next one begins where the digest ends.
        self.file
            .write_all_at(bytes, self.size)
            .map_err(ImageError::io("write", self.temp.path()))?;
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(())
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Makes the blob visible; it is durable only after [`Store::settle`].
    pub(crate) fn commit_unsynced(self, lease: &mut super::Lease) -> Result<Digest, ImageError> {
        let Self {
            store,
            temp,
            hasher,
            ..
        } = self;
        let got = hasher.finish();
        lease.add(got.as_str());
        if store.blob_size(&got).is_none() {
            store.pledge(&format!("{}-{}", got.algorithm_name(), got.hex()))?;
            temp.keep_unsynced_as(&store.blob_path(&got))?;
        }
        Ok(got)
    }

    /// Makes the blob durable and visible, if it is the one that was `wanted`.
    pub(crate) fn commit(self, wanted: Option<&Digest>) -> Result<Digest, ImageError> {
        let got = self.hasher.clone().finish();
        self.commit_as(got, wanted)
    }

    pub(crate) fn path(&self) -> &Path {
        self.temp.path()
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// As [`BlobWriter::commit`], with the digest found by the caller.
    pub(crate) fn commit_as(
        self,
        got: Digest,
        wanted: Option<&Digest>,
    ) -> Result<Digest, ImageError> {
        let Self {
            store,
            temp,
            file,
            size,
            ..
        } = self;
        if let Some(wanted) = wanted
            && *wanted != got
        {
            return Err(ImageError::DigestMismatch {
                what: "the content".into(),
                wanted: wanted.clone(),
                got,
            });
        }
        let place = store.blob_path(&got);
        // One that was changed by something outside is replaced.
        if !store.is_believed(&got, size) {
            file.sync_all()
                .map_err(ImageError::io("sync", temp.path()))?;
            temp.keep_as(&place)?;
            // What was written is what was digested. Looked at behind the rename, which counts as a change.
            let meta = file.metadata().map_err(ImageError::io("look at", &place))?;
            store.believe(&got, Stamp::of(&meta));
        }
        Ok(got)
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.file.write_all_at(bytes, self.size)?;
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
