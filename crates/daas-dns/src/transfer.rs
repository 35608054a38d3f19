//! Zones handed to secondaries: whole (AXFR, RFC 5936) or as differences (IXFR, RFC 1995).

use crate::answer::Transport;
use crate::book::rows;
use crate::journal::{Row, is_newer};
use crate::kind::RrType;
use crate::request::{HEADER, Request, flag};
use crate::tsig::{MOST_TSIG, Session};
use crate::wire::{CLASS_IN, Reader, Writer};
use crate::zone::Zone;

/// Octets of one message of a transfer: far fewer messages than records, and never a big buffer.
const MESSAGE: usize = 32 * 1024;
/// Octets of an answer over UDP (RFC 1995 section 2: what does not fit is told by the serial alone).
const UDP_MESSAGE: usize = 1232;

/// Makes the messages of a whole zone.
pub(crate) fn whole(zone: &Zone, request: &Request<'_>, session: Option<Session>) -> Vec<Vec<u8>> {
    let mut messages = Messages::new(request, session, MESSAGE);
    let Some(soa) = zone.soa() else {
        return Vec::new();
    };
    messages.push(&soa);
    for node in zone.nodes.values() {
        for row in rows(node) {
            messages.push(&row);
        }
    }
    messages.push(&soa);
    messages.end()
}

/// Makes the messages of what happened since the serial that the asker has; a whole zone if nobody remembers that.
pub(crate) fn since(
    zone: &Zone,
    request: &Request<'_>,
    transport: Transport,
    session: Option<Session>,
) -> Vec<Vec<u8>> {
    let Some(soa) = zone.soa() else {
        return Vec::new();
    };
    let known = serial_of(request);
    let current = known.is_some_and(|known| !is_newer(zone.serial, known));
    let limit = if transport == Transport::Udp {
        UDP_MESSAGE
    } else {
        MESSAGE
    };
    let steps = zone
        .journal
        .iter()
        .skip_while(|step| Some(step.from) != known);
    let steps: Vec<_> = steps.collect();
    if !current && steps.is_empty() && transport == Transport::Tcp {
        return whole(zone, request, session);
    }
    let alone = |session| {
        let mut messages = Messages::new(request, session, limit);
        messages.push(&soa);
        messages.end()
    };
    if current || steps.is_empty() {
        return alone(session);
    }
    // Over UDP what does not fit into one message is thrown away, so its signature must not have been made.
    let (kept, session) = if transport == Transport::Udp {
        (session, None)
    } else {
        (None, session)
    };
    let mut messages = Messages::new(request, session, limit);
    messages.push(&soa);
    for step in steps {
        messages.push(&step.old_soa);
        step.removed.iter().for_each(|row| messages.push(row));
        messages.push(&step.new_soa);
        step.added.iter().for_each(|row| messages.push(row));
    }
    messages.push(&soa);
    let mut messages = messages.end();
    if transport == Transport::Udp {
        if messages.len() > 1 {
            return alone(kept);
        }
        if let (Some(mut session), Some(message)) = (kept, messages.first_mut()) {
            session.sign(message);
        }
    }
    messages
}

/// Returns the serial in the authority section of a request for differences.
fn serial_of(request: &Request<'_>) -> Option<u32> {
    if request.header.counts[1] != 0 || request.header.counts[2] != 1 {
        return None;
    }
    let mut reader = Reader::at(request.octets, request.question.end);
    reader.skip_name().ok()?;
    if RrType(reader.u16().ok()?) != RrType::SOA {
        return None;
    }
    reader.octets(8).ok()?;
    reader.skip_name().ok()?;
    reader.skip_name().ok()?;
    reader.u32().ok()
}

/// Messages of one transfer, filled one after the other.
struct Messages {
    head: Vec<u8>,
    writer: Writer,
    limit: usize,
    records: u16,
    done: Vec<Vec<u8>>,
    session: Option<Session>,
}

impl Messages {
    fn new(request: &Request<'_>, session: Option<Session>, limit: usize) -> Self {
        let mut head = request.octets[..2].to_vec();
        head.extend_from_slice(&(flag::QR | flag::AA).to_be_bytes());
        head.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
        head.extend_from_slice(request.question.wire());
        head.extend_from_slice(&request.question.kind.0.to_be_bytes());
        head.extend_from_slice(&CLASS_IN.to_be_bytes());
        let mut messages = Self {
            head,
            writer: Writer::new(),
            limit: limit - if session.is_some() { MOST_TSIG } else { 0 },
            records: 0,
            done: Vec::new(),
            session,
        };
        messages.begin();
        messages
    }

    fn begin(&mut self) {
        self.writer.clear(self.limit);
        self.writer.raw(&self.head);
        self.writer.remember(HEADER);
        self.records = 0;
    }

    fn push(&mut self, row: &Row) {
        if self.put(row) {
            return;
        }
        if self.records > 0 {
            self.flush();
            if self.put(row) {
                return;
            }
        }
        // One record longer than a usual message has one for itself.
        self.writer.set_limit(usize::from(u16::MAX) - MOST_TSIG);
        self.put(row);
    }

    fn put(&mut self, row: &Row) -> bool {
        let fits = self
            .writer
            .record(row.name.wire(), row.kind, row.ttl, &row.data)
            .is_ok();
        self.records += u16::from(fits);
        fits
    }

    fn flush(&mut self) {
        self.writer.set_u16(6, self.records);
        let mut message = self.writer.octets().to_vec();
        if let Some(session) = &mut self.session {
            session.sign(&mut message);
        }
        self.done.push(message);
        self.begin();
    }

    fn end(mut self) -> Vec<Vec<u8>> {
        self.flush();
        self.done
    }
}
