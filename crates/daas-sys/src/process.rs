//! The calling process and its children.

use crate::fault::check;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

/// Ends the process at once: no destructors, no flushing.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit never returns and touches no memory.
    unsafe { libc::_exit(code) }
}

/// Kills the calling process as `kill -9` would.
pub fn kill_self() -> ! {
    // SAFETY: kill and getpid take and give plain numbers.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    loop {
        std::thread::park();
    }
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It exited with this code.
    Exited(i32),
    /// This signal ended it.
    Killed(i32),
}

impl End {
    /// Returns the code as shells say it: 128 + signal when a signal ended it.
    #[must_use]
    pub fn code(self) -> i32 {
        match self {
            Self::Exited(code) => code,
            Self::Killed(signal) => 128 + signal,
        }
    }
}

fn end_of(status: i32) -> End {
    if libc::WIFEXITED(status) {
        End::Exited(libc::WEXITSTATUS(status))
    } else {
        End::Killed(libc::WTERMSIG(status))
    }
}

/// Reaps one ended child, if there is one; never waits.
///
/// # Errors
/// What waitpid(2) says, except `ECHILD`, which is `None`.
pub fn reap_any() -> io::Result<Option<(i32, End)>> {
    let mut status = 0;
    // SAFETY: `status` is a valid place for the answer.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG | libc::__WALL) };
    match pid {
        0 => Ok(None),
        -1 => match io::Error::last_os_error() {
            e if e.raw_os_error() == Some(libc::ECHILD) => Ok(None),
            e => Err(e),
        },
        pid => Ok(Some((pid, end_of(status)))),
    }
}

/// Reaps child `pid` if it has ended; never waits.
///
/// # Errors
/// What waitpid(2) says: `ECHILD` if there is no such child (any more).
pub fn reap_one(pid: i32) -> io::Result<Option<End>> {
    let mut status = 0;
    // SAFETY: `status` is a valid place for the answer.
    let answer = unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG | libc::__WALL) };
    match check(answer.into())? {
        0 => Ok(None),
        _ => Ok(Some(end_of(status))),
    }
}

/// Waits for the end of child `pid`.
///
/// # Errors
/// What waitpid(2) says; interruptions are retried.
pub fn wait_for(pid: i32) -> io::Result<End> {
    loop {
        let mut status = 0;
        // SAFETY: `status` is a valid place for the answer.
        let answer = unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) };
        match check(answer.into()) {
            Ok(_) => return Ok(end_of(status)),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// Asks the kernel to kill us with `signal` when our parent ends; must be repeated after every change of user.
///
/// # Errors
/// What prctl(2) says.
pub fn die_with_parent(signal: i32) -> io::Result<()> {
    // SAFETY: prctl with plain numbers.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal, 0, 0, 0) }.into()).map(|_| ())
}

/// Says whether other processes may look into us (`/proc/self/mem`, ptrace, core files).
///
/// # Errors
/// What prctl(2) says.
pub fn set_dumpable(dumpable: bool) -> io::Result<()> {
    // SAFETY: prctl with plain numbers.
    check(
        unsafe {
            libc::prctl(
                libc::PR_SET_DUMPABLE,
                libc::c_ulong::from(dumpable),
                0,
                0,
                0,
            )
        }
        .into(),
    )
    .map(|_| ())
}

/// Makes us the parent of orphaned descendants.
///
/// # Errors
/// What prctl(2) says.
pub fn adopt_orphans() -> io::Result<()> {
    // SAFETY: prctl with plain numbers.
    check(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }.into()).map(|_| ())
}

/// Makes setuid programs and file capabilities give nothing from now on.
///
/// # Errors
/// What prctl(2) says.
pub fn no_new_privileges() -> io::Result<()> {
    // SAFETY: prctl with plain numbers.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }.into()).map(|_| ())
}

/// Names the process for `ps` and `top` (first 15 bytes).
pub fn set_name(name: &CStr) {
    // SAFETY: `name` ends with a zero byte and lives through the call.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr(), 0, 0, 0) };
}

/// Puts every signal back to its default and unblocks all, as a program expects at its start (the Rust runtime ignores SIGPIPE).
pub fn reset_signals() {
    // The kernel's own call: the C library keeps 32 and 33 to itself, and whoever started us may have ignored them.
    let default = [0u64; 4];
    for signal in 1..=64 {
        // SAFETY: `struct sigaction` of the kernel is four words on x86-64, and all zero means the default; numbers that cannot be changed answer EINVAL, which is right.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                std::ptr::null::<u64>(),
                size_of::<u64>(),
            )
        };
    }
    // SAFETY: an empty set made by sigemptyset is valid; the old set is not wanted.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Lets the kernel reap our children.
