use crate::caches::Caches;
use crate::error::BuildError;
use crate::fetch::Dialed;
use crate::job::{Built, Job};
use crate::mounts::secret_file;
use crate::progress::Teller;
use crate::request::BuildRequest;
use crate::stand::{BuildStand, Ground};
use crate::state::{State, time};
use crate::statements::{Origin, attach};
use crate::stubs::Scratch;
use daas_engine::LocalEngine;
use daas_image::{Image, NewImage, Platform, Registries, Store, Web};
use daas_model::{ByteSize, Explain, ProjectName};
use daas_spec::dockerfile::{BuildInputs, read_dockerfile};
use daas_tasks::Supervisor;
use futures_util::FutureExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How much the caches of one project may hold where nobody says otherwise.
pub const CACHES: ByteSize = ByteSize::gib(10);

/// What is the same for all builds of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildSettings {
    /// Authorities that commands trust besides those of their image: a file in PEM form, shown to commands that have a way out.
    ///
    /// It is read when a command begins, and neither in the image nor in what the cache compares.
    pub certificates: Option<PathBuf>,
    /// How much the caches of one project may hold.
    pub caches: ByteSize,
}

impl Default for BuildSettings {
    fn default() -> Self {
        Self {
            certificates: None,
            caches: CACHES,
        }
    }
}

/// Builds images on this machine. A clone is another handle of the same.
#[derive(Clone)]
pub struct Builder {
    inner: Arc<Inner>,
}

struct Inner {
    engine: LocalEngine,
    tasks: Supervisor,
    /// `<state>/build`.
    dir: PathBuf,
    caches: Caches,
    settings: BuildSettings,
    /// Made when the first file is fetched.
    web: std::sync::OnceLock<Web>,
    next: AtomicU64,
    /// One image is stated at a time, so that none gets its statements twice.
    stating: std::sync::Mutex<()>,
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder")
            .field("dir", &self.inner.dir)
            .finish_non_exhaustive()
    }
}

