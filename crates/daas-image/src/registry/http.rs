//! One request, one connection: a pull makes a dozen of them, so a pool would only bring stale connections.

use super::settings::{ProxySettings, RegistrySettings};
use super::url::Url;
use super::web::Dial;
use crate::ImageError;
use bytes::Bytes;
use daas_model::AUTHORITIES;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use std::future::{Future, poll_fn};
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// How long a connection may take, name resolution included.
const CONNECT: Duration = Duration::from_secs(20);
/// How long an answer may take to begin; registries that assemble a manifest from afar need some seconds.
const ANSWER: Duration = Duration::from_secs(60);
/// How long a body may be silent.
const SILENCE: Duration = Duration::from_secs(60);
/// Largest answer of a proxy to CONNECT in bytes.
const MAX_CONNECT: usize = 16 << 10;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why one try failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The network, or the other side, broke off.
    Network(BoxError),
    /// The other side speaks no TLS.
    NotTls,
    /// A status that says to try again or not at all.
    Status(u16, Option<Duration>),
    /// An answer that makes no sense, in words.
    Answer(&'static str),
}

impl Failure {
    fn io(kind: std::io::ErrorKind, words: &'static str) -> Self {
        Self::Network(std::io::Error::new(kind, words).into())
    }
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// The client side of HTTP, over TLS or not, through a proxy or not.
pub(crate) struct Http {
    tls: TlsConnector,
    proxies: Proxies,
    /// Who opens connections for somebody who may not reach everything; the machine itself without.
    dial: Option<Arc<dyn Dial>>,
}

impl Http {
    pub(super) fn new(settings: &RegistrySettings) -> Result<Self, ImageError> {
        let mut roots = rustls::RootCertStore::empty();
        let env = std::env::var_os("SSL_CERT_FILE");
        let own: Vec<&Path> = env
            .iter()
            .map(Path::new)
            .chain(AUTHORITIES.iter().map(Path::new))
            .collect();
        if let Some(path) = own.into_iter().find(|p| p.is_file()) {
            // One certificate that is not understood must not close the door to all registries.
            roots.add_parsable_certificates(
                CertificateDer::pem_file_iter(path)
                    .into_iter()
                    .flatten()
                    .filter_map(Result::ok),
            );
        }
        for path in &settings.authorities {
            let bad = |why: String| ImageError::Settings {
                why: format!("`{}`: {why}", path.display()),
            };
            let certificates = CertificateDer::pem_file_iter(path)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .map_err(|e| bad(e.to_string()))?;
            if certificates.is_empty() {
                return Err(bad("there is no certificate in it".into()));
            }
            for certificate in certificates {
                roots.add(certificate).map_err(|e| bad(e.to_string()))?;
            }
        }
        let proxies = Proxies::of(
            &settings
                .proxies
                .clone()
                .unwrap_or_else(ProxySettings::of_environment),
        )?;
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(
            rustls::crypto::ring::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .map_err(|e| ImageError::Settings { why: e.to_string() })?
        .with_root_certificates(roots)
        .with_no_client_auth();
        Ok(Self {
            tls: TlsConnector::from(Arc::new(config)),
            proxies,
            dial: None,
        })
    }

    /// As [`Http::new`], with connections by `dial`.
    pub(super) fn dialed_by(
        settings: &RegistrySettings,
        dial: Arc<dyn Dial>,
    ) -> Result<Self, ImageError> {
        Ok(Self {
            dial: Some(dial),
            ..Self::new(settings)?
        })
    }

    /// Sends a GET, or a POST if there is a form, and returns the answer once its head is here.
    pub(super) async fn exchange(
        &self,
        url: &Url,
        headers: HeaderMap,
        form: Option<String>,
    ) -> Result<Answer, Failure> {
        let method = if form.is_some() {
            Method::POST
        } else {
            Method::GET
        };
        self.request(method, url, headers, form).await
    }

    pub(super) async fn request(
        &self,
        method: Method,
        url: &Url,
        headers: HeaderMap,
        form: Option<String>,
    ) -> Result<Answer, Failure> {
        let (stream, absolute) = timeout(CONNECT, self.connect(url))
            .await
            .map_err(|_| Failure::io(std::io::ErrorKind::TimedOut, "no connection in 20 s"))??;
        let target = if absolute {
            format!("http://{}{}", url.authority(), url.path)
        } else {
            url.path.clone()
        };
        let mut request = Request::builder().method(method).uri(target);
        if let Some(map) = request.headers_mut() {
            *map = headers;
            if form.is_some() {
                map.insert(
                    CONTENT_TYPE,
                    HeaderValue::from_static("application/x-www-form-urlencoded"),
                );
            }
            map.insert(
                HOST,
                HeaderValue::from_str(&url.host_header())
                    .map_err(|_| Failure::Answer("a host that fits no header"))?,
            );
            map.insert(
                USER_AGENT,
                HeaderValue::from_static(concat!("daas/", env!("CARGO_PKG_VERSION"))),
            );
        }
        let request = request
            .body(Full::new(Bytes::from(form.unwrap_or_default())))
            .map_err(|_| Failure::Answer("an address that fits no request"))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| Failure::Network(e.into()))?;
        let mut driver = Driver {
            connection: Some(Box::pin(connection)),
        };
        let response = {
            let mut sent = pin!(sender.send_request(request));
            let both = poll_fn(|cx| {
                driver.turn(cx);
                sent.as_mut().poll(cx)
            });
            timeout(ANSWER, both)
                .await
                .map_err(|_| Failure::io(std::io::ErrorKind::TimedOut, "no answer in 60 s"))?
                .map_err(|e| Failure::Network(e.into()))?
        };
        Ok(Answer { response, driver })
    }

