//! How a node starts, stops and is named.

use super::{Desk, Who};
use crate::node::{At, Map, Node};
use crate::template::short;
use crate::value;
use daas_model::{Diagnostic, NodeSpec, PullPolicy, RestartPolicy, Severity};

pub(super) fn read(desk: &mut Desk<'_, '_>, who: Who<'_>, map: &Map, spec: &mut NodeSpec) {
    if let Some(node) = map.get("pull_policy") {
        spec.pull = pull(desk, who, node).unwrap_or_default();
    }
    platform(desk, who, map);
    let mut flag = |key: &str| {
        map.get(key)
            .and_then(|n| value::boolean(desk.report(), n, &who.key(key)))
            .unwrap_or(false)
    };
    spec.init = flag("init");
    spec.tty = flag("tty");
    spec.stdin_open = flag("stdin_open");
    spec.read_only = flag("read_only");
    spec.hostname = map
        .get("hostname")
        .and_then(|n| host_name(desk, n, &who.key("hostname")));
    spec.domainname = map
        .get("domainname")
        .and_then(|n| host_name(desk, n, &who.key("domainname")));
    spec.container_name = map
        .get("container_name")
        .and_then(|n| container_name(desk, n, &who.key("container_name")));
    spec.restart = restart(desk, who, map);
    spec.stop_signal = map
        .get("stop_signal")
        .and_then(|n| signal(desk, n, &who.key("stop_signal")));
    if let Some(span) = map
        .get("stop_grace_period")
        .and_then(|n| value::span(desk.report(), n, &who.key("stop_grace_period")))
    {
        spec.stop_grace = span;
    }
}

fn pull(desk: &mut Desk<'_, '_>, who: Who<'_>, node: &Node) -> Option<PullPolicy> {
    let text = value::text(desk.report(), node, &who.key("pull_policy"))?;
    match text {
        "always" => Some(PullPolicy::Always),
        "missing" | "if_not_present" | "" => Some(PullPolicy::Missing),
        "never" => Some(PullPolicy::Never),
        "daily" | "weekly" | "refresh" => Some(PullPolicy::Always),
        _ if text.starts_with("every_") => Some(PullPolicy::Always),
        // `build` is read again with the service's `build`.
        "build" => Some(PullPolicy::Missing),
        other => {
            let near =
                crate::nearest::nearest(other, ["always", "missing", "if_not_present", "never"]);
            let hint = near.map_or_else(
                || "write `always`, `missing` or `never`".to_owned(),
                |n| format!("did you mean `{n}`?"),
            );
            desk.report().error(
                node.at,
                "pull-policy",
                format!("{} is `{}`", who.key("pull_policy"), short(other)),
                hint,
            );
            None
        }
    }
}

fn platform(desk: &mut Desk<'_, '_>, who: Who<'_>, map: &Map) {
    let Some(node) = map.get("platform") else {
        return;
    };
    let Some(text) = value::text(desk.report(), node, &who.key("platform")) else {
        return;
    };
    if !matches!(
        text,
        "" | "linux" | "linux/amd64" | "linux/x86_64" | "amd64"
    ) && !text.starts_with("linux/amd64/")
    {
        desk.report().say(
            node.at,
            Diagnostic::new(
                Severity::Warning,
                "platform-foreign",
                format!("{} is `{}`", who.key("platform"), short(text)),
            )
            .because(
                "nodes run on the host's own processor, linux/amd64; foreign ones are not emulated",
            )
            .hint("use an image that has linux/amd64"),
        );
    }
}

/// Returns a host name; what the kernel and the stand's resolver take (RFC 1123, and `_` as Docker allows it).
fn host_name(desk: &mut Desk<'_, '_>, node: &Node, what: &str) -> Option<String> {
    let text = value::text(desk.report(), node, what)?;
    if text.is_empty() {
        return None;
    }
    let label_ok = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    // HOST_NAME_MAX of Linux.
    if text.len() <= 64 && text.split('.').all(label_ok) {
        return Some(text.to_owned());
    }
    desk.report().error(node.at, "host-name", format!("{what} is `{}`", short(text)), "a host name is letters, digits and `-`, with dots between its parts, at most 64 characters");
    None
}

fn container_name(desk: &mut Desk<'_, '_>, node: &Node, what: &str) -> Option<String> {
    let text = value::text(desk.report(), node, what)?;
    if text.is_empty() {
        return None;
    }
    let fits = text.len() <= 63
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    if !fits {
        desk.report().error(
            node.at,
            "container-name",
            format!("{what} is `{}`", short(text)),
            "write letters, digits, `_`, `.` and `-`, at most 63, beginning with a letter or digit",
        );
    }
    fits.then(|| text.to_owned())
}

