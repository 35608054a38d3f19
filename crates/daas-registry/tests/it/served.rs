//! A registry that listens, and a plain client of it.

use daas_image::{Registries, RegistrySettings};
use daas_registry::{Door, NewLogin, Registry, Settings};
use daas_tasks::Supervisor;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{HeaderMap, Method, Request};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};

/// A registry in a folder of its own.
pub(crate) struct Served {
    pub(crate) registry: Registry,
    pub(crate) images: Arc<daas_image::Store>,
    pub(crate) address: SocketAddr,
    tasks: Supervisor,
    serving: Vec<daas_tasks::Handle<()>>,
}

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

impl Served {
    pub(crate) async fn start(dir: &Path, settings: Settings) -> Self {
        let outside = Registries::new(RegistrySettings {
            retries: 0,
            ..RegistrySettings::default()
        });
        Self::start_with(dir, settings, outside.unwrap()).await
    }

    pub(crate) async fn start_with(dir: &Path, settings: Settings, outside: Registries) -> Self {
        let tasks = Supervisor::new();
        let records = opened(|| daas_store::Store::open(&dir.join("records"))).await;
        let images = Arc::new(opened(|| daas_image::Store::open(&dir.join("images"))).await);
        let registry = Registry::open(
            settings,
            records,
            images.clone(),
            Arc::new(outside),
            tasks.clone(),
        )
        .unwrap();
        let mut served = Self {
            registry,
            images,
            address: ([127, 0, 0, 1], 0).into(),
            tasks,
            serving: Vec::new(),
        };
        served.address = served.listen(Door::Network { tls: false }).await;
        served
    }

    /// Listens at one more address.
    pub(crate) async fn listen(&mut self, door: Door) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = self.registry.router(door);
        self.serving.push(self.tasks.run("serve", |_| async move {
            axum::serve(listener, router).await.unwrap();
        }));
        address
    }

    /// Ends it, as a kill would: nothing is told to anybody.
    pub(crate) async fn stop(self) {
        for handle in self.serving {
            handle.abort();
            let _ = handle.await;
        }
        self.tasks.shutdown(std::time::Duration::from_secs(5)).await;
    }

    /// Makes a login for every project; returns the header that shows it.
    pub(crate) async fn everything(&self) -> String {
        let login = self.login("everything", None, true, true).await;
        basic("everything", &login)
    }

    pub(crate) async fn login(
        &self,
        name: &str,
        project: Option<&str>,
        push: bool,
        delete: bool,
    ) -> String {
        let new = NewLogin {
            name: name.into(),
            project: project.map(|p| daas_model::ProjectName::parse(p).unwrap()),
            push,
            delete,
            expires_ms: None,
        };
        self.registry.add_login(new).await.unwrap().secret
    }

    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        ask(self.address, method, path, headers, body.into()).await
    }
}

/// Sends one request on a connection of its own.
pub(crate) async fn ask(
    address: SocketAddr,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Bytes,
) -> Answer {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", address.to_string());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(body)).unwrap();
    let work = async move {
        let (head, body) = sender.send_request(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
        }
    };
    tokio::select! {
        answer = work => answer,
        // Polled beside the request until it is answered.
        _ = async { connection.await.unwrap(); std::future::pending::<()>().await } => unreachable!("it is never ready"),
    }
}

/// Writes the header of RFC 7617.
pub(crate) fn basic(name: &str, secret: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let text = format!("{name}:{secret}");
    let mut out = String::from("Basic ");
    for chunk in text.as_bytes().chunks(3) {
        let bits = chunk
            .iter()
            .chain([&0, &0])
            .take(3)
            .fold(0u32, |bits, byte| (bits << 8) | u32::from(*byte));
        for at in 0..4 {
            out.push(if at > chunk.len() {
                '='
            } else {
                char::from(DIGITS[((bits >> (18 - 6 * at)) & 63) as usize])
            });
        }
    }
    out
}

/// A small image: its manifest, and the contents that it is made of.
pub(crate) struct SmallImage {
    pub(crate) manifest: Vec<u8>,
    pub(crate) parts: Vec<Vec<u8>>,
}

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Makes an image that is like no other: its only layer is `word`.
pub(crate) fn image(word: &str) -> SmallImage {
    let parts = [format!("{{\"word\":\"{word}\"}}"), format!("layer {word}")];
    let descriptor = |kind: &str, text: &str| serde_json::json!({"mediaType": kind, "digest": daas_image::Digest::of(text.as_bytes()), "size": text.len()});
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": descriptor("application/vnd.oci.image.config.v1+json", &parts[0]),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &parts[1])],
    });
    SmallImage {
        manifest: manifest.to_string().into_bytes(),
        parts: parts.map(String::into_bytes).into(),
    }
}

impl SmallImage {
    pub(crate) fn digest(&self) -> daas_image::Digest {
        daas_image::Digest::of(&self.manifest)
    }
}

impl Served {
    /// Pushes a content in one request.
    pub(crate) async fn push_blob(&self, auth: &str, repository: &str, content: &[u8]) -> Answer {
        let digest = daas_image::Digest::of(content);
        let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        self.ask(
            Method::POST,
            &path,
            &[("authorization", auth)],
            content.to_vec(),
        )
        .await
    }

    /// Pushes an image under a tag; answers with what became of the manifest.
    pub(crate) async fn push(
        &self,
        auth: &str,
        repository: &str,
        tag: &str,
        image: &SmallImage,
    ) -> Answer {
        for part in &image.parts {
            let pushed = self.push_blob(auth, repository, part).await;
            assert_eq!(pushed.status, 201, "{pushed:?}");
        }
        let path = format!("/v2/{repository}/manifests/{tag}");
        let headers = [("authorization", auth), ("content-type", MANIFEST)];
        self.ask(Method::PUT, &path, &headers, image.manifest.clone())
            .await
    }

    pub(crate) async fn get(&self, auth: &str, path: &str) -> Answer {
        self.ask(Method::GET, path, &[("authorization", auth)], "")
            .await
    }

    /// Lists the files of the store that are work in progress.
    pub(crate) fn temporary(&self) -> usize {
        std::fs::read_dir(self.images.dir().join("tmp"))
            .unwrap()
            .count()
    }
}

/// Opens a store, whose lock is held until the last connection of the registry that was there before is through.
async fn opened<T, E: std::fmt::Debug>(open: impl Fn() -> Result<T, E>) -> T {
    for _ in 0..1000 {
        match open() {
            Ok(store) => return store,
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
        }
    }
    open().unwrap()
}
