//! Requests while what answers them changes: none is lost.
#![allow(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

use crate::edge::free_port;
use crate::trials::program;
use serde_json::json;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use xtask::trials::Bed;

/// A visitor's connections, kept or not.
struct Client {
    port: u16,
    host: &'static str,
    kept: bool,
    open: Option<BufReader<TcpStream>>,
}

impl Client {
    /// Sends one request and reads its answer to the end; returns what went wrong.
    fn ask(&mut self, post: bool, number: u64) -> Result<(), String> {
        let words = format!("{}-{number}", "x".repeat(3000));
        let head = if post {
            format!(
                "POST /cgi-bin/echo HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n",
                self.host,
                words.len()
            )
        } else {
            format!("GET /index.html HTTP/1.1\r\nHost: {}\r\n", self.host)
        };
        let end = if self.kept {
            "\r\n"
        } else {
            "Connection: close\r\n\r\n"
        };
        let body = if post { words.as_str() } else { "" };
        let mut stream = match self.open.take() {
            Some(open) => open,
            None => {
                let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))
                    .map_err(|e| e.to_string())?;
                stream
                    .set_read_timeout(Some(Duration::from_secs(60)))
                    .unwrap();
                BufReader::new(stream)
            }
        };
        let sent = stream
            .get_mut()
            .write_all(format!("{head}{end}{body}").as_bytes());
        sent.map_err(|e| e.to_string())?;
        let (head, answer) = read(&mut stream)?;
        let expected = if post { words.as_str() } else { "page" };
        if !head.starts_with("HTTP/1.1 200") || answer.trim_end() != expected {
            return Err(format!(
                "{head}\n{}",
                answer.chars().take(300).collect::<String>()
            ));
        }
        let ends = head.to_ascii_lowercase().contains("connection: close");
        self.open = (self.kept && !ends).then_some(stream);
        Ok(())
    }
}

/// Reads one answer: its head, and its body by length or in chunks (RFC 9112, section 6).
fn read(stream: &mut BufReader<TcpStream>) -> Result<(String, String), String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).map_err(|e| e.to_string())? == 0 {
            return Err(format!("the connection ended after: {head:?}"));
        }
    }
    let lower = head.to_ascii_lowercase();
    let mut body = Vec::new();
    let mut take = |stream: &mut BufReader<TcpStream>, length: u64| {
        let read = stream
            .by_ref()
            .take(length)
            .read_to_end(&mut body)
            .map_err(|e| e.to_string())?;
        if read as u64 == length {
            Ok(())
        } else {
            Err("the body ended early".to_owned())
        }
    };
    if lower.contains("transfer-encoding: chunked") {
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).map_err(|e| e.to_string())?;
            let length =
                u64::from_str_radix(line.trim(), 16).map_err(|_| format!("no chunk: {line:?}"))?;
            take(stream, length)?;
            stream
                .read_line(&mut String::new())
                .map_err(|e| e.to_string())?;
            if length == 0 {
                break;
            }
        }
    } else {
        let length = lower
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length = length.and_then(|text| text.trim().parse().ok());
        take(
            stream,
            length.ok_or_else(|| format!("an answer without length: {head}"))?,
        )?;
    }
    Ok((head, String::from_utf8_lossy(&body).into_owned()))
}

/// A service whose program answers GET with a page and gives a POST's body back, slowly enough that some are always under way.
const SERVICE: &str = "  web:
    image: trial:latest
    command: [/bin/busybox, sh, -c, 'mkdir -p /tmp/cgi-bin; echo page > /tmp/index.html; printf \"#!/bin/sh\\nbusybox usleep 20000; echo; cat\\n\" > /tmp/cgi-bin/echo; busybox chmod 755 /tmp/cgi-bin/echo; exec busybox httpd -f -p 8000 -h /tmp']
    expose: ['8000']
    stop_signal: SIGKILL
    healthcheck: {test: [CMD, /bin/wget, -q, -O, /dev/null, 'http://127.0.0.1:8000/'], interval: 200ms, start_period: 10s, start_interval: 100ms}
