//! Signing of zones in the process (RFC 4033 to 4035, ECDSA P-256 by RFC 6605): what changes is signed anew, nothing else.
//!
//! One key signs everything (`crate::keyring`: two while it is rolled; a combined key, RFC 6781 section 3.1.4.1): its private half never leaves the machine that serves, so a second one would guard nothing.

use crate::data::Data;
use crate::error::DnsError;
use crate::kind::RrType;
use crate::name::{Name, key_above};
use crate::settings::USUAL_TTL;
use crate::wire::CLASS_IN;
use crate::zone::{Node, RrSet, Zone};
use ring::digest;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use std::collections::BTreeSet;
use std::fmt;
use std::io::Write;
use std::ops::Bound;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

/// The number of ECDSA with P-256 and SHA-256 (RFC 6605).
pub(crate) const ALGORITHM: u8 = 13;
/// A zone key that its parent knows the digest of (RFC 4034 section 2.1.1, RFC 3757).
const FLAGS: u16 = 257;
/// Seconds that a signature is older than it is, for clocks that are behind.
const BACKDATED: u32 = 3600;
/// Seconds that a signature holds: two weeks, of which the second is for a server that is down.
const HOLDS: u32 = 14 * 86_400;
/// Age in seconds at which all signatures of a zone are made anew.
pub(crate) const RENEWED_AFTER: u32 = 6 * 86_400;

/// A key of a zone.
pub(crate) struct ZoneKey {
    pair: EcdsaKeyPair,
    random: SystemRandom,
    origin: Name,
    /// The data of the DNSKEY record.
    public: Data,
    tag: u16,
}

impl fmt::Debug for ZoneKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ZoneKey")
            .field("origin", &self.origin)
            .field("tag", &self.tag)
            .finish_non_exhaustive()
    }
}

impl ZoneKey {
    /// Reads a key of a zone, or makes one: folder 0700, file 0600.
    pub(crate) fn open(path: &Path, origin: &Name) -> Result<Self, DnsError> {
        let fault = |action, source| fault(action, path, source);
        match std::fs::symlink_metadata(path) {
            Ok(_) => Self::read(path, origin),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let made = EcdsaKeyPair::generate_pkcs8(
                    &ECDSA_P256_SHA256_FIXED_SIGNING,
                    &SystemRandom::new(),
                )
                .map_err(|_| fault("make", "the system gives no random numbers".into()))?;
                keep(path, made.as_ref()).map_err(|e| fault("keep", e.into()))?;
                Self::of(made.as_ref(), origin).map_err(|e| fault("understand", e.into()))
            }
            Err(error) => Err(fault("read", error.into())),
        }
    }

    /// Reads a key of a zone that must be there.
    pub(crate) fn read(path: &Path, origin: &Name) -> Result<Self, DnsError> {
        let octets = std::fs::read(path).map_err(|e| fault("read", path, e.into()))?;
        Self::of(&octets, origin).map_err(|e| fault("understand", path, e.into()))
    }

    fn of(octets: &[u8], origin: &Name) -> Result<Self, String> {
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, octets, &random)
            .map_err(|e| e.to_string())?;
        let mut public = FLAGS.to_be_bytes().to_vec();
        public.extend_from_slice(&[3, ALGORITHM]);
        // Without the octet that says that both coordinates follow (RFC 6605 section 4).
        public.extend_from_slice(&pair.public_key().as_ref()[1..]);
        Ok(Self {
            pair,
            random,
            origin: origin.clone(),
            tag: tag(&public),
            public: public.into(),
        })
    }

    /// Returns the number by which signatures name it.
    pub(crate) fn tag(&self) -> u16 {
        self.tag
    }

    /// Returns the data of its DNSKEY record.
    pub(crate) fn dnskey(&self) -> &[u8] {
        &self.public
    }

    /// Returns the data of the DS record that belongs into the parent (RFC 4034 section 5.1.4, SHA-256 by RFC 4509).
    pub(crate) fn ds(&self) -> Data {
        self.digested(2, &digest::SHA256)
    }

    /// Returns the data of its DS record by another digest: 2 is SHA-256, 4 is SHA-384 (RFC 6605); nothing for others.
    pub(crate) fn digest(&self, kind: u8) -> Option<Data> {
        match kind {
            2 => Some(self.ds()),
            4 => Some(self.digested(4, &digest::SHA384)),
            _ => None,
        }
    }

    /// Tells whether the data of a DS record is about this key.
    pub(crate) fn is_named_by(&self, ds: &[u8]) -> bool {
        ds.get(3)
            .and_then(|kind| self.digest(*kind))
            .is_some_and(|own| *own == *ds)
    }

    fn digested(&self, kind: u8, by: &'static digest::Algorithm) -> Data {
        let mut covered = self.origin.wire().to_vec();
        covered.extend_from_slice(&self.public);
        let mut data = self.tag.to_be_bytes().to_vec();
        data.extend_from_slice(&[ALGORITHM, kind]);
        data.extend_from_slice(digest::digest(by, &covered).as_ref());
        data.into()
    }

    /// Signs a set (RFC 4034 section 3.1.8.1).
    fn sign(&self, owner: &Name, set: &RrSet, now: u32) -> Data {
        let labels = owner.count() - usize::from(owner.is_wildcard());
        let mut data = set.kind.0.to_be_bytes().to_vec();
        data.push(ALGORITHM);
        // At most 127.
        data.push(u8::try_from(labels).unwrap_or(u8::MAX));
        for number in [
            set.ttl,
            now.wrapping_add(HOLDS),
            now.wrapping_sub(BACKDATED),
        ] {
            data.extend_from_slice(&number.to_be_bytes());
        }
        data.extend_from_slice(&self.tag.to_be_bytes());
        data.extend_from_slice(self.origin.wire());
        let mut covered = data.clone();
        for record in &set.data {
            covered.extend_from_slice(owner.wire());
            covered.extend_from_slice(&set.kind.0.to_be_bytes());
            covered.extend_from_slice(&CLASS_IN.to_be_bytes());
            covered.extend_from_slice(&set.ttl.to_be_bytes());
            covered.extend_from_slice(
                &u16::try_from(record.len())
                    .unwrap_or(u16::MAX)
                    .to_be_bytes(),
            );
            covered.extend_from_slice(record);
        }
        let signature = self.pair.sign(&self.random, &covered).expect(
            "ring refuses to sign only without random numbers, which getrandom(2) always gives",
        );
        data.extend_from_slice(signature.as_ref());
        data.into()
    }
}

