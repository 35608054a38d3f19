//! Every endpoint, once: server, client, `openapi.json` and `docs/reference/api.md` are made from this table.

use crate::ban::{AllowRequest, BanList, BanRequest, BanView, NetQuery};
use crate::certificate::{
    CertificateList, CertificateOrder, CertificateView, ClientList, ClientMade, ClientRequest,
    RootCertificates,
};
use crate::event::{EventQuery, EventView};
use crate::exec::ExecRequest;
use crate::grant::GrantList;
use crate::image::{
    ImageDocuments, ImageRemoved, ImageView, Loaded, MakeRequest, Pruned, PullRequest,
    RefreshRequest, TagRequest,
};
use crate::log::{LogChunk, LogQuery};
use crate::names::{
    KeyRoll, KeySeen, NewRecord, RecordList, RecordQuery, RecordView, RecordsQuery, ZoneKeyList,
    ZoneList,
};
use crate::operation::{Accepted, Operation};
use crate::page::{Page, PageQuery};
use crate::plan::PlanView;
use crate::project::{Checked, ProjectSource};
use crate::registry::{
    Collected, ExpiredList, LoginList, LoginMade, LoginRequest, ManifestView, PublishRequest,
    RegistryInfo, RegistryProject, RegistryRules, RepositoryView, TagList,
};
use crate::route::{EdgeQuery, EdgeSnippet, RouteList, TraefikConfig};
use crate::ssh::{SshInfo, SshKeyList, SshKeyRequest, SshKeyView};
use crate::stand::{ActRequest, DownQuery, ScaleRequest, StandSummary, StandView, UpRequest};
use crate::stats::StandStats;
use crate::system::{DoctorReport, PruneRequest, SystemInfo, SystemPruned};
use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::openapi::path::{Parameter, ParameterIn};
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{IntoParams, PartialSchema, ToSchema};

/// What stands before every path.
pub const BASE: &str = "/api/v1";

/// The methods in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// Reads.
    Get,
    /// Asks for something.
    Post,
    /// Replaces.
    Put,
    /// Removes.
    Delete,
}

impl Method {
    /// Returns the word of the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The headers that mean something beyond HTTP's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// The stand must be at this revision (RFC 9110, section 13.1.1).
    IfMatch,
    /// The same key with the same body gets the first answer again, for 24 h.
    IdempotencyKey,
    /// Events go on behind this one (WHATWG HTML, section 9.2).
    LastEventId,
}

impl Header {
    /// Returns the name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::IfMatch => "If-Match",
            Self::IdempotencyKey => "Idempotency-Key",
            Self::LastEventId => "Last-Event-ID",
        }
    }

    /// Returns what it means.
    #[must_use]
    pub fn summary(self) -> &'static str {
        match self {
            Self::IfMatch => {
                "The stand's `ETag`: the request fails with 412 if the stand has changed since"
            }
            Self::IdempotencyKey => {
                "A text of the asker's choice, at most 128 visible ASCII characters: the same key with the same body gets the first answer again, for 24 h"
            }
            Self::LastEventId => "The id of the last event that was seen: events go on behind it",
        }
    }
}

/// Adds the schemas that a type needs to the list, and returns the reference to its own.
pub type SchemaOf = fn(&mut Vec<(String, RefOr<Schema>)>) -> RefOr<Schema>;

/// What a request or an answer carries.
#[derive(Clone, Copy)]
pub enum Body {
    /// Nothing.
    Empty,
    /// One JSON value.
    Json(SchemaOf),
    /// JSON values that come one after the other: server-sent events, or lines (`Accept: application/x-ndjson`).
    Events(SchemaOf),
    /// One JSON value, or - when the query says `follow` - server-sent events or lines.
    JsonOrEvents(SchemaOf),
    /// Bytes of this media type.
    Bytes(&'static str),
    /// The connection itself becomes this protocol (RFC 9110, section 7.8).
    Upgrade(&'static str),
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "Empty",
            Self::Json(_) => "Json",
            Self::Events(_) => "Events",
            Self::JsonOrEvents(_) => "JsonOrEvents",
            Self::Bytes(_) => "Bytes",
            Self::Upgrade(_) => "Upgrade",
        })
    }
}

