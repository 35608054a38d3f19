//! One channel: what was said before it runs, and what carries it to its end.

use crate::gate::Pulse;
use crate::outlet::{FAILED, Gone, Outlet};
use crate::room::{Deed, End, House, Program, Terminal, Tweak, Visitor, Wish};
use bytes::Bytes;
use daas_api::Failure;
use daas_api::platform::{BoxDuplex, BoxWrite};
use daas_tasks::Shutdown;
use russh::server::Msg;
use russh::{ChannelOpenFailure, ChannelWriteHalf};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long output is waited for behind the end of a terminal's program: others may hold the terminal for ever.
const DRAIN: Duration = Duration::from_millis(300);
/// How long a session that is cut off may take to say so: whoever does not read does not hear it.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// What every client shows when the daemon goes; the protocol knows no word for all (RFC 4254).
const CUT_OFF: &str =
    "daas: the daemon ends or is replaced, and this session with it; the stand lives on";
/// The most of a command that stands in a log: its program.
const MOST_WORD: usize = 64;

/// What comes for a program.
pub(crate) enum Input {
    /// Bytes, which the pulse counts until they are taken.
    Data(Bytes),
    /// There will be no more.
    End,
}

/// Where what comes for a running program goes.
pub(crate) struct Feed {
    pub(crate) input: mpsc::UnboundedSender<Input>,
    pub(crate) tweaks: mpsc::Sender<Tweak>,
}

/// A channel as the connection knows it. Dropping it ends what runs in it.
pub(crate) struct Lane {
    /// Until something runs.
    pub(crate) outlet: Option<ChannelWriteHalf<Msg>>,
    pub(crate) terminal: Option<Terminal>,
    pub(crate) environment: BTreeMap<String, String>,
    /// Once something runs.
    pub(crate) feed: Option<Feed>,
    pub(crate) end: CancellationToken,
    _guard: DropGuard,
}

impl Lane {
    pub(crate) fn new(outlet: Option<ChannelWriteHalf<Msg>>) -> Self {
        let end = CancellationToken::new();
        Self {
            outlet,
            terminal: None,
            environment: BTreeMap::new(),
            feed: None,
            _guard: end.clone().drop_guard(),
            end,
        }
    }

    /// Makes the ends of the feed: what is kept here, and what the program's side reads.
    pub(crate) fn open_feed(&mut self) -> Fed {
        let (input, data) = mpsc::unbounded_channel();
        let (tweaks, changes) = mpsc::channel(16);
        self.feed = Some(Feed { input, tweaks });
        Fed { data, changes }
    }
}

/// The other ends of a feed.
pub(crate) struct Fed {
    data: mpsc::UnboundedReceiver<Input>,
    changes: mpsc::Receiver<Tweak>,
}

/// What a session asked for.
pub(crate) enum Asked {
    Run(Wish),
    Files,
}

impl Asked {
    /// Says it for a log: no more than the program, as arguments may be secrets.
    fn words(&self) -> String {
        match self {
            Self::Files => "files".to_owned(),
            Self::Run(Wish { command: None, .. }) => "a shell".to_owned(),
            Self::Run(Wish {
                command: Some(command),
                ..
            }) => {
                let word = command.split_whitespace().next().unwrap_or_default();
                let end = word.floor_char_boundary(MOST_WORD);
                format!("`{}`", daas_model::visible(&word[..end]))
            }
        }
    }
}

/// Says that a session of a connection goes on, until it is dropped.
pub(crate) struct Seat(Arc<watch::Sender<usize>>);

impl Seat {
    pub(crate) fn take(of: &Arc<watch::Sender<usize>>) -> Self {
        of.send_modify(|taken| *taken += 1);
        Self(of.clone())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.send_modify(|taken| *taken -= 1);
    }
}

/// Everything that one session needs.
pub(crate) struct Session {
    pub(crate) house: Arc<dyn House>,
    pub(crate) visitor: Arc<Visitor>,
    pub(crate) outlet: Outlet,
    pub(crate) fed: Fed,
    pub(crate) pulse: Arc<Pulse>,
    pub(crate) end: CancellationToken,
    pub(crate) _seat: Seat,
}

impl Session {
    /// Serves what was asked for until it has ended, the other side is gone, or the daemon ends.
    pub(crate) async fn serve(mut self, asked: Asked, shutdown: Shutdown) {
        let (since, what) = (Instant::now(), asked.words());
        let left = self.end.clone();
        let end = tokio::select! {
            // What runs may notice the daemon's end as well: then that is the reason.
            biased;
            () = left.cancelled() => None,
            () = shutdown.asked() => {
                let told = async {
                    // Whoever is gone needs no words.
                    let _ = self.outlet.say(CUT_OFF).await;
                    self.outlet.end(Some(End::CutOff)).await;
                };
                let _ = tokio::time::timeout(LAST_WORDS, told).await;
                Some(End::CutOff)
            }
            ended = self.run(asked) => match ended {
                Ok(end) => {
                    self.outlet.end(Some(end)).await;
                    Some(end)
                }
                Err(Gone) => None,
            },
        };
        let millis = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.house.done(&self.visitor, Deed { what, end, millis });
    }

