//! What a platform must be able to do for the doors: one trait per noun, all object-safe.
//!
//! Every method may be dropped before it answers; what it has recorded by then will happen.

use crate::ban::{BanList, BanRequest, BanView};
use crate::caller::Caller;
use crate::certificate::{
    CertificateList, CertificateOrder, CertificateView, ClientList, ClientMade, ClientRequest,
    RootCertificates,
};
use crate::event::{EventQuery, EventView};
use crate::exec::{ExecRequest, WindowSize};
use crate::failure::Failure;
use crate::grant::GrantList;
use crate::image::{
    ImageDocuments, ImageRemoved, ImageView, Loaded, MakeRequest, Pruned, PullRequest, TagRequest,
};
use crate::log::{LogChunk, LogQuery};
use crate::names::{
    KeyRoll, KeySeen, NewRecord, RecordList, RecordQuery, RecordView, RecordsQuery, ZoneKeyList,
    ZoneList,
};
use crate::operation::{Accepted, Operation, OperationId};
use crate::plan::PlanView;
use crate::project::{Checked, ProjectSource};
use crate::registry::{
    Collected, ExpiredList, LoginList, LoginMade, LoginRequest, ManifestView, PublishRequest,
    RegistryInfo, RegistryProject, RegistryRules, RepositoryView, TagList,
};
use crate::route::{EdgeQuery, EdgeSnippet, RouteList, TraefikConfig};
use crate::ssh::{SshInfo, SshKeyList, SshKeyRequest, SshKeyView};
use crate::stand::{
    ActRequest, Action, DownQuery, ScaleRequest, StandSummary, StandView, UpRequest,
};
use crate::stats::StandStats;
use crate::system::{DoctorReport, PruneRequest, SystemInfo, SystemPruned};
use bytes::Bytes;
use daas_model::{ImageName, NodeName, ProjectName, Protocol, StandName, Subnet};
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use std::pin::Pin;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

/// The answer of a platform.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, Failure>>;
/// Values that come one after the other; the first failure is the last item.
pub type Flow<T> = BoxStream<'static, Result<T, Failure>>;
/// The bytes of an archive.
pub type ByteFlow = Flow<Bytes>;
/// Something to read from.
pub type BoxRead = Pin<Box<dyn AsyncRead + Send>>;
/// Something to write to; a shutdown of it is the end of file.
pub type BoxWrite = Pin<Box<dyn AsyncWrite + Send>>;
/// Something to read from and write to.
pub type BoxDuplex = Pin<Box<dyn Duplex>>;

/// Both directions of one connection.
pub trait Duplex: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> Duplex for T {}

/// A program that runs inside a node. Dropping it ends the program.
pub struct ExecSession {
    /// Its standard input or terminal, if it was asked for; a shutdown is the end of file.
    pub stdin: Option<BoxWrite>,
    /// Its standard output or terminal.
    pub stdout: BoxRead,
    /// Its standard error; nothing with a terminal.
    pub stderr: Option<BoxRead>,
    /// Takes new sizes of the terminal.
    pub resize: mpsc::Sender<WindowSize>,
    /// Its exit code; 128 + signal when a signal ended it. Ready only after all output is in the pipes.
    pub exit: BoxFuture<'static, Result<i32, Failure>>,
}

/// What is compared before a change: the stand's revision, from `If-Match`.
///
/// A stand at another revision is a failure with the code `stand-changed` and status 412.
pub type IfRevision = Option<u64>;

