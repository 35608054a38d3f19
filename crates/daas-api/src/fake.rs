//! A platform in memory, for tests of the doors: it knows no kernel and remembers what it was asked.
//!
//! Every stand has the nodes `web` and `db`. A stand named `broken` fails to come up; an image named `absent` is not
//! there. Programs of `exec` are words: `cat`, `exit <code>`, `say <out> <err>`, `size` (prints each new size), `sleep`.

use crate::caller::Caller;
use crate::event::{EventQuery, EventView};
use crate::exec::{ExecRequest, WindowSize};
use crate::failure::Failure;
use crate::grant::GrantList;
use crate::image::{
    ImageDocument, ImageDocuments, ImageRemoved, ImageView, Loaded, MakeRequest, Pruned,
    PullRequest, TagRequest,
};
use crate::log::{LogChunk, LogQuery, LogStream};
use crate::node::{NodeStatus, NodeView, PortView};
use crate::operation::{
    Accepted, NodeProgress, Operation, OperationId, OperationKind, OperationState, Phase, Started,
};
use crate::plan::{PlanStep, PlanView};
use crate::platform::{
    Answer, BoxDuplex, ByteFlow, ExecSession, Flow, IfRevision, Images, Platform, Projects, Stands,
    System,
};
use crate::project::{Checked, ProjectSource};
use crate::stand::{
    ActRequest, Action, DownQuery, ScaleRequest, StandState, StandSummary, StandView, UpRequest,
};
use crate::stats::{StandStats, Usage};
use crate::system::{
    Check, CheckVerdict, DoctorReport, DoorView, PruneRequest, SystemInfo, SystemPruned,
};
use bytes::Bytes;
use daas_model::{
    Diagnostic, Egress, Health, ImageName, Kind, Limits, NodeName, Place, ProjectName, Protocol,
    ServiceName, Severity, StandId, StandKind, StandName,
};
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

/// The moment at which everything happens here: 2026-01-01T00:00:00Z.
pub const NOW_MS: u64 = 1_767_225_600_000;

/// A platform in memory.
#[derive(Debug, Default)]
pub struct FakePlatform {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    asked: Vec<String>,
    stands: BTreeMap<StandName, StandView>,
    operations: BTreeMap<OperationId, Operation>,
    grants: BTreeMap<ProjectName, GrantList>,
    images: BTreeMap<ImageName, ImageView>,
    archives: BTreeMap<String, Vec<u8>>,
}

fn name<T: std::str::FromStr<Err = daas_model::NameError>>(text: &str) -> T {
    text.parse().expect("the fake writes good names")
}

impl FakePlatform {
    /// Makes an empty platform.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns what was asked so far, one line per request that changes something, with who asked.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.locked().asked.clone()
    }

    /// Keeps an archive that [`Stands::copy_out`] gives for `path`.
    pub fn put_archive(&self, path: &str, tar: Vec<u8>) {
        self.locked().archives.insert(path.to_owned(), tar);
    }

    /// Returns the archive that was copied to `path`.
    #[must_use]
    pub fn archive(&self, path: &str) -> Option<Vec<u8>> {
        self.locked().archives.get(path).cloned()
    }

    /// Adds a stand as `up` would.
    pub fn add_stand(&self, stand: &str) {
        let stand: StandName = name(stand);
        self.locked()
            .stands
            .insert(stand.clone(), view(&stand, &name("shop")));
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn ask(&self, who: &Caller, what: impl AsRef<str>) {
        self.locked()
            .asked
            .push(format!("{who}: {}", what.as_ref()));
    }

    fn find(&self, stand: &StandName) -> Result<StandView, Failure> {
        self.locked()
            .stands
            .get(stand)
            .cloned()
            .ok_or_else(|| absent("stand", stand.as_str()))
    }

    fn find_node(&self, stand: &StandName, node: &NodeName) -> Result<(), Failure> {
        let found = self.find(stand)?.nodes.iter().any(|n| n.name == *node);
        if found {
            Ok(())
        } else {
            Err(absent("node", node.as_str()))
        }
    }

    fn expect(&self, stand: &StandName, at: IfRevision) -> Result<(), Failure> {
        match (self.find(stand), at) {
            (Ok(view), Some(at)) if view.summary.revision != at => Err(Failure::new(
                "stand-changed",
                Kind::Conflict,
                format!("cannot change stand `{stand}`: it was changed since"),
            )
            .with_status(412)),
            (Ok(_), _) => Ok(()),
            (Err(failure), _) => Err(failure),
        }
    }

    /// Records an operation that is done at once, or fails for a stand named `broken`.
    fn operate(
        &self,
        kind: OperationKind,
        stand: Option<&StandName>,
        image: Option<&ImageName>,
        last: &Phase,
    ) -> Accepted {
        let mut state = self.locked();
        let id = OperationId::parse(&format!("op-{}", state.operations.len() + 1))
            .expect("it is a good id");
        let broken = stand.is_some_and(|stand| stand.as_str() == "broken");
        let phase = if broken {
            Phase::Failed {
                reason: "exit code 127: `nginxx` not found".into(),
            }
        } else {
            last.clone()
        };
        let mut nodes = vec![NodeProgress {
            node: name("web"),
            phase,
        }];
        if stand.is_some() {
            nodes.insert(
                0,
                NodeProgress {
                    node: name("db"),
                    phase: last.clone(),
                },
            );
        }
        let problem = broken.then(|| {
            Failure::new(
                "node-failed",
                Kind::Outside,
                "cannot start node `web` of stand `broken`",
            )
            .because("`nginxx` not found in the image")
            .hint("look at `daas stand logs broken`")
            .to_problem()
        });
        let operation = Operation {
            id: id.clone(),
            kind,
            stand: stand.cloned(),
            image: image.cloned(),
            state: if broken {
                OperationState::Failed
            } else {
                OperationState::Done
            },
            started_ms: NOW_MS,
            ended_ms: Some(NOW_MS + 12),
            nodes,
            digest: None,
            problem,
        };
        state.operations.insert(id.clone(), operation);
        Accepted {
            operations: vec![Started {
                operation: id,
                stand: stand.cloned(),
            }],
            diagnostics: Vec::new(),
        }
    }
}

