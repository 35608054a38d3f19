//! Archives of images, by hand and by other people's tools.

use crate::tree::{run, tree};
use daas_image::{Digest, Silent, Store};
use daas_model::ImageName;
use std::fs;
use std::path::Path;

/// Makes a `docker save` archive of two layers in the old form.
pub(crate) fn docker_archive(dir: &Path, name: &str) -> std::path::PathBuf {
    let work = dir.join("docker-archive");
    fs::create_dir_all(work.join("one/etc")).unwrap();
    fs::create_dir_all(work.join("two/etc")).unwrap();
    fs::write(
        work.join("one/etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\n",
    )
    .unwrap();
    fs::write(work.join("one/etc/gone"), "x").unwrap();
    fs::write(work.join("two/etc/new"), "new").unwrap();
    fs::write(work.join("two/etc/.wh.gone"), "").unwrap();
    let mut diff_ids = Vec::new();
    for layer in ["one", "two"] {
        let tar = work.join(format!("{layer}.tar"));
        run(
            "tar",
            &[
                "-C",
                work.join(layer).to_str().unwrap(),
                "--owner=0",
                "--group=0",
                "-cf",
                tar.to_str().unwrap(),
                ".",
            ],
        );
        diff_ids.push(Digest::of(&fs::read(&tar).unwrap()));
    }
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{"Env":["PATH=/bin"],"Cmd":["/bin/sh"]}},"rootfs":{{"type":"layers","diff_ids":["{}","{}"]}}}}"#,
        diff_ids[0], diff_ids[1]
    );
    fs::write(work.join("config.json"), config).unwrap();
    fs::write(
        work.join("manifest.json"),
        format!(
            r#"[{{"Config":"config.json","RepoTags":["{name}"],"Layers":["one.tar","two.tar"]}}]"#
        ),
    )
    .unwrap();
    let archive = dir.join("image.tar");
    run(
        "tar",
        &[
            "-C",
            work.to_str().unwrap(),
            "-cf",
            archive.to_str().unwrap(),
            "manifest.json",
            "config.json",
            "one.tar",
            "two.tar",
        ],
    );
    archive
}

#[test]
fn root_a_docker_archive_is_loaded_unpacked_and_found_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let archive = docker_archive(dir.path(), "shop/web:1");
    let store = Store::open(&dir.path().join("store")).unwrap();
    let names = store.load(&archive, None, &Silent).unwrap();
    assert_eq!(names, [ImageName::parse("shop/web:1").unwrap()]);
    let image = store.resolve(&names[0]).unwrap().unwrap();
    assert_eq!(image.config.cmd, ["/bin/sh"]);
    assert_eq!(image.layers.len(), 2);
    let top = tree(&image.layers[1].path);
    assert!(top["etc/gone"].contains("dev=0"), "{top:?}");
    assert!(top.contains_key("etc/new"));
    assert!(tree(&image.layers[0].path).contains_key("etc/passwd"));
    assert!(
        store
            .resolve(&ImageName::parse("shop/web:2").unwrap())
            .unwrap()
            .is_none()
    );
    drop(store);
    let again = Store::open(&dir.path().join("store")).unwrap();
    assert_eq!(again.resolve(&names[0]).unwrap().unwrap(), image);
}

#[test]
fn root_what_is_saved_is_read_by_skopeo_and_by_us_and_is_the_same_each_time() {
    let dir = tempfile::tempdir().unwrap();
    let archive = docker_archive(dir.path(), "shop/web:1");
    let store = Store::open(&dir.path().join("store")).unwrap();
    let name = store.load(&archive, None, &Silent).unwrap().remove(0);
    let image = store.resolve(&name).unwrap().unwrap();
    let (first, second) = (dir.path().join("first.tar"), dir.path().join("second.tar"));
    store
        .save_file(std::slice::from_ref(&name), &first, &Silent)
        .unwrap();
    store
        .save_file(std::slice::from_ref(&name), &second, &Silent)
        .unwrap();
    assert_eq!(fs::read(&first).unwrap(), fs::read(&second).unwrap());
    let as_folder = dir.path().join("folder");
    for (kind, tag) in [("oci-archive", ":1"), ("docker-archive", "")] {
        run(
            "skopeo",
            &[
                "--insecure-policy",
                "copy",
                "--quiet",
                &format!("{kind}:{}{tag}", first.display()),
                &format!("oci:{}:x", as_folder.display()),
            ],
        );
        // What skopeo makes of it is an image with the same configuration, and a folder that we read too.
        let other = Store::open(&dir.path().join(format!("store-{kind}"))).unwrap();
        let names = other.load(&as_folder, None, &Silent).unwrap();
        assert_eq!(names[0].familiar(), "folder:x");
        assert_eq!(other.resolve(&names[0]).unwrap().unwrap().id, image.id);
        fs::remove_dir_all(&as_folder).unwrap();
    }
    let other = Store::open(&dir.path().join("other")).unwrap();
    assert_eq!(
        other.load(&first, None, &Silent).unwrap(),
        std::slice::from_ref(&name)
    );
    let again = other.resolve(&name).unwrap().unwrap();
    assert_eq!((&again.digest, &again.id), (&image.digest, &image.id));
    // A blob that rots is not passed on.
    let blob = store
        .dir()
        .join("blobs/sha256")
        .join(image.layers[0].diff_id.hex());
    let mut bytes = fs::read(&blob).unwrap();
    bytes[700] ^= 1;
    fs::write(&blob, bytes).unwrap();
    let error = store.save_file(&[name], &first, &Silent).unwrap_err();
    assert_eq!(daas_model::Explain::code(&error), "image-damaged");
    assert!(!dir.path().join("first.tar.part").exists());
}

#[test]
fn root_archives_that_are_damaged_or_lie_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let archive = docker_archive(dir.path(), "shop/web:1");
    let store = Store::open(&dir.path().join("store")).unwrap();
    let name = store.load(&archive, None, &Silent).unwrap().remove(0);
    let saved = dir.path().join("saved.tar");
    store
        .save_file(std::slice::from_ref(&name), &saved, &Silent)
        .unwrap();
    let good = fs::read(&saved).unwrap();
    let load = |bytes: &[u8], what: &str| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bad.tar");
        fs::write(&path, bytes).unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let error = store.load(&path, None, &Silent).expect_err(what);
        assert!(store.names().unwrap().is_empty());
        store.gc(&daas_image::InUse::default()).unwrap();
        assert!(
            crate::fake::files_below(&dir.path().join("store/blobs")).is_empty(),
            "{what}"
        );
        daas_model::Explain::code(&error)
    };
    assert_eq!(load(b"", "empty"), "image-archive");
    assert_eq!(
        load(b"no archive at all, only words", "words"),
        "layer-malformed"
    );
    assert_eq!(
        load(
            &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3],
            "half a gzip"
        ),
        "layer-truncated"
    );
    // Without the OCI index nothing is found, with it whatever is behind is not needed.
    let index = good.windows(10).position(|w| w == b"index.json").unwrap();
    for end in (0..index).step_by(997) {
        load(&good[..end], &format!("cut at {end}"));
    }
    for text in ["../../etc/passwd", "/etc/passwd", "nowhere"] {
        let lying = crate::fake::archive(&[(
            "manifest.json",
            format!(r#"[{{"Config":"{text}","RepoTags":["a:1"],"Layers":[]}}]"#).as_bytes(),
        )]);
        assert_eq!(load(&lying, text), "image-archive");
    }
    let mut other = good.clone();
    let at = good.windows(7).position(|w| w == b"RepoTag").unwrap();
    other[at - 600] ^= 1;
    load(&other, "changed index");
}
