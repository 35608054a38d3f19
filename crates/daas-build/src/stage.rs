//! One stage, instruction by instruction.

use crate::error::BuildError;
use crate::job::{Built, Job, at_step, image_name};
use crate::owner::owner;
use crate::paths::{joined, parts};
use crate::request::ContextSource;
use crate::state::{Key, State};
use crate::transfer::Transfer;
use daas_image::{Digest, Image, ImageHealth, Layer, Merged, Packed};
use daas_model::{Diagnostics, ImageName};
use daas_spec::dockerfile::{
    Action, CommandLine, HealthProbe, Ignore, Origin, RunAction, Step, TransferAction,
    TransferKind, read_trigger,
};
use std::sync::Arc;

/// Builds stage `number`; `earlier` are the stages before it.
pub(crate) async fn build(
    job: Arc<Job>,
    number: usize,
    earlier: Vec<Built>,
) -> Result<Arc<State>, Arc<BuildError>> {
    let planned = job
        .plan
        .stages
        .get(number)
        .ok_or(BuildError::Cancelled)?
        .clone();
    let (mut state, triggers) = base(&job, number, &planned.base, &earlier).await?;
    let mut stage = Stage {
        job: &job,
        number,
        earlier: &earlier,
    };
    let steps: Vec<Step> = if planned.replaced {
        Vec::new()
    } else {
        let own = job.file.stages.get(number).map_or(&[][..], |s| &s.steps);
        let of_image = triggers
            .iter()
            .map(|text| read_trigger(&job.file.file, text))
            .collect::<Result<Vec<_>, _>>()
            .map_err(faults)?;
        of_image
            .into_iter()
            .chain(planned.triggers.iter().cloned())
            .chain(own.iter().cloned())
            .collect()
    };
    for step in steps {
        stage.step(&mut state, &step).await?;
    }
    Ok(Arc::new(state))
}

fn faults(diagnostics: Diagnostics) -> BuildError {
    BuildError::Dockerfile { diagnostics }
}

/// Returns what a stage begins with, and the triggers that its base image left.
async fn base(
    job: &Job,
    number: usize,
    origin: &Origin,
    earlier: &[Built],
) -> Result<(State, Vec<String>), Arc<BuildError>> {
    match origin {
        Origin::Scratch => Ok((State::new(job.plan.scope(&[default_path()])), Vec::new())),
        Origin::Stage(stage) => {
            let built = earlier.get(*stage).cloned().ok_or(BuildError::Cancelled)?;
            let mut state = State::clone(&*built.await?);
            state.own_command = false;
            // The triggers of a stage are in the plan; an image that is made from it keeps none of them.
            state.config.on_build.clear();
            Ok((state, Vec::new()))
        }
        Origin::Image(text) => of_image(job, number, &image_name(text)?)
            .await
            .map_err(Arc::new),
        Origin::Context(name) => match job.request.contexts.get(name) {
            Some(ContextSource::Image(image)) => {
                of_image(job, number, image).await.map_err(Arc::new)
            }
            _ => Err(Arc::new(BuildError::Request {
                why: format!("context `{name}` is no image, so no stage can begin with it"),
                hint: Some(format!(
                    "give an image: `--build-context {name}=docker-image://debian:bookworm`"
                )),
            })),
        },
    }
}

/// Where programs are looked for if the image does not say: Docker writes it into every image that it builds.
fn default_path() -> (String, String) {
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    ("PATH".to_owned(), path.to_owned())
}

async fn of_image(
    job: &Job,
    number: usize,
    name: &ImageName,
) -> Result<(State, Vec<String>), BuildError> {
    let image: Image = job.image(number, name).await?;
    let packed = job.builder.store().packed_layers(&image.digest)?;
    let mut env: Vec<(String, String)> = image
        .config
        .env
        .iter()
        .filter_map(|line| line.split_once('='))
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect();
    if !env.iter().any(|(name, _)| name == "PATH") {
        env.push(default_path());
    }
    let mut state = State::new(job.plan.scope(&env));
    state.layers = packed.into_iter().zip(image.layers).collect();
    let env = std::mem::take(&mut state.config.env);
    state.config = image.config;
    state.config.env = env;
    state.history = image.history;
    state.made = image
        .created
        .as_deref()
        .and_then(crate::times::seconds)
        .unwrap_or(0);
    let triggers = std::mem::take(&mut state.config.on_build);
    Ok((state, triggers))
}

