//! Who may do what.

use crate::served::{Served, basic, image};
use daas_image::Digest;
use daas_model::ProjectName;
use daas_registry::{Door, Settings, SpaceRecord};
use hyper::Method;
use hyper::body::Bytes;

/// Reads a value of the challenge: `realm="..."`.
fn told<'a>(challenge: &'a str, key: &str) -> &'a str {
    challenge
        .split(&format!("{key}=\""))
        .nth(1)
        .unwrap_or_default()
        .split('"')
        .next()
        .unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_changed_into_a_token_that_is_good_for_its_scopes_only() {
    let dir = tempfile::tempdir().unwrap();
    let served = Served::start(dir.path(), Settings::default()).await;
    let secret = served.login("dev", Some("shop"), true, false).await;
    let refused = served.ask(Method::GET, "/v2/", &[], "").await;
    let challenge = refused.header("www-authenticate").to_owned();
    assert_eq!(refused.status, 401);
    assert_eq!(
        told(&challenge, "realm"),
        format!("http://{}/token", served.address)
    );
    let path = "/v2/shop/web/blobs/uploads/";
    let refused = served.ask(Method::POST, path, &[], "").await;
    let scope = told(refused.header("www-authenticate"), "scope").to_owned();
    assert_eq!(scope, "repository:shop/web:pull,push");
    let wrong = basic("dev", "daas_reg_wrong");
    let no = served.get(&wrong, "/token?service=x").await;
    assert_eq!(no.status, 401);
    let auth = basic("dev", &secret);
    let token = served
        .get(
            &auth,
            &format!("/token?scope={scope}&scope=repository:blog/web:pull,push"),
        )
        .await;
    let token = format!("Bearer {}", token.json()["token"].as_str().unwrap());
    assert_eq!(served.get(&token, "/v2/").await.status, 200);
    let begun = served
        .ask(Method::POST, path, &[("authorization", &token)], "")
        .await;
    assert_eq!(begun.status, 202);
    // What its owner may read can be mounted, though the token is for another repository.
    let all = served.everything().await;
    assert_eq!(
        served.push_blob(&all, "shop/base", b"base").await.status,
        201
    );
    let mount = format!("{path}?mount={}&from=shop/base", Digest::of(b"base"));
    let mounted = served
        .ask(Method::POST, &mount, &[("authorization", &token)], "")
        .await;
    assert_eq!(mounted.status, 201, "{mounted:?}");
    // Its owner may, the token may not: a new one is asked for.
    let other = served
        .ask(
            Method::POST,
            "/v2/shop/api/blobs/uploads/",
            &[("authorization", &token)],
            "",
        )
        .await;
    assert_eq!(other.status, 401);
    // One digit of the signature, changed in any case: a "0" put there would be the right one in one run of sixteen.
    let (whole, last) = token.split_at(token.len() - 1);
    let forged = format!("{whole}{}", if last == "0" { "1" } else { "0" });
    for bad in [
        forged.as_str(),
        "Bearer x.y",
        "Bearer",
        "Bearer .",
        "Basic !!!",
    ] {
        assert_eq!(served.get(bad, "/v2/").await.status, 401, "{bad}");
    }
    // A login that is taken away takes its tokens along.
    served.registry.remove_login("dev").await.unwrap();
    assert_eq!(served.get(&token, "/v2/").await.status, 401);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_project_sees_nothing_of_another_and_cannot_tell_that_it_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let mut served = Served::start(dir.path(), Settings::default()).await;
    let all = served.everything().await;
    let one = image("secret");
    assert_eq!(served.push(&all, "shop/web", "1", &one).await.status, 201);
    let blog = served.login("blog", Some("blog"), true, true).await;
    let blog = basic("blog", &blog);
    let layer = Digest::of(&one.parts[1]);
    for path in [
        "/v2/shop/web/manifests/1".to_owned(),
        "/v2/shop/none/manifests/1".to_owned(),
        format!("/v2/shop/web/blobs/{layer}"),
        "/v2/shop/web/tags/list".to_owned(),
        format!("/v2/shop/web/referrers/{}", one.digest()),
    ] {
        let answer = served.get(&blog, &path).await;
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(answer.json()["errors"][0]["code"], "NAME_UNKNOWN", "{path}");
    }
    let catalog = served.get(&blog, "/v2/_catalog").await;
    assert_eq!(catalog.json()["repositories"], serde_json::json!([]));
    let push = served.push_blob(&blog, "shop/web", b"x").await;
    assert_eq!(push.status, 403);
    // Knowing a digest is no right: a mount from a foreign repository begins an upload instead.
    let mount = format!("/v2/blog/web/blobs/uploads/?mount={layer}&from=shop/web");
    let mounted = served
        .ask(Method::POST, &mount, &[("authorization", &blog)], "")
        .await;
    assert_eq!(mounted.status, 202);
    // Nor does a stand of the other project get it, by whatever name.
    let stand = served
        .listen(Door::Stand(ProjectName::parse("blog").unwrap()))
        .await;
    let get = |path: &'static str| crate::served::ask(stand, Method::GET, path, &[], Bytes::new());
    assert_eq!(get("/v2/shop/web/manifests/1").await.status, 404);
    assert_eq!(get("/v2/").await.status, 200);
    // Shared with it, both get it, and still cannot write.
    let rules = SpaceRecord {
        shared_with: [ProjectName::parse("blog").unwrap()].into(),
        ..SpaceRecord::default()
    };
    let shop = ProjectName::parse("shop").unwrap();
    served.registry.set_space(&shop, &rules).await.unwrap();
    assert_eq!(get("/v2/shop/web/manifests/1").await.status, 200);
    assert_eq!(
        served.get(&blog, "/v2/shop/web/manifests/1").await.status,
        200
    );
    assert_eq!(served.push_blob(&blog, "shop/web", b"x").await.status, 403);
    let write = crate::served::ask(
        stand,
        Method::POST,
        "/v2/shop/web/blobs/uploads/",
        &[],
        Bytes::new(),
    );
    assert_eq!(write.await.status, 401, "a stand writes with a login only");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_pull_may_not_push_and_who_may_push_may_not_delete() {
    let dir = tempfile::tempdir().unwrap();
    let served = Served::start(dir.path(), Settings::default()).await;
    let reader = basic(
        "reader",
        &served.login("reader", Some("shop"), false, false).await,
    );
    let writer = basic(
        "writer",
        &served.login("writer", Some("shop"), true, false).await,
    );
    let one = image("rights");
    assert_eq!(
        served.push_blob(&reader, "shop/web", b"x").await.status,
        403
    );
    assert_eq!(
        served.push(&writer, "shop/web", "1", &one).await.status,
        201
    );
    assert_eq!(
        served.get(&reader, "/v2/shop/web/manifests/1").await.status,
        200
    );
    let delete = |auth: String| {
        let served = &served;
        async move {
            let path = "/v2/shop/web/manifests/1";
            served
                .ask(Method::DELETE, path, &[("authorization", &auth)], "")
                .await
        }
    };
    assert_eq!(delete(writer.clone()).await.status, 403);
    assert_eq!(delete(served.everything().await).await.status, 202);
    assert_eq!(
        served.get(&reader, "/v2/shop/web/manifests/1").await.status,
        404
    );
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_belongs_to_who_began_it_and_its_id_cannot_be_guessed() {
    let dir = tempfile::tempdir().unwrap();
    let served = Served::start(dir.path(), Settings::default()).await;
    let one = basic("one", &served.login("one", Some("shop"), true, false).await);
    let other = basic(
        "other",
        &served.login("other", Some("shop"), true, false).await,
    );
    let begin = async || {
        let headers = [("authorization", one.as_str())];
        served
            .ask(Method::POST, "/v2/shop/web/blobs/uploads/", &headers, "")
            .await
    };
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let id = begin()
            .await
            .header("location")
            .rsplit('/')
            .next()
            .unwrap()
            .to_owned();
        assert!(
            id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()),
            "{id}"
        );
        // 128 bits: no two share even their first quarter.
        assert!(ids.insert(id[..8].to_owned()));
    }
    let place = begin().await.header("location").to_owned();
    let patch = |auth: String, place: String| {
        let served = &served;
        async move {
            served
                .ask(Method::PATCH, &place, &[("authorization", &auth)], "bytes")
                .await
                .status
        }
    };
    assert_eq!(patch(other.clone(), place.clone()).await, 404);
    assert_eq!(
        patch(one.clone(), place.replace("shop/web", "shop/api")).await,
        404
    );
    assert_eq!(patch(one.clone(), place.clone()).await, 202);
    served.stop().await;
}
