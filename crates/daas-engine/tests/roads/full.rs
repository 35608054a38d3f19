//! The way out by address translation. The host is a namespace too: the real one is never changed.

use crate::space::{Space, TestStand, node};
use daas_engine::dial::Dialer;
use daas_engine::egress::{FullConfig, FullEgress, FullError};
use daas_model::Subnet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Long enough for a packet that may pass, which takes microseconds.
const PATIENCE: Duration = Duration::from_millis(400);
const WORLD: &str = "203.0.113.1";

/// Tells every client the address that it comes from, and waits for its word.
async fn mirror(dialer: &Dialer, space: &Space, address: SocketAddr) {
    let listener: TcpListener = dialer.bind_tcp(&space.net(), address).await.unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, from)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream
                    .write_all(format!("{:>16}", from.ip()).as_bytes())
                    .await;
                let mut buffer = [0; 16];
                while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                    let _ = stream.write_all(&buffer[..length]).await;
                }
            });
        }
    });
}

async fn reach(dialer: &Dialer, from: &Space, to: &str) -> Option<(TcpStream, IpAddr)> {
    let mut stream = dialer
        .connect_tcp(&from.net(), to.parse().unwrap(), PATIENCE)
        .await
        .ok()?;
    let mut buffer = [0; 16];
    stream.read_exact(&mut buffer).await.unwrap();
    Some((
        stream,
        std::str::from_utf8(&buffer)
            .unwrap()
            .trim()
            .parse()
            .unwrap(),
    ))
}

fn subnets(texts: &[&str]) -> Vec<Subnet> {
    texts
        .iter()
        .map(|text| Subnet::parse(text).unwrap())
        .collect()
}

