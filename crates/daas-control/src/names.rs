//! Names of stands: computed from their records, given to the name server.

use crate::platform::Control;
use crate::record::StandRecord;
use daas_api::platform::{Answer, Names};
use daas_api::{
    Caller, Check, CheckVerdict, Failure, KeyRoll, KeySeen, NewRecord, RecordList, RecordQuery,
    RecordView, RecordsQuery, ZoneKeyList, ZoneKeyState, ZoneKeyView, ZoneList, ZoneView,
};
use daas_dns::{
    Dns, DnsError, KeyState, KeyUse, Name, NameError, Resource, RrType, STAND_TTL, Source, data,
    reverse_name,
};
use daas_model::StandName;
use daas_plan::Power;
use daas_store::{Record, Store, StoreError, Watch};
use daas_tasks::{Task, TaskError};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Where stands are found by name.
#[derive(Debug, Clone)]
pub struct StandNames {
    /// The name server.
    pub dns: Dns,
    /// The zone that stands are named in.
    pub zone: Name,
    /// Where their names lead: the addresses of the ingress.
    pub addresses: Vec<IpAddr>,
    /// Where names are answered, for people.
    pub listens: Vec<String>,
}

impl Control {
    /// Lets names follow the stands: those that are recorded have theirs when this returns, and changes are followed until the shutdown.
    ///
    /// # Errors
    /// [`StoreError`] if the records cannot be read.
    pub(crate) fn follow_names(&self) -> Result<(), StoreError> {
        let (store, names) = (self.store.clone(), self.config.names.clone());
        let make = move || Following {
            store: store.clone(),
            names: names.clone(),
            watch: None,
            changed: None,
        };
        let mut first = Some(make());
        if let Some(following) = &mut first {
            following.begin()?;
        }
        self.tasks.start("names of stands", move || {
            first.take().unwrap_or_else(&make)
        });
        Ok(())
    }
}

/// Goes along the changes of stands.
struct Following {
    store: Store,
    names: StandNames,
    /// Nothing before everything was looked at.
    watch: Option<Watch>,
    changed: Option<Result<String, StoreError>>,
}

impl Task for Following {
    async fn wait(&mut self) {
        let Some(watch) = &mut self.watch else { return };
        let next = watch.next().await;
        self.changed = Some(next.map(|change| change.key));
    }

    async fn turn(&mut self) -> Result<(), TaskError> {
        match self.changed.take() {
            Some(Ok(stand)) => self.follow(&stand)?,
            // So far behind that changes were forgotten: everything anew.
            Some(Err(StoreError::Cut { .. })) | None => self.begin()?,
            Some(Err(error)) => {
                self.watch = None;
                return Err(error.into());
            }
        }
        Ok(())
    }
}

/// How the name server calls what belongs to a stand.
fn owner(stand: &str) -> String {
    format!("stand/{stand}")
}

impl Following {
    /// Names every stand that is recorded, and nothing else.
    fn begin(&mut self) -> Result<(), StoreError> {
        let from = self.store.revision();
        let mut there = BTreeSet::new();
        for stored in self.store.list::<StandRecord>("")? {
            there.insert(owner(&stored.key));
            self.name(&stored.key, Some(&stored.value));
        }
        for gone in self
            .names
            .dns
            .owners("stand/")
            .into_iter()
            .filter(|owner| !there.contains(owner))
        {
            self.names.dns.withdraw(&gone);
        }
        self.watch = Some(self.store.watch(&[StandRecord::KIND], from));
        Ok(())
    }

    fn follow(&self, stand: &str) -> Result<(), StoreError> {
        let stored = self.store.get::<StandRecord>(stand)?;
        self.name(stand, stored.as_ref().map(|stored| &stored.value));
        Ok(())
    }

    fn name(&self, stand: &str, record: Option<&StandRecord>) {
        let wanted = record.filter(|record| record.power != Power::Gone);
        let records =
            wanted.map_or_else(|| Ok(Vec::new()), |record| records_of(record, &self.names));
        let put = match records {
            Ok(records) => self.names.dns.put(&owner(stand), records),
            // 63 octets of a stand's name fit before any zone but a very long one.
            Err(error) => Err(error.into()),
        };
        if let Err(error) = put {
            tracing::warn!(%stand, cause = %daas_model::render_chain(&error), "the stand has no name");
            self.names.dns.withdraw(&owner(stand));
        }
    }
}

/// The label under which a stand's own address is found, where its published ports answer.
const DIRECT: &str = "direct";

