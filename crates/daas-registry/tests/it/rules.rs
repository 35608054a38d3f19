//! Quota, retention, documents about images.

use crate::served::{Served, basic, image};
use daas_image::{Artifact, Digest, InUse};
use daas_model::{ByteSize, ProjectName, Span};
use daas_registry::{Repository, Rule, Settings, SpaceRecord, Used};
use hyper::Method;
use std::time::Duration;

fn shop() -> ProjectName {
    ProjectName::parse("shop").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_that_has_used_up_its_room_is_told_so_and_others_are_not_disturbed() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings {
        grace: Duration::ZERO,
        ..Settings::default()
    };
    let served = Served::start(dir.path(), settings).await;
    let auth = served.everything().await;
    let rules = SpaceRecord {
        quota: Some(ByteSize(1000)),
        ..SpaceRecord::default()
    };
    served.registry.set_space(&shop(), &rules).await.unwrap();
    assert_eq!(
        served.push_blob(&auth, "shop/a", &[1; 900]).await.status,
        201
    );
    // What the project has already costs nothing more.
    assert_eq!(
        served.push_blob(&auth, "shop/b", &[1; 900]).await.status,
        201
    );
    let over = served.push_blob(&auth, "shop/b", &[2; 200]).await;
    assert_eq!(
        (over.status, over.json()["errors"][0]["code"].as_str()),
        (403, Some("DENIED"))
    );
    let endless = served.push_blob(&auth, "shop/b", &[3; 5000]).await;
    // It ends as soon as it is larger than the quota, in the same words.
    let error = &endless.json()["errors"][0];
    assert_eq!(
        (
            endless.status,
            error["code"].as_str(),
            error["detail"].as_str()
        ),
        (403, Some("DENIED"), Some("registry-quota"))
    );
    assert_eq!(served.temporary(), 0);
    assert_eq!(
        served.push_blob(&auth, "blog/b", &[2; 2000]).await.status,
        201
    );
    assert_eq!(served.registry.space_of(&shop()).unwrap().1, 900);
    served.registry.collect(InUse::default()).await.unwrap();
    assert_eq!(served.registry.space_of(&shop()).unwrap().1, 0);
    assert_eq!(
        served.push_blob(&auth, "shop/b", &[2; 200]).await.status,
        201
    );
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_throws_away_what_its_rules_say_and_never_what_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings {
        grace: Duration::ZERO,
        ..Settings::default()
    };
    let served = Served::start(dir.path(), settings).await;
    let auth = served.everything().await;
    let tags = ["1.0", "1.1", "1.2", "branch-main", "branch-old"];
    for tag in tags {
        assert_eq!(
            served
                .push(&auth, "shop/web", tag, &image(tag))
                .await
                .status,
            201
        );
    }
    let rule = |tags: &str| Rule {
        tags: Some(tags.into()),
        ..Rule::default()
    };
    let nothing = SpaceRecord {
        retention: vec![rule("*")],
        ..SpaceRecord::default()
    };
    assert!(served.registry.set_space(&shop(), &nothing).await.is_err());
    let rules = SpaceRecord {
        retention: vec![
            Rule {
                branch: true,
                ..rule("branch-*")
            },
            Rule {
                keep: Some(1),
                ..rule("1.*")
            },
            Rule {
                older_than: Some(Span::secs(0)),
                ..Rule::default()
            },
        ],
        branches: Some(["main".to_owned()].into()),
        ..SpaceRecord::default()
    };
    served.registry.set_space(&shop(), &rules).await.unwrap();
    let mut used = Used::default();
    used.manifests
        .insert(image("1.0").digest(), "stand `shop-1`".into());
    let web = Repository::parse("shop/web").unwrap();
    used.names
        .insert((web.clone(), "1.1".into()), "stand `shop-2`".into());
    let plan = served.registry.expire(&shop(), &used).await.unwrap();
    let gone: Vec<String> = plan
        .iter()
        .filter(|e| !e.used)
        .map(|e| e.tag.as_ref().unwrap().to_string())
        .collect();
    assert_eq!(gone, ["branch-old"]);
    let left = |served: &Served| -> Vec<String> {
        let tags = served.registry.tags(&web).unwrap();
        tags.into_iter().map(|t| t.tag.to_string()).collect()
    };
    assert_eq!(left(&served), ["1.0", "1.1", "1.2", "branch-main"]);
    // Nobody uses them any more; then the manifests without tags go too, and their blobs with the garbage.
    served
        .registry
        .expire(&shop(), &Used::default())
        .await
        .unwrap();
    assert_eq!(left(&served), ["1.2", "branch-main"]);
    tokio::time::sleep(Duration::from_millis(5)).await;
    served
        .registry
        .expire(&shop(), &Used::default())
        .await
        .unwrap();
    let collected = served.registry.collect(InUse::default()).await.unwrap();
    assert_eq!(collected.blobs.len(), 9, "{collected:?}");
    for tag in ["1.2", "branch-main"] {
        let found = served
            .get(&auth, &format!("/v2/shop/web/manifests/{tag}"))
            .await;
        assert_eq!(found.status, 200);
        let layer = Digest::of(&image(tag).parts[1]);
        let blob = served
            .get(&auth, &format!("/v2/shop/web/blobs/{layer}"))
            .await;
        assert_eq!(blob.body, image(tag).parts[1]);
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_house_keeps_about_an_image_is_listed_where_the_image_is_and_nowhere_else() {
    let dir = tempfile::tempdir().unwrap();
    let served = Served::start(dir.path(), Settings::default()).await;
    let auth = served.everything().await;
    let one = image("sbom");
    assert_eq!(served.push(&auth, "shop/web", "1", &one).await.status, 201);
    let artifact = Artifact {
        artifact_type: "application/spdx+json".into(),
        parts: vec![("application/spdx+json".into(), b"{}".to_vec())],
        annotations: [("a".to_owned(), "b".to_owned())].into(),
    };
    let about = served.images.attach(&one.digest(), &artifact).unwrap();
    let path = format!("/v2/shop/web/referrers/{}", one.digest());
    let listed = served.get(&auth, &path).await.json();
    assert_eq!(listed["manifests"][0]["digest"], about.as_str());
    assert_eq!(
        listed["manifests"][0]["artifactType"],
        "application/spdx+json"
    );
    assert_eq!(listed["manifests"][0]["annotations"]["a"], "b");
    let filtered = served
        .get(&auth, &format!("{path}?artifactType=application/x"))
        .await;
    assert_eq!(filtered.json()["manifests"], serde_json::json!([]));
    assert_eq!(filtered.header("oci-filters-applied"), "artifactType");
    let part = Digest::of(b"{}");
    let blob = served
        .get(&auth, &format!("/v2/shop/web/blobs/{part}"))
        .await;
    assert_eq!((blob.status, &blob.body[..]), (200, &b"{}"[..]));
    let blog = basic(
        "blog",
        &served.login("blog", Some("blog"), true, false).await,
    );
    let elsewhere = format!("/v2/blog/web/referrers/{}", one.digest());
    assert_eq!(
        served.get(&blog, &elsewhere).await.json()["manifests"],
        serde_json::json!([])
    );
    // With the image it goes from the registry and from the store.
    let gone = served
        .ask(
            Method::DELETE,
            &format!("/v2/shop/web/manifests/{}", one.digest()),
            &[("authorization", &auth)],
            "",
        )
        .await;
    assert_eq!(gone.status, 202);
    served.stop().await;
}
