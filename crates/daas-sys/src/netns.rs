//! Network namespaces: visits, and sockets that are made inside and used outside.

use crate::fault::{Attempt, Fault};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Moves the calling thread into new namespaces of its own.
///
/// # Errors
/// What unshare(2) says.
pub fn unshare(mount: bool, net: bool, cgroup: bool) -> io::Result<()> {
    let mut flags = UnshareFlags::empty();
    flags.set(UnshareFlags::NEWNS | UnshareFlags::FS, mount);
    flags.set(UnshareFlags::NEWNET, net);
    flags.set(UnshareFlags::NEWCGROUP, cgroup);
    // SAFETY: CLONE_FILES is never among the flags, so every descriptor stays what it was.
    Ok(unsafe { unshare_unsafe(flags) }?)
}

/// Opens the network namespace of the calling thread.
///
/// # Errors
/// If `/proc` is not there.
pub fn current() -> io::Result<OwnedFd> {
    File::open("/proc/thread-self/ns/net").map(OwnedFd::from)
}

/// Opens the network namespace of a process.
///
/// # Errors
/// `NotFound` if it ended.
pub fn of_process(pid: i32) -> io::Result<OwnedFd> {
    File::open(format!("/proc/{pid}/ns/net")).map(OwnedFd::from)
}

/// Moves the calling thread into network namespace `net` for good.
///
/// # Errors
/// What setns(2) says.
pub fn enter(net: BorrowedFd<'_>) -> io::Result<()> {
    Ok(move_into_link_name_space(
        net,
        Some(LinkNameSpaceType::Network),
    )?)
}

/// Moves the calling thread into user namespace `user` for good.
///
/// # Errors
/// What setns(2) says.
pub fn enter_user(user: BorrowedFd<'_>) -> io::Result<()> {
    Ok(move_into_link_name_space(
        user,
        Some(LinkNameSpaceType::User),
    )?)
}

/// Which namespaces of another process are ours already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "one for each kind")]
pub struct Shared {
    /// Processes.
    pub pid: bool,
    /// Network.
    pub net: bool,
    /// Host name.
    pub uts: bool,
    /// Message queues and shared memory.
    pub ipc: bool,
    /// Control groups.
    pub cgroup: bool,
}

/// Moves the calling process into the mount, UTS, IPC, network, cgroup and (for its children) pid namespaces of the process that `pidfd` means,
/// but for those that are `shared`.
///
/// # Errors
/// What setns(2) says.
pub fn enter_process(pidfd: BorrowedFd<'_>, shared: Shared) -> io::Result<()> {
    use rustix::thread::ThreadNameSpaceType as T;
    let wanted = [
        (shared.pid, T::PROCESS_ID),
        (shared.net, T::NETWORK),
        (shared.uts, T::HOST_NAME_AND_NIS_DOMAIN_NAME),
        (shared.ipc, T::INTER_PROCESS_COMMUNICATION),
        (shared.cgroup, T::CONTROL_GROUP),
    ]
    .into_iter()
    .filter(|(shared, _)| !shared)
    .fold(T::MOUNT, |all, (_, kind)| all | kind);
    Ok(rustix::thread::move_into_thread_name_spaces(pidfd, wanted)?)
}

/// Moves the calling process into the mount namespace of the process that `pidfd` means.
///
/// # Errors
/// What setns(2) says.
pub fn enter_mounts_of(pidfd: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::thread::move_into_thread_name_spaces(
        pidfd,
        rustix::thread::ThreadNameSpaceType::MOUNT,
    )?)
}

/// Runs `visit` with the calling thread inside `net`, and comes home.
///
/// Only the calling thread moves: never call it on a thread that runs other people's work. If the way home fails the process aborts,
/// because everything after it would happen in the wrong network.
///
/// # Errors
/// What setns(2) says on the way in, and what `visit` answers.
pub fn visit<T>(
    net: BorrowedFd<'_>,
    home: BorrowedFd<'_>,
    visit: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    enter(net)?;
    let answer = visit();
    if enter(home).is_err() {
        std::process::abort();
    }
    answer
}

type Work = Box<dyn FnOnce() + Send>;

/// A thread that makes sockets inside of stands' networks for everybody else.
///
/// A socket remembers the namespace it was made in, so it can be used from any thread afterwards. A visit costs about 10 microseconds.
#[derive(Debug)]
pub struct Dialer {
    work: SyncSender<Work>,
}

/// How many visits may wait for the thread; at 10 microseconds each this is under 3 ms.
const DIALER_QUEUE: usize = 256;

