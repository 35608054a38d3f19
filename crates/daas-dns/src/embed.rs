//! Addresses inside of names: `shop-7.192-168-1-10.<zone>` is 192.168.1.10, with nobody's help.
//!
//! Only addresses of private networks, of this machine and of loopback: a public zone that named any address in the world would be a present to
//! whoever wants a name for his.

use crate::name::{Labels, Name};
use daas_model::Subnet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Which addresses names may bear.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Embedding {
    /// Blocks besides the private ones.
    pub(crate) allowed: Vec<Subnet>,
}

impl Embedding {
    /// Returns the address in the last label before `origin`, if there is one and it may be named.
    pub(crate) fn address(&self, origin: &Name, wire: &[u8]) -> Option<IpAddr> {
        let inner = wire.len().checked_sub(origin.wire().len())?;
        let label = Labels(wire).scan(0, |at, label| {
            *at += 1 + label.len();
            Some((*at, label))
        });
        let (_, last) = label.take_while(|(end, _)| *end <= inner).last()?;
        let address = read(last)?;
        self.may_name(address).then_some(address)
    }

    fn may_name(&self, address: IpAddr) -> bool {
        is_private(address) || self.allowed.iter().any(|block| block.contains(address))
    }
}

/// Tells whether an address is of a private network, of a link or of loopback.
pub(crate) fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [first, second, ..] = v4.octets();
            v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || (first == 100 && (64..128).contains(&second))
                || first == 0
        }
        IpAddr::V6(v6) => {
            if let Some(v4) = v6.to_ipv4_mapped() {
                return is_private(IpAddr::V4(v4));
            }
            v6.is_loopback()
                || v6.is_unspecified()
                || (v6.segments()[0] & 0xfe00) == 0xfc00
                || (v6.segments()[0] & 0xffc0) == 0xfe80
        }
    }
}

/// Reads `192-168-1-10`, or `fd00--1` where `--` stands for the zeros that `::` leaves out.
fn read(label: &[u8]) -> Option<IpAddr> {
    if !label.contains(&b'-') {
        return None;
    }
    let text = std::str::from_utf8(label).ok()?;
    let dotted = text.replace('-', ".");
    if let Ok(v4) = dotted.parse::<Ipv4Addr>() {
        return Some(IpAddr::V4(v4));
    }
    text.replace('-', ":")
        .parse::<Ipv6Addr>()
        .ok()
        .map(IpAddr::V6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_bear_private_addresses_and_no_others() {
        let origin = Name::parse("daas.internal").unwrap();
        let embedding = Embedding {
            allowed: vec![Subnet::parse("203.0.113.8/32").unwrap()],
        };
        for (name, address) in [
            ("shop-7.192-168-1-10.daas.internal", Some("192.168.1.10")),
            ("web.shop-7.10-0-0-1.daas.internal", Some("10.0.0.1")),
            ("127-0-0-1.daas.internal", Some("127.0.0.1")),
            ("x.fd00--1.daas.internal", Some("fd00::1")),
            ("x.203-0-113-8.daas.internal", Some("203.0.113.8")),
            ("x.8-8-8-8.daas.internal", None),
            ("x.203-0-113-9.daas.internal", None),
            ("x.256-0-0-1.daas.internal", None),
            ("192-168-1-10.x.daas.internal", None),
            ("shop-7.daas.internal", None),
            ("daas.internal", None),
            ("x.2001-db8--1.daas.internal", None),
        ] {
            let wire = Name::parse(name).unwrap();
            let expected: Option<IpAddr> = address.map(|a| a.parse().unwrap());
            assert_eq!(embedding.address(&origin, wire.wire()), expected, "{name}");
        }
    }
}
