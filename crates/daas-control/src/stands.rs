//! What the doors ask of stands.

use crate::events::{HappeningRecord, view};
use crate::platform::Control;
use crate::projects::{diagnostic_views, enough, ignored_views};
use crate::record::{Once, StandRecord};
use crate::service_builds::ServiceBuilds;
use crate::stand_loop::now_ms;
use crate::views::plan_steps;
use daas_api::platform::{Answer, BoxDuplex, ByteFlow, ExecSession, Flow, IfRevision, Stands};
use daas_api::{
    Accepted, ActRequest, Action, Caller, DownQuery, EventQuery, EventView, ExecRequest, Failure,
    LogChunk, LogQuery, Operation, OperationId, OperationKind, PlanView, ScaleRequest, StandStats,
    StandSummary, StandView, Started, UpRequest,
};
use daas_engine::Pins;
use daas_model::{Kind, NodeName, Protocol, StandId, StandName, StandSpec};
use daas_plan::{Power, assign};
use daas_spec::Outcome;
use daas_store::{Batch, EventId, Expect, Revision, Stored};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

/// The most stands of one request.
const MOST: u32 = 1000;

impl Control {
    /// Returns a stand's record.
    pub(crate) fn stand(&self, name: &StandName) -> Result<Stored<StandRecord>, Failure> {
        self.store
            .get::<StandRecord>(name.as_str())?
            .ok_or_else(|| {
                let failure = Failure::new(
                    "stand-not-found",
                    Kind::NotFound,
                    format!("no stand `{name}`"),
                );
                let near = self
                    .store
                    .list::<StandRecord>("")
                    .ok()
                    .into_iter()
                    .flatten()
                    .find(|s| daas_spec::nearest(name.as_str(), [s.value.name.as_str()]).is_some());
                failure.hint(near.map_or_else(
                    || "`daas stand list` tells which there are".to_owned(),
                    |near| format!("did you mean `{}`?", near.value.name),
                ))
            })
    }

    /// Returns the id of a stand and checks that it has the node.
    pub(crate) fn node(
        &self,
        stand: &StandName,
        node: &NodeName,
    ) -> Result<(StandId, Stored<StandRecord>), Failure> {
        let stored = self.stand(stand)?;
        if !stored.value.spec.nodes.contains_key(node) {
            let names: Vec<&str> = stored
                .value
                .spec
                .nodes
                .keys()
                .map(NodeName::as_str)
                .collect();
            return Err(Failure::new(
                "node-not-found",
                Kind::NotFound,
                format!("stand `{stand}` has no node `{node}`"),
            )
            .hint(format!("it has: {}", names.join(", "))));
        }
        Ok((stored.value.id.clone(), stored))
    }

    /// Returns the names of the stands that a request is about.
    fn names(
        request: &UpRequest,
        outcome: &Outcome,
        spec: &StandSpec,
    ) -> Result<Vec<StandName>, Failure> {
        let base = match &request.name {
            Some(name) => name.clone(),
            None => StandName::parse(outcome.project.as_ref().unwrap_or(&spec.project).as_str())
                .map_err(|error| Failure::new("stand-name", Kind::Input, error.to_string()))?,
        };
        let Some(count) = request.count else {
            return Ok(vec![base]);
        };
        if !(1..=MOST).contains(&count) {
            return Err(Failure::new(
                "stand-count",
                Kind::Input,
                format!("cannot make {count} stands: ask for 1 to {MOST}"),
            ));
        }
        (1..=count)
            .map(|n| {
                StandName::parse(&format!("{base}-{n}"))
                    .map_err(|error| Failure::new("stand-name", Kind::Input, error.to_string()))
            })
            .collect()
    }

    /// Reads the project, or fails with all of its faults.
    fn read_valid(&self, request: &UpRequest) -> Result<(Outcome, StandSpec), Failure> {
        let outcome = self.read(&request.project)?;
        match outcome.spec.clone() {
            Some(spec) => {
                enough(spec.limits)?;
                Ok((outcome, spec))
            }
            None => Err(Failure::of_project(&outcome.diagnostics)),
        }
    }

