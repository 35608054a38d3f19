//! Secrets at rest: a master key in a file of its own seals the room's key, and that seals every value.
//!
//! XChaCha20-Poly1305 with random nonces of 192 bits; the place of a value is authenticated with it, so that a value moved to another
//! place does not open (decision 0025).

use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use daas_model::{Explain, Kind};
use daas_store::{Expect, Record, Store, StoreError};
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use thiserror::Error;
use zeroize::Zeroizing;

/// The file in the state folder. No backup takes it along.
pub const MASTER_KEY: &str = "master.key";
/// The credential of systemd by which the file is replaced (systemd.exec(5), `LoadCredential=`).
pub const CREDENTIAL: &str = "daas-master-key";

const KEY: usize = 32;
const NONCE: usize = 24;
/// The first byte of everything that is sealed.
const VERSION: u8 = 1;

/// Secrets that cannot be sealed or opened.
#[derive(Debug, Error)]
pub enum SealError {
    /// The master key cannot be read or made.
    #[error("cannot {action} the master key `{}`", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Others may read the master key.
    #[error("cannot use the master key `{}`: others may read it (mode {mode:o})", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its rights.
        mode: u32,
    },
    /// The file holds something else.
    #[error("cannot use the master key `{}`: it does not hold 32 bytes or their 64 hexadecimal digits", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
    },
    /// There are sealed secrets, and the key is gone.
    #[error("cannot open the sealed secrets: the master key `{}` is missing", path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// The master key is not the one that sealed.
    #[error("cannot open the sealed secrets: the master key `{}` is another one", path.display())]
    Other {
        /// The file.
        path: PathBuf,
    },
    /// A sealed value does not open.
    #[error(
        "cannot open the sealed secret `{place}`: its bytes changed or belong to another place"
    )]
    Damaged {
        /// Where it is kept.
        place: String,
    },
    /// The records cannot be read or written.
    #[error("cannot keep the key of the secrets")]
    Store(#[from] StoreError),
}

impl Explain for SealError {
    fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "master-key-io",
            Self::Open { .. } => "master-key-open",
            Self::Shape { .. } => "master-key-shape",
            Self::Missing { .. } => "master-key-missing",
            Self::Other { .. } => "master-key-other",
            Self::Damaged { .. } => "secret-damaged",
            Self::Store(error) => error.code(),
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Store(error) => error.kind(),
            Self::Open { .. } | Self::Shape { .. } | Self::Missing { .. } | Self::Other { .. } => {
                Kind::Input
            }
            Self::Io { .. } | Self::Damaged { .. } => Kind::Outside,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Open { path, .. } => Some(format!("`chmod 600 {}`", path.display())),
            Self::Missing { path } | Self::Other { path } => Some(format!(
                "put the file that belonged to this state back to `{}`, or give it as systemd's credential `{CREDENTIAL}`; without it what is sealed is lost",
                path.display()
            )),
            Self::Store(error) => error.hint(),
            _ => None,
        }
    }
}

/// The room's key, itself sealed by the master key.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct SealedKey {
    sealed: String,
}

impl Record for SealedKey {
    const KIND: &'static str = "sealed-key";
}

/// Seals and opens the secrets of one room.
pub struct Vault {
    cipher: XChaCha20Poly1305,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Vault(..)")
    }
}

impl Vault {
    /// Opens the vault of `room`; makes master key (0600) and the room's key where there are none yet.
    ///
    /// # Errors
    /// [`SealError`]; where the room has a key and the master key is gone, nothing is made.
    pub async fn open(state: &Path, store: &Store, room: &str) -> Result<Self, SealError> {
        let place = format!("sealed-key/{room}");
        let kept = store.get::<SealedKey>(room)?;
        let (path, found) = find(state)?;
        let Some(kept) = kept else {
            let master = match found {
                Some(master) => master,
                None => make(&path)?,
            };
            let key = Zeroizing::new(random::<KEY>());
            let sealed = SealedKey {
                sealed: Self::of(&master).seal(&place, key.as_slice()),
            };
            store.put_if(room, &sealed, Expect::Absent).await?;
            return Ok(Self::of(&key));
        };
        let Some(master) = found else {
            return Err(SealError::Missing { path });
        };
        let key = Self::of(&master)
            .unseal(&place, &kept.value.sealed)
            .map_err(|_| SealError::Other { path: path.clone() })?;
        let key: &[u8; KEY] = key
            .as_slice()
            .try_into()
            .map_err(|_| SealError::Other { path })?;
        Ok(Self::of(key))
    }

    fn of(key: &[u8; KEY]) -> Self {
        Self {
            cipher: XChaCha20Poly1305::new(&Key::from(*key)),
        }
    }

    /// Seals `plain` for `place`; the text opens at no other place.
    #[must_use]
    pub fn seal(&self, place: &str, plain: &[u8]) -> String {
        let nonce = random::<NONCE>();
        let payload = Payload {
            msg: plain,
            aad: place.as_bytes(),
        };
        let sealed = self
            .cipher
            .encrypt(&XNonce::from(nonce), payload)
            .expect("the cipher fails only beyond 256 GiB");
        let mut bytes = vec![VERSION];
        bytes.extend(nonce);
        bytes.extend(sealed);
        BASE64_STANDARD_NO_PAD.encode(bytes)
    }

