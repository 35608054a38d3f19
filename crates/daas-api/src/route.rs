use daas_model::{NodeName, RouteProtocol, StandName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::{IntoParams, ToSchema};

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
    /// What it speaks: `http`, `h2c`, `grpc`, `tls`, `tcp`, `udp`.
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
    /// Hosts that another stand had first, with that stand: here they lead nowhere until it is gone.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<String, String>)]
    pub taken: BTreeMap<String, StandName>,
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

/// How another edge finds the ingress.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct EdgeQuery {
    /// `address:port` or `name:port` by which the edge reaches the ingress; one of the ingress's own plain listeners if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Where the edge itself listens, `port` or `address:port`; 80 if nothing is said. Traefik has its entry points for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
}

/// A piece of another edge's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EdgeSnippet {
    /// The edge: `nginx` or `haproxy`.
    pub edge: String,
    /// The host names in it.
    pub hosts: Vec<String>,
    /// The text of the file.
    pub text: String,
}

/// What Traefik's HTTP provider reads (Traefik 3, dynamic configuration).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct TraefikConfig {
    /// Left out while there is no route: Traefik refuses empty maps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<TraefikHttp>,
}

/// Its part about HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct TraefikHttp {
    /// By stand.
    pub routers: BTreeMap<String, TraefikRouter>,
    /// One, the ingress: it knows the nodes, the rules and who is awake.
    pub services: BTreeMap<String, TraefikService>,
}

/// Which hosts are a stand's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TraefikRouter {
    /// `Host(...) || ...`.
    pub rule: String,
    /// The service's name.
    pub service: String,
}

/// Where requests go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TraefikService {
    /// Traefik's word for it.
    #[serde(rename = "loadBalancer")]
    pub load_balancer: TraefikServers,
}

/// The servers of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TraefikServers {
    /// Them.
    pub servers: Vec<TraefikServer>,
    /// Whether the visitor's host goes on; it must.
    #[serde(rename = "passHostHeader")]
    pub pass_host_header: bool,
}

/// One server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TraefikServer {
    /// Its URL.
    pub url: String,
}
