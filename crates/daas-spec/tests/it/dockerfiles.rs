//! Dockerfiles: what is read of them, and what is told of those that are wrong.

use daas_spec::dockerfile::{
    BuildInputs, Dockerfile, Origin, Plan, Scope, Step, read_dockerfile, read_trigger,
};
use std::fmt::Write;

fn inputs() -> BuildInputs {
    BuildInputs {
        build_platform: "linux/amd64".to_owned(),
        target_platform: "linux/amd64".to_owned(),
        ..BuildInputs::default()
    }
}

/// Reads `text` and shows what a build would do with it.
fn shown(text: &str, inputs: &BuildInputs) -> String {
    let parsed = read_dockerfile("Dockerfile", text.as_bytes());
    let mut out = String::new();
    for d in &parsed.diagnostics {
        writeln!(out, "{d}").unwrap();
    }
    let Some(file) = parsed.dockerfile else {
        return out;
    };
    match file.plan(inputs) {
        Ok(plan) => show_plan(&file, &plan, &mut out),
        Err(faults) => faults.iter().for_each(|d| writeln!(out, "{d}").unwrap()),
    }
    out
}

fn show_plan(file: &Dockerfile, plan: &Plan, out: &mut String) {
    for d in &plan.remarks {
        writeln!(out, "{d}").unwrap();
    }
    writeln!(out, "order {:?}", plan.order).unwrap();
    let mut scopes: Vec<Option<Scope>> = vec![None; plan.stages.len()];
    for number in plan.order.clone() {
        let (stage, planned) = (&file.stages[number], &plan.stages[number]);
        let name = stage.name.as_deref().unwrap_or("-");
        writeln!(out, "stage {number} {name} from {:?}", planned.base).unwrap();
        let mut scope = match planned.base {
            Origin::Stage(base) => scopes[base].clone().unwrap(),
            _ => plan.scope(&[("PATH".to_owned(), "/bin".to_owned())]),
        };
        for step in planned.triggers.iter().chain(&stage.steps) {
            show_step(&mut scope, step, out);
        }
        writeln!(out, "  env {:?}", scope.run_env()).unwrap();
        scopes[number] = Some(scope);
    }
}

fn show_step(scope: &mut Scope, step: &Step, out: &mut String) {
    match scope.resolve(step) {
        Ok(action) => writeln!(out, "  {}:{} {action:?}", step.at.line, step.at.column).unwrap(),
        Err(faults) => faults.iter().for_each(|d| writeln!(out, "{d}").unwrap()),
    }
    for d in scope.take_remarks() {
        writeln!(out, "{d}").unwrap();
    }
}

#[test]
fn a_modern_file_is_read_whole() {
    insta::assert_snapshot!(shown(
        include_str!("dockerfiles/modern.Dockerfile"),
        &inputs()
    ));
}

#[test]
fn every_fault_is_told_at_once_with_its_place_and_a_hint() {
    insta::assert_snapshot!(shown(
        include_str!("dockerfiles/faulty.Dockerfile"),
        &inputs()
    ));
}

#[test]
fn what_is_legal_and_unwise_is_told_by_the_names_of_buildkit() {
    insta::assert_snapshot!(shown(
        include_str!("dockerfiles/unwise.Dockerfile"),
        &inputs()
    ));
}

#[test]
fn a_trigger_is_one_instruction() {
    assert_eq!(
        read_trigger("base", "RUN a \\\n b").unwrap().text,
        "RUN a  b"
    );
    for wrong in [
        "",
        "# x",
        "FROM x",
        "RUN a\nRUN b",
        "ONBUILD RUN a",
        "RNU a",
        "MAINTAINER a",
    ] {
        assert!(read_trigger("base", wrong).is_err(), "{wrong}");
    }
}
