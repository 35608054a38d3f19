use crate::fetch_error::FetchError;
use daas_engine::EngineError;
use daas_image::ImageError;
use daas_model::{Diagnostic, Explain, ImageName, Kind};
use std::path::PathBuf;
use thiserror::Error;

/// Why there is no image.
#[derive(Debug, Error)]
pub enum BuildError {
    /// The Dockerfile cannot be read or makes no sense.
    #[error("the Dockerfile has faults")]
    Dockerfile {
        /// All of them, with their places.
        diagnostics: Vec<Diagnostic>,
    },
    /// An instruction cannot be carried out as it is written.
    #[error("cannot carry out `{instruction}` in line {line}: {why}")]
    Step {
        /// The instruction as one line.
        instruction: String,
        /// Its line in the Dockerfile.
        line: u32,
        /// What is wrong.
        why: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// A command of `RUN` ended with another code than 0.
    #[error("`{instruction}` in line {line} ended with exit code {code}")]
    Failed {
        /// The instruction as one line.
        instruction: String,
        /// Its line in the Dockerfile.
        line: u32,
        /// The exit code; 128 + signal when a signal ended it.
        code: i32,
        /// Its last words.
        output: Vec<String>,
    },
    /// A step met the build's ceiling.
    #[error("`{instruction}` in line {line} was stopped by the build's ceiling: {ceiling}")]
    Ceiling {
        /// The instruction as one line.
        instruction: String,
        /// Its line in the Dockerfile.
        line: u32,
        /// Which ceiling, with its size.
        ceiling: String,
    },
    /// The context is refused.
    #[error("cannot use the build context: {why}")]
    Context {
        /// Why.
        why: String,
    },
    /// A base image cannot be had.
    #[error("cannot use base image `{}`", image.familiar())]
    Base {
        /// Which.
        image: Box<ImageName>,
        /// What the name may have been meant for.
        meant: Option<String>,
        /// Why.
        #[source]
        source: Box<ImageError>,
    },
    /// Something cannot be fetched.
    #[error("cannot have what {what} needs")]
    Fetch {
        /// Who needs it: an instruction with its line, or the context.
        what: String,
        /// Why.
        #[source]
        source: Box<FetchError>,
    },
    /// A request that makes no sense.
    #[error("{why}")]
    Request {
        /// What is wrong.
        why: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// Something is asked that only a grant allows.
    #[error("{why}")]
    Forbidden {
        /// What.
        why: String,
        /// Who can allow it.
        hint: String,
    },
    /// The store of images failed.
    #[error("cannot keep what the build has made")]
    Store {
        /// Why.
        #[source]
        source: Box<ImageError>,
    },
    /// The engine failed.
    #[error("cannot run a step of the build")]
    Engine {
        /// Why.
        #[source]
        source: Box<EngineError>,
    },
    /// A file or folder of the platform does not do what it should.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// Somebody asked for the end of the build, or a stage beside this one failed.
    #[error("the build was ended")]
    Cancelled,
}

impl BuildError {
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    /// Returns the last words of a command that failed.
    #[must_use]
    pub fn output(&self) -> &[String] {
        match self {
            Self::Failed { output, .. } => output,
            _ => &[],
        }
    }
}

impl From<ImageError> for BuildError {
    fn from(source: ImageError) -> Self {
        Self::Store {
            source: Box::new(source),
        }
    }
}

impl From<EngineError> for BuildError {
    fn from(source: EngineError) -> Self {
        Self::Engine {
            source: Box::new(source),
        }
    }
}

impl Explain for BuildError {
    fn code(&self) -> &'static str {
        match self {
            Self::Dockerfile { .. } => "build-dockerfile",
            Self::Step { .. } => "build-step",
            Self::Failed { .. } => "build-command-failed",
            Self::Ceiling { .. } => "build-ceiling",
            Self::Context { .. } => "build-context",
            Self::Base { source, .. } => source.code(),
            Self::Fetch { source, .. } => source.code(),
            Self::Request { .. } => "build-request",
            Self::Forbidden { .. } => "build-forbidden",
            Self::Store { source } => source.code(),
            Self::Engine { source } => source.code(),
            Self::Io { .. } => "build-io",
            Self::Cancelled => "build-ended",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Dockerfile { .. }
            | Self::Step { .. }
            | Self::Failed { .. }
            | Self::Ceiling { .. }
            | Self::Context { .. }
            | Self::Request { .. } => Kind::Input,
            Self::Forbidden { .. } => Kind::Forbidden,
            Self::Base { source, .. } | Self::Store { source } => source.kind(),
            Self::Fetch { source, .. } => source.kind(),
            Self::Engine { source } => source.kind(),
            Self::Io { .. } => Kind::Outside,
            Self::Cancelled => Kind::Conflict,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Dockerfile { diagnostics } => diagnostics.first().map(ToString::to_string),
            Self::Step { hint, .. } | Self::Request { hint, .. } => hint.clone(),
            Self::Forbidden { hint, .. } => Some(hint.clone()),
            Self::Failed { output, .. } => {
                (!output.is_empty()).then(|| format!("its last words were:\n{}", output.join("\n")))
            }
            Self::Ceiling { .. } => Some(
                "raise it for this build, for example `--memory 4g`, or make the step smaller"
                    .into(),
            ),
            Self::Context { .. } | Self::Io { .. } | Self::Cancelled => None,
            Self::Base {
                meant: Some(meant), ..
            } => Some(meant.clone()),
            Self::Base { source, .. } => source.hint().or_else(|| {
                Some(
                    "make it with `daas image make`, load it, or tell a registry that has it"
                        .into(),
                )
            }),
            Self::Store { source } => source.hint(),
            Self::Fetch { source, .. } => source.hint(),
            Self::Engine { source } => source.hint(),
        }
    }
}
