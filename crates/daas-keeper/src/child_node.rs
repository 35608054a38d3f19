//! The first process of a node, from its birth to its program.
//!
//! It is born as the host's root without rights there: its capabilities count in the stand's user namespace only. The order of the steps matters:
//! cgroups and the kill score need the host's root as owner of the files, sysctls and files in new file systems one that exists inside, PDEATHSIG is forgotten at every
//! change of user, and the filter comes last.

use crate::birth::{
    FdAt, HostMounts, LinkPlan, MountPlan, MountWhat, NodeBirth, Person, Report, go,
};
use crate::channel::Channel;
use crate::child::{
    At, Step, become_person, fd, follow_keeper, give_up, join, limit, make_and_go_to,
    make_terminal, refuse, run_program, set_oom_score, take_terminal,
};
use crate::copy_up;
use crate::launch::{NetworkLaunch, NodeLaunch};
use crate::spawner::Filters;
use daas_sys::birth::SingleThread;
use daas_sys::mounts::{self, MountFlags};
use daas_sys::netlink::{self, Route};
use daas_sys::{netns, process};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Where in the keeper's private folder a child attaches its root; every child has its own mount namespace.
pub(crate) const ROOT: &str = "root";

/// Where the resolver answers inside of every node: the address that Docker uses, which files in the wild name literally.
pub(crate) const RESOLVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 11), 53);

pub(crate) fn live(
    proof: &SingleThread,
    birth: &NodeBirth,
    fds: &[OwnedFd],
    filters: &Filters,
) -> i32 {
    let given = birth.status.and_then(|at| fds.get(at));
    let Some(status) = given.and_then(|fd| fd.try_clone().ok()) else {
        return 126;
    };
    let status = Channel::new(status);
    match prepare(birth, fds, &status) {
        Ok(()) => become_program(proof, &birth.launch, filters, &status),
        Err(failure) => give_up(&status, failure),
    }
}

/// The last steps, when everything is in place.
pub(crate) fn become_program(
    proof: &SingleThread,
    launch: &NodeLaunch,
    filters: &Filters,
    status: &Channel,
) -> i32 {
    let person = Person {
        uid: launch.uid,
        gid: launch.gid,
        groups: launch.groups.clone(),
        rights: launch.rights.clone(),
    };
    let become_node = || become_person(&person, filters, status);
    let run = || match become_node() {
        Ok(()) => give_up(status, run_program(&launch.argv, &launch.env)),
        Err(failure) => give_up(status, failure),
    };
    if launch.init {
        // Before the filter, which knows no clone3: what process 1 bears becomes the node's person by itself.
        crate::child_init::live(proof, status, run, become_node)
    } else {
        run()
    }
}

