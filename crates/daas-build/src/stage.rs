//! One stage, instruction by instruction.

use crate::error::BuildError;
use crate::job::{Begun, Built, Job, at_step, image_name};
use crate::owner::owner;
use crate::paths::{joined, parts};
use crate::request::ContextSource;
use crate::state::State;
use crate::transfer::Transfer;
use daas_image::{Digest, Image, ImageHealth, Layer, Merged, Packed};
use daas_model::{Diagnostics, ImageName};
use daas_spec::dockerfile::{
    Action, CommandLine, HealthProbe, Origin, RunAction, Step, read_trigger,
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

pub(crate) fn faults(diagnostics: Diagnostics) -> BuildError {
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
            Action::Transfer(action) => {
                return crate::bring::transfer(self, state, step, &action).await;
            }
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

    /// Takes a step that makes a layer: from the cache, or by `write`.
    async fn layer(
        &mut self,
        state: &mut State,
        step: &Step,
        key: &Digest,
        write: impl FnOnce(&mut daas_image::LayerDraft) -> std::io::Result<()> + Send + 'static,
    ) -> Result<(), BuildError> {
        let begun = self.job.begin(self.number, &step.text);
        if self.kept(state, step, key)? {
            begun.done(true);
            return Ok(());
        }
        self.make(state, step, key, begun, write).await
    }

    /// Takes the layer of a step that was made before; tells whether there is one.
    pub(crate) fn kept(
        &self,
        state: &mut State,
        step: &Step,
        key: &Digest,
    ) -> Result<bool, BuildError> {
        let Some((packed, layer, made)) = self.job.cached(key)? else {
            return Ok(false);
        };
        state.push(packed, layer, made, &step.text);
        Ok(true)
    }

    /// Makes the layer of a step by `write`, and keeps it.
    pub(crate) async fn make(
        &self,
        state: &mut State,
        step: &Step,
        key: &Digest,
        begun: Begun<'_>,
        write: impl FnOnce(&mut daas_image::LayerDraft) -> std::io::Result<()> + Send + 'static,
    ) -> Result<(), BuildError> {
        let job = self.job;
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

pub(crate) fn wrong(step: &Step, error: &daas_image::ImageError) -> BuildError {
    BuildError::Step {
        instruction: step.text.clone(),
        line: step.at.line,
        why: error.to_string(),
        hint: daas_model::Explain::hint(error),
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
