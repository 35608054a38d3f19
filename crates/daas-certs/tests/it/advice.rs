//! Who says when to renew (RFC 9773): a stateful fake before Debian's pebble, which knows nothing of it, or a pebble that does.

use crate::judge::run;
use crate::pebble::Pebble;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Gives advice about renewal, and knows who has followed it.
pub(crate) enum Adviser {
    /// A pebble that `DAAS_PEBBLE` names, of a version that speaks RFC 9773 itself.
    Pebble,
    /// The stateful fake.
    Fake(FakeAdviser),
}

impl Adviser {
    /// Returns the pebble's own advice, or puts the fake before it.
    pub(crate) async fn of(pebble: &Pebble) -> Self {
        if pebble.directory().await.contains("renewalInfo") {
            Self::Pebble
        } else {
            Self::Fake(FakeAdviser::open(pebble).await)
        }
    }

    /// Returns the port at which orders are to be made.
    pub(crate) fn port(&self, pebble: &Pebble) -> u16 {
        match self {
            Self::Pebble => pebble.port,
            Self::Fake(fake) => fake.port,
        }
    }

    /// Answers `text` to who asks about the certificate `chain` begins with.
    pub(crate) async fn advise(&self, pebble: &Pebble, chain: &str, text: &str) {
        match self {
            Self::Pebble => {
                let end = "-----END CERTIFICATE-----";
                let first = &chain[..chain.find(end).unwrap() + end.len()];
                let body = serde_json::json!({ "Certificate": first, "ARIResponse": text });
                pebble.manage("set-renewal-info/", &body.to_string()).await;
            }
            Self::Fake(fake) => fake
                .advice
                .lock()
                .unwrap()
                .insert(serial(chain), text.into())
                .map_or((), drop),
        }
    }

    /// Tells whether the authority was told that an order takes the place of the certificate that `chain` begins with.
    pub(crate) fn is_replaced(&self, pebble: &Pebble, chain: &str) -> bool {
        match self {
            Self::Pebble => pebble.said().contains("is a replacement of"),
            Self::Fake(fake) => fake.replaced.lock().unwrap().contains(&serial(chain)),
        }
    }
}

/// Returns what stands behind the dot of the id of RFC 9773 section 4.1: the serial, as its certificate has it.
fn serial(chain: &str) -> String {
    let der = CertificateDer::from_pem_slice(chain.as_bytes()).unwrap();
    let id = instant_acme::CertificateIdentifier::try_from(&der).unwrap();
    after_dot(&id.to_string())
}

fn after_dot(id: &str) -> String {
    id.split_once('.').unwrap().1.to_owned()
}

/// Speaks for an authority that knows nothing of RFC 9773: adds `renewalInfo` to its directory, answers there, reads `replaces` out of orders and says
/// it in the answers, as section 5 wants it. A certificate is replaced once, and the second time a conflict.
pub(crate) struct FakeAdviser {
    port: u16,
    advice: Arc<Mutex<BTreeMap<String, String>>>,
    replaced: Arc<Mutex<BTreeSet<String>>>,
    task: JoinHandle<()>,
}

