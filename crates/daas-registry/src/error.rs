use crate::name::{NameError, Reference, Repository};
use daas_image::{Digest, ImageError};
use daas_model::{ByteSize, Explain, Kind};
use daas_store::StoreError;
use std::time::Duration;

/// Why the registry did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// A name breaks its grammar.
    #[error("cannot use the name")]
    Name(#[from] NameError),
    /// There is no such repository, or not for the asker.
    #[error("cannot find the repository `{repository}`")]
    NoRepository {
        /// The repository.
        repository: String,
    },
    /// The repository has no such manifest.
    #[error("cannot find `{reference}` in `{repository}`")]
    NoManifest {
        /// The repository.
        repository: Repository,
        /// What was looked for.
        reference: Reference,
    },
    /// The repository has no such blob.
    #[error("cannot find the blob {} in `{repository}`", .digest.short())]
    NoBlob {
        /// The repository.
        repository: Repository,
        /// What was looked for.
        digest: Digest,
    },
    /// No such upload: unknown, ended, or somebody else's.
    #[error("cannot find the upload")]
    NoUpload,
    /// The bytes of an upload are not those that come next.
    #[error("cannot take bytes from {got} on: the upload has {size}")]
    OutOfOrder {
        /// Where the chunk begins.
        got: u64,
        /// How much is here.
        size: u64,
    },
    /// The body of a request broke off or makes no sense.
    #[error("cannot read the upload: {why}")]
    BadUpload {
        /// What is wrong.
        why: String,
    },
    /// A digest that is none.
    #[error("cannot use the digest `{}`", .text.escape_debug())]
    BadDigest {
        /// The text.
        text: String,
    },
    /// The content has another digest than it should.
    #[error("cannot take the content: its digest is {got}, told was {wanted}")]
    OtherDigest {
        /// The digest that was told.
        wanted: Digest,
        /// What came.
        got: Digest,
    },
    /// A manifest that cannot be kept.
    #[error("cannot take the manifest: {why}")]
    BadManifest {
        /// What is wrong with it.
        why: String,
    },
    /// A manifest names a blob that its repository does not have.
    #[error("cannot take the manifest: `{repository}` has no blob {}", .digest.short())]
    MissingPart {
        /// The repository.
        repository: Repository,
        /// The blob.
        digest: Digest,
    },
    /// A blob that a manifest of the repository is made of.
    #[error("cannot delete the blob {} of `{repository}`: a manifest needs it", .digest.short())]
    BlobInUse {
        /// The repository.
        repository: Repository,
        /// The blob.
        digest: Digest,
    },
    /// The project has used up its room.
    #[error("cannot take {more} more for `{space}`: it has {used} of {quota}")]
    OverQuota {
        /// The project.
        space: String,
        /// What was to come.
        more: ByteSize,
        /// What is there.
        used: ByteSize,
        /// What there may be.
        quota: ByteSize,
    },
    /// Too many uploads at once.
    #[error("cannot begin one more upload")]
    TooMany,
    /// The asker is nobody, or his token does not cover this.
    #[error("cannot do this without a login")]
    LoginWanted,
    /// A login that is not known, or by another password; it is not said which.
    #[error("cannot log in: the name or the password is wrong, or the login has ended")]
    WrongLogin,
    /// The asker may not do this.
    #[error("cannot {right} in `{repository}` as {asker}")]
    Denied {
        /// What was tried.
        right: &'static str,
        /// The repository.
        repository: Repository,
        /// Who tried.
        asker: String,
    },
    /// A repository of a cache takes no pushes.
    #[error("cannot push to `{repository}`: it is a copy of an outside registry")]
    CacheOnly {
        /// The repository.
        repository: Repository,
    },
    /// A content has changed on disk.
    #[error("cannot serve the content {}: it is damaged on disk", .digest.short())]
    Damaged {
        /// The content.
        digest: Digest,
    },
    /// There is no such login.
    #[error("cannot find the login `{name}`")]
    NoLogin {
        /// Its name.
        name: String,
    },
    /// A management request that makes no sense.
    #[error("cannot do this: {why}")]
    Bad {
        /// What is wrong.
        why: String,
    },
    /// The registry cannot do this.
    #[error("cannot do this: the registry has no such operation")]
    Unsupported,
    /// The image store refused.
    #[error("cannot use the image store")]
    Images(#[source] ImageError),
    /// The records refused.
    #[error("cannot use the records")]
    Records(#[from] StoreError),
    /// Work ended in a way that must not happen.
    #[error("`{what}` ended unexpectedly")]
    Broken {
        /// Which.
        what: &'static str,
    },
}

/// How long to wait when the house is full or short of uploads.
const RETRY: Duration = Duration::from_secs(60);

impl From<ImageError> for RegistryError {
    fn from(error: ImageError) -> Self {
        match error {
            ImageError::DigestMismatch { wanted, got, .. } => Self::OtherDigest { wanted, got },
            other => Self::Images(other),
        }
    }
}

impl RegistryError {
    /// Returns the code of the OCI Distribution Specification 1.1, "Error Codes".
    pub(crate) fn oci_code(&self) -> &'static str {
        match self {
            Self::Name(_) => "NAME_INVALID",
            Self::NoRepository { .. } => "NAME_UNKNOWN",
            Self::NoManifest { .. } => "MANIFEST_UNKNOWN",
            Self::NoBlob { .. } => "BLOB_UNKNOWN",
            Self::NoUpload => "BLOB_UPLOAD_UNKNOWN",
            Self::OutOfOrder { .. } | Self::BadUpload { .. } => "BLOB_UPLOAD_INVALID",
            Self::BadDigest { .. } | Self::OtherDigest { .. } => "DIGEST_INVALID",
            Self::BadManifest { .. } => "MANIFEST_INVALID",
            Self::MissingPart { .. } => "MANIFEST_BLOB_UNKNOWN",
            Self::TooMany => "TOOMANYREQUESTS",
            Self::LoginWanted | Self::WrongLogin => "UNAUTHORIZED",
            Self::Denied { .. } | Self::OverQuota { .. } => "DENIED",
            Self::BlobInUse { .. } | Self::CacheOnly { .. } | Self::Unsupported => "UNSUPPORTED",
            _ => "UNKNOWN",
        }
    }

    /// Returns the HTTP status for it.
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::OutOfOrder { .. } => 416,
            Self::LoginWanted | Self::WrongLogin => 401,
            Self::Denied { .. } | Self::OverQuota { .. } => 403,
            Self::MissingPart { .. } => 404,
            Self::BlobInUse { .. } | Self::CacheOnly { .. } | Self::Unsupported => 405,
            Self::TooMany => 429,
            Self::Images(error) if matches!(error.kind(), Kind::Busy { .. }) => 507,
            Self::Images(error) if matches!(error.kind(), Kind::NotFound) => 404,
            Self::Images(ImageError::Transport { .. } | ImageError::Status { .. }) => 502,
            _ => match self.kind() {
                Kind::Input => 400,
                Kind::NotFound => 404,
                Kind::Conflict => 409,
                Kind::Forbidden => 403,
                Kind::Busy { .. } => 503,
                Kind::Outside | Kind::Bug => 500,
            },
        }
    }
}

