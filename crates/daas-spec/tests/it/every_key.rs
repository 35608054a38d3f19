//! No key of the specification is silent: it changes the stand, or something is said about it.

use crate::support::{DIR, files, request, service, short, told};
use daas_spec::{Outcome, read_project};
use std::collections::{BTreeMap, BTreeSet};

/// Every key of the specification's schema, as a path.
const SCHEMA: &str = include_str!("schema-keys.txt");

/// Keys that do what the specification says: path, lines with the key, the same without it.
///
/// Lines belong to service `s`, unless they are a whole file.
const HONOURED: &[(&str, &str, &str)] = &[
    (
        "name",
        "name: other\nservices: {s: {image: i}}",
        "services: {s: {image: i}}",
    ),
    (
        "services",
        "services: {s: {image: i}, t: {image: i}}",
        "services: {s: {image: i}}",
    ),
    (
        "include",
        "include: [a.yaml]\nservices: {s: {image: i}}",
        "services: {s: {image: i}}",
    ),
    (
        "include[].path",
        "include: [{path: [a.yaml, b.yaml]}]\nservices: {s: {image: i}}",
        "include: [{path: a.yaml}]\nservices: {s: {image: i}}",
    ),
    (
        "include[].env_file",
        "include: [{path: a.yaml, env_file: v.env}]\nservices: {s: {image: i}}",
        "include: [a.yaml]\nservices: {s: {image: i}}",
    ),
    (
        "include[].project_directory",
        "include: [{path: a.yaml, project_directory: sub}]\nservices: {s: {image: i}}",
        "include: [a.yaml]\nservices: {s: {image: i}}",
    ),
    (
        "networks",
        "services: {s: {image: i}}\nnetworks: {default: {internal: true}}",
        "services: {s: {image: i}}",
    ),
    (
        "volumes",
        "services: {s: {image: i, volumes: ['v:/v']}}\nvolumes: {v: }",
        "services: {s: {image: i}}",
    ),
    (
        "secrets",
        "services: {s: {image: i, secrets: [k]}}\nsecrets: {k: {file: f.txt}}",
        "services: {s: {image: i}}",
    ),
    (
        "configs",
        "services: {s: {image: i, configs: [k]}}\nconfigs: {k: {file: f.txt}}",
        "services: {s: {image: i}}",
    ),
    ("services.*.cap_add", "cap_add: [CHOWN]", ""),
    ("services.*.cap_drop", "cap_drop: [ALL]", ""),
    ("services.*.command", "command: a b", ""),
    ("services.*.container_name", "container_name: c", ""),
    ("services.*.cpus", "cpus: 0.5", ""),
    ("services.*.deploy", "deploy: {replicas: 2}", ""),
    ("services.*.deploy.replicas", "deploy: {replicas: 2}", ""),
    (
        "services.*.deploy.resources",
        "deploy: {resources: {limits: {cpus: '0.5'}}}",
        "",
    ),
    (
        "services.*.deploy.resources.limits",
        "deploy: {resources: {limits: {cpus: '0.5'}}}",
        "",
    ),
    (
        "services.*.deploy.resources.limits.cpus",
        "deploy: {resources: {limits: {cpus: '0.5'}}}",
        "",
    ),
    (
        "services.*.deploy.resources.limits.memory",
        "deploy: {resources: {limits: {memory: 50M}}}",
        "",
    ),
    (
        "services.*.deploy.resources.limits.pids",
        "deploy: {resources: {limits: {pids: 5}}}",
        "",
    ),
    (
        "services.*.deploy.restart_policy",
        "deploy: {restart_policy: {condition: any}}",
        "",
    ),
    (
        "services.*.deploy.restart_policy.condition",
        "deploy: {restart_policy: {condition: none}}",
        "deploy: {restart_policy: {max_attempts: 3}}",
    ),
    (
        "services.*.deploy.restart_policy.max_attempts",
        "deploy: {restart_policy: {condition: on-failure, max_attempts: 3}}",
        "deploy: {restart_policy: {condition: on-failure}}",
    ),
    ("services.*.dns", "dns: 1.1.1.1", ""),
    ("services.*.dns_opt", "dns_opt: [ndots:2]", ""),
    ("services.*.dns_search", "dns_search: corp.example", ""),
    ("services.*.domainname", "domainname: corp.example", ""),
    ("services.*.entrypoint", "entrypoint: x", ""),
    ("services.*.env_file", "env_file: v.env", ""),
    (
        "services.*.env_file[].path",
        "env_file: [{path: v.env}]",
        "",
    ),
    (
        "services.*.env_file[].format",
        "env_file: [{path: q.env, format: raw}]",
        "env_file: [{path: q.env}]",
    ),
    ("services.*.environment", "environment: {A: 1}", ""),
    ("services.*.expose", "expose: [80]", ""),
    (
        "services.*.extends",
        "extends: {file: a.yaml, service: a}",
        "",
    ),
    (
        "services.*.extends.service",
        "extends: {file: a.yaml, service: b}",
        "extends: {file: a.yaml, service: a}",
    ),
    (
        "services.*.extends.file",
        "extends: {file: a.yaml, service: a}",
        "",
    ),
    ("services.*.extra_hosts", "extra_hosts: {h: 10.0.0.1}", ""),
    ("services.*.group_add", "group_add: [mail, 100]", ""),
    ("services.*.healthcheck", "healthcheck: {test: a}", ""),
    (
        "services.*.healthcheck.disable",
        "healthcheck: {disable: true}",
        "healthcheck: {}",
    ),
    (
        "services.*.healthcheck.interval",
        "healthcheck: {interval: 1s}",
        "healthcheck: {}",
    ),
    (
        "services.*.healthcheck.retries",
        "healthcheck: {retries: 9}",
        "healthcheck: {}",
    ),
    (
        "services.*.healthcheck.test",
        "healthcheck: {test: [CMD, a]}",
        "healthcheck: {}",
    ),
    (
        "services.*.healthcheck.timeout",
        "healthcheck: {timeout: 1s}",
        "healthcheck: {}",
    ),
    (
        "services.*.healthcheck.start_period",
        "healthcheck: {start_period: 1s}",
        "healthcheck: {}",
    ),
    (
        "services.*.healthcheck.start_interval",
        "healthcheck: {start_interval: 1s}",
        "healthcheck: {}",
    ),
    ("services.*.hostname", "hostname: h", ""),
    (
        "services.*.image",
        "services: {s: {image: j}}",
        "services: {s: {image: i}}",
    ),
    ("services.*.init", "init: true", ""),
    ("services.*.label_file", "label_file: v.env", ""),
    ("services.*.labels", "labels: [a=b]", ""),
    (
        "services.*.links",
        "services: {s: {image: i, links: ['t:u']}, t: {image: i}}",
        "services: {s: {image: i}, t: {image: i}}",
    ),
    (
        "services.*.mac_address",
        "mac_address: 02:42:ac:11:00:02",
        "",
    ),
    ("services.*.mem_limit", "mem_limit: 64m", ""),
    ("services.*.network_mode", "network_mode: none", ""),
    (
        "services.*.networks",
        "services: {s: {image: i, networks: [n]}}\nnetworks: {n: }",
        "services: {s: {image: i}}\nnetworks: {n: }",
    ),
    (
        "services.*.networks.*.aliases",
        "networks: {default: {aliases: [a]}}",
        "networks: [default]",
    ),
    ("services.*.networks.*.ipv4_address", NET4, NET),
    ("services.*.networks.*.ipv6_address", NET6, NET),
    (
        "services.*.networks.*.mac_address",
        "networks: {default: {mac_address: '02:42:ac:11:00:02'}}",
        "networks: [default]",
    ),
    (
        "services.*.networks.*.priority",
        "services: {s: {image: i, networks: {m: , n: {priority: 5}}}}\nnetworks: {m: , n: }",
        "services: {s: {image: i, networks: [m, n]}}\nnetworks: {m: , n: }",
    ),
    (
        "services.*.networks.*.gw_priority",
        "networks: {default: {gw_priority: 5}}",
        "networks: [default]",
    ),
    ("services.*.oom_score_adj", "oom_score_adj: 100", ""),
    ("services.*.pids_limit", "pids_limit: 10", ""),
    ("services.*.ports", "ports: [80]", ""),
    (
        "services.*.ports[].target",
        "ports: [{target: 80}]",
        "ports: [{target: 81}]",
    ),
    (
        "services.*.ports[].published",
        "ports: [{target: 80, published: '81'}]",
        "ports: [{target: 80}]",
    ),
    (
        "services.*.ports[].protocol",
        "ports: [{target: 80, protocol: udp}]",
        "ports: [{target: 80}]",
    ),
    ("services.*.post_start", "post_start: [{command: a}]", ""),
    (
        "services.*.post_start[].command",
        "post_start: [{command: a}]",
        "post_start: [{command: b}]",
    ),
    (
        "services.*.post_start[].user",
        "post_start: [{command: a, user: root}]",
        "post_start: [{command: a}]",
    ),
    (
        "services.*.post_start[].working_dir",
        "post_start: [{command: a, working_dir: /x}]",
        "post_start: [{command: a}]",
    ),
    (
        "services.*.post_start[].environment",
        "post_start: [{command: a, environment: [A=1]}]",
        "post_start: [{command: a}]",
    ),
    ("services.*.pre_stop", "pre_stop: [{command: a}]", ""),
    (
        "services.*.pre_stop[].command",
        "pre_stop: [{command: a}]",
        "pre_stop: [{command: b}]",
    ),
    (
        "services.*.pre_stop[].user",
        "pre_stop: [{command: a, user: root}]",
        "pre_stop: [{command: a}]",
    ),
    (
        "services.*.pre_stop[].working_dir",
        "pre_stop: [{command: a, working_dir: /x}]",
        "pre_stop: [{command: a}]",
    ),
    (
        "services.*.pre_stop[].environment",
        "pre_stop: [{command: a, environment: [A=1]}]",
        "pre_stop: [{command: a}]",
    ),
    (
        "services.*.profiles",
        "services: {s: {image: i}, t: {image: i, profiles: [p]}}",
        "services: {s: {image: i}, t: {image: i}}",
    ),
    ("services.*.pull_policy", "pull_policy: always", ""),
    ("services.*.read_only", "read_only: true", ""),
    ("services.*.restart", "restart: always", ""),
    ("services.*.scale", "scale: 2", ""),
    ("services.*.shm_size", "shm_size: 1g", ""),
    ("services.*.stdin_open", "stdin_open: true", ""),
    ("services.*.stop_grace_period", "stop_grace_period: 1m", ""),
    ("services.*.stop_signal", "stop_signal: SIGQUIT", ""),
    ("services.*.sysctls", "sysctls: [net.core.somaxconn=1]", ""),
    ("services.*.tmpfs", "tmpfs: /run", ""),
    ("services.*.tty", "tty: true", ""),
    ("services.*.ulimits", "ulimits: {nofile: 10}", ""),
    (
        "services.*.ulimits.*.hard",
        "ulimits: {nofile: {soft: 1, hard: 2}}",
        "ulimits: {nofile: {soft: 1, hard: 3}}",
    ),
    (
        "services.*.ulimits.*.soft",
        "ulimits: {nofile: {soft: 1, hard: 2}}",
        "ulimits: {nofile: {soft: 2, hard: 2}}",
    ),
    ("services.*.user", "user: root", ""),
    ("services.*.volumes", "volumes: [/anonymous]", ""),
    (
        "services.*.volumes[].type",
        "volumes: [{type: tmpfs, target: /a}]",
        "volumes: [{type: volume, target: /a}]",
    ),
    (
        "services.*.volumes[].source",
        "volumes: [{type: bind, source: ./a, target: /a}]",
        "volumes: [{type: bind, source: ./b, target: /a}]",
    ),
    (
        "services.*.volumes[].target",
        "volumes: [{type: bind, source: ./a, target: /a}]",
        "volumes: [{type: bind, source: ./a, target: /b}]",
    ),
    (
        "services.*.volumes[].read_only",
        "volumes: [{type: bind, source: ./a, target: /a, read_only: true}]",
        "volumes: [{type: bind, source: ./a, target: /a}]",
    ),
    (
        "services.*.volumes[].bind",
        "volumes: [{type: bind, source: ./a, target: /a, bind: {create_host_path: false}}]",
        "volumes: [{type: bind, source: ./a, target: /a}]",
    ),
    (
        "services.*.volumes[].bind.create_host_path",
        "volumes: [{type: bind, source: ./a, target: /a, bind: {create_host_path: false}}]",
        "volumes: [{type: bind, source: ./a, target: /a}]",
    ),
    ("services.*.volumes[].volume", VOLUME_NOCOPY, VOLUME),
    ("services.*.volumes[].volume.nocopy", VOLUME_NOCOPY, VOLUME),
    (
        "services.*.volumes[].volume.subpath",
        "services: {s: {image: i, volumes: [{type: volume, source: v, target: /a, volume: {subpath: x}}]}}\nvolumes: {v: }",
        VOLUME,
    ),
    (
        "services.*.volumes[].tmpfs",
        "volumes: [{type: tmpfs, target: /a, tmpfs: {size: 1m}}]",
        "volumes: [{type: tmpfs, target: /a}]",
    ),
    (
        "services.*.volumes[].tmpfs.size",
        "volumes: [{type: tmpfs, target: /a, tmpfs: {size: 1m}}]",
        "volumes: [{type: tmpfs, target: /a}]",
    ),
    (
        "services.*.volumes[].tmpfs.mode",
        "volumes: [{type: tmpfs, target: /a, tmpfs: {mode: 0755}}]",
        "volumes: [{type: tmpfs, target: /a}]",
    ),
    (
        "services.*.volumes_from",
        "services: {s: {image: i, volumes_from: [t]}, t: {image: i, volumes: ['./x:/x']}}",
        "services: {s: {image: i}, t: {image: i, volumes: ['./x:/x']}}",
    ),
    ("services.*.working_dir", "working_dir: /x", ""),
    ("services.*.depends_on", DEPENDS, NO_DEPENDS),
    (
        "services.*.depends_on.*.condition",
        "services: {s: {image: i, depends_on: {t: {condition: service_healthy}}}, t: {image: i}}",
        DEPENDS,
    ),
    (
        "services.*.depends_on.*.restart",
        "services: {s: {image: i, depends_on: {t: {restart: true}}}, t: {image: i}}",
        DEPENDS,
    ),
    (
        "services.*.depends_on.*.required",
        "services: {s: {image: i, depends_on: {t: {required: false}}}, t: {image: i}}",
        DEPENDS,
    ),
    (
        "services.*.secrets",
        "services: {s: {image: i, secrets: [k]}}\nsecrets: {k: {file: f.txt}}",
        "services: {s: {image: i}}",
    ),
    (
        "services.*.secrets[].source",
        "services: {s: {image: i, secrets: [{source: k}]}}\nsecrets: {k: {file: f.txt}}",
        "services: {s: {image: i}}",
    ),
    ("services.*.secrets[].target", SECRET_TARGET, SECRET),
    (
        "services.*.secrets[].uid",
        "services: {s: {image: i, secrets: [{source: k, uid: '5'}]}}\nsecrets: {k: {file: f.txt}}",
        SECRET,
    ),
    (
        "services.*.secrets[].gid",
        "services: {s: {image: i, secrets: [{source: k, gid: '5'}]}}\nsecrets: {k: {file: f.txt}}",
        SECRET,
    ),
    (
        "services.*.secrets[].mode",
        "services: {s: {image: i, secrets: [{source: k, mode: 0400}]}}\nsecrets: {k: {file: f.txt}}",
        SECRET,
    ),
    (
        "services.*.configs",
        "services: {s: {image: i, configs: [k]}}\nconfigs: {k: {file: f.txt}}",
        "services: {s: {image: i}}",
    ),
    (
        "services.*.configs[].source",
        "services: {s: {image: i, configs: [{source: k}]}}\nconfigs: {k: {file: f.txt}}",
        "services: {s: {image: i}}",
    ),
    (
        "services.*.configs[].target",
        "services: {s: {image: i, configs: [{source: k, target: /x}]}}\nconfigs: {k: {file: f.txt}}",
        CONFIG,
    ),
    (
        "services.*.configs[].uid",
        "services: {s: {image: i, configs: [{source: k, uid: '5'}]}}\nconfigs: {k: {file: f.txt}}",
        CONFIG,
    ),
    (
        "services.*.configs[].gid",
        "services: {s: {image: i, configs: [{source: k, gid: '5'}]}}\nconfigs: {k: {file: f.txt}}",
        CONFIG,
    ),
    (
        "services.*.configs[].mode",
        "services: {s: {image: i, configs: [{source: k, mode: '0400'}]}}\nconfigs: {k: {file: f.txt}}",
        CONFIG,
    ),
    (
        "networks.*.ipam",
        NET,
        "services: {s: {image: i, networks: [n]}}\nnetworks: {n: }",
    ),
    (
        "networks.*.ipam.config",
        NET,
        "services: {s: {image: i, networks: [n]}}\nnetworks: {n: }",
    ),
    (
        "networks.*.ipam.config[].subnet",
        NET,
        "services: {s: {image: i, networks: [n]}}\nnetworks: {n: }",
    ),
    (
        "networks.*.ipam.config[].gateway",
        "services: {s: {image: i, networks: [n]}}\nnetworks: {n: {ipam: {config: [{subnet: 10.1.0.0/24, gateway: 10.1.0.9}, {subnet: 'fd00::/64'}]}}}",
        NET,
    ),
    (
        "networks.*.internal",
        "services: {s: {image: i}}\nnetworks: {default: {internal: true}}",
        "services: {s: {image: i}}",
    ),
    (
        "networks.*.enable_ipv6",
        "services: {s: {image: i}}\nnetworks: {default: {enable_ipv6: true}}",
        "services: {s: {image: i}}",
    ),
    (
        "volumes.*.labels",
        "services: {s: {image: i, volumes: ['v:/v']}}\nvolumes: {v: {labels: [a=b]}}",
        "services: {s: {image: i, volumes: ['v:/v']}}\nvolumes: {v: }",
    ),
    ("secrets.*.file", SECRET, "services: {s: {image: i}}"),
    (
        "secrets.*.environment",
        "services: {s: {image: i, secrets: [k]}}\nsecrets: {k: {environment: VAR}}",
        SECRET,
    ),
    ("configs.*.file", CONFIG, "services: {s: {image: i}}"),
    (
        "configs.*.content",
        "services: {s: {image: i, configs: [k]}}\nconfigs: {k: {content: text}}",
        CONFIG,
    ),
    (
        "configs.*.environment",
        "services: {s: {image: i, configs: [k]}}\nconfigs: {k: {environment: VAR}}",
        CONFIG,
    ),
];

