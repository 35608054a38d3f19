//! One cgroup per stand and one per node, on both hierarchies.
//!
//! v2: everything in one tree; nodes are born in theirs. Hybrid: the controllers cpu, memory, pids (and those that only count) are v1, where the
//! stand has one cgroup in which a spawner sits whose children are born there; the v2 tree without controllers serves for killing and freezing.

use crate::fault::{Attempt, Fault};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Which hierarchies this machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// One tree at `/sys/fs/cgroup`.
    V2,
    /// v1 controllers and a v2 tree at `/sys/fs/cgroup/unified`.
    Hybrid,
}

/// `CGROUP2_SUPER_MAGIC` of linux/magic.h.
const CGROUP2_MAGIC: i64 = 0x6367_7270;

fn is_cgroup2(path: &str) -> bool {
    rustix::fs::statfs(path).is_ok_and(|s| s.f_type == CGROUP2_MAGIC)
}

/// Finds out which hierarchies this machine has.
///
/// # Errors
/// `Unsupported` for v1 without a v2 tree, or nothing mounted at `/sys/fs/cgroup`.
pub fn mode() -> Result<Mode, Fault> {
    if is_cgroup2("/sys/fs/cgroup") {
        Ok(Mode::V2)
    } else if is_cgroup2("/sys/fs/cgroup/unified") {
        Ok(Mode::Hybrid)
    } else {
        Err(Fault {
            attempt: "find cgroups v2 at /sys/fs/cgroup or /sys/fs/cgroup/unified".to_owned(),
            source: io::Error::from(io::ErrorKind::Unsupported),
        })
    }
}

/// v1 controllers that limit.
const LIMITING: [&str; 3] = ["cpu", "memory", "pids"];
/// v1 controllers that only count, used where they are mounted.
const COUNTING: [&str; 2] = ["cpuacct", "blkio"];
/// v2 controllers; cpu, memory and pids must exist, io counts.
const V2_CONTROLLERS: [&str; 4] = ["cpu", "memory", "pids", "io"];

fn write(path: &Path, value: &str) -> Result<(), Fault> {
    OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut f| f.write_all(value.as_bytes()))
        .attempt(|| format!("write `{value}` to {}", path.display()))
}

