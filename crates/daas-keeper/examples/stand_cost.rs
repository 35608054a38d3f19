//! What a stand of three nodes costs: `cargo run --release -p daas-keeper --example stand_cost [rounds]`, as root, with busybox-static installed.
//!
//! Cold: from asking the zygote until all three nodes have exec'd and their ports forward. Warm: the same with a keeper that was prepared before.
//! Down: until the keeper has answered. Medians, with 150 ms of quiet between (reference/engine.md 8.11).
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::wildcard_imports,
    clippy::too_many_lines,
    clippy::cast_possible_truncation,
    clippy::semicolon_if_nothing_returned,
    reason = "a measurement for people"
)]

use daas_keeper::launch::*;
use daas_keeper::protocol::{Request, Response, VERSION};
use daas_keeper::{Client, zygote};
use daas_model::*;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

fn main() {
    let zygote = zygote::fork().unwrap();
    let rounds: usize = std::env::args()
        .nth(1)
        .and_then(|n| n.parse().ok())
        .unwrap_or(10);
    let dir = PathBuf::from(format!("/var/tmp/daas-cost-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let root = image(&dir);
    let cgroup_root = format!("daas-cost-{}", std::process::id());
    daas_sys::cgroup::Root::find(&cgroup_root)
        .unwrap()
        .prepare()
        .unwrap();
    let size = Limits::default().disk;
    let template = daas_keeper::disk::ensure_template(&dir, size, false).unwrap();
    let mut rows: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let mut note = |what: &'static str, since: Instant| {
        rows.entry(what)
            .or_default()
            .push(since.elapsed().as_secs_f64() * 1e3)
    };
    for round in 0..rounds * 2 {
        let warm = round % 2 == 1;
        let id = StandId::parse(&format!("s{round}")).unwrap();
        let seed = KeeperSeed {
            protocol: VERSION,
            keeper_id: id.clone(),
            dir: dir.join(id.as_str()),
            uid_base: 900_000_000 + u32::try_from(round).unwrap() * 65_536,
            uid_count: 65_536,
            disk: DiskSeed {
                size,
                template: template.clone(),
                durable: false,
            },
            cgroup_root: cgroup_root.clone(),
            seats: if warm { 3 } else { 0 },
        };
        std::thread::sleep(Duration::from_millis(150));
        let cold = Instant::now();
        zygote.make_keeper(&seed).unwrap();
        let mut client = Client::connect(&seed.dir).unwrap();
        client.ask(Request::Hello { version: VERSION }).unwrap();
        note("keeper prepared", cold);
        if warm {
            std::thread::sleep(Duration::from_millis(150));
        }
        let up = Instant::now();
        client.ask(Request::Adopt(stand(&id))).unwrap();
        note(if warm { "  adopt warm" } else { "  adopt cold" }, up);
        let start = Instant::now();
        let nodes = (2..5).map(|n| node(&root, n)).collect();
        match client.ask(Request::Start { nodes }).unwrap() {
            Response::Started { failed } => assert!(failed.is_empty(), "{failed:?}"),
            other => panic!("{other:?}"),
        }
        note(if warm { "  start warm" } else { "  start cold" }, start);
        note(
            if warm { "UP warm" } else { "UP cold" },
            if warm { up } else { cold },
        );
        std::thread::sleep(Duration::from_millis(150));
        let exec = Instant::now();
        let null = std::fs::File::options()
            .read(true)
            .write(true)
            .open("/dev/null")
            .unwrap();
        use std::os::fd::AsFd;
        let ask = Request::Exec {
            node: NodeName::parse("n2").unwrap(),
            exec: ExecLaunch {
                argv: vec!["/bin/busybox".into(), "true".into()],
                env: None,
                cwd: None,
                user: None,
            },
            tty: None,
        };
        client
            .ask_with(ask, &[null.as_fd(), null.as_fd(), null.as_fd()])
            .unwrap();
        note("exec until it runs", exec);
        client.event(Duration::from_secs(5)).unwrap().unwrap();
        note("exec until it ended", exec);
        std::thread::sleep(Duration::from_millis(150));
        let down = Instant::now();
        client
            .ask(Request::Destroy {
                keep_logs: false,
                keep_disk: false,
            })
            .unwrap();
        note("DOWN", down);
    }
    for (what, mut samples) in rows {
        samples.sort_by(f64::total_cmp);
        let at = |q: f64| samples[((samples.len() - 1) as f64 * q).round() as usize];
        println!(
            "{what:22} median {:7.2} ms   p10 {:7.2}   p90 {:7.2}   n={}",
            at(0.5),
            at(0.1),
            at(0.9),
            samples.len()
        );
    }
    drop(zygote);
    std::thread::sleep(Duration::from_millis(300));
    std::fs::remove_dir_all(&dir).unwrap();
    for controller in ["cpu", "cpuacct", "memory", "pids", "blkio", "unified", "."] {
        let _ = std::fs::remove_dir(
            Path::new("/sys/fs/cgroup")
                .join(controller)
                .join(&cgroup_root),
        );
    }
}

fn image(dir: &Path) -> PathBuf {
    let root = dir.join("busybox");
    for folder in ["bin", "etc", "proc", "sys", "dev", "tmp"] {
        std::fs::create_dir_all(root.join(folder)).unwrap();
    }
    std::fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    root
}

fn stand(id: &StandId) -> StandLaunch {
    StandLaunch {
        stand_id: id.clone(),
        name: StandName::parse(id.as_str()).unwrap(),
        digest: String::new(),
        limits: Limits::default(),
        throw_away: true,
        networks: vec![BridgeLaunch {
            name: NetworkName::parse("default").unwrap(),
            subnets: vec![BridgeSubnet {
                subnet: Subnet::parse("10.0.0.0/24").unwrap(),
                gateway: "10.0.0.1".parse().unwrap(),
            }],
            internal: false,
        }],
        volumes: vec![],
        files: BTreeMap::new(),
        dns: DnsTable::default(),
        egress: EgressLaunch::None,
    }
}

fn node(root: &Path, last: u8) -> NodeLaunch {
    let argv = ["/bin/busybox", "httpd", "-f", "-p", "80"]
        .map(String::from)
        .to_vec();
    let mut node = NodeLaunch::new(
        NodeName::parse(&format!("n{last}")).unwrap(),
        vec![root.to_path_buf()],
        argv,
    );
    node.network = NetworkLaunch::Interfaces(vec![InterfaceLaunch {
        network: NetworkName::parse("default").unwrap(),
        ipv4: Some(std::net::Ipv4Addr::new(10, 0, 0, last)),
        ipv6: None,
        mac: [2, 0, 10, 0, 0, last],
        names: vec![node.node.to_string()],
        default_route: false,
    }]);
    node.hosts = Some("127.0.0.1 localhost\n".to_owned());
    node.resolv_conf = Some("nameserver 127.0.0.11\n".to_owned());
    node
}
