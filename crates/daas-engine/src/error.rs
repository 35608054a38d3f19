use crate::publish::PublishError;
use daas_keeper::protocol::{FROZEN, Failure, NO_PATH, NO_PROGRAM, NOT_RUNNING};
use daas_model::{Explain, ImageName, Kind, NodeName, StandId};
use std::path::PathBuf;
use std::time::Duration;
use thiserror::Error;

/// What can go wrong while a stand is brought up, looked into or taken down.
#[derive(Debug, Error)]
pub enum EngineError {
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
    /// A keeper could not be made.
    #[error("cannot make a keeper")]
    Keeper {
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The host is not fit for stands.
    #[error("cannot prepare the host for stands")]
    Host {
        /// Why.
        #[source]
        source: Box<daas_sys::Fault>,
    },
    /// What a dead keeper left cannot be removed.
    #[error("cannot remove what the keeper in {} left", path.display())]
    Sweep {
        /// The keeper's folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<daas_keeper::KeeperError>,
    },
    /// The keeper of a stand is not there (any more).
    #[error("no keeper holds stand {stand}")]
    Gone {
        /// Which stand.
        stand: StandId,
    },
    /// A keeper said no.
    #[error("{failure}")]
    Refused {
        /// What it said.
        failure: Failure,
    },
    /// A keeper speaks another version.
    #[error("the keeper of stand {stand} speaks version {theirs}, this program speaks {ours}")]
    Version {
        /// Which stand.
        stand: StandId,
        /// Its version.
        theirs: u32,
        /// Our version.
        ours: u32,
    },
    /// An image is not in the store.
    #[error("image {} is not in the store", image.familiar())]
    NoImage {
        /// Which.
        image: ImageName,
    },
    /// An image could not be fetched, read or used.
    #[error("cannot use image {}", image.familiar())]
    Image {
        /// Which.
        image: ImageName,
        /// Why.
        #[source]
        source: Box<daas_image::ImageError>,
    },
    /// The settings of registries make no sense.
    #[error("cannot prepare the way to registries")]
    Registries {
        /// Why.
        #[source]
        source: Box<daas_image::ImageError>,
    },
    /// A node can not be launched as it is described.
    #[error("cannot launch node {node}: {what}")]
    Node {
        /// Which.
        node: NodeName,
        /// Why.
        what: String,
    },
    /// A node's user is none of its image.
    #[error("cannot find the user of node {node}")]
    User {
        /// Which node.
        node: NodeName,
        /// Why.
        #[source]
        source: Box<daas_image::ImageError>,
    },
    /// A node does not exist in the stand.
    #[error("stand {stand} has no node {node}")]
    NoNode {
        /// Which stand.
        stand: StandId,
        /// Which node.
        node: NodeName,
    },
    /// A road to or from a stand could not be built.
    #[error("cannot connect the stand with the host")]
    Road {
        /// Which stand.
        stand: StandId,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No range of user ids is left.
    #[error("cannot give a range of user ids to one more stand: all {0} are used")]
    NoIds(u32),
}

impl EngineError {
    /// Makes a function that wraps an IO error with what was attempted on which path.
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
}

impl Explain for EngineError {
    fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "engine-io",
            Self::Keeper { .. } => "engine-no-keeper",
            Self::Host { .. } => "engine-host",
            Self::Sweep { .. } => "engine-sweep",
            Self::Gone { .. } => "stand-keeper-gone",
            Self::Refused { failure } => match failure.code.as_str() {
                NO_PATH => "path-absent",
                NOT_RUNNING => "node-not-running",
                FROZEN => "node-paused",
                NO_PROGRAM => "program-not-found",
                _ => "stand-step-failed",
            },
            Self::Version { .. } => "stand-keeper-version",
            Self::NoImage { .. } => "image-not-found",
            Self::Image { source, .. }
            | Self::User { source, .. }
            | Self::Registries { source } => source.code(),
            Self::Node { .. } => "node-cannot-launch",
            Self::NoNode { .. } => "node-not-found",
            Self::Road { source, .. } => {
                publishing(source.as_ref()).map_or("stand-road", Explain::code)
            }
            Self::NoIds(_) => "engine-no-ids",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Refused { failure } if matches!(failure.code.as_str(), NOT_RUNNING | FROZEN) => {
                Kind::Conflict
            }
            Self::Refused { failure } if matches!(failure.code.as_str(), NO_PATH | NO_PROGRAM) => {
                Kind::NotFound
            }
            Self::Io { .. }
            | Self::Keeper { .. }
            | Self::Host { .. }
            | Self::Sweep { .. }
            | Self::Refused { .. }
            | Self::Road { .. } => Kind::Outside,
            Self::Gone { .. } => Kind::Busy {
                retry_after: Duration::from_millis(200),
            },
            Self::Version { .. } => Kind::Conflict,
            Self::NoImage { .. } | Self::NoNode { .. } => Kind::NotFound,
            Self::Image { source, .. }
            | Self::User { source, .. }
            | Self::Registries { source } => source.kind(),
            Self::Node { .. } => Kind::Input,
            Self::NoIds(_) => Kind::Busy {
                retry_after: Duration::from_secs(60),
            },
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => Some("free space on the disk that holds the state directory; nothing has to be restarted".into()),
            Self::Refused { failure } => failure.hint.clone(),
            Self::Version { .. } => Some("take the stand down and up again".into()),
            Self::NoImage { image } => Some(format!("run `daas image pull {0}`, `daas image load FILE` or `daas image make`", image.familiar())),
            Self::User { .. } => Some("name one of the image in `user:` of the service, or a number".into()),
            Self::Image { source, .. } | Self::Registries { source } => source.hint(),
            Self::Host { .. } => Some("run `daas doctor`".into()),
            Self::Road { source, .. } => publishing(source.as_ref()).and_then(Explain::hint),
            Self::NoIds(_) => Some("take stands down that nobody needs".into()),
            _ => None,
        }
    }
}

/// Returns the port that could not be published, if that is why there is no road.
fn publishing<'a>(
    source: &'a (dyn std::error::Error + Send + Sync + 'static),
) -> Option<&'a PublishError> {
    source.downcast_ref()
}
