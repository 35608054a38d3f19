//! Nodes are launched in batches: all are born, all links are made in one message, all go on at once.

use super::linking::PlannedLink;
use super::node::{Launching, Node, Phase, Running};
use super::repeats::Repeats;
use super::seats::Seat;
use super::{Alarm, Answered, Keeper, Outcome, Source, Waiter, unix_ms};
use crate::birth::{Birth, Born, ChildFailure, NodeBirth, Report, go};
use crate::channel::Channel;
use crate::desk;
use crate::error::KeeperError;
use crate::launch::{IDS_PER_STAND, NetworkLaunch, NodeLaunch};
use crate::log::Writer;
use crate::protocol::{EventKind, Failure, Response};
use daas_model::{NodeName, NodeState};
use daas_sys::cgroup::{Ceiling, Group, Mode};
use daas_sys::{Attempt, netns, process};
use rustix::fs::{Gid, Uid};
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

pub(super) type BatchId = u64;

/// Nodes that were asked for together.
#[derive(Debug)]
pub(super) struct Batch {
    waiter: Option<Waiter>,
    pending: BTreeSet<NodeName>,
    failed: BTreeMap<NodeName, Failure>,
}

/// How long a launch may take, first filling of volumes included, before it is given up.
const PATIENCE: Duration = Duration::from_secs(120);

/// A node that was born and waits for its links.
pub(super) struct Newborn {
    pub(super) name: NodeName,
    status: Channel,
    /// Its ends of pipes.
    output: Option<OwnedFd>,
    error_output: Option<OwnedFd>,
    input: Option<OwnedFd>,
    pub(super) links: Vec<PlannedLink>,
    /// The process that waited for it, and whether its link forwards.
    pub(super) seated: Option<(i32, bool)>,
}

/// The pipes of a node: its ends and ours.
#[derive(Default)]
struct Ends {
    theirs: Option<[OwnedFd; 3]>,
    output: Option<OwnedFd>,
    error_output: Option<OwnedFd>,
    input: Option<OwnedFd>,
}

impl Keeper {
    pub(super) fn start(&mut self, launches: Vec<NodeLaunch>, waiter: Waiter) -> Answered {
        if self.stand.is_none() {
            return Err(KeeperError::NoStand);
        }
        self.steps.take("start.begin")?;
        let mut names = Vec::new();
        let mut failed = BTreeMap::new();
        for launch in launches {
            let name = launch.node.clone();
            match self.take_launch(launch) {
                Ok(true) => names.push(name),
                Ok(false) => {}
                Err(error) => {
                    failed.insert(name, error.failure());
                }
            }
        }
        if names.is_empty() {
            return Ok(Outcome::Now(Response::Started { failed }));
        }
        self.launch_batch(names, failed, Some(waiter));
        Ok(Outcome::Later)
    }

    /// Notes what is to be run; returns whether the node must be launched.
    fn take_launch(&mut self, launch: NodeLaunch) -> Result<bool, KeeperError> {
        check(&launch)?;
        let name = launch.node.clone();
        let throw_root = match self.nodes.get_mut(&name) {
            None => {
                self.nodes.insert(name, Node::new(launch));
                return Ok(true);
            }
            Some(node) => {
                if node.pid().is_some() {
                    let same = node.launch.digest == launch.digest && node.stopping.is_none();
                    return if same {
                        Ok(false)
                    } else {
                        Err(KeeperError::OtherDigest(name))
                    };
                }
                let changed =
                    node.launch.digest != launch.digest || node.launch.lowers != launch.lowers;
                node.launch = launch;
                node.restarts = 0;
                node.backoff = 0;
                changed
            }
        };
        if throw_root {
            // Another description is another container: it starts from its image.
            self.desk.forget_root(&name)?;
        }
        Ok(true)
    }