fn absent(kind: &str, name: &str) -> Failure {
    let code = if kind == "stand" {
        "stand-not-found"
    } else {
        "node-not-found"
    };
    Failure::new(code, Kind::NotFound, format!("no {kind} `{name}`"))
        .hint("`daas stand list` tells which there are")
}

fn now<T: Send + 'static>(value: Result<T, Failure>) -> Answer<'static, T> {
    std::future::ready(value).boxed()
}

fn node(text: &str, health: Health) -> NodeView {
    NodeView {
        name: name(text),
        service: name::<ServiceName>(text),
        image: ImageName::parse(if text == "db" {
            "postgres:16"
        } else {
            "nginx:1.27"
        })
        .expect("it is a good name"),
        status: NodeStatus::Running,
        health,
        since_ms: Some(NOW_MS),
        pid: Some(4711),
        exit_code: None,
        oom: false,
        reason: None,
        restarts: 0,
        addresses: vec![IpAddr::from([172, 18, 0, if text == "db" { 2 } else { 3 }])],
    }
}

fn view(stand: &StandName, project: &ProjectName) -> StandView {
    let summary = StandSummary {
        name: stand.clone(),
        id: name::<StandId>(&format!("{stand}-1")),
        project: project.clone(),
        kind: StandKind::Test,
        state: StandState::Running,
        reason: None,
        nodes_ready: 2,
        nodes_total: 2,
        address: Some(IpAddr::from([127, 64, 0, 1])),
        urls: vec![format!("http://{stand}.localhost")],
        created_ms: NOW_MS,
        expires_ms: None,
        revision: 1,
    };
    let ports = vec![
        PortView {
            node: name("web"),
            published: 80,
            target: 8080,
            protocol: Protocol::Tcp,
        },
        PortView {
            node: name("db"),
            published: 5432,
            target: 5432,
            protocol: Protocol::Tcp,
        },
    ];
    StandView {
        summary,
        nodes: vec![node("db", Health::Healthy), node("web", Health::None)],
        ports,
        limits: Limits::default().into(),
        egress: Egress::None,
        dir: Some("/srv/shop".into()),
    }
}

/// Reads the one fault that the fake knows: a compose file that holds the word `fault`.
fn faults(project: &ProjectSource) -> Vec<Diagnostic> {
    project
        .contents
        .iter()
        .filter(|(_, text)| text.0.windows(5).any(|w| w == b"fault"))
        .map(|(path, _)| {
            Diagnostic::error("port-out-of-range", "port `70000` does not exist")
                .at(Place {
                    file: path.clone(),
                    line: 7,
                    column: 9,
                })
                .because("a port is 1 to 65535")
                .hint("write a port between 1 and 65535")
        })
        .collect()
}

fn names(request: &UpRequest) -> Vec<StandName> {
    let project = request
        .project
        .project_name
        .clone()
        .unwrap_or_else(|| "shop".into());
    let base = request.name.clone().unwrap_or_else(|| name(&project));
    request.count.map_or_else(
        || vec![base.clone()],
        |count| (1..=count).map(|n| name(&format!("{base}-{n}"))).collect(),
    )
}

