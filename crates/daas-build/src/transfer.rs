//! `COPY` and `ADD`: files of one tree become a layer over another, without running anything.
//!
//! The rules of destinations are `BuildKit`'s (docs.docker.com, Dockerfile reference, "COPY" and "ADD"; fsutil/copy): a folder gives its
//! content, a file goes into a destination that is a folder or ends in a slash, folders on the way are made 0755, folders that
//! exist keep their looks. Both trees are walked by confined descriptors; links are resolved here, inside their own tree.

use crate::archive;
use crate::glob;
use crate::paths::{Growing, Made, Parts, There, joined, parts, shown, slices};
use daas_image::tar::{Entry, EntryKind};
use daas_image::{Found, LayerDraft, Merged};
use rustix::fs::FileType;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::io::{self, Read};

/// Changes the mode of a file; told whether it is a folder.
pub(crate) type ModeOf<'a> = Box<dyn Fn(u32, bool) -> u32 + Sync + 'a>;
/// Tells whether a path is left out; told whether it is a folder.
pub(crate) type LeftOut<'a> = Box<dyn Fn(&str, bool) -> bool + Sync + 'a>;

/// What is brought where.
pub(crate) struct Transfer<'a> {
    /// What is taken from the trees, in this order.
    pub(crate) sources: Vec<Source>,
    /// Files whose content is in the Dockerfile: name and content.
    pub(crate) inline: Vec<(String, Vec<u8>)>,
    /// Where to: absolute, a last slash says that it is a folder.
    pub(crate) dest: Vec<u8>,
    /// Whose everything becomes; without, what comes from a context becomes root's and the rest keeps its owner.
    pub(crate) owner: Option<(u32, u32)>,
    /// Whether owners of the source mean something here: it is an image or a stage.
    pub(crate) keeps_owner: bool,
    /// `--chmod`.
    pub(crate) mode: Option<ModeOf<'a>>,
    /// `--exclude`.
    pub(crate) left_out: Option<LeftOut<'a>>,
    /// `--parents`.
    pub(crate) parents: bool,
    /// The time of folders and files that are made here, and the latest that any may bear if it is fixed.
    pub(crate) now: i64,
    /// `SOURCE_DATE_EPOCH`.
    pub(crate) epoch: Option<i64>,
}

/// One source.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// Which tree it is in, counted from 0.
    pub(crate) tree: usize,
    /// A pattern below the tree's root.
    pub(crate) pattern: Vec<u8>,
    /// Whether the pattern is a path and nothing in it means more.
    pub(crate) is_path: bool,
    /// Whether archives are unpacked (`ADD`).
    pub(crate) unpack: bool,
}

/// One thing that a source means.
pub(crate) struct Pick {
    /// The tree that it is in.
    tree: usize,
    /// Whether it is unpacked if it is an archive.
    unpack: bool,
    /// Where it is in the source, links followed.
    at: Parts,
    /// Its name as it was asked for.
    name: Vec<u8>,
    /// The folders before it that `--parents` keeps.
    above: Parts,
    found: Found,
}

impl Pick {
    fn is_folder(&self) -> bool {
        self.found.kind() == FileType::Directory
    }

    pub(crate) fn kind(&self) -> FileType {
        self.found.kind()
    }
}

fn of(trees: &[Merged], number: usize) -> io::Result<&Merged> {
    trees
        .get(number)
        .ok_or_else(|| invalid(format!("there is no tree {number}")))
}

