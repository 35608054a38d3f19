//! Routes of a project file as a visitor meets them: replicas, repeats, limits, ports of TCP and UDP.
#![allow(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

use crate::edge::{eventually, free_port, serving};
use crate::trials::program;
use crate::trust::image_of_python;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;
use xtask::trials::Bed;

/// A program that says at which node a visitor is: over HTTP at 8000, TCP at 9000 and UDP at 9001. With a file `/tmp/bad` it hangs up on every
/// request, after it has read it; with `/tmp/end` it ends.
const WHERE: &str = r#"
import http.server, os, socket, socketserver, threading, time
name = socket.gethostname()
class Web(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if os.path.exists("/tmp/bad"):
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        said = (name + "\n").encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)
    do_POST = do_PUT = do_GET
    def log_message(self, *_): pass
class Line(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(name.encode() + b" heard " + line)
class Datagram(socketserver.BaseRequestHandler):
    def handle(self):
        data, back = self.request
        back.sendto(name.encode() + b" heard " + data, self.client_address)
def until_the_end():
    while not os.path.exists("/tmp/end"): time.sleep(0.05)
    os._exit(3)
threading.Thread(target=until_the_end, daemon=True).start()
socketserver.ThreadingTCPServer.allow_reuse_address = True
for server in (socketserver.ThreadingTCPServer(("", 9000), Line), socketserver.ThreadingUDPServer(("", 9001), Datagram)):
    threading.Thread(target=server.serve_forever, daemon=True).start()
http.server.ThreadingHTTPServer(("", 8000), Web).serve_forever()
"#;

/// A stand `shop` of three replicas with these routes, and the port of its ingress.
fn shop(routes: &str) -> (Bed, u16) {
    let port = free_port();
    let bed = Bed::configured(
        program(),
        &format!("  spares: 0\ningress:\n  listen: ['127.0.0.1:{port}']\n  listen_tls: []\n"),
    )
    .unwrap();
    image_of_python(&bed);
    let command = serde_json::json!(["/usr/bin/python3.11", "-c", WHERE.replace('$', "$$")]);
    let look =
        "import socket; [socket.create_connection((\"127.0.0.1\", p)) for p in (8000, 9000)]";
    let text = format!(
        "  web:\n    image: python:latest\n    command: {command}\n    deploy: {{replicas: 3}}\n    expose: ['8000', '9000', '9001/udp']\n    healthcheck: {{test: [CMD, /usr/bin/python3.11, -c, '{look}'], interval: 1s, start_period: 20s, start_interval: 200ms}}\nx-daas:\n  routes:\n{routes}"
    );
    bed.api().up("shop", &bed.project(&text), 0).unwrap();
    (bed, port)
}

/// Asks `http://<host>.shop.localhost` with further words of curl; returns the body and the status.
fn ask(port: u16, host: &str, words: &[&str]) -> (String, u16) {
    let output = Command::new("curl")
        .args([
            "--silent",
            "--max-time",
            "60",
            "--write-out",
            "\n%{http_code}",
        ])
        .args(["--header", &format!("Host: {host}.shop.localhost")])
        .args(words)
        .arg(format!("http://127.0.0.1:{port}/"))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (body.trim().to_owned(), status.parse().unwrap())
}

#[test]
fn root_replicas_share_requests_and_take_over_what_may_be_repeated_and_keep_who_has_their_cookie() {
    let (bed, port) = shop(
        "    - {service: web, port: 8000, host: any}\n    - {service: web, port: 8000, host: kept, sticky: true}\n    - {service: web, port: 8000, host: once, retries: 0}\n",
    );
    let who = |host: &str, words: &[&str]| {
        let (body, status) = ask(port, host, words);
        assert_eq!(status, 200, "{host} {words:?}: {body}");
        body
    };
    let all: BTreeSet<String> = (0..12).map(|_| who("any", &[])).collect();
    assert_eq!(all.len(), 3, "{all:?}");

    let folder = tempfile::tempdir().unwrap();
    let jar = folder.path().join("jar").to_str().unwrap().to_owned();
    let mine = who("kept", &["--cookie-jar", &jar]);
    for _ in 0..12 {
        assert_eq!(who("kept", &["--cookie", &jar]), mine);
    }
    let strangers: BTreeSet<String> = (0..12).map(|_| who("kept", &[])).collect();
    assert_eq!(strangers.len(), 3, "{strangers:?}");

    // One replica hangs up on whatever it reads.
    let touch = ["/usr/bin/python3.11", "-c", "open('/tmp/bad', 'w')"];
    bed.api().exec("shop", "web-2", &touch).unwrap();
    let bad = all
        .iter()
        .find(|name| name.ends_with('2'))
        .unwrap_or_else(|| panic!("{all:?}"));
    for round in 0..12 {
        let method = ["GET", "PUT", "DELETE", "OPTIONS"][round % 4];
        let words = if method == "GET" {
            vec![]
        } else {
            vec!["--request", method]
        };
        if method == "DELETE" || method == "OPTIONS" {
            // The program knows neither word; what counts is that somebody answers.
            assert_eq!(ask(port, "any", &words).1, 501);
        } else {
            assert_ne!(who("any", &words), *bad);
        }
    }
    // What may have been done is not done again, and without retries nothing is.
    let statuses = |host: &str, words: &[&str]| -> BTreeSet<u16> {
        (0..12).map(|_| ask(port, host, words).1).collect()
    };
    assert_eq!(
        statuses("any", &["--data", "order=1"]),
        BTreeSet::from([200, 502])
    );
    assert_eq!(statuses("once", &[]), BTreeSet::from([200, 502]));
    bed.api().down("shop").unwrap();
}

#[test]
fn root_a_client_over_its_rate_is_told_when_to_come_back_and_others_are_not_held_up() {
    let (bed, port) = shop(
        "    - {service: web, port: 8000, host: few, rate: 3/h}\n    - {service: web, port: 8000, host: many}\n",
    );
    let statuses: Vec<u16> = (0..5).map(|_| ask(port, "few", &[]).1).collect();
    assert_eq!(statuses, [200, 200, 200, 429, 429]);
    let (head, _) = ask(port, "few", &["--include"]);
    let later = head
        .lines()
        .find_map(|line| {
            line.to_ascii_lowercase()
                .strip_prefix("retry-after: ")?
                .trim()
                .parse::<u32>()
                .ok()
        })
        .unwrap_or_else(|| panic!("{head}"));
    assert!((1..=3600).contains(&later), "{later}");
    assert_eq!(ask(port, "few", &["--interface", "127.9.1.8"]).1, 200);
    assert_eq!(ask(port, "many", &[]).1, 200);
    bed.api().down("shop").unwrap();
}

fn a_later_stand_is_told_that_a_port_is_taken(bed: &Bed, port: u16) {
    let second = bed.project(&format!(
        "  web:\n    image: trial:latest\n    command: [/bin/busybox, sleep, '1000']\nx-daas:\n  routes:\n    - {{service: web, protocol: tcp, port: 9000, listen: {port}}}\n"
    ));
    bed.api().up("second", &second, 0).unwrap();
    eventually("the event", || {
        let codes = bed.events("second").unwrap();
        codes.contains(&"port-taken".to_owned()).then_some(())
    });
    bed.api().down("second").unwrap();
}

#[test]
fn root_ports_of_tcp_and_udp_lead_to_the_nodes_and_are_free_when_the_stand_is_gone() {
    let (tcp, udp) = (free_port(), {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.local_addr().unwrap().port()
    });
    let (bed, _) = shop(&format!(
        "    - {{service: web, protocol: tcp, port: 9000, listen: {tcp}}}\n    - {{service: web, protocol: udp, port: 9001, listen: {udp}}}\n"
    ));
    // Ports open beside the start of the stand.
    eventually("the open port", || {
        TcpStream::connect((Ipv4Addr::LOCALHOST, tcp)).ok()
    });
    let line = || {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, tcp)).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        // Two lines by one connection are heard by one node.
        stream.write_all(b"one\ntwo\n").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        let node = said.split(' ').next().unwrap().to_owned();
        assert_eq!(said, format!("{node} heard one\n{node} heard two\n"));
        node
    };
    let nodes: BTreeSet<String> = (0..9).map(|_| line()).collect();
    assert_eq!(nodes.len(), 3, "{nodes:?}");

    a_later_stand_is_told_that_a_port_is_taken(&bed, tcp);

    // A node that goes takes none of the others' visitors along, and the port stays open.
    let mut held: Vec<TcpStream> = (0..9)
        .map(|_| TcpStream::connect((Ipv4Addr::LOCALHOST, tcp)).unwrap())
        .collect();
    let word = |stream: &mut TcpStream| -> Option<String> {
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        stream.write_all(b"word\n").ok()?;
        let mut said = Vec::new();
        while !said.ends_with(b"\n") {
            let mut octet = [0];
            stream.read_exact(&mut octet).ok()?;
            said.push(octet[0]);
        }
        Some(
            String::from_utf8(said)
                .unwrap()
                .split(' ')
                .next()
                .unwrap()
                .to_owned(),
        )
    };
    let of: Vec<String> = held
        .iter_mut()
        .map(|stream| word(stream).unwrap())
        .collect();
    let gone = of
        .iter()
        .find(|node| node.ends_with('3'))
        .unwrap_or_else(|| panic!("{of:?}"));
    let end = ["/usr/bin/python3.11", "-c", "open('/tmp/end', 'w')"];
    bed.api().exec("shop", "web-3", &end).unwrap();
    eventually("the end of a node", || {
        let mut fresh =
            TcpStream::connect((Ipv4Addr::LOCALHOST, tcp)).expect("the port stays open");
        (0..6)
            .all(|_| word(&mut fresh).is_some_and(|node| node != *gone))
            .then_some(())
    });
    for (stream, node) in held.iter_mut().zip(&of).filter(|(_, node)| *node != gone) {
        assert_eq!(word(stream).as_ref(), Some(node));
    }

    let heard = |socket: &UdpSocket, words: &str| -> Option<String> {
        socket.send(words.as_bytes()).unwrap();
        let mut said = [0; 100];
        let length = socket.recv(&mut said).ok()?;
        let said = String::from_utf8(said[..length].to_vec()).unwrap();
        Some(said.strip_suffix(&format!(" heard {words}"))?.to_owned())
    };
    let visitor = || {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        socket.connect((Ipv4Addr::LOCALHOST, udp)).unwrap();
        socket
    };
    // Datagrams may be lost, and a visitor stays with his node.
    let nodes: BTreeSet<String> = (0..9)
        .map(|n| {
            let socket = visitor();
            let first = eventually("a datagram's answer", || heard(&socket, &format!("a{n}")));
            let again = eventually("a second one", || heard(&socket, &format!("b{n}")));
            assert_eq!(first, again);
            first
        })
        .collect();
    assert!(nodes.len() >= 2, "{nodes:?}");
    bed.api().down("shop").unwrap();
    eventually("the end of the ports", || {
        TcpListener::bind((Ipv4Addr::LOCALHOST, tcp)).ok()?;
        UdpSocket::bind((Ipv4Addr::LOCALHOST, udp)).ok()
    });
}