fn fault(
    action: &'static str,
    path: &Path,
    source: Box<dyn std::error::Error + Send + Sync>,
) -> DnsError {
    DnsError::Key {
        action,
        path: path.to_owned(),
        source,
    }
}

/// Returns what a zone is called in names of files.
pub(crate) fn file_of(origin: &Name) -> String {
    // A name has no `/` outside of escapes, and escapes are digits but for seven signs; a slash is written `\047` by nobody, so it is replaced.
    origin
        .bare()
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') {
                c
            } else {
                '+'
            }
        })
        .collect()
}

fn keep(path: &Path, octets: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    // Whole or not at all: half a key would keep the zone from being served.
    let fresh = path.with_extension("new");
    let _ = std::fs::remove_file(&fresh);
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&fresh)?;
    file.write_all(octets)?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)?;
    std::fs::File::open(folder)?.sync_all()
}

/// The number by which signatures name a key (RFC 4034 appendix B).
fn tag(public: &[u8]) -> u16 {
    let sum: u32 = public
        .iter()
        .enumerate()
        .map(|(at, octet)| {
            if at % 2 == 0 {
                u32::from(*octet) << 8
            } else {
                u32::from(*octet)
            }
        })
        .sum();
    let folded = sum + (sum >> 16 & 0xffff);
    // The low half.
    u16::try_from(folded & 0xffff).unwrap_or(0)
}

/// Returns the keys whose nodes are to be signed when `changed` have changed: they and the names before them, whose NSEC records lead on.
pub(crate) fn touched(zone: &Zone, changed: &BTreeSet<Arc<[u8]>>) -> BTreeSet<Arc<[u8]>> {
    let mut all = changed.clone();
    for key in changed {
        let before = zone
            .nodes
            .range::<[u8], _>((Bound::Unbounded, Bound::Excluded(&**key)))
            .rev();
        let last = zone.nodes.iter().rev();
        if let Some((key, _)) = before.chain(last).find(|(key, _)| !is_covered(zone, key)) {
            all.insert(key.clone());
        }
    }
    all
}

