//! Positive and negative answers, wildcards, aliases, referrals, sizes.

use crate::place::{Place, question, resource, zone_of};
use daas_dns::{Name, Settings};

fn office() -> Place {
    Place::of(
        "example.test",
        &[
            "@ A 192.0.2.1",
            "@ MX 10 mail",
            "@ CAA 0 issue \"ca.example.net\"",
            "@ TXT \"v=spf1 -all\"",
            "www CNAME @",
            "mail A 192.0.2.2",
            "mail AAAA 2001:db8::2",
            "_sip._tcp SRV 0 5 5060 mail",
            "*.apps A 192.0.2.3",
            "host.apps A 192.0.2.4",
            "deep.under.empty A 192.0.2.5",
            "far CNAME www.elsewhere.test.",
            "loop1 CNAME loop2",
            "loop2 CNAME loop1",
            "to-loop CNAME loop1",
            "sub NS ns.sub",
            "ns.sub A 192.0.2.53",
            "sub NS ns.other.test.",
            "star CNAME x.apps",
        ],
    )
}

#[test]
fn every_type_is_answered_as_it_was_written() {
    let place = office();
    for (question, expected) in [
        (&["example.test", "A"][..], &["192.0.2.1"][..]),
        (&["example.test", "MX"], &["10 mail.example.test."]),
        (&["example.test", "CAA"], &["0 issue \"ca.example.net\""]),
        (&["example.test", "TXT"], &["\"v=spf1 -all\""]),
        (&["example.test", "NS"], &["ns.example.test."]),
        (&["ns.example.test", "A"], &["127.0.0.1"]),
        (&["mail.example.test", "AAAA"], &["2001:db8::2"]),
        (
            &["_sip._tcp.example.test", "SRV"],
            &["0 5 5060 mail.example.test."],
        ),
        (&["www.example.test", "A"], &["192.0.2.1", "example.test."]),
        (&["www.example.test", "CNAME"], &["example.test."]),
        (&["x.apps.example.test", "A"], &["192.0.2.3"]),
        (&["a.b.apps.example.test", "A"], &["192.0.2.3"]),
        (&["host.apps.example.test", "A"], &["192.0.2.4"]),
        (&["far.example.test", "A"], &["www.elsewhere.test."]),
        (
            &["star.example.test", "A"],
            &["192.0.2.3", "x.apps.example.test."],
        ),
        (&["+tcp", "example.test", "A"], &["192.0.2.1"]),
    ] {
        assert_eq!(place.short(question), expected, "{question:?}");
    }
}

#[test]
fn what_is_not_there_is_told_with_the_right_code_and_the_time_it_holds() {
    let place = office();
    for (name, kind, code) in [
        ("nowhere.example.test", "A", "NXDOMAIN"),
        ("a.nowhere.example.test", "A", "NXDOMAIN"),
        // Names that are there without this type, or only because of others below them.
        ("mail.example.test", "TXT", "NOERROR"),
        ("empty.example.test", "A", "NOERROR"),
        ("under.empty.example.test", "A", "NOERROR"),
        ("apps.example.test", "A", "NOERROR"),
        ("x.apps.example.test", "AAAA", "NOERROR"),
        // A wildcard does not reach below a name that is there (RFC 4592 section 3.3.1).
        ("x.host.apps.example.test", "A", "NXDOMAIN"),
    ] {
        let answer = place.dig(&[name, kind]);
        assert!(
            answer.contains(&format!("status: {code}")),
            "{name} {kind}: {answer}"
        );
        assert!(
            answer.contains("flags: qr aa rd; QUERY: 1, ANSWER: 0, AUTHORITY: 1"),
            "{answer}"
        );
        let soa = answer
            .lines()
            .find(|line| line.contains("SOA") && !line.starts_with(';'))
            .unwrap();
        assert_eq!(soa.split_whitespace().nth(1), Some("1"), "{soa}");
    }
    let foreign = place.dig(&["www.example.org", "A"]);
    assert!(foreign.contains("status: REFUSED"), "{foreign}");
}

