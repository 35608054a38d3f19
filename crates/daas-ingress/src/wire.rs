//! The bytes of one connection, with its clocks (threat S19) and its strict reader.

use crate::strict::Strict;
use crate::visit::{ASKED, SWITCHED, Signals};
use bytes::{Buf, BytesMut};
use hyper::rt::ReadBufCursor;
use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// How long a connection may be silent, and how many there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timers {
    /// Until the first byte, and for a whole TLS handshake.
    pub first: Duration,
    /// For the head of a request, from its first byte.
    pub head: Duration,
    /// How long a body may keep us waiting in all, over what its bytes pay for: 1,024 of them are one second.
    pub body: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// How long the other side may read nothing while we have something to say.
    pub unread: Duration,
    /// How many connections there may be; further ones wait in the kernel's queue.
    pub connections: usize,
    /// How many connections one address may have; further ones are closed.
    pub connections_per_address: usize,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(10),
            head: Duration::from_secs(10),
            body: Duration::from_secs(30),
            idle: Duration::from_secs(75),
            unread: Duration::from_secs(60),
            connections: 16 * 1024,
            connections_per_address: 4096,
        }
    }
}

/// A clock that is wound up again without touching the runtime's: it is looked at only when it has run out.
#[derive(Debug, Default)]
struct Clock {
    sleep: Option<Pin<Box<Sleep>>>,
    ends: Option<Instant>,
}

impl Clock {
    /// Tells whether `deadline` has passed; otherwise the context is called then.
    fn poll(&mut self, context: &mut Context<'_>, deadline: Instant) -> bool {
        loop {
            // One that ends earlier than wanted is let run: it is cheaper to look once too often.
            let stale = self.ends.is_none_or(|ends| ends > deadline);
            if stale {
                let at = tokio::time::Instant::from_std(deadline);
                match &mut self.sleep {
                    Some(sleep) => sleep.as_mut().reset(at),
                    None => self.sleep = Some(Box::pin(tokio::time::sleep_until(at))),
                }
                self.ends = Some(deadline);
            }
            let Some(sleep) = &mut self.sleep else {
                return false;
            };
            match sleep.as_mut().poll(context) {
                Poll::Pending => return false,
                Poll::Ready(()) if self.ends.is_some_and(|ends| ends >= deadline) => return true,
                Poll::Ready(()) => self.ends = None,
            }
        }
    }
}

thread_local! {
    /// Where bytes are looked at before hyper has them: one place for all connections of a worker, because a read is never interrupted.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; 64 * 1024]);
}

/// What is read along the bytes.
enum Along {
    /// HTTP/1, byte by byte.
    Strict(Strict),
    /// HTTP/2, whose own rules leave no two meanings.
    Frames,
}

/// One connection, as hyper reads and writes it.
pub(crate) struct Wire<T> {
    io: T,
    /// What was read before it was known what it is, or must wait until an upgrade is settled.
    front: BytesMut,
    along: Along,
    signals: Arc<Signals>,
    timers: Timers,
    /// Since when the reader is in the state whose clock runs.
    since: Instant,
    began: bool,
    clock: Clock,
    stuck: Option<Instant>,
    writing: Clock,
    held: BytesMut,
    spoiled: bool,
}

impl<T> Wire<T> {
    pub(crate) fn http1(io: T, front: BytesMut, signals: Arc<Signals>, timers: Timers) -> Self {
        Self::new(io, front, Along::Strict(Strict::new()), signals, timers)
    }

    pub(crate) fn http2(io: T, front: BytesMut, signals: Arc<Signals>, timers: Timers) -> Self {
        Self::new(io, front, Along::Frames, signals, timers)
    }

    fn new(io: T, front: BytesMut, along: Along, signals: Arc<Signals>, timers: Timers) -> Self {
        Self {
            io,
            front,
            along,
            signals,
            timers,
            since: Instant::now(),
            began: false,
            clock: Clock::default(),
            stuck: None,
            writing: Clock::default(),
            held: BytesMut::new(),
            spoiled: false,
        }
    }

    /// Returns when a connection that says nothing has been silent too long; nothing while that is its right.
    fn deadline(&self) -> Option<Instant> {
        if self.signals.is_busy() {
            return None;
        }
        match &self.along {
            Along::Strict(strict) if strict.is_in_head() => Some(self.since + self.timers.head),
            Along::Strict(strict) if strict.is_between() && self.began => Some(
                self.signals
                    .idle_since()
                    .unwrap_or(self.since)
                    .max(self.since)
                    + self.timers.idle,
            ),
            Along::Strict(strict) if strict.is_between() => Some(self.since + self.timers.first),
            // A body that nobody reads any more.
            Along::Strict(_) => Some(self.since + self.timers.idle),
            // Browsers open connections before they need them, and keep those of HTTP/2 for long.
            Along::Frames => Some(match self.signals.idle_since() {
                Some(since) => since + self.timers.idle * 4,
                None => self.since + self.timers.first * 3,
            }),
        }
    }

