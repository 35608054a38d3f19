//! The way out by the proxy, with real sockets and a borrowed judge: curl.

use crate::space::{Space, TestStand, stand};
use daas_engine::dial::Dialer;
use daas_engine::egress::{
    Access, EgressProxy, Outbound, Outcome, ProxyConfig, ProxyPort, Resolve, SystemNames,
    proxy_environment,
};
use daas_model::Subnet;
use daas_tasks::Supervisor;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

const GATEWAY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

/// A stand with a proxy, and what the proxy told.
struct Site {
    space: TestStand,
    dialer: Dialer,
    supervisor: Supervisor,
    port: ProxyPort,
    accesses: mpsc::Receiver<Access>,
}

impl Site {
    async fn new(allow: &[&str], names: impl Resolve) -> Self {
        Self::with(Dialer::new().unwrap(), allow, names).await
    }

    async fn with(dialer: Dialer, allow: &[&str], names: impl Resolve) -> Self {
        let allow = allow
            .iter()
            .map(|text| Subnet::parse(text).unwrap())
            .collect();
        let outbound = Outbound { allow };
        Self::configured(
            dialer,
            ProxyConfig {
                outbound,
                ..ProxyConfig::default()
            },
            names,
        )
        .await
    }

    async fn configured(dialer: Dialer, config: ProxyConfig, names: impl Resolve) -> Self {
        let supervisor = Supervisor::new();
        let (sender, accesses) = mpsc::channel(100);
        let proxy =
            EgressProxy::with_names(dialer.clone(), supervisor.clone(), config, sender, names);
        let space = TestStand::new();
        let port = proxy
            .open(&stand("proxy"), &space.router.net(), &[GATEWAY])
            .await
            .unwrap();
        Self {
            space,
            dialer,
            supervisor,
            port,
            accesses,
        }
    }

    /// Connects from the node to the proxy.
    async fn connect(&self) -> TcpStream {
        let at = SocketAddr::new(GATEWAY, 3128);
        self.dialer
            .connect_tcp(&self.space.node.net(), at, Duration::from_secs(5))
            .await
            .unwrap()
    }

    /// Says `request` from the node and hears all of the answer.
    async fn ask(&self, request: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// Runs curl in the node with the variables that a node gets.
    async fn curl(&self, arguments: &[&str]) -> String {
        let environment = proxy_environment(GATEWAY, &[], &[]);
        let variables: Vec<String> = environment
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let mut all = vec!["env", "-i", "PATH=/usr/bin:/bin"];
        all.extend(
            variables
                .iter()
                .map(String::as_str)
                .filter(|text| !text.to_ascii_lowercase().starts_with("no_")),
        );
        all.extend(["curl", "-sS", "--max-time", "20"]);
        all.extend(arguments);
        let all: Vec<String> = all.into_iter().map(str::to_owned).collect();
        tokio::task::block_in_place(|| {
            self.space
                .node
                .exec(&all.iter().map(String::as_str).collect::<Vec<_>>())
        })
    }

    async fn end(self) {
        self.port.close().await;
        assert!(self.supervisor.status().is_empty());
    }
}

/// An origin that answers each request with what it read of it, and counts connections.
struct Origin {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Origin {
    async fn new() -> Self {
        Self::at(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    fn at(listener: TcpListener) -> Self {
        let (address, connections) = (
            listener.local_addr().unwrap(),
            Arc::new(AtomicUsize::new(0)),
        );
        let count = connections.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(answer(stream));
            }
        });
        Self {
            address,
            connections,
        }
    }

