//! Images from Debian's packages, made by the real mmdebstrap.

use crate::tree::tree;
use daas_image::{Event, ImageConfig, MakeRequest, Store};
use daas_model::ImageName;
use std::path::Path;
use std::sync::{Arc, Mutex};

fn request(dir: &Path, name: &str) -> MakeRequest {
    MakeRequest {
        base: "debian:bookworm".into(),
        packages: vec!["redis-server".into()],
        name: Some(ImageName::parse(name).unwrap()),
        copies: vec![
            (dir.join("site"), "/srv/site".into()),
            (dir.join("tool"), "/usr/local/bin/".into()),
            (dir.join("tool"), "/bin/tool2".into()),
        ],
        config: ImageConfig {
            user: "redis".into(),
            entrypoint: vec!["/usr/bin/redis-server".into()],
            exposed_ports: vec!["6379/tcp".into()],
            ..ImageConfig::default()
        },
        cache: Some(dir.join("cache")),
        ..MakeRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn root_the_same_packages_make_the_same_layer_and_a_usable_image() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("site/css")).unwrap();
    std::fs::write(dir.path().join("site/css/a.css"), "a").unwrap();
    std::os::unix::fs::symlink("css/a.css", dir.path().join("site/link")).unwrap();
    std::fs::write(dir.path().join("tool"), "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(
        dir.path().join("tool"),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let mut digests = Vec::new();
    for run in 0..2 {
        // Two stores, as on two machines.
        let store = Store::open(&dir.path().join(format!("store{run}"))).unwrap();
        let events = Arc::new(Mutex::new(Vec::<Event>::new()));
        let sink = Arc::clone(&events);
        let image = store
            .make(
                request(dir.path(), "demo/redis:1"),
                Arc::new(move |e| sink.lock().unwrap().push(e)),
            )
            .await
            .unwrap();
        let steps: Vec<String> = events
            .lock()
            .unwrap()
            .iter()
            .map(|e| e.piece.clone())
            .collect();
        assert!(
            steps.iter().any(|s| s == "installing packages"),
            "{steps:?}"
        );
        image.check_root().unwrap();
        let user = image.lookup_user(&image.config.user, &["audio"]).unwrap();
        assert_eq!(
            (user.home.as_str(), user.name.as_deref()),
            ("/var/lib/redis", Some("redis"))
        );
        assert!(user.uid > 0 && user.groups.contains(&29) && user.groups.contains(&user.gid));
        let files = tree(&image.layers[0].path);
        assert!(
            files["srv/site/css/a.css"].starts_with("100644 0:0 t=1735689600."),
            "{}",
            files["srv/site/css/a.css"]
        );
        assert!(files["srv/site/link"].ends_with("-> css/a.css"));
        assert!(files["usr/local/bin/tool"].starts_with("100755 0:0"));
        // /bin is a link to usr/bin in Debian: the copy goes where it leads.
        assert!(files.contains_key("usr/bin/tool2"));
        for gone in [
            "etc/resolv.conf",
            "etc/hostname",
            "etc/apt/apt.conf.d/99mmdebstrap",
            "dev/null",
        ] {
            assert!(!files.contains_key(gone), "{gone}");
        }
        assert!(!files.keys().any(|f| f.ends_with(".deb")));
        assert_eq!(
            std::fs::read_dir(store.dir().join("tmp")).unwrap().count(),
            0
        );
        digests.push((image.layers[0].diff_id.clone(), image.digest, files));
    }
    let differing: Vec<_> = digests[0]
        .2
        .iter()
        .filter(|(k, v)| digests[1].2.get(*k) != Some(v))
        .collect();
    assert!(differing.is_empty(), "{differing:#?}");
    assert_eq!(digests[0].0, digests[1].0);
    assert_eq!(digests[0].1, digests[1].1);
    assert!(std::fs::read_dir(dir.path().join("cache")).unwrap().count() > 50);
}

/// The processes that have `word` among their arguments.
fn processes_with(word: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        // A process that ends meanwhile is none.
        let Ok(line) = std::fs::read(entry.path().join("cmdline")) else {
            continue;
        };
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(word) {
            found.push(line);
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn root_a_make_that_fails_or_is_dropped_leaves_nothing() {
    use daas_model::Explain;
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store")).unwrap();
    let base = || MakeRequest {
        base: "debian:bookworm".into(),
        ..MakeRequest::default()
    };
    let absent = MakeRequest {
        packages: vec!["no-such-package-anywhere".into()],
        ..base()
    };
    let error = store
        .make(absent, Arc::new(daas_image::Silent))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "image-make-unknown");
    assert_eq!(
        error.to_string(),
        "cannot make the image: debian bookworm has no package `no-such-package-anywhere`"
    );
    let escaping = MakeRequest {
        copies: vec![(dir.path().join("store"), "/../x".into())],
        base: "debian:../x".into(),
        ..MakeRequest::default()
    };
    assert_eq!(
        store
            .make(escaping, Arc::new(daas_image::Silent))
            .await
            .unwrap_err()
            .code(),
        "image-make-request"
    );
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let progress = move |event: Event| {
        let _ = sender.send(event.piece);
    };
    {
        let mut making = Box::pin(store.make(base(), Arc::new(progress)));
        loop {
            tokio::select! {
                made = &mut making => panic!("it was not dropped in time: {made:?}"),
                piece = receiver.recv() => if piece.as_deref() == Some("extracting the base") { break },
            }
        }
        let path = store.dir().join("tmp");
        assert!(!processes_with(path.to_str().unwrap()).is_empty());
    }
    let tmp = store.dir().join("tmp");
    while std::fs::read_dir(&tmp).unwrap().count() > 0 {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(processes_with(tmp.to_str().unwrap()), Vec::<String>::new());
    assert!(
        !std::fs::read_to_string("/proc/self/mountinfo")
            .unwrap()
            .contains(tmp.to_str().unwrap())
    );
    assert!(store.names().unwrap().is_empty());
    store.gc(&daas_image::InUse::default()).unwrap();
    assert!(crate::fake::files_below(&store.dir().join("blobs")).is_empty());
}
