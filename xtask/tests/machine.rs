//! The machine of `cargo xtask vm`, as tests use it.

use std::sync::Mutex;
use std::time::Duration;
use xtask::vm::{Job, Kernel};

/// One machine at a time: a test looks at the processes of this one, and two cores do not hold more.
static ONE: Mutex<()> = Mutex::new(());

fn run(job: &Job) -> (i32, String) {
    let _one = ONE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let kernel = Kernel::of_debian().expect("Debian has a cloud kernel");
    let mut said = Vec::new();
    let ended = job.run(&kernel, &mut said).expect("the machine comes up");
    (ended.code, String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn root_a_machine_runs_a_program_of_the_host_on_a_pure_cgroup_v2_kernel() {
    let mut job = Job::new(["/usr/bin/env", "-u", "HOME"]);
    job.environment = vec![("WORD".into(), "two words; $(and) 'more'".into())];
    job.folder = "/tmp".into();
    let (code, said) = run(&job);
    assert_eq!(code, 0);
    assert!(said.contains("WORD=two words; $(and) 'more'\n"), "{said}");
    let (code, said) = run(&Job::new([
        "/bin/grep",
        "-c",
        "",
        "/proc/self/cgroup",
        "/sys/fs/cgroup/cgroup.subtree_control",
    ]));
    assert_eq!(
        (code, said.as_str()),
        (
            0,
            "/proc/self/cgroup:1\n/sys/fs/cgroup/cgroup.subtree_control:1\n"
        )
    );
}

#[test]
fn root_the_exit_code_of_the_program_is_the_answer() {
    assert_eq!(run(&Job::new(["/bin/grep", "never", "/proc/version"])).0, 1);
    assert_eq!(run(&Job::new(["/no/such/program"])).0, 127);
}

#[test]
fn root_a_machine_that_hangs_is_killed_and_leaves_nothing() {
    let mut job = Job::new(["/bin/sleep", "1000"]);
    job.limit = Duration::from_secs(8);
    let _one = ONE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let fault = job
        .run(&Kernel::of_debian().unwrap(), &mut Vec::new())
        .unwrap_err();
    assert!(
        fault
            .to_string()
            .starts_with("the machine was killed after 8 s"),
        "{fault}"
    );
    let mine = format!("daas-vm-{}-", std::process::id());
    let command_lines: Vec<String> = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("cmdline")).ok())
        .filter(|line| line.contains(&mine))
        .collect();
    assert_eq!(command_lines, Vec::<String>::new());
}
