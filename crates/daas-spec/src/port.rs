//! The forms of a port (Compose Specification, `ports` and `expose`).

use crate::node::Node;
use daas_model::Protocol;
use std::fmt;

/// Ports in a row, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PortRange {
    pub(crate) first: u16,
    pub(crate) last: u16,
}

impl PortRange {
    pub(crate) fn len(self) -> usize {
        usize::from(self.last - self.first) + 1
    }

    pub(crate) fn nth(self, n: usize) -> Option<u16> {
        u16::try_from(n)
            .ok()
            .and_then(|n| self.first.checked_add(n))
            .filter(|p| *p <= self.last)
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

/// One entry of `ports`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PortText {
    /// The address on the host.
    pub(crate) host: Option<String>,
    pub(crate) published: Option<PortRange>,
    pub(crate) target: PortRange,
    pub(crate) protocol: Protocol,
}

/// Why a text is no port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PortFault {
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) hint: String,
}

fn fault(code: &'static str, message: String, hint: &str) -> PortFault {
    PortFault {
        code,
        message,
        hint: hint.to_owned(),
    }
}

const FORMS: &str = "write for example `80`, `8080:80`, `8000-8010:8000-8010` or `53:53/udp`";

/// Parses `[[host:]published:]target[/protocol]`.
pub(crate) fn parse_short(text: &str) -> Result<PortText, PortFault> {
    let (ports, protocol) = split_protocol(text)?;
    let (rest, target) = match ports.rsplit_once(':') {
        Some((rest, target)) => (Some(rest), target),
        None => (None, ports),
    };
    let target = parse_range(target, text)?;
    let (host, published) = match rest {
        None => (None, ""),
        Some(rest) => match rest.rsplit_once(':') {
            // `[::1]` alone would be an address without a port.
            Some((host, published)) if !rest.ends_with(']') => {
                (Some(parse_host(host, text)?), published)
            }
            Some(_) | None => (None, rest),
        },
    };
    let published = if published.is_empty() {
        None
    } else {
        Some(parse_range(published, text)?)
    };
    check_lengths(published, target, text)?;
    Ok(PortText {
        host,
        published,
        target,
        protocol,
    })
}

/// Tells whether a published range fits its target: the same length, or one target that takes a port of the range.
pub(crate) fn check_lengths(
    published: Option<PortRange>,
    target: PortRange,
    text: &str,
) -> Result<(), PortFault> {
    match published {
        Some(p) if target.len() > 1 && p.len() != target.len() => Err(fault(
            "port-ranges-differ",
            format!(
                "`{}` publishes {} ports for {}",
                text.escape_debug(),
                p.len(),
                target.len()
            ),
            "both ranges need the same length",
        )),
        _ => Ok(()),
    }
}

fn split_protocol(text: &str) -> Result<(&str, Protocol), PortFault> {
    match text.rsplit_once('/') {
        None => Ok((text, Protocol::Tcp)),
        Some((ports, protocol)) => Ok((ports, parse_protocol(protocol)?)),
    }
}

pub(crate) fn parse_protocol(text: &str) -> Result<Protocol, PortFault> {
    match text.to_ascii_lowercase().as_str() {
        "tcp" => Ok(Protocol::Tcp),
        "udp" => Ok(Protocol::Udp),
        _ => Err(fault(
            "port-protocol",
            format!("`{}` is no protocol of a port here", text.escape_debug()),
            "write `tcp` or `udp`",
        )),
    }
}

fn parse_host(host: &str, text: &str) -> Result<String, PortFault> {
    let bare = host
        .strip_prefix('[')
        .and_then(|h| h.strip_suffix(']'))
        .unwrap_or(host);
    if bare.is_empty() || bare.parse::<std::net::IpAddr>().is_ok() {
        Ok(bare.to_owned())
    } else {
        Err(fault(
            "port-host",
            format!(
                "`{}` in `{}` is no address",
                host.escape_debug(),
                text.escape_debug()
            ),
            FORMS,
        ))
    }
}

