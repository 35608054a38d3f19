//! The configuration file, `/etc/daas/daas.yaml`: every key has a default that works and a unit in its value.

mod error;

use crate::certificates::{CertificatesConfig, CertificatesText};
use crate::dns::{DnsConfig, DnsText};
use crate::ssh::{SshConfig, SshText};
use daas_model::{ByteSize, Cpus, Limits, Span, Subnet};
use daas_server::Role;
use daas_tasks::BanRules;
pub(crate) use error::ConfigError;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Where the file is looked for when nobody names one.
pub(crate) const USUAL: &str = "/etc/daas/daas.yaml";

/// Everything that can be configured.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) state: PathBuf,
    pub(crate) socket: PathBuf,
    pub(crate) listen: Vec<Listen>,
    /// When peers are kept out.
    pub(crate) bans: BanRules,
    pub(crate) addresses: Subnet,
    pub(crate) limits: Limits,
    pub(crate) spares: usize,
    pub(crate) mirrors: BTreeMap<String, Vec<String>>,
    pub(crate) insecure: Vec<String>,
    pub(crate) cgroup: String,
    pub(crate) registry: RegistryConfig,
    pub(crate) ingress: IngressConfig,
    pub(crate) certificates: CertificatesConfig,
    pub(crate) dns: DnsConfig,
    pub(crate) ssh: SshConfig,
    /// Blocks that stands with a way out may reach though they are not public.
    pub(crate) reachable: Vec<Subnet>,
    pub(crate) builds: BuildsConfig,
    /// How often images of packages are made anew.
    pub(crate) refresh: Option<Span>,
}

/// The way in from outside.
#[derive(Debug, Clone)]
pub(crate) struct IngressConfig {
    /// Where it listens for plain HTTP.
    pub(crate) listen: Addresses,
    /// Where it listens for TLS.
    pub(crate) listen_tls: Addresses,
    /// The zone in which stands have names, beside `localhost`.
    pub(crate) zone: Option<String>,
    /// Proxies before us.
    pub(crate) trusted: Vec<Subnet>,
    /// Whether requests are written down.
    pub(crate) access_log: bool,
}

/// Addresses to listen at.
#[derive(Debug, Clone)]
pub(crate) struct Addresses {
    pub(crate) addresses: Vec<SocketAddr>,
    /// Whether nobody asked for them: then they may be taken.
    pub(crate) is_default: bool,
}

impl Addresses {
    /// Returns what was asked for, or a port at both loopback addresses: what listens further out is a person's decision.
    pub(crate) fn of(asked: Option<Vec<SocketAddr>>, port: u16) -> Self {
        Self {
            is_default: asked.is_none(),
            addresses: asked.unwrap_or_else(|| {
                vec![
                    (std::net::Ipv4Addr::LOCALHOST, port).into(),
                    (std::net::Ipv6Addr::LOCALHOST, port).into(),
                ]
            }),
        }
    }
}

/// How images are built.
#[derive(Debug, Clone)]
pub(crate) struct BuildsConfig {
    /// Authorities that commands of builds trust: a file in PEM form.
    pub(crate) certificates: Option<PathBuf>,
    /// How much the caches of one project may hold.
    pub(crate) caches: ByteSize,
}

/// The registry of the house.
#[derive(Debug, Clone)]
pub(crate) struct RegistryConfig {
    /// Where it listens on the host.
    pub(crate) listen: Vec<SocketAddr>,
    /// Whether nobody asked for that address.
    pub(crate) listen_is_default: bool,
    /// Further hosts by which its images are named.
    pub(crate) names: BTreeSet<String>,
    /// Certificate chain and key, for TLS.
    pub(crate) certificate: Option<(PathBuf, PathBuf)>,
    /// Outside registries that are kept a copy of: first part of the repositories, host.
    pub(crate) caches: BTreeMap<String, String>,
    /// How long a blob that no manifest needs stays.
    pub(crate) grace: Span,
}

