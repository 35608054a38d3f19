//! Processes born by clone3: into namespaces, into a cgroup, as a sibling.

use crate::fault::check;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The proof that this process has one thread, so that a child born by clone3 may allocate and lock as it likes.
///
/// It cannot be sent to another thread; whoever holds it must not start one.
#[derive(Debug, Clone, Copy)]
pub struct SingleThread(PhantomData<*const ()>);

impl SingleThread {
    /// Looks whether this process has one thread.
    ///
    /// # Errors
    /// `Other` if it has more, or `/proc` cannot be read.
    pub fn prove() -> io::Result<Self> {
        let count = std::fs::read_dir("/proc/self/task")?.count();
        if count == 1 {
            Ok(Self(PhantomData))
        } else {
            Err(io::Error::other(format!(
                "the process has {count} threads and must have one"
            )))
        }
    }

    /// Passes the proof on to a child of a process that had it: fork leaves one thread.
    #[must_use]
    pub(crate) fn inherited() -> Self {
        Self(PhantomData)
    }
}

/// Which namespaces a child gets of its own (`CLONE_NEW*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Namespaces(u64);

impl Namespaces {
    /// None.
    pub const NONE: Self = Self(0);
    /// Mounts.
    pub const MOUNT: Self = Self(libc::CLONE_NEWNS as u64);
    /// Process ids.
    pub const PID: Self = Self(libc::CLONE_NEWPID as u64);
    /// Network.
    pub const NET: Self = Self(libc::CLONE_NEWNET as u64);
    /// Host name.
    pub const UTS: Self = Self(libc::CLONE_NEWUTS as u64);
    /// System V and POSIX message queues, shared memory, semaphores.
    pub const IPC: Self = Self(libc::CLONE_NEWIPC as u64);
    /// Users.
    pub const USER: Self = Self(libc::CLONE_NEWUSER as u64);

    /// Returns both together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// How a child is born.
#[derive(Debug, Clone, Copy, Default)]
pub struct Birth<'fd> {
    /// Its own namespaces.
    pub namespaces: Namespaces,
    /// The cgroup (v2 folder) that it is born in; no migration, no RCU grace period.
    pub cgroup: Option<BorrowedFd<'fd>>,
    /// Whether its parent is our parent (`CLONE_PARENT`).
    pub sibling: bool,
}

/// `CLONE_INTO_CGROUP` of `linux/sched.h`; libc has it as an i32 overflow on some targets.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Makes a child that runs `life` and exits with its answer; a panic in it exits with 101.
///
/// Returns the child's process id in our pid namespace. Signal dispositions and mask are inherited.
///
/// # Errors
/// What clone3(2) says: `EAGAIN` at a limit of processes, `EPERM` without the right for the namespaces.
pub fn give_birth(
    _proof: &SingleThread,
    birth: &Birth<'_>,
    life: impl FnOnce(SingleThread) -> i32,
) -> io::Result<i32> {
    // SAFETY: clone_args is plain data for which zero is a valid value of every field.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = birth.namespaces.0;
    if birth.sibling {
        // The exit signal is inherited then and must be 0 (clone(2)).
        args.flags |= libc::CLONE_PARENT as u64;
    } else {
        args.exit_signal = libc::SIGCHLD as u64;
    }
    if let Some(cgroup) = birth.cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::try_from(cgroup.as_raw_fd())
            .map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
    }
    // SAFETY: without CLONE_VM the child has a copy of our memory, stack included, as after fork; we are the only thread (`_proof`),
    // so no lock is held by a thread that does not exist in the child.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw mut args,
            size_of::<libc::clone_args>(),
        )
    };
    if answer == 0 {
        let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            life(SingleThread::inherited())
        }))
        .unwrap_or(101);
        crate::process::exit_now(code);
    }
    let pid = check(answer)?;
    i32::try_from(pid).map_err(|_| io::Error::other("the kernel gave a process id that is none"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_threads_gets_no_proof() {
        let (tell, told) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || told.recv());
        assert!(SingleThread::prove().is_err());
        drop(tell);
        let _ = other.join();
    }
}
