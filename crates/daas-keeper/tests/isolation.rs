//! What a node can see and reach.
#![allow(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

mod support;

use daas_keeper::launch::{MountLaunch, MountLaunchSource, NetworkLaunch, SeccompLaunch};
use daas_keeper::protocol::{Request, Response};
use std::fs;
use std::os::unix::fs::symlink;
use support::{Machine, node_name, on_network, shell};

#[test]
fn root_a_node_has_three_descriptors_its_declared_environment_and_a_folder_inside() {
    let machine = Machine::new();
    let keeper = machine.keeper("s2");
    keeper.adopt();
    let mut node = shell(
        &machine,
        "web",
        "ls -l /proc/self/fd | sed 's/.* //'; echo --; cat /proc/1/environ | tr '\\0' '\\n'; echo --; pwd; readlink /proc/1/cwd",
    );
    node.env.push("DECLARED=yes".to_owned());
    node.cwd = "/made/if/missing".to_owned();
    // The list is made by `ls`, whose own directory handle is the fourth.
    let (code, log) = keeper.run(node);
    assert_eq!(code, 0, "{log}");
    let parts: Vec<&str> = log.split("--\n").collect();
    let fds: Vec<&str> = parts[0]
        .lines()
        .filter(|l| !l.is_empty() && *l != "0" && !l.starts_with("ls:"))
        .collect();
    assert_eq!(fds.len(), 4, "{fds:?}");
    assert_eq!(fds[0], "/dev/null");
    assert!(
        fds[1].starts_with("pipe:") && fds[2].starts_with("pipe:") && fds[3] == "3",
        "{fds:?}"
    );
    let mut env: Vec<&str> = parts[1].lines().collect();
    env.sort_unstable();
    assert_eq!(
        env,
        [
            "DECLARED=yes",
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        ]
    );
    assert_eq!(parts[2], "/made/if/missing\n/made/if/missing\n");
    keeper.destroy();
}

#[test]
fn root_rights_are_dockers_defaults_inside_a_user_namespace() {
    let machine = Machine::new();
    let keeper = machine.keeper("rights");
    keeper.adopt();
    let look = "grep -E '^(Cap|NoNewPrivs|Seccomp):|^Cap' /proc/self/status; cat /proc/self/uid_map /proc/self/gid_map; mount -t tmpfs x /tmp; echo mount $?; unshare -U true; echo unshare $?; cat /proc/kcore | wc -c; echo x > /proc/sys/kernel/shmmax; echo sys $?; mknod /tmp/d c 1 3; echo mknod $?; touch /proc/sysrq-trigger; echo h > /proc/sysrq-trigger; echo sysrq $?; ls /sys/firmware | wc -l; id -u; ls -ldn / /bin | awk '{print $3,$4}'; readlink /proc/self/ns/user";
    let (_, log) = keeper.run(shell(&machine, "web", look));
    for line in [
        "CapEff:\t00000000a00425fb",
        "CapBnd:\t00000000a00425fb",
        "CapInh:\t0000000000000000",
        "CapAmb:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
    ] {
        assert!(log.contains(line), "{line}: {log}");
    }
    let map = format!("{:>10} {:>10} {:>10}", 0, keeper.seed.uid_base, 65_536);
    assert_eq!(log.matches(&map).count(), 2, "{log}");
    assert!(
        log.contains("mount 1")
            && log.contains("unshare 1")
            && log.contains("sys 1")
            && log.contains("mknod 1")
            && log.contains("sysrq 1"),
        "{log}"
    );
    assert!(
        log.contains("\n0\n0\n0 0\n0 0\n"),
        "kcore is empty, firmware is empty, uid 0, image files belong to root: {log}"
    );
    let mine = fs::read_link("/proc/self/ns/user").unwrap();
    assert!(!log.contains(mine.to_str().unwrap()), "{log}");

    let mut plain = shell(
        &machine,
        "www",
        "grep -E '^Cap(Eff|Prm|Bnd):' /proc/self/status; id; echo to stdout > /dev/stdout; echo to stderr > /proc/self/fd/2",
    );
    (plain.uid, plain.gid, plain.groups) = (33, 33, vec![44]);
    let (code, log) = keeper.run(plain);
    assert_eq!(code, 0, "{log}");
    assert!(
        log.contains("CapEff:\t0000000000000000")
            && log.contains("CapPrm:\t0000000000000000")
            && log.contains("uid=33(www) gid=33(www) groups=44"),
        "{log}"
    );
    assert!(
        log.contains("to stdout") && log.contains("to stderr"),
        "{log}"
    );
    keeper.destroy();
}

