//! A context comes in as a tar stream, or is fetched.

use crate::archive::{self, Sniffed};
use crate::builder::Builder;
use crate::error::BuildError;
use crate::stubs::Scratch;
use daas_image::{Budget, unpack};
use daas_spec::dockerfile::Ignore;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A context that was received; its files end with the last of its clones.
#[derive(Debug, Clone)]
pub struct Context {
    scratch: Arc<Scratch>,
}

impl Context {
    /// Makes a context of a folder that ends with it.
    pub(crate) fn of(scratch: Scratch) -> Self {
        Self {
            scratch: Arc::new(scratch),
        }
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

    /// Returns where the part `name` is put; it must not be there yet.
    pub(crate) fn place(&self, name: &str) -> Result<PathBuf, BuildError> {
        let path = self.scratch.path().join(name);
        let valid = name.split('/').all(|part| !matches!(part, "" | "." | ".."));
        if !valid || name.contains('\0') || fs::symlink_metadata(&path).is_ok() {
            return Err(BuildError::Context {
                why: format!(
                    "it has two parts `{}`, or none can have that name",
                    name.escape_debug()
                ),
            });
        }
        if let Some(above) = name.rsplit_once('/').map(|(above, _)| above)
            && self.part(above).is_none()
        {
            let folder = self.scratch.path().join(above);
            fs::create_dir(&folder).map_err(BuildError::io("make the folder", folder))?;
        }
        Ok(path)
    }

    /// Reads the Dockerfile `file` of the part `context`.
    ///
    /// # Errors
    /// [`BuildError::Context`] if there is none, or if it is too long.
    pub fn dockerfile(&self, file: &str) -> Result<Vec<u8>, BuildError> {
        let found = match self.part("context") {
            Some(part) => read(&part, file)?,
            None => None,
        };
        found.ok_or_else(|| BuildError::Context {
            why: format!("it has no `{}`", file.escape_debug()),
        })
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
        unpack_into(stream, scratch.path())?;
        Ok(Context::of(scratch))
    }

    /// Makes a context without files.
    ///
    /// # Errors
    /// [`BuildError::Io`].
    pub fn empty_context(&self) -> Result<Context, BuildError> {
        Ok(Context::of(self.scratch()?))
    }

    /// Takes a stream that is the whole of a context: an archive, which becomes its part `context`, or a Dockerfile, which is returned. Blocks.
    ///
    /// Archives may be compressed by gzip, zstd, bzip2 or xz.
    ///
    /// # Errors
    /// As [`Builder::receive`].
    pub fn receive_whole(
        &self,
        stream: impl Read,
    ) -> Result<(Context, Option<Vec<u8>>), BuildError> {
        let context = self.empty_context()?;
        let dockerfile = context.take_whole("context", stream)?;
        Ok((context, dockerfile))
    }
}

impl Context {
    /// Unpacks an archive as a part; what is none is a Dockerfile and returned.
    pub(crate) fn take_whole(
        &self,
        part: &str,
        stream: impl Read,
    ) -> Result<Option<Vec<u8>>, BuildError> {
        let failed = |e: std::io::Error| BuildError::Context { why: e.to_string() };
        match archive::sniff(stream).map_err(failed)? {
            Sniffed::Archive(stream) => {
                let folder = self.place(part)?;
                fs::create_dir(&folder).map_err(BuildError::io("make the folder", &folder))?;
                unpack_into(stream, &folder)?;
                Ok(None)
            }
            Sniffed::Other(stream) => {
                let mut text = Vec::new();
                let limit = daas_spec::dockerfile::MAX_DOCKERFILE as u64;
                stream
                    .take(limit + 1)
                    .read_to_end(&mut text)
                    .map_err(failed)?;
                if text.len() as u64 > limit {
                    return Err(BuildError::Context {
                        why: format!(
                            "it is no archive, and as a Dockerfile it has more than {limit} bytes"
                        ),
                    });
                }
                Ok(Some(text))
            }
        }
    }
}

fn unpack_into(stream: impl Read, folder: &Path) -> Result<(), BuildError> {
    let applied = unpack(stream, folder, &Budget::default()).map_err(|e| BuildError::Context {
        why: daas_model::render_chain(&e),
    })?;
    if applied.whiteouts > 0 {
        return Err(BuildError::Context {
            why: "it has names that begin with `.wh.`, which mean removed files in an image".into(),
        });
    }
    Ok(())
}
