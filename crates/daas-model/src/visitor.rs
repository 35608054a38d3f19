//! Who somebody is that a proxy brings.

use crate::Subnet;
use std::net::IpAddr;

/// Returns the address of a visitor: the peer's, or behind trusted proxies the last one that none of them is.
///
/// `forwarded_for` are the values of `X-Forwarded-For` in their order. They count only if the peer is trusted; whatever stands before the first that is no
/// proxy, or no address, was said by nobody who is believed.
#[must_use]
pub fn visitor<'a>(
    peer: IpAddr,
    forwarded_for: impl Iterator<Item = &'a str>,
    trusted: &[Subnet],
) -> IpAddr {
    let is_proxy = |ip: IpAddr| trusted.iter().any(|net| net.contains(ip));
    let mut last = peer.to_canonical();
    if !is_proxy(last) {
        return last;
    }
    let list: Vec<&str> = forwarded_for.flat_map(|value| value.split(',')).collect();
    for text in list.into_iter().rev() {
        let Some(ip) = address(text.trim()) else {
            break;
        };
        last = ip;
        if !is_proxy(ip) {
            break;
        }
    }
    last
}

/// Reads an address as proxies write it: with a port or without.
fn address(text: &str) -> Option<IpAddr> {
    let ip = text
        .parse::<IpAddr>()
        .ok()
        .or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|a| a.ip()))
        .or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok())?;
    Some(ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_believed_back_to_the_first_who_is_none() {
        let trusted = ["10.0.0.0/8", "fd00::/8"].map(|text| Subnet::parse(text).unwrap());
        for (peer, said, who) in [
            ("192.0.2.1", &["198.51.100.7"][..], "192.0.2.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.7"], "198.51.100.7"),
            ("::ffff:10.0.0.1", &["198.51.100.7:4711"], "198.51.100.7"),
            (
                "10.0.0.1",
                &["1.1.1.1, 198.51.100.7", "10.0.0.9"],
                "198.51.100.7",
            ),
            ("10.0.0.1", &["198.51.100.7, nonsense"], "10.0.0.1"),
            ("fd00::1", &["[2001:db8::1]"], "2001:db8::1"),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ] {
            let found = visitor(peer.parse().unwrap(), said.iter().copied(), &trusted);
            assert_eq!(found, who.parse::<IpAddr>().unwrap(), "{peer} {said:?}");
        }
    }
}
