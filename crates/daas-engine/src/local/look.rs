//! Looking into a stand: usage, logs, programs, files, ports.

use super::{LocalEngine, now_ms};
use crate::dial::StandNet;
use crate::error::EngineError;
use daas_keeper::protocol::{CgroupPaths, NodeDetails, Request, Response, Status};
use daas_model::{NodeName, StandId};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a stand or node uses. Counters count from its start and only grow; what the kernel does not tell is nothing.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Usage {
    /// CPU time, in microseconds.
    pub cpu_us: u64,
    /// Time held back by the limit, in microseconds.
    pub throttled_us: u64,
    /// Memory, in bytes.
    pub memory: u64,
    /// The most memory so far, in bytes.
    pub memory_peak: u64,
    /// The memory limit, in bytes.
    pub memory_limit: Option<u64>,
    /// Processes and threads.
    pub pids: u64,
    /// The limit of these.
    pub pids_limit: Option<u64>,
    /// Read from disks, in bytes.
    pub io_read: u64,
    /// Written to disks, in bytes.
    pub io_written: u64,
    /// Received, in bytes.
    pub net_received: u64,
    /// Sent, in bytes.
    pub net_sent: u64,
    /// Disk space in use, in bytes.
    pub disk: Option<u64>,
    /// Share of the last 10 s in which something waited for CPU, memory and disk, in percent.
    pub pressure: Option<(f64, f64, f64)>,
}

/// What a stand uses at one moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StandUsage {
    /// When, milliseconds of the Unix clock.
    pub at_ms: u64,
    /// All nodes together.
    pub total: Usage,
    /// Each node.
    pub nodes: BTreeMap<NodeName, Usage>,
}

impl LocalEngine {
    /// Returns how a stand is, with the details of its nodes.
    ///
    /// # Errors
    /// [`EngineError::Gone`] if no keeper holds it.
    pub async fn status(&self, stand: &StandId) -> Result<Status, EngineError> {
        match self.link(stand)?.ask(Request::Status).await? {
            Response::Status(status) => Ok(status),
            _ => Err(EngineError::Gone {
                stand: stand.clone(),
            }),
        }
    }

    /// Returns the network namespace of a stand's router.
    ///
    /// # Errors
    /// [`EngineError::Gone`] if no keeper holds it.
    pub fn net(&self, stand: &StandId) -> Result<Arc<StandNet>, EngineError> {
        Ok(self.link(stand)?.net.clone())
    }

    /// Returns the bytes that went through the published ports of a stand: in and out.
    #[must_use]
    pub fn moved(&self, stand: &StandId) -> Option<(u64, u64)> {
        self.inner.publisher.traffic(stand)
    }

    /// Returns the folder of a stand, whether its keeper lives or not.
    #[must_use]
    pub fn folder(&self, stand: &StandId) -> Option<PathBuf> {
        self.place(stand).map(|place| place.dir)
    }

    /// Returns the manifest digests of all images from which nodes of any stand were launched.
    #[must_use]
    pub fn launched_images(&self) -> BTreeSet<String> {
        let dirs: Vec<PathBuf> = super::lock(&self.inner.stands)
            .values()
            .map(|place| place.dir.clone())
            .collect();
        dirs.iter()
            .flat_map(|dir| crate::layout::read_images(dir))
            .collect()
    }

    /// Measures a stand and its nodes.
    ///
    /// # Errors
    /// [`EngineError::Gone`] if no keeper holds it.
    pub async fn usage(&self, stand: &StandId) -> Result<StandUsage, EngineError> {
        let link = self.link(stand)?;
        let status = self.status(stand).await?;
        let traffic = self.traffic(&link.net).await;
        let disk = self.folder(stand).and_then(|dir| disk_of(&dir));
        let cgroups = link.hello.cgroups.clone();
        self.blocking("measure", move || {
            let mut usage = StandUsage {
                at_ms: now_ms(),
                total: measure(&cgroups),
                nodes: BTreeMap::new(),
            };
            usage.total.disk = disk;
            for (name, details) in &status.nodes {
                let mut node = measure(&details.cgroups);
                add_traffic(&mut node, details, &traffic);
                usage.total.net_received += node.net_received;
                usage.total.net_sent += node.net_sent;
                usage.nodes.insert(name.clone(), node);
            }
            usage
        })
        .await
    }

