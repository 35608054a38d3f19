//! Images as trees of files, and what differs between two of them.

use crate::fixture::hex;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use tar::{Archive, EntryType};

/// Files by their path, which begins with `/`.
pub(crate) type Tree = BTreeMap<String, Entry>;

/// What an image holds.
pub(crate) struct Built {
    pub(crate) tree: Tree,
    pub(crate) config: Value,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) what: What,
    pub(crate) mode: u32,
    pub(crate) owner: (u64, u64),
    pub(crate) xattrs: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    Dir,
    File { size: u64, sum: String },
    Link(String),
    Fifo,
    Device,
}

/// Reads an archive of `docker save`.
pub(crate) fn of_image(archive: &[u8]) -> Built {
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut links: BTreeMap<String, String> = BTreeMap::new();
    for entry in Archive::new(archive).entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_str().unwrap().to_owned();
        if entry.header().entry_type() == EntryType::Symlink {
            let target = entry
                .link_name()
                .unwrap()
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            // A layer that another one has is written as a link to it: `../<id>/layer.tar`.
            links.insert(name, target.trim_start_matches("../").to_owned());
        } else {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            files.insert(name, bytes);
        }
    }
    let manifest: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
    let config: Value =
        serde_json::from_slice(&files[manifest[0]["Config"].as_str().unwrap()]).unwrap();
    let mut tree = Tree::new();
    for layer in manifest[0]["Layers"].as_array().unwrap() {
        let name = layer.as_str().unwrap();
        let name = links.get(name).map_or(name, String::as_str);
        let mut layer = files[name].clone();
        if layer.starts_with(&[0x1f, 0x8b]) {
            let mut plain = Vec::new();
            flate2::read::MultiGzDecoder::new(layer.as_slice())
                .read_to_end(&mut plain)
                .unwrap();
            layer = plain;
        }
        apply_archive(&mut tree, &layer);
    }
    Built { tree, config }
}

fn apply_archive(tree: &mut Tree, layer: &[u8]) {
    let mut hard = Vec::new();
    let mut added: Vec<(String, Entry)> = Vec::new();
    for entry in Archive::new(layer).entries().unwrap() {
        let mut entry = entry.unwrap();
        let raw = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let path = format!("/{}", raw.trim_start_matches("./").trim_matches('/'));
        let (folder, name) = path.rsplit_once('/').unwrap();
        if name == ".wh..wh..opq" {
            remove_below(tree, folder);
            continue;
        }
        if let Some(gone) = name.strip_prefix(".wh.") {
            remove(tree, &format!("{folder}/{gone}"));
            continue;
        }
        let mut xattrs = BTreeMap::new();
        for extension in entry.pax_extensions().unwrap().into_iter().flatten() {
            let extension = extension.unwrap();
            if let Some(name) = extension.key().unwrap().strip_prefix("SCHILY.xattr.") {
                xattrs.insert(name.to_owned(), hex(extension.value_bytes()));
            }
        }
        let header = entry.header().clone();
        let what = match header.entry_type() {
            EntryType::Directory => What::Dir,
            EntryType::Symlink => {
                What::Link(String::from_utf8_lossy(&entry.link_name_bytes().unwrap()).into_owned())
            }
            EntryType::Link => {
                let target =
                    String::from_utf8_lossy(&entry.link_name_bytes().unwrap()).into_owned();
                hard.push((path, format!("/{}", target.trim_matches('/'))));
                continue;
            }
            EntryType::Fifo => What::Fifo,
            EntryType::Char | EntryType::Block => What::Device,
            _ => {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).unwrap();
                file(&bytes)
            }
        };
        let entry = Entry {
            what,
            mode: header.mode().unwrap() & 0o7777,
            owner: (header.uid().unwrap(), header.gid().unwrap()),
            xattrs,
        };
        added.push((path, entry));
    }
    for (path, entry) in added {
        insert(tree, path, entry);
    }
    for (path, target) in hard {
        let entry = tree[&target].clone();
        insert(tree, path, entry);
    }
}

fn file(bytes: &[u8]) -> What {
    What::File {
        size: bytes.len() as u64,
        sum: hex(&Sha256::digest(bytes)),
    }
}

fn insert(tree: &mut Tree, path: String, entry: Entry) {
    if path == "/" {
        return;
    }
    // A folder over a folder keeps what is in it.
    if entry.what != What::Dir {
        remove_below(tree, &path);
    }
    tree.insert(path, entry);
}

fn remove(tree: &mut Tree, path: &str) {
    tree.remove(path);
    remove_below(tree, path);
}

fn remove_below(tree: &mut Tree, path: &str) {
    let folder = format!("{path}/");
    tree.retain(|p, _| !p.starts_with(&folder));
}

/// Reads unpacked layers, lowest first, as overlayfs would show them.
pub(crate) fn of_layers(layers: &[String]) -> Tree {
    let mut tree = Tree::new();
    for layer in layers {
        apply_folder(&mut tree, Path::new(layer), "");
    }
    tree
}

