//! What a layer of authorities holds, over a certain image.

use super::places::Places;
use super::roots::Roots;
use super::{AUTHORITIES_BEGIN, AUTHORITIES_END, Shown, keystore};
use daas_image::{Digest, Merged};
use rustix::fs::{AtFlags, CWD, FileType, Stat, Timespec, Timestamps, utimensat};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

/// No list is larger: Mozilla's has 0.2 MB.
const LARGEST: u64 = 8 << 20;
/// Authorities of one name in one folder; OpenSSL looks no further than the first number that is missing.
const NAMESAKES: usize = 16;

/// A folder on the way, or a file: parts of its path.
pub(super) type Parts = Vec<Vec<u8>>;

/// What a layer will hold: sorted, so that folders come before what is in them.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) folders: BTreeMap<Parts, Look>,
    pub(super) files: BTreeMap<Parts, (Look, Vec<u8>)>,
}

/// Owner, mode and time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mode: u32,
    pub(super) seconds: i64,
}

impl Look {
    pub(super) const FOLDER: Self = Self {
        uid: 0,
        gid: 0,
        mode: 0o755,
        seconds: 0,
    };
    const FILE: Self = Self {
        mode: 0o644,
        ..Self::FOLDER
    };

    pub(super) fn of(stat: &Stat) -> Self {
        Self {
            uid: stat.st_uid,
            gid: stat.st_gid,
            mode: stat.st_mode & 0o7777,
            seconds: stat.st_mtime,
        }
    }

