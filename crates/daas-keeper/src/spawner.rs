//! The spawner: a child of the keeper that sits in the stand's user namespace and v1 cgroups, so that what it bears is born there.
//!
//! Its children are siblings (CLONE_PARENT): the keeper is their parent, reaps them, and takes them along when it dies.

use crate::birth::{Birth, Born, CopyWay};
use crate::channel::Channel;
use crate::launch::NetworkLaunch;
use crate::{child_copy, child_exec, child_node, child_seat};
use daas_sys::birth::{Birth as Parts, Namespaces, SingleThread, give_birth};
use daas_sys::cgroup::Group;
use daas_sys::seccomp::Filter;
use daas_sys::{netns, process};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Compiled filters by the capabilities that they are for.
pub(crate) type Filters = BTreeMap<u64, Filter>;

/// Makes the spawner; it answers [`Born::Ready`] when it sits where it shall.
pub(crate) fn start(
    proof: &SingleThread,
    group: &Group,
    userns: BorrowedFd<'_>,
) -> io::Result<(i32, Channel)> {
    let (ours, theirs) = Channel::pair()?;
    let pid = give_birth(proof, &Parts::default(), |proof| {
        live(&proof, theirs, group, userns);
        0
    })?;
    Ok((pid, ours))
}

fn live(proof: &SingleThread, mut channel: Channel, group: &Group, userns: BorrowedFd<'_>) {
    process::set_name(c"daas-spawner");
    let _ = process::die_with_parent(9);
    // What the keeper ignores or blocks, nodes must not.
    process::reset_signals();
    // Nothing of us is for the eyes of nodes, which share our user namespace.
    let _ = process::set_dumpable(false);
    // Nodes inherit it, and the least that they may ask for themselves as well: not what the daemon's service manager gave the daemon.
    let _ = std::fs::write("/proc/self/oom_score_adj", "0");
    // The runtime's own standard descriptors stay /dev/null.
    let settle = group
        .join_v1()
        .map_err(|e| (e.to_string(), e.source))
        .and_then(|()| {
            netns::enter_user(userns)
                .map_err(|e| ("enter the stand's user namespace".to_owned(), e))
        });
    let mut filters = Filters::new();
    filters.insert(
        crate::launch::Rights::DEFAULT_CAPS,
        Filter::docker_default(crate::launch::Rights::DEFAULT_CAPS),
    );
    let kept = [channel.as_fd(), userns];
    let _ = process::close_all_but_standard(&kept);
    let ready = match settle {
        Ok(()) => Born::Ready,
        Err((step, e)) => Born::Failed(step, e.raw_os_error().unwrap_or(0)),
    };
    let failed = matches!(ready, Born::Failed(..));
    if channel.send(&ready, &[]).is_err() || failed {
        return;
    }
    while let Ok(Some((birth, fds))) = channel.receive_parcel::<Birth>() {
        let born = bear(proof, birth, fds, &channel, &mut filters);
        if channel.send(&born, &[]).is_err() {
            return;
        }
    }
}

fn bear(
    proof: &SingleThread,
    birth: Birth,
    fds: Vec<OwnedFd>,
    channel: &Channel,
    filters: &mut Filters,
) -> Born {
    let failed =
        |step: &str, e: &io::Error| Born::Failed(step.to_owned(), e.raw_os_error().unwrap_or(0));
    let missing = || Born::Failed("find the descriptors of a birth".to_owned(), 0);
    // Only children have use for the channel's copy; they drop it with everything else at exec.
    let _ = channel;
    let answer = match birth {
        Birth::Node(node) => {
            prepare_filter(&node.launch.rights, filters);
            let Some(cgroup) = fds.get(node.cgroup).map(AsFd::as_fd) else {
                return missing();
            };
            // We ourselves are in the host's, but for users and mounts.
            let host = node.launch.host;
            let shared_net = node.share_net.is_some() || node.launch.network == NetworkLaunch::Host;
            let namespaces = [
                (host.pid, Namespaces::PID),
                (host.uts, Namespaces::UTS),
                (host.ipc, Namespaces::IPC),
                (shared_net, Namespaces::NET),
            ]
            .into_iter()
            .filter(|(shared, _)| !shared)
            .fold(Namespaces::MOUNT, |all, (_, own)| all.and(own));
            let parts = Parts {
                namespaces,
                cgroup: Some(cgroup),
                sibling: true,
            };
            give_birth(proof, &parts, |proof| {
                child_node::live(&proof, &node, &fds, filters)
            })
        }
        Birth::Seat(seat) => {
            let Some(cgroup) = fds.get(seat.cgroup).map(AsFd::as_fd) else {
                return missing();
            };
            let parts = Parts {
                namespaces: Namespaces::MOUNT
                    .and(Namespaces::PID)
                    .and(Namespaces::UTS)
                    .and(Namespaces::IPC)
                    .and(Namespaces::NET),
                cgroup: Some(cgroup),
                sibling: true,
            };
            give_birth(proof, &parts, |proof| {
                child_seat::live(&proof, &seat, &fds, filters)
            })
        }
        Birth::Exec(exec) => {
            prepare_filter(&exec.person.rights, filters);
            let parts = Parts {
                sibling: true,
                ..Parts::default()
            };
            give_birth(proof, &parts, |proof| {
                child_exec::live(&proof, &exec, &fds, filters)
            })
        }
        Birth::Copy(copy) => {
            let namespaces = if copy.root.is_some() {
                Namespaces::MOUNT
            } else {
                Namespaces::NONE
            };
            let parts = Parts {
                namespaces,
                cgroup: None,
                sibling: true,
            };
            if let CopyWay::Files(person) = &copy.way {
                prepare_filter(&person.rights, filters);
            }
            give_birth(proof, &parts, |_| child_copy::live(&copy, &fds, filters))
        }
    };
    match answer {
        Ok(pid) => Born::Pid(pid),
        Err(e) => failed("make a process", &e),
    }
}

pub(crate) fn prepare_filter(rights: &crate::launch::Rights, filters: &mut Filters) {
    if rights.seccomp.filters() {
        filters
            .entry(rights.caps)
            .or_insert_with(|| Filter::docker_default(rights.caps));
    }
}
