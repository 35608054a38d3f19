//! Questions that are answered in somebody's own view of the names, and not out of the zones as everybody sees them.

use crate::answer::{Answer, Transport};
use crate::data::address;
use crate::desk::Asker;
use crate::dns::Dns;
use crate::journal::Row;
use crate::kind::{Rcode, RrType};
use crate::name::Name;
use crate::request::Request;
use crate::wire::Writer;
use std::net::{IpAddr, Ipv4Addr};

/// Seconds that others may keep such an answer: it changes with stands.
const TTL: u32 = 5;

/// A question that came from elsewhere than the server's own sockets.
#[derive(Clone)]
pub struct Asked<'a> {
    request: Request<'a>,
}

impl std::fmt::Debug for Asked<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asked")
            .field("host", &self.host())
            .finish_non_exhaustive()
    }
}

impl<'a> Asked<'a> {
    /// Reads a message; nothing for one that is no plain question.
    #[must_use]
    pub fn read(message: &'a [u8]) -> Option<Self> {
        let request = Request::read(message).ok()?;
        let plain = request.header.opcode() == crate::kind::opcode::QUERY && request.tsig.is_none();
        (plain && request.is_internet()).then_some(Self { request })
    }

    /// Returns the name that is asked for, in small letters and without its last dot.
    #[must_use]
    pub fn host(&self) -> String {
        Name::from_checked_wire(self.request.question.wire()).bare()
    }

    /// Answers that the name has these addresses, and nothing else.
    #[must_use]
    pub fn found(&self, addresses: &[IpAddr]) -> Vec<u8> {
        let wanted = self.request.question.kind;
        let row = |ip: &IpAddr| {
            let (kind, data) = address(*ip);
            (wanted == kind || wanted == RrType::ANY).then(|| Row {
                name: Name::from_checked_wire(self.request.question.wire()),
                kind,
                ttl: TTL,
                data,
            })
        };
        let rows: Vec<Row> = addresses.iter().filter_map(row).collect();
        self.answer(Rcode::NO_ERROR, &rows)
    }

    /// Answers that there is no such name.
    #[must_use]
    pub fn absent(&self) -> Vec<u8> {
        self.answer(Rcode::NX_DOMAIN, &[])
    }

    fn answer(&self, rcode: Rcode, rows: &[Row]) -> Vec<u8> {
        let mut writer = Writer::new();
        let mut answer = Answer::begin(&self.request, Transport::Udp, 0, &mut writer);
        answer.put_foreign(rows, &[], 0);
        answer.rcode = rcode;
        answer.flags |= crate::request::flag::RA;
        answer.finish();
        writer.octets().to_vec()
    }
}

impl Dns {
    /// Answers a question as one of this machine: out of the zones, or by asking others.
    pub async fn ask(&self, asked: &Asked<'_>) -> Vec<u8> {
        let asker = Asker {
            ip: Ipv4Addr::LOCALHOST.into(),
            transport: Transport::Udp,
        };
        let answers = crate::late::answer(&self.inner, asked.request.octets, asker).await;
        answers.into_iter().next().unwrap_or_default()
    }
}