const NET: &str = "services: {s: {image: i, networks: [n]}}\nnetworks: {n: {ipam: {config: [{subnet: 10.1.0.0/24}, {subnet: 'fd00::/64'}]}}}";
const NET4: &str = "services: {s: {image: i, networks: {n: {ipv4_address: 10.1.0.9}}}}\nnetworks: {n: {ipam: {config: [{subnet: 10.1.0.0/24}, {subnet: 'fd00::/64'}]}}}";
const NET6: &str = "services: {s: {image: i, networks: {n: {ipv6_address: 'fd00::9'}}}}\nnetworks: {n: {ipam: {config: [{subnet: 10.1.0.0/24}, {subnet: 'fd00::/64'}]}}}";
const VOLUME: &str =
    "services: {s: {image: i, volumes: [{type: volume, source: v, target: /a}]}}\nvolumes: {v: }";
const VOLUME_NOCOPY: &str = "services: {s: {image: i, volumes: [{type: volume, source: v, target: /a, volume: {nocopy: true}}]}}\nvolumes: {v: }";
const DEPENDS: &str = "services: {s: {image: i, depends_on: {t: {}}}, t: {image: i}}";
const NO_DEPENDS: &str = "services: {s: {image: i}, t: {image: i}}";
const SECRET: &str = "services: {s: {image: i, secrets: [k]}}\nsecrets: {k: {file: f.txt}}";
const SECRET_TARGET: &str =
    "services: {s: {image: i, secrets: [{source: k, target: /x}]}}\nsecrets: {k: {file: f.txt}}";
