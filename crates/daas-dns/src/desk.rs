//! Decides what becomes of one message; answers out of zones are written at once, without waiting for anything.

use crate::answer::{Answer, Transport, header_only};
use crate::dns::{Inner, View};
use crate::kind::{Rcode, RrType, opcode};
use crate::request::{Request, Unusable, flag};
use crate::wire::Writer;
use std::net::IpAddr;
use std::sync::Arc;

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asker {
    pub(crate) ip: IpAddr,
    pub(crate) transport: Transport,
}

/// What is to be done about a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// The answer stands in the writer.
    Reply,
    /// It takes longer than a look: [`crate::late::answer`].
    Late,
    /// Nobody is answered.
    Silence,
}

/// Answers messages, one after the other.
pub(crate) struct Desk {
    inner: Arc<Inner>,
    view: View,
    pub(crate) writer: Writer,
}

impl Desk {
    pub(crate) fn new(inner: Arc<Inner>) -> Self {
        Self {
            view: View::new(&inner.published),
            writer: Writer::new(),
            inner,
        }
    }

    /// Decides about one message.
    pub(crate) fn take(&mut self, octets: &[u8], asker: Asker) -> Act {
        let request = match Request::read(octets) {
            Ok(request) => request,
            Err(Unusable::Silence) => return Act::Silence,
            Err(Unusable::Code(rcode)) => {
                header_only(octets, rcode, &mut self.writer);
                return Act::Reply;
            }
        };
        match request.header.opcode() {
            _ if request.tsig.is_some() => Act::Late,
            opcode::UPDATE => Act::Late,
            opcode::QUERY => self.query(&request, asker),
            _ => self.refuse(&request, asker, Rcode::REFUSED),
        }
    }

    fn query(&mut self, request: &Request<'_>, asker: Asker) -> Act {
        if request.edns.is_some_and(|edns| edns.version > 0) {
            return self.refuse(request, asker, Rcode::BAD_VERS);
        }
        match request.question.kind {
            // Records of the message itself cannot be asked for.
            RrType::OPT | RrType::TSIG => return self.refuse(request, asker, Rcode::FORM_ERR),
            RrType::AXFR | RrType::IXFR => return Act::Late,
            // Mail of 1983, and the making of keys.
            RrType(249 | 253 | 254) => return self.refuse(request, asker, Rcode::NOT_IMP),
            _ => {}
        }
        if !request.is_internet() {
            return self.refuse(request, asker, Rcode::REFUSED);
        }
        let table = self.view.table(&self.inner.published);
        let served = self.inner.forwarder_for(asker.ip).is_some();
        let Some(zone) = table.zone_for(request.question.key.octets(), request.question.kind)
        else {
            // Recursion for who wants it and is served; nobody else makes us ask anybody.
            if served && request.header.flags & flag::RD != 0 {
                return Act::Late;
            }
            return self.refuse(request, asker, Rcode::REFUSED);
        };
        let mut answer = Answer::begin(request, asker.transport, 0, &mut self.writer);
        if served {
            answer.flags |= flag::RA;
        }
        answer.resolve(table, zone, request);
        answer.finish();
        Act::Reply
    }

    fn refuse(&mut self, request: &Request<'_>, asker: Asker, rcode: Rcode) -> Act {
        let mut answer = Answer::begin(request, asker.transport, 0, &mut self.writer);
        answer.rcode = rcode;
        answer.finish();
        Act::Reply
    }

    /// Cuts the answer down to its question and says that it does: who is real asks again over TCP.
    pub(crate) fn cut(&mut self, question: &[u8]) -> bool {
        let Ok(request) = Request::read(question) else {
            return false;
        };
        let mut answer = Answer::begin(&request, Transport::Udp, 0, &mut self.writer);
        answer.flags |= flag::TC;
        answer.finish();
        true
    }
}
