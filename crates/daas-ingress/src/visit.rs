//! One connection from outside, as its requests see it.

use hyper::header::HeaderValue;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

/// What became of an upgrade that a request asked for.
const NO_UPGRADE: u8 = 0;
pub(crate) const ASKED: u8 = 1;
pub(crate) const SWITCHED: u8 = 2;

/// What the reader of a connection and the requests on it tell each other.
#[derive(Debug)]
pub(crate) struct Signals {
    busy: AtomicUsize,
    /// Milliseconds since `since` at which the last request ended.
    ended: AtomicU64,
    since: Instant,
    upgrade: AtomicU8,
    /// Who waits until the upgrade is settled.
    waiting: Mutex<Option<Waker>>,
}

impl Signals {
    pub(crate) fn new() -> Self {
        Self {
            busy: AtomicUsize::new(0),
            ended: AtomicU64::new(0),
            since: Instant::now(),
            upgrade: AtomicU8::new(NO_UPGRADE),
            waiting: Mutex::default(),
        }
    }

    /// Returns how it stands with another protocol.
    pub(crate) fn upgrade(&self) -> u8 {
        self.upgrade.load(Ordering::Acquire)
    }

    /// Says that a request asks for another protocol.
    pub(crate) fn ask_upgrade(&self) {
        self.upgrade.store(ASKED, Ordering::Release);
    }

    /// Says what became of it, and calls whoever waits for that.
    pub(crate) fn settle_upgrade(&self, switched: bool) {
        let to = if switched { SWITCHED } else { NO_UPGRADE };
        if self.upgrade.swap(to, Ordering::AcqRel) == ASKED
            && let Some(waker) = self
                .waiting
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take()
        {
            waker.wake();
        }
    }

    /// Remembers whom to call when it is settled.
    pub(crate) fn wait_for_upgrade(&self, waker: &Waker) {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker.clone());
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed) > 0
    }

    /// Returns when the last request ended; nothing if there was none.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        match self.ended.load(Ordering::Relaxed) {
            0 => None,
            ms => Some(self.since + Duration::from_millis(ms)),
        }
    }
}

/// One request under way.
pub(crate) struct Busy(Arc<Signals>);

impl Busy {
    pub(crate) fn new(signals: &Arc<Signals>) -> Self {
        signals.busy.fetch_add(1, Ordering::Relaxed);
        Self(signals.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let now = u64::try_from(self.0.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.ended.store(now.max(1), Ordering::Relaxed);
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One connection from outside.
#[derive(Debug)]
pub(crate) struct Visit {
    pub(crate) peer: SocketAddr,
    pub(crate) tls: bool,
    /// Whether what it says about clients before it is believed.
    pub(crate) trusted: bool,
    pub(crate) signals: Arc<Signals>,
    /// The peer's address as a header bears it.
    pub(crate) address: HeaderValue,
    /// The last host that was asked for, and the `Forwarded` that belongs to it: a connection nearly always asks for one.
    forwarded: Mutex<Option<(HeaderValue, HeaderValue)>>,
}

impl Visit {
    pub(crate) fn new(peer: SocketAddr, tls: bool, trusted: bool) -> Self {
        let ip = peer.ip().to_canonical();
        Self {
            peer,
            tls,
            trusted,
            signals: Arc::new(Signals::new()),
            address: HeaderValue::try_from(ip.to_string())
                .unwrap_or(HeaderValue::from_static("unknown")),
            forwarded: Mutex::default(),
        }
    }

    pub(crate) fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }

    /// Returns the `Forwarded` of this connection (RFC 7239 section 4), for one host.
    pub(crate) fn forwarded(&self, host: &HeaderValue) -> HeaderValue {
        let mut last = self
            .forwarded
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((of, value)) = &*last
            && of == host
        {
            return value.clone();
        }
        let node = match self.peer.ip().to_canonical() {
            IpAddr::V4(v4) => v4.to_string(),
            IpAddr::V6(v6) => format!("\"[{v6}]\""),
        };
        let text = format!(
            "for={node};host=\"{}\";proto={}",
            host.to_str().unwrap_or_default(),
            self.scheme()
        );
        let value = HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("for=unknown"));
        *last = Some((host.clone(), value.clone()));
        value
    }
}
