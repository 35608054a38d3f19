//! The loop of one stand: look, plan, do, until nothing is left to do.

use crate::building::{Building, Waiting};
use crate::events::HappeningRecord;
use crate::in_use::InUse;
use crate::operations::{Operations, end};
use crate::record::{Once, StandRecord};
use crate::status::{Status, Verdict};
use crate::steps::{Gauntlet, names};
use daas_api::{Failure, OperationKind};
use daas_engine::{Engine, Order, Progress, Teller};
use daas_model::{Kind, NodeName, StandName};
use daas_plan::{Plan, Power, Step, Wanted, assign, plan_stand};
use daas_store::{Batch, Expect, Store, Stored};
use daas_tasks::{Backoff, Shutdown, Wake};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{Semaphore, mpsc, watch};

/// How many looks one turn takes before it lets others have the machine; a stand of hundreds of nodes in a chain needs one look each.
const LOOKS: usize = 64;
/// How often a stand is looked at when nothing calls: what no event told is found then.
const GLANCE: Duration = Duration::from_secs(30);

/// How long requests may take to finish before their node is stopped: Docker's grace for programs.
const FINISH: Duration = Duration::from_secs(10);
/// The same where no other node does their work meanwhile.
const FINISH_ALONE: Duration = Duration::from_millis(500);

/// The first pause after a turn that failed.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause after turns that failed.
const MOST_PAUSE: Duration = Duration::from_secs(30);

/// What all loops share.
#[derive(Debug)]
pub(crate) struct Shared<E> {
    pub(crate) store: Store,
    pub(crate) engine: Arc<E>,
    pub(crate) operations: Operations,
    pub(crate) in_use: InUse,
    /// How many turns work at once: the rest queues instead of fighting for the machine.
    pub(crate) gate: Semaphore,
    pub(crate) steps: Gauntlet,
    /// Stands whose images are being built.
    pub(crate) waiting: Waiting,
    /// Who sends requests to nodes; nobody in tests of the loop alone.
    pub(crate) ingress: OnceLock<daas_ingress::Ingress>,
    /// Told the name of a stand whenever it was looked at, or is gone.
    pub(crate) changed: mpsc::UnboundedSender<StandName>,
}

/// What others see of one loop.
#[derive(Debug, Clone)]
pub(crate) struct Live {
    pub(crate) wake: Wake,
    pub(crate) status: Arc<watch::Sender<Status>>,
}

/// The loop of one stand.
pub(crate) struct StandLoop<E> {
    pub(crate) name: StandName,
    pub(crate) shared: Arc<Shared<E>>,
    pub(crate) live: Live,
}

/// How a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turned {
    /// Nothing is left to do until something happens.
    Through,
    /// It did not get through and is tried again after a pause.
    Again,
    /// The stand is gone for good.
    Gone,
}

/// Returns milliseconds of the Unix clock.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Returns the order for the engine.
pub(crate) fn order(record: &StandRecord) -> Order {
    Order {
        id: record.id.clone(),
        name: record.name.clone(),
        spec: Arc::new(record.spec.clone()),
        addresses: record.addresses.clone(),
        host_address: record.host_address,
        grace: record.grace,
        pins: record.pins.clone(),
    }
}

/// Returns the nodes that a step ends while the stand goes on.
fn ends(step: &Step) -> Option<&BTreeSet<NodeName>> {
    match step {
        Step::Stop { nodes } | Step::Remove { nodes } | Step::Restart { nodes } => Some(nodes),
        Step::FetchImage { .. }
        | Step::Open { .. }
        | Step::Reshape { .. }
        | Step::Start { .. }
        | Step::Pause { .. }
        | Step::Resume { .. }
        | Step::Close => None,
    }
}

/// Tells whether trying the same again may help without a person.
fn passes(kind: Kind) -> bool {
    match kind {
        Kind::Busy { .. } | Kind::Outside => true,
        Kind::Input | Kind::NotFound | Kind::Conflict | Kind::Forbidden | Kind::Bug => false,
    }
}

impl<E: Engine> StandLoop<E> {
    /// Waits and turns until the shutdown, or until `leave` says that the stand is gone.
    pub(crate) async fn run(&self, shutdown: &Shutdown, leave: impl Fn() -> bool) {
        let mut backoff = Backoff::new(FIRST_PAUSE, MOST_PAUSE);
        loop {
            tokio::select! {
                () = self.wait() => {}
                () = shutdown.asked() => return,
            }
            match self.turn().await {
                Turned::Gone if leave() => return,
                Turned::Gone | Turned::Through => backoff.reset(),
                Turned::Again => {
                    tokio::select! {
                        () = tokio::time::sleep(backoff.next_pause()) => self.live.wake.call(),
                        () = self.live.wake.called() => self.live.wake.call(),
                        () = shutdown.asked() => return,
                    }
                }
            }
        }
    }