///
/// # Errors
/// What signal(2) says.
pub fn ignore_children() -> io::Result<()> {
    ignore(libc::SIGCHLD)
}

/// Makes a write to a reader that is gone an error instead of our end.
///
/// # Errors
/// What signal(2) says.
pub fn ignore_broken_pipes() -> io::Result<()> {
    ignore(libc::SIGPIPE)
}

fn ignore(signal: i32) -> io::Result<()> {
    // SAFETY: SIG_IGN is a valid disposition for both signals.
    if unsafe { libc::signal(signal, libc::SIG_IGN) } == libc::SIG_ERR {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Closes every descriptor from `first` on.
///
/// # Errors
/// What close_range(2) says.
pub fn close_from(first: RawFd) -> io::Result<()> {
    let first =
        libc::c_uint::try_from(first).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
    // SAFETY: only used where nothing above `first` is used any more; a stale owner would get EBADF, not another file, because the caller ends or execs next.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) }).map(|_| ())
}

/// Closes every descriptor that is not in `keep`; for a process that was just forked and owns none of the others.
///
/// # Errors
/// What close_range(2) says.
pub fn close_all_but(keep: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut kept: Vec<libc::c_uint> = keep
        .iter()
        .filter_map(|fd| libc::c_uint::try_from(fd.as_raw_fd()).ok())
        .collect();
    kept.sort_unstable();
    let mut from = 0;
    for fd in kept {
        if fd > from {
            // SAFETY: as documented, nothing else in this process owns these numbers.
            check(unsafe { libc::syscall(libc::SYS_close_range, from, fd - 1, 0) })?;
        }
        from = fd + 1;
    }
    // SAFETY: as above.
    check(unsafe { libc::syscall(libc::SYS_close_range, from, libc::c_uint::MAX, 0) }).map(|_| ())
}

/// Closes every descriptor from 3 on that is not in `keep`; for a process that was just forked and owns none of the others.
///
/// # Errors
/// What close_range(2) says.
pub fn close_all_but_standard(keep: &[BorrowedFd<'_>]) -> io::Result<()> {
    // SAFETY: 0, 1 and 2 are open in every process of ours (the Rust runtime sees to it), and borrowing them only keeps them.
    let standard = unsafe {
        [
            BorrowedFd::borrow_raw(0),
            BorrowedFd::borrow_raw(1),
            BorrowedFd::borrow_raw(2),
        ]
    };
    close_all_but(&[&standard, keep].concat())
}

/// Makes `fd` descriptor number `number` (0, 1 or 2), open across exec.
///
/// # Errors
/// What dup2(2) says.
pub fn install_fd(fd: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    if fd.as_raw_fd() == number {
        // SAFETY: fcntl with plain numbers.
        return check(unsafe { libc::fcntl(number, libc::F_SETFD, 0) }.into()).map(|_| ());
    }
    // SAFETY: dup2 with plain numbers; 0, 1 and 2 are owned by nobody in Rust.
    check(unsafe { libc::dup2(fd.as_raw_fd(), number) }.into()).map(|_| ())
}

/// Replaces this process by `program`; returns only on failure, with the reason.
pub fn exec(program: &CStr, argv: &[CString], env: &[CString]) -> io::Error {
    let mut argv: Vec<*const libc::c_char> = argv.iter().map(|a| a.as_ptr()).collect();
    argv.push(std::ptr::null());
    let mut env: Vec<*const libc::c_char> = env.iter().map(|a| a.as_ptr()).collect();
    env.push(std::ptr::null());
    // SAFETY: both arrays end with null, their strings with zero, and all live through the call.
    unsafe { libc::execve(program.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// Makes the terminal `fd` the controlling terminal of our new session.
///
/// # Errors
/// What ioctl TIOCSCTTY says.
pub fn take_terminal(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: TIOCSCTTY takes a plain number.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCSCTTY, 0) }.into()).map(|_| ())
}

/// Sends `signal` to process `pid`.
///
/// # Errors
/// What kill(2) says.
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: kill with plain numbers.
    check(unsafe { libc::kill(pid, signal) }.into()).map(|_| ())
}

/// Sends `signal` to the process that `pidfd` means.
///
/// # Errors
/// `ESRCH` if it ended; `EINVAL` for a number that is no signal.
pub fn kill_pidfd(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    // SAFETY: a null siginfo is allowed (pidfd_send_signal(2)).
    check(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    })
    .map(|_| ())
}

/// Leaves all supplementary groups, takes `groups`, `gid` and `uid` (real, effective, saved) for good.
///
/// # Errors
/// What setgroups(2), setresgid(2), setresuid(2) say.
pub fn become_user(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    // The raw calls: glibc's wrappers signal all threads of the process, and we are the only one.
    // SAFETY: the pointer and length are those of a live slice; the other arguments are plain numbers.
    unsafe {
        check(libc::syscall(
            libc::SYS_setgroups,
            groups.len(),
            groups.as_ptr(),
        ))?;
        check(libc::syscall(libc::SYS_setresgid, gid, gid, gid))?;
        check(libc::syscall(libc::SYS_setresuid, uid, uid, uid))?;
    }
    Ok(())
}

/// Sets the NIS domain name of our UTS namespace.
///
/// # Errors
/// What setdomainname(2) says.
pub fn set_domain_name(name: &str) -> io::Result<()> {
    // SAFETY: pointer and length are those of a live string.
    check(unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) }.into()).map(|_| ())
}

