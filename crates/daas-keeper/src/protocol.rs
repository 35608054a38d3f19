//! The words between a keeper and whoever asks it, version by version.
//!
//! A frame is a `u32` in little endian, the length of the JSON text that follows. File descriptors travel with the first byte
//! of the frame that speaks of them (`SCM_RIGHTS`). Whoever connects sends [`Asked`] frames and gets [`Told`] frames; answers bear
//! the number of their question and may come in any order, events come only after [`Request::Subscribe`].

use crate::launch::{BridgeLaunch, DnsTable, ExecLaunch, NodeLaunch, StandLaunch};
use daas_model::{Limits, NodeName, Span, StandId, StandName, StandObserved, VolumeName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The version of the protocol and of `state.json`.
pub const VERSION: u32 = 1;

/// The largest frame: a stand of hundreds of nodes with its files fits, garbage in the length field is found out.
pub const MAX_FRAME: usize = 64 << 20;

/// The most descriptors that may travel with one frame.
pub const MAX_FDS: usize = 8;

/// The code of a failure whose reason is that a program is not there.
pub const NO_PROGRAM: &str = "keeper-no-program";
/// The code of a failure: the node does not run.
pub const NOT_RUNNING: &str = "keeper-not-running";
/// The code of a failure: the node is frozen.
pub const FROZEN: &str = "keeper-frozen";

/// The code of a failure whose reason is that a path of a node is not there.
pub const NO_PATH: &str = "keeper-no-path";

/// A question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// Chosen by the asker; the answer bears it.
    pub id: u64,
    /// What is asked.
    pub request: Request,
}

