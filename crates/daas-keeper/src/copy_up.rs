//! An empty volume gets what the image has at its place, as Docker does it.

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Timestamps, Uid};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// How deep a tree may be; the kernel's own limit of path lengths allows no deeper one to be made in the usual way.
const DEEPEST: u32 = 2048;

/// Copies everything below `from` into `to`, if `to` is empty; owner and mode of the folder itself come along.
///
/// Nothing but names directly in open folders is used, so no link of the image is ever followed.
pub(crate) fn fill(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    let to = open_folder(to, ".")?;
    if !names(&to)?.is_empty() {
        return Ok(());
    }
    let from = open_folder(from, ".")?;
    copy_folder(&from, &to, 0)
}

fn open_folder(at: impl AsFd, name: impl rustix::path::Arg) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(
        at,
        name,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

fn names(folder: &OwnedFd) -> io::Result<Vec<std::ffi::CString>> {
    let mut found = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            found.push(entry.file_name().to_owned());
        }
    }
    Ok(found)
}

fn copy_folder(from: &OwnedFd, to: &OwnedFd, depth: u32) -> io::Result<()> {
    if depth > DEEPEST {
        return Err(io::Error::other("the folder is too deep"));
    }
    for name in names(from)? {
        let stat = rustix::fs::statat(from, &name, AtFlags::SYMLINK_NOFOLLOW)?;
        let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
        let (owner, group) = (
            Some(Uid::from_raw(stat.st_uid)),
            Some(Gid::from_raw(stat.st_gid)),
        );
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                rustix::fs::mkdirat(to, &name, Mode::RWXU)?;
                let (from, to) = (open_folder(from, &name)?, open_folder(to, &name)?);
                copy_folder(&from, &to, depth + 1)?;
            }
            FileType::RegularFile => {
                let source = rustix::fs::openat(
                    from,
                    &name,
                    OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                    Mode::empty(),
                )?;
                let flags = OFlags::WRONLY
                    | OFlags::CREATE
                    | OFlags::EXCL
                    | OFlags::NOFOLLOW
                    | OFlags::CLOEXEC;
                let target = rustix::fs::openat(to, &name, flags, Mode::RUSR | Mode::WUSR)?;
                io::copy(
                    &mut std::fs::File::from(source),
                    &mut std::fs::File::from(target.try_clone()?),
                )?;
                rustix::fs::fchown(&target, owner, group)?;
                rustix::fs::fchmod(&target, mode)?;
                keep_times(&target, &stat)?;
            }
            FileType::Symlink => {
                let link = rustix::fs::readlinkat(from, &name, Vec::new())?;
                rustix::fs::symlinkat(&link, to, &name)?;
                rustix::fs::chownat(to, &name, owner, group, AtFlags::SYMLINK_NOFOLLOW)?;
            }
            FileType::Fifo => {
                rustix::fs::mknodat(to, &name, FileType::Fifo, mode, 0)?;
                rustix::fs::chownat(to, &name, owner, group, AtFlags::SYMLINK_NOFOLLOW)?;
            }
            // Sockets mean nothing without their process; devices cannot be made by a stand.
            _ => {}
        }
    }
    let stat = rustix::fs::fstat(from)?;
    rustix::fs::fchown(
        to,
        Some(Uid::from_raw(stat.st_uid)),
        Some(Gid::from_raw(stat.st_gid)),
    )?;
    rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    keep_times(to, &stat)
}

fn keep_times(to: &OwnedFd, stat: &rustix::fs::Stat) -> io::Result<()> {
    let time = |seconds: i64, nanos: u64| rustix::time::Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanos).unwrap_or(0),
    };
    let times = Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    };
    Ok(rustix::fs::futimens(to, &times)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn an_empty_volume_is_filled_and_links_are_copied_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("a/b")).unwrap();
        fs::write(from.join("a/b/file"), "text").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", from.join("link")).unwrap();
        fs::create_dir(&to).unwrap();
        let (f, t) = (fs::File::open(&from).unwrap(), fs::File::open(&to).unwrap());
        fill(f.as_fd(), t.as_fd()).unwrap();
        assert_eq!(fs::read_to_string(to.join("a/b/file")).unwrap(), "text");
        assert_eq!(
            fs::read_link(to.join("link")).unwrap().to_str(),
            Some("/etc/passwd")
        );
        fs::write(from.join("later"), "x").unwrap();
        fill(f.as_fd(), t.as_fd()).unwrap();
        assert!(
            !to.join("later").exists(),
            "a volume with content stays as it is"
        );
    }
}
