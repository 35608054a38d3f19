//! Every project of `examples/` is brought up by the program itself, answers as its `probe.yaml` says, and leaves nothing.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "all of it is a test: helpers may panic and tell what takes long"
)]

mod images;
mod probe;
mod program;

use probe::Probe;
use program::Program;
use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use xtask::census::{Census, Kind};
use xtask::house::{Daemon, Settings};

/// How many examples are up at once: more would not be quicker on two cores, and fewer would wait for each other's seconds.
const AT_ONCE: usize = 3;
/// How long leftovers may take to vanish: the issue grants 5 s.
const GRACE: Duration = Duration::from_secs(20);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../examples")
        .canonicalize()
        .unwrap()
}

/// Returns the folders of all examples, by name.
fn examples() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("compose.yaml").exists())
        .collect();
    found.sort();
    found
}

fn name_of(example: &Path) -> String {
    example.file_name().unwrap().to_string_lossy().into_owned()
}

#[test]
fn there_are_ten_examples_besides_the_demo_and_each_says_how_it_is_probed_and_run() {
    let examples = examples();
    assert!(examples.len() > 10, "{examples:?}");
    for example in examples {
        assert!(
            !Probe::read(&example).unwrap().is_empty(),
            "{}",
            example.display()
        );
        let readme = fs::read_to_string(example.join("README.md")).unwrap();
        for word in [
            "**What**",
            "**Shows**",
            "**Run**",
            "**Look at**",
            "make-images",
            "daas stand up",
        ] {
            assert!(readme.contains(word), "{}: no {word}", example.display());
        }
    }
}

#[test]
fn every_example_is_free_of_faults() {
    for example in examples() {
        Program::offline()
            .run(&[
                "project",
                "check",
                "--project-directory",
                example.to_str().unwrap(),
            ])
            .unwrap();
    }
}

#[test]
fn root_every_example_comes_up_answers_and_leaves_nothing() {
    let daemon = Daemon::start(Settings {
        program: Program::path().into(),
        configuration: String::new(),
        environment: Vec::new(),
    })
    .unwrap();
    let program = Program::of(&daemon);
    images::bring_in(&program, &folder()).unwrap();
    // What `up` builds stays as an image, and is no leftover: it is built before the count.
    for example in examples().iter().filter(|example| has_builds(example)) {
        play(&program, &daemon, example).unwrap();
    }
    let before = count_in_quiet(&daemon);

    let waiting: Mutex<VecDeque<PathBuf>> = Mutex::new(examples().into());
    let faults: Mutex<Vec<String>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(example) = next(&waiting) {
                    let begun = Instant::now();
                    let result = play(&program, &daemon, &example);
                    println!(
                        "{}: {:.1} s",
                        name_of(&example),
                        begun.elapsed().as_secs_f64()
                    );
                    if let Err(fault) = result {
                        faults
                            .lock()
                            .unwrap()
                            .push(format!("{}: {fault}", name_of(&example)));
                    }
                }
            });
        }
    });

    let faults = faults.into_inner().unwrap();
    assert!(
        faults.is_empty(),
        "{}\n--- the daemon said:\n{}",
        faults.join("\n\n"),
        complaints(&daemon)
    );
    nothing_is_left(&daemon, &before);
}

/// Returns whether a service of the example is built from a Dockerfile or a description.
fn has_builds(example: &Path) -> bool {
    let file = std::fs::read_to_string(example.join("compose.yaml")).unwrap_or_default();
    file.lines()
        .any(|line| line.trim_start().starts_with("build:"))
}

/// Returns what the daemon said that is more than the daily round.
fn complaints(daemon: &Daemon) -> String {
    daemon
        .said()
        .lines()
        .filter(|line| !line.contains(" INFO "))
        .collect::<Vec<_>>()
        .join("\n")
}

fn next(waiting: &Mutex<VecDeque<PathBuf>>) -> Option<PathBuf> {
    waiting.lock().unwrap().pop_front()
}

/// Brings one example up, probes it, takes it down; a failed probe comes with the logs of the stand.
fn play(program: &Program, daemon: &Daemon, example: &Path) -> Result<(), String> {
    let name = name_of(example);
    let probes = Probe::read(example)?;
    let result = program
        .run(&[
            "stand",
            "up",
            "--project-directory",
            example.to_str().ok_or("a strange path")?,
        ])
        .and_then(|_| {
            let view = daemon
                .api()
                .get(&format!("/stands/{name}"))
                .map_err(|error| format!("{error:#}"))?;
            let address = view["address"]
                .as_str()
                .ok_or_else(|| format!("no address: {view}"))?;
            probes
                .iter()
                .try_for_each(|probe| probe.holds(program, &name, address))
        });
    let result = result.map_err(|fault| {
        let list = program
            .run(&["stand", "show", &name])
            .unwrap_or_else(|error| error);
        let logs = program
            .run(&["stand", "logs", &name])
            .unwrap_or_else(|error| error);
        let tail: Vec<&str> = logs
            .lines()
            .rev()
            .take(60)
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
            .collect();
        format!("{fault}\n{list}\n{}", tail.join("\n"))
    });
    let down = program.run(&["stand", "down", &name]).map(|_| ());
    result.and(down)
}

/// Counts once nothing changes any more: keepers kept in reserve are made in quiet moments.
fn count_in_quiet(daemon: &Daemon) -> Census {
    let until = Instant::now() + GRACE;
    loop {
        let first = Census::take(&daemon.state()).unwrap();
        std::thread::sleep(Duration::from_secs(2));
        let second = Census::take(&daemon.state()).unwrap();
        let change = first.until(&second).that_bear(&[daemon.mark()]);
        if change.is_empty() {
            return second;
        }
        assert!(Instant::now() < until, "it never gets quiet:\n{change}");
    }
}

fn nothing_is_left(daemon: &Daemon, before: &Census) {
    let until = Instant::now() + GRACE;
    loop {
        // Spare keepers are made anew all the time, so only numbers count; records grow in their files.
        let mut left = before
            .until(&Census::take(&daemon.state()).unwrap())
            .that_bear(&[daemon.mark()])
            .surplus();
        left.more.retain(|(kind, words)| {
            *kind != Kind::File || !(words.contains(".sqlite") || words.contains(".db"))
        });
        if left.is_empty() {
            return;
        }
        assert!(
            Instant::now() < until,
            "left behind:\n{left}\n--- the daemon said:\n{}",
            complaints(daemon)
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}
