//! The listener: who is let in to sign in, and how connections end.

use crate::gate::{Gate, Pulse};
use crate::host_key::HostKey;
use crate::keyring::Keyring;
use crate::room::House;
use crate::visit::{Facts, Visit, VisitError, WINDOW};
use daas_tasks::{Bans, Counted, Crowd, Shutdown, Supervisor};
use russh::keys::{Algorithm, EcdsaCurve, HashAlg};
use russh::server::{Config, Handle, RunningSession};
use russh::{Disconnect, MethodKind, MethodSet, Preferred, SshId, cipher, compression, kex, mac};
use std::borrow::Cow;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The pause after a failed accept: mostly there are too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Failed tries of one connection: the question for methods and six keys, as many as sshd lets try.
const TRIES: usize = 7;
/// How often the other side is asked whether it lives, and how often it may be silent: a person may have stopped a client for minutes.
const ALIVE: Duration = Duration::from_secs(60);
const MOST_SILENT: usize = 10;
/// How often it is looked whether a connection is idle.
const LOOK: Duration = Duration::from_secs(15);
/// How long a connection may take to say good-bye.
const GOOD_BYE: Duration = Duration::from_secs(2);
/// How long a client may take to leave whose sessions have ended.
const LEAVING: Duration = Duration::from_secs(2);

/// How the door behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How long a connection may take to sign in.
    pub sign_in: Duration,
    /// How long nothing may move in a connection's sessions.
    pub idle: Duration,
    /// How long a connection without any channel stays.
    pub empty: Duration,
    /// The most connections of one client.
    pub per_peer: usize,
    /// The most connections in all.
    pub in_all: usize,
    /// The most connections that have not signed in yet.
    pub strangers: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            // A person types the passphrase of a key meanwhile; sshd gives two minutes, and is known for being held up.
            sign_in: Duration::from_secs(30),
            idle: Duration::from_secs(12 * 3600),
            // `ControlPersist` has them.
            empty: Duration::from_secs(600),
            per_peer: 64,
            in_all: 512,
            strangers: 64,
        }
    }
}

/// The door. A clone is another handle of the same.
#[derive(Clone)]
pub struct Door {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    config: Arc<Config>,
    keyring: Keyring,
    house: Arc<dyn House>,
    bans: Bans,
    tasks: Supervisor,
    room: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
    crowd: Crowd,
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door")
            .field("settings", &self.inner.settings)
            .finish_non_exhaustive()
    }
}

/// The seats of one connection, given back when it ends.
struct Seats {
    _room: OwnedSemaphorePermit,
    _counted: Counted,
}

