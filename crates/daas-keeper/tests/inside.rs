//! Execs, copies and health checks inside of running nodes.
#![allow(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

mod support;

use daas_keeper::Client;
use daas_keeper::launch::{ExecLaunch, HealthLaunch};
use daas_keeper::protocol::{EventKind, Request, Response, TtySize};
use daas_model::{Health, Span};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;
use support::{Keeper, Machine, node_name, on_network, shell};

fn exec(argv: &[&str]) -> ExecLaunch {
    ExecLaunch {
        argv: argv.iter().map(|a| (*a).to_owned()).collect(),
        env: None,
        cwd: None,
        user: None,
    }
}

fn pipe() -> (File, OwnedFd) {
    let (read, write) = std::io::pipe().unwrap();
    (File::from(OwnedFd::from(read)), OwnedFd::from(write))
}

/// Runs an exec without a terminal and returns its exit code and output.
fn run(keeper: &Keeper, node: &str, exec: ExecLaunch) -> (i32, String) {
    let mut client = keeper.client();
    let null = File::open("/dev/null").unwrap();
    let (mut read, write) = pipe();
    let request = Request::Exec {
        node: node_name(node),
        exec,
        tty: None,
    };
    let (response, _) = client
        .ask_with(request, &[null.as_fd(), write.as_fd(), write.as_fd()])
        .unwrap();
    drop(write);
    let Response::Exec { exec, .. } = response else {
        panic!("{response:?}")
    };
    let mut text = String::new();
    read.read_to_string(&mut text).unwrap();
    (ended(&mut client, exec), text)
}

fn ended(client: &mut Client, exec: u64) -> i32 {
    loop {
        match client
            .event(Duration::from_secs(20))
            .unwrap()
            .expect("the exec ends")
            .kind
        {
            EventKind::ExecEnded { exec: e, code, .. } if e == exec => return code,
            _ => {}
        }
    }
}

