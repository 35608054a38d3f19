use crate::batch::{Batch, Expect};
use crate::error::StoreError;
use crate::event::{Event, EventId, Events};
use crate::lock::DirLock;
use crate::open;
use crate::record::{Record, Revision, Stored, sum};
use crate::watch::{Change, Watch};
use crate::writer::{self, Job, News};
use rusqlite::{Connection, OptionalExtension};
use serde::Serialize;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use tokio::sync::{oneshot, watch};

/// The records of one state directory. A clone is another handle of the same store.
///
/// Reads block the caller for microseconds and are fit for async code; writes wait for the disk and are async.
/// A write whose future is dropped is made or not made as a whole.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    reader: Arc<Mutex<Connection>>,
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    revision: watch::Receiver<Revision>,
    event: watch::Receiver<EventId>,
    _lock: Option<DirLock>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The writer ends when no sender is left; joined, so that the files are closed before the lock is let go.
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Store {
    /// Opens the store of the state directory `dir`, and makes directory (0700) and file (0600) if neither is there.
    ///
    /// Holds the directory's lock until the last handle is dropped. Blocks for the check of the whole file.
    ///
    /// # Errors
    /// [`StoreError::Locked`] if another process holds the directory; [`StoreError::Missing`], [`StoreError::Damaged`],
    /// [`StoreError::Foreign`] or [`StoreError::Newer`] if what is there cannot be trusted - it is left as it is;
    /// [`StoreError::Network`], [`StoreError::Io`] or [`StoreError::Sqlite`] if the directory is of no use.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let opened = open::open(dir)?;
        Self::start(
            Arc::new(Mutex::new(opened.writer)),
            Arc::new(Mutex::new(opened.reader)),
            Box::new(move || opened.log.sync_data()),
            Some(opened.lock),
        )
    }

    /// Makes a store that lives only in memory and has no lock.
    ///
    /// # Errors
    /// [`StoreError::Sqlite`] if there is no memory left.
    pub fn in_memory() -> Result<Self, StoreError> {
        let connection = Arc::new(Mutex::new(open::open_in_memory()?));
        Self::start(connection.clone(), connection, Box::new(|| Ok(())), None)
    }

    fn start(
        writer: Arc<Mutex<Connection>>,
        reader: Arc<Mutex<Connection>>,
        flush: writer::Flush,
        lock: Option<DirLock>,
    ) -> Result<Self, StoreError> {
        let (revision, event) = {
            let connection = locked(&writer);
            let failed = |source| StoreError::sqlite("read")(source);
            let revision = connection
                .query_row(
                    "SELECT value FROM counters WHERE name = 'revision'",
                    [],
                    |row| row.get(0),
                )
                .map_err(failed)?;
            let event = connection
                .query_row("SELECT coalesce(max(id), 0) FROM events", [], |row| {
                    row.get(0)
                })
                .map_err(failed)?;
            (Revision(revision), EventId(event))
        };
        let (revision_in, revision) = watch::channel(revision);
        let (event_in, event) = watch::channel(event);
        let news = News {
            revision: revision_in,
            event: event_in,
        };
        let (jobs, queue) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || writer::run(&writer, &queue, &news, &flush))
            .map_err(StoreError::io("start the writer of", "records"))?;
        Ok(Self {
            inner: Arc::new(Inner {
                reader,
                jobs: Some(jobs),
                thread: Some(thread),
                revision,
                event,
                _lock: lock,
            }),
        })
    }

    // === reading ===

    /// Returns the record under `key`, or nothing.
    ///
    /// # Errors
    /// [`StoreError::Record`] if what is there is no `T`; [`StoreError::Sqlite`] if it cannot be read.
    pub fn get<T: Record>(&self, key: &str) -> Result<Option<Stored<T>>, StoreError> {
        let row = locked(&self.inner.reader)
            .prepare_cached(
                "SELECT key, json, revision, sum FROM records WHERE kind = ?1 AND key = ?2",
            )
            .and_then(|mut s| s.query_row((T::KIND, key), read_row).optional())
            .map_err(StoreError::sqlite("read"))?;
        row.map(Row::read).transpose()
    }

    /// Returns the records whose keys begin with `prefix`, in the order of their keys.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub fn list<T: Record>(&self, prefix: &str) -> Result<Vec<Stored<T>>, StoreError> {
        let rows = locked(&self.inner.reader)
            .prepare_cached("SELECT key, json, revision, sum FROM records WHERE kind = ?1 AND key >= ?2 AND substr(key, 1, length(?2)) = ?2 ORDER BY key")
            .and_then(|mut s| s.query_map((T::KIND, prefix), read_row)?.collect::<Result<Vec<_>, _>>())
            .map_err(StoreError::sqlite("read"))?;
        rows.into_iter().map(Row::read).collect()
    }

    /// Returns the revision of the last change.
    #[must_use]
    pub fn revision(&self) -> Revision {
        *self.inner.revision.borrow()
    }

    /// Follows the changes of `kinds` (all if empty) after revision `after`.
    ///
    /// To miss nothing: take [`Store::revision`], list, then watch from that revision.
    #[must_use]
    pub fn watch(&self, kinds: &[&'static str], after: Revision) -> Watch {
        Watch::new(
            self.clone(),
            kinds.to_vec(),
            after,
            self.inner.revision.clone(),
        )
    }

    /// Returns at most `limit` changes of `kinds` (all if empty) after `after`, and the revision up to which all was looked at.
    ///
    /// # Errors
    /// [`StoreError::Cut`] if changes after `after` were forgotten; [`StoreError::Sqlite`] if they cannot be read.
    pub fn changes_after(
        &self,
        kinds: &[&'static str],
        after: Revision,
        limit: usize,
    ) -> Result<(Vec<Change>, Revision), StoreError> {
        let failed = |source| StoreError::sqlite("read")(source);
        let kinds_json = serde_json::to_string(kinds).map_err(|error| StoreError::Record {
            kind: "changes".into(),
            key: String::new(),
            why: error.to_string(),
        })?;
        let mut connection = locked(&self.inner.reader);
        // One transaction, so that the cut and the changes are of one moment.
        let transaction = connection.transaction().map_err(failed)?;
        let counter = |name: &str| -> Result<u64, StoreError> {
            transaction
                .prepare_cached("SELECT value FROM counters WHERE name = ?1")
                .and_then(|mut s| s.query_row([name], |row| row.get(0)))
                .map_err(failed)
        };
        let cut = counter("changes-cut")?;
        if after.0 < cut {
            return Err(StoreError::Cut {
                from: after,
                first: Revision(cut + 1),
            });
        }
        let changes = transaction
            .prepare_cached("SELECT revision, kind, key, deleted FROM changes WHERE revision > ?1 AND (?2 = '[]' OR kind IN (SELECT value FROM json_each(?2))) ORDER BY revision LIMIT ?3")
            .and_then(|mut s| {
                s.query_map((after.0, &kinds_json, limit), |row| Ok(Change { revision: Revision(row.get(0)?), kind: row.get(1)?, key: row.get(2)?, deleted: row.get(3)? }))?
                    .collect::<Result<Vec<_>, _>>()
            })
            .map_err(failed)?;
        Ok((changes, Revision(counter("revision")?)))
    }

    /// Returns at most `limit` events after `after`, of one topic or of all, old ones first.
    ///
    /// # Errors
    /// [`StoreError::Record`] if an event's bytes changed on disk; [`StoreError::Sqlite`] if they cannot be read.
    pub fn events_after(
        &self,
        topic: Option<&str>,
        after: EventId,
        limit: usize,
    ) -> Result<Vec<Event>, StoreError> {
        let sql = match topic {
            Some(_) => {
                "SELECT id, topic, at_ms, json, sum FROM events WHERE topic = ?1 AND id > ?2 ORDER BY id LIMIT ?3"
            }
            None => {
                "SELECT id, topic, at_ms, json, sum FROM events WHERE ?1 IS NULL AND id > ?2 ORDER BY id LIMIT ?3"
            }
        };
        let rows = locked(&self.inner.reader)
            .prepare_cached(sql)
            .and_then(|mut s| {
                s.query_map((topic, after.0, limit), |row| {
                    Ok((
                        Event {
                            id: EventId(row.get(0)?),
                            topic: row.get(1)?,
                            at_ms: row.get(2)?,
                            json: row.get(3)?,
                        },
                        row.get::<_, i64>(4)?,
                    ))
                })?
                .collect::<Result<Vec<_>, _>>()
            })
            .map_err(StoreError::sqlite("read"))?;
        rows.into_iter()
            .map(|(event, kept)| {
                if sum(&[&event.topic, &event.json], event.at_ms) == kept {
                    Ok(event)
                } else {
                    Err(StoreError::Record {
                        kind: "event".into(),
                        key: event.id.to_string(),
                        why: "its bytes changed on disk".into(),
                    })
                }
            })
            .collect()
    }

    /// Returns the newest `limit` events of one topic or of all, old ones first.
    ///
    /// # Errors
    /// As [`Store::events_after`].
    pub fn last_events(&self, topic: Option<&str>, limit: usize) -> Result<Vec<Event>, StoreError> {
        let before: Option<u64> = locked(&self.inner.reader)
            .prepare_cached("SELECT min(id) FROM (SELECT id FROM events WHERE ?1 IS NULL OR topic = ?1 ORDER BY id DESC LIMIT ?2)")
            .and_then(|mut s| s.query_row((topic, limit), |row| row.get(0)))
            .map_err(StoreError::sqlite("read"))?;
        before.map_or_else(
            || Ok(Vec::new()),
            |first| self.events_after(topic, EventId(first - 1), limit),
        )
    }

    /// Follows the events of one topic or of all, after `after`.
    #[must_use]
    pub fn events(&self, topic: Option<&str>, after: EventId) -> Events {
        Events::new(
            self.clone(),
            topic.map(str::to_owned),
            after,
            self.inner.event.clone(),
        )
    }

    /// Returns the id of the last event.
    #[must_use]
    pub fn last_event(&self) -> EventId {
        *self.inner.event.borrow()
    }

    // === writing ===

    /// Keeps `value` under `key`, whatever is there; returns the revision of the change.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub async fn put<T: Record>(&self, key: &str, value: &T) -> Result<Revision, StoreError> {
        self.commit(Batch::new().put(key, value)?).await
    }

    /// Keeps `value` under `key` if what is there is as expected; returns the revision of the change.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub async fn put_if<T: Record>(
        &self,
        key: &str,
        value: &T,
        expect: Expect,
    ) -> Result<Revision, StoreError> {
        self.commit(Batch::new().put_if(key, value, expect)?).await
    }

    /// Forgets what is under `key`; nothing there is no fault.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub async fn delete<T: Record>(&self, key: &str) -> Result<Revision, StoreError> {
        self.commit(Batch::new().delete::<T>(key)).await
    }

    /// Adds an event about `topic` at `at_ms` milliseconds of the Unix clock.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub async fn add_event(
        &self,
        topic: &str,
        at_ms: u64,
        value: &impl Serialize,
    ) -> Result<Revision, StoreError> {
        self.commit(Batch::new().event(topic, at_ms, value)?).await
    }

    /// Makes all changes of `batch`, or none; returns the store's revision after them, when they are on the disk.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if an expectation is not met; [`StoreError::Sqlite`] if the disk refuses;
    /// [`StoreError::Closed`] if the writer has ended.
    pub async fn commit(&self, batch: Batch) -> Result<Revision, StoreError> {
        self.send(batch, None)?
            .await
            .map_err(|_| StoreError::Closed)?
    }

    /// Makes all changes of `batch`, or none; returns the store's revision as soon as everybody can read them, and a future that ends when they are on
    /// the disk.
    ///
    /// For work that a crash may undo as well: until the future has ended, a crash of the machine forgets the change. The flush happens whether the
    /// future is waited for or dropped.
    ///
    /// # Errors
    /// As [`Store::commit`], the future's own if the disk refuses.
    pub async fn commit_early(
        &self,
        batch: Batch,
    ) -> Result<(Revision, impl Future<Output = Result<(), StoreError>>), StoreError> {
        let (seen, visible) = oneshot::channel();
        let done = self.send(batch, Some(seen))?;
        let on_disk = async { done.await.map_err(|_| StoreError::Closed)?.map(drop) };
        match visible.await {
            Ok(revision) => Ok((revision, on_disk)),
            // Not made: the reason comes the other way.
            Err(_) => match on_disk.await {
                Err(error) => Err(error),
                Ok(()) => Err(StoreError::Closed),
            },
        }
    }

    /// Does as [`Store::commit`] and blocks the thread meanwhile; not for async code.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn commit_blocking(&self, batch: Batch) -> Result<Revision, StoreError> {
        self.send(batch, None)?
            .blocking_recv()
            .map_err(|_| StoreError::Closed)?
    }

    fn send(
        &self,
        batch: Batch,
        seen: Option<oneshot::Sender<Revision>>,
    ) -> Result<oneshot::Receiver<Result<Revision, StoreError>>, StoreError> {
        let (done, answer) = oneshot::channel();
        self.inner
            .jobs
            .as_ref()
            .ok_or(StoreError::Closed)?
            .send(Job { batch, seen, done })
            .map_err(|_| StoreError::Closed)?;
        Ok(answer)
    }
}

/// A row of records before its JSON is read.
struct Row {
    key: String,
    json: String,
    revision: u64,
    sum: i64,
}

fn read_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    Ok(Row {
        key: row.get(0)?,
        json: row.get(1)?,
        revision: row.get(2)?,
        sum: row.get(3)?,
    })
}

impl Row {
    fn read<T: Record>(self) -> Result<Stored<T>, StoreError> {
        let bad = |why: String| StoreError::Record {
            kind: T::KIND.to_owned(),
            key: self.key.clone(),
            why,
        };
        if sum(&[T::KIND, &self.key, &self.json], self.revision) != self.sum {
            return Err(bad("its bytes changed on disk".into()));
        }
        let value = serde_json::from_str(&self.json).map_err(|error| bad(error.to_string()))?;
        Ok(Stored {
            key: self.key,
            revision: Revision(self.revision),
            value,
        })
    }
}

/// Takes the connection. A thread that panicked with it left no half transaction: SQLite rolled back when it was dropped.
fn locked(connection: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}
