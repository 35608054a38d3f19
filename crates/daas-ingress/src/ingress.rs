use crate::access::AccessLog;
use crate::activity::Activity;
use crate::backend::Reach;
use crate::front::{Listener, Workers};
use crate::leaving::Leaving;
use crate::proxy::Proxy;
use crate::table::{Entry, StandRoutes, Table, TakenHost};
use crate::tls::{ChallengeAnswers, server_config};
use crate::wire::Timers;
use daas_engine::dial::Dialer;
use daas_model::{Explain, Kind, StandName, Subnet};
use daas_tasks::{Bans, Handle, Supervisor};
use rustls::server::ResolvesServerCert;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio_rustls::TlsAcceptor;

/// How often it is looked whether requests are through.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How often the access log is written.
const LOG_EVERY: Duration = Duration::from_millis(500);

/// Hears of requests to stands that sleep, which it should wake.
pub type Visited = Arc<dyn Fn(&StandName) + Send + Sync>;

/// Tells whether a host (lower case, without port) has a certificate that everybody trusts. Asked with plain requests: it must not block.
pub type IsSecure = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// What the ingress needs to know.
#[derive(Clone, Default)]
pub struct Settings {
    /// The number of threads; 0 takes one for each core.
    pub workers: usize,
    /// Timers and bounds.
    pub timers: Timers,
    /// Proxies before us whose word about clients is believed.
    pub trusted: Vec<Subnet>,
    /// Who shows certificates. Without one, listeners of TLS close what comes.
    pub certificates: Option<Arc<dyn ResolvesServerCert>>,
    /// Who is kept out for having failed too often.
    pub bans: Option<Bans>,
    /// Who answers certificate authorities.
    pub challenges: Option<Arc<dyn ChallengeAnswers>>,
    /// Tells for which hosts there is a certificate that everybody trusts: their plain requests are sent to TLS.
    pub is_secure: Option<IsSecure>,
    /// Zones in whose names an address may stand before the zone: `web.shop-7.192-168-1-10.<zone>` leads where `web.shop-7.<zone>` does.
    pub with_addresses: Vec<String>,
    /// Our own zones: a `*.` host that begins above one of them covers no name in it.
    pub zones: Vec<String>,
    /// Where the access log is written.
    pub access_log: Option<PathBuf>,
    /// Who hears of requests to stands that sleep.
    pub visited: Option<Visited>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("workers", &self.workers)
            .field("timers", &self.timers)
            .finish_non_exhaustive()
    }
}

/// An ingress that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum IngressError {
    /// The access log cannot be opened.
    #[error("cannot open the access log `{}`", path.display())]
    Log {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// TLS cannot be set up.
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
}

impl Explain for IngressError {
    fn code(&self) -> &'static str {
        match self {
            Self::Log { .. } => "ingress-log",
            Self::Tls(_) => "ingress-tls",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Log { .. } => Kind::Outside,
            Self::Tls(_) => Kind::Bug,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Log { .. } => {
                Some("the folder must be there and belong to the daemon's user".into())
            }
            Self::Tls(_) => None,
        }
    }
}

/// The way from outside to the nodes of stands. A clone is another handle of the same.
#[derive(Clone)]
pub struct Ingress {
    proxy: Arc<Proxy>,
    workers: Workers,
    count: usize,
    stands: Arc<Mutex<BTreeMap<StandName, Vec<Arc<Entry>>>>>,
    zones: Arc<[String]>,
    /// Nodes that are asked no more while requests to them may be under way.
    leaving: Leaving,
    tasks: Supervisor,
}

impl fmt::Debug for Ingress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ingress")
            .field("workers", &self.count)
            .finish_non_exhaustive()
    }
}

impl Ingress {
    /// Makes an ingress without routes and without listeners, and starts its workers. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`IngressError::Log`] if the access log cannot be written.
    pub fn new(
        settings: Settings,
        dialer: Dialer,
        tasks: Supervisor,
    ) -> Result<Self, IngressError> {
        let log = match &settings.access_log {
            Some(path) => Some(AccessLog::open(path).map_err(|source| IngressError::Log {
                path: path.clone(),
                source,
            })?),
            None => None,
        };
        let tls = match settings.certificates {
            Some(certificates) => Some(TlsAcceptor::from(Arc::new(server_config(certificates)?))),
            None => None,
        };
        if let Some(log) = &log {
            keep_writing(log.clone(), &tasks);
        }
        let proxy = Arc::new(Proxy {
            table: RwLock::default(),
            reach: Reach {
                dialer,
                tasks: tasks.clone(),
            },
            trusted: settings.trusted.clone(),
            patience: settings.timers.body,
            challenges: settings.challenges,
            log,
            secure_port: AtomicU16::new(0),
            bans: settings.bans.clone(),
            is_secure: settings.is_secure,
            with_addresses: settings.with_addresses,
            draining: AtomicBool::new(false),
            visited: settings.visited,
            changes: tokio::sync::watch::Sender::new(0),
        });
        let count = match settings.workers {
            0 => std::thread::available_parallelism().map_or(2, usize::from),
            count => count,
        };
        let workers = Workers::start(
            count,
            &proxy,
            tls,
            settings.timers,
            settings.trusted,
            &tasks,
        );
        Ok(Self {
            proxy,
            workers,
            count,
            stands: Arc::default(),
            zones: settings.zones.into(),
            leaving: Leaving::default(),
            tasks,
        })
    }

