use crate::space::{NODE, Space, TestStand, hear, host_address, node, stand};
use daas_engine::dial::{DialError, Dialer};
use daas_engine::publish::{HostRange, PublishError, Published, Publisher, RoutedAddresses};
use daas_model::{Explain, Protocol, Subnet};
use daas_tasks::Supervisor;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

fn publisher() -> (Dialer, Supervisor, Publisher) {
    let dialer = Dialer::new().unwrap();
    let supervisor = Supervisor::new();
    (
        dialer.clone(),
        supervisor.clone(),
        Publisher::new(dialer, supervisor),
    )
}

fn tcp(port: u16, targets: &[SocketAddr]) -> Published {
    Published {
        port,
        protocol: Protocol::Tcp,
        targets: targets.to_vec(),
    }
}

fn udp(port: u16, targets: &[SocketAddr]) -> Published {
    Published {
        port,
        protocol: Protocol::Udp,
        targets: targets.to_vec(),
    }
}

#[tokio::test]
async fn root_two_stands_with_equal_addresses_answer_with_their_own_words() {
    let (dialer, supervisor, publisher) = publisher();
    let (one, two) = (TestStand::new(), TestStand::new());
    let mut addresses = Vec::new();
    for (space, words) in [(&one, "stand one"), (&two, "stand two")] {
        space.says(&dialer, 8080, words).await;
        let socket = dialer.bind_udp(&space.node.net(), node(53)).await.unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 100];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let answer = [words.as_bytes(), b" heard ", &buffer[..length]].concat();
                socket.send_to(&answer, from).await.unwrap();
            }
        });
        let (id, address) = (stand("twin"), host_address());
        let routes = [tcp(80, &[node(8080)]), udp(53, &[node(53)])];
        let answering = publisher
            .set(&id, &space.router.net(), address, &routes)
            .await;
        assert!(answering.failed.is_empty(), "{:?}", answering.failed);
        assert_eq!(answering.open.len(), 2);
        addresses.push((id, address, words));
    }
    // More connections than sockets are made ahead: each stand's are its own.
    const CONNECTIONS: usize = 30;
    for _ in 1..CONNECTIONS {
        for (_, address, words) in &addresses {
            assert_eq!(hear(SocketAddr::new(*address, 80)).await.unwrap(), *words);
        }
    }
    for (id, address, words) in &addresses {
        assert_eq!(hear(SocketAddr::new(*address, 80)).await.unwrap(), *words);
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.connect(SocketAddr::new(*address, 53)).await.unwrap();
        let mut buffer = [0; 100];
        // The second datagram goes by the association that the first one made.
        for question in ["first", "second"] {
            client.send(question.as_bytes()).await.unwrap();
            let length = client.recv(&mut buffer).await.unwrap();
            assert_eq!(
                String::from_utf8_lossy(&buffer[..length]),
                format!("{words} heard {question}")
            );
        }
        let (inward, outward) = publisher.traffic(id).unwrap();
        assert_eq!(inward, 11);
        assert_eq!(
            outward,
            (words.len() * (CONNECTIONS + 2) + 2 * " heard ".len() + 11) as u64
        );
    }
    for (id, _, _) in &addresses {
        publisher.remove(id).await;
    }
    assert!(supervisor.status().is_empty());
}

