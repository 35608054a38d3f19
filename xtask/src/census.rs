//! Counts what a stand could leave behind: taken before and after, the difference tells it in words.
//!
//! A machine has other users. A test that runs beside others looks only at what bears one of its own marks (a state
//! folder, a stand's id); a test that is alone on the machine looks at everything.

use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// One kind of thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Network namespaces that a process, an open file or a mount holds.
    NetNamespace,
    /// Links of this network namespace.
    Link,
    /// Mounts of this mount namespace.
    Mount,
    /// Folders of every mounted cgroup hierarchy.
    Cgroup,
    /// Loop devices with a file behind them.
    LoopDevice,
    /// Processes, zombies included.
    Process,
    /// Files and folders below the state folder.
    File,
}

impl Kind {
    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::NetNamespace => ("network namespace", "network namespaces"),
            Self::Link => ("link", "links"),
            Self::Mount => ("mount", "mounts"),
            Self::Cgroup => ("cgroup", "cgroups"),
            Self::LoopDevice => ("loop device", "loop devices"),
            Self::Process => ("process", "processes"),
            Self::File => ("file", "files"),
        }
    }
}

/// What there was at one moment.
#[derive(Debug, Clone, Default)]
pub struct Census(BTreeMap<Kind, Things>);

/// What a thing is the same by, and what a person is told of it.
type Things = BTreeMap<String, String>;

impl Census {
    /// Counts everything, and the files below `state`.
    ///
    /// A process that ends while it is looked at is left out.
    ///
    /// # Errors
    /// When `/proc` or `/sys` cannot be read. A missing `state` counts as empty.
    pub fn take(state: &Path) -> Result<Self> {
        let mounts = mounts()?;
        let mut files = Things::new();
        walk(state, &mut |path| {
            files.insert(path.display().to_string(), path.display().to_string());
        });
        let (processes, namespaces) = processes(&mounts)?;
        Ok(Self(
            [
                (Kind::NetNamespace, namespaces),
                (Kind::Link, names("/sys/class/net")?),
                (Kind::Cgroup, cgroups(&mounts)),
                (Kind::Mount, mounts),
                (Kind::LoopDevice, loop_devices()),
                (Kind::Process, processes),
                (Kind::File, files),
            ]
            .into(),
        ))
    }

    /// Tells how many things of a kind there are.
    #[must_use]
    pub fn count(&self, kind: Kind) -> usize {
        self.0.get(&kind).map_or(0, BTreeMap::len)
    }

    /// Compares with a later census.
    #[must_use]
    pub fn until(&self, after: &Self) -> Difference {
        let none = Things::new();
        let mut difference = Difference::default();
        let kinds: BTreeSet<Kind> = self.0.keys().chain(after.0.keys()).copied().collect();
        for kind in kinds {
            let old = self.0.get(&kind).unwrap_or(&none);
            let new = after.0.get(&kind).unwrap_or(&none);
            let only = |a: &Things, b: &Things| -> Vec<(Kind, String)> {
                a.iter()
                    .filter(|(key, _)| !b.contains_key(*key))
                    .map(|(_, words)| (kind, words.clone()))
                    .collect()
            };
            difference.more.extend(only(new, old));
            difference.fewer.extend(only(old, new));
        }
        difference
    }
}

/// What changed between two.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// What is there now and was not.
    pub more: Vec<(Kind, String)>,
    /// What was there and is not.
    pub fewer: Vec<(Kind, String)>,
}

impl Difference {
    /// Keeps only the things whose words hold one of the marks.
    #[must_use]
    pub fn that_bear(mut self, marks: &[&str]) -> Self {
        let mine = |thing: &(Kind, String)| marks.iter().any(|mark| thing.1.contains(mark));
        self.more.retain(mine);
        self.fewer.retain(mine);
        self
    }

    /// Keeps, of each kind, only as many new things as there are more than before.
    ///
    /// For kinds that come and go all the time, such as processes kept ready: one that took the place of another is
    /// no leftover.
    #[must_use]
    pub fn surplus(mut self) -> Self {
        for (kind, _) in std::mem::take(&mut self.fewer) {
            if let Some(at) = self.more.iter().position(|(other, _)| *other == kind) {
                self.more.remove(at);
            }
        }
        self
    }

