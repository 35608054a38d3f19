//! Builds: files come in, an operation follows the steps, the log stays.

use crate::images::started;
use crate::operations::Operations;
use crate::platform::Control;
use crate::projects::enough;
use crate::stand_loop::now_ms;
use bytes::Bytes;
use daas_api::platform::ByteFlow;
use daas_api::{
    Accepted, BuildRequest, BytesText, Caller, Failure, NodeProgress, OperationId, OperationKind,
    Phase,
};
use daas_build::{BuildError, BuildNetwork, Builder, Context, ContextSource, Event, FarContext};
use daas_model::{Explain, Kind, Limits, NodeName};
use futures_util::StreamExt;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// How many logs of builds are kept.
const KEPT_LOGS: usize = 200;
/// How many pieces of an upload may wait for the disk.
const AHEAD: usize = 16;
/// How many bytes of an upload that was refused are still read.
const HEARD_OUT: usize = 64 << 20;
/// How often a log that is followed is looked at.
const LOOK: Duration = Duration::from_millis(25);

impl Control {
    pub(crate) async fn build_image(
        &self,
        caller: &Caller,
        head: BuildRequest,
        files: ByteFlow,
    ) -> Result<Accepted, Failure> {
        tracing::info!(%caller, names = ?head.names, "build an image");
        let mut head = head;
        enough(self.limits(&head))?;
        let context = self.context_of(&mut head, files).await?;
        let far = far_contexts(&head, self.limits(&head));
        // What needs nothing from elsewhere is judged before anything is recorded.
        let (request, head) = if far.is_empty() {
            (Some(self.request(head, &context)?), None)
        } else {
            (None, Some(head))
        };
        let name = match (&request, &head) {
            (Some(request), _) => request.names.first().cloned(),
            (None, head) => head.as_ref().and_then(|head| head.names.first().cloned()),
        };
        let id = self
            .operations
            .begin_image(OperationKind::Build, name.as_ref(), now_ms());
        let log = Arc::new(BuildLog::open(&self.logs(), &id, self.operations.clone())?);
        let (control, of) = (self.clone(), id.clone());
        self.follow_through(&id, async move {
            let request = match (request, head) {
                (Some(request), _) => request,
                (None, head) => {
                    let head = head.unwrap_or_default();
                    control.fetched(head, &context, &far, &log).await?
                }
            };
            control.run_build(&of, request, context, log).await
        });
        Ok(started(id))
    }

    /// Receives the files of a build; a Dockerfile that comes instead of them becomes the request's.
    async fn context_of(
        &self,
        head: &mut BuildRequest,
        files: ByteFlow,
    ) -> Result<Context, Failure> {
        if head.context.as_deref() != Some("-") {
            return self
                .unpacked(files, |builder, pieces| builder.receive(pieces))
                .await;
        }
        let whole = |builder: &Builder, pieces: Pieces| builder.receive_whole(pieces);
        let (context, dockerfile) = self.unpacked(files, whole).await?;
        if let Some(text) = dockerfile {
            take_dockerfile(head, text)?;
        }
        Ok(context)
    }

    /// Fetches what a build needs from elsewhere, and completes its request.
    pub(crate) async fn fetched(
        &self,
        mut head: BuildRequest,
        context: &Context,
        far: &[FarContext],
        log: &Arc<BuildLog>,
    ) -> Result<daas_build::BuildRequest, Failure> {
        for far in far {
            let hear = log.clone();
            let tell = Arc::new(move |event| hear.hear(event));
            let fetched = self.builder.fetch_context(context, far, tell).await;
            let dockerfile = fetched.map_err(|error| {
                log.line(&format!("ERROR {}", daas_model::render_chain(&error)));
                failure(&error)
            })?;
            match dockerfile {
                Some(text) if far.part == "context" => take_dockerfile(&mut head, text)?,
                Some(_) => {
                    return Err(Failure::new(
                        "build-context",
                        Kind::Input,
                        format!("`{}` is neither a repository nor an archive", far.address),
                    ));
                }
                None => {}
            }
        }
        self.request(head, context)
    }

