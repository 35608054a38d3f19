//! When certificates are renewed and what is told when they are not, by a driven clock.

use crate::advice::Adviser;
use crate::pebble::{How, World, ledger, names, write};
use daas_certs::{
    CertificateView, Certificates, Clock, Condition, DrivenClock, GivenFiles, Settings,
};
use daas_store::{EventId, Store};
use daas_tasks::Supervisor;
use std::sync::Arc;
use time::format_description::well_known::Rfc3339;

const HOUR: i64 = 3600 * 1000;
const DAY: i64 = 24 * HOUR;

/// Writes an answer of RFC 9773 section 4.2.
fn window(from_ms: u64, to_ms: u64) -> String {
    let text = |ms: u64| {
        let seconds = i64::try_from(ms / 1000).unwrap();
        let at = time::OffsetDateTime::from_unix_timestamp(seconds).unwrap();
        at.format(&Rfc3339).unwrap()
    };
    let window = serde_json::json!({ "start": text(from_ms), "end": text(to_ms) });
    serde_json::json!({ "suggestedWindow": window }).to_string()
}

/// Lets the room do what is due: what it is told by asking may make more due.
async fn turns(room: &Certificates) {
    for _ in 0..2 {
        room.tick().await.unwrap();
    }
}

fn ms(of: Option<u64>) -> i64 {
    i64::try_from(of.unwrap()).unwrap()
}

/// Returns codes and texts of the events so far.
fn events(store: &Store) -> Vec<(String, String)> {
    let all = store
        .events_after(Some("certificates"), EventId(0), 1000)
        .unwrap();
    let told = all.iter().map(|event| {
        let json: serde_json::Value = event.read().unwrap();
        let text = |key: &str| json[key].as_str().unwrap().to_owned();
        (text("code"), text("text"))
    });
    told.collect()
}

