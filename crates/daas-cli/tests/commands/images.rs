use crate::house::Daemon;

#[test]
fn images_come_are_shown_and_go() {
    let daemon = Daemon::open();
    insta::assert_snapshot!(daemon.run(&["image", "pull", "nginx:1.27"]).all(&daemon), @"
    --- stderr
    nginx:1.27: web pulling postgres:16
    nginx:1.27: web started, not healthy yet
    nginx:1.27: web healthy
    nginx:1.27: web completed
    image `nginx:1.27` is here (12 ms)
    --- exit 0
    ");
    assert_eq!(
        daemon
            .run(&[
                "--quiet",
                "image",
                "pull",
                "redis",
                "registry.lan:5000/team/app"
            ])
            .code,
        0
    );
    insta::assert_snapshot!(daemon.run(&["image", "list"]).all(&daemon), @"
    IMAGE                              DIGEST        SIZE     LAYERS  AGE   USED BY
    nginx:1.27                         000000000000  190 MiB  7       24 h
    redis:latest                       000000000000  190 MiB  7       24 h
    registry.lan:5000/team/app:latest  000000000000  190 MiB  7       24 h
    --- stderr
    --- exit 0
    ");
    insta::assert_snapshot!(daemon.run(&["image", "show", "nginx:1.27"]).all(&daemon), @r#"
    names    nginx:1.27
    digest   sha256:000000000000000000000000000000000000000000000000000000000000001c
    platform linux/amd64
    size     190 MiB
    layers   7
    made     2025-12-31T00:00:00.000Z
    {
      "Cmd": [
        "nginx"
      ]
    }
    --- stderr
    --- exit 0
    "#);
    assert_eq!(daemon.run(&["image", "tag", "nginx:1.27", "web:1"]).code, 0);
    insta::assert_snapshot!(daemon.run(&["image", "remove", "nginx:1.27", "nginx:1.27"]).all(&daemon), @"
    --- stderr
    image `nginx:1.27` is gone
    error[image-unknown]: cannot find image `nginx:1.27`
    --- exit 3
    ");
    insta::assert_snapshot!(daemon.run(&["image", "prune", "--all", "--dry-run"]).all(&daemon), @"
    image old:1
    --- stderr
    would free 5 MiB
    --- exit 0
    ");
    insta::assert_snapshot!(daemon.run(&["image", "show", "Nginx"]).all(&daemon), @"
    --- stderr
    error: invalid value 'Nginx' for '<IMAGE>': `Nginx` names no image: a repository is lower case letters and digits, joined by `.`, `_`, `-` or `/`

    For more information, try '--help'.
    --- exit 2
    ");
}

#[test]
fn an_image_is_made_of_packages_and_more() {
    let daemon = Daemon::open();
    let said = daemon.run(&[
        "image",
        "make",
        "debian:bookworm",
        "--name",
        "demo/web",
        "--packages",
        "nginx,python3",
        "--env",
        "A=b",
        "--copy",
        "/srv/app:/app",
        "--",
        "nginx",
        "-g",
        "daemon off;",
    ]);
    assert_eq!(
        (said.code, daemon.asked()),
        (
            0,
            vec!["make debian:bookworm [\"nginx\", \"python3\"]".to_owned()]
        ),
        "{said:?}"
    );
}

#[test]
fn archives_are_saved_whole_or_not_at_all_and_loaded() {
    let daemon = Daemon::open();
    daemon.run(&["image", "pull", "nginx"]);
    let path = daemon.folder.path().join("nginx.tar");
    let text = path.to_str().unwrap();
    assert_eq!(daemon.run(&["image", "save", "nginx", "-o", text]).code, 0);
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 8192);
    assert_eq!(daemon.run(&["image", "save", "nginx"]).out.len(), 8192);
    let other = daemon.folder.path().join("other.tar");
    assert_eq!(
        daemon
            .run(&["image", "save", "absent", "-o", other.to_str().unwrap()])
            .code,
        3
    );
    assert_eq!(
        std::fs::read_dir(daemon.folder.path())
            .unwrap()
            .filter(|e| e
                .as_ref()
                .unwrap()
                .file_name()
                .to_string_lossy()
                .contains(".tar"))
            .count(),
        1
    );
    insta::assert_snapshot!(daemon.run(&["image", "load", text]).all(&daemon), @"
    IMAGE
    loaded:1
    --- stderr
    --- exit 0
    ");
    assert_eq!(daemon.run(&["image", "load", "/nowhere.tar"]).code, 3);
}
