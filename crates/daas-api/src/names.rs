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
