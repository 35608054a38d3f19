//! Looks at the host: what stands need, what was found, what to change. Changes nothing.

mod preemption;

use daas_api::{Check, CheckVerdict};
use daas_sys::cgroup;
use std::io;
use std::path::Path;

/// Below this much free disk new stands soon fail.
const LITTLE_DISK: u64 = 5 << 30;
/// Neighbour entries that a host of 300 stands with three nodes each needs (engine notes, pitfall 3).
const NEIGHBOURS: u64 = 16_384;
/// Inotify instances of all users that logs, nodes and tools share.
const INOTIFY: u64 = 512;

/// Returns how cgroups are mounted.
pub(crate) fn cgroups() -> String {
    match cgroup::mode() {
        Ok(mode) => format!("{mode:?}").to_lowercase(),
        Err(_) => "none".into(),
    }
}

/// Returns the size of the disk below `path` and what is free of it, in bytes.
pub(crate) fn disk(path: &Path) -> io::Result<(u64, u64)> {
    let stat = rustix::fs::statvfs(path)?;
    Ok((stat.f_blocks * stat.f_frsize, stat.f_bavail * stat.f_frsize))
}

/// Looks at everything.
#[must_use]
pub fn checks(state: &Path) -> Vec<Check> {
    let mut checks = vec![kernel(), cgroup_check(), preemption::preemption()];
    checks.extend(["overlay", "ext4"].map(file_system));
    checks.push(user_namespaces());
    checks.push(loop_devices());
    checks.extend([
        sysctl(
            "sysctl-neighbours",
            "neighbour table",
            "net.ipv4.neigh.default.gc_thresh3",
            NEIGHBOURS,
        ),
        sysctl(
            "sysctl-inotify",
            "inotify instances",
            "fs.inotify.max_user_instances",
            INOTIFY,
        ),
    ]);
    checks.push(taken_ports());
    checks.push(free_disk(state));
    checks.extend(PROGRAMS.map(program));
    checks
}

fn check(
    code: &str,
    title: &str,
    verdict: CheckVerdict,
    found: impl Into<String>,
    fix: Option<String>,
) -> Check {
    Check {
        code: code.into(),
        title: title.into(),
        verdict,
        found: found.into(),
        fix,
    }
}

/// The oldest kernel with everything that is used: idmapped overlay layers came with 5.19.
fn kernel() -> Check {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    let mut parts = release
        .split(['.', '-'])
        .map_while(|part| part.parse::<u32>().ok());
    let version = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    let good = version >= (5, 19);
    let fix = (!good).then(|| "install a kernel of at least 5.19; Debian 12 has 6.1".to_owned());
    check(
        "kernel-version",
        "kernel",
        if good {
            CheckVerdict::Ok
        } else {
            CheckVerdict::Fail
        },
        release,
        fix,
    )
}

fn cgroup_check() -> Check {
    match cgroup::mode() {
        Ok(mode) => {
            let text = format!("{mode:?}").to_lowercase();
            let verdict = if text == "v2" {
                CheckVerdict::Ok
            } else {
                CheckVerdict::Warn
            };
            let fix = (verdict == CheckVerdict::Warn).then(|| "boot with `systemd.unified_cgroup_hierarchy=1`: per-node memory kills and pressure need cgroup v2".to_owned());
            check("kernel-cgroups", "cgroups", verdict, text, fix)
        }
        Err(fault) => check(
            "kernel-cgroups",
            "cgroups",
            CheckVerdict::Fail,
            fault.to_string(),
            Some("mount cgroup v2 at /sys/fs/cgroup".into()),
        ),
    }
}

fn file_system(name: &str) -> Check {
    let known = std::fs::read_to_string("/proc/filesystems")
        .is_ok_and(|text| text.split_whitespace().any(|word| word == name));
    let module = Path::new("/proc/modules").exists();
    let (verdict, found) = match (known, module) {
        (true, _) => (CheckVerdict::Ok, "in the kernel"),
        (false, true) => (CheckVerdict::Warn, "not loaded"),
        (false, false) => (CheckVerdict::Fail, "missing"),
    };
    check(
        &format!("kernel-{name}"),
        &format!("file system {name}"),
        verdict,
        found,
        (verdict != CheckVerdict::Ok)
            .then(|| format!("run `modprobe {name}`, and name it in /etc/modules-load.d")),
    )
}

fn user_namespaces() -> Check {
    let most = number("user.max_user_namespaces").unwrap_or(0);
    let good = most >= 1024;
    check(
        "kernel-user-namespaces",
        "user namespaces",
        if good {
            CheckVerdict::Ok
        } else {
            CheckVerdict::Fail
        },
        format!("at most {most}"),
        (!good).then(|| "set user.max_user_namespaces=15000 in /etc/sysctl.d".into()),
    )
}

fn loop_devices() -> Check {
    let there = Path::new("/dev/loop-control").exists();
    check(
        "kernel-loop",
        "loop devices",
        if there {
            CheckVerdict::Ok
        } else {
            CheckVerdict::Fail
        },
        if there {
            "/dev/loop-control"
        } else {
            "no /dev/loop-control"
        },
        (!there).then(|| "run `modprobe loop`, and name it in /etc/modules-load.d".into()),
    )
}

