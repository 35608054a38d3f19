//! What a dead keeper leaves, and every step failing and dying once.
#![allow(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

mod support;

use daas_keeper::protocol::{Request, Response};
use daas_keeper::{Leave, is_alive, last_state, steps, sweep};
use daas_model::NodeState;
use std::time::{Duration, Instant};
use support::{Census, Keeper, Machine, node_name, on_network, shell};

#[test]
fn root_a_killed_keeper_takes_its_nodes_along_and_a_sweep_leaves_nothing() {
    let machine = Machine::new();
    let before = machine.census();
    let mut keeper = machine.keeper("killed");
    keeper.adopt();
    keeper.start(vec![
        on_network(
            shell(&machine, "web", "echo up; sleep 1000 & exec sleep 1000"),
            2,
        ),
        shell(&machine, "done", "exit 3"),
    ]);
    assert_eq!(keeper.exit_code("done"), 3);
    keeper.wait_until(|| keeper.log("web").contains("up").then_some(()));
    let NodeState::Running { pid, .. } = keeper.state("web") else {
        panic!()
    };
    assert!(is_alive(&keeper.dir));
    keeper.process.kill().unwrap();
    keeper.process.wait().unwrap();
    assert!(!is_alive(&keeper.dir));
    let until = Instant::now() + Duration::from_secs(60);
    while std::path::Path::new(&format!("/proc/{pid}")).exists() {
        assert!(Instant::now() < until, "the node outlived its keeper");
        std::thread::sleep(Duration::from_millis(1));
    }
    // What it knew is on disk: exit codes and logs.
    let state = last_state(&keeper.dir).unwrap();
    assert!(matches!(
        state.observed.nodes[&node_name("done")].state,
        NodeState::Exited { code: 3, .. }
    ));
    assert_eq!(keeper.log("web"), "up\n");
    sweep(
        &keeper.dir,
        &machine.cgroup_root,
        Leave {
            logs: true,
            disk: false,
        },
    )
    .unwrap();
    assert_eq!(keeper.log("web"), "up\n");
    sweep(&keeper.dir, &machine.cgroup_root, Leave::default()).unwrap();
    sweep(&keeper.dir, &machine.cgroup_root, Leave::default()).unwrap();
    before.assert_same(&machine);
}

#[test]
fn root_a_sweep_kills_a_keeper_that_lives() {
    let machine = Machine::new();
    let before = machine.census();
    let mut keeper = machine.keeper("alive");
    keeper.adopt();
    keeper.start(vec![shell(&machine, "web", "exec sleep 1000")]);
    sweep(&keeper.dir, &machine.cgroup_root, Leave::default()).unwrap();
    keeper.process.wait().unwrap();
    before.assert_same(&machine);
}

#[test]
fn root_a_disk_that_is_kept_is_found_by_the_next_keeper() {
    let machine = Machine::new();
    let before = machine.census();
    let volume = || {
        let mut node = shell(&machine, "web", "cat /data/mark; echo kept > /data/mark");
        node.mounts = vec![daas_keeper::launch::MountLaunch {
            source: daas_keeper::launch::MountLaunchSource::Volume {
                name: daas_model::VolumeName::parse("data").unwrap(),
                subpath: None,
                copy_up: false,
            },
            target: "/data".into(),
            read_only: false,
        }];
        node
    };
    let mut keeper = machine.keeper("first");
    keeper.adopt();
    keeper.run(volume());
    assert_eq!(
        keeper.ask(Request::Destroy {
            keep_logs: false,
            keep_disk: true
        }),
        Response::Done
    );
    keeper.process.wait().unwrap();
    // The same folder, by another keeper; this one dies without a word.
    let mut again = machine.keeper_with(
        &daas_keeper::launch::KeeperSeed {
            dir: keeper.dir.clone(),
            ..machine.seed("second")
        },
        &[],
    );
    again.adopt();
    assert_eq!(again.run(volume()), (0, "kept\n".to_owned()));
    again.process.kill().unwrap();
    again.process.wait().unwrap();
    sweep(
        &again.dir,
        &machine.cgroup_root,
        Leave {
            logs: false,
            disk: true,
        },
    )
    .unwrap();
    let third = machine.keeper_with(
        &daas_keeper::launch::KeeperSeed {
            dir: keeper.dir.clone(),
            ..machine.seed("third")
        },
        &[],
    );
    third.adopt();
    assert_eq!(third.run(volume()), (0, "kept\n".to_owned()));
    third.destroy();
    before.assert_same(&machine);
}

