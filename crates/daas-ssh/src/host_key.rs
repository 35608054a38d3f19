use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::{HashAlg, PrivateKey};
use std::io;
use zeroize::Zeroizing;

/// The key by which people know the host: Ed25519.
#[derive(Clone)]
pub struct HostKey(PrivateKey);

impl HostKey {
    /// Makes a new seed: what is kept, and [`HostKey::of_seed`] reads.
    ///
    /// # Errors
    /// If the kernel gives no randomness.
    pub fn new_seed() -> io::Result<Zeroizing<[u8; 32]>> {
        let mut seed = Zeroizing::new([0; 32]);
        let got = rustix::rand::getrandom(&mut seed[..], rustix::rand::GetRandomFlags::empty())?;
        if got == seed.len() {
            Ok(seed)
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }

    /// Returns the key of a seed (RFC 8032, section 5.1.5).
    #[must_use]
    pub fn of_seed(seed: &[u8; 32]) -> Self {
        Self(PrivateKey::from(Ed25519Keypair::from_seed(seed)))
    }

    /// Returns the public half as it stands in `known_hosts`.
    #[must_use]
    pub fn line(&self) -> String {
        let line = self.0.public_key().to_openssh().unwrap_or_default();
        line.trim().to_owned()
    }

    /// Returns `SHA256:...`.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.0.public_key().fingerprint(HashAlg::Sha256).to_string()
    }

    pub(crate) fn private(&self) -> PrivateKey {
        self.0.clone()
    }
}

impl std::fmt::Debug for HostKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.fingerprint())
    }
}
