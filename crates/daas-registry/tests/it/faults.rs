//! What must not do harm: cut connections, damage, crashes, a full disk, nasty names.

use crate::served::{Served, basic, image};
use daas_image::Digest;
use daas_registry::Settings;
use hyper::Method;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Sends the head of a chunk and only a part of its body, and goes away.
fn cut(address: SocketAddr, path: &str, auth: &str, whole: usize, part: &[u8]) {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "PATCH {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {auth}\r\nContent-Length: {whole}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(part).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    // Until the other side has noticed.
    let _ = stream.read_to_end(&mut Vec::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_is_cut_at_every_boundary_goes_on_and_comes_out_whole() {
    const CHUNK: usize = 300_000;
    let dir = tempfile::tempdir().unwrap();
    let served = Served::start(dir.path(), Settings::default()).await;
    let auth = served.everything().await;
    let content: Vec<u8> = (0..450_000u32).flat_map(u32::to_le_bytes).collect();
    let digest = Digest::of(&content);
    for wrong_by in [0, 1, CHUNK / 2] {
        let begun = served
            .ask(
                Method::POST,
                "/v2/shop/web/blobs/uploads/",
                &[("authorization", &auth)],
                "",
            )
            .await;
        let place = begun.header("location").to_owned();
        let mut sent = 0;
        while sent < content.len() {
            // Each chunk is announced whole and ends short, at its boundary or before it.
            let end = (sent + CHUNK - wrong_by).min(content.len());
            let (address, path, auth_here) = (served.address, place.clone(), auth.clone());
            let part = content[sent..end].to_vec();
            tokio::task::spawn_blocking(move || cut(address, &path, &auth_here, CHUNK * 2, &part))
                .await
                .unwrap();
            let told = served.get(&auth, &place).await;
            assert_eq!(told.status, 204, "{told:?}");
            let last: usize = told
                .header("range")
                .split_once('-')
                .unwrap()
                .1
                .parse()
                .unwrap();
            assert_eq!(last + 1, end, "what has arrived is kept");
            sent = last + 1;
        }
        let done = served
            .ask(
                Method::PUT,
                &format!("{place}?digest={digest}"),
                &[("authorization", &auth)],
                "",
            )
            .await;
        assert_eq!(done.status, 201, "{done:?}");
        let blob = served
            .get(&auth, &format!("/v2/shop/web/blobs/{digest}"))
            .await;
        assert!(blob.body == content);
    }
    assert_eq!(served.temporary(), 0);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_content_that_is_another_than_was_told_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let served = Served::start(dir.path(), Settings::default()).await;
    let auth = served.everything().await;
    for wanted in [
        Digest::of(b"other").to_string(),
        Digest::by(daas_image::Algorithm::Sha512, b"other").to_string(),
        "sha256:00".to_owned(),
        "md5:d41d8cd98f00b204e9800998ecf8427e".to_owned(),
        String::new(),
    ] {
        let path = format!("/v2/shop/web/blobs/uploads/?digest={wanted}");
        let answer = served
            .ask(Method::POST, &path, &[("authorization", &auth)], "content")
            .await;
        assert_eq!(answer.status, 400, "{wanted}");
        assert_eq!(answer.json()["errors"][0]["code"], "DIGEST_INVALID");
    }
    // Told otherwise than it was digested on the way: read once more, and taken.
    let begun = served
        .ask(
            Method::POST,
            "/v2/shop/web/blobs/uploads/",
            &[("authorization", &auth)],
            "",
        )
        .await;
    let other = Digest::by(daas_image::Algorithm::Sha512, b"content");
    let path = format!("{}?digest={other}", begun.header("location"));
    let done = served
        .ask(Method::PUT, &path, &[("authorization", &auth)], "content")
        .await;
    assert_eq!(done.status, 201, "{done:?}");
    assert_eq!(served.temporary(), 0);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_at_once_push_one_content_and_all_get_it() {
    let dir = tempfile::tempdir().unwrap();
    let served = Served::start(dir.path(), Settings::default()).await;
    let auth = served.everything().await;
    let content = vec![7; 3_000_000];
    let pushes = (0..16).map(|n| {
        let (served, auth, content) = (&served, &auth, &content);
        async move {
            let repository = format!("shop/n{}", n % 4);
            served.push_blob(auth, &repository, content).await.status
        }
    });
    let statuses = futures_util::future::join_all(pushes).await;
    assert_eq!(statuses, [201; 16]);
    let digest = Digest::of(&content);
    for n in 0..4 {
        let blob = served
            .get(&auth, &format!("/v2/shop/n{n}/blobs/{digest}"))
            .await;
        assert!(blob.body == content);
    }
    assert_eq!(served.temporary(), 0);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_content_that_rots_on_disk_is_never_served_and_a_new_push_heals_it() {
    let dir = tempfile::tempdir().unwrap();
    let served = Served::start(dir.path(), Settings::default()).await;
    let auth = served.everything().await;
    let one = image("rot");
    assert_eq!(served.push(&auth, "shop/web", "1", &one).await.status, 201);
    let layer = Digest::of(&one.parts[1]);
    let path = format!("/v2/shop/web/blobs/{layer}");
    let file = served.images.dir().join("blobs/sha256").join(layer.hex());
    assert_eq!(served.get(&auth, &path).await.status, 200);
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[3] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    let part = served
        .ask(
            Method::GET,
            &path,
            &[("authorization", &auth), ("range", "bytes=5-6")],
            "",
        )
        .await;
    assert_eq!(part.status, 500, "not even a part that is right");
    assert!(!part.body.windows(3).any(|w| w == &bytes[2..5]));
    assert_eq!(served.get(&auth, &path).await.status, 404);
    assert_eq!(
        served
            .ask(Method::HEAD, &path, &[("authorization", &auth)], "")
            .await
            .status,
        404
    );
    assert_eq!(served.push(&auth, "shop/web", "1", &one).await.status, 201);
    assert_eq!(served.get(&auth, &path).await.body, one.parts[1]);
    // One that became shorter, and a manifest.
    std::fs::write(&file, b"x").unwrap();
    assert_eq!(served.get(&auth, &path).await.status, 404);
    let manifest = served
        .images
        .dir()
        .join("blobs/sha256")
        .join(one.digest().hex());
    let text = String::from_utf8(one.manifest.clone()).unwrap();
    std::fs::write(&manifest, text.replace("layer", "lover")).unwrap();
    let answer = served.get(&auth, "/v2/shop/web/manifests/1").await;
    assert_eq!(answer.status, 500, "{answer:?}");
    assert!(!String::from_utf8_lossy(&answer.body).contains("lover"));
    assert_eq!(served.push(&auth, "shop/web", "1", &one).await.status, 201);
    assert_eq!(
        served.get(&auth, "/v2/shop/web/manifests/1").await.body,
        one.manifest
    );
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_in_the_middle_of_an_upload_loses_nothing_acknowledged_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let served = Served::start(dir.path(), Settings::default()).await;
    let secret = served.login("dev", None, true, true).await;
    let auth = basic("dev", &secret);
    let one = image("kept");
    assert_eq!(served.push(&auth, "shop/web", "1", &one).await.status, 201);
    assert_eq!(
        served
            .push_blob(&auth, "shop/web", b"no manifest yet")
            .await
            .status,
        201
    );
    let begun = served
        .ask(
            Method::POST,
            "/v2/shop/web/blobs/uploads/",
            &[("authorization", &auth)],
            "",
        )
        .await;
    let place = begun.header("location").to_owned();
    let patched = served
        .ask(
            Method::PATCH,
            &place,
            &[("authorization", &auth)],
            vec![1; 100_000],
        )
        .await;
    assert_eq!(patched.status, 202);
    assert_eq!(served.temporary(), 1);
    served.stop().await;
    // What a kill leaves: the file of an upload that nobody knows any more.
    std::fs::write(dir.path().join("images/tmp/77"), vec![1; 100_000]).unwrap();
    let served = Served::start(dir.path(), Settings::default()).await;
    assert_eq!(served.temporary(), 0);
    assert_eq!(
        served
            .ask(Method::PATCH, &place, &[("authorization", &auth)], "x")
            .await
            .status,
        404
    );
    assert_eq!(
        served.get(&auth, "/v2/shop/web/manifests/1").await.body,
        one.manifest
    );
    for content in one
        .parts
        .iter()
        .map(Vec::as_slice)
        .chain([&b"no manifest yet"[..]])
    {
        let path = format!("/v2/shop/web/blobs/{}", Digest::of(content));
        assert_eq!(served.get(&auth, &path).await.body, content);
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_nobody_goes_on_with_ends() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings {
        upload_idle: Duration::ZERO,
        uploads: 2,
        ..Settings::default()
    };
    let served = Served::start(dir.path(), settings).await;
    let auth = served.everything().await;
    let begin = async || {
        let headers = [("authorization", auth.as_str())];
        served
            .ask(Method::POST, "/v2/shop/web/blobs/uploads/", &headers, "")
            .await
    };
    let place = begin().await.header("location").to_owned();
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(served.registry.sweep_uploads(), 0);
    assert_eq!(
        (served.temporary(), served.get(&auth, &place).await.status),
        (0, 404)
    );
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_digests_of_every_nasty_kind_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let served = Served::start(dir.path(), Settings::default()).await;
    let auth = served.everything().await;
    let good = Digest::of(b"x");
    let before = std::fs::read_dir(dir.path()).unwrap().count();
    for name in [
        "..",
        "../..",
        "shop/..",
        "shop/../etc",
        ".",
        "shop/.",
        "shop//web",
        "/shop",
        "Shop",
        "shop/web_",
        "shop/%2e%2e",
        "shop%2fweb",
        "%00",
        "shop/w%c3%a9b",
        "a___b",
        "-",
        "_",
        "shop/web:1",
        "blobs",
        "a/blobs/uploads",
        "a/manifests",
        "a/b/tags/list",
        &"a".repeat(300),
        &"a/".repeat(100),
    ] {
        for path in [
            format!("/v2/{name}/manifests/1"),
            format!("/v2/{name}/blobs/{good}"),
            format!("/v2/{name}/tags/list"),
        ] {
            let answer = served.get(&auth, &path).await;
            assert!((400..=405).contains(&answer.status), "{path}: {answer:?}");
        }
        let path = format!("/v2/{name}/blobs/uploads/?digest={good}");
        let answer = served
            .ask(Method::POST, &path, &[("authorization", &auth)], "x")
            .await;
        assert!(
            (400..=405).contains(&answer.status)
                || name.starts_with("blobs")
                || name.starts_with("a/"),
            "{path}: {answer:?}"
        );
    }
    for reference in [
        "..",
        ".",
        "-x",
        ".x",
        "a%2fb",
        "sha256:../../../etc/passwd",
        "sha256:",
        "sha1:00",
        "sha256:ABCDEF",
        &format!("sha256:{}", "g".repeat(64)),
        &"t".repeat(129),
        "a:b",
        "%00",
        "é",
    ] {
        let reference = reference.replace('é', "%c3%a9");
        for method in [Method::GET, Method::PUT, Method::DELETE] {
            let path = format!("/v2/shop/web/manifests/{reference}");
            let answer = served
                .ask(method, &path, &[("authorization", &auth)], "{}")
                .await;
            assert!((400..=404).contains(&answer.status), "{path}: {answer:?}");
        }
        let answer = served
            .get(&auth, &format!("/v2/shop/web/blobs/{reference}"))
            .await;
        assert!(
            (400..=404).contains(&answer.status),
            "{reference}: {answer:?}"
        );
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), before);
    served.stop().await;
}

/// A file system of its own that is soon full; unmounted when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let status = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=8m", "daas-registry-test"])
            .arg(dir.path())
            .status()
            .unwrap();
        assert!(status.success());
        Self(dir)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount")
            .arg(self.0.path())
            .status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn root_a_full_disk_is_told_and_everything_that_was_there_stays() {
    let disk = SmallDisk::mount();
    let served = Served::start(disk.0.path(), Settings::default()).await;
    let auth = served.everything().await;
    let one = image("full");
    assert_eq!(served.push(&auth, "shop/web", "1", &one).await.status, 201);
    let over = served
        .push_blob(&auth, "shop/web", &vec![1; 20 << 20])
        .await;
    assert_eq!(over.status, 507, "{over:?}");
    assert!(!String::from_utf8_lossy(&over.body).contains(disk.0.path().to_str().unwrap()));
    assert_eq!(
        served.temporary(),
        0,
        "what was written of it is given back"
    );
    let headers = [("authorization", auth.as_str())];
    let begun = served
        .ask(Method::POST, "/v2/shop/web/blobs/uploads/", &headers, "")
        .await;
    let place = begun.header("location").to_owned();
    let over = served
        .ask(Method::PATCH, &place, &headers, vec![1; 20 << 20])
        .await;
    assert_eq!((over.status, served.temporary()), (507, 0));
    assert_eq!(
        served
            .push_blob(&auth, "shop/web", &vec![1; 1 << 20])
            .await
            .status,
        201
    );
    assert_eq!(
        served.get(&auth, "/v2/shop/web/manifests/1").await.body,
        one.manifest
    );
    served.stop().await;
}