/// Asks for the first page of a host; returns the body and the status.
fn page_of(port: u16, host: &str, path: &str) -> (String, u16) {
    let resolve = format!("{host}:{port}:127.0.0.1");
    let url = format!("http://{host}:{port}{path}");
    let words = [
        "--silent",
        "--max-time",
        "60",
        "--write-out",
        "\n%{http_code}",
        "--resolve",
        &resolve,
        &url,
    ];
    let output = Command::new("curl").args(words).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (body.trim().to_owned(), status.parse().unwrap())
}

#[test]
fn root_a_later_stand_takes_no_host_of_an_earlier_one_and_no_star_takes_our_zone() {
    let port = free_port();
    let bed = Bed::configured(
        program(),
        &format!("  spares: 0\ningress:\n  zone: dev.example.test\n  listen: ['127.0.0.1:{port}']\n  listen_tls: []\n"),
    )
    .unwrap();
    let api = bed.api();
    let up = |stand: &str, routes: &str| {
        let text = format!("{}x-daas:\n  routes:\n{routes}", serving("web", stand));
        api.up(stand, &bed.project(&text), 0).unwrap();
    };
    up(
        "shop",
        "    - web\n    - {service: web, host: exact.example.net}\n",
    );
    up(
        "f",
        "    - web\n    - {service: web, host: exact.example.net}\n    - {service: web, host: exact.example.net, path: /login}\n    - {service: web, host: '*.example.test'}\n",
    );
    let said = |host: &str| page_of(port, host, "/");
    let is = |word: &str| (word.to_owned(), 200);
    eventually("the star's host", || {
        (said("other.example.test") == is("f")).then_some(())
    });
    assert_eq!(said("exact.example.net"), is("shop"));
    assert_eq!(page_of(port, "exact.example.net", "/login").1, 404);
    assert_eq!(said("web.shop.dev.example.test"), is("shop"));
    for host in ["new.dev.example.test", "dev.example.test"] {
        assert_eq!(said(host).1, 404, "{host}");
    }
    let told = eventually("the word to the later stand", || {
        let all = bed.event_views("f").unwrap();
        let mut taken = all.into_iter().filter(|e| e["code"] == "host-taken");
        taken.next()
    });
    let told = told["message"].as_str().unwrap();
    assert!(
        told.contains("`exact.example.net` stays with stand `shop`"),
        "{told}"
    );
    let taken = || {
        let list = api.get("/routes").unwrap();
        let all = list["items"].as_array().unwrap();
        let taken = all.iter().filter(|r| r["taken"] != serde_json::Value::Null);
        taken
            .map(|r| {
                assert_eq!(
                    (&r["stand"], r["ready"].as_array().unwrap().len()),
                    (&"f".into(), 0)
                );
                r["taken"].clone()
            })
            .collect::<Vec<_>>()
    };
    let by_shop = serde_json::json!({"exact.example.net": "shop"});
    assert_eq!(taken(), [by_shop.clone(), by_shop]);
    assert!(!bed.events("shop").unwrap().contains(&"host-taken".into()));
    // Gone with its stand, the host leads to who had to wait.
    api.down("shop").unwrap();
    eventually("the host's next stand", || {
        (said("exact.example.net") == is("f")).then_some(())
    });
    assert!(taken().is_empty());
}
