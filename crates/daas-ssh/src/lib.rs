//! The SSH door: who signs in by key, what a session asks for, and how it is answered (decision 0036).
//!
//! One listener, one user name per node. The door knows keys and the protocol; what is behind it - a node of a stand today, a
//! repository tomorrow - is a [`House`] with its [`Room`]s.
//!
//! Not here: which stand a user name means and how a program runs in a node (`daas-control`), the files of a node (`daas-keeper`),
//! where the door is and where the host's key lies (`daas`).

mod door;
mod gate;
mod host_key;
mod key;
mod keyring;
mod lane;
mod name;
mod outlet;
mod room;
mod visit;

pub use door::{Door, Settings};
pub use host_key::HostKey;
pub use key::{KeyError, PublicKey};
pub use keyring::{KeyOrigin, KeyRecord, Keyring, KeyringError, KnownKey, Rights};
pub use name::{Meant, NameFault, Neighbour, meant};
pub use room::{Deed, End, House, Program, Room, Terminal, Tweak, Visitor, Wish};
