//! Nodes are stopped, started again, removed, frozen.

use super::node::{Phase, Stopping};
use super::{Alarm, Answered, Keeper, Outcome, Waiter};
use crate::error::KeeperError;
use crate::protocol::{EventKind, Response};
use daas_model::{NodeName, NodeState, Span};
use daas_sys::process;
use std::os::fd::AsFd;
use std::time::Duration;

impl Keeper {
    pub(super) fn stop(
        &mut self,
        name: &NodeName,
        grace: Option<Span>,
        waiter: Waiter,
    ) -> Answered {
        self.node(name)?;
        self.steps.take("stop.begin")?;
        if self.ask_to_end(name, grace, Some(waiter)) {
            Ok(Outcome::Later)
        } else {
            Ok(Outcome::Now(Response::Done))
        }
    }

    pub(super) fn restart(
        &mut self,
        name: &NodeName,
        grace: Option<Span>,
        waiter: Waiter,
    ) -> Answered {
        let node = self
            .nodes
            .get_mut(name)
            .ok_or_else(|| KeeperError::NoNode(name.clone()))?;
        if let Some(earlier) = node.start_again.replace(waiter) {
            self.reply(earlier, Ok(Response::Done), Vec::new());
        }
        if !self.ask_to_end(name, grace, None) {
            self.continue_after_end(name);
        }
        Ok(Outcome::Later)
    }

    /// What was wanted of a node once it has ended.
    pub(super) fn continue_after_end(&mut self, name: &NodeName) {
        let Some(node) = self.nodes.get_mut(name) else {
            return;
        };
        if node.start_again.is_some() && node.pid().is_none() {
            node.restarts = 0;
            node.backoff = 0;
            self.launch_batch(vec![name.clone()], std::collections::BTreeMap::new(), None);
        }
    }

    /// Begins the end of a node; returns whether there is anything to wait for.
    pub(super) fn ask_to_end(
        &mut self,
        name: &NodeName,
        grace: Option<Span>,
        waiter: Option<Waiter>,
    ) -> bool {
        // Whoever is to end in good order gets the time for it.
        self.hasten();
        let Some(node) = self.nodes.get_mut(name) else {
            return false;
        };
        match &mut node.phase {
            Phase::Idle(state) => {
                // It will not be started again by its policy: a person said so.
                if let NodeState::Backoff { code, .. } = state {
                    *state = NodeState::Exited {
                        code: *code,
                        oom: false,
                        at_ms: super::unix_ms(),
                        asked: true,
                    };
                    node.life += 1;
                    self.write_state_soon();
                }
                false
            }
            Phase::Launching(launching) => {
                let _ = process::kill_pidfd(launching.pidfd.as_fd(), 9);
                let stopping = node.stopping.get_or_insert(Stopping {
                    waiters: Vec::new(),
                    grace: Duration::ZERO,
                    hook: None,
                    killed: true,
                });
                stopping.waiters.extend(waiter);
                true
            }
            Phase::Running(_) => {
                let grace = grace.unwrap_or(node.launch.stop_grace).0;
                if let Some(stopping) = &mut node.stopping {
                    stopping.waiters.extend(waiter);
                    if grace < stopping.grace {
                        // Somebody is in more of a hurry.
                        stopping.grace = grace;
                        let life = node.life;
                        self.alarm_in(grace, Alarm::Grace(name.clone(), life));
                    }
                    return true;
                }
                let hook = (!node.launch.pre_stop.is_empty()).then_some((0, None));
                node.stopping = Some(Stopping {
                    waiters: waiter.into_iter().collect(),
                    grace,
                    hook,
                    killed: false,
                });
                let life = node.life;
                let (paused, hooked) = (node.paused, hook.is_some());
                if paused {
                    // A frozen process hears nothing.
                    let _ = self.freeze(Some(name), false);
                }
                self.alarm_in(grace, Alarm::Grace(name.clone(), life));
                self.write_state_soon();
                if hooked {
                    self.next_pre_stop(name);
                } else {
                    self.signal_end(name);
                }
                true
            }
        }
    }

    /// Sends the signal that asks the node to end.
    pub(super) fn signal_end(&mut self, name: &NodeName) {
        let _ = self.steps.take("stop.signal");
        let Some(node) = self.nodes.get(name) else {
            return;
        };
        let (Some(running), Some(stopping)) = (node.running(), &node.stopping) else {
            return;
        };
        if stopping.grace.is_zero() {
            return self.kill_node(name);
        }
        let _ = process::kill_pidfd(running.pidfd.as_fd(), node.launch.stop_signal);
    }

