use crate::data::DataError;
use crate::kind::RrType;
use crate::name::{Name, NameError};
use daas_model::{Explain, Kind};
use daas_store::StoreError;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why names are not as asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DnsError {
    /// A text is no name.
    #[error("cannot use the name")]
    Name(#[from] NameError),
    /// A text is no data of its type.
    #[error("cannot use the record's data")]
    Data(#[from] DataError),
    /// A text is no type of records.
    #[error("cannot use `{}` as a type of records", .text.escape_debug())]
    Type {
        /// The text.
        text: String,
    },
    /// A name lies in no zone that is served.
    #[error("cannot put records under `{name}`: it lies in no zone that is served here")]
    NoZone {
        /// The name.
        name: Name,
    },
    /// There is no such zone.
    #[error("cannot find the zone `{zone}`")]
    UnknownZone {
        /// The zone.
        zone: Name,
    },
    /// There is no such record.
    #[error("cannot find a record {kind} of `{name}`")]
    NoRecord {
        /// The name.
        name: Name,
        /// The type.
        kind: RrType,
    },
    /// An alias cannot stand beside other records.
    #[error("cannot put {kind} under `{name}`: an alias (CNAME) stands alone under its name")]
    Alias {
        /// The name.
        name: Name,
        /// The type that was to be put.
        kind: RrType,
    },
    /// A DNAME is one under its name, and nothing lies below it (RFC 6672 section 2.4).
    #[error(
        "cannot put {kind} under `{name}` beside what is under `{other}`: a DNAME leads all names below its own to one other tree"
    )]
    Tree {
        /// The name.
        name: Name,
        /// The type that was to be put.
        kind: RrType,
        /// Where the DNAME is, or what lies below it.
        other: Name,
    },
    /// A record that only the platform itself makes.
    #[error("cannot put {kind} under `{name}`: the platform itself makes such records")]
    Own {
        /// The name.
        name: Name,
        /// The type.
        kind: RrType,
    },
    /// A zone that is not signed has no keys.
    #[error("cannot find keys of the zone `{zone}`: it is not signed")]
    Unsigned {
        /// The zone.
        zone: Name,
    },
    /// One roll at a time.
    #[error("cannot roll the key of `{zone}`: it is being rolled")]
    Rolling {
        /// The zone.
        zone: Name,
    },
    /// No roll waits for the zone above.
    #[error("cannot go on with a key of `{zone}`: no roll of it waits for the zone above")]
    NotWaiting {
        /// The zone.
        zone: Name,
    },
    /// The daemon ends.
    #[error("cannot sign the zone: the daemon ends")]
    Ended,
    /// A zone that makes no sense.
    #[error("cannot serve the zone `{zone}`: {why}")]
    BadZone {
        /// The zone.
        zone: Name,
        /// What is wrong.
        why: String,
    },
    /// A zone has more records than anybody writes by hand.
    #[error("cannot keep more records under `{name}`")]
    Full {
        /// The name.
        name: Name,
    },
    /// An address cannot be listened at.
    #[error("cannot answer DNS at {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A key cannot be read or kept.
    #[error("cannot {action} the key {}", path.display())]
    Key {
        /// What was attempted.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The records refused.
    #[error("cannot use the records")]
    Records(#[from] StoreError),
}

impl Explain for DnsError {
    fn code(&self) -> &'static str {
        match self {
            Self::Name(_) => "dns-name",
            Self::Data(_) => "dns-data",
            Self::Type { .. } => "dns-type",
            Self::NoZone { .. } => "dns-no-zone",
            Self::UnknownZone { .. } => "dns-unknown-zone",
            Self::NoRecord { .. } => "dns-no-record",
            Self::Alias { .. } => "dns-alias",
            Self::Tree { .. } => "dns-tree",
            Self::Own { .. } => "dns-own",
            Self::Unsigned { .. } => "dns-unsigned",
            Self::Rolling { .. } => "dns-key-rolling",
            Self::NotWaiting { .. } => "dns-key-not-waiting",
            Self::Ended => "dns-ended",
            Self::BadZone { .. } => "dns-bad-zone",
            Self::Full { .. } => "dns-full",
            Self::Listen { .. } => "dns-listen",
            Self::Key { .. } => "dns-key",
            Self::Records(error) => error.code(),
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Name(_) | Self::Data(_) | Self::Type { .. } | Self::BadZone { .. } => Kind::Input,
            Self::NoZone { .. } | Self::UnknownZone { .. } | Self::NoRecord { .. } => {
                Kind::NotFound
            }
            Self::Alias { .. }
            | Self::Tree { .. }
            | Self::Own { .. }
            | Self::Full { .. }
            | Self::Unsigned { .. }
            | Self::Rolling { .. }
            | Self::NotWaiting { .. } => Kind::Conflict,
            Self::Listen { .. } | Self::Key { .. } | Self::Ended => Kind::Outside,
            Self::Records(error) => error.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NoZone { .. } | Self::UnknownZone { .. } => Some("`daas dns zones` lists the zones; more are named by `dns.zones` in /etc/daas/daas.yaml".into()),
            Self::Unsigned { zone } => Some(format!("`sign: true` below `dns.zones.{}` signs it", zone.bare())),
            Self::Rolling { .. } | Self::NotWaiting { .. } => Some("`daas dns keys` tells how far it is, and what it waits for".into()),
            Self::Type { .. } => Some("for example A, AAAA, CNAME, TXT, MX, SRV, CAA, or TYPE65280 with data in the form of RFC 3597".into()),
            Self::Alias { name, .. } | Self::Tree { other: name, .. } => Some(format!("`daas dns records` shows what `{name}` has, and from where; remove that first, or choose another name")),
            Self::Listen { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
                Some("another name server has the port (`ss -lunp 'sport = :53'` shows it); set `dns.listen` to another address or port".into())
            }
            Self::Listen { source, .. } if source.kind() == io::ErrorKind::AddrNotAvailable => {
                Some("the address is not of this machine; `ip address` shows those that are".into())
            }
            Self::Name(error) => error.hint(),
            Self::Records(error) => error.hint(),
            _ => None,
        }
    }
}
