//! The proxy that a stand finds at its gateways.

use super::address::Outbound;
use super::body::{self, Ahead};
use super::guard::{Guard, Outside, Refusal, Resolve, SystemNames};
use super::head::{BadHead, Body, Request, Target, head_end, read_answer, read_request};
use crate::dial::{DialError, Dialer, StandNet};
use crate::publish::copy::{Traffic, both_ways};
use daas_model::{Explain, Kind, StandId, Subnet};
use daas_tasks::{Handle, Shutdown, Supervisor};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;

/// The port at every gateway, Squid's, which people know.
pub const PROXY_PORT: u16 = 3128;
/// The longest head. Cookies of 8 KiB are seen, and four of them fit.
const HEAD: usize = 32 * 1024;
/// How many times within the idle time the traffic is looked at.
const IDLE_STEPS: u32 = 20;
/// How long a client may go on talking after it was answered, so that it can read the answer.
const LINGER: Duration = Duration::from_secs(2);
/// The most that it may say in this time.
const LINGER_BYTES: usize = 256 * 1024;
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What stands may do through the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyConfig {
    /// Which addresses may be reached besides public ones.
    pub outbound: Outbound,
    /// Ports that may not be reached; mail by default, because a stand that sends spam ruins the whole team's address.
    pub closed_ports: Vec<u16>,
    /// Connections of one stand at once.
    pub most_connections: usize,
    /// How long a client may take for a head, from the beginning of the connection to the last byte of the head.
    pub head_time: Duration,
    /// How long nothing may pass either way before a connection ends.
    pub idle_time: Duration,
}

impl Default for ProxyConfig {
    fn default() -> Self {
        Self {
            outbound: Outbound::default(),
            closed_ports: vec![25],
            most_connections: 512,
            head_time: Duration::from_secs(15),
            idle_time: Duration::from_secs(600),
        }
    }
}

/// One connection through the proxy, told when it has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// The stand.
    pub stand: StandId,
    /// The address inside the stand that asked.
    pub client: IpAddr,
    /// The method, `CONNECT` for a tunnel.
    pub method: String,
    /// The name or address that was asked for.
    pub host: String,
    /// The port that was asked for.
    pub port: u16,
    /// What became of it.
    pub outcome: Outcome,
    /// Bytes of body or tunnel out of the stand.
    pub sent: u64,
    /// Bytes into the stand, heads of answers included.
    pub received: u64,
    /// From the accepted connection to its end.
    pub took: Duration,
}

/// What became of a connection through the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was made and came to its end; the status of the answer, 200 for a tunnel.
    Passed(u16),
    /// It was made, and one side went away, or nothing was said for too long.
    Broken,
    /// It was refused or failed, with this status and reason.
    Refused {
        /// The status that the client got.
        status: u16,
        /// Why.
        why: String,
    },
}

/// A proxy that could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the proxy of stand `{stand}` at {address}")]
pub struct ProxyError {
    /// The stand.
    pub stand: StandId,
    /// The gateway and port.
    pub address: SocketAddr,
    /// What the dialer said.
    pub source: DialError,
}

impl Explain for ProxyError {
    fn code(&self) -> &'static str {
        "egress-proxy"
    }

    fn kind(&self) -> Kind {
        Kind::Outside
    }

    fn hint(&self) -> Option<String> {
        Some("the address must be one of the stand's gateways; `egress: none` goes without the proxy".into())
    }
}

/// Opens proxies in stands. A clone is another handle of the same.
#[derive(Clone)]
pub struct EgressProxy {
    inner: Arc<Inner>,
}

struct Inner {
    supervisor: Supervisor,
    guard: Arc<Guard>,
    most_connections: usize,
    head_time: Duration,
    idle_time: Duration,
    accesses: mpsc::Sender<Access>,
}

impl std::fmt::Debug for EgressProxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EgressProxy").finish_non_exhaustive()
    }
}

impl EgressProxy {
    /// Makes the proxy. Each connection is told to `accesses`; what does not fit there is dropped.
    #[must_use]
    pub fn new(
        dialer: Dialer,
        supervisor: Supervisor,
        config: ProxyConfig,
        accesses: mpsc::Sender<Access>,
    ) -> Self {
        Self::with_names(dialer, supervisor, config, accesses, SystemNames)
    }

