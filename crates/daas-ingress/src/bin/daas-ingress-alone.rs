//! An ingress with nothing around it, for figures.
//!
//! `daas-ingress-alone UPSTREAM WORKERS ROUTES [NETWORK [CERTIFICATE KEY]]`: leads `r0.test` to `r<ROUTES - 1>.test` to the address `UPSTREAM` inside the
//! network namespace at the path `NETWORK` (`-` for this one), and prints where it listens: plain HTTP, then TLS if there is a certificate. Ends with its
//! standard input.
//!
//! Not here: where routes come from (`daas-control`), configuration (`daas`).
#![expect(
    clippy::print_stdout,
    reason = "its output is what it is for: addresses for who asked"
)]

use daas_engine::dial::{Dialer, StandNet};
use daas_ingress::{Ingress, Listener, Route, Settings, StandRoutes, Upstream};
use daas_model::{RouteProtocol, StandName};
use daas_tasks::Supervisor;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// One certificate for every name.
#[derive(Debug)]
struct OneForAll(Arc<CertifiedKey>);

impl ResolvesServerCert for OneForAll {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

fn main() -> Outcome<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [upstream, workers, routes, rest @ ..] = &words[..] else {
        return Err(
            "usage: daas-ingress-alone UPSTREAM WORKERS ROUTES [NETWORK [CERTIFICATE KEY]]".into(),
        );
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let certificates = match rest {
        [_, chain, key] => Some(certificate(chain, key)?),
        _ => None,
    };
    let network = rest.first().filter(|path| *path != "-");
    runtime.block_on(serve(
        upstream.parse()?,
        workers.parse()?,
        routes.parse()?,
        network,
        certificates,
    ))
}

fn certificate(chain: &str, key: &str) -> Outcome<Arc<dyn ResolvesServerCert>> {
    let chain = CertificateDer::pem_file_iter(chain)?.collect::<Result<_, _>>()?;
    let key = rustls::crypto::ring::sign::any_supported_type(&PrivateKeyDer::from_pem_file(key)?)?;
    Ok(Arc::new(OneForAll(Arc::new(CertifiedKey::new(chain, key)))))
}

async fn serve(
    upstream: SocketAddr,
    workers: usize,
    routes: usize,
    network: Option<&String>,
    certificates: Option<Arc<dyn ResolvesServerCert>>,
) -> Outcome<()> {
    let (dialer, tasks) = (Dialer::new()?, Supervisor::new());
    let net = match network {
        Some(path) => Arc::new(StandNet::open(path)?),
        None => dialer.home().clone(),
    };
    let tls = certificates.is_some();
    let settings = Settings {
        workers,
        certificates,
        ..Settings::default()
    };
    let ingress = Ingress::new(settings, dialer, tasks.clone())?;
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut listeners = vec![Arc::new(Listener::bind(any, false)?)];
    if tls {
        listeners.push(Arc::new(Listener::bind(any, true)?));
    }
    let routes = (0..routes).map(|number| Route {
        service: "web".into(),
        hosts: [
            Some(format!("r{number}.test")),
            // Whoever asks for the address itself gets the first one.
            (number == 0).then(|| "127.0.0.1".to_owned()),
        ]
        .into_iter()
        .flatten()
        .collect(),
        path: "/".into(),
        headers: Vec::new(),
        rules: Arc::default(),
        protocol: RouteProtocol::Http,
        upstreams: vec![Upstream {
            node: "web".into(),
            net: net.clone(),
            address: upstream,
            protocol: RouteProtocol::Http,
        }],
        judges: Vec::new(),
        stopped: false,
    });
    let routes = StandRoutes {
        routes: routes.collect(),
        ..StandRoutes::default()
    };
    ingress.set(&StandName::parse("bench")?, Some(routes));
    ingress.open(&listeners);
    for listener in &listeners {
        // rules: print here: a program of tests and figures tells its addresses
        println!("{}", listener.address());
    }
    // Whoever started it holds the other end.
    let end = tasks.run_blocking("input", || std::io::stdin().read(&mut [0; 64]));
    let _ = end.await;
    tasks.shutdown(Duration::from_secs(8)).await;
    Ok(())
}
