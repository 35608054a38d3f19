//! Override files, `extends`, `include`, anchors, profiles and scale.

use crate::support::{codes, files, node, read, read_files, request, short, spec, told};
use daas_spec::{ProjectRequest, read_project};

/// Merges two files of one service `s` with the given lines and returns what the stand has of it.
fn merged(base: &str, over: &str) -> serde_json::Value {
    let outcome = read_files(&[
        ("compose.yaml", &crate::support::service(base)),
        (
            "compose.override.yaml",
            &format!("services:\n  s:\n{}", indent(over)),
        ),
        ("a.env", "FROM=a\nA=1\n"),
        ("b.env", "FROM=b\n"),
    ]);
    let mut value = short(spec(&outcome));
    value["nodes"]["s"].take()
}

fn indent(lines: &str) -> String {
    lines.lines().map(|l| format!("    {l}\n")).collect()
}

#[test]
fn single_values_commands_and_tests_are_replaced() {
    let node = merged(
        "command: [a, b]\nentrypoint: x\nhealthcheck: {test: [CMD, a], interval: 5s}\nhostname: h\nrestart: always",
        "command: c\nentrypoint: [y, z]\nhealthcheck: {test: b, retries: 7}\nrestart: 'no'",
    );
    assert_eq!(node["command"], serde_json::json!(["c"]));
    assert_eq!(node["entrypoint"], serde_json::json!(["y", "z"]));
    assert_eq!(node["health"]["test"], serde_json::json!({"shell": "b"}));
    assert_eq!(node["health"]["interval"], "5s");
    assert_eq!(node["health"]["retries"], 7);
    assert_eq!(node["hostname"], "h");
    assert_eq!(node.get("restart"), None);
}

#[test]
fn pairs_are_merged_by_name_in_either_form() {
    for (base, over) in [
        (
            "environment: [A=1, B=2]\nlabels: {x: 1}",
            "environment: {B: 3, C: 4}\nlabels: [y=2]",
        ),
        (
            "environment: {A: 1, B: 2}\nlabels: [x=1]",
            "environment: [B=3, C=4]\nlabels: {y: 2}",
        ),
    ] {
        let node = merged(base, over);
        assert_eq!(
            node["environment"],
            serde_json::json!({"A": "1", "B": "3", "C": "4"})
        );
        assert_eq!(node["labels"], serde_json::json!({"x": "1", "y": "2"}));
    }
}

