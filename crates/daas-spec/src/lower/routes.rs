//! `x-daas: routes:`: the ways from outside that the file names.

use super::Desk;
use crate::nearest::nearest;
use crate::node::{At, Map, Node};
use crate::template::short;
use crate::value::{self, Pair};
use daas_model::{
    ForwardAuth, Rate, Redirect, RouteProtocol, RouteSpec, ServiceName, Span, Subnet,
};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The most routes of one project.
const MOST: usize = 200;
/// The least length of a link's secret: it stands in URLs and is all that keeps strangers out.
const SECRET: usize = 16;

/// Reads the routes. What is wrong with one of them is told, and the others are read all the same.
pub(super) fn routes(desk: &mut Desk<'_, '_>, node: &Node) -> Vec<RouteSpec> {
    let list = value::list(desk.report(), node, "`x-daas.routes`");
    if list.len() > MOST {
        desk.report().error(
            node.at,
            "routes-too-many",
            format!("the project has {} routes", list.len()),
            format!("at most {MOST}"),
        );
        return Vec::new();
    }
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut routes = Vec::new();
    for item in list {
        let Some(route) = route(desk, item) else {
            continue;
        };
        // Hosts that are none have been told already; the route does not answer at the usual names instead.
        let is_named = !route.hosts.is_empty() || !names_hosts(item);
        for key in keys(&route).into_iter().filter(|_| is_named) {
            if !seen.insert(key.clone()) {
                desk.report().error(
                    item.at,
                    "route-twice",
                    format!("two routes answer at {key}"),
                    "give one of them another host, path, header or port",
                );
            }
        }
        routes.push(route);
    }
    routes
}

/// Tells whether a route says at which hosts it answers.
fn names_hosts(item: &Node) -> bool {
    item.as_map()
        .is_some_and(|map| map.get("host").or_else(|| map.get("hosts")).is_some())
}

/// Returns what no two routes may have in common.
fn keys(route: &RouteSpec) -> Vec<String> {
    if let Some(port) = route.listen
        && !route.protocol.is_by_name()
    {
        let kind = if route.protocol == RouteProtocol::Udp {
            "udp"
        } else {
            "tcp"
        };
        if route.hosts.is_empty() {
            return vec![format!("port {port}/{kind}")];
        }
        return route
            .hosts
            .iter()
            .map(|host| format!("{host} at port {port}/{kind}"))
            .collect();
    }
    let headers: String = route
        .headers
        .iter()
        .map(|(name, value)| format!(" with {name}: {value}"))
        .collect();
    // Pages at a host and what passes by its name are both there: one over plain HTTP, the other over TLS.
    let what = if route.protocol == RouteProtocol::Tls {
        " over TLS"
    } else {
        ""
    };
    let place = |host: &str| format!("{host}{}{headers}{what}", route.path);
    if route.hosts.is_empty() {
        return vec![place(&format!("the names of `{}`, ", route.service))];
    }
    route.hosts.iter().map(|host| place(host)).collect()
}

fn route(desk: &mut Desk<'_, '_>, node: &Node) -> Option<RouteSpec> {
    let Some(map) = node.as_map() else {
        // The short form: `web`, `web:8080`.
        let text = value::text(desk.report(), node, "a route of `x-daas.routes`")?;
        let (name, port) = match text.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        };
        let mut route = RouteSpec::new(service(desk, node, name)?);
        if let Some(port) = port {
            route.port = Some(short_port(desk, node, port)?);
        }
        return Some(route);
    };
    let Some(named) = map.get("service") else {
        desk.report().error(
            node.at,
            "route-no-service",
            "a route names no service",
            "write `service: web`",
        );
        return None;
    };
    let name = value::text(desk.report(), named, "`service` of a route")?.to_owned();
    let mut route = RouteSpec::new(service(desk, named, &name)?);
    place(desk, map, &mut route);
    change(desk, map, &mut route);
    guard(desk, map, &mut route);
    check(desk, node.at, map, &route);
    Some(route)
}

