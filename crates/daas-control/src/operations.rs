//! Long-running requests that somebody may follow.

use daas_api::platform::Flow;
use daas_api::{Failure, NodeProgress, Operation, OperationId, OperationKind, OperationState};
use daas_model::{ImageName, Kind, StandName};
use futures_util::FutureExt;
use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// How many operations that are over are remembered, for who asks late.
const REMEMBERED: usize = 2000;

/// The operations of this daemon's life. A clone is another handle of the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Operations {
    list: Arc<Mutex<VecDeque<Entry>>>,
}

#[derive(Debug, Clone)]
struct Entry {
    /// The revision of the record that the operation wrote; 0 for images.
    revision: u64,
    sender: watch::Sender<Operation>,
}

impl Operations {
    fn list(&self) -> std::sync::MutexGuard<'_, VecDeque<Entry>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins an operation on a stand that is recorded at `revision`; older ones on the same stand are replaced.
    pub(crate) fn begin(
        &self,
        kind: OperationKind,
        stand: &StandName,
        revision: u64,
        now_ms: u64,
    ) -> OperationId {
        self.change(stand, |operation, _| {
            operation.state = OperationState::Replaced;
            operation.ended_ms = Some(now_ms);
        });
        let id = OperationId::parse(&format!("op-{revision}")).expect("digits match the grammar");
        self.enter(
            revision,
            new(id.clone(), kind, Some(stand.clone()), None, now_ms),
        );
        id
    }

    /// Begins an operation on an image.
    pub(crate) fn begin_image(
        &self,
        kind: OperationKind,
        image: Option<&ImageName>,
        now_ms: u64,
    ) -> OperationId {
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let id = OperationId::parse(&format!("image-{now_ms}-{number}"))
            .expect("digits match the grammar");
        self.enter(0, new(id.clone(), kind, None, image.cloned(), now_ms));
        id
    }

    fn enter(&self, revision: u64, operation: Operation) {
        let mut list = self.list();
        list.push_back(Entry {
            revision,
            sender: watch::Sender::new(operation),
        });
        while list.len() > REMEMBERED
            && list
                .front()
                .is_some_and(|e| e.sender.borrow().state.is_over())
        {
            list.pop_front();
        }
    }

    /// Changes every operation on `stand` that is not over.
    pub(crate) fn change(&self, stand: &StandName, mut change: impl FnMut(&mut Operation, u64)) {
        for entry in self.list().iter() {
            let touched = {
                let seen = entry.sender.borrow();
                seen.stand.as_ref() == Some(stand) && !seen.state.is_over()
            };
            if touched {
                entry.sender.send_if_modified(|operation| {
                    let before = operation.clone();
                    change(operation, entry.revision);
                    *operation != before
                });
            }
        }
    }

    /// Changes one operation that is not over.
    pub(crate) fn change_one(&self, id: &OperationId, change: impl FnOnce(&mut Operation)) {
        if let Some(sender) = self.sender(id) {
            sender.send_modify(|operation| {
                if !operation.state.is_over() {
                    change(operation);
                }
            });
        }
    }

    fn sender(&self, id: &OperationId) -> Option<watch::Sender<Operation>> {
        self.list()
            .iter()
            .find(|e| e.sender.borrow().id == *id)
            .map(|e| e.sender.clone())
    }

    /// Returns an operation.
    pub(crate) fn get(&self, id: &OperationId) -> Result<Operation, Failure> {
        self.sender(id)
            .map(|s| s.borrow().clone())
            .ok_or_else(|| unknown(id))
    }

    /// Follows an operation until it is over.
    pub(crate) fn follow(&self, id: &OperationId) -> Result<Flow<Operation>, Failure> {
        let receiver = self.sender(id).ok_or_else(|| unknown(id))?.subscribe();
        let first = true;
        let stream = futures_util::stream::unfold(
            (receiver, first, false),
            |(mut receiver, first, over)| async move {
                if over {
                    return None;
                }
                if !first && receiver.changed().await.is_err() {
                    return None;
                }
                let now = receiver.borrow_and_update().clone();
                let over = now.state.is_over();
                Some((Ok(now), (receiver, false, over)))
            },
        );
        Ok(Box::pin(stream))
    }
}

/// Ends an operation well or badly.
pub(crate) fn end(operation: &mut Operation, result: Result<(), Failure>, now_ms: u64) {
    operation.ended_ms = Some(now_ms);
    match result {
        Ok(()) => operation.state = OperationState::Done,
        Err(failure) => {
            operation.state = OperationState::Failed;
            operation.problem = Some(failure.to_problem());
        }
    }
}

/// Does the work of an operation; a panic becomes its failure, so that nobody waits for ever.
pub(crate) async fn caught(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    // What a panic may have left half done is dropped with the work.
    AssertUnwindSafe(work)
        .catch_unwind()
        .await
        .unwrap_or_else(|panic| Err(panicked(panic.as_ref())))
}

/// Says that an operation ends with the daemon.
pub(crate) fn daemon_ends() -> Failure {
    Failure::new(
        "daemon-ends",
        Kind::Busy {
            retry_after: Duration::from_secs(5),
        },
        "the daemon is shutting down",
    )
}

/// Says that the work of an operation panicked, with its words.
fn panicked(panic: &(dyn std::any::Any + Send)) -> Failure {
    let words = panic
        .downcast_ref::<&str>()
        .map(|words| (*words).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "it said nothing".to_owned());
    tracing::error!(%words, "the work of an operation panicked");
    Failure::new(
        "operation-panicked",
        Kind::Bug,
        "the work ended in the middle by a fault of the program",
    )
    .because(words)
    .hint("try again; the daemon's log has more")
}

fn new(
    id: OperationId,
    kind: OperationKind,
    stand: Option<StandName>,
    image: Option<ImageName>,
    now_ms: u64,
) -> Operation {
    Operation {
        id,
        kind,
        stand,
        image,
        state: OperationState::Running,
        started_ms: now_ms,
        ended_ms: None,
        nodes: Vec::<NodeProgress>::new(),
        digest: None,
        problem: None,
    }
}

fn unknown(id: &OperationId) -> Failure {
    Failure::new(
        "operation-not-found",
        Kind::NotFound,
        format!("no operation `{id}`"),
    )
    .hint("operations are forgotten when the daemon ends; look at the stand instead")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_that_panics_ends_its_operation_as_failed() {
        let operations = Operations::default();
        let id = operations.begin_image(OperationKind::Make, None, 1);
        let work = async {
            assert!(std::hint::black_box(false), "a bug of ours");
            Ok(())
        };
        let result = caught(work).await;
        operations.change_one(&id, |operation| end(operation, result, 2));
        let operation = operations.get(&id).unwrap();
        assert_eq!(operation.state, OperationState::Failed);
        let problem = operation.problem.unwrap();
        assert_eq!(problem.code, "operation-panicked");
        assert!(format!("{problem:?}").contains("a bug of ours"));
    }
}
