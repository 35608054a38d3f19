//! What a node sees of volumes, of the project's folder, and of memory.

use super::files::expand_home;
use super::volumes::{self, Backing};
use super::{Desk, Who};
use crate::node::{At, Map, Node, Value};
use crate::path;
use crate::template::short;
use crate::value;
use daas_model::{ByteSize, Diagnostic, Grant, Mount, MountSource, NodeSpec, Severity, VolumeName};
use std::collections::HashMap;

pub(super) fn read(desk: &mut Desk<'_, '_>, who: Who<'_>, map: &Map, spec: &mut NodeSpec) {
    let mut found: Vec<(Mount, At)> = Vec::new();
    if let Some(node) = map.get("volumes") {
        let what = who.key("volumes");
        for item in value::list(desk.report(), node, &what) {
            let mount = match &item.value {
                Value::Text(_) => short_form(desk, who, item, &what),
                Value::Map(map) => long_form(desk, who, item.at, map, &what),
                Value::Null | Value::List(_) => {
                    value::wrong(
                        desk.report(),
                        item,
                        &format!("an entry of {what}"),
                        "for example `data:/var/lib/data` or `./conf:/etc/app:ro`",
                    );
                    None
                }
            };
            found.extend(mount.map(|m| (m, item.at)));
        }
    }
    if let Some(node) = map.get("tmpfs") {
        let what = who.key("tmpfs");
        for (text, at) in value::texts(desk.report(), node, &what) {
            found.extend(tmpfs(desk, who, text, at, &what).map(|m| (m, at)));
        }
    }
    let mut first: HashMap<String, (usize, At)> = HashMap::new();
    for (mount, at) in found {
        if let Some((index, other)) = first.get(&mount.target).copied() {
            let place = desk.reading.report.place(other);
            let message = format!(
                "service `{}` mounts twice at `{}`",
                who.name,
                short(&mount.target)
            );
            // Compose lets the later one win, silently.
            if spec.mounts[index] != mount {
                desk.report().say(
                    at,
                    Diagnostic::new(Severity::Warning, "target-twice", message)
                        .because(format!("the first is at {place}; this one counts"))
                        .hint("keep one of the two"),
                );
            }
            spec.mounts[index] = mount;
            continue;
        }
        first.insert(mount.target.clone(), (spec.mounts.len(), at));
        spec.mounts.push(mount);
    }
}

/// What stands behind the target in the short form.
#[derive(Default)]
struct Options {
    read_only: bool,
    nocopy: bool,
}

fn options(desk: &mut Desk<'_, '_>, text: &str, at: At, what: &str) -> Option<Options> {
    let mut options = Options::default();
    for option in text.split(',') {
        match option {
            "ro" => options.read_only = true,
            "rw" => options.read_only = false,
            "nocopy" => options.nocopy = true,
            // Of no meaning here: SELinux labels, Docker Desktop's caching, propagation out of a mount namespace of its own.
            "z" | "Z" | "cached" | "delegated" | "consistent" | "rprivate" | "private"
            | "rslave" | "slave" | "rshared" | "shared" => {}
            other => {
                let near = crate::nearest::nearest(
                    other,
                    ["ro", "rw", "nocopy", "cached", "delegated", "consistent"],
                );
                let hint = near.map_or_else(
                    || "write `ro`, `rw` or `nocopy`".to_owned(),
                    |n| format!("did you mean `{n}`?"),
                );
                desk.report().error(
                    at,
                    "volume-option",
                    format!("`{}` in {what} is no option", short(other)),
                    hint,
                );
                return None;
            }
        }
    }
    Some(options)
}

/// Tells whether a source is a path and not the name of a volume.
fn is_path(source: &str) -> bool {
    source.starts_with(['.', '/', '~'])
}

fn is_windows(text: &str) -> bool {
    let bytes = text.as_bytes();
    text.starts_with("\\\\")
        || matches!(bytes, [drive, b':', b'\\' | b'/', ..] if drive.is_ascii_alphabetic() && text.contains('\\'))
        || matches!(bytes, [drive, b':', b'\\', ..] if drive.is_ascii_alphabetic())
}

