//! The kernel, spoken to safely: processes, namespaces, links, cgroups, mounts, system call filters.
//!
//! The only crate with `unsafe`. Every function here does one thing of the kernel and reports what it attempted; sequences that make sense
//! only for stands live above.
//!
//! Not here: what a stand is and in which order it is made (`daas-keeper`), decisions (`daas-plan`).
#![allow(
    unsafe_code,
    reason = "this crate is where system calls without a safe wrapper are made"
)]

pub mod birth;
pub mod caps;
pub mod cgroup;
pub mod datagram;
mod fault;
pub mod fdpass;
pub mod guard;
pub mod inherited;
pub mod loopdev;
pub mod mounts;
pub mod netlink;
pub mod netns;
pub mod probe;
pub mod process;
pub mod seccomp;
pub mod signal;
pub mod userns;

pub use fault::{Attempt, Fault};
