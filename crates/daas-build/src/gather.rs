//! A context from folders of this machine: what its reader may read is copied, so that nobody changes it under the build.

use crate::builder::Builder;
use crate::context::Context;
use crate::error::BuildError;
use daas_image::{Budget, Found, Merged};
use daas_spec::dockerfile::Ignore;
use rustix::fs::FileType;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

/// On whose behalf folders of this machine are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnBehalfOf {
    /// Root, who may read everything.
    Root,
    /// A user: what belongs to another one must be readable for everybody.
    User {
        /// The user.
        uid: u32,
    },
}

/// A folder of this machine that becomes a part of a context.
#[derive(Debug)]
pub struct Gathered {
    /// The folder.
    pub folder: PathBuf,
    /// The part: `context`, or `contexts/<name>`.
    pub part: String,
    /// What stays behind.
    pub ignore: Ignore,
}

impl OnBehalfOf {
    fn judge(self, found: &Found, path: &str) -> Result<(), BuildError> {
        let Self::User { uid } = self else {
            return Ok(());
        };
        let stat = found.stat();
        let needed = match found.kind() {
            FileType::Directory => 0o005,
            FileType::RegularFile => 0o004,
            _ => 0,
        };
        if stat.st_uid == uid || stat.st_mode & needed == needed {
            return Ok(());
        }
        Err(BuildError::Forbidden {
            why: format!(
                "cannot read `{}` on behalf of uid {uid}",
                path.escape_debug()
            ),
            hint: "leave it out with `.dockerignore`, make it readable for everybody, or send the files along: `daas image build`".into(),
        })
    }

    /// Reads a file below `folder`, following links inside of the folder only; at most `limit` bytes. Blocks.
    ///
    /// # Errors
    /// [`BuildError::Context`] if it is not there, no file, or too long; [`BuildError::Forbidden`] if the reader may not read it.
    pub fn read(self, folder: &Path, file: &str, limit: usize) -> Result<Vec<u8>, BuildError> {
        let shown = folder.join(file.trim_start_matches('/'));
        let refuse = |why: &str| BuildError::Context {
            why: format!("`{}` {why}", shown.display()),
        };
        let tree = Merged::open([folder]).map_err(|e| refuse(&e.to_string()))?;
        let found = tree
            .resolve(file.as_bytes())
            .map_err(|e| refuse(&io::Error::from(e).to_string()))?
            .ok_or_else(|| refuse("is not there"))?;
        if found.kind() != FileType::RegularFile {
            return Err(refuse("is no file"));
        }
        self.judge(&found, &shown.to_string_lossy())?;
        let mut bytes = Vec::new();
        found
            .open()
            .and_then(|file| file.take(limit as u64 + 1).read_to_end(&mut bytes))
            .map_err(|e| refuse(&e.to_string()))?;
        if bytes.len() > limit {
            return Err(refuse(&format!("has more than {limit} bytes")));
        }
        Ok(bytes)
    }
}

impl Builder {
    /// Copies folders of this machine into a context. Blocks.
    ///
    /// Links are copied as links, what is neither file, folder nor link is left out, and owners mean nothing.
    ///
    /// # Errors
    /// [`BuildError::Context`] if a folder is not there or too large, [`BuildError::Forbidden`] for what the reader may not read.
    pub fn gather(&self, parts: &[Gathered], who: OnBehalfOf) -> Result<Context, BuildError> {
        let scratch = self.scratch()?;
        for part in parts {
            let target = scratch.path().join(&part.part);
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(&target)
                .map_err(BuildError::io("make the folder", &target))?;
            let tree = Merged::open([&part.folder]).map_err(|e| BuildError::Context {
                why: format!("`{}`: {e}", part.folder.display()),
            })?;
            let root = tree
                .find(&[])
                .map_err(|e| BuildError::io("look at", &part.folder)(e.into()))?;
            if let Some(root) = root {
                who.judge(&root, &part.folder.to_string_lossy())?;
            }
            let mut copying = Copying {
                part,
                tree,
                who,
                keeps_owner: false,
                budget: Budget::default(),
                entries: 0,
                bytes: 0,
            };
            copying.folder(&mut Vec::new(), &target)?;
        }
        Ok(Context::of(scratch))
    }
}