    fn count(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Reads a request as a naive server would: the head, and a body by length or chunks; then answers with all of it, chunked.
async fn answer(mut stream: TcpStream) -> io::Result<()> {
    let mut read = Vec::new();
    let end = loop {
        if let Some(at) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut read).await? == 0 {
            return Ok(());
        }
    };
    let head = String::from_utf8_lossy(&read[..end]).to_ascii_lowercase();
    if head.contains("expect: 100-continue") {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map(|text| text.parse::<usize>().unwrap());
    let whole = |read: &[u8]| match length {
        Some(length) => read.len() >= end + length,
        None => !head.contains("transfer-encoding: chunked") || read.ends_with(b"0\r\n\r\n"),
    };
    while !whole(&read) {
        if stream.read_buf(&mut read).await? == 0 {
            break;
        }
    }
    let text = format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nKeep-Alive: timeout=5\r\n\r\n{:x}\r\n{}\r\n0\r\n\r\n",
        read.len(),
        String::from_utf8_lossy(&read)
    );
    stream.write_all(text.as_bytes()).await?;
    // More than one request on a connection would be heard here.
    let mut more = Vec::new();
    stream.read_to_end(&mut more).await?;
    assert!(more.is_empty(), "{:?}", String::from_utf8_lossy(&more));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn root_curl_gets_posts_and_tunnels_through_the_proxy() {
    let origin = Origin::new().await;
    let mut site = Site::new(&["127.0.0.1/32"], SystemNames).await;
    let url = format!("http://{}/path?query", origin.address);
    let got = site.curl(&[&url]).await;
    assert!(
        got.starts_with(&format!(
            "GET /path?query HTTP/1.1\r\nHost: {}\r\n",
            origin.address
        )),
        "{got}"
    );
    assert!(
        got.contains("Connection: close\r\n") && !got.to_lowercase().contains("proxy-connection"),
        "{got}"
    );
    let access = site.accesses.recv().await.unwrap();
    assert_eq!(
        (access.method.as_str(), access.host.as_str(), access.port),
        ("GET", "127.0.0.1", origin.address.port())
    );
    assert_eq!(
        (access.outcome, access.sent, access.client.to_string()),
        (Outcome::Passed(200), 0, "10.0.0.2".into())
    );
    assert!(access.received > got.len() as u64);

    let long = "x".repeat(300_000);
    let posted = site
        .curl(&[
            "--data-binary",
            &long[..100_000],
            "-H",
            "Expect: 100-continue",
            &url,
        ])
        .await;
    assert!(posted.contains("Content-Length: 100000\r\n") && posted.ends_with(&long[..100_000]));
    assert_eq!(site.accesses.recv().await.unwrap().sent, 100_000);
    let chunked = site
        .curl(&[
            "--data-binary",
            "hello",
            "-H",
            "Transfer-Encoding: chunked",
            &url,
        ])
        .await;
    assert!(
        chunked.contains("Transfer-Encoding: chunked\r\n")
            && chunked.ends_with("5\r\nhello\r\n0\r\n\r\n"),
        "{chunked}"
    );
    assert_eq!(site.accesses.recv().await.unwrap().sent, 5);

    let only_head = site.curl(&["-I", &url]).await;
    assert!(
        only_head.starts_with("HTTP/1.1 200 OK") && only_head.contains("chunked"),
        "{only_head}"
    );
    assert_eq!(site.accesses.recv().await.unwrap().method, "HEAD");
    let tunnelled = site.curl(&["-p", &url]).await;
    assert!(
        tunnelled.starts_with("GET /path?query HTTP/1.1\r\n")
            && !tunnelled.contains("Connection: close"),
        "{tunnelled}"
    );
    let access = site.accesses.recv().await.unwrap();
    assert_eq!(
        (access.method.as_str(), access.outcome),
        ("CONNECT", Outcome::Passed(200))
    );
    assert!(access.sent > 50 && access.received > tunnelled.len() as u64);
    assert_eq!(origin.count(), 5);
    // Around the proxy there is no way.
    assert_eq!(site.space.router.forwarded(), 0);
    site.end().await;
}

#[tokio::test]
async fn root_the_platforms_own_network_is_refused_in_every_disguise() {
    let mut site = Site::new(&[], SystemNames).await;
    let origin = Origin::new().await;
    let port = origin.address.port();
    for (host, reason) in [
        ("127.0.0.1", "a loopback address"),
        ("127.64.0.1", "a loopback address"),
        ("localhost", "a loopback address"),
        ("127.1", "a loopback address"),
        ("0x7f000001", "a loopback address"),
        ("2130706433", "a loopback address"),
        ("0177.0.0.1", "a loopback address"),
        ("0.0.0.0", "a loopback address"),
        ("[::1]", "a loopback address"),
        ("[::ffff:127.0.0.1]", "a loopback address"),
        ("169.254.169.254", "the metadata address"),
        ("10.0.0.2", "a private address"),
        ("192.168.0.1", "a private address"),
        ("100.64.0.0", "a private address"),
        ("[fd00::1]", "a private address"),
        ("[64:ff9b::7f00:1]", "a reserved address"),
    ] {
        for request in [
            format!("GET http://{host}:{port}/ HTTP/1.1\r\nHost: public.test\r\n\r\n"),
            format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: public.test\r\n\r\n"),
        ] {
            let answer = site.ask(&request).await;
            assert!(
                answer.starts_with("HTTP/1.1 403 Forbidden\r\n"),
                "{request}{answer}"
            );
            assert!(answer.contains(reason), "{request}{answer}");
            assert!(matches!(
                site.accesses.recv().await.unwrap().outcome,
                Outcome::Refused { status: 403, .. }
            ));
        }
    }
    let mail = site
        .ask("CONNECT 192.0.2.1:25 HTTP/1.1\r\nHost: x\r\n\r\n")
        .await;
    assert!(mail.contains("port 25 is closed for stands"), "{mail}");
    assert_eq!(origin.count(), 0);
    site.end().await;
}

/// A name server that means something else the second time.
struct Rebinding(AtomicUsize);

impl Resolve for Rebinding {
    fn resolve(
        &self,
        _: &str,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + '_>> {
        let turn = self.0.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            Ok(match turn {
                0 => vec!["127.0.0.1".parse().unwrap()],
                // A forbidden address in company of an allowed one that nobody listens at.
                1 => vec!["127.0.0.2".parse().unwrap(), "127.0.0.3".parse().unwrap()],
                _ => vec!["127.0.0.2".parse().unwrap()],
            })
        })
    }
}

#[tokio::test]
async fn root_a_name_that_changes_its_mind_gains_nothing() {
    let origin = Origin::new().await;
    let forbidden = Origin::at(
        TcpListener::bind(("127.0.0.2", origin.address.port()))
            .await
            .unwrap(),
    );
    let site = Site::new(
        &["127.0.0.1/32", "127.0.0.3/32"],
        Rebinding(AtomicUsize::new(0)),
    )
    .await;
    let request = format!(
        "GET http://rebind.test:{}/ HTTP/1.1\r\nHost: x\r\n\r\n",
        origin.address.port()
    );
    assert!(site.ask(&request).await.starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(
        site.ask(&request)
            .await
            .contains("cannot connect to 127.0.0.3")
    );
    assert!(
        site.ask(&request)
            .await
            .contains("`rebind.test` leads to 127.0.0.2, which is a loopback address")
    );
    assert_eq!((origin.count(), forbidden.count()), (1, 0));
    site.end().await;
}

#[tokio::test]
async fn root_the_machines_public_address_is_its_own_and_its_neighbours_is_not() {
    let (host, world) = (Space::new("host"), Space::new("world"));
    host.join("wan", "11.22.33.2/24", &world, "eth0", "11.22.33.1/24");
    let dialer = Dialer::at_home_in(host.net()).unwrap();
    let neighbour = Origin::at(
        dialer
            .bind_tcp(&world.net(), "11.22.33.1:80".parse().unwrap())
            .await
            .unwrap(),
    );
    let own = Origin::at(
        dialer
            .bind_tcp(&host.net(), "0.0.0.0:80".parse().unwrap())
            .await
            .unwrap(),
    );
    let get = |host: &str| format!("GET http://{host}/ HTTP/1.1\r\nHost: x\r\n\r\n");
    // Who allows a network does not allow the machine itself.
    for allow in [&[][..], &["11.22.33.0/24"]] {
        let site = Site::with(dialer.clone(), allow, SystemNames).await;
        let answer = site.ask(&get("11.22.33.1")).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        let answer = site.ask(&get("11.22.33.2")).await;
        let why = "`11.22.33.2` leads to 11.22.33.2, which is an address of this machine";
        assert!(answer.contains(why), "{answer}");
        site.end().await;
    }
    assert_eq!((neighbour.count(), own.count()), (2, 0));
    let site = Site::with(dialer, &["11.22.33.2/32"], SystemNames).await;
    let answer = site.ask(&get("11.22.33.2")).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    site.end().await;
}

#[tokio::test]
async fn root_the_origin_hears_one_request_and_nothing_doubtful() {
    let origin = Origin::new().await;
    let site = Site::new(&["127.0.0.1/32"], SystemNames).await;
    let at = origin.address;
    let head = format!("POST http://{at}/ HTTP/1.1\r\nHost: {at}\r\n");
    for (rest, status) in [
        (
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /admin",
            400,
        ),
        ("Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", 400),
        ("Content-Length: +5\r\n\r\nhello", 400),
        ("Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
        ("Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
        ("X: y\nContent-Length: 5\r\n\r\nhello", 400),
        ("X: y\r\n Content-Length: 5\r\n\r\nhello", 400),
        ("Host: other\r\n\r\n", 400),
    ] {
        let answer = site.ask(&format!("{head}{rest}")).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{rest:?}: {answer}"
        );
    }
    assert_eq!(origin.count(), 0);
    // A second request behind the first one is not read.
    let second = format!("GET http://{at}/admin HTTP/1.1\r\nHost: {at}\r\n\r\n");
    let answer = site
        .ask(&format!("{head}Content-Length: 5\r\n\r\nhello{second}"))
        .await;
    assert!(
        answer.contains("hello")
            && !answer.contains("admin")
            && answer.matches("HTTP/1.1 200").count() == 1,
        "{answer}"
    );
    let answer = site
        .ask(&format!(
            "{head}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n{second}"
        ))
        .await;
    assert!(
        answer.contains("hello")
            && !answer.contains("admin")
            && answer.matches("HTTP/1.1 200").count() == 1,
        "{answer}"
    );
    assert_eq!(origin.count(), 2);
    // Chunks that go wrong in the middle: the origin gets no end, the client an answer.
    let answer = site
        .ask(&format!(
            "{head}Transfer-Encoding: chunked\r\n\r\n5\r\nhelloGET /admin HTTP/1.1\r\n\r\n"
        ))
        .await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let long = format!(
        "GET http://{at}/ HTTP/1.1\r\nHost: x\r\nCookie: {}\r\n\r\n",
        "x".repeat(40_000)
    );
    assert!(site.ask(&long).await.starts_with("HTTP/1.1 431 "));
    site.end().await;
}

#[tokio::test]
async fn root_a_broken_answer_does_not_look_whole_and_a_closed_proxy_ends_its_tunnels() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let mut site = Site::new(&["127.0.0.1/32"], SystemNames).await;
    let mut client = site.connect().await;
    client
        .write_all(format!("GET http://{at}/ HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let (mut origin, _) = listener.accept().await.unwrap();
    let mut buffer = [0; 1000];
    assert!(origin.read(&mut buffer).await.unwrap() > 0);
    origin
        .write_all(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        .await
        .unwrap();
    let mut heard = Vec::new();
    while !heard.ends_with(b"half") {
        client.read_buf(&mut heard).await.unwrap();
    }
    origin.set_zero_linger().unwrap();
    drop(origin);
    assert_eq!(
        client.read(&mut buffer).await.unwrap_err().kind(),
        io::ErrorKind::ConnectionReset
    );
    assert_eq!(site.accesses.recv().await.unwrap().outcome, Outcome::Broken);

    let mut client = site.connect().await;
    client
        .write_all(format!("CONNECT {at} HTTP/1.1\r\nHost: x\r\n\r\nearly").as_bytes())
        .await
        .unwrap();
    let (mut origin, _) = listener.accept().await.unwrap();
    origin.read_exact(&mut buffer[..5]).await.unwrap();
    assert_eq!(&buffer[..5], b"early");
    let established = b"HTTP/1.1 200 Connection established\r\n\r\n";
    client
        .read_exact(&mut buffer[..established.len()])
        .await
        .unwrap();
    assert_eq!(&buffer[..established.len()], established);
    let (space, dialer) = (site.space.node.net(), site.dialer.clone());
    site.end().await;
    assert!(client.read(&mut buffer).await.is_err());
    assert!(origin.read(&mut buffer).await.is_err());
    let gone = dialer
        .connect_tcp(
            &space,
            SocketAddr::new(GATEWAY, 3128),
            Duration::from_secs(5),
        )
        .await;
    assert!(gone.is_err());
}

#[tokio::test]
async fn root_slow_clients_are_sent_away_and_their_places_are_free_again() {
    let config = ProxyConfig {
        outbound: Outbound {
            allow: vec![Subnet::parse("127.0.0.1/32").unwrap()],
        },
        most_connections: 20,
        // Twenty connections on emulated processors take a second.
        head_time: Duration::from_secs(5),
        idle_time: Duration::from_millis(300),
        ..ProxyConfig::default()
    };
    let mut site = Site::configured(Dialer::new().unwrap(), config, SystemNames).await;
    let origin = Origin::new().await;
    let mut slow = Vec::new();
    for _ in 0..20 {
        let mut stream = site.connect().await;
        stream
            .write_all(b"GET http://a.test/ HTTP/1.1\r\nHost: ")
            .await
            .unwrap();
        slow.push(stream);
    }
    let mut heard = String::new();
    let mut late = site.connect().await;
    late.write_all(b"GET").await.unwrap();
    late.read_to_string(&mut heard).await.unwrap();
    assert!(
        heard.starts_with("HTTP/1.1 503 Service Unavailable\r\n"),
        "{heard}"
    );
    for mut stream in slow {
        heard.clear();
        stream.read_to_string(&mut heard).await.unwrap();
        assert!(
            heard.starts_with("HTTP/1.1 408 Request Timeout\r\n"),
            "{heard}"
        );
    }
    // A tunnel in which nobody says anything ends too.
    let mut tunnel = site.connect().await;
    tunnel
        .write_all(format!("CONNECT {} HTTP/1.1\r\nHost: x\r\n\r\n", origin.address).as_bytes())
        .await
        .unwrap();
    let mut all = Vec::new();
    let ended = tunnel.read_to_end(&mut all).await.unwrap_err();
    assert_eq!(ended.kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(
        String::from_utf8(all).unwrap(),
        "HTTP/1.1 200 Connection established\r\n\r\n"
    );
    assert_eq!(site.accesses.recv().await.unwrap().outcome, Outcome::Broken);
    let answer = site
        .ask(&format!(
            "GET http://{}/ HTTP/1.1\r\nHost: x\r\n\r\n",
            origin.address
        ))
        .await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    site.end().await;
}
