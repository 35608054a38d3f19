use crate::record::ChallengeKind;
use instant_acme::{LetsEncrypt, ZeroSsl};
use std::fmt;
use std::path::PathBuf;
use zeroize::Zeroizing;

/// One authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcmeSettings {
    /// The URL of its directory, `https://...`.
    pub directory: String,
    /// `mailto:` URLs of who is told about trouble.
    pub contact: Vec<String>,
    /// The account of the authority's own that ours is bound to (RFC 8555, section 7.3.4).
    pub binding: Option<Binding>,
    /// The only challenge to use; without it the first of DNS-01 (where the zone is ours), HTTP-01 and TLS-ALPN-01 that is offered.
    pub challenge: Option<ChallengeKind>,
    /// Roots by which its directory is trusted, a PEM file; those of the system where there is none.
    pub roots: Option<PathBuf>,
    /// The kind of certificate to ask for, among those of its directory.
    pub profile: Option<String>,
}

impl AcmeSettings {
    /// Short names of directories.
    pub const KNOWN: [&'static str; 3] = ["letsencrypt", "letsencrypt-staging", "zerossl"];

    /// Returns the directory's URL for one of [`AcmeSettings::KNOWN`].
    #[must_use]
    pub fn known(short: &str) -> Option<&'static str> {
        match short {
            "letsencrypt" => Some(LetsEncrypt::Production.url()),
            "letsencrypt-staging" => Some(LetsEncrypt::Staging.url()),
            "zerossl" => Some(ZeroSsl::Production.url()),
            _ => None,
        }
    }

    /// Returns settings with nothing but a directory.
    #[must_use]
    pub fn new(directory: impl Into<String>) -> Self {
        Self {
            directory: directory.into(),
            contact: Vec::new(),
            binding: None,
            challenge: None,
            roots: None,
            profile: None,
        }
    }
}

/// An external account binding.
#[derive(Clone, PartialEq, Eq)]
pub struct Binding {
    /// The name of the key.
    pub key_id: String,
    /// The key, in base64url without padding, as authorities give it.
    pub key: Zeroizing<String>,
}

impl fmt::Debug for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Binding")
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}
