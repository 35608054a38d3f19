//! Updates of zones by programs (RFC 2136): prerequisites are judged by what is answered, changes are made to what is kept.

use crate::book::Book;
use crate::contents::{Resource, Source};
use crate::data;
use crate::dns::Inner;
use crate::error::DnsError;
use crate::kept::{Edits, KeptSet, kept_sets};
use crate::kind::{Rcode, RrType};
use crate::name::{Key, Name};
use crate::request::Request;
use crate::wire::{CLASS_IN, Malformed, Reader};
use std::collections::BTreeMap;

const CLASS_NONE: u16 = 254;
const CLASS_ANY: u16 = 255;
/// The most records of one update.
const MOST_RECORDS: u16 = 4000;

/// One record of an update.
struct Line {
    name: Name,
    kind: RrType,
    class: u16,
    ttl: u32,
    data: Option<data::Data>,
}

/// Prerequisites and changes.
struct Update {
    prerequisites: Vec<Line>,
    changes: Vec<Line>,
}

/// Carries out an update whose sender may do so; returns the code of the answer.
pub(crate) async fn carry_out(inner: &Inner, request: &Request<'_>) -> Rcode {
    let update = match read(request) {
        Ok(update) => update,
        Err(_) => return Rcode::FORM_ERR,
    };
    let _turn = inner.keeping.lock().await;
    let planned = {
        let books = inner.books();
        let Some(book) = books.get(request.question.key.octets()) else {
            return Rcode::NOT_AUTH;
        };
        plan(book, &update).map(|edits| (book.zone.origin.clone(), edits))
    };
    let (origin, edits) = match planned {
        Ok(planned) => planned,
        Err(rcode) => return rcode,
    };
    if edits.is_empty() {
        return Rcode::NO_ERROR;
    }
    match inner.keep(&origin, edits).await {
        Ok(()) => Rcode::NO_ERROR,
        Err(DnsError::Full { .. }) => Rcode::REFUSED,
        Err(error) => {
            tracing::warn!(zone = %origin, cause = %daas_model::render_chain(&error), "an update was not kept");
            Rcode::SERV_FAIL
        }
    }
}

fn read(request: &Request<'_>) -> Result<Update, Malformed> {
    let [_, prerequisites, changes, _] = request.header.counts;
    if request.question.kind != RrType::SOA || request.question.class != CLASS_IN {
        return Err(Malformed("the zone of an update is told by SOA and IN"));
    }
    if prerequisites > MOST_RECORDS || changes > MOST_RECORDS {
        return Err(Malformed("too many records at once"));
    }
    let mut reader = Reader::at(request.octets, request.question.end);
    let mut lines = |count| {
        (0..count)
            .map(|_| read_line(&mut reader))
            .collect::<Result<Vec<_>, _>>()
    };
    Ok(Update {
        prerequisites: lines(prerequisites)?,
        changes: lines(changes)?,
    })
}

fn read_line(reader: &mut Reader<'_>) -> Result<Line, Malformed> {
    let name = reader.name()?;
    let kind = RrType(reader.u16()?);
    let class = reader.u16()?;
    let ttl = reader.u32()?;
    let length = usize::from(reader.u16()?);
    let data = if length == 0 {
        None
    } else {
        Some(data::from_message(kind, reader, length)?)
    };
    Ok(Line {
        name,
        kind,
        class,
        ttl,
        data,
    })
}

/// Judges the prerequisites and returns what is to be changed.
fn plan(book: &Book, update: &Update) -> Result<Edits, Rcode> {
    let origin = &book.zone.origin;
    let lines = update.prerequisites.iter().chain(&update.changes);
    if lines.into_iter().any(|line| !line.name.is_within(origin)) {
        return Err(Rcode::NOT_ZONE);
    }
    judge(book, &update.prerequisites)?;
    update.changes.iter().try_for_each(look_over)?;
    let mut edits = Edits::new();
    for line in &update.changes {
        change(book, &mut edits, line)?;
    }
    Ok(edits)
}

/// Judges prerequisites (RFC 2136 section 3.2).
fn judge(book: &Book, prerequisites: &[Line]) -> Result<(), Rcode> {
    let mut wanted: BTreeMap<(&Name, RrType), Vec<&data::Data>> = BTreeMap::new();
    for line in prerequisites {
        if line.ttl != 0 {
            return Err(Rcode::FORM_ERR);
        }
        let node = book.zone.node(Key::of(line.name.wire()).octets());
        let set = node.and_then(|node| node.set(line.kind));
        match (line.class, &line.data) {
            (CLASS_ANY, None) if line.kind == RrType::ANY => {
                node.map(drop).ok_or(Rcode::NX_DOMAIN)?;
            }
            (CLASS_ANY, None) => set.map(drop).ok_or(Rcode::NX_RRSET)?,
            (CLASS_NONE, None) if line.kind == RrType::ANY => {
                if node.is_some() {
                    return Err(Rcode::YX_DOMAIN);
                }
            }
            (CLASS_NONE, None) => {
                if set.is_some() {
                    return Err(Rcode::YX_RRSET);
                }
            }
            (CLASS_IN, Some(data)) => wanted
                .entry((&line.name, line.kind))
                .or_default()
                .push(data),
            _ => return Err(Rcode::FORM_ERR),
        }
    }
    for ((name, kind), mut wanted) in wanted {
        let node = book.zone.node(Key::of(name.wire()).octets());
        let set = node
            .and_then(|node| node.set(kind))
            .ok_or(Rcode::NX_RRSET)?;
        wanted.sort_unstable();
        wanted.dedup();
        if !set.data.iter().eq(wanted) {
            return Err(Rcode::NX_RRSET);
        }
    }
    Ok(())
}

