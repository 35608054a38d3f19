//! What a keeper writes down for whoever comes after it.

use super::{Alarm, Keeper};
use crate::protocol::VERSION;
use daas_model::{StandId, StandName, StandObserved};
use daas_sys::process;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The content of `state.json`: how a stand was when its keeper last changed anything.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeeperState {
    /// The version of this file and of the protocol.
    pub version: u32,
    /// The keeper's process.
    pub pid: i32,
    /// When it started, in clock ticks since boot: with the pid it names a process for good.
    pub pid_start: u64,
    /// The stand, once adopted.
    pub stand: Option<(StandId, StandName)>,
    /// Its nodes.
    pub observed: StandObserved,
}

/// The name of the file.
pub(crate) const STATE: &str = "state.json";

/// How long a change may be in memory only, while its keeper lives to tell it. Writing is 1 to 8 ms of the file system's journal when the disk is busy,
/// and a start changes the state once per node: whoever waits for the start shall not wait for that. Exit codes never wait.
const WRITTEN_WITHIN: Duration = Duration::from_millis(50);

impl Keeper {
    /// Notes a change that is no end of a program: what was started, asked for, healthy. A keeper that is killed right after it takes the news along, and
    /// all that they are about.
    pub(super) fn write_state_soon(&mut self) {
        if !self.state_due {
            self.state_due = true;
            self.alarm_in(WRITTEN_WITHIN, Alarm::State);
        }
    }

    pub(super) fn write_state(&mut self) {
        self.state_dirty = false;
        self.state_due = false;
        let pid = i32::try_from(std::process::id()).unwrap_or(0);
        let state = KeeperState {
            version: VERSION,
            pid,
            pid_start: process::start_time(pid).unwrap_or(0),
            stand: self
                .stand
                .as_ref()
                .map(|s| (s.stand_id.clone(), s.name.clone())),
            observed: self.observed(),
        };
        if let Ok(text) = serde_json::to_vec(&state) {
            // A full disk of the host: the socket still tells the truth, and the next change tries again.
            let _ = super::prepare::write_private(&self.seed.dir.join(STATE), &text);
        }
    }
}

/// Writes down whose process this is before anything is made, so that whoever sweeps finds it.
pub(super) fn note_birth(dir: &std::path::Path) {
    let pid = i32::try_from(std::process::id()).unwrap_or(0);
    let state = KeeperState {
        version: VERSION,
        pid,
        pid_start: process::start_time(pid).unwrap_or(0),
        stand: None,
        observed: StandObserved::default(),
    };
    if let Ok(text) = serde_json::to_vec(&state) {
        let _ = super::prepare::write_private(&dir.join(STATE), &text);
    }
}
