//! Keeps the nodes of a stand from using each other's addresses: rules on the bridges of its router, by nf_tables' own netlink.
//!
//! Every frame that a node sends meets these rules before the bridge learns from it or passes it on. It must bear the link address of its
//! node; ARP, IPv4 and IPv6 must name an address of its node as theirs. A *free* node, one that configures its network itself or forwards
//! for others, may use any address that the network gives to nobody else: keepalived's shared one, or those of the network behind it. Bridges
//! of a stand live in a namespace of their own, so the rules are nobody else's. What is per node are elements of sets; the rules never change.
//!
//! Messages: linux/netfilter/nfnetlink.h, linux/netfilter/nf_tables.h. `nft list ruleset` inside the router's namespace shows them.
//!
//! Not here: what may leave the stand (`daas-engine`, egress).

use crate::netlink::{Message, NLMSG_ERROR, read_i32, records};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::OwnedFd;

const SUBSYSTEM: u16 = 10; // NFNL_SUBSYS_NFTABLES
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEW_TABLE: u16 = SUBSYSTEM << 8;
const NEW_CHAIN: u16 = SUBSYSTEM << 8 | 3;
const NEW_RULE: u16 = SUBSYSTEM << 8 | 6;
const NEW_SET: u16 = SUBSYSTEM << 8 | 9;
const NEW_ELEMENT: u16 = SUBSYSTEM << 8 | 12;
const DELETE_ELEMENT: u16 = SUBSYSTEM << 8 | 14;

const ACK: u16 = 4;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;

const FAMILY_BRIDGE: u8 = 7; // NFPROTO_BRIDGE
const HOOK_PREROUTING: u32 = 0; // NF_BR_PRE_ROUTING
/// Before everything else that may be hooked there (`NF_BR_PRI_NAT_DST_BRIDGED` is -300).
const PRIORITY: i32 = -400;

const TABLE: &str = "daas-guard";
const CHAIN: &str = "sent";

/// The sets that the rules look into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Set {
    /// Port and link address.
    Mac,
    /// Port and IPv4 address.
    Own4,
    /// Port and IPv6 address.
    Own6,
    /// Bridge, and IPv4 address that belongs to somebody there.
    Taken4,
    /// Bridge, and IPv6 address that belongs to somebody there.
    Taken6,
    /// Ports of free nodes.
    Free,
    /// The same, and the bridge of each; older kernels (6.1) refuse to look into a map only for whether something is there.
    Home,
}

impl Set {
    const ALL: [Self; 7] = [
        Self::Mac,
        Self::Own4,
        Self::Own6,
        Self::Taken4,
        Self::Taken6,
        Self::Free,
        Self::Home,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Mac => "mac",
            Self::Own4 => "own4",
            Self::Own6 => "own6",
            Self::Taken4 => "taken4",
            Self::Taken6 => "taken6",
            Self::Free => "free",
            Self::Home => "home",
        }
    }

    /// The bytes of a key, each part filled up to words of 4, and its type as `nft` shows it (6 bits each of ifindex 20, lladdr 9, ipv4 7, ipv6 8).
    fn key(self) -> (u32, u32) {
        match self {
            Self::Mac => (12, 20 << 6 | 9),
            Self::Own4 => (8, 20 << 6 | 7),
            Self::Own6 => (20, 20 << 6 | 8),
            Self::Taken4 => (8, 20 << 6 | 7),
            Self::Taken6 => (20, 20 << 6 | 8),
            Self::Free | Self::Home => (4, 20),
        }
    }
}

/// A port of a bridge and what its node may send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// The index of the router's end of the link.
    pub index: i32,
    /// The index of the bridge.
    pub bridge: i32,
    /// The link address of the node's end.
    pub mac: [u8; 6],
    /// The node's addresses.
    pub addresses: Vec<IpAddr>,
    /// Whether the node configures its network itself or forwards for others.
    pub free: bool,
}

/// A key of a set, and in a map what it leads to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Element {
    key: Vec<u8>,
    value: Option<[u8; 4]>,
}

impl Element {
    fn new(first: i32, rest: &[u8]) -> Self {
        let mut key = [&first.to_ne_bytes()[..], rest].concat();
        key.resize(key.len().next_multiple_of(4), 0);
        Self { key, value: None }
    }
}