/// One TCP door.
#[derive(Debug, Clone)]
pub(crate) struct Listen {
    /// The address.
    pub(crate) address: SocketAddr,
    /// A file whose lines are `name role sha256`; readable by root only.
    pub(crate) tokens: Option<PathBuf>,
    /// Whether it speaks TLS.
    pub(crate) tls: bool,
    /// What clients may do who show a certificate, by their names.
    pub(crate) clients: BTreeMap<String, Role>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListenText {
    address: SocketAddr,
    tokens: Option<PathBuf>,
    tls: Option<bool>,
    #[serde(default)]
    clients: BTreeMap<String, Role>,
}

fn read_listen(list: Vec<ListenText>) -> Result<Vec<Listen>, Fault> {
    list.into_iter().map(ListenText::read).collect()
}

impl ListenText {
    /// Returns what it says. Plain words are spoken with oneself only, where nobody says otherwise.
    fn read(self) -> Result<Listen, Fault> {
        let tls = self.tls.unwrap_or(!self.address.ip().is_loopback());
        let why = if self.tokens.is_none() && self.clients.is_empty() {
            Some("nobody could come in: name `tokens`, or `clients` with certificates")
        } else if !tls && !self.clients.is_empty() {
            Some("`clients` show certificates, which takes `tls: true`")
        } else {
            None
        };
        match why {
            Some(why) => Err(("listen", why.into())),
            None => Ok(Listen {
                address: self.address,
                tokens: self.tokens,
                tls,
                clients: self.clients,
            }),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct BansText {
    after: Option<u32>,
    within: Option<String>,
    time: Option<String>,
    allow: Option<Vec<String>>,
}

impl BansText {
    /// Returns what it says, with its defaults.
    fn read(self) -> Result<BanRules, Fault> {
        let usual = BanRules::default();
        let span = |key, text: Option<String>, usual| {
            text.map_or(Ok(usual), |text| {
                Span::parse(&text)
                    .map(|span| span.0)
                    .map_err(|e| (key, e.into()))
            })
        };
        let allow = |list: Vec<String>| {
            let nets = list.iter().map(|text| Subnet::parse_or_address(text));
            nets.collect::<Result<_, _>>()
                .map_err(|e: String| -> Fault { ("bans.allow", e.into()) })
        };
        let after = self.after.unwrap_or(usual.after);
        if after == 0 {
            return Err(("bans.after", "everybody would be banned: at least 1".into()));
        }
        Ok(BanRules {
            after,
            within: span("bans.within", self.within, usual.within)?,
            time: span("bans.time", self.time, usual.time)?,
            allow: self.allow.map_or(Ok(usual.allow), allow)?,
        })
    }
}

/// The file as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Text {
    state: PathBuf,
    socket: PathBuf,
    listen: Vec<ListenText>,
    bans: BansText,
    stands: StandsText,
    images: ImagesText,
    registry: RegistryText,
    ingress: IngressText,
    certificates: CertificatesText,
    dns: DnsText,
    ssh: SshText,
    egress: EgressText,
    builds: BuildsText,
    cgroup: Option<String>,
}

/// The folder of the platform's cgroups where neither the file nor the environment names one.
const CGROUP: &str = "daas";

/// Returns where the unit of systemd wants the platform's cgroups.
fn cgroup_of_unit() -> Option<String> {
    std::env::var("DAAS_CGROUP")
        .ok()
        .filter(|name| !name.is_empty())
}

impl Default for Text {
    fn default() -> Self {
        Self {
            state: "/var/lib/daas".into(),
            socket: "/run/daas/daas.sock".into(),
            listen: Vec::new(),
            bans: BansText::default(),
            stands: StandsText::default(),
            images: ImagesText::default(),
            registry: RegistryText::default(),
            ingress: IngressText::default(),
            certificates: CertificatesText::default(),
            dns: DnsText::default(),
            ssh: SshText::default(),
            egress: EgressText::default(),
            builds: BuildsText::default(),
            cgroup: None,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct StandsText {
    addresses: String,
    spares: usize,
    limits: LimitsText,
}

impl Default for StandsText {
    fn default() -> Self {
        // Two spares: an `up` takes one while the other is there for the next; each costs about 100 kB and 3 ms of background work.
        Self {
            addresses: "127.64.0.0/10".into(),
            spares: 2,
            limits: LimitsText::default(),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LimitsText {
    cpus: Option<String>,
    memory: Option<String>,
    pids: Option<u32>,
    disk: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ImagesText {
    mirrors: BTreeMap<String, Vec<String>>,
    insecure: Vec<String>,
    refresh: Option<String>,
}

impl ImagesText {
    /// Returns how often images are refreshed; never where nothing is said.
    fn refresh(&self) -> Result<Option<Span>, Fault> {
        let span = match self.refresh.as_deref() {
            None | Some("never") => return Ok(None),
            Some("daily") => Span::secs(24 * 3600),
            Some("weekly") => Span::secs(7 * 24 * 3600),
            Some("monthly") => Span::secs(30 * 24 * 3600),
            Some(text) => Span::parse(text).map_err(|e| ("images.refresh", e.into()))?,
        };
        if span.0.as_secs() < 3600 {
            let why = "images are made anew every hour at most";
            return Err(("images.refresh", why.into()));
        }
        Ok(Some(span))
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct EgressText {
    allow: Vec<String>,
}

impl EgressText {
    /// Returns what it says; an address alone is a block of one.
    fn read(&self) -> Result<Vec<Subnet>, Fault> {
        self.allow
            .iter()
            .map(|text| Subnet::parse_or_address(text).map_err(|e| ("egress.allow", e.into())))
            .collect()
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct BuildsText {
    certificates: Option<PathBuf>,
    caches: Option<String>,
}

impl BuildsText {
    /// Returns what it says, with its defaults.
    fn read(self) -> Result<BuildsConfig, Fault> {
        let caches = self
            .caches
            .map_or(Ok(daas_control::CACHES_OF_BUILDS), |text| {
                ByteSize::parse(&text)
            })
            .map_err(|e| ("builds.caches", e.into()))?;
        Ok(BuildsConfig {
            certificates: self.certificates,
            caches,
        })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RegistryText {
    listen: Option<Vec<SocketAddr>>,
    names: BTreeSet<String>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    caches: BTreeMap<String, String>,
    grace: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct IngressText {
    listen: Option<Vec<SocketAddr>>,
    listen_tls: Option<Vec<SocketAddr>>,
    zone: Option<String>,
    trusted_proxies: Vec<String>,
    access_log: Option<bool>,
}

impl IngressText {
    /// Returns what it says, with its defaults.
    fn read(self) -> Result<IngressConfig, Fault> {
        let zone = self
            .zone
            .map(|zone| zone.trim_end_matches('.').to_ascii_lowercase());
        if let Some(zone) = &zone
            && !daas_ingress::is_name(zone)
        {
            return Err((
                "ingress.zone",
                format!("`{}` is no domain name", zone.escape_debug()).into(),
            ));
        }
        let trusted = self
            .trusted_proxies
            .iter()
            .map(|text| Subnet::parse_or_address(text))
            .collect::<Result<_, String>>()
            .map_err(|error| ("ingress.trusted_proxies", error.into()))?;
        Ok(IngressConfig {
            listen: Addresses::of(self.listen, 80),
            listen_tls: Addresses::of(self.listen_tls, 443),
            zone,
            trusted,
            access_log: self.access_log.unwrap_or(true),
        })
    }
}

impl RegistryText {
    /// Returns what it says, with its defaults.
    fn read(self) -> Result<RegistryConfig, Fault> {
        let certificate = match (self.certificate, self.key) {
            (Some(chain), Some(key)) => Some((chain, key)),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => {
                return Err((
                    "registry.certificate",
                    "`certificate` and `key` go together".into(),
                ));
            }
        };
        let default = daas_registry::Settings::default().grace;
        let grace = self
            .grace
            .map_or(Ok(Span(default)), |text| Span::parse(&text))
            .map_err(|e| ("registry.grace", e.into()))?;
        Ok(RegistryConfig {
            listen_is_default: self.listen.is_none(),
            // Loopback until the house has certificates: a password over plain HTTP goes no further. GitLab's registry has the port.
            listen: self
                .listen
                .unwrap_or_else(|| vec![SocketAddr::from(([127, 0, 0, 1], 5050))]),
            names: self.names,
            certificate,
            caches: self.caches,
            grace,
        })
    }
}

/// A key and what is wrong with its value.
pub(crate) type Fault = (&'static str, Box<dyn std::error::Error + Send + Sync>);

impl Config {
    /// Reads `path`, or the usual file if there is one; without any file everything has its default.
    pub(crate) fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let named = path.unwrap_or(Path::new(USUAL));
        let text = match std::fs::read_to_string(named) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound && path.is_none() => {
                String::new()
            }
            Err(source) => {
                return Err(ConfigError::Read {
                    path: named.to_owned(),
                    source,
                });
            }
        };
        Self::parse(named, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let empty = text
            .lines()
            .all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'));
        let text: Text = if empty {
            Text::default()
        } else {
            serde_saphyr::from_str(text).map_err(|error| ConfigError::parse(path, &error))?
        };
        let fault = |key| {
            move |source: Box<dyn std::error::Error + Send + Sync>| ConfigError::Value {
                path: path.to_owned(),
                key,
                source,
            }
        };
        let default = Limits::default();
        let size = |key, text: Option<&String>, default| {
            text.map_or(Ok(default), |t| {
                ByteSize::parse(t).map_err(|e| fault(key)(e.into()))
            })
        };
        let limits = Limits {
            cpus: text
                .stands
                .limits
                .cpus
                .as_ref()
                .map_or(Ok(default.cpus), |t| Cpus::parse(t))
                .map_err(|e| fault("stands.limits.cpus")(e.into()))?,
            memory: size(
                "stands.limits.memory",
                text.stands.limits.memory.as_ref(),
                default.memory,
            )?,
            pids: text.stands.limits.pids.unwrap_or(default.pids),
            disk: size(
                "stands.limits.disk",
                text.stands.limits.disk.as_ref(),
                default.disk,
            )?,
        };
        let mut ingress = text
            .ingress
            .read()
            .map_err(|(key, source)| fault(key)(source))?;
        let dns = text
            .dns
            .read(ingress.zone.as_deref())
            .map_err(|(key, source)| fault(key)(source))?;
        // One zone unless somebody wants two: what is named is also routed.
        if ingress.zone.is_none() && !dns.zone_is_default {
            ingress.zone = Some(dns.zone.bare());
        }
        Ok(Self {
            addresses: Subnet::parse(&text.stands.addresses)
                .map_err(|e| fault("stands.addresses")(e.into()))?,
            state: text.state,
            socket: text.socket,
            listen: read_listen(text.listen).map_err(|(key, source)| fault(key)(source))?,
            bans: text
                .bans
                .read()
                .map_err(|(key, source)| fault(key)(source))?,
            limits,
            spares: text.stands.spares,
            refresh: text
                .images
                .refresh()
                .map_err(|(key, source)| fault(key)(source))?,
            mirrors: text.images.mirrors,
            insecure: text.images.insecure,
            cgroup: text
                .cgroup
                .or_else(cgroup_of_unit)
                .unwrap_or_else(|| CGROUP.to_owned()),
            registry: text
                .registry
                .read()
                .map_err(|(key, source)| fault(key)(source))?,
            certificates: text
                .certificates
                .read()
                .map_err(|(key, source)| fault(key)(source))?,
            ingress,
            dns,
            ssh: text
                .ssh
                .read()
                .map_err(|(key, source)| fault(key)(source))?,
            reachable: text
                .egress
                .read()
                .map_err(|(key, source)| fault(key)(source))?,
            builds: text
                .builds
                .read()
                .map_err(|(key, source)| fault(key)(source))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(Path::new("daas.yaml"), text)
    }

    #[test]
    fn an_empty_file_gives_the_defaults() {
        let config = parse("# nothing\n").unwrap();
        assert_eq!(config.limits, Limits::default());
        assert_eq!(config.addresses.to_string(), "127.64.0.0/10");
    }

    #[test]
    fn values_bear_units_and_unknown_keys_are_faults() {
        let config = parse("stands:\n  limits: {memory: 4 GiB, cpus: '3.5'}\n").unwrap();
        assert_eq!(
            (config.limits.memory, config.limits.cpus.0),
            (ByteSize::gib(4), 3500)
        );
        assert!(
            parse("stands:\n  limits: {memory: lots}\n")
                .unwrap_err()
                .to_string()
                .contains("stands.limits.memory")
        );
        let registry = parse(
            "registry:\n  listen: ['[::1]:0']\n  grace: 2h\n  caches: {docker.io: docker.io}\n",
        )
        .unwrap()
        .registry;
        assert!(registry.listen.len() == 1 && !registry.listen_is_default);
        assert_eq!(registry.grace, Span::secs(7200));
        assert!(parse("registry: {certificate: /x}\n").is_err());
        let egress =
            parse("egress: {allow: [10.1.0.0/16, 192.0.2.7]}\nbuilds: {caches: 2 GiB}\n").unwrap();
        let blocks: Vec<String> = egress.reachable.iter().map(ToString::to_string).collect();
        assert_eq!(blocks, ["10.1.0.0/16", "192.0.2.7/32"]);
        assert_eq!(egress.builds.caches, ByteSize::gib(2));
        assert!(parse("egress: {allow: [home]}\n").is_err());
        let listen = |text: &str| parse(&format!("listen: [{{address: {text}}}]\n"));
        assert!(!listen("'127.0.0.1:7000', tokens: /t").unwrap().listen[0].tls);
        assert!(
            listen("'0.0.0.0:7000', clients: {anna: operator}")
                .unwrap()
                .listen[0]
                .tls
        );
        assert!(listen("'0.0.0.0:7000'").is_err());
        assert!(listen("'127.0.0.1:7000', clients: {anna: operator}").is_err());
        let bans = parse("bans: {after: 3, time: 1h, allow: [10.0.0.0/8]}\n")
            .unwrap()
            .bans;
        assert_eq!(
            (bans.after, bans.time.as_secs(), bans.allow.len()),
            (3, 3600, 1)
        );
        assert!(parse("bans: {after: 0}\n").is_err());
        let ssh = parse(
            "ssh: {listen: [], idle: 2h, keys: [{name: anna, key: k, stands: ['shop-*']}]}\n",
        )
        .unwrap()
        .ssh;
        assert!(ssh.listen.addresses.is_empty() && !ssh.listen.is_default);
        assert_eq!(
            (ssh.idle, ssh.keys[0].2.stands.len()),
            (Span::secs(7200), 1)
        );
        assert!(parse("ssh: {passwords: true}\n").is_err());
        let refresh = |text: &str| {
            parse(&format!("images: {{refresh: {text}}}\n")).map(|config| config.refresh)
        };
        assert_eq!(refresh("weekly").unwrap(), Some(Span::secs(604_800)));
        assert_eq!(refresh("never").unwrap(), None);
        assert!(refresh("1s").is_err() && refresh("often").is_err());
        let error = parse("stnads: {}\n").unwrap_err();
        assert!(
            daas_model::render_chain(&error).contains("stnads"),
            "{}",
            daas_model::render_chain(&error)
        );
    }
}