fn short_port(desk: &mut Desk<'_, '_>, node: &Node, text: &str) -> Option<u16> {
    let port = text.parse().ok().filter(|port| *port > 0);
    if port.is_none() {
        desk.report().error(
            node.at,
            "route-port",
            format!("`{}` is no port", short(text)),
            "write `service:port`, or only the service",
        );
    }
    port
}

fn service(desk: &mut Desk<'_, '_>, node: &Node, name: &str) -> Option<ServiceName> {
    let services = desk.section("services");
    if services.iter().any(|entry| entry.key == name) {
        return ServiceName::parse(name).ok();
    }
    let near = nearest(name, services.iter().map(|entry| entry.key.as_str()));
    let hint = near.map_or_else(
        || "a route leads to a service of this project".to_owned(),
        |near| format!("did you mean `{near}`?"),
    );
    desk.report().error(
        node.at,
        "route-service-unknown",
        format!(
            "a route leads to `{}`, and there is no such service",
            short(name)
        ),
        hint,
    );
    None
}

/// Reads where a route answers and what it leads to.
fn place(desk: &mut Desk<'_, '_>, map: &Map, route: &mut RouteSpec) {
    let port = |desk: &mut Desk<'_, '_>, key: &str| {
        map.get(key).and_then(|n| {
            value::integer(
                desk.report(),
                n,
                &format!("`{key}` of a route"),
                1,
                u16::MAX,
            )
        })
    };
    route.port = port(desk, "port");
    route.listen = port(desk, "listen");
    if let Some(node) = map
        .get("listen")
        .filter(|_| route.listen.is_some_and(|port| port < 1024))
    {
        desk.report().error(
            node.at,
            "route-listen-low",
            "ports below 1024 belong to the host",
            "choose one from 1024 on",
        );
    }
    if let Some(node) = map.get("protocol") {
        route.protocol = protocol(desk, node).unwrap_or_default();
    }
    for key in ["host", "hosts"] {
        let Some(node) = map.get(key) else { continue };
        for (text, at) in value::texts(desk.report(), node, &format!("`{key}` of a route")) {
            match host(text) {
                Some(host) => route.hosts.push(host),
                None => desk.report().error(
                    at,
                    "route-host",
                    format!("`{}` is no host name", short(text)),
                    "write a label (`api` becomes `api.<stand>.<zone>`), `@` for the stand's own name, or a whole name (`shop.example.com`, `*.example.com`)",
                ),
            }
        }
    }
    if let Some(node) = map.get("path")
        && let Some(path) = path(desk, node, "path")
    {
        route.path = path;
    }
    for pair in pairs(desk, map, "headers") {
        if let Some(name) = header(desk, &pair) {
            route.headers.insert(name, pair.value.unwrap_or_default());
        }
    }
}

/// Reads what is changed on the way.
fn change(desk: &mut Desk<'_, '_>, map: &Map, route: &mut RouteSpec) {
    let flag = |desk: &mut Desk<'_, '_>, key: &str| {
        map.get(key)
            .and_then(|n| value::boolean(desk.report(), n, &format!("`{key}` of a route")))
            .unwrap_or(false)
    };
    route.strip_prefix = flag(desk, "strip_prefix");
    route.sticky = flag(desk, "sticky");
    route.compress = flag(desk, "compress");
    route.add_prefix = map
        .get("add_prefix")
        .and_then(|n| path(desk, n, "add_prefix"))
        .filter(|path| path != "/");
    route.redirect = map.get("redirect").and_then(|n| redirect(desk, n));
    for (key, request) in [("request_headers", true), ("response_headers", false)] {
        for pair in pairs(desk, map, key) {
            if let Some(name) = header(desk, &pair) {
                let into = if request {
                    &mut route.request_headers
                } else {
                    &mut route.response_headers
                };
                into.insert(name, pair.value.unwrap_or_default());
            }
        }
    }
    if let Some(retries) = map
        .get("retries")
        .and_then(|n| value::integer(desk.report(), n, "`retries` of a route", 0, 10))
    {
        route.retries = retries;
    }
    route.timeout = map
        .get("timeout")
        .and_then(|n| value::span(desk.report(), n, "`timeout` of a route"))
        .filter(|t| !t.0.is_zero());
}