    /// Returns received and sent bytes of every link in a stand's router namespace.
    async fn traffic(&self, net: &Arc<StandNet>) -> BTreeMap<String, (u64, u64)> {
        // `/proc/thread-self/net` is of the namespace that the thread is in at that moment (proc_pid_net(5)).
        let read = self
            .inner
            .dialer
            .visit(net, "read counters of links", || {
                std::fs::read_to_string("/proc/thread-self/net/dev")
            })
            .await;
        match read {
            Ok(text) => parse_links(&text),
            Err(_) => BTreeMap::new(),
        }
    }
}

/// Parses `/proc/net/dev`: two lines of head, then `name: received ... sent ...` with eight columns each.
fn parse_links(text: &str) -> BTreeMap<String, (u64, u64)> {
    text.lines()
        .skip(2)
        .filter_map(|line| {
            let (name, rest) = line.split_once(':')?;
            let columns: Vec<u64> = rest
                .split_whitespace()
                .map_while(|word| word.parse().ok())
                .collect();
            Some((
                name.trim().to_owned(),
                (*columns.first()?, *columns.get(8)?),
            ))
        })
        .collect()
}

/// Adds what went over a node's links; the router's end of a link sent what the node received.
fn add_traffic(usage: &mut Usage, details: &NodeDetails, links: &BTreeMap<String, (u64, u64)>) {
    for link in &details.links {
        if let Some((router_received, router_sent)) = links.get(link) {
            usage.net_received += router_sent;
            usage.net_sent += router_received;
        }
    }
}

/// Returns how much of its disk a stand uses: blocks of the image that were ever written.
fn disk_of(dir: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    // `st_blocks` counts 512 bytes (stat(2)).
    std::fs::metadata(dir.join("disk.img"))
        .ok()
        .map(|m| m.blocks() * 512)
}

/// Measures one cgroup, v2 or v1.
fn measure(paths: &CgroupPaths) -> Usage {
    let mut usage = Usage {
        cpu_us: cpu_us(paths),
        ..Usage::default()
    };
    if let Some(dir) = &paths.unified {
        measure_v2(dir, &mut usage);
    }
    measure_v1(&paths.v1, &mut usage);
    if let (Some(dir), false) = (&paths.unified, paths.v1.contains_key("memory")) {
        count_processes(dir, &mut usage);
    }
    usage
}

/// Returns the time of processors that a cgroup has used, in microseconds; nothing used where the kernel does not tell.
pub(super) fn cpu_us(paths: &CgroupPaths) -> u64 {
    match (paths.v1.get("cpuacct"), &paths.unified) {
        // Nanoseconds (Documentation/admin-guide/cgroup-v1/cpuacct.rst).
        (Some(dir), _) => number(&dir.join("cpuacct.usage")).unwrap_or(0) / 1000,
        (None, Some(dir)) => table(&dir.join("cpu.stat"))
            .get("usage_usec")
            .copied()
            .unwrap_or(0),
        (None, None) => 0,
    }
}

fn measure_v2(dir: &Path, usage: &mut Usage) {
    let cpu = table(&dir.join("cpu.stat"));
    usage.throttled_us = cpu.get("throttled_usec").copied().unwrap_or(0);
    usage.memory = number(&dir.join("memory.current")).unwrap_or(0);
    usage.memory_peak = number(&dir.join("memory.peak")).unwrap_or(usage.memory);
    usage.memory_limit = number(&dir.join("memory.max"));
    usage.pids = number(&dir.join("pids.current")).unwrap_or(0);
    usage.pids_limit = number(&dir.join("pids.max"));
    for line in text(&dir.join("io.stat")).lines() {
        for word in line.split_whitespace() {
            match word.split_once('=') {
                Some(("rbytes", n)) => usage.io_read += n.parse::<u64>().unwrap_or(0),
                Some(("wbytes", n)) => usage.io_written += n.parse::<u64>().unwrap_or(0),
                _ => {}
            }
        }
    }
    let waits =
        ["cpu", "memory", "io"].map(|what| pressure(&text(&dir.join(format!("{what}.pressure")))));
    if let [Some(cpu), Some(memory), Some(io)] = waits {
        usage.pressure = Some((cpu, memory, io));
    }
}

