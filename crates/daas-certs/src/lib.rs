//! Certificates of the platform: a private authority for names that nobody outside knows, ACME for those of the world, given files, and
//! what renews them in time.
//!
//! Not here: sockets and handshakes (`daas-ingress`, `daas-server`), names in the DNS (`daas-dns`); their parts in challenges are traits of
//! this room that the house fulfils.

mod acme;
mod answers;
mod authority;
mod budget;
mod clients;
mod clock;
mod dns_message;
mod given;
mod name;
mod notice;
mod own;
mod pair;
mod record;
mod renewal;
mod room;
mod room_error;
mod seal;
mod served;
mod view;

pub use acme::{AcmeSettings, Binding, IssueError};
pub use answers::{DnsAnswers, HttpAnswers};
pub use authority::{Authority, AuthorityError, CLIENT, RootView, SERVER};
pub use budget::{Budget, What, pause};
pub use clients::ClientVerifier;
pub use clock::{Clock, DrivenClock, SystemClock};
pub use given::{GivenError, GivenFiles};
pub use name::{CertName, CertNameError};
pub use own::{OwnNames, Served, ServesAll};
pub use pair::{Facts, Pair, PairError};
pub use record::{
    CertificateRecord, ChallengeKind, ClientRecord, FaultRecord, Issued, LedgerRecord, OrderRecord,
};
pub use renewal::{Window, alarm, due_ms};
pub use room::{Certificates, ClientMade, Order, Settings};
pub use room_error::CertificatesError;
pub use seal::{CREDENTIAL, MASTER_KEY, SealError, Vault};
pub use served::{ACME_TLS, Resolver};
pub use view::{CertificateView, Condition, Source};
