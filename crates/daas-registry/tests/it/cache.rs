//! Copies of outside registries.

use crate::served::{Served, basic, image};
use daas_image::{Credential, Credentials, Digest, Registries, RegistrySettings};
use daas_registry::Settings;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_an_outside_registry_answers_when_that_is_away() {
    let (there, here) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let outside = Served::start(there.path(), Settings::default()).await;
    let secret = outside.login("house", None, true, false).await;
    let push = basic("house", &secret);
    let one = image("one");
    assert_eq!(
        outside.push(&push, "library/web", "1", &one).await.status,
        201
    );
    let host = outside.address.to_string();
    let credential = Credential::Basic {
        user: "house".into(),
        password: secret.clone(),
    };
    let mut credentials = Credentials::default();
    credentials.set(&host, credential);
    let way = Registries::new(RegistrySettings {
        retries: 0,
        credentials,
        ..RegistrySettings::default()
    });
    let settings = Settings {
        caches: [("hub".to_owned(), host)].into(),
        cache_fresh: Duration::ZERO,
        ..Settings::default()
    };
    let served = Served::start_with(here.path(), settings, way.unwrap()).await;
    let auth = basic("dev", &served.login("dev", Some("shop"), true, true).await);
    let layer = Digest::of(&one.parts[1]);
    let blob = format!("/v2/hub/library/web/blobs/{layer}");
    assert_eq!(
        served.get(&auth, &blob).await.status,
        404,
        "nobody knows yet that it has it"
    );
    let got = served.get(&auth, "/v2/hub/library/web/manifests/1").await;
    assert_eq!((got.status, &got.body[..]), (200, &one.manifest[..]));
    assert_eq!(served.get(&auth, &blob).await.body, one.parts[1]);
    // A tag that moved outside is followed.
    let two = image("two");
    assert_eq!(
        outside.push(&push, "library/web", "1", &two).await.status,
        201
    );
    let got = served.get(&auth, "/v2/hub/library/web/manifests/1").await;
    assert_eq!(&got.body[..], &two.manifest[..]);
    let no = served.get(&auth, "/v2/hub/library/none/manifests/1").await;
    assert_eq!(no.status, 404);
    let pushed = served.push_blob(&auth, "hub/library/web", b"x").await;
    assert!(pushed.status == 403 || pushed.status == 405, "{pushed:?}");
    outside.stop().await;
    let got = served.get(&auth, "/v2/hub/library/web/manifests/1").await;
    assert_eq!((got.status, &got.body[..]), (200, &two.manifest[..]));
    let by_digest = format!("/v2/hub/library/web/manifests/{}", one.digest());
    assert_eq!(served.get(&auth, &by_digest).await.status, 200);
    assert_eq!(served.get(&auth, &blob).await.body, one.parts[1]);
    // What was never fetched cannot be given.
    let unfetched = Digest::of(&two.parts[1]);
    let answer = served
        .get(&auth, &format!("/v2/hub/library/web/blobs/{unfetched}"))
        .await;
    assert_eq!(answer.status, 502);
    served.stop().await;
}
