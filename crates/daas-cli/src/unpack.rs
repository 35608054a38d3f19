//! A tar archive that nobody vouches for to files of this machine.
//!
//! What a node sends may be made to write elsewhere (`..`, absolute names, links that later names go through). Every
//! folder on the way is opened by its descriptor without following links, so that nothing lands outside.

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RawMode, linkat, mkdirat, openat, statat, symlinkat,
    unlinkat, utimensat,
};
use rustix::fs::{Timespec, Timestamps};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use tar::{Archive, Entry, EntryType};

/// What an unpacking did.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Unpacked {
    /// Files, folders and links that were made.
    pub(crate) made: usize,
    /// Names that were left out: devices, pipes, and names that lead nowhere good.
    pub(crate) left_out: Vec<String>,
}

/// The mode of folders that are on the way to a file.
const FOLDER: RawMode = 0o755;

/// Unpacks `archive` below `folder`; the first part of every name becomes `name`, if one is given.
///
/// Owners are the caller; set-user-id and set-group-id are taken away.
pub(crate) fn unpack(
    archive: impl Read,
    folder: &Path,
    name: Option<&OsStr>,
) -> io::Result<Unpacked> {
    let root = openat(
        CWD,
        folder,
        OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let mut done = Unpacked::default();
    // Modes of folders last: one without write permission must be filled first.
    let mut folders: Vec<(PathBuf, RawMode)> = Vec::new();
    for entry in Archive::new(archive).entries()? {
        let mut entry = entry?;
        let shown = || entry.path_bytes().escape_ascii().to_string();
        let Some(path) = inside(&entry.path_bytes(), name) else {
            done.left_out.push(shown());
            continue;
        };
        if !matches!(
            entry.header().entry_type(),
            EntryType::Regular
                | EntryType::Continuous
                | EntryType::GNUSparse
                | EntryType::Directory
                | EntryType::Symlink
                | EntryType::Link
        ) {
            done.left_out.push(shown());
            continue;
        }
        match make(&root, &path, &mut entry, name, &mut folders) {
            Ok(true) => done.made += 1,
            Ok(false) => done
                .left_out
                .push(entry.path_bytes().escape_ascii().to_string()),
            Err(error) => {
                return Err(io::Error::new(
                    error.kind(),
                    format!("{}: {error}", path.display()),
                ));
            }
        }
    }
    for (path, mode) in folders.iter().rev() {
        if let Ok((parent, last)) = walk(&root, path, false) {
            let opened = openat(
                &parent,
                last,
                OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
            );
            if let Ok(opened) = opened {
                rustix::fs::fchmod(&opened, Mode::from_raw_mode(*mode))?;
            }
        }
    }
    Ok(done)
}

/// Returns the path below the folder, or nothing if the name leads out of it or is none.
fn inside(bytes: &[u8], name: Option<&OsStr>) -> Option<PathBuf> {
    let mut parts: Vec<OsString> = Vec::new();
    if bytes.starts_with(b"/") || bytes.contains(&0) {
        return None;
    }
    for part in bytes.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return None,
            part => parts.push(OsString::from_vec(part.to_vec())),
        }
    }
    if let (Some(first), Some(name)) = (parts.first_mut(), name) {
        name.clone_into(first);
    }
    (!parts.is_empty()).then(|| parts.iter().collect())
}

