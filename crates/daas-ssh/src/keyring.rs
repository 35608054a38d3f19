//! Who may sign in: keys of the configuration, of files, and those that were added.

use crate::key::{KeyError, PublicKey};
use daas_model::pattern::fits;
use daas_model::{Explain, Kind, ProjectName, StandName};
use daas_store::{Batch, Record, Store, StoreError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use thiserror::Error;

/// The longest file of keys that is read.
const MOST_FILE: u64 = 1 << 20;

/// What a key may enter. Without any pattern: everything.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Rights {
    /// Names of projects; `*` stands for any characters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub projects: Vec<String>,
    /// Names of stands; `*` stands for any characters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stands: Vec<String>,
}

impl Rights {
    /// Tells whether a stand of a project may be entered.
    #[must_use]
    pub fn allow(&self, stand: &StandName, project: &ProjectName) -> bool {
        if self.projects.is_empty() && self.stands.is_empty() {
            return true;
        }
        let any = |patterns: &[String], name: &str| patterns.iter().any(|p| fits(p, name));
        any(&self.stands, stand.as_str()) || any(&self.projects, project.as_str())
    }

    /// Checks that patterns can fit a name at all.
    fn check(&self) -> Result<(), KeyringError> {
        let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-*".contains(&b);
        let all = self.projects.iter().chain(&self.stands);
        for pattern in all {
            if pattern.is_empty() || pattern.len() > 63 || !pattern.bytes().all(good) {
                return Err(KeyringError::Pattern {
                    pattern: pattern.clone(),
                });
            }
        }
        Ok(())
    }
}

/// A key that was added; its key is its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// Its name.
    pub name: String,
    /// The line, without its comment.
    pub line: String,
    /// What it may enter.
    #[serde(default)]
    pub rights: Rights,
    /// When it was added, Unix milliseconds.
    pub added_ms: u64,
}

impl Record for KeyRecord {
    const KIND: &'static str = "ssh-key";
}

/// Where a key is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyOrigin {
    /// The configuration.
    Configuration,
    /// A file that the configuration names.
    File(PathBuf),
    /// It was added, at this time in Unix milliseconds.
    Added(u64),
}

/// A key that may sign in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownKey {
    /// Its name, for people.
    pub name: String,
    /// The key.
    pub key: PublicKey,
    /// What it may enter.
    pub rights: Rights,
    /// Where it is from.
    pub origin: KeyOrigin,
}

/// Keys that cannot be kept.
#[derive(Debug, Error)]
pub enum KeyringError {
    /// The text is no key.
    #[error("cannot take key `{name}`")]
    Key {
        /// Whose.
        name: String,
        /// Why.
        #[source]
        source: KeyError,
    },
    /// The name is none.
    #[error("cannot call a key `{}`", daas_model::visible(name))]
    Name {
        /// The text.
        name: String,
    },
    /// A pattern fits no name.
    #[error(
        "cannot limit a key to `{}`: no name is like that",
        daas_model::visible(pattern)
    )]
    Pattern {
        /// The text.
        pattern: String,
    },
    /// There is one already.
    #[error("cannot add key `{name}`: {other}")]
    Taken {
        /// The wanted name.
        name: String,
        /// What is there.
        other: String,
    },
    /// There is none.
    #[error("cannot remove key `{}`: {why}", daas_model::visible(name))]
    Missing {
        /// The name.
        name: String,
        /// Why not.
        why: &'static str,
    },
    /// The records say no.
    #[error("cannot keep keys")]
    Records(#[from] StoreError),
}

