//! An ingress on loopback, and back ends that remember what they were asked.

use daas_engine::dial::Dialer;
use daas_ingress::{Ingress, Listener, Route, Settings, StandRoutes, Upstream};
use daas_model::{RouteProtocol, StandName};
use daas_tasks::Supervisor;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

pub(crate) struct House {
    pub(crate) ingress: Ingress,
    pub(crate) address: SocketAddr,
    pub(crate) dialer: Dialer,
    pub(crate) tasks: Supervisor,
}

impl House {
    pub(crate) fn new() -> Self {
        Self::with(Settings {
            workers: 2,
            ..Settings::default()
        })
    }

    pub(crate) fn with(settings: Settings) -> Self {
        let (dialer, tasks) = (Dialer::new().unwrap(), Supervisor::new());
        let tls = settings.certificates.is_some();
        let ingress = Ingress::new(settings, dialer.clone(), tasks.clone()).unwrap();
        let listener = Arc::new(Listener::bind("127.0.0.1:0".parse().unwrap(), tls).unwrap());
        ingress.open(std::slice::from_ref(&listener));
        Self {
            ingress,
            address: listener.address(),
            dialer,
            tasks,
        }
    }

    pub(crate) fn upstream(&self, address: SocketAddr) -> Upstream {
        Upstream {
            node: "web".into(),
            net: self.dialer.home().clone(),
            address,
            protocol: RouteProtocol::Http,
        }
    }

    pub(crate) fn route(&self, host: &str, upstreams: &[SocketAddr]) -> Route {
        Route {
            service: "web".into(),
            hosts: vec![host.into()],
            path: "/".into(),
            headers: Vec::new(),
            rules: Arc::default(),
            protocol: RouteProtocol::Http,
            upstreams: upstreams.iter().map(|a| self.upstream(*a)).collect(),
            judges: Vec::new(),
            stopped: false,
        }
    }

    pub(crate) fn set(&self, routes: Vec<Route>) {
        self.ingress.set(
            &stand(),
            Some(StandRoutes {
                routes,
                ..StandRoutes::default()
            }),
        );
    }

    /// Sends bytes as they are, and returns everything that comes until the other side closes.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> String {
        let (address, bytes) = (self.address, bytes.to_vec());
        tokio::task::spawn_blocking(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream
                .set_read_timeout(Some(Duration::from_secs(30)))
                .unwrap();
            stream.write_all(&bytes).unwrap();
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            String::from_utf8_lossy(&answer).into_owned()
        })
        .await
        .unwrap()
    }

    pub(crate) async fn end(self) {
        drop(self.ingress);
        let late = self.tasks.shutdown(Duration::from_secs(20)).await;
        assert!(late.is_empty(), "did not end: {late:?}");
    }
}

pub(crate) fn stand() -> StandName {
    StandName::parse("shop-7").unwrap()
}

/// A back end of few words: it reads requests whose bodies have a length, remembers their heads, and answers them.
pub(crate) struct Back {
    pub(crate) address: SocketAddr,
    pub(crate) heads: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Back {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Back {
    pub(crate) async fn new(answer: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = heads.clone();
        let task = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let seen = seen.clone();
                tokio::spawn(async move {
                    let mut bytes = Vec::new();
                    loop {
                        let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else {
                            match stream.read_buf(&mut bytes).await {
                                Ok(0) | Err(_) => return,
                                Ok(_) => continue,
                            }
                        };
                        let head = String::from_utf8_lossy(&bytes[..end + 4]).into_owned();
                        bytes.drain(..end + 4);
                        let chunked = head
                            .to_ascii_lowercase()
                            .contains("transfer-encoding: chunked");
                        let length = length_of(&head);
                        let whole = |bytes: &[u8]| {
                            if chunked {
                                bytes
                                    .windows(5)
                                    .position(|w| w == b"0\r\n\r\n")
                                    .map(|at| at + 5)
                            } else {
                                (bytes.len() >= length).then_some(length)
                            }
                        };
                        let body = loop {
                            if let Some(body) = whole(&bytes) {
                                break body;
                            }
                            if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                                return;
                            }
                        };
                        bytes.drain(..body);
                        seen.lock().unwrap().push(head);
                        if stream.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self {
            address,
            heads,
            task,
        }
    }

    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

fn length_of(head: &str) -> usize {
    head.lines()
        .find_map(|line| {
            line.to_ascii_lowercase()
                .strip_prefix("content-length:")
                .map(|v| v.trim().parse().unwrap())
        })
        .unwrap_or(0)
}

pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Back: 1\r\n\r\nok";
