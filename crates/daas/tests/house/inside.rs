//! Names of the platform inside of stands, as their programs ask for them.
#![allow(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

use crate::edge::{eventually, free_port, serving};
use crate::trials::program;
use crate::trust::{image_of_python, python, say};
use std::fs;
use xtask::trials::Bed;

const ZONE: &str = "dev.example.com";

/// Starts the stand `me` in a network of its own; an internal one has no way out.
fn visitor(bed: &Bed, egress: &str, internal: bool) {
    let text = format!(
        "  me:\n    image: python:latest\n    command: [/bin/busybox, sleep, '1000']\n    networks: [one]\nnetworks:\n  one: {{internal: {internal}}}\nx-daas: {{egress: {egress}}}\n"
    );
    bed.api().up("me", &bed.project(&text), 0).unwrap();
}

/// The addresses that a name has inside of `me`.
fn looked_up(bed: &Bed, name: &str) -> String {
    let ask = "import socket, sys\ntry: print(sorted({a[4][0] for a in socket.getaddrinfo(sys.argv[1], 443)}))\nexcept socket.gaierror as e: print(e.errno)";
    say(bed, &["/usr/bin/python3.11", "-c", ask, name])
}

/// What `getaddrinfo` says of a name that does not exist.
const ABSENT: &str = "-2\n";
/// And of one about which nobody says anything.
const UNANSWERED: &str = "-3\n";

#[test]
fn root_a_stand_reaches_another_by_its_url_as_far_as_its_way_out_goes() {
    let (http, https) = (free_port(), free_port());
    // Everything of this machine may bring visitors of others; a stand may not.
    let bed = Bed::configured(
        program(),
        &format!(
            "  spares: 0\ningress:\n  zone: {ZONE}\n  listen: ['127.0.0.1:{http}']\n  listen_tls: ['127.0.0.1:{https}']\n  trusted_proxies: [127.0.0.0/8]\n"
        ),
    )
    .unwrap();
    image_of_python(&bed);
    let api = bed.api();
    api.up("other", &bed.project(&serving("web", "hello")), 0)
        .unwrap();
    let host = format!("web.other.{ZONE}");
    for egress in ["proxy", "full"] {
        visitor(&bed, egress, false);
        for url in [
            format!("https://{host}/"),
            format!("https://{host}:{https}/"),
            format!("http://{host}:{http}/"),
        ] {
            assert_eq!(python(&bed, &url), "hello\n", "{egress} {url}");
        }
        let curl = ["/usr/bin/curl", "--silent", "--show-error"];
        let forged = ["--header", "X-Forwarded-For: 203.0.113.9"];
        let url = format!("https://{host}/");
        let said = say(&bed, &[&curl[..], &forged[..], &[&url]].concat());
        assert_eq!(said, "hello\n");
        assert_eq!(looked_up(&bed, &format!("web.nobody.{ZONE}")), ABSENT);
        let me = bed.address("me").unwrap();
        let by_me = format!("\"client\":\"{me}\"");
        // Three by Python, one by curl; they are written a moment later.
        let log = eventually("the visits are written down", || {
            let log = fs::read_to_string(bed.daemon.state().join("access.log")).unwrap();
            (log.matches(&by_me).count() >= 4).then_some(log)
        });
        assert!(!log.contains("203.0.113.9"), "{log}");
        api.down("me").unwrap();
    }
    // A stand that comes later is known at once, one that goes as well.
    visitor(&bed, "proxy", false);
    let late = format!("web.late.{ZONE}");
    assert_eq!(looked_up(&bed, &late), ABSENT);
    api.up("late", &bed.project(&serving("web", "late")), 0)
        .unwrap();
    assert_eq!(python(&bed, &format!("https://{late}/")), "late\n");
    api.down("late").unwrap();
    assert_eq!(looked_up(&bed, &late), ABSENT);
    // The first of these takes the way out from a stand that runs.
    for (egress, internal) in [("none", false), ("proxy", true), ("full", true)] {
        visitor(&bed, egress, internal);
        // With a full way out the machine's own resolver is asked, which may have nobody to ask.
        let said = looked_up(&bed, &host);
        let unknown = said == ABSENT || egress == "full" && said == UNANSWERED;
        assert!(unknown, "{egress} {internal} {said}");
        api.down("me").unwrap();
    }
    api.down("other").unwrap();
}

