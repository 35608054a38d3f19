use crate::health::HealthCheck;
use crate::image_name::ImageName;
use crate::mount::{FileGrant, Mount};
use crate::name::{NodeName, ServiceName};
use crate::network::NetworkMode;
use crate::port::PortSpec;
use crate::restart::RestartPolicy;
use crate::unit::{ByteSize, Cpus, Span};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// When a node may start after another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// The other one runs.
    ServiceStarted,
    /// The other one is healthy.
    ServiceHealthy,
    /// The other one has ended with exit code 0.
    ServiceCompletedSuccessfully,
}

/// One edge of `depends_on`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    /// The service that must come first; all of its nodes count.
    pub service: ServiceName,
    /// What of it must hold.
    pub condition: Condition,
    /// Whether this node is started again when the other one was changed or restarted by a person.
    #[serde(default)]
    pub restart: bool,
    /// Whether the start fails when the other one is absent or fails; otherwise it is only a remark.
    #[serde(default = "yes")]
    pub required: bool,
}

fn yes() -> bool {
    true
}

/// A device of the host inside a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// The path on the host.
    pub host: String,
    /// The path inside the node.
    pub target: String,
    /// `r`, `w`, `m` in any mixture.
    pub permissions: String,
}

/// One resource limit of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// The limit in force; `u64::MAX` for none.
    pub soft: u64,
    /// The most that the process may raise it to; `u64::MAX` for none.
    pub hard: u64,
}

/// A command that runs in a node at a turn of its life (`post_start`, `pre_stop`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// Program and arguments.
    pub command: Vec<String>,
    /// The user; the node's own where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The folder; the node's own where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// Further environment.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
}

/// When an image is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PullPolicy {
    /// If it is not in the store.
    #[default]
    Missing,
    /// At every `up`, if the registry has a newer one.
    Always,
    /// Never: it must be in the store.
    Never,
}

/// One container of a stand, as wanted.
///
/// What the image says is filled in when the node is launched, not here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSpec {
    /// The compose service that it is a replica of.
    pub service: ServiceName,
    /// The image.
    pub image: ImageName,
    /// When the image is fetched.
    #[serde(default)]
    pub pull: PullPolicy,
    /// Replaces the image's entry point, and forgets its command; an empty list means none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Replaces the image's command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// Environment over the image's own; nothing as value removes a variable.
    #[serde(default)]
    pub environment: BTreeMap<String, Option<String>>,
    /// The folder in which the process starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// `user`, `user:group`, by name or number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Further groups, by name or number.
    #[serde(default)]
    pub group_add: Vec<String>,
    /// The host name; the node's name where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The domain name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domainname: Option<String>,
    /// `container_name`: one more name inside the stand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_name: Option<String>,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// How it is connected.
    pub network: NetworkMode,
    /// Lines for `/etc/hosts`: name to addresses.
    #[serde(default)]
    pub extra_hosts: BTreeMap<String, Vec<IpAddr>>,
    /// `links`: further names for other services, alias to service.
    #[serde(default)]
    pub links: BTreeMap<String, ServiceName>,
    /// DNS servers that the stand's resolver asks for this node's foreign names.
    #[serde(default)]
    pub dns: Vec<IpAddr>,
    /// Search domains.
    #[serde(default)]
    pub dns_search: Vec<String>,
    /// Resolver options.
    #[serde(default)]
    pub dns_opt: Vec<String>,
    /// Ports that answer at the stand's own address.
    #[serde(default)]
    pub ports: Vec<PortSpec>,
    /// Ports that the node says it serves: `(port, protocol)` as published to itself.
    #[serde(default)]
    pub expose: Vec<PortSpec>,
    /// Mounts in the order of the file.
    #[serde(default)]
    pub mounts: Vec<Mount>,
    /// Configs and secrets.
    #[serde(default)]
    pub files: Vec<FileGrant>,
    /// What must come first.
    #[serde(default)]
    pub depends_on: Vec<Dependency>,
    /// How health is asked; nothing means the image's own check, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthCheck>,
    /// What to do when it ends.
    #[serde(default)]
    pub restart: RestartPolicy,
    /// The signal that asks it to end, by name or number; the image's own or `SIGTERM` where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// How long it may take to end before it is killed.
    pub stop_grace: Span,
    /// Whether process 1 is a small init that reaps and forwards signals.
    #[serde(default)]
    pub init: bool,
    /// Whether it has a terminal.
    #[serde(default)]
    pub tty: bool,
    /// Whether its standard input stays open.
    #[serde(default)]
    pub stdin_open: bool,
    /// Whether its root is read-only.
    #[serde(default)]
    pub read_only: bool,
    /// Capabilities over the default set, without `CAP_`, upper case; `ALL` for all.
    #[serde(default)]
    pub cap_add: Vec<String>,
    /// Capabilities taken from the default set; `ALL` for all.
    #[serde(default)]
    pub cap_drop: Vec<String>,
    /// All capabilities inside its own namespaces, no masks, no seccomp: only by a grant.
    #[serde(default)]
    pub privileged: bool,
    /// Whether seccomp does not filter: only by a grant.
    #[serde(default)]
    pub seccomp_unconfined: bool,
    /// Whether it may gain privileges by setuid programs: only by a grant.
    #[serde(default)]
    pub new_privileges: bool,
    /// Namespaces of the host: only by grants.
    #[serde(default)]
    pub host: HostNamespaces,
    /// Devices of the host.
    #[serde(default)]
    pub devices: Vec<Device>,
    /// Sysctls of its own namespaces.
    #[serde(default)]
    pub sysctls: BTreeMap<String, String>,
    /// Resource limits by name without `RLIMIT_`, lower case.
    #[serde(default)]
    pub ulimits: BTreeMap<String, Ulimit>,
    /// The size of `/dev/shm`; 64 MiB where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shm_size: Option<ByteSize>,
    /// CPU of this node, under the stand's ceiling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<Cpus>,
    /// Memory of this node, under the stand's ceiling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<ByteSize>,
    /// Processes of this node, under the stand's ceiling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
    /// The kernel's preference to kill it, -1000 to 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_score_adj: Option<i32>,
    /// Commands run right after each start.
    #[serde(default)]
    pub post_start: Vec<Hook>,
    /// Commands run before it is asked to end.
    #[serde(default)]
    pub pre_stop: Vec<Hook>,
}

