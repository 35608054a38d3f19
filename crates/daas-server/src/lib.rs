//! The REST door: the API on a unix socket and, when configured, on TCP with tokens.
//!
//! A [`Server`] serves a [`daas_api::Platform`] at [`UnixDoor`]s and [`TcpDoor`]s. Every route is registered with the
//! [`Access`] that it needs; there is no way to register one without. Connections have timers for the first byte,
//! the head, the body and a reader that does not read (threat S19), and a cap. Errors are rendered in `render` only.
//!
//! Not here: what the requests do (`daas-control`), the types (`daas-api`), pages.

mod access;
mod bans;
mod certificates;
mod door;
mod extract;
mod flow;
mod groups;
mod idempotency;
mod images;
mod listen;
mod names;
mod open_door;
mod operations;
mod projects;
mod registry;
mod render;
mod request_id;
mod route_list;
mod routes;
mod server;
mod session;
mod slow;
mod ssh;
mod stands;
mod system;
mod token;

pub use access::{Access, Identity, Role};
pub use door::{DoorError, GROUP, KnownClients, TcpDoor, UnixDoor};
pub use listen::Guard;
pub use open_door::{Certificate, CertificateError, OpenDoor};
pub use server::Server;
pub use slow::Timers;
pub use token::{Token, TokenError, Tokens};