    pub(super) fn grace_over(&mut self, name: &NodeName, life: u64) {
        if self
            .nodes
            .get(name)
            .is_some_and(|n| n.life == life && n.stopping.is_some())
        {
            self.kill_node(name);
        }
    }

    /// Kills every process of a node.
    pub(super) fn kill_node(&mut self, name: &NodeName) {
        let _ = self.steps.take("stop.kill");
        let Some(node) = self.nodes.get_mut(name) else {
            return;
        };
        if let Some(stopping) = &mut node.stopping {
            stopping.killed = true;
        }
        if let Some(group) = &node.group {
            let _ = group.kill();
        }
        if let Some(running) = node.running() {
            let _ = process::kill_pidfd(running.pidfd.as_fd(), 9);
        }
    }

    pub(super) fn remove(
        &mut self,
        name: &NodeName,
        keep_volumes: bool,
        waiter: Waiter,
    ) -> Answered {
        if !self.nodes.contains_key(name) {
            // Asked again: it is gone already.
            return Ok(Outcome::Now(Response::Done));
        }
        self.steps.take("remove.begin")?;
        if self.nodes.get(name).is_some_and(|n| n.pid().is_some()) {
            self.ask_to_end(name, Some(Span::default()), None);
            self.wait_for_end(name)?;
        }
        let _ = waiter;
        self.forget(name, keep_volumes)?;
        self.steps.take("remove.done")?;
        Ok(Outcome::Now(Response::Done))
    }

    /// Waits until a node that was killed is reaped; the kernel does this within milliseconds.
    ///
    /// Everybody who ends meanwhile is reaped too: process 1 of a node is not gone before its execs are, whose parent we are (zap_pid_ns_processes).
    pub(super) fn wait_for_end(&mut self, name: &NodeName) -> Result<(), KeeperError> {
        self.kill_node(name);
        let until = std::time::Instant::now() + Duration::from_secs(10);
        while self.nodes.get(name).is_some_and(|n| n.pid().is_some()) {
            match process::reap_any() {
                Ok(Some((pid, end))) => self.child_ended(pid, end),
                Ok(None) if std::time::Instant::now() < until => self.await_child(until),
                Ok(None) | Err(_) => {
                    return Err(KeeperError::wrong(format!(
                        "node {name} does not end although it was killed"
                    )));
                }
            }
        }
        // The word of somebody else's end may have been taken for this one's.
        self.children_ended();
        Ok(())
    }

    /// Forgets a node without a process: cgroup, files, memory of it.
    pub(super) fn forget(
        &mut self,
        name: &NodeName,
        keep_volumes: bool,
    ) -> Result<(), KeeperError> {
        let Some(node) = self.nodes.remove(name) else {
            return Ok(());
        };
        self.write_state_soon();
        self.watched.retain(|_, owner| owner.as_ref() != Some(name));
        if let Some(group) = &node.group {
            group.remove(Duration::from_secs(2))?;
        }
        self.desk.forget(name, keep_volumes)?;
        Ok(())
    }

    pub(super) fn freeze(
        &mut self,
        name: Option<&NodeName>,
        frozen: bool,
    ) -> Result<(), KeeperError> {
        let names: Vec<NodeName> = match name {
            Some(name) => {
                if self.node(name)?.running().is_none() {
                    return Err(KeeperError::NotRunning(name.clone()));
                }
                vec![name.clone()]
            }
            None => self
                .nodes
                .iter()
                .filter(|(_, n)| n.running().is_some())
                .map(|(name, _)| name.clone())
                .collect(),
        };
        for name in names {
            let Some(node) = self.nodes.get_mut(&name) else {
                continue;
            };
            if node.paused == frozen {
                continue;
            }
            if let Some(group) = &node.group {
                group.freeze(frozen)?;
            }
            node.paused = frozen;
            self.write_state_soon();
            let (kind, word) = if frozen {
                (EventKind::Paused, "frozen")
            } else {
                (EventKind::Resumed, "thawed")
            };
            self.tell(Some(&name), kind, format!("node {name} is {word}"));
        }
        Ok(())
    }
}