    /// As [`EgressProxy::new`], with names from elsewhere than the system.
    #[must_use]
    pub fn with_names(
        dialer: Dialer,
        supervisor: Supervisor,
        config: ProxyConfig,
        accesses: mpsc::Sender<Access>,
        names: impl Resolve,
    ) -> Self {
        let ProxyConfig {
            outbound,
            closed_ports,
            most_connections,
            head_time,
            idle_time,
        } = config;
        let guard = Guard {
            dialer,
            names: Box::new(names),
            outbound,
            closed_ports,
        };
        Self {
            inner: Arc::new(Inner {
                supervisor,
                guard: Arc::new(guard),
                most_connections,
                head_time,
                idle_time,
                accesses,
            }),
        }
    }

    /// Returns the way out of what is fetched for builds: by the same rules.
    #[must_use]
    pub fn outside(&self) -> Outside {
        Outside::new(self.inner.guard.clone())
    }

    /// Listens at each of `gateways`, port [`PROXY_PORT`], inside the stand's router namespace until the answer is dropped.
    ///
    /// # Errors
    /// [`ProxyError`] for the first gateway that cannot be listened at; then none is.
    pub async fn open(
        &self,
        stand: &StandId,
        net: &Arc<StandNet>,
        gateways: &[IpAddr],
    ) -> Result<ProxyPort, ProxyError> {
        let (open, closed) = watch::channel(());
        let room = Arc::new(Semaphore::new(self.inner.most_connections));
        let mut listeners = Vec::new();
        for gateway in gateways {
            let address = SocketAddr::new(*gateway, PROXY_PORT);
            let listener = self.inner.guard.dialer.bind_tcp(net, address).await;
            listeners.push((
                address,
                listener.map_err(|source| ProxyError {
                    stand: stand.clone(),
                    address,
                    source,
                })?,
            ));
        }
        let tasks = listeners.into_iter().map(|(address, listener)| {
            let door = Door {
                inner: self.inner.clone(),
                stand: stand.clone(),
                room: room.clone(),
            };
            let closed = closed.clone();
            let name = format!("proxy {stand} {address}");
            self.inner
                .supervisor
                .run(name, |shutdown| serve(listener, door, closed, shutdown))
        });
        Ok(ProxyPort {
            tasks: tasks.collect(),
            open,
        })
    }
}

/// The proxy of one stand, open as long as this lives.
#[derive(Debug)]
pub struct ProxyPort {
    tasks: Vec<Handle<()>>,
    open: watch::Sender<()>,
}

impl ProxyPort {
    /// Closes it and its connections. Returns when it is done; dropping it does the same without the wait.
    pub async fn close(self) {
        drop(self.open);
        for task in self.tasks {
            // A task that was lost at the shutdown is closed as well.
            let _ = task.await;
        }
    }
}

/// Returns the variables that make programs use the proxy at `gateway`. `inside` are the names and suffixes that are reached
/// directly, and `networks` the stand's own blocks.
#[must_use]
pub fn proxy_environment(
    gateway: IpAddr,
    networks: &[Subnet],
    inside: &[String],
) -> BTreeMap<String, String> {
    let proxy = format!("http://{}", SocketAddr::new(gateway, PROXY_PORT));
    let mut direct: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    direct.extend(networks.iter().map(ToString::to_string));
    direct.extend(inside.iter().cloned());
    let direct = direct.join(",");
    // Programs read one or the other: curl only the lower case of http_proxy, many only the upper case.
    ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"]
        .into_iter()
        .flat_map(|name| [name.to_owned(), name.to_ascii_lowercase()])
        .map(|name| {
            let value = if name.eq_ignore_ascii_case("no_proxy") {
                &direct
            } else {
                &proxy
            };
            (name, value.clone())
        })
        .collect()
}

/// What the connections of one stand share.
#[derive(Clone)]
struct Door {
    inner: Arc<Inner>,
    stand: StandId,
    room: Arc<Semaphore>,
}

async fn serve(
    listener: TcpListener,
    door: Door,
    mut closed: watch::Receiver<()>,
    shutdown: Shutdown,
) {
    // The connections are children of this task: they are dropped with it, never later.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            _ = closed.changed() => {
                connections.abort_all();
                break;
            }
            () = shutdown.asked() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((client, from)) => {
                    connections.spawn(door.clone().answer(client, from.ip()));
                }
                Err(error) => {
                    tracing::warn!(%error, stand = %door.stand, "cannot accept a connection for the proxy, trying again");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
    let _ = rustix::net::shutdown(&listener, rustix::net::Shutdown::Both);
    drop(listener);
    loop {
        tokio::select! {
            ended = connections.join_next() => if ended.is_none() { return },
            _ = closed.changed(), if !connections.is_empty() => {
                connections.shutdown().await;
                return;
            }
        }
    }
}

