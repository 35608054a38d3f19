//! What is answered in a handshake: given certificates, issued ones, those of the private authority, and answers to challenges.

use crate::name::CertName;
use crate::own::{OwnNames, Served};
use crate::pair::Pair;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

/// The protocol of TLS-ALPN-01 (RFC 8737, section 6.2).
pub const ACME_TLS: &[u8] = b"acme-tls/1";

/// Certificates by the names that they are good for.
#[derive(Default, Clone)]
pub(crate) struct Table {
    exact: HashMap<String, Entry>,
    stars: HashMap<String, Entry>,
}

#[derive(Clone)]
struct Entry {
    key: Arc<CertifiedKey>,
    not_after_ms: u64,
}

impl Table {
    /// Adds a certificate; where two are good for a name, the one that ends later is served.
    pub(crate) fn add(&mut self, pair: &Pair) {
        let Some(key) = pair.served() else { return };
        let not_after_ms = pair.facts().not_after_ms;
        for name in &pair.facts().names {
            let map = if name.is_wildcard() {
                &mut self.stars
            } else {
                &mut self.exact
            };
            let later = map
                .get(name.base())
                .is_none_or(|old| old.not_after_ms <= not_after_ms);
            if later {
                map.insert(
                    name.base().to_owned(),
                    Entry {
                        key: key.clone(),
                        not_after_ms,
                    },
                );
            }
        }
    }

    fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let star = || {
            name.split_once('.')
                .and_then(|(_, rest)| self.stars.get(rest))
        };
        self.exact.get(name).or_else(star).map(|entry| &entry.key)
    }

    /// Returns the certificate of a zone's own star, if it is good for `name`.
    fn star_of(&self, zone: &str, name: &str) -> Option<&Arc<CertifiedKey>> {
        let (_, above) = name.split_once('.')?;
        let entry = self.stars.get(zone).filter(|_| above == zone);
        entry.map(|entry| &entry.key)
    }
}

/// Answers handshakes. Given certificates come first, then issued ones, then those of the private authority. Names of the zones at which
/// nothing answers have certificates too: a page says so.
pub struct Resolver {
    given: RwLock<Arc<Table>>,
    issued: RwLock<Arc<Table>>,
    own: Arc<OwnNames>,
    served: RwLock<Arc<dyn Served>>,
    challenges: RwLock<HashMap<String, Arc<CertifiedKey>>>,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver")
            .field("own", &self.own)
            .finish_non_exhaustive()
    }
}

impl Resolver {
    pub(crate) fn new(own: Arc<OwnNames>, served: Arc<dyn Served>) -> Self {
        Self {
            given: RwLock::default(),
            issued: RwLock::default(),
            own,
            served: RwLock::new(served),
            challenges: RwLock::default(),
        }
    }

    pub(crate) fn set_given(&self, table: Table) {
        *self.given.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
    }

    pub(crate) fn set_issued(&self, table: Table) {
        *self.issued.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
    }

    pub(crate) fn set_served(&self, served: Arc<dyn Served>) {
        *self.served.write().unwrap_or_else(PoisonError::into_inner) = served;
    }

    pub(crate) fn set_challenge(&self, name: &str, key: CertifiedKey) {
        let mut challenges = self
            .challenges
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        challenges.insert(name.to_owned(), Arc::new(key));
    }

    pub(crate) fn remove_challenge(&self, name: &str) {
        let mut challenges = self
            .challenges
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        challenges.remove(name);
    }

    /// Returns the certificate for a name; nothing if nothing is served there.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let name = CertName::parse(name)
            .ok()
            .filter(|name| !name.is_wildcard())?;
        let served = self
            .served
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let made = if served.serves(name.as_str()) {
            if let Some(key) = self.world(|table| table.find(name.as_str()).cloned()) {
                return Some(key);
            }
            self.own.get(&name)
        } else {
            // That nothing answers is told on a page, for which there must be a certificate: the zone's, or one of the private authority.
            let zone = self.own.zone_of(&name)?.as_str();
            if let Some(key) = self.world(|table| table.star_of(zone, name.as_str()).cloned()) {
                return Some(key);
            }
            self.own.stranger(&name)
        };
        made.unwrap_or_else(|error| {
            tracing::warn!(%name, cause = %daas_model::render_chain(&error), "no certificate");
            None
        })
    }

    /// Tells whether a given or an issued certificate is good for a name.
    #[must_use]
    pub fn is_of_the_world(&self, name: &str) -> bool {
        self.world(|table| table.find(name).map(|_| ())).is_some()
    }

    /// Looks into given certificates, then into issued ones.
    fn world<T>(&self, look: impl Fn(&Table) -> Option<T>) -> Option<T> {
        [&self.given, &self.issued].into_iter().find_map(|table| {
            let table = table.read().unwrap_or_else(PoisonError::into_inner).clone();
            look(&table)
        })
    }

    /// Returns how many certificates of the private authority are kept in memory.
    #[must_use]
    pub fn made(&self) -> usize {
        self.own.kept()
    }

    fn challenge(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let challenges = self
            .challenges
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        challenges.get(&name.to_ascii_lowercase()).cloned()
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // Only who speaks that protocol alone is an authority that checks (RFC 8737, section 3).
        let mut protocols = hello.alpn().into_iter().flatten();
        if protocols.next() == Some(ACME_TLS) && protocols.next().is_none() {
            return self.challenge(hello.server_name()?);
        }
        match hello.server_name() {
            Some(name) => self.find(name),
            None => self.own.machine().ok(),
        }
    }
}