/// Returns the names of a stand: its own, one for each service, whatever else a route may name below it, and that of its own address.
fn records_of(record: &StandRecord, names: &StandNames) -> Result<Vec<Resource>, NameError> {
    let stand = stand_name(&record.name, &names.zone)?;
    let mut below = BTreeSet::from(["*".to_owned()]);
    // A service whose name is no label has the wildcard.
    below.extend(
        record
            .spec
            .nodes
            .values()
            .map(|node| node.service.as_str().to_ascii_lowercase())
            .filter(|service| !service.contains('.')),
    );
    let mut led = vec![stand.clone()];
    for label in &below {
        led.push(stand.child(label)?);
    }
    let lead = |name: &Name| {
        let name = name.clone();
        names
            .addresses
            .iter()
            .map(move |ip| Resource::address(name.clone(), STAND_TTL, *ip))
    };
    let mut records: Vec<Resource> = led.iter().flat_map(lead).collect();
    if let Some(address) = record.host_address
        && !below.contains(DIRECT)
    {
        let direct = stand.child(DIRECT)?;
        let back = reverse_name(address);
        if names.dns.serves(&back) {
            records.push(Resource::pointer(back, RrType::PTR, STAND_TTL, &direct));
        }
        records.push(Resource::address(direct, STAND_TTL, address));
    }
    Ok(records)
}

/// Returns the name of a stand in a zone: `shop-7.dev.example.com`.
pub(crate) fn stand_name(stand: &StandName, zone: &Name) -> Result<Name, NameError> {
    zone.child(stand.as_str())
}

impl Names for Control {
    fn zones(&self) -> Answer<'_, ZoneList> {
        let names = &self.config.names;
        let items = names.dns.zones().into_iter().map(|zone| ZoneView {
            stands: zone.origin == names.zone,
            name: bare(&zone.origin),
            serial: zone.serial,
            records: zone.records,
            ds: zone.ds,
            secondaries: zone.secondaries.iter().map(ToString::to_string).collect(),
        });
        let list = ZoneList {
            listens: names.listens.clone(),
            items: items.collect(),
        };
        Box::pin(std::future::ready(Ok(list)))
    }

    fn records(&self, query: RecordsQuery) -> Answer<'_, RecordList> {
        let list = || -> Result<RecordList, DnsError> {
            let zone = query.zone.as_deref().map(Name::parse).transpose()?;
            let records = self.config.names.dns.records(zone.as_ref())?;
            let items = records
                .iter()
                .map(|(source, record)| view(source, record))
                .collect();
            Ok(RecordList { items })
        };
        Box::pin(std::future::ready(list().map_err(Failure::from)))
    }

    fn add_record<'a>(&'a self, caller: &'a Caller, record: NewRecord) -> Answer<'a, RecordView> {
        Box::pin(async move {
            let kind = kind_of(&record.kind)?;
            let name = Name::parse(&record.name).map_err(DnsError::from)?;
            let resource = Resource {
                data: data::parse(kind, &record.data, &Name::root()).map_err(DnsError::from)?,
                kind,
                ttl: record
                    .ttl
                    .unwrap_or(daas_dns::USUAL_TTL)
                    .min(daas_dns::MOST_TTL),
                name,
            };
            self.config.names.dns.add(resource.clone()).await?;
            tracing::info!(record = %resource, by = %caller, "a record is kept");
            Ok(view(&Source::Kept, &resource))
        })
    }

    fn remove_record<'a>(&'a self, caller: &'a Caller, query: RecordQuery) -> Answer<'a, ()> {
        Box::pin(async move {
            let kind = kind_of(&query.kind)?;
            let name = Name::parse(&query.name).map_err(DnsError::from)?;
            let data = query
                .data
                .as_deref()
                .map(|text| data::parse(kind, text, &Name::root()));
            let data = data.transpose().map_err(DnsError::from)?;
            self.config
                .names
                .dns
                .remove(&name, kind, data.as_deref())
                .await?;
            tracing::info!(%name, %kind, by = %caller, "kept records are forgotten");
            Ok(())
        })
    }

    fn keys(&self, query: RecordsQuery) -> Answer<'_, ZoneKeyList> {
        let keys = self.config.names.keys(query.zone.as_deref());
        Box::pin(std::future::ready(keys))
    }

    fn roll_key<'a>(&'a self, caller: &'a Caller, roll: KeyRoll) -> Answer<'a, ZoneKeyList> {
        Box::pin(async move {
            let zone = Name::parse(&roll.zone).map_err(DnsError::from)?;
            self.config.names.dns.roll_key(&zone).await?;
            tracing::info!(%zone, by = %caller, "a key is to be rolled");
            self.config.names.keys(Some(&roll.zone))
        })
    }

    fn key_seen<'a>(&'a self, caller: &'a Caller, seen: KeySeen) -> Answer<'a, ZoneKeyList> {
        Box::pin(async move {
            let zone = Name::parse(&seen.zone).map_err(DnsError::from)?;
            self.config.names.dns.key_seen(&zone, seen.ttl).await?;
            tracing::info!(%zone, by = %caller, "the zone above names the new key, somebody says");
            self.config.names.keys(Some(&seen.zone))
        })
    }
}

