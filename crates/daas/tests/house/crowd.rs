//! Many who look into stands at once: none of them holds a thread of the daemon, of which there are not enough for all.
#![allow(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

use crate::trials::program;
use std::io::Read;
use xtask::house::Answer;
use xtask::trials::Bed;

/// How many run a program, and how many follow a log.
const EACH: usize = 60;

fn threads(bed: &Bed) -> usize {
    let tasks = format!("/proc/{}/task", bed.daemon.pid());
    std::fs::read_dir(tasks).unwrap().count()
}

/// A program that runs until its caller hangs up, or a log that is followed.
fn held(bed: &Bed, program: bool) -> Answer {
    let body = r#"{"command": ["/bin/busybox", "sh", "-c", "echo here; sleep 1000"]}"#;
    let (method, path, body, status) = if program {
        ("POST", "/stands/busy/nodes/one/exec", body, 101)
    } else {
        ("GET", "/stands/busy/logs?follow=true", "", 200)
    };
    let headers = [
        ("Content-Type", "application/json"),
        ("Connection", if program { "Upgrade" } else { "keep-alive" }),
        ("Upgrade", "daas-exec/1"),
    ];
    let headers = if program {
        &headers[..]
    } else {
        &headers[1..2]
    };
    let answer = bed
        .api()
        .ask(method, path, headers, body.as_bytes())
        .unwrap();
    assert_eq!(answer.status, status, "{path}");
    answer
}

#[test]
fn root_who_runs_a_program_or_follows_a_log_holds_no_thread_of_the_daemon() {
    let bed = Bed::new(program()).unwrap();
    let project = bed.project(
        "  one:\n    image: trial:latest\n    command: [/bin/busybox, sh, -c, 'echo here; sleep 1000']\n",
    );
    bed.api().up("busy", &project, 0).unwrap();
    let before = threads(&bed);
    let mut all: Vec<Answer> = (0..2 * EACH).map(|n| held(&bed, n % 2 == 0)).collect();
    for one in &mut all {
        let mut said = String::new();
        while !said.contains("here") {
            let mut byte = [0];
            one.read_exact(&mut byte).unwrap();
            said.push(char::from(byte[0]));
        }
    }
    let held = threads(&bed).saturating_sub(before);
    // Logs are read by a few threads in turn.
    assert!(held < EACH, "{held} threads for {} who look", all.len());
    let ran = bed.api().exec("busy", "one", &["/bin/busybox", "true"]);
    assert_eq!(ran.unwrap().code, 0);
    drop(all);
    bed.api().down("busy").unwrap();
    bed.nothing_is_left().unwrap();
}