impl Stands for FakePlatform {
    fn up<'a>(
        &'a self,
        caller: &'a Caller,
        request: UpRequest,
        at: IfRevision,
    ) -> Answer<'a, Accepted> {
        let faults = faults(&request.project);
        if !faults.is_empty() {
            return now(Err(Failure::of_project(&faults)));
        }
        let mut all = Accepted {
            operations: Vec::new(),
            diagnostics: Vec::new(),
        };
        for stand in names(&request) {
            if let Some(at) = at
                && let Err(failure) = self.expect(&stand, Some(at))
            {
                return now(Err(failure));
            }
            self.ask(caller, format!("up {stand}"));
            let mut made = view(&stand, &name("shop"));
            let before = self
                .locked()
                .stands
                .get(&stand)
                .map_or(0, |v| v.summary.revision);
            made.summary.revision = before + 1;
            self.locked().stands.insert(stand.clone(), made);
            all.operations.extend(
                self.operate(OperationKind::Up, Some(&stand), None, &Phase::Healthy)
                    .operations,
            );
        }
        now(Ok(all))
    }

    fn plan(&self, request: UpRequest) -> Answer<'_, Vec<PlanView>> {
        let diagnostics: Vec<_> = faults(&request.project).iter().map(Into::into).collect();
        let step = |action: &str, subject: &str, reason: &str| PlanStep {
            action: action.into(),
            subject: subject.into(),
            reason: reason.into(),
        };
        let plans = names(&request)
            .into_iter()
            .map(|stand| PlanView {
                exists: self.find(&stand).is_ok(),
                stand,
                steps: vec![
                    step("make", "network default", "it is wanted and absent"),
                    step("start", "node db", "it is wanted and absent"),
                    step("start", "node web", "`db` will be healthy"),
                ],
                ignored: Vec::new(),
                diagnostics: diagnostics.clone(),
            })
            .collect();
        now(Ok(plans))
    }

    fn list(&self) -> Answer<'_, Vec<StandSummary>> {
        now(Ok(self
            .locked()
            .stands
            .values()
            .map(|view| view.summary.clone())
            .collect()))
    }

    fn show<'a>(&'a self, stand: &'a StandName) -> Answer<'a, StandView> {
        now(self.find(stand))
    }

    fn down<'a>(
        &'a self,
        caller: &'a Caller,
        stand: &'a StandName,
        how: DownQuery,
        at: IfRevision,
    ) -> Answer<'a, Accepted> {
        now(self.expect(stand, at).map(|()| {
            self.ask(
                caller,
                format!("down {stand} keep_volumes={}", how.keep_volumes),
            );
            self.locked().stands.remove(stand);
            self.operate(OperationKind::Down, Some(stand), None, &Phase::Removed)
        }))
    }

    fn act<'a>(
        &'a self,
        caller: &'a Caller,
        stand: &'a StandName,
        action: Action,
        request: ActRequest,
        at: IfRevision,
    ) -> Answer<'a, Accepted> {
        let (kind, phase, state) = match action {
            Action::Start => (OperationKind::Start, Phase::Healthy, StandState::Running),
            Action::Stop => (OperationKind::Stop, Phase::Stopped, StandState::Stopped),
            Action::Restart => (OperationKind::Restart, Phase::Healthy, StandState::Running),
            Action::Pause => (OperationKind::Pause, Phase::Paused, StandState::Paused),
            Action::Resume => (OperationKind::Resume, Phase::Running, StandState::Running),
        };
        now(self.expect(stand, at).map(|()| {
            let nodes: Vec<&str> = request.nodes.iter().map(NodeName::as_str).collect();
            self.ask(caller, format!("{action} {stand} {nodes:?}"));
            if let Some(view) = self.locked().stands.get_mut(stand) {
                view.summary.state = state;
                view.summary.revision += 1;
            }
            self.operate(kind, Some(stand), None, &phase)
        }))
    }

    fn scale<'a>(
        &'a self,
        caller: &'a Caller,
        stand: &'a StandName,
        request: ScaleRequest,
        at: IfRevision,
    ) -> Answer<'a, Accepted> {
        now(self.expect(stand, at).map(|()| {
            let wanted: Vec<String> = request
                .services
                .iter()
                .map(|(service, n)| format!("{service}={n}"))
                .collect();
            self.ask(caller, format!("scale {stand} {}", wanted.join(",")));
            self.operate(OperationKind::Scale, Some(stand), None, &Phase::Running)
        }))
    }

    fn logs<'a>(&'a self, stand: &'a StandName, query: LogQuery) -> Answer<'a, Flow<LogChunk>> {
        let found = self.find(stand).and_then(|_| {
            query
                .nodes()
                .map_err(|error| Failure::new("query-invalid", Kind::Input, error.to_string()))
        });
        now(found.map(|nodes| {
            let chunk = |node: &str, stream, n: u64, bytes: &[u8]| LogChunk {
                node: name(node),
                stream,
                at_us: (NOW_MS + n) * 1000,
                bytes: crate::BytesText(bytes.to_vec()),
            };
            let chunks = [
                chunk("db", LogStream::Stderr, 0, b"ready to accept connections\n"),
                chunk("web", LogStream::Stdout, 1, b"GET / 200\nGET /fav"),
                chunk("web", LogStream::Stdout, 2, b"icon.ico 404\n"),
                chunk(
                    "web",
                    LogStream::Stderr,
                    3,
                    b"\xff\x1b[31mnot text\x1b[0m\n",
                ),
            ];
            let wanted = move |chunk: &LogChunk| nodes.is_empty() || nodes.contains(&chunk.node);
            let known = stream::iter(chunks.into_iter().filter(wanted).map(Ok));
            if query.follow {
                known.chain(stream::pending()).boxed()
            } else {
                known.boxed()
            }
        }))
    }

    fn stats<'a>(&'a self, stand: &'a StandName, follow: bool) -> Answer<'a, Flow<StandStats>> {
        now(self.find(stand).map(|view| {
            let sample = move |n: u64| {
                let usage = |part: u64| Usage {
                    cpu_us: n * part * 250_000,
                    memory_bytes: (part * 64) << 20,
                    memory_limit_bytes: Some(2 << 30),
                    pids: part * 3,
                    pids_limit: Some(2048),
                    ..Usage::default()
                };
                Ok(StandStats {
                    stand: view.summary.name.clone(),
                    at_ms: NOW_MS + n * 1000,
                    total: usage(2),
                    nodes: [(name("db"), usage(1)), (name("web"), usage(1))].into(),
                })
            };
            if follow {
                stream::iter((0..3).map(sample)).boxed()
            } else {
                stream::iter([sample(0)]).boxed()
            }
        }))
    }

    fn events<'a>(
        &'a self,
        stand: Option<&'a StandName>,
        query: EventQuery,
    ) -> Answer<'a, Flow<EventView>> {
        let stand = stand.cloned();
        if let Some(Err(failure)) = stand.as_ref().map(|stand| self.find(stand)) {
            return now(Err(failure));
        }
        let event = |id, code: &str, severity, message: &str| EventView {
            id,
            at_ms: NOW_MS + id,
            stand: Some(name("shop")),
            node: Some(name("web")),
            severity,
            code: code.into(),
            message: message.into(),
        };
        let all = [
            event(1, "node-started", Severity::Note, "node `web` started"),
            event(
                2,
                "node-oom",
                Severity::Error,
                "node `web` used up its memory of 64 MiB and was killed",
            ),
            event(3, "node-started", Severity::Note, "node `web` started"),
        ];
        let after = query.after.unwrap_or(0);
        let known = stream::iter(
            all.into_iter()
                .filter(move |event| event.id > after)
                .map(Ok),
        );
        now(Ok(if query.follow {
            known.chain(stream::pending()).boxed()
        } else {
            known.boxed()
        }))
    }

    fn exec<'a>(
        &'a self,
        caller: &'a Caller,
        stand: &'a StandName,
        node: &'a NodeName,
        request: ExecRequest,
    ) -> Answer<'a, ExecSession> {
        now(self.find_node(stand, node).map(|()| {
            self.ask(
                caller,
                format!(
                    "exec {stand}/{node} {:?} user={:?}",
                    request.command, request.user
                ),
            );
            program(&request)
        }))
    }

    fn copy_out<'a>(
        &'a self,
        caller: &'a Caller,
        stand: &'a StandName,
        node: &'a NodeName,
        path: &'a str,
    ) -> Answer<'a, ByteFlow> {
        now(self.find_node(stand, node).and_then(|()| {
            self.ask(caller, format!("copy out {stand}/{node}:{path}"));
            let tar = self.archive(path).ok_or_else(|| {
                Failure::new(
                    "path-absent",
                    Kind::NotFound,
                    format!("cannot copy `{path}`: it does not exist"),
                )
            })?;
            let pieces: Vec<_> = tar
                .chunks(1000)
                .map(|piece| Ok(Bytes::copy_from_slice(piece)))
                .collect();
            Ok(stream::iter(pieces).boxed())
        }))
    }

    fn copy_in<'a>(
        &'a self,
        caller: &'a Caller,
        stand: &'a StandName,
        node: &'a NodeName,
        path: &'a str,
        archive: ByteFlow,
    ) -> Answer<'a, ()> {
        async move {
            self.find_node(stand, node)?;
            let tar = archive
                .try_fold(Vec::new(), |mut all, piece| async move {
                    all.extend_from_slice(&piece);
                    Ok(all)
                })
                .await?;
            self.ask(caller, format!("copy in {stand}/{node}:{path}"));
            self.put_archive(path, tar);
            Ok(())
        }
        .boxed()
    }

    fn forward<'a>(
        &'a self,
        caller: &'a Caller,
        stand: &'a StandName,
        node: &'a NodeName,
        port: u16,
        protocol: Protocol,
    ) -> Answer<'a, BoxDuplex> {
        now(self.find_node(stand, node).and_then(|()| {
            self.ask(caller, format!("forward {stand}/{node}:{port}/{protocol}"));
            if port == 1 {
                return Err(Failure::new(
                    "port-refused",
                    Kind::Outside,
                    format!("cannot connect to port 1 of node `{node}`"),
                )
                .because("connection refused"));
            }
            // An echo: what is written comes back.
            let (near, far) = tokio::io::duplex(4096);
            let (mut from, mut to) = tokio::io::split(far);
            Ok(Box::pin(Echo {
                near,
                echo: async move {
                    tokio::io::copy(&mut from, &mut to).await?;
                    to.shutdown().await
                }
                .boxed(),
            }) as BoxDuplex)
        }))
    }

    fn operation<'a>(&'a self, id: &'a OperationId) -> Answer<'a, Operation> {
        now(self.locked().operations.get(id).cloned().ok_or_else(|| {
            Failure::new(
                "operation-unknown",
                Kind::NotFound,
                format!("cannot find operation `{id}`"),
            )
        }))
    }

    fn follow_operation<'a>(&'a self, id: &'a OperationId) -> Answer<'a, Flow<Operation>> {
        let found = self.locked().operations.get(id).cloned().ok_or_else(|| {
            Failure::new(
                "operation-unknown",
                Kind::NotFound,
                format!("cannot find operation `{id}`"),
            )
        });
        now(found.map(|end| {
            let step = |phases: [Phase; 2]| {
                let mut operation = end.clone();
                operation.state = OperationState::Running;
                operation.ended_ms = None;
                operation.problem = None;
                operation.nodes = end
                    .nodes
                    .iter()
                    .zip(phases)
                    .map(|(n, phase)| NodeProgress {
                        node: n.node.clone(),
                        phase,
                    })
                    .collect();
                Ok(operation)
            };
            let pulling = |done| Phase::Pulling {
                image: "postgres:16".into(),
                done,
                total: Some(100 << 20),
            };
            let steps = match end.kind {
                OperationKind::Up | OperationKind::Pull => vec![
                    step([
                        pulling(10 << 20),
                        Phase::Waiting {
                            on: vec!["db healthy".into()],
                        },
                    ]),
                    step([
                        pulling(90 << 20),
                        Phase::Waiting {
                            on: vec!["db healthy".into()],
                        },
                    ]),
                    step([
                        Phase::Started,
                        Phase::Waiting {
                            on: vec!["db healthy".into()],
                        },
                    ]),
                    step([Phase::Healthy, Phase::Starting]),
                ],
                _ => vec![step([Phase::Stopping, Phase::Stopping])],
            };
            stream::iter(steps.into_iter().chain([Ok(end)])).boxed()
        }))
    }
}

