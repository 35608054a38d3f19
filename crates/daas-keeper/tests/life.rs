//! The life of a stand: up, logs, exit codes, down, and nothing left.
#![allow(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

mod support;

use daas_keeper::launch::{ExecLaunch, NodeLaunch};
use daas_keeper::log::Stream;
use daas_keeper::protocol::EventKind;
use daas_keeper::protocol::{Request, Response};
use daas_model::{NodeState, RestartPolicy, Span};
use support::{Machine, node_name, on_network, shell, two_streams};

#[test]
fn root_a_node_runs_writes_ends_and_nothing_is_left() {
    let machine = Machine::new();
    let before = machine.census();
    let keeper = machine.keeper("one");
    keeper.adopt();
    let (code, _) = keeper.run(two_streams(
        &machine,
        "web",
        "echo hello; echo trouble >&2; exit 7",
    ));
    assert_eq!(code, 7);
    assert_eq!(keeper.log_of("web", Some(Stream::Output)), "hello\n");
    assert_eq!(keeper.log_of("web", Some(Stream::Error)), "trouble\n");
    assert_ne!(machine.census(), before);
    keeper.destroy();
    before.assert_same(&machine);
}

#[test]
fn root_three_nodes_are_up_at_once_and_know_each_other_by_name() {
    let machine = Machine::new();
    let before = machine.census();
    let keeper = machine.keeper("three");
    keeper.adopt();
    let serve = "echo I am $(hostname) > /var/www/index.html; exec httpd -f -p 80 -h /var/www";
    keeper.start(vec![
        on_network(shell(&machine, "web", serve), 2),
        on_network(shell(&machine, "db", serve), 3),
        on_network(shell(&machine, "client", "until wget -qO- http://web/ && wget -qO- http://db.three.test/; do sleep 0.05; done; nslookup nobody; echo code $?"), 4),
    ]);
    assert_eq!(keeper.exit_code("client"), 0);
    let log = keeper.log("client");
    assert!(
        log.contains("I am web\n") && log.contains("I am db\n"),
        "{log}"
    );
    assert!(log.contains("NXDOMAIN"), "{log}");
    assert_eq!(
        keeper.ask(Request::Remove {
            node: support::node_name("db"),
            keep_volumes: false,
        }),
        Response::Done
    );
    keeper.destroy();
    before.assert_same(&machine);
}

fn hook(script: &str) -> ExecLaunch {
    ExecLaunch {
        argv: vec!["/bin/sh".into(), "-c".into(), script.into()],
        env: None,
        cwd: None,
        user: None,
    }
}

#[test]
fn root_a_stop_runs_its_commands_sends_the_signal_and_kills_after_the_grace() {
    let machine = Machine::new();
    let keeper = machine.keeper("stop");
    keeper.adopt();
    let mut polite = shell(
        &machine,
        "polite",
        "trap 'cat /flag; exit 3' USR1; echo ready; while :; do sleep 0.02; done",
    );
    polite.stop_signal = 10;
    polite.pre_stop = vec![
        hook("echo first > /flag"),
        hook("echo second >> /flag"),
        hook("exit 5"),
    ];
    let mut deaf = shell(
        &machine,
        "deaf",
        "trap '' TERM; echo ready; sleep 1000 & while :; do sleep 0.02; done",
    );
    deaf.stop_grace = Span::millis(100);
    keeper.start(vec![polite, deaf]);
    for name in ["polite", "deaf"] {
        keeper.wait_until(|| keeper.log(name).contains("ready").then_some(()));
    }
    let mut events = keeper.client();
    events.ask(Request::Subscribe).unwrap();
    for name in ["polite", "deaf"] {
        assert_eq!(
            keeper.ask(Request::Stop {
                node: node_name(name),
                grace: None
            }),
            Response::Done
        );
        // Asked again: nothing happens.
        assert_eq!(
            keeper.ask(Request::Stop {
                node: node_name(name),
                grace: None
            }),
            Response::Done
        );
    }
    assert!(
        matches!(
            keeper.state("polite"),
            NodeState::Exited {
                code: 3,
                asked: true,
                oom: false,
                ..
            }
        ),
        "{:?}",
        keeper.state("polite")
    );
    assert!(matches!(
        keeper.state("deaf"),
        NodeState::Exited {
            code: 137,
            asked: true,
            ..
        }
    ));
    assert_eq!(keeper.log("polite"), "ready\nfirst\nsecond\n");
    let told = keeper.events_until(&mut events, |e| e.node == Some(node_name("deaf")));
    assert!(
        told.iter()
            .any(|e| matches!(e.kind, EventKind::HookFailed { code: 5 })),
        "{told:#?}"
    );
    keeper.destroy();
}