#[tokio::test]
async fn root_a_hundred_megabytes_pass_and_a_half_closed_side_still_hears() {
    const SIZE: usize = 100 << 20;
    let (dialer, _supervisor, publisher) = publisher();
    let space = TestStand::new();
    let listener = space.listener(&dialer, 9000).await;
    // The node reads to the end, and only then says what it heard, and a long answer.
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (mut total, mut sum) = (0u64, 0u64);
        let mut buffer = vec![0; 1 << 16];
        loop {
            let length = stream.read(&mut buffer).await.unwrap();
            if length == 0 {
                break;
            }
            for byte in &buffer[..length] {
                total += 1;
                sum = sum.wrapping_mul(31).wrapping_add(u64::from(*byte));
            }
        }
        stream.write_u64(total).await.unwrap();
        stream.write_u64(sum).await.unwrap();
        stream.write_all(&vec![7; 10 << 20]).await.unwrap();
    });
    let (id, address) = (stand("stream"), host_address());
    let answering = publisher
        .set(
            &id,
            &space.router.net(),
            address,
            &[tcp(9000, &[node(9000)])],
        )
        .await;
    assert!(answering.failed.is_empty());
    let mut client = TcpStream::connect(SocketAddr::new(address, 9000))
        .await
        .unwrap();
    let chunk: Vec<u8> = (0..1_000_003u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let (mut sent, mut sum) = (0, 0u64);
    while sent < SIZE {
        let part = &chunk[..chunk.len().min(SIZE - sent)];
        client.write_all(part).await.unwrap();
        sent += part.len();
        for byte in part {
            sum = sum.wrapping_mul(31).wrapping_add(u64::from(*byte));
        }
    }
    client.shutdown().await.unwrap();
    assert_eq!(client.read_u64().await.unwrap(), SIZE as u64);
    assert_eq!(client.read_u64().await.unwrap(), sum);
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest.len(), 10 << 20);
    assert!(rest.iter().all(|byte| *byte == 7));
    assert_eq!(
        publisher.traffic(&id).unwrap(),
        (SIZE as u64, (10 << 20) + 16)
    );
    publisher.remove(&id).await;
}

#[tokio::test]
async fn root_a_removed_stand_leaves_no_listener_and_resets_its_connections() {
    let (dialer, supervisor, publisher) = publisher();
    let space = TestStand::new();
    let listener = space.listener(&dialer, 80).await;
    let (id, address) = (stand("gone"), host_address());
    let at = SocketAddr::new(address, 80);
    assert!(
        publisher
            .set(&id, &space.router.net(), address, &[tcp(80, &[node(80)])])
            .await
            .failed
            .is_empty()
    );
    let mut client = TcpStream::connect(at).await.unwrap();
    client.write_all(b"hello").await.unwrap();
    let (mut inner, _) = listener.accept().await.unwrap();
    let mut buffer = [0; 5];
    inner.read_exact(&mut buffer).await.unwrap();
    inner.write_all(b"half an ans").await.unwrap();
    client.read_exact(&mut buffer).await.unwrap();
    publisher.remove(&id).await;
    let mut rest = Vec::new();
    assert_eq!(
        client.read_to_end(&mut rest).await.unwrap_err().kind(),
        ErrorKind::ConnectionReset
    );
    assert_eq!(
        inner.read(&mut buffer).await.unwrap_err().kind(),
        ErrorKind::ConnectionReset
    );
    assert_eq!(
        TcpStream::connect(at).await.unwrap_err().kind(),
        ErrorKind::ConnectionRefused
    );
    assert!(supervisor.status().is_empty());
    // Nobody holds the address any more.
    TcpListener::bind(at).await.unwrap();
}