/// An echo that is driven by whoever uses it.
struct Echo {
    near: tokio::io::DuplexStream,
    echo: futures_util::future::BoxFuture<'static, std::io::Result<()>>,
}

impl Echo {
    fn drive(&mut self, context: &mut std::task::Context<'_>) {
        let _ = self.echo.poll_unpin(context);
    }
}

impl tokio::io::AsyncRead for Echo {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        self.drive(context);
        std::pin::Pin::new(&mut self.near).poll_read(context, buffer)
    }
}

impl tokio::io::AsyncWrite for Echo {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        self.drive(context);
        std::pin::Pin::new(&mut self.near).poll_write(context, bytes)
    }

    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        self.drive(context);
        std::pin::Pin::new(&mut self.near).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        self.drive(context);
        std::pin::Pin::new(&mut self.near).poll_shutdown(context)
    }
}

/// Plays a program by its words.
fn program(request: &ExecRequest) -> ExecSession {
    let words: Vec<String> = request.command.clone();
    let (stdin_in, mut stdin_out) = tokio::io::duplex(4096);
    let (mut stdout_in, stdout_out) = tokio::io::duplex(4096);
    let (mut stderr_in, stderr_out) = tokio::io::duplex(4096);
    let (resize, mut sizes) = mpsc::channel::<WindowSize>(4);
    let first = request.size;
    let exit = async move {
        let mut words = words.iter().map(String::as_str);
        let failed =
            |error: std::io::Error| Failure::new("exec-failed", Kind::Outside, error.to_string());
        match words.next() {
            Some("cat") => {
                tokio::io::copy(&mut stdin_out, &mut stdout_in)
                    .await
                    .map_err(failed)?;
                Ok(0)
            }
            Some("exit") => Ok(words.next().and_then(|code| code.parse().ok()).unwrap_or(0)),
            Some("say") => {
                stdout_in
                    .write_all(words.next().unwrap_or_default().as_bytes())
                    .await
                    .map_err(failed)?;
                stderr_in
                    .write_all(words.next().unwrap_or_default().as_bytes())
                    .await
                    .map_err(failed)?;
                Ok(0)
            }
            Some("size") => {
                let mut size = first;
                loop {
                    if let Some(size) = size {
                        stdout_in
                            .write_all(format!("{}x{}\n", size.columns, size.rows).as_bytes())
                            .await
                            .map_err(failed)?;
                    }
                    let mut byte = [0];
                    tokio::select! {
                        next = sizes.recv() => size = next,
                        _ = stdin_out.read(&mut byte) => return Ok(7),
                    }
                }
            }
            Some("sleep") => std::future::pending().await,
            other => Err(Failure::new(
                "exec-not-found",
                Kind::Input,
                format!(
                    "cannot run `{}`: no such program",
                    other.unwrap_or_default()
                ),
            )),
        }
    };
    // The program runs beside whoever reads its output: its output ends when it does.
    let (done, exit_code) = tokio::sync::oneshot::channel();
    drop(tokio::task::spawn(async move {
        let code = exit.await;
        let _ = done.send(code);
    }));
    let exit = async move {
        exit_code
            .await
            .unwrap_or_else(|_| Err(Failure::new("exec-lost", Kind::Bug, "the program vanished")))
    };
    ExecSession {
        stdin: request.stdin.then(|| Box::pin(stdin_in) as _),
        stdout: Box::pin(stdout_out),
        stderr: (!request.tty).then(|| Box::pin(stderr_out) as _),
        resize,
        exit: exit.boxed(),
    }
}

