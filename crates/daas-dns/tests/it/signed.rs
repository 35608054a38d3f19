//! Signed zones, judged by `delv` and `dnssec-verify` of BIND and by `kdig` of Knot.

use crate::place::{Place, resource, run, zone_of};
use daas_dns::{Name, Resource, Settings};

fn office(lines: &[&str]) -> Place {
    let mut zone = zone_of("example.test", lines);
    zone.signed = true;
    zone.transfer_to = vec![daas_model::Subnet::parse("127.0.0.0/8").unwrap()];
    Place::with(Settings {
        zones: vec![zone],
        ..Settings::default()
    })
}

const LINES: &[&str] = &[
    "@ A 192.0.2.1",
    "@ MX 10 mail",
    "mail A 192.0.2.2",
    "mail AAAA 2001:db8::2",
    "www CNAME mail",
    "*.apps A 192.0.2.3",
    "starred CNAME x.apps",
    "deep.under.empty TXT \"x\"",
    "sub NS ns.sub",
    "ns.sub A 192.0.2.53",
    "safe NS ns.elsewhere.test.",
    "safe DS 60485 13 2 2BB183AF5F22588179A53B0A98631FAD1A292118B5F3E1D2A0C1B2C3D4E5F607",
];

/// Asks `delv`, which trusts the zone's key and nothing else.
fn delv(place: &Place, arguments: &[&str]) -> String {
    let cds = place.short(&["example.test", "CDS"]);
    let words: Vec<&str> = cds[0].split(' ').collect();
    let digest = words[3..].concat();
    let anchor = format!(
        "trust-anchors {{ example.test. static-ds {} {} {} \"{digest}\"; }};\n",
        words[0], words[1], words[2]
    );
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("anchor");
    std::fs::write(&file, anchor).unwrap();
    let port = place.address.port().to_string();
    run(
        "delv",
        &[
            &[
                "@127.0.0.1",
                "-p",
                &port,
                "-a",
                file.to_str().unwrap(),
                "+root=example.test",
            ],
            arguments,
        ]
        .concat(),
    )
}

#[test]
fn delv_validates_answers_and_denials() {
    let place = office(LINES);
    for (name, kind, verdict) in [
        ("example.test", "A", "; fully validated"),
        ("example.test", "DNSKEY", "; fully validated"),
        ("mail.example.test", "AAAA", "; fully validated"),
        ("www.example.test", "A", "; fully validated"),
        ("x.apps.example.test", "A", "; fully validated"),
        ("a.b.apps.example.test", "A", "; fully validated"),
        ("starred.example.test", "A", "; fully validated"),
        ("safe.example.test", "DS", "; fully validated"),
        (
            "nowhere.example.test",
            "A",
            "; negative response, fully validated",
        ),
        (
            "zz.nowhere.example.test",
            "A",
            "; negative response, fully validated",
        ),
        (
            "mail.example.test",
            "TXT",
            "; negative response, fully validated",
        ),
        (
            "empty.example.test",
            "A",
            "; negative response, fully validated",
        ),
        (
            "x.apps.example.test",
            "TXT",
            "; negative response, fully validated",
        ),
        (
            "sub.example.test",
            "DS",
            "; negative response, fully validated",
        ),
    ] {
        let answer = delv(&place, &[name, kind]);
        assert!(
            answer.contains(verdict),
            "{name} {kind}: {answer}\n{}",
            place.dig(&["+dnssec", name, kind])
        );
    }
}

#[test]
fn a_tree_that_stands_for_another_is_validated_and_hides_what_lies_below() {
    let place = office(&[
        "d DNAME other",
        "a.other A 192.0.2.1",
        "*.other AAAA 2001:db8::1",
        "z A 192.0.2.3",
    ]);
    let origin = Name::parse("example.test").unwrap();
    for (name, kind, verdict) in [
        ("a.d.example.test", "A", "; fully validated"),
        ("b.d.example.test", "AAAA", "; fully validated"),
        ("d.example.test", "DNAME", "; fully validated"),
        (
            "a.d.example.test",
            "TXT",
            "a.other.example.test.\t1\tIN\t\\-TXT",
        ),
    ] {
        let answer = delv(&place, &[name, kind]);
        assert!(
            answer.contains(verdict),
            "{name} {kind}: {answer}\n{}",
            place.dig(&["+dnssec", name, kind])
        );
    }
    let answer = place.dig(&["+dnssec", "a.d.example.test", "A"]);
    assert!(answer.contains("RRSIG\tDNAME"), "{answer}");
    assert!(!answer.contains("RRSIG\tCNAME"), "{answer}");
    verify(&place);
    // A stand's names come under it, and it comes above a stand's names: they are not this zone's any more, and are again without it.
    let below = vec![resource(&origin, "x.d A 127.0.0.9")];
    place.dns.put("stand/shop", below).unwrap();
    let above = vec![resource(&origin, "web.shop A 127.0.0.9")];
    place.dns.put("stand/above", above).unwrap();
    verify(&place);
    let tree = |line| place.wait(place.dns.add(resource(&origin, line)));
    assert!(tree("shop DNAME other").is_ok());
    verify(&place);
    assert!(delv(&place, &["a.shop.example.test", "A"]).contains("fully validated"));
    let gone = Name::parse("shop.example.test").unwrap();
    let kind = daas_dns::RrType::DNAME;
    place.wait(place.dns.remove(&gone, kind, None)).unwrap();
    verify(&place);
    assert_eq!(place.short(&["web.shop.example.test", "A"]), ["127.0.0.9"]);
}

