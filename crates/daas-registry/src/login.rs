//! Logins, and the tokens that a login is changed into (Docker Registry token authentication).

use crate::access::{Asker, Right};
use crate::error::RegistryError;
use crate::name::Repository;
use crate::record::LoginRecord;
use crate::registry::{Registry, locked, now_ms};
use daas_model::{ProjectName, base64};
use daas_store::Batch;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

/// What stands before every secret, so that scanners of leaked secrets find them.
const PREFIX: &str = "daas_reg_";
/// How long a token is good: long enough for one push of anything, as docker asks for a new one when it ends.
pub(crate) const TOKEN_MS: u64 = 300_000;
/// The block of SHA-256 in bytes (FIPS 180-4), which HMAC is made with (RFC 2104).
const BLOCK: usize = 64;

/// A login to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewLogin {
    /// The name to log in with.
    pub name: String,
    /// The project; every project without.
    pub project: Option<ProjectName>,
    /// Whether he may push.
    pub push: bool,
    /// Whether he may delete.
    pub delete: bool,
    /// When it ends, Unix milliseconds.
    pub expires_ms: Option<u64>,
}

/// A login that was made: this is the one time that its secret is seen.
pub struct Login {
    /// What is remembered of it.
    pub record: LoginRecord,
    /// The secret, to be given to `docker login` as the password.
    pub secret: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login")
            .field("record", &self.record)
            .finish_non_exhaustive()
    }
}

/// All logins in memory, and the key that tokens are signed with.
pub(crate) struct Logins {
    known: Mutex<BTreeMap<String, LoginRecord>>,
    /// New at every start: no secret is in the program, none on the disk, and a restart ends all tokens (threat S20).
    key: [u8; 32],
}

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claims {
    /// The login; nobody for a token that anybody gets.
    name: Option<String>,
    /// What it may be used for.
    scopes: Vec<Scope>,
    ends_ms: u64,
}

/// A part of a token: rights in one repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Scope {
    pub(crate) repository: Repository,
    pub(crate) rights: BTreeSet<Right>,
}

impl Scope {
    /// Reads `repository:shop/web:pull,push`; nothing if it is about something else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("repository:")?;
        let (name, words) = rest.rsplit_once(':')?;
        Some(Self {
            repository: Repository::parse(name).ok()?,
            rights: words.split(',').flat_map(Right::of_word).copied().collect(),
        })
    }
}

impl Logins {
    pub(crate) fn open(store: &daas_store::Store) -> Result<Self, RegistryError> {
        let known = store
            .list::<LoginRecord>("")?
            .into_iter()
            .map(|stored| (stored.key, stored.value))
            .collect();
        let mut key = [0; 32];
        chance(&mut key)?;
        Ok(Self {
            known: Mutex::new(known),
            key,
        })
    }

    fn find(&self, name: &str) -> Option<LoginRecord> {
        let login = locked(&self.known).get(name).cloned()?;
        let ended = login.expires_ms.is_some_and(|at| at <= now_ms());
        (!ended).then_some(login)
    }

    /// Returns whose name and secret these are. Takes as long for a wrong secret as for a right one.
    pub(crate) fn check(&self, name: &str, secret: &str) -> Option<LoginRecord> {
        let login = self.find(name);
        let shown = hex(&Sha256::digest(secret.as_bytes()));
        let wanted = login.as_ref().map_or("", |login| login.sum.as_str());
        let wanted = format!("{wanted:0<64}");
        let right = equal(wanted.as_bytes(), shown.as_bytes());
        login.filter(|_| right)
    }

    /// Makes a token for a login, or for nobody.
    pub(crate) fn token(&self, name: Option<&str>, scopes: Vec<Scope>) -> String {
        let claims = Claims {
            name: name.map(str::to_owned),
            scopes,
            ends_ms: now_ms() + TOKEN_MS,
        };
        let text = hex(&serde_json::to_vec(&claims).unwrap_or_default());
        let sum = hex(&hmac(&self.key, text.as_bytes()));
        format!("{text}.{sum}")
    }

    /// Reads a token; nothing if it is not ours or has ended.
    pub(crate) fn read(&self, token: &str) -> Option<(Option<LoginRecord>, Vec<Scope>)> {
        let (text, sum) = token.split_once('.')?;
        let right = hex(&hmac(&self.key, text.as_bytes()));
        if !equal(sum.as_bytes(), right.as_bytes()) {
            return None;
        }
        let claims: Claims = serde_json::from_slice(&unhex(text)?).ok()?;
        if claims.ends_ms <= now_ms() {
            return None;
        }
        match claims.name {
            None => Some((None, claims.scopes)),
            // A login that was taken away ends with all its tokens.
            Some(name) => Some((Some(self.find(&name)?), claims.scopes)),
        }
    }
}