impl Projects for FakePlatform {
    fn check(&self, project: ProjectSource) -> Answer<'_, Checked> {
        let faults = faults(&project);
        let project = Some(name(project.project_name.as_deref().unwrap_or("shop")));
        now(Ok(Checked {
            project,
            valid: faults.is_empty(),
            diagnostics: faults.iter().map(Into::into).collect(),
            ignored: Vec::new(),
        }))
    }

    fn grants<'a>(&'a self, project: &'a ProjectName) -> Answer<'a, GrantList> {
        let known = self.locked().grants.get(project).cloned();
        now(Ok(known.unwrap_or_else(|| GrantList {
            project: project.clone(),
            grants: BTreeSet::new(),
        })))
    }

    fn set_grants<'a>(&'a self, caller: &'a Caller, grants: GrantList) -> Answer<'a, GrantList> {
        self.ask(
            caller,
            format!("grants {} {:?}", grants.project, grants.grants),
        );
        self.locked()
            .grants
            .insert(grants.project.clone(), grants.clone());
        now(Ok(grants))
    }
}

fn image(text: &ImageName) -> ImageView {
    ImageView {
        names: vec![text.clone()],
        digest: format!("sha256:{:064x}", text.to_string().len()),
        platform: "linux/amd64".into(),
        size_bytes: 190 << 20,
        created_ms: Some(NOW_MS - 86_400_000),
        layers: 7,
        used_by: Vec::new(),
        config: None,
    }
}

