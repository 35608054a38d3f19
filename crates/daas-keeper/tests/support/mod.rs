//! A machine for tests: images of busybox, keepers, and a census of what could be left behind.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses its own part"
)]

use daas_keeper::launch::{
    BindOwners, BridgeLaunch, BridgeSubnet, DiskSeed, DnsTable, EgressLaunch, InterfaceLaunch,
    KeeperSeed, MountLaunch, MountLaunchSource, NetworkLaunch, NodeLaunch, StandLaunch,
};
use daas_keeper::log::{From, Reader, Stream};
use daas_keeper::protocol::{Event, Request, Response, Status, VERSION};
use daas_keeper::{Client, ClientError};
use daas_model::{ByteSize, Limits, NetworkName, NodeName, NodeState, StandId, StandName, Subnet};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

static NEXT: AtomicU32 = AtomicU32::new(0);

pub struct Machine {
    pub dir: tempfile::TempDir,
    pub cgroup_root: String,
    pub template: PathBuf,
}

pub fn node_name(name: &str) -> NodeName {
    NodeName::parse(name).unwrap()
}

pub fn network_name(name: &str) -> NetworkName {
    NetworkName::parse(name).unwrap()
}

impl Machine {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("daas-keeper-")
            .tempdir()
            .unwrap();
        let cgroup_root = format!(
            "daas-test-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        daas_sys::cgroup::Root::find(&cgroup_root)
            .unwrap()
            .prepare()
            .unwrap();
        let template = daas_keeper::disk::ensure_template(
            &dir.path().join("templates"),
            ByteSize::mib(256),
            false,
        )
        .unwrap();
        Self {
            dir,
            cgroup_root,
            template,
        }
    }

    /// A root file system of one layer: busybox and nothing else.
    pub fn busybox(&self) -> PathBuf {
        let root = self.dir.path().join("busybox");
        if root.exists() {
            return root;
        }
        for folder in ["bin", "etc", "proc", "sys", "dev", "tmp", "root", "var/www"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        fs::copy("/bin/busybox", root.join("bin/busybox")).expect("install busybox-static");
        let list = Command::new("/bin/busybox").arg("--list").output().unwrap();
        for applet in String::from_utf8(list.stdout).unwrap().lines() {
            let _ = std::os::unix::fs::symlink("busybox", root.join("bin").join(applet));
        }
        fs::write(
            root.join("etc/passwd"),
            "root:x:0:0:root:/root:/bin/sh\nwww:x:33:33:www:/:/bin/sh\n",
        )
        .unwrap();
        fs::write(root.join("etc/group"), "root:x:0:\nwww:x:33:\n").unwrap();
        root
    }

    pub fn seed(&self, id: &str) -> KeeperSeed {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let uid_base = 1_000_000 + (std::process::id() % 500 * 100 + number % 100) * 65_536;
        KeeperSeed {
            protocol: VERSION,
            keeper_id: StandId::parse(id).unwrap(),
            dir: self.dir.path().join("keepers").join(id),
            uid_base,
            uid_count: 65_536,
            disk: DiskSeed {
                size: ByteSize::mib(256),
                template: self.template.clone(),
                durable: false,
            },
            cgroup_root: self.cgroup_root.clone(),
            // Fewer than most tests have nodes: both ways to be born are tested.
            seats: 2,
        }
    }

    /// Starts a keeper as a process of its own.
    pub fn keeper(&self, id: &str) -> Keeper {
        self.keeper_with(&self.seed(id), &[])
    }

    pub fn keeper_with(&self, seed: &KeeperSeed, env: &[(&str, &str)]) -> Keeper {
        let file = self
            .dir
            .path()
            .join(format!("{}.seed.json", seed.keeper_id));
        fs::write(&file, serde_json::to_vec(seed).unwrap()).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_daas-keeper-alone"))
            .arg("keeper")
            .arg(&file)
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut keeper = Keeper {
            process,
            dir: seed.dir.clone(),
            id: seed.keeper_id.clone(),
            seed: seed.clone(),
        };
        let until = Instant::now() + Duration::from_secs(120);
        // One that dies before it listens is met by whoever asks it.
        while Client::connect(&keeper.dir).is_err()
            && keeper.process.try_wait().unwrap().is_none()
            && Instant::now() < until
        {
            std::thread::sleep(Duration::from_millis(1));
        }
        keeper
    }

    pub fn census(&self) -> Census {
        Census::take(self)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Keepers of a failed test must not stay: they are ours by their folders.
        if let Ok(keepers) = fs::read_dir(self.dir.path().join("keepers")) {
            for keeper in keepers.flatten() {
                let _ = daas_keeper::sweep(
                    &keeper.path(),
                    &self.cgroup_root,
                    daas_keeper::Leave::default(),
                );
            }
        }
        if let Ok(root) = daas_sys::cgroup::Root::find(&self.cgroup_root) {
            root.leave(Duration::from_secs(1));
        }
    }
}

pub struct Keeper {
    pub process: Child,
    pub dir: PathBuf,
    pub id: StandId,
    pub seed: KeeperSeed,
}

impl Keeper {
    pub fn client(&self) -> Client {
        Client::connect(&self.dir).unwrap_or_else(|e| {
            panic!(
                "{e}; keeper says: {}",
                fs::read_to_string(self.dir.join("keeper.log")).unwrap_or_default()
            )
        })
    }