/// One endpoint.
#[derive(Debug, Clone, Copy)]
pub struct Endpoint {
    /// Its id: `noun-verb`.
    pub id: &'static str,
    /// Its method.
    pub method: Method,
    /// Its path behind [`BASE`], with `{name}` for each part that varies.
    pub path: &'static str,
    /// What it does, in one sentence.
    pub summary: &'static str,
    /// Its query parameters.
    pub query: fn() -> Vec<Parameter>,
    /// The headers that mean something to it.
    pub headers: &'static [Header],
    /// What the request carries.
    pub request: Body,
    /// The status of success.
    pub status: u16,
    /// What the answer carries.
    pub answer: Body,
}

impl Endpoint {
    /// Returns the noun, for grouping.
    #[must_use]
    pub fn noun(&self) -> &'static str {
        self.id.split_once('-').map_or(self.id, |(noun, _)| noun)
    }

    /// Returns the path with its varying parts filled in, in their order, percent-encoded.
    #[must_use]
    pub fn path_with(&self, parts: &[&str]) -> String {
        let mut path = BASE.to_owned();
        let mut parts = parts.iter();
        for segment in self.path.split('/').skip(1) {
            path.push('/');
            if segment.starts_with('{') {
                encode_part(parts.next().copied().unwrap_or_default(), &mut path);
            } else {
                path.push_str(segment);
            }
        }
        path
    }

    /// Returns the names of its varying parts.
    pub fn parts(&self) -> impl Iterator<Item = &'static str> {
        self.path
            .split('/')
            .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
    }
}

/// Percent-encodes all but the unreserved characters (RFC 3986, section 2.3).
pub fn encode_part(text: &str, out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

fn schema<T: ToSchema>(all: &mut Vec<(String, RefOr<Schema>)>) -> RefOr<Schema> {
    T::schemas(all);
    all.push((T::name().into_owned(), T::schema()));
    Ref::from_schema_name(T::name()).into()
}

fn list<T: ToSchema>(all: &mut Vec<(String, RefOr<Schema>)>) -> RefOr<Schema> {
    let item = schema::<T>(all);
    utoipa::openapi::schema::ArrayBuilder::new()
        .items(item)
        .into()
}

/// A page by the name of its items: without it all pages would share the name `Page`.
fn page<T: ToSchema>(all: &mut Vec<(String, RefOr<Schema>)>) -> RefOr<Schema> {
    schema::<T>(all);
    let name = format!("{}Page", T::name());
    all.push((name.clone(), Page::<T>::schema()));
    Ref::from_schema_name(name).into()
}

fn no_query() -> Vec<Parameter> {
    Vec::new()
}

fn query<T: IntoParams>() -> Vec<Parameter> {
    T::into_params(|| Some(ParameterIn::Query))
}

/// Whether to go on with what comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct FollowQuery {
    /// Whether to go on with what comes.
    #[serde(default)]
    pub follow: bool,
}

/// The path of a copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct PathQuery {
    /// The absolute path inside the node.
    pub path: String,
}

/// The port of a forward.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct ForwardQuery {
    /// The port inside the node.
    pub port: u16,
    /// `tcp` or `udp`; `tcp` where there is none. UDP datagrams travel behind their length, two bytes, big-endian.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>)]
    pub protocol: Option<daas_model::Protocol>,
}

/// The protocol of an `exec` connection: [`crate::Frame`]s.
pub const EXEC_PROTOCOL: &str = "daas-exec/1";
/// The protocol of a `forward` connection: the bytes of the port.
pub const FORWARD_PROTOCOL: &str = "daas-forward/1";
/// The media type of archives.
pub const TAR: &str = "application/x-tar";
/// The media type of a build's request with its files.
pub const BUILD: &str = "application/vnd.daas.build";
/// The media type of plain words.
pub const TEXT: &str = "text/plain; charset=utf-8";
/// The media type of values that come line by line.
pub const NDJSON: &str = "application/x-ndjson";
/// The media type of server-sent events.
pub const EVENT_STREAM: &str = "text/event-stream";
/// The media type of logs as they were written.
pub const RAW: &str = "application/octet-stream";