/// What a keeper says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Told {
    /// The answer to question `id`.
    Answer {
        /// The number of the question.
        id: u64,
        /// The answer, or why there is none.
        result: Result<Response, Failure>,
    },
    /// Something happened.
    Event(Event),
}

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// Who are you? Answered with [`Response::Hello`] in every version.
    Hello {
        /// The asker's version.
        version: u32,
    },
    /// Become this stand. Asked again with the same launch: nothing happens.
    Adopt(StandLaunch),
    /// Change the stand while it runs; what is not given stays.
    Reconfigure {
        /// The new digest of the stand-wide description.
        #[serde(default)]
        digest: Option<String>,
        /// New ceiling.
        #[serde(default)]
        limits: Option<Limits>,
        /// New answers of the resolver.
        #[serde(default)]
        dns: Option<DnsTable>,
        /// Further networks; one that exists already must be equal.
        #[serde(default)]
        networks: Vec<BridgeLaunch>,
        /// Further volumes.
        #[serde(default)]
        volumes: Vec<VolumeName>,
        /// Changed or further contents of configs and secrets, for nodes that are started from now on.
        #[serde(default)]
        files: BTreeMap<daas_model::FileName, Vec<u8>>,
    },
    /// Launch nodes at once. Answered when every one of them has exec'd and its ports forward, or failed: one that fails takes only itself down.
    /// A node that runs already from the same digest is left alone; from another digest: a conflict.
    Start {
        /// Which.
        nodes: Vec<NodeLaunch>,
    },
    /// Pre-stop commands, signal, grace, kill. Answered when the node has ended. A node that does not run: nothing happens.
    Stop {
        /// Which.
        node: NodeName,
        /// Instead of the node's own grace.
        #[serde(default)]
        grace: Option<Span>,
    },
    /// Stop and start from the same launch.
    Restart {
        /// Which.
        node: NodeName,
        /// Instead of the node's own grace.
        #[serde(default)]
        grace: Option<Span>,
    },
    /// Send a signal to process 1 of a node.
    Kill {
        /// Which.
        node: NodeName,
        /// The number of the signal.
        signal: i32,
    },
    /// Forget a node: killed if it runs, its files deleted.
    Remove {
        /// Which.
        node: NodeName,
        /// Whether its anonymous volumes stay for the node that takes its place.
        #[serde(default)]
        keep_volumes: bool,
    },
    /// Freeze a node, or all.
    Pause {
        /// Which; all where there is none.
        node: Option<NodeName>,
    },
    /// Thaw a node, or all.
    Resume {
        /// Which; all where there is none.
        node: Option<NodeName>,
    },
    /// Run a further process in a node.
    ///
    /// With `tty`: the answer carries one descriptor, the terminal's master. Without: the question carries three, its standard input, output and error.
    /// Its end comes as [`EventKind::ExecEnded`] to the connection that asked, subscribed or not. When that connection ends, the process is hung up (SIGHUP, then SIGKILL after 10 s).
    Exec {
        /// Where.
        node: NodeName,
        /// What.
        exec: ExecLaunch,
        /// A terminal of this size.
        #[serde(default)]
        tty: Option<TtySize>,
    },
    /// Change the size of an exec's terminal, or of a node's own (`exec: None`).
    Resize {
        /// Where.
        node: NodeName,
        /// Which exec.
        exec: Option<u64>,
        /// The new size.
        size: TtySize,
    },
    /// Send a signal to an exec and what it started in its process group.
    KillExec {
        /// Which.
        exec: u64,
        /// The number of the signal.
        signal: i32,
    },
    /// Attach to a node's standard input and, when it has one, terminal: the answer carries one descriptor, the write end (or the terminal's master, on which reading steals the log's bytes: do not).
    Attach {
        /// Which.
        node: NodeName,
    },
    /// Stream a tar of `path` inside a node to the one descriptor that comes with the question. Answered at the end.
    CopyOut {
        /// Where.
        node: NodeName,
        /// What, absolute inside the node; a last symlink is followed when `follow`.
        path: String,
        /// Whether a symlink at the end of `path` is followed.
        #[serde(default)]
        follow: bool,
    },
    /// Speak SFTP (version 3) on the one descriptor that comes with the question, a stream socket, as the node's user in the node's files.
    /// Answered when that stream has ended.
    Files {
        /// Where.
        node: NodeName,
    },
    /// Hand out the network namespace of a node that runs: the answer carries one descriptor. Refused for a node in the host's network.
    Network {
        /// Which.
        node: NodeName,
    },
    /// Unpack the tar from the one descriptor that comes with the question into the folder `path` inside a node. Answered at the end.
    CopyIn {
        /// Where.
        node: NodeName,
        /// Where to, absolute inside the node; must be a folder.
        path: String,
        /// Whether owners come from the tar; else everything belongs to the node's user.
        #[serde(default)]
        keep_owner: bool,
    },
    /// Hand out what a node that has ended wrote to its root: the answer carries one descriptor, a detached bind of the overlay's upper folder in
    /// which owners are those inside. Whiteouts and opaque folders are in the form of overlayfs. Valid until the node is started again or removed.
    TakeRoot {
        /// Which.
        node: NodeName,
    },
    /// How is everything?
    Status,
    /// Events from now on go to this connection too.
    Subscribe,
    /// End everything and leave nothing; the keeper answers and exits.
    Destroy {
        /// Whether `logs/` stays.
        keep_logs: bool,
        /// Whether `disk.img` stays (its volumes are needed again).
        #[serde(default)]
        keep_disk: bool,
    },
}

/// The size of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TtySize {
    /// Lines.
    pub rows: u16,
    /// Characters per line.
    pub columns: u16,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Response {
    /// To [`Request::Hello`].
    Hello(Hello),
    /// It is done.
    Done,
    /// To [`Request::Start`]: what failed, node by node; the others run.
    Started {
        /// Why each node that does not run does not.
        failed: BTreeMap<NodeName, Failure>,
    },
    /// To [`Request::Exec`].
    Exec {
        /// The number of the exec, for [`Request::Resize`], [`Request::KillExec`] and [`EventKind::ExecEnded`].
        exec: u64,
        /// Its process id on the host.
        pid: i32,
    },
    /// To [`Request::Status`].
    Status(Status),
    /// To copies: how many bytes of tar went by.
    Copied {
        /// Bytes of tar.
        bytes: u64,
    },
}