/// Removes a cgroup without processes; none there is fine, one that is still in use stays.
fn remove_empty(path: &Path) -> Result<(), Fault> {
    match fs::remove_dir(path) {
        Err(e)
            if !matches!(
                e.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ResourceBusy
            ) =>
        {
            Err(e).attempt(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn make(path: &Path) -> Result<(), Fault> {
    match fs::create_dir(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other.attempt(|| format!("make cgroup {}", path.display())),
    }
}

/// The group of the keepers, beside those of the stands; no stand's id holds a dot.
const KEEPERS: &str = "keepers.group";

/// The share of processors of the platform's own program: ten stands' (Documentation/scheduler/sched-design-CFS.rst).
const BESIDE_SHARES: &str = "10240";
/// The same on v2 (cgroup-v2.rst, `cpu.weight`).
const BESIDE_WEIGHT: &str = "1000";

/// Lets a cgroup, by its folder of the controller `cpu`, run only when no other one beside it wants to; or as all others again.
///
/// # Errors
/// If the file cannot be written; kernels before 5.15 have none.
pub fn give_way(folder: &Path, idle: bool) -> Result<(), Fault> {
    write(&folder.join("cpu.idle"), if idle { "1" } else { "0" })
}

/// Where the platform's cgroups are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    mode: Mode,
    name: String,
    /// v1 controllers in use and their folders.
    v1: BTreeMap<String, PathBuf>,
    unified: PathBuf,
}

impl Root {
    /// Finds the platform's cgroups by the folder `name` below each mount point; makes nothing.
    ///
    /// # Errors
    /// See [`mode`]; `InvalidInput` for a name with `..` or a leading slash.
    pub fn find(name: &str) -> Result<Self, Fault> {
        if name.is_empty()
            || name.starts_with('/')
            || name
                .split('/')
                .any(|part| part.is_empty() || part == "." || part == "..")
        {
            return Err(Fault {
                attempt: format!("use `{name}` as cgroup root"),
                source: io::Error::from(io::ErrorKind::InvalidInput),
            });
        }
        let mode = mode()?;
        let base = Path::new("/sys/fs/cgroup");
        Ok(match mode {
            Mode::V2 => Self {
                mode,
                name: name.to_owned(),
                v1: BTreeMap::new(),
                unified: base.join(name),
            },
            Mode::Hybrid => {
                let v1 = LIMITING
                    .iter()
                    .chain(&COUNTING)
                    .filter(|controller| base.join(controller).join("cgroup.procs").exists())
                    .map(|controller| ((*controller).to_owned(), base.join(controller).join(name)))
                    .collect();
                Self {
                    mode,
                    name: name.to_owned(),
                    v1,
                    unified: base.join("unified").join(name),
                }
            }
        })
    }

    /// Makes the platform's cgroups, and on v2 hands the controllers down to them.
    ///
    /// # Errors
    /// If a folder or file cannot be written; on v2 `EBUSY` when processes sit in a cgroup above (then give a delegated one).
    pub fn prepare(&self) -> Result<(), Fault> {
        match self.mode {
            Mode::V2 => {
                let mut path = PathBuf::from("/sys/fs/cgroup");
                for part in self.name.split('/') {
                    hand_down(&path)?;
                    path.push(part);
                    make(&path)?;
                }
                hand_down(&path)?;
            }
            Mode::Hybrid => {
                for path in self.v1.values().chain([&self.unified]) {
                    fs::create_dir_all(path)
                        .attempt(|| format!("make cgroup {}", path.display()))?;
                }
            }
        }
        make(&self.unified.join(KEEPERS))
    }

    /// Moves the calling process beside the stands, out of the group of the program that made it.
    ///
    /// Whoever ends that program's group, as `systemctl kill` does (systemd.kill(5)), does not end this process then. It
    /// is moved in the unified hierarchy only: there processes are tracked.
    ///
    /// # Errors
    /// If the group cannot be joined; [`Root::prepare`] makes it.
    pub fn shelter(&self) -> Result<(), Fault> {
        let group = self.unified.join(KEEPERS);
        let procs = group.join("cgroup.procs");
        // cgroup-v2.rst: "0" is the writer itself.
        fs::write(&procs, "0").attempt(|| format!("join cgroup {}", group.display()))
    }

    /// Moves the calling program beside the stands as far as processors are concerned, so that those which [`give_way`] do so to it as well.
    ///
    /// Not where the stands' group was lent (a name of several parts): there the program has a unit of its own, and its manager gives the weight.
    ///
    /// # Errors
    /// If the group cannot be made or joined.
    pub fn come_beside(&self) -> Result<(), Fault> {
        if self.is_lent() && self.mode == Mode::V2 {
            return Ok(());
        }
        let (folder, share, value) = match self.mode {
            Mode::V2 => (&self.unified, "cpu.weight", BESIDE_WEIGHT),
            Mode::Hybrid => match self.v1.get("cpu") {
                Some(folder) => (folder, "cpu.shares", BESIDE_SHARES),
                None => return Ok(()),
            },
        };
        let group = folder.join(KEEPERS);
        make(&group)?;
        write(&group.join(share), value)?;
        write(&group.join("cgroup.procs"), "0")
    }

    fn is_lent(&self) -> bool {
        self.name.contains('/')
    }

    /// Moves the calling program out of the group of [`Root::come_beside`], if it is there.
    fn go_back(&self) -> Option<()> {
        let (controller, folder) = match self.mode {
            Mode::V2 => ("", &self.unified),
            Mode::Hybrid => ("cpu", self.v1.get("cpu")?),
        };
        let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = format!("/{}/{KEEPERS}", self.name);
        // `<number>:<controllers>:<path>`, none in the v2 tree (cgroups(7)).
        let here = groups.lines().any(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            parts
                .next()
                .is_some_and(|c| c.split(',').any(|c| c == controller))
                && parts.next() == Some(&own)
        });
        if here {
            write(&folder.parent()?.join("cgroup.procs"), "0").ok()?;
        }
        Some(())
    }

    /// Removes the platform's cgroups where nothing is in them any more; waits up to `patience` for ended processes to be gone.
    ///
    /// A group that was lent (a name of several parts) stays: it belongs to who delegated it.
    pub fn leave(&self, patience: Duration) {
        let folders = || self.v1.values().chain([&self.unified]);
        let used = folders().any(|folder| {
            fs::read_dir(folder).is_ok_and(|entries| {
                entries.flatten().any(|entry| {
                    entry.file_name() != KEEPERS && entry.file_type().is_ok_and(|t| t.is_dir())
                })
            })
        });
        if used || self.is_lent() {
            return;
        }
        let until = Instant::now() + patience;
        self.go_back();
        for folder in folders() {
            // What cannot be removed is in use after all.
            let _ = remove_tree(folder, until);
        }
    }

    /// Which hierarchies this machine has.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The name that it was found by.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The cgroup that holds those of all stands.
    #[must_use]
    pub fn whole(&self) -> Group {
        Group {
            mode: self.mode,
            v1: self.v1.clone(),
            unified: self.unified.clone(),
        }
    }

    /// The cgroup of stand `id`; makes nothing.
    #[must_use]
    pub fn stand(&self, id: &str) -> Group {
        Group {
            mode: self.mode,
            v1: self
                .v1
                .iter()
                .map(|(controller, path)| (controller.clone(), path.join(id)))
                .collect(),
            unified: self.unified.join(id),
        }
    }
}

/// Enables what exists of [`V2_CONTROLLERS`] for the children of `path`.
fn hand_down(path: &Path) -> Result<(), Fault> {
    let have = fs::read_to_string(path.join("cgroup.controllers"))
        .attempt(|| format!("read controllers of {}", path.display()))?;
    let on = fs::read_to_string(path.join("cgroup.subtree_control"))
        .attempt(|| format!("read controllers of {}", path.display()))?;
    for controller in V2_CONTROLLERS {
        if on.split_whitespace().any(|c| c == controller)
            || !have.split_whitespace().any(|c| c == controller)
        {
            continue;
        }
        write(
            &path.join("cgroup.subtree_control"),
            &format!("+{controller}"),
        )?;
    }
    Ok(())
}

/// A ceiling; what is not given is not limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ceiling {
    /// CPU time per time in thousandths of one CPU.
    pub cpu_milli: Option<u32>,
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u32>,
}

impl Ceiling {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The scheduler's accounting period in microseconds (kernel default).
const PERIOD_US: u64 = 100_000;

/// How long a group ran on all processors together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CpuTimes {
    /// In its programs.
    pub user: Duration,
    /// In the kernel, for them.
    pub system: Duration,
}

/// The cgroups of one stand or node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    mode: Mode,
    v1: BTreeMap<String, PathBuf>,
    unified: PathBuf,
}