#[expect(
    clippy::too_many_lines,
    reason = "one story over one network that takes most of a second to build"
)]
#[tokio::test]
async fn root_stands_reach_the_world_and_neither_the_host_nor_each_other() {
    let (host, world, lan) = (Space::new("host"), Space::new("world"), Space::new("lan"));
    host.join("wan", "203.0.113.2/24", &world, "eth0", "203.0.113.1/24");
    host.join("lan", "192.0.2.1/24", &lan, "eth0", "192.0.2.2/24");
    world.ip(&["addr", "add", "10.99.0.1/32", "dev", "lo"]);
    host.ip(&["route", "add", "10.99.0.0/16", "via", WORLD]);
    // The world tries to come in by every door.
    for block in ["100.64.0.0/10", "192.0.2.0/24", "10.0.0.0/24"] {
        world.ip(&["route", "add", block, "via", "203.0.113.2"]);
    }
    lan.ip(&["route", "add", "default", "via", "192.0.2.1"]);
    host.exec(&["sysctl", "-qw", "net.ipv4.ip_forward=0"]);

    let dialer = Dialer::at_home_in(host.net()).unwrap();
    let mut config = FullConfig::default();
    config.denied.extend(subnets(&["10.99.0.0/16"]));
    let egress = FullEgress::new(dialer.clone(), config);
    mirror(&dialer, &world, "203.0.113.1:80".parse().unwrap()).await;
    mirror(&dialer, &world, "10.99.0.1:80".parse().unwrap()).await;
    mirror(&dialer, &host, "0.0.0.0:80".parse().unwrap()).await;
    mirror(&dialer, &lan, "192.0.2.2:80".parse().unwrap()).await;

    egress.prepare().await.unwrap();
    let rules = host.exec(&["nft", "list", "ruleset"]);
    let stands = [TestStand::new(), TestStand::new()];
    let mut kept = Vec::new();
    for (slot, stand) in (0u32..).zip(&stands) {
        // A second network of the stand, `internal`.
        stand
            .router
            .ip(&["addr", "add", "10.0.9.1/24", "dev", "br0"]);
        stand
            .node
            .ip(&["addr", "add", "10.0.9.2/24", "dev", "eth0"]);
        mirror(&dialer, &stand.router, "0.0.0.0:80".parse().unwrap()).await;
        mirror(&dialer, &stand.node, node(80)).await;
        let link = egress
            .open(slot, &stand.router.net(), &subnets(&["10.0.0.0/24"]))
            .await
            .unwrap();
        assert_eq!(link.name, format!("daas-x{slot}"));
        let (stream, seen) = reach(&dialer, &stand.node, "203.0.113.1:80").await.unwrap();
        assert_eq!(
            seen.to_string(),
            "203.0.113.2",
            "the host's address, and not the stand's"
        );
        kept.push(stream);
    }
    for stand in &stands {
        for (to, whose) in [
            ("100.64.0.0:80", "the host's end of a link"),
            ("203.0.113.2:80", "the host's own address"),
            ("192.0.2.1:80", "another address of the host"),
            (
                "100.64.0.1:80",
                "a stand's end of a link, one's own or the other's",
            ),
            ("10.99.0.1:80", "a denied block"),
        ] {
            let own = stand
                .router
                .ip(&["addr", "show"])
                .contains(&format!("inet {}/", to.trim_end_matches(":80")));
            assert!(
                own || reach(&dialer, &stand.node, to).await.is_none(),
                "{whose}: {to}"
            );
        }
        // The router speaks to its own nodes.
        assert!(reach(&dialer, &stand.node, "10.0.0.1:80").await.is_some());
        stand.node.ip(&[
            "route", "replace", "default", "via", "10.0.9.1", "src", "10.0.9.2",
        ]);
        assert!(
            reach(&dialer, &stand.node, "203.0.113.1:80")
                .await
                .is_none(),
            "an internal network leaves"
        );
        stand
            .node
            .ip(&["route", "replace", "default", "via", "10.0.0.1"]);
        assert!(
            reach(&dialer, &stand.node, "203.0.113.1:80")
                .await
                .is_some()
        );
    }
    for to in ["100.64.0.1:80", "100.64.0.3:80", "10.0.0.2:80"] {
        assert!(
            reach(&dialer, &world, to).await.is_none(),
            "the world comes in: {to}"
        );
    }
    // Forwarding was off, and is on for stands only.
    assert!(reach(&dialer, &lan, "203.0.113.1:80").await.is_none());
    assert!(reach(&dialer, &lan, "192.0.2.1:80").await.is_some());
    // A stand's packets go to other networks of the host, unless these are denied.
    assert!(
        reach(&dialer, &stands[0].node, "192.0.2.2:80")
            .await
            .is_some()
    );

    // Everything again: nothing changes, nothing is cut.
    egress.prepare().await.unwrap();
    assert_eq!(host.exec(&["nft", "list", "ruleset"]), rules);
    for (slot, stand) in (0u32..).zip(&stands) {
        egress
            .open(slot, &stand.router.net(), &subnets(&["10.0.0.0/24"]))
            .await
            .unwrap();
        kept[slot as usize].write_all(b"still here").await.unwrap();
        let mut buffer = [0; 10];
        kept[slot as usize].read_exact(&mut buffer).await.unwrap();
        assert_eq!(&buffer, b"still here");
    }
    assert!(
        reach(&dialer, &lan, "203.0.113.1:80").await.is_none(),
        "the guard was forgotten"
    );

    assert_eq!(egress.sweep([0].into()).await.unwrap(), ["daas-x1"]);
    assert!(
        reach(&dialer, &stands[1].node, "203.0.113.1:80")
            .await
            .is_none()
    );
    assert!(
        reach(&dialer, &stands[0].node, "203.0.113.1:80")
            .await
            .is_some()
    );
    egress.close(0).await.unwrap();
    egress.close(0).await.unwrap();
    assert!(
        reach(&dialer, &stands[0].node, "203.0.113.1:80")
            .await
            .is_none()
    );
    // A slot may be used again at once.
    egress
        .open(0, &stands[1].router.net(), &subnets(&["10.0.0.0/24"]))
        .await
        .unwrap();
    assert!(
        reach(&dialer, &stands[1].node, "203.0.113.1:80")
            .await
            .is_some()
    );
    egress.remove_all().await.unwrap();
    assert!(!host.ip(&["link", "show"]).contains("daas-x"));
    assert_eq!(host.exec(&["nft", "list", "ruleset"]), "");
}