impl Door {
    /// Makes a door; nobody is let in yet.
    #[must_use]
    pub fn new(
        settings: Settings,
        host_key: &HostKey,
        keyring: Keyring,
        house: Arc<dyn House>,
        bans: Bans,
        tasks: Supervisor,
    ) -> Self {
        let inner = Inner {
            config: Arc::new(config(host_key)),
            room: Arc::new(Semaphore::new(settings.in_all)),
            strangers: Arc::new(Semaphore::new(settings.strangers)),
            crowd: Crowd::default(),
            settings,
            keyring,
            house,
            bans,
            tasks,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Lets everybody come to this listener, until the shutdown.
    pub fn open(&self, listener: TcpListener) {
        let inner = self.inner.clone();
        let work = move |shutdown| async move { inner.accept(listener, shutdown).await };
        drop(self.inner.tasks.run("ssh door", work));
    }
}

impl Inner {
    async fn accept(self: Arc<Self>, listener: TcpListener, shutdown: Shutdown) {
        loop {
            let next = async {
                // Who comes when all seats are taken waits in the kernel's queue.
                let seat = self.room.clone().acquire_owned().await;
                (listener.accept().await, seat)
            };
            let (accepted, seat) = tokio::select! {
                next = next => next,
                () = shutdown.asked() => return,
            };
            let (Ok((stream, peer)), Ok(seat)) = (accepted, seat) else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            // Dropping the stream closes it.
            if self.bans.is_banned(peer.ip()) {
                continue;
            }
            let Some(counted) = self.crowd.enter(peer.ip(), self.settings.per_peer) else {
                continue;
            };
            let Ok(stranger) = self.strangers.clone().try_acquire_owned() else {
                continue;
            };
            let seats = Seats {
                _room: seat,
                _counted: counted,
            };
            let this = self.clone();
            drop(
                self.tasks
                    .run(format!("ssh {peer}"), move |shutdown| async move {
                        let _seats = seats;
                        this.visit(stream, peer, stranger, shutdown).await;
                    }),
            );
        }
    }

    /// Serves one connection to its end.
    async fn visit(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        stranger: OwnedSemaphorePermit,
        shutdown: Shutdown,
    ) {
        // A key press is a packet, and is not kept back for more.
        let _ = stream.set_nodelay(true);
        let (pulse, facts) = (Pulse::new(), Arc::new(Facts::default()));
        let gate = Gate::new(stream, pulse.clone(), self.settings.sign_in);
        let visit = Visit {
            house: self.house.clone(),
            keyring: self.keyring.clone(),
            tasks: self.tasks.clone(),
            peer,
            pulse: pulse.clone(),
            facts: facts.clone(),
            stranger: Some(stranger),
            visitor: None,
            lanes: HashMap::new(),
        };
        let begun = tokio::select! {
            begun = russh::server::run_stream(self.config.clone(), gate, visit) => begun,
            () = shutdown.asked() => return,
        };
        match begun {
            Ok(running) => self.attend(running, &pulse, &facts, &shutdown).await,
            Err(error) => tracing::debug!(%peer, %error, "no SSH is spoken"),
        }
        // The library's task ends with its stream, whatever it waits for.
        pulse.end.cancel();
        if !pulse.is_signed_in() && facts.tried.load(Ordering::Relaxed) {
            // The delay that is asked for is what the next connection costs anyway.
            let _ = self.bans.failed(peer.ip(), "no known key over SSH");
        }
    }

    /// Waits for the end of a connection, and ends it when it must end.
    async fn attend(
        &self,
        mut running: RunningSession<Visit>,
        pulse: &Pulse,
        facts: &Facts,
        shutdown: &Shutdown,
    ) {
        let handle = running.handle();
        let mut sessions = facts.sessions.subscribe();
        let look = LOOK.min(self.settings.idle).min(self.settings.empty);
        let why = loop {
            tokio::select! {
                ended = &mut running => {
                    log_end(ended);
                    return;
                }
                () = shutdown.asked() => {
                    // Sessions say it on their standard error, which every client shows, and mostly leave by themselves: this reason would
                    // be a second line, or the only one: OpenSSH shows nothing more that came before it. They may have ended just now.
                    if sessions.has_changed().unwrap_or(false) {
                        let _ = tokio::time::timeout(GOOD_BYE, sessions.wait_for(|left| *left == 0)).await;
                        if let Ok(ended) = tokio::time::timeout(LEAVING, &mut running).await {
                            log_end(ended);
                            return;
                        }
                    }
                    break "the daemon ends or is replaced; the stand lives on";
                }
                () = tokio::time::sleep(look) => {
                    let still = pulse.still();
                    if still > self.settings.idle {
                        break "nothing has moved for too long";
                    }
                    if pulse.is_signed_in() && facts.channels.load(Ordering::Relaxed) == 0 && still > self.settings.empty {
                        break "there was no session for too long";
                    }
                }
            }
        };
        say_good_bye(&handle, why).await;
        let _ = tokio::time::timeout(GOOD_BYE, running).await;
    }
}

async fn say_good_bye(handle: &Handle, why: &str) {
    let said = handle.disconnect(Disconnect::ByApplication, why.to_owned(), String::new());
    // Whoever does not read does not hear it.
    let _ = tokio::time::timeout(GOOD_BYE, said).await;
}

fn log_end(ended: Result<(), VisitError>) {
    if let Err(error) = ended {
        tracing::debug!(cause = %daas_model::render_chain(&error), "a connection over SSH ended early");
    }
}

const fn ecdsa(curve: EcdsaCurve) -> Algorithm {
    Algorithm::Ecdsa { curve }
}

const fn rsa(hash: HashAlg) -> Algorithm {
    Algorithm::Rsa { hash: Some(hash) }
}

/// How keys may sign, told by `server-sig-algs` (RFC 8308, section 3.1).
static SIGNED_BY: [Algorithm; 6] = [
    Algorithm::Ed25519,
    ecdsa(EcdsaCurve::NistP256),
    ecdsa(EcdsaCurve::NistP384),
    ecdsa(EcdsaCurve::NistP521),
    rsa(HashAlg::Sha512),
    rsa(HashAlg::Sha256),
];

/// What is spoken: no SHA-1, no CBC, nothing that was broken; every OpenSSH since 7.2 (2016) has it.
fn config(host_key: &HostKey) -> Config {
    let preferred = Preferred {
        kex: Cow::Borrowed(&[
            kex::MLKEM768X25519_SHA256,
            kex::CURVE25519,
            kex::CURVE25519_PRE_RFC_8731,
            kex::EXTENSION_SUPPORT_AS_SERVER,
            kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
        ]),
        key: Cow::Borrowed(&SIGNED_BY),
        host_key_certificates: Cow::Borrowed(&[]),
        cipher: Cow::Borrowed(&[
            cipher::AES_256_GCM,
            cipher::AES_128_GCM,
            cipher::CHACHA20_POLY1305,
            cipher::AES_256_CTR,
        ]),
        mac: Cow::Borrowed(&[mac::HMAC_SHA256_ETM, mac::HMAC_SHA512_ETM]),
        compression: Cow::Borrowed(&[compression::NONE]),
    };
    Config {
        // No version: whoever looks for holes learns nothing.
        server_id: SshId::Standard(Cow::Borrowed("SSH-2.0-daas")),
        methods: MethodSet::from(&[MethodKind::PublicKey][..]),
        // Nothing here depends on anything but the key that was shown.
        auth_rejection_time: Duration::ZERO,
        keys: vec![host_key.private()],
        window_size: WINDOW,
        maximum_packet_size: 32 * 1024,
        preferred,
        max_auth_attempts: TRIES,
        inactivity_timeout: None,
        keepalive_interval: Some(ALIVE),
        keepalive_max: MOST_SILENT,
        // The connection's own: set before.
        nodelay: false,
        // More would wait in the library than in the program's pipe.
        channel_buffer_size: 1,
        event_buffer_size: 16,
        ..Config::default()
    }
}