    /// Returns the record that an `up` writes over `before`.
    fn wanted(
        &self,
        name: &StandName,
        request: &UpRequest,
        spec: &StandSpec,
        before: Option<&StandRecord>,
        used: &mut BTreeSet<IpAddr>,
    ) -> Result<StandRecord, Failure> {
        if let Some(before) = before.filter(|before| before.power != Power::Gone) {
            may_become(before, spec)?;
        }
        let now = now_ms();
        let expires_ms = spec
            .ttl
            .map(|ttl| now + u64::try_from(ttl.0.as_millis()).unwrap_or(u64::MAX / 2));
        let power = if request.options.no_start {
            Power::Stopped
        } else {
            Power::Running
        };
        let once = Once {
            restart: BTreeSet::new(),
            recreate: request.options.recreate,
            // What was pushed since is what a person means who asks now.
            pull: request.options.pull
                || spec
                    .nodes
                    .values()
                    .any(|node| self.is_behind_registry(&node.image)),
        };
        let host_address = match before.and_then(|b| b.host_address) {
            Some(address) => Some(address),
            None => {
                let given = self.config.addresses.next(used, None);
                used.extend(given);
                given
            }
        };
        Ok(StandRecord {
            id: before.map_or_else(daas_engine::new_stand_id, |b| b.id.clone()),
            name: name.clone(),
            spec: spec.clone(),
            source: request.project.clone(),
            power,
            asleep: false,
            held: BTreeSet::new(),
            asked_at_ms: now,
            apart: BTreeMap::new(),
            created_ms: before.map_or(now, |b| b.created_ms),
            expires_ms,
            addresses: assign(
                spec,
                &before.map(|b| b.addresses.clone()).unwrap_or_default(),
            )?,
            host_address,
            grace: None,
            pins: Pins::new(),
            once,
        })
    }

    /// Returns what the names of a stand's images mean now.
    async fn images_now(&self, spec: &StandSpec) -> Result<Pins, Failure> {
        let engine: &daas_engine::LocalEngine = &self.engine;
        Ok(daas_engine::Engine::images(engine, spec, &Pins::new()).await?)
    }

    async fn up_stands(
        &self,
        caller: &Caller,
        request: UpRequest,
        at: IfRevision,
    ) -> Result<Accepted, Failure> {
        let (outcome, mut spec) = self.read_valid(&request)?;
        let policy = self.policy(&spec.project)?;
        crate::binds::settle(&mut spec, &request.project.dir, caller, &policy)?;
        let names = Self::names(&request, &outcome, &spec)?;
        let builds = self
            .service_builds(caller, &request.project, &outcome, request.options.build)
            .await?;
        let recorded = self
            .record_stands(caller, &request, at, &spec, &names, builds.as_ref())
            .await;
        let (records, on_disk) = match (recorded, &builds) {
            (Ok(recorded), _) => recorded,
            (Err(failure), Some(builds)) => {
                builds.give_up(self, &names, &failure);
                return Err(failure);
            }
            (Err(failure), None) => return Err(failure),
        };
        self.keep.steps().take("record.kept")?;
        let mut operations: Vec<Started> = builds.iter().flat_map(|b| b.started()).collect();
        for name in &names {
            operations.push(self.begin(name, OperationKind::Up)?);
        }
        if let Some(builds) = builds {
            let stands = records.iter().map(|r| (r.name.clone(), r.id.clone()));
            self.build_for(builds, stands.collect());
        }
        on_disk.await?;
        self.follow_environment(&outcome);
        Ok(Accepted {
            operations,
            diagnostics: diagnostic_views(&outcome),
        })
    }

