//! One zone with its sources, and how a change of them becomes the next serial.

use crate::contents::{Clash, Contents, Resource, Source, key_of};
use crate::data;
use crate::embed::Embedding;
use crate::error::DnsError;
use crate::journal::{Difference, MOST_DIFFERENCES, Row, next_serial};
use crate::keyring::KeyRing;
use crate::kind::RrType;
use crate::name::{Key, Name, key_above};
use crate::roll::KeyRollRecord;
use crate::settings::ZoneSettings;
use crate::sign;
use crate::zone::{Node, Nodes, Zone};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds after which a secondary asks for the serial if no NOTIFY came.
const REFRESH: u32 = 300;
/// Seconds after which it asks again if nobody answered.
const RETRY: u32 = 60;
/// Seconds after which it stops serving what it could not refresh: a week, in which somebody notices.
const EXPIRE: u32 = 7 * 86_400;

/// A zone, what it is made of, and how it is served now.
#[derive(Debug)]
pub(crate) struct Book {
    pub(crate) settings: ZoneSettings,
    pub(crate) contents: Contents,
    pub(crate) zone: Arc<Zone>,
    pub(crate) keys: Option<KeyRing>,
    /// When all signatures were made, Unix seconds.
    signed_at: u32,
}

/// Returns seconds of the Unix clock, as serials count them.
pub(crate) fn now_secs() -> u32 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    // Serials go round (RFC 1982); so may the clock of 2106.
    u32::try_from(since.as_secs() & u64::from(u32::MAX)).unwrap_or(0)
}

impl Book {
    /// Opens a zone; `last` is the newest serial that anybody may have seen, `roll` what is recorded of its key.
    pub(crate) fn open(
        settings: ZoneSettings,
        folder: &Path,
        last: Option<u32>,
        roll: Option<KeyRollRecord>,
    ) -> Result<Self, DnsError> {
        let origin = settings.origin.clone();
        let keys = if settings.signed {
            Some(KeyRing::open(folder, &origin, roll)?)
        } else {
            None
        };
        let serial = last.map_or_else(now_secs, |last| next_serial(last, now_secs()));
        let zone = Zone {
            origin_key: key_of(&origin),
            nodes: Nodes::new(),
            serial,
            covers: 0,
            signed: keys.is_some(),
            // An address that is made on the way has no signature.
            embedding: settings
                .embedded
                .clone()
                .filter(|_| keys.is_none())
                .map(|allowed| Arc::new(Embedding { allowed })),
            journal: VecDeque::new(),
            origin,
        };
        let mut book = Self {
            contents: Contents::default(),
            zone: Arc::new(zone),
            settings,
            keys,
            signed_at: now_secs(),
        };
        let frame = book.frame()?;
        book.contents.replace(&Source::Zone, frame);
        let records = book.settings.records.clone();
        for record in &records {
            book.check(record)?;
        }
        book.contents
            .replace(&Source::Configuration, records.clone());
        book.check_together(&records)?;
        let names: Vec<Name> = book.contents.names().cloned().collect();
        book.rebuild(&names, serial);
        Ok(book)
    }

    /// Makes the records that every zone has.
    fn frame(&self) -> Result<Vec<Resource>, DnsError> {
        let settings = &self.settings;
        let origin = &settings.origin;
        let servers = if settings.servers.is_empty() {
            vec![origin.child("ns")?]
        } else {
            settings.servers.clone()
        };
        let mailbox = settings
            .mailbox
            .clone()
            .map_or_else(|| origin.child("hostmaster"), Ok)?;
        let resource = |name: &Name, kind, ttl, data| Resource {
            name: name.clone(),
            kind,
            ttl,
            data,
        };
        let mut soa = servers[0].wire().to_vec();
        soa.extend_from_slice(mailbox.wire());
        for number in [0, REFRESH, RETRY, EXPIRE, settings.negative_ttl] {
            soa.extend_from_slice(&number.to_be_bytes());
        }
        let ttl = settings.own_ttl;
        let mut records = vec![resource(origin, RrType::SOA, ttl, soa.into())];
        for server in &servers {
            records.push(resource(origin, RrType::NS, ttl, Box::from(server.wire())));
            let told = settings.records.iter().any(|record| record.name == *server);
            if server.is_within(origin) && !told {
                for ip in &settings.addresses {
                    let (kind, data) = data::address(*ip);
                    records.push(resource(server, kind, ttl, data));
                }
            }
        }
        records.extend(self.keys.iter().flat_map(|keys| keys.records(ttl)));
        Ok(records)
    }

