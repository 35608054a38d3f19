use crate::layer_error::{LayerError, shown};
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// No link of any kind is followed, no mount is crossed, nothing above the directory is reached.
const CONFINED: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

/// Opens the directory `name` in `parent` itself: never what a link points to.
pub(crate) fn open_dir(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    fs::openat2(
        parent,
        OsStr::from_bytes(name),
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        CONFINED,
    )
}

/// Opens the regular file `name` in `parent` for reading; a pipe or device is never opened.
pub(crate) fn open_file(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let handle = fs::openat2(
        parent,
        OsStr::from_bytes(name),
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        CONFINED,
    )?;
    if FileType::from_raw_mode(fs::fstat(&handle)?.st_mode) != FileType::RegularFile {
        return Err(Errno::INVAL);
    }
    fs::openat2(
        parent,
        OsStr::from_bytes(name),
        OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC,
        Mode::empty(),
        CONFINED,
    )
}

/// Makes the file `name` in `parent`, which must not exist yet.
pub(crate) fn create_file(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    fs::openat2(
        parent,
        OsStr::from_bytes(name),
        OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC,
        Mode::RUSR | Mode::WUSR,
        CONFINED,
    )
}

/// What is at `name` in `parent`, without following it; nothing if nothing is there.
pub(crate) fn look(parent: BorrowedFd<'_>, name: &[u8]) -> Result<Option<fs::Stat>, Errno> {
    match fs::statat(parent, OsStr::from_bytes(name), AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

/// A path to `name` in `parent` for calls that know no directory descriptor; `name` is one component, so nothing else is walked.
pub(crate) fn path_of(parent: BorrowedFd<'_>, name: &[u8]) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", parent.as_raw_fd())).join(OsStr::from_bytes(name))
}

/// Removes whatever is at `name` in `parent`, with all below it. Nothing there is fine.
pub(crate) fn remove(parent: BorrowedFd<'_>, name: &[u8]) -> std::io::Result<()> {
    match fs::unlinkat(parent, OsStr::from_bytes(name), AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR) => std::fs::remove_dir_all(path_of(parent, name)),
        Err(e) => Err(e.into()),
    }
}

/// The components of a name of an archive.
///
/// Empty components and `.` vanish, so an absolute name is one below the root; `..` is refused, as no honest writer makes it.
pub(crate) fn components(path: &[u8], depth: usize) -> Result<Vec<&[u8]>, LayerError> {
    let mut parts = Vec::new();
    for part in path.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                return Err(LayerError::Escapes {
                    path: shown(path),
                    why: "it has `..` in it",
                });
            }
            part if part.len() > 255 => {
                return Err(LayerError::Impossible {
                    path: shown(path),
                    why: "a part of the name is longer than 255 bytes",
                });
            }
            part if part.contains(&0) => {
                return Err(LayerError::Impossible {
                    path: shown(path),
                    why: "the name has NUL in it",
                });
            }
            part => parts.push(part),
        }
        if parts.len() > depth {
            return Err(LayerError::TooMuch {
                what: "parts in a name",
                limit: depth as u64,
            });
        }
    }
    Ok(parts)
}

/// Reads the target of the symbolic link `name` in `parent`.
pub(crate) fn read_link(parent: BorrowedFd<'_>, name: &[u8]) -> Result<Vec<u8>, Errno> {
    fs::readlinkat(parent, OsStr::from_bytes(name), Vec::new()).map(std::ffi::CString::into_bytes)
}

/// Extended attributes by name.
pub(crate) type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// Lists the extended attributes of what `path` names, not following it.
pub(crate) fn xattrs_of(path: &std::path::Path) -> Result<Xattrs, Errno> {
    let mut names = vec![0u8; 64 << 10];
    let len = match fs::llistxattr(path, &mut names) {
        Ok(len) => len,
        Err(Errno::NOTSUP) => 0,
        Err(e) => return Err(e),
    };
    let mut found = Vec::new();
    let mut value = vec![0u8; 64 << 10];
    for name in names[..len].split(|b| *b == 0).filter(|n| !n.is_empty()) {
        match fs::lgetxattr(path, OsStr::from_bytes(name), &mut value) {
            Ok(n) => found.push((name.to_vec(), value[..n].to_vec())),
            Err(Errno::NODATA) => {}
            Err(e) => return Err(e),
        }
    }
    found.sort();
    Ok(found)
}

/// Whether `stat` is an overlay whiteout: a character device 0/0 (kernel document "overlayfs", "whiteouts and opaque directories").
pub(crate) fn is_whiteout(stat: &fs::Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// The kind of file that `stat` tells.
pub(crate) fn kind_of(stat: &fs::Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Opens a directory by a path of our own making.
pub(crate) fn open_root(path: &std::path::Path) -> std::io::Result<OwnedFd> {
    Ok(fs::open(
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

/// Borrows for a short while; spares callers the trait.
pub(crate) fn of(fd: &OwnedFd) -> BorrowedFd<'_> {
    fd.as_fd()
}
