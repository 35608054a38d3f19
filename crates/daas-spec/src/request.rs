use crate::described::Described;
use crate::dockerfile::Remote;
use daas_model::{
    ByteSize, Cpus, Diagnostics, Egress, ImageName, Limits, Place, Policy, ProjectName, Severity,
    Span, StandKind, StandSpec, Ulimit,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The most bytes that one file of a project may have; a disk reader should stop there, too.
///
/// 1 MiB (threat S26): the largest of 1,073 counted compose files has 90 KB.
pub const MAX_FILE: usize = 1 << 20;

/// Where project files come from: the CLI gives a disk reader, the server an in-memory map.
pub trait Files {
    /// Returns the bytes of the file at the absolute, normalised `path`; nothing if there is none.
    ///
    /// A reader may stop after [`MAX_FILE`] + 1 bytes: longer files are refused anyway.
    ///
    /// # Errors
    /// A sentence without the path, for example `permission denied`.
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, String>;

    /// Tells whether `path` is a folder.
    fn is_dir(&self, path: &str) -> bool;
}

/// Files by absolute path: what [`Outcome::files_read`] holds is read again from here.
impl Files for BTreeMap<String, Vec<u8>> {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, String> {
        Ok(self.get(path).cloned())
    }

    fn is_dir(&self, path: &str) -> bool {
        let folder = format!("{}/", path.trim_end_matches('/'));
        self.range(folder.clone()..)
            .next()
            .is_some_and(|(file, _)| file.starts_with(&folder))
    }
}

/// Limits that stand above those of the file, each alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LimitsOver {
    /// CPU time per time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<Cpus>,
    /// Memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<ByteSize>,
    /// Processes and threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
    /// Disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<ByteSize>,
}

impl LimitsOver {
    /// Returns `below` with every limit replaced that is set here.
    #[must_use]
    pub fn over(self, below: Limits) -> Limits {
        Limits {
            cpus: self.cpus.unwrap_or(below.cpus),
            memory: self.memory.unwrap_or(below.memory),
            pids: self.pids.unwrap_or(below.pids),
            disk: self.disk.unwrap_or(below.disk),
        }
    }
}

/// What is to be read, and with which wishes of the caller.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ProjectRequest {
    /// The project's folder on the host, absolute: relative paths of the file begin here.
    ///
    /// As Compose has it, the folder of the first file of `-f` where no folder is given. Whoever reads for someone
    /// else must check that the asker may read this folder: binds below it need no grant.
    pub dir: String,
    /// The files given by `-f`, the later over the earlier; without any, the usual names are looked for in `dir`.
    #[serde(default)]
    pub files: Vec<String>,
    /// The project's name (`-p`); otherwise `COMPOSE_PROJECT_NAME`, `name:` of the file, the folder's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project_name: Option<String>,
    /// The profiles that are on; `*` for all. Without any, `COMPOSE_PROFILES` counts.
    #[serde(default)]
    pub profiles: Vec<String>,
    /// The caller's environment; it stands above every file.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// The files given by `--env-file`, the later over the earlier; without any, `.env` of `dir` if there is one.
    #[serde(default)]
    pub env_files: Vec<String>,
    /// How many nodes a service has (`--scale`), above the file.
    #[serde(default)]
    pub scale: BTreeMap<String, u32>,
    /// What the stand is for.
    #[serde(default)]
    pub kind: StandKind,
    /// Limits above those of the file.
    #[serde(default)]
    pub limits: LimitsOver,
    /// The way out, above the file's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<Egress>,
    /// The time to live, above the file's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Span>,
    /// What an administrator granted to the project.
    #[serde(default)]
    pub policy: Policy,
    /// Limits of a file that names none.
    #[serde(default)]
    pub defaults: Limits,
}

/// One thing that the file says and that has no effect here: a line of the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ignored {
    /// How much it matters: a warning may change what the project does, a note does not.
    pub severity: Severity,
    /// The key, `services.web.logging`.
    pub key: String,
    /// Why it has none.
    pub why: String,
    /// Where it is said.
    pub place: Place,
}

/// A secret of a build: from a file or a variable of whoever asks for the build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildSecret {
    /// The id that `RUN --mount=type=secret` names.
    pub id: String,
    /// The file, absolute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The variable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
}

