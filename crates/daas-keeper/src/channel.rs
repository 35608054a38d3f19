//! A socket between processes of one keeper: frames with descriptors, blocking.

use crate::codec::{Decoder, encode};
use daas_sys::fdpass;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A body and how many descriptors belong to it: two frames may arrive in one piece, their descriptors with them.
#[derive(Debug, Serialize, Deserialize)]
struct Parcel<T> {
    fds: usize,
    body: T,
}

/// One end.
#[derive(Debug)]
pub(crate) struct Channel {
    fd: OwnedFd,
    decoder: Decoder,
    fds: VecDeque<OwnedFd>,
}

impl Channel {
    pub(crate) fn pair() -> io::Result<(Self, Self)> {
        let (a, b) = socketpair(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok((Self::new(a), Self::new(b)))
    }

    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self {
            fd,
            decoder: Decoder::default(),
            fds: VecDeque::new(),
        }
    }

    /// Sends a frame whole, waiting for room.
    pub(crate) fn send<T: Serialize>(&self, body: &T, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let bytes = encode(body).map_err(io::Error::other)?;
        let mut sent = fdpass::send(self.fd.as_fd(), &bytes, fds)?;
        while let Some(rest) = bytes.get(sent..).filter(|rest| !rest.is_empty()) {
            sent += fdpass::send(self.fd.as_fd(), rest, &[])?;
        }
        Ok(())
    }

    /// Receives the next frame; `None` at the end of the stream. Waits, unless the socket was made not to (`WouldBlock`).
    pub(crate) fn receive<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        loop {
            if let Some(body) = self.decoder.take().map_err(io::Error::other)? {
                return Ok(Some(body));
            }
            let mut buffer = [0; 16 << 10];
            let mut fds = Vec::new();
            let got = fdpass::receive(self.fd.as_fd(), &mut buffer, &mut fds)?;
            self.fds.extend(fds);
            if got == 0 {
                return Ok(None);
            }
            self.decoder.push(buffer.get(..got).unwrap_or_default());
        }
    }

    /// Sends a body with the number of its descriptors.
    pub(crate) fn send_parcel<T: Serialize>(
        &self,
        body: &T,
        fds: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        self.send(
            &Parcel {
                fds: fds.len(),
                body,
            },
            fds,
        )
    }

    /// Receives what [`Channel::send_parcel`] sent: the body and exactly its descriptors.
    pub(crate) fn receive_parcel<T: DeserializeOwned>(
        &mut self,
    ) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        let Some(parcel) = self.receive::<Parcel<T>>()? else {
            return Ok(None);
        };
        let have = parcel.fds.min(self.fds.len());
        Ok(Some((parcel.body, self.fds.drain(..have).collect())))
    }

    /// Receives one raw byte; `None` at the end of the stream. For the direction that carries no frames.
    pub(crate) fn receive_byte(&self) -> io::Result<Option<u8>> {
        let mut byte = [0];
        let got = fdpass::receive(self.fd.as_fd(), &mut byte, &mut Vec::new())?;
        Ok((got == 1).then_some(byte[0]))
    }

    /// Takes a raw byte that has come in one piece with the last frame.
    pub(crate) fn take_byte(&mut self) -> Option<u8> {
        self.decoder.take_byte()
    }

    /// Sends raw bytes.
    pub(crate) fn send_bytes(&self, bytes: &[u8]) -> io::Result<()> {
        fdpass::send(self.fd.as_fd(), bytes, &[]).map(|_| ())
    }

    /// Takes the descriptors that have come so far, in order.
    pub(crate) fn take_fds(&mut self) -> Vec<OwnedFd> {
        self.fds.drain(..).collect()
    }

    /// Makes receiving answer `WouldBlock` instead of waiting.
    pub(crate) fn do_not_wait(&self) -> io::Result<()> {
        let flags = rustix::fs::fcntl_getfl(&self.fd)?;
        Ok(rustix::fs::fcntl_setfl(
            &self.fd,
            flags | rustix::fs::OFlags::NONBLOCK,
        )?)
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<Channel> for OwnedFd {
    fn from(channel: Channel) -> Self {
        channel.fd
    }
}
