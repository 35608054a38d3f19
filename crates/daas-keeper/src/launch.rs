//! What a keeper is told to run: pure data, everything resolved beforehand by the engine.

use daas_model::{
    ByteSize, Cpus, FileName, HostNamespaces, HostOwner, Limits, NetworkName, NodeName,
    RestartPolicy, Span, StandId, StandName, Subnet, VolumeName,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

/// How many user and group ids every stand has; ids from here on do not exist inside (security row S30).
pub const IDS_PER_STAND: u32 = 65_536;

/// What a keeper is made from before it is known which stand it will hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeeperSeed {
    /// [`crate::protocol::VERSION`] of whoever asks.
    pub protocol: u32,
    /// Names the keeper's cgroups; never used twice on a machine.
    pub keeper_id: StandId,
    /// The keeper's folder (made if missing, 0700): `keeper.sock`, `state.json`, `disk.img`, `logs/`.
    pub dir: PathBuf,
    /// The first host uid and gid of the stand's range.
    pub uid_base: u32,
    /// How many ids; at most [`IDS_PER_STAND`].
    pub uid_count: u32,
    /// The stand's disk.
    pub disk: DiskSeed,
    /// The folder of the platform's cgroups below each hierarchy's mount point, for example `daas` or `system.slice/daas.service/stands`.
    pub cgroup_root: String,
    /// How many processes are born before it is known which nodes they will be. Each saves a node 2 ms when its stand is wanted; worth it for keepers
    /// that are made before.
    #[serde(default)]
    pub seats: u32,
}

/// The disk of a stand: an image file that caps bytes and inodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskSeed {
    /// How large the file system is.
    pub size: ByteSize,
    /// What [`crate::disk::ensure_template`] returned for this size and durability.
    pub template: PathBuf,
    /// Whether it must survive a power cut (journal and barriers).
    pub durable: bool,
}

/// Binds a prepared keeper to a stand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StandLaunch {
    /// The stand's id.
    pub stand_id: StandId,
    /// The stand's name, for events.
    pub name: StandName,
    /// The digest of the stand-wide description; reported back as `base_from`.
    #[serde(default)]
    pub digest: String,
    /// The ceiling over all nodes.
    pub limits: Limits,
    /// Whether what nodes write may be lost with the machine's power.
    pub throw_away: bool,
    /// Its networks.
    pub networks: Vec<BridgeLaunch>,
    /// Its named volumes.
    pub volumes: Vec<VolumeName>,
    /// Contents of configs and secrets; kept in memory only.
    pub files: BTreeMap<FileName, Vec<u8>>,
    /// What its resolver answers besides the names of running nodes.
    pub dns: DnsTable,
    /// Its way out.
    pub egress: EgressLaunch,
}

/// One network of a stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgeLaunch {
    /// The network.
    pub name: NetworkName,
    /// Its blocks of addresses, each with the router's own address inside.
    pub subnets: Vec<BridgeSubnet>,
    /// Whether it has no way out.
    pub internal: bool,
}

/// One block of addresses of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgeSubnet {
    /// The block.
    pub subnet: Subnet,
    /// The router's address in it.
    pub gateway: IpAddr,
}

/// What the stand's resolver answers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DnsTable {
    /// Names that every node of the stand sees, besides those of running nodes. Lower case, without the last dot.
    #[serde(default)]
    pub names: BTreeMap<String, Vec<IpAddr>>,
    /// A suffix under which every name answers too, for example `shop-7.test`.
    #[serde(default)]
    pub suffix: Option<String>,
    /// Names of the platform, whose answers depend on who asks; nothing for a stand that may not reach it.
    #[serde(default)]
    pub platform: Option<PlatformNames>,
    /// What happens with all other names.
    #[serde(default)]
    pub forward: Forward,
}

/// Names that a server inside of the stand's own network answers, in the stand's own view.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PlatformNames {
    /// Zones: they and everything below them. Lower case, without the last dot.
    pub zones: Vec<String>,
    /// Where the daemon answers in the namespace of the stand's router.
    pub server: Option<SocketAddr>,
}

