//! The certificates' place in the house: what the configuration says of them, and who else needs them.

use crate::config::{Config, Fault};
use crate::dns::Names;
use crate::ingress::Shown;
use crate::serve::ServeError;
use daas_api::Caller;
use daas_certs::{
    AcmeSettings, Binding, Budget, CertName, Certificates, ChallengeKind, DnsAnswers, GivenFiles,
    Settings, SystemClock,
};
use daas_dns::{Dns, Name, TxtGuard};
use daas_ingress::{ChallengeAnswers, IsSecure};
use daas_server::{Identity, KnownClients, Role};
use daas_store::Store;
use daas_tasks::{Supervisor, TaskError};
use futures_util::future::BoxFuture;
use rustls::ServerConfig;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What the file says below `certificates:`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CertificatesText {
    zones: Vec<String>,
    names: Vec<NamesText>,
    acme: Vec<AcmeText>,
    files: Vec<FilesText>,
    weekly: Option<usize>,
    inside: Option<bool>,
    stands: Option<bool>,
    delegations: BTreeMap<String, String>,
}

/// One name, or several for one certificate.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum NamesText {
    One(String),
    Many(Vec<String>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AcmeText {
    directory: String,
    #[serde(default)]
    contact: Vec<String>,
    eab: Option<EabText>,
    challenge: Option<String>,
    roots: Option<PathBuf>,
    profile: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EabText {
    key_id: String,
    key_file: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FilesText {
    certificate: PathBuf,
    key: PathBuf,
}

/// What the configuration says of certificates.
#[derive(Debug, Clone)]
pub(crate) struct CertificatesConfig {
    pub(crate) zones: Vec<CertName>,
    pub(crate) names: Vec<Vec<CertName>>,
    pub(crate) acme: Vec<AcmeSettings>,
    pub(crate) files: Vec<GivenFiles>,
    pub(crate) budget: Budget,
    /// Whether nodes and commands of builds trust the private authority.
    pub(crate) inside: bool,
    /// Whether stands have wildcards of their own from an authority.
    pub(crate) stands: bool,
    pub(crate) delegations: BTreeMap<CertName, CertName>,
}

fn name(key: &'static str) -> impl Fn(&String) -> Result<CertName, Fault> {
    move |text| CertName::parse(text).map_err(|error| (key, error.into()))
}

impl CertificatesText {
    /// Returns what it says, with its defaults.
    pub(crate) fn read(self) -> Result<CertificatesConfig, Fault> {
        let names = self.names.into_iter().map(|names| {
            let list = match names {
                NamesText::One(one) => vec![one],
                NamesText::Many(many) => many,
            };
            if list.is_empty() {
                return Err(("certificates.names", "an empty list".into()));
            }
            list.iter().map(name("certificates.names")).collect()
        });
        let delegations = self.delegations.iter().map(|(from, to)| {
            let read = name("certificates.delegations");
            let from = read(from)?;
            // Both `example.com` and `_acme-challenge.example.com` are understood.
            let asked = format!("_acme-challenge.{}", from.base());
            let from = if from.as_str().starts_with("_acme-challenge.") {
                from
            } else {
                read(&asked)?
            };
            Ok((from, read(to)?))
        });
        let files = self.files.into_iter().map(|files| GivenFiles {
            certificate: files.certificate,
            key: files.key,
        });
        Ok(CertificatesConfig {
            zones: self
                .zones
                .iter()
                .map(name("certificates.zones"))
                .collect::<Result<_, _>>()?,
            names: names.collect::<Result<_, Fault>>()?,
            acme: self
                .acme
                .into_iter()
                .map(AcmeText::read)
                .collect::<Result<_, _>>()?,
            files: files.collect(),
            inside: self.inside.unwrap_or(true),
            stands: self.stands.unwrap_or(true),
            budget: self
                .weekly
                .map_or_else(Budget::default, |weekly| Budget { weekly }),
            delegations: delegations.collect::<Result<_, Fault>>()?,
        })
    }
}

impl AcmeText {
    fn read(self) -> Result<AcmeSettings, Fault> {
        let directory =
            AcmeSettings::known(&self.directory).map_or(self.directory.clone(), ToOwned::to_owned);
        if !directory.starts_with("https://") {
            return Err((
                "certificates.acme.directory",
                format!(
                    "`{}` is no https URL, and none of {}",
                    self.directory.escape_debug(),
                    AcmeSettings::KNOWN.join(", ")
                )
                .into(),
            ));
        }
        let challenge = self.challenge.map(|text| {
            ChallengeKind::parse(&text).ok_or_else(|| -> Fault {
                let why = format!(
                    "`{}` is none of http-01, tls-alpn-01, dns-01",
                    text.escape_debug()
                );
                ("certificates.acme.challenge", why.into())
            })
        });
        let binding = self.eab.map(|eab| {
            let failed = |error: std::io::Error| -> Fault {
                let why = format!("cannot read `{}`: {error}", eab.key_file.display());
                ("certificates.acme.eab", why.into())
            };
            let key = std::fs::read_to_string(&eab.key_file).map_err(failed)?;
            Ok::<_, Fault>(Binding {
                key_id: eab.key_id.clone(),
                key: key.into(),
            })
        });
        let mail = |text: String| {
            if text.contains(':') {
                text
            } else {
                format!("mailto:{text}")
            }
        };
        Ok(AcmeSettings {
            contact: self.contact.into_iter().map(mail).collect(),
            binding: binding.transpose()?,
            challenge: challenge.transpose()?,
            roots: self.roots,
            profile: self.profile,
            ..AcmeSettings::new(directory)
        })
    }
}

/// Opens the certificates; orders begin with [`Certificates::start`].
pub(crate) async fn open(
    config: &Config,
    store: Store,
    names: &Names,
    tasks: &Supervisor,
) -> Result<Certificates, ServeError> {
    let text = &config.certificates;
    let mut settings = Settings::new(&config.state);
    let routed = config.ingress.zone.as_deref();
    let routed = routed.and_then(|zone| CertName::parse(zone).ok());
    let served = CertName::parse(&names.zone().to_string()).ok();
    settings.zones.extend(served);
    settings.zones.extend(routed.clone());
    settings.zones.extend(text.zones.iter().cloned());
    settings.zones.sort();
    settings.zones.dedup();
    settings.addresses.extend(reachable(config));
    settings.files.clone_from(&text.files);
    settings.acme.clone_from(&text.acme);
    settings.wanted.clone_from(&text.names);
    // The zone of the stands has one wildcard for all of them without being asked for.
    if let Some(zone) = routed
        && let Some(star) = zone.star()
        && !text.names.iter().flatten().any(|name| *name == star)
    {
        settings.wanted.push(vec![star, zone]);
    }
    settings.budget = text.budget;
    settings.delegations.clone_from(&text.delegations);
    settings.resolver = names.resolvers().first().copied();
    settings.stands = text.stands;
    let clock = Arc::new(SystemClock);
    let certificates = Certificates::open(settings, store, clock, tasks.clone()).await?;
    certificates.add_dns(Arc::new(OwnDns {
        dns: names.server().clone(),
        answers: Mutex::default(),
    }));
    Ok(certificates)
}

/// Returns the roots that nodes and commands of builds trust; nothing where the configuration does not want it.
pub(crate) fn inside(config: &Config, certificates: &Certificates) -> Option<String> {
    let roots = certificates.roots();
    (config.certificates.inside && !roots.is_empty())
        .then(|| roots.into_iter().map(|root| root.pem).collect())
}

/// Returns what the ingress shows.
pub(crate) fn shown(config: &Config, certificates: &Certificates) -> Shown {
    // Everybody trusts an authority of the world; the private one is trusted where somebody said so.
    let secure = !config.certificates.acme.is_empty();
    Shown {
        certificates: Some(certificates.resolver()),
        challenges: Some(Arc::new(Challenges(certificates.http_answers()))),
        secure,
        is_secure: secure.then(|| {
            let resolver = certificates.resolver();
            Arc::new(move |host: &str| resolver.is_of_the_world(host)) as IsSecure
        }),
        trusted_by: trust_files(certificates),
    }
}

/// Returns how a door of the API speaks TLS: with the certificates of everything here, and with clients that show one of ours if they have one.
pub(crate) fn of_door(
    certificates: &Certificates,
    roles: BTreeMap<String, Role>,
) -> Result<(Arc<ServerConfig>, Option<KnownClients>), rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let known = certificates.client_verifier();
    let builder = if roles.is_empty() {
        builder.with_no_client_auth()
    } else {
        builder.with_client_cert_verifier(known.clone().optional())
    };
    let config = builder.with_cert_resolver(certificates.resolver());
    let has_roles = !roles.is_empty();
    let who: KnownClients = Arc::new(move |certificate| {
        let name = known.name_of(certificate)?;
        let role = *roles.get(&name)?;
        Some(Identity {
            caller: Caller::Certificate { name },
            role,
        })
    });
    Ok((Arc::new(config), has_roles.then_some(who)))
}

/// How long another name server may take to have the answer to a challenge.
const PUSHED: Duration = Duration::from_secs(30);

/// Answers to challenges in the house's own name server.
struct OwnDns {
    dns: Dns,
    answers: Mutex<HashMap<(String, String), TxtGuard>>,
}

impl std::fmt::Debug for OwnDns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OwnDns(..)")
    }
}