impl Dialer {
    /// Starts the thread; it ends when the dialer is dropped.
    ///
    /// # Errors
    /// If no thread can be made.
    pub fn start() -> Result<Self, Fault> {
        let (work, waiting): (SyncSender<Work>, Receiver<Work>) = sync_channel(DIALER_QUEUE);
        std::thread::Builder::new()
            .name("dialer".to_owned())
            .spawn(move || {
                for task in waiting {
                    task();
                }
            })
            .attempt(|| "start the dialer's thread")?;
        Ok(Self { work })
    }

    /// Runs `make` inside `net` and hands its answer to `done`, on the dialer's thread.
    ///
    /// `make` must not wait for anything: make sockets, bind, listen; connect later, outside, without blocking.
    /// Waits while [`DIALER_QUEUE`] visits are pending. If the dialer is gone, `done` is dropped unrun.
    pub fn dial<T, F, D>(&self, net: OwnedFd, make: F, done: D)
    where
        F: FnOnce() -> io::Result<T> + Send + 'static,
        D: FnOnce(io::Result<T>) + Send + 'static,
        T: Send + 'static,
    {
        let task: Work = Box::new(move || {
            let answer = current().and_then(|home| visit(net.as_fd(), home.as_fd(), make));
            done(answer);
        });
        let _ = self.work.send(task);
    }

    /// The same, and waits for the answer: for threads that may block.
    ///
    /// # Errors
    /// What setns(2) and `make` say.
    pub fn dial_and_wait<T, F>(&self, net: OwnedFd, make: F) -> io::Result<T>
    where
        F: FnOnce() -> io::Result<T> + Send + 'static,
        T: Send + 'static,
    {
        let (tell, told) = sync_channel(1);
        self.dial(net, make, move |answer| {
            let _ = tell.send(answer);
        });
        told.recv()
            .map_err(|_| io::Error::other("the dialer's thread has ended"))?
    }
}

/// How many entries the kernel's table of neighbours may hold before it refuses, for all namespaces together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NeighbourThresholds {
    /// Below this nothing is collected.
    pub low: u32,
    /// Above this old entries are collected soon.
    pub soft: u32,
    /// Above this new entries are refused.
    pub hard: u32,
}

impl NeighbourThresholds {
    /// Enough for 1,000 stands of 10 nodes that all know each other's gateway and two neighbours (the kernel's default of 1,024 overflowed at 300 stands, reference/engine.md 8.3).
    pub const WANTED: Self = Self {
        low: 16_384,
        soft: 32_768,
        hard: 65_536,
    };

    /// Reads what is in force for IPv4 (`family` "ipv4") or IPv6 ("ipv6").
    ///
    /// # Errors
    /// If the files are not there (not the initial network namespace).
    pub fn read(family: &str) -> Result<Self, Fault> {
        let one = |n: u32| -> Result<u32, Fault> {
            let path = format!("/proc/sys/net/{family}/neigh/default/gc_thresh{n}");
            let text = std::fs::read_to_string(&path).attempt(|| format!("read {path}"))?;
            text.trim()
                .parse()
                .map_err(io::Error::other)
                .attempt(|| format!("read {path}"))
        };
        Ok(Self {
            low: one(1)?,
            soft: one(2)?,
            hard: one(3)?,
        })
    }

    /// Raises what is in force to at least this; never lowers. Returns whether anything was changed.
    ///
    /// # Errors
    /// If the files cannot be written.
    pub fn raise(self, family: &str) -> Result<bool, Fault> {
        let now = Self::read(family)?;
        let mut changed = false;
        // From above, so that low <= soft <= hard holds at every moment.
        for (n, have, want) in [
            (3, now.hard, self.hard),
            (2, now.soft, self.soft),
            (1, now.low, self.low),
        ] {
            if have < want {
                let path = format!("/proc/sys/net/{family}/neigh/default/gc_thresh{n}");
                std::fs::write(&path, want.to_string()).attempt(|| format!("write {path}"))?;
                changed = true;
            }
        }
        Ok(changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_a_dialer_makes_sockets_in_another_namespace() {
        let dialer = Dialer::start().unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            unshare(false, true, false).unwrap();
            tell.send((current().unwrap(), current().unwrap())).unwrap();
        });
        let (first, second) = told.recv().unwrap();
        // In the fresh namespace even loopback is down, so no address can be bound but the wildcard; at home 127.0.0.1 works.
        let refused = dialer
            .dial_and_wait(first, || std::net::TcpListener::bind("127.0.0.1:0"))
            .is_err();
        let socket = dialer
            .dial_and_wait(second, || std::net::UdpSocket::bind("0.0.0.0:53"))
            .unwrap();
        assert_eq!(socket.local_addr().unwrap().port(), 53);
        assert!(refused || std::net::TcpListener::bind("127.0.0.1:0").is_ok());
        std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    }
}
