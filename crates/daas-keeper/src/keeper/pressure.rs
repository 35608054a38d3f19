//! What the kernel says about limits.

use super::Keeper;
use crate::protocol::EventKind;
use daas_model::{ByteSize, NodeName};
use daas_sys::cgroup::Group;
use rustix::fs::inotify::{self, WatchFlags};
use std::path::Path;

impl Keeper {
    pub(super) fn watch_cgroup_file(&mut self, file: &Path, node: Option<&NodeName>) {
        if let Ok(watch) = inotify::add_watch(&self.watch, file, WatchFlags::MODIFY) {
            self.watched.insert(watch, node.cloned());
        }
    }

    pub(super) fn watch_node_group(&mut self, name: &NodeName, group: &Group) {
        if self
            .watched
            .values()
            .any(|owner| owner.as_ref() == Some(name))
        {
            return;
        }
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

    /// v1: the stand is out of memory, now or a moment ago.
    pub(super) fn stand_out_of_memory(&mut self) {
        if let Some(fd) = &self.v1_oom {
            let mut counter = [0; 8];
            let _ = rustix::io::read(fd, &mut counter);
        }
        self.look_at_counters();
    }

    fn look_at_counters(&mut self) {
        let names: Vec<NodeName> = self.nodes.keys().cloned().collect();
        let mut told_oom = false;
        for name in &names {
            told_oom |= self.count_oom(name);
            self.count_pids(name);
        }
        let kills = self.group.oom_kills();
        let stand = self.stand_name();
        if kills > self.stand_oom_seen {
            self.stand_oom_seen = kills;
            if !told_oom {
                let limit = self.stand.as_ref().map_or(ByteSize(0), |s| s.limits.memory);
                let text = format!(
                    "stand {stand} is over its memory limit of {limit}: the kernel killed a process"
                );
                self.tell(None, EventKind::OomKilled, text);
            }
        }
        let refused = self.group.pids_refused();
        if refused > self.stand_pids_seen {
            self.stand_pids_seen = refused;
            let limit = self.stand.as_ref().map_or(0, |s| s.limits.pids);
            let text = format!(
                "stand {stand} is at its limit of {limit} processes: a process could not be made"
            );
            self.tell(None, EventKind::PidsLimit, text);
        }
    }

    /// Tells of memory kills in a node since the last look; returns whether there were any. v1 knows them only for nodes with a limit of their own.
    pub(super) fn count_oom(&mut self, name: &NodeName) -> bool {
        let stand = self.stand_name();
        let stand_limit = self.stand.as_ref().map_or(ByteSize(0), |s| s.limits.memory);
        let stand_kills = self.group.oom_kills();
        let Some(node) = self.nodes.get_mut(name) else {
            return false;
        };
        let kills = node.group.as_ref().map_or(0, Group::oom_kills);
        if kills > node.oom_seen {
            node.oom_seen = kills;
            node.oom_in_this_life = true;
            let text = match node.launch.limits.memory {
                Some(limit) => format!(
                    "node {name} of stand {stand} is over its memory limit of {limit}: the kernel killed a process of it"
                ),
                None => format!(
                    "stand {stand} is over its memory limit of {stand_limit}: the kernel killed a process of node {name}"
                ),
            };
            self.stand_oom_seen = stand_kills;
            self.tell(Some(name), EventKind::OomKilled, text);
            return true;
        }
        // v1 counts for the whole stand only; whoever asks because a node was killed learns that it was memory.
        stand_kills > self.stand_oom_seen
    }

    fn count_pids(&mut self, name: &NodeName) {
        let stand = self.stand_name();
        let stand_limit = self.stand.as_ref().map_or(0, |s| s.limits.pids);
        let Some(node) = self.nodes.get_mut(name) else {
            return;
        };
        let refused = node.group.as_ref().map_or(0, Group::pids_refused);
        if refused > node.pids_seen {
            node.pids_seen = refused;
            let text = match node.launch.limits.pids {
                Some(limit) => format!(
                    "node {name} of stand {stand} is at its limit of {limit} processes: a process could not be made"
                ),
                None => format!(
                    "stand {stand} is at its limit of {stand_limit} processes: node {name} could not make one"
                ),
            };
            self.tell(Some(name), EventKind::PidsLimit, text);
        }
    }
}