    pub fn adopt(&self) {
        let launch = self.stand();
        self.ask(Request::Adopt(launch));
    }

    /// A stand with one network, 10.0.0.0/24.
    pub fn stand(&self) -> StandLaunch {
        StandLaunch {
            stand_id: self.id.clone(),
            name: StandName::parse(self.id.as_str()).unwrap(),
            digest: "base".to_owned(),
            limits: Limits {
                disk: ByteSize::mib(256),
                ..Limits::default()
            },
            throw_away: true,
            networks: vec![BridgeLaunch {
                name: network_name("default"),
                subnets: vec![BridgeSubnet {
                    subnet: Subnet::parse("10.0.0.0/24").unwrap(),
                    gateway: "10.0.0.1".parse().unwrap(),
                }],
                internal: false,
            }],
            volumes: vec![],
            files: BTreeMap::new(),
            dns: DnsTable {
                suffix: Some(format!("{}.test", self.id)),
                ..DnsTable::default()
            },
            egress: EgressLaunch::None,
        }
    }

    pub fn ask(&self, request: Request) -> Response {
        self.try_ask(request).unwrap_or_else(|e| {
            panic!(
                "{e}; keeper says: {}",
                fs::read_to_string(self.dir.join("keeper.log")).unwrap_or_default()
            )
        })
    }

    pub fn try_ask(&self, request: Request) -> Result<Response, ClientError> {
        self.client().ask(request)
    }

    pub fn start(&self, nodes: Vec<NodeLaunch>) {
        match self.ask(Request::Start { nodes }) {
            Response::Started { failed } => assert!(failed.is_empty(), "{failed:?}"),
            other => panic!("{other:?}"),
        }
    }

    pub fn start_failing(&self, node: NodeLaunch) -> String {
        let name = node.node.clone();
        match self.ask(Request::Start { nodes: vec![node] }) {
            Response::Started { failed } => failed
                .get(&name)
                .map_or_else(|| panic!("{name} runs"), |f| f.message.clone()),
            other => panic!("{other:?}"),
        }
    }

    pub fn status(&self) -> Status {
        match self.ask(Request::Status) {
            Response::Status(status) => status,
            other => panic!("{other:?}"),
        }
    }

    pub fn state(&self, node: &str) -> NodeState {
        self.status().observed.nodes[&node_name(node)].state.clone()
    }

    /// Waits until a node has ended and returns its exit code.
    pub fn exit_code(&self, node: &str) -> i32 {
        self.wait_until(|| match self.state(node) {
            NodeState::Exited { code, .. } => Some(code),
            _ => None,
        })
    }

