//! Programs inside nodes, and files in and out of them: requests that carry descriptors, each on a connection of its own.

use super::LocalEngine;
use super::terminal::AsyncPipe;
use crate::dial::StandNet;
use crate::engine::Order;
use crate::error::EngineError;
use daas_keeper::launch::ExecLaunch;
use daas_keeper::protocol::{Event, EventKind, Request, Response, TtySize};
use daas_keeper::{Client, ClientError};
use daas_model::{NodeName, StandId};
use futures_util::future::BoxFuture;
use rustix::pipe::{PipeFlags, pipe_with};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::oneshot;

/// How long one look for the end of a program takes; a hang-up ends it at once.
const LISTEN: Duration = Duration::from_secs(3600);

/// What to run in a node.
#[derive(Debug, Clone, Default)]
pub struct ExecRequest {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// `user[:group]`; the node's own where there is none.
    pub user: Option<String>,
    /// The folder; the node's own where there is none.
    pub working_dir: Option<String>,
    /// Environment over the node's own.
    pub environment: BTreeMap<String, String>,
    /// Whether it gets standard input.
    pub stdin: bool,
    /// Rows and columns of its terminal, if it gets one.
    pub tty: Option<(u16, u16)>,
}

/// A program that runs in a node. Dropping it hangs the program up.
pub struct ExecSession {
    /// Its number, for [`LocalEngine::resize`].
    pub exec: u64,
    /// Its standard input or terminal.
    pub stdin: Option<AsyncPipe>,
    /// Its standard output or terminal.
    pub stdout: AsyncPipe,
    /// Its standard error; nothing with a terminal.
    pub stderr: Option<AsyncPipe>,
    /// How it ended.
    pub exit: BoxFuture<'static, Result<ExecEnd, EngineError>>,
}

/// The end of a program that ran in a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExecEnd {
    /// Its exit code; 128 + signal when a signal ended it.
    pub code: i32,
    /// The signal, when one ended it; a keeper of an older version does not say.
    pub signal: Option<i32>,
}

/// The end of a copy.
pub type Copied = BoxFuture<'static, Result<(), EngineError>>;

/// Ends a conversation when it is dropped, so that a thread that listens hears the end.
struct HangUp(OwnedFd);

impl HangUp {
    fn of(client: &Client) -> io::Result<Self> {
        client.as_fd().try_clone_to_owned().map(Self)
    }
}

impl Drop for HangUp {
    fn drop(&mut self) {
        // The other side may have gone first.
        let _ = rustix::net::shutdown(&self.0, rustix::net::Shutdown::Both);
    }
}

/// Says what a keeper's refusal means here.
fn refused(stand: &StandId) -> impl Fn(ClientError) -> EngineError + '_ {
    |error| match error {
        ClientError::Refused(failure) => EngineError::Refused { failure },
        ClientError::Gone | ClientError::Io(_) => EngineError::Gone {
            stand: stand.clone(),
        },
    }
}

/// Waits for the end of an exec.
fn end_of(client: &mut Client, number: u64, stand: &StandId) -> Result<ExecEnd, EngineError> {
    loop {
        if let Some(Event {
            kind: EventKind::ExecEnded { exec, code, signal },
            ..
        }) = client.event(LISTEN).map_err(refused(stand))?
            && exec == number
        {
            return Ok(ExecEnd { code, signal });
        }
    }
}

fn pipe() -> Result<(OwnedFd, OwnedFd), EngineError> {
    pipe_with(PipeFlags::CLOEXEC).map_err(|e| EngineError::Keeper { source: e.into() })
}

fn stream(fd: OwnedFd) -> Result<AsyncPipe, EngineError> {
    AsyncPipe::new(fd).map_err(|source| EngineError::Keeper { source })
}

/// What an exec was born with.
struct Born {
    exec: u64,
    master: Option<OwnedFd>,
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
}

fn begin(
    client: &mut Client,
    stand: &StandId,
    node: NodeName,
    exec: ExecLaunch,
    request: &ExecRequest,
) -> Result<Born, EngineError> {
    if let Some((rows, columns)) = request.tty {
        let ask = Request::Exec {
            node,
            exec,
            tty: Some(TtySize { rows, columns }),
        };
        let (answer, fds) = client.ask_with(ask, &[]).map_err(refused(stand))?;
        return Ok(Born {
            exec: number(answer, stand)?,
            master: fds.into_iter().next(),
            stdin: None,
            stdout: None,
            stderr: None,
        });
    }
    let (in_read, in_write) = pipe()?;
    let (out_read, out_write) = pipe()?;
    let (err_read, err_write) = pipe()?;
    let ask = Request::Exec {
        node,
        exec,
        tty: None,
    };
    let (answer, _) = client
        .ask_with(
            ask,
            &[in_read.as_fd(), out_write.as_fd(), err_write.as_fd()],
        )
        .map_err(refused(stand))?;
    // Without a wish for standard input its writing end closes here: the program reads the end at once.
    Ok(Born {
        exec: number(answer, stand)?,
        master: None,
        stdin: request.stdin.then_some(in_write),
        stdout: Some(out_read),
        stderr: Some(err_read),
    })
}

