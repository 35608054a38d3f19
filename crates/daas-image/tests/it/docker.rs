//! Docker as the judge of what we save. It needs a daemon of its own, so it runs in the long part only.

use crate::load::docker_archive;
use crate::tree::run;
use daas_image::{Silent, Store};
use std::process::{Child, Command, Stdio};

/// A Docker daemon without network, in a folder of its own.
struct Docker(Child);

impl Drop for Docker {
    fn drop(&mut self) {
        run("kill", &[&self.0.id().to_string()]);
        let _ = self.0.wait();
    }
}

#[test]
fn root_docker_loads_what_is_saved_and_we_load_what_docker_saves() {
    if std::env::var_os("DAAS_SOAK").is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let socket = format!("unix://{}", at("d.sock"));
    let args = [
        "--data-root",
        &at("data"),
        "--exec-root",
        &at("exec"),
        "--pidfile",
        &at("pid"),
        "-H",
        &socket,
        "--bridge=none",
        "--iptables=false",
        "--ip-forward=false",
        "--ip-masq=false",
    ];
    let daemon = Command::new("dockerd")
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let docker = Docker(daemon);
    while !dir.path().join("d.sock").exists() {
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let ask = |args: &[&str]| run("docker", &[&["-H", socket.as_str()], args].concat());
    let store = Store::open(&dir.path().join("store")).unwrap();
    let name = store
        .load(&docker_archive(dir.path(), "shop/web:1"), None, &Silent)
        .unwrap()
        .remove(0);
    store
        .save_file(
            std::slice::from_ref(&name),
            &dir.path().join("ours.tar"),
            &Silent,
        )
        .unwrap();
    let said = ask(&["load", "-i", &at("ours.tar")]);
    assert!(said.contains("Loaded image: shop/web:1"), "{said}");
    let id = store.resolve(&name).unwrap().unwrap().id;
    assert_eq!(
        ask(&["inspect", "--format", "{{.Id}}", "shop/web:1"]).trim(),
        id.as_str()
    );
    ask(&["save", "-o", &at("theirs.tar"), "shop/web:1"]);
    let other = Store::open(&dir.path().join("other")).unwrap();
    assert_eq!(
        other
            .load(&dir.path().join("theirs.tar"), None, &Silent)
            .unwrap(),
        std::slice::from_ref(&name)
    );
    assert_eq!(other.resolve(&name).unwrap().unwrap().id, id);
    drop(docker);
}
