//! How a stand is, next to what is wanted of it.

use crate::record::StandRecord;
use daas_api::{Failure, NodeProgress, OperationKind, Phase, StandState};
use daas_engine::Progress;
use daas_model::{Health, Kind, NodeName, NodeObserved, NodeState, RestartPolicy, StandObserved};
use daas_plan::{Plan, Power, Stuck};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How often a node may end by itself before an `up` that waits for it gives up on it.
const RESTARTS: u32 = 3;

/// How long an operation may fail and be tried again before whoever waits for it is told. The stand stays wanted and is tried on.
const PATIENCE: Duration = Duration::from_secs(60);

/// Adds to a failure that may pass that nobody waits for it any longer.
fn given_up(error: &Failure) -> Failure {
    let goes_on = "it is tried again until it succeeds or the stand is taken down";
    let hint = match error.hint_text() {
        Some(hint) => format!("{hint}; {goes_on}"),
        None => format!("{goes_on}; `daas doctor` looks at the machine's limits"),
    };
    error.clone().hint(hint)
}

/// What the loop of a stand last saw and decided.
#[derive(Debug, Clone, Default)]
pub(crate) struct Status {
    /// The revision of the record that was worked on.
    pub(crate) revision: u64,
    /// What was seen.
    pub(crate) observed: StandObserved,
    /// What was left to do, to wait for, or to leave to a person.
    pub(crate) plan: Plan,
    /// Why the last turn did not get through.
    pub(crate) error: Option<Failure>,
    /// Whether `error` will not go away by trying again.
    pub(crate) parked: bool,
    /// The revision for which no turn got through, and since when.
    pub(crate) failing: Option<(u64, Instant)>,
    /// What was told last as an event of why it fails; nothing once a turn got through.
    pub(crate) told: Option<String>,
    /// How far images are, by name.
    pub(crate) fetching: BTreeMap<String, Progress>,
    /// What is done for images that are being built, by name.
    pub(crate) building: BTreeMap<String, String>,
    /// Whether a start is under way.
    pub(crate) starting: bool,
    /// Nodes that are about to be stopped: nobody new is sent to them.
    pub(crate) leaving: BTreeSet<NodeName>,
}

/// How an operation stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Running,
    Done,
    Failed(Failure),
}

/// Tells whether a node is as it should be for good.
fn is_ready(node: &NodeObserved) -> bool {
    match &node.state {
        NodeState::Running { .. } => matches!(node.health, Health::None | Health::Healthy),
        NodeState::Exited {
            code: 0,
            asked: false,
            ..
        } => true,
        _ => false,
    }
}

/// Returns why a node keeps an `up` from being done, if it will not get better by itself.
fn trouble(record: &StandRecord, name: &NodeName, node: &NodeObserved) -> Option<String> {
    match &node.state {
        NodeState::Running { .. } if node.health == Health::Unhealthy => {
            Some("its health check fails".into())
        }
        NodeState::Backoff { code, .. } | NodeState::Exited { code, .. }
            if node.restarts >= RESTARTS && *code != 0 =>
        {
            Some(format!("it ends again and again with exit code {code}"))
        }
        NodeState::Running { .. }
            if node.restarts >= RESTARTS
                && record
                    .spec
                    .nodes
                    .get(name)
                    .is_some_and(|n| n.restart != RestartPolicy::No) =>
        {
            Some(format!("it was started again {} times", node.restarts))
        }
        _ => None,
    }
}

impl Status {
    /// Notes why a turn for this revision did not get through.
    pub(crate) fn fail(&mut self, revision: u64, error: Failure, parked: bool, now: Instant) {
        self.revision = revision;
        self.error = Some(error);
        self.parked = parked;
        // What is wanted anew is waited for anew.
        let same = self.failing.is_some_and(|(of, _)| of == revision);
        if parked {
            self.failing = None;
        } else if !same {
            self.failing = Some((revision, now));
        }
    }