const CONFIG: &str = "services: {s: {image: i, configs: [k]}}\nconfigs: {k: {file: f.txt}}";

/// Keys about which something is said, with a value that makes it worth saying.
const SAID: &[(&str, &str, &str)] = &[
    ("services.*.cgroup", "cgroup: host", "grant-missing"),
    ("services.*.devices", "devices: [/dev/x]", "grant-missing"),
    (
        "services.*.devices[].source",
        "devices: [{source: /dev/x}]",
        "grant-missing",
    ),
    (
        "services.*.devices[].target",
        "devices: [{source: /dev/x, target: y}]",
        "device-path",
    ),
    (
        "services.*.devices[].permissions",
        "devices: [{source: /dev/x, permissions: q}]",
        "device-permissions",
    ),
    (
        "services.*.env_file[].required",
        "env_file: [{path: gone, required: true}]",
        "env-file-missing",
    ),
    ("services.*.ipc", "ipc: host", "grant-missing"),
    ("services.*.pid", "pid: host", "grant-missing"),
    (
        "services.*.platform",
        "platform: linux/arm64",
        "platform-foreign",
    ),
    (
        "services.*.ports[].host_ip",
        "ports: [{target: 80, host_ip: 127.0.0.1}]",
        "key-unsupported",
    ),
    (
        "services.*.post_start[].privileged",
        "post_start: [{command: a, privileged: true}]",
        "grant-missing",
    ),
    (
        "services.*.pre_stop[].privileged",
        "pre_stop: [{command: a, privileged: true}]",
        "grant-missing",
    ),
    ("services.*.privileged", "privileged: true", "grant-missing"),
    (
        "services.*.security_opt",
        "security_opt: [seccomp=unconfined]",
        "grant-missing",
    ),
    (
        "services.*.use_api_socket",
        "use_api_socket: true",
        "host-socket",
    ),
    (
        "services.*.userns_mode",
        "userns_mode: host",
        "grant-missing",
    ),
    ("services.*.uts", "uts: host", "grant-missing"),
    (
        "services.*.volumes[].image",
        "volumes: [{type: image, source: x, target: /x, image: {subpath: y}}]",
        "volume-type",
    ),
    (
        "services.*.volumes[].image.subpath",
        "volumes: [{type: image, source: x, target: /x, image: {subpath: y}}]",
        "volume-type",
    ),
    (
        "networks.*.driver",
        "services: {s: {image: i}}\nnetworks: {default: {driver: macvlan}}",
        "key-unsupported",
    ),
    (
        "networks.*.external",
        "services: {s: {image: i}}\nnetworks: {default: {external: true}}",
        "external-unsupported",
    ),
    (
        "networks.*.external.name",
        "services: {s: {image: i}}\nnetworks: {default: {external: {name: x}}}",
        "external-unsupported",
    ),
    (
        "networks.*.enable_ipv4",
        "services: {s: {image: i}}\nnetworks: {default: {enable_ipv4: false}}",
        "key-unsupported",
    ),
    (
        "volumes.*.driver",
        "services: {s: {image: i, volumes: ['v:/v']}}\nvolumes: {v: {driver: rexray}}",
        "key-unsupported",
    ),
    (
        "volumes.*.driver_opts",
        "services: {s: {image: i, volumes: ['v:/v']}}\nvolumes: {v: {driver_opts: {type: nfs}}}",
        "volume-remote",
    ),
    (
        "volumes.*.external",
        "services: {s: {image: i, volumes: ['v:/v']}}\nvolumes: {v: {external: true}}",
        "external-unsupported",
    ),
    (
        "volumes.*.external.name",
        "services: {s: {image: i, volumes: ['v:/v']}}\nvolumes: {v: {external: {name: x}}}",
        "external-unsupported",
    ),
    (
        "secrets.*.external",
        "services: {s: {image: i, secrets: [k]}}\nsecrets: {k: {external: true}}",
        "external-unsupported",
    ),
    (
        "secrets.*.external.name",
        "services: {s: {image: i, secrets: [k]}}\nsecrets: {k: {external: {name: x}}}",
        "external-unsupported",
    ),
    (
        "configs.*.external",
        "services: {s: {image: i, configs: [k]}}\nconfigs: {k: {external: true}}",
        "external-unsupported",
    ),
    (
        "configs.*.external.name",
        "services: {s: {image: i, configs: [k]}}\nconfigs: {k: {external: {name: x}}}",
        "external-unsupported",
    ),
];

