//! One question to one resolver, for those who dial in another's network; sending it is theirs.

use crate::kind::RrType;
use crate::name::Name;
use crate::wire::{Reader, Writer};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The octets of a message's head (RFC 1035, section 4.1.1).
const HEAD: usize = 12;
/// Wants recursion.
const RECURSION: u16 = 0x0100;
/// This is an answer, and its code.
const ANSWER: u16 = 0x8000;
const CODE: u16 = 0x000f;
const INTERNET: u16 = 1;

/// Returns the question for the addresses of `name`: of IPv6, or of IPv4.
#[must_use]
pub fn question(id: u16, name: &Name, v6: bool) -> Vec<u8> {
    let mut message = Writer::new();
    for word in [id, RECURSION, 1, 0, 0, 0] {
        message.u16(word);
    }
    message.name(name.wire());
    message.u16(kind(v6));
    message.u16(INTERNET);
    message.octets().to_vec()
}

fn kind(v6: bool) -> u16 {
    if v6 { RrType::AAAA.0 } else { RrType::A.0 }
}

/// Reads the addresses of an answer to question `id`; nothing if it is none, an empty list if there are none.
#[must_use]
pub fn addresses(answer: &[u8], id: u16) -> Option<Vec<IpAddr>> {
    let mut head = Reader::at(answer, 0);
    let (of, flags) = (head.u16().ok()?, head.u16().ok()?);
    let (questions, answers) = (head.u16().ok()?, head.u16().ok()?);
    if of != id || flags & ANSWER == 0 {
        return None;
    }
    if flags & CODE != 0 {
        return Some(Vec::new());
    }
    let mut from = Reader::at(answer, HEAD);
    for _ in 0..questions {
        from.skip_name().ok()?;
        from.octets(4).ok()?;
    }
    let mut all = Vec::new();
    for _ in 0..answers {
        from.skip_name().ok()?;
        let (kind, _class, _ttl) = (from.u16().ok()?, from.u16().ok()?, from.u32().ok()?);
        let length = from.u16().ok()?;
        let data = from.octets(length.into()).ok()?;
        if kind == RrType::A.0 {
            all.extend(<[u8; 4]>::try_from(data).map(|v4| IpAddr::from(Ipv4Addr::from(v4))));
        } else if kind == RrType::AAAA.0 {
            all.extend(<[u8; 16]>::try_from(data).map(|v6| IpAddr::from(Ipv6Addr::from(v6))));
        }
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_question_is_asked_and_its_answer_read() {
        let asked = question(7, &Name::parse("db").unwrap(), false);
        assert_eq!(asked, b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x02db\0\0\x01\0\x01");
        let mut answer = asked.clone();
        answer[2] = 0x81;
        answer[7] = 2;
        // An alias first, then the address by a pointer to the question.
        answer.extend(b"\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x02\xc0\x0c");
        answer.extend(b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\x0a\x01\x02\x03");
        assert_eq!(
            addresses(&answer, 7),
            Some(vec!["10.1.2.3".parse().unwrap()])
        );
        assert_eq!(addresses(&answer, 8), None);
        assert_eq!(addresses(&asked, 7), None);
        answer[3] = 3;
        assert_eq!(addresses(&answer, 7), Some(Vec::new()));
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(mut answer: Vec<u8>) {
            if answer.len() > 3 {
                answer[..4].copy_from_slice(&[0, 7, 0x81, 0]);
            }
            let _ = addresses(&answer, 7);
        }
    }
}