impl Images for FakePlatform {
    fn list(&self) -> Answer<'_, Vec<ImageView>> {
        now(Ok(self.locked().images.values().cloned().collect()))
    }

    fn show<'a>(&'a self, name: &'a ImageName) -> Answer<'a, ImageView> {
        let found = self.locked().images.get(name).cloned();
        let found = found.ok_or_else(|| {
            Failure::new(
                "image-unknown",
                Kind::NotFound,
                format!("cannot find image `{}`", name.familiar()),
            )
            .hint("`daas image pull` fetches it")
        });
        now(found.map(|view| ImageView {
            config: Some(serde_json::json!({"Cmd": ["nginx"]})),
            ..view
        }))
    }

    fn documents<'a>(&'a self, name: &'a ImageName) -> Answer<'a, ImageDocuments> {
        Box::pin(async move {
            Images::show(self, name).await?;
            let document = ImageDocument {
                kind: "application/spdx+json".into(),
                digest: format!("sha256:{:064x}", 7),
                size_bytes: 2,
                content: Some(serde_json::json!({})),
            };
            Ok(ImageDocuments {
                items: vec![document],
            })
        })
    }

    fn remove<'a>(&'a self, caller: &'a Caller, name: &'a ImageName) -> Answer<'a, ImageRemoved> {
        self.ask(caller, format!("remove image {name}"));
        let gone = self.locked().images.remove(name);
        now(gone
            .map(|_| ImageRemoved {
                name: name.clone(),
                still_named: false,
            })
            .ok_or_else(|| {
                Failure::new(
                    "image-unknown",
                    Kind::NotFound,
                    format!("cannot find image `{}`", name.familiar()),
                )
            }))
    }

    fn pull<'a>(&'a self, caller: &'a Caller, request: PullRequest) -> Answer<'a, Accepted> {
        self.ask(caller, format!("pull {}", request.image));
        self.locked()
            .images
            .insert(request.image.clone(), image(&request.image));
        now(Ok(self.operate(
            OperationKind::Pull,
            None,
            Some(&request.image),
            &Phase::Completed,
        )))
    }

    fn build<'a>(
        &'a self,
        caller: &'a Caller,
        head: crate::BuildRequest,
        mut files: ByteFlow,
    ) -> Answer<'a, Accepted> {
        Box::pin(async move {
            let mut bytes = 0;
            while let Some(piece) = files.next().await {
                bytes += piece?.len();
            }
            self.ask(
                caller,
                format!("build {} bytes of files: {:?}", bytes > 0, head.names),
            );
            let name = head.names.first();
            if let Some(name) = name {
                self.locked().images.insert(name.clone(), image(name));
            }
            Ok(self.operate(OperationKind::Build, None, name, &Phase::Completed))
        })
    }

    fn build_log<'a>(&'a self, id: &'a OperationId, _: bool) -> Answer<'a, ByteFlow> {
        if !self.locked().operations.contains_key(id) {
            return now(Err(Failure::new(
                "operation-log-not-found",
                Kind::NotFound,
                format!("operation `{id}` has no log"),
            )));
        }
        let line = Bytes::from_static(b"#1 [0] COPY . .\n#1 DONE 0.1s\n");
        now(Ok(
            Box::pin(futures_util::stream::iter([Ok(line)])) as ByteFlow
        ))
    }

    fn make<'a>(&'a self, caller: &'a Caller, request: MakeRequest) -> Answer<'a, Accepted> {
        self.ask(
            caller,
            format!("make {} {:?}", request.base, request.packages),
        );
        let name = request
            .name
            .clone()
            .or_else(|| ImageName::parse(&request.base).ok());
        match name {
            Some(name) => {
                self.locked().images.insert(name.clone(), image(&name));
                now(Ok(self.operate(
                    OperationKind::Make,
                    None,
                    Some(&name),
                    &Phase::Completed,
                )))
            }
            None => now(Err(Failure::new(
                "base-unknown",
                Kind::Input,
                "cannot make an image of that base",
            ))),
        }
    }

    fn refresh<'a>(
        &'a self,
        caller: &'a Caller,
        request: crate::RefreshRequest,
    ) -> Answer<'a, Accepted> {
        self.ask(
            caller,
            format!("refresh {:?} {}", request.images, request.in_use),
        );
        now(Ok(self.operate(
            OperationKind::Refresh,
            None,
            request.images.first(),
            &Phase::Completed,
        )))
    }

    fn load<'a>(&'a self, caller: &'a Caller, archive: ByteFlow) -> Answer<'a, Loaded> {
        async move {
            let length = archive
                .try_fold(0, |all, piece| async move { Ok(all + piece.len()) })
                .await?;
            self.ask(caller, format!("load {length} bytes"));
            Ok(Loaded {
                images: vec![ImageName::parse("loaded:1").expect("it is a good name")],
            })
        }
        .boxed()
    }

    fn save<'a>(&'a self, name: &'a ImageName) -> Answer<'a, ByteFlow> {
        if !self.locked().images.contains_key(name) {
            return now(Err(Failure::new(
                "image-unknown",
                Kind::NotFound,
                format!("cannot find image `{}`", name.familiar()),
            )));
        }
        now(Ok(stream::iter(
            (0..8u8).map(|n| Ok(Bytes::from(vec![n; 1024]))),
        )
        .boxed()))
    }

    fn prune<'a>(&'a self, caller: &'a Caller, request: PruneRequest) -> Answer<'a, Pruned> {
        self.ask(
            caller,
            format!(
                "prune images all={} dry_run={}",
                request.all, request.dry_run
            ),
        );
        now(Ok(Pruned {
            removed: vec!["image old:1".into()],
            freed_bytes: 5 << 20,
        }))
    }

    fn tag<'a>(&'a self, caller: &'a Caller, request: TagRequest) -> Answer<'a, ImageView> {
        self.ask(caller, format!("tag {} {}", request.image, request.name));
        let view = image(&request.name);
        self.locked().images.insert(request.name, view.clone());
        now(Ok(view))
    }
}

