//! What a second `up` brings to a stand that runs.
#![allow(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

use crate::edge::eventually;
use crate::trials::program;
use crate::words::said_in;
use std::net::{Ipv4Addr, TcpListener};
use xtask::trials::Bed;

/// A stand whose one node reads a config and a secret, and whose other node neither.
fn services(setting: &str, password: &str) -> String {
    format!(
        "  reader:\n    image: trial:latest\n    stop_signal: SIGKILL\n    command: [/bin/busybox, sleep, '1000']\n    configs: [{{source: setting, target: /etc/setting}}]\n    secrets: [password]\n  other:\n    image: trial:latest\n    command: [/bin/busybox, sleep, '1000']\nconfigs:\n  setting: {{content: '{setting}'}}\nsecrets:\n  password: {{content: '{password}'}}\n"
    )
}

fn pid(bed: &Bed, node: &str) -> u64 {
    pid_in(bed, "changed", node)
}

fn pid_in(bed: &Bed, stand: &str, node: &str) -> u64 {
    eventually("the node runs", || {
        let view = bed.api().get(&format!("/stands/{stand}")).unwrap();
        let nodes = view["nodes"].as_array().unwrap();
        nodes.iter().find(|n| n["name"] == node)?["pid"].as_u64()
    })
}

#[test]
fn root_new_contents_of_configs_and_secrets_reach_who_reads_them_and_nobody_else() {
    let bed = Bed::new(program()).unwrap();
    let read = || {
        let both = [
            "/bin/busybox",
            "cat",
            "/etc/setting",
            "/run/secrets/password",
        ];
        let ran = bed.api().exec("changed", "reader", &both).unwrap();
        assert_eq!(ran.code, 0, "{ran:?}");
        String::from_utf8(ran.out).unwrap()
    };
    let up = |setting, password| {
        let project = bed.project(&services(setting, password));
        bed.api().up("changed", &project, 0).unwrap();
    };
    up("colour=red;", "first");
    assert_eq!(read(), "colour=red;first");
    let (reader, other) = (pid(&bed, "reader"), pid(&bed, "other"));
    up("colour=blue;", "first");
    assert_eq!(read(), "colour=blue;first");
    let newer = pid(&bed, "reader");
    assert_ne!(newer, reader);
    up("colour=blue;", "second");
    assert_eq!(read(), "colour=blue;second");
    assert_ne!(pid(&bed, "reader"), newer);
    assert_eq!(pid(&bed, "other"), other);
    // What has not changed starts nobody again.
    let last = pid(&bed, "reader");
    up("colour=blue;", "second");
    assert_eq!(pid(&bed, "reader"), last);
    bed.api().down("changed").unwrap();
    bed.nothing_is_left().unwrap();
}

#[test]
fn root_a_node_with_commands_after_its_start_comes_up_and_who_waits_for_it() {
    let bed = Bed::new(program()).unwrap();
    let project = bed.project(
        "  base:\n    image: trial:latest\n    command: [/bin/busybox, sleep, '1000']\n    post_start:\n      - command: [/bin/busybox, touch, /one]\n      - command: [/bin/busybox, touch, /two]\n  next:\n    image: trial:latest\n    command: [/bin/busybox, sleep, '1000']\n    depends_on: [base]\n",
    );
    bed.api().up("hooked", &project, 0).unwrap();
    let both = ["/bin/busybox", "ls", "/one", "/two"];
    let ran = bed.api().exec("hooked", "base", &both).unwrap();
    assert_eq!(ran.code, 0, "{ran:?}");
    let here = ["/bin/busybox", "true"];
    assert_eq!(bed.api().exec("hooked", "next", &here).unwrap().code, 0);
    bed.api().down("hooked").unwrap();
    bed.nothing_is_left().unwrap();
}

/// A service on a volume that says good-bye when it is asked to end.
fn polite(disk: &str, subnet: &str) -> String {
    let last = "trap 'date >> /data/byes; exit 0' TERM; sleep 1000 & wait";
    format!(
        "  one:\n    image: trial:latest\n    command: [/bin/busybox, sh, -c, \"{last}\"]\n    volumes: ['data:/data']\nvolumes: {{data: }}\nnetworks: {{default: {{ipam: {{config: [{{subnet: {subnet}}}]}}}}}}\nx-daas: {{limits: {{disk: {disk}}}}}\n"
    )
}

