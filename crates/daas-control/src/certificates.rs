//! What the doors ask about certificates, and what the doctor says of them.

use crate::platform::Control;
use crate::record::StandRecord;
use daas_api::platform::{Answer, Certificates};
use daas_api::{
    Caller, CertificateFault, CertificateList, CertificateOrder, CertificateState, CertificateView,
    Check, CheckVerdict, ClientList, ClientMade, ClientRequest, ClientView, Failure,
    RootCertificate, RootCertificates,
};
use daas_certs::{
    CLIENT, CertName, CertificatesError, ChallengeKind, ClientRecord, Condition, FaultRecord,
    Order, Served, Source,
};
use daas_model::{Kind, StandName};
use daas_store::Store;
use std::sync::Arc;

fn state(condition: Condition) -> CertificateState {
    match condition {
        Condition::Valid => CertificateState::Valid,
        Condition::Expiring => CertificateState::Expiring,
        Condition::Expired => CertificateState::Expired,
        Condition::Revoked => CertificateState::Revoked,
        Condition::Ordering => CertificateState::Ordering,
        Condition::Failed => CertificateState::Failed,
    }
}

fn fault(fault: FaultRecord) -> CertificateFault {
    CertificateFault {
        code: fault.code,
        message: fault.message,
        hint: fault.hint,
        at_ms: fault.at_ms,
    }
}

fn view(one: daas_certs::CertificateView) -> CertificateView {
    CertificateView {
        id: one.id,
        names: one.names.iter().map(ToString::to_string).collect(),
        state: state(one.condition),
        source: match one.source {
            Source::Given => "given".to_owned(),
            Source::Ordered { authority } => authority.unwrap_or_else(|| "ordered".to_owned()),
        },
        serial: one.serial,
        fingerprint: one.fingerprint,
        not_before_ms: one.not_before_ms,
        not_after_ms: one.not_after_ms,
        renew_ms: one.renew_ms,
        fault: one.fault.map(fault),
        next_try_ms: one.next_try_ms,
        chain: None,
    }
}

fn client_view(record: ClientRecord) -> ClientView {
    ClientView {
        name: record.name,
        serial: record.serial,
        fingerprint: record.fingerprint,
        created_ms: record.at_ms,
        not_after_ms: record.not_after_ms,
        revoked_ms: record.revoked_ms,
    }
}

fn order(order: CertificateOrder) -> Result<Order, Failure> {
    let bad = |why: String| Failure::new("certificate-name", Kind::Input, why);
    let names = order.names.iter().map(|text| CertName::parse(text));
    let names = names.collect::<Result<Vec<_>, _>>();
    let challenge = order.challenge.as_deref().map(|text| {
        ChallengeKind::parse(text).ok_or_else(|| {
            bad(format!("`{}` is no challenge", text.escape_debug()))
                .hint("http-01, tls-alpn-01 or dns-01")
        })
    });
    Ok(Order {
        names: names.map_err(|error| bad(error.to_string()))?,
        challenge: challenge.transpose()?,
        authority: order.authority,
    })
}

/// Knows which names of the zones belong to a stand: a stand that is gone has no certificate any more.
#[derive(Debug)]
struct OfStands {
    store: Store,
    zones: Vec<CertName>,
}

impl Served for OfStands {
    fn serves(&self, name: &str) -> bool {
        let Some(labels) = below_zone(name, &self.zones) else {
            return true;
        };
        let is_stand = |label: &str| {
            // Records that cannot be read refuse nobody: the ingress looks again.
            self.store
                .get::<StandRecord>(label)
                .map_or(true, |found| found.is_some())
        };
        labels.is_empty() || labels.split('.').any(is_stand)
    }
}

/// Stands come and go whether their certificates can be recorded or not.
fn told(stand: &StandName, said: Result<(), CertificatesError>) {
    if let Err(error) = said {
        tracing::warn!(%stand, cause = %daas_model::render_chain(&error), "the certificate does not follow the stand");
    }
}

/// Returns what stands before the innermost zone of a name, without the last dot; nothing if it is in no zone.
fn below_zone<'a>(name: &'a str, zones: &[CertName]) -> Option<&'a str> {
    let rest = |zone: &CertName| {
        let rest = name.strip_suffix(zone.as_str())?;
        if rest.is_empty() {
            Some(rest)
        } else {
            rest.strip_suffix('.')
        }
    };
    zones.iter().filter_map(rest).min_by_key(|rest| rest.len())
}

impl Control {
    /// Has a wildcard of the world ordered for the names of a stand, which lie deeper than the zone's own reaches.
    pub(crate) async fn stand_with_certificate(&self, stand: &StandName) {
        let Some(zone) = &self.config.outside.zone else {
            return;
        };
        let Ok(star) = CertName::parse(&format!("*.{stand}.{zone}")) else {
            return;
        };
        told(
            stand,
            self.certificates.stand_came(stand.as_str(), &star).await,
        );
    }

