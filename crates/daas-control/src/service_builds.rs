//! Images of a project's services, built by the daemon before its stands come up.
//!
//! Who asks by the command line builds there, where the files are. Who asks by the API names a project's folder: where the daemon can
//! read it on the asker's behalf, the build takes a copy of it; where it cannot, the answer says so before anything is recorded.

use crate::binds::project_folder;
use crate::building::Building;
use crate::builds::{BuildLog, far_contexts};
use crate::operations::{caught, daemon_ends, end};
use crate::platform::Control;
use crate::stand_loop::now_ms;
use daas_api::{
    BuildWish, BytesText, Caller, Failure, MakeRequest, OperationId, OperationKind, ProjectSource,
    Started,
};
use daas_build::{Context, Gathered, OnBehalfOf};
use daas_model::{Egress, ImageName, Kind, ProjectName, StandId, StandName};
use daas_spec::described::PackagesImage;
use daas_spec::dockerfile::{Ignore, MAX_DOCKERFILE, Remote, read_dockerfile};
use daas_spec::{Outcome, ServiceBuild};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The most bytes of a secret, as of a secret of a stand.
const MAX_SECRET: usize = 1 << 20;

/// Images that are being made, so that two requests do not make one twice.
pub(crate) type InTheMaking = Arc<Mutex<HashMap<ImageName, Arc<tokio::sync::Mutex<()>>>>>;

/// Builds that were found to be needed and possible, in the order in which they are done.
pub(crate) struct ServiceBuilds {
    turn: u64,
    planned: Vec<Planned>,
    project: Option<ProjectName>,
    egress: Egress,
    all: Vec<ServiceBuild>,
    files: Files,
    env: BTreeMap<String, String>,
}

struct Planned {
    build: ServiceBuild,
    operation: OperationId,
    /// Whether it is done though the image is there.
    anew: bool,
    dockerfile: Vec<u8>,
}

/// What the daemon may read of a project.
#[derive(Debug, Clone)]
struct Files {
    /// The project's folder; nothing for who comes over the network.
    root: Option<PathBuf>,
    who: OnBehalfOf,
}

impl Files {
    fn of(source: &ProjectSource, caller: &Caller) -> Result<Self, Failure> {
        let who = match caller {
            Caller::Process { uid: 0, .. } => OnBehalfOf::Root,
            Caller::Process { uid, .. } => OnBehalfOf::User { uid: *uid },
            Caller::Token { .. } | Caller::Certificate { .. } => {
                return Ok(Self {
                    root: None,
                    who: OnBehalfOf::User { uid: u32::MAX },
                });
            }
        };
        // A folder that is not there stands in nobody's way who needs none of it.
        let root = match project_folder(&source.dir, caller) {
            Ok((root, _)) => Some(root),
            Err(_) if !Path::new(&source.dir).exists() => None,
            Err(failure) => return Err(failure),
        };
        Ok(Self { root, who })
    }

    /// Returns the true folder `path`, if it may be read.
    fn folder(&self, path: &str, service: &str) -> Result<PathBuf, Failure> {
        let missing = |why: String| {
            Failure::new(
                "build-context-missing",
                Kind::Input,
                format!("cannot build the image of service `{service}`: the folder `{path}` is not there for the daemon"),
            )
            .because(why)
            .hint("`daas stand up` and `daas image build` send the files along from where they are; the API takes them at `POST /api/v1/images/build`")
        };
        let Some(root) = &self.root else {
            return Err(missing(
                "who comes over the network has no folders here".into(),
            ));
        };
        let real = Path::new(path)
            .canonicalize()
            .map_err(|e| missing(e.to_string()))?;
        if self.who != OnBehalfOf::Root && !real.starts_with(root) {
            return Err(missing(format!(
                "it lies outside of the project's folder {}",
                root.display()
            )));
        }
        Ok(real)
    }

