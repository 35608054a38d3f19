//! The loops over a store in memory and an engine in the head.

use crate::keep::Keep;
use crate::operations::Operations;
use crate::record::{Once, StandRecord};
use crate::status::{Status, Verdict};
use daas_api::{Failure, OperationKind, OperationState};
use daas_engine::{Engine, FakeEngine};
use daas_model::{
    Egress, Health, HealthCheck, ImageName, Kind, Limits, NetworkMode, NodeName, NodeSpec,
    NodeState, ProjectName, ServiceName, StandId, StandKind, StandName, StandSpec,
};
use daas_plan::{Addresses, Power};
use daas_store::Store;
use daas_tasks::Supervisor;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

struct House {
    store: Store,
    engine: Arc<FakeEngine>,
    operations: Operations,
    keep: Keep<FakeEngine>,
}

fn name(text: &str) -> StandName {
    StandName::parse(text).unwrap()
}

fn record(stand: &str, nodes: &[&str]) -> StandRecord {
    let nodes = nodes.iter().map(|n| {
        let mut node = NodeSpec::new(
            ServiceName::parse(n).unwrap(),
            ImageName::parse("app").unwrap(),
        );
        node.network = NetworkMode::None;
        (NodeName::parse(n).unwrap(), node)
    });
    let spec = StandSpec {
        project: ProjectName::parse("shop").unwrap(),
        kind: StandKind::Test,
        nodes: nodes.collect(),
        networks: BTreeMap::new(),
        volumes: BTreeMap::new(),
        files: BTreeMap::new(),
        limits: Limits::default(),
        egress: Egress::None,
        ttl: None,
        routes: Vec::new(),
        sleep_after: None,
    };
    StandRecord {
        id: StandId::parse(&format!("id-{stand}")).unwrap(),
        name: name(stand),
        spec,
        source: daas_api::ProjectSource::default(),
        power: Power::Running,
        asleep: false,
        held: BTreeSet::new(),
        asked_at_ms: 1,
        apart: BTreeMap::new(),
        created_ms: 1,
        expires_ms: None,
        addresses: Addresses::default(),
        host_address: None,
        grace: None,
        pins: daas_engine::Pins::new(),
        once: Once::default(),
    }
}

impl House {
    async fn new() -> Self {
        let (store, engine, operations) = (
            Store::in_memory().unwrap(),
            Arc::new(FakeEngine::default()),
            Operations::default(),
        );
        let keep = Keep::start(
            store.clone(),
            engine.clone(),
            operations.clone(),
            Supervisor::new(),
        )
        .await
        .unwrap();
        Self {
            store,
            engine,
            operations,
            keep,
        }
    }

    /// Writes a record and follows the operation to its end.
    async fn ask(&self, kind: OperationKind, record: &StandRecord) -> daas_api::Operation {
        let revision = self.store.put(record.name.as_str(), record).await.unwrap();
        let id = self.operations.begin(kind, &record.name, revision.0, 1);
        self.keep.run(&record.name, &record.id);
        self.over(&id).await
    }