fn invalid(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

impl Transfer<'_> {
    /// Finds what the sources mean in `trees`.
    ///
    /// # Errors
    /// `NotFound` for a source that is not there; `InvalidInput` for a malformed pattern.
    pub(crate) fn pick(&self, trees: &[Merged]) -> io::Result<Vec<Pick>> {
        let mut picks = Vec::new();
        for source in &self.sources {
            let tree = of(trees, source.tree)?;
            let (base, rest) = if self.parents && !source.is_path {
                pivot(&source.pattern)
            } else {
                (Vec::new(), source.pattern.clone())
            };
            let pattern = joined(&parts(&[base.as_slice(), b"/", &rest].concat()));
            let is_pattern = !source.is_path && pattern.split(|b| *b == b'/').any(glob::is_pattern);
            let before = picks.len();
            if is_pattern {
                for at in glob::expand(tree, &pattern)? {
                    self.pick_one(tree, at, &base, source, &mut picks)?;
                }
            } else {
                self.pick_one(tree, parts(&pattern), &base, source, &mut picks)?;
            }
            if picks.len() == before && !is_pattern {
                return Err(io::Error::new(
                    io::ErrorKind::NotFound,
                    format!("`{}` is not there", shown(&source.pattern)),
                ));
            }
        }
        // As in BuildKit, patterns may match nothing at all.
        Ok(picks)
    }

    /// Finds what a path without patterns means.
    ///
    /// # Errors
    /// `NotFound` if it is not there.
    pub(crate) fn pick_exactly(&self, tree: &Merged, path: &[u8]) -> io::Result<Pick> {
        let mut picks = Vec::new();
        let source = Source {
            tree: 0,
            pattern: path.to_vec(),
            is_path: true,
            unpack: false,
        };
        self.pick_one(tree, parts(path), b"", &source, &mut picks)?;
        picks.pop().ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("`{}` is not there", shown(path)),
            )
        })
    }

    fn pick_one(
        &self,
        tree: &Merged,
        asked: Parts,
        base: &[u8],
        source: &Source,
        picks: &mut Vec<Pick>,
    ) -> io::Result<()> {
        let (at, found) = tree.land(&joined(&asked))?;
        let Some(found) = found else {
            return Ok(());
        };
        let name = asked.last().cloned().unwrap_or_default();
        let is_folder = found.kind() == FileType::Directory;
        if !is_folder && self.leaves_out(&name, &asked, false) {
            return Ok(());
        }
        let skip = parts(base).len();
        let above = if self.parents {
            let end = asked.len().saturating_sub(1);
            asked.get(skip..end.max(skip)).unwrap_or_default().to_vec()
        } else {
            Parts::new()
        };
        picks.push(Pick {
            tree: source.tree,
            unpack: source.unpack,
            at,
            name,
            above,
            found,
        });
        Ok(())
    }

    fn leaves_out(&self, inside: &[u8], whole: &[Vec<u8>], folder: bool) -> bool {
        self.left_out.as_ref().is_some_and(|left_out| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            left_out(&text(inside), folder) || left_out(&text(&joined(whole)), folder)
        })
    }

    /// Calls `each` for everything below a folder, sorted, folders before what is in them; the path is below that folder.
    fn walk(
        &self,
        tree: &Merged,
        root: &[Vec<u8>],
        below: &Parts,
        each: &mut dyn FnMut(&Parts, &Found) -> io::Result<()>,
    ) -> io::Result<()> {
        if below.len() > 255 {
            return Err(invalid("a folder is deeper than 255".into()));
        }
        let whole = [root, below].concat();
        let Some(names) = tree.list(&slices(&whole))? else {
            return Ok(());
        };
        for name in names {
            let mut inner = below.clone();
            inner.push(name);
            let at = [root, &inner].concat();
            let Some(found) = tree.find(&slices(&at))? else {
                continue;
            };
            let is_folder = found.kind() == FileType::Directory;
            if self.leaves_out(&joined(&inner), &at, is_folder) {
                // Something below may be taken in again by `!`: the folder itself is made when that comes.
                if is_folder {
                    self.walk(tree, root, &inner, each)?;
                }
                continue;
            }
            each(&inner, &found)?;
            if is_folder {
                self.walk(tree, root, &inner, each)?;
            }
        }
        Ok(())
    }

    /// Digests everything that the layer will hold, names and times of change aside.
    pub(crate) fn digest(&self, trees: &[Merged], picks: &[Pick]) -> io::Result<String> {
        let mut sum = Sha256::new();
        for pick in picks {
            let tree = of(trees, pick.tree)?;
            add(&mut sum, &[b"pick", &pick.name, &joined(&pick.above)]);
            self.add_found(&mut sum, b"", &pick.found)?;
            if pick.is_folder() {
                self.walk(tree, &pick.at, &Parts::new(), &mut |below, found| {
                    self.add_found(&mut sum, &joined(below), found)
                })?;
            }
        }
        for (name, content) in &self.inline {
            add(&mut sum, &[b"inline", name.as_bytes(), content]);
        }
        Ok(hex(&sum.finalize()))
    }

    fn add_found(&self, sum: &mut Sha256, path: &[u8], found: &Found) -> io::Result<()> {
        let stat = found.stat();
        add(sum, &[path, &stat.st_mode.to_le_bytes()]);
        if self.keeps_owner {
            add(
                sum,
                &[&stat.st_uid.to_le_bytes(), &stat.st_gid.to_le_bytes()],
            );
        }
        match found.kind() {
            FileType::RegularFile => {
                let mut content = Sha256::new();
                let mut file = found.open()?;
                let mut buf = vec![0; 64 << 10];
                loop {
                    let n = file.read(&mut buf)?;
                    if n == 0 {
                        break;
                    }
                    content.update(&buf[..n]);
                }
                add(sum, &[&content.finalize()]);
            }
            FileType::Symlink => add(sum, &[&found.link()?]),
            _ => add(sum, &[&stat.st_rdev.to_le_bytes()]),
        }
        for (key, value) in found.xattrs()? {
            add(sum, &[&key, &value]);
        }
        Ok(())
    }

    /// Writes a layer that holds the folder of the destination and nothing in it.
    ///
    /// # Errors
    /// `InvalidInput` if something that is no folder is on its way.
    pub(crate) fn folder(&self, below: &Merged, draft: &mut LayerDraft) -> io::Result<()> {
        let mut work = Work {
            transfer: self,
            growing: Growing::new(below),
            links: HashMap::new(),
            draft,
        };
        work.root()?;
        work.folder_of(&self.dest).map(|_| ())
    }

    /// Writes the layer: everything that was picked, over `below`.
    ///
    /// # Errors
    /// `InvalidInput` if something cannot go where it should, and what reading and writing say.
    pub(crate) fn write(
        &self,
        trees: &[Merged],
        picks: &[Pick],
        below: &Merged,
        draft: &mut LayerDraft,
    ) -> io::Result<()> {
        let mut work = Work {
            transfer: self,
            growing: Growing::new(below),
            links: HashMap::new(),
            draft,
        };
        work.root()?;
        let many = picks.len() + self.inline.len() > 1;
        let (_, there) = work.growing.land(&self.dest)?;
        let is_folder = self.dest.ends_with(b"/")
            || self.dest.ends_with(b"/.")
            || self.dest.ends_with(b"/..")
            || there.is_some_and(|t| t.is_folder());
        if many && !is_folder && !self.parents && !picks.iter().all(Pick::is_folder) {
            return Err(invalid(format!(
                "several files cannot become one: `{}` must end in a slash",
                shown(&self.dest)
            )));
        }
        for pick in picks {
            work.bring(of(trees, pick.tree)?, pick, is_folder)?;
        }
        for (name, content) in &self.inline {
            work.inline(name, content, is_folder)?;
        }
        Ok(())
    }
}

