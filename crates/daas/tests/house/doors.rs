//! The API over TLS, clients by certificate, and who is kept out.
#![allow(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

use crate::edge::{eventually, free_port, run, serving};
use crate::trials::program;
use std::fs;
use std::process::Command;
use xtask::house::{Daemon, Settings};
use xtask::trials::Bed;

/// A folder of the test's own, which goes with it.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// Makes a token and the file that knows it.
fn token(folder: &tempfile::TempDir) -> (String, String) {
    let file = folder.path().join("tokens");
    let file = file.to_str().unwrap().to_owned();
    let made = run(
        program().to_str().unwrap(),
        &[
            "system", "token", "ci", "--role", "operator", "--file", &file,
        ],
    );
    (made.trim().to_owned(), file)
}

fn daas(words: &[&str]) -> (bool, String) {
    let output = Command::new(program()).args(words).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

#[test]
fn root_the_api_speaks_tls_and_knows_clients_by_their_certificates() {
    let folder = folder();
    let (token, tokens) = token(&folder);
    let port = free_port();
    let daemon = Daemon::start(Settings {
        program: program().into(),
        configuration: format!(
            "  spares: 0\nlisten:\n  - {{address: '127.0.0.1:{port}', tokens: {tokens}, tls: true, clients: {{anna: operator}}}}\n"
        ),
        environment: Vec::new(),
    })
    .unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let socket = daemon.place().join("daas.sock");
    let local = |words: &[&str]| {
        run(
            program().to_str().unwrap(),
            &[&["--socket", socket.to_str().unwrap()], words].concat(),
        )
    };
    fs::write(at("root.pem"), local(&["certificate", "root"])).unwrap();
    for who in ["anna", "bert"] {
        local(&["certificate", "client", "add", who, "--output", &at(who)]);
    }
    let host = format!("https://localhost:{port}");
    let ask = |words: &[&str]| daas(&[&["--host", &host, "--ca", &at("root.pem")], words].concat());
    let list = ["stand", "list"];

    assert!(ask(&[&["--token", &token], &list[..]].concat()).0);
    assert!(ask(&[&["--certificate", &at("anna")], &list[..]].concat()).0);
    // A certificate with nothing to say is no way in, and neither is coming with nothing.
    for words in [&["--certificate", &at("bert")][..], &[]] {
        let (done, said) = ask(&[words, &list].concat());
        assert!(!done && said.contains("token-missing"), "{said}");
    }
    // Whom nobody told of the root does not believe the daemon, and nobody is served in plain words.
    let (done, said) = daas(&[
        "--host",
        &host,
        "--ca",
        "/etc/ssl/certs/ca-certificates.crt",
        "--token",
        &token,
        "stand",
        "list",
    ]);
    assert!(!done && said.contains("--ca"), "{said}");
    let plain = format!("http://localhost:{port}");
    assert!(!daas(&["--host", &plain, "--token", &token, "stand", "list"]).0);

    local(&["certificate", "client", "revoke", "anna"]);
    assert!(!ask(&[&["--certificate", &at("anna")], &list[..]].concat()).0);
}

/// What curl from `127.9.0.<from>` gets of a URL: the status, 0 where it is not let in.
fn status(from: u8, words: &[&str]) -> u16 {
    let interface = format!("127.9.0.{from}");
    let output = Command::new("curl")
        .args([
            "--silent",
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_code}",
            "--max-time",
            "300",
            "--interface",
            &interface,
        ])
        .args(words)
        .output()
        .unwrap();
    // A door that closes at once is an answer; one that is slow is none.
    assert_ne!(output.status.code(), Some(28), "{words:?} takes too long");
    String::from_utf8(output.stdout).unwrap().parse().unwrap()
}

/// A daemon with an API, a registry and a stand that asks for a password; six failures are a ban.
struct Yard {
    bed: Bed,
    port: u16,
    stands: String,
    token: String,
    _folder: tempfile::TempDir,
}

