//! The catalogue of bad input: each has a diagnostic with a place, and nothing panics.

use crate::support::{codes, read, read_files, service, told};

/// Returns what is wrong if a file does not give the code at the place, `line:column`.
fn at(text: &str, code: &str, place: &str) -> Option<String> {
    let outcome = read(text);
    let shown = told(&outcome);
    let found: Vec<String> = outcome
        .diagnostics
        .iter()
        .filter(|d| d.code == code)
        .filter_map(|d| d.place.as_ref().map(|p| format!("{}:{}", p.line, p.column)))
        .collect();
    let is_told = found.iter().any(|p| p == place) && outcome.spec.is_none();
    (!is_told).then(|| format!("wanted {code} at {place} in:\n{text}\ntold:\n{shown}\n"))
}

/// Asserts that each file gives its code at its place.
fn all<T: AsRef<str>>(cases: impl IntoIterator<Item = (T, &'static str, &'static str)>) {
    let wrong: Vec<String> = cases
        .into_iter()
        .filter_map(|(text, code, place)| at(text.as_ref(), code, place))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn texts_that_are_no_yaml_have_a_place() {
    all([
        ("", "file-empty", "1:1"),
        ("# nothing\n", "file-empty", "1:1"),
        ("\u{feff}", "file-empty", "1:1"),
        ("~", "file-empty", "1:1"),
        ("just words", "type-wrong", "1:1"),
        ("[a, b]", "type-wrong", "1:1"),
        ("services:\n\tweb: {}\n", "yaml-tab", "2:2"),
        ("services:\n  web: {image: i\n", "yaml-syntax", "2:8"),
        (
            "services:\n  web:\n    image: a: b\n",
            "yaml-syntax",
            "3:13",
        ),
        ("services: \"x\n", "yaml-quote-open", "2:1"),
        ("services: *nowhere\n", "yaml-anchor-unknown", "1:11"),
        ("services: &a\n  b: *a\n", "yaml-anchor-unknown", "2:6"),
        ("services: {s: {image: \"\\q\"}}\n", "yaml-escape", "1:23"),
        ("services: @x\n", "yaml-syntax", "1:11"),
        ("services: !resset {}\n", "yaml-tag-unknown", "1:11"),
        ("? [a]\n: b\n", "yaml-key-kind", "1:3"),
        ("a: 1\n---\nb: 2\n", "yaml-several-documents", "3:1"),
        (
            "services:\n  s: {image: i, image: j}\n",
            "key-twice",
            "2:17",
        ),
        (
            "services:\n  s: {image: i}\n  s: {image: j}\n",
            "key-twice",
            "3:3",
        ),
        (
            "services:\n  s:\n    image: i\n    <<: [1]\n",
            "merge-key-kind",
            "4:10",
        ),
        (
            "services:\n  s:\n    image: i\u{7}\n",
            "text-control-character",
            "3:13",
        ),
        (
            "services:\n  s: {image: \"a\\0b\"}\n",
            "text-control-character",
            "2:14",
        ),
    ]);
}

#[test]
fn bytes_that_are_no_text_have_a_place() {
    for (bytes, code, place) in [
        (
            b"services:\n  s: {image: caf\xe9}".as_slice(),
            "text-not-utf8",
            "2:17",
        ),
        (b"\xff\xfes\0", "text-not-utf8", "1:1"),
        (b"a: 1\n\0", "text-control-character", "2:1"),
    ] {
        let files: std::collections::BTreeMap<String, Vec<u8>> =
            [("/home/ann/shop/compose.yaml".to_owned(), bytes.to_vec())].into();
        let outcome = daas_spec::read_project(&files, &crate::support::request());
        assert_eq!(codes(&outcome), [code]);
        let found = outcome.diagnostics[0].place.clone().unwrap();
        assert_eq!(format!("{}:{}", found.line, found.column), place);
    }
}

#[test]
fn windows_line_ends_and_a_byte_order_mark_do_no_harm() {
    let outcome =
        read("\u{feff}services:\r\n  s:\r\n    image: i\r\n    command: |\r\n      a\r\n");
    assert_eq!(told(&outcome), "");
    let outcome = read("\u{feff}services:\r\n  s:\r\n    imge: i\r\n");
    assert!(
        told(&outcome).contains("compose.yaml:3:5"),
        "{}",
        told(&outcome)
    );
}

#[test]
fn projects_that_are_none_have_a_place() {
    all([
        ("name: x\n", "project-empty", "1:1"),
        ("services:\n", "project-empty", "1:1"),
        ("services: {}\n", "project-empty", "1:1"),
        ("services: [a]\n", "type-wrong", "1:11"),
        ("services: {s: }\n", "image-missing", "1:12"),
        ("services: {s: x}\n", "type-wrong", "1:15"),
        (
            "name: Sho p\nservices: {s: {image: i}}\n",
            "project-name",
            "1:7",
        ),
        ("services: {'': {image: i}}\n", "service-name", "1:12"),
        (
            "networks: x\nservices: {s: {image: i}}\n",
            "type-wrong",
            "1:11",
        ),
    ]);
    let outcome = read_files(&[]);
    assert_eq!(codes(&outcome), ["project-missing"]);
    assert!(outcome.spec.is_none());
}

#[test]
fn nasty_names_are_refused_everywhere() {
    let long = "a".repeat(64);
    let huge = "a".repeat(1000);
    for name in [
        "..",
        ".",
        "/",
        "a/b",
        "-rf",
        "--upload-pack=x",
        "$(x)",
        "a\\n",
        "Ä",
        "e\u{301}",
        "\\u202eabc",
        "😀",
        "a b",
        &long,
        &huge,
    ] {
        for text in [
            format!("services: {{\"{name}\": {{image: i}}}}"),
            format!(
                "services: {{s: {{image: i, networks: [\"{name}\"]}}}}\nnetworks: {{\"{name}\": }}"
            ),
            format!(
                "services: {{s: {{image: i, volumes: [{{type: volume, source: \"{name}\", target: /x}}]}}}}\nvolumes: {{\"{name}\": }}"
            ),
            format!(
                "services: {{s: {{image: i, secrets: [\"{name}\"]}}}}\nsecrets: {{\"{name}\": {{content: x}}}}"
            ),
            format!("services: {{s: {{image: i, container_name: \"{name}\"}}}}"),
            format!("services: {{s: {{image: i, hostname: \"{name}\"}}}}"),
            format!("services: {{s: {{image: \"{name}\"}}}}"),
            format!("services: {{s: {{image: i, user: \"{name}\"}}}}"),
            format!("services: {{s: {{image: i, links: [\"t:{name}\"]}}, t: {{image: i}}}}"),
            format!("services: {{s: {{image: i, extra_hosts: {{\"{name}\": 10.0.0.1}}}}}}"),
            format!(
                "services: {{s: {{image: i, networks: {{default: {{aliases: [\"{name}\"]}}}}}}}}"
            ),
            format!("name: \"{name}\"\nservices: {{s: {{image: i}}}}"),
        ] {
            // A file name may hold a slash and a path dots where Compose allows it; a host name of 63 letters and more may be legal.
            let allowed = (text.contains("image: \"") && ["a/b", &long].contains(&name))
                || (name == long && (text.contains("user:") || text.contains("hostname")))
                || (text.contains("name: \"") && name == "..");
            let outcome = read(&text);
            assert!(allowed || outcome.spec.is_none(), "{text}");
            assert!(
                outcome.spec.is_some()
                    || outcome
                        .diagnostics
                        .iter()
                        .all(|d| d.place.as_ref().is_some_and(|p| p.line > 0)),
                "{text}"
            );
            // What is told never holds a raw control or direction character.
            assert!(
                !told(&outcome)
                    .chars()
                    .any(|c| c == '\u{202e}' || (c.is_control() && c != '\n')),
                "{text}"
            );
        }
    }
}

#[test]
fn wrong_values_of_a_service_have_a_place() {
    let cases = [
        ("ports: 80", "type-wrong", "4:12"),
        ("ports: [80:x]", "port-syntax", "4:13"),
        ("ports: [70000:80]", "port-out-of-range", "4:13"),
        ("ports: ['0:80']", "port-out-of-range", "4:13"),
        ("ports: [1-3:1-2]", "port-ranges-differ", "4:13"),
        ("ports: [90-80]", "port-range-backwards", "4:13"),
        ("ports: [80/sctp]", "port-protocol", "4:13"),
        ("ports: [{published: 80}]", "port-target-missing", "4:13"),
        ("ports: [{target: x}]", "port-syntax", "4:22"),
        ("ports: [[80]]", "type-wrong", "4:13"),
        ("ports: [127.0.0.1:80]", "port-syntax", "4:13"),
        ("expose: [80:80]", "port-syntax", "4:14"),
        ("mem_limit: 12x", "size-wrong", "4:16"),
        ("mem_limit: 512", "memory-too-small", "4:16"),
        ("mem_limit: -1", "size-wrong", "4:16"),
        ("mem_limit: 99999999999g", "size-wrong", "4:16"),
        ("shm_size: lots", "size-wrong", "4:15"),
        ("cpus: 0,5", "cpus-wrong", "4:11"),
        ("cpus: -1", "cpus-wrong", "4:11"),
        ("cpus: 1e9", "cpus-wrong", "4:11"),
        ("cpus: .nan", "cpus-wrong", "4:11"),
        ("pids_limit: many", "number-wrong", "4:17"),
        ("scale: -1", "number-wrong", "4:12"),
        ("scale: 1001", "number-wrong", "4:12"),
        ("scale: 1.5", "number-wrong", "4:12"),
        ("oom_score_adj: 1001", "number-wrong", "4:20"),
        ("stop_grace_period: 10", "duration-wrong", "4:24"),
        ("stop_grace_period: -1s", "duration-wrong", "4:24"),
        ("stop_grace_period: 10000000000d", "duration-wrong", "4:24"),
        ("stop_signal: SIGTREM", "signal-unknown", "4:18"),
        ("restart: sometimes", "restart-policy", "4:14"),
        ("restart: on-failure:x", "restart-policy", "4:14"),
        ("restart: true", "restart-policy", "4:14"),
        ("init: maybe", "boolean-wrong", "4:11"),
        ("tty: [true]", "type-wrong", "4:10"),
        ("user: 65536", "id-out-of-range", "4:11"),
        ("user: 4294967296", "id-out-of-range", "4:11"),
        ("user: -1", "id-out-of-range", "4:11"),
        ("user: '0:99999999999999999999'", "id-out-of-range", "4:11"),
        ("user: ':'", "user-wrong", "4:11"),
        ("group_add: [70000]", "id-out-of-range", "4:17"),
        ("working_dir: here", "path-relative", "4:18"),
        ("command: 'a \"b'", "command-quoting", "4:14"),
        ("command: {a: b}", "type-wrong", "4:14"),
        ("command: [[a]]", "type-wrong", "4:15"),
        ("command: [a, ]\nentrypoint: [~]", "entry-empty", "5:18"),
        ("environment: A=b", "type-wrong", "4:18"),
        ("environment: [{A: b}]", "type-wrong", "4:19"),
        ("environment: {A: [b]}", "type-wrong", "4:22"),
        ("environment: [=b]", "environment-name", "4:19"),
        ("env_file: gone.env", "env-file-missing", "4:15"),
        (
            "env_file: [{path: gone.env, format: x}]",
            "env-file-format",
            "4:16",
        ),
        ("env_file: [{required: false}]", "env-file-missing", "4:16"),
        ("healthcheck: {test: [curl]}", "health-kind", "4:25"),
        ("healthcheck: {test: [CMD]}", "health-empty", "4:25"),
        ("healthcheck: {interval: 5}", "duration-wrong", "4:29"),
        ("healthcheck: {retries: -1}", "number-wrong", "4:28"),
        ("healthcheck: [a]", "type-wrong", "4:18"),
        ("volumes: [data:/x]", "volume-undeclared", "4:15"),
        ("volumes: [./a:x]", "path-relative", "4:15"),
        ("volumes: [./a]", "path-relative", "4:15"),
        ("volumes: ['./a::ro']", "volume-syntax", "4:15"),
        ("volumes: ['a:b:c:d']", "volume-syntax", "4:15"),
        ("volumes: ['./a:/b:readonly']", "volume-option", "4:15"),
        ("volumes: ['C:\\a:/b']", "path-windows", "4:15"),
        ("volumes: ['./a:/']", "target-forbidden", "4:15"),
        (
            "volumes: ['./a:/x/../proc/sys']",
            "target-forbidden",
            "4:15",
        ),
        ("volumes: ['~ann/x:/b']", "path-home", "4:15"),
        (
            "volumes: [{type: npipe, source: a, target: /b}]",
            "volume-type",
            "4:22",
        ),
        (
            "volumes: [{type: bimd, source: ./a, target: /b}]",
            "volume-type",
            "4:22",
        ),
        (
            "volumes: [{type: bind, target: /b}]",
            "source-missing",
            "4:15",
        ),
        (
            "volumes: [{type: bind, source: ./b}]",
            "volume-target-missing",
            "4:15",
        ),
        ("volumes: {a: b}", "type-wrong", "4:14"),
        ("tmpfs: run", "path-relative", "4:12"),
        ("tmpfs: /run:size=x", "tmpfs-option", "4:12"),
        ("tmpfs: [/run:colour=red]", "tmpfs-option", "4:13"),
        ("ulimits: {nofle: 5}", "ulimit-unknown", "4:15"),
        ("ulimits: {nofile: {soft: 5}}", "ulimit-half", "4:23"),
        (
            "ulimits: {nofile: {soft: 5, hard: 4}}",
            "ulimit-soft-above-hard",
            "4:23",
        ),
        ("ulimits: {nofile: -2}", "number-wrong", "4:23"),
        ("sysctls: {net.x: }", "sysctl-wrong", "4:15"),
        ("sysctls: ['net..x=1']", "sysctl-wrong", "4:15"),
        ("cap_add: [NET_ADMN]", "capability-unknown", "4:15"),
        (
            "security_opt: [no-new-privilege]",
            "security-option",
            "4:20",
        ),
        ("devices: [ttyUSB0]", "device-path", "4:15"),
        ("devices: [/dev/../etc/shadow]", "device-path", "4:15"),
        ("devices: ['/dev/x:/dev/x:q']", "device-permissions", "4:15"),
        ("devices: [vendor.com/device=gpu]", "device-cdi", "4:15"),
        ("dns: localhost", "address-wrong", "4:10"),
        ("extra_hosts: ['a']", "host-line", "4:19"),
        ("extra_hosts: ['a=b']", "address-wrong", "4:19"),
        ("mac_address: 02:42", "mac-wrong", "4:18"),
        ("mac_address: 01:42:ac:11:00:02", "mac-wrong", "4:18"),
        ("network_mode: hsot", "network-mode", "4:19"),
        ("network_mode: service:t", "service-missing", "4:19"),
        ("network_mode: service:s", "network-own", "4:19"),
        ("network_mode: container:t", "network-container", "4:19"),
        (
            "network_mode: none\nnetworks: [default]",
            "network-twice",
            "5:5",
        ),
        ("networks: [back]", "network-undeclared", "4:16"),
        ("networks: back", "type-wrong", "4:15"),
        (
            "networks: {default: {ipv4_address: 10.0.0.5}}",
            "address-without-subnet",
            "4:40",
        ),
        (
            "networks: {default: {ipv4_address: x}}",
            "address-wrong",
            "4:40",
        ),
        (
            "networks: {default: {ipv6_address: 10.0.0.1}}",
            "address-wrong",
            "4:40",
        ),
        ("depends_on: [t]", "service-missing", "4:18"),
        (
            "depends_on: {s: {condition: service_health}}",
            "condition-unknown",
            "4:33",
        ),
        ("depends_on: t", "type-wrong", "4:17"),
        ("depends_on: [s]", "depends-cycle", "4:18"),
        ("links: [t]", "service-missing", "4:13"),
        ("secrets: [x]", "secret-undeclared", "4:15"),
        ("configs: [{target: /x}]", "source-missing", "4:15"),
        ("post_start: [{user: root}]", "hook-empty", "4:18"),
        ("pre_stop: [{command: []}]", "hook-empty", "4:26"),
        ("profiles: {a: b}", "type-wrong", "4:15"),
        ("pull_policy: alwys", "pull-policy", "4:18"),
        ("extends: t", "extends-missing", "4:14"),
        (
            "extends: {file: gone.yaml, service: t}",
            "extends-file-missing",
            "4:14",
        ),
        ("extends: {service: t, fle: x}", "key-unknown", "4:27"),
        (
            "extends: {file: 'https://x/y', service: t}",
            "remote-file",
            "4:14",
        ),
        (
            "cpus: 1\ndeploy: {resources: {limits: {cpus: 2}}}",
            "limits-differ",
            "4:11",
        ),
        ("scale: 2\ndeploy: {replicas: 3}", "limits-differ", "4:12"),
        (
            "scale: 2\ncontainer_name: one",
            "container-name-of-several",
            "5:21",
        ),
        ("scale: 3\nports: ['80-81:80']", "port-clash", "5:13"),
        ("annotation: {}", "key-unknown", "4:5"),
        ("x-mine: {}\nX-mine: {}", "key-unknown", "5:5"),
        ("image2: x", "key-unknown", "4:5"),
        ("deploy: {resources: {limit: {}}}", "key-unknown", "4:26"),
        ("healthcheck: {intervall: 5s}", "key-unknown", "4:19"),
        ("environment: {A: '${B'}", "variable-syntax", "4:23"),
        ("environment: {A: 'x ${B:?}'}", "variable-required", "4:25"),
        ("environment: ['A=${B!x}']", "variable-syntax", "4:22"),
        ("use_api_socket: true", "host-socket", "4:21"),
    ];
    all(cases.map(|(lines, code, place)| (service(lines), code, place)));
    all([(
        "services:\n  s:\n    provider: {type: x}\n",
        "provider-unsupported",
        "2:3",
    )]);
}

#[test]
fn wrong_top_level_sections_have_a_place() {
    let with = |section: &str| {
        format!(
            "services: {{s: {{image: i, networks: [n], volumes: ['v:/v'], secrets: [x]}}}}\n{section}\n"
        )
    };
    let whole = |network: &str, volume: &str, secret: &str| {
        with(&format!(
            "networks: {{n: {network}}}\nvolumes: {{v: {volume}}}\nsecrets: {{x: {secret}}}"
        ))
    };
    let ok = "{content: a}";
    all([
        (
            whole("{external: true}", "", ok),
            "external-unsupported",
            "2:16",
        ),
        (
            whole("{external: {name: y}}", "", ok),
            "external-unsupported",
            "2:16",
        ),
        (whole("{driver: host}", "", ok), "network-driver", "2:24"),
        (
            whole("{ipam: {config: [{subnet: 10.0.0.1/24}]}}", "", ok),
            "subnet-wrong",
            "2:41",
        ),
        (
            whole("{ipam: {config: [{subnet: 10.0.0.0}]}}", "", ok),
            "subnet-wrong",
            "2:41",
        ),
        (
            whole("{ipam: {config: [{subnet: 10.0.0.0/31}]}}", "", ok),
            "subnet-too-small",
            "2:41",
        ),
        (
            whole(
                "{ipam: {config: [{subnet: 10.0.0.0/24}, {subnet: 10.0.0.128/25}]}}",
                "",
                ok,
            ),
            "subnet-overlap",
            "2:64",
        ),
        (
            whole(
                "{ipam: {config: [{subnet: 10.0.0.0/24, gateway: 10.0.1.1}]}}",
                "",
                ok,
            ),
            "gateway-outside",
            "2:63",
        ),
        (
            whole("{ipam: {config: [{gateway: 10.0.1.1}]}}", "", ok),
            "gateway-outside",
            "2:42",
        ),
        (
            whole("{ipam: {config: {subnet: 10.0.0.0/24}}}", "", ok),
            "type-wrong",
            "2:31",
        ),
        (whole("{intern: true}", "", ok), "key-unknown", "2:16"),
        (
            whole("", "{external: true}", ok),
            "external-unsupported",
            "3:15",
        ),
        (
            whole(
                "",
                "{driver_opts: {type: nfs, device: ':/x', o: addr=1.2.3.4}}",
                ok,
            ),
            "volume-remote",
            "3:28",
        ),
        (whole("", "{drver: local}", ok), "key-unknown", "3:15"),
        (
            whole("", "", "{external: true}"),
            "external-unsupported",
            "4:15",
        ),
        (whole("", "", "{}"), "file-source", "4:11"),
        (
            whole("", "", "{content: a, file: b}"),
            "file-source",
            "4:11",
        ),
        (whole("", "", "{file: gone}"), "file-missing", "4:21"),
        (
            whole("", "", "{environment: GONE}"),
            "variable-required",
            "4:28",
        ),
        (
            "services: {s: {image: i}}\nx-daas: {egres: none}\n".to_owned(),
            "key-unknown",
            "2:10",
        ),
        (
            "services: {s: {image: i}}\nx-daas: {egress: nonne}\n".to_owned(),
            "egress-unknown",
            "2:18",
        ),
        (
            "services: {s: {image: i}}\nx-daas: {limits: {memory: lots}}\n".to_owned(),
            "size-wrong",
            "2:27",
        ),
        (
            "services: {s: {image: i}}\nx-daas: {limits: {cpu: 1}}\n".to_owned(),
            "key-unknown",
            "2:19",
        ),
        (
            "services: {s: {image: i}}\nx-daas: {ttl: 5}\n".to_owned(),
            "duration-wrong",
            "2:15",
        ),
        (
            "services: {s: {image: i}}\nx-daas: [a]\n".to_owned(),
            "type-wrong",
            "2:9",
        ),
        (
            "service: {s: {image: i}}\n".to_owned(),
            "key-unknown",
            "1:1",
        ),
        (
            "services: {s: {image: i}}\nports: [80]\n".to_owned(),
            "key-unknown",
            "2:1",
        ),
        (
            "services: {s: {image: i}}\nweb: {image: i}\n".to_owned(),
            "key-unknown",
            "2:1",
        ),
        (
            "services: {s: {image: i}}\ninclude: a.yaml\n".to_owned(),
            "type-wrong",
            "2:10",
        ),
        (
            "services: {s: {image: i}}\ninclude: [gone.yaml]\n".to_owned(),
            "file-missing",
            "2:11",
        ),
        (
            "services: {s: {image: i}}\ninclude: [{env_file: x}]\n".to_owned(),
            "include-missing",
            "2:11",
        ),
        (
            "services: {s: {image: i}}\ninclude: [compose.yaml]\n".to_owned(),
            "include-cycle",
            "2:11",
        ),
        (
            "services: {s: {image: i}}\ninclude: ['oci://x/y']\n".to_owned(),
            "remote-file",
            "2:11",
        ),
    ]);
}

#[test]
fn services_that_do_not_fit_together_have_a_place() {
    all([
        (
            "services:\n  a: {image: i, ports: ['80:80']}\n  b: {image: i, ports: ['80:81']}\n",
            "port-clash",
            "3:25",
        ),
        (
            "services:\n  a: {image: i, ports: ['80:80']}\n  b: {extends: a}\n",
            "port-clash",
            "2:25",
        ),
        (
            "x-one: &one {image: i, ports: ['80:80']}\nservices:\n  a: *one\n  b: *one\n",
            "port-clash",
            "1:32",
        ),
        (
            "services:\n  a: {image: i, container_name: x}\n  b: {image: i, container_name: X}\n",
            "container-name-twice",
            "3:33",
        ),
        (
            "services:\n  a: {image: i, container_name: b}\n  b: {image: i}\n",
            "container-name-twice",
            "2:33",
        ),
        (
            "services:\n  a: {image: i, scale: 2}\n  a-2: {image: i}\n",
            "node-name",
            "3:3",
        ),
        (
            "services:\n  a: {image: i, scale: 600}\n  b: {image: i, scale: 600}\n",
            "nodes-too-many",
            "3:24",
        ),
        (
            "services:\n  a: {image: i, networks: {n: {ipv4_address: 10.0.0.5}}}\n  b: {image: i, networks: {n: {ipv4_address: 10.0.0.5}}}\nnetworks: {n: {ipam: {config: [{subnet: 10.0.0.0/24}]}}}\n",
            "address-twice",
            "3:46",
        ),
        (
            "services:\n  a: {image: i, networks: {n: {ipv4_address: 10.0.1.5}}}\nnetworks: {n: {ipam: {config: [{subnet: 10.0.0.0/24}]}}}\n",
            "address-outside",
            "2:46",
        ),
        (
            "services:\n  a: {image: i, networks: {n: {ipv4_address: 10.0.0.1}}}\nnetworks: {n: {ipam: {config: [{subnet: 10.0.0.0/24}]}}}\n",
            "address-reserved",
            "2:46",
        ),
        (
            "services:\n  a: {image: i, networks: {n: {ipv4_address: 10.0.0.255}}}\nnetworks: {n: {ipam: {config: [{subnet: 10.0.0.0/24}]}}}\n",
            "address-reserved",
            "2:46",
        ),
        (
            "services:\n  a: {image: i, scale: 2, networks: {n: {ipv4_address: 10.0.0.5}}}\nnetworks: {n: {ipam: {config: [{subnet: 10.0.0.0/24}]}}}\n",
            "address-of-several",
            "2:56",
        ),
        (
            "services:\n  a: {image: i, networks: [m, n]}\nnetworks:\n  m: {ipam: {config: [{subnet: 10.0.0.0/16}]}}\n  n: {ipam: {config: [{subnet: 10.0.7.0/24}]}}\n",
            "subnet-overlap",
            "5:3",
        ),
        (
            "services:\n  a: {image: i, depends_on: {b: {condition: service_healthy}}}\n  b: {image: i, healthcheck: {disable: true}}\n",
            "condition-never",
            "2:30",
        ),
        (
            "services:\n  a: {image: i, depends_on: [b]}\n  b: {image: i, profiles: [x]}\n",
            "profile-off",
            "2:30",
        ),
        (
            "services:\n  a: {image: i, network_mode: 'service:b'}\n  b: {image: i, depends_on: [a]}\n",
            "depends-cycle",
            "3:30",
        ),
        (
            "services:\n  a: {image: i, network_mode: 'service:b'}\n  b: {image: i, scale: 0}\n",
            "network-absent",
            "2:31",
        ),
        (
            "services:\n  a: {image: i, volumes_from: [b]}\n  b: {image: i, volumes_from: [a]}\n",
            "depends-cycle",
            "3:32",
        ),
    ]);
}

#[test]
fn circles_are_told_with_all_their_places() {
    let outcome = read_files(&[(
        "compose.yaml",
        "services:\n  web: {image: i, depends_on: [api]}\n  api: {image: i, depends_on: {db: {condition: service_healthy}}}\n  db: {image: i, links: [web]}\n",
    )]);
    insta::assert_snapshot!(told(&outcome), @"
    error[depends-cycle]: services wait for each other in a circle
      --> compose.yaml:4:25
      caused by: `web` (compose.yaml:2:32) -> `api` (compose.yaml:3:32) -> `db` (compose.yaml:4:25) -> `web`
      hint: remove one of these dependencies; links and shared networks count as such
    ");
    let outcome = read_files(&[
        (
            "compose.yaml",
            "services:\n  web: {extends: {file: base.yaml, service: app}}\n",
        ),
        (
            "base.yaml",
            "services:\n  app: {image: i, extends: core}\n  core: {extends: {file: compose.yaml, service: web}}\n",
        ),
    ]);
    insta::assert_snapshot!(told(&outcome), @"
    error[extends-cycle]: `extends` goes in a circle
      --> compose.yaml:2:18
      caused by: `web` (compose.yaml:2:18) -> `app` (base.yaml:2:28) -> `core` (base.yaml:3:19) -> `web`
      hint: give the services a common base that extends nothing
    ");
    let outcome = read_files(&[
        (
            "compose.yaml",
            "include: [a.yaml]\nservices: {s: {image: i}}\n",
        ),
        (
            "a.yaml",
            "include: [sub/b.yaml]\nservices: {a: {image: i}}\n",
        ),
        (
            "sub/b.yaml",
            "include: [../a.yaml]\nservices: {b: {image: i}}\n",
        ),
    ]);
    insta::assert_snapshot!(told(&outcome), @"
    error[include-cycle]: `include` goes in a circle
      --> sub/b.yaml:1:11
      caused by: `a.yaml` -> `sub/b.yaml` -> `a.yaml`
      hint: move what both need into a third file
    ");
}

#[test]
fn a_key_that_routes_do_not_have_is_told_with_its_whole_place() {
    let outcome = read(
        "services:\n  web: {image: nginx}\nx-daas:\n  routes:\n    - {service: web, link: x}\n",
    );
    insta::assert_snapshot!(told(&outcome), @"
    error[key-unknown]: `link` is no key of `x-daas.routes`
      --> compose.yaml:5:22
      hint: a key of your own begins with `x-`
    ");
}

#[test]
fn all_faults_are_told_at_once_in_the_order_of_the_text() {
    let outcome = read(
        "services:\n  web:\n    imgae: nginx\n    ports: [80:80, 70000:1]\n    environment:\n      - LOG=${LOG_LEVEL}\n    volumes: [static:/srv, /etc:/host]\n    mem_limit: 12x\n  db:\n    image: postgres\n    healthcheck: {test: [pg_isready]}\nnetworks: {back: {external: true}}\n",
    );
    insta::assert_snapshot!(told(&outcome), @"
    error[image-missing]: service `web` names no image
      --> compose.yaml:2:3
      hint: add `image`, for example `image: nginx:1.27`
    error[key-unknown]: `imgae` is no key of service `web`
      --> compose.yaml:3:5
      hint: did you mean `image`?
    error[port-out-of-range]: port `70000` does not exist in `ports` of service `web`
      --> compose.yaml:4:20
      hint: a port is 1 to 65535
    warning[variable-unset]: variable `LOG_LEVEL` is not set and reads as empty
      --> compose.yaml:6:13
      hint: set it in the environment or in `.env`, or give a default: `${LOG_LEVEL:-value}`
    error[volume-undeclared]: service `web` uses volume `static`, which is not declared
      --> compose.yaml:7:15
      hint: declare it at the top level: `volumes: {static: }`; a folder of the project is written `./static`
    error[host-path-forbidden]: service `web` asks for the host's `/etc`
      --> compose.yaml:7:28
      caused by: it holds the platform's own state; whoever has that rules every stand, so it is never granted
      hint: bind the folder below it that the service needs
    error[size-wrong]: `mem_limit` of service `web` is `12x`
      --> compose.yaml:8:16
      hint: write for example `512m`, `2gb`, `1.5g` or a number of bytes
    error[health-kind]: `test` of `healthcheck` of service `db` begins with `pg_isready`
      --> compose.yaml:11:25
      hint: a list begins with `CMD`, `CMD-SHELL` or `NONE`
    ");
}