    async fn run(&mut self, asked: Asked) -> Result<End, Gone> {
        let has_terminal = matches!(&asked, Asked::Run(wish) if wish.terminal.is_some());
        let started = async {
            let room = self.house.enter(&self.visitor).await?;
            if let (true, Some(notice)) = (has_terminal, room.notice()) {
                // Whoever is gone is found out by the next word.
                let _ = self.outlet.say(&notice).await;
            }
            match asked {
                Asked::Run(wish) => room.run(wish).await,
                Asked::Files => room.files().await,
            }
        };
        let program = match started.await {
            Ok(program) => program,
            Err(failure) => return self.refuse(&failure).await,
        };
        self.carry(program, has_terminal).await
    }

    async fn refuse(&self, failure: &Failure) -> Result<End, Gone> {
        self.outlet.complain(failure).await?;
        Ok(End::Exited(FAILED.cast_signed()))
    }

    async fn carry(&mut self, program: Program, has_terminal: bool) -> Result<End, Gone> {
        let Program {
            stdin,
            stdout,
            stderr,
            tweaks,
            mut end,
        } = program;
        let Fed { data, changes } = &mut self.fed;
        let outlet = &self.outlet;
        let output = async {
            let (out, errors) = tokio::join!(outlet.carry(stdout, false), async {
                match stderr {
                    Some(stderr) => outlet.carry(stderr, true).await,
                    None => Ok(()),
                }
            });
            out.and(errors)
        };
        let mut output = std::pin::pin!(output);
        let ending = async {
            if !has_terminal {
                output.await?;
                return Ok(end.await);
            }
            // A terminal stays open while anything that was started there lives; its session is over with its first program.
            tokio::select! {
                done = output.as_mut() => { done?; Ok(end.await) }
                ended = &mut end => {
                    if let Ok(done) = tokio::time::timeout(DRAIN, output.as_mut()).await { done?; }
                    Ok(ended)
                }
            }
        };
        let ended = tokio::select! {
            ended = ending => ended?,
            () = pour(data, stdin, &self.pulse) => return Err(Gone),
            () = pass_on(changes, &tweaks) => return Err(Gone),
        };
        match ended {
            Ok(end) => Ok(end),
            Err(failure) => self.refuse(&failure).await,
        }
    }
}

/// Gives a program its input; never ends. A program that reads no more loses its input and nothing else.
async fn pour(data: &mut mpsc::UnboundedReceiver<Input>, stdin: BoxWrite, pulse: &Pulse) {
    let mut stdin = Some(stdin);
    while let Some(input) = data.recv().await {
        match input {
            Input::Data(bytes) => {
                let taken = match &mut stdin {
                    Some(pipe) => pipe.write_all(&bytes).await.is_ok(),
                    None => false,
                };
                pulse.let_out(bytes.len());
                if !taken {
                    stdin = None;
                }
            }
            Input::End => {
                if let Some(mut pipe) = stdin.take() {
                    let _ = pipe.shutdown().await;
                }
            }
        }
    }
    // The channel is gone, and its end is told in another way.
    std::future::pending::<()>().await;
}

/// Passes changes on; never ends.
async fn pass_on(changes: &mut mpsc::Receiver<Tweak>, tweaks: &mpsc::Sender<Tweak>) {
    while let Some(tweak) = changes.recv().await {
        // A change that finds no room is followed by another, or the program has ended.
        let _ = tweaks.try_send(tweak);
    }
    std::future::pending::<()>().await;
}

impl Drop for Session {
    fn drop(&mut self) {
        // What nobody takes any more must not slow the other channels of the connection.
        self.fed.data.close();
        while let Ok(input) = self.fed.data.try_recv() {
            if let Input::Data(bytes) = input {
                self.pulse.let_out(bytes.len());
            }
        }
    }
}

/// A connection into the room's network that is asked for.
pub(crate) struct Forward {
    pub(crate) session: Session,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) reply: russh::server::ChannelOpenHandle,
}

impl Forward {
    /// Connects, says so, and carries bytes both ways until both sides have ended, or the daemon ends.
    pub(crate) async fn serve(self, shutdown: Shutdown) {
        let Self {
            mut session,
            host,
            port,
            reply,
        } = self;
        let left = session.end.clone();
        let work = async {
            let connected = async {
                let room = session.house.enter(&session.visitor).await?;
                room.connect(&host, port).await
            };
            match connected.await {
                Ok(stream) => {
                    reply.accept().await;
                    session.copy(stream).await;
                }
                Err(failure) => {
                    tracing::info!(key = %session.visitor.key, user = %daas_model::visible(&session.visitor.user), host = %daas_model::visible(&host), port, cause = %failure, "a forward over SSH is refused");
                    reply.reject(ChannelOpenFailure::ConnectFailed).await;
                    // Nobody closes a channel that was never opened.
                    session.end.cancel();
                }
            }
        };
        tokio::select! {
            () = left.cancelled() => {}
            () = shutdown.asked() => {}
            () = work => {}
        }
    }
}

impl Session {
    /// Carries bytes both ways; a side that ends is told to the other.
    async fn copy(&mut self, stream: BoxDuplex) {
        let (from, to) = tokio::io::split(stream);
        let outlet = &self.outlet;
        let answers = async {
            let _ = outlet.carry(from, false).await;
        };
        tokio::select! {
            () = answers => {}
            () = pour(&mut self.fed.data, Box::pin(to), &self.pulse) => {}
        }
        outlet.end(None).await;
    }
}
