//! The way from outside to the nodes of stands: listeners, TLS, routes, and the requests on their way.
//!
//! [`Ingress`] takes connections at [`Listener`]s and sends every request where the table says, which [`Ingress::set`] changes stand by stand
//! and swaps at once. Sockets to nodes are made inside the stand's network by the engine's dialer: no port is mapped, and equal addresses
//! in two stands are two back ends.
//!
//! # Certificates
//! Whoever has certificates gives an `Arc<dyn rustls::server::ResolvesServerCert>` as [`Settings::certificates`]. It is asked with every
//! handshake, by SNI, and must not block; what it returns is shown as it is, so a renewed certificate needs no restart. The listeners offer
//! `h2`, `http/1.1` and `acme-tls/1`: a hello whose [`alpn`](rustls::server::ClientHello::alpn) is only `acme-tls/1` wants the certificate of a
//! TLS-ALPN-01 challenge (RFC 8737), and its connection is closed after the handshake. [`ChallengeAnswers`] answers HTTP-01, before any
//! route and before a redirect to TLS. [`Settings::is_secure`] tells for which hosts certificates are trusted: their plain requests
//! are sent to TLS.
//!
//! Not here: which routes there are (`daas-control`), what the project file says (`daas-spec`), names (`daas-dns`), certificates
//! (`daas-certs`), the API and its pages (`daas-server`).

mod access;
mod activity;
mod backend;
mod body;
mod compress;
mod cookies;
mod forwarded;
mod front;
mod gathering;
mod guard;
mod host;
mod ingress;
mod leaving;
mod limiter;
mod page;
mod pass;
mod passage;
mod proxy;
mod rules;
mod shelf;
mod standing;
mod strict;
mod table;
mod talk;
mod target;
mod tls;
mod upgrade;
mod visit;
mod wire;

pub use backend::Upstream;
pub use front::Listener;
pub use host::{host_of, is_name};
pub use hyper::header::{HeaderName, HeaderValue};
pub use ingress::{Ingress, IngressError, IsSecure, Settings, Visited};
pub use rules::Rules;
pub use standing::{Mood, Standing, Wait};
pub use table::{Route, StandRoutes, TakenHost};
pub use target::{TargetFault, canonical};
pub use tls::{ChallengeAnswers, server_config};
pub use wire::Timers;
