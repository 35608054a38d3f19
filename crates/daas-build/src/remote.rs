//! Sources of `ADD` that are fetched: found first, so that a step is known by what they are, and brought only if no step is kept.

use crate::error::BuildError;
use crate::fetch::{Fetched, NAMELESS, Wish};
use crate::fetch_error::FetchError;
use crate::follow::Piece;
use crate::git::{Commit, Git};
use crate::job::Job;
use crate::progress::Event;
use crate::transfer::Source;
use daas_image::Digest;
use daas_model::{ByteSize, Egress};
use daas_spec::dockerfile::{GitRemote, Remote, Step, TransferAction};
use std::path::PathBuf;
use std::sync::Arc;

/// A source that was found.
pub(crate) enum Found {
    /// A file, which is here.
    File(Fetched),
    /// A commit, which is not.
    Commit {
        remote: GitRemote,
        commit: Commit,
        keep_git_dir: bool,
    },
}

/// Finds what the sources of a step are that must be fetched; nothing for the others.
pub(crate) async fn find(
    job: &Job,
    stage: usize,
    step: &Step,
    action: &TransferAction,
) -> Result<Vec<Option<Found>>, BuildError> {
    let mut all = Vec::with_capacity(action.sources.len());
    for source in &action.sources {
        let found = match Remote::parse(source) {
            Ok(None) => None,
            Ok(Some(remote)) => Some(
                find_one(job, stage, action, remote)
                    .await
                    .map_err(|e| for_step(step, e))?,
            ),
            Err(fault) => {
                let error = FetchError::Address {
                    address: source.escape_debug().to_string(),
                    source: fault,
                };
                return Err(for_step(step, error));
            }
        };
        all.push(found);
    }
    Ok(all)
}

pub(crate) fn for_step(step: &Step, error: FetchError) -> BuildError {
    match error {
        FetchError::Build(error) => *error,
        error => BuildError::Fetch {
            what: format!("`{}` in line {}", step.text, step.at.line),
            source: Box::new(error),
        },
    }
}

async fn find_one(
    job: &Job,
    stage: usize,
    action: &TransferAction,
    remote: Remote,
) -> Result<Found, FetchError> {
    match remote {
        Remote::File(address) => {
            if job.request.egress == Egress::None {
                return Err(FetchError::NoWayOut {
                    address,
                    needs: "proxy",
                });
            }
            let checksum = checksum(action.checksum.as_deref())?;
            let begun = job.begin(stage, &format!("fetch {address}"));
            let wish = Wish {
                project: job.project(),
                address: &address,
                checksum: checksum.as_ref(),
                limit: limit(job),
                secrets: &job.request.secrets,
            };
            let progress = |done, total| {
                (job.tell)(Event::Fetching {
                    step: begun.number,
                    done,
                    total,
                });
            };
            let fetched = job
                .builder
                .fetch(&wish, job.place("fetched"), progress)
                .await?;
            begun.done(fetched.cached);
            Ok(Found::File(fetched))
        }
        Remote::Git(remote) => {
            let begun = job.begin(stage, &format!("look at {}", remote.url));
            let git = git(job, begun.number)?;
            let commit = git.resolve(&remote).await?;
            if let Some(wanted) = &action.checksum {
                agree(wanted, &commit, &remote)?;
            }
            begun.done(false);
            Ok(Found::Commit {
                remote,
                commit,
                keep_git_dir: action.keep_git_dir == Some(true),
            })
        }
    }
}

/// The most that something fetched may hold: it lies among the project's caches, and comes into the build.
fn limit(job: &Job) -> ByteSize {
    job.request.limits.disk.min(job.builder.caches().cap())
}

fn checksum(text: Option<&str>) -> Result<Option<Digest>, FetchError> {
    let Some(text) = text else { return Ok(None) };
    match Digest::parse(text) {
        Ok(digest) if text.starts_with("sha256:") => Ok(Some(digest)),
        _ => Err(FetchError::BadChecksum {
            checksum: text.escape_debug().to_string(),
            wanted: "`sha256:` and 64 lower case hexadecimal digits",
        }),
    }
}

/// Compares a commit with what `--checksum` says: all of its name, or at least 7 digits of its beginning.
fn agree(wanted: &str, commit: &Commit, remote: &GitRemote) -> Result<(), FetchError> {
    if wanted.len() < 7 || !wanted.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(FetchError::BadChecksum {
            checksum: wanted.escape_debug().to_string(),
            wanted: "name of a commit",
        });
    }
    if commit.name.starts_with(&wanted.to_ascii_lowercase()) {
        return Ok(());
    }
    Err(FetchError::Checksum {
        address: remote.url.clone(),
        wanted: wanted.to_owned(),
        got: commit.name.clone(),
    })
}

fn git(job: &Job, step: u32) -> Result<Git<'_>, FetchError> {
    let place = job.place("git");
    std::fs::create_dir(&place).map_err(BuildError::io("make the folder", &place))?;
    let tell = job.tell.clone();
    Ok(Git {
        builder: &job.builder,
        stand: &job.stand,
        place,
        egress: job.request.egress,
        limit: job.request.limits.disk,
        agent: job.request.ssh.get("default").cloned(),
        secrets: &job.request.secrets,
        tell: Arc::new(move |piece: Piece| tell(Event::Output { step, piece })),
    })
}

impl Found {
    /// What it is, for the key of the step.
    pub(crate) fn words(&self) -> String {
        match self {
            // The time is part of the layer.
            Self::File(file) => format!(
                "file {} {} {}",
                file.digest,
                file.modified,
                file.name.as_deref().unwrap_or_default()
            ),
            Self::Commit {
                remote,
                commit,
                keep_git_dir,
            } => {
                // The address is in what git keeps of itself; without that, a commit is the same wherever it comes from.
                let address = if *keep_git_dir { &remote.url } else { "" };
                let folder = remote.subdir.as_deref().unwrap_or_default();
                format!("commit {} {folder} {keep_git_dir} {address}", commit.name)
            }
        }
    }

    /// Whether nothing says what the file is called.
    pub(crate) fn is_nameless(&self) -> bool {
        matches!(self, Self::File(Fetched { name: None, .. }))
    }

    /// Brings it here: a folder, and what of it is the source.
    pub(crate) async fn bring(
        self,
        job: &Job,
        step: &Step,
        number: u32,
        tree: usize,
        unpack: bool,
    ) -> Result<(PathBuf, Source), BuildError> {
        let (folder, pattern) = match self {
            Self::File(file) => (
                file.folder,
                file.name
                    .unwrap_or_else(|| NAMELESS.to_owned())
                    .into_bytes(),
            ),
            Self::Commit {
                remote,
                commit,
                keep_git_dir,
            } => {
                let work = async {
                    let git = git(job, number)?;
                    git.checkout(&remote, &commit, keep_git_dir).await
                };
                let folder = work.await.map_err(|e| for_step(step, e))?;
                (folder, Vec::new())
            }
        };
        let source = Source {
            tree,
            pattern,
            is_path: true,
            unpack,
        };
        Ok((folder, source))
    }
}