#[test]
fn root_an_exec_is_inside_with_the_nodes_rights_and_limits() {
    let machine = Machine::new();
    let keeper = machine.keeper("exec");
    keeper.adopt();
    let mut node = on_network(shell(&machine, "web", "echo up; exec sleep 1000"), 2);
    node.env.push("NODE=yes".into());
    keeper.start(vec![node]);
    let look = "grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status; ls /proc/self/fd | wc -l; env | sort; hostname; ip -o addr | grep -c 10.0.0.2; echo $$; for n in mnt pid net uts ipc user cgroup; do [ $(readlink /proc/1/ns/$n) = $(readlink /proc/self/ns/$n) ] || echo other $n; done; exit 5";
    let (code, text) = run(&keeper, "web", exec(&["sh", "-c", look]));
    assert_eq!(code, 5, "{text}");
    for line in [
        "CapEff:\t00000000a00425fb",
        "CapBnd:\t00000000a00425fb",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "NODE=yes",
        "\nweb\n1\n",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert!(!text.contains("other"), "{text}");
    let group = &keeper.status().nodes[&node_name("web")].cgroups;
    let mut client = keeper.client();
    let null = File::open("/dev/null").unwrap();
    let request = Request::Exec {
        node: node_name("web"),
        exec: exec(&["sleep", "1000"]),
        tty: None,
    };
    let Response::Exec { exec: id, pid } = client
        .ask_with(request, &[null.as_fd(), null.as_fd(), null.as_fd()])
        .unwrap()
        .0
    else {
        panic!()
    };
    let procs = fs::read_to_string(group.unified.as_ref().unwrap().join("cgroup.procs")).unwrap();
    assert!(procs.lines().any(|l| l == pid.to_string()), "{procs}");
    client
        .ask(Request::KillExec {
            exec: id,
            signal: 15,
        })
        .unwrap();
    assert_eq!(ended(&mut client, id), 143);
    let mut other = exec(&["sh", "-c", "id -u; id -G; pwd; echo $X"]);
    (other.user, other.cwd, other.env) = (
        Some((33, 33, vec![44])),
        Some("/tmp".into()),
        Some(vec!["X=1".into(), "PATH=/bin".into()]),
    );
    assert_eq!(
        run(&keeper, "web", other),
        (0, "33\n33 44\n/tmp\n1\n".to_owned())
    );
    keeper.destroy();
}

#[test]
fn root_the_kill_score_is_the_files_for_the_node_and_its_execs_and_never_below() {
    let machine = Machine::new();
    let keeper = machine.keeper("score");
    keeper.adopt();
    let look = "cat /proc/self/oom_score_adj; (echo -500 > /proc/self/oom_score_adj) 2> /dev/null || echo refused; sleep 1000";
    let mut likely = shell(&machine, "likely", look);
    likely.oom_score_adj = Some(321);
    keeper.start(vec![shell(&machine, "plain", look), likely]);
    for (node, score) in [("plain", "0\n"), ("likely", "321\n")] {
        let said =
            keeper.wait_until(|| Some(keeper.log(node)).filter(|log| log.lines().count() == 2));
        assert_eq!(said, format!("{score}refused\n"), "{node}");
        let exec = exec(&["cat", "/proc/self/oom_score_adj"]);
        assert_eq!(run(&keeper, node, exec), (0, score.to_owned()), "{node}");
    }
    keeper.destroy();
}

#[test]
fn root_orphans_of_an_exec_are_reaped_by_the_nodes_init_and_the_exec_itself_by_the_keeper() {
    let machine = Machine::new();
    let keeper = machine.keeper("orphans");
    keeper.adopt();
    let mut tended = shell(&machine, "tended", "exec sleep 1000");
    tended.init = true;
    keeper.start(vec![tended, shell(&machine, "plain", "exec sleep 1000")]);
    let crowd = "i=0; while [ $i -lt 50 ]; do i=$((i+1)); (true &); done; sleep 0.1; echo made";
    for node in ["tended", "plain"] {
        assert_eq!(
            run(&keeper, node, exec(&["sh", "-c", crowd])),
            (0, "made\n".to_owned())
        );
    }
    let dead = |node: &str| {
        let count = exec(&["sh", "-c", "cat /proc/[0-9]*/stat | grep -c ') Z '"]);
        run(&keeper, node, count).1.trim().to_owned()
    };
    assert_eq!(dead("tended"), "0");
    // As with Docker: whose process 1 does not wait for children keeps those of others, too. The test sees that there were some.
    assert_eq!(dead("plain"), "50");
    // What was run itself is the keeper's child, whatever process 1 does.
    let mine = format!("{}", keeper.process.id());
    let zombies = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok())
        .filter(|stat| {
            let rest = stat.rsplit(')').next().unwrap_or_default();
            let mut words = rest.split_whitespace();
            words.next() == Some("Z") && words.next() == Some(&mine)
        })
        .count();
    assert_eq!(zombies, 0);
    keeper.destroy();
}

#[test]
fn root_an_exec_that_cannot_be_is_a_plain_error() {
    let machine = Machine::new();
    let keeper = machine.keeper("bad");
    keeper.adopt();
    keeper.start(vec![shell(&machine, "web", "exec sleep 1000")]);
    let null = File::open("/dev/null").unwrap();
    let ask = |node: &str, exec: ExecLaunch| {
        let request = Request::Exec {
            node: node_name(node),
            exec,
            tty: None,
        };
        keeper
            .client()
            .ask_with(request, &[null.as_fd(), null.as_fd(), null.as_fd()])
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        ask("web", exec(&["nosuch"])),
        "cannot run `nosuch` in node web: no such file or directory"
    );
    assert_eq!(ask("nobody", exec(&["true"])), "there is no node nobody");
    assert!(ask("web", exec(&[])).contains("nothing to run"));
    assert!(
        ask(
            "web",
            ExecLaunch {
                user: Some((65_536, 0, vec![])),
                ..exec(&["true"])
            }
        )
        .contains("cannot run as")
    );
    keeper.ask(Request::Pause { node: None });
    assert!(ask("web", exec(&["true"])).contains("is paused"));
    keeper.ask(Request::Resume { node: None });
    keeper.ask(Request::Stop {
        node: node_name("web"),
        grace: Some(Span::default()),
    });
    assert_eq!(ask("web", exec(&["true"])), "node web does not run");
    keeper.destroy();
}