#[test]
fn root_what_is_beneath_all_nodes_changes_behind_their_gentle_end_and_is_planned_so() {
    let bed = Bed::new(program()).unwrap();
    let api = bed.api();
    let in_one = |words: &str| {
        let words = ["/bin/busybox", "sh", "-c", words];
        let ran = api.exec("changed", "one", &words).unwrap();
        String::from_utf8(ran.out).unwrap()
    };
    let plan = |project: &xtask::house::Project| {
        let request = serde_json::json!({"project": project.source(), "name": "changed"});
        api.post("/stands/plan", &request).unwrap().to_string()
    };
    let up = |disk, subnet| {
        let project = bed.project(&polite(disk, subnet));
        let planned = plan(&project);
        api.up("changed", &project, 0).map(|()| planned)
    };
    up("64m", "10.77.0.0/24").unwrap();
    let large = "df -k /data | awk 'NR > 1 {print ($2 > 150000)}'";
    assert_eq!(in_one(large), "0\n");
    for (disk, subnet, why) in [
        ("64m", "10.78.0.0/24", "network default changes"),
        ("200m", "10.78.0.0/24", "the disk grows from"),
    ] {
        let planned = up(disk, subnet).unwrap();
        assert!(planned.contains(why), "{planned}");
    }
    assert_eq!(in_one("cat /data/byes | wc -l"), "2\n");
    assert_eq!(in_one(large), "1\n");
    assert!(in_one("ip addr").contains("10.78.0."));
    let before = pid(&bed, "one");
    let smaller = bed.project(&polite("64m", "10.78.0.0/24"));
    let refused = api.up("changed", &smaller, 0).unwrap_err();
    assert!(
        format!("{refused:#}").contains("disk-shrinks"),
        "{refused:#}"
    );
    let other = bed.project(&(polite("200m", "10.78.0.0/24") + "name: other\n"));
    let refused = api.up("changed", &other, 0).unwrap_err();
    let refused = format!("{refused:#}");
    assert!(refused.contains("stand-of-another-project"), "{refused}");
    assert_eq!(pid(&bed, "one"), before);
    api.down("changed").unwrap();
    bed.nothing_is_left().unwrap();
}

#[test]
fn root_a_node_that_takes_anothers_place_has_its_anonymous_volumes() {
    let bed = Bed::new(program()).unwrap();
    let services = |more: &str, word: &str| {
        bed.project(&format!(
            "  one:\n    image: trial:latest\n    command: [/bin/busybox, sleep, '1000']\n    environment: {{A: '{word}'}}\n    volumes: [{more}/data]\n"
        ))
    };
    let run = |words: &str| {
        let words = ["/bin/busybox", "sh", "-c", words];
        let ran = bed.api().exec("kept", "one", &words).unwrap();
        String::from_utf8(ran.out).unwrap()
    };
    bed.api().up("kept", &services("", "1"), 0).unwrap();
    run("echo mine > /data/file");
    // One that comes before it in the file is not taken for it.
    bed.api()
        .up("kept", &services("/another, ", "2"), 0)
        .unwrap();
    assert_eq!(run("echo $A; cat /data/file; ls /another"), "2\nmine\n");
    bed.api().down("kept").unwrap();
    bed.nothing_is_left().unwrap();
}

#[test]
fn root_a_published_port_that_a_program_of_the_host_has_is_told_once_and_opens_later() {
    let bed = Bed::new(program()).unwrap();
    let other = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let port = other.local_addr().unwrap().port();
    let project = bed.project(&format!(
        "  one:\n    image: trial:latest\n    command: [/bin/busybox, nc, -l, -p, '80', -e, /bin/busybox, echo, hello]\n    ports: ['{port}:80']\n"
    ));
    bed.api().up("taken", &project, 0).unwrap();
    let told = || {
        let events = bed.event_views("taken").unwrap();
        let of_port = events.into_iter().filter(|e| e["code"] == "port-taken");
        of_port.collect::<Vec<_>>()
    };
    eventually("the event", || (!told().is_empty()).then_some(()));
    let text = told()[0]["message"].to_string();
    assert!(text.contains(&format!(":{port}/tcp")), "{text}");
    let address = bed.address("taken").unwrap();
    drop(other);
    eventually("the port", || {
        std::net::TcpStream::connect((address, port)).ok()
    });
    assert_eq!(told().len(), 1);
    bed.api().down("taken").unwrap();
    bed.nothing_is_left().unwrap();
}

#[test]
fn root_who_asked_for_it_starts_again_with_a_node_that_a_person_restarts() {
    let bed = Bed::new(program()).unwrap();
    let sleeps =
        "image: trial:latest, stop_signal: SIGKILL, command: [/bin/busybox, sleep, '1000']";
    let project = bed.project(&format!(
        "  base: {{{sleeps}}}\n  user: {{{sleeps}, depends_on: {{base: {{condition: service_started, restart: true}}}}}}\n  other: {{{sleeps}, depends_on: [base]}}\n"
    ));
    let api = bed.api();
    api.up("again", &project, 0).unwrap();
    let pids = || ["base", "user", "other"].map(|node| pid_in(&bed, "again", node));
    let [base, user, other] = pids();
    let nodes = serde_json::json!({"nodes": ["base"]});
    let accepted = api.post("/stands/again/restart", &nodes).unwrap();
    api.wait_all(&accepted).unwrap();
    let [new_base, new_user, same] = pids();
    assert!(new_base != base && new_user != user && same == other);
    // What is paused takes no program in, and says so as what it is; what is stopped cannot be paused.
    let verb = |verb: &str| api.post(&format!("/stands/again/{verb}"), &serde_json::json!({}));
    api.wait_all(&verb("pause").unwrap()).unwrap();
    let refused = api
        .exec("again", "base", &["/bin/busybox", "true"])
        .unwrap_err();
    assert!(
        format!("{refused:#}").contains("node-paused"),
        "{refused:#}"
    );
    api.wait_all(&verb("resume").unwrap()).unwrap();
    api.wait_all(&verb("stop").unwrap()).unwrap();
    assert!(format!("{:#}", verb("pause").unwrap_err()).contains("stand-stopped"));
    api.down("again").unwrap();
    bed.nothing_is_left().unwrap();
}

