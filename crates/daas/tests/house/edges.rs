//! Edges that a team has already send the hosts of stands here, by configuration that the daemon writes.
#![allow(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

use crate::edge::{eventually, free_port, run, serving};
use crate::trials::program;
use crate::trust::image_of_python;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use xtask::trials::Bed;

/// A program that ends with the value.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Self {
        let quiet = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Self(quiet.spawn().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A program that tells each visitor the addresses that it was told of him, and speaks WebSocket's echo at `/ws` (RFC 6455) to who asks.
const TALK: &str = r#"
import base64, hashlib, http.server
class Talk(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.headers.get("Upgrade", "").lower() == "websocket":
            key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
            self.send_response(101)
            self.send_header("Upgrade", "websocket")
            self.send_header("Connection", "Upgrade")
            self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
            self.end_headers()
            while (head := self.rfile.read(2)) and head[0] & 15 == 1:
                length = head[1] & 127
                mask, body = self.rfile.read(4), self.rfile.read(length)
                text = bytes(b ^ mask[i % 4] for i, b in enumerate(body))
                self.wfile.write(bytes([0x81, length]) + text)
            self.close_connection = True
            return
        told = "%s %s %s\n" % (self.headers["X-Real-IP"], self.headers["X-Forwarded-For"], self.headers["X-Forwarded-Proto"])
        self.send_response(200)
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told.encode())
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("", 8000), Talk).serve_forever()
"#;

/// A visitor who says two words by WebSocket over TLS and hears them again; told where, and whom to trust.
const ECHO: &str = r#"
import base64, os, socket, ssl, sys
port, host, roots = int(sys.argv[1]), sys.argv[2], sys.argv[3]
context = ssl.create_default_context(cafile=roots)
raw = socket.create_connection(("127.0.0.1", port), source_address=("127.9.1.7", 0))
stream = context.wrap_socket(raw, server_hostname=host)
key = base64.b64encode(os.urandom(16)).decode()
ask = f"GET /ws HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
stream.sendall(ask.encode())
file = stream.makefile("rb")
status = file.readline().decode()
while file.readline().strip(): pass
words = []
for word in (b"one", b"two"):
    mask = os.urandom(4)
    stream.sendall(bytes([0x81, 0x80 | len(word)]) + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(word)))
    head = file.read(2)
    words.append(file.read(head[1]).decode())
print(status.split()[1], *words)
"#;

/// Adds a stand that tells of its visitors.
fn talker(bed: &Bed) {
    image_of_python(bed);
    let program = serde_json::json!(["/usr/bin/python3.11", "-c", TALK.replace('$', "$$")]);
    let text =
        format!("  web:\n    image: python:latest\n    command: {program}\n    expose: ['8000']\n");
    bed.api().up("talk", &bed.project(&text), 0).unwrap();
}

/// A certificate of nobody for the talker, with its key behind it: what the edge shows.
fn certificate(folder: &Path) -> String {
    let at = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (chain, key, both) = (at("chain.pem"), at("key.pem"), at("both.pem"));
    let names = "subjectAltName=DNS:web.talk.localhost";
    let kind = [
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ];
    let words = [
        &["req", "-x509", "-subj", "/CN=edge", "-addext", names][..],
        &kind,
    ];
    run(
        "openssl",
        &[&words.concat()[..], &["-keyout", &key, "-out", &chain]].concat(),
    );
    let text = fs::read_to_string(&chain).unwrap() + &fs::read_to_string(&key).unwrap();
    fs::write(&both, text).unwrap();
    both
}

/// Visits the talker over TLS at an edge: the page says who came, and the WebSocket answers.
fn talks_over_tls(port: u16, roots: &str) {
    let host = "web.talk.localhost";
    let resolve = format!("{host}:{port}:127.0.0.1");
    let url = format!("https://{host}:{port}/");
    let words = [
        "--silent",
        "--fail",
        "--cacert",
        roots,
        "--interface",
        "127.9.1.7",
        "--resolve",
        &resolve,
        "--header",
        "X-Forwarded-For: 203.0.113.9",
        &url,
    ];
    let told = eventually("the edge's first answer over TLS", || {
        let output = Command::new("curl").args(words).output().unwrap();
        output
            .status
            .success()
            .then(|| String::from_utf8(output.stdout).unwrap())
    });
    let told: Vec<&str> = told.split_whitespace().collect();
    // Whom the edge saw, not what he said of himself; and that he came over TLS.
    assert_eq!(
        (told[0], *told.last().unwrap()),
        ("127.9.1.7", "https"),
        "{told:?}"
    );
    let said = run(
        "/usr/bin/python3",
        &["-c", ECHO, &port.to_string(), host, roots],
    );
    assert_eq!(said, "101 one two\n");
}

