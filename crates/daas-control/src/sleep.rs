//! Stands that sleep when nobody comes, and wake for the first who does.

use crate::events::HappeningRecord;
use crate::platform::Control;
use crate::record::StandRecord;
use crate::stand_loop::now_ms;
use daas_api::Failure;
use daas_model::StandName;
use daas_plan::Power;
use daas_store::{Batch, Expect, Stored};
use daas_tasks::Shutdown;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How often it is looked who has been alone for long enough. A stand sleeps at most so much later than it may.
const LOOK: Duration = Duration::from_millis(500);

/// Stands that may sleep, with when something was last seen to move in them.
#[derive(Debug, Default)]
pub(crate) struct Sleepers {
    all: Mutex<BTreeMap<StandName, Moved>>,
    /// How many are inside of a stand by other ways than its ports.
    inside: Mutex<BTreeMap<StandName, usize>>,
}

/// Somebody who is inside of a stand, which does not sleep meanwhile.
#[derive(Debug)]
pub(crate) struct Presence {
    sleepers: Arc<Sleepers>,
    stand: StandName,
}

impl Drop for Presence {
    fn drop(&mut self) {
        let mut inside = lock(&self.sleepers.inside);
        if let Some(count) = inside.get_mut(&self.stand) {
            *count -= 1;
            if *count == 0 {
                inside.remove(&self.stand);
            }
        }
        drop(inside);
        if let Some(moved) = lock(&self.sleepers.all).get_mut(&self.stand) {
            moved.at = Instant::now();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug, Clone, Copy)]
struct Moved {
    /// Bytes through the published ports when it was last looked.
    bytes: u64,
    at: Instant,
}

impl Sleepers {
    /// Says that somebody is inside of a stand, until the answer is dropped.
    pub(crate) fn enter(self: &Arc<Self>, stand: &StandName) -> Presence {
        *lock(&self.inside).entry(stand.clone()).or_default() += 1;
        Presence {
            sleepers: self.clone(),
            stand: stand.clone(),
        }
    }

    fn is_entered(&self, stand: &StandName) -> bool {
        lock(&self.inside).contains_key(stand)
    }

    /// Says whether a stand may sleep.
    pub(crate) fn set(&self, stand: &StandName, may: bool) {
        let mut all = lock(&self.all);
        if !may {
            all.remove(stand);
        } else if !all.contains_key(stand) {
            let at = Instant::now();
            all.insert(stand.clone(), Moved { bytes: 0, at });
        }
    }

    fn names(&self) -> BTreeSet<StandName> {
        lock(&self.all).keys().cloned().collect()
    }

    /// Remembers how many bytes went through a stand's ports; returns for how long nothing has moved.
    fn still(&self, stand: &StandName, bytes: u64, now: Instant) -> Duration {
        let mut all = lock(&self.all);
        let Some(moved) = all.get_mut(stand) else {
            return Duration::ZERO;
        };
        if moved.bytes != bytes {
            *moved = Moved { bytes, at: now };
        }
        now.duration_since(moved.at)
    }
}

impl Control {
    /// Puts stands to sleep and wakes those that somebody wants, whose names come by `visits`.
    pub fn keep_sleep(&self, mut visits: mpsc::UnboundedReceiver<StandName>) {
        let control = self.clone();
        drop(self.tasks.run("sleep", move |shutdown: Shutdown| async move {
            loop {
                let wanted = tokio::select! {
                    name = visits.recv() => name,
                    () = tokio::time::sleep(LOOK) => None,
                    () = shutdown.asked() => return,
                };
                let done = match wanted {
                    Some(first) => {
                        // Many who wait for one stand wake it once.
                        let mut names = BTreeSet::from([first]);
                        while let Ok(name) = visits.try_recv() {
                            names.insert(name);
                        }
                        control.wake(&names).await
                    }
                    None => control.lull().await,
                };
                if let Err(failure) = done {
                    tracing::warn!(cause = %failure, "a stand does not sleep or wake as it should");
                }
            }
        }));
    }

    /// Starts stands that sleep; others stay as they are.
    pub(crate) async fn wake(&self, names: &BTreeSet<StandName>) -> Result<(), Failure> {
        for name in names {
            let Some(mut stored) = self.store.get::<StandRecord>(name.as_str())? else {
                continue;
            };
            if stored.value.asleep {
                stored.value.asleep = false;
                stored.value.power = Power::Running;
                self.turn_over(name, stored, "stand-wakes", "somebody came")
                    .await?;
            }
        }
        Ok(())
    }

    /// Puts to sleep what has been alone for long enough.
    async fn lull(&self) -> Result<(), Failure> {
        let now = Instant::now();
        for name in self.sleepers.names() {
            let Some(mut stored) = self.store.get::<StandRecord>(name.as_str())? else {
                continue;
            };
            let record = &stored.value;
            let Some(after) = record.spec.sleep_after else {
                continue;
            };
            let settled = self.keep.status(&name).plan.is_settled();
            let visited = self.ingress.is_visited(&name) || self.sleepers.is_entered(&name);
            if record.power != Power::Running || !settled || visited {
                continue;
            }
            let bytes = self
                .engine
                .moved(&record.id)
                .map_or(0, |(inward, outward)| inward.wrapping_add(outward));
            let still = self.sleepers.still(&name, bytes, now);
            let asked = Duration::from_millis(now_ms().saturating_sub(record.asked_at_ms));
            let visited = self
                .ingress
                .last_visit(&name)
                .map_or(asked, |at| now.duration_since(at));
            if still.min(asked).min(visited) < after.0 {
                continue;
            }
            stored.value.power = Power::Stopped;
            stored.value.asleep = true;
            let why = format!("nobody has come for {after}");
            self.turn_over(&name, stored, "stand-sleeps", &why).await?;
        }
        Ok(())
    }

    /// Writes a record that has changed, with what happened. Somebody else's change at the same moment wins.
    async fn turn_over(
        &self,
        name: &StandName,
        mut stored: Stored<StandRecord>,
        code: &str,
        why: &str,
    ) -> Result<(), Failure> {
        let record = &mut stored.value;
        record.ask_for_all(now_ms());
        let batch = Batch::new()
            .put_if(name.as_str(), record, Expect::Revision(stored.revision))?
            .event(
                name.as_str(),
                now_ms(),
                &HappeningRecord::note(name, code, why),
            )?;
        match self.store.commit(batch).await {
            Ok(_) => {
                tracing::info!(stand = %name, why, "{code}");
                self.keep.run(name, &record.id);
                Ok(())
            }
            Err(error) if error.is_conflict() => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
