use crate::exit;
use crate::pack::pack;
use crate::stop::{Stop, unwritten};
use crate::talk::Talk;
use crate::target::Target;
use crate::unpack::unpack;
use bytes::Bytes;
use clap::Args;
use daas_api::Failure;
use daas_api::platform::ByteFlow;
use daas_model::{Kind, NodeName, visible};
use daas_tasks::Supervisor;
use futures_util::{StreamExt, TryStreamExt, stream};
use std::ffi::OsString;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;

/// Copies between a node and here.
#[derive(Debug, Args)]
pub(crate) struct Copy {
    /// From where: a path here, or `shop/web:/path`; `-` is a tar archive on standard input.
    #[arg(value_name = "FROM", allow_hyphen_values = true)]
    from: String,
    /// To where: a path here, or `shop/web:/path`; `-` is a tar archive on standard output.
    #[arg(value_name = "TO", allow_hyphen_values = true)]
    to: String,
}

/// One end of a copy.
enum End {
    Here(PathBuf),
    Stream,
    There(Target, String),
}

impl End {
    /// Reads an end. What is before a `:` is a node unless it begins with `.` or `/`.
    fn parse(text: &str) -> Result<Self, Stop> {
        if text == "-" {
            return Ok(Self::Stream);
        }
        match text.split_once(':') {
            Some((target, path)) if !text.starts_with(['.', '/']) => {
                let target = target.parse().map_err(|why: String| {
                    Stop::input("copy-end", why)
                        .hint("write `./` before a path of this machine that holds a `:`")
                })?;
                Ok(Self::There(target, path.to_owned()))
            }
            _ => Ok(Self::Here(text.into())),
        }
    }
}

pub(crate) async fn run(copy: Copy, talk: &Talk) -> Result<(), Stop> {
    match (End::parse(&copy.from)?, End::parse(&copy.to)?) {
        (End::There(target, path), End::Here(to)) => {
            let node = target.node(talk).await?;
            copy_out(&target, &node, &path, &to, talk).await
        }
        (End::There(target, path), End::Stream) => {
            let node = target.node(talk).await?;
            if talk.terminal.out_is_terminal {
                return Err(Stop::input(
                    "copy-to-terminal",
                    "cannot write an archive to the terminal",
                )
                .hint("send it to a file or a program")
                .into());
            }
            let mut archive = talk.client.copy_out(&target.stand, &node, &path).await?;
            while let Some(piece) = archive.try_next().await? {
                talk.data(piece)?;
            }
            Ok(())
        }
        (End::Here(from), End::There(target, path)) => {
            let node = target.node(talk).await?;
            copy_in(&from, &target, &node, &path, talk).await
        }
        (End::Stream, End::There(target, path)) => {
            let node = target.node(talk).await?;
            Ok(talk
                .client
                .copy_in(&target.stand, &node, &path, standard_input())
                .await?)
        }
        (End::There(..), End::There(..)) => Err(Stop::input(
            "copy-ends",
            "cannot copy between two nodes at once",
        )
        .hint("`daas stand copy a/web:/x - | daas stand copy - b/web:/y`")
        .into()),
        (End::Here(_) | End::Stream, End::Here(_) | End::Stream) => {
            Err(Stop::input("copy-ends", "cannot copy without a node")
                .hint("one of the two ends is `stand/node:/path`")
                .into())
        }
    }
}

/// Returns the last part of a path inside a node.
fn last_part(path: &str) -> Option<&str> {
    path.trim_end_matches('/')
        .rsplit('/')
        .next()
        .filter(|part| !part.is_empty() && *part != "." && *part != "..")
}