fn number(sysctl: &str) -> Option<u64> {
    std::fs::read_to_string(format!("/proc/sys/{}", sysctl.replace('.', "/")))
        .ok()?
        .trim()
        .parse()
        .ok()
}

fn sysctl(code: &str, title: &str, key: &str, wanted: u64) -> Check {
    match number(key) {
        Some(value) if value >= wanted => check(
            code,
            title,
            CheckVerdict::Ok,
            format!("{key} = {value}"),
            None,
        ),
        Some(value) => check(
            code,
            title,
            CheckVerdict::Warn,
            format!("{key} = {value}"),
            Some(format!(
                "set {key}={wanted} in /etc/sysctl.d: hundreds of stands need it"
            )),
        ),
        None => check(
            code,
            title,
            CheckVerdict::Warn,
            format!("{key} is not there"),
            None,
        ),
    }
}

/// Ports that projects publish most (counted over 1,073 compose files: web, databases, caches).
const USUAL_PORTS: [u16; 9] = [80, 443, 3000, 3306, 5432, 6379, 8000, 8080, 9090];

/// Looks for programs that listen on every address: a stand cannot answer there, though its address is its own.
fn taken_ports() -> Check {
    let mut taken: Vec<u16> = [("/proc/net/tcp", 8), ("/proc/net/tcp6", 32)]
        .into_iter()
        .flat_map(|(path, digits)| {
            wildcard_listeners(&std::fs::read_to_string(path).unwrap_or_default(), digits)
        })
        .filter(|port| USUAL_PORTS.contains(port))
        .collect();
    taken.sort_unstable();
    taken.dedup();
    if taken.is_empty() {
        return check(
            "ports-free",
            "ports that projects publish",
            CheckVerdict::Ok,
            "free",
            None,
        );
    }
    let list: Vec<String> = taken.iter().map(ToString::to_string).collect();
    let fix = "let those programs listen on one address instead of all (`0.0.0.0`), or publish other ports".to_owned();
    check(
        "ports-free",
        "ports that projects publish",
        CheckVerdict::Warn,
        format!("taken on every address: {}", list.join(", ")),
        Some(fix),
    )
}

/// Returns the ports of listening sockets on the address of all zeros (proc_net(5): `local_address` in hexadecimal, state 0A).
fn wildcard_listeners(text: &str, digits: usize) -> Vec<u16> {
    let line = |line: &str| -> Option<u16> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (address, port) = words.get(1)?.split_once(':')?;
        (*words.get(3)? == "0A" && address.len() == digits && address.bytes().all(|b| b == b'0'))
            .then(|| u16::from_str_radix(port, 16).ok())?
    };
    text.lines().skip(1).filter_map(line).collect()
}

fn free_disk(state: &Path) -> Check {
    match disk(state) {
        Ok((total, free)) => {
            let verdict = if free < LITTLE_DISK {
                CheckVerdict::Warn
            } else {
                CheckVerdict::Ok
            };
            let found = format!(
                "{} free of {} at {}",
                daas_model::ByteSize(free),
                daas_model::ByteSize(total),
                state.display()
            );
            check(
                "disk-free",
                "disk",
                verdict,
                found,
                (verdict == CheckVerdict::Warn).then(|| {
                    "run `daas system prune --all`, or give the state directory a larger disk"
                        .into()
                }),
            )
        }
        Err(error) => check(
            "disk-free",
            "disk",
            CheckVerdict::Fail,
            error.to_string(),
            None,
        ),
    }
}

/// Programs that are run, what for, and the package that has each.
const PROGRAMS: [(&str, &str, &str); 3] = [
    ("mkfs.ext4", "disks of stands", "e2fsprogs"),
    ("mmdebstrap", "`daas image make`", "mmdebstrap"),
    ("nft", "`egress: full`", "nftables"),
];

fn program((name, purpose, package): (&str, &str, &str)) -> Check {
    let path = [
        "/usr/sbin",
        "/usr/bin",
        "/sbin",
        "/bin",
        "/usr/local/bin",
        "/usr/local/sbin",
    ]
    .map(|dir| format!("{dir}/{name}"))
    .into_iter()
    .find(|path| Path::new(path).exists());
    let verdict = match (&path, name) {
        (Some(_), _) => CheckVerdict::Ok,
        (None, "mkfs.ext4") => CheckVerdict::Fail,
        (None, _) => CheckVerdict::Warn,
    };
    let fix = path
        .is_none()
        .then(|| format!("run `apt-get install {package}`"));
    check(
        &format!("program-{}", name.replace('.', "-")),
        &format!("{name}, for {purpose}"),
        verdict,
        path.unwrap_or_else(|| "not found".into()),
        fix,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listeners_on_every_address_stand_in_the_way() {
        let text = "  sl  local_address rem_address   st\n\
            0: 00000000:0050 00000000:0000 0A 0\n\
            1: 0100007F:1538 00000000:0000 0A 0\n\
            2: 00000000:1F90 0100007F:9999 01 0\n";
        assert_eq!(wildcard_listeners(text, 8), [80]);
        assert!(wildcard_listeners("garbage\nx y z\n1: 2 3 0A\n", 8).is_empty());
    }
}
