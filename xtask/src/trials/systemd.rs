//! The daemon as a unit of systemd. Plays on a machine whose init is systemd, and that may be thrown away.

use super::bed::{IMAGE, busybox_tree, service};
use crate::house::{Api, Project, docker_archive};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Where the daemon of a unit listens.
const SOCKET: &str = "/run/daas/daas.sock";

/// Installs the program, restarts and kills its daemon under a stand, takes it away again.
///
/// # Errors
/// What is not as `docs/guide/systemd.md` says.
pub fn under_systemd(program: &Path) -> Result<String> {
    install(program)?;
    let place = Path::new("/tmp/systemd-trial");
    let tree = place.join("tree");
    busybox_tree(&tree)?;
    let api = Api::new(Path::new(SOCKET));
    api.load_image(&docker_archive(
        IMAGE,
        &tree,
        &json!({"Env": ["PATH=/bin"]}),
    )?)?;
    let project = Project::of_text(
        &place.join("project"),
        &format!("services:\n{}", service("stays", "sleep 10000")),
    );
    api.up("kept", &project, 0)?;
    let born = life(&api)?;
    ensure!(
        born["cgroup"]
            .as_str()
            .is_some_and(|path| path.contains("/system.slice/daas-stands.service/")),
        "the node is not in the delegated cgroup: {born}"
    );
    for (deed, words) in [
        ("a restart", vec!["restart", "daas.service"]),
        ("kill -9", vec!["kill", "--signal=KILL", "daas.service"]),
        ("another installation", Vec::new()),
        ("systemd's own restart", vec!["daemon-reexec"]),
    ] {
        let daemon = main_pid()?;
        if words.is_empty() {
            install(program)?;
        } else {
            systemctl(&words)?;
        }
        if !words.contains(&"daemon-reexec") {
            until(&format!("another daemon after {deed}"), || {
                main_pid().is_ok_and(|now| now != daemon && now != 0)
            })?;
        }
        answers()?;
        let now = life(&api)?;
        ensure!(now == born, "{deed} changed the node: {born}, then {now}");
    }
    // A second stand: the group can still be divided after all that.
    api.up("second", &project, 0)?;
    api.down("second")?;
    let said = Command::new("/usr/local/bin/daas")
        .args(["system", "uninstall"])
        .output()?;
    ensure!(
        said.status.success(),
        "{}",
        String::from_utf8_lossy(&said.stderr)
    );
    ensure!(main_pid()? == 0, "the daemon runs after its end");
    ensure!(
        Path::new("/proc").join(born["pid"].to_string()).exists(),
        "the node ended with the installation"
    );
    for left in ["daas.service", "daas-stands.service"] {
        let path = Path::new("/etc/systemd/system").join(left);
        ensure!(!path.exists(), "{} is left", path.display());
    }
    Ok("a node lived on through restart, kill, installation and systemd's own restart".to_owned())
}

fn install(program: &Path) -> Result<()> {
    let said = Command::new(program).args(["system", "install"]).output()?;
    ensure!(
        said.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&said.stderr),
        journal()
    );
    answers()
}

fn answers() -> Result<()> {
    until("an answer", || {
        Api::new(Path::new(SOCKET)).get("/system/info").is_ok()
    })
}

/// Waits for `what`; with emulated processors nothing is quick.
fn until(what: &str, mut there: impl FnMut() -> bool) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(60);
    while !there() {
        ensure!(
            Instant::now() < until,
            "no {what} in a minute\n{}",
            journal()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// Tells who the stand's node is: process, its start, its cgroup.
fn life(api: &Api) -> Result<Value> {
    let mut view = Value::Null;
    until("running node", || {
        view = api.get("/stands/kept").unwrap_or_default();
        view["nodes"][0]["status"] == "running"
    })?;
    let pid = view["nodes"][0]["pid"].as_u64().context("no pid")?;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let group = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    // proc(5): the 22nd field is the start, and the name in brackets is the second.
    let start = stat
        .rsplit_once(')')
        .and_then(|(_, rest)| rest.split_whitespace().nth(19))
        .context("no start time")?;
    Ok(json!({"pid": pid, "start": start, "cgroup": group.trim()}))
}

fn main_pid() -> Result<u32> {
    let said = Command::new("systemctl")
        .args(["show", "--property=MainPID", "--value", "daas.service"])
        .output()?;
    Ok(String::from_utf8_lossy(&said.stdout).trim().parse()?)
}

fn systemctl(words: &[&str]) -> Result<()> {
    let said = Command::new("systemctl").args(words).output()?;
    ensure!(
        said.status.success(),
        "systemctl {words:?}: {}\n{}",
        String::from_utf8_lossy(&said.stderr),
        journal()
    );
    Ok(())
}

fn journal() -> String {
    Command::new("journalctl")
        .args(["--no-pager", "--lines=60", "--output=cat"])
        .output()
        .map(|said| String::from_utf8_lossy(&said.stdout).into_owned())
        .unwrap_or_default()
}
