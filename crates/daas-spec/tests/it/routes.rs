//! `x-daas: routes:`, and what is wrong with them.

use crate::support::{read, spec};
use daas_model::{RouteProtocol, Severity, Span};

fn project(routes: &str) -> String {
    format!(
        "services:\n  web: {{image: nginx}}\n  auth: {{image: nginx}}\nx-daas:\n  sleep_after: 30m\n  routes:\n{routes}"
    )
}

#[test]
fn every_key_of_a_route_is_read() {
    let text = project(
        r#"    - web
    - web:8080
    - service: web
      port: 3000
      host: [api, "*.example.com"]
      path: /api/
      headers: {X-Beta: "1"}
      strip_prefix: true
      add_prefix: /v2
      request_headers: {X-From: outside, Cookie: ""}
      response_headers: [Server=]
      basic_auth: {ann: geheim}
      forward_auth: {service: auth, port: 4180, path: /check, copy_headers: [X-User]}
      link_secret: abcdefgh-ijklmnop
      allow: [10.0.0.0/8, 192.0.2.1]
      rate: 100/m
      body_limit: 10 MiB
      retries: 0
      sticky: true
      compress: true
      timeout: 30s
      protocol: h2c
    - {service: web, host: old, redirect: {to: "https://new.example.com/$path", status: 308}}
    - {service: web, protocol: tcp, port: 22, listen: 2222}
"#,
    );
    // Two routes of the usual names are one too many.
    let outcome = read(&text.replace("    - web\n", ""));
    let stand = spec(&outcome);
    assert_eq!(stand.sleep_after, Some(Span::secs(1800)));
    assert_eq!(stand.routes.len(), 4);
    assert_eq!(stand.routes[0].port, Some(8080));
    let route = &stand.routes[1];
    assert_eq!(
        (route.hosts.as_slice(), route.path.as_str()),
        (&["api".to_owned(), "*.example.com".to_owned()][..], "/api")
    );
    assert_eq!(route.protocol, RouteProtocol::H2c);
    assert_eq!(route.rate.unwrap().per, Span::secs(60));
    assert_eq!(
        route.forward_auth.as_ref().unwrap().copy_headers,
        ["x-user"]
    );
    assert_eq!(route.request_headers["cookie"], "");
    assert_eq!(stand.routes[2].redirect.as_ref().unwrap().status, 308);
    assert_eq!(stand.routes[3].listen, Some(2222));
}

#[test]
fn every_fault_of_a_route_has_a_place_and_a_hint() {
    for (route, code) in [
        ("wbe", "route-service-unknown"),
        ("web:no", "route-port"),
        ("{port: 80}", "route-no-service"),
        ("{service: web, port: 0}", "number-wrong"),
        ("{service: web, host: 'a b'}", "route-host"),
        ("{service: web, host: '*'}", "route-host"),
        ("{service: web, path: api}", "route-path"),
        ("{service: web, path: /a/../b}", "route-path"),
        ("{service: web, path: /a%2e}", "route-path"),
        ("{service: web, strip_prefix: true}", "route-strip"),
        ("{service: web, redirect: 'javascript:x'}", "route-redirect"),
        (
            "{service: web, redirect: {to: /x, status: 304}}",
            "route-redirect",
        ),
        (
            "{service: web, request_headers: {Content-Length: '5'}}",
            "route-header",
        ),
        (
            "{service: web, request_headers: {'X y': '5'}}",
            "route-header",
        ),
        ("{service: web, basic_auth: {ann: ''}}", "route-no-password"),
        ("{service: web, link_secret: short}", "route-secret"),
        ("{service: web, allow: [10.0.0.1/8]}", "route-allow"),
        ("{service: web, rate: often}", "route-rate"),
        ("{service: web, protocol: htpt}", "route-protocol"),
        ("{service: web, protocol: tcp}", "route-no-listen"),
        (
            "{service: web, protocol: tls, listen: 8443}",
            "route-listen",
        ),
        ("{service: web, protocol: tls, path: /x}", "route-http-only"),
        ("{service: web, listen: 80}", "route-listen"),
        (
            "{service: web, protocol: tcp, listen: 80, path: /x}",
            "route-http-only",
        ),
        (
            "{service: web, forward_auth: {service: auth}}",
            "route-port",
        ),
        ("{service: web, tls: true}", "key-unknown"),
        (
            "{service: web, redirect: 'https://a.test/$$path/more'}",
            "route-redirect",
        ),
    ] {
        let outcome = read(&project(&format!("    - {route}\n")));
        let found = outcome.diagnostics.iter().find(|d| d.code == code);
        let Some(found) = found else {
            panic!("{route}: {:?}", outcome.diagnostics)
        };
        assert!(found.hint.is_some() && found.place.is_some(), "{found:?}");
    }
    let twice = read(&project("    - web\n    - {service: web, path: /}\n"));
    assert!(twice.diagnostics.iter().any(|d| d.code == "route-twice"));
    // Two hosts that are none are told as that, and not as one place.
    let faulty = "    - {service: web, host: 'a b'}\n    - {service: web, host: 'c d'}\n";
    let faulty = read(&project(faulty));
    assert_eq!(faulty.diagnostics.len(), 2, "{:?}", faulty.diagnostics);
}

#[test]
fn a_route_that_wakes_nobody_is_told_beside_sleep_after() {
    let warned = |routes: &str| {
        let outcome = read(&project(routes));
        let mut all = outcome.diagnostics.into_iter();
        all.any(|d| d.code == "sleep-wakes-by-http" && d.severity == Severity::Warning)
    };
    assert!(warned(
        "    - web\n    - {service: web, protocol: tcp, port: 9000, listen: 9000}\n"
    ));
    assert!(warned("    - {service: web, protocol: tls, port: 8443}\n"));
    assert!(!warned("    - web\n"));
}