    /// Opens the way to `url`; tells whether a proxy wants the whole address in the request.
    async fn connect(&self, url: &Url) -> Result<(Box<dyn Duplex>, bool), Failure> {
        let proxy = self.proxies.between(url);
        let first = proxy.unwrap_or(url);
        let tcp = match &self.dial {
            Some(dial) if proxy.is_none() => dial
                .dial(&first.host, first.port)
                .await
                .map_err(Failure::Network)?,
            dial => {
                // What the proxy will connect to is judged as far as it is known here.
                if let (Some(dial), Ok(address)) = (dial, url.host.parse()) {
                    dial.judge(address).map_err(Failure::Network)?;
                }
                TcpStream::connect((first.host.as_str(), first.port))
                    .await
                    .map_err(|e| Failure::Network(e.into()))?
            }
        };
        // A manifest is one small question and one small answer.
        let _ = tcp.set_nodelay(true);
        let mut stream: Box<dyn Duplex> = Box::new(tcp);
        if let Some(proxy) = proxy {
            if proxy.tls {
                stream = self.handshake(stream, &proxy.host).await?;
            }
            if !url.tls {
                return Ok((stream, true));
            }
            connect_through(&mut stream, url).await?;
        }
        if url.tls {
            stream = self.handshake(stream, &url.host).await?;
        }
        Ok((stream, false))
    }

    async fn handshake(
        &self,
        stream: Box<dyn Duplex>,
        host: &str,
    ) -> Result<Box<dyn Duplex>, Failure> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| Failure::Answer("a host that no certificate can have"))?;
        match self.tls.connect(name, stream).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(e) => {
                let not_tls = e
                    .get_ref()
                    .and_then(|inner| inner.downcast_ref::<rustls::Error>())
                    .is_some_and(|e| matches!(e, rustls::Error::InvalidMessage(_)));
                // A server that closes at once on what it does not understand.
                Err(
                    if not_tls || e.kind() == std::io::ErrorKind::UnexpectedEof {
                        Failure::NotTls
                    } else {
                        Failure::Network(e.into())
                    },
                )
            }
        }
    }
}

async fn connect_through(stream: &mut Box<dyn Duplex>, url: &Url) -> Result<(), Failure> {
    let broken = |e: std::io::Error| Failure::Network(e.into());
    let request = format!("CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n\r\n", url.authority());
    stream.write_all(request.as_bytes()).await.map_err(broken)?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() > MAX_CONNECT {
            return Err(Failure::Answer("an endless answer of the proxy"));
        }
        // Byte by byte: what follows the head belongs to TLS.
        head.push(stream.read_u8().await.map_err(broken)?);
    }
    let good = head.starts_with(b"HTTP/1.1 200") || head.starts_with(b"HTTP/1.0 200");
    if good {
        Ok(())
    } else {
        Err(Failure::io(
            std::io::ErrorKind::ConnectionRefused,
            "the proxy refuses the connection",
        ))
    }
}