impl Explain for KeyringError {
    fn code(&self) -> &'static str {
        match self {
            Self::Key { source, .. } => source.code(),
            Self::Name { .. } => "ssh-key-name",
            Self::Pattern { .. } => "ssh-key-pattern",
            Self::Taken { .. } => "ssh-key-taken",
            Self::Missing { .. } => "ssh-key-missing",
            Self::Records(error) => error.code(),
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Key { .. } | Self::Name { .. } | Self::Pattern { .. } => Kind::Input,
            Self::Taken { .. } => Kind::Conflict,
            Self::Missing { .. } => Kind::NotFound,
            Self::Records(error) => error.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Key { source, .. } => source.hint(),
            Self::Name { .. } => Some("1 to 63 letters, digits, `-`, `_`, `.`, `@`, the first a letter or digit".into()),
            Self::Pattern { .. } => Some("names of stands and projects have small letters, digits and dashes; `*` stands for any characters".into()),
            Self::Taken { .. } | Self::Missing { .. } => Some("`daas ssh key list` shows them".into()),
            Self::Records(error) => error.hint(),
        }
    }
}

/// All keys. A clone is another handle of the same.
#[derive(Clone)]
pub struct Keyring {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    fixed: Vec<KnownKey>,
    files: Vec<PathBuf>,
    /// How each file was when its faults were told: files are read with every try to sign in, and strangers shall not fill the log.
    told: Mutex<BTreeMap<PathBuf, Option<(i64, i64)>>>,
    added: Mutex<BTreeMap<String, KnownKey>>,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keyring").finish_non_exhaustive()
    }
}

