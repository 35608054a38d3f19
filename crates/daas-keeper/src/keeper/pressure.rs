//! What the kernel says about limits.

use super::{Alarm, Keeper};
use crate::protocol::EventKind;
use daas_model::{ByteSize, NodeName};
use daas_sys::cgroup::{Group, Mode};
use rustix::fs::inotify::{self, WatchFlags};
use std::path::Path;
use std::time::{Duration, Instant};

/// How often that is looked at without word of changes: one or two files per stand.
const REGULARLY: Duration = Duration::from_secs(1);
/// The same of a stand that works: what it does to its neighbours at a limit lasts no longer than that.
const WHILE_BUSY: Duration = Duration::from_millis(200);

impl Keeper {
    pub(super) fn watch_cgroup_file(&mut self, file: &Path, node: Option<&NodeName>) {
        if let Ok(watch) = inotify::add_watch(&self.watch, file, WatchFlags::MODIFY) {
            self.watched.insert(watch, node.cloned());
        }
    }

    pub(super) fn watch_node_group(&mut self, name: &NodeName, group: &Group) {
        // Those of an earlier life went with its cgroup.
        self.watched.retain(|_, owner| owner.as_ref() != Some(name));
        for file in [group.pids_events_file(), group.memory_events_file()]
            .into_iter()
            .flatten()
        {
            self.watch_cgroup_file(&file, Some(name));
        }
    }

    /// Some file of counters was changed: look at all whose counters matter.
    pub(super) fn cgroup_events(&mut self) {
        let mut buffer = [const { std::mem::MaybeUninit::<u8>::uninit() }; 4096];
        let mut reader = inotify::Reader::new(&self.watch, &mut buffer);
        while reader.next().is_ok() {}
        self.look_at_counters();
    }

    /// v1: the stand is out of memory. The kernel tells so before it kills and counts: look a moment later.
    pub(super) fn stand_out_of_memory(&mut self) {
        if let Some(fd) = &self.v1_oom {
            let mut counter = [0; 8];
            let _ = rustix::io::read(fd, &mut counter);
        }
        if self.told.memory.would_tell(Instant::now()) {
            // Before the kill, while whoever took the memory still has it.
            self.told.suspect = self.heaviest();
        }
        for wait in [10, 100, 1000] {
            self.alarm_in(Duration::from_millis(wait), Alarm::Look);
        }
    }

    /// Begins to look from time to time at what the kernel has no word for: a full disk, and on v1 refused processes.
    pub(super) fn look_regularly(&mut self) {
        if !self.looking {
            self.looking = true;
            let wait = if self.pace.is_busy() {
                WHILE_BUSY
            } else {
                REGULARLY
            };
            self.alarm_in(wait, Alarm::LookAgain);
        }
    }

    pub(super) fn look_again(&mut self) {
        self.looking = false;
        self.look_at_disk();
        self.look_at_pace(Instant::now());
        if self.root.mode() == Mode::Hybrid {
            self.look_at_counters();
        }
        if self.nodes.values().any(|n| n.pid().is_some()) {
            self.look_regularly();
        }
    }

    /// Tells once when the disk has filled up, and again only after a twentieth of it was free, and not every second.
    fn look_at_disk(&mut self) {
        let Ok(room) = rustix::fs::statfs(crate::desk::DISK) else {
            return;
        };
        // ext4 refuses a little before it has counted down to nothing; of a small disk that is a greater part.
        let mebibyte = (1 << 20) / u64::try_from(room.f_bsize).unwrap_or(4096).max(1);
        let rest = (room.f_blocks / 200).max(mebibyte.min(room.f_blocks / 50));
        let no_bytes = room.f_bavail <= rest;
        let full = no_bytes || room.f_ffree == 0;
        if full && !self.disk_was_full {
            self.disk_was_full = true;
            let limit = self
                .disk
                .as_ref()
                .map_or(ByteSize(0), crate::disk::Disk::size);
            let what = if no_bytes { "bytes" } else { "files" };
            let text = format!(
                "stand {} has filled its disk of {limit}: no {what} are left",
                self.stand_name()
            );
            if let Some(telling) = self.told.disk.seen(1, Instant::now()) {
                self.tell(None, EventKind::DiskFull, telling.complete(text));
            }
        } else if room.f_bavail > room.f_blocks / 20 && room.f_ffree > room.f_files / 20 {
            self.disk_was_full = false;
        }
    }

