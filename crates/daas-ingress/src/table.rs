//! The table that says where a request goes: immutable, made anew at every change, swapped at once.

use crate::activity::Activity;
use crate::backend::{Backend, Upstream};
use crate::rules::Rules;
use crate::standing::{Mood, Standing};
use crate::target::is_below;
use daas_model::{RouteProtocol, StandName};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

/// Everything of one stand that answers outside, with how the stand is.
#[derive(Debug, Clone, Default)]
pub struct StandRoutes {
    /// Its routes.
    pub routes: Vec<Route>,
    /// When it was first asked for, Unix milliseconds: of stands with the same host the first one has it.
    pub since_ms: u64,
    /// How it is, for those who come before it is ready.
    pub standing: Standing,
    /// Whether somebody is to be told of every request, because the stand sleeps when none comes.
    pub sleeps: bool,
}

/// One way from outside to a service of a stand.
#[derive(Debug, Clone)]
pub struct Route {
    /// The service, for people.
    pub service: String,
    /// Host names, lower case; `*.` at the beginning stands for every label.
    pub hosts: Vec<String>,
    /// The beginning of the path, canonical, without a last slash but for `/`.
    pub path: String,
    /// What a request must bear beside.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// What is done on the way.
    pub rules: Arc<Rules>,
    /// What the back ends speak.
    pub protocol: RouteProtocol,
    /// The nodes that may be asked now. None while nobody is ready.
    pub upstreams: Vec<Upstream>,
    /// The nodes that are asked whether a request may pass, where the rules say so.
    pub judges: Vec<Upstream>,
    /// Whether a person has stopped all of its nodes, or of its judges: nobody waits for them.
    pub stopped: bool,
}

/// A host that leads not to a stand whose routes name it, because another one had it first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TakenHost {
    /// The stand that came later.
    pub stand: StandName,
    /// The host, as its routes name it.
    pub host: String,
    /// The stand that has it.
    pub by: StandName,
}

/// A route in the table.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) stand: StandName,
    since_ms: u64,
    pub(crate) standing: Arc<Standing>,
    pub(crate) sleeps: bool,
    pub(crate) route: Route,
    pub(crate) backends: Vec<Arc<Backend>>,
    pub(crate) judges: Vec<Arc<Backend>>,
    pub(crate) turn: AtomicUsize,
    pub(crate) activity: Arc<Activity>,
    /// Since when it has no node to ask, if it had one before.
    bereft: Option<Instant>,
}

/// How long after its last node went a route is taken for one whose node is being replaced.
pub(crate) const REPLACED: Duration = Duration::from_secs(60);

impl Entry {
    /// Tells whether it has no node to ask because its stand sleeps, or is on its way out of sleep.
    pub(crate) fn is_waking(&self) -> bool {
        self.sleeps
            && self.backends.is_empty()
            && matches!(self.standing.mood, Mood::Asleep | Mood::Starting)
    }

    /// Tells whether it has no node to ask because the one that it had is being replaced, or is coming up again.
    pub(crate) fn is_between(&self) -> bool {
        let lately = |since: Instant| since.elapsed() < REPLACED;
        !self.route.stopped
            && self.bereft.is_some_and(lately)
            && matches!(self.standing.mood, Mood::Up | Mood::Starting)
            && self.route.rules.redirect.is_none()
    }

    /// Tells whether nobody can be asked: no node, or no judge where one must be heard.
    fn lacks_nodes(&self) -> bool {
        let judged = self.route.rules.forward_auth.is_some();
        self.backends.is_empty() || judged && self.judges.is_empty()
    }

    /// Returns since when a route has nobody to ask, if it had somebody before.
    fn bereft_since(&self, before: &[Arc<Self>]) -> Option<Instant> {
        let is_same = |old: &&Arc<Self>| {
            let (old, new) = (&old.route, &self.route);
            (&old.service, &old.hosts, &old.path, &old.headers)
                == (&new.service, &new.hosts, &new.path, &new.headers)
        };
        let old = before.iter().find(is_same)?;
        if !self.lacks_nodes() {
            None
        } else if old.lacks_nodes() {
            old.bereft
        } else {
            Some(Instant::now())
        }
    }