#[tokio::test]
async fn root_only_what_changed_is_touched() {
    let (dialer, _supervisor, publisher) = publisher();
    let space = TestStand::new();
    space
        .node
        .ip(&["addr", "add", "10.0.0.3/24", "dev", "eth0"]);
    let (old, new) = (
        node(7000),
        SocketAddr::new("10.0.0.3".parse().unwrap(), 7000),
    );
    let mut listeners = Vec::new();
    for address in [old, new] {
        listeners.push(dialer.bind_tcp(&space.node.net(), address).await.unwrap());
    }
    let (id, address, net) = (stand("moved"), host_address(), space.router.net());
    let [kept, moved] = [81, 82].map(|port| SocketAddr::new(address, port));
    assert!(
        publisher
            .set(&id, &net, address, &[tcp(81, &[old]), tcp(82, &[old])])
            .await
            .failed
            .is_empty()
    );
    let mut first = TcpStream::connect(kept).await.unwrap();
    let (mut first_inner, _) = listeners[0].accept().await.unwrap();
    let mut second = TcpStream::connect(moved).await.unwrap();
    let (_second_inner, _) = listeners[0].accept().await.unwrap();
    // Another descriptor of the same namespace is the same network.
    let answering = publisher
        .set(
            &id,
            &space.router.net(),
            address,
            &[tcp(81, &[old]), tcp(82, &[new])],
        )
        .await;
    assert_eq!(answering.open.len(), 2);
    let mut buffer = [0; 4];
    assert_eq!(
        second.read(&mut buffer).await.unwrap_err().kind(),
        ErrorKind::ConnectionReset
    );
    first.write_all(b"ping").await.unwrap();
    first_inner.read_exact(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"ping");
    let _third = TcpStream::connect(moved).await.unwrap();
    listeners[1].accept().await.unwrap();
    // A new network under the same addresses is another stand's life: the old connection ends.
    let other = TestStand::new();
    other.says(&dialer, 7000, "reborn").await;
    assert!(
        publisher
            .set(&id, &other.router.net(), address, &[tcp(81, &[old])])
            .await
            .failed
            .is_empty()
    );
    assert_eq!(
        first.read(&mut buffer).await.unwrap_err().kind(),
        ErrorKind::ConnectionReset
    );
    assert_eq!(hear(kept).await.unwrap(), "reborn");
    assert_eq!(
        TcpStream::connect(moved).await.unwrap_err().kind(),
        ErrorKind::ConnectionRefused
    );
    publisher.remove(&id).await;
}

#[tokio::test]
async fn root_replicas_take_turns_and_one_that_is_down_is_stepped_over() {
    let (dialer, _supervisor, publisher) = publisher();
    let space = TestStand::new();
    space
        .node
        .ip(&["addr", "add", "10.0.0.3/24", "dev", "eth0"]);
    space.says(&dialer, 80, "a").await;
    let other = dialer
        .bind_tcp(&space.node.net(), "10.0.0.3:80".parse().unwrap())
        .await
        .unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = other.accept().await {
            stream.write_all(b"b").await.unwrap();
        }
    });
    let down = SocketAddr::new(IpAddr::V4(NODE), 81);
    let targets = [node(80), "10.0.0.3:80".parse().unwrap()];
    let (id, address, net) = (stand("turns"), host_address(), space.router.net());
    assert!(
        publisher
            .set(&id, &net, address, &[tcp(80, &targets)])
            .await
            .failed
            .is_empty()
    );
    let mut heard = String::new();
    for _ in 0..6 {
        heard += &hear(SocketAddr::new(address, 80)).await.unwrap();
    }
    assert_eq!(
        heard.replace("ab", ""),
        if heard.starts_with('a') { "" } else { "ba" },
        "{heard}"
    );
    let routes = [tcp(80, &[down, node(80)]), tcp(81, &[down]), tcp(82, &[])];
    assert!(
        publisher
            .set(&id, &net, address, &routes)
            .await
            .failed
            .is_empty()
    );
    for _ in 0..3 {
        assert_eq!(hear(SocketAddr::new(address, 80)).await.unwrap(), "a");
    }
    // Nobody behind the port: a reset, at the latest after the second that a starting node is given.
    for port in [81, 82] {
        assert_eq!(
            hear(SocketAddr::new(address, port))
                .await
                .unwrap_err()
                .kind(),
            ErrorKind::ConnectionReset
        );
    }
    publisher.remove(&id).await;
}

#[tokio::test]
async fn root_a_connection_waits_a_moment_for_a_node_that_runs_and_does_not_listen_yet() {
    let (dialer, _supervisor, publisher) = publisher();
    let space = TestStand::new();
    let (id, address, net) = (stand("early"), host_address(), space.router.net());
    let answering = publisher
        .set(&id, &net, address, &[tcp(80, &[node(80)])])
        .await;
    assert!(answering.failed.is_empty());
    let early = tokio::spawn(async move { hear(SocketAddr::new(address, 80)).await });
    // Long enough for the first tries to be refused.
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!early.is_finished());
    space.says(&dialer, 80, "here now").await;
    assert_eq!(early.await.unwrap().unwrap(), "here now");
    publisher.remove(&id).await;
}

