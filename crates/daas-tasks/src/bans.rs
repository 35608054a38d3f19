//! Peers that fail sign-ins or probe: counted, slowed, and kept out for a time.

use crate::crowd::client_of;
use daas_model::Subnet;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;

/// How many peers are counted; when there are more, those whose time is over are forgotten, and then all.
const MOST: usize = 50_000;
/// The first delay of an answer, which doubles with each further failure.
const FIRST_DELAY: Duration = Duration::from_millis(250);
/// The longest one: a connection that waits costs us, too.
const MOST_DELAY: Duration = Duration::from_secs(4);
/// The longest ban that is given by itself.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// When peers are slowed and banned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BanRules {
    /// So many failures are a ban.
    pub after: u32,
    /// Failures count for so long.
    pub within: Duration,
    /// How long the first ban lasts; each further one of a peer twice as long, a day at most.
    pub time: Duration,
    /// Who is never banned.
    pub allow: Vec<Subnet>,
}

impl Default for BanRules {
    /// Ten failures in ten minutes are ten minutes; loopback is never banned.
    fn default() -> Self {
        let loopback = ["127.0.0.0/8", "::1/128"].map(|text| Subnet::parse(text).ok());
        Self {
            after: 10,
            within: Duration::from_secs(600),
            time: Duration::from_secs(600),
            allow: loopback.into_iter().flatten().collect(),
        }
    }
}

/// Somebody who is kept out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ban {
    /// Who: an address, a network of IPv6 (/64), or a block that a person named.
    pub net: Subnet,
    /// Since when, in milliseconds of the Unix clock.
    pub since_ms: u64,
    /// Until when; nothing is for good.
    pub until_ms: Option<u64>,
    /// Why, for people.
    pub why: String,
    /// The how manyth ban in a row it is.
    pub times: u32,
}

impl Ban {
    fn holds(&self, now_ms: u64) -> bool {
        self.until_ms.is_none_or(|until| now_ms < until)
    }
}

/// What one peer has done.
#[derive(Debug, Default)]
struct Peer {
    /// When its failures were, in milliseconds of the Unix clock.
    failures: Vec<u64>,
    /// Bans so far, and when the last one ends.
    times: u32,
    last_ms: u64,
}

#[derive(Debug, Default)]
struct State {
    peers: HashMap<IpAddr, Peer>,
    /// Bans of one client, by it.
    single: HashMap<IpAddr, Ban>,
    /// Bans of blocks.
    wide: Vec<Ban>,
    /// Who is never banned, besides the rules'.
    allowed: Vec<Subnet>,
}

/// Who is counted, slowed and banned, at all doors together. A clone is another handle of the same.
#[derive(Debug, Clone)]
pub struct Bans {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    rules: BanRules,
    state: Mutex<State>,
    /// Whether anybody is banned: asked with every request.
    any: AtomicBool,
    /// Told of bans that the counting gives.
    told: mpsc::UnboundedSender<Ban>,
}

