//! The stand of a build: opened when the first command must run, one ceiling over all of its steps, closed with the build.

use crate::error::BuildError;
use crate::follow::{Follower, Piece};
use daas_engine::{Engine, Happening, HappeningKind, LocalEngine, Order, Over, new_stand_id};
use daas_engine::{EventKind, Teller};
use daas_model::{
    Attachment, Egress, FileName, ImageName, Limits, NetworkMode, NetworkName, NetworkSpec,
    NodeName, NodeSpec, NodeState, ProjectName, ServiceName, Span, StandId, StandKind, StandName,
    StandSpec,
};
use daas_plan::{Addresses, Step, assign};
use daas_tasks::Supervisor;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OnceCell, broadcast};

/// How long the loop waits for an event before it looks for itself.
const LOOK: Duration = Duration::from_secs(5);
/// How long a ceiling may be told behind the end of a command that failed.
const HEAR_OUT: Duration = Duration::from_millis(1200);

/// What the whole build may use and reach.
#[derive(Debug, Clone)]
pub(crate) struct Ground {
    pub(crate) project: ProjectName,
    pub(crate) limits: Limits,
    pub(crate) egress: Egress,
    /// Contents of secrets; only in the keeper's memory.
    pub(crate) files: BTreeMap<FileName, Vec<u8>>,
    pub(crate) extra_hosts: BTreeMap<String, Vec<IpAddr>>,
    pub(crate) shm_size: Option<daas_model::ByteSize>,
    pub(crate) ulimits: BTreeMap<String, daas_model::Ulimit>,
}

/// What a command is connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Network {
    /// Nothing.
    None,
    /// The build's own network, with its way out.
    Stand,
    /// That of the host: somebody has granted it.
    Host,
}

/// One command to run.
pub(crate) struct Command {
    pub(crate) over: Over,
    pub(crate) network: Network,
    /// Files of secrets.
    pub(crate) files: Vec<daas_model::FileGrant>,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    /// The ceiling that it met, in words.
    pub(crate) ceiling: Option<String>,
}

/// The stand.
pub(crate) struct BuildStand {
    engine: LocalEngine,
    tasks: Supervisor,
    ground: Ground,
    id: StandId,
    name: StandName,
    opened: OnceCell<()>,
    /// Its description so far: every step adds its node.
    grown: Mutex<(StandSpec, Addresses)>,
}

impl BuildStand {
    pub(crate) fn new(engine: LocalEngine, tasks: Supervisor, ground: Ground) -> Self {
        let id = new_stand_id();
        let name = StandName::parse(&format!("build-{id}"))
            .expect("a literal and hexadecimal digits match the grammar");
        let spec = StandSpec {
            project: ground.project.clone(),
            kind: StandKind::Build,
            nodes: BTreeMap::new(),
            networks: BTreeMap::from([(network(), NetworkSpec::default())]),
            volumes: BTreeMap::new(),
            files: ground.files.clone(),
            limits: ground.limits,
            egress: ground.egress,
            ttl: None,
            routes: Vec::new(),
            sleep_after: None,
        };
        let addresses = assign(&spec, &Addresses::default()).unwrap_or_default();
        Self {
            engine,
            tasks,
            ground,
            id,
            name,
            opened: OnceCell::new(),
            grown: Mutex::new((spec, addresses)),
        }
    }

    fn order(&self) -> Order {
        let grown = self.grown.lock().unwrap_or_else(PoisonError::into_inner);
        Order {
            id: self.id.clone(),
            name: self.name.clone(),
            spec: Arc::new(grown.0.clone()),
            addresses: grown.1.clone(),
            host_address: None,
            grace: Some(Span::secs(0)),
            pins: daas_engine::Pins::new(),
        }
    }

    /// Returns the address of the proxy that commands find, if they have one; for programs that read `http_proxy`, which nodes are not given.
    pub(crate) fn proxy(&self) -> Option<String> {
        if self.ground.egress != Egress::Proxy {
            return None;
        }
        let grown = self.grown.lock().unwrap_or_else(PoisonError::into_inner);
        let gateway = grown
            .1
            .networks
            .get(&network())?
            .gateways
            .iter()
            .find(|address| address.is_ipv4())?;
        Some(format!(
            "http://{gateway}:{}",
            daas_engine::egress::PROXY_PORT
        ))
    }

