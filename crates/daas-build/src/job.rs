//! One build while it runs: what all of its stages share.

use crate::builder::Builder;
use crate::error::BuildError;
use crate::progress::{Event, Teller};
use crate::request::{BuildRequest, ContextSource};
use crate::stand::BuildStand;
use crate::state::State;
use crate::stubs::Scratch;
use daas_image::{Digest, Image, Layer, Lease, Merged, Packed, PullOptions};
use daas_model::{Diagnostics, ImageName, NodeName};
use daas_spec::dockerfile::{Dockerfile, Origin, Plan, Step};
use daas_spec::nearest;
use futures_util::future::{BoxFuture, Shared};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// A stage that is built once, whoever waits for it.
pub(crate) type Built = Shared<BoxFuture<'static, Result<Arc<State>, Arc<BuildError>>>>;

/// What stages share.
pub(crate) struct Job {
    pub(crate) builder: Builder,
    pub(crate) request: BuildRequest,
    pub(crate) file: Dockerfile,
    pub(crate) plan: Plan,
    pub(crate) stand: BuildStand,
    /// A folder that ends with the build.
    pub(crate) scratch: Scratch,
    pub(crate) tell: Teller,
    /// When the build began, seconds since 1970; `SOURCE_DATE_EPOCH` where it is given.
    pub(crate) now: i64,
    pub(crate) epoch: Option<i64>,
    leases: Mutex<Vec<Lease>>,
    /// Images that the build began with or took files from.
    bases: Mutex<Vec<(ImageName, Digest)>>,
    steps: AtomicU32,
    places: AtomicU32,
}

/// Files that a step takes from.
pub(crate) struct Tree {
    /// Topmost first.
    pub(crate) lowers: Vec<PathBuf>,
    /// Whether owners mean something: not in a context.
    pub(crate) keeps_owner: bool,
}

impl Tree {
    pub(crate) fn open(&self) -> io::Result<Merged> {
        Merged::open(&self.lowers)
    }
}

/// A step that was begun; dropped before its end it has failed.
pub(crate) struct Begun<'a> {
    job: &'a Job,
    pub(crate) number: u32,
    since: Instant,
    over: bool,
}

impl Begun<'_> {
    pub(crate) fn done(mut self, cached: bool) {
        self.over = true;
        (self.job.tell)(Event::Done {
            step: self.number,
            cached,
            millis: u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX),
        });
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if !self.over {
            (self.job.tell)(Event::Failed { step: self.number });
        }
    }
}

impl Job {
    #[expect(clippy::too_many_arguments, reason = "each is named where it is made")]
    pub(crate) fn new(
        builder: Builder,
        request: BuildRequest,
        file: Dockerfile,
        plan: Plan,
        stand: BuildStand,
        scratch: Scratch,
        tell: Teller,
        (now, epoch): (i64, Option<i64>),
    ) -> Self {
        Self {
            builder,
            request,
            file,
            plan,
            stand,
            scratch,
            tell,
            now,
            epoch,
            leases: Mutex::default(),
            bases: Mutex::default(),
            steps: AtomicU32::new(0),
            places: AtomicU32::new(0),
        }
    }

    pub(crate) fn project(&self) -> &str {
        self.request.project.as_ref().map_or("", |p| p.as_str())
    }

    /// Keeps what a lease holds until the build is over.
    pub(crate) fn hold(&self, lease: Lease) {
        self.leases
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(lease);
    }

    /// Returns the images that were needed, by name.
    pub(crate) fn bases(&self) -> Vec<(ImageName, Digest)> {
        let mut bases = self
            .bases
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        bases.sort();
        bases
    }

    /// Returns a path in the build's folder that nothing uses.
    pub(crate) fn place(&self, what: &str) -> PathBuf {
        let n = self.places.fetch_add(1, Ordering::Relaxed);
        self.scratch.path().join(format!("{what}-{n}"))
    }

    /// Returns a name for the node of a command.
    pub(crate) fn node_name(&self, step: u32) -> NodeName {
        NodeName::parse(&format!("step-{step}")).expect("digits match the grammar")
    }

