//! The layer applier: writes the entries of an archive below a directory, in the form that overlayfs wants for a lower layer.
//!
//! Every name is walked component by component with `openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)` from the root's own
//! descriptor; links of the layer are resolved here, inside the root, never by the kernel. So no entry, in whatever order,
//! reaches a file outside (threats S1 and S7).

use crate::Budget;
use crate::compression::Plain;
use crate::confined::{self, components, is_whiteout, kind_of, of, path_of};
use crate::layer_error::{LayerError, shown};
use crate::merged::{self, Merged, OPAQUE};
use crate::tar::{Entry, EntryKind, Reader};
use rustix::fs::{self, AtFlags, FileType, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The last id that a stand's user namespace maps; 65536 and up would own files that nobody inside can touch.
const LAST_ID: u64 = 65_535;
/// The owner that stands in for an id beyond [`LAST_ID`]: nobody and nogroup.
const NOBODY: u32 = 65_534;
/// How many remarks are kept; the counts tell the rest.
const MAX_NOTES: usize = 20;
/// Most links followed on the way to one entry, as the kernel does (path_resolution(7)).
const MAX_LINKS: usize = 40;

const WHITEOUT: &[u8] = b".wh.";
const WHITEOUT_META: &[u8] = b".wh..wh.";
const WHITEOUT_OPAQUE: &[u8] = b".wh..wh..opq";

/// What unpacking one layer has made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// Entries of the archive.
    pub entries: u64,
    /// Bytes of content that were written.
    pub bytes: u64,
    /// Names that hide one of a lower layer.
    pub whiteouts: u64,
    /// Entries whose owner or group was beyond 65,535 and became `nobody`.
    pub clamped_owners: u64,
    /// Extended attributes that were left out: those that would speak to the host's kernel.
    pub dropped_xattrs: u64,
    /// Whether the layer's root hides all layers below.
    pub root_opaque: bool,
    /// What else a person may want to know, at most 20 lines.
    pub notes: Vec<String>,
}

/// What is known about the layers below the one being written.
#[derive(Clone, Copy)]
pub(crate) enum Lower<'a> {
    /// Not looked at: a layer that turns out to need them stops with [`Stop::NeedsLower`].
    Unknown,
    /// There is nothing below.
    Nothing,
    /// They are unpacked.
    View(&'a Merged),
}

/// Why applying ended early.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The layer names things by parents or links that only a lower layer has.
    NeedsLower,
    Failed(LayerError),
}

impl From<LayerError> for Stop {
    fn from(error: LayerError) -> Self {
        Self::Failed(error)
    }
}

/// Unpacks a layer that stands alone below `root`, an empty directory.
///
/// Parents that the archive does not name are made as root's, mode 0755.
///
/// # Errors
/// [`LayerError`]; `root` holds a part of the layer then and is the caller's to remove.
pub fn unpack(
    input: impl Read,
    root: &std::path::Path,
    budget: &Budget,
) -> Result<Applied, LayerError> {
    let plain = Plain::new(input, None)?;
    let compressed = plain.compressed();
    let root = confined::open_root(root).map_err(|e| write_io("open", b".", e))?;
    let mut reader = Reader::new(plain, budget.clone());
    let cancelled = AtomicBool::new(false);
    let mut job = Applier::new(root, Lower::Nothing, budget, compressed, &cancelled);
    match job.run(&mut reader) {
        Ok(applied) => {
            reader.drain()?;
            Ok(applied)
        }
        Err(Stop::Failed(error)) => Err(error),
        // Cannot come: the layer was said to be the lowest.
        Err(Stop::NeedsLower) => Err(LayerError::Impossible {
            path: ".".into(),
            why: "its lower layers are unknown",
        }),
    }
}

/// A directory on the way to the current entry.
struct Level {
    name: Vec<u8>,
    fd: OwnedFd,
    /// Its time, to be put back once its children are written.
    mtime: Timespec,
    touched: bool,
    /// Whether it, or one above it, hides the lower layers.
    hides: bool,
    /// Whether new children inherit access lists from it.
    inherits: bool,
}

pub(crate) struct Applier<'a> {
    /// The root and the directories down to the current entry.
    levels: Vec<Level>,
    lower: Lower<'a>,
    budget: &'a Budget,
    compressed: Arc<AtomicU64>,
    cancelled: &'a AtomicBool,
    applied: Applied,
    buf: Vec<u8>,
    /// A second handle on the root, so that the first can be a level.
    root: Option<OwnedFd>,
}

