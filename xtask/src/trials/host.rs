//! What an administrator may grant of the host: refused with its line before, and really there after.

use super::bed::{Bed, service};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

/// One thing of the host.
struct Case {
    /// The key of the project file and its value.
    key: &'static str,
    grant: Value,
    /// What the node tells of it, in busybox's shell.
    look: &'static str,
    /// What it must tell.
    wanted: String,
}

fn cases() -> Result<Vec<Case>> {
    let link = |name: &str| -> Result<String> {
        Ok(std::fs::read_link(format!("/proc/self/ns/{name}"))?
            .to_string_lossy()
            .into_owned())
    };
    let of_host = |name: &str| json!({"host-namespace": name});
    let etc = |name: &str| std::fs::read_to_string(format!("/etc/{name}")).unwrap_or_default();
    let links = std::fs::read_dir("/sys/class/net")?.flatten().count();
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")?;
    let resolvers = etc("resolv.conf").lines().count();
    Ok(vec![
        Case {
            key: "network_mode: host",
            grant: of_host("network"),
            look: "busybox readlink /proc/self/ns/net; busybox ls /sys/class/net | busybox wc -l; busybox wc -l < /etc/resolv.conf",
            wanted: format!("{}\n{links}\n{resolvers}", link("net")?),
        },
        Case {
            key: "pid: host",
            grant: of_host("pid"),
            look: "busybox readlink /proc/self/ns/pid; busybox cat /proc/1/stat > /dev/null && echo sees",
            wanted: format!("{}\nsees", link("pid")?),
        },
        Case {
            key: "ipc: host",
            grant: of_host("ipc"),
            look: "busybox readlink /proc/self/ns/ipc; busybox stat -c %d /dev/shm",
            wanted: format!("{}\n{}", link("ipc")?, device("/dev/shm")?),
        },
        Case {
            key: "uts: host",
            grant: of_host("uts"),
            look: "busybox readlink /proc/self/ns/uts; busybox hostname; busybox cat /etc/hostname",
            wanted: format!("{}\n{1}\n{1}", link("uts")?, name.trim()),
        },
        Case {
            key: "cgroup: host",
            grant: of_host("cgroup"),
            look: "busybox readlink /proc/self/ns/cgroup",
            wanted: link("cgroup")?,
        },
        Case {
            key: "privileged: true",
            grant: json!("privileged"),
            look: "busybox mount -t tmpfs x /var && echo mounted",
            wanted: "mounted".to_owned(),
        },
    ])
}

fn device(path: &str) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    Ok(std::fs::metadata(path)?.dev())
}

/// Asks for each thing without a grant and with it, looks at it from the first process and from an exec, and takes the stand down.
///
/// # Errors
/// What is given without a grant, refused with one, or not as it is on the host; and what is left.
pub fn granted_things_of_the_host(program: &Path) -> Result<String> {
    let bed = Bed::new(program)?;
    let cases = cases()?;
    for case in &cases {
        one(&bed, case).context(case.key)?;
    }
    bed.nothing_is_left()?;
    let keys: Vec<&str> = cases.iter().map(|case| case.key).collect();
    Ok(format!(
        "refused without a grant, there with one: {}",
        keys.join(", ")
    ))
}

fn one(bed: &Bed, case: &Case) -> Result<()> {
    // A child that outlives the first process, where no pid namespace takes it along.
    let line = format!(
        "{}; echo == end; busybox sleep 1000 & exec busybox sleep 1000",
        case.look
    );
    let project = bed.project(&(service("facts", &line) + "    " + case.key + "\n"));
    let refused = bed.api().up("facts", &project, 0);
    let words = format!("{:?}", refused.as_ref().err());
    ensure!(
        words.contains("grant-missing") && words.contains("compose.yaml"),
        "without a grant: {words}"
    );
    let grants = json!({"project": "project", "grants": [case.grant]});
    bed.api().put("/projects/project/grants", &grants)?;
    let plan = bed.api().post(
        "/stands/plan",
        &json!({"name": "facts", "project": project.source()}),
    )?;
    ensure!(
        plan.to_string().contains("an administrator granted"),
        "the plan does not tell of the grant: {plan}"
    );
    bed.api().up("facts", &project, 0)?;
    let said = log_until_end(bed)?;
    ensure!(
        said.trim() == case.wanted,
        "the node says {said:?}, wanted {:?}",
        case.wanted
    );
    let ran = bed
        .api()
        .exec("facts", "facts", &["/bin/busybox", "sh", "-c", case.look])?;
    let out = String::from_utf8_lossy(&ran.out).into_owned();
    ensure!(
        ran.code == 0 && out.trim() == case.wanted,
        "an exec says {out:?} and {:?}",
        String::from_utf8_lossy(&ran.err)
    );
    bed.api().down("facts")?;
    bed.api().delete("/projects/project/grants")?;
    Ok(())
}

fn log_until_end(bed: &Bed) -> Result<String> {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let mut answer = bed.api().ask(
            "GET",
            "/stands/facts/logs",
            &[("Accept", "application/octet-stream")],
            &[],
        )?;
        let mut text = String::new();
        answer.read_to_string(&mut text)?;
        if let Some((said, _)) = text.split_once("== end") {
            return Ok(said.to_owned());
        }
        ensure!(Instant::now() < until, "the node said {text:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
