//! Reading a manifest of any kind: what it is, what it is made of, what it is about.

use daas_image::Digest;
use std::collections::BTreeSet;

/// The largest manifest (OCI Distribution Specification 1.1: registries should take at least 4 MiB).
pub(crate) const MAX_MANIFEST: usize = 4 << 20;
/// The longest media type that is kept in memory for each manifest (RFC 6838 section 4.2 allows 127 + 1 + 127).
const MAX_TYPE: usize = 255;

const INDEXES: [&str; 2] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];
const MANIFESTS: [&str; 2] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// Keys by which a manifest is understood.
const KEYS: [&str; 6] = [
    "config",
    "layers",
    "manifests",
    "mediaType",
    "subject",
    "artifactType",
];

/// What the registry needs to know of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Document {
    pub(crate) media_type: String,
    /// Configuration and layers that are in the registry, each once.
    pub(crate) parts: Vec<Digest>,
    /// Manifests of an index, each once.
    pub(crate) children: Vec<Digest>,
    pub(crate) subject: Option<Digest>,
    pub(crate) artifact_type: Option<String>,
}

impl Document {
    /// Reads `bytes`, whose sender claims a media type.
    ///
    /// A document that can be read in two ways is refused (GO-2024-2914: two readers would run two images).
    pub(crate) fn parse(bytes: &[u8], claimed: Option<&str>) -> Result<Self, String> {
        let value: serde_json::Value =
            serde_json::from_slice(bytes).map_err(|e| format!("it is no JSON: {e}"))?;
        let object = value.as_object().ok_or("it is no JSON object")?;
        // Go's reader takes `Layers` for `layers`: two readers, two images.
        if let Some(key) = object.keys().find(|key| {
            KEYS.iter()
                .any(|known| known != key && known.eq_ignore_ascii_case(key))
        }) {
            return Err(format!(
                "its key `{}` is spelled otherwise",
                key.escape_debug()
            ));
        }
        let inner = match object.get("mediaType") {
            None => None,
            Some(serde_json::Value::String(text)) => Some(text.as_str()),
            Some(_) => return Err("its `mediaType` is no text".into()),
        };
        if let (Some(inner), Some(claimed)) = (inner, claimed)
            && inner != claimed
        {
            return Err(format!(
                "it says `{}` of itself, and its sender `{}`",
                inner.escape_debug(),
                claimed.escape_debug()
            ));
        }
        let is_index = object.get("manifests").is_some_and(|v| !v.is_null());
        let is_manifest = ["config", "layers"]
            .iter()
            .any(|key| object.get(*key).is_some_and(|v| !v.is_null()));
        if is_index && is_manifest {
            return Err("it can be read as a manifest and as an index".into());
        }
        if object.contains_key("fsLayers") || object.contains_key("signatures") {
            return Err("it is of Docker's first form (schema 1)".into());
        }
        let media_type = match inner.or(claimed) {
            Some(text) => text,
            None if is_index => INDEXES[0],
            None => MANIFESTS[0],
        };
        if media_type.len() > MAX_TYPE {
            return Err("its media type is too long".into());
        }
        if (INDEXES.contains(&media_type) && is_manifest)
            || (MANIFESTS.contains(&media_type) && is_index)
        {
            return Err(format!(
                "its content is not of the media type `{media_type}`"
            ));
        }
        let mut parts = BTreeSet::new();
        for descriptor in list(object, "layers")?.iter().chain(object.get("config")) {
            // A part with URLs of its own need not be here (foreign layers).
            if descriptor
                .get("urls")
                .is_none_or(serde_json::Value::is_null)
            {
                parts.insert(digest_of(descriptor)?);
            }
        }
        let mut children = BTreeSet::new();
        for descriptor in list(object, "manifests")? {
            children.insert(digest_of(descriptor)?);
        }
        let subject = match object.get("subject") {
            None | Some(serde_json::Value::Null) => None,
            Some(descriptor) => Some(digest_of(descriptor)?),
        };
        let text = |value: Option<&serde_json::Value>| {
            value
                .and_then(serde_json::Value::as_str)
                .filter(|text| !text.is_empty() && text.len() <= MAX_TYPE)
                .map(str::to_owned)
        };
        let artifact_type = text(object.get("artifactType"))
            .or_else(|| text(object.get("config").and_then(|c| c.get("mediaType"))));
        Ok(Self {
            media_type: media_type.to_owned(),
            parts: parts.into_iter().collect(),
            children: children.into_iter().collect(),
            subject,
            artifact_type,
        })
    }
}

/// Returns what a manifest says besides, for the list of referrers.
pub(crate) fn annotations_of(bytes: &[u8]) -> Option<serde_json::Value> {
    let value: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    value
        .get("annotations")
        .filter(|annotations| annotations.is_object())
        .cloned()
}

fn list<'a>(
    object: &'a serde_json::Map<String, serde_json::Value>,
    key: &str,
) -> Result<&'a [serde_json::Value], String> {
    match object.get(key) {
        None | Some(serde_json::Value::Null) => Ok(&[]),
        Some(serde_json::Value::Array(list)) => Ok(list),
        Some(_) => Err(format!("its `{key}` is no list")),
    }
}

fn digest_of(descriptor: &serde_json::Value) -> Result<Digest, String> {
    let text = descriptor
        .get("digest")
        .and_then(serde_json::Value::as_str)
        .ok_or("a part of it has no digest")?;
    Digest::parse(text).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_that_can_be_read_in_two_ways_is_refused() {
        let d = Digest::of(b"x");
        let part = format!(r#"{{"mediaType":"a/b","digest":"{d}","size":1}}"#);
        let both = format!(r#"{{"schemaVersion":2,"layers":[{part}],"manifests":[{part}]}}"#);
        assert!(Document::parse(both.as_bytes(), None).is_err());
        let image = format!(r#"{{"schemaVersion":2,"config":{part},"layers":[{part}]}}"#);
        assert!(Document::parse(image.as_bytes(), Some(INDEXES[0])).is_err());
        let parsed = Document::parse(image.as_bytes(), Some(MANIFESTS[1])).unwrap();
        assert_eq!(
            (parsed.parts, parsed.media_type.as_str()),
            (vec![d], MANIFESTS[1])
        );
        assert_eq!(parsed.artifact_type.as_deref(), Some("a/b"));
        let lying = format!(r#"{{"mediaType":"{}","config":{part}}}"#, MANIFESTS[0]);
        assert!(Document::parse(lying.as_bytes(), Some(MANIFESTS[1])).is_err());
        for bad in [
            &b""[..],
            b"[]",
            b"null",
            b"\xff",
            br#"{"layers":1}"#,
            br#"{"layers":[{}]}"#,
            br#"{"config":{"digest":"sha256:../../x"}}"#,
            br#"{"subject":{"digest":"no"}}"#,
            br#"{"schemaVersion":1,"fsLayers":[]}"#,
            br#"{"mediaType":7}"#,
            br#"{"Layers":[]}"#,
        ] {
            assert!(
                Document::parse(bad, None).is_err(),
                "{}",
                String::from_utf8_lossy(bad)
            );
        }
    }
}
