//! The base images and the context that every case has.

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use tar::{Builder, EntryType, Header};

/// An image as `docker save` writes it.
pub(crate) struct BaseImage {
    pub(crate) name: &'static str,
    pub(crate) archive: Vec<u8>,
    config: String,
    layer: Vec<u8>,
}

impl BaseImage {
    /// Writes the image as an OCI layout with the very same configuration; returns its digest.
    pub(crate) fn write_layout(&self, folder: &Path) -> String {
        let blobs = folder.join("blobs/sha256");
        std::fs::create_dir_all(&blobs).unwrap();
        let put = |bytes: &[u8]| {
            let sum = hex(&Sha256::digest(bytes));
            std::fs::write(blobs.join(&sum), bytes).unwrap();
            format!("sha256:{sum}")
        };
        let kind = "application/vnd.oci.image";
        let manifest = json!({
            "schemaVersion": 2, "mediaType": format!("{kind}.manifest.v1+json"),
            "config": {"mediaType": format!("{kind}.config.v1+json"), "digest": put(self.config.as_bytes()), "size": self.config.len()},
            "layers": [{"mediaType": format!("{kind}.layer.v1.tar"), "digest": put(&self.layer), "size": self.layer.len()}],
        })
        .to_string();
        let digest = put(manifest.as_bytes());
        let index = json!({
            "schemaVersion": 2,
            "manifests": [{"mediaType": format!("{kind}.manifest.v1+json"), "digest": digest, "size": manifest.len()}],
        });
        std::fs::write(folder.join("index.json"), index.to_string()).unwrap();
        std::fs::write(
            folder.join("oci-layout"),
            r#"{"imageLayoutVersion":"1.0.0"}"#,
        )
        .unwrap();
        digest
    }
}

/// What programs of the base are there, all in one file.
const PROGRAMS: [&str; 33] = [
    "sh",
    "cat",
    "ls",
    "echo",
    "cp",
    "mv",
    "rm",
    "mkdir",
    "rmdir",
    "ln",
    "touch",
    "chmod",
    "chown",
    "chgrp",
    "id",
    "pwd",
    "env",
    "test",
    "true",
    "false",
    "grep",
    "sed",
    "head",
    "wc",
    "sort",
    "find",
    "stat",
    "mkfifo",
    "mount",
    "sleep",
    "sha256sum",
    "[",
    "printf",
];

/// Makes `base:1`, `rich:1` and `trigger:1`: one tree, three configurations.
pub(crate) fn images() -> Vec<BaseImage> {
    let layer = layer();
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let plain = json!({"Env": [path, "BASE=base"], "Cmd": ["/bin/sh"]});
    let rich = json!({
        "Env": [path, "BASE=rich"], "User": "app", "WorkingDir": "/home/app", "Entrypoint": ["/bin/sh", "-c"],
        "Cmd": ["from", "base"], "Volumes": {"/vol": {}}, "ExposedPorts": {"80/tcp": {}}, "Labels": {"base": "rich"},
        "StopSignal": "SIGINT", "Shell": ["/bin/sh", "-uc"],
        "Healthcheck": {"Test": ["CMD", "/bin/true"], "Interval": 5_000_000_000_u64, "Retries": 2},
    });
    let trigger = json!({
        "Env": [path, "BASE=trigger"], "Cmd": ["/bin/sh"],
        "OnBuild": ["COPY dir /triggered", "ENV TRIGGERED=yes", "RUN echo triggered > /own"],
    });
    [("base:1", plain), ("rich:1", rich), ("trigger:1", trigger)]
        .into_iter()
        .map(|(name, config)| BaseImage {
            name,
            archive: archive(name, &layer, &described(&layer, &config)),
            config: described(&layer, &config),
            layer: layer.clone(),
        })
        .collect()
}

/// Returns the image's configuration file.
fn described(layer: &[u8], config: &Value) -> String {
    json!({
        "architecture": "amd64", "os": "linux", "created": "2024-01-01T00:00:00Z", "config": config,
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", hex(&Sha256::digest(layer)))]},
        "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "a fixture"}],
    })
    .to_string()
}

