//! The registry's door with a certificate of the team's own.
#![allow(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

use crate::trials::program;
use std::process::{Command, Output};
use xtask::house::{Daemon, Settings};

fn run(program: &str, args: &[&str]) -> Output {
    Command::new(program).args(args).output().unwrap()
}

#[test]
fn root_the_registry_speaks_tls_with_the_certificate_that_it_was_given() {
    let place = std::env::temp_dir().join(format!("daas-registry-tls-{}", std::process::id()));
    std::fs::create_dir(&place).unwrap();
    let (key, chain) = (place.join("key.pem"), place.join("chain.pem"));
    let (key, chain) = (key.to_str().unwrap(), chain.to_str().unwrap());
    let made = run(
        "openssl",
        &[
            "req",
            "-x509",
            "-nodes",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-days",
            "2",
            "-subj",
            "/CN=registry",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-keyout",
            key,
            "-out",
            chain,
        ],
    );
    assert!(made.status.success(), "{made:?}");
    let daemon = Daemon::start(Settings {
        program: program().into(),
        configuration: format!(
            "  spares: 0\nregistry:\n  listen: ['127.0.0.1:0']\n  certificate: {chain}\n  key: {key}\n"
        ),
        environment: Vec::new(),
    })
    .unwrap();
    let info = daemon.api().get("/registry").unwrap();
    let host = info["listens"][0].as_str().unwrap();
    let url = format!("https://{host}/v2/");
    let code = |args: &[&str]| {
        let all = [
            &[
                "--silent",
                "--output",
                "/dev/null",
                "--write-out",
                "%{http_code}",
            ],
            args,
        ];
        String::from_utf8(run("curl", &all.concat()).stdout).unwrap()
    };
    assert_eq!(code(&["--cacert", chain, &url]), "401");
    // Whom nobody told of the certificate does not believe it, and nobody is served in plain words.
    assert_eq!(code(&["--cacert", "/dev/null", &url]), "000");
    assert_ne!(code(&[&format!("http://{host}/v2/")]), "401");
    std::fs::remove_dir_all(&place).unwrap();
}