    /// Tells whether a record may be put into the zone by somebody.
    pub(crate) fn check(&self, record: &Resource) -> Result<(), DnsError> {
        if !record.name.is_within(&self.zone.origin) {
            return Err(DnsError::NoZone {
                name: record.name.clone(),
            });
        }
        let at_top = record.name == self.zone.origin;
        let of_frame = record.kind == RrType::SOA
            || record.kind.is_of_signing()
            || matches!(record.kind, RrType::DNSKEY | RrType::CDS | RrType::CDNSKEY);
        if of_frame || record.kind.is_meta() {
            return Err(DnsError::Own {
                name: record.name.clone(),
                kind: record.kind,
            });
        }
        if at_top && record.kind == RrType::CNAME {
            return Err(DnsError::Alias {
                name: record.name.clone(),
                kind: record.kind,
            });
        }
        Ok(())
    }

    /// Refuses records of the configuration that cannot stand together: secondaries refuse such a zone as a whole.
    fn check_together(&self, records: &[Resource]) -> Result<(), DnsError> {
        for record in records {
            if let Some(clash) = self.contents.clash(record) {
                let (name, kind) = (&record.name, record.kind);
                return Err(DnsError::BadZone {
                    zone: self.zone.origin.clone(),
                    why: match clash {
                        Clash::Alias(other) => format!(
                            "`{name}` has {kind} beside {other}, and an alias (CNAME) stands alone under its name"
                        ),
                        Clash::Tree(other) => format!(
                            "`{name}` has {kind} beside `{other}`, and a DNAME leads all names below its own to one other tree"
                        ),
                    },
                });
            }
        }
        Ok(())
    }

    /// Makes the next serial out of what has changed; tells whether anything has.
    pub(crate) fn turn(&mut self, touched: &[Name]) -> bool {
        if touched.is_empty() {
            return false;
        }
        let serial = next_serial(self.zone.serial, now_secs());
        self.rebuild(touched, serial);
        true
    }

    /// Signs everything anew if signatures have become old; tells whether it did.
    pub(crate) fn renew(&mut self) -> bool {
        let now = now_secs();
        if self.keys.is_none() || now.wrapping_sub(self.signed_at) < sign::RENEWED_AFTER {
            return false;
        }
        self.sign_anew();
        true
    }

    /// Signs everything anew, with the keys of now.
    pub(crate) fn sign_anew(&mut self) {
        self.signed_at = now_secs();
        let names: Vec<Name> = self.contents.names().cloned().collect();
        self.turn(&names);
    }

    /// Shows what the keys want to be shown at the top of the zone.
    pub(crate) fn frame_anew(&mut self) -> Result<(), DnsError> {
        let frame = self.frame()?;
        let touched = self.contents.replace(&Source::Zone, frame);
        self.turn(&touched);
        Ok(())
    }

    /// Returns the longest time to live of its records, in seconds.
    pub(crate) fn longest_ttl(&self) -> u32 {
        let ttls = self.contents.all().map(|(_, record)| record.ttl);
        ttls.max().unwrap_or(self.settings.own_ttl)
    }

    fn rebuild(&mut self, touched: &[Name], serial: u32) {
        let mut next = Zone::clone(&self.zone);
        next.serial = serial;
        let origin = next.origin.clone();
        let mut changed = BTreeSet::new();
        for name in touched.iter().chain([&origin]) {
            let key = key_of(name);
            if !changed.insert(key.clone()) {
                continue;
            }
            let mut node = self.contents.node(name);
            if *name == origin
                && let Some(node) = &mut node
            {
                set_serial(node, serial);
            }
            set_node(&mut next, key, node);
        }
        if let Some(keys) = &self.keys {
            // A cut changes what belongs to the zone below it, and so does a DNAME.
            let is_turned = |key: &Arc<[u8]>| next.is_cover(key) != self.zone.is_cover(key);
            if changed.iter().any(is_turned) {
                changed.extend(next.nodes.keys().cloned());
            }
            changed = sign::touched(&next, &changed);
            sign::sign(&mut next, &keys.signers(), &changed, now_secs());
        }
        let before = changed.into_iter().map(|key| {
            let was = self.zone.nodes.get(&key).cloned();
            (key, was)
        });
        next.keep_difference(&self.zone, &before.collect());
        self.zone = Arc::new(next);
    }
}

