//! Rolls of keys: every step judged by verifiers, and by a validating cache that asks all the time.

use crate::keys::argument;
use crate::named::{Named, free_port};
use crate::place::{Place, resource, run, zone_of};
use crate::signed::verify;
use daas_dns::{
    DnsError, ForwardSettings, KeyUse, Name, Resource, RollSettings, Settings, ZoneSettings,
};
use daas_store::Store;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const HOUR: u64 = 3_600_000;
/// How long a step of a roll in seconds is waited for, on the busiest machine.
const LONG: Duration = Duration::from_secs(90);

fn child() -> Name {
    Name::parse("example.test").unwrap()
}

/// A zone all of whose records may be kept for a second.
fn brief() -> ZoneSettings {
    let mut zone = zone_of("example.test", &["www A 192.0.2.1", "*.apps A 192.0.2.2"]);
    for record in &mut zone.records {
        record.ttl = 1;
    }
    (zone.signed, zone.own_ttl) = (true, 1);
    zone.transfer_to = vec![daas_model::Subnet::parse("127.0.0.0/8").unwrap()];
    zone
}

/// A clock of the test's own.
fn driven(now_ms: &Arc<AtomicU64>) -> RollSettings {
    let now = now_ms.clone();
    RollSettings {
        now_ms: Arc::new(move || now.load(Ordering::SeqCst)),
        look: Duration::from_millis(50),
        ..RollSettings::default()
    }
}

fn usages(place: &Place) -> Vec<KeyUse> {
    let keys = place.dns.keys(Some(&child())).unwrap();
    keys.iter().map(|key| key.usage).collect()
}

fn tags(place: &Place) -> Vec<u16> {
    let keys = place.dns.keys(Some(&child())).unwrap();
    keys.iter().map(|key| key.tag).collect()
}

