//! Further processes in nodes: for people, health checks, and commands of a node's life.

use super::{Alarm, Answered, Keeper, Outcome, Source, Waiter};
use crate::birth::{Birth, ChildFailure, ExecBirth, Person, Report};
use crate::channel::Channel;
use crate::error::KeeperError;
use crate::launch::{ExecLaunch, IDS_PER_STAND, NetworkLaunch};
use crate::protocol::{EventKind, Response, TtySize};
use daas_model::NodeName;
use daas_sys::Attempt;
use daas_sys::process::{self, End};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

pub(super) type ExecId = u64;

/// A further process.
#[derive(Debug)]
pub(super) struct Exec {
    node: NodeName,
    purpose: Purpose,
    /// The process, once it is born.
    pid: Option<i32>,
    /// Until it has exec'd.
    status: Option<(Channel, u64)>,
    failure: Option<ChildFailure>,
    /// What it writes, for checks and commands.
    output: Option<(OwnedFd, u64)>,
    said: Vec<u8>,
    /// The terminal's master, until it is handed over, and a copy for changes of size.
    terminal: Option<OwnedFd>,
    ended: Option<End>,
    /// Whether it was killed because it took too long.
    late: bool,
}

/// Whom an exec is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Somebody who is connected; the number of the question until it is answered.
    Person { conn: u64, question: Option<u64> },
    /// A health check of this life of the node.
    Health { life: u64 },
    /// A post-start command of this life.
    PostStart { life: u64 },
    /// A pre-stop command of this life.
    PreStop { life: u64 },
}

impl Exec {
    /// Tells whether somebody is there who looks after the node.
    pub(super) fn is_a_persons(&self) -> bool {
        matches!(self.purpose, Purpose::Person { .. })
    }
}

/// How much of what a check or command writes is kept.
const KEPT: usize = 4 << 10;

/// How long somebody's exec may live after its connection is gone and it was hung up.
const HANGUP: Duration = Duration::from_secs(10);

impl Keeper {
    pub(super) fn exec(
        &mut self,
        name: &NodeName,
        exec: &ExecLaunch,
        tty: Option<TtySize>,
        fds: Vec<OwnedFd>,
        waiter: Waiter,
    ) -> Answered {
        let stdio = if tty.is_some() {
            None
        } else {
            let three: Result<[OwnedFd; 3], _> = fds.try_into();
            Some(three.map_err(|_| {
                KeeperError::wrong("an exec without a terminal needs three descriptors")
            })?)
        };
        let purpose = Purpose::Person {
            conn: waiter.conn,
            question: Some(waiter.id),
        };
        // Who comes to make room shall not wait for it.
        self.hasten();
        self.bear_exec(name, exec, purpose, stdio, tty.map(|t| (t.rows, t.columns)))?;
        Ok(Outcome::Later)
    }