fn measure_v1(dirs: &BTreeMap<String, PathBuf>, usage: &mut Usage) {
    if let Some(dir) = dirs.get("cpu") {
        usage.throttled_us = table(&dir.join("cpu.stat"))
            .get("throttled_time")
            .copied()
            .unwrap_or(0)
            / 1000;
    }
    if let Some(dir) = dirs.get("memory") {
        usage.memory = number(&dir.join("memory.usage_in_bytes")).unwrap_or(0);
        usage.memory_peak = number(&dir.join("memory.max_usage_in_bytes")).unwrap_or(usage.memory);
        // No limit is a number near 2^63 in v1.
        usage.memory_limit = number(&dir.join("memory.limit_in_bytes")).filter(|n| *n < 1 << 60);
    }
    if let Some(dir) = dirs.get("pids") {
        usage.pids = number(&dir.join("pids.current")).unwrap_or(0);
        usage.pids_limit = number(&dir.join("pids.max"));
    }
    if let Some(dir) = dirs.get("blkio") {
        for line in text(&dir.join("blkio.throttle.io_service_bytes_recursive")).lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                [_, "Read", n] => usage.io_read += n.parse::<u64>().unwrap_or(0),
                [_, "Write", n] => usage.io_written += n.parse::<u64>().unwrap_or(0),
                _ => {}
            }
        }
    }
}

/// Sums up the processes of a cgroup whose tree has no controllers: a node on a hybrid machine without a ceiling of its own.
///
/// Anonymous and shared memory only: pages of files are the stand's, which has a cgroup that counts.
fn count_processes(dir: &Path, usage: &mut Usage) {
    if dir.join("memory.current").exists() {
        return;
    }
    usage.pids = text(&dir.join("cgroup.threads")).lines().count() as u64;
    for pid in text(&dir.join("cgroup.procs")).lines() {
        for line in text(&Path::new("/proc").join(pid).join("status")).lines() {
            let Some((key, value)) = line.split_once(':') else {
                continue;
            };
            if matches!(key, "RssAnon" | "RssShmem") {
                let kib: u64 = value
                    .trim()
                    .trim_end_matches(" kB")
                    .trim()
                    .parse()
                    .unwrap_or(0);
                usage.memory += kib << 10;
            }
        }
    }
}

/// Reads a file of a cgroup; one that is not there says nothing.
fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// Reads one number; `max` is none.
fn number(path: &Path) -> Option<u64> {
    text(path).trim().parse().ok()
}

/// Reads lines of key and number.
fn table(path: &Path) -> BTreeMap<String, u64> {
    text(path)
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(key, n)| Some((key.to_owned(), n.trim().parse().ok()?)))
        .collect()
}

/// Reads `some avg10=` of a pressure file (Documentation/accounting/psi.rst).
fn pressure(text: &str) -> Option<f64> {
    text.lines()
        .find_map(|line| line.strip_prefix("some avg10="))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_links_are_read_by_name() {
        let text = "Inter-| Receive | Transmit\n face |bytes |bytes\n    lo: 10 1 0 0 0 0 0 0 10 1 0 0 0 0 0 0\n  n1-0: 700 7 0 0 0 0 0 0 900 9 0 0 0 0 0 0\n";
        assert_eq!(parse_links(text)["n1-0"], (700, 900));
    }

    #[test]
    fn pressure_is_the_share_of_the_last_ten_seconds() {
        assert_eq!(
            pressure("some avg10=12.50 avg60=1.00 avg300=0.10 total=5\nfull avg10=1.00\n"),
            Some(12.5)
        );
        assert_eq!(pressure(""), None);
    }
}
