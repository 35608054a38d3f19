//! What passes through: HTTP/2 with and without TLS, WebSockets, events, large bodies, gRPC.

use crate::house::{Back, House, OK};
use daas_ingress::Settings;
use daas_model::RouteProtocol;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::convert::Infallible;
use std::process::Command;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// One certificate for every name.
#[derive(Debug)]
struct OneForAll(Arc<CertifiedKey>);

impl ResolvesServerCert for OneForAll {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

fn certificate() -> Arc<OneForAll> {
    let made = rcgen::generate_simple_self_signed(vec!["a.test".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let key = rustls::crypto::ring::sign::any_supported_type(&key).unwrap();
    Arc::new(OneForAll(Arc::new(CertifiedKey::new(
        vec![made.cert.der().clone()],
        key,
    ))))
}

async fn curl(house: &House, arguments: &[&str], scheme: &str, path: &str) -> String {
    let port = house.address.port();
    let mut command = Command::new("curl");
    command.args([
        "--silent",
        "--show-error",
        "--noproxy",
        "*",
        "--insecure",
        "--max-time",
        "60",
        "--resolve",
        &format!("a.test:{port}:127.0.0.1"),
    ]);
    command
        .args(arguments)
        .arg(format!("{scheme}://a.test:{port}{path}"));
    tokio::task::spawn_blocking(move || {
        let output = command.output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_speaks_http1_and_http2_over_tls_and_http2_without() {
    let back = Back::new(OK).await;
    let settings = || Settings {
        workers: 2,
        ..Settings::default()
    };
    let plain = House::with(settings());
    plain.set(vec![plain.route("a.test", &[back.address])]);
    let tls = House::with(Settings {
        certificates: Some(certificate()),
        ..settings()
    });
    tls.set(vec![tls.route("a.test", &[back.address])]);
    let version = ["--write-out", " %{http_version} %{http_code}"];
    for (house, scheme, flag, wanted) in [
        (&plain, "http", "--http1.1", "ok 1.1 200"),
        (&plain, "http", "--http1.0", "ok 1 200"),
        (&plain, "http", "--http2-prior-knowledge", "ok 2 200"),
        (&tls, "https", "--http1.1", "ok 1.1 200"),
        (&tls, "https", "--http2", "ok 2 200"),
    ] {
        let arguments = [&version[..], &[flag]].concat();
        assert_eq!(
            curl(house, &arguments, scheme, "/").await,
            wanted,
            "{scheme} {flag}"
        );
    }
    let protos: Vec<bool> = back
        .heads()
        .iter()
        .map(|head| head.contains("x-forwarded-proto: https\r\n"))
        .collect();
    assert_eq!(protos, [false, false, false, true, true]);
    plain.end().await;
    tls.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cookies_that_http2_has_split_reach_the_node_as_one() {
    let (house, back) = (House::new(), Back::new(OK).await);
    house.set(vec![house.route("a.test", &[back.address])]);
    let arguments = [
        "--http2-prior-knowledge",
        "--header",
        "Cookie: session=abc",
        "--header",
        "Cookie: theme=dark",
    ];
    assert_eq!(curl(&house, &arguments, "http", "/").await, "ok");
    let head = back.heads()[0].to_lowercase();
    assert!(
        head.contains("\r\ncookie: session=abc; theme=dark\r\n")
            && head.matches("cookie:").count() == 1,
        "{head}"
    );
    house.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_flow_both_ways_after_a_switch_of_the_protocol() {
    let house = House::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    house.set(vec![
        house.route("a.test", &[listener.local_addr().unwrap()]),
    ]);
    let back = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = vec![0; 4096];
        let n = stream.read(&mut head).await.unwrap();
        let head = String::from_utf8_lossy(&head[..n]).to_ascii_lowercase();
        assert!(
            head.contains("upgrade: websocket\r\n") && head.contains("connection: upgrade\r\n"),
            "{head}"
        );
        stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhello").await.unwrap();
        let (mut read, mut write) = stream.split();
        let copied = tokio::io::copy(&mut read, &mut write).await.unwrap();
        write.shutdown().await.unwrap();
        copied
    });
    let mut visitor = TcpStream::connect(house.address).await.unwrap();
    visitor.write_all(b"GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\nearly").await.unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"helloearly") {
        assert_ne!(
            visitor.read_buf(&mut seen).await.unwrap(),
            0,
            "{}",
            String::from_utf8_lossy(&seen)
        );
    }
    assert!(seen.starts_with(b"HTTP/1.1 101 "));
    // Bytes that would be no HTTP: nobody reads along any more.
    let block: Vec<u8> = (0..1_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let (mut read, mut write) = visitor.into_split();
    let sent = block.clone();
    let writer = tokio::spawn(async move {
        write.write_all(&sent).await.unwrap();
        write.shutdown().await.unwrap();
    });
    let mut echoed = Vec::new();
    read.read_to_end(&mut echoed).await.unwrap();
    writer.await.unwrap();
    assert!(echoed == block, "{} of {} bytes", echoed.len(), block.len());
    assert_eq!(back.await.unwrap(), 1_000_005);
    house.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_arrive_when_they_are_sent_and_not_later() {
    let house = House::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    house.set(vec![
        house.route("a.test", &[listener.local_addr().unwrap()]),
    ]);
    let mut visitor = TcpStream::connect(house.address).await.unwrap();
    visitor
        .write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        .await
        .unwrap();
    let (mut back, _) = listener.accept().await.unwrap();
    let mut head = [0; 4096];
    let _ = back.read(&mut head).await.unwrap();
    back.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        .await
        .unwrap();
    let mut seen = Vec::new();
    for n in 0..5 {
        // The next one is not sent before the last one has arrived.
        let event = format!("data: {n}\n\n");
        back.write_all(event.as_bytes()).await.unwrap();
        while !String::from_utf8_lossy(&seen).contains(&event) {
            assert_ne!(visitor.read_buf(&mut seen).await.unwrap(), 0);
        }
    }
    drop(back);
    drop(visitor);
    house.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_passes_without_being_kept() {
    let house = House::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    house.set(vec![
        house.route("a.test", &[listener.local_addr().unwrap()]),
    ]);
    let size = 64 << 20;
    let back = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = vec![0; 1 << 20];
        let mut head = Vec::new();
        while !head.windows(4).any(|w| w == b"\r\n\r\n") {
            assert_ne!(stream.read_buf(&mut head).await.unwrap(), 0);
        }
        let end = head.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
        let mut seen = head.len() - end;
        while seen < size {
            seen += stream.read(&mut buffer).await.unwrap();
        }
        stream
            .write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n").as_bytes())
            .await
            .unwrap();
        for _ in 0..size >> 20 {
            stream.write_all(&buffer).await.unwrap();
        }
    });
    let mut visitor = TcpStream::connect(house.address).await.unwrap();
    visitor.write_all(format!("PUT / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nContent-Length: {size}\r\n\r\n").as_bytes()).await.unwrap();
    let block = vec![7; 1 << 20];
    for _ in 0..size >> 20 {
        visitor.write_all(&block).await.unwrap();
    }
    let (mut seen, mut buffer) = (0, vec![0; 1 << 20]);
    loop {
        match visitor.read(&mut buffer).await.unwrap() {
            0 => break,
            n => seen += n,
        }
    }
    assert!(seen > size && seen < size + 1000, "{seen}");
    back.await.unwrap();
    house.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_has_its_trailers_and_speaks_both_ways_at_once() {
    let house = House::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut route = house.route("a.test", &[listener.local_addr().unwrap()]);
    route.protocol = RouteProtocol::Grpc;
    route.upstreams[0].protocol = RouteProtocol::Grpc;
    house.set(vec![route]);
    let back = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let service = hyper::service::service_fn(
            |request: hyper::Request<hyper::body::Incoming>| async move {
                assert_eq!(request.headers()["te"], "trailers");
                assert_eq!(request.uri().authority().unwrap().as_str(), "a.test");
                let (sender, frames) =
                    tokio::sync::mpsc::channel::<Result<Frame<Bytes>, Infallible>>(4);
                tokio::spawn(async move {
                    let mut body = request.into_body();
                    while let Some(frame) = body.frame().await {
                        let data = frame.unwrap().into_data().unwrap();
                        sender.send(Ok(Frame::data(data))).await.unwrap();
                    }
                    let mut trailers = hyper::HeaderMap::new();
                    trailers.insert("grpc-status", hyper::header::HeaderValue::from_static("0"));
                    sender.send(Ok(Frame::trailers(trailers))).await.unwrap();
                });
                let frames = futures_util::stream::unfold(frames, |mut frames| async move {
                    Some((frames.recv().await?, frames))
                });
                Ok::<_, Infallible>(hyper::Response::new(StreamBody::new(frames)))
            },
        );
        let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), service)
            .await;
    });
    let stream = TcpStream::connect(house.address).await.unwrap();
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let driver = tokio::spawn(connection);
    let (sender, frames) = tokio::sync::mpsc::channel::<Result<Frame<Bytes>, Infallible>>(1);
    let frames = futures_util::stream::unfold(frames, |mut frames| async move {
        Some((frames.recv().await?, frames))
    });
    let request = hyper::Request::post("http://a.test/echo.Echo/Talk")
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    let request = request.body(StreamBody::new(Box::pin(frames))).unwrap();
    let mut answer = client.send_request(request).await.unwrap().into_body();
    for word in ["one", "two", "three"] {
        sender
            .send(Ok(Frame::data(Bytes::from_static(word.as_bytes()))))
            .await
            .unwrap();
        let frame = answer.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), word.as_bytes());
    }
    drop(sender);
    let trailers = answer
        .frame()
        .await
        .unwrap()
        .unwrap()
        .into_trailers()
        .unwrap();
    assert_eq!(trailers["grpc-status"], "0");
    drop((client, answer));
    driver.abort();
    house.end().await;
    back.abort();
}
