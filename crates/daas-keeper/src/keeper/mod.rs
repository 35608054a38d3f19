//! The keeper itself: one thread, one loop over descriptors and timers.

mod adopt;
mod answer;
mod binds;
mod conns;
mod copy;
mod destroy;
mod events;
mod exec;
mod exits;
mod guarding;
mod health;
mod hosting;
mod launching;
mod linking;
mod logs;
mod mounting;
mod names;
mod node;
mod prepare;
mod pressure;
mod repeats;
mod seats;
mod slowing;
pub mod state;
mod stopping;

use crate::channel::Channel;
use crate::desk::Desk;
use crate::disk::Disk;
use crate::error::KeeperError;
use crate::launch::{KeeperSeed, StandLaunch};
use crate::protocol::Failure;
use crate::steps::Steps;
use conns::{Conn, ConnId};
use copy::Copy;
use daas_model::{NetworkName, NodeName};
use daas_sys::birth::SingleThread;
use daas_sys::cgroup::{self, Group};
use daas_sys::guard::Guard;
use daas_sys::netlink::{LinkWatch, Route};
use daas_sys::signal::Signals;
use exec::{Exec, ExecId};
use launching::{Batch, BatchId};
use node::Node;
use rustix::event::epoll;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

pub(crate) use prepare::{Inherited, live};

/// The names of a keeper's files.
pub(crate) mod files {
    pub(crate) use super::prepare::{DESK, IMAGE, LOGS_FOLDER, SEED, SOCKET};
    pub(crate) use super::state::STATE;
}

/// What a descriptor of the loop belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    Listener,
    Signals,
    Links,
    Watch,
    StandOom,
    Conn(ConnId),
    /// A child's status socket before its exec.
    Launch(NodeName),
    Output(NodeName),
    ErrorOutput(NodeName),
    ExecStatus(ExecId),
    ExecOutput(ExecId),
    CopyStatus(u64),
    Name(names::Socket),
}

/// What happens at a time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Alarm {
    /// A batch of launches must be done.
    Batch(BatchId),
    /// The grace of a stop is over.
    Grace(NodeName, u64),
    /// A node is due to be started again.
    Restart(NodeName, u64),
    /// A health check is due.
    Health(NodeName, u64),
    /// An exec that has a time limit.
    Exec(ExecId),
    /// A node's log may be read again after a flood.
    Log(NodeName),
    /// A forwarded question for a name has not been answered.
    Name(u64),
    /// A TCP connection to the resolver was open long enough.
    NameConn(u64),
    /// Counters may have changed.
    Look,
    /// Counters are looked at regularly.
    LookAgain,
    /// A hung up exec shall be killed.
    Hangup(ExecId),
    /// What changed is written down.
    State,
    /// Seats that nobody took are sent away.
    Seats,
}

#[derive(Debug, PartialEq, Eq)]
struct Due(Instant, Alarm);

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // The heap gives its largest: the earliest.
        other.0.cmp(&self.0).then_with(|| other.1.cmp(&self.1))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// The descriptors that the loop listens to.
struct Eyes {
    epoll: OwnedFd,
    sources: BTreeMap<u64, Source>,
    next_token: u64,
}

impl Eyes {
    fn open() -> std::io::Result<Self> {
        Ok(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            sources: BTreeMap::new(),
            next_token: 1,
        })
    }

    /// Listens to `fd` from now on, until it is closed or [`Eyes::leave`].
    fn watch(&mut self, fd: impl AsFd, source: Source) -> u64 {
        let token = self.next_token;
        self.next_token += 1;
        // An error here is ENOMEM or EPERM for a plain file; nothing would ever be heard, which the alarms find out.
        let _ = epoll::add(
            &self.epoll,
            fd,
            epoll::EventData::new_u64(token),
            epoll::EventFlags::IN,
        );
        self.sources.insert(token, source);
        token
    }

    fn change(&self, fd: impl AsFd, token: u64, flags: epoll::EventFlags) {
        let _ = epoll::modify(&self.epoll, fd, epoll::EventData::new_u64(token), flags);
    }

    /// Listens no more to what is about to be closed.
    fn leave(&mut self, fd: impl AsFd, token: u64) {
        let _ = epoll::delete(&self.epoll, fd);
        self.sources.remove(&token);
    }
}

/// A network of the stand as it was made.
#[derive(Debug, Clone)]
struct Bridge {
    index: i32,
    launch: crate::launch::BridgeLaunch,
}

/// Everything that a keeper holds.
pub(crate) struct Keeper {
    proof: SingleThread,
    seed: KeeperSeed,
    steps: Steps,
    eyes: Eyes,
    alarms: BinaryHeap<Due>,
    listener: UnixListener,
    signals: Signals,
    watch: OwnedFd,
    watched: BTreeMap<i32, Option<NodeName>>,
    root: cgroup::Root,
    group: Group,
    v1_oom: Option<OwnedFd>,
    stand_oom_seen: u64,
    stand_pids_seen: u64,
    /// What was told of the stand's limits.
    told: repeats::OfStand,
    looking: bool,
    disk_was_full: bool,
    pace: slowing::Pace,
    /// When the kernel last killed for memory without a node being known for it.
    stand_oom_at: Option<Instant>,
    desk: Desk,
    disk: Option<Disk>,
    /// The image of the disk that is destroyed.
    last_image: Option<std::fs::File>,
    spawner_pid: i32,
    spawner: Channel,
    route: Route,
    links: LinkWatch,
    /// Keeps nodes from using each other's addresses; none where the kernel has no rules for bridges.
    guard: Option<Guard>,
    home_net: OwnedFd,
    stand: Option<StandLaunch>,
    bridges: BTreeMap<NetworkName, Bridge>,
    next_bridge: i32,
    /// Whether the first bridge is there before it is known which network it is.
    has_first_bridge: bool,
    /// Processes that wait to be told which node they are.
    seats: VecDeque<seats::Seat>,
    /// Those of them that were sent away and are not reaped yet.
    leaving: BTreeMap<i32, Group>,
    next_link: i32,
    nodes: BTreeMap<NodeName, Node>,
    batches: BTreeMap<BatchId, Batch>,
    next_batch: BatchId,
    /// Links that do not forward yet, and whose they are.
    pending_links: BTreeMap<i32, NodeName>,
    execs: BTreeMap<ExecId, Exec>,
    copies: BTreeMap<u64, Copy>,
    next_job: u64,
    conns: BTreeMap<ConnId, Conn>,
    names: names::Names,
    events: u64,
    /// Written down at the end of this turn.
    state_dirty: bool,
    /// Whether an alarm to write the state is set.
    state_due: bool,
    ending: bool,
    /// Children that were reaped before anybody asked for them.
    reaped_early: BTreeMap<i32, daas_sys::process::End>,
    /// Children whose end means nothing: helpers.
    helpers: BTreeSet<i32>,
}