/// The tool of one transfer.
struct Work<'a, 'd> {
    transfer: &'a Transfer<'a>,
    growing: Growing<'a>,
    /// The first name of each file that has several.
    links: HashMap<(u64, u64), Parts>,
    draft: &'d mut LayerDraft,
}

/// Owner, mode and time of an entry.
#[derive(Clone, Copy)]
struct Looks {
    uid: u32,
    gid: u32,
    mode: u32,
    mtime: i64,
}

impl Work<'_, '_> {
    /// The layer's root looks like the one below.
    fn root(&mut self) -> io::Result<()> {
        let looks = match self.growing.look(&[])? {
            Some(There::Old(found)) => Looks {
                mtime: 0,
                ..of_found(&found)
            },
            _ => Looks {
                uid: 0,
                gid: 0,
                mode: 0o755,
                mtime: 0,
            },
        };
        self.draft.entry(
            &entry(b"./".to_vec(), EntryKind::Directory, looks),
            &mut io::empty(),
        )
    }

    fn bring(&mut self, tree: &Merged, pick: &Pick, is_folder: bool) -> io::Result<()> {
        let transfer = self.transfer;
        if transfer.parents {
            return self.bring_with_parents(tree, pick);
        }
        if pick.is_folder() {
            let dest = self.folder_of(&transfer.dest)?;
            return self.content(tree, &pick.at, &dest);
        }
        if pick.unpack
            && pick.found.kind() == FileType::RegularFile
            && let Some(archive) = archive::open(pick.found.open()?)?
        {
            let dest = self.folder_of(&transfer.dest)?;
            return self.unpack(archive, &dest);
        }
        let target = self.file_target(&pick.name, is_folder)?;
        self.put(&pick.found, target)
    }

