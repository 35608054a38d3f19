//! Records that people and programs keep: written to the store first, answered then.

use crate::book::{Book, zone_for};
use crate::contents::{Clash, Resource, Source, key_of};
use crate::data::{self, Data};
use crate::dns::{Dns, Inner};
use crate::error::DnsError;
use crate::kind::RrType;
use crate::name::Name;
use crate::record::KeptRecord;
use daas_store::Batch;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The most records of one name and type, and the most names of one zone: bounds for programs that run wild.
const MOST_OF_A_SET: usize = 1000;
/// The most sets that are kept in one zone.
const MOST_SETS: usize = 100_000;

/// One set of records, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct KeptSet {
    pub(crate) ttl: u32,
    pub(crate) data: Vec<Data>,
}

/// What is to be changed of what is kept in one zone; empty sets are to go.
pub(crate) type Edits = BTreeMap<(Name, RrType), KeptSet>;

fn record_key(zone: &Name, name: &Name, kind: RrType) -> String {
    format!("{zone}/{name}/{kind}")
}

/// Reads everything that is kept into the books; records of zones that are no longer served wait in the store.
pub(crate) fn load(
    store: &daas_store::Store,
    books: &mut BTreeMap<Arc<[u8]>, Book>,
) -> Result<(), DnsError> {
    let mut by_zone: BTreeMap<Arc<[u8]>, Vec<Resource>> = BTreeMap::new();
    for stored in store.list::<KeptRecord>("")? {
        let record = stored.value;
        let key = key_of(&record.zone);
        let (true, Some(kind)) = (books.contains_key(&key), RrType::parse(&record.kind)) else {
            continue;
        };
        for text in &record.data {
            by_zone.entry(key.clone()).or_default().push(Resource {
                name: record.name.clone(),
                kind,
                ttl: record.ttl,
                data: data::parse(kind, text, &Name::root())?,
            });
        }
    }
    for (key, records) in by_zone {
        if let Some(book) = books.get_mut(&key) {
            let touched = book.contents.replace(&Source::Kept, records);
            book.turn(&touched);
        }
    }
    Ok(())
}

/// Returns what is kept under a name.
pub(crate) fn kept_sets(book: &Book, name: &Name) -> BTreeMap<RrType, KeptSet> {
    let mut sets: BTreeMap<RrType, KeptSet> = BTreeMap::new();
    for record in book.contents.get(name, &Source::Kept) {
        let set = sets.entry(record.kind).or_default();
        set.ttl = record.ttl;
        set.data.push(record.data.clone());
    }
    sets
}

impl Dns {
    /// Keeps a record; one with the same name, type and data gets the new time. It is on disk and answered when this returns.
    ///
    /// # Errors
    /// [`DnsError::NoZone`] if its name lies in no zone; [`DnsError::Own`], [`DnsError::Alias`], [`DnsError::Tree`] or [`DnsError::Full`] if it may not be kept;
    /// [`DnsError::Records`] if the disk refuses.
    pub async fn add(&self, record: Resource) -> Result<(), DnsError> {
        let _turn = self.inner.keeping.lock().await;
        let (origin, edits) = {
            let books = self.inner.books();
            let book = book_of(&books, &record.name, record.kind)?;
            book.check(&record)?;
            let mut sets = kept_sets(book, &record.name);
            refuse_clash(book, &record)?;
            let mut set = sets.remove(&record.kind).unwrap_or_default();
            set.ttl = record.ttl;
            if !set.data.contains(&record.data) {
                set.data.push(record.data);
            }
            let origin = book.zone.origin.clone();
            (origin, Edits::from([((record.name, record.kind), set)]))
        };
        self.inner.keep(&origin, edits).await
    }

