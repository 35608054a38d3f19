//! Timers against those who are slow on purpose (threat S19).

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// How long a connection may be silent, and how many there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timers {
    /// Until the first byte.
    pub first_byte: Duration,
    /// For the whole head of a request, and between two requests.
    pub head: Duration,
    /// How long a body may keep us waiting in all, over what its bytes pay for.
    pub body: Duration,
    /// How many bytes of a body pay for one second of waiting.
    pub body_rate: u32,
    /// How long the other side may read nothing while we have something to say.
    pub unread: Duration,
    /// How many connections there may be; further ones wait in the kernel's queue.
    pub connections: usize,
    /// How many connections one address may have; further ones are closed.
    pub connections_per_address: usize,
}

impl Timers {
    /// Timers for people of this machine: a stopped terminal (Ctrl-S) may stay stopped over lunch.
    #[must_use]
    pub fn local() -> Self {
        Self {
            first_byte: Duration::from_secs(30),
            head: Duration::from_secs(30),
            body: Duration::from_secs(60),
            body_rate: 1024,
            unread: Duration::from_secs(4 * 3600),
            connections: 4096,
            connections_per_address: 4096,
        }
    }

    /// Timers for the network: half a head is closed after 10 s, one byte per second of body after 30 s.
    #[must_use]
    pub fn public() -> Self {
        Self {
            first_byte: Duration::from_secs(10),
            head: Duration::from_secs(10),
            body: Duration::from_secs(30),
            body_rate: 1024,
            unread: Duration::from_secs(120),
            // 5,000 slow ones at once were measured: 37 MB, and who is not slow waits twice as long as on an idle machine.
            connections: 8192,
            connections_per_address: 128,
        }
    }
}

/// A connection that fails when the other side does not read.
pub(crate) struct Read<T> {
    io: T,
    unread: Duration,
    stuck: Option<Pin<Box<Sleep>>>,
}

impl<T> Read<T> {
    pub(crate) fn new(io: T, unread: Duration) -> Self {
        Self {
            io,
            unread,
            stuck: None,
        }
    }

    fn watch<R>(
        &mut self,
        context: &mut Context<'_>,
        progress: Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        if progress.is_ready() {
            self.stuck = None;
            return progress;
        }
        let unread = self.unread;
        let stuck = self.stuck.get_or_insert_with(|| Box::pin(sleep(unread)));
        ready!(stuck.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the other side does not read",
        )))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Read<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Read<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.io).poll_write(context, bytes);
        self.watch(context, progress)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let progress = Pin::new(&mut self.io).poll_flush(context);
        self.watch(context, progress)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let progress = Pin::new(&mut self.io).poll_shutdown(context);
        self.watch(context, progress)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.io).poll_write_vectored(context, bytes);
        self.watch(context, progress)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
