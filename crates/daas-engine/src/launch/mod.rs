//! A wanted node and what its image says become one launch for the keeper.
//!
//! Nothing here touches the machine; ids and facts of the image are looked up by the caller.

mod capability;
mod etc;
mod facts;
mod signal;

pub use facts::{Ids, ImageFacts};
pub use signal::number as signal_number;

use crate::error::EngineError;
use crate::layout::BIND_IDS;
use daas_keeper::launch::{
    BindOwners, BridgeLaunch, BridgeSubnet, DeviceLaunch, DnsTable, EgressLaunch, ExecLaunch,
    HealthLaunch, InterfaceLaunch, LogLaunch, MountLaunch, MountLaunchSource, NetworkLaunch,
    NodeLaunch, NodeLimits, Rights, SeccompLaunch, StandLaunch,
};
use daas_model::{
    Attachment, HealthCheck, HealthTest, Hook, Mount, MountSource, NetworkMode, NodeName, NodeSpec,
    StandId, StandName, StandSpec,
};
use daas_plan::{Addresses, names_on, owner_of_network};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

/// Capabilities that `NET_BIND_SERVICE` and friends complete: Docker's default without MKNOD.
const DEFAULT_CAPS: u64 = Rights::DEFAULT_CAPS;
/// The search path of a process whose image names none, as Docker's.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Open files: what container engines give, so that servers tuned for them start. Clamped by the keeper.
const DEFAULT_NOFILE: (u64, u64) = (1_048_576, 1_048_576);

/// Where a launch happens: the stand and what was decided for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Site<'a> {
    pub(crate) spec: &'a StandSpec,
    pub(crate) addresses: &'a Addresses,
    /// Environment that the way out asks for (`HTTP_PROXY`, ...), and hints whom to trust; the image's and the node's own win.
    pub(crate) offered: &'a [(String, String)],
}

/// Returns the stand-wide launch.
pub(crate) fn stand_launch(
    id: &StandId,
    name: &StandName,
    spec: &StandSpec,
    addresses: &Addresses,
    digest: &str,
    dns: DnsTable,
    egress: EgressLaunch,
) -> StandLaunch {
    StandLaunch {
        stand_id: id.clone(),
        name: name.clone(),
        digest: digest.to_owned(),
        limits: spec.limits,
        throw_away: spec.kind.is_throw_away(),
        networks: bridges(spec, addresses),
        volumes: spec.volumes.keys().cloned().collect(),
        files: spec.files.clone(),
        dns,
        egress,
    }
}

/// Returns the networks of a stand with their addresses.
pub(crate) fn bridges(spec: &StandSpec, addresses: &Addresses) -> Vec<BridgeLaunch> {
    spec.networks
        .iter()
        .filter_map(|(name, network)| {
            let given = addresses.networks.get(name)?;
            let subnets = given
                .subnets
                .iter()
                .zip(&given.gateways)
                .map(|(subnet, gateway)| BridgeSubnet {
                    subnet: *subnet,
                    gateway: *gateway,
                })
                .collect();
            Some(BridgeLaunch {
                name: name.clone(),
                subnets,
                internal: network.internal,
            })
        })
        .collect()
}

