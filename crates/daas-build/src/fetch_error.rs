use crate::error::BuildError;
use daas_image::{Digest, WebError};
use daas_model::{ByteSize, Explain, Kind};
use daas_spec::dockerfile::RemoteFault;
use thiserror::Error;

/// Why something that a build wants from elsewhere cannot be had.
#[derive(Debug, Error)]
pub enum FetchError {
    /// The address makes no sense.
    #[error("cannot use the address `{address}`: {source}")]
    Address {
        /// The address.
        address: String,
        /// What is wrong with it.
        source: RemoteFault,
    },
    /// The build has no way out.
    #[error("cannot fetch `{address}`: the build has no way out for that")]
    NoWayOut {
        /// The address.
        address: String,
        /// Which way it needs.
        needs: &'static str,
    },
    /// The server, or the way to it.
    #[error(transparent)]
    Web(#[from] WebError),
    /// It holds more than the build may have.
    #[error("cannot fetch `{address}`: it has more than {limit}")]
    TooLarge {
        /// The address.
        address: String,
        /// The most.
        limit: ByteSize,
    },
    /// It is another than was asked for.
    #[error("`{address}` has digest {got}, not {wanted}")]
    Checksum {
        /// The address.
        address: String,
        /// What `--checksum` says.
        wanted: String,
        /// What it is.
        got: String,
    },
    /// `--checksum` is written in a way that nothing can have.
    #[error("the checksum `{checksum}` is no {wanted}")]
    BadChecksum {
        /// What was written.
        checksum: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// A secret by which is signed in is no header.
    #[error("the secret `{id}` is no word that a header may hold")]
    Secret {
        /// Its id.
        id: String,
    },
    /// Nothing says which name the file has.
    #[error("`{address}` gives its file no name")]
    Nameless {
        /// The address.
        address: String,
    },
    /// This machine has no git.
    #[error("cannot fetch `{address}`: this machine has no git")]
    NoGit {
        /// The address.
        address: String,
    },
    /// The repository has no such reference.
    #[error("`{address}` has no branch, tag or commit `{reference}`")]
    NoReference {
        /// The repository.
        address: String,
        /// What was asked for.
        reference: String,
    },
    /// The repository has no such folder.
    #[error("`{address}` has no folder `{folder}`")]
    NoFolder {
        /// The repository.
        address: String,
        /// What was asked for.
        folder: String,
    },
    /// Git does not do what it should.
    #[error("git cannot {action} `{address}`")]
    Git {
        /// What it was to do.
        action: &'static str,
        /// The repository.
        address: String,
        /// Its last words.
        output: String,
    },
    /// The machine failed.
    #[error(transparent)]
    Build(Box<BuildError>),
}

impl From<BuildError> for FetchError {
    fn from(error: BuildError) -> Self {
        Self::Build(Box::new(error))
    }
}

/// Tells whether git would have asked somebody for a name and a password, or was refused with those that it has.
fn wants_login(output: &str) -> bool {
    ["could not read Username", "Authentication failed"]
        .iter()
        .any(|words| output.contains(words))
}

impl FetchError {
    pub(crate) fn checksum(address: &str, wanted: &Digest, got: &Digest) -> Self {
        Self::Checksum {
            address: address.to_owned(),
            wanted: wanted.to_string(),
            got: got.to_string(),
        }
    }
}

impl Explain for FetchError {
    fn code(&self) -> &'static str {
        match self {
            Self::Address { .. } => "fetch-address",
            Self::NoWayOut { .. } => "fetch-no-way-out",
            Self::Web(error) => error.code(),
            Self::TooLarge { .. } => "fetch-too-large",
            Self::Checksum { .. } => "fetch-checksum",
            Self::BadChecksum { .. } => "fetch-checksum-form",
            Self::Secret { .. } => "fetch-secret",
            Self::Nameless { .. } => "fetch-nameless",
            Self::NoGit { .. } => "fetch-no-git",
            Self::NoReference { .. } => "fetch-no-reference",
            Self::NoFolder { .. } => "fetch-no-folder",
            Self::Git { .. } => "fetch-git",
            Self::Build(error) => error.code(),
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Web(error) => error.kind(),
            Self::Build(error) => error.kind(),
            Self::Git { .. } | Self::NoGit { .. } => Kind::Outside,
            Self::NoWayOut { .. } => Kind::Forbidden,
            Self::Address { .. }
            | Self::TooLarge { .. }
            | Self::Checksum { .. }
            | Self::BadChecksum { .. }
            | Self::Secret { .. }
            | Self::Nameless { .. }
            | Self::NoReference { .. }
            | Self::NoFolder { .. } => Kind::Input,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Web(error) => return error.hint(),
            Self::Build(error) => return error.hint(),
            Self::NoWayOut { needs, .. } => format!(
                "give the build one: `--egress {needs}`, in a project `x-daas: {{egress: {needs}}}`"
            ),
            Self::TooLarge { .. } => "raise the build's disk, for example `--disk 20g`".into(),
            Self::Checksum { .. } => {
                "the file has changed, or somebody changes it on its way: look before the checksum is made to fit".into()
            }
            Self::Nameless { .. } => {
                "end the destination with the name of the file instead of a slash".into()
            }
            Self::NoGit { .. } => "install it: `apt-get install git`".into(),
            Self::Git { output, .. } if wants_login(output) => format!(
                "give the build a secret for the repository's host, `--secret id=GIT_AUTH_TOKEN.HOST,src=FILE`; git's last words were:\n{output}"
            ),
            Self::Git { output, .. } if output.contains("Host key verification failed") => format!(
                "name the server's key in `/etc/ssh/ssh_known_hosts` of the daemon's machine, or give it to the build, `--secret id=SSH_KNOWN_HOSTS,src=FILE`; git's last words were:\n{output}"
            ),
            Self::Git { output, .. } if !output.is_empty() => {
                format!("its last words were:\n{output}")
            }
            Self::Secret { .. } => {
                "one line: a token, or for `..._HEADER` what stands behind `Authorization:`".into()
            }
            Self::Address {
                source: RemoteFault::Secret,
                ..
            } => "give it as a secret of the build: `--secret id=GIT_AUTH_TOKEN.HOST,src=FILE`, for a file `id=HTTP_AUTH_TOKEN_HOST`".into(),
            Self::Address { .. }
            | Self::BadChecksum { .. }
            | Self::NoReference { .. }
            | Self::NoFolder { .. }
            | Self::Git { .. } => return None,
        })
    }
}
