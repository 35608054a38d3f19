//! Signals as a descriptor.

use crate::fault::check;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Signals of the process that arrive by reading instead of interrupting.
#[derive(Debug)]
pub struct Signals(OwnedFd);

impl Signals {
    /// Blocks `signals` for the process and returns where they arrive; reading never waits.
    ///
    /// # Errors
    /// What signalfd(2) says.
    pub fn take(signals: &[i32]) -> io::Result<Self> {
        // SAFETY: the set is made empty before it is used, and lives through the calls; the new descriptor is owned by nobody else.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut set);
            for signal in signals {
                libc::sigaddset(&raw mut set, *signal);
            }
            check(libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()).into())?;
            let fd = check(
                libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK).into(),
            )?;
            let fd = libc::c_int::try_from(fd).map_err(io::Error::other)?;
            Ok(Self(OwnedFd::from_raw_fd(fd)))
        }
    }

    /// Returns the number of the next signal that waits, if any.
    #[must_use]
    pub fn next(&self) -> Option<i32> {
        // SAFETY: signalfd_siginfo is plain data; the buffer is as long as we say; the kernel writes whole records only.
        unsafe {
            let mut info: libc::signalfd_siginfo = std::mem::zeroed();
            let size = size_of::<libc::signalfd_siginfo>();
            let got = libc::read(self.0.as_raw_fd(), (&raw mut info).cast(), size);
            if usize::try_from(got) == Ok(size) {
                i32::try_from(info.ssi_signo).ok()
            } else {
                None
            }
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
