//! Pushes what a zone has to another name server by updates (RFC 2136, signed by RFC 8945): for teams whose zone lives elsewhere.
//!
//! Only records of ours are touched: sets of a name and type that this zone has or that it pushed before. What was pushed is remembered, so that
//! a name that went while the daemon was down goes there too.

use crate::contents::Source;
use crate::data::Data;
use crate::dns::{Dns, Inner};
use crate::kind::{RrType, opcode};
use crate::listen::frame;
use crate::name::Name;
use crate::request::Header;
use crate::tsig::{Session, TsigKey};
use crate::wire::{CLASS_IN, Writer};
use daas_store::{Record, StoreError};
use daas_tasks::{Backoff, Shutdown, Supervisor};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long the other server may take for one message.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many sets go into one message: far below what a message holds.
const TOGETHER: usize = 100;
/// The pauses after failures.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const MOST_PAUSE: Duration = Duration::from_secs(60);
/// The class that means "the whole set" (RFC 2136, section 2.5.2).
const CLASS_ANY: u16 = 255;

/// A name and a type.
type SetKey = (Name, u16);
/// What a zone has: times and data of each set.
type Sets = BTreeMap<SetKey, BTreeSet<(u32, Data)>>;

/// What was pushed of a zone; its key is the zone's name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushedRecord {
    /// Names and types.
    pub sets: BTreeSet<(Name, u16)>,
}

impl Record for PushedRecord {
    const KIND: &'static str = "dns-pushed";
}

/// Follows each zone that is pushed until the shutdown.
pub(crate) fn start(inner: &Arc<Inner>, tasks: &Supervisor) {
    for zone in &inner.settings.zones {
        let Some(server) = zone.push_to else { continue };
        let key = inner
            .settings
            .tsig
            .iter()
            .find(|key| Some(&key.name) == zone.push_key.as_ref());
        let pusher = Pusher {
            inner: inner.clone(),
            origin: zone.origin.clone(),
            server,
            key: key.cloned(),
            there: Sets::new(),
        };
        drop(tasks.run(
            format!("dns push {} to {server}", zone.origin),
            |shutdown| pusher.follow(shutdown),
        ));
    }
}

struct Pusher {
    inner: Arc<Inner>,
    origin: Name,
    server: SocketAddr,
    key: Option<TsigKey>,
    /// What this run has pushed.
    there: Sets,
}

impl Pusher {
    async fn follow(mut self, shutdown: Shutdown) {
        let inner = self.inner.clone();
        let mut backoff = Backoff::new(FIRST_PAUSE, MOST_PAUSE);
        let mut told = None;
        loop {
            let serial = tokio::select! {
                serial = inner.published.next_serial(&self.origin, told) => serial,
                () = shutdown.asked() => return,
            };
            let pushed = tokio::select! {
                pushed = self.push() => pushed,
                () = shutdown.asked() => return,
            };
            match pushed {
                Ok(()) => {
                    told = serial;
                    backoff.reset();
                    if let Some(serial) = serial {
                        inner.pushed.send_modify(|all| {
                            all.insert(self.origin.clone(), serial);
                        });
                    }
                }
                Err(error) => {
                    tracing::warn!(zone = %self.origin, server = %self.server, cause = %error, "names are not pushed");
                    tokio::select! {
                        () = tokio::time::sleep(backoff.next_pause()) => {}
                        () = shutdown.asked() => return,
                    }
                }
            }
        }
    }

    /// Makes the other server's sets those of the zone.
    async fn push(&mut self) -> io::Result<()> {
        let wanted = self.wanted();
        let mut known = self.known().map_err(io::Error::other)?;
        let all: BTreeSet<SetKey> = known.sets.iter().chain(wanted.keys()).cloned().collect();
        let changed: Vec<SetKey> = all
            .iter()
            .filter(|key| match wanted.get(key) {
                Some(set) => self.there.get(key) != Some(set),
                None => true,
            })
            .cloned()
            .collect();
        if changed.is_empty() {
            return Ok(());
        }
        if all != known.sets {
            known.sets = all;
            self.remember(&known).await.map_err(io::Error::other)?;
        }
        for some in changed.chunks(TOGETHER) {
            let done = tokio::time::timeout(PATIENCE, self.send(some, &wanted)).await;
            done.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        }
        self.there = wanted;
        let sets = self.there.keys().cloned().collect();
        if known.sets != sets {
            self.remember(&PushedRecord { sets })
                .await
                .map_err(io::Error::other)?;
        }
        Ok(())
    }

