//! Foreign names: for those that are served, once for many askers, without private addresses, and from nobody's false answers.

use crate::place::{Place, SOON, question, zone_of};
use daas_dns::{ForwardSettings, Name, Settings};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How a resolver behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Honest,
    /// Cuts over UDP.
    Cuts,
    /// Writes names in lower case.
    LowerCase,
    /// Sends three false answers before the right one.
    Forged,
    /// Fails.
    Fails,
}

/// A resolver on loopback that knows some names, and counts.
struct Upstream {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

/// The address that a name has; nothing if it has none.
fn known(name: &str) -> Option<[u8; 4]> {
    match name {
        "www.example.org." => Some([203, 0, 113, 7]),
        "rebind.example.org." => Some([192, 168, 1, 1]),
        "intra.corp.example." => Some([10, 0, 0, 1]),
        _ => None,
    }
}

/// Makes the answer to a question.
fn answer(message: &[u8], manner: Manner) -> Vec<u8> {
    let mut end = 12;
    let mut name = String::new();
    while message[end] != 0 {
        let length = usize::from(message[end]);
        name += &String::from_utf8_lossy(&message[end + 1..end + 1 + length]).to_ascii_lowercase();
        name.push('.');
        end += 1 + length;
    }
    end += 5;
    let mut reply = message[..end].to_vec();
    reply[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0]);
    if manner == Manner::LowerCase {
        reply[12..end - 4].make_ascii_lowercase();
    }
    if manner == Manner::Fails {
        reply[3] |= 2;
        return reply;
    }
    let is_a = message[end - 4..end] == [0, 1, 0, 1];
    match known(&name) {
        Some(address) if is_a => {
            reply[7] = 1;
            reply.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 100, 0, 4]);
            reply.extend_from_slice(&address);
        }
        _ => {
            reply[3] |= 3;
            reply[9] = 1;
            // The SOA record of the root of all that is not there: 60 s.
            reply.extend_from_slice(&[0, 0, 6, 0, 1, 0, 0, 0, 60, 0, 22, 0, 0]);
            for number in [1u32, 2, 3, 4, 60] {
                reply.extend_from_slice(&number.to_be_bytes());
            }
        }
    }
    reply
}

