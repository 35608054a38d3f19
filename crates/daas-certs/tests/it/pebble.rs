//! A real authority: Debian's pebble, with a name server and web servers of the test that it asks.

use crate::judge::Hello;
use daas_certs::{
    AcmeSettings, CertName, Certificates, CertificatesError, Clock, DnsAnswers, Settings,
};
use daas_store::Store;
use daas_tasks::{Supervisor, TaskError};
use futures_util::future::BoxFuture;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinHandle;

/// A name server: every name is 127.0.0.1, TXT and CNAME records are those that were set.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    txt: Arc<Mutex<HashMap<String, Vec<String>>>>,
    cnames: Arc<Mutex<HashMap<String, String>>>,
    /// Zones that are ours; all if there are none.
    zones: Vec<CertName>,
    /// Whether what is set is served: a secondary that does not follow.
    lost: bool,
}

impl Names {
    pub(crate) fn of(zone: &str) -> Self {
        Self {
            zones: vec![CertName::parse(zone).unwrap()],
            ..Self::default()
        }
    }

    pub(crate) fn losing() -> Self {
        Self {
            lost: true,
            ..Self::default()
        }
    }

    pub(crate) fn alias(&self, name: &str, target: &str) {
        self.cnames
            .lock()
            .unwrap()
            .insert(name.to_owned(), target.to_owned());
    }

    pub(crate) fn records(&self) -> usize {
        self.txt.lock().unwrap().values().map(Vec::len).sum()
    }

    fn answer(&self, question: &[u8]) -> Option<Vec<u8>> {
        let mut at = 12;
        let mut labels = Vec::new();
        while question[at] != 0 {
            let end = at + 1 + usize::from(question[at]);
            labels.push(String::from_utf8_lossy(&question[at + 1..end]).to_lowercase());
            at = end;
        }
        let name = labels.join(".");
        let kind = u16::from_be_bytes([question[at + 1], question[at + 2]]);
        let mut records: Vec<(u16, Vec<u8>)> = Vec::new();
        let mut owner = name.clone();
        if let Some(target) = self.cnames.lock().unwrap().get(&name) {
            records.push((5, wire(target)));
            owner.clone_from(target);
        }
        match kind {
            1 => records.push((1, vec![127, 0, 0, 1])),
            16 if !self.lost => {
                for text in self.txt.lock().unwrap().get(&owner).into_iter().flatten() {
                    let mut data = vec![u8::try_from(text.len()).unwrap()];
                    data.extend(text.bytes());
                    records.push((16, data));
                }
            }
            _ => {}
        }
        let mut out = question[..2].to_vec();
        out.extend([0x84, 0, 0, 1]);
        out.extend(u16::try_from(records.len()).unwrap().to_be_bytes());
        out.extend([0; 4]);
        out.extend(&question[12..at + 5]);
        for (kind, data) in records {
            out.extend(if kind == 5 { wire(&name) } else { wire(&owner) });
            out.extend(kind.to_be_bytes());
            out.extend([0, 1, 0, 0, 0, 1]);
            out.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
            out.extend(data);
        }
        Some(out)
    }

    /// Serves over UDP, and over TCP for authorities that ask so.
    pub(crate) async fn serve(&self) -> (SocketAddr, JoinHandle<()>) {
        let (tcp, udp) = both().await;
        let address = udp.local_addr().unwrap();
        let names = self.clone();
        let task = tokio::spawn(async move {
            let mut question = [0; 1500];
            loop {
                tokio::select! {
                    Ok((read, from)) = udp.recv_from(&mut question) => {
                        if let Some(answer) = names.answer(&question[..read]) {
                            let _ = udp.send_to(&answer, from).await;
                        }
                    }
                    Ok((stream, _)) = tcp.accept() => {
                        tokio::spawn(names.clone().converse(stream));
                    }
                    else => return,
                }
            }
        });
        (address, task)
    }

    async fn converse(self, mut stream: TcpStream) {
        while let Ok(length) = stream.read_u16().await {
            let mut question = vec![0; usize::from(length)];
            if stream.read_exact(&mut question).await.is_err() {
                return;
            }
            let Some(answer) = self.answer(&question) else {
                return;
            };
            let length = u16::try_from(answer.len()).unwrap();
            let framed = [&length.to_be_bytes()[..], &answer].concat();
            if stream.write_all(&framed).await.is_err() {
                return;
            }
        }
    }
}

