use crate::backoff::Backoff;
use crate::shutdown::Shutdown;
use crate::task::{Task, TaskError, TaskState, TaskStatus};
use futures_util::FutureExt;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};

/// The first pause after a failed turn.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause after failed turns: an outage of an hour is noticed to be over within half a minute.
const MOST_PAUSE: Duration = Duration::from_secs(30);

/// Starts tasks, knows what they do, and ends them. A clone is another handle of the same supervisor.
#[derive(Clone)]
pub struct Supervisor {
    inner: Arc<Inner>,
    shutdown: Shutdown,
}

struct Inner {
    tasks: Mutex<BTreeMap<u64, Entry>>,
    /// The number of tasks alive, for the drain.
    alive: watch::Sender<usize>,
    next: AtomicU64,
    ask: watch::Sender<bool>,
}

struct Entry {
    status: TaskStatus,
    abort: Option<AbortHandle>,
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervisor")
            .field("tasks", &self.status())
            .finish_non_exhaustive()
    }
}

impl Default for Supervisor {
    fn default() -> Self {
        Self::new()
    }
}

impl Supervisor {
    /// Makes a supervisor without tasks. Needs a tokio runtime only when something is started.
    #[must_use]
    pub fn new() -> Self {
        let (ask, shutdown) = Shutdown::channel();
        let inner = Inner {
            tasks: Mutex::default(),
            alive: watch::Sender::new(0),
            next: AtomicU64::new(1),
            ask,
        };
        Self {
            inner: Arc::new(inner),
            shutdown,
        }
    }

    /// Returns what tells that the end was asked for.
    #[must_use]
    pub fn shutdown_signal(&self) -> Shutdown {
        self.shutdown.clone()
    }

    /// Starts a loop. `make` makes it, now and again after a panic: a loop that panicked has no state to trust.
    ///
    /// A turn that fails is repeated after a pause; the loop ends only at the shutdown.
    pub fn start<T: Task>(
        &self,
        name: impl Into<String>,
        make: impl FnMut() -> T + Send + 'static,
    ) {
        let name = name.into();
        let shutdown = self.shutdown.clone();
        let id = self.enter(&name);
        let inner = self.inner.clone();
        self.spawn(id, async move {
            keep_turning(&inner, id, &name, &shutdown, make).await;
        });
    }

    /// Runs a future as a task of its own. It should end soon after `shutdown` asks; it is dropped when the grace ends.
    ///
    /// Dropping the handle does not end it.
    pub fn run<F>(
        &self,
        name: impl Into<String>,
        work: impl FnOnce(Shutdown) -> F,
    ) -> Handle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let id = self.enter(&name.into());
        self.set(id, |status| status.state = TaskState::Working);
        self.spawn(id, work(self.shutdown.clone()))
    }

    /// Runs a blocking function on the blocking pool, by name. A shutdown waits for it and cannot end it.
    pub fn run_blocking<R: Send + 'static>(
        &self,
        name: impl Into<String>,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Handle<R> {
        let id = self.enter(&name.into());
        self.set(id, |status| status.state = TaskState::Working);
        let leave = Leave {
            inner: self.inner.clone(),
            id,
        };
        let join = tokio::task::spawn_blocking(move || {
            let _leave = leave;
            work()
        });
        Handle { join }
    }

    /// Returns what every task does, in the order of their starts.
    #[must_use]
    pub fn status(&self) -> Vec<TaskStatus> {
        locked(&self.inner.tasks)
            .values()
            .map(|entry| entry.status.clone())
            .collect()
    }

    /// Asks all tasks to end and returns at once.
    pub fn ask_to_end(&self) {
        self.inner.ask.send_replace(true);
    }

    /// Asks all tasks to end, waits at most `grace`, drops those that are left, and returns their names.
    ///
    /// Tasks that are started meanwhile are waited for too.
    pub async fn shutdown(&self, grace: Duration) -> Vec<String> {
        self.ask_to_end();
        let mut alive = self.inner.alive.subscribe();
        let drained = tokio::time::timeout(grace, alive.wait_for(|n| *n == 0))
            .await
            .is_ok();
        if drained {
            return Vec::new();
        }
        let tasks = locked(&self.inner.tasks);
        for entry in tasks.values() {
            if let Some(abort) = &entry.abort {
                abort.abort();
            }
        }
        tasks
            .values()
            .map(|entry| entry.status.name.clone())
            .collect()
    }

    fn enter(&self, name: &str) -> u64 {
        let id = self.inner.next.fetch_add(1, Ordering::Relaxed);
        let status = TaskStatus {
            id,
            name: name.to_owned(),
            state: TaskState::Waiting,
            turns: 0,
            failures: 0,
        };
        let mut tasks = locked(&self.inner.tasks);
        tasks.insert(
            id,
            Entry {
                status,
                abort: None,
            },
        );
        self.inner.alive.send_replace(tasks.len());
        id
    }

    fn set(&self, id: u64, change: impl FnOnce(&mut TaskStatus)) {
        self.inner.set(id, change);
    }

    fn spawn<F>(&self, id: u64, work: F) -> Handle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let leave = Leave {
            inner: self.inner.clone(),
            id,
        };
        let join = tokio::spawn(async move {
            let _leave = leave;
            work.await
        });
        if let Some(entry) = locked(&self.inner.tasks).get_mut(&id) {
            entry.abort = Some(join.abort_handle());
        }
        Handle { join }
    }
}