/// The tool of one stage.
pub(crate) struct Stage<'a> {
    pub(crate) job: &'a Job,
    pub(crate) number: usize,
    pub(crate) earlier: &'a [Built],
}

impl Stage<'_> {
    async fn step(&mut self, state: &mut State, step: &Step) -> Result<(), Arc<BuildError>> {
        let action = state.scope.resolve(step).map_err(faults)?;
        self.job.remarks(state.scope.take_remarks());
        match action {
            Action::Transfer(action) => return self.transfer(state, step, &action).await,
            Action::Run(action) => return self.run(state, step, &action).await,
            Action::Workdir(dir) => {
                self.workdir(state, step, &dir).await?;
                return Ok(());
            }
            other => configure(state, other),
        }
        state.note(&step.text, true);
        Ok(())
    }

    async fn run(
        &mut self,
        state: &mut State,
        step: &Step,
        action: &RunAction,
    ) -> Result<(), Arc<BuildError>> {
        crate::command::run(self, state, step, action).await
    }

    async fn workdir(
        &mut self,
        state: &mut State,
        step: &Step,
        dir: &str,
    ) -> Result<(), BuildError> {
        let path = parts(state.absolute(dir).as_bytes());
        let text = String::from_utf8_lossy(&joined(&path)).into_owned();
        state.config.working_dir = format!("/{text}");
        let merged = state.merged().map_err(|e| at_step(step, e))?;
        let (_, there) = merged
            .land(text.as_bytes())
            .map_err(|e| at_step(step, e.into()))?;
        if there.is_some() {
            state.note(&step.text, true);
            return Ok(());
        }
        let user = state.config.user.clone();
        let ids = if user.is_empty() {
            (0, 0)
        } else {
            owner(&state.image(), &user).map_err(|e| wrong(step, &e))?
        };
        let mut key = state.key(self.job.project(), "WORKDIR");
        key.texts([&text, &format!("{ids:?} {:?}", self.job.epoch)]);
        let transfer = Plain {
            dest: format!("/{text}/").into_bytes(),
            owner: Some(ids),
            now: self.job.now,
            epoch: self.job.epoch,
        };
        let below = merged;
        self.layer(state, step, &key.finish(), move |draft| {
            transfer.folder(&below, draft)
        })
        .await
    }

    async fn transfer(
        &mut self,
        state: &mut State,
        step: &Step,
        action: &TransferAction,
    ) -> Result<(), Arc<BuildError>> {
        let job = self.job;
        let origin = match &action.from {
            Some(word) => Some(
                job.plan
                    .origin(self.number, word)
                    .map_err(|fault| faults(vec![*fault]))?,
            ),
            None => None,
        };
        let tree = job.tree(self.number, origin.as_ref(), self.earlier).await?;
        refuse_remote(step, action)?;
        let ids = action
            .chown
            .as_ref()
            .map(|spec| owner(&state.image(), spec))
            .transpose()
            .map_err(|e| wrong(step, &e))?;
        let exclude = Ignore::patterns(action.exclude.iter().map(String::as_str)).map_err(|e| {
            BuildError::Step {
                instruction: step.text.clone(),
                line: step.at.line,
                why: e.to_string(),
                hint: None,
            }
        })?;
        // As in BuildKit, a copy that changes modes is not linked.
        let link = action.link && action.chmod.is_none();
        let mut key = if link {
            // Made over nothing, so it depends on nothing below.
            Key::new(job.project(), "COPY --link")
        } else {
            state.key(job.project(), action.kind.keyword())
        };
        let dest = state.absolute(&action.dest);
        let dest = if matches!(action.dest.as_str(), "." | "..") || action.dest.ends_with("/.") {
            format!("{dest}/")
        } else {
            dest
        };
        key.texts([
            dest.as_str(),
            &format!(
                "{ids:?} {:?} {} {:?} {:?}",
                action.chmod, action.parents, action.unpack, job.epoch
            ),
        ]);
        let below = if link {
            Merged::open::<&str>([])
        } else {
            state.merged()
        };
        let below = below.map_err(|e| at_step(step, e))?;
        let work = Bring {
            sources: action
                .sources
                .iter()
                .map(|s| s.clone().into_bytes())
                .collect(),
            inline: action
                .inline
                .iter()
                .map(|file| (file.name.clone(), file.text.clone().into_bytes()))
                .collect(),
            dest: dest.into_bytes(),
            owner: ids,
            keeps_owner: tree.keeps_owner,
            chmod: action.chmod.clone(),
            exclude,
            parents: action.parents,
            unpack: action.kind == TransferKind::Add && action.unpack != Some(false),
            now: job.now,
            epoch: job.epoch,
        };
        let source = tree.open().map_err(|e| at_step(step, e))?;
        let at = step.clone();
        let (work, source, picks, digest) = job
            .blocking("digest files of a build", move || {
                let transfer = work.transfer_of();
                let with = with_closures(&work, transfer);
                let picks = with.pick(&source).map_err(|e| at_step(&at, e))?;
                let digest = with.digest(&source, &picks).map_err(|e| at_step(&at, e))?;
                drop(with);
                Ok((work, source, picks, digest))
            })
            .await?;
        key.texts([&digest]);
        self.layer(state, step, &key.finish(), move |draft| {
            let transfer = work.transfer_of();
            with_closures(&work, transfer).write(&source, &picks, &below, draft)
        })
        .await?;
        Ok(())
    }

    /// Takes a step that makes a layer: from the cache, or by `write`.
    async fn layer(
        &mut self,
        state: &mut State,
        step: &Step,
        key: &Digest,
        write: impl FnOnce(&mut daas_image::LayerDraft) -> std::io::Result<()> + Send + 'static,
    ) -> Result<(), BuildError> {
        let job = self.job;
        let begun = job.begin(self.number, &step.text);
        if let Some((packed, layer, made)) = job.cached(key)? {
            state.push(packed, layer, made, &step.text);
            begun.done(true);
            return Ok(());
        }
        let (packed, layer) = draft(job, step, write).await?;
        job.builder.store().put_step(key, &packed, job.now)?;
        state.push(packed, layer, job.now, &step.text);
        begun.done(false);
        Ok(())
    }
}

