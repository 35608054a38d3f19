//! A process that was born before anybody knew which node it would be the first of.
//!
//! It has its namespaces, its cgroup, the file systems of the system and its end of a link that forwards. When it is told which node it is, it moves
//! those file systems into the node's root, gives the link its addresses and goes on as every other (`child_node`). What would have to come earlier,
//! while it was still the host's root or before its link existed, no seat takes (`keeper::seats`).

use crate::birth::{HostMounts, LinkPlan, NodeBirth, Report, SeatBirth, go};
use crate::channel::Channel;
use crate::child::{At, Step, fd, follow_keeper, give_up};
use crate::child_node::{
    RESOLVER, ROOT, SYSTEM, System, become_program, configure, dress, fill_root, mount_system,
    system_folder, take_place, wait_for,
};
use crate::spawner::{Filters, prepare_filter};
use daas_sys::birth::SingleThread;
use daas_sys::mounts;
use daas_sys::netlink::{self, Route};
use daas_sys::{netns, process};
use rustix::fs::{Mode, OFlags};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};

/// Where in the keeper's private folder the system's file systems wait for a root.
pub(crate) const ROOM: &str = "room";

/// The system's file systems that are moved into the root, each with all that is mounted below it.
const MOVED: [&str; 3] = ["proc", "dev", "sys"];

/// The index of its link inside.
pub(crate) const LINK: i32 = 100;

/// What is ready.
struct Ready {
    system: [OwnedFd; 3],
    route: Route,
    udp: UdpSocket,
    tcp: TcpListener,
}

pub(crate) fn live(
    proof: &SingleThread,
    seat: &SeatBirth,
    fds: &[OwnedFd],
    filters: &Filters,
) -> i32 {
    // It lives long: the spawner's socket must end with the spawner.
    let kept: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
    let closed = process::close_all_but_standard(&kept);
    let status = fds.get(seat.status).and_then(|fd| fd.try_clone().ok());
    let (Some(status), Ok(())) = (status, closed) else {
        return 126;
    };
    let mut status = Channel::new(status);
    let ready = match settle(seat, fds, &status) {
        Ok(ready) => ready,
        Err(failure) => return give_up(&status, failure),
    };
    // Told what to be, or not needed.
    let Ok(Some((birth, fds))) = status.receive_parcel::<NodeBirth>() else {
        return 0;
    };
    // The word to go may have come in one piece with that.
    let told = status.take_byte();
    let mut filters = filters.clone();
    prepare_filter(&birth.launch.rights, &mut filters);
    let prepared = prepare(&birth, &fds, ready, &status).and_then(|()| match told {
        Some(go::EXEC) => Ok(()),
        _ => wait_for(&status, go::EXEC),
    });
    match prepared {
        Ok(()) => become_program(proof, &birth.launch, &filters, &status),
        Err(failure) => give_up(&status, failure),
    }
}

/// Makes everything that is the same for all nodes.
fn settle(seat: &SeatBirth, fds: &[OwnedFd], status: &Channel) -> Step<Ready> {
    rustix::process::setsid().at(|| "start a session")?;
    netns::unshare(false, false, true).at(|| "make a cgroup namespace")?;
    process::become_user(0, 0, &[]).at(|| "become root of the stand")?;
    follow_keeper(status)?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let room = mounts::new_detached("tmpfs", &[("source", Some("room"))], SYSTEM)
        .at(|| "make a room for the system's file systems")?;
    mounts::attach(room.as_fd(), rustix::fs::CWD, ROOM).at(|| "make a room")?;
    let room = rustix::fs::open(ROOM, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .at(|| "open the room")?;
    let system = System {
        shm_size: System::SHM,
        masks: true,
        show_cgroups: seat.show_cgroups,
        host: HostMounts::default(),
    };
    mount_system(&system, fds, Some(seat.dev), &room)?;
    let [proc, dev, sys] = MOVED.map(|name| {
        mounts::plain_place_in(room.as_fd(), name).at(|| format!("open the room's {name}"))
    });
    let mut route = Route::open().at(|| "speak about links")?;
    route
        .batch(vec![netlink::up(1)])
        .at(|| "bring loopback up")?;
    let udp = UdpSocket::bind(RESOLVER).at(|| "listen for names")?;
    let tcp = TcpListener::bind(RESOLVER).at(|| "listen for names")?;
    status
        .send_parcel(&Report::Mounted, &[])
        .at(|| "tell the keeper")?;
    wait_for(status, go::NETWORK)?;
    route
        .batch(vec![netlink::no_own_ipv6(LINK), netlink::up(LINK)])
        .at(|| "bring the link up")?;
    status
        .send_parcel(&Report::Seated, &[])
        .at(|| "tell the keeper")?;
    Ok(Ready {
        system: [proc?, dev?, sys?],
        route,
        udp,
        tcp,
    })
}

/// Does for one node what is its own.
fn prepare(birth: &NodeBirth, fds: &[OwnedFd], ready: Ready, status: &Channel) -> Step<()> {
    let Ready {
        system,
        mut route,
        udp,
        tcp,
    } = ready;
    mounts::attach(fd(fds, birth.root)?, rustix::fs::CWD, ROOT).at(|| "mount the root")?;
    rustix::process::chdir(ROOT).at(|| "enter the root")?;
    let root = rustix::fs::open(".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .at(|| "open the root")?;
    for (name, mount) in MOVED.into_iter().zip(&system) {
        let folder = system_folder(&root, name)?;
        mounts::attach(mount.as_fd(), folder.as_fd(), "").at(|| format!("mount /{name}"))?;
    }
    drop(system);
    fill_root(birth, fds, &root)?;
    drop(root);
    let terminal = dress(birth, status)?;
    let messages = birth.links.iter().flat_map(addresses).collect();
    route.batch(messages).at(|| "configure the network")?;
    status
        .send_parcel(&Report::Networked, &[udp.as_fd(), tcp.as_fd()])
        .at(|| "tell the keeper")?;
    take_place(birth, fds, terminal.as_ref())
}

fn addresses(link: &LinkPlan) -> Vec<netlink::Message> {
    let mut messages = vec![netlink::link_address(link.index, link.mac)];
    configure(link, &mut messages);
    messages
}