/// A request that came to nothing: the status and the reason for it.
struct Refused {
    status: u16,
    why: String,
}

impl From<BadHead> for Refused {
    fn from(bad: BadHead) -> Self {
        Self {
            status: bad.status,
            why: bad.why.to_owned(),
        }
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let status = match &refusal {
            Refusal::Port { .. } | Refusal::Address { .. } => 403,
            Refusal::Name { .. } => 502,
            Refusal::Connect { source, .. } if source.kind() == io::ErrorKind::TimedOut => 504,
            Refusal::Connect { .. } => 502,
        };
        Self {
            status,
            why: daas_model::render_chain(&refusal),
        }
    }
}

impl Door {
    /// The life of one connection: one request.
    async fn answer(self, mut client: TcpStream, from: IpAddr) {
        let start = Instant::now();
        let traffic = Traffic::default();
        let _ = client.set_nodelay(true);
        let (asked, outcome) = match self.room.try_acquire() {
            Ok(_room) => self.converse(&mut client, &traffic).await,
            Err(_) => (
                None,
                Err(Refused {
                    status: 503,
                    why: "the stand has too many connections open".into(),
                }),
            ),
        };
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(Refused { status, why }) => {
                refuse(&mut client, &self.stand, status, &why).await;
                Outcome::Refused { status, why }
            }
        };
        let Some((method, Target { host, port })) = asked else {
            return;
        };
        // The proxy sees it from inside: what is sent goes out of the stand.
        let (sent, received) = (
            traffic.inward.load(Ordering::Relaxed),
            traffic.outward.load(Ordering::Relaxed),
        );
        let took = start.elapsed();
        let access = Access {
            stand: self.stand,
            client: from,
            method,
            host,
            port,
            outcome,
            sent,
            received,
            took,
        };
        if self.inner.accesses.try_send(access).is_err() {
            tracing::debug!(
                "an access through the proxy was not recorded: nobody takes them fast enough"
            );
        }
    }

    /// Reads the request and serves it. Returns what was asked, as far as it was understood, and the status of the answer.
    async fn converse(
        &self,
        client: &mut TcpStream,
        traffic: &Traffic,
    ) -> (Option<(String, Target)>, Result<Outcome, Refused>) {
        let mut bytes = Vec::new();
        let refused = |status, why: &str| {
            (
                None,
                Err(Refused {
                    status,
                    why: why.to_owned(),
                }),
            )
        };
        let end = match tokio::time::timeout(self.inner.head_time, read_head(client, &mut bytes))
            .await
        {
            Ok(Ok(Head::Whole(end))) => end,
            Ok(Ok(Head::TooLong)) => return refused(431, "the head of the request is too long"),
            // It went away: there is nobody to answer.
            Ok(Ok(Head::Ended) | Err(_)) => return (None, Ok(Outcome::Broken)),
            Err(_) => return refused(408, "the request took too long"),
        };
        let request = match read_request(&bytes[..end]) {
            Ok(request) => request,
            Err(bad) => return (None, Err(bad.into())),
        };
        match request {
            Request::Tunnel(target) => {
                let done = self.tunnel(client, &target, &bytes[end..], traffic).await;
                (Some(("CONNECT".into(), target)), done)
            }
            Request::Forward {
                target,
                method,
                head,
                body,
            } => {
                let ahead = bytes[end..].to_vec();
                let done = self
                    .forward(
                        client,
                        &target,
                        (&head, body, method == "HEAD"),
                        ahead,
                        traffic,
                    )
                    .await;
                (Some((method, target)), done)
            }
        }
    }

    async fn tunnel(
        &self,
        client: &mut TcpStream,
        target: &Target,
        ahead: &[u8],
        traffic: &Traffic,
    ) -> Result<Outcome, Refused> {
        let mut origin = self.inner.guard.connect(&target.host, target.port).await?;
        let _ = (
            origin.set_nodelay(true),
            origin.set_zero_linger(),
            client.set_zero_linger(),
        );
        let work = async {
            client
                .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
                .await?;
            origin.write_all(ahead).await?;
            traffic
                .inward
                .fetch_add(ahead.len() as u64, Ordering::Relaxed);
            both_ways(client, &origin, traffic).await
        };
        let whole = tokio::select! {
            done = work => done.is_ok(),
            () = until_idle(traffic, self.inner.idle_time) => false,
        };
        if !whole {
            return Ok(Outcome::Broken);
        }
        for stream in [&*client, &origin] {
            let _ = rustix::net::sockopt::set_socket_linger(stream, None);
        }
        Ok(Outcome::Passed(200))
    }

    async fn forward(
        &self,
        client: &mut TcpStream,
        target: &Target,
        (head, body, bodiless): (&[u8], Body, bool),
        ahead: Vec<u8>,
        traffic: &Traffic,
    ) -> Result<Outcome, Refused> {
        let mut origin = self.inner.guard.connect(&target.host, target.port).await?;
        // Every way out is a reset on both sides, except the one at the end.
        let _ = (
            origin.set_nodelay(true),
            origin.set_zero_linger(),
            client.set_zero_linger(),
        );
        if let Err(error) = origin.write_all(head).await {
            return Err(Refused {
                status: 502,
                why: format!("`{}` has hung up: {error}", target.host),
            });
        }
        let outcome = tokio::select! {
            outcome = exchange(client, &mut origin, (body, bodiless), ahead, traffic) => outcome?,
            () = until_idle(traffic, self.inner.idle_time) => Outcome::Broken,
        };
        if let Outcome::Passed(_) = outcome {
            for stream in [&*client, &origin] {
                let _ = rustix::net::sockopt::set_socket_linger(stream, None);
            }
            hang_up(client).await;
        }
        Ok(outcome)
    }
}

