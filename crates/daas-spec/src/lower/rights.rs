//! What a node asks of the host: refused with the reason, unless the project's policy grants it.

use super::wiring::not_yet;
use super::{Desk, Who};
use crate::nearest::nearest;
use crate::node::{At, Map, Node, Value};
use crate::path;
use crate::template::short;
use crate::value;
use daas_model::{Device, Diagnostic, Grant, NetworkMode, NodeSpec, Severity};

pub(super) fn read(desk: &mut Desk<'_, '_>, who: Who<'_>, map: &Map, spec: &mut NodeSpec) {
    if let Some(node) = map.get("privileged")
        && value::boolean(desk.report(), node, &who.key("privileged")) == Some(true)
    {
        let message = format!("service `{}` asks to be privileged", who.name);
        spec.privileged = desk.granted(node.at, &Grant::Privileged, message, "a privileged node is not filtered: it can reach the kernel of the host, and through it every stand");
    }
    capabilities(desk, who, map, spec);
    if let Some(node) = map.get("security_opt") {
        let what = who.key("security_opt");
        for (option, at) in value::texts(desk.report(), node, &what) {
            security_option(desk, who, option, at, spec);
        }
    }
    devices(desk, who, map, spec);
    sysctls(desk, who, map, spec);
    for (key, namespace) in [
        ("pid", "pid"),
        ("ipc", "ipc"),
        ("uts", "uts"),
        ("userns_mode", "user"),
        ("cgroup", "cgroup"),
    ] {
        namespace_of(desk, who, map, (key, namespace), spec);
    }
    if let Some(node) = map.get("use_api_socket")
        && value::boolean(desk.report(), node, &who.key("use_api_socket")) == Some(true)
    {
        desk.report().say(
            node.at,
            Diagnostic::error("host-socket", format!("service `{}` asks for the container engine's socket", who.name))
                .because("whoever speaks to it rules the whole host, and every other stand; no grant can limit that")
                .hint("leave `use_api_socket` out"),
        );
    }
}

/// Docker's default set, with which unmodified images run (moby `oci/caps/defaults.go`).
const DEFAULT_CAPABILITIES: [&str; 14] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
/// The others that capabilities(7) lists.
const OTHER_CAPABILITIES: [&str; 27] = [
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "DAC_READ_SEARCH",
    "IPC_LOCK",
    "IPC_OWNER",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "NET_ADMIN",
    "NET_BROADCAST",
    "PERFMON",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "SYSLOG",
    "WAKE_ALARM",
];

fn capabilities(desk: &mut Desk<'_, '_>, who: Who<'_>, map: &Map, spec: &mut NodeSpec) {
    if let Some(node) = map.get("cap_add") {
        for (name, at) in capability_names(desk, node, &who.key("cap_add")) {
            if !DEFAULT_CAPABILITIES.contains(&name.as_str()) {
                let cause = if name == "ALL" {
                    "it asks for every right of a superuser"
                } else {
                    "it is not among the rights that every node has"
                };
                if !desk.granted(
                    at,
                    &Grant::Capability(name.clone()),
                    format!("service `{}` asks for the capability {name}", who.name),
                    cause,
                ) {
                    continue;
                }
            }
            spec.cap_add.push(name);
        }
    }
    if let Some(node) = map.get("cap_drop") {
        spec.cap_drop = capability_names(desk, node, &who.key("cap_drop"))
            .into_iter()
            .map(|(name, _)| name)
            .collect();
    }
}

/// Returns known capabilities, without `CAP_`, in capitals, none twice.
fn capability_names(desk: &mut Desk<'_, '_>, node: &Node, what: &str) -> Vec<(String, At)> {
    let mut found: Vec<(String, At)> = Vec::new();
    for (text, at) in value::texts(desk.report(), node, what) {
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
        if name != "ALL"
            && !DEFAULT_CAPABILITIES.contains(&name)
            && !OTHER_CAPABILITIES.contains(&name)
        {
            let near = nearest(
                name,
                DEFAULT_CAPABILITIES
                    .into_iter()
                    .chain(OTHER_CAPABILITIES)
                    .chain(["ALL"]),
            );
            let hint = near.map_or_else(
                || "see capabilities(7) for the names".to_owned(),
                |n| format!("did you mean `{n}`?"),
            );
            desk.report().error(
                at,
                "capability-unknown",
                format!("`{}` in {what} is no capability", short(text)),
                hint,
            );
        } else if !found.iter().any(|(n, _)| n == name) {
            found.push((name.to_owned(), at));
        }
    }
    found
}

