//! The census against things that the kernel really holds.

use std::path::PathBuf;
use std::process::Command;
use xtask::census::{Census, Kind};

fn done(program: &str, arguments: &[&str]) {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .expect("the program is there");
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn root_a_namespace_a_link_a_mount_a_cgroup_and_a_loop_device_are_each_found_and_found_gone() {
    let id = std::process::id();
    let mark = format!("cens{id}");
    let state = PathBuf::from(format!("/tmp/{mark}"));
    std::fs::create_dir(&state).unwrap();
    let before = Census::take(&state).unwrap();

    let (disk, mount) = (format!("/tmp/{mark}/disk"), format!("/tmp/{mark}/mount"));
    std::fs::File::create(&disk)
        .unwrap()
        .set_len(1 << 20)
        .unwrap();
    std::fs::create_dir(&mount).unwrap();
    let unified = if PathBuf::from("/sys/fs/cgroup/unified").exists() {
        "/sys/fs/cgroup/unified"
    } else {
        "/sys/fs/cgroup"
    };
    let cgroup = format!("{unified}/{mark}");
    done("mount", &["-t", "tmpfs", &mark, &mount]);
    done("ip", &["netns", "add", &mark]);
    done("ip", &["link", "add", &mark, "type", "bridge"]);
    done("losetup", &["--find", &disk]);
    std::fs::create_dir(&cgroup).unwrap();

    let during = before.until(&Census::take(&state).unwrap());
    let mut kinds: Vec<Kind> = during
        .clone()
        .that_bear(&[&mark])
        .more
        .into_iter()
        .map(|(kind, _)| kind)
        .collect();
    kinds.dedup();

    std::fs::remove_dir(&cgroup).unwrap();
    let device = Command::new("losetup")
        .args(["--associated", &disk, "--noheadings", "--output", "NAME"])
        .output()
        .unwrap();
    done(
        "losetup",
        &["--detach", String::from_utf8_lossy(&device.stdout).trim()],
    );
    done("ip", &["link", "delete", &mark]);
    done("ip", &["netns", "delete", &mark]);
    done("umount", &[&mount]);
    std::fs::remove_dir(&mount).unwrap();
    std::fs::remove_file(&disk).unwrap();
    let after = before
        .until(&Census::take(&state).unwrap())
        .that_bear(&[&mark]);
    std::fs::remove_dir(&state).unwrap();

    assert_eq!(
        kinds,
        [
            Kind::NetNamespace,
            Kind::Link,
            Kind::Mount,
            Kind::Cgroup,
            Kind::LoopDevice,
            Kind::File
        ],
        "{during}"
    );
    assert_eq!(after.to_string(), "no difference");
}
