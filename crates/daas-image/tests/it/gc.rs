//! Collecting garbage beside everything else.

use crate::fake::{Fake, archive, archive_of, entry, files_below, image, link, registries};
use crate::tree::tree;
use daas_image::tar::{Entry, EntryKind};
use daas_image::{Artifact, Budget, Digest, InUse, PullOptions, Silent, Store};
use daas_model::{Explain, ImageName};
use futures_util::FutureExt;
use proptest::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn counts(store: &Store) -> (usize, usize) {
    let layers = std::fs::read_dir(store.dir().join("layers"))
        .unwrap()
        .count();
    (files_below(&store.dir().join("blobs")).len(), layers)
}

#[tokio::test(flavor = "multi_thread")]
async fn root_a_document_about_an_image_lives_as_long_as_the_image() {
    let one = image(&[archive(&[("./", b""), ("one", b"1")])]);
    let fake = Fake::start(move |asked| one.answer(asked));
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let name = ImageName::parse(&format!("{}/x:1", fake.host)).unwrap();
    let image = store
        .pull(
            &name,
            &registries(),
            &PullOptions::default(),
            Arc::new(Silent),
        )
        .await
        .unwrap();
    let artifact = Artifact {
        artifact_type: "application/spdx+json".into(),
        parts: vec![(
            "application/spdx+json".into(),
            b"{\"spdxVersion\":\"SPDX-2.3\"}".to_vec(),
        )],
        annotations: [("org.example.step".to_owned(), "1".to_owned())].into(),
    };
    let about = store.attach(&image.digest, &artifact).unwrap();
    assert_eq!(store.attach(&image.digest, &artifact).unwrap(), about);
    let of_sbom = Artifact {
        artifact_type: "application/vnd.example.signature".into(),
        parts: vec![("text/plain".into(), b"signed".to_vec())],
        annotations: std::collections::BTreeMap::new(),
    };
    store.attach(&about, &of_sbom).unwrap();
    let listed = store.referrers(&image.digest).unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (&listed[0].digest, listed[0].artifact_type.as_deref()),
        (&about, Some("application/spdx+json"))
    );
    assert_eq!(store.read_artifact(&about).unwrap(), artifact.parts);
    assert!(store.gc(&InUse::default()).unwrap().blobs.is_empty());
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.referrers(&image.digest).unwrap(), listed);
    store.remove(&name).unwrap();
    store.gc(&InUse::default()).unwrap();
    assert_eq!(counts(&store), (0, 0));
    assert!(store.referrers(&image.digest).unwrap().is_empty());
    assert_eq!(files_below(&store.dir().join("referrers")).len(), 0);
}

