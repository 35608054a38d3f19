//! The stand's names: question in, answer out, without any IO.
//!
//! A codec of our own for the one question and the few answers that there are (RFC 1035, 6891): it allocates little, reads nothing but headers, one question and an
//! EDNS record, and lives in a process of 80 kB of private memory.

use crate::launch::{DnsTable, Forward, NetworkLaunch, NodeLaunch};
use daas_model::{NetworkName, NodeName};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const TYPE_A: u16 = 1;
const TYPE_PTR: u16 = 12;
const TYPE_AAAA: u16 = 28;
const TYPE_OPT: u16 = 41;
const TYPE_ANY: u16 = 255;
const CLASS_IN: u16 = 1;

const NO_ERROR: u8 = 0;
const FORMAT_ERROR: u8 = 1;
const SERVER_FAILURE: u8 = 2;
const NAME_ERROR: u8 = 3;
const NOT_IMPLEMENTED: u8 = 4;
const BAD_VERSION: u16 = 16;

/// Names of stands change when nodes come and go: a short memory (Docker's is 600 s, which is why its users restart proxies).
const TTL: u32 = 5;

/// What we are ready to send and get over UDP (DNS flag day 2020).
const UDP_SIZE: u16 = 1232;

/// What to do with a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// Send this.
    Answer(Vec<u8>),
    /// Ask one of these with the question as it is.
    Forward(Side, Vec<SocketAddr>),
    /// It is no question.
    Nothing,
}

/// From which network somebody else is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The host's.
    Host,
    /// That of the stand's router.
    Stand,
}

/// What is known of a node that asks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asking {
    /// On which networks it is.
    pub(crate) networks: Vec<NetworkName>,
    /// Who is asked for its foreign names, if not whom the stand asks.
    pub(crate) servers: Option<Vec<SocketAddr>>,
}

/// The names of one running node on one network.
#[derive(Debug, Clone)]
struct OnNetwork {
    network: NetworkName,
    names: Vec<String>,
    addresses: Vec<IpAddr>,
}

/// All names of a stand.
#[derive(Debug, Default)]
pub(crate) struct Zone {
    table: DnsTable,
    nodes: BTreeMap<NodeName, Vec<OnNetwork>>,
    /// Counts answers, so that several addresses take turns in being the first.
    turn: usize,
}

struct Question<'a> {
    id: u16,
    recursion: bool,
    opcode: u8,
    name: String,
    kind: u16,
    class: u16,
    /// The question's bytes as they were asked, to be repeated.
    raw: &'a [u8],
    edns: Option<Edns>,
}

struct Edns {
    size: u16,
    version: u8,
}

impl Zone {
    pub(crate) fn set_table(&mut self, table: &DnsTable) {
        self.table = table.clone();
        self.table.names = table
            .names
            .iter()
            .map(|(name, addresses)| (canonical(name), addresses.clone()))
            .collect();
        self.table.suffix = table.suffix.as_deref().map(canonical);
    }

    pub(crate) fn add(&mut self, name: &NodeName, launch: &NodeLaunch) {
        let NetworkLaunch::Interfaces(interfaces) = &launch.network else {
            return;
        };
        let on = interfaces
            .iter()
            .map(|i| OnNetwork {
                network: i.network.clone(),
                names: i.names.iter().map(|n| canonical(n)).collect(),
                addresses: i
                    .ipv4
                    .map(IpAddr::V4)
                    .into_iter()
                    .chain(i.ipv6.map(IpAddr::V6))
                    .collect(),
            })
            .collect();
        self.nodes.insert(name.clone(), on);
    }

    pub(crate) fn remove(&mut self, name: &NodeName) {
        self.nodes.remove(name);
    }

