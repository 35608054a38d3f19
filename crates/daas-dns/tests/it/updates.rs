//! `nsupdate` of BIND changes zones.

use crate::keys::{argument, key};
use crate::place::{Place, zone_of};
use daas_dns::{Name, Resource, RrType, Settings};
use std::io::Write;
use std::process::{Command, Stdio};

fn office() -> Place {
    let mut zone = zone_of("example.test", &["www A 192.0.2.1"]);
    zone.update_keys = vec![Name::parse("ddns").unwrap()];
    Place::with(Settings {
        zones: vec![zone, zone_of("closed.test", &[])],
        tsig: vec![
            key("ddns", "hmac-sha256"),
            key("big", "hmac-sha512"),
            key("other", "hmac-sha256"),
        ],
        ..Settings::default()
    })
}

/// Runs `nsupdate` and returns what it complains about; nothing if all went well.
fn nsupdate(place: &Place, key: &[&str], commands: &str) -> String {
    let mut child = Command::new("nsupdate")
        .args(key)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("nsupdate (dnsutils)");
    let script = format!(
        "server 127.0.0.1 {}\n{commands}\nsend\n",
        place.address.port()
    );
    child
        .stdin
        .take()
        .unwrap()
        .write_all(script.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn records_are_added_and_removed_with_prerequisites() {
    let place = office();
    let y = argument("ddns", "hmac-sha256");
    let sign: &[&str] = &["-y", &y];
    let add = "zone example.test\nprereq nxdomain new.example.test\nupdate add new.example.test 60 A 10.1.1.1\nupdate add new.example.test 60 TXT \"a b\"";
    assert_eq!(nsupdate(&place, sign, add), "");
    assert_eq!(place.short(&["new.example.test", "A"]), ["10.1.1.1"]);
    assert!(nsupdate(&place, sign, add).contains("YXDOMAIN"));
    let more = "zone example.test\nprereq yxrrset new.example.test A 10.1.1.1\nupdate add new.example.test 60 A 10.1.1.2";
    assert_eq!(nsupdate(&place, sign, more), "");
    assert_eq!(
        place.short(&["new.example.test", "A"]),
        ["10.1.1.1", "10.1.1.2"]
    );
    assert!(
        nsupdate(&place, sign, more).contains("NXRRSET"),
        "the whole set is compared"
    );
    assert!(
        nsupdate(
            &place,
            sign,
            "zone example.test\nprereq nxrrset new.example.test TXT\nupdate delete new.example.test"
        )
        .contains("YXRRSET")
    );
    assert_eq!(
        nsupdate(
            &place,
            sign,
            "zone example.test\nupdate delete new.example.test A 10.1.1.1"
        ),
        ""
    );
    assert_eq!(place.short(&["new.example.test", "A"]), ["10.1.1.2"]);
    assert_eq!(
        nsupdate(
            &place,
            sign,
            "zone example.test\nupdate delete new.example.test TXT"
        ),
        ""
    );
    assert!(place.short(&["new.example.test", "TXT"]).is_empty());
    assert_eq!(
        nsupdate(
            &place,
            sign,
            "zone example.test\nupdate delete new.example.test"
        ),
        ""
    );
    assert!(
        place
            .dig(&["new.example.test", "A"])
            .contains("status: NXDOMAIN")
    );
    // What the configuration says is not theirs to take.
    assert_eq!(
        nsupdate(
            &place,
            sign,
            "zone example.test\nupdate delete www.example.test"
        ),
        ""
    );
    assert_eq!(place.short(&["www.example.test", "A"]), ["192.0.2.1"]);
    // An alias does not come where other records are, and the rest is done.
    assert_eq!(
        nsupdate(
            &place,
            sign,
            "zone example.test\nupdate add www.example.test 60 CNAME x.test.\nupdate add y.example.test 60 CNAME x.test."
        ),
        ""
    );
    assert_eq!(place.short(&["www.example.test", "CNAME"]).len(), 0);
    assert_eq!(place.short(&["y.example.test", "CNAME"]), ["x.test."]);
}

#[test]
fn nobody_without_the_right_key_changes_anything() {
    let place = office();
    let add = "zone example.test\nupdate add new.example.test 60 A 10.1.1.1";
    assert!(nsupdate(&place, &[], add).contains("REFUSED"));
    assert!(nsupdate(&place, &["-y", &argument("other", "hmac-sha256")], add).contains("REFUSED"));
    assert!(nsupdate(&place, &["-y", &argument("unknown", "hmac-sha256")], add).contains("BADKEY"));
    let wrong = argument("ddns", "hmac-sha256").replace("MDEy", "MDEz");
    assert!(nsupdate(&place, &["-y", &wrong], add).contains("BADSIG"));
    // The same name with another algorithm is another key.
    assert!(nsupdate(&place, &["-y", &argument("ddns", "hmac-sha512")], add).contains("BADKEY"));
    let y = argument("ddns", "hmac-sha256");
    assert!(
        nsupdate(
            &place,
            &["-y", &y],
            "zone closed.test\nupdate add new.closed.test 60 A 10.1.1.1"
        )
        .contains("REFUSED")
    );
    assert!(
        nsupdate(
            &place,
            &["-y", &y],
            "zone example.test\nupdate add new.closed.test 60 A 10.1.1.1"
        )
        .contains("NOTZONE")
    );
    assert!(
        place
            .dig(&["new.example.test", "A"])
            .contains("status: NXDOMAIN")
    );
}

#[test]
fn questions_signed_by_a_key_have_signed_answers() {
    let place = office();
    for (name, algorithm) in [("ddns", "hmac-sha256"), ("big", "hmac-sha512")] {
        for way in ["+notcp", "+tcp"] {
            let answer = place.dig(&[
                "-y",
                &argument(name, algorithm),
                "www.example.test",
                "+norec",
                "A",
                way,
            ]);
            assert!(
                answer.contains("192.0.2.1") && answer.contains("TSIG PSEUDOSECTION"),
                "{answer}"
            );
            assert!(
                !answer.contains("WARNING") && !answer.contains("verify"),
                "{answer}"
            );
        }
    }
}

#[test]
fn what_is_kept_outlives_the_server() {
    let place = office();
    let origin = Name::parse("example.test").unwrap();
    let resource = |line| Resource::parse(line, &origin).unwrap();
    place
        .wait(place.dns.add(resource("kept 60 MX 10 mail")))
        .unwrap();
    place
        .wait(place.dns.add(resource("kept 60 TXT \"q\\\"uote\"")))
        .unwrap();
    place
        .wait(place.dns.add(resource("other A 10.0.0.1")))
        .unwrap();
    place
        .wait(
            place
                .dns
                .remove(&Name::parse("other.example.test").unwrap(), RrType::A, None),
        )
        .unwrap();
    assert!(
        place
            .wait(
                place
                    .dns
                    .remove(&Name::parse("other.example.test").unwrap(), RrType::A, None)
            )
            .is_err()
    );
    assert!(
        place.wait(place.dns.add(resource("kept CNAME x"))).is_err(),
        "an alias stands alone"
    );
    assert!(place.wait(place.dns.add(resource("@ CNAME x"))).is_err());
    assert!(
        place
            .wait(place.dns.add(resource("x.other.test. A 10.0.0.1")))
            .is_err()
    );
    let again = Place::on(
        place.store.clone(),
        Settings {
            zones: vec![zone_of("example.test", &[])],
            ..Settings::default()
        },
    );
    assert_eq!(
        again.short(&["kept.example.test", "MX"]),
        ["10 mail.example.test."]
    );
    assert_eq!(
        again.short(&["kept.example.test", "TXT"]),
        ["\"q\\\"uote\""]
    );
    assert!(
        again
            .dig(&["other.example.test", "A"])
            .contains("status: NXDOMAIN")
    );
}

#[test]
fn an_alias_beside_records_of_the_configuration_is_passed_over_in_silence() {
    let place = office();
    let y = argument("ddns", "hmac-sha256");
    let add = "zone example.test\nupdate add www.example.test 60 CNAME mail.example.test.";
    assert_eq!(nsupdate(&place, &["-y", &y], add), "");
    let kept = place.dns.records(None).unwrap();
    assert!(kept.iter().all(|(_, record)| record.kind != RrType::CNAME));
}

#[test]
fn a_new_dname_takes_the_place_of_the_old_one() {
    let place = office();
    let y = argument("ddns", "hmac-sha256");
    for tree in ["one", "two"] {
        let add =
            format!("zone example.test\nupdate add d.example.test 60 DNAME {tree}.example.test.");
        assert_eq!(nsupdate(&place, &["-y", &y], &add), "");
        assert_eq!(
            place.short(&["d.example.test", "DNAME"]),
            [format!("{tree}.example.test.")]
        );
    }
}
