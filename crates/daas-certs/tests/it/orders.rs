//! Orders at pebble, half of whose nonces are refused.

use crate::judge::{Hello, curl};
use crate::pebble::{How, KEY, Names, Relay, World, ledger, names, settled, write};
use daas_certs::{
    Binding, CertificateRecord, CertificatesError, ChallengeKind, Clock, Condition, DrivenClock,
    IssueError, Order, SystemClock,
};
use std::sync::Arc;
use std::time::Duration;

fn order(list: &[&str], challenge: Option<ChallengeKind>) -> Order {
    Order {
        names: names(list),
        challenge,
        authority: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dozen_certificates_are_issued_by_all_three_challenges_and_served() {
    let world = World::new(&How {
        reuse: 50,
        ..How::default()
    })
    .await;
    let (room, _tasks) = world.room(world.settings(), Arc::new(SystemClock)).await;
    let wanted = [
        (vec!["a.shop.test"], Some(ChallengeKind::Http01)),
        (vec!["b.shop.test"], Some(ChallengeKind::TlsAlpn01)),
        (vec!["c.shop.test"], Some(ChallengeKind::Dns01)),
        (vec!["*.shop1.test"], None),
        (vec!["*.shop2.test", "shop2.test"], None),
        (
            vec!["*.shop3.test", "shop3.test", "x.y.shop3.test"],
            Some(ChallengeKind::Http01),
        ),
        (
            vec!["d.shop.test", "e.shop.test", "f.shop.test"],
            Some(ChallengeKind::TlsAlpn01),
        ),
        (
            vec!["g.shop.test", "h.shop.test"],
            Some(ChallengeKind::Http01),
        ),
        (vec!["i.shop.test"], Some(ChallengeKind::Dns01)),
        (vec!["j.shop.test"], Some(ChallengeKind::Http01)),
        (vec!["k.shop.test"], Some(ChallengeKind::TlsAlpn01)),
        (vec!["*.deep.shop4.test"], None),
    ];
    for (list, challenge) in &wanted {
        room.issue(order(list, *challenge)).await.unwrap();
    }
    for (list, _) in &wanted {
        let view = settled(&room, list[0]).await;
        assert_eq!(view.condition, Condition::Valid, "{view:?}");
    }
    assert_eq!(world.names.records(), 0, "answers are taken away");
    assert_eq!(ledger(&world.store), 12);

    // curl believes them by pebble's root, for every name.
    let roots = write(
        world.dir.path(),
        "pebble.pem",
        &world.pebble.managed("roots/0").await,
    );
    let server = Hello::open(room.resolver()).await;
    for host in [
        "a.shop.test",
        "any.shop1.test",
        "shop2.test",
        "x.y.shop3.test",
        "f.shop.test",
        "z.deep.shop4.test",
    ] {
        assert_eq!(
            curl(&server, host, &roots, &[]).await.as_deref(),
            Ok("hello"),
            "{host}"
        );
    }
    assert!(curl(&server, "a.b.shop1.test", &roots, &[]).await.is_err());

    // What a wildcard is good for is not ordered.
    let again = room
        .issue(order(&["web.shop1.test"], None))
        .await
        .unwrap_err();
    assert!(matches!(again, CertificatesError::Covered { by, .. } if by == "*.shop1.test"));
}

/// `DAAS_ISSUANCES` says how many; `cargo xtask soak acme` asks for 200.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_as_wished_are_issued_and_none_fails() {
    let wish = std::env::var("DAAS_ISSUANCES").ok();
    let number: usize = wish.and_then(|text| text.parse().ok()).unwrap_or(8);
    let world = World::new(&How::default()).await;
    let mut settings = world.settings();
    settings.budget.weekly = number;
    let (room, _tasks) = world.room(settings, Arc::new(SystemClock)).await;
    let begun = std::time::Instant::now();
    let mut ids = Vec::new();
    for n in 0..number {
        let (name, challenge) = match n % 4 {
            0 => (format!("h{n}.shop.test"), Some(ChallengeKind::Http01)),
            1 => (format!("t{n}.shop.test"), Some(ChallengeKind::TlsAlpn01)),
            2 => (format!("d{n}.shop.test"), Some(ChallengeKind::Dns01)),
            _ => (format!("*.w{n}.shop.test"), None),
        };
        room.issue(order(&[&name], challenge)).await.unwrap();
        ids.push(name);
    }
    for id in &ids {
        let view = settled(&room, id).await;
        assert_eq!(view.condition, Condition::Valid, "{view:?}");
        let record = world
            .store
            .get::<CertificateRecord>(id)
            .unwrap()
            .unwrap()
            .value;
        assert_eq!((record.failures, record.order), (0, None), "{id}");
    }
    assert_eq!((ledger(&world.store), world.names.records()), (number, 0));
    println!(
        "{number} certificates issued by three challenges, 50 % of nonces refused, 0 failed, {:.1} s",
        begun.elapsed().as_secs_f64()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_answer_is_told_with_what_the_authority_asked_and_is_not_tried_again_at_once() {
    let world = World::with(&How::default(), Names::losing()).await;
    let clock = Arc::new(DrivenClock::default());
    let (room, _tasks) = world.room(world.settings(), clock.clone()).await;
    *world.http.lock().unwrap() = None;
    room.issue(order(&["web.shop.test"], Some(ChallengeKind::Http01)))
        .await
        .unwrap();
    let view = settled(&room, "web.shop.test").await;
    let fault = view.fault.unwrap();
    assert_eq!(
        (view.condition, fault.code.as_str()),
        (Condition::Failed, "certificate-challenge"),
        "{fault:?}"
    );
    for part in [
        "web.shop.test",
        "http-01",
        "404",
        "/.well-known/acme-challenge/",
    ] {
        assert!(
            fault.message.contains(part),
            "no `{part}` in {}",
            fault.message
        );
    }
    let hint = fault.hint.unwrap();
    assert!(
        hint.contains("port 80") && hint.contains("nobody asked here"),
        "{hint}"
    );
    assert!(view.next_try_ms.unwrap() >= clock.now_ms() + 50_000);

    room.issue(order(&["*.shop.test"], None)).await.unwrap();
    let fault = settled(&room, "*.shop.test").await.fault.unwrap();
    assert!(
        fault.message.contains("dns-01")
            && fault
                .hint
                .unwrap()
                .contains("dig TXT _acme-challenge.shop.test"),
        "{}",
        fault.message
    );

    // Starts in a loop order nothing before the time.
    let failures = |id: &str| {
        world
            .store
            .get::<CertificateRecord>(id)
            .unwrap()
            .unwrap()
            .value
            .failures
    };
    for _ in 0..5 {
        let (room, _tasks) = world.room(world.settings(), clock.clone()).await;
        room.tick().await.unwrap();
    }
    assert_eq!(failures("web.shop.test"), 1);
    clock.drive(61_000);
    let (room, _tasks) = world.room(world.settings(), clock.clone()).await;
    room.tick().await.unwrap();
    assert_eq!(
        room.show("web.shop.test").unwrap().condition,
        Condition::Valid
    );
    assert_eq!(failures("*.shop.test"), 2);
    assert_eq!(world.names.records(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lives_of_6_45_64_and_90_days_are_renewed_by_a_driven_clock_before_they_end() {
    for days in [6_u64, 45, 64, 90] {
        let world = World::new(&How {
            days: Some(days),
            ..How::default()
        })
        .await;
        let clock = Arc::new(DrivenClock::default());
        let mut settings = world.settings();
        settings.wanted = vec![names(&["*.shop.test", "shop.test"])];
        let (room, _tasks) = world.room(settings, clock.clone()).await;
        room.tick().await.unwrap();
        let first = room.show("*.shop.test").unwrap();
        assert_eq!(first.condition, Condition::Valid, "{first:?}");
        let life = first.not_after_ms.unwrap() - first.not_before_ms.unwrap();
        assert!(
            life.abs_diff(days * 24 * 3600 * 1000) < 2000,
            "{days} days: {life} ms"
        );
        let served = room.resolver().find("web.shop.test").unwrap();

        let due = first.renew_ms.unwrap() - clock.now_ms();
        clock.drive(i64::try_from(due - 60_000).unwrap());
        room.tick().await.unwrap();
        assert_eq!(room.show("*.shop.test").unwrap().serial, first.serial);
        clock.drive(120_000);
        room.tick().await.unwrap();
        let second = room.show("*.shop.test").unwrap();
        assert_ne!(second.serial, first.serial);
        assert!(first.not_after_ms.unwrap() - clock.now_ms() >= life / 3 - 600_000);
        assert_ne!(
            room.resolver().find("web.shop.test").unwrap().cert,
            served.cert
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_certificate_is_revoked_at_the_authority_and_out_of_service() {
    let world = World::new(&How::default()).await;
    let (room, _tasks) = world.room(world.settings(), Arc::new(SystemClock)).await;
    room.issue(order(&["web.shop.test"], None)).await.unwrap();
    let view = settled(&room, "web.shop.test").await;
    let status = |serial: String| {
        let pebble = &world.pebble;
        async move {
            pebble
                .managed(&format!(
                    "cert-status-by-serial/{}",
                    serial.trim_start_matches('0')
                ))
                .await
        }
    };
    assert!(
        status(view.serial.clone().unwrap())
            .await
            .contains("\"Valid\"")
    );
    let revoked = room.revoke("web.shop.test").await.unwrap();
    assert_eq!(revoked.condition, Condition::Revoked);
    assert!(status(view.serial.unwrap()).await.contains("\"Revoked\""));
    assert!(room.resolver().find("web.shop.test").is_none());
    // It stays so over ticks, until somebody asks for a new one.
    room.tick().await.unwrap();
    assert_eq!(
        room.show("web.shop.test").unwrap().condition,
        Condition::Revoked
    );
    room.renew("web.shop.test").await.unwrap();
    for _ in 0..600 {
        if room.show("web.shop.test").unwrap().condition == Condition::Valid {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{:?}", room.show("web.shop.test"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_is_bound_where_the_authority_wants_it_and_the_lack_of_it_is_told() {
    let world = World::new(&How {
        binding: true,
        ..How::default()
    })
    .await;
    let (room, _tasks) = world.room(world.settings(), Arc::new(SystemClock)).await;
    room.issue(order(&["web.shop.test"], None)).await.unwrap();
    let fault = settled(&room, "web.shop.test").await.fault.unwrap();
    assert!(
        fault.hint.unwrap().contains("certificates.acme[].eab"),
        "{}",
        fault.message
    );
    let mut settings = world.settings();
    settings.acme[0].binding = Some(Binding {
        key_id: "kid-1".into(),
        key: zeroize::Zeroizing::new(KEY.into()),
    });
    let (room, _tasks) = world.room(settings, Arc::new(SystemClock)).await;
    room.issue(order(&["web.shop.test"], None)).await.unwrap();
    room.tick().await.unwrap();
    assert_eq!(
        settled(&room, "web.shop.test").await.condition,
        Condition::Valid
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_that_does_not_answer_gives_way_to_the_next_and_a_slow_one_is_waited_for() {
    let world = World::new(&How::default()).await;
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let dead = dead.local_addr().unwrap().port();
    let slow = Relay::open(world.pebble.port, Duration::from_millis(300), usize::MAX).await;
    let mut settings = world.settings();
    settings.acme = vec![
        world.pebble.settings_at(dead),
        world.pebble.settings_at(slow.port),
    ];
    let (room, _tasks) = world.room(settings, Arc::new(SystemClock)).await;
    room.issue(order(&["*.shop.test"], None)).await.unwrap();
    let view = settled(&room, "*.shop.test").await;
    assert_eq!(view.condition, Condition::Valid, "{view:?}");

    let mut settings = world.settings();
    settings.acme = vec![world.pebble.settings_at(dead)];
    let (room, _tasks) = world.room(settings, Arc::new(SystemClock)).await;
    room.issue(order(&["*.other.test"], None)).await.unwrap();
    let fault = settled(&room, "*.other.test").await.fault.unwrap();
    assert!(
        fault
            .message
            .contains(&format!("cannot reach `https://localhost:{dead}/dir`")),
        "{}",
        fault.message
    );
    assert_eq!(fault.code, "certificate-authority");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_word_of_an_order_is_gone_on_with_and_one_certificate_comes_of_it() {
    let how = How {
        nonces_refused: 0,
        ..How::default()
    };
    let world = World::new(&how).await;
    let mut settings = world.settings();
    let mut ended = 0;
    for most in 0..60 {
        let zone = format!("s{most}.test");
        let star = format!("*.{zone}");
        let cutting = Relay::open(world.pebble.port, Duration::ZERO, most).await;
        settings.acme = vec![world.pebble.settings_at(cutting.port)];
        let (room, tasks) = world.room(settings.clone(), Arc::new(SystemClock)).await;
        room.issue(order(&[&star, &zone], None)).await.unwrap();
        let whole = tokio::select! {
            () = cutting.cut.notified() => false,
            view = settled(&room, &star) => { assert_eq!(view.condition, Condition::Valid); true }
        };
        // The daemon dies.
        tasks.shutdown(Duration::ZERO).await;
        drop((room, tasks));
        if whole {
            ended += 1;
            if ended == 2 {
                break;
            }
            continue;
        }
        cutting.heal();
        let (room, _tasks) = world.room(settings.clone(), Arc::new(SystemClock)).await;
        room.tick().await.unwrap();
        let view = room.show(&star).unwrap();
        assert_eq!(
            view.condition,
            Condition::Valid,
            "cut behind {most} words: {view:?}"
        );
    }
    assert_eq!(ended, 2, "an order has fewer than 60 words");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_challenge_is_answered_where_a_cname_or_the_configuration_says() {
    // Only `acme.test` is ours; the names of the team are served elsewhere.
    let world = World::with(&How::default(), Names::of("acme.test")).await;
    world
        .names
        .alias("_acme-challenge.shop.team.test", "shop.acme.test");
    world
        .names
        .alias("_acme-challenge.api.team.test", "api.acme.test");
    let mut settings = world.settings();
    settings.delegations.insert(
        names(&["_acme-challenge.api.team.test"])[0].clone(),
        names(&["api.acme.test"])[0].clone(),
    );
    let (room, _tasks) = world.room(settings, Arc::new(SystemClock)).await;
    for star in ["*.shop.team.test", "*.api.team.test"] {
        room.issue(order(&[star], None)).await.unwrap();
        assert_eq!(settled(&room, star).await.condition, Condition::Valid);
    }
    room.issue(order(&["*.foreign.test"], None)).await.unwrap();
    let fault = settled(&room, "*.foreign.test").await.fault.unwrap();
    assert_eq!(fault.code, "certificate-no-challenge");
    assert!(fault.hint.unwrap().contains("DNS-01"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_budget_of_a_week_holds_and_says_when_there_is_more() {
    let world = World::new(&How {
        nonces_refused: 0,
        ..How::default()
    })
    .await;
    let clock = Arc::new(DrivenClock::default());
    let mut settings = world.settings();
    settings.budget.weekly = 2;
    let (room, _tasks) = world.room(settings, clock.clone()).await;
    for host in ["a.shop.test", "b.shop.test"] {
        room.issue(order(&[host], None)).await.unwrap();
        assert_eq!(settled(&room, host).await.condition, Condition::Valid);
    }
    room.issue(order(&["c.shop.test"], None)).await.unwrap();
    let view = settled(&room, "c.shop.test").await;
    assert_eq!(view.fault.unwrap().code, "certificate-budget");
    assert!(view.next_try_ms.unwrap() > clock.now_ms() + 6 * 24 * 3600 * 1000);
    // Another domain has its own.
    room.issue(order(&["a.other.test"], None)).await.unwrap();
    assert_eq!(
        settled(&room, "a.other.test").await.condition,
        Condition::Valid
    );
    clock.drive(7 * 24 * 3600 * 1000 + 60_000);
    room.tick().await.unwrap();
    assert_eq!(
        room.show("c.shop.test").unwrap().condition,
        Condition::Valid
    );
}

#[tokio::test]
async fn without_an_authority_an_order_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let store = daas_store::Store::in_memory().unwrap();
    let room = daas_certs::Certificates::open(
        daas_certs::Settings::new(dir.path()),
        store,
        Arc::new(SystemClock),
        daas_tasks::Supervisor::new(),
    )
    .await
    .unwrap();
    let error = room
        .issue(order(&["web.shop.test"], None))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, CertificatesError::Issue(inner) if matches!(**inner, IssueError::NoAuthority { .. }))
    );
    use daas_model::Explain;
    assert!(error.hint().unwrap().contains("certificates.acme"));
}
