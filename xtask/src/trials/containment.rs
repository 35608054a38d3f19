//! What a node can see and touch, against Debian's runc and against libcontainer on the same description.
//!
//! One script of busybox runs as the first process in all and tells what it finds; the others are the reference, and the
//! script is proved on them first. libcontainer is a program of its own (`tools/oracle`), outside of the product's dependencies.

use super::bed::{Bed, IMAGE, busybox_tree};
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Docker's default capabilities without MKNOD (design, section 3).
const CAPABILITIES: [&str; 13] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// Paths that must give nothing away, and paths that must not be written.
const MASKED: [&str; 9] = [
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];
const READ_ONLY: [&str; 4] = [
    "/proc/sys/kernel/panic",
    "/proc/sysrq-trigger",
    "/proc/irq/default_smp_affinity",
    "/sys/kernel/profiling",
];

/// What the script found, by heading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts(BTreeMap<String, Vec<String>>);

fn script() -> String {
    let masked: Vec<String> = MASKED.iter().map(|path| format!("b wc {path}")).collect();
    let writable: Vec<String> = READ_ONLY.iter().map(|path| format!("w {path}")).collect();
    format!(
        "b() {{ n=$( (busybox cat $2 || busybox ls $2) 2>/dev/null | busybox wc -c); echo $2 $n; }}
w() {{ if (: > $1) 2>/dev/null; then echo $1 open; else echo $1 closed; fi; }}
echo == caps; busybox grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status
echo == descriptors; busybox ls /proc/1/fd
echo == folder; busybox readlink /proc/1/cwd
echo == environment; busybox tr '\\0' '\\n' < /proc/1/environ | busybox cut -d= -f1
echo == mounts; busybox cat /proc/self/mountinfo
echo == ids; busybox cat /proc/self/uid_map
echo == masked; {}
echo == writable; {}
echo == end
exec busybox sleep 1000
",
        masked.join("; "),
        writable.join("; ")
    )
}

impl Facts {
    fn parse(text: &str) -> Result<Self> {
        ensure!(
            text.contains("== end"),
            "the script did not come to its end:\n{text}"
        );
        let mut facts = BTreeMap::new();
        let mut heading = String::new();
        for line in text.lines() {
            match line.strip_prefix("== ") {
                Some(name) => heading = name.to_owned(),
                None => facts
                    .entry(heading.clone())
                    .or_insert_with(Vec::new)
                    .push(line.split_whitespace().collect::<Vec<_>>().join(" ")),
            }
        }
        Ok(Self(facts))
    }

    fn lines(&self, heading: &str) -> &[String] {
        self.0.get(heading).map_or(&[], Vec::as_slice)
    }

    /// Mount point to type and those options that take something away.
    fn mounts(&self) -> BTreeMap<&str, (&str, BTreeSet<&str>)> {
        self.lines("mounts")
            .iter()
            .filter_map(|line| {
                let (mount, kind) = line.split_once(" - ")?;
                let fields: Vec<&str> = mount.split(' ').collect();
                let taken = fields
                    .get(5)?
                    .split(',')
                    .filter(|option| ["ro", "nosuid", "nodev", "noexec"].contains(option));
                Some((*fields.get(4)?, (kind.split(' ').next()?, taken.collect())))
            })
            .collect()
    }

