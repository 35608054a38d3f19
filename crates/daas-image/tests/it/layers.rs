//! The applier against GNU tar: the same archive must become the same tree.

use crate::tree::{run, tree};
use daas_image::{Budget, unpack};
use std::fs;
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;

/// Unpacks `archive` by both and compares.
fn same_by_both(archive: &Path, dir: &Path) {
    let (ours, theirs) = (dir.join("ours"), dir.join("theirs"));
    for d in [&ours, &theirs] {
        let _ = fs::remove_dir_all(d);
        fs::create_dir(d).unwrap();
    }
    run(
        "tar",
        &[
            "--xattrs",
            "--xattrs-include=*",
            "--numeric-owner",
            "-C",
            theirs.to_str().unwrap(),
            "-xpf",
            archive.to_str().unwrap(),
        ],
    );
    unpack(fs::File::open(archive).unwrap(), &ours, &Budget::default()).unwrap();
    let (mut ours, mut theirs) = (tree(&ours), tree(&theirs));
    // Without an entry for the root each leaves its own folder's time.
    ours.remove("");
    theirs.remove("");
    assert!(!theirs.is_empty());
    pretty_assert(&ours, &theirs);
}

fn pretty_assert(
    ours: &std::collections::BTreeMap<String, String>,
    theirs: &std::collections::BTreeMap<String, String>,
) {
    let differing: Vec<_> = theirs
        .keys()
        .chain(ours.keys())
        .filter(|k| ours.get(*k) != theirs.get(*k))
        .map(|k| (k, ours.get(k), theirs.get(k)))
        .collect();
    assert!(
        differing.is_empty(),
        "name, ours, GNU tar's: {differing:#?}"
    );
}

/// A tree with one of everything.
fn zoo(root: &Path) {
    let at = |name: &str| root.join(name);
    fs::create_dir_all(at("dir/deep/er")).unwrap();
    fs::write(at("dir/file"), "content").unwrap();
    fs::write(at("empty"), "").unwrap();
    fs::write(at("blocks"), vec![7; 1024]).unwrap();
    fs::hard_link(at("dir/file"), at("hard")).unwrap();
    symlink("/etc/passwd", at("absolute")).unwrap();
    symlink("nowhere", at("dangling")).unwrap();
    fs::hard_link(at("dangling"), at("dir/dangling-too")).unwrap();
    let long = format!("long/{}/{}", "x".repeat(120), "y".repeat(180));
    fs::create_dir_all(at(&long)).unwrap();
    fs::write(at(&long).join("z".repeat(200)), "far").unwrap();
    symlink("t".repeat(300), at("to-long")).unwrap();
    fs::hard_link(at(&long).join("z".repeat(200)), at("hard-to-long")).unwrap();
    fs::write(at("name\nwith = odd\tbytes ü"), "odd").unwrap();
    for (name, kind, number) in [
        ("null", "c", "1 3"),
        ("disk", "b", "8 1"),
        ("pipe", "p", ""),
    ] {
        let path = at(name);
        let args: Vec<&str> = [path.to_str().unwrap(), kind]
            .into_iter()
            .chain(number.split_whitespace())
            .collect();
        run("mknod", &args);
    }
    fs::write(at("suid"), "#!").unwrap();
    fs::write(at("owned"), "a").unwrap();
    run("chown", &["1234:5678", at("owned").to_str().unwrap()]);
    run("chown", &["33:33", at("suid").to_str().unwrap()]);
    run("chmod", &["4755", at("suid").to_str().unwrap()]);
    run("chmod", &["1777", at("dir").to_str().unwrap()]);
    run("chmod", &["2710", at("dir/deep").to_str().unwrap()]);
    run("chmod", &["000", at("blocks").to_str().unwrap()]);
    let set = |name: &str, key: &str, value: &[u8]| {
        rustix::fs::setxattr(at(name), key, value, rustix::fs::XattrFlags::empty()).unwrap();
    };
    set(
        "dir/file",
        "user.word",
        b"some=thing
",
    );
    set("dir", "user.on-dir", b"x");
    // cap_net_bind_service=ep, as setcap writes it (linux/capability.h, VFS_CAP_REVISION_2).
    set(
        "owned",
        "security.capability",
        &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    );
    holes(root);
    times(root);
}