    /// Looks at what was read. Returns how much of it goes on; a fault is made visible as a byte that no request may have, so that the
    /// answer is 400 and the connection closes.
    fn look(&mut self, bytes: &mut [u8]) -> usize {
        let Along::Strict(strict) = &mut self.along else {
            return bytes.len();
        };
        if self.signals.upgrade() == SWITCHED {
            return bytes.len();
        }
        strict.upgrade = false;
        let was_between = strict.is_between();
        let read = match strict.feed(bytes) {
            Ok(read) => read,
            Err((at, violation)) => {
                tracing::debug!(why = violation.0, "a request is refused");
                bytes[at] = 0;
                self.spoiled = true;
                return at + 1;
            }
        };
        if strict.upgrade && strict.is_between() && read > 0 {
            self.signals.ask_upgrade();
        }
        if was_between || strict.is_between() {
            self.since = Instant::now();
        }
        self.began |= strict.is_between();
        read
    }
}

impl<T: AsyncRead + Unpin> Wire<T> {
    fn poll_bytes(
        &mut self,
        context: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if self.signals.upgrade() != ASKED && !self.held.is_empty() {
            let held = std::mem::take(&mut self.held);
            self.front.unsplit(held);
        }
        if !self.front.is_empty() && self.signals.upgrade() != ASKED {
            let n = self.front.len().min(into.len());
            into[..n].copy_from_slice(&self.front[..n]);
            self.front.advance(n);
            return Poll::Ready(Ok(n));
        }
        if self.signals.upgrade() == ASKED && !self.held.is_empty() {
            // Bytes behind a request for another protocol wait for its answer: nobody knows yet what they are.
            self.signals.wait_for_upgrade(context.waker());
            return Poll::Pending;
        }
        let mut buffer = ReadBuf::new(into);
        match Pin::new(&mut self.io).poll_read(context, &mut buffer) {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(buffer.filled().len())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                if let Some(deadline) = self.deadline()
                    && self.clock.poll(context, deadline)
                {
                    return Poll::Ready(Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        "silent too long",
                    )));
                }
                if self.signals.is_busy() {
                    // The clock starts when the request ends; until then it looks now and then.
                    let later = Instant::now() + self.timers.idle;
                    let _ = self.clock.poll(context, later);
                }
                Poll::Pending
            }
        }
    }
}

impl<T: AsyncRead + Unpin> hyper::rt::Read for Wire<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let room = buffer.remaining();
        // Behind a fault there is nothing any more.
        if room == 0 || this.spoiled {
            return Poll::Ready(Ok(()));
        }
        SCRATCH.with_borrow_mut(|chunk| {
            let most = chunk.len().min(room);
            let n = ready!(this.poll_bytes(context, &mut chunk[..most]))?;
            if n > 0 && this.signals.upgrade() == ASKED {
                this.held.extend_from_slice(&chunk[..n]);
                this.signals.wait_for_upgrade(context.waker());
                return Poll::Pending;
            }
            let read = this.look(&mut chunk[..n]);
            if read < n && !this.spoiled {
                this.held.extend_from_slice(&chunk[read..n]);
            }
            buffer.put_slice(&chunk[..read]);
            Poll::Ready(Ok(()))
        })
    }
}

impl<T: AsyncWrite + Unpin> Wire<T> {
    fn watch<R>(
        &mut self,
        context: &mut Context<'_>,
        progress: Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        if progress.is_ready() {
            self.stuck = None;
            return progress;
        }
        let since = *self.stuck.get_or_insert_with(Instant::now);
        if self.writing.poll(context, since + self.timers.unread) {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the other side does not read",
            )));
        }
        Poll::Pending
    }
}

impl<T: AsyncWrite + Unpin> hyper::rt::Write for Wire<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let progress = Pin::new(&mut this.io).poll_write(context, bytes);
        this.watch(context, progress)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let progress = Pin::new(&mut this.io).poll_flush(context);
        this.watch(context, progress)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let progress = Pin::new(&mut this.io).poll_shutdown(context);
        this.watch(context, progress)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let progress = Pin::new(&mut this.io).poll_write_vectored(context, bytes);
        this.watch(context, progress)
    }
}
