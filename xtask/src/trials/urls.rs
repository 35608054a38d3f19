//! Stands answer by name: the moment they are healthy, each with its own words, and not a moment longer than they are there.

use super::bed::{Bed, IMAGE};
use anyhow::{Context, Result, bail, ensure};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The ingress at a port of the kernel's choice.
pub(crate) const CONFIGURATION: &str =
    "  spares: 0\ningress:\n  listen: ['127.0.0.1:0']\n  listen_tls: []\n";

/// An answer of the ingress: its status, and all of it.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: String,
}

/// Asks for `path` at a URL of the form `http://host:port`, whose host is on this machine.
pub(crate) fn ask(url: &str, path: &str) -> Result<Answer> {
    let authority = url.strip_prefix("http://").context("no plain URL")?;
    let port: u16 = authority
        .rsplit_once(':')
        .context("a URL without port")?
        .1
        .parse()?;
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.write_all(
        format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let status = text
        .split(' ')
        .nth(1)
        .and_then(|s| s.parse().ok())
        .with_context(|| format!("no answer: {text:?}"))?;
    Ok(Answer { status, text })
}

/// Returns the URLs of a stand, its own name's first.
pub(crate) fn urls(bed: &Bed, stand: &str) -> Result<Vec<String>> {
    let view = bed.api().get(&format!("/stands/{stand}"))?;
    let urls = view["urls"]
        .as_array()
        .with_context(|| format!("{stand} has no URL: {view}"))?;
    Ok(urls
        .iter()
        .filter_map(|url| url.as_str().map(str::to_owned))
        .collect())
}

fn project() -> String {
    // The words of each stand are drawn inside of it; the port is open long before the check lets it through.
    let speak =
        "cat /proc/sys/kernel/random/uuid > /tmp/index.html; exec busybox httpd -f -p 8000 -h /tmp";
    format!(
        "  web:
    image: {IMAGE}
    command: [/bin/busybox, sh, -c, '{speak}']
    expose: ['8000']
    networks: {{default: {{ipv4_address: 10.77.0.10}}}}
    healthcheck: {{test: [CMD, /bin/wget, -q, -O, /dev/null, 'http://127.0.0.1:8000/'], interval: 200ms, start_period: 10s, start_interval: 100ms}}
  db:
    image: {IMAGE}
    command: [/bin/busybox, sleep, '100000']
    expose: ['5432']
networks:
  default: {{ipam: {{config: [{{subnet: 10.77.0.0/24}}]}}}}
"
    )
}

/// Brings two stands of one file up and asks each by its names: while it runs, when it is stopped, after it is gone.
///
/// # Errors
/// When one answers with the words of another, or too long.
pub fn urls_answer(program: &Path) -> Result<String> {
    let bed = Bed::configured(program, CONFIGURATION)?;
    let api = bed.api();
    api.up("url", &bed.project(&project()), 2)?;
    let mut known = Vec::new();
    for stand in ["url-1", "url-2"] {
        let own = String::from_utf8_lossy(
            &api.exec(stand, "web", &["/bin/cat", "/tmp/index.html"])?
                .out,
        )
        .into_owned();
        let urls = urls(&bed, stand)?;
        ensure!(urls.len() == 1, "{stand} has these URLs: {urls:?}");
        let service = urls[0].replacen("http://", "http://web.", 1);
        for url in [&urls[0], &service] {
            let answer = ask(url, "/index.html")?;
            ensure!(
                answer.status == 200 && answer.text.ends_with(&own),
                "{url} says {}, {stand} {own}",
                answer.text
            );
        }
        known.push(urls[0].clone());
    }
    let [first, second] = &known[..] else {
        bail!("two stands, {} URLs", known.len())
    };
    let answer = ask(&first.replacen("url-1", "none", 1), "/")?;
    ensure!(
        answer.status == 404 && !answer.text.contains("url-"),
        "a stranger's name gives {}",
        answer.text
    );
    let stopped = api.post("/stands/url-1/stop", &serde_json::json!({}))?;
    api.wait_all(&stopped)?;
    let answer = ask(first, "/index.html")?;
    ensure!(
        answer.status == 503 && answer.text.contains("url-1 is stopped"),
        "a stopped stand gives {}",
        answer.text
    );
    let started = api.post("/stands/url-1/start", &serde_json::json!({}))?;
    api.wait_all(&started)?;
    ensure!(
        ask(first, "/index.html")?.status == 200,
        "a stand that was started again does not answer"
    );
    api.down("url-2")?;
    let gone = until_gone(second)?;
    api.down("url-1")?;
    until_gone(first)?;
    bed.nothing_is_left()?;
    Ok(format!(
        "two stands with equal addresses answer by name; a name is gone {} ms after its stand",
        gone.as_millis()
    ))
}

/// Waits until nothing answers at a name; the issue grants 1 s.
fn until_gone(url: &str) -> Result<Duration> {
    let started = Instant::now();
    while ask(url, "/index.html")?.status != 404 {
        ensure!(
            started.elapsed() < Duration::from_secs(1),
            "{url} still answers"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(started.elapsed())
}

/// Puts a stand with rules to sleep, and lets several visitors wake it at once.
///
/// # Errors
/// When it does not sleep, does not wake, or a visitor is turned away meanwhile.
pub fn sleeps_and_wakes(program: &Path) -> Result<String> {
    let bed = Bed::configured(program, CONFIGURATION)?;
    let api = bed.api();
    // Taken and let go: nobody else gets it so soon.
    let port = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port();
    let text = project()
        + "x-daas:\n  sleep_after: 2s\n  routes:\n    - {service: web, host: '@', path: /in, strip_prefix: true, response_headers: {X-Ruled: 'yes'}}\n    - {service: web, host: shut, basic_auth: {ann: geheim}}\n"
        + &format!("    - {{service: web, protocol: tcp, port: 8000, listen: {port}}}\n");
    api.up("tired", &bed.project(&text), 0)?;
    let urls = urls(&bed, "tired")?;
    let url = urls
        .iter()
        .find(|url| url.contains("://tired."))
        .context("no URL")?
        .trim_end_matches("/in")
        .to_owned();
    let answer = ask(&url, "/in/index.html")?;
    ensure!(
        answer.status == 200 && answer.text.to_lowercase().contains("x-ruled: yes"),
        "a route with rules says {}",
        answer.text
    );
    ensure!(
        ask(&url, "/index.html")?.status == 404,
        "a path that no route has is answered"
    );
    ensure!(
        ask(&url.replacen("tired", "shut.tired", 1), "/index.html")?.status == 401,
        "a stranger passes"
    );
    let by_port = ask(&format!("http://127.0.0.1:{port}"), "/index.html")?;
    ensure!(
        by_port.status == 200,
        "a route of TCP says {}",
        by_port.text
    );
    let state = || -> Result<String> {
        Ok(api.get("/stands/tired")?["state"]
            .as_str()
            .unwrap_or_default()
            .to_owned())
    };
    let until = Instant::now() + Duration::from_secs(30);
    while state()? != "stopped" {
        ensure!(
            Instant::now() < until,
            "it does not fall asleep: {}",
            state()?
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    let started = Instant::now();
    let visitors: Vec<_> = (0..4)
        .map(|_| {
            let url = url.clone();
            std::thread::spawn(move || ask(&url, "/in/index.html"))
        })
        .collect();
    for visitor in visitors {
        let answer = visitor
            .join()
            .map_err(|_| anyhow::anyhow!("a visitor panicked"))??;
        ensure!(
            answer.status == 200,
            "a visitor of a sleeping stand gets {}",
            answer.text
        );
    }
    let awake = started.elapsed();
    let codes = bed.events("tired")?;
    ensure!(
        codes.iter().filter(|code| *code == "stand-wakes").count() == 1,
        "{codes:?}"
    );
    api.down("tired")?;
    bed.nothing_is_left()?;
    Ok(format!(
        "a sleeping stand answered four visitors {} ms after the first had come",
        awake.as_millis()
    ))
}

/// Asks without a pause, over connections that are kept and over new ones, while the daemon is replaced by another one.
///
/// # Errors
/// When one request fails.
pub fn upgrade_under_load(program: &Path, times: u32) -> Result<String> {
    let folder = std::env::temp_dir().join(format!("daas-manager-{}-{times}", std::process::id()));
    std::fs::create_dir(&folder)?;
    let done = upgrades(program, times, &folder);
    let _ = std::fs::remove_dir_all(&folder);
    done
}

fn upgrades(program: &Path, times: u32, folder: &Path) -> Result<String> {
    let manager = folder.join("manager");
    let text = include_str!("manager.py")
        .replace("@PROGRAM@", &program.display().to_string())
        .replace("@NOTIFY@", &folder.join("notify").display().to_string());
    std::fs::write(&manager, text)?;
    std::fs::set_permissions(
        &manager,
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )?;
    let bed = Bed::configured(&manager, CONFIGURATION)?;
    let api = bed.api();
    api.up("kept", &bed.project(&project()), 0)?;
    let url = urls(&bed, "kept")?.remove(0);
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..6)
        .map(|number| {
            let (url, stop) = (url.clone(), stop.clone());
            std::thread::spawn(move || client(&url, number % 3 == 0, &stop))
        })
        .collect();
    let manager = i32::try_from(bed.daemon.pid())
        .ok()
        .and_then(rustix::process::Pid::from_raw)
        .context("no manager")?;
    for number in 1..=times {
        std::thread::sleep(Duration::from_millis(500));
        rustix::process::kill_process(manager, rustix::process::Signal::HUP)?;
        let until = Instant::now() + Duration::from_secs(60);
        while bed.daemon.said().matches("restarted with").count() < usize::try_from(number)? {
            ensure!(
                Instant::now() < until,
                "it is not restarted: {}",
                bed.daemon.said()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    std::thread::sleep(Duration::from_secs(1));
    stop.store(true, Ordering::SeqCst);
    let mut count = 0;
    for client in clients {
        count += client
            .join()
            .map_err(|_| anyhow::anyhow!("a client panicked"))??;
    }
    while api.get("/stands/kept").is_err() {
        std::thread::sleep(Duration::from_millis(20));
    }
    api.down("kept")?;
    Ok(format!(
        "{count} requests while the daemon was replaced {times} times, 0 failed"
    ))
}

/// Asks until it is told to stop; returns how often. `anew` opens a connection for every request.
fn client(url: &str, anew: bool, stop: &AtomicBool) -> Result<u64> {
    let authority = url.strip_prefix("http://").context("no plain URL")?;
    let port: u16 = authority
        .rsplit_once(':')
        .context("a URL without port")?
        .1
        .parse()?;
    let ending = if anew { "Connection: close\r\n" } else { "" };
    let request = format!("GET /index.html HTTP/1.1\r\nHost: {authority}\r\n{ending}\r\n");
    let mut open: Option<TcpStream> = None;
    let mut count = 0;
    while !stop.load(Ordering::SeqCst) {
        let mut stream = match open.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
                stream.set_read_timeout(Some(Duration::from_secs(60)))?;
                stream
            }
        };
        stream.write_all(request.as_bytes())?;
        let (head, ends) = answer(&mut stream)
            .with_context(|| format!("request {count}, each on its own connection: {anew}"))?;
        ensure!(head.starts_with("HTTP/1.1 200"), "request {count}: {head}");
        open = (!ends && !anew).then_some(stream);
        count += 1;
    }
    Ok(count)
}

/// Reads one answer; tells whether the connection ends with it.
fn answer(stream: &mut TcpStream) -> Result<(String, bool)> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_string();
            let lower = head.to_ascii_lowercase();
            let length: usize = lower
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .unwrap_or("0")
                .trim()
                .parse()?;
            if bytes.len() >= end + 4 + length {
                return Ok((head, lower.contains("connection: close")));
            }
        }
        let n = stream.read(&mut buffer)?;
        ensure!(n > 0, "the connection ended after {} bytes", bytes.len());
        bytes.extend_from_slice(&buffer[..n]);
    }
}