    /// Waits for a call, for the end of the time to live, or for the next glance. May be dropped at any time.
    async fn wait(&self) {
        let expires = self
            .record()
            .ok()
            .flatten()
            .and_then(|r| r.value.expires_ms);
        let until = expires.map_or(GLANCE, |at| {
            Duration::from_millis(at.saturating_sub(now_ms())).min(GLANCE)
        });
        self.live.wake.called_or(until).await;
    }

    /// Does one unit of work; never dropped in the middle but by the end of the program.
    async fn turn(&self) -> Turned {
        let permit = self.shared.gate.acquire().await;
        let result = self.converge().await;
        drop(permit);
        let failure = match result {
            Ok(turned) => {
                self.live.status.send_modify(|status| {
                    (status.failing, status.told) = (None, None);
                });
                return turned;
            }
            Err(failure) => failure,
        };
        // A build that failed is not tried again by itself, whatever it failed of.
        let parked = !passes(failure.kind())
            || matches!(
                self.shared.waiting.of(&self.name),
                Some(Building::Failed(_))
            );
        tracing::warn!(stand = %self.name, cause = %failure, "the stand is not as wanted yet");
        let revision = self.record().ok().flatten().map(|r| r.revision.0);
        self.note_failure(&failure).await;
        self.live.status.send_modify(|status| {
            let revision = revision.unwrap_or(status.revision);
            status.fail(revision, failure, parked, std::time::Instant::now());
        });
        self.say_changed();
        self.tell();
        if parked {
            Turned::Through
        } else {
            Turned::Again
        }
    }
}

impl<E: Engine> StandLoop<E> {
    /// Keeps a failure as an event, once until it is another or over.
    async fn note_failure(&self, failure: &Failure) {
        // What is busy is over in a moment.
        if matches!(failure.kind(), Kind::Busy { .. }) {
            return;
        }
        let text = failure.to_string();
        if self.live.status.borrow().told.as_ref() == Some(&text) {
            return;
        }
        let record = HappeningRecord::warning(&self.name, failure.code(), text.clone());
        self.live
            .status
            .send_modify(|status| status.told = Some(text));
        let kept = match Batch::new().event(self.name.as_str(), now_ms(), &record) {
            Ok(batch) => self.shared.store.commit(batch).await.map(drop),
            Err(error) => Err(error),
        };
        if let Err(error) = kept {
            tracing::warn!(stand = %self.name, cause = %daas_model::render_chain(&error), "a failure is not kept as an event");
        }
    }

    fn record(&self) -> Result<Option<Stored<StandRecord>>, Failure> {
        Ok(self.shared.store.get::<StandRecord>(self.name.as_str())?)
    }

    async fn converge(&self) -> Result<Turned, Failure> {
        for _ in 0..LOOKS {
            let Some(mut stored) = self.record()? else {
                return Ok(Turned::Gone);
            };
            if self.expire(&mut stored).await? || self.place(&mut stored).await? {
                continue;
            }
            if self.waits_for_builds(&stored.value)? {
                return Ok(Turned::Through);
            }
            if self.do_once(&mut stored).await? {
                continue;
            }
            if let Some(turned) = self.look_and_do(&stored).await? {
                return Ok(turned);
            }
        }
        // Not through yet: somebody else's turn first.
        self.live.wake.call();
        Ok(Turned::Through)
    }

    /// Ends the life of a stand whose time has come; tells whether it did.
    async fn expire(&self, stored: &mut Stored<StandRecord>) -> Result<bool, Failure> {
        let record = &mut stored.value;
        if record.power == Power::Gone || record.expires_ms.is_none_or(|at| at > now_ms()) {
            return Ok(false);
        }
        record.power = Power::Gone;
        self.save(stored).await?;
        Ok(true)
    }

    /// Gives addresses to nodes and networks that have none; tells whether the record has changed.
    async fn place(&self, stored: &mut Stored<StandRecord>) -> Result<bool, Failure> {
        let addresses = assign(&stored.value.spec, &stored.value.addresses)?;
        if addresses == stored.value.addresses || stored.value.power == Power::Gone {
            return Ok(false);
        }
        stored.value.addresses = addresses;
        self.save(stored).await?;
        Ok(true)
    }