#[test]
fn root_a_restart_keeps_what_the_node_wrote_and_another_description_does_not() {
    let machine = Machine::new();
    let keeper = machine.keeper("again");
    keeper.adopt();
    let mut node = shell(
        &machine,
        "web",
        "until [ -s /hooked ]; do sleep 0.02; done; cat /hooked; rm /hooked; cat /mark; echo marked > /mark; echo up; while :; do sleep 0.05; done",
    );
    node.stop_grace = Span::millis(20);
    node.post_start = vec![hook("echo $(hostname) was started > /hooked")];
    keeper.start(vec![node.clone()]);
    keeper.wait_until(|| {
        let log = keeper.log("web");
        (log.contains("was started") && log.contains("up\n")).then_some(())
    });
    assert!(
        keeper.log("web").contains("can't open '/mark'"),
        "{}",
        keeper.log("web")
    );
    // The same digest: it runs already.
    keeper.start(vec![node.clone()]);
    assert_eq!(
        keeper.ask(Request::Restart {
            node: node_name("web"),
            grace: None
        }),
        Response::Done
    );
    keeper.wait_until(|| (keeper.log("web").matches("up\n").count() == 2).then_some(()));
    assert_eq!(keeper.log("web").matches("web was started\n").count(), 2);
    assert!(keeper.log("web").contains("marked\n"));
    assert_eq!(keeper.log("web").matches("can't open").count(), 1);
    node.digest = "another".into();
    let failed = match keeper.ask(Request::Start {
        nodes: vec![node.clone()],
    }) {
        Response::Started { failed } => failed,
        other => panic!("{other:?}"),
    };
    assert_eq!(failed[&node_name("web")].code, "keeper-other-digest");
    keeper.ask(Request::Stop {
        node: node_name("web"),
        grace: None,
    });
    keeper.start(vec![node]);
    keeper.wait_until(|| (keeper.log("web").matches("can't open").count() == 2).then_some(()));
    keeper.destroy();
}

#[test]
fn root_policies_start_a_node_again_with_growing_waits() {
    let machine = Machine::new();
    let keeper = machine.keeper("policy");
    keeper.adopt();
    let mut events = keeper.client();
    events.ask(Request::Subscribe).unwrap();
    let mut flaky = shell(
        &machine,
        "flaky",
        "echo x >> /count; [ $(wc -l < /count) -ge 4 ] || exit 9; exit 0",
    );
    flaky.restart = RestartPolicy::OnFailure { max_retries: None };
    keeper.start(vec![flaky]);
    let told = keeper.events_until(&mut events, |e| {
        matches!(e.kind, EventKind::NodeExited { code: 0, .. })
    });
    let waits: Vec<u64> = told
        .iter()
        .filter_map(|e| {
            if let EventKind::Backoff { wait_ms, .. } = e.kind {
                Some(wait_ms)
            } else {
                None
            }
        })
        .collect();
    assert_eq!(waits, [100, 200, 400]);
    assert_eq!(
        keeper.status().observed.nodes[&node_name("flaky")].restarts,
        3
    );
    let mut few = shell(&machine, "few", "exit 9");
    few.restart = RestartPolicy::OnFailure {
        max_retries: Some(1),
    };
    keeper.start(vec![few]);
    keeper.events_until(&mut events, |e| {
        matches!(e.kind, EventKind::NodeStarted) && e.node == Some(node_name("few"))
    });
    keeper.wait_until(|| {
        (keeper.status().observed.nodes[&node_name("few")].restarts == 1).then_some(())
    });
    assert_eq!(keeper.exit_code("few"), 9);
    // A stop ends the waiting for good.
    let mut always = shell(&machine, "always", "exit 0");
    always.restart = RestartPolicy::Always;
    keeper.start(vec![always]);
    keeper.wait_until(|| matches!(keeper.state("always"), NodeState::Backoff { .. }).then_some(()));
    keeper.ask(Request::Stop {
        node: node_name("always"),
        grace: None,
    });
    // On a slow machine the wait may have ended before the word to stop came; then it is the new life that ends.
    keeper.wait_until(|| {
        matches!(
            keeper.state("always"),
            NodeState::Exited { asked: true, .. }
        )
        .then_some(())
    });
    keeper.destroy();
}

#[test]
fn root_a_command_that_is_not_there_is_a_plain_error() {
    let machine = Machine::new();
    let keeper = machine.keeper("missing");
    keeper.adopt();
    let node = |argv: &[&str]| {
        NodeLaunch::new(
            node_name("web"),
            vec![machine.busybox()],
            argv.iter().map(|a| (*a).to_owned()).collect(),
        )
    };
    assert_eq!(
        keeper.start_failing(node(&["nosuch"])),
        "cannot run `nosuch` in node web: no such file or directory"
    );
    assert_eq!(
        keeper.start_failing(node(&["/etc/passwd"])),
        "cannot run `/etc/passwd` in node web: permission denied"
    );
    assert!(
        keeper
            .start_failing(node(&[]))
            .contains("has nothing to run")
    );
    assert!(matches!(keeper.state("web"), NodeState::Failed { .. }));
    keeper.start(vec![node(&["true"])]);
    keeper.destroy();
}

