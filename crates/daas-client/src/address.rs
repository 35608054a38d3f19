use std::fmt;
use std::path::PathBuf;

/// Where the daemon answers when nothing else is said.
pub const DEFAULT_SOCKET: &str = "/run/daas/daas.sock";

/// Where a daemon answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A unix socket.
    Unix(PathBuf),
    /// A host and port, `host:port`.
    Tcp(String),
    /// The same over TLS, `https://host:port`.
    Tls(String),
}

impl Address {
    /// Reads `host:port`, `http://host:port`, `https://host:port`, or `unix:/path`.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(path.trim_start_matches("//").into()));
        }
        let secure = text.strip_prefix("https://");
        let rest = secure
            .or_else(|| text.strip_prefix("http://"))
            .or_else(|| text.strip_prefix("tcp://"))
            .unwrap_or(text)
            .trim_end_matches('/');
        let bad = || {
            format!(
                "`{}` is no address of a daemon: write `host:port`",
                text.escape_debug()
            )
        };
        let (host, port) = rest.rsplit_once(':').ok_or_else(bad)?;
        let good = !host.is_empty()
            && port.parse::<u16>().is_ok_and(|port| port > 0)
            && host.bytes().all(|b| {
                b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'[' | b']' | b':')
            });
        if good && secure.is_some() {
            Ok(Self::Tls(rest.to_owned()))
        } else if good {
            Ok(Self::Tcp(rest.to_owned()))
        } else {
            Err(bad())
        }
    }
}

impl Default for Address {
    fn default() -> Self {
        Self::Unix(DEFAULT_SOCKET.into())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => path.display().fmt(f),
            Self::Tcp(host) => f.write_str(host),
            Self::Tls(host) => write!(f, "https://{host}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_in_every_form() {
        assert_eq!(
            Address::parse("http://10.0.0.1:7070/"),
            Ok(Address::Tcp("10.0.0.1:7070".into()))
        );
        assert_eq!(
            Address::parse("https://daas.example.com:7000"),
            Ok(Address::Tls("daas.example.com:7000".into()))
        );
        assert_eq!(
            Address::parse("[::1]:80"),
            Ok(Address::Tcp("[::1]:80".into()))
        );
        assert_eq!(
            Address::parse("unix:///run/x.sock"),
            Ok(Address::Unix("/run/x.sock".into()))
        );
        for bad in [
            "",
            "host",
            "host:",
            ":80",
            "host:0",
            "host:99999",
            "ho st:1",
            "a/b:1",
            "a\r\nX: y:1",
        ] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }
}
