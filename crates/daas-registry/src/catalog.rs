//! Everything that the registry has, in memory: which repository has what, who needs it, how much room it takes.
//!
//! The records on disk are the truth; this is what they say, kept so that a question costs no disk. Every change is
//! written first and made here after it, under the turn of its repository ([`crate::registry`]); only the taking away of
//! blobs goes the other way round, so that nobody relies on one that is about to go.

use crate::name::{Repository, Tag};
use crate::record::{BlobRecord, ManifestRecord, TagRecord};
use daas_image::Digest;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// A repository.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    pub(crate) tags: BTreeMap<Tag, TagRecord>,
    pub(crate) manifests: HashMap<Digest, Arc<ManifestRecord>>,
    pub(crate) blobs: HashMap<Digest, Link>,
    /// Manifests by what they are about.
    pub(crate) about: HashMap<Digest, BTreeSet<Digest>>,
}

impl Shelf {
    /// Returns how many bytes a manifest takes with everything below it that is here; what it has several times counts once.
    pub(crate) fn weight(&self, manifest: &Digest) -> u64 {
        let (mut weighed, mut left) = (BTreeSet::new(), vec![manifest]);
        let mut sum = 0;
        while let Some(digest) = left.pop() {
            if !weighed.insert(digest) {
                continue;
            }
            if let Some(record) = self.manifests.get(digest) {
                sum += record.size;
                left.extend(record.parts.iter().chain(&record.children));
            } else if let Some(link) = self.blobs.get(digest) {
                sum += link.size;
            }
        }
        sum
    }
}

/// A blob that a repository has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Link {
    pub(crate) size: u64,
    /// When somebody last relied on it, Unix milliseconds.
    pub(crate) touched_ms: u64,
    /// How many manifests of the repository are made of it.
    pub(crate) users: u32,
}

/// How much room a project takes.
#[derive(Debug, Default)]
struct Room {
    /// Contents with the number of repositories that have them.
    contents: HashMap<Digest, (u32, u64)>,
    bytes: u64,
}

/// All repositories.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    shelves: BTreeMap<Repository, Shelf>,
    /// How many repositories have a content as blob or manifest.
    counts: HashMap<Digest, u32>,
    rooms: HashMap<String, Room>,
}

impl Catalog {
    pub(crate) fn shelf(&self, repository: &Repository) -> Option<&Shelf> {
        self.shelves.get(repository)
    }

    pub(crate) fn shelves(&self) -> impl Iterator<Item = (&Repository, &Shelf)> {
        self.shelves.iter()
    }

    /// Tells whether any repository has this content.
    pub(crate) fn has(&self, digest: &Digest) -> bool {
        self.counts.contains_key(digest)
    }

    /// Returns how many bytes the repositories of a project hold; what several of them have counts once.
    pub(crate) fn bytes_of(&self, space: &str) -> u64 {
        self.rooms.get(space).map_or(0, |room| room.bytes)
    }

    /// Returns how many bytes more a project would take with these contents.
    pub(crate) fn growth(&self, space: &str, contents: &[(&Digest, u64)]) -> u64 {
        let room = self.rooms.get(space);
        contents
            .iter()
            .filter(|(digest, _)| !room.is_some_and(|room| room.contents.contains_key(*digest)))
            .map(|(_, size)| size)
            .sum()
    }

    /// Returns a blob of a repository, and says that somebody relies on it now.
    pub(crate) fn touch(
        &mut self,
        repository: &Repository,
        digest: &Digest,
        now_ms: u64,
    ) -> Option<Link> {
        let link = self.shelves.get_mut(repository)?.blobs.get_mut(digest)?;
        link.touched_ms = link.touched_ms.max(now_ms);
        Some(*link)
    }

    pub(crate) fn add_blob(&mut self, record: &BlobRecord) {
        let shelf = self.shelves.entry(record.repository.clone()).or_default();
        if let Some(known) = shelf.blobs.get_mut(&record.digest) {
            known.touched_ms = known.touched_ms.max(record.since_ms);
            return;
        }
        let users = shelf
            .manifests
            .values()
            .filter(|manifest| manifest.parts.contains(&record.digest))
            .count();
        shelf.blobs.insert(
            record.digest.clone(),
            Link {
                size: record.size,
                touched_ms: record.since_ms,
                users: u32::try_from(users).unwrap_or(u32::MAX),
            },
        );
        self.count(record.repository.space(), &record.digest, record.size);
    }

    pub(crate) fn drop_blob(&mut self, repository: &Repository, digest: &Digest) -> Option<Link> {
        let link = self.shelves.get_mut(repository)?.blobs.remove(digest)?;
        self.uncount(repository.space(), digest);
        self.tidy(repository);
        Some(link)
    }

    /// Takes away a blob that no manifest needs and nobody has relied on since `before_ms`: looked at and done in one step.
    pub(crate) fn drop_idle(
        &mut self,
        repository: &Repository,
        digest: &Digest,
        before_ms: u64,
    ) -> Option<Link> {
        let link = self.shelves.get(repository)?.blobs.get(digest)?;
        if link.users > 0 || link.touched_ms > before_ms {
            return None;
        }
        self.drop_blob(repository, digest)
    }

