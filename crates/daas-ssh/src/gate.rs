//! The stream below the protocol: it ends connections that do not sign in in time, and slows those that send more than is taken.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// So many bytes may wait for programs of one connection before its windows are opened no further.
pub(crate) const FULL: usize = 1 << 20;
/// So many bytes wait only if the other side does not keep to its windows: channels have [`FULL`] and a window each.
pub(crate) const FLOOD: usize = 48 << 20;
/// The pause before each read while it is full. The other side may then send two bytes at a time (`visit`).
const PAUSE: Duration = Duration::from_millis(2);

/// What is known of one connection by all that work for it.
#[derive(Debug)]
pub(crate) struct Pulse {
    signed_in: AtomicBool,
    /// Bytes that came and that no program has taken yet.
    waiting: AtomicUsize,
    begun: Instant,
    /// When something moved last, in milliseconds behind the begin.
    moved_ms: AtomicU64,
    /// Ends the connection when it is cancelled.
    pub(crate) end: CancellationToken,
}

impl Pulse {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            signed_in: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            begun: Instant::now(),
            moved_ms: AtomicU64::new(0),
            end: CancellationToken::new(),
        })
    }

    pub(crate) fn sign_in(&self) {
        self.signed_in.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_signed_in(&self) -> bool {
        self.signed_in.load(Ordering::Relaxed)
    }

    /// Says that something was sent or came for a program.
    pub(crate) fn moves(&self) {
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved_ms.store(now, Ordering::Relaxed);
    }

    /// Returns for how long nothing has moved.
    pub(crate) fn still(&self) -> Duration {
        let moved = Duration::from_millis(self.moved_ms.load(Ordering::Relaxed));
        self.begun.elapsed().saturating_sub(moved)
    }

    /// Counts bytes that wait from now on; returns how many there are.
    pub(crate) fn take_in(&self, bytes: usize) -> usize {
        self.moves();
        self.waiting.fetch_add(bytes, Ordering::Relaxed) + bytes
    }

    /// Counts bytes that wait no more.
    pub(crate) fn let_out(&self, bytes: usize) {
        self.waiting.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > FULL
    }
}

/// A stream with the rules of the door.
pub(crate) struct Gate<S> {
    stream: S,
    pulse: Arc<Pulse>,
    end: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Until somebody must have signed in.
    deadline: Pin<Box<Sleep>>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl<S> Gate<S> {
    pub(crate) fn new(stream: S, pulse: Arc<Pulse>, sign_in: Duration) -> Self {
        Self {
            stream,
            end: Box::pin(pulse.end.clone().cancelled_owned()),
            deadline: Box::pin(tokio::time::sleep(sign_in)),
            pause: None,
            pulse,
        }
    }

    /// Tells whether the connection must end now.
    fn closed(&mut self, cx: &mut Context<'_>) -> Option<io::Error> {
        if self.end.as_mut().poll(cx).is_ready() {
            return Some(io::ErrorKind::ConnectionAborted.into());
        }
        // A sleep that is over must not be asked again.
        if !self.pulse.is_signed_in() && self.deadline.as_mut().poll(cx).is_ready() {
            self.pulse.end.cancel();
            return Some(io::ErrorKind::TimedOut.into());
        }
        None
    }

    /// Waits a little if more came than programs take.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.pause.is_none() && self.pulse.is_full() {
            self.pause = Some(Box::pin(tokio::time::sleep(PAUSE)));
        }
        if let Some(pause) = &mut self.pause {
            std::task::ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gate<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(error) = self.closed(cx) {
            return Poll::Ready(Err(error));
        }
        std::task::ready!(self.poll_room(cx));
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gate<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(error) = self.closed(cx) {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
