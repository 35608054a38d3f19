use crate::bytes_text::BytesText;
use crate::project::LimitsSource;
use daas_model::{ByteSize, Egress, ImageName, ProjectName, Ulimit};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use utoipa::ToSchema;

/// The most bytes of a build's request before its files: secrets and the Dockerfile are in it.
pub const MAX_BUILD_HEAD: usize = 8 << 20;

/// Asks for an image from a Dockerfile.
///
/// The body is four bytes of length (big-endian), this as JSON, and a tar archive, plain or compressed: the context's files below
/// `context/`, those of further contexts below `contexts/<name>/`; [`BuildRequest::context`] tells of other forms.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BuildRequest {
    /// The Dockerfile's text; without it, `file` of the context is read.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub dockerfile: String,
    /// Where the context is, if not in the archive: `-` says that the body behind the request is the context itself, any archive as it
    /// is (plain, gzip, zstd, bzip2, xz), or a Dockerfile; an address that it is fetched: a git repository, an archive, or a Dockerfile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// Further contexts that are fetched: addresses of git repositories or archives by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub remotes: BTreeMap<String, String>,
    /// How a person names it, relative to the context: `<file>.dockerignore` counts before `.dockerignore`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Whose steps and caches are shared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub project: Option<ProjectName>,
    /// The image's names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub names: Vec<ImageName>,
    /// Values of `ARG`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub args: BTreeMap<String, String>,
    /// The stage that becomes the image; the last where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Labels over those of the file.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Secrets by id: for commands that ask for them, and for signing in where the build fetches from (`GIT_AUTH_TOKEN` and the like).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, BytesText>,
    /// Sockets of SSH agents of the daemon's host by id: for administrators.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ssh: BTreeMap<String, String>,
    /// Contexts that are images, by name. Those that are folders come in the archive.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<String, String>)]
    pub images: BTreeMap<String, ImageName>,
    /// Whether steps that were made before are made again.
    #[serde(default)]
    pub no_cache: bool,
    /// Whether base images are compared with their registries.
    #[serde(default)]
    pub pull: bool,
    /// Whether commands have no network at all.
    #[serde(default)]
    pub no_network: bool,
    /// Whether commands are in the network of the host, which only a project with the grant `host-namespace:network` may ask for.
    #[serde(default)]
    pub host_network: bool,
    /// The way out of commands that have a network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub egress: Option<Egress>,
    /// The ceiling over all commands together.
    #[serde(default)]
    pub limits: LimitsSource,
    /// `linux/amd64`; only this machine's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// Lines for `/etc/hosts` of commands.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<String, Vec<String>>)]
    pub extra_hosts: BTreeMap<String, Vec<IpAddr>>,
    /// The size of `/dev/shm` of commands, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub shm_size: Option<ByteSize>,
    /// Resource limits of commands by the names of setrlimit(2), as in a compose file.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<String, Object>)]
    pub ulimits: BTreeMap<String, Ulimit>,
}
