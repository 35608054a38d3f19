//! One question to other resolvers: over UDP from a port of its own, with a number and letters that nobody can guess, over TCP where that is not enough.

use crate::data;
use crate::journal::Row;
use crate::kind::{Rcode, RrType};
use crate::name::Name;
use crate::request::{HEADER, Header, flag};
use crate::wire::{CLASS_IN, Malformed, Reader};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

/// How long one resolver may take before the next one is asked.
const PATIENCE: Duration = Duration::from_millis(1500);
/// How long a whole answer over TCP may take.
const TCP_PATIENCE: Duration = Duration::from_secs(4);
/// How often all resolvers are gone through.
const ROUNDS: usize = 2;
/// Octets of an answer over UDP that is wanted.
const SIZE: u16 = 1232;

/// What is asked.
#[derive(Debug)]
pub(crate) struct Question<'a> {
    pub(crate) name: &'a Name,
    pub(crate) kind: RrType,
    pub(crate) dnssec: bool,
    pub(crate) checking_disabled: bool,
}

/// What came.
#[derive(Debug, Clone)]
pub(crate) struct Foreign {
    pub(crate) rcode: Rcode,
    pub(crate) answers: Vec<Row>,
    pub(crate) authority: Vec<Row>,
}

impl Default for Foreign {
    fn default() -> Self {
        Self {
            rcode: Rcode::NO_ERROR,
            answers: Vec::new(),
            authority: Vec::new(),
        }
    }
}

impl Foreign {
    /// Makes the answer of nobody.
    pub(crate) fn failed() -> Self {
        Self {
            rcode: Rcode::SERV_FAIL,
            ..Self::default()
        }
    }
}

/// What an answer over UDP is good for.
enum Heard {
    Answer(Foreign),
    /// It was cut, or its letters are not those that were sent: TCP tells the truth.
    AskAgain,
}

/// Asks the resolvers, the first one first; nothing if none answers.
pub(crate) async fn ask(upstreams: &[SocketAddr], question: &Question<'_>) -> Option<Foreign> {
    for round in 0..ROUNDS {
        for upstream in upstreams {
            let asked = tokio::time::timeout(
                PATIENCE * (u32::try_from(round).unwrap_or(0) + 1),
                over_udp(*upstream, question),
            )
            .await;
            let answer = match asked {
                Ok(Ok(Heard::Answer(answer))) => answer,
                Ok(Ok(Heard::AskAgain)) => {
                    let asked =
                        tokio::time::timeout(TCP_PATIENCE, over_tcp(*upstream, question)).await;
                    match asked {
                        Ok(Ok(answer)) => answer,
                        Ok(Err(_)) | Err(_) => continue,
                    }
                }
                Ok(Err(_)) | Err(_) => continue,
            };
            // One that cannot is no reason not to ask the next.
            if answer.rcode == Rcode::NO_ERROR || answer.rcode == Rcode::NX_DOMAIN {
                return Some(answer);
            }
        }
    }
    None
}

/// Makes the message: a fresh number, the letters of the name in a random case.
fn message(question: &Question<'_>) -> Vec<u8> {
    let mut random = [0u8; 2 + 32];
    crate::random::fill(&mut random);
    let mut message = random[..2].to_vec();
    let mut flags = flag::RD;
    if question.checking_disabled {
        flags |= flag::CD;
    }
    message.extend_from_slice(&flags.to_be_bytes());
    message.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, 1]);
    let begin = message.len();
    message.extend_from_slice(question.name.wire());
    // Octets of lengths are below 64, so only letters are touched.
    for (at, octet) in message[begin..].iter_mut().enumerate() {
        let bit = random[2 + at / 8] >> (at % 8) & 1;
        if bit == 1 && octet.is_ascii_lowercase() {
            octet.make_ascii_uppercase();
        }
    }
    message.extend_from_slice(&question.kind.0.to_be_bytes());
    message.extend_from_slice(&CLASS_IN.to_be_bytes());
    message.extend_from_slice(&[0, 0, 41]);
    message.extend_from_slice(&SIZE.to_be_bytes());
    message.extend_from_slice(&[0, 0, if question.dnssec { 0x80 } else { 0 }, 0, 0, 0]);
    message
}