fn apply_folder(tree: &mut Tree, folder: &Path, at: &str) {
    let mut entries: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = format!("{at}/{}", entry.file_name().to_string_lossy());
        let meta = std::fs::symlink_metadata(entry.path()).unwrap();
        let kind = meta.file_type();
        if kind.is_char_device() && meta.rdev() == 0 {
            remove(tree, &path);
            continue;
        }
        let mut xattrs = xattrs(&entry.path());
        let opaque = xattrs.remove("trusted.overlay.opaque").is_some();
        xattrs.retain(|name, _| !name.starts_with("trusted.overlay."));
        if opaque {
            remove_below(tree, &path);
        }
        let what = if kind.is_dir() {
            What::Dir
        } else if kind.is_symlink() {
            What::Link(
                std::fs::read_link(entry.path())
                    .unwrap()
                    .to_string_lossy()
                    .into_owned(),
            )
        } else if kind.is_fifo() {
            What::Fifo
        } else if kind.is_file() {
            file(&std::fs::read(entry.path()).unwrap())
        } else {
            What::Device
        };
        let found = Entry {
            what,
            mode: meta.mode() & 0o7777,
            owner: (u64::from(meta.uid()), u64::from(meta.gid())),
            xattrs,
        };
        insert(tree, path.clone(), found);
        if kind.is_dir() {
            apply_folder(tree, &entry.path(), &path);
        }
    }
}

fn xattrs(path: &Path) -> BTreeMap<String, String> {
    let mut names = vec![0_u8; 65_536];
    let Ok(length) = rustix::fs::llistxattr(path, &mut names) else {
        return BTreeMap::new();
    };
    names[..length]
        .split(|b| *b == 0)
        .filter(|n| !n.is_empty())
        .map(|name| {
            let name = String::from_utf8_lossy(name).into_owned();
            let mut value = vec![0_u8; 65_536];
            let length = rustix::fs::lgetxattr(path, name.as_str(), &mut value).unwrap();
            (name, hex(&value[..length]))
        })
        .collect()
}

/// Tells what differs between the judge's image and ours.
pub(crate) fn differences(wanted: &Built, got: &Built, allowed: &[String]) -> Vec<String> {
    let mut found = tree_differences(&wanted.tree, &got.tree, allowed);
    for key in [
        "User",
        "ExposedPorts",
        "Env",
        "Entrypoint",
        "Cmd",
        "Volumes",
        "WorkingDir",
        "Labels",
        "StopSignal",
        "Healthcheck",
        "OnBuild",
        "Shell",
    ] {
        if allowed.iter().any(|a| a == key) {
            continue;
        }
        let (wanted, got) = (setting(&wanted.config, key), setting(&got.config, key));
        if wanted != got {
            found.push(format!("{key} is {got} and should be {wanted}"));
        }
    }
    found
}

/// Returns a setting of a configuration; what is empty is as if it were absent.
fn setting(config: &Value, key: &str) -> Value {
    let value = config["config"][key].clone();
    let empty = match &value {
        // BuildKit writes the root as the working folder where the classic builder writes nothing.
        Value::String(text) => text.is_empty() || key == "WorkingDir" && text == "/",
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    if empty { Value::Null } else { value }
}

fn tree_differences(wanted: &Tree, got: &Tree, allowed: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for path in wanted
        .keys()
        .chain(got.keys().filter(|p| !wanted.contains_key(*p)))
    {
        let differs = allowed
            .iter()
            .any(|a| path == a || path.starts_with(&format!("{a}/")));
        match (wanted.get(path), got.get(path)) {
            _ if differs => {}
            (Some(_), None) => found.push(format!("{path} is missing")),
            (None, Some(entry)) => found.push(format!("{path} is too much: {entry:?}")),
            (Some(wanted), Some(got)) if wanted != got => {
                found.push(format!("{path} is {got:?} and should be {wanted:?}"));
            }
            _ => {}
        }
    }
    found
}

/// Holds a tree against lines that tell what is in it beside the base.
pub(crate) fn against_lines(
    lines: &[String],
    got: &Tree,
    base: &Tree,
    allowed: &[String],
) -> Vec<String> {
    let mut wanted = base.clone();
    let mut any = Vec::new();
    for line in lines {
        let mut parts = line.splitn(4, ' ');
        let mut part = || parts.next().unwrap();
        let mode = u32::from_str_radix(part(), 8).unwrap();
        let (uid, gid) = part().split_once(':').unwrap();
        let path = part().to_owned();
        let what = match part() {
            "dir" => What::Dir,
            "*" => {
                any.push(path.clone());
                What::Device
            }
            text if text.starts_with('"') => {
                file(serde_json::from_str::<String>(text).unwrap().as_bytes())
            }
            text => What::Link(text.strip_prefix("-> ").unwrap().to_owned()),
        };
        let entry = Entry {
            what,
            mode,
            owner: (uid.parse().unwrap(), gid.parse().unwrap()),
            xattrs: BTreeMap::new(),
        };
        wanted.insert(path, entry);
    }
    for path in any {
        if let (Some(wanted), Some(got)) = (wanted.get_mut(&path), got.get(&path)) {
            wanted.what = got.what.clone();
        }
    }
    tree_differences(&wanted, got, allowed)
}