    pub fn wait_until<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        // In the emulated machine everything takes ten times as long.
        let until = Instant::now() + Duration::from_secs(120);
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(
                Instant::now() < until,
                "waited too long; status: {:#?}; logs: {:#?}",
                self.status(),
                self.status()
                    .observed
                    .nodes
                    .keys()
                    .map(|n| (n.to_string(), self.log(n.as_str())))
                    .collect::<Vec<_>>()
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub fn log(&self, node: &str) -> String {
        self.log_of(node, None)
    }

    pub fn log_of(&self, node: &str, stream: Option<Stream>) -> String {
        let mut reader = Reader::open(
            &self.dir.join("logs").join(format!("{node}.log")),
            From::Oldest,
        )
        .unwrap();
        let mut text = Vec::new();
        while let Some(record) = reader.read_next().unwrap() {
            if stream.is_none_or(|s| s == record.stream) {
                text.extend(record.bytes);
            }
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Runs a node to its end and returns its exit code and output.
    pub fn run(&self, node: NodeLaunch) -> (i32, String) {
        let name = node.node.to_string();
        self.start(vec![node]);
        let code = self.exit_code(&name);
        (code, self.log(&name))
    }

    pub fn destroy(mut self) {
        assert_eq!(
            self.ask(Request::Destroy {
                keep_logs: false,
                keep_disk: false
            }),
            Response::Done
        );
        assert!(self.process.wait().unwrap().success());
        assert!(!self.dir.exists());
    }

    pub fn events_until(
        &self,
        client: &mut Client,
        mut done: impl FnMut(&Event) -> bool,
    ) -> Vec<Event> {
        let mut events = Vec::new();
        let until = Instant::now() + Duration::from_secs(120);
        while Instant::now() < until {
            if let Some(event) = client.event(Duration::from_millis(200)).unwrap() {
                let over = done(&event);
                events.push(event);
                if over {
                    return events;
                }
            }
        }
        panic!("the event did not come; these did: {events:#?}");
    }
}

/// A node of busybox that runs a shell script, both outputs in one: between two pipes no order is promised.
pub fn shell(machine: &Machine, name: &str, script: &str) -> NodeLaunch {
    two_streams(machine, name, &format!("exec 2>&1; {script}"))
}

/// A node of busybox that runs a shell script.
pub fn two_streams(machine: &Machine, name: &str, script: &str) -> NodeLaunch {
    NodeLaunch::new(
        node_name(name),
        vec![machine.busybox()],
        vec!["/bin/sh".into(), "-c".into(), script.into()],
    )
}

/// A node that runs a program of `tests/programs` with the host's Python.
pub fn python(machine: &Machine, name: &str, program: &str, arguments: &[String]) -> NodeLaunch {
    // /lib and /lib64 as they are on a Debian whose /usr is merged.
    let merged = machine.dir.path().join("merged");
    if !merged.exists() {
        fs::create_dir_all(merged.join("usr")).unwrap();
        for folder in ["lib", "lib64"] {
            std::os::unix::fs::symlink(format!("usr/{folder}"), merged.join(folder)).unwrap();
        }
    }
    let mut node = shell(machine, name, "");
    node.lowers.insert(0, merged);
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs");
    for (path, target) in [("/usr".into(), "/usr"), (programs, "/programs")] {
        node.mounts.push(MountLaunch {
            target: target.to_owned(),
            read_only: true,
            source: MountLaunchSource::Bind {
                path,
                owners: BindOwners::AsOnHost,
            },
        });
    }
    node.argv = vec!["/usr/bin/python3".into(), format!("/programs/{program}")];
    node.argv.extend_from_slice(arguments);
    node
}

/// Puts a node on the network `default` as 10.0.0.`last`.
pub fn on_network(mut node: NodeLaunch, last: u8) -> NodeLaunch {
    node.network = NetworkLaunch::Interfaces(vec![InterfaceLaunch {
        network: network_name("default"),
        ipv4: Some(std::net::Ipv4Addr::new(10, 0, 0, last)),
        ipv6: None,
        mac: [2, 0, 10, 0, 0, last],
        names: vec![node.node.to_string()],
        default_route: false,
    }]);
    node.resolv_conf = Some("nameserver 127.0.0.11\n".to_owned());
    node
}

/// What a stand could leave behind on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Census {
    cgroups: BTreeSet<PathBuf>,
    files: BTreeSet<PathBuf>,
    mounts: usize,
    loops: BTreeSet<String>,
    processes: BTreeSet<i32>,
}

impl Census {
    fn take(machine: &Machine) -> Self {
        let mut cgroups = BTreeSet::new();
        for controller in ["cpu", "cpuacct", "memory", "pids", "blkio", "unified", "."] {
            walk(
                &Path::new("/sys/fs/cgroup")
                    .join(controller)
                    .join(&machine.cgroup_root),
                &mut cgroups,
                true,
            );
        }
        let mut files = BTreeSet::new();
        walk(&machine.dir.path().join("keepers"), &mut files, false);
        let inside = machine.dir.path().to_string_lossy().into_owned();
        let mounts = fs::read_to_string("/proc/self/mountinfo")
            .unwrap()
            .lines()
            .filter(|l| l.contains(&inside))
            .count();
        let loops = fs::read_dir("/sys/block")
            .unwrap()
            .flatten()
            .filter_map(|d| fs::read_to_string(d.path().join("loop/backing_file")).ok())
            .filter(|f| f.contains(&inside))
            .collect();
        // Keepers, spawners and nodes have the folder in their mounts; this is how any of them is found.
        let processes = fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(|p| p.file_name().to_str()?.parse::<i32>().ok())
            .filter(|pid| {
                fs::read_to_string(format!("/proc/{pid}/mountinfo"))
                    .is_ok_and(|m| m.contains(&inside))
            })
            .collect();
        Self {
            cgroups,
            files,
            mounts,
            loops,
            processes,
        }
    }

    /// Waits until everything is as it was: the kernel frees loop devices and namespaces after the fact.
    pub fn assert_same(&self, machine: &Machine) {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let now = Self::take(machine);
            if now == *self {
                return;
            }
            assert!(Instant::now() < until, "before: {self:#?}\nnow: {now:#?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn walk(path: &Path, found: &mut BTreeSet<PathBuf>, folders_only: bool) {
    let Ok(entries) = fs::read_dir(path) else {
        return;
    };
    for entry in entries.flatten() {
        let folder = entry.file_type().is_ok_and(|t| t.is_dir());
        if folder {
            walk(&entry.path(), found, folders_only);
        }
        if folder || !folders_only {
            found.insert(entry.path());
        }
    }
}
