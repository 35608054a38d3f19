//! Names of stands over TLS: trusted while the stand is there, a page that explains when it is not.
#![allow(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

use crate::edge::{Visitor, dig, eventually, free_address, free_port, serving};
use crate::pebble::Pebble;
use crate::trials::program;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};
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

#[test]
fn root_every_name_of_a_stand_is_trusted_by_the_root_and_a_strangers_name_shows_the_page() {
    let port = free_port();
    let bed = Bed::configured(
        program(),
        &format!("  spares: 0\ningress:\n  listen: []\n  listen_tls: ['127.0.0.1:{port}']\n"),
    )
    .unwrap();
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
