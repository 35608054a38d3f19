//! The daemon dies, stands live on.

use super::bed::{Bed, service};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Kills the daemon twice under `count` stands that write without pause, and reads every line of every log.
///
/// # Errors
/// When a node stopped, or a line is lost, doubled or broken.
pub fn daemon_dies(program: &Path, count: u32) -> Result<String> {
    let mut bed = Bed::new(program)?;
    let talk = "i=0; while :; do i=$((i+1)); echo line $i; usleep 20000; done";
    let project = bed.project(&service("talker", talk));
    bed.api().up("talk", &project, count)?;
    let before = pids(&bed, count)?;
    for _ in 0..2 {
        std::thread::sleep(Duration::from_millis(500));
        bed.daemon.kill()?;
        std::thread::sleep(Duration::from_millis(500));
        bed.daemon.start_again()?;
    }
    let after = pids(&bed, count)?;
    ensure!(
        before == after,
        "nodes were started again: pids {before:?}, then {after:?}"
    );
    let mut lines = 0;
    for number in 1..=count {
        lines += whole_lines(&bed, &format!("talk-{number}"))?;
    }
    for number in 1..=count {
        bed.api().down(&format!("talk-{number}"))?;
    }
    bed.nothing_is_left()?;
    Ok(format!(
        "daemon killed twice under {count} stands: every node went on, {lines} log lines whole and in order"
    ))
}

/// Tells process, restarts and start of each node, as soon as the daemon has looked at all stands.
fn pids(bed: &Bed, count: u32) -> Result<Vec<Value>> {
    let until = Instant::now() + Duration::from_secs(5);
    (1..=count)
        .map(|number| {
            loop {
                let view = bed.api().get(&format!("/stands/talk-{number}"))?;
                let node = &view["nodes"][0];
                if node["status"] == "running" {
                    return Ok(serde_json::json!([
                        node["pid"],
                        node["restarts"],
                        node["since_ms"]
                    ]));
                }
                ensure!(
                    Instant::now() < until,
                    "talk-{number} does not run after 5 s: {view}"
                );
                std::thread::sleep(Duration::from_millis(10));
            }
        })
        .collect()
}

/// Reads a log from its first byte, and tells how many lines it holds.
fn whole_lines(bed: &Bed, stand: &str) -> Result<usize> {
    let mut answer = bed.api().ask(
        "GET",
        &format!("/stands/{stand}/logs"),
        &[("Accept", "application/octet-stream")],
        &[],
    )?;
    let mut text = String::new();
    answer.read_to_string(&mut text)?;
    let mut expected = 0;
    for line in text.lines() {
        expected += 1;
        ensure!(
            line == format!("line {expected}"),
            "{stand}: line {expected} is {line:?}"
        );
    }
    ensure!(
        expected >= 25,
        "{stand}: only {expected} lines in two seconds"
    );
    Ok(expected)
}

/// Starts a second daemon on the state of the first.
///
/// # Errors
/// When it does not refuse at once, or the first is disturbed.
pub fn second_daemon_refuses(program: &Path) -> Result<String> {
    let bed = Bed::new(program)?;
    let rival = bed.daemon.rival(Duration::from_secs(5))?;
    ensure!(
        rival.code.is_some_and(|code| code != 0),
        "the second daemon ended with {:?}: {}",
        rival.code,
        rival.said
    );
    let first = bed.daemon.pid().to_string();
    ensure!(
        rival.said.contains(&first),
        "it does not name process {first}: {}",
        rival.said
    );
    bed.api().get("/system/info")?;
    Ok("the second daemon on one state folder refuses and names the first".to_owned())
}

/// Kills the keeper of a stand beside another stand.
///
/// # Errors
/// When the stand does not come back within 5 s, the other is touched, or something is left.
pub fn keeper_dies(program: &Path) -> Result<String> {
    let bed = Bed::new(program)?;
    let api = bed.api();
    let node = service("node", "sleep 100000") + "    restart: always\n";
    api.up("hurt", &bed.project(&node), 0)?;
    api.up("other", &bed.project(&node), 0)?;
    let (hurt, other) = (pid_of(&bed, "hurt")?, pid_of(&bed, "other")?);
    let keeper = keeper_of(&bed, hurt)?;
    let killed = Instant::now();
    kill(keeper)?;
    let until = killed + Duration::from_secs(5);
    let back = loop {
        match pid_of(&bed, "hurt") {
            Ok(pid) if pid != hurt => break killed.elapsed(),
            _ => ensure!(
                Instant::now() < until,
                "the stand is not back after 5 s: {:?}",
                api.get("/stands/hurt")
            ),
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    ensure!(!lives(hurt), "node {hurt} outlived its keeper {keeper}");
    ensure!(
        pid_of(&bed, "other")? == other,
        "the other stand was touched"
    );
    let events = bed.events("hurt")?;
    ensure!(
        events.iter().any(|code| code == "keeper-lost"),
        "no event tells of it: {events:?}"
    );
    api.down("hurt")?;
    api.down("other")?;
    bed.nothing_is_left()?;
    Ok(format!(
        "keeper killed: its node died with it and was back after {:.0} ms, the other stand went on",
        back.as_secs_f64() * 1e3
    ))
}

fn pid_of(bed: &Bed, stand: &str) -> Result<i64> {
    let view = bed.api().get(&format!("/stands/{stand}"))?;
    view["nodes"][0]["pid"]
        .as_i64()
        .with_context(|| format!("no pid in {view}"))
}

/// Finds the nearest ancestor that is the daemon's program and is named a keeper; otherwise the parent.
fn keeper_of(bed: &Bed, node: i64) -> Result<i64> {
    let mut ancestors = Vec::new();
    let mut pid = node;
    loop {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let (_, rest) = stat.rsplit_once(") ").context("a strange stat file")?;
        pid = rest
            .split(' ')
            .nth(1)
            .context("a stat file without parent")?
            .parse()?;
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if !String::from_utf8_lossy(&line).contains(bed.daemon.mark()) {
            break;
        }
        ancestors.push(pid);
    }
    let named = ancestors.iter().find(|pid| {
        std::fs::read_to_string(format!("/proc/{pid}/comm"))
            .is_ok_and(|name| name.contains("keeper"))
    });
    named
        .or(ancestors.first())
        .copied()
        .context("the node has no ancestor of ours")
}

fn kill(pid: i64) -> Result<()> {
    let killed = Command::new("kill")
        .args(["-9", &pid.to_string()])
        .status()?;
    ensure!(killed.success(), "cannot kill process {pid}");
    Ok(())
}

/// Tells whether a process runs; one that only waits for its parent to look does not.
fn lives(pid: i64) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        stat.rsplit_once(") ")
            .is_some_and(|(_, rest)| !rest.starts_with('Z'))
    })
}