impl Port {
    fn elements(&self) -> Vec<(Set, Element)> {
        let mut elements = vec![(Set::Mac, Element::new(self.index, &self.mac))];
        if self.free {
            let free = Element::new(self.index, &[]);
            let home = Element {
                value: Some(self.bridge.to_ne_bytes()),
                ..free.clone()
            };
            elements.extend([(Set::Free, free), (Set::Home, home)]);
        }
        let local = IpAddr::V6(link_local(self.mac));
        let six = self.addresses.iter().any(IpAddr::is_ipv6);
        for address in self.addresses.iter().chain(six.then_some(&local)) {
            elements.push(match address {
                IpAddr::V4(a) => (Set::Own4, Element::new(self.index, &a.octets())),
                IpAddr::V6(a) => (Set::Own6, Element::new(self.index, &a.octets())),
            });
            elements.push(taken(self.bridge, *address));
        }
        elements
    }
}

fn taken(bridge: i32, address: IpAddr) -> (Set, Element) {
    match address {
        IpAddr::V4(a) => (Set::Taken4, Element::new(bridge, &a.octets())),
        IpAddr::V6(a) => (Set::Taken6, Element::new(bridge, &a.octets())),
    }
}

/// The address that the kernel gives a link by itself (RFC 4291, appendix A).
fn link_local([a, b, c, d, e, f]: [u8; 6]) -> Ipv6Addr {
    Ipv6Addr::from([
        0xfe,
        0x80,
        0,
        0,
        0,
        0,
        0,
        0,
        a ^ 2,
        b,
        c,
        0xff,
        0xfe,
        d,
        e,
        f,
    ])
}

