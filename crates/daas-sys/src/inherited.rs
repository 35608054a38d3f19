//! Sockets that the program was started with (`sd_listen_fds(3)`).

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// The first descriptor that is passed on (`SD_LISTEN_FDS_START`).
const FIRST: RawFd = 3;
/// More than any manager stores for us.
const MOST: RawFd = 1024;

/// Takes the descriptors that whoever started this process passed on by `LISTEN_PID` and `LISTEN_FDS`, close-on-exec; none if there are
/// none, or they were meant for another process. The second call gets nothing.
///
/// Must be called before the program opens anything itself: a number below the count that was said belongs to the caller from then on.
#[must_use]
pub fn sockets() -> Vec<OwnedFd> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::AcqRel) {
        return Vec::new();
    }
    let number = |name: &str| std::env::var(name).ok()?.parse::<RawFd>().ok();
    let own = RawFd::try_from(std::process::id()).ok();
    if number("LISTEN_PID").is_none() || number("LISTEN_PID") != own {
        return Vec::new();
    }
    let count = number("LISTEN_FDS").unwrap_or(0).clamp(0, MOST);
    (FIRST..FIRST + count)
        .filter_map(|fd| take(fd).ok())
        .collect()
}

fn take(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_SETFD changes a flag of a number; a number that is not open gives EBADF.
    let set = unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    if set < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, by the check above, and was passed on to this process: nobody else in it owns the number, and none is taken twice.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
