//! What a zone is made of: records of several sources, joined name by name.
//!
//! A source is the configuration, what people keep by hand, one stand, one challenge of a certificate. It puts all its records at once and takes them back
//! at once, so that nothing of it can be left.

use crate::data::Data;
use crate::kind::RrType;
use crate::name::{Key, Name};
use crate::zone::{Node, RrSet};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

/// One record of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Its name.
    pub name: Name,
    /// Its type.
    pub kind: RrType,
    /// How long others may keep it, in seconds.
    pub ttl: u32,
    /// Its data, in the canonical form of the wire.
    pub data: Data,
}

/// Where records come from; what comes first wins where an alias meets other records.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// The platform's own: SOA and NS of a zone.
    Zone,
    /// The configuration.
    Configuration,
    /// What people and programs keep through the API and by updates.
    Kept,
    /// One stand, service or host, by a name of its owner's choice.
    Owner(String),
    /// One challenge, by number.
    Challenge(u64),
    /// The addresses of a name that people wrote, in reverse zones: heard only where nobody says what an address is called.
    Reverse(Name),
}

/// What leaves no room for a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Clash {
    /// A record of this type under the same name, one of both an alias (CNAME).
    Alias(RrType),
    /// Records of this name, one of both names with a DNAME.
    Tree(Name),
}

/// All records of one zone by name and source.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    names: BTreeMap<Name, BTreeMap<Source, Vec<Resource>>>,
    of: BTreeMap<Source, BTreeSet<Name>>,
}

impl Contents {
    /// Puts the records of a source in place of its former ones; returns the names that may have changed.
    pub(crate) fn replace(&mut self, source: &Source, records: Vec<Resource>) -> Vec<Name> {
        let mut fresh: BTreeMap<Name, Vec<Resource>> = BTreeMap::new();
        for record in records {
            fresh.entry(record.name.clone()).or_default().push(record);
        }
        let mut touched = Vec::new();
        for name in self.of.remove(source).unwrap_or_default() {
            if !fresh.contains_key(&name) {
                self.set(&name, source, Vec::new());
                touched.push(name);
            }
        }
        let names: BTreeSet<Name> = fresh.keys().cloned().collect();
        for (name, records) in fresh {
            if self.get(&name, source) != records.as_slice() {
                self.set(&name, source, records);
                touched.push(name);
            }
        }
        if !names.is_empty() {
            self.of.insert(source.clone(), names);
        }
        touched
    }

    /// Puts the records that a source has under one name.
    pub(crate) fn replace_name(&mut self, source: &Source, name: &Name, records: Vec<Resource>) {
        let names = self.of.entry(source.clone()).or_default();
        if records.is_empty() {
            names.remove(name);
        } else {
            names.insert(name.clone());
        }
        if names.is_empty() {
            self.of.remove(source);
        }
        self.set(name, source, records);
    }

    fn set(&mut self, name: &Name, source: &Source, records: Vec<Resource>) {
        let of_name = self.names.entry(name.clone()).or_default();
        if records.is_empty() {
            of_name.remove(source);
        } else {
            of_name.insert(source.clone(), records);
        }
        if of_name.is_empty() {
            self.names.remove(name);
        }
    }

    /// Returns the records that a source has under a name.
    pub(crate) fn get(&self, name: &Name, source: &Source) -> &[Resource] {
        self.names
            .get(name)
            .and_then(|of_name| of_name.get(source))
            .map_or(&[], Vec::as_slice)
    }

    /// Returns the records of a name with their sources.
    pub(crate) fn of_name(&self, name: &Name) -> impl Iterator<Item = (&Source, &Resource)> {
        self.names
            .get(name)
            .into_iter()
            .flatten()
            .flat_map(|(source, records)| records.iter().map(move |record| (source, record)))
    }

    /// Tells what that is written leaves no room for a record. What follows stands and challenges is not asked: it gives way.
    pub(crate) fn clash(&self, record: &Resource) -> Option<Clash> {
        self.alias_clash(record)
            .map(Clash::Alias)
            .or_else(|| self.tree_clash(record).map(Clash::Tree))
    }

    /// An alias stands alone, and is one (RFC 1034 section 3.6.2).
    fn alias_clash(&self, record: &Resource) -> Option<RrType> {
        let clash = self.written(&record.name).find(|other| {
            let aliases = [record.kind, other.kind].map(|kind| kind == RrType::CNAME);
            aliases == [true, true] && record.data != other.data || aliases[0] != aliases[1]
        });
        clash.map(|other| other.kind)
    }

    /// A name has one DNAME, and nothing lies below it (RFC 6672 section 2.4).
    fn tree_clash(&self, record: &Resource) -> Option<Name> {
        let has_tree = |name: &Name| self.written(name).any(|r| r.kind == RrType::DNAME);
        let above = std::iter::successors(record.name.parent(), Name::parent).find(has_tree);
        if above.is_some() || record.kind != RrType::DNAME {
            return above;
        }
        let other = |r: &Resource| r.kind == RrType::DNAME && r.data != record.data;
        if self.written(&record.name).any(other) {
            return Some(record.name.clone());
        }
        let mut below = self
            .names
            .range((Bound::Excluded(&record.name), Bound::Unbounded))
            .map(|(name, _)| name)
            .take_while(|name| name.is_within(&record.name));
        below
            .find(|name| self.written(name).next().is_some())
            .cloned()
    }

