//! Two questions to the kernel by rtnetlink(7) that a way out needs.

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const RTM_DELLINK: u16 = 17;
const NLMSG_ERROR: u16 = 2;
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const RTN_LOCAL: u8 = 2;
const RTA_DST: u16 = 1;
/// `RTM_F_FIB_MATCH` is not wanted: the answer is the route that a packet would take.
const HEADER: usize = 16;

/// Tells whether packets to `address` stay on this machine, as the calling thread's namespace sees it.
///
/// # Errors
/// What the kernel says; an address without a route is not of this machine and no error.
pub(super) fn is_own(address: IpAddr) -> io::Result<bool> {
    // linux/socket.h: AF_INET = 2, AF_INET6 = 10.
    let (family, octets) = match address {
        IpAddr::V4(v4) => (2, v4.octets().to_vec()),
        IpAddr::V6(v6) => (10, v6.octets().to_vec()),
    };
    let bits = if family == 2 { 32 } else { 128 };
    let mut body = vec![family, bits, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let length = u16::try_from(4 + octets.len()).map_err(io::Error::other)?;
    body.extend_from_slice(&length.to_ne_bytes());
    body.extend_from_slice(&RTA_DST.to_ne_bytes());
    body.extend_from_slice(&octets);
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
pub(super) fn remove_link(index: u32) -> io::Result<()> {
    let mut body = vec![0; 16];
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    ask(RTM_DELLINK, REQUEST | ACK, &body).map(|_| ())
}

/// Asks one question and returns the kind and payload of the answer.
fn ask(kind: u16, flags: u16, body: &[u8]) -> io::Result<(u16, Vec<u8>)> {
    let socket: OwnedFd = rustix::net::socket_with(
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
    let mut buffer = vec![0; 8192];
    let (length, _) = rustix::net::recv(&socket, buffer.as_mut_slice(), RecvFlags::empty())?;
    let short = || io::Error::from(io::ErrorKind::InvalidData);
    let answer = buffer
        .get(..length)
        .filter(|answer| answer.len() > HEADER)
        .ok_or_else(short)?;
    let kind = u16::from_ne_bytes([answer[4], answer[5]]);
    let payload = &answer[HEADER..];
    if kind == NLMSG_ERROR {
        let code = payload
            .first_chunk()
            .map(|bytes| i32::from_ne_bytes(*bytes))
            .ok_or_else(short)?;
        if code != 0 {
            return Err(io::Error::from_raw_os_error(-code));
        }
    }
    Ok((kind, payload.to_vec()))
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
