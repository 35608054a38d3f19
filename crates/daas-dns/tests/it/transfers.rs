//! Zones handed out: whole and as differences, to whom it is allowed.

use crate::keys::{argument, key};
use crate::place::{Place, resource, zone_of};
use daas_dns::{Name, Settings};

/// A zone of so many records that its transfer takes several messages.
fn large(count: u32) -> Place {
    let lines: Vec<String> = (0..count)
        .map(|n| format!("host-{n} A 10.1.{}.{}", n / 250, n % 250))
        .collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let mut zone = zone_of("example.test", &lines);
    zone.transfer_keys = vec![Name::parse("xfer").unwrap()];
    Place::with(Settings {
        zones: vec![zone],
        tsig: vec![key("xfer", "hmac-sha256"), key("other", "hmac-sha256")],
        ..Settings::default()
    })
}

fn serial(place: &Place) -> String {
    place.short(&["example.test", "SOA"])[0]
        .split(' ')
        .nth(2)
        .unwrap()
        .to_owned()
}

#[test]
fn a_large_zone_is_handed_over_in_several_signed_messages() {
    let place = large(5000);
    let answer = place.dig(&[
        "-y",
        &argument("xfer", "hmac-sha256"),
        "example.test",
        "AXFR",
    ]);
    // The frame: SOA twice, NS, the server's address.
    assert!(
        answer.contains("XFR size: 5004 records (messages "),
        "{}",
        &answer[answer.len().saturating_sub(600)..]
    );
    assert!(!answer.contains("messages 1,"), "one message only");
    let hosts = answer
        .lines()
        .filter(|line| line.starts_with("host-"))
        .count();
    assert_eq!(hosts, 5000);
}

#[test]
fn strangers_get_no_zone() {
    let place = large(1);
    assert!(
        place
            .dig(&["example.test", "AXFR"])
            .contains("Transfer failed")
    );
    assert!(
        place
            .dig(&[
                "-y",
                &argument("other", "hmac-sha256"),
                "example.test",
                "AXFR"
            ])
            .contains("Transfer failed")
    );
    assert!(
        place
            .dig(&["example.test", "IXFR=1"])
            .contains("Transfer failed")
    );
}

#[test]
fn differences_are_handed_over_and_a_current_secondary_gets_the_serial_alone() {
    let place = large(300);
    let y = argument("xfer", "hmac-sha256");
    let before = serial(&place);
    let origin = Name::parse("example.test").unwrap();
    place
        .dns
        .put("stand/a", vec![resource(&origin, "a A 10.0.0.1")])
        .unwrap();
    place
        .dns
        .put("stand/b", vec![resource(&origin, "b A 10.0.0.2")])
        .unwrap();
    place.dns.withdraw("stand/a");
    let answer = place.dig(&["-y", &y, "example.test", &format!("IXFR={before}")]);
    // The frame of three steps, two additions and one removal.
    assert!(answer.contains("XFR size: 11 records"), "{answer}");
    let current = place.dig(&[
        "-y",
        &y,
        "example.test",
        &format!("IXFR={}", serial(&place)),
    ]);
    assert!(current.contains("XFR size: 1 records"), "{current}");
    let forgotten = place.dig(&["-y", &y, "example.test", "IXFR=7"]);
    assert!(forgotten.contains("XFR size: 305 records"), "{forgotten}");
    // Over UDP as one message, or the serial alone.
    let udp = place.dig(&[
        "-y",
        &y,
        "+notcp",
        "+ignore",
        "example.test",
        &format!("IXFR={before}"),
    ]);
    assert!(udp.contains("10.0.0.2"), "{udp}");
}
