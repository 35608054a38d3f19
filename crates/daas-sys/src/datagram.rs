//! Datagrams with the address that they were sent to: who listens at every address answers from the one that was asked.
//!
//! ip(7), `IP_PKTINFO`; ipv6(7) and RFC 3542, `IPV6_PKTINFO`.

use std::io;
use std::mem::{MaybeUninit, size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};

/// The address of this machine that a datagram was sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Local {
    /// The address.
    pub ip: IpAddr,
    /// The interface by which it came; needed for addresses of a link.
    interface: u32,
}

/// Room for one control message of either family, aligned as the kernel wants it.
type Control = [u64; 8];

/// Asks the kernel to tell with each datagram where it was sent to.
///
/// # Errors
/// What setsockopt(2) says.
pub fn tell_destination(socket: BorrowedFd<'_>, is_v6: bool) -> io::Result<()> {
    let (level, name) = if is_v6 {
        (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO)
    } else {
        (libc::IPPROTO_IP, libc::IP_PKTINFO)
    };
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or(4);
    // SAFETY: the value is an int that lives for the call, and its length is given.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const on).cast(),
            length,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Receives one datagram: its length, who sent it, and where to if the kernel tells.
///
/// # Errors
/// What recvmsg(2) says; `WouldBlock` on a socket that does not wait.
pub fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
) -> io::Result<(usize, SocketAddr, Option<Local>)> {
    let mut name = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut control: Control = [0; 8];
    let mut piece = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: a message header of zeros is a valid one that names nothing.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_name = name.as_mut_ptr().cast();
    message.msg_namelen =
        libc::socklen_t::try_from(size_of::<libc::sockaddr_storage>()).unwrap_or(0);
    message.msg_iov = &raw mut piece;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of::<Control>();
    // SAFETY: every pointer of the header leads to memory of the length beside it that lives for the call.
    let got = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0) };
    let length = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: zeros are a valid storage, and the kernel has written an address over them.
    let from = address_of(unsafe { name.assume_init_ref() })?;
    let mut local = None;
    // SAFETY: the header and its control buffer are as recvmsg left them.
    let mut at = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    while !at.is_null() {
        // SAFETY: the macros return headers that lie whole inside of the control buffer; data of these two kinds has the type that is read.
        unsafe {
            match ((*at).cmsg_level, (*at).cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info = libc::CMSG_DATA(at)
                        .cast::<libc::in_pktinfo>()
                        .read_unaligned();
                    local = Some(Local {
                        ip: Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr)).into(),
                        interface: u32::try_from(info.ipi_ifindex).unwrap_or(0),
                    });
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info = libc::CMSG_DATA(at)
                        .cast::<libc::in6_pktinfo>()
                        .read_unaligned();
                    local = Some(Local {
                        ip: Ipv6Addr::from(info.ipi6_addr.s6_addr).into(),
                        interface: info.ipi6_ifindex,
                    });
                }
                _ => {}
            }
            at = libc::CMSG_NXTHDR(&raw const message, at);
        }
    }
    Ok((length, from, local))
}