const PLAIN: Endpoint = Endpoint {
    id: "",
    method: Method::Get,
    path: "",
    summary: "",
    query: no_query,
    headers: &[],
    request: Body::Empty,
    status: 200,
    answer: Body::Empty,
};

macro_rules! endpoints {
    ($($name:ident = { $($field:ident: $value:expr),* $(,)? };)*) => {
        $(
            #[doc = concat!("The endpoint `", stringify!($name), "`.")]
            pub const $name: Endpoint = Endpoint { $($field: $value,)* ..PLAIN };
        )*
        /// Every endpoint.
        pub const ENDPOINTS: &[&Endpoint] = &[$(&$name),*];
    };
}

endpoints! {
    PROJECT_CHECK = {
        id: "project-check", method: Method::Post, path: "/projects/check",
        summary: "Reads a project and tells all of its faults",
        request: Body::Json(schema::<ProjectSource>), answer: Body::Json(schema::<Checked>),
    };
    GRANTS_SHOW = {
        id: "project-grants", path: "/projects/{project}/grants",
        summary: "Tells what an administrator granted to a project",
        answer: Body::Json(schema::<GrantList>),
    };
    GRANTS_SET = {
        id: "project-grant", method: Method::Put, path: "/projects/{project}/grants",
        summary: "Replaces what is granted to a project",
        request: Body::Json(schema::<GrantList>), answer: Body::Json(schema::<GrantList>),
    };
    GRANTS_CLEAR = {
        id: "project-revoke", method: Method::Delete, path: "/projects/{project}/grants",
        summary: "Takes away all that was granted to a project",
        answer: Body::Json(schema::<GrantList>),
    };
    STANDS_LIST = {
        id: "stand-list", path: "/stands", query: query::<PageQuery>,
        summary: "Lists the stands by name",
        answer: Body::Json(page::<StandSummary>),
    };
    STAND_UP = {
        id: "stand-up", method: Method::Post, path: "/stands", headers: &[Header::IdempotencyKey, Header::IfMatch],
        summary: "Makes or changes stands of a project",
        request: Body::Json(schema::<UpRequest>), status: 202, answer: Body::Json(schema::<Accepted>),
    };
    STAND_PLAN = {
        id: "stand-plan", method: Method::Post, path: "/stands/plan",
        summary: "Tells what an `up` would do, and changes nothing",
        request: Body::Json(schema::<UpRequest>), answer: Body::Json(list::<PlanView>),
    };
    STAND_SHOW = {
        id: "stand-show", path: "/stands/{stand}",
        summary: "Shows a stand; its `ETag` is its revision",
        answer: Body::Json(schema::<StandView>),
    };
    STAND_DOWN = {
        id: "stand-down", method: Method::Delete, path: "/stands/{stand}", query: query::<DownQuery>, headers: &[Header::IfMatch],
        summary: "Throws a stand away",
        status: 202, answer: Body::Json(schema::<Accepted>),
    };
    STAND_START = {
        id: "stand-start", method: Method::Post, path: "/stands/{stand}/start", headers: &[Header::IfMatch],
        summary: "Starts a stand or some of its nodes",
        request: Body::Json(schema::<ActRequest>), status: 202, answer: Body::Json(schema::<Accepted>),
    };
    STAND_STOP = {
        id: "stand-stop", method: Method::Post, path: "/stands/{stand}/stop", headers: &[Header::IfMatch],
        summary: "Stops a stand or some of its nodes; data stays",
        request: Body::Json(schema::<ActRequest>), status: 202, answer: Body::Json(schema::<Accepted>),
    };
    STAND_RESTART = {
        id: "stand-restart", method: Method::Post, path: "/stands/{stand}/restart", headers: &[Header::IfMatch],
        summary: "Stops and starts a stand or some of its nodes",
        request: Body::Json(schema::<ActRequest>), status: 202, answer: Body::Json(schema::<Accepted>),
    };
    STAND_PAUSE = {
        id: "stand-pause", method: Method::Post, path: "/stands/{stand}/pause", headers: &[Header::IfMatch],
        summary: "Freezes a stand or some of its nodes",
        request: Body::Json(schema::<ActRequest>), status: 202, answer: Body::Json(schema::<Accepted>),
    };
    STAND_RESUME = {
        id: "stand-resume", method: Method::Post, path: "/stands/{stand}/resume", headers: &[Header::IfMatch],
        summary: "Thaws a stand or some of its nodes",
        request: Body::Json(schema::<ActRequest>), status: 202, answer: Body::Json(schema::<Accepted>),
    };
    STAND_SCALE = {
        id: "stand-scale", method: Method::Post, path: "/stands/{stand}/scale", headers: &[Header::IfMatch],
        summary: "Changes how many nodes services have",
        request: Body::Json(schema::<ScaleRequest>), status: 202, answer: Body::Json(schema::<Accepted>),
    };
    STAND_LOGS = {
        id: "stand-logs", path: "/stands/{stand}/logs", query: query::<LogQuery>,
        summary: "Reads the logs of nodes; with `Accept: application/octet-stream` byte by byte as they were written",
        answer: Body::Events(schema::<LogChunk>),
    };
    STAND_STATS = {
        id: "stand-stats", path: "/stands/{stand}/stats", query: query::<FollowQuery>,
        summary: "Measures what a stand and its nodes use",
        answer: Body::JsonOrEvents(schema::<StandStats>),
    };
    STAND_EVENTS = {
        id: "stand-events", path: "/stands/{stand}/events", query: query::<EventQuery>, headers: &[Header::LastEventId],
        summary: "Reads what happened to a stand",
        answer: Body::Events(schema::<EventView>),
    };
    STAND_EXEC = {
        id: "stand-exec", method: Method::Post, path: "/stands/{stand}/nodes/{node}/exec",
        summary: "Runs a program inside a node; the connection then carries frames",
        request: Body::Json(schema::<ExecRequest>), status: 101, answer: Body::Upgrade(EXEC_PROTOCOL),
    };
    STAND_COPY_OUT = {
        id: "stand-copy-out", path: "/stands/{stand}/nodes/{node}/archive", query: query::<PathQuery>,
        summary: "Reads a file or folder of a node as a tar archive",
        answer: Body::Bytes(TAR),
    };
    STAND_COPY_IN = {
        id: "stand-copy-in", method: Method::Put, path: "/stands/{stand}/nodes/{node}/archive", query: query::<PathQuery>,
        summary: "Unpacks a tar archive into a folder of a node",
        request: Body::Bytes(TAR), status: 204,
    };
    STAND_FORWARD = {
        id: "stand-forward", path: "/stands/{stand}/nodes/{node}/forward", query: query::<ForwardQuery>,
        summary: "Connects to a port of a node; the connection then carries its bytes",
        status: 101, answer: Body::Upgrade(FORWARD_PROTOCOL),
    };
    OPERATION_SHOW = {
        id: "operation-show", path: "/operations/{operation}", query: query::<FollowQuery>,
        summary: "Shows how far an operation is",
        answer: Body::JsonOrEvents(schema::<Operation>),
    };
    OPERATION_LOG = {
        id: "operation-log", path: "/operations/{operation}/log", query: query::<FollowQuery>,
        summary: "Reads what a build wrote",
        answer: Body::Bytes(TEXT),
    };
    IMAGES_LIST = {
        id: "image-list", path: "/images", query: query::<PageQuery>,
        summary: "Lists the images by digest",
        answer: Body::Json(page::<ImageView>),
    };
    IMAGE_SHOW = {
        id: "image-show", path: "/images/{image}",
        summary: "Shows an image with its configuration; the name is one percent-encoded part",
        answer: Body::Json(schema::<ImageView>),
    };
    IMAGE_REMOVE = {
        id: "image-remove", method: Method::Delete, path: "/images/{image}",
        summary: "Takes a name away from an image; with its last name the image goes",
        answer: Body::Json(schema::<ImageRemoved>),
    };
    IMAGE_SAVE = {
        id: "image-save", path: "/images/{image}/archive",
        summary: "Writes an image as an OCI archive that `docker load` reads, too",
        answer: Body::Bytes(TAR),
    };
    IMAGE_DOCUMENTS = {
        id: "image-documents", path: "/images/{image}/documents",
        summary: "Shows what is known about an image: where it comes from and what is in it",
        answer: Body::Json(schema::<ImageDocuments>),
    };
    IMAGE_PULL = {
        id: "image-pull", method: Method::Post, path: "/images/pull",
        summary: "Fetches an image from its registry",
        request: Body::Json(schema::<PullRequest>), status: 202, answer: Body::Json(schema::<Accepted>),
    };
    IMAGE_MAKE = {
        id: "image-make", method: Method::Post, path: "/images/make",
        summary: "Makes a base image from a distribution's packages",
        request: Body::Json(schema::<MakeRequest>), status: 202, answer: Body::Json(schema::<Accepted>),
    };
    IMAGE_REFRESH = {
        id: "image-refresh", method: Method::Post, path: "/images/refresh",
        summary: "Makes images of packages anew; the log of the operation says what changed",
        request: Body::Json(schema::<RefreshRequest>), status: 202, answer: Body::Json(schema::<Accepted>),
    };
    IMAGE_BUILD = {
        id: "image-build", method: Method::Post, path: "/images/build",
        summary: "Builds an image from a Dockerfile; behind its length, the request as JSON, then an archive of the files",
        request: Body::Bytes(BUILD), status: 202, answer: Body::Json(schema::<Accepted>),
    };
    IMAGE_LOAD = {
        id: "image-load", method: Method::Post, path: "/images/load",
        summary: "Reads an OCI layout or `docker save` archive",
        request: Body::Bytes(TAR), answer: Body::Json(schema::<Loaded>),
    };
    IMAGE_PRUNE = {
        id: "image-prune", method: Method::Post, path: "/images/prune",
        summary: "Throws away images that nothing needs",
        request: Body::Json(schema::<PruneRequest>), answer: Body::Json(schema::<Pruned>),
    };
    IMAGE_TAG = {
        id: "image-tag", method: Method::Post, path: "/images/tag",
        summary: "Gives an image one more name",
        request: Body::Json(schema::<TagRequest>), answer: Body::Json(schema::<ImageView>),
    };
    REGISTRY_INFO = {
        id: "registry-info", path: "/registry",
        summary: "Tells where the registry is and how full",
        answer: Body::Json(schema::<RegistryInfo>),
    };
    REGISTRY_LIST = {
        id: "registry-list", path: "/registry/repositories", query: query::<PageQuery>,
        summary: "Lists the repositories of the registry",
        answer: Body::Json(page::<RepositoryView>),
    };
    REGISTRY_TAGS = {
        id: "registry-tags", path: "/registry/repositories/{repository}/tags",
        summary: "Lists the tags of a repository; its name is one percent-encoded part",
        answer: Body::Json(schema::<TagList>),
    };
    REGISTRY_SHOW = {
        id: "registry-show", path: "/registry/repositories/{repository}/manifests/{reference}",
        summary: "Shows a manifest by tag or digest",
        answer: Body::Json(schema::<ManifestView>),
    };
    REGISTRY_DELETE = {
        id: "registry-delete", method: Method::Delete, path: "/registry/repositories/{repository}/manifests/{reference}",
        summary: "Deletes a tag, or by digest a manifest with its tags",
        status: 204,
    };
    REGISTRY_DELETE_REPOSITORY = {
        id: "registry-delete-repository", method: Method::Delete, path: "/registry/repositories/{repository}",
        summary: "Deletes a repository with all that it has",
        status: 204,
    };
    REGISTRY_PUBLISH = {
        id: "registry-publish", method: Method::Post, path: "/registry/publish",
        summary: "Puts an image of the store into the registry, without a copy",
        request: Body::Json(schema::<PublishRequest>), answer: Body::Json(schema::<ManifestView>),
    };
    REGISTRY_GC = {
        id: "registry-gc", method: Method::Post, path: "/registry/gc",
        summary: "Collects contents that nothing refers to, while everybody pushes and pulls",
        request: Body::Json(schema::<PruneRequest>), answer: Body::Json(schema::<Collected>),
    };
    REGISTRY_PROJECT = {
        id: "registry-project", path: "/registry/projects/{project}",
        summary: "Shows how much a project holds in the registry, and its rules",
        answer: Body::Json(schema::<RegistryProject>),
    };
    REGISTRY_PROJECT_SET = {
        id: "registry-project-set", method: Method::Put, path: "/registry/projects/{project}",
        summary: "Replaces the rules of a project: quota, retention, sharing, living branches",
        request: Body::Json(schema::<RegistryRules>), answer: Body::Json(schema::<RegistryProject>),
    };
    REGISTRY_RETENTION = {
        id: "registry-retention", method: Method::Post, path: "/registry/projects/{project}/retention",
        summary: "Throws away what the retention rules of a project say; what is used stays",
        request: Body::Json(schema::<PruneRequest>), answer: Body::Json(schema::<ExpiredList>),
    };
    REGISTRY_LOGINS = {
        id: "registry-logins", path: "/registry/logins",
        summary: "Lists who may log in to the registry",
        answer: Body::Json(schema::<LoginList>),
    };
    REGISTRY_LOGIN_ADD = {
        id: "registry-login-add", method: Method::Post, path: "/registry/logins",
        summary: "Makes a login for `docker login`; its secret is told once",
        request: Body::Json(schema::<LoginRequest>), answer: Body::Json(schema::<LoginMade>),
    };
    REGISTRY_LOGIN_REMOVE = {
        id: "registry-login-remove", method: Method::Delete, path: "/registry/logins/{login}",
        summary: "Takes a login away; its tokens end at once",
        status: 204,
    };
    ROUTE_LIST = {
        id: "route-list", path: "/routes",
        summary: "Lists the ways from outside to the services of all stands",
        answer: Body::Json(schema::<RouteList>),
    };
    ROUTE_TRAEFIK = {
        id: "route-traefik", path: "/routes/traefik", query: query::<EdgeQuery>,
        summary: "Tells Traefik's HTTP provider which hosts lead to the ingress",
        answer: Body::Json(schema::<TraefikConfig>),
    };
    ROUTE_SNIPPET = {
        id: "route-snippet", path: "/routes/snippets/{edge}", query: query::<EdgeQuery>,
        summary: "Writes a piece of configuration for nginx or haproxy by which its hosts lead to the ingress",
        answer: Body::Json(schema::<EdgeSnippet>),
    };
    DNS_ZONES = {
        id: "dns-zones", path: "/dns/zones",
        summary: "Lists the zones that the daemon answers for",
        answer: Body::Json(schema::<ZoneList>),
    };
    DNS_RECORDS = {
        id: "dns-records", path: "/dns/records", query: query::<RecordsQuery>,
        summary: "Lists the records of a zone or of all",
        answer: Body::Json(schema::<RecordList>),
    };
    DNS_RECORD_ADD = {
        id: "dns-record-add", method: Method::Post, path: "/dns/records",
        summary: "Keeps a record; it is answered when this is",
        request: Body::Json(schema::<NewRecord>), answer: Body::Json(schema::<RecordView>),
    };
    DNS_RECORD_REMOVE = {
        id: "dns-record-remove", method: Method::Delete, path: "/dns/records", query: query::<RecordQuery>,
        summary: "Forgets kept records of a name and type",
        status: 204,
    };
    DNS_KEYS = {
        id: "dns-keys", path: "/dns/keys", query: query::<RecordsQuery>,
        summary: "Lists the keys of one signed zone or of all, and what the zone above shall have of them",
        answer: Body::Json(schema::<ZoneKeyList>),
    };
    DNS_KEY_ROLL = {
        id: "dns-key-roll", method: Method::Post, path: "/dns/keys/roll",
        summary: "Begins to roll the key of a zone: a new one signs beside it",
        request: Body::Json(schema::<KeyRoll>), answer: Body::Json(schema::<ZoneKeyList>),
    };
    DNS_KEY_SEEN = {
        id: "dns-key-seen", method: Method::Post, path: "/dns/keys/seen",
        summary: "Tells that the zone above names the new key, where nobody can look",
        request: Body::Json(schema::<KeySeen>), answer: Body::Json(schema::<ZoneKeyList>),
    };
    BAN_LIST = {
        id: "ban-list", path: "/bans",
        summary: "Lists who is kept out for having failed too often, and who never is",
        answer: Body::Json(schema::<BanList>),
    };
    BAN_ADD = {
        id: "ban-add", method: Method::Post, path: "/bans",
        summary: "Keeps an address or a block out",
        request: Body::Json(schema::<BanRequest>), answer: Body::Json(schema::<BanView>),
    };
    BAN_REMOVE = {
        id: "ban-remove", method: Method::Delete, path: "/bans", query: query::<NetQuery>,
        summary: "Lets somebody in again",
        status: 204,
    };
    BAN_ALLOW = {
        id: "ban-allow", method: Method::Post, path: "/bans/allowed",
        summary: "Says that an address or a block is never banned",
        request: Body::Json(schema::<AllowRequest>), answer: Body::Json(schema::<BanList>),
    };
    BAN_DISALLOW = {
        id: "ban-disallow", method: Method::Delete, path: "/bans/allowed", query: query::<NetQuery>,
        summary: "Takes that back",
        status: 204,
    };
    SSH_INFO = {
        id: "ssh-info", path: "/ssh",
        summary: "Tells where the SSH door is, and the host's key",
        answer: Body::Json(schema::<SshInfo>),
    };
    SSH_KEYS = {
        id: "ssh-keys", path: "/ssh/keys",
        summary: "Lists the keys that may sign in over SSH",
        answer: Body::Json(schema::<SshKeyList>),
    };
    SSH_KEY_ADD = {
        id: "ssh-key-add", method: Method::Post, path: "/ssh/keys",
        summary: "Lets a key sign in over SSH, to all stands or to some",
        request: Body::Json(schema::<SshKeyRequest>), answer: Body::Json(schema::<SshKeyView>),
    };
    SSH_KEY_REMOVE = {
        id: "ssh-key-remove", method: Method::Delete, path: "/ssh/keys/{key}",
        summary: "Takes a key away; sessions that it has opened go on",
        status: 204,
    };
    CERTIFICATE_LIST = {
        id: "certificate-list", path: "/certificates",
        summary: "Lists the certificates that are given or ordered",
        answer: Body::Json(schema::<CertificateList>),
    };
    CERTIFICATE_ISSUE = {
        id: "certificate-issue", method: Method::Post, path: "/certificates",
        summary: "Orders a certificate; it is `ordering` until it is there or has failed",
        request: Body::Json(schema::<CertificateOrder>), status: 202, answer: Body::Json(schema::<CertificateView>),
    };
    CERTIFICATE_SHOW = {
        id: "certificate-show", path: "/certificates/{certificate}",
        summary: "Shows a certificate with its chain",
        answer: Body::Json(schema::<CertificateView>),
    };
    CERTIFICATE_FORGET = {
        id: "certificate-forget", method: Method::Delete, path: "/certificates/{certificate}",
        summary: "Forgets a certificate that was ordered: it is served and renewed no more",
        status: 204,
    };
    CERTIFICATE_RENEW = {
        id: "certificate-renew", method: Method::Post, path: "/certificates/{certificate}/renew",
        summary: "Orders a certificate once more, now",
        status: 202, answer: Body::Json(schema::<CertificateView>),
    };
    CERTIFICATE_REVOKE = {
        id: "certificate-revoke", method: Method::Post, path: "/certificates/{certificate}/revoke",
        summary: "Takes a certificate back at its authority and out of service",
        answer: Body::Json(schema::<CertificateView>),
    };
    CERTIFICATE_ROOT = {
        id: "certificate-root", path: "/certificate-authority",
        summary: "Shows the roots of the private authority",
        answer: Body::Json(schema::<RootCertificates>),
    };
    CERTIFICATE_CLIENTS = {
        id: "certificate-clients", path: "/certificate-authority/clients",
        summary: "Lists the certificates by which other machines prove who they are",
        answer: Body::Json(schema::<ClientList>),
    };
    CERTIFICATE_CLIENT_ADD = {
        id: "certificate-client-add", method: Method::Post, path: "/certificate-authority/clients",
        summary: "Makes a client's certificate; its key is told once",
        request: Body::Json(schema::<ClientRequest>), answer: Body::Json(schema::<ClientMade>),
    };
    CERTIFICATE_CLIENT_REVOKE = {
        id: "certificate-client-revoke", method: Method::Delete, path: "/certificate-authority/clients/{client}",
        summary: "Takes a client's certificate back; its next handshake fails",
        status: 204,
    };
    EVENTS = {
        id: "event-list", path: "/events", query: query::<EventQuery>, headers: &[Header::LastEventId],
        summary: "Reads what happened to all stands",
        answer: Body::Events(schema::<EventView>),
    };
    SYSTEM_INFO = {
        id: "system-info", path: "/system/info",
        summary: "Tells what the daemon is and where it runs",
        answer: Body::Json(schema::<SystemInfo>),
    };
    SYSTEM_DOCTOR = {
        id: "system-doctor", path: "/system/doctor",
        summary: "Looks whether the host has what stands need",
        answer: Body::Json(schema::<DoctorReport>),
    };
    SYSTEM_PRUNE = {
        id: "system-prune", method: Method::Post, path: "/system/prune",
        summary: "Throws away images and leftovers that nothing needs",
        request: Body::Json(schema::<PruneRequest>), answer: Body::Json(schema::<SystemPruned>),
    };
    OPENAPI = {
        id: "system-openapi", path: "/openapi.json",
        summary: "Describes this API (OpenAPI 3.1)",
        answer: Body::Bytes("application/json"),
    };
}