impl Yard {
    fn new() -> Self {
        let folder = folder();
        let (token, tokens) = token(&folder);
        let (api, port) = (free_port(), free_port());
        let configuration = format!(
            "  spares: 0\nlisten: [{{address: '127.0.0.1:{api}', tokens: {tokens}}}]\nbans: {{after: 6, allow: [127.0.0.1]}}\ningress:\n  listen: ['127.0.0.1:{port}']\n  listen_tls: []\n  trusted_proxies: [127.9.0.9]\nregistry:\n  listen: ['127.0.0.1:0']\n"
        );
        let bed = Bed::configured(program(), &configuration).unwrap();
        let guarded = "x-daas:\n  routes:\n    - {service: web, basic_auth: {ann: geheim}}\n";
        let project = bed.project(&(serving("web", "hello") + guarded));
        bed.api().up("shop", &project, 0).unwrap();
        Self {
            bed,
            port,
            stands: format!("http://127.0.0.1:{api}/api/v1/stands"),
            token,
            _folder: folder,
        }
    }

    /// Visits the stand as `user`, or as nobody.
    fn visit(&self, from: u8, user: &str, more: &[&str]) -> u16 {
        let page = format!("http://web.shop.localhost:{}/", self.port);
        let resolve = format!("web.shop.localhost:{}:127.0.0.1", self.port);
        let words = [&["--resolve", &resolve, &page][..], more].concat();
        let user: &[&str] = if user.is_empty() {
            &[]
        } else {
            &["--user", user]
        };
        status(from, &[&words[..], user].concat())
    }

    /// Asks the API with a token.
    fn ask(&self, from: u8, token: &str) -> u16 {
        let header = format!("Authorization: Bearer {token}");
        status(from, &["--header", &header, &self.stands])
    }

    /// Where the registry's logins are judged.
    fn registry(&self) -> String {
        let registry = self.bed.api().get("/registry").unwrap();
        let listens = registry["listens"][0].as_str().unwrap();
        format!("http://{listens}/token?service=x")
    }

    fn is_let_in(&self, from: u8) -> bool {
        match self.ask(from, &self.token) {
            200 => true,
            0 => false,
            other => panic!("a strange answer: {other}"),
        }
    }

    fn banned(&self) -> String {
        let list = self.bed.api().get("/bans").unwrap();
        let items = list["items"].as_array().unwrap();
        let nets = items
            .iter()
            .map(|ban| ban["net"].as_str().unwrap().to_owned());
        let mut all: Vec<String> = nets.collect();
        all.sort();
        all.join(" ")
    }

    fn ban(&self, words: &[&str]) -> String {
        let socket = self.bed.daemon.place().join("daas.sock");
        let own = ["--socket", socket.to_str().unwrap(), "ban"];
        run(program().to_str().unwrap(), &[&own[..], words].concat())
    }
}

#[test]
fn root_who_fails_sign_ins_or_probes_is_kept_out_at_all_doors() {
    let yard = Yard::new();
    // A password of a stand: who comes without one is asked, as often as he likes; who guesses is kept out, everywhere.
    for _ in 0..8 {
        assert_eq!(yard.visit(1, "", &[]), 401);
    }
    assert_eq!(yard.visit(1, "ann:geheim", &[]), 200);
    for _ in 0..6 {
        assert_eq!(yard.visit(1, "ann:guess", &[]), 401);
    }
    assert_eq!(yard.visit(1, "ann:geheim", &[]), 0);
    assert!(!yard.is_let_in(1) && yard.is_let_in(2));
    assert_eq!(yard.visit(2, "ann:geheim", &[]), 200);

    // Tokens of the API, logins of the registry, looks for holes.
    for _ in 0..6 {
        assert_eq!(yard.ask(3, "guess"), 401);
    }
    let registry = yard.registry();
    for _ in 0..6 {
        assert_eq!(status(4, &["--user", "ann:guess", &registry]), 401);
    }
    for hole in [
        "/.env",
        "/wp-login.php",
        "/.git/config",
        "/phpmyadmin/",
        "/.aws/x",
        "/xmlrpc.php",
    ] {
        let url = format!("http://127.0.0.1:{}{hole}", yard.port);
        assert_eq!(status(5, &[&url]), 404);
    }
    assert!([3, 4, 5].into_iter().all(|from| !yard.is_let_in(from)));
    assert_eq!(
        yard.banned(),
        "127.9.0.1/32 127.9.0.3/32 127.9.0.4/32 127.9.0.5/32"
    );
    eventually("the words about four bans", || {
        let said = yard.bed.daemon.said();
        (said.matches("banned net=").count() == 4).then_some(())
    });
    yard.bed.api().down("shop").unwrap();
}

