//! Pulling from registries that misbehave.

use crate::fake::{
    Asked, Fake, Made, OCI_INDEX, OCI_MANIFEST, Reply, archive, files_below, image, registries,
    reopen,
};
use crate::tree::tree;
use daas_image::{
    Credential, Credentials, Digest, Event, ImageError, Phase, PullOptions, Registries,
    RegistrySettings, Silent, Store,
};
use daas_model::{Explain, ImageName};
use std::sync::{Arc, Mutex};

fn web() -> Made {
    let big: Vec<u8> = (0..3_000_000u32).flat_map(|n| n.to_le_bytes()).collect();
    image(&[
        archive(&[
            ("./", b""),
            ("etc/", b""),
            ("etc/passwd", b"root:x:0:0::/root:/bin/sh\n"),
            ("big", &big),
        ]),
        archive(&[("etc/", b""), ("etc/new", b"new")]),
    ])
}

fn name(fake: &Fake) -> ImageName {
    ImageName::parse(&format!("{}/shop/web:1", fake.host)).unwrap()
}

async fn pull(store: &Store, fake: &Fake) -> Result<daas_image::Image, ImageError> {
    store
        .pull(
            &name(fake),
            &registries(),
            &PullOptions::default(),
            Arc::new(Silent),
        )
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn root_an_image_is_pulled_checked_unpacked_and_reports_its_way() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let made = web();
    let served = made.clone();
    let fake = Fake::start(move |asked| served.answer(asked));
    let events = Arc::new(Mutex::new(Vec::<Event>::new()));
    let sink = Arc::clone(&events);
    let image = store
        .pull(
            &name(&fake),
            &registries(),
            &PullOptions::default(),
            Arc::new(move |e| sink.lock().unwrap().push(e)),
        )
        .await
        .unwrap();
    assert_eq!(image.digest, Digest::of(&made.manifest));
    assert_eq!(
        tree(&image.layers[0].path)["big"].split(' ').nth(3),
        Some("size=12000000")
    );
    assert_eq!(store.resolve(&name(&fake)).unwrap().unwrap(), image);
    let pinned = ImageName::parse(&format!("{}/shop/web@{}", fake.host, image.digest)).unwrap();
    assert_eq!(store.resolve(&pinned).unwrap().unwrap(), image);
    let stranger = ImageName::parse(&format!("{}/other/web@{}", fake.host, image.digest)).unwrap();
    assert!(
        store.resolve(&stranger).unwrap().is_none(),
        "a digest opens no other repository"
    );
    let events = events.lock().unwrap().clone();
    let of_big: Vec<&Event> = events
        .iter()
        .filter(|e| made.layers[0].contains(&e.piece) && e.phase == Phase::Downloading)
        .collect();
    assert!(of_big.windows(2).all(|w| w[0].done <= w[1].done) && of_big.len() > 5);
    assert_eq!(of_big.last().unwrap().done, of_big.last().unwrap().total);
    let before = fake.asked().len();
    pull(&store, &fake).await.unwrap();
    assert_eq!(
        fake.asked().len(),
        before + 1,
        "a second pull asks for the manifest only"
    );
    assert!(
        files_below(&dir.path().join("partial")).is_empty()
            && files_below(&dir.path().join("tmp")).is_empty()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn root_a_download_that_is_cut_at_any_point_goes_on_from_there() {
    let made = web();
    let total = made.blobs[&made.layers[0]].len();
    for cut in [0, 1, 511, 65_536, (1 << 20) + 7, total / 2, total - 1] {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let (served, big) = (made.clone(), made.layers[0].clone());
        let mut cuts = 0;
        let fake = Fake::start(move |asked: &Asked| {
            let mut reply = served.answer(asked);
            if asked.path.ends_with(&big) && cuts < 2 {
                cuts += 1;
                reply.cut = Some(cut);
            }
            reply
        });
        let image = pull(&store, &fake).await.unwrap();
        assert_eq!(image.digest, Digest::of(&made.manifest), "cut at {cut}");
        let ranges: Vec<Option<String>> = fake
            .asked()
            .iter()
            .filter(|a| a.path.ends_with(&made.layers[0]))
            .map(|a| a.headers.get("range").cloned())
            .collect();
        if cut > 0 {
            assert_eq!(ranges[1], Some(format!("bytes={cut}-")), "{ranges:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn root_the_next_process_goes_on_where_the_last_one_was_killed() {
    let made = web();
    let dir = tempfile::tempdir().unwrap();
    let (served, big) = (made.clone(), made.layers[0].clone());
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let mut held = Some(receiver);
    let fake = Fake::start(move |asked: &Asked| {
        let mut reply = served.answer(asked);
        if asked.path.ends_with(&big)
            && !asked.headers.contains_key("range")
            && held.take().is_some()
        {
            // Promises all of it, gives two thirds.
            reply.cut = Some(8_000_000);
        }
        reply
    });
    drop(sender);
    {
        let store = Store::open(dir.path()).unwrap();
        let settings = RegistrySettings {
            retries: 0,
            ..RegistrySettings::default()
        };
        let error = store
            .pull(
                &name(&fake),
                &Registries::new(settings).unwrap(),
                &PullOptions::default(),
                Arc::new(Silent),
            )
            .await
            .unwrap_err();
        assert_eq!(error.code(), "registry-unreachable");
        assert!(store.resolve(&name(&fake)).unwrap().is_none());
    }
    let store = reopen(dir.path());
    pull(&store, &fake).await.unwrap();
    let last = fake
        .asked()
        .into_iter()
        .rfind(|a| a.path.ends_with(&made.layers[0]))
        .unwrap();
    assert_eq!(
        last.headers.get("range").map(String::as_str),
        Some("bytes=8000000-")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn root_a_rotten_rest_of_an_earlier_download_is_thrown_away() {
    let made = web();
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let hex = made.layers[0].strip_prefix("sha256:").unwrap();
    std::fs::write(
        dir.path().join(format!("partial/sha256-{hex}")),
        vec![9; 5_000_000],
    )
    .unwrap();
    let served = made.clone();
    let fake = Fake::start(move |asked| served.answer(asked));
    assert_eq!(
        pull(&store, &fake).await.unwrap().digest,
        Digest::of(&made.manifest)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn root_a_server_without_ranges_is_asked_from_the_start() {
    let made = web();
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let (served, big) = (made.clone(), made.layers[0].clone());
    let mut cuts = 0;
    let fake = Fake::start(move |asked: &Asked| {
        let mut plain = asked.clone();
        plain.headers.remove("range");
        let mut reply = served.answer(&plain);
        if asked.path.ends_with(&big) && cuts < 1 {
            cuts += 1;
            reply.cut = Some(1_000_000);
        }
        reply
    });
    assert_eq!(
        pull(&store, &fake).await.unwrap().digest,
        Digest::of(&made.manifest)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn root_busy_and_failing_registries_are_asked_again_and_missing_things_are_not() {
    let made = web();
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let served = made.clone();
    let mut count = 0;
    let fake = Fake::start(move |asked: &Asked| {
        count += 1;
        match count {
            1 => Reply::new(429).with("Retry-After", "0"),
            2 => Reply::new(503),
            _ => served.answer(asked),
        }
    });
    pull(&store, &fake).await.unwrap();
    let absent = Fake::start(|_: &Asked| Reply::new(404));
    assert_eq!(
        pull(&store, &absent).await.unwrap_err().code(),
        "image-not-in-registry"
    );
    assert_eq!(absent.asked().len(), 1);
    let busy = Fake::start(|_: &Asked| Reply::new(429).with("Retry-After", "3600"));
    let error = pull(&store, &busy).await.unwrap_err();
    assert!(
        matches!(error.kind(), daas_model::Kind::Busy { retry_after } if retry_after.as_secs() == 3600)
    );
    assert_eq!(busy.asked().len(), 1, "an hour is the caller's to wait");
}

#[tokio::test(flavor = "multi_thread")]
async fn root_what_is_not_what_was_promised_is_refused_and_leaves_nothing() {
    let made = web();
    let layer = made.layers[1].clone();
    let config = made.config.clone();
    type Change = Box<dyn Fn(&Asked, Reply) -> Reply + Send>;
    let at = |what: String, change: fn(Reply) -> Reply| -> Change {
        Box::new(move |asked, reply| {
            if asked.path.contains(&what) {
                change(reply)
            } else {
                reply
            }
        })
    };
    fn flip(mut reply: Reply) -> Reply {
        reply.body[600] ^= 1;
        reply
    }
    fn longer(mut reply: Reply) -> Reply {
        reply.body.push(0);
        reply
    }
    fn longer_untold(mut reply: Reply) -> Reply {
        reply.body.push(0);
        // Until the connection closes, so that the length is not told beforehand.
        reply.headers.push(("Content-Length".into(), "1600".into()));
        reply.body.resize(1600, 0);
        reply
    }
    fn shorter(mut reply: Reply) -> Reply {
        reply.body.pop();
        reply
    }
    fn flip_first(mut reply: Reply) -> Reply {
        reply.body[30] ^= 1;
        reply
    }
    fn lie(reply: Reply) -> Reply {
        Reply {
            headers: vec![("Content-Type".into(), OCI_INDEX.into())],
            ..reply
        }
    }
    fn other_digest(reply: Reply) -> Reply {
        reply.with("Docker-Content-Digest", Digest::of(b"other").as_str())
    }
    let cases: Vec<(&str, Change)> = vec![
        ("image-digest-mismatch", at(layer.clone(), flip)),
        ("image-size-mismatch", at(layer.clone(), longer)),
        ("image-size-mismatch", at(layer.clone(), longer_untold)),
        ("image-size-mismatch", at(layer, shorter)),
        ("image-digest-mismatch", at(config, flip_first)),
        ("image-document", at("manifests".into(), lie)),
        (
            "image-digest-mismatch",
            at("manifests".into(), other_digest),
        ),
    ];
    for (code, change) in cases {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let served = made.clone();
        let fake = Fake::start(move |asked| change(asked, served.answer(asked)));
        let error = pull(&store, &fake).await.unwrap_err();
        assert_eq!(error.code(), code, "{error:?}");
        assert!(store.resolve(&name(&fake)).unwrap().is_none());
        // The other layer may have been on its way; what was refused has left nothing.
        let rest = made.layers[0].replace(':', "-");
        assert!(
            files_below(&dir.path().join("partial"))
                .iter()
                .all(|p| p.ends_with(&rest)),
            "{code}"
        );
        store.gc(&daas_image::InUse::default()).unwrap();
        assert!(
            files_below(&dir.path().join("blobs")).is_empty()
                && files_below(&dir.path().join("layers")).is_empty()
        );
    }
}

/// A registry with a token server and a store for its blobs, each a server of its own: (registry, tokens, blobs).
fn house(made: &Made) -> (Fake, Fake, Fake) {
    let served = made.clone();
    // The store of the blobs is another server: it must see no proof.
    let blobs = Fake::start(move |asked| served.answer(asked));
    let elsewhere = blobs.host.clone();
    let tokens = Fake::start(|asked: &Asked| {
        let known =
            asked.headers.get("authorization").map(String::as_str) == Some("Basic dXNlcjpodXNo");
        if known
            && asked.path.contains("scope=repository%3Ashop%2Fweb%3Apull")
            && asked.path.contains("service=reg")
        {
            Reply::new(200).body(br#"{"token":"t0ken"}"#)
        } else {
            Reply::new(401)
        }
    });
    let realm = format!(
        "Bearer realm=\"http://{}/token\",service=\"reg\"",
        tokens.host
    );
    let served = made.clone();
    let fake = Fake::start(move |asked: &Asked| {
        if asked.headers.get("authorization").map(String::as_str) != Some("Bearer t0ken") {
            return Reply::new(401).with("WWW-Authenticate", &realm);
        }
        if asked.path.contains("/blobs/") {
            return Reply::new(307).with(
                "Location",
                &format!(
                    "http://{elsewhere}{}?sig=x",
                    asked.path.replace("/v2/", "/store/")
                )
                .replace("?sig=x", ""),
            );
        }
        served.answer(asked)
    });
    (fake, tokens, blobs)
}

#[tokio::test(flavor = "multi_thread")]
async fn root_secrets_go_to_their_own_host_and_nowhere_else() {
    let made = image(&[archive(&[("a", b"a")])]);
    let (fake, _tokens, blobs) = house(&made);
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let denied = pull(&store, &fake).await.unwrap_err();
    assert_eq!(denied.code(), "registry-access-denied");
    let mut credentials = Credentials::default();
    credentials.set(
        &fake.host,
        Credential::Basic {
            user: "user".into(),
            password: "hush".into(),
        },
    );
    let options = PullOptions {
        credentials: Some(credentials),
        ..PullOptions::default()
    };
    store
        .pull(&name(&fake), &registries(), &options, Arc::new(Silent))
        .await
        .unwrap();
    assert!(store.name_info(&name(&fake)).unwrap().unwrap().private);
    assert!(
        !blobs.asked().is_empty()
            && blobs
                .asked()
                .iter()
                .all(|a| !a.headers.contains_key("authorization"))
    );
    assert!(
        fake.asked().iter().all(|a| a
            .headers
            .get("authorization")
            .is_none_or(|h| h.starts_with("Bearer "))),
        "the password goes to the token server only"
    );
    // Who has no credentials may not use what is here.
    assert_eq!(
        store
            .check_access(&name(&fake), &registries(), &PullOptions::default())
            .await
            .unwrap_err()
            .code(),
        "registry-access-denied"
    );
    store
        .check_access(&name(&fake), &registries(), &options)
        .await
        .unwrap();
    // Credentials of another port are another server's.
    let mut others = Credentials::default();
    others.set(
        "127.0.0.1:1",
        Credential::Basic {
            user: "user".into(),
            password: "hush".into(),
        },
    );
    let options = PullOptions {
        credentials: Some(others),
        ..PullOptions::default()
    };
    assert_eq!(
        store
            .check_access(&name(&fake), &registries(), &options)
            .await
            .unwrap_err()
            .code(),
        "registry-access-denied"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn root_an_identity_token_is_traded_for_a_bearer() {
    let made = image(&[archive(&[("a", b"a")])]);
    let tokens = Fake::start(|asked: &Asked| {
        let good = asked.method == "POST"
            && asked.body.contains("grant_type=refresh_token")
            && asked.body.contains("refresh_token=id%2Fen");
        if good {
            Reply::new(200).body(br#"{"access_token":"t0ken"}"#)
        } else {
            Reply::new(401)
        }
    });
    let realm = format!("Bearer realm=\"http://{}/token\"", tokens.host);
    let fake = Fake::start(move |asked: &Asked| {
        if asked.headers.contains_key("authorization") {
            made.answer(asked)
        } else {
            Reply::new(401).with("WWW-Authenticate", &realm)
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let mut credentials = Credentials::default();
    credentials.set(&fake.host, Credential::Identity("id/en".into()));
    let options = PullOptions {
        credentials: Some(credentials),
        ..PullOptions::default()
    };
    store
        .pull(&name(&fake), &registries(), &options, Arc::new(Silent))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn root_the_platform_is_chosen_from_an_index_and_a_wrong_one_refused() {
    let mine = image(&[archive(&[("mine", b"1")])]);
    let index = |platform: &str| {
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{{"mediaType":"{OCI_MANIFEST}","digest":"{}","size":{},"platform":{{"os":"linux","architecture":"{platform}"}}}}]}}"#,
            Digest::of(&mine.manifest),
            mine.manifest.len()
        )
    };
    for (platform, good) in [("amd64", true), ("s390x", false)] {
        let (served, text) = (mine.clone(), index(platform));
        let fake = Fake::start(move |asked: &Asked| {
            if asked.path.ends_with("/manifests/1") {
                Reply::new(200)
                    .with("Content-Type", OCI_INDEX)
                    .body(text.as_bytes())
            } else {
                served.answer(asked)
            }
        });
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        match pull(&store, &fake).await {
            Ok(image) if good => {
                assert_eq!(image.digest, Digest::of(&mine.manifest));
                let by_index = ImageName::parse(&format!(
                    "{}/shop/web@{}",
                    fake.host,
                    Digest::of(index(platform).as_bytes())
                ))
                .unwrap();
                assert!(store.resolve(&by_index).unwrap().is_some());
            }
            Err(error) if !good => assert!(
                error.code() == "image-platform" && error.hint().unwrap().contains("linux/s390x"),
                "{error:?}"
            ),
            other => panic!("{platform}: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn root_mirrors_are_asked_first_and_the_registry_when_they_have_nothing() {
    let made = image(&[archive(&[("a", b"a")])]);
    let served = made.clone();
    let empty = Fake::start(|_: &Asked| Reply::new(404));
    let full = Fake::start(move |asked| served.answer(asked));
    let mut settings = RegistrySettings::default();
    settings.mirrors.insert(
        "docker.io".into(),
        vec![
            format!("http://{}", empty.host),
            format!("http://{}/cache", full.host),
        ],
    );
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let nginx = ImageName::parse("nginx:1").unwrap();
    let image = store
        .pull(
            &nginx,
            &Registries::new(settings).unwrap(),
            &PullOptions::default(),
            Arc::new(Silent),
        )
        .await
        .unwrap();
    assert_eq!(store.resolve(&nginx).unwrap().unwrap(), image);
    assert_eq!(empty.asked().len(), 1);
    assert_eq!(
        full.asked()[0].path,
        "/cache/v2/library/nginx/manifests/1?ns=docker.io"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn root_a_pull_that_is_dropped_anywhere_leaves_nothing_half() {
    let made = web();
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let served = made.clone();
    let fake = Fake::start(move |asked| served.answer(asked));
    for millis in [1, 5, 20, 60, 120] {
        // Wherever it is by then; the next one must always come through.
        let _ = tokio::time::timeout(
            std::time::Duration::from_millis(millis),
            pull(&store, &fake),
        )
        .await;
        if let Some(image) = store.resolve(&name(&fake)).unwrap() {
            assert_eq!(image.layers.len(), 2);
        }
    }
    let image = pull(&store, &fake).await.unwrap();
    assert_eq!(tree(&image.layers[1].path).len(), 3);
}