fn prepare(birth: &NodeBirth, fds: &[OwnedFd], status: &Channel) -> Step<()> {
    let launch = &birth.launch;
    rustix::process::setsid().at(|| "start a session")?;
    join(&birth.v1_procs)?;
    if let Some(net) = birth.share_net {
        netns::enter(fd(fds, net)?).at(|| "enter the network of another node")?;
    }
    if !launch.host.cgroup {
        netns::unshare(false, false, true).at(|| "make a cgroup namespace")?;
    }
    set_oom_score(launch.oom_score_adj)?;
    process::become_user(0, 0, &[]).at(|| "become root of the stand")?;
    follow_keeper(status)?;
    // As the stand's root, to whom the kernel gives these of its own namespaces and no others.
    for (name, value) in &launch.sysctls {
        write_sysctl(name, value)?;
    }
    rustix::process::umask(Mode::from_raw_mode(0o022));

    let cwd = rustix::fs::CWD;
    mounts::attach(fd(fds, birth.root)?, cwd, ROOT).at(|| "mount the root")?;
    rustix::process::chdir(ROOT).at(|| "enter the root")?;
    let root = rustix::fs::open(".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .at(|| "open the root")?;
    mount_system(&System::of(birth), fds, birth.dev, &root)?;
    fill_root(birth, fds, &root)?;
    drop(root);
    let terminal = dress(birth, status)?;
    status
        .send_parcel(&Report::Mounted, &[])
        .at(|| "tell the keeper")?;
    bring_up_network(birth, status)?;
    take_place(birth, fds, terminal.as_ref())?;
    wait_for(status, go::EXEC)
}

/// Mounts what the node asked for, and makes the root ours.
pub(crate) fn fill_root(birth: &NodeBirth, fds: &[OwnedFd], root: &OwnedFd) -> Step<()> {
    let launch = &birth.launch;
    for plan in &birth.mounts {
        mount_one(plan, fds, root)?;
    }
    mounts::enter_root().at(|| "make the root ours")?;
    if !launch.read_only_root {
        return Ok(());
    }
    if launch.cwd.starts_with('/') {
        // While it can be made, as Docker does; what hinders it is told when it is entered.
        let _ = std::fs::create_dir_all(&launch.cwd);
    }
    mounts::restrict(
        root.as_fd(),
        MountFlags {
            read_only: true,
            ..MountFlags::default()
        },
        false,
    )
    .at(|| "make the root read-only")
}

/// Names the host and makes the terminal, where there is one.
pub(crate) fn dress(birth: &NodeBirth, status: &Channel) -> Step<Option<OwnedFd>> {
    let launch = &birth.launch;
    if !launch.host.uts {
        rustix::system::sethostname(launch.hostname.as_bytes())
            .at(|| format!("name the host `{}`", launch.hostname))?;
        if let Some(domain) = &launch.domainname {
            process::set_domain_name(domain).at(|| format!("name the domain `{domain}`"))?;
        }
    }
    match birth.stdio {
        None => make_terminal(status, None, launch.uid, launch.gid).map(Some),
        Some(_) => Ok(None),
    }
}

/// Goes to the working folder, sets limits and takes the standard descriptors.
pub(crate) fn take_place(
    birth: &NodeBirth,
    fds: &[OwnedFd],
    terminal: Option<&OwnedFd>,
) -> Step<()> {
    make_and_go_to(&birth.launch.cwd)?;
    limit(&birth.launch.rlimits)?;
    match (terminal, birth.stdio) {
        (Some(slave), _) => {
            show_console(slave)?;
            take_terminal(slave.as_fd())?;
        }
        (None, Some(stdio)) => {
            for (number, at) in (0..).zip(stdio) {
                process::install_fd(fd(fds, at)?, number).at(|| "install standard descriptors")?;
            }
        }
        (None, None) => {}
    }
    Ok(())
}

/// Sysctls that belong to the namespaces of the node; everything else would be the host's.
pub(crate) fn is_own_sysctl(name: &str) -> bool {
    let plain = !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
        && name.split('.').all(|part| !part.is_empty());
    let own = name.starts_with("net.")
        || name.starts_with("fs.mqueue.")
        || matches!(
            name,
            "kernel.msgmax"
                | "kernel.msgmnb"
                | "kernel.msgmni"
                | "kernel.sem"
                | "kernel.shmall"
                | "kernel.shmmax"
                | "kernel.shmmni"
                | "kernel.shm_rmid_forced"
        );
    plain && own
}

fn write_sysctl(name: &str, value: &str) -> Step<()> {
    if !is_own_sysctl(name) {
        return refuse(
            format!("set sysctl {name}"),
            "only sysctls of a node's own namespaces can be set: net.*, fs.mqueue.*, kernel.msg*, kernel.sem, kernel.shm*",
        );
    }
    match std::fs::write(format!("/proc/sys/{}", name.replace('.', "/")), value) {
        // Older kernels (6.1) show no net.core to user namespaces. What they have there is what is asked for, or more.
        Err(e)
            if e.kind() == std::io::ErrorKind::NotFound
                && name == "net.core.somaxconn"
                && value.trim().parse::<u32>().is_ok_and(|n| n <= SOMAXCONN) =>
        {
            Ok(())
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && name.starts_with("net.core.") => {
            refuse(
                format!("set sysctl {name}"),
                "this kernel does not show net.core to user namespaces; a newer one does",
            )
        }
        other => other.at(|| format!("set sysctl {name}")),
    }
}

/// The backlog of new network namespaces (include/linux/socket.h from Linux 5.4 on).
const SOMAXCONN: u32 = 4096;

/// Opens one of the folders that the system's file systems are mounted over; an image in which it is a link is refused (security row S1).
pub(crate) fn system_folder(root: &OwnedFd, name: &str) -> Step<OwnedFd> {
    let open = || {
        let resolve = rustix::fs::ResolveFlags::IN_ROOT | rustix::fs::ResolveFlags::NO_SYMLINKS;
        mounts::open_in(
            root.as_fd(),
            name,
            OFlags::PATH | OFlags::DIRECTORY,
            resolve,
        )
    };
    let answer = match open() {
        Err(e) if e.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => {
            let (parent, last) = name.rsplit_once('/').unwrap_or((".", name));
            let parent = mounts::plain_place_in(root.as_fd(), parent)
                .at(|| format!("open /{name} of the image"))?;
            rustix::fs::mkdirat(&parent, last, Mode::from_raw_mode(0o755))
                .at(|| format!("make /{name} in the image"))?;
            open()
        }
        other => other,
    };
    match answer {
        Err(e) if matches!(Errno::from_io_error(&e), Some(Errno::LOOP | Errno::NOTDIR)) => refuse(
            format!("use the image: its /{name} is no plain folder"),
            "an image with a link or a file at /dev, /proc or /sys is refused, because mounts would land elsewhere",
        ),
        other => other.at(|| format!("open /{name} of the image")),
    }
}

/// What the system's own file systems forbid.
pub(crate) const SYSTEM: MountFlags = MountFlags {
    read_only: false,
    no_suid: true,
    no_dev: true,
    no_exec: true,
    no_atime: false,
};

/// What the system's own file systems are like.
pub(crate) struct System {
    pub(crate) shm_size: u64,
    pub(crate) masks: bool,
    pub(crate) show_cgroups: bool,
    pub(crate) host: HostMounts,
}

impl System {
    /// The size of `/dev/shm` that nobody changed, as Docker's.
    pub(crate) const SHM: u64 = 64 << 20;

    fn of(birth: &NodeBirth) -> Self {
        Self {
            shm_size: birth.launch.shm_size.map_or(Self::SHM, |s| s.0),
            masks: birth.launch.rights.masks,
            show_cgroups: birth.show_cgroups,
            host: birth.host,
        }
    }
}

/// Mounts the system's file systems at the plain folders of `root`, and masks them.
pub(crate) fn mount_system(
    system: &System,
    fds: &[OwnedFd],
    dev_at: Option<FdAt>,
    root: &OwnedFd,
) -> Step<()> {
    let host = system.host;
    let place =
        |kind: &str, options: &[(&str, Option<&str>)], flags: MountFlags, name: &str| -> Step<()> {
            let folder = system_folder(root, name)?;
            let of_host = match name {
                "proc" => host.proc,
                "sys" => host.sys,
                "sys/fs/cgroup" => host.cgroup,
                "dev/shm" => host.shm,
                "dev/mqueue" => host.mqueue,
                _ => None,
            };
            let what = || format!("mount {kind} at /{name}");
            if let Some(at) = of_host {
                return mounts::attach(fd(fds, at)?, folder.as_fd(), "").at(what);
            }
            let mount = mounts::new_detached(kind, options, flags).at(what)?;
            mounts::attach(mount.as_fd(), folder.as_fd(), "").at(what)
        };
    place("proc", &[], SYSTEM, "proc")?;
    let dev = system_folder(root, "dev")?;
    let Some(made) = dev_at else {
        return refuse("mount /dev", "this is a mistake of the keeper");
    };
    mounts::attach(fd(fds, made)?, dev.as_fd(), "").at(|| "mount /dev")?;
    let pts = [
        ("newinstance", None),
        ("ptmxmode", Some("0666")),
        ("mode", Some("0620")),
        ("gid", Some("5")),
    ];
    place(
        "devpts",
        &pts,
        MountFlags {
            no_dev: false,
            ..SYSTEM
        },
        "dev/pts",
    )?;
    let size = system.shm_size.to_string();
    place(
        "tmpfs",
        &[
            ("source", Some("shm")),
            ("mode", Some("1777")),
            ("size", Some(&size)),
        ],
        SYSTEM,
        "dev/shm",
    )?;
    place("mqueue", &[], SYSTEM, "dev/mqueue")?;
    place(
        "sysfs",
        &[],
        MountFlags {
            read_only: system.masks,
            ..SYSTEM
        },
        "sys",
    )?;
    if system.show_cgroups {
        place(
            "cgroup2",
            &[],
            MountFlags {
                read_only: true,
                ..SYSTEM
            },
            "sys/fs/cgroup",
        )?;
    }
    if system.masks { mask(root) } else { Ok(()) }
}

/// Opens the place of a mount inside of the root, making what is missing. Links of the image are followed inside of the root only.
fn target_place(root: &OwnedFd, target: &str, folder: bool) -> Step<OwnedFd> {
    let parts: Vec<&str> = target.split('/').filter(|part| !part.is_empty()).collect();
    if !target.starts_with('/')
        || parts.is_empty()
        || parts.iter().any(|part| matches!(*part, "." | ".."))
    {
        return refuse(
            format!("mount at `{target}`"),
            "a mount target is an absolute path without `.` and `..`, and not `/`",
        );
    }
    let open = |path: &str| mounts::place_in(root.as_fd(), path);
    match open(target) {
        Ok(found) => return Ok(found),
        Err(e) if Errno::from_io_error(&e) == Some(Errno::NOENT) => {}
        Err(e) => return Err(e).at(|| format!("open the mount target {target}")),
    }
    let mut parent = root.try_clone().at(|| "open the root")?;
    let mut path = String::new();
    for (at, part) in parts.iter().enumerate() {
        path.push('/');
        path.push_str(part);
        let next = match open(&path) {
            Err(e) if Errno::from_io_error(&e) == Some(Errno::NOENT) => {
                if rustix::fs::readlinkat(&parent, *part, Vec::new()).is_ok() {
                    return refuse(
                        format!("mount at {target}: {path} is a link to nothing"),
                        "remove the link from the image or mount elsewhere",
                    );
                }
                if at + 1 == parts.len() && !folder {
                    let flags = OFlags::WRONLY
                        | OFlags::CREATE
                        | OFlags::EXCL
                        | OFlags::NOFOLLOW
                        | OFlags::CLOEXEC;
                    rustix::fs::openat(&parent, *part, flags, Mode::from_raw_mode(0o644))
                        .at(|| format!("make the mount target {path}"))?;
                } else {
                    rustix::fs::mkdirat(&parent, *part, Mode::from_raw_mode(0o755))
                        .at(|| format!("make the mount target {path}"))?;
                }
                open(&path)
            }
            other => other,
        };
        parent = next.at(|| format!("open the mount target {path}"))?;
    }
    Ok(parent)
}

/// Refuses a place below /proc and /sys, however the image's links lead there.
fn refuse_system(place: &OwnedFd, target: &str) -> Step<()> {
    let file_system =
        rustix::fs::fstatfs(place).at(|| format!("look at the mount target {target}"))?;
    // PROC_SUPER_MAGIC, SYSFS_MAGIC, CGROUP2_SUPER_MAGIC (linux/magic.h).
    if matches!(file_system.f_type, 0x9fa0 | 0x6265_6572 | 0x6367_7270) {
        return refuse(
            format!("mount at {target}"),
            "nothing can be mounted over /proc and /sys",
        );
    }
    Ok(())
}

pub(crate) fn mount_one(plan: &MountPlan, fds: &[OwnedFd], root: &OwnedFd) -> Step<()> {
    let folder = match plan.what {
        MountWhat::Bind { folder, .. } => folder,
        MountWhat::Tmpfs { .. } => true,
    };
    // A folder that is made here for the mount is not the image's, and says nothing of whom the volume belongs to.
    let of_image = mounts::place_in(root.as_fd(), &plan.target).is_ok();
    let place = target_place(root, &plan.target, folder)?;
    refuse_system(&place, &plan.target)?;
    match plan.what {
        MountWhat::Bind {
            fd: at,
            copy_up: fill,
            ..
        } => {
            let source = fd(fds, at)?;
            if fill && of_image {
                copy_up::fill(place.as_fd(), source)
                    .at(|| format!("fill the volume at {} from the image", plan.target))?;
            }
            if plan.read_only {
                mounts::restrict(
                    source,
                    MountFlags {
                        read_only: true,
                        ..MountFlags::default()
                    },
                    true,
                )
                .at(|| format!("make {} read-only", plan.target))?;
            }
            mounts::attach(source, place.as_fd(), "").at(|| format!("mount at {}", plan.target))
        }
        MountWhat::Tmpfs { size, mode } => {
            let mode = format!("{mode:o}");
            let size = size.map(|s| s.to_string());
            let mut options = vec![("source", Some("tmpfs")), ("mode", Some(mode.as_str()))];
            if let Some(size) = &size {
                options.push(("size", Some(size.as_str())));
            }
            // As Docker's --tmpfs: nosuid, nodev, noexec.
            let mount = mounts::new_detached(
                "tmpfs",
                &options,
                MountFlags {
                    read_only: plan.read_only,
                    ..SYSTEM
                },
            )
            .at(|| format!("mount memory at {}", plan.target))?;
            mounts::attach(mount.as_fd(), place.as_fd(), "")
                .at(|| format!("mount memory at {}", plan.target))
        }
    }
}

/// Paths that tell too much (moby `oci/defaults.go`); files show /dev/null, folders are empty.
const MASKED: [&str; 10] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/sys/firmware",
];

/// Paths that do too much (moby `oci/defaults.go`).
const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

fn mask(root: &OwnedFd) -> Step<()> {
    // Below our own procfs, sysfs and /dev, which no image has touched.
    let open = |path: &str| mounts::plain_place_in(root.as_fd(), path);
    let null = open("/dev/null").at(|| "open /dev/null")?;
    let mut empty: Option<OwnedFd> = None;
    for path in MASKED
        .iter()
        .copied()
        .chain(["/sys/devices/virtual/powercap"])
    {
        let Ok(place) = open(path) else { continue };
        let folder = rustix::fs::fstat(&place)
            .is_ok_and(|s| rustix::fs::FileType::from_raw_mode(s.st_mode).is_dir());
        let cover = if folder {
            match &empty {
                Some(made) => mounts::detached_bind(made.as_fd(), false),
                None => mounts::new_detached(
                    "tmpfs",
                    &[("size", Some("0"))],
                    MountFlags {
                        read_only: true,
                        ..SYSTEM
                    },
                ),
            }
        } else {
            mounts::detached_bind(null.as_fd(), false)
        };
        let cover = cover.at(|| format!("mask {path}"))?;
        mounts::attach(cover.as_fd(), place.as_fd(), "").at(|| format!("mask {path}"))?;
        if folder && empty.is_none() {
            empty = Some(open(path).at(|| format!("mask {path}"))?);
        }
    }
    for path in READ_ONLY {
        let Ok(place) = open(path) else { continue };
        let cover =
            mounts::detached_bind(place.as_fd(), true).at(|| format!("make {path} read-only"))?;
        mounts::restrict(
            cover.as_fd(),
            MountFlags {
                read_only: true,
                ..SYSTEM
            },
            true,
        )
        .at(|| format!("make {path} read-only"))?;
        mounts::attach(cover.as_fd(), place.as_fd(), "").at(|| format!("make {path} read-only"))?;
    }
    Ok(())
}

fn show_console(slave: &OwnedFd) -> Step<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open("/dev/console", flags, Mode::from_raw_mode(0o600))
        .at(|| "make /dev/console")?;
    let place =
        mounts::plain_place(std::path::Path::new("/dev/console")).at(|| "open /dev/console")?;
    let cover = mounts::detached_bind(slave.as_fd(), false).at(|| "bind /dev/console")?;
    mounts::attach(cover.as_fd(), place.as_fd(), "").at(|| "bind /dev/console")
}

