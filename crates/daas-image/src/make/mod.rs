//! Base images from distribution packages: teams in closed networks have no image hub, but they have a package mirror.
//!
//! `mmdebstrap` makes the tree from signed packages; what differs from run to run is then taken out, so that the same packages
//! give the same layer digest.

mod copy;
mod sources;
mod tidy;
mod verdict;

use crate::config::{ConfigFile, History, RootFs};
use crate::digest::Algorithm;
use crate::manifest::{Descriptor, Manifest, OCI_CONFIG, OCI_MANIFEST, layer_type};
use crate::pack::pack;
use crate::progress::{Event, Phase, Progress};
use crate::store::{ALL, NameInfo, Store, Temp};
use crate::{Compression, Image, ImageConfig, ImageError, Platform};
use daas_model::ImageName;
use rustix::process::{Pid, Signal};
use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// 2025-01-01T00:00:00Z. Younger times in an image are cut to it; a fixed moment keeps the same packages the same layer.
pub const DEFAULT_EPOCH: u64 = 1_735_689_600;
/// What programs of an image are found by (Debian Policy 9.1 and Docker's default).
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Where apt keeps packages.
const ARCHIVES: &str = "var/cache/apt/archives";
/// How many last lines of a failed run are told.
const KEPT_LINES: usize = 12;

/// How many packages a base begins with (mmdebstrap(1), "VARIANTS").
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Variant {
    /// Essential packages and apt: about 100 MB.
    #[default]
    Minbase,
    /// Essential packages only, without apt.
    Essential,
    /// All packages of priority `important` and above.
    Important,
}

impl Variant {
    /// Parses the name that mmdebstrap uses.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Minbase, Self::Essential, Self::Important]
            .into_iter()
            .find(|v| v.as_str() == text)
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Minbase => "minbase",
            Self::Essential => "essential",
            Self::Important => "important",
        }
    }
}

/// What image to make.
#[derive(Debug, Clone, Default)]
pub struct MakeRequest {
    /// Distribution and suite, `debian:bookworm`.
    pub base: String,
    /// Packages beyond the variant's, `name` or `name=version`.
    pub packages: Vec<String>,
    /// The image's name; without one it is made of base and packages.
    pub name: Option<ImageName>,
    /// A mirror's URL; without one the machine's own apt sources are used.
    pub mirror: Option<String>,
    /// How many packages to begin with.
    pub variant: Variant,
    /// Files and folders of this machine, and where they go in the image.
    pub copies: Vec<(PathBuf, String)>,
    /// How the image wants to be run; `PATH` is added to its environment if it has none.
    pub config: ImageConfig,
    /// A folder that keeps downloaded packages for the next time, usually `/var/cache/daas/apt`.
    pub cache: Option<PathBuf>,
    /// Seconds since 1970 to which younger times are cut; [`DEFAULT_EPOCH`] without.
    pub epoch: Option<u64>,
    /// Whether manual pages and documentation stay in; copyrights always do.
    pub keep_docs: bool,
}

impl MakeRequest {
    /// Returns the name that the image will have.
    ///
    /// # Errors
    /// [`ImageError::BadMake`] for a request that makes no sense.
    pub fn image_name(&self) -> Result<ImageName, ImageError> {
        Plan::of(self).map(|plan| plan.name)
    }
}

/// Ends the programs of a make when nobody waits for it any more.
#[derive(Clone, Default)]
struct Leash {
    cancelled: Arc<AtomicBool>,
    group: Arc<Mutex<Option<Pid>>>,
}

/// Pulls the leash when it is dropped.
struct Pull(Leash);

impl Drop for Pull {
    fn drop(&mut self) {
        self.0.cancelled.store(true, Ordering::Relaxed);
        if let Some(group) = *crate::store::locked(&self.0.group) {
            // Gone already is fine.
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
    }
}

impl Store {
    /// Makes an image from distribution packages.
    ///
    /// Needs root and `mmdebstrap`. Dropping the future ends the programs and leaves nothing; `progress` counts thousandths.
    ///
    /// # Errors
    /// [`ImageError::BadMake`] for a request that makes no sense, [`ImageError::NotInDistribution`] for what the distribution does not have,
    /// [`ImageError::MakeFailed`] with the last words of the tool.
    pub async fn make(
        &self,
        request: MakeRequest,
        progress: Arc<dyn Progress>,
    ) -> Result<Image, ImageError> {
        let leash = Leash::default();
        let pull = Pull(leash.clone());
        let store = self.clone();
        let result = self
            .blocking("make an image", move || {
                store.make_with(&request, progress.as_ref(), &leash)
            })
            .await;
        drop(pull);
        result?
    }

