use std::error::Error;
use std::time::Duration;

/// Who can act on a failure, and whether trying again helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// What was asked is wrong; asking the same again fails the same.
    Input,
    /// The thing named does not exist.
    NotFound,
    /// The thing is in a state that forbids the request.
    Conflict,
    /// Out of some room for now; the same request may pass later.
    Busy {
        /// How long to wait before the next try.
        retry_after: Duration,
    },
    /// The asker may not do this.
    Forbidden,
    /// Something outside of DaaS failed: the kernel, a disk, a registry.
    Outside,
    /// DaaS itself is wrong.
    Bug,
}

/// An error that leaves a room: it can say its code, who can act, and what to do.
pub trait Explain: Error {
    /// Returns the stable code, `noun-what`, in kebab case.
    fn code(&self) -> &'static str;
    /// Returns who can act and whether a retry helps.
    fn kind(&self) -> Kind;
    /// Returns what to do about it, if anything sensible can be said.
    fn hint(&self) -> Option<String> {
        None
    }
}

/// Renders `error` and its causes as `attempt: cause: cause`.
#[must_use]
pub fn render_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
