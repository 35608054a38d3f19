use crate::book::{Book, zone_for, zone_of};
use crate::contents::{Resource, Source, key_of};
use crate::data;
use crate::error::DnsError;
use crate::forward::{Forwarder, is_served};
use crate::kind::RrType;
use crate::name::Name;
use crate::record::SerialRecord;
use crate::roll::KeyRollRecord;
use crate::rolling::Rolls;
use crate::settings::Settings;
use crate::zone::Table;
use daas_store::Store;
use daas_tasks::{Supervisor, Task, TaskError, Wake};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How many changes may happen unwritten: what a restart leaves free behind the serial that is on disk.
const SERIALS_AHEAD: u32 = 1000;
/// How long changes are gathered before the serials are written.
const SERIALS_PAUSE: Duration = Duration::from_secs(1);
/// How long changes are gathered before another server hears of them: a burst is one message.
const GATHER: Duration = Duration::from_millis(20);
/// How many messages over UDP are worked on at once; more are lost, as the network loses them, and come again.
const MOST_LATE: usize = 1024;
/// How often signatures are looked at; they hold for weeks.
const SIGNATURES: Duration = Duration::from_secs(3600);
/// Seconds that others may keep the answer to a challenge; the next one is another.
const CHALLENGE_TTL: u32 = 1;

/// Names: zones, who may change them, and who is answered. A clone is another handle of the same.
#[derive(Clone)]
pub struct Dns {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) settings: Settings,
    pub(crate) store: Store,
    pub(crate) tasks: Supervisor,
    books: Mutex<Books>,
    /// One change of what is kept at a time, from the look to the disk.
    pub(crate) keeping: tokio::sync::Mutex<()>,
    pub(crate) published: Published,
    pub(crate) forwarder: Option<Forwarder>,
    challenges: AtomicU64,
    /// Places for messages over UDP whose answer takes time.
    pub(crate) late: Arc<tokio::sync::Semaphore>,
    serials: Wake,
    /// Called when a roll of a key has begun or gone on.
    pub(crate) rolls: Wake,
    /// The serials that other servers have, where zones are pushed.
    pub(crate) pushed: tokio::sync::watch::Sender<BTreeMap<Name, u32>>,
}

pub(crate) type Books = BTreeMap<Arc<[u8]>, Book>;

impl fmt::Debug for Dns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dns")
            .field("zones", &self.origins())
            .finish_non_exhaustive()
    }
}

/// A zone as it is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneState {
    /// Its name.
    pub origin: Name,
    /// Its serial.
    pub serial: u32,
    /// How many records its sources have.
    pub records: usize,
    /// The data of the DS record that belongs into the zone above, if it is signed.
    pub ds: Option<String>,
    /// Who is told of changes.
    pub secondaries: Vec<std::net::SocketAddr>,
}

/// The table that is served; readers notice a new one without a lock.
#[derive(Debug, Default)]
pub(crate) struct Published {
    table: Mutex<Arc<Table>>,
    turn: AtomicU64,
    /// Tells that there is a new table.
    pub(crate) news: tokio::sync::Notify,
}

impl Published {
    fn put(&self, table: Table) {
        *self.table.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
        self.turn.fetch_add(1, Ordering::Release);
        self.news.notify_waiters();
    }

    /// Waits until a zone has another serial than `told`; returns it, or nothing where the zone is gone.
    pub(crate) async fn next_serial(&self, origin: &Name, told: Option<u32>) -> Option<u32> {
        loop {
            let news = self.news.notified();
            tokio::pin!(news);
            // Listening begins before the look, so that a change in between is heard.
            news.as_mut().enable();
            let serial = self.table().exact(origin).map(|zone| zone.serial);
            if serial != told {
                return serial;
            }
            news.await;
            tokio::time::sleep(GATHER).await;
        }
    }

