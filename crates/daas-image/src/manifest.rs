use crate::{Compression, Digest};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Largest manifest or index in bytes (OCI Distribution Specification 1.1: registries should take up to 4 MiB).
pub(crate) const MAX_MANIFEST: u64 = 4 << 20;
/// Largest configuration of an image in bytes; histories of real ones stay far below.
pub(crate) const MAX_CONFIG: u64 = 8 << 20;

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(crate) const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";

/// Everything that a registry may send for a tag.
pub(crate) const ACCEPTED: [&str; 4] = [OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST];

/// What points to a content (OCI Image Specification 1.1, "Content Descriptors").
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) platform: Option<Platform>,
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_is_empty"
    )]
    pub(crate) annotations: BTreeMap<String, String>,
}

/// For which machine an image is built, `os/architecture[/variant]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// The operating system, `linux`.
    pub os: String,
    /// The processor in Go's words: `amd64`, `arm64`.
    pub architecture: String,
    /// The processor's variant: `v7`, `v8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// Returns the platform of this machine.
    #[must_use]
    pub fn native() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", None),
            "aarch64" => ("arm64", Some("v8")),
            "x86" => ("386", None),
            other => (other, None),
        };
        Self {
            os: "linux".into(),
            architecture: architecture.into(),
            variant: variant.map(str::to_owned),
        }
    }

    /// Parses `os/architecture[/variant]`; nothing if it has another form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let (os, architecture, variant) = (parts.next()?, parts.next()?, parts.next());
        let good = |part: &str| {
            !part.is_empty()
                && part.len() <= 32
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        };
        let all_good =
            good(os) && good(architecture) && variant.is_none_or(good) && parts.next().is_none();
        all_good.then(|| Self {
            os: os.into(),
            architecture: architecture.into(),
            variant: variant.map(str::to_owned),
        })
    }

    /// How well `other` runs here: nothing if not at all, smaller is better.
    pub(crate) fn distance(&self, other: &Self) -> Option<u32> {
        if self.os != other.os || self.architecture != other.architecture {
            return None;
        }
        let mine = self.level();
        let theirs = other.level();
        // A processor runs what was built for an older one of its kind; no variant means the base.
        (theirs <= mine).then(|| mine - theirs)
    }

    fn level(&self) -> u32 {
        let base = match self.architecture.as_str() {
            "arm64" => 8,
            "arm" => 7,
            _ => 1,
        };
        self.variant
            .as_deref()
            .and_then(|v| v.strip_prefix('v')?.split('.').next()?.parse().ok())
            .unwrap_or(base)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.iter().try_for_each(|v| write!(f, "/{v}"))
    }
}

/// The manifest of one image for one platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    pub(crate) schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) media_type: Option<String>,
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_is_empty"
    )]
    pub(crate) annotations: BTreeMap<String, String>,
}

/// A list of manifests, one for each platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Index {
    pub(crate) schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) media_type: Option<String>,
    pub(crate) manifests: Vec<Descriptor>,
}

/// Either of both.
#[derive(Debug)]
pub(crate) enum Document {
    Manifest(Manifest),
    Index(Index),
}

/// Most layers of an image: overlayfs takes 500 lower directories (fs/overlayfs/params.h, `OVL_MAX_STACK`).
const MAX_LAYERS: usize = 500;

