use crate::name::ServiceName;
use crate::network::Subnet;
use crate::unit::{ByteSize, Span};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// What a route's back end speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteProtocol {
    /// HTTP/1.1.
    #[default]
    Http,
    /// HTTP/2 without TLS.
    H2c,
    /// gRPC, which is HTTP/2 without TLS.
    Grpc,
    /// Bytes of a TLS connection, by the name that its client asks for; the node has the certificate.
    Tls,
    /// Bytes of a TCP connection.
    Tcp,
    /// UDP datagrams.
    Udp,
}

impl RouteProtocol {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Http,
        Self::H2c,
        Self::Grpc,
        Self::Tls,
        Self::Tcp,
        Self::Udp,
    ];

    /// Returns its word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::H2c => "h2c",
            Self::Grpc => "grpc",
            Self::Tls => "tls",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }

    /// Tells whether requests are routed, and not bytes.
    #[must_use]
    pub fn is_http(self) -> bool {
        match self {
            Self::Http | Self::H2c | Self::Grpc => true,
            Self::Tls | Self::Tcp | Self::Udp => false,
        }
    }

    /// Tells whether it is found by a host name, and not by a port of the host.
    #[must_use]
    pub fn is_by_name(self) -> bool {
        self.is_http() || self == Self::Tls
    }
}

impl fmt::Display for RouteProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How many requests a client address may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// So many requests ...
    pub requests: u32,
    /// ... in this time.
    pub per: Span,
}

/// Where a request is sent instead of to a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redirect {
    /// `https://host/path`, or a path; a last `$path` stands for what lies behind the route's prefix, with the query.
    pub to: String,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

/// Who is asked whether a request may pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardAuth {
    /// The service of the same stand that is asked.
    pub service: ServiceName,
    /// Its port.
    pub port: u16,
    /// The path that is asked for.
    pub path: String,
    /// Headers of its answer that go on to the back end.
    #[serde(default)]
    pub copy_headers: Vec<String>,
}

/// One way from outside to a service of a stand (`x-daas: routes:`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteSpec {
    /// The service that answers.
    pub service: ServiceName,
    /// The port inside its nodes; chosen from what the service says it serves where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// What the service speaks.
    #[serde(default)]
    pub protocol: RouteProtocol,
    /// Host names, lower case: a single label is a name in front of the stand's own (`api` is `api.<stand>.<zone>`), one with dots stands as
    /// it is, `*.` at its beginning for every label. Nothing: the service's usual names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// The beginning of the path, canonical; `/` for all.
    #[serde(default = "slash")]
    pub path: String,
    /// Headers that a request must bear with exactly these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Whether `path` is taken off before the request goes on.
    #[serde(default)]
    pub strip_prefix: bool,
    /// What is set before the path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub add_prefix: Option<String>,
    /// Where requests are sent instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect: Option<Redirect>,
    /// Headers that are set in requests; an empty value removes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub request_headers: BTreeMap<String, String>,
    /// Headers that are set in answers; an empty value removes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub response_headers: BTreeMap<String, String>,
    /// Names and passwords of who may pass, in clear.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub basic_auth: BTreeMap<String, String>,
    /// Who is asked whether a request may pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forward_auth: Option<ForwardAuth>,
    /// A secret: who opens `/?daas_key=<secret>` once, passes with a cookie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_secret: Option<String>,
    /// The addresses of clients that may pass; all where there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<Subnet>,
    /// How many requests a client may make.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// The most bytes of a request's body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_limit: Option<ByteSize>,
    /// How often a request that may be repeated is tried again elsewhere.
    #[serde(default = "two")]
    pub retries: u32,
    /// Whether a client stays with its replica by a cookie.
    #[serde(default)]
    pub sticky: bool,
    /// Whether answers are compressed.
    #[serde(default)]
    pub compress: bool,
    /// How long the head of an answer may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// The port on the host, for `tcp` and `udp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<u16>,
}

fn slash() -> String {
    "/".to_owned()
}

fn two() -> u32 {
    2
}

impl RouteSpec {
    /// Makes a route to `service` with nothing but defaults.
    #[must_use]
    pub fn new(service: ServiceName) -> Self {
        Self {
            service,
            port: None,
            protocol: RouteProtocol::default(),
            hosts: Vec::new(),
            path: slash(),
            headers: BTreeMap::new(),
            strip_prefix: false,
            add_prefix: None,
            redirect: None,
            request_headers: BTreeMap::new(),
            response_headers: BTreeMap::new(),
            basic_auth: BTreeMap::new(),
            forward_auth: None,
            link_secret: None,
            allow: Vec::new(),
            rate: None,
            body_limit: None,
            retries: two(),
            sticky: false,
            compress: false,
            timeout: None,
            listen: None,
        }
    }
}
