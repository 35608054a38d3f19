use crate::error::EngineError;
use daas_keeper::protocol::EventKind;
use daas_model::{ImageName, NodeName, Span, StandId, StandName, StandObserved, StandSpec};
use daas_plan::{Addresses, Step};
use std::collections::BTreeMap;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::broadcast;

/// What a stand shall be, with everything that was decided for it.
#[derive(Debug, Clone)]
pub struct Order {
    /// Its id.
    pub id: StandId,
    /// Its name.
    pub name: StandName,
    /// Its description.
    pub spec: Arc<StandSpec>,
    /// Its addresses inside.
    pub addresses: Addresses,
    /// Its own address on the host.
    pub host_address: Option<IpAddr>,
    /// How long nodes may take to end, instead of their own grace.
    pub grace: Option<Span>,
    /// The manifest digests that names of images stand for; a name without one is what it means now.
    pub pins: Pins,
}

/// Manifest digests that names of images stand for, however the names move.
pub type Pins = BTreeMap<ImageName, String>;

/// How far a long step is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// What it is about: an image or a node.
    pub subject: String,
    /// What happens, in words.
    pub text: String,
    /// How much is done, in bytes or parts.
    pub done: u64,
    /// How much there is, where it is known.
    pub total: Option<u64>,
}

/// Hears progress. Called often; must be quick.
pub type Teller = Arc<dyn Fn(Progress) + Send + Sync>;

/// Something that happened to a stand without being asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happening {
    /// The stand.
    pub stand: StandId,
    /// The node, where it is about one.
    pub node: Option<NodeName>,
    /// When, milliseconds of the Unix clock.
    pub at_ms: u64,
    /// What.
    pub kind: HappeningKind,
    /// The same in plain words.
    pub text: String,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HappeningKind {
    /// A keeper said so.
    Keeper(EventKind),
    /// The keeper itself is gone, and its nodes with it.
    Lost,
}

/// What the loops ask of whatever runs stands.
///
/// Every method is safe to drop and safe to repeat: a step that was done before changes nothing.
pub trait Engine: Send + Sync + 'static {
    /// Looks at a stand. A stand that nobody holds gives the empty observation.
    fn observe(
        &self,
        stand: &StandId,
    ) -> impl Future<Output = Result<StandObserved, EngineError>> + Send;

    /// Returns the digests of those images of `spec` that are in the store: the pinned one if it is there, or what the name means now.
    fn images(
        &self,
        spec: &StandSpec,
        pins: &Pins,
    ) -> impl Future<Output = Result<BTreeMap<ImageName, String>, EngineError>> + Send;

    /// Carries one step out and returns when it is done.
    fn apply(
        &self,
        order: &Order,
        step: &Step,
        tell: &Teller,
    ) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Makes the stand's ports answer at its address and its way out work; of a stand that is gone, takes them away.
    fn connect(&self, order: &Order) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Lists stands of which anything exists, held or not.
    fn known(&self) -> Vec<StandId>;

    /// Hears what happens from now on. A listener that is too slow misses some and must observe anew.
    fn listen(&self) -> broadcast::Receiver<Happening>;
}