impl Drop for FakeAdviser {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FakeAdviser {
    async fn open(pebble: &Pebble) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let advice: Arc<Mutex<BTreeMap<String, String>>> = Arc::default();
        let replaced: Arc<Mutex<BTreeSet<String>>> = Arc::default();
        let way = Way {
            port,
            to: pebble.port,
            out: connector(pebble),
            advice: advice.clone(),
            replaced: replaced.clone(),
        };
        let acceptor = acceptor(pebble);
        let task = tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (acceptor, way) = (acceptor.clone(), way.clone());
                tokio::spawn(async move {
                    let Ok(mut tls) = acceptor.accept(tcp).await else {
                        return;
                    };
                    while let Some(request) = Message::read(&mut tls).await {
                        let answer = way.answer(request).await;
                        if tls.write_all(&answer).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self {
            port,
            advice,
            replaced,
            task,
        }
    }
}

fn acceptor(pebble: &Pebble) -> TlsAcceptor {
    let chain = CertificateDer::from_pem_file(&pebble.roots).unwrap();
    let key = PrivateKeyDer::from_pem_file(pebble.roots.with_file_name("key.pem")).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_no_client_auth()
    .with_single_cert(vec![chain], key)
    .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

fn connector(pebble: &Pebble) -> TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(&pebble.roots).unwrap())
        .unwrap();
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_root_certificates(roots)
    .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

/// The way of one question through the fake.
#[derive(Clone)]
struct Way {
    port: u16,
    to: u16,
    out: TlsConnector,
    advice: Arc<Mutex<BTreeMap<String, String>>>,
    replaced: Arc<Mutex<BTreeSet<String>>>,
}

impl Way {
    async fn answer(&self, request: Message) -> Vec<u8> {
        let path = request.head.split(' ').nth(1).unwrap().to_owned();
        if let Some(id) = path.strip_prefix("/renewal-info/") {
            let known = self.advice.lock().unwrap().get(&after_dot(id)).cloned();
            return match known {
                Some(text) => whole("200 OK", "retry-after: 21600\r\n", &text),
                None => whole("404 Not Found", "retry-after: 21600\r\n", "{}"),
            };
        }
        let replaces = replaces(&request.body);
        if let Some(id) = &replaces
            && self.replaced.lock().unwrap().contains(&after_dot(id))
        {
            let problem =
                r#"{"type":"urn:ietf:params:acme:error:alreadyReplaced","detail":"once"}"#;
            return whole("409 Conflict", "", problem);
        }
        let mut answer = self.passed_on(&request).await;
        if path == "/dir" {
            let url = format!("https://localhost:{}/renewal-info", self.port);
            answer.put("renewalInfo", &url);
        } else if let Some(id) = replaces
            && answer.head.contains(" 201 ")
        {
            self.replaced.lock().unwrap().insert(after_dot(&id));
            answer.put("replaces", &id);
        }
        answer.octets()
    }

    async fn passed_on(&self, request: &Message) -> Message {
        let tcp = TcpStream::connect(("127.0.0.1", self.to)).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut tls = self.out.connect(name, tcp).await.unwrap();
        // An answer to HTTP/1.0 has no chunks, and ends with the connection.
        let asked = Message {
            head: request.head.replacen(" HTTP/1.1", " HTTP/1.0", 1),
            body: request.body.clone(),
        };
        tls.write_all(&asked.octets()).await.unwrap();
        let mut read = Vec::new();
        tls.read_to_end(&mut read).await.unwrap();
        Message::answered(&read)
    }
}

fn whole(status: &str, fields: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{fields}content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Returns the field `replaces` of a new order, whose payload lies in base64 in its signed form (RFC 7515).
fn replaces(body: &[u8]) -> Option<String> {
    use base64::Engine;
    let signed: serde_json::Value = serde_json::from_slice(body).ok()?;
    let payload = base64::prelude::BASE64_URL_SAFE_NO_PAD
        .decode(signed["payload"].as_str()?)
        .ok()?;
    let payload: serde_json::Value = serde_json::from_slice(&payload).ok()?;
    Some(payload["replaces"].as_str()?.to_owned())
}

/// A request or an answer of HTTP/1.1: what stands before the length of its body, and the body.
struct Message {
    head: String,
    body: Vec<u8>,
}

impl Message {
    async fn read(from: &mut (impl AsyncReadExt + Unpin)) -> Option<Self> {
        let mut read = Vec::new();
        while !read.ends_with(b"\r\n\r\n") {
            read.push(from.read_u8().await.ok()?);
        }
        let (head, length) = Self::split(std::str::from_utf8(&read).ok()?);
        let mut body = vec![0; length];
        from.read_exact(&mut body).await.ok()?;
        Some(Self { head, body })
    }

    /// Reads an answer of HTTP/1.0 that has ended, and makes one of HTTP/1.1 of it.
    fn answered(read: &[u8]) -> Self {
        let end = read.windows(4).position(|at| at == b"\r\n\r\n").unwrap();
        let (head, _) = Self::split(std::str::from_utf8(&read[..end]).unwrap());
        Self {
            head: head
                .replacen("HTTP/1.0", "HTTP/1.1", 1)
                .replace("Connection: close\r\n", ""),
            body: read[end + 4..].to_vec(),
        }
    }

    /// Takes the length of the body out of a head.
    fn split(text: &str) -> (String, usize) {
        let mut length = 0;
        let mut head = String::new();
        for line in text.trim_end().split("\r\n") {
            match line.to_ascii_lowercase().strip_prefix("content-length:") {
                Some(number) => length = number.trim().parse().unwrap(),
                None => head += &format!("{line}\r\n"),
            }
        }
        (head, length)
    }

    /// Adds a field to a body of JSON.
    fn put(&mut self, field: &str, value: &str) {
        let mut json: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        json[field] = value.into();
        self.body = json.to_string().into_bytes();
    }

    fn octets(&self) -> Vec<u8> {
        let head = format!("{}content-length: {}\r\n\r\n", self.head, self.body.len());
        [head.as_bytes(), &self.body].concat()
    }
}

impl Pebble {
    async fn directory(&self) -> String {
        let url = format!("https://localhost:{}/dir", self.port);
        let output = run(
            "curl",
            &["-sS", "--cacert", self.roots.to_str().unwrap(), &url],
        )
        .await;
        String::from_utf8(output.stdout).unwrap()
    }
}