#[tokio::test]
async fn root_a_host_that_forwarded_before_goes_on_forwarding() {
    let (host, world, lan) = (Space::new("host"), Space::new("world"), Space::new("lan"));
    host.join("wan", "203.0.113.2/24", &world, "eth0", "203.0.113.1/24");
    host.join("lan", "192.0.2.1/24", &lan, "eth0", "192.0.2.2/24");
    world.ip(&["route", "add", "192.0.2.0/24", "via", "203.0.113.2"]);
    lan.ip(&["route", "add", "default", "via", "192.0.2.1"]);
    host.exec(&["sysctl", "-qw", "net.ipv4.ip_forward=1"]);
    let dialer = Dialer::at_home_in(host.net()).unwrap();
    mirror(&dialer, &world, "203.0.113.1:80".parse().unwrap()).await;
    let egress = FullEgress::new(dialer.clone(), FullConfig::default());
    for _ in 0..2 {
        egress.prepare().await.unwrap();
        let (_, seen) = reach(&dialer, &lan, "203.0.113.1:80").await.unwrap();
        assert_eq!(
            seen.to_string(),
            "192.0.2.2",
            "what is not ours is not translated"
        );
    }
    egress.remove_all().await.unwrap();
}

#[tokio::test]
async fn root_a_step_that_fails_is_told_and_the_next_try_finishes() {
    let (host, stand) = (Space::new("host"), TestStand::new());
    let dialer = Dialer::at_home_in(host.net()).unwrap();
    for prefix in ["", "much-too-long", "x\" drop"] {
        let config = FullConfig {
            prefix: prefix.into(),
            ..FullConfig::default()
        };
        let egress = FullEgress::new(dialer.clone(), config);
        assert!(matches!(
            egress.prepare().await,
            Err(FullError::Prefix { .. })
        ));
        let opened = egress.open(0, &stand.router.net(), &[]).await;
        assert!(matches!(opened, Err(FullError::Prefix { .. })));
    }
    assert_eq!(host.exec(&["nft", "list", "ruleset"]), "");
    let egress = FullEgress::new(dialer, FullConfig::default());
    // Half of the work was done when the power of the daemon went.
    stand
        .router
        .ip(&["link", "add", "blocker", "type", "bridge"]);
    stand
        .router
        .ip(&["link", "set", "blocker", "name", "daas-x7"]);
    let error = egress.open(7, &stand.router.net(), &[]).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot join the stand with the host for link `daas-x7`"
    );
    assert!(!host.ip(&["link", "show"]).contains("daas-x"));
    stand.router.ip(&["link", "del", "daas-x7"]);
    egress.open(7, &stand.router.net(), &[]).await.unwrap();
    egress.close(7).await.unwrap();
}

#[tokio::test]
async fn root_nothing_leaves_a_stand_without_a_way_out() {
    let (host, world, stand) = (Space::new("host"), Space::new("world"), TestStand::new());
    host.join("wan", "203.0.113.2/24", &world, "eth0", "203.0.113.1/24");
    let dialer = Dialer::at_home_in(host.net()).unwrap();
    let socket = dialer.bind_udp(&stand.node.net(), node(0)).await.unwrap();
    let count = |space: &Space| -> u64 {
        let table = space.exec(&["cat", "/proc/net/dev"]);
        let line = table
            .lines()
            .find(|line| line.trim_start().starts_with("br0:"))
            .unwrap();
        line.split_whitespace().nth(2).unwrap().parse().unwrap()
    };
    let before = count(&stand.router);
    for number in 0..1000u16 {
        let [high, low] = number.to_be_bytes();
        let to = SocketAddr::new(IpAddr::from([8, 8, high, low]), 53);
        // The router answers that there is no way, which a later send may hear of.
        let _ = socket.send_to(b"leak", to).await;
    }
    assert!(
        count(&stand.router) - before >= 500,
        "the node did send, and the router has received"
    );
    assert_eq!(stand.router.forwarded(), 0);
    let links = stand.router.ip(&["-o", "link", "show"]);
    let names: Vec<_> = links
        .lines()
        .filter_map(|line| line.split(": ").nth(1))
        .collect();
    assert!(
        names
            .iter()
            .all(|name| *name == "lo" || name.starts_with("br0")),
        "{names:?}"
    );
}