impl Upstream {
    fn start(manner: Manner) -> Self {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        let udp = UdpSocket::bind(address).unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = asked.clone();
        std::thread::spawn(move || {
            let mut message = [0; 1500];
            while let Ok((length, from)) = udp.recv_from(&mut message) {
                counted.fetch_add(1, Ordering::SeqCst);
                // Others come while this one takes its time.
                std::thread::sleep(Duration::from_millis(50));
                let mut reply = answer(&message[..length], manner);
                if manner == Manner::Forged {
                    let mut wrong = reply.clone();
                    wrong[0] ^= 0xff;
                    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
                    let last = reply.len() - 1;
                    reply[last] = 66;
                    let _ = stranger.send_to(&reply, from);
                    reply[last] = 7;
                    let _ = udp.send_to(&wrong, from);
                    let _ = udp.send_to(&wrong[..5], from);
                }
                if manner == Manner::Cuts {
                    reply[2] |= 2;
                    reply[7] = 0;
                    reply.truncate(length - 11);
                }
                let _ = udp.send_to(&reply, from);
            }
        });
        std::thread::spawn(move || {
            for stream in tcp.incoming() {
                let mut stream = stream.unwrap();
                let mut length = [0; 2];
                if stream.read_exact(&mut length).is_err() {
                    continue;
                }
                let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
                stream.read_exact(&mut message).unwrap();
                let reply = answer(&message, manner);
                let framed = [
                    &u16::try_from(reply.len()).unwrap().to_be_bytes()[..],
                    &reply,
                ]
                .concat();
                let _ = stream.write_all(&framed);
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn place(upstreams: &[&Upstream]) -> Place {
    Place::with(Settings {
        zones: vec![zone_of("example.test", &["www A 192.0.2.1"])],
        forward: Some(ForwardSettings {
            upstreams: upstreams.iter().map(|upstream| upstream.address).collect(),
            private: vec![Name::parse("corp.example").unwrap()],
        }),
        ..Settings::default()
    })
}

#[test]
fn foreign_names_are_asked_for_once_and_remembered() {
    let upstream = Upstream::start(Manner::Honest);
    let place = place(&[&upstream]);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(place.short(&["www.example.org", "A"]), ["203.0.113.7"]));
        }
    });
    assert_eq!(
        upstream.asked(),
        1,
        "askers of one name wait for one answer"
    );
    let again = place.dig(&["WWW.example.org", "A"]);
    assert!(
        again.contains("flags: qr rd ra;") && again.contains("203.0.113.7"),
        "{again}"
    );
    for _ in 0..3 {
        assert!(
            place
                .dig(&["nowhere.example.org", "A"])
                .contains("status: NXDOMAIN")
        );
    }
    assert_eq!(upstream.asked(), 2);
    // Our own names are nobody else's business, and neither are those of this machine.
    assert_eq!(place.short(&["www.example.test", "A"]), ["192.0.2.1"]);
    assert_eq!(place.short(&["shop.localhost", "A"]), ["127.0.0.1"]);
    assert!(place.dig(&["x.invalid", "A"]).contains("status: NXDOMAIN"));
    assert!(
        place
            .dig(&["+norecurse", "other.example.org", "A"])
            .contains("status: REFUSED")
    );
    assert_eq!(upstream.asked(), 2);
}

#[test]
fn foreign_names_lead_to_no_private_address_unless_their_zone_may() {
    let upstream = Upstream::start(Manner::Honest);
    let place = place(&[&upstream]);
    assert!(place.short(&["rebind.example.org", "A"]).is_empty());
    assert_eq!(place.short(&["intra.corp.example", "A"]), ["10.0.0.1"]);
}

#[test]
fn cut_answers_and_changed_letters_are_asked_again_over_tcp() {
    for manner in [Manner::Cuts, Manner::LowerCase] {
        let upstream = Upstream::start(manner);
        let place = place(&[&upstream]);
        assert_eq!(
            place.short(&["www.example.org", "A"]),
            ["203.0.113.7"],
            "{manner:?}"
        );
    }
}

#[test]
fn false_answers_are_not_believed() {
    let upstream = Upstream::start(Manner::Forged);
    let place = place(&[&upstream]);
    assert_eq!(place.short(&["www.example.org", "A"]), ["203.0.113.7"]);
}

#[test]
fn a_resolver_that_fails_is_passed_over_and_without_any_the_answer_says_so() {
    let (bad, good) = (
        Upstream::start(Manner::Fails),
        Upstream::start(Manner::Honest),
    );
    let both = place(&[&bad, &good]);
    assert_eq!(both.short(&["www.example.org", "A"]), ["203.0.113.7"]);
    let alone = place(&[&bad]);
    assert!(
        alone
            .dig(&["www.example.org", "A"])
            .contains("status: SERVFAIL")
    );
}

#[test]
fn strangers_are_refused() {
    // An address of this machine that is not loopback is a stranger to a server that serves loopback only.
    let upstream = Upstream::start(Manner::Honest);
    let place = place(&[&upstream]);
    let Some(own) = own_address() else {
        panic!("this machine has no address but loopback: `ip link add` a dummy one");
    };
    let socket = UdpSocket::bind((own, 0)).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket
        .send_to(&question("www.example.org", 1, 7), place.address)
        .unwrap();
    let mut answer = [0; 512];
    socket.recv_from(&mut answer).unwrap();
    assert_eq!(answer[3] & 0xf, 5);
    assert_eq!(upstream.asked(), 0);
}

/// Returns an address of this machine that is not loopback.
fn own_address() -> Option<std::net::IpAddr> {
    let text = crate::place::run("ip", &["-4", "-o", "address", "show", "scope", "global"]);
    let word = text
        .split_whitespace()
        .skip_while(|word| *word != "inet")
        .nth(1)?;
    word.split('/').next()?.parse().ok()
}
