use crate::error::StoreError;
use crate::record::Revision;
use crate::store::Store;
use std::collections::VecDeque;
use tokio::sync::watch;

/// One change of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its place in the order of all changes.
    pub revision: Revision,
    /// The kind of the record.
    pub kind: String,
    /// Its key.
    pub key: String,
    /// Whether it was deleted.
    pub deleted: bool,
}

/// A reader that goes along the changes of some kinds, old ones first, and waits for new ones.
///
/// It reads the change log and holds nothing in memory, so that a slow reader misses nothing.
#[derive(Debug)]
pub struct Watch {
    store: Store,
    kinds: Vec<&'static str>,
    after: Revision,
    newest: watch::Receiver<Revision>,
    ready: VecDeque<Change>,
}

/// How many changes are read at once.
const PAGE: usize = 256;

impl Watch {
    pub(crate) fn new(
        store: Store,
        kinds: Vec<&'static str>,
        after: Revision,
        newest: watch::Receiver<Revision>,
    ) -> Self {
        Self {
            store,
            kinds,
            after,
            newest,
            ready: VecDeque::new(),
        }
    }

    /// Returns the next change; waits if there is none yet. May be dropped at any time and loses nothing.
    ///
    /// # Errors
    /// [`StoreError::Cut`] if the change log no longer reaches back to where this reader is: list the records and
    /// watch anew from [`Store::revision`]. [`StoreError::Closed`] when the store was closed and all was read.
    pub async fn next(&mut self) -> Result<Change, StoreError> {
        loop {
            if let Some(change) = self.ready.pop_front() {
                self.after = change.revision;
                return Ok(change);
            }
            // Marked as seen before the read, so that a change in between wakes the next round.
            let newest = *self.newest.borrow_and_update();
            let (changes, up_to) = self.store.changes_after(&self.kinds, self.after, PAGE)?;
            self.ready = changes.into();
            if self.ready.is_empty() {
                self.after = self.after.max(up_to.min(newest));
                self.newest
                    .changed()
                    .await
                    .map_err(|_| StoreError::Closed)?;
            }
        }
    }
}