    /// Answers a question that a node sent; `udp` limits the answer's length.
    pub(crate) fn reply(&mut self, asking: &Asking, bytes: &[u8], udp: bool) -> Reply {
        let networks = &asking.networks;
        let Some(header) = bytes.get(..12) else {
            return Reply::Nothing;
        };
        if header.get(2).is_none_or(|flags| flags & 0x80 != 0) {
            // An answer, not a question: answering it could make a loop.
            return Reply::Nothing;
        }
        let Some(question) = parse(bytes) else {
            return Reply::Answer(bare(bytes, FORMAT_ERROR));
        };
        if question.opcode != 0 {
            return Reply::Answer(bare(bytes, NOT_IMPLEMENTED));
        }
        if question.edns.as_ref().is_some_and(|e| e.version > 0) {
            return Reply::Answer(build(&question, NO_ERROR, BAD_VERSION, &[], udp));
        }
        if question.class != CLASS_IN && question.class != TYPE_ANY {
            return Reply::Answer(build(&question, NAME_ERROR, 0, &[], udp));
        }
        if question.kind == TYPE_PTR
            && let Some(address) = reverse(&question.name)
            && let Some(name) = self.name_of(networks, address)
        {
            return Reply::Answer(build(&question, NO_ERROR, 0, &[Record::Name(name)], udp));
        }
        match self.addresses(networks, &question.name) {
            Some(mut addresses) => {
                self.turn = self.turn.wrapping_add(1);
                if !addresses.is_empty() {
                    let by = self.turn % addresses.len();
                    addresses.rotate_left(by);
                }
                let wanted: Vec<Record> = addresses
                    .into_iter()
                    .filter(|a| match question.kind {
                        TYPE_A => a.is_ipv4(),
                        TYPE_AAAA => a.is_ipv6(),
                        TYPE_ANY => true,
                        _ => false,
                    })
                    .map(Record::Address)
                    .collect();
                Reply::Answer(build(&question, NO_ERROR, 0, &wanted, udp))
            }
            None if let Some(server) = self.platform(&question.name) => {
                Reply::Forward(Side::Stand, vec![server])
            }
            None => match self.who_knows(asking) {
                Some((side, servers)) if !self.is_ours(&question.name) => {
                    Reply::Forward(side, servers.to_vec())
                }
                Some(_) | None => Reply::Answer(build(&question, NAME_ERROR, 0, &[], udp)),
            },
        }
    }

