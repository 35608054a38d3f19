//! Builds compared with Docker's own, over the Dockerfiles of `tests/dockerfiles`: the same files (path, kind, mode, owner,
//! content, extended attributes) and the same configuration.
//!
//! The judge is Debian's `docker.io`: the classic builder, or the BuildKit within its daemon where a file says so. What neither
//! knows has the tree that it must give written below it. Lines that begin with `#:` say what a case wants:
//!
//! | line | meaning |
//! |---|---|
//! | `judge buildkit` | the judge is BuildKit, not the classic builder |
//! | `tree MODE UID:GID PATH WHAT` | no judge: the image holds this; `dir`, `"text"`, `-> target` or `*` |
//! | `fails` | the build fails, in both |
//! | `refused CODE` | the build is refused with this code, whatever others do |
//! | `arg`, `secret`, `context` `NAME=VALUE`, `target NAME` | what is given to the build |
//! | `web` | the argument `WEB` is the address of a web server with the files of `served.rs` |
//! | `ignore PATTERN` | a line of `.dockerignore` |
//! | `differs PATH REASON` | what is at or below this path, or this setting, is another thing here, for this reason |
//! | `old PATH REASON` | the same, but only with Docker 20.10: BuildKit of today does as we do |
//!
//! Whoever has BuildKit of today (`DAAS_BUILDKIT` names the folder of `buildkitd` and `buildctl`) has it judge every case.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests may fail loudly, and tell at once what a long run finds"
)]

mod case;
mod docker;
mod fixture;
mod modern;
mod ours;
#[path = "../builds/repository.rs"]
#[expect(
    dead_code,
    reason = "the other tests of builds change repositories, too"
)]
mod repository;
mod served;
mod tree;
#[path = "../builds/web.rs"]
#[expect(dead_code, reason = "the other tests of builds look at what was asked")]
mod web;

use case::{Case, Judge};
use std::fmt::Write;

/// Builds every case of one judge; returns what differs.
fn compare(
    cases: &mut [Case],
    ground: &tempfile::TempDir,
    docker: Option<&docker::Docker>,
) -> String {
    let base = fixture::images();
    let ours = ours::Ours::start(&ground.path().join("ours"), &base);
    if let Some(docker) = docker {
        docker.load(&base);
    }
    let plain = tree::of_image(&base[0].archive).tree;
    let mut report = String::new();
    let _web = served::to(cases);
    for case in cases {
        let context = ground.path().join("contexts").join(&case.name);
        fixture::context(&context, &case.ignore);
        let got = ours.build(case, &context);
        let faults = match (&case.judge, docker) {
            (Judge::Tree(wanted), _) => match &got {
                Ok(image) => tree::against_lines(wanted, &image.tree, &plain, &case.differs),
                Err(why) => vec![format!("does not build: {why}")],
            },
            (Judge::Refused(code), _) => match &got {
                Ok(_) => vec!["builds".to_owned()],
                Err(why) if why.contains(code.as_str()) => Vec::new(),
                Err(why) => vec![format!("is refused for another reason: {why}")],
            },
            (Judge::Docker { buildkit }, Some(docker)) => {
                let wanted = docker.build(case, &context, *buildkit);
                match (wanted, got) {
                    (Ok(_), _) | (_, Ok(_)) if case.fails => vec!["does not fail".to_owned()],
                    (Err(_), Err(_)) if case.fails => Vec::new(),
                    (Ok(wanted), Ok(got)) => {
                        let allowed = [case.differs.clone(), case.old.clone()].concat();
                        tree::differences(&wanted, &got, &allowed)
                    }
                    (Err(why), _) => vec![format!("the judge does not build it: {why}")],
                    (Ok(_), Err(why)) => vec![format!("does not build: {why}")],
                }
            }
            (Judge::Docker { .. }, None) => Vec::new(),
        };
        for fault in faults {
            // Whoever waits for a long run sees it at once.
            println!("{}: {fault}", case.name);
            writeln!(report, "{}: {fault}", case.name).unwrap();
        }
        std::fs::remove_dir_all(&context).unwrap();
    }
    ours.end();
    report
}

#[test]
fn root_builds_give_the_trees_that_are_written_below_them() {
    let ground = tempfile::tempdir().unwrap();
    let mut cases: Vec<Case> = case::all()
        .into_iter()
        .filter(|c| !matches!(c.judge, Judge::Docker { .. }))
        .collect();
    assert!(case::is_part() || cases.len() >= 10, "{}", cases.len());
    assert_eq!(compare(&mut cases, &ground, None), "");
}

#[test]
fn root_builds_are_those_of_docker() {
    // A Docker daemon of its own takes its time: in the long part only.
    if std::env::var_os("DAAS_SOAK").is_none() {
        return;
    }
    let ground = tempfile::tempdir().unwrap();
    let docker = docker::Docker::start(&ground.path().join("docker"));
    let mut cases: Vec<Case> = case::all()
        .into_iter()
        .filter(|c| matches!(c.judge, Judge::Docker { .. }))
        .collect();
    assert!(case::is_part() || cases.len() >= 60, "{}", cases.len());
    let report = compare(&mut cases, &ground, Some(&docker));
    docker.end();
    assert_eq!(report, "");
}

#[test]
fn root_builds_are_those_of_buildkit_of_today() {
    let Some(programs) = std::env::var_os("DAAS_BUILDKIT") else {
        return;
    };
    let ground = tempfile::tempdir().unwrap();
    let base = fixture::images();
    let ours = ours::Ours::start(&ground.path().join("ours"), &base);
    let judge = modern::Modern::start(&ground.path().join("buildkit"), programs.into(), &base);
    let mut report = String::new();
    let mut cases = case::all();
    let _web = served::to(&mut cases);
    for case in cases.iter().filter(|c| modern::judges(c)) {
        let context = ground.path().join("contexts").join(&case.name);
        fixture::context(&context, &case.ignore);
        let faults = match (judge.build(case, &context), ours.build(case, &context)) {
            (Ok(_), _) | (_, Ok(_)) if case.fails => vec!["does not fail".to_owned()],
            (Err(_), Err(_)) if case.fails => Vec::new(),
            (Ok(wanted), Ok(got)) => tree::differences(&wanted, &got, &case.differs),
            (Err(why), _) => vec![format!("the judge does not build it: {why}")],
            (Ok(_), Err(why)) => vec![format!("does not build: {why}")],
        };
        for fault in faults {
            println!("{}: {fault}", case.name);
            writeln!(report, "{}: {fault}", case.name).unwrap();
        }
        std::fs::remove_dir_all(&context).unwrap();
    }
    judge.end();
    ours.end();
    assert_eq!(report, "");
}
