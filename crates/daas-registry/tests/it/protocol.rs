//! The protocol, case by case.

use crate::served::Served;
use daas_image::Digest;
use daas_registry::Settings;
use hyper::Method;

/// Serves for the official conformance suite: `DAAS_CONFORMANCE=/path/of/the/built/suite`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the official suite, which is built outside; `cargo xtask soak registry-conformance` runs it too"]
async fn the_official_suite_finds_no_fault() {
    let suite = std::env::var("DAAS_CONFORMANCE").expect("DAAS_CONFORMANCE names the suite");
    let dir = tempfile::tempdir().unwrap();
    let served = Served::start(dir.path(), Settings::default()).await;
    let secret = served.login("suite", None, true, true).await;
    let status = tokio::process::Command::new(suite)
        .current_dir(dir.path())
        .env("OCI_REGISTRY", served.address.to_string())
        .env("OCI_TLS", "disabled")
        .env("OCI_REPO1", "conformance/repo1")
        .env("OCI_REPO2", "conformance/repo2")
        .env("OCI_USERNAME", "suite")
        .env("OCI_PASSWORD", secret)
        .env(
            "OCI_RESULTS_DIR",
            std::env::var("DAAS_RESULTS").unwrap_or("results".into()),
        )
        .status()
        .await
        .unwrap();
    assert!(status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pushed_in_chunks_is_pulled_whole_in_parts_and_not_again() {
    let dir = tempfile::tempdir().unwrap();
    let served = Served::start(dir.path(), Settings::default()).await;
    let auth = served.everything().await;
    let auth = ("authorization", auth.as_str());
    let begun = served
        .ask(Method::POST, "/v2/shop/web/blobs/uploads/", &[auth], "")
        .await;
    assert_eq!(begun.status, 202, "{begun:?}");
    let place = begun.header("location").to_owned();
    let content: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
    let (one, two) = content.split_at(123_456);
    let sent = served
        .ask(
            Method::PATCH,
            &place,
            &[auth, ("content-range", "0-123455")],
            one.to_vec(),
        )
        .await;
    assert_eq!((sent.status, sent.header("range")), (202, "0-123455"));
    let wrong = served
        .ask(
            Method::PATCH,
            &place,
            &[auth, ("content-range", "5-9")],
            "wrong",
        )
        .await;
    assert_eq!((wrong.status, wrong.header("range")), (416, "0-123455"));
    let digest = Digest::of(&content);
    let done = served
        .ask(
            Method::PUT,
            &format!("{place}?digest={digest}"),
            &[auth],
            two.to_vec(),
        )
        .await;
    assert_eq!(done.status, 201, "{done:?}");
    let blob = format!("/v2/shop/web/blobs/{digest}");
    let got = served.ask(Method::GET, &blob, &[auth], "").await;
    assert!(got.status == 200 && got.body == content);
    let part = served
        .ask(Method::GET, &blob, &[auth, ("range", "bytes=7-16")], "")
        .await;
    assert_eq!((part.status, &part.body[..]), (206, &content[7..17]));
    let same = format!("\"{digest}\"");
    let not = served
        .ask(Method::GET, &blob, &[auth, ("if-none-match", &same)], "")
        .await;
    assert_eq!((not.status, not.body.len()), (304, 0));
    served.stop().await;
}