    fn bring_with_parents(&mut self, tree: &Merged, pick: &Pick) -> io::Result<()> {
        let mut dest = self.folder_of(&self.transfer.dest)?;
        let skip = pick.at.len().saturating_sub(pick.above.len() + 1);
        for (n, part) in pick.above.iter().enumerate() {
            dest.push(part.clone());
            let source = pick.at.get(..skip + n + 1).unwrap_or_default();
            match tree.find(&slices(source))? {
                Some(found) if found.kind() == FileType::Directory => self.folder(&dest, &found)?,
                _ => self.way(&dest)?,
            }
        }
        if pick.is_folder() {
            if !pick.name.is_empty() {
                dest.push(pick.name.clone());
                self.folder(&dest, &pick.found)?;
            }
            return self.content(tree, &pick.at, &dest);
        }
        dest.push(pick.name.clone());
        self.put(&pick.found, dest)
    }

    /// Returns the folder that `path` leads to; what is missing of it is made.
    fn folder_of(&mut self, path: &[u8]) -> io::Result<Parts> {
        let (at, there) = self.growing.land(path)?;
        if there.is_some_and(|t| !t.is_folder()) {
            return Err(invalid(format!("`{}` is no folder", shown(path))));
        }
        self.way(&at)?;
        Ok(at)
    }

    /// Returns where a single file goes.
    fn file_target(&mut self, name: &[u8], is_folder: bool) -> io::Result<Parts> {
        let dest = &self.transfer.dest;
        if is_folder {
            let mut at = self.folder_of(&dest.clone())?;
            at.push(name.to_vec());
            return Ok(at);
        }
        let (at, _) = self.growing.land(dest)?;
        if let Some((_, above)) = at.split_last() {
            self.way(&above.to_vec())?;
        }
        Ok(at)
    }

    /// Brings everything below the folder `at` of the source into the folder `dest`.
    fn content(&mut self, tree: &Merged, at: &[Vec<u8>], dest: &Parts) -> io::Result<()> {
        let transfer = self.transfer;
        transfer.walk(tree, at, &Parts::new(), &mut |below, found| {
            let target = [dest.as_slice(), below].concat();
            if found.kind() == FileType::Directory {
                self.folder(&target, found)
            } else {
                if let Some((_, above)) = target.split_last() {
                    self.way(&above.to_vec())?;
                }
                self.put(found, target)
            }
        })
    }

    /// Describes every folder down to `at`: as it is below, or new.
    fn way(&mut self, at: &Parts) -> io::Result<()> {
        for end in 1..=at.len() {
            let here = &at[..end];
            if self.growing.has(here) {
                if !self.growing.look(here)?.is_some_and(|t| t.is_folder()) {
                    return Err(not_a_folder(here));
                }
                continue;
            }
            let looks = match self.growing.look(here)? {
                Some(There::Old(found)) if found.kind() == FileType::Directory => {
                    self.old_folder(here, &found)?;
                    continue;
                }
                Some(_) => return Err(not_a_folder(here)),
                None => {
                    let (uid, gid) = self.transfer.owner.unwrap_or((0, 0));
                    // BuildKit gives `--chmod` to folders on the way, too.
                    let mode = self
                        .transfer
                        .mode
                        .as_ref()
                        .map_or(0o755, |mode| mode(0o755, true));
                    Looks {
                        uid,
                        gid,
                        mode: mode & 0o7777,
                        mtime: self.time(self.transfer.now),
                    }
                }
            };
            self.draft.entry(
                &entry(joined(here), EntryKind::Directory, looks),
                &mut io::empty(),
            )?;
            self.growing.note(here.to_vec(), Made::Folder);
        }
        Ok(())
    }

    /// Describes a folder that is below as it is there.
    fn old_folder(&mut self, at: &[Vec<u8>], found: &Found) -> io::Result<()> {
        let mut entry = entry(joined(at), EntryKind::Directory, of_found(found));
        entry.xattrs = found.xattrs()?;
        self.draft.entry(&entry, &mut io::empty())?;
        self.growing.note(at.to_vec(), Made::Folder);
        Ok(())
    }

