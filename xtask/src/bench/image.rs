//! The one image that all contenders run: busybox and empty folders.

use anyhow::{Context, Result};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// Unpacked below `place`.
pub(super) fn tree(place: &Path) -> Result<PathBuf> {
    let root = place.join("image");
    for folder in ["bin", "dev", "etc", "proc", "sys", "tmp", "root", "var"] {
        fs::create_dir_all(root.join(folder))?;
    }
    let busybox = root.join("bin/busybox");
    fs::copy("/bin/busybox", &busybox)
        .context("cannot copy /bin/busybox; install busybox-static")?;
    fs::set_permissions(&busybox, fs::Permissions::from_mode(0o755))?;
    for name in ["sh", "sleep", "true"] {
        symlink("busybox", root.join("bin").join(name))?;
    }
    Ok(root)
}
