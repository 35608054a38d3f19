//! Layers that want out, and layers that want to be too much (threats S1, S7, S21; fault F9).

use crate::fake::{archive, archive_of, entry, files_below, image, link};
use crate::tree::tree;
use daas_image::tar::{Entry, EntryKind};
use daas_image::{Budget, Digest, ImageError, InUse, LayerError, Silent, Store, unpack};
use daas_model::{ByteSize, Explain, ImageName};
use std::fs;
use std::path::Path;

/// Unpacks below `<dir>/prison/root`, with something worth stealing beside it, and asserts that nothing outside has changed.
fn try_escape(entries: &[Entry]) -> Result<std::collections::BTreeMap<String, String>, LayerError> {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("prison/root");
    fs::create_dir_all(&root).unwrap();
    fs::write(dir.path().join("passwd"), "root:x:0:0").unwrap();
    fs::write(dir.path().join("prison/secret"), "secret").unwrap();
    fs::create_dir(dir.path().join("prison/folder")).unwrap();
    let outside = |dir: &Path| {
        let mut all = tree(dir);
        all.retain(|name, _| !name.starts_with("prison/root"));
        all
    };
    let before = outside(dir.path());
    let bytes = archive_of(entries);
    let result = unpack(bytes.as_slice(), &root, &Budget::default());
    assert_eq!(outside(dir.path()), before, "something outside has changed");
    result.map(|_| tree(&root))
}

fn file(path: &str) -> Entry {
    entry(EntryKind::File, path, 5)
}

fn dir(path: &str) -> Entry {
    entry(EntryKind::Directory, path, 0)
}

fn symlink(path: &str, target: &str) -> Entry {
    link(EntryKind::Symlink, path, target)
}

fn hard(path: &str, target: &str) -> Entry {
    link(EntryKind::HardLink, path, target)
}

fn code(result: Result<std::collections::BTreeMap<String, String>, LayerError>) -> &'static str {
    result.expect_err("must be refused").code()
}

#[test]
fn root_names_with_dots_are_refused() {
    for path in [
        "../passwd",
        "a/../../passwd",
        "..",
        "a/..",
        "./../x",
        "/../x",
        "a/../b",
    ] {
        assert_eq!(
            code(try_escape(&[file(path)])),
            "layer-path-escapes",
            "{path}"
        );
        assert_eq!(
            code(try_escape(&[file("a"), hard("b", path)])),
            "layer-path-escapes",
            "{path}"
        );
    }
    for path in [".wh...", ".wh..", ".wh.", "a/.wh..", "a/.wh..."] {
        assert_eq!(
            code(try_escape(&[file(path)])),
            "layer-path-escapes",
            "{path}"
        );
    }
}

#[test]
fn root_absolute_names_land_inside() {
    let made = try_escape(&[
        file("/etc/passwd"),
        file("//deep//er/./x"),
        hard("/h", "/etc/passwd"),
    ])
    .unwrap();
    assert!(
        made.contains_key("etc/passwd")
            && made.contains_key("deep/er/x")
            && made["h"].contains("same-as=etc/passwd")
    );
}

#[test]
fn root_links_are_followed_inside_only() {
    let outward = [
        "/",
        "..",
        "../..",
        "../../..",
        "/prison",
        "../folder",
        "/tmp",
    ];
    for target in outward {
        let made = try_escape(&[
            symlink("out", target),
            file("out/passwd"),
            dir("out/folder"),
            file("out/folder/new"),
            file("out/secret"),
        ]);
        if let Ok(made) = made {
            assert!(
                made.keys().any(|k| k.ends_with("folder/new")),
                "{target}: {made:?}"
            );
        }
    }
    // A link that is swapped in after its folder was made and walked.
    let made = try_escape(&[
        dir("a"),
        file("a/x"),
        symlink("a", "../folder"),
        file("a/y"),
        file("a/z"),
    ])
    .unwrap();
    assert!(
        made.contains_key("folder/y") && !made.contains_key("a/x"),
        "{made:?}"
    );
    // Through several links, in a ring, to itself.
    assert_eq!(
        code(try_escape(&[
            symlink("a", "b"),
            symlink("b", "a"),
            file("a/x")
        ])),
        "layer-entry-impossible"
    );
    assert_eq!(
        code(try_escape(&[symlink("a", "a"), file("a/x")])),
        "layer-entry-impossible"
    );
    let made = try_escape(&[symlink("a", "b/c"), symlink("b", "/d"), file("a/x")]).unwrap();
    assert!(made.contains_key("d/c/x"), "{made:?}");
    // A file where a link is replaces the link and not what it leads to.
    let made = try_escape(&[symlink("p", "../secret"), file("p")]).unwrap();
    assert!(made["p"].contains("size=5"));
    // The times and modes of a folder that is a link by now.
    let made = try_escape(&[dir("d"), symlink("d", "../folder"), dir("d")]).unwrap();
    assert!(made["d"].starts_with("40755"));
}

