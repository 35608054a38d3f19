//! The loop: which certificate is due, and whose turn it is.

use super::{Certificates, Inner, blank};
use crate::record::CertificateRecord;
use crate::renewal::{DAY_MS, due_ms};
use crate::room_error::CertificatesError;
use daas_tasks::{Handle, Task, TaskError};
use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// The longest sleep of the loop: a clock that is set must not let certificates end.
const LONGEST: Duration = Duration::from_secs(600);
/// How often given files are looked at.
const FILES: Duration = Duration::from_secs(10);

impl Certificates {
    /// Does all that is due: reads given files, orders, renews, gives alarms. Ends when the orders that it began have ended.
    ///
    /// # Errors
    /// [`CertificatesError::Store`] if records cannot be read or written. Orders that fail are no errors of this: their records tell.
    pub async fn tick(&self) -> Result<(), CertificatesError> {
        for order in self.begin_due().await? {
            drop(order.await);
        }
        self.give_alarms().await
    }

    /// Begins all orders that are due.
    pub(super) async fn begin_due(&self) -> Result<Vec<Handle<()>>, CertificatesError> {
        self.serve_given();
        self.want_configured().await?;
        self.forget_left().await?;
        let now_ms = self.inner.clock.now_ms();
        let mut begun = Vec::new();
        for kept in self.inner.store.list::<CertificateRecord>("")? {
            if next_ms(&kept.value) <= now_ms {
                begun.extend(self.work_on(&kept.key));
            }
        }
        Ok(begun)
    }

    /// Makes the records of what the configuration wants, and lets go what it does not want any more.
    pub(super) async fn want_configured(&self) -> Result<(), CertificatesError> {
        let wanted = &self.inner.settings.wanted;
        if self.inner.settings.acme.is_empty() {
            return Ok(());
        }
        let ids: BTreeSet<String> = wanted
            .iter()
            .filter_map(|names| Some(names.first()?.to_string()))
            .collect();
        for names in wanted {
            let Some(id) = names.first().map(ToString::to_string) else {
                continue;
            };
            let kept = self.inner.store.get::<CertificateRecord>(&id)?;
            if kept
                .as_ref()
                .is_some_and(|kept| kept.value.configured && kept.value.names == *names)
            {
                continue;
            }
            if kept.is_none() && self.covered(&id, names)?.is_some() {
                continue;
            }
            let mut record = kept.map_or_else(|| blank(names.clone()), |kept| kept.value);
            if record.names != *names {
                // What is there is served until the wider one has come.
                (record.order, record.next_try_ms) = (None, 0);
                record.names.clone_from(names);
            }
            record.configured = true;
            self.inner.store.put(&id, &record).await?;
        }
        for kept in self.inner.store.list::<CertificateRecord>("")? {
            if kept.value.configured && !ids.contains(&kept.key) {
                self.inner
                    .store
                    .delete::<CertificateRecord>(&kept.key)
                    .await?;
                self.serve_issued()?;
            }
        }
        Ok(())
    }

    /// Returns how long the loop may sleep.
    pub(super) fn sleep(&self) -> Duration {
        let now_ms = self.inner.clock.now_ms();
        let records = self
            .inner
            .store
            .list::<CertificateRecord>("")
            .unwrap_or_default();
        let next = records
            .iter()
            .map(|kept| next_ms(&kept.value).saturating_sub(now_ms))
            .min();
        let most = if self.inner.given.is_empty() {
            LONGEST
        } else {
            FILES
        };
        // A second between looks: what is due and worked on already is no reason to turn round and round.
        next.map_or(most, Duration::from_millis)
            .clamp(Duration::from_secs(1), most)
    }

    /// Does what is due of one certificate, unless somebody does it already.
    pub(super) fn work_on(&self, id: &str) -> Option<Handle<()>> {
        self.spawn(id, false)
    }

    pub(super) fn force(&self, id: &str) -> Option<Handle<()>> {
        self.spawn(id, true)
    }

    pub(super) fn spawn(&self, id: &str, now: bool) -> Option<Handle<()>> {
        let busy = Busy::take(&self.inner, id)?;
        let (room, id) = (self.clone(), id.to_owned());
        Some(self.inner.tasks.run(format!("certificate {id}"), move |shutdown| async move {
            let _busy = busy;
            let work = async {
                let _slot = room.inner.slots.acquire().await;
                if let Err(error) = room.turn(&id, now).await {
                    tracing::error!(%id, cause = %daas_model::render_chain(&error), "cannot keep what became of an order");
                }
            };
            // An order that is cut off is gone on with after the start: its URL and key are kept.
            tokio::select! {
 biased;
 () = shutdown.asked() => {}
 () = work => {}
 }
        }))
    }