/// Returns the launch of one node.
pub(crate) fn node_launch(
    site: Site<'_>,
    name: &NodeName,
    node: &NodeSpec,
    image: &ImageFacts,
    ids: &Ids,
    digest: &str,
) -> Result<NodeLaunch, EngineError> {
    let fault = |what: String| EngineError::Node {
        node: name.clone(),
        what,
    };
    let mut launch = NodeLaunch::new(
        name.clone(),
        image.lowers.clone(),
        argv(node, image)
            .ok_or_else(|| fault("neither the project nor its image says what to run".into()))?,
    );
    digest.clone_into(&mut launch.digest);
    // Names and resolver of who shares a network are its owner's, as with Docker: a program that asks for its own host's name must be answered.
    let owner = owner_of_network(site.spec, name);
    let owning = site.spec.nodes.get(owner).unwrap_or(node);
    let host_name = match &node.hostname {
        Some(own) => own,
        None => owning.host_name(owner),
    };
    launch.env = environment(site, host_name, node, image, ids);
    launch.cwd = node
        .working_dir
        .clone()
        .or_else(|| image.working_dir.clone())
        .filter(|d| !d.is_empty())
        .unwrap_or_else(|| "/".into());
    (launch.uid, launch.gid, launch.groups) = (ids.uid, ids.gid, ids.groups.clone());
    host_name.clone_into(&mut launch.hostname);
    let domain = node.domainname.as_ref().or(owning.domainname.as_ref());
    launch.domainname = domain.cloned();
    launch.network = match &owning.network {
        NetworkMode::Host => NetworkLaunch::Host,
        _ => network(site, name, node),
    };
    launch.host = node.host;
    tell_names(&mut launch, site, name, node);
    launch.mounts = mounts(node, image);
    launch.read_only_root = node.read_only;
    launch.rights =
        rights(node).map_err(|cap| fault(format!("capability `{cap}` does not exist")))?;
    launch.rlimits = BTreeMap::from([("nofile".to_owned(), DEFAULT_NOFILE)]);
    launch.rlimits.extend(
        node.ulimits
            .iter()
            .map(|(key, limit)| (key.clone(), (limit.soft, limit.hard))),
    );
    launch.sysctls.clone_from(&node.sysctls);
    launch.devices = node
        .devices
        .iter()
        .map(|d| DeviceLaunch {
            host: PathBuf::from(&d.host),
            target: d.target.clone(),
            read: d.permissions.contains('r'),
            write: d.permissions.contains('w'),
        })
        .collect();
    launch.shm_size = node.shm_size;
    (launch.init, launch.tty, launch.stdin_open) = (node.init, node.tty, node.stdin_open);
    launch.limits = NodeLimits {
        cpus: node.cpus,
        memory: node.memory,
        pids: node.pids,
    };
    launch.oom_score_adj = node.oom_score_adj;
    let stop = node.stop_signal.as_ref().or(image.stop_signal.as_ref());
    launch.stop_signal = match stop {
        Some(text) => signal::number(text)
            .ok_or_else(|| fault(format!("stop signal `{text}` does not exist")))?,
        None => signal::TERM,
    };
    launch.stop_grace = node.stop_grace;
    launch.restart = node.restart;
    launch.health = health(node.health.as_ref(), image.health.as_ref());
    launch.post_start = node
        .post_start
        .iter()
        .map(|hook| hook_launch(hook, &launch.env))
        .collect();
    launch.pre_stop = node
        .pre_stop
        .iter()
        .map(|hook| hook_launch(hook, &launch.env))
        .collect();
    launch.log = LogLaunch::default();
    Ok(launch)
}

/// Returns what to run: an entry point in the file forgets the image's command (Compose Specification, `entrypoint`).
fn argv(node: &NodeSpec, image: &ImageFacts) -> Option<Vec<String>> {
    let entrypoint = node.entrypoint.as_ref().unwrap_or(&image.entrypoint);
    let none = Vec::new();
    let image_command = if node.entrypoint.is_some() {
        &none
    } else {
        &image.command
    };
    let command = node.command.as_ref().unwrap_or(image_command);
    let argv: Vec<String> = entrypoint.iter().chain(command).cloned().collect();
    (!argv.is_empty()).then_some(argv)
}

