//! The platform's own authority inside of nodes: a layer over those of the image, with the image's own bundle of authorities and ours behind it.
//!
//! A layer and no mount: programs that make the bundle anew (`update-ca-certificates`) put another file in its place, which a mount point
//! would refuse them. Nothing of the image is changed: the layer lies below what the node writes, and our lines stand between two marks by
//! which a build finds them in files that a command has changed.

mod der;
mod keystore;
mod places;
mod plan;
mod roots;

use super::lock;
use crate::error::EngineError;
use crate::launch::ImageFacts;
use daas_image::Merged;
use places::Places;
use plan::{Parts, Plan, plan};
use roots::Roots;
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

/// The line before the platform's own authorities in a bundle.
pub const AUTHORITIES_BEGIN: &str =
    "# DaaS: the authority of this platform; not a part of the image\n";
/// The line behind them.
pub const AUTHORITIES_END: &str = "# DaaS: end\n";

/// Where nodes of stands have the platform's authorities alone; from its folder `update-ca-certificates` takes further ones.
const ALONE: &str = "/usr/local/share/ca-certificates/daas-root.crt";

/// What of the authority a node gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// In the lists, and where lists are made from.
    Stand,
    /// In lists of text alone, from which it is taken out again: what a build makes of other files would be in its image. Java is shown [`java_list`]
    /// elsewhere.
    Build,
}

