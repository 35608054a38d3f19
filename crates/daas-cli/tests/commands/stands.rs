use crate::house::{Daemon, run};

const SHOP: &str = "name: shop\nservices:\n  web:\n    image: nginx:1.27\n    ports: ['80:8080']\n  db:\n    image: postgres:16\n";

#[test]
fn up_shows_progress_and_ends_with_where_to_look() {
    let daemon = Daemon::open();
    let compose = daemon.compose(SHOP);
    insta::assert_snapshot!(daemon.run(&["stand", "up", "--file", &compose]).all(&daemon), @"
    http://shop.localhost
    NODE  ANSWERS AT           PORT INSIDE
    web   http://127.64.0.1/   8080/tcp
    db    127.64.0.1:5432/tcp  5432/tcp
    --- stderr
    shop: db pulling postgres:16
    shop: web waiting for db healthy
    shop: db started, not healthy yet
    shop: db healthy
    shop: web starting
    shop: web healthy
    stand `shop` is up: 2 nodes in 12 ms
    next:
      daas stand logs --follow shop
      daas stand exec -it shop/web sh
      daas stand down shop
    --- exit 0
    ");
    assert_eq!(daemon.asked(), ["up shop"]);
}

#[test]
fn up_of_many_ends_with_a_table() {
    let daemon = Daemon::open();
    let compose = daemon.compose(SHOP);
    insta::assert_snapshot!(daemon.run(&["--quiet", "stand", "up", "demo", "--count", "3", "-f", &compose]).all(&daemon), @"
    STAND   STATE    NODES  ADDRESS     PORTS
    demo-1  running  2/2    127.64.0.1  80/tcp 5432/tcp
    demo-2  running  2/2    127.64.0.1  80/tcp 5432/tcp
    demo-3  running  2/2    127.64.0.1  80/tcp 5432/tcp
    --- stderr
    --- exit 0
    ");
}

#[test]
fn an_up_that_nobody_waits_for_tells_its_operations() {
    let daemon = Daemon::open();
    let compose = daemon.compose(SHOP);
    insta::assert_snapshot!(daemon.run(&["stand", "up", "--no-wait", "-f", &compose]).all(&daemon), @"
    STAND  OPERATION
    shop   op-1
    --- stderr
    --- exit 0
    ");
}

#[test]
fn an_up_that_fails_tells_why_and_ends_with_the_kind_of_the_failure() {
    let daemon = Daemon::open();
    let compose = daemon.compose(SHOP);
    insta::assert_snapshot!(daemon.run(&["stand", "up", "broken", "-f", &compose]).all(&daemon), @r"
    --- stderr
    broken: db pulling postgres:16
    broken: web waiting for db healthy
    broken: db started, not healthy yet
    broken: db healthy
    broken: web starting
    broken: web failed: exit code 127: `nginxx` not found
    the last lines of `broken/web`:
      GET / 200
      GET /favicon.ico 404
      \xff\u{1b}[31mnot text\u{1b}[0m
    error[node-failed]: cannot start node `web` of stand `broken`
      caused by: `nginxx` not found in the image
      hint: look at `daas stand logs broken`
    --- exit 7
    ");
}

#[test]
fn faults_of_the_project_are_told_all_at_once_before_anything_is_asked() {
    let daemon = Daemon::open();
    let compose = daemon.compose("services:\n  web:\n    imgae: nginx\n    ports: ['70000:80']\n  db:\n    image: postgres\n    depends_on: [cache]\n");
    insta::assert_snapshot!(daemon.run(&["stand", "up", "-f", &compose]).all(&daemon), @"
    --- stderr
    error[image-missing]: service `web` names no image
      --> compose.yaml:2:3
      hint: add `image`, for example `image: nginx:1.27`
    error[key-unknown]: `imgae` is no key of service `web`
      --> compose.yaml:3:5
      hint: did you mean `image`?
    error[port-out-of-range]: port `70000` does not exist in `ports` of service `web`
      --> compose.yaml:4:13
      hint: a port is 1 to 65535
    error[service-missing]: `depends_on` of service `db` names service `cache`, which the project does not have
      --> compose.yaml:7:18
      hint: name a service of this project

    4 errors in the project; nothing was changed
    --- exit 2
    ");
    assert!(daemon.asked().is_empty());
    let json = daemon.run(&["--json", "stand", "up", "-f", &compose]);
    let problem: daas_api::Problem = serde_json::from_str(&json.err).unwrap();
    assert!(json.code == 2 && json.out.is_empty() && problem.diagnostics.len() >= 3);
}

#[test]
fn what_the_daemon_finds_is_told_the_same() {
    let daemon = Daemon::open();
    // The fake's own fault, in a word that a compose file may hold.
    let compose = daemon.compose(&format!("{SHOP}# fault\n"));
    insta::assert_snapshot!(daemon.run(&["stand", "up", "-f", &compose]).all(&daemon), @"
    --- stderr
    error[port-out-of-range]: port `70000` does not exist
      --> FOLDER/shop/compose.yaml:7:9
      caused by: a port is 1 to 65535
      hint: write a port between 1 and 65535

    error[project-invalid]: cannot read the project
    --- exit 2
    ");
}

#[test]
fn a_wish_that_needs_a_grant_is_decided_by_the_daemon() {
    let daemon = Daemon::open();
    let compose = daemon.compose("services:\n  web:\n    image: nginx\n    privileged: true\n");
    assert_eq!(daemon.run(&["stand", "up", "-f", &compose]).code, 0);
}

#[test]
fn only_files_and_variables_that_are_asked_for_leave_this_machine() {
    let daemon = Daemon::open();
    let compose = daemon.compose(
        "services:\n  web:\n    image: nginx:${DAAS_TEST_UNSET:-1}\n    env_file: [web.env]\n",
    );
    daemon.file("shop/web.env", "A=b\n");
    daemon.file("shop/secret.key", "hidden\n");
    let said = daemon.run(&["--json", "stand", "plan", "-f", &compose]);
    assert_eq!(said.code, 0, "{said:?}");
    let json: serde_json::Value = serde_json::from_slice(&said.out).unwrap();
    assert_eq!(json[0]["stand"], "shop");
}

#[test]
fn a_plan_tells_every_step_with_its_reason() {
    let daemon = Daemon::open();
    let compose = daemon.compose(SHOP);
    insta::assert_snapshot!(daemon.run(&["stand", "plan", "-f", &compose]).all(&daemon), @"
    stand `shop` would be made:
    DO     ON               BECAUSE
    make   network default  it is wanted and absent
    start  node db          it is wanted and absent
    start  node web         `db` will be healthy
    --- stderr
    --- exit 0
    ");
}

#[test]
fn the_list_is_a_table_or_json_and_an_empty_one_says_what_to_do() {
    let daemon = Daemon::open();
    insta::assert_snapshot!(daemon.run(&["stand", "list"]).all(&daemon), @"
    STAND  PROJECT  KIND  STATE  NODES  ADDRESS  URL  AGE
    --- stderr
    there is no stand; `daas stand up` makes one of the compose file here
    --- exit 0
    ");
    daemon.platform.add_stand("shop");
    daemon.platform.add_stand("a-longer-name");
    insta::assert_snapshot!(daemon.run(&["stand", "ls"]).all(&daemon), @"
    STAND          PROJECT  KIND  STATE    NODES  ADDRESS     URL                             AGE
    a-longer-name  shop     test  running  2/2    127.64.0.1  http://a-longer-name.localhost  30 s
    shop           shop     test  running  2/2    127.64.0.1  http://shop.localhost           30 s
    --- stderr
    --- exit 0
    ");
    let json: serde_json::Value =
        serde_json::from_slice(&daemon.run(&["--json", "stand", "list"]).out).unwrap();
    assert_eq!(json[1]["name"], "shop");
}

#[test]
fn a_stand_is_shown_with_nodes_and_ports() {
    let daemon = Daemon::open();
    daemon.platform.add_stand("shop");
    insta::assert_snapshot!(daemon.run(&["stand", "show", "shop"]).all(&daemon), @"
    stand    shop
    project  shop
    kind     test
    state    running
    address  127.64.0.1
    age      30 s
    limits   2 CPUs, 2 GiB of memory, 2048 pids, 10 GiB of disk
    egress   none
    folder   /srv/shop
    url      http://shop.localhost

    NODE  STATUS   HEALTH   FOR   RESTARTS  ADDRESSES   IMAGE        WHY
    db    running  healthy  30 s  0         172.18.0.2  postgres:16
    web   running  -        30 s  0         172.18.0.3  nginx:1.27

    NODE  ANSWERS AT           PORT INSIDE
    web   http://127.64.0.1/   8080/tcp
    db    127.64.0.1:5432/tcp  5432/tcp
    --- stderr
    --- exit 0
    ");
    insta::assert_snapshot!(daemon.run(&["stand", "show", "nope"]).all(&daemon), @"
    --- stderr
    error[stand-not-found]: no stand `nope`
      hint: `daas stand list` tells which there are
    --- exit 3
    ");
    assert!(
        daemon
            .run(&["--color", "always", "stand", "show", "shop"])
            .out()
            .contains("\u{1b}[32mrunning\u{1b}[0m")
    );
}

#[test]
fn logs_of_several_nodes_bear_names_and_those_of_one_are_the_very_bytes() {
    let daemon = Daemon::open();
    daemon.platform.add_stand("shop");
    let all = daemon.run(&["stand", "logs", "shop", "--timestamps", "--escape"]);
    insta::assert_snapshot!(all.all(&daemon), @r"
    db  | 2026-01-01T00:00:00.000Z ready to accept connections
    web | 2026-01-01T00:00:00.001Z GET / 200
    web | 2026-01-01T00:00:00.002Z GET /favicon.ico 404
    web | 2026-01-01T00:00:00.003Z \xff\u{1b}[31mnot text\u{1b}[0m
    --- stderr
    --- exit 0
    ");
    assert_eq!(
        daemon.run(&["stand", "logs", "shop", "web"]).out,
        b"GET / 200\nGET /favicon.ico 404\n\xff\x1b[31mnot text\x1b[0m\n"
    );
    let prefixed = daemon.run(&["stand", "logs", "shop"]).out;
    assert!(
        prefixed.starts_with(b"db  | ready")
            && prefixed.ends_with(b"web | \xff\x1b[31mnot text\x1b[0m\n")
    );
    let lines = daemon
        .run(&["--json", "stand", "logs", "shop", "web"])
        .out();
    assert_eq!(lines.lines().count(), 3);
    assert!(lines.contains(r#"{"base64":"#));
}

#[test]
fn a_program_in_a_node_speaks_for_itself() {
    let daemon = Daemon::open();
    daemon.platform.add_stand("shop");
    let said = daemon.run(&[
        "stand", "exec", "--user", "www", "-e", "A=b", "shop/web", "say", "good", "bad",
    ]);
    assert_eq!(
        (said.code, said.out().as_str(), said.err.as_str()),
        (0, "good", "bad")
    );
    assert_eq!(
        daemon
            .run(&["stand", "exec", "shop/web", "--", "exit", "42"])
            .code,
        42
    );
    insta::assert_snapshot!(daemon.run(&["stand", "exec", "shop/web", "nonsense"]).all(&daemon), @"
    --- stderr
    error[exec-not-found]: cannot run `nonsense`: no such program
    --- exit 2
    ");
    insta::assert_snapshot!(daemon.run(&["stand", "exec", "shop", "ls"]).all(&daemon), @"
    --- stderr
    error[node-unnamed]: cannot choose a node of stand `shop`: it has 2
      hint: name one: `shop/db`, `shop/web`
    --- exit 2
    ");
    insta::assert_snapshot!(daemon.run(&["stand", "exec", "-it", "shop/web", "sh"]).all(&daemon), @"
    --- stderr
    error[exec-without-terminal]: cannot give the program a terminal: there is none here
      hint: leave `--tty` out
    --- exit 2
    ");
    assert_eq!(
        daemon.asked()[0],
        "exec shop/web [\"say\", \"good\", \"bad\"] user=Some(\"www\")"
    );
}

#[test]
fn stats_are_measured_over_a_second() {
    let daemon = Daemon::open();
    daemon.platform.add_stand("shop");
    insta::assert_snapshot!(daemon.run(&["stand", "stats", "shop"]).all(&daemon), @"
    NODE   CPU     MEMORY   LIMIT  PIDS    DISK R/W   NET IN/OUT  WAITS CPU/MEM/IO
    db     25.0 %  64 MiB   2 GiB  3/2048  0 B / 0 B  0 B / 0 B   -
    web    25.0 %  64 MiB   2 GiB  3/2048  0 B / 0 B  0 B / 0 B   -
    (all)  50.0 %  128 MiB  2 GiB  6/2048  0 B / 0 B  0 B / 0 B   -
    --- stderr
    --- exit 0
    ");
    assert_eq!(
        daemon
            .run(&["stand", "stats", "--follow", "--json", "shop"])
            .out()
            .lines()
            .count(),
        3
    );
}

#[test]
fn events_are_lines() {
    let daemon = Daemon::open();
    daemon.platform.add_stand("shop");
    insta::assert_snapshot!(daemon.run(&["stand", "events", "shop"]).all(&daemon), @"
    2026-01-01T00:00:00.001Z  shop/web  node-started  node `web` started
    2026-01-01T00:00:00.002Z  shop/web  node-oom  node `web` used up its memory of 64 MiB and was killed
    2026-01-01T00:00:00.003Z  shop/web  node-started  node `web` started
    --- stderr
    --- exit 0
    ");
}

#[test]
fn actions_and_scaling_are_carried_out_and_told() {
    let daemon = Daemon::open();
    daemon.platform.add_stand("shop");
    for words in [
        &["start", "shop", "web"][..],
        &["stop", "shop", "web"],
        &["restart", "shop", "web"],
        &["pause", "shop"],
        &["resume", "shop"],
    ] {
        let said = daemon.run(&[&["stand"], words].concat());
        assert!(
            said.code == 0 && said.err.contains("stand `shop` is "),
            "{said:?}"
        );
    }
    assert_eq!(
        daemon
            .run(&["stand", "scale", "shop", "web=3", "db=1"])
            .code,
        0
    );
    insta::assert_snapshot!(daemon.run(&["stand", "stop", "shop"]).all(&daemon), @"
    --- stderr
    shop: db stopping
    shop: web stopping
    shop: db stopped
    shop: web stopped
    stand `shop` is stopped (12 ms)
    --- exit 0
    ");
    assert_eq!(
        daemon.asked()[4..6],
        ["resume shop []", "scale shop db=1,web=3"]
    );
}

#[test]
fn down_takes_names_projects_or_all_and_nothing_by_mistake() {
    let daemon = Daemon::open();
    for stand in ["a", "b", "c"] {
        daemon.platform.add_stand(stand);
    }
    insta::assert_snapshot!(daemon.run(&["stand", "down", "--dry-run", "--all"]).all(&daemon), @"
    a
    b
    c
    --- stderr
    --- exit 0
    ");
    assert_eq!(daemon.run(&["stand", "down", "a", "nope"]).code, 3);
    assert!(daemon.asked().is_empty(), "one wrong name and nothing goes");
    insta::assert_snapshot!(daemon.run(&["--quiet", "stand", "down", "b", "b", "a"]).all(&daemon), @"
    --- stderr
    --- exit 0
    ");
    assert_eq!(daemon.run(&["stand", "down", "--project", "other"]).code, 0);
    assert_eq!(daemon.run(&["stand", "down", "--project", "shop"]).code, 0);
    assert_eq!(
        daemon.asked(),
        [
            "down a keep_volumes=false",
            "down b keep_volumes=false",
            "down c keep_volumes=false"
        ]
    );
}

#[test]
fn a_daemon_that_does_not_run_is_told_with_the_way_to_start_it() {
    let said = run(&["--socket", "/nowhere/daas.sock", "stand", "list"]);
    assert_eq!((said.code, said.out.len()), (7, 0));
    insta::assert_snapshot!(said.err, @"
    error[daemon-unreachable]: cannot reach the daemon at `/nowhere/daas.sock`
      caused by: No such file or directory (os error 2)
      hint: the daemon does not run: start it with `daas serve`, or keep it running with `daas system install`
    ");
    let json = run(&["--json", "--socket", "/nowhere/daas.sock", "stand", "list"]);
    assert_eq!(
        serde_json::from_str::<daas_api::Problem>(&json.err)
            .unwrap()
            .code,
        "daemon-unreachable"
    );
}
