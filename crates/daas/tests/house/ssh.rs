//! The SSH door, with OpenSSH's own client.
#![allow(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

use crate::edge::{free_port, run, serving};
use crate::trials::program;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use xtask::trials::Bed;

/// A daemon with an SSH door and a stand of two services, and the keys of people.
struct Yard {
    bed: Bed,
    port: u16,
    folder: tempfile::TempDir,
}

/// Has a file made that depends on nothing: the same bytes in every run.
fn some_bytes(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Yard {
    fn new() -> Self {
        Self::with("")
    }

    /// With further lines below `ssh:` in the configuration.
    fn with(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let configuration = format!(
            "  spares: 0\nbans: {{after: 4, allow: [127.0.0.1]}}\ningress: {{listen: [], listen_tls: []}}\nregistry: {{listen: ['127.0.0.1:0']}}\nssh:\n  listen: ['127.0.0.1:{port}']\n{more}"
        );
        let bed = Bed::configured(program(), &configuration).unwrap();
        let yard = Self { bed, port, folder };
        let project = yard
            .bed
            .project(&(serving("web", "hello") + &serving("db", "data")));
        yard.bed.api().up("shop", &project, 0).unwrap();
        yard.key("anna", "ed25519", &[]);
        let known = yard.daas(&["ssh", "known-hosts"]);
        fs::write(yard.at("known"), known).unwrap();
        yard
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn daas(&self, words: &[&str]) -> String {
        let socket = self.bed.daemon.place().join("daas.sock");
        let own = ["--socket", socket.to_str().unwrap()];
        run(program().to_str().unwrap(), &[&own[..], words].concat())
    }

    /// Makes a pair without letting it in.
    fn pair(&self, name: &str, kind: &str) {
        let file = self.at(name);
        run(
            "ssh-keygen",
            &[
                "-q",
                "-t",
                kind,
                "-N",
                "",
                "-C",
                name,
                "-f",
                file.to_str().unwrap(),
            ],
        );
    }

    /// Makes a pair and lets it in.
    fn key(&self, name: &str, kind: &str, rights: &[&str]) {
        self.pair(name, kind);
        let file = format!("{}.pub", self.at(name).display());
        let add = ["ssh", "key", "add", name, &file];
        self.daas(&[&add[..], rights].concat());
    }

    /// What every client of OpenSSH is told.
    fn options(&self, key: &str) -> Vec<String> {
        let known = format!("UserKnownHostsFile={}", self.at("known").display());
        let mut words = vec!["-F".to_owned(), "/dev/null".into()];
        for option in [
            "BatchMode=yes",
            "StrictHostKeyChecking=yes",
            "IdentitiesOnly=yes",
            "GlobalKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
            &known,
        ] {
            words.extend(["-o".to_owned(), option.to_owned()]);
        }
        words.extend(["-i".to_owned(), self.at(key).display().to_string()]);
        words
    }

    fn ssh_as(&self, key: &str, user: &str, before: &[&str], words: &[&str]) -> Command {
        let mut command = Command::new("ssh");
        command
            .args(self.options(key))
            .args(["-p", &self.port.to_string()])
            .args(before)
            .arg(format!("{user}@127.0.0.1"))
            .args(words)
            .stdin(Stdio::null());
        command
    }

    fn ssh(&self, user: &str, words: &[&str]) -> Output {
        self.ssh_as("anna", user, &[], words).output().unwrap()
    }

    /// Runs a command in the web node that must succeed.
    fn inside(&self, line: &str) -> String {
        let output = self.ssh("shop-web", &[line]);
        assert!(output.status.success(), "{line}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Sends bytes through a command in the web node.
    fn through(&self, line: &str, bytes: &[u8]) -> Output {
        let mut command = self.ssh_as("anna", "shop-web", &[], &[line]);
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.unwrap();
        let mut stdin = child.stdin.take().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                // Whoever reads no more says so by closing.
                let _ = stdin.write_all(bytes);
            });
            child.wait_with_output().unwrap()
        })
    }

    fn over(self) {
        self.bed.api().down("shop").unwrap();
    }
}