impl Document {
    /// Parses a manifest or an index, whose kind must agree with the media type that it and its sender claim.
    ///
    /// A document that can be read as both is refused (GO-2024-2914: two readers would run two images).
    pub(crate) fn parse(bytes: &[u8], claimed: Option<&str>) -> Result<Self, String> {
        let value: serde_json::Value =
            serde_json::from_slice(bytes).map_err(|e| format!("it is no JSON: {e}"))?;
        let object = value.as_object().ok_or("it is no JSON object")?;
        let version = object
            .get("schemaVersion")
            .and_then(serde_json::Value::as_u64);
        match version {
            Some(2) => {}
            Some(1) => {
                return Err(
                    "it is of Docker's first form (schema 1), which no tool writes since 2017"
                        .into(),
                );
            }
            _ => return Err("its `schemaVersion` is not 2".into()),
        }
        let is_index = object.contains_key("manifests");
        let is_manifest = object.contains_key("layers") || object.contains_key("config");
        if is_index == is_manifest {
            return Err("it must be either a manifest or an index".into());
        }
        let inner = object.get("mediaType").and_then(serde_json::Value::as_str);
        for kind in [inner, claimed].into_iter().flatten() {
            let fits = match kind {
                OCI_INDEX | DOCKER_LIST => is_index,
                OCI_MANIFEST | DOCKER_MANIFEST => is_manifest,
                _ => {
                    return Err(format!(
                        "its media type `{}` is none of an image",
                        kind.escape_debug()
                    ));
                }
            };
            if !fits {
                return Err(format!("its content is not of the media type `{kind}`"));
            }
        }
        if let (Some(inner), Some(claimed)) = (inner, claimed)
            && inner != claimed
        {
            return Err(format!(
                "it says `{inner}` of itself, and its sender `{claimed}`"
            ));
        }
        if is_index {
            return serde_json::from_value(value)
                .map(Self::Index)
                .map_err(|e| format!("it is no index: {e}"));
        }
        let manifest: Manifest =
            serde_json::from_value(value).map_err(|e| format!("it is no manifest: {e}"))?;
        if manifest.layers.len() > MAX_LAYERS {
            return Err(format!(
                "it has {} layers, more than the {MAX_LAYERS} that overlayfs takes",
                manifest.layers.len()
            ));
        }
        if !matches!(
            manifest.config.media_type.as_str(),
            OCI_CONFIG | DOCKER_CONFIG
        ) {
            return Err(format!(
                "its configuration is of type `{}`: it is an artifact, not an image",
                manifest.config.media_type.escape_debug()
            ));
        }
        Ok(Self::Manifest(manifest))
    }
}

impl Index {
    /// Returns the manifest that fits `wanted` best, or the platforms that there are.
    pub(crate) fn choose(&self, wanted: &Platform) -> Result<&Descriptor, Vec<String>> {
        let images = || {
            self.manifests
                .iter()
                .filter(|d| matches!(d.media_type.as_str(), OCI_MANIFEST | DOCKER_MANIFEST))
        };
        let best = images()
            .filter_map(|d| Some((wanted.distance(d.platform.as_ref()?)?, d)))
            .min_by_key(|(distance, _)| *distance);
        if let Some((_, best)) = best {
            return Ok(best);
        }
        // An index of one image that tells no platform: its configuration will.
        let mut untold = images().filter(|d| d.platform.is_none());
        match (untold.next(), untold.next()) {
            (Some(only), None) => Ok(only),
            _ => Err(images()
                .filter_map(|d| d.platform.as_ref())
                .map(ToString::to_string)
                .filter(|p| p != "unknown/unknown")
                .collect()),
        }
    }
}

/// Returns what a manifest of any kind is made of: its configuration and layers, or the manifests of an index.
pub(crate) fn digests_in(bytes: &[u8]) -> Vec<String> {
    let value: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
    let lists = ["layers", "manifests"]
        .into_iter()
        .filter_map(|key| value.get(key)?.as_array());
    value
        .get("config")
        .into_iter()
        .chain(lists.flatten())
        .filter_map(|descriptor| descriptor.get("digest")?.as_str().map(str::to_owned))
        .collect()
}

/// Returns how a layer of this media type is compressed, or nothing if it is no layer that can be unpacked.
pub(crate) fn compression_of(media_type: &str) -> Option<Compression> {
    const FOREIGN: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar";
    const NONDISTRIBUTABLE: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar";
    let (base, suffix) = match media_type.strip_suffix(".gzip") {
        Some(base) if base == DOCKER_LAYER || base == FOREIGN => (base, "gzip"),
        _ => media_type.rsplit_once('+').unwrap_or((media_type, "")),
    };
    if ![OCI_LAYER, DOCKER_LAYER, FOREIGN, NONDISTRIBUTABLE].contains(&base) {
        return None;
    }
    match suffix {
        "" => Some(Compression::None),
        "gzip" => Some(Compression::Gzip),
        "zstd" => Some(Compression::Zstd),
        _ => None,
    }
}

/// Returns the media type of an OCI layer compressed so.
pub(crate) fn layer_type(compression: Compression) -> String {
    match compression {
        Compression::None => OCI_LAYER.to_owned(),
        Compression::Gzip => format!("{OCI_LAYER}+gzip"),
        Compression::Zstd => format!("{OCI_LAYER}+zstd"),
    }
}

