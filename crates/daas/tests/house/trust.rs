//! The private authority inside of stands and builds: ordinary programs trust the platform's names there, and images know nothing of it.
#![allow(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

use crate::edge::{free_port, libraries, run, serving};
use crate::trials::program;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use xtask::house::{Project, docker_archive};
use xtask::trials::Bed;

/// Loads an image of programs of this machine with their libraries, further files and folders, and busybox.
fn image_of(bed: &Bed, name: &str, programs: &[&str], further: &[&str]) {
    let tree = bed.daemon.place().join("tree");
    let copy = |from: &str| {
        let to = tree.join(from.trim_start_matches('/'));
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        let words = [
            "--recursive",
            "--no-target-directory",
            "--dereference",
            from,
        ];
        run("cp", &[&words[..], &[to.to_str().unwrap()]].concat());
    };
    for program in programs {
        copy(program);
        for library in libraries(program) {
            copy(&library);
        }
    }
    for file in further.iter().chain(&["/bin/busybox"]) {
        copy(file);
    }
    for folder in ["proc", "sys", "dev", "tmp"] {
        fs::create_dir_all(tree.join(folder)).unwrap();
    }
    let config = json!({"Env": ["PATH=/bin:/usr/bin"]});
    let archive = docker_archive(&format!("{name}:latest"), &tree, &config).unwrap();
    bed.api().load_image(&archive).unwrap();
    fs::remove_dir_all(tree).unwrap();
}

const BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// An image of this machine's curl with its authorities.
fn image_of_curl(bed: &Bed) {
    image_of(bed, "curl", &["/usr/bin/curl"], &[BUNDLE]);
}

/// The folder of a Python of this machine and what of it needs further libraries.
const PYTHON: [&str; 2] = ["/usr/bin/python3.11", "/usr/lib/python3.11"];

/// A daemon, a stand `other` that answers over TLS at the port, and room for a visitor.
fn two_stands(more: &str) -> (Bed, u16) {
    let port = free_port();
    let bed = Bed::configured(
        program(),
        &format!("  spares: 0\ningress:\n  listen: []\n  listen_tls: ['127.0.0.1:{port}']\n{more}"),
    )
    .unwrap();
    bed.api()
        .up("other", &bed.project(&serving("web", "hello")), 0)
        .unwrap();
    (bed, port)
}

/// Starts the stand `me` of an image in the host's network, where other stands' names lead. Its name server is the host's: the name is in its `/etc/hosts`.
fn visitor(bed: &Bed, image: &str, more: &str) {
    let api = bed.api();
    let me = format!(
        "  me:\n    image: {image}:latest\n    command: [/bin/busybox, sleep, '1000']\n    network_mode: host\n    extra_hosts: ['web.other.localhost:127.0.0.1']\n{more}"
    );
    let grants = json!({"project": "project", "grants": [{"host-namespace": "network"}]});
    api.put("/projects/project/grants", &grants).unwrap();
    api.up("me", &bed.project(&me), 0).unwrap();
}

/// Runs a program in the visitor; returns all that it said.
pub(crate) fn say(bed: &Bed, words: &[&str]) -> String {
    let ran = bed.api().exec("me", "me", words).unwrap();
    let text = [ran.out, ran.err].concat();
    String::from_utf8_lossy(&text).into_owned()
}

fn curl(bed: &Bed, url: &str) -> String {
    say(bed, &["/usr/bin/curl", "--silent", "--show-error", url])
}

fn end(bed: &Bed) {
    bed.api().down("me").unwrap();
    bed.api().down("other").unwrap();
}

#[test]
fn root_a_program_in_a_node_trusts_other_stands_by_its_images_own_bundle() {
    let (bed, port) = two_stands("");
    image_of_curl(&bed);
    visitor(&bed, "curl", "");
    assert_eq!(
        curl(&bed, &format!("https://web.other.localhost:{port}/")),
        "hello\n"
    );
    let list = ["/bin/busybox", "ls", "/usr/local/share/ca-certificates"];
    assert_eq!(say(&bed, &list), "daas-root.crt\n");
    end(&bed);
}

#[test]
fn root_where_the_configuration_says_so_nodes_trust_whom_their_image_trusts() {
    let (bed, port) = two_stands("certificates: {inside: false}\n");
    image_of_curl(&bed);
    visitor(&bed, "curl", "");
    let said = curl(&bed, &format!("https://web.other.localhost:{port}/"));
    assert!(
        said.contains("self-signed") || said.contains("unable to get local issuer"),
        "{said}"
    );
    assert!(!bed.daemon.state().join("trust").exists());
    end(&bed);
}

/// What Python is told to fetch an address with its defaults.
const FETCH: &str = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1]).read().decode(), end='')";

pub(crate) fn python(bed: &Bed, url: &str) -> String {
    say(bed, &["/usr/bin/python3.11", "-c", FETCH, url])
}

