//! What tests of the ways from outside share.
#![allow(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Returns a port of loopback that was free a moment ago; nobody else gets it so soon.
pub(crate) fn free_port() -> u16 {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.local_addr().unwrap().port()
}

/// A service of the trial image that answers every request for `/` with the words and a new line.
pub(crate) fn serving(service: &str, words: &str) -> String {
    format!(
        "  {service}:\n    image: trial:latest\n    command: [/bin/busybox, sh, -c, 'echo {words} > /tmp/index.html; exec busybox httpd -f -p 8000 -h /tmp']\n    expose: ['8000']\n    healthcheck: {{test: [CMD, /bin/wget, -q, -O, /dev/null, 'http://127.0.0.1:8000/'], interval: 200ms, start_period: 10s, start_interval: 100ms}}\n"
    )
}

/// Returns an address of loopback whose port is free for TCP and UDP.
pub(crate) fn free_address() -> SocketAddr {
    let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = tcp.local_addr().unwrap();
    UdpSocket::bind(address).unwrap();
    address
}

/// Runs a program that must succeed; returns what it wrote.
pub(crate) fn run(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {words:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// Waits until `look` gives something.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "{what} does not happen");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What curl is told of a page: who is trusted, where the host is.
pub(crate) struct Visitor<'a> {
    pub(crate) roots: &'a Path,
    pub(crate) port: u16,
}

impl Visitor<'_> {
    /// Asks for the first page of a host over TLS; returns the body and the status, or nothing where the certificate is not trusted.
    pub(crate) fn ask(&self, host: &str) -> Option<(String, u16)> {
        let port = self.port;
        let output = Command::new("curl")
            .args(["--silent", "--write-out", "\n%{http_code}", "--cacert"])
            .arg(self.roots)
            .args(["--resolve", &format!("{host}:{port}:127.0.0.1")])
            .arg(format!("https://{host}:{port}/"))
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').unwrap();
        (output.status.success()).then(|| (body.to_owned(), status.parse().unwrap()))
    }

    /// Returns the serial number of the certificate that is shown for a host, trusted or not.
    pub(crate) fn serial(&self, host: &str) -> String {
        let at = format!("127.0.0.1:{}", self.port);
        let line = "openssl s_client -connect \"$1\" -servername \"$2\" < /dev/null 2> /dev/null | openssl x509 -noout -serial";
        run("sh", &["-c", line, "sh", &at, host])
    }
}

/// Tells what a name server says of a name: the addresses, or a word such as `NXDOMAIN`.
pub(crate) fn dig(server: SocketAddr, name: &str) -> String {
    let (at, port) = (format!("@{}", server.ip()), server.port().to_string());
    let text = run("dig", &[&at, "-p", &port, "+tries=1", "+time=5", name, "A"]);
    let status = text
        .split("status: ")
        .nth(1)
        .unwrap()
        .split(',')
        .next()
        .unwrap();
    let addresses: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with(';') && line.contains("\tA\t"))
        .filter_map(|line| line.split_whitespace().last())
        .collect();
    if status == "NOERROR" {
        addresses.join(" ")
    } else {
        status.to_owned()
    }
}

/// Returns the libraries that a program of this machine needs, its loader included.
pub(crate) fn libraries(program: &str) -> Vec<String> {
    let needed = run("ldd", &[program]);
    let paths = needed
        .split_whitespace()
        .filter(|word| word.starts_with('/'));
    paths.map(ToOwned::to_owned).collect()
}
