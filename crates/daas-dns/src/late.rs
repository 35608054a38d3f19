//! Messages whose answer takes time or several messages: signed ones, updates, transfers.

use crate::answer::{Answer, Transport};
use crate::desk::Asker;
use crate::dns::Inner;
use crate::kind::{Rcode, RrType, opcode};
use crate::request::Request;
use crate::settings::ZoneSettings;
use crate::tsig::{Checked, MOST_TSIG, Session, TsigKey, check};
use crate::wire::Writer;
use crate::{transfer, update};

/// Answers a message; one message, or for a transfer over TCP several.
pub(crate) async fn answer(inner: &Inner, octets: &[u8], asker: Asker) -> Vec<Vec<u8>> {
    let Ok(request) = Request::read(octets) else {
        return Vec::new();
    };
    let session = match check(&request, &inner.settings.tsig) {
        Ok(None) => None,
        Ok(Some(Checked::Good(session))) => Some(session),
        Ok(Some(Checked::Bad(refused))) => {
            let mut message = coded(&request, asker.transport, Rcode::NOT_AUTH);
            refused.seal(&mut message);
            return vec![message];
        }
        Err(_) => return vec![coded(&request, asker.transport, Rcode::FORM_ERR)],
    };
    match (request.header.opcode(), request.question.kind) {
        (opcode::UPDATE, _) => {
            let rcode = judge_update(inner, &request, session.as_ref()).await;
            vec![sealed(coded(&request, asker.transport, rcode), session)]
        }
        (opcode::QUERY, RrType::AXFR | RrType::IXFR) => hand_over(inner, &request, asker, session),
        (opcode::QUERY, _) => vec![query(inner, &request, asker, session).await],
        _ => vec![sealed(
            coded(&request, asker.transport, Rcode::REFUSED),
            session,
        )],
    }
}

/// Makes an answer of a code alone.
fn coded(request: &Request<'_>, transport: Transport, rcode: Rcode) -> Vec<u8> {
    let mut writer = Writer::new();
    let mut answer = Answer::begin(request, transport, 0, &mut writer);
    answer.rcode = rcode;
    answer.finish();
    writer.octets().to_vec()
}

fn sealed(mut message: Vec<u8>, session: Option<Session>) -> Vec<u8> {
    if let Some(mut session) = session {
        session.sign(&mut message);
    }
    message
}

/// Answers a signed question as an unsigned one, and signs the answer.
async fn query(
    inner: &Inner,
    request: &Request<'_>,
    asker: Asker,
    session: Option<Session>,
) -> Vec<u8> {
    let table = inner.published.table();
    let Some(zone) = table.zone_for(request.question.key.octets(), request.question.kind) else {
        let Some(forwarder) = inner.forwarder_for(asker.ip) else {
            return sealed(coded(request, asker.transport, Rcode::REFUSED), session);
        };
        let mut writer = Writer::new();
        forwarder
            .answer(request, asker.transport, &mut writer)
            .await;
        return sealed(writer.octets().to_vec(), session);
    };
    let mut writer = Writer::new();
    // What a signature needs does not fit into 512 octets together with much else; EDNS is then missing, and TC tells.
    let reserve = if session.is_some() { MOST_TSIG } else { 0 };
    let mut answer = Answer::begin(request, asker.transport, reserve, &mut writer);
    answer.resolve(&table, zone, request);
    answer.finish();
    sealed(writer.octets().to_vec(), session)
}

fn settings_of<'a>(inner: &'a Inner, request: &Request<'_>) -> Option<&'a ZoneSettings> {
    inner
        .settings
        .zones
        .iter()
        .find(|zone| zone.origin.wire() == request.question.wire())
}

fn is_among(names: &[crate::name::Name], key: Option<&TsigKey>) -> bool {
    key.is_some_and(|key| names.contains(&key.name))
}

async fn judge_update(inner: &Inner, request: &Request<'_>, session: Option<&Session>) -> Rcode {
    let Some(zone) = settings_of(inner, request) else {
        return Rcode::NOT_AUTH;
    };
    // Addresses are no proof of anybody (RFC 3007): only a key may change something.
    if !is_among(&zone.update_keys, session.map(|session| &session.key)) {
        return Rcode::REFUSED;
    }
    update::carry_out(inner, request).await
}

fn hand_over(
    inner: &Inner,
    request: &Request<'_>,
    asker: Asker,
    session: Option<Session>,
) -> Vec<Vec<u8>> {
    let refused = |rcode| coded(request, asker.transport, rcode);
    let Some(settings) = settings_of(inner, request).filter(|_| request.is_internet()) else {
        return vec![sealed(refused(Rcode::NOT_AUTH), session)];
    };
    let allowed = is_among(
        &settings.transfer_keys,
        session.as_ref().map(|session| &session.key),
    ) || settings
        .transfer_to
        .iter()
        .any(|block| block.contains(asker.ip));
    let table = inner.published.table();
    let Some(zone) = table.exact(&settings.origin).filter(|_| allowed) else {
        return vec![sealed(refused(Rcode::REFUSED), session)];
    };
    match (request.question.kind, asker.transport) {
        (RrType::IXFR, transport) => transfer::since(zone, request, transport, session),
        (_, Transport::Tcp) => transfer::whole(zone, request, session),
        // RFC 5936 section 4.2.
        (_, Transport::Udp) => vec![sealed(refused(Rcode::FORM_ERR), session)],
    }
}
