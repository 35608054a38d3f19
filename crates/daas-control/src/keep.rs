//! Keeps one loop for each stand, and calls it when something happens.

use crate::events::HappeningRecord;
use crate::in_use::InUse;
use crate::operations::Operations;
use crate::record::StandRecord;
use crate::stand_loop::{Live, Shared, StandLoop};
use crate::status::Status;
use crate::steps::Gauntlet;
use daas_api::Failure;
use daas_engine::{Engine, Happening, HappeningKind};
use daas_model::{StandId, StandName};
use daas_plan::Step;
use daas_store::{Batch, Store};
use daas_tasks::{Supervisor, Wake};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use tokio::sync::{Semaphore, broadcast, mpsc, watch};

/// Tells whether people want to read it later: the end of an exec is told to who asked for it, and to nobody else.
fn is_worth_an_event(kind: &HappeningKind) -> bool {
    !matches!(
        kind,
        HappeningKind::Keeper(daas_engine::EventKind::ExecEnded { .. })
    )
}

/// How many events are written at once at most.
const TOGETHER: usize = 64;
/// How many turns of stands work at once. More than cores, because a turn waits for the disk and the kernel's network lock.
const AT_ONCE: usize = 6;

/// Every loop. A clone is another handle of the same.
#[derive(Debug)]
pub(crate) struct Keep<E> {
    pub(crate) shared: Arc<Shared<E>>,
    tasks: Supervisor,
    live: Arc<Mutex<HashMap<StandName, Live>>>,
    names: Arc<Mutex<HashMap<StandId, StandName>>>,
    changes: Arc<Mutex<Option<mpsc::UnboundedReceiver<StandName>>>>,
}