#[test]
fn aliases_in_a_circle_end_and_each_record_is_told_once() {
    let place = office();
    let answer = place.dig(&["loop1.example.test", "A"]);
    assert!(answer.contains("status: NOERROR"), "{answer}");
    assert!(answer.contains("ANSWER: 2, AUTHORITY: 0"), "{answer}");
    // From outside of the circle, too.
    let answer = place.dig(&["to-loop.example.test", "A"]);
    assert!(answer.contains("ANSWER: 3, AUTHORITY: 0"), "{answer}");
}

#[test]
fn a_zone_with_an_alias_beside_other_records_is_not_served() {
    for (records, part) in [
        (
            &["www CNAME a", "www A 192.0.2.1"][..],
            "`www.example.test.` has CNAME beside A",
        ),
        (
            &["www CNAME a", "www CNAME b"],
            "`www.example.test.` has CNAME beside CNAME",
        ),
    ] {
        let said = Place::refusal("example.test", records);
        assert!(
            said.contains("the zone `example.test.`") && said.contains(part),
            "{said}"
        );
    }
}

#[test]
fn nothing_is_kept_beside_an_alias_of_the_configuration_nor_an_alias_beside_its_records() {
    let place = Place::of("example.test", &["www A 192.0.2.1", "old CNAME www"]);
    let origin = Name::parse("example.test").unwrap();
    let add = |line: &str| place.wait(place.dns.add(resource(&origin, line)));
    for line in ["www CNAME mail", "old A 192.0.2.2", "old CNAME mail"] {
        let error = add(line).unwrap_err();
        assert!(
            matches!(error, daas_dns::DnsError::Alias { .. }),
            "{line}: {error}"
        );
    }
    // What was refused is in nobody's way.
    add("www AAAA 2001:db8::1").unwrap();
    add("new CNAME www").unwrap();
    assert!(add("new TXT x").is_err());
    // What follows a stand gives way to what people write.
    let stand = resource(&origin, "shop A 127.0.0.9");
    place.dns.put("stand/shop", vec![stand]).unwrap();
    add("shop CNAME www").unwrap();
    assert_eq!(
        place.short(&["shop.example.test", "CNAME"]),
        ["www.example.test."]
    );
}

#[test]
fn a_tree_that_stands_for_another_is_followed_through_all_zones() {
    let long = "x".repeat(60);
    let far = format!("far DNAME {long}.{long}.{long}.test.");
    let place = Place::with(Settings {
        zones: vec![
            zone_of(
                "example.test",
                &[
                    "d DNAME other",
                    "d TXT own",
                    "a.other A 192.0.2.1",
                    "*.stars.other A 192.0.2.2",
                    "out DNAME elsewhere.test.",
                    "foreign DNAME example.org.",
                    "round DNAME x.round",
                    "www CNAME a.d",
                    &far,
                ],
            ),
            zone_of("elsewhere.test", &["b.c A 192.0.2.3"]),
        ],
        ..Settings::default()
    });
    for (question, expected) in [
        (
            &["a.d.example.test", "A"][..],
            &["192.0.2.1", "a.other.example.test.", "other.example.test."][..],
        ),
        (
            &["www.example.test", "A"],
            &[
                "192.0.2.1",
                "a.d.example.test.",
                "a.other.example.test.",
                "other.example.test.",
            ],
        ),
        (
            &["y.stars.d.example.test", "A"],
            &[
                "192.0.2.2",
                "other.example.test.",
                "y.stars.other.example.test.",
            ],
        ),
        (
            &["b.c.out.example.test", "A"],
            &["192.0.2.3", "b.c.elsewhere.test.", "elsewhere.test."],
        ),
        (
            &["x.foreign.example.test", "A"],
            &["example.org.", "x.example.org."],
        ),
        // An alias that is asked for is not followed.
        (
            &["a.d.example.test", "CNAME"],
            &["a.other.example.test.", "other.example.test."],
        ),
        // The name of the DNAME itself stands for nothing else (RFC 6672 section 2.3).
        (&["d.example.test", "TXT"], &["\"own\""]),
        (&["d.example.test", "A"], &[]),
        (&["d.example.test", "DNAME"], &["other.example.test."]),
    ] {
        assert_eq!(place.short(question), expected, "{question:?}");
    }
    let answer = place.dig(&["nothing.d.example.test", "A"]);
    assert!(answer.contains("status: NXDOMAIN"), "{answer}");
    assert!(answer.contains("ANSWER: 2, AUTHORITY: 1"), "{answer}");
    assert!(
        answer.contains("nothing.d.example.test.\t60\tIN\tCNAME\tnothing.other.example.test."),
        "{answer}"
    );
    // Its own time goes with the alias; a name that becomes too long is told by its own code, with the DNAME.
    let answer = place.dig(&[&format!("{long}.{long}.far.example.test"), "A"]);
    assert!(answer.contains("status: YXDOMAIN"), "{answer}");
    assert!(answer.contains("ANSWER: 1,"), "{answer}");
    let answer = place.dig(&["a.round.example.test", "A"]);
    assert_eq!(answer.matches("\tDNAME\t").count(), 1, "{answer}");
}

