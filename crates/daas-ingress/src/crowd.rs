//! Counters against those who are many (threat S19).

use crate::visit::plain;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Counts the connections of each address.
#[derive(Debug, Clone, Default)]
pub(crate) struct Crowd {
    counts: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// One connection that is counted; it leaves when dropped.
#[derive(Debug)]
pub(crate) struct Counted {
    crowd: Crowd,
    address: IpAddr,
}

/// Returns what counts as one client: an address, or a network of IPv6 (/64), which every household has of its own.
pub(crate) fn client_of(address: IpAddr) -> IpAddr {
    match plain(address) {
        IpAddr::V4(v4) => v4.into(),
        IpAddr::V6(v6) => IpAddr::from((u128::from(v6) >> 64 << 64).to_be_bytes()),
    }
}

impl Crowd {
    /// Counts one more connection; nothing if the address has `most` already.
    pub(crate) fn enter(&self, address: IpAddr, most: usize) -> Option<Counted> {
        let address = client_of(address);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(Counted {
            crowd: self.clone(),
            address,
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
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}
