//! What a dead keeper left is removed.
//!
//! Namespaces, mounts, links and processes end with the keeper by themselves (PDEATHSIG, private namespaces, self-freeing loop device); cgroups and files stay.

use crate::client::socket_path;
use crate::error::KeeperError;
use crate::keeper_files::{DESK, IMAGE, LOGS_FOLDER, SEED, SOCKET, STATE};
use crate::launch::KeeperSeed;
use crate::state::KeeperState;
use daas_model::StandId;
use daas_sys::cgroup::Root;
use daas_sys::{Attempt, process};
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// What stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Leave {
    /// The folder of logs.
    pub logs: bool,
    /// The disk, with its volumes.
    pub disk: bool,
}

/// How long the kernel may take to end what was killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Removes everything that the keeper of folder `dir` left; kills it first if it lives. Repeatable; nothing there is fine. Blocking.
///
/// # Errors
/// [`KeeperError::Kernel`] if something cannot be removed; then it may be called again.
pub fn sweep(dir: &Path, cgroup_root: &str, leave: Leave) -> Result<(), KeeperError> {
    kill_keeper(dir)?;
    if let Some(id) = keeper_id(dir) {
        let group = Root::find(cgroup_root)?.stand(id.as_str());
        let until = Instant::now() + PATIENCE;
        // A process may be born between the look and the kill: look again.
        while group.exists() {
            group.kill_everything()?;
            match group.remove(Duration::from_millis(50)) {
                Err(e)
                    if e.source.raw_os_error() == Some(rustix::io::Errno::BUSY.raw_os_error())
                        && Instant::now() < until => {}
                other => other?,
            }
        }
    }
    wait_for_disk(dir);
    remove_files(dir, leave)
}

/// Returns what the keeper of folder `dir` last wrote about itself, if anything.
#[must_use]
pub fn last_state(dir: &Path) -> Option<KeeperState> {
    serde_json::from_slice(&fs::read(dir.join(STATE)).ok()?).ok()
}

/// Tells whether the keeper of folder `dir` lives: its process exists and is the one that wrote the state.
#[must_use]
pub fn is_alive(dir: &Path) -> bool {
    let by_state = last_state(dir)
        .is_some_and(|s| process::start_time(s.pid) == Some(s.pid_start) && !is_zombie(s.pid));
    by_state
        || socket_path(dir)
            .is_ok_and(|path| std::os::unix::net::UnixStream::connect(path.path()).is_ok())
}

fn kill_keeper(dir: &Path) -> Result<(), KeeperError> {
    let Some(state) = last_state(dir) else {
        return Ok(());
    };
    let until = Instant::now() + PATIENCE;
    while process::start_time(state.pid) == Some(state.pid_start) && !is_zombie(state.pid) {
        let _ = process::kill(state.pid, 9);
        if Instant::now() > until {
            return Err(KeeperError::wrong(format!(
                "keeper {} does not end although it was killed",
                state.pid
            )));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn is_zombie(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|t| {
            t.rsplit_once(')')
                .map(|(_, rest)| rest.trim_start().starts_with('Z'))
        })
        .unwrap_or(true)
}

fn keeper_id(dir: &Path) -> Option<StandId> {
    let seed: Option<KeeperSeed> = fs::read(dir.join(SEED))
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok());
    seed.map(|s| s.keeper_id)
        .or_else(|| StandId::parse(dir.file_name()?.to_str()?).ok())
}

/// Waits until no loop device holds the image any more: it is freed when the last process of the dead keeper's mount namespace has ended.
fn wait_for_disk(dir: &Path) {
    let image = dir.join(IMAGE);
    if !image.exists() {
        return;
    }
    let until = Instant::now() + PATIENCE;
    while is_attached(&image) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Tells whether a loop device holds `image`.
fn is_attached(image: &Path) -> bool {
    let Ok(devices) = fs::read_dir("/sys/block") else {
        return false;
    };
    let wanted = image.to_string_lossy();
    devices.flatten().any(|d| {
        fs::read_to_string(d.path().join("loop/backing_file"))
            .is_ok_and(|file| file.trim_end() == wanted)
    })
}

/// Removes the files of a keeper, and its folder if nothing stays in it.
pub(crate) fn remove_files(dir: &Path, leave: Leave) -> Result<(), KeeperError> {
    let absent = |e: &io::Error| e.kind() == io::ErrorKind::NotFound;
    let entries = match fs::read_dir(dir) {
        Err(e) if absent(&e) => return Ok(()),
        other => other.attempt(|| format!("list {}", dir.display()))?,
    };
    let mut kept = false;
    for entry in entries.flatten() {
        let name = entry.file_name();
        if (leave.logs && name == LOGS_FOLDER) || (leave.disk && name == IMAGE) {
            kept = true;
            continue;
        }
        let path = entry.path();
        let removed = if entry.file_type().is_ok_and(|t| t.is_dir()) {
            if name == DESK {
                fs::remove_dir(&path)
            } else {
                fs::remove_dir_all(&path)
            }
        } else {
            fs::remove_file(&path)
        };
        match removed {
            Err(e) if absent(&e) => {}
            other => other.attempt(|| format!("remove {}", path.display()))?,
        }
    }
    debug_assert!(!dir.join(SOCKET).exists());
    if !kept {
        match fs::remove_dir(dir) {
            Err(e) if absent(&e) => {}
            other => other.attempt(|| format!("remove {}", dir.display()))?,
        }
    }
    Ok(())
}