/// How the image of a service is built (Compose Build Specification).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceBuild {
    /// The service.
    pub service: String,
    /// The image's name: the service's `image`, or `<project>-<service>`.
    pub image: ImageName,
    /// The folder of the context, absolute, or the address that it is fetched from.
    pub context: String,
    /// Whether nothing of the context is needed: a description that names no file of it.
    #[serde(default)]
    pub bare: bool,
    /// The Dockerfile, relative to the context unless absolute.
    pub dockerfile: Option<String>,
    /// The Dockerfile's text.
    pub dockerfile_inline: Option<String>,
    /// Values of `ARG`; one without a value has none at all.
    pub args: BTreeMap<String, Option<String>>,
    /// The stage that becomes the image.
    pub target: Option<String>,
    /// Labels over those of the file.
    pub labels: BTreeMap<String, String>,
    /// Further contexts: folders, absolute, or addresses (`docker-image://`, `packages://`, `service:`, and what is fetched).
    pub additional_contexts: BTreeMap<String, String>,
    /// Further names.
    pub tags: Vec<ImageName>,
    /// The platforms.
    pub platforms: Vec<String>,
    /// Secrets.
    pub secrets: Vec<BuildSecret>,
    /// Agents: `default` or `name=socket`.
    pub ssh: Vec<String>,
    /// The network of commands.
    pub network: Option<String>,
    /// The size of their `/dev/shm`.
    pub shm_size: Option<ByteSize>,
    /// Lines for their `/etc/hosts`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra_hosts: BTreeMap<String, Vec<IpAddr>>,
    /// Their resource limits.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ulimits: BTreeMap<String, Ulimit>,
    /// Whether nothing cached is used.
    pub no_cache: bool,
    /// Whether base images are compared with their registries.
    pub pull: bool,
    /// Whether the image is built at every `up`: `pull_policy: build`, or the service is described, and what it says may have changed.
    pub always: bool,
}

impl ServiceBuild {
    /// Returns the address of the context, if it is fetched.
    #[must_use]
    pub fn far_context(&self) -> Option<&str> {
        (!self.bare && Remote::is_remote(&self.context)).then_some(self.context.as_str())
    }

    /// Returns the addresses of further contexts that are fetched, by name.
    #[must_use]
    pub fn far_contexts(&self) -> BTreeMap<String, String> {
        self.additional_contexts
            .iter()
            .filter(|(_, place)| Remote::is_remote(place))
            .map(|(name, place)| (name.clone(), place.clone()))
            .collect()
    }

    pub(crate) fn new(image: ImageName) -> Self {
        Self {
            service: String::new(),
            image,
            context: String::new(),
            bare: false,
            dockerfile: None,
            dockerfile_inline: None,
            args: BTreeMap::new(),
            target: None,
            labels: BTreeMap::new(),
            additional_contexts: BTreeMap::new(),
            tags: Vec::new(),
            platforms: Vec::new(),
            secrets: Vec::new(),
            ssh: Vec::new(),
            network: None,
            shm_size: None,
            extra_hosts: BTreeMap::new(),
            ulimits: BTreeMap::new(),
            no_cache: false,
            pull: false,
            always: false,
        }
    }
}

/// What reading a project gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The stand; nothing if, and only if, a diagnostic is an error.
    pub spec: Option<StandSpec>,
    /// The project's name, known even when other things are wrong: grants are found by it.
    pub project: Option<ProjectName>,
    /// All faults and remarks at once, in the order of the text.
    pub diagnostics: Diagnostics,
    /// What has no effect here.
    pub ignored: Vec<Ignored>,
    /// The services that are described, in the order of the text; each has a `build` made of its description.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub described: Vec<Described>,
    /// How images of services are built, in the order of the text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub builds: Vec<ServiceBuild>,
    /// Every file that was read, by absolute path. Reading again from this map alone gives the same outcome.
    pub files_read: BTreeMap<String, Vec<u8>>,
    /// The variables of [`ProjectRequest::env`] that were asked for: all that another reader needs of it.
    pub env_read: BTreeMap<String, String>,
}

impl Outcome {
    /// Tells whether a diagnostic is an error.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.diagnostics
            .iter()
            .any(|d| d.severity == Severity::Error)
    }
}
