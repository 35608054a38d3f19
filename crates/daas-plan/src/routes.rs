//! The ways from outside to a stand: those that its file names, and otherwise those that its ports suggest.

use crate::addresses::Addresses;
use crate::names::owner_of_network;
use daas_model::{
    NetworkMode, NodeName, Protocol, RouteSpec, ServiceName, StandName, StandSpec, slug,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

/// Ports that programs which speak HTTP usually take, the surest first.
const LIKELY: [u16; 24] = [
    80, 8080, 8000, 3000, 5000, 8888, 8081, 9000, 4000, 5173, 4200, 8008, 8069, 8090, 8082, 3001,
    5601, 9090, 7860, 2368, 1337, 10000, 8096, 81,
];

/// Ports of other trades. A service that has only these has no route by itself.
const OTHER: [u16; 48] = [
    20, 21, 22, 23, 25, 53, 67, 69, 88, 110, 111, 123, 135, 139, 143, 161, 389, 443, 445, 465, 514,
    587, 636, 993, 995, 1025, 1433, 1521, 1883, 2049, 2181, 2379, 2380, 3306, 4222, 5044, 5222,
    5432, 5671, 5672, 6379, 6432, 7687, 8443, 9042, 9092, 11211, 27017,
];

/// One way from outside to a service, as planned: without zones, which the stand does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutePlan {
    /// What the file says, or what follows without a file's word.
    pub spec: RouteSpec,
    /// The port inside the nodes.
    pub port: u16,
    /// Names below each zone: `web.shop-7`.
    pub names: Vec<String>,
    /// Whole names.
    pub hosts: Vec<String>,
    /// The nodes that answer, with the address inside the stand; nothing for a node that shares the host's network.
    pub nodes: Vec<(NodeName, Where)>,
    /// The nodes that are asked whether a request may pass.
    pub judges: Vec<(NodeName, Where)>,
}

/// Where a node's ports are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Where {
    /// At this address inside the stand.
    Inside(IpAddr),
    /// At loopback of the host.
    Host,
}

/// What the images of nodes say about their TCP ports (`EXPOSE`).
pub type Exposed = BTreeMap<NodeName, Vec<u16>>;

/// Plans the ways from outside to a stand.
///
/// Without `x-daas: routes:` every service with a port that looks like HTTP gets `<service>.<stand>`, and the one among them that a person
/// would open first gets `<stand>` too. Which one that is: a published port before one that is only exposed, then the likeliest port, then
/// the service's name.
#[must_use]
pub fn plan_routes(
    stand: &StandName,
    spec: &StandSpec,
    addresses: &Addresses,
    exposed: &Exposed,
) -> Vec<RoutePlan> {
    let services = services(spec);
    let guesses: BTreeMap<&ServiceName, Guess> = services
        .iter()
        .filter_map(|(service, nodes)| Some((*service, guess(spec, nodes, exposed)?)))
        .collect();
    let wanted: Vec<RouteSpec> = if spec.routes.is_empty() {
        guesses
            .keys()
            .map(|service| RouteSpec::new((*service).clone()))
            .collect()
    } else {
        spec.routes.clone()
    };
    let named: BTreeSet<&ServiceName> = wanted
        .iter()
        .filter(|r| r.protocol.is_http())
        .map(|r| &r.service)
        .collect();
    let first = first(&guesses, &named, &wanted);
    wanted
        .iter()
        .filter_map(|route| {
            let places = |service: &ServiceName| -> Vec<(NodeName, Where)> {
                let nodes = services.get(service).into_iter().flatten();
                nodes
                    .filter_map(|node| Some(((*node).clone(), place(spec, addresses, node)?)))
                    .collect()
            };
            let nodes = services.get(&route.service)?;
            let guess = guesses.get(&route.service);
            let port = route
                .port
                .or(guess.map(|g| g.port))
                .or_else(|| any_port(spec, nodes, exposed))?;
            let (names, hosts) = names(stand, route, first.as_ref() == Some(&route.service));
            Some(RoutePlan {
                spec: route.clone(),
                port,
                names,
                hosts,
                nodes: places(&route.service),
                judges: route
                    .forward_auth
                    .as_ref()
                    .map_or_else(Vec::new, |auth| places(&auth.service)),
            })
        })
        .collect()
}