/// Sparse files of several kinds.
fn holes(root: &Path) {
    let at = |name: &str| root.join(name);
    let sparse = fs::File::create(at("sparse")).unwrap();
    sparse.set_len(9 << 20).unwrap();
    sparse.write_all_at(b"begin", 0).unwrap();
    sparse.write_all_at(&[9; 8192], 1 << 20).unwrap();
    sparse.write_all_at(b"late", (8 << 20) + 123).unwrap();
    let holes = fs::File::create(at("many-holes")).unwrap();
    holes.set_len(4 << 20).unwrap();
    for n in 0..60 {
        holes
            .write_all_at(&[n; 100], u64::from(n) * 65536 + 4096)
            .unwrap();
    }
    fs::File::create(at("all-hole"))
        .unwrap()
        .set_len(1 << 20)
        .unwrap();
}

/// Times before 1970, far ahead, and of folders, which must outlive what is put into them.
fn times(root: &Path) {
    let at = |name: &str| root.join(name);
    run(
        "touch",
        &[
            "-d",
            "1969-12-31T20:00:00.5Z",
            at("empty").to_str().unwrap(),
        ],
    );
    run(
        "touch",
        &[
            "-d",
            "2042-01-02T03:04:05.678901234Z",
            at("dir/file").to_str().unwrap(),
        ],
    );
    run(
        "touch",
        &[
            "-h",
            "-d",
            "2001-01-01T00:00:00Z",
            at("absolute").to_str().unwrap(),
        ],
    );
    run(
        "touch",
        &[
            "-d",
            "2003-03-03T00:00:00Z",
            at("dir/deep").to_str().unwrap(),
        ],
    );
    run(
        "touch",
        &["-d", "2004-04-04T00:00:00Z", at("dir").to_str().unwrap()],
    );
}

#[test]
fn root_every_format_of_gnu_tar_becomes_the_tree_that_gnu_tar_makes() {
    let dir = tempfile::tempdir().unwrap();
    let zoo_dir = dir.path().join("zoo");
    fs::create_dir(&zoo_dir).unwrap();
    zoo(&zoo_dir);
    let archive = dir.path().join("a.tar");
    let formats: [&[&str]; 8] = [
        &["--format=pax", "--xattrs", "--xattrs-include=*"],
        &[
            "--format=pax",
            "--xattrs",
            "--xattrs-include=*",
            "-S",
            "--sparse-version=0.0",
        ],
        &[
            "--format=pax",
            "--xattrs",
            "--xattrs-include=*",
            "-S",
            "--sparse-version=0.1",
        ],
        &[
            "--format=pax",
            "--xattrs",
            "--xattrs-include=*",
            "-S",
            "--sparse-version=1.0",
        ],
        &["--format=gnu"],
        &["--format=gnu", "-S"],
        &["--format=pax", "-z"],
        &["--format=pax", "--zstd"],
    ];
    for format in formats {
        let args: Vec<&str> = format
            .iter()
            .copied()
            .chain([
                "--numeric-owner",
                "-C",
                zoo_dir.to_str().unwrap(),
                "-cf",
                archive.to_str().unwrap(),
                ".",
            ])
            .collect();
        run("tar", &args);
        same_by_both(&archive, dir.path());
    }
}

/// A small tree with one of each kind that two readers may see differently.
fn small(root: &Path) {
    let at = |name: &str| root.join(name);
    fs::create_dir_all(at("d/e")).unwrap();
    fs::write(at("d/f"), "hello").unwrap();
    fs::hard_link(at("d/f"), at("h")).unwrap();
    symlink("d/f", at("l")).unwrap();
    fs::write(at(&"n".repeat(130)), "long").unwrap();
    fs::write(at("two"), vec![5; 1300]).unwrap();
    let sparse = fs::File::create(at("s")).unwrap();
    sparse.set_len(90_000).unwrap();
    sparse.write_all_at(b"mid", 50_000).unwrap();
    rustix::fs::setxattr(at("d/f"), "user.a", b"1", rustix::fs::XattrFlags::empty()).unwrap();
}

