//! Names of addresses, asked for with `dig -x`.

use crate::place::{Place, resource, zone_of};
use daas_dns::{Name, Resource, RrType, STAND_TTL, Settings, reverse_name};
use std::net::IpAddr;

const V4: &str = "2.0.192.in-addr.arpa";
const V6: &str = "8.b.d.0.1.0.0.2.ip6.arpa";

fn place(of_v4: &[&str]) -> Place {
    let lines = [
        "www A 192.0.2.1",
        "www AAAA 2001:db8::1",
        "mail A 192.0.2.2",
        "imap A 192.0.2.2",
        "far A 198.51.100.1",
        "*.apps A 192.0.2.4",
    ];
    let mut signed = zone_of(V6, &[]);
    signed.signed = true;
    Place::with(Settings {
        zones: vec![zone_of("office.test", &lines), zone_of(V4, of_v4), signed],
        ..Settings::default()
    })
}

fn called(place: &Place, address: &str) -> Vec<String> {
    place.short(&["-x", address])
}

#[test]
fn addresses_of_written_names_have_pointers_in_reverse_zones_of_ipv4_and_ipv6() {
    let place = place(&[]);
    assert_eq!(called(&place, "192.0.2.1"), ["www.office.test."]);
    assert_eq!(called(&place, "2001:db8::1"), ["www.office.test."]);
    assert_eq!(
        called(&place, "192.0.2.2"),
        ["imap.office.test.", "mail.office.test."]
    );
    // A family of names is called nothing, and of a zone that is not ours nothing is said.
    assert_eq!(called(&place, "192.0.2.4"), [""; 0]);
    assert!(place.dig(&["-x", "192.0.2.4"]).contains("NXDOMAIN"));
    assert!(place.dig(&["-x", "198.51.100.1"]).contains("REFUSED"));
    // What is made is signed as all else.
    let answer = place.dig(&["-x", "2001:db8::1", "+dnssec"]);
    let words: Vec<&str> = answer.split_whitespace().collect();
    assert!(words.join(" ").contains(" RRSIG PTR 13 "), "{answer}");
}

#[test]
fn pointers_of_kept_records_come_and_go_with_them_and_outlive_a_restart() {
    let place = place(&[]);
    let office = Name::parse("office.test").unwrap();
    for line in ["printer A 192.0.2.30", "printer AAAA 2001:db8::30"] {
        place.wait(place.dns.add(resource(&office, line))).unwrap();
    }
    assert_eq!(called(&place, "192.0.2.30"), ["printer.office.test."]);
    assert_eq!(called(&place, "2001:db8::30"), ["printer.office.test."]);
    let store = place.store.clone();
    drop(place);

    let zones = ["office.test", V4, V6];
    let place = Place::on(
        store,
        Settings {
            zones: zones.iter().map(|zone| zone_of(zone, &[])).collect(),
            ..Settings::default()
        },
    );
    assert_eq!(called(&place, "192.0.2.30"), ["printer.office.test."]);
    let printer = Name::parse("printer.office.test").unwrap();
    place
        .wait(place.dns.remove(&printer, RrType::A, None))
        .unwrap();
    assert_eq!(called(&place, "192.0.2.30"), [""; 0]);
    assert!(place.dig(&["-x", "192.0.2.30"]).contains("NXDOMAIN"));
    assert_eq!(called(&place, "2001:db8::30"), ["printer.office.test."]);
}

#[test]
fn a_pointer_that_somebody_wrote_is_the_only_one() {
    let place = place(&["2 PTR mx.office.test."]);
    assert_eq!(called(&place, "192.0.2.2"), ["mx.office.test."]);
    // It is heard as long as it is there.
    let back = Name::parse(V4).unwrap();
    place
        .wait(place.dns.add(resource(&back, "1 PTR web.office.test.")))
        .unwrap();
    assert_eq!(called(&place, "192.0.2.1"), ["web.office.test."]);
    let first = reverse_name("192.0.2.1".parse().unwrap());
    place
        .wait(place.dns.remove(&first, RrType::PTR, None))
        .unwrap();
    assert_eq!(called(&place, "192.0.2.1"), ["www.office.test."]);
}

#[test]
fn an_owners_addresses_of_both_kinds_are_called_after_it_and_after_nobody_when_it_goes() {
    let place = place(&[]);
    let host = Name::parse("node-1.office.test").unwrap();
    let addresses = ["192.0.2.77", "2001:db8::77"];
    let records = addresses.iter().flat_map(|text| {
        let ip: IpAddr = text.parse().unwrap();
        [
            Resource::address(host.clone(), STAND_TTL, ip),
            Resource::pointer(reverse_name(ip), RrType::PTR, STAND_TTL, &host),
        ]
    });
    place.dns.put("host/node-1", records.collect()).unwrap();
    for address in addresses {
        assert_eq!(called(&place, address), ["node-1.office.test."]);
    }
    place.dns.withdraw("host/node-1");
    for address in addresses {
        assert!(place.dig(&["-x", address]).contains("NXDOMAIN"));
    }
}
