//! What only shows when all services and networks are known, and the step from services to nodes.

use super::Desk;
use super::networks::overlap;
use super::publish::PortWish;
use super::resources::MAX_NODES;
use super::service::Lowered;
use crate::node::At;
use daas_model::{
    Attachment, Condition, Diagnostic, HealthTest, Limits, NetworkMode, NetworkName, NetworkSpec,
    NodeName, NodeSpec, PortSpec, Protocol, RestartPolicy, Severity,
};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;

/// Checks services against each other, against the networks and against the ceiling.
pub(super) fn check(
    desk: &mut Desk<'_, '_>,
    services: &[Lowered],
    networks: &BTreeMap<NetworkName, NetworkSpec>,
    limits: &Limits,
) {
    circles(desk, services);
    conditions(desk, services);
    subnets(desk, networks);
    addresses(desk, services, networks);
    container_names(desk, services);
    shared_networks(desk, services);
    for service in services {
        if let Some(memory) = service.spec.memory.filter(|m| *m > limits.memory) {
            let message = format!(
                "service `{}` may take {memory}, and the whole stand {}",
                service.service, limits.memory
            );
            desk.report().warn(
                service.at,
                "memory-above-ceiling",
                message,
                "raise `x-daas.limits.memory`, or lower the limit of the service",
            );
        }
    }
    let total: u64 = services.iter().map(|s| u64::from(s.replicas)).sum();
    if total > u64::from(MAX_NODES)
        && let Some(most) = services.iter().max_by_key(|s| s.replicas)
    {
        desk.report().error(
            most.replicas_at,
            "nodes-too-many",
            format!("the stand would have {total} nodes"),
            format!(
                "at most {MAX_NODES}; service `{}` has most of them",
                most.service
            ),
        );
    }
}

