//! The disk of a stand: a sparse ext4 image that caps bytes and inodes.
//!
//! Copied extent by extent from a template that is formatted once, attached by a loop device that frees itself, mounted only inside the
//! keeper's mount namespace. Going down is one unlink, whatever the nodes wrote (docs/decisions/0001).

use crate::launch::DiskSeed;
use daas_model::{ByteSize, Explain, Kind};
use daas_sys::loopdev::{self, LoopDevice};
use daas_sys::mounts::{self, MountFlags};
use daas_sys::{Attempt, Fault};
use rustix::fs::SeekFrom;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The smallest disk: below this ext4 has hardly room for its own tables.
pub const SMALLEST: ByteSize = daas_model::Limits::LEAST_DISK;

/// How many bytes of disk there are for one inode.
const BYTES_PER_INODE: u64 = 16 << 10;

/// Why a disk could not be made.
#[derive(Debug)]
pub enum DiskError {
    /// The size is below [`SMALLEST`].
    TooSmall(ByteSize),
    /// `mkfs.ext4` failed with this on its standard error.
    Format {
        /// The image.
        path: PathBuf,
        /// What it wrote.
        said: String,
    },
    /// `e2fsck` or `resize2fs` failed with this.
    Grow {
        /// The image.
        path: PathBuf,
        /// What it said.
        said: String,
    },
    /// The kernel refused.
    Kernel(Fault),
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooSmall(size) => write!(
                f,
                "cannot make a disk of {size}: the smallest is {SMALLEST}"
            ),
            Self::Format { path, said } => write!(
                f,
                "cannot format the disk {}: mkfs.ext4 says: {}",
                path.display(),
                said.trim()
            ),
            Self::Grow { path, said } => {
                write!(
                    f,
                    "cannot grow the disk {}: {}",
                    path.display(),
                    said.trim()
                )
            }
            Self::Kernel(fault) => fault.fmt(f),
        }
    }
}

impl std::error::Error for DiskError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::TooSmall(_) | Self::Format { .. } | Self::Grow { .. } => None,
            Self::Kernel(fault) => Some(&fault.source),
        }
    }
}

impl Explain for DiskError {
    fn code(&self) -> &'static str {
        match self {
            Self::TooSmall(_) => "disk-too-small",
            Self::Format { .. } => "disk-format",
            Self::Grow { .. } => "disk-grow",
            Self::Kernel(_) => "disk-refused",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::TooSmall(_) => Kind::Input,
            Self::Format { .. } | Self::Grow { .. } | Self::Kernel(_) => Kind::Outside,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::TooSmall(_) => Some("raise `limits.disk`".to_owned()),
            Self::Format { .. } => Some("install e2fsprogs".to_owned()),
            Self::Grow { .. } => None,
            Self::Kernel(fault) => fault.hint(),
        }
    }
}

impl From<Fault> for DiskError {
    fn from(fault: Fault) -> Self {
        Self::Kernel(fault)
    }
}

/// Makes the template for disks of `size` in `dir`, if it is not there, and returns its path. Blocking: about 10 ms the first time.
///
/// # Errors
/// [`DiskError`].
pub fn ensure_template(dir: &Path, size: ByteSize, durable: bool) -> Result<PathBuf, DiskError> {
    let kind = if durable { "durable" } else { "throw-away" };
    let path = dir.join(format!("disk-{kind}-{}.img", size.0));
    if path.exists() {
        return Ok(path);
    }
    fs::create_dir_all(dir).attempt(|| format!("make {}", dir.display()))?;
    // Formatted beside and renamed, so that a half formatted one is never taken for a template.
    // Two threads may want the same one at once: each formats its own, and the later rename changes nothing.
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let draft = dir.join(format!(
        "disk-{kind}-{}.{}-{number}",
        size.0,
        std::process::id()
    ));
    let made = format(&draft, size, durable).and_then(|()| {
        Ok(fs::rename(&draft, &path).attempt(|| format!("name {}", path.display()))?)
    });
    if made.is_err() {
        let _ = fs::remove_file(&draft);
    }
    made.map(|()| path)
}

