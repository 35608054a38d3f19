//! Where stands answer by name: computed from records and what was seen, given to the ingress.

use crate::events::HappeningRecord;
use crate::platform::Control;
use crate::ports::{Ports, Wish};
use crate::record::StandRecord;
use crate::stand_loop::now_ms;
use crate::status::Status;
use daas_api::platform::{Answer, Routes};
use daas_api::{
    EdgeQuery, EdgeSnippet, Failure, Phase, RouteList, RouteView, StandState, TraefikConfig,
};
use daas_engine::dial::StandNet;
use daas_ingress::{
    HeaderName, HeaderValue, Mood, Route, Rules, StandRoutes, Standing, TakenHost, Upstream, Wait,
};
use daas_model::{Health, NodeName, NodeObserved, NodeState, Protocol, RouteProtocol, StandName};
use daas_plan::{Exposed, Power, RoutePlan, Where, plan_routes};
use daas_store::{Batch, StoreError, Stored};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How long the start of the daemon waits for the first look at stands that are there already.
const FIRST_LOOKS: Duration = Duration::from_secs(10);
/// The zone that browsers and curl take for this machine without asking anybody (RFC 6761 section 6.3).
const LOCAL: &str = "localhost";

/// How the ingress is seen from outside.
#[derive(Debug, Clone, Default)]
pub struct Outside {
    /// The zone in which stands have names, beside `localhost`.
    pub zone: Option<String>,
    /// The zone of the name server, where that is another.
    pub names: Option<String>,
    /// The port of plain HTTP; nothing if it is not listened to.
    pub http: Option<u16>,
    /// The port of TLS.
    pub https: Option<u16>,
    /// Whether certificates that everybody trusts are ordered: the URLs of hosts that have one begin with `https`.
    pub secure: bool,
    /// Files by which this machine trusts the private authority: where one of them is, all URLs begin with `https`.
    pub trusted_by: Vec<PathBuf>,
    /// The addresses at which routes of TCP and UDP have their ports.
    pub listen: Vec<IpAddr>,
}

impl Outside {
    /// Returns the zones, the best one first.
    pub fn zones(&self) -> impl Iterator<Item = &str> {
        let names = self.names.as_deref();
        self.zone.as_deref().into_iter().chain([LOCAL]).chain(names)
    }

    /// Tells whether a host lies in one of our zones: then it belongs to the stand whose name it bears.
    fn is_ours(&self, host: &str) -> bool {
        self.zones().any(|zone| {
            host.strip_suffix(zone)
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        })
    }

    /// Tells whether somebody let this machine trust the private authority, which has a certificate for every name of ours.
    fn is_trusted_here(&self) -> bool {
        self.trusted_by.iter().any(|file| file.exists())
    }

    /// Returns the URL of a host; `of_the_world` tells for which ones there is a certificate that everybody trusts.
    fn url(&self, host: &str, of_the_world: impl Fn(&str) -> bool) -> Option<String> {
        let secure = self.is_trusted_here() || self.secure && of_the_world(host);
        let (scheme, port, usual) = match (self.http, self.https) {
            (_, Some(https)) if secure => ("https", https, 443),
            (Some(http), _) => ("http", http, 80),
            (None, Some(https)) => ("https", https, 443),
            (None, None) => return None,
        };
        Some(if port == usual {
            format!("{scheme}://{host}")
        } else {
            format!("{scheme}://{host}:{port}")
        })
    }

    /// Returns the host names of a route, the best one first.
    fn hosts(&self, plan: &RoutePlan) -> Vec<String> {
        let below = self
            .zones()
            .flat_map(|zone| plan.names.iter().map(move |name| format!("{name}.{zone}")));
        below
            .chain(
                plan.hosts
                    .iter()
                    .filter(|host| !self.is_ours(host))
                    .cloned(),
            )
            .collect()
    }
}