    /// Takes connections at these addresses until the shutdown.
    pub fn open(&self, listeners: &[Arc<Listener>]) {
        for listener in listeners {
            if listener.is_tls() {
                self.proxy
                    .secure_port
                    .store(listener.address().port(), Ordering::Relaxed);
            }
            let (workers, listener) = (self.workers.clone(), listener.clone());
            drop(
                self.tasks
                    .run(format!("ingress {}", listener.address()), move |shutdown| {
                        workers.accept(listener, shutdown)
                    }),
            );
        }
    }

    /// Takes connections at an address inside of a stand, until the shutdown or the end of the handle's task.
    pub fn open_inside(&self, listener: Listener) -> Handle<()> {
        let workers = self.workers.clone();
        self.tasks.run("ingress in a stand", move |shutdown| {
            workers.accept(Arc::new(listener), shutdown)
        })
    }

    /// Tells whether some route answers at a host, in small letters and without a last dot.
    #[must_use]
    pub fn has_host(&self, host: &str) -> bool {
        self.proxy.now().has_host(host)
    }

    /// Returns the hosts that lead not to a stand whose routes name them, because another one had them first.
    #[must_use]
    pub fn taken(&self) -> BTreeSet<TakenHost> {
        self.proxy.now().taken().clone()
    }

    /// Tells whether anything was said of a stand by [`Ingress::set`] that still holds.
    #[must_use]
    pub fn knows(&self, stand: &StandName) -> bool {
        let stands = self.stands.lock().unwrap_or_else(PoisonError::into_inner);
        stands.contains_key(stand)
    }

    /// Tells whether a request to a stand that may sleep is under way.
    #[must_use]
    pub fn is_visited(&self, stand: &StandName) -> bool {
        self.activity(stand)
            .is_some_and(|activity| activity.is_visited())
    }

    /// Returns when the last request to a stand that may sleep ended; nothing if there was none.
    #[must_use]
    pub fn last_visit(&self, stand: &StandName) -> Option<Instant> {
        self.activity(stand)?.last()
    }

    fn activity(&self, stand: &StandName) -> Option<Arc<Activity>> {
        let stands = self.stands.lock().unwrap_or_else(PoisonError::into_inner);
        Some(stands.get(stand)?.first()?.activity.clone())
    }

    /// Waits until no request goes to these nodes any more and those that did are through, `patience` at most. The nodes must be left out of what
    /// [`Ingress::set`] is told, before or meanwhile. Safe to drop.
    pub async fn drained(&self, stand: &StandName, nodes: &BTreeSet<String>, patience: Duration) {
        let end = Instant::now() + patience;
        let is_asked = || {
            let stands = self.stands.lock().unwrap_or_else(PoisonError::into_inner);
            let mut backends = stands
                .get(stand)
                .into_iter()
                .flatten()
                .flat_map(|entry| &entry.backends);
            backends.any(|backend| nodes.contains(&backend.upstream.node))
        };
        while Instant::now() < end && (is_asked() || self.leaving.are_busy(stand, nodes)) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Sets what of a stand answers outside from the next request on; nothing takes all of it away. Requests under way go on, and so do
    /// the open connections to nodes that stay.
    pub fn set(&self, stand: &StandName, routes: Option<StandRoutes>) {
        let mut stands = self.stands.lock().unwrap_or_else(PoisonError::into_inner);
        match routes {
            Some(routes) => {
                let before = stands.get(stand).map_or(&[][..], Vec::as_slice);
                let entries = Entry::of(stand, routes, before, self.count);
                self.leaving.note(stand, before, &entries);
                stands.insert(stand.clone(), entries);
            }
            None if stands.remove(stand).is_none() => return,
            None => {}
        }
        let table = Table::of(stands.values().flatten(), &self.zones);
        *self
            .proxy
            .table
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
        self.proxy.changes.send_modify(|count| *count += 1);
    }
}

/// Writes the access log now and then, and once more at the end.
fn keep_writing(log: AccessLog, tasks: &Supervisor) {
    let tasks_of = tasks.clone();
    drop(tasks.run("access log", move |shutdown| async move {
        loop {
            let ended = tokio::select! {
                () = tokio::time::sleep(LOG_EVERY) => false,
                () = shutdown.asked() => true,
            };
            let log = log.clone();
            if let Ok(Err(error)) = tasks_of
                .run_blocking("write access log", move || log.write())
                .await
            {
                tracing::warn!(%error, "cannot write the access log");
            }
            if ended {
                return;
            }
        }
    }));
}
