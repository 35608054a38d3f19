use crate::error::StoreError;
use crate::store::Store;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt;
use tokio::sync::watch;

/// The place of an event in the order of all events, from 1; never used twice, even when events were cut.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct EventId(pub u64);

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its place in the order.
    pub id: EventId,
    /// What it is about; for stands the stand's name.
    pub topic: String,
    /// When, in milliseconds of the Unix clock.
    pub at_ms: u64,
    /// What happened, as JSON.
    pub json: String,
}

impl Event {
    /// Reads what happened as a `T`.
    ///
    /// # Errors
    /// [`StoreError::Record`] if it is none.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, StoreError> {
        serde_json::from_str(&self.json).map_err(|error| StoreError::Record {
            kind: "event".into(),
            key: self.id.to_string(),
            why: error.to_string(),
        })
    }
}

/// A reader that goes along the events, old ones first, and waits for new ones.
///
/// It holds no place in the store: an event that was cut before it came by is not seen.
#[derive(Debug)]
pub struct Events {
    store: Store,
    topic: Option<String>,
    after: EventId,
    newest: watch::Receiver<EventId>,
    ready: std::collections::VecDeque<Event>,
}

/// How many events are read at once.
const PAGE: usize = 256;

impl Events {
    pub(crate) fn new(
        store: Store,
        topic: Option<String>,
        after: EventId,
        newest: watch::Receiver<EventId>,
    ) -> Self {
        Self {
            store,
            topic,
            after,
            newest,
            ready: std::collections::VecDeque::new(),
        }
    }

    /// Returns the next event; waits if there is none yet. May be dropped at any time and loses nothing.
    ///
    /// # Errors
    /// [`StoreError::Closed`] when the store was closed and all was read; others as of [`Store::events_after`].
    pub async fn next(&mut self) -> Result<Event, StoreError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                self.after = event.id;
                return Ok(event);
            }
            // Marked as seen before the read, so that an event added in between wakes the next round.
            self.newest.borrow_and_update();
            self.ready = self
                .store
                .events_after(self.topic.as_deref(), self.after, PAGE)?
                .into();
            if self.ready.is_empty() {
                self.newest
                    .changed()
                    .await
                    .map_err(|_| StoreError::Closed)?;
            }
        }
    }
}