/// Takes the task off the list when it ends, however it ends.
struct Leave {
    inner: Arc<Inner>,
    id: u64,
}

impl Drop for Leave {
    fn drop(&mut self) {
        let mut tasks = locked(&self.inner.tasks);
        tasks.remove(&self.id);
        self.inner.alive.send_replace(tasks.len());
    }
}

impl Inner {
    fn set(&self, id: u64, change: impl FnOnce(&mut TaskStatus)) {
        if let Some(entry) = locked(&self.tasks).get_mut(&id) {
            change(&mut entry.status);
        }
    }
}

/// The life of one loop.
async fn keep_turning<T: Task>(
    inner: &Inner,
    id: u64,
    name: &str,
    shutdown: &Shutdown,
    mut make: impl FnMut() -> T,
) {
    let mut backoff = Backoff::new(FIRST_PAUSE, MOST_PAUSE);
    let mut task = make();
    // A unit that failed is still to be done: what woke the task will not come again.
    let mut owed = false;
    loop {
        let mut outcome = Ok(Ok(()));
        if !owed {
            inner.set(id, |status| status.state = TaskState::Waiting);
            tokio::select! {
                biased;
                () = shutdown.asked() => return,
                waited = caught(task.wait()) => outcome = waited.map(Ok),
            }
        }
        if outcome.is_ok() {
            inner.set(id, |status| status.state = TaskState::Working);
            outcome = caught(task.turn()).await;
        }
        let error = match outcome {
            Ok(Ok(())) => {
                owed = false;
                backoff.reset();
                inner.set(id, |status| status.turns += 1);
                continue;
            }
            Ok(Err(error)) => chain(&error),
            Err(panic) => {
                task = make();
                panic
            }
        };
        owed = true;
        let pause = backoff.next_pause();
        let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(
            task = name,
            error,
            pause_ms,
            "a task failed and is tried again"
        );
        inner.set(id, |status| {
            status.turns += 1;
            status.failures += 1;
            status.state = TaskState::Backoff { error };
        });
        tokio::select! {
            biased;
            () = shutdown.asked() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Runs a future; its panic becomes an answer.
async fn caught<F: Future>(work: F) -> Result<F::Output, String> {
    // What a panic may have left half done is dropped with the task, which is made anew.
    AssertUnwindSafe(work)
        .catch_unwind()
        .await
        .map_err(|panic| words(panic.as_ref()))
}

fn chain(error: &TaskError) -> String {
    daas_model::render_chain(error.as_ref())
}

/// The answer of a task that was started by [`Supervisor::run`]; dropping it leaves the task running.
#[derive(Debug)]
pub struct Handle<T> {
    join: JoinHandle<T>,
}

/// Why a task gave no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lost {
    /// It panicked, with these words.
    Panicked(String),
    /// It was dropped at the end of a shutdown's grace.
    Dropped,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked(words) => write!(f, "the task panicked: {words}"),
            Self::Dropped => f.write_str("the task was dropped by the shutdown"),
        }
    }
}

