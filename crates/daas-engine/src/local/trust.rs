//! The platform's own authority inside of nodes: a layer over those of the image, with the image's own bundle of authorities and ours behind it.
//!
//! A layer and no mount: programs that make the bundle anew (`update-ca-certificates`) put another file in its place, which a mount point
//! would refuse them. Nothing of the image is changed: the layer lies below what the node writes, and our lines stand between two marks by
//! which a build finds them in files that a command has changed.

use super::lock;
use crate::error::EngineError;
use daas_image::{Digest, Found, Merged};
use daas_model::AUTHORITIES;
use rustix::fs::{AtFlags, CWD, FileType, Stat, Timespec, Timestamps, utimensat};
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

/// The line before the platform's own authorities in a bundle.
pub const AUTHORITIES_BEGIN: &str =
    "# DaaS: the authority of this platform; not a part of the image\n";
/// The line behind them.
pub const AUTHORITIES_END: &str = "# DaaS: end\n";

/// Where programs of Fedora look for authorities besides where all do. Links are followed inside of the image.
const EXTRACTED: &str = "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem";
/// From where `update-ca-certificates` takes further authorities.
const FURTHER: &str = "/usr/local/share/ca-certificates";
/// How the file there is called.
const FILE: &str = "daas-root.crt";
/// No bundle is larger: Mozilla's has 0.2 MB.
const LARGEST: u64 = 8 << 20;

/// What of the authority a node gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// In the bundles, and where bundles are made from.
    Stand,
    /// In the bundles alone: what a build makes of other files would be in its image.
    Build,
}

/// Layers with the authority, by what they lie over.
#[derive(Debug)]
pub(super) struct Trust {
    folder: PathBuf,
    /// The roots as PEM; nothing where nobody said any.
    roots: OnceLock<String>,
    /// By the digest of an image; nothing for one without a bundle.
    of_images: Mutex<HashMap<String, Option<PathBuf>>>,
}

/// A folder on the way, or a file: parts of its path.
type Parts = Vec<Vec<u8>>;

/// What a layer will hold: sorted, so that folders come before what is in them.
#[derive(Default)]
struct Plan {
    folders: BTreeMap<Parts, Look>,
    files: BTreeMap<Parts, (Look, Vec<u8>)>,
}

/// Owner, mode and time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    uid: u32,
    gid: u32,
    mode: u32,
    seconds: i64,
}

impl Look {
    const FOLDER: Self = Self {
        uid: 0,
        gid: 0,
        mode: 0o755,
        seconds: 0,
    };
    const FILE: Self = Self {
        mode: 0o644,
        ..Self::FOLDER
    };

    fn of(stat: &Stat) -> Self {
        Self {
            uid: stat.st_uid,
            gid: stat.st_gid,
            mode: stat.st_mode & 0o7777,
            seconds: stat.st_mtime,
        }
    }

    fn give(self, path: &Path) -> io::Result<()> {
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

impl Trust {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            roots: OnceLock::new(),
            of_images: Mutex::default(),
        }
    }

    /// Says which roots nodes trust; the first word counts.
    pub(super) fn set(&self, roots: String) {
        // Only the house calls this, once.
        let _ = self.roots.set(roots);
    }

    pub(super) fn roots(&self) -> Option<&str> {
        self.roots.get().map(String::as_str)
    }