    /// Makes the entries of a stand. Back ends that were there before stay, with their connections.
    pub(crate) fn of(
        stand: &StandName,
        wanted: StandRoutes,
        before: &[Arc<Entry>],
        workers: usize,
    ) -> Vec<Arc<Self>> {
        let mut there: Vec<Arc<Backend>> = before
            .iter()
            .flat_map(|entry| entry.backends.iter().chain(&entry.judges).cloned())
            .collect();
        let activity = before
            .first()
            .map_or_else(|| Arc::new(Activity::new()), |entry| entry.activity.clone());
        let standing = Arc::new(wanted.standing);
        let mut entries = Vec::with_capacity(wanted.routes.len());
        for mut route in wanted.routes {
            // Equal rules stay the same ones, with what they have counted.
            if let Some(same) = before.iter().find(|entry| entry.route.rules == route.rules) {
                route.rules = same.route.rules.clone();
            }
            let mut place = |upstream: &Upstream| {
                if let Some(same) = there.iter().find(|backend| backend.upstream == *upstream) {
                    return same.clone();
                }
                let made = Arc::new(Backend::new(upstream.clone(), workers));
                there.push(made.clone());
                made
            };
            let backends = route.upstreams.iter().map(&mut place).collect();
            let judges = route.judges.iter().map(&mut place).collect();
            let mut entry = Self {
                stand: stand.clone(),
                since_ms: wanted.since_ms,
                standing: standing.clone(),
                sleeps: wanted.sleeps,
                backends,
                judges,
                route,
                turn: AtomicUsize::new(0),
                activity: activity.clone(),
                bereft: None,
            };
            entry.bereft = entry.bereft_since(before);
            entries.push(Arc::new(entry));
        }
        entries
    }
}

/// The routes of one host, the one that asks for most first.
#[derive(Debug, Default)]
struct Host {
    entries: Vec<Arc<Entry>>,
    /// Whether paths are looked at: then a path goes on in the form that was looked at.
    by_path: bool,
}

impl Host {
    /// Returns whose it is: a host belongs to one stand.
    fn stand(&self) -> Option<&StandName> {
        self.entries.first().map(|entry| &entry.stand)
    }
}

/// Where every host leads.
#[derive(Debug, Default)]
pub(crate) struct Table {
    exact: HashMap<String, Host>,
    /// What stands behind `*.`, with the dot.
    below: HashMap<String, Host>,
    /// Routes of TLS that is passed on as it is, by host.
    passed: HashMap<String, Arc<Entry>>,
    passed_below: HashMap<String, Arc<Entry>>,
    /// Hosts that lead not to a stand that names them.
    taken: BTreeSet<TakenHost>,
    /// Our own zones: a `*.` host that begins above one of them covers no name in it.
    zones: Arc<[String]>,
}