    /// Puts away what was ordered for stands that are not there any more.
    pub(crate) async fn sort_certificates_of_stands(&self) {
        let Ok(stands) = self.store.list::<StandRecord>("") else {
            return;
        };
        let names = stands.into_iter().map(|stand| stand.key).collect();
        if let Err(error) = self.certificates.stands_are(&names).await {
            tracing::warn!(cause = %daas_model::render_chain(&error), "certificates of stands are not sorted");
        }
    }

    pub(crate) async fn stand_without_certificate(&self, stand: &StandName) {
        told(stand, self.certificates.stand_went(stand.as_str()).await);
    }

    /// Lets certificates be shown that were ordered for stands only where those are there.
    pub(crate) fn show_certificates_of_stands(&self) {
        self.certificates.set_served(Arc::new(OfStands {
            store: self.store.clone(),
            zones: self.certificates.zones().to_vec(),
        }));
    }

    /// Returns what the doctor says of certificates: those that end or could not be had.
    pub(crate) fn certificate_checks(&self) -> Result<Vec<Check>, Failure> {
        let all = self.certificates.list()?;
        let mut checks: Vec<Check> = all.iter().filter_map(worry).collect();
        if checks.is_empty() {
            let found = format!("{} given or ordered, all good", all.len());
            checks.push(check(CheckVerdict::Ok, found, None));
        }
        Ok(checks)
    }
}

fn check(verdict: CheckVerdict, found: String, fix: Option<String>) -> Check {
    Check {
        code: "certificates".into(),
        title: "certificates".into(),
        verdict,
        found,
        fix,
    }
}

/// Returns what somebody should know of a certificate. One that is good and was not renewed when it should have been is told long before its end.
fn worry(one: &daas_certs::CertificateView) -> Option<Check> {
    let (verdict, word) = match one.condition {
        Condition::Ordering | Condition::Revoked => return None,
        Condition::Valid => {
            one.fault.as_ref()?;
            let word = match one.source {
                Source::Given => "valid, and its files hold nothing newer that could be used",
                Source::Ordered { .. } => "valid, and was not renewed",
            };
            (CheckVerdict::Warn, word)
        }
        Condition::Expiring => (CheckVerdict::Warn, "expiring"),
        Condition::Expired => (CheckVerdict::Fail, "expired"),
        Condition::Failed => (CheckVerdict::Fail, "failed"),
    };
    let found = format!("`{}` is {word}", one.id);
    let fault = one.fault.as_ref();
    let found = fault.map_or(found.clone(), |fault| format!("{found}: {}", fault.message));
    let fix = fault.and_then(|fault| fault.hint.clone()).unwrap_or_else(|| match one.source {
        Source::Given => "have its files renewed by whoever makes them; they are looked at every 10 s".to_owned(),
        Source::Ordered { .. } => format!("`daas certificate show '{}'` tells more, `daas certificate renew '{}'` tries again", one.id, one.id),
    });
    Some(check(verdict, found, Some(fix)))
}

