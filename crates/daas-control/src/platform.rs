use crate::keep::Keep;
use crate::names::StandNames;
use crate::operations::Operations;
use crate::routes::{ExposedOf, Outside};
use crate::ssh::SshOutside;
use daas_api::platform::{
    Banning, Certificates, Images, Names, Platform, Projects, Registry, Routes, Ssh, Stands, System,
};
use daas_api::{DoorView, Failure};
use daas_build::BuildSettings;
use daas_engine::LocalEngine;
use daas_engine::publish::HostRange;
use daas_model::{Limits, Span};
use daas_store::Store;
use daas_tasks::{Bans, Supervisor};
use std::path::PathBuf;
use std::sync::Arc;

/// What the platform needs to know.
#[derive(Debug, Clone)]
pub struct ControlConfig {
    /// The state directory.
    pub state: PathBuf,
    /// The addresses on the host that stands get.
    pub addresses: HostRange,
    /// The ceiling of a stand whose project names none.
    pub limits: Limits,
    /// Where stands are found by name.
    pub names: StandNames,
    /// Where the registry listens on the host, for people.
    pub registry_listens: Vec<String>,
    /// How the ingress is seen from outside.
    pub outside: Outside,
    /// How the SSH door is seen from outside.
    pub ssh: SshOutside,
    /// All doors, for people.
    pub doors: Vec<DoorView>,
    /// How images are built.
    pub builds: BuildSettings,
    /// How often images of packages are made anew; nothing for never.
    pub refresh: Option<Span>,
}

/// The rooms that the loops work with.
#[derive(Debug, Clone)]
pub struct Rooms {
    /// The registry.
    pub registry: daas_registry::Registry,
    /// The ingress.
    pub ingress: daas_ingress::Ingress,
    /// The certificates.
    pub certificates: daas_certs::Certificates,
    /// Who is kept out of the doors.
    pub bans: Bans,
    /// The keys that may sign in over SSH.
    pub keyring: daas_ssh::Keyring,
}

/// The platform: loops and everything that the doors ask. A clone is another handle of the same.
#[derive(Clone)]
pub struct Control {
    pub(crate) keep: Keep<LocalEngine>,
    pub(crate) engine: LocalEngine,
    pub(crate) registry: daas_registry::Registry,
    pub(crate) ingress: daas_ingress::Ingress,
    pub(crate) certificates: daas_certs::Certificates,
    /// Who is kept out of the doors.
    pub(crate) bans: Bans,
    /// Who may sign in over SSH.
    pub(crate) keyring: daas_ssh::Keyring,
    /// What images say about ports.
    pub(crate) exposed: Arc<ExposedOf>,
    /// Stands that may sleep.
    pub(crate) sleepers: Arc<crate::sleep::Sleepers>,
    pub(crate) store: Store,
    pub(crate) builder: daas_build::Builder,
    pub(crate) operations: Operations,
    pub(crate) tasks: Supervisor,
    pub(crate) config: Arc<ControlConfig>,
    pub(crate) started_ms: u64,
    /// One request that gives names or addresses at a time, so that none is given twice.
    pub(crate) naming: Arc<tokio::sync::Mutex<()>>,
    pub(crate) in_the_making: crate::service_builds::InTheMaking,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Control {
    /// Starts a loop for every stand that is recorded.
    ///
    /// # Errors
    /// A [`Failure`] if the records cannot be read or what no record knows cannot be closed.
    pub async fn start(
        config: ControlConfig,
        store: Store,
        engine: LocalEngine,
        rooms: Rooms,
        tasks: Supervisor,
    ) -> Result<Self, Failure> {
        let Rooms {
            registry,
            ingress,
            certificates,
            bans,
            keyring,
        } = rooms;
        let operations = Operations::default();
        let builder = daas_build::Builder::open(
            engine.clone(),
            tasks.clone(),
            config.state.join("build"),
            config.builds.clone(),
        )?;
        let keep = Keep::start(
            store.clone(),
            Arc::new(engine.clone()),
            operations.clone(),
            tasks.clone(),
        )
        .await?;
        keep.drain(ingress.clone());
        let control = Self {
            keep,
            engine,
            registry,
            ingress,
            certificates,
            bans,
            keyring,
            exposed: Arc::default(),
            sleepers: Arc::default(),
            store,
            builder,
            operations,
            tasks,
            config: Arc::new(config),
            started_ms: crate::stand_loop::now_ms(),
            naming: Arc::default(),
            in_the_making: Arc::default(),
        };
        control.follow_names()?;
        control.keep_registry();
        control.keep_routes();
        control.keep_refreshed();
        control.show_certificates_of_stands();
        Ok(control)
    }
}

impl Platform for Control {
    fn stands(&self) -> &dyn Stands {
        self
    }

    fn projects(&self) -> &dyn Projects {
        self
    }

    fn images(&self) -> &dyn Images {
        self
    }

    fn registry(&self) -> &dyn Registry {
        self
    }

    fn names(&self) -> &dyn Names {
        self
    }

    fn routes(&self) -> &dyn Routes {
        self
    }

    fn certificates(&self) -> &dyn Certificates {
        self
    }

    fn banning(&self) -> &dyn Banning {
        self
    }

    fn ssh(&self) -> &dyn Ssh {
        self
    }

    fn system(&self) -> &dyn System {
        self
    }
}
