//! Rolling keys: begins, goes on by itself, and is told by hand what nobody can see from here.

use crate::book::{Book, zone_above};
use crate::contents::key_of;
use crate::data;
use crate::dns::{Books, Dns, Inner};
use crate::error::DnsError;
use crate::keyring::KeyRing;
use crate::kind::RrType;
use crate::name::Name;
use crate::roll::{KeyRollRecord, Parent, Stage, Turn, USUAL_DS_TTL};
use crate::sign::{ALGORITHM, ZoneKey};
use daas_tasks::{Task, TaskError};
use std::sync::Arc;
use std::time::Duration;

/// What a key is good for at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyUse {
    /// It signs, and the zone above names it, or is to.
    Active,
    /// It signs beside the active one, until everybody can know it.
    Publishing {
        /// When that ends, milliseconds of the Unix clock.
        until_ms: u64,
    },
    /// Everybody can know it; the zone above shall name it in place of the active one.
    Waiting {
        /// Since when, milliseconds of the Unix clock.
        since_ms: u64,
    },
    /// It signs beside the active one for those who remember that the zone above named it.
    Retiring {
        /// When that ends and the key goes, milliseconds of the Unix clock.
        until_ms: u64,
    },
}

/// A key of a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyState {
    /// The zone.
    pub zone: Name,
    /// The number by which signatures name it (RFC 4034 appendix B).
    pub tag: u16,
    /// The number of its algorithm.
    pub algorithm: u8,
    /// What it is good for.
    pub usage: KeyUse,
    /// The data of its DNSKEY record.
    pub dnskey: String,
    /// The data of the DS record that belongs into the zone above while it is named there.
    pub ds: String,
}

impl Dns {
    /// Returns the keys of one signed zone or of all, the one that goes before the one that comes.
    ///
    /// # Errors
    /// [`DnsError::UnknownZone`] if there is no such zone; [`DnsError::Unsigned`] if it has no keys.
    pub fn keys(&self, zone: Option<&Name>) -> Result<Vec<KeyState>, DnsError> {
        let books = self.inner.books();
        if let Some(zone) = zone {
            keys_of(&books, zone)?;
        }
        let wanted = books
            .values()
            .filter(|book| zone.is_none_or(|zone| book.zone.origin == *zone));
        Ok(wanted.flat_map(states).collect())
    }

    /// Begins to roll the key of a zone: the new one is on disk, recorded, and signs when this returns.
    ///
    /// # Errors
    /// [`DnsError::UnknownZone`] or [`DnsError::Unsigned`] if there is no key to roll; [`DnsError::Rolling`] if one is being rolled;
    /// [`DnsError::Key`] or [`DnsError::Records`] if the disk refuses: then nothing has begun.
    pub async fn roll_key(&self, zone: &Name) -> Result<(), DnsError> {
        let _turn = self.inner.keeping.lock().await;
        let (inner, origin) = (self.inner.clone(), zone.clone());
        let made = self.inner.tasks.run_blocking("dns key", move || {
            let books = inner.books();
            let (book, keys) = keys_of(&books, &origin)?;
            if keys.next.is_some() {
                return Err(DnsError::Rolling { zone: origin });
            }
            let key = keys.make_next()?;
            let rolls = &inner.settings.rolls;
            let (now_ms, longest) = ((rolls.now_ms)(), book.longest_ttl());
            let record = KeyRollRecord::begin(&keys.current, &key, now_ms, longest, rolls.safety);
            Ok((key, record))
        });
        let (key, record) = made.await.map_err(|_| DnsError::Ended)??;
        self.inner.store.put(&zone.to_string(), &record).await?;
        tracing::info!(%zone, old = record.old_tag, new = record.new_tag, "a key begins to roll");
        self.inner
            .with_keys(zone, move |book| {
                if let Some(keys) = &mut book.keys {
                    keys.next = Some((key, record));
                }
                book.frame_anew()?;
                book.sign_anew();
                Ok(())
            })
            .await?;
        self.inner.rolls.call();
        Ok(())
    }

