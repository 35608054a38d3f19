//! A Dockerfile, and behind a byte that no text may hold a `.dockerignore`: no panic, places within the text, and
//! instructions that are put in without end or come to one.

#![no_main]

use daas_spec::dockerfile::{BuildInputs, Ignore, read_dockerfile, read_trigger};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(2, |b| *b == 0xff);
    let text = parts.next().unwrap_or_default();
    if let Ok(ignore) = Ignore::read(parts.next().unwrap_or_default()) {
        for path in ["a", "a/b", "a/b/c.txt", ".git/config", "ä/*"] {
            ignore.excludes(path);
            ignore.may_keep_below(path);
        }
    }
    let parsed = read_dockerfile("Dockerfile", text);
    let lines = text.iter().filter(|b| **b == b'\n').count() + 1;
    for diagnostic in &parsed.diagnostics {
        assert!(!diagnostic.to_string().chars().any(|c| c.is_control() && c != '\n'));
        let line = diagnostic.place.as_ref().map_or(0, |p| p.line);
        assert!(usize::try_from(line).is_ok_and(|line| line <= lines));
    }
    let Some(file) = parsed.dockerfile else {
        return;
    };
    let inputs = BuildInputs {
        args: [("A".to_owned(), "x".to_owned())].into(),
        build_platform: "linux/amd64".to_owned(),
        target_platform: "linux/amd64".to_owned(),
        ..BuildInputs::default()
    };
    let Ok(plan) = file.plan(&inputs) else {
        return;
    };
    assert_eq!(plan.order.last(), Some(&plan.target));
    for number in &plan.order {
        assert!(plan.stages[*number].needs.iter().all(|n| n < number));
        let mut scope = plan.scope(&[("PATH".to_owned(), "/bin".to_owned())]);
        for step in plan.stages[*number].triggers.iter().chain(&file.stages[*number].steps) {
            let _ = scope.resolve(step);
            if let daas_spec::dockerfile::Instruction::Onbuild(text) = &step.instruction {
                assert!(read_trigger("base", text).is_ok(), "{text:?}");
            }
        }
    }
});