    fn make_with(
        &self,
        request: &MakeRequest,
        progress: &dyn Progress,
        leash: &Leash,
    ) -> Result<Image, ImageError> {
        let plan = Plan::of(request)?;
        let mut lease = self.lease();
        lease.add(ALL);
        let temp = Temp::new(self.temp_path());
        let root = temp.path().join("root");
        std::fs::create_dir(temp.path()).map_err(ImageError::io("make the folder", temp.path()))?;
        tidy::make_dirs(temp.path(), "root")?;
        if let Some(cache) = &request.cache {
            tidy::give_cache(cache, &root, ARCHIVES)?;
        }
        let sources = temp.path().join("machine.sources");
        std::fs::write(&sources, &plan.sources).map_err(ImageError::io("write", &sources))?;
        run(&plan, &root, &sources, progress, leash)?;
        if let Some(cache) = &request.cache {
            tidy::take_cache(&root.join(ARCHIVES), cache)?;
        }
        let step = |piece: &str, done| {
            progress.event(Event {
                piece: piece.into(),
                phase: Phase::Reading,
                done,
                total: 1000,
            });
        };
        step("tidying", 870);
        tidy::tidy(&root, request.keep_docs)?;
        for (from, to) in &request.copies {
            copy::copy_in(&root, from, to, plan.epoch)?;
        }
        step("packing the layer", 890);
        let (manifest, info) = self.pack_image(request, &plan, &root, leash)?;
        step("unpacking the layer", 960);
        let image = self.install(&manifest, &info, progress, &leash.cancelled)?;
        progress.event(Event {
            piece: info.name.familiar(),
            phase: Phase::Done,
            done: 1000,
            total: 1000,
        });
        Ok(image)
    }

    /// Makes layer, configuration and manifest of the finished tree.
    fn pack_image(
        &self,
        request: &MakeRequest,
        plan: &Plan,
        root: &Path,
        leash: &Leash,
    ) -> Result<(crate::Digest, NameInfo), ImageError> {
        let failed = ImageError::io("pack", root);
        let epoch = i64::try_from(plan.epoch).unwrap_or(i64::MAX);
        let mut writer = self.blob_writer(Algorithm::Sha256)?;
        let mut check = |_| {
            if leash.cancelled.load(Ordering::Relaxed) {
                Err(std::io::ErrorKind::Interrupted.into())
            } else {
                Ok(())
            }
        };
        // Level 6 is what every builder writes; the header's time field stays 0.
        let gzip = flate2::write::GzEncoder::new(&mut writer, flate2::Compression::new(6));
        let tee = DigestingWriter::new(gzip);
        let packed = pack(root, tee, epoch, &mut check).and_then(|tee| {
            let (diff_id, gzip) = tee.finish();
            gzip.finish().map(|_| diff_id)
        });
        let diff_id = match packed {
            Ok(diff_id) => diff_id,
            Err(_) if leash.cancelled.load(Ordering::Relaxed) => return Err(ImageError::Cancelled),
            Err(e) => return Err(failed(e)),
        };
        let size = writer.size();
        let layer = writer.commit(None)?;
        let mut config = request.config.clone();
        if !config.env.iter().any(|e| e.starts_with("PATH=")) {
            config.env.insert(0, DEFAULT_PATH.to_owned());
        }
        if config.cmd.is_empty() && config.entrypoint.is_empty() {
            let shell = if root.join("bin/bash").exists() {
                "/bin/bash"
            } else {
                "/bin/sh"
            };
            config.cmd = vec![shell.to_owned()];
        }
        let created = Some(rfc3339(plan.epoch));
        let file = ConfigFile {
            created: created.clone(),
            platform: Platform::native(),
            config,
            rootfs: RootFs {
                kind: "layers".into(),
                diff_ids: vec![diff_id],
            },
            history: vec![History {
                created,
                created_by: Some(plan.words.clone()),
                ..History::default()
            }],
        };
        let broken = |_| ImageError::Broken {
            what: "describing the image",
        };
        let text = serde_json::to_vec(&file).map_err(broken)?;
        let descriptor = |media_type: String, digest, size| Descriptor {
            media_type,
            digest,
            size,
            platform: None,
            annotations: BTreeMap::new(),
        };
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(OCI_MANIFEST.into()),
            config: descriptor(OCI_CONFIG.into(), self.put_blob(&text)?, text.len() as u64),
            layers: vec![descriptor(layer_type(Compression::Gzip), layer, size)],
            annotations: BTreeMap::new(),
        };
        let manifest = self.put_blob(&serde_json::to_vec(&manifest).map_err(broken)?)?;
        let info = NameInfo {
            name: plan.name.clone(),
            manifest: manifest.clone(),
            index: None,
            private: false,
            since: crate::load::now(),
        };
        Ok((manifest, info))
    }
}

