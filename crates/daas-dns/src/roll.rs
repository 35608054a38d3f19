//! A roll of a zone's key: when which step may be taken.
//!
//! One key signs everything, so a roll is the double signature of RFC 6781 section 4.1.3: the new key signs beside the old one until no cache in the world needs the
//! old one any more. Whatever a validator remembers, its chain is closed ([decision 39](../../../docs/decisions/0039-keys-roll-by-double-signature.md)):
//!
//! | step | the zone | what must have passed |
//! |---|---|---|
//! | publishing | both keys, both sign | the longest time of a record of before: who remembers the old keys or signatures of the old key alone |
//! | parent | CDS and CDNSKEY name the new key | the parent has the new DS record |
//! | retiring | as before | the time of the old DS record |
//! | - | the new key alone | |

use crate::data::Data;
use crate::kind::RrType;
use crate::name::Name;
use crate::sign::ZoneKey;
use daas_store::Record;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds that every wait is longer than times to live say: secondaries that come late, clocks that are wrong. BIND's policies have an hour, too.
const SAFETY: u32 = 3600;
/// Seconds that an old DS record may be remembered where nobody tells its time: a day, as top-level domains have it.
pub const USUAL_DS_TTL: u32 = 86_400;
/// How often the parent is looked at while a roll waits for it.
const LOOK: Duration = Duration::from_secs(600);

/// How rolls of keys are timed.
#[derive(Clone)]
pub struct RollSettings {
    /// Returns milliseconds of the Unix clock; tests drive it.
    pub now_ms: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// Seconds that every wait is longer than times to live say.
    pub safety: u32,
    /// How often the parent is looked at while a roll waits for it.
    pub look: Duration,
}

impl fmt::Debug for RollSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RollSettings")
            .field("safety", &self.safety)
            .field("look", &self.look)
            .finish_non_exhaustive()
    }
}

impl Default for RollSettings {
    fn default() -> Self {
        Self {
            now_ms: Arc::new(|| {
                let since = SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .unwrap_or_default();
                u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
            }),
            safety: SAFETY,
            look: LOOK,
        }
    }
}

/// How far a roll has come. Times are milliseconds of the Unix clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Both keys sign; until then somebody may remember what the old one alone has signed.
    Publishing {
        /// When that ends.
        until_ms: u64,
    },
    /// The parent is asked for the DS record of the new key.
    Parent {
        /// Since when.
        since_ms: u64,
    },
    /// The parent has it; until then somebody may remember the old one.
    Retiring {
        /// When that ends.
        until_ms: u64,
    },
}

/// A roll under way; its key is the zone's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRollRecord {
    /// The tag of the key that goes.
    pub old_tag: u16,
    /// The tag of the key that comes.
    pub new_tag: u16,
    /// When it began, milliseconds of the Unix clock.
    pub begun_ms: u64,
    /// How far it has come.
    pub stage: Stage,
}

impl Record for KeyRollRecord {
    const KIND: &'static str = "dns-key-roll";
}

/// What time alone brings.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Nothing yet.
    Nothing,
    /// The next stage.
    Next(Stage),
    /// The old key may go.
    Over,
}

impl KeyRollRecord {
    /// Begins one; `longest` is the longest time to live of a record of the zone, in seconds.
    pub(crate) fn begin(
        old: &ZoneKey,
        new: &ZoneKey,
        now_ms: u64,
        longest: u32,
        safety: u32,
    ) -> Self {
        Self {
            old_tag: old.tag(),
            new_tag: new.tag(),
            begun_ms: now_ms,
            stage: Stage::Publishing {
                until_ms: after(now_ms, longest, safety),
            },
        }
    }

    /// Returns what is due at a moment.
    pub(crate) fn turn(&self, now_ms: u64) -> Turn {
        match self.stage {
            Stage::Publishing { until_ms } if until_ms <= now_ms => {
                Turn::Next(Stage::Parent { since_ms: now_ms })
            }
            Stage::Retiring { until_ms } if until_ms <= now_ms => Turn::Over,
            Stage::Publishing { .. } | Stage::Parent { .. } | Stage::Retiring { .. } => {
                Turn::Nothing
            }
        }
    }

    /// Returns the stage that follows when the parent has the new DS record; the old one may be remembered for `ttl` seconds.
    pub(crate) fn seen(&self, now_ms: u64, ttl: u32, safety: u32) -> Option<Stage> {
        match self.stage {
            Stage::Parent { .. } => Some(Stage::Retiring {
                until_ms: after(now_ms, ttl, safety),
            }),
            Stage::Publishing { .. } | Stage::Retiring { .. } => None,
        }
    }