#[test]
fn root_an_init_reaps_orphans_and_passes_signals_on() {
    let machine = Machine::new();
    let keeper = machine.keeper("init");
    keeper.adopt();
    let mut node = shell(
        &machine,
        "web",
        "trap 'exit 4' TERM; (sleep 0.05 & exec true) & sleep 0.3; cat /proc/[0-9]*/status | grep -c '^State:.Z'; echo pid $$; while :; do sleep 0.02; done",
    );
    node.init = true;
    keeper.start(vec![node]);
    keeper.wait_until(|| keeper.log("web").contains("pid").then_some(()));
    assert_eq!(keeper.log("web"), "0\npid 2\n");
    keeper.ask(Request::Stop {
        node: node_name("web"),
        grace: None,
    });
    assert_eq!(keeper.exit_code("web"), 4);
    keeper.destroy();
}

#[test]
fn root_frozen_nodes_do_nothing_until_thawed() {
    let machine = Machine::new();
    let keeper = machine.keeper("pause");
    keeper.adopt();
    keeper.start(vec![shell(
        &machine,
        "web",
        "while :; do echo tick; sleep 0.01; done",
    )]);
    keeper.wait_until(|| keeper.log("web").contains("tick").then_some(()));
    keeper.ask(Request::Pause { node: None });
    assert!(matches!(keeper.state("web"), NodeState::Paused { .. }));
    std::thread::sleep(std::time::Duration::from_millis(60));
    let frozen = keeper.log("web").len();
    std::thread::sleep(std::time::Duration::from_millis(150));
    assert_eq!(keeper.log("web").len(), frozen);
    keeper.ask(Request::Resume {
        node: Some(node_name("web")),
    });
    keeper.wait_until(|| (keeper.log("web").len() > frozen).then_some(()));
    keeper.ask(Request::Pause {
        node: Some(node_name("web")),
    });
    keeper.destroy();
}

#[test]
fn root_a_terminal_is_the_nodes_own_and_its_input_can_be_written() {
    let machine = Machine::new();
    let keeper = machine.keeper("tty");
    keeper.adopt();
    let mut node = shell(
        &machine,
        "web",
        "tty; stty size; [ -t 0 ] && echo terminal; read line; echo got $line; echo to console > /dev/console",
    );
    node.tty = true;
    keeper.start(vec![node]);
    keeper.ask(Request::Resize {
        node: node_name("web"),
        exec: None,
        size: daas_keeper::protocol::TtySize {
            rows: 33,
            columns: 99,
        },
    });
    let (_, fds) = keeper
        .client()
        .ask_with(
            Request::Attach {
                node: node_name("web"),
            },
            &[],
        )
        .unwrap();
    // The terminal echoes what is written at once, between any two words of the program.
    keeper.wait_until(|| keeper.log("web").contains("terminal\r\n").then_some(()));
    use std::io::Write;
    std::fs::File::from(fds.into_iter().next().unwrap())
        .write_all(b"hello\n")
        .unwrap();
    assert_eq!(keeper.exit_code("web"), 0);
    let log = keeper.log("web");
    assert!(
        log.contains("/dev/pts/0\r\n")
            && log.contains("terminal\r\n")
            && log.contains("got hello\r\n")
            && log.contains("to console\r\n"),
        "{log:?}"
    );
    let mut node = shell(&machine, "pipe", "read line; echo got $line");
    node.stdin_open = true;
    keeper.start(vec![node]);
    let (_, fds) = keeper
        .client()
        .ask_with(
            Request::Attach {
                node: node_name("pipe"),
            },
            &[],
        )
        .unwrap();
    std::fs::File::from(fds.into_iter().next().unwrap())
        .write_all(b"this\n")
        .unwrap();
    keeper.exit_code("pipe");
    assert_eq!(keeper.log("pipe"), "got this\n");
    keeper.destroy();
}

