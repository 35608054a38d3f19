//! A TLS server of ours, and programs that judge it.

use daas_certs::Resolver;
use rustls::crypto::ring;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// A server that says `hello` over HTTP to everybody whose handshake succeeds. Ends when it is dropped.
pub(crate) struct Hello {
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Hello {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Hello {
    pub(crate) async fn open(resolver: Arc<Resolver>) -> Self {
        let config =
            rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_cert_resolver(resolver);
        Self::with(config).await
    }

    pub(crate) async fn with(mut config: rustls::ServerConfig) -> Self {
        config.alpn_protocols = vec![b"http/1.1".to_vec(), daas_certs::ACME_TLS.to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(mut tls) = acceptor.accept(tcp).await else {
                        return;
                    };
                    let mut read = [0; 4096];
                    let _ = tls.read(&mut read).await;
                    let _ = tls
                        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello")
                        .await;
                    let _ = tls.shutdown().await;
                });
            }
        });
        Self { address, task }
    }
}

pub(crate) async fn run(program: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(arguments);
    tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap()
        .expect("the program is installed")
}

/// Asks `https://<host>` at the server with curl, which trusts only `roots`.
pub(crate) async fn curl(
    server: &Hello,
    host: &str,
    roots: &Path,
    more: &[&str],
) -> Result<String, String> {
    let url = format!("https://{host}:{}/", server.address.port());
    let connect = format!("{host}:{}:127.0.0.1", server.address.port());
    let roots = roots.to_str().unwrap();
    let mut arguments = vec![
        "-sS",
        "--max-time",
        "20",
        "--resolve",
        &connect,
        "--cacert",
        roots,
    ];
    arguments.extend(more);
    arguments.push(&url);
    let output = run("curl", &arguments).await;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}
