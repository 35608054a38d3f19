//! Other people's programs against the registry: login, push, pull, mount, delete, none of them changed.

use crate::served::Served;
use daas_registry::{Reference, Repository, Settings};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Runs a program to its end off the runtime's threads, gives it `input`, and returns what it said.
async fn run(program: &str, args: &[&str], input: &str) -> String {
    use std::io::Write;
    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    let (program, input) = (program.to_owned(), input.to_owned());
    tokio::task::spawn_blocking(move || {
        let mut child = Command::new(&program)
            .args(&args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{program} {args:?}: {said}{errors}"
        );
        said + &errors
    })
    .await
    .unwrap()
}

/// Makes an OCI layout of one real layer that holds a file with `word`.
fn layout(dir: &Path, word: &str) {
    use daas_image::Digest;
    let tree = dir.join("tree");
    std::fs::create_dir_all(&tree).unwrap();
    std::fs::write(tree.join("word"), word).unwrap();
    let tar = dir.join("layer.tar");
    let status = Command::new("tar")
        .arg("-C")
        .arg(&tree)
        .arg("-cf")
        .arg(&tar)
        .arg("word")
        .status()
        .unwrap();
    assert!(status.success());
    let blobs = dir.join("oci/blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let keep = |bytes: &[u8], kind: &str| {
        let digest = Digest::of(bytes);
        std::fs::write(blobs.join(digest.hex()), bytes).unwrap();
        serde_json::json!({"mediaType": kind, "digest": digest, "size": bytes.len()})
    };
    let layer = std::fs::read(&tar).unwrap();
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": {"Cmd": ["/word"]},
        "rootfs": {"type": "layers", "diff_ids": [Digest::of(&layer)]},
        "history": [{"created": "2026-01-01T00:00:00Z", "created_by": "test"}],
    });
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": crate::served::MANIFEST,
        "config": keep(config.to_string().as_bytes(), "application/vnd.oci.image.config.v1+json"),
        "layers": [keep(&layer, "application/vnd.oci.image.layer.v1.tar")],
    });
    let mut entry = keep(manifest.to_string().as_bytes(), crate::served::MANIFEST);
    entry["annotations"] = serde_json::json!({"org.opencontainers.image.ref.name": "1"});
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [entry]});
    std::fs::write(dir.join("oci/index.json"), index.to_string()).unwrap();
    std::fs::write(
        dir.join("oci/oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .unwrap();
}

fn has(served: &Served, repository: &str, tag: &str) -> bool {
    let repository = Repository::parse(repository).unwrap();
    let reference = Reference::parse(tag).unwrap();
    served.registry.manifest(&repository, &reference).is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn skopeo_logs_in_pushes_mounts_pulls_lists_and_deletes() {
    let dir = tempfile::tempdir().unwrap();
    let served = Served::start(&dir.path().join("house"), Settings::default()).await;
    let secret = served.login("dev", Some("shop"), true, true).await;
    layout(dir.path(), "skopeo");
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (host, auth) = (served.address.to_string(), at("auth.json"));
    let login = [
        "login",
        "--tls-verify=false",
        "--authfile",
        &auth,
        "-u",
        "dev",
        "--password-stdin",
        &host,
    ];
    run("skopeo", &login, &secret).await;
    let (web, copy) = (
        format!("docker://{host}/shop/web:1"),
        format!("docker://{host}/shop/copy:1"),
    );
    let source = format!("oci:{}:1", at("oci"));
    run(
        "skopeo",
        &[
            "copy",
            "--authfile",
            &auth,
            "--dest-tls-verify=false",
            &source,
            &web,
        ],
        "",
    )
    .await;
    // It knows from the first push where the blobs are, and mounts them.
    run(
        "skopeo",
        &[
            "copy",
            "--authfile",
            &auth,
            "--src-tls-verify=false",
            "--dest-tls-verify=false",
            &web,
            &copy,
        ],
        "",
    )
    .await;
    let said = run(
        "skopeo",
        &[
            "list-tags",
            "--authfile",
            &auth,
            "--tls-verify=false",
            &format!("docker://{host}/shop/copy"),
        ],
        "",
    )
    .await;
    assert!(said.contains("\"1\""), "{said}");
    let back = format!("dir:{}", at("back"));
    run(
        "skopeo",
        &[
            "copy",
            "--authfile",
            &auth,
            "--src-tls-verify=false",
            &copy,
            &back,
        ],
        "",
    )
    .await;
    let back = std::fs::read(dir.path().join("back/manifest.json")).unwrap();
    let web = Repository::parse("shop/web").unwrap();
    let there = served
        .registry
        .manifest(&web, &Reference::parse("1").unwrap())
        .unwrap();
    assert_eq!(daas_image::Digest::of(&back), there.digest);
    run(
        "skopeo",
        &["delete", "--authfile", &auth, "--tls-verify=false", &copy],
        "",
    )
    .await;
    assert!(has(&served, "shop/web", "1") && !has(&served, "shop/copy", "1"));
    served.stop().await;
}

/// Buildah and podman share their storage and their flags.
async fn storage_client(program: &str) {
    let dir = tempfile::tempdir().unwrap();
    let served = Served::start(&dir.path().join("house"), Settings::default()).await;
    let secret = served.login("dev", Some("shop"), true, false).await;
    layout(dir.path(), program);
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (host, auth) = (served.address.to_string(), at("auth.json"));
    let (root, runroot) = (at("root"), at("run"));
    let storage = [
        "--root",
        &root,
        "--runroot",
        &runroot,
        "--storage-driver",
        "vfs",
    ];
    let ask = |args: &[&str]| -> Vec<String> {
        storage
            .iter()
            .chain(args)
            .map(|arg| (*arg).to_owned())
            .collect()
    };
    let go = |args: Vec<String>, input: String| async move {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        run(program, &args, &input).await
    };
    let login = [
        "login",
        "--tls-verify=false",
        "--authfile",
        &auth,
        "-u",
        "dev",
        "--password-stdin",
        &host,
    ];
    go(ask(&login), secret).await;
    let (web, again) = (format!("{host}/shop/web:1"), format!("{host}/shop/again:1"));
    run(
        "skopeo",
        &[
            "copy",
            "--dest-authfile",
            &auth,
            "--dest-tls-verify=false",
            &format!("oci:{}:1", at("oci")),
            &format!("docker://{web}"),
        ],
        "",
    )
    .await;
    let no = String::new;
    go(
        ask(&["pull", "--tls-verify=false", "--authfile", &auth, &web]),
        no(),
    )
    .await;
    go(ask(&["tag", &web, &again]), no()).await;
    go(
        ask(&["push", "--tls-verify=false", "--authfile", &auth, &again]),
        no(),
    )
    .await;
    assert!(has(&served, "shop/again", "1"));
    go(ask(&["rmi", "--force", &again, &web]), no()).await;
    go(
        ask(&["pull", "--tls-verify=false", "--authfile", &auth, &again]),
        no(),
    )
    .await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn root_buildah_logs_in_pulls_and_pushes() {
    storage_client("buildah").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn root_podman_logs_in_pulls_and_pushes() {
    storage_client("podman").await;
}

/// A Docker daemon without network, in a folder of its own.
struct Docker(Child);

impl Drop for Docker {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn root_docker_logs_in_pulls_and_pushes() {
    // It needs a daemon of its own, so it runs in the long part only.
    if std::env::var_os("DAAS_SOAK").is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let served = Served::start(&dir.path().join("house"), Settings::default()).await;
    let secret = served.login("dev", Some("shop"), true, true).await;
    layout(dir.path(), "docker");
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (host, socket) = (
        served.address.to_string(),
        format!("unix://{}", at("d.sock")),
    );
    let docker = Docker(
        Command::new("dockerd")
            .args([
                "--data-root",
                &at("data"),
                "--exec-root",
                &at("exec"),
                "--pidfile",
                &at("pid"),
                "-H",
                &socket,
            ])
            .args([
                "--bridge=none",
                "--iptables=false",
                "--ip-forward=false",
                "--ip-masq=false",
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    while !dir.path().join("d.sock").exists() {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let config = at("config");
    let ask = |args: &[&str]| -> Vec<String> {
        ["--config", &config, "-H", &socket]
            .iter()
            .chain(args)
            .map(|arg| (*arg).to_owned())
            .collect()
    };
    let go = |args: Vec<String>, input: String| async move {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        run("docker", &args, &input).await
    };
    let no = String::new;
    go(
        ask(&["login", "-u", "dev", "--password-stdin", &host]),
        secret.clone(),
    )
    .await;
    let (web, copy) = (format!("{host}/shop/web:1"), format!("{host}/shop/copy:1"));
    run(
        "skopeo",
        &[
            "copy",
            "--dest-creds",
            &format!("dev:{secret}"),
            "--dest-tls-verify=false",
            &format!("oci:{}:1", at("oci")),
            &format!("docker://{web}"),
        ],
        "",
    )
    .await;
    go(ask(&["pull", &web]), no()).await;
    go(ask(&["tag", &web, &copy]), no()).await;
    let said = go(ask(&["push", &copy]), no()).await;
    assert!(
        said.contains("Mounted from shop/web")
            || said.contains("Layer already exists")
            || said.contains("Pushed"),
        "{said}"
    );
    go(ask(&["rmi", &web, &copy]), no()).await;
    go(ask(&["pull", &copy]), no()).await;
    assert!(has(&served, "shop/copy", "1"));
    go(ask(&["logout", &host]), no()).await;
    drop(docker);
    served.stop().await;
}
