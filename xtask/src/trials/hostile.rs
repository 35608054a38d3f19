//! A node that takes what it can get, beside a stand that only wants to answer.

use super::bed::{Bed, fetch, service};
use crate::workspace;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// One way to be a bad neighbour.
#[derive(Debug, Clone, Copy)]
pub struct Hostility {
    /// Its name.
    pub name: &'static str,
    /// What its node runs, in busybox's shell.
    pub line: &'static str,
    /// The event that must tell of it; nothing where the limit is silent by nature.
    pub told: Option<Told>,
    /// Keys of the node beside its command.
    pub keys: &'static str,
}

/// What an event must tell.
#[derive(Debug, Clone, Copy)]
pub struct Told {
    /// Its code.
    pub code: &'static str,
    /// The limit, in its words.
    pub limit: &'static str,
    /// Whether the kernel tells which node it was; a disk is full for all nodes of a stand.
    pub node: bool,
}

/// What each hostile stand may take.
const LIMITS: &str = "x-daas: {limits: {cpus: 1, memory: 128m, pids: 200, disk: 64m}}\n";

const DISK_FULL: Told = Told {
    code: "stand-disk-full",
    limit: "64 MiB",
    node: false,
};

/// All of them.
pub const HOSTS: [Hostility; 7] = [
    Hostility {
        name: "fork bomb",
        line: "b() { while :; do b & done; }; sleep 1000 & b & wait",
        told: Some(Told {
            code: "node-pids-limit",
            limit: "200",
            node: true,
        }),
        keys: "",
    },
    Hostility {
        name: "memory hog",
        line: "while :; do busybox dd if=/dev/zero of=/dev/null bs=1024M; done",
        told: Some(Told {
            code: "node-oom",
            limit: "128 MiB",
            node: true,
        }),
        keys: "    restart: always\n",
    },
    Hostility {
        name: "disk filler",
        line: "dd if=/dev/zero of=/fill bs=1M; while :; do dd if=/dev/zero of=/fill bs=1M conv=notrunc,fsync; done 2> /dev/null",
        told: Some(DISK_FULL),
        keys: "",
    },
    Hostility {
        name: "inode filler",
        line: "busybox mkdir /m; i=0; while :; do i=$((i+1)); true > /m/$i; done 2> /dev/null",
        told: Some(DISK_FULL),
        keys: "",
    },
    Hostility {
        name: "log flood",
        line: "exec busybox yes 0123456789012345678901234567890123456789",
        told: None,
        keys: "",
    },
    Hostility {
        name: "CPU spin",
        line: "for i in 1 2 3 4; do (while :; do :; done) & done; wait",
        told: None,
        keys: "",
    },
    Hostility {
        name: "address spoofing",
        line: "exec /spoof 10.77.0.1 0",
        told: None,
        keys: "    cap_add: [NET_RAW]\n    volumes: ['./spoof:/spoof:ro']\n",
    },
];

/// Measures the answers of a quiet stand alone and beside each hostile one, `asks` times each.
///
/// The two take turns, a few asks alone while the hostile stand is paused and a few beside it, so that what else the machine does
/// meets both alike.
///
/// # Errors
/// When the quiet stand stops to answer, an event is missing or does not name stand, node and limit, or something is
/// left. How far p99 moved is told, and judged by whoever reads it: on a shared machine it moves by itself.
pub fn hostile_neighbours(program: &Path, hosts: &[Hostility], asks: usize) -> Result<String> {
    let bed = Bed::new(program)?;
    let quiet = service("web", "exec /answer quiet")
        + "    ports: ['80:80']\n    volumes: ['./answer:/answer:ro']\n";
    let project = bed.project(&quiet);
    let folder = bed.daemon.place().join("project");
    std::fs::create_dir_all(&folder)?;
    for name in ["answer", "spoof"] {
        std::fs::copy(trial_program(name)?, folder.join(name))?;
    }
    bed.api().up("quiet", &project, 0)?;
    let elsewhere = Elsewhere::go()?;
    let lines = hosts
        .iter()
        .map(|hostility| beside(&bed, *hostility, asks).context(hostility.name))
        .collect::<Result<Vec<_>>>()?;
    drop(elsewhere);
    bed.api().down("quiet")?;
    bed.nothing_is_left()?;
    Ok(format!(
        "ms of the quiet stand's answers\n{}",
        lines.join("\n")
    ))
}

/// This thread has the processor whenever it wants it, until this is dropped: who asks a stand sits at another machine.
pub(super) struct Elsewhere {
    thread: PathBuf,
}

impl Elsewhere {
    pub(super) fn go() -> Result<Self> {
        let link = std::fs::read_link("/proc/thread-self")?;
        let thread = PathBuf::from(link.file_name().context("a thread without a number")?);
        let given = Command::new("chrt")
            .args(["--fifo", "--pid", "10"])
            .arg(&thread)
            .status()
            .context("cannot run chrt")?;
        ensure!(given.success(), "chrt ended with {given}");
        Ok(Self { thread })
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        // A daemon that this thread starts next would have the processor as well, and all of its nodes.
        let _ = Command::new("chrt")
            .args(["--other", "--pid", "0"])
            .arg(&self.thread)
            .status();
    }
}

