use crate::addresses::Addresses;
use crate::digest::{base_digest, node_digest};
use crate::ready::{Readiness, readiness};
use daas_model::{
    ImageName, NetworkMode, NodeName, NodeObserved, NodeSpec, NodeState, StandObserved, StandSpec,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Whether a stand shall run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Power {
    /// Its nodes run.
    #[default]
    Running,
    /// Its nodes are ended; what they wrote stays.
    Stopped,
    /// Its nodes are frozen.
    Paused,
    /// It is destroyed with all that it wrote.
    Gone,
}

/// Everything that a plan is made from, but what is seen.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The description.
    pub spec: &'a StandSpec,
    /// Whether it shall run.
    pub power: Power,
    /// Nodes that a person stopped one by one.
    pub held: &'a BTreeSet<NodeName>,
    /// When a person last asked for the stand: what failed before is tried again. Unix milliseconds.
    pub asked_at_ms: u64,
    /// Nodes that this was not about, and when a person asked for them before.
    pub apart: &'a BTreeMap<NodeName, u64>,
    /// The digests of the images that are in the store.
    pub images: &'a BTreeMap<ImageName, String>,
    /// Every address.
    pub addresses: &'a Addresses,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "step")]
pub enum Step {
    /// Bring an image into the store.
    FetchImage {
        /// Which.
        image: ImageName,
    },
    /// Make the stand's namespaces, networks, volumes and ceiling.
    Open {
        /// The digest of the stand-wide description.
        base: String,
    },
    /// Change networks, volumes or ceiling of a stand that is open.
    Reshape {
        /// The digest of the stand-wide description.
        base: String,
    },
    /// Launch nodes, at once.
    Start {
        /// Node to the digest of its description.
        nodes: BTreeMap<NodeName, String>,
    },
    /// Start processes of launched nodes again; what they wrote stays.
    Restart {
        /// Which.
        nodes: BTreeSet<NodeName>,
    },
    /// End nodes gently, at once.
    Stop {
        /// Which.
        nodes: BTreeSet<NodeName>,
    },
    /// Remove ended nodes with what they wrote outside of volumes.
    Remove {
        /// Which.
        nodes: BTreeSet<NodeName>,
    },
    /// Freeze nodes.
    Pause {
        /// Which.
        nodes: BTreeSet<NodeName>,
    },
    /// Let frozen nodes go on.
    Resume {
        /// Which.
        nodes: BTreeSet<NodeName>,
    },
    /// Destroy the stand with all that it wrote.
    Close,
}

/// A node that is not started yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// The node.
    pub node: NodeName,
    /// The node that it waits for.
    pub on: NodeName,
    /// Why.
    pub why: String,
}

/// A node that will not come up without a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stuck {
    /// The node.
    pub node: NodeName,
    /// Why.
    pub why: String,
}

/// What to do now, and what has to wait.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Plan {
    /// What to do, in order, each with its reason. All of it can be done now.
    pub steps: Vec<(Step, String)>,
    /// What waits for something to happen.
    pub waiting: Vec<Waiting>,
    /// What waits for a person.
    pub stuck: Vec<Stuck>,
}

impl Plan {
    /// Tells whether nothing is left to do or to wait for.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.steps.is_empty() && self.waiting.is_empty()
    }

    fn push(&mut self, step: Step, reason: impl Into<String>) {
        self.steps.push((step, reason.into()));
    }
}

impl fmt::Display for Plan {
    /// Prints one line for each step, wait and failure.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (step, reason) in &self.steps {
            writeln!(f, "{step}: {reason}")?;
        }
        for waiting in &self.waiting {
            writeln!(
                f,
                "{} waits for {}: {}",
                waiting.node, waiting.on, waiting.why
            )?;
        }
        for stuck in &self.stuck {
            writeln!(f, "{} is stuck: {}", stuck.node, stuck.why)?;
        }
        Ok(())
    }
}