    /// Lists every way in which this node can do more than the reference.
    #[must_use]
    pub fn wider_than(&self, reference: &Self) -> Vec<String> {
        let mut faults = Vec::new();
        for heading in ["descriptors", "folder"] {
            if self.lines(heading) != reference.lines(heading) {
                faults.push(format!(
                    "{heading}: {:?}, the reference has {:?}",
                    self.lines(heading),
                    reference.lines(heading)
                ));
            }
        }
        for line in reference.lines("caps") {
            // Seccomp is ours alone: `runc spec` brings no filter.
            if !line.starts_with("Seccomp") && !self.lines("caps").contains(line) {
                faults.push(format!(
                    "capabilities: the reference says {line}, not so {:?}",
                    self.lines("caps")
                ));
            }
        }
        if !self.lines("caps").contains(&"Seccomp: 2".to_owned()) {
            faults.push("no seccomp filter".to_owned());
        }
        for heading in ["masked", "writable"] {
            for (own, other) in self.lines(heading).iter().zip(reference.lines(heading)) {
                let harmless = own.ends_with(" 0") || own.ends_with("closed");
                if own != other && !harmless {
                    faults.push(format!("{heading}: {own}, the reference says {other}"));
                }
            }
        }
        let (own, other) = (self.mounts(), reference.mounts());
        for (place, (kind, taken)) in other.iter().filter(|(place, _)| **place != "/") {
            match own.get(place) {
                Some((own_kind, own_taken))
                    if own_kind == kind
                        || place.starts_with("/proc/")
                        || place.starts_with("/sys/") =>
                {
                    for option in taken.difference(own_taken) {
                        faults.push(format!("mount {place}: not {option}, as the reference is"));
                    }
                }
                Some((own_kind, _)) => faults.push(format!(
                    "mount {place}: {own_kind}, the reference has {kind}"
                )),
                // A device that runc lends from the host may as well be made there.
                None if *kind == "devtmpfs" => {}
                // Judged above by what can be read and written there.
                None if place.starts_with("/proc/") || place.starts_with("/sys/") => {}
                None => faults.push(format!("mount {place} ({kind}) is missing")),
            }
        }
        if self
            .lines("ids")
            .first()
            .is_none_or(|line| line.starts_with("0 0 "))
        {
            faults.push(format!(
                "root inside is root outside: {:?}",
                self.lines("ids")
            ));
        }
        faults
    }
}

/// Runs the script as a node and under runc, and compares.
///
/// # Errors
/// Everything in which the node is wider than the reference.
pub fn containment_against_runc(program: &Path) -> Result<String> {
    containment_against(program, &[("runc", facts_of_runc()?)])
}

/// As [`containment_against_runc`], and under libcontainer, which cargo builds for it.
///
/// # Errors
/// As [`containment_against_runc`]; also when libcontainer does not build.
pub fn containment_against_all(program: &Path) -> Result<String> {
    let references = [
        ("runc", facts_of_runc()?),
        ("libcontainer", facts_of_libcontainer()?),
    ];
    containment_against(program, &references)
}

