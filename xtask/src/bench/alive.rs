//! What a stand costs while others live: `cargo xtask bench alive`.
//!
//! Stands are brought up one after another and stay; at 1, 10, 100 and 300 alive the table tells how long the last ten
//! took, what each holds of memory, and how long an exec takes among them. The kernel's limit is measured in turns with those ten: what a busy
//! machine does to both is not what stands alive do.

use super::Contender;
use super::figures::{self, Spread};
use super::limit::Limit;
use super::product::Product;
use super::{Place, QUIET, image};
use crate::house::Daemon;
use crate::workspace;
use anyhow::{Context, Result};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

const MARKS: [usize; 4] = [1, 10, 100, 300];
const EXECS: usize = 30;
/// How many ups before a mark are told.
const LAST: usize = 10;

/// Measures up to `most` stands alive.
///
/// # Errors
/// When a stand does not come up or go down.
pub(super) fn run(most: usize) -> Result<()> {
    let place = Place::new()?;
    let image = image::tree(&place.0)?;
    let product = Product::new(&image)?;
    // Caches are warm and the first of everything is made.
    product.up_as("warm")?;
    product.down_of("warm")?;
    std::thread::sleep(QUIET);
    let before = Memory::now(&product.daemon)?;
    let cpu_before = cpu_time(product.daemon.mark());
    let mut limit = Limit::new(&place.0, &image)?;
    let mut limits = Vec::new();
    let mut ups = Vec::new();
    let mut rows = Vec::new();
    for number in 1..=most {
        std::thread::sleep(Duration::from_millis(20));
        let counted = |mark: &usize| number <= *mark && *mark < number + LAST;
        if counted(&most) || MARKS.iter().any(counted) {
            limits.push(limit.up()?);
            std::thread::sleep(Duration::from_millis(20));
        }
        ups.push(
            product
                .up_as(&format!("alive-{number}"))
                .with_context(|| format!("stand {number}"))?,
        );
        if MARKS.contains(&number) || number == most {
            std::thread::sleep(QUIET);
            let execs = (0..EXECS)
                .map(|_| product.exec("alive-1"))
                .collect::<Result<Vec<_>>>()?;
            let memory = Memory::now(&product.daemon)?;
            let last = |times: &[Duration]| {
                Spread::of(times.iter().rev().take(LAST).copied().collect::<Vec<_>>())
            };
            rows.push(Row {
                alive: number,
                last: last(&ups),
                limit: last(&limits),
                exec: Spread::of(execs),
                keepers_kib: memory.keepers_kib.saturating_sub(before.keepers_kib) / number as u64,
                kernel_kib: memory.kernel_kib.saturating_sub(before.kernel_kib) / number as u64,
                caches_kib: memory.caches_kib.saturating_sub(before.caches_kib) / number as u64,
            });
        }
    }
    let first = Spread::of(ups.iter().take(LAST).copied());
    let first_limit = Spread::of(limits.iter().take(LAST).copied());
    let downs = (1..=most)
        .map(|number| product.down_of(&format!("alive-{number}")))
        .collect::<Result<Vec<_>>>()?;
    let down = Spread::of(downs);
    let cpu = cpu_time(product.daemon.mark())
        .zip(cpu_before)
        .map(|(now, then)| (now - then).as_secs_f64() * 1e3 / most as f64);
    report(&rows, (first, first_limit), down, cpu)
}

struct Row {
    alive: usize,
    last: Spread,
    limit: Spread,
    exec: Spread,
    keepers_kib: u64,
    kernel_kib: u64,
    caches_kib: u64,
}