/// The resource limits by their names in files, without `RLIMIT_`.
const RLIMITS: [(&str, libc::__rlimit_resource_t); 16] = [
    ("as", libc::RLIMIT_AS),
    ("core", libc::RLIMIT_CORE),
    ("cpu", libc::RLIMIT_CPU),
    ("data", libc::RLIMIT_DATA),
    ("fsize", libc::RLIMIT_FSIZE),
    ("locks", libc::RLIMIT_LOCKS),
    ("memlock", libc::RLIMIT_MEMLOCK),
    ("msgqueue", libc::RLIMIT_MSGQUEUE),
    ("nice", libc::RLIMIT_NICE),
    ("nofile", libc::RLIMIT_NOFILE),
    ("nproc", libc::RLIMIT_NPROC),
    ("rss", libc::RLIMIT_RSS),
    ("rtprio", libc::RLIMIT_RTPRIO),
    ("rttime", libc::RLIMIT_RTTIME),
    ("sigpending", libc::RLIMIT_SIGPENDING),
    ("stack", libc::RLIMIT_STACK),
];

/// Sets resource limit `name` of the calling process; what exceeds our own hard limit is clamped when the kernel refuses to raise it.
///
/// # Errors
/// `InvalidInput` for an unknown name; what setrlimit(2) says.
pub fn set_rlimit(name: &str, soft: u64, hard: u64) -> io::Result<()> {
    let Some((_, resource)) = RLIMITS.iter().find(|(known, _)| *known == name) else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("`{name}` is no resource limit"),
        ));
    };
    let wanted = libc::rlimit {
        rlim_cur: soft.min(hard),
        rlim_max: hard,
    };
    // SAFETY: `wanted` is a valid rlimit.
    match check(unsafe { libc::setrlimit(*resource, &raw const wanted) }.into()) {
        Err(e) if e.raw_os_error() == Some(libc::EPERM) => {
            let mut now = libc::rlimit {
                rlim_cur: 0,
                rlim_max: 0,
            };
            // SAFETY: `now` is a valid place for the answer.
            check(unsafe { libc::getrlimit(*resource, &raw mut now) }.into())?;
            let clamped = libc::rlimit {
                rlim_cur: wanted.rlim_cur.min(now.rlim_max),
                rlim_max: wanted.rlim_max.min(now.rlim_max),
            };
            // SAFETY: `clamped` is a valid rlimit.
            check(unsafe { libc::setrlimit(*resource, &raw const clamped) }.into()).map(|_| ())
        }
        other => other.map(|_| ()),
    }
}

/// Raises the hard limit `name` of the calling process to `wanted`, as far as the kernel lets us; the soft limit stays.
///
/// # Errors
/// `InvalidInput` for an unknown name; `EPERM` without `CAP_SYS_RESOURCE`.
pub fn raise_hard_limit(name: &str, wanted: u64) -> io::Result<()> {
    let Some((_, resource)) = RLIMITS.iter().find(|(known, _)| *known == name) else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("`{name}` is no resource limit"),
        ));
    };
    let mut now = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `now` is a valid place for the answer.
    check(unsafe { libc::getrlimit(*resource, &raw mut now) }.into())?;
    if now.rlim_max >= wanted {
        return Ok(());
    }
    now.rlim_max = wanted;
    // SAFETY: `now` is a valid rlimit.
    check(unsafe { libc::setrlimit(*resource, &raw const now) }.into()).map(|_| ())
}

/// Returns when process `pid` started, in clock ticks since boot; with the pid it names a process for good.
#[must_use]
pub fn start_time(pid: i32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; fields are counted behind the last one (proc_pid_stat(5): starttime is field 22).
    text.rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(19)?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_start_time_is_known_and_an_absent_process_has_none() {
        assert!(start_time(i32::try_from(std::process::id()).unwrap()).is_some());
        assert!(start_time(0).is_none());
    }

    #[test]
    fn an_unknown_resource_limit_is_refused() {
        assert_eq!(
            set_rlimit("nofiles", 1, 1).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
    }
}
