//! Debian's registry as the other side, skopeo as the one who pushes.

use crate::fake::registries;
use crate::load::docker_archive;
use crate::tree::{run, tree};
use daas_image::{
    Credential, Credentials, ProxySettings, PullOptions, Registries, RegistrySettings, Silent,
    Store,
};
use daas_model::{Explain, ImageName};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

/// A `docker-registry` of our own; ends with its value.
struct Debian {
    host: String,
    process: Child,
}

impl Debian {
    /// Starts it with further lines of configuration.
    fn start(dir: &Path, more: &str) -> Self {
        for _ in 0..20 {
            let port = TcpListener::bind("127.0.0.1:0")
                .unwrap()
                .local_addr()
                .unwrap()
                .port();
            let host = format!("127.0.0.1:{port}");
            let config = dir.join(format!("registry-{port}.yml"));
            let http = format!("http:\n  addr: {host}\n");
            std::fs::write(&config, format!("version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\n{http}{more}", dir.join("registry").display())).unwrap();
            let mut process = Command::new("docker-registry")
                .arg("serve")
                .arg(&config)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            loop {
                if TcpStream::connect(&host).is_ok() {
                    return Self { host, process };
                }
                // Somebody else was faster with this port.
                if process.try_wait().unwrap().is_some() {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        }
        panic!("no registry could be started");
    }

    fn push(&self, archive: &Path, name: &str, more: &[&str]) -> ImageName {
        let to = format!("docker://{}/{name}", self.host);
        let from = format!("docker-archive:{}", archive.display());
        let args: Vec<&str> = ["--insecure-policy", "copy", "--quiet"]
            .into_iter()
            .chain(more.iter().copied())
            .chain([from.as_str(), to.as_str()])
            .collect();
        run("skopeo", &args);
        ImageName::parse(&format!("{}/{name}", self.host)).unwrap()
    }
}

impl Drop for Debian {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn pull(
    store: &Store,
    name: &ImageName,
    registries: &Registries,
    credential: Option<(&str, &str)>,
) -> Result<daas_image::Image, daas_image::ImageError> {
    let mut credentials = Credentials::default();
    if let Some((user, password)) = credential {
        credentials.set(
            name.registry(),
            Credential::Basic {
                user: user.into(),
                password: password.into(),
            },
        );
    }
    store
        .pull(
            name,
            registries,
            &PullOptions {
                credentials: Some(credentials),
                ..PullOptions::default()
            },
            Arc::new(Silent),
        )
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn root_what_skopeo_pushed_to_debians_registry_is_pulled_in_every_form() {
    let dir = tempfile::tempdir().unwrap();
    let archive = docker_archive(dir.path(), "demo/web:1");
    let registry = Debian::start(dir.path(), "");
    let store = Store::open(&dir.path().join("store")).unwrap();
    let mut trees = Vec::new();
    for (tag, form) in [
        ("docker", vec!["--format", "v2s2"]),
        ("oci", vec!["--format", "oci"]),
        (
            "zstd",
            vec![
                "--format",
                "oci",
                "--dest-compress-format",
                "zstd",
                "--dest-compress",
            ],
        ),
    ] {
        let args: Vec<&str> = form
            .into_iter()
            .chain(["--dest-tls-verify=false"])
            .collect();
        let name = registry.push(&archive, &format!("demo/web:{tag}"), &args);
        let image = pull(&store, &name, &registries(), None).await.unwrap();
        assert_eq!(image.config.cmd, ["/bin/sh"]);
        trees.push(
            image
                .layers
                .iter()
                .map(|l| tree(&l.path))
                .collect::<Vec<_>>(),
        );
    }
    assert!(trees[0][0].contains_key("etc/passwd") && trees[0] == trees[1] && trees[1] == trees[2]);
    let absent = ImageName::parse(&format!("{}/demo/none:1", registry.host)).unwrap();
    assert_eq!(
        pull(&store, &absent, &registries(), None)
            .await
            .unwrap_err()
            .code(),
        "image-not-in-registry"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn root_basic_authentication_of_debians_registry() {
    let dir = tempfile::tempdir().unwrap();
    let archive = docker_archive(dir.path(), "demo/web:1");
    let users = dir.path().join("htpasswd");
    run(
        "htpasswd",
        &["-cbB", users.to_str().unwrap(), "me", "s3cret"],
    );
    let registry = Debian::start(
        dir.path(),
        &format!(
            "auth:\n  htpasswd:\n    realm: test\n    path: {}\n",
            users.display()
        ),
    );
    let name = registry.push(
        &archive,
        "demo/web:1",
        &["--dest-tls-verify=false", "--dest-creds=me:s3cret"],
    );
    let store = Store::open(&dir.path().join("store")).unwrap();
    let without = pull(&store, &name, &registries(), None).await.unwrap_err();
    assert_eq!(without.code(), "registry-access-denied");
    assert!(without.hint().unwrap().contains("give credentials"));
    let wrong = pull(&store, &name, &registries(), Some(("me", "guess")))
        .await
        .unwrap_err();
    assert!(wrong.hint().unwrap().contains("not accepted"), "{wrong:?}");
    pull(&store, &name, &registries(), Some(("me", "s3cret")))
        .await
        .unwrap();
}

fn certificates(dir: &Path) -> (PathBuf, PathBuf, PathBuf) {
    let at = |name: &str| dir.join(name);
    let text = |name: &str| at(name).to_str().unwrap().to_owned();
    std::fs::write(
        at("san"),
        "subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:far.test\n",
    )
    .unwrap();
    run(
        "openssl",
        &[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=test authority",
            "-keyout",
            &text("ca.key"),
            "-out",
            &text("ca.pem"),
        ],
    );
    run(
        "openssl",
        &[
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            "/CN=registry",
            "-keyout",
            &text("key.pem"),
            "-out",
            &text("csr.pem"),
        ],
    );
    run(
        "openssl",
        &[
            "x509",
            "-req",
            "-in",
            &text("csr.pem"),
            "-CA",
            &text("ca.pem"),
            "-CAkey",
            &text("ca.key"),
            "-CAcreateserial",
            "-days",
            "2",
            "-extfile",
            &text("san"),
            "-out",
            &text("cert.pem"),
        ],
    );
    (at("ca.pem"), at("cert.pem"), at("key.pem"))
}

#[tokio::test(flavor = "multi_thread")]
async fn root_tls_is_trusted_by_its_authority_and_not_without() {
    let dir = tempfile::tempdir().unwrap();
    let archive = docker_archive(dir.path(), "demo/web:1");
    let (authority, certificate, key) = certificates(dir.path());
    let registry = Debian::start(
        dir.path(),
        &format!(
            "  tls:\n    certificate: {}\n    key: {}\n",
            certificate.display(),
            key.display()
        ),
    );
    let name = registry.push(&archive, "demo/web:1", &["--dest-tls-verify=false"]);
    let store = Store::open(&dir.path().join("store")).unwrap();
    let settings = RegistrySettings {
        retries: 0,
        ..RegistrySettings::default()
    };
    let stranger = pull(
        &store,
        &name,
        &Registries::new(settings.clone()).unwrap(),
        None,
    )
    .await
    .unwrap_err();
    assert!(
        daas_model::render_chain(&stranger).contains("UnknownIssuer"),
        "{stranger:?}"
    );
    let trusting = RegistrySettings {
        authorities: vec![authority],
        ..settings
    };
    pull(&store, &name, &Registries::new(trusting).unwrap(), None)
        .await
        .unwrap();
    let nonsense = RegistrySettings {
        authorities: vec![key],
        ..RegistrySettings::default()
    };
    assert!(Registries::new(nonsense).is_err());
}

/// A proxy that knows CONNECT only and leads everybody to `target`.
fn tunnel(target: String, seen: Arc<std::sync::Mutex<Vec<String>>>) -> String {
    use std::io::{BufRead, BufReader, Write};
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let mut reader = BufReader::new(client.try_clone().unwrap());
            let mut first = String::new();
            reader.read_line(&mut first).unwrap();
            let mut line = String::new();
            while reader.read_line(&mut line).unwrap() > 2 {
                line.clear();
            }
            seen.lock().unwrap().push(first);
            let server = TcpStream::connect(&target).unwrap();
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            let (mut a, mut b) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut reader, &mut a));
            std::thread::spawn(move || {
                let mut server = server;
                let _ = std::io::copy(&mut server, &mut b);
                let _ = b.shutdown(std::net::Shutdown::Both);
            });
        }
    });
    host
}

#[tokio::test(flavor = "multi_thread")]
async fn root_far_registries_are_reached_through_the_proxy_with_tls_inside() {
    let dir = tempfile::tempdir().unwrap();
    let archive = docker_archive(dir.path(), "demo/web:1");
    let (authority, certificate, key) = certificates(dir.path());
    let registry = Debian::start(
        dir.path(),
        &format!(
            "  tls:\n    certificate: {}\n    key: {}\n",
            certificate.display(),
            key.display()
        ),
    );
    registry.push(&archive, "demo/web:1", &["--dest-tls-verify=false"]);
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let proxy = tunnel(registry.host.clone(), Arc::clone(&seen));
    let proxies = Some(ProxySettings {
        https: Some(proxy),
        ..ProxySettings::default()
    });
    let settings = RegistrySettings {
        retries: 0,
        authorities: vec![authority],
        proxies,
        ..RegistrySettings::default()
    };
    let store = Store::open(&dir.path().join("store")).unwrap();
    let far = ImageName::parse("far.test:8443/demo/web:1").unwrap();
    pull(
        &store,
        &far,
        &Registries::new(settings.clone()).unwrap(),
        None,
    )
    .await
    .unwrap();
    assert!(
        seen.lock()
            .unwrap()
            .iter()
            .all(|line| line == "CONNECT far.test:8443 HTTP/1.1\r\n")
            && !seen.lock().unwrap().is_empty()
    );
    // A name that the certificate does not have, and a far registry without TLS.
    let other = ImageName::parse("other.test:8443/demo/web:1").unwrap();
    assert_eq!(
        pull(&store, &other, &Registries::new(settings).unwrap(), None)
            .await
            .unwrap_err()
            .code(),
        "registry-unreachable"
    );
    let plain = Debian::start(dir.path(), "");
    let proxies = Some(ProxySettings {
        https: Some(tunnel(plain.host.clone(), seen)),
        ..ProxySettings::default()
    });
    let settings = RegistrySettings {
        retries: 0,
        proxies,
        ..RegistrySettings::default()
    };
    assert_eq!(
        pull(&store, &far, &Registries::new(settings).unwrap(), None)
            .await
            .unwrap_err()
            .code(),
        "registry-insecure"
    );
}
