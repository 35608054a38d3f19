//! Which addresses of the host stands have: what the records say, without reading all of them for each new stand (20 ms at 300 stands).

use crate::record::StandRecord;
use daas_model::StandName;
use daas_store::Stored;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The addresses in use, by stand. Begun from all records before any of them can change.
#[derive(Debug, Default)]
pub(crate) struct InUse(Mutex<HashMap<StandName, IpAddr>>);

impl InUse {
    /// Takes over what is recorded.
    pub(crate) fn of(stands: &[Stored<StandRecord>]) -> Self {
        let known = stands
            .iter()
            .filter_map(|stand| Some((stand.value.name.clone(), stand.value.host_address?)));
        Self(Mutex::new(known.collect()))
    }

    fn known(&self) -> MutexGuard<'_, HashMap<StandName, IpAddr>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns all of them.
    pub(crate) fn all(&self) -> BTreeSet<IpAddr> {
        self.known().values().copied().collect()
    }

    /// Notes that a stand was recorded. To be called before anybody else chooses an address.
    pub(crate) fn enter(&self, record: &StandRecord) {
        if let Some(address) = record.host_address {
            self.known().insert(record.name.clone(), address);
        }
    }

    /// Notes that a stand's record is gone; a stand of the same name that was recorded meanwhile keeps its address.
    pub(crate) fn leave(&self, record: &StandRecord) {
        let mut known = self.known();
        if known.get(&record.name).copied() == record.host_address {
            known.remove(&record.name);
        }
    }
}