/// Stands.
pub trait Stands: Send + Sync {
    /// Makes or changes stands: records what is wanted and returns the operations that will do it.
    ///
    /// Faults of the project are one failure with diagnostics ([`Failure::of_project`]).
    fn up<'a>(
        &'a self,
        caller: &'a Caller,
        request: UpRequest,
        at: IfRevision,
    ) -> Answer<'a, Accepted>;
    /// Tells what [`Stands::up`] would do and changes nothing; faults of the project are in the answer.
    fn plan(&self, request: UpRequest) -> Answer<'_, Vec<PlanView>>;
    /// Returns all stands, in any order.
    fn list(&self) -> Answer<'_, Vec<StandSummary>>;
    /// Returns one stand.
    fn show<'a>(&'a self, stand: &'a StandName) -> Answer<'a, StandView>;
    /// Throws a stand away.
    fn down<'a>(
        &'a self,
        caller: &'a Caller,
        stand: &'a StandName,
        how: DownQuery,
        at: IfRevision,
    ) -> Answer<'a, Accepted>;
    /// Starts, stops, restarts, pauses or resumes.
    fn act<'a>(
        &'a self,
        caller: &'a Caller,
        stand: &'a StandName,
        action: Action,
        request: ActRequest,
        at: IfRevision,
    ) -> Answer<'a, Accepted>;
    /// Changes numbers of replicas.
    fn scale<'a>(
        &'a self,
        caller: &'a Caller,
        stand: &'a StandName,
        request: ScaleRequest,
        at: IfRevision,
    ) -> Answer<'a, Accepted>;
    /// Reads logs, in the order of time as far as it is known; ends unless it follows.
    fn logs<'a>(&'a self, stand: &'a StandName, query: LogQuery) -> Answer<'a, Flow<LogChunk>>;
    /// Measures; once, or again about every second.
    fn stats<'a>(&'a self, stand: &'a StandName, follow: bool) -> Answer<'a, Flow<StandStats>>;
    /// Reads events of one stand or of all, old ones first; ends unless it follows.
    fn events<'a>(
        &'a self,
        stand: Option<&'a StandName>,
        query: EventQuery,
    ) -> Answer<'a, Flow<EventView>>;
    /// Runs a program inside a node.
    fn exec<'a>(
        &'a self,
        caller: &'a Caller,
        stand: &'a StandName,
        node: &'a NodeName,
        request: ExecRequest,
    ) -> Answer<'a, ExecSession>;
    /// Reads a file or folder of a node as a tar archive, whose entries begin with the last part of `path`.
    fn copy_out<'a>(
        &'a self,
        caller: &'a Caller,
        stand: &'a StandName,
        node: &'a NodeName,
        path: &'a str,
    ) -> Answer<'a, ByteFlow>;
    /// Unpacks a tar archive into the folder `path` of a node.
    fn copy_in<'a>(
        &'a self,
        caller: &'a Caller,
        stand: &'a StandName,
        node: &'a NodeName,
        path: &'a str,
        archive: ByteFlow,
    ) -> Answer<'a, ()>;
    /// Connects to a port of a node. For UDP every datagram travels behind its length, two bytes, big-endian.
    fn forward<'a>(
        &'a self,
        caller: &'a Caller,
        stand: &'a StandName,
        node: &'a NodeName,
        port: u16,
        protocol: Protocol,
    ) -> Answer<'a, BoxDuplex>;
    /// Returns an operation.
    fn operation<'a>(&'a self, id: &'a OperationId) -> Answer<'a, Operation>;
    /// Follows an operation: its state now, then at each change; ends behind the state that is over.
    fn follow_operation<'a>(&'a self, id: &'a OperationId) -> Answer<'a, Flow<Operation>>;
}

/// Projects and what they may ask of the host.
pub trait Projects: Send + Sync {
    /// Reads a project and tells its faults. Grants of the project count.
    fn check(&self, project: ProjectSource) -> Answer<'_, Checked>;
    /// Returns the grants of a project; none is an empty list.
    fn grants<'a>(&'a self, project: &'a ProjectName) -> Answer<'a, GrantList>;
    /// Replaces the grants of a project.
    fn set_grants<'a>(&'a self, caller: &'a Caller, grants: GrantList) -> Answer<'a, GrantList>;
}

/// Images of the store.
pub trait Images: Send + Sync {
    /// Returns all images, in any order, without their configurations.
    fn list(&self) -> Answer<'_, Vec<ImageView>>;
    /// Returns one image with its configuration.
    fn show<'a>(&'a self, name: &'a ImageName) -> Answer<'a, ImageView>;
    /// Returns the documents about an image, with their contents.
    fn documents<'a>(&'a self, name: &'a ImageName) -> Answer<'a, ImageDocuments>;
    /// Takes a name away; the image goes with its last one, if no stand uses it.
    fn remove<'a>(&'a self, caller: &'a Caller, name: &'a ImageName) -> Answer<'a, ImageRemoved>;
    /// Starts fetching an image.
    fn pull<'a>(&'a self, caller: &'a Caller, request: PullRequest) -> Answer<'a, Accepted>;
    /// Starts making a base image.
    fn make<'a>(&'a self, caller: &'a Caller, request: MakeRequest) -> Answer<'a, Accepted>;
    /// Starts making images anew; the log of the operation says what changed.
    fn refresh<'a>(
        &'a self,
        caller: &'a Caller,
        request: crate::RefreshRequest,
    ) -> Answer<'a, Accepted>;
    /// Starts building an image; `files` is an archive as [`crate::BuildRequest`] tells.
    fn build<'a>(
        &'a self,
        caller: &'a Caller,
        head: crate::BuildRequest,
        files: ByteFlow,
    ) -> Answer<'a, Accepted>;
    /// Reads what a build wrote; ends unless it follows, and with the build.
    fn build_log<'a>(&'a self, operation: &'a OperationId, follow: bool) -> Answer<'a, ByteFlow>;
    /// Reads an OCI layout or `docker save` archive.
    fn load<'a>(&'a self, caller: &'a Caller, archive: ByteFlow) -> Answer<'a, Loaded>;
    /// Writes an image as an archive that is both an OCI layout and readable by `docker load`.
    fn save<'a>(&'a self, name: &'a ImageName) -> Answer<'a, ByteFlow>;
    /// Throws away what nothing needs.
    fn prune<'a>(&'a self, caller: &'a Caller, request: PruneRequest) -> Answer<'a, Pruned>;
    /// Gives an image one more name.
    fn tag<'a>(&'a self, caller: &'a Caller, request: TagRequest) -> Answer<'a, ImageView>;
}