    /// Reads a file that a build names, below `folder` or below the project's folder.
    fn read(&self, folder: &Path, path: &str, limit: usize) -> Result<Vec<u8>, Failure> {
        let whole = folder.join(path);
        let base = if whole.starts_with(folder) && !path.split('/').any(|part| part == "..") {
            folder.to_owned()
        } else {
            match (&self.root, self.who) {
                (_, OnBehalfOf::Root) => PathBuf::from("/"),
                (Some(root), _) => root.clone(),
                (None, _) => folder.to_owned(),
            }
        };
        let real = whole.parent().and_then(|p| p.canonicalize().ok());
        let whole = match (real, whole.file_name()) {
            (Some(parent), Some(name)) => parent.join(name),
            _ => whole,
        };
        let inside = whole.strip_prefix(&base).map_err(|_| {
            Failure::new(
                "build-file-outside",
                Kind::Input,
                format!("cannot read `{}` for a build", whole.display()),
            )
            .because(format!("it lies outside of {}", base.display()))
        })?;
        Ok(self.who.read(&base, &inside.to_string_lossy(), limit)?)
    }
}

impl Control {
    /// Finds what `wish` asks to be built, and whether it can be; nothing if there is nothing to do.
    ///
    /// # Errors
    /// What a person must mend before anything is recorded: a folder that is not there, a Dockerfile with faults, a circle.
    pub(crate) async fn service_builds(
        &self,
        caller: &Caller,
        source: &ProjectSource,
        outcome: &Outcome,
        wish: BuildWish,
    ) -> Result<Option<ServiceBuilds>, Failure> {
        static TURN: AtomicU64 = AtomicU64::new(1);
        if wish == BuildWish::Never || outcome.builds.is_empty() {
            return Ok(None);
        }
        let (control, caller, source, outcome) = (
            self.clone(),
            caller.clone(),
            source.clone(),
            outcome.clone(),
        );
        self.blocking("look at builds", move || {
            let files = Files::of(&source, &caller)?;
            let mut planned = Vec::new();
            for build in in_order(&outcome.builds)? {
                let there = control.engine.images().name_info(&build.image)?.is_some();
                let anew = wish == BuildWish::All || build.always;
                if there && !anew {
                    continue;
                }
                let dockerfile = match control.look_at(build, &files, &caller) {
                    Ok(dockerfile) => dockerfile,
                    // What is there already is as good as its last build by who had the files.
                    Err(_) if there && wish == BuildWish::Missing => continue,
                    Err(failure) => return Err(failure),
                };
                planned.push((build.clone(), anew, dockerfile));
            }
            if planned.is_empty() {
                return Ok(None);
            }
            let planned = planned
                .into_iter()
                .map(|(build, anew, dockerfile)| Planned {
                    operation: control.operations.begin_image(
                        OperationKind::Build,
                        Some(&build.image),
                        now_ms(),
                    ),
                    build,
                    anew,
                    dockerfile,
                });
            Ok(Some(ServiceBuilds {
                turn: TURN.fetch_add(1, Ordering::Relaxed),
                planned: planned.collect(),
                project: outcome.project.clone(),
                egress: outcome
                    .spec
                    .as_ref()
                    .map_or_else(Egress::default, |spec| spec.egress),
                all: outcome.builds.clone(),
                files,
                env: source.env.clone(),
            }))
        })
        .await
    }

