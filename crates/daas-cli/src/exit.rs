//! Exit codes: one for each kind of failure, so that a script can tell whose turn it is.

use daas_model::Kind;

/// All is well.
pub const DONE: u8 = 0;
/// The command did its work, and the answer is no: a fault was found, a check failed.
pub const NO: u8 = 1;
/// What was asked is wrong: arguments, the project's text.
pub const INPUT: u8 = 2;
/// The thing does not exist.
pub const NOT_FOUND: u8 = 3;
/// The thing is in a state that forbids the request.
pub const CONFLICT: u8 = 4;
/// Out of room for now: try again.
pub const BUSY: u8 = 5;
/// An administrator must act.
pub const FORBIDDEN: u8 = 6;
/// Something outside failed: the daemon does not run, the kernel, a disk, a registry.
pub const OUTSIDE: u8 = 7;
/// DaaS itself is wrong.
pub const BUG: u8 = 8;
/// Stopped by Ctrl-C: 128 + SIGINT, as shells count.
pub const INTERRUPTED: u8 = 130;

/// Returns the exit code of a kind of failure.
#[must_use]
pub fn of(kind: Kind) -> u8 {
    match kind {
        Kind::Input => INPUT,
        Kind::NotFound => NOT_FOUND,
        Kind::Conflict => CONFLICT,
        Kind::Busy { .. } => BUSY,
        Kind::Forbidden => FORBIDDEN,
        Kind::Outside => OUTSIDE,
        Kind::Bug => BUG,
    }
}