    /// Returns who is asked for names that are not the stand's.
    fn who_knows<'a>(&'a self, asking: &'a Asking) -> Option<(Side, &'a [SocketAddr])> {
        let (side, servers) = match (&asking.servers, &self.table.forward) {
            (Some(own), _) => (Side::Stand, own),
            (None, Forward::Upstreams(upstreams)) => (Side::Host, upstreams),
            (None, Forward::Refuse) => return None,
        };
        (!servers.is_empty()).then_some((side, servers))
    }

    fn addresses(&self, networks: &[NetworkName], name: &str) -> Option<Vec<IpAddr>> {
        if name == "localhost" || name.ends_with(".localhost") {
            return Some(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        let short = self
            .table
            .suffix
            .as_deref()
            .and_then(|suffix| name.strip_suffix(suffix)?.strip_suffix('.'))
            .unwrap_or(name);
        let mut found: Vec<IpAddr> = self
            .nodes
            .values()
            .flatten()
            .filter(|on| {
                networks.contains(&on.network) && on.names.iter().any(|n| n == short || n == name)
            })
            .flat_map(|on| on.addresses.iter().copied())
            .collect();
        if found.is_empty() {
            found = self
                .table
                .names
                .get(name)
                .or_else(|| self.table.names.get(short))?
                .clone();
        }
        found.sort_unstable();
        found.dedup();
        Some(found)
    }

    fn name_of(&self, networks: &[NetworkName], address: IpAddr) -> Option<String> {
        let on = self
            .nodes
            .values()
            .flatten()
            .find(|on| networks.contains(&on.network) && on.addresses.contains(&address))?;
        let name = on.names.first()?;
        Some(
            self.table
                .suffix
                .as_ref()
                .map_or_else(|| name.clone(), |suffix| format!("{name}.{suffix}")),
        )
    }

    fn is_ours(&self, name: &str) -> bool {
        self.table
            .suffix
            .as_deref()
            .is_some_and(|suffix| is_within(name, suffix))
    }

    /// Returns who answers a name of the platform; nothing for other names.
    fn platform(&self, name: &str) -> Option<SocketAddr> {
        let platform = self.table.platform.as_ref()?;
        let mut zones = platform.zones.iter();
        platform
            .server
            .filter(|_| zones.any(|zone| is_within(name, zone)))
    }
}

/// Tells whether a name is a zone or lies below it.
fn is_within(name: &str, zone: &str) -> bool {
    name == zone
        || name
            .strip_suffix(zone)
            .is_some_and(|rest| rest.ends_with('.'))
}

enum Record {
    Address(IpAddr),
    Name(String),
}

fn canonical(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn parse(bytes: &[u8]) -> Option<Question<'_>> {
    let flags = u16_at(bytes, 2)?;
    if u16_at(bytes, 4)? != 1 {
        return None;
    }
    let mut at = 12;
    let mut name = String::new();
    loop {
        let length = usize::from(*bytes.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        // A pointer in the only question could point nowhere but backwards into the header.
        if length > 63 || name.len() + length > 254 {
            return None;
        }
        let label = bytes.get(at..at + length)?;
        at += length;
        if !name.is_empty() {
            name.push('.');
        }
        // A dot inside of a label would make two names one.
        name.extend(label.iter().map(|b| {
            if b.is_ascii_graphic() && *b != b'.' {
                char::from(b.to_ascii_lowercase())
            } else {
                '\u{fffd}'
            }
        }));
    }
    let (kind, class) = (u16_at(bytes, at)?, u16_at(bytes, at + 2)?);
    let raw = bytes.get(12..at + 4)?;
    let edns = if u16_at(bytes, 6)? == 0 && u16_at(bytes, 8)? == 0 && u16_at(bytes, 10)? > 0 {
        edns(bytes, at + 4)
    } else {
        None
    };
    Some(Question {
        id: u16_at(bytes, 0)?,
        recursion: flags & 0x0100 != 0,
        opcode: u8::try_from((flags >> 11) & 0xf).unwrap_or(0xf),
        name,
        kind,
        class,
        raw,
        edns,
    })
}

/// Reads the EDNS record when it is the first additional one, where every client puts it.
fn edns(bytes: &[u8], at: usize) -> Option<Edns> {
    if *bytes.get(at)? != 0 || u16_at(bytes, at + 1)? != TYPE_OPT {
        return None;
    }
    Some(Edns {
        size: u16_at(bytes, at + 3)?,
        version: *bytes.get(at + 6)?,
    })
}

/// An answer of nothing but a header, to something that is hardly a question.
fn bare(bytes: &[u8], code: u8) -> Vec<u8> {
    let mut out = vec![0; 12];
    if let (Some(to), Some(from)) = (out.get_mut(..3), bytes.get(..3)) {
        to.copy_from_slice(from);
        to[2] = 0x80 | (from[2] & 0x79);
    }
    out[3] = 0x80 | code;
    out
}

fn build(
    question: &Question<'_>,
    code: u8,
    extended: u16,
    records: &[Record],
    udp: bool,
) -> Vec<u8> {
    let most = match (&question.edns, udp) {
        (_, false) => usize::from(u16::MAX),
        (None, true) => 512,
        (Some(edns), true) => usize::from(edns.size.clamp(512, UDP_SIZE)),
    };
    let mut body = Vec::with_capacity(128);
    let mut count = 0u16;
    let mut truncated = false;
    let reserved = 12 + question.raw.len() + if question.edns.is_some() { 11 } else { 0 };
    for record in records {
        let mut one = vec![0xc0, 12];
        match record {
            Record::Address(IpAddr::V4(v4)) => push(&mut one, TYPE_A, &v4.octets()),
            Record::Address(IpAddr::V6(v6)) => push(&mut one, TYPE_AAAA, &v6.octets()),
            Record::Name(name) => push(&mut one, TYPE_PTR, &wire_name(name)),
        }
        if reserved + body.len() + one.len() > most {
            truncated = true;
            break;
        }
        body.extend(one);
        count += 1;
    }
    let mut out = Vec::with_capacity(reserved + body.len());
    out.extend(question.id.to_be_bytes());
    // QR, AA, TC, RD; RA and the code.
    out.push(0x84 | if truncated { 2 } else { 0 } | u8::from(question.recursion));
    out.push(0x80 | code);
    out.extend(1u16.to_be_bytes());
    out.extend(count.to_be_bytes());
    out.extend(0u16.to_be_bytes());
    out.extend(u16::from(question.edns.is_some()).to_be_bytes());
    out.extend(question.raw);
    out.extend(body);
    if question.edns.is_some() {
        let high = u8::try_from(extended >> 4).unwrap_or(0);
        out.push(0);
        out.extend(TYPE_OPT.to_be_bytes());
        out.extend(UDP_SIZE.to_be_bytes());
        out.extend([high, 0, 0, 0, 0, 0]);
    }
    out
}

fn push(record: &mut Vec<u8>, kind: u16, data: &[u8]) {
    record.extend(kind.to_be_bytes());
    record.extend(CLASS_IN.to_be_bytes());
    record.extend(TTL.to_be_bytes());
    record.extend(u16::try_from(data.len()).unwrap_or(0).to_be_bytes());
    record.extend(data);
}

fn wire_name(name: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len() + 2);
    for label in name.split('.').filter(|l| !l.is_empty()) {
        let label = label
            .as_bytes()
            .get(..label.len().min(63))
            .unwrap_or_default();
        out.push(u8::try_from(label.len()).unwrap_or(0));
        out.extend(label);
    }
    out.push(0);
    out
}

/// The address that a name below `in-addr.arpa` or `ip6.arpa` means.
fn reverse(name: &str) -> Option<IpAddr> {
    if let Some(four) = name.strip_suffix(".in-addr.arpa") {
        let parts: Vec<u8> = four
            .split('.')
            .map(str::parse)
            .collect::<Result<_, _>>()
            .ok()?;
        let [d, c, b, a] = parts.try_into().ok()?;
        return Some(Ipv4Addr::new(a, b, c, d).into());
    }
    let six = name.strip_suffix(".ip6.arpa")?;
    let digits: Vec<u32> = six
        .split('.')
        .map(|d| {
            if d.len() == 1 {
                d.chars().next()?.to_digit(16)
            } else {
                None
            }
        })
        .collect::<Option<_>>()?;
    if digits.len() != 32 {
        return None;
    }
    let bits = digits
        .iter()
        .rev()
        .fold(0u128, |bits, digit| bits << 4 | u128::from(*digit));
    Some(Ipv6Addr::from(bits).into())
}

/// Makes of a question the answer that nobody could be reached.
pub(crate) fn failure(bytes: &[u8]) -> Option<Vec<u8>> {
    Some(build(&parse(bytes)?, SERVER_FAILURE, 0, &[], true))
}

/// Tells whether `answer` belongs to `question`: same number, an answer, same question. Letters of the name may differ in case.
pub(crate) fn belongs(question: &[u8], answer: &[u8]) -> bool {
    let (Some(asked), Some(told)) = (parse(question), parse(answer)) else {
        return false;
    };
    asked.id == told.id
        && answer.get(2).is_some_and(|f| f & 0x80 != 0)
        && asked.name == told.name
        && asked.kind == told.kind
        && asked.class == told.class
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::InterfaceLaunch;
    use crate::launch::PlatformNames;
    use proptest::prelude::*;

    fn question(name: &str, kind: u16, edns: bool) -> Vec<u8> {
        let mut q = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(edns)];
        q.extend(wire_name(name));
        q.extend(kind.to_be_bytes());
        q.extend(CLASS_IN.to_be_bytes());
        if edns {
            q.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
        }
        q
    }

    fn zone() -> Zone {
        let mut zone = Zone::default();
        let table = DnsTable {
            names: [("gateway".to_owned(), vec!["10.0.0.1".parse().unwrap()])].into(),
            suffix: Some("Shop-7.test".to_owned()),
            ..DnsTable::default()
        };
        zone.set_table(&table);
        for (node, last, network) in [
            ("web", 2, "front"),
            ("web-2", 3, "front"),
            ("db", 9, "back"),
        ] {
            let mut launch = NodeLaunch::new(
                NodeName::parse(node).unwrap(),
                Vec::new(),
                vec!["x".to_owned()],
            );
            launch.network = NetworkLaunch::Interfaces(vec![InterfaceLaunch {
                network: NetworkName::parse(network).unwrap(),
                ipv4: Some(Ipv4Addr::new(10, 0, 0, last)),
                ipv6: (last == 9).then(|| "fd00::9".parse().unwrap()),
                mac: [2, 0, 0, 0, 0, last],
                names: vec![
                    if node == "db" {
                        "DB".to_owned()
                    } else {
                        "web".to_owned()
                    },
                    node.to_owned(),
                ],
                default_route: false,
            }]);
            zone.add(&launch.node.clone(), &launch);
        }
        zone
    }

    fn on(network: &str) -> Asking {
        Asking {
            networks: vec![NetworkName::parse(network).unwrap()],
            servers: None,
        }
    }

    fn front() -> Asking {
        on("front")
    }

    fn back() -> Asking {
        on("back")
    }

    /// Code and the last four bytes of each A record in order.
    fn read(reply: Reply) -> (u8, Vec<Vec<u8>>) {
        let Reply::Answer(bytes) = reply else {
            panic!("{reply:?}")
        };
        let asked = parse(&bytes).unwrap();
        let count = u16_at(&bytes, 6).unwrap();
        let mut at = 12 + asked.raw.len();
        let mut found = Vec::new();
        for _ in 0..count {
            let length = usize::from(u16_at(&bytes, at + 10).unwrap());
            found.push(bytes[at + 12..at + 12 + length].to_vec());
            at += 12 + length;
        }
        (bytes[3] & 0xf, found)
    }

    #[test]
    fn replicas_take_turns_and_other_networks_are_not_seen() {
        let mut zone = zone();
        let mut firsts = std::collections::BTreeSet::new();
        for _ in 0..4 {
            let (code, found) =
                read(zone.reply(&front(), &question("Web.shop-7.TEST", TYPE_A, true), true));
            assert_eq!((code, found.len()), (NO_ERROR, 2));
            firsts.insert(found[0].clone());
        }
        assert_eq!(firsts.len(), 2);
        assert_eq!(
            read(zone.reply(&front(), &question("web-2", TYPE_A, false), true)),
            (NO_ERROR, vec![vec![10, 0, 0, 3]])
        );
        assert_eq!(
            read(zone.reply(&front(), &question("db", TYPE_A, false), true)).0,
            NAME_ERROR
        );
        assert_eq!(
            read(zone.reply(&back(), &question("db", TYPE_A, false), true)),
            (NO_ERROR, vec![vec![10, 0, 0, 9]])
        );
        assert_eq!(
            read(zone.reply(&back(), &question("db", TYPE_AAAA, false), true)).1[0].len(),
            16
        );
        assert_eq!(
            read(zone.reply(&front(), &question("web", TYPE_AAAA, false), true)),
            (NO_ERROR, vec![])
        );
        assert_eq!(
            read(zone.reply(&back(), &question("gateway", TYPE_A, false), true)),
            (NO_ERROR, vec![vec![10, 0, 0, 1]])
        );
    }

    #[test]
    fn a_node_that_ended_is_no_longer_known() {
        let mut zone = zone();
        zone.remove(&NodeName::parse("web").unwrap());
        assert_eq!(
            read(zone.reply(&front(), &question("web", TYPE_A, false), true)),
            (NO_ERROR, vec![vec![10, 0, 0, 3]])
        );
    }

    #[test]
    fn addresses_have_names_and_strangers_have_none() {
        let mut zone = zone();
        let (code, found) = read(zone.reply(
            &front(),
            &question("2.0.0.10.in-addr.arpa", TYPE_PTR, false),
            true,
        ));
        assert_eq!(
            (code, found),
            (NO_ERROR, vec![wire_name("web.shop-7.test")])
        );
        assert_eq!(
            read(zone.reply(
                &front(),
                &question("9.0.0.10.in-addr.arpa", TYPE_PTR, false),
                true
            ))
            .0,
            NAME_ERROR
        );
        assert_eq!(
            read(zone.reply(&front(), &question("example.com", TYPE_A, false), true)).0,
            NAME_ERROR
        );
    }

    #[test]
    fn with_upstreams_foreign_names_are_forwarded_and_own_ones_never() {
        let mut zone = zone();
        let upstream: SocketAddr = "192.0.2.1:53".parse().unwrap();
        zone.table.forward = Forward::Upstreams(vec![upstream]);
        assert_eq!(
            zone.reply(&front(), &question("example.com", TYPE_A, false), true),
            Reply::Forward(Side::Host, vec![upstream])
        );
        assert_eq!(
            read(zone.reply(
                &front(),
                &question("nobody.shop-7.test", TYPE_A, false),
                true
            ))
            .0,
            NAME_ERROR
        );
    }

    #[test]
    fn a_node_with_servers_of_its_own_asks_those_from_its_stand_and_the_stand_first() {
        let mut zone = zone();
        zone.table.forward = Forward::Upstreams(vec!["192.0.2.1:53".parse().unwrap()]);
        let own: SocketAddr = "10.0.0.8:53".parse().unwrap();
        let asking = Asking {
            servers: Some(vec![own]),
            ..front()
        };
        assert_eq!(
            zone.reply(&asking, &question("example.com", TYPE_A, false), true),
            Reply::Forward(Side::Stand, vec![own])
        );
        assert_eq!(
            read(zone.reply(&asking, &question("web-2", TYPE_A, false), true)),
            (NO_ERROR, vec![vec![10, 0, 0, 3]])
        );
        let nobody = Asking {
            servers: Some(Vec::new()),
            ..front()
        };
        assert_eq!(
            read(zone.reply(&nobody, &question("example.com", TYPE_A, false), true)).0,
            NAME_ERROR
        );
    }

    #[test]
    fn names_of_the_platform_are_asked_of_its_server_in_the_stand_and_own_ones_never() {
        let mut zone = zone();
        let server: SocketAddr = "10.0.0.1:53".parse().unwrap();
        zone.table.platform = Some(PlatformNames {
            zones: vec!["dev.example.com".into(), "shop-7.test".into()],
            server: Some(server),
        });
        let upstream: SocketAddr = "192.0.2.1:53".parse().unwrap();
        zone.table.forward = Forward::Upstreams(vec![upstream]);
        let mut ask = |name| zone.reply(&front(), &question(name, TYPE_A, false), true);
        for name in ["dev.example.com", "web.Other.DEV.example.com"] {
            assert_eq!(ask(name), Reply::Forward(Side::Stand, vec![server]));
        }
        for name in ["example.com", "xdev.example.com"] {
            assert_eq!(ask(name), Reply::Forward(Side::Host, vec![upstream]));
        }
        for name in ["web.shop-7.test", "gateway"] {
            assert!(matches!(ask(name), Reply::Answer(_)), "{name}");
        }
    }

    #[test]
    fn an_answer_is_never_answered_and_strange_questions_get_their_code() {
        let mut zone = zone();
        let mut q = question("web", TYPE_A, false);
        q[2] |= 0x80;
        assert_eq!(zone.reply(&front(), &q, true), Reply::Nothing);
        let mut q = question("web", TYPE_A, false);
        q[2] |= 5 << 3;
        let Reply::Answer(bytes) = zone.reply(&front(), &q, true) else {
            panic!()
        };
        assert_eq!(bytes[3] & 0xf, NOT_IMPLEMENTED);
        let mut q = question("web", TYPE_A, false);
        q[5] = 2;
        let Reply::Answer(bytes) = zone.reply(&front(), &q, true) else {
            panic!()
        };
        assert_eq!(bytes[3] & 0xf, FORMAT_ERROR);
        let mut q = question("web", TYPE_A, true);
        let at = q.len() - 5;
        q[at] = 1;
        let Reply::Answer(bytes) = zone.reply(&front(), &q, true) else {
            panic!()
        };
        assert_eq!(bytes[bytes.len() - 6], 1, "BADVERS in the extended code");
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_resolver_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), udp in any::<bool>()) {
            let mut zone = zone();
            let _ = zone.reply(&front(), &bytes, udp);
            let _ = failure(&bytes);
            let _ = belongs(&bytes, &bytes);
        }

        #[test]
        fn every_name_is_answered(name in "[a-z0-9.-]{1,60}", kind in any::<u16>()) {
            prop_assume!(kind != TYPE_OPT);
            let mut zone = zone();
            let reply = zone.reply(&front(), &question(&name, kind, false), true);
            prop_assert!(matches!(reply, Reply::Answer(_)));
        }
    }
}