    /// Returns the table of now.
    pub(crate) fn table(&self) -> Arc<Table> {
        self.table
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// A reader's own handle of the table.
#[derive(Debug)]
pub(crate) struct View {
    table: Arc<Table>,
    turn: u64,
}

impl View {
    pub(crate) fn new(published: &Published) -> Self {
        let turn = published.turn.load(Ordering::Acquire);
        Self {
            table: published.table(),
            turn,
        }
    }

    /// Returns the table of now.
    pub(crate) fn table(&mut self, published: &Published) -> &Arc<Table> {
        let turn = published.turn.load(Ordering::Acquire);
        if turn != self.turn {
            self.table = published.table();
            self.turn = turn;
        }
        &self.table
    }
}

impl Dns {
    /// Opens the zones. Nobody is answered before [`Dns::listen`].
    ///
    /// # Errors
    /// [`DnsError`] if a zone makes no sense, or its serial or its records cannot be read.
    pub fn open(settings: Settings, store: Store, tasks: Supervisor) -> Result<Self, DnsError> {
        let mut books = Books::new();
        for zone in &settings.zones {
            let key = key_of(&zone.origin);
            let last = store
                .get::<SerialRecord>(&zone.origin.to_string())?
                .map(|stored| stored.value.serial.wrapping_add(SERIALS_AHEAD));
            if books.contains_key(&key) {
                return Err(DnsError::BadZone {
                    zone: zone.origin.clone(),
                    why: "it is named twice".into(),
                });
            }
            let roll = store.get::<KeyRollRecord>(&zone.origin.to_string())?;
            let roll = roll.map(|stored| stored.value);
            books.insert(key, Book::open(zone.clone(), &settings.keys, last, roll)?);
        }
        crate::kept::load(&store, &mut books)?;
        let written: Vec<Name> = books
            .values()
            .flat_map(|book| book.contents.names().cloned())
            .collect();
        crate::pointers::follow(&mut books, &written);
        let forwarder = settings
            .forward
            .clone()
            .filter(|forward| !forward.upstreams.is_empty())
            .map(Forwarder::new);
        let inner = Inner {
            settings,
            store,
            tasks: tasks.clone(),
            books: Mutex::new(books),
            keeping: tokio::sync::Mutex::default(),
            published: Published::default(),
            forwarder,
            challenges: AtomicU64::new(1),
            late: Arc::new(tokio::sync::Semaphore::new(MOST_LATE)),
            serials: Wake::new(),
            rolls: Wake::new(),
            pushed: tokio::sync::watch::Sender::default(),
        };
        let dns = Self {
            inner: Arc::new(inner),
        };
        dns.inner.publish(&dns.inner.books());
        dns.inner.serials.call();
        crate::notify::start(&dns.inner, &tasks);
        crate::push::start(&dns.inner, &tasks);
        let inner = dns.inner.clone();
        tasks.start("dns serials", move || Serials {
            inner: inner.clone(),
        });
        let inner = dns.inner.clone();
        tasks.start("dns signatures", move || Signatures {
            inner: inner.clone(),
        });
        let inner = dns.inner.clone();
        dns.inner.rolls.call();
        tasks.start("dns keys", move || Rolls {
            inner: inner.clone(),
        });
        Ok(dns)
    }

    /// Returns the names of the zones.
    #[must_use]
    pub fn origins(&self) -> Vec<Name> {
        self.inner
            .books()
            .values()
            .map(|book| book.zone.origin.clone())
            .collect()
    }

    /// Returns the zones as they are served now.
    #[must_use]
    pub fn zones(&self) -> Vec<ZoneState> {
        let books = self.inner.books();
        let state = |book: &Book| ZoneState {
            origin: book.zone.origin.clone(),
            serial: book.zone.serial,
            records: book.contents.all().count(),
            ds: book
                .keys
                .as_ref()
                .map(|keys| data::show(RrType::DS, &keys.wanted().ds())),
            secondaries: book.settings.secondaries.clone(),
        };
        books.values().map(state).collect()
    }

    /// Returns the records of one zone or of all, with their sources.
    ///
    /// # Errors
    /// [`DnsError::UnknownZone`] if there is no such zone.
    pub fn records(&self, zone: Option<&Name>) -> Result<Vec<(Source, Resource)>, DnsError> {
        let books = self.inner.books();
        if let Some(zone) = zone
            && !books.contains_key(&key_of(zone))
        {
            return Err(DnsError::UnknownZone { zone: zone.clone() });
        }
        let wanted = books
            .values()
            .filter(|book| zone.is_none_or(|zone| book.zone.origin == *zone));
        let records = wanted.flat_map(|book| {
            let soa = book.zone.soa();
            book.contents.all().map(move |(source, record)| {
                let mut record = record.clone();
                // The contents do not know the serial.
                if let Some(soa) = soa.as_ref().filter(|_| record.kind == RrType::SOA) {
                    record.data = soa.data.clone();
                }
                (source.clone(), record)
            })
        });
        Ok(records.collect())
    }

    /// Puts all records of an owner - one stand, one host - in place of its former ones. They are answered when this returns.
    ///
    /// # Errors
    /// [`DnsError::NoZone`] if a name lies in no zone; [`DnsError::Own`] or [`DnsError::Alias`] if a record may not be put. Then nothing has changed.
    pub fn put(&self, owner: &str, records: Vec<Resource>) -> Result<(), DnsError> {
        self.inner
            .replace(&Source::Owner(owner.to_owned()), records)
    }

    /// Takes all records of an owner away; nothing there is no fault.
    pub fn withdraw(&self, owner: &str) {
        // No record, no fault.
        let _ = self
            .inner
            .replace(&Source::Owner(owner.to_owned()), Vec::new());
    }

    /// Returns the owners whose names begin with `prefix`.
    #[must_use]
    pub fn owners(&self, prefix: &str) -> BTreeSet<String> {
        let books = self.inner.books();
        let sources = books.values().flat_map(|book| book.contents.sources());
        sources
            .filter_map(|source| match source {
                Source::Owner(owner) if owner.starts_with(prefix) => Some(owner.clone()),
                _ => None,
            })
            .collect()
    }

    /// Answers `values` to questions for TXT records of `name` until the guard is dropped: what DNS-01 asks for (RFC 8555 section 8.4).
    ///
    /// Several guards of one name add up, as a name and its wildcard need. Answered when this returns.
    ///
    /// # Errors
    /// [`DnsError::Name`] if `name` is none; [`DnsError::NoZone`] if it lies in no zone that is served here.
    pub fn set_txt(&self, name: &str, values: &[String]) -> Result<TxtGuard, DnsError> {
        let name = Name::parse(name)?;
        let source = Source::Challenge(self.inner.challenges.fetch_add(1, Ordering::Relaxed));
        let records = values.iter().map(|value| Resource {
            name: name.clone(),
            kind: RrType::TXT,
            ttl: CHALLENGE_TTL,
            data: data::txt(value),
        });
        self.inner.replace(&source, records.collect())?;
        Ok(TxtGuard {
            inner: self.inner.clone(),
            source,
        })
    }

    /// Tells whether a name lies in a zone that is served here.
    #[must_use]
    pub fn serves(&self, name: &Name) -> bool {
        zone_of(&self.inner.books(), name).is_some()
    }
}

/// Keeps TXT records as long as it lives.
#[must_use = "the records go with the guard"]
pub struct TxtGuard {
    inner: Arc<Inner>,
    source: Source,
}

impl fmt::Debug for TxtGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TxtGuard")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl Drop for TxtGuard {
    fn drop(&mut self) {
        let _ = self.inner.replace(&self.source, Vec::new());
    }
}

impl Inner {
    /// Returns the one who asks for foreign names for this asker, if he is served.
    pub(crate) fn forwarder_for(&self, ip: std::net::IpAddr) -> Option<&Forwarder> {
        self.forwarder
            .as_ref()
            .filter(|_| is_served(ip, &self.settings.clients))
    }

