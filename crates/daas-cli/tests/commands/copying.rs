use crate::house::Daemon;
use std::path::Path;

fn archive(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        builder
            .append_data(&mut header, name, content.as_bytes())
            .expect("it is in memory");
    }
    builder.into_inner().expect("it is in memory")
}

fn names(tar: &[u8]) -> Vec<String> {
    tar::Archive::new(tar)
        .entries()
        .expect("it is an archive")
        .map(|e| {
            e.expect("it is whole")
                .path()
                .expect("it has a name")
                .display()
                .to_string()
        })
        .collect()
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn a_file_comes_out_under_its_own_or_a_new_name() {
    let daemon = Daemon::open();
    daemon.platform.add_stand("shop");
    daemon
        .platform
        .put_archive("/etc/motd", archive(&[("motd", "hello")]));
    let folder = daemon.folder.path().join("here");
    std::fs::create_dir(&folder).unwrap();
    let here = folder.to_str().unwrap();
    assert_eq!(
        daemon
            .run(&["stand", "copy", "shop/web:/etc/motd", here])
            .code,
        0
    );
    assert_eq!(text(&folder.join("motd")), "hello");
    assert_eq!(
        daemon
            .run(&["stand", "cp", "shop/web:/etc/motd", &format!("{here}/new")])
            .code,
        0
    );
    assert_eq!(text(&folder.join("new")), "hello");
    let piped = daemon.run(&["stand", "copy", "shop/web:/etc/motd", "-"]);
    assert_eq!(names(&piped.out), ["motd"]);
    insta::assert_snapshot!(daemon.run(&["stand", "copy", "shop/web:/nope", here]).all(&daemon), @"
    --- stderr
    error[path-absent]: cannot copy `/nope`: it does not exist
    --- exit 3
    ");
    insta::assert_snapshot!(daemon.run(&["stand", "copy", "shop/web:/etc/motd", &format!("{here}/no/where")]).all(&daemon), @"
    --- stderr
    error[copy-to]: cannot copy to `FOLDER/here/no/where`: the folder does not exist
    --- exit 3
    ");
}

#[test]
fn a_node_that_sends_bad_names_writes_nothing_outside() {
    let daemon = Daemon::open();
    daemon.platform.add_stand("shop");
    let mut bad = tar::Header::new_gnu();
    bad.as_old_mut().name[..5].copy_from_slice(b"../up");
    bad.set_size(3);
    bad.set_mode(0o644);
    bad.set_cksum();
    let mut builder = tar::Builder::new(Vec::new());
    builder.append(&bad, &b"bad"[..]).unwrap();
    daemon
        .platform
        .put_archive("/x", builder.into_inner().unwrap());
    let folder = daemon.folder.path().join("here");
    std::fs::create_dir(&folder).unwrap();
    let said = daemon.run(&["stand", "copy", "shop/web:/x", folder.to_str().unwrap()]);
    assert_eq!((said.code, said.err.as_str()), (1, "left out: ../up\n"));
    assert!(!daemon.folder.path().join("up").exists());
}

#[test]
fn files_go_in_under_their_own_name_or_a_new_one() {
    let daemon = Daemon::open();
    daemon.platform.add_stand("shop");
    let file = daemon.file("index.html", "<p>");
    assert_eq!(
        daemon.run(&["stand", "copy", &file, "shop/web:/srv/"]).code,
        0
    );
    assert_eq!(
        names(&daemon.platform.archive("/srv/").unwrap()),
        ["index.html"]
    );
    // A path that does not exist is a new name; one that is a folder takes the old name.
    assert_eq!(
        daemon
            .run(&["stand", "copy", &file, "shop/web:/var/new.html"])
            .code,
        0
    );
    assert_eq!(
        names(&daemon.platform.archive("/var/").unwrap()),
        ["new.html"]
    );
    let mut folder = tar::Header::new_gnu();
    folder.set_entry_type(tar::EntryType::Directory);
    folder.set_size(0);
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_data(&mut folder, "www/", &b""[..]).unwrap();
    daemon
        .platform
        .put_archive("/www", builder.into_inner().unwrap());
    assert_eq!(
        daemon.run(&["stand", "copy", &file, "shop/web:/www"]).code,
        0
    );
    assert_eq!(
        names(&daemon.platform.archive("/www").unwrap()),
        ["index.html"]
    );
    let dir = daemon.folder.path().join("site");
    std::fs::create_dir_all(dir.join("css")).unwrap();
    std::fs::write(dir.join("css/a.css"), "a").unwrap();
    assert_eq!(
        daemon
            .run(&["stand", "copy", dir.to_str().unwrap(), "shop/web:/srv/"])
            .code,
        0
    );
    assert_eq!(
        names(&daemon.platform.archive("/srv/").unwrap()),
        ["site/", "site/css/", "site/css/a.css"]
    );
}

#[test]
fn ends_that_make_no_sense_are_refused() {
    let daemon = Daemon::open();
    for (from, to) in [
        ("a", "b"),
        ("x/y:/a", "x/z:/b"),
        ("-", "-"),
        ("Bad Name:/x", "."),
        ("/does/not/exist", "shop/web:/x"),
    ] {
        let said = daemon.run(&["stand", "copy", from, to]);
        assert!([2, 3].contains(&said.code), "{from} {to}: {said:?}");
    }
    assert!(daemon.asked().is_empty());
}