impl Keyring {
    /// Reads the added keys, beside those of the configuration (name, line, rights) and its files.
    ///
    /// Files are read anew at each sign-in, so that who is taken out of one is out.
    ///
    /// # Errors
    /// [`KeyringError`]: above all a key of the configuration that is none.
    pub fn open(
        store: Store,
        fixed: impl IntoIterator<Item = (String, String, Rights)>,
        files: Vec<PathBuf>,
    ) -> Result<Self, KeyringError> {
        let fixed = fixed
            .into_iter()
            .map(|(name, line, rights)| known(&name, &line, rights, KeyOrigin::Configuration))
            .collect::<Result<Vec<_>, _>>()?;
        let mut added = BTreeMap::new();
        for stored in store.list::<KeyRecord>("")? {
            let record = stored.value;
            let origin = KeyOrigin::Added(record.added_ms);
            added.insert(
                stored.key,
                known(&record.name, &record.line, record.rights, origin)?,
            );
        }
        let inner = Inner {
            store,
            fixed,
            files,
            told: Mutex::default(),
            added: Mutex::new(added),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    fn added(&self) -> MutexGuard<'_, BTreeMap<String, KnownKey>> {
        self.inner
            .added
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns all keys. Reads the files, which blocks for as long as a small file takes.
    #[must_use]
    pub fn all(&self) -> Vec<KnownKey> {
        let mut all: Vec<KnownKey> = self.added().values().cloned().collect();
        all.extend(self.inner.fixed.iter().cloned());
        for path in &self.inner.files {
            all.extend(read_file(path, self.is_new(path)));
        }
        all
    }

    /// Tells whether a file has changed since its faults were told.
    fn is_new(&self, path: &Path) -> bool {
        let meta = std::fs::metadata(path).ok();
        // Another mode is a change, too.
        let state = meta.map(|meta| (meta.ctime(), meta.ctime_nsec()));
        let mut told = self
            .inner
            .told
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        told.insert(path.to_owned(), state) != Some(state)
    }

    /// Returns whose key this is; of several the first: added, configured, in a file.
    pub(crate) fn find(&self, key: &PublicKey) -> Option<KnownKey> {
        let line = key.line();
        self.all()
            .into_iter()
            .find(|known| known.key.line() == line)
    }

    /// Adds a key.
    ///
    /// # Errors
    /// [`KeyringError`]: a text that is no key, or a name or key that is there.
    pub async fn add(
        &self,
        name: &str,
        line: &str,
        rights: Rights,
    ) -> Result<KnownKey, KeyringError> {
        let added_ms = now_ms();
        let new = known(name, line, rights, KeyOrigin::Added(added_ms))?;
        let taken = |other: String| KeyringError::Taken {
            name: name.to_owned(),
            other,
        };
        for there in self.all() {
            if there.name == name {
                return Err(taken("the name is taken".into()));
            }
            if there.key.line() == new.key.line() {
                return Err(taken(format!("it is there as `{}`", there.name)));
            }
        }
        let record = KeyRecord {
            name: name.to_owned(),
            line: new.key.line(),
            rights: new.rights.clone(),
            added_ms,
        };
        self.inner.store.put(name, &record).await?;
        self.added().insert(name.to_owned(), new.clone());
        Ok(new)
    }

    /// Takes an added key away. Sessions that it opened go on; whoever must be out now is put out by `daas ban` or a restart.
    ///
    /// # Errors
    /// [`KeyringError::Missing`], also for keys of the configuration.
    pub async fn remove(&self, name: &str) -> Result<(), KeyringError> {
        if self.added().remove(name).is_none() {
            let why = if self.all().iter().any(|known| known.name == name) {
                "it is in the configuration or a file that it names"
            } else {
                "there is none"
            };
            return Err(KeyringError::Missing {
                name: name.to_owned(),
                why,
            });
        }
        let batch = Batch::new().delete::<KeyRecord>(name);
        self.inner.store.commit(batch).await?;
        Ok(())
    }
}

fn known(
    name: &str,
    line: &str,
    rights: Rights,
    origin: KeyOrigin,
) -> Result<KnownKey, KeyringError> {
    let good = name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.len() <= 63
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.@".contains(&b));
    if !good {
        return Err(KeyringError::Name { name: name.into() });
    }
    rights.check()?;
    let key = PublicKey::parse(line).map_err(|source| KeyringError::Key {
        name: name.to_owned(),
        source,
    })?;
    Ok(KnownKey {
        name: name.to_owned(),
        key,
        rights,
        origin,
    })
}

/// Reads a file like `authorized_keys`. Lines that are no key, or bear options, are left out, and told if wished.
fn read_file(path: &Path, tell: bool) -> Vec<KnownKey> {
    let text = std::fs::metadata(path).and_then(|meta| {
        // Whoever may write there may sign in: that must be its owner alone, as sshd's StrictModes has it.
        if meta.mode() & 0o022 != 0 {
            return Err(std::io::Error::other("others may write to it"));
        }
        if meta.len() > MOST_FILE {
            return Err(std::io::Error::other("it is longer than 1 MiB"));
        }
        std::fs::read_to_string(path)
    });
    let text = match text {
        Ok(text) => text,
        Err(error) => {
            if tell {
                tracing::warn!(path = %path.display(), %error, "a file of SSH keys is not read");
            }
            return Vec::new();
        }
    };
    let lines = text.lines().enumerate();
    let keys = lines.filter(|(_, line)| !line.trim().is_empty() && !line.trim().starts_with('#'));
    keys.filter_map(|(number, line)| match PublicKey::parse(line) {
        Ok(key) => {
            let comment = key.comment();
            let name = match comment.trim() {
                "" => key.fingerprint(),
                comment => daas_model::visible(comment),
            };
            Some(KnownKey {
                name,
                key,
                rights: Rights::default(),
                origin: KeyOrigin::File(path.to_owned()),
            })
        }
        Err(error) => {
            if tell {
                tracing::warn!(path = %path.display(), line = number + 1, %error, "a line of a file of SSH keys is left out");
            }
            None
        }
    })
    .collect()
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::tests::key;
    use std::os::unix::fs::PermissionsExt;

    fn store(folder: &tempfile::TempDir) -> Store {
        Store::open(folder.path()).unwrap()
    }

    #[test]
    fn a_key_without_patterns_enters_everything_and_one_with_them_what_they_say() {
        let names = |stand: &str, project: &str| {
            (
                StandName::parse(stand).unwrap(),
                ProjectName::parse(project).unwrap(),
            )
        };
        let rights = |stands: &[&str], projects: &[&str]| Rights {
            projects: projects.iter().map(|p| (*p).into()).collect(),
            stands: stands.iter().map(|p| (*p).into()).collect(),
        };
        for (rights, stand, project, may) in [
            (rights(&[], &[]), "crm", "crm", true),
            (rights(&["shop-*"], &[]), "shop-7", "shop", true),
            (rights(&["shop-*"], &[]), "shop", "shop", false),
            (rights(&["shop-*"], &[]), "crm", "shop", false),
            (rights(&[], &["shop"]), "anything", "shop", true),
            (rights(&[], &["shop"]), "shop", "crm", false),
            (rights(&["a"], &["b"]), "a", "x", true),
            (rights(&["a"], &["b"]), "x", "b", true),
            (rights(&["a"], &["b"]), "x", "x", false),
        ] {
            let (stand, project) = names(stand, project);
            assert_eq!(rights.allow(&stand, &project), may, "{rights:?} {stand}");
        }
    }

    #[tokio::test]
    async fn an_added_key_is_found_until_it_is_removed_and_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let fixed = [("bea".to_owned(), key(2).line(), Rights::default())];
        {
            let ring = Keyring::open(store(&folder), fixed.clone(), Vec::new()).unwrap();
            let line = format!("{} anna@laptop", key(1).line());
            let only = Rights {
                stands: vec!["shop-*".into()],
                ..Rights::default()
            };
            ring.add("anna", &line, only.clone()).await.unwrap();
            assert_eq!(ring.find(&key(1)).unwrap().rights, only);
            assert_eq!(ring.find(&key(2)).unwrap().name, "bea");
            assert!(ring.find(&key(3)).is_none());
            let code = |result: Result<KnownKey, KeyringError>| result.unwrap_err().code();
            let all = Rights::default;
            assert_eq!(
                code(ring.add("anna", &key(4).line(), all()).await),
                "ssh-key-taken"
            );
            assert_eq!(
                code(ring.add("other", &key(1).line(), all()).await),
                "ssh-key-taken"
            );
            assert_eq!(
                code(ring.add("../x", &key(4).line(), all()).await),
                "ssh-key-name"
            );
            assert_eq!(
                code(ring.add("x", "nonsense", all()).await),
                "ssh-key-shape"
            );
            let wrong = Rights {
                projects: vec!["a b".into()],
                ..Rights::default()
            };
            assert_eq!(
                code(ring.add("x", &key(4).line(), wrong).await),
                "ssh-key-pattern"
            );
        }
        let ring = Keyring::open(store(&folder), fixed, Vec::new()).unwrap();
        assert_eq!(ring.find(&key(1)).unwrap().name, "anna");
        ring.remove("anna").await.unwrap();
        assert!(ring.find(&key(1)).is_none());
        assert!(ring.remove("anna").await.is_err());
        assert_eq!(
            ring.remove("bea").await.unwrap_err().to_string(),
            "cannot remove key `bea`: it is in the configuration or a file that it names"
        );
    }

    #[test]
    fn a_file_of_keys_counts_as_it_is_now_and_only_while_others_cannot_write_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("authorized_keys");
        let mode = |mode| {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        let ring = Keyring::open(store(&folder), [], vec![file.clone()]).unwrap();
        assert!(ring.find(&key(1)).is_none());
        let text = format!(
            "# people\n\n{} anna@laptop\ncommand=\"x\" {}\nnonsense\n{}\n",
            key(1).line(),
            key(2).line(),
            key(3).line()
        );
        std::fs::write(&file, text).unwrap();
        mode(0o644);
        assert_eq!(ring.find(&key(1)).unwrap().name, "anna@laptop");
        assert!(ring.find(&key(2)).is_none());
        assert!(ring.find(&key(3)).is_some());
        assert!(!ring.is_new(&file), "its faults have been told");
        mode(0o666);
        assert!(ring.find(&key(1)).is_none());
        mode(0o600);
        assert!(ring.find(&key(1)).is_some());
        std::fs::write(&file, "").unwrap();
        assert!(ring.find(&key(1)).is_none());
    }
}
