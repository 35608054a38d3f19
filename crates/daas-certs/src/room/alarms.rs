//! Alarms: certificates that end and could not be renewed.

use super::Certificates;
use super::shown::given_id;
use crate::notice::Notice;
use crate::record::CertificateRecord;
use crate::renewal::alarm;
use crate::room_error::CertificatesError;
use daas_store::{Batch, Expect};
use std::sync::PoisonError;

impl Certificates {
    /// Gives the alarms about certificates that near their end.
    pub(super) async fn give_alarms(&self) -> Result<(), CertificatesError> {
        let now_ms = self.inner.clock.now_ms();
        for kept in self.inner.store.list::<CertificateRecord>("")? {
            let Some(issued) = kept
                .value
                .issued
                .as_ref()
                .filter(|issued| issued.revoked_ms.is_none() && kept.value.left_ms.is_none())
            else {
                continue;
            };
            let due = alarm(
                issued.not_before_ms,
                issued.not_after_ms,
                now_ms,
                kept.value.alarmed,
            );
            let Some(days) = due else { continue };
            let mut record = kept.value.clone();
            record.alarmed = Some(days);
            let batch = Batch::new().put_if(&kept.key, &record, Expect::Revision(kept.revision))?;
            let notice = Notice::ending(
                &kept.key,
                days,
                record.fault.as_ref().map(|fault| fault.message.as_str()),
            );
            self.inner.store.commit(self.noted(batch, notice)?).await?;
        }
        for given in self.inner.given.now() {
            let Some(facts) = given.pair.as_ref().map(|pair| pair.facts()) else {
                continue;
            };
            let due = {
                let mut alarmed = self
                    .inner
                    .alarmed
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                let last = alarmed.get(&facts.fingerprint).copied();
                let due = alarm(facts.not_before_ms, facts.not_after_ms, now_ms, last);
                if let Some(days) = due {
                    alarmed.insert(facts.fingerprint.clone(), days);
                }
                due
            };
            if let Some(days) = due {
                let notice =
                    Notice::ending(&given_id(&given), days, Some("its files were not renewed"));
                self.inner
                    .store
                    .commit(self.noted(Batch::new(), notice)?)
                    .await?;
            }
        }
        Ok(())
    }

    pub(super) fn noted(
        &self,
        batch: Batch,
        notice: Notice,
    ) -> Result<Batch, daas_store::StoreError> {
        batch.event("certificates", self.inner.clock.now_ms(), &notice)
    }
}
