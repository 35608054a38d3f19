use daas_model::{
    Condition, Dependency, Health, NodeName, NodeObserved, NodeState, StandObserved, StandSpec,
};
use std::collections::BTreeSet;

/// What the dependencies of a node say about its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// All conditions hold.
    Ready,
    /// Some do not hold yet: the first of them, in words.
    Wait {
        /// The node waited for.
        on: NodeName,
        /// Why.
        why: String,
    },
    /// One can not hold any more by itself.
    Never {
        /// The node that failed.
        on: NodeName,
        /// Why.
        why: String,
    },
}

/// Tells whether `dependencies` allow a start.
pub(crate) fn readiness(
    spec: &StandSpec,
    dependencies: &[Dependency],
    observed: &StandObserved,
    held: &BTreeSet<NodeName>,
) -> Readiness {
    let mut wait = None;
    for dependency in dependencies {
        for (name, _) in spec
            .nodes
            .iter()
            .filter(|(_, node)| node.service == dependency.service)
        {
            match one(
                dependency,
                name,
                observed.nodes.get(name),
                held.contains(name),
            ) {
                Readiness::Ready => {}
                Readiness::Never { .. } if !dependency.required => {}
                never @ Readiness::Never { .. } => return never,
                Readiness::Wait { .. } if !dependency.required && held.contains(name) => {}
                waiting @ Readiness::Wait { .. } => {
                    wait.get_or_insert(waiting);
                }
            }
        }
    }
    wait.unwrap_or(Readiness::Ready)
}

fn one(
    dependency: &Dependency,
    name: &NodeName,
    node: Option<&NodeObserved>,
    held: bool,
) -> Readiness {
    let wait = |why: &str| Readiness::Wait {
        on: name.clone(),
        why: why.to_owned(),
    };
    let never = |why: String| Readiness::Never {
        on: name.clone(),
        why,
    };
    let Some(node) = node else {
        return if held {
            wait("it was stopped by a person")
        } else {
            wait("it is not started yet")
        };
    };
    match (&node.state, dependency.condition) {
        (NodeState::Running { .. } | NodeState::Paused { .. }, Condition::ServiceStarted) => {
            Readiness::Ready
        }
        (NodeState::Running { .. } | NodeState::Paused { .. }, Condition::ServiceHealthy) => {
            match node.health {
                Health::Healthy => Readiness::Ready,
                Health::Starting => wait("its health check has not passed yet"),
                Health::Unhealthy => never("its health check fails".into()),
                Health::None => never("it has no health check, so it can never be healthy".into()),
            }
        }
        (
            NodeState::Running { .. } | NodeState::Paused { .. },
            Condition::ServiceCompletedSuccessfully,
        ) => wait("it has not ended yet"),
        (NodeState::Exited { code: 0, .. }, Condition::ServiceCompletedSuccessfully) => {
            Readiness::Ready
        }
        (
            NodeState::Exited {
                code: 0,
                asked: false,
                ..
            },
            Condition::ServiceStarted,
        ) => Readiness::Ready,
        (NodeState::Exited { asked: true, .. }, _) => wait("it is stopped"),
        (NodeState::Exited { code, oom, .. }, _) => never(if *oom {
            format!("it was killed for memory (exit code {code})")
        } else {
            format!("it ended with exit code {code}")
        }),
        (NodeState::Backoff { code, .. }, _) => wait(&format!(
            "it ended with exit code {code} and will be started again"
        )),
        (NodeState::Starting | NodeState::Stopping, _) => wait("it is on its way"),
        (NodeState::Failed { reason, .. }, _) => {
            never(format!("it could not be launched: {reason}"))
        }
    }
}