impl Explain for RegistryError {
    fn code(&self) -> &'static str {
        match self {
            Self::Name(_) => "registry-name",
            Self::NoRepository { .. } => "registry-repository-not-found",
            Self::NoManifest { .. } => "registry-manifest-not-found",
            Self::NoBlob { .. } => "registry-blob-not-found",
            Self::NoUpload => "registry-upload-not-found",
            Self::OutOfOrder { .. } => "registry-upload-order",
            Self::BadUpload { .. } => "registry-upload-broken",
            Self::BadDigest { .. } | Self::OtherDigest { .. } => "registry-digest",
            Self::BadManifest { .. } => "registry-manifest-invalid",
            Self::MissingPart { .. } => "registry-blob-missing",
            Self::BlobInUse { .. } => "registry-blob-in-use",
            Self::OverQuota { .. } => "registry-quota",
            Self::TooMany => "registry-uploads",
            Self::LoginWanted => "registry-login-wanted",
            Self::WrongLogin => "registry-login-wrong",
            Self::Denied { .. } => "registry-denied",
            Self::CacheOnly { .. } => "registry-cache-only",
            Self::Damaged { .. } => "registry-content-damaged",
            Self::NoLogin { .. } => "registry-login-not-found",
            Self::Bad { .. } => "registry-request",
            Self::Unsupported => "registry-unsupported",
            Self::Images(error) => error.code(),
            Self::Records(error) => error.code(),
            Self::Broken { .. } => "registry-broken",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::NoRepository { .. }
            | Self::NoManifest { .. }
            | Self::NoBlob { .. }
            | Self::NoUpload
            | Self::MissingPart { .. }
            | Self::NoLogin { .. } => Kind::NotFound,
            Self::BlobInUse { .. } | Self::CacheOnly { .. } => Kind::Conflict,
            Self::OverQuota { .. } | Self::LoginWanted | Self::WrongLogin | Self::Denied { .. } => {
                Kind::Forbidden
            }
            Self::TooMany => Kind::Busy { retry_after: RETRY },
            Self::Damaged { .. } => Kind::Outside,
            Self::Images(error) => error.kind(),
            Self::Records(error) => error.kind(),
            Self::Broken { .. } => Kind::Bug,
            _ => Kind::Input,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Name(error) => Some(error.grammar().into()),
            Self::NoRepository { .. } => Some(
                "`daas registry list` shows repositories; other projects' show themselves only to whom they are shared with"
                    .into(),
            ),
            Self::NoManifest { repository, .. } => Some(format!(
                "`daas registry tags {repository}` shows what is there"
            )),
            Self::OverQuota { space, .. } => Some(format!(
                "delete tags or raise it: `daas registry quota {space} SIZE`"
            )),
            Self::LoginWanted => {
                Some("`daas registry login-token NAME --project PROJECT` makes one, `docker login` takes it".into())
            }
            Self::WrongLogin => {
                Some("`daas registry login-token NAME` makes a new password for a login, with its rights".into())
            }
            Self::BlobInUse { .. } => Some("delete the manifest first".into()),
            Self::Damaged { .. } => Some("it was taken away; push it again".into()),
            Self::NoLogin { .. } => Some("`daas registry logins` lists them".into()),
            Self::Images(error) => error.hint(),
            Self::Records(error) => error.hint(),
            _ => None,
        }
    }
}
