//! The daemon dies, stands live on.

use super::bed::{Bed, service};
use anyhow::{Result, ensure};
use serde_json::Value;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

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

fn pids(bed: &Bed, count: u32) -> Result<Vec<Value>> {
    (1..=count)
        .map(|number| {
            let view = bed.api().get(&format!("/stands/talk-{number}"))?;
            let node = &view["nodes"][0];
            ensure!(node["status"] == "running", "talk-{number}: {view}");
            Ok(Value::Array(vec![
                node["pid"].clone(),
                node["restarts"].clone(),
                node["since_ms"].clone(),
            ]))
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
