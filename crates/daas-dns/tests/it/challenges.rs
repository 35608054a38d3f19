//! What certificates need.

use crate::place::Place;

#[test]
fn a_challenge_is_answered_until_its_guard_is_dropped_and_two_add_up() {
    let place = Place::of("dev.example.test", &["*.shop A 127.0.0.1"]);
    let name = "_acme-challenge.shop.dev.example.test";
    let one = place.dns.set_txt(name, &["first".into()]).unwrap();
    let two = place
        .dns
        .set_txt(name, &["second".into(), "third".into()])
        .unwrap();
    assert_eq!(
        place.short(&[name, "TXT"]),
        ["\"first\"", "\"second\"", "\"third\""]
    );
    drop(one);
    assert_eq!(place.short(&[name, "TXT"]), ["\"second\"", "\"third\""]);
    drop(two);
    assert!(place.dig(&[name, "TXT"]).contains("ANSWER: 0"));
    assert!(
        place
            .dns
            .set_txt("_acme-challenge.example.org", &["x".into()])
            .is_err()
    );
}