#[test]
fn lists_grow_and_unique_things_replace_each_other() {
    let node = merged(
        "ports: ['80:80', '81:81']\ndns: 1.1.1.1\ntmpfs: /a\nexpose: [1]\nvolumes: [./x:/x, './y:/y:ro']\ncap_drop: [KILL]\nenv_file: a.env\nextra_hosts: ['h:10.0.0.1']\nulimits: {nofile: 10}",
        "ports: ['80:80', '82:82/udp']\ndns: [1.1.1.1, 8.8.8.8]\ntmpfs: [/b]\nexpose: ['1', 2]\nvolumes: [{type: bind, source: ./z, target: /x/}]\ncap_drop: [KILL, CHOWN]\nenv_file: [b.env]\nextra_hosts: {h: 10.0.0.2}\nulimits: {nofile: {soft: 1, hard: 2}}",
    );
    insta::assert_json_snapshot!(node, @r#"
    {
      "cap_drop": [
        "KILL",
        "CHOWN"
      ],
      "dns": [
        "1.1.1.1",
        "8.8.8.8"
      ],
      "environment": {
        "A": "1",
        "FROM": "b"
      },
      "expose": [
        {
          "protocol": "tcp",
          "published": 1,
          "target": 1
        },
        {
          "protocol": "tcp",
          "published": 2,
          "target": 2
        }
      ],
      "extra_hosts": {
        "h": [
          "10.0.0.1",
          "10.0.0.2"
        ]
      },
      "image": "docker.io/library/i:latest",
      "mounts": [
        {
          "source": {
            "bind": {
              "create": true,
              "path": "/home/ann/shop/z"
            }
          },
          "target": "/x"
        },
        {
          "read_only": true,
          "source": {
            "bind": {
              "create": true,
              "path": "/home/ann/shop/y"
            }
          },
          "target": "/y"
        },
        {
          "source": {
            "tmpfs": {}
          },
          "target": "/a"
        },
        {
          "source": {
            "tmpfs": {}
          },
          "target": "/b"
        }
      ],
      "network": {
        "networks": [
          {
            "network": "default",
            "priority": 0
          }
        ]
      },
      "ports": [
        {
          "protocol": "tcp",
          "published": 80,
          "target": 80
        },
        {
          "protocol": "tcp",
          "published": 81,
          "target": 81
        },
        {
          "protocol": "udp",
          "published": 82,
          "target": 82
        }
      ],
      "service": "s",
      "ulimits": {
        "nofile": {
          "hard": 2,
          "soft": 1
        }
      }
    }
    "#);
}

#[test]
fn dependencies_and_networks_are_merged_by_name() {
    let outcome = read_files(&[
        (
            "compose.yaml",
            "services:\n  s:\n    image: i\n    depends_on: [a, b]\n    networks: [front]\n  a: {image: i}\n  b: {image: i}\nnetworks: {front: , back: {ipam: {config: [{subnet: 10.1.0.0/24}]}}}\n",
        ),
        (
            "compose.override.yaml",
            "services:\n  s:\n    depends_on: {b: {condition: service_healthy, restart: true}}\n    networks: {back: {aliases: [z]}, front: {aliases: [y]}}\nnetworks: {back: {internal: true, ipam: {config: [{subnet: 10.1.0.0/24, gateway: 10.1.0.254}, {subnet: 10.2.0.0/24}]}}}\n",
        ),
    ]);
    let stand = short(spec(&outcome));
    insta::assert_json_snapshot!(stand["nodes"]["s"], @r#"
    {
      "depends_on": [
        {
          "condition": "service_started",
          "required": true,
          "service": "a"
        },
        {
          "condition": "service_healthy",
          "required": true,
          "restart": true,
          "service": "b"
        }
      ],
      "image": "docker.io/library/i:latest",
      "network": {
        "networks": [
          {
            "aliases": [
              "z"
            ],
            "network": "back",
            "priority": 0
          },
          {
            "aliases": [
              "y"
            ],
            "network": "front",
            "priority": 0
          }
        ]
      },
      "service": "s"
    }
    "#);
    insta::assert_json_snapshot!(stand["networks"], @r#"
    {
      "back": {
        "gateways": [
          "10.1.0.254"
        ],
        "internal": true,
        "subnets": [
          "10.1.0.0/24",
          "10.2.0.0/24"
        ]
      }
    }
    "#);
}

#[test]
fn reset_removes_and_override_replaces() {
    let node = merged(
        "ports: ['80:80']\nenvironment: {A: 1, B: 2}\nvolumes: [./x:/x]\ncommand: a",
        "ports: !reset []\nenvironment: {A: !reset null, C: 3}\nvolumes: !override [./y:/y]\ncommand: !reset",
    );
    insta::assert_json_snapshot!(node, @r#"
    {
      "environment": {
        "B": "2",
        "C": "3"
      },
      "image": "docker.io/library/i:latest",
      "mounts": [
        {
          "source": {
            "bind": {
              "create": true,
              "path": "/home/ann/shop/y"
            }
          },
          "target": "/y"
        }
      ],
      "network": {
        "networks": [
          {
            "network": "default",
            "priority": 0
          }
        ]
      },
      "service": "s"
    }
    "#);
}

#[test]
fn forms_that_cannot_be_merged_are_told_with_both_places() {
    let outcome = read_files(&[
        (
            "compose.yaml",
            "services:\n  s:\n    image: i\n    ports: [80]\n",
        ),
        (
            "compose.override.yaml",
            "services:\n  s:\n    ports: {a: b}\n",
        ),
    ]);
    insta::assert_snapshot!(told(&outcome), @"
    error[merge-kinds-differ]: `ports` is a map here and a list at compose.yaml:4:12
      --> compose.override.yaml:3:12
      caused by: the two cannot be merged
      hint: write both in the same form, or tag this one with `!override` to replace the other
    ");
}

#[test]
fn empty_keys_of_an_override_change_nothing() {
    let node = merged(
        "environment: {A: 1}\nports: ['80:80']",
        "environment:\nports:",
    );
    assert_eq!(node["environment"]["A"], "1");
    assert_eq!(node["ports"][0]["published"], 80);
}

#[test]
fn anchors_and_merge_keys_work_in_every_form() {
    let text = "
x-common: &common
  restart: always
  environment: &env {A: 1, B: 2}
x-logs: &logs
  init: true
  restart: unless-stopped
services:
  one: {<<: *common, image: i}
  two:
    <<: [*common, *logs]
    image: i
    environment:
      <<: *env
      B: 3
  three: {!!merge <<: *logs, image: i, command: &cmd [a, b]}
  four: {image: i, command: *cmd}
";
    let outcome = read(text);
    insta::assert_json_snapshot!(short(spec(&outcome))["nodes"], @r#"
    {
      "four": {
        "command": [
          "a",
          "b"
        ],
        "image": "docker.io/library/i:latest",
        "network": {
          "networks": [
            {
              "network": "default",
              "priority": 0
            }
          ]
        },
        "service": "four"
      },
      "one": {
        "environment": {
          "A": "1",
          "B": "2"
        },
        "image": "docker.io/library/i:latest",
        "network": {
          "networks": [
            {
              "network": "default",
              "priority": 0
            }
          ]
        },
        "restart": "always",
        "service": "one"
      },
      "three": {
        "command": [
          "a",
          "b"
        ],
        "image": "docker.io/library/i:latest",
        "init": true,
        "network": {
          "networks": [
            {
              "network": "default",
              "priority": 0
            }
          ]
        },
        "restart": "unless-stopped",
        "service": "three"
      },
      "two": {
        "environment": {
          "A": "1",
          "B": "3"
        },
        "image": "docker.io/library/i:latest",
        "init": true,
        "network": {
          "networks": [
            {
              "network": "default",
              "priority": 0
            }
          ]
        },
        "restart": "always",
        "service": "two"
      }
    }
    "#);
}

#[test]
fn a_service_extends_one_of_its_file_of_another_file_and_in_a_row() {
    let outcome = read_files(&[
        (
            "compose.yaml",
            "services:\n  web:\n    extends: {file: base/common.yaml, service: app}\n    environment: [B=own]\n    ports: ['80:80']\n  worker:\n    extends: web\n    command: work\n    ports: !reset []\n",
        ),
        (
            "base/common.yaml",
            "services:\n  core:\n    image: ${IMAGE:-app}\n    env_file: app.env\n    volumes: [./conf:/conf:ro]\n    environment: {A: core, B: core}\n  app:\n    extends: {service: core}\n    environment: {A: app}\n    restart: always\n",
        ),
        ("base/app.env", "C=file\n"),
    ]);
    insta::assert_json_snapshot!(short(spec(&outcome))["nodes"], @r#"
    {
      "web": {
        "environment": {
          "A": "app",
          "B": "own",
          "C": "file"
        },
        "image": "docker.io/library/app:latest",
        "mounts": [
          {
            "read_only": true,
            "source": {
              "bind": {
                "create": true,
                "path": "/home/ann/shop/base/conf"
              }
            },
            "target": "/conf"
          }
        ],
        "network": {
          "networks": [
            {
              "network": "default",
              "priority": 0
            }
          ]
        },
        "ports": [
          {
            "protocol": "tcp",
            "published": 80,
            "target": 80
          }
        ],
        "restart": "always",
        "service": "web"
      },
      "worker": {
        "command": [
          "work"
        ],
        "environment": {
          "A": "app",
          "B": "own",
          "C": "file"
        },
        "image": "docker.io/library/app:latest",
        "mounts": [
          {
            "read_only": true,
            "source": {
              "bind": {
                "create": true,
                "path": "/home/ann/shop/base/conf"
              }
            },
            "target": "/conf"
          }
        ],
        "network": {
          "networks": [
            {
              "network": "default",
              "priority": 0
            }
          ]
        },
        "restart": "always",
        "service": "worker"
      }
    }
    "#);
}

#[test]
fn an_include_brings_its_services_with_paths_and_variables_of_its_own() {
    let outcome = read_files(&[
        (
            "compose.yaml",
            "include:\n  - db/compose.yaml\n  - path: [cache/compose.yaml, cache/over.yaml]\n    project_directory: .\n    env_file: cache/vars\nservices:\n  web: {image: i, depends_on: [db, cache]}\n",
        ),
        (
            "db/compose.yaml",
            "services:\n  db:\n    image: postgres:${PG}\n    volumes: [./init:/init, data:/data]\n    env_file: db.env\nvolumes: {data: }\n",
        ),
        ("db/.env", "PG=15\nSHARED=inner\n"),
        ("db/db.env", "X=${SHARED}\n"),
        (".env", "SHARED=outer\n"),
        (
            "cache/compose.yaml",
            "services:\n  cache: {image: 'redis:${R}', volumes: [./c:/c]}\n",
        ),
        ("cache/over.yaml", "services:\n  cache: {command: [a]}\n"),
        ("cache/vars", "R=7\n"),
    ]);
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
      "nodes": {
        "cache": {
          "command": [
            "a"
          ],
          "image": "docker.io/library/redis:7",
          "mounts": [
            {
              "source": {
                "bind": {
                  "create": true,
                  "path": "/home/ann/shop/c"
                }
              },
              "target": "/c"
            }
          ],
          "network": {
            "networks": [
              {
                "network": "default",
                "priority": 0
              }
            ]
          },
          "service": "cache"
        },
        "db": {
          "environment": {
            "X": "outer"
          },
          "image": "docker.io/library/postgres:15",
          "mounts": [
            {
              "source": {
                "bind": {
                  "create": true,
                  "path": "/home/ann/shop/db/init"
                }
              },
              "target": "/init"
            },
            {
              "source": {
                "volume": {
                  "name": "data"
                }
              },
              "target": "/data"
            }
          ],
          "network": {
            "networks": [
              {
                "network": "default",
                "priority": 0
              }
            ]
          },
          "service": "db"
        },
        "web": {
          "depends_on": [
            {
              "condition": "service_started",
              "required": true,
              "service": "db"
            },
            {
              "condition": "service_started",
              "required": true,
              "service": "cache"
            }
          ],
          "image": "docker.io/library/i:latest",
          "network": {
            "networks": [
              {
                "network": "default",
                "priority": 0
              }
            ]
          },
          "service": "web"
        }
      },
      "project": "shop"
    }
    "#);
}

#[test]
fn what_this_file_says_stands_above_what_it_includes() {
    let outcome = read_files(&[
        (
            "compose.yaml",
            "include: [a.yaml, b.yaml]\nservices: {s: {environment: {A: outer}}}\n",
        ),
        (
            "a.yaml",
            "services: {s: {image: i, environment: {A: inner, B: inner}}, t: {image: i}}\n",
        ),
        ("b.yaml", "services: {t: {image: i}}\n"),
    ]);
    insta::assert_snapshot!(told(&outcome), @"
    warning[include-conflict]: `services.s` is defined here and by an include
      --> compose.yaml:2:12
      caused by: the included one at a.yaml:1:12 comes in by compose.yaml:1:11; it is merged below this one
      hint: rename one of the two, or change the included one in an override file beside it
    ");
    let stand = spec(&outcome);
    let s = &stand.nodes.values().next().unwrap().environment;
    assert_eq!(s["A"].as_deref(), Some("outer"));
    assert_eq!(s["B"].as_deref(), Some("inner"));
}

const PROFILES: &str = "
services:
  foo: {image: i}
  bar: {image: i, profiles: [test]}
  baz: {image: i, depends_on: [bar], profiles: [test]}
  zot: {image: i, depends_on: [bar], profiles: [debug]}
";

fn with_profiles(text: &str, profiles: &[&str]) -> daas_spec::Outcome {
    let request = ProjectRequest {
        profiles: profiles.iter().map(|p| (*p).to_owned()).collect(),
        ..request()
    };
    read_project(&files(&[("compose.yaml", text)]), &request)
}

/// The example of the specification.
#[test]
fn profiles_choose_services_as_the_specification_shows() {
    let names = |profiles: &[&str]| -> Vec<String> {
        let outcome = with_profiles(PROFILES, profiles);
        outcome
            .spec
            .map(|s| s.nodes.keys().map(ToString::to_string).collect())
            .unwrap_or_default()
    };
    assert_eq!(names(&[]), ["foo"]);
    assert_eq!(names(&["test"]), ["bar", "baz", "foo"]);
    assert_eq!(names(&["test", "debug"]), ["bar", "baz", "foo", "zot"]);
    assert_eq!(names(&["*"]), ["bar", "baz", "foo", "zot"]);
    insta::assert_snapshot!(told(&with_profiles(PROFILES, &["debug"])), @"
    error[profile-off]: `depends_on` of service `zot` names service `bar`, which is off
      --> compose.yaml:6:32
      caused by: none of its profiles is on: test
      hint: turn it on with `--profile test`
    ");
    insta::assert_snapshot!(told(&with_profiles(PROFILES, &["tset"])), @"
    warning[profile-unknown]: no service has the profile `tset`
      --> compose.yaml
      hint: did you mean `test`?
    ");
}

#[test]
fn a_dependency_that_is_not_required_may_be_off() {
    let text = "services:\n  a: {image: i, depends_on: {b: {condition: service_started, required: false}}}\n  b: {image: i, profiles: [x]}\n";
    let outcome = read(text);
    assert_eq!(codes(&outcome), ["dependency-off"]);
    assert!(
        spec(&outcome)
            .nodes
            .values()
            .all(|n| n.depends_on.is_empty())
    );
}

#[test]
fn a_service_becomes_as_many_nodes_as_it_is_scaled_to() {
    let text = "services:\n  s: {image: i, scale: 3, ports: ['8000-8002:80', '9000']}\n  t: {image: i, deploy: {replicas: 2}, depends_on: [s]}\n  none: {image: i, scale: 0}\n";
    let outcome = read(text);
    assert_eq!(told(&outcome), "");
    insta::assert_json_snapshot!(short(spec(&outcome))["nodes"], @r#"
    {
      "s": {
        "image": "docker.io/library/i:latest",
        "network": {
          "networks": [
            {
              "network": "default",
              "priority": 0
            }
          ]
        },
        "ports": [
          {
            "protocol": "tcp",
            "published": 8000,
            "target": 80
          },
          {
            "protocol": "tcp",
            "published": 9000,
            "target": 9000
          }
        ],
        "service": "s"
      },
      "s-2": {
        "image": "docker.io/library/i:latest",
        "network": {
          "networks": [
            {
              "network": "default",
              "priority": 0
            }
          ]
        },
        "ports": [
          {
            "protocol": "tcp",
            "published": 8001,
            "target": 80
          },
          {
            "protocol": "tcp",
            "published": 9000,
            "target": 9000
          }
        ],
        "service": "s"
      },
      "s-3": {
        "image": "docker.io/library/i:latest",
        "network": {
          "networks": [
            {
              "network": "default",
              "priority": 0
            }
          ]
        },
        "ports": [
          {
            "protocol": "tcp",
            "published": 8002,
            "target": 80
          },
          {
            "protocol": "tcp",
            "published": 9000,
            "target": 9000
          }
        ],
        "service": "s"
      },
      "t": {
        "depends_on": [
          {
            "condition": "service_started",
            "required": true,
            "service": "s"
          }
        ],
        "image": "docker.io/library/i:latest",
        "network": {
          "networks": [
            {
              "network": "default",
              "priority": 0
            }
          ]
        },
        "service": "t"
      },
      "t-2": {
        "depends_on": [
          {
            "condition": "service_started",
            "required": true,
            "service": "s"
          }
        ],
        "image": "docker.io/library/i:latest",
        "network": {
          "networks": [
            {
              "network": "default",
              "priority": 0
            }
          ]
        },
        "service": "t"
      }
    }
    "#);
    let request = ProjectRequest {
        scale: [("t".to_owned(), 1), ("none".to_owned(), 1)].into(),
        ..request()
    };
    let outcome = read_project(&files(&[("compose.yaml", text)]), &request);
    let names: Vec<String> = spec(&outcome)
        .nodes
        .keys()
        .map(ToString::to_string)
        .collect();
    assert_eq!(names, ["none", "s", "s-2", "s-3", "t"]);
}

#[test]
fn only_services_that_are_there_can_be_scaled() {
    let text = "services:\n  web: {image: i}\n  tool: {image: i, profiles: [x]}\n";
    let scaled = |name: &str| {
        let request = ProjectRequest {
            scale: [(name.to_owned(), 2)].into(),
            ..request()
        };
        told(&read_project(&files(&[("compose.yaml", text)]), &request))
    };
    assert_eq!(scaled("web"), "");
    insta::assert_snapshot!(scaled("wep"), @"
    error[service-missing]: service `wep` is to be scaled and does not exist
      --> compose.yaml
      hint: did you mean `web`?
    ");
    insta::assert_snapshot!(scaled("nothing"), @"
    error[service-missing]: service `nothing` is to be scaled and does not exist
      --> compose.yaml
      hint: name a service of the project
    ");
    insta::assert_snapshot!(scaled("tool"), @"
    error[profile-off]: service `tool` is to be scaled and is off
      --> compose.yaml
      caused by: none of its profiles is on: x
      hint: turn it on with `--profile x`
    ");
}

#[test]
fn links_and_shared_networks_are_dependencies() {
    let node = node(
        "services:\n  s: {image: i, links: ['a:alias'], volumes_from: ['b:ro']}\n  a: {image: i}\n  b: {image: i, volumes: ['./x:/x', 'v:/v']}\nvolumes: {v: }\n",
        "s",
    );
    let services: Vec<String> = node
        .depends_on
        .iter()
        .map(|d| d.service.to_string())
        .collect();
    assert_eq!(services, ["a", "b"]);
    assert!(node.mounts.iter().all(|m| m.read_only));
    assert_eq!(node.mounts.len(), 2);
}
