//! Host names as requests bear them.

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The most bytes of a host name (RFC 1035 section 2.3.4).
const MOST: usize = 253;

/// Returns the name of `authority` (`host`, `host:port`, `[address]:port`) without port and last dot, in lower case; nothing if it is
/// no host.
///
/// Stricter than RFC 3986 section 3.2.2: letters, digits, `-`, `_` and dots, or an address in brackets. Whatever else a back end might
/// understand in its own way (`user@`, `%41`, commas, empty labels) is no host here.
#[must_use]
pub fn host_of(authority: &str) -> Option<Cow<'_, str>> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (inside, after) = rest.split_once(']')?;
            inside.parse::<std::net::Ipv6Addr>().ok()?;
            let port = match after {
                "" => None,
                after => Some(after.strip_prefix(':')?),
            };
            (&authority[..inside.len() + 2], port)
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    if let Some(port) = port
        && (port.is_empty() || port.len() > 5 || !port.bytes().all(|b| b.is_ascii_digit()))
    {
        return None;
    }
    if host.starts_with('[') {
        return Some(lower(host));
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    is_name(host).then(|| lower(host))
}

/// Tells whether `host` is a host name: labels of letters, digits, `-` and `_`, none of them empty.
#[must_use]
pub fn is_name(host: &str) -> bool {
    !host.is_empty()
        && host.len() <= MOST
        && host.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        })
}

/// Returns a name without the address that stands before its zone, as in `web.shop-7.192-168-1-10.<zone>`; nothing if there is none.
pub(crate) fn without_address(host: &str, zones: &[String]) -> Option<String> {
    let before = |zone: &String| host.strip_suffix(zone.as_str())?.strip_suffix('.');
    let (names, zone) = zones.iter().find_map(|zone| Some((before(zone)?, zone)))?;
    let (names, label) = names.rsplit_once('.')?;
    // As the name server reads it: `--` stands for the zeros that `::` leaves out.
    let is_address = label.replace('-', ".").parse::<Ipv4Addr>().is_ok()
        || label.contains('-') && label.replace('-', ":").parse::<Ipv6Addr>().is_ok();
    is_address.then(|| format!("{names}.{zone}"))
}

fn lower(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(text.to_ascii_lowercase())
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_lose_port_case_and_last_dot() {
        for (text, host) in [
            ("a.test", "a.test"),
            ("A.Test:80", "a.test"),
            ("a.test.:8080", "a.test"),
            ("[::1]:80", "[::1]"),
            ("127.0.0.1", "127.0.0.1"),
        ] {
            assert_eq!(host_of(text).as_deref(), Some(host), "{text}");
        }
    }

    #[test]
    fn an_address_before_the_zone_is_left_out() {
        let zones = ["daas.internal".to_owned()];
        for (host, plain) in [
            (
                "web.shop-7.192-168-1-10.daas.internal",
                Some("web.shop-7.daas.internal"),
            ),
            ("shop.fd00--1.daas.internal", Some("shop.daas.internal")),
            ("192-168-1-10.daas.internal", None),
            ("web.shop-7.daas.internal", None),
            ("shop.10-0-0-1.example.com", None),
        ] {
            assert_eq!(without_address(host, &zones).as_deref(), plain, "{host}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for text in [
            "",
            ".",
            "a..b",
            "user@a.test",
            "a.test:",
            "a.test:80a",
            "a.test:123456",
            "a%2etest",
            "a,b",
            "a b",
            "a/b",
            "[::1",
            "[x]",
            "[::1]80",
            "a\tb",
            "ä.test",
            "a.test#",
        ] {
            assert_eq!(host_of(text), None, "{text:?}");
        }
    }
}
