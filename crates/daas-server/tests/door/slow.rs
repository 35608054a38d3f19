//! Those who are slow on purpose lose their connection, and nobody else notices.

use crate::house::{House, status};
use daas_server::{Role, Timers};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Timers that are short enough for a test and long enough for a busy machine.
fn short() -> Timers {
    let short = Duration::from_millis(300);
    Timers {
        first_byte: short,
        head: short,
        body: short,
        body_rate: 1024,
        unread: short,
        connections: 64,
        connections_per_address: 64,
    }
}

/// Reads until the other side closes; fails the test if it never does.
async fn closed(mut stream: TcpStream) -> String {
    let mut all = Vec::new();
    let reading = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut all)).await;
    assert!(reading.is_ok(), "the connection was never closed");
    String::from_utf8_lossy(&all).into_owned()
}

async fn send(house: &House, bytes: &str) -> TcpStream {
    let mut stream = TcpStream::connect(&house.tcp).await.expect("it listens");
    stream
        .write_all(bytes.as_bytes())
        .await
        .expect("it is taken");
    stream
}

#[tokio::test]
async fn silence_is_closed() {
    let house = House::with(short()).await;
    assert_eq!(closed(send(&house, "").await).await, "");
}

#[tokio::test]
async fn half_a_head_is_closed_however_it_is_dripped() {
    let house = House::with(short()).await;
    let answer =
        closed(send(&house, "GET /api/v1/stands HTTP/1.1\r\nHost: x\r\nX-Slow: ").await).await;
    assert!(
        ["", "HTTP/1.1 408"]
            .iter()
            .any(|start| answer.starts_with(start)),
        "{answer}"
    );
    let mut dripping = send(&house, "GET /").await;
    // A byte each time long before the timer: only the whole head counts.
    while dripping.write_all(b"a").await.is_ok() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn half_a_preface_of_http_2_is_closed() {
    let house = House::with(short()).await;
    closed(send(&house, "PRI * HTTP/2.0\r\n").await).await;
    closed(send(&house, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await).await;
}

#[tokio::test]
async fn a_connection_that_has_nothing_more_to_ask_is_closed() {
    let house = House::with(short()).await;
    let request = format!(
        "GET /api/v1/stands HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n",
        house.token(Role::Reader)
    );
    let answer = closed(send(&house, &request).await).await;
    assert_eq!(status(&answer), 200);
}

#[tokio::test]
async fn a_body_that_drips_is_refused() {
    let house = House::with(short()).await;
    let head = format!(
        "POST /api/v1/stands HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\nAuthorization: Bearer {}\r\nContent-Length: 100000\r\n\r\n",
        house.token(Role::Operator)
    );
    let answer = closed(send(&house, &head).await).await;
    assert!(
        status(&answer) == 408 && answer.contains("body-too-slow"),
        "{answer}"
    );
    let (mut reading, mut writing) = send(&house, &head).await.into_split();
    let dripping = async {
        while writing.write_all(b" ").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let mut first = [0; 12];
    tokio::select! {
        read = reading.read_exact(&mut first) => drop(read.unwrap()),
        () = dripping => panic!("closed without a word"),
    }
    assert_eq!(&first, b"HTTP/1.1 408");
    assert!(house.platform.asked().is_empty());
}

#[tokio::test]
async fn a_body_that_comes_at_a_fair_rate_may_take_longer_than_the_timer() {
    let house = House::with(Timers {
        body: Duration::from_secs(2),
        body_rate: 100_000,
        ..short()
    })
    .await;
    house.platform.add_stand("shop");
    let head = format!(
        "PUT /api/v1/stands/shop/nodes/web/archive?path=/tmp HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {}\r\nContent-Length: 3000000\r\n\r\n",
        house.token(Role::Operator)
    );
    let mut stream = send(&house, &head).await;
    for _ in 0..30 {
        stream.write_all(&[0; 100_000]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let answer = closed(stream).await;
    assert_eq!(status(&answer), 204, "{answer}");
}

#[tokio::test]
async fn an_answer_that_nobody_reads_is_given_up() {
    let house = House::with(short()).await;
    house.platform.add_stand("shop");
    house.platform.put_archive("/big", vec![0; 64 << 20]);
    let request = format!(
        "GET /api/v1/stands/shop/nodes/web/archive?path=/big HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n",
        house.token(Role::Operator)
    );
    let stream = send(&house, &request).await;
    let connections = || {
        house
            .supervisor
            .status()
            .iter()
            .filter(|task| task.name == "connection")
            .count()
    };
    while connections() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let given_up = async {
        while connections() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(
        tokio::time::timeout(Duration::from_secs(60), given_up)
            .await
            .is_ok(),
        "{:?}",
        house.supervisor.status()
    );
    drop(stream);
}

#[tokio::test]
async fn an_address_with_enough_connections_gets_no_more() {
    let house = House::with(Timers {
        first_byte: Duration::from_secs(60),
        connections_per_address: 5,
        ..short()
    })
    .await;
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(send(&house, "").await);
    }
    let request = format!(
        "GET /api/v1/stands HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\r\n",
        house.token(Role::Reader)
    );
    let connections = || {
        house
            .supervisor
            .status()
            .iter()
            .filter(|task| task.name == "connection")
            .count()
    };
    while connections() < 5 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut refused = TcpStream::connect(&house.tcp).await.unwrap();
    let _ = refused.write_all(request.as_bytes()).await;
    assert_eq!(closed(refused).await, "");
    drop(held);
    while connections() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(status(&house.raw_tcp(&request).await), 200);
}

#[tokio::test]
async fn others_are_served_while_many_are_slow() {
    let house = House::with(Timers {
        connections: 600,
        connections_per_address: 600,
        ..short()
    })
    .await;
    let mut slow = Vec::new();
    for n in 0..500 {
        slow.push(send(&house, if n % 2 == 0 { "GET /api" } else { "" }).await);
    }
    for _ in 0..20 {
        assert!(house.client().stands().await.unwrap().is_empty());
    }
    for stream in slow {
        closed(stream).await;
    }
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused() {
    let house = House::open().await;
    let long = format!(
        "GET /api/v1/stands HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n",
        "a".repeat(100_000)
    );
    let many = format!(
        "GET /api/v1/stands HTTP/1.1\r\nHost: x\r\n{}\r\n",
        "X-A: b\r\n".repeat(1000)
    );
    for head in [long, many] {
        let mut stream = TcpStream::connect(&house.tcp).await.unwrap();
        let _ = stream.write_all(head.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
            "{answer}"
        );
    }
}