#[test]
fn root_who_shares_the_network_of_a_node_asks_and_is_named_as_that_node() {
    let bed = Bed::new(program()).unwrap();
    let sleeping = "    image: trial:latest\n    stop_signal: SIGKILL\n    command: [/bin/busybox, sleep, '1000']\n";
    let text = format!(
        "  web:\n{sleeping}    networks: {{default: {{ipv4_address: 10.78.0.7}}}}\n  other:\n{sleeping}    networks: {{default: {{ipv4_address: 10.78.0.8}}}}\n  side:\n{sleeping}    network_mode: service:web\nnetworks:\n  default: {{ipam: {{config: [{{subnet: 10.78.0.0/24}}]}}}}\n"
    );
    bed.api().up("shared", &bed.project(&text), 0).unwrap();
    let run = |line: &str| {
        let ran = bed
            .api()
            .exec("shared", "side", &["/bin/busybox", "sh", "-c", line])
            .unwrap();
        assert_eq!(ran.code, 0, "{line}: {ran:?}");
        String::from_utf8(ran.out).unwrap()
    };
    assert_eq!(run("busybox hostname"), "web\n");
    assert_eq!(run("busybox hostname -i").trim(), "10.78.0.7");
    assert_eq!(run("busybox cat /etc/hostname"), "web\n");
    assert!(run("busybox nslookup other").contains("10.78.0.8"));
    assert!(run("busybox ping -c 1 localhost").contains("127.0.0.1"));
    bed.api().down("shared").unwrap();
    bed.nothing_is_left().unwrap();
}

/// A name server in a node, which finds 192.0.2.77 for every name.
const NAME_SERVER: &str = r"
        import socket
        door = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        door.bind(('10.78.0.9', 53))
        while True:
            asked, who = door.recvfrom(512)
            end = asked.index(0, 12) + 5
            found = asked[end - 4:end] == bytes([0, 1, 0, 1])
            head = asked[:2] + bytes([129, 128, 0, 1, 0, found, 0, 0, 0, 0]) + asked[12:end]
            address = bytes([192, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 77])
            door.sendto(head + address * found, who)
";

#[test]
fn root_a_node_with_a_name_server_of_its_own_finds_services_and_what_that_server_knows() {
    let bed = Bed::new(program()).unwrap();
    image_of_python(&bed);
    let sleeping = "    image: trial:latest\n    command: [/bin/busybox, sleep, '1000']\n    stop_signal: SIGKILL\n";
    let text = format!(
        "  names:\n    image: python:latest\n    stop_signal: SIGKILL\n    command:\n      - /usr/bin/python3.11\n      - -c\n      - |{NAME_SERVER}    networks: {{default: {{ipv4_address: 10.78.0.9}}}}\n  web:\n{sleeping}    dns: [10.78.0.9]\n  other:\n{sleeping}networks:\n  default: {{internal: true, ipam: {{config: [{{subnet: 10.78.0.0/24}}]}}}}\n"
    );
    bed.api().up("asking", &bed.project(&text), 0).unwrap();
    let found = |node: &str, name: &str| {
        let ask = ["/bin/busybox", "nslookup", name];
        let ran = bed.api().exec("asking", node, &ask).unwrap();
        String::from_utf8(ran.out).unwrap()
    };
    eventually("the name server answers", || {
        found("web", "far.example")
            .contains("192.0.2.77")
            .then_some(())
    });
    assert!(found("web", "names").contains("10.78.0.9"));
    assert!(!found("other", "far.example").contains("192.0.2.77"));
    bed.api().down("asking").unwrap();
}