/// Makes a layer by `write`, on a thread that may wait.
pub(crate) async fn draft(
    job: &Job,
    step: &Step,
    write: impl FnOnce(&mut daas_image::LayerDraft) -> std::io::Result<()> + Send + 'static,
) -> Result<(Packed, Layer), BuildError> {
    let (store, at) = (job.builder.store().clone(), step.clone());
    let (packed, layer, lease) = job
        .blocking("make a layer", move || {
            let mut lease = store.lease();
            let mut draft = store.draft_layer()?;
            match write(&mut draft) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
                    return Err(draft.explain(error).into());
                }
                Err(error) => return Err(at_step(&at, error)),
            }
            let (packed, layer) = draft.finish(&mut lease)?;
            Ok((packed, layer, lease))
        })
        .await?;
    job.hold(lease);
    Ok((packed, layer))
}

fn refuse_remote(step: &Step, action: &TransferAction) -> Result<(), BuildError> {
    let Some(remote) = action.sources.iter().find(|s| is_remote(s)) else {
        return Ok(());
    };
    Err(BuildError::Step {
        instruction: step.text.clone(),
        line: step.at.line,
        why: format!(
            "`{}` would have to be fetched, which is not done yet",
            remote.escape_debug()
        ),
        hint: Some("fetch it into the context, or by a command of `RUN` that may reach it".into()),
    })
}

fn is_remote(source: &str) -> bool {
    ["http://", "https://", "git://", "ssh://", "git@"]
        .iter()
        .any(|scheme| source.starts_with(scheme))
}

pub(crate) fn wrong(step: &Step, error: &daas_image::ImageError) -> BuildError {
    BuildError::Step {
        instruction: step.text.clone(),
        line: step.at.line,
        why: error.to_string(),
        hint: daas_model::Explain::hint(error),
    }
}

/// What a transfer owns on its way to a thread that may wait.
struct Bring {
    sources: Vec<Vec<u8>>,
    inline: Vec<(String, Vec<u8>)>,
    dest: Vec<u8>,
    owner: Option<(u32, u32)>,
    keeps_owner: bool,
    chmod: Option<daas_spec::dockerfile::Chmod>,
    exclude: Ignore,
    parents: bool,
    unpack: bool,
    now: i64,
    epoch: Option<i64>,
}