fn address_of(name: &libc::sockaddr_storage) -> io::Result<SocketAddr> {
    let name: *const libc::sockaddr_storage = name;
    // SAFETY: the storage is as large and as aligned as either, and its family says which it is.
    unsafe {
        match i32::from((*name).ss_family) {
            libc::AF_INET => {
                let v4 = name.cast::<libc::sockaddr_in>().read();
                let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
                Ok(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
            }
            libc::AF_INET6 => {
                let v6 = name.cast::<libc::sockaddr_in6>().read();
                let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
                Ok(SocketAddrV6::new(
                    ip,
                    u16::from_be(v6.sin6_port),
                    v6.sin6_flowinfo,
                    v6.sin6_scope_id,
                )
                .into())
            }
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// Sends one datagram from an address of this machine.
///
/// # Errors
/// What sendmsg(2) says; `WouldBlock` on a socket that does not wait.
pub fn send(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    to: SocketAddr,
    from: Local,
) -> io::Result<usize> {
    // SAFETY: zeros are a valid storage of no family.
    let mut name: libc::sockaddr_storage = unsafe { zeroed() };
    let place: *mut libc::sockaddr_storage = &raw mut name;
    let length = match to {
        SocketAddr::V4(v4) => {
            // SAFETY: the storage is as large and as aligned as this address; its other fields are zeros.
            unsafe {
                let address = place.cast::<libc::sockaddr_in>();
                (*address).sin_family = libc::sa_family_t::try_from(libc::AF_INET).unwrap_or(0);
                (*address).sin_port = v4.port().to_be();
                (*address).sin_addr.s_addr = u32::from(*v4.ip()).to_be();
            }
            size_of::<libc::sockaddr_in>()
        }
        SocketAddr::V6(v6) => {
            // SAFETY: as above.
            unsafe {
                let address = place.cast::<libc::sockaddr_in6>();
                (*address).sin6_family = libc::sa_family_t::try_from(libc::AF_INET6).unwrap_or(0);
                (*address).sin6_port = v6.port().to_be();
                (*address).sin6_addr.s6_addr = v6.ip().octets();
                (*address).sin6_flowinfo = v6.flowinfo();
                (*address).sin6_scope_id = v6.scope_id();
            }
            size_of::<libc::sockaddr_in6>()
        }
    };
    let mut control: Control = [0; 8];
    let mut piece = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    // SAFETY: a message header of zeros is a valid one that names nothing.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_name = place.cast();
    message.msg_namelen = libc::socklen_t::try_from(length).unwrap_or(0);
    message.msg_iov = &raw mut piece;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of::<Control>();
    // SAFETY: the control buffer has room for one message of either kind (CMSG_SPACE is 40 octets at most) and lives for the call; the kernel only
    // reads what the iovec leads to.
    let sent = unsafe {
        let head = libc::CMSG_FIRSTHDR(&raw const message);
        let size = match from.ip {
            IpAddr::V4(ip) => {
                let info = libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: libc::in_addr {
                        s_addr: u32::from(ip).to_be(),
                    },
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                ((*head).cmsg_level, (*head).cmsg_type) = (libc::IPPROTO_IP, libc::IP_PKTINFO);
                libc::CMSG_DATA(head)
                    .cast::<libc::in_pktinfo>()
                    .write_unaligned(info);
                size_of::<libc::in_pktinfo>()
            }
            IpAddr::V6(ip) => {
                let is_link = ip.is_unicast_link_local();
                let info = libc::in6_pktinfo {
                    ipi6_addr: libc::in6_addr {
                        s6_addr: ip.octets(),
                    },
                    ipi6_ifindex: if is_link { from.interface } else { 0 },
                };
                ((*head).cmsg_level, (*head).cmsg_type) = (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO);
                libc::CMSG_DATA(head)
                    .cast::<libc::in6_pktinfo>()
                    .write_unaligned(info);
                size_of::<libc::in6_pktinfo>()
            }
        };
        let size = u32::try_from(size).unwrap_or(0);
        (*head).cmsg_len = libc::CMSG_LEN(size) as usize;
        message.msg_controllen = libc::CMSG_SPACE(size) as usize;
        libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL)
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    #[test]
    fn an_answer_leaves_from_the_address_that_was_asked() {
        for (all, asked) in [("0.0.0.0:0", "127.0.0.5"), ("[::]:0", "::1")] {
            let server = UdpSocket::bind(all).unwrap();
            let at: SocketAddr = (
                asked.parse::<IpAddr>().unwrap(),
                server.local_addr().unwrap().port(),
            )
                .into();
            tell_destination(server.as_fd(), at.is_ipv6()).unwrap();
            let client =
                UdpSocket::bind((if at.is_ipv6() { "::1" } else { "127.0.0.1" }, 0)).unwrap();
            // What comes from elsewhere is not heard.
            client.connect(at).unwrap();
            client.send(b"who").unwrap();
            let mut buffer = [0; 16];
            let (length, from, local) = receive(server.as_fd(), &mut buffer).unwrap();
            assert_eq!(
                (&buffer[..length], from),
                (&b"who"[..], client.local_addr().unwrap())
            );
            let local = local.unwrap();
            assert_eq!(local.ip, at.ip());
            assert_eq!(send(server.as_fd(), b"me", from, local).unwrap(), 2);
            client
                .set_read_timeout(Some(std::time::Duration::from_secs(5)))
                .unwrap();
            assert_eq!(client.recv(&mut buffer).unwrap(), 2);
        }
    }
}
