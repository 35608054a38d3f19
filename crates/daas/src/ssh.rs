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
use std::net::{SocketAddr, TcpListener};
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

    /// Returns how it is seen from outside.
    pub(crate) fn outside(&self) -> SshOutside {
        let addresses = self.listeners.iter().filter_map(|l| l.local_addr().ok());
        SshOutside {
            listens: addresses.map(|address| address.to_string()).collect(),
            host_key: self.key.line(),
            fingerprint: self.key.fingerprint(),
        }
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
