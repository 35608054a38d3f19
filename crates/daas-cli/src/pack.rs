//! Files of this machine to a tar archive, piece by piece.

use bytes::Bytes;
use daas_api::Failure;
use daas_api::platform::ByteFlow;
use daas_model::Kind;
use daas_spec::dockerfile::Ignore;
use daas_tasks::Supervisor;
use futures_util::{StreamExt, stream};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use tar::{Builder, EntryType, Header};
use tokio::sync::mpsc;

/// The pieces in which the archive travels.
const PIECE: usize = 64 * 1024;
type Pieces = mpsc::Sender<Result<Bytes, Failure>>;

/// Reads `path` and all below it as an archive whose entries begin with `name`; `skipped` is told of what no archive holds.
pub(crate) fn pack(
    tasks: &Supervisor,
    path: PathBuf,
    name: String,
    skipped: impl Fn(&Path) + Send + 'static,
) -> ByteFlow {
    let (pieces, receiver) = mpsc::channel(4);
    drop(tasks.run_blocking("packing", move || {
        let mut builder = Builder::new(Sender {
            pieces: pieces.clone(),
            piece: Vec::with_capacity(PIECE),
        });
        let packed = append(&mut builder, &path, Path::new(&name), &skipped)
            .and_then(|()| builder.into_inner()?.flush());
        if let Err(error) = packed {
            let failure = Failure::new(
                "copy-failed",
                Kind::Outside,
                format!("cannot read `{}`", path.display()),
            )
            .because(error.to_string());
            // Nobody listens any more: the daemon has refused.
            let _ = pieces.blocking_send(Err(failure));
        }
    }));
    stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|piece| (piece, receiver))
    })
    .boxed()
}

/// A folder of a build: where it is, under which name it travels, and what of it stays here.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) folder: PathBuf,
    pub(crate) name: String,
    pub(crate) ignore: Ignore,
}

/// What kept an archive from being packed, once it is known.
pub(crate) type Spoiled = Arc<OnceLock<Failure>>;

/// Reads folders as one archive, without what their lists leave out. What it fails with breaks the archive off and is kept besides: whoever
/// receives it only sees that it is broken.
pub(crate) fn pack_parts(tasks: &Supervisor, parts: Vec<Part>) -> (ByteFlow, Spoiled) {
    let (pieces, receiver) = mpsc::channel(4);
    let spoiled = Spoiled::default();
    let spoil = spoiled.clone();
    drop(tasks.run_blocking("packing", move || {
        let mut builder = Builder::new(Sender {
            pieces: pieces.clone(),
            piece: Vec::with_capacity(PIECE),
        });
        let mut pack = || -> io::Result<()> {
            for part in &parts {
                let root = part.folder.canonicalize().map_err(at(&part.folder))?;
                if !root.is_dir() {
                    return Err(at(&part.folder)(io::ErrorKind::NotADirectory.into()));
                }
                append_kept(&mut builder, &root, Path::new(&part.name), "", &part.ignore)?;
            }
            Ok(())
        };
        let packed = pack().and_then(|()| builder.into_inner()?.flush());
        if let Err(error) = packed {
            let failure =
                Failure::new("context-unreadable", Kind::Input, "cannot pack the context")
                    .because(error.to_string())
                    .hint("what a build does not need is left out by `.dockerignore`");
            // The first one counts, and there is only this one.
            let _ = spoil.set(failure.clone());
            // Nobody listens any more: the daemon has refused.
            let _ = pieces.blocking_send(Err(failure));
        }
    }));
    let flow = stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|piece| (piece, receiver))
    });
    (flow.boxed(), spoiled)
}

/// Says at which file something failed.
fn at(path: &Path) -> impl FnOnce(io::Error) -> io::Error + '_ {
    move |error| io::Error::new(error.kind(), format!("`{}`: {error}", path.display()))
}

/// Appends `path`, which is `inside` its context, and all below it that is not left out.
fn append_kept<W: Write>(
    builder: &mut Builder<W>,
    path: &Path,
    name: &Path,
    inside: &str,
    ignore: &Ignore,
) -> io::Result<()> {
    let is_dir = path.symlink_metadata().map_err(at(path))?.is_dir();
    if !inside.is_empty() && ignore.excludes(inside) && !(is_dir && ignore.may_keep_below(inside)) {
        return Ok(());
    }
    if !is_dir {
        return append(builder, path, name, &|_| {}).map_err(at(path));
    }
    append_one(builder, path, name).map_err(at(path))?;
    let listed = std::fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let mut entries = listed.map_err(at(path))?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let file = entry.file_name();
        let below = if inside.is_empty() {
            file.to_string_lossy().into_owned()
        } else {
            format!("{inside}/{}", file.to_string_lossy())
        };
        append_kept(builder, &entry.path(), &name.join(&file), &below, ignore)?;
    }
    Ok(())
}