fn join<'a>(nodes: impl IntoIterator<Item = &'a NodeName>) -> String {
    nodes
        .into_iter()
        .map(NodeName::as_str)
        .collect::<Vec<_>>()
        .join(", ")
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FetchImage { image } => write!(f, "fetch image {}", image.familiar()),
            Self::Open { .. } => f.write_str("open stand"),
            Self::Reshape { .. } => f.write_str("reshape stand"),
            Self::Start { nodes } => write!(f, "start {}", join(nodes.keys())),
            Self::Restart { nodes } => write!(f, "start {} again", join(nodes)),
            Self::Stop { nodes } => write!(f, "stop {}", join(nodes)),
            Self::Remove { nodes } => write!(f, "remove {}", join(nodes)),
            Self::Pause { nodes } => write!(f, "pause {}", join(nodes)),
            Self::Resume { nodes } => write!(f, "resume {}", join(nodes)),
            Self::Close => f.write_str("close stand"),
        }
    }
}

/// Plans the next steps of one stand.
///
/// Steps of one plan may be carried out in order without looking again; then the caller observes and plans anew,
/// until the plan [is settled](Plan::is_settled).
#[must_use]
pub fn plan_stand(wanted: Wanted<'_>, observed: &StandObserved) -> Plan {
    match wanted.power {
        Power::Gone => close(wanted, observed),
        Power::Stopped => stop_all(wanted, observed),
        Power::Running => run(wanted, observed),
        Power::Paused => pause(wanted, observed),
    }
}

fn alive(node: &NodeObserved) -> bool {
    match node.state {
        NodeState::Starting
        | NodeState::Running { .. }
        | NodeState::Paused { .. }
        | NodeState::Stopping
        | NodeState::Backoff { .. } => true,
        NodeState::Exited { .. } | NodeState::Failed { .. } => false,
    }
}

fn close(wanted: Wanted<'_>, observed: &StandObserved) -> Plan {
    if !wanted.spec.kind.is_throw_away() && observed.nodes.values().any(alive) {
        // A database of the team gets the time to end by itself; a throw-away stand is killed.
        return stop_all(wanted, observed);
    }
    let mut plan = Plan::default();
    plan.push(Step::Close, "the stand is to be gone");
    plan
}

fn stop_all(wanted: Wanted<'_>, observed: &StandObserved) -> Plan {
    let mut plan = Plan::default();
    resume_frozen(&mut plan, observed, |_| true);
    let going: BTreeSet<NodeName> = observed
        .nodes
        .iter()
        .filter(|(_, n)| alive(n))
        .map(|(name, _)| name.clone())
        .collect();
    stop_in_order(
        wanted.spec,
        observed,
        &going,
        "the stand is to be stopped",
        &mut plan,
    );
    plan
}

/// Stops the nodes of `going` on which no other living one depends; the rest waits for its turn.
fn stop_in_order(
    spec: &StandSpec,
    observed: &StandObserved,
    going: &BTreeSet<NodeName>,
    reason: &str,
    plan: &mut Plan,
) {
    let mut now = BTreeSet::new();
    for name in going {
        let service = spec.nodes.get(name).map(|n| &n.service);
        let user = going.iter().find(|other| {
            *other != name
                && spec.nodes.get(*other).is_some_and(|node| {
                    node.depends_on.iter().any(|d| Some(&d.service) == service)
                        || matches!(&node.network, NetworkMode::Node(n) if n == name)
                })
        });
        if let Some(user) = user {
            plan.waiting.push(Waiting {
                node: name.clone(),
                on: user.clone(),
                why: "it depends on this one and ends first".into(),
            });
        } else if matches!(
            observed.nodes.get(name).map(|n| &n.state),
            Some(NodeState::Stopping)
        ) {
            plan.waiting.push(Waiting {
                node: name.clone(),
                on: name.clone(),
                why: "it was asked to end".into(),
            });
        } else {
            now.insert(name.clone());
        }
    }
    if !now.is_empty() {
        plan.push(Step::Stop { nodes: now }, reason);
    }
}