/// The registry of the house. Repositories are named as the network names them, references are tags or digests.
pub trait Registry: Send + Sync {
    /// Tells where it is and what it is.
    fn info(&self) -> Answer<'_, RegistryInfo>;
    /// Returns all repositories, in any order.
    fn repositories(&self) -> Answer<'_, Vec<RepositoryView>>;
    /// Returns the tags of a repository.
    fn tags<'a>(&'a self, repository: &'a str) -> Answer<'a, TagList>;
    /// Returns a manifest.
    fn manifest<'a>(&'a self, repository: &'a str, reference: &'a str) -> Answer<'a, ManifestView>;
    /// Deletes a tag, or a manifest with its tags.
    fn delete<'a>(
        &'a self,
        caller: &'a Caller,
        repository: &'a str,
        reference: &'a str,
    ) -> Answer<'a, ()>;
    /// Deletes a repository with all that it has.
    fn delete_repository<'a>(&'a self, caller: &'a Caller, repository: &'a str) -> Answer<'a, ()>;
    /// Puts an image of the store into the registry.
    fn publish<'a>(
        &'a self,
        caller: &'a Caller,
        request: PublishRequest,
    ) -> Answer<'a, ManifestView>;
    /// Collects garbage, or tells what would go.
    fn collect<'a>(&'a self, caller: &'a Caller, request: PruneRequest) -> Answer<'a, Collected>;
    /// Returns the rules of a project and how much it holds.
    fn project<'a>(&'a self, project: &'a ProjectName) -> Answer<'a, RegistryProject>;
    /// Replaces the rules of a project.
    fn set_project<'a>(
        &'a self,
        caller: &'a Caller,
        project: &'a ProjectName,
        rules: RegistryRules,
    ) -> Answer<'a, RegistryProject>;
    /// Throws away what the retention rules of a project say, or tells what would go.
    fn expire<'a>(
        &'a self,
        caller: &'a Caller,
        project: &'a ProjectName,
        request: PruneRequest,
    ) -> Answer<'a, ExpiredList>;
    /// Returns all logins.
    fn logins(&self) -> Answer<'_, LoginList>;
    /// Makes a login, or gives the one of this name other rights and another secret.
    fn add_login<'a>(&'a self, caller: &'a Caller, request: LoginRequest) -> Answer<'a, LoginMade>;
    /// Takes a login away.
    fn remove_login<'a>(&'a self, caller: &'a Caller, name: &'a str) -> Answer<'a, ()>;
}

/// Names that the daemon answers for.
pub trait Names: Send + Sync {
    /// Returns the zones.
    fn zones(&self) -> Answer<'_, ZoneList>;
    /// Returns records.
    fn records(&self, query: RecordsQuery) -> Answer<'_, RecordList>;
    /// Keeps a record.
    fn add_record<'a>(&'a self, caller: &'a Caller, record: NewRecord) -> Answer<'a, RecordView>;
    /// Forgets kept records.
    fn remove_record<'a>(&'a self, caller: &'a Caller, query: RecordQuery) -> Answer<'a, ()>;
    /// Returns the keys of one signed zone or of all.
    fn keys(&self, query: RecordsQuery) -> Answer<'_, ZoneKeyList>;
    /// Begins to roll the key of a zone; returns its keys.
    fn roll_key<'a>(&'a self, caller: &'a Caller, roll: KeyRoll) -> Answer<'a, ZoneKeyList>;
    /// Tells that the zone above names the new key; returns the zone's keys.
    fn key_seen<'a>(&'a self, caller: &'a Caller, seen: KeySeen) -> Answer<'a, ZoneKeyList>;
}