    /// Tells that a step begins.
    pub(crate) fn begin(&self, stage: usize, text: &str) -> Begun<'_> {
        let number = self.steps.fetch_add(1, Ordering::Relaxed) + 1;
        (self.tell)(Event::Began {
            step: number,
            stage: self.stage_name(stage),
            text: text.to_owned(),
        });
        Begun {
            job: self,
            number,
            since: Instant::now(),
            over: false,
        }
    }

    pub(crate) fn stage_name(&self, stage: usize) -> String {
        self.file
            .stages
            .get(stage)
            .and_then(|s| s.name.clone())
            .unwrap_or_else(|| stage.to_string())
    }

    pub(crate) fn remarks(&self, remarks: Diagnostics) {
        for remark in remarks {
            (self.tell)(Event::Remark {
                text: remark.to_string(),
            });
        }
    }

    /// Runs a function that blocks on the blocking pool.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl FnOnce() -> Result<T, BuildError> + Send + 'static,
    ) -> Result<T, BuildError> {
        self.builder
            .tasks()
            .run_blocking(what, work)
            .await
            .map_err(|_| BuildError::Cancelled)?
    }

    /// Returns the layer of a step that was made before, unless nothing cached is wanted.
    pub(crate) fn cached(&self, key: &Digest) -> Result<Option<(Packed, Layer, i64)>, BuildError> {
        if self.request.no_cache {
            return Ok(None);
        }
        let mut lease = self.builder.store().lease();
        let found = self.builder.store().find_step(key, &mut lease)?;
        if found.is_some() {
            self.hold(lease);
        }
        Ok(found)
    }

    /// Brings a base image into the store and keeps it until the build is over.
    pub(crate) async fn image(&self, stage: usize, name: &ImageName) -> Result<Image, BuildError> {
        let store = self.builder.store().clone();
        let base = |source| BuildError::Base {
            image: Box::new(name.clone()),
            meant: self.meant_by(name),
            source: Box::new(source),
        };
        let begun = self.begin(stage, &format!("FROM {}", name.familiar()));
        let mut cached = true;
        let local = {
            let (store, name) = (store.clone(), name.clone());
            self.blocking("resolve a base image", move || Ok(store.resolve(&name)))
                .await?
        };
        let image = match local {
            Ok(Some(image)) if !self.request.pull => image,
            local => {
                cached = false;
                let (tell, step) = (self.tell.clone(), begun.number);
                let progress = move |event: daas_image::Event| {
                    tell(Event::Fetching {
                        step,
                        done: event.done,
                        total: event.total,
                    });
                };
                let pulled = store
                    .pull(
                        name,
                        self.builder.registries(),
                        &PullOptions::default(),
                        Arc::new(progress),
                    )
                    .await;
                match (pulled, local) {
                    (Ok(image), _) => image,
                    // What was made or loaded here has no registry to be compared with.
                    (Err(error), Ok(Some(image))) => {
                        (self.tell)(Event::Remark {
                            text: format!(
                                "warning[base-not-compared]: `{}` is taken as it is here: {}",
                                name.familiar(),
                                daas_model::render_chain(&error)
                            ),
                        });
                        image
                    }
                    (Err(error), _) => return Err(base(error)),
                }
            }
        };
        image.check_root().map_err(base)?;
        let mut lease = store.lease();
        lease.add_image(&image.digest).map_err(base)?;
        self.hold(lease);
        let base = (name.clone(), image.digest.clone());
        let mut bases = self.bases.lock().unwrap_or_else(PoisonError::into_inner);
        if !bases.contains(&base) {
            bases.push(base);
        }
        drop(bases);
        begun.done(cached);
        Ok(image)
    }

    /// Says what a short name may have been meant for that no image could be had for: a stage or a context.
    fn meant_by(&self, name: &ImageName) -> Option<String> {
        let word = name.familiar();
        let word = word.strip_suffix(":latest")?;
        if word.contains(['/', ':', '@']) {
            return None;
        }
        let stages = self.file.stages.iter().filter_map(|s| s.name.as_deref());
        let contexts = self.request.contexts.keys().map(String::as_str);
        Some(match nearest(word, stages.chain(contexts)) {
            Some(near) => format!("did you mean `{near}`? `{word}` is no stage and no context"),
            None => format!(
                "it is no stage and no context either: give it with `--build-context {word}=...`, load or make the image, or tell a registry that has it"
            ),
        })
    }

    /// Returns the files that `origin` means; `None` is the build's own context.
    pub(crate) async fn tree(
        &self,
        stage: usize,
        origin: Option<&Origin>,
        earlier: &[Built],
    ) -> Result<Tree, Arc<BuildError>> {
        let of_image = |image: Image| Tree {
            lowers: image
                .lower_dirs()
                .into_iter()
                .map(ToOwned::to_owned)
                .collect(),
            keeps_owner: true,
        };
        let of_folder = |folder: Option<PathBuf>| Tree {
            lowers: folder.into_iter().collect(),
            keeps_owner: false,
        };
        Ok(match origin {
            None => of_folder(self.request.context.clone()),
            Some(Origin::Scratch) => of_folder(None),
            Some(Origin::Stage(number)) => {
                let built = earlier.get(*number).cloned().ok_or(BuildError::Cancelled)?;
                Tree {
                    lowers: built.await?.lowers(),
                    keeps_owner: true,
                }
            }
            Some(Origin::Image(text)) => of_image(self.image(stage, &image_name(text)?).await?),
            Some(Origin::Context(name)) => match self.request.contexts.get(name) {
                Some(ContextSource::Folder(folder)) => of_folder(Some(folder.clone())),
                Some(ContextSource::Image(image)) => of_image(self.image(stage, image).await?),
                None => {
                    return Err(Arc::new(BuildError::Request {
                        why: format!("no context `{name}` was given"),
                        hint: Some(format!("give it with `--build-context {name}=...`")),
                    }));
                }
            },
        })
    }
}

/// Reads the name of an image as a Dockerfile has it.
pub(crate) fn image_name(text: &str) -> Result<ImageName, BuildError> {
    ImageName::parse(text).map_err(|e| BuildError::Request {
        why: e.to_string(),
        hint: None,
    })
}

/// Says why files could not be brought: what a person wrote, or what the machine refused.
pub(crate) fn at_step(step: &Step, error: io::Error) -> BuildError {
    // What a Dockerfile can cause by its paths alone is its author's to mend.
    let by_path = [
        rustix::io::Errno::LOOP,
        rustix::io::Errno::NOTDIR,
        rustix::io::Errno::NAMETOOLONG,
    ];
    let code = error.raw_os_error();
    if code.is_some() && !by_path.iter().any(|e| Some(e.raw_os_error()) == code) {
        return BuildError::io("read or write files of", step.text.clone())(error);
    }
    BuildError::Step {
        instruction: step.text.clone(),
        line: step.at.line,
        why: error.to_string(),
        hint: (error.kind() == io::ErrorKind::NotFound).then(|| {
            "look at the path, at the context's folder, and at `.dockerignore`".to_owned()
        }),
    }
}