/// What images say about ports, remembered: it is asked at every change of a stand.
#[derive(Debug, Default)]
pub(crate) struct ExposedOf {
    known: Mutex<HashMap<String, Vec<u16>>>,
}

/// What the ingress is told of a route.
#[derive(Debug, Clone, PartialEq)]
struct ToldRoute {
    plan: RoutePlan,
    hosts: Vec<String>,
    places: Vec<Place>,
    judges: Vec<Place>,
    stopped: bool,
}

/// Where a node that is asked answers.
#[derive(Debug, Clone, PartialEq)]
struct Place {
    node: NodeName,
    address: SocketAddr,
    on_host: bool,
}

/// Everything that the ingress is told of a stand, in a form that can be compared.
#[derive(Debug, Clone, PartialEq)]
struct Told {
    routes: Vec<ToldRoute>,
    net: Option<(u64, u64)>,
    mood: Mood,
    waits: Vec<(String, String, Option<u64>)>,
    sleeps: bool,
    since_ms: u64,
}

impl Control {
    /// Starts what keeps the ingress's table as the stands are.
    pub(crate) fn keep_routes(&self) {
        let Some(mut changes) = self.keep.take_changes() else {
            return;
        };
        let control = self.clone();
        drop(self.tasks.run("routes", move |shutdown| async move {
            control.sort_certificates_of_stands().await;
            let mut told: HashMap<StandName, Told> = HashMap::new();
            let mut taken = BTreeSet::new();
            let dialer = control.engine.dialer().clone();
            let mut ports = Ports::new(
                control.config.outside.listen.clone(),
                dialer,
                control.tasks.clone(),
            );
            loop {
                let first = tokio::select! {
                    name = changes.recv() => name,
                    () = shutdown.asked() => return,
                };
                let Some(first) = first else { return };
                for name in gathered(first, &mut changes) {
                    control.tell_ingress(&name, &mut told, &mut ports).await;
                }
                control.tell_taken(&mut taken).await;
            }
        }));
    }

