//! What holds for every input.

use crate::support::{DIR, files, request};
use daas_spec::{Outcome, read_project};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Pieces of compose files, so that arbitrary mixtures come far into the reader.
const WORDS: &[&str] = &[
    "services",
    "image",
    "ports",
    "volumes",
    "networks",
    "environment",
    "depends_on",
    "extends",
    "include",
    "build",
    "deploy",
    "healthcheck",
    "secrets",
    "configs",
    "x-daas",
    "limits",
    "80:80",
    "1-3:1-3/udp",
    "./a:/b:ro",
    "v",
    "i",
    "s",
    "t",
    "true",
    "no",
    "~",
    "10s",
    "512m",
    "10.0.0.0/24",
    "10.0.0.5",
    "service:t",
    "host",
    "${A:-b}",
    "$$",
    "$A",
    "${",
    "file",
    "service",
    "a.yaml",
    "restart",
    "always",
    "user",
    "-1",
    "network_mode",
    "links",
    "scale",
    "2",
    "command",
    "test",
    "CMD",
    "<<",
    "profiles",
    "name",
    "cap_add",
    "ALL",
    "ipam",
    "config",
    "subnet",
    "target",
    "source",
    "type",
    "bind",
    "tmpfs",
    "external",
    "content",
    "privileged",
    "logging",
    "ulimits",
    "nofile",
    "expose",
    "container_name",
    "replicas",
    "resources",
    "condition",
    "service_healthy",
    "post_start",
    "dns",
    "extra_hosts",
];

fn word() -> impl Strategy<Value = String> {
    prop_oneof![8 => proptest::sample::select(WORDS).prop_map(str::to_owned), 1 => "\\PC{0,8}", 1 => "[a-z0-9:./-]{0,12}"]
}

fn scalar() -> impl Strategy<Value = String> {
    word().prop_map(|w| serde_json::to_string(&w).unwrap())
}

/// Any tree as flow YAML, now and then with an anchor, an alias or a tag.
fn tree() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![6 => scalar(), 1 => Just("*x".to_owned()), 1 => Just("~".to_owned())];
    leaf.prop_recursive(5, 60, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5)
                .prop_map(|l| format!("[{}]", l.join(", "))),
            proptest::collection::vec((scalar(), inner.clone()), 0..5).prop_map(|m| {
                let entries: Vec<String> =
                    m.into_iter().map(|(k, v)| format!("{k}: {v}")).collect();
                format!("{{{}}}", entries.join(", "))
            }),
            inner.clone().prop_map(|v| format!("!reset {v}")),
            inner.prop_map(|v| format!("!override {v}")),
        ]
    })
}

/// A project that looks right from afar.
fn project() -> impl Strategy<Value = String> {
    let service = proptest::collection::btree_map(word(), tree(), 0..6).prop_map(|m| {
        let entries: Vec<String> = m
            .into_iter()
            .map(|(k, v)| format!("{}: {v}", serde_json::to_string(&k).unwrap()))
            .collect();
        format!("{{\"image\": \"i\", {}}}", entries.join(", "))
    });
    (
        proptest::collection::btree_map(word(), service, 1..4),
        proptest::collection::btree_map(word(), tree(), 0..4),
    )
        .prop_map(|(services, top)| {
            let services: Vec<String> = services
                .into_iter()
                .map(|(k, v)| format!("{}: {v}", serde_json::to_string(&k).unwrap()))
                .collect();
            let top: Vec<String> = top
                .into_iter()
                .map(|(k, v)| format!("{}: {v}\n", serde_json::to_string(&k).unwrap()))
                .collect();
            format!(
                "x-x: &x {{\"restart\": \"always\"}}\nservices: {{{}}}\n{}",
                services.join(", "),
                top.concat()
            )
        })
}

fn check(all: &BTreeMap<String, Vec<u8>>) -> Result<Outcome, TestCaseError> {
    let outcome = read_project(all, &request());
    prop_assert_eq!(outcome.spec.is_none(), outcome.has_errors());
    for diagnostic in &outcome.diagnostics {
        prop_assert!(!diagnostic.message.is_empty());
        if let Some(place) = diagnostic.place.as_ref().filter(|p| p.line > 0) {
            let bytes = all
                .get(&format!("{DIR}/{}", place.file))
                .cloned()
                .unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes)
                .replace("\r\n", "\n")
                .replace('\r', "\n");
            let text = text.strip_prefix('\u{feff}').unwrap_or(&text).to_owned();
            let lines: Vec<&str> = text.split('\n').collect();
            let line = lines.get(place.line as usize - 1);
            prop_assert!(
                line.is_some(),
                "{diagnostic} lies behind the end of {text:?}"
            );
            // One behind the last character is the end of the line.
            prop_assert!(
                place.column as usize <= line.map_or(0, |l| l.chars().count()) + 1,
                "{diagnostic} lies behind the end of its line in {text:?}"
            );
        }
        prop_assert!(
            !diagnostic
                .to_string()
                .chars()
                .any(|c| c.is_control() && c != '\n')
        );
    }
    let again = read_project(&outcome.files_read, &request());
    prop_assert_eq!(&again, &outcome);
    Ok(outcome)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        check(&[(format!("{DIR}/compose.yaml"), bytes)].into())?;
    }

    #[test]
    fn arbitrary_text_is_read_without_panic(text in "[a-z:\\-\\[\\]\\{\\},\"'&*!|>%@#\\\\?<~$ \t\r\n\u{feff}äñ]{0,120}") {
        check(&files(&[("compose.yaml", &text)]))?;
    }

    #[test]
    fn arbitrary_trees_are_read_without_panic(text in tree()) {
        check(&files(&[("compose.yaml", &text)]))?;
    }

    #[test]
    fn projects_and_their_overrides_are_read_without_panic(base in project(), over in project(), env in "[A-C=\"'$\\{\\}:\\-# \n]{0,40}") {
        check(&files(&[("compose.yaml", &base), ("compose.override.yaml", &over), ("a.yaml", &over), (".env", &env)]))?;
    }
}