    /// Builds as the operation `id`, which somebody else ends.
    pub(crate) async fn run_build(
        &self,
        id: &OperationId,
        request: daas_build::BuildRequest,
        context: Context,
        log: Arc<BuildLog>,
    ) -> Result<(), Failure> {
        let hear = log.clone();
        let result = self
            .builder
            .build(request, Arc::new(move |event| hear.hear(event)))
            .await;
        drop(context);
        match result {
            Ok(image) => {
                log.line(&format!("built {}", image.digest));
                self.operations.change_one(id, |operation| {
                    operation.digest = Some(image.digest.to_string());
                });
                Ok(())
            }
            Err(error) => {
                log.line(&format!("ERROR {}", daas_model::render_chain(&*error)));
                Err(failure(&error))
            }
        }
    }

    /// Gives the files of a build as they come to `unpack`.
    async fn unpacked<T: Send + 'static>(
        &self,
        mut files: ByteFlow,
        unpack: impl FnOnce(&Builder, Pieces) -> Result<T, BuildError> + Send + 'static,
    ) -> Result<T, Failure> {
        let (pieces, from) = mpsc::channel::<Bytes>(AHEAD);
        let builder = self.builder.clone();
        let unpacking = self
            .tasks
            .run_blocking("receive the files of a build", move || {
                let pieces = Pieces {
                    from,
                    piece: Bytes::new(),
                };
                unpack(&builder, pieces)
            });
        let mut broken = None;
        while let Some(piece) = files.next().await {
            match piece {
                Ok(piece) => {
                    if pieces.send(piece).await.is_err() {
                        // It has stopped reading: its answer says why.
                        hear_out(&mut files).await;
                        break;
                    }
                }
                Err(failure) => {
                    broken = Some(failure);
                    break;
                }
            }
        }
        drop(pieces);
        let context = unpacking.await.map_err(|_| {
            Failure::new(
                "task-ended",
                Kind::Bug,
                "receiving files ended in the middle",
            )
        })?;
        match broken {
            Some(failure) => Err(failure),
            None => Ok(context?),
        }
    }

    pub(crate) fn request(
        &self,
        head: BuildRequest,
        context: &Context,
    ) -> Result<daas_build::BuildRequest, Failure> {
        let limits = self.limits(&head);
        let file = head.file.unwrap_or_else(|| "Dockerfile".into());
        let dockerfile = if head.dockerfile.is_empty() {
            context.dockerfile(&file)?
        } else {
            head.dockerfile.into_bytes()
        };
        let mut request = daas_build::BuildRequest::new(dockerfile);
        if let Some(part) = context.part("context") {
            context.ignore(&part, &file)?;
            request.context = Some(part);
        }
        request.contexts = head
            .images
            .into_iter()
            .map(|(name, image)| (name, ContextSource::Image(image)))
            .collect();
        for name in context.parts("contexts")? {
            if let Some(part) = context.part(&format!("contexts/{name}")) {
                context.ignore(&part, &file)?;
                request.contexts.insert(name, ContextSource::Folder(part));
            }
        }
        request.limits = limits;
        request.file = file;
        request.project = head.project;
        request.names = head.names;
        request.args = head.args;
        request.target = head.target;
        request.labels = head.labels;
        request.secrets = contents_of(&head.secrets);
        request.ssh = head
            .ssh
            .into_iter()
            .map(|(id, path)| (id, PathBuf::from(path)))
            .collect();
        request.no_cache = head.no_cache;
        request.pull = head.pull;
        request.network = match (head.no_network, head.host_network) {
            (true, _) => BuildNetwork::None,
            (false, true) => BuildNetwork::Host,
            (false, false) => BuildNetwork::Own,
        };
        if let Some(project) = &request.project {
            request.policy = self.policy(project)?;
        }
        request.egress = head.egress.unwrap_or_default();
        request.platform = head.platform;
        request.extra_hosts = head.extra_hosts;
        request.shm_size = head.shm_size;
        request.ulimits = head.ulimits;
        Ok(request)
    }

    /// Returns the ceiling that a build asks for, with the house's own where it does not.
    pub(crate) fn limits(&self, head: &BuildRequest) -> Limits {
        let default = self.config.limits;
        Limits {
            cpus: head.limits.cpus_milli.unwrap_or(default.cpus),
            memory: head.limits.memory_bytes.unwrap_or(default.memory),
            pids: head.limits.pids.unwrap_or(default.pids),
            disk: head.limits.disk_bytes.unwrap_or(default.disk),
        }
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.builder.dir().join("logs")
    }

    pub(crate) async fn read_build_log(
        &self,
        operation: &OperationId,
        follow: bool,
    ) -> Result<ByteFlow, Failure> {
        let path = self.logs().join(format!("{operation}.log"));
        let file = File::open(&path).map_err(|e| {
            Failure::new(
                "operation-log-not-found",
                Kind::NotFound,
                format!("operation `{operation}` has no log"),
            )
            .because(e.to_string())
            .hint("only builds write one, and the oldest are thrown away")
        })?;
        let (operations, id) = (self.operations.clone(), operation.clone());
        let flow = futures_util::stream::unfold(
            (file, operations, id, false),
            move |(mut file, operations, id, over)| async move {
                loop {
                    // Asked before the look: what was written until then is read.
                    let ended = over
                        || !follow
                        || operations.get(&id).is_ok_and(|o| o.state.is_over())
                        || operations.get(&id).is_err();
                    let mut piece = vec![0; 64 << 10];
                    match file.read(&mut piece) {
                        Ok(0) if ended => return None,
                        Ok(0) => tokio::time::sleep(LOOK).await,
                        Ok(n) => {
                            piece.truncate(n);
                            return Some((Ok(Bytes::from(piece)), (file, operations, id, false)));
                        }
                        Err(e) => {
                            let failure =
                                Failure::new("operation-log", Kind::Outside, "cannot read a log")
                                    .because(e.to_string());
                            return Some((Err(failure), (file, operations, id, true)));
                        }
                    }
                }
            },
        );
        Ok(Box::pin(flow))
    }
}