    /// Drops the things of some kinds.
    #[must_use]
    pub fn without(mut self, kinds: &[Kind]) -> Self {
        self.more.retain(|(kind, _)| !kinds.contains(kind));
        self.fewer.retain(|(kind, _)| !kinds.contains(kind));
        self
    }

    /// Tells whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.more.is_empty() && self.fewer.is_empty()
    }
}

impl fmt::Display for Difference {
    /// Prints one line for each kind and direction: `2 more mounts: ...`; `no difference` when there is none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("no difference");
        }
        let mut first = true;
        for (word, things) in [("more", &self.more), ("fewer", &self.fewer)] {
            let kinds: BTreeSet<Kind> = things.iter().map(|(kind, _)| *kind).collect();
            for kind in kinds {
                let told: Vec<&str> = things
                    .iter()
                    .filter(|(k, _)| *k == kind)
                    .map(|(_, words)| words.as_str())
                    .collect();
                let (one, many) = kind.words();
                let noun = if told.len() == 1 { one } else { many };
                if !first {
                    f.write_str("\n")?;
                }
                first = false;
                write!(f, "{} {word} {noun}: {}", told.len(), told.join(", "))?;
            }
        }
        Ok(())
    }
}

fn names(folder: &str) -> Result<Things> {
    fs::read_dir(folder)
        .with_context(|| format!("cannot read {folder}"))?
        .map(|entry| {
            let name = entry?.file_name().to_string_lossy().into_owned();
            Ok((name.clone(), name))
        })
        .collect()
}

/// Reads the mounts; the same mount point twice is two mounts.
fn mounts() -> Result<Things> {
    let text = fs::read_to_string("/proc/self/mountinfo").context("cannot read mountinfo")?;
    Ok(text
        .lines()
        .filter_map(|line| {
            let (mount, kind) = line.split_once(" - ")?;
            let fields: Vec<&str> = mount.split(' ').collect();
            // Number, parent, device, root, mount point: proc(5).
            let words = format!("{} on {} ({kind})", fields.get(3)?, fields.get(4)?);
            Some((format!("{} {words}", fields.first()?), words))
        })
        .collect())
}

fn cgroups(mounts: &Things) -> Things {
    let mut found = Things::new();
    let tops: BTreeSet<&str> = mounts
        .values()
        .filter(|words| words.contains("(cgroup"))
        .filter_map(|words| words.split(' ').nth(2))
        .collect();
    for top in tops {
        walk(Path::new(top), &mut |path| {
            if path.is_dir() {
                found.insert(path.display().to_string(), path.display().to_string());
            }
        });
    }
    found
}

/// Visits everything below a folder, not the folder itself, without following links. What vanishes is left out.
fn walk(folder: &Path, visit: &mut dyn FnMut(&Path)) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        visit(&path);
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(&path, visit);
        }
    }
}

fn loop_devices() -> Things {
    fs::read_dir("/sys/block")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let file = fs::read_to_string(entry.path().join("loop/backing_file")).ok()?;
            let words = format!("{} of {}", entry.file_name().to_string_lossy(), file.trim());
            Some((words.clone(), words))
        })
        .collect()
}

/// Reads the processes, and the network namespaces that they, their open files and the mounts hold.
fn processes(mounts: &Things) -> Result<(Things, Things)> {
    let mut processes = Things::new();
    let mut namespaces = Things::new();
    for entry in fs::read_dir("/proc").context("cannot read /proc")? {
        let path = entry?.path();
        let Some(pid) = path
            .file_name()
            .and_then(|name| name.to_str()?.parse::<u32>().ok())
        else {
            continue;
        };
        let Some((words, started)) = process(&path, pid) else {
            continue;
        };
        for link in namespace_links(&path) {
            namespaces
                .entry(link.clone())
                .or_insert_with(|| format!("{link} of {words}"));
        }
        processes.insert(format!("{pid} {started}"), words);
    }
    for words in mounts.values() {
        if let Some(name) = words
            .split(' ')
            .next()
            .filter(|name| name.starts_with("net:["))
        {
            namespaces
                .entry(name.to_owned())
                .or_insert_with(|| words.clone());
        }
    }
    Ok((processes, namespaces))
}