    /// Returns what the platform, the configuration and people say about a name.
    fn written(&self, name: &Name) -> impl Iterator<Item = &Resource> {
        self.of_name(name)
            .filter(|(source, _)| **source <= Source::Kept)
            .map(|(_, record)| record)
    }

    /// Returns every record with its source, by name.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&Source, &Resource)> {
        self.names.values().flat_map(|of_name| {
            of_name
                .iter()
                .flat_map(|(source, records)| records.iter().map(move |r| (source, r)))
        })
    }

    /// Returns who has records.
    pub(crate) fn sources(&self) -> impl Iterator<Item = &Source> {
        self.of.keys()
    }

    /// Returns how many names a source has.
    pub(crate) fn count(&self, source: &Source) -> usize {
        self.of.get(source).map_or(0, BTreeSet::len)
    }

    /// Returns every name.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Name> {
        self.names.keys()
    }

    /// Joins what the sources say about a name; nothing if none says anything.
    ///
    /// An alias stands alone (RFC 1034 section 3.6.2): if the first source has one, the others are not heard; if a later one has, it is not heard.
    pub(crate) fn node(&self, name: &Name) -> Option<Node> {
        let of_name = self.names.get(name)?;
        let mut sets: BTreeMap<RrType, RrSet> = BTreeMap::new();
        let mut derived = false;
        for (source, records) in of_name {
            let told = sets.contains_key(&RrType::PTR);
            if matches!(source, Source::Reverse(_)) && told && !derived {
                continue;
            }
            derived = matches!(source, Source::Reverse(_));
            let is_alias = records.iter().any(|record| record.kind == RrType::CNAME);
            let has_alias = sets.contains_key(&RrType::CNAME);
            if !sets.is_empty() && is_alias || has_alias {
                continue;
            }
            for record in records {
                let set = sets.entry(record.kind).or_insert_with(|| RrSet {
                    kind: record.kind,
                    ttl: record.ttl,
                    data: Vec::new(),
                    signatures: Vec::new(),
                });
                // One TTL for all (RFC 2181 section 5.2): the shortest.
                set.ttl = set.ttl.min(record.ttl);
                // A name stands for one tree: the first source has it.
                let is_second = record.kind == RrType::DNAME && !set.data.is_empty();
                if !is_second && !set.data.contains(&record.data) {
                    set.data.push(record.data.clone());
                }
            }
        }
        let mut sets: Vec<RrSet> = sets.into_values().collect();
        for set in &mut sets {
            set.data.sort_unstable();
        }
        (!sets.is_empty()).then(|| Node {
            name: name.clone(),
            sets,
        })
    }
}

/// Returns the key of a name, to be kept.
pub(crate) fn key_of(name: &Name) -> Arc<[u8]> {
    Arc::from(Key::of(name.wire()).octets())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data;

    fn record(name: &str, kind: RrType, text: &str) -> Resource {
        Resource {
            name: Name::parse(name).unwrap(),
            kind,
            ttl: 60,
            data: data::parse(kind, text, &Name::root()).unwrap(),
        }
    }

    #[test]
    fn sources_are_joined_and_leave_nothing_behind() {
        let mut contents = Contents::default();
        let (a, b) = (Source::Owner("a".into()), Source::Owner("b".into()));
        let name = Name::parse("x.test").unwrap();
        contents.replace(&a, vec![record("x.test", RrType::A, "10.0.0.2")]);
        contents.replace(
            &b,
            vec![
                record("x.test", RrType::A, "10.0.0.1"),
                record("y.test", RrType::TXT, "t"),
            ],
        );
        let node = contents.node(&name).unwrap();
        assert_eq!(node.sets[0].data.len(), 2);
        assert!(node.sets[0].data.is_sorted());
        let touched = contents.replace(&b, Vec::new());
        assert_eq!(touched.len(), 2);
        assert_eq!(contents.node(&name).unwrap().sets[0].data.len(), 1);
        contents.replace(&a, Vec::new());
        assert_eq!(contents.names().count(), 0);
        assert!(contents.of.is_empty());
    }

    #[test]
    fn what_does_not_change_touches_nothing() {
        let mut contents = Contents::default();
        let records = vec![record("x.test", RrType::A, "10.0.0.2")];
        assert_eq!(contents.replace(&Source::Kept, records.clone()).len(), 1);
        assert!(contents.replace(&Source::Kept, records).is_empty());
    }

    #[test]
    fn an_alias_stands_alone() {
        let mut contents = Contents::default();
        contents.replace(
            &Source::Kept,
            vec![record("x.test", RrType::CNAME, "y.test.")],
        );
        contents.replace(
            &Source::Owner("s".into()),
            vec![record("x.test", RrType::A, "10.0.0.1")],
        );
        let node = contents.node(&Name::parse("x.test").unwrap()).unwrap();
        assert_eq!((node.sets.len(), node.sets[0].kind), (1, RrType::CNAME));
        contents.replace(
            &Source::Configuration,
            vec![record("x.test", RrType::TXT, "t")],
        );
        let node = contents.node(&Name::parse("x.test").unwrap()).unwrap();
        assert_eq!((node.sets.len(), node.sets[0].kind), (2, RrType::A));
    }
}
