use crate::contents::Resource;
use crate::forward::ForwardSettings;
use crate::name::Name;
use crate::roll::RollSettings;
use crate::tsig::TsigKey;
use daas_model::Subnet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// How long others may keep what follows stands, in seconds: short, because a stand's end shall be seen.
pub const STAND_TTL: u32 = 5;
/// How long others may keep that a name is not there, in seconds (RFC 2308): a new stand's name must not hide behind an old answer.
const NEGATIVE_TTL: u32 = 1;
/// How long others may keep what people write, in seconds, if they say nothing else.
pub const USUAL_TTL: u32 = 300;

/// What the house tells the room.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The folder of keys; made with mode 0700 when the first is needed.
    pub keys: PathBuf,
    /// The zones.
    pub zones: Vec<ZoneSettings>,
    /// How many equal answers a second one network gets over UDP; no limit if 0 (RRL).
    pub limit: u32,
    /// Networks that are served: without a limit, and with foreign names.
    pub clients: Vec<Subnet>,
    /// Who is asked for foreign names, for this machine and `clients`; nobody if there is none.
    pub forward: Option<ForwardSettings>,
    /// Keys that peers share with us.
    pub tsig: Vec<TsigKey>,
    /// How rolls of keys are timed.
    pub rolls: RollSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            keys: PathBuf::from("/var/lib/daas/dns"),
            zones: Vec::new(),
            limit: 100,
            clients: Vec::new(),
            forward: None,
            tsig: Vec::new(),
            rolls: RollSettings::default(),
        }
    }
}

/// One zone.
#[derive(Debug, Clone)]
pub struct ZoneSettings {
    /// Its name.
    pub origin: Name,
    /// The names of its servers; `ns.<zone>` if none is told.
    pub servers: Vec<Name>,
    /// The addresses of a server whose name lies in the zone and has no records.
    pub addresses: Vec<IpAddr>,
    /// The mailbox of who is responsible, its `@` a dot; `hostmaster.<zone>` if none is told.
    pub mailbox: Option<Name>,
    /// Whether names may bear addresses (`x.192-168-1-10.<zone>`), and which besides private ones.
    pub embedded: Option<Vec<Subnet>>,
    /// Records of the configuration.
    pub records: Vec<Resource>,
    /// Seconds that others may keep the zone's own records: SOA, NS, keys.
    pub own_ttl: u32,
    /// Seconds that others may keep a negative answer.
    pub negative_ttl: u32,
    /// Whether the zone is signed (DNSSEC).
    pub signed: bool,
    /// Secondaries that are told of each new serial.
    pub secondaries: Vec<SocketAddr>,
    /// Keys that transfers are allowed to.
    pub transfer_keys: Vec<Name>,
    /// Blocks of addresses that transfers are allowed to without a key.
    pub transfer_to: Vec<Subnet>,
    /// Keys that updates are allowed to.
    pub update_keys: Vec<Name>,
    /// Another server to which what the zone has is pushed by updates.
    pub push_to: Option<SocketAddr>,
    /// The key by which those updates are signed.
    pub push_key: Option<Name>,
}

impl ZoneSettings {
    /// Makes a zone of nothing but what every zone has.
    #[must_use]
    pub fn new(origin: Name) -> Self {
        Self {
            origin,
            servers: Vec::new(),
            addresses: Vec::new(),
            mailbox: None,
            embedded: None,
            records: Vec::new(),
            own_ttl: USUAL_TTL,
            negative_ttl: NEGATIVE_TTL,
            signed: false,
            secondaries: Vec::new(),
            transfer_keys: Vec::new(),
            transfer_to: Vec::new(),
            update_keys: Vec::new(),
            push_to: None,
            push_key: None,
        }
    }
}