/// Damages `bytes` at a few places chosen by `seed`, most of them in what looks like a header, whose checksum is made right again.
fn damage(bytes: &mut [u8], mut seed: u64) {
    let mut next = |n: usize| {
        // Knuth's MMIX constants: any generator will do, as long as a failure can be run again.
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap() % n
    };
    let headers: Vec<usize> = (0..bytes.len() / 512)
        .filter(|b| &bytes[b * 512 + 257..b * 512 + 262] == b"ustar")
        .collect();
    for _ in 0..=next(3) {
        let block = headers[next(headers.len())] * 512;
        // Names, numbers, type, magic, and the text of extended headers behind it.
        let at = block + next(1024).min(bytes.len() - block - 1);
        bytes[at] = *[
            b'0', b'1', b'7', b'/', b' ', b'=', b'\n', b'x', b'g', b'L', b'S', b'5', 0, 0x80, 0xff,
        ]
        .get(next(15))
        .unwrap();
        bytes[block + 148..block + 156].fill(b' ');
        let sum: u32 = bytes[block..block + 512]
            .iter()
            .map(|b| u32::from(*b))
            .sum();
        bytes[block + 148..block + 156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}

#[test]
fn root_of_damaged_archives_none_means_one_thing_to_gnu_tar_and_another_to_us() {
    let cases: u64 = if std::env::var_os("DAAS_SOAK").is_some() {
        20_000
    } else {
        240
    };
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("small");
    fs::create_dir(&root).unwrap();
    small(&root);
    let formats: [&[&str]; 6] = [
        &["--format=pax", "--xattrs"],
        &["--format=pax", "-S", "--sparse-version=0.0"],
        &["--format=pax", "-S", "--sparse-version=0.1"],
        &["--format=pax", "-S", "--sparse-version=1.0"],
        &["--format=gnu"],
        &["--format=gnu", "-S"],
    ];
    let mut both = 0;
    for (n, format) in formats.iter().enumerate() {
        let archive = dir.path().join("good.tar");
        let args: Vec<&str> = format
            .iter()
            .copied()
            .chain([
                "-b1",
                "--numeric-owner",
                "-C",
                root.to_str().unwrap(),
                "-cf",
                archive.to_str().unwrap(),
                ".",
            ])
            .collect();
        run("tar", &args);
        let good = fs::read(&archive).unwrap();
        for seed in 0..cases / 6 {
            let mut bytes = good.clone();
            damage(&mut bytes, seed * 6 + n as u64);
            both += u64::from(agree(
                &bytes,
                dir.path(),
                &format!("{format:?}, seed {seed}"),
            ));
        }
    }
    assert!(
        both * 10 > cases,
        "only {both} of {cases} were understood by both: the damage is too heavy to prove anything"
    );
}

/// Unpacks by both; where both are content the trees must be equal. Returns whether both were.
fn agree(bytes: &[u8], dir: &Path, what: &str) -> bool {
    let (ours, theirs) = (dir.join("ours/x"), dir.join("theirs/x"));
    for d in [&ours, &theirs] {
        let _ = fs::remove_dir_all(d.parent().unwrap());
        fs::create_dir_all(d).unwrap();
    }
    let archive = dir.join("bad.tar");
    fs::write(&archive, bytes).unwrap();
    // A size of terabytes is no news.
    let budget = Budget {
        bytes: daas_model::ByteSize::mib(64),
        ..Budget::default()
    };
    match unpack(bytes, &ours, &budget) {
        // An owner beyond a stand's ids is nobody here, on purpose.
        Ok(applied) if applied.clamped_owners == 0 => {}
        _ => return false,
    }
    let args = [
        "--xattrs",
        "--xattrs-include=user.*",
        "--numeric-owner",
        "-C",
        theirs.to_str().unwrap(),
        "-xpf",
        archive.to_str().unwrap(),
    ];
    let output = std::process::Command::new("tar")
        .args(args)
        .output()
        .unwrap();
    if !output.status.success() {
        return false;
    }
    // Times of folders: GNU tar gives one that no entry names the moment, and some that are named as well when something else
    // was implied beside them. What an undamaged archive says of them is compared above.
    let clean = |dir: &Path| {
        let mut found = tree(dir);
        found.remove("");
        for line in found.values_mut().filter(|line| line.starts_with('4')) {
            *line = line
                .split(' ')
                .filter(|word| !word.starts_with("t="))
                .collect::<Vec<_>>()
                .join(" ");
        }
        found
    };
    let (ours, theirs) = (clean(&ours), clean(&theirs));
    if ours != theirs {
        fs::write("/tmp/daas-image-disagreement.tar", bytes).unwrap();
    }
    assert!(
        ours == theirs,
        "{what}: ours {ours:#?} GNU tar's {theirs:#?} it said {}",
        String::from_utf8_lossy(&output.stderr)
    );
    true
}
