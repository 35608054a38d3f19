//! Addresses of requests: just enough of RFC 3986 for `http` and `https`.

use hyper::Uri;
use std::fmt;
use std::net::IpAddr;

/// An absolute address, its parts apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Url {
    pub(super) tls: bool,
    /// In lower case, IPv6 without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// Path and query, begins with a slash.
    pub(super) path: String,
}

impl Url {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let tls = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let authority = uri.authority()?;
        // Credentials in an address would end in logs and with the wrong host.
        if authority.as_str().contains('@') {
            return None;
        }
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_ascii_lowercase();
        let port = match authority.as_str().strip_prefix(authority.host())? {
            "" if tls => 443,
            "" => 80,
            // A port out of range is none to the parser, and must not become the usual one.
            told => told.strip_prefix(':')?.parse().ok()?,
        };
        let path = uri.path_and_query().map_or("/", |p| p.as_str()).to_owned();
        (!host.is_empty() && path.starts_with('/')).then_some(Self {
            tls,
            host,
            port,
            path,
        })
    }

    /// Resolves the `Location` of an answer to a request for this address.
    pub(super) fn join(&self, location: &str) -> Option<Self> {
        if location.contains("://") {
            return Self::parse(location);
        }
        let scheme = if self.tls { "https" } else { "http" };
        if location.starts_with("//") {
            return Self::parse(&format!("{scheme}:{location}"));
        }
        let path = if location.starts_with('/') {
            location.to_owned()
        } else {
            let folder = self.path.split('?').next().unwrap_or("/");
            let folder = &folder[..=folder.rfind('/')?];
            format!("{folder}{location}")
        };
        Self::parse(&format!("{scheme}://{}{path}", self.authority()))
    }

    /// `host:port`, the port always, IPv6 in brackets.
    pub(super) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// What the `Host` header says: the port only where it is not the usual one.
    pub(super) fn host_header(&self) -> String {
        let usual = if self.tls { 443 } else { 80 };
        let full = self.authority();
        if self.port == usual {
            full.rsplit_once(':')
                .map_or(full.clone(), |(host, _)| host.to_owned())
        } else {
            full
        }
    }

    /// Whether both are the same server, so that one's secrets may be told to the other.
    pub(super) fn same_server(&self, other: &Self) -> bool {
        (self.tls, &self.host, self.port) == (other.tls, &other.host, other.port)
    }

    /// Whether the host is this machine, by name or by literal address.
    pub(super) fn is_local(&self) -> bool {
        is_local(&self.host)
    }

    /// Whether the host is a literal address that only makes sense from within a machine or its link: a server that
    /// redirects there wants us to speak to our own services (threat S16).
    pub(super) fn is_inward(&self) -> bool {
        let literal = match self.host.parse::<IpAddr>() {
            Ok(IpAddr::V4(ip)) => ip.is_loopback() || ip.is_link_local() || ip.is_unspecified(),
            Ok(IpAddr::V6(ip)) => match ip.to_ipv4_mapped() {
                Some(ip) => ip.is_loopback() || ip.is_link_local() || ip.is_unspecified(),
                None => ip.is_loopback() || ip.is_unspecified() || ip.is_unicast_link_local(),
            },
            Err(_) => false,
        };
        literal || self.is_local()
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the query: pre-signed addresses carry secrets there.
        let path = self.path.split('?').next().unwrap_or_default();
        write!(
            f,
            "{}://{}{path}",
            if self.tls { "https" } else { "http" },
            self.host_header()
        )
    }
}

/// Whether `host`, without port, is this machine: `localhost` or 127.0.0.0/8 or ::1.
pub(super) fn is_local(host: &str) -> bool {
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_resolved_against_the_request() {
        let base = Url::parse("https://Reg.test/v2/a/blobs/x?y=1").unwrap();
        for (location, wanted) in [
            ("https://cdn.test:8443/x?sig=1", "https://cdn.test:8443/x"),
            ("//cdn.test/x", "https://cdn.test/x"),
            ("/other", "https://reg.test/other"),
            ("rel", "https://reg.test/v2/a/blobs/rel"),
            ("http://[::1]:80/x", "http://[::1]/x"),
        ] {
            assert_eq!(
                base.join(location).unwrap().to_string(),
                wanted,
                "{location}"
            );
        }
        for bad in [
            "ftp://x/",
            "https://user:pw@x/",
            "http://",
            "https://a:99999/",
            "http://a b/",
        ] {
            assert!(Url::parse(bad).is_none(), "{bad}");
        }
        assert!(!base.same_server(&Url::parse("http://reg.test/").unwrap()));
        assert!(base.same_server(&Url::parse("https://reg.test:443/").unwrap()));
    }

    #[test]
    fn addresses_of_this_machine_are_known() {
        let at = |host: &str| Url::parse(&format!("http://{host}/")).unwrap();
        for host in [
            "localhost",
            "127.0.0.1",
            "127.9.9.9:5000",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "169.254.169.254",
            "0.0.0.0",
            "[fe80::1]",
            "x.localhost",
        ] {
            assert!(at(host).is_inward(), "{host}");
        }
        for host in ["10.0.0.1", "example.test", "[2001:db8::1]"] {
            assert!(!at(host).is_inward(), "{host}");
        }
        assert!(!at("169.254.1.1").is_local());
    }
}
