//! What the keeper tells its spawner: one process to make, and the descriptors that it gets.

use crate::launch::{NodeLaunch, Rights, SeccompLaunch};
use daas_model::HostNamespaces;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

/// One process to make. Descriptors are named by their place among those that come with the frame.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Birth {
    /// The first process of a node.
    Node(Box<NodeBirth>),
    /// A process that will be the first of a node, when it is told of which.
    Seat(Box<SeatBirth>),
    /// A further process of a node.
    Exec(Box<ExecBirth>),
    /// A helper that reads or writes files of a node.
    Copy(Box<CopyBirth>),
}

/// What the spawner answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Born {
    /// It sits in its cgroups and namespaces and takes requests.
    Ready,
    /// The process id on the host.
    Pid(i32),
    /// Why there is none: what was attempted, errno.
    Failed(String, i32),
}

/// The place of a descriptor among those of its frame.
pub(crate) type FdAt = usize;

/// A process that waits, in namespaces of its own, to be told which node it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SeatBirth {
    /// The child's end of the socket that it reports through and is told what to be.
    pub(crate) status: FdAt,
    /// The detached `/dev`.
    pub(crate) dev: FdAt,
    /// The v2 cgroup folder.
    pub(crate) cgroup: FdAt,
    /// Whether the v2 tree is shown at `/sys/fs/cgroup`.
    pub(crate) show_cgroups: bool,
}

/// The first process of a node: what the spawner is told to bear, or a seat what it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct NodeBirth {
    /// The launch as the engine gave it.
    pub(crate) launch: NodeLaunch,
    /// The child's end of the socket that it reports through; a seat has it.
    pub(crate) status: Option<FdAt>,
    /// A detached bind of the node's merged root.
    pub(crate) root: FdAt,
    /// The detached `/dev`; a seat has it.
    pub(crate) dev: Option<FdAt>,
    /// The v2 cgroup folder.
    pub(crate) cgroup: FdAt,
    /// Files of v1 cgroups to join.
    pub(crate) v1_procs: Vec<PathBuf>,
    /// The network namespace of another node to share.
    pub(crate) share_net: Option<FdAt>,
    /// Binds of what shows the host's namespaces that it runs in.
    pub(crate) host: HostMounts,
    /// Standard input, output, error; without, a terminal is made.
    pub(crate) stdio: Option<[FdAt; 3]>,
    /// Interfaces to set up.
    pub(crate) links: Vec<LinkPlan>,
    /// Whether the resolver's sockets are wanted.
    pub(crate) resolver: bool,
    /// Mounts in order.
    pub(crate) mounts: Vec<MountPlan>,
    /// Whether the v2 tree is shown at `/sys/fs/cgroup`.
    pub(crate) show_cgroups: bool,
}

/// Detached binds of system file systems of the host, by where they go.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct HostMounts {
    pub(crate) proc: Option<FdAt>,
    pub(crate) sys: Option<FdAt>,
    pub(crate) cgroup: Option<FdAt>,
    pub(crate) shm: Option<FdAt>,
    pub(crate) mqueue: Option<FdAt>,
}

/// One interface as seen from inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LinkPlan {
    /// Its index inside.
    pub(crate) index: i32,
    /// Its link address.
    pub(crate) mac: [u8; 6],
    /// Its addresses and their prefixes.
    pub(crate) addresses: Vec<(IpAddr, u8)>,
    /// Default routes.
    pub(crate) gateways: Vec<IpAddr>,
}

/// One mount as the child makes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MountPlan {
    /// Where: absolute inside.
    pub(crate) target: String,
    /// What.
    pub(crate) what: MountWhat,
    /// Whether the node may not write.
    pub(crate) read_only: bool,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum MountWhat {
    /// A detached bind.
    Bind {
        /// It.
        fd: FdAt,
        /// Whether it is a folder.
        folder: bool,
        /// Whether the image's files at the target fill it first.
        copy_up: bool,
    },
    /// A new file system in memory.
    Tmpfs {
        /// Bytes.
        size: Option<u64>,
        /// Mode of its root.
        mode: u32,
    },
}

