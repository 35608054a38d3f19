//! Nodes over layers that are no image yet: the steps of a build.

use super::LocalEngine;
use super::session::refused;
use super::trust::Shown;
use crate::engine::Order;
use crate::error::EngineError;
use crate::launch::{Ids, ImageFacts, Site, node_launch};
use daas_keeper::launch::MountLaunch;
use daas_keeper::protocol::{Failure, Request, Response};
use daas_model::{NetworkMode, NodeName, StandId};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// What a node is started over, instead of the image that it names.
#[derive(Debug, Clone, Default)]
pub struct Over {
    /// What an image of these layers would say; its `lowers` must be kept from being collected by the caller.
    pub facts: ImageFacts,
    /// Who it runs as.
    pub ids: Ids,
    /// Mounts behind those of its description.
    pub mounts: Vec<MountLaunch>,
}

impl LocalEngine {
    /// Starts one node of an open stand over layers that are no image. Returns when its program runs, or why it does not.
    ///
    /// # Errors
    /// [`EngineError::Gone`] if no keeper holds the stand, [`EngineError::Refused`] if the node cannot be launched.
    pub async fn start_over(
        &self,
        order: &Order,
        name: &NodeName,
        over: Over,
    ) -> Result<(), EngineError> {
        let node = order
            .spec
            .nodes
            .get(name)
            .ok_or_else(|| EngineError::NoNode {
                stand: order.id.clone(),
                node: name.clone(),
            })?;
        let link = self.link(&order.id)?;
        let offered = self.proxy_env(order, name);
        let site = Site {
            spec: &order.spec,
            addresses: &order.addresses,
            offered: &offered,
        };
        let digest = over.facts.digest.clone();
        let mut launch = node_launch(site, name, node, &over.facts, &over.ids, &digest)?;
        launch.mounts.extend(over.mounts);
        if node.network != NetworkMode::None {
            let (engine, facts) = (self.clone(), over.facts);
            let layer = self
                .blocking("show a command whom it may trust", move || {
                    let (trust, environment) = (&engine.inner.trust, &facts.environment);
                    trust.layer(&facts.lowers, environment, Shown::Build)
                })
                .await??;
            launch.lowers.splice(..0, layer);
        }
        let answer = link
            .ask(Request::Start {
                nodes: vec![launch],
            })
            .await?;
        match answer {
            Response::Started { mut failed } => {
                failed.remove(name).map_or(Ok(()), |failure: Failure| {
                    Err(EngineError::Refused { failure })
                })
            }
            _ => Ok(()),
        }
    }

    /// Returns what a node that has ended wrote to its root: the upper folder of its overlay with owners as inside.
    ///
    /// # Errors
    /// [`EngineError::Gone`] if no keeper holds the stand, [`EngineError::Refused`] while the node runs.
    pub async fn take_root(
        &self,
        stand: &StandId,
        node: &NodeName,
    ) -> Result<OwnedFd, EngineError> {
        let mut keeper = self.converse(stand).await?;
        let ask = Request::TakeRoot { node: node.clone() };
        let (_, fds) = keeper.ask(ask, &[]).await.map_err(refused(stand))?;
        fds.into_iter().next().ok_or_else(|| EngineError::Gone {
            stand: stand.clone(),
        })
    }

    /// Returns where the log of a node is written, whether there is one yet or not.
    #[must_use]
    pub fn log_of(&self, stand: &StandId, node: &NodeName) -> Option<PathBuf> {
        self.folder(stand)
            .map(|dir| dir.join("logs").join(format!("{node}.log")))
    }
}
