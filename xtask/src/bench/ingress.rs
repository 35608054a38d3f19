//! Requests through proxies: ours beside haproxy (as it is, and saying who came as fully as ours), nginx and caddy, in one run, one worker each, before the same back end.
//!
//! Contenders take turns in every round. The processor time of a request moves less with what the machine does besides than requests per second do; both are
//! printed. Debian's wrk and h2load ask.

use super::say;
use crate::workspace;
use anyhow::{Context, Result, bail, ensure};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long one load lasts, in seconds.
const SECONDS: u64 = 4;
/// Connections of a load.
const CONNECTIONS: usize = 64;

/// A proxy that runs.
struct Proxy {
    name: &'static str,
    plain: SocketAddr,
    tls: Option<SocketAddr>,
    child: Child,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        for pid in family(self.child.id()) {
            if let Some(pid) = i32::try_from(pid)
                .ok()
                .and_then(rustix::process::Pid::from_raw)
            {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        let _ = self.child.wait();
    }
}

/// What one load showed.
#[derive(Debug, Clone, Copy)]
struct Shown {
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    cpu_us: f64,
    failed: u64,
}

/// A folder that goes with the figures.
struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Measures all and prints the tables; `numbers` are those of routes.
///
/// # Errors
/// When a contender does not start or an answer is wrong: a figure that leaves one out would flatter the others.
pub(super) fn run(rounds: usize, numbers: &[usize]) -> Result<()> {
    let place =
        Place(std::env::temp_dir().join(format!("daas-bench-ingress-{}", std::process::id())));
    std::fs::create_dir(&place.0)?;
    let ours = build()?;
    certificate(&place.0)?;
    let back = back_end(&place.0)?;
    for routes in numbers {
        let proxies = [
            daas(&ours, &place.0, back.plain, *routes, None)?,
            haproxy(&place.0, back.plain, *routes, false)?,
            haproxy(&place.0, back.plain, *routes, true)?,
            nginx(&place.0, back.plain, *routes)?,
            caddy(&place.0, back.plain, *routes)?,
        ];
        let mut kinds = vec!["http/1.1"];
        if *routes == numbers[0] {
            kinds.extend(["tls", "h2", "switched"]);
        }
        for kind in kinds {
            let mut table = format!(
                "{routes} routes, {kind}: one worker each, {CONNECTIONS} connections, 1 KiB, {rounds} rounds, medians\n"
            );
            let _ = writeln!(
                table,
                "{:10} {:>10} {:>8} {:>8} {:>8} {:>10} {:>6}",
                "", "per second", "/haproxy", "p50 ms", "p99 ms", "cpu us/req", "failed"
            );
            let mut all: Vec<Vec<Shown>> = proxies.iter().map(|_| Vec::new()).collect();
            for _ in 0..rounds {
                for (proxy, shown) in proxies.iter().zip(&mut all) {
                    shown.push(
                        load(proxy, kind, *routes, &place.0)
                            .with_context(|| format!("{} over {kind}", proxy.name))?,
                    );
                }
            }
            let medians: Vec<Shown> = all.iter().map(|list| median(list)).collect();
            for (proxy, shown) in proxies.iter().zip(&medians) {
                let ratio = shown.per_second / medians[1].per_second;
                let _ = writeln!(
                    table,
                    "{:10} {:>10.0} {:>8.2} {:>8.2} {:>8.2} {:>10.1} {:>6}",
                    proxy.name,
                    shown.per_second,
                    ratio,
                    shown.p50_ms,
                    shown.p99_ms,
                    shown.cpu_us,
                    shown.failed
                );
            }
            say(&table);
        }
    }
    Ok(())
}

/// Runs the program that `DAAS_H2SPEC` names, strictly, against an ingress alone: over TLS, then in plain text.
///
/// It is h2spec (github.com/summerwind/h2spec, `go install`), whose cases are the sentences of RFC 9113 and 7541 (their forerunners 7540 and 7541). One of them races: an
/// answer may be on its way when its stream is reset. So two failures of each round are let pass, and told.
///
/// # Errors
/// When something does not start, or more fail.
pub(crate) fn h2spec() -> Result<String> {
    let suite = std::env::var_os("DAAS_H2SPEC")
        .context("DAAS_H2SPEC names no program; build it with `go install`")?;
    let place = Place(std::env::temp_dir().join(format!("daas-h2spec-{}", std::process::id())));
    std::fs::create_dir(&place.0)?;
    certificate(&place.0)?;
    let back = back_end(&place.0)?;
    let ours = daas(&build()?, &place.0, back.plain, 1, None)?;
    let mut said = Vec::new();
    for (way, address, options) in [
        ("TLS", ours.tls.context("no TLS")?, &["-t", "-k"][..]),
        ("plain", ours.plain, &[][..]),
    ] {
        let output = Command::new(&suite)
            .args([
                "--strict",
                "--timeout",
                "5",
                "--host",
                "127.0.0.1",
                "--port",
            ])
            .arg(address.port().to_string())
            .args(options)
            .output()
            .context("cannot run h2spec")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().next_back().unwrap_or_default();
        let count = |what: &str| -> Option<u32> {
            let (before, _) = line.split_once(what)?;
            before.trim().rsplit(' ').next()?.parse().ok()
        };
        let failed = count("failed").context("h2spec counts nothing")?;
        ensure!(failed <= 2 && count("passed") >= Some(144), "{way}: {text}");
        said.push(format!("{way}: {line}"));
    }
    Ok(said.join("; "))
}

fn median(list: &[Shown]) -> Shown {
    let middle = |of: fn(&Shown) -> f64| {
        let mut values: Vec<f64> = list.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Shown {
        per_second: middle(|s| s.per_second),
        p50_ms: middle(|s| s.p50_ms),
        p99_ms: middle(|s| s.p99_ms),
        cpu_us: middle(|s| s.cpu_us),
        failed: list.iter().map(|s| s.failed).sum(),
    }
}

fn build() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("DAAS_INGRESS_ALONE") {
        return Ok(path.into());
    }
    let mut cargo = workspace::cargo();
    cargo.args([
        "build",
        "--release",
        "--locked",
        "--package",
        "daas-ingress",
        "--bin",
        "daas-ingress-alone",
        "--message-format=json",
    ]);
    let output = cargo
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    ensure!(output.status.success(), "the ingress does not compile");
    let lines = output.stdout.split(|byte| *byte == b'\n');
    let messages = lines.filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok());
    let mut paths =
        messages.filter_map(|message| message["executable"].as_str().map(PathBuf::from));
    let path = paths.next_back();
    path.context("cargo names no program")
}