fn containment_against(program: &Path, references: &[(&str, Facts)]) -> Result<String> {
    let bed = Bed::new(program)?;
    let command = json!(["/bin/busybox", "sh", "-c", script()])
        .to_string()
        .replace('$', "$$");
    let project = bed.project(&format!(
        "  facts:\n    image: {IMAGE}\n    environment: {{ONE: '1'}}\n    command: {command}\nx-daas: {{egress: none}}\n"
    ));
    bed.api().up("facts", &project, 0)?;
    let until = Instant::now() + Duration::from_secs(20);
    let text = loop {
        let mut answer = bed.api().ask(
            "GET",
            "/stands/facts/logs",
            &[("Accept", "application/octet-stream")],
            &[],
        )?;
        let mut text = String::new();
        answer.read_to_string(&mut text)?;
        if text.contains("== end") || Instant::now() > until {
            break text;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let facts = Facts::parse(&text)?;
    bed.api().down("facts")?;
    for (judge, reference) in references {
        let faults = facts.wider_than(reference);
        if !faults.is_empty() {
            bail!("wider than {judge}:\n{}", faults.join("\n"));
        }
    }
    // The last one names the platform's authority to programs that bring a list of their own along.
    let known = ["ONE", "PATH", "HOME", "HOSTNAME", "NODE_EXTRA_CA_CERTS"];
    let strange: Vec<&String> = facts
        .lines("environment")
        .iter()
        .filter(|name| !known.contains(&name.as_str()))
        .collect();
    ensure!(
        strange.is_empty(),
        "nobody declared the variables {strange:?}"
    );
    bed.nothing_is_left()?;
    let judges: Vec<&str> = references.iter().map(|(judge, _)| *judge).collect();
    Ok(format!(
        "{} mounts, capabilities, descriptors, masked and read-only paths: nowhere wider than {}",
        facts.mounts().len(),
        judges.join(" and ")
    ))
}

/// Runs the script under Debian's runc, with the rights that a node has.
///
/// # Errors
/// When runc fails.
pub fn facts_of_runc() -> Result<Facts> {
    let place = tempfile::tempdir().context("cannot make a folder")?;
    bundle(place.path())?;
    let mut runc = Command::new("runc");
    runc.arg("--root")
        .arg(place.path().join("state"))
        .args(["run", "--bundle"])
        .arg(place.path())
        .arg(format!("daas-trial-{}", std::process::id()));
    facts_of("runc", runc)
}

/// Runs the script under libcontainer, with the rights that a node has. Cargo builds the judge, which takes minutes the first time.
///
/// # Errors
/// When it does not build, or fails.
pub fn facts_of_libcontainer() -> Result<Facts> {
    let program = crate::programs::tool("oracle", "oracle")?;
    let place = tempfile::tempdir().context("cannot make a folder")?;
    bundle(place.path())?;
    let mut oracle = Command::new(program);
    oracle
        .arg(place.path().join("state"))
        .arg(place.path())
        .arg(format!("daas-trial-{}", std::process::id()));
    facts_of("libcontainer", oracle)
}

fn facts_of(judge: &str, mut command: Command) -> Result<Facts> {
    let output = command
        .stdin(std::process::Stdio::null())
        .output()
        .with_context(|| format!("cannot run {judge}"))?;
    if !output.status.success() {
        bail!("{judge}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Facts::parse(&String::from_utf8_lossy(&output.stdout))
}

/// Makes an OCI bundle of the trial image and the script, with the rights that a node has.
fn bundle(place: &Path) -> Result<()> {
    let root = place.join("root");
    busybox_tree(&root)?;
    let shift = 100_000;
    let chown = Command::new("chown")
        .args(["-hR", &format!("{shift}:{shift}")])
        .arg(&root)
        .status()?;
    ensure!(chown.success(), "chown failed");
    // The mapped root must be able to walk here.
    Command::new("chmod").arg("755").arg(place).status()?;
    let made = Command::new("runc")
        .arg("spec")
        .current_dir(place)
        .status()
        .context("cannot run runc")?;
    ensure!(made.success(), "runc spec failed");
    let file = place.join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&file)?)?;
    let names: Vec<String> = CAPABILITIES
        .iter()
        .map(|name| format!("CAP_{name}"))
        .collect();
    config["process"]["capabilities"] =
        json!({"bounding": names, "effective": names, "permitted": names});
    config["process"]["args"] = json!([
        "/bin/busybox",
        "sh",
        "-c",
        script().replace("exec busybox sleep 1000\n", "")
    ]);
    config["process"]["terminal"] = json!(false);
    config["process"]["rlimits"] = json!([]);
    config["process"]["env"] = json!(["PATH=/bin", "ONE=1"]);
    config["root"] = json!({"path": root});
    config["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": shift, "size": 65536}]);
    config["linux"]["gidMappings"] = config["linux"]["uidMappings"].clone();
    let namespaces = ["pid", "network", "ipc", "uts", "mount", "user", "cgroup"];
    config["linux"]["namespaces"] = namespaces
        .iter()
        .map(|kind| json!({"type": kind}))
        .collect();
    config["linux"]["cgroupsPath"] = json!(format!("/daas-trial-{}", std::process::id()));
    std::fs::write(&file, config.to_string())?;
    Ok(())
}