fn restart(desk: &mut Desk<'_, '_>, who: Who<'_>, map: &Map) -> RestartPolicy {
    if let Some(node) = map.get("restart").filter(|n| !n.is_null()) {
        let what = who.key("restart");
        return value::text(desk.report(), node, &what)
            .and_then(|text| parse_restart(desk, text, node.at, &what))
            .unwrap_or_default();
    }
    deploy_restart(desk, who, map).unwrap_or_default()
}

fn parse_restart(desk: &mut Desk<'_, '_>, text: &str, at: At, what: &str) -> Option<RestartPolicy> {
    let (kind, count) = text
        .split_once(':')
        .map_or((text, None), |(k, c)| (k, Some(c)));
    let policy = match (kind, count) {
        // An unquoted `no` is false for a parser of YAML 1.1, and some write it so.
        ("no" | "false" | "No" | "False" | "none" | "", None) => RestartPolicy::No,
        ("always", None) => RestartPolicy::Always,
        ("unless-stopped", None) => RestartPolicy::UnlessStopped,
        ("on-failure", None) => RestartPolicy::OnFailure { max_retries: None },
        ("on-failure", Some(count)) => match count.parse::<u32>() {
            Ok(0) => RestartPolicy::OnFailure { max_retries: None },
            Ok(n) => RestartPolicy::OnFailure {
                max_retries: Some(n),
            },
            Err(_) => {
                desk.report().error(
                    at,
                    "restart-policy",
                    format!("{what} is `{}`", short(text)),
                    "write for example `on-failure:5`",
                );
                return None;
            }
        },
        (kind, _) => {
            let near =
                crate::nearest::nearest(kind, ["no", "always", "unless-stopped", "on-failure"]);
            let hint = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None if matches!(kind, "true" | "yes" | "on") => {
                    "write `always` or `unless-stopped`".to_owned()
                }
                None => "write `no`, `always`, `unless-stopped` or `on-failure:5`".to_owned(),
            };
            desk.report().error(
                at,
                "restart-policy",
                format!("{what} is `{}`", short(text)),
                hint,
            );
            return None;
        }
    };
    Some(policy)
}

fn deploy_restart(desk: &mut Desk<'_, '_>, who: Who<'_>, map: &Map) -> Option<RestartPolicy> {
    let policy = map
        .get("deploy")?
        .as_map()?
        .get("restart_policy")
        .filter(|n| !n.is_null())?;
    let what = who.key("deploy.restart_policy");
    let policy = value::map(desk.report(), policy, &what)?;
    let max_retries = policy
        .get("max_attempts")
        .and_then(|n| {
            value::integer::<u32>(
                desk.report(),
                n,
                &format!("`max_attempts` of {what}"),
                0,
                1_000_000,
            )
        })
        .filter(|n| *n > 0);
    let Some(node) = policy.get("condition").filter(|n| !n.is_null()) else {
        return Some(RestartPolicy::Always);
    };
    match value::text(desk.report(), node, &what)? {
        "none" => Some(RestartPolicy::No),
        "on-failure" => Some(RestartPolicy::OnFailure { max_retries }),
        "any" | "always" => Some(RestartPolicy::Always),
        "unless-stopped" => Some(RestartPolicy::UnlessStopped),
        other => {
            desk.report().error(
                node.at,
                "restart-policy",
                format!("`condition` of {what} is `{}`", short(other)),
                "write `none`, `on-failure` or `any`",
            );
            None
        }
    }
}

/// The signals of Linux by name (signal(7)); real-time ones are `RTMIN+n` and `RTMAX-n`.
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// Returns a signal as `SIGNAME` or as a number.
fn signal(desk: &mut Desk<'_, '_>, node: &Node, what: &str) -> Option<String> {
    let text = value::text(desk.report(), node, what)?;
    if text.is_empty() {
        return None;
    }
    if text.parse::<u8>().is_ok_and(|n| (1..=64).contains(&n)) {
        return Some(text.to_owned());
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let in_range = |rest: &str, sign: char| {
        rest.is_empty()
            || rest
                .strip_prefix(sign)
                .is_some_and(|n| n.parse::<u8>().is_ok_and(|n| n <= 30))
    };
    let is_realtime = name.strip_prefix("RTMIN").is_some_and(|r| in_range(r, '+'))
        || name.strip_prefix("RTMAX").is_some_and(|r| in_range(r, '-'));
    if SIGNALS.contains(&name) || is_realtime {
        return Some(format!("SIG{name}"));
    }
    let near = crate::nearest::nearest(name, SIGNALS);
    let hint = near.map_or_else(
        || "write for example `SIGTERM`, `SIGQUIT` or a number from 1 to 64".to_owned(),
        |n| format!("did you mean `SIG{n}`?"),
    );
    desk.report().error(
        node.at,
        "signal-unknown",
        format!("{what} is `{}`", short(text)),
        hint,
    );
    None
}