    /// Waits until every recorded stand has been looked at once and the ingress was told, so that nobody who comes is told that there is
    /// nothing.
    pub async fn first_looks(&self) {
        let end = Instant::now() + FIRST_LOOKS;
        while Instant::now() < end {
            let Ok(stands) = self.store.list::<StandRecord>("") else {
                return;
            };
            let is_told = |name| self.keep.status(name).revision > 0 && self.ingress.knows(name);
            if stands.iter().all(|stand| is_told(&stand.value.name)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn tell_ingress(
        &self,
        name: &StandName,
        told: &mut HashMap<StandName, Told>,
        ports: &mut Ports,
    ) {
        let Ok(Some(stored)) = self.store.get::<StandRecord>(name.as_str()) else {
            told.remove(name);
            ports.remove(name);
            self.sleepers.set(name, false);
            self.ingress.set(name, None);
            self.stand_without_certificate(name).await;
            return;
        };
        let status = self.keep.status(name);
        let net = self.engine.net(&stored.value.id).ok();
        let now = self.told(&stored, &status, net.as_ref());
        self.sleepers.set(name, now.sleeps);
        if told.get(name) == Some(&now) {
            return;
        }
        let shut = ports
            .set(name, &stored.value.id, net.as_ref(), &wishes(&now))
            .await;
        for port in shut {
            tracing::warn!(stand = %name, why = port.text, "a route's port is not open");
            if let Err(error) = self.warn_of(name, port.code, port.text).await {
                tracing::warn!(stand = %name, cause = %daas_model::render_chain(&error), "cannot note that a port is taken");
            }
        }
        self.ingress
            .set(name, Some(self.for_ingress(&now, net.as_ref())));
        let deep = |name: &String| name.contains('.');
        if now
            .routes
            .iter()
            .any(|route| route.plan.names.iter().any(deep))
        {
            self.stand_with_certificate(name).await;
        }
        told.insert(name.clone(), now);
    }

    /// Tells stands of their hosts that another stand had first, each once; `told` is what they know.
    async fn tell_taken(&self, told: &mut BTreeSet<TakenHost>) {
        let now = self.ingress.taken();
        for host in now.difference(told) {
            if let Err(error) = self.tell_host_taken(host).await {
                tracing::warn!(stand = %host.stand, host = host.host, cause = %daas_model::render_chain(&error), "cannot note that a host is taken");
            }
        }
        *told = now;
    }

    async fn tell_host_taken(&self, taken: &TakenHost) -> Result<(), StoreError> {
        let TakenHost { stand, host, by } = taken;
        let text = format!(
            "host `{host}` stays with stand `{by}`, which was there first; routes of `{stand}` for it lead nowhere until `{by}` gives it up"
        );
        self.warn_of(stand, "host-taken", text).await
    }

    /// Keeps an event of a stand that somebody should look at.
    async fn warn_of(&self, stand: &StandName, code: &str, text: String) -> Result<(), StoreError> {
        let event = HappeningRecord::warning(stand, code, text);
        let batch = Batch::new().event(stand.as_str(), now_ms(), &event)?;
        self.store.commit(batch).await.map(drop)
    }

    fn told(
        &self,
        stored: &Stored<StandRecord>,
        status: &Status,
        net: Option<&Arc<StandNet>>,
    ) -> Told {
        let record = &stored.value;
        let routes = self
            .route_plans(record)
            .into_iter()
            .map(|plan| {
                let ready = if net.is_some() {
                    ready(record, status, &plan)
                } else {
                    Vec::new()
                };
                let place = |(node, place): &(NodeName, Where), port| Place {
                    node: node.clone(),
                    address: SocketAddr::new(place.ip(), port),
                    on_host: *place == Where::Host,
                };
                let answering = plan.nodes.iter().filter(|(node, _)| ready.contains(&node));
                let running =
                    |node: &NodeName| status.observed.nodes.get(node).is_some_and(is_running);
                let judges = plan
                    .judges
                    .iter()
                    .filter(|(node, _)| net.is_some() && running(node));
                let port_of_judges = plan.spec.forward_auth.as_ref().map_or(0, |auth| auth.port);
                ToldRoute {
                    places: answering.map(|at| place(at, plan.port)).collect(),
                    judges: judges.map(|at| place(at, port_of_judges)).collect(),
                    hosts: self.config.outside.hosts(&plan),
                    stopped: is_stopped(record, &plan.nodes) || is_stopped(record, &plan.judges),
                    plan,
                }
            })
            .collect();
        Told {
            routes,
            net: net.map(|net| net.identity()),
            mood: mood(record, status, stored.revision.0),
            waits: waits(record, status),
            sleeps: record.spec.sleep_after.is_some(),
            since_ms: record.created_ms,
        }
    }

    fn for_ingress(&self, told: &Told, net: Option<&Arc<StandNet>>) -> StandRoutes {
        let home = self.engine.dialer().home();
        let routes = told.routes.iter().map(|route| {
            let spec = &route.plan.spec;
            let upstream = |place: &Place| {
                Some(Upstream {
                    node: place.node.to_string(),
                    net: if place.on_host {
                        home.clone()
                    } else {
                        net?.clone()
                    },
                    address: place.address,
                    protocol: spec.protocol,
                })
            };
            Route {
                service: spec.service.to_string(),
                hosts: route.hosts.clone(),
                path: spec.path.clone(),
                headers: spec.headers.iter().filter_map(header).collect(),
                rules: Arc::new(Rules::of(spec)),
                protocol: spec.protocol,
                upstreams: route.places.iter().filter_map(&upstream).collect(),
                stopped: route.stopped,
                judges: route
                    .judges
                    .iter()
                    .filter_map(|at| {
                        Some(Upstream {
                            protocol: RouteProtocol::Http,
                            ..upstream(at)?
                        })
                    })
                    .collect(),
            }
        });
        let (now, ms) = (Instant::now(), now_ms());
        let waits = told.waits.iter().map(|(node, what, since)| Wait {
            node: node.clone(),
            what: what.clone(),
            since: since
                .and_then(|at| now.checked_sub(Duration::from_millis(ms.saturating_sub(at)))),
        });
        StandRoutes {
            routes: routes.collect(),
            standing: Standing {
                mood: told.mood,
                waits: waits.collect(),
            },
            sleeps: told.sleeps,
            since_ms: told.since_ms,
        }
    }

    fn route_plans(&self, record: &StandRecord) -> Vec<RoutePlan> {
        plan_routes(
            &record.name,
            &record.spec,
            &record.addresses,
            &self.exposed(record),
        )
    }

    /// Returns what the images of a stand's nodes say about their TCP ports; nothing of those that are not here yet.
    fn exposed(&self, record: &StandRecord) -> Exposed {
        let mut all = Exposed::new();
        for (name, node) in &record.spec.nodes {
            // A port that the file names comes first in any case.
            if !node.ports.is_empty() || !node.expose.is_empty() {
                continue;
            }
            let Ok(Some(info)) = self.engine.images().name_info(&node.image) else {
                continue;
            };
            let key = info.manifest.to_string();
            let mut known = self
                .exposed
                .known
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let ports = known.entry(key).or_insert_with(|| {
                let image = self.engine.images().resolve(&node.image).ok().flatten();
                image.map_or_else(Vec::new, |image| {
                    image
                        .config
                        .exposed_ports
                        .iter()
                        .filter_map(|port| tcp_port(port))
                        .collect()
                })
            });
            all.insert(name.clone(), ports.clone());
        }
        all
    }

    /// Returns the routes of a stand as the doors show them.
    pub(crate) fn route_views(&self, stored: &Stored<StandRecord>) -> Vec<RouteView> {
        let record = &stored.value;
        let status = self.keep.status(&record.name);
        let outside = &self.config.outside;
        let mut taken = self.ingress.taken();
        taken.retain(|taken| taken.stand == record.name);
        let resolver = self.certificates.resolver();
        let of_the_world = |host: &str| resolver.is_of_the_world(host);
        self.route_plans(record)
            .into_iter()
            .map(|plan| {
                let hosts = outside.hosts(&plan);
                let path = if plan.spec.path == "/" {
                    ""
                } else {
                    plan.spec.path.as_str()
                };
                let taken = taken_of(&plan, &hosts, &taken);
                let own = || hosts.iter().filter(|host| !taken.contains_key(*host));
                let urls = own()
                    .filter(|host| !host.starts_with('*'))
                    .filter_map(|host| Some(format!("{}{path}", outside.url(host, of_the_world)?)));
                let is_led = taken.is_empty() || own().next().is_some();
                RouteView {
                    stand: record.name.clone(),
                    service: plan.spec.service.to_string(),
                    port: plan.port,
                    protocol: plan.spec.protocol,
                    urls: match plan.spec.listen {
                        _ if plan.spec.protocol == RouteProtocol::Tls => own()
                            .filter_map(|host| Some(format!("{host}:{}", outside.https?)))
                            .collect(),
                        Some(port) if !plan.spec.protocol.is_http() => outside
                            .listen
                            .iter()
                            .map(|ip| SocketAddr::new(*ip, port).to_string())
                            .collect(),
                        _ => urls.collect(),
                    },
                    path: plan.spec.path.clone(),
                    named: !record.spec.routes.is_empty(),
                    ready: ready(record, &status, &plan)
                        .into_iter()
                        .filter(|_| is_led)
                        .cloned()
                        .collect(),
                    nodes: u32::try_from(plan.nodes.len()).unwrap_or(u32::MAX),
                    taken,
                    hosts,
                }
            })
            .collect()
    }

    /// Returns the hosts of stands that another edge may send here.
    fn edge_hosts(&self) -> Result<crate::edge::Hosts, Failure> {
        let mut hosts = crate::edge::Hosts::new();
        for stored in self.store.list::<StandRecord>("").map_err(Failure::from)? {
            let http = self
                .route_plans(&stored.value)
                .into_iter()
                .filter(|plan| plan.spec.protocol.is_http());
            let all = http
                .flat_map(|plan| self.config.outside.hosts(&plan))
                .collect();
            hosts.insert(stored.value.name, all);
        }
        Ok(hosts)
    }

    /// Returns where a stand answers by name: one URL for each route, that of the stand's own name first.
    pub(crate) fn urls(&self, stored: &Stored<StandRecord>) -> Vec<String> {
        let own = format!("{}.", stored.value.name);
        let is_own = |url: &String| {
            !url.split("://")
                .nth(1)
                .is_some_and(|rest| rest.starts_with(&own))
        };
        let mut urls: Vec<String> = self
            .route_views(stored)
            .into_iter()
            .filter(|route| route.protocol.is_http())
            .filter_map(|route| route.urls.into_iter().next())
            .collect();
        urls.sort_by_key(is_own);
        urls
    }
}

/// Returns the hosts of a route that another stand had first, with that stand.
fn taken_of(
    plan: &RoutePlan,
    hosts: &[String],
    taken: &BTreeSet<TakenHost>,
) -> BTreeMap<String, StandName> {
    let protocol = plan.spec.protocol;
    if !protocol.is_http() && protocol != RouteProtocol::Tls {
        return BTreeMap::new();
    }
    let all = taken.iter().filter(|taken| hosts.contains(&taken.host));
    all.map(|taken| (taken.host.clone(), taken.by.clone()))
        .collect()
}

/// Returns the ports of the host that a stand wants. Nodes in the host's network have theirs there already.
fn wishes(told: &Told) -> Vec<Wish> {
    let wish = |route: &ToldRoute| {
        let protocol = match route.plan.spec.protocol {
            RouteProtocol::Tcp => Protocol::Tcp,
            RouteProtocol::Udp => Protocol::Udp,
            RouteProtocol::Http | RouteProtocol::H2c | RouteProtocol::Grpc | RouteProtocol::Tls => {
                return None;
            }
        };
        let inside = route.places.iter().filter(|place| !place.on_host);
        Some(Wish {
            port: route.plan.spec.listen?,
            protocol,
            targets: inside.map(|place| place.address).collect(),
        })
    };
    told.routes.iter().filter_map(wish).collect()
}

/// Takes what has been said meanwhile together: a stand that changed five times is looked at once.
fn gathered(
    first: StandName,
    changes: &mut mpsc::UnboundedReceiver<StandName>,
) -> BTreeSet<StandName> {
    let mut names = BTreeSet::from([first]);
    while let Ok(name) = changes.try_recv() {
        names.insert(name);
    }
    names
}

/// Reads `80/tcp` and `80`.
fn tcp_port(text: &str) -> Option<u16> {
    match text.split_once('/') {
        Some((port, "tcp")) => port.parse().ok(),
        Some(_) => None,
        None => text.parse().ok(),
    }
}

/// Returns the nodes of a route that are asked: the healthy ones, or where there is none those whose check fails. A check that is wrong
/// must not hide a program that answers.
fn ready<'a>(record: &StandRecord, status: &Status, plan: &'a RoutePlan) -> Vec<&'a NodeName> {
    if record.power != Power::Running {
        return Vec::new();
    }
    let with = |fits: fn(&NodeObserved) -> bool| -> Vec<&'a NodeName> {
        let seen = |node: &NodeName| {
            !status.leaving.contains(node) && status.observed.nodes.get(node).is_some_and(fits)
        };
        plan.nodes
            .iter()
            .map(|(node, _)| node)
            .filter(|node| seen(node))
            .collect()
    };
    let well =
        with(|node| is_running(node) && matches!(node.health, Health::None | Health::Healthy));
    if well.is_empty() {
        with(|node| is_running(node) && node.health == Health::Unhealthy)
    } else {
        well
    }
}

