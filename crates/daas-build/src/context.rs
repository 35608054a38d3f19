//! A context comes in as a tar stream.

use crate::builder::Builder;
use crate::error::BuildError;
use crate::stubs::Scratch;
use daas_image::{Budget, unpack};
use daas_spec::dockerfile::Ignore;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A context that was received; its files end with it.
#[derive(Debug)]
pub struct Context {
    scratch: Scratch,
}

impl Context {
    /// Makes a context of a folder that ends with it.
    pub(crate) fn of(scratch: Scratch) -> Self {
        Self { scratch }
    }

    /// Returns the folder `name` of what was received; nothing if there is no folder of that name.
    #[must_use]
    pub fn part(&self, name: &str) -> Option<PathBuf> {
        let path = self.scratch.path().join(name);
        // A link would lead out of it.
        let is_folder = name.split('/').all(|part| !matches!(part, "" | "." | ".."))
            && !name.contains('\0')
            && parts_are_folders(self.scratch.path(), name);
        is_folder.then_some(path)
    }

    /// Returns the names of the folders below the folder `name`.
    ///
    /// # Errors
    /// [`BuildError::Io`].
    pub fn parts(&self, name: &str) -> Result<Vec<String>, BuildError> {
        let Some(path) = self.part(name) else {
            return Ok(Vec::new());
        };
        let mut names = Vec::new();
        for entry in fs::read_dir(&path).map_err(BuildError::io("list", &path))? {
            let entry = entry.map_err(BuildError::io("list", &path))?;
            names.extend(entry.file_name().into_string().ok());
        }
        names.sort();
        Ok(names)
    }

    /// Returns the folder of all that was received.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.scratch.path()
    }

    /// Removes what `.dockerignore` leaves out of the folder `part`: who sent the files may have sent too much.
    ///
    /// `dockerfile` has a list of its own beside it first.
    ///
    /// # Errors
    /// [`BuildError::Context`] if the list makes no sense.
    pub fn ignore(&self, part: &Path, dockerfile: &str) -> Result<(), BuildError> {
        let list = match read(part, &format!("{dockerfile}.dockerignore"))? {
            Some(list) => list,
            None => match read(part, ".dockerignore")? {
                Some(list) => list,
                None => return Ok(()),
            },
        };
        let ignore = Ignore::read(&list).map_err(|e| BuildError::Context {
            why: format!("`.dockerignore`: {e}"),
        })?;
        if ignore.is_empty() {
            return Ok(());
        }
        sweep(part, "", &ignore).map(|_| ())
    }
}

/// Whether every part of `name` below `root` is a folder itself and no link to one.
fn parts_are_folders(root: &Path, name: &str) -> bool {
    let mut path = root.to_owned();
    name.split('/').all(|part| {
        path.push(part);
        fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir())
    })
}

/// Reads a file of a context; nothing if there is none.
fn read(folder: &Path, name: &str) -> Result<Option<Vec<u8>>, BuildError> {
    let failed = |e: std::io::Error| BuildError::Context { why: e.to_string() };
    let tree = daas_image::Merged::open([folder]).map_err(failed)?;
    let found = tree
        .resolve(name.as_bytes())
        .map_err(|e| failed(e.into()))?;
    let Some(found) = found.filter(|f| f.kind() == rustix::fs::FileType::RegularFile) else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    let limit = daas_spec::dockerfile::MAX_DOCKERFILE as u64;
    found
        .open()
        .map_err(failed)?
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(BuildError::Context {
            why: format!("`{}` has more than {limit} bytes", name.escape_debug()),
        });
    }
    Ok(Some(bytes))
}

/// Removes what is left out below `folder`; tells whether nothing is left in it.
fn sweep(folder: &Path, path: &str, ignore: &Ignore) -> Result<bool, BuildError> {
    let mut empty = true;
    for entry in fs::read_dir(folder).map_err(BuildError::io("list", folder))? {
        let entry = entry.map_err(BuildError::io("list", folder))?;
        let name = String::from_utf8_lossy(entry.file_name().as_bytes()).into_owned();
        let inside = if path.is_empty() {
            name
        } else {
            format!("{path}/{name}")
        };
        let place = entry.path();
        let is_folder = entry
            .file_type()
            .map_err(BuildError::io("look at", &place))?
            .is_dir();
        let out = ignore.excludes(&inside);
        let gone = match (out, is_folder) {
            (true, false) => {
                fs::remove_file(&place).map_err(BuildError::io("remove", &place))?;
                true
            }
            (true, true) if !ignore.may_keep_below(&inside) => {
                fs::remove_dir_all(&place).map_err(BuildError::io("remove", &place))?;
                true
            }
            (out, true) => {
                let bare = sweep(&place, &inside, ignore)?;
                if out && bare {
                    fs::remove_dir(&place).map_err(BuildError::io("remove", &place))?;
                }
                out && bare
            }
            (false, false) => false,
        };
        empty &= gone;
    }
    Ok(empty)
}

impl Builder {
    /// Unpacks a context that comes as a tar stream, plain or compressed. Blocks.
    ///
    /// Owners mean nothing: everything becomes root's when it is copied. A hostile archive reaches nothing outside of its folder.
    ///
    /// # Errors
    /// [`BuildError::Context`] if it is no archive, or a bomb.
    pub fn receive(&self, stream: impl Read) -> Result<Context, BuildError> {
        let scratch = self.scratch()?;
        let applied = unpack(stream, scratch.path(), &Budget::default()).map_err(|e| {
            BuildError::Context {
                why: daas_model::render_chain(&e),
            }
        })?;
        if applied.whiteouts > 0 {
            return Err(BuildError::Context {
                why: "it has names that begin with `.wh.`, which mean removed files in an image"
                    .into(),
            });
        }
        Ok(Context { scratch })
    }
}
