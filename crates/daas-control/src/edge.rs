//! Configuration for an edge that a team has already: Traefik, nginx or haproxy sends the hosts of stands to the ingress, which knows everything else.
//!
//! A host becomes text only if it is a host name by the ingress's own grammar, so that nothing of a project file can end a line or a rule of
//! somebody else's configuration (CVE-2021-25748).

use crate::routes::Outside;
use daas_api::{
    EdgeQuery, EdgeSnippet, Failure, TraefikConfig, TraefikHttp, TraefikRouter, TraefikServer,
    TraefikServers, TraefikService,
};
use daas_model::{Kind, StandName};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The host names of stands.
pub(crate) type Hosts = BTreeMap<StandName, BTreeSet<String>>;

/// What the ingress is called there.
const NAME: &str = "daas";

/// Returns what Traefik's HTTP provider reads.
pub(crate) fn traefik(
    hosts: &Hosts,
    outside: &Outside,
    query: &EdgeQuery,
) -> Result<TraefikConfig, Failure> {
    let url = format!("http://{}", ingress(outside, query)?);
    let router = |(stand, hosts): (&StandName, &BTreeSet<String>)| {
        let rules: Vec<String> = sound(hosts, outside).map(rule).collect();
        let router = TraefikRouter {
            rule: rules.join(" || "),
            service: NAME.into(),
        };
        (!rules.is_empty()).then(|| (format!("{NAME}-{stand}"), router))
    };
    let routers: BTreeMap<_, _> = hosts.iter().filter_map(router).collect();
    let service = TraefikService {
        load_balancer: TraefikServers {
            servers: vec![TraefikServer { url }],
            pass_host_header: true,
        },
    };
    let services = BTreeMap::from([(NAME.to_owned(), service)]);
    Ok(TraefikConfig {
        http: (!routers.is_empty()).then_some(TraefikHttp { routers, services }),
    })
}

fn rule(host: &str) -> String {
    match host.strip_prefix("*.") {
        Some(rest) => format!("HostRegexp(`^.+\\.{}$`)", rest.replace('.', "\\.")),
        None => format!("Host(`{host}`)"),
    }
}

/// Returns a file for `edge`.
pub(crate) fn snippet(
    edge: &str,
    hosts: &Hosts,
    outside: &Outside,
    query: &EdgeQuery,
) -> Result<EdgeSnippet, Failure> {
    let to = ingress(outside, query)?;
    let all: BTreeSet<&str> = hosts
        .values()
        .flat_map(|hosts| sound(hosts, outside))
        .collect();
    let (edge, text) = match edge {
        "nginx" => ("nginx", nginx(&all, &to, &listen(query, "80")?)),
        "haproxy" => ("haproxy", haproxy(&all, &to, &listen(query, ":80")?)),
        other => {
            let why = format!("cannot write configuration for `{}`", other.escape_debug());
            return Err(Failure::new("edge-unknown", Kind::Input, why)
                .hint("`traefik`, `nginx` or `haproxy`"));
        }
    };
    Ok(EdgeSnippet {
        edge: edge.into(),
        hosts: all.into_iter().map(ToOwned::to_owned).collect(),
        text,
    })
}

/// Returns the hosts that are names by the grammar of the ingress. Names of this machine alone stay out where there are others.
fn sound<'a>(hosts: &'a BTreeSet<String>, outside: &'a Outside) -> impl Iterator<Item = &'a str> {
    let local = |host: &str| host.ends_with(".localhost") || host.ends_with(".internal");
    let named = hosts
        .iter()
        .filter(|host| daas_ingress::is_name(host.strip_prefix("*.").unwrap_or(host)));
    named
        .map(String::as_str)
        .filter(move |host| outside.zone.is_none() || !local(host))
}

