//! Answers out of zones: positive, negative, referrals, aliases, and the proofs that go with them (RFC 1034 section 4.3.2, RFC 2308, RFC 4035 section 3.1).

use crate::data::{address, target};
use crate::journal::Row;
use crate::kind::{Rcode, RrType};
use crate::name::{Key, Name};
use crate::request::{HEADER, Request, flag};
use crate::wire::{Full, Writer, name_length};
use crate::zone::{Found, Node, RrSet, Table, Zone};

/// The longest answer over UDP, in octets: it passes every path unfragmented (DNS flag day 2020).
pub(crate) const MOST_UDP: u16 = 1232;
/// The longest answer without EDNS (RFC 1035 section 2.3.4).
const PLAIN_UDP: usize = 512;
/// Octets of our OPT record.
const OPT_OCTETS: usize = 11;
/// How many aliases of one another are followed.
const MOST_ALIASES: usize = 8;
/// Seconds that a resolver may keep an address that came out of its name: it never changes, but the zone may go.
const EMBEDDED_TTL: u32 = 60;

/// How a message came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    Tcp,
}

/// An answer while it is written: header and question stand, records follow in the order of the sections.
pub(crate) struct Answer<'w> {
    pub(crate) writer: &'w mut Writer,
    pub(crate) flags: u16,
    pub(crate) rcode: Rcode,
    /// Records in the answer, authority and additional sections.
    pub(crate) counts: [u16; 3],
    edns: bool,
    dnssec: bool,
    body: usize,
    /// Where the sets lie that more than one name of a chain may need: each is told once (RFC 2181 section 5).
    shared: Vec<usize>,
}

/// Sections of an answer.
const ANSWER: usize = 0;
const AUTHORITY: usize = 1;
const ADDITIONAL: usize = 2;

impl<'w> Answer<'w> {
    /// Begins the answer to `request`, with `reserve` octets left free at its end.
    pub(crate) fn begin(
        request: &Request<'_>,
        transport: Transport,
        reserve: usize,
        writer: &'w mut Writer,
    ) -> Self {
        let whole = match (transport, request.edns) {
            (Transport::Tcp, _) => usize::from(u16::MAX),
            (Transport::Udp, Some(edns)) => usize::from(edns.size.min(MOST_UDP)).max(PLAIN_UDP),
            (Transport::Udp, None) => PLAIN_UDP,
        };
        let opt = if request.edns.is_some() {
            OPT_OCTETS
        } else {
            0
        };
        writer.clear(whole - opt - reserve);
        writer.u16(request.header.id);
        writer.raw(&[0; HEADER - 2]);
        writer.raw(&request.octets[HEADER..request.question.end]);
        writer.remember(HEADER);
        let copied = request.header.flags & (0x7800 | flag::RD | flag::CD);
        Self {
            body: writer.len(),
            writer,
            flags: flag::QR | copied,
            rcode: Rcode::NO_ERROR,
            counts: [0; 3],
            edns: request.edns.is_some(),
            dnssec: request.edns.is_some_and(|edns| edns.dnssec),
            shared: Vec::new(),
        }
    }

    /// Takes back every record and says that they did not fit.
    fn truncate(&mut self) {
        let body = self.body;
        self.writer.octets_mut().truncate(body);
        self.counts = [0; 3];
        self.flags |= flag::TC;
    }

    /// Writes header and OPT record.
    pub(crate) fn finish(self) {
        let Self {
            writer,
            flags,
            rcode,
            counts,
            edns,
            dnssec,
            ..
        } = self;
        writer.set_u16(2, flags | (rcode.0 & 0xf));
        writer.set_u16(4, 1);
        for (at, count) in [6, 8, 10].into_iter().zip(counts) {
            writer.set_u16(at, count);
        }
        if edns {
            let high = u8::try_from(rcode.0 >> 4).unwrap_or(0);
            writer.u8(0);
            writer.u16(RrType::OPT.0);
            writer.u16(MOST_UDP);
            writer.raw(&[high, 0, if dnssec { 0x80 } else { 0 }, 0, 0, 0]);
            writer.set_u16(10, counts[ADDITIONAL] + 1);
        }
    }

    /// Writes records that came from elsewhere `age` seconds ago.
    pub(crate) fn put_foreign(&mut self, answers: &[Row], authority: &[Row], age: u32) {
        let sections = answers
            .iter()
            .map(|row| (ANSWER, row))
            .chain(authority.iter().map(|row| (AUTHORITY, row)));
        for (section, row) in sections {
            let ttl = row.ttl.saturating_sub(age);
            if self
                .put(section, row.name.wire(), row.kind, ttl, &row.data)
                .is_err()
            {
                return self.truncate();
            }
        }
    }

