//! The lock on a state directory: held by the open file, so that it ends with the process and never goes stale.

use crate::error::StoreError;
use rustix::fs::{FlockOperation, Mode, OFlags};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::Path;

/// The file that is locked; it says who holds it.
pub(crate) const LOCK_FILE: &str = "lock";

/// A held lock; dropping it lets the directory go.
#[derive(Debug)]
pub(crate) struct DirLock {
    file: File,
}

impl DirLock {
    /// Takes the lock of `dir`.
    pub(crate) fn take(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(LOCK_FILE);
        // NOFOLLOW: the directory is ours alone, and a link in it is not.
        let fd = rustix::fs::open(
            &path,
            OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW,
            Mode::RUSR | Mode::WUSR,
        )
        .map_err(|errno| StoreError::io("open the lock", &path)(errno.into()))?;
        let mut file = File::from(fd);
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                // The holder's line is a help for people: absent or strange, the refusal stays the same.
                let _ = Read::by_ref(&mut file)
                    .take(200)
                    .read_to_string(&mut holder);
                let holder = holder.trim().escape_debug().to_string();
                return Err(StoreError::Locked {
                    path: dir.to_owned(),
                    holder: if holder.is_empty() {
                        "of unknown id".into()
                    } else {
                        holder
                    },
                });
            }
            Err(errno) => return Err(StoreError::io("lock", &path)(errno.into())),
        }
        let host = rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned();
        let written = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{} on {host}", std::process::id()));
        written.map_err(StoreError::io("write the lock", &path))?;
        Ok(Self { file })
    }
}

impl Drop for DirLock {
    /// Lets the lock go by word, not only by closing.
    ///
    /// `flock` belongs to the open file description (flock(2)), and a child that another thread is just starting holds
    /// a copy of it until its `exec`: closing alone would leave the directory locked for that moment.
    fn drop(&mut self) {
        // A failure leaves the lock to the closing that follows.
        let _ = rustix::fs::flock(&self.file, FlockOperation::Unlock);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_of_the_file_in_a_child_that_starts_holds_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let lock = DirLock::take(dir.path()).unwrap();
        // What a child holds between fork and exec: the same open file description.
        let of_a_child = lock.file.try_clone().unwrap();
        assert!(DirLock::take(dir.path()).is_err());
        drop(lock);
        DirLock::take(dir.path()).unwrap();
        drop(of_a_child);
    }
}
