//! Edges that a team has already send the hosts of stands here, by configuration that the daemon writes.
#![allow(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

use crate::edge::{eventually, free_port, run, serving};
use crate::trials::program;
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
    let snippet = exported(&bed, "nginx", &["--listen", &format!("127.0.0.1:{port}")]);
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
    bed.api().down("shop").unwrap();
}

#[test]
fn root_haproxy_takes_what_the_daemon_writes_and_passes_visitors_to_the_stand() {
    let bed = bed();
    let port = free_port();
    let folder = tempfile::tempdir().unwrap();
    let snippet = exported(&bed, "haproxy", &["--listen", &format!("127.0.0.1:{port}")]);
    let snippet = write(folder.path(), "daas.cfg", &snippet);
    let own = write(folder.path(), "haproxy.cfg", "global\n    maxconn 100\n");
    run("haproxy", &["-c", "-q", "-f", &own, "-f", &snippet]);
    let _haproxy =
        Running::start(Command::new("haproxy").args(["-db", "-f", &own, "-f", &snippet]));
    serves_the_stand(port);
    // A host that is no stand's is none of its business.
    assert_eq!(page(port, "none.localhost"), None);
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