#[test]
fn root_a_stand_changes_while_it_runs() {
    let machine = Machine::new();
    let keeper = machine.keeper("change");
    keeper.adopt();
    keeper.start(vec![on_network(
        shell(&machine, "web", "exec sleep 1000"),
        2,
    )]);
    let mut second = keeper.stand().networks.remove(0);
    second.name = support::network_name("second");
    second.subnets[0] = daas_keeper::launch::BridgeSubnet {
        subnet: daas_model::Subnet::parse("fd00:1::/64").unwrap(),
        gateway: "fd00:1::1".parse().unwrap(),
    };
    let reconfigure = |networks| Request::Reconfigure {
        digest: Some("newer".into()),
        limits: Some(daas_model::Limits {
            memory: daas_model::ByteSize::mib(300),
            disk: daas_model::ByteSize::mib(256),
            ..daas_model::Limits::default()
        }),
        dns: Some(daas_keeper::launch::DnsTable {
            names: [("outside".to_owned(), vec!["10.0.0.77".parse().unwrap()])].into(),
            ..Default::default()
        }),
        networks,
        volumes: vec![daas_model::VolumeName::parse("late").unwrap()],
        files: Default::default(),
    };
    assert_eq!(
        keeper.ask(reconfigure(vec![second.clone()])),
        Response::Done
    );
    assert_eq!(
        keeper.ask(reconfigure(vec![second.clone()])),
        Response::Done
    );
    second.subnets[0].gateway = "fd00:1::2".parse().unwrap();
    assert!(keeper.try_ask(reconfigure(vec![second])).is_err());
    assert_eq!(keeper.status().observed.base_from.as_deref(), Some("newer"));
    let mut node = on_network(
        shell(
            &machine,
            "six",
            "ping -c1 -W2 fd00:1::1 | grep -c '1 packets received'; nslookup -type=a outside | grep -c 10.0.0.77",
        ),
        3,
    );
    if let daas_keeper::launch::NetworkLaunch::Interfaces(interfaces) = &mut node.network {
        interfaces.push(daas_keeper::launch::InterfaceLaunch {
            network: support::network_name("second"),
            ipv4: None,
            ipv6: Some("fd00:1::9".parse().unwrap()),
            mac: [2, 0, 0, 0, 0, 9],
            names: vec![],
            default_route: true,
        });
    }
    assert_eq!(keeper.run(node), (0, "1\n1\n".to_owned()));
    keeper.destroy();
}

#[test]
fn root_keepers_of_a_zygote_outlive_it() {
    use std::io::{BufRead, Write};
    let machine = Machine::new();
    let before = machine.census();
    let seed = machine.seed("orphan");
    let mut zygote = std::process::Command::new(env!("CARGO_BIN_EXE_daas-keeper-alone"))
        .arg("zygote")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(
        zygote.stdin.as_mut().unwrap(),
        "{}",
        serde_json::to_string(&seed).unwrap()
    )
    .unwrap();
    let mut line = String::new();
    std::io::BufReader::new(zygote.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let pid: i32 = line.trim().parse().expect(&line);
    let mut client = daas_keeper::Client::connect(&seed.dir).unwrap();
    let Response::Hello(hello) = client.ask(Request::Hello { version: 1 }).unwrap() else {
        panic!()
    };
    assert_eq!(hello.pid, pid);
    zygote.kill().unwrap();
    zygote.wait().unwrap();
    assert_eq!(
        client
            .ask(Request::Status)
            .map(|_| ())
            .map_err(|e| e.to_string()),
        Ok(())
    );
    assert!(daas_keeper::is_alive(&seed.dir));
    client
        .ask(Request::Destroy {
            keep_logs: false,
            keep_disk: false,
        })
        .unwrap();
    before.assert_same(&machine);
}

#[test]
fn root_a_prepared_keeper_takes_any_disk_size_and_a_disk_with_data_keeps_its_own() {
    use daas_model::{ByteSize, Limits};
    let machine = Machine::new();
    let before = machine.census();
    let keeper = machine.keeper("sizes");
    let mut stand = keeper.stand();
    stand.limits.disk = ByteSize::mib(64);
    stand.throw_away = false;
    assert_eq!(keeper.ask(Request::Adopt(stand.clone())), Response::Done);
    let size = "df -k / | awk 'NR>1 {print ($2 < 70000), ($2 > 100000)}'; grep ' / ' /proc/mounts | grep -c volatile";
    assert_eq!(
        keeper.run(shell(&machine, "small", size)),
        (1, "1 0\n0\n".to_owned())
    );
    let resize = |mib| Request::Reconfigure {
        digest: None,
        limits: Some(Limits {
            disk: ByteSize::mib(mib),
            ..Limits::default()
        }),
        dns: None,
        networks: vec![],
        volumes: vec![],
        files: Default::default(),
    };
    assert!(
        keeper
            .try_ask(resize(32))
            .unwrap_err()
            .to_string()
            .contains("cannot shrink")
    );
    assert!(
        keeper
            .try_ask(resize(128))
            .unwrap_err()
            .to_string()
            .contains("only while it is closed")
    );
    keeper.destroy();
    before.assert_same(&machine);
}