/// Which namespaces of the host a node runs in instead of its own. The network has its own place, [`NetworkMode::Host`].
///
/// The node stays in the stand's user namespace: it sees the host's, and has no rights over what is in there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "four independent keys of the project file"
)]
pub struct HostNamespaces {
    /// Processes: it sees all of the host.
    pub pid: bool,
    /// System V and POSIX message queues, shared memory.
    pub ipc: bool,
    /// Host name.
    pub uts: bool,
    /// Control groups: it sees where it is among those of the host.
    pub cgroup: bool,
}

impl NodeSpec {
    /// Makes a node of `image` with nothing but defaults.
    #[must_use]
    pub fn new(service: ServiceName, image: ImageName) -> Self {
        Self {
            service,
            image,
            pull: PullPolicy::default(),
            entrypoint: None,
            command: None,
            environment: BTreeMap::new(),
            working_dir: None,
            user: None,
            group_add: Vec::new(),
            hostname: None,
            domainname: None,
            container_name: None,
            labels: BTreeMap::new(),
            network: NetworkMode::Networks(Vec::new()),
            extra_hosts: BTreeMap::new(),
            links: BTreeMap::new(),
            dns: Vec::new(),
            dns_search: Vec::new(),
            dns_opt: Vec::new(),
            ports: Vec::new(),
            expose: Vec::new(),
            mounts: Vec::new(),
            files: Vec::new(),
            depends_on: Vec::new(),
            health: None,
            restart: RestartPolicy::No,
            stop_signal: None,
            // Docker's and Compose's default.
            stop_grace: Span::secs(10),
            init: false,
            tty: false,
            stdin_open: false,
            read_only: false,
            cap_add: Vec::new(),
            cap_drop: Vec::new(),
            privileged: false,
            seccomp_unconfined: false,
            new_privileges: false,
            host: HostNamespaces::default(),
            devices: Vec::new(),
            sysctls: BTreeMap::new(),
            ulimits: BTreeMap::new(),
            shm_size: None,
            cpus: None,
            memory: None,
            pids: None,
            oom_score_adj: None,
            post_start: Vec::new(),
            pre_stop: Vec::new(),
        }
    }

    /// Returns the name of the node `name` for a node whose key is `NodeName`: the `hostname` key, or the node's own name.
    #[must_use]
    pub fn host_name<'a>(&'a self, name: &'a NodeName) -> &'a str {
        self.hostname.as_deref().unwrap_or(name.as_str())
    }
}
