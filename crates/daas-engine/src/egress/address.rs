use daas_model::Subnet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why an address may not be spoken to on behalf of a stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forbidden {
    /// The machine itself, by a loopback address.
    Loopback,
    /// A private network: the team's own, or other stands'.
    Private,
    /// The link, never routed.
    LinkLocal,
    /// The address where clouds keep the machine's secrets; no configuration allows it.
    Metadata,
    /// Reserved: documentation, benchmarks, protocols, translation, multicast, the future.
    Reserved,
    /// The machine itself, by an address of one of its interfaces.
    Own,
}

impl std::error::Error for Forbidden {}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Loopback => "a loopback address",
            Self::Private => "a private address",
            Self::LinkLocal => "a link-local address",
            Self::Metadata => "the metadata address",
            Self::Reserved => "a reserved address",
            Self::Own => "an address of this machine",
        })
    }
}

/// What stands may reach through the platform.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outbound {
    /// Blocks that may be reached though they are not public, for example the team's own network. An address of this machine only if a
    /// block names it alone (/32, /128): who opens a network does not think of the platform itself.
    pub allow: Vec<Subnet>,
}

impl Outbound {
    /// Judges an address by its number alone; whether it is one of this machine is for the kernel to say.
    ///
    /// # Errors
    /// Why it may not be reached.
    pub fn judge(&self, address: IpAddr) -> Result<(), Forbidden> {
        let address = plain(address);
        match special(address) {
            None => Ok(()),
            Some(Forbidden::Metadata) => Err(Forbidden::Metadata),
            Some(_) if self.names(address) => Ok(()),
            Some(why) => Err(why),
        }
    }

    /// Tells whether the configuration names `address` alone.
    #[must_use]
    pub fn names_alone(&self, address: IpAddr) -> bool {
        self.allow
            .iter()
            .any(|block| block.address == plain(address) && block.nth(1).is_none())
    }

    /// Tells whether the configuration names a block that holds `address`.
    fn names(&self, address: IpAddr) -> bool {
        let address = plain(address);
        self.allow.iter().any(|block| block.contains(address))
    }
}

/// Takes an IPv4 address out of its IPv6 clothes: `::ffff:10.0.0.1` reaches 10.0.0.1.
fn plain(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// IANA's special-purpose registries (RFC 6890 and its registries as of 2025), multicast included.
fn special(address: IpAddr) -> Option<Forbidden> {
    match address {
        IpAddr::V4(v4) => special_v4(v4),
        IpAddr::V6(v6) => special_v6(v6),
    }
}

fn special_v4(address: Ipv4Addr) -> Option<Forbidden> {
    use Forbidden::{LinkLocal, Loopback, Metadata, Private, Reserved};
    // 169.254.169.254: AWS, GCP, Azure and others; 100.100.100.200: Alibaba; 169.254.170.2: AWS containers;
    // 168.63.129.16: Azure's host, a public number.
    const METADATA: [[u8; 4]; 4] = [
        [169, 254, 169, 254],
        [169, 254, 170, 2],
        [100, 100, 100, 200],
        [168, 63, 129, 16],
    ];
    let octets = address.octets();
    if METADATA.contains(&octets) {
        return Some(Metadata);
    }
    match octets {
        // On Linux 0.0.0.0 is this machine.
        [0 | 127, ..] => Some(Loopback),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] => Some(Private),
        [169, 254, ..] => Some(LinkLocal),
        [192, 0, 0 | 2, _]
        | [192, 31, 196, _]
        | [192, 52, 193, _]
        | [192, 88, 99, _]
        | [192, 175, 48, _]
        | [198, 18..=19, ..]
        | [198, 51, 100, _]
        | [203, 0, 113, _]
        | [224..=255, ..] => Some(Reserved),
        _ => None,
    }
}