/// A request that was checked.
struct Plan {
    /// Distribution and suite.
    base: String,
    suite: String,
    name: ImageName,
    sources: String,
    packages: Vec<String>,
    variant: Variant,
    epoch: u64,
    /// The request in words, for the image's history.
    words: String,
}

impl Plan {
    fn of(request: &MakeRequest) -> Result<Self, ImageError> {
        let bad = |why: String| ImageError::BadMake { why };
        let (distribution, suite) = request.base.split_once(':').ok_or_else(|| {
            bad(format!(
                "`{}` is not `distribution:suite`, for example `debian:bookworm`",
                request.base.escape_debug()
            ))
        })?;
        if !matches!(distribution, "debian" | "ubuntu") {
            return Err(bad(format!(
                "`{}` is not among the distributions debian, ubuntu",
                distribution.escape_debug()
            )));
        }
        if !is_word(suite, b".-") {
            return Err(bad(format!(
                "`{}` is no name of a suite",
                suite.escape_debug()
            )));
        }
        let mut packages = request.packages.clone();
        if let Some(odd) = packages.iter().find(|p| !is_package(p)) {
            return Err(bad(format!(
                "`{}` is no name of a package",
                odd.escape_debug()
            )));
        }
        packages.sort();
        packages.dedup();
        let name = match &request.name {
            Some(name) if name.digest().is_some() => {
                return Err(bad(format!(
                    "`{name}` has a digest, which only follows from the content"
                )));
            }
            Some(name) => name.clone(),
            None => default_name(distribution, suite, &packages).map_err(bad)?,
        };
        let sources = match &request.mirror {
            Some(mirror) => sources::of_mirror(mirror, distribution, suite).map_err(bad)?,
            None => sources::of_machine(distribution, suite)?,
        };
        let mut words = format!(
            "daas image make {} --variant {}",
            request.base,
            request.variant.as_str()
        );
        if !packages.is_empty() {
            words += &format!(" --packages {}", packages.join(","));
        }
        for (_, to) in &request.copies {
            words += &format!(" --copy ...:{to}");
        }
        Ok(Self {
            base: request.base.clone(),
            suite: suite.into(),
            name,
            sources,
            packages,
            variant: request.variant,
            epoch: request.epoch.unwrap_or(DEFAULT_EPOCH),
            words,
        })
    }
}

/// Tags have at most 128 characters (OCI Distribution Specification, "Pulling manifests").
const MAX_TAG: usize = 128;

/// Names an image by its packages; what a tag cannot say, by length or letters, is in a digest at its end.
fn default_name(distribution: &str, suite: &str, packages: &[String]) -> Result<ImageName, String> {
    let whole = std::iter::once(suite)
        .chain(packages.iter().map(String::as_str))
        .collect::<Vec<_>>()
        .join("-");
    let mut tag: String = whole
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') {
                c
            } else {
                '_'
            }
        })
        .collect();
    if tag != whole || tag.len() > MAX_TAG {
        let digest = crate::Digest::of(whole.as_bytes());
        tag.truncate(MAX_TAG - 17);
        tag = format!("{tag}-{}", &digest.hex()[..16]);
    }
    ImageName::parse(&format!("{distribution}:{tag}")).map_err(|e| e.to_string())
}

fn is_word(text: &str, more: &[u8]) -> bool {
    let first = text.bytes().next();
    first.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        && text.len() <= 100
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || more.contains(&b))
}