/// Returns sockets of both kinds at one port.
async fn both() -> (TcpListener, UdpSocket) {
    for _ in 0..50 {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
            return (tcp, udp);
        }
    }
    panic!("no port is free for both");
}

fn wire(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for label in name.split('.') {
        out.push(u8::try_from(label.len()).unwrap());
        out.extend(label.bytes());
    }
    out.push(0);
    out
}

impl DnsAnswers for Names {
    fn serves(&self, name: &CertName) -> bool {
        self.zones.is_empty() || self.zones.iter().any(|zone| name.is_in(zone))
    }

    fn set_txt<'a>(
        &'a self,
        name: &'a CertName,
        value: &'a str,
    ) -> BoxFuture<'a, Result<(), TaskError>> {
        self.txt
            .lock()
            .unwrap()
            .entry(name.to_string())
            .or_default()
            .push(value.to_owned());
        Box::pin(async { Ok(()) })
    }

    fn remove_txt<'a>(
        &'a self,
        name: &'a CertName,
        value: &'a str,
    ) -> BoxFuture<'a, Result<(), TaskError>> {
        if let Some(values) = self.txt.lock().unwrap().get_mut(name.as_str()) {
            values.retain(|one| one != value);
        }
        Box::pin(async { Ok(()) })
    }
}

/// How an authority is started.
#[derive(Debug, Clone)]
pub(crate) struct How {
    pub(crate) nonces_refused: u32,
    pub(crate) reuse: u32,
    pub(crate) binding: bool,
    pub(crate) days: Option<u64>,
}

impl Default for How {
    fn default() -> Self {
        Self {
            nonces_refused: 50,
            reuse: 0,
            binding: false,
            days: None,
        }
    }
}

/// The key of the account to bind to; pebble's own example.
pub(crate) const KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";

/// An authority that runs, and everything around it. Ends when it is dropped.
pub(crate) struct Pebble {
    child: Child,
    pub(crate) port: u16,
    management: u16,
    pub(crate) roots: PathBuf,
    _dir: tempfile::TempDir,
}

impl Drop for Pebble {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

impl Pebble {
    /// Starts one that asks `dns`, and the servers of the world at these ports.
    pub(crate) async fn start(dns: SocketAddr, http: u16, tls: u16, how: &How) -> Self {
        for _ in 0..5 {
            if let Some(pebble) = Self::try_start(dns, http, tls, how).await {
                return pebble;
            }
        }
        panic!("pebble does not start (Debian package `pebble`)");
    }

