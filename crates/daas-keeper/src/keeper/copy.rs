//! Files go in and out of nodes.

use super::{Answered, Keeper, Outcome, Source, Waiter};
use crate::birth::{Birth, ChildFailure, CopyBirth, CopyWay, Person, Report};
use crate::channel::Channel;
use crate::error::KeeperError;
use crate::launch::NetworkLaunch;
use crate::protocol::Response;
use daas_model::NodeName;
use daas_sys::Attempt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A copy that goes on.
#[derive(Debug)]
pub(super) struct Copy {
    node: NodeName,
    waiter: Waiter,
    pid: i32,
    status: Channel,
    token: u64,
    result: Option<Result<u64, ChildFailure>>,
}

impl Copy {
    pub(super) fn pid(&self) -> i32 {
        self.pid
    }
}

impl Keeper {
    pub(super) fn copy_out(
        &mut self,
        node: &NodeName,
        path: String,
        follow: bool,
        stream: Option<OwnedFd>,
        waiter: Waiter,
    ) -> Answered {
        self.copy(node, path, CopyWay::Out { follow }, stream, waiter)
    }

    pub(super) fn copy_in(
        &mut self,
        node: &NodeName,
        path: String,
        keep_owner: bool,
        stream: Option<OwnedFd>,
        waiter: Waiter,
    ) -> Answered {
        let launch = &self.node(node)?.launch;
        let owner = (!keep_owner).then_some((launch.uid, launch.gid));
        self.copy(node, path, CopyWay::In { owner }, stream, waiter)
    }

    /// Serves a node's files as the node's user, as long as it runs.
    pub(super) fn files(
        &mut self,
        name: &NodeName,
        stream: Option<OwnedFd>,
        waiter: Waiter,
    ) -> Answered {
        let node = self.node(name)?;
        if node.running().is_none() {
            return Err(KeeperError::NotRunning(name.clone()));
        }
        let launch = &node.launch;
        let person = Person {
            uid: launch.uid,
            gid: launch.gid,
            groups: launch.groups.clone(),
            rights: launch.rights.clone(),
        };
        let begin = launch.cwd.clone();
        self.copy(name, begin, CopyWay::Files(person), stream, waiter)
    }

    /// Hands out a node's own network: what dials there sees its loopback and its neighbours as the node does.
    pub(super) fn network(&self, name: &NodeName) -> Result<OwnedFd, KeeperError> {
        let node = self.node(name)?;
        if node.launch.network == NetworkLaunch::Host {
            return Err(KeeperError::Wrong {
                what: format!("node {name} is in the host's network"),
                hint: Some("connect to the host itself".to_owned()),
            });
        }
        let running = node
            .running()
            .ok_or_else(|| KeeperError::NotRunning(name.clone()))?;
        // Not reaped, so the number is still its own.
        let path = format!("/proc/{}/ns/net", running.pid);
        let opened = crate::desk::open_file(std::path::Path::new(&path));
        Ok(opened.attempt(|| "open a node's network")?.into())
    }

    /// Hands out what a node that has ended wrote, its owners as seen inside: what a build takes as a layer.
    pub(super) fn take_root(&mut self, name: &NodeName) -> Result<OwnedFd, KeeperError> {
        use daas_sys::userns::{IdRange, create};
        if self.node(name)?.pid().is_some() {
            return Err(KeeperError::Wrong {
                what: format!("node {name} runs, so what it wrote is not complete"),
                hint: Some("take its root after it has ended".to_owned()),
            });
        }
        // The map of a mount reads: owner on disk, owner as seen from the host.
        let back = [IdRange {
            inside: self.seed.uid_base,
            outside: 0,
            count: self.seed.uid_count,
        }];
        let map = create(&self.proof, &back, &back)?;
        Ok(self.desk.written(name, map.as_fd())?)
    }

    fn copy(
        &mut self,
        name: &NodeName,
        path: String,
        way: CopyWay,
        stream: Option<OwnedFd>,
        waiter: Waiter,
    ) -> Answered {
        let stream = stream.ok_or_else(|| KeeperError::wrong("a copy needs one descriptor"))?;
        let (status, theirs) = Channel::pair().attempt(|| "make a socket")?;
        let mut fds: Vec<OwnedFd> = vec![theirs.into(), stream];
        let node = self.node(name)?;
        let (pidfd, root) = match node.running() {
            Some(running) => {
                let door = running.door(node.launch.init);
                fds.push(door.attempt(|| "find a way into the node")?);
                (Some(2), None)
            }
            None => {
                let launch = node.launch.clone();
                let throw_away = self.throw_away();
                self.desk.merge(name, &launch.lowers, throw_away)?;
                fds.push(self.desk.root_of(name)?);
                let plans = self.plan_mounts(&launch, &mut |fd| {
                    fds.push(fd);
                    fds.len() - 1
                })?;
                (None, Some((2, plans)))
            }
        };
        let birth = CopyBirth {
            way,
            path,
            status: 0,
            stream: 1,
            pidfd,
            root,
        };
        let borrowed: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
        self.spawner
            .send_parcel(&Birth::Copy(Box::new(birth)), &borrowed)
            .attempt(|| "ask the spawner")?;
        let pid = self.receive_pid()?;
        status.do_not_wait().attempt(|| "copy")?;
        let id = self.next_job;
        self.next_job += 1;
        let token = self.eyes.watch(&status, Source::CopyStatus(id));
        self.copies.insert(
            id,
            Copy {
                node: name.clone(),
                waiter,
                pid,
                status,
                token,
                result: None,
            },
        );
        Ok(Outcome::Later)
    }

    pub(super) fn copy_reports(&mut self, id: u64) {
        loop {
            let Some(copy) = self.copies.get_mut(&id) else {
                return;
            };
            match copy.status.receive_parcel::<Report>() {
                Ok(Some((Report::Copied(bytes), _))) => copy.result = Some(Ok(bytes)),
                Ok(Some((Report::Failed(failure), _))) => copy.result = Some(Err(failure)),
                Ok(Some(_)) => {}
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return,
                Ok(None) | Err(_) => {
                    let Some(copy) = self.copies.remove(&id) else {
                        return;
                    };
                    self.eyes.leave(&copy.status, copy.token);
                    // Its end is still to be reaped, and means nothing more.
                    if self.reaped_early.remove(&copy.pid).is_none() {
                        self.helpers.insert(copy.pid);
                    }
                    let result = copy.result.unwrap_or_else(|| {
                        Err(ChildFailure {
                            step: "copy".to_owned(),
                            errno: 0,
                            cause: None,
                            hint: Some("the helper was killed".to_owned()),
                        })
                    });
                    let answer = result
                        .map(|bytes| Response::Copied { bytes })
                        .map_err(|f| KeeperError::child(copy.node.as_str(), f).failure());
                    return self.reply(copy.waiter, answer, Vec::new());
                }
            }
        }
    }

    /// Returns whether the child was a copy.
    pub(super) fn copy_ended(&mut self, pid: i32) -> bool {
        let Some(id) = self
            .copies
            .iter()
            .find(|(_, c)| c.pid == pid)
            .map(|(id, _)| *id)
        else {
            return false;
        };
        self.copy_reports(id);
        self.helpers.remove(&pid);
        true
    }
}
