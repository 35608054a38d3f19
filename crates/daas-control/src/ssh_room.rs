//! A node as a room behind the SSH door: programs, files and connections in it.

use crate::platform::Control;
use crate::sleep::Presence;
use daas_api::platform::{Answer, BoxDuplex};
use daas_api::{ExecRequest, Failure};
use daas_dns::{Name, ask};
use daas_engine::dial::StandNet;
use daas_keeper::protocol::NO_PROGRAM;
use daas_model::{Kind, NodeName, NodeState, StandName};
use daas_ssh::{End, Program, Room, Tweak, Wish};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::io::InspectReader;

/// How long a stand may take to wake.
const WAKE: Duration = Duration::from_secs(120);
/// The pause between two looks meanwhile.
const LOOK: Duration = Duration::from_millis(20);
/// How long a node may take to accept a connection, and its resolver to answer.
const CONNECT: Duration = Duration::from_secs(10);
const RESOLVE: Duration = Duration::from_secs(3);
/// The resolver of every node.
const RESOLVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 11)), 53);
/// The longest answer that is read.
const MOST_ANSWER: usize = 4096;

/// One node.
pub(crate) struct NodeRoom {
    pub(crate) control: Control,
    pub(crate) stand: StandName,
    pub(crate) node: NodeName,
    /// Whether the stand slept when it was entered.
    pub(crate) slept: bool,
}

/// A program of the engine, and what must live as long.
struct Started {
    session: daas_engine::ExecSession,
    presence: Presence,
}

