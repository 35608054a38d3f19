//! The engine of this machine: a keeper for each stand.

mod calm;
mod conversation;
mod giving_way;
mod images;
mod keepers;
mod look;
mod over;
mod session;
mod steps;
mod terminal;
mod trust;
mod ways;

pub use keepers::new_stand_id;
pub use look::{StandUsage, Usage};
pub use over::Over;
pub use session::{Copied, ExecEnd, ExecRequest, ExecSession};
pub use terminal::AsyncPipe;
pub use trust::{AUTHORITIES_BEGIN, AUTHORITIES_END, java_list};
pub use ways::{InnerEdge, InnerService};

use crate::dial::Dialer;
use crate::egress::{EgressProxy, FullConfig, FullEgress, ProxyConfig};
use crate::engine::{Engine, Happening, HappeningKind, Order, Pins, Teller};
use crate::error::EngineError;
use crate::layout::{Layout, Ranges};
use crate::link::{Heard, Link};
use crate::publish::Publisher;
use daas_keeper::launch::KeeperSeed;
use daas_keeper::protocol::{CgroupPaths, Request, Response};
use daas_keeper::zygote::ZygoteHandle;
use daas_model::{ByteSize, ImageName, StandId, StandObserved, StandSpec, Subnet};
use daas_plan::Step;
use daas_tasks::Supervisor;
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use tokio::sync::{broadcast, mpsc};

/// The suffix under which names of a stand answer inside of it; `.test` never exists outside (RFC 6761, section 6.2).
const SUFFIX: &str = "stand.test";
/// How many happenings a slow listener may be behind before it misses some.
const BEHIND: usize = 4096;

/// What the engine of this machine needs to know.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// The state directory, `/var/lib/daas`.
    pub state: PathBuf,
    /// The folder of the platform's cgroups below each hierarchy's mount point.
    pub cgroup_root: String,
    /// How many keepers are held ready for stands that nobody has asked for yet.
    pub spares: usize,
    /// The disk of a spare; a stand that wants another one waits some milliseconds longer.
    pub spare_disk: ByteSize,
    /// How registries are reached: mirrors, credentials, those without TLS.
    pub registries: daas_image::RegistrySettings,
    /// Name servers that stands with a way out may ask.
    pub upstreams: Vec<SocketAddr>,
    /// Blocks that stands may reach through the proxy though they are not public.
    pub reachable: Vec<Subnet>,
}

/// The engine of this machine. A clone is another handle of the same.
#[derive(Debug, Clone)]
pub struct LocalEngine {
    inner: Arc<Inner>,
}