impl Group {
    /// Makes the stand's cgroups; those that exist are left as they are.
    ///
    /// # Errors
    /// If a folder cannot be made.
    pub fn create(&self) -> Result<(), Fault> {
        for path in self.v1.values().chain([&self.unified]) {
            make(path)?;
        }
        if self.mode == Mode::V2 {
            hand_down(&self.unified)?;
        }
        Ok(())
    }

    /// Makes the cgroup of node `name` below this stand's.
    ///
    /// In hybrid mode a node has v1 cgroups only when it has a ceiling of its own: joining them costs it an RCU grace period of about 10 ms.
    ///
    /// # Errors
    /// If a folder cannot be made or a limit is refused.
    pub fn create_node(&self, name: &str, ceiling: &Ceiling) -> Result<Self, Fault> {
        // The prefix keeps a node named `cgroup.procs` from meeting the kernel's file.
        self.create_below(&format!("n-{name}"), ceiling)
    }

    /// Makes the cgroup of a process that will be a node whose name nobody knows yet; a ceiling can be put on it later in v2 mode only.
    ///
    /// # Errors
    /// As [`Group::create_node`].
    pub fn create_seat(&self, number: u32) -> Result<Self, Fault> {
        self.create_below(&format!("s-{number}"), &Ceiling::default())
    }

    fn create_below(&self, folder: &str, ceiling: &Ceiling) -> Result<Self, Fault> {
        let mut group = Self {
            mode: self.mode,
            v1: BTreeMap::new(),
            unified: self.unified.join(folder),
        };
        if self.mode == Mode::Hybrid && !ceiling.is_empty() {
            for (controller, wanted) in [
                ("cpu", ceiling.cpu_milli.is_some()),
                ("memory", ceiling.memory.is_some()),
                ("pids", ceiling.pids.is_some()),
            ] {
                if let (true, Some(path)) = (wanted, self.v1.get(controller)) {
                    group.v1.insert(controller.to_owned(), path.join(folder));
                }
            }
        }
        // A fresh folder for every launch: the kernel kills whoever is born by CLONE_INTO_CGROUP into a cgroup that was once killed as a
        // whole, because it compares the kill count of the parent's cgroup with that of the new one (seen on 6.18, kernel/cgroup/cgroup.c).
        for path in group.v1.values().chain([&group.unified]) {
            remove_empty(path)?;
            make(path)?;
        }
        group.limit(ceiling)?;
        if self.mode == Mode::V2 {
            // One process of a node killed for memory leaves a broken node: take all of it (cgroup-v2.rst, memory.oom.group).
            write(&group.unified.join("memory.oom.group"), "1")?;
        }
        Ok(group)
    }

