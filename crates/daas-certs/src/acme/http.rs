//! The way to an authority: HTTP/1.1 over TLS with limits of time and size, and errors that say which URL.

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HOST, HeaderValue};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use std::collections::HashMap;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long one question may take, the slowest authority included.
const ANSWER: Duration = Duration::from_secs(90);
const CONNECT: Duration = Duration::from_secs(15);
/// The largest answer: chains and directories have a few kB.
const LARGEST: usize = 1 << 20;
/// Where distributions keep the roots that they trust.
const SYSTEM: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// A question to an authority that got no answer.
#[derive(Debug, thiserror::Error)]
#[error("cannot reach `{url}`")]
pub(crate) struct Unreachable {
    pub(crate) url: String,
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

type Sender = SendRequest<Full<Bytes>>;

/// Asks one authority; keeps a connection per host.
#[derive(Clone)]
pub(crate) struct Https {
    tls: TlsConnector,
    idle: Arc<Mutex<HashMap<String, Sender>>>,
    tasks: daas_tasks::Supervisor,
}

impl Https {
    /// Trusts `roots`, or the system's where there is none.
    pub(crate) fn new(
        roots: Option<&Path>,
        tasks: daas_tasks::Supervisor,
    ) -> Result<Self, Unreachable> {
        let system = || SYSTEM.iter().map(Path::new).find(|path| path.is_file());
        let path = roots.or_else(system);
        let fault = |source: Box<dyn std::error::Error + Send + Sync>| Unreachable {
            url: path.map_or_else(
                || "roots of the system".to_owned(),
                |p| p.display().to_string(),
            ),
            source,
        };
        let mut trusted = rustls::RootCertStore::empty();
        if let Some(path) = path {
            let read = CertificateDer::pem_file_iter(path).map_err(|e| fault(e.into()))?;
            trusted.add_parsable_certificates(read.filter_map(Result::ok));
        }
        if trusted.is_empty() {
            return Err(fault(
                "no root is trusted: install the package ca-certificates".into(),
            ));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| fault(e.into()))?
            .with_root_certificates(trusted)
            .with_no_client_auth();
        Ok(Self {
            tls: TlsConnector::from(Arc::new(config)),
            idle: Arc::default(),
            tasks,
        })
    }

    async fn exchange(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Result<Response<Full<Bytes>>, Unreachable> {
        let url = request.uri().to_string();
        let failed = |source| Unreachable {
            url: url.clone(),
            source,
        };
        let answered = tokio::time::timeout(ANSWER, self.ask(request)).await;
        answered
            .map_err(|_| failed(format!("no answer within {} s", ANSWER.as_secs()).into()))?
            .map_err(failed)
    }

    async fn ask(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Result<Response<Full<Bytes>>, daas_tasks::TaskError> {
        let (mut parts, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let uri = std::mem::take(&mut parts.uri);
        let place = place(&uri)?;
        parts.uri = uri
            .path_and_query()
            .map_or("/", |path| path.as_str())
            .parse()?;
        parts.headers.insert(
            HOST,
            HeaderValue::from_str(uri.authority().map_or("", |a| a.as_str()))?,
        );
        let mut sender = self.sender(&place).await?;
        let answer = sender
            .send_request(Request::from_parts(parts, Full::new(body)))
            .await?;
        let (parts, body) = answer.into_parts();
        let body = Limited::new(body, LARGEST).collect().await?.to_bytes();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.insert(place.key, sender);
        Ok(Response::from_parts(parts, Full::new(body)))
    }

    async fn sender(&self, place: &Place) -> Result<Sender, daas_tasks::TaskError> {
        let kept = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&place.key);
        if let Some(mut kept) = kept
            && kept.ready().await.is_ok()
        {
            return Ok(kept);
        }
        let way = async {
            let tcp = TcpStream::connect((place.host.as_str(), place.port)).await?;
            tcp.set_nodelay(true)?;
            let name = ServerName::try_from(place.host.clone()).map_err(std::io::Error::other)?;
            self.tls.connect(name, tcp).await
        };
        let tls = tokio::time::timeout(CONNECT, way)
            .await
            .map_err(|_| "no connection within 15 s")??;
        let (sender, connection) = http1::handshake(TokioIo::new(tls)).await?;
        drop(
            self.tasks
                .run("connection to an authority", move |shutdown| async move {
                    tokio::select! {
                        _ = connection => {}
                        () = shutdown.asked() => {}
                    }
                }),
        );
        Ok(sender)
    }
}

struct Place {
    host: String,
    port: u16,
    key: String,
}

fn place(uri: &Uri) -> Result<Place, daas_tasks::TaskError> {
    if uri.scheme_str() != Some("https") {
        return Err("authorities are asked over https only".into());
    }
    let host = uri
        .host()
        .ok_or("the URL has no host")?
        .trim_matches(['[', ']'])
        .to_owned();
    let port = uri.port_u16().unwrap_or(443);
    Ok(Place {
        key: format!("{host}:{port}"),
        host,
        port,
    })
}

impl HttpClient for Https {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let https = self.clone();
        Box::pin(async move {
            match https.exchange(request).await {
                Ok(answer) => Ok(BytesResponse::from(answer)),
                Err(error) => Err(Error::Other(Box::new(error))),
            }
        })
    }
}