/// Returns where the edge reaches the ingress.
fn ingress(outside: &Outside, query: &EdgeQuery) -> Result<String, Failure> {
    if let Some(to) = &query.to {
        let named = to
            .rsplit_once(':')
            .is_some_and(|(host, port)| daas_ingress::is_name(host) && port.parse::<u16>().is_ok());
        return if named || to.parse::<SocketAddr>().is_ok() {
            Ok(to.clone())
        } else {
            Err(bad(
                "to",
                to,
                "`address:port` or `name:port`, `10.0.0.5:8080`",
            ))
        };
    }
    let Some(port) = outside.http else {
        let why = "cannot tell an edge where the ingress is: it listens nowhere for plain HTTP";
        return Err(Failure::new("edge-no-listener", Kind::Conflict, why)
            .hint("`ingress.listen` in the configuration names addresses, `127.0.0.1:8080` for an edge on this machine"));
    };
    let ip = match outside.listen.first() {
        Some(IpAddr::V4(ip)) if !ip.is_unspecified() => IpAddr::V4(*ip),
        Some(IpAddr::V6(ip)) if !ip.is_unspecified() => IpAddr::V6(*ip),
        Some(IpAddr::V6(_)) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        Some(IpAddr::V4(_)) | None => IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    Ok(SocketAddr::new(ip, port).to_string())
}

/// Returns where the edge listens: a port, or an address with one.
fn listen(query: &EdgeQuery, usual: &str) -> Result<String, Failure> {
    let Some(listen) = &query.listen else {
        return Ok(usual.to_owned());
    };
    if listen.parse::<u16>().is_ok() {
        return Ok(if usual.starts_with(':') {
            format!(":{listen}")
        } else {
            listen.clone()
        });
    }
    match listen.parse::<SocketAddr>() {
        Ok(address) => Ok(address.to_string()),
        Err(_) => Err(bad("listen", listen, "a port, or `address:port`")),
    }
}

fn bad(what: &str, text: &str, hint: &str) -> Failure {
    let why = format!("cannot understand `{what}`: `{}`", text.escape_debug());
    Failure::new("edge-address", Kind::Input, why).hint(hint)
}

fn nginx(hosts: &BTreeSet<&str>, to: &str, listen: &str) -> String {
    if hosts.is_empty() {
        return "# No stand answers by name.\n".to_owned();
    }
    let names = hosts
        .iter()
        .map(|host| format!("\n        {host}"))
        .collect::<String>();
    format!(
        "\
# Hosts of the stands of DaaS; write it anew with `daas route export nginx` when they change.
map $http_upgrade $daas_connection {{
    default upgrade;
    \"\"      \"\";
}}
upstream daas {{
    server {to};
    keepalive 32;
}}
server {{
    listen {listen};
    server_name{names};
    client_max_body_size 0;
    location / {{
        proxy_pass http://daas;
        proxy_http_version 1.1;
        proxy_set_header Host $http_host;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection $daas_connection;
        proxy_buffering off;
        proxy_request_buffering off;
        proxy_read_timeout 1h;
    }}
}}
"
    )
}

fn haproxy(hosts: &BTreeSet<&str>, to: &str, listen: &str) -> String {
    if hosts.is_empty() {
        return "# No stand answers by name.\n".to_owned();
    }
    // One line for each: haproxy takes at most 64 words in one.
    let exact = hosts.iter().filter(|host| !host.starts_with('*'));
    let wide = hosts.iter().filter_map(|host| host.strip_prefix('*'));
    let rules =
        exact
            .map(|host| format!("    acl daas_host req.hdr(host),host_only,lower -m str {host}\n"))
            .chain(wide.map(|rest| {
                format!("    acl daas_host req.hdr(host),host_only,lower -m end {rest}\n")
            }))
            .collect::<String>();
    format!(
        "\
# Hosts of the stands of DaaS; write it anew with `daas route export haproxy` when they change.
frontend daas
    mode http
    bind {listen}
    timeout client 1h
    option forwardfor
    http-request set-header X-Forwarded-Proto https if {{ ssl_fc }}
    http-request set-header X-Forwarded-Proto http unless {{ ssl_fc }}
{rules}    use_backend daas if daas_host

backend daas
    mode http
    timeout connect 5s
    timeout server 1h
    timeout tunnel 1h
    http-reuse safe
    server daas {to}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outside(zone: Option<&str>) -> Outside {
        Outside {
            zone: zone.map(ToOwned::to_owned),
            http: Some(8080),
            listen: vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED)],
            ..Outside::default()
        }
    }

    fn hosts(list: &[&str]) -> Hosts {
        let all = list.iter().map(|host| (*host).to_owned()).collect();
        Hosts::from([(StandName::parse("shop").unwrap(), all)])
    }

    #[test]
    fn traefik_gets_a_rule_for_each_host_and_nothing_where_there_is_none() {
        let all = hosts(&[
            "shop.dev.example.com",
            "*.shop.example.org",
            "shop.localhost",
            "x`) || Host(`y",
        ]);
        let config = traefik(
            &all,
            &outside(Some("dev.example.com")),
            &EdgeQuery::default(),
        )
        .unwrap();
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(
            text,
            r#"{"http":{"routers":{"daas-shop":{"rule":"HostRegexp(`^.+\\.shop\\.example\\.org$`) || Host(`shop.dev.example.com`)","service":"daas"}},"services":{"daas":{"loadBalancer":{"servers":[{"url":"http://127.0.0.1:8080"}],"passHostHeader":true}}}}}"#
        );
        let none = traefik(&Hosts::new(), &outside(None), &EdgeQuery::default()).unwrap();
        assert_eq!(serde_json::to_string(&none).unwrap(), "{}");
    }

    #[test]
    fn no_word_of_a_project_or_a_question_ends_a_line_of_the_configuration() {
        let all = hosts(&["shop.localhost", "a;\nserver{", "b c", "$x"]);
        for edge in ["nginx", "haproxy"] {
            let one = snippet(edge, &all, &outside(None), &EdgeQuery::default()).unwrap();
            assert_eq!(one.hosts, ["shop.localhost"]);
        }
        for text in ["10.0.0.1", "x y:80", "a:80;", "a:99999", "a\nb:80"] {
            let query = EdgeQuery {
                to: Some(text.into()),
                listen: None,
            };
            assert!(
                snippet("nginx", &all, &outside(None), &query).is_err(),
                "{text:?}"
            );
            let query = EdgeQuery {
                to: None,
                listen: Some(text.into()),
            };
            assert!(
                snippet("haproxy", &all, &outside(None), &query).is_err(),
                "{text:?}"
            );
        }
        let nowhere = Outside {
            http: None,
            ..outside(None)
        };
        assert!(snippet("nginx", &all, &nowhere, &EdgeQuery::default()).is_err());
        assert!(snippet("caddy", &all, &outside(None), &EdgeQuery::default()).is_err());
    }
}