impl Registry {
    /// Makes a login, or gives the one of this name other rights and another secret.
    ///
    /// # Errors
    /// [`RegistryError::Bad`] for a name that no client could send, [`RegistryError::Records`].
    pub async fn add_login(&self, new: NewLogin) -> Result<Login, RegistryError> {
        let good = new.name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && new.name.len() <= 63
            && new
                .name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'@'));
        if !good {
            return Err(RegistryError::Bad {
                why: "the name of a login is 1 to 63 letters, digits, `-`, `_`, `.`, `@`, and begins with a letter or digit".into(),
            });
        }
        let mut random = [0; 32];
        chance(&mut random)?;
        let secret = format!("{PREFIX}{}", hex(&random));
        let record = LoginRecord {
            name: new.name,
            sum: hex(&Sha256::digest(secret.as_bytes())),
            project: new.project,
            push: new.push,
            delete: new.delete,
            expires_ms: new.expires_ms,
            created_ms: now_ms(),
        };
        self.inner.store.put(&record.name, &record).await?;
        locked(&self.inner.logins.known).insert(record.name.clone(), record.clone());
        Ok(Login { record, secret })
    }

    /// Lists the logins by name.
    #[must_use]
    pub fn logins(&self) -> Vec<LoginRecord> {
        locked(&self.inner.logins.known).values().cloned().collect()
    }

    /// Takes a login away; its tokens end with it.
    ///
    /// # Errors
    /// [`RegistryError::NoLogin`], [`RegistryError::Records`].
    pub async fn remove_login(&self, name: &str) -> Result<(), RegistryError> {
        if !locked(&self.inner.logins.known).contains_key(name) {
            return Err(RegistryError::NoLogin { name: name.into() });
        }
        // It ends for askers first, whatever the disk says.
        locked(&self.inner.logins.known).remove(name);
        self.inner
            .store
            .commit(Batch::new().delete::<LoginRecord>(name))
            .await?;
        Ok(())
    }

    /// Returns those of the wanted scopes, and of their rights, that the asker has.
    pub(crate) fn granted(
        &self,
        asker: &Asker,
        wanted: Vec<Scope>,
    ) -> Result<Vec<Scope>, RegistryError> {
        let mut granted = Vec::new();
        for scope in wanted {
            let mut rights = BTreeSet::new();
            for right in scope.rights {
                if self.may(asker, &scope.repository, right)? {
                    rights.insert(right);
                }
            }
            granted.push(Scope {
                repository: scope.repository,
                rights,
            });
        }
        Ok(granted)
    }
}

/// Fills `bytes` with the kernel's chance.
pub(crate) fn chance(bytes: &mut [u8]) -> Result<(), RegistryError> {
    let mut filled = 0;
    while filled < bytes.len() {
        filled +=
            rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())
                .map_err(|_| RegistryError::Broken {
                    what: "the kernel's chance",
                })?;
    }
    Ok(())
}

/// Compares to the end: the time tells nothing.
fn equal(a: &[u8], b: &[u8]) -> bool {
    let difference = a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b));
    std::hint::black_box(difference) == 0 && a.len() == b.len()
}

/// RFC 2104 over SHA-256, with a key shorter than a block.
fn hmac(key: &[u8; 32], text: &[u8]) -> [u8; 32] {
    let pad = |with: u8| {
        let mut block = [with; BLOCK];
        block.iter_mut().zip(key).for_each(|(b, k)| *b ^= k);
        block
    };
    let inner = Sha256::new()
        .chain_update(pad(0x36))
        .chain_update(text)
        .finalize();
    Sha256::new()
        .chain_update(pad(0x5c))
        .chain_update(inner)
        .finalize()
        .into()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let bytes = text.as_bytes();
    if !bytes.len().is_multiple_of(2) {
        return None;
    }
    bytes
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

/// Reads `name:secret` in Base64 (RFC 7617); nothing if it is none.
pub(crate) fn basic(text: &str) -> Option<(String, String)> {
    let bytes = base64::decode_any_padding(text.trim())?;
    let text = String::from_utf8(bytes).ok()?;
    let (name, secret) = text.split_once(':')?;
    Some((name.to_owned(), secret.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hmac_is_that_of_rfc_4231() {
        // RFC 4231, test case 2, its key filled up with zeros as RFC 2104 does.
        let mut key = [0; 32];
        key[..4].copy_from_slice(b"Jefe");
        assert_eq!(
            hex(&hmac(&key, b"what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn basic_credentials_are_read_as_rfc_7617_writes_them() {
        let (name, secret) = basic("QWxhZGRpbjpvcGVuIHNlc2FtZQ==").unwrap();
        assert_eq!((name.as_str(), secret.as_str()), ("Aladdin", "open sesame"));
        for bad in ["", "!", "QQ==", "\u{e9}"] {
            assert!(basic(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn scopes_are_those_of_the_token_protocol() {
        let scope = Scope::parse("repository:shop/web:pull,push").unwrap();
        assert_eq!(scope.repository.as_str(), "shop/web");
        assert_eq!(scope.rights, [Right::Pull, Right::Push].into());
        assert!(Scope::parse("registry:catalog:*").is_none());
        assert!(Scope::parse("repository:../x:pull").is_none());
        let all = Scope::parse("repository:a:*,fly").unwrap();
        assert_eq!(all.rights.len(), 3);
    }
}