impl System for FakePlatform {
    fn info(&self) -> Answer<'_, SystemInfo> {
        let state = self.locked();
        let (stands, images) = (
            u32::try_from(state.stands.len()).unwrap_or(0),
            u32::try_from(state.images.len()).unwrap_or(0),
        );
        now(Ok(SystemInfo {
            version: "0.1.0".into(),
            started_ms: NOW_MS,
            pid: 1,
            host: "fake".into(),
            kernel: "6.1.0".into(),
            cgroups: "v2".into(),
            state_dir: "/var/lib/daas".into(),
            stands,
            nodes_running: stands * 2,
            images,
            disk_total_bytes: 100 << 30,
            disk_free_bytes: 60 << 30,
            doors: vec![
                DoorView {
                    door: "socket".into(),
                    listens: vec!["/run/daas/daas.sock".into()],
                },
                DoorView {
                    door: "registry".into(),
                    listens: Vec::new(),
                },
                DoorView {
                    door: "ssh".into(),
                    listens: vec!["127.0.0.1:2222".into(), "[::1]:2222".into()],
                },
            ],
            tasks: Vec::new(),
        }))
    }

    fn doctor(&self) -> Answer<'_, DoctorReport> {
        let check = |code: &str, title: &str, verdict, found: &str, fix: Option<&str>| Check {
            code: code.into(),
            title: title.into(),
            verdict,
            found: found.into(),
            fix: fix.map(str::to_owned),
        };
        now(Ok(DoctorReport {
            checks: vec![
                check(
                    "kernel-version",
                    "the kernel is new enough",
                    CheckVerdict::Ok,
                    "6.1.0",
                    None,
                ),
                check(
                    "sysctl-neighbours",
                    "the neighbour table has room for 300 stands",
                    CheckVerdict::Warn,
                    "net.ipv4.neigh.default.gc_thresh3 = 1024",
                    Some("sysctl -w net.ipv4.neigh.default.gc_thresh3=16384"),
                ),
            ],
        }))
    }

    fn prune<'a>(&'a self, caller: &'a Caller, request: PruneRequest) -> Answer<'a, SystemPruned> {
        self.ask(
            caller,
            format!("prune all={} dry_run={}", request.all, request.dry_run),
        );
        now(Ok(SystemPruned {
            images: Pruned {
                removed: vec!["image old:1".into()],
                freed_bytes: 5 << 20,
            },
            leftovers: Pruned {
                removed: Vec::new(),
                freed_bytes: 0,
            },
        }))
    }
}