fn environment(
    site: Site<'_>,
    host_name: &str,
    node: &NodeSpec,
    image: &ImageFacts,
    ids: &Ids,
) -> Vec<String> {
    let mut env: BTreeMap<String, String> = BTreeMap::from([
        ("PATH".into(), DEFAULT_PATH.into()),
        ("HOSTNAME".into(), host_name.into()),
    ]);
    env.insert(
        "HOME".into(),
        ids.home.clone().unwrap_or_else(|| {
            if ids.uid == 0 {
                "/root".into()
            } else {
                "/".into()
            }
        }),
    );
    if node.tty {
        env.insert("TERM".into(), "xterm".into());
    }
    env.extend(site.offered.iter().cloned());
    env.extend(image.environment.clone());
    for (key, value) in &node.environment {
        match value {
            Some(value) => env.insert(key.clone(), value.clone()),
            None => env.remove(key),
        };
    }
    env.into_iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect()
}

fn network(site: Site<'_>, name: &NodeName, node: &NodeSpec) -> NetworkLaunch {
    match &node.network {
        NetworkMode::None => NetworkLaunch::None,
        NetworkMode::Host => NetworkLaunch::Host,
        NetworkMode::Node(owner) => NetworkLaunch::ShareWith(owner.clone()),
        NetworkMode::Networks(list) => {
            let way_out = way_out(site.spec, list);
            NetworkLaunch::Interfaces(
                list.iter()
                    .enumerate()
                    .map(|(at, a)| interface(site, name, a, way_out == Some(at)))
                    .collect(),
            )
        }
    }
}

/// Writes what a node knows of names: its hosts, and whom its resolver asks.
fn tell_names(launch: &mut NodeLaunch, site: Site<'_>, name: &NodeName, node: &NodeSpec) {
    // Who is on the host's network gets the host's files from the keeper.
    if launch.network == NetworkLaunch::Host {
        let more = etc::extra_hosts(node);
        launch.hosts = (!more.is_empty()).then_some(more);
        return;
    }
    let owner = owner_of_network(site.spec, name);
    let owning = site.spec.nodes.get(owner).unwrap_or(node);
    let mut hosts = etc::hosts(site.spec, owner, owning, site.addresses);
    if owner != name {
        hosts += &etc::extra_hosts(node);
    }
    launch.hosts = Some(hosts);
    let asks_others =
        !(node.dns.is_empty() && node.dns_search.is_empty() && node.dns_opt.is_empty());
    let (who, wishing) = if asks_others {
        (name, node)
    } else {
        (owner, owning)
    };
    let itself = etc::asks_itself(site.spec, who, wishing);
    let servers = if itself { wishing.dns.as_slice() } else { &[] };
    launch.resolv_conf = Some(etc::resolv_conf(wishing, servers));
    launch.asks = etc::asks(site.spec, name, node, site.addresses);
}

/// Returns which attachment has the default route: the highest priority, then the first, among networks that are not internal.
fn way_out(spec: &StandSpec, list: &[Attachment]) -> Option<usize> {
    list.iter()
        .enumerate()
        .filter(|(_, a)| spec.networks.get(&a.network).is_some_and(|n| !n.internal))
        .max_by_key(|(at, a)| (a.priority, std::cmp::Reverse(*at)))
        .map(|(at, _)| at)
}

fn interface(
    site: Site<'_>,
    name: &NodeName,
    attachment: &Attachment,
    default_route: bool,
) -> InterfaceLaunch {
    let given = site
        .addresses
        .nodes
        .get(name)
        .and_then(|n| n.get(&attachment.network));
    let ipv4 = given.into_iter().flatten().find_map(|a| match a {
        IpAddr::V4(v4) => Some(*v4),
        IpAddr::V6(_) => None,
    });
    let ipv6 = given.into_iter().flatten().find_map(|a| match a {
        IpAddr::V6(v6) => Some(*v6),
        IpAddr::V4(_) => None,
    });
    InterfaceLaunch {
        network: attachment.network.clone(),
        ipv4,
        ipv6,
        mac: attachment
            .mac
            .unwrap_or_else(|| mac_of(ipv4.unwrap_or(Ipv4Addr::UNSPECIFIED))),
        names: names_on(site.spec, name, attachment),
        default_route,
    }
}