    async fn try_start(dns: SocketAddr, http: u16, tls: u16, how: &How) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let own = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let own = own.self_signed(&key).unwrap();
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        std::fs::write(path("cert.pem"), own.pem()).unwrap();
        std::fs::write(path("key.pem"), key.serialize_pem()).unwrap();
        let (port, management) = (free_port(), free_port());
        let config = serde_json::json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{port}"),
            "managementListenAddress": format!("127.0.0.1:{management}"),
            "certificate": path("cert.pem"), "privateKey": path("key.pem"),
            "httpPort": http, "tlsPort": tls, "ocspResponderURL": "",
            "externalAccountBindingRequired": how.binding,
            "externalAccountMACKeys": { "kid-1": KEY },
            "certificateValidityPeriod": how.days.unwrap_or(90) * 24 * 3600,
        }});
        std::fs::write(path("config.json"), config.to_string()).unwrap();
        let log = std::fs::File::create(path("log")).unwrap();
        let named = std::env::var_os("DAAS_PEBBLE");
        let mut child = Command::new(named.unwrap_or_else(|| "pebble".into()))
            .args([
                "-config",
                &path("config.json"),
                "-dnsserver",
                &dns.to_string(),
                "-strict",
            ])
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_WFE_NONCEREJECT", how.nonces_refused.to_string())
            .env("PEBBLE_AUTHZREUSE", how.reuse.to_string())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("Debian's package `pebble` is installed");
        for _ in 0..200 {
            if child.try_wait().unwrap().is_some() {
                return None;
            }
            if TcpStream::connect(("127.0.0.1", port)).await.is_ok()
                && TcpStream::connect(("127.0.0.1", management)).await.is_ok()
            {
                let roots = dir.path().join("cert.pem");
                return Some(Self {
                    child,
                    port,
                    management,
                    roots,
                    _dir: dir,
                });
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let _ = child.kill();
        let _ = child.wait();
        None
    }

    pub(crate) fn settings(&self) -> AcmeSettings {
        self.settings_at(self.port)
    }

    /// Settings by way of a relay.
    pub(crate) fn settings_at(&self, port: u16) -> AcmeSettings {
        let mut settings = AcmeSettings::new(format!("https://localhost:{port}/dir"));
        settings.contact = vec!["mailto:root@example.com".into()];
        settings.roots = Some(self.roots.clone());
        settings
    }

    /// Returns what it has written so far.
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(self.roots.with_file_name("log")).unwrap()
    }

    /// Asks the management interface.
    pub(crate) async fn managed(&self, path: &str) -> String {
        self.curled(path, &[]).await
    }

    /// Tells the management interface something.
    pub(crate) async fn manage(&self, path: &str, body: &str) -> String {
        self.curled(path, &["--fail-with-body", "--data-binary", body])
            .await
    }

    async fn curled(&self, path: &str, more: &[&str]) -> String {
        let url = format!("https://localhost:{}/{path}", self.management);
        let roots = self.roots.to_str().unwrap();
        let output =
            crate::judge::run("curl", &[&["-sS", "--cacert", roots, &url], more].concat()).await;
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

/// A machine of ours in the world: names, a web server at "port 80", TLS at "port 443", an authority that looks at them.
pub(crate) struct World {
    pub(crate) pebble: Pebble,
    pub(crate) names: Names,
    pub(crate) dns: SocketAddr,
    pub(crate) store: Store,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) http: Arc<Mutex<Option<Arc<daas_certs::HttpAnswers>>>>,
    tls: Arc<Mutex<Option<Arc<daas_certs::Resolver>>>>,
    _server: Hello,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for World {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Hands handshakes to the room that lives now.
#[derive(Debug)]
struct Switch(Arc<Mutex<Option<Arc<daas_certs::Resolver>>>>);

impl rustls::server::ResolvesServerCert for Switch {
    fn resolve(
        &self,
        hello: rustls::server::ClientHello<'_>,
    ) -> Option<Arc<rustls::sign::CertifiedKey>> {
        let resolver = self.0.lock().unwrap().clone()?;
        resolver.resolve(hello)
    }
}

impl World {
    pub(crate) async fn new(how: &How) -> Self {
        Self::with(how, Names::default()).await
    }

    pub(crate) async fn with(how: &How, names: Names) -> Self {
        let (dns, names_task) = names.serve().await;
        let http: Arc<Mutex<Option<Arc<daas_certs::HttpAnswers>>>> = Arc::default();
        let (http_port, http_task) = serve_http(http.clone()).await;
        let tls: Arc<Mutex<Option<Arc<daas_certs::Resolver>>>> = Arc::default();
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(
            rustls::crypto::ring::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Switch(tls.clone())));
        let server = Hello::with(config).await;
        let pebble = Pebble::start(dns, http_port, server.address.port(), how).await;
        Self {
            pebble,
            names,
            dns,
            store: Store::in_memory().unwrap(),
            dir: tempfile::tempdir().unwrap(),
            http,
            tls,
            _server: server,
            tasks: vec![names_task, http_task],
        }
    }

    pub(crate) fn settings(&self) -> Settings {
        let mut settings = Settings::new(self.dir.path());
        settings.acme = vec![self.pebble.settings()];
        settings.resolver = Some(self.dns);
        settings
    }

    /// Opens the room; one that lived before is forgotten by the servers.
    pub(crate) async fn room(
        &self,
        settings: Settings,
        clock: Arc<dyn Clock>,
    ) -> (Certificates, Supervisor) {
        let tasks = Supervisor::new();
        let room = Certificates::open(settings, self.store.clone(), clock, tasks.clone())
            .await
            .unwrap();
        room.add_dns(Arc::new(self.names.clone()));
        *self.http.lock().unwrap() = Some(room.http_answers());
        *self.tls.lock().unwrap() = Some(room.resolver());
        (room, tasks)
    }
}

async fn serve_http(
    answers: Arc<Mutex<Option<Arc<daas_certs::HttpAnswers>>>>,
) -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let answers = answers.lock().unwrap().clone();
            tokio::spawn(async move {
                let mut read = vec![0; 4096];
                let Ok(length) = tcp.read(&mut read).await else {
                    return;
                };
                let text = String::from_utf8_lossy(&read[..length]).into_owned();
                let path = text.split(' ').nth(1).unwrap_or_default();
                let token = path
                    .strip_prefix("/.well-known/acme-challenge/")
                    .unwrap_or_default();
                let answer = match answers.and_then(|answers| answers.answer(token)) {
                    Some(answer) => format!(
                        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{answer}",
                        answer.len()
                    ),
                    None => {
                        "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                            .to_owned()
                    }
                };
                let _ = tcp.write_all(answer.as_bytes()).await;
            });
        }
    });
    (port, task)
}

