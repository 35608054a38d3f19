use crate::{Digest, LayerError};
use daas_model::{Explain, ImageName, Kind};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why something about images did not work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The store has no such image.
    #[error("image `{}` is not here", .name.familiar())]
    NotFound {
        /// The name asked for.
        name: Box<ImageName>,
    },
    /// The registry has no such image, or does not show it to the asker.
    #[error("registry `{registry}` has no image `{what}`")]
    NotInRegistry {
        /// The registry's host.
        registry: String,
        /// Repository with tag or digest.
        what: String,
    },
    /// The registry wants other credentials.
    #[error("registry `{registry}` refuses access to `{what}`")]
    Denied {
        /// The registry's host.
        registry: String,
        /// Repository with tag or digest.
        what: String,
        /// Whether credentials were sent.
        with_credentials: bool,
    },
    /// The registry could not be reached, or broke off, in all tries.
    #[error("cannot {action} from registry `{registry}`")]
    Transport {
        /// What was tried.
        action: String,
        /// The registry's host.
        registry: String,
        /// What the network said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The registry answered with something that makes no sense here.
    #[error("registry `{registry}` answers {status} to {action}")]
    Status {
        /// What was tried.
        action: String,
        /// The registry's host.
        registry: String,
        /// The HTTP status.
        status: u16,
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// Plain HTTP to a registry that is not on this machine and was not declared insecure.
    #[error("registry `{registry}` may only be spoken to over TLS")]
    Insecure {
        /// The registry's host.
        registry: String,
    },
    /// The bytes are not those that were promised.
    #[error("{what} has digest {got}, promised was {wanted}")]
    DigestMismatch {
        /// What was read.
        what: String,
        /// The promised digest.
        wanted: Digest,
        /// The digest found.
        got: Digest,
    },
    /// There are more or fewer bytes than were promised.
    #[error("{what} has {got} bytes, promised were {wanted}")]
    SizeMismatch {
        /// What was read.
        what: String,
        /// The promised size.
        wanted: u64,
        /// The size found, or where reading was stopped.
        got: u64,
    },
    /// A manifest, index or configuration makes no sense.
    #[error("{what} cannot be used: {why}")]
    BadDocument {
        /// Which document.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// No image for this machine.
    #[error("image `{}` is not built for {wanted}", .name.familiar())]
    Platform {
        /// The image.
        name: Box<ImageName>,
        /// The platform looked for.
        wanted: String,
        /// The platforms that there are.
        there: Vec<String>,
    },
    /// A layer was refused.
    #[error("cannot unpack layer {}", .layer.short())]
    Layer {
        /// The layer, by the digest of its compressed or uncompressed content.
        layer: Digest,
        /// Why.
        #[source]
        source: LayerError,
    },
    /// The image's root would lead a mount elsewhere.
    #[error("image `{image}` has {what} at `{path}`, where a directory must be")]
    UnsafeRoot {
        /// The image.
        image: String,
        /// What is there instead.
        what: &'static str,
        /// The path inside the image.
        path: String,
    },
    /// The image has no such user or group.
    #[error("image `{image}` has no {kind} `{name}`")]
    NoUser {
        /// The image.
        image: String,
        /// `user` or `group`.
        kind: &'static str,
        /// The name looked for.
        name: String,
    },
    /// A user that is no name and no number that a stand can have.
    #[error("`{spec}` is no user: {why}")]
    BadUser {
        /// What was asked.
        spec: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// An archive or folder holds no image that is understood.
    #[error("`{}` holds no image: {why}", .path.display())]
    BadArchive {
        /// The archive or folder.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// An archive could not be read.
    #[error("cannot read the archive `{}`", .path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// Why.
        #[source]
        source: LayerError,
    },
    /// Another process has the store open.
    #[error("the image store `{}` is in use by another process", .path.display())]
    StoreInUse {
        /// The store's folder.
        path: PathBuf,
    },
    /// A part of an image in the store is gone or damaged.
    #[error("image `{image}` is damaged: {why}")]
    Damaged {
        /// The image.
        image: String,
        /// What is missing.
        why: String,
    },
    /// A request to make an image that cannot be granted as it is.
    #[error("cannot make the image: {why}")]
    BadMake {
        /// What is wrong.
        why: String,
    },
    /// The distribution does not have what was asked for.
    #[error("cannot make the image: {why}")]
    NotInDistribution {
        /// What it does not have.
        why: String,
    },
    /// The tool that installs the packages failed.
    #[error("cannot install the packages: `{program}` ended with {status}")]
    MakeFailed {
        /// The program.
        program: &'static str,
        /// How it ended.
        status: String,
        /// The last lines that it said.
        output: Vec<String>,
    },
    /// The disk or the kernel refused.
    #[error("cannot {action} `{}`", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A setting for registries that makes no sense.
    #[error("cannot use the registry settings: {why}")]
    Settings {
        /// What is wrong.
        why: String,
    },
    /// The caller went away.
    #[error("cancelled")]
    Cancelled,
    /// A part of the work ended in a way that must not happen.
    #[error("{what} ended unexpectedly")]
    Broken {
        /// Which part.
        what: &'static str,
    },
}

impl ImageError {
    pub(crate) fn io(
        action: &'static str,
        path: impl AsRef<Path>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    pub(crate) fn errno(
        action: &'static str,
        path: impl AsRef<Path>,
    ) -> impl FnOnce(rustix::io::Errno) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::Io {
            action,
            path,
            source: source.into(),
        }
    }
}

/// How long to wait when the disk is full: somebody must make room first.
const DISK_FULL_RETRY: Duration = Duration::from_secs(60);

fn kind_of_io(error: &io::Error) -> Kind {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Kind::Busy {
            retry_after: DISK_FULL_RETRY,
        },
        _ => Kind::Outside,
    }
}

impl Explain for ImageError {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "image-not-found",
            Self::NotInRegistry { .. } => "image-not-in-registry",
            Self::Denied { .. } => "registry-access-denied",
            Self::Transport { .. } => "registry-unreachable",
            Self::Status { .. } => "registry-status",
            Self::Insecure { .. } => "registry-insecure",
            Self::DigestMismatch { .. } => "image-digest-mismatch",
            Self::SizeMismatch { .. } => "image-size-mismatch",
            Self::BadDocument { .. } => "image-document",
            Self::Platform { .. } => "image-platform",
            Self::Layer { source, .. } | Self::Archive { source, .. } => source.code(),
            Self::UnsafeRoot { .. } => "image-root-unsafe",
            Self::NoUser { .. } => "image-user-not-found",
            Self::BadUser { .. } => "image-user",
            Self::BadArchive { .. } => "image-archive",
            Self::StoreInUse { .. } => "image-store-in-use",
            Self::Damaged { .. } => "image-damaged",
            Self::BadMake { .. } => "image-make-request",
            Self::NotInDistribution { .. } => "image-make-unknown",
            Self::MakeFailed { .. } => "image-make-failed",
            Self::Io { .. } => "image-io",
            Self::Settings { .. } => "registry-settings",
            Self::Cancelled => "cancelled",
            Self::Broken { .. } => "image-broken",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::NotFound { .. } | Self::NotInRegistry { .. } | Self::NotInDistribution { .. } => {
                Kind::NotFound
            }
            Self::Denied { .. } => Kind::Forbidden,
            Self::Status {
                retry_after: Some(wait),
                ..
            } => Kind::Busy { retry_after: *wait },
            Self::Transport { .. } | Self::Status { .. } | Self::MakeFailed { .. } => Kind::Outside,
            Self::Io { source, .. } => kind_of_io(source),
            Self::Layer {
                source: LayerError::Write { source, .. },
                ..
            } => kind_of_io(source),
            Self::StoreInUse { .. } | Self::Damaged { .. } | Self::Cancelled => Kind::Conflict,
            Self::Broken { .. } => Kind::Bug,
            _ => Kind::Input,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NotFound { name } => {
                let name = name.familiar();
                Some(format!("`daas image pull {name}` fetches it from a registry, `daas image load` from a file, `daas image make ... --name {name}` makes it from distribution packages"))
            }
            Self::NotInRegistry { .. } => Some("check repository and tag; a private repository shows itself only to those who may read it".into()),
            Self::Denied { with_credentials: false, registry, .. } => Some(format!("give credentials for `{registry}`")),
            Self::Denied { registry, .. } => Some(format!("the credentials for `{registry}` are not accepted for this repository")),
            Self::Transport { registry, .. } => Some(format!(
                "is `{registry}` reachable from this machine? In a closed network set a mirror, `daas image load` an archive, or make an image from packages: `daas image make debian:bookworm`"
            )),
            Self::Insecure { registry } => Some(format!("add `{registry}` to the insecure registries only if the network between is trusted")),
            Self::DigestMismatch { .. } | Self::SizeMismatch { .. } => Some("nothing of it was used; try again, and if it stays so the registry or something before it changes the content".into()),
            Self::Platform { there, .. } if !there.is_empty() => Some(format!("there is: {}", there.join(", "))),
            Self::Layer { source: LayerError::TooMuch { .. }, .. } => Some("if you trust this image, raise the limits of the image store".into()),
            Self::Layer { source: LayerError::Write { source, .. }, .. } | Self::Io { source, .. } if matches!(kind_of_io(source), Kind::Busy { .. }) => {
                Some("the disk is full: `daas system prune` removes images that nothing uses".into())
            }
            Self::Damaged { image, .. } => Some(format!("`daas image pull {image}` or `daas image load` brings back what is missing")),
            Self::UnsafeRoot { .. } => Some("such an image can lead the engine's mounts out of the node; it is not run".into()),
            Self::NotInDistribution { .. } => Some("names of packages are those that `apt-cache search` finds on such a machine, names of releases are such as `bookworm`; a package of another repository needs `--mirror`".into()),
            Self::MakeFailed { output, .. } if !output.is_empty() => Some(format!("it said: {}", complaints(output).join(" | "))),
            _ => None,
        }
    }
}

/// Returns the lines in which a tool complains; all of them where none does.
fn complaints(output: &[String]) -> Vec<&str> {
    let all = output.iter().map(String::as_str);
    let bad: Vec<&str> = all.clone().filter(|line| line.starts_with("E: ")).collect();
    if bad.is_empty() { all.collect() } else { bad }
}