/// Reads on for a while without a use for it: who is cut off while sending does not read the answer.
async fn hear_out(files: &mut ByteFlow) {
    let mut heard = 0;
    while let Some(Ok(piece)) = files.next().await {
        heard += piece.len();
        if heard > HEARD_OUT {
            return;
        }
    }
}

fn contents_of(secrets: &BTreeMap<String, BytesText>) -> BTreeMap<String, Vec<u8>> {
    secrets
        .iter()
        .map(|(id, content)| (id.clone(), content.0.clone()))
        .collect()
}

/// Returns what of a build must be fetched.
pub(crate) fn far_contexts(head: &BuildRequest, limits: Limits) -> Vec<FarContext> {
    let own = head.context.iter().filter(|address| *address != "-");
    let own = own.map(|address| ("context".to_owned(), address));
    let further = head.remotes.iter();
    let further = further.map(|(name, address)| (format!("contexts/{name}"), address));
    // As with BuildKit, this argument is for whoever builds, not for the Dockerfile alone.
    let keep = head.args.get("BUILDKIT_CONTEXT_KEEP_GIT_DIR");
    let keep_git_dir = keep.is_some_and(|value| matches!(value.as_str(), "1" | "true"));
    own.chain(further)
        .map(|(part, address)| FarContext {
            address: address.clone(),
            part,
            project: head.project.clone(),
            egress: head.egress.unwrap_or_default(),
            limits,
            agent: head.ssh.get("default").map(PathBuf::from),
            secrets: contents_of(&head.secrets),
            keep_git_dir,
        })
        .collect()
}

/// Makes a Dockerfile that came instead of files the request's, which must have none.
fn take_dockerfile(head: &mut BuildRequest, text: Vec<u8>) -> Result<(), Failure> {
    if !head.dockerfile.is_empty() || text.is_empty() {
        return Err(Failure::new(
            "build-context",
            Kind::Input,
            "the context is no archive, and no Dockerfile is wanted",
        )
        .hint("send a tar archive, or the Dockerfile alone"));
    }
    head.dockerfile = String::from_utf8_lossy(&text).into_owned();
    Ok(())
}

/// Says what a failed build means at the doors.
fn failure(error: &BuildError) -> Failure {
    let mut failure = Failure::new(error.code(), error.kind(), error.to_string());
    if let BuildError::Dockerfile { diagnostics } = error {
        failure = Failure::of_dockerfile(diagnostics);
    }
    if let Some(cause) = std::error::Error::source(error) {
        failure = failure.because(daas_model::render_chain(cause));
    }
    match error.hint() {
        Some(hint) if !matches!(error, BuildError::Dockerfile { .. }) => failure.hint(hint),
        _ => failure,
    }
}

