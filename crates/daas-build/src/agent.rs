//! The SSH agent of who builds, as commands see it: a socket of the build's own.
//!
//! An agent speaks only to its own user, which nobody inside of a stand is. So each command gets a socket that the builder listens at, and of
//! what is asked there (draft-miller-ssh-agent) two questions are passed on: which keys there are, and a signature. Keys cannot be added,
//! removed or locked from inside, as with `BuildKit`.

use daas_tasks::{Handle, Supervisor};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

/// The longest message, that of OpenSSH's own agent.
const LONGEST: u32 = 256 << 10;
/// Connections of one command at once.
const AT_ONCE: usize = 64;
const REQUEST_IDENTITIES: u8 = 11;
const SIGN_REQUEST: u8 = 13;
/// "I do not do that", with its length before it.
const FAILURE: [u8; 5] = [0, 0, 0, 1, 5];

/// A socket that passes on to an agent; gone when it is dropped.
#[derive(Debug)]
pub(crate) struct Agent {
    folder: PathBuf,
    serving: Handle<()>,
}

impl Agent {
    /// Listens in the new folder `folder` for the agent at `socket`; owner and mode are those of the socket that commands see.
    ///
    /// # Errors
    /// What making the folder and listening say; `NotFound` if there is no agent.
    pub(crate) fn open(
        tasks: &Supervisor,
        socket: &Path,
        folder: PathBuf,
        owner: (u32, u32),
        mode: u32,
    ) -> io::Result<Self> {
        fs::metadata(socket)?;
        fs::create_dir(&folder)?;
        let dir = fs::File::open(&folder)?;
        // A path may be longer than the 108 bytes of an address.
        let listener = StdListener::bind(format!("/proc/self/fd/{}/socket", dir.as_raw_fd()))?;
        let path = folder.join("socket");
        chown(&path, Some(owner.0), Some(owner.1))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode & 0o777))?;
        listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(listener)?;
        let socket = socket.to_owned();
        let serving = tasks.run("agent of a build", |shutdown| async move {
            tokio::select! {
                () = serve(listener, socket) => {}
                () = shutdown.asked() => {}
            }
        });
        Ok(Self { folder, serving })
    }

    /// Returns the socket.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.join("socket")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(listener: UnixListener, socket: PathBuf) {
    // Parts of this task: they are dropped with it.
    let mut talks = FuturesUnordered::new();
    loop {
        tokio::select! {
            Some(_) = talks.next() => {}
            accepted = listener.accept(), if talks.len() < AT_ONCE => match accepted {
                Ok((inside, _)) => {
                    let socket = socket.clone();
                    // Either side may go away at any time: that is the end of a talk, and no more.
                    talks.push(async move { talk(inside, &socket).await.is_ok() });
                }
                Err(error) => {
                    tracing::warn!(%error, "nobody hears the agent of a build any more");
                    return;
                }
            }
        }
    }
}

/// Passes questions on until one side ends.
async fn talk(mut inside: UnixStream, socket: &Path) -> io::Result<()> {
    let mut agent = UnixStream::connect(socket).await?;
    loop {
        let question = message(&mut inside).await?;
        if !matches!(question.first(), Some(&(REQUEST_IDENTITIES | SIGN_REQUEST))) {
            inside.write_all(&FAILURE).await?;
            continue;
        }
        pass(&mut agent, &question).await?;
        let answer = message(&mut agent).await?;
        pass(&mut inside, &answer).await?;
    }
}

async fn message(from: &mut UnixStream) -> io::Result<Vec<u8>> {
    let length = from.read_u32().await?;
    if length == 0 || length > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; length as usize];
    from.read_exact(&mut bytes).await?;
    Ok(bytes)
}

async fn pass(to: &mut UnixStream, message: &[u8]) -> io::Result<()> {
    let length = u32::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    to.write_u32(length).await?;
    to.write_all(message).await
}
