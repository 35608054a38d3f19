//! Both forms of every list and map, and values that YAML 1.1 would bend.

use crate::support::{codes, node, read, service, short, spec, told};
use daas_model::{HealthTest, NetworkMode, NodeName, RestartPolicy};

/// Returns what service `s` has beyond defaults.
fn short_node(lines: &str) -> serde_json::Value {
    let outcome = read(&service(lines));
    let mut value = short(spec(&outcome));
    value["nodes"]["s"].take()
}

#[test]
fn words_that_look_like_booleans_and_numbers_stay_what_they_are() {
    let node = node(
        &service(
            "environment: {A: no, B: on, C: 0x10, D: 1_000, E: 1.10, F: null, G: ~, H: '', I: 22:22, J: 2026-01-01, K: !!str 5, L: 'null'}\nports: [22:22, 3306:3306]\ncommand: [echo, yes, 010, off]\nrestart: no\nhostname: 0123",
        ),
        "s",
    );
    let value = |name: &str| node.environment[name].as_deref();
    for (name, wanted) in [
        ("A", Some("no")),
        ("B", Some("on")),
        ("C", Some("0x10")),
        ("D", Some("1_000")),
        ("E", Some("1.10")),
        ("F", None),
        ("G", None),
        ("H", Some("")),
        ("I", Some("22:22")),
        ("J", Some("2026-01-01")),
        ("K", Some("5")),
        ("L", Some("null")),
    ] {
        assert_eq!(value(name), wanted, "{name}");
    }
    assert_eq!(
        node.ports.iter().map(|p| p.published).collect::<Vec<_>>(),
        [22, 3306]
    );
    assert_eq!(node.command.unwrap(), ["echo", "yes", "010", "off"]);
    assert_eq!(node.restart, RestartPolicy::No);
    assert_eq!(node.hostname.as_deref(), Some("0123"));
}

#[test]
fn commands_have_three_forms_and_two_kinds_of_nothing() {
    let of = |lines: &str| node(&service(lines), "s");
    assert_eq!(
        of("command: nginx -g 'daemon off;'").command.unwrap(),
        ["nginx", "-g", "daemon off;"]
    );
    assert_eq!(
        of("command: [nginx, -g, daemon off;]").command.unwrap(),
        ["nginx", "-g", "daemon off;"]
    );
    assert_eq!(
        of("command: >\n  sh -c \"a\n  && b\"").command.unwrap(),
        ["sh", "-c", "a && b"]
    );
    assert_eq!(of("command:").command, None);
    assert_eq!(of("command: []\nentrypoint: ''").command, Some(vec![]));
    assert_eq!(of("command: []\nentrypoint: ''").entrypoint, Some(vec![]));
    // No shell looks at it: signs of a shell stay as they are.
    assert_eq!(
        of("command: a | b > $$c; d").command.unwrap(),
        ["a", "|", "b", ">", "$c;", "d"]
    );
}

#[test]
fn restart_has_every_policy() {
    for (text, policy) in [
        ("no", RestartPolicy::No),
        ("'no'", RestartPolicy::No),
        ("false", RestartPolicy::No),
        ("always", RestartPolicy::Always),
        ("unless-stopped", RestartPolicy::UnlessStopped),
        ("on-failure", RestartPolicy::OnFailure { max_retries: None }),
        (
            "on-failure:5",
            RestartPolicy::OnFailure {
                max_retries: Some(5),
            },
        ),
    ] {
        assert_eq!(
            node(&service(&format!("restart: {text}")), "s").restart,
            policy,
            "{text}"
        );
    }
}