#[test]
fn nothing_is_kept_below_a_dname_nor_a_dname_above_other_records() {
    for (records, part) in [
        (
            &["d DNAME other", "x.d A 192.0.2.1"][..],
            "`d.example.test.` has DNAME beside `x.d.example.test.`",
        ),
        (
            &["d DNAME other", "d DNAME another"],
            "`d.example.test.` has DNAME beside `d.example.test.`",
        ),
        (
            &["@ DNAME example.org."],
            "`example.test.` has DNAME beside `ns.example.test.`",
        ),
    ] {
        let said = Place::refusal("example.test", records);
        assert!(said.contains(part), "{said}");
    }
    let place = Place::of("example.test", &["d DNAME other", "a.b.full A 192.0.2.1"]);
    let origin = Name::parse("example.test").unwrap();
    let add = |line: &str| place.wait(place.dns.add(resource(&origin, line)));
    for line in [
        "x.d A 192.0.2.2",
        "y.x.d TXT x",
        "full DNAME other",
        "d DNAME third",
    ] {
        let error = add(line).unwrap_err();
        assert!(
            matches!(error, daas_dns::DnsError::Tree { .. }),
            "{line}: {error}"
        );
    }
    add("c.b.full DNAME d").unwrap();
    assert_eq!(
        place.short(&["x.c.b.full.example.test", "A"]),
        [
            "d.example.test.",
            "other.example.test.",
            "x.d.example.test.",
            "x.other.example.test."
        ]
    );
}

#[test]
fn a_delegated_zone_is_referred_to_with_glue() {
    let place = office();
    let answer = place.dig(&["www.sub.example.test", "A", "+norecurse"]);
    assert!(
        answer.contains("flags: qr; QUERY: 1, ANSWER: 0, AUTHORITY: 2, ADDITIONAL: 2"),
        "{answer}"
    );
    assert!(answer.contains("192.0.2.53"), "{answer}");
    // The parent answers for DS, and says that there is none.
    let ds = place.dig(&["sub.example.test", "DS", "+norecurse"]);
    assert!(
        ds.contains("flags: qr aa; QUERY: 1, ANSWER: 0, AUTHORITY: 1"),
        "{ds}"
    );
}

