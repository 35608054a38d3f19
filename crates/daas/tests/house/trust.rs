//! The private authority inside of stands and builds: ordinary programs trust the platform's names there, and images know nothing of it.
#![allow(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

use crate::edge::{free_port, libraries, serving};
use crate::trials::program;
use serde_json::json;
use std::fs;
use std::path::Path;
use std::process::Command;
use xtask::house::{Project, docker_archive};
use xtask::trials::Bed;

/// An image of this machine's curl with its libraries and authorities, and of busybox.
fn image_of_curl(bed: &Bed) {
    let tree = bed.daemon.place().join("curl-tree");
    let copy = |from: &str| {
        let to = tree.join(from.trim_start_matches('/'));
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap();
    };
    let libraries = libraries("/usr/bin/curl");
    let own = [
        "/usr/bin/curl",
        "/bin/busybox",
        "/etc/ssl/certs/ca-certificates.crt",
    ];
    for file in libraries.iter().map(String::as_str).chain(own) {
        copy(file);
    }
    for folder in ["proc", "sys", "dev", "tmp", "usr/local/share"] {
        fs::create_dir_all(tree.join(folder)).unwrap();
    }
    let config = json!({"Env": ["PATH=/bin:/usr/bin"]});
    let archive = docker_archive("curl:latest", &tree, &config).unwrap();
    bed.api().load_image(&archive).unwrap();
    fs::remove_dir_all(tree).unwrap();
}

/// A daemon, a stand `other` that answers over TLS at the port, and a stand `me` in the host's network, where other stands' names lead.
fn two_stands(more: &str) -> (Bed, u16) {
    let port = free_port();
    let bed = Bed::configured(
        program(),
        &format!("  spares: 0\ningress:\n  listen: []\n  listen_tls: ['127.0.0.1:{port}']\n{more}"),
    )
    .unwrap();
    image_of_curl(&bed);
    let api = bed.api();
    api.up("other", &bed.project(&serving("web", "hello")), 0)
        .unwrap();
    let me = "  me:\n    image: curl:latest\n    command: [/bin/busybox, sleep, '1000']\n    network_mode: host\n";
    let grants = json!({"project": "project", "grants": [{"host-namespace": "network"}]});
    api.put("/projects/project/grants", &grants).unwrap();
    api.up("me", &bed.project(me), 0).unwrap();
    (bed, port)
}

fn curl(bed: &Bed, url: &str) -> String {
    let words = ["/usr/bin/curl", "--silent", "--show-error", url];
    let ran = bed.api().exec("me", "me", &words).unwrap();
    format!(
        "{}{}",
        String::from_utf8_lossy(&ran.out),
        String::from_utf8_lossy(&ran.err)
    )
}

#[test]
fn root_a_program_in_a_node_trusts_other_stands_by_its_images_own_bundle() {
    let (bed, port) = two_stands("");
    let url = format!("https://web.other.localhost:{port}/");
    assert_eq!(curl(&bed, &url), "hello\n");
    let ran = bed
        .api()
        .exec(
            "me",
            "me",
            &["/bin/busybox", "ls", "/usr/local/share/ca-certificates"],
        )
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&ran.out), "daas-root.crt\n");
    bed.api().down("me").unwrap();
    bed.api().down("other").unwrap();
}

#[test]
fn root_where_the_configuration_says_so_nodes_trust_whom_their_image_trusts() {
    let (bed, port) = two_stands("certificates: {inside: false}\n");
    let said = curl(&bed, &format!("https://web.other.localhost:{port}/"));
    assert!(
        said.contains("self-signed") || said.contains("unable to get local issuer"),
        "{said}"
    );
    assert!(!bed.daemon.state().join("trust").exists());
    bed.api().down("me").unwrap();
    bed.api().down("other").unwrap();
}

/// Lines with which our piece of a bundle begins.
const MARK: &str = "DaaS: the authority";

fn bundles_that_bear_the_mark(folder: &Path) -> Vec<String> {
    let found = Command::new("grep")
        .args(["--recursive", "--files-with-matches", MARK])
        .arg(folder)
        .output()
        .unwrap();
    let text = String::from_utf8(found.stdout).unwrap();
    text.lines().map(ToOwned::to_owned).collect()
}

#[test]
fn root_commands_of_builds_trust_the_platform_and_no_layer_holds_a_word_of_it() {
    let bed = Bed::configured(program(), "  spares: 0\n").unwrap();
    image_of_curl(&bed);
    let folder = bed.daemon.place().join("built");
    fs::create_dir(&folder).unwrap();
    let bundle = "/etc/ssl/certs/ca-certificates.crt";
    // As a pattern, so that the image's history does not hold the very words.
    let count = format!("busybox grep -c '{}'", MARK.replace(' ', "."));
    let lines = [
        format!("{count} {bundle} > /first && echo '# mine' >> {bundle}"),
        format!("{count} {bundle} > /second && busybox grep -c '^# mine' {bundle} >> /second"),
        format!("busybox cp {bundle} /tmp/new.crt && busybox mv -f /tmp/new.crt {bundle}"),
    ];
    let run = |line: &String| format!("RUN {}\n", json!(["/bin/busybox", "sh", "-c", line]));
    let file = format!(
        "FROM curl:latest\n{}",
        lines.iter().map(run).collect::<String>()
    );
    fs::write(folder.join("Dockerfile"), file).unwrap();
    fs::write(
        folder.join("compose.yaml"),
        "name: built\nservices:\n  me:\n    build: .\n    command: [/bin/busybox, sleep, '1000']\n",
    )
    .unwrap();
    let api = bed.api();
    api.up("me", &Project::read(&folder).unwrap(), 0).unwrap();
    let tell = |words: &[&str]| {
        let ran = api.exec("me", "me", words).unwrap();
        String::from_utf8_lossy(&ran.out).into_owned()
    };
    assert_eq!(
        tell(&["/bin/busybox", "cat", "/first", "/second"]),
        "1\n1\n1\n"
    );
    assert_eq!(tell(&["/bin/busybox", "grep", "-c", MARK, bundle]), "1\n");
    assert_eq!(
        tell(&["/bin/busybox", "grep", "-c", "^# mine", bundle]),
        "1\n"
    );
    let images = bed.daemon.state().join("images");
    assert_eq!(bundles_that_bear_the_mark(&images), [""; 0]);
    assert!(!bundles_that_bear_the_mark(&bed.daemon.state().join("trust")).is_empty());
    api.down("me").unwrap();
}
