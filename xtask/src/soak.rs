//! The long checks, each by its name: `cargo xtask soak [check...]`.

use crate::bench::{h2spec, say};
use crate::trials::{
    HOSTS, behind_traefik, clients, conformance, containment_against_all, crash_matrix,
    daemon_dies, hostile_neighbours, judged_by_zonemaster, keeper_dies, languages, many_at_once,
    million_files, pushed_is_runnable, rights_of_files_and_listeners, rounds,
    second_daemon_refuses, slow_visitors,
};
use crate::{programs, workspace};
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

struct Check {
    name: &'static str,
    what: &'static str,
    run: fn(&Path) -> Result<String>,
}

const CHECKS: &[Check] = &[
    Check {
        name: "fifty-at-once",
        what: "one file, 50 stands at once",
        run: |program| many_at_once(program, 50),
    },
    Check {
        name: "stands-300",
        what: "one file, 300 stands at once",
        run: |program| many_at_once(program, 300),
    },
    Check {
        name: "daemon-dies",
        what: "kill -9 of the daemon under 20 stands; a second daemon",
        run: |program| {
            Ok(format!(
                "{}; {}",
                daemon_dies(program, 20)?,
                second_daemon_refuses(program)?
            ))
        },
    },
    Check {
        name: "keeper-dies",
        what: "kill -9 of a keeper beside another stand",
        run: keeper_dies,
    },
    Check {
        name: "containment",
        what: "a node against Debian's runc and libcontainer",
        run: containment_against_all,
    },
    Check {
        name: "rights",
        what: "modes of the state, and what listens",
        run: rights_of_files_and_listeners,
    },
    Check {
        name: "crash-matrix",
        what: "error, kill and repetition at every step, or at those that DAAS_STEPS begins with, by commas",
        run: |program| crash_matrix(program, &steps(), 1),
    },
    Check {
        name: "hostile",
        what: "bad neighbours, or those that DAAS_HOSTS begins with, by commas, each with DAAS_ASKS requests beside it, 2000 by default",
        run: hostile,
    },
    Check {
        name: "slow-visitors",
        what: "5000 connections that are slow on purpose, beside one that is not",
        run: |program| slow_visitors(program, 5000),
    },
    Check {
        name: "million-files",
        what: "an image of a million files",
        run: |program| million_files(program, 1_000_000),
    },
    Check {
        name: "registry",
        what: "a pushed image runs without a pull; a crash amid an upload",
        run: pushed_is_runnable,
    },
    Check {
        name: "registry-conformance",
        what: "the official suite, built by hand, that DAAS_CONFORMANCE names",
        run: conformance,
    },
    Check {
        name: "registry-clients",
        what: "oci-client, skopeo, buildah, podman and docker: login, push, pull, mount, delete",
        run: clients,
    },
    Check {
        name: "registry-rounds",
        what: "10000 rounds of push, pull, delete beside collection of garbage",
        run: |_| rounds(10_000),
    },
    Check {
        name: "languages",
        what: "described services with pip, npm and cargo, from their registries",
        run: languages,
    },
    Check {
        name: "h2spec",
        what: "the sentences of HTTP/2 against the ingress, by the program that DAAS_H2SPEC names",
        run: |_| h2spec(),
    },
    Check {
        name: "traefik",
        what: "Traefik before the ingress, told of hosts by its HTTP provider; the program that DAAS_TRAEFIK names",
        run: behind_traefik,
    },
    Check {
        name: "zonemaster",
        what: "a signed zone of stands, judged by zonemaster of Debian in a small world of its own",
        run: judged_by_zonemaster,
    },
    Check {
        name: "acme",
        what: "DAAS_ISSUANCES certificates, 200 by default, by all three challenges from pebble, half of whose nonces are refused",
        run: |_| issuances(),
    },
    Check {
        name: "ari",
        what: "renewals by the advice of a real authority (RFC 9773), a pebble of version 2.5 or later that DAAS_PEBBLE names",
        run: |_| advice(),
    },
    Check {
        name: "fuzz",
        what: "every fuzz target for DAAS_FUZZ_SECONDS, 300 by default",
        run: |_| fuzz(),
    },
];

