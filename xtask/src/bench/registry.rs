//! Pushes and pulls: our registry beside Debian's docker-registry, in one run and by one client.
//!
//! The client does nothing but send and receive: what it digests is digested before, what it receives is thrown away. So
//! the figures are the servers' own. Contenders take turns.

use super::say;
use crate::house::{Daemon, Settings};
use crate::programs;
use anyhow::{Context, Result, bail, ensure};
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One content of the image; four of them are a usual image of 300 MB.
const PART: usize = 75 << 20;
const PARTS: usize = 4;
/// How much is read at once and thrown away.
const READ: usize = 1 << 20;
/// How much the limit reads from a file and sends at once.
const SENT: usize = 256 << 10;

/// A registry that listens.
struct Registry {
    name: &'static str,
    address: SocketAddr,
    /// The header that opens it.
    auth: String,
    pid: u32,
    _alive: Alive,
}

/// What ends with it.
enum Alive {
    Ours(Box<Daemon>),
    Debians(Child, PathBuf),
}

impl Drop for Alive {
    fn drop(&mut self) {
        match self {
            Self::Ours(daemon) => drop(daemon.stop()),
            Self::Debians(child, place) => {
                let _ = child.kill();
                let _ = child.wait();
                let _ = std::fs::remove_dir_all(place);
            }
        }
    }
}

/// A content and its digest.
type Content = (Arc<Vec<u8>>, String);

/// Measures both and prints a table.
///
/// # Errors
/// When a registry does not start, or refuses something.
pub(super) fn run(rounds: usize) -> Result<()> {
    let mut registries = [ours()?, debians()?];
    let mut tables: Vec<(String, Vec<Vec<f64>>)> = Vec::new();
    for clients in [1, 16] {
        let mut figures = vec![vec![Vec::new(); 2]; 2];
        let mut limits = Vec::new();
        for round in 0..rounds {
            for (who, registry) in registries.iter_mut().enumerate() {
                // Everybody's contents are his own: nothing is known from the round before.
                let contents = contents(&format!("{clients} {round}"), clients)?;
                let repository = format!("bench/c{clients}r{round}");
                figures[0][who].push(push(registry, &repository, &contents)?);
                figures[1][who].push(pull(registry, &repository, &contents)?);
                forget(registry, &repository, &contents)?;
                if who == 0 {
                    limits.push(limit(&contents)?);
                }
            }
        }
        say(&format!(
            "{clients} clients: files into sockets and nothing else {:.0} MB/s",
            median(&limits)
        ));
        for (what, figures) in ["push", "pull"].iter().zip(figures) {
            tables.push((format!("{what}, {clients} clients"), figures));
        }
    }
    let mut text = String::from("MB/s, median (least to most)\n");
    for (what, figures) in &tables {
        let medians: Vec<f64> = figures.iter().map(|of| median(of)).collect();
        let _ = write!(text, "{what:18}");
        for (registry, of) in registries.iter().zip(figures) {
            let least = of.iter().copied().fold(f64::INFINITY, f64::min);
            let most = of.iter().copied().fold(0.0, f64::max);
            let _ = write!(
                text,
                "  {} {:5.0} ({least:.0} to {most:.0})",
                registry.name,
                median(of)
            );
        }
        let _ = writeln!(text, "  ratio {:.2}", medians[0] / medians[1]);
    }
    say(&text);
    for registry in &registries {
        say(&format!(
            "{}: most memory {:.0} MB, processor {:.1} s",
            registry.name,
            memory(registry.pid)?,
            processor(registry.pid)?
        ));
    }
    Ok(())
}

