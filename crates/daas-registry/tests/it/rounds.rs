//! Push, pull and delete, over and over, while garbage is collected.

use crate::served::{Served, image};
use daas_image::{Digest, InUse};
use daas_registry::Settings;
use hyper::Method;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How many rounds: `DAAS_ROUNDS`, 300 without.
fn rounds() -> u32 {
    std::env::var("DAAS_ROUNDS").map_or(300, |text| text.parse().unwrap())
}

/// One client: pushes an image that shares a layer with those of the others, pulls it back, deletes it.
async fn work(served: &Served, auth: &str, worker: u32, rounds: u32) {
    let repository = format!("shop/n{}", worker % 2);
    for round in 0..rounds {
        let tag = format!("w{worker}");
        // Now and then one that never comes again, and so becomes garbage.
        let word = if round % 5 == 0 {
            format!("once {worker} {round}")
        } else {
            format!("{}", round % 3 + 10 * (worker % 2))
        };
        let one = image(&word);
        let pushed = served.push(auth, &repository, &tag, &one).await;
        assert_eq!(pushed.status, 201, "{pushed:?}");
        let path = format!("/v2/{repository}/manifests/{tag}");
        let manifest = served.get(auth, &path).await;
        assert_eq!(
            (manifest.status, &manifest.body[..]),
            (200, &one.manifest[..])
        );
        for part in &one.parts {
            let path = format!("/v2/{repository}/blobs/{}", Digest::of(part));
            let blob = served.get(auth, &path).await;
            assert_eq!(
                (blob.status, &blob.body[..]),
                (200, &part[..]),
                "round {round}"
            );
        }
        let gone = served
            .ask(Method::DELETE, &path, &[("authorization", auth)], "")
            .await;
        assert_eq!(gone.status, 202, "{gone:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_blob_is_ever_missing_while_garbage_is_collected_beside_pushes_pulls_and_deletes() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings {
        // Longer than a push takes, and so short that every round's leavings are collected within the test.
        grace: Duration::from_millis(300),
        ..Settings::default()
    };
    let served = Served::start(dir.path(), settings).await;
    let auth = served.everything().await;
    let ended = AtomicBool::new(false);
    let collect = async {
        let mut collected = 0;
        while !ended.load(Ordering::Relaxed) {
            collected += served
                .registry
                .collect(InUse::default())
                .await
                .unwrap()
                .blobs
                .len();
            // Manifests without tags are retention's; here they go at once, so that their blobs become garbage.
            drop_loose(&served).await;
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        collected
    };
    let clients = async {
        let workers = (0..4).map(|worker| work(&served, &auth, worker, rounds() / 4));
        futures_util::future::join_all(workers).await;
        ended.store(true, Ordering::Relaxed);
    };
    let (collected, ()) = futures_util::future::join(collect, clients).await;
    assert!(collected > 0, "garbage was collected meanwhile");
    tokio::time::sleep(Duration::from_millis(220)).await;
    drop_loose(&served).await;
    tokio::time::sleep(Duration::from_millis(320)).await;
    served.registry.collect(InUse::default()).await.unwrap();
    assert!(served.registry.repositories().is_empty());
    let left = std::fs::read_dir(served.images.dir().join("blobs/sha256"))
        .unwrap()
        .count();
    assert_eq!((left, served.temporary()), (0, 0));
    served.stop().await;
}

/// Deletes manifests that no tag means and that are older than any push takes.
async fn drop_loose(served: &Served) {
    use daas_model::{ProjectName, Span};
    use daas_registry::{Rule, SpaceRecord, Used};
    let project = ProjectName::parse("shop").unwrap();
    let rules = SpaceRecord {
        retention: vec![Rule {
            older_than: Some(Span::millis(200)),
            ..Rule::default()
        }],
        ..SpaceRecord::default()
    };
    served.registry.set_space(&project, &rules).await.unwrap();
    served
        .registry
        .expire(&project, &Used::default())
        .await
        .unwrap();
}
