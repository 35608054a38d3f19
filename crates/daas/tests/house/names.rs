//! Names of stands, asked for with `dig`.
#![allow(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

use crate::edge::{free_address, run};
use crate::trials::program;
use std::net::SocketAddr;
use std::process::Command;
use xtask::trials::{self, Bed};

#[test]
fn root_names_come_with_their_stand_go_with_it_and_outlive_a_crash() {
    trials::names_follow_stands(program()).unwrap();
}

#[test]
fn root_a_thousand_foreign_look_ups_in_a_stand_without_a_way_out_send_nothing() {
    trials::no_way_out_no_questions(program()).unwrap();
}

/// Returns how many keys a zone shows.
fn keys(server: SocketAddr, zone: &str) -> usize {
    let (at, port) = (format!("@{}", server.ip()), server.port().to_string());
    let words = ["-p", &port, "+short", "+tries=1", "+time=5", zone, "DNSKEY"];
    run("dig", &[&[at.as_str()], &words[..]].concat())
        .lines()
        .count()
}

#[test]
fn root_a_key_is_rolled_by_the_command_and_a_crash_does_not_stop_it() {
    let server = free_address();
    let mut bed = Bed::configured(
        program(),
        &format!(
            "  spares: 0\ndns:\n  listen: ['{server}']\n  zones: {{safe.example.test: {{sign: true}}, plain.example.test: {{}}}}\n"
        ),
    )
    .unwrap();
    let socket = bed.daemon.place().join("daas.sock");
    let daas = |words: &[&str]| {
        let output = Command::new(program())
            .args(["--socket", socket.to_str().unwrap(), "dns", "keys"])
            .args(words)
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    };
    let states = || {
        let list = daas(&[]).1;
        let words = list
            .lines()
            .filter(|line| line.starts_with("safe.example.test "));
        let states = words.map(|line| line.split_whitespace().nth(3).unwrap().to_owned());
        states.collect::<Vec<_>>()
    };
    assert_eq!(
        (states(), keys(server, "safe.example.test")),
        (vec!["active".to_owned()], 1)
    );
    let (done, said) = daas(&["roll", "safe.example.test"]);
    assert!(done && said.contains("nothing is to be done"), "{said}");
    let rolling = ["active", "publishing"].map(ToOwned::to_owned).to_vec();
    assert_eq!(
        (states(), keys(server, "safe.example.test")),
        (rolling.clone(), 2)
    );
    for (words, code) in [
        (&["roll", "safe.example.test"][..], "dns-key-rolling"),
        (&["seen", "safe.example.test"], "dns-key-not-waiting"),
        (&["roll", "plain.example.test"], "dns-unsigned"),
        (&["plain.example.test"], "dns-unsigned"),
        (&["nowhere.test"], "dns-unknown-zone"),
    ] {
        let (done, said) = daas(words);
        assert!(!done && said.contains(code), "{words:?}: {said}");
    }
    bed.daemon.kill().unwrap();
    bed.daemon.start_again().unwrap();
    assert_eq!((states(), keys(server, "safe.example.test")), (rolling, 2));
}
