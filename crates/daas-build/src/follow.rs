//! What a command writes, passed on while it runs.

use daas_keeper::log::{From, Reader, Stream};
use daas_tasks::Supervisor;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

/// The pauses between two looks at a log that has nothing new.
const FIRST_PAUSE: Duration = Duration::from_millis(4);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// A piece of output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Whether it came from standard error.
    pub error: bool,
    /// The bytes as they were written; lines may be cut anywhere.
    pub bytes: Vec<u8>,
}

/// Reads a log as it grows, on a thread that may wait.
pub(crate) struct Follower {
    over: Arc<AtomicBool>,
    flooded: Arc<Notify>,
    done: Option<oneshot::Receiver<()>>,
}

impl Follower {
    /// Begins to read the log at `path`; behind `limit` bytes it stops and says so.
    pub(crate) fn begin(
        tasks: &Supervisor,
        path: PathBuf,
        limit: u64,
        hear: impl Fn(Piece) + Send + 'static,
    ) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let flooded = Arc::new(Notify::new());
        let (end, done) = oneshot::channel();
        let (stop, flood) = (over.clone(), flooded.clone());
        tasks.run_blocking("output of a build step", move || {
            follow(&path, limit, &stop, &flood, &hear);
            // Nobody waits for it any more.
            let _ = end.send(());
        });
        Self {
            over,
            flooded,
            done: Some(done),
        }
    }

    /// Waits until more was written than may be.
    pub(crate) async fn flooded(&self) {
        self.flooded.notified().await;
    }

    /// Reads what is left and ends.
    pub(crate) async fn end(&mut self) {
        self.over.store(true, Ordering::Release);
        if let Some(done) = self.done.take() {
            // It has ended already.
            let _ = done.await;
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
    }
}

fn follow(
    path: &std::path::Path,
    limit: u64,
    stop: &AtomicBool,
    flood: &Notify,
    hear: &dyn Fn(Piece),
) {
    let mut reader = match Reader::open(path, From::Oldest) {
        Ok(reader) => reader,
        Err(error) => {
            tracing::warn!(path = %path.display(), cause = %error, "cannot read the output of a build step");
            return;
        }
    };
    let (mut pause, mut bytes) = (FIRST_PAUSE, 0u64);
    loop {
        // Asked before the look: what was written until then is read.
        let last = stop.load(Ordering::Acquire);
        let mut heard = false;
        while let Ok(Some(record)) = reader.read_next() {
            heard = true;
            bytes += record.bytes.len() as u64;
            if bytes > limit {
                flood.notify_one();
                return;
            }
            hear(Piece {
                error: record.stream == Stream::Error,
                bytes: record.bytes,
            });
        }
        if last {
            return;
        }
        pause = if heard {
            FIRST_PAUSE
        } else {
            (pause * 2).min(LONGEST_PAUSE)
        };
        std::thread::sleep(pause);
    }
}
