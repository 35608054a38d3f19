//! Children end.

use super::node::{Launching, Phase};
use super::{Alarm, Keeper};
use crate::error::KeeperError;
use crate::protocol::{EventKind, Response};
use daas_model::{NodeName, NodeState, RestartPolicy};
use daas_sys::process::{self, End};
use std::time::Duration;

/// The first wait before a node is started again by its policy.
const FIRST_WAIT_MS: u64 = 100;
/// The longest.
const LONGEST_WAIT_MS: u64 = 60_000;
/// A node that ran this long is not in trouble: its next wait is the first again.
const STEADY: Duration = Duration::from_secs(10);

impl Keeper {
    /// SIGCHLD: somebody ended.
    pub(super) fn children_ended(&mut self) {
        while self.signals.next().is_some() {}
        while let Ok(Some((pid, end))) = process::reap_any() {
            self.child_ended(pid, end);
        }
    }

    pub(super) fn child_ended(&mut self, pid: i32, end: End) {
        if self.helpers.remove(&pid) || self.seat_ended(pid) {
            return;
        }
        if let Some(name) = self
            .nodes
            .iter()
            .find(|(_, n)| n.pid() == Some(pid))
            .map(|(name, _)| name.clone())
        {
            // What it said before it ended comes first.
            self.launch_reports(&name);
            if self.nodes.get(&name).is_some_and(|n| n.pid() == Some(pid)) {
                self.node_ended(&name, end);
            }
            return;
        }
        if self.exec_ended(pid, end) {
            return;
        }
        if pid == self.spawner_pid {
            return self.spawner_ended();
        }
        self.reaped_early.insert(pid, end);
    }

    /// The kernel may kill even the spawner when the stand is out of memory: there must be another.
    fn spawner_ended(&mut self) {
        if self.ending {
            return;
        }
        if let Ok((pid, mut channel)) =
            crate::spawner::start(&self.proof, &self.group, self.desk.userns())
        {
            // It joins its cgroups within an RCU grace period.
            let _ = super::prepare::settled(&mut channel);
            self.spawner_pid = pid;
            self.spawner = channel;
        }
    }

    pub(super) fn node_ended(&mut self, name: &NodeName, end: End) {
        self.drain_logs(name);
        self.names.remove(&mut self.eyes, name);
        self.pending_links.retain(|_, owner| owner != name);
        self.dismiss(name);
        let killed = self.nodes.get(name).is_some_and(|n| {
            // The small init ends with the code of the program that was killed below it.
            let killed = End::Killed(9);
            let by_kill = end == killed || n.launch.init && end.code() == killed.code();
            by_kill && n.running().is_some() && n.stopping.is_none()
        });
        let killed_for_memory = killed && self.was_killed_for_memory(name);
        let Some(node) = self.nodes.get_mut(name) else {
            return;
        };
        for pipe in node
            .output
            .take()
            .into_iter()
            .chain(node.error_output.take())
        {
            self.eyes.leave(&pipe.fd, pipe.token);
        }
        if node.launch.host.pid
            && let Some(group) = &node.group
        {
            // No pid namespace of its own ends with it.
            let _ = group.kill();
        }
        node.input = None;
        node.post_start = None;
        node.paused = false;
        let phase = std::mem::replace(&mut node.phase, Phase::Idle(NodeState::Starting));
        let stopping = node.stopping.take();
        let asked = stopping.is_some() || self.ending;
        self.state_dirty = true;
        match phase {
            Phase::Launching(launching) => self.launch_ended(name, launching, end, asked),
            Phase::Running(running) => {
                let oom = killed_for_memory;
                let code = end.code();
                let ran = running.since.elapsed();
                node.phase = Phase::Idle(NodeState::Exited {
                    code,
                    oom,
                    at_ms: super::unix_ms(),
                    asked,
                });
                if let Some(exec) = node.health.exec.take() {
                    self.exec_kill(exec, 9);
                }
                let why = if oom { ", killed for memory" } else { "" };
                let _ = self.steps.take("stop.done");
                self.tell(
                    Some(name),
                    EventKind::NodeExited { code, oom, asked },
                    format!("node {name} ended with exit code {code}{why}"),
                );
                if !asked {
                    self.restart_by_policy(name, code, ran);
                }
            }
            Phase::Idle(state) => node.phase = Phase::Idle(state),
        }
        for waiter in stopping.map(|s| s.waiters).unwrap_or_default() {
            self.reply(waiter, Ok(Response::Done), Vec::new());
        }
        self.continue_after_end(name);
    }