fn number(response: Response, stand: &StandId) -> Result<u64, EngineError> {
    match response {
        Response::Exec { exec, .. } => Ok(exec),
        _ => Err(EngineError::Gone {
            stand: stand.clone(),
        }),
    }
}

impl LocalEngine {
    /// Runs a program in a node.
    ///
    /// # Errors
    /// [`EngineError::Gone`] if no keeper holds the stand, [`EngineError::Refused`] if the node does not run or has no such program.
    pub async fn exec(
        &self,
        order: &Order,
        node: &NodeName,
        request: ExecRequest,
    ) -> Result<ExecSession, EngineError> {
        let link = self.link(&order.id)?;
        let exec = self.exec_launch(order, node, &request).await?;
        let (dir, stand, node) = (link.dir.clone(), order.id.clone(), node.clone());
        let (client, hang_up, born) = self
            .blocking("exec", move || -> Result<_, EngineError> {
                let mut client =
                    Client::connect(&dir).map_err(EngineError::io("connect to", &dir))?;
                let hang_up = HangUp::of(&client).map_err(EngineError::io("connect to", &dir))?;
                let born = begin(&mut client, &stand, node, exec, &request)?;
                Ok((client, hang_up, born))
            })
            .await??;
        self.session(client, hang_up, born, link.hello.keeper_id.clone())
    }

    fn session(
        &self,
        mut client: Client,
        hang_up: HangUp,
        born: Born,
        stand: StandId,
    ) -> Result<ExecSession, EngineError> {
        let (stdin, stdout, stderr) = match (born.master, born.stdout) {
            (Some(master), _) => {
                let terminal = stream(master)?;
                (
                    Some(
                        terminal
                            .twin()
                            .map_err(|source| EngineError::Keeper { source })?,
                    ),
                    terminal,
                    None,
                )
            }
            (None, Some(out)) => (
                born.stdin.map(stream).transpose()?,
                stream(out)?,
                born.stderr.map(stream).transpose()?,
            ),
            (None, None) => return Err(EngineError::Gone { stand }),
        };
        let (sender, end) = oneshot::channel();
        let (exec, of) = (born.exec, stand.clone());
        self.inner
            .tasks
            .run_blocking(format!("exec {exec} of {stand}"), move || {
                // Nobody waits for the code any more: the program was hung up.
                let _ = sender.send(end_of(&mut client, exec, &of));
            });
        let exit = Box::pin(async move {
            let code = end.await.unwrap_or(Err(EngineError::Gone { stand }));
            drop(hang_up);
            code
        });
        Ok(ExecSession {
            exec,
            stdin,
            stdout,
            stderr,
            exit,
        })
    }

    /// Resolves the user and adds the environment to the node's own.
    async fn exec_launch(
        &self,
        order: &Order,
        node: &NodeName,
        request: &ExecRequest,
    ) -> Result<ExecLaunch, EngineError> {
        let spec = order
            .spec
            .nodes
            .get(node)
            .ok_or_else(|| EngineError::NoNode {
                stand: order.id.clone(),
                node: node.clone(),
            })?;
        let user = match &request.user {
            Some(user) => {
                let known = self.known_image(&spec.image, &order.pins).await?;
                let ids = self.ids(spec, &known, Some(user)).await?;
                Some((ids.uid, ids.gid, ids.groups))
            }
            None => None,
        };
        let mut more = request.environment.clone();
        if request.tty.is_some() {
            more.entry("TERM".into()).or_insert_with(|| "xterm".into());
        }
        let env = if more.is_empty() {
            None
        } else {
            let mut env = self.launch(order, node, "").await?.env;
            env.retain(|line| {
                line.split_once('=')
                    .is_none_or(|(key, _)| !more.contains_key(key))
            });
            env.extend(more.iter().map(|(key, value)| format!("{key}={value}")));
            Some(env)
        };
        Ok(ExecLaunch {
            argv: request.argv.clone(),
            env,
            cwd: request.working_dir.clone(),
            user,
        })
    }