    /// Returns when time alone brings something.
    pub(crate) fn until_ms(&self) -> Option<u64> {
        match self.stage {
            Stage::Publishing { until_ms } | Stage::Retiring { until_ms } => Some(until_ms),
            Stage::Parent { .. } => None,
        }
    }
}

fn after(now_ms: u64, ttl: u32, safety: u32) -> u64 {
    now_ms.saturating_add(1000 * (u64::from(ttl) + u64::from(safety)))
}

/// What the parent says of a zone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Parent {
    /// Data of its DS records.
    pub(crate) ds: Vec<Data>,
    /// Seconds that they may be remembered; nothing where only a remainder is known.
    pub(crate) ttl: Option<u32>,
}

impl Parent {
    /// Tells whether it names a key, by whichever digest.
    pub(crate) fn names(&self, key: &ZoneKey) -> bool {
        self.ds.iter().any(|data| key.is_named_by(data))
    }

    /// Asks resolvers for what the parent has; nothing if none answers.
    ///
    /// They say how long they themselves still remember it. The time that the parent gave stands in the signature over it (RFC 4034 section 3.1.4).
    pub(crate) async fn ask(upstreams: &[SocketAddr], zone: &Name) -> Option<Self> {
        let question = crate::foreign::Question {
            name: zone,
            kind: RrType::DS,
            dnssec: true,
            checking_disabled: false,
        };
        let answer = crate::foreign::ask(upstreams, &question).await?;
        let mut parent = Self::default();
        for row in answer.answers.iter().filter(|row| row.name == *zone) {
            if row.kind == RrType::DS {
                parent.ds.push(row.data.clone());
            } else if row.kind == RrType::RRSIG && row.data.starts_with(&RrType::DS.0.to_be_bytes())
            {
                let octets = row.data.get(4..8)?;
                let ttl = u32::from_be_bytes(octets.try_into().ok()?);
                parent.ttl = Some(parent.ttl.map_or(ttl, |other| other.max(ttl)));
            }
        }
        Some(parent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(stage: Stage) -> KeyRollRecord {
        KeyRollRecord {
            old_tag: 1,
            new_tag: 2,
            begun_ms: 0,
            stage,
        }
    }

    #[test]
    fn each_stage_lasts_as_long_as_somebody_may_remember_and_none_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let origin = Name::parse("example.test").unwrap();
        let key = |name: &str| ZoneKey::open(&dir.path().join(name), &origin).unwrap();
        let mut roll = KeyRollRecord::begin(&key("a"), &key("b"), 1_000_000, 300, 3600);
        let until = 1_000_000 + 3_900_000;
        assert_eq!(roll.until_ms(), Some(until));
        // The parent may say what it wants: not before everybody can know the new key.
        assert_eq!(roll.seen(until, 60, 0), None);
        assert_eq!(roll.turn(until - 1), Turn::Nothing);
        let Turn::Next(stage) = roll.turn(until) else {
            panic!("{roll:?}");
        };
        assert_eq!(stage, Stage::Parent { since_ms: until });
        roll.stage = stage;
        // However long it takes.
        assert_eq!(
            (roll.turn(u64::MAX), roll.until_ms()),
            (Turn::Nothing, None)
        );
        let stage = roll.seen(until, 86_400, 3600).unwrap();
        let end = until + 90_000_000;
        assert_eq!(stage, Stage::Retiring { until_ms: end });
        roll.stage = stage;
        assert_eq!(roll.seen(end, 1, 0), None);
        assert_eq!(
            (roll.turn(end - 1), roll.turn(end)),
            (Turn::Nothing, Turn::Over)
        );
    }

    #[test]
    fn records_of_rolls_are_read_as_they_were_written() {
        for stage in [
            Stage::Publishing { until_ms: 7 },
            Stage::Parent { since_ms: 8 },
            Stage::Retiring { until_ms: 9 },
        ] {
            let text = serde_json::to_string(&record(stage)).unwrap();
            assert_eq!(
                serde_json::from_str::<KeyRollRecord>(&text).unwrap(),
                record(stage)
            );
        }
    }

    #[test]
    fn a_parent_names_a_key_by_sha_256_or_sha_384_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let origin = Name::parse("example.test").unwrap();
        let key = ZoneKey::open(&dir.path().join("a"), &origin).unwrap();
        let other = ZoneKey::open(&dir.path().join("b"), &origin).unwrap();
        let names = |data: Data| {
            let parent = Parent {
                ds: vec![data],
                ttl: None,
            };
            (parent.names(&key), parent.names(&other))
        };
        assert_eq!(names(key.ds()), (true, false));
        assert_eq!(names(key.digest(4).unwrap()), (true, false));
        let mut wrong = key.ds();
        *wrong.last_mut().unwrap() ^= 1;
        assert_eq!(names(wrong), (false, false));
        assert_eq!(names(Data::from(&[0u8; 3][..])), (false, false));
    }
}