/// Compiles a program for the trial image, which has no libraries; once.
///
/// # Errors
/// When the compiler is missing or refuses.
pub fn trial_program(name: &str) -> Result<PathBuf> {
    let source = workspace::root().join(format!("xtask/src/trials/{name}.rs"));
    let program = workspace::target().join(name);
    let born = |path: &Path| path.metadata().and_then(|meta| meta.modified());
    if born(&program).is_ok_and(|time| born(&source).is_ok_and(|text| text < time)) {
        return Ok(program);
    }
    // Whoever compiles beside this one sees a whole program or none.
    let fresh = workspace::target().join(format!("{name}.{}", std::process::id()));
    let compiled = Command::new("rustc")
        .args(["--edition=2024", "-O", "-C", "target-feature=+crt-static"])
        .arg("-o")
        .arg(&fresh)
        .arg(&source)
        .output()
        .context("cannot run rustc")?;
    ensure!(
        compiled.status.success(),
        "{} does not compile: {}",
        source.display(),
        String::from_utf8_lossy(&compiled.stderr)
    );
    std::fs::rename(&fresh, &program)?;
    Ok(program)
}

/// How many asks are made before the other side has its turn.
const TURN: usize = 50;
/// What the machine gets to come to rest after a stand was paused or resumed.
const SETTLE: Duration = Duration::from_millis(30);

fn beside(bed: &Bed, hostility: Hostility, asks: usize) -> Result<String> {
    let loud = service("loud", hostility.line) + hostility.keys;
    bed.api().up("noisy", &bed.project(&(loud + LIMITS)), 0)?;
    // It needs a moment to show what it is.
    std::thread::sleep(Duration::from_millis(500));
    turn(bed, "pause")?;
    let (mut alone, mut besides) = (Vec::new(), Vec::new());
    let address = bed.address("quiet")?;
    for _ in 0..asks.div_ceil(TURN) {
        std::thread::sleep(SETTLE);
        ask(address, &mut alone)?;
        turn(bed, "resume")?;
        std::thread::sleep(SETTLE);
        ask(address, &mut besides)?;
        turn(bed, "pause")?;
    }
    turn(bed, "resume")?;
    let told = match hostility.told {
        Some(told) => told.is_told(bed)?,
        None => {
            is_there(bed)?;
            String::new()
        }
    };
    bed.api().down("noisy")?;
    Ok(moves(hostility.name, &Answers::of(alone), &Answers::of(besides)) + &told)
}

/// Pauses the hostile stand, or lets it go on.
fn turn(bed: &Bed, how: &str) -> Result<()> {
    bed.api()
        .post(&format!("/stands/noisy/{how}"), &json!({}))?;
    Ok(())
}

/// Where no event tells of the attack, the node must have lived to make it.
fn is_there(bed: &Bed) -> Result<()> {
    let view = bed.api().get("/stands/noisy")?;
    let status = &view["nodes"][0]["status"];
    ensure!(
        status == "running" || status == "paused",
        "the hostile node is none: {view}"
    );
    Ok(())
}

/// Tells how far answers moved beside a hostile stand.
fn moves(name: &str, alone: &Answers, beside: &Answers) -> String {
    format!(
        "  {name:16} p50 {:.2} -> {:.2}, p99 {:.2} -> {:.2} ({:+.0} %) ",
        alone.p50,
        beside.p50,
        alone.p99,
        beside.p99,
        (beside.p99 / alone.p99 - 1.0) * 100.0,
    )
}

/// How long answers took, in milliseconds.
pub(super) struct Answers {
    pub(super) p50: f64,
    pub(super) p99: f64,
}

impl Answers {
    pub(super) fn of(mut times: Vec<Duration>) -> Self {
        times.sort();
        let at = |hundredths: usize| {
            times
                .get(times.len() * hundredths / 100)
                .map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
        };
        Self {
            p50: at(50),
            p99: at(99),
        }
    }
}

fn ask(address: IpAddr, times: &mut Vec<Duration>) -> Result<()> {
    for _ in 0..TURN {
        let started = Instant::now();
        let words = fetch(address, 80)?;
        times.push(started.elapsed());
        ensure!(words.trim() == "quiet", "the quiet stand said {words:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

impl Told {
    /// Waits for the event, and returns its words.
    fn is_told(self, bed: &Bed) -> Result<String> {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let events = bed.event_views("noisy")?;
            // Where the kernel counts for the whole stand, a first event may come before anybody knows the node.
            if let Some(event) = events.iter().find(|event| self.is_told_by(event)) {
                return Ok(event["message"].to_string());
            }
            let severe: Vec<&Value> = events
                .iter()
                .filter(|event| event["severity"] != "note")
                .map(|event| &event["message"])
                .collect();
            ensure!(
                Instant::now() < until,
                "no event {} with stand, node and limit among {severe:?}",
                self.code
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn is_told_by(self, event: &Value) -> bool {
        let words = event["message"].as_str().unwrap_or_default();
        let node = event["node"] == "loud" && words.contains("loud");
        event["code"] == self.code
            && event["stand"] == "noisy"
            && words.contains("noisy")
            && words.contains(self.limit)
            && (node || !self.node)
    }
}