/// Returns a locally administered link address that holds the IPv4 address, as Docker does: fixed, so nothing waits for a new one to be learnt.
fn mac_of(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x02, 0x42, a, b, c, d]
}

fn mounts(node: &NodeSpec, image: &ImageFacts) -> Vec<MountLaunch> {
    let mut list: Vec<MountLaunch> = node
        .mounts
        .iter()
        .map(|mount| MountLaunch {
            source: source(mount),
            target: mount.target.clone(),
            read_only: mount.read_only,
        })
        .collect();
    let covered = |target: &str| {
        node.mounts
            .iter()
            .any(|m| m.target.trim_end_matches('/') == target.trim_end_matches('/'))
    };
    for volume in image
        .volumes
        .iter()
        .filter(|v| v.starts_with('/') && !covered(v))
    {
        list.push(MountLaunch {
            source: anonymous(volume),
            target: volume.clone(),
            read_only: false,
        });
    }
    // An outer mount must not hide an inner one: shorter paths first, the file's order among equals.
    list.sort_by_key(|m| m.target.split('/').filter(|part| !part.is_empty()).count());
    list.extend(node.files.iter().map(|grant| MountLaunch {
        source: MountLaunchSource::File {
            file: grant.file.clone(),
            uid: grant.uid,
            gid: grant.gid,
            mode: grant.mode,
        },
        target: grant.target.clone(),
        read_only: true,
    }));
    list
}

/// Returns the anonymous volume at `target`, known by that: what is mounted beside it may change.
fn anonymous(target: &str) -> MountLaunchSource {
    // FNV-1a: a node has some volumes, not thousands.
    let number = target
        .trim_end_matches('/')
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
    MountLaunchSource::Anonymous(number)
}

fn source(mount: &Mount) -> MountLaunchSource {
    match &mount.source {
        MountSource::Volume {
            name,
            subpath,
            nocopy,
        } => MountLaunchSource::Volume {
            name: name.clone(),
            subpath: subpath.clone(),
            copy_up: !nocopy,
        },
        MountSource::Anonymous => anonymous(&mount.target),
        MountSource::Bind { path, owner, .. } => MountLaunchSource::Bind {
            path: PathBuf::from(path),
            owners: owner.map_or(BindOwners::AsOnHost, |owner| BindOwners::NodeIs {
                owner,
                others: BIND_IDS,
            }),
        },
        MountSource::Tmpfs { size, mode } => MountLaunchSource::Tmpfs {
            size: *size,
            mode: *mode,
        },
    }
}

fn rights(node: &NodeSpec) -> Result<Rights, String> {
    if node.privileged {
        return Ok(Rights {
            caps: capability::ALL,
            no_new_privs: false,
            seccomp: SeccompLaunch::Unconfined,
            masks: false,
        });
    }
    Ok(Rights {
        caps: capability::mask(DEFAULT_CAPS, &node.cap_add, &node.cap_drop)?,
        no_new_privs: !node.new_privileges,
        seccomp: if node.seccomp_unconfined {
            SeccompLaunch::Unconfined
        } else {
            SeccompLaunch::Default
        },
        masks: true,
    })
}

/// Returns the check in force: the file's timings over the image's command, or the image's own.
fn health(file: Option<&HealthCheck>, image: Option<&HealthCheck>) -> Option<HealthLaunch> {
    let check = file.or(image)?;
    let test = match &check.test {
        HealthTest::Inherit => &image?.test,
        own => own,
    };
    let argv = match test {
        HealthTest::None | HealthTest::Inherit => return None,
        HealthTest::Exec(argv) => argv.clone(),
        HealthTest::Shell(line) => vec!["/bin/sh".into(), "-c".into(), line.clone()],
    };
    Some(HealthLaunch {
        argv,
        interval: check.interval,
        timeout: check.timeout,
        retries: check.retries.max(1),
        start_period: check.start_period,
        start_interval: check.start_interval,
    })
}

