use daas_model::{Explain, Kind};
use std::fmt;
use std::io;

/// The kernel refused something.
#[derive(Debug)]
pub struct Fault {
    /// What was attempted, on what: `mount /proc`.
    pub attempt: String,
    /// The kernel's answer.
    pub source: io::Error,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}", self.attempt)
    }
}

impl std::error::Error for Fault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

impl Explain for Fault {
    fn code(&self) -> &'static str {
        "kernel-refused"
    }

    fn kind(&self) -> Kind {
        Kind::Outside
    }

    fn hint(&self) -> Option<String> {
        match self.source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => {
                Some("run as root, and see what `daas doctor` says about this kernel".to_owned())
            }
            Some(libc::ENOSYS | libc::EOPNOTSUPP) => {
                Some("this kernel lacks the feature; `daas doctor` names what is needed".to_owned())
            }
            Some(libc::ENOSPC) => Some(
                "a disk or a kernel table is full; see `df`, `df -i` and `daas doctor`".to_owned(),
            ),
            _ => None,
        }
    }
}

/// Puts the attempt beside the kernel's answer.
pub trait Attempt<T> {
    /// Makes the error a [`Fault`] that says what was attempted.
    ///
    /// # Errors
    /// The same failures, as [`Fault`].
    fn attempt<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T, Fault>;
}

impl<T, E: Into<io::Error>> Attempt<T> for Result<T, E> {
    fn attempt<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T, Fault> {
        self.map_err(|e| Fault {
            attempt: what().into(),
            source: e.into(),
        })
    }
}

/// Turns the answer of a raw system call into a result.
pub(crate) fn check(answer: libc::c_long) -> io::Result<libc::c_long> {
    if answer < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(answer)
    }
}