    async fn over(&self, id: &daas_api::OperationId) -> daas_api::Operation {
        for _ in 0..500 {
            let operation = self.operations.get(id).unwrap();
            if operation.state.is_over() {
                return operation;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!(
            "never over: {:?}\n{:#?}",
            self.operations.get(id).unwrap(),
            self.engine.steps()
        );
    }
}

#[test]
fn an_up_that_meets_a_limit_again_and_again_fails_after_a_minute_and_a_new_one_waits_anew() {
    let limit = || {
        Failure::new(
            "kernel-limit",
            Kind::Busy {
                retry_after: Duration::from_secs(1),
            },
            "cannot watch a stand",
        )
        .because("too many open files")
    };
    let (wanted, mut status) = (record("shop", &["web"]), Status::default());
    let now = std::time::Instant::now();
    let ago = |seconds| now.checked_sub(Duration::from_secs(seconds)).unwrap();
    let up = OperationKind::Up;
    status.fail(3, limit(), false, ago(59));
    status.fail(3, limit(), false, now);
    assert_eq!(status.verdict(&wanted, up, 3), Verdict::Running);
    let mut status = Status::default();
    status.fail(3, limit(), false, ago(61));
    status.fail(3, limit(), false, now);
    let Verdict::Failed(failure) = status.verdict(&wanted, up, 3) else {
        panic!("still waiting");
    };
    assert_eq!(failure.code(), "kernel-limit");
    assert_eq!(
        failure.hint_text(),
        Some(
            "it is tried again until it succeeds or the stand is taken down; `daas doctor` looks at the machine's limits"
        )
    );
    // Somebody asks again: that operation has its own minute.
    status.fail(4, limit(), false, now);
    assert_eq!(status.verdict(&wanted, up, 4), Verdict::Running);
}

#[tokio::test]
async fn an_up_is_done_when_every_node_runs() {
    let house = House::new().await;
    let operation = house
        .ask(OperationKind::Up, &record("shop", &["db", "web"]))
        .await;
    assert_eq!(operation.state, OperationState::Done);
    assert_eq!(
        house.engine.steps(),
        [
            "shop: fetch image app:latest",
            "shop: open stand",
            "shop: start db, web"
        ]
    );
}

#[tokio::test]
async fn a_second_up_of_the_same_changes_nothing() {
    let house = House::new().await;
    let record = record("shop", &["web"]);
    house.ask(OperationKind::Up, &record).await;
    let before = house.engine.steps();
    assert_eq!(
        house.ask(OperationKind::Up, &record).await.state,
        OperationState::Done
    );
    assert_eq!(house.engine.steps(), before);
}

#[tokio::test]
async fn an_up_waits_for_health_and_fails_with_the_node_that_is_ill() {
    let house = House::new().await;
    let mut record = record("shop", &["web"]);
    record.spec.nodes.get_mut("web").unwrap().health = Some(HealthCheck::default());
    let revision = house.store.put("shop", &record).await.unwrap();
    let id = house
        .operations
        .begin(OperationKind::Up, &record.name, revision.0, 1);
    house.keep.run(&record.name, &record.id);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(
        house.operations.get(&id).unwrap().state,
        OperationState::Running
    );
    house
        .engine
        .change(&record.id, &NodeName::parse("web").unwrap(), |node| {
            node.health = Health::Unhealthy;
        });
    let operation = house.over(&id).await;
    assert_eq!(operation.state, OperationState::Failed);
    assert!(operation.problem.unwrap().title.contains("web"));
}

#[tokio::test]
async fn every_step_may_fail_once_and_the_stand_comes_up_all_the_same() {
    for step in ["fetch", "open", "start"] {
        let house = House::new().await;
        house.engine.fail(step, 1);
        assert_eq!(
            house
                .ask(OperationKind::Up, &record("shop", &["db", "web"]))
                .await
                .state,
            OperationState::Done,
            "{step}"
        );
    }
    for step in ["close"] {
        let house = House::new().await;
        let mut record = record("shop", &["db"]);
        house.ask(OperationKind::Up, &record).await;
        house.engine.fail(step, 1);
        record.power = Power::Gone;
        assert_eq!(
            house.ask(OperationKind::Down, &record).await.state,
            OperationState::Done,
            "{step}"
        );
        assert!(
            house.store.get::<StandRecord>("shop").unwrap().is_none()
                && house.engine.known().is_empty()
        );
    }
}

#[tokio::test]
async fn a_lost_keeper_brings_its_nodes_back() {
    let house = House::new().await;
    let record = record("shop", &["web"]);
    house.ask(OperationKind::Up, &record).await;
    house.engine.lose(&record.id);
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        if house.engine.steps().len() == 5 {
            break;
        }
    }
    assert_eq!(
        house.engine.steps()[3..],
        ["shop: open stand", "shop: start web"]
    );
}

#[tokio::test]
async fn a_stand_ends_with_its_time_to_live() {
    let house = House::new().await;
    let mut record = record("shop", &["web"]);
    record.expires_ms = Some(crate::stand_loop::now_ms() + 300);
    house.ask(OperationKind::Up, &record).await;
    // The record goes last: what it stands for is found by it after a crash.
    let is_gone = || {
        house.engine.known().is_empty() && house.store.get::<StandRecord>("shop").unwrap().is_none()
    };
    for _ in 0..1000 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        if is_gone() {
            break;
        }
    }
    assert!(is_gone());
}

#[tokio::test]
async fn a_restart_stops_and_starts_the_named_node_only() {
    let house = House::new().await;
    let mut record = record("shop", &["db", "web"]);
    house.ask(OperationKind::Up, &record).await;
    record.once.restart.insert(NodeName::parse("web").unwrap());
    assert_eq!(
        house.ask(OperationKind::Restart, &record).await.state,
        OperationState::Done
    );
    assert_eq!(
        house.engine.steps()[3..],
        ["shop: stop web", "shop: start web again"]
    );
}

#[tokio::test]
async fn what_no_record_knows_is_closed_at_the_start() {
    let first = House::new().await;
    let record = record("shop", &["web"]);
    first.ask(OperationKind::Up, &record).await;
    let second = Keep::start(
        Store::in_memory().unwrap(),
        first.engine.clone(),
        Operations::default(),
        Supervisor::new(),
    )
    .await
    .unwrap();
    assert!(first.engine.known().is_empty());
    drop(second);
}

#[tokio::test]
async fn a_node_that_failed_for_good_fails_the_operation_with_its_reason() {
    let house = House::new().await;
    let record = record("shop", &["web"]);
    house.ask(OperationKind::Up, &record).await;
    house
        .engine
        .change(&record.id, &NodeName::parse("web").unwrap(), |node| {
            node.state = NodeState::Exited {
                code: 3,
                oom: false,
                at_ms: 5,
                asked: false,
            }
        });
    let operation = house.ask(OperationKind::Up, &record).await;
    let problem = operation.problem.unwrap();
    assert_eq!(
        (operation.state, problem.code.as_str()),
        (OperationState::Failed, "node-failed")
    );
    assert!(problem.causes[0].contains("exit code 3"), "{problem:?}");
}