    /// Tells whether images of the stand are being built; whoever builds calls when they are there.
    fn waits_for_builds(&self, record: &StandRecord) -> Result<bool, Failure> {
        if record.power == Power::Gone {
            self.shared.waiting.end(&self.name, None);
            return Ok(false);
        }
        match self.shared.waiting.of(&self.name) {
            None => {
                self.live.status.send_if_modified(|status| {
                    let was = !status.building.is_empty();
                    status.building.clear();
                    was
                });
                Ok(false)
            }
            Some(Building::Failed(failure)) => Err(failure),
            Some(Building::Under { image, text }) => {
                self.live.status.send_modify(|status| {
                    status.building = [(image, text)].into();
                });
                let nodes = self.live.status.borrow().progress(record);
                self.shared.operations.change(&self.name, |operation, _| {
                    operation.nodes.clone_from(&nodes);
                });
                Ok(true)
            }
        }
    }

    /// Does what is to be done once; tells whether there was anything.
    ///
    /// A crash in between does it again: a node that is stopped or removed twice is stopped or removed.
    async fn do_once(&self, stored: &mut Stored<StandRecord>) -> Result<bool, Failure> {
        let record = &stored.value;
        let once = record.once.clone();
        if once == Once::default() || record.power == Power::Gone {
            return Ok(false);
        }
        let order = order(record);
        let tell = self.teller();
        let there: BTreeSet<NodeName> = self
            .shared
            .engine
            .observe(&record.id)
            .await?
            .nodes
            .into_keys()
            .collect();
        if once.pull {
            let images: BTreeSet<_> = record
                .spec
                .nodes
                .values()
                .map(|n| n.image.clone())
                .collect();
            for image in images {
                self.shared
                    .engine
                    .apply(&order, &Step::FetchImage { image }, &tell)
                    .await?;
            }
        }
        let again: BTreeSet<NodeName> = if once.recreate {
            there.clone()
        } else {
            once.restart.intersection(&there).cloned().collect()
        };
        if !again.is_empty() {
            self.let_finish(record, &again).await;
            self.shared
                .engine
                .apply(
                    &order,
                    &Step::Stop {
                        nodes: again.clone(),
                    },
                    &tell,
                )
                .await?;
        }
        if once.recreate && !again.is_empty() {
            self.shared
                .engine
                .apply(&order, &Step::Remove { nodes: again }, &tell)
                .await?;
        }
        self.nobody_leaves();
        stored.value.once = Once::default();
        self.shared.steps.take("loop.once")?;
        self.save(stored).await?;
        Ok(true)
    }

