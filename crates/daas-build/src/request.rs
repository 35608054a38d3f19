use daas_model::{ByteSize, Egress, ImageName, Limits, ProjectName, Ulimit};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

/// Where a context's files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContextSource {
    /// A folder that only the platform writes: [`crate::Builder::receive`] makes one.
    Folder(PathBuf),
    /// An image.
    Image(ImageName),
}

/// What to build.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// Whose steps and caches are shared; builds without a project share theirs.
    pub project: Option<ProjectName>,
    /// How a person names the Dockerfile.
    pub file: String,
    /// Its text.
    pub dockerfile: Vec<u8>,
    /// The build's own context; nothing for an empty one.
    pub context: Option<PathBuf>,
    /// Further contexts by name.
    pub contexts: BTreeMap<String, ContextSource>,
    /// `--build-arg`.
    pub args: BTreeMap<String, String>,
    /// `--target`.
    pub target: Option<String>,
    /// `--tag`: the names of the image.
    pub names: Vec<ImageName>,
    /// `--label`: over those of the file.
    pub labels: BTreeMap<String, String>,
    /// `--secret`: contents by id. They reach commands that ask for them and nothing else.
    pub secrets: BTreeMap<String, Vec<u8>>,
    /// `--ssh`: sockets of agents on this machine by id.
    pub ssh: BTreeMap<String, PathBuf>,
    /// `--no-cache`: no step that was made before is used.
    pub no_cache: bool,
    /// `--pull`: base images are compared with their registries.
    pub pull: bool,
    /// Whether commands have a network at all.
    pub network: bool,
    /// The way out of commands that have one.
    pub egress: Egress,
    /// The ceiling over all commands together.
    pub limits: Limits,
    /// `--platform`: only this machine's.
    pub platform: Option<String>,
    /// Lines for `/etc/hosts` of commands.
    pub extra_hosts: BTreeMap<String, Vec<IpAddr>>,
    /// The size of `/dev/shm` of commands.
    pub shm_size: Option<ByteSize>,
    /// Resource limits of commands.
    pub ulimits: BTreeMap<String, Ulimit>,
}

impl BuildRequest {
    /// Makes a request with nothing but defaults.
    #[must_use]
    pub fn new(dockerfile: Vec<u8>) -> Self {
        Self {
            project: None,
            file: "Dockerfile".into(),
            dockerfile,
            context: None,
            contexts: BTreeMap::new(),
            args: BTreeMap::new(),
            target: None,
            names: Vec::new(),
            labels: BTreeMap::new(),
            secrets: BTreeMap::new(),
            ssh: BTreeMap::new(),
            no_cache: false,
            pull: false,
            network: true,
            egress: Egress::default(),
            limits: Limits::default(),
            platform: None,
            extra_hosts: BTreeMap::new(),
            shm_size: None,
            ulimits: BTreeMap::new(),
        }
    }
}