    /// Returns what is served here, but what every zone has of its own.
    fn wanted(&self) -> Sets {
        let mut sets = Sets::new();
        let books = self.inner.books();
        for book in books
            .values()
            .filter(|book| book.zone.origin == self.origin)
        {
            for (source, record) in book.contents.all() {
                if *source != Source::Zone {
                    let key = (record.name.clone(), record.kind.0);
                    sets.entry(key)
                        .or_default()
                        .insert((record.ttl, record.data.clone()));
                }
            }
        }
        sets
    }

    fn known(&self) -> Result<PushedRecord, StoreError> {
        let kept = self
            .inner
            .store
            .get::<PushedRecord>(&self.origin.to_string())?;
        Ok(kept.map(|kept| kept.value).unwrap_or_default())
    }

    async fn remember(&self, record: &PushedRecord) -> Result<(), StoreError> {
        self.inner
            .store
            .put(&self.origin.to_string(), record)
            .await?;
        Ok(())
    }

    /// Sends one update and hears what comes of it.
    async fn send(&self, sets: &[SetKey], wanted: &Sets) -> io::Result<()> {
        let id = crate::random::u16();
        let mut message = self.message(id, sets, wanted);
        let mut session = self.key.clone().map(Session::fresh);
        if let Some(session) = &mut session {
            session.sign(&mut message);
        }
        let mut framed = Vec::with_capacity(message.len() + 2);
        frame(&message, &mut framed);
        let mut stream = TcpStream::connect(self.server).await?;
        stream.write_all(&framed).await?;
        let length = usize::from(stream.read_u16().await?);
        let mut answer = vec![0; length];
        stream.read_exact(&mut answer).await?;
        let header = Header::read(&answer).filter(|header| {
            header.id == id && header.is_response() && header.opcode() == opcode::UPDATE
        });
        let header = header.ok_or(io::ErrorKind::InvalidData)?;
        let vouched = session.map_or(Ok(()), |session| session.check_answer(&answer));
        match (header.rcode(), vouched) {
            (0, Ok(())) => Ok(()),
            // RFC 2136, section 2.2.
            (5, Ok(())) => Err(io::Error::other(
                "the update is refused: is the key allowed to change the zone?",
            )),
            (9, Ok(())) => Err(io::Error::other("the server has no such zone")),
            (code, Ok(())) => Err(io::Error::other(format!("the answer is code {code}"))),
            // Whoever stands between can say no, and nobody can tell: what is not vouched for changes nothing here and is tried again.
            (_, Err(fault)) => Err(io::Error::other(fault)),
        }
    }

    fn message(&self, id: u16, sets: &[SetKey], wanted: &Sets) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.clear(usize::from(u16::MAX) - crate::tsig::MOST_TSIG);
        writer.u16(id);
        writer.u16(u16::from(opcode::UPDATE) << 11);
        // One zone, no prerequisites; the count of changes is set below.
        writer.raw(&[0, 1, 0, 0, 0, 0, 0, 0]);
        writer.name(self.origin.wire());
        writer.u16(RrType::SOA.0);
        writer.u16(CLASS_IN);
        let mut count: u16 = 0;
        for (name, kind) in sets {
            // The whole set goes, and comes as it is now.
            writer.name(name.wire());
            writer.u16(*kind);
            writer.u16(CLASS_ANY);
            writer.u32(0);
            writer.u16(0);
            count += 1;
            for (ttl, data) in wanted.get(&(name.clone(), *kind)).into_iter().flatten() {
                if writer
                    .record(name.wire(), RrType(*kind), *ttl, data)
                    .is_ok()
                {
                    count += 1;
                }
            }
        }
        writer.set_u16(8, count);
        writer.octets().to_vec()
    }
}

impl Dns {
    /// Waits until the server to which the zone of `name` is pushed has what is served here now, `patience` at most; at once if the zone is not pushed.
    /// Returns whether it has.
    pub async fn pushed(&self, name: &Name, patience: Duration) -> bool {
        let zones = self
            .inner
            .settings
            .zones
            .iter()
            .filter(|zone| zone.push_to.is_some());
        let zone = zones
            .filter(|zone| name.is_within(&zone.origin))
            .max_by_key(|zone| zone.origin.count());
        let Some(zone) = zone else { return true };
        let Some(wanted) = self
            .inner
            .published
            .table()
            .exact(&zone.origin)
            .map(|zone| zone.serial)
        else {
            return true;
        };
        let mut pushed = self.inner.pushed.subscribe();
        // Serials go round (RFC 1982).
        let has = |all: &BTreeMap<Name, u32>| {
            all.get(&zone.origin)
                .is_some_and(|serial| serial.wrapping_sub(wanted) < 1 << 31)
        };
        tokio::time::timeout(patience, pushed.wait_for(has))
            .await
            .is_ok()
    }
}