/// What the resolver does with a name that is not the stand's.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Forward {
    /// The name does not exist.
    #[default]
    Refuse,
    /// These servers are asked, from the host's network.
    Upstreams(Vec<SocketAddr>),
}

/// Which way out a stand has.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EgressLaunch {
    /// Nothing leaves.
    #[default]
    None,
    /// The daemon's proxy listens at the gateways through its dialer; the keeper has nothing to do.
    Proxy,
    /// A link from the router namespace to the host's; translation is the daemon's.
    Full {
        /// The name of the link's end in the host's namespace.
        host_link: String,
        /// The host's end.
        host_address: Ipv4Addr,
        /// The stand's end.
        stand_address: Ipv4Addr,
        /// The prefix of both.
        prefix: u8,
    },
}

/// One node to launch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeLaunch {
    /// The node.
    pub node: NodeName,
    /// The digest of its description; reported back as `launched_from`.
    pub digest: String,
    /// Unpacked layers, top first, absolute; owned as inside the image (root is the host's root).
    pub lowers: Vec<PathBuf>,
    /// Program (looked up in `PATH` of `env` when it has no slash) and arguments.
    pub argv: Vec<String>,
    /// The whole environment, `NAME=value`.
    pub env: Vec<String>,
    /// The folder to start in; made if missing.
    pub cwd: String,
    /// The numeric user inside.
    pub uid: u32,
    /// The numeric group inside.
    pub gid: u32,
    /// Further groups inside.
    #[serde(default)]
    pub groups: Vec<u32>,
    /// The host name.
    pub hostname: String,
    /// The NIS domain name.
    #[serde(default)]
    pub domainname: Option<String>,
    /// How it is connected.
    pub network: NetworkLaunch,
    /// The content of `/etc/hosts`; the image's own stays where there is none.
    #[serde(default)]
    pub hosts: Option<String>,
    /// The content of `/etc/resolv.conf`; the image's own stays where there is none.
    #[serde(default)]
    pub resolv_conf: Option<String>,
    /// Who is asked, from the stand's own network, for names that are not the stand's; where there is nothing, whom the stand asks.
    #[serde(default)]
    pub asks: Option<Vec<SocketAddr>>,
    /// Mounts in order.
    #[serde(default)]
    pub mounts: Vec<MountLaunch>,
    /// Whether the root is read-only.
    #[serde(default)]
    pub read_only_root: bool,
    /// What it may do.
    #[serde(default)]
    pub rights: Rights,
    /// Resource limits by name without `RLIMIT_`, lower case: `(soft, hard)`, `u64::MAX` for none. Clamped to what the platform itself may have.
    #[serde(default)]
    pub rlimits: BTreeMap<String, (u64, u64)>,
    /// Sysctls of its own namespaces, dotted.
    #[serde(default)]
    pub sysctls: BTreeMap<String, String>,
    /// Namespaces of the host that it runs in.
    #[serde(default)]
    pub host: HostNamespaces,
    /// Devices of the host.
    #[serde(default)]
    pub devices: Vec<DeviceLaunch>,
    /// The size of `/dev/shm`; 64 MiB where there is none.
    #[serde(default)]
    pub shm_size: Option<ByteSize>,
    /// Whether process 1 is a small init that reaps and forwards signals.
    #[serde(default)]
    pub init: bool,
    /// Whether it has a terminal.
    #[serde(default)]
    pub tty: bool,
    /// Whether its standard input stays open.
    #[serde(default)]
    pub stdin_open: bool,
    /// Its own limits under the stand's ceiling.
    #[serde(default)]
    pub limits: NodeLimits,
    /// The kernel's preference to kill it.
    #[serde(default)]
    pub oom_score_adj: Option<i32>,
    /// The number of the signal that asks it to end.
    pub stop_signal: i32,
    /// How long it may take to end before it is killed.
    pub stop_grace: Span,
    /// What to do when it ends.
    #[serde(default)]
    pub restart: RestartPolicy,
    /// How health is asked.
    #[serde(default)]
    pub health: Option<HealthLaunch>,
    /// Run in order right after each start.
    #[serde(default)]
    pub post_start: Vec<ExecLaunch>,
    /// Run in order before it is asked to end.
    #[serde(default)]
    pub pre_stop: Vec<ExecLaunch>,
    /// How its log is kept.
    #[serde(default)]
    pub log: LogLaunch,
}

