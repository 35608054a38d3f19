//! Names of stands over TLS: trusted while the stand is there, a page that explains when it is not.
#![allow(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

use crate::edge::{Visitor, dig, eventually, free_address, free_port, libraries, run, serving};
use crate::pebble::Pebble;
use crate::trials::program;
use serde_json::json;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use xtask::house::docker_archive;
use xtask::trials::Bed;

/// How long anything of a stand may outlive it.
const SECOND: Duration = Duration::from_secs(1);

/// Returns a file with the roots of the private authority.
fn private_root(bed: &Bed) -> PathBuf {
    let roots = bed.api().get("/certificate-authority").unwrap();
    let text: String = roots["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|root| root["pem"].as_str().unwrap())
        .collect();
    let file = bed.daemon.place().join("root.pem");
    fs::write(&file, text).unwrap();
    file
}

/// A daemon whose ingress speaks TLS only, at this port.
fn over_tls(port: u16) -> Bed {
    let configuration =
        format!("  spares: 0\ningress:\n  listen: []\n  listen_tls: ['127.0.0.1:{port}']\n");
    Bed::configured(program(), &configuration).unwrap()
}

#[test]
fn root_every_name_of_a_stand_is_trusted_by_the_root_and_a_strangers_name_shows_the_page() {
    let port = free_port();
    let bed = over_tls(port);
    let root = private_root(&bed);
    let visitor = Visitor { roots: &root, port };
    let api = bed.api();
    let project = bed.project(&(serving("web", "hello") + &serving("api", "facts")));
    api.up("shop", &project, 0).unwrap();
    for (host, word) in [
        ("web.shop.localhost", "hello"),
        ("api.shop.localhost", "facts"),
        ("web.shop.daas.internal", "hello"),
        ("api.shop.daas.internal", "facts"),
        ("web.shop.192-168-1-10.daas.internal", "hello"),
        ("api.shop.fd00--1.daas.internal", "facts"),
    ] {
        assert_eq!(
            visitor.ask(host),
            Some((format!("{word}\n"), 200)),
            "{host}"
        );
    }
    let page = |host: &str| {
        let (text, status) = visitor.ask(host).unwrap();
        assert_eq!(status, 404, "{host}: {text}");
        assert!(text.contains("nothing answers at this name"), "{text}");
        assert!(!text.contains("shop"), "{text}");
    };
    for host in [
        "none.localhost",
        "web.none.localhost",
        "none.daas.internal",
        "a.b.none.daas.internal",
    ] {
        page(host);
    }
    let serial = visitor.serial("web.shop.daas.internal");
    api.down("shop").unwrap();
    let gone = Instant::now();
    // Nothing of the stand is shown any more: neither its pages nor its certificate.
    while visitor.ask("web.shop.daas.internal").unwrap().1 != 404
        || visitor.serial("web.shop.daas.internal") == serial
    {
        assert!(gone.elapsed() < SECOND, "the stand outlives itself");
    }
    page("web.shop.daas.internal");
    bed.nothing_is_left().unwrap();
}

#[test]
fn root_wildcards_of_zone_and_stand_come_from_an_authority_by_our_own_name_server_and_go_with_the_stand()
 {
    let (port, server) = (free_port(), free_address());
    let pebble = Pebble::start(server);
    let bed = Bed::configured(
        program(),
        &format!(
            "  spares: 0\ningress:\n  zone: dev.example.test\n  listen: []\n  listen_tls: ['127.0.0.1:{port}']\ndns:\n  listen: ['{server}']\n  address: [192.0.2.80]\ncertificates:\n{}",
            pebble.configuration()
        ),
    )
    .unwrap();
    let root = pebble.root();
    let visitor = Visitor { roots: &root, port };
    let api = bed.api();
    let state = |id: &str| {
        let list = api.get("/certificates").unwrap();
        let items = list["items"].as_array().unwrap();
        let one = items.iter().find(|one| one["id"] == id);
        one.map(|one| one["state"].as_str().unwrap().to_owned())
    };
    api.up("shop", &bed.project(&serving("web", "hello")), 0)
        .unwrap();
    let (zone, stand) = ("*.dev.example.test", "*.shop.dev.example.test");
    for id in [zone, stand] {
        eventually(id, || (state(id)? == "valid").then_some(()));
    }
    let deep = "web.shop.dev.example.test";
    let hello = Some(("hello\n".to_owned(), 200));
    assert_eq!(visitor.ask("shop.dev.example.test"), hello);
    assert_eq!(visitor.ask(deep), hello);
    assert_eq!(dig(server, deep), "192.0.2.80");
    let urls = api.get("/stands/shop").unwrap()["urls"].to_string();
    assert!(urls.contains("https://shop.dev.example.test:"), "{urls}");

    let serial = visitor.serial(deep);
    api.down("shop").unwrap();
    let gone = Instant::now();
    loop {
        let named =
            dig(server, deep) != "NXDOMAIN" || dig(server, "shop.dev.example.test") != "NXDOMAIN";
        // The zone's wildcard is good for the page of a name that is gone; the stand's own is shown no more.
        let routed = visitor.ask("shop.dev.example.test").unwrap().1 != 404;
        if !named && !routed && visitor.serial(deep) != serial {
            break;
        }
        assert!(gone.elapsed() < SECOND, "named: {named}, routed: {routed}");
    }

    // It comes back with what was issued: authorities count.
    api.up("shop", &bed.project(&serving("web", "again")), 0)
        .unwrap();
    assert_eq!(visitor.ask(deep), Some(("again\n".to_owned(), 200)));
    assert_eq!(visitor.serial(deep), serial);
    api.down("shop").unwrap();
    let said = bed.daemon.said();
    assert!(!said.contains(" ERROR "), "{said}");
}

/// A node that speaks TLS itself, by this machine's openssl, with a certificate that only it has.
fn image_of_openssl(bed: &Bed) -> PathBuf {
    let tree = bed.daemon.place().join("tls-tree");
    let copy = |from: &str, to: &str| {
        let to = tree.join(to.trim_start_matches('/'));
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap();
    };
    for file in libraries("/usr/bin/openssl") {
        copy(&file, &file);
    }
    copy("/usr/bin/openssl", "/usr/bin/openssl");
    copy("/bin/busybox", "/bin/busybox");
    for folder in ["proc", "sys", "dev", "tmp", "srv"] {
        fs::create_dir_all(tree.join(folder)).unwrap();
    }
    fs::write(tree.join("srv/index.html"), "the node's own words\n").unwrap();
    let at = |name: &str| tree.join("srv").join(name).to_str().unwrap().to_owned();
    let words = "req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -days 2 -subj /CN=node -addext subjectAltName=DNS:vault.shop.localhost -keyout";
    let words: Vec<&str> = words.split(' ').collect();
    run(
        "openssl",
        &[&words[..], &[&at("key.pem"), "-out", &at("cert.pem")]].concat(),
    );
    let own = bed.daemon.place().join("node.pem");
    fs::copy(at("cert.pem"), &own).unwrap();
    let archive = docker_archive(
        "openssl:latest",
        &tree,
        &json!({"Env": ["PATH=/bin:/usr/bin"]}),
    )
    .unwrap();
    bed.api().load_image(&archive).unwrap();
    fs::remove_dir_all(tree).unwrap();
    own
}

#[test]
fn root_tls_is_passed_on_by_its_name_to_the_node_that_has_the_certificate() {
    let (port, plain) = (free_port(), free_port());
    let bed = Bed::configured(
        program(),
        &format!("  spares: 0\ningress:\n  listen: ['127.0.0.1:{plain}']\n  listen_tls: ['127.0.0.1:{port}']\n"),
    )
    .unwrap();
    let own = image_of_openssl(&bed);
    let vault = "  vault:\n    image: openssl:latest\n    working_dir: /srv\n    command: [openssl, s_server, -accept, '8443', -key, key.pem, -cert, cert.pem, -WWW]\n    expose: ['8443']\nx-daas:\n  routes:\n    - web\n    - {service: vault, protocol: tls, port: 8443}\n    - {service: vault, protocol: tls, port: 8443, host: shut, allow: [192.0.2.1]}\n";
    let api = bed.api();
    api.up("shop", &bed.project(&(serving("web", "hello") + vault)), 0)
        .unwrap();
    let page = |roots: &Path, host: &str| {
        let resolve = format!("{host}:{port}:127.0.0.1");
        let url = format!("https://{host}:{port}/index.html");
        let words = [
            "--silent",
            "--max-time",
            "300",
            "--resolve",
            &resolve,
            &url,
            "--cacert",
            roots.to_str().unwrap(),
        ];
        String::from_utf8(Command::new("curl").args(words).output().unwrap().stdout).unwrap()
    };
    let through = eventually("the node's first answer", || {
        let said = page(&own, "vault.shop.localhost");
        (!said.is_empty()).then_some(said)
    });
    assert_eq!(through, "the node's own words\n");
    // Beside it the ingress speaks TLS itself, as ever; the private root is nobody to the node, and the other way round.
    let root = private_root(&bed);
    assert_eq!(page(&root, "web.shop.localhost"), "hello\n");
    assert_eq!(page(&root, "vault.shop.localhost"), "");
    assert_eq!(page(&own, "web.shop.localhost"), "");
    assert_eq!(page(&own, "shut.shop.localhost"), "");
    let list = api.get("/routes").unwrap().to_string();
    assert!(
        list.contains(&format!("vault.shop.localhost:{port}")),
        "{list}"
    );
    api.down("shop").unwrap();
    assert_eq!(page(&own, "vault.shop.localhost"), "");
}

/// A browser of its own folder, which trusts what its own list says.
struct Browser {
    home: tempfile::TempDir,
}

impl Browser {
    fn trusting(root: Option<&Path>) -> Self {
        let home = tempfile::tempdir().unwrap();
        let store = home.path().join(".pki/nssdb");
        fs::create_dir_all(&store).unwrap();
        let store = format!("sql:{}", store.display());
        run("certutil", &["-N", "--empty-password", "-d", &store]);
        if let Some(root) = root {
            run(
                "certutil",
                &[
                    "-A",
                    "-d",
                    &store,
                    "-n",
                    "daas",
                    "-t",
                    "C,,",
                    "-i",
                    root.to_str().unwrap(),
                ],
            );
        }
        Self { home }
    }

    /// Returns the page that is shown at a URL, as its document.
    fn shows(&self, url: &str) -> String {
        let folder = format!(
            "--user-data-dir={}",
            self.home.path().join("profile").display()
        );
        let output = Command::new("chromium")
            .env("HOME", self.home.path())
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--disable-background-networking",
            ])
            .args([&folder, "--dump-dom", url])
            .output()
            .expect("Debian's package `chromium` is installed");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

#[test]
fn root_a_browser_that_trusts_the_root_opens_a_stand_and_another_one_warns() {
    let port = free_port();
    let bed = over_tls(port);
    let root = private_root(&bed);
    let api = bed.api();
    api.up(
        "shop",
        &bed.project(&serving("web", "hello from the stand")),
        0,
    )
    .unwrap();
    let trusting = Browser::trusting(Some(&root));
    for host in ["shop.localhost", "web.shop.localhost"] {
        let page = trusting.shows(&format!("https://{host}:{port}/"));
        assert!(page.contains("hello from the stand"), "{host}: {page}");
    }
    let page = trusting.shows(&format!("https://none.localhost:{port}/"));
    assert!(page.contains("nothing answers at this name"), "{page}");
    let page = Browser::trusting(None).shows(&format!("https://shop.localhost:{port}/"));
    assert!(!page.contains("hello from the stand"), "{page}");
    api.down("shop").unwrap();
}

/// Debian's bind9 with a zone of its own, which takes updates signed by the key of the file.
struct Named {
    child: Child,
    _folder: tempfile::TempDir,
    key: String,
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Named {
    fn start(at: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let key = path("key");
        fs::write(&key, run("tsig-keygen", &["-a", "hmac-sha256", "push"])).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        let zone = "$TTL 60\n@ SOA ns root 1 60 60 600 1\n@ NS ns\nns A 127.0.0.1\n";
        fs::write(path("zone"), zone).unwrap();
        let configuration = format!(
            "include \"{key}\";\noptions {{ directory \"{0}\"; pid-file none; session-keyfile none; managed-keys-directory \"{0}\"; listen-on port {1} {{ {2}; }}; listen-on-v6 {{ none; }}; recursion no; dnssec-validation no; }};\ncontrols {{ }};\nzone \"dev.example.test\" {{ type primary; file \"zone\"; allow-update {{ key \"push\"; }}; }};\n",
            folder.path().display(),
            at.port(),
            at.ip()
        );
        fs::write(path("named.conf"), configuration).unwrap();
        let child = Command::new("/usr/sbin/named")
            .args(["-g", "-c", &path("named.conf")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Debian's package `bind9` is installed");
        eventually("an answer of named", || TcpStream::connect(at).ok());
        Self {
            child,
            _folder: folder,
            key,
        }
    }
}

#[test]
fn root_where_the_zone_lives_in_bind_names_and_proofs_are_pushed_there() {
    let (port, server, bind) = (free_port(), free_address(), free_address());
    let named = Named::start(bind);
    // The authority asks bind alone.
    let pebble = Pebble::start(bind);
    let bed = Bed::configured(
        program(),
        &format!(
            "  spares: 0\ningress:\n  zone: dev.example.test\n  listen: []\n  listen_tls: ['127.0.0.1:{port}']\ndns:\n  listen: ['{server}']\n  address: [192.0.2.80]\n  keys: ['{}']\n  zones: {{dev.example.test: {{push: {{server: '{bind}', key: push}}}}}}\ncertificates:\n{}",
            named.key,
            pebble.configuration()
        ),
    )
    .unwrap();
    let root = pebble.root();
    let visitor = Visitor { roots: &root, port };
    let api = bed.api();
    api.up("shop", &bed.project(&serving("web", "hello")), 0)
        .unwrap();
    let deep = "web.shop.dev.example.test";
    eventually("the name in bind", || {
        (dig(bind, deep) == "192.0.2.80").then_some(())
    });
    eventually("the stand's wildcard", || {
        (visitor.ask(deep) == Some(("hello\n".to_owned(), 200))).then_some(())
    });
    api.down("shop").unwrap();
    let gone = Instant::now();
    while dig(bind, deep) != "NXDOMAIN" {
        assert!(
            gone.elapsed() < SECOND,
            "the name outlives its stand in bind"
        );
    }
}

#[test]
fn root_a_given_certificate_near_its_end_is_told_by_doctor_list_and_events() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let make = |name: &str, days: &str| {
        let words = "req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -addext basicConstraints=critical,CA:FALSE";
        let (subject, names) = (format!("/CN={name}"), format!("subjectAltName=DNS:{name}"));
        let (key, chain) = (at(&format!("{name}.key")), at(&format!("{name}.pem")));
        let words: Vec<&str> = words.split(' ').collect();
        let more = ["-days", days, "-subj", &subject, "-addext", &names];
        run(
            "openssl",
            &[&words[..], &more, &["-keyout", &key, "-out", &chain]].concat(),
        );
        format!("    - {{certificate: '{chain}', key: '{key}'}}\n")
    };
    // The first has a month; of the second nobody thought in time.
    let files = make("good.example.test", "30") + &make("old.example.test", "1");
    let bed = Bed::configured(
        program(),
        &format!("  spares: 0\ncertificates:\n  files:\n{files}"),
    )
    .unwrap();
    let socket = bed.daemon.place().join("daas.sock");
    let said = |words: &[&str]| {
        let output = Command::new(program())
            .args(["--socket", socket.to_str().unwrap()])
            .args(words)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let list = said(&["certificate", "list"]);
    let line = |name: &str| {
        let found = list.lines().find(|line| line.contains(name));
        found.unwrap_or_else(|| panic!("{list}")).to_owned()
    };
    assert!(
        line("given:good.example.test").contains(" valid "),
        "{list}"
    );
    assert!(
        line("given:old.example.test").contains(" expiring "),
        "{list}"
    );
    let told = said(&["doctor"]);
    assert!(
        told.contains("`given:old.example.test` is expiring"),
        "{told}"
    );
    assert!(!told.contains("good.example.test"), "{told}");
    let text = "certificate `given:old.example.test` ends within a day";
    eventually("the event", || {
        let events = bed.api().get("/events").unwrap().to_string();
        events.contains(text).then_some(())
    });
}
