//! A text with variables: a text that has none, or doubled dollars only, comes out as it went in.

#![no_main]

use daas_spec::{ProjectRequest, read_project};
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;
use std::fmt::Write;

fn label(text: &str, double: bool) -> Option<String> {
    let text = if double { text.replace('$', "$$") } else { text.to_owned() };
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() || c == '\u{feff}' => {
                let _ = write!(quoted, "\\U{:08x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    let project = format!("services: {{s: {{image: i, labels: {{l: {quoted}\"}}}}}}\n");
    let files: BTreeMap<String, Vec<u8>> = [("/p/compose.yaml".to_owned(), project.into_bytes())].into();
    let request = ProjectRequest {
        dir: "/p".into(),
        env: [("A".to_owned(), "a".to_owned()), ("E".to_owned(), String::new())].into(),
        ..ProjectRequest::default()
    };
    let outcome = read_project(&files, &request);
    let spec = outcome.spec?;
    spec.nodes.values().next().and_then(|n| n.labels.get("l").cloned())
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if text.contains('\0') || text.len() > 10_000 {
        return;
    }
    assert_eq!(label(text, true).as_deref(), Some(text));
    let plain = label(text, false);
    if !text.contains('$') {
        assert_eq!(plain.as_deref(), Some(text));
    }
});