/// Who a further process is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Person {
    /// User, group, further groups, inside.
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    /// What it may do.
    pub(crate) rights: Rights,
}

/// A further process of a node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ExecBirth {
    /// The node, for errors.
    pub(crate) node: String,
    /// Program and arguments.
    pub(crate) argv: Vec<String>,
    /// The whole environment.
    pub(crate) env: Vec<String>,
    /// The folder.
    pub(crate) cwd: String,
    /// Who.
    pub(crate) person: Person,
    /// Resource limits.
    pub(crate) rlimits: BTreeMap<String, (u64, u64)>,
    /// The kernel's preference to kill it.
    pub(crate) oom_score_adj: Option<i32>,
    /// The child's end of the socket that it reports through.
    pub(crate) status: FdAt,
    /// The node's first process.
    pub(crate) pidfd: FdAt,
    /// Which of its namespaces are the host's.
    pub(crate) host: HostNamespaces,
    pub(crate) host_net: bool,
    /// The v2 cgroup folder.
    pub(crate) cgroup: FdAt,
    /// Files of v1 cgroups to join.
    pub(crate) v1_procs: Vec<PathBuf>,
    /// Standard input, output, error; without, a terminal is made.
    pub(crate) stdio: Option<[FdAt; 3]>,
    /// The size of the terminal: lines, columns.
    pub(crate) size: Option<(u16, u16)>,
}

/// A helper that reads or writes files of a node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CopyBirth {
    /// Which way.
    pub(crate) way: CopyWay,
    /// The path inside.
    pub(crate) path: String,
    /// The child's end of the socket that it reports through.
    pub(crate) status: FdAt,
    /// Where the tar is written to or read from.
    pub(crate) stream: FdAt,
    /// The node's first process, when it runs.
    pub(crate) pidfd: Option<FdAt>,
    /// A detached bind of the node's merged root and its mounts, when it does not run.
    pub(crate) root: Option<(FdAt, Vec<MountPlan>)>,
}

/// Which way a copy goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum CopyWay {
    /// Out of the node.
    Out {
        /// Whether a symlink at the end is followed.
        follow: bool,
    },
    /// Into the node.
    In {
        /// Whose the files become; those that the tar says where there is none.
        owner: Option<(u32, u32)>,
    },
    /// Both: SFTP on the stream, as this person, who begins in `path`.
    Files(Person),
}

/// What a child tells through its status socket. The end of the stream without a failure means: it has exec'd.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Report {
    /// The file systems are ready; the network may come.
    Mounted,
    /// A seat is ready to be told what it is.
    Seated,
    /// The network is configured; two descriptors (UDP, TCP) come along when the resolver was wanted.
    Networked,
    /// A terminal was made; its master comes along.
    Terminal,
    /// The process id on the host of the process that will exec.
    Pid(i32),
    /// A copy is done: bytes of tar.
    Copied(u64),
    /// It cannot go on.
    Failed(ChildFailure),
}

/// Why a child gave up.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ChildFailure {
    /// What was attempted.
    pub(crate) step: String,
    /// The kernel's answer, 0 where it is ours.
    pub(crate) errno: i32,
    /// Why it is not possible, where that is not the kernel's answer.
    pub(crate) cause: Option<String>,
    /// What to do about it.
    pub(crate) hint: Option<String>,
}

/// What the keeper tells a node's child through the same socket, byte by byte.
pub(crate) mod go {
    /// The links are there: configure them.
    pub(crate) const NETWORK: u8 = b'n';
    /// The links forward: exec.
    pub(crate) const EXEC: u8 = b'x';
}

impl SeccompLaunch {
    pub(crate) fn filters(self) -> bool {
        match self {
            Self::Default => true,
            Self::Unconfined => false,
        }
    }
}