/// Debian's pebble knows nothing of RFC 9773, so that a stateful fake stands before it; `cargo xtask soak ari` runs this with one that does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_window_of_rfc_9773_steers_the_renewal_and_the_order_says_what_it_replaces() {
    let world = World::new(&How::default()).await;
    let adviser = Adviser::of(&world.pebble).await;
    if matches!(adviser, Adviser::Pebble) {
        println!("the window came from the authority itself");
    }
    let clock = Arc::new(DrivenClock::default());
    let mut settings = world.settings();
    settings.wanted = vec![names(&["*.shop.test"])];
    settings.acme = vec![world.pebble.settings_at(adviser.port(&world.pebble))];
    let (room, _tasks) = world.room(settings, clock.clone()).await;
    let now = || i64::try_from(clock.now_ms()).unwrap();
    let shown = || -> CertificateView { room.show("*.shop.test").unwrap() };
    turns(&room).await;
    let first = shown();
    assert_eq!(first.condition, Condition::Valid, "{first:?}");
    let chain = room.chain("*.shop.test").unwrap();
    assert_eq!(ledger(&world.store), 1);

    // Nonsense is no advice: two thirds of the life stay.
    adviser
        .advise(&world.pebble, &chain, "{\"suggestedWindow\":7}")
        .await;
    clock.drive(7 * HOUR);
    turns(&room).await;
    let own = ms(shown().renew_ms) - ms(first.not_before_ms);
    assert!((54 * DAY..=61 * DAY).contains(&own), "{} days", own / DAY);

    // Much earlier than anybody would renew by himself.
    let from = first.not_before_ms.unwrap() + 10 * u64::try_from(DAY).unwrap();
    let to = from + u64::try_from(DAY).unwrap();
    adviser
        .advise(&world.pebble, &chain, &window(from, to))
        .await;
    clock.drive(7 * HOUR);
    turns(&room).await;
    let due = shown().renew_ms.unwrap();
    assert!((from..=to).contains(&due), "{from} {due} {to}");
    clock.drive(ms(Some(due)) - now() - 60_000);
    turns(&room).await;
    assert_eq!(shown().serial, first.serial, "a minute before");
    clock.drive(120_000);
    turns(&room).await;
    let second = shown();
    assert_ne!(second.serial, first.serial);
    assert!(adviser.is_replaced(&world.pebble, &chain));
    // What replaces another counts against no limit.
    assert_eq!(ledger(&world.store), 1);

    // A window in the past: the authority is about to take it back.
    let chain = room.chain("*.shop.test").unwrap();
    let past = second.not_before_ms.unwrap();
    adviser
        .advise(&world.pebble, &chain, &window(past - 2000, past))
        .await;
    turns(&room).await;
    assert_eq!(
        shown().serial,
        second.serial,
        "it is not asked before its time"
    );
    clock.drive(7 * HOUR);
    turns(&room).await;
    let third = shown();
    assert_ne!(third.serial, second.serial);
    assert!(adviser.is_replaced(&world.pebble, &chain));
    assert_eq!(ledger(&world.store), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_cannot_be_renewed_is_told_at_each_alarm_and_why_until_it_can() {
    let world = World::new(&How {
        nonces_refused: 0,
        ..How::default()
    })
    .await;
    let clock = Arc::new(DrivenClock::default());
    let mut settings = world.settings();
    settings.wanted = vec![names(&["*.shop.test"])];
    let (room, tasks) = world.room(settings.clone(), clock.clone()).await;
    turns(&room).await;
    let first = room.show("*.shop.test").unwrap();
    assert_eq!(first.condition, Condition::Valid, "{first:?}");
    drop(tasks);

    // The authority is gone, at an address of its own that answers nobody.
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut lonely = settings.clone();
    lonely.acme = vec![world.pebble.settings_at(dead.local_addr().unwrap().port())];
    drop(dead);
    let (room, _tasks) = world.room(lonely, clock.clone()).await;
    let shown = || room.show("*.shop.test").unwrap();
    let before = events(&world.store).len();
    clock.drive(ms(first.renew_ms) - i64::try_from(clock.now_ms()).unwrap() + 60_000);
    turns(&room).await;
    // It is good for a month yet, and somebody can already see what is wrong.
    assert_eq!(shown().condition, Condition::Valid);
    assert_eq!(shown().fault.unwrap().code, "certificate-authority");
    assert_eq!(events(&world.store).len(), before + 1);

    for (left, condition, word) in [
        (13, Condition::Expiring, "ends within 14 days"),
        (6, Condition::Expiring, "ends within 7 days"),
        (0, Condition::Expiring, "ends within a day"),
        (-1, Condition::Expired, "has ended"),
    ] {
        let at = ms(first.not_after_ms) - left * DAY - 12 * HOUR;
        clock.drive(at - i64::try_from(clock.now_ms()).unwrap());
        turns(&room).await;
        assert_eq!(shown().condition, condition, "{left} days");
        let told = events(&world.store);
        let alarms: Vec<_> = told
            .iter()
            .filter(|(_, text)| text.contains(word))
            .collect();
        assert_eq!(alarms.len(), 1, "{word}: {told:?}");
        let (code, text) = alarms[0];
        let expected = if left < 0 {
            "certificate-expired"
        } else {
            "certificate-expiring"
        };
        assert_eq!(code, expected);
        assert!(text.contains("cannot reach"), "{text}");
    }

    let (room, _tasks) = world.room(settings, clock.clone()).await;
    clock.drive(25 * HOUR);
    turns(&room).await;
    let last = room.show("*.shop.test").unwrap();
    assert_ne!(last.serial, first.serial);
    assert_eq!(last.fault, None);
}

#[tokio::test]
async fn a_given_certificate_that_nobody_renews_is_told_at_each_alarm_once() {
    let dir = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["shop.example.net".to_owned()]).unwrap();
    let now = time::OffsetDateTime::now_utc();
    (params.not_before, params.not_after) = (now, now + time::Duration::days(90));
    let certificate = params.self_signed(&key).unwrap();
    let mut settings = Settings::new(dir.path());
    settings.files.push(GivenFiles {
        certificate: write(dir.path(), "shop.pem", &certificate.pem()),
        key: write(dir.path(), "shop.key", &key.serialize_pem()),
    });
    let clock = Arc::new(DrivenClock::default());
    let store = Store::in_memory().unwrap();
    let room = Certificates::open(settings, store.clone(), clock.clone(), Supervisor::new())
        .await
        .unwrap();
    let shown = || room.show("given:shop.example.net").unwrap().condition;
    let mut seen = Vec::new();
    for _ in 0..91 * 2 {
        turns(&room).await;
        if seen.last() != Some(&shown()) {
            seen.push(shown());
        }
        clock.drive(12 * HOUR);
    }
    assert_eq!(
        seen,
        [Condition::Valid, Condition::Expiring, Condition::Expired]
    );
    let told = events(&store);
    let words = [
        "ends within 14 days",
        "ends within 7 days",
        "ends within a day",
        "has ended",
    ];
    assert_eq!(told.len(), words.len(), "{told:?}");
    for ((_, text), word) in told.iter().zip(words) {
        assert_eq!(
            *text,
            format!("certificate `given:shop.example.net` {word}: its files were not renewed")
        );
    }
}
