//! What `daas_sys::netlink` does not ask of the kernel and roads need, by rtnetlink(7).
//!
//! Not here: making links, addresses and routes (`daas_sys::netlink`).

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const RTM_DELLINK: u16 = 17;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const DUMP: u16 = 0x300;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const RTN_LOCAL: u8 = 2;
const RTA_DST: u16 = 1;
const HEADER: usize = 16;

/// Tells whether packets to `address` stay on this machine, as the calling thread's namespace sees it.
///
/// # Errors
/// What the kernel says; an address without a route is not of this machine and no error.
pub(crate) fn is_own(address: IpAddr) -> io::Result<bool> {
    let (family, octets) = family_and_octets(address);
    let bits = u8::try_from(octets.len() * 8).map_err(io::Error::other)?;
    let mut body = vec![family, bits, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    attribute(&mut body, RTA_DST, &octets);
    match ask(RTM_GETROUTE, REQUEST, &body) {
        // struct rtmsg: the eighth byte is the type.
        Ok((RTM_NEWROUTE, payload)) => Ok(payload.get(7) == Some(&RTN_LOCAL)),
        Ok(_) => Err(io::Error::from(io::ErrorKind::InvalidData)),
        Err(error) if is_no_way(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

fn is_no_way(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [
        Errno::NETUNREACH,
        Errno::HOSTUNREACH,
        Errno::ACCESS,
        Errno::INVAL,
    ]
    .iter()
    .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Removes link `index` of the calling thread's namespace, and with it its other end. Takes about 20 ms: the kernel waits for all
/// that may still look at it.
///
/// # Errors
/// `ENODEV` if there is none.
pub(crate) fn remove_link(index: u32) -> io::Result<()> {
    let mut body = vec![0; 16];
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    ask(RTM_DELLINK, REQUEST | ACK, &body).map(|_| ())
}

/// Takes an address from link `index` of the calling thread's namespace.
///
/// # Errors
/// `EADDRNOTAVAIL` if the link does not have it.
pub(crate) fn remove_address(index: u32, address: IpAddr) -> io::Result<()> {
    let (family, octets) = family_and_octets(address);
    let bits = u8::try_from(octets.len() * 8).map_err(io::Error::other)?;
    let mut body = vec![family, bits, 0, 0];
    body.extend_from_slice(&index.to_ne_bytes());
    attribute(&mut body, IFA_LOCAL, &octets);
    ask(RTM_DELADDR, REQUEST | ACK, &body).map(|_| ())
}

/// Lists the single addresses (/32, /128) of link `index` of the calling thread's namespace.
///
/// # Errors
/// What the kernel says.
pub(crate) fn single_addresses(index: u32) -> io::Result<Vec<IpAddr>> {
    let socket = send(RTM_GETADDR, REQUEST | DUMP, &[0; 8])?;
    let mut found = Vec::new();
    loop {
        for (kind, payload) in receive(&socket)? {
            match kind {
                NLMSG_DONE => return Ok(found),
                RTM_NEWADDR => found.extend(single_address(index, &payload)),
                _ => {}
            }
        }
    }
}

/// Reads `struct ifaddrmsg` and its attributes.
fn single_address(index: u32, payload: &[u8]) -> Option<IpAddr> {
    let bits = *payload.get(1)?;
    if u32::from_ne_bytes(*payload.get(4..)?.first_chunk()?) != index {
        return None;
    }
    let mut attributes = payload.get(8..)?;
    let mut address = None;
    while let Some(head) = attributes.first_chunk::<4>() {
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let value = attributes.get(4..length)?;
        match u16::from_ne_bytes([head[2], head[3]]) {
            // Of a link to one other machine IFA_ADDRESS is the other's; IFA_LOCAL, where it is, is right.
            IFA_ADDRESS if address.is_none() => address = address_of(value),
            IFA_LOCAL => address = address_of(value),
            _ => {}
        }
        attributes = attributes
            .get(length.next_multiple_of(4)..)
            .unwrap_or_default();
    }
    address.filter(|address| bits == if address.is_ipv4() { 32 } else { 128 })
}

fn address_of(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).ok().map(IpAddr::from);
    v4.or_else(|| <[u8; 16]>::try_from(octets).ok().map(IpAddr::from))
}

fn family_and_octets(address: IpAddr) -> (u8, Vec<u8>) {
    // linux/socket.h: AF_INET = 2, AF_INET6 = 10.
    match address {
        IpAddr::V4(v4) => (2, v4.octets().to_vec()),
        IpAddr::V6(v6) => (10, v6.octets().to_vec()),
    }
}

/// Appends an attribute; a value here is at most an address, of which 4 divides the length.
fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    body.extend_from_slice(&length.to_ne_bytes());
    body.extend_from_slice(&kind.to_ne_bytes());
    body.extend_from_slice(value);
}

/// Asks one question and returns the kind and payload of the answer.
fn ask(kind: u16, flags: u16, body: &[u8]) -> io::Result<(u16, Vec<u8>)> {
    let socket = send(kind, flags, body)?;
    let answer = receive(&socket)?.into_iter().next();
    answer.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn send(kind: u16, flags: u16, body: &[u8]) -> io::Result<OwnedFd> {
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        None,
    )?;
    let length = u32::try_from(HEADER + body.len()).map_err(io::Error::other)?;
    let mut message = length.to_ne_bytes().to_vec();
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(&flags.to_ne_bytes());
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(body);
    rustix::net::send(&socket, &message, SendFlags::empty())?;
    Ok(socket)
}

/// Receives one datagram: kinds and payloads. A refusal in it is the error.
fn receive(socket: &OwnedFd) -> io::Result<Vec<(u16, Vec<u8>)>> {
    let mut buffer = vec![0; 32 * 1024];
    let (length, _) = rustix::net::recv(socket, buffer.as_mut_slice(), RecvFlags::empty())?;
    let mut bytes = buffer.get(..length).unwrap_or_default();
    let mut records = Vec::new();
    while let Some(head) = bytes.first_chunk::<HEADER>() {
        let length = u32::from_ne_bytes([head[0], head[1], head[2], head[3]]);
        let length = usize::try_from(length).map_err(io::Error::other)?;
        let payload = bytes
            .get(HEADER..length)
            .ok_or(io::ErrorKind::InvalidData)?;
        let kind = u16::from_ne_bytes([head[4], head[5]]);
        if kind == NLMSG_ERROR {
            let code = payload
                .first_chunk()
                .map(|code| i32::from_ne_bytes(*code))
                .ok_or(io::ErrorKind::InvalidData)?;
            if code != 0 {
                return Err(io::Error::from_raw_os_error(-code));
            }
        }
        records.push((kind, payload.to_vec()));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_own_addresses_are_known_by_the_kernel() {
        for (text, own) in [
            ("127.0.0.1", true),
            ("127.64.3.2", true),
            ("192.0.2.1", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(is_own(text.parse().unwrap()).unwrap(), own, "{text}");
        }
    }

    #[test]
    fn a_link_that_is_not_there_cannot_be_removed() {
        let error = remove_link(i32::MAX as u32).unwrap_err();
        assert_eq!(
            error.raw_os_error(),
            Some(rustix::io::Errno::NODEV.raw_os_error())
        );
    }
}
