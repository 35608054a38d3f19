//! One order, from the first question to the certificate, and what is kept of its failures.

use super::Certificates;
use crate::acme::{AcmeSettings, IssueError};
use crate::budget::{What, pause};
use crate::name::CertName;
use crate::notice::Notice;
use crate::record::{CertificateRecord, FaultRecord, Issued, LedgerRecord};
use crate::renewal::DAY_MS;
use crate::room_error::CertificatesError;
use crate::seal::hex_sha256;
use daas_model::Explain;
use daas_store::{Batch, Expect};
use std::collections::BTreeSet;

impl Certificates {
    /// Orders at one authority after the other, until one issues.
    pub(super) async fn obtain(
        &self,
        id: &str,
        record: &CertificateRecord,
    ) -> Result<(), IssueError> {
        let mut candidates: Vec<&AcmeSettings> = self.inner.settings.acme.iter().collect();
        candidates.retain(|at| {
            record
                .authority
                .as_ref()
                .is_none_or(|only| *only == at.directory)
        });
        if let Some(order) = &record.order {
            candidates.sort_by_key(|at| at.directory != order.authority);
        }
        let name = record
            .names
            .first()
            .map(ToString::to_string)
            .unwrap_or_default();
        let mut last = IssueError::NoAuthority { name };
        for at in candidates {
            match self.obtain_at(at, id).await {
                Ok(()) => return Ok(()),
                Err(error) if error.is_the_authoritys() => {
                    tracing::warn!(id, authority = %at.directory, cause = %daas_model::render_chain(&error), "no certificate from this authority");
                    last = error;
                }
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    pub(super) async fn obtain_at(&self, at: &AcmeSettings, id: &str) -> Result<(), IssueError> {
        let Some(kept) = self.inner.store.get::<CertificateRecord>(id)? else {
            return Ok(());
        };
        let mut record = kept.value;
        let order = match record
            .order
            .clone()
            .filter(|order| order.authority == at.directory)
        {
            Some(order) => order,
            None => {
                self.within_budget(at, &record)?;
                let old = self.opened(id, &record).ok().flatten();
                let here = record.issued.as_ref().is_some_and(|issued| {
                    issued.authority == at.directory && issued.revoked_ms.is_none()
                });
                let replaces = old.as_ref().filter(|_| here).map(|pair| &pair.chain()[0]);
                let now_ms = self.inner.clock.now_ms();
                let order = self
                    .inner
                    .desk
                    .begin(at, id, &record.names, replaces, now_ms)
                    .await?;
                record.order = Some(order.clone());
                self.inner
                    .store
                    .put_if(id, &record, Expect::Revision(kept.revision))
                    .await?;
                order
            }
        };
        match self
            .inner
            .desk
            .finish(at, id, &record.names, record.challenge, &order)
            .await
        {
            Ok(made) => self.have(at, id, made, order.replaces).await,
            Err(error) => {
                // An order that the authority has ended is of no use; one that it did not answer about may be.
                if !matches!(
                    error,
                    IssueError::Slow { .. } | IssueError::Authority { .. }
                ) {
                    self.drop_order(id).await?;
                }
                if matches!(&error, IssueError::Refused { problem, .. } if problem == "accountDoesNotExist")
                {
                    self.inner.desk.accounts.forget(&at.directory).await?;
                }
                Err(error)
            }
        }
    }

    pub(super) async fn drop_order(&self, id: &str) -> Result<(), IssueError> {
        if let Some(mut kept) = self.inner.store.get::<CertificateRecord>(id)? {
            kept.value.order = None;
            self.inner.store.put(id, &kept.value).await?;
        }
        Ok(())
    }

    pub(super) fn within_budget(
        &self,
        at: &AcmeSettings,
        record: &CertificateRecord,
    ) -> Result<(), IssueError> {
        let what = match (&record.issued, &record.stand) {
            (Some(_), _) => What::Renewal,
            (None, Some(_)) => What::Stand,
            (None, None) => What::New,
        };
        let now_ms = self.inner.clock.now_ms();
        for domain in domains(&record.names) {
            let ledger = self
                .inner
                .store
                .get::<LedgerRecord>(&ledger_key(at, domain))?;
            let ledger = ledger.map(|kept| kept.value).unwrap_or_default();
            self.inner
                .settings
                .budget
                .allows(&ledger, what, now_ms)
                .map_err(|until_ms| IssueError::Budget {
                    authority: at.directory.clone(),
                    domain: domain.to_owned(),
                    until_ms,
                })?;
        }
        Ok(())
    }

    /// Keeps and serves what was issued.
    pub(super) async fn have(
        &self,
        at: &AcmeSettings,
        id: &str,
        made: crate::acme::Made,
        replaces: bool,
    ) -> Result<(), IssueError> {
        let now_ms = self.inner.clock.now_ms();
        let facts = made.pair.facts();
        let Some(kept) = self.inner.store.get::<CertificateRecord>(id)? else {
            return Ok(());
        };
        let mut record = kept.value;
        record.issued = Some(Issued {
            sealed: made.sealed,
            authority: at.directory.clone(),
            at_ms: now_ms,
            not_before_ms: facts.not_before_ms,
            not_after_ms: facts.not_after_ms,
            serial: facts.serial.clone(),
            fingerprint: facts.fingerprint.clone(),
            window: None,
            ask_again_ms: now_ms,
            revoked_ms: None,
        });
        (record.order, record.failures, record.next_try_ms) = (None, 0, 0);
        (record.fault, record.alarmed) = (None, None);
        let _counting = self.inner.counting.lock().await;
        let mut batch = Batch::new().put(id, &record)?;
        if !replaces {
            for domain in domains(&record.names) {
                let key = ledger_key(at, domain);
                let kept = self.inner.store.get::<LedgerRecord>(&key)?;
                let mut ledger = kept.map(|kept| kept.value).unwrap_or_default();
                ledger.add(now_ms);
                batch = batch.put(&key, &ledger)?;
            }
        }
        let notice = Notice::note(
            "certificate-issued",
            format!("certificate `{id}` was issued by {}", at.directory),
        );
        batch = self.noted(batch, notice)?;
        self.inner.store.commit(batch).await?;
        if let Err(error) = self.serve_issued() {
            tracing::error!(id, cause = %daas_model::render_chain(&error), "the new certificate is not served");
        }
        Ok(())
    }

    pub(super) async fn failed(
        &self,
        id: &str,
        error: &IssueError,
    ) -> Result<(), CertificatesError> {
        // At the end of the daemon connections end under orders: that says nothing about the authority.
        if self.inner.tasks.shutdown_signal().is_asked() {
            return Ok(());
        }
        let now_ms = self.inner.clock.now_ms();
        let Some(kept) = self.inner.store.get::<CertificateRecord>(id)? else {
            return Ok(());
        };
        let mut record = kept.value;
        record.failures = record.failures.saturating_add(1);
        let wait = u64::try_from(pause(record.failures).as_millis()).unwrap_or(DAY_MS);
        record.next_try_ms = error.not_before_ms().unwrap_or(0).max(now_ms + wait);
        let message = daas_model::render_chain(error);
        let text = format!("no certificate `{id}`: {message}");
        tracing::warn!(id, failures = record.failures, cause = %message, "no certificate");
        record.fault = Some(FaultRecord {
            code: error.code().to_owned(),
            message,
            hint: error.hint(),
            at_ms: now_ms,
        });
        let mut batch = Batch::new().put(id, &record)?;
        // That stands come faster than an authority issues is nobody's fault: their names are served by the private one.
        if record.stand.is_none() || !matches!(error, IssueError::Budget { .. }) {
            batch = self.noted(batch, Notice::warning(error.code(), text))?;
        }
        self.inner.store.commit(batch).await?;
        Ok(())
    }
}

pub(super) fn domains(names: &[CertName]) -> BTreeSet<&str> {
    names.iter().map(CertName::registered_domain).collect()
}

pub(super) fn ledger_key(at: &AcmeSettings, domain: &str) -> String {
    format!("{}/{domain}", &hex_sha256(at.directory.as_bytes())[..16])
}
