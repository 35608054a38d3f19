//! What a tree of files is, in full, so that two of them can be compared.

use std::collections::{BTreeMap, HashMap};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// Returns one line per name below `root`, which says all that matters about it.
pub(crate) fn tree(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut first_of = HashMap::new();
    walk(root, root, &mut found, &mut first_of);
    found
}

fn walk(
    root: &Path,
    path: &Path,
    found: &mut BTreeMap<String, String>,
    first_of: &mut HashMap<(u64, u64), String>,
) {
    let meta = std::fs::symlink_metadata(path).unwrap();
    let name = String::from_utf8_lossy(path.strip_prefix(root).unwrap().as_os_str().as_bytes())
        .into_owned();
    let kind = meta.file_type();
    let mut line = format!(
        "{:o} {}:{} t={}.{:09}",
        meta.mode(),
        meta.uid(),
        meta.gid(),
        meta.mtime(),
        meta.mtime_nsec()
    );
    if kind.is_file() {
        let content = std::fs::read(path).unwrap();
        line += &format!(
            " size={} {}",
            meta.size(),
            daas_image::Digest::of(&content).short()
        );
    } else if kind.is_symlink() {
        line += &format!(" -> {}", std::fs::read_link(path).unwrap().display());
    } else if kind.is_char_device() || kind.is_block_device() {
        line += &format!(" dev={:x}", meta.rdev());
    }
    if !kind.is_dir() && meta.nlink() > 1 {
        let first = first_of
            .entry((meta.dev(), meta.ino()))
            .or_insert_with(|| name.clone());
        line += &format!(" same-as={first}");
    }
    for (key, value) in xattrs(path) {
        line += &format!(" {key}={value:?}");
    }
    found.insert(name, line);
    if kind.is_dir() {
        let mut entries: Vec<_> = std::fs::read_dir(path)
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        entries.sort();
        for entry in entries {
            walk(root, &entry, found, first_of);
        }
    }
}

fn xattrs(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut names = vec![0; 64 << 10];
    let len = rustix::fs::llistxattr(path, &mut names).unwrap_or(0);
    let mut found = Vec::new();
    for name in names[..len].split(|b| *b == 0).filter(|n| !n.is_empty()) {
        let name = std::str::from_utf8(name).unwrap();
        let mut value = vec![0; 64 << 10];
        let n = rustix::fs::lgetxattr(path, name, &mut value).unwrap();
        found.push((name.to_owned(), value[..n].to_vec()));
    }
    found.sort();
    found
}

/// Runs a program and returns what it said; panics with it if it fails.
pub(crate) fn run(program: &str, args: &[&str]) -> String {
    let output = std::process::Command::new(program)
        .args(args)
        .output()
        .unwrap_or_else(|e| panic!("{program}: {e}"));
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{program} {args:?}: {text}");
    text
}
