//! Speaks to a daemon: typed calls, values that come one after the other, and connections into nodes.
//!
//! Each call is a connection of its own, driven by whoever waits for the answer: nothing is spawned, and what is
//! dropped is closed. Every failure is a [`daas_api::Failure`], whether the daemon said it or the way to it.
//!
//! Not here: what the types mean (`daas-api`), how they are shown (`daas-cli`).

mod address;
mod ban_calls;
mod calls;
mod certificate_calls;
mod client;
mod connect_error;
mod exchange;
mod name_calls;
mod registry_calls;
mod route_calls;
mod sse;
mod ssh_calls;
mod tls;

pub use address::{Address, DEFAULT_SOCKET};
pub use client::Client;
pub use connect_error::ConnectError;
pub use tls::{Tls, TlsError};