async fn copy_out(
    target: &Target,
    node: &NodeName,
    path: &str,
    to: &Path,
    talk: &Talk,
) -> Result<(), Stop> {
    // Into a folder that is there under its own name; otherwise under the new name beside it, as cp(1) does.
    let (folder, name): (PathBuf, Option<OsString>) = if to.is_dir() {
        (to.to_owned(), None)
    } else {
        let name = to
            .file_name()
            .ok_or_else(|| Stop::input("copy-to", format!("cannot copy to `{}`", to.display())))?;
        let parent = to
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        (parent.to_owned(), Some(name.to_owned()))
    };
    if !folder.is_dir() {
        return Err(Failure::new(
            "copy-to",
            Kind::NotFound,
            format!(
                "cannot copy to `{}`: the folder does not exist",
                to.display()
            ),
        )
        .into());
    }
    let mut archive = talk.client.copy_out(&target.stand, node, path).await?;
    let (pieces, receiver) = mpsc::channel::<Bytes>(4);
    let tasks = Supervisor::new();
    let place = to.to_owned();
    let unpacking = tasks.run_blocking("unpacking", move || {
        unpack(
            Receiver {
                pieces: receiver,
                piece: Bytes::new(),
            },
            &folder,
            name.as_deref(),
        )
    });
    let carrying = async {
        while let Some(piece) = archive.try_next().await? {
            // The unpacking has failed and says why.
            if pieces.send(piece).await.is_err() {
                break;
            }
        }
        drop(pieces);
        Ok::<(), Failure>(())
    };
    let (carried, unpacked) = tokio::join!(carrying, unpacking);
    carried?;
    let unpacked = unpacked.map_err(|lost| {
        Failure::new(
            "copy-failed",
            Kind::Bug,
            format!("cannot unpack to `{}`", place.display()),
        )
        .because(lost.to_string())
    })?;
    let unpacked = unpacked.map_err(Stop::io("unpack to", place.display()))?;
    for name in &unpacked.left_out {
        talk.say(format!("left out: {}", visible(name)));
    }
    if unpacked.made == 0 && !unpacked.left_out.is_empty() {
        Err(Stop::Said(exit::NO))
    } else {
        Ok(())
    }
}

/// Reads pieces that come from elsewhere, on a thread that may wait.
struct Receiver {
    pieces: mpsc::Receiver<Bytes>,
    piece: Bytes,
}

impl Read for Receiver {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let n = self.piece.len().min(buffer.len());
        buffer[..n].copy_from_slice(&self.piece.split_to(n));
        Ok(n)
    }
}

async fn copy_in(
    from: &Path,
    target: &Target,
    node: &NodeName,
    path: &str,
    talk: &Talk,
) -> Result<(), Stop> {
    from.symlink_metadata()
        .map_err(Stop::io("read", from.display()))?;
    let real = from
        .canonicalize()
        .map_err(Stop::io("read", from.display()))?;
    let own = real
        .file_name()
        .and_then(|name| name.to_str())
        .ok_or_else(|| {
            Stop::input(
                "copy-from",
                format!(
                    "cannot copy `{}`: its name is no UTF-8 text",
                    from.display()
                ),
            )
        })?;
    let (folder, name) = if path.ends_with('/')
        || last_part(path).is_none()
        || is_folder(target, node, path, talk).await?
    {
        (path.to_owned(), own.to_owned())
    } else {
        let name = last_part(path).unwrap_or(own);
        let folder = path.strip_suffix(name).unwrap_or("/");
        (folder.to_owned(), name.to_owned())
    };
    let warner = talk.clone();
    let archive = pack(&Supervisor::new(), from.to_owned(), name, move |skipped| {
        warner.say(format!(
            "left out: {}",
            visible(&skipped.display().to_string())
        ));
    });
    Ok(talk
        .client
        .copy_in(&target.stand, node, &folder, archive)
        .await?)
}

/// Tells whether `path` is a folder of the node: by the first entry of its archive, the rest of which nobody reads.
async fn is_folder(
    target: &Target,
    node: &NodeName,
    path: &str,
    talk: &Talk,
) -> Result<bool, Stop> {
    let mut archive = match talk.client.copy_out(&target.stand, node, path).await {
        Ok(archive) => archive,
        Err(failure) if failure.kind() == Kind::NotFound && failure.code().starts_with("path") => {
            return Ok(false);
        }
        Err(failure) => return Err(failure.into()),
    };
    let mut head = Vec::new();
    while head.len() < 512 {
        match archive.try_next().await? {
            Some(piece) => head.extend_from_slice(&piece),
            None => return Ok(false),
        }
    }
    // The type of the entry (POSIX pax, `ustar` header, offset 156).
    Ok(head[156] == b'5')
}

fn standard_input() -> ByteFlow {
    stream::try_unfold(tokio::io::stdin(), |mut stdin| async move {
        let mut piece = vec![0u8; 64 * 1024];
        let n = stdin
            .read(&mut piece)
            .await
            .map_err(|error| match unwritten(error) {
                Stop::Failed(failure) => failure,
                Stop::Said(_) | Stop::Unread => {
                    Failure::new("input-failed", Kind::Outside, "cannot read standard input")
                }
            })?;
        piece.truncate(n);
        Ok((n > 0).then(|| (Bytes::from(piece), stdin)))
    })
    .boxed()
}