fn special_v6(address: Ipv6Addr) -> Option<Forbidden> {
    use Forbidden::{LinkLocal, Loopback, Metadata, Private, Reserved};
    let segments = address.segments();
    if address == Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254) {
        return Some(Metadata);
    }
    match segments {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => Some(Loopback),
        [0xfc00..=0xfdff, ..] => Some(Private),
        // Site-local is no more, but machines still have it.
        [0xfe80..=0xfeff, ..] => Some(LinkLocal),
        // IETF protocols (Teredo, ORCHID, ...), 6to4 which hides any IPv4 address, and documentation.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x2002, ..] | [0x3fff, 0..=0xfff, ..] => {
            Some(Reserved)
        }
        // Global unicast is 2000::/3 and nothing else; this covers 64:ff9b::/96 (NAT64) and multicast.
        [0x2000..=0x3fff, ..] => None,
        _ => Some(Reserved),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(text: &str) -> Option<Forbidden> {
        Outbound::default().judge(text.parse().unwrap()).err()
    }

    #[test]
    fn only_public_addresses_may_be_reached() {
        use Forbidden::{LinkLocal, Loopback, Metadata, Private, Reserved};
        for (text, expected) in [
            ("1.1.1.1", None),
            ("8.8.8.8", None),
            ("172.15.255.255", None),
            ("172.32.0.0", None),
            ("100.63.255.255", None),
            ("100.128.0.0", None),
            ("198.20.0.0", None),
            ("223.255.255.255", None),
            ("2606:4700::1111", None),
            ("2001:200::1", None),
            ("3ffe::1", None),
            ("0.0.0.0", Some(Loopback)),
            ("0.1.2.3", Some(Loopback)),
            ("127.0.0.1", Some(Loopback)),
            ("127.64.0.7", Some(Loopback)),
            ("::1", Some(Loopback)),
            ("::", Some(Loopback)),
            ("::ffff:127.0.0.1", Some(Loopback)),
            ("10.255.0.1", Some(Private)),
            ("172.16.0.1", Some(Private)),
            ("172.31.255.255", Some(Private)),
            ("192.168.1.1", Some(Private)),
            ("100.64.0.1", Some(Private)),
            ("100.127.255.255", Some(Private)),
            ("::ffff:192.168.1.1", Some(Private)),
            ("fd12::1", Some(Private)),
            ("fc00::1", Some(Private)),
            ("169.254.1.1", Some(LinkLocal)),
            ("fe80::1", Some(LinkLocal)),
            ("fec0::1", Some(LinkLocal)),
            ("169.254.169.254", Some(Metadata)),
            ("::ffff:169.254.169.254", Some(Metadata)),
            ("169.254.170.2", Some(Metadata)),
            ("100.100.100.200", Some(Metadata)),
            ("168.63.129.16", Some(Metadata)),
            ("fd00:ec2::254", Some(Metadata)),
            ("192.0.0.8", Some(Reserved)),
            ("192.0.2.1", Some(Reserved)),
            ("198.18.0.1", Some(Reserved)),
            ("198.19.255.255", Some(Reserved)),
            ("203.0.113.5", Some(Reserved)),
            ("224.0.0.251", Some(Reserved)),
            ("255.255.255.255", Some(Reserved)),
            ("ff02::1", Some(Reserved)),
            ("64:ff9b::7f00:1", Some(Reserved)),
            ("64:ff9b:1::1", Some(Reserved)),
            ("::127.0.0.1", Some(Reserved)),
            ("::ffff:0:127.0.0.1", Some(Reserved)),
            ("2001::1", Some(Reserved)),
            ("2001:db8::1", Some(Reserved)),
            ("2002:7f00:1::1", Some(Reserved)),
            ("3fff::1", Some(Reserved)),
            ("5f00::1", Some(Reserved)),
        ] {
            assert_eq!(judge(text), expected, "{text}");
        }
    }

    #[test]
    fn a_configured_block_opens_what_it_names_and_never_the_metadata_address() {
        let outbound = Outbound {
            allow: ["10.1.0.0/16", "169.254.0.0/16", "127.0.0.1/32"]
                .map(|t| Subnet::parse(t).unwrap())
                .into(),
        };
        for (text, expected) in [
            ("10.1.2.3", Ok(())),
            ("::ffff:10.1.2.3", Ok(())),
            ("10.2.0.1", Err(Forbidden::Private)),
            ("127.0.0.1", Ok(())),
            ("127.0.0.2", Err(Forbidden::Loopback)),
            ("169.254.7.7", Ok(())),
            ("169.254.169.254", Err(Forbidden::Metadata)),
        ] {
            assert_eq!(outbound.judge(text.parse().unwrap()), expected, "{text}");
        }
    }
}
