//! Volumes, binds, memory, files, devices.
#![allow(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

mod support;

use daas_keeper::launch::{BindOwners, DeviceLaunch, MountLaunch, MountLaunchSource};
use daas_keeper::protocol::Request;
use daas_model::{ByteSize, FileName, HostOwner, VolumeName};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use support::{Machine, node_name, shell};

fn mount(source: MountLaunchSource, target: &str, read_only: bool) -> MountLaunch {
    MountLaunch {
        source,
        target: target.to_owned(),
        read_only,
    }
}

fn volume(name: &str, subpath: Option<&str>, copy_up: bool) -> MountLaunchSource {
    MountLaunchSource::Volume {
        name: VolumeName::parse(name).unwrap(),
        subpath: subpath.map(str::to_owned),
        copy_up,
    }
}

#[test]
fn root_files_of_etc_and_fresh_volumes_have_the_modes_that_docker_gives_them() {
    let machine = Machine::new();
    let keeper = machine.keeper("modes");
    let mut stand = keeper.stand();
    stand.volumes = vec![
        VolumeName::parse("fresh").unwrap(),
        VolumeName::parse("mail").unwrap(),
    ];
    keeper.ask(Request::Adopt(stand));
    // A folder of the image gives its mode and owner to the volume that covers it.
    let layer = machine.dir.path().join("mail");
    fs::create_dir_all(layer.join("srv/mail")).unwrap();
    fs::set_permissions(layer.join("srv/mail"), fs::Permissions::from_mode(0o2770)).unwrap();
    std::os::unix::fs::chown(layer.join("srv/mail"), Some(33), Some(8)).unwrap();
    let mut node = shell(
        &machine,
        "web",
        "for f in /etc/hosts /etc/resolv.conf /etc/hostname /fresh /srv/mail /own; do stat -c '%a %u:%g' $f; done",
    );
    node.lowers.insert(0, layer);
    node.hosts = Some("127.0.0.1\tlocalhost\n".to_owned());
    node.resolv_conf = Some("nameserver 127.0.0.11\n".to_owned());
    node.mounts = vec![
        mount(volume("fresh", None, true), "/fresh", false),
        mount(volume("mail", None, true), "/srv/mail", false),
        mount(MountLaunchSource::Anonymous(0), "/own", false),
    ];
    assert_eq!(
        keeper.run(node),
        (
            0,
            "644 0:0\n644 0:0\n644 0:0\n755 0:0\n2770 33:8\n755 0:0\n".to_owned()
        )
    );
    keeper.destroy();
}

#[test]
fn root_a_volume_is_filled_from_the_image_shared_and_kept() {
    let machine = Machine::new();
    let keeper = machine.keeper("volumes");
    let mut stand = keeper.stand();
    stand.volumes = vec![VolumeName::parse("data").unwrap()];
    keeper.ask(Request::Adopt(stand));
    let layer = machine.dir.path().join("data");
    fs::create_dir_all(layer.join("srv/deep")).unwrap();
    fs::write(layer.join("srv/deep/file"), "from the image").unwrap();
    std::os::unix::fs::chown(layer.join("srv"), Some(33), Some(33)).unwrap();
    let mut first = shell(
        &machine,
        "first",
        "cat /srv/deep/file; echo more > /srv/more; ls -ldn /srv | awk '{print $3, $4}'",
    );
    first.lowers.insert(0, layer.clone());
    first.mounts = vec![mount(volume("data", None, true), "/srv", false)];
    assert_eq!(keeper.run(first), (0, "from the image33 33\n".to_owned()));
    let mut second = shell(
        &machine,
        "second",
        "cat /mnt/more; touch /mnt/x; ls /sub; touch /sub/y",
    );
    second.mounts = vec![
        mount(volume("data", None, true), "/mnt", true),
        mount(volume("data", Some("deep"), false), "/sub", false),
    ];
    let (_, log) = keeper.run(second);
    assert!(
        log.starts_with("more\n")
            && log.contains("Read-only file system")
            && log.ends_with("file\n"),
        "{log}"
    );
    let mut third = shell(
        &machine,
        "third",
        "ls /srv/deep | sort | tr '\\n' ' '; ln -s /etc /srv/link",
    );
    third.mounts = vec![mount(volume("data", None, false), "/srv", false)];
    assert_eq!(keeper.run(third), (0, "file y ".to_owned()));
    for bad in ["link", "../..", "link/../.."] {
        let mut node = shell(&machine, "bad", "true");
        node.mounts = vec![mount(volume("data", Some(bad), false), "/srv", false)];
        assert!(
            keeper.start_failing(node).contains("cannot take folder"),
            "{bad}"
        );
    }
    keeper.destroy();
}