/// What a rule is made of (`NFT_*` expressions). Registers are words of 4 bytes, from 0.
#[derive(Debug, Clone, Copy)]
enum Part {
    /// Loads the port that the frame came from.
    Port {
        to: u32,
    },
    /// Loads the protocol behind the link head, without a tag of a virtual LAN.
    Protocol {
        to: u32,
    },
    /// Loads the protocol behind the IP head and its extensions.
    Transport {
        to: u32,
    },
    /// Loads bytes of the frame.
    Load {
        base: Base,
        at: u32,
        length: u32,
        to: u32,
    },
    /// Goes on if register 0 holds this.
    Is(&'static [u8]),
    /// Goes on if the key that begins at register 0 is in the set.
    In(Set),
    /// Goes on if it is not.
    NotIn(Set),
    /// Goes on if the port in register 0 is a free node's, with its bridge in register 0.
    FreeOn,
    Accept,
    Drop,
}

#[derive(Debug, Clone, Copy)]
enum Base {
    Link = 0,
    Network = 1,
    Transport = 2,
}

const ARP: Part = Part::Is(&[0x08, 0x06]);
const IPV4: Part = Part::Is(&[0x08, 0x00]);
const IPV6: Part = Part::Is(&[0x86, 0xdd]);
const PROTOCOL: Part = Part::Protocol { to: 0 };
const PORT: Part = Part::Port { to: 0 };

const fn load(base: Base, at: u32, length: u32, to: u32) -> Part {
    Part::Load {
        base,
        at,
        length,
        to,
    }
}

/// The rules, in the order in which a frame meets them. What none of them drops passes.
fn rules() -> Vec<Vec<Part>> {
    use Part::{Accept, Drop, FreeOn, In, Is, NotIn, Transport};
    let link_source = load(Base::Link, 6, 6, 1);
    let sender4 = |to| load(Base::Network, 12, 4, to);
    let sender6 = |to| load(Base::Network, 8, 16, to);
    let arp_link = load(Base::Network, 8, 6, 1);
    let arp_sender = |to| load(Base::Network, 14, 4, to);
    let icmp6 = [PROTOCOL, IPV6, Transport { to: 0 }, Is(&[58])];
    let icmp6_is =
        |kind: &'static [u8]| [&icmp6[..], &[load(Base::Transport, 0, 1, 0), Is(kind)]].concat();
    let target = |to| load(Base::Transport, 8, 16, to);
    let advertisement = icmp6_is(&[136]);
    vec![
        vec![PORT, link_source, NotIn(Set::Mac), Drop],
        vec![PROTOCOL, IPV4, PORT, sender4(1), In(Set::Own4), Accept],
        // Who has no address yet asks for one (DHCP).
        vec![PROTOCOL, IPV4, sender4(0), Is(&[0; 4]), Accept],
        vec![
            PROTOCOL,
            IPV4,
            PORT,
            FreeOn,
            sender4(1),
            NotIn(Set::Taken4),
            Accept,
        ],
        vec![PROTOCOL, IPV4, Drop],
        vec![PROTOCOL, ARP, PORT, arp_link, NotIn(Set::Mac), Drop],
        vec![PROTOCOL, ARP, PORT, arp_sender(1), In(Set::Own4), Accept],
        // Who asks whether an address is free names none (RFC 5227).
        vec![PROTOCOL, ARP, arp_sender(0), Is(&[0; 4]), Accept],
        vec![
            PROTOCOL,
            ARP,
            PORT,
            FreeOn,
            arp_sender(1),
            NotIn(Set::Taken4),
            Accept,
        ],
        vec![PROTOCOL, ARP, Drop],
        // Neighbour advertisements name what they speak for in their body (RFC 4861).
        [
            &advertisement[..],
            &[
                PORT,
                target(1),
                NotIn(Set::Own6),
                PORT,
                NotIn(Set::Free),
                Drop,
            ],
        ]
        .concat(),
        [
            &advertisement[..],
            &[
                PORT,
                target(1),
                NotIn(Set::Own6),
                PORT,
                FreeOn,
                target(1),
                In(Set::Taken6),
                Drop,
            ],
        ]
        .concat(),
        // Router advertisements and redirects.
        [&icmp6_is(&[134])[..], &[PORT, NotIn(Set::Free), Drop]].concat(),
        [&icmp6_is(&[137])[..], &[PORT, NotIn(Set::Free), Drop]].concat(),
        vec![PROTOCOL, IPV6, PORT, sender6(1), In(Set::Own6), Accept],
        vec![PROTOCOL, IPV6, sender6(0), Is(&[0; 16]), Accept],
        vec![
            PROTOCOL,
            IPV6,
            PORT,
            FreeOn,
            sender6(1),
            NotIn(Set::Taken6),
            Accept,
        ],
        vec![PROTOCOL, IPV6, Drop],
        // A second tag hides what the first rules look at, and a tag of number 0 is no tag to whoever receives it.
        vec![PROTOCOL, Is(&[0x81, 0x00]), Drop],
        vec![PROTOCOL, Is(&[0x88, 0xa8]), Drop],
    ]
}

impl Part {
    /// Writes the expression (`NFTA_LIST_ELEM` with name and data).
    fn write(self, into: &mut Message) {
        let mut expression = |name: &str, fill: &mut dyn FnMut(&mut Message)| {
            into.nest(1, |m| {
                m.text(1, name);
                m.nest(2, |m| fill(m));
            });
        };
        match self {
            // NFT_META_IIF, NFT_META_PROTOCOL, NFT_META_L4PROTO
            Self::Port { to } => expression("meta", &mut |m| meta(m, 4, to)),
            Self::Protocol { to } => expression("meta", &mut |m| meta(m, 1, to)),
            Self::Transport { to } => expression("meta", &mut |m| meta(m, 16, to)),
            Self::Load {
                base,
                at,
                length,
                to,
            } => expression("payload", &mut |m| {
                number(m, 1, register(to));
                number(m, 2, base as u32);
                number(m, 3, at);
                number(m, 4, length);
            }),
            Self::Is(value) => expression("cmp", &mut |m| {
                number(m, 1, register(0));
                number(m, 2, 0); // NFT_CMP_EQ
                m.nest(3, |m| m.attr(1, value));
            }),
            Self::In(set) => expression("lookup", &mut |m| lookup(m, set, 0)),
            Self::NotIn(set) => expression("lookup", &mut |m| lookup(m, set, 1)),
            Self::FreeOn => expression("lookup", &mut |m| {
                m.text(1, Set::Home.name());
                number(m, 2, register(0));
                number(m, 3, register(0));
            }),
            Self::Accept => expression("immediate", &mut |m| verdict(m, 1)), // NF_ACCEPT
            Self::Drop => expression("immediate", &mut |m| verdict(m, 0)),   // NF_DROP
        }
    }
}

/// `NFT_REG32_00` is 8.
fn register(at: u32) -> u32 {
    8 + at
}

fn number(m: &mut Message, kind: u16, value: u32) {
    m.attr(kind, &value.to_be_bytes());
}

fn meta(m: &mut Message, key: u32, to: u32) {
    number(m, 1, register(to));
    number(m, 2, key);
}

fn lookup(m: &mut Message, set: Set, flags: u32) {
    m.text(1, set.name());
    number(m, 2, register(0));
    number(m, 5, flags); // NFT_LOOKUP_F_INV is 1
}

fn verdict(m: &mut Message, code: u32) {
    number(m, 1, 0); // NFT_REG_VERDICT
    m.nest(2, |m| m.nest(2, |m| number(m, 1, code)));
}

/// `struct nfgenmsg`: family, version 0, resource in network order.
fn message(kind: u16, flags: u16, family: u8, resource: u16) -> Message {
    let [high, low] = resource.to_be_bytes();
    Message::new(kind, flags, &[family, 0, high, low])
}

fn of_table(kind: u16, flags: u16) -> Message {
    let mut m = message(kind, flags, FAMILY_BRIDGE, 0);
    m.text(1, TABLE);
    m
}

fn elements(kind: u16, flags: u16, set: Set, elements: &[Element]) -> Message {
    let mut m = of_table(kind, flags);
    m.text(2, set.name());
    m.nest(3, |m| {
        for element in elements {
            m.nest(1, |m| {
                m.nest(1, |m| m.attr(1, &element.key));
                if let Some(value) = element.value {
                    m.nest(2, |m| m.attr(1, &value));
                }
            });
        }
    });
    m
}

/// The guard of the bridges in one network namespace.
#[derive(Debug)]
pub struct Guard {
    fd: OwnedFd,
    sequence: u32,
}

impl Guard {
    /// Puts the rules into the calling thread's network namespace; from now on no port of a bridge passes anything but of admitted nodes.
    ///
    /// # Errors
    /// `EOPNOTSUPP`, `EPROTONOSUPPORT`, `ENOENT` where the kernel has no nf_tables for bridges; then nothing has changed.
    pub fn install() -> io::Result<Self> {
        let fd = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            Some(netlink::NETFILTER),
        )?;
        let mut guard = Self { fd, sequence: 0 };
        let mut messages = vec![of_table(NEW_TABLE, CREATE)];
        for (set, id) in Set::ALL.into_iter().zip(1..) {
            let (length, kind) = set.key();
            let mut m = of_table(NEW_SET, CREATE);
            m.text(2, set.name());
            let map = set == Set::Home;
            number(&mut m, 3, if map { 8 } else { 0 }); // NFT_SET_MAP
            number(&mut m, 4, kind);
            number(&mut m, 5, length);
            if map {
                number(&mut m, 6, 20);
                number(&mut m, 7, 4);
            }
            number(&mut m, 10, id); // NFTA_SET_ID
            messages.push(m);
        }
        let mut chain = of_table(NEW_CHAIN, CREATE);
        chain.text(3, CHAIN);
        chain.nest(4, |m| {
            number(m, 1, HOOK_PREROUTING);
            m.attr(2, &PRIORITY.to_be_bytes());
        });
        number(&mut chain, 5, 1); // the policy, NF_ACCEPT
        chain.text(7, "filter");
        messages.push(chain);
        for rule in rules() {
            let mut m = of_table(NEW_RULE, CREATE | APPEND);
            m.text(2, CHAIN);
            m.nest(4, |m| rule.iter().for_each(|part| part.write(m)));
            messages.push(m);
        }
        guard.commit(messages)?;
        Ok(guard)
    }

