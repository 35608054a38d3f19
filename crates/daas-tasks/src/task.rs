use serde::Serialize;
use std::error::Error;
use std::future::Future;

/// What a turn failed with; it is shown with its causes.
pub type TaskError = Box<dyn Error + Send + Sync>;

/// A loop under a supervisor: wait for something to do, do one unit of it, again.
pub trait Task: Send + 'static {
    /// Waits until there is something to do. Dropped whenever the supervisor wants; must lose nothing by it.
    fn wait(&mut self) -> impl Future<Output = ()> + Send;

    /// Does one unit of work. Never dropped in the middle, except when the grace of a shutdown has ended.
    fn turn(&mut self) -> impl Future<Output = Result<(), TaskError>> + Send;
}

/// What a task does now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum TaskState {
    /// It waits for something to do.
    Waiting,
    /// It works.
    Working,
    /// It failed and is tried again after a pause.
    Backoff {
        /// What it failed with.
        error: String,
    },
}

/// A task as `daas tasks` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TaskStatus {
    /// Its number, unique in the process.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// What it does.
    #[serde(flatten)]
    pub state: TaskState,
    /// How many turns it has finished.
    pub turns: u64,
    /// How many of them failed.
    pub failures: u64,
}
