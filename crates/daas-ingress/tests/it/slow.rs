//! Those who are slow on purpose (threat S19): all of them are closed, and nobody else waits for them.

use crate::house::{Back, House, OK};
use daas_ingress::{Settings, Timers};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What a slow one says first, and what he says again and again.
const KINDS: &[(&str, &str)] = &[
    ("", ""),
    ("G", ""),
    ("GET / HTTP/1.1\r\nHost: a.test\r\nX: ", "y"),
    (
        "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100000\r\n\r\n",
        "z",
    ),
    (
        "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n1",
        "",
    ),
    ("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", ""),
    ("PRI * HTTP/2.0\r\n", ""),
    ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0", ""),
];

#[tokio::test(flavor = "multi_thread")]
async fn slow_visitors_are_closed_and_others_do_not_wait_for_them() {
    let short = Duration::from_millis(300);
    let timers = Timers {
        first: short,
        head: short,
        body: short,
        idle: short,
        ..Timers::default()
    };
    let house = House::with(Settings {
        workers: 2,
        timers,
        ..Settings::default()
    });
    let back = Back::new(OK).await;
    house.set(vec![house.route("a.test", &[back.address])]);
    let slow: Vec<_> = KINDS
        .iter()
        .flat_map(|kind| std::iter::repeat_n(kind, 8))
        .map(|(first, then)| {
            let address = house.address;
            tokio::spawn(async move {
                let mut stream = TcpStream::connect(address).await.unwrap();
                stream.write_all(first.as_bytes()).await.unwrap();
                let (mut read, mut write) = stream.split();
                let drip = async {
                    while !then.is_empty() && write.write_all(then.as_bytes()).await.is_ok() {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    std::future::pending::<()>().await;
                };
                let mut buffer = [0; 4096];
                let closed = async { while matches!(read.read(&mut buffer).await, Ok(1..)) {} };
                tokio::select! {
                    () = closed => {}
                    () = drip => {}
                }
            })
        })
        .collect();
    for _ in 0..50 {
        let answer = house
            .raw(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
            .await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    // Nobody would end them but the ingress: the test hangs if one is forgotten.
    for visitor in slow {
        visitor.await.unwrap();
    }
    house.end().await;
}