fn hook_launch(hook: &Hook, env: &[String]) -> ExecLaunch {
    let env = (!hook.environment.is_empty()).then(|| {
        env.iter()
            .cloned()
            .chain(hook.environment.iter().map(|(k, v)| format!("{k}={v}")))
            .collect()
    });
    // A hook's user needs the image to become a number; the lead of a node with such a hook resolves it (`local::launches`).
    ExecLaunch {
        argv: hook.command.clone(),
        env,
        cwd: hook.working_dir.clone(),
        user: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use daas_model::{ImageName, ProjectName, ServiceName, Span, VolumeName};

    fn node() -> NodeSpec {
        NodeSpec::new(
            ServiceName::parse("web").unwrap(),
            ImageName::parse("app").unwrap(),
        )
    }

    fn spec(node: &NodeSpec) -> StandSpec {
        StandSpec {
            project: ProjectName::parse("shop").unwrap(),
            kind: daas_model::StandKind::Test,
            nodes: [(NodeName::parse("web").unwrap(), node.clone())].into(),
            networks: BTreeMap::new(),
            volumes: BTreeMap::new(),
            files: BTreeMap::new(),
            limits: daas_model::Limits::default(),
            egress: daas_model::Egress::None,
            ttl: None,
            routes: Vec::new(),
            sleep_after: None,
        }
    }

    fn launch(node: &NodeSpec, image: &ImageFacts) -> Result<NodeLaunch, EngineError> {
        let spec = spec(node);
        let addresses = Addresses::default();
        node_launch(
            Site {
                spec: &spec,
                addresses: &addresses,
                offered: &[],
            },
            &NodeName::parse("web").unwrap(),
            node,
            image,
            &Ids::default(),
            "d",
        )
    }

    fn words(list: &[&str]) -> Vec<String> {
        list.iter().map(|w| (*w).to_owned()).collect()
    }

    #[test]
    fn who_shares_a_network_has_the_names_of_its_owner() {
        let (web, side) = (
            NodeName::parse("web").unwrap(),
            NodeName::parse("side").unwrap(),
        );
        let mut owning = node();
        owning.hostname = Some("front".into());
        owning.dns_search = words(&["shop.test"]);
        let mut sharing = node();
        sharing.network = NetworkMode::Node(web.clone());
        sharing.command = Some(words(&["x"]));
        sharing
            .extra_hosts
            .insert("far".into(), vec!["10.0.0.9".parse().unwrap()]);
        let mut spec = spec(&owning);
        spec.nodes.insert(side.clone(), sharing.clone());
        let mut addresses = Addresses::default();
        let net = daas_model::NetworkName::parse("default").unwrap();
        let own = [(net, vec!["10.1.0.2".parse().unwrap()])];
        addresses.nodes.insert(web, own.into());
        let site = Site {
            spec: &spec,
            addresses: &addresses,
            offered: &[],
        };
        let image = ImageFacts::default();
        let launch = node_launch(site, &side, &sharing, &image, &Ids::default(), "d").unwrap();
        assert_eq!(launch.hostname, "front");
        assert!(launch.env.contains(&"HOSTNAME=front".to_owned()));
        let hosts = launch.hosts.unwrap();
        for line in ["127.0.0.1\tlocalhost", "10.1.0.2\tfront", "10.0.0.9\tfar"] {
            assert!(hosts.lines().any(|l| l == line), "{line}: {hosts}");
        }
        assert!(launch.resolv_conf.unwrap().contains("search shop.test"));
    }

    #[test]
    fn servers_of_a_node_are_asked_by_the_resolver_but_for_those_on_its_loopback() {
        let resolver = "nameserver 127.0.0.11\noptions ndots:0\n";
        let asked = |servers: &[&str]| {
            let mut node = node();
            node.dns = servers.iter().map(|s| s.parse().unwrap()).collect();
            let launch = launch(
                &node,
                &ImageFacts {
                    command: words(&["x"]),
                    ..ImageFacts::default()
                },
            );
            let launch = launch.unwrap();
            (launch.resolv_conf.unwrap(), launch.asks)
        };
        assert_eq!(asked(&[]), (resolver.to_owned(), None));
        assert_eq!(asked(&["127.0.0.11"]), (resolver.to_owned(), None));
        // The node is on no network: nobody could be asked.
        assert_eq!(
            asked(&["192.0.2.1"]),
            (resolver.to_owned(), Some(Vec::new()))
        );
        let local = "nameserver 127.0.0.1\noptions ndots:0\n".to_owned();
        assert_eq!(asked(&["127.0.0.1"]), (local, None));
    }

    #[test]
    fn an_entry_point_of_the_file_forgets_the_image_command() {
        let image = ImageFacts {
            entrypoint: words(&["/entry"]),
            command: words(&["serve"]),
            ..ImageFacts::default()
        };
        assert_eq!(launch(&node(), &image).unwrap().argv, ["/entry", "serve"]);
        let mut own = node();
        own.command = Some(words(&["x"]));
        assert_eq!(launch(&own, &image).unwrap().argv, ["/entry", "x"]);
        own.command = None;
        own.entrypoint = Some(words(&["/mine"]));
        assert_eq!(launch(&own, &image).unwrap().argv, ["/mine"]);
        own.entrypoint = Some(vec![]);
        assert!(
            launch(&own, &image)
                .unwrap_err()
                .to_string()
                .contains("web")
        );
    }

    #[test]
    fn environment_of_the_file_wins_over_the_image_and_removes() {
        let mut own = node();
        own.environment = [
            ("A".to_owned(), Some("file".to_owned())),
            ("B".to_owned(), None),
        ]
        .into();
        let image = ImageFacts {
            command: words(&["x"]),
            environment: [("A", "image"), ("B", "image"), ("C", "image")]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into(),
            ..ImageFacts::default()
        };
        let env = launch(&own, &image).unwrap().env;
        assert!(
            env.contains(&"A=file".to_owned())
                && env.contains(&"C=image".to_owned())
                && !env.iter().any(|e| e.starts_with("B="))
        );
        assert!(env.contains(&"HOSTNAME=web".to_owned()) && env.contains(&"HOME=/root".to_owned()));
    }

    #[test]
    fn timings_of_the_file_meet_the_command_of_the_image() {
        let image = HealthCheck {
            test: HealthTest::Shell("true".into()),
            ..HealthCheck::default()
        };
        let file = HealthCheck {
            interval: Span::secs(1),
            ..HealthCheck::default()
        };
        let got = health(Some(&file), Some(&image)).unwrap();
        assert_eq!(
            (got.argv[2].as_str(), got.interval),
            ("true", Span::secs(1))
        );
        assert!(
            health(
                Some(&HealthCheck {
                    test: HealthTest::None,
                    ..file.clone()
                }),
                Some(&image)
            )
            .is_none()
        );
        assert!(health(Some(&file), None).is_none());
    }

    #[test]
    fn outer_mounts_come_before_inner_ones_and_image_volumes_are_filled_in() {
        let mut own = node();
        let volume = |n: &str, t: &str| Mount {
            source: MountSource::Volume {
                name: VolumeName::parse(n).unwrap(),
                subpath: None,
                nocopy: false,
            },
            target: t.into(),
            read_only: false,
        };
        own.mounts = vec![volume("inner", "/data/sub"), volume("outer", "/data")];
        let image = ImageFacts {
            command: words(&["x"]),
            volumes: words(&["/var/lib/x", "/data/"]),
            ..ImageFacts::default()
        };
        let targets: Vec<String> = launch(&own, &image)
            .unwrap()
            .mounts
            .into_iter()
            .map(|m| m.target)
            .collect();
        assert_eq!(targets, ["/data", "/data/sub", "/var/lib/x"]);
    }
}