#[test]
fn health_checks_have_every_form() {
    let of = |lines: &str| {
        node(&service(&format!("healthcheck: {lines}")), "s")
            .health
            .unwrap()
            .test
    };
    assert_eq!(
        of("{test: curl localhost}"),
        HealthTest::Shell("curl localhost".into())
    );
    assert_eq!(
        of("{test: [CMD-SHELL, curl localhost]}"),
        HealthTest::Shell("curl localhost".into())
    );
    assert_eq!(
        of("{test: [CMD, curl, localhost]}"),
        HealthTest::Exec(vec!["curl".into(), "localhost".into()])
    );
    assert_eq!(of("{test: [NONE]}"), HealthTest::None);
    assert_eq!(of("{disable: true}"), HealthTest::None);
    assert_eq!(of("{interval: 1m30s}"), HealthTest::Inherit);
    assert_eq!(node(&service(""), "s").health, None);
    insta::assert_json_snapshot!(short_node("healthcheck: {test: [CMD, a], interval: 1m30s, timeout: 10s, retries: 5, start_period: 40s, start_interval: 500ms}")["health"], @r#"
    {
      "interval": "1m30s",
      "retries": 5,
      "start_interval": "500ms",
      "start_period": "40s",
      "test": {
        "exec": [
          "a"
        ]
      },
      "timeout": "10s"
    }
    "#);
}

#[test]
fn mounts_have_short_and_long_forms() {
    let text = format!(
        "{}volumes: {{data: , box: {{driver_opts: {{type: tmpfs, device: tmpfs, o: 'size=10m,uid=1000'}}}}}}\n",
        service(
            "volumes:\n  - data:/data\n  - data:/ro:ro\n  - ./conf:/etc/app:ro,z\n  - ../shop/x:/x\n  - /anonymous\n  - box:/box\n  - {type: volume, source: data, target: /sub, volume: {subpath: a/b, nocopy: true}}\n  - {type: bind, source: web, target: /web, read_only: true, bind: {create_host_path: false}}\n  - {type: tmpfs, target: /t, tmpfs: {size: 64m, mode: 01777}}\n  - {type: volume, target: /anonymous2}\n  - {source: ./guess, target: /guess}\ntmpfs: [/run, '/tmp:size=1g,mode=755,noexec']"
        )
    );
    let outcome = read(&text);
    insta::assert_json_snapshot!(short(spec(&outcome))["nodes"]["s"]["mounts"], @r#"
    [
      {
        "source": {
          "volume": {
            "name": "data"
          }
        },
        "target": "/data"
      },
      {
        "read_only": true,
        "source": {
          "volume": {
            "name": "data"
          }
        },
        "target": "/ro"
      },
      {
        "read_only": true,
        "source": {
          "bind": {
            "create": true,
            "path": "/home/ann/shop/conf"
          }
        },
        "target": "/etc/app"
      },
      {
        "source": {
          "bind": {
            "create": true,
            "path": "/home/ann/shop/x"
          }
        },
        "target": "/x"
      },
      {
        "source": "anonymous",
        "target": "/anonymous"
      },
      {
        "source": {
          "tmpfs": {
            "size": 10485760
          }
        },
        "target": "/box"
      },
      {
        "source": {
          "volume": {
            "name": "data",
            "nocopy": true,
            "subpath": "a/b"
          }
        },
        "target": "/sub"
      },
      {
        "read_only": true,
        "source": {
          "bind": {
            "path": "/home/ann/shop/web"
          }
        },
        "target": "/web"
      },
      {
        "source": {
          "tmpfs": {
            "mode": 1023,
            "size": 67108864
          }
        },
        "target": "/t"
      },
      {
        "source": "anonymous",
        "target": "/anonymous2"
      },
      {
        "source": {
          "bind": {
            "create": true,
            "path": "/home/ann/shop/guess"
          }
        },
        "target": "/guess"
      },
      {
        "source": {
          "tmpfs": {}
        },
        "target": "/run"
      },
      {
        "source": {
          "tmpfs": {
            "mode": 493,
            "size": 1073741824
          }
        },
        "target": "/tmp"
      }
    ]
    "#);
    assert_eq!(codes(&outcome), ["key-unsupported"]);
}

#[test]
fn modes_are_octal_unless_they_are_bare_decimals() {
    let mode = |text: &str| {
        let outcome = read(&format!(
            "services: {{s: {{image: i, secrets: [{{source: k, mode: {text}}}]}}}}\nsecrets: {{k: {{content: x}}}}\n"
        ));
        (
            spec(&outcome).nodes.values().next().unwrap().files[0].mode,
            codes(&outcome).len(),
        )
    };
    for text in ["0440", "'0440'", "\"440\"", "0o440"] {
        assert_eq!(mode(text), (0o440, 0), "{text}");
    }
    assert_eq!(mode("288"), (0o440, 1));
}

#[test]
fn networks_have_list_and_map_forms() {
    let text = |networks: &str| {
        format!(
            "services:\n  s: {{image: i, networks: {networks}}}\nnetworks:\n  front: {{}}\n  back: {{internal: true, ipam: {{driver: default, config: [{{subnet: 10.5.0.0/16, gateway: 10.5.0.254}}]}}}}\n"
        )
    };
    let outcome = read(&text("[front, back]"));
    insta::assert_json_snapshot!(short(spec(&outcome)), @r#"
    {
      "egress": "proxy",
      "kind": "test",
      "limits": {
        "cpus": 2000,
        "disk": 10737418240,
        "memory": 2147483648,
        "pids": 2048
      },
      "networks": {
        "back": {
          "gateways": [
            "10.5.0.254"
          ],
          "internal": true,
          "subnets": [
            "10.5.0.0/16"
          ]
        }
      },
      "nodes": {
        "s": {
          "image": "docker.io/library/i:latest",
          "network": {
            "networks": [
              {
                "network": "back",
                "priority": 0
              },
              {
                "network": "front",
                "priority": 0
              }
            ]
          },
          "service": "s"
        }
      },
      "project": "shop"
    }
    "#);
    let outcome = read(&text(
        "{front: {priority: 10, aliases: [web, www.example.com]}, back: {ipv4_address: 10.5.0.5, mac_address: 02-42-AC-11-00-02, gw_priority: 3}}",
    ));
    insta::assert_json_snapshot!(short(spec(&outcome))["nodes"], @r#"
    {
      "s": {
        "image": "docker.io/library/i:latest",
        "network": {
          "networks": [
            {
              "aliases": [
                "web",
                "www.example.com"
              ],
              "network": "front",
              "priority": 0
            },
            {
              "ipv4": "10.5.0.5",
              "mac": [
                2,
                66,
                172,
                17,
                0,
                2
              ],
              "network": "back",
              "priority": 3
            }
          ]
        },
        "service": "s"
      }
    }
    "#);
    // What has no `gw_priority` has 0, whatever its `priority`.
    let outcome = read(&text("{front: {gw_priority: 1}, back: {priority: 100}}"));
    let node = &spec(&outcome).nodes[&NodeName::parse("s").unwrap()];
    let NetworkMode::Networks(list) = &node.network else {
        panic!("{:?}", node.network);
    };
    let given: Vec<_> = list
        .iter()
        .map(|a| (a.network.as_str(), a.priority))
        .collect();
    assert_eq!(given, [("back", 0), ("front", 1)]);
}

#[test]
fn network_modes_that_are_not_the_hosts() {
    insta::assert_json_snapshot!(short_node("network_mode: none")["network"], @r#""none""#);
    insta::assert_json_snapshot!(short_node("network_mode: bridge")["network"], @r#"
    {
      "networks": [
        {
          "network": "default",
          "priority": 0
        }
      ]
    }
    "#);
    let outcome = read(
        "services:\n  s: {image: i, network_mode: 'container:box'}\n  vpn: {image: i, container_name: box, ports: ['80:80']}\n",
    );
    insta::assert_json_snapshot!(short(spec(&outcome))["nodes"]["s"], @r#"
    {
      "depends_on": [
        {
          "condition": "service_started",
          "required": true,
          "restart": true,
          "service": "vpn"
        }
      ],
      "image": "docker.io/library/i:latest",
      "network": {
        "node": "vpn"
      },
      "service": "s"
    }
    "#);
}

#[test]
fn hosts_have_two_separators_and_two_forms() {
    let wanted = serde_json::json!({"a": ["10.0.0.1", "10.0.0.2"], "b": ["::1"], "c": ["fd00::1"]});
    for lines in [
        "extra_hosts: ['a:10.0.0.1', 'a=10.0.0.2', 'b:::1', 'c=[fd00::1]']",
        "extra_hosts: {a: [10.0.0.1, 10.0.0.2], b: '::1', c: '[fd00::1]'}",
    ] {
        assert_eq!(short_node(lines)["extra_hosts"], wanted);
    }
    let outcome = read(&service(
        "extra_hosts: ['host.docker.internal:host-gateway']",
    ));
    insta::assert_snapshot!(told(&outcome), @"
    warning[key-unsupported]: `services.s.extra_hosts.host.docker.internal` has no effect here
      --> compose.yaml:4:19
      caused by: a stand has no way to the host itself; run what it needs as a service of the project
    ");
}

#[test]
fn ports_without_a_number_outside_get_one() {
    let outcome = read(
        "services:\n  a: {image: i, ports: [80, '9000-9001']}\n  b: {image: i, ports: ['80', '81:80']}\n",
    );
    insta::assert_snapshot!(told(&outcome), @"
    note[port-moved]: port 80/tcp of node `b` answers at 32768
      --> compose.yaml:3:25
      caused by: 80 is taken at the stand's address
      hint: name the port that it shall have, as in `8080:80`
    ");
    let ports: Vec<String> = spec(&outcome)
        .nodes
        .iter()
        .flat_map(|(n, s)| s.ports.iter().map(move |p| format!("{n} {p}")))
        .collect();
    assert_eq!(
        ports,
        [
            "a 80:80/tcp",
            "a 9000:9000/tcp",
            "a 9001:9001/tcp",
            "b 81:80/tcp",
            "b 32768:80/tcp"
        ]
    );
}

#[test]
fn limits_agree_between_both_places() {
    let node = short_node(
        "cpus: 0.5\nmem_limit: 64m\npids_limit: -1\nshm_size: '67108864'\ndeploy: {resources: {limits: {cpus: '0.50', memory: 64M, pids: 10}, reservations: {memory: 20M}}}\nulimits: {nofile: {soft: 1024, hard: -1}, nproc: 65535}",
    );
    insta::assert_json_snapshot!(node, @r#"
    {
      "cpus": 500,
      "image": "docker.io/library/i:latest",
      "memory": 67108864,
      "network": {
        "networks": [
          {
            "network": "default",
            "priority": 0
          }
        ]
      },
      "pids": 10,
      "service": "s",
      "shm_size": 67108864,
      "ulimits": {
        "nofile": {
          "hard": 18446744073709551615,
          "soft": 1024
        },
        "nproc": {
          "hard": 65535,
          "soft": 65535
        }
      }
    }
    "#);
    let outcome = read(&format!(
        "{}x-daas: {{limits: {{memory: 32m}}}}\n",
        service("mem_limit: 64m")
    ));
    insta::assert_snapshot!(told(&outcome), @"
    warning[memory-above-ceiling]: service `s` may take 64 MiB, and the whole stand 32 MiB
      --> compose.yaml:2:3
      hint: raise `x-daas.limits.memory`, or lower the limit of the service
    ");
}

#[test]
fn secrets_and_configs_have_short_and_long_forms() {
    let outcome = crate::support::read_files(&[
        (
            "compose.yaml",
            "services:\n  s:\n    image: i\n    secrets: [key, {source: pass, target: db/pass, uid: '1000', gid: '1000', mode: 0400}, {source: pass, target: /etc/pass}]\n    configs: [conf, {source: page, target: /srv/index.html}]\nsecrets: {key: {file: ./key.txt}, pass: {environment: PASS}, unused: {file: gone}}\nconfigs: {conf: {content: \"port ${PORT:-80}\\n\"}, page: {file: page.html}}\n",
        ),
        ("key.txt", "k3y"),
        ("page.html", "<p>${not} interpolated</p>"),
        (".env", "PASS=s3cret\n"),
    ]);
    let stand = short(spec(&outcome));
    insta::assert_json_snapshot!((&stand["nodes"]["s"]["files"], &stand["files"]), @r#"
    [
      [
        {
          "file": "secret.key",
          "gid": 0,
          "mode": 292,
          "target": "/run/secrets/key",
          "uid": 0
        },
        {
          "file": "secret.pass",
          "gid": 1000,
          "mode": 256,
          "target": "/run/secrets/db/pass",
          "uid": 1000
        },
        {
          "file": "secret.pass",
          "gid": 0,
          "mode": 292,
          "target": "/etc/pass",
          "uid": 0
        },
        {
          "file": "config.conf",
          "gid": 0,
          "mode": 292,
          "target": "/conf",
          "uid": 0
        },
        {
          "file": "config.page",
          "gid": 0,
          "mode": 292,
          "target": "/srv/index.html",
          "uid": 0
        }
      ],
      {
        "config.conf": "port 80\n",
        "config.page": "<p>${not} interpolated</p>",
        "secret.key": "k3y",
        "secret.pass": "s3cret"
      }
    ]
    "#);
}

#[test]
fn hooks_carry_their_own_user_and_environment() {
    let node = short_node(
        "post_start:\n  - command: ./chown.sh now\n    user: root\n  - {command: [a, b c], environment: [X=1], working_dir: /w}\npre_stop:\n  - {command: ./flush.sh}",
    );
    insta::assert_json_snapshot!(node, @r#"
    {
      "image": "docker.io/library/i:latest",
      "network": {
        "networks": [
          {
            "network": "default",
            "priority": 0
          }
        ]
      },
      "post_start": [
        {
          "command": [
            "./chown.sh",
            "now"
          ],
          "user": "root"
        },
        {
          "command": [
            "a",
            "b c"
          ],
          "environment": {
            "X": "1"
          },
          "working_dir": "/w"
        }
      ],
      "pre_stop": [
        {
          "command": [
            "./flush.sh"
          ]
        }
      ],
      "service": "s"
    }
    "#);
}

#[test]
fn names_of_signals_and_capabilities_are_one_form() {
    let node = node(
        &service("stop_signal: quit\ncap_add: [cap_chown, NET_RAW]\ncap_drop: [all]"),
        "s",
    );
    assert_eq!(node.stop_signal.as_deref(), Some("SIGQUIT"));
    assert_eq!(node.cap_add, ["CHOWN", "NET_RAW"]);
    assert_eq!(node.cap_drop, ["ALL"]);
    assert_eq!(
        crate::support::node(&service("stop_signal: SIGRTMIN+3"), "s")
            .stop_signal
            .as_deref(),
        Some("SIGRTMIN+3")
    );
}