/// Runs the named checks, or all; goes on after a failure.
///
/// # Errors
/// When a name is unknown or the product does not build.
pub(crate) fn run(words: &[String]) -> Result<ExitCode> {
    if words == ["list"] {
        for check in CHECKS {
            say(&format!("{:16} {}", check.name, check.what));
        }
        return Ok(ExitCode::SUCCESS);
    }
    for word in words {
        if !CHECKS.iter().any(|check| check.name == word) {
            bail!("no check `{word}`; `cargo xtask soak list` names them");
        }
    }
    let program = programs::release_build()?;
    let mut good = true;
    for check in CHECKS
        .iter()
        .filter(|check| words.is_empty() || words.iter().any(|word| word == check.name))
    {
        let started = Instant::now();
        let (word, text) = match (check.run)(&program) {
            Ok(text) => ("good", text),
            Err(fault) => {
                good = false;
                ("FAILED", format!("{fault:#}"))
            }
        };
        say(&format!(
            "{} {word}, {:.0} s: {text}",
            check.name,
            started.elapsed().as_secs_f64()
        ));
    }
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Measures the bad neighbours that `DAAS_HOSTS` asks for, with `DAAS_ASKS` requests beside each.
fn hostile(program: &Path) -> Result<String> {
    let wanted = std::env::var("DAAS_HOSTS").unwrap_or_default();
    let asks = match std::env::var("DAAS_ASKS") {
        Ok(text) => text.parse().context("DAAS_ASKS is no number")?,
        Err(_) => 2000,
    };
    let hosts: Vec<_> = HOSTS
        .into_iter()
        .filter(|host| wanted.split(',').any(|start| host.name.starts_with(start)))
        .collect();
    hostile_neighbours(program, &hosts, asks)
}

/// Lists the steps of daemon and keeper whose names begin as `DAAS_STEPS` asks; all without it.
fn steps() -> Vec<&'static str> {
    let wanted = std::env::var("DAAS_STEPS").unwrap_or_default();
    daas_control::steps::ALL
        .iter()
        .chain(daas_keeper::steps::ALL)
        .copied()
        .filter(|step| wanted.split(',').any(|start| step.starts_with(start)))
        .collect()
}

/// Runs the certificates' own test with more of them: it is the same code, and says what it did.
fn issuances() -> Result<String> {
    let number = std::env::var("DAAS_ISSUANCES").unwrap_or_else(|_| "200".to_owned());
    let text = test_of_certificates("as_many_as", &[("DAAS_ISSUANCES", &number)])?;
    let said = text
        .lines()
        .find(|line| line.contains("certificates issued"));
    Ok(said.context(text.clone())?.trim().to_owned())
}

fn advice() -> Result<String> {
    let pebble = std::env::var("DAAS_PEBBLE")
        .context("DAAS_PEBBLE names no pebble; `go install github.com/letsencrypt/pebble/v2/cmd/pebble@v2.10.1` makes one")?;
    let text = test_of_certificates("the_window_of_rfc_9773", &[("DAAS_PEBBLE", &pebble)])?;
    if !text.contains("the window came from the authority itself") {
        bail!("{pebble} knows nothing of RFC 9773\n{text}");
    }
    Ok(format!(
        "three certificates of {pebble}, each renewed when it said"
    ))
}

/// Runs one test of `daas-certs` and returns what it wrote.
fn test_of_certificates(test: &str, environment: &[(&str, &str)]) -> Result<String> {
    let output = Command::new("cargo")
        .args(["test", "-p", "daas-certs", "--test", "it", test])
        .args(["--", "--nocapture"])
        .envs(environment.iter().copied())
        .current_dir(workspace::root())
        .output()
        .context("cannot run the tests of daas-certs")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("{text}{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(text)
}

/// Runs each target of each `fuzz` folder with cargo-fuzz on the nightly tool chain.
fn fuzz() -> Result<String> {
    let seconds = std::env::var("DAAS_FUZZ_SECONDS").unwrap_or_else(|_| "300".to_owned());
    let mut done = Vec::new();
    let crates = workspace::root().join("crates");
    let mut folders: Vec<_> = std::fs::read_dir(&crates)?
        .flatten()
        .map(|entry| entry.path())
        .chain([workspace::root().to_owned()])
        .filter(|path| path.join("fuzz/Cargo.toml").exists())
        .collect();
    folders.sort();
    for folder in folders {
        let list = Command::new("cargo")
            .args(["+nightly", "fuzz", "list"])
            .current_dir(&folder)
            .output()
            .context("cannot run cargo fuzz")?;
        if !list.status.success() {
            bail!("cargo fuzz list: {}", String::from_utf8_lossy(&list.stderr));
        }
        for target in String::from_utf8_lossy(&list.stdout).split_whitespace() {
            let output = Command::new("cargo")
                .args([
                    "+nightly",
                    "fuzz",
                    "run",
                    target,
                    "--",
                    &format!("-max_total_time={seconds}"),
                    "-rss_limit_mb=1024",
                ])
                .current_dir(&folder)
                .output()
                .context("cannot run cargo fuzz")?;
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr);
                let tail: Vec<&str> = said.lines().rev().take(20).collect();
                bail!(
                    "{target}: {}",
                    tail.into_iter().rev().collect::<Vec<_>>().join("\n")
                );
            }
            done.push(target.to_owned());
        }
    }
    if done.is_empty() {
        bail!("there are no fuzz targets");
    }
    Ok(format!(
        "{} targets, {seconds} s each, no crash: {}",
        done.len(),
        done.join(", ")
    ))
}