    /// Brings a folder: new with the looks of its source, or as it is if it exists.
    fn folder(&mut self, at: &Parts, source: &Found) -> io::Result<()> {
        if let Some((_, above)) = at.split_last() {
            self.way(&above.to_vec())?;
        }
        match self.growing.look(at)? {
            Some(There::New(Made::Folder)) => Ok(()),
            Some(There::Old(found)) if found.kind() == FileType::Directory => {
                self.old_folder(at, &found)
            }
            Some(_) => Err(not_a_folder(at)),
            None => {
                let mut entry = entry(joined(at), EntryKind::Directory, self.looks(source));
                entry.xattrs = source.xattrs()?;
                self.draft.entry(&entry, &mut io::empty())?;
                self.growing.note(at.clone(), Made::Folder);
                Ok(())
            }
        }
    }

    /// Brings anything but a folder to `at`, whose folder is described.
    fn put(&mut self, source: &Found, at: Parts) -> io::Result<()> {
        if self.growing.look(&at)?.is_some_and(|t| t.is_folder()) {
            return Err(invalid(format!(
                "`/{}` is a folder and cannot become a file",
                shown(&joined(&at))
            )));
        }
        let stat = source.stat();
        let kind = match source.kind() {
            FileType::RegularFile => EntryKind::File,
            FileType::Symlink => EntryKind::Symlink,
            FileType::CharacterDevice => EntryKind::CharDevice,
            FileType::BlockDevice => EntryKind::BlockDevice,
            FileType::Fifo => EntryKind::Fifo,
            // Folders come another way; a socket lives only as long as its program.
            FileType::Directory | FileType::Socket | FileType::Unknown => return Ok(()),
        };
        let mut entry = entry(joined(&at), kind, self.looks(source));
        let mut made = Made::Other;
        if kind == EntryKind::Symlink {
            entry.link = source.link()?;
            made = Made::Link(entry.link.clone());
        } else if stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)) {
                entry.kind = EntryKind::HardLink;
                entry.link = joined(first);
            } else {
                self.links.insert((stat.st_dev, stat.st_ino), at.clone());
            }
        }
        if matches!(kind, EntryKind::CharDevice | EntryKind::BlockDevice) {
            entry.device = (
                rustix::fs::major(stat.st_rdev),
                rustix::fs::minor(stat.st_rdev),
            );
        }
        self.growing.note(at, made);
        if entry.kind == EntryKind::HardLink {
            return self.draft.entry(&entry, &mut io::empty());
        }
        entry.xattrs = source.xattrs()?;
        if entry.kind == EntryKind::File {
            entry.size = u64::try_from(stat.st_size).unwrap_or(0);
            return self.draft.entry(&entry, &mut source.open()?);
        }
        self.draft.entry(&entry, &mut io::empty())
    }

    fn inline(&mut self, name: &str, mut content: &[u8], is_folder: bool) -> io::Result<()> {
        let at = self.file_target(name.as_bytes(), is_folder)?;
        if self.growing.look(&at)?.is_some_and(|t| t.is_folder()) {
            return Err(invalid(format!(
                "`/{}` is a folder and cannot become a file",
                shown(&joined(&at))
            )));
        }
        let (uid, gid) = self.transfer.owner.unwrap_or((0, 0));
        let looks = Looks {
            uid,
            gid,
            mode: self
                .transfer
                .mode
                .as_ref()
                .map_or(0o644, |mode| mode(0o644, false))
                & 0o7777,
            mtime: self.time(self.transfer.now),
        };
        let mut entry = entry(joined(&at), EntryKind::File, looks);
        entry.size = content.len() as u64;
        self.growing.note(at, Made::Other);
        self.draft.entry(&entry, &mut content)
    }

    /// Unpacks an archive into the folder `dest`: its names stay below, its links mean what they mean inside the image.
    fn unpack(&mut self, mut archive: archive::Archive, dest: &Parts) -> io::Result<()> {
        while let Some(mut entry) = archive.next()? {
            let inside = parts_below(&entry.path)?;
            let Some((name, above)) = inside.split_last() else {
                continue;
            };
            if name.starts_with(b".wh.") {
                return Err(invalid(format!(
                    "the archive has `{}`: names that begin with `.wh.` mean removed files in an image",
                    shown(&entry.path)
                )));
            }
            let dir = [dest.as_slice(), above].concat();
            let (mut at, there) = self.growing.land(&joined(&dir))?;
            if there.is_some_and(|t| !t.is_folder()) {
                return Err(not_a_folder(&dir));
            }
            self.way(&at)?;
            at.push(name.clone());
            let is_folder = entry.kind == EntryKind::Directory;
            let there = self.growing.look(&at)?;
            if there.as_ref().is_some_and(There::is_folder) != is_folder && there.is_some() {
                return Err(invalid(format!(
                    "`/{}` is there and of another kind than in the archive",
                    shown(&joined(&at))
                )));
            }
            if let Some((uid, gid)) = self.transfer.owner {
                (entry.uid, entry.gid) = (uid.into(), gid.into());
            }
            if let Some(mode) = &self.transfer.mode {
                entry.mode = mode(entry.mode, is_folder) & 0o7777;
            }
            let made = match entry.kind {
                EntryKind::Directory => Made::Folder,
                EntryKind::Symlink => Made::Link(entry.link.clone()),
                EntryKind::HardLink => {
                    let target = [dest.as_slice(), &parts_below(&entry.link)?].concat();
                    if !self.growing.has(&target) {
                        return Err(invalid(format!(
                            "the archive has a hard link to `{}`, which it does not hold",
                            shown(&entry.link)
                        )));
                    }
                    entry.link = joined(&target);
                    Made::Other
                }
                EntryKind::File
                | EntryKind::CharDevice
                | EntryKind::BlockDevice
                | EntryKind::Fifo => Made::Other,
            };
            entry.path = joined(&at);
            entry.pieces = None;
            (entry.mtime, entry.mtime_nanos) = (self.time(entry.mtime), 0);
            self.growing.note(at, made);
            self.draft.entry(&entry, &mut archive)?;
        }
        archive.finish()
    }

    fn looks(&self, source: &Found) -> Looks {
        let mut looks = of_found(source);
        looks.mtime = self.time(looks.mtime);
        if !self.transfer.keeps_owner {
            (looks.uid, looks.gid) = (0, 0);
        }
        if let Some((uid, gid)) = self.transfer.owner {
            (looks.uid, looks.gid) = (uid, gid);
        }
        if source.kind() != FileType::Symlink
            && let Some(mode) = &self.transfer.mode
        {
            let is_folder = source.kind() == FileType::Directory;
            looks.mode = mode(looks.mode, is_folder) & 0o7777;
        }
        looks
    }

    fn time(&self, seconds: i64) -> i64 {
        self.transfer
            .epoch
            .map_or(seconds, |epoch| epoch.min(seconds))
    }
}

