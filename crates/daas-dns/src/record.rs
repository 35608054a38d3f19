//! What the room remembers.

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
