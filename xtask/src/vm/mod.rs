//! A machine with a pure cgroup v2 kernel of Debian, for tests: `cargo xtask vm -- <program> <arguments>`.
//!
//! The kernel is Debian's cloud kernel, downloaded and unpacked into the cache and never installed. Its root is the
//! host's own tree, read only below a memory file system, so a test program runs there from the path that it has
//! here; `/tmp`, `/var/tmp` and `/var/lib/daas` are an ext4 disk that lives as long as the machine. There is no
//! network but loopback, and no acceleration: a hundred tests take about ten times as long as outside.
//!
//! Not here: what is tested inside.

mod cpio;
mod kernel;
mod machine;

pub use kernel::Kernel;
pub use machine::{Ended, Job};