/// Layers with the authority, by what they lie over.
#[derive(Debug)]
pub(super) struct Trust {
    folder: PathBuf,
    /// The roots; nothing where nobody said any.
    roots: OnceLock<Roots>,
    /// By the digest of an image; nothing for one in which something is in the way of every place.
    of_images: Mutex<HashMap<String, Option<PathBuf>>>,
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
        let _ = self.roots.set(Roots::read(roots));
    }

    pub(super) fn roots(&self) -> Option<&str> {
        self.roots.get().map(|roots| roots.pem.as_str())
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

    /// Returns the layer for nodes of an image; nothing if it has no place for authorities. Blocks.
    pub(super) fn of_image(&self, image: &ImageFacts) -> Result<Option<PathBuf>, EngineError> {
        if self.roots.get().is_none() {
            return Ok(None);
        }
        if let Some(known) = lock(&self.of_images).get(&image.digest) {
            return Ok(known.clone());
        }
        let layer = self.layer(&image.lowers, &image.environment, Shown::Stand)?;
        lock(&self.of_images).insert(image.digest.clone(), layer.clone());
        Ok(layer)
    }

    /// Returns what tells programs that bring a list along, and take another beside it, where the authorities are. Others are not told: a variable that
    /// stands in the place of a program's own list (`SSL_CERT_FILE`, `REQUESTS_CA_BUNDLE`) would also stand above what a program says itself.
    pub(super) fn hints() -> (String, String) {
        ("NODE_EXTRA_CA_CERTS".into(), ALONE.into())
    }

    /// Returns the layer for a node over `lowers` whose image has this environment. Blocks.
    pub(super) fn layer(
        &self,
        lowers: &[PathBuf],
        environment: &BTreeMap<String, String>,
        shown: Shown,
    ) -> Result<Option<PathBuf>, EngineError> {
        let Some(roots) = self.roots.get() else {
            return Ok(None);
        };
        let make = || {
            let below = Merged::open(lowers)?;
            let plan = plan(&below, environment, roots, shown)?;
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

/// Returns the list of authorities of an image's Java with `roots`, which are PEM, behind those that it has; nothing if the image has no Java
/// whose list can be read. Blocks.
///
/// # Errors
/// What reading the layers says.
pub fn java_list(
    lowers: &[PathBuf],
    environment: &BTreeMap<String, String>,
    roots: &str,
) -> io::Result<Option<Vec<u8>>> {
    let below = Merged::open(lowers)?;
    let roots = Roots::read(roots.to_owned());
    for place in Places::of(&below, environment)?.keystores {
        let Some((_, _, list)) = plan::list(&below, &place)? else {
            continue;
        };
        let ours = roots.each.iter().map(|root| &root.der[..]);
        if let Some(list) = keystore::with_roots(&list, ours) {
            return Ok(Some(list));
        }
    }
    Ok(None)
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

#[cfg(test)]
mod tests {
    use super::plan::Look;
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    /// An authority of nobody, which OpenSSL made; it finds it as `NAME`.
    const ROOT: &str = include_str!("../../../tests/data/root.pem");
    const NAME: &str = "4e93a457.0";

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

    fn read(layer: &Path, file: &str) -> String {
        fs::read_to_string(layer.join(file)).unwrap_or_else(|e| panic!("{file}: {e}"))
    }

    impl Bed {
        fn layer(&self, lowers: &[PathBuf], shown: Shown) -> PathBuf {
            let layer = self.trust.layer(lowers, &BTreeMap::new(), shown);
            layer.unwrap().unwrap()
        }
    }

    fn ours() -> String {
        [AUTHORITIES_BEGIN, ROOT, AUTHORITIES_END].concat()
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
        let layer = bed.layer(&[image], Shown::Stand);
        let text = read(&layer, "etc/ssl/certs/ca-certificates.crt");
        assert_eq!(text, format!("theirs\n{}", ours()));
        let meta = fs::metadata(layer.join("etc/ssl/certs")).unwrap();
        assert_eq!((meta.mode() & 0o7777, meta.mtime()), (0o751, 77));
        assert!(read(&layer, &format!("etc/ssl/certs/{NAME}")) == ours());
        assert_eq!(read(&layer, &ALONE[1..]), ROOT);
        // The distribution has its bundle: none is made elsewhere.
        assert!(!layer.join("etc/ssl/cert.pem").exists());
    }

    #[test]
    fn links_are_followed_inside_of_the_image_and_hidden_layers_are_not_read() {
        let bed = bed();
        let lower = bed.image("lower", &[("etc/pki/real.pem", "one\n")]);
        fs::create_dir_all(lower.join("etc/ssl/certs")).unwrap();
        symlink(
            "/etc/pki/real.pem",
            lower.join("etc/ssl/certs/ca-certificates.crt"),
        )
        .unwrap();
        symlink("certs/ca-certificates.crt", lower.join("etc/ssl/cert.pem")).unwrap();
        let upper = bed.image("upper", &[("etc/pki/real.pem", "two\n")]);
        let layer = bed.layer(&[upper, lower], Shown::Stand);
        let text = read(&layer, "etc/pki/real.pem");
        assert!(text.starts_with("two\n# DaaS"), "{text}");
        assert!(!layer.join("etc/ssl/cert.pem").exists());
    }

    #[test]
    fn an_image_without_a_bundle_gets_one_where_its_distribution_reads() {
        let bed = bed();
        let with = |name: &str, release: &str| {
            let image = bed.image(name, &[("usr/lib/os-release", release)]);
            bed.layer(&[image], Shown::Build)
        };
        let usual = "etc/ssl/certs/ca-certificates.crt";
        let table = [
            ("debian", "ID=debian\n", [usual, "usr/lib/ssl/cert.pem"]),
            (
                "mint",
                "NAME=x\nID=mint\nID_LIKE=\"ubuntu debian\"\n",
                [usual, "usr/lib/ssl/cert.pem"],
            ),
            (
                "rocky",
                "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n",
                ["etc/pki/tls/certs/ca-bundle.crt", "etc/pki/tls/cert.pem"],
            ),
            (
                "leap",
                "ID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"\n",
                ["etc/ssl/ca-bundle.pem", "etc/ssl/cert.pem"],
            ),
            ("scratch", "", [usual, "etc/ssl/cert.pem"]),
        ];
        for (name, release, files) in table {
            let layer = with(name, release);
            for file in files {
                assert_eq!(read(&layer, file), ours(), "{name}");
            }
        }
        // What is in the way stays there.
        let odd = bed.image("odd", &[("etc/ssl", "no folder"), ("usr/local/share", "")]);
        let layer = bed.trust.layer(&[odd], &BTreeMap::new(), Shown::Stand);
        assert_eq!(layer.unwrap(), None);
    }

    #[test]
    fn lists_that_programs_bring_along_are_found_by_the_search_path() {
        let bed = bed();
        let certifi = "opt/venv/lib/python3.11/site-packages/certifi/cacert.pem";
        let pip = "usr/lib/python3/dist-packages/pip/_vendor/certifi/cacert.pem";
        let image = bed.image("image", &[(certifi, "world\n"), (pip, "world\n")]);
        let path = BTreeMap::from([("PATH".to_owned(), "/opt/venv/bin/:/bin:x".to_owned())]);
        let layer = bed.trust.layer(&[image], &path, Shown::Build);
        let layer = layer.unwrap().unwrap();
        for file in [certifi, pip] {
            assert_eq!(read(&layer, file), format!("world\n{}", ours()));
        }
    }

    #[test]
    fn builds_are_shown_nothing_that_cannot_be_taken_out_again() {
        let bed = bed();
        let image = bed.image("image", &[("etc/ssl/cert.pem", "x\n")]);
        let java = image.join("usr/lib/jvm/one/lib/security");
        fs::create_dir_all(&java).unwrap();
        fs::copy("/etc/ssl/certs/java/cacerts", java.join("cacerts")).unwrap();
        let layer = bed.layer(std::slice::from_ref(&image), Shown::Build);
        assert!(!layer.join("usr").exists());
        let stand = bed.layer(std::slice::from_ref(&image), Shown::Stand);
        let made = fs::read(stand.join("usr/lib/jvm/one/lib/security/cacerts")).unwrap();
        let was = fs::read(java.join("cacerts")).unwrap();
        assert!(made.len() > was.len());
        // Equal lists share one layer, whatever else is in the image.
        let other = bed.image("other", &[("bin/sh", "")]);
        Look::of(&rustix::fs::stat(&image).unwrap())
            .give(&other)
            .unwrap();
        assert_eq!(bed.layer(&[other, image], Shown::Build), layer);
        let silent = Trust::new(bed.dir.path().join("silent"));
        assert_eq!(silent.of_image(&ImageFacts::default()).unwrap(), None);
    }
}
