//! What the store promises to its users, on disk and in memory alike.

use daas_store::{Batch, Change, EventId, Expect, Record, Revision, Store, StoreError};
use serde::{Deserialize, Serialize};
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Wanted {
    image: String,
}

impl Record for Wanted {
    const KIND: &'static str = "wanted";
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Seen(u32);

impl Record for Seen {
    const KIND: &'static str = "seen";
}

fn wanted(image: &str) -> Wanted {
    Wanted {
        image: image.to_owned(),
    }
}

/// Both homes of a store; the folder lives as long as the store.
fn homes() -> Vec<(Store, Option<tempfile::TempDir>)> {
    let dir = tempfile::tempdir().expect("a folder can be made");
    let on_disk = Store::open(&dir.path().join("state")).expect("it opens");
    vec![
        (Store::in_memory().expect("it opens"), None),
        (on_disk, Some(dir)),
    ]
}

#[tokio::test]
async fn a_record_is_kept_changed_listed_and_forgotten() {
    for (store, _dir) in homes() {
        assert_eq!(store.get::<Wanted>("shop").unwrap(), None);
        let first = store.put("shop", &wanted("a")).await.unwrap();
        let second = store.put("shop", &wanted("b")).await.unwrap();
        assert!(first < second && second == store.revision());
        let found = store.get::<Wanted>("shop").unwrap().unwrap();
        assert_eq!((found.value, found.revision), (wanted("b"), second));
        store.put("shop/web", &Seen(1)).await.unwrap();
        store.put("shop/db", &Seen(2)).await.unwrap();
        store.put("shopping/x", &Seen(3)).await.unwrap();
        store.put("sho", &Seen(4)).await.unwrap();
        let keys = |prefix: &str| {
            store
                .list::<Seen>(prefix)
                .unwrap()
                .into_iter()
                .map(|s| (s.key, s.value.0))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            keys("shop/"),
            [("shop/db".to_owned(), 2), ("shop/web".to_owned(), 1)]
        );
        assert_eq!(keys("").len(), 4);
        assert_eq!(keys("%"), [], "a prefix is no pattern");
        store.delete::<Wanted>("shop").await.unwrap();
        assert_eq!(store.get::<Wanted>("shop").unwrap(), None);
        let before = store.revision();
        store.delete::<Wanted>("shop").await.unwrap();
        assert_eq!(
            store.revision(),
            before,
            "forgetting nothing changes nothing"
        );
    }
}

#[tokio::test]
async fn a_change_happens_only_if_nobody_was_faster() {
    for (store, _dir) in homes() {
        let first = store
            .put_if("shop", &wanted("a"), Expect::Absent)
            .await
            .unwrap();
        let again = store
            .put_if("shop", &wanted("b"), Expect::Absent)
            .await
            .unwrap_err();
        assert!(again.is_conflict(), "{again}");
        let second = store
            .put_if("shop", &wanted("c"), Expect::Revision(first))
            .await
            .unwrap();
        let late = store
            .put_if("shop", &wanted("d"), Expect::Revision(first))
            .await
            .unwrap_err();
        assert_eq!(
            late.to_string(),
            format!(
                "cannot change wanted `shop`: it was changed by somebody else (expected revision {first}, found revision {second})"
            )
        );
        assert!(
            store
                .commit(Batch::new().delete_if::<Wanted>("shop", Expect::Revision(first)))
                .await
                .is_err()
        );
        assert_eq!(
            store.get::<Wanted>("shop").unwrap().unwrap().value,
            wanted("c")
        );
        assert_eq!(
            store.revision(),
            second,
            "what did not happen took no revision"
        );
    }
}

#[tokio::test]
async fn a_batch_happens_as_a_whole_or_not_at_all() {
    for (store, _dir) in homes() {
        store.put("b", &Seen(0)).await.unwrap();
        let batch = Batch::new()
            .put("a", &Seen(1))
            .unwrap()
            .event("shop", 7, &"made")
            .unwrap()
            .put_if("b", &Seen(1), Expect::Absent)
            .unwrap();
        assert!(store.commit(batch).await.unwrap_err().is_conflict());
        assert_eq!(store.get::<Seen>("a").unwrap(), None);
        assert!(store.events_after(None, EventId(0), 10).unwrap().is_empty());
        let batch = Batch::new()
            .put("a", &Seen(1))
            .unwrap()
            .put("c", &wanted("x"))
            .unwrap()
            .delete::<Seen>("b");
        store.commit(batch).await.unwrap();
        assert_eq!(
            (
                store.get::<Seen>("a").unwrap().unwrap().value,
                store.get::<Seen>("b").unwrap()
            ),
            (Seen(1), None)
        );
    }
}

#[tokio::test]
async fn one_of_many_that_change_together_wins_and_the_others_are_told() {
    for (store, _dir) in homes() {
        let tries = (0..64).map(|n| {
            let store = store.clone();
            async move { store.put_if("lease", &Seen(n), Expect::Absent).await }
        });
        let results = futures_join(tries).await;
        assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 1);
        assert!(
            results
                .iter()
                .filter_map(|r| r.as_ref().err())
                .all(StoreError::is_conflict)
        );
    }
}