/// An upload as a thread that may wait reads it.
struct Pieces {
    from: mpsc::Receiver<Bytes>,
    piece: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        while self.piece.is_empty() {
            match self.from.blocking_recv() {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let n = buf.len().min(self.piece.len());
        buf[..n].copy_from_slice(&self.piece.split_to(n));
        Ok(n)
    }
}

/// The log of one build, and its operation.
pub(crate) struct BuildLog {
    operations: Operations,
    id: OperationId,
    inner: Mutex<Inner>,
    /// Hears which step begins.
    tell: Box<dyn Fn(&str) + Send + Sync>,
}

struct Inner {
    file: File,
    /// Output that has no end of line yet, by step.
    open: BTreeMap<u32, Vec<u8>>,
}

impl BuildLog {
    pub(crate) fn open(
        dir: &Path,
        id: &OperationId,
        operations: Operations,
    ) -> Result<Self, Failure> {
        let failed = |e: std::io::Error| {
            Failure::new(
                "operation-log",
                Kind::Outside,
                "cannot write the log of a build",
            )
            .because(e.to_string())
        };
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(failed)?;
        forget_old(dir);
        let file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(dir.join(format!("{id}.log")))
            .map_err(failed)?;
        Ok(Self {
            operations,
            id: id.clone(),
            inner: Mutex::new(Inner {
                file,
                open: BTreeMap::new(),
            }),
            tell: Box::new(|_| ()),
        })
    }

    /// Tells `hear` which step begins.
    pub(crate) fn telling(self, hear: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self {
            tell: Box::new(hear),
            ..self
        }
    }

    pub(crate) fn line(&self, text: &str) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        // A full disk loses words of a log; the build itself says what it needs to say.
        let _ = writeln!(inner.file, "{text}");
    }

    fn hear(&self, event: Event) {
        match event {
            Event::Began { step, stage, text } => {
                self.line(&format!("#{step} [{stage}] {text}"));
                (self.tell)(&format!("building: [{stage}] {text}"));
                self.phase(
                    step,
                    Phase::Preparing {
                        what: format!("[{stage}] {text}"),
                    },
                );
            }
            Event::Output { step, piece } => self.output(step, &piece.bytes),
            Event::Done {
                step, cached: true, ..
            } => {
                self.line(&format!("#{step} CACHED"));
                self.phase(step, Phase::Unchanged);
            }
            Event::Done { step, millis, .. } => {
                self.rest(step);
                self.line(&format!(
                    "#{step} DONE {}.{}s",
                    millis / 1000,
                    millis % 1000 / 100
                ));
                self.phase(step, Phase::Completed);
            }
            Event::Failed { step } => {
                self.rest(step);
                self.line(&format!("#{step} FAILED"));
                self.phase(
                    step,
                    Phase::Failed {
                        reason: "see the log".into(),
                    },
                );
            }
            Event::Fetching { step, done, total } => self.phase(
                step,
                Phase::Pulling {
                    image: String::new(),
                    done,
                    total: (total > 0).then_some(total),
                },
            ),
            Event::Remark { text } => self.line(&text),
        }
    }

    fn output(&self, step: u32, bytes: &[u8]) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let mut open = inner.open.remove(&step).unwrap_or_default();
        let mut text = String::new();
        for part in bytes.split_inclusive(|b| *b == b'\n') {
            open.extend_from_slice(part);
            if part.ends_with(b"\n") {
                let line = String::from_utf8_lossy(&open);
                // Writing to a string cannot fail.
                let _ = write!(text, "#{step} {line}");
                open.clear();
            }
        }
        // As `line`.
        let _ = inner.file.write_all(text.as_bytes());
        if !open.is_empty() {
            inner.open.insert(step, open);
        }
    }

    /// Ends an open line.
    fn rest(&self, step: u32) {
        let open = {
            let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            inner.open.remove(&step)
        };
        if let Some(open) = open {
            self.line(&format!("#{step} {}", String::from_utf8_lossy(&open)));
        }
    }

    fn phase(&self, step: u32, phase: Phase) {
        let Ok(node) = NodeName::parse(&format!("step-{step}")) else {
            return;
        };
        self.operations.change_one(&self.id, |operation| {
            match operation.nodes.iter_mut().find(|n| n.node == node) {
                Some(known) => known.phase = phase,
                None => operation.nodes.push(NodeProgress { node, phase }),
            }
        });
    }
}

/// Throws the oldest logs away.
fn forget_old(dir: &Path) {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return;
    };
    let mut all: Vec<(std::time::SystemTime, PathBuf)> = entries
        .flatten()
        .filter_map(|e| Some((e.metadata().ok()?.modified().ok()?, e.path())))
        .collect();
    all.sort();
    let extra = all.len().saturating_sub(KEPT_LOGS);
    for (_, path) in all.into_iter().take(extra) {
        // Somebody else may have done it.
        let _ = std::fs::remove_file(path);
    }
}