/// A package's name (Debian Policy 5.6.1), maybe with an architecture and a version (5.6.12).
fn is_package(text: &str) -> bool {
    let (name, version) = match text.split_once('=') {
        Some((name, version)) => (name, Some(version)),
        None => (text, None),
    };
    let (name, architecture) = name.split_once(':').unwrap_or((name, "any"));
    let version_good = |v: &str| {
        v.bytes().next().is_some_and(|b| b.is_ascii_digit())
            && v.len() <= 100
            && v.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b".+-:~".contains(&b))
    };
    is_word(name, b"+.-") && is_word(architecture, b"-") && version.is_none_or(version_good)
}

/// Runs mmdebstrap and waits for it.
fn run(
    plan: &Plan,
    root: &Path,
    sources: &Path,
    progress: &dyn Progress,
    leash: &Leash,
) -> Result<(), ImageError> {
    const PROGRAM: &str = "mmdebstrap";
    let failed = |status: String, output: Vec<String>| ImageError::MakeFailed {
        program: PROGRAM,
        status,
        output,
    };
    let mut command = Command::new("unshare");
    // In a mount namespace of its own nothing that it mounts below our folder can be left for us to delete through.
    command.args([
        "--mount",
        "--propagation",
        "private",
        "--",
        PROGRAM,
        "--mode=root",
        "--format=directory",
    ]);
    command.arg(format!("--variant={}", plan.variant.as_str()));
    if !plan.packages.is_empty() {
        command.arg(format!("--include={}", plan.packages.join(",")));
    }
    for option in sources::machine_options() {
        command.arg(format!("--aptopt={option}"));
    }
    // The folder holds cached packages; what was downloaded is kept for the cache and removed by `tidy`.
    command.args([
        "--skip=check/empty",
        "--skip=essential/unlink",
        "--skip=cleanup/apt/cache",
    ]);
    command.arg("--aptopt=APT::Keep-Downloaded-Packages \"true\"");
    command.arg("--").arg(&plan.suite).arg(root).arg(sources);
    command
        .env_clear()
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .env("HOME", "/root")
        .env("LC_ALL", "C.UTF-8");
    command
        .env("SOURCE_DATE_EPOCH", plan.epoch.to_string())
        .env("DEBIAN_FRONTEND", "noninteractive");
    for key in ["http_proxy", "https_proxy", "no_proxy"] {
        if let Some(value) = std::env::var_os(key) {
            command.env(key, value);
        }
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .current_dir("/");
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(e) => {
            return Err(failed(
                format!("`unshare` cannot be started: {e}"),
                vec!["`daas doctor` tells which packages are missing".into()],
            ));
        }
    };
    *crate::store::locked(&leash.group) = Pid::from_raw(i32::try_from(child.id()).unwrap_or(0));
    if leash.cancelled.load(Ordering::Relaxed) {
        drop(Pull(leash.clone()));
    }
    let mut last = VecDeque::new();
    if let Some(output) = child.stderr.take() {
        for line in BufReader::new(output).split(b'\n') {
            let Ok(line) = line else { break };
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if let Some((step, done)) = step_of(&line) {
                progress.event(Event {
                    piece: step.into(),
                    phase: Phase::Reading,
                    done,
                    total: 1000,
                });
            }
            tracing::debug!(%line, "mmdebstrap");
            if last.len() == KEPT_LINES {
                last.pop_front();
            }
            last.push_back(line);
        }
    }
    // All of them have closed their output: from here on the number of the group may be given to others.
    *crate::store::locked(&leash.group) = None;
    let status = child.wait().map_err(ImageError::io("wait for", PROGRAM))?;
    if leash.cancelled.load(Ordering::Relaxed) {
        return Err(ImageError::Cancelled);
    }
    if status.success() {
        Ok(())
    } else {
        let output = Vec::from(last);
        Err(match verdict::missing(&plan.base, &output) {
            Some(why) => ImageError::NotInDistribution { why },
            None => failed(status.to_string(), output),
        })
    }
}

/// What a line of mmdebstrap says about the way so far, in thousandths of all work; shares measured for a small web server.
fn step_of(line: &str) -> Option<(&'static str, u64)> {
    const STEPS: [(&str, &str, u64); 7] = [
        ("running apt-get update", "reading package lists", 20),
        ("downloading packages", "downloading packages", 120),
        ("extracting archives", "extracting the base", 250),
        ("installing essential packages", "installing the base", 330),
        ("installing remaining packages", "installing packages", 500),
        ("cleaning package lists", "cleaning", 840),
        ("success in", "installed", 860),
    ];
    let line = line.strip_prefix("I: ")?;
    STEPS
        .iter()
        .find(|(start, ..)| line.starts_with(start))
        .map(|(_, step, done)| (*step, *done))
}