#[tokio::test]
async fn root_a_taken_port_is_told_with_stand_address_and_a_way_out() {
    let (_dialer, supervisor, publisher) = publisher();
    let space = Space::new("router");
    let (id, address, net) = (stand("taken"), host_address(), space.net());
    let other = TcpListener::bind(SocketAddr::new(address, 8080))
        .await
        .unwrap();
    let other_udp = UdpSocket::bind(SocketAddr::new(address, 8080))
        .await
        .unwrap();
    let routes = [
        tcp(8080, &[]),
        tcp(8081, &[]),
        udp(8080, &[]),
        tcp(8081, &[]),
    ];
    let answering = publisher.set(&id, &net, address, &routes).await;
    assert_eq!(
        answering.open,
        [(SocketAddr::new(address, 8081), Protocol::Tcp)]
    );
    let mut texts: Vec<String> = answering.failed.iter().map(ToString::to_string).collect();
    texts.sort();
    assert_eq!(
        texts,
        [
            format!("cannot publish {address}:8080/tcp"),
            format!("cannot publish {address}:8080/udp"),
            format!("cannot publish {address}:8081/tcp twice"),
        ]
    );
    let taken = answering
        .failed
        .iter()
        .find(|error| matches!(error, PublishError::Taken { .. }))
        .unwrap();
    assert_eq!(taken.code(), "port-taken");
    assert!(taken.hint().unwrap().contains("sport = :8080"));
    // The next set opens what has become free.
    drop((other, other_udp));
    let answering = publisher.set(&id, &net, address, &routes[..3]).await;
    assert!(answering.failed.is_empty());
    assert_eq!(answering.open.len(), 3);
    let foreign = publisher
        .set(
            &stand("foreign"),
            &net,
            "192.0.2.1".parse().unwrap(),
            &[tcp(80, &[])],
        )
        .await;
    assert_eq!(foreign.failed[0].code(), "address-not-on-host");
    publisher.remove(&id).await;
    assert!(supervisor.status().is_empty());
}

#[tokio::test]
async fn root_a_stand_has_room_for_so_many_connections_and_no_more() {
    let dialer = Dialer::new().unwrap();
    let publisher = Publisher::with_room(dialer.clone(), Supervisor::new(), 2);
    let space = TestStand::new();
    let listener = space.listener(&dialer, 80).await;
    let (id, address) = (stand("room"), host_address());
    assert!(
        publisher
            .set(&id, &space.router.net(), address, &[tcp(80, &[node(80)])])
            .await
            .failed
            .is_empty()
    );
    let at = SocketAddr::new(address, 80);
    let mut open = Vec::new();
    for _ in 0..2 {
        let client = TcpStream::connect(at).await.unwrap();
        open.push((client, listener.accept().await.unwrap().0));
    }
    assert_eq!(
        hear(at).await.unwrap_err().kind(),
        ErrorKind::ConnectionReset
    );
    let (mut client, inner) = open.pop().unwrap();
    drop(inner);
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    drop(client);
    // Its place is free as soon as both ends are closed, which the client may see a moment before.
    loop {
        let mut again = TcpStream::connect(at).await.unwrap();
        let again_inner = tokio::select! {
            accepted = listener.accept() => accepted.unwrap().0,
            refused = again.read_u8() => { refused.unwrap_err(); continue }
        };
        drop(again_inner);
        break;
    }
    publisher.remove(&id).await;
}

#[tokio::test]
async fn root_a_forward_leads_any_local_port_to_any_node_until_it_is_dropped() {
    let (dialer, supervisor, publisher) = publisher();
    let space = TestStand::new();
    space.says(&dialer, 5432, "database").await;
    let any = "127.0.0.1:0".parse().unwrap();
    let forward = publisher
        .forward(
            &stand("fwd"),
            &space.router.net(),
            any,
            Protocol::Tcp,
            &[node(5432)],
        )
        .await
        .unwrap();
    assert_eq!(hear(forward.address()).await.unwrap(), "database");
    let address = forward.address();
    forward.close().await;
    assert_eq!(
        TcpStream::connect(address).await.unwrap_err().kind(),
        ErrorKind::ConnectionRefused
    );
    assert!(supervisor.status().is_empty());
}

