//! Foreign names for those that are served: asked of other resolvers, remembered for their time, and never for strangers.
//!
//! Only forwarding: which servers of the world are asked is the business of the resolvers that are named (threat S22: no recursion of our own).

use crate::answer::{Answer, Transport};
use crate::data::{address, target};
use crate::embed::is_private;
use crate::foreign::{Foreign, ask};
use crate::journal::Row;
use crate::kind::{Rcode, RrType};
use crate::name::Name;
use crate::request::{Request, flag};
use crate::wire::Writer;
use daas_model::Subnet;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The longest time that an answer is remembered, in seconds.
const MOST_KEPT: u32 = 86_400;
/// The longest time that an absence is remembered, in seconds.
const MOST_ABSENT: u32 = 300;
/// Seconds that a failure is remembered (RFC 9520 section 3.2: at least one).
const FAILED: u32 = 2;
/// The most answers that are remembered.
const MOST_ANSWERS: usize = 20_000;
/// The most records of one answer.
const MOST_RECORDS: usize = 500;

/// Who is served, and by whom.
#[derive(Debug, Clone, Default)]
pub struct ForwardSettings {
    /// The resolvers that are asked, the first one first.
    pub upstreams: Vec<SocketAddr>,
    /// Zones whose answers may name private addresses.
    pub private: Vec<Name>,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Asked {
    name: Name,
    kind: RrType,
    dnssec: bool,
    checking_disabled: bool,
}

/// What came, until when it holds.
#[derive(Debug, Clone)]
struct Kept {
    answer: Arc<Foreign>,
    since: Instant,
    /// Seconds.
    holds: u32,
}

/// Asks others, and remembers.
#[derive(Debug)]
pub(crate) struct Forwarder {
    settings: ForwardSettings,
    kept: Mutex<HashMap<Asked, Kept>>,
    /// One asker for each question at a time; the rest waits for its answer.
    turns: Mutex<HashMap<Asked, Arc<tokio::sync::Mutex<()>>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tells whether an asker is served: this machine, and the networks that are named.
pub(crate) fn is_served(ip: IpAddr, clients: &[Subnet]) -> bool {
    ip.is_loopback() || clients.iter().any(|block| block.contains(ip))
}

impl Forwarder {
    pub(crate) fn new(settings: ForwardSettings) -> Self {
        Self {
            settings,
            kept: Mutex::default(),
            turns: Mutex::default(),
        }
    }

    /// Answers a question of somebody who is served.
    pub(crate) async fn answer(
        &self,
        request: &Request<'_>,
        transport: Transport,
        writer: &mut Writer,
    ) {
        let asked = Asked {
            name: Name::from_checked_wire(request.question.wire()),
            kind: request.question.kind,
            dnssec: request.edns.is_some_and(|edns| edns.dnssec),
            checking_disabled: request.header.flags & flag::CD != 0,
        };
        let kept = match own(&asked) {
            Some(answer) => Kept {
                answer: Arc::new(answer),
                since: Instant::now(),
                holds: MOST_ABSENT,
            },
            None => self.find(asked).await,
        };
        let age = u32::try_from(kept.since.elapsed().as_secs()).unwrap_or(u32::MAX);
        let mut answer = Answer::begin(request, transport, 0, writer);
        answer.flags |= flag::RA;
        answer.rcode = kept.answer.rcode;
        answer.put_foreign(&kept.answer.answers, &kept.answer.authority, age);
        answer.finish();
    }

    async fn find(&self, asked: Asked) -> Kept {
        if let Some(kept) = self.remembered(&asked) {
            return kept;
        }
        let turn = lock(&self.turns).entry(asked.clone()).or_default().clone();
        let held = turn.lock().await;
        // Somebody may have asked meanwhile.
        let kept = match self.remembered(&asked) {
            Some(kept) => kept,
            None => self.fetch(&asked).await,
        };
        drop(held);
        let mut turns = lock(&self.turns);
        // This one and the table's.
        if Arc::strong_count(&turn) <= 2 {
            turns.remove(&asked);
        }
        kept
    }

    fn remembered(&self, asked: &Asked) -> Option<Kept> {
        let kept = lock(&self.kept).get(asked)?.clone();
        (kept.since.elapsed() < Duration::from_secs(u64::from(kept.holds))).then_some(kept)
    }