    /// Adds the node of a step, with an address that no other step has.
    fn add_node(&self, name: &NodeName, command: &Command) -> Result<Order, BuildError> {
        let mut node = NodeSpec::new(
            ServiceName::parse("step").expect("a literal that matches the grammar"),
            ImageName::parse("step").expect("a literal that matches the grammar"),
        );
        node.hostname = Some("build".into());
        node.network = match command.network {
            Network::Stand => NetworkMode::Networks(vec![attachment()]),
            Network::None => NetworkMode::None,
            Network::Host => NetworkMode::Host,
        };
        node.extra_hosts.clone_from(&self.ground.extra_hosts);
        node.files.clone_from(&command.files);
        node.shm_size = self.ground.shm_size;
        node.ulimits.clone_from(&self.ground.ulimits);
        {
            let mut grown = self.grown.lock().unwrap_or_else(PoisonError::into_inner);
            grown.0.nodes.insert(name.clone(), node);
            grown.1 = assign(&grown.0, &grown.1).map_err(|e| BuildError::Request {
                why: format!("cannot give an address to a step: {e}"),
                hint: None,
            })?;
        }
        Ok(self.order())
    }

    async fn open(&self) -> Result<(), BuildError> {
        self.opened
            .get_or_try_init(|| async {
                let order = self.order();
                let base = Step::Open {
                    base: "build".into(),
                };
                self.engine.apply(&order, &base, &silent()).await?;
                self.engine.connect(&order).await?;
                Ok::<(), BuildError>(())
            })
            .await
            .map(|_| ())
    }

    /// Runs one command to its end and passes on what it writes.
    ///
    /// Dropping it leaves the command running until the stand is closed.
    pub(crate) async fn run(
        &self,
        name: &NodeName,
        command: Command,
        output_limit: u64,
        hear: impl Fn(Piece) + Send + Sync + 'static,
    ) -> Result<Ended, BuildError> {
        self.open().await?;
        let order = self.add_node(name, &command)?;
        let mut happenings = self.engine.listen();
        let log = self
            .engine
            .log_of(&self.id, name)
            .ok_or(BuildError::Cancelled)?;
        self.engine.start_over(&order, name, command.over).await?;
        let mut follower = Follower::begin(&self.tasks, log, output_limit, hear);
        let mut met = Met::default();
        let code = loop {
            let next = tokio::select! {
                next = tokio::time::timeout(LOOK, happenings.recv()) => next,
                () = follower.flooded() => {
                    met.flood = true;
                    self.stop(&order, name).await?;
                    break 137;
                }
            };
            match next {
                Ok(Ok(happening)) => {
                    if let Some(code) = self.heard(name, happening, &mut met)? {
                        break code;
                    }
                }
                // Words were missed, or there were none: look.
                Ok(Err(broadcast::error::RecvError::Lagged(_))) | Err(_) => {
                    if let Some(code) = self.look(name, &mut met).await? {
                        break code;
                    }
                }
                Ok(Err(broadcast::error::RecvError::Closed)) => return Err(BuildError::Cancelled),
            }
        };
        follower.end().await;
        if code != 0 && !met.flood {
            met.disk |= self.is_disk_full(name).await;
            self.hear_out(name, &mut happenings, &mut met).await?;
        }
        Ok(Ended {
            code,
            ceiling: if code == 0 && !met.flood {
                None
            } else {
                met.words(&self.ground.limits, output_limit)
            },
        })
    }

    /// Hears for a moment what is still said of a command that failed: where the kernel tells nothing, the keeper looks once a second.
    async fn hear_out(
        &self,
        name: &NodeName,
        happenings: &mut broadcast::Receiver<Happening>,
        met: &mut Met,
    ) -> Result<(), BuildError> {
        let until = tokio::time::Instant::now() + HEAR_OUT;
        while !met.any() {
            match tokio::time::timeout_at(until, happenings.recv()).await {
                Ok(Ok(happening)) => {
                    self.heard(name, happening, met)?;
                }
                Ok(Err(broadcast::error::RecvError::Lagged(_))) => {}
                Ok(Err(broadcast::error::RecvError::Closed)) | Err(_) => break,
            }
        }
        Ok(())
    }

    /// Tells whether a command that failed has filled the disk; the keeper looks only now and then.
    async fn is_disk_full(&self, name: &NodeName) -> bool {
        let Ok(root) = self.take(name).await else {
            return false;
        };
        rustix::fs::fstatvfs(&root).is_ok_and(|disk| {
            // ext4 keeps 2 % of its blocks, at most 4,096, for its own delayed writes.
            disk.f_bavail * 20 < disk.f_blocks || disk.f_ffree == 0
        })
    }

