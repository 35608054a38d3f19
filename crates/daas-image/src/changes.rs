use crate::confined::{self, is_whiteout, kind_of, path_of, xattrs_of};
use crate::draft::LayerDraft;
use crate::merged::is_opaque;
use crate::tar::{Entry, EntryKind};
use rustix::fs::{self, FileType, Stat};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Files with authorities are looked into up to this size; Mozilla's bundle has 0.2 MB.
const LARGEST_BUNDLE: u64 = 8 << 20;

/// How deep a tree may be, as for every layer.
const DEEPEST: usize = 255;

/// Reads the upper folder of an overlay as a layer: what was made, changed and removed, sorted by name.
///
/// The tree may be hostile: every name is taken from the folder's own descriptor and no link is followed. It must not change meanwhile.
#[derive(Debug, Default)]
pub struct Changes {
    epoch: Option<i64>,
    /// The lines around what certificates of the tree shall not bear.
    marks: Option<(&'static str, &'static str)>,
    /// The first name of each file that has several.
    links: HashMap<(u64, u64), Vec<u8>>,
    entries: u64,
}

impl Changes {
    /// Cuts times that are younger than `epoch`, seconds since 1970, to it; without, times stay.
    #[must_use]
    pub fn clamped(epoch: Option<i64>) -> Self {
        Self {
            epoch,
            ..Self::default()
        }
    }

    /// Leaves out what stands between two lines, and these, in files of certificates (`*.crt`, `*.pem`, `*.cer`, and by OpenSSL's sum; up to 8 MiB), and files that
    /// are nothing else: what a command was shown and its image shall not have.
    #[must_use]
    pub fn without(mut self, begin: &'static str, end: &'static str) -> Self {
        self.marks = Some((begin, end));
        self
    }

    /// Writes all changes below `root` to a layer. Blocks.
    ///
    /// # Errors
    /// What reading the tree or writing the layer says.
    pub fn write(mut self, root: &OwnedFd, draft: &mut LayerDraft) -> io::Result<u64> {
        // A bind that was handed over is a place, not an open folder.
        let root = fs::openat(
            root,
            ".",
            fs::OFlags::RDONLY | fs::OFlags::DIRECTORY | fs::OFlags::CLOEXEC,
            fs::Mode::empty(),
        )?;
        let stat = fs::fstat(&root)?;
        let mut entry = self.entry(b"./".to_vec(), EntryKind::Directory, &stat);
        // When the root itself was changed is the moment of the build: no two would be equal.
        (entry.mtime, entry.mtime_nanos) = (0, 0);
        draft.entry(&entry, &mut io::empty())?;
        self.folder(&root, b"", 0, draft)?;
        Ok(self.entries)
    }

    fn folder(
        &mut self,
        folder: &OwnedFd,
        path: &[u8],
        depth: usize,
        draft: &mut LayerDraft,
    ) -> io::Result<()> {
        if depth > DEEPEST {
            return Err(io::Error::other(format!(
                "a folder is deeper than {DEEPEST}"
            )));
        }
        if is_opaque(folder)? {
            self.mark(path, b".wh..wh..opq", draft)?;
        }
        for name in names(folder)? {
            let Some(stat) = confined::look(folder.as_fd(), &name)? else {
                continue;
            };
            if is_whiteout(&stat) {
                self.mark(path, &[b".wh.", name.as_slice()].concat(), draft)?;
                continue;
            }
            if name.starts_with(b".wh.") {
                return Err(io::Error::other(format!(
                    "`{}` cannot be in an image: names that begin with `.wh.` mean removed files there",
                    String::from_utf8_lossy(&join(path, &name))
                )));
            }
            let below = join(path, &name);
            self.add(folder.as_fd(), &name, below.clone(), &stat, draft)?;
            if kind_of(&stat) == FileType::Directory {
                let inner = confined::open_dir(folder.as_fd(), &name)?;
                self.folder(&inner, &below, depth + 1, draft)?;
            }
        }
        Ok(())
    }

    /// Writes one of the names by which layers say what is gone.
    fn mark(&mut self, path: &[u8], name: &[u8], draft: &mut LayerDraft) -> io::Result<()> {
        self.entries += 1;
        let entry = Entry {
            path: join(path, name),
            link: Vec::new(),
            kind: EntryKind::File,
            mode: 0,
            uid: 0,
            gid: 0,
            size: 0,
            mtime: 0,
            mtime_nanos: 0,
            device: (0, 0),
            xattrs: Vec::new(),
            pieces: None,
        };
        draft.entry(&entry, &mut io::empty())
    }

