//! What this kernel can do, for `daas doctor`. Every probe does the real thing in a place of its own and undoes it.

use crate::{cgroup, netlink, netns};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

/// How much a feature is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// No stand runs without it.
    Must,
    /// Something works worse without it.
    Should,
}

/// The answer of one probe.
#[derive(Debug)]
pub struct Probe {
    /// What was looked for: `overlay over shifted layers`.
    pub what: &'static str,
    /// How much it is needed.
    pub need: Need,
    /// A word about what was found, or why it is not there.
    pub result: io::Result<String>,
    /// What to do when it is not there.
    pub advice: &'static str,
}

/// Probes everything; `scratch` is a folder on the file system that layers and disks will be on. Blocking: a few milliseconds. Needs root.
#[must_use]
pub fn all(scratch: &Path) -> Vec<Probe> {
    let mut probes = needed(scratch);
    probes.extend(wished());
    probes
}

fn probe(
    what: &'static str,
    need: Need,
    result: io::Result<String>,
    advice: &'static str,
) -> Probe {
    Probe {
        what,
        need,
        result,
        advice,
    }
}

fn needed(scratch: &Path) -> Vec<Probe> {
    vec![
        probe(
            "root",
            Need::Must,
            root(),
            "run as root; DaaS gives up what it does not need",
        ),
        probe(
            "control groups",
            Need::Must,
            cgroups(),
            "boot with cgroup v2 (`systemd.unified_cgroup_hierarchy=1`), or mount a v2 tree at /sys/fs/cgroup/unified",
        ),
        probe(
            "user, mount, network and pid namespaces",
            Need::Must,
            namespaces(),
            "use a kernel with CONFIG_USER_NS, and set user.max_user_namespaces above 0",
        ),
        probe(
            "confined path resolution (openat2)",
            Need::Must,
            openat2(scratch),
            "use a kernel from 5.6 on",
        ),
        probe(
            "shifted owners on this file system",
            Need::Must,
            idmap(scratch),
            "keep the state directory on ext4, XFS or btrfs with a kernel from 5.19 on",
        ),
        probe(
            "overlay file system",
            Need::Must,
            in_kernel("overlay"),
            "load the module: `modprobe overlay`",
        ),
        probe(
            "loop devices",
            Need::Must,
            readable("/dev/loop-control"),
            "load the module: `modprobe loop`",
        ),
        probe(
            "ext4",
            Need::Must,
            in_kernel("ext4"),
            "load the module: `modprobe ext4`",
        ),
        probe(
            "mkfs.ext4",
            Need::Must,
            program("mkfs.ext4"),
            "install e2fsprogs",
        ),
        probe(
            "bridges and veth links",
            Need::Must,
            links(),
            "load the modules: `modprobe bridge veth`",
        ),
        probe(
            "system call filters",
            Need::Must,
            readable("/proc/sys/kernel/seccomp/actions_avail"),
            "use a kernel with CONFIG_SECCOMP_FILTER",
        ),
        probe(
            "killing a whole control group",
            Need::Must,
            cgroup_kill(),
            "use a kernel from 5.14 on",
        ),
    ]
}

fn wished() -> Vec<Probe> {
    vec![
        probe(
            "raising resource limits",
            Need::Should,
            resources(),
            "give the platform CAP_SYS_RESOURCE; without it `ulimits` are clamped",
        ),
        probe(
            "address translation (nftables)",
            Need::Should,
            in_kernel("nf_tables"),
            "load the module: `modprobe nf_tables`; only `egress: full` needs it",
        ),
        probe(
            "rules for bridges (nftables)",
            Need::Should,
            bridge_rules(),
            "load the module: `modprobe nf_tables`; without it nodes of one stand can use each other's addresses",
        ),
        probe(
            "neighbour table",
            Need::Should,
            neighbours(),
            "DaaS raises net.ipv4.neigh.default.gc_thresh1-3 at its start",
        ),
    ]
}

fn no(text: impl Into<String>) -> io::Error {
    io::Error::other(text.into())
}

fn root() -> io::Result<String> {
    if rustix::process::geteuid().is_root() {
        Ok("we are root".to_owned())
    } else {
        Err(no("we are not root"))
    }
}

fn cgroups() -> io::Result<String> {
    Ok(match cgroup::mode().map_err(|e| e.source)? {
        cgroup::Mode::V2 => "version 2".to_owned(),
        cgroup::Mode::Hybrid => "version 1 with a version 2 tree".to_owned(),
    })
}

/// Tries in a thread of its own, which takes its namespaces along when it ends.
fn apart<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    std::thread::spawn(work)
        .join()
        .map_err(|_| no("the probe panicked"))?
}

