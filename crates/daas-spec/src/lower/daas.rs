//! `x-daas`: what is ours in the file.

use super::Desk;
use crate::nearest::nearest;
use crate::node::Node;
use crate::request::LimitsOver;
use crate::template::short;
use crate::value;
use daas_model::{Egress, Limits, RouteSpec, Span};

/// What the file and the caller want of the whole stand.
pub(super) struct Wishes {
    pub(super) limits: Limits,
    pub(super) egress: Egress,
    pub(super) ttl: Option<Span>,
    pub(super) routes: Vec<RouteSpec>,
    pub(super) sleep_after: Option<Span>,
}

/// Reads `x-daas`; the caller's wishes stand above it, the defaults below.
pub(super) fn wishes(desk: &mut Desk<'_, '_>) -> Wishes {
    let request = desk.reading.request;
    let mut limits = LimitsOver::default();
    let (mut egress, mut ttl) = (None, None);
    let (mut routes, mut sleep_after) = (Vec::new(), None);
    if let Some(map) = desk.root.get("x-daas").and_then(Node::as_map) {
        if let Some(node) = map.get("limits")
            && let Some(map) = value::map(desk.report(), node, "`x-daas.limits`")
        {
            limits.cpus = map
                .get("cpus")
                .and_then(|n| value::cpus(desk.report(), n, "`x-daas.limits.cpus`"));
            limits.memory = map
                .get("memory")
                .and_then(|n| value::size(desk.report(), n, "`x-daas.limits.memory`"));
            limits.pids = map.get("pids").and_then(|n| {
                value::integer(desk.report(), n, "`x-daas.limits.pids`", 1, 4_194_304)
            });
            limits.disk = map
                .get("disk")
                .and_then(|n| value::size(desk.report(), n, "`x-daas.limits.disk`"));
            for (key, size) in [("memory", limits.memory), ("disk", limits.disk)] {
                if let (Some(size), Some(node)) = (size, map.get(key))
                    && size.0 < 16 << 20
                {
                    desk.report().error(
                        node.at,
                        "memory-too-small",
                        format!("`x-daas.limits.{key}` is {size}"),
                        "a stand needs at least 16 MiB; was a unit forgotten, as in `512m`?",
                    );
                }
            }
        }
        egress = map.get("egress").and_then(|n| self::egress(desk, n));
        ttl = map
            .get("ttl")
            .and_then(|n| value::span(desk.report(), n, "`x-daas.ttl`"))
            .filter(|t| !t.0.is_zero());
        if let Some(node) = map.get("routes") {
            routes = super::routes::routes(desk, node);
        }
        sleep_after = map
            .get("sleep_after")
            .and_then(|n| value::span(desk.report(), n, "`x-daas.sleep_after`"))
            .filter(|t| !t.0.is_zero());
        if let (Some(_), Some(node)) = (sleep_after, map.get("sleep_after")) {
            tell_who_wakes_nobody(desk, node, &routes);
        }
    }
    Wishes {
        limits: request.limits.over(limits.over(request.defaults)),
        egress: request.egress.or(egress).unwrap_or_default(),
        ttl: request.ttl.or(ttl),
        routes,
        sleep_after,
    }
}

/// Tells of routes that a stand which sleeps answers nobody by.
fn tell_who_wakes_nobody(desk: &mut Desk<'_, '_>, node: &Node, routes: &[RouteSpec]) {
    let Some(route) = routes.iter().find(|route| !route.protocol.is_http()) else {
        return;
    };
    desk.report().warn(
        node.at,
        "sleep-wakes-by-http",
        format!(
            "while the stand sleeps, its route of `{}` by {} answers nobody",
            route.service, route.protocol
        ),
        "only requests of HTTP wake a stand; leave `sleep_after` out if others must reach it at any time",
    );
}

fn egress(desk: &mut Desk<'_, '_>, node: &Node) -> Option<Egress> {
    match value::text(desk.report(), node, "`x-daas.egress`")? {
        "none" => Some(Egress::None),
        "proxy" => Some(Egress::Proxy),
        "full" => Some(Egress::Full),
        other => {
            let near = nearest(other, ["none", "proxy", "full"]);
            let hint = near.map_or_else(
                || "write `none`, `proxy` or `full`".to_owned(),
                |n| format!("did you mean `{n}`?"),
            );
            desk.report().error(
                node.at,
                "egress-unknown",
                format!("`x-daas.egress` is `{}`", short(other)),
                hint,
            );
            None
        }
    }
}
