//! The SSH door's place in the house: its addresses, the host's key, and who may sign in.

use crate::config::{Addresses, Config, Fault};
use crate::handover::{self, Handed};
use crate::serve::ServeError;
use daas_certs::Vault;
use daas_control::{Control, SshOutside};
use daas_model::Span;
use daas_ssh::{Door, HostKey, Keyring, Rights, Settings};
use daas_store::{Record, Store};
use daas_tasks::{Bans, Supervisor};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

/// The port, beside the 22 that the machine's own door has.
const PORT: u16 = 2222;
/// Where the seed of the host's key lies, sealed.
const HOST: &str = "host";

/// Who may sign in over SSH, and where.
#[derive(Debug, Clone)]
pub(crate) struct SshConfig {
    /// Where it listens.
    pub(crate) listen: Addresses,
    /// Keys by name, with what each may enter.
    pub(crate) keys: Vec<(String, String, Rights)>,
    /// Files like `authorized_keys`.
    pub(crate) key_files: Vec<PathBuf>,
    /// How long nothing may move in a connection.
    pub(crate) idle: Span,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SshText {
    listen: Option<Vec<SocketAddr>>,
    keys: Vec<KeyText>,
    key_files: Vec<PathBuf>,
    idle: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyText {
    name: String,
    key: String,
    #[serde(default)]
    projects: Vec<String>,
    #[serde(default)]
    stands: Vec<String>,
}

impl SshText {
    /// Returns what it says, with its defaults.
    pub(crate) fn read(self) -> Result<SshConfig, Fault> {
        let usual = Span(Settings::default().idle);
        let idle = self.idle.map_or(Ok(usual), |text| Span::parse(&text));
        let keys = self.keys.into_iter().map(|text| {
            let rights = Rights {
                projects: text.projects,
                stands: text.stands,
            };
            (text.name, text.key, rights)
        });
        Ok(SshConfig {
            listen: Addresses::of(self.listen, PORT),
            keys: keys.collect(),
            key_files: self.key_files,
            idle: idle.map_err(|error| ("ssh.idle", error.into()))?,
        })
    }
}

/// The seed of the host's key, sealed as other keys are (decision 0025).
#[derive(Debug, Serialize, Deserialize)]
struct HostKeyRecord {
    sealed: String,
}

impl Record for HostKeyRecord {
    const KIND: &'static str = "ssh-host-key";
}

/// The door before anybody is let in.
pub(crate) struct SshGate {
    listeners: Vec<TcpListener>,
    key: HostKey,
    pub(crate) keyring: Keyring,
    idle: Span,
}

impl SshGate {
    /// Binds what the configuration asks for, and opens the keys. Addresses that nobody asked for may be taken by somebody else.
    pub(crate) async fn bind(
        config: &Config,
        store: &Store,
        handed: &mut Handed,
    ) -> Result<Self, ServeError> {
        let key = host_key(&config.state, store).await?;
        let ssh = &config.ssh;
        let keyring = Keyring::open(store.clone(), ssh.keys.clone(), ssh.key_files.clone())?;
        let mut listeners = Vec::new();
        for address in &ssh.listen.addresses {
            match listen(*address, handed) {
                Ok(listener) => listeners.push(listener),
                Err(error) if ssh.listen.is_default => {
                    tracing::warn!(%address, %error, "the SSH door is not open there; `ssh.listen` names other addresses");
                }
                Err(source) => {
                    return Err(ServeError::Listen {
                        address: *address,
                        source,
                    });
                }
            }
        }
        Ok(Self {
            listeners,
            key,
            keyring,
            idle: ssh.idle,
        })
    }

    /// Returns how it is seen from outside; `zone` is the domain that leads to this machine.
    pub(crate) fn outside(&self, zone: Option<&str>) -> SshOutside {
        let around = Surroundings::look(zone);
        SshOutside {
            known_as: known_as(self.bound(), &around),
            listens: self.addresses(),
            host_key: self.key.line(),
            fingerprint: self.key.fingerprint(),
        }
    }

    fn bound(&self) -> impl Iterator<Item = SocketAddr> {
        self.listeners.iter().filter_map(|l| l.local_addr().ok())
    }

    /// Returns where it listens.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.bound().map(|address| address.to_string()).collect()
    }

    /// Lets everybody in.
    pub(crate) fn open(
        self,
        control: &Control,
        bans: &Bans,
        tasks: &Supervisor,
    ) -> Result<(), ServeError> {
        let settings = Settings {
            idle: self.idle.0,
            ..Settings::default()
        };
        let door = Door::new(
            settings,
            &self.key,
            self.keyring,
            control.ssh_house(),
            bans.clone(),
            tasks.clone(),
        );
        for listener in self.listeners {
            let listener = tokio::net::TcpListener::from_std(listener);
            door.open(listener.map_err(ServeError::Runtime)?);
        }
        Ok(())
    }
}

/// What this machine is called.
struct Surroundings {
    /// Its own name, and the domain that leads to it.
    names: Vec<String>,
    /// Its address towards others.
    address: Option<IpAddr>,
}

impl Surroundings {
    fn look(zone: Option<&str>) -> Self {
        let own = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let names = [own.trim(), zone.unwrap_or_default()];
        let names = names.into_iter().filter(|name| !name.is_empty());
        Self {
            names: names.map(str::to_owned).collect(),
            address: crate::dns::way_out(),
        }
    }
}

/// Returns how clients may name the door, as `known_hosts` does (sshd(8), "`SSH_KNOWN_HOSTS` FILE FORMAT").
///
/// Loopback has one name; every other address has the machine's, and "every address" all of them.
fn known_as(addresses: impl Iterator<Item = SocketAddr>, around: &Surroundings) -> Vec<String> {
    let mut hosts: Vec<String> = Vec::new();
    for at in addresses {
        let mut names: Vec<String> = Vec::new();
        if at.ip().is_unspecified() || at.ip().is_loopback() {
            names.push("localhost".into());
        }
        if at.ip().is_unspecified() {
            names.push(Ipv4Addr::LOCALHOST.to_string());
            names.extend(at.is_ipv6().then(|| Ipv6Addr::LOCALHOST.to_string()));
            names.extend(around.address.map(|address| address.to_string()));
        } else {
            names.push(at.ip().to_string());
        }
        if !at.ip().is_loopback() {
            names.extend(around.names.iter().cloned());
        }
        for name in names {
            let host = match at.port() {
                22 => name,
                port => format!("[{name}]:{port}"),
            };
            if !hosts.contains(&host) {
                hosts.push(host);
            }
        }
    }
    hosts
}

fn listen(address: SocketAddr, handed: &mut Handed) -> std::io::Result<TcpListener> {
    // Any port means another one than that of before: it may be the ingress's.
    let old = (address.port() != 0)
        .then(|| handed.find(address))
        .flatten();
    let listener = match old {
        Some(socket) => TcpListener::from(socket),
        None => {
            let listener = TcpListener::bind(address)?;
            handover::keep(&listener, "ssh", address);
            listener
        }
    };
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Returns the host's key, which is made at the first start and stays: people's clients know it.
async fn host_key(state: &Path, store: &Store) -> Result<HostKey, ServeError> {
    let vault = Vault::open(state, store, "ssh").await?;
    let place = format!("ssh-host-key/{HOST}");
    if let Some(kept) = store.get::<HostKeyRecord>(HOST)? {
        let seed = vault.unseal(&place, &kept.value.sealed)?;
        let seed: &[u8; 32] = seed
            .as_slice()
            .try_into()
            .map_err(|_| daas_certs::SealError::Damaged { place })?;
        return Ok(HostKey::of_seed(seed));
    }
    let seed = HostKey::new_seed().map_err(ServeError::Runtime)?;
    let sealed = vault.seal(&place, &seed[..]);
    store.put(HOST, &HostKeyRecord { sealed }).await?;
    Ok(HostKey::of_seed(&seed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_door_is_known_by_every_name_that_leads_to_where_it_listens() {
        let around = Surroundings {
            names: vec!["box".into(), "dev.example.com".into()],
            address: Some([10, 0, 0, 5].into()),
        };
        let of = |all: &[&str]| {
            let all = all.iter().map(|text| text.parse().unwrap());
            known_as(all, &around).join(" ")
        };
        assert_eq!(
            of(&["127.0.0.1:2222", "[::1]:2222"]),
            "[localhost]:2222 [127.0.0.1]:2222 [::1]:2222"
        );
        assert_eq!(
            of(&["0.0.0.0:22"]),
            "localhost 127.0.0.1 10.0.0.5 box dev.example.com"
        );
        assert_eq!(
            of(&["127.0.0.1:2222", "10.0.0.5:22"]),
            "[localhost]:2222 [127.0.0.1]:2222 10.0.0.5 box dev.example.com"
        );
    }
}