impl NodeRoom {
    /// Waits until the node runs, and wakes its stand if it sleeps. The stand does not sleep while the answer lives.
    async fn awake(&self) -> Result<Presence, Failure> {
        let presence = self.control.sleepers.enter(&self.stand);
        let until = Instant::now() + WAKE;
        let mut woken = false;
        loop {
            let (_, stored) = self.control.node(&self.stand, &self.node)?;
            if stored.value.asleep {
                woken = true;
                let names = BTreeSet::from([self.stand.clone()]);
                self.control.wake(&names).await?;
            }
            let status = self.control.keep.status(&self.stand);
            let state = status.observed.nodes.get(&self.node).map(|n| &n.state);
            match state {
                Some(NodeState::Running { .. }) => return Ok(presence),
                // A moment later it runs, or says why not.
                Some(NodeState::Starting | NodeState::Backoff { .. }) => {}
                // What an eye has not seen yet may run already: the keeper knows better.
                _ if !woken => return Ok(presence),
                _ => {}
            }
            if let Some(error) = status.error.filter(|_| status.parked) {
                return Err(error);
            }
            if Instant::now() > until {
                return Err(Failure::new(
                    "ssh-not-awake",
                    Kind::Busy {
                        retry_after: Duration::from_secs(10),
                    },
                    format!(
                        "stand {} did not wake within {} s",
                        self.stand,
                        WAKE.as_secs()
                    ),
                )
                .hint(format!(
                    "`daas stand show {}` says what it waits for",
                    self.stand
                )));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Starts the first of several commands whose program is there.
    async fn first_of(&self, wish: &Wish, commands: Vec<Vec<String>>) -> Result<Started, Failure> {
        let presence = self.awake().await?;
        let mut last = None;
        for command in commands {
            match self.start(wish, command).await {
                Ok(session) => return Ok(Started { session, presence }),
                Err(daas_engine::EngineError::Refused { failure })
                    if failure.code == NO_PROGRAM =>
                {
                    last = Some(failure);
                }
                Err(error) => return Err(error.into()),
            }
        }
        let mut failure = Failure::new(
            "ssh-no-shell",
            Kind::NotFound,
            format!("node {} of stand {} has no shell", self.node, self.stand),
        )
        .hint("programs are run without one: name one with its arguments behind the address");
        if wish.command.is_some() {
            let said = last.map_or_else(String::new, |failure| failure.message);
            failure = Failure::new("ssh-no-program", Kind::NotFound, said);
        }
        Err(failure)
    }

    async fn start(
        &self,
        wish: &Wish,
        command: Vec<String>,
    ) -> Result<daas_engine::ExecSession, daas_engine::EngineError> {
        let mut environment = wish.environment.clone();
        if let Some(terminal) = &wish.terminal {
            environment.insert("TERM".into(), terminal.kind.clone());
        }
        let request = ExecRequest {
            command,
            environment,
            tty: wish.terminal.is_some(),
            size: wish.terminal.as_ref().map(|terminal| terminal.size),
            stdin: true,
            ..ExecRequest::default()
        };
        let (id, stored) = self
            .control
            .node(&self.stand, &self.node)
            .map_err(|_| self.gone())?;
        debug_assert_eq!(id, stored.value.id);
        self.control
            .start_in(&stored.value, &self.node, request)
            .await
    }

    /// Says that the stand went away meanwhile.
    fn gone(&self) -> daas_engine::EngineError {
        let stand = daas_model::StandId::parse(self.stand.as_str());
        let stand = stand.unwrap_or_else(|_| daas_engine::new_stand_id());
        daas_engine::EngineError::Gone { stand }
    }

    fn program(&self, started: Started) -> Program {
        let Started { session, presence } = started;
        let (tweaks, mut changes) = mpsc::channel(8);
        let (control, node, exec) = (self.control.clone(), self.node.clone(), session.exec);
        let stand = self.stand.clone();
        drop(self.control.tasks.run(
            format!("ssh changes in {stand}/{node}"),
            |shutdown| async move {
                loop {
                    let tweak = tokio::select! {
                        tweak = changes.recv() => tweak,
                        () = shutdown.asked() => return,
                    };
                    let (Some(tweak), Ok((id, _))) = (tweak, control.node(&stand, &node)) else {
                        return;
                    };
                    let done = match tweak {
                        Tweak::Resize(size) => {
                            control
                                .engine
                                .resize(&id, &node, exec, (size.rows, size.columns))
                                .await
                        }
                        Tweak::Signal(signal) => control.engine.kill_exec(&id, exec, signal).await,
                    };
                    if let Err(error) = done {
                        tracing::debug!(%stand, %node, %error, "a change of a program is lost");
                    }
                }
            },
        ));
        let exit = session.exit;
        Program {
            stdin: session.stdin.map_or_else(
                || Box::pin(tokio::io::sink()) as _,
                |pipe| Box::pin(pipe) as _,
            ),
            stdout: Box::pin(session.stdout),
            stderr: session.stderr.map(|pipe| Box::pin(pipe) as _),
            tweaks,
            end: Box::pin(async move {
                let end = exit.await.map_err(Failure::from)?;
                drop(presence);
                Ok(end.signal.map_or(End::Exited(end.code), End::Killed))
            }),
        }
    }

    /// Returns addresses of a host as the node's resolver says, or the host's own if it is an address.
    async fn resolve(&self, net: &Arc<StandNet>, host: &str) -> Result<Vec<IpAddr>, Failure> {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        // RFC 6761, section 6.3.
        if host.eq_ignore_ascii_case("localhost") {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        let name = Name::parse(host).map_err(|error| {
            let shown = daas_model::visible(host);
            Failure::new(
                "ssh-forward-name",
                Kind::Input,
                format!("`{shown}` is no name"),
            )
            .because(error.to_string())
        })?;
        let mut all = Vec::new();
        for v6 in [false, true] {
            all.extend(self.ask(net, &name, v6).await?);
        }
        if all.is_empty() {
            return Err(Failure::new(
                "ssh-forward-unknown",
                Kind::NotFound,
                format!("node {} knows no host `{name}`", self.node),
            ));
        }
        Ok(all)
    }

    async fn ask(
        &self,
        net: &Arc<StandNet>,
        name: &Name,
        v6: bool,
    ) -> Result<Vec<IpAddr>, Failure> {
        let socket = self
            .control
            .engine
            .dialer()
            .connect_udp(net, RESOLVER)
            .await?;
        // Nobody but the node's own resolver is at the other end, in a network that only the node has.
        let id = if v6 { 2 } else { 1 };
        let asked = async {
            socket.send(&ask::question(id, name, v6)).await?;
            let mut answer = vec![0; MOST_ANSWER];
            loop {
                let got = socket.recv(&mut answer).await?;
                if let Some(addresses) = ask::addresses(&answer[..got], id) {
                    return Ok::<_, std::io::Error>(addresses);
                }
            }
        };
        match tokio::time::timeout(RESOLVE, asked).await {
            Ok(Ok(addresses)) => Ok(addresses),
            // A node without a network has no resolver.
            Ok(Err(_)) | Err(_) => Ok(Vec::new()),
        }
    }
}

impl Room for NodeRoom {
    fn notice(&self) -> Option<String> {
        self.slept
            .then(|| format!("stand {} sleeps; it is being woken ...", self.stand))
    }

    fn run(&self, wish: Wish) -> Answer<'_, Program> {
        Box::pin(async move {
            let commands = commands(wish.command.as_deref());
            let started = self.first_of(&wish, commands).await?;
            Ok(self.program(started))
        })
    }

    fn files(&self) -> Answer<'_, Program> {
        Box::pin(async move {
            let presence = self.awake().await?;
            let (id, _) = self.control.node(&self.stand, &self.node)?;
            let (stream, done) = self.control.engine.files(&id, &self.node)?;
            let (stdout, stdin) = stream.into_split();
            // Nothing of it can be changed.
            let (tweaks, _) = mpsc::channel(1);
            Ok(Program {
                stdin: Box::pin(stdin),
                stdout: Box::pin(stdout),
                stderr: None,
                tweaks,
                end: Box::pin(async move {
                    done.await.map_err(Failure::from)?;
                    drop(presence);
                    Ok(End::Exited(0))
                }),
            })
        })
    }

    fn connect<'a>(&'a self, host: &'a str, port: u16) -> Answer<'a, BoxDuplex> {
        Box::pin(async move {
            let presence = self.awake().await?;
            let (id, _) = self.control.node(&self.stand, &self.node)?;
            let net = self.control.engine.net_of(&id, &self.node).await?;
            let mut last = None;
            for address in self.resolve(&net, host).await? {
                let target = SocketAddr::new(address, port);
                let dialer = self.control.engine.dialer();
                match dialer.connect_tcp(&net, target, CONNECT).await {
                    Ok(stream) => {
                        let _ = stream.set_nodelay(true);
                        let (read, write) = stream.into_split();
                        // The stand stays awake as long as somebody may read.
                        let read = InspectReader::new(read, move |_| {
                            let _held = &presence;
                        });
                        return Ok(Box::pin(tokio::io::join(read, write)) as BoxDuplex);
                    }
                    Err(error) => last = Some(error),
                }
            }
            Err(last.map_or_else(
                || Failure::new("ssh-forward-unknown", Kind::NotFound, "no address"),
                Failure::from,
            ))
        })
    }
}

/// Returns what is tried for a session: a shell for a person, the node's shell for words, and without a shell the words themselves.
fn commands(words: Option<&str>) -> Vec<Vec<String>> {
    let Some(line) = words else {
        return vec![vec!["/bin/bash".into()], vec!["/bin/sh".into()]];
    };
    // One argument, as it came: the shell is the node's and runs with its rights (decision 0036).
    let mut all = vec![vec!["/bin/sh".into(), "-c".into(), line.to_owned()]];
    if let Ok(words) = daas_spec::split_words(line)
        && !words.is_empty()
    {
        all.push(words);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_go_to_the_nodes_shell_as_one_argument_and_are_cut_only_where_there_is_none() {
        assert_eq!(
            commands(Some("echo 'a  b' | cat")),
            [
                vec!["/bin/sh", "-c", "echo 'a  b' | cat"],
                vec!["echo", "a  b", "|", "cat"]
            ]
        );
        assert_eq!(commands(Some("'")), [vec!["/bin/sh", "-c", "'"]]);
        assert_eq!(commands(None), [["/bin/bash"], ["/bin/sh"]]);
    }
}
