//! The keys of a zone: one, or two while the second takes the place of the first.

use crate::contents::Resource;
use crate::data::Data;
use crate::error::DnsError;
use crate::kind::RrType;
use crate::name::Name;
use crate::roll::{KeyRollRecord, Stage};
use crate::sign::ZoneKey;
use std::path::{Path, PathBuf};

/// The keys of one zone.
#[derive(Debug)]
pub(crate) struct KeyRing {
    folder: PathBuf,
    origin: Name,
    /// The key that has signed the longest.
    pub(crate) current: ZoneKey,
    /// The key that comes, and how far it has come.
    pub(crate) next: Option<(ZoneKey, KeyRollRecord)>,
}

impl KeyRing {
    /// Reads the keys, or makes the first one; `roll` is what is recorded of a roll that was under way.
    ///
    /// A roll whose new key has taken the place of the old one is over, whatever is recorded: the file is moved first.
    pub(crate) fn open(
        folder: &Path,
        origin: &Name,
        roll: Option<KeyRollRecord>,
    ) -> Result<Self, DnsError> {
        let current = ZoneKey::open(&current_path(folder, origin), origin)?;
        let next = match roll.filter(|roll| roll.new_tag != current.tag()) {
            Some(roll) => Some((ZoneKey::read(&next_path(folder, origin), origin)?, roll)),
            None => None,
        };
        Ok(Self {
            folder: folder.to_owned(),
            origin: origin.clone(),
            current,
            next,
        })
    }

    /// Makes the key that is to come, on disk only; returns its tag.
    ///
    /// Its tag differs from the other's: signatures name keys by it, and a record of the roll tells by it which key is which.
    pub(crate) fn make_next(&self) -> Result<ZoneKey, DnsError> {
        let path = next_path(&self.folder, &self.origin);
        loop {
            // One may be left of a roll that was never recorded.
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(DnsError::Key {
                        action: "make room for",
                        path,
                        source: error.into(),
                    });
                }
                _ => {}
            }
            let key = ZoneKey::open(&path, &self.origin)?;
            if key.tag() != self.current.tag() {
                return Ok(key);
            }
        }
    }

    /// Lets the new key take the place of the old one, whose private half is gone then.
    pub(crate) fn replace(&mut self) -> Result<(), DnsError> {
        let Some((key, roll)) = self.next.take() else {
            return Ok(());
        };
        let path = next_path(&self.folder, &self.origin);
        let moved = std::fs::rename(&path, current_path(&self.folder, &self.origin))
            .and_then(|()| std::fs::File::open(&self.folder)?.sync_all());
        if let Err(error) = moved {
            self.next = Some((key, roll));
            return Err(DnsError::Key {
                action: "put in its place",
                path,
                source: error.into(),
            });
        }
        self.current = key;
        Ok(())
    }

    /// Returns the keys that sign: all of them, so that whoever remembers only one of them can follow.
    pub(crate) fn signers(&self) -> Vec<&ZoneKey> {
        let next = self.next.iter().map(|(key, _)| key);
        std::iter::once(&self.current).chain(next).collect()
    }

    /// Returns the key that the parent shall name.
    pub(crate) fn wanted(&self) -> &ZoneKey {
        match &self.next {
            Some((key, roll)) if !matches!(roll.stage, Stage::Publishing { .. }) => key,
            _ => &self.current,
        }
    }

    /// Returns the records that the top of the zone has of them: the keys, and what the parent shall have (RFC 7344, RFC 8078).
    pub(crate) fn records(&self, ttl: u32) -> Vec<Resource> {
        let record = |kind, data: Data| Resource {
            name: self.origin.clone(),
            kind,
            ttl,
            data,
        };
        let mut records: Vec<Resource> = self
            .signers()
            .into_iter()
            .map(|key| record(RrType::DNSKEY, key.dnskey().into()))
            .collect();
        records.push(record(RrType::CDNSKEY, self.wanted().dnskey().into()));
        records.push(record(RrType::CDS, self.wanted().ds()));
        records
    }
}

fn current_path(folder: &Path, origin: &Name) -> PathBuf {
    folder.join(format!("zone-{}.key", crate::sign::file_of(origin)))
}

/// Its beginning differs, not its end: `zone-x.next.key` may be the key of a zone `x.next`.
fn next_path(folder: &Path, origin: &Name) -> PathBuf {
    folder.join(format!("next-{}.key", crate::sign::file_of(origin)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roll(ring: &KeyRing, new: &ZoneKey, stage: Stage) -> KeyRollRecord {
        KeyRollRecord {
            old_tag: ring.current.tag(),
            new_tag: new.tag(),
            begun_ms: 0,
            stage,
        }
    }

    #[test]
    fn a_key_that_comes_is_found_again_and_one_that_has_come_needs_no_record() {
        let dir = tempfile::tempdir().unwrap();
        let origin = Name::parse("example.test").unwrap();
        let mut ring = KeyRing::open(dir.path(), &origin, None).unwrap();
        let old = ring.current.tag();
        // Left of a roll that was never recorded.
        drop(ring.make_next().unwrap());
        let key = ring.make_next().unwrap();
        let (new, record) = (key.tag(), roll(&ring, &key, Stage::Parent { since_ms: 0 }));
        assert_ne!(old, new);
        ring.next = Some((key, record.clone()));
        let again = KeyRing::open(dir.path(), &origin, Some(record.clone())).unwrap();
        let tags =
            |ring: &KeyRing| -> Vec<u16> { ring.signers().into_iter().map(ZoneKey::tag).collect() };
        assert_eq!((tags(&again), again.wanted().tag()), (vec![old, new], new));

        ring.replace().unwrap();
        assert_eq!(tags(&ring), [new]);
        // A crash behind the move and before the record goes.
        let again = KeyRing::open(dir.path(), &origin, Some(record)).unwrap();
        assert_eq!((tags(&again), again.next.is_none()), (vec![new], true));
    }

    #[test]
    fn the_parent_is_asked_for_the_new_key_only_when_everybody_can_know_it() {
        let dir = tempfile::tempdir().unwrap();
        let origin = Name::parse("example.test").unwrap();
        let mut ring = KeyRing::open(dir.path(), &origin, None).unwrap();
        let (old, key) = (ring.current.tag(), ring.make_next().unwrap());
        let new = key.tag();
        let record = roll(&ring, &key, Stage::Publishing { until_ms: 1 });
        ring.next = Some((key, record));
        assert_eq!(ring.wanted().tag(), old);
        let kinds: Vec<RrType> = ring.records(300).iter().map(|record| record.kind).collect();
        assert_eq!(
            kinds,
            [RrType::DNSKEY, RrType::DNSKEY, RrType::CDNSKEY, RrType::CDS]
        );
        for stage in [
            Stage::Parent { since_ms: 1 },
            Stage::Retiring { until_ms: 2 },
        ] {
            if let Some((_, record)) = &mut ring.next {
                record.stage = stage;
            }
            assert_eq!(ring.wanted().tag(), new);
        }
    }
}