fn whole(lines: &str) -> String {
    let is_file = ["services:", "name:", "include:"]
        .iter()
        .any(|k| lines.starts_with(k));
    if is_file {
        lines.to_owned()
    } else {
        service(lines)
    }
}

fn read(lines: &str) -> Outcome {
    let all = files(&[
        ("compose.yaml", &whole(lines)),
        (
            "a.yaml",
            "services: {a: {image: i, hostname: 'a${V}', volumes: ['./x:/x']}, b: {image: i, hostname: b}}",
        ),
        ("b.yaml", "services: {a: {hostname: over}}"),
        ("v.env", "V=1\n"),
        ("q.env", "V='1'\n"),
        ("f.txt", "file"),
    ]);
    let mut request = request();
    request.env.insert("VAR".into(), "value".into());
    read_project(&all, &request)
}

#[test]
fn every_honoured_key_changes_the_stand() {
    for (path, with, without) in HONOURED {
        let (a, b) = (read(with), read(without));
        for outcome in [&a, &b] {
            assert!(outcome.spec.is_some(), "{path}: {}", told(outcome));
        }
        assert_ne!(
            short(a.spec.as_ref().unwrap()),
            short(b.spec.as_ref().unwrap()),
            "{path} changes nothing"
        );
    }
}

#[test]
fn every_refused_key_is_refused_by_its_code() {
    for (path, lines, code) in SAID {
        let outcome = read(lines);
        assert!(
            outcome.diagnostics.iter().any(|d| d.code == *code),
            "{path}: {}",
            told(&outcome)
        );
    }
}