/// Moves bytes for a connection whenever its request or body is polled, so that nothing has to be spawned and dropping the
/// answer ends it all.
struct Driver {
    connection: Option<Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>>,
}

impl Driver {
    fn turn(&mut self, cx: &mut std::task::Context<'_>) {
        if let Some(connection) = &mut self.connection
            && let Poll::Ready(result) = connection.as_mut().poll(cx)
        {
            self.connection = None;
            if let Err(error) = result {
                // The request or the body sees it too and says it.
                tracing::debug!(%error, "a connection to a registry ended");
            }
        }
    }
}

/// An answer whose body still arrives.
pub(crate) struct Answer {
    response: Response<Incoming>,
    driver: Driver,
}

impl Answer {
    pub(super) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    pub(super) fn header(&self, name: impl hyper::header::AsHeaderName) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// When the other side wants to be asked again; dates are not understood, as registries send seconds.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        self.header(RETRY_AFTER)?
            .trim()
            .parse()
            .ok()
            .map(Duration::from_secs)
    }

    /// Returns the next bytes of the body, or nothing at its end. Safe to drop.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            let Self { response, driver } = self;
            let mut frame = pin!(response.body_mut().frame());
            let next = poll_fn(|cx| {
                driver.turn(cx);
                frame.as_mut().poll(cx)
            });
            let frame = timeout(SILENCE, next)
                .await
                .map_err(|_| Failure::io(std::io::ErrorKind::TimedOut, "silent for 60 s"))?;
            match frame {
                None => return Ok(None),
                Some(Err(e)) => return Err(Failure::Network(e.into())),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if data.is_empty() => {}
                    Ok(data) => return Ok(Some(data)),
                    // Trailers.
                    Err(_) => {}
                },
            }
        }
    }

    /// Reads a small body whole.
    pub(super) async fn collect(mut self, limit: u64) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            if (bytes.len() + chunk.len()) as u64 > limit {
                return Err(Failure::Answer("a document that is too large"));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }
}

/// The proxies, their addresses parsed.
#[derive(Debug, Default)]
struct Proxies {
    http: Option<Url>,
    https: Option<Url>,
    except: Vec<String>,
}

impl Proxies {
    fn of(settings: &ProxySettings) -> Result<Self, ImageError> {
        let url = |text: &Option<String>| {
            let Some(text) = text else { return Ok(None) };
            let full = if text.contains("://") {
                text.clone()
            } else {
                format!("http://{text}")
            };
            // Not quoted: it may hold a password.
            Url::parse(&full)
                .map(Some)
                .ok_or_else(|| ImageError::Settings {
                    why: "a proxy is no URL without user and password".into(),
                })
        };
        let except = settings
            .except
            .iter()
            .map(|h| h.trim_start_matches('.').to_ascii_lowercase())
            .collect();
        Ok(Self {
            http: url(&settings.http)?,
            https: url(&settings.https)?,
            except,
        })
    }

    fn between(&self, url: &Url) -> Option<&Url> {
        let excepted = |e: &String| {
            e == "*"
                || url.host == *e
                || url
                    .host
                    .strip_suffix(e.as_str())
                    .is_some_and(|rest| rest.ends_with('.'))
        };
        if url.is_local() || self.except.iter().any(excepted) {
            return None;
        }
        if url.tls {
            self.https.as_ref()
        } else {
            self.http.as_ref()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_left_out_for_what_is_near() {
        let proxies = Proxies {
            http: None,
            https: Url::parse("http://proxy.test:3128"),
            except: vec!["near.test".into()],
        };
        let through = |text: &str| proxies.between(&Url::parse(text).unwrap()).is_some();
        assert!(through("https://far.test/") && through("https://notnear.test/"));
        assert!(
            !through("https://near.test/")
                && !through("https://a.near.test/")
                && !through("https://127.0.0.1/")
                && !through("http://far.test/")
        );
    }
}