/// Owner, mode, time and attributes to be set on what was made.
struct Meta<'a> {
    uid: u32,
    gid: u32,
    mode: u32,
    mtime: Timespec,
    xattrs: &'a [(Vec<u8>, Vec<u8>)],
}

impl<'a> Applier<'a> {
    pub(crate) fn new(
        root: OwnedFd,
        lower: Lower<'a>,
        budget: &'a Budget,
        compressed: Arc<AtomicU64>,
        cancelled: &'a AtomicBool,
    ) -> Self {
        Self {
            levels: Vec::new(),
            lower,
            budget,
            compressed,
            cancelled,
            applied: Applied::default(),
            buf: vec![0; 128 << 10],
            root: Some(root),
        }
    }

    /// Writes all entries. The reader is left at the archive's end, before what follows it.
    pub(crate) fn run<R: Read>(&mut self, reader: &mut Reader<R>) -> Result<Applied, Stop> {
        if let Some(root) = self.root.take() {
            self.push(Vec::new(), root, false)?;
            // A root that no entry describes must still have one look on every machine.
            self.levels[0].mtime = EPOCH;
            self.levels[0].touched = true;
        }
        while let Some(entry) = reader.next_entry()? {
            self.check(reader)?;
            self.place(&entry, reader)?;
        }
        while self.levels.len() > 1 {
            self.pop()?;
        }
        self.restore(0)?;
        self.applied.entries = reader.entries();
        Ok(std::mem::take(&mut self.applied))
    }

