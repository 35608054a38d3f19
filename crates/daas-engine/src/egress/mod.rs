//! Ways out of a stand.
//!
//! * `none`: there is nothing to do; the router namespace has no way out.
//! * `proxy`: [`EgressProxy`] listens at the stand's gateways and carries HTTP, and tunnels, to public addresses.
//! * `full`: [`FullEgress`] joins the router namespace with the host by a link and translates addresses.
//!
//! Not here: which way a stand has (`daas-spec`, `daas-plan`), its names and how foreign ones are asked for (`daas-keeper`), the
//! way in (`publish`).

mod address;
mod body;
mod firewall;
mod full;
mod guard;
mod head;
mod proxy;

pub use address::{Forbidden, Outbound};
pub use full::{FullConfig, FullEgress, FullError, FullLink};
pub use guard::{Outside, Refusal, Resolve, SystemNames};
pub use proxy::{
    Access, EgressProxy, Outcome, PROXY_PORT, ProxyConfig, ProxyError, ProxyPort, proxy_environment,
};