    /// Removes all layers. Only while no keeper may start a node over one.
    pub(super) fn sweep(&self) -> Result<(), EngineError> {
        match fs::remove_dir_all(&self.folder) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(EngineError::io("remove", &self.folder)(e))
            }
            _ => Ok(()),
        }
    }

    /// Returns the layer for nodes of the image `digest` whose layers are `lowers`; nothing if it has no place for authorities. Blocks.
    pub(super) fn of_image(
        &self,
        digest: &str,
        lowers: &[PathBuf],
    ) -> Result<Option<PathBuf>, EngineError> {
        if self.roots.get().is_none() {
            return Ok(None);
        }
        if let Some(known) = lock(&self.of_images).get(digest) {
            return Ok(known.clone());
        }
        let layer = self.layer(lowers, Shown::Stand)?;
        lock(&self.of_images).insert(digest.to_owned(), layer.clone());
        Ok(layer)
    }

    /// Returns the layer for a node over `lowers`. Blocks.
    pub(super) fn layer(
        &self,
        lowers: &[PathBuf],
        shown: Shown,
    ) -> Result<Option<PathBuf>, EngineError> {
        let Some(roots) = self.roots.get() else {
            return Ok(None);
        };
        let make = || {
            let below = Merged::open(lowers)?;
            let plan = plan(&below, roots, shown)?;
            if plan.files.is_empty() {
                return Ok(None);
            }
            let layer = self.folder.join(plan.digest().hex());
            if !layer.exists() {
                self.write(&plan, &layer)?;
            }
            Ok(Some(layer))
        };
        make().map_err(EngineError::io(
            "put the platform's authority into",
            &self.folder,
        ))
    }

    /// Writes a layer: whole, or not under its name.
    fn write(&self, plan: &Plan, layer: &Path) -> io::Result<()> {
        let mut folder = fs::DirBuilder::new();
        folder.recursive(true).mode(0o700).create(&self.folder)?;
        let scratch = tempfile_in(&self.folder)?;
        let at = |parts: &Parts| scratch.join(OsStr::from_bytes(&parts.join(&b'/')));
        for parts in plan.folders.keys().filter(|parts| !parts.is_empty()) {
            fs::create_dir(at(parts))?;
        }
        for (parts, (look, content)) in &plan.files {
            let mut file = File::create_new(at(parts))?;
            file.write_all(content)?;
            look.give(&at(parts))?;
            file.sync_all()?;
        }
        // From the inside out: what is made in a folder changes its time.
        for (parts, look) in plan.folders.iter().rev() {
            look.give(&at(parts))?;
        }
        match fs::rename(&scratch, layer) {
            // Another node of the same image was quicker.
            Err(_) if layer.exists() => fs::remove_dir_all(&scratch)?,
            other => other?,
        }
        File::open(&self.folder)?.sync_all()
    }
}

/// Makes a folder that nobody has.
fn tempfile_in(folder: &Path) -> io::Result<PathBuf> {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = format!(
        ".new-{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    );
    let path = folder.join(name);
    // What a daemon of this pid left when the machine lost its power.
    let _ = fs::remove_dir_all(&path);
    fs::create_dir(&path)?;
    Ok(path)
}

/// Looks for the places of authorities in an image.
fn plan(below: &Merged, roots: &str, shown: Shown) -> io::Result<Plan> {
    let mut plan = Plan::default();
    for bundle in AUTHORITIES.into_iter().chain([EXTRACTED]) {
        // An image whose links go round is its own trouble.
        let Ok((parts, Some(found))) = below.land(bundle.as_bytes()) else {
            continue;
        };
        let size = u64::try_from(found.stat().st_size).unwrap_or(u64::MAX);
        if found.kind() != FileType::RegularFile || size > LARGEST {
            continue;
        }
        let content = with_roots(&found, roots)?;
        plan.files.insert(parts, (Look::of(found.stat()), content));
    }
    if shown == Shown::Stand {
        let (mut parts, found) = below.land(FURTHER.as_bytes())?;
        let is_folder = |found: &Option<Found>| {
            found
                .as_ref()
                .is_some_and(|f| f.kind() == FileType::Directory)
        };
        let above: Vec<&[u8]> = parts
            .iter()
            .map(Vec::as_slice)
            .take(parts.len().saturating_sub(1))
            .collect();
        if is_folder(&found)
            || (found.is_none() && !above.is_empty() && is_folder(&below.find(&above)?))
        {
            parts.push(FILE.into());
            plan.files.insert(parts, (Look::FILE, roots.into()));
        }
    }
    let paths: Vec<Parts> = plan.files.keys().cloned().collect();
    for path in paths {
        for end in 0..path.len() {
            let slices: Vec<&[u8]> = path[..end].iter().map(Vec::as_slice).collect();
            let look = below
                .find(&slices)?
                .map_or(Look::FOLDER, |found| Look::of(found.stat()));
            plan.folders.insert(path[..end].to_vec(), look);
        }
    }
    Ok(plan)
}

/// Returns a bundle with the roots behind what it has.
fn with_roots(found: &Found, roots: &str) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    found.open()?.take(LARGEST).read_to_end(&mut content)?;
    if content.last().is_some_and(|last| *last != b'\n') {
        content.push(b'\n');
    }
    for text in [AUTHORITIES_BEGIN, roots, AUTHORITIES_END] {
        content.extend_from_slice(text.as_bytes());
    }
    Ok(content)
}

