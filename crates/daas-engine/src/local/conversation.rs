//! A connection to a keeper for one matter, whose questions and answers carry descriptors.
//!
//! Nothing here holds a thread: a program that somebody runs in a node may live for days, and there may be a thousand of them.

use daas_keeper::ClientError;
use daas_keeper::client::socket_path;
use daas_keeper::codec::{Decoder, encode};
use daas_keeper::protocol::{Asked, Event, Request, Response, Told};
use daas_sys::fdpass;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::UnixStream;

/// What is read at once; answers are small.
const PIECE: usize = 16 << 10;

/// The pause before a keeper is called again whose queue was full.
const IN_QUEUE: Duration = Duration::from_millis(2);

/// One connection. Dropping it ends what was begun by it: its keeper hangs programs up.
#[derive(Debug)]
pub(super) struct Conversation {
    stream: UnixStream,
    decoder: Decoder,
    fds: VecDeque<OwnedFd>,
    next: u64,
    events: VecDeque<Event>,
}

impl Conversation {
    /// Connects to the keeper in folder `dir`.
    ///
    /// # Errors
    /// `NotFound` or `ConnectionRefused` if none lives there.
    pub(super) async fn begin(dir: &Path) -> io::Result<Self> {
        let socket = socket_path(dir)?;
        let stream = loop {
            match UnixStream::connect(socket.path()).await {
                // Many come at once and its queue is full (unix(7)): it takes them one after the other.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    tokio::time::sleep(IN_QUEUE).await;
                }
                connected => break connected?,
            }
        };
        Ok(Self {
            stream,
            decoder: Decoder::default(),
            fds: VecDeque::new(),
            next: 1,
            events: VecDeque::new(),
        })
    }

    /// Asks, and waits for the answer and the descriptors that came with it; events that come before it are kept.
    ///
    /// # Errors
    /// [`ClientError`]. Dropped before its end, the connection must not be used again.
    pub(super) async fn ask(
        &mut self,
        request: Request,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(Response, Vec<OwnedFd>), ClientError> {
        let id = self.next;
        self.next += 1;
        self.send(&Asked { id, request }, fds).await?;
        loop {
            match self.hear().await? {
                Told::Event(event) => self.events.push_back(event),
                // The number 0 is for questions that could not be read.
                Told::Answer { id: got, result } if got == id || got == 0 => {
                    let fds = self.fds.drain(..).collect();
                    return result
                        .map(|response| (response, fds))
                        .map_err(ClientError::Refused);
                }
                Told::Answer { .. } => {}
            }
        }
    }

    /// Returns the next event. Without [`Request::Subscribe`] these are the ends of programs that were begun by this connection.
    ///
    /// # Errors
    /// [`ClientError`]. Safe to drop.
    pub(super) async fn event(&mut self) -> Result<Event, ClientError> {
        if let Some(event) = self.events.pop_front() {
            return Ok(event);
        }
        loop {
            if let Told::Event(event) = self.hear().await? {
                return Ok(event);
            }
        }
    }

    /// Sends a frame whole; the descriptors go with its first byte.
    async fn send(&self, asked: &Asked, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let bytes = encode(asked).map_err(io::Error::other)?;
        let mut sent = 0;
        while let Some(rest) = bytes.get(sent..).filter(|rest| !rest.is_empty()) {
            let with = if sent == 0 { fds } else { &[] };
            sent += self
                .stream
                .async_io(Interest::WRITABLE, || {
                    fdpass::send(self.stream.as_fd(), rest, with)
                })
                .await?;
        }
        Ok(())
    }

    async fn hear(&mut self) -> Result<Told, ClientError> {
        loop {
            if let Some(told) = self.decoder.take().map_err(io::Error::other)? {
                return Ok(told);
            }
            let Self {
                stream,
                decoder,
                fds,
                ..
            } = self;
            let receive = || {
                let mut piece = [0; PIECE];
                let mut with = Vec::new();
                let got = fdpass::receive(stream.as_fd(), &mut piece, &mut with)?;
                fds.extend(with);
                decoder.push(piece.get(..got).unwrap_or_default());
                Ok(got)
            };
            if stream.async_io(Interest::READABLE, receive).await? == 0 {
                return Err(ClientError::Gone);
            }
        }
    }
}
