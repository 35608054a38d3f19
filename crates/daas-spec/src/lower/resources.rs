//! How much of the machine a node gets, below the ceiling of its stand, and how many of it there are.

use super::{Desk, Who};
use crate::node::{At, Map, Node};
use crate::template::short;
use crate::value;
use daas_model::{ByteSize, Cpus, Diagnostic, NodeSpec, Ulimit};
use std::collections::BTreeMap;

/// The most nodes of one stand.
pub(super) const MAX_NODES: u32 = 1000;
/// Docker's least memory of a container; below, not even the start of a program fits.
const LEAST_MEMORY: ByteSize = ByteSize(6 << 20);

/// Reads limits into `spec`; returns how many nodes the service has, and where that is said.
pub(super) fn read(
    desk: &mut Desk<'_, '_>,
    who: Who<'_>,
    at: At,
    map: &Map,
    spec: &mut NodeSpec,
) -> (u32, At) {
    let deploy = map.get("deploy").filter(|n| !n.is_null());
    let deploy = deploy.and_then(|n| value::map(desk.report(), n, &who.key("deploy")));
    let limits = deploy
        .and_then(|d| d.get("resources"))
        .and_then(|n| value::map(desk.report(), n, &who.key("deploy.resources")))
        .and_then(|r| r.get("limits"));
    let limits =
        limits.and_then(|n| value::map(desk.report(), n, &who.key("deploy.resources.limits")));

    let own = map
        .get("cpus")
        .and_then(|n| cpus(desk, n, &who.key("cpus")));
    let deployed = limits
        .and_then(|l| l.get("cpus"))
        .and_then(|n| cpus(desk, n, &who.key("deploy.resources.limits.cpus")));
    spec.cpus = agree(
        desk,
        who,
        map,
        ("cpus", own),
        ("deploy.resources.limits.cpus", deployed),
    );

    let own = map
        .get("mem_limit")
        .and_then(|n| memory(desk, n, &who.key("mem_limit")));
    let deployed = limits
        .and_then(|l| l.get("memory"))
        .and_then(|n| memory(desk, n, &who.key("deploy.resources.limits.memory")));
    spec.memory = agree(
        desk,
        who,
        map,
        ("mem_limit", own),
        ("deploy.resources.limits.memory", deployed),
    );

    let own = map
        .get("pids_limit")
        .and_then(|n| pids(desk, n, &who.key("pids_limit")));
    let deployed = limits
        .and_then(|l| l.get("pids"))
        .and_then(|n| pids(desk, n, &who.key("deploy.resources.limits.pids")));
    spec.pids = agree(
        desk,
        who,
        map,
        ("pids_limit", own),
        ("deploy.resources.limits.pids", deployed),
    );

    spec.shm_size = map
        .get("shm_size")
        .and_then(|n| value::size(desk.report(), n, &who.key("shm_size")))
        .filter(|s| s.0 > 0);
    spec.oom_score_adj = map
        .get("oom_score_adj")
        .and_then(|n| value::integer(desk.report(), n, &who.key("oom_score_adj"), -1000, 1000));
    spec.ulimits = ulimits(desk, who, map, "ulimits");
    replicas(desk, who, at, map, deploy)
}

fn cpus(desk: &mut Desk<'_, '_>, node: &Node, what: &str) -> Option<Cpus> {
    // 0 means no limit, as in Docker.
    if node
        .as_text()
        .is_some_and(|t| matches!(t, "0" | "0.0" | ""))
    {
        return None;
    }
    value::cpus(desk.report(), node, what)
}

fn memory(desk: &mut Desk<'_, '_>, node: &Node, what: &str) -> Option<ByteSize> {
    if node.as_text() == Some("") {
        return None;
    }
    let size = value::size(desk.report(), node, what).filter(|s| s.0 > 0)?;
    if size < LEAST_MEMORY {
        desk.report().error(
            node.at,
            "memory-too-small",
            format!("{what} is {size}"),
            "a node needs at least 6 MiB; was a unit forgotten, as in `512m`?",
        );
        return None;
    }
    Some(size)
}

fn pids(desk: &mut Desk<'_, '_>, node: &Node, what: &str) -> Option<u32> {
    let count = value::integer::<i64>(desk.report(), node, what, -1, 4_194_304)?;
    // -1 and 0 mean no limit of the node's own.
    u32::try_from(count).ok().filter(|n| *n > 0)
}