async fn futures_join<F: Future<Output = T> + Send + 'static, T: Send + 'static>(
    all: impl Iterator<Item = F>,
) -> Vec<T> {
    let mut set = tokio::task::JoinSet::new();
    all.for_each(|f| drop(set.spawn(f)));
    set.join_all().await
}

#[tokio::test]
async fn a_watcher_sees_every_change_of_its_kinds_in_order_and_resumes() {
    for (store, _dir) in homes() {
        store.put("old", &Seen(0)).await.unwrap();
        let from = store.revision();
        let mut watch = store.watch(&["seen"], from);
        store.put("x", &wanted("not watched")).await.unwrap();
        store.put("a", &Seen(1)).await.unwrap();
        let resume_at = store.put("a", &Seen(2)).await.unwrap();
        store.delete::<Seen>("a").await.unwrap();
        let mut seen = Vec::new();
        for _ in 0..3 {
            seen.push(watch.next().await.unwrap());
        }
        let change = |revision, deleted| Change {
            revision: Revision(revision),
            kind: "seen".into(),
            key: "a".into(),
            deleted,
        };
        assert_eq!(seen, [change(3, false), change(4, false), change(5, true)]);
        assert_eq!(
            store.watch(&[], resume_at).next().await.unwrap(),
            change(5, true)
        );
        // What comes later wakes a watcher that waits.
        let waiting = store.clone();
        let late = async move { waiting.put("b", &Seen(3)).await.unwrap() };
        let (change, revision) = tokio::join!(watch.next(), late);
        assert_eq!(change.unwrap().revision, revision);
    }
}

#[tokio::test]
async fn a_watch_that_is_dropped_while_it_waits_loses_nothing() {
    for (store, _dir) in homes() {
        let mut watch = store.watch(&["seen"], Revision(0));
        for n in 0..20 {
            assert!(
                tokio::time::timeout(Duration::ZERO, watch.next())
                    .await
                    .is_err()
            );
            store.put("x", &wanted("noise")).await.unwrap();
            let revision = store.put("a", &Seen(n)).await.unwrap();
            assert_eq!(watch.next().await.unwrap().revision, revision);
        }
    }
}

#[tokio::test]
async fn events_are_read_by_topic_from_a_cursor_and_followed() {
    for (store, _dir) in homes() {
        for n in 0..5u64 {
            store
                .add_event(
                    if n % 2 == 0 { "shop" } else { "wiki" },
                    1000 + n,
                    &format!("event {n}"),
                )
                .await
                .unwrap();
        }
        let ids = |topic, after, limit| {
            store
                .events_after(topic, EventId(after), limit)
                .unwrap()
                .into_iter()
                .map(|e| e.id.0)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            (ids(None, 0, 10), ids(Some("shop"), 1, 10), ids(None, 0, 2)),
            (vec![1, 2, 3, 4, 5], vec![3, 5], vec![1, 2])
        );
        let last: Vec<_> = store
            .last_events(None, 2)
            .unwrap()
            .into_iter()
            .map(|e| (e.id.0, e.topic, e.at_ms))
            .collect();
        assert_eq!(
            last,
            [(4, "wiki".to_owned(), 1003), (5, "shop".to_owned(), 1004)]
        );
        assert_eq!(store.last_event(), EventId(5));
        let mut follow = store.events(Some("wiki"), EventId(2));
        assert_eq!(
            follow.next().await.unwrap().read::<String>().unwrap(),
            "event 3"
        );
        let adder = store.clone();
        let add = async move {
            adder.add_event("shop", 1, &"not mine").await.unwrap();
            adder.add_event("wiki", 2, &"mine").await.unwrap();
        };
        let (event, ()) = tokio::join!(follow.next(), add);
        assert_eq!(event.unwrap().read::<String>().unwrap(), "mine");
    }
}

#[tokio::test]
async fn a_record_of_another_shape_is_named_and_not_guessed() {
    #[derive(Debug, Serialize, Deserialize)]
    struct Older {
        picture: String,
    }
    impl Record for Older {
        const KIND: &'static str = "wanted";
    }
    for (store, _dir) in homes() {
        store
            .put(
                "shop",
                &Older {
                    picture: "a".into(),
                },
            )
            .await
            .unwrap();
        let error = store.get::<Wanted>("shop").unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("cannot read wanted `shop`: missing field `image`"),
            "{error}"
        );
    }
}