/// Carries one body to the origin and one answer back. An error is one that the client can still be told.
async fn exchange(
    client: &mut TcpStream,
    origin: &mut TcpStream,
    (body, bodiless): (Body, bool),
    ahead: Vec<u8>,
    traffic: &Traffic,
) -> Result<Outcome, Refused> {
    let (from_origin, mut to_origin) = origin.split();
    let (from_client, mut to_client) = client.split();
    let mut from_client = Ahead {
        first: ahead,
        at: 0,
        rest: BufReader::new(from_client),
    };
    let count = |bytes| {
        traffic.inward.fetch_add(bytes, Ordering::Relaxed);
    };
    let upward = body::copy(&mut from_client, &mut to_origin, body, count);
    let downward = relay_answer(from_origin, &mut to_client, bodiless, traffic);
    tokio::pin!(upward, downward);
    let mut sending = true;
    loop {
        tokio::select! {
            sent = &mut upward, if sending => match sent {
                Ok(()) => sending = false,
                // The rest cannot be told from a next request: nothing more goes to the origin.
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    // A second head must never appear within an answer.
                    return if traffic.outward.load(Ordering::Relaxed) == 0 {
                        Err(Refused { status: 400, why: error.to_string() })
                    } else {
                        Ok(Outcome::Broken)
                    };
                }
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Outcome::Broken),
                // The origin has heard enough and may still say why.
                Err(_) => sending = false,
            },
            answered = &mut downward => return answered,
        }
    }
}

/// Passes on the answer: interim heads, the head, and the body that it announces.
async fn relay_answer(
    mut origin: tokio::net::tcp::ReadHalf<'_>,
    client: &mut tokio::net::tcp::WriteHalf<'_>,
    bodiless: bool,
    traffic: &Traffic,
) -> Result<Outcome, Refused> {
    let count = |bytes| {
        traffic.outward.fetch_add(bytes, Ordering::Relaxed);
    };
    let mut interim = false;
    let mut bytes = Vec::new();
    loop {
        let refused = |why: &str| {
            if interim {
                Ok(Outcome::Broken)
            } else {
                Err(Refused {
                    status: 502,
                    why: why.to_owned(),
                })
            }
        };
        let end = match read_head(&mut origin, &mut bytes).await {
            Ok(Head::Whole(end)) => end,
            Ok(Head::TooLong) => return refused("the head of the answer is too long"),
            Ok(Head::Ended) | Err(_) => return refused("the origin has hung up without an answer"),
        };
        let answer = match read_answer(&bytes[..end], bodiless) {
            Ok(answer) => answer,
            Err(bad) => return refused(bad.why),
        };
        if client.write_all(&answer.head).await.is_err() {
            return Ok(Outcome::Broken);
        }
        count(answer.head.len() as u64);
        bytes.drain(..end);
        if answer.status < 200 {
            interim = true;
            continue;
        }
        let mut rest = Ahead {
            first: bytes,
            at: 0,
            rest: BufReader::new(origin),
        };
        let copied = match answer.body {
            Some(body) => body::copy(&mut rest, client, body, count).await,
            None => body::copy_all(&mut rest, client, count).await,
        };
        return Ok(if copied.is_ok() {
            Outcome::Passed(answer.status)
        } else {
            Outcome::Broken
        });
    }
}