    fn put(
        &mut self,
        section: usize,
        owner: &[u8],
        kind: RrType,
        ttl: u32,
        data: &[u8],
    ) -> Result<(), Full> {
        self.writer.record(owner, kind, ttl, data)?;
        self.counts[section] += 1;
        Ok(())
    }

    /// Writes a set with its signatures, where they are wanted.
    fn put_set(&mut self, section: usize, owner: &[u8], set: &RrSet, ttl: u32) -> Result<(), Full> {
        for data in &set.data {
            self.put(section, owner, set.kind, ttl, data)?;
        }
        if self.dnssec {
            for data in &set.signatures {
                self.put(section, owner, RrType::RRSIG, ttl, data)?;
            }
        }
        Ok(())
    }

    /// Writes a set under its own name unless it has been written.
    fn put_once(
        &mut self,
        section: usize,
        owner: &[u8],
        set: &RrSet,
        ttl: u32,
    ) -> Result<(), Full> {
        let place = std::ptr::from_ref(set).addr();
        if self.shared.contains(&place) {
            return Ok(());
        }
        self.shared.push(place);
        self.put_set(section, owner, set, ttl)
    }

    /// Answers out of `zone`, following aliases through all zones of `table`.
    pub(crate) fn resolve(&mut self, table: &Table, zone: &Zone, request: &Request<'_>) {
        self.flags |= flag::AA;
        if self.follow(table, zone, request).is_err() {
            self.truncate();
        }
    }

    fn follow(&mut self, table: &Table, zone: &Zone, request: &Request<'_>) -> Result<(), Full> {
        let kind = request.question.kind;
        let mut aliases: Vec<Name> = Vec::new();
        let mut key = request.question.key.clone();
        let mut zone = zone;
        for _ in 0..=MOST_ALIASES {
            let wire = aliases.last().map_or(request.question.wire(), Name::wire);
            let step = self.step(zone, &key, wire, kind)?;
            let Some(next) = step else { return Ok(()) };
            // A circle: everything of it has been told, and each record is told once (RFC 2181 section 5).
            if *next.wire() == *request.question.wire() || aliases.contains(&next) {
                return Ok(());
            }
            key = Key::of(next.wire());
            match table.zone_for(key.octets(), kind) {
                Some(other) => zone = other,
                // The asker goes on by himself.
                None => return Ok(()),
            }
            aliases.push(next);
        }
        Ok(())
    }

    /// Answers for one name of a chain; returns the next one if it is an alias.
    fn step(
        &mut self,
        zone: &Zone,
        key: &Key,
        wire: &[u8],
        kind: RrType,
    ) -> Result<Option<Name>, Full> {
        let found = zone.find(key.octets(), wire, kind);
        match found {
            Found::Node(node) | Found::Wildcard(node) => {
                let synthesised = matches!(found, Found::Wildcard(_));
                let next = self.at_node(zone, node, key, wire, kind, synthesised)?;
                return Ok(next);
            }
            Found::Embedded(ip) => {
                let (own, data) = address(ip);
                if kind == own || kind == RrType::ANY {
                    self.put(ANSWER, wire, own, EMBEDDED_TTL, &data)?;
                } else {
                    self.negative(zone)?;
                }
            }
            Found::Empty => {
                self.negative(zone)?;
                self.prove(zone, &[zone.nsec_of(key.octets())])?;
            }
            Found::Cut(node) => self.refer(zone, node)?,
            Found::Tree(node) => return self.move_below(node, wire, kind),
            Found::Nothing(above) => {
                self.rcode = Rcode::NX_DOMAIN;
                self.negative(zone)?;
                let mut star = above.to_vec();
                star.extend_from_slice(b"*\0");
                self.prove(zone, &[zone.nsec_of(key.octets()), zone.nsec_of(&star)])?;
            }
        }
        Ok(None)
    }

    fn at_node(
        &mut self,
        zone: &Zone,
        node: &Node,
        key: &Key,
        wire: &[u8],
        kind: RrType,
        synthesised: bool,
    ) -> Result<Option<Name>, Full> {
        // A wildcard's answer needs the proof that the name itself is not there (RFC 4035 section 3.1.3.3).
        let closer = if synthesised {
            zone.nsec_of(key.octets())
        } else {
            None
        };
        if kind == RrType::ANY || kind == RrType::RRSIG {
            self.any(node, wire, kind)?;
            self.prove(zone, &[closer])?;
            return Ok(None);
        }
        if let Some(set) = node.set(kind) {
            self.put_set(ANSWER, wire, set, set.ttl)?;
            self.prove(zone, &[closer])?;
            return Ok(None);
        }
        if let Some(set) = node.set(RrType::CNAME)
            && let Some(data) = set.data.first()
        {
            self.put_set(ANSWER, wire, set, set.ttl)?;
            self.prove(zone, &[closer])?;
            return Ok(Some(target(data)));
        }
        self.negative(zone)?;
        self.prove(zone, &[Some(node), closer])?;
        Ok(None)
    }

