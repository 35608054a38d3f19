//! The end of a stand.

use super::Keeper;
use crate::error::KeeperError;
use crate::sweep::{self, Leave};
use daas_sys::process;
use std::time::{Duration, Instant};

/// How long the kernel may take to end processes that were killed.
const PATIENCE: Duration = Duration::from_secs(10);

impl Keeper {
    /// Ends everything and leaves nothing. Repeatable after a failure.
    pub(super) fn destroy(&mut self, keep_logs: bool, keep_disk: bool) -> Result<(), KeeperError> {
        self.steps.take("destroy.begin")?;
        self.steps.take("destroy.kill")?;
        self.group.kill()?;
        for node in self.nodes.values() {
            if let Some(pid) = node.pid() {
                let _ = process::kill(pid, 9);
            }
        }
        self.send_seats_away();
        for copy in self.copies.values() {
            let _ = process::kill(copy.pid(), 9);
        }
        self.reap_nodes()?;
        self.steps.take("destroy.spawner")?;
        let _ = process::kill(self.spawner_pid, 9);
        self.reap_everything();
        self.steps.take("destroy.cgroup")?;
        self.group.remove(PATIENCE)?;
        self.steps.take("destroy.disk")?;
        if let Some(disk) = self.disk.as_ref().filter(|_| !keep_disk) {
            disk.abandon();
        }
        self.steps.take("destroy.desk")?;
        // Disk, layers and merged roots are mounted below it and go with it, in one wait of the kernel.
        self.desk.clear()?;
        if let Some(disk) = self.disk.take() {
            // Held until we end, when everybody has their answer.
            self.last_image = disk.finish(!keep_disk)?;
        }
        self.steps.take("destroy.files")?;
        sweep::remove_files(
            &self.seed.dir,
            Leave {
                logs: keep_logs,
                disk: keep_disk,
            },
        )?;
        self.ending = true;
        self.steps.take("destroy.done")?;
        Ok(())
    }

    fn reap_nodes(&mut self) -> Result<(), KeeperError> {
        let until = Instant::now() + PATIENCE;
        while self.nodes.values().any(|n| n.pid().is_some()) || !self.leaving.is_empty() {
            match process::reap_any() {
                Ok(Some((pid, end))) => {
                    self.leaving.remove(&pid);
                    let name = self
                        .nodes
                        .iter()
                        .find(|(_, n)| n.pid() == Some(pid))
                        .map(|(name, _)| name.clone());
                    if let Some(name) = name {
                        if let Some(node) = self.nodes.get_mut(&name) {
                            // Nobody starts it again now.
                            node.launch.restart = daas_model::RestartPolicy::No;
                            node.start_again = None;
                        }
                        self.node_ended(&name, end);
                    }
                }
                Ok(None) if Instant::now() < until => self.await_child(until),
                Ok(None) | Err(_) => {
                    return Err(KeeperError::wrong(
                        "processes of the stand do not end although they were killed",
                    ));
                }
            }
        }
        Ok(())
    }

    /// Waits until the kernel says that a child has ended, or until then.
    pub(super) fn await_child(&mut self, until: Instant) {
        use rustix::event::{PollFd, PollFlags, poll};
        let wait = until.saturating_duration_since(Instant::now());
        let wait = rustix::time::Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(wait.subsec_nanos()),
        };
        let _ = poll(
            &mut [PollFd::new(&self.signals, PollFlags::IN)],
            Some(&wait),
        );
        while self.signals.next().is_some() {}
    }

    fn reap_everything(&mut self) {
        let until = Instant::now() + PATIENCE;
        loop {
            match process::reap_one(self.spawner_pid) {
                Ok(None) if Instant::now() < until => self.await_child(until),
                _ => break,
            }
        }
        while let Ok(Some(_)) = process::reap_any() {}
    }
}