fn report(
    rows: &[Row],
    (first, first_limit): (Spread, Spread),
    down: Spread,
    cpu_ms: Option<f64>,
) -> Result<()> {
    let mut text =
        String::from("stands alive, milliseconds: median (p10, p90); memory in KiB per stand\n");
    for row in rows {
        text.push_str(&format!(
            "{:4} alive: last ten up {:.1} ({:.1}, {:.1}), x{:.2} of the first ten; the limit {:.1}, x{:.2} of its first ten; exec {:.2} ({:.2}, {:.2}); keeper PSS {}, kernel {} and {} that it would give back\n",
            row.alive,
            row.last.median, row.last.p10, row.last.p90, row.last.median / first.median,
            row.limit.median, row.limit.median / first_limit.median,
            row.exec.median, row.exec.p10, row.exec.p90,
            row.keepers_kib, row.kernel_kib, row.caches_kib,
        ));
    }
    text.push_str(&format!(
        "down of each: {:.1} ({:.1}, {:.1})\n",
        down.median, down.p10, down.p90
    ));
    if let Some(cpu) = cpu_ms {
        text.push_str(&format!("CPU per stand, up, alive and down: {cpu:.1} ms\n"));
    }
    figures::print(&text);
    let spread = |s: &Spread| json!({"p10_ms": s.p10, "median_ms": s.median, "p90_ms": s.p90});
    let value = json!({
        "first_ten_up": spread(&first),
        "down": spread(&down),
        "cpu_ms_per_stand": cpu_ms,
        "rows": rows.iter().map(|row| json!({
            "alive": row.alive, "last_ten_up": spread(&row.last), "last_ten_limit": spread(&row.limit), "exec": spread(&row.exec),
            "keeper_pss_kib": row.keepers_kib, "kernel_kib": row.kernel_kib, "kernel_caches_kib": row.caches_kib,
        })).collect::<Vec<_>>(),
    });
    figures::write(
        "alive.json",
        &value,
        &workspace::root().join("target/bench"),
    )
}

/// Memory that stands hold: of their keepers by process, of the kernel for the whole machine.
struct Memory {
    keepers_kib: u64,
    kernel_kib: u64,
    /// What the kernel gives back when somebody needs it: names and inodes that were looked at, by whomever.
    caches_kib: u64,
}

impl Memory {
    fn now(daemon: &Daemon) -> Result<Self> {
        let mut keepers_kib = 0;
        for entry in fs::read_dir("/proc").context("cannot read /proc")? {
            let path = entry?.path();
            let line = fs::read(path.join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line);
            // Zygote, keepers and what they fork keep the daemon's command line; nodes run busybox and are the team's
            // own memory, not ours.
            if line.contains(daemon.mark()) && !path.ends_with(daemon.pid().to_string()) {
                keepers_kib += kib_of(
                    &fs::read_to_string(path.join("smaps_rollup")).unwrap_or_default(),
                    &["Pss:"],
                );
            }
        }
        let kernel = fs::read_to_string("/proc/meminfo").context("cannot read meminfo")?;
        let kernel_kib = kib_of(
            &kernel,
            &[
                "SUnreclaim:",
                "KernelStack:",
                "PageTables:",
                "Percpu:",
                "VmallocUsed:",
            ],
        );
        Ok(Self {
            keepers_kib,
            kernel_kib,
            caches_kib: kib_of(&kernel, &["SReclaimable:"]),
        })
    }
}

/// Sums the numbers behind some names of a file of `name: number kB`.
fn kib_of(text: &str, names: &[&str]) -> u64 {
    let values: BTreeMap<&str, u64> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?, words.next()?.parse().ok()?))
        })
        .collect();
    names.iter().filter_map(|name| values.get(name)).sum()
}

/// CPU time of everything below the daemon's cgroup: its stands. Nothing where the kernel does not count it.
fn cpu_time(mark: &str) -> Option<Duration> {
    let v1 = fs::read_to_string(format!("/sys/fs/cgroup/cpuacct/{mark}/cpuacct.usage"));
    if let Ok(nanos) = v1 {
        return nanos.trim().parse().ok().map(Duration::from_nanos);
    }
    let v2 = fs::read_to_string(format!("/sys/fs/cgroup/{mark}/cpu.stat")).ok()?;
    let micros = v2
        .lines()
        .find_map(|line| line.strip_prefix("usage_usec "))?;
    micros.trim().parse().ok().map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::kib_of;

    #[test]
    fn named_lines_are_summed_and_others_are_not() {
        assert_eq!(
            kib_of(
                "Slab:  10 kB\nSlabX: 5 kB\nPss: 7 kB\nodd\n",
                &["Slab:", "Pss:", "Absent:"]
            ),
            17
        );
    }
}
