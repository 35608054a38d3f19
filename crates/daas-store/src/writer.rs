//! The one writer: takes what waits, commits it together, then tells.

use crate::batch::{Batch, Edit, Expect};
use crate::error::StoreError;
use crate::event::EventId;
use crate::record::{Revision, sum};
use rusqlite::{Connection, OptionalExtension, Savepoint, TransactionBehavior};
use std::io;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use tokio::sync::{oneshot, watch};

/// One batch that waits for the writer.
pub(crate) struct Job {
    pub(crate) batch: Batch,
    /// Is told when everybody can read the change, before it is on the disk.
    pub(crate) seen: Option<oneshot::Sender<Revision>>,
    pub(crate) done: oneshot::Sender<Result<Revision, StoreError>>,
}

/// Where the writer tells what is new.
pub(crate) struct News {
    pub(crate) revision: watch::Sender<Revision>,
    pub(crate) event: watch::Sender<EventId>,
}

/// Brings to the disk what was committed.
pub(crate) type Flush = Box<dyn Fn() -> io::Result<()> + Send>;

/// How many batches share one flush of the disk at most: bounds how long the first of them waits.
const TOGETHER: usize = 256;
/// How many changes the log keeps: a watcher that is further behind lists anew.
pub(crate) const CHANGES_KEPT: u64 = 100_000;
/// How many events are kept: at 300 bytes each about 30 MB.
const EVENTS_KEPT: u64 = 100_000;
/// How often (in commits) the two are cut; cutting at each would double the writes.
const CUT_EVERY: u32 = 1_000;

/// Runs until every sender of jobs is gone.
pub(crate) fn run(
    connection: &Arc<Mutex<Connection>>,
    jobs: &mpsc::Receiver<Job>,
    news: &News,
    flush: &Flush,
) {
    let mut commits = 0u32;
    // After a flush that failed the kernel may have thrown away what it could not write, and a later flush would not say so: nothing is believed any more.
    let mut broken: Option<StoreError> = None;
    while let Ok(first) = jobs.recv() {
        let mut waiting = vec![first];
        while waiting.len() < TOGETHER {
            match jobs.try_recv() {
                Ok(job) => waiting.push(job),
                Err(_) => break,
            }
        }
        if let Some(error) = &broken {
            refuse(waiting, error);
            continue;
        }
        let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
        let batches: Vec<&Batch> = waiting.iter().map(|job| &job.batch).collect();
        commits = commits.wrapping_add(1);
        let outcome = commit(&mut connection, &batches, commits.is_multiple_of(CUT_EVERY));
        drop(connection);
        match outcome {
            Ok((results, revision, event)) => {
                for (job, result) in waiting.iter_mut().zip(&results) {
                    // Dropped unsent where the change was not made; nobody may be waiting either.
                    if let (Some(seen), Ok(revision)) = (job.seen.take(), result) {
                        let _ = seen.send(*revision);
                    }
                }
                if let Err(source) = flush() {
                    let error = StoreError::Flush {
                        source: Arc::new(source),
                    };
                    refuse(waiting, &error);
                    broken = Some(error);
                    continue;
                }
                news.revision
                    .send_if_modified(|known| std::mem::replace(known, revision) != revision);
                news.event.send_if_modified(|known| {
                    event.is_some_and(|event| std::mem::replace(known, event) != event)
                });
                for (job, result) in waiting.into_iter().zip(results) {
                    // Nobody waits for the answer any more: the change is made all the same.
                    let _ = job.done.send(result);
                }
            }
            Err(error) => refuse(waiting, &error),
        }
    }
}

fn refuse(waiting: Vec<Job>, error: &StoreError) {
    for job in waiting {
        let _ = job.done.send(Err(error.clone()));
    }
}

type Committed = (Vec<Result<Revision, StoreError>>, Revision, Option<EventId>);

/// Commits all batches in one transaction; a batch whose expectation fails is left out alone.
fn commit(
    connection: &mut Connection,
    batches: &[&Batch],
    cut: bool,
) -> Result<Committed, StoreError> {
    let failed = |source| StoreError::sqlite("write")(source);
    let mut transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(failed)?;
    let mut revision: u64 = transaction
        .query_row(
            "SELECT value FROM counters WHERE name = 'revision'",
            [],
            |row| row.get(0),
        )
        .map_err(failed)?;
    let mut last_event = None;
    let mut results = Vec::with_capacity(batches.len());
    for batch in batches {
        let mut savepoint = transaction.savepoint().map_err(failed)?;
        let before = revision;
        match apply(&savepoint, batch, &mut revision) {
            Ok(event) => {
                savepoint.commit().map_err(failed)?;
                last_event = event.or(last_event);
                results.push(Ok(Revision(revision)));
            }
            Err(error @ StoreError::Conflict { .. }) => {
                savepoint.rollback().map_err(failed)?;
                savepoint.commit().map_err(failed)?;
                revision = before;
                results.push(Err(error));
            }
            Err(error) => return Err(error),
        }
    }
    transaction
        .prepare_cached("UPDATE counters SET value = ?1 WHERE name = 'revision'")
        .and_then(|mut s| s.execute([revision]))
        .map_err(failed)?;
    if cut {
        let changes_cut = revision.saturating_sub(CHANGES_KEPT);
        transaction
            .execute("DELETE FROM changes WHERE revision <= ?1", [changes_cut])
            .map_err(failed)?;
        transaction
            .execute(
                "UPDATE counters SET value = ?1 WHERE name = 'changes-cut'",
                [changes_cut],
            )
            .map_err(failed)?;
        transaction
            .execute(
                "DELETE FROM events WHERE id <= (SELECT max(id) FROM events) - ?1",
                [EVENTS_KEPT],
            )
            .map_err(failed)?;
    }
    transaction.commit().map_err(failed)?;
    Ok((results, Revision(revision), last_event))
}