    fn add(
        &mut self,
        folder: BorrowedFd<'_>,
        name: &[u8],
        path: Vec<u8>,
        stat: &Stat,
        draft: &mut LayerDraft,
    ) -> io::Result<()> {
        let kind = match kind_of(stat) {
            FileType::RegularFile => EntryKind::File,
            FileType::Directory => EntryKind::Directory,
            FileType::Symlink => EntryKind::Symlink,
            FileType::CharacterDevice => EntryKind::CharDevice,
            FileType::BlockDevice => EntryKind::BlockDevice,
            FileType::Fifo => EntryKind::Fifo,
            // A socket lives only as long as its program.
            FileType::Socket | FileType::Unknown => return Ok(()),
        };
        let mut entry = self.entry(path, kind, stat);
        if kind == EntryKind::Symlink {
            entry.link = confined::read_link(folder, name)?;
        } else if kind != EntryKind::Directory && stat.st_nlink > 1 {
            match self.links.entry((stat.st_dev, stat.st_ino)) {
                std::collections::hash_map::Entry::Occupied(first) => {
                    entry.kind = EntryKind::HardLink;
                    entry.link.clone_from(first.get());
                    entry.size = 0;
                    return draft.entry(&entry, &mut io::empty());
                }
                std::collections::hash_map::Entry::Vacant(slot) => {
                    slot.insert(entry.path.clone());
                }
            }
        }
        entry.xattrs = xattrs_of(&path_of(folder, name))?;
        if let Some((key, _)) = entry.xattrs.iter().find(|(key, _)| {
            key.starts_with(b"trusted.overlay.redirect")
                || key.starts_with(b"trusted.overlay.metacopy")
        }) {
            return Err(io::Error::other(format!(
                "`{}` has `{}`: it cannot be read without the layers below",
                String::from_utf8_lossy(&entry.path),
                String::from_utf8_lossy(key)
            )));
        }
        entry
            .xattrs
            .retain(|(key, _)| !key.starts_with(b"trusted.") && key != b"security.selinux");
        if kind == EntryKind::File {
            let mut file = File::from(confined::open_file(folder, name)?);
            if let Some((begin, end)) = self.marks
                && entry.size <= LARGEST_BUNDLE
                && is_certificates(name)
            {
                let mut content = Vec::new();
                file.take(LARGEST_BUNDLE).read_to_end(&mut content)?;
                let shown = content.len();
                let content = cut(content, begin.as_bytes(), end.as_bytes());
                // Nothing of the image's was in it: the command touched what it was shown, and no more.
                if content.is_empty() && shown > 0 && stat.st_nlink == 1 {
                    self.entries -= 1;
                    return Ok(());
                }
                entry.size = content.len() as u64;
                return draft.entry(&entry, &mut content.as_slice());
            }
            draft.entry(&entry, &mut file)
        } else {
            draft.entry(&entry, &mut io::empty())
        }
    }

    fn entry(&mut self, path: Vec<u8>, kind: EntryKind, stat: &Stat) -> Entry {
        self.entries += 1;
        Entry {
            path,
            link: Vec::new(),
            kind,
            mode: stat.st_mode & 0o7777,
            uid: u64::from(stat.st_uid),
            gid: u64::from(stat.st_gid),
            size: if kind == EntryKind::File {
                u64::try_from(stat.st_size).unwrap_or(0)
            } else {
                0
            },
            // Whole seconds, as every builder writes: a fraction would cost each entry a header of its own.
            mtime: self
                .epoch
                .map_or(stat.st_mtime, |epoch| epoch.min(stat.st_mtime)),
            mtime_nanos: 0,
            device: match kind {
                EntryKind::CharDevice | EntryKind::BlockDevice => {
                    (fs::major(stat.st_rdev), fs::minor(stat.st_rdev))
                }
                _ => (0, 0),
            },
            xattrs: Vec::new(),
            pieces: None,
        }
    }
}

fn is_certificates(name: &[u8]) -> bool {
    // How OpenSSL finds one in a folder: the sum of its subject, and a number.
    let by_sum = name.len() > 9
        && name[8] == b'.'
        && name[..8].iter().all(u8::is_ascii_hexdigit)
        && name[9..].iter().all(u8::is_ascii_digit);
    let ends = [b".crt", b".pem", b".cer"];
    by_sum || ends.iter().any(|end| name.ends_with(*end))
}

/// Takes out every piece that begins with `begin` and ends with the next `end`.
fn cut(mut content: Vec<u8>, begin: &[u8], end: &[u8]) -> Vec<u8> {
    let find = |content: &[u8], from: usize, what: &[u8]| {
        let at = content[from..]
            .windows(what.len())
            .position(|piece| piece == what)?;
        Some(from + at)
    };
    let mut from = 0;
    while let Some(at) = find(&content, from, begin) {
        let Some(last) = find(&content, at, end) else {
            break;
        };
        content.drain(at..last + end.len());
        from = at;
    }
    content
}

/// Lists a folder, sorted.
pub(crate) fn names(folder: &OwnedFd) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in fs::Dir::read_from(folder)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if !matches!(name.as_slice(), b"." | b"..") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() {
        name.to_vec()
    } else {
        [path, b"/", name].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_between_the_marks_is_cut_out_and_nothing_else() {
        let cut =
            |text: &str| String::from_utf8(cut(text.into(), b"# begin\n", b"# end\n")).unwrap();
        assert_eq!(
            cut("a\n# begin\nx\n# end\nb\n# begin\ny\n# end\n"),
            "a\nb\n"
        );
        assert_eq!(cut("# end\na\n# begin\nx\n"), "# end\na\n# begin\nx\n");
        assert_eq!(cut(""), "");
        assert!(is_certificates(b"cert.pem") && !is_certificates(b"pem"));
        assert!(is_certificates(b"4e93a457.0") && !is_certificates(b"4e93a457.x"));
        assert!(!is_certificates(b"4e93a457."));
    }
}