#[test]
fn root_an_exec_with_a_terminal_echoes_resizes_and_is_hung_up_with_its_connection() {
    let machine = Machine::new();
    let keeper = machine.keeper("tty");
    keeper.adopt();
    keeper.start(vec![shell(&machine, "web", "exec sleep 1000")]);
    let mut client = keeper.client();
    let request = Request::Exec {
        node: node_name("web"),
        exec: exec(&["sh", "-i"]),
        tty: Some(TtySize {
            rows: 24,
            columns: 80,
        }),
    };
    let (response, fds) = client.ask_with(request, &[]).unwrap();
    let Response::Exec { exec: id, .. } = response else {
        panic!()
    };
    let mut master = File::from(fds.into_iter().next().unwrap());
    let mut seen = String::new();
    let mut until = |master: &mut File, wanted: &str| {
        let mut buffer = [0; 1024];
        while !seen.contains(wanted) {
            let got = master.read(&mut buffer).unwrap();
            seen.push_str(&String::from_utf8_lossy(&buffer[..got]));
        }
        std::mem::take(&mut seen)
    };
    master.write_all(b"stty size; tty\n").unwrap();
    let text = until(&mut master, "/dev/pts/0\r\n");
    assert!(text.contains("24 80\r\n"), "{text:?}");
    client
        .ask(Request::Resize {
            node: node_name("web"),
            exec: Some(id),
            size: TtySize {
                rows: 50,
                columns: 132,
            },
        })
        .unwrap();
    master.write_all(b"stty size; echo en'd'\n").unwrap();
    assert!(until(&mut master, "end\r\n").contains("50 132\r\n"));
    // Ctrl-C reaches the foreground.
    master.write_all(b"sleep 1000\n").unwrap();
    std::thread::sleep(Duration::from_millis(100));
    master.write_all(b"\x03").unwrap();
    master.write_all(b"exit 9\n").unwrap();
    assert_eq!(ended(&mut client, id), 9);
    let request = Request::Exec {
        node: node_name("web"),
        exec: exec(&["sleep", "1000"]),
        tty: Some(TtySize {
            rows: 24,
            columns: 80,
        }),
    };
    let (response, fds) = client.ask_with(request, &[]).unwrap();
    let Response::Exec { pid, .. } = response else {
        panic!()
    };
    drop((client, fds));
    keeper.wait_until(|| (!std::path::Path::new(&format!("/proc/{pid}")).exists()).then_some(()));
    keeper.destroy();
}

fn copy_out(keeper: &Keeper, node: &str, path: &str, follow: bool) -> Result<Vec<u8>, String> {
    let (mut read, write) = pipe();
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        read.read_to_end(&mut bytes).unwrap();
        bytes
    });
    let request = Request::CopyOut {
        node: node_name(node),
        path: path.to_owned(),
        follow,
    };
    let answer = keeper.client().ask_with(request, &[write.as_fd()]);
    drop(write);
    let bytes = reader.join().unwrap();
    answer
        .map(|(response, _)| match response {
            Response::Copied { bytes: told } => {
                assert_eq!(told, bytes.len() as u64);
                bytes
            }
            other => panic!("{other:?}"),
        })
        .map_err(|e| e.to_string())
}

fn copy_in(
    keeper: &Keeper,
    node: &str,
    path: &str,
    keep_owner: bool,
    tar: Vec<u8>,
) -> Result<(), String> {
    let (read, mut write) = std::io::pipe().unwrap();
    let writer = std::thread::spawn(move || {
        let _ = write.write_all(&tar);
    });
    let request = Request::CopyIn {
        node: node_name(node),
        path: path.to_owned(),
        keep_owner,
    };
    let answer = keeper.client().ask_with(request, &[read.as_fd()]);
    drop(read);
    writer.join().unwrap();
    answer.map(|_| ()).map_err(|e| e.to_string())
}