#[test]
fn root_anonymous_volumes_live_as_long_as_their_node() {
    let machine = Machine::new();
    let keeper = machine.keeper("anon");
    keeper.adopt();
    let make = || {
        let mut node = shell(
            &machine,
            "web",
            "ls /cache; touch /cache/here; touch /root-file",
        );
        node.mounts = vec![mount(MountLaunchSource::Anonymous(0), "/cache", false)];
        node
    };
    assert_eq!(keeper.run(make()), (0, String::new()));
    keeper.start(vec![make()]);
    keeper.wait_until(|| keeper.log("web").contains("here\n").then_some(()));
    keeper.exit_code("web");
    keeper.ask(Request::Remove {
        node: node_name("web"),
        keep_volumes: false,
    });
    keeper.start(vec![make()]);
    keeper.exit_code("web");
    assert_eq!(keeper.log("web"), "here\n");
    // Another node takes its place.
    keeper.ask(Request::Remove {
        node: node_name("web"),
        keep_volumes: true,
    });
    keeper.start(vec![make()]);
    keeper.exit_code("web");
    assert_eq!(keeper.log("web"), "here\nhere\n");
    keeper.destroy();
}

/// A person of the host.
const OWNER: HostOwner = HostOwner {
    uid: 1000,
    gid: 1000,
};

#[test]
fn root_in_a_folder_of_somebody_the_node_is_he_and_root_of_the_host_is_nobody() {
    const OTHERS: u32 = 4_000_000_000;
    let machine = Machine::new();
    let keeper = machine.keeper("owners");
    keeper.adopt();
    let host = machine.dir.path().join("project");
    fs::create_dir(&host).unwrap();
    for (name, id) in [(".", OWNER.uid), ("own", OWNER.uid), ("of-root", 0)] {
        if name != "." {
            fs::write(host.join(name), "text").unwrap();
        }
        std::os::unix::fs::chown(host.join(name), Some(id), Some(id)).unwrap();
    }
    let project = || {
        let source = MountLaunchSource::Bind {
            path: host.clone(),
            owners: BindOwners::NodeIs {
                owner: OWNER,
                others: OTHERS,
            },
        };
        vec![mount(source, "/project", false)]
    };
    let owner_of = |name: &str| {
        let meta = fs::symlink_metadata(host.join(name)).unwrap();
        (meta.uid(), meta.gid())
    };
    let mut as_root = shell(
        &machine,
        "as-root",
        "cd /project; stat -c '%u:%g' own of-root; cp /bin/busybox su; chmod 6755 su; \
         mkdir data; chown 999:998 data; echo x >> of-root; chown 0 of-root; mknod device c 1 3; true",
    );
    as_root.mounts = project();
    let (_, log) = keeper.run(as_root);
    assert!(log.starts_with("0:0\n65534:65534\n"), "{log}");
    assert_eq!(
        log.matches("ermitted").count() + log.matches("denied").count(),
        3,
        "{log}"
    );
    assert_eq!(
        owner_of("su"),
        (1000, 1000),
        "a setuid program is its owner's"
    );
    assert_eq!(owner_of("data"), (OTHERS + 999, OTHERS + 998));
    assert_eq!(owner_of("of-root"), (0, 0));
    assert_eq!(fs::read_to_string(host.join("of-root")).unwrap(), "text");
    // The next node knows the files again, whatever user it runs as.
    let mut as_person = shell(
        &machine,
        "as-person",
        "cd /project; stat -c '%u:%g' own su data; echo x >> own; echo y > new",
    );
    (as_person.uid, as_person.gid) = (33, 34);
    as_person.mounts = project();
    assert_eq!(
        keeper.run(as_person),
        (0, "33:34\n33:34\n999:998\n".to_owned())
    );
    assert_eq!(owner_of("new"), (1000, 1000));
    keeper.destroy();
}

