//! Health checks, and the commands of a node's life.

use super::exec::Purpose;
use super::{Alarm, Keeper};
use crate::protocol::EventKind;
use daas_model::{Health, NodeName};
use std::time::Duration;

/// How long a post-start command may take.
const POST_START: Duration = Duration::from_secs(300);

impl Keeper {
    /// A node runs: its first check is due after one interval.
    pub(super) fn begin_health(&mut self, name: &NodeName) {
        let Some(node) = self.nodes.get_mut(name) else {
            return;
        };
        let Some(check) = &node.launch.health else {
            return;
        };
        let wait = if check.start_period.0.is_zero() {
            check.interval.0
        } else {
            check.start_interval.0.min(check.interval.0)
        };
        let life = node.life;
        self.alarm_in(at_least(wait), Alarm::Health(name.clone(), life));
    }

    pub(super) fn health_due(&mut self, name: &NodeName, life: u64) {
        let Some(node) = self.nodes.get(name) else {
            return;
        };
        let Some(check) = node.launch.health.clone() else {
            return;
        };
        if node.life != life || node.running().is_none() || node.stopping.is_some() {
            return;
        }
        if node.paused || node.health.exec.is_some() {
            // A frozen node is not asked.
            self.alarm_in(
                at_least(check.interval.0),
                Alarm::Health(name.clone(), life),
            );
            return;
        }
        let exec = crate::launch::ExecLaunch {
            argv: check.argv.clone(),
            env: None,
            cwd: None,
            user: None,
        };
        match self.exec_quietly(
            name,
            &exec,
            Purpose::Health { life },
            at_least(check.timeout.0),
        ) {
            Ok(id) => {
                if let Some(node) = self.nodes.get_mut(name) {
                    node.health.exec = Some(id);
                }
            }
            Err(error) => self.health_answered(name, life, 0, 126, error.failure().message),
        }
    }

    pub(super) fn health_answered(
        &mut self,
        name: &NodeName,
        life: u64,
        exec: u64,
        code: i32,
        said: String,
    ) {
        let Some(node) = self.nodes.get_mut(name) else {
            return;
        };
        if node.health.exec == Some(exec) {
            node.health.exec = None;
        }
        let Some(running_for) = node.running().map(|r| r.since.elapsed()) else {
            return;
        };
        if node.life != life {
            return;
        }
        let Some(check) = node.launch.health.clone() else {
            return;
        };
        let starting = running_for < check.start_period.0;
        let said = if code == 124 {
            format!("the check took longer than {}", check.timeout)
        } else {
            said
        };
        node.health.output = Some((code, said));
        let before = node.health.health;
        if code == 0 {
            node.health.failures = 0;
            node.health.health = Health::Healthy;
        } else if !(starting && before == Health::Starting) {
            node.health.failures += 1;
            if node.health.failures >= check.retries.max(1) {
                node.health.health = Health::Unhealthy;
            }
        }
        let now = node.health.health;
        // Only until the first success the start interval counts (Compose Specification, healthcheck).
        let wait = if starting && now == Health::Starting {
            check.start_interval.0.min(check.interval.0)
        } else {
            check.interval.0
        };
        self.alarm_in(at_least(wait), Alarm::Health(name.clone(), life));
        if now != before {
            self.write_state_soon();
            self.tell(
                Some(name),
                EventKind::HealthChanged { health: now },
                format!("node {name} is {now}"),
            );
        }
    }

    /// Runs the next post-start command, or says that all are done.
    pub(super) fn next_post_start(&mut self, name: &NodeName) {
        let Some(node) = self.nodes.get_mut(name) else {
            return;
        };
        let Some(at) = node.post_start else { return };
        let life = node.life;
        let Some(hook) = node.launch.post_start.get(at).cloned() else {
            node.post_start = None;
            self.write_state_soon();
            // Who waits for the node hears of nothing else that it may go on.
            if at > 0 {
                let text = format!("the post_start commands of node {name} have ended");
                self.tell(Some(name), EventKind::HooksDone, text);
            }
            return;
        };
        node.post_start = Some(at + 1);
        if let Err(error) = self.exec_quietly(name, &hook, Purpose::PostStart { life }, POST_START)
        {
            self.post_start_done(name, life, 126, &error.failure().message);
        }
    }

    pub(super) fn post_start_done(&mut self, name: &NodeName, life: u64, code: i32, said: &str) {
        if self
            .nodes
            .get(name)
            .is_none_or(|n| n.life != life || n.running().is_none())
        {
            return;
        }
        if code != 0 {
            self.hook_failed(name, "post_start", code, said);
        }
        self.next_post_start(name);
    }

    /// Runs the next pre-stop command, or sends the signal.
    pub(super) fn next_pre_stop(&mut self, name: &NodeName) {
        let Some(node) = self.nodes.get_mut(name) else {
            return;
        };
        let life = node.life;
        let Some(stopping) = &mut node.stopping else {
            return;
        };
        let Some((at, _)) = stopping.hook else { return };
        let limit = stopping.grace;
        let Some(hook) = node.launch.pre_stop.get(at).cloned() else {
            stopping.hook = None;
            return self.signal_end(name);
        };
        stopping.hook = Some((at + 1, None));
        if let Err(error) = self.exec_quietly(name, &hook, Purpose::PreStop { life }, limit) {
            self.pre_stop_done(name, life, 126, &error.failure().message);
        }
    }

    pub(super) fn pre_stop_done(&mut self, name: &NodeName, life: u64, code: i32, said: &str) {
        if self
            .nodes
            .get(name)
            .is_none_or(|n| n.life != life || n.stopping.as_ref().is_none_or(|s| s.killed))
        {
            return;
        }
        if code != 0 {
            self.hook_failed(name, "pre_stop", code, said);
        }
        self.next_pre_stop(name);
    }

    fn hook_failed(&mut self, name: &NodeName, which: &str, code: i32, said: &str) {
        let said: String = said.trim().chars().take(500).collect();
        self.tell(
            Some(name),
            EventKind::HookFailed { code },
            format!("a {which} command of node {name} ended with {code}: {said}"),
        );
    }
}

/// A check more often than every 10 ms would be a busy loop.
fn at_least(wait: Duration) -> Duration {
    wait.max(Duration::from_millis(10))
}