/// Loads an image of curl and Python and no authorities at all.
pub(crate) fn image_of_python(bed: &Bed) {
    let dynamic = fs::read_dir("/usr/lib/python3.11/lib-dynload").unwrap();
    let parts: Vec<String> = dynamic
        .map(|part| part.unwrap().path().to_str().unwrap().to_owned())
        .filter(|part| part.contains("_ssl") || part.contains("_hashlib"))
        .collect();
    let mut programs = vec!["/usr/bin/curl", PYTHON[0]];
    programs.extend(parts.iter().map(String::as_str));
    let mut further = vec![PYTHON[1], "/etc/os-release"];
    // Names are looked up by libraries that no program names.
    let nss = "/lib/x86_64-linux-gnu/libnss_files.so.2";
    further.extend(Path::new(nss).exists().then_some(nss));
    image_of(bed, "python", &programs, &further);
}

#[test]
fn root_an_image_without_authorities_trusts_the_platform_from_its_first_second() {
    let (bed, port) = two_stands("");
    image_of_python(&bed);
    visitor(&bed, "python", "");
    let url = format!("https://web.other.localhost:{port}/");
    assert_eq!(curl(&bed, &url), "hello\n");
    assert_eq!(python(&bed, &url), "hello\n");
    let image = bed.daemon.state().join("images");
    assert_eq!(bundles_that_bear_the_mark(&image), [""; 0]);
    end(&bed);
}

/// What Node is told to fetch an address with its defaults.
const ASK: &str = "require('https').get(process.argv[1], r => r.pipe(process.stdout)).on('error', e => console.log(e.code))";

fn node(bed: &Bed, url: &str) -> String {
    say(bed, &["/usr/bin/node", "-e", ASK, url])
}

#[test]
fn root_node_trusts_the_platform_unless_the_project_says_whom_it_trusts() {
    let (bed, port) = two_stands("");
    image_of(&bed, "node", &["/usr/bin/node"], &[]);
    visitor(&bed, "node", "");
    let url = format!("https://web.other.localhost:{port}/");
    assert_eq!(node(&bed, &url), "hello\n");
    bed.api().down("me").unwrap();
    let own = "    environment: {NODE_EXTRA_CA_CERTS: /dev/null}\n";
    visitor(&bed, "node", own);
    let said = node(&bed, &url);
    assert!(
        said.contains("UNABLE_TO_") || said.contains("SELF_SIGNED"),
        "{said}"
    );
    end(&bed);
}

/// The Java of this machine, where it is.
fn java() -> PathBuf {
    let program = fs::canonicalize("/usr/bin/java").unwrap();
    program.ancestors().nth(2).unwrap().to_owned()
}

/// Loads an image of this machine's Java as `java`, and returns the command that fetches `url` with its defaults.
fn image_of_java(bed: &Bed, url: &str) -> Vec<String> {
    let home = java();
    let at = |name: &str| home.join(name).to_str().unwrap().to_owned();
    let server = at("lib/server/libjvm.so");
    let fetch = bed.daemon.place().join("Fetch.class");
    fs::write(&fetch, include_bytes!("Fetch.class")).unwrap();
    let fetch = fetch.to_str().unwrap().to_owned();
    let parts = fs::read_dir(home.join("lib")).unwrap();
    // Sources and other platforms' classes are links of a development kit, and lead nowhere without it.
    let parts = parts.map(|part| part.unwrap().path());
    let parts = parts.filter(|part| part.exists() && !part.ends_with("ct.sym"));
    let mut further: Vec<String> = parts
        .map(|part| part.to_str().unwrap().to_owned())
        .collect();
    // What Debian keeps of a Java outside of its folder.
    let list = "/etc/ssl/certs/java/cacerts".to_owned();
    further.extend([at("conf"), list, fetch.clone()]);
    let further: Vec<&str> = further.iter().map(String::as_str).collect();
    let (java, net) = (at("bin/java"), at("lib/libnet.so"));
    image_of(bed, "java", &[&java, &server, &net], &further);
    let classes = Path::new(&fetch).parent().unwrap().to_str().unwrap();
    [&java, "-Xint", "-Xshare:off", "-cp", classes, "Fetch", url]
        .map(ToOwned::to_owned)
        .into()
}

#[test]
fn root_java_trusts_the_platform_by_its_own_list_and_still_whom_it_trusted() {
    let (bed, port) = two_stands("");
    let url = format!("https://web.other.localhost:{port}/");
    let fetch = image_of_java(&bed, &url);
    visitor(&bed, "java", "");
    let words: Vec<&str> = fetch.iter().map(String::as_str).collect();
    assert_eq!(say(&bed, &words), "hello\n");
    end(&bed);
}

/// Runs commands over an image as builds do, in the host's network where other stands' names lead; tells whether they succeeded, and what was said.
fn build(bed: &Bed, image: &str, more: &str, commands: &[Vec<String>]) -> (bool, String) {
    let folder = tempfile::tempdir_in(bed.daemon.place()).unwrap();
    let run = |command: &Vec<String>| format!("RUN {}\n", json!(command));
    let runs: String = commands.iter().map(run).collect();
    let file = format!("FROM {image}:latest\n{more}{runs}");
    fs::write(folder.path().join("Dockerfile"), file).unwrap();
    let said = Command::new(program())
        .env("DAAS_SOCKET", bed.daemon.place().join("daas.sock"))
        .args(["image", "build", "--project", "built", "--network", "host"])
        .args(["--no-cache", "--add-host", "web.other.localhost:127.0.0.1"])
        .arg(folder.path())
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&said.stderr).into_owned();
    (said.status.success(), words)
}

