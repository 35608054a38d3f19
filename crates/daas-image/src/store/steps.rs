//! The step cache of builds: which layer a step has made, by the digest of everything that it was made from.

use super::{Store, remove_any};
use crate::{Digest, ImageError, Layer, Packed};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// How long a step that no image needs is kept after it was last of use.
pub(crate) const STEP_AGE: Duration = Duration::from_secs(14 * 24 * 3600);

/// What is kept of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Step {
    /// The layer that it has made.
    pub(crate) packed: Packed,
    /// When, in seconds since 1970: an image of the same steps is the same image.
    pub(crate) made: i64,
}

impl Store {
    fn step_path(&self, key: &Digest) -> PathBuf {
        self.dir().join("steps").join(format!("{}.json", key.hex()))
    }

    /// Returns the layer of a step that was made before and when that was, and notes that it was of use. `lease` keeps it from being collected.
    ///
    /// A part that is missing or damaged makes it a step that was not made.
    ///
    /// # Errors
    /// [`ImageError::Io`].
    pub fn find_step(
        &self,
        key: &Digest,
        lease: &mut super::Lease,
    ) -> Result<Option<(Packed, Layer, i64)>, ImageError> {
        let path = self.step_path(key);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(ImageError::io("read", &path)(e)),
        };
        let Ok(step) = serde_json::from_slice::<Step>(&text) else {
            return Ok(None);
        };
        lease.add(step.packed.blob.as_str());
        lease.add(step.packed.diff_id.hex());
        if self.blob_size(&step.packed.blob) != Some(step.packed.size) {
            return Ok(None);
        }
        let Some(layer) = self.find_own_layer(&step.packed.diff_id)? else {
            return Ok(None);
        };
        if let Ok(file) = std::fs::File::open(&path) {
            // The age counts from the last use; a clock that cannot be set only ages it sooner.
            let _ = file.set_modified(SystemTime::now());
        }
        Ok(Some((step.packed, layer, step.made)))
    }

    /// Remembers which layer a step has made, and when: seconds since 1970.
    ///
    /// # Errors
    /// [`ImageError::Io`].
    pub fn put_step(&self, key: &Digest, packed: &Packed, made: i64) -> Result<(), ImageError> {
        let text = serde_json::to_vec(&Step {
            packed: packed.clone(),
            made,
        })
        .map_err(|_| ImageError::Broken {
            what: "describing a step",
        })?;
        let temp = super::Temp::new(self.temp_path());
        crate::draft::write_new(temp.path(), &text)?;
        temp.keep_unsynced_as(&self.step_path(key))
    }

    /// Returns the steps that are kept whether images need them or not, and those that are too old for it.
    pub(crate) fn steps(&self) -> Result<(Vec<Step>, Vec<PathBuf>), ImageError> {
        let dir = self.dir().join("steps");
        let (mut young, mut old) = (Vec::new(), Vec::new());
        for entry in std::fs::read_dir(&dir).map_err(ImageError::io("list", &dir))? {
            let entry = entry.map_err(ImageError::io("list", &dir))?;
            let age = entry
                .metadata()
                .and_then(|meta| meta.modified())
                .ok()
                .and_then(|t| SystemTime::now().duration_since(t).ok())
                .unwrap_or_default();
            let step = std::fs::read(entry.path())
                .ok()
                .and_then(|text| serde_json::from_slice::<Step>(&text).ok());
            match step {
                Some(step) if age <= STEP_AGE => young.push(step),
                _ => old.push(entry.path()),
            }
        }
        Ok((young, old))
    }

    /// Forgets every step; what images need of them stays.
    ///
    /// # Errors
    /// [`ImageError::Io`].
    pub fn forget_steps(&self) -> Result<(), ImageError> {
        let dir = self.dir().join("steps");
        for entry in std::fs::read_dir(&dir).map_err(ImageError::io("list", &dir))? {
            remove_any(&entry.map_err(ImageError::io("list", &dir))?.path())?;
        }
        Ok(())
    }
}