fn short_form(desk: &mut Desk<'_, '_>, who: Who<'_>, item: &Node, what: &str) -> Option<Mount> {
    let text = value::text(desk.report(), item, &format!("an entry of {what}"))?;
    if is_windows(text) {
        desk.report().error(
            item.at,
            "path-windows",
            format!("`{}` in {what} is a path of Windows", short(text)),
            "write a relative path, `./folder:/target`",
        );
        return None;
    }
    let parts: Vec<&str> = text.split(':').collect();
    if parts.iter().any(|p| p.is_empty()) {
        let hint = if text.is_empty() {
            "write for example `data:/var/lib/data`"
        } else {
            "a variable in it may be empty; write `source:/target` or `source:/target:ro`"
        };
        desk.report().error(
            item.at,
            "volume-syntax",
            format!("`{}` in {what} has an empty part", short(text)),
            hint,
        );
        return None;
    }
    let (source, target, options_text) = match parts.as_slice() {
        [target] => (None, *target, None),
        [source, target] => (Some(*source), *target, None),
        [source, target, options] => (Some(*source), *target, Some(*options)),
        _ => {
            desk.report().error(item.at, "volume-syntax", format!("`{}` in {what} has too many `:`", short(text)), "write `source:/target:options`, or the long form with `type`, `source` and `target`");
            return None;
        }
    };
    let options = match options_text {
        Some(text) => options(desk, text, item.at, what)?,
        None => Options::default(),
    };
    let target = target_path(desk, target, item.at, what)?;
    let read_only = options.read_only;
    let source = match source {
        None => MountSource::Anonymous,
        Some(source) if is_path(source) => bind(desk, who, source, item.at, true)?,
        Some(source) => {
            let place = Target {
                path: target,
                read_only,
            };
            return volume(desk, who, source, item.at, place, None, options.nocopy);
        }
    };
    Some(Mount {
        source,
        target,
        read_only,
    })
}

/// An entry in the long form, with what all types have.
struct Long<'m> {
    map: &'m Map,
    at: At,
    what: &'m str,
    target: String,
    read_only: bool,
    source: Option<(String, At)>,
}

fn long_form(
    desk: &mut Desk<'_, '_>,
    who: Who<'_>,
    at: At,
    map: &Map,
    what: &str,
) -> Option<Mount> {
    let text = |desk: &mut Desk<'_, '_>, key: &str| {
        let node = map.get(key).filter(|n| !n.is_null())?;
        value::text(desk.report(), node, &format!("`{key}` in {what}"))
            .filter(|t| !t.is_empty())
            .map(|t| (t.to_owned(), node.at))
    };
    let Some((target, target_at)) = text(desk, "target") else {
        let message = format!("an entry of {what} has no `target`");
        desk.report().error(
            at,
            "volume-target-missing",
            message,
            "`target` is the path inside the node",
        );
        return None;
    };
    let target = target_path(desk, &target, target_at, what)?;
    let read_only = map
        .get("read_only")
        .and_then(|n| value::boolean(desk.report(), n, &format!("`read_only` in {what}")))
        .unwrap_or(false);
    let source = text(desk, "source");
    let kind = text(desk, "type");
    let kind_text = match &kind {
        Some((kind, _)) => kind.as_str(),
        // The specification wants `type`; older files leave it out where the source tells.
        None if source.as_ref().is_some_and(|(s, _)| is_path(s)) => "bind",
        None => "volume",
    };
    for other in ["bind", "volume", "tmpfs", "image"] {
        if other != kind_text
            && let Some(foreign) = map.entry(other).filter(|e| !e.value.is_null())
        {
            let key = format!("services.{}.volumes.{other}", who.name);
            let why = format!("the entry is of type `{kind_text}`");
            desk.report().ignore(Severity::Note, foreign.at, &key, &why);
        }
    }
    let long = Long {
        map,
        at,
        what,
        target,
        read_only,
        source,
    };
    match kind_text {
        "bind" => long_bind(desk, who, long),
        "volume" => long_volume(desk, who, long),
        "tmpfs" => Some(long_tmpfs(desk, long)),
        other => {
            let kind_at = kind.as_ref().map_or(at, |(_, at)| *at);
            unknown_type(desk, other, kind_at, what);
            None
        }
    }
}

