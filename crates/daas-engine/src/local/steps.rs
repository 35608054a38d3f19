//! Steps of a plan, carried out.

use super::trust::Trust;
use super::ways::inner_names;
use super::{LocalEngine, SUFFIX};
use crate::dial::StandNet;
use crate::engine::{Order, Progress, Teller};
use crate::error::EngineError;
use crate::launch::{Site, bridges, node_launch, stand_launch};
use crate::link::Link;
use crate::publish::Published;
use daas_keeper::launch::{DnsTable, EgressLaunch, ExecLaunch, Forward, NodeLaunch};
use daas_keeper::protocol::{Request, Response};
use daas_model::{Egress, MountSource, NetworkMode, NodeName, NodeSpec, PortSpec};
use daas_plan::{Step, owner_of_network};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

/// Says of which node a user is that its image does not have.
fn of_user(node: &NodeName) -> impl FnOnce(EngineError) -> EngineError + '_ {
    move |error| match error {
        EngineError::Image { source, .. } => EngineError::User {
            node: node.clone(),
            source,
        },
        other => other,
    }
}

impl LocalEngine {
    pub(super) async fn carry_out(
        &self,
        order: &Order,
        step: &Step,
        tell: &Teller,
    ) -> Result<(), EngineError> {
        match step {
            Step::FetchImage { image } => self.fetch(image, &order.spec.project, tell).await,
            Step::Open { base } => self.open(order, base).await,
            Step::Reshape { base } => self.reshape(order, base).await,
            Step::Start { nodes } => self.start_nodes(order, nodes, tell).await,
            Step::Restart { nodes } => {
                self.each(order, nodes, |node| Request::Restart {
                    node,
                    grace: order.grace,
                })
                .await
            }
            Step::Stop { nodes } => {
                self.each(order, nodes, |node| Request::Stop {
                    node,
                    grace: order.grace,
                })
                .await
            }
            Step::Remove { nodes } => {
                self.each(order, nodes, |node| Request::Remove {
                    // Who takes its place goes on with its data, as with Compose.
                    keep_volumes: order.spec.nodes.contains_key(&node),
                    node,
                })
                .await
            }
            Step::Pause { nodes } => {
                self.each(order, nodes, |node| Request::Pause { node: Some(node) })
                    .await
            }
            Step::Resume { nodes } => {
                self.each(order, nodes, |node| Request::Resume { node: Some(node) })
                    .await
            }
            Step::Close => {
                self.inner.publisher.remove(&order.id).await;
                self.close_way(&order.id).await;
                self.close(&order.id).await
            }
        }
    }

    /// Asks the keeper the same of several nodes at once; every one is asked, the first failure is told.
    async fn each(
        &self,
        order: &Order,
        nodes: &BTreeSet<NodeName>,
        request: impl Fn(NodeName) -> Request,
    ) -> Result<(), EngineError> {
        let link = self.link(&order.id)?;
        let asks = nodes.iter().map(|node| link.ask(request(node.clone())));
        futures_util::future::join_all(asks)
            .await
            .into_iter()
            .try_for_each(|answer| answer.map(|_| ()))
    }

    async fn open(&self, order: &Order, base: &str) -> Result<(), EngineError> {
        let link = self.keeper_for(order).await?;
        let launch = stand_launch(
            &order.id,
            &order.name,
            &order.spec,
            &order.addresses,
            base,
            self.dns(order),
            self.egress(order),
        );
        link.ask(Request::Adopt(launch)).await.map(|_| ())
    }

    /// Changes what can be changed while nodes run; what can not makes the keeper anew over the same disk.
    async fn reshape(&self, order: &Order, base: &str) -> Result<(), EngineError> {
        let link = self.link(&order.id)?;
        let request = Request::Reconfigure {
            digest: Some(base.to_owned()),
            limits: Some(order.spec.limits),
            dns: Some(self.dns(order)),
            networks: bridges(&order.spec, &order.addresses),
            volumes: order.spec.volumes.keys().cloned().collect(),
            files: order.spec.files.clone(),
        };
        match link.ask(request).await {
            Ok(_) => Ok(()),
            Err(EngineError::Refused { failure }) => {
                tracing::info!(stand = %order.name, why = %failure, "the stand is opened anew over its disk");
                self.end_in_order(order, &link).await?;
                link.ask(Request::Destroy {
                    keep_logs: true,
                    keep_disk: true,
                })
                .await?;
                self.forget_link(&order.id);
                self.open(order, base).await
            }
            Err(error) => Err(error),
        }
    }

