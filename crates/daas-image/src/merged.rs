use crate::confined::{self, is_whiteout, kind_of, of};
use rustix::fs::{self, FileType};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::Path;

/// The xattr by which overlayfs marks a directory that hides what is below it.
pub(crate) const OPAQUE: &str = "trusted.overlay.opaque";

/// Most links followed on the way to one file, as the kernel does (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// Several unpacked layers seen as one tree, read without mounting anything and without leaving them.
pub(crate) struct Merged {
    /// Top first.
    layers: Vec<OwnedFd>,
}

/// What a name of the merged tree is.
pub(crate) struct Found {
    /// The directory that holds it, in the layer where it is.
    pub(crate) parent: OwnedFd,
    /// Its name there.
    pub(crate) name: Vec<u8>,
    pub(crate) stat: fs::Stat,
}

impl Merged {
    /// Opens the roots of `layers`, given top first.
    pub(crate) fn open<P: AsRef<Path>>(
        layers: impl IntoIterator<Item = P>,
    ) -> std::io::Result<Self> {
        Ok(Self {
            layers: layers
                .into_iter()
                .map(|p| confined::open_root(p.as_ref()))
                .collect::<Result<_, _>>()?,
        })
    }

    /// Finds what `parts` names, following no link. `Ok(None)` if nothing is there or a part before the last is no directory.
    ///
    /// No parts name the root, which is reported as `.` of the topmost layer.
    pub(crate) fn find(&self, parts: &[&[u8]]) -> Result<Option<Found>, Errno> {
        let Some((last, dirs)) = parts.split_last() else {
            let Some(top) = self.layers.first() else {
                return Ok(None);
            };
            let parent = clone(top)?;
            let stat = fs::fstat(top)?;
            return Ok(Some(Found {
                parent,
                name: b".".to_vec(),
                stat,
            }));
        };
        let mut level = self
            .layers
            .iter()
            .map(clone)
            .collect::<Result<Vec<_>, _>>()?;
        for part in dirs {
            let mut next = Vec::new();
            for dir in &level {
                match confined::open_dir(of(dir), part) {
                    Ok(fd) => {
                        let opaque = is_opaque(&fd)?;
                        next.push(fd);
                        if opaque {
                            break;
                        }
                    }
                    Err(Errno::NOENT) => {}
                    // A whiteout, a link or a file: it hides what is below it.
                    Err(Errno::NOTDIR | Errno::LOOP) => break,
                    Err(e) => return Err(e),
                }
            }
            if next.is_empty() {
                return Ok(None);
            }
            level = next;
        }
        for dir in level {
            match confined::look(of(&dir), last)? {
                None => {}
                Some(stat) if is_whiteout(&stat) => return Ok(None),
                Some(stat) => {
                    return Ok(Some(Found {
                        parent: dir,
                        name: last.to_vec(),
                        stat,
                    }));
                }
            }
        }
        Ok(None)
    }

    /// Finds what `path` leads to, following links inside the tree as a process would whose root it is.
    ///
    /// `..` above the root is the root.
    pub(crate) fn resolve(&self, path: &[u8]) -> Result<Option<Found>, Errno> {
        let mut todo: Vec<Vec<u8>> = split_reversed(path);
        let mut done: Vec<Vec<u8>> = Vec::new();
        let mut links = 0;
        while let Some(part) = todo.pop() {
            if part == b".." {
                done.pop();
                continue;
            }
            done.push(part);
            let Some(found) = self.find(&slices(&done))? else {
                return Ok(None);
            };
            match kind_of(&found.stat) {
                FileType::Symlink => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Errno::LOOP);
                    }
                    let target = confined::read_link(of(&found.parent), &found.name)?;
                    done.pop();
                    if target.starts_with(b"/") {
                        done.clear();
                    }
                    todo.extend(split_reversed(&target));
                }
                FileType::Directory => {}
                _ if !todo.is_empty() => return Ok(None),
                _ => {}
            }
        }
        self.find(&slices(&done))
    }
}

/// Whether the directory hides what is below it.
pub(crate) fn is_opaque(dir: &OwnedFd) -> Result<bool, Errno> {
    let mut value = [0u8; 8];
    match fs::fgetxattr(dir, OPAQUE, &mut value[..]) {
        Ok(n) => Ok(&value[..n] == b"y"),
        Err(Errno::NODATA | Errno::NOTSUP) => Ok(false),
        // A longer value is nothing that we wrote.
        Err(Errno::RANGE) => Ok(false),
        Err(e) => Err(e),
    }
}

pub(crate) fn slices(parts: &[Vec<u8>]) -> Vec<&[u8]> {
    parts.iter().map(Vec::as_slice).collect()
}

fn split_reversed(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|b| *b == b'/')
        .filter(|p| !p.is_empty() && *p != b".")
        .rev()
        .map(<[u8]>::to_vec)
        .collect()
}

fn clone(fd: &OwnedFd) -> Result<OwnedFd, Errno> {
    rustix::io::fcntl_dupfd_cloexec(fd, 3)
}