impl Long<'_> {
    /// Returns an option of the entry's own type.
    fn option(&self, kind: &str, key: &str) -> Option<&Node> {
        self.map
            .get(kind)?
            .as_map()?
            .get(key)
            .filter(|n| !n.is_null())
    }
}

fn long_bind(desk: &mut Desk<'_, '_>, who: Who<'_>, long: Long<'_>) -> Option<Mount> {
    let what = long.what;
    let Some((source, source_at)) = &long.source else {
        let message = format!("an entry of {what} has no `source`");
        let hint = "`source` is the folder or file to bind, for example `./conf`";
        desk.report()
            .error(long.at, "source-missing", message, hint);
        return None;
    };
    if is_windows(source) {
        let message = format!("`{}` in {what} is a path of Windows", short(source));
        desk.report().error(
            *source_at,
            "path-windows",
            message,
            "write a relative path, `./folder`",
        );
        return None;
    }
    let create = long
        .option("bind", "create_host_path")
        .and_then(|n| value::boolean(desk.report(), n, &format!("`create_host_path` in {what}")))
        .unwrap_or(true);
    let source = bind(desk, who, source, *source_at, create)?;
    Some(Mount {
        source,
        target: long.target,
        read_only: long.read_only,
    })
}

fn long_volume(desk: &mut Desk<'_, '_>, who: Who<'_>, long: Long<'_>) -> Option<Mount> {
    let what = long.what;
    let nocopy = long
        .option("volume", "nocopy")
        .and_then(|n| value::boolean(desk.report(), n, &format!("`nocopy` in {what}")))
        .unwrap_or(false);
    let subpath = match long.option("volume", "subpath") {
        Some(node) => Some(subpath(desk, node, what)?),
        None => None,
    };
    match &long.source {
        Some((source, source_at)) if is_path(source) => {
            let message = format!(
                "`{}` in {what} is a path, and the type is `volume`",
                short(source)
            );
            desk.report().error(
                *source_at,
                "volume-name",
                message,
                "write `type: bind`, or the name of a volume",
            );
            None
        }
        Some((source, source_at)) => {
            let place = Target {
                path: long.target,
                read_only: long.read_only,
            };
            volume(desk, who, source, *source_at, place, subpath, nocopy)
        }
        None => Some(Mount {
            source: MountSource::Anonymous,
            target: long.target,
            read_only: long.read_only,
        }),
    }
}

fn long_tmpfs(desk: &mut Desk<'_, '_>, long: Long<'_>) -> Mount {
    let what = long.what;
    let size = long
        .option("tmpfs", "size")
        .and_then(|n| value::size(desk.report(), n, &format!("`size` in {what}")))
        .filter(|s| s.0 > 0);
    let mode = long
        .option("tmpfs", "mode")
        .and_then(|n| value::mode(desk.report(), n, &format!("`mode` in {what}")));
    Mount {
        source: MountSource::Tmpfs { size, mode },
        target: long.target,
        read_only: long.read_only,
    }
}

fn unknown_type(desk: &mut Desk<'_, '_>, kind: &str, at: At, what: &str) {
    let hint = match kind {
        "image" => "files of another image come in a later version; copy them by a one-shot service with a shared volume".to_owned(),
        "cluster" | "npipe" => "it is for clusters or Windows; use `volume`, `bind` or `tmpfs`".to_owned(),
        _ => crate::nearest::nearest(kind, ["volume", "bind", "tmpfs"])
            .map_or_else(|| "write `volume`, `bind` or `tmpfs`".to_owned(), |n| format!("did you mean `{n}`?")),
    };
    let message = format!("the type `{}` in {what} is not there", short(kind));
    desk.report().error(at, "volume-type", message, hint);
}

