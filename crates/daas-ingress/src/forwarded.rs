//! Headers that belong to one connection, and headers that say who came.

use crate::visit::Visit;
use daas_model::{Subnet, visitor};
use hyper::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use std::net::{IpAddr, SocketAddr};

const FORWARDED: HeaderName = HeaderName::from_static("forwarded");
const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const REAL: HeaderName = HeaderName::from_static("x-real-ip");

/// Tells what becomes of a header of a visitor.
fn is_of_connection(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "te"
            | "transfer-encoding"
            | "upgrade"
            | "proxy-authorization"
            | "proxy-authenticate"
            | "http2-settings"
    )
}

/// Tells whether a header speaks of who came, in any spelling that a back end may take for it: WSGI, CGI and PHP read `_` as `-`.
fn is_testimony(name: &str) -> bool {
    let same = |prefix: &str| {
        name.len() >= prefix.len()
            && name
                .bytes()
                .zip(prefix.bytes())
                .all(|(a, b)| a == b || (a == b'_' && b == b'-'))
    };
    match name.as_bytes().first() {
        Some(b'x') => {
            same("x-forwarded")
                || same("x-real-ip")
                || same("x-original-")
                || same("x-rewrite-url")
                || same("x-client-ip")
                || same("x-cluster-client-ip")
        }
        Some(b'f') => name == "forwarded",
        Some(b't') => name == "true-client-ip",
        _ => false,
    }
}

/// Takes off what belongs to the connection (RFC 9110 section 7.6.1), with what `Connection` names.
///
/// `te: trailers` stays, which gRPC needs.
pub(crate) fn strip_connection(headers: &mut HeaderMap) {
    let trailers = headers.get(TE).is_some_and(|te| {
        te.as_bytes()
            .split(|b| *b == b',')
            .any(|t| t.trim_ascii().eq_ignore_ascii_case(b"trailers"))
    });
    let mut gone: Vec<HeaderName> = Vec::new();
    for value in headers.get_all(CONNECTION) {
        for token in value.as_bytes().split(|b| *b == b',') {
            let token = token.trim_ascii();
            if token.eq_ignore_ascii_case(b"keep-alive")
                || token.eq_ignore_ascii_case(b"close")
                || token.is_empty()
            {
                continue;
            }
            gone.extend(
                HeaderName::from_bytes(token)
                    .ok()
                    .filter(|name| name != TRAILER && name != hyper::header::HOST),
            );
        }
    }
    gone.extend(
        headers
            .keys()
            .filter(|name| is_of_connection(name.as_str()))
            .cloned(),
    );
    for name in gone {
        headers.remove(name);
    }
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// Takes off what belongs to the connection of an answer.
pub(crate) fn strip_answer(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        strip_connection(headers);
        return;
    }
    headers.remove(TRANSFER_ENCODING);
    headers.remove(UPGRADE);
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
}

/// Returns the address of the client: the peer's, or behind trusted proxies the last one that none of them is.
pub(crate) fn client(visit: &Visit, headers: &HeaderMap, trusted: &[Subnet]) -> IpAddr {
    let peer = visit.peer.ip().to_canonical();
    if !visit.trusted {
        return peer;
    }
    let said = headers.get_all(&FOR).iter();
    visitor(peer, said.filter_map(|value| value.to_str().ok()), trusted)
}

