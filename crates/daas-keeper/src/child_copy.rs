//! The helper that streams files of a node: with the node's root as its own, in the stand's user namespace, running no file of the image.
//!
//! Because its root is the node's, no path and no link can lead it anywhere else (security row S4).

use crate::birth::{ChildFailure, CopyBirth, CopyWay, Report};
use crate::channel::Channel;
use crate::child::{At, Step, become_person, fd, follow_keeper, give_up, refuse};
use crate::child_node::enter_stopped;
use crate::sftp;
use crate::spawner::Filters;
use daas_sys::{caps, netns, process};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

pub(crate) fn live(copy: &CopyBirth, fds: &[OwnedFd], filters: &Filters) -> i32 {
    let Some(status) = fds.get(copy.status).and_then(|fd| fd.try_clone().ok()) else {
        return 126;
    };
    let status = Channel::new(status);
    match run(copy, fds, filters, &status) {
        Ok(bytes) => {
            let _ = status.send_parcel(&Report::Copied(bytes), &[]);
            0
        }
        Err(failure) => give_up(&status, failure),
    }
}

fn run(copy: &CopyBirth, fds: &[OwnedFd], filters: &Filters, status: &Channel) -> Step<u64> {
    let stream = fd(fds, copy.stream)?
        .try_clone_to_owned()
        .at(|| "take the stream")?;
    match (&copy.pidfd, &copy.root) {
        (Some(pidfd), _) => {
            netns::enter_mounts_of(fd(fds, *pidfd)?).at(|| "enter the node's files")?;
            process::become_user(0, 0, &[]).at(|| "become root of the stand")?;
        }
        (None, Some((root, plans))) => {
            process::become_user(0, 0, &[]).at(|| "become root of the stand")?;
            enter_stopped(fd(fds, *root)?, plans, fds)?;
        }
        (None, None) => return refuse("find the node's files", "this is a mistake of the keeper"),
    }
    follow_keeper(status)?;
    if let CopyWay::Files(person) = &copy.way {
        rustix::process::umask(Mode::from_raw_mode(0o022));
        // A folder that the image names and does not have is no reason to show no files.
        let begin = Path::new(&copy.path);
        become_person(person, filters, status)?;
        let begin = if begin.is_dir() {
            begin
        } else {
            Path::new("/")
        };
        rustix::process::chdir(begin).at(|| "enter the node's folder")?;
        let input = stream.try_clone().at(|| "take the stream")?;
        return sftp::serve(File::from(input), File::from(stream)).at(|| "serve files");
    }
    let keep = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID"]
        .iter()
        .filter_map(|name| caps::bit(name))
        .fold(0, |all, bit| all | bit);
    caps::bound(keep).at(|| "bound capabilities")?;
    caps::set(keep).at(|| "set capabilities")?;
    process::no_new_privileges().at(|| "set no_new_privs")?;
    rustix::process::umask(Mode::empty());
    let path = Path::new(&copy.path);
    if !path.is_absolute() {
        return refuse(
            format!("copy `{}`", copy.path),
            "a path inside a node is absolute",
        );
    }
    match &copy.way {
        CopyWay::Out { follow } => {
            copy_out(path, *follow, File::from(stream)).at(|| format!("copy {} out", copy.path))
        }
        CopyWay::In { owner } => {
            let copied = copy_in(path, *owner, File::from(stream));
            let mut step = copied.at(|| format!("copy into {}", copy.path));
            if let Err(failure) = &mut step {
                failure.hint = advice(failure);
            }
            step
        }
        CopyWay::Files(_) => refuse("serve files", "this is a mistake of the keeper"),
    }
}

/// What to do about an archive that did not go in.
fn advice(failure: &ChildFailure) -> Option<String> {
    if failure.errno == Errno::NOENT.raw_os_error() {
        return Some("make the folder first: only its last name may be new".to_owned());
    }
    let is_damaged = failure.cause.as_ref()?.starts_with(DAMAGED);
    is_damaged.then(|| "send a whole tar archive that is not compressed, as of `tar -c`".to_owned())
}

/// How the cause begins where what came is no archive.
const DAMAGED: &str = "the archive cannot be read";

/// Tells that what came is no archive; what the kernel says stays as it is.
fn damaged(error: io::Error) -> io::Error {
    if error.raw_os_error().is_some() {
        return error;
    }
    io::Error::other(format!("{DAMAGED}: {error}"))
}

/// Counts what goes by.
struct Counted<S> {
    inner: S,
    bytes: u64,
}

impl<S: Write> Write for Counted<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<S: Read> Read for Counted<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buffer)?;
        self.bytes += got as u64;
        Ok(got)
    }
}