/// Pushes one content of `size` bytes and tells how much memory that took more.
///
/// # Errors
/// When the daemon does not start or refuses.
pub(super) fn large(size: u64) -> Result<()> {
    let registry = ours()?;
    let before = memory(registry.pid)?;
    let started = Instant::now();
    let block: Vec<u8> = noise(7, 1 << 20);
    let mut stream = request(&registry, "POST", "/v2/bench/large/blobs/uploads/", 0)?;
    let place = header(&head(&mut stream)?.0, "location").context("no place to go on")?;
    let mut stream = request(&registry, "PATCH", &place, size)?;
    let mut left = size;
    while left > 0 {
        let next = usize::try_from(left.min(block.len() as u64))?;
        stream.write_all(&block[..next])?;
        left -= next as u64;
    }
    let (answer, _) = head(&mut stream)?;
    ensure!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    let after = memory(registry.pid)?;
    let seconds = started.elapsed().as_secs_f64();
    let mut stream = request(&registry, "DELETE", &place, 0)?;
    head(&mut stream)?;
    say(&format!(
        "{:.1} GiB pushed in {seconds:.1} s; most memory {before:.0} MB before, {after:.0} MB after",
        size as f64 / f64::from(1 << 30)
    ));
    Ok(())
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

/// Fills bytes that no compression and no deduplication makes smaller (xorshift64*).
fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// Makes the contents of all clients: one image of four for one, a smaller one for each of many.
fn contents(word: &str, clients: usize) -> Result<Vec<Vec<Content>>> {
    let size = if clients == 1 { PART } else { PART / 4 };
    let base = Arc::new(noise(word.len() as u64, size));
    (0..clients)
        .map(|client| {
            (0..PARTS)
                .map(|part| {
                    let mut bytes = base.as_ref().clone();
                    let mark = format!("{word} {client} {part} {}", std::process::id());
                    bytes[..mark.len()].copy_from_slice(mark.as_bytes());
                    let digest = sha256(&bytes)?;
                    Ok((Arc::new(bytes), digest))
                })
                .collect()
        })
        .collect()
}

fn sha256(bytes: &[u8]) -> Result<String> {
    let mut child = Command::new("sha256sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run sha256sum")?;
    child
        .stdin
        .take()
        .context("sha256sum takes no input")?
        .write_all(bytes)?;
    let said = String::from_utf8(child.wait_with_output()?.stdout)?;
    let hex = said.split(' ').next().unwrap_or_default();
    Ok(format!("sha256:{hex}"))
}

fn ours() -> Result<Registry> {
    let daemon = Daemon::start(Settings {
        program: programs::release_build()?,
        configuration: "  spares: 0\nregistry:\n  listen: ['127.0.0.1:0']\n".to_owned(),
        environment: Vec::new(),
    })?;
    let api = daemon.api();
    let info = api.get("/registry")?;
    let address = info["listens"][0].as_str().context("it listens nowhere")?;
    let wish = serde_json::json!({"name": "bench", "push": true, "delete": true});
    let made = api.post("/registry/logins", &wish)?;
    let secret = made["secret"].as_str().context("no secret")?;
    Ok(Registry {
        name: "DaaS",
        address: address.parse()?,
        auth: format!("Basic {}", base64(&format!("bench:{secret}"))),
        pid: daemon.pid(),
        _alive: Alive::Ours(Box::new(daemon)),
    })
}

fn debians() -> Result<Registry> {
    let place = std::env::temp_dir().join(format!("daas-bench-registry-{}", std::process::id()));
    std::fs::create_dir(&place)?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let config = format!(
        "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n  delete: {{enabled: true}}\nhttp: {{addr: '{port}'}}\n",
        place.join("data").display()
    );
    std::fs::write(place.join("config.yml"), config)?;
    let child = Command::new("docker-registry")
        .arg("serve")
        .arg(place.join("config.yml"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot run docker-registry; tools/install-packages test")?;
    let pid = child.id();
    let alive = Alive::Debians(child, place);
    let until = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(port).is_err() {
        if Instant::now() > until {
            bail!("docker-registry does not listen");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(Registry {
        name: "docker-registry",
        address: port,
        auth: "Basic Og==".to_owned(),
        pid,
        _alive: alive,
    })
}

/// Sends the head of a request on a connection of its own.
fn request(registry: &Registry, method: &str, path: &str, length: u64) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(registry.address)?;
    stream.set_nodelay(true)?;
    // A place may be told with its host.
    let path = path.find("/v2/").map_or(path, |at| &path[at..]);
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: {}\r\nContent-Type: application/octet-stream\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n",
        registry.address, registry.auth
    );
    stream.write_all(head.as_bytes())?;
    Ok(stream)
}

/// Reads the head of an answer; returns it and what came behind it.
fn head(stream: &mut TcpStream) -> Result<(String, usize)> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let got = stream.read(&mut buffer)?;
        ensure!(got > 0, "the registry went away");
        bytes.extend_from_slice(&buffer[..got]);
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&bytes[..at]).into_owned();
            return Ok((text, bytes.len() - at - 4));
        }
    }
}

fn header(head: &str, name: &str) -> Option<String> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim().to_owned())
}

/// Runs `work` for every client at once and returns MB/s over all of them.
fn at_once(contents: &[Vec<Content>], work: impl Fn(&Content) -> Result<()> + Sync) -> Result<f64> {
    let bytes: usize = contents
        .iter()
        .flatten()
        .map(|(bytes, _)| bytes.len())
        .sum();
    let started = Instant::now();
    std::thread::scope(|scope| {
        let threads: Vec<_> = contents
            .iter()
            .map(|of| {
                let work = &work;
                scope.spawn(move || of.iter().try_for_each(work))
            })
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|_| bail!("a client panicked")))
    })?;
    Ok(bytes as f64 / 1e6 / started.elapsed().as_secs_f64())
}