    pub(super) fn look_at_counters(&mut self) {
        // The kernel counts from the inside out: what the stand has counted by now, its nodes have too.
        let (kills, refused) = (self.group.oom_kills(), self.group.pids_refused());
        let names: Vec<NodeName> = self.nodes.keys().cloned().collect();
        for name in &names {
            self.count_oom(name);
            self.count_pids(name);
        }
        let stand = self.stand_name();
        if kills > self.stand_oom_seen {
            let more = kills - std::mem::replace(&mut self.stand_oom_seen, kills);
            let limit = self.stand.as_ref().map_or(ByteSize(0), |s| s.limits.memory);
            let mut text = format!(
                "stand {stand} is over its memory limit of {limit}: the kernel killed a process"
            );
            let suspect = self.told.suspect.take();
            if let Some(name) = &suspect {
                text += &format!("; most of the memory was of node {name}");
            }
            if let Some(telling) = self.told.memory.seen(more, Instant::now()) {
                self.tell(
                    suspect.as_ref(),
                    EventKind::OomKilled,
                    telling.complete(text),
                );
            }
            self.stand_oom_at = Some(Instant::now());
        }
        if refused > self.stand_pids_seen {
            let more = refused - std::mem::replace(&mut self.stand_pids_seen, refused);
            let Some(telling) = self.told.pids.seen(more, Instant::now()) else {
                return;
            };
            let limit = self.stand.as_ref().map_or(0, |s| s.limits.pids);
            // v1 counts for the whole stand only; who holds most of the processes is who ran into the limit.
            let crowd = self.most_crowded();
            let text = match &crowd {
                Some(name) => format!(
                    "stand {stand} is at its limit of {limit} processes: a process could not be made; most are of node {name}"
                ),
                None => format!(
                    "stand {stand} is at its limit of {limit} processes: a process could not be made"
                ),
            };
            self.tell(crowd.as_ref(), EventKind::PidsLimit, telling.complete(text));
        }
    }

    /// Finds the node with the most processes. Nothing where no node has any.
    fn most_crowded(&self) -> Option<NodeName> {
        self.nodes
            .iter()
            .filter_map(|(name, node)| {
                // The unified hierarchy holds every node on both kinds of machines.
                let file = node.group.as_ref()?.unified().join("cgroup.procs");
                let count = std::fs::read_to_string(file).ok()?.lines().count();
                (count > 0).then_some((name, count))
            })
            .max_by_key(|(_, count)| *count)
            .map(|(name, _)| name.clone())
    }

    /// Finds the node whose processes hold the most memory. Nothing where no node has any.
    fn heaviest(&self) -> Option<NodeName> {
        // Of a crowd the first are enough: it is one node's word against another's, not a measurement.
        const LOOKED_AT: usize = 256;
        let held = |node: &super::node::Node| -> Option<u64> {
            let file = node.group.as_ref()?.unified().join("cgroup.procs");
            let pids = std::fs::read_to_string(file).ok()?;
            pids.lines()
                .take(LOOKED_AT)
                .map(own_pages)
                .reduce(u64::saturating_add)
        };
        self.nodes
            .iter()
            .filter_map(|(name, node)| Some((name, held(node)?)))
            .max_by_key(|(_, pages)| *pages)
            .map(|(name, _)| name.clone())
    }

    /// Tells whether the kernel killed in the stand for memory since the last look, without a node being known for it.
    fn stand_was_killed_in(&mut self) -> bool {
        let kills = self.group.oom_kills();
        let more = kills > self.stand_oom_seen;
        self.stand_oom_seen = kills;
        more
    }