    /// A node has ended on the way to its program.
    fn launch_ended(&mut self, name: &NodeName, launching: Launching, end: End, asked: bool) {
        self.eyes.leave(&launching.status, launching.token);
        let Some(node) = self.nodes.get_mut(name) else {
            return;
        };
        let (code, at_ms) = (end.code(), super::unix_ms());
        let failure = match launching.failure {
            // A person's stop met it there: that is an end as any other.
            None if asked => {
                node.phase = Phase::Idle(NodeState::Exited {
                    code,
                    oom: false,
                    at_ms,
                    asked,
                });
                let words = format!("node {name} was stopped before its program ran");
                let kind = EventKind::NodeExited {
                    code,
                    oom: false,
                    asked,
                };
                self.tell(Some(name), kind, words.clone());
                KeeperError::wrong(words).failure()
            }
            why => {
                let failure = match why {
                    Some(failure) => KeeperError::child(name.as_str(), failure),
                    None => KeeperError::wrong(format!(
                        "node {name} ended with {code} before its program ran"
                    )),
                }
                .failure();
                node.phase = Phase::Idle(NodeState::Failed {
                    reason: failure.message.clone(),
                    at_ms,
                });
                let again = node.start_again.take();
                self.tell(Some(name), EventKind::NodeFailed, failure.message.clone());
                if let Some(waiter) = again {
                    self.reply(waiter, Err(failure.clone()), Vec::new());
                }
                failure
            }
        };
        self.leave_batch(launching.batch, name, Some(failure));
    }

    fn restart_by_policy(&mut self, name: &NodeName, code: i32, ran: Duration) {
        let Some(node) = self.nodes.get_mut(name) else {
            return;
        };
        let again = match node.launch.restart {
            RestartPolicy::No => false,
            RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
            RestartPolicy::OnFailure { max_retries } => {
                code != 0 && max_retries.is_none_or(|max| node.restarts < max)
            }
        };
        if !again {
            return;
        }
        if ran >= STEADY {
            node.backoff = 0;
        }
        let wait = FIRST_WAIT_MS
            .checked_shl(node.backoff)
            .unwrap_or(LONGEST_WAIT_MS)
            .min(LONGEST_WAIT_MS);
        node.backoff = (node.backoff + 1).min(16);
        node.phase = Phase::Idle(NodeState::Backoff {
            code,
            until_ms: super::unix_ms() + wait,
        });
        let (life, restarts) = (node.life, node.restarts);
        self.alarm_in(
            Duration::from_millis(wait),
            Alarm::Restart(name.clone(), life),
        );
        self.tell(
            Some(name),
            EventKind::Backoff {
                wait_ms: wait,
                restarts,
            },
            format!("node {name} is started again in {wait} ms"),
        );
    }

    pub(super) fn restart_due(&mut self, name: &NodeName, life: u64) {
        let Some(node) = self.nodes.get_mut(name) else {
            return;
        };
        if node.life != life || !matches!(node.phase, Phase::Idle(NodeState::Backoff { .. })) {
            return;
        }
        node.restarts += 1;
        self.launch_batch(vec![name.clone()], std::collections::BTreeMap::new(), None);
        // A launch that fails is tried again as a node that ends is.
        if let Some(node) = self.nodes.get(name)
            && matches!(node.phase, Phase::Idle(NodeState::Failed { .. }))
        {
            self.restart_by_policy(name, 126, Duration::ZERO);
        }
    }
}