impl StandNames {
    fn keys(&self, zone: Option<&str>) -> Result<ZoneKeyList, Failure> {
        let zone = zone.map(Name::parse).transpose().map_err(DnsError::from)?;
        let keys = self.dns.keys(zone.as_ref())?;
        let items = keys.into_iter().map(key_view).collect();
        Ok(ZoneKeyList { items })
    }
}

impl Control {
    /// Says which zones above have to be told of a new key, for `daas doctor`; nothing if none.
    pub(crate) fn key_checks(&self) -> Vec<Check> {
        let keys = self.config.names.dns.keys(None).unwrap_or_default();
        keys.iter().filter_map(key_check).collect()
    }
}

fn key_check(key: &KeyState) -> Option<Check> {
    let KeyUse::Waiting { .. } = key.usage else {
        return None;
    };
    let zone = bare(&key.zone);
    Some(Check {
        code: "dns-key".into(),
        title: "keys of zones".into(),
        verdict: CheckVerdict::Warn,
        found: format!("the zone above `{zone}` does not name its new key yet"),
        fix: Some(format!(
            "have `{zone}. DS {}` put in place of the old DS record where `{zone}` is delegated; `daas dns keys seen {zone}` if it is there and nobody can look from here",
            key.ds
        )),
    })
}

fn key_view(key: KeyState) -> ZoneKeyView {
    let (state, until_ms, since_ms) = match key.usage {
        KeyUse::Active => (ZoneKeyState::Active, None, None),
        KeyUse::Publishing { until_ms } => (ZoneKeyState::Publishing, Some(until_ms), None),
        KeyUse::Waiting { since_ms } => (ZoneKeyState::Waiting, None, Some(since_ms)),
        KeyUse::Retiring { until_ms } => (ZoneKeyState::Retiring, Some(until_ms), None),
    };
    ZoneKeyView {
        zone: bare(&key.zone),
        tag: key.tag,
        algorithm: key.algorithm,
        state,
        until_ms,
        since_ms,
        dnskey: key.dnskey,
        ds: key.ds,
    }
}

fn kind_of(text: &str) -> Result<RrType, DnsError> {
    RrType::parse(text).ok_or_else(|| DnsError::Type { text: text.into() })
}

/// Returns a name as people write it, without the last dot.
fn bare(name: &Name) -> String {
    let text = name.to_string();
    text.strip_suffix('.')
        .filter(|bare| !bare.is_empty())
        .unwrap_or(&text)
        .to_owned()
}

fn view(source: &Source, record: &Resource) -> RecordView {
    RecordView {
        name: bare(&record.name),
        kind: record.kind.to_string(),
        ttl: record.ttl,
        data: data::show(record.kind, &record.data),
        source: match source {
            Source::Zone => "zone".into(),
            Source::Configuration => "configuration".into(),
            Source::Kept => "kept".into(),
            Source::Owner(owner) => owner.clone(),
            Source::Challenge(_) => "challenge".into(),
            Source::Reverse(name) => format!("address of {}", bare(name)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_doctor_says_what_the_zone_above_shall_have_while_it_is_waited_for_and_else_nothing() {
        let key = |usage| KeyState {
            zone: Name::parse("dev.example.com").unwrap(),
            tag: 7,
            algorithm: 13,
            usage,
            dnskey: "257 3 13 AAAA".into(),
            ds: "7 13 2 ABCD".into(),
        };
        let check = key_check(&key(KeyUse::Waiting { since_ms: 1 })).unwrap();
        assert_eq!(check.verdict, CheckVerdict::Warn);
        let fix = check.fix.unwrap();
        assert!(fix.contains("`dev.example.com. DS 7 13 2 ABCD`"), "{fix}");
        assert!(
            fix.contains("`daas dns keys seen dev.example.com`"),
            "{fix}"
        );
        for usage in [
            KeyUse::Active,
            KeyUse::Publishing { until_ms: 1 },
            KeyUse::Retiring { until_ms: 1 },
        ] {
            assert!(key_check(&key(usage)).is_none());
        }
    }
}
