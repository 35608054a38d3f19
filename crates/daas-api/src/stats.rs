use daas_model::{NodeName, StandName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// What a stand uses at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StandStats {
    /// The stand.
    #[schema(value_type = String)]
    pub stand: StandName,
    /// When, in milliseconds of the Unix clock.
    pub at_ms: u64,
    /// The stand as a whole.
    pub total: Usage,
    /// Each node that runs.
    #[schema(value_type = BTreeMap<String, Usage>)]
    pub nodes: BTreeMap<NodeName, Usage>,
}

/// What a stand or node uses. Counters count from its start and only grow.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct Usage {
    /// CPU time, in microseconds.
    pub cpu_us: u64,
    /// Time that it wanted to run and was held back by its limit, in microseconds.
    pub throttled_us: u64,
    /// Memory, in bytes.
    pub memory_bytes: u64,
    /// The most memory so far, in bytes.
    pub memory_peak_bytes: u64,
    /// The memory limit, in bytes; nothing without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit_bytes: Option<u64>,
    /// Processes and threads.
    pub pids: u64,
    /// The limit of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids_limit: Option<u64>,
    /// Read from disks, in bytes.
    pub io_read_bytes: u64,
    /// Written to disks, in bytes.
    pub io_written_bytes: u64,
    /// Received, in bytes.
    pub net_received_bytes: u64,
    /// Sent, in bytes.
    pub net_sent_bytes: u64,
    /// Disk space in use, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_bytes: Option<u64>,
    /// How long it waited, as the kernel's pressure files say (Documentation/accounting/psi.rst).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pressure: Option<Pressure>,
}

/// The share of the last 10 s in which something waited, in percent.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct Pressure {
    /// For a CPU.
    pub cpu: f64,
    /// For memory.
    pub memory: f64,
    /// For a disk.
    pub io: f64,
}