    /// Changes the size of an exec's terminal.
    ///
    /// # Errors
    /// [`EngineError::Gone`] or [`EngineError::Refused`].
    pub async fn resize(
        &self,
        stand: &StandId,
        node: &NodeName,
        exec: u64,
        (rows, columns): (u16, u16),
    ) -> Result<(), EngineError> {
        self.link(stand)?
            .ask(Request::Resize {
                node: node.clone(),
                exec: Some(exec),
                size: TtySize { rows, columns },
            })
            .await
            .map(|_| ())
    }

    /// Sends a signal to an exec and what it started in its process group.
    ///
    /// # Errors
    /// [`EngineError::Gone`] or [`EngineError::Refused`].
    pub async fn kill_exec(
        &self,
        stand: &StandId,
        exec: u64,
        signal: i32,
    ) -> Result<(), EngineError> {
        let asked = Request::KillExec { exec, signal };
        self.link(stand)?.ask(asked).await.map(|_| ())
    }

    /// Returns a stream on which SFTP (version 3) is spoken over a node's files, as the node's user; the second answer tells how it ended.
    ///
    /// # Errors
    /// [`EngineError::Gone`] if no keeper holds the stand.
    pub fn files(
        &self,
        stand: &StandId,
        node: &NodeName,
    ) -> Result<(UnixStream, Copied), EngineError> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()
            .and_then(|(ours, theirs)| {
                ours.set_nonblocking(true)?;
                Ok((UnixStream::from_std(ours)?, theirs))
            })
            .map_err(|source| EngineError::Keeper { source })?;
        let node = node.clone();
        let done = self.copy(stand, Request::Files { node }, theirs.into())?;
        Ok((ours, done))
    }

    /// Returns the network of a node that runs: its loopback, and its neighbours as it sees them.
    ///
    /// # Errors
    /// [`EngineError::Gone`], or [`EngineError::Refused`] for a node that does not run or is in the host's network.
    pub async fn net_of(
        &self,
        stand: &StandId,
        node: &NodeName,
    ) -> Result<Arc<StandNet>, EngineError> {
        let dir = self.link(stand)?.dir.clone();
        let (stand, node) = (stand.clone(), node.clone());
        self.blocking("network of a node", move || {
            let mut client = Client::connect(&dir).map_err(EngineError::io("connect to", &dir))?;
            let (_, fds) = client
                .ask_with(Request::Network { node }, &[])
                .map_err(refused(&stand))?;
            let net = fds.into_iter().next().map(StandNet::new);
            let net = net.ok_or_else(|| EngineError::Gone { stand })?;
            net.map(Arc::new)
                .map_err(|source| EngineError::Keeper { source })
        })
        .await?
    }

    /// Reads `path` of a node as a tar stream; the second answer tells how it ended.
    ///
    /// # Errors
    /// [`EngineError::Gone`] if no keeper holds the stand.
    pub async fn copy_out(
        &self,
        stand: &StandId,
        node: &NodeName,
        path: &str,
    ) -> Result<(AsyncPipe, Copied), EngineError> {
        let (read, write) = pipe()?;
        let done = self.copy(
            stand,
            Request::CopyOut {
                node: node.clone(),
                path: path.to_owned(),
                follow: true,
            },
            write,
        )?;
        Ok((stream(read)?, done))
    }

    /// Unpacks a tar stream into the folder `path` of a node; the second answer tells how it ended.
    ///
    /// # Errors
    /// [`EngineError::Gone`] if no keeper holds the stand.
    pub async fn copy_in(
        &self,
        stand: &StandId,
        node: &NodeName,
        path: &str,
    ) -> Result<(AsyncPipe, Copied), EngineError> {
        let (read, write) = pipe()?;
        let done = self.copy(
            stand,
            Request::CopyIn {
                node: node.clone(),
                path: path.to_owned(),
                keep_owner: false,
            },
            read,
        )?;
        Ok((stream(write)?, done))
    }

    fn copy(&self, stand: &StandId, request: Request, end: OwnedFd) -> Result<Copied, EngineError> {
        let dir = self.link(stand)?.dir.clone();
        let stand = stand.clone();
        let handle = self.inner.tasks.run_blocking(
            format!("copy in {stand}"),
            move || -> Result<(), EngineError> {
                let mut client =
                    Client::connect(&dir).map_err(EngineError::io("connect to", &dir))?;
                let answer = client.ask_with(request, &[end.as_fd()]).map(|_| ());
                drop(end);
                answer.map_err(refused(&stand))
            },
        );
        Ok(Box::pin(async move {
            handle.await.map_err(|_| EngineError::Keeper {
                source: io::Error::other("the copy was ended"),
            })?
        }))
    }
}
