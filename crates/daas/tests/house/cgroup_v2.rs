//! The tests that need root, once more on a machine whose only cgroup hierarchy is version 2.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use xtask::programs::{TestProgram, test_programs};
use xtask::vm::{Ended, Job, Kernel};

/// One machine at a time: each takes both processors.
pub(crate) static ONE: Mutex<()> = Mutex::new(());

/// Runs the `root_` tests of one crate in a machine, and returns how many there were.
///
/// # Panics
/// When one of them fails there.
fn pass_in_machine(of_crate: &str) -> usize {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let kernel = Kernel::of_debian().expect("Debian has a cloud kernel");
    let programs = test_programs(of_crate).expect("the tests compile");
    let mut passed = 0;
    for program in programs.iter().filter(|program| has_root_tests(program)) {
        let path = program.path.display().to_string();
        // Two at a time, as the machine has two processors; by name, so that this test does not meet itself.
        let mut job = Job::new([
            path.as_str(),
            "root_",
            "--test-threads=2",
            "--skip",
            "root_v2",
            // It makes images, and the machine reaches no package mirror.
            "--skip",
            "root_every_example",
            // They fetch packages and languages' libraries.
            "--skip",
            "root_a_described_service",
            "--skip",
            "root_python_packages",
            // Doors, edges, names of the world, contexts and new contents have nothing to do with cgroups; most bring browsers and servers of their own.
            "--skip",
            "changes::",
            "--skip",
            "contexts::",
            "--skip",
            "doors::",
            "--skip",
            "edges::",
            "--skip",
            "environment::",
            "--skip",
            "inside::",
            "--skip",
            "load::",
            "--skip",
            "registry_tls::",
            "--skip",
            "routes::",
            "--skip",
            "ssh::",
            "--skip",
            "tls::",
            "--skip",
            "trust::",
            "--skip",
            "words::",
            // They count seconds of silence, and requests that waited too long; here all do.
            "--skip",
            "root_a_stand_that_nobody_visits",
            "--skip",
            "root_no_request_fails",
        ]);
        // What was compiled outside is found inside.
        if let Ok(target) = std::env::var("CARGO_TARGET_DIR") {
            job.environment.push(("CARGO_TARGET_DIR".into(), target));
        }
        job.folder.clone_from(&program.folder);
        // One takes some minutes; on a machine that does other things besides, emulated processors are slower still.
        job.limit = Duration::from_secs(1800);
        let (ended, said) = lived_through(&job, &kernel);
        assert_eq!(ended.code, 0, "{}\n{said}", program.name);
        passed += count_of_passed(&said);
    }
    passed
}

/// Runs a job; once more when its machine stands still, as an emulated one under load may. A test that failed is not run again.
///
/// # Panics
/// When the second machine stands still as well.
#[expect(clippy::print_stderr, reason = "a test tells whoever reads its output")]
fn lived_through(job: &Job, kernel: &Kernel) -> (Ended, String) {
    let life = || {
        let mut said = Vec::new();
        let ended = job.run(kernel, &mut said);
        let said = String::from_utf8_lossy(&said).into_owned();
        ended
            .map(|ended| (ended, said.clone()))
            .map_err(|fault| format!("{fault:#}\n{said}"))
    };
    life().unwrap_or_else(|first| {
        eprintln!("a machine stood still, another is made: {first}");
        life().unwrap_or_else(|second| panic!("two machines stood still: {second}"))
    })
}

fn has_root_tests(program: &TestProgram) -> bool {
    let output = std::process::Command::new(&program.path)
        .args(["root_", "--list"])
        .current_dir(&program.folder)
        .output()
        .expect("a test program runs");
    String::from_utf8_lossy(&output.stdout).contains(": test")
}

fn count_of_passed(said: &str) -> usize {
    said.lines()
        .filter_map(|line| {
            line.strip_prefix("test result: ok. ")?
                .split(' ')
                .next()?
                .parse::<usize>()
                .ok()
        })
        .sum()
}

#[test]
fn root_v2_a_pure_cgroup_v2_kernel_passes_the_tests_of_sys() {
    assert!(pass_in_machine("daas-sys") >= 4);
}

#[test]
fn root_v2_a_pure_cgroup_v2_kernel_passes_the_tests_of_engine() {
    assert!(pass_in_machine("daas-engine") >= 10);
}

#[test]
fn root_v2_a_pure_cgroup_v2_kernel_passes_the_tests_of_keeper() {
    assert!(pass_in_machine("daas-keeper") >= 2);
}

/// All tests of this very program but these: with emulated processors, two minutes.
#[test]
fn root_v2_a_pure_cgroup_v2_kernel_passes_the_tests_of_the_house() {
    for name in ["answer", "spoof"] {
        xtask::trials::trial_program(name).expect("a small program compiles");
    }
    assert!(pass_in_machine("daas") >= 5);
}
