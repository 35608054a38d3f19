//! Counters against those who are many (threat S19).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Counts the connections of each client.
#[derive(Debug, Clone, Default)]
pub struct Crowd {
    counts: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// One connection that is counted; it leaves when dropped.
#[derive(Debug)]
pub struct Counted {
    crowd: Crowd,
    client: IpAddr,
}

/// Returns what counts as one client: an address, or a network of IPv6 (/64), which every household has of its own (RFC 6177).
#[must_use]
pub fn client_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.into(),
        IpAddr::V6(v6) => IpAddr::from((u128::from(v6) >> 64 << 64).to_be_bytes()),
    }
}

impl Crowd {
    /// Counts one more connection; nothing if the client of this address has `most` already.
    #[must_use]
    pub fn enter(&self, address: IpAddr, most: usize) -> Option<Counted> {
        let client = client_of(address);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(client).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(Counted {
            crowd: self.clone(),
            client,
        })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self
            .crowd
            .counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_has_enough_is_refused_until_one_leaves() {
        let crowd = Crowd::default();
        let (one, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let held: Vec<_> = (0..3).map(|_| crowd.enter(one, 3).unwrap()).collect();
        assert!(crowd.enter(one, 3).is_none() && crowd.enter(other, 3).is_some());
        drop(held);
        assert!(crowd.enter(one, 3).is_some());
        assert!(crowd.counts.lock().unwrap().is_empty());
    }

    #[test]
    fn a_network_of_ipv6_is_one_address_and_a_mapped_one_is_ipv4() {
        let crowd = Crowd::default();
        let _held = crowd.enter("2001:db8::1".parse().unwrap(), 1).unwrap();
        assert!(
            crowd
                .enter("2001:db8::ffff:1".parse().unwrap(), 1)
                .is_none()
        );
        assert!(crowd.enter("2001:db8:0:1::1".parse().unwrap(), 1).is_some());
        let _mapped = crowd.enter("::ffff:10.0.0.1".parse().unwrap(), 1).unwrap();
        assert!(crowd.enter("10.0.0.1".parse().unwrap(), 1).is_none());
    }
}
