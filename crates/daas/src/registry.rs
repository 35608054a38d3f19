//! The registry's place in the house: its doors on the host and inside of every stand.

use crate::config::RegistryConfig;
use crate::serve::ServeError;
use daas_engine::{InnerService, LocalEngine};
use daas_image::{Registries, RegistrySettings};
use daas_model::ProjectName;
use daas_registry::{Door, Registry, Settings};
use daas_server::{Certificate, Guard, OpenDoor, Timers};
use daas_tasks::{Handle, Supervisor};
use std::sync::Arc;
use tokio::net::TcpListener;

/// The registry before anybody is let in.
pub(crate) struct Doors {
    doors: Vec<OpenDoor>,
    tls: bool,
}

impl Doors {
    /// Binds what the configuration asks for. The address that nobody asked for may be taken by somebody else.
    pub(crate) async fn bind(config: &RegistryConfig, guard: &Guard) -> Result<Self, ServeError> {
        let certificate = match &config.certificate {
            Some((chain, key)) => Some(Certificate::read(chain, key)?),
            None => None,
        };
        let mut doors = Vec::new();
        for address in &config.listen {
            match OpenDoor::bind(*address, certificate.as_ref()).await {
                Ok(door) => doors.push(door.guarded(guard.clone())),
                Err(error) if config.listen_is_default => {
                    tracing::warn!(%address, cause = %daas_model::render_chain(&error), "the registry is not served on the host; stands reach it all the same");
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Self {
            doors,
            tls: certificate.is_some(),
        })
    }

    /// Returns where they are.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.doors
            .iter()
            .map(|door| door.address().to_string())
            .collect()
    }

    /// Opens the registry behind them; nobody is served yet.
    pub(crate) fn registry(
        &self,
        config: &RegistryConfig,
        outside: RegistrySettings,
        store: daas_store::Store,
        engine: &LocalEngine,
        tasks: &Supervisor,
    ) -> Result<Registry, ServeError> {
        keep_freed_memory();
        let mut names = config.names.clone();
        for door in &self.doors {
            names.insert(door.address().to_string());
            if door.address().ip().is_loopback() {
                names.insert(format!("localhost:{}", door.address().port()));
            }
        }
        let settings = Settings {
            names,
            caches: config.caches.clone(),
            grace: config.grace.0,
            ..Settings::default()
        };
        // Somebody waits for the answer, and there is a copy to give: one repetition, not half a minute of them.
        let outside = Registries::new(RegistrySettings {
            retries: 1,
            ..outside
        })?;
        let registry = Registry::open(
            settings,
            store,
            engine.images().clone(),
            Arc::new(outside),
            tasks.clone(),
        )?;
        engine.registries().serve_own(Arc::new(registry.clone()));
        engine.serve_inside(Arc::new(Inside {
            registry: registry.clone(),
            tasks: tasks.clone(),
        }));
        Ok(registry)
    }

    /// Lets everybody in.
    pub(crate) fn open(self, registry: &Registry, tasks: &Supervisor) {
        for door in self.doors {
            let router = registry.router(Door::Network { tls: self.tls });
            drop(door.serve(router, tasks, Timers::public()));
        }
    }
}

/// Makes the allocator keep some MiB of what is freed, in place of giving every buffer of an upload back to the kernel and getting
/// it anew page by page.
///
/// glibc takes the largest block that it has got from the kernel by itself and freed for its new threshold (mallopt(3),
/// `M_MMAP_THRESHOLD`), and twice that for what stays free at the top.
fn keep_freed_memory() {
    drop(std::hint::black_box(vec![1_u8; 4 << 20]));
}

/// The registry at the gateways of stands.
struct Inside {
    registry: Registry,
    tasks: Supervisor,
}

impl InnerService for Inside {
    fn serve(&self, project: &ProjectName, listener: TcpListener) -> Handle<()> {
        let router = self.registry.router(Door::Stand(project.clone()));
        match OpenDoor::inside(listener) {
            Ok(door) => door.serve(router, &self.tasks, Timers::public()),
            Err(error) => self.tasks.run("registry in a stand", move |_| async move {
                tracing::warn!(%error, "the registry is not served inside of a stand");
            }),
        }
    }
}