    /// Launches nodes that are known and have no process.
    pub(super) fn launch_batch(
        &mut self,
        names: Vec<NodeName>,
        mut failed: BTreeMap<NodeName, Failure>,
        waiter: Option<Waiter>,
    ) {
        let batch = self.next_batch;
        self.next_batch += 1;
        let mut born: Vec<(Newborn, i32)> = Vec::new();
        let mut waiting: Vec<Newborn> = Vec::new();
        for name in names {
            match self.send_birth(&name) {
                Ok(newborn) => waiting.push(newborn),
                Err(error) => {
                    failed.insert(name.clone(), self.launch_failed(&name, &error));
                }
            }
        }
        // The spawner answers in order; while it made the first, we prepared the next.
        for newborn in waiting {
            let pid = match newborn.seated {
                Some((pid, _)) => Ok(pid),
                None => self.receive_pid(),
            };
            match pid {
                Ok(pid) => born.push((newborn, pid)),
                Err(error) => {
                    failed.insert(
                        newborn.name.clone(),
                        self.launch_failed(&newborn.name, &error),
                    );
                }
            }
        }
        let refused = self.make_links(&born);
        let mut pending = BTreeSet::new();
        for (newborn, pid) in born {
            let name = newborn.name.clone();
            let outcome = match refused.get(&name) {
                None => self.let_go(newborn, pid, batch),
                Some(errno) => Err(KeeperError::Kernel(daas_sys::Fault {
                    attempt: format!("connect node {name}"),
                    source: std::io::Error::from_raw_os_error(*errno),
                })),
            };
            match outcome {
                Ok(()) => {
                    pending.insert(name);
                }
                Err(error) => {
                    let _ = process::kill(pid, 9);
                    self.helpers.insert(pid);
                    failed.insert(name.clone(), self.launch_failed(&name, &error));
                }
            }
        }
        self.batches.insert(
            batch,
            Batch {
                waiter,
                pending,
                failed,
            },
        );
        self.alarm_in(PATIENCE, Alarm::Batch(batch));
        self.finish_batch(batch);
    }

    fn launch_failed(&mut self, name: &NodeName, error: &KeeperError) -> Failure {
        let failure = error.failure();
        if let Some(node) = self.nodes.get_mut(name) {
            node.phase = Phase::Idle(NodeState::Failed {
                reason: failure.message.clone(),
                at_ms: unix_ms(),
            });
            if let Some(waiter) = node.start_again.take() {
                self.reply(waiter, Err(failure.clone()), Vec::new());
            }
        }
        self.write_state_soon();
        self.tell(Some(name), EventKind::NodeFailed, failure.message.clone());
        failure
    }

    /// Prepares everything for a node and tells a seat that it is this one, or the spawner to bear it.
    fn send_birth(&mut self, name: &NodeName) -> Result<Newborn, KeeperError> {
        let launch = self.node(name)?.launch.clone();
        let mut seat = self.take_seat(&launch);
        let sent = self.prepare_birth(name, launch, &mut seat);
        if let Some(seat) = seat {
            // It was not told; its cgroup goes with the node's.
            let _ = process::kill(seat.pid, 9);
            self.helpers.insert(seat.pid);
        }
        sent
    }