fn format(path: &Path, size: ByteSize, durable: bool) -> Result<(), DiskError> {
    if size < SMALLEST {
        return Err(DiskError::TooSmall(size));
    }
    let file = private(path).attempt(|| format!("make {}", path.display()))?;
    file.set_len(size.0)
        .attempt(|| format!("size {}", path.display()))?;
    let features = if durable {
        "^resize_inode,sparse_super2"
    } else {
        "^has_journal,^resize_inode,sparse_super2"
    };
    let output = Command::new("mkfs.ext4")
        .args([
            "-q",
            "-F",
            "-O",
            features,
            "-E",
            "lazy_itable_init=1,nodiscard,root_owner=0:0",
            "-m",
            "0",
            "-N",
        ])
        .arg((size.0 / BYTES_PER_INODE).max(1024).to_string())
        .arg(path)
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null())
        .output()
        .attempt(|| "run mkfs.ext4")?;
    if output.status.success() {
        Ok(())
    } else {
        Err(DiskError::Format {
            path: path.to_path_buf(),
            said: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}

/// Makes the file system of an image that nobody has mounted as large as `size`; one that is larger already stays as it is.
///
/// Not while it is mounted: the kernel refuses that for `sparse_super2`, and of a process without CAP_SYS_RESOURCE. A crash in the middle is met again at
/// the next opening, by the mark that lies beside the image meanwhile. Blocking: some 50 ms, and more for large disks with many files.
fn grow(path: &Path, size: ByteSize) -> Result<(), DiskError> {
    let have = fs::metadata(path)
        .attempt(|| format!("look at {}", path.display()))?
        .len();
    let under_way = path.with_extension("growing");
    if have >= size.0 && !under_way.exists() {
        return Ok(());
    }
    private(&under_way).attempt(|| format!("make {}", under_way.display()))?;
    // One that was not closed in peace is mended first; 1 says that something was.
    tool(path, &[0, 1], |image| {
        let mut check = Command::new("e2fsck");
        check.args(["-f", "-p"]).arg(image);
        check
    })?;
    tool(path, &[0], |image| {
        let mut resize = Command::new("resize2fs");
        let kib = have.max(size.0) / 1024;
        resize.arg(image).arg(format!("{kib}K"));
        resize
    })?;
    Ok(fs::remove_file(&under_way).attempt(|| format!("remove {}", under_way.display()))?)
}

/// Runs a tool of e2fsprogs over an image, which ends with one of the `good` codes.
fn tool(
    path: &Path,
    good: &[i32],
    command: impl FnOnce(&Path) -> Command,
) -> Result<(), DiskError> {
    let mut command = command(path);
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null())
        .output()
        .attempt(|| format!("run {name}"))?;
    if output
        .status
        .code()
        .is_some_and(|code| good.contains(&code))
    {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(DiskError::Grow {
        path: path.to_path_buf(),
        said: format!("{name} says: {}", String::from_utf8_lossy(&said).trim()),
    })
}

fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}

/// Copies a sparse file extent by extent.
fn copy_sparse(from: &File, to: &File) -> io::Result<()> {
    // One reference instead of a copy, where the file system can (XFS, btrfs).
    if rustix::fs::ioctl_ficlone(to, from).is_ok() {
        return Ok(());
    }
    let length = from.metadata()?.len();
    to.set_len(length)?;
    let mut buffer = vec![0; 64 << 10];
    let mut at = 0;
    while at < length {
        let data = match rustix::fs::seek(from, SeekFrom::Data(at)) {
            Ok(data) => data,
            Err(rustix::io::Errno::NXIO) => break,
            Err(e) => return Err(e.into()),
        };
        let hole = rustix::fs::seek(from, SeekFrom::Hole(data))?;
        at = data;
        while at < hole {
            let want = usize::try_from(hole - at)
                .unwrap_or(usize::MAX)
                .min(buffer.len());
            let Some(part) = buffer.get_mut(..want) else {
                break;
            };
            let got = from.read_at(part, at)?;
            if got == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
            to.write_all_at(part.get(..got).unwrap_or_default(), at)?;
            at += got as u64;
        }
    }
    Ok(())
}

/// A disk in use, mounted at a folder of the keeper's own.
#[derive(Debug)]
pub(crate) struct Disk {
    device: LoopDevice,
    image: File,
    path: PathBuf,
    folder: PathBuf,
    size: ByteSize,
    durable: bool,
    /// Whether the image was made by us, so that nobody's data is on it yet.
    fresh: bool,
}

impl Disk {
    /// Attaches and mounts the image at `path` to `folder`; makes it from the template if it is not there, and larger if it is smaller than wanted.
    pub(crate) fn open(
        seed: &DiskSeed,
        path: &Path,
        folder: &Path,
        scratch: &Path,
    ) -> Result<Self, DiskError> {
        let mut fresh = false;
        if path.exists() {
            grow(path, seed.size)?;
        }
        let image = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(image) => image,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let template = File::open(&seed.template)
                    .attempt(|| format!("open the disk template {}", seed.template.display()))?;
                let image = private(path).attempt(|| format!("make {}", path.display()))?;
                copy_sparse(&template, &image)
                    .attempt(|| format!("copy the disk template to {}", path.display()))?;
                fresh = true;
                image
            }
            Err(e) => return Err(e).attempt(|| format!("open {}", path.display()))?,
        };
        Self::attach(image, path, folder, scratch, seed.durable, fresh)
    }

    fn attach(
        image: File,
        path: &Path,
        folder: &Path,
        scratch: &Path,
        durable: bool,
        fresh: bool,
    ) -> Result<Self, DiskError> {
        let name = path.to_string_lossy();
        let device = loopdev::attach(image.as_fd(), &name, scratch)
            .attempt(|| format!("attach {} to a loop device", path.display()))?;
        let size = ByteSize(
            image
                .metadata()
                .attempt(|| format!("look at {}", path.display()))?
                .len(),
        );
        let disk = Self {
            device,
            image,
            path: path.to_path_buf(),
            folder: folder.to_path_buf(),
            size,
            durable,
            fresh,
        };
        disk.mount()?;
        Ok(disk)
    }

    fn mount(&self) -> Result<(), DiskError> {
        let source = self.device.path.to_string_lossy();
        // The inode tables are holes of the image, zero already: the kernel's background thread must not write them out.
        let mut options = vec![("source", Some(&*source)), ("noinit_itable", None)];
        if self.durable {
            // A service lives long: what it deletes shall leave the host's disk too.
            options.push(("discard", None));
        } else {
            options.push(("nobarrier", None));
        }
        let flags = MountFlags {
            no_dev: true,
            no_atime: true,
            ..MountFlags::default()
        };
        let what = || {
            format!(
                "mount the disk {} from {}",
                self.path.display(),
                self.device.path.display()
            )
        };
        let mount = mounts::new_detached("ext4", &options, flags).attempt(what)?;
        mounts::attach(
            mount.as_fd(),
            rustix::fs::CWD,
            &self.folder.to_string_lossy(),
        )
        .attempt(what)?;
        Ok(())
    }

    /// Makes the disk as it is wanted, by a new image, while nobody's data is on it; later it stays as it is.
    pub(crate) fn fit(
        self,
        size: ByteSize,
        durable: bool,
        scratch: &Path,
    ) -> Result<Self, DiskError> {
        if self.is(size, durable) {
            return Ok(self);
        }
        if !self.fresh {
            return Ok(self);
        }
        let (path, folder) = (self.path.clone(), self.folder.clone());
        self.abandon();
        let remade = || {
            mounts::detach(&folder).attempt(|| format!("unmount {}", folder.display()))?;
            self.finish(true)?;
            format(&path, size, durable)?;
            let image = OpenOptions::new()
                .read(true)
                .write(true)
                .open(&path)
                .attempt(|| format!("open {}", path.display()))?;
            Self::attach(image, &path, &folder, scratch, durable, true)
        };
        remade()
    }

    /// Tells whether it is as it is wanted.
    pub(crate) fn is(&self, size: ByteSize, durable: bool) -> bool {
        self.size == size && self.durable == durable
    }

    pub(crate) fn size(&self) -> ByteSize {
        self.size
    }

    /// Somebody's data comes now: the image is never replaced any more.
    pub(crate) fn settle(&mut self) {
        self.fresh = false;
    }

    /// Says that the content is to be thrown away: nothing more is written. Without it the unmount would write every dirty page into a file that is deleted next.
    pub(crate) fn abandon(&self) {
        if let Ok(folder) = File::open(&self.folder) {
            let _ = mounts::abandon_ext4(&folder);
        }
    }

    /// Lets the disk go after its mount was taken away; the image is removed or, when it stays, free to be opened by somebody else.
    ///
    /// Returns the removed image: with its last descriptor the kernel gives its blocks back, for which it waits until what it is just writing of them is
    /// written (16 to 29 ms on a busy disk). Nobody else need wait for that.
    pub(crate) fn finish(self, remove: bool) -> Result<Option<File>, DiskError> {
        let Self {
            device,
            image,
            path,
            ..
        } = self;
        if remove {
            match fs::remove_file(&path) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                other => other.attempt(|| format!("remove {}", path.display()))?,
            }
            drop(device);
            return Ok(Some(image));
        }
        drop(image);
        let name = device
            .path
            .file_name()
            .map(|n| n.to_string_lossy().into_owned())
            .unwrap_or_default();
        drop(device);
        // Two mounts of one image would destroy it: wait until the kernel has let go of it.
        let backing = PathBuf::from(format!("/sys/block/{name}/loop/backing_file"));
        let until = Instant::now() + Duration::from_secs(5);
        while fs::read_to_string(&backing)
            .is_ok_and(|file| file.trim_end() == path.to_string_lossy())
        {
            if Instant::now() > until {
                return Err(Fault {
                    attempt: format!("let go of {}", path.display()),
                    source: io::Error::from(io::ErrorKind::ResourceBusy),
                }
                .into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparse_copy_is_equal_and_stays_sparse() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        let from = private(&dir.path().join("from")).unwrap();
        from.set_len(64 << 20).unwrap();
        from.write_all_at(b"first", 0).unwrap();
        from.write_all_at(b"middle", 33 << 20).unwrap();
        from.write_all_at(b"last", (64 << 20) - 4).unwrap();
        let to = private(&dir.path().join("to")).unwrap();
        copy_sparse(&from, &to).unwrap();
        assert_eq!(to.metadata().unwrap().len(), 64 << 20);
        assert!(to.metadata().unwrap().blocks() * 512 < 1 << 20);
        for (at, text) in [(0, "first"), (33 << 20, "middle"), ((64 << 20) - 4, "last")] {
            let mut got = vec![0; text.len()];
            to.read_exact_at(&mut got, at).unwrap();
            assert_eq!(got, text.as_bytes());
        }
    }

    #[test]
    fn a_template_is_made_once_and_a_tiny_disk_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let first = ensure_template(dir.path(), ByteSize::mib(64), false).unwrap();
        let made = fs::metadata(&first).unwrap().modified().unwrap();
        assert_eq!(
            ensure_template(dir.path(), ByteSize::mib(64), false).unwrap(),
            first
        );
        assert_eq!(fs::metadata(&first).unwrap().modified().unwrap(), made);
        assert!(matches!(
            ensure_template(dir.path(), ByteSize::mib(1), false),
            Err(DiskError::TooSmall(_))
        ));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_image_that_is_not_mounted_grows_and_a_half_grown_one_is_finished() {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("disk.img");
        // Blocks of the file system, at byte 4 of the superblock (ext4(5)); they have 1 KiB here.
        let kib = || {
            let mut blocks = [0; 4];
            let file = File::open(&image).unwrap();
            file.read_exact_at(&mut blocks, 1024 + 4).unwrap();
            u32::from_le_bytes(blocks)
        };
        for durable in [true, false] {
            format(&image, ByteSize::mib(64), durable).unwrap();
            grow(&image, ByteSize::mib(64)).unwrap();
            assert_eq!(kib(), 64 << 10);
            grow(&image, ByteSize::mib(100)).unwrap();
            assert_eq!(kib(), 100 << 10);
            grow(&image, ByteSize::mib(70)).unwrap();
            assert_eq!(kib(), 100 << 10);
            // Somebody died between the two: the file is long and its system short.
            private(&image.with_extension("growing")).unwrap();
            let file = OpenOptions::new().write(true).open(&image).unwrap();
            file.set_len(ByteSize::mib(128).0).unwrap();
            grow(&image, ByteSize::mib(64)).unwrap();
            assert_eq!(kib(), 128 << 10);
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        }
    }
}
