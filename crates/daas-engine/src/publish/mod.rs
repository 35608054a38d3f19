//! Answers at the addresses of stands on the host.
//!
//! Every stand has an address of its own on the host. Exactly its published ports answer there, by TCP and UDP; each
//! connection is copied both ways between the host's network and the stand's, into which the dialer reaches.
//!
//! Not here: which ports a stand publishes (`daas-plan`), host names and TLS (`daas-ingress`), the way out of a stand
//! (`egress`).

mod addresses;
pub(crate) mod copy;
mod error;
mod publisher;
mod route;
mod routed;
mod tcp;
mod udp;

pub use addresses::HostRange;
pub use error::PublishError;
pub use publisher::{Answering, Forward, Published, Publisher};
pub use routed::{RoutedAddresses, RoutedError};