impl Certificates for Control {
    fn certificates(&self) -> Answer<'_, CertificateList> {
        Box::pin(async move {
            let items = self.certificates.list()?.into_iter().map(view).collect();
            Ok(CertificateList { items })
        })
    }

    fn certificate<'a>(&'a self, id: &'a str) -> Answer<'a, CertificateView> {
        Box::pin(async move {
            let one = view(self.certificates.show(id)?);
            let chain = self.certificates.chain(id).ok();
            Ok(CertificateView { chain, ..one })
        })
    }

    fn issue<'a>(
        &'a self,
        caller: &'a Caller,
        wanted: CertificateOrder,
    ) -> Answer<'a, CertificateView> {
        Box::pin(async move {
            tracing::info!(%caller, ?wanted, "certificate issue");
            Ok(view(self.certificates.issue(order(wanted)?).await?))
        })
    }

    fn renew<'a>(&'a self, caller: &'a Caller, id: &'a str) -> Answer<'a, CertificateView> {
        Box::pin(async move {
            tracing::info!(%caller, id, "certificate renew");
            Ok(view(self.certificates.renew(id).await?))
        })
    }

    fn revoke<'a>(&'a self, caller: &'a Caller, id: &'a str) -> Answer<'a, CertificateView> {
        Box::pin(async move {
            tracing::info!(%caller, id, "certificate revoke");
            Ok(view(self.certificates.revoke(id).await?))
        })
    }

    fn forget<'a>(&'a self, caller: &'a Caller, id: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            tracing::info!(%caller, id, "certificate forget");
            Ok(self.certificates.forget(id).await?)
        })
    }

    fn roots(&self) -> Answer<'_, RootCertificates> {
        Box::pin(async move {
            let root = |root: daas_certs::RootView| RootCertificate {
                pem: root.pem,
                subject: root.subject,
                names: root.names,
                not_after_ms: root.not_after_ms,
                fingerprint: root.fingerprint,
            };
            let items = self.certificates.roots().into_iter().map(root).collect();
            Ok(RootCertificates { items })
        })
    }

    fn clients(&self) -> Answer<'_, ClientList> {
        Box::pin(async move {
            let all = self.certificates.clients()?;
            let items = all.into_iter().map(client_view).collect();
            Ok(ClientList { items })
        })
    }

    fn add_client<'a>(
        &'a self,
        caller: &'a Caller,
        request: ClientRequest,
    ) -> Answer<'a, ClientMade> {
        Box::pin(async move {
            tracing::info!(%caller, ?request, "client certificate");
            let life = request.expires_in.map_or(CLIENT, |span| span.0);
            let made = self.certificates.add_client(&request.name, life).await?;
            Ok(ClientMade {
                client: client_view(made.record),
                certificate: made.certificate,
                key: made.key.to_string(),
            })
        })
    }

    fn revoke_client<'a>(&'a self, caller: &'a Caller, name: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            tracing::info!(%caller, name, "client certificate revoked");
            Ok(self.certificates.revoke_client(name).await?)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parted_at_the_innermost_zone() {
        let zones = ["localhost", "example.com", "dev.example.com"];
        let zones = zones.map(|zone| CertName::parse(zone).unwrap());
        for (name, labels) in [
            ("web.shop.dev.example.com", Some("web.shop")),
            ("dev.example.com", Some("")),
            ("adev.example.com", Some("adev")),
            ("shop.localhost", Some("shop")),
            ("notlocalhost", None),
            ("example.net", None),
        ] {
            assert_eq!(below_zone(name, &zones), labels, "{name}");
        }
    }

    #[tokio::test]
    async fn names_of_stands_that_are_not_there_have_no_certificate() {
        let served = OfStands {
            store: Store::in_memory().unwrap(),
            zones: vec![CertName::parse("localhost").unwrap()],
        };
        assert!(!served.serves("web.shop.localhost") && !served.serves("shop.localhost"));
        assert!(served.serves("localhost") && served.serves("shop.example.net"));
    }

    fn certificate(
        source: Source,
        condition: Condition,
        fails: bool,
    ) -> daas_certs::CertificateView {
        daas_certs::CertificateView {
            id: "*.shop.test".into(),
            names: Vec::new(),
            source,
            condition,
            issuer: None,
            serial: None,
            fingerprint: None,
            not_before_ms: None,
            not_after_ms: None,
            renew_ms: None,
            fault: fails.then(|| FaultRecord {
                code: "certificate-authority".into(),
                message: "cannot reach `https://ca.test`".into(),
                hint: None,
                at_ms: 0,
            }),
            next_try_ms: None,
        }
    }

    #[test]
    fn the_doctor_worries_about_what_ends_and_what_was_not_renewed_while_it_is_good() {
        let ordered = || Source::Ordered { authority: None };
        for (source, condition, fails, expected) in [
            (ordered(), Condition::Valid, false, None),
            (ordered(), Condition::Ordering, true, None),
            (
                ordered(),
                Condition::Valid,
                true,
                Some((
                    CheckVerdict::Warn,
                    "`*.shop.test` is valid, and was not renewed: cannot reach `https://ca.test`",
                )),
            ),
            (
                Source::Given,
                Condition::Valid,
                true,
                Some((
                    CheckVerdict::Warn,
                    "`*.shop.test` is valid, and its files hold nothing newer that could be used: cannot reach `https://ca.test`",
                )),
            ),
            (
                Source::Given,
                Condition::Expiring,
                false,
                Some((CheckVerdict::Warn, "`*.shop.test` is expiring")),
            ),
            (
                ordered(),
                Condition::Expired,
                true,
                Some((
                    CheckVerdict::Fail,
                    "`*.shop.test` is expired: cannot reach `https://ca.test`",
                )),
            ),
            (
                ordered(),
                Condition::Failed,
                true,
                Some((
                    CheckVerdict::Fail,
                    "`*.shop.test` is failed: cannot reach `https://ca.test`",
                )),
            ),
        ] {
            let told = worry(&certificate(source, condition, fails));
            assert_eq!(
                told.as_ref()
                    .map(|check| (check.verdict, check.found.as_str())),
                expected
            );
            assert!(told.is_none_or(|check| check.fix.is_some()));
        }
    }
}
