//! A project of one to four files: no panic, an outcome that agrees with itself, and the same when read again.

#![no_main]

use daas_spec::{ProjectRequest, read_project};
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;

const NAMES: [&str; 4] = ["compose.yaml", "compose.override.yaml", "a.yaml", ".env"];

fuzz_target!(|data: &[u8]| {
    // Files are parted by a byte that no text of them may hold.
    let files: BTreeMap<String, Vec<u8>> = NAMES
        .iter()
        .zip(data.split(|b| *b == 0xff))
        .map(|(name, bytes)| (format!("/p/{name}"), bytes.to_vec()))
        .collect();
    let request = ProjectRequest {
        dir: "/p".into(),
        ..ProjectRequest::default()
    };
    let outcome = read_project(&files, &request);
    assert_eq!(outcome.spec.is_none(), outcome.has_errors());
    for diagnostic in &outcome.diagnostics {
        assert!(!diagnostic.to_string().chars().any(|c| c.is_control() && c != '\n'));
    }
    if data.len() < 4096 {
        assert_eq!(read_project(&outcome.files_read, &request), outcome);
    }
});
