//! Certificates of the private authority, made when a handshake asks for the name.

use crate::authority::{Authority, AuthorityError, early};
use crate::clock::Clock;
use crate::name::CertName;
use rustls::sign::CertifiedKey;
use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// How many certificates are kept: each a few kB, and about one per stand.
const KEPT: usize = 1024;
/// How many are kept for names at which nothing answers.
const KEPT_FOR_STRANGERS: usize = 128;
/// How many of those are made in a second: each costs about a millisecond, and anybody can ask.
const STRANGERS_A_SECOND: u32 = 20;

/// Tells which names lead somewhere now.
pub trait Served: fmt::Debug + Send + Sync {
    /// Tells whether something answers at `name`, or soon will. Called in handshakes: it must not block. Where nothing does, a certificate that says nothing
    /// of it is shown, for the page that tells.
    fn serves(&self, name: &str) -> bool;
}

/// Every name of the zones, for as long as nobody knows better.
#[derive(Debug)]
pub struct ServesAll;

impl Served for ServesAll {
    fn serves(&self, _: &str) -> bool {
        true
    }
}

/// Certificates for the names of the platform's zones, kept in memory only.
pub struct OwnNames {
    authority: Authority,
    zones: Vec<CertName>,
    addresses: Vec<IpAddr>,
    clock: Arc<dyn Clock>,
    kept: Mutex<Kept>,
    strangers: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    by_group: HashMap<String, One>,
    turn: u64,
    /// The second in which certificates for strangers were made, and how many.
    lately: (u64, u32),
}

struct One {
    key: Arc<CertifiedKey>,
    not_after_ms: u64,
    used: u64,
}

impl fmt::Debug for OwnNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnNames")
            .field("zones", &self.zones)
            .finish_non_exhaustive()
    }
}

impl OwnNames {
    /// Serves `zones`; who asks for no name gets a certificate of `addresses`.
    pub(crate) fn new(
        authority: Authority,
        zones: Vec<CertName>,
        addresses: Vec<IpAddr>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            authority,
            zones,
            addresses,
            clock,
            kept: Mutex::default(),
            strangers: Mutex::default(),
        }
    }

    /// Returns the authority.
    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Returns the zones.
    pub(crate) fn zones(&self) -> &[CertName] {
        &self.zones
    }

    /// Returns a certificate for `name`, made now or earlier; nothing if it is in no zone.
    ///
    /// # Errors
    /// [`AuthorityError`] if it cannot be made.
    pub fn get(&self, name: &CertName) -> Result<Option<Arc<CertifiedKey>>, AuthorityError> {
        let Some(zone) = self.zone_of(name) else {
            return Ok(None);
        };
        let names = group(zone, name);
        let make = |authority: &Authority, now_ms| authority.server(&names, &[], now_ms);
        self.kept_or((&self.kept, KEPT), names[0].as_str(), make)
            .map(Some)
    }

    /// Returns the innermost zone of a name: `dev.example.com` and `example.com` may both be ours.
    pub(crate) fn zone_of(&self, name: &CertName) -> Option<&CertName> {
        let zones = self.zones.iter().filter(|zone| name.is_in(zone));
        zones.max_by_key(|zone| zone.as_str().len())
    }

    /// Returns a certificate for a name of the zones at which nothing answers, so that whoever comes can be told; nothing if too many ask.
    ///
    /// Names right below a zone share one with a star, where programs accept that.
    ///
    /// # Errors
    /// As [`OwnNames::get`].
    pub(crate) fn stranger(
        &self,
        name: &CertName,
    ) -> Result<Option<Arc<CertifiedKey>>, AuthorityError> {
        let Some(zone) = self.zone_of(name) else {
            return Ok(None);
        };
        let names = match zone.star() {
            Some(star) if star.covers(name) => vec![zone.clone(), star],
            _ => group(zone, name),
        };
        let second = self.clock.now_ms() / 1000;
        let kept = &self.strangers;
        if Self::find(kept, names[0].as_str(), second * 1000).is_none() {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.lately.0 != second {
                kept.lately = (second, 0);
            }
            kept.lately.1 += 1;
            if kept.lately.1 > STRANGERS_A_SECOND {
                return Ok(None);
            }
        }
        let make = |authority: &Authority, now_ms| authority.server(&names, &[], now_ms);
        self.kept_or((kept, KEPT_FOR_STRANGERS), names[0].as_str(), make)
            .map(Some)
    }

    /// Returns the certificate of the machine itself, for those who ask for no name.
    ///
    /// # Errors
    /// As [`OwnNames::get`].
    pub fn machine(&self) -> Result<Arc<CertifiedKey>, AuthorityError> {
        let names = [CertName::parse("localhost").expect("a name")];
        self.kept_or((&self.kept, KEPT), "", |authority, now_ms| {
            authority.server(&names, &self.addresses, now_ms)
        })
    }

    fn kept_or(
        &self,
        (all, most): (&Mutex<Kept>, usize),
        group: &str,
        make: impl FnOnce(&Authority, u64) -> Result<crate::pair::Pair, AuthorityError>,
    ) -> Result<Arc<CertifiedKey>, AuthorityError> {
        let now_ms = self.clock.now_ms();
        if let Some(key) = Self::find(all, group, now_ms) {
            return Ok(key);
        }
        // Made outside of the lock: two handshakes may make the same once.
        let pair = make(&self.authority, now_ms)?;
        let made = pair.served().ok_or_else(|| AuthorityError::Forbidden {
            name: group.to_owned(),
        })?;
        let mut kept = all.lock().unwrap_or_else(PoisonError::into_inner);
        kept.turn += 1;
        let used = kept.turn;
        if kept.by_group.len() >= most {
            let oldest = kept
                .by_group
                .iter()
                .min_by_key(|(_, one)| one.used)
                .map(|(name, _)| name.clone());
            oldest.and_then(|name| kept.by_group.remove(&name));
        }
        let one = One {
            key: made.clone(),
            not_after_ms: pair.facts().not_after_ms,
            used,
        };
        kept.by_group.insert(group.to_owned(), one);
        Ok(made)
    }

    fn find(all: &Mutex<Kept>, group: &str, now_ms: u64) -> Option<Arc<CertifiedKey>> {
        let mut kept = all.lock().unwrap_or_else(PoisonError::into_inner);
        kept.turn += 1;
        let turn = kept.turn;
        let one = kept.by_group.get_mut(group)?;
        if one.not_after_ms < now_ms.saturating_add(early()) {
            return None;
        }
        one.used = turn;
        Some(one.key.clone())
    }

    /// Returns how many certificates are kept.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .by_group
            .len()
    }
}

