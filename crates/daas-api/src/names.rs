use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// A zone that the daemon answers for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct ZoneView {
    /// Its name, without a dot at the end.
    pub name: String,
    /// Its serial.
    pub serial: u32,
    /// How many records it has.
    pub records: usize,
    /// Whether stands are named in it.
    pub stands: bool,
    /// What the zone above must hold when this one is signed: the data of the DS record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ds: Option<String>,
    /// Servers that are told of each change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secondaries: Vec<String>,
}

/// All zones.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct ZoneList {
    /// Where names are answered on the host, `address:port`.
    pub listens: Vec<String>,
    /// The zones, in the order of names.
    pub items: Vec<ZoneView>,
}

/// A record of a zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RecordView {
    /// Its name, without a dot at the end.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// How long others may keep it, in seconds.
    pub ttl: u32,
    /// Its data, as zone files write it.
    pub data: String,
    /// Where it comes from: `zone`, `configuration`, `kept`, `challenge`, or its owner, `stand/shop-7`.
    pub source: String,
}

/// Records.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct RecordList {
    /// Them, in the order of names.
    pub items: Vec<RecordView>,
}

/// Which records are listed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct RecordsQuery {
    /// Only those of this zone.
    #[serde(default)]
    pub zone: Option<String>,
}

/// A record to be kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRecord {
    /// Its whole name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// How long others may keep it, in seconds; 300 if nothing is said.
    #[serde(default)]
    pub ttl: Option<u32>,
    /// Its data, as zone files write it; names in it are whole names.
    pub data: String,
}

/// Which kept records are forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct RecordQuery {
    /// The whole name.
    pub name: String,
    /// The type.
    #[serde(rename = "type")]
    pub kind: String,
    /// The data of one record; all of the type without.
    #[serde(default)]
    pub data: Option<String>,
}

/// What a key of a signed zone is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ZoneKeyState {
    /// It signs, and the zone above names it, or is to.
    Active,
    /// It is new and signs beside the active one, until everybody can know it.
    Publishing,
    /// It is new, and the zone above shall name it in place of the active one.
    Waiting,
    /// It goes, and signs beside the active one for those who remember that the zone above named it.
    Retiring,
}

impl ZoneKeyState {
    /// Returns the word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Publishing => "publishing",
            Self::Waiting => "waiting",
            Self::Retiring => "retiring",
        }
    }
}

/// A key of a signed zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ZoneKeyView {
    /// The zone, without a dot at the end.
    pub zone: String,
    /// The number by which signatures name it.
    pub tag: u16,
    /// The number of its algorithm: 13 is ECDSA P-256 with SHA-256.
    pub algorithm: u8,
    /// What it is good for.
    pub state: ZoneKeyState,
    /// When that ends by itself, in milliseconds of the Unix clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
    /// Since when the zone above is waited for, in milliseconds of the Unix clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<u64>,
    /// The data of its DNSKEY record.
    pub dnskey: String,
    /// The data of the DS record that the zone above has while it names this key.
    pub ds: String,
}

/// Keys of signed zones.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct ZoneKeyList {
    /// Them, in the order of zones; the one that goes before the one that comes.
    pub items: Vec<ZoneKeyView>,
}

/// Which zone's key is to be rolled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyRoll {
    /// The zone.
    pub zone: String,
}

/// That the zone above names the new key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeySeen {
    /// The zone.
    pub zone: String,
    /// For how many seconds its former DS record may be remembered; a day if nothing is said.
    #[serde(default)]
    pub ttl: Option<u32>,
}