fn set_serial(node: &mut Node, serial: u32) {
    let data = node
        .sets
        .iter_mut()
        .find(|set| set.kind == RrType::SOA)
        .and_then(|set| set.data.first_mut());
    if let Some(data) = data {
        let at = data.len() - 20;
        data[at..at + 4].copy_from_slice(&serial.to_be_bytes());
    }
}

fn set_node(zone: &mut Zone, key: Arc<[u8]>, node: Option<Node>) {
    let was = zone.is_cover(&key);
    let is = node.as_ref().is_some_and(|node| zone.covers(node));
    zone.covers = zone.covers + usize::from(is) - usize::from(was);
    match node {
        Some(node) => zone.nodes.insert(key, Arc::new(node)),
        None => zone.nodes.remove(&key),
    };
}

impl Zone {
    /// Remembers what distinguishes it from `old`, whose nodes of the changed keys are `before`.
    fn keep_difference(&mut self, old: &Self, before: &BTreeMap<Arc<[u8]>, Option<Arc<Node>>>) {
        let (Some(old_soa), Some(new_soa)) = (old.soa(), self.soa()) else {
            return;
        };
        let mut difference = Difference {
            from: old.serial,
            to: self.serial,
            old_soa,
            new_soa,
            removed: Vec::new(),
            added: Vec::new(),
        };
        for (key, was) in before {
            let old_rows = was.as_deref().map(rows).unwrap_or_default();
            let new_rows = self.node(key).map(rows).unwrap_or_default();
            difference.removed.extend(
                old_rows
                    .iter()
                    .filter(|row| !new_rows.contains(row))
                    .cloned(),
            );
            difference
                .added
                .extend(new_rows.into_iter().filter(|row| !old_rows.contains(row)));
        }
        self.journal.push_back(Arc::new(difference));
        if self.journal.len() > MOST_DIFFERENCES {
            self.journal.pop_front();
        }
    }

    /// Returns the SOA record.
    pub(crate) fn soa(&self) -> Option<Row> {
        let set = self.apex()?.set(RrType::SOA)?;
        Some(Row {
            name: self.origin.clone(),
            kind: RrType::SOA,
            ttl: set.ttl,
            data: set.data.first()?.clone(),
        })
    }
}

/// Returns the records of a node but its SOA, signatures included.
pub(crate) fn rows(node: &Node) -> Vec<Row> {
    let mut rows = Vec::new();
    for set in &node.sets {
        let mut push = |kind, data: &data::Data| {
            rows.push(Row {
                name: node.name.clone(),
                kind,
                ttl: set.ttl,
                data: data.clone(),
            });
        };
        if set.kind != RrType::SOA {
            set.data.iter().for_each(|data| push(set.kind, data));
        }
        set.signatures
            .iter()
            .for_each(|data| push(RrType::RRSIG, data));
    }
    rows
}

/// Returns the origin of the zone that a name lies in, among `origins`.
pub(crate) fn zone_of<'a, T>(
    books: &'a BTreeMap<Arc<[u8]>, T>,
    name: &Name,
) -> Option<&'a Arc<[u8]>> {
    zone_at(books, Key::of(name.wire()).octets())
}

/// Returns the origin of the zone that records of a name and a type belong into: the DS records of a zone are its parent's (RFC 4035 section 3.1.4.1).
pub(crate) fn zone_for<'a, T>(
    books: &'a BTreeMap<Arc<[u8]>, T>,
    name: &Name,
    kind: RrType,
) -> Option<&'a Arc<[u8]>> {
    let own = zone_of(books, name)?;
    if kind == RrType::DS && **own == *Key::of(name.wire()).octets() {
        return Some(zone_above(books, own).unwrap_or(own));
    }
    Some(own)
}

/// Returns the origin of the zone above the one with this origin, if that is here too.
pub(crate) fn zone_above<'a, T>(
    books: &'a BTreeMap<Arc<[u8]>, T>,
    origin: &[u8],
) -> Option<&'a Arc<[u8]>> {
    zone_at(books, key_above(origin)?)
}

/// Returns the origin of the zone that a key lies in.
fn zone_at<'a, T>(books: &'a BTreeMap<Arc<[u8]>, T>, key: &[u8]) -> Option<&'a Arc<[u8]>> {
    let mut at = key;
    loop {
        if let Some((origin, _)) = books.get_key_value(at) {
            return Some(origin);
        }
        at = key_above(at)?;
    }
}
