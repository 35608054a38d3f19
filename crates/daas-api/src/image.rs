use daas_model::{ImageName, StandName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// An image of the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImageView {
    /// Its names.
    #[schema(value_type = Vec<String>)]
    pub names: Vec<ImageName>,
    /// The digest of its manifest, `sha256:...`.
    pub digest: String,
    /// `linux/amd64`.
    pub platform: String,
    /// Its layers, unpacked, in bytes.
    pub size_bytes: u64,
    /// When it was made, in milliseconds of the Unix clock; nothing if it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_ms: Option<u64>,
    /// How many layers it has.
    pub layers: u32,
    /// The stands that use it.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub used_by: Vec<StandName>,
    /// Its configuration (OCI image specification), when one image is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub config: Option<serde_json::Value>,
}

/// A document about an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImageDocument {
    /// What it is, as a media type: `application/vnd.in-toto+json` says where the image comes from, `application/spdx+json` what is in it.
    pub kind: String,
    /// The digest of its manifest, by which a registry lists it.
    pub digest: String,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// The document, if it is JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub content: Option<serde_json::Value>,
}

/// What the house knows about an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImageDocuments {
    /// The documents.
    pub items: Vec<ImageDocument>,
}

/// The images of the store, or those that a request made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImageList {
    /// The images.
    pub items: Vec<ImageView>,
}

/// Asks for an image from its registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PullRequest {
    /// The image.
    #[schema(value_type = String)]
    pub image: ImageName,
    /// `linux/amd64`; the host's own where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
}

/// Asks for images of packages to be made anew from the newest packages that their sources have; versions that were asked for stay.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RefreshRequest {
    /// Which; all that were made here where there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub images: Vec<ImageName>,
    /// Whether running stands go on with what is new, and with images of described services built on it: their nodes are made anew.
    #[serde(default)]
    pub in_use: bool,
}

/// Asks for a base image from a distribution's packages.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MakeRequest {
    /// Distribution and suite, `debian:bookworm`; also the image's name where there is none.
    pub base: String,
    /// The image's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub name: Option<ImageName>,
    /// Packages over the smallest system.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<String>,
    /// Where the packages are; the host's own sources where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<String>,
    /// Files and folders of the daemon's host and where they go in the image: host path to image path, both absolute.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub copies: BTreeMap<String, String>,
    /// The entry point.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// The command.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// The user, `user` or `user:group`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The folder to start in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// Ports that it serves, `80` or `53/udp`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expose: Vec<String>,
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// Asks for one more name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TagRequest {
    /// The image, by a name that it has.
    #[schema(value_type = String)]
    pub image: ImageName,
    /// The new name.
    #[schema(value_type = String)]
    pub name: ImageName,
}

/// What loading an archive gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Loaded {
    /// The names of the images.
    #[schema(value_type = Vec<String>)]
    pub images: Vec<ImageName>,
}

/// What removing a name did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImageRemoved {
    /// The name that is gone.
    #[schema(value_type = String)]
    pub name: ImageName,
    /// Whether the image had other names and stays.
    pub still_named: bool,
}

/// What was thrown away, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Pruned {
    /// What, in words: `image nginx:latest`, `layer sha256:...`.
    pub removed: Vec<String>,
    /// How much it takes, in bytes.
    pub freed_bytes: u64,
}
