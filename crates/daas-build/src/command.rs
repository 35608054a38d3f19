//! `RUN`: a node of the build's stand, and what it wrote as a layer.

use crate::caches::{InUse, size_of};
use crate::error::BuildError;
use crate::follow::Piece;
use crate::job::{Job, at_step};
use crate::mask::Mask;
use crate::mounts::{CacheMount, Mounts};
use crate::progress::Event;
use crate::request::BuildNetwork;
use crate::stage::{Stage, draft, wrong};
use crate::stand::{Command, Network};
use crate::state::State;
use crate::stubs::{self, Scratch};
use daas_engine::{AUTHORITIES_BEGIN, AUTHORITIES_END, Ids, ImageFacts, Over};
use daas_image::{Changes, Digest};
use daas_keeper::launch::{BindOwners, MountLaunch, MountLaunchSource};
use daas_model::Egress;
use daas_spec::dockerfile::{RunAction, RunCommand, RunNetwork, Step};
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The most that one command may write to its output: enough for the noisiest build, not for a flood.
const OUTPUT: u64 = 64 << 20;
/// How many last lines of a failed command are told.
const KEPT_LINES: usize = 20;
/// How often caches in use are measured.
const MEASURE_EVERY: Duration = Duration::from_secs(2);

pub(crate) async fn run(
    stage: &mut Stage<'_>,
    state: &mut State,
    step: &Step,
    action: &RunAction,
) -> Result<(), Arc<BuildError>> {
    let job = stage.job;
    let mut mounts = Mounts::default();
    let argv = argv(job, state, step, &action.command, &mut mounts)?;
    for mount in &action.mounts {
        mounts.add(stage, state, step, mount).await?;
    }
    let network = network(job, step, action.network)?;
    let way_out = job.request.egress != Egress::None || network == Network::Host;
    if network != Network::None && way_out {
        mounts.trust(job, step)?;
    }
    let key = key(job, state, &argv, &mounts, network);
    let begun = job.begin(stage.number, &step.text);
    if let Some((packed, layer, made)) = job.cached(&key).map_err(Arc::new)? {
        state.push(packed, layer, made, &step.text);
        begun.done(true);
        return Ok(());
    }
    let made = execute(job, state, step, argv, mounts, network, begun.number, &key).await?;
    let (packed, layer) = made;
    job.builder
        .store()
        .put_step(&key, &packed, job.now)
        .map_err(BuildError::from)?;
    state.push(packed, layer, job.now, &step.text);
    begun.done(false);
    Ok(())
}

/// Returns what a command is connected to.
fn network(job: &Job, step: &Step, wanted: RunNetwork) -> Result<Network, BuildError> {
    Ok(match (wanted, job.request.network) {
        (RunNetwork::None, _) | (RunNetwork::Default, BuildNetwork::None) => Network::None,
        (RunNetwork::Default, BuildNetwork::Own) => Network::Stand,
        (RunNetwork::Host, _) | (RunNetwork::Default, BuildNetwork::Host) => {
            // Here for triggers of base images, which nobody could look at before.
            let asks = format!("`{}` in line {}", step.text, step.at.line);
            job.request.check_host_network(&asks)?;
            Network::Host
        }
    })
}

/// Returns what is run; a script becomes a file that is mounted.
fn argv(
    job: &Job,
    state: &State,
    step: &Step,
    command: &RunCommand,
    mounts: &mut Mounts,
) -> Result<Vec<String>, BuildError> {
    Ok(match command {
        // What the Dockerfile's own shell form means: its shell, and the text as one argument.
        RunCommand::Shell(text) => state.shell().into_iter().chain([text.clone()]).collect(),
        RunCommand::Exec(argv) => argv.clone(),
        RunCommand::Script { name, text } => {
            let folder = job.place("script");
            let failed = |e| at_step(step, e);
            std::fs::create_dir(&folder).map_err(failed)?;
            let file = folder.join("script");
            std::fs::write(&file, text).map_err(failed)?;
            std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755))
                .map_err(failed)?;
            let name: String = name
                .chars()
                .map(|c| if c == '/' || c == '\0' { '_' } else { c })
                .collect();
            let target = format!("/dev/pipes/{name}");
            mounts.list.push(MountLaunch {
                source: MountLaunchSource::Layers {
                    lowers: vec![folder],
                    path: "/script".into(),
                },
                target: target.clone(),
                read_only: true,
            });
            mounts.words.push(format!("script {text}"));
            vec![target]
        }
    })
}

