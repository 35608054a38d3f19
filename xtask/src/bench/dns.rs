//! Names: our server beside BIND, Knot and dnsmasq of Debian, in one run, under the load of dnsperf.
//!
//! Everybody serves the same thousand names at a free port of loopback, with two threads where he has threads, and answers with the record alone. Contenders take turns. Times of answers
//! are measured at a rate that all bear: at full load they say only how long the queue is.

use super::say;
use crate::house::{Api, Daemon, Settings};
use crate::programs;
use anyhow::{Context, Result, bail};
use serde_json::json;
use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How many names there are.
const NAMES: usize = 1000;
/// How long one measurement takes, in seconds.
const SECONDS: &str = "5";
/// Questions a second at which times are measured.
const CALM: &str = "5000";

/// A name server that answers.
struct Server {
    name: &'static str,
    address: SocketAddr,
    pid: u32,
    _alive: Alive,
}

/// What ends with it.
enum Alive {
    Ours(Box<Daemon>),
    Another(Child),
}

impl Drop for Alive {
    fn drop(&mut self) {
        match self {
            Self::Ours(daemon) => drop(daemon.stop()),
            Self::Another(child) => {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}

/// One measurement of one server.
#[derive(Debug, Clone, Copy, Default)]
struct Figure {
    per_second: f64,
    cpu_us: f64,
    p50_us: f64,
    p99_us: f64,
}

/// Measures all and prints a table.
///
/// # Errors
/// When a server does not start or does not answer.
pub(super) fn run(rounds: usize) -> Result<()> {
    let place = std::env::temp_dir().join(format!("daas-bench-dns-{}", std::process::id()));
    std::fs::create_dir(&place)?;
    let result = compare(&place, rounds);
    std::fs::remove_dir_all(&place)?;
    result
}

fn compare(place: &Path, rounds: usize) -> Result<()> {
    write_files(place)?;
    let (ours, api) = ours()?;
    let servers = [ours, bind(place)?, knot(place)?, dnsmasq(place)?];
    for server in &servers {
        wait_for(server)?;
    }
    say(&format!(
        "load of the machine before: {}",
        std::fs::read_to_string("/proc/loadavg")?.trim()
    ));
    let mut figures = vec![Vec::new(); servers.len()];
    for _ in 0..rounds {
        for (server, of) in servers.iter().zip(&mut figures) {
            of.push(measure(server, place)?);
        }
    }
    let mut text = String::from(
        "              queries/s (least to most)     cpu us/query   p50 us   p99 us   memory MB   ratio\n",
    );
    let bind = median(&figures[1], |figure| figure.per_second);
    for (server, of) in servers.iter().zip(&figures) {
        let rate = median(of, |figure| figure.per_second);
        let least = of
            .iter()
            .map(|figure| figure.per_second)
            .fold(f64::INFINITY, f64::min);
        let most = of
            .iter()
            .map(|figure| figure.per_second)
            .fold(0.0, f64::max);
        let _ = writeln!(
            text,
            "{:10} {rate:10.0} ({least:.0} to {most:.0})  {:10.1}  {:7.0}  {:7.0}  {:9.0}  {:6.2} x bind9",
            server.name,
            median(of, |figure| figure.cpu_us),
            median(of, |figure| figure.p50_us),
            median(of, |figure| figure.p99_us),
            memory_mb(server.pid)?,
            rate / bind,
        );
    }
    say(&text);
    let times = changes(&api, servers[0].address)?;
    say(&format!(
        "from the request that changes a record to its answer, flush to the disk included: median {:.1} ms, most {:.1} ms of {}",
        times[times.len() / 2],
        times[times.len() - 1],
        times.len()
    ));
    Ok(())
}

/// Writes the zone, in everybody's words, and the questions.
fn write_files(place: &Path) -> Result<()> {
    let mut zone =
        String::from("$TTL 60\n@ SOA ns hostmaster 1 300 60 604800 5\n@ NS ns\nns A 127.0.0.1\n");
    let mut hosts = String::new();
    let mut questions = String::new();
    for number in 0..NAMES {
        let _ = writeln!(zone, "h{number} A {}", address(number));
        let _ = writeln!(hosts, "{} h{number}.bench.example", address(number));
        let _ = writeln!(questions, "h{number}.bench.example A");
    }
    std::fs::write(place.join("bench.example.zone"), zone)?;
    std::fs::write(place.join("hosts"), hosts)?;
    std::fs::write(place.join("questions"), questions)?;
    Ok(())
}

fn address(number: usize) -> String {
    format!("10.0.{}.{}", number / 250, number % 250)
}

fn ours() -> Result<(Server, Api)> {
    let mut records = String::new();
    for number in 0..NAMES {
        let _ = write!(records, "'h{number} 60 A {}',", address(number));
    }
    let daemon = Daemon::start(Settings {
        program: programs::release_build()?,
        configuration: format!(
            "  spares: 0\ndns:\n  listen: ['127.0.0.1:0']\n  upstreams: []\n  zones:\n    bench.example: {{records: [{}]}}\n",
            records.trim_end_matches(',')
        ),
        environment: Vec::new(),
    })?;
    let api = daemon.api();
    let zones = api.get("/dns/zones")?;
    let address = zones["listens"][0].as_str().context("it listens nowhere")?;
    let server = Server {
        name: "DaaS",
        address: address.parse()?,
        pid: daemon.pid(),
        _alive: Alive::Ours(Box::new(daemon)),
    };
    Ok((server, api))
}

fn free_address() -> Result<SocketAddr> {
    let tcp = TcpListener::bind("127.0.0.1:0")?;
    let address = tcp.local_addr()?;
    UdpSocket::bind(address)?;
    Ok(address)
}

fn start(name: &'static str, address: SocketAddr, command: &mut Command) -> Result<Server> {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot run {name}; tools/install-packages bench"))?;
    Ok(Server {
        name,
        address,
        pid: child.id(),
        _alive: Alive::Another(child),
    })
}

fn bind(place: &Path) -> Result<Server> {
    let address = free_address()?;
    let folder = place.display();
    let text = format!(
        "options {{ directory \"{folder}\"; pid-file none; session-keyfile none; managed-keys-directory \"{folder}\"; listen-on port {} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; recursion no; minimal-responses yes; dnssec-validation no; querylog no; }};\ncontrols {{ }};\nlogging {{ category default {{ null; }}; }};\nzone \"bench.example\" {{ type primary; file \"bench.example.zone\"; }};\n",
        address.port()
    );
    let file = place.join("named.conf");
    std::fs::write(&file, text)?;
    start(
        "bind9",
        address,
        Command::new("/usr/sbin/named")
            .args(["-f", "-n", "2", "-c"])
            .arg(file),
    )
}

fn knot(place: &Path) -> Result<Server> {
    let address = free_address()?;
    let folder = place.join("knot");
    std::fs::create_dir(&folder)?;
    let text = format!(
        "server:\n  listen: {}@{}\n  rundir: {2}\n  udp-workers: 2\n  tcp-workers: 1\ndatabase:\n  storage: {2}\nzone:\n  - domain: bench.example\n    file: {3}\n    zonefile-sync: -1\n    journal-content: none\n",
        address.ip(),
        address.port(),
        folder.display(),
        place.join("bench.example.zone").display()
    );
    let file = place.join("knot.conf");
    std::fs::write(&file, text)?;
    start(
        "knot",
        address,
        Command::new("/usr/sbin/knotd").arg("-c").arg(file),
    )
}

fn dnsmasq(place: &Path) -> Result<Server> {
    let address = free_address()?;
    let mut command = Command::new("/usr/sbin/dnsmasq");
    command
        .args([
            "-k",
            "-C",
            "/dev/null",
            "--no-resolv",
            "--no-hosts",
            "--bind-interfaces",
            "--listen-address=127.0.0.1",
            "--user=root",
            "--pid-file=",
        ])
        .arg(format!("--port={}", address.port()))
        .arg(format!("--addn-hosts={}", place.join("hosts").display()));
    start("dnsmasq", address, &mut command)
}

/// Asks until the right answer comes.
fn wait_for(server: &Server) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(20);
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    while !is_answered(&socket, server.address, "h7.bench.example", [10, 0, 0, 7]) {
        if Instant::now() > until {
            bail!("{} does not answer", server.name);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Tells whether a question for an address is answered with it.
fn is_answered(socket: &UdpSocket, server: SocketAddr, name: &str, address: [u8; 4]) -> bool {
    let mut message = vec![0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).unwrap_or(0));
        message.extend_from_slice(label.as_bytes());
    }
    message.extend_from_slice(&[0, 0, 1, 0, 1]);
    let mut answer = [0; 512];
    if socket.send_to(&message, server).is_err() {
        return false;
    }
    match socket.recv(&mut answer) {
        Ok(length) => answer[..length].windows(4).any(|part| part == address),
        Err(_) => false,
    }
}

fn measure(server: &Server, place: &Path) -> Result<Figure> {
    let questions = place.join("questions");
    let before = cpu_us(server.pid)?;
    let full = dnsperf(server, &questions, &["-c", "8", "-T", "2", "-q", "100"])?;
    let spent = cpu_us(server.pid)? - before;
    let per_second = number_behind(&full, "Queries per second:")?;
    let completed = number_behind(&full, "Queries completed:")?;
    let calm = dnsperf(
        server,
        &questions,
        &["-c", "8", "-T", "2", "-Q", CALM, "-v"],
    )?;
    let mut times: Vec<f64> = calm
        .lines()
        .filter(|line| line.starts_with("> "))
        .filter_map(|line| line.split_whitespace().last()?.parse().ok())
        .collect();
    if times.is_empty() {
        bail!("dnsperf tells no times: {calm}");
    }
    times.sort_by(f64::total_cmp);
    Ok(Figure {
        per_second,
        cpu_us: spent / completed,
        p50_us: times[times.len() / 2] * 1e6,
        p99_us: times[times.len() * 99 / 100] * 1e6,
    })
}

fn dnsperf(server: &Server, questions: &PathBuf, more: &[&str]) -> Result<String> {
    let output = Command::new("dnsperf")
        .args([
            "-s",
            "127.0.0.1",
            "-p",
            &server.address.port().to_string(),
            "-l",
            SECONDS,
            "-d",
        ])
        .arg(questions)
        .args(more)
        .output()
        .context("cannot run dnsperf; tools/install-packages bench")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lost = number_behind(&text, "Queries lost:").unwrap_or(0.0);
    if lost > 0.0 {
        say(&format!("{}: {lost} questions were lost", server.name));
    }
    Ok(text)
}

fn number_behind(text: &str, words: &str) -> Result<f64> {
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix(words))
        .with_context(|| format!("dnsperf does not tell `{words}`: {text}"))?;
    let word = line.split_whitespace().next().unwrap_or_default();
    word.parse()
        .with_context(|| format!("`{word}` is no number"))
}

/// Returns the processor time of a process in microseconds.
fn cpu_us(pid: u32) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, behind) = text.rsplit_once(')').context("a strange stat")?;
    let fields: Vec<&str> = behind.split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
    // USER_HZ is 100 on every machine that Debian runs on.
    Ok(ticks * 10_000.0)
}

fn memory_mb(pid: u32) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .context("no VmRSS")?;
    let kilobytes: f64 = line
        .split_whitespace()
        .next()
        .context("no VmRSS")?
        .parse()?;
    Ok(kilobytes / 1024.0)
}

/// Changes records and tells how long each takes to be answered, in milliseconds, sorted.
fn changes(api: &Api, server: SocketAddr) -> Result<Vec<f64>> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut times = Vec::new();
    for number in 0..50u8 {
        let name = format!("change-{number}.bench.example");
        let record = json!({"name": name, "type": "A", "data": format!("10.9.9.{number}")});
        let started = Instant::now();
        api.post("/dns/records", &record)?;
        while !is_answered(&socket, server, &name, [10, 9, 9, number]) {
            if started.elapsed() > Duration::from_secs(10) {
                bail!("{name} is never answered");
            }
        }
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok(times)
}

fn median(of: &[Figure], what: impl Fn(&Figure) -> f64) -> f64 {
    let mut values: Vec<f64> = of.iter().map(what).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
