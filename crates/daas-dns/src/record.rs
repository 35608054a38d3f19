//! What the room remembers.

use crate::name::Name;
use daas_store::Record;
use serde::{Deserialize, Serialize};

/// The serial of a zone; its key is the zone's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SerialRecord {
    /// The last one that was written down.
    pub serial: u32,
}

impl Record for SerialRecord {
    const KIND: &'static str = "dns-serial";
}

/// The records of one name and type that are kept in a zone; its key is `zone/name/type`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptRecord {
    /// The zone.
    pub zone: Name,
    /// The name.
    pub name: Name,
    /// The type, as text.
    pub kind: String,
    /// How long others may keep them, in seconds.
    pub ttl: u32,
    /// Their data, as text.
    pub data: Vec<String>,
}

impl Record for KeptRecord {
    const KIND: &'static str = "dns-record";
}