/// Appends a folder without what is in it.
fn append_one<W: Write>(builder: &mut Builder<W>, path: &Path, name: &Path) -> io::Result<()> {
    let meta = path.symlink_metadata()?;
    let mut header = Header::new_gnu();
    header.set_mode(meta.mode() & 0o7777);
    header.set_mtime(u64::try_from(meta.mtime()).unwrap_or(0));
    header.set_uid(0);
    header.set_gid(0);
    header.set_entry_type(EntryType::Directory);
    header.set_size(0);
    builder.append_data(&mut header, name.join(""), io::empty())
}

/// Gives what is written to whoever receives the pieces.
struct Sender {
    pieces: Pieces,
    piece: Vec<u8>,
}

impl Write for Sender {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = Bytes::from(std::mem::replace(
            &mut self.piece,
            Vec::with_capacity(PIECE),
        ));
        self.pieces
            .blocking_send(Ok(piece))
            .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

fn append<W: Write>(
    builder: &mut Builder<W>,
    path: &Path,
    name: &Path,
    skipped: &impl Fn(&Path),
) -> io::Result<()> {
    let meta = path.symlink_metadata()?;
    let mut header = Header::new_gnu();
    header.set_mode(meta.mode() & 0o7777);
    header.set_mtime(u64::try_from(meta.mtime()).unwrap_or(0));
    // The owner inside of the node is its root: ids of this machine mean nothing there.
    header.set_uid(0);
    header.set_gid(0);
    let kind = meta.file_type();
    if kind.is_dir() {
        header.set_entry_type(EntryType::Directory);
        header.set_size(0);
        builder.append_data(&mut header, name.join(""), io::empty())?;
        let mut entries: Vec<_> = std::fs::read_dir(path)?.collect::<Result<_, _>>()?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            append(
                builder,
                &entry.path(),
                &name.join(entry.file_name()),
                skipped,
            )?;
        }
        Ok(())
    } else if kind.is_symlink() {
        header.set_entry_type(EntryType::Symlink);
        header.set_size(0);
        builder.append_link(&mut header, name, std::fs::read_link(path)?)
    } else if kind.is_file() {
        header.set_entry_type(EntryType::Regular);
        header.set_size(meta.len());
        // A file that grows meanwhile is taken as long as it was; one that shrinks is a failure.
        let file = io::Read::take(File::open(path)?, meta.len());
        builder.append_data(&mut header, name, file)
    } else {
        skipped(path);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::TryStreamExt;
    use std::os::unix::fs::symlink;

    #[tokio::test]
    async fn a_folder_becomes_an_archive_under_its_new_name() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("d")).unwrap();
        std::fs::write(folder.path().join("d/a"), vec![7; 200_000]).unwrap();
        symlink("/etc/passwd", folder.path().join("d/l")).unwrap();
        drop(std::os::unix::net::UnixListener::bind(folder.path().join("d/s")).unwrap());
        let (said, heard) = std::sync::mpsc::channel();
        let tasks = Supervisor::new();
        let flow = pack(&tasks, folder.path().join("d"), "x".into(), move |path| {
            said.send(path.to_owned()).unwrap();
        });
        let bytes: Vec<u8> = flow.try_collect::<Vec<_>>().await.unwrap().concat();
        let mut archive = tar::Archive::new(&bytes[..]);
        let entries: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|e| {
                let e = e.unwrap();
                (
                    e.path().unwrap().display().to_string(),
                    e.header().entry_type(),
                    e.size(),
                    e.header().uid().unwrap(),
                )
            })
            .collect();
        assert_eq!(
            entries,
            [
                ("x/".to_owned(), EntryType::Directory, 0, 0),
                ("x/a".to_owned(), EntryType::Regular, 200_000, 0),
                ("x/l".to_owned(), EntryType::Symlink, 0, 0)
            ]
        );
        assert_eq!(heard.recv().unwrap(), folder.path().join("d/s"));
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_a_failure_of_the_flow() {
        let flow = pack(
            &Supervisor::new(),
            "/nowhere/at/all".into(),
            "x".into(),
            |_| {},
        );
        assert_eq!(
            flow.try_collect::<Vec<_>>().await.unwrap_err().code(),
            "copy-failed"
        );
    }
}