    pub(crate) fn add_manifest(&mut self, record: ManifestRecord) {
        let repository = record.repository.clone();
        let shelf = self.shelves.entry(repository.clone()).or_default();
        if let Some(known) = shelf.manifests.get_mut(&record.digest) {
            // The same content: only its time is new.
            *known = Arc::new(record);
            return;
        }
        for part in &record.parts {
            if let Some(link) = shelf.blobs.get_mut(part) {
                link.users += 1;
            }
        }
        if let Some(subject) = &record.subject {
            shelf
                .about
                .entry(subject.clone())
                .or_default()
                .insert(record.digest.clone());
        }
        let (digest, size) = (record.digest.clone(), record.size);
        shelf.manifests.insert(digest.clone(), Arc::new(record));
        self.count(repository.space(), &digest, size);
    }

    /// Takes a manifest away with the tags that mean it.
    pub(crate) fn drop_manifest(&mut self, repository: &Repository, digest: &Digest, now_ms: u64) {
        let Some(shelf) = self.shelves.get_mut(repository) else {
            return;
        };
        let Some(manifest) = shelf.manifests.remove(digest) else {
            return;
        };
        shelf.tags.retain(|_, tag| tag.digest != *digest);
        for part in &manifest.parts {
            if let Some(link) = shelf.blobs.get_mut(part) {
                link.users = link.users.saturating_sub(1);
                // The grace of what nobody needs begins now: a client that has just seen it may push the next manifest with it.
                link.touched_ms = link.touched_ms.max(now_ms);
            }
        }
        if let Some(subject) = &manifest.subject
            && let Some(about) = shelf.about.get_mut(subject)
        {
            about.remove(digest);
            if about.is_empty() {
                shelf.about.remove(subject);
            }
        }
        self.uncount(repository.space(), digest);
        self.tidy(repository);
    }

    pub(crate) fn set_tag(&mut self, record: TagRecord) {
        self.shelves
            .entry(record.repository.clone())
            .or_default()
            .tags
            .insert(record.tag.clone(), record);
    }

    pub(crate) fn drop_tag(&mut self, repository: &Repository, tag: &Tag) {
        if let Some(shelf) = self.shelves.get_mut(repository) {
            shelf.tags.remove(tag);
        }
        self.tidy(repository);
    }

    /// Forgets a repository that has nothing.
    fn tidy(&mut self, repository: &Repository) {
        if self.shelves.get(repository).is_some_and(|shelf| {
            shelf.tags.is_empty() && shelf.manifests.is_empty() && shelf.blobs.is_empty()
        }) {
            self.shelves.remove(repository);
        }
    }

    fn count(&mut self, space: &str, digest: &Digest, size: u64) {
        *self.counts.entry(digest.clone()).or_default() += 1;
        let room = self.rooms.entry(space.to_owned()).or_default();
        let content = room.contents.entry(digest.clone()).or_insert((0, size));
        if content.0 == 0 {
            room.bytes += content.1;
        }
        content.0 += 1;
    }

    fn uncount(&mut self, space: &str, digest: &Digest) {
        if let Some(count) = self.counts.get_mut(digest) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(digest);
            }
        }
        let Some(room) = self.rooms.get_mut(space) else {
            return;
        };
        if let Some(content) = room.contents.get_mut(digest) {
            content.0 -= 1;
            if content.0 == 0 {
                room.bytes -= content.1;
                room.contents.remove(digest);
            }
        }
        if room.contents.is_empty() {
            self.rooms.remove(space);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(text: &str) -> Repository {
        Repository::parse(text).unwrap()
    }

    fn blob(name: &str, content: &[u8]) -> BlobRecord {
        BlobRecord {
            repository: repository(name),
            digest: Digest::of(content),
            size: content.len() as u64,
            since_ms: 1,
        }
    }

    #[test]
    fn what_two_repositories_of_a_project_have_takes_room_once() {
        let mut catalog = Catalog::default();
        let same = b"12345";
        for name in ["shop/a", "shop/b", "blog/a"] {
            catalog.add_blob(&blob(name, same));
            catalog.add_blob(&blob(name, same));
        }
        assert_eq!((catalog.bytes_of("shop"), catalog.bytes_of("blog")), (5, 5));
        let digest = Digest::of(same);
        assert_eq!(
            catalog.growth("shop", &[(&digest, 5), (&Digest::of(b"x"), 1)]),
            1
        );
        catalog.drop_blob(&repository("shop/a"), &digest);
        assert_eq!(catalog.bytes_of("shop"), 5);
        catalog.drop_blob(&repository("shop/b"), &digest);
        assert!(catalog.bytes_of("shop") == 0 && catalog.has(&digest));
        catalog.drop_blob(&repository("blog/a"), &digest);
        assert!(!catalog.has(&digest) && catalog.shelves().next().is_none());
        assert!(catalog.rooms.is_empty() && catalog.counts.is_empty());
    }
}
