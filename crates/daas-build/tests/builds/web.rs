//! A web server of a test: what it answers is a function of what it is asked.
#![allow(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What was asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Question {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    /// By names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

/// What is answered.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// The length that is told, if it is not the body's.
    pub(crate) told: Option<usize>,
}

impl Reply {
    pub(crate) fn file(body: impl Into<Vec<u8>>, headers: &[(&str, &str)]) -> Self {
        Self {
            status: 200,
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            body: body.into(),
            told: None,
        }
    }

    pub(crate) fn to(location: &str) -> Self {
        Self {
            status: 302,
            ..Self::file("", &[("Location", location)])
        }
    }

    pub(crate) fn status(status: u16) -> Self {
        Self {
            status,
            ..Self::default()
        }
    }
}

type Answering = dyn Fn(&Question) -> Reply + Send + Sync;

pub(crate) struct Web {
    scheme: &'static str,
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Question>>>,
}

impl Web {
    /// Serves at a free port of 127.0.0.2: the variables of proxies leave out 127.0.0.1 alone. Ends with the test's process.
    pub(crate) fn serve(answer: impl Fn(&Question) -> Reply + Send + Sync + 'static) -> Self {
        Self::serve_at("127.0.0.2", answer)
    }

    /// Serves at a free port of another address.
    pub(crate) fn serve_at(
        ip: &str,
        answer: impl Fn(&Question) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::listen(ip, "http", answer, |stream, answer, told| {
            converse(stream, answer, told);
        })
    }

    /// Serves over TLS.
    pub(crate) fn serve_tls(
        config: Arc<ServerConfig>,
        answer: impl Fn(&Question) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::listen("127.0.0.2", "https", answer, move |stream, answer, told| {
            let Ok(session) = ServerConnection::new(config.clone()) else {
                return;
            };
            converse(StreamOwned::new(session, stream), answer, told);
        })
    }

    fn listen(
        ip: &str,
        scheme: &'static str,
        answer: impl Fn(&Question) -> Reply + Send + Sync + 'static,
        hear: impl Fn(TcpStream, &Answering, &Mutex<Vec<Question>>) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((ip, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<Question>>> = Arc::default();
        let (answer, told): (Arc<Answering>, _) = (Arc::new(answer), asked.clone());
        let hear = Arc::new(hear);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (answer, told, hear) = (answer.clone(), told.clone(), hear.clone());
                std::thread::spawn(move || hear(stream, &*answer, &told));
            }
        });
        Self {
            scheme,
            address,
            asked,
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    /// The address and port that it listens at.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What was asked for since the last time that somebody wanted to know.
    pub(crate) fn asked(&self) -> Vec<Question> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

/// One question for each connection.
fn converse(
    stream: impl Read + Write,
    answer: &Answering,
    told: &Mutex<Vec<Question>>,
) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let mut question = Question {
        method: words.next()?.to_owned(),
        target: words.next()?.to_owned(),
        ..Question::default()
    };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        let value = value.trim().to_owned();
        question.headers.insert(name.to_ascii_lowercase(), value);
    }
    let length = question.headers.get("content-length");
    if let Some(length) = length.and_then(|text| text.parse().ok()) {
        question.body = vec![0; length];
        reader.read_exact(&mut question.body).ok()?;
    } else if question.headers.contains_key("transfer-encoding") {
        question.body = chunks(&mut reader)?;
    }
    let reply = answer(&question);
    told.lock().unwrap().push(question);
    let stream = reader.get_mut();
    let length = reply.told.unwrap_or(reply.body.len());
    let mut head = format!(
        "HTTP/1.1 {} Said\r\nContent-Length: {length}\r\nConnection: close\r\n",
        reply.status
    );
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).ok()?;
    stream.write_all(&reply.body).ok()?;
    stream.flush().ok()
}

/// Reads a body that comes in chunks (RFC 9112, section 7.1).
fn chunks(reader: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let length = usize::from_str_radix(line.trim(), 16).ok()?;
        let mut chunk = vec![0; length + 2];
        reader.read_exact(&mut chunk).ok()?;
        if length == 0 {
            return Some(body);
        }
        body.extend_from_slice(&chunk[..length]);
    }
}
