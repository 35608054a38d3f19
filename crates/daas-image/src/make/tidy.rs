use crate::ImageError;
use crate::store::remove_any;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Puts the cached packages where apt looks for them.
pub(super) fn give_cache(cache: &Path, root: &Path, archives: &str) -> Result<(), ImageError> {
    make_dirs(root, archives)?;
    let archives = root.join(archives);
    if !cache.exists() {
        std::fs::create_dir_all(cache).map_err(ImageError::io("make the folder", cache))?;
        std::fs::set_permissions(cache, PermissionsExt::from_mode(0o755))
            .map_err(ImageError::io("change the mode of", cache))?;
    }
    for (name, path) in packages(cache)? {
        // On another file system a copy is as good; apt checks the content of both against its signed index.
        let to = archives.join(name);
        if std::fs::hard_link(&path, &to).is_err() {
            std::fs::copy(&path, &to).map_err(ImageError::io("copy", &path))?;
        }
    }
    Ok(())
}

/// Makes the folders `path` below `root` with mode 0755, whatever the umask is.
pub(super) fn make_dirs(root: &Path, path: &str) -> Result<(), ImageError> {
    let mut dir = root.to_owned();
    for part in path.split('/') {
        dir.push(part);
        std::fs::create_dir(&dir).map_err(ImageError::io("make the folder", &dir))?;
        std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o755))
            .map_err(ImageError::io("change the mode of", &dir))?;
    }
    Ok(())
}

/// Takes the packages that were downloaded into the cache.
pub(super) fn take_cache(archives: &Path, cache: &Path) -> Result<(), ImageError> {
    for (name, path) in packages(archives)? {
        let to = cache.join(&name);
        if to.exists() {
            continue;
        }
        // By a rename, so that a package is whole or not there.
        let part = cache.join(format!(".{}.part", name.display()));
        remove_any(&part)?;
        if std::fs::hard_link(&path, &part).is_err() {
            std::fs::copy(&path, &part).map_err(ImageError::io("copy", &path))?;
        }
        std::fs::rename(&part, &to).map_err(ImageError::io("move into place", &to))?;
    }
    Ok(())
}

fn packages(dir: &Path) -> Result<Vec<(std::ffi::OsString, PathBuf)>, ImageError> {
    let mut found = Vec::new();
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(found),
        Err(e) => return Err(ImageError::io("list", dir)(e)),
    };
    for entry in entries {
        let entry = entry.map_err(ImageError::io("list", dir))?;
        let path = entry.path();
        if path.extension() == Some(OsStr::new("deb"))
            && entry.file_type().is_ok_and(|t| t.is_file())
        {
            found.push((entry.file_name(), path));
        }
    }
    Ok(found)
}

/// Takes out what belongs to the machine, to the moment, or to nobody.
pub(super) fn tidy(root: &Path, keep_docs: bool) -> Result<(), ImageError> {
    // The engine makes its own /dev, /etc/hosts and the like; apt's options were for this run only.
    const GONE: [&str; 11] = [
        "etc/resolv.conf",
        "etc/hostname",
        "etc/hosts",
        "etc/apt/apt.conf.d/99mmdebstrap",
        "etc/.pwd.lock",
        "var/lib/dpkg/lock",
        "var/lib/dpkg/lock-frontend",
        "var/cache/ldconfig/aux-cache",
        "var/lib/systemd/catalog/database",
        "var/lib/dbus/machine-id",
        "var/log/bootstrap.log",
    ];
    const EMPTIED: [&str; 7] = [
        "dev",
        "run",
        "tmp",
        "var/tmp",
        "var/cache/apt",
        "var/cache/fontconfig",
        "var/lib/apt/lists",
    ];
    // Copies that package tools keep of what they changed; their times and content tell the order of the run.
    const OLD: [&str; 9] = [
        "etc/passwd-",
        "etc/group-",
        "etc/shadow-",
        "etc/gshadow-",
        "etc/subuid-",
        "etc/subgid-",
        "var/lib/dpkg/status-old",
        "var/lib/dpkg/diversions-old",
        "var/lib/dpkg/available-old",
    ];
    for name in GONE.iter().chain(&OLD) {
        remove_any(&root.join(name))?;
    }
    for name in EMPTIED {
        empty(&root.join(name))?;
    }
    for name in ["var/cache/debconf"] {
        for path in children(&root.join(name))? {
            if path.to_string_lossy().ends_with("-old") {
                remove_any(&path)?;
            }
        }
    }
    blank_logs(&root.join("var/log"))?;
    let id = root.join("etc/machine-id");
    if std::fs::symlink_metadata(&id).is_ok() {
        // Empty, not absent: machine-id(5), "Initialization".
        remove_any(&id)?;
        std::fs::write(&id, "").map_err(ImageError::io("write", &id))?;
        std::fs::set_permissions(&id, PermissionsExt::from_mode(0o444))
            .map_err(ImageError::io("change the mode of", &id))?;
    }
    if !keep_docs {
        drop_docs(&root.join("usr/share"))?;
    }
    Ok(())
}

/// Manual pages and documentation; the folders stay, since packages that are added later link into them.
fn drop_docs(share: &Path) -> Result<(), ImageError> {
    for section in children(&share.join("man"))? {
        empty(&section)?;
    }
    empty(&share.join("info"))?;
    for package in children(&share.join("doc"))? {
        if std::fs::symlink_metadata(&package).is_ok_and(|m| m.is_dir()) {
            for path in children(&package)? {
                // Licences ask that they travel with the work.
                if path.file_name() != Some(OsStr::new("copyright")) {
                    remove_any(&path)?;
                }
            }
        }
    }
    for name in ["lintian", "linda", "doc-base"] {
        remove_any(&share.join(name))?;
    }
    Ok(())
}

/// Logs keep their owners and modes, and lose their content.
fn blank_logs(dir: &Path) -> Result<(), ImageError> {
    for path in children(dir)? {
        let meta = std::fs::symlink_metadata(&path).map_err(ImageError::io("look at", &path))?;
        if meta.is_dir() {
            blank_logs(&path)?;
        } else if meta.is_file() && meta.len() > 0 {
            std::fs::OpenOptions::new()
                .write(true)
                .truncate(true)
                .open(&path)
                .map_err(ImageError::io("empty", &path))?;
        }
    }
    Ok(())
}

fn empty(dir: &Path) -> Result<(), ImageError> {
    // A link would lead out of the tree.
    if std::fs::symlink_metadata(dir).is_ok_and(|m| m.is_dir()) {
        children(dir)?.iter().try_for_each(|p| remove_any(p))?;
    }
    Ok(())
}

fn children(dir: &Path) -> Result<Vec<PathBuf>, ImageError> {
    if !std::fs::symlink_metadata(dir).is_ok_and(|m| m.is_dir()) {
        return Ok(Vec::new());
    }
    let entries = std::fs::read_dir(dir).map_err(ImageError::io("list", dir))?;
    entries
        .map(|e| e.map(|e| e.path()).map_err(ImageError::io("list", dir)))
        .collect()
}
