//! Network namespaces for tests, gone when dropped.

use daas_engine::dial::{Dialer, StandNet};
use daas_model::StandId;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

static NEXT: AtomicU32 = AtomicU32::new(1);

/// A number that no other test of this or another process uses now.
pub(crate) fn unique() -> u32 {
    (std::process::id() % 16_000) * 256 + NEXT.fetch_add(1, Ordering::Relaxed) % 256
}

/// An address of the default range that no other test uses: 22 bits below 127.64.0.0/10.
pub(crate) fn host_address() -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(
        u32::from(Ipv4Addr::new(127, 64, 0, 0)) + unique() % (1 << 22),
    ))
}

pub(crate) fn stand(name: &str) -> StandId {
    StandId::parse(&format!("{name}-{}", unique())).unwrap()
}

/// Runs a program and asserts that it is content.
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// One network namespace with its loopback up.
pub(crate) struct Space {
    name: String,
}

impl Space {
    pub(crate) fn new(role: &str) -> Self {
        let name = format!("daas-test-{role}-{}", unique());
        run("ip", &["netns", "add", &name]);
        let space = Self { name };
        space.ip(&["link", "set", "lo", "up"]);
        space
    }

    pub(crate) fn net(&self) -> Arc<StandNet> {
        Arc::new(StandNet::open(self.path()).unwrap())
    }

    fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    /// Runs `ip` inside.
    pub(crate) fn ip(&self, arguments: &[&str]) -> String {
        let mut all = vec!["-n", &self.name];
        all.extend(arguments);
        run("ip", &all)
    }

    /// Runs a program inside.
    pub(crate) fn exec(&self, arguments: &[&str]) -> String {
        let mut all = vec!["netns", "exec", &self.name];
        all.extend(arguments);
        run("ip", &all)
    }

    /// Returns how many packets were forwarded here from one link to another.
    pub(crate) fn forwarded(&self) -> u64 {
        let table = self.exec(&["cat", "/proc/net/snmp"]);
        let mut lines = table.lines().filter(|line| line.starts_with("Ip:"));
        let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
        let at = names
            .split(' ')
            .position(|name| name == "ForwDatagrams")
            .unwrap();
        values.split(' ').nth(at).unwrap().parse().unwrap()
    }

    /// Joins two namespaces by a veth with an address at each end.
    pub(crate) fn join(
        &self,
        link: &str,
        address: &str,
        other: &Space,
        other_link: &str,
        other_address: &str,
    ) {
        let peer = ["peer", "name", other_link, "netns", &other.name];
        self.ip(&[&["link", "add", link, "type", "veth"][..], &peer[..]].concat());
        for (space, link, address) in [(self, link, address), (other, other_link, other_address)] {
            space.ip(&["addr", "add", address, "dev", link]);
            space.ip(&["link", "set", link, "up"]);
        }
        // The kernel's link watch worker has to run before a packet passes; a lost SYN would cost a second.
        while !self.ip(&["link", "show", link]).contains("state UP") {
            std::thread::yield_now();
        }
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        run("ip", &["netns", "del", &self.name]);
        assert!(!self.path().exists());
    }
}

/// A stand as the network sees it: a router at 10.0.0.1 and a node at 10.0.0.2.
pub(crate) struct TestStand {
    pub(crate) router: Space,
    pub(crate) node: Space,
}

pub(crate) const NODE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

impl TestStand {
    pub(crate) fn new() -> Self {
        let (router, node) = (Space::new("router"), Space::new("node"));
        router.join("br0", "10.0.0.1/24", &node, "eth0", "10.0.0.2/24");
        node.ip(&["route", "add", "default", "via", "10.0.0.1"]);
        Self { router, node }
    }

    /// Listens in the node and answers every connection with `words` and the end of the stream.
    pub(crate) async fn says(&self, dialer: &Dialer, port: u16, words: &'static str) {
        let listener = self.listener(dialer, port).await;
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.write_all(words.as_bytes()).await;
            }
        });
    }

    pub(crate) async fn listener(&self, dialer: &Dialer, port: u16) -> TcpListener {
        dialer.bind_tcp(&self.node.net(), node(port)).await.unwrap()
    }
}

pub(crate) fn node(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(NODE), port)
}

/// Connects and reads until the end.
pub(crate) async fn hear(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    let mut words = String::new();
    stream.read_to_string(&mut words).await?;
    Ok(words)
}