    /// Puts the ceiling in force; what is `None` becomes unlimited.
    ///
    /// # Errors
    /// If a limit is refused.
    pub fn limit(&self, ceiling: &Ceiling) -> Result<(), Fault> {
        let quota = ceiling
            .cpu_milli
            .map(|milli| u64::from(milli) * PERIOD_US / 1000);
        match self.mode {
            Mode::V2 => {
                let dir = &self.unified;
                write(
                    &dir.join("cpu.max"),
                    &quota.map_or_else(
                        || format!("max {PERIOD_US}"),
                        |q| format!("{q} {PERIOD_US}"),
                    ),
                )?;
                write(
                    &dir.join("memory.max"),
                    &ceiling
                        .memory
                        .map_or_else(|| "max".to_owned(), |m| m.to_string()),
                )?;
                // A stand that swaps slows its neighbours; where there is no swap accounting there is no file.
                let swap = dir.join("memory.swap.max");
                if ceiling.memory.is_some() && swap.exists() {
                    write(&swap, "0")?;
                }
                write(
                    &dir.join("pids.max"),
                    &ceiling
                        .pids
                        .map_or_else(|| "max".to_owned(), |p| p.to_string()),
                )
            }
            Mode::Hybrid => {
                if let Some(dir) = self.v1.get("cpu") {
                    write(
                        &dir.join("cpu.cfs_quota_us"),
                        &quota.map_or_else(|| "-1".to_owned(), |q| q.to_string()),
                    )?;
                }
                if let Some(dir) = self.v1.get("memory") {
                    let bytes = ceiling
                        .memory
                        .map_or_else(|| "-1".to_owned(), |m| m.to_string());
                    // With swap accounting the sum may not be under the memory limit at any moment.
                    let memory = dir.join("memory.limit_in_bytes");
                    let sum = dir.join("memory.memsw.limit_in_bytes");
                    if sum.exists() && write(&sum, &bytes).is_err() {
                        write(&memory, &bytes)?;
                        write(&sum, &bytes)?;
                    } else {
                        write(&memory, &bytes)?;
                        if sum.exists() {
                            write(&sum, &bytes)?;
                        }
                    }
                }
                if let Some(dir) = self.v1.get("pids") {
                    write(
                        &dir.join("pids.max"),
                        &ceiling
                            .pids
                            .map_or_else(|| "max".to_owned(), |p| p.to_string()),
                    )?;
                }
                Ok(())
            }
        }
    }

    /// Lets it have a hundredth of a processor at most, whatever its ceiling is, until that is put in force again.
    ///
    /// Less than 1 ms at a time the kernel does not give (Documentation/scheduler/sched-bwc.rst), more often disturbs.
    ///
    /// # Errors
    /// If the kernel refuses: on v1 a group below has a greater share of its own.
    pub fn slow(&self) -> Result<(), Fault> {
        let quota = PERIOD_US / 100;
        match (self.mode, self.v1.get("cpu")) {
            (Mode::V2, _) => write(
                &self.unified.join("cpu.max"),
                &format!("{quota} {PERIOD_US}"),
            ),
            (Mode::Hybrid, Some(dir)) => write(&dir.join("cpu.cfs_quota_us"), &quota.to_string()),
            (Mode::Hybrid, None) => Ok(()),
        }
    }