/// Lets builds of the project `built` into the host's network.
fn grant(bed: &Bed) {
    let socket = bed.daemon.place().join("daas.sock");
    let words = ["project", "grant", "built", "host-namespace:network"];
    let own = ["--socket", socket.to_str().unwrap()];
    run(program().to_str().unwrap(), &[&own[..], &words].concat());
}

fn words(all: &[&str]) -> Vec<String> {
    all.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn root_curl_python_node_and_git_in_a_build_trust_the_platform_with_their_defaults() {
    let (bed, port) = two_stands("");
    grant(&bed);
    let url = format!("https://web.other.localhost:{port}/");
    image_of_curl(&bed);
    let curl = words(&["/usr/bin/curl", "--silent", "--show-error", &url]);
    image_of_python(&bed);
    let python = words(&[PYTHON[0], "-c", FETCH, &url]);
    image_of(&bed, "node", &["/usr/bin/node"], &[]);
    let node = words(&["/usr/bin/node", "-e", ASK, &url]);
    for (image, command) in [("curl", curl), ("python", python), ("node", node)] {
        let (good, said) = build(&bed, image, "", &[command]);
        assert!(good && said.contains("hello"), "{image}: {said}");
    }
    let programs = ["/usr/bin/git", "/usr/lib/git-core/git-remote-https"];
    image_of(&bed, "git", &programs, &[BUNDLE]);
    let git = words(&["/usr/bin/git", "ls-remote", &url]);
    let (good, said) = build(&bed, "git", "", &[git]);
    // It has spoken to the server, which is none of git's.
    assert!(!good && said.contains("not found"), "{said}");
    assert_eq!(
        bundles_that_bear_the_mark(&bed.daemon.state().join("images")),
        [""; 0]
    );
    bed.api().down("other").unwrap();
}

#[test]
fn root_java_in_a_build_trusts_the_platform_and_its_list_stays_as_it_was() {
    let (bed, port) = two_stands("");
    grant(&bed);
    let url = format!("https://web.other.localhost:{port}/");
    let fetch = image_of_java(&bed, &url);
    let list = "/etc/ssl/certs/java/cacerts";
    let sum = words(&[
        "/bin/busybox",
        "sha256sum",
        list,
        "/run/daas/authorities.jks",
    ]);
    let (good, said) = build(&bed, "java", "", &[fetch.clone(), sum]);
    assert!(good && said.contains("hello"), "{said}");
    let of = run("sha256sum", &[list]);
    assert!(said.contains(of.trim()), "{said}");
    // Two lists, and the image has one.
    assert_eq!(said.matches("  /").count(), 2, "{said}");
    // What the Dockerfile says of it stands above what the machine says.
    let own = "ENV JAVA_TOOL_OPTIONS=-Down=word\n";
    let (good, said) = build(&bed, "java", own, &[fetch]);
    assert!(!good && said.contains("PKIX"), "{said}");
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
    let bundle = BUNDLE;
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

#[test]
fn root_a_build_over_an_image_without_authorities_trusts_the_platform_and_keeps_no_file_of_it() {
    let bed = Bed::configured(program(), "  spares: 0\n").unwrap();
    image_of(&bed, "bare", &[], &[]);
    let folder = bed.daemon.place().join("built");
    fs::create_dir(&folder).unwrap();
    // All that the command is shown becomes its own, as by any `chown --recursive`.
    let line = "busybox grep -c BEGIN /etc/ssl/certs/*.0 /etc/ssl/cert.pem $NODE_EXTRA_CA_CERTS > /seen && busybox find /etc -exec busybox chown 7:7 '{}' ';'";
    let run = json!(["/bin/busybox", "sh", "-c", line]);
    fs::write(
        folder.join("Dockerfile"),
        format!("FROM bare:latest\nRUN {run}\n"),
    )
    .unwrap();
    fs::write(
        folder.join("compose.yaml"),
        "name: built\nservices:\n  me:\n    build: .\n    network_mode: none\n    command: [/bin/busybox, sleep, '1000']\n",
    )
    .unwrap();
    bed.api()
        .up("me", &Project::read(&folder).unwrap(), 0)
        .unwrap();
    let seen = say(&bed, &["/bin/busybox", "cat", "/seen"]);
    let ones = seen.lines().filter(|line| line.ends_with(":1")).count();
    assert_eq!((seen.lines().count(), ones), (3, 3), "{seen}");
    // Without a network nobody is shown anything, so this is the image itself.
    let files = say(&bed, &["/bin/busybox", "find", "/etc/ssl", "-type", "f"]);
    assert_eq!(files, "");
    assert_eq!(
        bundles_that_bear_the_mark(&bed.daemon.state().join("images")),
        [""; 0]
    );
    bed.api().down("me").unwrap();
}
