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

impl Limits {
    /// The least memory in which a program begins: the kernel's own accounts of its processes take about half of it.
    pub const LEAST_MEMORY: ByteSize = ByteSize::mib(8);
    /// The least processes: the keeper's own of a node, and a program.
    pub const LEAST_PIDS: u32 = 4;
    /// The smallest disk that is worth its journal.
    pub const LEAST_DISK: ByteSize = ByteSize::mib(16);

    /// Says in words which of them is too small for anything to run, with what is the least; nothing if all are enough.
    #[must_use]
    pub fn too_small(&self) -> Option<String> {
        if self.memory < Self::LEAST_MEMORY {
            return Some(format!(
                "{} of memory; {} is the least",
                self.memory,
                Self::LEAST_MEMORY
            ));
        }
        if self.pids < Self::LEAST_PIDS {
            return Some(format!(
                "{} processes; {} is the least",
                self.pids,
                Self::LEAST_PIDS
            ));
        }
        if self.disk < Self::LEAST_DISK {
            return Some(format!(
                "{} of disk; {} is the least",
                self.disk,
                Self::LEAST_DISK
            ));
        }
        None
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_in_which_nothing_can_run_are_named_with_the_least() {
        assert_eq!(Limits::default().too_small(), None);
        let memory = Limits {
            memory: ByteSize(3),
            ..Limits::default()
        };
        assert_eq!(
            memory.too_small().unwrap(),
            "3 B of memory; 8 MiB is the least"
        );
        let pids = Limits {
            pids: 1,
            ..Limits::default()
        };
        assert_eq!(pids.too_small().unwrap(), "1 processes; 4 is the least");
        let disk = Limits {
            disk: ByteSize::mib(1),
            ..Limits::default()
        };
        assert_eq!(
            disk.too_small().unwrap(),
            "1 MiB of disk; 16 MiB is the least"
        );
    }
}