    /// Tells how an operation that was recorded at `revision` stands.
    pub(crate) fn verdict(
        &self,
        record: &StandRecord,
        kind: OperationKind,
        revision: u64,
    ) -> Verdict {
        if self.revision < revision {
            return Verdict::Running;
        }
        if let (Some(error), true) = (&self.error, self.parked) {
            return Verdict::Failed(error.clone());
        }
        if let (Some(error), Some((_, since))) = (&self.error, self.failing)
            && since.elapsed() >= PATIENCE
        {
            return Verdict::Failed(given_up(error));
        }
        if self.error.is_some() || !self.plan.steps.is_empty() {
            return Verdict::Running;
        }
        // Of nodes that the request was not about nobody waits for anything.
        let about = |node: &NodeName| !record.apart.contains_key(node);
        if self.plan.waiting.iter().any(|waiting| about(&waiting.node)) {
            // What others wait for will not come: nobody should wait for it here.
            return match self.stuck(record, about) {
                Some(failure) => Verdict::Failed(failure),
                None => Verdict::Running,
            };
        }
        match kind {
            OperationKind::Stop
            | OperationKind::Pause
            | OperationKind::Down
            | OperationKind::Pull
            | OperationKind::Make
            | OperationKind::Build
            | OperationKind::Refresh => Verdict::Done,
            OperationKind::Up
            | OperationKind::Start
            | OperationKind::Restart
            | OperationKind::Resume
            | OperationKind::Scale => self.up_verdict(record, about),
        }
    }

    /// Returns why the stand will not come up without a person, if so.
    fn stuck(&self, record: &StandRecord, about: impl Fn(&NodeName) -> bool) -> Option<Failure> {
        let mut list = self.plan.stuck.iter().filter(|stuck| about(&stuck.node));
        // Whoever ran has a log; others only wait for it.
        let ran = |stuck: &&Stuck| self.observed.nodes.contains_key(&stuck.node);
        let first = list.clone().find(ran).or_else(|| list.next())?;
        let failure = Failure::new(
            "node-failed",
            Kind::Outside,
            format!(
                "cannot bring node {} of stand {} up",
                first.node, record.name
            ),
        );
        Some(failure.because(first.why.clone()).hint(format!(
            "see `daas stand logs {} {}`",
            record.name, first.node
        )))
    }

    /// Tells how those nodes come up that it is `about`.
    fn up_verdict(
        &self,
        record: &StandRecord,
        about: impl Fn(&NodeName) -> bool + Copy,
    ) -> Verdict {
        if record.power != Power::Running {
            return Verdict::Done;
        }
        if let Some(failure) = self.stuck(record, about) {
            return Verdict::Failed(failure);
        }
        let mut all = true;
        for name in record
            .spec
            .nodes
            .keys()
            .filter(|n| !record.held.contains(*n) && about(n))
        {
            let Some(node) = self.observed.nodes.get(name) else {
                all = false;
                continue;
            };
            if let Some(why) = trouble(record, name, node) {
                let failure = Failure::new(
                    "node-failed",
                    Kind::Outside,
                    format!("node {name} of stand {} is not well", record.name),
                )
                .because(why);
                return Verdict::Failed(
                    failure.hint(format!("see `daas stand logs {} {name}`", record.name)),
                );
            }
            all &= is_ready(node);
        }
        if all { Verdict::Done } else { Verdict::Running }
    }

    /// Returns how many nodes are as wanted.
    pub(crate) fn ready(&self, record: &StandRecord) -> usize {
        record
            .spec
            .nodes
            .keys()
            .filter(|n| self.observed.nodes.get(*n).is_some_and(is_ready))
            .count()
    }

    /// Returns what the stand does as a whole, and why where that needs words.
    pub(crate) fn state(
        &self,
        record: &StandRecord,
        revision: u64,
    ) -> (StandState, Option<String>) {
        let living = self
            .observed
            .nodes
            .values()
            .any(|n| !matches!(n.state, NodeState::Exited { .. } | NodeState::Failed { .. }));
        let reason = self.error.as_ref().map(ToString::to_string);
        let state = match record.power {
            Power::Gone => StandState::Removing,
            Power::Stopped if living => StandState::Stopping,
            Power::Stopped => StandState::Stopped,
            Power::Paused if self.plan.is_settled() && self.revision >= revision => {
                StandState::Paused
            }
            Power::Paused => StandState::Starting,
            Power::Running => return self.running_state(record, revision, reason),
        };
        (state, reason)
    }