fn security_option(
    desk: &mut Desk<'_, '_>,
    who: Who<'_>,
    option: &str,
    at: At,
    spec: &mut NodeSpec,
) {
    let (key, value) = match option.split_once(['=', ':']) {
        Some((key, value)) => (key, value),
        None => (option, ""),
    };
    let shown = format!("services.{}.security_opt", who.name);
    let unconfined = |desk: &mut Desk<'_, '_>, what: &str| {
        let message = format!("service `{}` asks for {what}", who.name);
        desk.granted(
            at,
            &Grant::Unconfined,
            message,
            "the filter keeps a node from parts of the kernel that no application needs",
        )
    };
    match (key, value) {
        ("no-new-privileges", "" | "true") => {}
        ("no-new-privileges", "false") => {
            spec.new_privileges = unconfined(desk, "programs that gain rights by setuid");
        }
        ("seccomp", "unconfined") => {
            spec.seccomp_unconfined = unconfined(desk, "no filter of system calls");
        }
        ("seccomp", "" | "default" | "builtin") => {}
        ("seccomp", _) => desk.report().ignore(
            Severity::Warning,
            at,
            &shown,
            "filters of one's own are not read; the usual one is on",
        ),
        ("systempaths", "unconfined") => {
            if unconfined(desk, "unmasked paths of the kernel") {
                desk.report().ignore(
                    Severity::Warning,
                    at,
                    &shown,
                    "paths of the kernel stay masked, except for `privileged`",
                );
            }
        }
        ("apparmor", "unconfined") => {
            desk.report().ignore(Severity::Note, at, &shown, "no AppArmor profile is set; namespaces and the filter of system calls guard the node");
        }
        ("apparmor" | "label" | "credentialspec" | "writable-cgroups", _) => desk.report().ignore(
            Severity::Note,
            at,
            &shown,
            "namespaces and the filter of system calls guard the node",
        ),
        _ => {
            let near = nearest(
                key,
                [
                    "no-new-privileges",
                    "seccomp",
                    "apparmor",
                    "label",
                    "systempaths",
                ],
            );
            let hint = near.map_or_else(
                || "write for example `no-new-privileges:true`".to_owned(),
                |n| format!("did you mean `{n}`?"),
            );
            desk.report().error(
                at,
                "security-option",
                format!(
                    "`{}` in {} is no option",
                    short(option),
                    who.key("security_opt")
                ),
                hint,
            );
        }
    }
}

/// Devices that every node has anyway.
const OWN_DEVICES: [&str; 6] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
];

fn devices(desk: &mut Desk<'_, '_>, who: Who<'_>, map: &Map, spec: &mut NodeSpec) {
    let Some(node) = map.get("devices") else {
        return;
    };
    let what = who.key("devices");
    for item in value::list(desk.report(), node, &what) {
        let Some((host, target, permissions, at)) = device_parts(desk, item, &what) else {
            continue;
        };
        if !host.starts_with('/') && host.contains('=') {
            desk.report().error(
                at,
                "device-cdi",
                format!("`{}` in {what} is chosen by a plug-in", short(&host)),
                "write a path, for example `/dev/ttyUSB0`",
            );
            continue;
        }
        let in_dev = |text: &str| text.starts_with("/dev/") && path::join("/", text) == text;
        if !in_dev(&host)
            || !target.starts_with('/')
            || path::join("/", &target) != target
            || target == "/"
        {
            desk.report().error(
                at,
                "device-path",
                format!("`{}` in {what} is no device", short(&host)),
                "write a path below `/dev`, without `..`: `/dev/ttyUSB0` or `/dev/sda:/dev/xvda:r`",
            );
            continue;
        }
        if permissions.is_empty() || !permissions.bytes().all(|b| b"rwm".contains(&b)) {
            desk.report().error(
                at,
                "device-permissions",
                format!("`{}` in {what} are no permissions", short(&permissions)),
                "write `r`, `w` and `m` in any mixture",
            );
            continue;
        }
        if OWN_DEVICES.contains(&host.as_str()) && host == target {
            continue;
        }
        let message = format!(
            "service `{}` asks for the host's device `{}`",
            who.name,
            short(&host)
        );
        if desk.granted(
            at,
            &Grant::Device(host.clone()),
            message,
            "a device belongs to the host, and may reach all of it",
        ) {
            spec.devices.push(Device {
                host,
                target,
                permissions,
            });
        }
    }
}