/// The ways from outside to the services of stands.
pub trait Routes: Send + Sync {
    /// Returns the routes of all stands.
    fn list(&self) -> Answer<'_, RouteList>;
    /// Returns what Traefik's HTTP provider reads.
    fn traefik(&self, query: EdgeQuery) -> Answer<'_, TraefikConfig>;
    /// Returns a piece of configuration for another edge, `nginx` or `haproxy`.
    fn snippet<'a>(&'a self, edge: &'a str, query: EdgeQuery) -> Answer<'a, EdgeSnippet>;
}

/// Certificates: those that are given or ordered, the private authority, clients.
pub trait Certificates: Send + Sync {
    /// Returns all certificates but those that are made in handshakes, by id, without their chains.
    fn certificates(&self) -> Answer<'_, CertificateList>;
    /// Returns one certificate with its chain.
    fn certificate<'a>(&'a self, id: &'a str) -> Answer<'a, CertificateView>;
    /// Records that a certificate is wanted; it is ordered beside the answer.
    fn issue<'a>(
        &'a self,
        caller: &'a Caller,
        order: CertificateOrder,
    ) -> Answer<'a, CertificateView>;
    /// Orders a certificate once more, beside the answer.
    fn renew<'a>(&'a self, caller: &'a Caller, id: &'a str) -> Answer<'a, CertificateView>;
    /// Takes a certificate back at its authority and out of service.
    fn revoke<'a>(&'a self, caller: &'a Caller, id: &'a str) -> Answer<'a, CertificateView>;
    /// Forgets a certificate that was ordered.
    fn forget<'a>(&'a self, caller: &'a Caller, id: &'a str) -> Answer<'a, ()>;
    /// Returns the roots of the private authority.
    fn roots(&self) -> Answer<'_, RootCertificates>;
    /// Returns the clients' certificates.
    fn clients(&self) -> Answer<'_, ClientList>;
    /// Makes a client's certificate; its key is told once.
    fn add_client<'a>(
        &'a self,
        caller: &'a Caller,
        request: ClientRequest,
    ) -> Answer<'a, ClientMade>;
    /// Takes a client's certificate back.
    fn revoke_client<'a>(&'a self, caller: &'a Caller, name: &'a str) -> Answer<'a, ()>;
}

/// Who is kept out of the doors.
pub trait Banning: Send + Sync {
    /// Returns who is kept out, and who never is.
    fn bans(&self) -> Answer<'_, BanList>;
    /// Keeps somebody out.
    fn ban<'a>(&'a self, caller: &'a Caller, request: BanRequest) -> Answer<'a, BanView>;
    /// Lets somebody in again.
    fn unban<'a>(&'a self, caller: &'a Caller, net: Subnet) -> Answer<'a, ()>;
    /// Says that somebody is never banned.
    fn allow<'a>(&'a self, caller: &'a Caller, net: Subnet) -> Answer<'a, BanList>;
    /// Takes that back.
    fn disallow<'a>(&'a self, caller: &'a Caller, net: Subnet) -> Answer<'a, ()>;
}

/// The SSH door.
pub trait Ssh: Send + Sync {
    /// Tells where it is, and the host's key.
    fn info(&self) -> Answer<'_, SshInfo>;
    /// Returns the keys that may sign in.
    fn keys(&self) -> Answer<'_, SshKeyList>;
    /// Lets a key sign in.
    fn add_key<'a>(&'a self, caller: &'a Caller, request: SshKeyRequest) -> Answer<'a, SshKeyView>;
    /// Takes a key away.
    fn remove_key<'a>(&'a self, caller: &'a Caller, name: &'a str) -> Answer<'a, ()>;
}

/// The daemon and its host.
pub trait System: Send + Sync {
    /// Tells what runs where.
    fn info(&self) -> Answer<'_, SystemInfo>;
    /// Looks at the host.
    fn doctor(&self) -> Answer<'_, DoctorReport>;
    /// Throws away what nothing needs.
    fn prune<'a>(&'a self, caller: &'a Caller, request: PruneRequest) -> Answer<'a, SystemPruned>;
}

/// Everything that the doors serve.
pub trait Platform: Send + Sync + 'static {
    /// Stands.
    fn stands(&self) -> &dyn Stands;
    /// Projects.
    fn projects(&self) -> &dyn Projects;
    /// Images.
    fn images(&self) -> &dyn Images;
    /// The registry of the house.
    fn registry(&self) -> &dyn Registry;
    /// Names that the daemon answers for.
    fn names(&self) -> &dyn Names;
    /// The ways from outside to the services of stands.
    fn routes(&self) -> &dyn Routes;
    /// Certificates.
    fn certificates(&self) -> &dyn Certificates;
    /// Who is kept out.
    fn banning(&self) -> &dyn Banning;
    /// The SSH door.
    fn ssh(&self) -> &dyn Ssh;
    /// The daemon and its host.
    fn system(&self) -> &dyn System;
}
