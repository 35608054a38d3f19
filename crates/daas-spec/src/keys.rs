//! Every key of the Compose Specification, and what becomes of it here.
//!
//! The keys are those of the specification's schema (2026), and the few that hosting tools add.

/// What becomes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It does what the specification says, or is refused with a reason where it is read.
    Honoured,
    /// It has no effect, and nobody will miss it: the reason.
    Noted(&'static str),
    /// It has no effect, and the project may behave differently: the reason.
    Warned(&'static str),
}

/// What lies below a key.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Below {
    /// A value of its own kind, or keys that the user chooses.
    Anything,
    /// A map of known keys; another kind of value is looked at where it is read.
    Keys(&'static [Key]),
    /// A map of chosen names to maps of known keys.
    Named(&'static [Key]),
    /// A list whose maps have known keys.
    Each(&'static [Key]),
}

/// A known key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) fate: Fate,
    pub(crate) below: Below,
}

const fn yes(name: &'static str) -> Key {
    Key {
        name,
        fate: Fate::Honoured,
        below: Below::Anything,
    }
}

const fn keys(name: &'static str, below: &'static [Key]) -> Key {
    Key {
        name,
        fate: Fate::Honoured,
        below: Below::Keys(below),
    }
}

const fn named(name: &'static str, below: &'static [Key]) -> Key {
    Key {
        name,
        fate: Fate::Honoured,
        below: Below::Named(below),
    }
}

const fn each(name: &'static str, below: &'static [Key]) -> Key {
    Key {
        name,
        fate: Fate::Honoured,
        below: Below::Each(below),
    }
}

const fn note(name: &'static str, why: &'static str) -> Key {
    Key {
        name,
        fate: Fate::Noted(why),
        below: Below::Anything,
    }
}

const fn warn(name: &'static str, why: &'static str) -> Key {
    Key {
        name,
        fate: Fate::Warned(why),
        below: Below::Anything,
    }
}

impl Key {
    const fn below(self, below: Below) -> Self {
        Self { below, ..self }
    }
}

const OWN_NAME: &str = "its name does not leave the stand, so it cannot clash and needs no other";
const LABELS: &str = "labels are kept for nodes and volumes";
const CPU_SHARES: &str =
    "a stand has one ceiling over all its nodes; set `cpus` for a node below it";
const SCHEDULER: &str = "a stand lives on one host";
const SWAP: &str = "nodes get no swap of their own";

/// The top level.
pub(crate) const TOP: &[Key] = &[
    note(
        "version",
        "it is obsolete: every file is read by the current Compose Specification",
    ),
    yes("name"),
    each(
        "include",
        &[yes("path"), yes("project_directory"), yes("env_file")],
    ),
    named("services", SERVICE),
    named("networks", NETWORK),
    named("volumes", VOLUME),
    named("secrets", SECRET),
    named("configs", CONFIG),
    warn("models", "no model runs in a stand yet").below(Below::Named(&[
        yes("name"),
        yes("model"),
        yes("context_size"),
        yes("runtime_flags"),
    ])),
];

/// A service.
pub(crate) const SERVICE: &[Key] = &[
    note("annotations", "nothing here reads them"),
    note("attach", "logs of every node are kept: `daas stand logs`"),
    warn("blkio_config", CPU_SHARES).below(Below::Keys(&[
        yes("device_read_bps"),
        yes("device_read_iops"),
        yes("device_write_bps"),
        yes("device_write_iops"),
        yes("weight"),
        yes("weight_device"),
    ])),
    keys("build", BUILD),
    yes("cap_add"),
    yes("cap_drop"),
    yes("cgroup"),
    warn("cgroup_parent", "every node lives below the group of its stand"),
    yes("command"),
    each("configs", FILE_USE),
    yes("container_name"),
    warn("cpu_count", CPU_SHARES),
    warn("cpu_percent", CPU_SHARES),
    warn("cpu_period", CPU_SHARES),
    warn("cpu_quota", CPU_SHARES),
    warn("cpu_rt_period", CPU_SHARES),
    warn("cpu_rt_runtime", CPU_SHARES),
    note("cpu_shares", CPU_SHARES),
    yes("cpus"),
    note("cpuset", CPU_SHARES),
    warn("credential_spec", "it is for Windows").below(Below::Keys(&[yes("config"), yes("file"), yes("registry")])),
    named("depends_on", &[yes("condition"), yes("restart"), yes("required")]),
    keys("deploy", DEPLOY),
    note("develop", "watching sources comes in a later version").below(Below::Keys(&[each(
        "watch",
        &[yes("path"), yes("action"), yes("target"), yes("ignore"), yes("include"), keys("exec", HOOK), yes("initial_sync")],
    )])),
    warn("device_cgroup_rules", "devices are given one by one: use `devices`"),
    each("devices", &[yes("source"), yes("target"), yes("permissions")]),
    yes("dns"),
    yes("dns_opt"),
    yes("dns_search"),
    yes("domainname"),
    yes("entrypoint"),
    each("env_file", &[yes("path"), yes("required"), yes("format")]),
    yes("environment"),
    note("exclude_from_hc", "it is Coolify's: the stand's health is that of its nodes with a health check"),
    yes("expose"),
    keys("extends", &[yes("service"), yes("file")]),
    warn("external_links", "a stand does not see containers outside of itself"),
    yes("extra_hosts"),
    warn("gpus", "GPUs are not given to nodes yet").below(Below::Each(&[yes("capabilities"), yes("count"), yes("device_ids"), yes("driver"), yes("options")])),
    yes("group_add"),
    keys("healthcheck", HEALTH),
    yes("hostname"),
    yes("image"),
    yes("init"),
    yes("ipc"),
    note("isolation", "every node has namespaces and a filter of its own"),
    yes("label_file"),
    yes("labels"),
    yes("links"),
    note("logging", "logs go to the stand's disk, rotate there, and are followed by `daas stand logs`").below(Below::Keys(&[yes("driver"), yes("options")])),
    yes("mac_address"),
    yes("mem_limit"),
    note("mem_reservation", "the stand's ceiling is its reservation"),
    note("mem_swappiness", SWAP),
    note("memswap_limit", SWAP),
    warn("models", "no model runs in a stand yet").below(Below::Named(&[yes("endpoint_var"), yes("model_var")])),
    yes("network_mode"),
    named("networks", ATTACHMENT),
    warn("oom_kill_disable", "a node over its memory is killed, or the whole stand would hang"),
    yes("oom_score_adj"),
    yes("pid"),
    yes("pids_limit"),
    yes("platform"),
    each(
        "ports",
        &[
            note("name", "nothing here reads it"),
            note("mode", "a stand lives on one host"),
            yes("host_ip"),
            yes("target"),
            yes("published"),
            yes("protocol"),
            note("app_protocol", "nothing here reads it yet"),
        ],
    ),
    each("post_start", HOOK),
    warn("pre_start", "hooks before the start are not run yet; use a service with `depends_on: {condition: service_completed_successfully}`").below(Below::Each(&[
        yes("command"),
        yes("image"),
        yes("user"),
        yes("privileged"),
        yes("working_dir"),
        yes("environment"),
        yes("per_replica"),
    ])),
    each("pre_stop", HOOK),
    yes("privileged"),
    yes("profiles"),
    warn("provider", "plug-ins are not run").below(Below::Keys(&[yes("type"), yes("options")])),
    yes("pull_policy"),
    note("pull_refresh_after", "`pull_policy: always` asks the registry at every `up`"),
    yes("read_only"),
    yes("restart"),
    warn("runtime", "DaaS runs every node itself"),
    yes("scale"),
    each("secrets", FILE_USE),
    yes("security_opt"),
    yes("shm_size"),
    yes("stdin_open"),
    yes("stop_grace_period"),
    yes("stop_signal"),
    note("storage_opt", "the stand's `x-daas.limits.disk` counts for all its nodes"),
    yes("sysctls"),
    yes("tmpfs"),
    yes("tty"),
    named("ulimits", &[yes("soft"), yes("hard")]),
    yes("use_api_socket"),
    yes("user"),
    yes("userns_mode"),
    yes("uts"),
    each("volumes", MOUNT),
    yes("volumes_from"),
    yes("working_dir"),
];

const BUILD: &[Key] = &[
    yes("additional_contexts"),
    yes("args"),
    yes("cache_from"),
    yes("cache_to"),
    yes("context"),
    yes("dockerfile"),
    yes("dockerfile_inline"),
    yes("entitlements"),
    yes("extra_hosts"),
    yes("isolation"),
    yes("labels"),
    yes("network"),
    yes("no_cache"),
    yes("no_cache_filter"),
    yes("platforms"),
    yes("privileged"),
    yes("provenance"),
    yes("pull"),
    yes("sbom"),
    each("secrets", FILE_USE),
    yes("shm_size"),
    yes("ssh"),
    yes("tags"),
    yes("target"),
    named("ulimits", &[yes("soft"), yes("hard")]),
];

const DEPLOY: &[Key] = &[
    note("endpoint_mode", SCHEDULER),
    note("labels", LABELS),
    note("mode", SCHEDULER),
    note("placement", SCHEDULER).below(Below::Keys(&[
        yes("constraints"),
        each("preferences", &[yes("spread")]),
        yes("max_replicas_per_node"),
    ])),
    yes("replicas"),
    keys(
        "resources",
        &[
            keys("limits", &[yes("cpus"), yes("memory"), yes("pids")]),
            note("reservations", "the stand's ceiling is its reservation").below(Below::Keys(&[
                yes("cpus"),
                yes("memory"),
                each(
                    "generic_resources",
                    &[keys("discrete_resource_spec", &[yes("kind"), yes("value")])],
                ),
                each(
                    "devices",
                    &[
                        yes("capabilities"),
                        yes("count"),
                        yes("device_ids"),
                        yes("driver"),
                        yes("options"),
                    ],
                ),
            ])),
        ],
    ),
    keys(
        "restart_policy",
        &[
            yes("condition"),
            note("delay", "the pause before a restart grows by itself"),
            yes("max_attempts"),
            note("window", "a node that ran for a while counts as started"),
        ],
    ),
    note("rollback_config", SCHEDULER).below(Below::Keys(UPDATE)),
    note("update_config", SCHEDULER).below(Below::Keys(UPDATE)),
];

const UPDATE: &[Key] = &[
    yes("parallelism"),
    yes("delay"),
    yes("failure_action"),
    yes("monitor"),
    yes("max_failure_ratio"),
    yes("order"),
];

const HEALTH: &[Key] = &[
    yes("disable"),
    yes("interval"),
    yes("retries"),
    yes("start_interval"),
    yes("start_period"),
    yes("test"),
    yes("timeout"),
];

const HOOK: &[Key] = &[
    yes("command"),
    yes("environment"),
    yes("privileged"),
    yes("user"),
    yes("working_dir"),
];

const FILE_USE: &[Key] = &[
    yes("source"),
    yes("target"),
    yes("uid"),
    yes("gid"),
    yes("mode"),
];

const ATTACHMENT: &[Key] = &[
    yes("aliases"),
    note(
        "driver_opts",
        "every network is a bridge of the stand's own",
    ),
    yes("gw_priority"),
    warn(
        "interface_name",
        "interfaces are `eth0`, `eth1`, ... in the order of `priority`",
    ),
    yes("ipv4_address"),
    yes("ipv6_address"),
    warn("link_local_ips", "link-local addresses are the kernel's"),
    yes("mac_address"),
    yes("priority"),
];

const MOUNT: &[Key] = &[
    keys(
        "bind",
        &[
            note(
                "propagation",
                "mounts of a node do not leave it, nor come in later",
            ),
            yes("create_host_path"),
            note(
                "recursive",
                "a bind brings what is mounted below it, read-only if it is",
            ),
            note("selinux", "SELinux labels are not set"),
        ],
    ),
    note("consistency", "it is for Docker Desktop"),
    note("content", "it is Coolify's: use `configs` with `content`"),
    keys("image", &[yes("subpath")]),
    note("is_directory", "it is Coolify's: a missing folder is made"),
    note("isDirectory", "it is Coolify's: a missing folder is made"),
    yes("read_only"),
    yes("source"),
    yes("target"),
    keys("tmpfs", &[yes("size"), yes("mode")]),
    yes("type"),
    keys(
        "volume",
        &[note("labels", LABELS), yes("nocopy"), yes("subpath")],
    ),
];

const NETWORK: &[Key] = &[
    note("attachable", "it is for clusters"),
    yes("driver"),
    note(
        "driver_opts",
        "every network is a bridge of the stand's own",
    ),
    warn("enable_ipv4", "a node always gets IPv4 addresses"),
    yes("enable_ipv6"),
    keys("external", &[yes("name")]),
    yes("internal"),
    keys(
        "ipam",
        &[
            note("driver", "addresses are given by DaaS"),
            each(
                "config",
                &[
                    yes("subnet"),
                    note(
                        "ip_range",
                        "free addresses are taken from the whole subnet; addresses named in the file are kept free",
                    ),
                    yes("gateway"),
                    note(
                        "aux_addresses",
                        "an address that nobody takes needs no reservation",
                    ),
                ],
            ),
            note("options", "addresses are given by DaaS"),
        ],
    ),
    note("labels", LABELS),
    note("name", OWN_NAME),
];

const VOLUME: &[Key] = &[
    yes("driver"),
    yes("driver_opts"),
    keys("external", &[yes("name")]),
    yes("labels"),
    note("name", OWN_NAME),
];

const SECRET: &[Key] = &[
    warn(
        "driver",
        "secrets come from files, variables or the text itself",
    ),
    warn(
        "driver_opts",
        "secrets come from files, variables or the text itself",
    ),
    yes("content"),
    yes("environment"),
    keys("external", &[yes("name")]),
    yes("file"),
    note("labels", LABELS),
    note("name", OWN_NAME),
    warn("template_driver", "templates are not filled in"),
];

const CONFIG: &[Key] = &[
    yes("content"),
    yes("environment"),
    keys("external", &[yes("name")]),
    yes("file"),
    note("labels", LABELS),
    note("name", OWN_NAME),
    warn("template_driver", "templates are not filled in"),
];

/// `x-daas` at the top level.
pub(crate) const X_DAAS: &[Key] = &[
    keys(
        "limits",
        &[yes("cpus"), yes("memory"), yes("pids"), yes("disk")],
    ),
    yes("egress"),
    yes("ttl"),
    yes("sleep_after"),
    each("routes", X_DAAS_ROUTE),
];

/// A route of `x-daas.routes`.
const X_DAAS_ROUTE: &[Key] = &[
    yes("service"),
    yes("port"),
    yes("protocol"),
    yes("host"),
    yes("hosts"),
    yes("path"),
    yes("headers"),
    yes("strip_prefix"),
    yes("add_prefix"),
    keys("redirect", &[yes("to"), yes("status")]),
    yes("request_headers"),
    yes("response_headers"),
    yes("basic_auth"),
    keys(
        "forward_auth",
        &[
            yes("service"),
            yes("port"),
            yes("path"),
            yes("copy_headers"),
        ],
    ),
    yes("link_secret"),
    yes("allow"),
    yes("rate"),
    yes("body_limit"),
    yes("retries"),
    yes("sticky"),
    yes("compress"),
    yes("timeout"),
    yes("listen"),
];

/// `x-daas` of a service: what describes its image.
pub(crate) const X_DAAS_SERVICE: &[Key] = &[
    yes("base"),
    yes("packages"),
    yes("build_packages"),
    yes("pip"),
    yes("npm"),
    yes("cargo"),
    each(
        "files",
        &[
            yes("source"),
            yes("content"),
            yes("target"),
            yes("owner"),
            yes("mode"),
        ],
    ),
    yes("run"),
    keys("user", &[yes("name"), yes("id")]),
    yes("env"),
    yes("workdir"),
    yes("expose"),
    yes("volumes"),
    yes("labels"),
    yes("entrypoint"),
    yes("command"),
];
