//! Stands answer by name: the moment they are healthy, each with its own words, and not a moment longer than they are there.

use super::bed::{Bed, IMAGE};
use anyhow::{Context, Result, bail, ensure};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
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
