//! The ingress's place in the house: its listeners on the host, and how it is seen from there.

use crate::config::{Config, IngressConfig};
use crate::handover::{self, Handed};
use crate::serve::ServeError;
use daas_control::Outside;
use daas_engine::dial::Dialer;
use daas_ingress::{ChallengeAnswers, Ingress, IsSecure, Listener, Settings};
use daas_model::StandName;
use daas_tasks::{Bans, Supervisor};
use rustls::server::ResolvesServerCert;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::mpsc::UnboundedSender;

/// What the ingress shows and answers for whoever has certificates.
#[derive(Clone, Default)]
pub(crate) struct Shown {
    /// Who shows certificates; without one, nothing is listened to for TLS.
    pub(crate) certificates: Option<Arc<dyn ResolvesServerCert>>,
    /// Who answers certificate authorities.
    pub(crate) challenges: Option<Arc<dyn ChallengeAnswers>>,
    /// Whether certificates that everybody trusts are shown where there are any: then URLs begin with `https`.
    pub(crate) secure: bool,
    /// For which hosts there is one now: plain requests are sent to TLS.
    pub(crate) is_secure: Option<IsSecure>,
    /// Files by which this machine trusts the private authority.
    pub(crate) trusted_by: Vec<PathBuf>,
}

/// The addresses of the ingress before anybody is let in.
pub(crate) struct Gates {
    listeners: Vec<Arc<Listener>>,
    shown: Shown,
}

impl Gates {
    /// Binds what the configuration asks for. Addresses that nobody asked for may be taken by somebody else.
    pub(crate) fn bind(
        config: &IngressConfig,
        shown: Shown,
        mut handed: Handed,
    ) -> Result<Self, ServeError> {
        let mut listeners = Vec::new();
        for (list, tls) in [(&config.listen, false), (&config.listen_tls, true)] {
            if tls && shown.certificates.is_none() {
                continue;
            }
            for address in &list.addresses {
                let opened = match handed.find(*address) {
                    Some(socket) => Listener::adopt(socket, tls),
                    None => Listener::bind(*address, tls).inspect(|listener| {
                        handover::keep(listener, "ingress", listener.address());
                    }),
                };
                match opened {
                    Ok(listener) => listeners.push(Arc::new(listener)),
                    Err(error) if list.is_default => {
                        tracing::warn!(%address, %error, "the ingress is not served there; `ingress.listen` and `ingress.listen_tls` name other addresses");
                    }
                    Err(source) => {
                        return Err(ServeError::Listen {
                            address: *address,
                            source,
                        });
                    }
                }
            }
        }
        Ok(Self { listeners, shown })
    }

    /// Makes the ingress; nobody is let in yet.
    pub(crate) fn ingress(
        &self,
        config: &Config,
        dialer: Dialer,
        tasks: &Supervisor,
        visits: UnboundedSender<StandName>,
        bans: Bans,
    ) -> Result<Ingress, ServeError> {
        let settings = Settings {
            trusted: config.ingress.trusted.clone(),
            access_log: config
                .ingress
                .access_log
                .then(|| config.state.join("access.log")),
            // Nobody to wake any more means that the house is ending.
            visited: Some(Arc::new(move |stand: &StandName| {
                let _ = visits.send(stand.clone());
            })),
            certificates: self.shown.certificates.clone(),
            challenges: self.shown.challenges.clone(),
            bans: Some(bans),
            is_secure: self.shown.is_secure.clone(),
            with_addresses: vec![config.dns.zone.bare()],
            zones: self
                .outside(config)
                .zones()
                .map(ToOwned::to_owned)
                .collect(),
            ..Settings::default()
        };
        Ok(Ingress::new(settings, dialer, tasks.clone())?)
    }

    /// Returns where it listens, with TLS or without.
    pub(crate) fn addresses(&self, tls: bool) -> Vec<String> {
        let listeners = self.listeners.iter().filter(|l| l.is_tls() == tls);
        listeners.map(|l| l.address().to_string()).collect()
    }

    /// Returns how it is seen from outside.
    pub(crate) fn outside(&self, config: &Config) -> Outside {
        let names = config.dns.zone.bare();
        let config = &config.ingress;
        let port = |tls| {
            self.listeners
                .iter()
                .find(|l| l.is_tls() == tls)
                .map(|l| l.address().port())
        };
        Outside {
            names: (config.zone.as_ref() != Some(&names)).then_some(names),
            zone: config.zone.clone(),
            http: port(false),
            https: port(true),
            secure: self.shown.secure,
            trusted_by: self.shown.trusted_by.clone(),
            listen: self
                .listeners
                .iter()
                .map(|l| l.address().ip())
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect(),
        }
    }

    /// Returns the ports at which names of the platform answer inside of stands: those of outside, so that URLs are the same, and the usual one of TLS.
    /// That of plain HTTP is the registry's there.
    pub(crate) fn ports_inside(&self) -> BTreeSet<(u16, bool)> {
        let own = self
            .listeners
            .iter()
            .map(|l| (l.address().port(), l.is_tls()));
        let mut ports: BTreeSet<_> = own.filter(|(port, _)| *port != 80).collect();
        if self.listeners.iter().any(|l| l.is_tls()) {
            ports.insert((443, true));
        }
        ports
    }

    /// Lets everybody in.
    pub(crate) fn open(&self, ingress: &Ingress) {
        let list: Vec<String> = self
            .listeners
            .iter()
            .map(|l| l.address().to_string())
            .collect();
        tracing::info!(addresses = %list.join(" "), "the ingress is open");
        ingress.open(&self.listeners);
    }
}