    /// Takes `seat` if it comes so far. Whatever can fail comes before the spawner is asked: its answer must be heard.
    fn prepare_birth(
        &mut self,
        name: &NodeName,
        launch: NodeLaunch,
        seat: &mut Option<Seat>,
    ) -> Result<Newborn, KeeperError> {
        let throw_away = self.throw_away();
        let group = self.new_group(name, &launch, seat.as_ref())?;
        self.steps.take("start.merge")?;
        self.desk.merge(name, &launch.lowers, throw_away)?;
        self.steps.take("start.mounts")?;
        let mut fds: Vec<OwnedFd> = Vec::new();
        let mut put = |fd: OwnedFd| {
            fds.push(fd);
            fds.len() - 1
        };
        let (mut status, mut status_at, mut dev) = (None, None, None);
        if seat.is_none() {
            let (ours, theirs) = Channel::pair().attempt(|| "make a socket")?;
            status = Some(ours);
            status_at = Some(put(theirs.into()));
            dev = Some(put(self.desk.make_dev(&launch.devices)?));
        }
        let root = put(self.desk.root_of(name)?);
        let cgroup = put(group.open()?);
        let share_net = match &launch.network {
            NetworkLaunch::ShareWith(other) => {
                let running = self
                    .node(other)?
                    .running()
                    .ok_or_else(|| KeeperError::NotRunning(other.clone()))?;
                Some(put(netns::of_process(running.pid)
                    .attempt(|| format!("open the network of node {other}"))?))
            }
            NetworkLaunch::Interfaces(_) | NetworkLaunch::None | NetworkLaunch::Host => None,
        };
        let host = self.host_mounts(&launch, &mut put)?;
        let mounts = self.plan_mounts(&launch, &mut put)?;
        let ends = if launch.tty {
            Ends::default()
        } else {
            self.make_ends(&launch)?
        };
        let Ends {
            theirs,
            output,
            error_output,
            input,
        } = ends;
        let stdio = theirs.map(|fds| fds.map(&mut put));
        let (mut links, plans) = self.plan_links(&launch)?;
        if let (Some(seat), Some(link)) = (seat.as_ref(), links.first_mut()) {
            link.port.index = seat.link;
            link.name = seat.link_name();
        }
        let birth = NodeBirth {
            resolver: !links.is_empty(),
            launch,
            status: status_at,
            root,
            dev,
            cgroup,
            v1_procs: group.v1_procs(),
            share_net,
            host,
            stdio,
            links: plans,
            mounts,
            show_cgroups: self.root.mode() == Mode::V2,
        };
        self.steps.take("start.birth")?;
        let borrowed: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
        let mut seated = None;
        if let Some(seat) = seat.as_ref() {
            seat.tell(&birth, &borrowed)?;
            seated = Some((seat.pid, seat.forwards));
        } else {
            self.spawner
                .send_parcel(&Birth::Node(Box::new(birth)), &borrowed)
                .attempt(|| "ask the spawner")?;
        }
        let status = status
            .or_else(|| seat.take().map(Seat::into_status))
            .ok_or_else(|| KeeperError::wrong("a birth has no socket"))?;
        Ok(Newborn {
            name: name.clone(),
            status,
            output,
            error_output,
            input,
            links,
            seated,
        })
    }

    /// Makes the cgroup of a node's new life, and sees to its log.
    fn new_group(
        &mut self,
        name: &NodeName,
        launch: &NodeLaunch,
        seat: Option<&Seat>,
    ) -> Result<Group, KeeperError> {
        self.steps.take("start.cgroup")?;
        let limits = launch.limits;
        let ceiling = Ceiling {
            cpu_milli: limits.cpus.map(|c| c.0),
            memory: limits.memory.map(|m| m.0),
            pids: limits.pids,
        };
        if let Some(old) = self.nodes.get_mut(name).and_then(|n| n.group.take()) {
            // Kernels from 6.14 on kill whatever is born into a cgroup that was ever killed: each life gets a new one.
            old.remove(Duration::from_secs(2))?;
        }
        let group = match seat {
            Some(seat) => {
                if ceiling != Ceiling::default() {
                    seat.group.limit(&ceiling)?;
                }
                seat.group.clone()
            }
            None => self.group.create_node(name.as_str(), &ceiling)?,
        };
        self.watch_node_group(name, &group);
        let log = self.log_path(name);
        if let Some(node) = self.nodes.get_mut(name) {
            node.oom_seen = group.oom_kills();
            node.pids_seen = group.pids_refused();
            node.pids_told = Repeats::default();
            node.oom_told = Repeats::default();
            node.group = Some(group.clone());
            if node.log.is_none() {
                node.log = Some(
                    Writer::open(&log, launch.log.max_bytes.0, launch.log.keep)
                        .attempt(|| format!("open {}", log.display()))?,
                );
            }
        }
        Ok(group)
    }

