//! The sockets at which nodes ask for names.

use super::{Alarm, Eyes, Keeper, Source};
use crate::dns::{self, Asking, Reply, Side, Zone};
use crate::launch::{DnsTable, NodeLaunch};
use daas_model::NodeName;
use daas_sys::netns;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// Which socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Socket {
    Udp(NodeName),
    Tcp(NodeName),
    Conn(u64),
    Upstream(u64),
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Names {
    zone: Zone,
    doors: BTreeMap<NodeName, Door>,
    conns: BTreeMap<u64, Conn>,
    forwards: BTreeMap<u64, Forwarded>,
    next: u64,
}

/// Where one node asks.
#[derive(Debug)]
struct Door {
    udp: UdpSocket,
    udp_token: u64,
    tcp: TcpListener,
    tcp_token: u64,
}

#[derive(Debug)]
struct Conn {
    node: NodeName,
    stream: TcpStream,
    token: u64,
    bytes: Vec<u8>,
}

/// A question that somebody outside was asked.
#[derive(Debug)]
struct Forwarded {
    socket: UdpSocket,
    token: u64,
    side: Side,
    question: Vec<u8>,
    asker: Asker,
    left: Vec<SocketAddr>,
}

#[derive(Debug, Clone)]
enum Asker {
    Udp(NodeName, SocketAddr),
    Tcp(u64),
}

/// How many foreign questions may be open; a flood of them is dropped, and resolvers ask again.
const MOST_FORWARDS: usize = 256;
/// How many TCP connections one stand may hold to its resolver.
const MOST_CONNS: usize = 64;
/// How long an upstream may take.
const UPSTREAM: Duration = Duration::from_secs(2);
/// How many questions of one socket are answered per turn of the loop.
const PER_TURN: usize = 32;

impl Names {
    pub(super) fn set_table(&mut self, table: &DnsTable) {
        self.zone.set_table(table);
    }

    /// The node listens no more to anybody else's answers: these are its sockets, UDP and TCP.
    pub(super) fn serve(&mut self, eyes: &mut Eyes, name: &NodeName, fds: Vec<OwnedFd>) {
        let Ok([udp, tcp]) = <[OwnedFd; 2]>::try_from(fds) else {
            return;
        };
        let (udp, tcp) = (UdpSocket::from(udp), TcpListener::from(tcp));
        if udp.set_nonblocking(true).is_err() || tcp.set_nonblocking(true).is_err() {
            return;
        }
        let udp_token = eyes.watch(&udp, Source::Name(Socket::Udp(name.clone())));
        let tcp_token = eyes.watch(&tcp, Source::Name(Socket::Tcp(name.clone())));
        self.doors.insert(
            name.clone(),
            Door {
                udp,
                udp_token,
                tcp,
                tcp_token,
            },
        );
    }

    pub(super) fn add(&mut self, name: &NodeName, launch: &NodeLaunch) {
        self.zone.add(name, launch);
    }

    pub(super) fn remove(&mut self, eyes: &mut Eyes, name: &NodeName) {
        self.zone.remove(name);
        if let Some(door) = self.doors.remove(name) {
            eyes.leave(&door.udp, door.udp_token);
            eyes.leave(&door.tcp, door.tcp_token);
        }
        let theirs: Vec<u64> = self
            .conns
            .iter()
            .filter(|(_, c)| c.node == *name)
            .map(|(id, _)| *id)
            .collect();
        for id in theirs {
            self.drop_conn(eyes, id);
        }
    }

    fn drop_conn(&mut self, eyes: &mut Eyes, id: u64) {
        if let Some(conn) = self.conns.remove(&id) {
            eyes.leave(&conn.stream, conn.token);
        }
    }

    fn send(&mut self, eyes: &mut Eyes, asker: &Asker, answer: &[u8]) {
        match asker {
            Asker::Udp(node, address) => {
                if let Some(door) = self.doors.get(node) {
                    let _ = door.udp.send_to(answer, address);
                }
            }
            Asker::Tcp(id) => {
                let Some(conn) = self.conns.get_mut(id) else {
                    return;
                };
                let length = u16::try_from(answer.len()).unwrap_or(0).to_be_bytes();
                // Answers are small; who does not read them so that they do not fit is let go.
                if conn.stream.write_all(&[&length, answer].concat()).is_err() {
                    self.drop_conn(eyes, *id);
                }
            }
        }
    }
}

impl Keeper {
    pub(super) fn name_ready(&mut self, socket: &Socket) {
        match socket {
            Socket::Udp(node) => self.udp_questions(node),
            Socket::Tcp(node) => self.accept_questions(node),
            Socket::Conn(id) => self.tcp_questions(*id),
            Socket::Upstream(id) => self.upstream_answered(*id),
        }
    }

    fn udp_questions(&mut self, node: &NodeName) {
        let asking = self.asking(node);
        for _ in 0..PER_TURN {
            let Some(door) = self.names.doors.get(node) else {
                return;
            };
            let mut buffer = [0; 1500];
            let Ok((got, from)) = door.udp.recv_from(&mut buffer) else {
                return;
            };
            let question = buffer.get(..got).unwrap_or_default();
            match self.names.zone.reply(&asking, question, true) {
                Reply::Answer(answer) => {
                    self.names
                        .send(&mut self.eyes, &Asker::Udp(node.clone(), from), &answer);
                }
                Reply::Forward(side, upstreams) => {
                    let asker = Asker::Udp(node.clone(), from);
                    self.forward(side, question.to_vec(), asker, upstreams);
                }
                Reply::Nothing => {}
            }
        }
    }