/// Somebody who waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Waiter {
    conn: ConnId,
    id: u64,
}

impl Keeper {
    /// Turns until the stand is destroyed.
    fn live(mut self) {
        while !self.ending {
            if self.state_dirty {
                self.write_state();
            }
            self.turn();
        }
        self.flush_all();
        drop(self.last_image.take());
    }

    fn turn(&mut self) {
        let mut events = [const { std::mem::MaybeUninit::<epoll::Event>::uninit() }; 64];
        let timeout = self.alarms.peek().map(|due| {
            let wait = due.0.saturating_duration_since(Instant::now());
            rustix::time::Timespec {
                tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(wait.subsec_nanos()),
            }
        });
        let tokens: Vec<(u64, epoll::EventFlags)> =
            match epoll::wait(&self.eyes.epoll, &mut events, timeout.as_ref()) {
                Ok((ready, _)) => ready
                    .iter()
                    .map(|event| (event.data.u64(), event.flags))
                    .collect(),
                // Interrupted: look at the alarms and come again.
                Err(_) => Vec::new(),
            };
        for (token, flags) in tokens {
            // An earlier event of this turn may have closed it.
            let Some(source) = self.eyes.sources.get(&token).cloned() else {
                continue;
            };
            self.handle(&source, flags);
            if self.ending {
                return;
            }
        }
        let now = Instant::now();
        while self.alarms.peek().is_some_and(|due| due.0 <= now) {
            if let Some(Due(_, alarm)) = self.alarms.pop() {
                self.ring(alarm);
            }
        }
    }

    fn handle(&mut self, source: &Source, flags: epoll::EventFlags) {
        match source {
            Source::Listener => self.accept(),
            Source::Signals => self.children_ended(),
            Source::Links => self.links_changed(),
            Source::Watch => self.cgroup_events(),
            Source::StandOom => self.stand_out_of_memory(),
            Source::Conn(conn) => self.conn_ready(*conn, flags),
            Source::Launch(node) => self.launch_reports(&node.clone()),
            Source::Output(node) => self.read_log(&node.clone(), crate::log::Stream::Output),
            Source::ErrorOutput(node) => self.read_log(&node.clone(), crate::log::Stream::Error),
            Source::ExecStatus(exec) => self.exec_reports(*exec),
            Source::ExecOutput(exec) => self.read_exec_output(*exec),
            Source::CopyStatus(copy) => self.copy_reports(*copy),
            Source::Name(socket) => self.name_ready(socket),
        }
    }

    fn ring(&mut self, alarm: Alarm) {
        match alarm {
            Alarm::Batch(batch) => self.batch_too_late(batch),
            Alarm::Grace(node, life) => self.grace_over(&node, life),
            Alarm::Restart(node, life) => self.restart_due(&node, life),
            Alarm::Health(node, life) => self.health_due(&node, life),
            Alarm::Exec(exec) => self.exec_too_late(exec),
            Alarm::Hangup(exec) => self.exec_kill(exec, 9),
            Alarm::Log(node) => self.log_again(&node),
            Alarm::Name(question) => self.name_timeout(question),
            Alarm::Look => self.look_at_counters(),
            Alarm::LookAgain => self.look_again(),
            Alarm::NameConn(conn) => self.name_conn_over(conn),
            Alarm::State => self.state_dirty = true,
            Alarm::Seats => self.send_seats_away(),
        }
    }

    fn alarm_in(&mut self, wait: Duration, alarm: Alarm) {
        self.alarms.push(Due(Instant::now() + wait, alarm));
    }

    fn stand_name(&self) -> String {
        self.stand
            .as_ref()
            .map_or_else(|| self.seed.keeper_id.to_string(), |s| s.name.to_string())
    }

    fn throw_away(&self) -> bool {
        self.stand.as_ref().is_none_or(|s| s.throw_away)
    }

    fn node(&self, name: &NodeName) -> Result<&Node, KeeperError> {
        self.nodes
            .get(name)
            .ok_or_else(|| KeeperError::NoNode(name.clone()))
    }
}

/// The outcome of a request: an answer now, later, or a failure.
enum Outcome {
    Now(crate::protocol::Response),
    NowWith(crate::protocol::Response, Vec<OwnedFd>),
    Later,
}

type Answered = Result<Outcome, KeeperError>;

fn unix_ms() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

fn unix_ns() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX))
}

/// A failure for everybody who asks a keeper that could not prepare.
pub(crate) fn refusal(error: &KeeperError) -> Failure {
    error.failure()
}