impl Table {
    /// Makes the table of all stands, for a house whose own zones are `zones`.
    pub(crate) fn of<'a>(
        entries: impl Iterator<Item = &'a Arc<Entry>>,
        zones: &Arc<[String]>,
    ) -> Self {
        let mut table = Self {
            zones: zones.clone(),
            ..Self::default()
        };
        let by_name = |entry: &&Arc<Entry>| {
            let protocol = entry.route.protocol;
            protocol.is_http() || protocol == RouteProtocol::Tls
        };
        let mut entries: Vec<_> = entries.filter(by_name).collect();
        // The first stand has a host; those of one moment in the order of their names.
        entries.sort_by_key(|entry| entry.since_ms);
        let mut holders: HashMap<&str, &StandName> = HashMap::new();
        for entry in entries {
            for host in &entry.route.hosts {
                let holder = *holders.entry(host).or_insert(&entry.stand);
                if *holder == entry.stand {
                    table.lead(host, entry);
                    continue;
                }
                table.taken.insert(TakenHost {
                    stand: entry.stand.clone(),
                    host: host.clone(),
                    by: holder.clone(),
                });
            }
        }
        for host in table.exact.values_mut().chain(table.below.values_mut()) {
            host.by_path =
                host.entries.len() > 1 || host.entries.iter().any(|entry| entry.route.path != "/");
            // The longest path first, then the one that asks for most.
            host.entries.sort_by_key(|entry| {
                let route = &entry.route;
                (Reverse(route.path.len()), Reverse(route.headers.len()))
            });
        }
        table
    }

    /// Lets a host lead to a route.
    fn lead(&mut self, host: &str, entry: &Arc<Entry>) {
        if entry.route.protocol == RouteProtocol::Tls {
            let place = match host.strip_prefix('*') {
                Some(rest) => self.passed_below.entry(rest.to_owned()),
                None => self.passed.entry(host.to_owned()),
            };
            place.or_insert_with(|| entry.clone());
            return;
        }
        let place = match host.strip_prefix('*') {
            Some(rest) => self.below.entry(rest.to_owned()),
            None => self.exact.entry(host.to_owned()),
        };
        place.or_default().entries.push(entry.clone());
    }

    /// Returns the hosts that lead not to a stand that names them, because another one had them first.
    pub(crate) fn taken(&self) -> &BTreeSet<TakenHost> {
        &self.taken
    }

    /// Tells whether any connection of TLS is passed on as it is.
    pub(crate) fn passes_any(&self) -> bool {
        !self.passed.is_empty() || !self.passed_below.is_empty()
    }

    /// Finds where a connection of TLS goes whose client asks for `host` (lower case); nothing if it ends here, as for the exact host of a route
    /// of HTTP and for a `*.` host of one that is nearer.
    pub(crate) fn passed(&self, host: &str) -> Option<&Arc<Entry>> {
        let exact = self.passed.get(host);
        if exact.is_some() || self.exact.contains_key(host) || self.passed_below.is_empty() {
            return exact;
        }
        let is_known =
            |rest: &&str| self.passed_below.contains_key(*rest) || self.below.contains_key(*rest);
        let nearest = above(host).find(|rest| is_known(rest) && self.covers(rest, host))?;
        self.passed_below.get(nearest)
    }

    /// Finds the route of a request by its host (lower case, without port), path (canonical) and headers.
    pub(crate) fn find<'a>(&'a self, host: &str, path: &str, headers: &HeaderMap) -> Found<'a> {
        let mut holder = None;
        let mut places = self.exact.get(host).into_iter().chain(self.wide(host));
        let found = places.find_map(|place| {
            let stand = place.stand()?;
            // What its routes leave over is not for the star of another stand.
            if *holder.get_or_insert(stand) != stand {
                return None;
            }
            let entry = place
                .entries
                .iter()
                .find(|entry| fits(&entry.route, path, headers))?;
            Some((entry, place.by_path))
        });
        match found {
            Some((entry, by_path)) => Found::Route(entry, by_path),
            None if holder.is_some() => Found::NoPath,
            None => Found::NoHost,
        }
    }

    /// Tells whether some route answers at a host.
    pub(crate) fn has_host(&self, host: &str) -> bool {
        let is_known =
            |rest: &str| self.below.contains_key(rest) || self.passed_below.contains_key(rest);
        self.exact.contains_key(host)
            || self.passed.contains_key(host)
            || above(host).any(|rest| is_known(rest) && self.covers(rest, host))
    }

    /// Returns what `*.` hosts lead to that `host` lies below, the longest first.
    fn wide<'a, 'h>(&'a self, host: &'h str) -> impl Iterator<Item = &'a Host> + use<'a, 'h> {
        let none = self.below.is_empty();
        above(host).filter(move |_| !none).filter_map(move |rest| {
            let found = self.below.get(rest)?;
            self.covers(rest, host).then_some(found)
        })
    }

    /// Tells whether a `*.` host covers a name that lies below it: no zone of ours begins between them.
    fn covers(&self, rest: &str, host: &str) -> bool {
        let is_in = |name: &str, zone: &str| {
            name.strip_suffix(zone)
                .is_some_and(|before| before.is_empty() || before.ends_with('.'))
        };
        let between = |zone: &String| is_in(host, zone) && !is_in(rest, zone);
        !self.zones.iter().any(between)
    }
}

/// Returns what `*.` may stand for the rest of in a host, each with its dot, the longest first.
fn above(host: &str) -> impl Iterator<Item = &str> {
    host.match_indices('.').map(|(at, _)| &host[at..])
}

/// What a search found.
pub(crate) enum Found<'a> {
    /// A route, and whether paths are looked at for its host.
    Route(&'a Arc<Entry>, bool),
    /// The host is there, and nothing of it fits.
    NoPath,
    NoHost,
}