impl Bans {
    /// Makes an empty list; bans that the counting gives are told to the receiver.
    #[must_use]
    pub fn new(rules: BanRules) -> (Self, mpsc::UnboundedReceiver<Ban>) {
        let (told, hear) = mpsc::unbounded_channel();
        let inner = Inner {
            rules,
            state: Mutex::default(),
            any: AtomicBool::new(false),
            told,
        };
        let inner = Arc::new(inner);
        (Self { inner }, hear)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.inner
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells whether a peer is kept out now.
    #[must_use]
    pub fn is_banned(&self, ip: IpAddr) -> bool {
        self.inner.any.load(Ordering::Relaxed) && self.is_banned_at(ip, now_ms())
    }

    fn is_banned_at(&self, ip: IpAddr, now_ms: u64) -> bool {
        let ip = ip.to_canonical();
        let state = self.lock();
        let single = state
            .single
            .get(&client_of(ip))
            .filter(|ban| ban.net.contains(ip));
        let mut bans = single
            .into_iter()
            .chain(state.wide.iter().filter(|ban| ban.net.contains(ip)));
        bans.any(|ban| ban.holds(now_ms)) && !self.is_allowed(&state, ip)
    }

    fn is_allowed(&self, state: &State, ip: IpAddr) -> bool {
        let mut all = self.inner.rules.allow.iter().chain(&state.allowed);
        all.any(|net| net.contains(ip))
    }

    /// Counts a failure of a peer: a sign-in that was wrong, a look for what is not there. Returns for how long the answer shall wait.
    pub fn failed(&self, ip: IpAddr, why: &str) -> Duration {
        self.failed_at(ip, why, now_ms())
    }

    fn failed_at(&self, ip: IpAddr, why: &str, now_ms: u64) -> Duration {
        let ip = ip.to_canonical();
        let rules = &self.inner.rules;
        let mut state = self.lock();
        if self.is_allowed(&state, ip) {
            return Duration::ZERO;
        }
        let within = millis(rules.within);
        make_room(&mut state.peers, now_ms.saturating_sub(within));
        let client = client_of(ip);
        let peer = state.peers.entry(client).or_default();
        peer.failures
            .retain(|at| *at > now_ms.saturating_sub(within));
        peer.failures.push(now_ms);
        let count = u32::try_from(peer.failures.len()).unwrap_or(u32::MAX);
        if count >= rules.after {
            peer.failures.clear();
            // Who kept still for as long as the longest ban begins anew.
            peer.times = if now_ms > peer.last_ms.saturating_add(millis(LONGEST)) {
                1
            } else {
                peer.times.saturating_add(1)
            };
            let doubled = rules.time.saturating_mul(1 << (peer.times - 1).min(16));
            let until_ms = now_ms.saturating_add(millis(doubled.min(LONGEST)));
            peer.last_ms = until_ms;
            let ban = Ban {
                net: alone(client),
                since_ms: now_ms,
                until_ms: Some(until_ms),
                why: format!("{count} times: {why}"),
                times: peer.times,
            };
            state.single.insert(client, ban.clone());
            self.inner.any.store(true, Ordering::Relaxed);
            // Nobody listens any more when the house ends.
            let _ = self.inner.told.send(ban);
        }
        // The first third is anybody's typing.
        let many = count.saturating_sub(rules.after / 3);
        match many {
            0 => Duration::ZERO,
            many => FIRST_DELAY
                .saturating_mul(1 << (many - 1).min(8))
                .min(MOST_DELAY),
        }
    }

    /// Keeps somebody out; an older ban of the same is replaced.
    pub fn add(&self, ban: Ban) {
        let mut state = self.lock();
        state.wide.retain(|other| other.net != ban.net);
        let client = client_of(ban.net.address);
        if ban.net == alone(client) {
            if let Some(peer) = state.peers.get_mut(&client) {
                peer.last_ms = ban.until_ms.unwrap_or(u64::MAX);
            }
            state.single.insert(client, ban);
        } else {
            state.wide.push(ban);
        }
        self.inner.any.store(true, Ordering::Relaxed);
    }

    /// Lets somebody in again, with nothing counted; tells whether he was kept out.
    pub fn remove(&self, net: Subnet) -> bool {
        let mut state = self.lock();
        let client = client_of(net.address);
        let before = state.single.len() + state.wide.len();
        state.wide.retain(|ban| ban.net != net);
        if net == alone(client) {
            state.single.remove(&client);
            state.peers.remove(&client);
        }
        let after = state.single.len() + state.wide.len();
        self.inner.any.store(after > 0, Ordering::Relaxed);
        after < before
    }

    /// Returns who is kept out now, and forgets bans that are over.
    #[must_use]
    pub fn list(&self) -> Vec<Ban> {
        let now_ms = now_ms();
        let mut state = self.lock();
        state.single.retain(|_, ban| ban.holds(now_ms));
        state.wide.retain(|ban| ban.holds(now_ms));
        let mut all: Vec<Ban> = state.single.values().chain(&state.wide).cloned().collect();
        self.inner.any.store(!all.is_empty(), Ordering::Relaxed);
        all.sort_by_key(|ban| (ban.since_ms, ban.net.address));
        all
    }

    /// Says who is never banned besides those of the rules, in place of what was said before.
    pub fn set_allowed(&self, allowed: Vec<Subnet>) {
        self.lock().allowed = allowed;
    }

    /// Returns the rules.
    #[must_use]
    pub fn rules(&self) -> &BanRules {
        &self.inner.rules
    }
}

fn make_room(peers: &mut HashMap<IpAddr, Peer>, from_ms: u64) {
    if peers.len() >= MOST {
        peers.retain(|_, peer| peer.failures.last().is_some_and(|at| *at > from_ms));
        if peers.len() >= MOST {
            peers.clear();
        }
    }
}

/// Returns the block of one client: an address, or a network of IPv6.
fn alone(client: IpAddr) -> Subnet {
    let prefix = if client.is_ipv4() { 32 } else { 64 };
    Subnet {
        address: client,
        prefix,
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn now_ms() -> u64 {
    millis(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVIL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

    fn bans() -> (Bans, mpsc::UnboundedReceiver<Ban>) {
        Bans::new(BanRules::default())
    }

    #[test]
    fn who_fails_often_is_slowed_then_banned_and_longer_each_time() {
        let (bans, mut told) = bans();
        let start = 1_000_000_000_000;
        let delays: Vec<u128> = (0..10)
            .map(|n| bans.failed_at(EVIL, "sign-in", start + n).as_millis())
            .collect();
        assert_eq!(delays, [0, 0, 0, 250, 500, 1000, 2000, 4000, 4000, 4000]);
        let ban = told.try_recv().unwrap();
        assert_eq!(
            (ban.net.to_string().as_str(), ban.why.as_str()),
            ("192.0.2.7/32", "10 times: sign-in")
        );
        let end = ban.until_ms.unwrap();
        assert_eq!(end, start + 9 + 600_000);
        assert!(bans.is_banned_at(EVIL, end - 1) && !bans.is_banned_at(EVIL, end));
        assert!(!bans.is_banned_at("192.0.2.8".parse().unwrap(), start));
        for _ in 0..10 {
            bans.failed_at(EVIL, "sign-in", end);
        }
        assert!(bans.is_banned_at(EVIL, end + 1_200_000 - 1));
        assert!(bans.remove(ban.net) && !bans.is_banned_at(EVIL, end));
        assert!(!bans.remove(ban.net));
    }

    #[test]
    fn old_failures_do_not_count_and_neighbours_of_ipv6_are_one() {
        let (bans, mut told) = bans();
        for n in 0..50 {
            bans.failed_at(EVIL, "sign-in", 1_000_000_000_000 + n * 100_000);
        }
        assert!(told.try_recv().is_err());
        for n in 0..10_u16 {
            let ip = IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, n]);
            bans.failed_at(ip, "sign-in", 1);
        }
        assert_eq!(
            told.try_recv().unwrap().net.to_string(),
            "2001:db8:0:1::/64"
        );
        assert!(bans.is_banned_at("2001:db8:0:1::ffff".parse().unwrap(), 2));
        assert!(!bans.is_banned_at("2001:db8:0:2::1".parse().unwrap(), 2));
    }

    #[test]
    fn who_is_allowed_is_neither_counted_nor_kept_out() {
        let (bans, mut told) = bans();
        let loopback = IpAddr::from([127, 0, 0, 1]);
        for n in 0..20 {
            assert_eq!(bans.failed_at(loopback, "sign-in", n), Duration::ZERO);
        }
        assert!(told.try_recv().is_err());
        let ban = Ban {
            net: Subnet::parse("192.0.2.0/24").unwrap(),
            since_ms: 0,
            until_ms: None,
            why: "by hand".into(),
            times: 1,
        };
        bans.add(ban.clone());
        assert!(bans.is_banned(EVIL));
        assert_eq!(bans.list(), [ban]);
        bans.set_allowed(vec![Subnet::parse("192.0.2.7/32").unwrap()]);
        assert!(!bans.is_banned(EVIL));
        assert!(bans.is_banned("192.0.2.8".parse().unwrap()));
    }
}
