//! Wildcards of stands: `*.shop-7.dev.example.com` comes and goes with `shop-7`, which the zone's wildcard does not reach.
//!
//! What was issued for a stand that went is kept, sealed and not served: a stand of that name comes back more often than authorities issue.

use super::{Certificates, blank};
use crate::name::CertName;
use crate::record::CertificateRecord;
use crate::room_error::CertificatesError;
use std::collections::BTreeSet;
use std::sync::PoisonError;

impl Certificates {
    /// Says that a stand is there whose names lie below `star`. Its wildcard is ordered where an authority is configured, the name server that proves
    /// it is ours, the weekly budget has room and no other certificate covers it.
    ///
    /// # Errors
    /// [`CertificatesError::Store`] if records cannot be read or written.
    pub async fn stand_came(&self, stand: &str, star: &CertName) -> Result<(), CertificatesError> {
        let id = star.to_string();
        let kept = self.inner.store.get::<CertificateRecord>(&id)?;
        if let Some(mut kept) = kept.map(|kept| kept.value) {
            if kept.left_ms.take().is_some() {
                self.inner.store.put(&id, &kept).await?;
                self.serve_issued()?;
                self.inner.wake.call();
            }
            return Ok(());
        }
        let names = vec![star.clone()];
        if !self.may_order_for_stands(star) || self.covered(&id, &names)?.is_some() {
            return Ok(());
        }
        let record = CertificateRecord {
            configured: false,
            stand: Some(stand.to_owned()),
            ..blank(names)
        };
        self.inner.store.put(&id, &record).await?;
        self.inner.wake.call();
        Ok(())
    }

    /// Says that a stand is gone: from now on its certificate is not served.
    ///
    /// # Errors
    /// As [`Certificates::stand_came`].
    pub async fn stand_went(&self, stand: &str) -> Result<(), CertificatesError> {
        self.leave(|record| record.stand.as_deref() == Some(stand))
            .await
    }

    /// Says which stands there are: all others went.
    ///
    /// # Errors
    /// As [`Certificates::stand_came`].
    pub async fn stands_are(&self, stands: &BTreeSet<String>) -> Result<(), CertificatesError> {
        self.leave(|record| {
            record
                .stand
                .as_ref()
                .is_some_and(|stand| !stands.contains(stand))
        })
        .await
    }

    async fn leave(
        &self,
        fits: impl Fn(&CertificateRecord) -> bool,
    ) -> Result<(), CertificatesError> {
        let mut left = false;
        for kept in self.inner.store.list::<CertificateRecord>("")? {
            let mut record = kept.value;
            if record.left_ms.is_some() || !fits(&record) {
                continue;
            }
            if record.issued.is_none() {
                self.inner
                    .store
                    .delete::<CertificateRecord>(&kept.key)
                    .await?;
                continue;
            }
            record.left_ms = Some(self.inner.clock.now_ms());
            self.inner.store.put(&kept.key, &record).await?;
            left = true;
        }
        if left { self.serve_issued() } else { Ok(()) }
    }

    /// Forgets what was kept for stands that are gone and has ended.
    pub(super) async fn forget_left(&self) -> Result<(), CertificatesError> {
        let now_ms = self.inner.clock.now_ms();
        for kept in self.inner.store.list::<CertificateRecord>("")? {
            let ended = kept
                .value
                .issued
                .is_none_or(|issued| issued.not_after_ms <= now_ms);
            if kept.value.left_ms.is_some() && ended {
                self.inner
                    .store
                    .delete::<CertificateRecord>(&kept.key)
                    .await?;
            }
        }
        Ok(())
    }

    /// Tells whether a wildcard can be had without anybody's help: only DNS-01 proves one.
    fn may_order_for_stands(&self, star: &CertName) -> bool {
        let settings = &self.inner.settings;
        if !settings.stands || settings.acme.is_empty() {
            return false;
        }
        let Ok(asked) = CertName::parse(&format!("_acme-challenge.{}", star.base())) else {
            return false;
        };
        let dns = self
            .inner
            .desk
            .dns
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        dns.iter().any(|dns| dns.serves(&asked))
    }
}