    fn heard(
        &self,
        name: &NodeName,
        happening: Happening,
        met: &mut Met,
    ) -> Result<Option<i32>, BuildError> {
        if happening.stand != self.id {
            return Ok(None);
        }
        let own = happening.node.as_ref().is_none_or(|node| node == name);
        match happening.kind {
            HappeningKind::Lost => {
                return Err(BuildError::Engine {
                    source: Box::new(daas_engine::EngineError::Gone {
                        stand: self.id.clone(),
                    }),
                });
            }
            HappeningKind::Keeper(EventKind::OomKilled) if own => met.memory = true,
            HappeningKind::Keeper(EventKind::PidsLimit) if own => met.pids = true,
            HappeningKind::Keeper(EventKind::DiskFull) => met.disk = true,
            HappeningKind::Keeper(EventKind::NodeExited { code, oom, .. })
                if happening.node.as_ref() == Some(name) =>
            {
                met.memory |= oom;
                return Ok(Some(code));
            }
            HappeningKind::Keeper(_) => {}
        }
        Ok(None)
    }

    async fn look(&self, name: &NodeName, met: &mut Met) -> Result<Option<i32>, BuildError> {
        let observed = self.engine.observe(&self.id).await?;
        match observed.nodes.get(name).map(|node| &node.state) {
            Some(NodeState::Exited { code, oom, .. }) => {
                met.memory |= oom;
                Ok(Some(*code))
            }
            Some(_) => Ok(None),
            None => Err(BuildError::Engine {
                source: Box::new(daas_engine::EngineError::Gone {
                    stand: self.id.clone(),
                }),
            }),
        }
    }

    async fn stop(&self, order: &Order, name: &NodeName) -> Result<(), BuildError> {
        let step = Step::Stop {
            nodes: BTreeSet::from([name.clone()]),
        };
        Ok(self.engine.apply(order, &step, &silent()).await?)
    }

    /// Returns what a command that has ended wrote.
    pub(crate) async fn take(&self, name: &NodeName) -> Result<OwnedFd, BuildError> {
        Ok(self.engine.take_root(&self.id, name).await?)
    }

    /// Frees the disk of a command whose layer was taken.
    pub(crate) async fn forget(&self, name: &NodeName) -> Result<(), BuildError> {
        let order = self.order();
        let step = Step::Remove {
            nodes: BTreeSet::from([name.clone()]),
        };
        Ok(self.engine.apply(&order, &step, &silent()).await?)
    }

    /// Ends everything and leaves nothing.
    pub(crate) async fn close(&self) -> Result<(), BuildError> {
        Ok(self
            .engine
            .apply(&self.order(), &Step::Close, &silent())
            .await?)
    }
}

impl Drop for BuildStand {
    fn drop(&mut self) {
        if !self.engine.known().contains(&self.id) {
            return;
        }
        // Somebody gave the build up: what it runs ends all the same.
        let (engine, order) = (self.engine.clone(), self.order());
        self.tasks
            .run(format!("close {}", self.name), |_| async move {
                if let Err(error) = engine.apply(&order, &Step::Close, &silent()).await {
                    tracing::warn!(stand = %order.name, cause = %daas_model::render_chain(&error), "cannot close the stand of a build; the next start sweeps it");
                }
            });
    }
}

/// Which ceilings a command met.
#[derive(Debug, Default)]
struct Met {
    memory: bool,
    pids: bool,
    disk: bool,
    flood: bool,
}

impl Met {
    fn any(&self) -> bool {
        self.memory || self.pids || self.disk || self.flood
    }

    fn words(&self, limits: &Limits, output: u64) -> Option<String> {
        let mut words = Vec::new();
        if self.memory {
            words.push(format!("memory of {}", limits.memory));
        }
        if self.pids {
            words.push(format!("{} processes", limits.pids));
        }
        if self.disk {
            words.push(format!("disk of {}", limits.disk));
        }
        if self.flood {
            words.push(format!("output of {}", daas_model::ByteSize(output)));
        }
        (!words.is_empty()).then(|| words.join(", "))
    }
}

fn network() -> NetworkName {
    NetworkName::parse("build").expect("a literal that matches the grammar")
}

fn attachment() -> Attachment {
    Attachment {
        network: network(),
        aliases: Vec::new(),
        ipv4: None,
        ipv6: None,
        mac: None,
        priority: 0,
    }
}

fn silent() -> Teller {
    Arc::new(|_| ())
}
