//! Response rate limiting: who asks under a false address cannot make this server flood its owner.
//!
//! Equal answers to one network (/24, /56) are counted in seconds. What is too much is dropped, but every second time cut down and sent, so that a real asker
//! comes back over TCP, where addresses are not false (the scheme of ISC's technical note 2012-1).

use crate::kind::Rcode;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Places of the table; two networks that share one share their allowance.
const PLACES: usize = 4096;
/// How much of an allowance is gathered while nobody asks, in seconds.
const GATHERED: u32 = 2;

/// What the limit says about an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Send,
    /// Send the question back with the truncation bit.
    Cut,
    Drop,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    whose: u64,
    left: u32,
    at: Instant,
    over: u32,
}

/// Counts answers of one socket.
pub(crate) struct Limiter {
    rate: u32,
    hasher: RandomState,
    places: Vec<Option<Place>>,
}

impl Limiter {
    /// Makes one that lets `rate` equal answers a second through; all if it is 0.
    pub(crate) fn new(rate: u32) -> Self {
        Self {
            rate,
            hasher: RandomState::new(),
            places: if rate == 0 {
                Vec::new()
            } else {
                vec![None; PLACES]
            },
        }
    }

    /// Tells what to do with one more answer of `rcode` about `what` at `now`.
    ///
    /// Errors and negative answers of one network count together, whatever name they are about: names that are not there cost an attacker nothing.
    pub(crate) fn judge(&mut self, to: IpAddr, rcode: Rcode, what: &[u8], now: Instant) -> Verdict {
        if self.rate == 0 {
            return Verdict::Send;
        }
        let about: &[u8] = if rcode == Rcode::NO_ERROR { what } else { &[] };
        let whose = self.hasher.hash_one((network(to), rcode, about));
        let full = self.rate.saturating_mul(GATHERED);
        // The low bits choose the place.
        let at = usize::try_from(whose % PLACES as u64).unwrap_or(0);
        let place = self.places[at].get_or_insert(Place {
            whose,
            left: full,
            at: now,
            over: 0,
        });
        if place.whose != whose {
            *place = Place {
                whose,
                left: full,
                at: now,
                over: 0,
            };
        }
        let since = now.saturating_duration_since(place.at);
        if since >= Duration::from_secs(1) / self.rate {
            let gained =
                u32::try_from(since.as_millis().saturating_mul(u128::from(self.rate)) / 1000)
                    .unwrap_or(u32::MAX);
            if gained > 0 {
                place.left = place.left.saturating_add(gained).min(full);
                place.at = now;
            }
        }
        if place.left > 0 {
            place.left -= 1;
            return Verdict::Send;
        }
        place.over = place.over.wrapping_add(1);
        if place.over.is_multiple_of(2) {
            Verdict::Cut
        } else {
            Verdict::Drop
        }
    }
}

fn network(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(v4) => u64::from(u32::from(v4) & 0xffff_ff00),
        // 56 bits of the first 64.
        IpAddr::V6(v6) => u64::try_from(u128::from(v6) >> 72).unwrap_or(0) | 1 << 63,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_is_cut_or_dropped_until_a_second_has_gone_by() {
        let mut limiter = Limiter::new(10);
        let now = Instant::now();
        let to: IpAddr = "192.0.2.7".parse().unwrap();
        let verdicts: Vec<Verdict> = (0..24)
            .map(|_| limiter.judge(to, Rcode::NO_ERROR, b"x", now))
            .collect();
        assert!(verdicts[..20].iter().all(|v| *v == Verdict::Send));
        assert_eq!(
            verdicts[20..],
            [Verdict::Drop, Verdict::Cut, Verdict::Drop, Verdict::Cut]
        );
        // Others are not touched: another network, another name.
        assert_eq!(
            limiter.judge("198.51.100.1".parse().unwrap(), Rcode::NO_ERROR, b"x", now),
            Verdict::Send
        );
        assert_eq!(limiter.judge(to, Rcode::NO_ERROR, b"y", now), Verdict::Send);
        let later = now + Duration::from_secs(1);
        let sent = (0..20)
            .filter(|_| limiter.judge(to, Rcode::NO_ERROR, b"x", later) == Verdict::Send)
            .count();
        assert_eq!(sent, 10);
    }

    #[test]
    fn names_that_are_not_there_count_together() {
        let mut limiter = Limiter::new(10);
        let now = Instant::now();
        let to: IpAddr = "2001:db8::1".parse().unwrap();
        let sent = (0..100u8)
            .filter(|n| limiter.judge(to, Rcode::NX_DOMAIN, &[*n], now) == Verdict::Send)
            .count();
        assert_eq!(sent, 20);
    }

    #[test]
    fn without_a_limit_everything_is_sent() {
        let mut limiter = Limiter::new(0);
        let now = Instant::now();
        assert!((0..1000).all(|_| limiter.judge(
            "192.0.2.7".parse().unwrap(),
            Rcode::NO_ERROR,
            b"x",
            now
        ) == Verdict::Send));
    }
}
