//! Links, addresses and routes by rtnetlink: a small encoder of our own.
//!
//! `netlink-packet-route` can express a veth whose peer is born in another namespace, but allocates a tree per message and costs
//! 5 s of build; the ten messages that a stand needs are these (rtnetlink(7), linux/if_link.h).

use crate::fault::check;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

const ACK: u16 = 4;
const REQUEST: u16 = 1;
const CREATE_NEW: u16 = 0x400 | 0x200;
const IFF_UP: u32 = 1;
const HEADER: usize = 16;

const RTM_NEWLINK: u16 = 16;
const RTM_SETLINK: u16 = 19;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const RTM_NEWNEIGH: u16 = 28;
pub(crate) const NLMSG_ERROR: u16 = 2;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MASTER: u16 = 10;
const IFLA_OPERSTATE: u16 = 16;
const IFLA_LINKINFO: u16 = 18;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFLA_BR_MCAST_SNOOPING: u16 = 23;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const ADDR_GEN_NONE: u8 = 1;
const IFA_F_NODAD: u8 = 2;

/// The state of a link that passes frames (`IF_OPER_UP`, RFC 2863).
pub const OPER_UP: u8 = 6;

/// One request.
#[derive(Debug, Clone)]
pub struct Message(pub(crate) Vec<u8>);

impl Message {
    pub(crate) fn new(kind: u16, flags: u16, head: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(192);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&(flags | REQUEST).to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        let mut message = Self(bytes);
        message.raw(head);
        message
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        while !self.0.len().is_multiple_of(4) {
            self.0.push(0);
        }
    }

    pub(crate) fn attr(&mut self, kind: u16, value: &[u8]) {
        self.0
            .extend_from_slice(&short(4 + value.len()).to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.raw(value);
    }

    pub(crate) fn text(&mut self, kind: u16, value: &str) {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.attr(kind, &bytes);
    }

    pub(crate) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let at = self.0.len();
        self.0.extend_from_slice(&[0; 4]);
        fill(self);
        let length = short(self.0.len() - at);
        if let Some(head) = self.0.get_mut(at..at + 4) {
            head[..2].copy_from_slice(&length.to_ne_bytes());
            head[2..].copy_from_slice(&kind.to_ne_bytes());
        }
    }

    pub(crate) fn finish(&mut self, sequence: u32) {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        if let Some(head) = self.0.get_mut(..HEADER) {
            head[..4].copy_from_slice(&length.to_ne_bytes());
            head[8..12].copy_from_slice(&sequence.to_ne_bytes());
        }
    }
}

/// Attributes are far below 64 KiB: names of 15 bytes, addresses of 16.
fn short(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

fn link_head(index: i32, flags: u32, change: u32) -> [u8; 16] {
    let mut head = [0; 16];
    head[4..8].copy_from_slice(&index.to_ne_bytes());
    head[8..12].copy_from_slice(&flags.to_ne_bytes());
    head[12..16].copy_from_slice(&change.to_ne_bytes());
    head
}

/// Makes a bridge, up, with an index and link address of our choice, without multicast snooping (a stand has no multicast routers to find).
#[must_use]
pub fn bridge(name: &str, index: i32, mac: [u8; 6]) -> Message {
    let mut m = Message::new(
        RTM_NEWLINK,
        ACK | CREATE_NEW,
        &link_head(index, IFF_UP, IFF_UP),
    );
    m.text(IFLA_IFNAME, name);
    m.attr(IFLA_ADDRESS, &mac);
    m.nest(IFLA_LINKINFO, |m| {
        m.attr(IFLA_INFO_KIND, b"bridge");
        m.nest(IFLA_INFO_DATA, |m| m.attr(IFLA_BR_MCAST_SNOOPING, &[0]));
    });
    m
}

/// One end of a pair of links.
#[derive(Debug, Clone, Copy)]
pub struct LinkEnd<'a> {
    /// Its name, at most 15 bytes.
    pub name: &'a str,
    /// Its index in its namespace.
    pub index: i32,
    /// Its link address; the kernel's choice where there is none.
    pub mac: Option<[u8; 6]>,
}

