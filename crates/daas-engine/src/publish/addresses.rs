use daas_model::Subnet;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

/// The block of host addresses from which every stand gets one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostRange {
    block: Subnet,
}

impl Default for HostRange {
    /// Returns 127.64.0.0/10: four million addresses that every Linux host has already and that nobody outside reaches.
    fn default() -> Self {
        Self {
            block: Subnet {
                address: IpAddr::V4(Ipv4Addr::new(127, 64, 0, 0)),
                prefix: 10,
            },
        }
    }
}

impl HostRange {
    /// Makes a range of a configured block.
    #[must_use]
    pub fn new(block: Subnet) -> Self {
        Self { block }
    }

    /// Tells whether the host has these addresses without being told: they are loopback.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.block.address.is_loopback()
    }

    /// Tells whether `address` is one of the range.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.block.contains(address)
    }

    /// Chooses an address that is not in `used`: the next one behind `last`, so that an address rests as long as possible
    /// before it means another stand. Returns nothing when the range is used up.
    ///
    /// The first and the last address of every 256 are left out; routers and people take them for something else.
    #[must_use]
    pub fn next(&self, used: &BTreeSet<IpAddr>, last: Option<IpAddr>) -> Option<IpAddr> {
        let after = last.filter(|address| self.contains(*address));
        let usable = |n: u128| {
            self.block
                .nth(n)
                .filter(|address| is_usable(*address) && !used.contains(address))
        };
        let start = after.map_or(0, |address| self.number(address) + 1);
        // Not more than `used` plus the left-out addresses between them can be in the way.
        let bound = (used.len() as u128 + 2) * 2 + 4;
        let ahead = (start..start.saturating_add(bound)).find_map(usable);
        ahead.or_else(|| (0..start.min(bound)).find_map(usable))
    }

    fn number(&self, address: IpAddr) -> u128 {
        let bits = |address: IpAddr| match address {
            IpAddr::V4(v4) => u128::from(u32::from(v4)),
            IpAddr::V6(v6) => u128::from(v6),
        };
        bits(address) - bits(self.block.address)
    }
}

fn is_usable(address: IpAddr) -> bool {
    let last = match address {
        IpAddr::V4(v4) => v4.octets()[3],
        IpAddr::V6(v6) => v6.octets()[15],
    };
    last != 0 && last != 255
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> HostRange {
        HostRange::new(Subnet::parse(text).unwrap())
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_follows_the_last_one_and_steps_over_used_ones() {
        let range = HostRange::default();
        assert!(range.is_loopback());
        assert_eq!(range.next(&BTreeSet::new(), None), Some(ip("127.64.0.1")));
        let used = [ip("127.64.0.2"), ip("127.64.0.3")].into();
        assert_eq!(
            range.next(&used, Some(ip("127.64.0.1"))),
            Some(ip("127.64.0.4"))
        );
        assert_eq!(
            range.next(&used, Some(ip("127.64.0.254"))),
            Some(ip("127.64.1.1"))
        );
        assert_eq!(
            range.next(&used, Some(ip("10.0.0.1"))),
            Some(ip("127.64.0.1"))
        );
    }

    #[test]
    fn a_range_begins_again_at_its_end_and_gives_out_each_address_once() {
        let range = range("10.9.0.0/29");
        let mut used = BTreeSet::new();
        let mut last = Some(ip("10.9.0.5"));
        let mut given = Vec::new();
        while let Some(address) = range.next(&used, last) {
            used.insert(address);
            given.push(address.to_string());
            last = Some(address);
        }
        assert_eq!(
            given,
            [
                "10.9.0.6", "10.9.0.7", "10.9.0.1", "10.9.0.2", "10.9.0.3", "10.9.0.4", "10.9.0.5"
            ]
        );
    }

    #[test]
    fn a_whole_class_c_is_given_out_in_254_steps() {
        let range = range("10.9.1.0/24");
        let mut used = BTreeSet::new();
        while let Some(address) = range.next(&used, None) {
            assert!(used.insert(address));
        }
        assert_eq!(used.len(), 254);
    }

    #[test]
    fn six_works_as_four_does() {
        let range = range("fd00:7::/64");
        assert_eq!(
            range.next(&BTreeSet::new(), Some(ip("fd00:7::fe"))),
            Some(ip("fd00:7::101"))
        );
    }
}