fn apply(
    savepoint: &Savepoint<'_>,
    batch: &Batch,
    revision: &mut u64,
) -> Result<Option<EventId>, StoreError> {
    let failed = |source| StoreError::sqlite("write")(source);
    let mut event = None;
    for edit in &batch.changes {
        match edit {
            Edit::Put {
                kind,
                key,
                json,
                expect,
            } => {
                meet(savepoint, kind, key, *expect)?;
                *revision += 1;
                savepoint
                    .prepare_cached("INSERT INTO records VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (kind, key) DO UPDATE SET json = ?3, revision = ?4, sum = ?5")
                    .and_then(|mut s| s.execute((kind, key, json, *revision, sum(&[kind, key, json], *revision))))
                    .map_err(failed)?;
                log(savepoint, *revision, kind, key, false)?;
            }
            Edit::Delete { kind, key, expect } => {
                meet(savepoint, kind, key, *expect)?;
                let gone = savepoint
                    .prepare_cached("DELETE FROM records WHERE kind = ?1 AND key = ?2")
                    .and_then(|mut s| s.execute((kind, key)))
                    .map_err(failed)?;
                if gone > 0 {
                    *revision += 1;
                    log(savepoint, *revision, kind, key, true)?;
                }
            }
            Edit::Event { topic, at_ms, json } => {
                savepoint
                    .prepare_cached(
                        "INSERT INTO events (topic, at_ms, json, sum) VALUES (?1, ?2, ?3, ?4)",
                    )
                    .and_then(|mut s| s.execute((topic, at_ms, json, sum(&[topic, json], *at_ms))))
                    .map_err(failed)?;
                event = u64::try_from(savepoint.last_insert_rowid())
                    .ok()
                    .map(EventId);
            }
        }
    }
    Ok(event)
}

fn log(
    savepoint: &Savepoint<'_>,
    revision: u64,
    kind: &str,
    key: &str,
    deleted: bool,
) -> Result<(), StoreError> {
    savepoint
        .prepare_cached("INSERT INTO changes VALUES (?1, ?2, ?3, ?4)")
        .and_then(|mut s| s.execute((revision, kind, key, deleted)))
        .map(drop)
        .map_err(StoreError::sqlite("write"))
}

/// Compares what is there with what the writer expects.
fn meet(
    savepoint: &Savepoint<'_>,
    kind: &'static str,
    key: &str,
    expect: Expect,
) -> Result<(), StoreError> {
    if expect == Expect::Any {
        return Ok(());
    }
    let found: Option<u64> = savepoint
        .prepare_cached("SELECT revision FROM records WHERE kind = ?1 AND key = ?2")
        .and_then(|mut s| s.query_row((kind, key), |row| row.get(0)).optional())
        .map_err(StoreError::sqlite("write"))?;
    let met = match expect {
        Expect::Any => true,
        Expect::Absent => found.is_none(),
        Expect::Revision(wanted) => found == Some(wanted.0),
    };
    if met {
        return Ok(());
    }
    let found = found.map_or_else(
        || "absent".to_owned(),
        |revision| format!("revision {revision}"),
    );
    Err(StoreError::Conflict {
        kind,
        key: key.to_owned(),
        expected: expect.to_string(),
        found,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::open::open_in_memory;

    /// A writer whose flush answers what it is given, when it is given.
    fn writer() -> (
        mpsc::Sender<Job>,
        mpsc::Sender<io::Result<()>>,
        watch::Receiver<Revision>,
    ) {
        let connection = Arc::new(Mutex::new(open_in_memory().unwrap()));
        let (jobs, queue) = mpsc::channel();
        let (answers, answer) = mpsc::channel::<io::Result<()>>();
        let (revision, told) = watch::channel(Revision(0));
        let news = News {
            revision,
            event: watch::channel(EventId(0)).0,
        };
        let flush: Flush = Box::new(move || answer.recv().map_err(io::Error::other)?);
        std::thread::spawn(move || run(&connection, &queue, &news, &flush));
        (jobs, answers, told)
    }

    type Ask = (
        oneshot::Receiver<Revision>,
        oneshot::Receiver<Result<Revision, StoreError>>,
    );

    fn ask(jobs: &mpsc::Sender<Job>) -> Ask {
        let (seen, visible) = oneshot::channel();
        let (done, answer) = oneshot::channel();
        let batch = Batch::new().event("topic", 1, &"an event").unwrap();
        let seen = Some(seen);
        jobs.send(Job { batch, seen, done }).unwrap();
        (visible, answer)
    }

    #[test]
    fn a_change_is_seen_before_it_is_on_the_disk_and_done_only_after() {
        let (jobs, answers, _told) = writer();
        let (visible, mut answer) = ask(&jobs);
        visible.blocking_recv().unwrap();
        assert!(answer.try_recv().is_err());
        answers.send(Ok(())).unwrap();
        answer.blocking_recv().unwrap().unwrap();
    }

    #[test]
    fn after_a_flush_that_failed_nothing_is_believed_any_more() {
        let (jobs, answers, told) = writer();
        let (_, answer) = ask(&jobs);
        answers.send(Err(rustix::io::Errno::IO.into())).unwrap();
        assert!(matches!(
            answer.blocking_recv().unwrap(),
            Err(StoreError::Flush { .. })
        ));
        let (visible, answer) = ask(&jobs);
        assert!(visible.blocking_recv().is_err());
        assert!(matches!(
            answer.blocking_recv().unwrap(),
            Err(StoreError::Flush { .. })
        ));
        assert_eq!(*told.borrow(), Revision(0));
    }
}
