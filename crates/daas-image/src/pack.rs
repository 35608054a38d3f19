use crate::confined::xattrs_of;
use crate::tar::{Entry, EntryKind, Writer};
use rustix::fs::{FileType, Stat};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Writes the tree below `root` as an archive: sorted by name, times cut to `epoch`, so that equal trees give equal bytes.
///
/// The tree must not change meanwhile and must be trusted: its names are walked by path.
pub(crate) fn pack<W: Write>(
    root: &Path,
    output: W,
    epoch: i64,
    each: &mut dyn FnMut(u64) -> io::Result<()>,
) -> io::Result<W> {
    let mut packer = Packer {
        writer: Writer::new(output),
        epoch,
        links: HashMap::new(),
        bytes: 0,
        each,
    };
    packer.walk(root, Vec::new())?;
    packer.writer.finish()
}

struct Packer<'a, W> {
    writer: Writer<W>,
    epoch: i64,
    /// The first name of each file that has several.
    links: HashMap<(u64, u64), Vec<u8>>,
    bytes: u64,
    each: &'a mut dyn FnMut(u64) -> io::Result<()>,
}

impl<W: Write> Packer<'_, W> {
    fn walk(&mut self, path: &Path, name: Vec<u8>) -> io::Result<()> {
        let stat = rustix::fs::lstat(path)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        self.add(path, &name, &stat, kind)?;
        if kind == FileType::Directory {
            let mut names: Vec<Vec<u8>> = std::fs::read_dir(path)?
                .map(|e| e.map(|e| e.file_name().into_vec()))
                .collect::<io::Result<_>>()?;
            names.sort();
            for child in names {
                let below: PathBuf = path.join(OsStr::from_bytes(&child));
                let inner = if name.is_empty() {
                    child
                } else {
                    [name.as_slice(), b"/", &child].concat()
                };
                self.walk(&below, inner)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, path: &Path, name: &[u8], stat: &Stat, kind: FileType) -> io::Result<()> {
        let mut link = Vec::new();
        let mut kind = match kind {
            FileType::RegularFile => EntryKind::File,
            FileType::Directory => EntryKind::Directory,
            FileType::Symlink => EntryKind::Symlink,
            FileType::CharacterDevice => EntryKind::CharDevice,
            FileType::BlockDevice => EntryKind::BlockDevice,
            FileType::Fifo => EntryKind::Fifo,
            // A socket lives only as long as its program.
            FileType::Socket | FileType::Unknown => return Ok(()),
        };
        if kind == EntryKind::Symlink {
            link = std::fs::read_link(path)?.into_os_string().into_vec();
        } else if kind != EntryKind::Directory && stat.st_nlink > 1 {
            match self.links.entry((stat.st_dev, stat.st_ino)) {
                std::collections::hash_map::Entry::Occupied(first) => {
                    kind = EntryKind::HardLink;
                    link.clone_from(first.get());
                }
                std::collections::hash_map::Entry::Vacant(slot) => {
                    slot.insert(name.to_vec());
                }
            }
        }
        let late = stat.st_mtime > self.epoch;
        let nanos = if late || stat.st_mtime == self.epoch {
            0
        } else {
            u32::try_from(stat.st_mtime_nsec).unwrap_or(0)
        };
        let mut xattrs = if kind == EntryKind::HardLink {
            Vec::new()
        } else {
            xattrs_of(path)?
        };
        xattrs.retain(|(key, _)| !key.starts_with(b"trusted.") && key != b"security.selinux");
        let device = match kind {
            EntryKind::CharDevice | EntryKind::BlockDevice => (
                rustix::fs::major(stat.st_rdev),
                rustix::fs::minor(stat.st_rdev),
            ),
            _ => (0, 0),
        };
        let entry = Entry {
            path: if name.is_empty() {
                b"./".to_vec()
            } else {
                name.to_vec()
            },
            link,
            kind,
            mode: stat.st_mode & 0o7777,
            uid: u64::from(stat.st_uid),
            gid: u64::from(stat.st_gid),
            size: if kind == EntryKind::File {
                u64::try_from(stat.st_size).unwrap_or(0)
            } else {
                0
            },
            mtime: if late { self.epoch } else { stat.st_mtime },
            mtime_nanos: nanos,
            device,
            xattrs,
            pieces: None,
        };
        self.bytes += entry.size;
        (self.each)(self.bytes)?;
        if kind == EntryKind::File {
            self.writer.entry(&entry, &mut File::open(path)?)
        } else {
            self.writer.entry(&entry, &mut io::empty())
        }
    }
}
