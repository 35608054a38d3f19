use crate::completions;
use crate::stop::Stop;
use crate::talk::Talk;
use crate::target::Target;
use crate::tty;
use bytes::Bytes;
use clap::Args;
use daas_api::platform::BoxDuplex;
use daas_api::{ExecRequest, Failure, Frame, read_frame, write_frame};
use daas_model::{Kind, NodeName, StandName};
use std::collections::BTreeMap;
use tokio::io::{AsyncReadExt, ReadHalf, WriteHalf};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Runs a program in a node.
#[derive(Debug, Args)]
pub(crate) struct Exec {
    /// The node: `shop/web`, or `shop` if it has only one.
    #[arg(value_name = "STAND/NODE", add = completions::targets())]
    target: Target,
    /// Gives it standard input.
    #[arg(short, long)]
    interactive: bool,
    /// Gives it a terminal; without `--interactive` Ctrl-C hangs up.
    #[arg(short, long)]
    tty: bool,
    /// Runs it as this user, `user` or `user:group`.
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// Runs it in this folder.
    #[arg(short, long, value_name = "FOLDER")]
    workdir: Option<String>,
    /// Sets a variable, `NAME=value`; `NAME` alone takes the value from here.
    #[arg(short, long = "env", value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// The program and its arguments.
    #[arg(
        value_name = "COMMAND",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    command: Vec<String>,
}

/// The pieces in which input travels.
const PIECE: usize = 16 * 1024;

pub(crate) async fn run(exec: Exec, talk: &Talk) -> Result<(), Stop> {
    if exec.tty && !talk.terminal.in_is_terminal {
        return Err(Stop::input(
            "exec-without-terminal",
            "cannot give the program a terminal: there is none here",
        )
        .hint("leave `--tty` out")
        .into());
    }
    let node = exec.target.node(talk).await?;
    let request = ExecRequest {
        command: exec.command,
        user: exec.user,
        working_dir: exec.workdir,
        environment: environment(exec.env)?,
        tty: exec.tty,
        stdin: exec.interactive,
        size: None,
    };
    session(&exec.target.stand, &node, request, talk).await
}

/// Runs a program in a node with this side's input, output and terminal; its exit code is that of this program.
pub(crate) async fn session(
    stand: &StandName,
    node: &NodeName,
    mut request: ExecRequest,
    talk: &Talk,
) -> Result<(), Stop> {
    // Before the size is read: a change in between would be lost.
    let sizes = if request.tty {
        signal(SignalKind::window_change()).ok()
    } else {
        None
    };
    request.size = if request.tty { tty::size() } else { None };
    let connection = talk.client.exec(stand, node, &request).await?;
    // Without our input nothing could tell the program of a Ctrl-C: then it is ours.
    let raw = if request.tty && request.stdin {
        Some(tty::Raw::enter().map_err(Stop::io("set the mode of", "the terminal"))?)
    } else {
        None
    };
    let (from, to) = tokio::io::split(connection);
    let ended = tokio::select! {
        ended = output(from, talk) => ended,
        ended = input(to, request.stdin, sizes) => ended,
    };
    drop(raw);
    match ended? {
        0 => Ok(()),
        // What the shell of this side can carry: the lowest byte.
        code => Err(Stop::Said(u8::try_from(code & 0xff).unwrap_or(1))),
    }
}

fn environment(words: Vec<String>) -> Result<BTreeMap<String, String>, Stop> {
    let mut all = BTreeMap::new();
    for word in words {
        match word.split_once('=') {
            Some((name, value)) => drop(all.insert(name.to_owned(), value.to_owned())),
            None => {
                let value = std::env::var(&word).map_err(|_| {
                    Stop::input(
                        "variable-unset",
                        format!(
                            "cannot take the value of `{}` from here: it is not set",
                            word.escape_debug()
                        ),
                    )
                })?;
                all.insert(word, value);
            }
        }
    }
    Ok(all)
}

/// Writes output until the program has ended; returns its exit code.
async fn output(mut from: ReadHalf<BoxDuplex>, talk: &Talk) -> Result<i32, Stop> {
    let lost = |why: String| {
        Stop::from(
            Failure::new(
                "exec-lost",
                Kind::Outside,
                "cannot see the end of the program",
            )
            .because(why),
        )
    };
    loop {
        match read_frame(&mut from)
            .await
            .map_err(|error| lost(error.to_string()))?
        {
            Some(Frame::Stdout(bytes)) => talk.data(bytes)?,
            Some(Frame::Stderr(bytes)) => talk.terminal.err(bytes),
            Some(Frame::Exit(code)) => return Ok(code),
            Some(Frame::Failed(problem)) => return Err(Failure::from(*problem).into()),
            Some(Frame::Stdin(_) | Frame::StdinEnd | Frame::Resize(_)) => {}
            None => return Err(lost("the daemon hung up".into())),
        }
    }
}

/// Sends input and sizes; ends only with a failure, for the program may go on without input.
async fn input(
    mut to: WriteHalf<BoxDuplex>,
    interactive: bool,
    mut sizes: Option<Signal>,
) -> Result<i32, Stop> {
    let mut stdin = interactive.then(tokio::io::stdin);
    let mut piece = vec![0u8; PIECE];
    loop {
        let frame = tokio::select! {
            read = async { match &mut stdin { Some(stdin) => stdin.read(&mut piece).await, None => std::future::pending().await } } => match read {
                Ok(n) if n > 0 => Frame::Stdin(Bytes::copy_from_slice(&piece[..n])),
                Ok(_) | Err(_) => {
                    stdin = None;
                    Frame::StdinEnd
                }
            },
            Some(()) = async { match &mut sizes { Some(sizes) => sizes.recv().await, None => std::future::pending().await } } => match tty::size() {
                Some(size) => Frame::Resize(size),
                None => continue,
            },
        };
        if write_frame(&mut to, &frame).await.is_err() {
            // The daemon takes no more; what it has to say about that comes by the other direction.
            std::future::pending::<()>().await;
        }
    }
}