#[tokio::test]
async fn root_a_shutdown_takes_no_more_connections_and_lets_open_ones_finish() {
    let (dialer, supervisor, publisher) = publisher();
    let space = TestStand::new();
    let listener = space.listener(&dialer, 80).await;
    let (id, address) = (stand("drain"), host_address());
    assert!(
        publisher
            .set(&id, &space.router.net(), address, &[tcp(80, &[node(80)])])
            .await
            .failed
            .is_empty()
    );
    let mut client = TcpStream::connect(SocketAddr::new(address, 80))
        .await
        .unwrap();
    let (mut inner, _) = listener.accept().await.unwrap();
    let end = tokio::spawn(async move { supervisor.shutdown(Duration::from_secs(30)).await });
    while TcpStream::connect(SocketAddr::new(address, 80))
        .await
        .is_ok()
    {
        tokio::task::yield_now().await;
    }
    inner.write_all(b"the end").await.unwrap();
    drop(inner);
    let mut words = String::new();
    client.read_to_string(&mut words).await.unwrap();
    assert_eq!(words, "the end");
    drop(client);
    assert_eq!(end.await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn root_the_dialer_says_who_did_not_answer_and_survives_a_panic() {
    let dialer = Dialer::new().unwrap();
    let space = TestStand::new();
    let net = space.router.net();
    let refused = dialer
        .connect_tcp(&net, node(1), Duration::from_secs(5))
        .await
        .unwrap_err();
    assert!(matches!(refused, DialError::Connect { .. }), "{refused:?}");
    // Nobody has this address: the kernel asks for it in vain, longer than we wait.
    let nobody = "10.0.0.77:80".parse().unwrap();
    let late = dialer
        .connect_tcp(&net, nobody, Duration::from_millis(50))
        .await
        .unwrap_err();
    assert_eq!(
        late.to_string(),
        "cannot connect to 10.0.0.77:80 inside the stand's network within 50 ms"
    );
    let taken = dialer
        .bind_tcp(&net, "10.9.9.9:80".parse().unwrap())
        .await
        .unwrap_err();
    assert_eq!(taken.code(), "dial-bind");
    for _ in 0..8 {
        let lost = dialer
            .visit(&net, "fall", || -> std::io::Result<()> {
                panic!("on purpose")
            })
            .await
            .unwrap_err();
        assert!(matches!(lost, DialError::Lost { action: "fall" }));
    }
    // All threads are alive and at home.
    for _ in 0..8 {
        let here = || std::fs::read_link("/proc/thread-self/ns/net");
        assert_eq!(dialer.at_home("look", here).await.unwrap(), here().unwrap());
        assert_ne!(
            dialer.visit(&net, "look", here).await.unwrap(),
            here().unwrap()
        );
    }
}

#[tokio::test]
async fn root_udp_clients_stay_with_their_node_until_it_moves() {
    let (dialer, supervisor, publisher) = publisher();
    let space = TestStand::new();
    space
        .node
        .ip(&["addr", "add", "10.0.0.3/24", "dev", "eth0"]);
    let targets: [SocketAddr; 2] = [node(514), "10.0.0.3:514".parse().unwrap()];
    for (target, name) in targets.iter().zip(["a", "b"]) {
        let socket = dialer.bind_udp(&space.node.net(), *target).await.unwrap();
        tokio::spawn(async move {
            while let Ok((_, from)) = socket.recv_from(&mut [0; 2000]).await {
                socket.send_to(name.as_bytes(), from).await.unwrap();
            }
        });
    }
    let (id, address, net) = (stand("udp"), host_address(), space.router.net());
    let open = publisher
        .set(&id, &net, address, &[udp(514, &targets)])
        .await;
    assert!(open.failed.is_empty());
    let mut clients = Vec::new();
    for _ in 0..2 {
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.connect(SocketAddr::new(address, 514)).await.unwrap();
        clients.push(client);
    }
    let ask = async |client: &UdpSocket, length: usize| {
        client.send(&vec![1; length]).await.unwrap();
        let mut name = [0; 10];
        let length = client.recv(&mut name).await.unwrap();
        String::from_utf8_lossy(&name[..length]).into_owned()
    };
    let first = [ask(&clients[0], 1).await, ask(&clients[1], 1400).await];
    assert!(first == ["a", "b"] || first == ["b", "a"], "{first:?}");
    for _ in 0..3 {
        assert_eq!(
            [ask(&clients[0], 1).await, ask(&clients[1], 1).await],
            first
        );
    }
    let moved = publisher
        .set(&id, &net, address, &[udp(514, &targets[..1])])
        .await;
    assert!(moved.failed.is_empty());
    // The association with the other node ends; a datagram that it still takes is lost, as UDP may.
    for client in &clients {
        while tokio::time::timeout(Duration::from_millis(200), ask(client, 1)).await
            != Ok("a".to_owned())
        {}
    }
    publisher.remove(&id).await;
    assert!(supervisor.status().is_empty());
    becomes_free(SocketAddr::new(address, 514)).await;
}

/// Waits until nobody holds the UDP address any more.
///
/// A child that another test starts in this process holds copies of all sockets from its `fork` to its `exec`.
async fn becomes_free(address: SocketAddr) {
    let free = async {
        while UdpSocket::bind(address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), free)
        .await
        .expect("the publisher lets its sockets go");
}

#[tokio::test]
async fn root_a_routed_range_is_given_to_an_interface_address_by_address() {
    let (host, world) = (Space::new("host"), Space::new("world"));
    host.join("lan", "192.0.2.1/24", &world, "eth0", "192.0.2.2/24");
    world.ip(&["route", "add", "198.51.100.0/24", "via", "192.0.2.1"]);
    let dialer = Dialer::at_home_in(host.net()).unwrap();
    let range = HostRange::new(Subnet::parse("198.51.100.0/24").unwrap());
    let routed = RoutedAddresses::new(dialer.clone(), "lan".into(), range);
    let publisher = Publisher::new(dialer.clone(), Supervisor::new());
    let space = TestStand::new();
    space.says(&dialer, 80, "routed").await;
    let (id, address) = (stand("routed"), range.next(&[].into(), None).unwrap());
    let routes = [tcp(80, &[node(80)])];
    let early = publisher
        .set(&id, &space.router.net(), address, &routes)
        .await;
    assert_eq!(early.failed[0].code(), "address-not-on-host");
    for _ in 0..2 {
        routed.add(address).await.unwrap();
    }
    let open = publisher
        .set(&id, &space.router.net(), address, &routes)
        .await;
    assert!(open.failed.is_empty(), "{:?}", open.failed);
    let at = SocketAddr::new(address, 80);
    let mut stream = dialer
        .connect_tcp(&world.net(), at, Duration::from_secs(5))
        .await
        .unwrap();
    let mut words = String::new();
    stream.read_to_string(&mut words).await.unwrap();
    assert_eq!(words, "routed");
    publisher.remove(&id).await;
    let second = range.next(&[address].into(), Some(address)).unwrap();
    routed.add(second).await.unwrap();
    assert_eq!(routed.sweep([second].into()).await.unwrap(), [address]);
    for _ in 0..2 {
        routed.remove(second).await.unwrap();
    }
    let left = host.ip(&["-4", "-o", "addr", "show", "dev", "lan"]);
    assert!(
        left.lines().count() == 1 && left.contains("192.0.2.1/24"),
        "{left}"
    );
    let nowhere = RoutedAddresses::new(dialer, "nolink".into(), range)
        .add(address)
        .await
        .unwrap_err();
    assert_eq!(
        nowhere.to_string(),
        "cannot add 198.51.100.1 on interface `nolink`"
    );
}
