use crate::engine::{Engine, Happening, HappeningKind, Order, Pins, Teller};
use crate::error::EngineError;
use daas_keeper::protocol::Failure;
use daas_model::{
    Health, ImageName, NodeName, NodeObserved, NodeState, StandId, StandObserved, StandSpec,
};
use daas_plan::Step;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::broadcast;

/// An engine without a machine: remembers what it was told and fails when it is told to.
#[derive(Debug)]
pub struct FakeEngine {
    inner: Mutex<World>,
    happenings: broadcast::Sender<Happening>,
}

#[derive(Debug, Default)]
struct World {
    stands: BTreeMap<StandId, StandObserved>,
    images: BTreeSet<ImageName>,
    steps: Vec<String>,
    fail: BTreeMap<String, u32>,
}

impl Default for FakeEngine {
    fn default() -> Self {
        Self {
            inner: Mutex::default(),
            happenings: broadcast::channel(1024).0,
        }
    }
}

impl FakeEngine {
    fn world(&self) -> MutexGuard<'_, World> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns every step that was carried out or tried, as text.
    pub fn steps(&self) -> Vec<String> {
        self.world().steps.clone()
    }

    /// Lets the next `times` steps whose text begins with `prefix` fail.
    pub fn fail(&self, prefix: &str, times: u32) {
        self.world().fail.insert(prefix.to_owned(), times);
    }

    /// Changes a node as the world would, and tells it.
    pub fn change(&self, stand: &StandId, node: &NodeName, change: impl FnOnce(&mut NodeObserved)) {
        if let Some(seen) = self
            .world()
            .stands
            .get_mut(stand)
            .and_then(|s| s.nodes.get_mut(node))
        {
            change(seen);
        }
        self.tell(stand, Some(node.clone()));
    }

    /// Loses the keeper of a stand.
    pub fn lose(&self, stand: &StandId) {
        self.world()
            .stands
            .insert(stand.clone(), StandObserved::default());
        self.tell(stand, None);
    }

    fn tell(&self, stand: &StandId, node: Option<NodeName>) {
        // Nobody listening is fine.
        let _ = self.happenings.send(Happening {
            stand: stand.clone(),
            node,
            at_ms: 0,
            kind: HappeningKind::Lost,
            text: "something changed".into(),
        });
    }
}

impl Engine for FakeEngine {
    async fn observe(&self, stand: &StandId) -> Result<StandObserved, EngineError> {
        Ok(self.world().stands.get(stand).cloned().unwrap_or_default())
    }

    async fn images(
        &self,
        spec: &StandSpec,
        _: &Pins,
    ) -> Result<BTreeMap<ImageName, String>, EngineError> {
        let world = self.world();
        Ok(spec
            .nodes
            .values()
            .filter(|n| world.images.contains(&n.image))
            .map(|n| (n.image.clone(), format!("digest of {}", n.image)))
            .collect())
    }

    async fn apply(&self, order: &Order, step: &Step, _tell: &Teller) -> Result<(), EngineError> {
        let mut world = self.world();
        let text = format!("{}: {step}", order.name);
        world.steps.push(text.clone());
        let failing = world
            .fail
            .iter_mut()
            .find(|(prefix, times)| **times > 0 && step.to_string().starts_with(prefix.as_str()));
        if let Some((_, times)) = failing {
            *times -= 1;
            return Err(EngineError::Refused {
                failure: Failure {
                    code: "fake".into(),
                    message: format!("{step} was told to fail"),
                    hint: None,
                },
            });
        }
        if let Step::FetchImage { image } = step {
            world.images.insert(image.clone());
            return Ok(());
        }
        if matches!(step, Step::Close) {
            world.stands.remove(&order.id);
            return Ok(());
        }
        let stand = world.stands.entry(order.id.clone()).or_default();
        let mut set = |nodes: &BTreeSet<NodeName>, state: NodeState| {
            for name in nodes {
                if let Some(node) = stand.nodes.get_mut(name) {
                    node.state = state.clone();
                }
            }
        };
        let running = NodeState::Running {
            pid: 1,
            since_ms: 0,
        };
        match step {
            Step::Open { base } | Step::Reshape { base } => {
                stand.keeper = true;
                stand.base_from = Some(base.clone());
            }
            Step::Start { nodes } => {
                for (name, digest) in nodes {
                    let health = if order.spec.nodes[name].health.is_some() {
                        Health::Starting
                    } else {
                        Health::None
                    };
                    let seen = NodeObserved {
                        state: running.clone(),
                        health,
                        restarts: 0,
                        launched_from: digest.clone(),
                        addresses: Vec::new(),
                    };
                    stand.nodes.insert(name.clone(), seen);
                }
            }
            Step::Restart { nodes } | Step::Resume { nodes } => set(nodes, running),
            Step::Stop { nodes } => set(
                nodes,
                NodeState::Exited {
                    code: 0,
                    oom: false,
                    at_ms: 0,
                    asked: true,
                },
            ),
            Step::Pause { nodes } => set(nodes, NodeState::Paused { pid: 1 }),
            Step::Remove { nodes } => stand.nodes.retain(|name, _| !nodes.contains(name)),
            Step::FetchImage { .. } | Step::Close => {}
        }
        Ok(())
    }

    async fn connect(&self, _order: &Order) -> Result<(), EngineError> {
        Ok(())
    }

    fn known(&self) -> Vec<StandId> {
        self.world().stands.keys().cloned().collect()
    }

    fn listen(&self) -> broadcast::Receiver<Happening> {
        self.happenings.subscribe()
    }
}