#[test]
fn root_bans_respect_proxies_and_people_and_outlive_a_crash() {
    let mut yard = Yard::new();
    // Behind a proxy that is believed, the one who came is kept out and not the proxy.
    let by = |of: &str| format!("X-Forwarded-For: {of}");
    for _ in 0..6 {
        assert_eq!(
            yard.visit(9, "ann:guess", &["--header", &by("198.51.100.7")]),
            401
        );
    }
    assert_eq!(
        yard.visit(9, "ann:geheim", &["--header", &by("198.51.100.7")]),
        403
    );
    assert_eq!(
        yard.visit(9, "ann:geheim", &["--header", &by("198.51.100.8")]),
        200
    );
    // At the API and the registry as well; what others say of whom they bring is believed by nobody.
    let registry = yard.registry();
    let guess = "Authorization: Bearer guess";
    let login = ["--user", "ann:guess", &registry];
    for _ in 0..6 {
        let api = [
            "--header",
            &by("198.51.100.9"),
            "--header",
            guess,
            &yard.stands,
        ];
        assert_eq!(status(9, &api), 401);
        let forwarded = by("198.51.100.10");
        let words = [&["--header", &forwarded][..], &login].concat();
        assert_eq!(status(9, &words), 401);
        let words = [
            "--header",
            &by("198.51.100.11"),
            "--header",
            guess,
            &yard.stands,
        ];
        assert_eq!(status(6, &words), 401);
    }
    let own = format!("Authorization: Bearer {}", yard.token);
    let visit =
        |from: u8, of: &str| status(from, &["--header", &by(of), "--header", &own, &yard.stands]);
    for banned in ["198.51.100.7", "198.51.100.9", "198.51.100.10"] {
        assert_eq!(visit(9, banned), 403, "{banned}");
    }
    assert_eq!(
        (visit(9, "198.51.100.11"), visit(6, "198.51.100.12")),
        (200, 0)
    );
    for banned in ["198.51.100.9", "198.51.100.10", "127.9.0.6"] {
        yard.ban(&["remove", banned]);
    }
    // Who is never banned guesses on.
    let header = "Authorization: Bearer guess";
    for _ in 0..8 {
        let words = ["--interface", "127.0.0.1", "--header", header, &yard.stands];
        assert_eq!(status(0, &words), 401);
    }
    for _ in 0..6 {
        assert_eq!(yard.ask(3, "guess"), 401);
    }
    yard.ban(&["add", "127.9.0.0/30", "--for", "1h", "--why", "noise"]);
    let list = yard.ban(&["list"]);
    assert!(
        list.contains("6 times: wrong password or link of a stand") && list.contains("noise"),
        "{list}"
    );
    assert!(![1, 2, 3].into_iter().any(|from| yard.is_let_in(from)));
    yard.ban(&["allow", "127.9.0.3"]);
    yard.ban(&["remove", "198.51.100.7"]);
    assert!(yard.is_let_in(3));
    yard.bed.daemon.kill().unwrap();
    yard.bed.daemon.start_again().unwrap();
    assert_eq!(yard.banned(), "127.9.0.0/30 127.9.0.3/32");
    assert!(yard.is_let_in(3) && yard.is_let_in(4) && !yard.is_let_in(2));
    yard.ban(&["remove", "127.9.0.0/30"]);
    yard.ban(&["allow", "127.9.0.3", "--remove"]);
    assert!(yard.is_let_in(2) && !yard.is_let_in(3));
    yard.bed.api().down("shop").unwrap();
}