    pub(super) fn give(self, path: &Path) -> io::Result<()> {
        chown(path, Some(self.uid), Some(self.gid))?;
        fs::set_permissions(path, fs::Permissions::from_mode(self.mode))?;
        let time = Timespec {
            tv_sec: self.seconds,
            tv_nsec: 0,
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        Ok(utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

/// Looks for the places of authorities in an image, and makes those that its distribution reads where it has none.
pub(super) fn plan(
    below: &Merged,
    environment: &BTreeMap<String, String>,
    roots: &Roots,
    shown: Shown,
) -> io::Result<Plan> {
    let mut planner = Planner {
        below,
        roots,
        plan: Plan::default(),
    };
    let places = Places::of(below, environment)?;
    planner.bundles(&places)?;
    planner.folders()?;
    if shown == Shown::Stand {
        for store in &places.keystores {
            planner.change(store, |store| {
                keystore::with_roots(store, roots.each.iter().map(|root| &root.der[..]))
            })?;
        }
        planner.make(super::ALONE, roots.pem.clone().into_bytes())?;
    }
    planner.ways()?;
    Ok(planner.plan)
}

/// Returns a list of authorities of an image with its true path and its look; nothing if there is none, or what is there is too large to be one.
pub(super) fn list(below: &Merged, path: &str) -> io::Result<Option<(Parts, Look, Vec<u8>)>> {
    // An image whose links go round is its own trouble.
    let Ok((parts, Some(found))) = below.land(path.as_bytes()) else {
        return Ok(None);
    };
    let size = u64::try_from(found.stat().st_size).unwrap_or(u64::MAX);
    if found.kind() != FileType::RegularFile || size > LARGEST {
        return Ok(None);
    }
    let mut content = Vec::new();
    found.open()?.take(LARGEST).read_to_end(&mut content)?;
    Ok(Some((parts, Look::of(found.stat()), content)))
}

struct Planner<'a> {
    below: &'a Merged,
    roots: &'a Roots,
    plan: Plan,
}

impl Planner<'_> {
    /// Adds to every bundle; where the system has none, makes one of ours alone.
    fn bundles(&mut self, places: &Places) -> io::Result<()> {
        let marked = [AUTHORITIES_BEGIN, &self.roots.pem, AUTHORITIES_END].concat();
        let add = |content: &[u8]| {
            let mut content = content.to_vec();
            if content.last().is_some_and(|last| *last != b'\n') {
                content.push(b'\n');
            }
            content.extend_from_slice(marked.as_bytes());
            Some(content)
        };
        let mut found = false;
        for bundle in &places.bundles {
            found |= self.change(bundle, add)?;
        }
        for missing in places.missing.iter().filter(|_| !found) {
            self.make(missing, marked.clone().into_bytes())?;
        }
        for bundle in &places.of_programs {
            self.change(bundle, add)?;
        }
        Ok(())
    }

    /// Puts each authority where OpenSSL looks for it by its name, if that folder is or will be there.
    fn folders(&mut self) -> io::Result<()> {
        let Ok((folder, found)) = self.below.land(b"/etc/ssl/certs") else {
            return Ok(());
        };
        let there = found.is_some_and(|found| found.kind() == FileType::Directory);
        if !there && !self.plan.files.keys().any(|path| path.starts_with(&folder)) {
            return Ok(());
        }
        for root in &self.roots.each {
            for number in 0..NAMESAKES {
                let mut path = folder.clone();
                path.push(format!("{}.{number}", root.hash).into_bytes());
                let taken = self.plan.files.contains_key(&path)
                    || self.below.find(&slices(&path))?.is_some();
                if !taken {
                    let text = [AUTHORITIES_BEGIN, &root.pem, AUTHORITIES_END].concat();
                    self.plan
                        .files
                        .insert(path, (Look::FILE, text.into_bytes()));
                    break;
                }
            }
        }
        Ok(())
    }

    /// Gives a file of the image another content; tells whether there is such a file.
    fn change(
        &mut self,
        path: &str,
        change: impl Fn(&[u8]) -> Option<Vec<u8>>,
    ) -> io::Result<bool> {
        let Some((parts, look, content)) = list(self.below, path)? else {
            return Ok(false);
        };
        if let Entry::Vacant(place) = self.plan.files.entry(parts)
            && let Some(content) = change(&content)
        {
            place.insert((look, content));
        }
        Ok(true)
    }

    /// Makes a file that the image has not, if nothing is in its way.
    fn make(&mut self, path: &str, content: Vec<u8>) -> io::Result<()> {
        let Ok((parts, None)) = self.below.land(path.as_bytes()) else {
            return Ok(());
        };
        for end in 1..parts.len() {
            let on_the_way = self.below.find(&slices(&parts[..end]))?;
            if on_the_way.is_some_and(|found| found.kind() != FileType::Directory) {
                return Ok(());
            }
        }
        self.plan.files.insert(parts, (Look::FILE, content));
        Ok(())
    }

    /// Adds the folders on the way to all files, as the image has them.
    fn ways(&mut self) -> io::Result<()> {
        let plan = &mut self.plan;
        for path in plan.files.keys() {
            for end in 0..path.len() {
                if !plan.folders.contains_key(&path[..end]) {
                    let found = self.below.find(&slices(&path[..end]))?;
                    let look = found.map_or(Look::FOLDER, |found| Look::of(found.stat()));
                    plan.folders.insert(path[..end].to_vec(), look);
                }
            }
        }
        Ok(())
    }
}

fn slices(parts: &[Vec<u8>]) -> Vec<&[u8]> {
    parts.iter().map(Vec::as_slice).collect()
}

impl Plan {
    /// Names what it says: equal layers are one.
    pub(super) fn digest(&self) -> Digest {
        let mut bytes = Vec::new();
        let mut add = |parts: &Parts, look: &Look, content: &[u8]| {
            let head = format!("{:?} {look:?} {}\n", parts.join(&b'/'), content.len());
            bytes.extend_from_slice(head.as_bytes());
            bytes.extend_from_slice(content);
        };
        for (parts, look) in &self.folders {
            add(parts, look, b"");
        }
        for (parts, (look, content)) in &self.files {
            add(parts, look, content);
        }
        Digest::of(&bytes)
    }
}