    /// Writes the records of stands that are wanted; the second of the answer waits for the disk.
    async fn record_stands<'a>(
        &'a self,
        caller: &Caller,
        request: &UpRequest,
        at: IfRevision,
        spec: &StandSpec,
        names: &[StandName],
        builds: Option<&ServiceBuilds>,
    ) -> Result<
        (
            Vec<StandRecord>,
            BoxFuture<'a, Result<(), daas_store::StoreError>>,
        ),
        Failure,
    > {
        let naming = self.naming.lock().await;
        let mut used = self.keep.shared.in_use.all();
        let mut batch = Batch::new();
        let mut records = Vec::with_capacity(names.len());
        // What is still to be built or pulled is pinned by the loop, once it is there.
        let pins = match builds {
            None => self.images_now(spec).await?,
            Some(_) => Pins::new(),
        };
        for name in names {
            let before = self.store.get::<StandRecord>(name.as_str())?;
            check_revision(name, before.as_ref().map(|b| b.revision), at)?;
            if before
                .as_ref()
                .is_some_and(|b| b.value.power == Power::Gone)
            {
                return Err(Failure::new(
                    "stand-removing",
                    Kind::Busy {
                        retry_after: Duration::from_millis(300),
                    },
                    format!("stand `{name}` is being thrown away"),
                )
                .hint("try again in a moment"));
            }
            let mut record = self.wanted(
                name,
                request,
                spec,
                before.as_ref().map(|b| &b.value),
                &mut used,
            )?;
            if !record.once.pull {
                record.pins.clone_from(&pins);
            }
            let expect = before.map_or(Expect::Absent, |b| Expect::Revision(b.revision));
            batch = batch.put_if(name.as_str(), &record, expect)?;
            records.push(record);
        }
        let note = format!("{caller} asked for the stand");
        for name in names {
            batch = batch.event(
                name.as_str(),
                now_ms(),
                &HappeningRecord::note(name, "stand-up", note.clone()),
            )?;
        }
        self.keep.steps().take("record.keep")?;
        for name in names {
            self.keep.shared.waiting.end(name, None);
        }
        if let Some(builds) = builds {
            builds.hold(self, names);
        }
        // The loops begin while the disk still writes: what they do a crash undoes, because a stand that no record knows is closed. The answer waits.
        let (_, on_disk) = self.store.commit_early(batch).await?;
        records
            .iter()
            .for_each(|record| self.keep.shared.in_use.enter(record));
        // Whoever asks next is flushed together with this.
        drop(naming);
        Ok((records, on_disk.boxed()))
    }

    /// Begins an operation on the record as it is now, and calls its loop.
    fn begin(&self, name: &StandName, kind: OperationKind) -> Result<Started, Failure> {
        let stored = self.stand(name)?;
        let operation = self
            .operations
            .begin(kind, name, stored.revision.0, now_ms());
        self.keep.run(name, &stored.value.id);
        Ok(Started {
            operation,
            stand: Some(name.clone()),
        })
    }

    /// Changes a stand's record, remembers who did it, and begins the operation.
    async fn change(
        &self,
        caller: &Caller,
        name: &StandName,
        kind: OperationKind,
        at: IfRevision,
        change: impl Fn(&mut StandRecord) -> Result<(), Failure>,
    ) -> Result<Accepted, Failure> {
        loop {
            let mut stored = self.stand(name)?;
            check_revision(name, Some(stored.revision), at)?;
            if stored.value.power == Power::Gone && kind != OperationKind::Down {
                return Err(Failure::new(
                    "stand-removing",
                    Kind::Conflict,
                    format!("stand `{name}` is being thrown away"),
                ));
            }
            stored.value.asleep = false;
            change(&mut stored.value)?;
            let (code, text) = (
                format!("stand-{}", word(kind)),
                format!("{caller} asked to {} the stand", word(kind)),
            );
            let batch = Batch::new()
                .put_if(
                    name.as_str(),
                    &stored.value,
                    Expect::Revision(stored.revision),
                )?
                .event(
                    name.as_str(),
                    now_ms(),
                    &HappeningRecord::note(name, &code, text),
                )?;
            self.keep.steps().take("record.keep")?;
            match self.store.commit(batch).await {
                Ok(_) => {
                    self.keep.steps().take("record.kept")?;
                    return Ok(Accepted {
                        operations: vec![self.begin(name, kind)?],
                        diagnostics: Vec::new(),
                    });
                }
                // The loop wrote addresses at the same moment: read and change again.
                Err(error) if error.is_conflict() && at.is_none() => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn plan_stands(&self, request: UpRequest) -> Result<Vec<PlanView>, Failure> {
        let outcome = self.read(&request.project)?;
        let Some(spec) = outcome.spec.clone() else {
            let project = outcome.project.as_ref().map_or("project", |p| p.as_str());
            let stand = request
                .name
                .clone()
                .or_else(|| StandName::parse(project).ok())
                .unwrap_or_else(|| {
                    StandName::parse("project").expect("a literal that matches the grammar")
                });
            let exists = self.store.get::<StandRecord>(stand.as_str())?.is_some();
            return Ok(vec![PlanView {
                stand,
                exists,
                steps: Vec::new(),
                ignored: ignored_views(&outcome),
                diagnostics: diagnostic_views(&outcome),
            }]);
        };
        let mut used = self.keep.shared.in_use.all();
        let mut views = Vec::new();
        let images = self.images_now(&spec).await?;
        for name in Self::names(&request, &outcome, &spec)? {
            let before = self
                .store
                .get::<StandRecord>(name.as_str())?
                .map(|s| s.value);
            let record = self.wanted(&name, &request, &spec, before.as_ref(), &mut used)?;
            let engine: &daas_engine::LocalEngine = &self.engine;
            let observed = daas_engine::Engine::observe(engine, &record.id).await?;
            let steps = plan_steps(
                &record,
                before.as_ref(),
                &observed,
                &images,
                &record.addresses,
            );
            views.push(PlanView {
                stand: name,
                exists: before.is_some(),
                steps,
                ignored: ignored_views(&outcome),
                diagnostics: diagnostic_views(&outcome),
            });
        }
        Ok(views)
    }

    fn known_nodes(record: &StandRecord, nodes: &[NodeName]) -> Result<(), Failure> {
        match nodes.iter().find(|n| !record.spec.nodes.contains_key(*n)) {
            Some(node) => Err(Failure::new(
                "node-not-found",
                Kind::NotFound,
                format!("stand `{}` has no node `{node}`", record.name),
            )),
            None => Ok(()),
        }
    }

    async fn act_on(
        &self,
        caller: &Caller,
        stand: &StandName,
        action: Action,
        request: ActRequest,
        at: IfRevision,
    ) -> Result<Accepted, Failure> {
        if matches!(action, Action::Pause | Action::Resume) && !request.nodes.is_empty() {
            return Err(Failure::new(
                "stand-pause-nodes",
                Kind::Input,
                "cannot pause single nodes",
            )
            .hint("pause the whole stand, or stop the node"));
        }
        let kind = match action {
            Action::Start => OperationKind::Start,
            Action::Stop => OperationKind::Stop,
            Action::Restart => OperationKind::Restart,
            Action::Pause => OperationKind::Pause,
            Action::Resume => OperationKind::Resume,
        };
        self.change(caller, stand, kind, at, |record| {
            Self::known_nodes(record, &request.nodes)?;
            record.grace = request.grace;
            let all = request.nodes.is_empty();
            if all || record.power != Power::Running {
                record.ask_for_all(now_ms());
            } else {
                record.ask_for(&request.nodes, now_ms());
            }
            match action {
                Action::Start => {
                    record.power = Power::Running;
                    record.held.retain(|n| !all && !request.nodes.contains(n));
                }
                Action::Stop if all => record.power = Power::Stopped,
                Action::Stop => record.held.extend(request.nodes.iter().cloned()),
                Action::Restart => {
                    record.power = Power::Running;
                    record.held.retain(|n| !request.nodes.contains(n));
                    record.once.restart = if all {
                        record
                            .spec
                            .nodes
                            .keys()
                            .filter(|n| !record.held.contains(*n))
                            .cloned()
                            .collect()
                    } else {
                        let mut all = with_dependants(&record.spec, &request.nodes);
                        all.retain(|n| !record.held.contains(n));
                        all
                    };
                }
                Action::Pause if record.power == Power::Stopped => {
                    return Err(Failure::new(
                        "stand-stopped",
                        Kind::Conflict,
                        format!("stand `{stand}` is stopped: there is nothing to pause"),
                    ));
                }
                Action::Pause => record.power = Power::Paused,
                Action::Resume if record.power == Power::Paused => record.power = Power::Running,
                Action::Resume => {}
            }
            Ok(())
        })
        .await
    }

    async fn scale_stand(
        &self,
        caller: &Caller,
        stand: &StandName,
        request: ScaleRequest,
        at: IfRevision,
    ) -> Result<Accepted, Failure> {
        let stored = self.stand(stand)?;
        let mut source = stored.value.source.clone();
        source.scale.extend(
            request
                .services
                .iter()
                .map(|(name, n)| (name.to_string(), *n)),
        );
        let outcome = self.read(&source)?;
        let mut spec = outcome
            .spec
            .clone()
            .ok_or_else(|| Failure::of_project(&outcome.diagnostics))?;
        enough(spec.limits)?;
        let policy = self.policy(&spec.project)?;
        crate::binds::settle(&mut spec, &source.dir, caller, &policy)?;
        self.change(caller, stand, OperationKind::Scale, at, |record| {
            record.ask_for_all(now_ms());
            record.addresses = assign(&spec, &record.addresses)?;
            record.spec = spec.clone();
            record.source = source.clone();
            Ok(())
        })
        .await
    }

    async fn read_events(
        &self,
        stand: Option<&StandName>,
        query: EventQuery,
    ) -> Result<Flow<EventView>, Failure> {
        const NEWEST: usize = 100;
        let topic = stand.map(StandName::as_str);
        let old = match (query.after, query.last) {
            (Some(after), _) => self
                .store
                .events_after(topic, EventId(after), usize::MAX >> 1)?,
            (None, last) => self.store.last_events(topic, last.unwrap_or(NEWEST))?,
        };
        let after = old.last().map_or_else(
            || query.after.map_or_else(|| self.store.last_event(), EventId),
            |e| e.id,
        );
        let first: Vec<Result<EventView, Failure>> = old.iter().map(view).collect();
        let first = futures_util::stream::iter(first);
        if !query.follow {
            return Ok(Box::pin(first));
        }
        let events = self.store.events(topic, after);
        let later = futures_util::stream::unfold(events, |mut events| async move {
            let item = match events.next().await {
                Ok(event) => view(&event),
                Err(error) => Err(error.into()),
            };
            Some((item, events))
        });
        Ok(Box::pin(first.chain(later)))
    }
}

fn word(kind: OperationKind) -> &'static str {
    match kind {
        OperationKind::Up => "up",
        OperationKind::Down => "down",
        OperationKind::Start => "start",
        OperationKind::Stop => "stop",
        OperationKind::Restart => "restart",
        OperationKind::Pause => "pause",
        OperationKind::Resume => "resume",
        OperationKind::Scale => "scale",
        OperationKind::Pull => "pull",
        OperationKind::Make => "make",
        OperationKind::Build => "build",
        OperationKind::Refresh => "refresh",
    }
}

fn check_revision(name: &StandName, seen: Option<Revision>, at: IfRevision) -> Result<(), Failure> {
    match at {
        Some(wanted) if seen.map(|r| r.0) != Some(wanted) => Err(Failure::new(
            "stand-changed",
            Kind::Conflict,
            format!("stand `{name}` is not at revision {wanted} any more"),
        )
        .with_status(412)
        .hint("look at it again, then decide again")),
        _ => Ok(()),
    }
}

impl Stands for Control {
    fn up<'a>(
        &'a self,
        caller: &'a Caller,
        request: UpRequest,
        at: IfRevision,
    ) -> Answer<'a, Accepted> {
        Box::pin(self.up_stands(caller, request, at))
    }

    fn plan(&self, request: UpRequest) -> Answer<'_, Vec<PlanView>> {
        Box::pin(self.plan_stands(request))
    }

    fn list(&self) -> Answer<'_, Vec<StandSummary>> {
        Box::pin(async move {
            Ok(self
                .store
                .list::<StandRecord>("")?
                .iter()
                .map(|stored| self.summary(stored))
                .collect())
        })
    }

    fn show<'a>(&'a self, stand: &'a StandName) -> Answer<'a, StandView> {
        Box::pin(async move { Ok(self.stand_view(&self.stand(stand)?)) })
    }

    fn down<'a>(
        &'a self,
        caller: &'a Caller,
        stand: &'a StandName,
        how: DownQuery,
        at: IfRevision,
    ) -> Answer<'a, Accepted> {
        Box::pin(async move {
            if how.keep_volumes {
                return Err(Failure::new("stand-keep-volumes", Kind::Input, format!("cannot throw stand `{stand}` away and keep its volumes")).hint("`daas stand stop` ends its nodes and keeps everything; `daas stand start` brings them back"));
            }
            self.change(caller, stand, OperationKind::Down, at, |record| {
                record.ask_for_all(now_ms());
                record.power = Power::Gone;
                Ok(())
            })
            .await
        })
    }

    fn act<'a>(
        &'a self,
        caller: &'a Caller,
        stand: &'a StandName,
        action: Action,
        request: ActRequest,
        at: IfRevision,
    ) -> Answer<'a, Accepted> {
        Box::pin(self.act_on(caller, stand, action, request, at))
    }

    fn scale<'a>(
        &'a self,
        caller: &'a Caller,
        stand: &'a StandName,
        request: ScaleRequest,
        at: IfRevision,
    ) -> Answer<'a, Accepted> {
        Box::pin(self.scale_stand(caller, stand, request, at))
    }

    fn logs<'a>(&'a self, stand: &'a StandName, query: LogQuery) -> Answer<'a, Flow<LogChunk>> {
        Box::pin(self.read_logs(stand, query))
    }

    fn stats<'a>(&'a self, stand: &'a StandName, follow: bool) -> Answer<'a, Flow<StandStats>> {
        Box::pin(self.measure(stand, follow))
    }

    fn events<'a>(
        &'a self,
        stand: Option<&'a StandName>,
        query: EventQuery,
    ) -> Answer<'a, Flow<EventView>> {
        Box::pin(self.read_events(stand, query))
    }

    fn exec<'a>(
        &'a self,
        caller: &'a Caller,
        stand: &'a StandName,
        node: &'a NodeName,
        request: ExecRequest,
    ) -> Answer<'a, ExecSession> {
        Box::pin(self.run_in(caller, stand, node, request))
    }

    fn copy_out<'a>(
        &'a self,
        _caller: &'a Caller,
        stand: &'a StandName,
        node: &'a NodeName,
        path: &'a str,
    ) -> Answer<'a, ByteFlow> {
        Box::pin(self.read_archive(stand, node, path))
    }

    fn copy_in<'a>(
        &'a self,
        caller: &'a Caller,
        stand: &'a StandName,
        node: &'a NodeName,
        path: &'a str,
        archive: ByteFlow,
    ) -> Answer<'a, ()> {
        Box::pin(self.write_archive(caller, stand, node, path, archive))
    }

    fn forward<'a>(
        &'a self,
        caller: &'a Caller,
        stand: &'a StandName,
        node: &'a NodeName,
        port: u16,
        protocol: Protocol,
    ) -> Answer<'a, BoxDuplex> {
        Box::pin(self.reach(caller, stand, node, port, protocol))
    }

    fn operation<'a>(&'a self, id: &'a OperationId) -> Answer<'a, Operation> {
        Box::pin(async move { self.operations.get(id) })
    }

    fn follow_operation<'a>(&'a self, id: &'a OperationId) -> Answer<'a, Flow<Operation>> {
        Box::pin(async move { self.operations.follow(id) })
    }
}