/// Parses `80` or `8000-8010`; `text` is shown when it is not.
pub(crate) fn parse_range(range: &str, text: &str) -> Result<PortRange, PortFault> {
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let number = |part: &str| -> Result<u16, PortFault> {
        if part.is_empty() || part.len() > 12 || !part.bytes().all(|b| b.is_ascii_digit()) {
            let hint = if part.is_empty() {
                "a variable in it may be empty; write for example `8080:80`"
            } else if part.parse::<std::net::IpAddr>().is_ok() {
                "behind an address comes a second `:` - `127.0.0.1::80`, or `127.0.0.1:8080:80`"
            } else {
                FORMS
            };
            return Err(fault(
                "port-syntax",
                format!("`{}` is no port", text.escape_debug()),
                hint,
            ));
        }
        part.parse::<u16>().ok().filter(|p| *p > 0).ok_or_else(|| {
            fault(
                "port-out-of-range",
                format!("port `{part}` does not exist"),
                "a port is 1 to 65535",
            )
        })
    };
    let range = PortRange {
        first: number(first)?,
        last: number(last)?,
    };
    if range.first > range.last {
        return Err(fault(
            "port-range-backwards",
            format!("the range `{range}` ends before it begins"),
            "write the smaller port first",
        ));
    }
    Ok(range)
}

/// Parses an entry of `expose`: `80`, `8000-8010`, with a protocol if need be.
pub(crate) fn parse_exposed(text: &str) -> Result<(PortRange, Protocol), PortFault> {
    let (ports, protocol) = split_protocol(text)?;
    Ok((parse_range(ports, text)?, protocol))
}

/// Returns what makes two entries of `ports` the same: address, published port, target and protocol.
pub(crate) fn unique_key(node: &Node) -> Option<String> {
    if let Some(text) = node.as_text() {
        let port = parse_short(text).ok()?;
        let published = port.published.map(|p| p.to_string()).unwrap_or_default();
        return Some(format!(
            "{}|{published}|{}|{}",
            port.host.unwrap_or_default(),
            port.target,
            port.protocol
        ));
    }
    let map = node.as_map()?;
    let field = |name: &str| {
        map.get(name)
            .and_then(Node::as_text)
            .unwrap_or_default()
            .to_owned()
    };
    let protocol = field("protocol");
    Some(format!(
        "{}|{}|{}|{}",
        field("host_ip"),
        field("published"),
        field("target"),
        if protocol.is_empty() {
            "tcp"
        } else {
            &protocol
        }
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(text: &str) -> String {
        match parse_short(text) {
            Ok(p) => format!(
                "{} {} {} {}",
                p.host.unwrap_or_else(|| "-".into()),
                p.published.map_or("-".into(), |p| p.to_string()),
                p.target,
                p.protocol
            ),
            Err(f) => f.code.to_owned(),
        }
    }

    #[test]
    fn every_short_form_is_understood() {
        for (text, wanted) in [
            ("3000", "- - 3000 tcp"),
            ("3000-3005", "- - 3000-3005 tcp"),
            ("8000:8000", "- 8000 8000 tcp"),
            ("9090-9091:8080-8081", "- 9090-9091 8080-8081 tcp"),
            ("9090-9100:80", "- 9090-9100 80 tcp"),
            ("22:22", "- 22 22 tcp"),
            ("127.0.0.1:8001:8001", "127.0.0.1 8001 8001 tcp"),
            (
                "127.0.0.1:5000-5010:5000-5010",
                "127.0.0.1 5000-5010 5000-5010 tcp",
            ),
            ("127.0.0.1::80", "127.0.0.1 - 80 tcp"),
            ("[::1]:80:80", "::1 80 80 tcp"),
            ("::1:80:80", "::1 80 80 tcp"),
            ("6060:6060/udp", "- 6060 6060 udp"),
            ("53/UDP", "- - 53 udp"),
            (":80", "- - 80 tcp"),
        ] {
            assert_eq!(shown(text), wanted, "{text}");
        }
    }

    #[test]
    fn bad_ports_are_refused_by_what_is_wrong() {
        for (text, code) in [
            ("", "port-syntax"),
            ("x", "port-syntax"),
            ("80:x", "port-syntax"),
            ("127.0.0.1:80", "port-syntax"),
            ("0", "port-out-of-range"),
            ("70000:80", "port-out-of-range"),
            ("99999999999999999999", "port-syntax"),
            ("-1", "port-syntax"),
            ("+80", "port-syntax"),
            ("80/sctp", "port-protocol"),
            ("80/", "port-protocol"),
            ("90-80", "port-range-backwards"),
            ("1-3:1-2", "port-ranges-differ"),
            ("1:2-3", "port-ranges-differ"),
            ("localhost:80:80", "port-host"),
            ("1:2:3:4", "port-host"),
            ("٨٠", "port-syntax"),
        ] {
            assert_eq!(shown(text), code, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[0-9:/.\\[\\]a-u-]{0,30}") {
            let _ = parse_short(&text);
        }
    }
}