fn key(job: &Job, state: &State, argv: &[String], mounts: &Mounts, network: Network) -> Digest {
    let mut key = state.key(job.project(), "RUN");
    key.texts(argv);
    key.texts(
        state
            .scope
            .run_env()
            .into_iter()
            .flat_map(|(name, value)| [name, value]),
    );
    key.texts([
        state.config.user.as_str(),
        state.working_dir(),
        &format!("{} {:?}", network != Network::None, job.epoch),
    ]);
    if network == Network::Host {
        key.texts(["network of the host"]);
    }
    key.texts(&mounts.words);
    for (name, addresses) in &job.request.extra_hosts {
        key.texts([format!("host {name} {addresses:?}")]);
    }
    key.finish()
}

#[expect(
    clippy::too_many_arguments,
    reason = "each is named where it is called"
)]
async fn execute(
    job: &Job,
    state: &State,
    step: &Step,
    argv: Vec<String>,
    mut mounts: Mounts,
    network: Network,
    number: u32,
    key: &Digest,
) -> Result<(daas_image::Packed, daas_image::Layer), BuildError> {
    let caches = take_caches(job, step, &mut mounts).await?;
    mounts.trust_of_java(state).map_err(|e| at_step(step, e))?;
    let stubs = stubs_of(job, state, step, &mounts).await?;
    let over = over(state, step, argv, &mounts, &stubs, job, key)?;
    let name = job.node_name(number);
    let command = Command {
        over,
        network,
        files: mounts.files,
    };
    let last: Arc<Mutex<Tail>> = Arc::default();
    let secrets = job.request.secrets.values().map(Vec::as_slice);
    let mask = Arc::new(Mutex::new(Mask::of(secrets)));
    let (tail, tell, hidden) = (last.clone(), job.tell.clone(), mask.clone());
    let pass_on = Arc::new(move |piece: Piece| {
        tail.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take(&piece.bytes);
        tell(Event::Output {
            step: number,
            piece,
        });
    });
    let told = pass_on.clone();
    let hear = move |piece: Piece| {
        let bytes = hidden
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pass(piece.error, &piece.bytes);
        if !bytes.is_empty() {
            told(Piece { bytes, ..piece });
        }
    };
    let ran = job.stand.run(&name, command, OUTPUT, hear);
    let ended = tokio::select! {
        ended = ran => ended?,
        () = outgrown(job, &caches) => {
            return Err(ceiling(step, format!("caches of {}", job.builder.caches().cap())));
        }
    };
    for error in [false, true] {
        let bytes = mask
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .rest(error);
        if !bytes.is_empty() {
            pass_on(Piece { error, bytes });
        }
    }
    trim(job, caches).await;
    if let Some(words) = ended.ceiling {
        return Err(ceiling(step, words));
    }
    if ended.code != 0 {
        let output = last.lock().unwrap_or_else(PoisonError::into_inner).lines();
        return Err(BuildError::Failed {
            instruction: step.text.clone(),
            line: step.at.line,
            code: ended.code,
            output,
        });
    }
    let root = job.stand.take(&name).await?;
    let epoch = job.epoch;
    let made = draft(job, step, move |draft| {
        Changes::clamped(epoch)
            .without(AUTHORITIES_BEGIN, AUTHORITIES_END)
            .write(&root, draft)
            .map(|_| ())
    })
    .await?;
    job.stand.forget(&name).await?;
    drop(stubs);
    Ok(made)
}

/// Takes the caches of a command, fills those that are new, and mounts them.
async fn take_caches(
    job: &Job,
    step: &Step,
    mounts: &mut Mounts,
) -> Result<Vec<InUse>, BuildError> {
    let mut caches: Vec<InUse> = Vec::new();
    for mount in std::mem::take(&mut mounts.caches) {
        let CacheMount {
            wanted,
            target,
            read_only,
            fill,
        } = mount;
        let cache = job
            .builder
            .caches()
            .take(&wanted, job.place("cache"))
            .await?;
        if let Some((tree, source)) = fill.filter(|_| cache.fresh) {
            let (path, at) = (cache.path.clone(), step.clone());
            job.blocking("fill a cache of builds", move || {
                let tree = tree.open().map_err(|e| at_step(&at, e))?;
                crate::gather::fill(tree, &source, &path)
            })
            .await?;
        }
        mounts.list.push(MountLaunch {
            source: MountLaunchSource::Bind {
                path: cache.path.clone(),
                // The folder is the platform's own, out of everybody's sight.
                owners: BindOwners::AsOnHost,
            },
            target,
            read_only,
        });
        caches.push(cache);
    }
    Ok(caches)
}

