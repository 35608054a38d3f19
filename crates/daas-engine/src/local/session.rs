//! Programs inside nodes, and files in and out of them: requests that carry descriptors, each on a connection of its own.

use super::LocalEngine;
use super::conversation::Conversation;
use super::terminal::AsyncPipe;
use crate::dial::StandNet;
use crate::engine::Order;
use crate::error::EngineError;
use daas_keeper::ClientError;
use daas_keeper::launch::ExecLaunch;
use daas_keeper::protocol::{EventKind, Request, Response, TtySize};
use daas_model::{NodeName, StandId};
use futures_util::future::BoxFuture;
use rustix::pipe::{PipeFlags, pipe_with};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use tokio::net::UnixStream;

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

/// Says what a keeper's refusal means here.
pub(super) fn refused(stand: &StandId) -> impl Fn(ClientError) -> EngineError + '_ {
    |error| match error {
        ClientError::Refused(failure) => EngineError::Refused { failure },
        ClientError::Gone | ClientError::Io(_) => EngineError::Gone {
            stand: stand.clone(),
        },
    }
}

/// Waits for the end of an exec.
async fn end_of(
    mut keeper: Conversation,
    number: u64,
    stand: &StandId,
) -> Result<ExecEnd, EngineError> {
    loop {
        if let EventKind::ExecEnded { exec, code, signal } =
            keeper.event().await.map_err(refused(stand))?.kind
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

async fn begin(
    keeper: &mut Conversation,
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
        let (answer, fds) = keeper.ask(ask, &[]).await.map_err(refused(stand))?;
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
    let (answer, _) = keeper
        .ask(
            ask,
            &[in_read.as_fd(), out_write.as_fd(), err_write.as_fd()],
        )
        .await
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

fn session(keeper: Conversation, born: Born, stand: StandId) -> Result<ExecSession, EngineError> {
    let (stdin, stdout, stderr) = match (born.master, born.stdout) {
        (Some(master), _) => {
            let terminal = stream(master)?;
            let twin = terminal
                .twin()
                .map_err(|source| EngineError::Keeper { source })?;
            (Some(twin), terminal, None)
        }
        (None, Some(out)) => (
            born.stdin.map(stream).transpose()?,
            stream(out)?,
            born.stderr.map(stream).transpose()?,
        ),
        (None, None) => return Err(EngineError::Gone { stand }),
    };
    let exec = born.exec;
    Ok(ExecSession {
        exec,
        stdin,
        stdout,
        stderr,
        // Whoever drops it ends the conversation, by which the program is hung up.
        exit: Box::pin(async move { end_of(keeper, exec, &stand).await }),
    })
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
        let mut keeper = self.converse(&order.id).await?;
        let born = begin(&mut keeper, &order.id, node.clone(), exec, &request).await?;
        session(keeper, born, link.hello.keeper_id.clone())
    }

    /// Begins a conversation with the keeper of a stand.
    pub(super) async fn converse(&self, stand: &StandId) -> Result<Conversation, EngineError> {
        let link = self.link(stand)?;
        Conversation::begin(&link.dir)
            .await
            .map_err(EngineError::io("connect to", &link.dir))
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
        let mut keeper = self.converse(stand).await?;
        let ask = Request::Network { node: node.clone() };
        let (_, fds) = keeper.ask(ask, &[]).await.map_err(refused(stand))?;
        let net = fds.into_iter().next().map(StandNet::new);
        let net = net.ok_or_else(|| EngineError::Gone {
            stand: stand.clone(),
        })?;
        net.map(Arc::new)
            .map_err(|source| EngineError::Keeper { source })
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
        // Whether there is a keeper is known at once; the rest goes on whether somebody waits for it or not.
        self.link(stand)?;
        let (engine, stand) = (self.clone(), stand.clone());
        let handle = self
            .inner
            .tasks
            .run(format!("copy in {stand}"), |_| async move {
                let mut keeper = engine.converse(&stand).await?;
                let answer = keeper.ask(request, &[end.as_fd()]).await;
                drop(end);
                answer.map(|_| ()).map_err(refused(&stand))
            });
        Ok(Box::pin(async move {
            handle.await.map_err(|_| EngineError::Keeper {
                source: io::Error::other("the copy was ended"),
            })?
        }))
    }
}