impl Plan {
    /// Names what it says: equal layers are one.
    fn digest(&self) -> Digest {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, symlink};

    const ROOT: &str = "-----BEGIN CERTIFICATE-----\nours\n-----END CERTIFICATE-----\n";

    struct Bed {
        dir: tempfile::TempDir,
        trust: Trust,
    }

    fn bed() -> Bed {
        let dir = tempfile::tempdir().unwrap();
        let trust = Trust::new(dir.path().join("trust"));
        trust.set(ROOT.into());
        Bed { dir, trust }
    }

    impl Bed {
        fn image(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
            let root = self.dir.path().join(name);
            fs::create_dir(&root).unwrap();
            for (path, text) in files {
                let path = root.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            root
        }
    }

    #[test]
    fn the_root_stands_behind_the_images_own_authorities_with_their_look() {
        let bed = bed();
        let image = bed.image("image", &[("etc/ssl/certs/ca-certificates.crt", "theirs")]);
        let certs = image.join("etc/ssl/certs");
        fs::set_permissions(&certs, fs::Permissions::from_mode(0o751)).unwrap();
        Look {
            seconds: 77,
            mode: 0o751,
            ..Look::FOLDER
        }
        .give(&certs)
        .unwrap();
        let layer = bed.trust.layer(&[image], Shown::Stand).unwrap().unwrap();
        let text = fs::read_to_string(layer.join("etc/ssl/certs/ca-certificates.crt")).unwrap();
        assert_eq!(
            text,
            format!("theirs\n{AUTHORITIES_BEGIN}{ROOT}{AUTHORITIES_END}")
        );
        let meta = fs::metadata(layer.join("etc/ssl/certs")).unwrap();
        assert_eq!((meta.mode() & 0o7777, meta.mtime()), (0o751, 77));
        assert!(!layer.join("usr").exists());
    }

    #[test]
    fn links_are_followed_inside_of_the_image_and_hidden_layers_are_not_read() {
        let bed = bed();
        let lower = bed.image(
            "lower",
            &[("etc/pki/real.pem", "one\n"), ("usr/local/share/x", "")],
        );
        fs::create_dir_all(lower.join("etc/ssl/certs")).unwrap();
        symlink(
            "/etc/pki/real.pem",
            lower.join("etc/ssl/certs/ca-certificates.crt"),
        )
        .unwrap();
        symlink("certs/ca-certificates.crt", lower.join("etc/ssl/cert.pem")).unwrap();
        let upper = bed.image("upper", &[("etc/pki/real.pem", "two\n")]);
        let layer = bed
            .trust
            .layer(&[upper, lower], Shown::Stand)
            .unwrap()
            .unwrap();
        let text = fs::read_to_string(layer.join("etc/pki/real.pem")).unwrap();
        assert!(text.starts_with("two\n# DaaS"), "{text}");
        assert!(!layer.join("etc/ssl").exists());
        let further = layer.join("usr/local/share/ca-certificates/daas-root.crt");
        assert_eq!(fs::read_to_string(further).unwrap(), ROOT);
    }

    #[test]
    fn builds_get_bundles_alone_and_images_without_any_get_nothing() {
        let bed = bed();
        let bare = bed.image("bare", &[("usr/local/share/x", "")]);
        assert_eq!(
            bed.trust
                .layer(std::slice::from_ref(&bare), Shown::Build)
                .unwrap(),
            None
        );
        assert!(bed.trust.layer(&[bare], Shown::Stand).unwrap().is_some());
        let image = bed.image(
            "image",
            &[("etc/ssl/cert.pem", "x\n"), ("usr/local/share/x", "")],
        );
        let layer = bed
            .trust
            .layer(std::slice::from_ref(&image), Shown::Build)
            .unwrap()
            .unwrap();
        assert!(!layer.join("usr").exists());
        // Equal bundles share one layer, whatever else is in the image.
        let other = bed.image("other", &[("bin/sh", "")]);
        Look::of(&rustix::fs::stat(&image).unwrap())
            .give(&other)
            .unwrap();
        assert_eq!(
            bed.trust.layer(&[other, image], Shown::Build).unwrap(),
            Some(layer)
        );
        let silent = Trust::new(bed.dir.path().join("silent"));
        assert_eq!(silent.of_image("d", &[]).unwrap(), None);
    }
}
