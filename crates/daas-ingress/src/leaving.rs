//! Nodes that are asked no more, for as long as requests to them are under way.

use crate::backend::Backend;
use crate::table::Entry;
use daas_model::StandName;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// A back end lives as long as a table or a request holds it, so one that is in no table and lives has requests.
#[derive(Debug, Clone, Default)]
pub(crate) struct Leaving(Arc<Mutex<Vec<Left>>>);

/// A back end that its stand's table does not hold any more.
type Left = (StandName, Weak<Backend>);

impl Leaving {
    /// Notes what was in the table before and is not any more.
    pub(crate) fn note(&self, stand: &StandName, before: &[Arc<Entry>], now: &[Arc<Entry>]) {
        let stays = |backend: &Arc<Backend>| {
            let mut all = now.iter().flat_map(|entry| &entry.backends);
            all.any(|other| Arc::ptr_eq(other, backend))
        };
        let mut leaving = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        leaving.retain(|(_, backend)| backend.strong_count() > 0);
        let gone = before.iter().flat_map(|entry| &entry.backends);
        leaving.extend(
            gone.filter(|backend| !stays(backend))
                .map(|backend| (stand.clone(), Arc::downgrade(backend))),
        );
    }

    /// Tells whether requests to one of the nodes are under way.
    pub(crate) fn are_busy(&self, stand: &StandName, nodes: &BTreeSet<String>) -> bool {
        let leaving = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        leaving.iter().any(|(of, backend)| {
            of == stand
                && backend
                    .upgrade()
                    .is_some_and(|backend| nodes.contains(&backend.upstream.node))
        })
    }
}