    pub(crate) fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, books: &Books) {
        let zones = books
            .iter()
            .map(|(key, book)| (key.clone(), book.zone.clone()))
            .collect();
        self.published.put(Table { zones });
    }

    /// Changes books and publishes what came of it.
    pub(crate) fn change(&self, edit: impl FnOnce(&mut Books)) {
        let mut books = self.books();
        edit(&mut books);
        self.publish(&books);
        self.serials.call();
    }

    /// Puts a source's records in place of its former ones, in every zone.
    pub(crate) fn replace(&self, source: &Source, records: Vec<Resource>) -> Result<(), DnsError> {
        let mut books = self.books();
        let mut by_zone: BTreeMap<Arc<[u8]>, Vec<Resource>> = BTreeMap::new();
        for record in records {
            let zone = zone_for(&books, &record.name, record.kind).cloned();
            let Some((key, book)) = zone.and_then(|key| books.get(&key).map(|book| (key, book)))
            else {
                return Err(DnsError::NoZone { name: record.name });
            };
            book.check(&record)?;
            by_zone.entry(key).or_default().push(record);
        }
        let mut changed = false;
        for (key, book) in books.iter_mut() {
            let touched = book
                .contents
                .replace(source, by_zone.remove(key).unwrap_or_default());
            changed |= book.turn(&touched);
        }
        if changed {
            self.publish(&books);
            self.serials.call();
        }
        Ok(())
    }
}

/// Makes signatures anew before they end.
struct Signatures {
    inner: Arc<Inner>,
}

impl Task for Signatures {
    async fn wait(&mut self) {
        tokio::time::sleep(SIGNATURES).await;
    }

    async fn turn(&mut self) -> Result<(), TaskError> {
        let inner = self.inner.clone();
        let work = self.inner.tasks.run_blocking("dns signing", move || {
            let mut books = inner.books();
            if books
                .values_mut()
                .fold(false, |any, book| book.renew() | any)
            {
                inner.publish(&books);
                inner.serials.call();
            }
        });
        work.await?;
        Ok(())
    }
}

/// Writes down serials, so that none is given twice.
struct Serials {
    inner: Arc<Inner>,
}

impl Task for Serials {
    async fn wait(&mut self) {
        self.inner.serials.called().await;
    }

    async fn turn(&mut self) -> Result<(), TaskError> {
        tokio::time::sleep(SERIALS_PAUSE).await;
        let now: BTreeSet<(String, u32)> = self
            .inner
            .books()
            .values()
            .map(|book| (book.zone.origin.to_string(), book.zone.serial))
            .collect();
        for (zone, serial) in now {
            let last = self.inner.store.get::<SerialRecord>(&zone)?;
            if last.is_none_or(|stored| stored.value.serial != serial) {
                self.inner
                    .store
                    .put(&zone, &SerialRecord { serial })
                    .await?;
            }
        }
        Ok(())
    }
}