/// Returns nodes with those that start again when one of them does (`depends_on` with `restart: true`), and those of them in turn.
fn with_dependants(spec: &StandSpec, nodes: &[NodeName]) -> BTreeSet<NodeName> {
    let mut all: BTreeSet<NodeName> = nodes.iter().cloned().collect();
    loop {
        let services: BTreeSet<_> = all
            .iter()
            .filter_map(|node| spec.nodes.get(node).map(|node| &node.service))
            .collect();
        let more: Vec<NodeName> = spec
            .nodes
            .iter()
            .filter(|(name, node)| {
                let mut needs = node.depends_on.iter();
                !all.contains(*name)
                    && needs.any(|need| need.restart && services.contains(&need.service))
            })
            .map(|(name, _)| name.clone())
            .collect();
        if more.is_empty() {
            return all;
        }
        all.extend(more);
    }
}

/// Refuses what a stand that is there cannot become.
fn may_become(before: &StandRecord, wanted: &StandSpec) -> Result<(), Failure> {
    let name = &before.name;
    let (theirs, ours) = (&before.spec.project, &wanted.project);
    if theirs != ours {
        return Err(Failure::new(
            "stand-of-another-project",
            Kind::Conflict,
            format!("stand `{name}` belongs to project `{theirs}`, and this one is `{ours}`"),
        )
        .hint(format!(
            "choose another name, or throw it away first: `daas stand down {name}`"
        )));
    }
    let (have, want) = (before.spec.limits.disk, wanted.limits.disk);
    if want < have {
        return Err(Failure::new(
            "disk-shrinks",
            Kind::Conflict,
            format!("the disk of stand `{name}` has {have} and cannot shrink to {want}"),
        )
        .hint(format!(
            "leave `limits.disk` at {have}, or throw the stand away with its data first: `daas stand down {name}`"
        )));
    }
    Ok(())
}
