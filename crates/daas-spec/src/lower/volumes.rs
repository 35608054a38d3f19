//! Named volumes at the top level.

use super::{Desk, is_external};
use crate::node::{At, Entry, Map, Node};
use crate::path;
use crate::template::short;
use crate::value;
use daas_model::{ByteSize, Diagnostic, Severity, VolumeName, VolumeSpec};
use std::collections::BTreeMap;

/// What a named volume is made of.
pub(super) enum Backing {
    /// The stand's own disk.
    Own,
    /// A folder of the host (`driver_opts: {type: none, o: bind, device: ...}`), absolute.
    Folder { path: String, at: At },
    /// Memory (`driver_opts: {type: tmpfs}`).
    Memory {
        size: Option<ByteSize>,
        mode: Option<u32>,
    },
    /// It cannot be had; that is told.
    Faulty,
}

/// Returns the volumes that some service uses, as Compose makes no others.
pub(super) fn volumes(desk: &mut Desk<'_, '_>) -> BTreeMap<VolumeName, VolumeSpec> {
    let mut found = BTreeMap::new();
    for entry in desk.section("volumes") {
        if !desk.used_volumes.contains_key(&entry.key) {
            continue;
        }
        let Ok(name) = VolumeName::parse(&entry.key) else {
            continue;
        };
        let what = format!("volume `{name}`");
        let Some(map) = value::map(desk.report(), &entry.value, &what) else {
            continue;
        };
        let labels = map
            .get("labels")
            .map(|n| value::pairs(desk.report(), n, &format!("`labels` of {what}")))
            .unwrap_or_default();
        found.insert(
            name,
            VolumeSpec {
                labels: labels
                    .into_iter()
                    .map(|p| (p.name, p.value.unwrap_or_default()))
                    .collect(),
            },
        );
    }
    found
}

/// Works out what the declared volume is made of.
pub(super) fn backing(desk: &mut Desk<'_, '_>, declared: &Entry) -> Backing {
    let what = format!("volume `{}`", short(&declared.key));
    let Some(map) = value::map(desk.report(), &declared.value, &what) else {
        return Backing::Faulty;
    };
    if let Some(at) = is_external(desk.report(), map, &what) {
        desk.report().say(
            at,
            Diagnostic::error("external-unsupported", format!("{what} is external"))
                .because("a stand has its own volumes and sees none that were made outside of it")
                .hint("remove `external`; fill the volume once with `daas stand copy`, or by a one-shot service"),
        );
        return Backing::Faulty;
    }
    let driver = map
        .get("driver")
        .and_then(|n| value::text(desk.report(), n, &format!("`driver` of {what}")))
        .unwrap_or("local");
    if !matches!(driver, "local" | "" | "default")
        && let Some(entry) = map.entry("driver")
    {
        desk.report().ignore(
            Severity::Warning,
            entry.at,
            &format!("volumes.{}.driver", declared.key),
            "the volume lies on the stand's own disk",
        );
        return Backing::Own;
    }
    match map.get("driver_opts").filter(|n| !n.is_null()) {
        Some(node) => match value::map(desk.report(), node, &format!("`driver_opts` of {what}")) {
            Some(options) => local_options(desk, options, node.at, declared, &what),
            None => Backing::Faulty,
        },
        None => Backing::Own,
    }
}

/// Reads options of Docker's `local` driver, which are those of mount(8).
fn local_options(
    desk: &mut Desk<'_, '_>,
    options: &Map,
    at: At,
    declared: &Entry,
    what: &str,
) -> Backing {
    let text = |key: &str| options.get(key).and_then(Node::as_text).unwrap_or_default();
    let (kind, o, device) = (text("type"), text("o"), text("device"));
    let flags: Vec<&str> = o.split(',').map(str::trim).collect();
    if flags.iter().any(|f| matches!(*f, "bind" | "rbind")) {
        let device_at = options.get("device").map_or(at, |n| n.at);
        if device.is_empty() {
            desk.report().error(
                at,
                "source-missing",
                format!("{what} binds no `device`"),
                "write the folder, or use `./folder:/target` in the service",
            );
            return Backing::Faulty;
        }
        let folder = path::join(desk.reading.report.base(device_at), device);
        return Backing::Folder {
            path: folder,
            at: device_at,
        };
    }
    match kind {
        "tmpfs" => {
            let mut size = None;
            let mut mode = None;
            for flag in flags {
                match flag.split_once('=') {
                    Some(("size", value)) => size = ByteSize::parse(value).ok().filter(|s| s.0 > 0),
                    Some(("mode", value)) => {
                        mode = u32::from_str_radix(value, 8).ok().filter(|m| *m <= 0o7777);
                    }
                    Some(_) | None => {}
                }
            }
            desk.report().ignore(
                Severity::Warning,
                at,
                &format!("volumes.{}.driver_opts", declared.key),
                "every node gets memory of its own here: it is not shared and ends with the node",
            );
            Backing::Memory { size, mode }
        }
        "nfs" | "nfs4" | "cifs" | "smb" | "smb3" => {
            desk.report().say(
                at,
                Diagnostic::error("volume-remote", format!("{what} lies on another machine"))
                    .because("mounting it takes rights of the host that no stand has")
                    .hint("use an own volume, and copy the data with `daas stand copy` or a one-shot service"),
            );
            Backing::Faulty
        }
        _ => {
            if options
                .entries
                .iter()
                .any(|e| !e.value.is_null() && e.value.as_text() != Some(""))
            {
                desk.report().ignore(
                    Severity::Warning,
                    at,
                    &format!("volumes.{}.driver_opts", declared.key),
                    "the volume lies on the stand's own disk",
                );
            }
            Backing::Own
        }
    }
}