/// The two functions that a transfer asks.
struct Closures<'a> {
    mode: crate::transfer::ModeOf<'a>,
    left_out: crate::transfer::LeftOut<'a>,
}

impl Bring {
    fn transfer_of(&self) -> Closures<'_> {
        Closures {
            mode: Box::new(|mode, folder| {
                self.chmod
                    .as_ref()
                    .map_or(mode, |chmod| chmod.apply(mode, folder))
            }),
            left_out: Box::new(|path, _| self.exclude.excludes(path)),
        }
    }
}

fn with_closures<'a>(bring: &'a Bring, closures: Closures<'a>) -> Transfer<'a> {
    Transfer {
        sources: bring.sources.clone(),
        inline: bring.inline.clone(),
        dest: bring.dest.clone(),
        owner: bring.owner,
        keeps_owner: bring.keeps_owner,
        mode: bring.chmod.is_some().then_some(closures.mode),
        left_out: (!bring.exclude.is_empty()).then_some(closures.left_out),
        parents: bring.parents,
        unpack: bring.unpack,
        now: bring.now,
        epoch: bring.epoch,
    }
}

/// One folder that is to exist.
struct Plain {
    dest: Vec<u8>,
    owner: Option<(u32, u32)>,
    now: i64,
    epoch: Option<i64>,
}

impl Plain {
    fn folder(&self, below: &Merged, draft: &mut daas_image::LayerDraft) -> std::io::Result<()> {
        let transfer = Transfer {
            sources: Vec::new(),
            inline: Vec::new(),
            dest: self.dest.clone(),
            owner: self.owner,
            keeps_owner: false,
            mode: None,
            left_out: None,
            parents: false,
            unpack: false,
            now: self.now,
            epoch: self.epoch,
        };
        transfer.folder(below, draft)
    }
}

/// Changes the configuration by an instruction that touches nothing else.
fn configure(state: &mut State, action: Action) {
    let shell = state.shell();
    let command = |line: CommandLine| match line {
        CommandLine::Shell(text) => shell.iter().cloned().chain([text]).collect(),
        CommandLine::Exec(argv) => argv,
    };
    let config = &mut state.config;
    match action {
        Action::Cmd(line) => {
            config.cmd = command(line);
            state.own_command = true;
        }
        Action::Entrypoint(line) => {
            config.entrypoint = command(line);
            if !state.own_command {
                config.cmd.clear();
            }
        }
        Action::Env(_) => {
            config.env = state
                .scope
                .image_env()
                .iter()
                .map(|(k, v)| format!("{k}={v}"))
                .collect();
        }
        Action::Expose(ports) => {
            config.exposed_ports.extend(
                ports
                    .into_iter()
                    .flat_map(daas_spec::dockerfile::PortRange::names),
            );
            config.exposed_ports.sort();
            config.exposed_ports.dedup();
        }
        Action::Healthcheck(probe) => config.healthcheck = Some(health(probe)),
        Action::Label(pairs) => config.labels.extend(pairs),
        Action::Onbuild(text) => config.on_build.push(text),
        Action::Shell(argv) => config.shell = argv,
        Action::StopSignal(signal) => config.stop_signal = signal,
        Action::User(user) => config.user = user,
        Action::Volume(paths) => {
            config.volumes.extend(paths);
            config.volumes.sort();
            config.volumes.dedup();
        }
        // Variables are in the scope already, a maintainer only in the history; the rest makes layers.
        Action::Arg(_)
        | Action::Maintainer(_)
        | Action::Run(_)
        | Action::Transfer(_)
        | Action::Workdir(_) => {}
    }
}

fn health(probe: Option<HealthProbe>) -> ImageHealth {
    let Some(probe) = probe else {
        return ImageHealth {
            test: vec!["NONE".into()],
            ..ImageHealth::default()
        };
    };
    let nanos = |span: std::time::Duration| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    ImageHealth {
        test: match probe.test {
            CommandLine::Shell(text) => vec!["CMD-SHELL".into(), text],
            CommandLine::Exec(argv) => ["CMD".to_owned()].into_iter().chain(argv).collect(),
        },
        interval: nanos(probe.interval),
        timeout: nanos(probe.timeout),
        start_period: nanos(probe.start_period),
        start_interval: nanos(probe.start_interval),
        retries: probe.retries.into(),
    }
}