    /// Returns what it has used of the processors; nothing where the kernel does not count that.
    #[must_use]
    pub fn cpu_times(&self) -> Option<CpuTimes> {
        let (file, user, system, unit) = match self.mode {
            Mode::V2 => (
                self.unified.join("cpu.stat"),
                "user_usec",
                "system_usec",
                Duration::from_micros(1),
            ),
            // In USER_HZ (Documentation/admin-guide/cgroup-v1/cpuacct.rst), which is 100 on all machines.
            Mode::Hybrid => (
                self.v1.get("cpuacct")?.join("cpuacct.stat"),
                "user",
                "system",
                Duration::from_millis(10),
            ),
        };
        let text = fs::read_to_string(file).ok()?;
        let of = |key: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once(' '));
            let (_, count) = lines.find(|(name, _)| *name == key)?;
            Some(unit.saturating_mul(count.trim().parse().ok()?))
        };
        Some(CpuTimes {
            user: of(user)?,
            system: of(system)?,
        })
    }

    /// Moves the calling process into the v1 cgroups, so that its children are born there; on v2 there are none.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn join_v1(&self) -> Result<(), Fault> {
        for path in self.v1.values() {
            write(&path.join("cgroup.procs"), "0")?;
        }
        Ok(())
    }

    /// The files that a process writes `0` to in order to join the v1 part.
    #[must_use]
    pub fn v1_procs(&self) -> Vec<PathBuf> {
        self.v1
            .values()
            .map(|path| path.join("cgroup.procs"))
            .collect()
    }

    /// Opens the v2 folder, to be born in.
    ///
    /// # Errors
    /// If it does not exist.
    pub fn open(&self) -> Result<OwnedFd, Fault> {
        File::open(&self.unified)
            .map(OwnedFd::from)
            .attempt(|| format!("open cgroup {}", self.unified.display()))
    }

    /// Kills every process in it and below (`cgroup.kill`, Linux 5.14). Nothing happens where there is no such cgroup.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn kill(&self) -> Result<(), Fault> {
        match write(&self.unified.join("cgroup.kill"), "1") {
            Err(e) if e.source.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Stops every process in it and below, or lets them go on.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn freeze(&self, frozen: bool) -> Result<(), Fault> {
        write(
            &self.unified.join("cgroup.freeze"),
            if frozen { "1" } else { "0" },
        )
    }

    /// Tells whether any process lives in it or below.
    ///
    /// # Errors
    /// If the file cannot be read, except when the cgroup is gone, which is `false`.
    pub fn is_populated(&self) -> Result<bool, Fault> {
        let path = self.unified.join("cgroup.events");
        match fs::read_to_string(&path) {
            Ok(text) => Ok(text.lines().any(|line| line == "populated 1")),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e).attempt(|| format!("read {}", path.display())),
        }
    }

    /// Removes it and everything below; waits at most `patience` for processes that are still ending. Gone already is fine.
    ///
    /// # Errors
    /// `EBUSY` if processes are left after that.
    pub fn remove(&self, patience: Duration) -> Result<(), Fault> {
        let until = Instant::now() + patience;
        for path in self.v1.values().chain([&self.unified]) {
            remove_tree(path, until)?;
        }
        Ok(())
    }

    /// Kills, by their ids, all processes that sit in any of its cgroups; for what a dead keeper left (its spawner sits in v1 only).
    ///
    /// # Errors
    /// If a list of processes cannot be read.
    pub fn kill_everything(&self) -> Result<(), Fault> {
        self.kill()?;
        for path in self.v1.values() {
            for pid in processes_below(path)? {
                let _ = crate::process::kill(pid, libc::SIGKILL);
            }
        }
        Ok(())
    }

    /// Tells whether any of its folders exists.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.v1
            .values()
            .chain([&self.unified])
            .any(|path| path.exists())
    }

    /// The v2 folder.
    #[must_use]
    pub fn unified(&self) -> &Path {
        &self.unified
    }

    /// The v1 folders by controller.
    #[must_use]
    pub fn v1(&self) -> &BTreeMap<String, PathBuf> {
        &self.v1
    }

    /// The folder where memory is limited and its events are told, if it has one of its own.
    #[must_use]
    pub fn memory(&self) -> Option<&Path> {
        match self.mode {
            Mode::V2 => Some(&self.unified),
            Mode::Hybrid => self.v1.get("memory").map(PathBuf::as_path),
        }
    }

    /// The folder where processes are limited and its events are told, if it has one of its own.
    #[must_use]
    pub fn pids(&self) -> Option<&Path> {
        match self.mode {
            Mode::V2 => Some(&self.unified),
            Mode::Hybrid => self.v1.get("pids").map(PathBuf::as_path),
        }
    }

    /// Returns how often the kernel killed for memory in it so far.
    #[must_use]
    pub fn oom_kills(&self) -> u64 {
        let Some(dir) = self.memory() else { return 0 };
        let file = if self.mode == Mode::V2 {
            "memory.events"
        } else {
            "memory.oom_control"
        };
        counter(&dir.join(file), "oom_kill")
    }

    /// Returns how often a process could not be made in it because of the limit so far.
    #[must_use]
    pub fn pids_refused(&self) -> u64 {
        self.pids()
            .map_or(0, |dir| counter(&dir.join("pids.events"), "max"))
    }

    /// The file whose modification tells of memory kills, where the kernel says so by inotify (v2 only).
    #[must_use]
    pub fn memory_events_file(&self) -> Option<PathBuf> {
        (self.mode == Mode::V2).then(|| self.unified.join("memory.events"))
    }

    /// The file whose modification tells of refused processes.
    #[must_use]
    pub fn pids_events_file(&self) -> Option<PathBuf> {
        self.pids().map(|dir| dir.join("pids.events"))
    }

    /// On v1, returns a descriptor that becomes readable when the kernel runs out of the cgroup's memory.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn v1_oom_notifier(&self) -> Result<Option<OwnedFd>, Fault> {
        if self.mode != Mode::Hybrid {
            return Ok(None);
        }
        let Some(dir) = self.v1.get("memory") else {
            return Ok(None);
        };
        let event = rustix::event::eventfd(
            0,
            rustix::event::EventfdFlags::CLOEXEC | rustix::event::EventfdFlags::NONBLOCK,
        )
        .attempt(|| "make an eventfd")?;
        let control = File::open(dir.join("memory.oom_control"))
            .attempt(|| format!("open memory.oom_control of {}", dir.display()))?;
        let words = format!(
            "{} {}",
            std::os::fd::AsRawFd::as_raw_fd(&event),
            std::os::fd::AsRawFd::as_raw_fd(&control)
        );
        write(&dir.join("cgroup.event_control"), &words)?;
        Ok(Some(event))
    }
}