#[test]
fn root_ids_that_do_not_exist_inside_are_refused() {
    let machine = Machine::new();
    let keeper = machine.keeper("ids");
    keeper.adopt();
    for (uid, gid, groups) in [
        (65_536, 0, vec![]),
        (0, u32::MAX, vec![]),
        (0, 0, vec![70_000]),
    ] {
        let mut node = shell(&machine, "web", "true");
        (node.uid, node.gid, node.groups) = (uid, gid, groups);
        assert!(keeper.start_failing(node).contains("cannot run as"));
    }
    keeper.destroy();
}

#[test]
fn root_images_with_links_at_system_folders_are_refused_and_the_host_is_unchanged() {
    let machine = Machine::new();
    let keeper = machine.keeper("s1");
    keeper.adopt();
    let victim = machine.dir.path().join("victim");
    fs::create_dir(&victim).unwrap();
    for (n, (folder, target)) in [
        ("dev", victim.to_str().unwrap()),
        ("proc", "/etc"),
        ("sys", "tmp"),
        ("dev", "../../../../../../../../../tmp"),
    ]
    .into_iter()
    .enumerate()
    {
        let layer = machine.dir.path().join(format!("hostile-{n}"));
        fs::create_dir_all(layer.join("bin")).unwrap();
        symlink(target, layer.join(folder)).unwrap();
        let mut node = shell(&machine, &format!("hostile-{n}"), "true");
        // Above busybox: the link hides the folder.
        node.lowers.insert(0, layer);
        let why = keeper.start_failing(node);
        assert!(
            why.contains(&format!("its /{folder} is no plain folder")),
            "{why}"
        );
    }
    let file = machine.dir.path().join("file-at-proc");
    fs::create_dir_all(&file).unwrap();
    fs::write(file.join("proc"), "x").unwrap();
    let mut node = shell(&machine, "file", "true");
    node.lowers.insert(0, file);
    assert!(
        keeper
            .start_failing(node)
            .contains("its /proc is no plain folder")
    );
    assert_eq!(fs::read_dir(&victim).unwrap().count(), 0);
    keeper.destroy();
}

#[test]
fn root_mount_targets_through_links_of_the_image_stay_inside() {
    let machine = Machine::new();
    let keeper = machine.keeper("targets");
    let mut stand = keeper.stand();
    stand.volumes = vec![daas_model::VolumeName::parse("data").unwrap()];
    keeper.ask(Request::Adopt(stand));
    let victim = machine.dir.path().join("victim");
    fs::create_dir(&victim).unwrap();
    let layer = machine.dir.path().join("links");
    fs::create_dir_all(layer.join("run")).unwrap();
    fs::create_dir_all(layer.join("deep")).unwrap();
    symlink("/run", layer.join("var-run")).unwrap();
    symlink(&victim, layer.join("out")).unwrap();
    symlink("../../../../../../../../etc", layer.join("deep/up")).unwrap();
    symlink("/proc/sys", layer.join("into-proc")).unwrap();
    let volume = |target: &str| MountLaunch {
        source: MountLaunchSource::Volume {
            name: daas_model::VolumeName::parse("data").unwrap(),
            subpath: None,
            copy_up: false,
        },
        target: target.to_owned(),
        read_only: false,
    };
    let mut node = shell(
        &machine,
        "good",
        "echo x > /run/app/file && cat /run/app/file; ls -d /etc/made",
    );
    node.lowers.insert(0, layer.clone());
    node.mounts = vec![volume("/var-run/app"), volume("/deep/up/made")];
    let (code, log) = keeper.run(node);
    assert_eq!((code, log.as_str()), (0, "x\n/etc/made\n"));
    assert!(
        !std::path::Path::new("/etc/made").exists() && !std::path::Path::new("/run/app").exists()
    );
    let mut node = shell(&machine, "out", "true");
    node.lowers.insert(0, layer.clone());
    node.mounts = vec![volume("/out/x")];
    let why = keeper.start_failing(node);
    assert!(why.contains("/out is a link to nothing"), "{why}");
    assert_eq!(fs::read_dir(&victim).unwrap().count(), 0);
    for target in [
        "/into-proc",
        "/proc/self",
        "/sys/kernel",
        "/a/../b",
        "relative",
        "/",
        "/proc/sys/kernel",
    ] {
        let mut node = shell(&machine, "bad", "true");
        node.lowers.insert(0, layer.clone());
        node.mounts = vec![volume(target)];
        let why = keeper.start_failing(node);
        assert!(
            why.contains("cannot mount at") || why.contains("cannot make the mount target"),
            "{target}: {why}"
        );
        keeper.ask(Request::Remove {
            node: node_name("bad"),
            keep_volumes: false,
        });
    }
    keeper.destroy();
}