#[test]
fn root_binds_of_the_host_keep_ids_or_make_one_owner_root() {
    let machine = Machine::new();
    let keeper = machine.keeper("binds");
    keeper.adopt();
    let host = machine.dir.path().join("project");
    fs::create_dir(&host).unwrap();
    fs::write(host.join("file"), "text").unwrap();
    std::os::unix::fs::chown(host.join("file"), Some(1000), Some(1000)).unwrap();
    let mut same = shell(
        &machine,
        "same",
        "ls -ln /project/file | awk '{print $3, $4}'; echo x > /project/by-root; cp /bin/busybox /project/su; chmod 4755 /project/su",
    );
    same.mounts = vec![mount(
        MountLaunchSource::Bind {
            path: host.clone(),
            owners: BindOwners::AsOnHost,
        },
        "/project",
        false,
    )];
    assert_eq!(keeper.run(same), (0, "1000 1000\n".to_owned()));
    assert_eq!(fs::metadata(host.join("by-root")).unwrap().uid(), 0);
    std::os::unix::fs::chown(&host, Some(1000), Some(1000)).unwrap();
    let mut owner = shell(
        &machine,
        "owner",
        "ls -ln /project/file | awk '{print $3, $4}'; echo x > /project/by-owner; rm /project/file; ls /readonly; touch /readonly/x",
    );
    owner.mounts = vec![
        mount(
            MountLaunchSource::Bind {
                path: host.clone(),
                owners: BindOwners::RootIs(OWNER),
            },
            "/project",
            false,
        ),
        mount(
            MountLaunchSource::Bind {
                path: host.clone(),
                owners: BindOwners::AsOnHost,
            },
            "/readonly",
            true,
        ),
    ];
    let (_, log) = keeper.run(owner);
    assert!(
        log.starts_with("0 0\n") && log.contains("Read-only file system"),
        "{log}"
    );
    assert_eq!(fs::metadata(host.join("by-owner")).unwrap().uid(), 1000);
    assert!(!host.join("file").exists());
    std::os::unix::fs::symlink("/etc", machine.dir.path().join("link")).unwrap();
    let mut bad = shell(&machine, "bad", "true");
    bad.mounts = vec![mount(
        MountLaunchSource::Bind {
            path: machine.dir.path().join("link"),
            owners: BindOwners::AsOnHost,
        },
        "/x",
        false,
    )];
    assert!(keeper.start_failing(bad).contains("symbolic links"));
    keeper.destroy();
}

#[test]
fn root_secrets_are_in_memory_read_only_and_owned_as_asked() {
    let machine = Machine::new();
    let keeper = machine.keeper("secrets");
    let mut stand = keeper.stand();
    let secret = FileName::parse("secret.password").unwrap();
    stand.files.insert(secret.clone(), b"tr0ub4dor".to_vec());
    keeper.ask(Request::Adopt(stand));
    let mut node = shell(
        &machine,
        "web",
        "cat /run/secrets/password; ls -ln /run/secrets/password | awk '{print $1, $3, $4}'; echo x >> /run/secrets/password",
    );
    node.mounts = vec![mount(
        MountLaunchSource::File {
            file: secret,
            uid: 33,
            gid: 44,
            mode: 0o440,
        },
        "/run/secrets/password",
        false,
    )];
    let (_, log) = keeper.run(node);
    assert!(
        log.starts_with("tr0ub4dor-r--r----- 33 44\n") && log.contains("Read-only file system"),
        "{log}"
    );
    for entry in walk(&keeper.dir) {
        if entry.is_file() && !entry.ends_with("web.log") {
            let content = if entry.ends_with("disk.img") {
                Vec::new()
            } else {
                fs::read(&entry).unwrap_or_default()
            };
            assert!(
                !content.windows(9).any(|w| w == b"tr0ub4dor"),
                "{}",
                entry.display()
            );
        }
        let mode = fs::symlink_metadata(&entry).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} {mode:o}", entry.display());
    }
    keeper.destroy();
}