impl NodeLaunch {
    /// Makes a node that runs `argv` as root over `lowers`, with nothing but defaults and no network.
    #[must_use]
    pub fn new(node: NodeName, lowers: Vec<PathBuf>, argv: Vec<String>) -> Self {
        Self {
            hostname: node.as_str().to_owned(),
            node,
            digest: String::new(),
            lowers,
            argv,
            env: vec![
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
            ],
            cwd: "/".to_owned(),
            uid: 0,
            gid: 0,
            groups: Vec::new(),
            domainname: None,
            network: NetworkLaunch::None,
            hosts: None,
            resolv_conf: None,
            asks: None,
            mounts: Vec::new(),
            read_only_root: false,
            rights: Rights::default(),
            rlimits: BTreeMap::new(),
            sysctls: BTreeMap::new(),
            host: HostNamespaces::default(),
            devices: Vec::new(),
            shm_size: None,
            init: false,
            tty: false,
            stdin_open: false,
            limits: NodeLimits::default(),
            oom_score_adj: None,
            // SIGTERM, and Docker's grace.
            stop_signal: 15,
            stop_grace: Span::secs(10),
            restart: RestartPolicy::No,
            health: None,
            post_start: Vec::new(),
            pre_stop: Vec::new(),
            log: LogLaunch::default(),
        }
    }
}

/// How a node is connected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkLaunch {
    /// These become `eth0`, `eth1`, ... in order.
    Interfaces(Vec<InterfaceLaunch>),
    /// Only loopback.
    None,
    /// In the network namespace of another node, which must run.
    ShareWith(NodeName),
    /// In the network namespace of the host.
    Host,
}

/// One interface of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceLaunch {
    /// The network; its subnets give the prefixes.
    pub network: NetworkName,
    /// The IPv4 address.
    pub ipv4: Option<Ipv4Addr>,
    /// The IPv6 address.
    #[serde(default)]
    pub ipv6: Option<Ipv6Addr>,
    /// The link address.
    pub mac: [u8; 6],
    /// The names that the resolver answers with these addresses to every node of this network, while the node runs.
    #[serde(default)]
    pub names: Vec<String>,
    /// Whether the network's gateway is the node's default route.
    #[serde(default)]
    pub default_route: bool,
}

/// What a node may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rights {
    /// Bit mask of capabilities (bounding, permitted, effective for root), inside the stand's user namespace.
    pub caps: u64,
    /// Whether setuid programs give nothing.
    pub no_new_privs: bool,
    /// Whether system calls are filtered.
    pub seccomp: SeccompLaunch,
    /// Whether dangerous paths of `/proc` and `/sys` are masked or read-only.
    pub masks: bool,
}

impl Rights {
    /// Docker's default set without MKNOD: CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP,
    /// NET_BIND_SERVICE, NET_RAW, SYS_CHROOT, AUDIT_WRITE, SETFCAP (moby `oci/caps/defaults.go`).
    pub const DEFAULT_CAPS: u64 = 1
        | 1 << 1
        | 1 << 3
        | 1 << 4
        | 1 << 5
        | 1 << 6
        | 1 << 7
        | 1 << 8
        | 1 << 10
        | 1 << 13
        | 1 << 18
        | 1 << 29
        | 1 << 31;
}

impl Default for Rights {
    fn default() -> Self {
        Self {
            caps: Self::DEFAULT_CAPS,
            no_new_privs: true,
            seccomp: SeccompLaunch::Default,
            masks: true,
        }
    }
}

/// Which system calls a node may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SeccompLaunch {
    /// Docker's default profile, for the node's capabilities.
    Default,
    /// All.
    Unconfined,
}