/// Looks a change over before any is made (RFC 2136 section 3.4.1.3).
fn look_over(line: &Line) -> Result<(), Rcode> {
    let well = match line.class {
        CLASS_IN => !line.kind.is_meta() && line.data.is_some(),
        CLASS_ANY => {
            line.ttl == 0
                && line.data.is_none()
                && (!line.kind.is_meta() || line.kind == RrType::ANY)
        }
        CLASS_NONE => line.ttl == 0 && line.data.is_some() && !line.kind.is_meta(),
        _ => false,
    };
    if well { Ok(()) } else { Err(Rcode::FORM_ERR) }
}

/// Adds a change to the edits (RFC 2136 section 3.4.2).
fn change(book: &Book, edits: &mut Edits, line: &Line) -> Result<(), Rcode> {
    let now = |edits: &Edits, kind: RrType| -> KeptSet {
        edits
            .get(&(line.name.clone(), kind))
            .cloned()
            .or_else(|| kept_sets(book, &line.name).remove(&kind))
            .unwrap_or_default()
    };
    match (line.class, &line.data) {
        (CLASS_IN, Some(data)) => {
            let record = Resource {
                name: line.name.clone(),
                kind: line.kind,
                ttl: line.ttl.min(crate::line::MOST_TTL),
                data: data.clone(),
            };
            // Serials are ours alone; signatures, too.
            if line.kind == RrType::SOA {
                return Ok(());
            }
            book.check(&record).map_err(|_| Rcode::REFUSED)?;
            if clashes(book, edits, line) {
                return Ok(());
            }
            let mut set = now(edits, line.kind);
            set.ttl = record.ttl;
            // One of each under a name: the new one takes the place of the old one (RFC 2136 section 3.4.2.2, RFC 6672 section 5.2).
            if matches!(line.kind, RrType::CNAME | RrType::DNAME) {
                set.data.clear();
            }
            if !set.data.contains(data) {
                set.data.push(data.clone());
            }
            edits.insert((line.name.clone(), line.kind), set);
        }
        (CLASS_ANY, None) => {
            let mut kinds: Vec<RrType> = kept_sets(book, &line.name).into_keys().collect();
            kinds.extend(
                edits
                    .keys()
                    .filter(|(name, _)| *name == line.name)
                    .map(|(_, kind)| *kind),
            );
            for kind in kinds {
                if line.kind == RrType::ANY || line.kind == kind {
                    edits.insert((line.name.clone(), kind), KeptSet::default());
                }
            }
        }
        (_, Some(data)) => {
            let mut set = now(edits, line.kind);
            if set.data.contains(data) {
                set.data.retain(|other| other != data);
                edits.insert((line.name.clone(), line.kind), set);
            }
        }
        _ => return Err(Rcode::FORM_ERR),
    }
    Ok(())
}

/// Tells whether an alias would meet other records: such a change is passed over in silence (RFC 2136 section 3.4.2.2).
fn clashes(book: &Book, edits: &Edits, line: &Line) -> bool {
    let others = book
        .contents
        .node(&line.name)
        .into_iter()
        .flat_map(|node| node.sets);
    let mut kinds: BTreeMap<RrType, bool> = others.map(|set| (set.kind, true)).collect();
    let kept = kept_sets(book, &line.name);
    for ((name, kind), set) in edits {
        if *name == line.name && (kept.contains_key(kind) || !set.data.is_empty()) {
            kinds.insert(*kind, !set.data.is_empty() || of_others(book, name, *kind));
        }
    }
    let there =
        |test: &dyn Fn(RrType) -> bool| kinds.iter().any(|(kind, there)| *there && test(*kind));
    if line.kind == RrType::CNAME {
        there(&|kind| kind != RrType::CNAME && !kind.is_of_signing())
    } else {
        there(&|kind| kind == RrType::CNAME)
    }
}

/// Tells whether another source than what is kept has such records.
fn of_others(book: &Book, name: &Name, kind: RrType) -> bool {
    book.contents
        .of_name(name)
        .any(|(source, record)| *source != Source::Kept && record.kind == kind)
}