/// Finds circles in `depends_on` (with what links and shared networks imply), each told once with all its places.
fn circles(desk: &mut Desk<'_, '_>, services: &[Lowered]) {
    let index: HashMap<&str, usize> = services
        .iter()
        .enumerate()
        .map(|(i, s)| (s.service.as_str(), i))
        .collect();
    let edges: Vec<Vec<(usize, At)>> = services
        .iter()
        .map(|s| {
            s.depends_at
                .iter()
                .filter_map(|(name, at)| Some((*index.get(name.as_str())?, *at)))
                .collect()
        })
        .collect();
    let mut state = vec![State::New; services.len()];
    let mut told = 0;
    for start in 0..services.len() {
        if state[start] != State::New {
            continue;
        }
        // The way down, each step with the next edge to take.
        let mut way: Vec<(usize, usize)> = vec![(start, 0)];
        state[start] = State::Open;
        while let Some((here, next)) = way.last_mut() {
            let Some((there, at)) = edges[*here].get(*next).copied() else {
                state[*here] = State::Done;
                way.pop();
                continue;
            };
            *next += 1;
            match state[there] {
                State::New => {
                    state[there] = State::Open;
                    way.push((there, 0));
                }
                State::Open if told < 10 => {
                    told += 1;
                    tell_circle(desk, services, &edges, &way, there, at);
                }
                State::Open | State::Done => {}
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Open,
    Done,
}

fn tell_circle(
    desk: &mut Desk<'_, '_>,
    services: &[Lowered],
    edges: &[Vec<(usize, At)>],
    way: &[(usize, usize)],
    back_to: usize,
    at: At,
) {
    let from = way.iter().position(|(i, _)| *i == back_to).unwrap_or(0);
    let mut steps: Vec<String> = Vec::new();
    for (i, next) in &way[from..] {
        let place = edges[*i]
            .get(next.saturating_sub(1))
            .map(|(_, at)| desk.reading.report.place(*at).to_string())
            .unwrap_or_default();
        steps.push(format!("`{}` ({place})", services[*i].service));
    }
    steps.push(format!("`{}`", services[back_to].service));
    if steps.len() > 12 {
        let cut = steps.len() - 12;
        steps.splice(6..6 + cut, ["...".to_owned()]);
    }
    let diagnostic = Diagnostic::error("depends-cycle", "services wait for each other in a circle")
        .because(steps.join(" -> "))
        .hint("remove one of these dependencies; links and shared networks count as such");
    desk.report().say(at, diagnostic);
}

/// Finds conditions that can never hold.
fn conditions(desk: &mut Desk<'_, '_>, services: &[Lowered]) {
    let by_name: HashMap<&str, &Lowered> =
        services.iter().map(|s| (s.service.as_str(), s)).collect();
    for service in services {
        for dependency in &service.spec.depends_on {
            let Some(other) = by_name.get(dependency.service.as_str()) else {
                continue;
            };
            let at = service
                .depends_at
                .get(dependency.service.as_str())
                .copied()
                .unwrap_or(service.at);
            match dependency.condition {
                Condition::ServiceHealthy
                    if other
                        .spec
                        .health
                        .as_ref()
                        .is_some_and(|h| h.test == HealthTest::None) =>
                {
                    let message = format!(
                        "service `{}` waits for the health of `{}`, whose health check is off",
                        service.service, other.service
                    );
                    desk.report().error(
                        at,
                        "condition-never",
                        message,
                        "give it a health check, or wait with `service_started`",
                    );
                }
                Condition::ServiceCompletedSuccessfully
                    if matches!(
                        other.spec.restart,
                        RestartPolicy::Always | RestartPolicy::UnlessStopped
                    ) =>
                {
                    let message = format!(
                        "service `{}` waits for the end of `{}`, which is started again whenever it ends",
                        service.service, other.service
                    );
                    desk.report().warn(
                        at,
                        "condition-never",
                        message,
                        "write `restart: \"no\"` or `restart: on-failure` there",
                    );
                }
                Condition::ServiceStarted
                | Condition::ServiceHealthy
                | Condition::ServiceCompletedSuccessfully => {}
            }
        }
    }
}

/// Finds networks whose subnets overlap: a node in both would not know the way.
fn subnets(desk: &mut Desk<'_, '_>, networks: &BTreeMap<NetworkName, NetworkSpec>) {
    let all: Vec<(&NetworkName, daas_model::Subnet)> = networks
        .iter()
        .flat_map(|(n, s)| s.subnets.iter().map(move |subnet| (n, *subnet)))
        .collect();
    for (i, (name, subnet)) in all.iter().enumerate() {
        if let Some((other, other_subnet)) = all[..i]
            .iter()
            .find(|(n, s)| n != name && overlap(s, subnet))
        {
            let at = desk
                .declared("networks", name.as_str())
                .map(|e| e.at)
                .unwrap_or_default();
            let message = format!(
                "`{subnet}` of network `{name}` and `{other_subnet}` of network `{other}` overlap"
            );
            desk.report().error(
                at,
                "subnet-overlap",
                message,
                "give each network of a stand a subnet of its own; other stands do not matter",
            );
        }
    }
}

/// Checks literal addresses: inside a subnet of the file, not the network's own, none twice.
fn addresses(
    desk: &mut Desk<'_, '_>,
    services: &[Lowered],
    networks: &BTreeMap<NetworkName, NetworkSpec>,
) {
    let mut taken: HashMap<(&NetworkName, IpAddr), (&Lowered, At)> = HashMap::new();
    for service in services {
        let NetworkMode::Networks(list) = &service.spec.network else {
            continue;
        };
        for attachment in list {
            let Some(network) = networks.get(&attachment.network) else {
                continue;
            };
            let at = service
                .address_at
                .get(attachment.network.as_str())
                .copied()
                .unwrap_or(service.at);
            for address in literal(attachment) {
                if service.replicas > 1 {
                    let message = format!(
                        "service `{}` has {} nodes and one address `{address}`",
                        service.service, service.replicas
                    );
                    desk.report().error(
                        at,
                        "address-of-several",
                        message,
                        "leave the address out, or have one node",
                    );
                    continue;
                }
                address_fits(desk, service, attachment, network, address, at);
                if let Some((other, other_at)) =
                    taken.insert((&attachment.network, address), (service, at))
                {
                    let place = desk.reading.report.place(other_at);
                    let message = format!(
                        "services `{}` and `{}` have the same address `{address}` on network `{}`",
                        other.service, service.service, attachment.network
                    );
                    desk.report().say(
                        at,
                        Diagnostic::error("address-twice", message)
                            .because(format!("the first is at {place}"))
                            .hint("give one of them another address"),
                    );
                }
            }
        }
    }
}

fn literal(attachment: &Attachment) -> impl Iterator<Item = IpAddr> {
    attachment
        .ipv4
        .map(IpAddr::V4)
        .into_iter()
        .chain(attachment.ipv6.map(IpAddr::V6))
}

fn address_fits(
    desk: &mut Desk<'_, '_>,
    service: &Lowered,
    attachment: &Attachment,
    network: &NetworkSpec,
    address: IpAddr,
    at: At,
) {
    let of = format!("address `{address}` of service `{}`", service.service);
    let name = &attachment.network;
    let Some(subnet) = network.subnets.iter().find(|s| s.contains(address)) else {
        let same: Vec<String> = network
            .subnets
            .iter()
            .filter(|s| s.address.is_ipv4() == address.is_ipv4())
            .map(|s| format!("`{s}`"))
            .collect();
        if same.is_empty() {
            let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
            desk.report().error(
                at,
                "address-without-subnet",
                format!("{of} needs a subnet, and network `{name}` names none for {family}"),
                format!(
                    "declare it: `networks: {{{name}: {{ipam: {{config: [{{subnet: ...}}]}}}}}}`"
                ),
            );
        } else {
            desk.report().error(
                at,
                "address-outside",
                format!("{of} is not in network `{name}`"),
                format!("take an address of {}", same.join(", ")),
            );
        }
        return;
    };
    let gateway = network
        .gateways
        .iter()
        .copied()
        .find(|g| subnet.contains(*g))
        .or_else(|| subnet.nth(1));
    if Some(address) == gateway {
        let hint = if network.gateways.contains(&address) {
            "choose another"
        } else {
            "choose another, or name another `gateway` in `ipam`"
        };
        desk.report().error(
            at,
            "address-reserved",
            format!("{of} is the gateway's of network `{name}`"),
            hint,
        );
    } else if Some(address) == subnet.nth(0) || (address.is_ipv4() && is_last(subnet, address)) {
        desk.report().error(
            at,
            "address-reserved",
            format!("{of} is the first or last of `{subnet}`, which mean the network itself"),
            "choose another",
        );
    }
}

fn is_last(subnet: &daas_model::Subnet, address: IpAddr) -> bool {
    let size = 1u128 << (32 - u32::from(subnet.prefix.min(32)));
    subnet.nth(size - 1) == Some(address)
}

/// Checks that the node whose network is shared exists.
fn shared_networks(desk: &mut Desk<'_, '_>, services: &[Lowered]) {
    let empty: HashSet<&str> = services
        .iter()
        .filter(|s| s.replicas == 0)
        .map(|s| s.service.as_str())
        .collect();
    for service in services {
        if let NetworkMode::Node(other) = &service.spec.network
            && service.replicas > 0
            && empty.contains(other.as_str())
        {
            let at = service
                .depends_at
                .get(other.as_str())
                .copied()
                .unwrap_or(service.at);
            let message = format!(
                "service `{}` shares the network of `{other}`, which has no node",
                service.service
            );
            desk.report().error(
                at,
                "network-absent",
                message,
                "scale the other service to 1",
            );
        }
    }
}

/// Checks that no two services answer to one name.
fn container_names(desk: &mut Desk<'_, '_>, services: &[Lowered]) {
    let mut taken: HashMap<String, (&Lowered, At)> = HashMap::new();
    let by_service: HashMap<String, &Lowered> = services
        .iter()
        .map(|s| (s.service.as_str().to_ascii_lowercase(), s))
        .collect();
    for service in services {
        let (Some(name), Some(at)) = (&service.spec.container_name, service.container_name_at)
        else {
            continue;
        };
        if service.replicas > 1 {
            let message = format!(
                "service `{}` has {} nodes and one `container_name`",
                service.service, service.replicas
            );
            desk.report().error(
                at,
                "container-name-of-several",
                message,
                "leave `container_name` out, or have one node",
            );
        }
        let key = name.to_ascii_lowercase();
        if let Some(other) = by_service
            .get(&key)
            .filter(|o| o.service != service.service)
        {
            let place = desk.reading.report.place(other.at);
            let message = format!(
                "`container_name: {name}` of service `{}` is the name of another service",
                service.service
            );
            desk.report().say(
                at,
                Diagnostic::error("container-name-twice", message)
                    .because(format!("service `{}` is at {place}", other.service))
                    .hint("both are host names inside the stand: choose another"),
            );
        }
        if let Some((other, other_at)) = taken.insert(key, (service, at)) {
            let place = desk.reading.report.place(other_at);
            let message = format!(
                "services `{}` and `{}` have the same `container_name` `{name}`",
                other.service, service.service
            );
            desk.report().say(
                at,
                Diagnostic::error("container-name-twice", message)
                    .because(format!("the first is at {place}"))
                    .hint("it is a host name inside the stand: choose another"),
            );
        }
    }
}

/// Makes the nodes of all services, each with its name and its ports.
pub(super) fn nodes(
    desk: &mut Desk<'_, '_>,
    services: Vec<Lowered>,
) -> BTreeMap<NodeName, NodeSpec> {
    let mut nodes: BTreeMap<NodeName, NodeSpec> = BTreeMap::new();
    let mut slots: Vec<Slot> = Vec::new();
    for (number, service) in services.into_iter().enumerate() {
        for index in 1..=service.replicas.min(MAX_NODES) {
            let name = match NodeName::of_replica(&service.service, index) {
                Ok(name) => name,
                Err(fault) => {
                    desk.report().error(
                        service.replicas_at,
                        "node-name",
                        fault.to_string(),
                        "shorten the service's name: further nodes get `-2`, `-3`, ... behind it",
                    );
                    break;
                }
            };
            if nodes.contains_key(&name) {
                let message = format!(
                    "node {index} of service `{}` is called `{name}`, as another service is",
                    service.service
                );
                desk.report().error(
                    service.replicas_at,
                    "node-name",
                    message,
                    "rename one of the two services",
                );
                break;
            }
            if index > 1 && !desk.reading.may_grow(service.weight, service.replicas_at) {
                return nodes;
            }
            slots.extend(service.ports.iter().map(|wish| Slot {
                service: number,
                node: name.clone(),
                wish: wish.clone(),
            }));
            nodes.insert(name, service.spec.clone());
            if nodes.len() > MAX_NODES as usize {
                return nodes;
            }
        }
    }
    let given = give_ports(desk, &slots);
    for (name, port) in given {
        if let Some(node) = nodes.get_mut(&name) {
            node.ports.push(port);
        }
    }
    for node in nodes.values_mut() {
        node.ports.sort();
        node.ports.dedup();
    }
    nodes
}

/// One entry of `ports` of one node.
struct Slot {
    /// Which of the services the node is of: one place of a text may serve several.
    service: usize,
    node: NodeName,
    wish: PortWish,
}

impl Slot {
    /// Tells whether both are one entry of one service, whose replicas answer behind one port in turn (decision 0007).
    fn answers_with(&self, other: &Self) -> bool {
        self.service == other.service && self.wish.at == other.wish.at
    }
}

/// Where Docker takes ports that nobody named (Linux, `ip_local_port_range`).
const FIRST_FREE_PORT: u16 = 32_768;

/// Gives each wish its port at the stand's address: named ones first, then those that any port serves.
fn give_ports(desk: &mut Desk<'_, '_>, slots: &[Slot]) -> Vec<(NodeName, PortSpec)> {
    let mut taken: HashMap<(u16, Protocol), &Slot> = HashMap::new();
    let mut given = Vec::new();
    for slot in slots {
        let Some(published) = slot.wish.published else {
            continue;
        };
        let protocol = slot.wish.protocol;
        if slot.wish.target.len() == 1 && published.len() > 1 {
            // One port of a range: each node takes the next free one.
            let free =
                (published.first..=published.last).find(|p| !taken.contains_key(&(*p, protocol)));
            match free {
                Some(port) => {
                    taken.insert((port, protocol), slot);
                    given.push((
                        slot.node.clone(),
                        PortSpec {
                            published: port,
                            target: slot.wish.target.first,
                            protocol,
                        },
                    ));
                }
                None => {
                    desk.report().error(
                        slot.wish.at,
                        "port-clash",
                        format!("no port of {published} is left for node `{}`", slot.node),
                        "widen the range",
                    );
                    return given;
                }
            }
            continue;
        }
        for k in 0..published.len() {
            let (Some(port), Some(target)) = (published.nth(k), slot.wish.target.nth(k)) else {
                break;
            };
            if let Some(other) = taken.get(&(port, protocol))
                && !slot.answers_with(other)
            {
                tell_port_clash(desk, slot, port, other);
                break;
            }
            taken.insert((port, protocol), slot);
            given.push((
                slot.node.clone(),
                PortSpec {
                    published: port,
                    target,
                    protocol,
                },
            ));
        }
    }
    let mut next_free = FIRST_FREE_PORT;
    for slot in slots.iter().filter(|s| s.wish.published.is_none()) {
        for target in slot.wish.target.first..=slot.wish.target.last {
            let protocol = slot.wish.protocol;
            let mut port = target;
            if taken
                .get(&(port, protocol))
                .is_some_and(|other| !slot.answers_with(other))
            {
                while next_free < u16::MAX && taken.contains_key(&(next_free, protocol)) {
                    next_free += 1;
                }
                port = next_free;
                if taken.contains_key(&(port, protocol)) {
                    desk.report().error(
                        slot.wish.at,
                        "port-clash",
                        "the stand has no port left",
                        "publish fewer ports",
                    );
                    return given;
                }
                let message = format!(
                    "port {target}/{protocol} of node `{}` answers at {port}",
                    slot.node
                );
                desk.report().say(
                    slot.wish.at,
                    Diagnostic::new(Severity::Note, "port-moved", message)
                        .because(format!("{target} is taken at the stand's address"))
                        .hint("name the port that it shall have, as in `8080:80`"),
                );
            }
            taken.insert((port, protocol), slot);
            given.push((
                slot.node.clone(),
                PortSpec {
                    published: port,
                    target,
                    protocol,
                },
            ));
        }
    }
    given
}

fn tell_port_clash(desk: &mut Desk<'_, '_>, slot: &Slot, port: u16, other: &Slot) {
    let protocol = slot.wish.protocol;
    let place = desk.reading.report.place(other.wish.at);
    let cause = if slot.wish.at == other.wish.at {
        "both have it from one place, by `extends` or an alias".to_owned()
    } else {
        format!("the first is at {place}")
    };
    let message = format!(
        "nodes `{}` and `{}` both publish port {port}/{protocol}",
        other.node, slot.node
    );
    desk.report().say(
        slot.wish.at,
        Diagnostic::error("port-clash", message)
            .because(cause)
            .hint("give one of them another port; ports of other stands do not matter"),
    );
}