async fn over_udp(upstream: SocketAddr, question: &Question<'_>) -> io::Result<Heard> {
    let any: SocketAddr = if upstream.is_ipv4() {
        ([0, 0, 0, 0], 0).into()
    } else {
        ([0u16; 8], 0).into()
    };
    let socket = UdpSocket::bind(any).await?;
    // The kernel drops what comes from elsewhere.
    socket.connect(upstream).await?;
    let sent = message(question);
    socket.send(&sent).await?;
    let mut answer = vec![0; 4096];
    loop {
        let length = socket.recv(&mut answer).await?;
        let Some(header) = Header::read(&answer[..length]) else {
            continue;
        };
        if !header.is_response() || header.id.to_be_bytes() != sent[..2] {
            continue;
        }
        let end = HEADER + question.name.wire().len() + 4;
        let same = answer.get(HEADER..end.min(length)).unwrap_or_default();
        if header.flags & flag::TC != 0 || *same != sent[HEADER..end] {
            return Ok(Heard::AskAgain);
        }
        return match read(&answer[..length], question) {
            Ok(answer) => Ok(Heard::Answer(answer)),
            Err(_) => Ok(Heard::AskAgain),
        };
    }
}

async fn over_tcp(upstream: SocketAddr, question: &Question<'_>) -> io::Result<Foreign> {
    let mut stream = TcpStream::connect(upstream).await?;
    let sent = message(question);
    let mut framed = Vec::with_capacity(sent.len() + 2);
    crate::listen::frame(&sent, &mut framed);
    stream.write_all(&framed).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    let malformed = |_| io::Error::from(io::ErrorKind::InvalidData);
    let header = Header::read(&answer).ok_or(io::ErrorKind::InvalidData)?;
    if !header.is_response() || header.id.to_be_bytes() != sent[..2] {
        return Err(io::ErrorKind::InvalidData.into());
    }
    read(&answer, question).map_err(malformed)
}

/// Reads an answer whole; the additional section is not listened to.
fn read(message: &[u8], question: &Question<'_>) -> Result<Foreign, Malformed> {
    let header = Header::read(message).ok_or(Malformed("no header"))?;
    let mut reader = Reader::at(message, HEADER);
    if header.counts[0] != 1 || reader.name()? != *question.name {
        return Err(Malformed("another question"));
    }
    if reader.u16()? != question.kind.0 || reader.u16()? != CLASS_IN {
        return Err(Malformed("another question"));
    }
    let mut section = |count| -> Result<Vec<Row>, Malformed> {
        let mut rows = Vec::new();
        for _ in 0..count {
            rows.extend(read_row(&mut reader)?);
        }
        Ok(rows)
    };
    Ok(Foreign {
        rcode: Rcode(header.rcode()),
        answers: section(header.counts[1])?,
        authority: section(header.counts[2])?,
    })
}

fn read_row(reader: &mut Reader<'_>) -> Result<Option<Row>, Malformed> {
    let name = reader.name()?;
    let kind = RrType(reader.u16()?);
    let class = reader.u16()?;
    let ttl = reader.u32()?;
    let length = usize::from(reader.u16()?);
    let data = data::from_message(kind, reader, length)?;
    // More than 31 bits are none (RFC 2181 section 8).
    let ttl = if ttl > i32::MAX.unsigned_abs() {
        0
    } else {
        ttl
    };
    let wanted = class == CLASS_IN && !kind.is_meta();
    Ok(wanted.then_some(Row {
        name,
        kind,
        ttl,
        data,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_octets_are_read_without_a_panic(octets in proptest::collection::vec(any::<u8>(), 0..400)) {
            let name = Name::parse("a.b").unwrap();
            let question = Question { name: &name, kind: RrType::A, dnssec: false, checking_disabled: false };
            let mut message = message(&question);
            message[2] = 0x80;
            message[7] = 200;
            message[11] = 0;
            message.truncate(HEADER + name.wire().len() + 4);
            message.extend_from_slice(&octets);
            let _ = read(&message, &question);
            let _ = read(&octets, &question);
        }
    }
}