/// Tells a process in words, with the time of its start in ticks: a pid may come again.
fn process(path: &Path, pid: u32) -> Option<(String, String)> {
    let stat = fs::read_to_string(path.join("stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let (state, flags, started) = (
        *fields.first()?,
        fields.get(6)?,
        (*fields.get(19)?).to_owned(),
    );
    // PF_KTHREAD of the kernel's sched.h: worker threads come and go as they like.
    if flags.parse::<u64>().ok()? & 0x0020_0000 != 0 {
        return None;
    }
    let line = fs::read(path.join("cmdline")).ok()?;
    let command = String::from_utf8_lossy(&line).replace('\0', " ");
    let name = stat.split_once('(')?.1.rsplit_once(')')?.0;
    let told = if command.trim().is_empty() {
        name
    } else {
        command.trim()
    };
    // The cgroup names the stand of a process whose command line does not.
    let group = fs::read_to_string(path.join("cgroup")).unwrap_or_default();
    let groups: BTreeSet<&str> = group
        .lines()
        .filter_map(|line| line.splitn(3, ':').nth(2))
        .filter(|g| *g != "/")
        .collect();
    let groups: Vec<&str> = groups.into_iter().collect();
    let zombie = if state == "Z" { " (zombie)" } else { "" };
    Some((
        format!("{pid} `{told}`{zombie} in [{}]", groups.join(" ")),
        started,
    ))
}

fn namespace_links(path: &Path) -> BTreeSet<String> {
    let own = fs::read_link(path.join("ns/net")).ok();
    let open = fs::read_dir(path.join("fd"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|fd| fs::read_link(fd.path()).ok());
    own.into_iter()
        .chain(open)
        .map(PathBuf::into_os_string)
        .map(|link| link.to_string_lossy().into_owned())
        .filter(|link| link.starts_with("net:["))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn census(kind: Kind, things: &[&str]) -> Census {
        Census(
            [(
                kind,
                things
                    .iter()
                    .map(|t| ((*t).to_owned(), (*t).to_owned()))
                    .collect(),
            )]
            .into(),
        )
    }

    #[test]
    fn the_difference_is_told_in_words() {
        let before = census(Kind::Mount, &["a", "b"]);
        let after = census(Kind::Mount, &["b", "/x/c", "/x/d"]);
        let difference = before.until(&after);
        assert_eq!(
            difference.to_string(),
            "2 more mounts: /x/c, /x/d\n1 fewer mount: a"
        );
        assert_eq!(
            difference.that_bear(&["/x/d"]).to_string(),
            "1 more mount: /x/d"
        );
        assert_eq!(before.until(&before).to_string(), "no difference");
        assert_eq!(
            before.until(&after).surplus().to_string(),
            "1 more mount: /x/d"
        );
    }

    #[test]
    fn a_process_and_a_file_are_seen_while_they_are_there() {
        let state = std::env::temp_dir().join(format!("daas-census-{}", std::process::id()));
        fs::create_dir(&state).unwrap();
        let mark = state.display().to_string();
        let before = Census::take(&state).unwrap();
        let file = state.join("record");
        fs::write(&file, "x").unwrap();
        let mut child = std::process::Command::new("tail")
            .arg("-f")
            .arg(&file)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // Its parent goes on as soon as the old memory is let go of; the words of the new one come a moment later.
        let words = format!("/proc/{}/cmdline", child.id());
        while !fs::read_to_string(&words).unwrap().contains(&mark) {
            std::thread::yield_now();
        }
        let during = before
            .until(&Census::take(&state).unwrap())
            .that_bear(&[&mark]);
        child.kill().unwrap();
        child.wait().unwrap();
        fs::remove_file(&file).unwrap();
        let after = before
            .until(&Census::take(&state).unwrap())
            .that_bear(&[&mark]);
        fs::remove_dir(&state).unwrap();
        let kinds: Vec<Kind> = during.more.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, [Kind::Process, Kind::File], "{during}");
        assert_eq!(after.to_string(), "no difference");
    }
}