    /// Returns the Dockerfile of a build that can be done: everything that it names is there. Blocks.
    fn look_at(
        &self,
        build: &ServiceBuild,
        files: &Files,
        caller: &Caller,
    ) -> Result<Vec<u8>, Failure> {
        if let Some(agent) = build.ssh.first()
            && (!matches!(caller, Caller::Process { uid: 0, .. }) || !agent.contains('='))
        {
            return Err(Failure::new(
                "build-ssh",
                Kind::Input,
                format!("the build of service `{}` wants an SSH agent", build.service),
            )
            .because("the daemon knows no agent of who asks")
            .hint("build it first: `daas image build --ssh default`, or name its socket as root: `ssh: [default=/run/agent.sock]`"));
        }
        for place in build.additional_contexts.values().filter(|p| is_folder(p)) {
            files.folder(place, &build.service)?;
        }
        let dockerfile = if let Some(text) = &build.dockerfile_inline {
            text.clone().into_bytes()
        } else if build.far_context().is_some() {
            // It is read when it has come.
            return Ok(Vec::new());
        } else {
            let context = files.folder(&build.context, &build.service)?;
            let name = build.dockerfile.as_deref().unwrap_or("Dockerfile");
            files.read(&context, name, MAX_DOCKERFILE)?
        };
        let parsed = read_dockerfile(&file_of(build), &dockerfile);
        let Some(file) = parsed.dockerfile else {
            return Err(Failure::of_dockerfile(&parsed.diagnostics));
        };
        if !build.bare && build.far_context().is_none() && file.needs_context() {
            files.folder(&build.context, &build.service)?;
        }
        Ok(dockerfile)
    }

    /// Does the builds one after the other and lets the stands go on behind them. Ends with the daemon.
    pub(crate) fn build_for(&self, builds: ServiceBuilds, stands: Vec<(StandName, StandId)>) {
        let control = self.clone();
        self.tasks
            .run("builds of a project", |shutdown| async move {
                let stands = Arc::new(stands);
                let mut result = Ok(());
                for planned in &builds.planned {
                    let work = control.one(&builds, planned, stands.clone());
                    let ended = match &result {
                        Ok(()) => {
                            tokio::select! {
                                ended = caught(work) => ended,
                                () = shutdown.asked() => Err(daemon_ends()),
                            }
                        }
                        Err(failure) => Err(Failure::clone(failure)),
                    };
                    if let Err(failure) = &ended {
                        result = Err(failure.clone());
                    }
                    control
                        .operations
                        .change_one(&planned.operation, |operation| {
                            end(operation, ended, now_ms());
                        });
                }
                for (stand, id) in stands.iter() {
                    let waiting = &control.keep.shared.waiting;
                    match &result {
                        Ok(()) => waiting.end(stand, Some(builds.turn)),
                        Err(failure) => {
                            waiting.say(stand, builds.turn, Building::Failed(failure.clone()));
                        }
                    }
                    control.keep.wake(stand, id);
                }
            });
    }

    /// Builds the image of one service.
    async fn one(
        &self,
        builds: &ServiceBuilds,
        planned: &Planned,
        stands: Arc<Vec<(StandName, StandId)>>,
    ) -> Result<(), Failure> {
        let build = &planned.build;
        let _turn = self.making(&build.image).await;
        if !planned.anew && self.engine.images().name_info(&build.image)?.is_some() {
            // Another request has built it meanwhile.
            return Ok(());
        }
        let mut images = BTreeMap::new();
        for (name, place) in &build.additional_contexts {
            if let Some(image) = self.context_image(place, &builds.all).await? {
                images.insert(name.clone(), image);
            }
        }
        let (control, files, own, env) = (
            self.clone(),
            builds.files.clone(),
            build.clone(),
            builds.env.clone(),
        );
        let (context, secrets) = self
            .blocking("copy the files of a build", move || {
                Ok((control.gather(&own, &files)?, secrets(&own, &files, &env)?))
            })
            .await?;
        let head = daas_api::BuildRequest {
            dockerfile: String::from_utf8_lossy(&planned.dockerfile).into_owned(),
            context: build.far_context().map(str::to_owned),
            remotes: build.far_contexts(),
            file: Some(file_of(build)),
            project: builds.project.clone(),
            names: std::iter::once(build.image.clone())
                .chain(build.tags.iter().cloned())
                .collect(),
            args: build
                .args
                .iter()
                .filter_map(|(name, value)| Some((name.clone(), value.clone()?)))
                .collect(),
            target: build.target.clone(),
            labels: build.labels.clone(),
            secrets,
            ssh: build
                .ssh
                .iter()
                .filter_map(|agent| agent.split_once('='))
                .map(|(id, socket)| (id.to_owned(), socket.to_owned()))
                .collect(),
            images,
            no_cache: build.no_cache,
            pull: build.pull,
            no_network: build.network.as_deref() == Some("none"),
            host_network: build.network.as_deref() == Some("host"),
            egress: Some(builds.egress),
            platform: build.platforms.first().cloned(),
            extra_hosts: build.extra_hosts.clone(),
            shm_size: build.shm_size,
            ulimits: build.ulimits.clone(),
            ..daas_api::BuildRequest::default()
        };
        let (keep, turn, image) = (self.keep.clone(), builds.turn, build.image.familiar());
        let log = self.build_log_of(&planned.operation)?.telling(move |text| {
            for (stand, id) in stands.iter() {
                let building = Building::Under {
                    image: image.clone(),
                    text: text.to_owned(),
                };
                if keep.shared.waiting.say(stand, turn, building) {
                    keep.wake(stand, id);
                }
            }
        });
        let (log, far) = (Arc::new(log), far_contexts(&head, self.limits(&head)));
        let request = self.fetched(head, &context, &far, &log).await?;
        self.run_build(&planned.operation, request, context, log)
            .await
    }