impl std::error::Error for Lost {}

impl<T> Handle<T> {
    /// Ends the task at its next wait; a blocking one that runs already is not ended.
    pub fn abort(&self) {
        self.join.abort();
    }
}

impl<T> Future for Handle<T> {
    type Output = Result<T, Lost>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.join).poll(context).map(|joined| {
            joined.map_err(|error| match error.try_into_panic() {
                Ok(panic) => Lost::Panicked(words(panic.as_ref())),
                Err(_) => Lost::Dropped,
            })
        })
    }
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without words".to_owned())
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wake::Wake;
    use std::sync::atomic::AtomicU32;
    use tokio::sync::mpsc;

    /// Says each turn's number; what a turn does is decided by the script.
    struct Scripted {
        wake: Wake,
        turn: Arc<AtomicU32>,
        said: mpsc::UnboundedSender<u32>,
    }

    impl Task for Scripted {
        async fn wait(&mut self) {
            self.wake.called().await;
        }

        async fn turn(&mut self) -> Result<(), TaskError> {
            let n = self.turn.fetch_add(1, Ordering::SeqCst);
            self.said.send(n).unwrap();
            match n {
                1 => Err("the disk is gone".into()),
                2 => panic!("turn two"),
                _ => Ok(()),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_goes_on_after_failures_and_panics_and_repeats_the_unit_it_owes() {
        let supervisor = Supervisor::new();
        let (wake, turn) = (Wake::new(), Arc::new(AtomicU32::new(0)));
        let (said, mut heard) = mpsc::unbounded_channel();
        let made = wake.clone();
        supervisor.start("scripted", move || Scripted {
            wake: made.clone(),
            turn: turn.clone(),
            said: said.clone(),
        });
        wake.call();
        assert_eq!(heard.recv().await, Some(0));
        wake.call();
        // One call: turn 1 fails, turn 2 panics, turn 3 passes.
        assert_eq!(
            (heard.recv().await, heard.recv().await, heard.recv().await),
            (Some(1), Some(2), Some(3))
        );
        tokio::time::sleep(Duration::from_millis(1)).await;
        let status = supervisor.status();
        assert_eq!(
            (status[0].state.clone(), status[0].turns, status[0].failures),
            (TaskState::Waiting, 4, 2)
        );
        assert!(supervisor.shutdown(Duration::from_secs(1)).await.is_empty());
        assert!(supervisor.status().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_task_says_why_while_it_pauses() {
        struct Failing;
        impl Task for Failing {
            async fn wait(&mut self) {}
            async fn turn(&mut self) -> Result<(), TaskError> {
                Err("no room left".into())
            }
        }
        let supervisor = Supervisor::new();
        supervisor.start("failing", || Failing);
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(
            supervisor.status()[0].state,
            TaskState::Backoff {
                error: "no room left".into()
            }
        );
        assert!(supervisor.shutdown(Duration::from_secs(1)).await.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_shutdown_names_who_did_not_finish_and_drops_them() {
        let supervisor = Supervisor::new();
        let stubborn = supervisor.run("stubborn", |_| std::future::pending::<()>());
        let polite = supervisor.run("polite", |shutdown| async move { shutdown.asked().await });
        assert_eq!(
            supervisor.shutdown(Duration::from_secs(5)).await,
            ["stubborn"]
        );
        assert_eq!((stubborn.await, polite.await), (Err(Lost::Dropped), Ok(())));
    }

    #[tokio::test]
    async fn the_words_of_a_panic_reach_who_waits() {
        let supervisor = Supervisor::new();
        let handle = supervisor.run("panicking", |_| async {
            if true {
                panic!("no {}", "luck")
            }
        });
        assert_eq!(handle.await, Err(Lost::Panicked("no luck".into())));
        assert_eq!(supervisor.run_blocking("adding", || 1 + 1).await, Ok(2));
    }
}