#[test]
fn no_key_of_the_schema_is_silent() {
    let mut said: BTreeSet<&str> = HONOURED.iter().map(|(path, ..)| *path).collect();
    said.extend(SAID.iter().map(|(path, ..)| *path));
    let mut fates: BTreeMap<&str, usize> = BTreeMap::new();
    for path in SCHEMA.lines().filter(|l| !l.starts_with('#')) {
        if said.contains(path) {
            *fates.entry("honoured or refused").or_default() += 1;
            continue;
        }
        let outcome = read(&sample(path));
        let shown = path
            .replace("services.*", "services.s")
            .replace("[]", "")
            .replace(".*", ".n");
        // The line of a key, or of one above it.
        let is_told = outcome.ignored.iter().any(|line| {
            let line = line.key.replace("[]", "");
            shown == line || shown.starts_with(&format!("{line}."))
        });
        // How an image is built is no part of the stand: it must differ from a build that says nothing.
        let is_build = path.starts_with("services.*.build")
            && (outcome.has_errors() || outcome.builds != read("image: i\nbuild: {}").builds);
        if is_build {
            *fates.entry("noted").or_default() += 1;
            continue;
        }
        assert!(
            is_told,
            "{path} is silent: {}\n{}",
            sample(path),
            told(&outcome)
        );
        assert!(
            !outcome.diagnostics.iter().any(|d| d.code == "key-unknown"),
            "{path}: {}",
            told(&outcome)
        );
        *fates.entry("noted").or_default() += 1;
    }
    // The schema grows: so must this list.
    assert_eq!(
        fates["honoured or refused"],
        said.len(),
        "a path of this test is not in the schema"
    );
    assert!(fates["noted"] > 100);
}

