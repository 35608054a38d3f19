//! What builds ask of a keeper: what a node wrote, and layers that are not its own.
#![allow(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

mod support;

use daas_keeper::ClientError;
use daas_keeper::launch::{MountLaunch, MountLaunchSource};
use daas_keeper::protocol::Request;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use support::{Machine, node_name, shell};

fn look(root: &OwnedFd, name: &str) -> rustix::fs::Stat {
    rustix::fs::statat(root, name, AtFlags::SYMLINK_NOFOLLOW).unwrap()
}

#[test]
fn root_what_a_node_wrote_is_handed_out_with_the_owners_that_it_saw() {
    let machine = Machine::new();
    let keeper = machine.keeper("taken");
    keeper.adopt();
    let script = "echo hi > /a; chown 33:7 /a; ln /a /b; rm /etc/passwd; rm -r /var/www; mkdir /var/www; mkfifo /p; ln -s /x /l";
    let (code, log) = keeper.run(shell(&machine, "step", script));
    assert_eq!((code, log.as_str()), (0, ""));
    let ask = || {
        keeper.client().ask_with(
            Request::TakeRoot {
                node: node_name("step"),
            },
            &[],
        )
    };
    let root = ask().unwrap().1.pop().unwrap();
    let file = look(&root, "a");
    assert_eq!((file.st_uid, file.st_gid, file.st_nlink), (33, 7, 2));
    assert_eq!(look(&root, "b").st_ino, file.st_ino);
    assert_eq!(look(&root, "etc").st_uid, 0);
    let gone = look(&root, "etc/passwd");
    assert_eq!(
        (FileType::from_raw_mode(gone.st_mode), gone.st_rdev),
        (FileType::CharacterDevice, 0)
    );
    let opaque = rustix::fs::openat(
        &root,
        "var/www",
        OFlags::RDONLY | OFlags::DIRECTORY,
        Mode::empty(),
    )
    .unwrap();
    let mut value = [0u8; 4];
    let n = rustix::fs::fgetxattr(&opaque, "trusted.overlay.opaque", &mut value[..]).unwrap();
    assert_eq!(&value[..n], b"y");
    let mut text = String::new();
    let open = rustix::fs::openat(&root, "a", OFlags::RDONLY, Mode::empty()).unwrap();
    fs::File::from(open).read_to_string(&mut text).unwrap();
    assert_eq!(text, "hi\n");
    // A node that runs may change what was handed out: refused.
    keeper.start(vec![shell(&machine, "busy", "sleep 60")]);
    let refused = keeper.client().ask_with(
        Request::TakeRoot {
            node: node_name("busy"),
        },
        &[],
    );
    assert!(matches!(refused, Err(ClientError::Refused(_))));
    drop((opaque, root));
    keeper.destroy();
}

#[test]
fn root_other_layers_are_mounted_and_what_is_written_there_stays_with_the_node() {
    let machine = Machine::new();
    let keeper = machine.keeper("aside");
    keeper.adopt();
    let (low, high) = (
        machine.dir.path().join("low"),
        machine.dir.path().join("high"),
    );
    for dir in [&low, &high] {
        fs::create_dir_all(dir.join("src")).unwrap();
    }
    fs::write(low.join("src/low"), "low").unwrap();
    fs::write(high.join("src/high"), "high").unwrap();
    std::os::unix::fs::chown(low.join("src/low"), Some(33), Some(33)).unwrap();
    std::os::unix::fs::symlink("/src", high.join("link")).unwrap();
    let layers = |lowers: &[&std::path::PathBuf], path: &str| MountLaunchSource::Layers {
        lowers: lowers.iter().map(|p| p.to_path_buf()).collect(),
        path: path.to_owned(),
    };
    let mount = |source, target: &str, read_only| MountLaunch {
        source,
        target: target.to_owned(),
        read_only,
    };
    let mut node = shell(
        &machine,
        "step",
        "cat /both/low /both/high /one; ls -ln /both/low | awk '{print $3}'; echo x > /both/new && echo written; touch /fixed/new || echo refused; rm /both/high",
    );
    node.mounts = vec![
        mount(layers(&[&high, &low], "/link"), "/both", false),
        mount(layers(&[&high, &low], "/src"), "/fixed", true),
        mount(layers(&[&low], "/src/low"), "/one", true),
    ];
    let (code, log) = keeper.run(node);
    assert_eq!(code, 0, "{log}");
    assert!(log.starts_with("lowhighlow33\nwritten\n"), "{log}");
    assert!(log.contains("refused\n"), "{log}");
    assert!(high.join("src/high").exists() && !high.join("src/new").exists());
    keeper.destroy();
}