    fn check<R: Read>(&self, reader: &Reader<R>) -> Result<(), LayerError> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(LayerError::Cancelled);
        }
        // Two blocks are the price of an entry: its header and its padding.
        let content = reader.position().saturating_sub(reader.entries() * 1024);
        let fair = self.budget.ratio_after.0.saturating_add(
            self.compressed
                .load(Ordering::Relaxed)
                .saturating_mul(self.budget.ratio),
        );
        if content > fair {
            return Err(LayerError::TooMuch {
                what: "times the size of the compressed content",
                limit: self.budget.ratio,
            });
        }
        Ok(())
    }

    fn place<R: Read>(&mut self, entry: &Entry, reader: &mut Reader<R>) -> Result<(), Stop> {
        let parts = components(&entry.path, self.budget.depth)?;
        let Some((name, dirs)) = parts.split_last() else {
            return self.place_root(entry);
        };
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            return self.whiteout(entry, name, hidden, dirs);
        }
        if entry.kind == EntryKind::HardLink {
            return self.hard_link(entry, name, dirs);
        }
        self.enter(dirs, &entry.path)?;
        let meta = self.meta_of(entry);
        match entry.kind {
            EntryKind::Directory => self.directory(name, &meta, &entry.path),
            EntryKind::File => self.file(entry, name, &meta, reader),
            EntryKind::Symlink => self.special(entry, name, &meta, |parent| {
                fs::symlinkat(
                    OsStr::from_bytes(&entry.link),
                    parent,
                    OsStr::from_bytes(name),
                )
            }),
            EntryKind::CharDevice => self.node(entry, name, &meta, FileType::CharacterDevice),
            EntryKind::BlockDevice => self.node(entry, name, &meta, FileType::BlockDevice),
            EntryKind::Fifo => self.node(entry, name, &meta, FileType::Fifo),
            // Taken above; it has no look of its own.
            EntryKind::HardLink => Ok(()),
        }
    }

    fn place_root(&mut self, entry: &Entry) -> Result<(), Stop> {
        if entry.kind != EntryKind::Directory {
            return Err(LayerError::Impossible {
                path: shown(&entry.path),
                why: "the root is a directory",
            }
            .into());
        }
        self.enter(&[], &entry.path)?;
        let meta = self.meta_of(entry);
        let inherits = self.attributes(0, &meta, &entry.path)?;
        let root = &mut self.levels[0];
        (root.mtime, root.touched, root.inherits) = (meta.mtime, true, inherits);
        Ok(())
    }

    /// Sets all attributes of the directory at `level` but its time; tells whether children inherit access lists.
    fn attributes(
        &mut self,
        level: usize,
        meta: &Meta<'_>,
        path: &[u8],
    ) -> Result<bool, LayerError> {
        let fd = &self.levels[level].fd;
        fs::fchown(
            fd,
            Some(Uid::from_raw(meta.uid)),
            Some(Gid::from_raw(meta.gid)),
        )
        .map_err(|e| write_error("change the owner of", path, e))?;
        fs::fchmod(fd, Mode::from_raw_mode(meta.mode))
            .map_err(|e| write_error("change the mode of", path, e))?;
        let fd =
            rustix::io::fcntl_dupfd_cloexec(fd, 3).map_err(|e| write_error("open", path, e))?;
        self.xattrs_on_fd(&fd, meta.xattrs, FileType::Directory, path)
    }

    fn directory(&mut self, name: &[u8], meta: &Meta<'_>, path: &[u8]) -> Result<(), Stop> {
        let parent = of(&self.top().fd);
        let mut hides = false;
        match fs::mkdirat(parent, OsStr::from_bytes(name), Mode::RWXU) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                let there =
                    confined::look(parent, name).map_err(|e| write_error("look at", path, e))?;
                if there.is_none_or(|stat| kind_of(&stat) != FileType::Directory) {
                    // What stood here, whiteout or file, had hidden the lower layers' directory of this name.
                    confined::remove(parent, name).map_err(|e| write_io("replace", path, e))?;
                    fs::mkdirat(parent, OsStr::from_bytes(name), Mode::RWXU)
                        .map_err(|e| write_error("make the directory", path, e))?;
                    hides = true;
                }
            }
            Err(e) => return Err(write_error("make the directory", path, e).into()),
        }
        let fd = confined::open_dir(parent, name).map_err(|e| write_error("open", path, e))?;
        let inherited = self.touch();
        if inherited {
            forget_lists(&fd);
        }
        self.push(name.to_vec(), fd, hides)?;
        let level = self.levels.len() - 1;
        let inherits = self.attributes(level, meta, path)?;
        let top = &mut self.levels[level];
        (top.mtime, top.touched, top.inherits) = (meta.mtime, true, inherits);
        // A directory is most often followed by what is in it, so it stays open; its time is set when it is left.
        Ok(())
    }

    fn file<R: Read>(
        &mut self,
        entry: &Entry,
        name: &[u8],
        meta: &Meta<'_>,
        reader: &mut Reader<R>,
    ) -> Result<(), Stop> {
        let path = &entry.path;
        let parent = of(&self.top().fd);
        let fd = match confined::create_file(parent, name) {
            Err(Errno::EXIST) => {
                confined::remove(parent, name).map_err(|e| write_io("replace", path, e))?;
                confined::create_file(parent, name)
            }
            done => done,
        };
        let mut file = File::from(fd.map_err(|e| write_error("make", path, e))?);
        let inherited = self.touch();
        self.content(entry, &mut file, reader)?;
        let fd = OwnedFd::from(file);
        if inherited {
            forget_lists(&fd);
        }
        // In this order: a new owner takes set-user-id and capabilities away.
        fs::fchown(
            &fd,
            Some(Uid::from_raw(meta.uid)),
            Some(Gid::from_raw(meta.gid)),
        )
        .map_err(|e| write_error("change the owner of", path, e))?;
        fs::fchmod(&fd, Mode::from_raw_mode(meta.mode))
            .map_err(|e| write_error("change the mode of", path, e))?;
        self.xattrs_on_fd(&fd, meta.xattrs, FileType::RegularFile, path)?;
        fs::futimens(&fd, &times(meta.mtime))
            .map_err(|e| write_error("change the time of", path, e))?;
        Ok(())
    }

    fn content<R: Read>(
        &mut self,
        entry: &Entry,
        file: &mut File,
        reader: &mut Reader<R>,
    ) -> Result<(), LayerError> {
        let mut buf = std::mem::take(&mut self.buf);
        let result = self.copy(entry, file, reader, &mut buf);
        self.buf = buf;
        result
    }

    fn copy<R: Read>(
        &mut self,
        entry: &Entry,
        file: &mut File,
        reader: &mut Reader<R>,
        buf: &mut [u8],
    ) -> Result<(), LayerError> {
        let failed = |e| write_io("write", &entry.path, e);
        let Some(pieces) = &entry.pieces else {
            loop {
                let n = reader.read_data(buf)?;
                if n == 0 {
                    return Ok(());
                }
                self.check(reader)?;
                file.write_all(&buf[..n]).map_err(failed)?;
                self.applied.bytes += n as u64;
            }
        };
        file.set_len(entry.size).map_err(failed)?;
        for piece in pieces {
            let mut at = piece.offset;
            let end = piece.offset + piece.len;
            while at < end {
                let want = usize::try_from(end - at)
                    .unwrap_or(usize::MAX)
                    .min(buf.len());
                let n = reader.read_data(&mut buf[..want])?;
                if n == 0 {
                    return Err(LayerError::Malformed {
                        at: reader.position(),
                        why: "a sparse file that breaks off".into(),
                    });
                }
                self.check(reader)?;
                file.write_all_at(&buf[..n], at).map_err(failed)?;
                at += n as u64;
                self.applied.bytes += n as u64;
            }
        }
        Ok(())
    }

    fn node(
        &mut self,
        entry: &Entry,
        name: &[u8],
        meta: &Meta<'_>,
        kind: FileType,
    ) -> Result<(), Stop> {
        let device = fs::makedev(entry.device.0, entry.device.1);
        if kind == FileType::CharacterDevice && device == 0 {
            self.note(|| {
                format!(
                    "`{}` is a device 0/0 and hides that name of the lower layers",
                    shown(&entry.path)
                )
            });
        }
        self.special(entry, name, meta, |parent| {
            fs::mknodat(
                parent,
                OsStr::from_bytes(name),
                kind,
                Mode::RUSR | Mode::WUSR,
                device,
            )
        })?;
        let parent = of(&self.top().fd);
        fs::chmodat(
            parent,
            OsStr::from_bytes(name),
            Mode::from_raw_mode(meta.mode),
            AtFlags::empty(),
        )
        .map_err(|e| write_error("change the mode of", &entry.path, e))?;
        self.times_of_name(name, meta, &entry.path)
    }

    /// Makes a link or node with `make`, replacing what is there, and gives it its owner, attributes and time.
    fn special(
        &mut self,
        entry: &Entry,
        name: &[u8],
        meta: &Meta<'_>,
        make: impl Fn(std::os::fd::BorrowedFd<'_>) -> Result<(), Errno>,
    ) -> Result<(), Stop> {
        let path = &entry.path;
        let parent = of(&self.top().fd);
        match make(parent) {
            Err(Errno::EXIST) => {
                confined::remove(parent, name).map_err(|e| write_io("replace", path, e))?;
                make(parent)
            }
            done => done,
        }
        .map_err(|e| write_error("make", path, e))?;
        fs::chownat(
            parent,
            OsStr::from_bytes(name),
            Some(Uid::from_raw(meta.uid)),
            Some(Gid::from_raw(meta.gid)),
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .map_err(|e| write_error("change the owner of", path, e))?;
        let inherited = self.touch();
        let place = path_of(of(&self.top().fd), name);
        if inherited && entry.kind != EntryKind::Symlink {
            let _ = fs::lremovexattr(&place, ACL_ACCESS);
        }
        let kind = if entry.kind == EntryKind::Symlink {
            FileType::Symlink
        } else {
            FileType::Fifo
        };
        for (key, value) in meta.xattrs {
            if self.wanted(key, kind) {
                set_or_note(
                    fs::lsetxattr(&place, OsStr::from_bytes(key), value, XattrFlags::empty()),
                    path,
                    &mut self.applied,
                )?;
            }
        }
        self.times_of_name(name, meta, path)
    }

    fn times_of_name(&mut self, name: &[u8], meta: &Meta<'_>, path: &[u8]) -> Result<(), Stop> {
        fs::utimensat(
            of(&self.top().fd),
            OsStr::from_bytes(name),
            &times(meta.mtime),
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .map_err(|e| write_error("change the time of", path, e).into())
    }

    fn hard_link(&mut self, entry: &Entry, name: &[u8], dirs: &[&[u8]]) -> Result<(), Stop> {
        let path = &entry.path;
        let target = components(&entry.link, self.budget.depth)?;
        let Some((target_name, target_dirs)) = target.split_last() else {
            return Err(LayerError::Impossible {
                path: shown(path),
                why: "a hard link to a directory",
            }
            .into());
        };
        self.enter(target_dirs, &entry.link)?;
        let there = confined::look(of(&self.top().fd), target_name)
            .map_err(|e| write_error("look at", &entry.link, e))?;
        match there {
            Some(stat) if is_whiteout(&stat) => {
                return Err(LayerError::Impossible {
                    path: shown(path),
                    why: "the target of a hard link was removed",
                }
                .into());
            }
            Some(stat) if kind_of(&stat) == FileType::Directory => {
                return Err(LayerError::Impossible {
                    path: shown(path),
                    why: "a hard link to a directory",
                }
                .into());
            }
            Some(_) => {}
            None => self.copy_up(target_name, path)?,
        }
        let from = rustix::io::fcntl_dupfd_cloexec(&self.top().fd, 3)
            .map_err(|e| write_error("open", path, e))?;
        let place = self.place_name();
        self.enter(dirs, path)?;
        if place == self.place_name() && *target_name == name {
            // A link to itself changes nothing.
            return Ok(());
        }
        let parent = of(&self.top().fd);
        let link = || {
            fs::linkat(
                of(&from),
                OsStr::from_bytes(target_name),
                parent,
                OsStr::from_bytes(name),
                AtFlags::empty(),
            )
        };
        match link() {
            Err(Errno::EXIST) => {
                confined::remove(parent, name).map_err(|e| write_io("replace", path, e))?;
                link()
            }
            done => done,
        }
        .map_err(|e| write_error("make the hard link", path, e))?;
        self.touch();
        Ok(())
    }

    /// The names of the open directories, from the root down.
    fn place_name(&self) -> Vec<Vec<u8>> {
        self.levels.iter().map(|l| l.name.clone()).collect()
    }

    /// Copies the file `name` of the lower layers into the directory that is open, as overlayfs would before linking to it.
    fn copy_up(&mut self, name: &[u8], path: &[u8]) -> Result<(), Stop> {
        const NO_TARGET: &str = "the target of a hard link does not exist";
        let missing = || LayerError::Impossible {
            path: shown(path),
            why: NO_TARGET,
        };
        let view = match self.lower {
            _ if self.top().hides => return Err(missing().into()),
            Lower::Nothing => return Err(missing().into()),
            Lower::Unknown => return Err(Stop::NeedsLower),
            Lower::View(view) => view,
        };
        let found = self.find_below(view, name, path)?.ok_or_else(missing)?;
        let parent = of(&self.top().fd);
        let place = path_of(of(&found.parent), &found.name);
        let failed = |e: Errno| write_error("copy from the lower layer", path, e);
        match kind_of(&found.stat) {
            FileType::RegularFile => {
                let mut from = File::from(
                    confined::open_file(of(&found.parent), &found.name).map_err(failed)?,
                );
                let mut to = File::from(confined::create_file(parent, name).map_err(failed)?);
                self.applied.bytes += std::io::copy(&mut from, &mut to)
                    .map_err(|e| write_io("copy from the lower layer", path, e))?;
                fs::fchown(
                    &to,
                    Some(Uid::from_raw(found.stat.st_uid)),
                    Some(Gid::from_raw(found.stat.st_gid)),
                )
                .map_err(failed)?;
                fs::fchmod(&to, Mode::from_raw_mode(found.stat.st_mode & 0o7777))
                    .map_err(failed)?;
                for (key, value) in confined::xattrs_of(&place).map_err(failed)? {
                    if !key.starts_with(b"trusted.") {
                        fs::fsetxattr(&to, OsStr::from_bytes(&key), &value, XattrFlags::empty())
                            .map_err(failed)?;
                    }
                }
                fs::futimens(&to, &times(mtime_of(&found.stat))).map_err(failed)?;
            }
            FileType::Symlink => {
                let target = confined::read_link(of(&found.parent), &found.name).map_err(failed)?;
                fs::symlinkat(OsStr::from_bytes(&target), parent, OsStr::from_bytes(name))
                    .map_err(failed)?;
                fs::chownat(
                    parent,
                    OsStr::from_bytes(name),
                    Some(Uid::from_raw(found.stat.st_uid)),
                    Some(Gid::from_raw(found.stat.st_gid)),
                    AtFlags::SYMLINK_NOFOLLOW,
                )
                .map_err(failed)?;
                fs::utimensat(
                    parent,
                    OsStr::from_bytes(name),
                    &times(mtime_of(&found.stat)),
                    AtFlags::SYMLINK_NOFOLLOW,
                )
                .map_err(failed)?;
            }
            _ => return Err(missing().into()),
        }
        self.touch();
        Ok(())
    }

    fn find_below(
        &self,
        view: &Merged,
        name: &[u8],
        path: &[u8],
    ) -> Result<Option<merged::Found>, LayerError> {
        let parts: Vec<&[u8]> = self.levels[1..]
            .iter()
            .map(|l| l.name.as_slice())
            .chain([name])
            .collect();
        view.find(&parts)
            .map_err(|e| write_error("look below", path, e))
    }

    fn whiteout(
        &mut self,
        entry: &Entry,
        name: &[u8],
        hidden: &[u8],
        dirs: &[&[u8]],
    ) -> Result<(), Stop> {
        let path = &entry.path;
        if name == WHITEOUT_OPAQUE {
            self.enter(dirs, path)?;
            let level = self.levels.len() - 1;
            self.applied.root_opaque |= level == 0;
            let top = &mut self.levels[level];
            top.hides = true;
            fs::fsetxattr(&top.fd, OPAQUE, b"y", XattrFlags::empty())
                .map_err(|e| write_error("mark", path, e))?;
            self.applied.whiteouts += 1;
            return Ok(());
        }
        if name.starts_with(WHITEOUT_META) {
            self.note(|| {
                format!(
                    "`{}` is aufs' own bookkeeping and was left out",
                    shown(path)
                )
            });
            return Ok(());
        }
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(LayerError::Escapes {
                path: shown(path),
                why: "it hides a directory above itself",
            }
            .into());
        }
        self.enter(dirs, path)?;
        let parent = of(&self.top().fd);
        match confined::look(parent, hidden).map_err(|e| write_error("look at", path, e))? {
            // A whiteout means the lower layers only (OCI Image Specification, "Whiteouts"): what this layer has stays.
            Some(stat) if kind_of(&stat) == FileType::Directory => {
                let dir =
                    confined::open_dir(parent, hidden).map_err(|e| write_error("open", path, e))?;
                fs::fsetxattr(&dir, OPAQUE, b"y", XattrFlags::empty())
                    .map_err(|e| write_error("mark", path, e))?;
            }
            Some(_) => {}
            None => {
                fs::mknodat(
                    parent,
                    OsStr::from_bytes(hidden),
                    FileType::CharacterDevice,
                    Mode::empty(),
                    0,
                )
                .map_err(|e| write_error("hide", path, e))?;
                self.touch();
            }
        }
        self.applied.whiteouts += 1;
        Ok(())
    }

    /// Opens the directory `parts`, following the layer's own links inside the root and making what is missing.
    fn enter(&mut self, parts: &[&[u8]], path: &[u8]) -> Result<(), Stop> {
        let known = self.levels[1..]
            .iter()
            .zip(parts)
            .take_while(|(level, part)| level.name == **part)
            .count();
        while self.levels.len() > known + 1 {
            self.pop()?;
        }
        let mut todo: Vec<Vec<u8>> = parts[known..].iter().rev().map(|p| p.to_vec()).collect();
        let mut links = 0;
        while let Some(part) = todo.pop() {
            if part == b".." {
                if self.levels.len() > 1 {
                    self.pop()?;
                }
                continue;
            }
            if self.levels.len() > self.budget.depth {
                return Err(LayerError::TooMuch {
                    what: "parts in a name",
                    limit: self.budget.depth as u64,
                }
                .into());
            }
            if let Some(target) = self.step(&part, path)? {
                links += 1;
                if links > MAX_LINKS {
                    return Err(LayerError::Impossible {
                        path: shown(path),
                        why: "too many links on the way",
                    }
                    .into());
                }
                if target.starts_with(b"/") {
                    while self.levels.len() > 1 {
                        self.pop()?;
                    }
                }
                todo.extend(
                    target
                        .split(|b| *b == b'/')
                        .filter(|p| !p.is_empty() && *p != b".")
                        .rev()
                        .map(<[u8]>::to_vec),
                );
            }
        }
        Ok(())
    }

    /// Goes into `part` of the open directory; returns the target instead if it is a link.
    fn step(&mut self, part: &[u8], path: &[u8]) -> Result<Option<Vec<u8>>, Stop> {
        let parent = of(&self.top().fd);
        match confined::open_dir(parent, part) {
            Ok(fd) => {
                self.push(part.to_vec(), fd, false)?;
                Ok(None)
            }
            Err(Errno::NOENT) => self.imply(part, path),
            Err(Errno::LOOP) => confined::read_link(parent, part)
                .map(Some)
                .map_err(|e| write_error("read the link", path, e).into()),
            Err(Errno::NOTDIR) => {
                let there =
                    confined::look(parent, part).map_err(|e| write_error("look at", path, e))?;
                match there {
                    Some(stat) if kind_of(&stat) == FileType::Symlink => {
                        confined::read_link(parent, part)
                            .map(Some)
                            .map_err(|e| write_error("read the link", path, e).into())
                    }
                    Some(stat) if is_whiteout(&stat) => {
                        self.directory(part, &Meta::plain(), path)?;
                        Ok(None)
                    }
                    _ => Err(LayerError::Impossible {
                        path: shown(path),
                        why: "a part of its path is no directory",
                    }
                    .into()),
                }
            }
            Err(e) => Err(write_error("open a parent of", path, e).into()),
        }
    }

    /// Makes the directory `part`, which entries need and the archive does not name, as the lower layers have it.
    fn imply(&mut self, part: &[u8], path: &[u8]) -> Result<Option<Vec<u8>>, Stop> {
        let view = match self.lower {
            Lower::Unknown if !self.top().hides => return Err(Stop::NeedsLower),
            Lower::View(view) if !self.top().hides => view,
            _ => {
                self.directory(part, &Meta::plain(), path)?;
                return Ok(None);
            }
        };
        let Some(found) = self.find_below(view, part, path)? else {
            self.directory(part, &Meta::plain(), path)?;
            return Ok(None);
        };
        let failed = |e| write_error("look below", path, e);
        match kind_of(&found.stat) {
            FileType::Directory => {
                let mut xattrs = confined::xattrs_of(&path_of(of(&found.parent), &found.name))
                    .map_err(failed)?;
                xattrs.retain(|(key, _)| !key.starts_with(b"trusted."));
                let meta = Meta {
                    uid: found.stat.st_uid,
                    gid: found.stat.st_gid,
                    mode: found.stat.st_mode & 0o7777,
                    mtime: mtime_of(&found.stat),
                    xattrs: &xattrs,
                };
                self.directory(part, &meta, path)?;
                Ok(None)
            }
            FileType::Symlink => confined::read_link(of(&found.parent), &found.name)
                .map(Some)
                .map_err(|e| failed(e).into()),
            _ => Err(LayerError::Impossible {
                path: shown(path),
                why: "a part of its path is no directory",
            }
            .into()),
        }
    }

    fn top(&self) -> &Level {
        // The root is pushed first and never popped.
        &self.levels[self.levels.len() - 1]
    }

    /// Notes that the open directory has changed; tells whether its children inherit access lists.
    fn touch(&mut self) -> bool {
        let last = self.levels.len() - 1;
        self.levels[last].touched = true;
        self.levels[last].inherits
    }

    fn push(&mut self, name: Vec<u8>, fd: OwnedFd, hides: bool) -> Result<(), LayerError> {
        let failed = |e| write_error("look at", &name, e);
        let above = self.levels.last().is_some_and(|l| l.hides);
        let marked = above || hides || merged::is_opaque(&fd).map_err(failed)?;
        if hides {
            fs::fsetxattr(&fd, OPAQUE, b"y", XattrFlags::empty()).map_err(failed)?;
        }
        let stat = fs::fstat(&fd).map_err(failed)?;
        let inherits = fs::fgetxattr(&fd, ACL_DEFAULT, &mut [0u8; 0][..]).is_ok_and(|n| n > 0);
        self.levels.push(Level {
            name,
            fd,
            mtime: mtime_of(&stat),
            touched: false,
            hides: marked,
            inherits,
        });
        Ok(())
    }

    fn pop(&mut self) -> Result<(), LayerError> {
        self.restore(self.levels.len() - 1)?;
        self.levels.pop();
        Ok(())
    }

    /// Puts back the time of a directory whose children have changed it.
    fn restore(&self, level: usize) -> Result<(), LayerError> {
        let level = &self.levels[level];
        if level.touched {
            fs::futimens(&level.fd, &times(level.mtime))
                .map_err(|e| write_error("change the time of", &level.name, e))?;
        }
        Ok(())
    }

    fn meta_of<'e>(&mut self, entry: &'e Entry) -> Meta<'e> {
        let mut beyond = false;
        let mut id = |id: u64| {
            beyond |= id > LAST_ID;
            u32::try_from(id.min(LAST_ID + 1))
                .ok()
                .filter(|id| u64::from(*id) <= LAST_ID)
                .unwrap_or(NOBODY)
        };
        let (uid, gid) = (id(entry.uid), id(entry.gid));
        if beyond {
            self.applied.clamped_owners += 1;
            self.note(|| {
                format!(
                    "`{}` belongs to {}:{}, beyond the ids of a stand: given to nobody",
                    shown(&entry.path),
                    entry.uid,
                    entry.gid
                )
            });
        }
        let mtime = Timespec {
            tv_sec: entry.mtime,
            tv_nsec: i64::from(entry.mtime_nanos),
        };
        Meta {
            uid,
            gid,
            mode: entry.mode,
            mtime,
            xattrs: &entry.xattrs,
        }
    }

    /// Whether an extended attribute of an image may be set: not those by which it would speak to the host's kernel.
    fn wanted(&mut self, key: &[u8], kind: FileType) -> bool {
        let file_or_dir = matches!(kind, FileType::RegularFile | FileType::Directory);
        let good = match key {
            // The overlay's own words: an image could redirect names with them.
            key if key.starts_with(b"user.overlay.") => false,
            key if key.starts_with(b"user.") => file_or_dir,
            b"security.capability" => kind == FileType::RegularFile,
            b"system.posix_acl_access" => kind != FileType::Symlink,
            b"system.posix_acl_default" => kind == FileType::Directory,
            _ => false,
        } && !key.contains(&0);
        if !good {
            self.applied.dropped_xattrs += 1;
            let key = shown(key);
            self.note(|| format!("extended attributes `{key}` were left out"));
        }
        good
    }

    fn xattrs_on_fd(
        &mut self,
        fd: &OwnedFd,
        xattrs: &[(Vec<u8>, Vec<u8>)],
        kind: FileType,
        path: &[u8],
    ) -> Result<bool, LayerError> {
        let mut inherits = false;
        for (key, value) in xattrs {
            if self.wanted(key, kind) {
                inherits |= key == ACL_DEFAULT.as_bytes();
                set_or_note(
                    fs::fsetxattr(fd, OsStr::from_bytes(key), value, XattrFlags::empty()),
                    path,
                    &mut self.applied,
                )?;
            }
        }
        Ok(inherits)
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        note(&mut self.applied, line);
    }
}

