//! The lock on a store's folder: held by the open file, so that it ends with the process and never goes stale.

use crate::ImageError;
use rustix::fs::{FlockOperation, Mode, OFlags};
use std::os::fd::OwnedFd;
use std::path::Path;

/// A held lock; dropping it lets the folder go.
#[derive(Debug)]
pub(super) struct Lock(OwnedFd);

impl Lock {
    /// Takes the lock of the store in `dir`.
    pub(super) fn take(dir: &Path) -> Result<Self, ImageError> {
        let path = dir.join("lock");
        let file = rustix::fs::open(
            &path,
            OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW,
            Mode::RUSR | Mode::WUSR,
        )
        .map_err(ImageError::errno("open", &path))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(ImageError::StoreInUse {
                path: dir.to_owned(),
            }),
            Err(e) => Err(ImageError::errno("lock", &path)(e)),
        }
    }
}

impl Drop for Lock {
    /// Lets the lock go by word: a child that another thread is just starting holds a copy of the file until its `exec`, and closing ours alone
    /// would leave the store locked for that moment (flock(2)).
    fn drop(&mut self) {
        // A failure leaves the lock to the closing that follows.
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_of_the_file_in_a_child_that_starts_holds_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let lock = Lock::take(dir.path()).unwrap();
        let of_a_child = lock.0.try_clone().unwrap();
        assert!(Lock::take(dir.path()).is_err());
        drop(lock);
        Lock::take(dir.path()).unwrap();
        drop(of_a_child);
    }
}