    /// Opens what [`Vault::seal`] sealed for `place`.
    ///
    /// # Errors
    /// [`SealError::Damaged`] if it was changed, moved or sealed by another key.
    pub fn unseal(&self, place: &str, text: &str) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let damaged = || SealError::Damaged {
            place: place.to_owned(),
        };
        let bytes = BASE64_STANDARD_NO_PAD.decode(text).map_err(|_| damaged())?;
        let (VERSION, rest) = bytes
            .split_first()
            .map(|(v, r)| (*v, r))
            .ok_or_else(damaged)?
        else {
            return Err(damaged());
        };
        let (nonce, msg) = rest.split_first_chunk::<NONCE>().ok_or_else(damaged)?;
        let payload = Payload {
            msg,
            aad: place.as_bytes(),
        };
        let plain = self.cipher.decrypt(&XNonce::from(*nonce), payload);
        Ok(Zeroizing::new(plain.map_err(|_| damaged())?))
    }
}

/// Returns random bytes of the kernel.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let mut done = 0;
    while done < N {
        // The kernel's source blocks only at boot and fails only for pointers that are wrong (getrandom(2)).
        done += rustix::rand::getrandom(&mut bytes[done..], rustix::rand::GetRandomFlags::empty())
            .unwrap_or(0);
    }
    bytes
}

type MasterKey = Zeroizing<[u8; KEY]>;

/// Finds the master key: systemd's credential, or the file of the state folder.
fn find(state: &Path) -> Result<(PathBuf, Option<MasterKey>), SealError> {
    let file = state.join(MASTER_KEY);
    let credential = std::env::var_os("CREDENTIALS_DIRECTORY")
        .map(|dir| PathBuf::from(dir).join(CREDENTIAL))
        .filter(|path| path.exists());
    let path = credential.unwrap_or(file);
    let failed = |source| SealError::Io {
        action: "read",
        path: path.clone(),
        source,
    };
    let mut opened = match File::open(&path) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((path, None)),
        Err(source) => return Err(failed(source)),
    };
    let stat = rustix::fs::fstat(&opened).map_err(|e| failed(e.into()))?;
    if stat.st_mode & 0o077 != 0 {
        let mode = stat.st_mode & 0o777;
        return Err(SealError::Open { path, mode });
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(256));
    (&mut opened)
        .take(256)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    let key = shape(&bytes).ok_or_else(|| SealError::Shape { path: path.clone() })?;
    Ok((path, Some(key)))
}

fn shape(bytes: &[u8]) -> Option<MasterKey> {
    if let Ok(raw) = bytes.try_into() {
        return Some(Zeroizing::new(raw));
    }
    let text = str::from_utf8(bytes).ok()?.trim();
    let mut key = Zeroizing::new([0; KEY]);
    if text.len() != 2 * KEY || !text.is_ascii() {
        return None;
    }
    for (at, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(key)
}

/// Makes the master key's file, on the disk before anything is sealed by it.
fn make(path: &Path) -> Result<MasterKey, SealError> {
    let failed = |source: io::Error| SealError::Io {
        action: "make",
        path: path.to_owned(),
        source,
    };
    let key = Zeroizing::new(random::<KEY>());
    let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let hex = Zeroizing::new(hex + "\n");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd =
        rustix::fs::open(path, flags, Mode::from_raw_mode(0o600)).map_err(|e| failed(e.into()))?;
    let mut file = File::from(fd);
    file.write_all(hex.as_bytes()).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    if let Some(dir) = path.parent() {
        File::open(dir)
            .and_then(|dir| dir.sync_all())
            .map_err(failed)?;
    }
    Ok(key)
}

/// Returns the SHA-256 of `bytes` as hexadecimal digits.
pub(crate) fn hex_sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[tokio::test]
    async fn what_is_sealed_opens_only_at_its_place_and_with_its_key() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::in_memory().unwrap();
        let vault = Vault::open(dir.path(), &store, "certs").await.unwrap();
        let sealed = vault.seal("a", b"secret");
        assert_ne!(sealed, vault.seal("a", b"secret"));
        assert_eq!(vault.unseal("a", &sealed).unwrap().as_slice(), b"secret");
        assert!(vault.unseal("b", &sealed).is_err());
        let mut bytes = BASE64_STANDARD_NO_PAD.decode(&sealed).unwrap();
        for at in 0..bytes.len() {
            bytes[at] ^= 1;
            let changed = BASE64_STANDARD_NO_PAD.encode(&bytes);
            assert!(vault.unseal("a", &changed).is_err(), "byte {at}");
            bytes[at] ^= 1;
        }
        let again = Vault::open(dir.path(), &store, "certs").await.unwrap();
        assert_eq!(again.unseal("a", &sealed).unwrap().as_slice(), b"secret");
        let other = Vault::open(dir.path(), &store, "other").await.unwrap();
        assert!(other.unseal("a", &sealed).is_err());
    }

    #[tokio::test]
    async fn a_key_that_is_gone_other_or_open_is_told_and_never_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::in_memory().unwrap();
        drop(Vault::open(dir.path(), &store, "certs").await.unwrap());
        let path = dir.path().join(MASTER_KEY);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let kept = std::fs::read(&path).unwrap();

        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        let error = Vault::open(dir.path(), &store, "certs").await.unwrap_err();
        assert_eq!(error.code(), "master-key-open");

        std::fs::remove_file(&path).unwrap();
        let error = Vault::open(dir.path(), &store, "certs").await.unwrap_err();
        assert_eq!(error.code(), "master-key-missing");
        assert!(!path.exists());

        drop(make(&path).unwrap());
        let error = Vault::open(dir.path(), &store, "certs").await.unwrap_err();
        assert_eq!(error.code(), "master-key-other");

        std::fs::write(&path, &kept).unwrap();
        assert!(Vault::open(dir.path(), &store, "certs").await.is_ok());
    }
}
