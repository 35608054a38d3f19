//! Debian's pebble, an ACME authority that asks a name server of our choice.
#![allow(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

use crate::edge::{free_port, run};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running authority; it ends with the value.
pub(crate) struct Pebble {
    child: Child,
    port: u16,
    management: u16,
    folder: tempfile::TempDir,
}

impl Drop for Pebble {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Pebble {
    /// Starts one that asks `dns` and refuses half of the nonces.
    pub(crate) fn start(dns: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let (key, chain) = (path("key.pem"), path("cert.pem"));
        let words = "req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE -keyout";
        let words: Vec<&str> = words.split(' ').collect();
        run("openssl", &[&words[..], &[&key, "-out", &chain]].concat());
        let (port, management) = (free_port(), free_port());
        let config = serde_json::json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{port}"),
            "managementListenAddress": format!("127.0.0.1:{management}"),
            "certificate": chain, "privateKey": key,
            // Nobody listens there: only DNS-01 can succeed.
            "httpPort": 1, "tlsPort": 1, "ocspResponderURL": "",
        }});
        fs::write(path("config.json"), config.to_string()).unwrap();
        let log = fs::File::create(path("log")).unwrap();
        let child = Command::new("pebble")
            .args([
                "-config",
                &path("config.json"),
                "-strict",
                "-dnsserver",
                &dns.to_string(),
            ])
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_WFE_NONCEREJECT", "50")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("Debian's package `pebble` is installed");
        let pebble = Self {
            child,
            port,
            management,
            folder,
        };
        let until = Instant::now() + Duration::from_secs(20);
        for port in [port, management] {
            while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
                assert!(Instant::now() < until, "pebble does not start");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        pebble
    }

    /// Returns the lines below `certificates:` by which a daemon orders from it.
    pub(crate) fn configuration(&self) -> String {
        let roots = self.folder.path().join("cert.pem");
        format!(
            "  acme:\n    - {{directory: 'https://localhost:{}/dir', roots: '{}', contact: [root@example.com]}}\n",
            self.port,
            roots.display()
        )
    }

    /// Returns a file with the root of what it issues.
    pub(crate) fn root(&self) -> PathBuf {
        let own = self.folder.path().join("cert.pem");
        let url = format!("https://localhost:{}/roots/0", self.management);
        let root = run("curl", &["-sS", "--cacert", own.to_str().unwrap(), &url]);
        let file = self.folder.path().join("root.pem");
        fs::write(&file, root).unwrap();
        file
    }
}