fn subpath(desk: &mut Desk<'_, '_>, node: &Node, what: &str) -> Option<String> {
    let text = value::text(desk.report(), node, &format!("`subpath` in {what}"))?;
    if text.starts_with('/') || text.split('/').any(|p| p == "..") || text.is_empty() {
        desk.report().error(
            node.at,
            "volume-subpath",
            format!("`subpath` in {what} is `{}`", short(text)),
            "write a folder inside the volume, without `..`",
        );
        return None;
    }
    Some(path::join("/", text)[1..].to_owned())
}

/// Returns the normalised path inside the node, if something may be mounted there.
fn target_path(desk: &mut Desk<'_, '_>, text: &str, at: At, what: &str) -> Option<String> {
    if !text.starts_with('/') {
        let hint = if text.starts_with('.') || text.starts_with('~') {
            "a host path comes first: `./folder:/target`"
        } else {
            "the target is a path inside the node and begins with `/`"
        };
        desk.report().error(
            at,
            "path-relative",
            format!("the target `{}` in {what} is not absolute", short(text)),
            hint,
        );
        return None;
    }
    let target = path::join("/", text);
    // As runc has it: who replaces the root or /proc blinds what guards the node.
    if target == "/" || path::is_within(&target, "/proc") {
        desk.report().error(
            at,
            "target-forbidden",
            format!("nothing can be mounted at `{target}` of a node"),
            "choose a folder below, outside of `/proc`",
        );
        return None;
    }
    Some(target)
}

/// Where a mount goes, and whether the node may write there.
struct Target {
    path: String,
    read_only: bool,
}

fn volume(
    desk: &mut Desk<'_, '_>,
    who: Who<'_>,
    name: &str,
    at: At,
    place: Target,
    subpath: Option<String>,
    nocopy: bool,
) -> Option<Mount> {
    let Target {
        path: target,
        read_only,
    } = place;
    let Some(declared) = desk.declared("volumes", name) else {
        desk.undeclared("volumes", name, at, &who);
        return None;
    };
    let Ok(volume) = VolumeName::parse(name) else {
        desk.report().error(
            declared.at,
            "volume-name",
            format!("`{}` is no name of a volume", short(name)),
            "begin with a letter or digit, then letters, digits, `_`, `.` and `-`, at most 63",
        );
        return None;
    };
    match volumes::backing(desk, declared) {
        Backing::Own => {
            desk.used_volumes.entry(name.to_owned()).or_insert(at);
            Some(Mount {
                source: MountSource::Volume {
                    name: volume,
                    subpath,
                    nocopy,
                },
                target,
                read_only,
            })
        }
        Backing::Folder {
            path: device,
            at: device_at,
        } => {
            let inner = subpath.map_or_else(|| device.clone(), |s| path::join(&device, &s));
            let source = bind(desk, who, &inner, device_at, false)?;
            Some(Mount {
                source,
                target,
                read_only,
            })
        }
        Backing::Memory { size, mode } => Some(Mount {
            source: MountSource::Tmpfs { size, mode },
            target,
            read_only,
        }),
        Backing::Faulty => None,
    }
}

/// Sockets that rule a whole host; whoever holds one is its administrator, so no grant can be limited to a project.
const SOCKETS: [&str; 6] = [
    "docker.sock",
    "podman.sock",
    "containerd.sock",
    "containerd.sock.ttrpc",
    "crio.sock",
    "dockershim.sock",
];
/// What belongs to the platform itself: its state, its sockets, and every folder that holds them.
const PLATFORM: [&str; 3] = ["/var/lib/daas", "/run/daas", "/etc/daas"];
/// Folders above the platform's own.
const ABOVE_PLATFORM: [&str; 5] = ["/", "/run", "/var", "/var/lib", "/etc"];

