//! The life of the daemon, from the first process to the drain.

use crate::certificates;
use crate::config::{Config, ConfigError, Listen};
use crate::dns::Names;
use crate::handover::Handed;
use crate::ingress::Gates;
use crate::inside::EdgeInside;
use crate::registry::Doors;
use crate::ssh::SshGate;
use daas_api::DoorView;
use daas_control::{Control, ControlConfig, Rooms, recall_bans};
use daas_engine::publish::HostRange;
use daas_engine::{EngineConfig, EngineError, LocalEngine};
use daas_image::{Budget, RegistrySettings};
use daas_keeper::zygote::{self, ZygoteHandle};
use daas_model::{Explain, Kind};
use daas_server::{DoorError, Guard, Server, TcpDoor, Timers, TokenError, Tokens, UnixDoor};
use daas_store::{Store, StoreError};
use daas_tasks::{Bans, Supervisor};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};

/// How long tasks may take to end before they are dropped; nodes are not among them, they live on in their keepers.
const GRACE: Duration = Duration::from_secs(8);

/// A daemon that cannot start.
#[derive(Debug, Error)]
pub(crate) enum ServeError {
    #[error("cannot start without a configuration")]
    Config(#[from] ConfigError),
    #[error("cannot start a process for keepers")]
    Zygote(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
    #[error("cannot open the records")]
    Store(#[from] StoreError),
    #[error("cannot open the images")]
    Images(#[from] daas_image::ImageError),
    #[error("cannot start the engine")]
    Engine(#[from] EngineError),
    #[error("cannot start the loops")]
    Control(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("cannot open a door")]
    Door(#[from] DoorError),
    #[error("cannot read the tokens of {}", path.display())]
    Tokens {
        path: PathBuf,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("cannot open the registry")]
    Registry(#[from] daas_registry::RegistryError),
    #[error("cannot start the ingress")]
    Ingress(#[from] daas_ingress::IngressError),
    #[error("cannot listen at {address}")]
    Listen {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("cannot serve names")]
    Names(#[from] daas_dns::DnsError),
    #[error("cannot serve the registry over TLS")]
    Certificate(#[from] daas_server::CertificateError),
    #[error("cannot set up TLS for the API")]
    Tls(#[from] rustls::Error),
    #[error("cannot open the certificates")]
    Certificates(#[from] daas_certs::CertificatesError),
    #[error("cannot open the secrets of the SSH door")]
    Seal(#[from] daas_certs::SealError),
    #[error("cannot open the SSH door")]
    Keys(#[from] daas_ssh::KeyringError),
    #[error("cannot serve without root: stands need namespaces, mounts and cgroups")]
    NotRoot,
}

impl From<TokenError> for ServeError {
    fn from(source: TokenError) -> Self {
        Self::Tokens {
            path: PathBuf::new(),
            source: Box::new(source),
        }
    }
}

impl Explain for ServeError {
    fn code(&self) -> &'static str {
        match self {
            Self::Config(error) => error.code(),
            Self::Store(error) => error.code(),
            Self::Images(error) => error.code(),
            Self::Engine(error) => error.code(),
            Self::Door(error) => error.code(),
            Self::Registry(error) => error.code(),
            Self::Certificates(error) => error.code(),
            Self::Ingress(error) => error.code(),
            Self::Seal(error) => error.code(),
            Self::Keys(error) => error.code(),
            Self::Listen { .. } => "serve-listen",
            Self::Names(error) => error.code(),
            Self::Certificate(_) => "serve-certificate",
            Self::Tls(_) => "serve-tls",
            Self::Zygote(_) => "serve-zygote",
            Self::Runtime(_) => "serve-runtime",
            Self::Control(_) => "serve-control",
            Self::Tokens { .. } => "serve-tokens",
            Self::NotRoot => "serve-not-root",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Config(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Images(error) => error.kind(),
            Self::Engine(error) => error.kind(),
            Self::Door(error) => error.kind(),
            Self::Registry(error) => error.kind(),
            Self::Certificates(error) => error.kind(),
            Self::Ingress(error) => error.kind(),
            Self::Seal(error) => error.kind(),
            Self::Keys(error) => error.kind(),
            Self::Listen { .. } => Kind::Conflict,
            Self::Names(error) => error.kind(),
            Self::NotRoot => Kind::Forbidden,
            Self::Tokens { .. } | Self::Certificate(_) => Kind::Input,
            Self::Tls(_) => Kind::Bug,
            Self::Zygote(_) | Self::Runtime(_) | Self::Control(_) => Kind::Outside,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Config(error) => error.hint(),
            Self::Store(error) => error.hint(),
            Self::Images(error) => error.hint(),
            Self::Engine(error) => error.hint(),
            Self::Door(error) => error.hint(),
            Self::Registry(error) => error.hint(),
            Self::Certificates(error) => error.hint(),
            Self::Ingress(error) => error.hint(),
            Self::Seal(error) => error.hint(),
            Self::Keys(error) => error.hint(),
            Self::Listen { .. } => Some(
                "another program may listen there, `ss -tlnp` tells; `ingress.listen` or `ssh.listen` in the configuration names other addresses".into(),
            ),
            Self::Names(error) => error.hint(),
            Self::NotRoot => {
                Some("run it as root, or `daas system install` to let systemd run it".into())
            }
            _ => None,
        }
    }
}

/// Serves until SIGTERM or SIGINT. Stands live on; the next daemon takes them over.
///
/// Must be called before any thread exists: the process that bears keepers is forked first.
pub(crate) fn serve(config: Option<&Path>) -> Result<(), ServeError> {
    if !rustix::process::geteuid().is_root() {
        return Err(ServeError::NotRoot);
    }
    let handed = Handed::take();
    let config = Config::load(config)?;
    let zygote = zygote::fork().map_err(|fault| ServeError::Zygote(Box::new(fault)))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("daas")
        .build()
        .map_err(ServeError::Runtime)?;
    runtime.block_on(live(config, zygote, handed))
}

async fn live(config: Config, zygote: ZygoteHandle, mut handed: Handed) -> Result<(), ServeError> {
    let tasks = Supervisor::new();
    // The lock on the state directory comes first: a second daemon must touch nothing.
    let store = Store::open(&config.state)?;
    raise_limits();
    let images = daas_image::Store::open_with(
        &config.state.join("images"),
        Budget::default(),
        tasks.clone(),
    )?;
    let names = Names::open(
        &config.dns,
        config.addresses,
        &config.state,
        store.clone(),
        tasks.clone(),
    )?;
    let engine = LocalEngine::start(
        engine_config(&config, names.resolvers()),
        zygote,
        Arc::new(images),
        tasks.clone(),
    )
    .await?;
    come_beside_stands(&engine);
    let (bans, given) = Bans::new(config.bans.clone());
    let guard = guard(&config, &bans, &store)?;
    let doors = Doors::bind(&config.registry, &guard).await?;
    let registry = doors.registry(
        &config.registry,
        outside(&config),
        store.clone(),
        &engine,
        &tasks,
    )?;
    let certificates = certificates::open(&config, store.clone(), &names, &tasks).await?;
    if let Some(roots) = certificates::inside(&config, &certificates) {
        engine.trust_inside(roots);
    }
    let ssh = SshGate::bind(&config, &store, &mut handed).await?;
    let gates = Gates::bind(
        &config.ingress,
        certificates::shown(&config, &certificates),
        handed,
    )?;
    let (visit, visits) = tokio::sync::mpsc::unbounded_channel();
    let ingress = gates.ingress(
        &config,
        engine.dialer().clone(),
        &tasks,
        visit,
        bans.clone(),
    )?;
    engine.name_inside(EdgeInside::of(&config, &names, &gates, &ingress, &tasks));
    let control_config = ControlConfig {
        outside: gates.outside(&config),
        ssh: ssh.outside(config.ingress.zone.as_deref()),
        doors: all_doors(&config, &names, &gates, &doors, &ssh),
        registry_listens: doors.addresses(),
        state: config.state.clone(),
        addresses: HostRange::new(config.addresses),
        limits: config.limits,
        builds: daas_control::BuildSettings {
            certificates: config.builds.certificates.clone(),
            caches: config.builds.caches,
        },
        refresh: config.refresh,
        names: names.of_stands(),
    };
    let control = Control::start(
        control_config,
        store,
        engine.clone(),
        Rooms {
            registry: registry.clone(),
            ingress: ingress.clone(),
            certificates: certificates.clone(),
            bans: bans.clone(),
            keyring: ssh.keyring.clone(),
        },
        tasks.clone(),
    )
    .await
    .map_err(|failure| ServeError::Control(failure.into_error()))?;
    names.listen()?;
    doors.open(&registry, &tasks);
    // Whoever comes now must find the stands that are there.
    control.keep_sleep(visits);
    control.keep_bans(given);
    control.first_looks().await;
    gates.open(&ingress);
    ssh.open(&control, &bans, &tasks)?;
    certificates.start();
    open_doors(&config, control, &certificates, &guard, &tasks).await?;
    tracing::info!(socket = %config.socket.display(), state = %config.state.display(), "ready");
    tell_manager("READY=1");
    until_asked().await;
    drain(&engine, &tasks).await;
    Ok(())
}

/// Returns all doors with where they listen.
fn all_doors(
    config: &Config,
    names: &Names,
    gates: &Gates,
    registry: &Doors,
    ssh: &SshGate,
) -> Vec<DoorView> {
    let api = config.listen.iter();
    let api: Vec<String> = api.map(|listen| listen.address.to_string()).collect();
    let mut doors = vec![("socket", vec![config.socket.display().to_string()])];
    // Off unless somebody asks for it.
    doors.extend((!api.is_empty()).then_some(("api", api)));
    doors.extend([
        ("http", gates.addresses(false)),
        ("https", gates.addresses(true)),
        ("registry", registry.addresses()),
        ("names", names.addresses()),
        ("ssh", ssh.addresses()),
    ]);
    let view = |(door, listens): (&str, _)| DoorView {
        door: door.to_owned(),
        listens,
    };
    doors.into_iter().map(view).collect()
}

/// Ends everything but stands.
async fn drain(engine: &LocalEngine, tasks: &Supervisor) {
    tracing::info!("draining; stands live on");
    tell_manager("STOPPING=1");
    engine.leave().await;
    for name in tasks.shutdown(GRACE).await {
        tracing::warn!(task = %name, "did not finish within the grace");
    }
}

/// Lets busy stands give way to the platform, where the host can.
fn come_beside_stands(engine: &LocalEngine) {
    if let Err(error) = engine.come_beside_stands() {
        tracing::warn!(cause = %daas_model::render_chain(&error), "busy stands do not give way to the platform");
    }
}

/// Returns who is kept out of the doors: who was when the last daemon ended, and whoever fails from now on.
fn guard(config: &Config, bans: &Bans, store: &Store) -> Result<Guard, ServeError> {
    recall_bans(bans, store)?;
    Ok(Guard {
        bans: Some(bans.clone()),
        trusted: config.ingress.trusted.clone().into(),
    })
}

fn engine_config(config: &Config, upstreams: Vec<SocketAddr>) -> EngineConfig {
    EngineConfig {
        state: config.state.clone(),
        cgroup_root: config.cgroup.clone(),
        spares: config.spares,
        spare_disk: config.limits.disk,
        registries: outside(config),
        upstreams,
        reachable: config.reachable.clone(),
    }
}

/// Returns how outside registries are reached.
fn outside(config: &Config) -> RegistrySettings {
    RegistrySettings {
        mirrors: config.mirrors.clone(),
        insecure: config.insecure.iter().cloned().collect(),
        ..RegistrySettings::default()
    }
}

/// Lets everybody in to the API.
async fn open_doors(
    config: &Config,
    control: Control,
    certificates: &daas_certs::Certificates,
    guard: &Guard,
    tasks: &Supervisor,
) -> Result<(), ServeError> {
    let server = Server::new(Arc::new(control), tasks.clone());
    server.open_unix(UnixDoor::bind(&config.socket)?, Timers::local());
    for listen in &config.listen {
        let door = tcp_door(listen, certificates).await?.guarded(guard.clone());
        server.open_tcp(door, Timers::public());
    }
    Ok(())
}

/// Binds an address of the API, for TLS where it is not told otherwise.
async fn tcp_door(
    listen: &Listen,
    certificates: &daas_certs::Certificates,
) -> Result<TcpDoor, ServeError> {
    let tokens = listen.tokens.as_deref().map(read_tokens).transpose()?;
    let tokens = tokens.unwrap_or_default();
    if !listen.tls {
        return Ok(TcpDoor::bind(listen.address, tokens).await?);
    }
    let (config, clients) = certificates::of_door(certificates, listen.clients.clone())?;
    Ok(TcpDoor::bind_tls(listen.address, tokens, config, clients).await?)
}

fn read_tokens(path: &Path) -> Result<Tokens, ServeError> {
    let fault = |source: Box<dyn std::error::Error + Send + Sync>| ServeError::Tokens {
        path: path.to_owned(),
        source,
    };
    let text = std::fs::read_to_string(path).map_err(|e| fault(e.into()))?;
    Tokens::parse(&text).map_err(|e| fault(e.into()))
}

/// Raises the limit of open files to what the system allows: every stand takes about ten.
fn raise_limits() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    // A refusal leaves the limit that was there.
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: now.maximum,
            maximum: now.maximum,
        },
    );
}

async fn until_asked() {
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        tracing::error!("cannot listen to signals; ending");
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Tells systemd how the daemon is, where it asked to be told (`sd_notify(3)`).
fn tell_manager(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let socket = std::os::unix::net::UnixDatagram::unbound();
    // A manager that does not listen is its own trouble.
    let _ = socket.and_then(|s| s.send_to(state.as_bytes(), path));
}