/// Go writes empty maps and lists as `null`.
pub(crate) fn null_is_empty<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(media_type: &str, platform: Option<&str>) -> String {
        let platform = platform.map_or(String::new(), |p| {
            let p = Platform::parse(p).unwrap();
            format!(r#","platform":{}"#, serde_json::to_string(&p).unwrap())
        });
        format!(
            r#"{{"mediaType":"{media_type}","digest":"{}","size":2{platform}}}"#,
            Digest::of(b"{}")
        )
    }

    #[test]
    fn a_document_that_is_both_or_neither_is_refused() {
        let config = descriptor(OCI_CONFIG, None);
        let both = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[],"manifests":[]}}"#);
        assert!(Document::parse(both.as_bytes(), None).is_err());
        assert!(Document::parse(br#"{"schemaVersion":2}"#, None).is_err());
        let manifest = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[]}}"#);
        assert!(matches!(
            Document::parse(manifest.as_bytes(), None),
            Ok(Document::Manifest(_))
        ));
        assert!(matches!(
            Document::parse(manifest.as_bytes(), Some(OCI_MANIFEST)),
            Ok(Document::Manifest(_))
        ));
        assert!(Document::parse(manifest.as_bytes(), Some(OCI_INDEX)).is_err());
        let lying = format!(
            r#"{{"schemaVersion":2,"mediaType":"{DOCKER_MANIFEST}","config":{config},"layers":[]}}"#
        );
        assert!(Document::parse(lying.as_bytes(), Some(OCI_MANIFEST)).is_err());
        assert!(
            Document::parse(br#"{"schemaVersion":1,"fsLayers":[]}"#, None)
                .unwrap_err()
                .contains("schema 1")
        );
        for bad in [
            &b""[..],
            b"[]",
            b"null",
            b"{",
            b"\xff",
            br#"{"schemaVersion":2,"manifests":[{"digest":"sha256:../../x"}]}"#,
        ] {
            assert!(Document::parse(bad, None).is_err());
        }
    }

    #[test]
    fn the_best_platform_is_chosen_and_a_newer_one_never() {
        let list: Vec<String> = [
            "linux/amd64",
            "linux/arm/v6",
            "linux/arm/v7",
            "linux/arm64",
            "unknown/unknown",
        ]
        .iter()
        .map(|p| descriptor(OCI_MANIFEST, Some(p)))
        .collect();
        let text = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, list.join(","));
        let Ok(Document::Index(index)) = Document::parse(text.as_bytes(), Some(OCI_INDEX)) else {
            panic!("no index")
        };
        let choose = |p: &str| {
            index
                .choose(&Platform::parse(p).unwrap())
                .map(|d| d.platform.as_ref().unwrap().to_string())
        };
        assert_eq!(choose("linux/amd64").unwrap(), "linux/amd64");
        assert_eq!(choose("linux/arm/v7").unwrap(), "linux/arm/v7");
        assert_eq!(choose("linux/arm/v6").unwrap(), "linux/arm/v6");
        assert_eq!(choose("linux/arm64/v8").unwrap(), "linux/arm64");
        assert_eq!(
            choose("linux/riscv64").unwrap_err(),
            ["linux/amd64", "linux/arm/v6", "linux/arm/v7", "linux/arm64"]
        );
        assert!(choose("linux/arm/v5").is_err());
    }

    #[test]
    fn layers_are_known_by_their_media_type() {
        for (kind, wanted) in [
            (
                "application/vnd.oci.image.layer.v1.tar",
                Some(Compression::None),
            ),
            (
                "application/vnd.oci.image.layer.v1.tar+gzip",
                Some(Compression::Gzip),
            ),
            (
                "application/vnd.oci.image.layer.v1.tar+zstd",
                Some(Compression::Zstd),
            ),
            (
                "application/vnd.docker.image.rootfs.diff.tar.gzip",
                Some(Compression::Gzip),
            ),
            (
                "application/vnd.docker.image.rootfs.diff.tar",
                Some(Compression::None),
            ),
            (
                "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
                Some(Compression::Gzip),
            ),
            ("application/vnd.oci.image.layer.v1.tar+encrypted", None),
            ("application/vnd.in-toto+json", None),
        ] {
            assert_eq!(compression_of(kind), wanted, "{kind}");
        }
    }
}