    /// A node that is being launched is asked for by its own networks too.
    fn asking(&self, node: &NodeName) -> Asking {
        let Some(launch) = self.nodes.get(node).map(|n| &n.launch) else {
            return Asking::default();
        };
        let networks = match &launch.network {
            crate::launch::NetworkLaunch::Interfaces(interfaces) => {
                interfaces.iter().map(|i| i.network.clone()).collect()
            }
            _ => Vec::new(),
        };
        Asking {
            networks,
            servers: launch.asks.clone(),
        }
    }

    fn accept_questions(&mut self, node: &NodeName) {
        while let Some(Ok((stream, _))) = self.names.doors.get(node).map(|d| d.tcp.accept()) {
            if self.names.conns.len() >= MOST_CONNS || stream.set_nonblocking(true).is_err() {
                continue;
            }
            self.names.next += 1;
            let id = self.names.next;
            let token = self.eyes.watch(&stream, Source::Name(Socket::Conn(id)));
            self.names.conns.insert(
                id,
                Conn {
                    node: node.clone(),
                    stream,
                    token,
                    bytes: Vec::new(),
                },
            );
            self.alarm_in(Duration::from_secs(10), Alarm::NameConn(id));
        }
    }

    pub(super) fn name_conn_over(&mut self, id: u64) {
        self.names.drop_conn(&mut self.eyes, id);
    }

    fn tcp_questions(&mut self, id: u64) {
        let Some(conn) = self.names.conns.get_mut(&id) else {
            return;
        };
        let mut buffer = [0; 4096];
        match conn.stream.read(&mut buffer) {
            Ok(0) => return self.names.drop_conn(&mut self.eyes, id),
            Ok(got) => conn
                .bytes
                .extend_from_slice(buffer.get(..got).unwrap_or_default()),
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return,
            Err(_) => return self.names.drop_conn(&mut self.eyes, id),
        }
        let node = conn.node.clone();
        let asking = self.asking(&node);
        for _ in 0..PER_TURN {
            let Some(conn) = self.names.conns.get_mut(&id) else {
                return;
            };
            let Some((head, rest)) = conn.bytes.split_first_chunk::<2>() else {
                return;
            };
            let length = usize::from(u16::from_be_bytes(*head));
            let Some(question) = rest.get(..length).map(<[u8]>::to_vec) else {
                return;
            };
            conn.bytes.drain(..2 + length);
            match self.names.zone.reply(&asking, &question, false) {
                Reply::Answer(answer) => self.names.send(&mut self.eyes, &Asker::Tcp(id), &answer),
                Reply::Forward(side, upstreams) => {
                    self.forward(side, question, Asker::Tcp(id), upstreams);
                }
                Reply::Nothing => return self.names.drop_conn(&mut self.eyes, id),
            }
        }
    }

    /// Asks the first of `upstreams`, through a socket of its own: its port is as hard to guess as its number.
    fn forward(
        &mut self,
        side: Side,
        question: Vec<u8>,
        asker: Asker,
        mut upstreams: Vec<SocketAddr>,
    ) {
        if upstreams.is_empty() || self.names.forwards.len() >= MOST_FORWARDS {
            return self.give_up_on(&question, &asker);
        }
        let upstream = upstreams.remove(0);
        let asked = match side {
            Side::Stand => ask(upstream, &question),
            Side::Host => netns::current().and_then(|here| {
                netns::visit(self.home_net.as_fd(), here.as_fd(), || {
                    ask(upstream, &question)
                })
            }),
        };
        match asked {
            Ok(socket) => {
                self.names.next += 1;
                let id = self.names.next;
                let token = self.eyes.watch(&socket, Source::Name(Socket::Upstream(id)));
                self.names.forwards.insert(
                    id,
                    Forwarded {
                        socket,
                        token,
                        side,
                        question,
                        asker,
                        left: upstreams,
                    },
                );
                self.alarm_in(UPSTREAM, Alarm::Name(id));
            }
            Err(_) => self.forward(side, question, asker, upstreams),
        }
    }

    fn give_up_on(&mut self, question: &[u8], asker: &Asker) {
        if let Some(answer) = dns::failure(question) {
            self.names.send(&mut self.eyes, asker, &answer);
        }
    }

    fn upstream_answered(&mut self, id: u64) {
        let Some(forwarded) = self.names.forwards.get(&id) else {
            return;
        };
        let mut buffer = [0; 4096];
        match forwarded.socket.recv(&mut buffer) {
            Ok(got) => {
                let answer = buffer.get(..got).unwrap_or_default();
                if !dns::belongs(&forwarded.question, answer) {
                    return;
                }
                let Some(forwarded) = self.names.forwards.remove(&id) else {
                    return;
                };
                self.eyes.leave(&forwarded.socket, forwarded.token);
                self.names.send(&mut self.eyes, &forwarded.asker, answer);
            }
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            // Refused: nobody listens there.
            Err(_) => self.name_timeout(id),
        }
    }

    pub(super) fn name_timeout(&mut self, id: u64) {
        let Some(forwarded) = self.names.forwards.remove(&id) else {
            return;
        };
        self.eyes.leave(&forwarded.socket, forwarded.token);
        let Forwarded {
            side,
            question,
            asker,
            left,
            ..
        } = forwarded;
        self.forward(side, question, asker, left);
    }
}

/// Sends a question from the network that this thread is in.
fn ask(upstream: SocketAddr, question: &[u8]) -> std::io::Result<UdpSocket> {
    let any: SocketAddr = if upstream.is_ipv4() {
        ([0, 0, 0, 0], 0).into()
    } else {
        (std::net::Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let socket = UdpSocket::bind(any)?;
    socket.set_nonblocking(true)?;
    socket.connect(upstream)?;
    socket.send(question)?;
    Ok(socket)
}