impl Builder {
    /// Makes a builder that works in `dir`, and sweeps what a crash has left there. Finished steps and caches stay.
    ///
    /// # Errors
    /// [`BuildError::Io`].
    pub fn open(
        engine: LocalEngine,
        tasks: Supervisor,
        dir: PathBuf,
        settings: BuildSettings,
    ) -> Result<Self, BuildError> {
        let work = dir.join("work");
        match std::fs::remove_dir_all(&work) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(BuildError::io("remove", &work)(e));
            }
            _ => {}
        }
        for folder in [&dir, &work, &dir.join("caches")] {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .map_err(BuildError::io("make the folder", folder))?;
        }
        Ok(Self {
            inner: Arc::new(Inner {
                engine,
                tasks,
                caches: Caches::new(dir.join("caches"), settings.caches),
                settings,
                web: std::sync::OnceLock::new(),
                dir,
                next: AtomicU64::new(1),
                stating: std::sync::Mutex::default(),
            }),
        })
    }

    pub(crate) fn engine(&self) -> &LocalEngine {
        &self.inner.engine
    }

    /// Returns whose stands the builds of a project are; builds without one have one of their own.
    pub(crate) fn project_of(&self, project: Option<&ProjectName>) -> ProjectName {
        project.cloned().unwrap_or_else(|| {
            ProjectName::parse("images").expect("a literal that matches the grammar")
        })
    }

    pub(crate) fn tasks(&self) -> &Supervisor {
        &self.inner.tasks
    }

    /// Returns the platform's own authorities, which commands trust.
    pub(crate) fn trusted_inside(&self) -> Option<&str> {
        self.inner.engine.trusted_inside()
    }

    pub(crate) fn store(&self) -> &Arc<Store> {
        self.inner.engine.images()
    }

    pub(crate) fn registries(&self) -> &Registries {
        self.inner.engine.registries()
    }

    /// Returns what fetches files, by the rules of the stands' way out.
    pub(crate) fn web(&self) -> Result<&Web, BuildError> {
        if let Some(web) = self.inner.web.get() {
            return Ok(web);
        }
        let authorities = self.inner.settings.certificates.iter().cloned().collect();
        let dialed = Dialed(self.inner.engine.outside());
        let web = Web::new(authorities, Arc::new(dialed))?;
        Ok(self.inner.web.get_or_init(|| web))
    }

    pub(crate) fn settings(&self) -> &BuildSettings {
        &self.inner.settings
    }

    pub(crate) fn caches(&self) -> &Caches {
        &self.inner.caches
    }

    /// Makes a folder for work that ends with it; its name is of this life of the daemon, and of no other.
    pub(crate) fn scratch(&self) -> Result<Scratch, BuildError> {
        let n = self.inner.next.fetch_add(1, Ordering::Relaxed);
        let path = self.inner.dir.join("work").join(n.to_string());
        Scratch::make(path.clone()).map_err(BuildError::io("make the folder", path))
    }

    /// Builds an image and gives it its names.
    ///
    /// Steps that were made before are taken from the cache; the same request over the same content gives the same image then.
    /// Dropping the future ends the build and leaves nothing but finished steps.
    ///
    /// # Errors
    /// [`BuildError`].
    pub async fn build(
        &self,
        request: BuildRequest,
        tell: Teller,
    ) -> Result<Image, Arc<BuildError>> {
        let job = Arc::new(self.prepare(request, tell)?);
        let mut stages: Vec<Built> = Vec::new();
        for number in 0..job.plan.stages.len() {
            let stage = crate::stage::build(job.clone(), number, stages.clone());
            stages.push(stage.boxed().shared());
        }
        let wanted = job
            .plan
            .order
            .iter()
            .filter_map(|n| stages.get(*n).cloned());
        let built = futures_util::future::try_join_all(wanted).await;
        let target = stages.get(job.plan.target).cloned();
        drop(stages);
        let closed = job.stand.close().await;
        built?;
        closed?;
        let state = target.ok_or(BuildError::Cancelled)?.await?;
        Ok(self.finish(&job, &state).await?)
    }

    fn prepare(&self, request: BuildRequest, tell: Teller) -> Result<Job, BuildError> {
        let native = Platform::native().to_string();
        if let Some(platform) = request.platform.as_ref().filter(|p| {
            Platform::parse(p).is_none_or(|wanted| {
                let native = Platform::native();
                wanted.os != native.os || wanted.architecture != native.architecture
            })
        }) {
            return Err(BuildError::Request {
                why: format!(
                    "cannot build for `{}`: this machine is {native}, and programs of another one are not run by it",
                    platform.escape_debug()
                ),
                hint: Some("build on a machine of that platform".into()),
            });
        }
        let parsed = read_dockerfile(&request.file, &request.dockerfile);
        let Some(file) = parsed.dockerfile else {
            return Err(BuildError::Dockerfile {
                diagnostics: parsed.diagnostics,
            });
        };
        let inputs = BuildInputs {
            args: request.args.clone(),
            target: request.target.clone(),
            contexts: request.contexts.keys().cloned().collect(),
            build_platform: native.clone(),
            target_platform: native,
        };
        let plan = file
            .plan(&inputs)
            .map_err(|diagnostics| BuildError::Dockerfile { diagnostics })?;
        request.check_rights(&file, &plan)?;
        let epoch = epoch(&request)?;
        let now = epoch.unwrap_or_else(now);
        let ground = Ground {
            project: self.project_of(request.project.as_ref()),
            limits: request.limits,
            egress: request.egress,
            files: request
                .secrets
                .iter()
                .map(|(id, content)| (secret_file(id), content.clone()))
                .collect(),
            extra_hosts: request.extra_hosts.clone(),
            shm_size: request.shm_size,
            ulimits: request.ulimits.clone(),
        };
        let stand = BuildStand::new(self.inner.engine.clone(), self.inner.tasks.clone(), ground);
        let remarks = [parsed.diagnostics, plan.remarks.clone()].concat();
        let job = Job::new(
            self.clone(),
            request,
            file,
            plan,
            stand,
            self.scratch()?,
            tell,
            (now, epoch),
        );
        job.remarks(remarks);
        Ok(job)
    }

    async fn finish(&self, job: &Job, state: &State) -> Result<Image, BuildError> {
        let mut config = state.config.clone();
        config.labels.extend(job.request.labels.clone());
        let new = NewImage {
            created: Some(time(state.made)),
            platform: Platform::native(),
            config,
            history: state.history.clone(),
            layers: state
                .layers
                .iter()
                .map(|(packed, _)| packed.clone())
                .collect(),
            annotations: std::collections::BTreeMap::new(),
        };
        let (store, names) = (self.store().clone(), job.request.names.clone());
        let (image, lease, due) = job
            .blocking("put an image together", move || {
                let mut lease = store.lease();
                let image = store.put_image(&new, &names, &mut lease)?;
                let due = store.announce_documents(&image.digest);
                Ok((image, lease, due))
            })
            .await?;
        self.state_origin(job, &image, lease, due);
        Ok(image)
    }

    /// Attaches the statements about an image beside whoever waits for it: listing what is in a large one takes longer than many a build.
    ///
    /// `lease` keeps the image until then, and `due` lets those who ask for its documents wait.
    fn state_origin(
        &self,
        job: &Job,
        image: &Image,
        lease: daas_image::Lease,
        due: daas_image::DocumentsDue,
    ) {
        let origin = Origin {
            names: job.request.names.clone(),
            file: job.request.file.clone(),
            dockerfile: daas_image::Digest::of(&job.request.dockerfile),
            target: job.request.target.clone(),
            args: job.request.args.keys().cloned().collect(),
            bases: job.bases(),
            began: job.now,
        };
        let (builder, image) = (self.clone(), image.clone());
        self.inner
            .tasks
            .run_blocking("state where an image comes from", move || {
                let _turn = builder
                    .inner
                    .stating
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner);
                if let Err(error) = attach(builder.store(), &image, &origin) {
                    tracing::warn!(image = %image.digest, cause = %daas_model::render_chain(&error), "no statements were attached; the next build tries again");
                }
                drop((lease, due));
            });
    }

    /// Removes a folder that [`Builder::receive`] made, or that a caller works in.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }
}

fn now() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX))
}

/// Reads `SOURCE_DATE_EPOCH` (reproducible-builds.org/specs/source-date-epoch).
fn epoch(request: &BuildRequest) -> Result<Option<i64>, BuildError> {
    let Some(text) = request.args.get("SOURCE_DATE_EPOCH") else {
        return Ok(None);
    };
    match text.parse::<i64>() {
        Ok(seconds) if seconds >= 0 => Ok(Some(seconds)),
        _ => Err(BuildError::Request {
            why: format!(
                "`SOURCE_DATE_EPOCH` is `{}`, which is no count of seconds since 1970",
                text.escape_debug()
            ),
            hint: None,
        }),
    }
}

/// Says in one line why a build failed, for logs.
#[must_use]
pub fn in_one_line(error: &BuildError) -> String {
    format!("{}: {}", error.code(), daas_model::render_chain(error))
}