    /// Writes a record that this loop has changed; somebody else's change wins and is looked at next.
    async fn save(&self, stored: &Stored<StandRecord>) -> Result<(), Failure> {
        match self
            .shared
            .store
            .put_if(
                self.name.as_str(),
                &stored.value,
                Expect::Revision(stored.revision),
            )
            .await
        {
            Ok(_) => Ok(()),
            Err(error) if error.is_conflict() => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Looks once and does what is to be done; tells how the turn ends, if it does.
    async fn look_and_do(&self, stored: &Stored<StandRecord>) -> Result<Option<Turned>, Failure> {
        let record = &stored.value;
        let engine = &self.shared.engine;
        let observed = engine.observe(&record.id).await?;
        let images = engine.images(&record.spec, &record.pins).await?;
        if record.power != Power::Gone && images != record.pins {
            // Somebody else's change wins, and this is found again after it.
            let mut pinned = stored.clone();
            pinned.value.pins = images;
            self.save(&pinned).await?;
            return Ok(None);
        }
        let wanted = Wanted {
            spec: &record.spec,
            power: record.power,
            held: &record.held,
            asked_at_ms: record.asked_at_ms,
            apart: &record.apart,
            images: &images,
            addresses: &record.addresses,
        };
        let plan = plan_stand(wanted, &observed);
        let steps = plan.steps.clone();
        self.show(stored.revision.0, observed, plan);
        if steps.is_empty() {
            engine.connect(&order(record)).await?;
            return Ok(Some(Turned::Through));
        }
        let order = order(record);
        let tell = self.teller();
        for (step, reason) in &steps {
            tracing::debug!(stand = %self.name, %step, %reason, "step");
            self.live.status.send_modify(|status| {
                status.starting = matches!(step, Step::Start { .. } | Step::Open { .. });
            });
            if let (Power::Running, Some(nodes)) = (record.power, ends(step)) {
                self.let_finish(record, nodes).await;
            }
            let done = self.carry_out(&order, step, &tell).await;
            self.nobody_leaves();
            done?;
            match step {
                Step::Close => return self.forget(stored).await,
                Step::Open { .. } => engine.connect(&order).await?,
                Step::FetchImage { image } => {
                    let familiar = image.familiar();
                    self.live.status.send_modify(|status| {
                        status.fetching.remove(&familiar);
                    });
                }
                _ => {}
            }
        }
        self.live
            .status
            .send_modify(|status| status.starting = false);
        Ok(None)
    }

    /// Sends nobody new to nodes that are about to be stopped, and lets those finish who are there.
    async fn let_finish(&self, record: &StandRecord, nodes: &BTreeSet<NodeName>) {
        let Some(ingress) = self.shared.ingress.get() else {
            return;
        };
        self.live
            .status
            .send_modify(|status| status.leaving.clone_from(nodes));
        self.say_changed();
        let names = nodes.iter().map(ToString::to_string).collect();
        // Whose service has no other node is wanted back soon; a page that is never through must not keep it away.
        let is_alone = |node: &NodeName| {
            let service = record.spec.nodes.get(node).map(|node| &node.service);
            let mut others = record
                .spec
                .nodes
                .iter()
                .filter(|(name, _)| !nodes.contains(*name));
            service.is_some() && !others.any(|(_, other)| Some(&other.service) == service)
        };
        let patience = if nodes.iter().any(is_alone) {
            FINISH_ALONE
        } else {
            FINISH
        };
        ingress.drained(&self.name, &names, patience).await;
    }

    fn nobody_leaves(&self) {
        self.live.status.send_if_modified(|status| {
            let any = !status.leaving.is_empty();
            status.leaving.clear();
            any
        });
    }

    async fn carry_out(&self, order: &Order, step: &Step, tell: &Teller) -> Result<(), Failure> {
        let Some((before, after)) = names(step) else {
            return Ok(self.shared.engine.apply(order, step, tell).await?);
        };
        let twice = self.shared.steps.take(before)?;
        for _ in 0..=usize::from(twice) {
            self.shared.engine.apply(order, step, tell).await?;
        }
        self.shared.steps.take(after)?;
        Ok(())
    }

    /// Forgets a stand that is closed, unless somebody wanted it again meanwhile.
    async fn forget(&self, stored: &Stored<StandRecord>) -> Result<Option<Turned>, Failure> {
        let batch = daas_store::Batch::new()
            .delete_if::<StandRecord>(self.name.as_str(), Expect::Revision(stored.revision));
        match self.shared.store.commit(batch).await {
            Ok(_) => {
                self.shared.in_use.leave(&stored.value);
                self.say_changed();
                self.shared.steps.take("loop.forgotten")?;
                self.shared.engine.connect(&order(&stored.value)).await?;
                self.shared.operations.change(&self.name, |operation, _| {
                    operation.nodes = self.live.status.borrow().progress(&stored.value);
                    for node in &mut operation.nodes {
                        node.phase = daas_api::Phase::Removed;
                    }
                    end(operation, Ok(()), now_ms());
                });
                Ok(Some(Turned::Gone))
            }
            Err(error) if error.is_conflict() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn show(&self, revision: u64, observed: daas_model::StandObserved, plan: Plan) {
        self.live.status.send_modify(|status| {
            status.revision = revision;
            status.observed = observed;
            status.plan = plan;
            status.error = None;
            status.parked = false;
        });
        self.say_changed();
        self.tell();
    }

    /// Tells whoever shows the stand to the outside. Nobody listens in tests of the loop alone.
    fn say_changed(&self) {
        let _ = self.shared.changed.send(self.name.clone());
    }

    /// Passes progress of long steps on to whoever follows.
    fn teller(&self) -> Teller {
        let live = self.live.clone();
        let operations = self.shared.operations.clone();
        let name = self.name.clone();
        let record = Mutex::new(self.record().ok().flatten().map(|r| r.value));
        Arc::new(move |progress: Progress| {
            live.status.send_modify(|status| {
                status.fetching.insert(progress.subject.clone(), progress);
            });
            if let Some(record) = record
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .as_ref()
            {
                let nodes = live.status.borrow().progress(record);
                operations.change(&name, |operation, _| operation.nodes.clone_from(&nodes));
            }
        })
    }

    /// Tells every operation on this stand how it stands.
    fn tell(&self) {
        let Ok(Some(stored)) = self.record() else {
            return;
        };
        let record = stored.value;
        let status = self.live.status.borrow().clone();
        let nodes = status.progress(&record);
        self.shared
            .operations
            .change(&self.name, |operation, revision| {
                operation.nodes.clone_from(&nodes);
                if operation.kind == OperationKind::Down && !status.parked {
                    return;
                }
                match status.verdict(&record, operation.kind, revision) {
                    Verdict::Running => {}
                    Verdict::Done => end(operation, Ok(()), now_ms()),
                    Verdict::Failed(failure) => end(operation, Err(failure), now_ms()),
                }
            });
    }
}