/// Fills a cache with what is in the folder `source` of `tree`, owners and modes included. Blocks.
pub(crate) fn fill(tree: Merged, source: &str, target: &Path) -> Result<(), BuildError> {
    let part = Gathered {
        folder: PathBuf::from("/"),
        part: String::new(),
        ignore: Ignore::default(),
    };
    let (mut at, _) = tree
        .land(source.as_bytes())
        .map_err(|e| BuildError::io("look at", source)(e.into()))?;
    let mut copying = Copying {
        part: &part,
        tree,
        who: OnBehalfOf::Root,
        keeps_owner: true,
        budget: Budget::default(),
        entries: 0,
        bytes: 0,
    };
    copying.folder(&mut at, target)
}

struct Copying<'a> {
    part: &'a Gathered,
    tree: Merged,
    who: OnBehalfOf,
    /// Whether owners mean something: files of an image or a stage.
    keeps_owner: bool,
    budget: Budget,
    entries: u64,
    bytes: u64,
}

impl Copying<'_> {
    fn failed(&self, inside: &str) -> impl FnOnce(io::Error) -> BuildError + use<> {
        let place = self.part.folder.join(inside);
        move |e| BuildError::io("copy into a context", place)(e)
    }

    fn count(&mut self, bytes: u64) -> Result<(), BuildError> {
        self.entries += 1;
        self.bytes += bytes;
        if self.entries > self.budget.entries || self.bytes > self.budget.bytes.0 {
            return Err(BuildError::Context {
                why: format!(
                    "`{}` has more than {} files or {}",
                    self.part.folder.display(),
                    self.budget.entries,
                    self.budget.bytes
                ),
            });
        }
        Ok(())
    }

    /// Copies what is in the folder `parts` to `target`.
    fn folder(&mut self, parts: &mut Vec<Vec<u8>>, target: &Path) -> Result<(), BuildError> {
        if parts.len() > self.budget.depth {
            return Err(BuildError::Context {
                why: format!("a folder is deeper than {}", self.budget.depth),
            });
        }
        let shown = String::from_utf8_lossy(&parts.join(&b'/')).into_owned();
        let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        let names = self.tree.list(&slices).map_err(self.failed(&shown))?;
        for name in names.unwrap_or_default() {
            parts.push(name);
            self.one(parts, target)?;
            parts.pop();
        }
        Ok(())
    }

    fn one(&mut self, parts: &mut Vec<Vec<u8>>, above: &Path) -> Result<(), BuildError> {
        let inside = String::from_utf8_lossy(&parts.join(&b'/')).into_owned();
        let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        let found = self.tree.find(&slices);
        let Some(found) = found.map_err(|e| self.failed(&inside)(e.into()))? else {
            return Ok(());
        };
        let is_folder = found.kind() == FileType::Directory;
        let ignore = &self.part.ignore;
        if ignore.excludes(&inside) && !(is_folder && ignore.may_keep_below(&inside)) {
            return Ok(());
        }
        self.who.judge(&found, &inside)?;
        let target = above.join(OsStr::from_bytes(parts.last().map_or(b"", Vec::as_slice)));
        match found.kind() {
            FileType::Directory => {
                self.count(0)?;
                fs::DirBuilder::new()
                    .mode(0o700)
                    .create(&target)
                    .map_err(self.failed(&inside))?;
                self.folder(parts, &target)?;
                self.dress(&found, &target).map_err(self.failed(&inside))
            }
            FileType::RegularFile => {
                self.count(u64::try_from(found.stat().st_size).unwrap_or(0))?;
                // Between files of one file system the kernel shares blocks where it can.
                let copy = || -> io::Result<()> {
                    io::copy(&mut found.open()?, &mut File::create_new(&target)?)?;
                    self.dress(&found, &target)
                };
                copy().map_err(self.failed(&inside))
            }
            FileType::Symlink => {
                self.count(0)?;
                let to = found.link().map_err(self.failed(&inside))?;
                symlink(OsStr::from_bytes(&to), &target)
                    .and_then(|()| self.own(&found, &target))
                    .map_err(self.failed(&inside))
            }
            _ => Ok(()),
        }
    }

    fn own(&self, found: &Found, target: &Path) -> io::Result<()> {
        if self.keeps_owner {
            lchown(target, Some(found.stat().st_uid), Some(found.stat().st_gid))?;
        }
        Ok(())
    }

    /// Gives a copy the owner, if that means something, the mode and the time of what it was made from.
    fn dress(&self, found: &Found, target: &Path) -> io::Result<()> {
        // First the owner: a change of it takes set-id bits away.
        self.own(found, target)?;
        fs::set_permissions(
            target,
            fs::Permissions::from_mode(found.stat().st_mode & 0o7777),
        )?;
        let seconds = u64::try_from(found.stat().st_mtime).unwrap_or(0);
        File::open(target)?.set_modified(UNIX_EPOCH + Duration::from_secs(seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(folder: &Path, who: OnBehalfOf, ignore: &[&str]) -> Result<PathBuf, BuildError> {
        let part = Gathered {
            folder: folder.to_owned(),
            part: "context".into(),
            ignore: Ignore::patterns(ignore.iter().copied()).unwrap(),
        };
        let target = folder.parent().unwrap().join("copy");
        fs::create_dir(&target).unwrap();
        let mut copying = Copying {
            tree: Merged::open([folder]).unwrap(),
            part: &part,
            who,
            keeps_owner: false,
            budget: Budget::default(),
            entries: 0,
            bytes: 0,
        };
        copying.folder(&mut Vec::new(), &target).map(|()| target)
    }

    #[test]
    fn files_are_copied_with_their_modes_and_links_stay_links() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("from");
        fs::create_dir_all(folder.join("a/b")).unwrap();
        fs::write(folder.join("a/b/run"), "x").unwrap();
        fs::set_permissions(folder.join("a/b/run"), fs::Permissions::from_mode(0o751)).unwrap();
        fs::write(folder.join("left"), "x").unwrap();
        symlink("/etc/passwd", folder.join("out")).unwrap();
        let copy = copy(&folder, OnBehalfOf::Root, &["left"]).unwrap();
        let meta = fs::metadata(copy.join("a/b/run")).unwrap();
        assert_eq!(meta.permissions().mode() & 0o7777, 0o751);
        assert_eq!(
            fs::read_link(copy.join("out")).unwrap(),
            Path::new("/etc/passwd")
        );
        assert!(!copy.join("left").exists());
    }

    #[test]
    fn what_a_user_may_not_read_is_not_read_for_him() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("from");
        fs::create_dir(&folder).unwrap();
        let file = folder.join("secret");
        fs::write(&file, "x").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let owner = fs::metadata(&file).unwrap().uid();
        let other = OnBehalfOf::User { uid: owner + 1 };
        let own = OnBehalfOf::User { uid: owner };
        assert!(matches!(
            copy(&folder, other, &[]),
            Err(BuildError::Forbidden { .. })
        ));
        fs::remove_dir_all(dir.path().join("copy")).unwrap();
        assert!(copy(&folder, own, &[]).is_ok());
        fs::remove_dir_all(dir.path().join("copy")).unwrap();
        assert!(copy(&folder, other, &["secret"]).is_ok());
        assert!(matches!(
            other.read(&folder, "secret", 10),
            Err(BuildError::Forbidden { .. })
        ));
        assert_eq!(own.read(&folder, "secret", 10).unwrap(), b"x");
        assert!(own.read(&folder, "../from/secret", 10).is_err());
        assert!(own.read(&folder, "secret", 0).is_err());
    }
}