fn resume_frozen(plan: &mut Plan, observed: &StandObserved, which: impl Fn(&NodeName) -> bool) {
    let frozen: BTreeSet<NodeName> = observed
        .nodes
        .iter()
        .filter(|(name, n)| which(name) && matches!(n.state, NodeState::Paused { .. }))
        .map(|(name, _)| name.clone())
        .collect();
    if !frozen.is_empty() {
        plan.push(
            Step::Resume { nodes: frozen },
            "they are frozen and shall not be",
        );
    }
}

fn pause(wanted: Wanted<'_>, observed: &StandObserved) -> Plan {
    let mut plan = Plan::default();
    let running: BTreeSet<NodeName> = observed
        .nodes
        .iter()
        .filter(|(name, n)| {
            wanted.spec.nodes.contains_key(*name) && matches!(n.state, NodeState::Running { .. })
        })
        .map(|(name, _)| name.clone())
        .collect();
    if !running.is_empty() {
        plan.push(Step::Pause { nodes: running }, "the stand is to be paused");
    }
    plan
}

fn run(wanted: Wanted<'_>, observed: &StandObserved) -> Plan {
    let spec = wanted.spec;
    let mut plan = Plan::default();
    let missing: BTreeSet<&ImageName> = spec
        .nodes
        .values()
        .map(|n| &n.image)
        .filter(|i| !wanted.images.contains_key(*i))
        .collect();
    for image in &missing {
        plan.push(
            Step::FetchImage {
                image: (*image).clone(),
            },
            "it is not in the store",
        );
    }
    let base = base_digest(spec, wanted.addresses);
    if !observed.keeper {
        plan.push(Step::Open { base }, "no keeper holds the stand");
    } else if observed.base_from.as_deref() != Some(base.as_str()) {
        plan.push(
            Step::Reshape { base },
            "networks, volumes, limits or files have changed",
        );
    }
    resume_frozen(&mut plan, observed, |name| {
        spec.nodes.contains_key(name) && !wanted.held.contains(name)
    });
    let replaced = replace_changed(wanted, observed, &mut plan);
    hold(wanted, observed, &mut plan);
    start_ready(wanted, observed, &replaced, &mut plan);
    plan
}

fn wanted_digest(wanted: Wanted<'_>, name: &NodeName, node: &NodeSpec) -> Option<String> {
    let none = BTreeMap::new();
    let image = wanted.images.get(&node.image)?;
    Some(node_digest(
        wanted.spec,
        node,
        image,
        wanted.addresses.nodes.get(name).unwrap_or(&none),
    ))
}

/// Plans the end of nodes that are not wanted any more or were made from another description; returns those.
fn replace_changed(
    wanted: Wanted<'_>,
    observed: &StandObserved,
    plan: &mut Plan,
) -> BTreeSet<NodeName> {
    let mut changed = BTreeSet::new();
    let mut gone = BTreeSet::new();
    for (name, seen) in &observed.nodes {
        match wanted.spec.nodes.get(name) {
            None => {
                gone.insert(name.clone());
            }
            Some(node) => {
                if wanted_digest(wanted, name, node)
                    .is_some_and(|digest| digest != seen.launched_from)
                {
                    changed.insert(name.clone());
                }
            }
        }
    }
    // Who shares a changed node's network, or asked for it by `restart: true`, is made anew with it.
    loop {
        let more: Vec<NodeName> = wanted
            .spec
            .nodes
            .iter()
            .filter(|(name, node)| {
                observed.nodes.contains_key(*name)
                    && !changed.contains(*name)
                    && (matches!(&node.network, NetworkMode::Node(n) if changed.contains(n))
                        || node.depends_on.iter().any(|d| {
                            d.restart
                                && changed.iter().any(|c| {
                                    wanted
                                        .spec
                                        .nodes
                                        .get(c)
                                        .is_some_and(|n| n.service == d.service)
                                })
                        }))
            })
            .map(|(name, _)| name.clone())
            .collect();
        if more.is_empty() {
            break;
        }
        changed.extend(more);
    }
    for (set, reason) in [
        (&gone, "the project does not have them any more"),
        (&changed, "their description has changed"),
    ] {
        let going: BTreeSet<NodeName> = set
            .iter()
            .filter(|name| alive(&observed.nodes[*name]))
            .cloned()
            .collect();
        stop_in_order(wanted.spec, observed, &going, reason, plan);
        let ended: BTreeSet<NodeName> = set.difference(&going).cloned().collect();
        if !ended.is_empty() {
            plan.push(Step::Remove { nodes: ended }, reason);
        }
    }
    let ended_now: BTreeSet<NodeName> = changed
        .iter()
        .filter(|name| !alive(&observed.nodes[*name]))
        .cloned()
        .collect();
    changed.extend(gone);
    changed.retain(|name| !ended_now.contains(name));
    changed
}