/// A way to an authority that can be slow, and that ends at a certain moment.
pub(crate) struct Relay {
    pub(crate) port: u16,
    /// Tells when it has ended.
    pub(crate) cut: Arc<tokio::sync::Notify>,
    most: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Relay {
    /// Hands everything on after `delay`; behind `most` pieces of what the client says it says nothing any more.
    pub(crate) async fn open(to: u16, delay: Duration, most: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let cut = Arc::new(tokio::sync::Notify::new());
        let most = Arc::new(AtomicUsize::new(most));
        let (said, notify, limit) = (Arc::new(AtomicUsize::new(0)), cut.clone(), most.clone());
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (said, notify, limit) = (said.clone(), notify.clone(), limit.clone());
                tokio::spawn(async move {
                    let server = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                    let (mut from_client, mut to_client) = client.into_split();
                    let (mut from_server, mut to_server) = server.into_split();
                    let back = async move {
                        let mut read = vec![0; 65536];
                        while let Ok(length @ 1..) = from_server.read(&mut read).await {
                            tokio::time::sleep(delay).await;
                            if to_client.write_all(&read[..length]).await.is_err() {
                                break;
                            }
                        }
                    };
                    let forth = async move {
                        let mut read = vec![0; 65536];
                        while let Ok(length @ 1..) = from_client.read(&mut read).await {
                            if said.fetch_add(1, Ordering::SeqCst) >= limit.load(Ordering::SeqCst) {
                                notify.notify_one();
                                std::future::pending::<()>().await;
                            }
                            if to_server.write_all(&read[..length]).await.is_err() {
                                break;
                            }
                        }
                    };
                    tokio::join!(back, forth);
                });
            }
        });
        Self {
            port,
            cut,
            most,
            task,
        }
    }

    /// Lets new connections pass from now on.
    pub(crate) fn heal(&self) {
        self.most.store(usize::MAX, Ordering::SeqCst);
    }
}

pub(crate) fn names(list: &[&str]) -> Vec<CertName> {
    list.iter()
        .map(|text| CertName::parse(text).unwrap())
        .collect()
}

/// Waits until a certificate is there or its order has failed.
pub(crate) async fn settled(room: &Certificates, id: &str) -> daas_certs::CertificateView {
    for _ in 0..6000 {
        match room.show(id) {
            Ok(view) if view.condition != daas_certs::Condition::Ordering => return view,
            Ok(_) | Err(CertificatesError::NotFound { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("`{id}` is still being ordered");
}

pub(crate) fn ledger(store: &Store) -> usize {
    let all = store.list::<daas_certs::LedgerRecord>("").unwrap();
    all.iter().map(|kept| kept.value.issued_ms.len()).sum()
}

pub(crate) fn write(dir: &Path, file: &str, text: &str) -> PathBuf {
    let path = dir.join(file);
    std::fs::write(&path, text).unwrap();
    path
}
