//! What a file asks of the host: refused with line and reason, given only by a grant.

use crate::support::{codes, read, read_granted, service, spec, told};
use daas_model::{Grant, HostNamespaces, NetworkMode};

#[test]
fn what_asks_for_the_host_is_refused_with_the_command_that_grants_it() {
    let outcome = read(&service(
        "privileged: true\ncap_add: [NET_ADMIN, CHOWN, SYS_ADMIN]\ndevices: [/dev/ttyUSB0, '/dev/sda:/dev/xvda:r', /dev/null]\nvolumes:\n  - /etc/ssl:/ssl:ro\n  - ../sibling:/s\n  - ./sub/../../shop2:/t\nsysctls: {kernel.panic: 1, net.core.somaxconn: 4096, fs.mqueue.msg_max: 100}\nsecurity_opt: [seccomp:unconfined, 'no-new-privileges:false', no-new-privileges]\npid: host\nipc: host\nuts: host\nuserns_mode: host\ncgroup: host\nnetwork_mode: host",
    ));
    assert!(outcome.spec.is_none());
    insta::assert_snapshot!(told(&outcome), @"
    error[grant-missing]: service `s` asks to be privileged
      --> compose.yaml:4:17
      caused by: a privileged node is not filtered: it can reach the kernel of the host, and through it every stand
      hint: an administrator may allow it: `daas project grant shop privileged`
    error[grant-missing]: service `s` asks for the capability NET_ADMIN
      --> compose.yaml:5:15
      caused by: it is not among the rights that every node has
      hint: an administrator may allow it: `daas project grant shop capability:NET_ADMIN`
    error[grant-missing]: service `s` asks for the capability SYS_ADMIN
      --> compose.yaml:5:33
      caused by: it is not among the rights that every node has
      hint: an administrator may allow it: `daas project grant shop capability:SYS_ADMIN`
    error[grant-missing]: service `s` asks for the host's device `/dev/ttyUSB0`
      --> compose.yaml:6:15
      caused by: a device belongs to the host, and may reach all of it
      hint: an administrator may allow it: `daas project grant shop device:/dev/ttyUSB0`
    error[grant-missing]: service `s` asks for the host's device `/dev/sda`
      --> compose.yaml:6:29
      caused by: a device belongs to the host, and may reach all of it
      hint: an administrator may allow it: `daas project grant shop device:/dev/sda`
    error[grant-missing]: service `s` asks for the host's `/etc/ssl`
      --> compose.yaml:8:9
      caused by: it lies outside of the project's folder `/home/ann/shop`
      hint: an administrator may allow it: `daas project grant shop host-path:/etc/ssl`
    error[grant-missing]: service `s` asks for the host's `/home/ann/sibling`
      --> compose.yaml:9:9
      caused by: it lies outside of the project's folder `/home/ann/shop`
      hint: an administrator may allow it: `daas project grant shop host-path:/home/ann/sibling`
    error[grant-missing]: service `s` asks for the host's `/home/ann/shop2`
      --> compose.yaml:10:9
      caused by: it lies outside of the project's folder `/home/ann/shop`
      hint: an administrator may allow it: `daas project grant shop host-path:/home/ann/shop2`
    error[grant-missing]: service `s` asks for the sysctl `kernel.panic`
      --> compose.yaml:11:15
      caused by: it is the whole host's: namespaces have none of their own
      hint: an administrator may allow it: `daas project grant shop sysctl:kernel.panic`
    error[grant-missing]: service `s` asks for no filter of system calls
      --> compose.yaml:12:20
      caused by: the filter keeps a node from parts of the kernel that no application needs
      hint: an administrator may allow it: `daas project grant shop unconfined`
    error[grant-missing]: service `s` asks for programs that gain rights by setuid
      --> compose.yaml:12:40
      caused by: the filter keeps a node from parts of the kernel that no application needs
      hint: an administrator may allow it: `daas project grant shop unconfined`
    error[grant-missing]: service `s` asks for the host's pid namespace
      --> compose.yaml:13:10
      caused by: namespaces keep a node apart from the host and from other stands
      hint: an administrator may allow it: `daas project grant shop host-namespace:pid`
    error[grant-missing]: service `s` asks for the host's ipc namespace
      --> compose.yaml:14:10
      caused by: namespaces keep a node apart from the host and from other stands
      hint: an administrator may allow it: `daas project grant shop host-namespace:ipc`
    error[grant-missing]: service `s` asks for the host's uts namespace
      --> compose.yaml:15:10
      caused by: namespaces keep a node apart from the host and from other stands
      hint: an administrator may allow it: `daas project grant shop host-namespace:uts`
    error[grant-missing]: service `s` asks for the host's user namespace
      --> compose.yaml:16:18
      caused by: namespaces keep a node apart from the host and from other stands
      hint: an administrator may allow it: `daas project grant shop host-namespace:user`
    error[grant-missing]: service `s` asks for the host's cgroup namespace
      --> compose.yaml:17:13
      caused by: namespaces keep a node apart from the host and from other stands
      hint: an administrator may allow it: `daas project grant shop host-namespace:cgroup`
    error[grant-missing]: service `s` asks for the host's network
      --> compose.yaml:18:19
      caused by: a node on the host's network reaches everything that the host reaches, and other stands
      hint: an administrator may allow it: `daas project grant shop host-namespace:network`
    ");
}

#[test]
fn a_grant_gives_exactly_what_it_names() {
    let text = service(
        "privileged: true\ncap_add: [NET_ADMIN]\ndevices: ['/dev/sda:/dev/xvda:r']\nvolumes: ['/srv/data/x:/x', '/srv/data:/y']\nsysctls: {kernel.panic: 1}\nsecurity_opt: [seccomp:unconfined, 'no-new-privileges:false']",
    );
    let grants = [
        Grant::Privileged,
        Grant::Capability("NET_ADMIN".into()),
        Grant::Device("/dev/sda".into()),
        Grant::HostPath("/srv/data".into()),
        Grant::Sysctl("kernel.panic".into()),
        Grant::Unconfined,
    ];
    let outcome = read_granted(&text, &grants);
    let node = spec(&outcome).nodes.values().next().unwrap();
    assert!(node.privileged && node.seccomp_unconfined && node.new_privileges);
    assert_eq!(node.cap_add, ["NET_ADMIN"]);
    assert_eq!(
        (
            node.devices[0].host.as_str(),
            node.devices[0].target.as_str(),
            node.devices[0].permissions.as_str()
        ),
        ("/dev/sda", "/dev/xvda", "r")
    );
    assert_eq!(node.sysctls["kernel.panic"], "1");
    assert_eq!(node.mounts.len(), 2);
    // Every right that was granted is told with its line.
    assert_eq!(codes(&outcome), ["granted"; 8]);
    for missing in &grants {
        let others: Vec<Grant> = grants.iter().filter(|g| *g != missing).cloned().collect();
        let outcome = read_granted(&text, &others);
        assert!(outcome.spec.is_none(), "{missing}");
        assert!(
            told(&outcome).contains(&format!("daas project grant shop {missing}"))
                || matches!(missing, Grant::HostPath(_)),
            "{missing}"
        );
        assert!(
            codes(&outcome)
                .iter()
                .all(|c| matches!(*c, "grant-missing" | "granted")),
            "{missing}"
        );
    }
}

#[test]
fn a_granted_namespace_of_the_host_is_taken_and_told() {
    let granted = |key: &str, name: &str| {
        read_granted(
            &service(&format!("{key}: host")),
            &[Grant::HostNamespace(name.into())],
        )
    };
    let none = HostNamespaces::default();
    for (key, name, wanted) in [
        ("network_mode", "network", none),
        ("pid", "pid", HostNamespaces { pid: true, ..none }),
        ("ipc", "ipc", HostNamespaces { ipc: true, ..none }),
        ("uts", "uts", HostNamespaces { uts: true, ..none }),
        (
            "cgroup",
            "cgroup",
            HostNamespaces {
                cgroup: true,
                ..none
            },
        ),
    ] {
        let outcome = granted(key, name);
        assert_eq!(codes(&outcome), ["granted"], "{key}");
        let node = spec(&outcome).nodes.values().next().unwrap();
        assert_eq!(node.host, wanted, "{key}");
        assert_eq!(node.network == NetworkMode::Host, key == "network_mode");
    }
    let outcome = granted("userns_mode", "user");
    assert_eq!(codes(&outcome), ["granted", "host-namespace-not-yet"]);
    assert!(outcome.spec.is_none());
    insta::assert_snapshot!(told(&granted("pid", "pid")), @"
    note[granted]: service `s` asks for the host's pid namespace
      --> compose.yaml:4:10
      caused by: an administrator granted `host-namespace:pid` to project `shop`
    ");
}

#[test]
fn ports_and_sysctls_of_a_node_on_the_hosts_network_are_the_hosts() {
    let on_host = |keys: &str| {
        read_granted(
            &service(&format!("network_mode: host\n{keys}")),
            &[Grant::HostNamespace("network".into())],
        )
    };
    let outcome = on_host("ports: ['80:80']");
    let node = spec(&outcome).nodes.values().next().unwrap();
    assert!(node.ports.is_empty());
    assert_eq!(outcome.ignored.len(), 1);
    let outcome = on_host("sysctls: {net.core.somaxconn: 1024}");
    assert!(codes(&outcome).contains(&"sysctl-shared"));
}

#[test]
fn sockets_of_engines_and_the_platforms_own_state_are_never_granted() {
    let everything = [
        Grant::HostPath("/".into()),
        Grant::Privileged,
        Grant::Unconfined,
    ];
    for (path, code) in [
        ("/var/run/docker.sock", "host-socket"),
        ("/run/docker.sock", "host-socket"),
        ("/run/../var/run//docker.sock", "host-socket"),
        ("/run/podman/podman.sock", "host-socket"),
        ("/run/containerd/containerd.sock", "host-socket"),
        ("../../../var/run/docker.sock", "host-socket"),
        ("/", "host-path-forbidden"),
        ("/var", "host-path-forbidden"),
        ("/run", "host-path-forbidden"),
        ("/var/run", "host-path-forbidden"),
        ("/etc", "host-path-forbidden"),
        ("/var/lib/daas/stands", "host-path-forbidden"),
        ("/run/daas/daas.sock", "host-path-forbidden"),
        ("/var/run/daas", "host-path-forbidden"),
        ("../../..", "host-path-forbidden"),
    ] {
        for text in [
            service(&format!("volumes: ['{path}:/x']")),
            service(&format!(
                "volumes: [{{type: bind, source: '{path}', target: /x}}]"
            )),
            format!(
                "{}volumes: {{v: {{driver_opts: {{type: none, o: bind, device: '{path}'}}}}}}\n",
                service("volumes: ['v:/x']")
            ),
        ] {
            let outcome = read_granted(&text, &everything);
            assert!(outcome.spec.is_none(), "{text}");
            assert!(codes(&outcome).contains(&code), "{text}{}", told(&outcome));
        }
    }
    insta::assert_snapshot!(told(&read(&service("volumes: ['/var/run/docker.sock:/var/run/docker.sock:ro']"))), @"
    error[host-socket]: service `s` asks for the container engine's socket `/var/run/docker.sock`
      --> compose.yaml:4:15
      caused by: whoever speaks to it rules the whole host, and every other stand; no grant can limit that
      hint: leave the mount out; services that watch containers have nothing to watch here, and images are made with `daas image make`
    ");
}

#[test]
fn a_volume_that_is_a_folder_of_the_host_passes_the_same_door() {
    let text = format!(
        "{}volumes: {{v: {{driver_opts: {{type: none, o: bind, device: /srv/x}}}}}}\n",
        service("volumes: ['v:/x']")
    );
    assert_eq!(codes(&read(&text)), ["grant-missing"]);
    let outcome = read_granted(&text, &[Grant::HostPath("/srv".into())]);
    assert_eq!(codes(&outcome), ["granted"], "{}", told(&outcome));
    let inside = text.replace("/srv/x", "./data");
    assert!(read(&inside).spec.is_some());
}

#[test]
fn binds_below_the_projects_folder_need_no_grant() {
    let outcome = read(&service(
        "volumes: ['.:/a', './x:/b', './y/../z:/c', '/home/ann/shop/q:/d', './docker.sock:/e']",
    ));
    assert_eq!(told(&outcome), "");
    let node = spec(&outcome).nodes.values().next().unwrap();
    let paths: Vec<String> = node
        .mounts
        .iter()
        .map(|m| {
            serde_json::to_value(&m.source).unwrap()["bind"]["path"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(
        paths,
        [
            "/home/ann/shop",
            "/home/ann/shop/x",
            "/home/ann/shop/z",
            "/home/ann/shop/q",
            "/home/ann/shop/docker.sock"
        ]
    );
}

#[test]
fn a_project_in_the_root_folder_owns_nothing_of_the_host() {
    let request = daas_spec::ProjectRequest {
        dir: "/".into(),
        project_name: Some("shop".into()),
        ..Default::default()
    };
    let files = [(
        "/compose.yaml".to_owned(),
        service("volumes: ['./home:/a']").into_bytes(),
    )]
    .into();
    let files: std::collections::BTreeMap<String, Vec<u8>> = files;
    assert_eq!(
        codes(&daas_spec::read_project(&files, &request)),
        ["grant-missing"]
    );
}

#[test]
fn a_build_on_the_network_of_the_host_needs_the_grant_of_a_node_there() {
    let file = service("build: {context: ., network: host}");
    let outcome = read(&file);
    assert!(outcome.spec.is_none());
    insta::assert_snapshot!(told(&outcome), @"
    error[grant-missing]: the build of service `s` asks for the host's network
      --> compose.yaml:4:34
      caused by: a command on the host's network reaches everything that the host reaches, and other stands
      hint: an administrator may allow it: `daas project grant shop host-namespace:network`
    ");
    let outcome = read_granted(&file, &[Grant::HostNamespace("network".into())]);
    assert_eq!(codes(&outcome), ["granted"]);
    assert_eq!(outcome.builds[0].network.as_deref(), Some("host"));
}