#[test]
fn changes_are_signed_as_they_come_and_the_chain_stays_closed() {
    let place = office(LINES);
    let origin = Name::parse("example.test").unwrap();
    // Names at the front, in the middle, at the end and below others, put and taken in an order of their own.
    for round in 0..40u32 {
        let owner = format!("stand/{}", round % 7);
        if round % 3 == 2 {
            place.dns.withdraw(&owner);
            continue;
        }
        let stand = format!(
            "{}stand-{}",
            ["0", "m", "zz"][usize::try_from(round % 3).unwrap()],
            round % 7
        );
        let lines = [
            format!("{stand} A 127.0.0.{round}"),
            format!("*.{stand} A 127.0.0.{round}"),
            format!("web.{stand} TXT \"{round}\""),
        ];
        place
            .dns
            .put(
                &owner,
                lines
                    .iter()
                    .map(|line| resource(&origin, line))
                    .collect::<Vec<Resource>>(),
            )
            .unwrap();
    }
    // A delegation that comes takes the names below it out of the chain.
    place
        .wait(
            place
                .dns
                .add(resource(&origin, "mail NS ns.elsewhere.test.")),
        )
        .unwrap();
    verify(&place);
    place
        .wait(place.dns.remove(
            &Name::parse("mail.example.test").unwrap(),
            daas_dns::RrType::NS,
            None,
        ))
        .unwrap();
    verify(&place);
    assert!(delv(&place, &["x.0stand-0.example.test", "A"]).contains("fully validated"));
}

/// Hands the whole zone to `dnssec-verify` and `ldns-verify-zone`, which check every signature and the whole chain.
pub(crate) fn verify(place: &Place) {
    let zone = place.dig(&["example.test", "AXFR", "+noall", "+answer", "+onesoa"]);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("zone");
    std::fs::write(&file, &zone).unwrap();
    let said = run(
        "dnssec-verify",
        &["-z", "-o", "example.test", file.to_str().unwrap()],
    );
    assert!(said.contains("Zone fully signed"), "{said}\n{zone}");
    let said = run("ldns-verify-zone", &[file.to_str().unwrap()]);
    assert!(
        said.contains("Zone is verified and complete"),
        "{said}\n{zone}"
    );
}

/// `dnsviz` of Debian 12 asks its drawing library for its version in a way that the library has given up.
const GROK: &str = "import pygraphviz, types, sys, runpy
pygraphviz.release = types.SimpleNamespace(version=pygraphviz.__version__)
sys.argv[0] = '/usr/bin/dnsviz'
runpy.run_path(sys.argv[0], run_name='__main__')";

/// Lets `dnsviz` ask the server as the world would, over UDP and TCP, with all sizes and cookies; returns every fault and every worry of it.
fn dnsviz(place: &Place, names: &[&str]) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (asked, judged, anchor) = (at("asked.json"), at("judged.json"), at("anchor"));
    let server = format!(
        "example.test+:ns.example.test=127.0.0.1:{}",
        place.address.port()
    );
    let probe = ["probe", "-A", "-x", &server, "-o", &asked];
    let told = run("dnsviz", &[&probe[..], names].concat());
    let keys = place.dig(&["example.test", "DNSKEY", "+noall", "+answer"]);
    std::fs::write(&anchor, keys).unwrap();
    let grok = [
        "-c", GROK, "grok", "-t", &anchor, "-r", &asked, "-o", &judged, "-l", "info",
    ];
    let told = told + &run("/usr/bin/python3", &grok);
    let text = std::fs::read_to_string(&judged).unwrap();
    let judged: serde_json::Value =
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {told}"));
    // Four names are there and one is not, and it has judged all of them by the key.
    for verdict in ["\"NXDOMAIN\"", "\"SECURE\"", "\"VALID\""] {
        assert!(text.contains(verdict), "{text}");
    }
    let mut said = Vec::new();
    worries(&judged, "", &mut said);
    said
}

fn worries(value: &serde_json::Value, at: &str, said: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(map) => {
            for (key, inner) in map {
                if matches!(key.as_str(), "errors" | "warnings") {
                    said.push(format!("{at}: {inner}"));
                } else {
                    worries(inner, &format!("{at}/{key}"), said);
                }
            }
        }
        serde_json::Value::Array(list) => {
            for inner in list {
                worries(inner, at, said);
            }
        }
        _ => {}
    }
}

#[test]
fn dnsviz_has_no_word_against_answers_denials_and_transports() {
    let place = office(LINES);
    let said = dnsviz(
        &place,
        &[
            "example.test",
            "www.example.test",
            "x.apps.example.test",
            "nowhere.example.test",
        ],
    );
    assert_eq!(said, [""; 0]);
}

#[test]
fn signatures_come_only_to_who_asks_and_kdig_reads_them() {
    let place = office(LINES);
    assert!(!place.dig(&["mail.example.test", "A"]).contains("RRSIG"));
    let port = place.address.port().to_string();
    let answer = run(
        "kdig",
        &[
            "@127.0.0.1",
            "-p",
            &port,
            "+dnssec",
            "+edns",
            "nowhere.example.test",
            "A",
        ],
    );
    assert!(
        answer.contains("NXDOMAIN") && answer.contains("NSEC") && answer.contains("RRSIG"),
        "{answer}"
    );
    assert!(!answer.contains("WARNING"), "{answer}");
    // A referral to a zone without a key proves that it has none.
    let referral = run(
        "kdig",
        &[
            "@127.0.0.1",
            "-p",
            &port,
            "+dnssec",
            "+norec",
            "www.sub.example.test",
            "A",
        ],
    );
    assert!(
        referral.contains("NSEC") && referral.contains("192.0.2.53"),
        "{referral}"
    );
}
