//! Contexts that are fetched: a repository, an archive of the web, or a Dockerfile of the web.

use crate::builder::Builder;
use crate::context::Context;
use crate::error::BuildError;
use crate::fetch::{NAMELESS, Wish};
use crate::fetch_error::FetchError;
use crate::follow::Piece;
use crate::git::Git;
use crate::progress::{Event, Teller};
use crate::stand::{BuildStand, Ground};
use daas_model::{Egress, Limits, ProjectName};
use daas_spec::dockerfile::{GitRemote, Remote};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::Arc;

/// The number of the step that fetching is told as: before all others.
const STEP: u32 = 0;

/// A context that is to be fetched.
#[derive(Debug, Clone)]
pub struct FarContext {
    /// Its address.
    pub address: String,
    /// Which part of the context it becomes: `context`, or `contexts/<name>`.
    pub part: String,
    /// Whose caches it may come from.
    pub project: Option<ProjectName>,
    /// The build's way out. HTTP is spoken without one, too: who asks for the build names the address.
    pub egress: Egress,
    /// The build's ceiling.
    pub limits: Limits,
    /// The socket of an SSH agent on this machine.
    pub agent: Option<PathBuf>,
    /// Contents of secrets by their ids: those by which git and HTTP sign in are used, each where it belongs.
    pub secrets: BTreeMap<String, Vec<u8>>,
    /// Whether `.git` stays.
    pub keep_git_dir: bool,
}

impl Builder {
    /// Fetches a part of `context`; returns the Dockerfile if the address has one instead of files.
    ///
    /// Dropping the future ends it and leaves nothing.
    ///
    /// # Errors
    /// [`BuildError::Fetch`] if it cannot be had, [`BuildError::Context`] if it is no context.
    pub async fn fetch_context(
        &self,
        context: &Context,
        far: &FarContext,
        tell: Teller,
    ) -> Result<Option<Vec<u8>>, BuildError> {
        tell(Event::Began {
            step: STEP,
            stage: "context".into(),
            text: format!("fetch {}", far.address),
        });
        let since = std::time::Instant::now();
        let fetched = match Remote::parse(&far.address) {
            Ok(Some(Remote::File(address))) => self.far_file(context, far, &address, &tell).await,
            Ok(Some(Remote::Git(remote))) => {
                let files = self.far_files(context, far, &remote, &tell).await;
                files.map(|()| (None, false))
            }
            Ok(None) => Err(BuildError::Context {
                why: format!("`{}` is no address", far.address.escape_debug()),
            }
            .into()),
            Err(source) => Err(FetchError::Address {
                address: far.address.escape_debug().to_string(),
                source,
            }),
        };
        match fetched {
            Ok((dockerfile, cached)) => {
                tell(Event::Done {
                    step: STEP,
                    cached,
                    millis: u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX),
                });
                Ok(dockerfile)
            }
            Err(error) => {
                tell(Event::Failed { step: STEP });
                Err(match error {
                    FetchError::Build(error) => *error,
                    error => BuildError::Fetch {
                        what: "the build context".into(),
                        source: Box::new(error),
                    },
                })
            }
        }
    }

    async fn far_file(
        &self,
        context: &Context,
        far: &FarContext,
        address: &str,
        tell: &Teller,
    ) -> Result<(Option<Vec<u8>>, bool), FetchError> {
        let scratch = self.scratch()?;
        let wish = Wish {
            project: far.project.as_ref().map_or("", |p| p.as_str()),
            address,
            checksum: None,
            limit: far.limits.disk.min(self.caches().cap()),
            secrets: &far.secrets,
        };
        let progress = |done, total| {
            tell(Event::Fetching {
                step: STEP,
                done,
                total,
            });
        };
        let fetched = self
            .fetch(&wish, scratch.path().join("fetched"), progress)
            .await?;
        let name = fetched.name.as_deref().unwrap_or(NAMELESS);
        let (file, cached) = (fetched.folder.join(name), fetched.cached);
        let (context, part) = (context.clone(), far.part.clone());
        let taken = self
            .waiting("unpack a context", move || {
                let stream = File::open(&file).map_err(BuildError::io("open", &file))?;
                let dockerfile = context.take_whole(&part, stream);
                drop(scratch);
                dockerfile
            })
            .await?;
        Ok((taken, cached))
    }

    async fn far_files(
        &self,
        context: &Context,
        far: &FarContext,
        remote: &GitRemote,
        tell: &Teller,
    ) -> Result<(), FetchError> {
        let egress = match far.egress {
            Egress::Full => Egress::Full,
            Egress::Proxy | Egress::None => Egress::Proxy,
        };
        let ground = Ground {
            project: self.project_of(far.project.as_ref()),
            limits: far.limits,
            egress,
            files: BTreeMap::new(),
            extra_hosts: BTreeMap::new(),
            shm_size: None,
            ulimits: BTreeMap::new(),
        };
        let stand = BuildStand::new(self.engine().clone(), self.tasks().clone(), ground);
        let scratch = self.scratch()?;
        let hear = tell.clone();
        let git = Git {
            builder: self,
            stand: &stand,
            place: scratch.path().to_owned(),
            egress,
            limit: far.limits.disk,
            agent: far.agent.clone(),
            secrets: &far.secrets,
            tell: Arc::new(move |piece: Piece| hear(Event::Output { step: STEP, piece })),
        };
        let work = async {
            let commit = git.resolve(remote).await?;
            git.checkout(remote, &commit, far.keep_git_dir).await
        };
        let found = work.await;
        stand.close().await?;
        let (folder, to) = (found?, context.place(&far.part)?);
        // Both lie below the folder of work.
        fs::rename(&folder, &to).map_err(BuildError::io("move a context to", to))?;
        drop(scratch);
        Ok(())
    }
}
