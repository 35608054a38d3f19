//! Things of a build that are in their place before the disk has them.
//!
//! A build makes many layers, and each would wait for the disk alone. So they are named in `unsynced/` first, by files whose names
//! say what and in which life of the machine, and [`Store::settle`] waits for the disk once. Whoever opens the store in another
//! life of the machine throws away what is still named there: it may be half.

use super::{Store, remove_any};
use crate::{Digest, ImageError};
use std::fs::File;

const FOLDER: &str = "unsynced";

impl Store {
    /// Notes that `what` (`layer-<hex>`, `name-<file>`, `<algorithm>-<hex>` of a blob) is about to appear unsynced.
    pub(crate) fn pledge(&self, what: &str) -> Result<(), ImageError> {
        let path = self
            .dir()
            .join(FOLDER)
            .join(format!("{}.{what}", boot_id()));
        File::create(&path)
            .map(drop)
            .map_err(ImageError::io("make", &path))
    }

    /// Waits until everything that builds have made is on the disk. Blocks; nothing to wait for costs one look.
    ///
    /// # Errors
    /// [`ImageError::Io`].
    pub fn settle(&self) -> Result<(), ImageError> {
        let pledged = self.pledged()?;
        if pledged.is_empty() {
            return Ok(());
        }
        let dir = self.dir().join(FOLDER);
        let folder = File::open(&dir).map_err(ImageError::io("open", &dir))?;
        rustix::fs::syncfs(&folder).map_err(ImageError::errno("sync the file system of", &dir))?;
        for name in pledged {
            remove_any(&dir.join(name))?;
        }
        Ok(())
    }

    /// Begins to [`Store::settle`] beside the caller, unless somebody does already.
    pub(crate) fn settle_soon(&self) {
        use std::sync::atomic::Ordering;
        if self.inner.settling.swap(true, Ordering::AcqRel) {
            return;
        }
        let store = self.clone();
        self.supervisor()
            .run_blocking("write what builds made to the disk", move || {
                // What is pledged from here on asks again.
                store.inner.settling.store(false, Ordering::Release);
                if let Err(error) = store.settle() {
                    tracing::warn!(cause = %error, "what builds made is not on the disk yet; the next build tries again");
                }
            });
    }

    /// Throws away what was pledged in another life of the machine.
    pub(crate) fn sweep_unsynced(&self) -> Result<(), ImageError> {
        let now = boot_id();
        for name in self.pledged()? {
            let Some((boot, what)) = name.split_once('.') else {
                continue;
            };
            if boot == now {
                continue;
            }
            let place = match what.split_once('-') {
                Some(("layer", hex)) => Some(self.dir().join("layers").join(hex)),
                Some(("name", file)) => Some(self.dir().join("names").join(file)),
                Some((algorithm, hex)) => Digest::parse(&format!("{algorithm}:{hex}"))
                    .ok()
                    .map(|digest| self.blob_path(&digest)),
                None => None,
            };
            if let Some(place) = place {
                tracing::info!(place = %place.display(), "thrown away: the machine went down before it was on the disk");
                remove_any(&place)?;
            }
            remove_any(&self.dir().join(FOLDER).join(name))?;
        }
        Ok(())
    }

    fn pledged(&self) -> Result<Vec<String>, ImageError> {
        let dir = self.dir().join(FOLDER);
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&dir).map_err(ImageError::io("list", &dir))? {
            let entry = entry.map_err(ImageError::io("list", &dir))?;
            names.extend(entry.file_name().into_string().ok());
        }
        Ok(names)
    }
}

/// The id of this life of the machine; a machine that tells none makes every life another.
fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map_or_else(|_| "unknown".into(), |text| text.trim().to_owned())
}