#[test]
fn root_a_plan_says_of_nodes_and_volumes_what_an_up_makes_of_them() {
    let bed = Bed::new(program()).unwrap();
    let folder = tempfile::tempdir_in(bed.daemon.place()).unwrap();
    let write = |volumes: &str| {
        let node =
            "image: trial:latest, stop_signal: SIGKILL, command: [/bin/busybox, sleep, '1000']";
        let text = format!("name: planned\nservices:\n  one: {{{node}{volumes}}}\n");
        let text = text
            + if volumes.is_empty() {
                ""
            } else {
                "volumes: {data: }\n"
            };
        std::fs::write(folder.path().join("compose.yaml"), text).unwrap();
    };
    let say = |words: &[&str]| {
        let (code, text) = said_in(&bed, folder.path(), words);
        assert_eq!(code, 0, "{text}");
        text
    };
    let with = ", volumes: ['data:/data']";
    write(with);
    let first = say(&["stand", "plan"]);
    assert!(first.contains("it is empty at first\n"), "{first}");
    say(&["stand", "up"]);
    let (kept, anew) = (
        say(&["stand", "plan"]),
        say(&["stand", "plan", "--recreate"]),
    );
    assert!(kept.contains("it is as wanted"), "{kept}");
    assert!(
        anew.contains("made anew") && !anew.contains("as wanted"),
        "{anew}"
    );
    write("");
    say(&["stand", "up"]);
    write(with);
    let again = say(&["stand", "plan"]);
    assert!(again.contains("earlier one of this name"), "{again}");
    say(&["stand", "down", "planned"]);
}

#[test]
fn root_a_user_that_is_absent_is_told_with_its_node_and_keeps_nobody_else_from_starting() {
    let bed = Bed::new(program()).unwrap();
    let folder = tempfile::tempdir_in(bed.daemon.place()).unwrap();
    let node = "image: trial:latest, stop_signal: SIGKILL, command: [/bin/busybox, sleep, '1000']";
    let text = format!(
        "name: changed\nservices:\n  bad: {{{node}, user: nobody-knows}}\n  good: {{{node}}}\n"
    );
    std::fs::write(folder.path().join("compose.yaml"), text).unwrap();
    let (code, text) = said_in(&bed, folder.path(), &["stand", "up"]);
    assert_ne!(code, 0, "{text}");
    for words in ["the user of node bad", "nobody-knows", "hint: "] {
        assert!(text.contains(words), "{text}");
    }
    assert!(pid(&bed, "good") > 0);
    bed.api().down("changed").unwrap();
}

#[test]
fn root_who_asks_for_one_node_asks_nothing_of_another_that_has_failed() {
    let bed = Bed::new(program()).unwrap();
    let folder = tempfile::tempdir_in(bed.daemon.place()).unwrap();
    let node = "image: trial:latest, stop_signal: SIGKILL";
    let text = format!(
        "name: changed\nservices:\n  bad: {{{node}, command: [/bin/busybox, sh, -c, 'echo tried; exit 3']}}\n  good: {{{node}, command: [/bin/busybox, sleep, '1000']}}\n"
    );
    std::fs::write(folder.path().join("compose.yaml"), text).unwrap();
    let say = |words: &[&str]| said_in(&bed, folder.path(), words);
    let runs = || {
        let (_, log) = say(&["stand", "logs", "changed", "bad"]);
        log.matches("tried").count()
    };
    let is_over = |count| {
        eventually("the node that fails has ended", || {
            let view = bed.api().get("/stands/changed").unwrap();
            let over = view["nodes"][0]["pid"].is_null() && runs() == count;
            over.then_some(())
        });
    };
    say(&["stand", "up"]);
    is_over(1);
    let first = pid(&bed, "good");
    for verb in ["restart", "stop", "start"] {
        let (code, text) = say(&["stand", verb, "changed", "good"]);
        assert_eq!((code, runs()), (0, 1), "{verb}: {text}");
    }
    assert_ne!(pid(&bed, "good"), first);
    // Whoever asks for it, or for all, gets it tried again.
    say(&["stand", "start", "changed", "bad"]);
    is_over(2);
    say(&["stand", "restart", "changed"]);
    is_over(3);
    bed.api().down("changed").unwrap();
}