    /// Runs a check or a command of the node's life; what it writes is kept in part.
    pub(super) fn exec_quietly(
        &mut self,
        name: &NodeName,
        exec: &ExecLaunch,
        purpose: Purpose,
        limit: Duration,
    ) -> Result<ExecId, KeeperError> {
        let null = OwnedFd::from(
            crate::desk::open_file(std::path::Path::new("/dev/null"))
                .attempt(|| "open /dev/null")?,
        );
        let (ours, theirs) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).attempt(|| "make a pipe")?;
        let flags = rustix::fs::fcntl_getfl(&ours).attempt(|| "make a pipe")?;
        rustix::fs::fcntl_setfl(&ours, flags | rustix::fs::OFlags::NONBLOCK)
            .attempt(|| "make a pipe")?;
        let again = theirs.try_clone().attempt(|| "make a pipe")?;
        let id = self.bear_exec(name, exec, purpose, Some([null, theirs, again]), None)?;
        let token = self.eyes.watch(&ours, Source::ExecOutput(id));
        if let Some(exec) = self.execs.get_mut(&id) {
            exec.output = Some((ours, token));
        }
        self.alarm_in(limit, Alarm::Exec(id));
        Ok(id)
    }

    fn bear_exec(
        &mut self,
        name: &NodeName,
        exec: &ExecLaunch,
        purpose: Purpose,
        stdio: Option<[OwnedFd; 3]>,
        size: Option<(u16, u16)>,
    ) -> Result<ExecId, KeeperError> {
        let node = self.node(name)?;
        let running = node
            .running()
            .ok_or_else(|| KeeperError::NotRunning(name.clone()))?;
        if node.paused {
            return Err(KeeperError::Frozen(name.clone()));
        }
        let launch = &node.launch;
        let (uid, gid, groups) = exec
            .user
            .clone()
            .unwrap_or_else(|| (launch.uid, launch.gid, launch.groups.clone()));
        if uid >= IDS_PER_STAND
            || gid >= IDS_PER_STAND
            || groups.iter().any(|g| *g >= IDS_PER_STAND)
        {
            return Err(KeeperError::wrong(format!(
                "cannot run as {uid}:{gid}: ids inside are 0 to 65535"
            )));
        }
        if exec.argv.is_empty() {
            return Err(KeeperError::wrong("there is nothing to run"));
        }
        let group = node
            .group
            .as_ref()
            .ok_or_else(|| KeeperError::NotRunning(name.clone()))?;
        let (status, theirs) = Channel::pair().attempt(|| "make a socket")?;
        let mut fds: Vec<OwnedFd> = vec![
            theirs.into(),
            running
                .door(launch.init)
                .attempt(|| "find a way into the node")?,
            group.open()?,
        ];
        let stdio_at = stdio.as_ref().map(|_| [3, 4, 5]);
        fds.extend(stdio.into_iter().flatten());
        let birth = ExecBirth {
            node: name.to_string(),
            argv: exec.argv.clone(),
            env: exec.env.clone().unwrap_or_else(|| launch.env.clone()),
            cwd: exec.cwd.clone().unwrap_or_else(|| launch.cwd.clone()),
            person: Person {
                uid,
                gid,
                groups,
                rights: launch.rights.clone(),
            },
            rlimits: launch.rlimits.clone(),
            oom_score_adj: launch.oom_score_adj,
            status: 0,
            pidfd: 1,
            host: launch.host,
            host_net: launch.network == NetworkLaunch::Host,
            cgroup: 2,
            v1_procs: group.v1_procs(),
            stdio: stdio_at,
            size,
        };
        let borrowed: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
        self.spawner
            .send_parcel(&Birth::Exec(Box::new(birth)), &borrowed)
            .attempt(|| "ask the spawner")?;
        let helper = self.receive_pid()?;
        self.helpers.insert(helper);
        status.do_not_wait().attempt(|| "exec")?;
        let id = self.next_job;
        self.next_job += 1;
        let token = self.eyes.watch(&status, Source::ExecStatus(id));
        let exec = Exec {
            node: name.clone(),
            purpose,
            pid: None,
            status: Some((status, token)),
            failure: None,
            output: None,
            said: Vec::new(),
            terminal: None,
            ended: None,
            late: false,
        };
        self.execs.insert(id, exec);
        Ok(id)
    }

    pub(super) fn exec_reports(&mut self, id: ExecId) {
        loop {
            let Some(exec) = self.execs.get_mut(&id) else {
                return;
            };
            let Some((status, _)) = &mut exec.status else {
                return;
            };
            match status.receive_parcel::<Report>() {
                Ok(Some((report, mut fds))) => match report {
                    Report::Pid(pid) => {
                        exec.pid = Some(pid);
                        if let Some(end) = self.reaped_early.remove(&pid) {
                            exec.ended = Some(end);
                        }
                    }
                    Report::Terminal => exec.terminal = fds.pop(),
                    Report::Failed(failure) => exec.failure = Some(failure),
                    Report::Mounted | Report::Seated | Report::Networked | Report::Copied(_) => {}
                },
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return,
                Ok(None) | Err(_) => {
                    let gone = exec.status.take();
                    if let Some((status, token)) = gone {
                        self.eyes.leave(&status, token);
                    }
                    return self.exec_began(id);
                }
            }
        }
    }

    /// Nothing more comes through its status socket: it has exec'd or given up.
    fn exec_began(&mut self, id: ExecId) {
        let Some(exec) = self.execs.get_mut(&id) else {
            return;
        };
        if let Purpose::Person {
            conn,
            question: Some(question),
        } = exec.purpose
        {
            exec.purpose = Purpose::Person {
                conn,
                question: None,
            };
            let waiter = Waiter { conn, id: question };
            match (&exec.failure, exec.pid) {
                (None, Some(pid)) => {
                    let fds = exec
                        .terminal
                        .as_ref()
                        .and_then(|t| t.try_clone().ok())
                        .into_iter()
                        .collect();
                    self.reply(waiter, Ok(Response::Exec { exec: id, pid }), fds);
                }
                (failure, _) => {
                    let failure = failure.clone().unwrap_or(ChildFailure {
                        step: "begin an exec".to_owned(),
                        errno: 0,
                        cause: None,
                        hint: Some("it was killed before its program ran".to_owned()),
                    });
                    let error = KeeperError::child(exec.node.as_str(), failure);
                    self.reply(waiter, Err(error.failure()), Vec::new());
                    if exec_pid_open(self.execs.get(&id)) {
                        return;
                    }
                    self.execs.remove(&id);
                    return;
                }
            }
        }
        let Some(exec) = self.execs.get_mut(&id) else {
            return;
        };
        match (exec.ended.take(), exec.pid) {
            (Some(end), _) => self.exec_over(id, end),
            // The helper could not even bear it.
            (None, None) => self.exec_over(id, End::Exited(126)),
            (None, Some(_)) => {}
        }
    }

    /// Returns whether the child was an exec.
    pub(super) fn exec_ended(&mut self, pid: i32, end: End) -> bool {
        let Some(id) = self
            .execs
            .iter()
            .find(|(_, e)| e.pid == Some(pid))
            .map(|(id, _)| *id)
        else {
            // It may be an exec whose number we have not heard yet: ask those that are on their way.
            let waiting: Vec<ExecId> = self
                .execs
                .iter()
                .filter(|(_, e)| e.pid.is_none())
                .map(|(id, _)| *id)
                .collect();
            if waiting.is_empty() {
                return self.copy_ended(pid);
            }
            self.reaped_early.insert(pid, end);
            for id in waiting {
                self.exec_reports(id);
            }
            return true;
        };
        if self.execs.get(&id).is_some_and(|e| e.status.is_some()) {
            // Its begin must be told before its end.
            if let Some(exec) = self.execs.get_mut(&id) {
                exec.ended = Some(end);
            }
            self.exec_reports(id);
        } else {
            self.exec_over(id, end);
        }
        true
    }

    fn exec_over(&mut self, id: ExecId, end: End) {
        self.read_exec_output(id);
        let Some(mut exec) = self.execs.remove(&id) else {
            return;
        };
        if let Some((fd, token)) = exec.output.take() {
            self.eyes.leave(&fd, token);
        }
        let code = if exec.late { 124 } else { end.code() };
        let mut said = String::from_utf8_lossy(&exec.said).into_owned();
        if let Some(failure) = exec.failure.take() {
            said = KeeperError::child(exec.node.as_str(), failure)
                .failure()
                .message;
        }
        match exec.purpose {
            Purpose::Person { conn, .. } => {
                let told = self.event(
                    Some(&exec.node),
                    EventKind::ExecEnded {
                        exec: id,
                        code,
                        signal: match end {
                            End::Killed(signal) if !exec.late => Some(signal),
                            End::Killed(_) | End::Exited(_) => None,
                        },
                    },
                    format!("exec {id} in node {} ended with {code}", exec.node),
                );
                self.say(conn, &told, Vec::new());
            }
            Purpose::Health { life } => self.health_answered(&exec.node, life, id, code, said),
            Purpose::PostStart { life } => self.post_start_done(&exec.node, life, code, &said),
            Purpose::PreStop { life } => self.pre_stop_done(&exec.node, life, code, &said),
        }
    }

    pub(super) fn read_exec_output(&mut self, id: ExecId) {
        let Some(exec) = self.execs.get_mut(&id) else {
            return;
        };
        let Some((fd, token)) = &exec.output else {
            return;
        };
        // A turn's worth; what exceeds the kept part is read and dropped, so that the process does not wait.
        for _ in 0..4 {
            let mut buffer = [0; 16 << 10];
            match rustix::io::read(fd, &mut buffer) {
                Ok(0) => {
                    let token = *token;
                    if let Some((fd, _)) = exec.output.take() {
                        self.eyes.leave(&fd, token);
                    }
                    return;
                }
                Ok(got) => {
                    let room = KEPT.saturating_sub(exec.said.len()).min(got);
                    exec.said
                        .extend_from_slice(buffer.get(..room).unwrap_or_default());
                }
                Err(_) => return,
            }
        }
    }

    pub(super) fn exec_too_late(&mut self, id: ExecId) {
        if let Some(exec) = self.execs.get_mut(&id) {
            exec.late = true;
            self.exec_kill(id, 9);
        }
    }

    pub(super) fn exec_kill(&mut self, id: ExecId, signal: i32) {
        // Not reaped, so the number is still its own.
        if let Some(pid) = self.execs.get(&id).and_then(|e| e.pid) {
            let _ = process::kill(pid, signal);
        }
    }

    pub(super) fn kill_exec(&mut self, id: ExecId, signal: i32) -> Result<(), KeeperError> {
        let pid = self
            .execs
            .get(&id)
            .and_then(|e| e.pid)
            .ok_or(KeeperError::NoExec(id))?;
        // It leads a session and so a group of its own.
        process::kill(-pid, signal).map_err(|e| {
            KeeperError::wrong(format!("cannot send signal {signal} to exec {id}: {e}"))
        })
    }

    /// Whose connection is gone is hung up, as a terminal's end does it.
    pub(super) fn hang_up_execs(&mut self, conn: u64) {
        let theirs: Vec<ExecId> = self
            .execs
            .iter()
            .filter(|(_, e)| matches!(e.purpose, Purpose::Person { conn: c, .. } if c == conn))
            .map(|(id, _)| *id)
            .collect();
        for id in theirs {
            self.exec_kill(id, 1);
            self.alarm_in(HANGUP, Alarm::Hangup(id));
        }
    }

    pub(super) fn resize(
        &mut self,
        name: &NodeName,
        exec: Option<ExecId>,
        size: TtySize,
    ) -> Result<(), KeeperError> {
        let terminal: Option<BorrowedFd<'_>> = match exec {
            Some(id) => self
                .execs
                .get(&id)
                .ok_or(KeeperError::NoExec(id))?
                .terminal
                .as_ref()
                .map(AsFd::as_fd),
            None => self
                .node(name)?
                .input
                .as_ref()
                .filter(|_| self.nodes.get(name).is_some_and(|n| n.launch.tty))
                .map(AsFd::as_fd),
        };
        let terminal = terminal.ok_or_else(|| KeeperError::wrong("there is no terminal"))?;
        let size = rustix::termios::Winsize {
            ws_row: size.rows,
            ws_col: size.columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        Ok(rustix::termios::tcsetwinsize(terminal, size).attempt(|| "size a terminal")?)
    }
}

/// Whether a process of the exec may still live.
fn exec_pid_open(exec: Option<&Exec>) -> bool {
    exec.is_some_and(|e| e.pid.is_some() && e.ended.is_none())
}
