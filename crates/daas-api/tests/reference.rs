//! The checked-in description of the API is the program's own.
//!
//! `DAAS_BLESS=1 cargo test -p daas-api --test reference` writes the files anew.

use daas_api::endpoint::{BASE, Body, ENDPOINTS};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn reference(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs/reference")
        .join(name)
}

fn compare(name: &str, wanted: &str) {
    let path = reference(name);
    if std::env::var_os("DAAS_BLESS").is_some_and(|wish| !wish.is_empty()) {
        std::fs::write(&path, wanted).expect("the reference folder can be written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "{} is not what the code says; write it anew with DAAS_BLESS=1",
        path.display()
    );
}

fn openapi_text() -> String {
    let mut text = serde_json::to_string_pretty(&daas_api::openapi()).expect("it is plain data");
    text.push('\n');
    text
}

#[test]
fn the_checked_in_openapi_is_the_programs_own() {
    compare("openapi.json", &openapi_text());
}

#[test]
fn every_reference_in_the_openapi_leads_somewhere() {
    let document: serde_json::Value = serde_json::from_str(&openapi_text()).unwrap();
    let mut references = BTreeSet::new();
    collect(&document, &mut references);
    assert!(references.len() > 20, "{references:?}");
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(
            document.pointer(pointer).is_some(),
            "{reference} leads nowhere"
        );
    }
}

fn collect(value: &serde_json::Value, references: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(map) => {
            if let Some(reference) = map.get("$ref").and_then(|r| r.as_str()) {
                references.insert(reference.to_owned());
            }
            map.values().for_each(|v| collect(v, references));
        }
        serde_json::Value::Array(list) => list.iter().for_each(|v| collect(v, references)),
        _ => {}
    }
}

#[test]
fn the_checked_in_api_page_is_the_programs_own() {
    let mut page = String::from(include_str!("api_head.md"));
    let mut noun = "";
    for endpoint in ENDPOINTS {
        if endpoint.noun() != noun {
            noun = endpoint.noun();
            page.push_str(&format!(
                "\n### {noun}\n\n| request | what it does | answer |\n|---|---|---|\n"
            ));
        }
        let answer = match endpoint.answer {
            Body::Empty => "nothing".to_owned(),
            Body::Json(_) => "JSON".to_owned(),
            Body::Events(_) => "server-sent events or lines of JSON".to_owned(),
            Body::JsonOrEvents(_) => "JSON; with `follow=true` events or lines".to_owned(),
            Body::Bytes(media) => format!("`{media}`"),
            Body::Upgrade(protocol) => format!("the connection becomes `{protocol}`"),
        };
        page.push_str(&format!(
            "| `{} {BASE}{}` | {} | {} {answer} |\n",
            endpoint.method, endpoint.path, endpoint.summary, endpoint.status
        ));
    }
    compare("api.md", &page);
}