fn certificate(place: &Path) -> Result<()> {
    let status = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=r0.test",
            "-keyout",
        ])
        .arg(place.join("key.pem"))
        .arg("-out")
        .arg(place.join("cert.pem"))
        .stderr(Stdio::null())
        .status()?;
    ensure!(status.success(), "openssl makes no certificate");
    let both = std::fs::read_to_string(place.join("cert.pem"))?
        + &std::fs::read_to_string(place.join("key.pem"))?;
    Ok(std::fs::write(place.join("both.pem"), both)?)
}

fn free() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

fn started(
    name: &'static str,
    plain: SocketAddr,
    tls: Option<SocketAddr>,
    child: Child,
) -> Result<Proxy> {
    let mut proxy = Proxy {
        name,
        plain,
        tls,
        child,
    };
    let until = Instant::now() + Duration::from_secs(20);
    for address in [Some(plain), tls].into_iter().flatten() {
        while TcpStream::connect(address).is_err() {
            if let Some(status) = proxy.child.try_wait()? {
                bail!("{name} ended with {status}");
            }
            ensure!(Instant::now() < until, "{name} does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(proxy)
}

/// nginx that answers with 1 KiB from memory.
fn back_end(place: &Path) -> Result<Proxy> {
    let address = free()?;
    let body = "x".repeat(1024);
    let server = format!(
        "server {{ listen {address} reuseport; location / {{ default_type text/plain; return 200 '{body}'; }} }}"
    );
    run_nginx("back end", place, "back", 2, &server, address, None)
}

fn run_nginx(
    name: &'static str,
    place: &Path,
    file: &str,
    workers: usize,
    servers: &str,
    plain: SocketAddr,
    tls: Option<SocketAddr>,
) -> Result<Proxy> {
    let folder = place.join(file);
    std::fs::create_dir_all(&folder)?;
    let config = format!(
        "daemon off; worker_processes {workers}; pid {0}/pid; error_log stderr crit;\nevents {{ worker_connections 4000; }}\n\
         http {{ access_log off; keepalive_requests 1000000000; keepalive_timeout 600; server_names_hash_max_size 65536; server_names_hash_bucket_size 128;\n\
         client_body_temp_path {0}/b; proxy_temp_path {0}/p; fastcgi_temp_path {0}/f; uwsgi_temp_path {0}/u; scgi_temp_path {0}/s;\n{servers}\n}}\n",
        folder.display()
    );
    let path = folder.join("nginx.conf");
    std::fs::write(&path, config)?;
    let child = Command::new("nginx")
        .arg("-c")
        .arg(&path)
        .stdin(Stdio::null())
        .spawn()
        .context("cannot run nginx; tools/install-packages bench")?;
    started(name, plain, tls, child)
}

fn daas(
    program: &Path,
    place: &Path,
    back: SocketAddr,
    routes: usize,
    network: Option<&Path>,
) -> Result<Proxy> {
    let mut child = Command::new(program)
        .args([back.to_string(), "1".into(), routes.to_string()])
        .arg(network.unwrap_or(Path::new("-")))
        .args([place.join("cert.pem"), place.join("key.pem")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run the ingress")?;
    let mut lines = BufReader::new(child.stdout.take().context("no output")?).lines();
    let mut next =
        || -> Result<SocketAddr> { Ok(lines.next().context("it prints no address")??.parse()?) };
    let (plain, tls) = (next()?, next()?);
    started("daas", plain, Some(tls), child)
}

/// What tells a node who came, in haproxy's words: as much as our ingress says, and nothing of what visitors say of themselves.
const TESTIMONY: &str = "  http-request set-header X-Forwarded-Proto %[ssl_fc,iif(https,http)]\n  \
    http-request set-header X-Forwarded-Host %[req.hdr(host)]\n  \
    http-request set-header X-Real-IP %[src]\n  \
    http-request set-header Forwarded for=%[src];host=\\\"%[req.hdr(host)]\\\";proto=%[ssl_fc,iif(https,http)]\n  \
    http-request del-header X-Original-URL\n  \
    http-request del-header X-Rewrite-URL\n  \
    http-request del-header True-Client-IP\n";

/// haproxy as the manual begins it, or one that says who came as fully as ours does.
fn haproxy(place: &Path, back: SocketAddr, routes: usize, testifies: bool) -> Result<Proxy> {
    let (plain, tls) = (free()?, free()?);
    let (name, testimony) = if testifies {
        ("haproxy+", TESTIMONY)
    } else {
        ("haproxy", "")
    };
    let map: String = (0..routes).map(|n| format!("r{n}.test back\n")).collect();
    std::fs::write(place.join("hosts.map"), map)?;
    let config = format!(
        "global\n  nbthread 1\n  maxconn 4000\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n  option http-keep-alive\n  option forwardfor\n  http-reuse always\n\
         frontend front\n  bind {plain}\n  bind {tls} ssl crt {0}/both.pem alpn h2,http/1.1\n{testimony}  use_backend %[req.hdr(host),field(1,:),lower,map({0}/hosts.map)]\n\
         backend back\n  server one {back}\n",
        place.display()
    );
    let path = place.join(format!("{name}.cfg"));
    std::fs::write(&path, config)?;
    let child = Command::new("haproxy")
        .arg("-q")
        .arg("-db")
        .arg("-f")
        .arg(&path)
        .stdin(Stdio::null())
        .spawn()
        .context("cannot run haproxy")?;
    started(name, plain, Some(tls), child)
}

fn nginx(place: &Path, back: SocketAddr, routes: usize) -> Result<Proxy> {
    let (plain, tls) = (free()?, free()?);
    let names: String = (0..routes).map(|n| format!(" r{n}.test")).collect();
    let server = format!(
        "upstream back {{ server {back}; keepalive 256; keepalive_requests 1000000000; }}\nmap $http_upgrade $conn {{ default upgrade; '' ''; }}\n\
         server {{ listen {plain}; listen {tls} ssl http2; ssl_certificate {0}/cert.pem; ssl_certificate_key {0}/key.pem; server_name{names};\n\
         location / {{ proxy_pass http://back; proxy_http_version 1.1; proxy_set_header Connection $conn; proxy_set_header Upgrade $http_upgrade; proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme; }} }}",
        place.display()
    );
    run_nginx("nginx", place, "front", 1, &server, plain, Some(tls))
}

fn caddy(place: &Path, back: SocketAddr, routes: usize) -> Result<Proxy> {
    let (plain, tls) = (free()?, free()?);
    let names = |scheme: &str, port: u16| -> String {
        (0..routes)
            .map(|n| format!("{scheme}://r{n}.test:{port}"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let config = format!(
        "{{\n  admin off\n  auto_https off\n  default_bind 127.0.0.1\n  default_sni r0.test\n}}\n{} {{\n  reverse_proxy {back}\n}}\n{}, https://:{3} {{\n  tls {2}/cert.pem {2}/key.pem\n  reverse_proxy {back}\n}}\n",
        names("http", plain.port()),
        names("https", tls.port()),
        place.display(),
        // wrk names no host in its hello.
        tls.port(),
    );
    let path = place.join("Caddyfile");
    std::fs::write(&path, config)?;
    let child = Command::new("caddy")
        .args(["run", "--adapter", "caddyfile", "--config"])
        .arg(&path)
        .env("GOMAXPROCS", "1")
        .env("XDG_DATA_HOME", place)
        .env("XDG_CONFIG_HOME", place)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot run caddy")?;
    started("caddy", plain, Some(tls), child)
}

fn load(proxy: &Proxy, kind: &str, routes: usize, place: &Path) -> Result<Shown> {
    let host = format!("r{}.test", routes - 1);
    let before = cpu(proxy.child.id());
    let mut shown = match kind {
        "http/1.1" => wrk(&format!("http://{}/", proxy.plain), &host)?,
        "tls" => wrk(&format!("https://{}/", proxy.tls.context("no TLS")?), &host)?,
        "h2" => h2load(&host, proxy.tls.context("no TLS")?)?,
        _ => switched(proxy, place)?,
    };
    let spent = cpu(proxy.child.id()) - before;
    shown.cpu_us = spent.as_secs_f64() * 1e6 / (shown.per_second * seconds(SECONDS));
    Ok(shown)
}

#[expect(clippy::cast_precision_loss, reason = "seconds of a load")]
fn seconds(count: u64) -> f64 {
    count as f64
}

fn wrk(url: &str, host: &str) -> Result<Shown> {
    let output = Command::new("wrk")
        .args([
            "-t1",
            &format!("-c{CONNECTIONS}"),
            &format!("-d{SECONDS}s"),
            "--latency",
            "-H",
            &format!("Host: {host}"),
            url,
        ])
        .output()
        .context("cannot run wrk; tools/install-packages bench")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let word = |name: &str| {
        text.lines().find_map(|line| {
            line.trim()
                .strip_prefix(name)
                .map(|rest| rest.trim().to_owned())
        })
    };
    let failed = word("Non-2xx or 3xx responses:").map_or(0, |n| n.parse().unwrap_or(u64::MAX));
    let errors = word("Socket errors:").map_or(0, |line| {
        line.split(' ')
            .filter_map(|w| w.trim_matches(',').parse::<u64>().ok())
            .sum()
    });
    Ok(Shown {
        per_second: word("Requests/sec:").context("wrk says nothing")?.parse()?,
        p50_ms: millis(&word("50%").unwrap_or_default()),
        p99_ms: millis(&word("99%").unwrap_or_default()),
        cpu_us: 0.0,
        failed: failed + errors,
    })
}

/// Reads `1.20ms`, `340.00us`, `1.1s`.
fn millis(text: &str) -> f64 {
    let number = |unit: &str| text.strip_suffix(unit).and_then(|n| n.parse::<f64>().ok());
    number("ms")
        .or_else(|| number("us").map(|us| us / 1000.0))
        .or_else(|| number("s").map(|s| s * 1000.0))
        .unwrap_or(f64::NAN)
}

fn h2load(host: &str, address: SocketAddr) -> Result<Shown> {
    let output = Command::new("h2load")
        .args([
            "-t1",
            "-c16",
            "-m16",
            &format!("--duration={SECONDS}"),
            &format!("--connect-to={address}"),
            &format!("https://{host}/"),
        ])
        .output()
        .context("cannot run h2load; tools/install-packages bench")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let after = |mark: &str, n: usize| {
        text.lines()
            .find(|line| line.starts_with(mark))
            .and_then(|line| line.split_whitespace().nth(n).map(str::to_owned))
    };
    let per_second = after("finished in", 3)
        .context("h2load says nothing")?
        .parse()?;
    let failed = after("requests:", 9).map_or(0, |n| n.parse().unwrap_or(0));
    Ok(Shown {
        per_second,
        p50_ms: millis(&after("time for request:", 5).unwrap_or_default()),
        p99_ms: f64::NAN,
        cpu_us: 0.0,
        failed,
    })
}

/// Round trips of 64 bytes over connections that were switched to another protocol, as WebSockets are.
fn switched(proxy: &Proxy, place: &Path) -> Result<Shown> {
    // The back end of the figures does not switch: an echo stands in its place, behind a proxy of its own.
    let echo = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = echo.local_addr()?;
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = echo.accept() {
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                let _ = stream.set_nodelay(true);
                let _ = stream.read(&mut buffer);
                // haproxy judges the answer to the key (RFC 6455 section 1.3).
                let _ = stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLBMxiTaK9kYGzzhZRbK+xOo=\r\n\r\n");
                while let Ok(n @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..n]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    let own = place.join(format!("switched-{}", address.port()));
    std::fs::create_dir(&own)?;
    for file in ["cert.pem", "key.pem", "both.pem"] {
        std::fs::copy(place.join(file), own.join(file))?;
    }
    let proxy = match proxy.name {
        "daas" => daas(&build()?, &own, address, 1, None)?,
        "haproxy" | "haproxy+" => haproxy(&own, address, 1, proxy.name.ends_with('+'))?,
        "nginx" => nginx(&own, address, 1)?,
        _ => caddy(&own, address, 1)?,
    };
    let before = cpu(proxy.child.id());
    let end = Instant::now() + Duration::from_secs(SECONDS);
    let threads: Vec<_> = (0..16)
        .map(|_| {
            let plain = proxy.plain;
            std::thread::spawn(move || echoes(plain, end))
        })
        .collect();
    let mut times: Vec<f64> = Vec::new();
    for thread in threads {
        times.extend(
            thread
                .join()
                .map_err(|_| anyhow::anyhow!("a client panicked"))??,
        );
    }
    times.sort_by(f64::total_cmp);
    ensure!(!times.is_empty(), "nothing came back");
    let spent = cpu(proxy.child.id()) - before;
    let count = seconds(u64::try_from(times.len())?);
    say(&format!(
        "{}: {:.1} us of processor time per echo\n",
        proxy.name,
        spent.as_secs_f64() * 1e6 / count
    ));
    Ok(Shown {
        per_second: count / seconds(SECONDS),
        p50_ms: times[times.len() / 2],
        p99_ms: times[times.len() * 99 / 100],
        cpu_us: 0.0,
        failed: 0,
    })
}

/// Sends and waits until the end; returns the times in milliseconds.
fn echoes(address: SocketAddr, end: Instant) -> Result<Vec<f64>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: r0.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")?;
    let mut buffer = [0; 4096];
    let mut head = Vec::new();
    while !head.windows(4).any(|w| w == b"\r\n\r\n") {
        let n = stream.read(&mut buffer)?;
        ensure!(n > 0, "no answer to the wish to switch");
        head.extend_from_slice(&buffer[..n]);
    }
    ensure!(
        head.starts_with(b"HTTP/1.1 101"),
        "{}",
        String::from_utf8_lossy(&head)
    );
    let mut times = Vec::new();
    while Instant::now() < end {
        let began = Instant::now();
        stream.write_all(&[7; 64])?;
        let mut left = 64;
        while left > 0 {
            let n = stream.read(&mut buffer)?;
            ensure!(n > 0, "the connection ended");
            left -= n.min(left);
        }
        times.push(began.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(times)
}

/// Returns a process and its children.
fn family(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    if let Ok(children) = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")) {
        all.extend(
            children
                .split_whitespace()
                .filter_map(|word| word.parse::<u32>().ok()),
        );
    }
    all
}

/// Returns the processor time that a process and its children have taken.
fn cpu(pid: u32) -> Duration {
    let ticks: u64 = family(pid)
        .into_iter()
        .filter_map(|pid| std::fs::read_to_string(format!("/proc/{pid}/stat")).ok())
        .filter_map(|text| {
            let rest = text.rsplit_once(") ")?.1.to_owned();
            let words: Vec<&str> = rest.split(' ').collect();
            Some(words.get(11)?.parse::<u64>().ok()? + words.get(12)?.parse::<u64>().ok()?)
        })
        .sum();
    Duration::from_millis(ticks * 10)
}