    async fn fetch(&self, asked: &Asked) -> Kept {
        let question = crate::foreign::Question {
            name: &asked.name,
            kind: asked.kind,
            dnssec: asked.dnssec,
            checking_disabled: asked.checking_disabled,
        };
        let answer = match ask(&self.settings.upstreams, &question).await {
            Some(mut answer) => {
                self.judge(asked, &mut answer);
                answer
            }
            None => Foreign::failed(),
        };
        let kept = Kept {
            holds: holds(&answer),
            answer: Arc::new(answer),
            since: Instant::now(),
        };
        if kept.holds > 0 {
            self.remember(asked.clone(), kept.clone());
        }
        kept
    }

    /// Leaves out what does not belong to the question, and addresses that a foreign name may not lead to.
    fn judge(&self, asked: &Asked, answer: &mut Foreign) {
        let mut names = vec![asked.name.clone()];
        // Aliases in the order of the answer, whatever order that is: as many rounds as there may be links.
        for _ in 0..answer.answers.len() {
            let before = names.len();
            for row in answer
                .answers
                .iter()
                .filter(|row| row.kind == RrType::CNAME)
            {
                let next = target(&row.data);
                if names.contains(&row.name) && !names.contains(&next) {
                    names.push(next);
                }
            }
            if names.len() == before {
                break;
            }
        }
        let may = |name: &Name| {
            self.settings
                .private
                .iter()
                .any(|zone| name.is_within(zone))
        };
        let trusted = may(&asked.name);
        let mut dropped = 0;
        answer.answers.retain(|row| {
            let rebinds = !trusted && leads_inside(row);
            dropped += usize::from(rebinds);
            // DNAME records stand above the names that they make.
            let belongs =
                names.contains(&row.name) || row.kind == RrType::DNAME || row.kind == RrType::RRSIG;
            belongs && !rebinds
        });
        if dropped > 0 {
            tracing::info!(name = %asked.name, dropped, "a foreign name leads to private addresses; they are left out");
        }
        answer.answers.truncate(MOST_RECORDS);
        answer
            .authority
            .retain(|row| asked.name.is_within(&row.name) || asked.dnssec);
        answer.authority.truncate(MOST_RECORDS);
    }

    fn remember(&self, asked: Asked, kept: Kept) {
        let mut all = lock(&self.kept);
        if all.len() >= MOST_ANSWERS {
            all.retain(|_, kept| kept.since.elapsed() < Duration::from_secs(u64::from(kept.holds)));
            if all.len() >= MOST_ANSWERS {
                // Which ones go is chance: a map has no order that an asker could foresee.
                let mut keep = false;
                all.retain(|_, _| {
                    keep = !keep;
                    keep
                });
            }
        }
        all.insert(asked, kept);
    }
}

/// Answers names that must not be asked for elsewhere (RFC 6761 sections 6.3 and 6.4, RFC 7686).
fn own(asked: &Asked) -> Option<Foreign> {
    let top = asked.name.labels().last()?;
    let mut answer = Foreign::default();
    match top {
        b"localhost" => {
            let ips = [
                IpAddr::V4(Ipv4Addr::LOCALHOST),
                IpAddr::V6(Ipv6Addr::LOCALHOST),
            ];
            for (kind, data) in ips.map(address) {
                if kind == asked.kind {
                    answer.answers.push(Row {
                        name: asked.name.clone(),
                        kind,
                        ttl: MOST_ABSENT,
                        data,
                    });
                }
            }
        }
        b"invalid" | b"onion" | b"local" | b"test" => answer.rcode = Rcode::NX_DOMAIN,
        _ => return None,
    }
    Some(answer)
}

fn leads_inside(row: &Row) -> bool {
    let ip = match row.kind {
        RrType::A => row
            .data
            .first_chunk::<4>()
            .map(|octets| IpAddr::from(*octets)),
        RrType::AAAA => row
            .data
            .first_chunk::<16>()
            .map(|octets| IpAddr::from(*octets)),
        _ => None,
    };
    ip.is_some_and(is_private)
}

/// Returns how many seconds an answer is remembered.
fn holds(answer: &Foreign) -> u32 {
    match answer.rcode {
        Rcode::NO_ERROR if !answer.answers.is_empty() => answer
            .answers
            .iter()
            .map(|row| row.ttl)
            .min()
            .unwrap_or(0)
            .min(MOST_KEPT),
        Rcode::NO_ERROR | Rcode::NX_DOMAIN => {
            let soa = answer.authority.iter().find(|row| row.kind == RrType::SOA);
            let minimum = soa.and_then(|row| {
                row.data
                    .last_chunk::<4>()
                    .map(|octets| u32::from_be_bytes(*octets).min(row.ttl))
            });
            // Without one nothing says how long it holds (RFC 2308 section 5).
            minimum.unwrap_or(0).min(MOST_ABSENT)
        }
        _ => FAILED,
    }
}