/// Makes a pair of links in one message: `here` is up and, when there is a `master`, its port; `there` is born inside the namespace `net`, down.
///
/// The far end must be brought up afterwards from inside: up in this message answers ENOTCONN.
#[must_use]
pub fn veth(
    here: LinkEnd<'_>,
    master: Option<i32>,
    there: LinkEnd<'_>,
    net: BorrowedFd<'_>,
) -> Message {
    let mut m = Message::new(
        RTM_NEWLINK,
        ACK | CREATE_NEW,
        &link_head(here.index, IFF_UP, IFF_UP),
    );
    m.text(IFLA_IFNAME, here.name);
    if let Some(mac) = here.mac {
        m.attr(IFLA_ADDRESS, &mac);
    }
    if let Some(master) = master {
        m.attr(IFLA_MASTER, &master.to_ne_bytes());
    }
    m.nest(IFLA_LINKINFO, |m| {
        m.attr(IFLA_INFO_KIND, b"veth");
        m.nest(IFLA_INFO_DATA, |m| {
            m.nest(VETH_INFO_PEER, |m| {
                m.raw(&link_head(there.index, 0, 0));
                m.text(IFLA_IFNAME, there.name);
                if let Some(mac) = there.mac {
                    m.attr(IFLA_ADDRESS, &mac);
                }
                m.attr(IFLA_NET_NS_FD, &net.as_raw_fd().to_ne_bytes());
            });
        });
    });
    m
}

/// Brings a link up.
#[must_use]
pub fn up(index: i32) -> Message {
    Message::new(RTM_SETLINK, ACK, &link_head(index, IFF_UP, IFF_UP))
}

/// Lets a link come up without an IPv6 address of its own making: no duplicate detection, no router solicitation.
///
/// A message of its own, before [`up`]: in one message the kernel brings the link up first (do_setlink of net/core/rtnetlink.c).
#[must_use]
pub fn no_own_ipv6(index: i32) -> Message {
    let mut m = Message::new(RTM_SETLINK, ACK, &link_head(index, 0, 0));
    m.nest(IFLA_AF_SPEC, |m| {
        // linux/socket.h: AF_INET6 = 10.
        m.nest(10, |m| m.attr(IFLA_INET6_ADDR_GEN_MODE, &[ADDR_GEN_NONE]));
    });
    m
}

/// Gives a link another link address.
#[must_use]
pub fn link_address(index: i32, mac: [u8; 6]) -> Message {
    let mut m = Message::new(RTM_SETLINK, ACK, &link_head(index, 0, 0));
    m.attr(IFLA_ADDRESS, &mac);
    m
}

fn octets(address: IpAddr) -> (u8, Vec<u8>) {
    match address {
        // linux/socket.h: AF_INET = 2, AF_INET6 = 10.
        IpAddr::V4(v4) => (2, v4.octets().to_vec()),
        IpAddr::V6(v6) => (10, v6.octets().to_vec()),
    }
}

/// Gives a link an address; IPv6 without duplicate detection, because addresses are literal and ours.
#[must_use]
pub fn address(index: i32, address: IpAddr, prefix: u8) -> Message {
    let (family, bytes) = octets(address);
    let flags = if address.is_ipv6() { IFA_F_NODAD } else { 0 };
    let mut head = [family, prefix, flags, 0, 0, 0, 0, 0];
    head[4..8].copy_from_slice(&index.to_ne_bytes());
    let mut m = Message::new(RTM_NEWADDR, ACK | CREATE_NEW, &head);
    m.attr(2, &bytes); // IFA_LOCAL
    m.attr(1, &bytes); // IFA_ADDRESS
    if let IpAddr::V4(v4) = address
        && prefix < 31
    {
        let host_bits = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
        m.attr(4, &(u32::from(v4) | host_bits).to_be_bytes()); // IFA_BROADCAST
    }
    m
}

