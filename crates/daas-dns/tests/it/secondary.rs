//! BIND as a secondary: takes the zone, hears of changes, and fetches what has changed.

use crate::keys::key;
use crate::named::{Named, free_port};
use crate::place::{Place, SOON, resource, zone_of};
use daas_dns::{Name, Settings};

/// Starts one that holds a copy.
fn copy(primary: u16, port: u16) -> Named {
    let zone = format!(
        "type secondary; primaries {{ 127.0.0.1 port {primary} key \"xfer\"; }}; file \"copy\"; masterfile-format text;"
    );
    with(port, &zone, "")
}

/// Starts one that holds the zone itself, with a record of its own, and takes updates of the key.
fn primary(port: u16) -> Named {
    with(
        port,
        "type primary; file \"zone\"; allow-update { key \"xfer\"; };",
        "$TTL 60\n@ SOA ns root 1 60 60 600 1\n@ NS ns\nns A 127.0.0.1\nwww A 192.0.2.1\n",
    )
}

fn with(port: u16, zone: &str, file: &str) -> Named {
    let zone = format!("zone \"example.test\" {{ {zone} }};\n");
    Named::of(port, &zone, "recursion no; dnssec-validation no;", file)
}

#[test]
fn bind_takes_the_zone_hears_of_changes_and_fetches_the_difference() {
    let port = free_port();
    let lines: Vec<String> = (0..4000)
        .map(|n| format!("host-{n} A 10.1.{}.{}", n / 250, n % 250))
        .collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let mut zone = zone_of("example.test", &lines);
    zone.transfer_keys = vec![Name::parse("xfer").unwrap()];
    zone.secondaries = vec![format!("127.0.0.1:{port}").parse().unwrap()];
    let place = Place::with(Settings {
        zones: vec![zone],
        tsig: vec![key("xfer", "hmac-sha256")],
        ..Settings::default()
    });
    let named = copy(place.address.port(), port);
    named.wait_for(&["host-3999.example.test", "A"], "10.1.15.249");
    let origin = Name::parse("example.test").unwrap();
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
    // Its own refresh would be five minutes away: only a NOTIFY brings it here.
    named.wait_for(&["web.shop.example.test", "A"], "127.0.0.9");
    place.dns.withdraw("stand/shop");
    named.wait_for(&["web.shop.example.test", "A"], "");
    let log = named.log();
    let transfers: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("Transfer completed"))
        .collect();
    assert!(transfers[0].contains("4004 records"), "{transfers:#?}");
    assert!(transfers.len() >= 2, "{log}");
    for step in &transfers[1..] {
        let records: u32 = step
            .split(", ")
            .find_map(|part| part.strip_suffix(" records"))
            .unwrap()
            .parse()
            .unwrap();
        assert!(records < 20, "a difference, not the whole zone: {step}");
    }
    assert!(log.contains("TSIG 'xfer'"), "{log}");
}

#[test]
fn what_a_zone_has_is_pushed_to_bind_and_what_goes_goes_there_even_over_a_restart() {
    let port = free_port();
    let named = primary(port);
    named.wait_for(&["www.example.test", "A"], "192.0.2.1");
    let store = daas_store::Store::in_memory().unwrap();
    let settings = || {
        let mut zone = zone_of("example.test", &["office A 192.0.2.9"]);
        zone.push_to = Some(format!("127.0.0.1:{port}").parse().unwrap());
        zone.push_key = Some(Name::parse("xfer").unwrap());
        Settings {
            zones: vec![zone],
            tsig: vec![key("xfer", "hmac-sha256")],
            ..Settings::default()
        }
    };
    let origin = Name::parse("example.test").unwrap();
    let place = Place::on(store.clone(), settings());
    let stand = ["shop A 127.0.0.9", "*.shop A 127.0.0.9"].map(|line| resource(&origin, line));
    place.dns.put("stand/shop", stand.to_vec()).unwrap();
    place
        .dns
        .put("stand/gone", vec![resource(&origin, "gone A 127.0.0.8")])
        .unwrap();
    // What an authority asks for is there when this returns: no waiting in the dark.
    let challenge = place
        .dns
        .set_txt("_acme-challenge.example.test", &["secret".to_owned()])
        .unwrap();
    assert!(place.wait(place.dns.pushed(&origin, SOON)));
    assert_eq!(
        named.dig(&["_acme-challenge.example.test", "TXT"]).trim(),
        "\"secret\""
    );
    for (name, address) in [
        ("shop", "127.0.0.9"),
        ("web.shop", "127.0.0.9"),
        ("office", "192.0.2.9"),
        ("gone", "127.0.0.8"),
    ] {
        assert_eq!(
            named.dig(&[&format!("{name}.example.test"), "A"]).trim(),
            address
        );
    }
    drop(challenge);
    place
        .dns
        .put("stand/shop", vec![resource(&origin, "shop A 127.0.0.10")])
        .unwrap();
    assert!(place.wait(place.dns.pushed(&origin, SOON)));
    assert_eq!(named.dig(&["shop.example.test", "A"]).trim(), "127.0.0.10");
    for (name, kind) in [("web.shop", "A"), ("_acme-challenge", "TXT")] {
        assert_eq!(named.dig(&[&format!("{name}.example.test"), kind]), "");
    }
    drop(place);

    // `gone` went while nobody ran; what is the other server's own stays.
    let place = Place::on(store, settings());
    place
        .dns
        .put("stand/shop", vec![resource(&origin, "shop A 127.0.0.10")])
        .unwrap();
    assert!(place.wait(place.dns.pushed(&origin, SOON)));
    named.wait_for(&["gone.example.test", "A"], "");
    assert_eq!(named.dig(&["shop.example.test", "A"]).trim(), "127.0.0.10");
    assert_eq!(named.dig(&["www.example.test", "A"]).trim(), "192.0.2.1");
    assert_eq!(named.dig(&["ns.example.test", "A"]).trim(), "127.0.0.1");
}