fn fits(route: &Route, path: &str, headers: &HeaderMap) -> bool {
    is_below(path, &route.path)
        && route
            .headers
            .iter()
            .all(|(name, value)| headers.get(name) == Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(service: &str, host: &str, path: &str) -> Route {
        Route {
            service: service.into(),
            hosts: vec![host.into()],
            path: path.into(),
            headers: Vec::new(),
            rules: Arc::default(),
            protocol: RouteProtocol::Http,
            upstreams: Vec::new(),
            judges: Vec::new(),
            stopped: false,
        }
    }

    fn found(table: &Table, host: &str, path: &str) -> String {
        match table.find(host, path, &HeaderMap::new()) {
            Found::Route(entry, _) => entry.route.service.clone(),
            Found::NoPath => "no path".into(),
            Found::NoHost => "no host".into(),
        }
    }

    #[test]
    fn the_longest_path_and_the_nearest_host_win() {
        let mut with_header = route("beta", "a.test", "/api");
        with_header.headers = vec![(
            HeaderName::from_static("x-beta"),
            HeaderValue::from_static("1"),
        )];
        let routes = vec![
            route("web", "a.test", "/"),
            route("api", "a.test", "/api"),
            with_header,
            route("wide", "*.test", "/"),
            route("only", "b.test", "/only"),
        ];
        let stand = StandRoutes {
            routes,
            ..StandRoutes::default()
        };
        let entries = Entry::of(&StandName::parse("s").unwrap(), stand, &[], 1);
        let table = Table::of(entries.iter(), &Arc::default());
        assert_eq!(found(&table, "a.test", "/"), "web");
        assert_eq!(found(&table, "a.test", "/api/x"), "api");
        assert_eq!(found(&table, "a.test", "/apix"), "web");
        assert_eq!(found(&table, "x.y.test", "/"), "wide");
        assert_eq!(found(&table, "b.test", "/other"), "wide");
        assert_eq!(found(&table, "test", "/"), "no host");
        let mut headers = HeaderMap::new();
        headers.insert("x-beta", HeaderValue::from_static("1"));
        assert!(
            matches!(table.find("a.test", "/api", &headers), Found::Route(e, _) if e.route.service == "beta")
        );
    }

    #[test]
    fn a_star_takes_no_name_of_our_zones_and_no_exact_host_of_others() {
        let tls = |host: &str| Route {
            protocol: RouteProtocol::Tls,
            ..route("tls", host, "/")
        };
        let routes = vec![
            tls("*.example.com"),
            tls("*.example.net"),
            route("wide", "*.example.com", "/"),
            route("wide", "*.com", "/"),
            route("shop", "shop.dev.example.com", "/"),
            route("own", "*.shop.dev.example.com", "/"),
            route("upper", "upper.example.net", "/"),
            route("near", "*.near.example.net", "/"),
        ];
        let stand = StandRoutes {
            routes,
            ..StandRoutes::default()
        };
        let entries = Entry::of(&StandName::parse("f").unwrap(), stand, &[], 1);
        let zones = ["dev.example.com".to_owned(), "localhost".to_owned()];
        let table = Table::of(entries.iter(), &Arc::from(zones));
        for (host, leads, is_passed) in [
            ("shop.dev.example.com", "shop", false),
            ("login.shop.dev.example.com", "own", false),
            ("new.dev.example.com", "no host", false),
            ("dev.example.com", "no host", false),
            ("notdev.example.com", "wide", true),
            ("upper.example.net", "upper", false),
            ("x.near.example.net", "near", false),
            ("other.example.net", "no host", true),
        ] {
            assert_eq!(found(&table, host, "/"), leads, "{host}");
            assert_eq!(table.passed(host).is_some(), is_passed, "{host}");
            assert_eq!(
                table.has_host(host),
                is_passed || leads != "no host",
                "{host}"
            );
        }
    }

    #[test]
    fn a_host_is_of_the_stand_that_had_it_first_until_that_is_gone() {
        let name = |text: &str| StandName::parse(text).unwrap();
        let entries = |stand: &str, since_ms, routes| {
            let wanted = StandRoutes {
                routes,
                since_ms,
                ..StandRoutes::default()
            };
            Entry::of(&name(stand), wanted, &[], 1)
        };
        let tls = |host: &str| Route {
            protocol: RouteProtocol::Tls,
            ..route("tls", host, "/")
        };
        let first = entries(
            "shop",
            1,
            vec![
                route("shop", "a.test", "/"),
                route("shop", "*.wild.test", "/"),
                route("shop", "part.wild.test", "/part"),
                route("shop", "b.test", "/only"),
                tls("sni.test"),
            ],
        );
        let later = entries(
            "f",
            2,
            vec![
                route("f", "a.test", "/login"),
                route("f", "*.wild.test", "/"),
                route("f", "*.test", "/"),
                route("f", "sni.test", "/"),
                tls("a.test"),
                tls("sni.test"),
            ],
        );
        let both = Table::of(later.iter().chain(&first), &Arc::default());
        for (host, path, leads) in [
            ("a.test", "/login", "shop"),
            ("x.wild.test", "/", "shop"),
            ("part.wild.test", "/", "shop"),
            ("b.test", "/only", "shop"),
            ("b.test", "/other", "no path"),
            ("c.test", "/", "f"),
        ] {
            assert_eq!(found(&both, host, path), leads, "{host}{path}");
        }
        assert!(both.passed("a.test").is_none());
        assert_eq!(both.passed("sni.test").unwrap().stand, name("shop"));
        let taken = |host: &str| TakenHost {
            stand: name("f"),
            host: host.into(),
            by: name("shop"),
        };
        let all = ["*.wild.test", "a.test", "sni.test"].map(taken);
        assert_eq!(*both.taken(), BTreeSet::from(all));
        let alone = Table::of(later.iter(), &Arc::default());
        assert_eq!(found(&alone, "a.test", "/login"), "f");
        assert!(alone.taken().is_empty() && alone.passed("a.test").is_some());
    }
}
