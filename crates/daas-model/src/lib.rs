//! The words of DaaS: names, ids, units, and what a stand is.
//!
//! Everything here is plain data that every other crate may speak. A value that exists is valid:
//! names and units are parsed once at the door and never checked again inside.
//!
//! Not here: reading files (`daas-spec`), deciding (`daas-plan`), anything that touches the kernel (`daas-sys`).

mod authorities;
pub mod base64;
mod diagnostic;
mod explain;
mod health;
mod image_name;
mod limits;
mod mount;
mod name;
mod network;
mod node;
mod observed;
pub mod pattern;
mod policy;
mod port;
mod restart;
mod route;
mod slug;
mod stand;
mod unit;
mod visitor;

pub use authorities::AUTHORITIES;
pub use diagnostic::{Diagnostic, Diagnostics, Place, Severity, visible};
pub use explain::{Explain, Kind, render_chain};
pub use health::{HealthCheck, HealthTest};
pub use image_name::{ImageName, ImageNameError, OWN_REGISTRY};
pub use limits::Limits;
pub use mount::{FileGrant, HostOwner, Mount, MountSource, VolumeSpec};
pub use name::{
    FileName, NameError, NetworkName, NodeName, ProjectName, ServiceName, StandId, StandName,
    VolumeName,
};
pub use network::{Attachment, Egress, NetworkMode, NetworkSpec, Subnet};
pub use node::{Condition, Dependency, Device, Hook, HostNamespaces, NodeSpec, PullPolicy, Ulimit};
pub use observed::{Health, NodeObserved, NodeState, StandObserved};
pub use policy::{Grant, Policy};
pub use port::{PortSpec, Protocol};
pub use restart::RestartPolicy;
pub use route::{ForwardAuth, Rate, Redirect, RouteProtocol, RouteSpec};
pub use slug::slug;
pub use stand::{StandKind, StandSpec};
pub use unit::{ByteSize, Cpus, Span, UnitError};
pub use visitor::visitor;