    /// Ends all nodes gently, each after those that depend on it.
    async fn end_in_order(&self, order: &Order, link: &Link) -> Result<(), EngineError> {
        let Response::Status(status) = link.ask(Request::Status).await? else {
            return Ok(());
        };
        let mut left: BTreeSet<NodeName> = status.nodes.into_keys().collect();
        while !left.is_empty() {
            let free = |node: &&NodeName| !left.iter().any(|other| needs(order, other, node));
            let mut wave: BTreeSet<NodeName> = left.iter().filter(free).cloned().collect();
            if wave.is_empty() {
                wave.clone_from(&left);
            }
            left.retain(|node| !wave.contains(node));
            let asked = self.each(order, &wave, |node| Request::Stop {
                node,
                grace: order.grace,
            });
            // Whoever does not end by himself ends with the stand.
            if let Err(error) = asked.await {
                tracing::debug!(stand = %order.name, cause = %error, "a node does not end");
            }
        }
        Ok(())
    }

    fn dns(&self, order: &Order) -> DnsTable {
        let forward = match order.spec.egress {
            Egress::None | Egress::Proxy => Forward::Refuse,
            Egress::Full => Forward::Upstreams(self.inner.config.upstreams.clone()),
        };
        // `web.stand.test` answers in every stand: files of a project may name it, whatever the stand is called.
        DnsTable {
            names: inner_names(order),
            suffix: Some(SUFFIX.into()),
            platform: self.platform_names(order),
            forward,
        }
    }

    fn egress(&self, order: &Order) -> EgressLaunch {
        match order.spec.egress {
            Egress::None => EgressLaunch::None,
            Egress::Proxy | Egress::Full => EgressLaunch::Proxy,
        }
    }

    async fn start_nodes(
        &self,
        order: &Order,
        nodes: &BTreeMap<NodeName, String>,
        tell: &Teller,
    ) -> Result<(), EngineError> {
        let link = self.link(&order.id)?;
        self.remember_images(order, nodes).await?;
        let mut launches = Vec::with_capacity(nodes.len());
        let mut impossible = None;
        for (name, digest) in nodes {
            match self.launch(order, name, digest).await {
                Ok(launch) => launches.push(launch),
                // The others need not wait for a person.
                Err(error) => drop(impossible.get_or_insert(error)),
            }
        }
        let failed = match link.ask(Request::Start { nodes: launches }).await? {
            Response::Started { failed } => failed,
            _ => BTreeMap::new(),
        };
        for (node, failure) in &failed {
            tell(Progress {
                subject: node.to_string(),
                text: failure.message.clone(),
                done: 0,
                total: None,
            });
        }
        impossible.map_or(Ok(()), Err)
    }

    /// Writes down which images the nodes come from before they are mounted, so that no collection takes their layers.
    async fn remember_images(
        &self,
        order: &Order,
        nodes: &BTreeMap<NodeName, String>,
    ) -> Result<(), EngineError> {
        let Some(place) = self.place(&order.id) else {
            return Ok(());
        };
        let mut digests = BTreeSet::new();
        for node in nodes.keys().filter_map(|name| order.spec.nodes.get(name)) {
            let known = self.known_image(&node.image, &order.pins).await?;
            digests.insert(known.facts.digest.clone());
        }
        crate::layout::add_images(&place.dir, &digests)
    }