impl<E> Clone for Keep<E> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            tasks: self.tasks.clone(),
            live: self.live.clone(),
            names: self.names.clone(),
            changes: self.changes.clone(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<E: Engine> Keep<E> {
    /// Starts a loop for every stand that is recorded, closes what no record knows, and listens to the engine.
    pub(crate) async fn start(
        store: Store,
        engine: Arc<E>,
        operations: Operations,
        tasks: Supervisor,
    ) -> Result<Self, Failure> {
        let stands = store.list::<StandRecord>("")?;
        let (changed, changes) = mpsc::unbounded_channel();
        let shared = Shared {
            store,
            engine,
            operations,
            in_use: InUse::of(&stands),
            gate: Semaphore::new(AT_ONCE),
            steps: Gauntlet::from_env(),
            waiting: crate::building::Waiting::default(),
            ingress: OnceLock::new(),
            changed,
        };
        let keep = Self {
            shared: Arc::new(shared),
            tasks,
            live: Arc::default(),
            names: Arc::default(),
            changes: Arc::new(Mutex::new(Some(changes))),
        };
        let happenings = keep.shared.engine.listen();
        keep.close_orphans(
            &stands
                .iter()
                .map(|s| s.value.id.clone())
                .collect::<Vec<_>>(),
        )
        .await?;
        for stand in stands {
            keep.run(&stand.value.name, &stand.value.id);
        }
        keep.listen(happenings);
        Ok(keep)
    }

    /// Returns what tells the names of stands that were looked at; only to the first who asks.
    pub(crate) fn take_changes(&self) -> Option<mpsc::UnboundedReceiver<StandName>> {
        lock(&self.changes).take()
    }

    /// Says who sends requests to nodes: they are let finish before a node is stopped.
    pub(crate) fn drain(&self, ingress: daas_ingress::Ingress) {
        // Only the start of the control says it, once.
        let _ = self.shared.ingress.set(ingress);
    }

    /// Returns the steps that tests of crash safety damage.
    pub(crate) fn steps(&self) -> &Gauntlet {
        &self.shared.steps
    }

    /// Closes stands of which something exists and no record: a crash between the two ends of a `down`.
    async fn close_orphans(&self, recorded: &[StandId]) -> Result<(), Failure> {
        let engine = &self.shared.engine;
        for id in engine
            .known()
            .into_iter()
            .filter(|id| !recorded.contains(id))
        {
            tracing::info!(stand = %id, "closing a stand that no record knows");
            engine
                .apply(
                    &orphan(&id),
                    &Step::Close,
                    &(Arc::new(|_| ()) as daas_engine::Teller),
                )
                .await?;
        }
        Ok(())
    }

    /// Returns the loop of a stand, started if need be, and calls it.
    pub(crate) fn run(&self, name: &StandName, id: &StandId) -> Live {
        let mut all = lock(&self.live);
        if let Some(live) = all.get(name) {
            live.wake.call();
            return live.clone();
        }
        let live = Live {
            wake: Wake::new(),
            status: Arc::new(watch::Sender::new(Status::default())),
        };
        live.wake.call();
        all.insert(name.clone(), live.clone());
        lock(&self.names).insert(id.clone(), name.clone());
        drop(all);
        let keep = self.clone();
        let (name, id, handed) = (name.clone(), id.clone(), live.clone());
        self.tasks
            .run(format!("stand {name}"), |shutdown| async move {
                let stand = StandLoop {
                    name: name.clone(),
                    shared: keep.shared.clone(),
                    live: handed,
                };
                stand.run(&shutdown, || keep.leave(&name, &id)).await;
            });
        live
    }

    /// Calls the loop of a stand, if it still has one.
    pub(crate) fn wake(&self, name: &StandName, id: &StandId) {
        if lock(&self.names).get(id) == Some(name)
            && let Some(live) = lock(&self.live).get(name)
        {
            live.wake.call();
        }
    }

    /// Takes a stand off the list if its record is gone; tells whether it was.
    ///
    /// Under the lock of the list: a stand of the same name that comes now finds either this loop, which then sees its record, or none.
    fn leave(&self, name: &StandName, id: &StandId) -> bool {
        let mut all = lock(&self.live);
        if !matches!(
            self.shared.store.get::<StandRecord>(name.as_str()),
            Ok(None)
        ) {
            return false;
        }
        all.remove(name);
        lock(&self.names).remove(id);
        true
    }

    /// Returns what the loop of a stand last saw.
    pub(crate) fn status(&self, name: &StandName) -> Status {
        lock(&self.live)
            .get(name)
            .map(|live| live.status.borrow().clone())
            .unwrap_or_default()
    }

    /// Calls the loop of every happening's stand, and remembers what people want to read later.
    fn listen(&self, mut happenings: broadcast::Receiver<Happening>) {
        let keep = self.clone();
        self.tasks.run("happenings", |shutdown| async move {
            loop {
                let heard = tokio::select! {
                    heard = happenings.recv() => heard,
                    () = shutdown.asked() => return,
                };
                match heard {
                    Ok(happening) => {
                        let mut all = vec![happening];
                        // What came together is flushed together: three nodes that start are one write and not three.
                        while all.len() < TOGETHER
                            && let Ok(next) = happenings.try_recv()
                        {
                            all.push(next);
                        }
                        keep.hear(all).await;
                    }
                    Err(broadcast::error::RecvError::Lagged(missed)) => {
                        tracing::warn!(
                            missed,
                            "events came faster than they could be written; looking at every stand"
                        );
                        for live in lock(&keep.live).values() {
                            live.wake.call();
                        }
                    }
                    Err(broadcast::error::RecvError::Closed) => return,
                }
            }
        });
    }

    async fn hear(&self, happenings: Vec<Happening>) {
        let mut batch = Ok(Batch::new());
        for happening in happenings {
            let Some(name) = self.name_of(&happening.stand) else {
                continue;
            };
            if let Some(live) = lock(&self.live).get(&name) {
                live.wake.call();
            }
            if is_worth_an_event(&happening.kind) {
                let at_ms = happening.at_ms;
                let record = HappeningRecord::of(&name, happening);
                batch = batch.and_then(|batch| batch.event(name.as_str(), at_ms, &record));
            }
        }
        let written = match batch {
            Ok(batch) if batch.is_empty() => return,
            Ok(batch) => self.shared.store.commit(batch).await.map(drop),
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            tracing::error!(cause = %error, "cannot remember events");
        }
    }

    fn name_of(&self, id: &StandId) -> Option<StandName> {
        lock(&self.names).get(id).cloned()
    }
}

/// Returns an order that names a stand and nothing else.
fn orphan(id: &StandId) -> daas_engine::Order {
    let name = StandName::parse(id.as_str()).expect("an id matches the grammar of names");
    let spec = daas_model::StandSpec {
        project: daas_model::ProjectName::parse("orphan")
            .expect("a literal that matches the grammar"),
        kind: daas_model::StandKind::Test,
        nodes: std::collections::BTreeMap::new(),
        networks: std::collections::BTreeMap::new(),
        volumes: std::collections::BTreeMap::new(),
        files: std::collections::BTreeMap::new(),
        limits: daas_model::Limits::default(),
        egress: daas_model::Egress::None,
        ttl: None,
        routes: Vec::new(),
        sleep_after: None,
    };
    daas_engine::Order {
        id: id.clone(),
        name,
        spec: Arc::new(spec),
        addresses: daas_plan::Addresses::default(),
        host_address: None,
        grace: None,
        pins: daas_engine::Pins::new(),
    }
}