/// Who a keeper is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Its version; another than ours means: only [`Request::Destroy`] is safe.
    pub version: u32,
    /// Its id.
    pub keeper_id: StandId,
    /// Its process on the host; `/proc/<pid>/ns/net` is the stand's router.
    pub pid: i32,
    /// The stand that it holds, once adopted.
    pub stand: Option<(StandId, StandName)>,
    /// The first host uid of its range.
    pub uid_base: u32,
    /// Where limits and usage of the stand are read.
    pub cgroups: CgroupPaths,
}

/// The folders of one cgroup, for reading usage.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CgroupPaths {
    /// The folder in the v2 tree: all usage on v2, freezing and processes on a hybrid machine.
    pub unified: Option<PathBuf>,
    /// Folders of v1 controllers (`memory`, `cpu`, `cpuacct`, `pids`, `blkio`), where they are used.
    pub v1: BTreeMap<String, PathBuf>,
}

/// How everything is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The states.
    pub observed: StandObserved,
    /// More about each node.
    pub nodes: BTreeMap<NodeName, NodeDetails>,
}

/// More about a node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NodeDetails {
    /// Its cgroups.
    pub cgroups: CgroupPaths,
    /// The newest file of its log; older ones bear `.1`, `.2`, ... behind it.
    pub log: PathBuf,
    /// What the last health check wrote (at most 4 KiB) and its exit code.
    #[serde(default)]
    pub health_output: Option<(i32, String)>,
    /// Its links in the router namespace, in order of its interfaces: their counters are its traffic, mirrored.
    #[serde(default)]
    pub links: Vec<String>,
    /// When it was last launched, milliseconds of the Unix clock.
    #[serde(default)]
    pub started_ms: u64,
}

/// Why something did not work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// A stable code, `keeper-what`.
    pub code: String,
    /// What was attempted and why it failed: `cannot mount /proc in node web: operation not permitted`.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Counted from 1 in the life of the keeper.
    pub number: u64,
    /// When, milliseconds of the Unix clock.
    pub at_ms: u64,
    /// The node, where it is about one.
    pub node: Option<NodeName>,
    /// What.
    #[serde(flatten)]
    pub kind: EventKind,
    /// The same in plain words.
    pub text: String,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "what")]
pub enum EventKind {
    /// A node runs.
    NodeStarted,
    /// A node could not be launched.
    NodeFailed,
    /// A node ended.
    NodeExited {
        /// The exit code; 128 + signal when a signal ended it.
        code: i32,
        /// Whether the kernel killed it for memory.
        oom: bool,
        /// Whether a person or the platform asked for it.
        asked: bool,
    },
    /// A node will be started again.
    Backoff {
        /// In how many milliseconds.
        wait_ms: u64,
        /// How many times it was started again before.
        restarts: u32,
    },
    /// A node's health is another.
    HealthChanged {
        /// What it is now.
        health: daas_model::Health,
    },
    /// The kernel killed a process for memory.
    OomKilled,
    /// A process could not be made because of the limit of processes.
    PidsLimit,
    /// The disk of the stand is full.
    DiskFull,
    /// The stand is slowed, because it goes on against its full disk.
    Slowed,
    /// A node is frozen.
    Paused,
    /// A node is thawed.
    Resumed,
    /// All commands that follow the start of a node have ended (`post_start`).
    HooksDone,
    /// A command of the node's life failed (`post_start`, `pre_stop`).
    HookFailed {
        /// Its exit code.
        code: i32,
    },
    /// An exec ended.
    ExecEnded {
        /// Which.
        exec: u64,
        /// The exit code; 128 + signal when a signal ended it.
        code: i32,
        /// The signal, when one ended it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signal: Option<i32>,
    },
    /// A part of a log was thrown away because the disk could not take it.
    LogLost {
        /// Bytes of payload.
        bytes: u64,
    },
}