/// Opens the folder that holds the last part of `path`, making folders on the way if asked; never through a link.
fn walk<'a>(root: &OwnedFd, path: &'a Path, make: bool) -> io::Result<(OwnedFd, &'a OsStr)> {
    let mut at = root.try_clone()?;
    let mut parts = path.iter().peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return Ok((at, part));
        }
        if make {
            match mkdirat(&at, part, Mode::from_raw_mode(FOLDER)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        at = openat(
            &at,
            part,
            OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
    }
    Err(io::ErrorKind::InvalidInput.into())
}

/// Makes one entry; tells whether it was made.
fn make(
    root: &OwnedFd,
    path: &Path,
    entry: &mut Entry<'_, impl Read>,
    name: Option<&OsStr>,
    folders: &mut Vec<(PathBuf, RawMode)>,
) -> io::Result<bool> {
    let (parent, last) = match walk(root, path, true) {
        Ok(found) => found,
        // A link or file where a folder should be: the archive tries to go through it.
        Err(error) if matches!(error.raw_os_error(), Some(code) if code == Errno::LOOP.raw_os_error() || code == Errno::NOTDIR.raw_os_error()) =>
        {
            return Ok(false);
        }
        Err(error) => return Err(error),
    };
    let mode = entry.header().mode().unwrap_or(0o644) & 0o777;
    let kind = entry.header().entry_type();
    if kind == EntryType::Directory {
        match mkdirat(&parent, last, Mode::from_raw_mode(FOLDER | 0o700)) {
            Ok(()) => folders.push((path.to_owned(), mode)),
            Err(Errno::EXIST) => {
                let there = statat(&parent, last, AtFlags::SYMLINK_NOFOLLOW)?;
                return Ok(FileType::from_raw_mode(there.st_mode) == FileType::Directory);
            }
            Err(error) => return Err(error.into()),
        }
        return Ok(true);
    }
    match unlinkat(&parent, last, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        // A folder in the place of a file stays: it may hold what nobody wants to lose.
        Err(Errno::ISDIR) => return Err(io::Error::from(io::ErrorKind::IsADirectory)),
        Err(error) => return Err(error.into()),
    }
    match kind {
        EntryType::Symlink => {
            let Some(target) = entry.link_name_bytes() else {
                return Ok(false);
            };
            symlinkat(OsStr::from_bytes(&target), &parent, last)?;
        }
        EntryType::Link => {
            let Some(target) = entry
                .link_name_bytes()
                .and_then(|target| inside(&target, name))
            else {
                return Ok(false);
            };
            let Ok((folder, file)) = walk(root, &target, false) else {
                return Ok(false);
            };
            match linkat(&folder, file, &parent, last, AtFlags::empty()) {
                Ok(()) => {}
                Err(Errno::NOENT) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        _ => {
            let flags =
                OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut file = File::from(openat(
                &parent,
                last,
                flags,
                Mode::from_raw_mode(mode | 0o600),
            )?);
            io::copy(entry, &mut file)?;
            rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
            let seconds = i64::try_from(entry.header().mtime().unwrap_or(0)).unwrap_or(0);
            let time = Timespec {
                tv_sec: seconds,
                tv_nsec: 0,
            };
            // A time that the file system cannot keep is no reason to fail.
            let _ = utimensat(
                &parent,
                last,
                &Timestamps {
                    last_access: time,
                    last_modification: time,
                },
                AtFlags::SYMLINK_NOFOLLOW,
            );
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, symlink};
    use tar::{Builder, Header};

    /// Makes an archive as no honest program would: names are written as they are.
    fn archive(entries: &[(&str, EntryType, &str)]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        for (name, kind, content) in entries {
            let mut header = Header::new_gnu();
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(*kind);
            header.set_mode(0o4755);
            let is_link = matches!(kind, EntryType::Symlink | EntryType::Link);
            if is_link {
                header.as_old_mut().linkname[..content.len()].copy_from_slice(content.as_bytes());
            }
            let data = if is_link { "" } else { content };
            header.set_size(data.len() as u64);
            header.set_cksum();
            builder.append(&header, data.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn text(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn files_folders_and_links_come_out_without_special_modes() {
        let folder = tempfile::tempdir().unwrap();
        let tar = archive(&[
            ("www", EntryType::Directory, ""),
            ("www/a", EntryType::Regular, "one"),
            ("www/l", EntryType::Symlink, "a"),
            ("www/h", EntryType::Link, "www/a"),
            ("www/deep/er/b", EntryType::Regular, "two"),
        ]);
        let done = unpack(&tar[..], folder.path(), Some(OsStr::new("new"))).unwrap();
        assert_eq!(
            done,
            Unpacked {
                made: 5,
                left_out: Vec::new()
            }
        );
        let at = |name: &str| folder.path().join("new").join(name);
        assert_eq!(
            (text(&at("a")), text(&at("l")), text(&at("deep/er/b"))),
            ("one".into(), "one".into(), "two".into())
        );
        assert_eq!(
            at("a").metadata().unwrap().ino(),
            at("h").metadata().unwrap().ino()
        );
        assert_eq!(at("a").metadata().unwrap().mode() & 0o7777, 0o755);
        assert_eq!(
            unpack(&tar[..], folder.path(), Some(OsStr::new("new")))
                .unwrap()
                .made,
            5,
            "again over what is there"
        );
    }

    #[test]
    fn nothing_lands_outside() {
        let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(outside.path().join("victim"), "whole").unwrap();
        let out = outside.path().to_str().unwrap();
        let absolute = format!("{out}/absolute");
        let hard = format!("{out}/victim");
        let tar = archive(&[
            ("../up", EntryType::Regular, "bad"),
            ("a/../../up", EntryType::Regular, "bad"),
            (&absolute, EntryType::Regular, "bad"),
            ("a", EntryType::Directory, ""),
            ("a/link", EntryType::Symlink, out),
            ("a/link/victim", EntryType::Regular, "bad"),
            ("a/link/new", EntryType::Directory, ""),
            ("a/link", EntryType::Directory, ""),
            ("a/file", EntryType::Symlink, &hard),
            ("a/file", EntryType::Regular, "mine"),
            ("a/hard", EntryType::Link, &hard),
            ("a/hard2", EntryType::Link, "../../etc/passwd"),
            ("a/hard3", EntryType::Link, "a/link/victim"),
            ("a/null", EntryType::Char, ""),
            ("a/pipe", EntryType::Fifo, ""),
        ]);
        let done = unpack(&tar[..], folder.path(), None).unwrap();
        assert_eq!(done.made, 4, "{:?}", done.left_out);
        assert_eq!(done.left_out.len(), 11, "{:?}", done.left_out);
        assert_eq!(text(&outside.path().join("victim")), "whole");
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
        assert_eq!(text(&folder.path().join("a/file")), "mine");
        assert!(!folder.path().parent().unwrap().join("up").exists());
    }

    #[test]
    fn a_link_that_lay_there_before_is_not_followed() {
        let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        symlink(outside.path(), folder.path().join("www")).unwrap();
        let tar = archive(&[("www/a", EntryType::Regular, "one")]);
        assert_eq!(
            unpack(&tar[..], folder.path(), None).unwrap().left_out,
            ["www/a"]
        );
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_is_not_replaced_by_a_file_and_a_broken_archive_is_a_failure() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("a")).unwrap();
        let tar = archive(&[("a", EntryType::Regular, "one")]);
        assert_eq!(
            unpack(&tar[..], folder.path(), None).unwrap_err().kind(),
            io::ErrorKind::IsADirectory
        );
        let tar = archive(&[("b", EntryType::Regular, &"x".repeat(5000))]);
        assert!(unpack(&tar[..2000], folder.path(), None).is_err());
    }
}
