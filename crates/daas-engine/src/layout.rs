//! Where everything of a stand lies, and which numbers are given out.

use crate::error::EngineError;
use daas_keeper::launch::{IDS_PER_STAND, KeeperSeed};
use daas_model::{StandId, StandName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The first host uid of the first range; below live the machine's own users.
const FIRST_ID: u32 = 100_000;
/// How many ranges fit between [`FIRST_ID`] and the largest uid, without the last one.
const RANGES: u32 = (u32::MAX - FIRST_ID) / IDS_PER_STAND - 1;
/// The first id of the last range: in a bind of somebody's folder all who are not its owner write as one of these, the same ids in
/// every stand, so that the next stand knows its files again.
pub(crate) const BIND_IDS: u32 = FIRST_ID + RANGES * IDS_PER_STAND;

/// The folders of the engine.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    /// `/var/lib/daas`.
    pub(crate) state: PathBuf,
}

/// Which stand a folder belongs to; written before anything of the stand is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Owner {
    pub(crate) id: StandId,
    pub(crate) name: StandName,
}

impl Layout {
    /// Returns the folder that holds one folder for each keeper.
    pub(crate) fn stands(&self) -> PathBuf {
        self.state.join("stands")
    }

    /// Returns where templates of disks are kept.
    pub(crate) fn templates(&self) -> PathBuf {
        self.state.join("templates")
    }

    /// Returns where layers with the platform's authority are kept.
    pub(crate) fn trust(&self) -> PathBuf {
        self.state.join("trust")
    }

    /// Makes the folders, 0700.
    pub(crate) fn make(&self) -> Result<(), EngineError> {
        for dir in [self.stands(), self.templates()] {
            make_dir(&dir)?;
        }
        Ok(())
    }

    /// Lists the folders of keepers, dead or alive.
    pub(crate) fn folders(&self) -> Result<Vec<PathBuf>, EngineError> {
        let dir = self.stands();
        let entries = std::fs::read_dir(&dir).map_err(EngineError::io("list", &dir))?;
        let mut list = Vec::new();
        for entry in entries {
            let entry = entry.map_err(EngineError::io("list", &dir))?;
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                list.push(entry.path());
            }
        }
        list.sort();
        Ok(list)
    }
}

/// Makes a folder with all above it, 0700.
pub(crate) fn make_dir(dir: &Path) -> Result<(), EngineError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(EngineError::io("make folder", dir))
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), EngineError> {
    let text = serde_json::to_vec(value).expect("plain data becomes JSON");
    let temporary = path.with_extension("new");
    let write = || -> std::io::Result<()> {
        use std::io::Write;
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(&text)?;
        std::fs::rename(&temporary, path)
    };
    write().map_err(EngineError::io("write", path))
}

fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Option<T> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// Writes whose folder this is.
///
/// Not flushed: a machine that lost its power has lost the stand's processes too, and a folder without owner is swept.
pub(crate) fn write_owner(dir: &Path, owner: &Owner) -> Result<(), EngineError> {
    write_json(&dir.join("stand.json"), owner)
}

/// Returns whose folder this is; nothing for a spare.
pub(crate) fn read_owner(dir: &Path) -> Option<Owner> {
    read_json(&dir.join("stand.json"))
}

/// Writes what the folder's keeper was made from.
pub(crate) fn write_seed(dir: &Path, seed: &KeeperSeed) -> Result<(), EngineError> {
    write_json(&dir.join("seed.json"), seed)
}

/// Returns what the folder's keeper was made from.
pub(crate) fn read_seed(dir: &Path) -> Option<KeeperSeed> {
    read_json(&dir.join("seed.json"))
}

/// Remembers from which images nodes of the folder's stand were launched.
pub(crate) fn add_images(dir: &Path, digests: &BTreeSet<String>) -> Result<(), EngineError> {
    let known = read_images(dir);
    if digests.is_subset(&known) {
        return Ok(());
    }
    write_json(
        &dir.join("images.json"),
        &known.union(digests).collect::<BTreeSet<_>>(),
    )
}

/// Returns from which images nodes of the folder's stand were launched.
pub(crate) fn read_images(dir: &Path) -> BTreeSet<String> {
    read_json(&dir.join("images.json")).unwrap_or_default()
}

/// The ranges of user ids that are in use.
#[derive(Debug, Default)]
pub(crate) struct Ranges {
    used: BTreeSet<u32>,
}

impl Ranges {
    /// Takes the lowest range that is free and returns its first uid.
    pub(crate) fn take(&mut self) -> Result<u32, EngineError> {
        let free = (0..RANGES)
            .find(|n| !self.used.contains(n))
            .ok_or(EngineError::NoIds(RANGES))?;
        self.used.insert(free);
        Ok(FIRST_ID + free * IDS_PER_STAND)
    }

    /// Marks the range that begins at `base` as used.
    pub(crate) fn mark(&mut self, base: u32) {
        if let Some(offset) = base.checked_sub(FIRST_ID) {
            self.used.insert(offset / IDS_PER_STAND);
        }
    }

    /// Gives the range that begins at `base` back.
    pub(crate) fn give_back(&mut self, base: u32) {
        if let Some(offset) = base.checked_sub(FIRST_ID) {
            self.used.remove(&(offset / IDS_PER_STAND));
        }
    }

    /// Returns the number of the range that begins at `base`.
    pub(crate) fn number(base: u32) -> u32 {
        base.saturating_sub(FIRST_ID) / IDS_PER_STAND
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_given_once_and_come_back() {
        let mut ranges = Ranges::default();
        let (first, second) = (ranges.take().unwrap(), ranges.take().unwrap());
        assert_eq!((first, second), (100_000, 165_536));
        ranges.give_back(first);
        assert_eq!(ranges.take().unwrap(), first);
        ranges.mark(second + IDS_PER_STAND);
        assert_eq!(ranges.take().unwrap(), second + 2 * IDS_PER_STAND);
        assert_eq!(Ranges::number(second), 1);
    }
}