#[test]
fn root_two_stands_have_equal_addresses_and_do_not_reach_each_other() {
    let machine = Machine::new();
    let serve =
        |word: &str| format!("echo {word} > /var/www/index.html; exec httpd -f -p 80 -h /var/www");
    let (a, b) = (machine.keeper("alpha"), machine.keeper("beta"));
    for keeper in [&a, &b] {
        keeper.adopt();
        keeper.start(vec![on_network(
            shell(&machine, "web", &serve(keeper.id.as_str())),
            2,
        )]);
        keeper.start(vec![on_network(shell(&machine, "client", "until timeout 5 wget -qO- http://10.0.0.2/; do sleep 0.05; done; timeout 5 wget -qO- http://web.alpha.test/; timeout 5 wget -qO- http://web.beta.test/; true"), 3)]);
    }
    for keeper in [&a, &b] {
        assert_eq!(keeper.exit_code("client"), 0);
        let log = keeper.log("client");
        assert!(log.starts_with(&format!("{}\n", keeper.id)), "{log}");
        let other = if keeper.id.as_str() == "alpha" {
            "beta"
        } else {
            "alpha"
        };
        assert!(!log.contains(&format!("{other}\n")), "{log}");
    }
    // One namespace, as the daemon's dialer does it: both answer at 10.0.0.2.
    for keeper in [&a, &b] {
        let Response::Hello(hello) = keeper.ask(Request::Hello { version: 1 }) else {
            panic!()
        };
        let net = daas_sys::netns::of_process(hello.pid).unwrap();
        let dialer = daas_sys::netns::Dialer::start().unwrap();
        let mut stream = dialer
            .dial_and_wait(net, || std::net::TcpStream::connect("10.0.0.2:80"))
            .unwrap();
        use std::io::{Read, Write};
        stream
            .write_all(b"GET /index.html HTTP/1.0\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with(&format!("{}\n", keeper.id)), "{answer}");
    }
    // Nothing of the host answers: no route leads out.
    let mut node = on_network(
        shell(
            &machine,
            "out",
            "ip route; timeout 5 wget -qO- http://192.0.2.1/; echo $?",
        ),
        9,
    );
    node.env.push("x=y".into());
    let (_, log) = a.run(node);
    assert!(
        !log.contains("default") && log.contains("Network is unreachable"),
        "{log}"
    );
    a.destroy();
    b.destroy();
}

#[test]
fn root_layers_merge_from_the_top_and_sixty_of_them_are_no_trouble() {
    let machine = Machine::new();
    let keeper = machine.keeper("layers");
    keeper.adopt();
    let mut lowers = Vec::new();
    for n in 0..60 {
        let layer = machine.dir.path().join(format!(
            "a-layer-with-a-rather-long-name-as-digests-are-{n:064}"
        ));
        fs::create_dir_all(layer.join("l")).unwrap();
        fs::write(layer.join("l").join(format!("{n}")), n.to_string()).unwrap();
        fs::write(layer.join("who"), n.to_string()).unwrap();
        lowers.push(layer);
    }
    // A whiteout in the top layer hides a file of the bottom one.
    rustix_mknod(&lowers[0].join("l/59"));
    lowers.push(machine.busybox());
    let mut node = shell(
        &machine,
        "many",
        "cat /who; ls /l | wc -l; touch /l/new; ls /l/59; ls -ldn /l/7 | awk '{print $3}'",
    );
    node.lowers = lowers;
    let (_, log) = keeper.run(node);
    assert!(
        log.starts_with("059\n") && log.contains("No such file") && log.ends_with("0\n"),
        "{log}"
    );
    keeper.destroy();
}

fn rustix_mknod(path: &std::path::Path) {
    let status = std::process::Command::new("mknod")
        .arg(path)
        .args(["c", "0", "0"])
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
fn root_a_node_without_network_has_loopback_only_and_one_may_share_anothers() {
    let machine = Machine::new();
    let keeper = machine.keeper("net");
    keeper.adopt();
    let mut alone = shell(
        &machine,
        "alone",
        "ip -o link | wc -l; ping -c1 -W1 127.0.0.1 > /dev/null; echo $?",
    );
    alone.network = NetworkLaunch::None;
    assert_eq!(keeper.run(alone), (0, "1\n0\n".to_owned()));
    keeper.start(vec![on_network(
        shell(&machine, "web", "exec httpd -f -p 127.0.0.1:80 -h /etc"),
        2,
    )]);
    let mut side = shell(
        &machine,
        "side",
        "until wget -qO- http://127.0.0.1/passwd | head -1; do sleep 0.05; done; ip -o addr | grep -c 10.0.0.2; nslookup web 127.0.0.11 | grep -c 10.0.0.2",
    );
    side.network = NetworkLaunch::ShareWith(node_name("web"));
    let (code, log) = keeper.run(side);
    assert_eq!(
        (code, log.as_str()),
        (0, "root:x:0:0:root:/root:/bin/sh\n1\n1\n")
    );
    let mut orphan = shell(&machine, "orphan", "true");
    orphan.network = NetworkLaunch::ShareWith(node_name("nobody"));
    assert!(
        keeper
            .start_failing(orphan)
            .contains("there is no node nobody")
    );
    keeper.destroy();
}

#[test]
fn root_sysctls_of_own_namespaces_are_set_and_those_of_the_host_refused() {
    let machine = Machine::new();
    let keeper = machine.keeper("sysctl");
    keeper.adopt();
    let mut node = on_network(
        shell(
            &machine,
            "web",
            "cat /proc/sys/net/ipv4/tcp_keepalive_time /proc/sys/kernel/shmmni /proc/sys/net/ipv4/ip_unprivileged_port_start",
        ),
        2,
    );
    for (name, value) in [
        ("net.ipv4.tcp_keepalive_time", "1234"),
        ("kernel.shmmni", "77"),
        ("net.ipv4.ip_unprivileged_port_start", "80"),
    ] {
        node.sysctls.insert(name.into(), value.into());
    }
    let host = fs::read_to_string("/proc/sys/kernel/shmmni").unwrap();
    assert_eq!(keeper.run(node), (0, "1234\n77\n80\n".to_owned()));
    assert_eq!(fs::read_to_string("/proc/sys/kernel/shmmni").unwrap(), host);
    // Where the kernel hides it from user namespaces, it has at least this.
    let mut node = shell(
        &machine,
        "redis",
        "cat /proc/sys/net/core/somaxconn || echo 1024",
    );
    node.sysctls
        .insert("net.core.somaxconn".into(), "1024".into());
    let (code, log) = keeper.run(node);
    assert!(code == 0 && log.ends_with("1024\n"), "{log}");
    let mut node = shell(&machine, "bad", "true");
    node.sysctls
        .insert("kernel.core_pattern".into(), "|/bin/sh".into());
    assert!(
        keeper
            .start_failing(node)
            .contains("cannot set sysctl kernel.core_pattern")
    );
    keeper.destroy();
}

#[test]
fn root_without_a_filter_and_masks_only_when_told() {
    let machine = Machine::new();
    let keeper = machine.keeper("loose");
    keeper.adopt();
    let mut node = shell(
        &machine,
        "web",
        "grep -E '^(Seccomp|NoNewPrivs):' /proc/self/status; mount -t tmpfs x /tmp && echo mounted; hostname changed && hostname",
    );
    node.rights.seccomp = SeccompLaunch::Unconfined;
    node.rights.masks = false;
    node.rights.no_new_privs = false;
    node.rights.caps = daas_sys::caps::ALL;
    let (code, log) = keeper.run(node);
    assert_eq!(code, 0, "{log}");
    assert!(
        log.contains("Seccomp:\t0")
            && log.contains("NoNewPrivs:\t0")
            && log.contains("mounted")
            && log.contains("changed"),
        "{log}"
    );
    keeper.destroy();
}