fn copy_out(path: &Path, follow: bool, stream: File) -> io::Result<u64> {
    let start = if follow {
        fs::canonicalize(path)?
    } else {
        path.to_path_buf()
    };
    fs::symlink_metadata(&start)?;
    // The archive's names begin with the last name of the asked path, as `docker cp` has it; of `/` with `.`.
    let name = path
        .file_name()
        .map_or_else(|| PathBuf::from("."), PathBuf::from);
    let mut tar = tar::Builder::new(Counted {
        inner: io::BufWriter::with_capacity(1 << 16, stream),
        bytes: 0,
    });
    tar.follow_symlinks(false);
    let mut pending = vec![(start, name)];
    while let Some((file, name)) = pending.pop() {
        let Ok(meta) = fs::symlink_metadata(&file) else {
            continue;
        };
        let mut header = tar::Header::new_gnu();
        header.set_metadata_in_mode(&meta, tar::HeaderMode::Complete);
        let kind = meta.file_type();
        if kind.is_dir() {
            header.set_size(0);
            tar.append_data(&mut header, &name, io::empty())?;
            let Ok(entries) = fs::read_dir(&file) else {
                continue;
            };
            for entry in entries.flatten() {
                pending.push((entry.path(), name.join(entry.file_name())));
            }
        } else if kind.is_symlink() {
            header.set_size(0);
            tar.append_link(&mut header, &name, fs::read_link(&file)?)?;
        } else if kind.is_file() {
            let open = rustix::fs::open(
                &file,
                OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC,
                Mode::empty(),
            );
            // Gone since it was listed.
            let Ok(open) = open else { continue };
            let open = File::from(open);
            let size = open.metadata()?.size();
            header.set_size(size);
            // A file that grows or shrinks while it is read must not break the archive.
            tar.append_data(
                &mut header,
                &name,
                open.take(size).chain(io::repeat(0)).take(size),
            )?;
        } else if std::os::unix::fs::FileTypeExt::is_fifo(&kind) {
            header.set_entry_type(tar::EntryType::Fifo);
            header.set_size(0);
            tar.append_data(&mut header, &name, io::empty())?;
        }
    }
    let mut counted = tar.into_inner()?;
    counted.flush()?;
    Ok(counted.bytes)
}

fn copy_in(path: &Path, owner: Option<(u32, u32)>, stream: File) -> io::Result<u64> {
    let folder = fs::canonicalize(path)?;
    if !fs::metadata(&folder)?.is_dir() {
        return Err(io::Error::from_raw_os_error(Errno::NOTDIR.raw_os_error()));
    }
    let mut tar = tar::Archive::new(Counted {
        inner: io::BufReader::with_capacity(1 << 16, stream),
        bytes: 0,
    });
    let mut folders = Vec::new();
    for entry in tar.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let inside = plain(&entry.path().map_err(damaged)?)?;
        if inside.as_os_str().is_empty() {
            continue;
        }
        let mode = entry.header().mode().map_err(damaged)? & 0o7777;
        let number =
            |n: io::Result<u64>| n.and_then(|n| u32::try_from(n).map_err(io::Error::other));
        let (uid, gid) = match owner {
            Some(owner) => owner,
            None => (
                number(entry.header().uid()).map_err(damaged)?,
                number(entry.header().gid()).map_err(damaged)?,
            ),
        };
        let target = folder.join(&inside);
        if !unpack(&mut entry, &folder, &target, mode)? {
            continue;
        }
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        rustix::fs::chownat(
            rustix::fs::CWD,
            &target,
            uid,
            gid,
            AtFlags::SYMLINK_NOFOLLOW,
        )?;
        match entry.header().entry_type() {
            tar::EntryType::Symlink => {}
            tar::EntryType::Directory => folders.push((target, mode)),
            _ => fs::set_permissions(&target, fs::Permissions::from_mode(mode))?,
        }
    }
    // At the end, so that a folder without write permission could be filled.
    for (folder, mode) in folders.into_iter().rev() {
        fs::set_permissions(folder, fs::Permissions::from_mode(mode))?;
    }
    let mut counted = tar.into_inner();
    io::copy(&mut counted, &mut io::sink())?;
    Ok(counted.bytes)
}

/// The name without a leading slash and `.`.
fn plain(name: &Path) -> io::Result<PathBuf> {
    if name.components().any(|c| matches!(c, Component::ParentDir)) {
        return Err(io::Error::other("the archive holds a name with `..`"));
    }
    Ok(name
        .components()
        .filter(|c| matches!(c, Component::Normal(_)))
        .collect())
}

/// Makes one entry; returns whether its owner and mode are still to be set.
fn unpack<R: Read>(
    entry: &mut tar::Entry<'_, R>,
    folder: &Path,
    target: &Path,
    mode: u32,
) -> io::Result<bool> {
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)?;
    }
    let is_folder = entry.header().entry_type().is_dir();
    if let Ok(there) = fs::symlink_metadata(target) {
        if is_folder && there.is_dir() {
            return Ok(true);
        }
        if there.is_dir() {
            return Err(io::Error::other(format!(
                "{} is a folder and the archive has a file there",
                target.display()
            )));
        }
        fs::remove_file(target)?;
    }
    let link = |entry: &tar::Entry<'_, R>| -> io::Result<PathBuf> {
        Ok(entry
            .link_name()?
            .ok_or_else(|| io::Error::other("the archive holds a link to nothing"))?
            .into_owned())
    };
    match entry.header().entry_type() {
        tar::EntryType::Directory => fs::create_dir(target)?,
        tar::EntryType::Regular | tar::EntryType::Continuous | tar::EntryType::GNUSparse => {
            let flags =
                OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut file = File::from(rustix::fs::open(target, flags, Mode::RUSR | Mode::WUSR)?);
            let whole = entry.size();
            if io::copy(entry, &mut file)? < whole {
                return Err(damaged(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        tar::EntryType::Symlink => std::os::unix::fs::symlink(link(entry)?, target)?,
        tar::EntryType::Link => {
            fs::hard_link(folder.join(plain(&link(entry)?)?), target)?;
            return Ok(false);
        }
        tar::EntryType::Fifo => rustix::fs::mknodat(
            rustix::fs::CWD,
            target,
            FileType::Fifo,
            Mode::from_raw_mode(mode),
            0,
        )?,
        // Devices cannot be made by a stand; what else there is carries no file.
        _ => return Ok(false),
    }
    Ok(true)
}