/// Returns what was said of the addresses before: several lines are one list (RFC 9110 section 5.3), as [`client`] reads them.
fn said_for(headers: &HeaderMap) -> Option<String> {
    let said = headers.get_all(&FOR).iter();
    let all: Vec<&str> = said.filter_map(|value| value.to_str().ok()).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// Returns what a trusted proxy told, with our word behind it, in the form of RFC 7239 section 4.
///
/// A `Forwarded` that came along is not continued: proxies that know the other headers only let pass what a visitor wrote there. Host and protocol
/// stand in each element, for some take them from the first and some from the last.
fn retold(chain: &HeaderValue, host: &HeaderValue, proto: &HeaderValue) -> Option<HeaderValue> {
    let (host, proto) = (host.to_str().ok()?, proto.to_str().ok()?);
    // Within quotes these two mean something.
    let host = if host.contains(['"', '\\']) {
        String::new()
    } else {
        format!(";host=\"{host}\"")
    };
    let element = |text: &str| {
        let node = match text.trim().parse::<IpAddr>() {
            Ok(IpAddr::V4(v4)) => v4.to_string(),
            Ok(IpAddr::V6(v6)) => format!("\"[{v6}]\""),
            // An address with a port is one more way to write it.
            Err(_) => match text.trim().parse::<SocketAddr>() {
                Ok(at) => format!("\"{at}\""),
                Err(_) => "unknown".to_owned(),
            },
        };
        format!("for={node}{host};proto={proto}")
    };
    let all: Vec<String> = chain.to_str().ok()?.split(',').map(element).collect();
    HeaderValue::try_from(all.join(", ")).ok()
}

/// Says who came, by which way, for which host (`X-Forwarded-*`, `X-Real-IP`, and `Forwarded` of RFC 7239).
///
/// What the visitor said about that himself is taken off, unless he is a trusted proxy: then it is continued.
pub(crate) fn testify(headers: &mut HeaderMap, visit: &Visit, host: &HeaderValue, client: IpAddr) {
    let (mut before, mut proto, mut outer_host) = (None, None, None);
    if visit.trusted {
        before = said_for(headers);
        proto = headers
            .get(&PROTO)
            .filter(|v| *v == "http" || *v == "https")
            .cloned();
        outer_host = headers.get(&HOST).cloned();
    }
    if headers.keys().any(|name| is_testimony(name.as_str())) {
        let gone: Vec<HeaderName> = headers
            .keys()
            .filter(|name| is_testimony(name.as_str()))
            .cloned()
            .collect();
        for name in gone {
            headers.remove(name);
        }
    }
    let chain = before.and_then(|list| {
        let text = format!("{list}, {}", visit.address.to_str().ok()?);
        HeaderValue::try_from(text).ok()
    });
    let real = if visit.trusted {
        HeaderValue::try_from(client.to_string()).unwrap_or_else(|_| visit.address.clone())
    } else {
        visit.address.clone()
    };
    let chain = chain.unwrap_or_else(|| visit.address.clone());
    let proto = proto.unwrap_or(HeaderValue::from_static(visit.scheme()));
    let outer_host = outer_host.unwrap_or_else(|| host.clone());
    let retold = visit.trusted.then(|| retold(&chain, &outer_host, &proto));
    let forwarded = retold.flatten().unwrap_or_else(|| visit.forwarded(host));
    headers.insert(FOR, chain);
    headers.insert(PROTO, proto);
    headers.insert(HOST, outer_host);
    headers.insert(REAL, real);
    headers.insert(FORWARDED, forwarded);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        list.iter()
            .map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v)))
            .collect()
    }

    #[test]
    fn what_connection_names_goes_with_it() {
        let mut map = headers(&[
            ("connection", "close, x-secret, Host"),
            ("x-secret", "1"),
            ("host", "a"),
            ("te", "gzip, trailers"),
            ("keep-alive", "5"),
        ]);
        strip_connection(&mut map);
        assert_eq!(map, headers(&[("host", "a"), ("te", "trailers")]));
    }

    #[test]
    fn a_stranger_does_not_testify_and_a_trusted_proxy_does() {
        let host = HeaderValue::from_static("a.test");
        let said = [
            ("x-forwarded-for", "10.0.0.9"),
            ("x_forwarded_proto", "https"),
            ("x-original-url", "/admin"),
            ("forwarded", "for=1.1.1.1"),
        ];
        let mut map = headers(&said);
        let stranger = Visit::new("192.0.2.1:5".parse().unwrap(), false, false);
        let ip = client(&stranger, &map, &[]);
        testify(&mut map, &stranger, &host, ip);
        assert_eq!(map["x-forwarded-for"], "192.0.2.1");
        assert_eq!(map["forwarded"], "for=192.0.2.1;host=\"a.test\";proto=http");
        assert!(!map.contains_key("x_forwarded_proto") && !map.contains_key("x-original-url"));
        let proxy = Visit::new("192.0.2.1:5".parse().unwrap(), false, true);
        let mut map = headers(&[
            ("x-forwarded-for", "6.6.6.6, 10.0.0.9, 192.0.2.7"),
            ("x-forwarded-proto", "https"),
        ]);
        let trusted = [Subnet::parse("192.0.2.0/24").unwrap()];
        let ip = client(&proxy, &map, &trusted);
        assert_eq!(
            ip,
            IpAddr::from([10, 0, 0, 9]),
            "what the client wrote itself is not believed"
        );
        testify(&mut map, &proxy, &host, ip);
        assert_eq!(
            map["x-forwarded-for"],
            "6.6.6.6, 10.0.0.9, 192.0.2.7, 192.0.2.1"
        );
        assert_eq!(
            (&map["x-forwarded-proto"], &map["x-real-ip"]),
            (
                &HeaderValue::from_static("https"),
                &HeaderValue::from_static("10.0.0.9")
            )
        );
    }

    #[test]
    fn what_a_proxy_says_in_several_lines_is_one_list() {
        let host = HeaderValue::from_static("a.test");
        let proxy = Visit::new("192.0.2.1:5".parse().unwrap(), false, true);
        let mut map = HeaderMap::new();
        for line in ["66.66.66.66", "10.0.0.9"] {
            map.append(FOR, HeaderValue::from_static(line));
        }
        let trusted = [Subnet::parse("192.0.2.0/24").unwrap()];
        let ip = client(&proxy, &map, &trusted);
        testify(&mut map, &proxy, &host, ip);
        let said: Vec<_> = map.get_all(&FOR).iter().collect();
        assert_eq!(said, ["66.66.66.66, 10.0.0.9, 192.0.2.1"]);
        assert_eq!(map["x-real-ip"], "10.0.0.9");
    }

    #[test]
    fn forwarded_says_the_same_as_the_other_headers() {
        let host = HeaderValue::from_static("a.test");
        let proxy = Visit::new("192.0.2.1:5".parse().unwrap(), false, true);
        let trusted = [Subnet::parse("192.0.2.0/24").unwrap()];
        let mut map = headers(&[
            ("x-forwarded-for", "no address, 2001:db8::9, 9.9.9.9"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "b.test"),
            ("forwarded", "for=6.6.6.6;host=evil.test"),
        ]);
        let ip = client(&proxy, &map, &trusted);
        testify(&mut map, &proxy, &host, ip);
        let rest = "host=\"b.test\";proto=https";
        let wanted = ["unknown", "\"[2001:db8::9]\"", "9.9.9.9", "192.0.2.1"]
            .map(|node| format!("for={node};{rest}"))
            .join(", ");
        assert_eq!(map["forwarded"], wanted);
        let mut map = headers(&[("x-forwarded-proto", "https")]);
        let ip = client(&proxy, &map, &trusted);
        testify(&mut map, &proxy, &host, ip);
        assert_eq!(
            map["forwarded"],
            "for=192.0.2.1;host=\"a.test\";proto=https"
        );
    }
}
