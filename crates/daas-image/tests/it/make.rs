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