fn namespaces() -> io::Result<String> {
    apart(|| netns::unshare(true, true, true))?;
    let most = fs::read_to_string("/proc/sys/user/max_user_namespaces")?;
    match most.trim().parse::<u64>() {
        Ok(0) => Err(no("user.max_user_namespaces is 0")),
        Ok(n) => Ok(format!("up to {n} user namespaces")),
        Err(_) => Ok("there".to_owned()),
    }
}

fn openat2(scratch: &Path) -> io::Result<String> {
    rustix::fs::openat2(
        CWD,
        scratch,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::NO_MAGICLINKS,
    )?;
    Ok("there".to_owned())
}

fn idmap(scratch: &Path) -> io::Result<String> {
    let place = rustix::fs::open(
        scratch,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let mount = crate::mounts::detached_bind(place.as_fd(), false)?;
    // The initial namespace is refused with EPERM after the file system was asked whether it can at all (EINVAL where it cannot).
    let own = fs::File::open("/proc/self/ns/user")?;
    match crate::mounts::shift_owners(mount.as_fd(), own.as_fd(), false) {
        Ok(()) => Ok("there".to_owned()),
        Err(e) if e.raw_os_error() == Some(libc::EPERM) => Ok("there".to_owned()),
        Err(e) => Err(e),
    }
}

fn in_kernel(name: &str) -> io::Result<String> {
    let known = fs::read_to_string("/proc/filesystems")?;
    if known
        .lines()
        .any(|line| line.split_whitespace().last() == Some(name))
        || Path::new("/sys/module").join(name).exists()
    {
        return Ok("there".to_owned());
    }
    // A module that is not loaded yet is loaded on demand.
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let listed = |file: &str| {
        fs::read_to_string(format!("/lib/modules/{release}/{file}"))
            .is_ok_and(|text| text.contains(&format!("/{name}.ko")))
    };
    if listed("modules.builtin") || listed("modules.dep") {
        return Ok("as a module".to_owned());
    }
    Err(no(format!("the kernel knows no {name}")))
}

fn readable(path: &str) -> io::Result<String> {
    fs::metadata(path).map(|_| "there".to_owned())
}

fn program(name: &str) -> io::Result<String> {
    ["/usr/sbin", "/sbin", "/usr/bin", "/bin"]
        .iter()
        .map(|folder| Path::new(folder).join(name))
        .find(|path| path.exists())
        .map(|path| path.display().to_string())
        .ok_or_else(|| no(format!("there is no {name}")))
}

fn links() -> io::Result<String> {
    apart(|| {
        netns::unshare(false, true, false)?;
        let other = netns::current()?;
        let mut route = netlink::Route::open()?;
        let end = |name, index| netlink::LinkEnd {
            name,
            index,
            mac: None,
        };
        route.batch(vec![
            netlink::bridge("probe", 10, [2, 0, 0, 0, 0, 1]),
            netlink::veth(
                end("probe-a", 11),
                Some(10),
                end("probe-b", 12),
                other.as_fd(),
            ),
        ])?;
        Ok("there".to_owned())
    })
}

fn bridge_rules() -> io::Result<String> {
    apart(|| {
        netns::unshare(false, true, false)?;
        crate::guard::Guard::install()?;
        Ok("there".to_owned())
    })
}

fn cgroup_kill() -> io::Result<String> {
    // The file is in every cgroup but the root.
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= (5, 14) {
        Ok(format!("Linux {release}"))
    } else {
        Err(no(format!("Linux {release} is too old")))
    }
}

fn resources() -> io::Result<String> {
    let status = fs::read_to_string("/proc/self/status")?;
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0);
    let bit = crate::caps::bit("SYS_RESOURCE").unwrap_or(0);
    if mask & bit != 0 {
        Ok("allowed".to_owned())
    } else {
        Err(no("we lack CAP_SYS_RESOURCE"))
    }
}

fn neighbours() -> io::Result<String> {
    let now = netns::NeighbourThresholds::read("ipv4").map_err(|e| e.source)?;
    if now.hard >= netns::NeighbourThresholds::WANTED.hard {
        Ok(format!("{} entries", now.hard))
    } else {
        Err(no(format!(
            "only {} entries for all stands together: enough for about {} stands",
            now.hard,
            now.hard / 4
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_this_machine_has_what_a_stand_needs_and_every_absence_has_advice() {
        let dir = tempfile::tempdir().unwrap();
        for probe in all(dir.path()) {
            assert!(!probe.advice.is_empty());
            assert!(
                probe.need == Need::Should || probe.result.is_ok(),
                "{}: {:?}",
                probe.what,
                probe.result
            );
        }
    }
}
