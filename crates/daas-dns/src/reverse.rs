//! Names of addresses (RFC 1035 section 3.5, RFC 3596 section 2.5).

use crate::name::{Name, NameError};
use daas_model::Subnet;
use std::fmt::Write as _;
use std::net::IpAddr;

/// The most zones that one block is served by.
const MOST_ZONES: usize = 64;

/// Returns the name under which the name of an address is found.
#[must_use]
pub fn reverse_name(address: IpAddr) -> Name {
    let (octets, tail) = labels(address);
    let mut text = String::new();
    for label in octets.iter().rev() {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{label}.");
    }
    text.push_str(tail);
    Name::parse(&text).expect("digits and dots of an address make a name of 34 labels at most")
}

/// Labels from the first to the last, and what stands behind them.
fn labels(address: IpAddr) -> (Vec<String>, &'static str) {
    match address {
        IpAddr::V4(v4) => (
            v4.octets().iter().map(ToString::to_string).collect(),
            "in-addr.arpa",
        ),
        IpAddr::V6(v6) => (
            v6.octets()
                .iter()
                .flat_map(|octet| [octet >> 4, octet & 0xf])
                .map(|digit| format!("{digit:x}"))
                .collect(),
            "ip6.arpa",
        ),
    }
}

/// Returns the zones in which the names of a block's addresses lie: one, or some where the block does not end at a label.
///
/// Nothing for a block that would need more than 64 zones. All of 127.0.0.0/8 is one zone: it is everybody's own (RFC 6303 section 4.2).
///
/// # Errors
/// [`NameError`] never in fact: digits make names.
pub fn reverse_zones(block: Subnet) -> Result<Vec<Name>, NameError> {
    if block.address.is_loopback() {
        let zone = match block.address {
            IpAddr::V4(_) => "127.in-addr.arpa".to_owned(),
            IpAddr::V6(_) => reverse_name(block.address).to_string(),
        };
        return Ok(vec![Name::parse(&zone)?]);
    }
    let step: u8 = if block.address.is_ipv4() { 8 } else { 4 };
    let depth = block.prefix.div_ceil(step);
    let bits = u32::from(depth * step - block.prefix);
    let count = 1usize << bits;
    if depth == 0 || count > MOST_ZONES {
        return Ok(Vec::new());
    }
    let width: u32 = if block.address.is_ipv4() { 32 } else { 128 };
    let behind = width - u32::from(depth * step);
    (0..count)
        .filter_map(|number| block.nth(u128::try_from(number).ok()? << behind))
        .map(|first| {
            let (labels, tail) = labels(first);
            let kept: Vec<&str> = labels[..usize::from(depth)]
                .iter()
                .rev()
                .map(String::as_str)
                .collect();
            Name::parse(&format!("{}.{tail}", kept.join(".")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_names() {
        let shown = |text: &str| reverse_name(text.parse().unwrap()).to_string();
        assert_eq!(shown("192.0.2.1"), "1.2.0.192.in-addr.arpa.");
        assert!(
            shown("2001:db8::1").starts_with("1.0.0.0.")
                && shown("2001:db8::1").ends_with("8.b.d.0.1.0.0.2.ip6.arpa.")
        );
    }

    #[test]
    fn blocks_have_zones() {
        for (block, zones) in [
            ("127.64.0.0/10", &["127.in-addr.arpa."][..]),
            ("10.7.0.0/16", &["7.10.in-addr.arpa."]),
            (
                "10.7.8.0/23",
                &["8.7.10.in-addr.arpa.", "9.7.10.in-addr.arpa."],
            ),
            ("fd00:1::/32", &["1.0.0.0.0.0.d.f.ip6.arpa."]),
            ("10.0.0.0/8", &["10.in-addr.arpa."]),
            ("0.0.0.0/0", &[]),
            ("10.0.0.0/9", &[]),
        ] {
            let found = reverse_zones(Subnet::parse(block).unwrap()).unwrap();
            let shown: Vec<String> = found.iter().map(ToString::to_string).collect();
            assert_eq!(shown, zones, "{block}");
        }
    }
}
