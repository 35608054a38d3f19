//! Documents about an image that was built, attached to it: where it comes from, and what is in it.

use crate::sbom::sbom;
use crate::state::time;
use daas_image::{Artifact, Digest, Image, ImageError, Store};
use daas_model::ImageName;
use serde_json::json;
use std::collections::BTreeMap;

/// in-toto attestations (github.com/in-toto/attestation, "Statement v1").
const IN_TOTO: &str = "application/vnd.in-toto+json";
/// SPDX 2.3 as JSON.
const SPDX: &str = "application/spdx+json";

/// What a build was made of; values of arguments are left out, since people put secrets there.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) names: Vec<ImageName>,
    pub(crate) file: String,
    pub(crate) dockerfile: Digest,
    pub(crate) target: Option<String>,
    pub(crate) args: Vec<String>,
    /// Base images with their digests, by name.
    pub(crate) bases: Vec<(ImageName, Digest)>,
    pub(crate) began: i64,
}

/// Attaches both documents, unless they are there. Blocks.
pub(crate) fn attach(store: &Store, image: &Image, origin: &Origin) -> Result<(), ImageError> {
    let there = store.referrers(&image.digest)?;
    let has = |kind: &str| {
        there
            .iter()
            .any(|r| r.artifact_type.as_deref() == Some(kind))
    };
    let put = |kind: &str, text: Vec<u8>| {
        store.attach(
            &image.digest,
            &Artifact {
                artifact_type: kind.to_owned(),
                parts: vec![(kind.to_owned(), text)],
                annotations: BTreeMap::new(),
            },
        )
    };
    if !has(IN_TOTO) {
        put(IN_TOTO, provenance(image, origin))?;
    }
    if !has(SPDX) {
        let name = origin
            .names
            .first()
            .map_or_else(|| image.digest.to_string(), ImageName::familiar);
        let list = sbom(image, &name).map_err(|source| ImageError::Io {
            action: "list the packages of",
            path: image.digest.to_string().into(),
            source,
        })?;
        put(SPDX, list)?;
    }
    Ok(())
}

/// Returns the statement (slsa.dev/spec/v1.0/provenance).
fn provenance(image: &Image, origin: &Origin) -> Vec<u8> {
    let digest = json!({"sha256": image.digest.hex()});
    let mut subject: Vec<_> = origin
        .names
        .iter()
        .map(|name| json!({"name": name.to_string(), "digest": digest}))
        .collect();
    if subject.is_empty() {
        subject.push(json!({"name": image.digest.as_str(), "digest": digest}));
    }
    let bases: Vec<_> = origin
        .bases
        .iter()
        .map(|(name, of)| json!({"uri": format!("pkg:docker/{name}"), "digest": {"sha256": of.hex()}}))
        .collect();
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subject,
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "urn:daas:build:dockerfile:1",
                "externalParameters": {
                    "file": origin.file,
                    "dockerfile": {"sha256": origin.dockerfile.hex()},
                    "target": origin.target,
                    "arguments": origin.args,
                },
                "resolvedDependencies": bases,
            },
            "runDetails": {
                "builder": {"id": "urn:daas:builder", "version": {"daas": env!("CARGO_PKG_VERSION")}},
                "metadata": {"startedOn": time(origin.began)},
            },
        },
    });
    statement.to_string().into_bytes()
}
