use crate::ImageError;
use rustix::fs::{self, Mode, OFlags, ResolveFlags, Timespec, Timestamps};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Copies the file or folder `from` of this machine to `to` in the image's tree: root's, modes kept, times set to `epoch`.
///
/// As `cp -r` does: into `to` if that is a folder or ends in a slash, as `to` otherwise. Links of the image's tree are followed
/// inside it only; links of the source stay links.
pub(super) fn copy_in(root: &Path, from: &Path, to: &str, epoch: u64) -> Result<(), ImageError> {
    let bad = |why: &str| ImageError::BadMake {
        why: format!(
            "cannot copy `{}` to `{}`: {why}",
            from.display(),
            to.escape_debug()
        ),
    };
    if !to.starts_with('/') || to.split('/').any(|p| p == "..") || to.contains('\0') {
        return Err(bad("the place must be an absolute path without `..`"));
    }
    let meta = std::fs::metadata(from).map_err(ImageError::io("open", from))?;
    let root = crate::confined::open_root(root).map_err(ImageError::io("open", root))?;
    let parts: Vec<&str> = to.split('/').filter(|p| !matches!(*p, "" | ".")).collect();
    let is_folder = |parts: &[&str]| inside(&root, &parts.join("/")).is_ok();
    let into = !meta.is_dir() && (to.ends_with('/') || is_folder(&parts));
    let (dirs, name): (&[&str], OsString) = if into {
        (
            &parts,
            from.file_name()
                .ok_or_else(|| bad("the source has no name"))?
                .to_owned(),
        )
    } else {
        let (last, dirs) = parts
            .split_last()
            .ok_or_else(|| bad("the root itself cannot be replaced"))?;
        (dirs, OsString::from(last))
    };
    let mut parent = inside(&root, ".").map_err(ImageError::errno("open", to))?;
    for end in 1..=dirs.len() {
        let path = dirs[..end].join("/");
        parent = match inside(&root, &path) {
            Err(Errno::NOENT) => {
                fs::mkdirat(&parent, dirs[end - 1], Mode::from_raw_mode(0o755))
                    .map_err(ImageError::errno("make the folder", &path))?;
                let made = inside(&root, &path).map_err(ImageError::errno("open", &path))?;
                finish(&made, 0o755, epoch)
                    .map_err(ImageError::errno("set the attributes of", &path))?;
                made
            }
            opened => opened.map_err(ImageError::errno("open", &path))?,
        };
    }
    place(&parent, &name, from, &meta, epoch)
}

/// Opens a folder of the tree as a process would whose root it is.
fn inside(root: &OwnedFd, path: &str) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { "." } else { path };
    fs::openat2(
        root,
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    )
}

fn place(
    parent: &OwnedFd,
    name: &OsStr,
    from: &Path,
    meta: &std::fs::Metadata,
    epoch: u64,
) -> Result<(), ImageError> {
    use std::os::unix::fs::MetadataExt;
    let mode = meta.mode() & 0o777;
    if meta.is_dir() {
        match fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(ImageError::errno("make the folder", name)(e)),
        }
        let dir = crate::confined::open_dir(crate::confined::of(parent), name.as_bytes())
            .map_err(ImageError::errno("open", name))?;
        for entry in std::fs::read_dir(from).map_err(ImageError::io("list", from))? {
            let entry = entry.map_err(ImageError::io("list", from))?;
            let path = entry.path();
            let meta =
                std::fs::symlink_metadata(&path).map_err(ImageError::io("look at", &path))?;
            place(&dir, &entry.file_name(), &path, &meta, epoch)?;
        }
        return finish(&dir, mode, epoch).map_err(ImageError::errno("set the attributes of", name));
    }
    crate::confined::remove(crate::confined::of(parent), name.as_bytes())
        .map_err(ImageError::io("replace", name))?;
    if meta.is_symlink() {
        let target = std::fs::read_link(from).map_err(ImageError::io("read", from))?;
        return fs::symlinkat(target.as_os_str(), parent, name)
            .map_err(ImageError::errno("make the link", name));
    }
    if !meta.is_file() {
        return Err(ImageError::BadMake {
            why: format!("`{}` is neither a file nor a folder", from.display()),
        });
    }
    let mut source = File::open(from).map_err(ImageError::io("open", from))?;
    let fd = crate::confined::create_file(crate::confined::of(parent), name.as_bytes())
        .map_err(ImageError::errno("make", name))?;
    let mut target = File::from(fd);
    std::io::copy(&mut source, &mut target).map_err(ImageError::io("copy", from))?;
    finish(&OwnedFd::from(target), mode, epoch)
        .map_err(ImageError::errno("set the attributes of", name))
}

fn finish(fd: &OwnedFd, mode: u32, epoch: u64) -> Result<(), Errno> {
    fs::fchmod(fd, Mode::from_raw_mode(mode))?;
    let time = Timespec {
        tv_sec: i64::try_from(epoch).unwrap_or(i64::MAX),
        tv_nsec: 0,
    };
    fs::futimens(
        fd,
        &Timestamps {
            last_access: time,
            last_modification: time,
        },
    )
}
