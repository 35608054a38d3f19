//! A zone as it is served: immutable, replaced as a whole, and what a name in it leads to (RFC 1034 section 4.3.2, RFC 4592).

use crate::data::Data;
use crate::embed::Embedding;
use crate::journal::Difference;
use crate::kind::RrType;
use crate::name::{Key, Name, key_above};
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

/// The records of one name and one type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RrSet {
    pub(crate) kind: RrType,
    /// Seconds.
    pub(crate) ttl: u32,
    /// Sorted, each once: the canonical order of RFC 4034 section 6.3.
    pub(crate) data: Vec<Data>,
    /// Data of RRSIG records over it.
    pub(crate) signatures: Vec<Data>,
}

/// Everything of one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) name: Name,
    /// Sorted by type.
    pub(crate) sets: Vec<RrSet>,
}

impl Node {
    pub(crate) fn set(&self, kind: RrType) -> Option<&RrSet> {
        self.sets.iter().find(|set| set.kind == kind)
    }
}

/// Nodes by their keys, which is in canonical order.
pub(crate) type Nodes = BTreeMap<Arc<[u8]>, Arc<Node>>;

/// A zone at one serial.
#[derive(Debug, Clone)]
pub(crate) struct Zone {
    pub(crate) origin: Name,
    pub(crate) origin_key: Arc<[u8]>,
    pub(crate) nodes: Nodes,
    pub(crate) serial: u32,
    /// How many names hide what lies below them: without any nobody looks for one.
    pub(crate) covers: usize,
    pub(crate) signed: bool,
    pub(crate) embedding: Option<Arc<Embedding>>,
    /// Former changes, old ones first, for transfers of differences.
    pub(crate) journal: VecDeque<Arc<Difference>>,
}

/// What a question leads to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Found<'z> {
    /// The name is there; the sets are to be looked for in the node.
    Node(&'z Node),
    /// The name is made by a wildcard.
    Wildcard(&'z Node),
    /// The name is there because of others below it.
    Empty,
    /// The name bears an address.
    Embedded(std::net::IpAddr),
    /// The name lies at or below a cut: other servers answer.
    Cut(&'z Node),
    /// The name lies below a DNAME: it stands for one of another tree.
    Tree(&'z Node),
    /// There is no such name; the octets are the key of the closest name above that is there.
    Nothing(&'z [u8]),
}

impl Zone {
    /// Returns the node of a key.
    pub(crate) fn node(&self, key: &[u8]) -> Option<&Node> {
        self.nodes.get(key).map(AsRef::as_ref)
    }

    /// Returns the node at the top.
    pub(crate) fn apex(&self) -> Option<&Node> {
        self.node(&self.origin_key)
    }

    /// Finds what `key`, which lies within the zone, leads to; `kind` matters at cuts only, whose DS records are the parent's.
    pub(crate) fn find<'z>(&'z self, key: &'z [u8], wire: &[u8], kind: RrType) -> Found<'z> {
        if self.covers > 0
            && let Some(found) = self.covered(key, kind)
        {
            return found;
        }
        if let Some(node) = self.node(key) {
            return Found::Node(node);
        }
        if self.has_below(key) {
            return Found::Empty;
        }
        let mut above = key;
        while let Some(next) = key_above(above) {
            above = next;
            if above.len() <= self.origin_key.len()
                || self.nodes.contains_key(above)
                || self.has_below(above)
            {
                break;
            }
        }
        if let Some(node) = self.wildcard(above) {
            return Found::Wildcard(node);
        }
        if let Some(embedding) = &self.embedding
            && let Some(address) = embedding.address(&self.origin, wire)
        {
            return Found::Embedded(address);
        }
        Found::Nothing(above)
    }

    /// Returns the wildcard directly under `above`.
    pub(crate) fn wildcard(&self, above: &[u8]) -> Option<&Node> {
        let mut octets = [0u8; 512];
        let length = above.len() + 2;
        octets.get_mut(..above.len())?.copy_from_slice(above);
        *octets.get_mut(above.len())? = b'*';
        self.node(octets.get(..length)?)
    }

    /// Tells whether a name lies below `key`.
    fn has_below(&self, key: &[u8]) -> bool {
        let next = self
            .nodes
            .range::<[u8], _>((Bound::Excluded(key), Bound::Unbounded))
            .next();
        next.is_some_and(|(other, _)| other.starts_with(key))
    }

    /// Returns the highest cut at or above `key`, or the highest DNAME above it, whichever is higher.
    fn covered(&self, key: &[u8], kind: RrType) -> Option<Found<'_>> {
        let mut at = Some(key);
        let mut highest = None;
        while let Some(here) = at.filter(|at| at.len() >= self.origin_key.len()) {
            let is_own_ds = here.len() == key.len() && kind == RrType::DS;
            if let Some(node) = self.node(here) {
                if self.is_cut(node) && !is_own_ds {
                    highest = Some(Found::Cut(node));
                } else if here.len() < key.len() && node.set(RrType::DNAME).is_some() {
                    highest = Some(Found::Tree(node));
                }
            }
            at = key_above(here);
        }
        highest
    }

    /// Tells whether another zone begins at a node.
    pub(crate) fn is_cut(&self, node: &Node) -> bool {
        node.name != self.origin && node.set(RrType::NS).is_some()
    }

    /// Tells whether what lies below a node is not answered: it is another zone's, or another tree's (RFC 6672 section 2.4).
    pub(crate) fn covers(&self, node: &Node) -> bool {
        self.is_cut(node) || node.set(RrType::DNAME).is_some()
    }

    /// Tells whether what lies below a key is not answered.
    pub(crate) fn is_cover(&self, key: &[u8]) -> bool {
        self.node(key).is_some_and(|node| self.covers(node))
    }

    /// Returns the node whose NSEC record says what lies between it and the next name, for a key that is there or not.
    pub(crate) fn nsec_of(&self, key: &[u8]) -> Option<&Node> {
        self.nodes
            .range::<[u8], _>((Bound::Unbounded, Bound::Included(key)))
            .rev()
            .map(|(_, node)| node.as_ref())
            .find(|node| node.set(RrType::NSEC).is_some())
    }

    /// Tells whether a name lies within the zone.
    pub(crate) fn contains(&self, name: &Name) -> bool {
        name.is_within(&self.origin)
    }
}

/// Every zone that is served, by the key of its origin.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    pub(crate) zones: BTreeMap<Arc<[u8]>, Arc<Zone>>,
}

impl Table {
    /// Returns the zone with the longest origin that `key` lies within.
    pub(crate) fn zone_of(&self, key: &[u8]) -> Option<&Arc<Zone>> {
        let mut at = key;
        loop {
            if let Some(zone) = self.zones.get(at) {
                return Some(zone);
            }
            at = key_above(at)?;
        }
    }

    /// Returns the zone for a question: the DS records of a zone are its parent's, where that is served, too (RFC 4035 section 3.1.4.1).
    pub(crate) fn zone_for(&self, key: &[u8], kind: RrType) -> Option<&Arc<Zone>> {
        let zone = self.zone_of(key)?;
        if kind == RrType::DS && *zone.origin_key == *key {
            let parent = key_above(key).and_then(|above| self.zone_of(above));
            return Some(parent.unwrap_or(zone));
        }
        Some(zone)
    }

    /// Returns the zone with exactly this origin.
    pub(crate) fn exact(&self, origin: &Name) -> Option<&Arc<Zone>> {
        self.zones.get(Key::of(origin.wire()).octets())
    }
}
