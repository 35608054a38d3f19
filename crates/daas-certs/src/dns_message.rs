//! The few messages of the DNS that challenges need: a question for a CNAME, and updates with TSIG (RFC 1035, RFC 2136, RFC 8945).

use crate::name::CertName;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::UdpSocket;

const CNAME: u16 = 5;
const IN: u16 = 1;
const ANSWER: Duration = Duration::from_secs(3);

/// Follows CNAMEs by asking a resolver.
#[derive(Debug, Clone, Default)]
pub(crate) struct Aliases {
    /// Whom to ask; nobody means that nothing has an alias.
    pub(crate) resolver: Option<SocketAddr>,
}

impl Aliases {
    /// Returns what `name` is an alias of; nothing if it is none or nobody answers.
    pub(crate) async fn of(&self, name: &CertName) -> Option<CertName> {
        let server = self.resolver?;
        for _ in 0..2 {
            let answered = tokio::time::timeout(ANSWER, ask(server, name)).await;
            if let Ok(Ok(answer)) = answered {
                return alias(&answer, name);
            }
        }
        None
    }
}

async fn ask(server: SocketAddr, name: &CertName) -> std::io::Result<Vec<u8>> {
    let any: SocketAddr = if server.is_ipv4() {
        ([0, 0, 0, 0], 0).into()
    } else {
        ([0_u16; 8], 0).into()
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    let id = crate::seal::random::<2>();
    let mut question = id.to_vec();
    // Recursion desired, one question.
    question.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    put_name(&mut question, name.as_str());
    question.extend(CNAME.to_be_bytes());
    question.extend(IN.to_be_bytes());
    socket.send(&question).await?;
    let mut answer = vec![0; 4096];
    loop {
        let read = socket.recv(&mut answer).await?;
        if read >= 12 && answer[..2] == id {
            answer.truncate(read);
            return Ok(answer);
        }
    }
}

pub(crate) fn put_name(out: &mut Vec<u8>, name: &str) {
    for label in name.split('.').filter(|label| !label.is_empty()) {
        // A CertName has labels of at most 63 bytes.
        out.push(u8::try_from(label.len()).unwrap_or(63));
        out.extend(label.bytes().take(63));
    }
    out.push(0);
}

/// Reads a name; returns it and where the message goes on behind it.
fn name_at(message: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut name = String::new();
    let mut behind = None;
    // A name has at most 127 labels, and no more jumps than that.
    for _ in 0..127 {
        let length = usize::from(*message.get(at)?);
        match length {
            0 => return Some((name, behind.unwrap_or(at + 1))),
            1..=63 => {
                let label = str::from_utf8(message.get(at + 1..at + 1 + length)?).ok()?;
                if !name.is_empty() {
                    name.push('.');
                }
                name.push_str(label);
                at += 1 + length;
            }
            192.. => {
                behind = behind.or(Some(at + 2));
                at = (length & 63) << 8 | usize::from(*message.get(at + 1)?);
            }
            _ => return None,
        }
    }
    None
}

/// Returns what the answer says `asked` is an alias of.
fn alias(message: &[u8], asked: &CertName) -> Option<CertName> {
    let number = |at: usize| {
        Some(u16::from_be_bytes(
            message.get(at..at + 2)?.try_into().ok()?,
        ))
    };
    let (questions, answers) = (number(4)?, number(6)?);
    let mut at = 12;
    for _ in 0..questions {
        at = name_at(message, at)?.1 + 4;
    }
    for _ in 0..answers {
        let (owner, next) = name_at(message, at)?;
        let (kind, length) = (number(next)?, usize::from(number(next + 8)?));
        if kind == CNAME && owner.eq_ignore_ascii_case(asked.as_str()) {
            return CertName::parse(&name_at(message, next + 10)?.0).ok();
        }
        at = next + 10 + length;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_is_read_and_damaged_answers_are_not() {
        let asked = CertName::parse("_acme-challenge.shop.example.com").unwrap();
        let mut message = vec![7, 7, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0];
        put_name(&mut message, asked.as_str());
        message.extend([0, 5, 0, 1]);
        message.extend([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 60]);
        let mut target = Vec::new();
        put_name(&mut target, "shop.acme.dev.example.net");
        message.extend(u16::try_from(target.len()).unwrap().to_be_bytes());
        message.extend(&target);
        assert_eq!(
            alias(&message, &asked).unwrap().as_str(),
            "shop.acme.dev.example.net"
        );
        for cut in 0..message.len() {
            assert_eq!(alias(&message[..cut], &asked), None);
        }
        // A name that points to itself ends.
        let looped = [
            7, 7, 0x81, 0x80, 0, 0, 0, 1, 0, 0, 0, 0, 0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 60, 0, 2,
            0xc0, 12,
        ];
        assert_eq!(alias(&looped, &asked), None);
    }
}