/// Makes a file that holds the key at `path`.
fn sample(path: &str) -> String {
    let mut value = "v".to_owned();
    for part in path.split('.').rev() {
        let (name, is_list) = part
            .strip_suffix("[]")
            .map_or((part, false), |name| (name, true));
        let name = if name == "*" { "n" } else { name };
        value = if is_list {
            format!("{{{name}: [{value}]}}")
        } else {
            format!("{{{name}: {value}}}")
        };
    }
    let inner = &value[1..value.len() - 1];
    match path.split('.').next() {
        Some("services") => {
            let lines = inner
                .strip_prefix("services: {n: {")
                .and_then(|r| r.strip_suffix("}}"))
                .unwrap_or("image: i");
            format!("services: {{s: {{image: i, {lines}}}}}\n")
        }
        Some(section @ ("networks" | "volumes" | "secrets" | "configs")) => {
            let used = if section == "volumes" {
                "['n:/n']".to_owned()
            } else {
                "[n]".to_owned()
            };
            format!("services: {{s: {{image: i, {section}: {used}}}}}\n{inner}\n")
        }
        _ => format!("services: {{s: {{image: i}}}}\n{inner}\n"),
    }
}

#[test]
fn keys_of_ones_own_begin_with_x_everywhere() {
    let outcome = read(
        "services:\n  s:\n    image: i\n    x-a: 1\n    build: {x-b: 1}\n    healthcheck: {x-c: 1}\n    ports: [{target: 80, x-d: 1}]\n    networks: {default: {x-e: 1}}\n    deploy: {x-f: {y: z}}\n    ulimits: {nofile: {soft: 1, hard: 1, x-g: 1}}\nnetworks: {default: {x-h: 1, ipam: {x-i: 1}}}\nx-j: [1, 2]\n",
    );
    assert!(outcome.spec.is_some(), "{}", told(&outcome));
    assert_eq!(outcome.diagnostics.len(), 0, "{}", told(&outcome));
}