struct Inner {
    config: EngineConfig,
    layout: Layout,
    zygote: ZygoteHandle,
    images: Arc<daas_image::Store>,
    registries: Arc<daas_image::Registries>,
    tasks: Supervisor,
    stands: Mutex<HashMap<StandId, Place>>,
    spares: tokio::sync::Mutex<Vec<Spare>>,
    /// Held by whoever makes spares; false once none are to be made any more.
    refilling: tokio::sync::Mutex<bool>,
    ranges: Mutex<Ranges>,
    happenings: broadcast::Sender<Happening>,
    publisher: Publisher,
    dialer: Dialer,
    proxy: EgressProxy,
    full: FullEgress,
    ways: ways::Ways,
    facts: images::FactsCache,
    inner_service: OnceLock<Arc<dyn InnerService>>,
    inner_edge: OnceLock<Arc<dyn InnerEdge>>,
    trust: trust::Trust,
    calm: calm::Calm,
    /// The groups of all stands together.
    platform_cgroups: CgroupPaths,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalEngine")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// What there is of a stand on this machine.
#[derive(Debug, Clone)]
struct Place {
    dir: PathBuf,
    seed: KeeperSeed,
    /// Its keeper; nothing when that died and only files are left.
    link: Option<Arc<Link>>,
}

/// A keeper without a stand.
#[derive(Debug)]
struct Spare {
    dir: PathBuf,
    seed: KeeperSeed,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LocalEngine {
    /// Starts the engine: takes over the keepers that outlived the last daemon, sweeps what dead ones left, makes spares.
    ///
    /// # Errors
    /// [`EngineError`] if the state directory cannot be used.
    pub async fn start(
        config: EngineConfig,
        zygote: ZygoteHandle,
        images: Arc<daas_image::Store>,
        tasks: Supervisor,
    ) -> Result<Self, EngineError> {
        let layout = Layout {
            state: config.state.clone(),
        };
        layout.make()?;
        let platform_cgroups = prepare_host(&config.cgroup_root)?;
        let dialer = Dialer::new().map_err(|source| EngineError::Keeper { source })?;
        let publisher = Publisher::new(dialer.clone(), tasks.clone());
        let (accesses, told) = mpsc::channel(ways::ACCESSES);
        let proxy = EgressProxy::new(
            dialer.clone(),
            tasks.clone(),
            ProxyConfig {
                outbound: crate::egress::Outbound {
                    allow: config.reachable.clone(),
                },
                ..ProxyConfig::default()
            },
            accesses,
        );
        tasks.run("accesses through the proxy", |shutdown| {
            ways::write_accesses(told, shutdown)
        });
        let registries =
            daas_image::Registries::new(config.registries.clone()).map_err(|source| {
                EngineError::Registries {
                    source: Box::new(source),
                }
            })?;
        let inner = Inner {
            registries: Arc::new(registries),
            trust: trust::Trust::new(layout.trust()),
            layout,
            zygote,
            images,
            tasks,
            stands: Mutex::default(),
            spares: tokio::sync::Mutex::default(),
            refilling: tokio::sync::Mutex::new(true),
            ranges: Mutex::default(),
            happenings: broadcast::channel(BEHIND).0,
            publisher,
            proxy,
            full: FullEgress::new(dialer.clone(), FullConfig::default()),
            ways: ways::Ways::default(),
            dialer,
            facts: images::FactsCache::default(),
            inner_service: OnceLock::new(),
            inner_edge: OnceLock::new(),
            calm: calm::Calm::default(),
            platform_cgroups,
            config,
        };
        let engine = Self {
            inner: Arc::new(inner),
        };
        engine.take_over().await?;
        if lock(&engine.inner.stands).is_empty() {
            engine.inner.trust.sweep()?;
        }
        engine.sweep_ways().await;
        engine.refill();
        engine.let_give_way();
        Ok(engine)
    }

    /// Moves this program beside the stands, as far as processors are concerned: those who take much give way to it as well. For a daemon.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn come_beside_stands(&self) -> Result<(), EngineError> {
        daas_sys::cgroup::Root::find(&self.inner.config.cgroup_root)
            .and_then(|root| root.come_beside())
            .map_err(|fault| EngineError::Host {
                source: Box::new(fault),
            })
    }

    /// Says what is served inside of every stand, at port 80 of its gateways. Once, before stands are connected.
    pub fn serve_inside(&self, service: Arc<dyn InnerService>) {
        // Only the house calls this, once.
        let _ = self.inner.inner_service.set(service);
    }

    /// Says who serves names of the platform inside of stands that have a way out. Once, before stands are connected.
    pub fn name_inside(&self, edge: Arc<dyn InnerEdge>) {
        // Only the house calls this, once.
        let _ = self.inner.inner_edge.set(edge);
    }

    /// Says which authorities, as PEM, nodes trust beside those of their images. Once, before stands are looked at.
    pub fn trust_inside(&self, roots: String) {
        self.inner.trust.set(roots);
    }

    /// Returns the authorities that nodes trust beside those of their images.
    #[must_use]
    pub fn trusted_inside(&self) -> Option<&str> {
        self.inner.trust.roots()
    }

    /// Returns the store of images.
    #[must_use]
    pub fn images(&self) -> &Arc<daas_image::Store> {
        &self.inner.images
    }

    /// Returns the registries that images are fetched from.
    #[must_use]
    pub fn registries(&self) -> &Arc<daas_image::Registries> {
        &self.inner.registries
    }

    /// Returns the way out of what is fetched for builds: that of the stands' proxy.
    #[must_use]
    pub fn outside(&self) -> crate::egress::Outside {
        self.inner.proxy.outside()
    }

    /// Returns what reaches into stands.
    #[must_use]
    pub fn dialer(&self) -> &Dialer {
        &self.inner.dialer
    }

    fn forget_link(&self, stand: &StandId) {
        if let Some(place) = lock(&self.inner.stands).get_mut(stand) {
            place.link = None;
        }
    }

    fn place(&self, stand: &StandId) -> Option<Place> {
        lock(&self.inner.stands).get(stand).cloned()
    }

    fn link(&self, stand: &StandId) -> Result<Arc<Link>, EngineError> {
        self.place(stand)
            .and_then(|place| place.link)
            .filter(|link| !link.has_ended())
            .ok_or_else(|| EngineError::Gone {
                stand: stand.clone(),
            })
    }