fn ceiling(step: &Step, ceiling: String) -> BuildError {
    BuildError::Ceiling {
        instruction: step.text.clone(),
        line: step.at.line,
        ceiling,
    }
}

async fn stubs_of(
    job: &Job,
    state: &State,
    step: &Step,
    mounts: &Mounts,
) -> Result<Scratch, BuildError> {
    let below = state.merged().map_err(|e| at_step(step, e))?;
    let (place, targets, at) = (job.place("stubs"), mounts.targets.clone(), step.clone());
    job.blocking("prepare a command of a build", move || {
        stubs::layer(place, &below, &targets).map_err(|e| at_step(&at, e))
    })
    .await
}

fn over(
    state: &State,
    step: &Step,
    argv: Vec<String>,
    mounts: &Mounts,
    stubs: &Scratch,
    job: &Job,
    key: &Digest,
) -> Result<Over, BuildError> {
    let none: [&str; 0] = [];
    let user = state
        .image()
        .lookup_user(&state.config.user, &none)
        .map_err(|e| wrong(step, &e))?;
    let mut environment: BTreeMap<String, String> = state.scope.proxy_env().into_iter().collect();
    // What the Dockerfile says of authorities stands above what the machine says.
    environment.extend(mounts.authorities.clone());
    environment.extend(state.scope.run_env());
    environment.extend(mounts.environment.clone());
    if let Some(epoch) = job.epoch {
        environment
            .entry("SOURCE_DATE_EPOCH".into())
            .or_insert_with(|| epoch.to_string());
    }
    let lowers: Vec<PathBuf> = std::iter::once(stubs.path().to_owned())
        .chain(state.lowers())
        .collect();
    Ok(Over {
        facts: ImageFacts {
            digest: key.to_string(),
            lowers,
            entrypoint: argv,
            environment,
            working_dir: Some(state.working_dir().to_owned()),
            ..ImageFacts::default()
        },
        ids: Ids {
            uid: user.uid,
            gid: user.gid,
            groups: user.groups,
            home: Some(user.home),
        },
        mounts: mounts.list.clone(),
    })
}

/// Waits until the caches of a command have outgrown what they may hold.
async fn outgrown(job: &Job, caches: &[InUse]) {
    if caches.is_empty() {
        return std::future::pending().await;
    }
    let paths: Vec<PathBuf> = caches.iter().map(|c| c.path.clone()).collect();
    let cap = job.builder.caches().cap().0;
    loop {
        tokio::time::sleep(MEASURE_EVERY).await;
        let paths = paths.clone();
        let measured = job
            .blocking("measure caches of a build", move || {
                Ok(paths.iter().map(|p| size_of(Path::new(p))).sum::<u64>())
            })
            .await;
        if measured.is_ok_and(|size| size > cap) {
            return;
        }
    }
}

/// Lets caches go and makes room if they have grown too large.
async fn trim(job: &Job, caches: Vec<InUse>) {
    if caches.is_empty() {
        return;
    }
    drop(caches);
    let (builder, project) = (job.builder.clone(), job.project().to_owned());
    let trimmed = job
        .blocking("trim caches of builds", move || {
            builder.caches().trim(&project);
            Ok(())
        })
        .await;
    if let Err(error) = trimmed {
        tracing::warn!(cause = %error, "caches of builds were not trimmed");
    }
}

/// The last lines of an output.
#[derive(Debug, Default)]
struct Tail {
    lines: VecDeque<String>,
    open: Vec<u8>,
}

impl Tail {
    fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte == b'\n' {
                let line = String::from_utf8_lossy(&std::mem::take(&mut self.open)).into_owned();
                if self.lines.len() == KEPT_LINES {
                    self.lines.pop_front();
                }
                self.lines.push_back(line);
            } else if self.open.len() < 4096 {
                self.open.push(*byte);
            }
        }
    }

    fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.lines.iter().cloned().collect();
        if !self.open.is_empty() {
            lines.push(String::from_utf8_lossy(&self.open).into_owned());
        }
        lines
    }
}