fn counter(path: &Path, name: &str) -> u64 {
    fs::read_to_string(path)
        .ok()
        .and_then(|text| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
        })
        .unwrap_or(0)
}

fn processes_below(path: &Path) -> Result<Vec<i32>, Fault> {
    let mut found = Vec::new();
    let text = match fs::read_to_string(path.join("cgroup.procs")) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(found),
        // ENODEV: the cgroup is going away under us.
        Err(e) if e.raw_os_error() == Some(libc::ENODEV) => return Ok(found),
        Err(e) => return Err(e).attempt(|| format!("read processes of {}", path.display())),
    };
    found.extend(
        text.lines()
            .filter_map(|line| line.parse::<i32>().ok())
            .filter(|pid| *pid > 0),
    );
    for entry in fs::read_dir(path)
        .attempt(|| format!("list cgroup {}", path.display()))?
        .flatten()
    {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            found.extend(processes_below(&entry.path())?);
        }
    }
    Ok(found)
}

fn remove_tree(path: &Path, until: Instant) -> Result<(), Fault> {
    loop {
        let answer = match fs::remove_dir(path) {
            Ok(()) => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => e,
        };
        // Children first; a cgroup whose last process has just ended answers EBUSY for a moment (reference/engine.md 8.8).
        if let Ok(entries) = fs::read_dir(path) {
            for entry in entries.flatten() {
                if entry.file_type().is_ok_and(|t| t.is_dir()) {
                    remove_tree(&entry.path(), until)?;
                }
            }
        }
        if Instant::now() >= until {
            return Err(answer).attempt(|| format!("remove cgroup {}", path.display()));
        }
        match fs::remove_dir(path) {
            Ok(()) => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(_) => std::thread::sleep(Duration::from_micros(300)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_names_that_climb_are_refused() {
        for name in ["", "/", "/daas", "a/../b", "..", "a//b", "a/."] {
            assert!(Root::find(name).is_err(), "{name}");
        }
    }

    #[test]
    fn root_a_stand_and_its_node_are_made_limited_and_removed() {
        let name = format!("daas-sys-test-{}", std::process::id());
        let root = Root::find(&name).unwrap();
        root.prepare().unwrap();
        let stand = root.stand("one");
        stand.create().unwrap();
        stand
            .limit(&Ceiling {
                cpu_milli: Some(500),
                memory: Some(64 << 20),
                pids: Some(32),
            })
            .unwrap();
        let node = stand
            .create_node(
                "web",
                &Ceiling {
                    pids: Some(8),
                    ..Ceiling::default()
                },
            )
            .unwrap();
        assert!(node.unified().ends_with("one/n-web"));
        assert!(!node.is_populated().unwrap());
        assert_eq!(node.pids_refused(), 0);
        stand.kill_everything().unwrap();
        stand.remove(Duration::from_secs(1)).unwrap();
        assert!(!stand.exists());
        stand.remove(Duration::from_secs(1)).unwrap();
        root.leave(Duration::from_secs(1));
        for path in root.v1.values().chain([&root.unified]) {
            assert!(!path.exists(), "{}", path.display());
        }
    }
}
