use std::fmt;

/// One entry of `EXPOSE`: a port or a range of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    /// The first port.
    pub first: u16,
    /// The last one, at least `first`.
    pub last: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: &'static str,
}

impl PortRange {
    /// Returns the ports as an image's configuration names them: `80/tcp`.
    pub fn names(self) -> impl Iterator<Item = String> {
        (self.first..=self.last).map(move |port| format!("{port}/{}", self.protocol))
    }

    /// Returns how many ports there are.
    #[must_use]
    pub fn count(self) -> usize {
        usize::from(self.last - self.first) + 1
    }
}

/// What is wrong with a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PortFault {
    Empty,
    Protocol(String),
    Number(String),
    Backwards,
    Mapping,
}

impl fmt::Display for PortFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = super::file::short;
        match self {
            Self::Empty => f.write_str("a port is empty"),
            Self::Protocol(text) => write!(f, "there is no protocol `{}`", short(text)),
            Self::Number(text) => write!(f, "`{}` is no port", short(text)),
            Self::Backwards => f.write_str("a range of ports ends before it begins"),
            Self::Mapping => f.write_str("an address or a port of the host cannot stand here"),
        }
    }
}

/// A port as it was read, and what a check would say of its form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exposed {
    pub(crate) ports: PortRange,
    /// An address or a port of the host stands before it, which has no effect.
    pub(crate) maps: bool,
    /// The protocol is not in small letters.
    pub(crate) shouts: bool,
}

/// Reads `80`, `80/udp`, `8000-8010`, and - as `BuildKit` does - `[ip:]host:80`, of which only the last part counts.
pub(crate) fn read(text: &str) -> Result<Exposed, PortFault> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (Some(host), port),
        None => (None, text),
    };
    let (ports, protocol) = port.split_once('/').unwrap_or((port, ""));
    if ports.is_empty() {
        return Err(PortFault::Empty);
    }
    let small = protocol.to_lowercase();
    let name = match small.as_str() {
        "" | "tcp" => "tcp",
        "udp" => "udp",
        "sctp" => "sctp",
        _ => return Err(PortFault::Protocol(protocol.to_owned())),
    };
    let (first, last) = range(ports)?;
    if let Some(host) = host {
        check_host(host, first == last, last - first)?;
    }
    Ok(Exposed {
        ports: PortRange {
            first,
            last,
            protocol: name,
        },
        maps: host.is_some_and(|h| !h.is_empty() && h != ":"),
        shouts: protocol != small,
    })
}

/// Tells what is wrong with a port that is exposed, of the host's side too.
pub(crate) fn exposed(text: &str) -> Result<(), PortFault> {
    if read(text)?.maps {
        return Err(PortFault::Mapping);
    }
    Ok(())
}

fn range(text: &str) -> Result<(u16, u16), PortFault> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    if first > last {
        return Err(PortFault::Backwards);
    }
    Ok((first, last))
}

fn number(text: &str) -> Result<u16, PortFault> {
    text.parse().map_err(|_| PortFault::Number(text.to_owned()))
}

/// Looks at what stands before the port of the image: it must make sense, though it has no effect.
fn check_host(host: &str, single: bool, length: u16) -> Result<(), PortFault> {
    let (ip, ports) = host.rsplit_once(':').unwrap_or(("", host));
    let ip = ip
        .strip_prefix('[')
        .and_then(|ip| ip.strip_suffix(']'))
        .unwrap_or(ip);
    if !ip.is_empty() && ip.parse::<std::net::IpAddr>().is_err() {
        return Err(PortFault::Mapping);
    }
    if !ports.is_empty() {
        let (first, last) = range(ports)?;
        if !single && last - first != length {
            return Err(PortFault::Mapping);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_as_buildkit_reads_them() {
        for (text, first, last, protocol) in [
            ("80", 80, 80, "tcp"),
            ("53/udp", 53, 53, "udp"),
            ("8000-8002/TCP", 8000, 8002, "tcp"),
            ("8080:80", 80, 80, "tcp"),
            ("127.0.0.1:8080:80", 80, 80, "tcp"),
            ("[::1]::80", 80, 80, "tcp"),
            ("1-2:1-2", 1, 2, "tcp"),
            ("0", 0, 0, "tcp"),
        ] {
            let ports = read(text).unwrap().ports;
            assert_eq!(
                (ports.first, ports.last, ports.protocol),
                (first, last, protocol),
                "{text}"
            );
        }
        for text in [
            "", "x", "80/icmp", "70000", "-1", "9-8", "a:b:80", "1-2:1-3", "/tcp", "80-",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
        assert_eq!(
            read("8-9/udp").unwrap().ports.names().collect::<Vec<_>>(),
            ["8/udp", "9/udp"]
        );
        assert!(read("1:80").unwrap().maps && read("80/Udp").unwrap().shouts);
    }
}