impl DnsAnswers for OwnDns {
    fn serves(&self, name: &CertName) -> bool {
        Name::parse(name.as_str()).is_ok_and(|name| self.dns.serves(&name))
    }

    fn set_txt<'a>(
        &'a self,
        name: &'a CertName,
        value: &'a str,
    ) -> BoxFuture<'a, Result<(), TaskError>> {
        let set = self.dns.set_txt(name.as_str(), &[value.to_owned()]);
        let kept = set.map(|guard| {
            let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
            answers.insert((name.to_string(), value.to_owned()), guard);
        });
        Box::pin(async move {
            kept.map_err(TaskError::from)?;
            // Where the world asks another server, that one must have it before the authority looks.
            if let Ok(name) = Name::parse(name.as_str())
                && !self.dns.pushed(&name, PUSHED).await
            {
                return Err("the name server that the zone is pushed to does not take the record; `names are not pushed` in the daemon's log says why".into());
            }
            Ok(())
        })
    }

    fn remove_txt<'a>(
        &'a self,
        name: &'a CertName,
        value: &'a str,
    ) -> BoxFuture<'a, Result<(), TaskError>> {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.remove(&(name.to_string(), value.to_owned()));
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Returns the addresses at which the house listens, as far as they are one machine's.
fn reachable(config: &Config) -> impl Iterator<Item = IpAddr> {
    let doors = config.listen.iter().map(|door| door.address);
    let registry = config.registry.listen.iter().copied();
    let ingress = config.ingress.listen_tls.addresses.iter().copied();
    let all = doors.chain(registry).chain(ingress);
    // Who listens everywhere is found by the address that this machine uses towards others.
    all.filter_map(|address| match address.ip() {
        ip if ip.is_unspecified() => crate::dns::way_out(),
        ip => Some(ip),
    })
    .filter(|ip| !ip.is_loopback())
}

/// Answers what authorities ask by plain HTTP.
struct Challenges(Arc<daas_certs::HttpAnswers>);

impl ChallengeAnswers for Challenges {
    fn http_answer(&self, _host: &str, token: &str) -> Option<String> {
        self.0.answer(token)
    }
}

/// Returns the files by which this machine trusts the private authority, as `daas certificate trust` writes them.
fn trust_files(certificates: &Certificates) -> Vec<PathBuf> {
    let folders = [
        "/usr/local/share/ca-certificates",
        "/etc/pki/ca-trust/source/anchors",
    ];
    let names: Vec<String> = certificates
        .roots()
        .iter()
        .map(|root| {
            format!(
                "daas-{}.crt",
                root.fingerprint.chars().take(16).collect::<String>()
            )
        })
        .collect();
    folders
        .iter()
        .flat_map(|folder| {
            names
                .iter()
                .map(move |name| PathBuf::from(folder).join(name))
        })
        .collect()
}