fn eventually(what: &str, mut look: impl FnMut() -> bool) {
    let until = Instant::now() + LONG;
    while !look() {
        assert!(Instant::now() < until, "{what} does not happen");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Returns the tags that CDS records name.
fn asked_for(place: &Place) -> Vec<String> {
    let first = |line: &String| line.split(' ').next().unwrap().to_owned();
    place
        .short(&["example.test", "CDS"])
        .iter()
        .map(first)
        .collect()
}

/// Returns the tags of the keys by which a set is signed.
fn signers(place: &Place, name: &str, kind: &str) -> Vec<String> {
    let answer = place.dig(&[name, kind, "+dnssec", "+noall", "+answer"]);
    let lines = answer.lines().filter(|line| line.contains("\tRRSIG\t"));
    let mut tags: Vec<String> = lines
        .map(|line| line.split_whitespace().nth(10).unwrap().to_owned())
        .collect();
    tags.sort();
    tags
}

fn texts(tags: &[u16]) -> Vec<String> {
    let mut texts: Vec<String> = tags.iter().map(ToString::to_string).collect();
    texts.sort();
    texts
}

/// Checks that records of all kinds are signed by just these keys, and the whole zone soundly.
fn signed_by(place: &Place, tags: &[u16]) {
    for (name, kind) in [
        ("example.test", "SOA"),
        ("example.test", "DNSKEY"),
        ("www.example.test", "A"),
        ("x.apps.example.test", "A"),
    ] {
        assert_eq!(signers(place, name, kind), texts(tags), "{name} {kind}");
    }
    verify(place);
}

#[test]
fn each_step_of_a_roll_waits_for_its_time_outlives_a_restart_and_is_fully_signed() {
    let store = Store::in_memory().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let now_ms = Arc::new(AtomicU64::new(1_800_000_000_000));
    let start = || {
        let mut zone = brief();
        zone.own_ttl = 300;
        let settings = Settings {
            zones: vec![zone],
            rolls: driven(&now_ms),
            ..Settings::default()
        };
        Place::with_keys(store.clone(), settings, folder.path())
    };
    let place = start();
    let old = tags(&place)[0];
    assert_eq!(usages(&place), [KeyUse::Active]);
    assert!(matches!(
        place.wait(place.dns.key_seen(&child(), None)),
        Err(DnsError::NotWaiting { .. })
    ));

    place.wait(place.dns.roll_key(&child())).unwrap();
    let both = tags(&place);
    let new = both[1];
    let until_ms = 1_800_000_000_000 + 300_000 + HOUR;
    assert_eq!(
        usages(&place),
        [KeyUse::Active, KeyUse::Publishing { until_ms }]
    );
    assert!(matches!(
        place.wait(place.dns.roll_key(&child())),
        Err(DnsError::Rolling { .. })
    ));
    let twice = |place: &Place| signed_by(place, &both);
    twice(&place);
    assert_eq!(asked_for(&place), texts(&[old]));
    // What comes meanwhile is signed by both.
    place
        .wait(place.dns.add(resource(&child(), "late A 192.0.2.9")))
        .unwrap();
    assert_eq!(signers(&place, "late.example.test", "A"), texts(&both));

    drop(place);
    let place = start();
    assert_eq!(
        usages(&place),
        [KeyUse::Active, KeyUse::Publishing { until_ms }]
    );
    twice(&place);
    now_ms.store(until_ms - 1, Ordering::SeqCst);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(asked_for(&place), texts(&[old]), "a moment too early");
    now_ms.store(until_ms, Ordering::SeqCst);
    eventually("the word to the parent", || {
        asked_for(&place) == texts(&[new])
    });
    let waits = KeyUse::Waiting { since_ms: until_ms };
    assert_eq!(usages(&place), [KeyUse::Active, waits]);
    twice(&place);

    // A year later the parent has said nothing, and nothing has gone.
    now_ms.fetch_add(365 * 24 * HOUR, Ordering::SeqCst);
    drop(place);
    let place = start();
    assert_eq!(usages(&place), [KeyUse::Active, waits]);
    twice(&place);
    let seen_ms = now_ms.load(Ordering::SeqCst);
    place
        .wait(place.dns.key_seen(&child(), Some(7200)))
        .unwrap();
    let until_ms = seen_ms + 3 * HOUR;
    assert_eq!(
        usages(&place),
        [KeyUse::Retiring { until_ms }, KeyUse::Active]
    );
    drop(place);
    let place = start();
    twice(&place);
    assert_eq!(asked_for(&place), texts(&[new]));
    now_ms.store(until_ms, Ordering::SeqCst);
    eventually("the end", || tags(&place) == [new]);
    signed_by(&place, &[new]);
    drop(place);
    let place = start();
    assert_eq!(
        (tags(&place), usages(&place)),
        (vec![new], vec![KeyUse::Active])
    );
    verify(&place);
    // One file is left, the new key's.
    let files = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(files, 1);
    // And the next one can begin.
    place.wait(place.dns.roll_key(&child())).unwrap();
    assert_eq!(tags(&place).len(), 2);
}

#[test]
fn a_parent_that_is_served_here_too_is_looked_at_here() {
    let now_ms = Arc::new(AtomicU64::new(1_800_000_000_000));
    let settings = Settings {
        zones: vec![zone_of("test", &["example NS ns.example"]), brief()],
        rolls: driven(&now_ms),
        ..Settings::default()
    };
    let place = Place::with(settings);
    place.wait(place.dns.roll_key(&child())).unwrap();
    now_ms.fetch_add(2 * HOUR, Ordering::SeqCst);
    eventually("the wait", || {
        matches!(usages(&place)[1], KeyUse::Waiting { .. })
    });
    let keys = place.dns.keys(Some(&child())).unwrap();
    let parent = Name::parse("test").unwrap();
    let ds = |ds: &str| Resource {
        ttl: 500,
        ..resource(&parent, &format!("example DS {ds}"))
    };
    place.wait(place.dns.add(ds(&keys[0].ds))).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    assert!(matches!(usages(&place)[1], KeyUse::Waiting { .. }));
    place.wait(place.dns.add(ds(&keys[1].ds))).unwrap();
    let until_ms = now_ms.load(Ordering::SeqCst) + 500_000 + HOUR;
    eventually("the look", || {
        !matches!(usages(&place)[1], KeyUse::Waiting { .. })
    });
    assert_eq!(
        usages(&place),
        [KeyUse::Retiring { until_ms }, KeyUse::Active]
    );
}

/// The world: a parent zone, signed by BIND, whose operator follows CDS records by `dnssec-cds`; and a validating resolver, which keeps what it may.
struct World {
    parent: Named,
    resolver: Named,
}

impl World {
    /// Begins at the parent's port; the zone is served at `child`, by the key with these DS data.
    fn begin(port: u16, child: SocketAddr, ds: &str) -> Self {
        let zone = format!(
            "$TTL 1\n@ SOA ns root 1 60 60 600 1\n@ NS ns\nns A 127.0.0.1\nexample NS ns.example\nns.example A 127.0.0.1\nexample DS {ds}\n"
        );
        // One key that never ends, with times as brief as all others here.
        let zones = "dnssec-policy brief { keys { csk key-directory lifetime unlimited algorithm 13; }; dnskey-ttl 1; max-zone-ttl 60; };\n\
                     zone \"test\" { type primary; file \"zone\"; dnssec-policy brief; inline-signing yes; allow-update { key \"xfer\"; }; };\n";
        let parent = Named::of(port, zones, "recursion no; dnssec-validation no;", &zone);
        let key = parent.wait_for_lines(&["test", "DNSKEY"]).remove(0);
        let mut words = key.splitn(4, ' ');
        let numbers: Vec<&str> = words.by_ref().take(3).collect();
        let anchor = format!(
            "trust-anchors {{ test. static-key {} \"{}\"; }};\n",
            numbers.join(" "),
            words.next().unwrap().replace(' ', "")
        );
        let at = |zone: &str, port: u16| {
            format!(
                "zone \"{zone}\" {{ type forward; forward only; forwarders {{ 127.0.0.1 port {port}; }}; }};\n"
            )
        };
        let zones = anchor + &at("test", port) + &at("example.test", child.port());
        let options =
            "recursion yes; dnssec-validation yes; qname-minimization off; servfail-ttl 0;";
        let resolver = Named::of(free_port(), &zones, options, "");
        Self { parent, resolver }
    }

    /// Does what a registry does: reads CDS records, believes them by the DS records that it has, and puts others in their place.
    fn follow(&self, place: &Place) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        let own = self.parent.lines(&["example.test", "DS"]);
        let own = own.iter().map(|ds| format!("example.test. 1 IN DS {ds}\n"));
        std::fs::write(path("dsset-example.test."), own.collect::<String>()).unwrap();
        let told = ["DNSKEY", "CDS", "CDNSKEY"]
            .map(|kind| place.dig(&["example.test", kind, "+dnssec", "+noall", "+answer"]));
        std::fs::write(path("child"), told.concat()).unwrap();
        let folder = dir.path().to_str().unwrap();
        let child = path("child");
        let words = ["-u", "-s", "-7200", "-T", "1", "-f", &child, "-d", folder];
        let script = run("dnssec-cds", &[&words[..], &["example.test"]].concat());
        self.update(&script);
        script
    }

    /// Changes the parent's zone.
    fn update(&self, script: &str) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("update");
        let port = self.parent.port;
        let script = format!("server 127.0.0.1 {port}\nzone test\n{script}\nsend\n");
        std::fs::write(&file, &script).unwrap();
        let key = argument("xfer", "hmac-sha256");
        let said = run("nsupdate", &["-y", &key, file.to_str().unwrap()]);
        assert_eq!(said, "", "{script}");
    }

    /// Tells whether the resolver finds an answer sound; says what it said if not.
    fn is_sound(&self, name: &str) -> Result<(), String> {
        let answer = self.resolver.ask(&["+dnssec", name, "A"]);
        let there = answer.contains("status: NOERROR") || answer.contains("status: NXDOMAIN");
        if there && answer.contains(" ad;") {
            Ok(())
        } else {
            Err(format!("{name}: {answer}"))
        }
    }

    /// Asks for names that are there and names that are not until `over`; the first answer that is not sound ends it.
    fn ask_on(&self, over: &AtomicBool, asked: &AtomicUsize) -> Result<(), String> {
        while !over.load(Ordering::SeqCst) {
            let n = asked.fetch_add(1, Ordering::SeqCst);
            self.is_sound("www.example.test")?;
            self.is_sound(&format!("x{n}.apps.example.test"))?;
            self.is_sound(&format!("none{n}.example.test"))?;
        }
        Ok(())
    }
}