";

/// Six visitors who ask without a pause, four of them by kept connections, every second one by POST.
struct Visitors {
    stop: Arc<AtomicBool>,
    each: Vec<std::thread::JoinHandle<(u64, Vec<String>)>>,
}

impl Visitors {
    fn come(port: u16) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let ask = |number: u32| {
            let stop = stop.clone();
            std::thread::spawn(move || {
                let mut client = Client {
                    port,
                    host: "web.busy.localhost",
                    kept: !number.is_multiple_of(3),
                    open: None,
                };
                let (mut count, mut failed) = (0_u64, Vec::new());
                while !stop.load(Ordering::SeqCst) {
                    count += 1;
                    if let Err(why) = client.ask(number.is_multiple_of(2), count) {
                        failed.push(format!("request {count} of client {number}: {why}"));
                    }
                }
                (count, failed)
            })
        };
        Self {
            each: (0..6).map(ask).collect(),
            stop,
        }
    }

    /// Sends them home; every one must have been served `least` times, and never badly.
    fn leave(self, least: u64) {
        self.stop.store(true, Ordering::SeqCst);
        let ended = self.each.into_iter().map(|client| client.join().unwrap());
        let ended: Vec<(u64, Vec<String>)> = ended.collect();
        let failed: Vec<&String> = ended.iter().flat_map(|(_, failed)| failed).collect();
        assert!(
            failed.is_empty(),
            "{} failed, as: {:?}",
            failed.len(),
            failed.first()
        );
        for (count, _) in &ended {
            assert!(*count >= least, "a client was served {count} times only");
        }
    }
}

fn served_at(port: u16) -> Bed {
    Bed::configured(
        program(),
        &format!("  spares: 0\ningress:\n  listen: ['127.0.0.1:{port}']\n  listen_tls: []\n"),
    )
    .unwrap()
}

#[test]
fn root_no_request_fails_while_routes_and_replicas_change_not_even_a_post() {
    let port = free_port();
    let bed = served_at(port);
    let api = bed.api();
    let routes = |more: &str| {
        let text = format!("{SERVICE}x-daas:\n  routes:\n    - {{service: web}}\n{more}");
        bed.project(&text)
    };
    api.up("busy", &routes(""), 0).unwrap();
    let visitors = Visitors::come(port);
    let scale = |n: u32| {
        let asked = json!({"services": {"web": n}});
        let accepted = api.post("/stands/busy/scale", &asked).unwrap();
        api.wait_all(&accepted).unwrap();
    };
    for round in 0..2 {
        scale(3);
        // Routes come and go, rules change, another stand appears beside it.
        api.up(
            "busy",
            &routes("    - {service: web, host: other, response_headers: {X-Round: 'yes'}}\n"),
            0,
        )
        .unwrap();
        scale(2);
        api.up(&format!("guest-{round}"), &routes(""), 0).unwrap();
        scale(1);
        api.up(
            "busy",
            &routes("    - {service: web, host: '@', path: /deep, strip_prefix: true}\n"),
            0,
        )
        .unwrap();
        api.down(&format!("guest-{round}")).unwrap();
    }
    visitors.leave(20);
    api.down("busy").unwrap();
    bed.nothing_is_left().unwrap();
}

#[test]
fn root_no_request_fails_while_the_only_node_is_replaced_not_even_a_post() {
    let port = free_port();
    let bed = served_at(port);
    let api = bed.api();
    let version = |number: u32| {
        let text = format!("{SERVICE}    environment: {{VERSION: '{number}'}}\n");
        bed.project(&text)
    };
    api.up("busy", &version(0), 0).unwrap();
    let visitors = Visitors::come(port);
    for round in 1..4 {
        api.up("busy", &version(round), 0).unwrap();
        let accepted = api.post("/stands/busy/restart", &json!({})).unwrap();
        api.wait_all(&accepted).unwrap();
    }
    visitors.leave(3);
    api.down("busy").unwrap();
    bed.nothing_is_left().unwrap();
}
