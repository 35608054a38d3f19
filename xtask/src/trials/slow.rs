//! Thousands who are slow on purpose, beside one who only wants his page (threat S19).

use super::bed::{Bed, service};
use super::hostile::{Answers, Elsewhere, trial_program};
use super::urls::{ask, urls};
use anyhow::{Context, Result, ensure};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

/// One way to be slow: what is said first, and what again every second.
struct Kind {
    tls: bool,
    first: &'static [u8],
    then: &'static [u8],
}

const fn plain(first: &'static [u8], then: &'static [u8]) -> Kind {
    Kind {
        tls: false,
        first,
        then,
    }
}

const KINDS: [Kind; 8] = [
    plain(b"", b""),
    plain(b"G", b""),
    plain(b"GET / HTTP/1.1\r\nHost: a.test\r\nX: ", b"y"),
    plain(
        b"POST / HTTP/1.1\r\nHost: nobody.localhost\r\nContent-Length: 100000\r\n\r\n",
        b"z",
    ),
    plain(
        b"POST / HTTP/1.1\r\nHost: nobody.localhost\r\nTransfer-Encoding: chunked\r\n\r\n1",
        b"",
    ),
    plain(b"PRI * HTTP/2.0\r\n", b""),
    plain(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", b""),
    // The beginning of a client's hello (RFC 8446 section 4.1.2): 512 bytes are promised.
    Kind {
        tls: true,
        first: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        then: b"",
    },
];

/// How many come from one address.
const OF_ONE: usize = 100;
/// The longest of the ingress's clocks, between two requests, with something to spare.
const ALL_CLOSED: Duration = Duration::from_secs(90);

/// Lets so many slow visitors come and measures what one who is quick waits for meanwhile.
///
/// # Errors
/// When an answer is wrong, or a slow visitor is still there after all clocks have run out.
pub fn slow_visitors(program: &Path, visitors: usize) -> Result<String> {
    let tls = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let bed = Bed::configured(
        program,
        &format!("  spares: 0\ningress:\n  listen: ['127.0.0.1:0']\n  listen_tls: ['{tls}']\n"),
    )?;
    let folder = bed.daemon.place().join("project");
    std::fs::create_dir_all(&folder)?;
    std::fs::copy(trial_program("answer")?, folder.join("answer"))?;
    let web = service("web", "exec /answer quick")
        + "    expose: ['80']\n    volumes: ['./answer:/answer:ro']\n";
    bed.api().up("quick", &bed.project(&web), 0)?;
    let url = urls(&bed, "quick")?.into_iter().next().context("no URL")?;
    let port: u16 = url.rsplit(':').next().context("no port")?.parse()?;
    let elsewhere = Elsewhere::go()?;
    let idle = measured(&url, 1000)?;
    let memory = [resident(&bed)?];
    let began = Instant::now();
    let mut slow = come(visitors, SocketAddr::from((Ipv4Addr::LOCALHOST, port)), tls)?;
    let came = began.elapsed();
    drip(&mut slow);
    let beside = measured(&url, 1000)?;
    drop(elsewhere);
    let there = slow.len();
    let memory = [memory[0], resident(&bed)?];
    while !slow.is_empty() && began.elapsed() < ALL_CLOSED {
        drip(&mut slow);
        std::thread::sleep(Duration::from_secs(1));
    }
    ensure!(
        slow.is_empty(),
        "{} slow visitors are still there after {} s",
        slow.len(),
        began.elapsed().as_secs()
    );
    let closed = began.elapsed();
    bed.api().down("quick")?;
    bed.nothing_is_left()?;
    Ok(format!(
        "{visitors} came in {:.1} s, {there} were there while it was measured; p50 {:.2} -> {:.2} ms, p99 {:.2} -> {:.2} ms (x{:.2}); the daemon's memory {} -> {} MiB; all closed after {:.0} s",
        came.as_secs_f64(),
        idle.p50,
        beside.p50,
        idle.p99,
        beside.p99,
        beside.p99 / idle.p99,
        memory[0] >> 10,
        memory[1] >> 10,
        closed.as_secs_f64(),
    ))
}

fn measured(url: &str, asks: usize) -> Result<Answers> {
    let mut times = Vec::with_capacity(asks);
    for _ in 0..asks {
        let began = Instant::now();
        let answer = ask(url, "/")?;
        times.push(began.elapsed());
        ensure!(
            answer.status == 200 && answer.text.ends_with("quick"),
            "{}",
            answer.text
        );
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(Answers::of(times))
}

/// Connects them all, from as many addresses of loopback as it takes.
fn come(
    visitors: usize,
    plain: SocketAddr,
    tls: SocketAddr,
) -> Result<Vec<(TcpStream, &'static Kind)>> {
    (0..visitors)
        .map(|number| {
            let kind = &KINDS[number % KINDS.len()];
            let of = u8::try_from(number / OF_ONE % 200)?;
            let own = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(127, 9, 0, of + 1), 0));
            let socket = socket_with(
                AddressFamily::INET,
                SocketType::STREAM,
                SocketFlags::CLOEXEC,
                None,
            )?;
            bind(&socket, &own)?;
            connect(&socket, if kind.tls { &tls } else { &plain })
                .context("the ingress takes no connection")?;
            let mut stream = TcpStream::from(socket);
            stream.write_all(kind.first)?;
            stream.set_nonblocking(true)?;
            Ok((stream, kind))
        })
        .collect()
}

/// Says what they say again; those that were closed leave.
fn drip(slow: &mut Vec<(TcpStream, &'static Kind)>) {
    slow.retain_mut(|(stream, kind)| {
        let mut buffer = [0; 4096];
        let open = match stream.read(&mut buffer) {
            Ok(read) => read > 0,
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        };
        open && (kind.then.is_empty() || stream.write_all(kind.then).is_ok())
    });
}

/// Returns the resident memory of the daemon, in KiB.
fn resident(bed: &Bed) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", bed.daemon.pid()))?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next())
        .context("no VmRSS")?
        .parse()
        .context("VmRSS is no number")
}
