//! A node that takes what it can get, beside a stand that only wants to answer.

use super::bed::{Bed, fetch, service};
use anyhow::{Context, Result, ensure};
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

/// One way to be a bad neighbour.
#[derive(Debug, Clone, Copy)]
pub struct Hostility {
    /// Its name.
    pub name: &'static str,
    /// What its node runs, in busybox's shell.
    pub line: &'static str,
    /// The code of the event that must tell of it; nothing where the limit is silent by nature.
    pub event: Option<&'static str>,
    /// Keys of the node beside its command.
    pub keys: &'static str,
}

/// All of them.
pub const HOSTS: [Hostility; 7] = [
    Hostility {
        name: "fork bomb",
        line: "b() { b | b & }; b; sleep 1000",
        event: Some("node-pids-limit"),
        keys: "",
    },
    Hostility {
        name: "memory hog",
        line: "tail /dev/zero; sleep 1000",
        event: Some("node-oom"),
        keys: "",
    },
    Hostility {
        name: "disk filler",
        line: "dd if=/dev/zero of=/fill bs=1M; sleep 1000",
        event: Some("stand-disk-full"),
        keys: "",
    },
    Hostility {
        name: "inode filler",
        line: "mkdir /m; i=0; while :; do i=$((i+1)); : > /m/$i || break; done; sleep 1000",
        event: None,
        keys: "",
    },
    Hostility {
        name: "log flood",
        line: "yes 0123456789012345678901234567890123456789",
        event: None,
        keys: "",
    },
    Hostility {
        name: "CPU spin",
        line: "for i in 1 2 3 4; do (while :; do :; done) & done; wait",
        event: None,
        keys: "",
    },
    Hostility {
        name: "address spoofing",
        line: "ip addr add 10.77.0.1/24 dev eth0; while :; do arping -q -c 1 -U -I eth0 10.77.0.1; usleep 1000; done",
        event: None,
        keys: "    cap_add: [NET_RAW]\n",
    },
];

/// Measures the answers of a quiet stand alone and beside a hostile one, `asks` times each.
///
/// # Errors
/// When the quiet stand stops to answer, the event is missing, or something is left. How far p99 moved is told, and
/// judged by whoever reads it: on a shared machine it moves by itself.
pub fn hostile_neighbour(program: &Path, hostility: Hostility, asks: usize) -> Result<String> {
    let bed = Bed::new(program)?;
    let api = bed.api();
    let quiet = service(
        "web",
        "echo quiet > /tmp/index.html; exec busybox httpd -f -p 80 -h /tmp",
    ) + "    ports: ['80:80']\n";
    api.up("quiet", &bed.project(&quiet), 0)?;
    let address = bed.address("quiet")?;
    let alone = p99(address, asks)?;
    let loud = service("loud", hostility.line) + hostility.keys;
    let limits = "\nx-daas: {limits: {cpus: 1, memory: 128m, pids: 200, disk: 64m}}\n";
    api.up("loud", &bed.project(&(loud + limits)), 0)?;
    // It needs a moment to show what it is.
    std::thread::sleep(Duration::from_secs(1));
    let beside = p99(address, asks).with_context(|| format!("beside a {}", hostility.name))?;
    if let Some(code) = hostility.event {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let events = bed.events("loud")?;
            if events.iter().any(|event| event == code) {
                break;
            }
            ensure!(
                Instant::now() < until,
                "{}: no event {code} among {events:?}",
                hostility.name
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    api.down("loud")?;
    api.down("quiet")?;
    bed.nothing_is_left()?;
    Ok(format!(
        "{}: p99 of the neighbour {:.2} ms alone, {:.2} ms beside it ({:+.0} %)",
        hostility.name,
        alone.as_secs_f64() * 1e3,
        beside.as_secs_f64() * 1e3,
        (beside.as_secs_f64() / alone.as_secs_f64() - 1.0) * 100.0,
    ))
}

fn p99(address: IpAddr, asks: usize) -> Result<Duration> {
    let mut times = Vec::with_capacity(asks);
    for _ in 0..asks {
        let started = Instant::now();
        let words = fetch(address, 80)?;
        times.push(started.elapsed());
        ensure!(words.trim() == "quiet", "the quiet stand said {words:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
    times.sort();
    times
        .get(times.len() * 99 / 100)
        .or(times.last())
        .copied()
        .context("nothing was asked")
}