impl Platform for FakePlatform {
    fn stands(&self) -> &dyn Stands {
        self
    }

    fn projects(&self) -> &dyn Projects {
        self
    }

    fn images(&self) -> &dyn Images {
        self
    }

    fn registry(&self) -> &dyn crate::platform::Registry {
        self
    }

    fn names(&self) -> &dyn crate::platform::Names {
        self
    }

    fn routes(&self) -> &dyn crate::platform::Routes {
        self
    }

    fn certificates(&self) -> &dyn crate::platform::Certificates {
        self
    }

    fn ssh(&self) -> &dyn crate::platform::Ssh {
        self
    }

    fn banning(&self) -> &dyn crate::platform::Banning {
        self
    }

    fn system(&self) -> &dyn System {
        self
    }
}

impl crate::platform::Routes for FakePlatform {
    fn list(&self) -> Answer<'_, crate::RouteList> {
        let stand = name::<StandName>("shop");
        let route = crate::RouteView {
            service: "web".into(),
            port: 80,
            protocol: daas_model::RouteProtocol::Http,
            urls: vec![
                format!("http://{stand}.localhost"),
                format!("http://web.{stand}.localhost"),
            ],
            hosts: vec![
                format!("{stand}.localhost"),
                format!("web.{stand}.localhost"),
            ],
            path: "/".into(),
            named: false,
            taken: BTreeMap::new(),
            ready: vec![name("web")],
            nodes: 1,
            stand,
        };
        Box::pin(std::future::ready(Ok(crate::RouteList {
            items: vec![route],
        })))
    }

    fn traefik(&self, _: crate::EdgeQuery) -> Answer<'_, crate::TraefikConfig> {
        Box::pin(std::future::ready(Ok(crate::TraefikConfig::default())))
    }

    fn snippet<'a>(&'a self, edge: &'a str, _: crate::EdgeQuery) -> Answer<'a, crate::EdgeSnippet> {
        Box::pin(std::future::ready(Ok(crate::EdgeSnippet {
            edge: edge.to_owned(),
            hosts: vec!["shop.localhost".into()],
            text: "# shop.localhost\n".into(),
        })))
    }
}

impl crate::platform::Banning for FakePlatform {
    fn bans(&self) -> Answer<'_, crate::BanList> {
        Box::pin(std::future::ready(Ok(crate::BanList {
            items: vec![banned()],
            allowed: vec![banned().net],
        })))
    }

    fn ban<'a>(&'a self, _: &'a Caller, request: crate::BanRequest) -> Answer<'a, crate::BanView> {
        let ban = crate::BanView {
            net: request.net,
            ..banned()
        };
        Box::pin(std::future::ready(Ok(ban)))
    }

    fn unban<'a>(&'a self, _: &'a Caller, _: daas_model::Subnet) -> Answer<'a, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn allow<'a>(&'a self, _: &'a Caller, _: daas_model::Subnet) -> Answer<'a, crate::BanList> {
        self.bans()
    }

    fn disallow<'a>(&'a self, _: &'a Caller, _: daas_model::Subnet) -> Answer<'a, ()> {
        Box::pin(std::future::ready(Ok(())))
    }
}

fn banned() -> crate::BanView {
    crate::BanView {
        net: daas_model::Subnet::parse("192.0.2.7/32").expect("a block"),
        since_ms: 0,
        until_ms: None,
        why: "10 times: wrong token or login".into(),
        times: 1,
    }
}
