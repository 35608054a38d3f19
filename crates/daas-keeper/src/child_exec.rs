//! A further process of a node: a helper enters the node's namespaces and bears it there.

use crate::birth::{ExecBirth, Report};
use crate::channel::Channel;
use crate::child::{
    At, Step, become_person, fd, follow_keeper, give_up, go_to, join, limit, make_terminal,
    run_program, set_oom_score, take_terminal,
};
use crate::spawner::Filters;
use daas_sys::birth::{Birth, SingleThread, give_birth};
use daas_sys::{netns, process};
use std::os::fd::{AsFd, OwnedFd};

/// The helper: ends when the process is born.
pub(crate) fn live(
    proof: &SingleThread,
    exec: &ExecBirth,
    fds: &[OwnedFd],
    filters: &Filters,
) -> i32 {
    let Some(status) = fds.get(exec.status).and_then(|fd| fd.try_clone().ok()) else {
        return 126;
    };
    let status = Channel::new(status);
    match bear(proof, exec, fds, filters, &status) {
        Ok(pid) => {
            let _ = status.send_parcel(&Report::Pid(pid), &[]);
            0
        }
        Err(failure) => give_up(&status, failure),
    }
}

fn bear(
    proof: &SingleThread,
    exec: &ExecBirth,
    fds: &[OwnedFd],
    filters: &Filters,
    status: &Channel,
) -> Step<i32> {
    // While the host's files are still in sight; the child inherits the membership.
    join(&exec.v1_procs)?;
    let shared = netns::Shared {
        pid: exec.host.pid,
        net: exec.host_net,
        uts: exec.host.uts,
        ipc: exec.host.ipc,
        cgroup: exec.host.cgroup,
    };
    netns::enter_process(fd(fds, exec.pidfd)?, shared)
        .at(|| format!("enter node {}", exec.node))?;
    let birth = Birth {
        cgroup: Some(fd(fds, exec.cgroup)?),
        sibling: true,
        ..Birth::default()
    };
    give_birth(proof, &birth, |_| {
        match prepare(exec, fds, filters, status) {
            Ok(()) => give_up(status, run_program(&exec.argv, &exec.env)),
            Err(failure) => give_up(status, failure),
        }
    })
    .at(|| format!("make a process in node {}", exec.node))
}

fn prepare(exec: &ExecBirth, fds: &[OwnedFd], filters: &Filters, status: &Channel) -> Step<()> {
    rustix::process::setsid().at(|| "start a session")?;
    set_oom_score(exec.oom_score_adj)?;
    process::become_user(0, 0, &[]).at(|| "become root of the stand")?;
    follow_keeper(status)?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    go_to(&exec.cwd)?;
    match exec.stdio {
        None => {
            let slave = make_terminal(status, exec.size, exec.person.uid, exec.person.gid)?;
            take_terminal(slave.as_fd())?;
        }
        Some(stdio) => {
            for (number, at) in (0..).zip(stdio) {
                process::install_fd(fd(fds, at)?, number).at(|| "install standard descriptors")?;
            }
        }
    }
    limit(&exec.rlimits)?;
    become_person(&exec.person, filters, status)
}
