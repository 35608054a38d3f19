use daas_model::{ByteSize, ImageName, ProjectName, Span};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use utoipa::ToSchema;

/// The registry of the house.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct RegistryInfo {
    /// Where it listens on the host, `address:port`.
    pub listens: Vec<String>,
    /// The name by which every stand finds it, and by which its images can always be named.
    pub inner_name: String,
    /// Further hosts by which its images are named.
    pub names: Vec<String>,
    /// First parts of repositories that are copies of outside registries.
    pub caches: Vec<String>,
    /// How many repositories there are.
    pub repositories: usize,
    /// How many uploads have begun and not ended.
    pub uploads: usize,
}

/// A repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RepositoryView {
    /// Its name.
    pub name: String,
    /// How many tags it has.
    pub tags: usize,
    /// How many manifests it has.
    pub manifests: usize,
    /// How many bytes it holds; what other repositories have too counts here as well.
    pub bytes: u64,
    /// When something last came, in milliseconds of the Unix clock.
    pub changed_ms: u64,
}

/// A tag of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RepositoryTag {
    /// The tag.
    pub tag: String,
    /// The manifest that it means.
    pub digest: String,
    /// The manifest's media type.
    pub media_type: String,
    /// Bytes of the manifest and of all below it: configuration, layers, the images of an index.
    pub bytes: u64,
    /// Since when it means that, in milliseconds of the Unix clock.
    pub since_ms: u64,
}

/// A manifest of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ManifestView {
    /// The repository.
    pub repository: String,
    /// The digest.
    pub digest: String,
    /// The media type.
    pub media_type: String,
    /// Its own size in bytes.
    pub bytes: u64,
    /// Bytes of it and of all below it.
    #[serde(default)]
    pub total_bytes: u64,
    /// The tags that mean it.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Configuration and layers.
    #[serde(default)]
    pub parts: Vec<String>,
    /// The manifests of an index.
    #[serde(default)]
    pub children: Vec<String>,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// What kind of document it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Documents about it.
    #[serde(default)]
    pub referrers: Vec<String>,
    /// When it came, in milliseconds of the Unix clock.
    pub pushed_ms: u64,
    /// Who uses it, as far as anybody does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_by: Option<String>,
}

/// Asks for an image of the store to be put into the registry; nothing is copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PublishRequest {
    /// The image.
    #[schema(value_type = String)]
    pub image: ImageName,
    /// `repository:tag` in the registry.
    pub name: String,
}

/// What a collection of garbage took, or would take.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Collected {
    /// Blobs that no manifest of their repository needed, as `repository@digest`.
    pub unlinked: Vec<String>,
    /// Contents that nothing referred to any more.
    pub blobs: Vec<String>,
    /// How many bytes of disk that is.
    pub freed_bytes: u64,
}

/// A rule about what is thrown away in time. A tag goes when the first rule that it fits says so.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RetentionRule {
    /// Which tags: `*` stands for any characters. Without it: manifests that have no tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<String>,
    /// How many of the newest stay in each repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<u32>,
    /// They go only when they are older than this: `30d`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub older_than: Option<Span>,
    /// They go only when the branch is dead whose name stands where the pattern has its `*`.
    #[serde(default)]
    pub branch: bool,
}

/// The rules of a project in the registry.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RegistryRules {
    /// The most that its repositories may hold; no limit without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub quota: Option<ByteSize>,
    /// What is thrown away in time; nothing without.
    #[serde(default)]
    pub retention: Vec<RetentionRule>,
    /// Projects that may pull from it.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub shared_with: BTreeSet<ProjectName>,
    /// Whether everybody may pull from it.
    #[serde(default)]
    pub public: bool,
    /// The branches that are alive; rules about branches do nothing without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branches: Option<BTreeSet<String>>,
}

/// A project in the registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RegistryProject {
    /// The project.
    #[schema(value_type = String)]
    pub project: ProjectName,
    /// How many bytes its repositories hold; what several have counts once.
    pub used_bytes: u64,
    /// Its rules.
    pub rules: RegistryRules,
}

/// A tag or manifest that retention throws away, or would but for its use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Expired {
    /// `repository:tag`, or `repository@digest`.
    pub name: String,
    /// The manifest.
    pub digest: String,
    /// Why it goes or stays.
    pub reason: String,
    /// Whether something uses it: then it stays.
    pub used: bool,
}

/// What retention threw away, or would.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct ExpiredList {
    /// One after the other.
    pub items: Vec<Expired>,
}

/// Asks for a login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginRequest {
    /// The name to log in with.
    pub name: String,
    /// The project; every project without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub project: Option<ProjectName>,
    /// Whether he may push.
    #[serde(default)]
    pub push: bool,
    /// Whether he may delete.
    #[serde(default)]
    pub delete: bool,
    /// How long it is good: `30d`; for ever without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub expires_in: Option<Span>,
}

/// Somebody who may log in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LoginView {
    /// The name to log in with.
    pub name: String,
    /// The project; every project without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub project: Option<ProjectName>,
    /// Whether he may push.
    pub push: bool,
    /// Whether he may delete.
    pub delete: bool,
    /// When it ends, in milliseconds of the Unix clock; never without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
    /// When it was made, in milliseconds of the Unix clock.
    pub created_ms: u64,
}

/// A login that was made.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LoginMade {
    /// The login.
    pub login: LoginView,
    /// The password for `docker login`; it is told this once.
    pub secret: String,
}

impl std::fmt::Debug for LoginMade {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoginMade")
            .field("login", &self.login)
            .finish_non_exhaustive()
    }
}

/// All logins.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct LoginList {
    /// By name.
    pub items: Vec<LoginView>,
}

/// The tags of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct TagList {
    /// By tag.
    pub items: Vec<RepositoryTag>,
}