/// One mount of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountLaunch {
    /// What.
    pub source: MountLaunchSource,
    /// Where: absolute, without `.` and `..`; made if missing.
    pub target: String,
    /// Whether the node may not write.
    #[serde(default)]
    pub read_only: bool,
}

/// How the owners of a bind of the host are seen inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BindOwners {
    /// Ids inside and on the host are the same numbers, root's as well.
    #[default]
    AsOnHost,
    /// This owner is root inside; nobody else is anybody.
    RootIs(HostOwner),
    /// This owner is the user that the node runs as; everybody else inside has an id of the host from `others` on that no person has.
    NodeIs {
        /// The owner on the host.
        owner: HostOwner,
        /// The first of as many ids as a stand has.
        others: u32,
    },
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MountLaunchSource {
    /// A named volume of the stand.
    Volume {
        /// Which.
        name: VolumeName,
        /// A folder inside, relative, made if missing.
        #[serde(default)]
        subpath: Option<String>,
        /// Whether the image's files at the target fill an empty volume.
        #[serde(default)]
        copy_up: bool,
    },
    /// The node's own volume of this number, which stays the same as long as it is the same volume; filled from the image.
    Anonymous(u32),
    /// A file or folder of the host, absolute.
    Bind {
        /// The path.
        path: PathBuf,
        /// Whose its files are inside.
        #[serde(default)]
        owners: BindOwners,
    },
    /// Memory.
    Tmpfs {
        /// The most that it holds.
        #[serde(default)]
        size: Option<ByteSize>,
        /// The folder's mode; 1777 where there is none.
        #[serde(default)]
        mode: Option<u32>,
    },
    /// A file or folder of layers that are not the node's own: the context of a build, another image. What is written goes to the
    /// stand's disk and ends with the node.
    Layers {
        /// Unpacked layers, top first, absolute.
        lowers: Vec<PathBuf>,
        /// What of them: absolute inside of them; links are followed inside of them only.
        path: String,
    },
    /// A config or secret of the stand.
    File {
        /// Which.
        file: FileName,
        /// Its owner inside.
        uid: u32,
        /// Its group inside.
        gid: u32,
        /// Its mode.
        mode: u32,
    },
}

/// A device of the host inside a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceLaunch {
    /// The path on the host; must be a device.
    pub host: PathBuf,
    /// The path inside, below `/dev`.
    pub target: String,
    /// Whether the node may read.
    pub read: bool,
    /// Whether the node may write.
    pub write: bool,
}

/// A node's own limits under the stand's ceiling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NodeLimits {
    /// CPU time per time.
    pub cpus: Option<Cpus>,
    /// Memory.
    pub memory: Option<ByteSize>,
    /// Processes and threads.
    pub pids: Option<u32>,
}

impl NodeLimits {
    /// Tells whether there is no limit at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cpus.is_none() && self.memory.is_none() && self.pids.is_none()
    }
}

/// How health is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthLaunch {
    /// Program and arguments; exit code 0 means healthy.
    pub argv: Vec<String>,
    /// The pause between two checks.
    pub interval: Span,
    /// How long one check may take.
    pub timeout: Span,
    /// How many failures in a row make it unhealthy.
    pub retries: u32,
    /// How long after the start failures do not count.
    pub start_period: Span,
    /// The pause between two checks during the start period.
    pub start_interval: Span,
}

/// A further process inside a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecLaunch {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// The whole environment; the node's own where there is none.
    #[serde(default)]
    pub env: Option<Vec<String>>,
    /// The folder; the node's own where there is none.
    #[serde(default)]
    pub cwd: Option<String>,
    /// Numeric user, group and further groups; the node's own where there is none.
    #[serde(default)]
    pub user: Option<(u32, u32, Vec<u32>)>,
}

/// How a node's log is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLaunch {
    /// How large one file may grow.
    pub max_bytes: ByteSize,
    /// How many files are kept.
    pub keep: u32,
}

impl Default for LogLaunch {
    /// Returns four files of 16 MiB: a flood costs a node at most 64 MiB.
    fn default() -> Self {
        Self {
            max_bytes: ByteSize::mib(16),
            keep: 4,
        }
    }
}