fn bed() -> Bed {
    let configuration = "  spares: 0\ningress:\n  listen: ['127.0.0.1:0']\n  listen_tls: []\n  trusted_proxies: [127.0.0.1]\n";
    let bed = Bed::configured(program(), configuration).unwrap();
    let both = serving("web", "hello") + &serving("api", "facts");
    bed.api().up("shop", &bed.project(&both), 0).unwrap();
    bed
}

fn exported(bed: &Bed, edge: &str, more: &[&str]) -> String {
    let socket = bed.daemon.place().join("daas.sock");
    let words = [
        &[
            "--socket",
            socket.to_str().unwrap(),
            "route",
            "export",
            edge,
        ],
        more,
    ]
    .concat();
    run(program().to_str().unwrap(), &words)
}

/// Asks an edge at a port for the first page of a host.
fn page(port: u16, host: &str) -> Option<String> {
    let resolve = format!("{host}:{port}:127.0.0.1");
    let url = format!("http://{host}:{port}/");
    let output = Command::new("curl")
        .args(["--silent", "--fail", "--resolve", &resolve, &url])
        .output()
        .unwrap();
    output
        .status
        .success()
        .then(|| String::from_utf8(output.stdout).unwrap())
}

fn serves_the_stand(port: u16) {
    let hello = eventually("the edge's first answer", || {
        page(port, "web.shop.localhost")
    });
    assert_eq!(hello, "hello\n");
    assert_eq!(page(port, "api.shop.localhost").unwrap(), "facts\n");
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn root_nginx_takes_what_the_daemon_writes_and_passes_visitors_to_the_stand() {
    let bed = bed();
    let port = free_port();
    let folder = tempfile::tempdir().unwrap();
    talker(&bed);
    let secure = free_port();
    let both = certificate(folder.path());
    let snippet = exported(&bed, "nginx", &["--listen", &format!("127.0.0.1:{port}")]);
    // As an administrator does it: the same server at a port of TLS as well.
    let shown = format!(
        "listen 127.0.0.1:{port};\n    listen 127.0.0.1:{secure} ssl;\n    ssl_certificate {both};\n    ssl_certificate_key {both};"
    );
    let snippet = snippet.replace(&format!("listen 127.0.0.1:{port};"), &shown);
    let snippet = write(folder.path(), "daas.conf", &snippet);
    let own = format!(
        "pid {0}/pid; error_log {0}/error.log; events {{}} http {{ access_log off; include {snippet}; }}",
        folder.path().display()
    );
    let own = write(folder.path(), "nginx.conf", &own);
    run("nginx", &["-t", "-q", "-c", &own]);
    let _nginx = Running::start(Command::new("nginx").args([
        "-c",
        &own,
        "-g",
        "daemon off; master_process off;",
    ]));
    serves_the_stand(port);
    talks_over_tls(secure, &both);
    bed.api().down("talk").unwrap();
    bed.api().down("shop").unwrap();
}

#[test]
fn root_haproxy_takes_what_the_daemon_writes_and_passes_visitors_to_the_stand() {
    let bed = bed();
    let port = free_port();
    let folder = tempfile::tempdir().unwrap();
    talker(&bed);
    let secure = free_port();
    let both = certificate(folder.path());
    let snippet = exported(&bed, "haproxy", &["--listen", &format!("127.0.0.1:{port}")]);
    let shown = format!("bind 127.0.0.1:{port}\n    bind 127.0.0.1:{secure} ssl crt {both}");
    let snippet = snippet.replace(&format!("bind 127.0.0.1:{port}"), &shown);
    let snippet = write(folder.path(), "daas.cfg", &snippet);
    let own = write(folder.path(), "haproxy.cfg", "global\n    maxconn 100\n");
    run("haproxy", &["-c", "-q", "-f", &own, "-f", &snippet]);
    let _haproxy =
        Running::start(Command::new("haproxy").args(["-db", "-f", &own, "-f", &snippet]));
    serves_the_stand(port);
    talks_over_tls(secure, &both);
    // A host that is no stand's is none of its business.
    assert_eq!(page(port, "none.localhost"), None);
    bed.api().down("talk").unwrap();
    bed.api().down("shop").unwrap();
}

#[test]
fn root_traefik_is_told_every_stand_that_is_there_and_none_that_is_gone() {
    let bed = bed();
    let told = bed.api().get("/routes/traefik?to=edge-peer:8080").unwrap();
    let rule = told["http"]["routers"]["daas-shop"]["rule"]
        .as_str()
        .unwrap();
    for host in [
        "shop.localhost",
        "web.shop.localhost",
        "api.shop.daas.internal",
    ] {
        assert!(rule.contains(&format!("Host(`{host}`)")), "{rule}");
    }
    let servers = &told["http"]["services"]["daas"]["loadBalancer"]["servers"];
    assert_eq!(servers[0]["url"], "http://edge-peer:8080");
    bed.api().down("shop").unwrap();
    assert_eq!(
        bed.api().get("/routes/traefik").unwrap(),
        serde_json::json!({})
    );
}