#[test]
fn root_hard_links_reach_nothing_outside() {
    for target in [
        "/prison/secret",
        "secret",
        "/etc/passwd",
        "x/secret",
        "out/secret",
    ] {
        assert_eq!(
            code(try_escape(&[symlink("out", ".."), hard("stolen", target)])),
            "layer-entry-impossible",
            "{target}"
        );
    }
    // To a link: the link itself has two names, what it leads to is not touched.
    let made = try_escape(&[symlink("l", "../secret"), hard("m", "l"), file("m")]).unwrap();
    assert!(made["m"].contains("size=5") && made["l"].ends_with("-> ../secret"));
    assert_eq!(
        code(try_escape(&[dir("d"), hard("e", "d")])),
        "layer-entry-impossible"
    );
    assert_eq!(
        code(try_escape(&[hard("self", "self")])),
        "layer-entry-impossible"
    );
    let made = try_escape(&[file("f"), hard("f", "f"), hard("./f", "/f")]).unwrap();
    assert!(made["f"].contains("size=5"));
    assert_eq!(
        code(try_escape(&[file("f"), file(".wh.f2"), hard("g", "f2")])),
        "layer-entry-impossible"
    );
}

#[test]
fn root_devices_and_setuid_are_exact_and_reserved_attributes_are_left_out() {
    let mut disk = entry(EntryKind::BlockDevice, "dev/disk", 0);
    disk.device = (8, 17);
    disk.mode = 0o666;
    let mut suid = file("suid");
    suid.mode = 0o6755;
    (suid.uid, suid.gid) = (70_000, 4_000_000_000);
    suid.xattrs = vec![
        (b"trusted.overlay.redirect".to_vec(), b"/etc".to_vec()),
        (b"trusted.overlay.opaque".to_vec(), b"y".to_vec()),
        (b"user.overlay.opaque".to_vec(), b"y".to_vec()),
        (b"security.selinux".to_vec(), b"x".to_vec()),
        (b"user.fine".to_vec(), b"yes".to_vec()),
    ];
    let mut folder = dir("redirected");
    folder.xattrs = vec![
        (b"trusted.overlay.opaque".to_vec(), b"y".to_vec()),
        (b"trusted.overlay.redirect".to_vec(), b"/".to_vec()),
    ];
    let dir = tempfile::tempdir().unwrap();
    let bytes = archive_of(&[disk, suid, folder]);
    let applied = unpack(bytes.as_slice(), dir.path(), &Budget::default()).unwrap();
    let made = tree(dir.path());
    assert!(made["dev/disk"].starts_with("60666 0:0") && made["dev/disk"].ends_with("dev=811"));
    assert!(
        made["suid"].starts_with("106755 65534:65534")
            && made["suid"].ends_with("user.fine=[121, 101, 115]"),
        "{}",
        made["suid"]
    );
    assert!(
        !made
            .values()
            .any(|l| l.contains("overlay") || l.contains("selinux"))
    );
    assert_eq!((applied.clamped_owners, applied.dropped_xattrs), (1, 6));
}

#[test]
fn root_whiteouts_become_what_overlayfs_wants() {
    let made = try_escape(&[
        dir("opaque"),
        file("opaque/.wh..wh..opq"),
        file("opaque/new"),
        file(".wh.gone"),
        file(".wh..wh.plnk"),
        // Hidden and made again in one layer, in both orders: what the layer has stays, what is below does not.
        file(".wh.before"),
        dir("before"),
        file("before/x"),
        dir("after"),
        file("after/x"),
        file(".wh.after"),
        file("plain"),
        file(".wh.plain"),
        // A whiteout of a parent of what follows.
        file("p/.wh.q"),
        file("p/q/r"),
        // A file that becomes a folder hides the lower folder.
        file("turned"),
        dir("turned"),
    ])
    .unwrap();
    for name in ["opaque", "before", "after", "p/q", "turned"] {
        assert!(
            made[name].contains("trusted.overlay.opaque=[121]"),
            "{name}: {}",
            made[name]
        );
    }
    assert!(made["gone"].starts_with("20000 0:0") && made["gone"].ends_with("dev=0"));
    assert!(
        made.contains_key("before/x")
            && made.contains_key("after/x")
            && made.contains_key("p/q/r")
            && made["plain"].contains("size=5")
    );
    assert!(!made.keys().any(|k| k.contains(".wh.")));
    assert!(!made["p"].contains("opaque"));
}