    /// Lets nodes send from their ports, all in one transaction. What is there already stays.
    ///
    /// # Errors
    /// What the kernel says; then none of them is admitted.
    pub fn admit(&mut self, ports: &[Port]) -> io::Result<()> {
        self.change(NEW_ELEMENT, CREATE, ports)
    }

    /// Closes ports whose nodes have ended. Their addresses stay reserved: a node that is stopped keeps its own. The ports must have been admitted.
    ///
    /// # Errors
    /// What the kernel says, `ENOENT` for a port that was not admitted; then nothing has changed.
    pub fn dismiss(&mut self, ports: &[Port]) -> io::Result<()> {
        self.change(DELETE_ELEMENT, 0, ports)
    }

    /// Notes addresses of the router itself, each with the index of its bridge: no node may use them.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn reserve(&mut self, addresses: &[(i32, IpAddr)]) -> io::Result<()> {
        let messages = addresses
            .iter()
            .map(|(bridge, address)| {
                let (set, element) = taken(*bridge, *address);
                elements(NEW_ELEMENT, CREATE, set, &[element])
            })
            .collect();
        self.commit(messages)
    }

    fn change(&mut self, kind: u16, flags: u16, ports: &[Port]) -> io::Result<()> {
        let all: Vec<(Set, Element)> = ports.iter().flat_map(Port::elements).collect();
        let messages = Set::ALL
            .into_iter()
            .filter_map(|set| {
                let mut keys: Vec<Element> = all
                    .iter()
                    .filter(|(of, _)| *of == set)
                    .map(|(_, element)| element.clone())
                    .collect();
                keys.sort_unstable();
                keys.dedup();
                let stays = kind == DELETE_ELEMENT && matches!(set, Set::Taken4 | Set::Taken6);
                (!keys.is_empty() && !stays).then(|| elements(kind, flags, set, &keys))
            })
            .collect();
        self.commit(messages)
    }

    /// Sends a transaction and waits for its answer; done whole or not at all.
    fn commit(&mut self, messages: Vec<Message>) -> io::Result<()> {
        let Some(last) = messages.len().checked_sub(1) else {
            return Ok(());
        };
        let mut bytes = Vec::with_capacity(512 * (messages.len() + 2));
        let first = self.sequence.wrapping_add(1);
        let begin = message(BATCH_BEGIN, 0, 0, SUBSYSTEM);
        let end = message(BATCH_END, 0, 0, SUBSYSTEM);
        let count = messages.len();
        for (at, mut m) in std::iter::once(begin)
            .chain(messages)
            .chain([end])
            .enumerate()
        {
            // Faults are told of every message; that all is well, of the last one that can say so.
            if at == last + 1
                && let Some(flags) = m.0.get_mut(6..8)
            {
                let asked = u16::from_ne_bytes([flags[0], flags[1]]) | ACK;
                flags.copy_from_slice(&asked.to_ne_bytes());
            }
            self.sequence = self.sequence.wrapping_add(1);
            m.finish(self.sequence);
            bytes.extend_from_slice(&m.0);
        }
        send(&self.fd, &bytes, SendFlags::empty())?;
        self.hear(first, first.wrapping_add(u32::try_from(count).unwrap_or(0)))
    }

    fn hear(&mut self, first: u32, last: u32) -> io::Result<()> {
        let mut fault = None;
        let mut buffer = vec![0; 32 << 10];
        loop {
            let (got, _) = recv(&self.fd, buffer.as_mut_slice(), RecvFlags::empty())?;
            for (kind, sequence, payload) in records(buffer.get(..got).unwrap_or_default()) {
                let of_this = sequence.wrapping_sub(first) <= last.wrapping_sub(first);
                if kind != NLMSG_ERROR || !of_this {
                    continue;
                }
                let code = read_i32(payload, 0);
                if code != 0 && fault.is_none() {
                    fault = Some(io::Error::from_raw_os_error(-code));
                }
                // The batch as a whole was refused, or its last message has its answer.
                if sequence == first || sequence == last {
                    return fault.map_or(Ok(()), Err);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(index: i32, last: u8, free: bool) -> Port {
        Port {
            index,
            bridge: 10,
            mac: [2, 0, 0, 0, 0, last],
            addresses: vec![
                IpAddr::from([10, 0, 0, last]),
                format!("fd00::{last}").parse().unwrap(),
            ],
            free,
        }
    }

    #[test]
    fn root_ports_are_admitted_once_or_twice_and_dismissed_once() {
        std::thread::spawn(|| {
            crate::netns::unshare(false, true, false).unwrap();
            let mut guard = Guard::install().unwrap();
            guard
                .reserve(&[
                    (10, "10.0.0.1".parse().unwrap()),
                    (10, "fd00::1".parse().unwrap()),
                ])
                .unwrap();
            let ports = [port(11, 2, false), port(12, 3, true)];
            guard.admit(&ports).unwrap();
            guard.admit(&ports).unwrap();
            guard.dismiss(&ports).unwrap();
            let again = guard.dismiss(&ports).unwrap_err();
            assert_eq!(again.kind(), io::ErrorKind::NotFound);
            // A refusal leaves the socket in order.
            guard.admit(&ports).unwrap();
        })
        .join()
        .unwrap();
    }

    #[test]
    fn the_link_local_address_is_made_of_the_link_address() {
        assert_eq!(
            link_local([0x02, 0x42, 0xac, 0x11, 0x00, 0x02]).to_string(),
            "fe80::42:acff:fe11:2"
        );
    }
}