fn of_found(found: &Found) -> Looks {
    let stat = found.stat();
    Looks {
        uid: stat.st_uid,
        gid: stat.st_gid,
        mode: stat.st_mode & 0o7777,
        mtime: stat.st_mtime,
    }
}

fn entry(path: Vec<u8>, kind: EntryKind, looks: Looks) -> Entry {
    Entry {
        path,
        link: Vec::new(),
        kind,
        mode: looks.mode,
        uid: looks.uid.into(),
        gid: looks.gid.into(),
        size: 0,
        mtime: looks.mtime,
        mtime_nanos: 0,
        device: (0, 0),
        xattrs: Vec::new(),
        pieces: None,
    }
}

/// The parts of a name of an archive; `..` is refused, as no honest writer makes it.
fn parts_below(path: &[u8]) -> io::Result<Parts> {
    if path.split(|b| *b == b'/').any(|part| part == b"..") {
        return Err(invalid(format!(
            "the archive has `{}`, which leads out of it",
            shown(path)
        )));
    }
    Ok(parts(path))
}

fn not_a_folder(at: &[Vec<u8>]) -> io::Error {
    invalid(format!("`/{}` is no folder", shown(&joined(at))))
}

/// Splits a source of `COPY --parents` at `/./`: what is before it is not kept.
fn pivot(source: &[u8]) -> (Vec<u8>, Vec<u8>) {
    match source.windows(3).position(|w| w == b"/./") {
        Some(at) => (source[..at].to_vec(), source[at + 3..].to_vec()),
        None => (Vec::new(), source.to_vec()),
    }
}

/// Adds fields to a digest so that no two lists of fields are the same bytes.
pub(crate) fn add(sum: &mut Sha256, fields: &[&[u8]]) {
    for field in fields {
        sum.update((field.len() as u64).to_le_bytes());
        sum.update(field);
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