fn hold(wanted: Wanted<'_>, observed: &StandObserved, plan: &mut Plan) {
    let going: BTreeSet<NodeName> = wanted
        .held
        .iter()
        .filter(|name| {
            wanted.spec.nodes.contains_key(*name) && observed.nodes.get(*name).is_some_and(alive)
        })
        .cloned()
        .collect();
    stop_in_order(wanted.spec, observed, &going, "a person stopped them", plan);
}

/// Plans the start of every node whose conditions hold.
fn start_ready(
    wanted: Wanted<'_>,
    observed: &StandObserved,
    replaced: &BTreeSet<NodeName>,
    plan: &mut Plan,
) {
    let mut start = BTreeMap::new();
    let mut again = BTreeSet::new();
    for (name, node) in &wanted.spec.nodes {
        if wanted.held.contains(name) {
            continue;
        }
        if replaced.contains(name) {
            plan.waiting.push(Waiting {
                node: name.clone(),
                on: name.clone(),
                why: "the old one must end first".into(),
            });
            continue;
        }
        // Without its image there is no digest: the plan after the fetch has it.
        let Some(digest) = wanted_digest(wanted, name, node) else {
            plan.waiting.push(Waiting {
                node: name.clone(),
                on: name.clone(),
                why: format!("image {} is not in the store yet", node.image.familiar()),
            });
            continue;
        };
        let seen = observed
            .nodes
            .get(name)
            .filter(|n| n.launched_from == digest);
        let asked_at_ms = *wanted.apart.get(name).unwrap_or(&wanted.asked_at_ms);
        let first = match seen.map(|n| &n.state) {
            None => true,
            Some(NodeState::Exited {
                code, at_ms, asked, ..
            }) if *asked || (*code != 0 && *at_ms < asked_at_ms) => false,
            Some(NodeState::Failed { at_ms, .. }) if *at_ms < asked_at_ms => true,
            Some(NodeState::Exited { code, oom, .. }) => {
                if *code != 0 {
                    let how = if *oom { " (killed for memory)" } else { "" };
                    plan.stuck.push(Stuck {
                        node: name.clone(),
                        why: format!("it ended with exit code {code}{how}"),
                    });
                }
                continue;
            }
            Some(NodeState::Failed { reason, .. }) => {
                plan.stuck.push(Stuck {
                    node: name.clone(),
                    why: reason.clone(),
                });
                continue;
            }
            Some(_) => continue,
        };
        if let NetworkMode::Node(owner) = &node.network
            && !observed.nodes.get(owner).is_some_and(|n| {
                matches!(
                    n.state,
                    NodeState::Running { .. } | NodeState::Paused { .. }
                )
            })
        {
            plan.waiting.push(Waiting {
                node: name.clone(),
                on: owner.clone(),
                why: "it shares this node's network".into(),
            });
            continue;
        }
        match readiness(wanted.spec, &node.depends_on, observed, wanted.held) {
            Readiness::Ready if first => {
                start.insert(name.clone(), digest);
            }
            Readiness::Ready => {
                again.insert(name.clone());
            }
            Readiness::Wait { on, why } => plan.waiting.push(Waiting {
                node: name.clone(),
                on,
                why,
            }),
            Readiness::Never { on, why } => plan.stuck.push(Stuck {
                node: name.clone(),
                why: format!("it depends on {on}: {why}"),
            }),
        }
    }
    spread_stuck(wanted.spec, plan);
    if !start.is_empty() {
        plan.push(
            Step::Start { nodes: start },
            "they do not run and nothing holds them back",
        );
    }
    if !again.is_empty() {
        plan.push(
            Step::Restart { nodes: again },
            "they have ended and shall run",
        );
    }
}

