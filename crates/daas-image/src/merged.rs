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
pub struct Merged {
    /// Top first.
    layers: Vec<OwnedFd>,
}

/// What a name of the merged tree is.
pub struct Found {
    /// The directory that holds it, in the layer where it is.
    pub(crate) parent: OwnedFd,
    /// Its name there.
    pub(crate) name: Vec<u8>,
    pub(crate) stat: fs::Stat,
}

impl Found {
    /// Returns kind, mode, owner, size and times.
    #[must_use]
    pub fn stat(&self) -> &fs::Stat {
        &self.stat
    }

    /// Returns what kind of file it is.
    #[must_use]
    pub fn kind(&self) -> FileType {
        kind_of(&self.stat)
    }

    /// Opens a regular file for reading.
    ///
    /// # Errors
    /// What the kernel says; `EINVAL` for anything but a regular file.
    pub fn open(&self) -> std::io::Result<std::fs::File> {
        Ok(confined::open_file(of(&self.parent), &self.name)?.into())
    }

    /// Reads where a symbolic link leads.
    ///
    /// # Errors
    /// What the kernel says; `EINVAL` for anything but a link.
    pub fn link(&self) -> std::io::Result<Vec<u8>> {
        Ok(confined::read_link(of(&self.parent), &self.name)?)
    }

    /// Returns its extended attributes by name, without those of overlayfs and of the host's security modules.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn xattrs(&self) -> std::io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut found = confined::xattrs_of(&confined::path_of(of(&self.parent), &self.name))?;
        found.retain(|(key, _)| !key.starts_with(b"trusted.") && key != b"security.selinux");
        Ok(found)
    }
}

impl std::fmt::Debug for Merged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Merged")
            .field("layers", &self.layers.len())
            .finish()
    }
}

impl std::fmt::Debug for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Found")
            .field("name", &String::from_utf8_lossy(&self.name))
            .finish_non_exhaustive()
    }
}

impl Merged {
    /// Opens the roots of `layers`, given top first.
    ///
    /// # Errors
    /// If one of them is no folder.
    pub fn open<P: AsRef<Path>>(layers: impl IntoIterator<Item = P>) -> std::io::Result<Self> {
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
    ///
    /// # Errors
    /// What the kernel says.
    pub fn find(&self, parts: &[&[u8]]) -> Result<Option<Found>, Errno> {
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
        let Some(level) = self.level(dirs)? else {
            return Ok(None);
        };
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

    /// Lists the names in the folder `parts`, sorted, following no link; nothing if it is no folder.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn list(&self, parts: &[&[u8]]) -> Result<Option<Vec<Vec<u8>>>, std::io::Error> {
        let Some(level) = self.level(parts)? else {
            return Ok(None);
        };
        let mut seen: std::collections::BTreeMap<Vec<u8>, bool> = std::collections::BTreeMap::new();
        for dir in &level {
            for name in crate::changes::names(dir)? {
                if seen.contains_key(&name) {
                    continue;
                }
                // Only the way in which a name is first met counts: a whiteout hides what is below.
                let there = confined::look(of(dir), &name)?.is_some_and(|stat| !is_whiteout(&stat));
                seen.insert(name, there);
            }
        }
        Ok(Some(
            seen.into_iter()
                .filter_map(|(name, there)| there.then_some(name))
                .collect(),
        ))
    }

    /// Opens the folder `parts` in every layer that has a say in it, top first.
    fn level(&self, parts: &[&[u8]]) -> Result<Option<Vec<OwnedFd>>, Errno> {
        let mut level = self
            .layers
            .iter()
            .map(clone)
            .collect::<Result<Vec<_>, _>>()?;
        for part in parts {
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
        Ok(Some(level))
    }

    /// Finds what `path` leads to, following links inside the tree as a process would whose root it is.
    ///
    /// `..` above the root is the root.
    ///
    /// # Errors
    /// `ELOOP` after 40 links, and what the kernel says.
    pub fn resolve(&self, path: &[u8]) -> Result<Option<Found>, Errno> {
        Ok(self.land(path)?.1)
    }

    /// Finds where `path` leads to, following links inside the tree: its parts without links, and what is there.
    ///
    /// Parts behind one that is missing, or that is no folder, are taken as they are, and nothing is there then.
    ///
    /// # Errors
    /// `ELOOP` after 40 links, and what the kernel says.
    pub fn land(&self, path: &[u8]) -> Result<(Vec<Vec<u8>>, Option<Found>), Errno> {
        let mut todo: Vec<Vec<u8>> = split_reversed(path);
        let mut done: Vec<Vec<u8>> = Vec::new();
        let mut links = 0;
        let mut missing = false;
        while let Some(part) = todo.pop() {
            if part == b".." {
                done.pop();
                continue;
            }
            done.push(part);
            if missing {
                continue;
            }
            let Some(found) = self.find(&slices(&done))? else {
                missing = true;
                continue;
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
                _ if !todo.is_empty() => missing = true,
                _ => {}
            }
        }
        let found = if missing {
            None
        } else {
            self.find(&slices(&done))?
        };
        Ok((done, found))
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