fn names(tar: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(tar);
    let mut names: Vec<String> = archive
        .entries()
        .unwrap()
        .map(|e| e.unwrap().path().unwrap().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn archive(files: &[(&str, tar::EntryType, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, kind, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(0o640);
        header.set_uid(7);
        header.set_gid(8);
        // Raw names: the builder would refuse what an attacker would not.
        let bytes = name.as_bytes();
        header.as_old_mut().name[..bytes.len()].copy_from_slice(bytes);
        let body = if kind.is_file() {
            content.as_bytes()
        } else {
            b"".as_slice()
        };
        if !kind.is_file() && !content.is_empty() {
            header.as_old_mut().linkname[..content.len()].copy_from_slice(content.as_bytes());
        }
        header.set_size(body.len() as u64);
        header.set_cksum();
        builder.append(&header, body).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn root_files_go_out_and_in_of_running_and_ended_nodes() {
    use tar::EntryType::{Directory, Link, Regular, Symlink};
    let machine = Machine::new();
    let keeper = machine.keeper("copy");
    keeper.adopt();
    let make = "mkdir -p /data/sub; echo one > /data/one; ln -s one /data/link; echo two > /data/sub/two; mkfifo /data/fifo; chmod 751 /data; ";
    keeper.start(vec![
        shell(
            &machine,
            "running",
            &format!("{make} echo ready; exec sleep 1000"),
        ),
        shell(&machine, "ended", make),
    ]);
    keeper.exit_code("ended");
    keeper.wait_until(|| keeper.log("running").contains("ready").then_some(()));
    for node in ["running", "ended"] {
        let tar = copy_out(&keeper, node, "/data", false).unwrap();
        assert_eq!(
            names(&tar),
            [
                "data",
                "data/fifo",
                "data/link",
                "data/one",
                "data/sub",
                "data/sub/two"
            ]
        );
        assert_eq!(
            names(&copy_out(&keeper, node, "/data/link", true).unwrap()),
            ["link"]
        );
        let missing = copy_out(&keeper, node, "/nowhere", false).unwrap_err();
        assert_eq!(
            missing,
            format!("cannot copy /nowhere out in node {node}: no such file or directory")
        );
        let tar = archive(&[
            ("new", Directory, ""),
            ("new/file", Regular, "text"),
            ("new/link", Symlink, "file"),
            ("new/hard", Link, "new/file"),
            ("./one", Regular, "other"),
        ]);
        copy_in(&keeper, node, "/data", true, tar).unwrap();
        let tar = copy_out(&keeper, node, "/data/new", false).unwrap();
        assert_eq!(names(&tar), ["new", "new/file", "new/hard", "new/link"]);
        let mut reader = tar::Archive::new(tar.as_slice());
        let mut file = reader
            .entries()
            .unwrap()
            .map(Result::unwrap)
            .find(|e| e.path().unwrap().ends_with("new/file"))
            .unwrap();
        assert_eq!(
            (
                file.header().uid().unwrap(),
                file.header().gid().unwrap(),
                file.header().mode().unwrap() & 0o7777
            ),
            (7, 8, 0o640)
        );
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "text");
        assert!(
            copy_in(
                &keeper,
                node,
                "/data/one",
                false,
                archive(&[("x", Regular, "x")])
            )
            .unwrap_err()
            .contains("not a directory")
        );
    }
    assert_eq!(
        run(&keeper, "running", exec(&["cat", "/data/one"])),
        (0, "other\n".replace("other\n", "other"))
    );
    keeper.destroy();
}

#[test]
fn root_copies_never_leave_the_node_and_run_nothing_of_it() {
    use tar::EntryType::{Char, Regular, Symlink};
    let machine = Machine::new();
    let keeper = machine.keeper("hostile");
    keeper.adopt();
    let victim = machine.dir.path().join("victim");
    fs::create_dir(&victim).unwrap();
    fs::write(victim.join("secret"), "of the host").unwrap();
    let escape = victim.to_str().unwrap();
    // A hostile tar in the image: it must never run.
    let trap = "cp /bin/busybox /bin/tar.real; printf '#!/bin/sh\\ntouch /ran\\n' > /bin/tar; chmod 755 /bin/tar; ";
    keeper.start(vec![shell(&machine, "web", &format!("{trap} ln -s {escape} /out; ln -s ../../../../../../..{escape} /up; ln -s /out /again; mkdir /d; ln -s {escape} /d/x; echo ready; exec sleep 1000"))]);
    keeper.wait_until(|| keeper.log("web").contains("ready").then_some(()));
    for path in [
        "/out",
        "/up",
        "/again",
        &format!("/proc/1/root{escape}"),
        "/out/secret",
        "/up/secret",
    ] {
        let answer = copy_out(&keeper, "web", path, true);
        let leaked = answer
            .as_ref()
            .is_ok_and(|tar| tar.windows(11).any(|w| w == b"of the host"));
        assert!(!leaked, "{path}");
        assert!(
            copy_in(
                &keeper,
                "web",
                path,
                false,
                archive(&[("evil", Regular, "x")])
            )
            .is_err(),
            "{path}"
        );
    }
    for bad in [
        archive(&[("../../../../evil", Regular, "x")]),
        archive(&[("d/../../evil", Regular, "x")]),
        archive(&[("d/x/evil", Regular, "x")]),
        archive(&[("l", Symlink, escape), ("l/evil", Regular, "x")]),
        archive(&[(&format!("{escape}/evil"), Regular, "x")]),
        archive(&[("null", Char, "")]),
        b"this is no tar at all, but it is longer than one block of five hundred and twelve bytes"
            .repeat(20),
    ] {
        let _ = copy_in(&keeper, "web", "/", false, bad);
    }
    let mut left: Vec<_> = fs::read_dir(&victim)
        .unwrap()
        .flatten()
        .map(|e| e.file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["secret"]);
    assert_eq!(run(&keeper, "web", exec(&["sh", "-c", "ls /ran"])).0, 1);
    keeper.destroy();
}

#[test]
fn root_health_is_asked_and_told() {
    let machine = Machine::new();
    let keeper = machine.keeper("health");
    keeper.adopt();
    let mut events = keeper.client();
    events.ask(Request::Subscribe).unwrap();
    let mut node = shell(&machine, "web", "sleep 0.2; touch /good; exec sleep 1000");
    node.health = Some(HealthLaunch {
        argv: ["/bin/sh", "-c", "echo looked; cat /good"]
            .map(String::from)
            .to_vec(),
        interval: Span::millis(30),
        timeout: Span::secs(5),
        retries: 2,
        start_period: Span::secs(20),
        start_interval: Span::millis(20),
    });
    keeper.start(vec![node]);
    assert_eq!(
        keeper.status().observed.nodes[&node_name("web")].health,
        Health::Starting
    );
    let changed = |health| move |e: &daas_keeper::protocol::Event| matches!(e.kind, EventKind::HealthChanged { health: h } if h == health);
    keeper.events_until(&mut events, changed(Health::Healthy));
    let details = keeper.status().nodes[&node_name("web")]
        .health_output
        .clone()
        .unwrap();
    assert_eq!(details, (0, "looked\n".to_owned()));
    assert_eq!(run(&keeper, "web", exec(&["rm", "/good"])).0, 0);
    let told = keeper.events_until(&mut events, changed(Health::Unhealthy));
    assert_eq!(told.last().unwrap().text, "node web is unhealthy");
    assert!(
        keeper.status().nodes[&node_name("web")]
            .health_output
            .as_ref()
            .unwrap()
            .1
            .contains("can't open '/good'")
    );
    assert_eq!(run(&keeper, "web", exec(&["touch", "/good"])).0, 0);
    keeper.events_until(&mut events, changed(Health::Healthy));

    let mut slow = shell(&machine, "slow", "exec sleep 1000");
    slow.health = Some(HealthLaunch {
        argv: ["sleep", "1000"].map(String::from).to_vec(),
        interval: Span::millis(20),
        timeout: Span::millis(50),
        retries: 1,
        start_period: Span::default(),
        start_interval: Span::secs(5),
    });
    keeper.start(vec![slow]);
    keeper.events_until(&mut events, changed(Health::Unhealthy));
    assert_eq!(
        keeper.status().nodes[&node_name("slow")]
            .health_output
            .clone()
            .unwrap(),
        (124, "the check took longer than 50ms".to_owned())
    );
    keeper.destroy();
}
