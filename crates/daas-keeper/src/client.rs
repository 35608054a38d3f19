//! A connection to a keeper, for threads that may block.
//!
//! An asynchronous caller connects to [`socket_path`], and drives [`crate::codec`] and `daas_sys::fdpass` itself.

use crate::channel::Channel;
use crate::codec::encode;
use crate::keeper_files::SOCKET;
use crate::protocol::{Asked, Event, Failure, Request, Response, Told};
use rustix::fs::{Mode, OFlags};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why a question has no answer.
#[derive(Debug)]
pub enum ClientError {
    /// The keeper cannot be reached or its words not be read.
    Io(io::Error),
    /// The keeper ended before it answered.
    Gone,
    /// The keeper says no.
    Refused(Failure),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(_) => f.write_str("cannot speak with the keeper"),
            Self::Gone => f.write_str("the keeper has ended"),
            Self::Refused(failure) => failure.fmt(f),
        }
    }
}

impl std::error::Error for ClientError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(e) => Some(e),
            Self::Gone | Self::Refused(_) => None,
        }
    }
}

impl From<io::Error> for ClientError {
    fn from(e: io::Error) -> Self {
        Self::Io(e)
    }
}

/// A path of a keeper's socket that is short enough for the kernel; valid while it lives.
#[derive(Debug)]
pub struct SocketPath {
    _folder: OwnedFd,
    path: PathBuf,
}

impl SocketPath {
    /// The path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Returns the path of the socket of the keeper in folder `dir`, through an open descriptor: a socket's path holds 107 bytes (unix(7)), a folder's any number.
///
/// # Errors
/// If the folder does not exist.
pub fn socket_path(dir: &Path) -> io::Result<SocketPath> {
    let folder = rustix::fs::open(
        dir,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd()));
    Ok(SocketPath {
        _folder: folder,
        path,
    })
}

/// A connection.
#[derive(Debug)]
pub struct Client {
    channel: Channel,
    next: u64,
    events: VecDeque<Event>,
}

impl Client {
    /// Connects to the keeper in folder `dir`.
    ///
    /// # Errors
    /// `NotFound` or `ConnectionRefused` if none lives there.
    pub fn connect(dir: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(socket_path(dir)?.path())?;
        Ok(Self {
            channel: Channel::new(stream.into()),
            next: 1,
            events: VecDeque::new(),
        })
    }

    /// Asks and waits for the answer; events that come before it are kept.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn ask(&mut self, request: Request) -> Result<Response, ClientError> {
        self.ask_with(request, &[]).map(|(response, _)| response)
    }

    /// The same with descriptors, of which some may come back.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn ask_with(
        &mut self,
        request: Request,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(Response, Vec<OwnedFd>), ClientError> {
        let id = self.send(request, fds)?;
        loop {
            match self.channel.receive::<Told>()? {
                None => return Err(ClientError::Gone),
                Some(Told::Event(event)) => self.events.push_back(event),
                // The number 0 is for questions that could not be read.
                Some(Told::Answer { id: got, result }) if got == id || got == 0 => {
                    let fds = self.channel.take_fds();
                    return result
                        .map(|response| (response, fds))
                        .map_err(ClientError::Refused);
                }
                Some(Told::Answer { .. }) => {}
            }
        }
    }

    /// Asks without waiting for the answer; returns the number of the question.
    ///
    /// # Errors
    /// [`ClientError::Io`].
    pub fn send(&mut self, request: Request, fds: &[BorrowedFd<'_>]) -> Result<u64, ClientError> {
        let id = self.next;
        self.next += 1;
        debug_assert!(encode(&request).is_ok());
        self.channel.send(&Asked { id, request }, fds)?;
        Ok(id)
    }

    /// Returns the next event, waiting at most `patience`; `None` when none came. Needs [`Request::Subscribe`], except for the ends of own execs.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn event(&mut self, patience: Duration) -> Result<Option<Event>, ClientError> {
        if let Some(event) = self.events.pop_front() {
            return Ok(Some(event));
        }
        let until = std::time::Instant::now() + patience;
        loop {
            let wait = until.saturating_duration_since(std::time::Instant::now());
            rustix::net::sockopt::set_socket_timeout(
                &self.channel,
                rustix::net::sockopt::Timeout::Recv,
                Some(wait.max(Duration::from_millis(1))),
            )
            .map_err(io::Error::from)?;
            let told = self.channel.receive::<Told>();
            rustix::net::sockopt::set_socket_timeout(
                &self.channel,
                rustix::net::sockopt::Timeout::Recv,
                None,
            )
            .map_err(io::Error::from)?;
            match told {
                Ok(Some(Told::Event(event))) => return Ok(Some(event)),
                Ok(Some(Told::Answer { .. })) => {}
                Ok(None) => return Err(ClientError::Gone),
                Err(e)
                    if matches!(
                        e.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                    ) =>
                {
                    return Ok(None);
                }
                Err(e) => return Err(e.into()),
            }
        }
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}
