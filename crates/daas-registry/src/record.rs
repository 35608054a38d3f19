//! What the registry remembers.

use crate::name::{Repository, Tag};
use crate::retention::Rule;
use daas_image::Digest;
use daas_model::{ByteSize, ProjectName};
use daas_store::Record;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A manifest of a repository; its key is `repository@digest`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestRecord {
    /// The repository.
    pub repository: Repository,
    /// The manifest's digest.
    pub digest: Digest,
    /// Its media type, as it was pushed.
    pub media_type: String,
    /// Its size in bytes.
    pub size: u64,
    /// Configuration and layers, each once.
    #[serde(default)]
    pub parts: Vec<Digest>,
    /// The manifests of an index, each once.
    #[serde(default)]
    pub children: Vec<Digest>,
    /// What it is about.
    #[serde(default)]
    pub subject: Option<Digest>,
    /// What kind of document it is.
    #[serde(default)]
    pub artifact_type: Option<String>,
    /// When it came, Unix milliseconds.
    pub pushed_ms: u64,
}

impl Record for ManifestRecord {
    const KIND: &'static str = "registry-manifest";
}

/// A tag; its key is `repository:tag`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagRecord {
    /// The repository.
    pub repository: Repository,
    /// The tag.
    pub tag: Tag,
    /// The manifest that it means.
    pub digest: Digest,
    /// Since when, Unix milliseconds.
    pub since_ms: u64,
}

impl Record for TagRecord {
    const KIND: &'static str = "registry-tag";
}

/// A blob that a repository has; its key is `repository@digest`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobRecord {
    /// The repository.
    pub repository: Repository,
    /// The blob.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Since when, Unix milliseconds.
    pub since_ms: u64,
}

impl Record for BlobRecord {
    const KIND: &'static str = "registry-blob";
}

/// The rules of a project; its key is the project's name. Without a record everything has its default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SpaceRecord {
    /// The most bytes that its repositories may hold; no limit without.
    #[serde(default)]
    pub quota: Option<ByteSize>,
    /// What is thrown away in time; nothing without.
    #[serde(default)]
    pub retention: Vec<Rule>,
    /// Projects that may pull from it.
    #[serde(default)]
    pub shared_with: BTreeSet<ProjectName>,
    /// Whether everybody may pull from it.
    #[serde(default)]
    pub public: bool,
    /// The branches that are alive, as far as somebody told; rules about branches do nothing without.
    #[serde(default)]
    pub branches: Option<BTreeSet<String>>,
}

impl Record for SpaceRecord {
    const KIND: &'static str = "registry-space";
}

/// Somebody who may use the registry; its key is his name. The secret is nowhere, only its sum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginRecord {
    /// The name to log in with.
    pub name: String,
    /// SHA-256 of the secret, hexadecimal.
    pub sum: String,
    /// The project that he is of; every project without.
    #[serde(default)]
    pub project: Option<ProjectName>,
    /// Whether he may push.
    #[serde(default)]
    pub push: bool,
    /// Whether he may delete.
    #[serde(default)]
    pub delete: bool,
    /// When it ends, Unix milliseconds; never without.
    #[serde(default)]
    pub expires_ms: Option<u64>,
    /// When it was made, Unix milliseconds.
    pub created_ms: u64,
}

impl Record for LoginRecord {
    const KIND: &'static str = "registry-login";
}

/// Returns the key of something that has a digest.
pub(crate) fn key_of(repository: &Repository, digest: &Digest) -> String {
    format!("{repository}@{digest}")
}

/// Returns the key of a tag.
pub(crate) fn key_of_tag(repository: &Repository, tag: &Tag) -> String {
    format!("{repository}:{tag}")
}
