//! Places for mounts that an image does not have: a layer of their own, so that no step's layer holds them.
//!
//! `BuildKit` once removed such places after the command, by path, and deleted files of the host (CVE-2024-23652). Here nothing is
//! removed: the layer that is taken is the one above this one.

use crate::paths::{Growing, Made, Parts, There, joined};
use daas_image::Merged;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

/// What every node gets mounted, and whether it is a folder.
const ALWAYS: [(&str, bool); 6] = [
    ("/dev", true),
    ("/proc", true),
    ("/sys", true),
    ("/etc/hosts", false),
    ("/etc/hostname", false),
    ("/etc/resolv.conf", false),
];

/// A folder that is removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// Makes the folder, which must not exist.
    pub(crate) fn make(path: PathBuf) -> io::Result<Self> {
        fs::DirBuilder::new().mode(0o755).create(&path)?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            // The next start of the daemon sweeps it.
            tracing::warn!(path = %self.0.display(), cause = %error, "cannot remove a folder of a build");
        }
    }
}

/// Makes a layer at `place` with what of `targets` (path, whether a folder) is missing in `below`. Folders on the way look as they do there.
pub(crate) fn layer(
    place: PathBuf,
    below: &Merged,
    targets: &[(String, bool)],
) -> io::Result<Scratch> {
    let scratch = Scratch::make(place)?;
    let mut growing = Growing::new(below);
    if let Some(There::Old(root)) = growing.look(&[])? {
        look_like(scratch.path(), root.stat())?;
    }
    let always = ALWAYS
        .iter()
        .map(|(path, folder)| ((*path).to_owned(), *folder));
    for (target, folder) in always.chain(targets.iter().cloned()) {
        let (at, there) = growing.land(target.as_bytes())?;
        if there.is_some() || at.is_empty() {
            continue;
        }
        for end in 1..=at.len() {
            let last = end == at.len();
            make(&scratch, &mut growing, &at[..end], !last || folder)?;
        }
    }
    // Times last: making something changes them.
    restore(scratch.path(), below, &Parts::new())?;
    Ok(scratch)
}

fn make(
    scratch: &Scratch,
    growing: &mut Growing<'_>,
    at: &[Vec<u8>],
    folder: bool,
) -> io::Result<()> {
    if growing.has(at) {
        return Ok(());
    }
    let path = scratch.path().join(OsStr::from_bytes(&joined(at)));
    match growing.look(at)? {
        Some(There::Old(found)) => {
            fs::DirBuilder::new().mode(0o700).create(&path)?;
            look_like(&path, found.stat())?;
        }
        _ if folder => {
            fs::DirBuilder::new().mode(0o755).create(&path)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        }
        _ => {
            fs::write(&path, "")?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
        }
    }
    growing.note(at.to_vec(), if folder { Made::Folder } else { Made::Other });
    Ok(())
}

fn look_like(path: &Path, stat: &rustix::fs::Stat) -> io::Result<()> {
    chown(path, Some(stat.st_uid), Some(stat.st_gid))?;
    fs::set_permissions(path, fs::Permissions::from_mode(stat.st_mode & 0o7777))
}

/// Gives folders that exist below the times that they have there.
fn restore(root: &Path, below: &Merged, at: &Parts) -> io::Result<()> {
    let path = root.join(OsStr::from_bytes(&joined(at)));
    for entry in fs::read_dir(&path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            let mut inner = at.clone();
            inner.push(entry.file_name().as_bytes().to_vec());
            restore(root, below, &inner)?;
        }
    }
    let slices: Vec<&[u8]> = at.iter().map(Vec::as_slice).collect();
    if let Some(found) = below.find(&slices)? {
        let time = rustix::fs::Timespec {
            tv_sec: found.stat().st_mtime,
            tv_nsec: i64::try_from(found.stat().st_mtime_nsec).unwrap_or(0),
        };
        let times = rustix::fs::Timestamps {
            last_access: time,
            last_modification: time,
        };
        rustix::fs::utimensat(
            rustix::fs::CWD,
            &path,
            &times,
            rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
        )?;
    }
    Ok(())
}