/// A roll in seconds: all times to live are one second, and the clock is the real one. A validating cache is asked for existing and missing names
/// all the time, so that it holds keys, signatures and DS records of every age that anybody may have; no answer of it may fail.
#[test]
fn nobody_who_remembers_anything_fails_to_validate_at_any_moment_of_a_roll() {
    let upstream = free_port();
    let mut rolls = RollSettings::default();
    // What a machine that is busy may lose between an answer and its reader.
    (rolls.safety, rolls.look) = (6, Duration::from_millis(300));
    let place = Place::with(Settings {
        zones: vec![brief()],
        rolls,
        forward: Some(ForwardSettings {
            upstreams: vec![SocketAddr::from(([127, 0, 0, 1], upstream))],
            private: Vec::new(),
        }),
        ..Settings::default()
    });
    let first = place.dns.keys(Some(&child())).unwrap().remove(0);
    let world = World::begin(upstream, place.address, &first.ds);
    eventually("the first sound answer", || {
        world.is_sound("www.example.test").is_ok()
    });
    let (over, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let asker = scope.spawn(|| world.ask_on(&over, &asked));
        // A step that fails must not leave the asker asking.
        let over = Over(&over);
        place.wait(place.dns.roll_key(&child())).unwrap();
        let new = tags(&place)[1];
        verify(&place);
        eventually("the word to the parent", || {
            asked_for(&place) == texts(&[new])
        });
        verify(&place);
        let script = world.follow(&place);
        assert!(script.contains(&format!(" {new} 13 2 ")), "{script}");
        eventually("the end", || tags(&place) == [new]);
        verify(&place);
        assert_eq!(signers(&place, "www.example.test", "A"), texts(&[new]));
        let from = asked.load(Ordering::SeqCst);
        eventually("more questions", || {
            asked.load(Ordering::SeqCst) > from + 20 || asker.is_finished()
        });
        drop(over);
        asker.join().unwrap().unwrap();
    });
    // The cache does judge: with the old key's DS record nothing is sound any more.
    world.update(&format!(
        "update delete example.test. DS\nupdate add example.test. 1 DS {}",
        first.ds
    ));
    eventually("the refusal", || {
        world
            .is_sound("www.example.test")
            .is_err_and(|said| said.contains("SERVFAIL"))
    });
}

/// Ends the asker.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