/// Turns waits for nodes that are stuck into being stuck, and waits for those too.
fn spread_stuck(spec: &StandSpec, plan: &mut Plan) {
    loop {
        let hopeless = plan.waiting.iter().position(|w| {
            w.on != w.node && plan.stuck.iter().any(|s| s.node == w.on) && required(spec, w)
        });
        let Some(at) = hopeless else { return };
        let waiting = plan.waiting.remove(at);
        plan.stuck.push(Stuck {
            why: format!("it depends on {}, which does not come up", waiting.on),
            node: waiting.node,
        });
    }
}

/// Tells whether the waiting node cannot do without the other one.
fn required(spec: &StandSpec, waiting: &Waiting) -> bool {
    let (Some(node), Some(on)) = (spec.nodes.get(&waiting.node), spec.nodes.get(&waiting.on))
    else {
        return false;
    };
    matches!(&node.network, NetworkMode::Node(owner) if *owner == waiting.on)
        || node
            .depends_on
            .iter()
            .any(|d| d.service == on.service && d.required)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::addresses::assign;
    use daas_model::{
        Attachment, Condition, Dependency, Health, Limits, NetworkName, NetworkSpec, ProjectName,
        ServiceName, StandKind,
    };
    use std::fmt::Write;

    /// Makes a stand of nodes on one network `default`.
    pub(crate) fn spec_of(nodes: &[&str]) -> StandSpec {
        let net = NetworkName::parse("default").unwrap();
        let nodes = nodes.iter().map(|name| {
            let mut node = NodeSpec::new(
                ServiceName::parse(name).unwrap(),
                ImageName::parse("app").unwrap(),
            );
            node.network = NetworkMode::Networks(vec![Attachment {
                network: net.clone(),
                aliases: vec![],
                ipv4: None,
                ipv6: None,
                mac: None,
                priority: 0,
            }]);
            (NodeName::parse(name).unwrap(), node)
        });
        StandSpec {
            project: ProjectName::parse("shop").unwrap(),
            kind: StandKind::Test,
            nodes: nodes.collect(),
            networks: [(net.clone(), NetworkSpec::default())].into(),
            volumes: BTreeMap::new(),
            files: BTreeMap::new(),
            limits: Limits::default(),
            egress: daas_model::Egress::None,
            ttl: None,
            routes: Vec::new(),
            sleep_after: None,
        }
    }

    /// A stand in the head of the test: carries plans out and lets time pass.
    struct World {
        spec: StandSpec,
        power: Power,
        held: BTreeSet<NodeName>,
        images: BTreeMap<ImageName, String>,
        addresses: Addresses,
        observed: StandObserved,
        asked_at_ms: u64,
        apart: BTreeMap<NodeName, u64>,
        story: String,
    }

    impl World {
        fn new(spec: StandSpec) -> Self {
            let addresses = assign(&spec, &Addresses::default()).unwrap();
            Self {
                spec,
                power: Power::Running,
                held: BTreeSet::new(),
                images: BTreeMap::new(),
                addresses,
                observed: StandObserved::default(),
                asked_at_ms: 0,
                apart: BTreeMap::new(),
                story: String::new(),
            }
        }

        fn plan(&self) -> Plan {
            plan_stand(
                Wanted {
                    spec: &self.spec,
                    power: self.power,
                    held: &self.held,
                    asked_at_ms: self.asked_at_ms,
                    apart: &self.apart,
                    images: &self.images,
                    addresses: &self.addresses,
                },
                &self.observed,
            )
        }

        /// Plans, tells the plan, and carries it out.
        fn turn(&mut self) -> Plan {
            self.addresses = assign(&self.spec, &self.addresses).unwrap();
            let plan = self.plan();
            write!(self.story, "--- plan\n{plan}").unwrap();
            for (step, _) in &plan.steps {
                self.carry_out(step);
            }
            plan
        }

        fn carry_out(&mut self, step: &Step) {
            match step {
                Step::FetchImage { image } => {
                    self.images.insert(image.clone(), "sha256:1".into());
                }
                Step::Open { base } | Step::Reshape { base } => {
                    self.observed.keeper = true;
                    self.observed.base_from = Some(base.clone());
                }
                Step::Start { nodes } => {
                    for (name, digest) in nodes {
                        let health = if self.spec.nodes[name].health.is_some() {
                            Health::Starting
                        } else {
                            Health::None
                        };
                        let state = NodeState::Running {
                            pid: 1,
                            since_ms: 0,
                        };
                        self.observed.nodes.insert(
                            name.clone(),
                            NodeObserved {
                                state,
                                health,
                                restarts: 0,
                                launched_from: digest.clone(),
                                addresses: vec![],
                            },
                        );
                    }
                }
                Step::Restart { nodes } | Step::Resume { nodes } => nodes.iter().for_each(|n| {
                    self.set(
                        n.as_str(),
                        NodeState::Running {
                            pid: 1,
                            since_ms: 0,
                        },
                    );
                }),
                Step::Stop { nodes } => nodes.iter().for_each(|n| {
                    self.set(
                        n.as_str(),
                        NodeState::Exited {
                            code: 0,
                            oom: false,
                            at_ms: 1,
                            asked: true,
                        },
                    );
                }),
                Step::Pause { nodes } => nodes
                    .iter()
                    .for_each(|n| self.set(n.as_str(), NodeState::Paused { pid: 1 })),
                Step::Remove { nodes } => self.observed.nodes.retain(|n, _| !nodes.contains(n)),
                Step::Close => self.observed = StandObserved::default(),
            }
        }

        fn set(&mut self, node: &str, state: NodeState) {
            self.observed.nodes.get_mut(node).unwrap().state = state;
        }

        fn happens(&mut self, what: &str, node: &str, state: NodeState) {
            writeln!(self.story, "*** {node} {what}").unwrap();
            self.set(node, state);
        }

        fn healthy(&mut self, node: &str) {
            writeln!(self.story, "*** {node} is healthy").unwrap();
            self.observed.nodes.get_mut(node).unwrap().health = Health::Healthy;
        }

        fn depends(&mut self, node: &str, on: &str, condition: Condition) {
            let dependency = Dependency {
                service: ServiceName::parse(on).unwrap(),
                condition,
                restart: false,
                required: true,
            };
            self.spec
                .nodes
                .get_mut(node)
                .unwrap()
                .depends_on
                .push(dependency);
        }
    }

    fn exited(code: i32) -> NodeState {
        NodeState::Exited {
            code,
            oom: false,
            at_ms: 5,
            asked: false,
        }
    }

    fn shop() -> World {
        let mut world = World::new(spec_of(&["db", "migrate", "web"]));
        world.spec.nodes.get_mut("db").unwrap().health = Some(daas_model::HealthCheck::default());
        world.depends("migrate", "db", Condition::ServiceHealthy);
        world.depends("web", "migrate", Condition::ServiceCompletedSuccessfully);
        world
    }

    #[test]
    fn nodes_start_when_their_conditions_hold() {
        let mut world = shop();
        world.turn();
        world.turn();
        world.healthy("db");
        world.turn();
        world.happens("ends with 0", "migrate", exited(0));
        world.turn();
        assert!(world.turn().is_settled());
        insta::assert_snapshot!(world.story, @r"
        --- plan
        fetch image app:latest: it is not in the store
        open stand: no keeper holds the stand
        db waits for db: image app:latest is not in the store yet
        migrate waits for migrate: image app:latest is not in the store yet
        web waits for web: image app:latest is not in the store yet
        --- plan
        start db: they do not run and nothing holds them back
        migrate waits for db: it is not started yet
        web waits for migrate: it is not started yet
        *** db is healthy
        --- plan
        start migrate: they do not run and nothing holds them back
        web waits for migrate: it is not started yet
        *** migrate ends with 0
        --- plan
        start web: they do not run and nothing holds them back
        --- plan
        ");
    }

    #[test]
    fn a_failed_migration_holds_the_rest_and_is_tried_again_when_asked() {
        let mut world = shop();
        world.turn();
        world.turn();
        world.healthy("db");
        world.turn();
        world.happens("ends with 3", "migrate", exited(3));
        let plan = world.turn();
        assert!(plan.is_settled() && plan.stuck.len() == 2);
        world.asked_at_ms = 10;
        let migrate = NodeName::parse("migrate").unwrap();
        world.apart.insert(migrate, 0);
        world.story.push_str("*** somebody else again\n");
        world.turn();
        world.apart.clear();
        world.story.push_str("*** up again\n");
        world.turn();
        let tail = world
            .story
            .split("*** migrate ends with 3\n")
            .nth(1)
            .unwrap();
        insta::assert_snapshot!(tail, @r"
        --- plan
        migrate is stuck: it ended with exit code 3
        web is stuck: it depends on migrate: it ended with exit code 3
        *** somebody else again
        --- plan
        migrate is stuck: it ended with exit code 3
        web is stuck: it depends on migrate: it ended with exit code 3
        *** up again
        --- plan
        start migrate again: they have ended and shall run
        web is stuck: it depends on migrate: it ended with exit code 3
        ");
    }

    fn running(nodes: &[&str]) -> World {
        let mut world = World::new(spec_of(nodes));
        world
            .images
            .insert(ImageName::parse("app").unwrap(), "sha256:1".into());
        world
    }

    #[test]
    fn only_what_changed_is_made_anew() {
        let mut world = running(&["db", "web"]);
        world.depends("web", "db", Condition::ServiceStarted);
        while !world.turn().is_settled() {}
        world.story.clear();
        world
            .spec
            .nodes
            .get_mut("web")
            .unwrap()
            .environment
            .insert("A".into(), Some("1".into()));
        world
            .spec
            .nodes
            .get_mut("db")
            .unwrap()
            .labels
            .insert("note".into(), "no restart for a label".into());
        while !world.turn().is_settled() {}
        insta::assert_snapshot!(world.story, @r"
        --- plan
        stop web: their description has changed
        web waits for web: the old one must end first
        --- plan
        remove web: their description has changed
        start web: they do not run and nothing holds them back
        --- plan
        ");
    }

    #[test]
    fn the_new_content_of_a_file_is_there_before_its_readers_start_again() {
        let mut world = running(&["db", "web"]);
        let file = daas_model::FileName::parse("config.setting").unwrap();
        world.spec.files.insert(file.clone(), b"old".to_vec());
        let web = world.spec.nodes.get_mut("web").unwrap();
        web.files.push(daas_model::FileGrant {
            file: file.clone(),
            target: "/etc/setting".into(),
            uid: 0,
            gid: 0,
            mode: 0o444,
        });
        while !world.turn().is_settled() {}
        world.story.clear();
        world.spec.files.insert(file, b"new".to_vec());
        while !world.turn().is_settled() {}
        insta::assert_snapshot!(world.story, @r"
        --- plan
        reshape stand: networks, volumes, limits or files have changed
        stop web: their description has changed
        web waits for web: the old one must end first
        --- plan
        remove web: their description has changed
        start web: they do not run and nothing holds them back
        --- plan
        ");
    }

    #[test]
    fn a_stand_stops_in_reverse_order_and_starts_again() {
        let mut world = running(&["db", "web"]);
        world.depends("web", "db", Condition::ServiceStarted);
        while !world.turn().is_settled() {}
        world.story.clear();
        world.power = Power::Stopped;
        while !world.turn().is_settled() {}
        world.power = Power::Running;
        while !world.turn().is_settled() {}
        insta::assert_snapshot!(world.story, @r"
        --- plan
        stop web: the stand is to be stopped
        db waits for web: it depends on this one and ends first
        --- plan
        stop db: the stand is to be stopped
        --- plan
        --- plan
        start db again: they have ended and shall run
        web waits for db: it is stopped
        --- plan
        start web again: they have ended and shall run
        --- plan
        ");
    }

    #[test]
    fn a_service_that_left_the_project_is_removed() {
        let mut world = running(&["db", "web"]);
        while !world.turn().is_settled() {}
        world.spec.nodes.remove("web");
        while !world.turn().is_settled() {}
        assert_eq!(world.observed.nodes.len(), 1);
    }

    #[test]
    fn a_lost_keeper_brings_everything_back() {
        let mut world = running(&["db", "web"]);
        while !world.turn().is_settled() {}
        world.observed = StandObserved::default();
        while !world.turn().is_settled() {}
        assert_eq!(world.observed.nodes.len(), 2);
    }

    #[test]
    fn a_held_node_is_stopped_and_stays_so() {
        let mut world = running(&["db", "web"]);
        while !world.turn().is_settled() {}
        world.held.insert(NodeName::parse("web").unwrap());
        while !world.turn().is_settled() {}
        assert!(matches!(
            world.observed.nodes["web"].state,
            NodeState::Exited { .. }
        ));
        assert!(matches!(
            world.observed.nodes["db"].state,
            NodeState::Running { .. }
        ));
    }

    #[test]
    fn pause_freezes_and_running_lets_go_on() {
        let mut world = running(&["db"]);
        while !world.turn().is_settled() {}
        world.power = Power::Paused;
        while !world.turn().is_settled() {}
        assert!(matches!(
            world.observed.nodes["db"].state,
            NodeState::Paused { .. }
        ));
        world.power = Power::Running;
        while !world.turn().is_settled() {}
        assert!(matches!(
            world.observed.nodes["db"].state,
            NodeState::Running { .. }
        ));
    }

    #[test]
    fn a_throw_away_stand_is_closed_at_once_and_a_service_is_stopped_first() {
        let mut world = running(&["db"]);
        while !world.turn().is_settled() {}
        world.power = Power::Gone;
        assert_eq!(world.plan().steps[0].0, Step::Close);
        world.spec.kind = StandKind::Service;
        assert!(matches!(world.plan().steps[0].0, Step::Stop { .. }));
        world.turn();
        assert_eq!(world.plan().steps[0].0, Step::Close);
    }

    #[test]
    fn a_node_without_health_check_can_not_be_waited_for_as_healthy() {
        let mut world = running(&["db", "web"]);
        world.depends("web", "db", Condition::ServiceHealthy);
        world.turn();
        let plan = world.turn();
        assert_eq!(
            plan.stuck[0].why,
            "it depends on db: it has no health check, so it can never be healthy"
        );
    }

    proptest::proptest! {
        /// Whatever was seen before, carrying plans out reaches a settled plan within a bounded number of turns.
        #[test]
        fn every_start_settles(states in proptest::collection::vec(0u8..7, 4), power in 0u8..4) {
            let mut world = running(&["a", "b", "c", "d"]);
            world.depends("b", "a", Condition::ServiceStarted);
            world.depends("c", "b", Condition::ServiceStarted);
            world.observed.keeper = true;
            for (name, state) in ["a", "b", "c", "d"].iter().zip(states) {
                let state = match state {
                    0 => continue,
                    1 => NodeState::Running { pid: 1, since_ms: 0 },
                    2 => exited(0),
                    3 => exited(1),
                    4 => NodeState::Paused { pid: 1 },
                    5 => NodeState::Exited { code: 0, oom: false, at_ms: 0, asked: true },
                    _ => NodeState::Failed { reason: "x".into(), at_ms: 0 },
                };
                world.observed.nodes.insert(NodeName::parse(name).unwrap(), NodeObserved { state, health: Health::None, restarts: 0, launched_from: "other".into(), addresses: vec![] });
            }
            world.power = [Power::Running, Power::Stopped, Power::Paused, Power::Gone][power as usize];
            let mut settled = false;
            for _ in 0..20 {
                let plan = world.turn();
                if plan.is_settled() || world.power == Power::Gone { settled = true; break; }
            }
            proptest::prop_assert!(settled, "{}", world.story);
        }
    }
}