/// Reads who may pass, and how much.
fn guard(desk: &mut Desk<'_, '_>, map: &Map, route: &mut RouteSpec) {
    for pair in pairs(desk, map, "basic_auth") {
        match pair.value.filter(|password| !password.is_empty()) {
            Some(_) if pair.name.contains(':') => {
                desk.report().error(
                    pair.at,
                    "route-user",
                    format!("the name `{}` has a colon", short(&pair.name)),
                    "RFC 7617 allows none",
                );
            }
            Some(password) => drop(route.basic_auth.insert(pair.name, password)),
            None => desk.report().error(
                pair.at,
                "route-no-password",
                format!("`{}` has no password", short(&pair.name)),
                "write `name: password`; `${VARIABLE}` keeps it out of the file",
            ),
        }
    }
    route.forward_auth = map.get("forward_auth").and_then(|n| forward_auth(desk, n));
    if let Some(node) = map.get("link_secret")
        && let Some(secret) = value::text(desk.report(), node, "`link_secret` of a route")
    {
        if secret.len() < SECRET
            || !secret
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        {
            desk.report().error(
                node.at,
                "route-secret",
                "a link's secret is too short, or cannot stand in a URL",
                format!("at least {SECRET} letters, digits, `-` and `_`"),
            );
        }
        route.link_secret = Some(secret.to_owned());
    }
    if let Some(node) = map.get("allow") {
        for (text, at) in value::texts(desk.report(), node, "`allow` of a route") {
            match subnet(text) {
                Some(subnet) => route.allow.push(subnet),
                None => desk.report().error(
                    at,
                    "route-allow",
                    format!("`{}` is no address and no subnet", short(text)),
                    "write `10.0.0.0/8` or `192.0.2.1`",
                ),
            }
        }
    }
    route.rate = map.get("rate").and_then(|n| rate(desk, n));
    route.body_limit = map
        .get("body_limit")
        .and_then(|n| value::size(desk.report(), n, "`body_limit` of a route"));
}

/// Finds what does not go together.
fn check(desk: &mut Desk<'_, '_>, at: At, map: &Map, route: &RouteSpec) {
    let http = route.protocol.is_http();
    let by_name = route.protocol.is_by_name();
    if !by_name && route.listen.is_none() {
        desk.report().error(
            at,
            "route-no-listen",
            format!("a route of {} has no port on the host", route.protocol),
            "write `listen: 2222`",
        );
    }
    if by_name && let Some(node) = map.get("listen") {
        desk.report().error(
            node.at,
            "route-listen",
            "`listen` is for tcp and udp",
            "HTTP and TLS answer at the ports of the ingress, by host",
        );
    }
    if !by_name && !route.hosts.is_empty() {
        desk.report().error(
            at,
            "route-host-http-only",
            format!(
                "a route of {} answers at a port, for every name",
                route.protocol
            ),
            "leave `host` out",
        );
    }
    if !http {
        const HTTP_ONLY: [&str; 14] = [
            "path",
            "headers",
            "strip_prefix",
            "add_prefix",
            "redirect",
            "request_headers",
            "response_headers",
            "basic_auth",
            "forward_auth",
            "link_secret",
            "body_limit",
            "sticky",
            "compress",
            "rate",
        ];
        for key in HTTP_ONLY {
            if let Some(node) = map.get(key) {
                desk.report().error(
                    node.at,
                    "route-http-only",
                    format!(
                        "`{key}` is for HTTP, and the route is of {}",
                        route.protocol
                    ),
                    "leave it out",
                );
            }
        }
    }
    if route.strip_prefix && route.path == "/" {
        desk.report().error(
            at,
            "route-strip",
            "there is no prefix to strip",
            "write `path: /api` too",
        );
    }
}