/// Returns the endpoint of an action on a stand.
#[must_use]
pub fn of_action(action: crate::stand::Action) -> &'static Endpoint {
    use crate::stand::Action;
    match action {
        Action::Start => &STAND_START,
        Action::Stop => &STAND_STOP,
        Action::Restart => &STAND_RESTART,
        Action::Pause => &STAND_PAUSE,
        Action::Resume => &STAND_RESUME,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_two_endpoints_share_an_id_or_a_place() {
        let ids: BTreeSet<_> = ENDPOINTS.iter().map(|e| e.id).collect();
        let places: BTreeSet<_> = ENDPOINTS.iter().map(|e| (e.method, e.path)).collect();
        assert_eq!(
            (ids.len(), places.len()),
            (ENDPOINTS.len(), ENDPOINTS.len())
        );
    }

    #[test]
    fn an_image_name_is_one_part_of_the_path() {
        assert_eq!(
            IMAGE_SAVE.path_with(&["docker.io/library/nginx:1.27"]),
            "/api/v1/images/docker.io%2Flibrary%2Fnginx%3A1.27/archive"
        );
        assert_eq!(
            STAND_EXEC.path_with(&["shop", "web-2"]),
            "/api/v1/stands/shop/nodes/web-2/exec"
        );
        assert_eq!(
            STAND_SHOW.path_with(&["../x?y#z"]),
            "/api/v1/stands/..%2Fx%3Fy%23z"
        );
    }
}