    /// Tells that the zone above names the new key, and for how many seconds its former answer may be remembered; a day if nobody knows.
    ///
    /// # Errors
    /// [`DnsError::NotWaiting`] if no roll waits for that; others as of [`Dns::roll_key`].
    pub async fn key_seen(&self, zone: &Name, ttl: Option<u32>) -> Result<(), DnsError> {
        let _turn = self.inner.keeping.lock().await;
        self.inner
            .named_above(zone, ttl.unwrap_or(USUAL_DS_TTL))
            .await?;
        self.inner.rolls.call();
        Ok(())
    }
}

/// Returns a zone that is signed, with its keys.
fn keys_of<'b>(books: &'b Books, zone: &Name) -> Result<(&'b Book, &'b KeyRing), DnsError> {
    let book = books
        .get(&key_of(zone))
        .ok_or_else(|| DnsError::UnknownZone { zone: zone.clone() })?;
    match &book.keys {
        Some(keys) => Ok((book, keys)),
        None => Err(DnsError::Unsigned { zone: zone.clone() }),
    }
}

fn states(book: &Book) -> Vec<KeyState> {
    let Some(keys) = &book.keys else {
        return Vec::new();
    };
    let state = |key: &ZoneKey, usage| KeyState {
        zone: book.zone.origin.clone(),
        tag: key.tag(),
        algorithm: ALGORITHM,
        usage,
        dnskey: data::show(RrType::DNSKEY, key.dnskey()),
        ds: data::show(RrType::DS, &key.ds()),
    };
    let Some((next, roll)) = &keys.next else {
        return vec![state(&keys.current, KeyUse::Active)];
    };
    let (of_old, of_new) = match roll.stage {
        Stage::Publishing { until_ms } => (KeyUse::Active, KeyUse::Publishing { until_ms }),
        Stage::Parent { since_ms } => (KeyUse::Active, KeyUse::Waiting { since_ms }),
        Stage::Retiring { until_ms } => (KeyUse::Retiring { until_ms }, KeyUse::Active),
    };
    vec![state(&keys.current, of_old), state(next, of_new)]
}

impl Inner {
    /// Changes the keys of a zone on the blocking pool - every signature is made there - and publishes what came of it.
    async fn with_keys(
        self: &Arc<Self>,
        zone: &Name,
        change: impl FnOnce(&mut Book) -> Result<(), DnsError> + Send + 'static,
    ) -> Result<(), DnsError> {
        let (inner, key) = (self.clone(), key_of(zone));
        let work = self.tasks.run_blocking("dns signing", move || {
            let mut done = Ok(());
            inner.change(|books| {
                if let Some(book) = books.get_mut(&key) {
                    done = change(book);
                }
            });
            done
        });
        work.await.map_err(|_| DnsError::Ended)?
    }

    fn roll_of(&self, zone: &Name) -> Option<KeyRollRecord> {
        let books = self.books();
        let keys = books.get(&key_of(zone))?.keys.as_ref()?;
        keys.next.as_ref().map(|(_, roll)| roll.clone())
    }

    /// Records a stage, then shows it. The caller holds `keeping`.
    async fn enter(self: &Arc<Self>, zone: &Name, stage: Stage) -> Result<(), DnsError> {
        let Some(mut record) = self.roll_of(zone) else {
            return Ok(());
        };
        record.stage = stage;
        self.store.put(&zone.to_string(), &record).await?;
        tracing::info!(%zone, ?stage, "the roll of the key goes on");
        self.with_keys(zone, move |book| {
            if let Some((_, roll)) = book.keys.as_mut().and_then(|keys| keys.next.as_mut()) {
                roll.stage = stage;
            }
            book.frame_anew()
        })
        .await
    }

    async fn named_above(self: &Arc<Self>, zone: &Name, ttl: u32) -> Result<(), DnsError> {
        keys_of(&self.books(), zone)?;
        let rolls = &self.settings.rolls;
        let stage = self
            .roll_of(zone)
            .and_then(|roll| roll.seen((rolls.now_ms)(), ttl, rolls.safety));
        match stage {
            Some(stage) => self.enter(zone, stage).await,
            None => Err(DnsError::NotWaiting { zone: zone.clone() }),
        }
    }