/// Takes one of two limits; both must say the same (as compose-go has it).
fn agree<T: Copy + PartialEq>(
    desk: &mut Desk<'_, '_>,
    who: Who<'_>,
    map: &Map,
    own: (&str, Option<T>),
    deployed: (&str, Option<T>),
) -> Option<T> {
    if let (Some(a), Some(b)) = (own.1, deployed.1)
        && a != b
    {
        let at = map.entry(own.0).map(|e| e.value.at).unwrap_or_default();
        desk.report().error(
            at,
            "limits-differ",
            format!(
                "`{}` and `{}` of service `{}` differ",
                own.0, deployed.0, who.name
            ),
            "keep one of the two",
        );
    }
    own.1.or(deployed.1)
}

/// The resources that setrlimit(2) knows, as Docker names them.
const ULIMITS: [&str; 16] = [
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// Reads the `ulimits` of `map`, which a person knows as `key` of the service.
pub(super) fn ulimits(
    desk: &mut Desk<'_, '_>,
    who: Who<'_>,
    map: &Map,
    key: &str,
) -> BTreeMap<String, Ulimit> {
    let mut found = BTreeMap::new();
    let Some(node) = map.get("ulimits").filter(|n| !n.is_null()) else {
        return found;
    };
    let what = who.key(key);
    let Some(map) = value::map(desk.report(), node, &what) else {
        return found;
    };
    for entry in &map.entries {
        if entry.key.starts_with("x-") {
            continue;
        }
        if !ULIMITS.contains(&entry.key.as_str()) {
            let near = crate::nearest::nearest(&entry.key, ULIMITS);
            let hint = near.map_or_else(
                || "see setrlimit(2) for the names, without `RLIMIT_`".to_owned(),
                |n| format!("did you mean `{n}`?"),
            );
            desk.report().error(
                entry.at,
                "ulimit-unknown",
                format!("`{}` in {what} limits nothing", short(&entry.key)),
                hint,
            );
            continue;
        }
        let of = format!("`{}` of {what}", entry.key);
        let (soft, hard) = match entry.value.as_map() {
            Some(both) => {
                let mut part = |key: &str| match both.get(key) {
                    Some(n) => ulimit(desk, n, &format!("`{key}` of {of}")),
                    None => {
                        desk.report().error(
                            entry.value.at,
                            "ulimit-half",
                            format!("{of} has no `{key}`"),
                            "write both: `{soft: 1024, hard: 4096}`, or one number",
                        );
                        None
                    }
                };
                (part("soft"), part("hard"))
            }
            None => {
                let one = ulimit(desk, &entry.value, &of);
                (one, one)
            }
        };
        let (Some(soft), Some(hard)) = (soft, hard) else {
            continue;
        };
        if soft > hard {
            desk.report().error(
                entry.value.at,
                "ulimit-soft-above-hard",
                format!("the soft limit of {of} is above the hard one"),
                "the soft limit is at most the hard one",
            );
            continue;
        }
        found.insert(entry.key.clone(), Ulimit { soft, hard });
    }
    found
}

fn ulimit(desk: &mut Desk<'_, '_>, node: &Node, what: &str) -> Option<u64> {
    if node
        .as_text()
        .is_some_and(|t| matches!(t, "-1" | "unlimited"))
    {
        return Some(u64::MAX);
    }
    value::integer::<u64>(desk.report(), node, what, 0, u64::MAX)
}

fn replicas(
    desk: &mut Desk<'_, '_>,
    who: Who<'_>,
    at: At,
    map: &Map,
    deploy: Option<&Map>,
) -> (u32, At) {
    let count = |desk: &mut Desk<'_, '_>, node: Option<&Node>, key: &str| {
        let node = node.filter(|n| !n.is_null())?;
        value::integer::<u32>(desk.report(), node, &who.key(key), 0, MAX_NODES)
            .map(|n| (n, node.at))
    };
    let scale = count(desk, map.get("scale"), "scale");
    let deployed = count(
        desk,
        deploy.and_then(|d| d.get("replicas")),
        "deploy.replicas",
    );
    if let (Some((a, a_at)), Some((b, _))) = (scale, deployed)
        && a != b
    {
        desk.report().error(
            a_at,
            "limits-differ",
            format!(
                "`scale` and `deploy.replicas` of service `{}` differ",
                who.name
            ),
            "keep one of the two",
        );
    }
    if let Some(wished) = desk.reading.request.scale.get(who.name).copied() {
        if wished > MAX_NODES {
            desk.report().say(
                at,
                Diagnostic::error(
                    "nodes-too-many",
                    format!("service `{}` is scaled to {wished}", who.name),
                )
                .hint(format!("a stand has at most {MAX_NODES} nodes")),
            );
            return (1, at);
        }
        return (wished, scale.or(deployed).map_or(at, |(_, at)| at));
    }
    scale.or(deployed).unwrap_or((1, at))
}
