//! Names: an authoritative name server whose zones follow the stands.
//!
//! A zone is made of records of several [`Source`]s - the configuration, what people keep, stands, challenges - joined into one immutable value that every
//! socket reads without a lock. A change makes the next serial and is answered when the call returns.
//!
//! For certificates: [`Dns::set_txt`] answers a DNS-01 challenge until its guard is dropped; [`Dns::serves`] tells whether a name is ours to answer for.
//!
//! ```no_run
//! # fn main() -> Result<(), daas_dns::DnsError> {
//! # let dns: daas_dns::Dns = unimplemented!();
//! let guard = dns.set_txt("_acme-challenge.dev.example.com", &["digest".into()])?;
//! // ... the authority looks ...
//! drop(guard);
//! # Ok(()) }
//! ```
//!
//! The wire format is our own ([decision 21](../../../docs/decisions/0021-own-dns-wire-format.md)).
//!
//! Not here: names inside of a stand (`daas-keeper`, decision 3), which names a stand has (`daas-control`), certificates (`daas-certs`).

#![expect(
    dead_code,
    reason = "updates and transfers use the rest; they come next"
)]

mod answer;
pub mod ask;
mod book;
mod contents;
pub mod data;
mod desk;
mod dns;
mod embed;
mod error;
mod foreign;
mod forward;
mod journal;
mod kept;
mod keyring;
mod kind;
mod late;
mod limit;
mod line;
mod listen;
mod name;
mod notify;
mod pointers;
mod punycode;
mod push;
mod random;
mod record;
mod request;
mod reverse;
mod roll;
mod rolling;
mod settings;
mod sign;
mod transfer;
mod tsig;
mod update;
mod view;
mod wire;
mod zone;

pub use contents::{Resource, Source};
pub use dns::{Dns, TxtGuard, ZoneState};
pub use error::DnsError;
pub use forward::ForwardSettings;
pub use kind::RrType;
pub use line::{LineError, MOST_TTL};
pub use listen::Bound;
pub use name::{Name, NameError};
pub use push::PushedRecord;
pub use record::{KeptRecord, SerialRecord};
pub use reverse::{reverse_name, reverse_zones};
pub use roll::{KeyRollRecord, RollSettings, Stage, USUAL_DS_TTL};
pub use rolling::{KeyState, KeyUse};
pub use settings::{STAND_TTL, Settings, USUAL_TTL, ZoneSettings};
pub use tsig::TsigKey;
pub use view::Asked;