    /// Makes the pipes of a node without a terminal.
    fn make_ends(&self, launch: &NodeLaunch) -> Result<Ends, KeeperError> {
        let (output, out_end) = self.node_pipe(launch)?;
        let (error_output, err_end) = self.node_pipe(launch)?;
        let (in_end, input) = if launch.stdin_open {
            let (end, ours) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
                .attempt(|| "make a pipe")?;
            self.give_pipe(&end, launch)?;
            (end, Some(ours))
        } else {
            (
                OwnedFd::from(
                    desk::open_file(std::path::Path::new("/dev/null"))
                        .attempt(|| "open /dev/null")?,
                ),
                None,
            )
        };
        Ok(Ends {
            theirs: Some([in_end, out_end, err_end]),
            output: Some(output),
            error_output: Some(error_output),
            input,
        })
    }

    /// Receives the spawner's answer to one birth.
    pub(super) fn receive_pid(&mut self) -> Result<i32, KeeperError> {
        match self.spawner.receive().attempt(|| "hear from the spawner")? {
            Some(Born::Pid(pid)) => Ok(pid),
            Some(Born::Failed(step, errno)) => {
                let hint = (errno == 11).then(|| {
                    "the stand is at its limit of processes: raise `limits.pids`".to_owned()
                });
                Err(KeeperError::child(
                    &self.stand_name(),
                    ChildFailure {
                        step,
                        errno,
                        cause: None,
                        hint,
                    },
                ))
            }
            Some(Born::Ready) | None => Err(KeeperError::wrong("the spawner ended")),
        }
    }