fn protocol(desk: &mut Desk<'_, '_>, node: &Node) -> Option<RouteProtocol> {
    let text = value::text(desk.report(), node, "`protocol` of a route")?;
    let found = RouteProtocol::ALL.into_iter().find(|p| p.as_str() == text);
    if found.is_none() {
        let near = nearest(text, RouteProtocol::ALL.map(RouteProtocol::as_str));
        let hint = near.map_or_else(
            || "write `http`, `h2c`, `grpc`, `tls`, `tcp` or `udp`".to_owned(),
            |near| format!("did you mean `{near}`?"),
        );
        desk.report().error(
            node.at,
            "route-protocol",
            format!("`{}` is no protocol of a route", short(text)),
            hint,
        );
    }
    found
}

/// Reads a host: `@`, a label, a name with dots, `*.` and a name.
fn host(text: &str) -> Option<String> {
    let text = text.to_ascii_lowercase();
    let name = text.strip_prefix("*.").unwrap_or(&text);
    if text == "@" {
        return Some(text);
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    let wide_without_dots = text.starts_with('*') && !name.contains('.');
    (name.len() <= 253 && name.split('.').all(label) && !wide_without_dots).then_some(text)
}

/// Reads a path in the form in which requests are compared with it.
fn path(desk: &mut Desk<'_, '_>, node: &Node, key: &str) -> Option<String> {
    let text = value::text(desk.report(), node, &format!("`{key}` of a route"))?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@".contains(&b);
    let whole = text.trim_end_matches('/');
    let segments_fit = whole
        .split('/')
        .skip(1)
        .all(|part| !matches!(part, "" | "." | ".."));
    if !text.starts_with('/') || !text.bytes().all(plain) || !segments_fit {
        desk.report().error(
            node.at,
            "route-path",
            format!("`{}` is no path of a route", short(text)),
            "write `/api`: no `.`, `..`, `//`, `%`, query or space",
        );
        return None;
    }
    Some(if whole.is_empty() {
        "/".to_owned()
    } else {
        whole.to_owned()
    })
}

fn redirect(desk: &mut Desk<'_, '_>, node: &Node) -> Option<Redirect> {
    let (to, status) = match node.as_map() {
        None => (
            value::text(desk.report(), node, "`redirect` of a route")?.to_owned(),
            302,
        ),
        Some(map) => {
            let to = map
                .get("to")
                .and_then(|n| value::text(desk.report(), n, "`redirect.to`"))
                .unwrap_or_default()
                .to_owned();
            let status = map
                .get("status")
                .and_then(|n| value::integer(desk.report(), n, "`redirect.status`", 301, 308))
                .unwrap_or(302);
            (to, status)
        }
    };
    if !matches!(status, 301 | 302 | 303 | 307 | 308) {
        desk.report().error(
            node.at,
            "route-redirect",
            format!("{status} is no redirect"),
            "write 301, 302, 303, 307 or 308",
        );
        return None;
    }
    let target = to.strip_suffix("$path").unwrap_or(&to);
    let fits = (target.starts_with('/') && !target.starts_with("//"))
        || target.starts_with("https://")
        || target.starts_with("http://");
    if !fits
        || target.contains("$path")
        || !to
            .bytes()
            .all(|b| (0x21..=0x7e).contains(&b) && b != b'\\' && b != b'"')
    {
        desk.report().error(
            node.at,
            "route-redirect",
            format!("`{}` is no target of a redirect", short(&to)),
            "write `https://host/path` or `/path`; a last `$$path` stands for the rest of the path",
        );
        return None;
    }
    Some(Redirect { to, status })
}

fn forward_auth(desk: &mut Desk<'_, '_>, node: &Node) -> Option<ForwardAuth> {
    let map = value::map(desk.report(), node, "`forward_auth` of a route")?;
    let Some(named) = map.get("service") else {
        desk.report().error(
            node.at,
            "route-no-service",
            "`forward_auth` names no service",
            "write `service: auth`",
        );
        return None;
    };
    let name = value::text(desk.report(), named, "`forward_auth.service`")?.to_owned();
    let port = map
        .get("port")
        .and_then(|n| value::integer(desk.report(), n, "`forward_auth.port`", 1, u16::MAX));
    let Some(port) = port else {
        desk.report().error(
            node.at,
            "route-port",
            "`forward_auth` names no port",
            "write `port: 8080`",
        );
        return None;
    };
    let mut copy_headers = Vec::new();
    if let Some(node) = map.get("copy_headers") {
        for (text, at) in value::texts(desk.report(), node, "`forward_auth.copy_headers`") {
            copy_headers.extend(header_name(desk, text, at));
        }
    }
    let path = map
        .get("path")
        .and_then(|n| path(desk, n, "forward_auth.path"))
        .unwrap_or_else(|| "/".to_owned());
    Some(ForwardAuth {
        service: service(desk, named, &name)?,
        port,
        path,
        copy_headers,
    })
}

fn pairs(desk: &mut Desk<'_, '_>, map: &Map, key: &str) -> Vec<Pair> {
    map.get(key).map_or_else(Vec::new, |node| {
        value::pairs(desk.report(), node, &format!("`{key}` of a route"))
    })
}

/// Reads a header; one that belongs to the connection or says who came is not for a file.
fn header(desk: &mut Desk<'_, '_>, pair: &Pair) -> Option<String> {
    let value = pair.value.as_deref().unwrap_or_default();
    if !value
        .bytes()
        .all(|b| b == b'\t' || (0x20..0x7f).contains(&b))
    {
        desk.report().error(
            pair.at,
            "route-header",
            format!(
                "the value of `{}` has a character that no header may have",
                short(&pair.name)
            ),
            "visible ASCII and spaces only",
        );
        return None;
    }
    header_name(desk, &pair.name, pair.at)
}

fn header_name(desk: &mut Desk<'_, '_>, text: &str, at: At) -> Option<String> {
    const OURS: [&str; 9] = [
        "connection",
        "content-length",
        "transfer-encoding",
        "te",
        "upgrade",
        "host",
        "keep-alive",
        "trailer",
        "forwarded",
    ];
    let name = text.to_ascii_lowercase();
    let is_token = !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
    if !is_token || OURS.contains(&name.as_str()) || name.starts_with("x-forwarded-") {
        desk.report().error(
            at,
            "route-header",
            format!("`{}` is no header that a route can name", short(text)),
            "headers of the connection and of who came are the ingress's own",
        );
        return None;
    }
    Some(name)
}

fn subnet(text: &str) -> Option<Subnet> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(Subnet {
            address: ip,
            prefix: if ip.is_ipv4() { 32 } else { 128 },
        });
    }
    Subnet::parse(text).ok()
}

/// Reads `10/s`, `100/m`, `5/10s`.
fn rate(desk: &mut Desk<'_, '_>, node: &Node) -> Option<Rate> {
    let text = value::text(desk.report(), node, "`rate` of a route")?;
    let read = || {
        let (requests, per) = text.split_once('/')?;
        let per = per.trim();
        let per = if per.starts_with(|c: char| c.is_ascii_digit()) {
            per.to_owned()
        } else {
            format!("1{per}")
        };
        let (requests, per) = (requests.trim().parse().ok()?, Span::parse(&per).ok()?);
        (requests > 0 && !per.0.is_zero()).then_some(Rate { requests, per })
    };
    let rate = read();
    if rate.is_none() {
        desk.report().error(
            node.at,
            "route-rate",
            format!("`{}` is no rate", short(text)),
            "write requests of one client, a stroke and a time: `10/s` is ten in a second, `100/m` a hundred in a minute, `1000/h` a thousand in an hour, `5/10s` five in ten seconds",
        );
    }
    rate
}