    /// Resolves everything that a node needs from its image and the machine.
    pub(super) async fn launch(
        &self,
        order: &Order,
        name: &NodeName,
        digest: &str,
    ) -> Result<NodeLaunch, EngineError> {
        let node = order
            .spec
            .nodes
            .get(name)
            .ok_or_else(|| EngineError::NoNode {
                stand: order.id.clone(),
                node: name.clone(),
            })?;
        let known = self.known_image(&node.image, &order.pins).await?;
        let ids = self.ids(node, &known, None).await;
        let ids = ids.map_err(of_user(name))?;
        let trusted = if node.network == NetworkMode::None {
            None
        } else {
            let (engine, known) = (self.clone(), known.clone());
            self.blocking("show a node whom it may trust", move || {
                engine.inner.trust.of_image(&known.facts)
            })
            .await??
        };
        let mut offered = self.proxy_env(order, name);
        offered.extend(trusted.is_some().then(Trust::hints));
        let site = Site {
            spec: &order.spec,
            addresses: &order.addresses,
            offered: &offered,
        };
        let mut launch = node_launch(site, name, node, &known.facts, &ids, digest)?;
        check_binds(name, node)?;
        launch.lowers.splice(..0, trusted);
        for (hook, exec) in node
            .post_start
            .iter()
            .zip(launch.post_start.iter_mut())
            .chain(node.pre_stop.iter().zip(launch.pre_stop.iter_mut()))
        {
            self.hook_user(node, &known, hook.user.as_deref(), exec)
                .await?;
        }
        Ok(launch)
    }

    async fn hook_user(
        &self,
        node: &NodeSpec,
        known: &Arc<super::images::Known>,
        user: Option<&str>,
        exec: &mut ExecLaunch,
    ) -> Result<(), EngineError> {
        if let Some(user) = user {
            let ids = self.ids(node, known, Some(user)).await?;
            exec.user = Some((ids.uid, ids.gid, ids.groups));
        }
        Ok(())
    }

    /// Makes ports answer at the stand's address; of a stand that nobody holds, closes them.
    pub(super) async fn build_roads(&self, order: &Order) -> Result<(), EngineError> {
        let Ok(link) = self.link(&order.id) else {
            self.inner.publisher.remove(&order.id).await;
            self.close_way(&order.id).await;
            return Ok(());
        };
        self.open_inside(order, &link).await;
        self.open_way(order, &link).await?;
        let Some(address) = order.host_address else {
            return Ok(());
        };
        let routes = routes(order);
        let road = |source: Box<dyn std::error::Error + Send + Sync>| EngineError::Road {
            stand: order.id.clone(),
            source,
        };
        let net: Arc<StandNet> = link.net.clone();
        let answering = self
            .inner
            .publisher
            .set(&order.id, &net, address, &routes)
            .await;
        match answering.failed.into_iter().next() {
            Some(error) => Err(road(Box::new(error))),
            None => Ok(()),
        }
    }
}

/// Returns the published ports of a stand with all nodes behind each.
fn routes(order: &Order) -> Vec<Published> {
    let mut routes: BTreeMap<(u16, daas_model::Protocol), Vec<SocketAddr>> = BTreeMap::new();
    for (name, node) in &order.spec.nodes {
        let owner = owner_of_network(&order.spec, name);
        // The first address is one of IPv4 where there is any; the router reaches every network of the stand.
        let Some(address) = order.addresses.nodes.get(owner).and_then(|n| {
            n.values()
                .flatten()
                .find(|a| a.is_ipv4())
                .or_else(|| n.values().flatten().next())
        }) else {
            continue;
        };
        for PortSpec {
            published,
            target,
            protocol,
        } in &node.ports
        {
            routes
                .entry((*published, *protocol))
                .or_default()
                .push(SocketAddr::new(*address, *target));
        }
    }
    routes
        .into_iter()
        .map(|((port, protocol), targets)| Published {
            port,
            protocol,
            targets,
        })
        .collect()
}

/// Checks that what a bind names is there. Nothing is made here: the daemon made missing folders when the stand was asked for, link by link
/// inside of the project; a path that was changed since must not let root make folders wherever a link leads.
fn check_binds(name: &NodeName, node: &NodeSpec) -> Result<(), EngineError> {
    for mount in &node.mounts {
        let MountSource::Bind { path, .. } = &mount.source else {
            continue;
        };
        if !std::path::Path::new(path).exists() {
            return Err(EngineError::Node {
                node: name.clone(),
                what: format!("`{path}` does not exist on the host"),
            });
        }
    }
    Ok(())
}

/// Tells whether `node` depends on `other`.
fn needs(order: &Order, node: &NodeName, other: &NodeName) -> bool {
    let nodes = &order.spec.nodes;
    let (Some(node), Some(other)) = (nodes.get(node), nodes.get(other)) else {
        return false;
    };
    let mut on = node.depends_on.iter();
    on.any(|dependency| dependency.service == other.service)
}