/// Signs the nodes at `places` with each of `keys`; sets that have signatures keep them.
pub(crate) fn sign(zone: &mut Zone, keys: &[&ZoneKey], places: &BTreeSet<Arc<[u8]>>, now: u32) {
    let soa = zone.soa();
    let minimum = soa.as_ref().and_then(|soa| {
        soa.data
            .last_chunk::<4>()
            .map(|octets| u32::from_be_bytes(*octets))
    });
    let ttl = minimum
        .unwrap_or(USUAL_TTL)
        .min(soa.map_or(USUAL_TTL, |soa| soa.ttl));
    for at in places {
        let Some(node) = zone.nodes.get(at) else {
            continue;
        };
        let mut node = Node::clone(node);
        if is_covered(zone, at) {
            for set in &mut node.sets {
                set.signatures.clear();
            }
            node.sets.retain(|set| set.kind != RrType::NSEC);
        } else {
            let is_cut = zone.is_cut(&node);
            let next = next_name(zone, at);
            put_nsec(&mut node, &next, ttl, is_cut);
            for set in &mut node.sets {
                if is_cut && !matches!(set.kind, RrType::DS | RrType::NSEC) {
                    set.signatures.clear();
                } else if set.signatures.is_empty() {
                    let made = keys.iter().map(|key| key.sign(&node.name, set, now));
                    set.signatures = made.collect();
                }
            }
        }
        zone.nodes.insert(at.clone(), Arc::new(node));
    }
}

/// Tells whether a node lies below a cut or a DNAME: it is not this zone's to answer.
fn is_covered(zone: &Zone, key: &[u8]) -> bool {
    if zone.covers == 0 {
        return false;
    }
    std::iter::successors(key_above(key), |at| key_above(at))
        .take_while(|at| at.len() >= zone.origin_key.len())
        .any(|at| zone.is_cover(at))
}

/// Returns the name behind `key` in the chain; behind the last comes the first.
fn next_name(zone: &Zone, key: &[u8]) -> Name {
    zone.nodes
        .range::<[u8], _>((Bound::Excluded(key), Bound::Unbounded))
        .find(|(key, _)| !is_covered(zone, key))
        .map_or_else(|| zone.origin.clone(), |(_, node)| node.name.clone())
}

/// Puts the record that says what the node has and which name is next (RFC 4034 section 4).
fn put_nsec(node: &mut Node, next: &Name, ttl: u32, is_cut: bool) {
    let mut kinds: BTreeSet<u16> = node
        .sets
        .iter()
        .map(|set| set.kind)
        // Addresses at a cut are glue (RFC 4035 section 2.3).
        .filter(|kind| !is_cut || matches!(*kind, RrType::NS | RrType::DS))
        .map(|kind| kind.0)
        .collect();
    kinds.extend([RrType::RRSIG.0, RrType::NSEC.0]);
    let mut data = next.wire().to_vec();
    data.extend_from_slice(&bitmap(&kinds));
    let data: Data = data.into();
    if let Some(set) = node.sets.iter_mut().find(|set| set.kind == RrType::NSEC) {
        if set.data[0] != data || set.ttl != ttl {
            set.data = vec![data];
            set.ttl = ttl;
            set.signatures.clear();
        }
        return;
    }
    node.sets.push(RrSet {
        kind: RrType::NSEC,
        ttl,
        data: vec![data],
        signatures: Vec::new(),
    });
    node.sets.sort_by_key(|set| set.kind);
}

/// Writes types as windows of bits (RFC 4034 section 4.1.2).
fn bitmap(kinds: &BTreeSet<u16>) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut window: Option<(u8, [u8; 32])> = None;
    let mut flush = |window: Option<(u8, [u8; 32])>| {
        if let Some((number, bits)) = window {
            let length = bits
                .iter()
                .rposition(|octet| *octet != 0)
                .map_or(0, |at| at + 1);
            octets.push(number);
            octets.push(u8::try_from(length).unwrap_or(32));
            octets.extend_from_slice(&bits[..length]);
        }
    };
    for kind in kinds {
        let [number, low] = kind.to_be_bytes();
        if window.is_none_or(|(other, _)| other != number) {
            flush(window.take());
            window = Some((number, [0; 32]));
        }
        if let Some((_, bits)) = &mut window {
            bits[usize::from(low / 8)] |= 0x80 >> (low % 8);
        }
    }
    flush(window);
    octets
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn types_are_written_as_windows_of_bits() {
        // The example of RFC 4034 section 4.3: A MX RRSIG NSEC TYPE1234.
        let kinds = BTreeSet::from([1, 15, 46, 47, 1234]);
        let mut expected = vec![0, 6, 0x40, 1, 0, 0, 0, 3, 4, 27];
        expected.extend([0; 26]);
        expected.push(0x20);
        assert_eq!(bitmap(&kinds), expected);
    }

    #[test]
    fn a_key_is_made_once_and_closed_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("dns");
        let path = folder.join("zone-example.test.key");
        let origin = Name::parse("example.test").unwrap();
        let first = ZoneKey::open(&path, &origin).unwrap();
        let again = ZoneKey::open(&path, &origin).unwrap();
        assert_eq!(first.ds(), again.ds());
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&path)), (0o700, 0o600));
        std::fs::write(&path, b"half").unwrap();
        assert!(ZoneKey::open(&path, &origin).is_err());
    }
}