/// Tells whether a person has stopped each of these nodes.
fn is_stopped(record: &StandRecord, nodes: &[(NodeName, Where)]) -> bool {
    !nodes.is_empty() && nodes.iter().all(|(node, _)| record.held.contains(node))
}

fn is_running(node: &NodeObserved) -> bool {
    matches!(node.state, NodeState::Running { .. })
}

/// Reads a header that requests must bear; the project's check has seen that it is one.
fn header((name, value): (&String, &String)) -> Option<(HeaderName, HeaderValue)> {
    Some((
        HeaderName::from_bytes(name.as_bytes()).ok()?,
        HeaderValue::from_str(value).ok()?,
    ))
}

fn mood(record: &StandRecord, status: &Status, revision: u64) -> Mood {
    if record.asleep && record.power == Power::Stopped {
        return Mood::Asleep;
    }
    match status.state(record, revision).0 {
        StandState::Running | StandState::Degraded => Mood::Up,
        StandState::Waiting | StandState::Starting => Mood::Starting,
        StandState::Paused => Mood::Paused,
        StandState::Stopping | StandState::Stopped => Mood::Stopped,
        StandState::Failed => Mood::Failed,
        StandState::Removing => Mood::Leaving,
    }
}

/// Returns what is not ready, in words, with since when.
fn waits(record: &StandRecord, status: &Status) -> Vec<(String, String, Option<u64>)> {
    if record.power != Power::Running {
        return Vec::new();
    }
    let since = |node: &NodeName| match status.observed.nodes.get(node).map(|n| &n.state) {
        Some(NodeState::Running { since_ms, .. }) => Some(*since_ms),
        _ => Some(record.asked_at_ms),
    };
    let progress = status.progress(record).into_iter();
    progress
        .filter_map(|node| {
            let (what, since) = match node.phase {
                Phase::Queued | Phase::Starting | Phase::Preparing { .. } => {
                    ("is being started".to_owned(), since(&node.node))
                }
                Phase::Pulling { .. } => ("waits for its image".to_owned(), since(&node.node)),
                Phase::Waiting { on } => (format!("waits ({})", on.join("; ")), since(&node.node)),
                Phase::Started => ("is still starting".to_owned(), since(&node.node)),
                Phase::Failed { reason } => (format!("has failed ({reason})"), None),
                Phase::Stopping => ("is being stopped".to_owned(), None),
                Phase::Stopped => ("is stopped".to_owned(), None),
                Phase::Paused => ("is paused".to_owned(), None),
                _ => return None,
            };
            Some((node.node.to_string(), what, since))
        })
        .collect()
}

impl Routes for Control {
    fn list(&self) -> Answer<'_, RouteList> {
        Box::pin(async move {
            let stands = self.store.list::<StandRecord>("").map_err(Failure::from)?;
            let mut by_stand: BTreeMap<StandName, Vec<RouteView>> = BTreeMap::new();
            for stored in &stands {
                by_stand.insert(stored.value.name.clone(), self.route_views(stored));
            }
            Ok(RouteList {
                items: by_stand.into_values().flatten().collect(),
            })
        })
    }

    fn traefik(&self, query: EdgeQuery) -> Answer<'_, TraefikConfig> {
        let make = || crate::edge::traefik(&self.edge_hosts()?, &self.config.outside, &query);
        Box::pin(std::future::ready(make()))
    }

    fn snippet<'a>(&'a self, edge: &'a str, query: EdgeQuery) -> Answer<'a, EdgeSnippet> {
        let make = || crate::edge::snippet(edge, &self.edge_hosts()?, &self.config.outside, &query);
        Box::pin(std::future::ready(make()))
    }
}