/// What came where a head was expected.
enum Head {
    /// A head of this length.
    Whole(usize),
    /// More bytes than a head may have.
    TooLong,
    /// The end.
    Ended,
}

/// Reads into `bytes` until they hold a head, and perhaps some of what follows.
async fn read_head(from: &mut (impl AsyncRead + Unpin), bytes: &mut Vec<u8>) -> io::Result<Head> {
    // What was looked at already is not looked at again, whatever small pieces it comes in.
    let mut seen = 0usize;
    loop {
        let start = seen.saturating_sub(3);
        if let Some(end) = head_end(&bytes[start..]) {
            let end = start + end;
            return Ok(if end > HEAD {
                Head::TooLong
            } else {
                Head::Whole(end)
            });
        }
        seen = bytes.len();
        if seen > HEAD {
            return Ok(Head::TooLong);
        }
        bytes.reserve(2048);
        if from.read_buf(bytes).await? == 0 {
            return Ok(Head::Ended);
        }
    }
}

/// Returns when nothing has passed for `idle`.
async fn until_idle(traffic: &Traffic, idle: Duration) {
    let sum = || traffic.inward.load(Ordering::Relaxed) + traffic.outward.load(Ordering::Relaxed);
    let (mut last, mut since) = (sum(), tokio::time::Instant::now());
    loop {
        tokio::time::sleep(idle / IDLE_STEPS).await;
        let now = sum();
        if now != last {
            (last, since) = (now, tokio::time::Instant::now());
        } else if since.elapsed() >= idle {
            return;
        }
    }
}

async fn refuse(client: &mut TcpStream, stand: &StandId, status: u16, why: &str) {
    let reason = match status {
        400 => "Bad Request",
        403 => "Forbidden",
        408 => "Request Timeout",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Bad Gateway",
    };
    let words = format!("daas: the proxy of stand `{stand}`: {why}\n");
    let text = format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{words}",
        words.len()
    );
    let _ = rustix::net::sockopt::set_socket_linger(&*client, None);
    if client.write_all(text.as_bytes()).await.is_ok() {
        hang_up(client).await;
    }
}

/// Ends the connection so that the client can read all of the answer: closing while it still talks would reset it.
async fn hang_up(client: &mut TcpStream) {
    if client.shutdown().await.is_err() {
        return;
    }
    let mut buffer = vec![0; 8 * 1024];
    let drain = async {
        let mut total = 0;
        while let Ok(length @ 1..) = client.read(&mut buffer).await {
            total += length;
            if total > LINGER_BYTES {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(LINGER, drain).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_find_the_proxy_and_what_is_inside_without_it() {
        let environment = proxy_environment(
            "10.0.0.1".parse().unwrap(),
            &[Subnet::parse("10.0.0.0/24").unwrap()],
            &["web".into(), ".shop-7.test".into()],
        );
        let text: Vec<_> = environment
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let direct = "localhost,127.0.0.1,::1,10.0.0.0/24,web,.shop-7.test";
        assert_eq!(
            text,
            [
                "HTTPS_PROXY=http://10.0.0.1:3128".into(),
                "HTTP_PROXY=http://10.0.0.1:3128".into(),
                format!("NO_PROXY={direct}"),
                "http_proxy=http://10.0.0.1:3128".into(),
                "https_proxy=http://10.0.0.1:3128".into(),
                format!("no_proxy={direct}"),
            ]
        );
        let six = proxy_environment("fd00::1".parse().unwrap(), &[], &[]);
        assert_eq!(six["http_proxy"], "http://[fd00::1]:3128");
    }
}