    fn gather(&self, build: &ServiceBuild, files: &Files) -> Result<Context, Failure> {
        let mut parts = Vec::new();
        let is_near = !build.bare && build.far_context().is_none();
        if is_near && files.root.is_some() && Path::new(&build.context).exists() {
            let folder = files.folder(&build.context, &build.service)?;
            parts.push(Gathered {
                ignore: ignore(&folder, &file_of(build), files.who)?,
                folder,
                part: "context".into(),
            });
        }
        for (name, place) in &build.additional_contexts {
            if is_folder(place) {
                let folder = files.folder(place, &build.service)?;
                parts.push(Gathered {
                    ignore: ignore(&folder, "", files.who)?,
                    folder,
                    part: format!("contexts/{name}"),
                });
            }
        }
        Ok(self.builder.gather(&parts, files.who)?)
    }

    /// Returns the image that a further context is, made if it is one of packages; nothing for a folder.
    async fn context_image(
        &self,
        place: &str,
        all: &[ServiceBuild],
    ) -> Result<Option<ImageName>, Failure> {
        let bad = |why: String| Failure::new("build-additional-context", Kind::Input, why);
        if let Some(image) = place.strip_prefix("docker-image://") {
            return ImageName::parse(image)
                .map(Some)
                .map_err(|e| bad(e.to_string()));
        }
        if let Some(service) = place.strip_prefix("service:") {
            let of = all.iter().find(|b| b.service == service);
            return match of {
                Some(build) => Ok(Some(build.image.clone())),
                None => Err(bad(format!("service `{service}` has no `build`"))),
            };
        }
        match PackagesImage::parse(place) {
            Some(packages) => self.packages_image(&packages).await.map(Some),
            None => Ok(None),
        }
    }

    /// Returns an image of distribution packages; made once, and found again by its packages.
    pub(crate) async fn packages_image(
        &self,
        packages: &PackagesImage,
    ) -> Result<ImageName, Failure> {
        let name = packages
            .image_name()
            .map_err(|e| Failure::new("packages-image", Kind::Input, e.to_string()))?;
        let _turn = self.making(&name).await;
        if self.engine.images().name_info(&name)?.is_some() {
            return Ok(name);
        }
        let request = MakeRequest {
            base: packages.base.clone(),
            name: Some(name.clone()),
            packages: packages.packages.clone(),
            ..MakeRequest::default()
        };
        let id = self
            .operations
            .begin_image(OperationKind::Make, Some(&name), now_ms());
        let made = self.make_now(&id, &request).await;
        self.operations.change_one(&id, |operation| {
            end(operation, made.clone(), now_ms());
        });
        made.map(|()| name)
    }

    /// Waits until nobody else makes the image.
    pub(crate) async fn making(&self, image: &ImageName) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = {
            let mut all = self
                .in_the_making
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            // Those that nobody holds or waits for are forgotten.
            all.retain(|_, lock| Arc::strong_count(lock) > 1);
            all.entry(image.clone()).or_default().clone()
        };
        lock.lock_owned().await
    }

    fn build_log_of(&self, id: &OperationId) -> Result<BuildLog, Failure> {
        BuildLog::open(&self.logs(), id, self.operations.clone())
    }
}

