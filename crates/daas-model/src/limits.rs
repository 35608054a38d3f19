use crate::unit::{ByteSize, Cpus};
use serde::{Deserialize, Serialize};

/// The ceiling over all nodes of one stand together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// CPU time per time.
    pub cpus: Cpus,
    /// Memory, page cache of its files included.
    pub memory: ByteSize,
    /// Processes and threads.
    pub pids: u32,
    /// Disk: what the nodes write and what the volumes hold.
    pub disk: ByteSize,
}

impl Default for Limits {
    /// Returns 2 CPUs, 2 GiB of memory, 2,048 pids and 10 GiB of disk: a web application with its database on a small server.
    fn default() -> Self {
        Self {
            cpus: Cpus::whole(2),
            memory: ByteSize::gib(2),
            pids: 2048,
            disk: ByteSize::gib(10),
        }
    }
}