    pub(super) async fn turn(&self, id: &str, now: bool) -> Result<(), CertificatesError> {
        let Some(kept) = self.inner.store.get::<CertificateRecord>(id)? else {
            return Ok(());
        };
        let record = kept.value;
        let now_ms = self.inner.clock.now_ms();
        match decide(&record, now_ms) {
            _ if now => {}
            Due::Later(_) => return Ok(()),
            Due::Ask => {
                self.ask_window(id, record).await?;
                return Ok(());
            }
            Due::Order => {}
        }
        if record.issued.is_none() && self.covered(id, &record.names)?.is_some() {
            return self.not_needed(id, record).await;
        }
        match self.obtain(id, &record).await {
            Ok(()) => Ok(()),
            Err(error) => self.failed(id, &error).await,
        }
    }

    pub(super) async fn not_needed(
        &self,
        id: &str,
        mut record: CertificateRecord,
    ) -> Result<(), CertificatesError> {
        record.next_try_ms = self.inner.clock.now_ms() + DAY_MS;
        self.inner.store.put(id, &record).await?;
        Ok(())
    }

    pub(super) async fn ask_window(
        &self,
        id: &str,
        mut record: CertificateRecord,
    ) -> Result<(), CertificatesError> {
        let now_ms = self.inner.clock.now_ms();
        let pair = self.opened(id, &record)?;
        let (Some(pair), Some(issued)) = (pair, record.issued.as_mut()) else {
            return Ok(());
        };
        // Asked four times a day where the authority names no time, or cannot be asked.
        let mut again = Duration::from_secs(6 * 3600);
        let at = self
            .inner
            .settings
            .acme
            .iter()
            .find(|at| at.directory == issued.authority);
        if let Some(at) = at {
            match self.inner.desk.window(at, &pair.chain()[0]).await {
                Ok(Some((window, after))) => {
                    issued.window = Some(window);
                    again = after.clamp(Duration::from_secs(60), Duration::from_secs(24 * 3600));
                }
                Ok(None) => again = Duration::from_secs(24 * 3600),
                Err(error) => {
                    tracing::info!(id, cause = %daas_model::render_chain(&error), "no word about renewal");
                }
            }
        }
        issued.ask_again_ms = now_ms + u64::try_from(again.as_millis()).unwrap_or(DAY_MS);
        self.inner.store.put(id, &record).await?;
        Ok(())
    }
}

/// Marks an id as worked on.
pub(super) struct Busy {
    inner: Arc<Inner>,
    id: String,
}

impl Busy {
    fn take(inner: &Arc<Inner>, id: &str) -> Option<Self> {
        let mut busy = inner.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.insert(id.to_owned()).then(|| Self {
            inner: inner.clone(),
            id: id.to_owned(),
        })
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.inner
            .busy
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.id);
        self.inner.wake.call();
    }
}

/// The loop.
pub(super) struct Renewing {
    pub(super) room: Certificates,
}

impl Task for Renewing {
    async fn wait(&mut self) {
        self.room.inner.wake.called_or(self.room.sleep()).await;
    }

    async fn turn(&mut self) -> Result<(), TaskError> {
        // Orders go on beside the loop: a slow authority holds up nobody else.
        drop(self.room.begin_due().await?);
        self.room.give_alarms().await?;
        Ok(())
    }
}

/// What is to be done about a certificate.
pub(super) enum Due {
    Order,
    Ask,
    Later(u64),
}

pub(super) fn decide(record: &CertificateRecord, now_ms: u64) -> Due {
    if record.left_ms.is_some() {
        return Due::Later(u64::MAX);
    }
    let Some(issued) = &record.issued else {
        return if record.next_try_ms <= now_ms {
            Due::Order
        } else {
            Due::Later(record.next_try_ms)
        };
    };
    if issued.revoked_ms.is_some() && !record.configured {
        return Due::Later(u64::MAX);
    }
    let mut due = due_ms(
        issued.not_before_ms,
        issued.not_after_ms,
        issued.window,
        &issued.fingerprint,
    );
    if issued.revoked_ms.is_some() || record.order.is_some() {
        due = 0;
    }
    let due = due.max(record.next_try_ms);
    if due <= now_ms {
        return Due::Order;
    }
    if issued.ask_again_ms <= now_ms {
        return Due::Ask;
    }
    Due::Later(due.min(issued.ask_again_ms))
}

pub(super) fn next_ms(record: &CertificateRecord) -> u64 {
    match decide(record, 0) {
        Due::Later(at) => at,
        Due::Order | Due::Ask => 0,
    }
}
