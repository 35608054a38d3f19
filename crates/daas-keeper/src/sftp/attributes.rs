//! The attributes of files, as packets carry them (draft, section 5).

use super::words::{Fault, Reader, Writer};
use rustix::fs::{AtFlags, Gid, Timespec, Timestamps, Uid};
use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

const SIZE: u32 = 1;
const OWNER: u32 = 2;
const MODE: u32 = 4;
const TIMES: u32 = 8;
const EXTENDED: u32 = 0x8000_0000;

/// What shall be changed, or is asked for a new file.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    size: Option<u64>,
    owner: Option<(u32, u32)>,
    pub(super) mode: Option<u32>,
    /// Of access and change, Unix seconds.
    times: Option<(u32, u32)>,
}

impl Wanted {
    pub(super) fn read(from: &mut Reader<'_>) -> io::Result<Self> {
        let flags = from.number()?;
        let mut wanted = Self::default();
        if flags & SIZE != 0 {
            wanted.size = Some(from.long()?);
        }
        if flags & OWNER != 0 {
            wanted.owner = Some((from.number()?, from.number()?));
        }
        if flags & MODE != 0 {
            wanted.mode = Some(from.number()? & 0o7777);
        }
        if flags & TIMES != 0 {
            wanted.times = Some((from.number()?, from.number()?));
        }
        if flags & EXTENDED != 0 {
            for _ in 0..from.number()? {
                let (_, _) = (from.text()?, from.text()?);
            }
        }
        Ok(wanted)
    }

    fn stamps((accessed, changed): (u32, u32)) -> Timestamps {
        let of = |seconds: u32| Timespec {
            tv_sec: seconds.into(),
            tv_nsec: 0,
        };
        Timestamps {
            last_access: of(accessed),
            last_modification: of(changed),
        }
    }

    /// Changes what a path leads to.
    pub(super) fn apply(&self, path: &Path) -> Result<(), Fault> {
        if let Some(size) = self.size {
            // A FIFO must not hold us up.
            let flags = rustix::fs::OFlags::NONBLOCK.bits();
            let flags = i32::try_from(flags).unwrap_or(0);
            let file = OpenOptions::new()
                .write(true)
                .custom_flags(flags)
                .open(path)?;
            file.set_len(size)?;
        }
        if let Some((uid, gid)) = self.owner {
            let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
            rustix::fs::chown(path, Some(uid), Some(gid))?;
        }
        if let Some(mode) = self.mode {
            std::fs::set_permissions(path, Permissions::from_mode(mode))?;
        }
        if let Some(times) = self.times {
            let stamps = Self::stamps(times);
            rustix::fs::utimensat(rustix::fs::CWD, path, &stamps, AtFlags::empty())?;
        }
        Ok(())
    }

    /// Changes an open file.
    pub(super) fn apply_to(&self, file: &File) -> Result<(), Fault> {
        if let Some(size) = self.size {
            file.set_len(size)?;
        }
        if let Some((uid, gid)) = self.owner {
            let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
            rustix::fs::fchown(file, Some(uid), Some(gid))?;
        }
        if let Some(mode) = self.mode {
            file.set_permissions(Permissions::from_mode(mode))?;
        }
        if let Some(times) = self.times {
            rustix::fs::futimens(file.as_fd(), &Self::stamps(times))?;
        }
        Ok(())
    }
}

/// Writes what is known of a file.
pub(super) fn write(meta: &Metadata, to: &mut Writer) {
    let seconds = |time: i64| u32::try_from(time.max(0)).unwrap_or(u32::MAX);
    to.number(SIZE | OWNER | MODE | TIMES);
    to.long(meta.len());
    to.number(meta.uid());
    to.number(meta.gid());
    to.number(meta.mode());
    to.number(seconds(meta.atime()));
    to.number(seconds(meta.mtime()));
}