    /// Lets the old key go: its file first, so that a crash finds the new key alone and the record without meaning.
    async fn finish(self: &Arc<Self>, zone: &Name) -> Result<(), DnsError> {
        self.with_keys(zone, |book| {
            if let Some(keys) = &mut book.keys {
                keys.replace()?;
            }
            book.frame_anew()?;
            book.sign_anew();
            Ok(())
        })
        .await?;
        self.store
            .delete::<KeyRollRecord>(&zone.to_string())
            .await?;
        tracing::info!(%zone, "the key is rolled; the old one is gone");
        Ok(())
    }

    /// Returns what the zone above says: where it is served here, out of its records, else through the resolvers.
    async fn parent_of(&self, zone: &Name) -> Option<Parent> {
        {
            let books = self.books();
            let key = key_of(zone);
            let above = zone_above(&books, &key);
            if let Some(book) = above.and_then(|above| books.get(above)) {
                let mut parent = Parent::default();
                for (_, record) in book.contents.of_name(zone) {
                    if record.kind == RrType::DS {
                        parent.ds.push(record.data.clone());
                        parent.ttl = Some(parent.ttl.unwrap_or(0).max(record.ttl));
                    }
                }
                return Some(parent);
            }
        }
        let upstreams = &self.settings.forward.as_ref()?.upstreams;
        Parent::ask(upstreams, zone).await
    }

    /// Does what is due of one zone's roll.
    async fn go_on(self: &Arc<Self>, zone: &Name) -> Result<(), DnsError> {
        let Some(roll) = self.roll_of(zone) else {
            return Ok(());
        };
        let now_ms = (self.settings.rolls.now_ms)();
        match roll.turn(now_ms) {
            Turn::Next(stage) => {
                let _turn = self.keeping.lock().await;
                return self.enter(zone, stage).await;
            }
            Turn::Over => {
                let _turn = self.keeping.lock().await;
                return self.finish(zone).await;
            }
            Turn::Nothing if matches!(roll.stage, Stage::Parent { .. }) => {}
            Turn::Nothing => return Ok(()),
        }
        let Some(parent) = self.parent_of(zone).await else {
            return Ok(());
        };
        let named = {
            let books = self.books();
            let keys = books.get(&key_of(zone)).and_then(|book| book.keys.as_ref());
            let next = keys.and_then(|keys| keys.next.as_ref());
            next.is_some_and(|(key, _)| parent.names(key))
        };
        if named {
            let _turn = self.keeping.lock().await;
            return self
                .named_above(zone, parent.ttl.unwrap_or(USUAL_DS_TTL))
                .await;
        }
        Ok(())
    }
}

/// Lets rolls go on.
pub(crate) struct Rolls {
    pub(crate) inner: Arc<Inner>,
}

impl Rolls {
    /// Returns how long nothing is due.
    fn pause(&self) -> Duration {
        let rolls = &self.inner.settings.rolls;
        let now_ms = (rolls.now_ms)();
        let books = self.inner.books();
        let next = books
            .values()
            .filter_map(|book| book.keys.as_ref()?.next.as_ref())
            .map(|(_, roll)| match roll.until_ms() {
                Some(until) => Duration::from_millis(until.saturating_sub(now_ms)),
                None => rolls.look,
            })
            .min();
        // A clock that is set, or driven, is noticed at the next look.
        next.unwrap_or(rolls.look).min(rolls.look)
    }
}

impl Task for Rolls {
    async fn wait(&mut self) {
        self.inner.rolls.called_or(self.pause()).await;
    }

    async fn turn(&mut self) -> Result<(), TaskError> {
        let zones: Vec<Name> = {
            let books = self.inner.books();
            let rolling = books
                .values()
                .filter(|book| book.keys.as_ref().is_some_and(|keys| keys.next.is_some()));
            rolling.map(|book| book.zone.origin.clone()).collect()
        };
        for zone in zones {
            self.inner.go_on(&zone).await?;
        }
        Ok(())
    }
}