fn archive(name: &str, layer: &[u8], config: &str) -> Vec<u8> {
    let id = hex(&Sha256::digest(config.as_bytes()));
    let manifest =
        json!([{"Config": format!("{id}.json"), "RepoTags": [name], "Layers": ["base/layer.tar"]}])
            .to_string();
    let mut tar = Builder::new(Vec::new());
    put(
        &mut tar,
        &format!("{id}.json"),
        0o644,
        (0, 0),
        config.as_bytes(),
    );
    put(&mut tar, "base/layer.tar", 0o644, (0, 0), layer);
    put(
        &mut tar,
        "manifest.json",
        0o644,
        (0, 0),
        manifest.as_bytes(),
    );
    tar.into_inner().unwrap()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn layer() -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for (path, mode, owner) in [
        ("bin", 0o755, (0, 0)),
        ("dev", 0o755, (0, 0)),
        ("etc", 0o755, (0, 0)),
        ("existing", 0o755, (0, 0)),
        ("home", 0o755, (0, 0)),
        ("home/app", 0o750, (1000, 1000)),
        ("proc", 0o555, (0, 0)),
        ("run", 0o755, (0, 0)),
        ("sys", 0o555, (0, 0)),
        ("tmp", 0o1777, (0, 0)),
        ("vol", 0o700, (1000, 50)),
    ] {
        dir(&mut tar, path, mode, owner);
    }
    let busybox = std::fs::read("/bin/busybox").unwrap();
    put(&mut tar, "bin/busybox", 0o755, (0, 0), &busybox);
    for program in PROGRAMS {
        link(&mut tar, &format!("bin/{program}"), "busybox");
    }
    // Engines put these into every container: with them in the base nobody adds any.
    for name in ["hosts", "hostname", "resolv.conf"] {
        put(&mut tar, &format!("etc/{name}"), 0o644, (0, 0), b"");
    }
    link(&mut tar, "etc/mtab", "/proc/mounts");
    let users = b"root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n";
    put(&mut tar, "etc/passwd", 0o644, (0, 0), users);
    let groups = b"root:x:0:\nstaff:x:50:\napp:x:1000:\n";
    put(&mut tar, "etc/group", 0o644, (0, 0), groups);
    put(&mut tar, "existing/file", 0o640, (0, 50), b"existing\n");
    link(&mut tar, "link-dir", "existing");
    tar.into_inner().unwrap()
}

fn header(kind: EntryType, mode: u32, owner: (u64, u64), size: usize) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(owner.0);
    header.set_gid(owner.1);
    header.set_mtime(1_700_000_000);
    header.set_size(size as u64);
    header
}

fn put(tar: &mut Builder<Vec<u8>>, path: &str, mode: u32, owner: (u64, u64), bytes: &[u8]) {
    let mut header = header(EntryType::Regular, mode, owner, bytes.len());
    tar.append_data(&mut header, path, bytes).unwrap();
}

fn dir(tar: &mut Builder<Vec<u8>>, path: &str, mode: u32, owner: (u64, u64)) {
    let mut header = header(EntryType::Directory, mode, owner, 0);
    tar.append_data(&mut header, format!("{path}/"), &[][..])
        .unwrap();
}

fn link(tar: &mut Builder<Vec<u8>>, path: &str, target: &str) {
    let mut header = header(EntryType::Symlink, 0o777, (0, 0), 0);
    tar.append_link(&mut header, path, target).unwrap();
}