#[test]
fn names_bear_addresses_where_the_zone_allows_it() {
    let mut zone = zone_of("daas.test", &["shop-7 A 10.0.0.9"]);
    zone.embedded = Some(Vec::new());
    let place = Place::with(Settings {
        zones: vec![zone],
        ..Settings::default()
    });
    assert_eq!(
        place.short(&["shop-7.192-168-1-10.daas.test", "A"]),
        ["192.168.1.10"]
    );
    assert_eq!(
        place.short(&["web.shop-7.fd00--1.daas.test", "AAAA"]),
        ["fd00::1"]
    );
    assert!(
        place
            .dig(&["shop-7.192-168-1-10.daas.test", "AAAA"])
            .contains("status: NOERROR")
    );
    assert!(
        place
            .dig(&["shop-7.8-8-8-8.daas.test", "A"])
            .contains("status: NXDOMAIN")
    );
}

#[test]
fn a_big_answer_is_cut_over_udp_and_whole_over_tcp() {
    let lines: Vec<String> = (0..80).map(|n| format!("many A 10.0.0.{n}")).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let place = Place::of("example.test", &lines);
    let cut = place.udp(&question("many.example.test", 1, 7));
    assert!(
        cut.len() <= 512 && cut[2] & 0x02 != 0,
        "{} octets",
        cut.len()
    );
    assert_eq!(cut[6..8], [0, 0], "nothing of a set that does not fit");
    let edns = place.dig(&["many.example.test", "A", "+bufsize=4096", "+ignore"]);
    assert!(edns.contains("flags: qr aa tc rd"), "{edns}");
    assert_eq!(place.short(&["many.example.test", "A"]).len(), 80);
}

#[test]
fn records_of_an_owner_come_and_go_as_a_whole_with_a_new_serial() {
    let place = Place::of("example.test", &[]);
    let origin = Name::parse("example.test").unwrap();
    let serial = || -> u32 {
        let soa = place.short(&["example.test", "SOA"]);
        soa[0].split(' ').nth(2).unwrap().parse().unwrap()
    };
    let first = serial();
    place
        .dns
        .put(
            "stand/shop",
            vec![
                resource(&origin, "shop A 127.0.0.9"),
                resource(&origin, "*.shop A 127.0.0.9"),
            ],
        )
        .unwrap();
    assert_eq!(place.short(&["web.shop.example.test", "A"]), ["127.0.0.9"]);
    let second = serial();
    assert!(second > first);
    place.dns.withdraw("stand/shop");
    assert!(
        place
            .dig(&["web.shop.example.test", "A"])
            .contains("status: NXDOMAIN")
    );
    assert!(
        place
            .dig(&["shop.example.test", "A"])
            .contains("status: NXDOMAIN")
    );
    assert!(serial() > second);
    let foreign = resource(&Name::root(), "x.other.test A 127.0.0.9");
    assert!(place.dns.put("stand/x", vec![foreign]).is_err());
}

#[test]
fn who_asks_too_much_from_elsewhere_is_cut_and_comes_back_over_tcp() {
    // 127.0.0.0/8 has no limit, so this is judged by the table of the limiter alone; what is seen here is that loopback is free of it.
    let place = Place::with(Settings {
        zones: vec![zone_of("example.test", &["@ A 192.0.2.1"])],
        limit: 1,
        ..Settings::default()
    });
    for id in 0..50 {
        let answer = place.udp(&question("example.test", 1, id));
        assert_eq!(answer[2] & 0x02, 0);
    }
}

#[test]
fn who_listens_everywhere_answers_from_the_address_that_was_asked() {
    let place = Place::of("example.org", &["www A 192.0.2.1"]);
    for (all, asked) in [("0.0.0.0:0", "127.0.0.7"), ("[::]:0", "::1")] {
        let port = place.listen_everywhere(all).to_string();
        let asked = format!("@{asked}");
        // dig drops answers that come from elsewhere.
        let words = [
            asked.as_str(),
            "-p",
            &port,
            "+short",
            "+tries=1",
            "+time=5",
            "www.example.org",
            "A",
        ];
        let said = std::process::Command::new("dig")
            .args(words)
            .output()
            .unwrap();
        assert_eq!(
            String::from_utf8_lossy(&said.stdout),
            "192.0.2.1\n",
            "{asked}"
        );
    }
}
