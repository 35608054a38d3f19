//! Pure planner: what is wanted and what is seen become steps, each with its reason.
//!
//! Nothing here reads a clock, a file or a random number: the same arguments give the same plan, and a plan
//! that was carried out gives an empty plan.
//!
//! Not here: carrying steps out (`daas-engine`), deciding when to plan (`daas-control`).

mod addresses;
mod digest;
mod names;
mod ready;
mod routes;
mod stand;

pub use addresses::{AddressError, Addresses, NetworkAddresses, NodeAddresses, assign};
pub use digest::{base_digest, node_digest};
pub use names::{names_on, owner_of_network};
pub use routes::{Exposed, RoutePlan, Where, plan_routes};
pub use stand::{Plan, Power, Step, Stuck, Waiting, Wanted, plan_stand};