/// A writer that digests what passes.
struct DigestingWriter<W> {
    inner: W,
    hasher: crate::digest::Hasher,
}

impl<W: Write> DigestingWriter<W> {
    fn new(inner: W) -> Self {
        Self {
            inner,
            hasher: crate::digest::Hasher::new(Algorithm::Sha256),
        }
    }

    fn finish(self) -> (crate::Digest, W) {
        (self.hasher.finish(), self.inner)
    }
}

impl<W: Write> Write for DigestingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

/// Writes seconds since 1970 as RFC 3339 (days to dates: Hinnant, "chrono-Compatible Low-Level Date Algorithms").
#[must_use]
pub fn rfc3339(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(base: &str, packages: &[&str]) -> Result<Plan, ImageError> {
        let packages = packages.iter().map(|p| (*p).to_owned()).collect();
        Plan::of(&MakeRequest {
            base: base.into(),
            packages,
            mirror: Some("http://mirror.example/debian".into()),
            ..MakeRequest::default()
        })
    }

    #[test]
    fn names_that_would_be_options_or_paths_are_refused() {
        for base in [
            "debian",
            "debian:",
            "debian:-x",
            "debian:a/b",
            "fedora:40",
            "debian:book worm",
            ":x",
        ] {
            assert!(plan(base, &[]).is_err(), "{base}");
        }
        for package in [
            "", "-rf", "a b", "a,b", "x=\"", "x=$(y)", "../x", "Upper", "x;y", "x=-1",
        ] {
            assert!(plan("debian:bookworm", &[package]).is_err(), "{package}");
        }
        let good = plan(
            "debian:bookworm",
            &[
                "redis-server",
                "libstdc++6",
                "nginx=1.22.1-9+deb12u1",
                "libc6:amd64",
                "nginx=1.22.1-9+deb12u1",
            ],
        )
        .unwrap();
        assert_eq!(
            good.packages,
            [
                "libc6:amd64",
                "libstdc++6",
                "nginx=1.22.1-9+deb12u1",
                "redis-server"
            ]
        );
        assert_eq!(
            plan("debian:bookworm", &[]).unwrap().name.familiar(),
            "debian:bookworm"
        );
        assert_eq!(
            plan("debian:bookworm", &["b", "a"])
                .unwrap()
                .name
                .familiar(),
            "debian:bookworm-a-b"
        );
    }

    #[test]
    fn different_lists_of_packages_have_different_names() {
        let name = |packages: &[&str]| plan("debian:bookworm", packages).unwrap().name.familiar();
        let long: Vec<String> = (0..40).map(|n| format!("package-{n}")).collect();
        let mut long: Vec<&str> = long.iter().map(String::as_str).collect();
        let first = name(&long);
        long.push("zoo");
        assert_ne!(first, name(&long));
        assert!(first.len() <= "debian:".len() + MAX_TAG, "{first}");
        assert_ne!(name(&["a=1+2"]), name(&["a=1~2"]));
        assert_eq!(name(&["nginx"]), "debian:bookworm-nginx");
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(DEFAULT_EPOCH), "2025-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(4_107_542_399), "2100-02-28T23:59:59Z");
    }

    #[test]
    fn a_tree_packs_to_the_same_bytes_whenever_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let mut digests = Vec::new();
        for name in ["a", "b"] {
            let root = dir.path().join(name);
            std::fs::create_dir_all(root.join("etc")).unwrap();
            let files = if name == "a" {
                ["x", "y", "z"]
            } else {
                ["z", "x", "y"]
            };
            for file in files {
                std::fs::write(root.join("etc").join(file), file).unwrap();
            }
            std::fs::hard_link(root.join("etc/x"), root.join("etc/link")).unwrap();
            let bytes = pack(&root, Vec::new(), 1_000_000_000, &mut |_| Ok(())).unwrap();
            digests.push(crate::Digest::of(&bytes));
        }
        assert_eq!(digests[0], digests[1]);
    }
}