fn device_parts(
    desk: &mut Desk<'_, '_>,
    item: &Node,
    what: &str,
) -> Option<(String, String, String, At)> {
    match &item.value {
        Value::Text(_) => {
            let text = value::text(desk.report(), item, &format!("an entry of {what}"))?;
            let mut parts = text.splitn(3, ':');
            let host = parts.next().unwrap_or_default().to_owned();
            let (second, third) = (parts.next(), parts.next());
            // `host:rw` is Docker's short cut.
            let (target, permissions) = match (second, third) {
                (Some(p), None) if !p.starts_with('/') => (host.clone(), p.to_owned()),
                (target, permissions) => (
                    target.map_or_else(|| host.clone(), str::to_owned),
                    permissions.unwrap_or("rwm").to_owned(),
                ),
            };
            Some((host, target, permissions, item.at))
        }
        Value::Map(map) => {
            let mut field = |key: &str| {
                map.get(key)
                    .and_then(|n| value::text(desk.report(), n, &format!("`{key}` in {what}")))
                    .map(str::to_owned)
            };
            let (source, target, permissions) =
                (field("source"), field("target"), field("permissions"));
            let Some(host) = source else {
                desk.report().error(
                    item.at,
                    "source-missing",
                    format!("an entry of {what} has no `source`"),
                    "`source` is the device of the host",
                );
                return None;
            };
            Some((
                host.clone(),
                target.unwrap_or(host),
                permissions.unwrap_or_else(|| "rwm".to_owned()),
                item.at,
            ))
        }
        Value::Null | Value::List(_) => {
            value::wrong(
                desk.report(),
                item,
                &format!("an entry of {what}"),
                "for example `/dev/ttyUSB0`",
            );
            None
        }
    }
}

/// Sysctls that belong to a node's IPC namespace (namespaces(7), ipc_namespaces(7)).
const IPC_SYSCTLS: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

fn sysctls(desk: &mut Desk<'_, '_>, who: Who<'_>, map: &Map, spec: &mut NodeSpec) {
    let Some(node) = map.get("sysctls") else {
        return;
    };
    let what = who.key("sysctls");
    for pair in value::pairs(desk.report(), node, &what) {
        let name = pair.name.replace('/', ".");
        let fits = !name.is_empty()
            && name.len() <= 200
            && name.split('.').all(|part| {
                !part.is_empty()
                    && part
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
            });
        let Some(value) = pair.value.filter(|_| fits && name.contains('.')) else {
            desk.report().error(
                pair.at,
                "sysctl-wrong",
                format!(
                    "`{}` in {what} is no sysctl with a value",
                    short(&pair.name)
                ),
                "write for example `net.core.somaxconn: 1024`",
            );
            continue;
        };
        if name.starts_with("net.") {
            if spec.network == NetworkMode::Host {
                let message = format!(
                    "`{name}` of service `{}` belongs to the host's network",
                    who.name
                );
                desk.report().error(
                    pair.at,
                    "sysctl-shared",
                    message,
                    "leave it out, or set it on the host",
                );
                continue;
            }
            if let NetworkMode::Node(other) = &spec.network {
                let message = format!(
                    "`{name}` of service `{}` belongs to the network of `{other}`",
                    who.name
                );
                desk.report().error(
                    pair.at,
                    "sysctl-shared",
                    message,
                    format!("set it in service `{other}`"),
                );
                continue;
            }
        } else if !IPC_SYSCTLS.contains(&name.as_str()) && !name.starts_with("fs.mqueue.") {
            let cause = "it is the whole host's: namespaces have none of their own";
            if !desk.granted(
                pair.at,
                &Grant::Sysctl(name.clone()),
                format!(
                    "service `{}` asks for the sysctl `{}`",
                    who.name,
                    short(&name)
                ),
                cause,
            ) {
                continue;
            }
        }
        spec.sysctls.insert(name, value);
    }
}

fn namespace_of(
    desk: &mut Desk<'_, '_>,
    who: Who<'_>,
    map: &Map,
    (key, namespace): (&str, &str),
    spec: &mut NodeSpec,
) {
    let Some(node) = map.get(key).filter(|n| !n.is_null()) else {
        return;
    };
    let what = who.key(key);
    let Some(text) = value::text(desk.report(), node, &what) else {
        return;
    };
    let shown = format!("services.{}.{key}", who.name);
    match text {
        "" | "private" => {}
        "shareable" if key == "ipc" => {}
        "host" => {
            let message = format!(
                "service `{}` asks for the host's {namespace} namespace",
                who.name
            );
            let cause = "namespaces keep a node apart from the host and from other stands";
            if desk.granted(
                node.at,
                &Grant::HostNamespace(namespace.to_owned()),
                message,
                cause,
            ) {
                match namespace {
                    "pid" => spec.host.pid = true,
                    "ipc" => spec.host.ipc = true,
                    "uts" => spec.host.uts = true,
                    "cgroup" => spec.host.cgroup = true,
                    _ => not_yet(desk, node.at, namespace),
                }
            }
        }
        "none" if key == "ipc" => desk.report().ignore(
            Severity::Note,
            node.at,
            &shown,
            "a node has an own `/dev/shm`",
        ),
        text if text.starts_with("service:") || text.starts_with("container:") => {
            if let Some(service) = text.strip_prefix("service:") {
                desk.is_service(service, node.at, &what);
            }
            desk.report().ignore(Severity::Warning, node.at, &shown, &format!("the {namespace} namespace of a node is its own; sharing it comes in a later version"));
        }
        other => desk.report().error(
            node.at,
            "namespace-wrong",
            format!("{what} is `{}`", short(other)),
            "leave it out: every node has its own",
        ),
    }
}