#[test]
fn what_hosting_tools_add_is_known() {
    let outcome = read(&format!(
        "services:\n  s:\n    image: i\n    exclude_from_hc: true\n    volumes: [{{type: bind, source: ./a, target: /a, content: x, is_directory: true}}]\nvolumes: {{}}\n# {DIR}\n"
    ));
    assert!(outcome.spec.is_some(), "{}", told(&outcome));
    assert_eq!(outcome.ignored.len(), 3);
}

/// The page that people read.
const PAGE: &str = include_str!("../../../../docs/reference/project-file.md");

#[test]
fn the_page_names_every_key_of_the_schema() {
    // Keys of these are said to be known as a whole.
    let whole = [
        "services.*.build.",
        "services.*.develop.",
        "services.*.blkio_config.",
        "models.",
        "services.*.models.",
        "services.*.provider.",
        "services.*.gpus",
        "services.*.credential_spec.",
        "services.*.pre_start[]",
        "services.*.logging.",
    ];
    let below_noted = [
        "services.*.deploy.placement.",
        "services.*.deploy.update_config.",
        "services.*.deploy.rollback_config.",
        "services.*.deploy.resources.reservations.",
    ];
    for path in SCHEMA.lines().filter(|l| !l.starts_with('#')) {
        if whole
            .iter()
            .chain(&below_noted)
            .any(|p| path.starts_with(p))
        {
            continue;
        }
        let name = path.rsplit('.').next().unwrap_or(path);
        let words = PAGE.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        assert!(
            words.into_iter().any(|w| w == name),
            "`{path}` is not on the page"
        );
    }
}
