use crate::ImageError;
use daas_model::base64;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

/// How the registries of this house are reached.
#[derive(Debug, Clone)]
pub struct RegistrySettings {
    /// Hosts, `name` or `name:port`, that may be spoken to without TLS. Those of this machine always may.
    pub insecure: BTreeSet<String>,
    /// For a registry's host the URLs, `http(s)://host[:port][/prefix]`, that are asked before it, in this order.
    pub mirrors: BTreeMap<String, Vec<String>>,
    /// Files of further certificate authorities in PEM form, beside the machine's own.
    pub authorities: Vec<PathBuf>,
    /// Who we are, by host.
    pub credentials: Credentials,
    /// What stands between us and the registries; the environment's without.
    pub proxies: Option<ProxySettings>,
    /// How often a request is repeated when the network or the registry fails.
    pub retries: u32,
    /// How many layers of one image are fetched at once.
    pub parallel: usize,
}

impl Default for RegistrySettings {
    /// Five repetitions span half a minute; three layers at once fill the line of most registries without being counted as abuse.
    fn default() -> Self {
        Self {
            insecure: BTreeSet::new(),
            mirrors: BTreeMap::new(),
            authorities: Vec::new(),
            credentials: Credentials::default(),
            proxies: None,
            retries: 5,
            parallel: 3,
        }
    }
}

/// Proxies by the kind of address, as curl's variables name them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProxySettings {
    /// For `http://` addresses: a URL or `host:port`.
    pub http: Option<String>,
    /// For `https://` addresses.
    pub https: Option<String>,
    /// Hosts that are reached directly, with those below them; `*` for all. This machine always is.
    pub except: Vec<String>,
}

impl ProxySettings {
    /// Reads `http_proxy`, `https_proxy` and `no_proxy`.
    #[must_use]
    pub fn of_environment() -> Self {
        let read = |names: &[&str]| {
            names
                .iter()
                .find_map(|n| std::env::var(n).ok())
                .filter(|v| !v.is_empty())
        };
        let except = read(&["no_proxy", "NO_PROXY"]).unwrap_or_default();
        Self {
            // Upper case `HTTP_PROXY` is what a CGI client could set, so curl does not read it either.
            http: read(&["http_proxy"]),
            https: read(&["https_proxy", "HTTPS_PROXY"]),
            except: except
                .split(',')
                .map(|h| h.trim().to_owned())
                .filter(|h| !h.is_empty())
                .collect(),
        }
    }
}

/// One way to say who we are.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// A user's name and password.
    Basic {
        /// The name.
        user: String,
        /// The password.
        password: String,
    },
    /// An OAuth2 refresh token, given to the token server (Docker calls it identity token).
    Identity(String),
    /// A bearer token, given to the registry as it is.
    Bearer(String),
}

impl fmt::Debug for Credential {
    /// Tells the kind only: secrets never reach a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Basic { .. } => "Basic(..)",
            Self::Identity(_) => "Identity(..)",
            Self::Bearer(_) => "Bearer(..)",
        })
    }
}

/// Credentials by the host that they are for; no other host ever sees them (CVE-2026-59891).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    by_host: BTreeMap<String, Credential>,
}

impl Credentials {
    /// Sets what `host`, with its port if it has one, is told.
    pub fn set(&mut self, host: &str, credential: Credential) {
        self.by_host.insert(host_of(host), credential);
    }

    /// Reads the `auths` of a Docker configuration (`~/.docker/config.json`). Helpers that would run programs are ignored.
    ///
    /// # Errors
    /// [`ImageError::Settings`] if the text is no such configuration.
    pub fn from_docker_config(text: &str) -> Result<Self, ImageError> {
        #[derive(serde::Deserialize)]
        struct File {
            #[serde(default)]
            auths: BTreeMap<String, Auth>,
        }
        #[derive(serde::Deserialize)]
        struct Auth {
            auth: Option<String>,
            username: Option<String>,
            password: Option<String>,
            identitytoken: Option<String>,
            registrytoken: Option<String>,
        }
        let bad = |why: String| ImageError::Settings { why };
        // The message of a parser may quote the text, and with it a secret.
        let file: File = serde_json::from_str(text).map_err(|e| {
            bad(format!(
                "line {} column {} of the Docker configuration is not understood",
                e.line(),
                e.column()
            ))
        })?;
        let mut credentials = Self::default();
        for (host, auth) in file.auths {
            let full = |text: Option<String>| text.filter(|t| !t.is_empty());
            let pair = match full(auth.auth) {
                Some(coded) => {
                    let plain = base64::decode_any_padding(&coded)
                        .and_then(|b| String::from_utf8(b).ok())
                        .ok_or_else(|| {
                            bad(format!(
                                "the `auth` of `{}` is no base64",
                                host.escape_debug()
                            ))
                        })?;
                    plain
                        .split_once(':')
                        .map(|(u, p)| (u.to_owned(), p.trim_end_matches('\0').to_owned()))
                }
                None => full(auth.username).zip(full(auth.password)),
            };
            let credential = match (full(auth.registrytoken), full(auth.identitytoken), pair) {
                (Some(token), ..) => Credential::Bearer(token),
                (None, Some(token), _) => Credential::Identity(token),
                (None, None, Some((user, password))) => Credential::Basic { user, password },
                (None, None, None) => continue,
            };
            credentials.set(&host, credential);
        }
        Ok(credentials)
    }

    pub(super) fn of(&self, host: &str) -> Option<&Credential> {
        self.by_host.get(&host_of(host))
    }
}

/// The host of a key of a Docker configuration: without scheme and path, Docker's own hub under one name.
fn host_of(key: &str) -> String {
    let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
    let host = rest
        .split('/')
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    if matches!(host.as_str(), "index.docker.io" | "registry-1.docker.io") {
        "docker.io".into()
    } else {
        host
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_docker_configuration_is_read_and_never_shown() {
        let text = r#"{"auths":{"https://index.docker.io/v1/":{"auth":"dXNlcjpwYTpzcw=="},"reg.test:5000":{"username":"u","password":"p"},"tok.test":{"auth":"PHRva2VuPjo=","identitytoken":"secret-id"},"empty.test":{}},"credsStore":"x"}"#;
        let all = Credentials::from_docker_config(text).unwrap();
        assert_eq!(
            all.of("docker.io"),
            Some(&Credential::Basic {
                user: "user".into(),
                password: "pa:ss".into()
            })
        );
        assert_eq!(
            all.of("reg.test:5000"),
            Some(&Credential::Basic {
                user: "u".into(),
                password: "p".into()
            })
        );
        assert_eq!(
            all.of("tok.test"),
            Some(&Credential::Identity("secret-id".into()))
        );
        assert!(all.of("reg.test").is_none() && all.of("empty.test").is_none());
        assert!(!format!("{all:?}").contains("pa:ss") && !format!("{all:?}").contains("secret-id"));
        let error = Credentials::from_docker_config(r#"{"auths":{"a":{"password": "hush", 7}}}"#)
            .unwrap_err();
        assert!(!format!("{error:?}").contains("hush"));
    }
}