    /// Makes a pipe that the node's user may open again (`/dev/stdout`): it belongs to that user.
    fn node_pipe(&self, launch: &NodeLaunch) -> Result<(OwnedFd, OwnedFd), KeeperError> {
        let (ours, theirs) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).attempt(|| "make a pipe")?;
        self.give_pipe(&theirs, launch)?;
        let flags = rustix::fs::fcntl_getfl(&ours).attempt(|| "make a pipe")?;
        rustix::fs::fcntl_setfl(&ours, flags | rustix::fs::OFlags::NONBLOCK)
            .attempt(|| "make a pipe")?;
        Ok((ours, theirs))
    }

    fn give_pipe(&self, pipe: &OwnedFd, launch: &NodeLaunch) -> Result<(), KeeperError> {
        let (uid, gid) = (
            Uid::from_raw(self.seed.uid_base + launch.uid),
            Gid::from_raw(self.seed.uid_base + launch.gid),
        );
        Ok(rustix::fs::fchown(pipe, Some(uid), Some(gid)).attempt(|| "give a pipe to a node")?)
    }

    /// Lets a newborn configure its network and go on.
    fn let_go(&mut self, newborn: Newborn, pid: i32, batch: BatchId) -> Result<(), KeeperError> {
        self.steps.take("start.network")?;
        let Newborn {
            name,
            status,
            output,
            error_output,
            input,
            links,
            seated,
        } = newborn;
        let forwards = seated.is_some_and(|(_, forwards)| forwards);
        let what = || format!("launch node {name}");
        let raw = rustix::process::Pid::from_raw(pid)
            .ok_or_else(|| KeeperError::wrong("the kernel gave a process id that is none"))?;
        let pidfd =
            rustix::process::pidfd_open(raw, rustix::process::PidfdFlags::empty()).attempt(what)?;
        if seated.is_none() {
            // A child that gave up already hears nothing; its report is on the way.
            let _ = status.send_bytes(&[go::NETWORK]);
        }
        status.do_not_wait().attempt(what)?;
        let token = self.eyes.watch(&status, Source::Launch(name.clone()));
        for link in links.iter().filter(|_| !forwards) {
            self.pending_links.insert(link.port.index, name.clone());
        }
        let output = output.map(|fd| self.watch_pipe(fd, Source::Output(name.clone())));
        let error_output =
            error_output.map(|fd| self.watch_pipe(fd, Source::ErrorOutput(name.clone())));
        let has_health = self.node(&name)?.launch.health.is_some();
        if let Some(node) = self.nodes.get_mut(&name) {
            node.life += 1;
            node.paused = false;
            node.stopping = None;
            node.oom_in_this_life = false;
            node.health.health = if has_health {
                daas_model::Health::Starting
            } else {
                daas_model::Health::None
            };
            node.health.failures = 0;
            node.output = output;
            node.error_output = error_output;
            node.input = input;
            node.started_ms = unix_ms();
            node.links = links.iter().map(|l| l.name.clone()).collect();
            let links = links.iter().filter(|_| !forwards);
            let links = links.map(|l| l.port.index).collect();
            node.phase = Phase::Launching(Launching {
                batch,
                pid,
                pidfd,
                status,
                token,
                links,
                networked: seated.is_some(),
                go: false,
                failure: None,
            });
        }
        self.write_state_soon();
        // Who has the network only needs the word.
        self.let_exec(&name);
        Ok(())
    }

    /// A child of a launch has something to say, or has exec'd.
    pub(super) fn launch_reports(&mut self, name: &NodeName) {
        loop {
            let Some(node) = self.nodes.get_mut(name) else {
                return;
            };
            let Phase::Launching(launching) = &mut node.phase else {
                return;
            };
            match launching.status.receive_parcel::<Report>() {
                Ok(Some((report, fds))) => match report {
                    Report::Networked => {
                        launching.networked = true;
                        self.names.serve(&mut self.eyes, name, fds);
                        self.let_exec(name);
                    }
                    Report::Terminal => self.take_node_terminal(name, fds),
                    Report::Failed(failure) => launching.failure = Some(failure),
                    Report::Mounted | Report::Seated | Report::Pid(_) | Report::Copied(_) => {}
                },
                // It has exec'd, or ended: the signal of its end tells which, unless it has given a reason.
                Ok(None) => return self.launched(name),
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return,
                Err(_) => return self.launched(name),
            }
        }
    }

    fn take_node_terminal(&mut self, name: &NodeName, mut fds: Vec<OwnedFd>) {
        let Some(master) = fds.pop() else { return };
        if let Ok(flags) = rustix::fs::fcntl_getfl(&master) {
            let _ = rustix::fs::fcntl_setfl(&master, flags | rustix::fs::OFlags::NONBLOCK);
        }
        let input = master.try_clone().ok();
        let pipe = self.watch_pipe(master, Source::Output(name.clone()));
        if let Some(node) = self.nodes.get_mut(name) {
            node.output = Some(pipe);
            node.input = input;
        }
    }

    /// Lets the child exec once its network is configured and every port forwards: its first packet is not lost.
    pub(super) fn let_exec(&mut self, name: &NodeName) {
        if let Some(Phase::Launching(launching)) = self.nodes.get_mut(name).map(|n| &mut n.phase)
            && launching.networked
            && launching.links.is_empty()
            && launching.failure.is_none()
            && !launching.go
        {
            if let Err(error) = self.steps.take("start.exec") {
                launching.failure = Some(ChildFailure {
                    step: error.to_string(),
                    errno: 0,
                    cause: None,
                    hint: None,
                });
                let _ = process::kill(launching.pid, 9);
                return;
            }
            launching.go = true;
            let _ = launching.status.send_bytes(&[go::EXEC]);
        }
    }

    /// The status socket of a launch is closed: the program runs, or the child gave up.
    fn launched(&mut self, name: &NodeName) {
        let Some(node) = self.nodes.get_mut(name) else {
            return;
        };
        let Phase::Launching(launching) = &node.phase else {
            return;
        };
        if launching.failure.is_some() || !launching.go {
            // The signal of its end brings the rest.
            let token = launching.token;
            self.eyes.leave(&launching.status, token);
            return;
        }
        // The kernel closes the socket a moment before the exec is complete; opening this waits for its end (mm_access), so that nobody who comes
        // in right away meets a process that is half the old one.
        let _ = std::fs::File::open(format!("/proc/{}/environ", launching.pid));
        let Phase::Launching(launching) =
            std::mem::replace(&mut node.phase, Phase::Idle(NodeState::Starting))
        else {
            return;
        };
        self.eyes.leave(&launching.status, launching.token);
        let running = Running {
            pid: launching.pid,
            pidfd: launching.pidfd,
            since: Instant::now(),
            since_ms: unix_ms(),
        };
        let pid = running.pid;
        node.phase = Phase::Running(running);
        node.post_start = (!node.launch.post_start.is_empty()).then_some(0);
        let again = node.start_again.take();
        self.names.add(name, &node.launch);
        let _ = self.steps.take("start.done");
        self.write_state_soon();
        self.tell(
            Some(name),
            EventKind::NodeStarted,
            format!("node {name} runs"),
        );
        if let Some(waiter) = again {
            self.reply(waiter, Ok(Response::Done), Vec::new());
        }
        self.look_regularly();
        self.begin_health(name);
        self.next_post_start(name);
        self.leave_batch(launching.batch, name, None);
        // It may have ended before we heard that it began.
        if let Some(end) = self.reaped_early.remove(&pid) {
            self.node_ended(name, end);
        }
    }

    pub(super) fn leave_batch(
        &mut self,
        batch: BatchId,
        name: &NodeName,
        failure: Option<Failure>,
    ) {
        if let Some(batch) = self.batches.get_mut(&batch) {
            batch.pending.remove(name);
            if let Some(failure) = failure {
                batch.failed.insert(name.clone(), failure);
            }
        }
        self.finish_batch(batch);
    }

    fn finish_batch(&mut self, id: BatchId) {
        if self.batches.get(&id).is_some_and(|b| b.pending.is_empty())
            && let Some(batch) = self.batches.remove(&id)
            && let Some(waiter) = batch.waiter
        {
            self.reply(
                waiter,
                Ok(Response::Started {
                    failed: batch.failed,
                }),
                Vec::new(),
            );
        }
    }

    pub(super) fn batch_too_late(&mut self, id: BatchId) {
        let Some(batch) = self.batches.get(&id) else {
            return;
        };
        for name in batch.pending.clone() {
            if let Some(Phase::Launching(launching)) =
                self.nodes.get_mut(&name).map(|n| &mut n.phase)
            {
                launching.failure = Some(ChildFailure {
                    step: "be ready in time".to_owned(),
                    errno: 0,
                    cause: None,
                    hint: KeeperError::TooLong(name.clone()).failure().hint,
                });
                let _ = process::kill(launching.pid, 9);
            }
        }
    }
}

