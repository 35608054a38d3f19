//! From request to answer.

use super::{Answered, Keeper, Outcome, Waiter};
use crate::error::KeeperError;
use crate::protocol::{CgroupPaths, Hello, NodeDetails, Request, Response, Status, VERSION};
use daas_model::{NodeObserved, StandObserved};
use daas_sys::cgroup::Group;
use daas_sys::process;
use std::os::fd::OwnedFd;

impl Keeper {
    pub(super) fn answer(
        &mut self,
        waiter: Waiter,
        request: Request,
        mut fds: Vec<OwnedFd>,
    ) -> Answered {
        let done = |()| Outcome::Now(Response::Done);
        match request {
            Request::Hello { .. } => Ok(Outcome::Now(Response::Hello(self.hello()))),
            Request::Adopt(launch) => self.adopt(launch).map(done),
            Request::Reconfigure {
                digest,
                limits,
                dns,
                networks,
                volumes,
                files,
            } => self
                .reconfigure(digest, limits, dns, networks, volumes, files)
                .map(done),
            Request::Start { nodes } => self.start(nodes, waiter),
            Request::Stop { node, grace } => self.stop(&node, grace, waiter),
            Request::Restart { node, grace } => self.restart(&node, grace, waiter),
            Request::Kill { node, signal } => self.kill(&node, signal).map(done),
            Request::Remove { node, keep_volumes } => self.remove(&node, keep_volumes, waiter),
            Request::Pause { node } => self.freeze(node.as_ref(), true).map(done),
            Request::Resume { node } => self.freeze(node.as_ref(), false).map(done),
            Request::Exec { node, exec, tty } => self.exec(&node, &exec, tty, fds, waiter),
            Request::Resize { node, exec, size } => self.resize(&node, exec, size).map(done),
            Request::KillExec { exec, signal } => self.kill_exec(exec, signal).map(done),
            Request::Attach { node } => {
                let input = self
                    .node(&node)?
                    .input
                    .as_ref()
                    .ok_or_else(|| KeeperError::NotRunning(node.clone()))?;
                let copy = input.try_clone().map_err(|e| {
                    KeeperError::wrong(format!("cannot attach to node {node}: {e}"))
                })?;
                Ok(Outcome::NowWith(Response::Done, vec![copy]))
            }
            Request::CopyOut { node, path, follow } => {
                self.copy_out(&node, path, follow, fds.pop(), waiter)
            }
            Request::Files { node } => self.files(&node, fds.pop(), waiter),
            Request::Network { node } => {
                let network = self.network(&node)?;
                Ok(Outcome::NowWith(Response::Done, vec![network]))
            }
            Request::CopyIn {
                node,
                path,
                keep_owner,
            } => self.copy_in(&node, path, keep_owner, fds.pop(), waiter),
            Request::TakeRoot { node } => {
                let root = self.take_root(&node)?;
                Ok(Outcome::NowWith(Response::Done, vec![root]))
            }
            Request::Status => Ok(Outcome::Now(Response::Status(self.status()))),
            Request::Subscribe => {
                if let Some(conn) = self.conns.get_mut(&waiter.conn) {
                    conn.subscribed = true;
                }
                Ok(Outcome::Now(Response::Done))
            }
            Request::Destroy {
                keep_logs,
                keep_disk,
            } => self.destroy(keep_logs, keep_disk).map(done),
        }
    }

    fn hello(&self) -> Hello {
        Hello {
            version: VERSION,
            keeper_id: self.seed.keeper_id.clone(),
            pid: i32::try_from(std::process::id()).unwrap_or(0),
            stand: self
                .stand
                .as_ref()
                .map(|s| (s.stand_id.clone(), s.name.clone())),
            uid_base: self.seed.uid_base,
            cgroups: paths(&self.group),
        }
    }

    pub(super) fn observed(&self) -> StandObserved {
        StandObserved {
            keeper: true,
            base_from: self.stand.as_ref().map(|s| s.digest.clone()),
            nodes: self
                .nodes
                .iter()
                .map(|(name, node)| {
                    let observed = NodeObserved {
                        state: node.state(),
                        health: node.health.health,
                        restarts: node.restarts,
                        launched_from: node.launch.digest.clone(),
                        addresses: node.addresses(),
                    };
                    (name.clone(), observed)
                })
                .collect(),
        }
    }

    fn status(&self) -> Status {
        let nodes = self
            .nodes
            .iter()
            .map(|(name, node)| {
                let details = NodeDetails {
                    cgroups: node.group.as_ref().map(paths).unwrap_or_default(),
                    log: self.log_path(name),
                    health_output: node.health.output.clone(),
                    links: node.links.clone(),
                    started_ms: node.started_ms,
                };
                (name.clone(), details)
            })
            .collect();
        Status {
            observed: self.observed(),
            nodes,
        }
    }

    fn kill(&mut self, node: &daas_model::NodeName, signal: i32) -> Result<(), KeeperError> {
        let running = self
            .node(node)?
            .running()
            .ok_or_else(|| KeeperError::NotRunning(node.clone()))?;
        let pidfd = std::os::fd::AsFd::as_fd(&running.pidfd);
        process::kill_pidfd(pidfd, signal).map_err(|e| {
            KeeperError::wrong(format!("cannot send signal {signal} to node {node}: {e}"))
        })
    }
}

fn paths(group: &Group) -> CgroupPaths {
    CgroupPaths {
        unified: Some(group.unified().to_path_buf()),
        v1: group.v1().clone(),
    }
}