    /// Forgets kept records of a name and type: the one with `data`, or all. Gone from the disk and from answers when this returns.
    ///
    /// # Errors
    /// [`DnsError::NoRecord`] if none is kept; others as of [`Dns::add`].
    pub async fn remove(
        &self,
        name: &Name,
        kind: RrType,
        data: Option<&[u8]>,
    ) -> Result<(), DnsError> {
        let _turn = self.inner.keeping.lock().await;
        let (origin, edits) = {
            let books = self.inner.books();
            let book = book_of(&books, name, kind)?;
            let missing = || DnsError::NoRecord {
                name: name.clone(),
                kind,
            };
            let mut set = kept_sets(book, name).remove(&kind).ok_or_else(missing)?;
            let before = set.data.len();
            set.data
                .retain(|other| data.is_some_and(|data| **other != *data));
            if set.data.len() == before {
                return Err(missing());
            }
            (
                book.zone.origin.clone(),
                Edits::from([((name.clone(), kind), set)]),
            )
        };
        self.inner.keep(&origin, edits).await
    }
}

fn book_of<'a>(
    books: &'a BTreeMap<Arc<[u8]>, Book>,
    name: &Name,
    kind: RrType,
) -> Result<&'a Book, DnsError> {
    zone_for(books, name, kind)
        .and_then(|key| books.get(key))
        .ok_or_else(|| DnsError::NoZone { name: name.clone() })
}

fn refuse_clash(book: &Book, record: &Resource) -> Result<(), DnsError> {
    let (name, kind) = (record.name.clone(), record.kind);
    match book.contents.clash(record) {
        None => Ok(()),
        Some(Clash::Alias(_)) => Err(DnsError::Alias { name, kind }),
        Some(Clash::Tree(other)) => Err(DnsError::Tree { name, kind, other }),
    }
}

impl Inner {
    /// Writes edits of one zone to the store, then to the zone. The caller holds `keeping`.
    pub(crate) async fn keep(&self, origin: &Name, edits: Edits) -> Result<(), DnsError> {
        let mut batch = Batch::new();
        for ((name, kind), set) in &edits {
            let key = record_key(origin, name, *kind);
            if set.data.len() > MOST_OF_A_SET {
                return Err(DnsError::Full { name: name.clone() });
            }
            if set.data.is_empty() {
                batch = batch.delete::<KeptRecord>(&key);
                continue;
            }
            let record = KeptRecord {
                zone: origin.clone(),
                name: name.clone(),
                kind: kind.to_string(),
                ttl: set.ttl,
                data: set
                    .data
                    .iter()
                    .map(|data| data::show(*kind, data))
                    .collect(),
            };
            batch = batch.put(&key, &record)?;
        }
        self.has_room(origin, &edits)?;
        self.store.commit(batch).await?;
        self.change(|books| {
            let names: BTreeSet<Name> = edits.keys().map(|(name, _)| name.clone()).collect();
            let Some(book) = books.get_mut(&key_of(origin)) else {
                return;
            };
            for name in &names {
                let mut sets = kept_sets(book, name);
                for ((_, kind), set) in
                    edits.range((name.clone(), RrType(0))..=(name.clone(), RrType(u16::MAX)))
                {
                    sets.insert(*kind, set.clone());
                }
                let records = sets.into_iter().flat_map(|(kind, set)| {
                    set.data.into_iter().map(move |data| Resource {
                        name: name.clone(),
                        kind,
                        ttl: set.ttl,
                        data,
                    })
                });
                let records = records.collect();
                book.contents.replace_name(&Source::Kept, name, records);
            }
            let names: Vec<Name> = names.into_iter().collect();
            book.turn(&names);
            crate::pointers::follow(books, &names);
        });
        Ok(())
    }

    fn has_room(&self, origin: &Name, edits: &Edits) -> Result<(), DnsError> {
        let books = self.books();
        let kept = books
            .get(&key_of(origin))
            .map_or(0, |book| book.contents.count(&Source::Kept));
        match edits.keys().next() {
            Some((name, _)) if kept + edits.len() > MOST_SETS => {
                Err(DnsError::Full { name: name.clone() })
            }
            _ => Ok(()),
        }
    }
}
