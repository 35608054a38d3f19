//! Certificates as people see them.

use super::Certificates;
use crate::record::{CertificateRecord, FaultRecord, Issued};
use crate::renewal::{alarm, due_ms};
use crate::room_error::CertificatesError;
use crate::view::{CertificateView, Condition, Source};
use daas_model::Explain;

impl Certificates {
    /// Returns all certificates but those that are made in handshakes, by id.
    ///
    /// # Errors
    /// [`CertificatesError::Store`] if records cannot be read.
    pub fn list(&self) -> Result<Vec<CertificateView>, CertificatesError> {
        let now_ms = self.inner.clock.now_ms();
        let mut all: Vec<CertificateView> = self
            .inner
            .given
            .now()
            .iter()
            .map(|given| given_view(given, now_ms))
            .collect();
        for kept in self.inner.store.list::<CertificateRecord>("")? {
            all.push(view(&kept.key, &kept.value, now_ms));
        }
        all.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(all)
    }

    /// Returns one certificate.
    ///
    /// # Errors
    /// [`CertificatesError::NotFound`] if there is none.
    pub fn show(&self, id: &str) -> Result<CertificateView, CertificatesError> {
        let mut all = self.list()?;
        let at = all.iter().position(|one| one.id == id);
        at.map(|at| all.swap_remove(at))
            .ok_or_else(|| CertificatesError::NotFound { id: id.to_owned() })
    }

    /// Returns the chain of a certificate as PEM.
    ///
    /// # Errors
    /// [`CertificatesError::NotFound`] if there is none yet.
    pub fn chain(&self, id: &str) -> Result<String, CertificatesError> {
        let given = self
            .inner
            .given
            .now()
            .into_iter()
            .find(|given| given_id(given) == id);
        if let Some(pair) = given.and_then(|given| given.pair) {
            return Ok(pair.chain_pem());
        }
        let record = self.record(id)?;
        let pair = self.opened(id, &record)?;
        pair.map(|pair| pair.chain_pem())
            .ok_or_else(|| CertificatesError::NotFound { id: id.to_owned() })
    }
}

pub(super) fn condition(not_before_ms: u64, not_after_ms: u64, now_ms: u64) -> Condition {
    if now_ms >= not_after_ms {
        Condition::Expired
    } else if alarm(not_before_ms, not_after_ms, now_ms, None).is_some() {
        Condition::Expiring
    } else {
        Condition::Valid
    }
}

pub(super) fn view(id: &str, record: &CertificateRecord, now_ms: u64) -> CertificateView {
    let issued = record.issued.as_ref();
    let condition = match issued {
        Some(issued) if issued.revoked_ms.is_some() => Condition::Revoked,
        Some(issued) => condition(issued.not_before_ms, issued.not_after_ms, now_ms),
        None if record.fault.is_some() => Condition::Failed,
        None => Condition::Ordering,
    };
    let renew = |issued: &Issued| {
        due_ms(
            issued.not_before_ms,
            issued.not_after_ms,
            issued.window,
            &issued.fingerprint,
        )
    };
    CertificateView {
        id: id.to_owned(),
        names: record.names.clone(),
        source: Source::Ordered {
            authority: issued
                .map(|issued| issued.authority.clone())
                .or_else(|| record.authority.clone()),
        },
        condition,
        issuer: None,
        serial: issued.map(|issued| issued.serial.clone()),
        fingerprint: issued.map(|issued| issued.fingerprint.clone()),
        not_before_ms: issued.map(|issued| issued.not_before_ms),
        not_after_ms: issued.map(|issued| issued.not_after_ms),
        renew_ms: issued
            .filter(|issued| issued.revoked_ms.is_none())
            .map(renew),
        fault: record.fault.clone(),
        next_try_ms: (record.next_try_ms > now_ms).then_some(record.next_try_ms),
    }
}

pub(super) fn given_id(given: &crate::given::GivenNow) -> String {
    let name = given
        .pair
        .as_ref()
        .and_then(|pair| pair.facts().names.first().map(ToString::to_string));
    format!(
        "given:{}",
        name.unwrap_or_else(|| given.files.certificate.display().to_string())
    )
}

pub(super) fn given_view(given: &crate::given::GivenNow, now_ms: u64) -> CertificateView {
    let facts = given.pair.as_ref().map(|pair| pair.facts());
    let fault = given.fault.as_ref().map(|error| FaultRecord {
        code: error.code().to_owned(),
        message: daas_model::render_chain(error.as_ref()),
        hint: error.hint(),
        at_ms: now_ms,
    });
    CertificateView {
        id: given_id(given),
        names: facts.map(|facts| facts.names.clone()).unwrap_or_default(),
        source: Source::Given,
        condition: facts.map_or(Condition::Failed, |facts| {
            condition(facts.not_before_ms, facts.not_after_ms, now_ms)
        }),
        issuer: facts.map(|facts| facts.issuer.clone()),
        serial: facts.map(|facts| facts.serial.clone()),
        fingerprint: facts.map(|facts| facts.fingerprint.clone()),
        not_before_ms: facts.map(|facts| facts.not_before_ms),
        not_after_ms: facts.map(|facts| facts.not_after_ms),
        renew_ms: None,
        fault,
        next_try_ms: None,
    }
}
