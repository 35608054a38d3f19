//! Names of stands: computed from their records, given to the name server.

use crate::platform::Control;
use crate::record::StandRecord;
use daas_dns::{Dns, Name, NameError, Resource, RrType, STAND_TTL, reverse_name};
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
}

impl Control {
    /// Lets names follow the stands: those that are recorded have theirs when this returns, and changes are followed until the shutdown.
    ///
    /// # Errors
    /// [`StoreError`] if the records cannot be read.
    pub fn follow_names(&self, names: StandNames) -> Result<(), StoreError> {
        let store = self.store.clone();
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
