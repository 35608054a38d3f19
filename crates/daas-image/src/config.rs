use crate::manifest::null_is_empty;
use crate::{Digest, Platform};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What an image says about how it wants to be run (OCI Image Specification 1.1, "Image Configuration"; Docker's form is a superset).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageConfig {
    /// `user`, `uid`, `user:group` or `uid:gid`; empty for root.
    #[serde(
        deserialize_with = "null_is_empty",
        skip_serializing_if = "String::is_empty"
    )]
    pub user: String,
    /// Ports in the form `80/tcp`.
    #[serde(
        deserialize_with = "keys",
        serialize_with = "as_keys",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub exposed_ports: Vec<String>,
    /// `NAME=value`.
    #[serde(
        deserialize_with = "null_is_empty",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub env: Vec<String>,
    /// Put before every command.
    #[serde(
        deserialize_with = "null_is_empty",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub entrypoint: Vec<String>,
    /// The command if none is given.
    #[serde(
        deserialize_with = "null_is_empty",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub cmd: Vec<String>,
    /// Paths that want a volume.
    #[serde(
        deserialize_with = "keys",
        serialize_with = "as_keys",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub volumes: Vec<String>,
    /// The directory that a command starts in; empty for `/`.
    #[serde(
        deserialize_with = "null_is_empty",
        skip_serializing_if = "String::is_empty"
    )]
    pub working_dir: String,
    /// Words for people and tools.
    #[serde(
        deserialize_with = "null_is_empty",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub labels: BTreeMap<String, String>,
    /// The signal that asks the program to end: a name or a number; empty for SIGTERM.
    #[serde(
        deserialize_with = "null_is_empty",
        skip_serializing_if = "String::is_empty"
    )]
    pub stop_signal: String,
    /// How to ask whether the program is well (Docker's addition).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<ImageHealth>,
    /// What runs a shell line (Docker's addition); empty for `/bin/sh -c`.
    #[serde(
        deserialize_with = "null_is_empty",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub shell: Vec<String>,
    /// Instructions of a Dockerfile that builds upon this image run first (Docker's addition).
    #[serde(
        deserialize_with = "null_is_empty",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub on_build: Vec<String>,
}

/// A health check as an image carries it. Times are nanoseconds; 0 means Docker's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageHealth {
    /// `["NONE"]`, `["CMD", program, args...]` or `["CMD-SHELL", line]`; empty to inherit.
    #[serde(
        deserialize_with = "null_is_empty",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub test: Vec<String>,
    /// The pause between two checks.
    #[serde(skip_serializing_if = "is_zero")]
    pub interval: u64,
    /// How long one check may take.
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout: u64,
    /// How long after the start failures do not count.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_period: u64,
    /// The pause between two checks in the start period.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_interval: u64,
    /// How many failures in a row make it ill.
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// The whole configuration document of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ConfigFile {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) created: Option<String>,
    #[serde(flatten)]
    pub(crate) platform: Platform,
    #[serde(default, deserialize_with = "null_is_empty")]
    pub(crate) config: ImageConfig,
    pub(crate) rootfs: RootFs,
    #[serde(
        default,
        deserialize_with = "null_is_empty",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub(crate) history: Vec<History>,
}

/// The layers by the digest of their uncompressed content, lowest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RootFs {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    #[serde(deserialize_with = "null_is_empty")]
    pub(crate) diff_ids: Vec<Digest>,
}

/// One step in the making of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// When, in RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// By what command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// Free words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Whether the step made no layer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

impl ConfigFile {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let file: Self = serde_json::from_slice(bytes)
            .map_err(|e| format!("it is no configuration of an image: {e}"))?;
        if file.rootfs.kind != "layers" {
            return Err(format!(
                "its root file system is of unknown type `{}`",
                file.rootfs.kind.escape_debug()
            ));
        }
        Ok(file)
    }
}

/// Go keeps sets as maps of empty objects.
fn keys<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let map = Option::<BTreeMap<String, serde::de::IgnoredAny>>::deserialize(deserializer)?;
    Ok(map.unwrap_or_default().into_keys().collect())
}

fn as_keys<S: serde::Serializer>(keys: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(keys.iter().map(|key| (key, serde_json::Map::new())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_docker_writes_is_read_nulls_included() {
        let text = r#"{"architecture":"amd64","os":"linux","created":"2024-01-01T00:00:00Z","container":"x","docker_version":"20",
            "config":{"Hostname":"","User":"redis:redis","AttachStdin":false,"ExposedPorts":{"6379/tcp":{}},"Env":["PATH=/bin"],"Cmd":null,
            "Healthcheck":{"Test":["CMD-SHELL","curl -f localhost"],"Interval":30000000000,"Retries":3},"Entrypoint":["a"],"Volumes":null,"OnBuild":null,"Labels":null,"StopSignal":"SIGQUIT"},
            "rootfs":{"type":"layers","diff_ids":[]},"history":null}"#;
        let file = ConfigFile::parse(text.as_bytes()).unwrap();
        assert_eq!(file.config.user, "redis:redis");
        assert_eq!(file.config.exposed_ports, ["6379/tcp"]);
        assert_eq!(file.config.healthcheck.as_ref().unwrap().retries, 3);
        assert_eq!(file.config.stop_signal, "SIGQUIT");
        let again = ConfigFile::parse(&serde_json::to_vec(&file).unwrap()).unwrap();
        assert_eq!(again, file);
        assert!(
            ConfigFile::parse(
                br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"x","diff_ids":[]}}"#
            )
            .is_err()
        );
    }
}
