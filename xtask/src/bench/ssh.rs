//! What a session over SSH costs: `cargo xtask bench ssh`.
//!
//! The same client of OpenSSH asks a node through the platform's door and this machine through Debian's sshd, in turns; `daas stand exec`
//! is the same program in the same node without SSH.

use super::Place;
use super::figures::{self, Spread};
use crate::trials::Bed;
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What is sent for the throughput: MiB.
const MANY: u64 = 512;

/// Debian's sshd at a port of its own, ended when dropped.
struct Sshd(Child);

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

fn sshd(place: &Path, port: u16) -> Result<Sshd> {
    let key = place.join("host");
    generate(&key)?;
    let authorized = place.join("key.pub");
    // sshd wants it, whether it is used or not.
    fs::create_dir_all("/run/sshd")?;
    let config = format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nPermitRootLogin prohibit-password\nUsePAM no\nPidFile none\n",
        key.display(),
        authorized.display()
    );
    fs::write(place.join("sshd_config"), config)?;
    let child = Command::new("/usr/sbin/sshd")
        .args(["-D", "-e", "-f"])
        .arg(place.join("sshd_config"))
        .stderr(Stdio::null())
        .spawn()
        .context("install openssh-server")?;
    Ok(Sshd(child))
}

fn generate(key: &Path) -> Result<()> {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(key)
        .status()
        .context("install openssh-client")?;
    ensure!(made.success(), "ssh-keygen failed");
    Ok(())
}

/// One way to run a line.
struct Way<'a> {
    name: &'static str,
    place: &'a Path,
    port: u16,
    user: &'static str,
}

impl Way<'_> {
    fn command(&self, line: &str) -> Command {
        let mut command = Command::new("ssh");
        command
            .args([
                "-F",
                "/dev/null",
                "-o",
                "BatchMode=yes",
                "-o",
                "LogLevel=ERROR",
            ])
            .args([
                "-o",
                "StrictHostKeyChecking=no",
                "-o",
                "UserKnownHostsFile=/dev/null",
            ])
            .args(["-o", "IdentitiesOnly=yes", "-i"])
            .arg(self.place.join("key"))
            .args([
                "-p",
                &self.port.to_string(),
                &format!("{}@127.0.0.1", self.user),
                line,
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }

    fn run(&self, line: &str) -> Result<Duration> {
        timed(&mut self.command(line)).with_context(|| format!("{} does not run", self.name))
    }

    /// Sends zeros there; returns how long it took.
    fn send(&self) -> Result<Duration> {
        let count = format!("count={MANY}");
        let mut zeros = Command::new("dd")
            .args(["if=/dev/zero", "bs=1M", &count])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let from = zeros.stdout.take().context("no pipe")?;
        let took = timed(self.command("cat > /dev/null").stdin(from));
        zeros.wait()?;
        took
    }
}

fn timed(command: &mut Command) -> Result<Duration> {
    let started = Instant::now();
    let ended = command.status()?;
    ensure!(ended.success(), "it ended with {ended}");
    Ok(started.elapsed())
}

/// Measures in `rounds` turns, and writes tables.
///
/// # Errors
/// When one of them does not answer.
pub(super) fn run(rounds: usize) -> Result<()> {
    let place = Place::new()?;
    let folder = &place.0;
    generate(&folder.join("key"))?;
    let (port, other) = (free_port()?, free_port()?);
    let program = crate::programs::release_build()?;
    let configuration = format!("  spares: 0\nssh:\n  listen: ['127.0.0.1:{port}']\n");
    let bed = Bed::configured(&program, &configuration)?;
    let key = fs::read_to_string(folder.join("key.pub"))?;
    bed.api()
        .post("/ssh/keys", &json!({"name": "bench", "key": key}))?;
    let node = "  web:\n    image: trial:latest\n    command: [/bin/sleep, '100000']\n";
    bed.api().up("bench", &bed.project(node), 0)?;
    let _sshd = sshd(folder, other)?;
    let door = Way {
        name: "a node, through the door",
        place: folder,
        port,
        user: "bench-web",
    };
    let peer = Way {
        name: "this machine, through sshd",
        place: folder,
        port: other,
        user: "root",
    };
    let until = Instant::now() + Duration::from_secs(20);
    while peer.run("true").is_err() {
        ensure!(Instant::now() < until, "sshd does not answer");
        std::thread::sleep(Duration::from_millis(100));
    }
    let socket = bed.daemon.place().join("daas.sock");
    let exec = || {
        let mut command = Command::new(&program);
        command.arg("--socket").arg(&socket);
        timed(command.args(["stand", "exec", "bench/web", "/bin/true"]))
    };
    let mut times: [Vec<Duration>; 3] = Default::default();
    // The first round warms caches and is not counted.
    for round in 0..=rounds {
        let all = [door.run("true")?, peer.run("true")?, exec()?];
        if round > 0 {
            for (times, time) in times.iter_mut().zip(all) {
                times.push(time);
            }
        }
    }
    let line = format!("dd if=/dev/zero bs=1M count={MANY} 2>/dev/null");
    let mut flows: [Vec<Duration>; 4] = Default::default();
    for _ in 0..3 {
        let all = [
            door.run(&line)?,
            peer.run(&line)?,
            door.send()?,
            peer.send()?,
        ];
        for (flows, time) in flows.iter_mut().zip(all) {
            flows.push(time);
        }
    }
    bed.api().down("bench")?;
    report(times, flows)
}

fn report(times: [Vec<Duration>; 3], flows: [Vec<Duration>; 4]) -> Result<()> {
    let [door, peer, exec] = times.map(Spread::of);
    let rate = |times: Vec<Duration>| MANY as f64 * 1048.576 / Spread::of(times).median;
    let [from, peer_from, to, peer_to] = flows.map(rate);
    figures::print(&format!(
        "`true`, ms                   median   p10   p90\n\
         a node, through the door     {:6.1} {:5.1} {:5.1}\n\
         this machine, through sshd   {:6.1} {:5.1} {:5.1}\n\
         a node, `daas stand exec`    {:6.1} {:5.1} {:5.1}\n\n\
         MB/s                         out      in\n\
         a node, through the door     {from:6.0} {to:7.0}\n\
         this machine, through sshd   {peer_from:6.0} {peer_to:7.0}\n\
         ratio                        {:6.2} {:7.2}\n",
        door.median,
        door.p10,
        door.p90,
        peer.median,
        peer.p10,
        peer.p90,
        exec.median,
        exec.p10,
        exec.p90,
        from / peer_from,
        to / peer_to,
    ));
    let spread = |s: &Spread| json!({"p10_ms": s.p10, "median_ms": s.median, "p90_ms": s.p90});
    let value = json!({
        "true": {"door": spread(&door), "sshd": spread(&peer), "exec": spread(&exec)},
        "mb_s": {"door": {"out": from, "in": to}, "sshd": {"out": peer_from, "in": peer_to}},
    });
    figures::write(
        "ssh.json",
        &value,
        &crate::workspace::root().join("target/bench"),
    )
}