#[test]
fn root_programs_run_over_ssh_byte_for_byte_with_their_own_ends() {
    let yard = Yard::new();
    let output = yard.ssh("shop-web", &["echo out; echo err >&2; exit 7"]);
    assert_eq!(
        (text(&output.stdout).as_str(), text(&output.stderr).as_str()),
        ("out\n", "err\n")
    );
    assert_eq!(output.status.code(), Some(7));
    // The words come as the client sends them: one line for the shell of the node.
    assert_eq!(yard.inside("echo 'a  b' | busybox tr a-z A-Z"), "A  B\n");
    assert_eq!(
        text(&yard.ssh("shop-web", &["echo", "$0"]).stdout),
        "/bin/sh\n"
    );
    // Much more than all windows and pipes hold, both ways at once.
    let bytes = some_bytes(9 << 20);
    let output = yard.through("cat; echo end >&2", &bytes);
    assert!(
        output.stdout == bytes,
        "{} bytes came back",
        output.stdout.len()
    );
    assert_eq!(text(&output.stderr), "end\n");
    // Input that nobody reads ends nothing, and its end is seen.
    let output = yard.through("sleep 1; echo late", &bytes);
    assert_eq!(text(&output.stdout), "late\n");
    assert_eq!(
        text(&yard.through("busybox wc -c", b"12345").stdout).trim(),
        "5"
    );
    // A signal is no exit code: the client says 255.
    assert_eq!(
        yard.ssh("shop-web", &["kill -TERM $$"]).status.code(),
        Some(255)
    );
    assert_eq!(yard.ssh("shop-web", &["exit 143"]).status.code(), Some(143));
    // Of the environment, the language alone.
    let sent = [
        "-o",
        "SetEnv=LANG=de_DE.UTF-8 LC_ALL=C PATH=/nowhere LD_PRELOAD=/x",
    ];
    let output = yard
        .ssh_as(
            "anna",
            "shop-web",
            &sent,
            &["echo $LANG $LC_ALL $PATH $LD_PRELOAD"],
        )
        .output()
        .unwrap();
    assert_eq!(text(&output.stdout), "de_DE.UTF-8 C /bin\n");
    // Whoever leaves ends what he started.
    let mut left = yard.ssh_as("anna", "shop-web", &[], &["sleep 7654"]);
    let mut left = left.spawn().unwrap();
    let running = || yard.inside("busybox ps").contains("sleep 7654");
    crate::edge::eventually("the program", || running().then_some(()));
    left.kill().unwrap();
    left.wait().unwrap();
    crate::edge::eventually("its end", || (!running()).then_some(()));
    let events = yard.daas(&["--json", "stand", "events", "shop"]);
    assert!(events.contains("ssh-session"), "{events}");
    assert!(
        events.contains("anna ran `cat;` in web over SSH: it ended with 0"),
        "{events}"
    );
    assert!(events.contains("it ended by signal 15"), "{events}");
    yard.over();
}

/// Runs ssh below a terminal of 100 columns that becomes one of 120, and says what it saw.
const TERMINAL: &str = r#"
import fcntl, os, pty, re, struct, sys, termios, time
pid, fd = pty.fork()
if pid == 0:
    # The terminal has its size before anybody asks.
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    os.environ["TERM"] = "vt220"
    os.execvp("ssh", ["ssh"] + sys.argv[1:])
seen = b""
def until(what):
    global seen
    end = time.time() + 60
    while not re.search(what, seen):
        if time.time() > end: sys.exit("no %r in %r" % (what, seen))
        piece = os.read(fd, 4096)
        if not piece: sys.exit("the end before %r in %r" % (what, seen))
        seen += piece
def say(line):
    os.write(fd, line + b"\n")
until(rb"[#$] ")
say(b"busybox tty; busybox stty size; echo term=$TERM,")
until(rb"/dev/pts/\d+\r\n40 100\r\nterm=vt220,\r\n")
fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 120, 0, 0))
say(b"while [ \"$(busybox stty size)\" != '50 120' ]; do sleep 0.1; done; echo wi'de'")
until(rb"\r\nwide\r\n")
# What holds the terminal behind the shell's back does not hold the session; the keys of a person reach the program.
say(b"sleep 5000")
time.sleep(0.5)
os.write(fd, b"\x03")
say(b"sleep 3000 & echo o'k'")
until(rb"\r\nok\r\n")
say(b"exit 9")
_, status = os.waitpid(pid, 0)
print(os.waitstatus_to_exitcode(status))
"#;