/// Makes `gateway` the way to everywhere else, through link `index`.
#[must_use]
pub fn default_route(gateway: IpAddr, index: i32) -> Message {
    let (family, bytes) = octets(gateway);
    let mut head = [0; 12];
    head[0] = family;
    head[4] = 254; // RT_TABLE_MAIN
    head[5] = 4; // RTPROT_STATIC
    head[7] = 1; // RTN_UNICAST
    let mut m = Message::new(RTM_NEWROUTE, ACK | CREATE_NEW, &head);
    m.attr(5, &bytes); // RTA_GATEWAY
    m.attr(4, &index.to_ne_bytes()); // RTA_OIF
    m
}

/// Makes the link address of `address` known for good: nobody's ARP answer changes it.
#[must_use]
pub fn permanent_neighbour(index: i32, address: IpAddr, mac: [u8; 6]) -> Message {
    let (family, bytes) = octets(address);
    let mut head = [0; 12];
    head[0] = family;
    head[4..8].copy_from_slice(&index.to_ne_bytes());
    head[8..10].copy_from_slice(&0x80u16.to_ne_bytes()); // NUD_PERMANENT
    // NLM_F_CREATE | NLM_F_REPLACE: an entry that was learnt before is overruled.
    let mut m = Message::new(RTM_NEWNEIGH, ACK | 0x400 | 0x100, &head);
    m.attr(1, &bytes); // NDA_DST
    m.attr(2, &mac); // NDA_LLADDR
    m
}

/// A request of a batch was refused.
#[derive(Debug)]
pub struct Refused {
    /// Its place in the batch, from 0.
    pub at: usize,
    /// The kernel's answer.
    pub source: io::Error,
}

impl From<Refused> for io::Error {
    fn from(refused: Refused) -> Self {
        refused.source
    }
}

/// A socket that speaks about links, addresses and routes of the namespace it was made in.
#[derive(Debug)]
pub struct Route {
    fd: OwnedFd,
    sequence: u32,
}

impl Route {
    /// Makes the socket in the calling thread's network namespace.
    ///
    /// # Errors
    /// What socket(2) says.
    pub fn open() -> io::Result<Self> {
        let fd = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok(Self { fd, sequence: 0 })
    }

    /// Sends all of `messages` at once and waits for their answers.
    ///
    /// # Errors
    /// The first refusal; the other messages were carried out or refused for themselves.
    pub fn batch(&mut self, messages: Vec<Message>) -> Result<(), Refused> {
        let refused = self
            .batch_each(messages)
            .map_err(|source| Refused { at: 0, source })?;
        refused.into_iter().min_by_key(|r| r.at).map_or(Ok(()), Err)
    }

    /// Sends all of `messages` at once, waits for their answers and returns every refusal.
    ///
    /// # Errors
    /// What send(2) and recv(2) say.
    pub fn batch_each(&mut self, mut messages: Vec<Message>) -> io::Result<Vec<Refused>> {
        let mut refused = Vec::new();
        if messages.is_empty() {
            return Ok(refused);
        }
        let first = self.sequence.wrapping_add(1);
        let mut all = Vec::with_capacity(messages.len() * 160);
        for message in &mut messages {
            self.sequence = self.sequence.wrapping_add(1);
            message.finish(self.sequence);
            all.extend_from_slice(&message.0);
        }
        send(&self.fd, &all, SendFlags::empty())?;
        let mut pending = messages.len();
        let mut buffer = vec![0; 32 << 10];
        while pending > 0 {
            let (got, _) = recv(&self.fd, buffer.as_mut_slice(), RecvFlags::empty())?;
            for (kind, sequence, payload) in records(buffer.get(..got).unwrap_or_default()) {
                let at = usize::try_from(sequence.wrapping_sub(first)).unwrap_or(usize::MAX);
                // An answer to an earlier batch that was given up is not ours.
                if kind != NLMSG_ERROR || at >= messages.len() {
                    continue;
                }
                pending = pending.saturating_sub(1);
                let code = read_i32(payload, 0);
                if code != 0 {
                    refused.push(Refused {
                        at,
                        source: io::Error::from_raw_os_error(-code),
                    });
                }
            }
        }
        Ok(refused)
    }