    fn running_state(
        &self,
        record: &StandRecord,
        revision: u64,
        reason: Option<String>,
    ) -> (StandState, Option<String>) {
        if self.revision < revision && !self.observed.keeper {
            return (StandState::Waiting, reason);
        }
        if self.parked {
            return (
                if self.observed.keeper && self.ready(record) > 0 {
                    StandState::Degraded
                } else {
                    StandState::Failed
                },
                reason,
            );
        }
        match self.up_verdict(record, |_| true) {
            Verdict::Done if self.plan.is_settled() => (StandState::Running, reason),
            Verdict::Failed(failure) => {
                let state = if self.ready(record) > 0 {
                    StandState::Degraded
                } else {
                    StandState::Failed
                };
                (state, Some(failure.to_string()))
            }
            Verdict::Done | Verdict::Running => (StandState::Starting, reason),
        }
    }

    /// Returns how far every node is.
    pub(crate) fn progress(&self, record: &StandRecord) -> Vec<NodeProgress> {
        record
            .spec
            .nodes
            .keys()
            .map(|name| NodeProgress {
                node: name.clone(),
                phase: self.phase(record, name),
            })
            .collect()
    }

    fn phase(&self, record: &StandRecord, name: &NodeName) -> Phase {
        if let Some(stuck) = self.plan.stuck.iter().find(|s| s.node == *name) {
            return Phase::Failed {
                reason: stuck.why.clone(),
            };
        }
        match self.observed.nodes.get(name) {
            Some(node) => phase_of(node),
            None => self.absent_phase(record, name),
        }
    }

    fn absent_phase(&self, record: &StandRecord, name: &NodeName) -> Phase {
        if record.power == Power::Gone {
            return Phase::Removed;
        }
        let image = record.spec.nodes[name].image.familiar();
        if let Some(what) = self.building.get(&image) {
            return Phase::Preparing { what: what.clone() };
        }
        if let Some(progress) = self.fetching.get(&image) {
            return match progress.total {
                _ if progress.done == 0 && progress.total.is_none() => Phase::Preparing {
                    what: progress.text.clone(),
                },
                total => Phase::Pulling {
                    image,
                    done: progress.done,
                    total,
                },
            };
        }
        let on: Vec<String> = self
            .plan
            .waiting
            .iter()
            .filter(|w| w.node == *name && w.on != *name)
            .map(|w| format!("{}: {}", w.on, w.why))
            .collect();
        if !on.is_empty() {
            return Phase::Waiting { on };
        }
        match &self.told {
            _ if self.starting => Phase::Starting,
            Some(why) => Phase::Preparing {
                what: format!("{why}; it is tried again"),
            },
            None => Phase::Queued,
        }
    }
}

fn phase_of(node: &NodeObserved) -> Phase {
    match &node.state {
        NodeState::Starting => Phase::Starting,
        NodeState::Running { .. } => match node.health {
            Health::None => Phase::Running,
            Health::Starting => Phase::Started,
            Health::Healthy => Phase::Healthy,
            Health::Unhealthy => Phase::Failed {
                reason: "its health check fails".into(),
            },
        },
        NodeState::Paused { .. } => Phase::Paused,
        NodeState::Stopping => Phase::Stopping,
        NodeState::Backoff { code, .. } => Phase::Preparing {
            what: format!("ended with exit code {code}, starts again"),
        },
        NodeState::Exited { asked: true, .. } => Phase::Stopped,
        NodeState::Exited { code: 0, .. } => Phase::Completed,
        NodeState::Exited { code, .. } => Phase::Failed {
            reason: format!("it ended with exit code {code}"),
        },
        NodeState::Failed { reason, .. } => Phase::Failed {
            reason: reason.clone(),
        },
    }
}