    /// Connects to the keeper in `dir` and passes on what it says about `stand`.
    async fn connect_keeper(
        &self,
        dir: &std::path::Path,
        stand: &StandId,
    ) -> Result<Arc<Link>, EngineError> {
        let inner = Arc::downgrade(&self.inner);
        let id = stand.clone();
        let hear = move |heard: Heard| {
            let Some(inner) = inner.upgrade() else { return };
            let happening = match heard {
                Heard::Event(event) => Happening {
                    stand: id.clone(),
                    node: event.node,
                    at_ms: event.at_ms,
                    kind: HappeningKind::Keeper(event.kind),
                    text: event.text,
                },
                Heard::End => {
                    let lost = lock(&inner.stands)
                        .get_mut(&id)
                        .is_some_and(|place| place.link.take().is_some());
                    if !lost {
                        return;
                    }
                    Happening {
                        stand: id.clone(),
                        node: None,
                        at_ms: now_ms(),
                        kind: HappeningKind::Lost,
                        text: "the keeper has died and its nodes with it".into(),
                    }
                }
            };
            // Nobody listening is fine: who listens later observes first.
            let _ = inner.happenings.send(happening);
        };
        Ok(Arc::new(Link::connect(dir, &self.inner.tasks, hear).await?))
    }
}

/// Makes the platform's cgroups and raises tables of the kernel that all stands share.
fn prepare_host(cgroup_root: &str) -> Result<CgroupPaths, EngineError> {
    let fault = |source: daas_sys::Fault| EngineError::Host {
        source: Box::new(source),
    };
    let root = daas_sys::cgroup::Root::find(cgroup_root).map_err(fault)?;
    root.prepare().map_err(fault)?;
    raise_inotify();
    for family in ["ipv4", "ipv6"] {
        if let Err(error) = daas_sys::netns::NeighbourThresholds::WANTED.raise(family) {
            tracing::warn!(cause = %error, family, "cannot raise the kernel's neighbour table; hundreds of stands need it");
        }
    }
    let whole = root.whole();
    Ok(CgroupPaths {
        unified: Some(whole.unified().to_owned()),
        v1: whole.v1().clone(),
    })
}

/// How many inotify instances root may have: one for each keeper, and the host's own programs. The kernel's default is 128 (inotify(7)).
const INOTIFY_INSTANCES: u32 = 8192;

/// Raises the number of inotify instances, unless it is high enough.
fn raise_inotify() {
    const PATH: &str = "/proc/sys/fs/inotify/max_user_instances";
    let now = std::fs::read_to_string(PATH)
        .ok()
        .and_then(|text| text.trim().parse::<u32>().ok());
    if now.is_some_and(|now| now < INOTIFY_INSTANCES)
        && let Err(error) = std::fs::write(PATH, INOTIFY_INSTANCES.to_string())
    {
        tracing::warn!(cause = %error, "cannot raise the number of inotify instances; about a hundred stands fit");
    }
}

/// Milliseconds of the Unix clock, for people.
fn now_ms() -> u64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Engine for LocalEngine {
    async fn observe(&self, stand: &StandId) -> Result<StandObserved, EngineError> {
        let Ok(link) = self.link(stand) else {
            return Ok(StandObserved::default());
        };
        match link.ask(Request::Status).await {
            Ok(Response::Status(status)) => Ok(status.observed),
            Err(EngineError::Gone { .. }) => Ok(StandObserved::default()),
            Ok(_) => Err(EngineError::Gone {
                stand: stand.clone(),
            }),
            Err(error) => Err(error),
        }
    }

    async fn images(
        &self,
        spec: &StandSpec,
        pins: &Pins,
    ) -> Result<BTreeMap<ImageName, String>, EngineError> {
        self.digests(spec, pins)
    }

    async fn apply(&self, order: &Order, step: &Step, tell: &Teller) -> Result<(), EngineError> {
        let _busy = self.inner.calm.disturb();
        self.carry_out(order, step, tell).await
    }

    async fn connect(&self, order: &Order) -> Result<(), EngineError> {
        let _busy = self.inner.calm.disturb();
        self.build_roads(order).await
    }

    fn known(&self) -> Vec<StandId> {
        lock(&self.inner.stands).keys().cloned().collect()
    }

    fn listen(&self) -> broadcast::Receiver<Happening> {
        self.inner.happenings.subscribe()
    }
}
