//! `daas system install` on a machine with a real systemd.

use crate::cgroup_v2::ONE;
use crate::trials::program;
use std::sync::PoisonError;
use std::time::Duration;
use xtask::trials;
use xtask::vm::{Job, Kernel};

/// Plays inside of the machine that the test below starts.
#[test]
#[ignore = "installs units of systemd: only for a machine that is thrown away"]
fn inside_the_daemon_is_a_unit_of_systemd() {
    trials::under_systemd(program()).unwrap();
}

#[test]
fn root_v2_systemd_keeps_the_daemon_and_nodes_survive_its_restart() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    // Not current_exe: another test may have had this very program linked anew, and the old one has no name any more.
    let test = std::env::args().next().unwrap();
    let mut job = Job::new([
        test.as_str(),
        "--ignored",
        "--exact",
        "systemd::inside_the_daemon_is_a_unit_of_systemd",
    ]);
    job.systemd = true;
    job.limit = Duration::from_secs(900);
    let kernel = Kernel::of_debian().expect("Debian has a cloud kernel");
    let mut said = Vec::new();
    let ended = job.run(&kernel, &mut said).expect("the machine comes up");
    let said = String::from_utf8_lossy(&said);
    assert_eq!(ended.code, 0, "{said}");
    assert!(said.contains("1 passed"), "{said}");
}
