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
