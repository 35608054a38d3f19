//! Host names as requests bear them.

use std::borrow::Cow;

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