fn services(spec: &StandSpec) -> BTreeMap<&ServiceName, Vec<&NodeName>> {
    let mut all: BTreeMap<&ServiceName, Vec<&NodeName>> = BTreeMap::new();
    for (name, node) in &spec.nodes {
        all.entry(&node.service).or_default().push(name);
    }
    all
}

/// A port that looks like HTTP.
#[derive(Debug, Clone, Copy)]
struct Guess {
    port: u16,
    published: bool,
    /// Its place among the likely ones, of what is published before what is inside.
    rank: usize,
}

fn guess(spec: &StandSpec, nodes: &[&NodeName], exposed: &Exposed) -> Option<Guess> {
    let node = nodes.first().and_then(|name| spec.nodes.get(*name))?;
    let rank = |port: u16| {
        LIKELY
            .iter()
            .position(|p| *p == port)
            .unwrap_or(LIKELY.len())
    };
    let fits = |port: u16| !OTHER.contains(&port);
    let tcp = |p: &&daas_model::PortSpec| p.protocol == Protocol::Tcp;
    let published = node
        .ports
        .iter()
        .filter(tcp)
        .filter(|p| fits(p.target) && fits(p.published))
        .map(|p| Guess {
            port: p.target,
            published: true,
            rank: rank(p.published).min(rank(p.target)),
        });
    let best = published.min_by_key(|g| g.rank);
    let inside = || {
        let own = node.expose.iter().filter(tcp).map(|p| p.target);
        let image = nodes
            .first()
            .and_then(|name| exposed.get(*name))
            .into_iter()
            .flatten()
            .copied();
        let from = |port| Guess {
            port,
            published: false,
            rank: rank(port),
        };
        own.filter(|p| fits(*p))
            .map(from)
            .min_by_key(|g| g.rank)
            .or_else(|| image.filter(|p| fits(*p)).map(from).min_by_key(|g| g.rank))
    };
    best.or_else(inside)
}

/// Returns whatever port a service says it serves, for a route whose file names none.
fn any_port(spec: &StandSpec, nodes: &[&NodeName], exposed: &Exposed) -> Option<u16> {
    let name = nodes.first()?;
    let node = spec.nodes.get(*name)?;
    let own = node.ports.iter().chain(&node.expose).map(|p| p.target);
    own.chain(exposed.get(*name).into_iter().flatten().copied())
        .next()
}

/// Returns the service that a person would open first.
fn first(
    guesses: &BTreeMap<&ServiceName, Guess>,
    named: &BTreeSet<&ServiceName>,
    wanted: &[RouteSpec],
) -> Option<ServiceName> {
    let guessed = guesses
        .iter()
        .filter(|(service, _)| named.contains(*service))
        .min_by_key(|(service, guess)| (!guess.published, guess.rank, usual(service), **service))
        .map(|(service, _)| (*service).clone());
    guessed.or_else(|| {
        wanted
            .iter()
            .find(|r| r.protocol.is_http())
            .map(|r| r.service.clone())
    })
}

/// Returns how usual it is that a service of this name is the one that people see.
fn usual(service: &ServiceName) -> usize {
    const NAMES: [&str; 8] = [
        "web", "www", "frontend", "app", "proxy", "nginx", "ui", "gateway",
    ];
    NAMES
        .iter()
        .position(|name| service.as_str() == *name)
        .unwrap_or(NAMES.len())
}