fn check(launch: &NodeLaunch) -> Result<(), KeeperError> {
    let too_large = |id: &u32| *id >= IDS_PER_STAND;
    if too_large(&launch.uid) || too_large(&launch.gid) || launch.groups.iter().any(too_large) {
        return Err(KeeperError::Wrong {
            what: format!(
                "node {} cannot run as {}:{}",
                launch.node, launch.uid, launch.gid
            ),
            hint: Some("user and group ids inside a stand are 0 to 65535".to_owned()),
        });
    }
    if launch.argv.is_empty() {
        return Err(KeeperError::Wrong {
            what: format!("node {} has nothing to run", launch.node),
            hint: Some("neither the image nor the file names a command".to_owned()),
        });
    }
    if launch.hostname.len() > 64 {
        return Err(KeeperError::wrong(format!(
            "the host name of node {} is longer than 64 bytes",
            launch.node
        )));
    }
    for name in launch.sysctls.keys() {
        if !crate::child_node::is_own_sysctl(name) {
            return Err(KeeperError::Wrong {
                what: format!("node {} cannot set sysctl {name}", launch.node),
                hint: Some("only sysctls of a node's own namespaces can be set: net.*, fs.mqueue.*, kernel.msg*, kernel.sem, kernel.shm*".to_owned()),
            });
        }
    }
    Ok(())
}