/// Writes the context, with an ignore file if there is something to ignore.
pub(crate) fn context(root: &Path, ignore: &str) {
    for folder in [
        "archives",
        "dir/sub",
        "docs/deep",
        "empty",
        "hard",
        "links",
        "locked",
        "names",
        "sticky",
    ] {
        std::fs::create_dir_all(root.join(folder)).unwrap();
    }
    for (path, mode, text) in [
        ("a.txt", 0o644, "a\n"),
        ("b.txt", 0o600, "b\n"),
        ("run.sh", 0o755, "#!/bin/sh\n"),
        ("suid", 0o6755, "suid\n"),
        ("dir/x", 0o644, "x\n"),
        ("dir/y", 0o644, "y\n"),
        ("dir/.hidden", 0o644, "hidden\n"),
        ("dir/sub/z", 0o644, "z\n"),
        ("docs/readme.md", 0o644, "readme\n"),
        ("docs/guide.md", 0o644, "guide\n"),
        ("docs/keep.txt", 0o644, "keep\n"),
        ("docs/deep/n.md", 0o644, "n\n"),
        ("docs/deep/secret.md", 0o644, "secret\n"),
        ("hard/one", 0o644, "hard\n"),
        ("locked/f", 0o400, "locked\n"),
        ("names/sp ace.txt", 0o644, "space\n"),
        ("names/\u{fc}n\u{ef}code", 0o644, "unicode\n"),
        ("sticky/f", 0o644, "sticky\n"),
    ] {
        std::fs::write(root.join(path), text).unwrap();
        set_mode(&root.join(path), mode);
    }
    std::fs::hard_link(root.join("hard/one"), root.join("hard/two")).unwrap();
    set_mode(&root.join("locked"), 0o700);
    set_mode(&root.join("sticky"), 0o3777);
    // Whose the files of a context are does not matter.
    chown(root.join("dir/x"), Some(1234), Some(5678)).unwrap();
    for (name, target) in [
        ("to-file", "../a.txt"),
        ("to-dir", "../dir"),
        ("absolute", "/etc/passwd"),
        ("dangling", "nowhere"),
        ("itself", "itself"),
        ("outside", "../../../../etc"),
    ] {
        symlink(target, root.join("links").join(name)).unwrap();
    }
    archives(&root.join("archives"));
    if !ignore.is_empty() {
        std::fs::write(root.join(".dockerignore"), ignore).unwrap();
    }
    set_mode(root, 0o755);
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn archives(folder: &Path) {
    let mut tar = Builder::new(Vec::new());
    dir(&mut tar, "in", 0o755, (0, 0));
    put(&mut tar, "in/file", 0o640, (0, 0), b"in the archive\n");
    link(&mut tar, "in/link", "file");
    let plain = tar.into_inner().unwrap();
    std::fs::write(folder.join("plain.tar"), &plain).unwrap();
    std::fs::write(folder.join("gz.tar.gz"), gzip(&plain)).unwrap();
    for (program, name) in [("bzip2", "bz2.tar.bz2"), ("xz", "xz.tar.xz")] {
        std::fs::write(folder.join(name), through(program, &plain)).unwrap();
    }
    std::fs::write(
        folder.join("text.gz"),
        gzip(b"no archive, but compressed\n"),
    )
    .unwrap();
    std::fs::write(
        folder.join("empty.tar.gz"),
        gzip(&Builder::new(Vec::new()).into_inner().unwrap()),
    )
    .unwrap();
    std::fs::write(folder.join("owned.tar"), owned()).unwrap();
}

/// An archive with owners, set-id bits, a hard link and a capability (`CAP_NET_BIND_SERVICE`, effective and permitted).
fn owned() -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    dir(&mut tar, "d", 0o2750, (1000, 50));
    put(&mut tar, "d/suid", 0o4711, (1000, 50), b"suid\n");
    let capability: &[u8] = &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    tar.append_pax_extensions([("SCHILY.xattr.security.capability", capability)])
        .unwrap();
    put(&mut tar, "d/capable", 0o755, (0, 0), b"capable\n");
    let mut hard = header(EntryType::Link, 0o4711, (1000, 50), 0);
    tar.append_link(&mut hard, "d/again", "d/suid").unwrap();
    tar.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn through(program: &str, bytes: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program)
        .arg("-c")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    output.stdout
}
