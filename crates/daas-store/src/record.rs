use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;

/// A type of which the store keeps values.
///
/// The JSON form is the format on disk: a change of it must read what the version before wrote
/// (`#[serde(default)]` for a new field), or come with a migration.
pub trait Record: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The name of the kind, in kebab case; it never changes.
    const KIND: &'static str;
}

/// The place of a change in the order of all changes of one store, from 1; 0 is before the first.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A value with the key that it is kept under and the revision of its last change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored<T> {
    /// The key, unique in its kind.
    pub key: String,
    /// The revision of its last change, to be given back as [`crate::Expect::Revision`].
    pub revision: Revision,
    /// The value.
    pub value: T,
}

/// Returns the sum that is kept beside a row, so that a byte changed on disk is seen when the row is read.
///
/// SQLite finds damage of its own structure but not of the text inside a page.
pub(crate) fn sum(parts: &[&str], number: u64) -> i64 {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hash.update(number.to_le_bytes());
    let digest = hash.finalize();
    let mut first = [0u8; 8];
    first.copy_from_slice(&digest[..8]);
    i64::from_le_bytes(first)
}
