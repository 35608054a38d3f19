//! The links between nodes and the bridges of their stand.

use super::Keeper;
use super::guarding::is_free;
use super::launching::Newborn;
use super::node::Phase;
use crate::birth::LinkPlan;
use crate::error::KeeperError;
use crate::launch::{InterfaceLaunch, NetworkLaunch, NodeLaunch};
use daas_model::NodeName;
use daas_sys::guard::Port;
use daas_sys::netlink::{self, LinkEnd, OPER_UP};
use daas_sys::netns;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::AsFd;

/// The index of the first interface inside a node; above what the kernel may make by itself (sit0, tunl0).
const FIRST_INSIDE: i32 = crate::child_seat::LINK;

/// A link of a node, to be made.
pub(super) struct PlannedLink {
    pub(super) name: String,
    pub(super) inside: String,
    pub(super) inside_index: i32,
    /// The router's end, and what may come from it.
    pub(super) port: Port,
}

/// Addresses with their prefixes, and gateways.
type Addresses = (Vec<(IpAddr, u8)>, Vec<IpAddr>);

impl Keeper {
    pub(super) fn plan_links(
        &mut self,
        launch: &NodeLaunch,
    ) -> Result<(Vec<PlannedLink>, Vec<LinkPlan>), KeeperError> {
        let NetworkLaunch::Interfaces(interfaces) = &launch.network else {
            return Ok((Vec::new(), Vec::new()));
        };
        let free = is_free(launch);
        let mut links = Vec::new();
        let mut plans = Vec::new();
        for (at, interface) in (0i32..).zip(interfaces) {
            let bridge = self.bridges.get(&interface.network).ok_or_else(|| {
                KeeperError::wrong(format!(
                    "node {} joins network {}, which the stand does not have",
                    launch.node, interface.network
                ))
            })?;
            let (addresses, gateways) = addresses_of(interface, &bridge.launch, &launch.node)?;
            let index = self.next_link;
            let bridge = bridge.index;
            self.next_link += 1;
            links.push(PlannedLink {
                name: format!("v{index}"),
                inside: format!("eth{at}"),
                inside_index: FIRST_INSIDE + at,
                port: Port {
                    index,
                    bridge,
                    mac: interface.mac,
                    addresses: addresses.iter().map(|(address, _)| *address).collect(),
                    free,
                },
            });
            plans.push(LinkPlan {
                index: FIRST_INSIDE + at,
                mac: interface.mac,
                addresses,
                gateways,
            });
        }
        Ok((links, plans))
    }

    /// Makes the links of all newborns in one message; returns whose links the kernel refused, and its answer.
    pub(super) fn make_links(&mut self, born: &[(Newborn, i32)]) -> BTreeMap<NodeName, i32> {
        let errno = |e: &std::io::Error| e.raw_os_error().unwrap_or(0);
        let everybody = |errno: i32| born.iter().map(|(n, _)| (n.name.clone(), errno)).collect();
        if self.steps.take("start.links").is_err() {
            return everybody(5);
        }
        let mut messages = Vec::new();
        let mut owners = Vec::new();
        let mut nets = Vec::new();
        for (newborn, pid) in born {
            if newborn.links.is_empty() || newborn.seated.is_some() {
                continue;
            }
            // A child that gave up already has no network; its own report says why.
            if let Ok(net) = netns::of_process(*pid) {
                nets.push((net, newborn));
            }
        }
        for (net, newborn) in &nets {
            for link in &newborn.links {
                let here = LinkEnd {
                    name: &link.name,
                    index: link.port.index,
                    mac: None,
                };
                let there = LinkEnd {
                    name: &link.inside,
                    index: link.inside_index,
                    mac: Some(link.port.mac),
                };
                messages.push(netlink::veth(
                    here,
                    Some(link.port.bridge),
                    there,
                    net.as_fd(),
                ));
                owners.push(newborn.name.clone());
            }
        }
        if let Err(e) = self.admit(born) {
            return everybody(errno(&e));
        }
        match self.route.batch_each(messages) {
            Ok(refused) => refused
                .iter()
                .filter_map(|r| Some((owners.get(r.at)?.clone(), errno(&r.source))))
                .collect(),
            Err(e) => everybody(errno(&e)),
        }
    }

    /// Links have changed their state.
    pub(super) fn links_changed(&mut self) {
        let up: Vec<i32> = match self.links.changes() {
            Ok(changes) => changes
                .into_iter()
                .filter(|(_, state)| *state == OPER_UP)
                .map(|(index, _)| index)
                .collect(),
            // Words were lost: ask for each.
            Err(_) => {
                let waiting: Vec<i32> = self
                    .pending_links
                    .keys()
                    .copied()
                    .chain(self.seats.iter().map(|seat| seat.link))
                    .collect();
                waiting
                    .into_iter()
                    .filter(|index| self.route.oper_state(*index).is_ok_and(|s| s == OPER_UP))
                    .collect()
            }
        };
        for index in up {
            if let Some(seat) = self.seats.iter_mut().find(|seat| seat.link == index) {
                seat.forwards = true;
                continue;
            }
            let Some(name) = self.pending_links.remove(&index) else {
                continue;
            };
            if let Some(Phase::Launching(launching)) =
                self.nodes.get_mut(&name).map(|n| &mut n.phase)
            {
                launching.links.remove(&index);
                self.let_exec(&name);
            }
        }
    }
}

fn addresses_of(
    interface: &InterfaceLaunch,
    network: &crate::launch::BridgeLaunch,
    node: &NodeName,
) -> Result<Addresses, KeeperError> {
    let (mut addresses, mut gateways) = (Vec::new(), Vec::new());
    for address in interface
        .ipv4
        .map(IpAddr::V4)
        .into_iter()
        .chain(interface.ipv6.map(IpAddr::V6))
    {
        let subnet = network
            .subnets
            .iter()
            .find(|s| s.subnet.contains(address))
            .ok_or_else(|| {
                KeeperError::wrong(format!(
                    "the address {address} of node {node} is in no subnet of network {}",
                    network.name
                ))
            })?;
        addresses.push((address, subnet.subnet.prefix));
        if interface.default_route && !network.internal {
            gateways.push(subnet.gateway);
        }
    }
    Ok((addresses, gateways))
}