fn walk(path: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = vec![path.to_path_buf()];
    if path.is_dir() && !path.ends_with("desk") {
        for entry in fs::read_dir(path).unwrap().flatten() {
            found.extend(walk(&entry.path()));
        }
    }
    found.retain(|p| !p.ends_with("desk"));
    found
}

#[test]
fn root_memory_files_of_etc_a_read_only_root_and_shm() {
    let machine = Machine::new();
    let keeper = machine.keeper("tmpfs");
    keeper.adopt();
    let look = "pwd; df -k /scratch /dev/shm | awk 'NR>1 {print $2}'; touch /x; touch /scratch/x && echo ok; cat /etc/hosts; hostname; cat /etc/hostname; ls -ld /scratch | cut -c1-10; echo y > /dev/y && echo dev";
    let mut node = shell(&machine, "web", look);
    node.mounts = vec![mount(
        MountLaunchSource::Tmpfs {
            size: Some(ByteSize::mib(4)),
            mode: Some(0o700),
        },
        "/scratch",
        false,
    )];
    node.read_only_root = true;
    // Made before the root is closed, as with Docker.
    node.cwd = "/made/if/missing".into();
    node.shm_size = Some(ByteSize::mib(8));
    node.hosts = Some("127.0.0.1 localhost\n10.0.0.9 extra\n".into());
    node.hostname = "web.example".into();
    let (_, log) = keeper.run(node);
    assert!(log.starts_with("/made/if/missing\n4096\n8192\n") && log.contains("touch: /x: Read-only file system") && log.contains("ok\n127.0.0.1 localhost\n10.0.0.9 extra\nweb.example\nweb.example\ndrwx------\ndev\n"), "{log}");
    keeper.destroy();
}

#[test]
fn root_devices_of_the_host_come_in_with_the_rights_that_were_granted() {
    let machine = Machine::new();
    let keeper = machine.keeper("devices");
    keeper.adopt();
    let mut node = shell(
        &machine,
        "web",
        "head -c 4 /dev/my/zero | wc -c; echo x > /dev/my/zero; chmod 666 /dev/my/zero; head -c1 /dev/urandom | wc -c; echo > /dev/null && echo null; echo > /dev/full; ls /dev | sort | tr '\\n' ' '",
    );
    node.devices = vec![DeviceLaunch {
        host: "/dev/zero".into(),
        target: "/dev/my/zero".into(),
        read: true,
        write: false,
    }];
    (node.uid, node.gid) = (33, 33);
    let (_, log) = keeper.run(node);
    assert!(
        log.starts_with("4\n")
            && log.contains("Permission denied")
            && log.contains("Operation not permitted")
            && log.contains("null\n")
            && log.contains("No space left"),
        "{log}"
    );
    assert!(
        log.ends_with(
            "fd full mqueue my null ptmx pts random shm stderr stdin stdout tty urandom zero "
        ),
        "{log}"
    );
    for (host, target) in [
        ("/etc/passwd", "/dev/x"),
        ("/dev/zero", "/etc/x"),
        ("/dev/zero", "/dev/../x"),
    ] {
        let mut bad = shell(&machine, "bad", "true");
        bad.devices = vec![DeviceLaunch {
            host: host.into(),
            target: target.into(),
            read: true,
            write: true,
        }];
        assert!(
            keeper.start_failing(bad).contains("cannot give device"),
            "{host} {target}"
        );
    }
    // A device file that an image brings opens nothing.
    let layer = machine.dir.path().join("device");
    fs::create_dir(&layer).unwrap();
    assert!(
        std::process::Command::new("mknod")
            .arg(layer.join("mem"))
            .args(["-m", "666", "c", "1", "5"])
            .status()
            .unwrap()
            .success()
    );
    let mut node = shell(&machine, "image", "head -c1 /mem");
    node.lowers.insert(0, layer);
    let (code, log) = keeper.run(node);
    assert!(code != 0 && log.contains("Permission denied"), "{log}");
    keeper.destroy();
}
