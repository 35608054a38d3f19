//! The API as types: what is asked, what is answered, which endpoints there are, and what a platform must be able to do.
//!
//! Doors, client and rooms share these types, so that the program and `openapi.json` cannot differ. [`Platform`] is
//! what `daas-server` serves and `daas-control` implements; [`Failure`] carries any [`daas_model::Explain`] error over
//! the wire as an RFC 9457 [`Problem`].
//!
//! Not here: transport (`daas-server`, `daas-client`), printing (`daas-cli`), what the words mean (`daas-model`).

mod ban;
mod build;
mod bytes_text;
mod caller;
mod certificate;
pub mod endpoint;
mod event;
mod exec;
mod failure;
#[cfg(feature = "fake")]
pub mod fake;
#[cfg(feature = "fake")]
mod fake_certificates;
#[cfg(feature = "fake")]
mod fake_names;
#[cfg(feature = "fake")]
mod fake_registry;
#[cfg(feature = "fake")]
mod fake_ssh;
mod frame;
mod grant;
mod image;
mod log;
mod names;
mod node;
mod openapi;
mod operation;
mod page;
mod plan;
pub mod platform;
mod problem;
mod project;
mod registry;
mod route;
mod ssh;
mod stand;
mod stats;
mod system;

pub use ban::{AllowRequest, BanList, BanRequest, BanView, NetQuery};
pub use build::{BuildRequest, MAX_BUILD_HEAD};
pub use bytes_text::BytesText;
pub use caller::Caller;
pub use certificate::{
    CertificateFault, CertificateList, CertificateOrder, CertificateState, CertificateView,
    ClientList, ClientMade, ClientRequest, ClientView, RootCertificate, RootCertificates,
};
pub use endpoint::{Body, ENDPOINTS, Endpoint, Header, Method};
pub use event::{EventQuery, EventView};
pub use exec::{ExecRequest, WindowSize};
pub use failure::Failure;
pub use frame::{Frame, FrameError, MAX_PAYLOAD, read_frame, write_frame};
pub use grant::GrantList;
pub use image::{
    ImageDocument, ImageDocuments, ImageList, ImageRemoved, ImageView, Loaded, MakeRequest, Pruned,
    PullRequest, RefreshRequest, TagRequest,
};
pub use log::{LogChunk, LogQuery, LogStream};
pub use names::{
    KeyRoll, KeySeen, NewRecord, RecordList, RecordQuery, RecordView, RecordsQuery, ZoneKeyList,
    ZoneKeyState, ZoneKeyView, ZoneList, ZoneView,
};
pub use node::{NodeStatus, NodeView, PortView};
pub use openapi::openapi;
pub use operation::{
    Accepted, NodeProgress, Operation, OperationId, OperationKind, OperationState, Phase, Started,
};
pub use page::{MAX_PAGE, Page, PageQuery};
pub use plan::{DiagnosticView, IgnoredView, PlaceView, PlanStep, PlanView};
pub use platform::Platform;
pub use problem::{Problem, kind_of_status, status_of};
pub use project::{Checked, LimitsSource, ProjectSource};
pub use registry::{
    Collected, Expired, ExpiredList, LoginList, LoginMade, LoginRequest, LoginView, ManifestView,
    PublishRequest, RegistryInfo, RegistryProject, RegistryRules, RepositoryTag, RepositoryView,
    RetentionRule, TagList,
};
pub use route::{
    EdgeQuery, EdgeSnippet, RouteList, RouteView, TraefikConfig, TraefikHttp, TraefikRouter,
    TraefikServer, TraefikServers, TraefikService,
};
pub use ssh::{SshInfo, SshKeyList, SshKeyRequest, SshKeyView};
pub use stand::{
    ActRequest, Action, BuildWish, DownQuery, LimitsView, ScaleRequest, StandState, StandSummary,
    StandView, UpOptions, UpRequest,
};
pub use stats::{Pressure, StandStats, Usage};
pub use system::{
    Check, CheckVerdict, DoctorReport, DoorView, PruneRequest, SystemInfo, SystemPruned, TaskView,
};