    /// Returns the state of link `index` (`IFLA_OPERSTATE`).
    ///
    /// # Errors
    /// `ENODEV` if there is none.
    pub fn oper_state(&mut self, index: i32) -> io::Result<u8> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message = Message::new(RTM_GETLINK, 0, &link_head(index, 0, 0));
        message.finish(self.sequence);
        send(&self.fd, &message.0, SendFlags::empty())?;
        let mut buffer = vec![0; 32 << 10];
        let (got, _) = recv(&self.fd, buffer.as_mut_slice(), RecvFlags::empty())?;
        for (kind, _, payload) in records(buffer.get(..got).unwrap_or_default()) {
            if kind == NLMSG_ERROR {
                return Err(io::Error::from_raw_os_error(-read_i32(payload, 0)));
            }
            if kind == RTM_NEWLINK {
                return Ok(oper_state_of(payload));
            }
        }
        Err(io::Error::from(io::ErrorKind::InvalidData))
    }
}

/// How many bytes of words may wait to be read.
const WORDS: usize = 1 << 20;

/// Word of links of one namespace as they change.
#[derive(Debug)]
pub struct LinkWatch(OwnedFd);

impl LinkWatch {
    /// Listens from now on in the calling thread's network namespace; reading never waits.
    ///
    /// # Errors
    /// What socket(2), bind(2) say.
    pub fn open() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        // Room for the words of some hundred links at once; who may not have it hears more often that some were lost.
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size_force(&fd, WORDS);
        // RTMGRP_LINK = 1.
        rustix::net::bind(&fd, &netlink::SocketAddrNetlink::new(0, 1))?;
        Ok(Self(fd))
    }

    /// Returns the links whose state is known anew: index and state. Empty when there is no word.
    ///
    /// # Errors
    /// `ENOBUFS` when words were lost: ask [`Route::oper_state`] then.
    pub fn changes(&self) -> io::Result<Vec<(i32, u8)>> {
        let (mut changes, mut lost) = (Vec::new(), None);
        let mut buffer = vec![0; 32 << 10];
        loop {
            match recv(&self.0, buffer.as_mut_slice(), RecvFlags::empty()) {
                Ok((got, _)) => {
                    for (kind, _, payload) in records(buffer.get(..got).unwrap_or_default()) {
                        if kind == RTM_NEWLINK {
                            changes.push((read_i32(payload, 4), oper_state_of(payload)));
                        }
                    }
                }
                Err(rustix::io::Errno::AGAIN) => return lost.map_or(Ok(changes), Err),
                Err(rustix::io::Errno::INTR) => {}
                // Until its queue is empty the kernel throws more words away, and does not say so again.
                Err(e @ rustix::io::Errno::NOBUFS) => lost = Some(e.into()),
                Err(e) => return Err(e.into()),
            }
        }
    }
}

impl AsFd for LinkWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

pub(crate) fn read_i32(bytes: &[u8], at: usize) -> i32 {
    bytes
        .get(at..at + 4)
        .and_then(|b| b.try_into().ok())
        .map_or(0, i32::from_ne_bytes)
}

fn read_u16(bytes: &[u8], at: usize) -> u16 {
    bytes
        .get(at..at + 2)
        .and_then(|b| b.try_into().ok())
        .map_or(0, u16::from_ne_bytes)
}