/// Returns the names of the certificate by which `name` is served: the name right below the zone and the star below that, so that one
/// certificate serves a stand with all of its services; deeper names share the one of the name above them.
fn group(zone: &CertName, name: &CertName) -> Vec<CertName> {
    let Some(below) = name
        .base()
        .strip_suffix(zone.as_str())
        .filter(|rest| !rest.is_empty())
    else {
        return vec![zone.clone()];
    };
    let labels: Vec<&str> = below.trim_end_matches('.').split('.').collect();
    let above = match labels.len() {
        0..=2 => labels.last().copied().map(ToOwned::to_owned),
        _ => Some(labels[1..].join(".")),
    };
    let top = above.and_then(|above| CertName::parse(&format!("{above}.{zone}")).ok());
    let Some(top) = top else {
        return vec![name.clone()];
    };
    let star = top.star();
    std::iter::once(top).chain(star).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(zone: &str, name: &str) -> String {
        let parse = |text| CertName::parse(text).unwrap();
        let all: Vec<String> = group(&parse(zone), &parse(name))
            .iter()
            .map(ToString::to_string)
            .collect();
        all.join(" ")
    }

    #[test]
    fn one_certificate_serves_a_stand_with_all_of_its_services() {
        assert_eq!(
            names("localhost", "shop.localhost"),
            "shop.localhost *.shop.localhost"
        );
        assert_eq!(
            names("localhost", "web.shop.localhost"),
            "shop.localhost *.shop.localhost"
        );
        assert_eq!(
            names("dev.example.com", "a.b.shop.dev.example.com"),
            "b.shop.dev.example.com *.b.shop.dev.example.com"
        );
        assert_eq!(
            names("dev.example.com", "dev.example.com"),
            "dev.example.com"
        );
        assert_eq!(
            names("ip.test", "web.shop.192-168-1-10.ip.test"),
            "shop.192-168-1-10.ip.test *.shop.192-168-1-10.ip.test"
        );
    }
}