/// Returns the names of a route below each zone, and whole ones.
fn names(stand: &StandName, route: &RouteSpec, is_first: bool) -> (Vec<String>, Vec<String>) {
    if !route.protocol.is_by_name() && route.hosts.is_empty() {
        return (Vec::new(), Vec::new());
    }
    if route.hosts.is_empty() {
        let own = format!("{}.{stand}", slug(route.service.as_str()));
        let names = if is_first && route.protocol.is_http() {
            vec![stand.to_string(), own]
        } else {
            vec![own]
        };
        return (names, Vec::new());
    }
    let (whole, labels): (Vec<&String>, Vec<&String>) =
        route.hosts.iter().partition(|host| host.contains('.'));
    let names = labels
        .into_iter()
        .map(|label| {
            if label == "@" {
                stand.to_string()
            } else {
                format!("{label}.{stand}")
            }
        })
        .collect();
    (names, whole.into_iter().cloned().collect())
}

fn place(spec: &StandSpec, addresses: &Addresses, node: &NodeName) -> Option<Where> {
    let owner = owner_of_network(spec, node);
    match &spec.nodes.get(owner)?.network {
        NetworkMode::Host => Some(Where::Host),
        NetworkMode::None | NetworkMode::Node(_) => None,
        NetworkMode::Networks(_) => {
            let own: Vec<IpAddr> = addresses
                .nodes
                .get(owner)?
                .values()
                .flatten()
                .copied()
                .collect();
            own.iter()
                .find(|ip| ip.is_ipv4())
                .or(own.first())
                .copied()
                .map(Where::Inside)
        }
    }
}

impl Where {
    /// Returns the address to connect to.
    #[must_use]
    pub fn ip(self) -> IpAddr {
        match self {
            Self::Inside(ip) => ip,
            Self::Host => Ipv4Addr::LOCALHOST.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stand::tests::spec_of;
    use daas_model::PortSpec;

    fn port(published: u16, target: u16) -> PortSpec {
        PortSpec {
            published,
            target,
            protocol: Protocol::Tcp,
        }
    }

    fn planned(spec: &StandSpec, exposed: &Exposed) -> Vec<String> {
        let stand = StandName::parse("shop-7").unwrap();
        let addresses = crate::assign(spec, &Addresses::default()).unwrap();
        plan_routes(&stand, spec, &addresses, exposed)
            .into_iter()
            .map(|plan| {
                format!(
                    "{} -> {}:{}",
                    [plan.names, plan.hosts].concat().join(" "),
                    plan.spec.service,
                    plan.port
                )
            })
            .collect()
    }

    #[test]
    fn the_first_http_port_of_each_service_gets_a_name_and_the_most_public_one_that_of_the_stand() {
        let mut spec = spec_of(&["api", "db", "My_Web", "worker"]);
        spec.nodes.get_mut("api").unwrap().expose = vec![port(8000, 8000)];
        spec.nodes.get_mut("db").unwrap().ports = vec![port(5432, 5432)];
        spec.nodes.get_mut("My_Web").unwrap().ports =
            vec![port(2222, 22), port(8080, 3000), port(443, 3443)];
        let exposed = [(NodeName::parse("worker").unwrap(), vec![5555, 22])].into();
        assert_eq!(
            planned(&spec, &exposed),
            [
                "shop-7 my-web.shop-7 -> My_Web:3000",
                "api.shop-7 -> api:8000",
                "worker.shop-7 -> worker:5555"
            ]
        );
    }

    #[test]
    fn the_file_decides_when_it_names_routes() {
        let mut spec = spec_of(&["api", "web"]);
        spec.nodes.get_mut("api").unwrap().expose = vec![port(8000, 8000)];
        spec.nodes.get_mut("web").unwrap().ports = vec![port(80, 80)];
        let mut route = RouteSpec::new(ServiceName::parse("api").unwrap());
        route.hosts = vec!["@".into(), "v2".into(), "api.example.com".into()];
        spec.routes = vec![route];
        assert_eq!(
            planned(&spec, &Exposed::new()),
            ["shop-7 v2.shop-7 api.example.com -> api:8000"]
        );
    }
}