impl ServiceBuilds {
    /// Lets stands wait for these builds.
    pub(crate) fn hold(&self, control: &Control, stands: &[StandName]) {
        for stand in stands {
            control.keep.shared.waiting.begin(stand, self.turn);
        }
    }

    /// Returns the operations.
    pub(crate) fn started(&self) -> impl Iterator<Item = Started> + use<'_> {
        self.planned.iter().map(|planned| Started {
            operation: planned.operation.clone(),
            stand: None,
        })
    }

    /// Ends the operations of builds that will not be done.
    pub(crate) fn give_up(&self, control: &Control, stands: &[StandName], failure: &Failure) {
        for planned in &self.planned {
            control
                .operations
                .change_one(&planned.operation, |operation| {
                    end(operation, Err(failure.clone()), now_ms());
                });
        }
        for stand in stands {
            control.keep.shared.waiting.end(stand, Some(self.turn));
        }
    }
}

/// Whether a further context is a folder.
fn is_folder(place: &str) -> bool {
    !place.contains("://") && !place.starts_with("service:") && !Remote::is_remote(place)
}

/// How a person names the Dockerfile.
fn file_of(build: &ServiceBuild) -> String {
    build
        .dockerfile
        .clone()
        .filter(|_| build.dockerfile_inline.is_none())
        .unwrap_or_else(|| "Dockerfile".into())
}

/// Reads what a context leaves out: the Dockerfile's own list, or the context's.
fn ignore(folder: &Path, dockerfile: &str, who: OnBehalfOf) -> Result<Ignore, Failure> {
    let own = format!("{dockerfile}.dockerignore");
    let name = if !dockerfile.is_empty() && folder.join(&own).is_file() {
        own
    } else if folder.join(".dockerignore").is_file() {
        ".dockerignore".into()
    } else {
        return Ok(Ignore::default());
    };
    let list = who.read(folder, &name, MAX_DOCKERFILE)?;
    Ignore::read(&list).map_err(|e| {
        Failure::new(
            "dockerignore",
            Kind::Input,
            format!("cannot use `{name}`: {e}"),
        )
    })
}

fn secrets(
    build: &ServiceBuild,
    files: &Files,
    env: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, BytesText>, Failure> {
    let mut found = BTreeMap::new();
    for secret in &build.secrets {
        let content = match (&secret.file, &secret.environment) {
            (Some(file), _) => {
                let root = match (build.far_context(), &files.root) {
                    (Some(_), Some(root)) => root.clone(),
                    _ => files.folder(&build.context, &build.service)?,
                };
                files.read(&root, file, MAX_SECRET)?
            }
            (None, Some(name)) => match env.get(name) {
                Some(value) => value.clone().into_bytes(),
                None => continue,
            },
            (None, None) => continue,
        };
        found.insert(secret.id.clone(), BytesText(content));
    }
    Ok(found)
}

/// Puts builds behind those whose images they begin with.
fn in_order(builds: &[ServiceBuild]) -> Result<Vec<&ServiceBuild>, Failure> {
    let mut left: Vec<&ServiceBuild> = builds.iter().collect();
    let mut done: BTreeSet<&str> = BTreeSet::new();
    let mut order = Vec::new();
    while !left.is_empty() {
        let ready = left.iter().position(|build| {
            build
                .additional_contexts
                .values()
                .filter_map(|place| place.strip_prefix("service:"))
                .all(|s| done.contains(s) || !builds.iter().any(|b| b.service == s))
        });
        let Some(at) = ready else {
            return Err(Failure::new(
                "build-cycle",
                Kind::Input,
                "services are built from each other's images in a circle",
            )
            .hint("look at `additional_contexts`"));
        };
        let build = left.remove(at);
        done.insert(&build.service);
        order.push(build);
    }
    Ok(order)
}