const ACL_ACCESS: &str = "system.posix_acl_access";
const ACL_DEFAULT: &str = "system.posix_acl_default";
const EPOCH: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

impl Meta<'static> {
    /// What a directory gets that nobody describes.
    fn plain() -> Self {
        Self {
            uid: 0,
            gid: 0,
            mode: 0o755,
            mtime: EPOCH,
            xattrs: &[],
        }
    }
}

fn note(applied: &mut Applied, line: impl FnOnce() -> String) {
    if applied.notes.len() < MAX_NOTES {
        let line = line();
        if !applied.notes.contains(&line) {
            applied.notes.push(line);
        }
    }
}

/// A file system that knows no extended attributes loses them, which is said; every other failure counts.
fn set_or_note(
    result: Result<(), Errno>,
    path: &[u8],
    applied: &mut Applied,
) -> Result<(), LayerError> {
    match result {
        Ok(()) => Ok(()),
        Err(Errno::NOTSUP) => {
            applied.dropped_xattrs += 1;
            note(applied, || {
                "this file system keeps no extended attributes".to_owned()
            });
            Ok(())
        }
        Err(e) => Err(write_error("set an extended attribute of", path, e)),
    }
}

/// Takes away the access lists that a new child got from its parent: the archive's word alone counts.
fn forget_lists(fd: &OwnedFd) {
    // Nothing to remove is the common case.
    let _ = fs::fremovexattr(fd, ACL_ACCESS);
    let _ = fs::fremovexattr(fd, ACL_DEFAULT);
}

fn mtime_of(stat: &fs::Stat) -> Timespec {
    Timespec {
        tv_sec: stat.st_mtime,
        tv_nsec: i64::try_from(stat.st_mtime_nsec).unwrap_or(0),
    }
}

fn times(mtime: Timespec) -> Timestamps {
    // The time of access is not part of a layer; the same one on every machine keeps trees comparable.
    Timestamps {
        last_access: mtime,
        last_modification: mtime,
    }
}

fn write_error(action: &'static str, path: &[u8], source: Errno) -> LayerError {
    write_io(action, path, source.into())
}

fn write_io(action: &'static str, path: &[u8], source: std::io::Error) -> LayerError {
    LayerError::Write {
        action,
        path: shown(path),
        source,
    }
}
