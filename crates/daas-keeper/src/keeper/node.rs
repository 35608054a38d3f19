//! A node as its keeper knows it.

use super::Waiter;
use super::exec::ExecId;
use super::launching::BatchId;
use super::logs::Allowance;
use super::repeats::Repeats;
use crate::channel::Channel;
use crate::launch::NodeLaunch;
use crate::log::Writer;
use daas_model::{Health, NodeState};
use daas_sys::cgroup::Group;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::Instant;

/// A node.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) launch: NodeLaunch,
    pub(super) phase: Phase,
    /// Counts launches, so that alarms of an earlier life mean nothing.
    pub(super) life: u64,
    pub(super) paused: bool,
    pub(super) stopping: Option<Stopping>,
    /// Started again by its policy, since a person last started it.
    pub(super) restarts: u32,
    /// The wait before the next start by policy, as a power of two of 100 ms.
    pub(super) backoff: u32,
    pub(super) health: HealthState,
    pub(super) group: Option<Group>,
    pub(super) log: Option<Writer>,
    pub(super) log_lost: u64,
    pub(super) log_allowance: Allowance,
    pub(super) output: Option<Pipe>,
    pub(super) error_output: Option<Pipe>,
    /// The write end of its standard input, or its terminal's master.
    pub(super) input: Option<OwnedFd>,
    pub(super) links: Vec<String>,
    /// What the guard of the bridges admits of it.
    pub(super) ports: Vec<daas_sys::guard::Port>,
    pub(super) oom_seen: u64,
    pub(super) pids_seen: u64,
    /// What was told of its limits in this life.
    pub(super) pids_told: Repeats,
    pub(super) oom_told: Repeats,
    pub(super) oom_in_this_life: bool,
    pub(super) started_ms: u64,
    /// Post-start commands that are still to run.
    pub(super) post_start: Option<usize>,
    /// Started again at once when it has ended, because a person asked.
    pub(super) start_again: Option<Waiter>,
}

/// Where a node is in its life.
#[derive(Debug)]
pub(super) enum Phase {
    /// No process.
    Idle(NodeState),
    /// A process that is not its program yet.
    Launching(Launching),
    /// Its program runs.
    Running(Running),
}

#[derive(Debug)]
pub(super) struct Launching {
    pub(super) batch: BatchId,
    pub(super) pid: i32,
    pub(super) pidfd: OwnedFd,
    pub(super) status: Channel,
    pub(super) token: u64,
    /// Links that do not forward yet.
    pub(super) links: BTreeSet<i32>,
    pub(super) networked: bool,
    pub(super) go: bool,
    pub(super) failure: Option<crate::birth::ChildFailure>,
}

#[derive(Debug)]
pub(super) struct Running {
    pub(super) pid: i32,
    pub(super) pidfd: OwnedFd,
    pub(super) since: Instant,
    pub(super) since_ms: u64,
}

impl Running {
    /// Returns a process by which the node's namespaces can be entered.
    ///
    /// The own init is closed to the stand's user namespace, which is the spawner's (`child_init`); what it bears is in the same
    /// namespaces and open.
    ///
    /// # Errors
    /// When the init has no child any more, or proc(5) says so.
    pub(super) fn door(&self, has_init: bool) -> io::Result<OwnedFd> {
        if !has_init {
            return self.pidfd.try_clone();
        }
        let path = format!("/proc/{0}/task/{0}/children", self.pid);
        for child in std::fs::read_to_string(path)?.split_whitespace() {
            let Some(pid) = child.parse().ok().and_then(Pid::from_raw) else {
                continue;
            };
            let Ok(door) = pidfd_open(pid, PidfdFlags::empty()) else {
                continue;
            };
            // Looked at after it was opened: a number that went to another process has another parent.
            let status = std::fs::read_to_string(format!("/proc/{child}/status"))?;
            let mut fields = status.lines().filter_map(|line| line.split_once(":\t"));
            if fields.any(|(name, value)| name == "PPid" && value == self.pid.to_string()) {
                return Ok(door);
            }
        }
        Err(io::ErrorKind::NotFound.into())
    }
}

/// A pipe or terminal that a node writes to.
#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) fd: OwnedFd,
    pub(super) token: u64,
    /// Not read until the flood's allowance is there again.
    pub(super) waiting: bool,
}

/// A node that was asked to end.
#[derive(Debug)]
pub(super) struct Stopping {
    pub(super) waiters: Vec<Waiter>,
    pub(super) grace: std::time::Duration,
    /// The pre-stop command that runs.
    pub(super) hook: Option<(usize, Option<ExecId>)>,
    pub(super) killed: bool,
}

/// What is known about a node's health.
#[derive(Debug)]
pub(super) struct HealthState {
    pub(super) health: Health,
    pub(super) failures: u32,
    pub(super) output: Option<(i32, String)>,
    pub(super) exec: Option<ExecId>,
}

impl Node {
    pub(super) fn new(launch: NodeLaunch) -> Self {
        let health = if launch.health.is_some() {
            Health::Starting
        } else {
            Health::None
        };
        Self {
            launch,
            phase: Phase::Idle(NodeState::Starting),
            life: 0,
            paused: false,
            stopping: None,
            restarts: 0,
            backoff: 0,
            health: HealthState {
                health,
                failures: 0,
                output: None,
                exec: None,
            },
            group: None,
            log: None,
            log_lost: 0,
            log_allowance: Allowance::new(Instant::now()),
            output: None,
            error_output: None,
            input: None,
            links: Vec::new(),
            ports: Vec::new(),
            oom_seen: 0,
            pids_seen: 0,
            pids_told: Repeats::default(),
            oom_told: Repeats::default(),
            oom_in_this_life: false,
            started_ms: 0,
            post_start: None,
            start_again: None,
        }
    }

    pub(super) fn pid(&self) -> Option<i32> {
        match &self.phase {
            Phase::Idle(_) => None,
            Phase::Launching(l) => Some(l.pid),
            Phase::Running(r) => Some(r.pid),
        }
    }

    pub(super) fn running(&self) -> Option<&Running> {
        match &self.phase {
            Phase::Running(r) => Some(r),
            Phase::Idle(_) | Phase::Launching(_) => None,
        }
    }

    pub(super) fn state(&self) -> NodeState {
        match &self.phase {
            Phase::Idle(state) => state.clone(),
            Phase::Launching(_) => NodeState::Starting,
            Phase::Running(_) if self.stopping.is_some() => NodeState::Stopping,
            Phase::Running(r) if self.paused => NodeState::Paused { pid: r.pid },
            Phase::Running(_) if self.post_start.is_some() => NodeState::Starting,
            Phase::Running(r) => NodeState::Running {
                pid: r.pid,
                since_ms: r.since_ms,
            },
        }
    }

    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        match &self.launch.network {
            crate::launch::NetworkLaunch::Interfaces(interfaces) => interfaces
                .iter()
                .flat_map(|i| {
                    i.ipv4
                        .map(IpAddr::V4)
                        .into_iter()
                        .chain(i.ipv6.map(IpAddr::V6))
                })
                .collect(),
            crate::launch::NetworkLaunch::None
            | crate::launch::NetworkLaunch::Host
            | crate::launch::NetworkLaunch::ShareWith(_) => Vec::new(),
        }
    }
}
