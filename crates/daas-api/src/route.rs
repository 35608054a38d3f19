use daas_model::{NodeName, RouteProtocol, StandName};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One way from outside to a service of a stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RouteView {
    /// The stand.
    #[schema(value_type = String)]
    pub stand: StandName,
    /// The service that answers.
    pub service: String,
    /// The port inside its nodes.
    pub port: u16,
    /// What it speaks: `http`, `h2c`, `grpc`, `tcp`, `udp`.
    #[schema(value_type = String)]
    pub protocol: RouteProtocol,
    /// Where it answers: URLs, or `address:port` for TCP and UDP; the best one first. Empty while the ingress listens nowhere.
    pub urls: Vec<String>,
    /// Its host names.
    pub hosts: Vec<String>,
    /// The beginning of the path.
    pub path: String,
    /// Whether the project file names it; otherwise it follows from the service's ports.
    pub named: bool,
    /// The nodes that are asked now. None while nobody is ready.
    #[schema(value_type = Vec<String>)]
    pub ready: Vec<NodeName>,
    /// How many nodes the service has.
    pub nodes: u32,
}

/// All routes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct RouteList {
    /// Them, in the order of stands.
    pub items: Vec<RouteView>,
}