/// Splits a datagram into records: kind, sequence number, payload.
pub(crate) fn records(mut bytes: &[u8]) -> Vec<(u16, u32, &[u8])> {
    let mut found = Vec::new();
    while bytes.len() >= HEADER {
        let length = usize::try_from(read_i32(bytes, 0)).unwrap_or(0);
        let Some(payload) = bytes.get(HEADER..length) else {
            break;
        };
        found.push((
            read_u16(bytes, 4),
            u32::from_ne_bytes(read_i32(bytes, 8).to_ne_bytes()),
            payload,
        ));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

fn oper_state_of(link: &[u8]) -> u8 {
    let mut attributes = link.get(16..).unwrap_or_default();
    while attributes.len() >= 4 {
        let length = usize::from(read_u16(attributes, 0));
        if length < 4 {
            break;
        }
        if read_u16(attributes, 2) == IFLA_OPERSTATE {
            return attributes.get(4).copied().unwrap_or(0);
        }
        attributes = attributes
            .get(length.next_multiple_of(4)..)
            .unwrap_or_default();
    }
    0
}

/// Lets packets to foreign addresses pass through the calling thread's network namespace, or not.
///
/// # Errors
/// If `/proc/sys` cannot be written.
pub fn disable_ipv6_by_default() -> io::Result<()> {
    std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1")
}

/// Returns the index of the interface `name` in the calling thread's network namespace.
///
/// # Errors
/// `ENODEV` if there is none.
pub fn index_of(name: &str) -> io::Result<u32> {
    let name = std::ffi::CString::new(name).map_err(io::Error::other)?;
    // SAFETY: the name ends with zero and lives through the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    if index == 0 {
        Err(check(-1)
            .err()
            .unwrap_or_else(|| io::Error::from_raw_os_error(libc::ENODEV)))
    } else {
        Ok(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_words_that_were_lost_are_told_and_the_later_ones_come() {
        let own = std::thread::spawn(|| {
            crate::netns::unshare(false, true, false).unwrap();
            let (watch, mut route) = (LinkWatch::open().unwrap(), Route::open().unwrap());
            route
                .batch(vec![bridge("one", 10, [2, 0, 0, 0, 0, 1])])
                .unwrap();
            assert!(
                watch
                    .changes()
                    .unwrap()
                    .iter()
                    .any(|(index, _)| *index == 10)
            );
            for round in 0..60u8 {
                let words = (0..100).map(|n| link_address(10, [2, 0, 0, 0, round, n]));
                route.batch(words.collect()).unwrap();
            }
            let lost = watch.changes().unwrap_err();
            assert_eq!(lost.raw_os_error(), Some(libc::ENOBUFS));
            route
                .batch(vec![bridge("two", 11, [2, 0, 0, 0, 0, 2])])
                .unwrap();
            assert!(
                watch
                    .changes()
                    .unwrap()
                    .iter()
                    .any(|(index, _)| *index == 11)
            );
        });
        own.join().unwrap();
    }
    use proptest::prelude::*;

    #[test]
    fn root_a_bridge_with_an_address_is_made_in_a_namespace_of_its_own() {
        std::thread::spawn(|| {
            crate::netns::unshare(false, true, false).unwrap();
            let mut route = Route::open().unwrap();
            route
                .batch(vec![
                    up(1),
                    bridge("br0", 10, [2, 0, 0, 0, 0, 1]),
                    address(10, "10.0.0.1".parse().unwrap(), 24),
                ])
                .unwrap();
            assert_eq!(index_of("br0").unwrap(), 10);
            let refused = route.batch(vec![up(1), up(4711), up(1)]).unwrap_err();
            assert_eq!(
                (refused.at, refused.source.raw_os_error()),
                (1, Some(libc::ENODEV))
            );
        })
        .join()
        .unwrap();
    }

    proptest! {
        #[test]
        fn no_datagram_makes_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            for (_, _, payload) in records(&bytes) {
                let _ = oper_state_of(payload);
            }
        }
    }
}