#[test]
fn root_a_person_has_a_real_terminal_over_ssh() {
    let yard = Yard::new();
    let mut words = vec!["-c".to_owned(), TERMINAL.into()];
    words.extend(yard.options("anna"));
    words.extend([
        "-p".into(),
        yard.port.to_string(),
        "web.shop@127.0.0.1".into(),
    ]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    assert_eq!(run("python3", &words), "9\n");
    yard.over();
}

#[test]
fn root_only_known_keys_enter_and_only_what_they_may() {
    let yard = Yard::new();
    let reached = |key: &str, user: &str, before: &[&str]| {
        let output = yard.ssh_as(key, user, before, &["hostname"]).output();
        let output = output.unwrap();
        (output.status.success(), text(&output.stderr))
    };
    for (name, kind) in [("rita", "rsa"), ("carl", "ecdsa")] {
        yard.key(name, kind, &[]);
        assert_eq!(reached(name, "shop-web", &[]), (true, String::new()));
    }
    // RSA with SHA-1 is no signature.
    let sha1 = ["-o", "PubkeyAcceptedAlgorithms=ssh-rsa"];
    assert!(!reached("rita", "shop-web", &sha1).0);
    // Whoever has no key learns nothing: neither of stands nor of other ways.
    yard.pair("mallory", "ed25519");
    let refused = |user: &str| {
        let (entered, said) = reached("mallory", user, &[]);
        assert!(!entered);
        said.replace(user, "USER")
    };
    let said = refused("shop-web");
    assert!(said.contains("Permission denied (publickey)"), "{said}");
    assert_eq!(refused("nothing-here"), said);
    let other_ways = [
        "-o",
        "PreferredAuthentications=password,keyboard-interactive,hostbased",
    ];
    assert!(!reached("anna", "shop-web", &other_ways).0);
    // A name that means nothing is explained to those who are in.
    let (entered, said) = reached("anna", "shop-wb", &[]);
    assert!(
        !entered && said.contains("stand shop has no service wb; it has: db, web"),
        "{said}"
    );
    // A key with limits sees what it may enter, and the rest is not there.
    yard.key("bea", "ed25519", &["--stand", "shop-*"]);
    let unknown = "no stand is meant by `shop-web`, or none that this key may enter";
    let (entered, said) = reached("bea", "shop-web", &[]);
    assert!(!entered && said.contains(unknown), "{said}");
    yard.key("cora", "ed25519", &["--stand", "other", "--stand", "sh*p"]);
    assert!(reached("cora", "shop-web", &[]).0);
    let list = yard.daas(&["ssh", "key", "list"]);
    assert!(
        list.contains("sh*p") && list.contains("all stands"),
        "{list}"
    );
    yard.daas(&["ssh", "key", "remove", "cora"]);
    assert!(!reached("cora", "shop-web", &[]).0);
    // Four connections without a known key are a ban, whatever comes then; others come in.
    let from = |address: &'static str| ["-b", address];
    for _ in 0..4 {
        assert!(!reached("mallory", "shop-web", &from("127.9.1.1")).0);
    }
    // The last one is counted when its end is noticed.
    let said = crate::edge::eventually("the ban", || {
        let (entered, said) = reached("anna", "shop-web", &from("127.9.1.1"));
        (!entered).then_some(said)
    });
    assert!(!said.contains("publickey"), "{said}");
    assert!(reached("anna", "shop-web", &from("127.9.1.2")).0);
    yard.over();
}

#[test]
fn root_the_host_is_known_by_one_key_over_restarts_and_the_door_says_so() {
    let mut yard = Yard::with("  keys: []\n");
    let scanned = |yard: &Yard| {
        let port = yard.port.to_string();
        run("ssh-keyscan", &["-p", &port, "-T", "60", "127.0.0.1"])
    };
    // By its address, and by the name that people type.
    let lines = yard.daas(&["ssh", "known-hosts"]);
    let by_address = scanned(&yard);
    let by_name = by_address.replace("127.0.0.1", "localhost");
    assert_eq!(lines, by_name + &by_address);
    let mut named = Command::new("ssh");
    named.args(yard.options("anna"));
    named.args([
        "-p",
        &yard.port.to_string(),
        "shop-web@localhost",
        "echo in",
    ]);
    let output = named.stdin(Stdio::null()).output().unwrap();
    assert_eq!(text(&output.stdout), "in\n", "{}", text(&output.stderr));
    let info = yard.daas(&["system", "info"]);
    let door = format!("ssh      127.0.0.1:{}\n", yard.port);
    assert!(info.contains(&door), "{info}");
    let config = yard.daas(&["ssh", "config", "dev.example.com"]);
    assert!(config.contains("HostName dev.example.com\n"), "{config}");
    let doctor = yard.daas(&["--json", "doctor"]);
    assert!(
        doctor.contains(&format!("at 127.0.0.1:{} for 1 keys", yard.port)),
        "{doctor}"
    );
    // A session is told when the daemon goes; its stand lives on, and so do key and people.
    let mut held = yard.ssh_as("anna", "shop-web", &[], &["echo here; sleep 6000"]);
    let mut held = held
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut here = [0; 5];
    std::io::Read::read_exact(held.stdout.as_mut().unwrap(), &mut here).unwrap();
    yard.bed.daemon.stop().unwrap();
    let output = held.wait_with_output().unwrap();
    let said = text(&output.stderr);
    // A client that is slow to leave is told the reason of the disconnection as well.
    assert!(
        said.starts_with(
            "daas: the daemon ends or is replaced, and this session with it; the stand lives on\r\n"
        ),
        "{said}"
    );
    assert_eq!(output.status.code(), Some(255));
    yard.bed.daemon.start_again().unwrap();
    assert_eq!(scanned(&yard), by_address);
    let events = yard.daas(&["--json", "stand", "events", "shop"]);
    assert!(
        events.contains("it was cut off by the daemon's end"),
        "{events}"
    );
    assert_eq!(yard.inside("echo again"), "again\n");
    // The key of the host lies sealed: its seed is nowhere in the state in plain.
    let records = fs::read(yard.bed.daemon.state().join("master.key"));
    assert!(records.is_ok_and(|key| !key.is_empty()));
    yard.over();
}

#[test]
fn root_a_stand_that_sleeps_is_woken_by_a_session_and_sleeps_not_while_it_lasts() {
    let yard = Yard::new();
    let project = yard
        .bed
        .project(&(serving("app", "awake") + "x-daas: {sleep_after: 2s}\n"));
    yard.bed.api().up("doze", &project, 0).unwrap();
    let state = || {
        let stand = yard.bed.api().get("/stands/doze").unwrap();
        stand["state"].as_str().unwrap().to_owned()
    };
    crate::edge::eventually("sleep", || (state() == "stopped").then_some(()));
    // One node: the stand's name is enough.
    let output = yard.ssh("doze", &["echo up; sleep 5; echo still"]);
    assert_eq!(
        text(&output.stdout),
        "up\nstill\n",
        "{}",
        text(&output.stderr)
    );
    yard.bed.api().down("doze").unwrap();
    yard.over();
}

#[test]
fn root_ports_are_forwarded_into_the_nodes_own_network_and_nowhere_else() {
    let yard = Yard::new();
    // What listens on this machine is not what a node's loopback is.
    let outside = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let outside_port = outside.local_addr().unwrap().port();
    let (loopback, neighbour, host, socks) = (free_port(), free_port(), free_port(), free_port());
    let ways = [
        format!("127.0.0.1:{loopback}:localhost:8000"),
        format!("127.0.0.1:{neighbour}:db:8000"),
        format!("127.0.0.1:{host}:127.0.0.1:{outside_port}"),
    ];
    let socks_at = format!("127.0.0.1:{socks}");
    let mut before = vec!["-o", "ExitOnForwardFailure=yes", "-N", "-D", &socks_at];
    for way in &ways {
        before.extend(["-L", way]);
    }
    let mut held = yard
        .ssh_as("anna", "shop-web", &before, &[])
        .spawn()
        .unwrap();
    let page = |words: &[&str]| {
        let output = Command::new("curl")
            .args(["--silent", "--max-time", "60"])
            .args(words)
            .output()
            .unwrap();
        text(&output.stdout)
    };
    let at = |port: u16| format!("http://127.0.0.1:{port}/");
    crate::edge::eventually("the forward", || {
        (page(&[&at(loopback)]) == "hello\n").then_some(())
    });
    assert_eq!(page(&[&at(neighbour)]), "data\n");
    let proxy = format!("socks5h://127.0.0.1:{socks}");
    assert_eq!(page(&["--proxy", &proxy, "http://db:8000/"]), "data\n");
    assert_eq!(page(&["--proxy", &proxy, "http://nobody:8000/"]), "");
    // Nobody comes out at the host, though it listens there.
    assert_eq!(page(&["--max-time", "2", &at(host)]), "");
    outside.set_nonblocking(true).unwrap();
    assert!(outside.accept().is_err());
    held.kill().unwrap();
    held.wait().unwrap();
    // Nothing leads from the stand to this side.
    let back = ["-o", "ExitOnForwardFailure=yes", "-R", "8123:127.0.0.1:22"];
    let output = yard
        .ssh_as("anna", "shop-web", &back, &["true"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(255), "{}", text(&output.stderr));
    yard.over();
}

impl Yard {
    /// Runs a client that copies; its words for the node are written as `web:/path`.
    fn copy(&self, client: &str, words: &[&str]) -> Output {
        let port = self.port.to_string();
        let words = words.iter().map(|word| {
            word.strip_prefix("web:").map_or_else(
                || (*word).to_owned(),
                |path| format!("shop-web@127.0.0.1:{path}"),
            )
        });
        Command::new(client)
            .args(self.options("anna"))
            .args(["-P", &port])
            .args(words)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }
}

#[test]
fn root_scp_and_sftp_serve_the_files_of_images_that_have_neither() {
    let yard = Yard::new();
    let bytes = some_bytes((5 << 20) + 17);
    fs::write(yard.at("big"), &bytes).unwrap();
    fs::create_dir(yard.at("tree")).unwrap();
    fs::write(yard.at("tree/one"), "1").unwrap();
    let here = |name: &str| yard.at(name).display().to_string();
    let done = |output: Output| assert!(output.status.success(), "{}", text(&output.stderr));
    // There and back, byte for byte, with mode and times.
    done(yard.copy("scp", &["-p", &here("big"), "web:/tmp/big"]));
    done(yard.copy("scp", &["-p", "web:/tmp/big", &here("back")]));
    assert!(fs::read(yard.at("back")).unwrap() == bytes);
    let times = |name: &str| fs::metadata(yard.at(name)).unwrap().modified().unwrap();
    let seconds = |name: &str| {
        times(name)
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs()
    };
    assert_eq!(seconds("big"), seconds("back"));
    // Folders; a name without a folder lies where the node's programs begin.
    done(yard.copy("scp", &["-r", &here("tree"), "web:"]));
    assert_eq!(yard.inside("cat tree/one"), "1");
    // A batch of everything that people do.
    let batch = "mkdir /tmp/a\nput FOLDER/tree/one /tmp/a/x\nrename /tmp/a/x /tmp/a/y\nchmod 600 /tmp/a/y\nln -s y /tmp/a/z\nln /tmp/a/y /tmp/a/hard\nls -la /tmp/a\ndf /tmp\nget /tmp/a/z FOLDER/z\nrm /tmp/a/z\nrm /tmp/a/hard\npwd\n";
    fs::write(
        yard.at("batch"),
        batch.replace("FOLDER", &yard.folder.path().display().to_string()),
    )
    .unwrap();
    let output = yard.copy("sftp", &["-b", &here("batch"), "web:"]);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}{}", text(&output.stderr));
    assert!(
        said.contains("-rw-------") && said.contains("Remote working directory: /\n"),
        "{said}"
    );
    assert_eq!(fs::read(yard.at("z")).unwrap(), b"1");
    assert_eq!(yard.inside("busybox ls /tmp/a"), "y\n");
    // Links lead where they lead for the node, and its processes are not the helper's.
    yard.inside("busybox ln -s / /tmp/up; busybox ln -s ../../../../../../../../etc/daas /tmp/out");
    for path in [
        "web:/tmp/out",
        "web:/proc/self/mem",
        "web:/proc/self/exe",
        "web:/tmp/up/var/lib/daas",
    ] {
        let output = yard.copy("scp", &[path, &here("stolen")]);
        assert!(
            !output.status.success() && !yard.at("stolen").exists(),
            "{path}"
        );
    }
    let outside = yard.folder.path().display().to_string();
    assert!(
        !yard
            .copy("scp", &[&format!("web:{outside}/batch"), &here("stolen")])
            .status
            .success()
    );
    yard.over();
}

#[test]
fn root_files_are_served_as_the_nodes_user_and_what_it_may_not_is_refused() {
    let yard = Yard::new();
    let project = yard.bed.project(
        "  app:\n    image: trial:latest\n    user: '1000:1000'\n    working_dir: /data\n    tmpfs: ['/data:mode=1777']\n    command: [/bin/sleep, '1000']\n",
    );
    yard.bed.api().up("plain", &project, 0).unwrap();
    fs::write(yard.at("new"), "words").unwrap();
    let there = |name: &str| format!("app.plain@127.0.0.1:{name}");
    let new = yard.at("new").display().to_string();
    let (refused, taken) = (there("/bin/new"), there("new"));
    assert!(!yard.copy("scp", &[&new, &refused]).status.success());
    let output = yard.copy("scp", &[&new, &taken]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let seen = yard.ssh(
        "app.plain",
        &["busybox stat -c '%u:%g %a' /data/new; busybox id -u"],
    );
    assert_eq!(text(&seen.stdout), "1000:1000 644\n1000\n");
    yard.bed.api().down("plain").unwrap();
    yard.over();
}

#[test]
fn root_rsync_works_over_ssh_where_the_node_has_it() {
    let yard = Yard::new();
    fs::create_dir(yard.at("site")).unwrap();
    let bytes = some_bytes(300_000);
    fs::write(yard.at("site/page"), &bytes).unwrap();
    // The machine's own program, with what it is linked against, into the node.
    let linked = run("ldd", &["/usr/bin/rsync"]);
    let libraries = linked
        .split_whitespace()
        .filter(|word| word.starts_with('/'));
    let mut files: Vec<&str> = libraries.collect();
    files.push("/usr/bin/rsync");
    for file in files {
        let real = fs::canonicalize(file).unwrap().display().to_string();
        let folder = std::path::Path::new(file).parent().unwrap().display();
        yard.inside(&format!("busybox mkdir -p {folder}"));
        let output = yard.copy("scp", &[&real, &format!("web:{file}")]);
        assert!(output.status.success(), "{file}: {}", text(&output.stderr));
    }
    let remote = format!("ssh {} -p {}", yard.options("anna").join(" "), yard.port);
    let there = "shop-web@127.0.0.1:/tmp/site/";
    let sync = |from: &str, to: &str| {
        let words = [
            "-a",
            "-e",
            &remote,
            "--rsync-path",
            "/usr/bin/rsync",
            from,
            to,
        ];
        run("rsync", &words);
    };
    let site = format!("{}/", yard.at("site").display());
    sync(&site, there);
    sync(there, &format!("{}/", yard.at("copy").display()));
    assert!(fs::read(yard.at("copy/page")).unwrap() == bytes);
    yard.over();
}

#[test]
fn root_the_door_refuses_nobody_while_the_daemon_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let manager = include_str!("../../../../xtask/src/trials/manager.py")
        .replace("@PROGRAM@", &program().display().to_string())
        .replace("@NOTIFY@", &at("notify"));
    fs::write(at("manager"), manager).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(at("manager"), mode).unwrap();
    let port = free_port();
    let configuration = format!("  spares: 0\nssh:\n  listen: ['127.0.0.1:{port}']\n");
    let bed = Bed::configured(&folder.path().join("manager"), &configuration).unwrap();
    let scan = || {
        let words = ["-p", &port.to_string(), "-T", "120", "127.0.0.1"];
        run("ssh-keyscan", &words)
    };
    let before = scan();
    assert!(before.contains("ssh-ed25519"), "{before}");
    run("kill", &["-HUP", &bed.daemon.pid().to_string()]);
    // While there is no daemon whoever comes waits; a refusal would be an empty answer.
    let mut scans = 0;
    while scans < 5 || !bed.daemon.said().contains("restarted with 1 sockets") {
        assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        scans += 1;
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(scan(), before);
}