    /// Answers for a name below a DNAME: with that, and with an alias made of it (RFC 6672 section 3.2); returns the name that it stands for.
    fn move_below(&mut self, node: &Node, wire: &[u8], kind: RrType) -> Result<Option<Name>, Full> {
        let Some(set) = node.set(RrType::DNAME) else {
            return Ok(None);
        };
        let Some(data) = set.data.first() else {
            return Ok(None);
        };
        self.put_once(ANSWER, node.name.wire(), set, set.ttl)?;
        let Some(next) = Name::moved(wire, &node.name, &target(data)) else {
            self.rcode = Rcode::YX_DOMAIN;
            return Ok(None);
        };
        // Whoever validates makes it himself: it has no signature (RFC 6672 section 5.3.1).
        self.put(ANSWER, wire, RrType::CNAME, set.ttl, next.wire())?;
        let is_all = matches!(kind, RrType::CNAME | RrType::ANY | RrType::RRSIG);
        Ok((!is_all).then_some(next))
    }

    /// Answers a question for anything with one set: a big answer to a small question helps only those who flood others (RFC 8482).
    fn any(&mut self, node: &Node, wire: &[u8], kind: RrType) -> Result<(), Full> {
        let Some(set) = node.sets.iter().find(|set| !set.kind.is_of_signing()) else {
            return Ok(());
        };
        if kind == RrType::ANY {
            return self.put_set(ANSWER, wire, set, set.ttl);
        }
        for data in &set.signatures {
            self.put(ANSWER, wire, RrType::RRSIG, set.ttl, data)?;
        }
        Ok(())
    }

    /// Adds the SOA record that says how long a negative answer holds (RFC 2308 section 3).
    fn negative(&mut self, zone: &Zone) -> Result<(), Full> {
        let Some(set) = zone.apex().and_then(|apex| apex.set(RrType::SOA)) else {
            return Ok(());
        };
        let minimum = set.data.first().and_then(|data| data.last_chunk::<4>());
        let ttl = minimum.map_or(set.ttl, |octets| set.ttl.min(u32::from_be_bytes(*octets)));
        self.put_set(AUTHORITY, zone.origin.wire(), set, ttl)
    }

    /// Adds NSEC records of nodes, each once, if signatures are wanted.
    fn prove(&mut self, zone: &Zone, nodes: &[Option<&Node>]) -> Result<(), Full> {
        if !self.dnssec || !zone.signed {
            return Ok(());
        }
        for node in nodes.iter().copied().flatten() {
            if let Some(set) = node.set(RrType::NSEC) {
                self.put_once(AUTHORITY, node.name.wire(), set, set.ttl)?;
            }
        }
        Ok(())
    }

    /// Leads to the servers of a delegated zone.
    fn refer(&mut self, zone: &Zone, node: &Node) -> Result<(), Full> {
        let Some(servers) = node.set(RrType::NS) else {
            return Ok(());
        };
        if self.counts[ANSWER] == 0 {
            self.flags &= !flag::AA;
        }
        let owner = node.name.wire();
        for data in &servers.data {
            self.put(AUTHORITY, owner, RrType::NS, servers.ttl, data)?;
        }
        match node.set(RrType::DS) {
            Some(set) if self.dnssec => self.put_set(AUTHORITY, owner, set, set.ttl)?,
            _ => self.prove(zone, &[Some(node)])?,
        }
        for data in &servers.data {
            let server = &data[..name_length(data)];
            let Some(glue) = zone.node(Key::of(server).octets()) else {
                continue;
            };
            for set in glue
                .sets
                .iter()
                .filter(|set| matches!(set.kind, RrType::A | RrType::AAAA))
            {
                for data in &set.data {
                    self.put(ADDITIONAL, server, set.kind, set.ttl, data)?;
                }
            }
        }
        Ok(())
    }
}

/// Writes an answer of a header only.
pub(crate) fn header_only(octets: &[u8], rcode: Rcode, writer: &mut Writer) {
    writer.clear(PLAIN_UDP);
    let flags = u16::from_be_bytes([octets[2], octets[3]]);
    writer.raw(&octets[..2]);
    writer.u16(flag::QR | (flags & (0x7800 | flag::RD | flag::CD)) | (rcode.0 & 0xf));
    writer.raw(&[0; 8]);
}
