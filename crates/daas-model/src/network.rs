use crate::name::{NetworkName, NodeName};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A block of addresses, `address/prefix`, with no bits behind the prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet {
    /// The first address.
    pub address: IpAddr,
    /// How many leading bits are fixed.
    pub prefix: u8,
}

impl Subnet {
    /// Parses `10.0.0.0/24` or `fd00::/64`.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bad = |why: &str| format!("`{}` is no subnet: {why}", text.escape_debug());
        let (address, prefix) = text
            .split_once('/')
            .ok_or_else(|| bad("write address/prefix, for example `10.0.0.0/24`"))?;
        let address: IpAddr = address
            .parse()
            .map_err(|_| bad("the address does not parse"))?;
        let prefix: u8 = prefix.parse().map_err(|_| bad("the prefix is no number"))?;
        let subnet = Self { address, prefix };
        if prefix > subnet.width() {
            return Err(bad("the prefix is longer than the address"));
        }
        if subnet.nth(0) != Some(address) || subnet.bits() & subnet.host_mask() != 0 {
            return Err(bad("bits behind the prefix are set"));
        }
        Ok(subnet)
    }

    fn width(&self) -> u8 {
        if self.address.is_ipv4() { 32 } else { 128 }
    }

    fn bits(&self) -> u128 {
        match self.address {
            IpAddr::V4(v4) => u128::from(u32::from(v4)),
            IpAddr::V6(v6) => u128::from(v6),
        }
    }

    fn host_mask(&self) -> u128 {
        match u32::from(self.width() - self.prefix) {
            128 => u128::MAX,
            n => (1u128 << n) - 1,
        }
    }

    /// Parses a block, or an address alone as a block of one.
    ///
    /// # Errors
    /// As [`Subnet::parse`].
    pub fn parse_or_address(text: &str) -> Result<Self, String> {
        let alone = text.parse::<IpAddr>().map(|address| Self {
            address,
            prefix: if address.is_ipv4() { 32 } else { 128 },
        });
        alone.or_else(|_| Self::parse(text))
    }

    /// Returns address number `n` of the block (0 is the block's own), or nothing if it ends before.
    #[must_use]
    pub fn nth(&self, n: u128) -> Option<IpAddr> {
        if n > self.host_mask() {
            return None;
        }
        let bits = (self.bits() & !self.host_mask()) + n;
        match self.address {
            IpAddr::V4(_) => u32::try_from(bits)
                .ok()
                .map(|b| IpAddr::V4(Ipv4Addr::from(b))),
            IpAddr::V6(_) => Some(IpAddr::V6(Ipv6Addr::from(bits))),
        }
    }

    /// Tells whether `address` lies in the block.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let other = Self {
            address,
            prefix: self.prefix,
        };
        address.is_ipv4() == self.address.is_ipv4()
            && other.bits() & !self.host_mask() == self.bits() & !self.host_mask()
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl TryFrom<String> for Subnet {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> String {
        subnet.to_string()
    }
}

/// One network inside a stand: a bridge that no other stand sees.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NetworkSpec {
    /// Literal subnets of the file (`ipam`), IPv4 and IPv6; the planner chooses where there is none.
    #[serde(default)]
    pub subnets: Vec<Subnet>,
    /// Literal gateways of the file, each inside one of `subnets`; the first address where there is none.
    #[serde(default)]
    pub gateways: Vec<IpAddr>,
    /// Whether nodes get IPv6 addresses.
    #[serde(default)]
    pub ipv6: bool,
    /// Whether the network has no way out, whatever the stand's egress says.
    #[serde(default)]
    pub internal: bool,
}

/// How a node joins one network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The network.
    pub network: NetworkName,
    /// Further names of the node on this network.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// The literal IPv4 address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<Ipv4Addr>,
    /// The literal IPv6 address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Ipv6Addr>,
    /// The literal link address, six bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<[u8; 6]>,
    /// The network with the highest priority gives the default route.
    #[serde(default)]
    pub priority: i32,
}

/// How a node is connected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkMode {
    /// By the stand's networks; each becomes `eth0`, `eth1`, ... in order.
    Networks(Vec<Attachment>),
    /// Not at all: only loopback.
    None,
    /// In the network namespace of another node of the stand.
    Node(NodeName),
    /// In the network namespace of the host: only by a grant.
    Host,
}

/// Which way out a stand has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Egress {
    /// Nothing leaves: no route, and names from outside do not exist.
    None,
    /// HTTP and HTTPS through the platform's proxy.
    #[default]
    Proxy,
    /// Everything, by address translation.
    Full,
}

impl fmt::Display for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::None => "none",
            Self::Proxy => "proxy",
            Self::Full => "full",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets_count_and_contain() {
        let net = Subnet::parse("10.7.0.0/24").unwrap();
        assert_eq!(net.nth(1), Some("10.7.0.1".parse().unwrap()));
        assert_eq!(net.nth(256), None);
        assert!(net.contains("10.7.0.255".parse().unwrap()));
        assert!(!net.contains("10.7.1.0".parse().unwrap()));
        assert!(!net.contains("::1".parse().unwrap()));
        let six = Subnet::parse("fd00:1::/64").unwrap();
        assert_eq!(six.nth(2), Some("fd00:1::2".parse().unwrap()));
        assert!(
            Subnet::parse("0.0.0.0/0")
                .unwrap()
                .contains("8.8.8.8".parse().unwrap())
        );
        for text in ["10.0.0.1/24", "10.0.0.0", "10.0.0.0/33", "x/8", "::/129"] {
            assert!(Subnet::parse(text).is_err(), "{text}");
        }
    }
}