/// A short life that takes every step; stops at the first refusal.
fn life(machine: &Machine, keeper: &Keeper) -> Result<(), String> {
    let mut client = daas_keeper::Client::connect(&keeper.dir).map_err(|e| e.to_string())?;
    let mut ask = |request| match client.ask(request) {
        Ok(Response::Started { failed }) if !failed.is_empty() => Err(format!("{failed:?}")),
        Ok(_) => Ok(()),
        Err(e) => Err(e.to_string()),
    };
    let mut stand = keeper.stand();
    stand.files.insert(
        daas_model::FileName::parse("secret.x").unwrap(),
        b"x".to_vec(),
    );
    stand
        .volumes
        .push(daas_model::VolumeName::parse("data").unwrap());
    ask(Request::Adopt(stand))?;
    let sleeper = |name: &str, last| on_network(shell(machine, name, "exec sleep 1000"), last);
    ask(Request::Start {
        nodes: vec![sleeper("web", 2), sleeper("db", 3)],
    })?;
    ask(Request::Reconfigure {
        digest: None,
        limits: None,
        dns: None,
        networks: vec![],
        volumes: vec![],
        files: Default::default(),
    })?;
    ask(Request::Stop {
        node: node_name("web"),
        grace: Some(daas_model::Span::millis(5)),
    })?;
    ask(Request::Remove {
        node: node_name("web"),
        keep_volumes: false,
    })?;
    ask(Request::Destroy {
        keep_logs: false,
        keep_disk: false,
    })
}

fn after(machine: &Machine, before: &Census, keeper: &mut Keeper) {
    sweep(&keeper.dir, &machine.cgroup_root, Leave::default()).unwrap();
    let _ = keeper.process.wait();
    before.assert_same(machine);
}

#[test]
fn root_a_keeper_that_dies_at_any_step_leaves_nothing_after_a_sweep() {
    let machine = Machine::new();
    let before = machine.census();
    for (n, step) in steps::ALL.iter().enumerate() {
        let mut keeper = machine.keeper_with(
            &machine.seed(&format!("die-{n}")),
            &[("DAAS_CRASH_AT", step)],
        );
        let lived = life(&machine, &keeper);
        assert!(lived.is_err(), "{step} was never taken");
        after(&machine, &before, &mut keeper);
    }
}

#[test]
fn root_a_step_that_fails_is_told_and_leaves_nothing() {
    let machine = Machine::new();
    let before = machine.census();
    for (n, step) in steps::ALL.iter().enumerate() {
        let mut keeper = machine.keeper_with(
            &machine.seed(&format!("fail-{n}")),
            &[("DAAS_FAIL_AT", step)],
        );
        let lived = life(&machine, &keeper);
        // Steps of an end that was asked for go on whatever happens.
        let insists = matches!(
            *step,
            "start.done" | "stop.signal" | "stop.kill" | "stop.done"
        );
        assert!(lived.is_err() || insists, "{step}: {lived:?}");
        if step.starts_with("destroy.") {
            // The same again succeeds: every step may be repeated.
            if keeper.dir.exists() && *step != "destroy.done" {
                assert_eq!(
                    keeper.ask(Request::Destroy {
                        keep_logs: false,
                        keep_disk: false
                    }),
                    Response::Done,
                    "{step}"
                );
            }
            let _ = keeper.process.wait();
            before.assert_same(&machine);
        }
        after(&machine, &before, &mut keeper);
    }
}

#[test]
fn root_a_start_that_failed_is_repeated_with_success() {
    let machine = Machine::new();
    for (n, step) in steps::ALL
        .iter()
        .enumerate()
        .filter(|(_, s)| s.starts_with("start.") || s.starts_with("adopt."))
    {
        let keeper = machine.keeper_with(
            &machine.seed(&format!("twice-{n}")),
            &[("DAAS_FAIL_AT", step)],
        );
        for _ in 0..2 {
            let _ = keeper.try_ask(Request::Adopt(keeper.stand()));
        }
        let node = || on_network(shell(&machine, "web", "echo up; exec sleep 1000"), 2);
        let _ = keeper.try_ask(Request::Start {
            nodes: vec![node()],
        });
        keeper.start(vec![node()]);
        keeper.wait_until(|| keeper.log("web").contains("up").then_some(()));
        keeper.destroy();
    }
}
