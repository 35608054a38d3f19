use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The SSH door.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SshInfo {
    /// Where it listens: `127.0.0.1:2222`; nowhere if the list is empty.
    pub listens: Vec<String>,
    /// By which hosts and ports clients may name it, as they stand in `known_hosts`: `[localhost]:2222`.
    #[serde(default)]
    pub known_as: Vec<String>,
    /// The host's key as it stands in `known_hosts`, without a host before it.
    pub host_key: String,
    /// Its fingerprint, `SHA256:...`.
    pub fingerprint: String,
}

/// A key that may sign in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SshKeyView {
    /// Its name, for people.
    pub name: String,
    /// Its kind: `ssh-ed25519`.
    pub kind: String,
    /// Its fingerprint, `SHA256:...`.
    pub fingerprint: String,
    /// Projects whose stands it may enter; with no projects and no stands: all.
    pub projects: Vec<String>,
    /// Stands that it may enter.
    pub stands: Vec<String>,
    /// Where it is from: `added`, `configuration`, or the path of a file.
    pub origin: String,
    /// When it was added, in milliseconds of the Unix clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub added_ms: Option<u64>,
}

/// All keys that may sign in.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct SshKeyList {
    /// Them.
    pub items: Vec<SshKeyView>,
}

/// Asks for a key to be let in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SshKeyRequest {
    /// Its name, for people: 1 to 63 letters, digits, `-`, `_`, `.`, `@`.
    pub name: String,
    /// The public key: one line as in `id_ed25519.pub`.
    pub key: String,
    /// Patterns of projects whose stands it may enter, `*` for any characters; with no pattern at all it may enter every stand.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub projects: Vec<String>,
    /// Patterns of stands that it may enter.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stands: Vec<String>,
}
