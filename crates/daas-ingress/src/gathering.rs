//! What a connection of HTTP/2 has to say, gathered and written at once.
//!
//! The library flushes after every frame of data, which is a record of TLS and a call of the kernel for each of the answers that
//! come together. Here they wait for the end of the turn in which they were made: one write for all of them, and no byte later than before,
//! because nobody else has the thread meanwhile.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How much is gathered, in bytes; what is rustls's own bound as well.
const MOST: usize = 64 * 1024;
/// From how many bytes on nothing is gained by gathering: a whole record of TLS (RFC 8446 section 5.1).
const LARGE: usize = 16 * 1024;
/// The room that a connection at rest keeps.
const KEPT: usize = 4 * 1024;

/// One side of a connection that writes at the end of a turn.
pub(crate) struct Gathering<T>(Arc<Mutex<Outbox<T>>>);

/// Writes what a [`Gathering`] holds.
pub(crate) struct Settler<T>(Arc<Mutex<Outbox<T>>>);

struct Outbox<T> {
    io: T,
    bytes: Vec<u8>,
    /// How many of them have gone out.
    gone: usize,
    /// Whether the kernel took no more the last time.
    full: bool,
}

fn lock<T>(outbox: &Mutex<Outbox<T>>) -> MutexGuard<'_, Outbox<T>> {
    outbox.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T: AsyncWrite + Unpin> Gathering<T> {
    pub(crate) fn new(io: T) -> (Self, Settler<T>) {
        let outbox = Arc::new(Mutex::new(Outbox {
            io,
            bytes: Vec::new(),
            gone: 0,
            full: false,
        }));
        (Self(outbox.clone()), Settler(outbox))
    }
}

impl<T: AsyncWrite + Unpin> Settler<T> {
    /// Lives a connection that speaks through the [`Gathering`]; at the end of each of its turns it is written what was gathered.
    pub(crate) async fn turn<F: Future>(&self, mut connection: Pin<&mut F>) -> F::Output {
        std::future::poll_fn(|context| {
            let ended = connection.as_mut().poll(context);
            if let Poll::Ready(Err(_)) = lock(&self.0).settle(context) {
                // Its next write or read fails the same, and it shall hear of that.
                context.waker().wake_by_ref();
            }
            ended
        })
        .await
    }
}

impl<T: AsyncWrite + Unpin> Outbox<T> {
    fn settle(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.bytes.is_empty() {
            return Poll::Ready(Ok(()));
        }
        ready!(self.drain(context))?;
        Pin::new(&mut self.io).poll_flush(context)
    }

    /// Writes all that is there.
    fn drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.gone < self.bytes.len() {
            let rest = self.bytes.get(self.gone..).unwrap_or_default();
            match Pin::new(&mut self.io).poll_write(context, rest) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(n)) => self.gone += n,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.full = true;
                    return Poll::Pending;
                }
            }
        }
        self.full = false;
        self.gone = 0;
        self.bytes.clear();
        self.bytes.shrink_to(KEPT);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Gathering<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut lock(&self.0).io).poll_read(context, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Gathering<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut outbox = lock(&self.0);
        let length = slices.iter().map(|slice| slice.len()).sum();
        if outbox.full || outbox.bytes.len() + length > MOST {
            ready!(outbox.drain(context))?;
        }
        if outbox.bytes.is_empty() && length >= LARGE {
            return Pin::new(&mut outbox.io).poll_write_vectored(context, slices);
        }
        for slice in slices {
            outbox.bytes.extend_from_slice(slice);
        }
        Poll::Ready(Ok(length))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Is done at once unless the kernel takes no more: the rest goes out at the end of the turn.
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut outbox = lock(&self.0);
        if outbox.full {
            ready!(outbox.drain(context))?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut outbox = lock(&self.0);
        ready!(outbox.settle(context))?;
        Pin::new(&mut outbox.io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn what_is_flushed_piece_by_piece_goes_out_at_the_end_of_the_turn_in_one() {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let (mut gathering, settler) = Gathering::new(near);
        let mut pieces = Box::pin(async {
            for piece in ["one ", "two ", "three"] {
                gathering.write_all(piece.as_bytes()).await.unwrap();
                gathering.flush().await.unwrap();
            }
            let mut early = [0; 1];
            let mut early = ReadBuf::new(&mut early);
            std::future::poll_fn(|context| {
                Poll::Ready(
                    Pin::new(&mut far)
                        .poll_read(context, &mut early)
                        .is_pending(),
                )
            })
            .await
        });
        assert!(settler.turn(pieces.as_mut()).await, "nothing yet");
        drop(pieces);
        let mut all = [0; 64];
        let n = far.read(&mut all).await.unwrap();
        assert_eq!(&all[..n], b"one two three");
    }

    #[tokio::test]
    async fn a_reader_that_lags_behind_gets_all_in_order_and_little_is_kept_for_him() {
        let (near, mut far) = tokio::io::duplex(1000);
        let (mut gathering, settler) = Gathering::new(near);
        let sent: Vec<u8> = (0..400_000_u32).map(|n| (n % 251) as u8).collect();
        let writing = async {
            for piece in sent.chunks(7_001) {
                gathering.write_all(piece).await.unwrap();
                gathering.flush().await.unwrap();
                assert!(lock(&gathering.0).bytes.len() <= MOST);
            }
            gathering.shutdown().await.unwrap();
        };
        let reading = async {
            let mut got = Vec::new();
            far.read_to_end(&mut got).await.unwrap();
            got
        };
        let mut writing = pin!(writing);
        let ((), got) = tokio::join!(settler.turn(writing.as_mut()), reading);
        assert_eq!(got, sent);
        assert!(lock(&settler.0).bytes.capacity() <= KEPT);
    }
}
