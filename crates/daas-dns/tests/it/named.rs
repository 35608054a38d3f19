//! `named` of BIND, as a secondary, a primary, a parent or a resolver.

use crate::keys::of_bind;
use crate::place::{SOON, run};
use std::fs::File;
use std::net::{TcpListener, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A `named` that ends with the value. It knows the key `xfer`.
pub(crate) struct Named {
    child: Child,
    pub(crate) port: u16,
    dir: tempfile::TempDir,
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns a port of loopback that is free for UDP and TCP.
pub(crate) fn free_port() -> u16 {
    for _ in 0..50 {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        if UdpSocket::bind(address).is_ok() {
            return address.port();
        }
    }
    panic!("no port is free for both");
}

impl Named {
    /// Starts one with these zones and options; `file` is what its file `zone` holds.
    pub(crate) fn of(port: u16, zones: &str, options: &str, file: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().display();
        std::fs::write(dir.path().join("zone"), file).unwrap();
        let configuration = format!(
            "{key}options {{ directory \"{place}\"; pid-file none; session-keyfile none; managed-keys-directory \"{place}\"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; {options} }};\n\
             controls {{ }};\n{zones}",
            key = of_bind("xfer"),
        );
        let file = dir.path().join("named.conf");
        std::fs::write(&file, configuration).unwrap();
        let log = File::create(dir.path().join("log")).unwrap();
        let child = Command::new("/usr/sbin/named")
            .args(["-g", "-c"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("named (bind9)");
        Self { child, port, dir }
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Asks with `dig` and returns all that it prints.
    pub(crate) fn ask(&self, arguments: &[&str]) -> String {
        let port = self.port.to_string();
        let first = ["@127.0.0.1", "-p", &port, "+tries=1", "+time=10"];
        run("dig", &[&first, arguments].concat())
    }

    pub(crate) fn dig(&self, arguments: &[&str]) -> String {
        self.ask(&[&["+short"], arguments].concat())
    }

    /// Returns the data that it answers; nothing while it answers nobody.
    pub(crate) fn lines(&self, arguments: &[&str]) -> Vec<String> {
        let text = self.dig(arguments);
        let lines = text.lines().filter(|line| !line.starts_with(';'));
        lines.map(str::to_owned).collect()
    }

    /// Waits until it answers something.
    pub(crate) fn wait_for_lines(&self, arguments: &[&str]) -> Vec<String> {
        let until = Instant::now() + SOON;
        loop {
            let lines = self.lines(arguments);
            if !lines.is_empty() {
                return lines;
            }
            assert!(Instant::now() < until, "{arguments:?}: {}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn wait_for(&self, arguments: &[&str], expected: &str) {
        let until = Instant::now() + SOON;
        while self.dig(arguments).trim() != expected {
            assert!(
                Instant::now() < until,
                "{arguments:?} is not {expected}: {}\n{}",
                self.dig(arguments),
                self.log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