pub(crate) fn wait_for(status: &Channel, wanted: u8) -> Step<()> {
    match status.receive_byte().at(|| "hear from the keeper")? {
        Some(byte) if byte == wanted => Ok(()),
        // The keeper gave this launch up, or is dead.
        _ => process::exit_now(126),
    }
}

fn bring_up_network(birth: &NodeBirth, status: &Channel) -> Step<()> {
    wait_for(status, go::NETWORK)?;
    if birth.share_net.is_none() && birth.launch.network != NetworkLaunch::Host {
        let mut route = Route::open().at(|| "speak about links")?;
        let mut messages = vec![netlink::up(1)];
        for link in &birth.links {
            configure(link, &mut messages);
        }
        route.batch(messages).at(|| "configure the network")?;
    }
    if !birth.resolver {
        return status
            .send_parcel(&Report::Networked, &[])
            .at(|| "tell the keeper");
    }
    let udp = std::net::UdpSocket::bind(RESOLVER).at(|| "listen for names")?;
    let tcp = std::net::TcpListener::bind(RESOLVER).at(|| "listen for names")?;
    status
        .send_parcel(&Report::Networked, &[udp.as_fd(), tcp.as_fd()])
        .at(|| "tell the keeper")
}

pub(crate) fn configure(link: &LinkPlan, messages: &mut Vec<netlink::Message>) {
    let six = link.addresses.iter().any(|(address, _)| address.is_ipv6());
    if !six {
        messages.push(netlink::no_own_ipv6(link.index));
    }
    messages.push(netlink::up(link.index));
    for (address, prefix) in &link.addresses {
        messages.push(netlink::address(link.index, *address, *prefix));
    }
    for gateway in &link.gateways {
        messages.push(netlink::default_route(*gateway, link.index));
    }
}

/// Attaches a stopped node's root and mounts in a fresh mount namespace, without the system's file systems, and enters it.
pub(crate) fn enter_stopped(
    root: BorrowedFd<'_>,
    plans: &[MountPlan],
    fds: &[OwnedFd],
) -> Step<()> {
    mounts::attach(root, rustix::fs::CWD, ROOT).at(|| "mount the root")?;
    rustix::process::chdir(ROOT).at(|| "enter the root")?;
    let root = rustix::fs::open(".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .at(|| "open the root")?;
    for plan in plans {
        mount_one(plan, fds, &root)?;
    }
    mounts::enter_root().at(|| "make the root ours")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sysctls_of_the_host_are_refused() {
        for name in [
            "net.core.somaxconn",
            "net.ipv4.ip_forward",
            "kernel.shmmax",
            "fs.mqueue.msg_max",
        ] {
            assert!(is_own_sysctl(name), "{name}");
        }
        for name in [
            "kernel.core_pattern",
            "vm.max_map_count",
            "fs.file-max",
            "",
            "net..x",
            "net.ipv4/../../kernel",
            "net.ipv4.../x",
            "kernel.shmmax.",
            "net.\0",
        ] {
            assert!(!is_own_sysctl(name), "{name:?}");
        }
    }
}
