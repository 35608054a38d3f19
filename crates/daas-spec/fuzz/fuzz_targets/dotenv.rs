//! An environment file in both formats, as `.env`, as `env_file` and as `label_file`.

#![no_main]

use daas_spec::{ProjectRequest, read_project};
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;

const PROJECT: &str = "services:\n  a: {image: i, env_file: .env}\n  b: {image: i, env_file: [{path: .env, format: raw}]}\n  c: {image: i, label_file: .env}\n";

fuzz_target!(|data: &[u8]| {
    let files: BTreeMap<String, Vec<u8>> = [
        ("/p/compose.yaml".to_owned(), PROJECT.as_bytes().to_vec()),
        ("/p/.env".to_owned(), data.to_vec()),
    ]
    .into();
    let request = ProjectRequest {
        dir: "/p".into(),
        env: [("OUT".to_owned(), "outer".to_owned())].into(),
        ..ProjectRequest::default()
    };
    let outcome = read_project(&files, &request);
    assert_eq!(outcome.spec.is_none(), outcome.has_errors());
});