    /// A node was killed by nobody that we know of: was it for memory? Tells so if it was.
    pub(super) fn was_killed_for_memory(&mut self, name: &NodeName) -> bool {
        self.count_oom(name);
        if self.nodes.get(name).is_some_and(|n| n.oom_in_this_life) {
            return true;
        }
        // v1 counts for the whole stand only.
        if self.root.mode() == Mode::Hybrid && self.stand_was_killed_in() {
            self.tell_memory_death(name);
            return true;
        }
        // The look came first and knew no node: whoever dies by SIGKILL right after it is the one that was meant.
        let meant = self
            .stand_oom_at
            .take()
            .is_some_and(|at| at.elapsed() < REGULARLY);
        if meant {
            self.tell_memory_death(name);
        }
        meant
    }

    /// Tells that the limit of the stand's memory was the end of a node.
    fn tell_memory_death(&mut self, name: &NodeName) {
        let limit = self.stand.as_ref().map_or(ByteSize(0), |s| s.limits.memory);
        let text = format!(
            "stand {} is over its memory limit of {limit}: the kernel killed node {name}",
            self.stand_name()
        );
        self.tell(Some(name), EventKind::OomKilled, text);
    }

    /// Tells of memory kills in a node since the last look.
    fn count_oom(&mut self, name: &NodeName) {
        let stand = self.stand_name();
        let stand_limit = self.stand.as_ref().map_or(ByteSize(0), |s| s.limits.memory);
        let Some(node) = self.nodes.get_mut(name) else {
            return;
        };
        let kills = node.group.as_ref().map_or(0, Group::oom_kills);
        if kills > node.oom_seen {
            let more = kills - std::mem::replace(&mut node.oom_seen, kills);
            node.oom_in_this_life = true;
            let telling = node.oom_told.seen(more, Instant::now());
            let text = match node.launch.limits.memory {
                Some(limit) => format!(
                    "node {name} of stand {stand} is over its memory limit of {limit}: the kernel killed a process of it"
                ),
                None => format!(
                    "stand {stand} is over its memory limit of {stand_limit}: the kernel killed a process of node {name}"
                ),
            };
            self.stand_oom_seen = self.group.oom_kills();
            if let Some(telling) = telling {
                self.tell(Some(name), EventKind::OomKilled, telling.complete(text));
            }
        }
    }

    fn count_pids(&mut self, name: &NodeName) {
        let stand = self.stand_name();
        let stand_limit = self.stand.as_ref().map_or(0, |s| s.limits.pids);
        let Some(node) = self.nodes.get_mut(name) else {
            return;
        };
        let refused = node.group.as_ref().map_or(0, Group::pids_refused);
        if refused > node.pids_seen {
            let more = refused - std::mem::replace(&mut node.pids_seen, refused);
            let telling = node.pids_told.seen(more, Instant::now());
            let own = node.launch.limits.pids.is_some();
            let text = match node.launch.limits.pids {
                Some(limit) => format!(
                    "node {name} of stand {stand} is at its limit of {limit} processes: a process could not be made"
                ),
                None => format!(
                    "stand {stand} is at its limit of {stand_limit} processes: node {name} could not make one"
                ),
            };
            if !own {
                // Counted for the stand too; one word is enough.
                self.stand_pids_seen = self.group.pids_refused();
            }
            if let Some(telling) = telling {
                self.tell(Some(name), EventKind::PidsLimit, telling.complete(text));
            }
        }
    }
}

/// Reads how many pages a process has that are no file's (`statm` of proc(5): resident less shared); none when it is gone.
fn own_pages(pid: &str) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let mut words = statm.split_whitespace().skip(1);
    let mut next = || {
        words
            .next()
            .and_then(|word| word.parse::<u64>().ok())
            .unwrap_or(0)
    };
    let (resident, shared) = (next(), next());
    resident.saturating_sub(shared)
}
