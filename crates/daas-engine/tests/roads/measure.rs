//! Figures of one run: `cargo test --release -p daas-engine --test roads -- --ignored --nocapture measure`.

use crate::space::{Space, TestStand, host_address, node, stand};
use daas_engine::dial::Dialer;
use daas_engine::egress::{FullConfig, FullEgress};
use daas_engine::publish::{Published, Publisher};
use daas_model::Protocol;
use daas_tasks::Supervisor;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const ROUNDS: usize = 10;
const STREAM: usize = 512 << 20;

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Answers one byte with one byte, and a first byte of 255 with nothing but reading.
async fn server(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        stream.set_nodelay(true).unwrap();
        tokio::spawn(async move {
            let mut buffer = vec![0; 1 << 18];
            let mut total = 0;
            while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                total += length;
                if buffer[0] != 255 && stream.write_all(&buffer[..1]).await.is_err() {
                    return;
                }
            }
            let _ = stream.write_u64(total as u64).await;
        });
    }
}

/// Returns the stream's GiB/s.
async fn throughput(at: SocketAddr) -> f64 {
    let mut stream = TcpStream::connect(at).await.unwrap();
    let chunk = vec![255; 1 << 18];
    let start = Instant::now();
    for _ in 0..STREAM / chunk.len() {
        stream.write_all(&chunk).await.unwrap();
    }
    stream.shutdown().await.unwrap();
    assert_eq!(stream.read_u64().await.unwrap(), STREAM as u64);
    STREAM as f64 / f64::from(1 << 30) / start.elapsed().as_secs_f64()
}

/// Returns the microseconds of a byte there and back, on an open connection, and of a connection for one byte.
async fn latency(at: SocketAddr) -> (f64, f64) {
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (count, start) = (1000, Instant::now());
    for _ in 0..count {
        stream.write_all(&[1]).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), 1);
    }
    let open = start.elapsed().as_secs_f64() * 1e6 / f64::from(count);
    let (count, start) = (200, Instant::now());
    for _ in 0..count {
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(&[1]).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), 1);
    }
    (open, start.elapsed().as_secs_f64() * 1e6 / f64::from(count))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement, run by hand"]
async fn root_measure_the_dialer_and_a_published_port_against_plain_loopback() {
    let dialer = Dialer::new().unwrap();
    let publisher = Publisher::new(dialer.clone(), Supervisor::new());
    let space = TestStand::new();
    let net = space.router.net();
    tokio::spawn(server(space.listener(&dialer, 80).await));
    let loopback = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plain = loopback.local_addr().unwrap();
    tokio::spawn(server(loopback));
    let (id, address) = (stand("measure"), host_address());
    let route = Published {
        port: 80,
        protocol: Protocol::Tcp,
        targets: vec![node(80)],
    };
    assert!(
        publisher
            .set(&id, &net, address, &[route])
            .await
            .failed
            .is_empty()
    );
    let published = SocketAddr::new(address, 80);

    let mut columns: [Vec<f64>; 10] = Default::default();
    for _ in 0..ROUNDS {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let count = 500;
        let (inside, start) = (net.clone(), Instant::now());
        let visits = dialer.at_home("measure", || Ok(())).await;
        visits.unwrap();
        for _ in 0..count {
            dialer.at_home("measure", || Ok(())).await.unwrap();
        }
        columns[0].push(start.elapsed().as_secs_f64() * 1e6 / f64::from(count));
        let start = Instant::now();
        for _ in 0..count {
            dialer.visit(&inside, "measure", || Ok(())).await.unwrap();
        }
        columns[1].push(start.elapsed().as_secs_f64() * 1e6 / f64::from(count));
        let start = Instant::now();
        for _ in 0..count {
            dialer
                .connect_tcp(&inside, node(80), Duration::from_secs(5))
                .await
                .unwrap();
        }
        columns[2].push(start.elapsed().as_secs_f64() * 1e6 / f64::from(count));
        let start = Instant::now();
        for _ in 0..count {
            TcpStream::connect(plain).await.unwrap();
        }
        columns[3].push(start.elapsed().as_secs_f64() * 1e6 / f64::from(count));
        for (column, at) in [(4, plain), (5, published)] {
            columns[column].push(throughput(at).await);
        }
        for (column, at) in [(6, plain), (8, published)] {
            let (open, fresh) = latency(at).await;
            columns[column].push(open);
            columns[column + 1].push(fresh);
        }
    }
    let names = [
        "us: to a dialer thread and back",
        "us: the same with setns there and back",
        "us: connect_tcp to a node",
        "us: connect on plain loopback",
        "GiB/s: one stream, plain loopback",
        "GiB/s: one stream, published",
        "us: a byte there and back, plain loopback",
        "us: a connection for one byte, plain loopback",
        "us: a byte there and back, published",
        "us: a connection for one byte, published",
    ];
    for (name, values) in names.iter().zip(columns) {
        println!("{:10.2} {name}", median(values));
    }
    publisher.remove(&id).await;

    let host = Space::new("host");
    let egress = FullEgress::new(
        Dialer::at_home_in(host.net()).unwrap(),
        FullConfig::default(),
    );
    let (mut prepare, mut open) = (Vec::new(), Vec::new());
    for slot in 0..10 {
        let start = Instant::now();
        egress.prepare().await.unwrap();
        prepare.push(start.elapsed().as_secs_f64() * 1e3);
        let start = Instant::now();
        egress.open(slot, &net, &[]).await.unwrap();
        open.push(start.elapsed().as_secs_f64() * 1e3);
        egress.close(slot).await.unwrap();
    }
    println!(
        "{:10.2} ms: the host prepared for egress full",
        median(prepare)
    );
    println!("{:10.2} ms: egress full opened", median(open));
}
