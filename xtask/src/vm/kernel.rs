//! The kernel and its first file system, made once and kept in the cache.

use super::cpio::Archive;
use crate::workspace;
use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::Command;

const PACKAGE: &str = "linux-image-cloud-amd64";
const MODULES: &str = include_str!("modules.txt");
const INIT: &[u8] = include_bytes!("init.sh");
const BUSYBOX: &str = "/bin/busybox";

/// A kernel that can be booted.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// The compressed kernel.
    pub image: PathBuf,
    /// The archive with busybox, modules and the first process.
    pub initramfs: PathBuf,
    /// What `uname -r` will say.
    pub release: String,
}

impl Kernel {
    /// Returns Debian's cloud kernel out of the cache, or downloads it with `apt-get`.
    ///
    /// The cache is `~/.cache/daas-vm`; two that ask at once get the same.
    ///
    /// # Errors
    /// When apt knows no such package, or the package does not hold what the machine needs.
    pub fn of_debian() -> Result<Self> {
        let cache = workspace::cache("daas-vm");
        fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
        let lock = fs::File::create(cache.join("lock"))?;
        lock.lock().context("cannot lock the cache of kernels")?;
        let folder = cache.join("kernel");
        if !folder.join("boot").exists() {
            download(&cache, &folder)?;
        }
        let image = first_that(&folder.join("boot"), "vmlinuz-")?;
        let release = image
            .file_name()
            .and_then(|name| name.to_str()?.strip_prefix("vmlinuz-").map(str::to_owned))
            .context("the kernel has a strange name")?;
        // Made anew each time (20 ms): it holds init.sh and the list of modules, which change with the source.
        let initramfs = cache.join("initramfs");
        let built = pack(&folder.join("lib/modules").join(&release))?;
        if fs::read(&initramfs).ok().as_deref() != Some(&built) {
            let fresh = cache.join("initramfs.new");
            fs::write(&fresh, &built)?;
            fs::rename(&fresh, &initramfs)?;
        }
        Ok(Self {
            image,
            initramfs,
            release,
        })
    }
}

fn first_that(folder: &Path, begins: &str) -> Result<PathBuf> {
    for entry in
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?
    {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(begins) {
            return Ok(entry.path());
        }
    }
    bail!("{} holds no {begins}*", folder.display())
}

/// Downloads the package that the meta package stands for, without installing it.
fn download(cache: &Path, folder: &Path) -> Result<()> {
    let place = cache.join("download");
    let _ = fs::remove_dir_all(&place);
    fs::create_dir_all(&place)?;
    let real = real_package().or_else(|_| {
        // A fresh machine has no package lists yet.
        said(Command::new("apt-get").args(["update", "--quiet=2"]))?;
        real_package()
    })?;
    said(
        Command::new("apt-get")
            .args(["download", "--quiet=2", &real])
            .current_dir(&place),
    )?;
    let archive = first_that(&place, "linux-image-")?;
    let fresh = cache.join("kernel.new");
    let _ = fs::remove_dir_all(&fresh);
    said(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(&fresh))?;
    fs::rename(&fresh, folder).context("cannot put the kernel in its place")?;
    fs::remove_dir_all(&place)?;
    Ok(())
}

fn real_package() -> Result<String> {
    let text = said(Command::new("apt-cache").args(["depends", PACKAGE]))?;
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| name.starts_with("linux-image-"))
        .map(str::to_owned)
        .with_context(|| format!("apt does not know what {PACKAGE} stands for"))
}

fn said(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!(
            "{command:?} failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn pack(modules: &Path) -> Result<Vec<u8>> {
    let mut found = BTreeMap::new();
    find_modules(modules, &mut found)?;
    let mut order = Vec::new();
    let mut seen = BTreeSet::new();
    for line in MODULES
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        // What a line asks for may be built into another kernel; then it is there already.
        add_with_needs(&plain(line), &found, &mut seen, &mut order)?;
    }
    let mut archive = Archive::new(BufWriter::new(Vec::new()));
    for folder in ["bin", "dev", "modules", "job"] {
        archive.folder(folder)?;
    }
    archive.device("dev/console", 0o600, (5, 1))?;
    archive.file("init", 0o755, INIT)?;
    let busybox = fs::read(BUSYBOX)
        .with_context(|| format!("cannot read {BUSYBOX}; install busybox-static"))?;
    archive.file("bin/busybox", 0o755, &busybox)?;
    let mut names = String::new();
    for path in order {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .context("a module without a name")?;
        archive.file(&format!("modules/{name}"), 0o644, &fs::read(&path)?)?;
        names.push_str(name);
        names.push('\n');
    }
    archive.file("modules/order", 0o644, names.as_bytes())?;
    archive
        .finish()?
        .into_inner()
        .context("cannot write to memory")
}

/// The kernel takes `-` and `_` in module names for the same.
fn plain(name: &str) -> String {
    name.replace('-', "_")
}

fn find_modules(folder: &Path, found: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?
    {
        let path = entry?.path();
        if path.is_dir() && !path.is_symlink() {
            find_modules(&path, found)?;
        } else if let Some(name) = path
            .file_name()
            .and_then(|n| n.to_str()?.strip_suffix(".ko").map(plain))
        {
            found.insert(name, path);
        }
    }
    Ok(())
}

fn add_with_needs(
    name: &str,
    found: &BTreeMap<String, PathBuf>,
    seen: &mut BTreeSet<String>,
    order: &mut Vec<PathBuf>,
) -> Result<()> {
    if !seen.insert(name.to_owned()) {
        return Ok(());
    }
    let Some(path) = found.get(name) else {
        bail!("the kernel has no module {name}");
    };
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    for need in needs(&bytes) {
        add_with_needs(&plain(&need), found, seen, order)?;
    }
    order.push(path.clone());
    Ok(())
}

/// Reads the entries `depends=` and `softdep=pre:` of the section .modinfo, without the walk through the ELF file.
fn needs(module: &[u8]) -> Vec<String> {
    let mut needs = Vec::new();
    for text in module
        .split(|byte| *byte == 0)
        .filter(|text| text.len() < 512)
    {
        if let Some(list) = text.strip_prefix(b"depends=") {
            let list = String::from_utf8_lossy(list);
            needs.extend(
                list.split(',')
                    .filter(|name| !name.is_empty())
                    .map(str::to_owned),
            );
        }
    }
    needs
}

#[cfg(test)]
mod tests {
    use super::needs;

    #[test]
    fn the_needs_of_a_module_are_read_from_its_own_words() {
        assert_eq!(
            needs(b"x\0depends=nf_tables,nfnetlink\0name=nft_ct\0"),
            ["nf_tables", "nfnetlink"]
        );
        assert!(needs(b"depends=\0retpoline=Y\0").is_empty());
    }
}
