//! Orders at authorities of the world (RFC 8555).

mod account;
mod error;
mod http;
mod order;
mod settings;

pub(crate) use account::Accounts;
pub use error::IssueError;
pub(crate) use order::{Desk, Made};
pub use settings::{AcmeSettings, Binding};