#[tokio::test]
async fn who_asks_for_documents_waits_for_those_that_are_announced_and_for_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let (one, other) = (Digest::of(b"one"), Digest::of(b"other"));
    let (first, second) = (
        store.announce_documents(&one),
        store.announce_documents(&one),
    );
    store.documents_written(&other).await;
    let waits = store.documents_written(&one);
    let mut waits = std::pin::pin!(waits);
    assert!(waits.as_mut().now_or_never().is_none());
    drop(first);
    assert!(waits.as_mut().now_or_never().is_none(), "two write");
    drop(second);
    waits.await;
    store.documents_written(&one).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn root_what_runs_or_has_a_name_stays_and_the_rest_goes() {
    let shared = archive(&[("./", b""), ("base", b"base")]);
    let one = image(&[shared.clone(), archive(&[("./", b""), ("one", b"1")])]);
    let two = image(&[shared, archive(&[("./", b""), ("two", b"2")])]);
    let (a, b) = (one.clone(), two.clone());
    let fake = Fake::start(move |asked| {
        if asked.path.contains("/one/") {
            a.answer(asked)
        } else {
            b.answer(asked)
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let name = |n: &str| ImageName::parse(&format!("{}/{n}/x:1", fake.host)).unwrap();
    let mut images = Vec::new();
    for n in ["one", "two"] {
        images.push(
            store
                .pull(
                    &name(n),
                    &registries(),
                    &PullOptions::default(),
                    Arc::new(Silent),
                )
                .await
                .unwrap(),
        );
    }
    // Two manifests, two configurations, three layers of which one is shared.
    assert_eq!(counts(&store), (7, 3));
    assert_eq!(
        store.gc_plan(&InUse::default()).unwrap(),
        daas_image::GcPlan::default()
    );
    let extra = ImageName::parse("kept:1").unwrap();
    store.tag(&name("one"), &extra).unwrap();
    store.remove(&name("one")).unwrap();
    assert_eq!(
        store.remove(&name("one")).unwrap_err().code(),
        "image-not-found"
    );
    assert!(
        store.gc(&InUse::default()).unwrap().blobs.is_empty(),
        "it has another name"
    );
    store.remove(&extra).unwrap();
    let running = InUse {
        images: [images[0].digest.clone()].into(),
        layers: std::collections::BTreeSet::new(),
    };
    assert!(
        store.gc(&running).unwrap().blobs.is_empty(),
        "a stand runs it"
    );
    let mounted = InUse {
        layers: [images[0].layers[1].path.clone()].into(),
        ..InUse::default()
    };
    let plan = store.gc_plan(&mounted).unwrap();
    assert_eq!(
        (plan.blobs.len(), plan.layers.len()),
        (3, 0),
        "a stand has its layer mounted"
    );
    assert_eq!(counts(&store), (7, 3), "a plan removes nothing");
    let done = store.gc(&InUse::default()).unwrap();
    assert_eq!((done.blobs.len(), done.layers.len()), (3, 1));
    assert!(done.bytes.0 > 0);
    assert_eq!(counts(&store), (4, 2));
    assert_eq!(store.resolve(&name("two")).unwrap().unwrap(), images[1]);
    assert_eq!(tree(&images[1].layers[0].path).len(), 2);
    assert!(files_below(&store.dir().join("tmp")).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn root_a_collection_never_takes_what_a_pull_beside_it_needs() {
    let rounds = if std::env::var_os("DAAS_SOAK").is_some() {
        10_000
    } else {
        150
    };
    let shared = archive(&[("./", b""), ("base", &vec![7; 300_000])]);
    let made: Vec<_> = (0..3)
        .map(|n| {
            image(&[
                shared.clone(),
                archive(&[("./", b""), ("own", format!("{n}").as_bytes())]),
            ])
        })
        .collect();
    let served = made.clone();
    let fake = Fake::start(move |asked| {
        let n: usize = asked
            .path
            .split('/')
            .nth(2)
            .unwrap()
            .strip_prefix('n')
            .unwrap()
            .parse()
            .unwrap();
        served[n].answer(asked)
    });
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let ended = Arc::new(AtomicBool::new(false));
    let collector = std::thread::spawn({
        let (store, ended) = (store.clone(), Arc::clone(&ended));
        move || {
            let mut collected = 0;
            while !ended.load(Ordering::Relaxed) {
                let done = store.gc(&InUse::default()).unwrap();
                collected += done.blobs.len() + done.layers.len();
            }
            collected
        }
    });
    let mut tasks = Vec::new();
    for n in 0..made.len() {
        let (store, host) = (store.clone(), fake.host.clone());
        tasks.push(tokio::spawn(async move {
            let name = ImageName::parse(&format!("{host}/n{n}/x:1")).unwrap();
            let registries = registries();
            for _ in 0..rounds / 3 {
                let image = store
                    .pull(
                        &name,
                        &registries,
                        &PullOptions::default(),
                        Arc::new(Silent),
                    )
                    .await
                    .unwrap();
                // Named, so nobody may touch it now.
                assert_eq!(store.resolve(&name).unwrap().unwrap(), image);
                for layer in &image.layers {
                    assert_eq!(tree(&layer.path).len(), 2);
                }
                store
                    .save(std::slice::from_ref(&name), std::io::sink(), &Silent)
                    .unwrap();
                store.remove(&name).unwrap();
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    ended.store(true, Ordering::Relaxed);
    assert!(
        collector.join().unwrap() > 0,
        "the collector has had something to do"
    );
    store.gc(&InUse::default()).unwrap();
    assert_eq!(counts(&store), (0, 0));
}

fn any_name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => proptest::collection::vec(prop_oneof![Just("a"), Just("b"), Just("c"), Just(".wh.a"), Just(".wh..wh..opq"), Just("."), Just("")], 1..4).prop_map(|p| p.join("/")),
        1 => proptest::collection::vec(prop_oneof![Just("a"), Just(".."), Just("/"), Just("outside")], 1..5).prop_map(|p| p.join("/")),
    ]
}

fn any_target() -> impl Strategy<Value = String> {
    prop_oneof![
        any_name(),
        Just("..".to_owned()),
        Just("../outside".to_owned()),
        Just("/".to_owned()),
        Just("../../..".to_owned()),
        Just("/a/../../outside".to_owned())
    ]
}

fn any_entries() -> impl Strategy<Value = Vec<Entry>> {
    let one =
        (any_name(), any_target(), 0..7u8, 0..0o10000u32).prop_map(|(name, target, kind, mode)| {
            let kinds = [
                EntryKind::File,
                EntryKind::File,
                EntryKind::Directory,
                EntryKind::Symlink,
                EntryKind::Symlink,
                EntryKind::HardLink,
                EntryKind::CharDevice,
            ];
            let kind = kinds[usize::from(kind)];
            let size = if kind == EntryKind::File { 5 } else { 0 };
            let mut made = if matches!(kind, EntryKind::Symlink | EntryKind::HardLink) {
                link(kind, &name, &target)
            } else {
                entry(kind, &name, size)
            };
            made.mode = mode;
            made.device = if kind == EntryKind::CharDevice {
                (1, 3)
            } else {
                (0, 0)
            };
            made
        });
    proptest::collection::vec(one, 1..25)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn root_no_archive_reaches_outside_and_none_makes_the_applier_panic(entries in any_entries(), damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3)) {
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        std::fs::create_dir_all(outside.join("a")).unwrap();
        std::fs::write(outside.join("b"), "b").unwrap();
        std::fs::create_dir(dir.path().join("root")).unwrap();
        let all_but_root = || {
            let mut all = tree(dir.path());
            all.retain(|name, _| name != "root" && !name.starts_with("root/"));
            all
        };
        let before = all_but_root();
        // Names that the writer would change are as good as any; an entry without a name is what the reader must refuse.
        let mut bytes = archive_of(&entries);
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            mend(&mut bytes, at);
        }
        let _ = unpack_quietly(&bytes, &dir.path().join("root"));
        prop_assert_eq!(all_but_root(), before);
    }
}

/// Makes the checksum of the block at `at` right again, so that damage is not caught at the door.
fn mend(bytes: &mut [u8], at: usize) {
    let block = at / 512 * 512;
    if !(148..156).contains(&(at % 512)) {
        bytes[block + 148..block + 156].fill(b' ');
        let sum: u32 = bytes[block..block + 512]
            .iter()
            .map(|b| u32::from(*b))
            .sum();
        bytes[block + 148..block + 156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}

fn unpack_quietly(bytes: &[u8], root: &std::path::Path) -> Result<(), daas_image::LayerError> {
    daas_image::unpack(bytes, root, &Budget::default()).map(drop)
}