#[test]
fn root_of_equal_names_the_last_one_stays() {
    let mut first = file("f");
    first.mode = 0o4755;
    let made = try_escape(&[
        first,
        hard("g", "f"),
        entry(EntryKind::File, "f", 9),
        dir("d"),
        file("d/x"),
        file("d"),
        file("e"),
        dir("e"),
        file("e/y"),
        symlink("l", "x"),
        symlink("l", "y"),
        entry(EntryKind::Fifo, "l", 0),
    ])
    .unwrap();
    assert!(
        made["f"].starts_with("100644")
            && made["f"].contains("size=9")
            && !made["f"].contains("same-as")
    );
    assert!(made["g"].starts_with("104755") && made["g"].contains("size=5"));
    assert!(made["d"].contains("size=5") && !made.contains_key("d/x") && made.contains_key("e/y"));
    assert!(made["l"].starts_with("10644"));
}

#[test]
fn root_more_than_the_budget_is_stopped_on_the_way() {
    let dir = tempfile::tempdir().unwrap();
    let tight = Budget {
        entries: 50,
        bytes: ByteSize::mib(1),
        ratio: 20,
        ratio_after: ByteSize(64 << 10),
        path: 300,
        depth: 20,
        ..Budget::default()
    };
    let root = |n: usize| {
        let root = dir.path().join(n.to_string());
        fs::create_dir(&root).unwrap();
        root
    };
    let deep = "d/".repeat(30);
    let many: Vec<Entry> = (0..60).map(|n| file(&format!("f{n}"))).collect();
    let zeros = archive(&[("zeros", &vec![0; 900_000])]);
    let gzip = gzip(&zeros);
    let zstd = zstd::encode_all(zeros.as_slice(), 19).unwrap();
    for (n, (bytes, what)) in [
        (archive_of(&many), "entries"),
        (archive(&[("big", &vec![7; 2 << 20])]), "bytes"),
        (archive_of(&[file(&format!("{deep}x"))]), "parts in a name"),
        (
            archive_of(&[file(&format!(
                "a/{}",
                "b".repeat(290) + "/" + &"c".repeat(30)
            ))]),
            "bytes in a name",
        ),
        (gzip, "times the size of the compressed content"),
        (zstd, "times the size of the compressed content"),
    ]
    .into_iter()
    .enumerate()
    {
        match unpack(bytes.as_slice(), &root(n), &tight) {
            Err(LayerError::TooMuch { what: got, .. }) => assert_eq!(got, what),
            other => panic!("{what}: {other:?}"),
        }
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn root_a_bomb_takes_neither_memory_nor_disk() {
    // 400 MB of zeros in 400 KB, as the reference has measured it.
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let mut writer = daas_image::tar::Writer::new(&mut encoder);
    writer
        .entry(
            &entry(EntryKind::File, "zeros", 400 << 20),
            &mut std::io::repeat(0),
        )
        .unwrap();
    writer.finish().unwrap();
    let bomb = encoder.finish().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let error = unpack(bomb.as_slice(), dir.path(), &Budget::default()).unwrap_err();
    assert_eq!(error.code(), "layer-too-large");
    let written = fs::metadata(dir.path().join("zeros")).unwrap().len();
    assert!(written < (130 << 20) + 200 * bomb.len() as u64, "{written}");
}

/// Loads an image of one layer through a store, which must stay as it was if the layer is refused.
fn load(
    layers: &[Vec<u8>],
    change: impl Fn(&str) -> String,
) -> Result<daas_image::Image, ImageError> {
    let dir = tempfile::tempdir().unwrap();
    let made = image(layers);
    let folder = dir.path().join("image");
    fs::create_dir(&folder).unwrap();
    let mut names = Vec::new();
    for (n, layer) in layers.iter().enumerate() {
        fs::write(folder.join(format!("{n}.tar")), layer).unwrap();
        names.push(format!("\"{n}.tar\""));
    }
    fs::write(
        folder.join("config.json"),
        change(std::str::from_utf8(&made.blobs[&made.config]).unwrap()),
    )
    .unwrap();
    fs::write(
        folder.join("manifest.json"),
        format!(
            r#"[{{"Config":"config.json","RepoTags":["x:1"],"Layers":[{}]}}]"#,
            names.join(",")
        ),
    )
    .unwrap();
    let store = Store::open(&dir.path().join("store")).unwrap();
    let name = ImageName::parse("x:1").unwrap();
    let loaded = store.load(&folder, None, &Silent);
    let image = store.resolve(&name).unwrap();
    match loaded {
        Ok(_) => {
            let image = image.unwrap();
            image.check_root()?;
            Ok(image)
        }
        Err(error) => {
            assert!(image.is_none());
            store.gc(&InUse::default()).unwrap();
            for part in ["blobs", "layers", "names", "tmp", "partial"] {
                assert!(files_below(&store.dir().join(part)).is_empty(), "{part}");
            }
            Err(error)
        }
    }
}

#[test]
fn root_an_image_whose_dev_proc_or_sys_is_no_folder_is_refused() {
    for name in ["dev", "proc", "sys"] {
        for bad in [
            symlink(name, "/host"),
            symlink(name, "../../../x"),
            file(name),
            entry(EntryKind::Fifo, name, 0),
        ] {
            let error = load(&[archive_of(std::slice::from_ref(&bad))], str::to_owned).unwrap_err();
            assert_eq!(error.code(), "image-root-unsafe", "{bad:?}");
        }
        // Over a good one, by a second layer.
        assert_eq!(
            load(
                &[archive_of(&[dir(name)]), archive_of(&[symlink(name, "/x")])],
                str::to_owned
            )
            .unwrap_err()
            .code(),
            "image-root-unsafe"
        );
        load(
            &[archive_of(&[symlink(name, "/x")]), archive_of(&[dir(name)])],
            str::to_owned,
        )
        .unwrap();
        load(
            &[
                archive_of(&[dir(name)]),
                archive_of(&[file(&format!(".wh.{name}"))]),
            ],
            str::to_owned,
        )
        .unwrap();
    }
    let image = load(
        &[archive_of(&[
            dir("srv"),
            symlink("srv/data", "/etc"),
            file("srv/file"),
        ])],
        str::to_owned,
    );
    drop(image);
}

#[test]
fn root_places_for_mounts_are_judged_part_by_part() {
    let dir_ = tempfile::tempdir().unwrap();
    let store = Store::open(&dir_.path().join("store")).unwrap();
    let made = image(&[archive_of(&[
        dir("srv"),
        symlink("srv/data", "/etc"),
        file("srv/file"),
        dir("etc"),
    ])]);
    let folder = dir_.path().join("i");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("0.tar"), &made.blobs[&made.layers[0]]).unwrap();
    fs::write(folder.join("config.json"), &made.blobs[&made.config]).unwrap();
    fs::write(
        folder.join("manifest.json"),
        r#"[{"Config":"config.json","Layers":["0.tar"]}]"#,
    )
    .unwrap();
    let name = store.load(&folder, None, &Silent).unwrap().remove(0);
    assert_eq!(name.familiar(), "i:latest");
    let image = store.resolve(&name).unwrap().unwrap();
    for (path, directory, good) in [
        ("/srv", true, true),
        ("/srv/new/deeper", true, true),
        ("/srv/data", true, false),
        ("/srv/data/x", true, false),
        ("/srv/file", false, true),
        ("/srv/file", true, false),
        ("/srv/file/x", false, false),
        ("/", true, true),
    ] {
        assert_eq!(
            image.check_mount_target(path, directory).is_ok(),
            good,
            "{path}"
        );
    }
}

#[test]
fn root_layers_that_are_not_what_the_configuration_says_never_appear() {
    let layer = archive(&[("a", b"a")]);
    let other = Digest::of(b"other").to_string();
    let good = Digest::of(&layer).to_string();
    let error = load(std::slice::from_ref(&layer), |c| c.replace(&good, &other)).unwrap_err();
    assert_eq!(error.code(), "layer-diff-id-mismatch");
    for cut in [0, 1, 511, 512, 513, 1000, 1024, 1500] {
        // Refused by its digest at the latest, whatever of it can be read.
        assert!(
            load(&[layer[..cut].to_vec()], |c| c
                .replace(&Digest::of(&layer[..cut]).to_string(), &good))
            .is_err(),
            "{cut}"
        );
    }
    assert!(
        load(std::slice::from_ref(&layer), |c| c
            .replace("\"layers\"", "\"snapshots\""))
        .is_err()
    );
    assert!(
        load(std::slice::from_ref(&layer), |c| c
            .replace(&format!("\"{good}\""), ""))
        .is_err()
    );
    load(&[layer], str::to_owned).unwrap();
}

#[test]
fn root_a_layer_that_leans_on_lower_ones_is_unpacked_above_them() {
    let mut usr = dir("usr");
    (usr.mode, usr.uid, usr.mtime) = (0o2751, 7, 77);
    let lower = archive_of(&[
        usr,
        dir("usr/lib"),
        file("usr/lib/old"),
        symlink("lib", "usr/lib"),
        dir("hidden"),
        file("hidden/x"),
    ]);
    // No entry for usr, a path through the lower layer's link, a hard link to a lower file, and a hidden folder made again.
    let upper = archive_of(&[
        file("usr/new"),
        file("lib/through"),
        hard("usr/again", "usr/lib/old"),
        file(".wh.hidden"),
        file("hidden/y"),
    ]);
    let image = load(&[lower.clone(), upper.clone()], str::to_owned).unwrap();
    assert!(
        image.layers[1]
            .path
            .parent()
            .unwrap()
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with("chain-")
    );
    // The same layer over another one is another tree.
    let alone = load(std::slice::from_ref(&upper), str::to_owned).unwrap_err();
    assert_eq!(alone.code(), "layer-entry-impossible");
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store")).unwrap();
    let folder = dir.path().join("i");
    fs::create_dir(&folder).unwrap();
    let made = crate::fake::image(&[lower, upper]);
    for (n, layer) in made.layers.iter().enumerate() {
        fs::write(folder.join(format!("{n}.tar")), &made.blobs[layer]).unwrap();
    }
    fs::write(folder.join("config.json"), &made.blobs[&made.config]).unwrap();
    fs::write(
        folder.join("manifest.json"),
        r#"[{"Config":"config.json","Layers":["0.tar","1.tar"]}]"#,
    )
    .unwrap();
    let name = store.load(&folder, None, &Silent).unwrap().remove(0);
    let image = store.resolve(&name).unwrap().unwrap();
    let top = tree(&image.layers[1].path);
    assert!(top["usr"].starts_with("42751 7:0 t=77."), "{}", top["usr"]);
    assert!(
        top.contains_key("usr/lib/through") && !top.contains_key("lib"),
        "{top:?}"
    );
    assert!(
        top["usr/again"].contains("same-as=usr/again")
            || top["usr/lib/old"].contains("same-as=usr/again"),
        "{top:?}"
    );
    assert!(top["hidden"].contains("opaque") && top.contains_key("hidden/y"));
    // Seen as one tree.
    assert_eq!(
        image.read_file("/lib/through", 10).unwrap().unwrap(),
        b"xxxxx"
    );
    assert!(image.read_file("/hidden/x", 10).unwrap().is_none());
    assert!(
        image
            .read_file("/usr/../../../usr/new", 10)
            .unwrap()
            .is_some()
    );
    assert!(image.read_file("/usr/new", 3).is_err());
}

#[test]
fn root_a_root_that_hides_everything_drops_the_layers_below() {
    let dir_ = tempfile::tempdir().unwrap();
    let store = Store::open(&dir_.path().join("store")).unwrap();
    let made = image(&[
        archive(&[("./", b""), ("old", b"1")]),
        archive(&[("./", b""), (".wh..wh..opq", b""), ("new", b"2")]),
    ]);
    let folder = dir_.path().join("i");
    fs::create_dir(&folder).unwrap();
    for (n, layer) in made.layers.iter().enumerate() {
        fs::write(folder.join(format!("{n}.tar")), &made.blobs[layer]).unwrap();
    }
    fs::write(folder.join("config.json"), &made.blobs[&made.config]).unwrap();
    fs::write(
        folder.join("manifest.json"),
        r#"[{"Config":"config.json","Layers":["0.tar","1.tar"]}]"#,
    )
    .unwrap();
    let name = store.load(&folder, None, &Silent).unwrap().remove(0);
    let image = store.resolve(&name).unwrap().unwrap();
    assert_eq!(image.lower_dirs(), [image.layers[1].path.as_path()]);
    assert!(image.read_file("/old", 10).unwrap().is_none());
}

#[test]
fn root_many_small_files_pass_and_10_to_the_6_in_the_long_run() {
    let count = if std::env::var_os("DAAS_SOAK").is_some() {
        1_000_000
    } else {
        20_000
    };
    let mut writer = daas_image::tar::Writer::new(zstd::Encoder::new(Vec::new(), 1).unwrap());
    for n in 0..count {
        writer
            .entry(
                &entry(EntryKind::File, &format!("d{}/f{n}", n / 1000), 0),
                &mut std::io::empty(),
            )
            .unwrap();
    }
    let bytes = writer.finish().unwrap().finish().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let applied = unpack(bytes.as_slice(), dir.path(), &Budget::default()).unwrap();
    assert_eq!(applied.entries, count);
    assert_eq!(files_below(dir.path()).len() as u64, count);
}