fn push(registry: &Registry, repository: &str, contents: &[Vec<Content>]) -> Result<f64> {
    at_once(contents, |(bytes, digest)| {
        let path = format!("/v2/{repository}/blobs/uploads/");
        let mut stream = request(registry, "POST", &path, 0)?;
        let place = header(&head(&mut stream)?.0, "location").context("no place to go on")?;
        let sign = if place.contains('?') { '&' } else { '?' };
        let mut stream = request(
            registry,
            "PUT",
            &format!("{place}{sign}digest={digest}"),
            bytes.len() as u64,
        )?;
        stream.write_all(bytes)?;
        let (answer, _) = head(&mut stream)?;
        ensure!(answer.starts_with("HTTP/1.1 201"), "{answer}");
        Ok(())
    })
}

fn pull(registry: &Registry, repository: &str, contents: &[Vec<Content>]) -> Result<f64> {
    at_once(contents, |(bytes, digest)| {
        let path = format!("/v2/{repository}/blobs/{digest}");
        let mut stream = request(registry, "GET", &path, 0)?;
        let (answer, got) = head(&mut stream)?;
        ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        receive(&mut stream, bytes.len().saturating_sub(got))
    })
}

/// Measures what the kernel carries from files to clients: one thread reads and sends, another receives and throws away.
fn limit(contents: &[Vec<Content>]) -> Result<f64> {
    let place = tempfile::tempdir()?;
    let file = |digest: &str| place.path().join(digest);
    for (bytes, digest) in contents.iter().flatten() {
        std::fs::write(file(digest), bytes.as_slice())?;
    }
    at_once(contents, |(bytes, digest)| {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let at = listener.local_addr()?;
        let mut source = std::fs::File::open(file(digest))?;
        let sender = std::thread::spawn(move || -> Result<()> {
            let mut stream = listener.accept()?.0;
            let mut buffer = vec![0; SENT];
            loop {
                let got = source.read(&mut buffer)?;
                if got == 0 {
                    return Ok(());
                }
                stream.write_all(&buffer[..got])?;
            }
        });
        let mut stream = TcpStream::connect(at)?;
        receive(&mut stream, bytes.len())?;
        match sender.join() {
            Ok(sent) => sent,
            Err(_) => bail!("a sender panicked"),
        }
    })
}

/// Reads so many bytes and throws them away.
fn receive(stream: &mut TcpStream, mut left: usize) -> Result<()> {
    let mut buffer = vec![0; READ];
    while left > 0 {
        let more = stream.read(&mut buffer)?;
        ensure!(more > 0, "the content ended early");
        left = left.saturating_sub(more);
    }
    Ok(())
}

/// Deletes what was pushed, so that the disk is as it was.
fn forget(registry: &Registry, repository: &str, contents: &[Vec<Content>]) -> Result<()> {
    for (_, digest) in contents.iter().flatten() {
        let path = format!("/v2/{repository}/blobs/{digest}");
        let mut stream = request(registry, "DELETE", &path, 0)?;
        head(&mut stream)?;
    }
    if let Alive::Ours(daemon) = &registry._alive {
        daemon.api().post("/registry/gc", &serde_json::json!({}))?;
    } else if let Alive::Debians(_, place) = &registry._alive {
        remove_blobs(place)?;
    }
    Ok(())
}

/// Debian's registry collects only when it stands still: its files are removed by hand.
fn remove_blobs(place: &Path) -> Result<()> {
    let blobs = place.join("data/docker/registry/v2/blobs");
    if blobs.exists() {
        std::fs::remove_dir_all(blobs)?;
    }
    Ok(())
}

/// Returns the most memory that a process has had, in MB.
fn memory(pid: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .context("no VmHWM")?;
    let kilobytes: f64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kilobytes / 1000.0)
}

/// Returns the time of processor that a process has used, in seconds.
fn processor(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let behind = stat.rsplit(") ").next().context("no stat")?;
    let ticks: f64 = behind
        .split(' ')
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<f64>().ok())
        .sum();
    // USER_HZ is 100 on every Linux that Debian makes.
    Ok(ticks / 100.0)
}

fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in text.as_bytes().chunks(3) {
        let bits = chunk
            .iter()
            .chain([&0, &0])
            .take(3)
            .fold(0u32, |bits, byte| (bits << 8) | u32::from(*byte));
        for at in 0..4 {
            out.push(if at > chunk.len() {
                '='
            } else {
                char::from(DIGITS[((bits >> (18 - 6 * at)) & 63) as usize])
            });
        }
    }
    out
}