/// Returns the bind of a host path, if the project may have it.
fn bind(
    desk: &mut Desk<'_, '_>,
    who: Who<'_>,
    source: &str,
    at: At,
    create: bool,
) -> Option<MountSource> {
    let expanded = expand_home(desk, source);
    if expanded.starts_with('~') {
        desk.report().error(
            at,
            "path-home",
            format!("`{}` names a home folder that is not known", short(source)),
            "write a path below the project's folder, `./folder`",
        );
        return None;
    }
    let path = path::join(desk.reading.report.base(at), &expanded);
    // /var/run leads to /run on every Linux of this century.
    let real = path
        .strip_prefix("/var/run")
        .filter(|r| r.is_empty() || r.starts_with('/'))
        .map_or_else(|| path.clone(), |rest| format!("/run{rest}"));
    let file = real.rsplit('/').next().unwrap_or_default();
    let inside = path::is_within(&path, &desk.reading.dir) && desk.reading.dir != "/";
    if !inside && SOCKETS.contains(&file) {
        desk.report().say(
            at,
            Diagnostic::error("host-socket", format!("service `{}` asks for the container engine's socket `{}`", who.name, short(&path)))
                .because("whoever speaks to it rules the whole host, and every other stand; no grant can limit that")
                .hint("leave the mount out; services that watch containers have nothing to watch here, and images are made with `daas image make`"),
        );
        return None;
    }
    if PLATFORM.iter().any(|p| path::is_within(&real, p)) || ABOVE_PLATFORM.contains(&real.as_str())
    {
        desk.report().say(
            at,
            Diagnostic::error("host-path-forbidden", format!("service `{}` asks for the host's `{}`", who.name, short(&path)))
                .because("it holds the platform's own state; whoever has that rules every stand, so it is never granted")
                .hint("bind the folder below it that the service needs"),
        );
        return None;
    }
    if !inside {
        let message = format!(
            "service `{}` asks for the host's `{}`",
            who.name,
            short(&path)
        );
        let cause = format!(
            "it lies outside of the project's folder `{}`",
            desk.reading.dir
        );
        if !desk.granted(at, &Grant::HostPath(path.clone()), message, &cause) {
            return None;
        }
    }
    Some(MountSource::Bind {
        path,
        create,
        owner: None,
    })
}

/// Reads `/path` or `/path:size=64m,mode=1777`.
fn tmpfs(desk: &mut Desk<'_, '_>, who: Who<'_>, text: &str, at: At, what: &str) -> Option<Mount> {
    let (target, options) = text.split_once(':').map_or((text, ""), |(t, o)| (t, o));
    let target = target_path(desk, target, at, what)?;
    let (mut size, mut mode, mut read_only) = (None, None, false);
    for option in options.split(',').filter(|o| !o.is_empty()) {
        let (key, value) = option
            .split_once('=')
            .map_or((option, None), |(k, v)| (k, Some(v)));
        let bad = |desk: &mut Desk<'_, '_>| {
            desk.report().error(
                at,
                "tmpfs-option",
                format!("`{}` in {what} is no option of tmpfs", short(option)),
                "write for example `/run:size=64m,mode=1777`",
            );
        };
        match (key, value) {
            ("size", Some(value)) => match ByteSize::parse(value) {
                Ok(parsed) if parsed.0 > 0 => size = Some(parsed),
                Ok(_) => {}
                Err(_) => {
                    bad(desk);
                    return None;
                }
            },
            ("mode", Some(value)) => {
                match u32::from_str_radix(value, 8).ok().filter(|m| *m <= 0o7777) {
                    Some(parsed) => mode = Some(parsed),
                    None => {
                        bad(desk);
                        return None;
                    }
                }
            }
            ("ro", None) => read_only = true,
            (
                "rw" | "nosuid" | "nodev" | "noexec" | "exec" | "suid" | "dev" | "async" | "sync"
                | "noatime" | "relatime",
                None,
            )
            | ("uid" | "gid" | "nr_inodes", Some(_)) => {
                if matches!(key, "uid" | "gid" | "exec" | "suid" | "dev" | "nr_inodes") {
                    let key = format!("services.{}.tmpfs.{key}", who.name);
                    desk.report().ignore(
                        Severity::Warning,
                        at,
                        &key,
                        "of a tmpfs, `size`, `mode` and `ro` count",
                    );
                }
            }
            _ => {
                bad(desk);
                return None;
            }
        }
    }
    Some(Mount {
        source: MountSource::Tmpfs { size, mode },
        target,
        read_only,
    })
}
